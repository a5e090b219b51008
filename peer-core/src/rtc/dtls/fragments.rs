//! Handshake messages from their fragments (RFC 6347 §4.2.3), in fixed memory.

use super::HANDSHAKE_MAX;
use super::error::DtlsError;
use super::prf::VERIFY_LEN;
use super::reader::Reader;
use crate::bytes;

/// Bytes of a handshake message's header.
pub(super) const HEADER_LEN: usize = 12;
/// Messages kept at a time: the one that is next and those that came before their turn. What is
/// further ahead is dropped, and comes again.
const SLOTS: usize = 6;
/// Pieces of a message with gaps between them. A fragment that would make more is dropped.
const PIECES: usize = 8;

/// The header of a fragment, and its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) kind: u8,
    pub(super) sequence: u16,
    /// Of the whole message.
    pub(super) len: usize,
    offset: usize,
    body: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Takes the next fragment off a record's body. `None` at its end, or if it is malformed.
    pub(super) fn read(record: &mut Reader<'a>) -> Option<Self> {
        let kind = record.u8()?;
        let len = record.u24()?;
        let sequence = record.u16()?;
        let offset = record.u24()?;
        let body = record.vec24()?;
        let end = offset.checked_add(body.len())?;
        (end <= len).then_some(Self {
            kind,
            sequence,
            len,
            offset,
            body,
        })
    }

    /// Whether this is the beginning of its message.
    pub(super) const fn is_first(&self) -> bool {
        self.offset == 0
    }
}

/// What came of a Finished. It comes encrypted, and so has its own place: nothing in plaintext can
/// take it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FinishedParts([Option<u8>; VERIFY_LEN]);

impl FinishedParts {
    /// Takes a fragment; all of it, once all came. What came first counts. `Err` where it is no
    /// Finished.
    pub(super) fn insert(
        &mut self,
        fragment: &Fragment<'_>,
    ) -> Result<Option<[u8; VERIFY_LEN]>, DtlsError> {
        if fragment.len != VERIFY_LEN {
            return Err(DtlsError::Finished);
        }
        for (kept, came) in self.0.iter_mut().skip(fragment.offset).zip(fragment.body) {
            kept.get_or_insert(*came);
        }
        let mut all = [0; VERIFY_LEN];
        for (to, kept) in all.iter_mut().zip(self.0) {
            let Some(byte) = kept else { return Ok(None) };
            *to = byte;
        }
        Ok(Some(all))
    }
}

/// The header of a whole message, as it stands in the transcript and, unfragmented, on the wire.
pub(super) fn header(kind: u8, sequence: u16, len: usize) -> Option<[u8; HEADER_LEN]> {
    let [a, b, c] = super::reader::u24(len)?;
    let [d, e] = sequence.to_be_bytes();
    Some([kind, a, b, c, d, e, 0, 0, 0, a, b, c])
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is kept, or was known.
    Kept,
    /// It belongs to a message that was taken already: the remote repeats itself.
    Old,
    /// It fits nothing, or there is no room for it now.
    Dropped,
    /// Its message is longer than the memory.
    TooLong,
}

/// A message of which something came.
#[derive(Clone, Copy, Debug)]
struct Slot {
    kind: u8,
    sequence: u16,
    /// Where it lies in the memory, and how long it is.
    start: u16,
    len: u16,
    /// What came, in order, with gaps between.
    pieces: [(u16, u16); PIECES],
    count: usize,
}

impl Slot {
    fn is_complete(&self) -> bool {
        self.len == 0 || self.count == 1 && self.pieces.first() == Some(&(0, self.len))
    }

    /// The pieces with another one, joined where they touch. `None` if there are too many.
    fn with(&self, mut start: u16, mut end: u16) -> Option<([(u16, u16); PIECES], usize)> {
        let (mut joined, mut count) = ([(0, 0); PIECES], 0);
        let mut push = |piece| {
            *joined.get_mut(count)? = piece;
            count += 1;
            Some(())
        };
        let mut after = false;
        for &(a, b) in self.pieces.iter().take(self.count) {
            if b < start {
                push((a, b))?;
            } else if a > end {
                if !after {
                    push((start, end))?;
                    after = true;
                }
                push((a, b))?;
            } else {
                (start, end) = (start.min(a), end.max(b));
            }
        }
        if !after {
            push((start, end))?;
        }
        Some((joined, count))
    }
}

/// Keeps what came of the messages of a flight.
pub(super) struct Fragments<'m> {
    memory: &'m mut [u8],
    /// In the order of the memory, without gaps.
    slots: [Option<Slot>; SLOTS],
    used: u16,
    /// The sequence number of the message that is to be taken next.
    next: u16,
}

impl<'m> Fragments<'m> {
    /// Takes at most [`HANDSHAKE_MAX`] bytes of memory, so that positions have 16 bits.
    pub(super) const fn new(memory: &'m mut [u8]) -> Self {
        debug_assert!(memory.len() <= HANDSHAKE_MAX);
        Self {
            memory,
            slots: [None; SLOTS],
            used: 0,
            next: 0,
        }
    }

    /// Gives the memory back. Nothing more can be kept.
    pub(super) fn take_memory(&mut self) -> &'m mut [u8] {
        core::mem::take(&mut self.memory)
    }

    /// The sequence number of the message that is to be taken next.
    pub(super) const fn next(&self) -> u16 {
        self.next
    }

    #[must_use]
    pub(super) fn insert(&mut self, fragment: &Fragment<'_>) -> Taken {
        let Some(ahead) = fragment.sequence.checked_sub(self.next) else {
            return Taken::Old;
        };
        if usize::from(ahead) >= SLOTS {
            return Taken::Dropped;
        }
        if fragment.len > self.memory.len() {
            return if ahead == 0 {
                Taken::TooLong
            } else {
                Taken::Dropped
            };
        }
        self.try_insert(fragment, ahead == 0)
            .map_or(Taken::Dropped, |()| Taken::Kept)
    }

    fn try_insert(&mut self, fragment: &Fragment<'_>, first: bool) -> Option<()> {
        let len = u16::try_from(fragment.len).ok()?;
        let start = u16::try_from(fragment.offset).ok()?;
        let end = start.checked_add(u16::try_from(fragment.body.len()).ok()?)?;
        let is_it = |slot: &Slot| slot.sequence == fragment.sequence;
        if !self.slots.iter().flatten().any(is_it) {
            self.open(fragment.kind, fragment.sequence, len, first)?;
        }
        let slot = self.slots.iter_mut().flatten().find(|slot| is_it(slot))?;
        if slot.kind != fragment.kind || slot.len != len {
            return None;
        }
        if start == end {
            return Some(());
        }
        let at = usize::from(slot.start);
        let message = self.memory.get_mut(at..at + usize::from(len))?;
        // What came twice must be the same: who could change what is kept could choose between two
        // messages.
        for &(a, b) in slot.pieces.iter().take(slot.count) {
            let (a, b) = (a.max(start), b.min(end));
            if a < b {
                let kept = message.get(usize::from(a)..usize::from(b))?;
                let came = fragment
                    .body
                    .get(usize::from(a - start)..usize::from(b - start))?;
                if kept != came {
                    return None;
                }
            }
        }
        (slot.pieces, slot.count) = slot.with(start, end)?;
        bytes::copy(message.get_mut(usize::from(start)..)?, fragment.body)
    }

    /// Makes room for a message. The one that is next may take it from those after it.
    fn open(&mut self, kind: u8, sequence: u16, len: u16, first: bool) -> Option<()> {
        let room = self.memory.len();
        let fits = |used: u16| {
            used.checked_add(len)
                .filter(|&end| usize::from(end) <= room)
        };
        let free = |slots: &[Option<Slot>]| slots.iter().position(Option::is_none);
        let (mut end, mut place) = (fits(self.used), free(&self.slots));
        if first && (end.is_none() || place.is_none()) {
            self.slots = [None; SLOTS];
            self.used = 0;
            (end, place) = (fits(0), Some(0));
        }
        let (end, place) = (end?, place?);
        *self.slots.get_mut(place)? = Some(Slot {
            kind,
            sequence,
            start: self.used,
            len,
            pieces: [(0, 0); PIECES],
            count: 0,
        });
        self.used = end;
        Some(())
    }

    /// The next message, if all of it is here: its type, sequence number and body.
    pub(super) fn ready(&self) -> Option<(u8, u16, &[u8])> {
        let slot = self
            .slots
            .iter()
            .flatten()
            .find(|slot| slot.sequence == self.next)?;
        let body = bytes::rest(self.memory, slot.start.into());
        slot.is_complete().then(|| {
            (
                slot.kind,
                slot.sequence,
                bytes::front(body, slot.len.into()),
            )
        })
    }

    /// Removes the next message, of which all is here.
    pub(super) fn take(&mut self) {
        let next = self.next;
        self.next = next.saturating_add(1);
        let is_next = |slot: &Option<Slot>| slot.is_some_and(|slot| slot.sequence == next);
        let Some(place) = self.slots.iter().position(is_next) else {
            debug_assert!(false, "only what is ready is taken");
            return;
        };
        let Some(gone) = self.slots.get_mut(place).and_then(Option::take) else {
            return;
        };
        let (start, end) = (gone.start, gone.start.saturating_add(gone.len));
        let moved = bytes::copy_within(self.memory, end.into()..self.used.into(), start.into());
        debug_assert!(moved.is_some(), "the message lies within what is used");
        self.used = self.used.saturating_sub(gone.len);
        for slot in self.slots.iter_mut().flatten() {
            if slot.start >= end {
                slot.start = slot.start.saturating_sub(gone.len);
            }
        }
    }
}
