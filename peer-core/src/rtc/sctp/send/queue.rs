//! Messages that are not acknowledged yet, in the order in which they were given.
//!
//! A message lies in one or several records: a head and bytes. Chunks are cut from them only when
//! they are sent for the first time, so what a path takes may change until then.

use super::super::circle;
use super::super::packet::{FIRST, LAST, UNORDERED};

/// Bytes of a record's head.
pub(super) const HEAD_LEN: usize = 11;

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    len: u32,
    stream: u16,
    ppid: u32,
    /// As in a DATA chunk.
    flags: u8,
}

impl Head {
    fn encode(&self) -> [u8; HEAD_LEN] {
        let [l0, l1, l2, l3] = self.len.to_le_bytes();
        let [s0, s1] = self.stream.to_le_bytes();
        let [p0, p1, p2, p3] = self.ppid.to_le_bytes();
        [l0, l1, l2, l3, s0, s1, p0, p1, p2, p3, self.flags]
    }

    fn decode(bytes: [u8; HEAD_LEN]) -> Self {
        let [l0, l1, l2, l3, s0, s1, p0, p1, p2, p3, flags] = bytes;
        Self {
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            stream: u16::from_le_bytes([s0, s1]),
            ppid: u32::from_le_bytes([p0, p1, p2, p3]),
            flags,
        }
    }
}

/// What the next chunk is cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) stream: u16,
    pub(super) ppid: u32,
    /// [`FIRST`] holds for the first of the bytes, [`LAST`] for the last.
    pub(super) flags: u8,
    /// Where the bytes are.
    pub(super) at: usize,
    /// How many there are.
    pub(super) left: usize,
}

/// Where the newest record is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Newest {
    /// There is none, or all of it is cut.
    #[default]
    Gone,
    /// It is the one being cut.
    BeingCut,
    /// Its head is here.
    At(usize),
}

/// The indices of the queue. The memory is lent to each call and must be the same each time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queue {
    /// Where the oldest byte that is not acknowledged is.
    head: usize,
    /// Bytes in use, heads included.
    used: usize,
    /// Bytes of these behind the cut.
    uncut: usize,
    /// The record being cut.
    current: Option<Head>,
    newest: Newest,
}

impl Queue {
    /// Bytes that one further record may have.
    pub(super) const fn room(&self, memory: &[u8]) -> usize {
        memory.len().saturating_sub(self.used + HEAD_LEN)
    }

    /// Whether nothing waits to be cut.
    pub(super) const fn is_cut(&self) -> bool {
        self.uncut == 0
    }

    /// Whether `count` bytes of the record being cut are all that waits.
    pub(super) const fn holds_only(&self, count: usize) -> bool {
        self.uncut == count
    }

    /// Bytes in use, heads included.
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// Appends a record, or appends to the newest one what belongs to the same message. `None` if
    /// there is no room.
    pub(super) fn push(
        &mut self,
        memory: &mut [u8],
        (stream, ppid, flags): (u16, u32, u8),
        bytes: &[u8],
    ) -> Option<()> {
        let capacity = memory.len();
        let len = u32::try_from(bytes.len()).ok()?;
        let grows = flags & FIRST == 0 && self.newest != Newest::Gone;
        let needed = if grows {
            bytes.len()
        } else {
            HEAD_LEN.checked_add(bytes.len())?
        };
        if capacity.saturating_sub(self.used) < needed {
            return None;
        }
        if self.used == 0 {
            self.head = 0;
        }
        let end = circle::forward(capacity, self.head, self.used);
        if grows {
            let mut head = match (self.newest, self.current) {
                (Newest::At(at), _) => head_at(memory, at)?,
                (Newest::BeingCut, Some(current)) => current,
                _ => return None,
            };
            head.len = head.len.checked_add(len)?;
            head.flags |= flags & LAST;
            circle::write(memory, end, bytes)?;
            match self.newest {
                Newest::At(at) => circle::write(memory, at, &head.encode())?,
                _ => self.current = Some(head),
            }
        } else {
            let head = Head {
                len,
                stream,
                ppid,
                flags: flags & (FIRST | LAST | UNORDERED),
            };
            circle::write(memory, end, &head.encode())?;
            circle::write(memory, circle::forward(capacity, end, HEAD_LEN), bytes)?;
            self.newest = Newest::At(end);
        }
        self.used += needed;
        self.uncut += needed;
        Some(())
    }

    /// What the next chunk is cut from.
    pub(super) fn next(&mut self, memory: &[u8]) -> Option<Next> {
        let cut = self.used - self.uncut;
        let mut at = circle::forward(memory.len(), self.head, cut);
        let current = match self.current {
            Some(current) => current,
            None if self.uncut == 0 => return None,
            None => {
                let head = head_at(memory, at)?;
                if self.newest == Newest::At(at) {
                    self.newest = Newest::BeingCut;
                }
                self.current = Some(head);
                self.uncut = self.uncut.saturating_sub(HEAD_LEN);
                at = circle::forward(memory.len(), at, HEAD_LEN);
                head
            }
        };
        Some(Next {
            stream: current.stream,
            ppid: current.ppid,
            flags: current.flags,
            at,
            left: usize::try_from(current.len).ok()?,
        })
    }

    /// Cuts `len` bytes off what [`next`](Self::next) told.
    pub(super) fn cut(&mut self, len: usize) {
        let Some(current) = &mut self.current else {
            return;
        };
        let cut = u32::try_from(len).unwrap_or(u32::MAX).min(current.len);
        current.len -= cut;
        current.flags &= !FIRST;
        self.uncut = self.uncut.saturating_sub(len);
        if current.len == 0 {
            self.current = None;
            if self.newest == Newest::BeingCut {
                self.newest = Newest::Gone;
            }
        }
    }

    /// Frees everything before `end`, which is where a chunk ends that was cut.
    pub(super) fn free_to(&mut self, memory: &[u8], end: usize) {
        let capacity = memory.len();
        // A chunk has a byte at least, so no way at all is the whole way round.
        let count = match end.checked_sub(self.head) {
            Some(count) if count > 0 => count,
            _ => (end + capacity).saturating_sub(self.head),
        };
        let cut = self.used - self.uncut;
        debug_assert!(count <= cut);
        let count = count.min(cut);
        self.head = circle::forward(capacity, self.head, count);
        self.used -= count;
    }
}

/// The bytes of a chunk.
pub(super) fn bytes(memory: &[u8], at: usize, len: usize) -> (&[u8], &[u8]) {
    let pieces = circle::pieces(memory, at, len);
    debug_assert!(pieces.is_some(), "a chunk lies within the memory");
    pieces.unwrap_or((&[], &[]))
}

fn head_at(memory: &[u8], at: usize) -> Option<Head> {
    let mut bytes = [0; HEAD_LEN];
    circle::read(memory, at, &mut bytes)?;
    Some(Head::decode(bytes))
}
