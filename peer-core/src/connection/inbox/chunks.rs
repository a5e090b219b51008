//! Messages that come in chunks, in any order, several at a time.
//!
//! Each has one block: an entry for each chunk that came, sorted by number: the number, the length,
//! the data. So a block is never longer than what came for it: an entry's numbers take less than
//! the frame around the chunk did. That is what [`Inbox::free`](super::Inbox::free) rests on. Where
//! the last chunk came, the entries' numbers are taken out, and the data is the message.

use super::{
    ASSEMBLIES_MAX, Coming, Inbox, Meaning, RECENT_MAX, Received,
    blocks::{self, HEADER},
    meaning,
};
use crate::{bytes, connection::ReceiveError, serialization::MessageKind, wire::chunk::Chunk};

/// A chunked message of which nothing came for so many frames is given up where room is needed.
pub(super) const STALE_FRAMES: u32 = 1024;
/// Bytes of a chunk's number and length.
const ENTRY: usize = 8;

/// A message of which some chunks came, and its block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial {
    pub(super) start: usize,
    /// 0 while it is none.
    pub(super) len: usize,
    /// The number of the frame that brought the latest chunk.
    touched: u32,
    total: u32,
    count: u32,
    /// The highest number of a chunk that came.
    highest: u32,
    id: u64,
}

/// A chunk without its data.
#[derive(Clone, Copy)]
pub(super) struct Part {
    id: u64,
    n: u32,
    total: u32,
    len: usize,
}

/// What is to be done with a chunk.
enum Seat {
    /// Another one of this message.
    Known(usize),
    /// The first one of a message.
    New,
    /// It came before, or its message is finished or was dropped.
    Ignored,
    /// Its message is lost.
    Lost(Option<usize>, ReceiveError),
}

impl Partial {
    pub(super) const NONE: Self = Self {
        start: 0,
        len: 0,
        touched: 0,
        total: 0,
        count: 0,
        highest: 0,
        id: 0,
    };

    const fn is_used(&self) -> bool {
        self.len > 0
    }

    /// Where the entry of chunk `n` goes; `None` if it is there.
    fn place(&self, memory: &[u8], n: u32) -> Option<usize> {
        let end = self.start + self.len;
        if n > self.highest {
            return Some(end);
        }
        let mut at = self.start + HEADER;
        while at < end {
            let (there, len) = read_entry(memory, at)?;
            if there == n {
                return None;
            }
            if there > n {
                return Some(at);
            }
            at += ENTRY + len;
        }
        Some(end)
    }
}

impl Part {
    pub(super) const fn new(chunk: &Chunk<'_>) -> Self {
        Self {
            id: chunk.id.get(),
            n: chunk.n,
            total: chunk.total,
            len: chunk.data.len(),
        }
    }

    /// The least that the block of the whole message takes. Every sender cuts a message into chunks
    /// of one length, the last one shorter, so the first that comes tells much.
    fn least(&self) -> u64 {
        let len = u64::from(u32::try_from(self.len).unwrap_or(u32::MAX));
        let others = u64::from(self.total.saturating_sub(1));
        let data = if u64::from(self.n) == others {
            len
        } else {
            others * len
        };
        data.saturating_add(u64::from(self.total) * ENTRY as u64 + HEADER as u64)
    }
}

impl Inbox {
    /// Takes a chunk whose frame is the open block. Nothing has to be provided: its entry takes
    /// less than its frame.
    pub(super) fn chunk_of_open(
        &mut self,
        memory: &mut [u8],
        part: &Part,
        data: usize,
    ) -> Result<Received, ReceiveError> {
        let (index, header) = match self.seat(memory, part) {
            Seat::Known(index) => (index, 0),
            // May move blocks, the open one with them.
            Seat::New => match self.claim(memory, part.id) {
                Ok(index) => (index, HEADER),
                Err(error) => {
                    self.drop_open();
                    return Err(error);
                }
            },
            Seat::Ignored => {
                self.drop_open();
                return Ok(Received::Ignored);
            }
            Seat::Lost(index, error) => {
                self.drop_open();
                return Err(self.give_up(memory, Some(part.id), index, error));
            }
        };
        let at = self.open;
        let from = at + HEADER + data;
        let to = at + header + ENTRY;
        let moved = bytes::copy_within(memory, from..from + part.len, to);
        debug_assert!(moved.is_some(), "the data is in the open block");
        write_entry(memory, to - ENTRY, part);
        if header > 0 {
            blocks::write_header(memory, at, HEADER + ENTRY + part.len, None);
        }
        self.tail = to + part.len;
        self.coming = Coming::Nothing;
        self.insert(memory, index, part, at)
    }

    /// Says what is to be done with a chunk. Nothing changes, so that it may come again.
    fn seat(&self, memory: &[u8], part: &Part) -> Seat {
        if self.is_recent(part.id) {
            return Seat::Ignored;
        }
        let Some(index) = self.known(part.id) else {
            return if part.least() > memory.len() as u64 {
                Seat::Lost(None, ReceiveError::TooLarge)
            } else {
                Seat::New
            };
        };
        let Some(partial) = self.partials.get(index) else {
            return Seat::Ignored;
        };
        // The total of the first chunk counts, as with PeerJS.
        if part.n >= partial.total {
            Seat::Lost(Some(index), ReceiveError::Malformed)
        } else if partial.place(memory, part.n).is_none() {
            Seat::Ignored
        } else if partial.len + ENTRY + part.len > memory.len() {
            Seat::Lost(Some(index), ReceiveError::TooLarge)
        } else {
            Seat::Known(index)
        }
    }

    /// Adds the entry that was written at the tail, or the block with the first one, which starts
    /// at `at`.
    fn insert(
        &mut self,
        memory: &mut [u8],
        index: usize,
        part: &Part,
        at: usize,
    ) -> Result<Received, ReceiveError> {
        let (tail, touched) = (self.tail, self.frames);
        let partial = self.partial(index);
        if !partial.is_used() {
            *partial = Partial {
                start: at,
                len: tail - at,
                touched,
                total: part.total,
                count: 1,
                highest: part.n,
                id: part.id,
            };
        } else {
            let (start, more) = (partial.start, tail - at);
            let place = partial.place(memory, part.n);
            debug_assert!(place.is_some(), "it was looked up before");
            let place = place.unwrap_or(start + partial.len);
            partial.len += more;
            partial.touched = touched;
            partial.count += 1;
            partial.highest = partial.highest.max(part.n);
            blocks::write_header(memory, start, partial.len, None);
            if let Some(moved) = memory.get_mut(place..tail) {
                let done = bytes::rotate_left(moved, at - place);
                debug_assert!(done.is_some(), "blocks lie within the memory");
            }
            for partial in self.partials() {
                if partial.start > start {
                    partial.start += more;
                }
            }
        }
        let partial = self.partial(index);
        if partial.count == partial.total {
            self.complete(memory, index)
        } else {
            Ok(Received::Part)
        }
    }

    /// Makes a message of what has come in whole.
    fn complete(&mut self, memory: &mut [u8], index: usize) -> Result<Received, ReceiveError> {
        self.move_to_tail(memory, index);
        let Partial { start, id, .. } = *self.partial(index);
        *self.partial(index) = Partial::NONE;
        self.remember(id);
        let data = start + HEADER;
        let (mut at, mut end) = (data, data);
        while at < self.tail {
            let Some((_, len)) = read_entry(memory, at) else {
                debug_assert!(false, "a block is entries and nothing else");
                break;
            };
            at += ENTRY;
            let done = bytes::copy_within(memory, at..at + len, end);
            debug_assert!(done.is_some(), "blocks lie within the memory");
            (at, end) = (at + len, end + len);
        }
        self.tail = end;
        self.open = start;
        let content = memory.get(data..end);
        debug_assert!(content.is_some(), "the block is in the memory");
        let content = content.unwrap_or_default();
        match meaning(self.serialization, MessageKind::Binary, content) {
            Some(Meaning::Message) => {
                blocks::write_header(memory, start, HEADER, Some(MessageKind::Binary));
                self.close_open(memory);
                Ok(Received::Message)
            }
            other => {
                self.tail = start;
                self.settle();
                match other {
                    Some(Meaning::Close) => Ok(Received::Close),
                    // Chunks within chunks, which no PeerJS sends.
                    _ => Err(self.lose(ReceiveError::Malformed)),
                }
            }
        }
    }

    /// Finds a place in the table for a new message.
    fn claim(&mut self, memory: &mut [u8], id: u64) -> Result<usize, ReceiveError> {
        let vacant = |inbox: &Self| inbox.partials.iter().position(|slot| !slot.is_used());
        if let Some(index) = vacant(self) {
            return Ok(index);
        }
        self.evict(memory, STALE_FRAMES, None);
        match vacant(self) {
            Some(index) => Ok(index),
            None => Err(self.give_up(memory, Some(id), None, ReceiveError::NoRoom)),
        }
    }

    /// The message with this id of which some chunks came.
    pub(super) fn known(&self, id: u64) -> Option<usize> {
        self.partials
            .iter()
            .position(|partial| partial.is_used() && partial.id == id)
    }

    /// Drops the message of which nothing came for longest, and says whether there was one of which
    /// nothing came for so many frames.
    pub(super) fn evict(&mut self, memory: &mut [u8], frames: u32, keep: Option<usize>) -> bool {
        let mut oldest = None;
        let mut least = frames;
        for (index, partial) in self.partials.iter().enumerate() {
            let age = self.frames.wrapping_sub(partial.touched);
            if partial.is_used() && age >= least && Some(index) != keep {
                least = age;
                oldest = Some((index, partial.id));
            }
        }
        if let Some((index, id)) = oldest {
            self.give_up(memory, Some(id), Some(index), ReceiveError::NoRoom);
        }
        oldest.is_some()
    }

    /// Drops a message, and the chunks of it that are still to come.
    pub(super) fn give_up(
        &mut self,
        memory: &mut [u8],
        id: Option<u64>,
        index: Option<usize>,
        error: ReceiveError,
    ) -> ReceiveError {
        if let Some(id) = id {
            self.remember(id);
        }
        if let Some(index) = index {
            self.abandon(memory, index);
        }
        self.lose(error)
    }

    pub(super) fn is_recent(&self, id: u64) -> bool {
        self.recent.contains(&short(id))
    }

    pub(super) fn remember(&mut self, id: u64) {
        let next = usize::from(self.recent_next) % RECENT_MAX;
        self.recent[next] = short(id);
        self.recent_next = self.recent_next.wrapping_add(1);
    }

    /// The place in the table with this index, which is below [`ASSEMBLIES_MAX`].
    pub(super) fn partial(&mut self, index: usize) -> &mut Partial {
        debug_assert!(index < ASSEMBLIES_MAX, "it was found in the table");
        &mut self.partials[index % ASSEMBLIES_MAX]
    }

    pub(super) fn partials(&mut self) -> impl Iterator<Item = &mut Partial> {
        self.partials.iter_mut().filter(|partial| partial.is_used())
    }
}

fn write_entry(memory: &mut [u8], at: usize, part: &Part) {
    debug_assert!(
        u32::try_from(part.len).is_ok(),
        "lengths are kept within 32 bits"
    );
    let [a, b, c, d] = part.n.to_be_bytes();
    let [e, f, g, h] = (part.len as u32).to_be_bytes();
    let written = memory
        .get_mut(at..)
        .and_then(|place| bytes::copy(place, &[a, b, c, d, e, f, g, h]));
    debug_assert!(written.is_some(), "room was made for the entry");
}

/// A chunk's number and length.
fn read_entry(memory: &[u8], at: usize) -> Option<(u32, usize)> {
    let &[a, b, c, d, e, f, g, h] = memory.get(at..)?.first_chunk::<ENTRY>()?;
    let len = u32::from_be_bytes([e, f, g, h]);
    Some((u32::from_be_bytes([a, b, c, d]), len as usize))
}

/// A chunked message's id in 32 bits, never 0: itself where it fits, as all that PeerJS counts do;
/// of others the low half. A remote whose ids then look alike loses only its own messages.
pub(super) fn short(id: u64) -> u32 {
    match id as u32 {
        0 => (id >> 32) as u32,
        low => low,
    }
}
