//! Received chunks in the order in which they came, each a record with a link to the next one of
//! its list.
//!
//! Chunks that came early are linked into lists of their own until the gap before them is filled,
//! so nothing is copied when it is. Memory is given back from both ends; a record that is read
//! between others that wait leaves a hole until those at one end are read.

use super::super::circle;

/// Bytes of a record before its payload.
pub(super) const HEAD_LEN: usize = 16;
/// A link to nothing.
const NONE: u32 = u32::MAX;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A fragment of a message.
    Data,
    /// The remote has reset the stream: no earlier message of it follows.
    Reset,
    /// The remote gave up what was missing here (RFC 3758).
    Gap,
    /// It was read; its memory is not free yet.
    Freed,
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// The flags of its DATA chunk.
    pub(super) flags: u8,
    pub(super) stream: u16,
    pub(super) ppid: u32,
    pub(super) len: u16,
    /// The length of the record that came before it, whatever list it is in.
    before: u16,
    next: Option<usize>,
}

impl Head {
    pub(super) const fn new(kind: Kind, flags: u8, stream: u16, ppid: u32, len: u16) -> Self {
        Self {
            kind,
            flags,
            stream,
            ppid,
            len,
            before: 0,
            next: None,
        }
    }

    /// Bytes of its record.
    fn size(&self) -> usize {
        HEAD_LEN + usize::from(self.len)
    }

    fn encode(&self) -> [u8; HEAD_LEN] {
        let next = self.next.and_then(|next| u32::try_from(next).ok());
        let [n0, n1, n2, n3] = next.unwrap_or(NONE).to_le_bytes();
        let [l0, l1] = self.len.to_le_bytes();
        let [s0, s1] = self.stream.to_le_bytes();
        let [p0, p1, p2, p3] = self.ppid.to_le_bytes();
        let [b0, b1] = self.before.to_le_bytes();
        let kind = match self.kind {
            Kind::Data => 0,
            Kind::Reset => 1,
            Kind::Gap => 2,
            Kind::Freed => 3,
        };
        [
            n0, n1, n2, n3, l0, l1, s0, s1, p0, p1, p2, p3, self.flags, kind, b0, b1,
        ]
    }

    fn decode(bytes: [u8; HEAD_LEN]) -> Self {
        let [n0, n1, n2, n3, l0, l1, s0, s1, rest @ ..] = bytes;
        let [p0, p1, p2, p3, flags, kind, b0, b1] = rest;
        let next = u32::from_le_bytes([n0, n1, n2, n3]);
        Self {
            kind: match kind {
                0 => Kind::Data,
                1 => Kind::Reset,
                2 => Kind::Gap,
                _ => Kind::Freed,
            },
            flags,
            stream: u16::from_le_bytes([s0, s1]),
            ppid: u32::from_le_bytes([p0, p1, p2, p3]),
            len: u16::from_le_bytes([l0, l1]),
            before: u16::from_le_bytes([b0, b1]),
            next: usize::try_from(next).ok().filter(|_| next != NONE),
        }
    }
}

/// A list of records, by the positions of its first and its last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum List {
    #[default]
    Empty,
    Of {
        first: usize,
        last: usize,
    },
}

/// The indices of the log. The memory is lent to each call and must be the same each time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Log {
    /// Where the oldest record is.
    head: usize,
    /// Bytes in use, holes included.
    used: usize,
    /// Where the newest record is, and its length; while any is in use.
    back: usize,
    back_len: u16,
}

impl Log {
    /// Bytes that are free.
    pub(super) const fn free(&self, memory: &[u8]) -> usize {
        memory.len().saturating_sub(self.used)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Appends a record and returns its position. `None` if there is no room.
    pub(super) fn push(&mut self, memory: &mut [u8], head: &Head, payload: &[u8]) -> Option<usize> {
        let len = HEAD_LEN + payload.len();
        if self.free(memory) < len {
            return None;
        }
        if self.used == 0 {
            // From the start, so that what is seldom full touches little memory.
            self.head = 0;
        }
        let at = circle::forward(memory.len(), self.head, self.used);
        let head = Head {
            before: self.back_len,
            ..*head
        };
        circle::write(memory, at, &head.encode())?;
        let behind = circle::forward(memory.len(), at, HEAD_LEN);
        circle::write(memory, behind, payload)?;
        self.used += len;
        (self.back, self.back_len) = (at, head.len);
        Some(at)
    }

    /// The head of the record at `at`.
    pub(super) fn head(&self, memory: &[u8], at: usize) -> Option<Head> {
        let mut bytes = [0; HEAD_LEN];
        let read = circle::read(memory, at, &mut bytes);
        debug_assert!(read.is_some(), "a position is below the capacity");
        read.map(|()| Head::decode(bytes))
    }

    /// The payload of the record at `at` from `offset` on, as far as it lies in one piece.
    pub(super) fn payload<'m>(
        &self,
        memory: &'m [u8],
        at: usize,
        len: usize,
        offset: usize,
    ) -> &'m [u8] {
        let start = circle::forward(memory.len(), at, HEAD_LEN + offset);
        let rest = len.saturating_sub(offset);
        let pieces = circle::pieces(memory, start, rest);
        debug_assert!(pieces.is_some(), "a record lies within the memory");
        pieces.map_or(&[], |(first, _)| first)
    }

    /// Links the record at `at` behind the list.
    pub(super) fn append(&self, memory: &mut [u8], list: &mut List, at: usize) {
        self.join(
            memory,
            list,
            List::Of {
                first: at,
                last: at,
            },
        );
    }

    /// Links the records of `tail` behind the list.
    pub(super) fn join(&self, memory: &mut [u8], list: &mut List, tail: List) {
        *list = match (*list, tail) {
            (one, List::Empty) | (List::Empty, one) => one,
            (
                List::Of { first, last },
                List::Of {
                    first: next,
                    last: end,
                },
            ) => {
                self.link(memory, last, Some(next));
                List::Of { first, last: end }
            }
        };
    }

    /// Makes `next` the one that follows the record at `at`.
    pub(super) fn link(&self, memory: &mut [u8], at: usize, next: Option<usize>) {
        if let Some(mut head) = self.head(memory, at) {
            head.next = next;
            let written = circle::write(memory, at, &head.encode());
            debug_assert!(written.is_some());
        }
    }

    /// Takes the first record from the list, marks it as read, and frees what can be freed.
    pub(super) fn free_first(&mut self, memory: &mut [u8], list: &mut List) {
        let List::Of { first, last } = *list else {
            return;
        };
        let Some(mut head) = self.head(memory, first) else {
            return;
        };
        *list = match head.next {
            Some(next) if first != last => List::Of { first: next, last },
            _ => List::Empty,
        };
        head.kind = Kind::Freed;
        let written = circle::write(memory, first, &head.encode());
        debug_assert!(written.is_some());
        self.trim(memory);
    }

    /// Gives back the memory of records at both ends that were read. All at the back are, or what
    /// comes in order behind others that wait would use up the memory bit by bit.
    fn trim(&mut self, memory: &[u8]) {
        while self.used > 0
            && let Some(freed) = self.freed(memory, self.back)
        {
            self.used = self.used.saturating_sub(freed.size());
            let before = HEAD_LEN + usize::from(freed.before);
            let back = memory.len().saturating_sub(before);
            self.back = circle::forward(memory.len(), self.back, back);
            self.back_len = freed.before;
        }
        while self.used > 0
            && let Some(freed) = self.freed(memory, self.head)
        {
            let len = freed.size();
            self.head = circle::forward(memory.len(), self.head, len);
            debug_assert!(len <= self.used);
            self.used = self.used.saturating_sub(len);
        }
    }

    /// The head of the record at `at`, if it was read.
    fn freed(&self, memory: &[u8], at: usize) -> Option<Head> {
        let head = self.head(memory, at)?;
        (head.kind == Kind::Freed).then_some(head)
    }

    /// Drops every record of a list.
    pub(super) fn free_all(&mut self, memory: &mut [u8], list: &mut List) {
        while *list != List::Empty {
            self.free_first(memory, list);
        }
    }
}
