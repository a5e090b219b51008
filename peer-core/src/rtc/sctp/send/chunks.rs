//! Chunks that were sent and are not acknowledged with all before them: a ring by TSN.
//!
//! Two lists go through it: what is in flight, the one sent longest ago first, and what is taken
//! for lost. So looking for losses costs what is found, not what is under way.

use super::super::serial::Tsn;
use crate::time::Instant;

/// One DATA chunk that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// When it was sent last. Zeros before that, so that a static of it costs no flash.
    pub(super) sent: Option<Instant>,
    /// Which transmission that was; of two, the later one has the larger number.
    pub(super) order: u32,
    /// Where its bytes are in the queue.
    pub(super) at: u32,
    pub(super) ppid: u32,
    pub(super) len: u16,
    pub(super) stream: u16,
    pub(super) ssn: u16,
    /// As in a DATA chunk.
    pub(super) flags: u8,
    pub(super) state: State,
    /// How often it was sent. Saturates.
    pub(super) times: u8,
    /// Neighbours in its list, as indices; [`NONE`] at the ends.
    pub(super) previous: u32,
    pub(super) next: u32,
}

/// Where a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    InFlight,
    Lost,
    /// It came, but something before it did not. With the last index of the acknowledged chunks
    /// that follow it without a gap, as far as known: the way past them.
    Acked {
        to: u32,
    },
}

const NONE: u32 = u32::MAX;

impl Chunk {
    pub(super) fn sent(&self) -> Instant {
        self.sent.unwrap_or(Instant::ZERO)
    }

    /// A chunk of zeros, to fill memory with.
    pub const EMPTY: Self = Self {
        sent: None,
        order: 0,
        at: 0,
        ppid: 0,
        len: 0,
        stream: 0,
        ssn: 0,
        flags: 0,
        state: State::InFlight,
        times: 0,
        previous: 0,
        next: 0,
    };
}

/// A list through the ring.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

impl List {
    const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
    };
}

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Flight,
    Lost,
}

/// The indices of the ring. The memory is lent. A chunk's name is its index in the memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    /// The index of the chunk with the TSN `base`.
    head: usize,
    len: usize,
    /// The lowest TSN that is not acknowledged with all before it.
    base: Tsn,
    flight: List,
    lost: List,
}

impl Chunks {
    pub(super) const fn new(initial: Tsn) -> Self {
        Self {
            head: 0,
            len: 0,
            base: initial,
            flight: List::EMPTY,
            lost: List::EMPTY,
        }
    }

    pub(super) const fn base(&self) -> Tsn {
        self.base
    }

    /// The TSN of the next new chunk.
    pub(super) fn end(&self) -> Tsn {
        self.base.plus(u32::try_from(self.len).unwrap_or(u32::MAX))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) const fn is_full(&self, memory: &[Chunk]) -> bool {
        self.len == memory.len()
    }

    /// Whether one more fits, and no second.
    pub(super) const fn is_almost_full(&self, memory: &[Chunk]) -> bool {
        self.len + 1 == memory.len()
    }

    /// The index of a TSN that is in the ring.
    pub(super) fn index(&self, memory: &[Chunk], tsn: Tsn) -> Option<usize> {
        let offset = usize::try_from(tsn.since(self.base)).ok()?;
        if offset >= self.len {
            return None;
        }
        let index = self.head + offset;
        Some(if index < memory.len() {
            index
        } else {
            index - memory.len()
        })
    }

    /// The TSN of an index.
    pub(super) fn tsn(&self, memory: &[Chunk], index: usize) -> Tsn {
        let offset = if index >= self.head {
            index - self.head
        } else {
            index + memory.len() - self.head
        };
        self.base.plus(u32::try_from(offset).unwrap_or(u32::MAX))
    }

    /// Appends a chunk that was sent now. `None` if there is no room.
    pub(super) fn push(&mut self, memory: &mut [Chunk], chunk: Chunk) -> Option<()> {
        if self.is_full(memory) {
            return None;
        }
        if self.len == 0 {
            self.head = 0;
        }
        self.len += 1;
        let index = self.index(memory, self.end().before())?;
        *memory.get_mut(index)? = chunk;
        self.append(memory, Which::Flight, index);
        Some(())
    }

    /// Takes the chunk with the lowest TSN out.
    pub(super) fn pop(&mut self, memory: &mut [Chunk]) -> Option<Chunk> {
        if self.len == 0 {
            return None;
        }
        let index = self.head;
        self.unlink(memory, index);
        let chunk = *memory.get(index)?;
        self.head = if index + 1 < memory.len() {
            index + 1
        } else {
            0
        };
        self.len -= 1;
        self.base = self.base.next();
        Some(chunk)
    }

    /// The first chunk of a list.
    pub(super) fn first(&self, which: Which) -> Option<usize> {
        let first = self.list(which).first;
        usize::try_from(first).ok().filter(|_| first != NONE)
    }

    /// The last chunk of a list.
    pub(super) fn last(&self, which: Which) -> Option<usize> {
        let last = self.list(which).last;
        usize::try_from(last).ok().filter(|_| last != NONE)
    }

    /// Moves a chunk to the end of a list.
    pub(super) fn move_to(&mut self, memory: &mut [Chunk], which: Which, index: usize) {
        self.unlink(memory, index);
        if let Some(chunk) = memory.get_mut(index) {
            chunk.state = match which {
                Which::Flight => State::InFlight,
                Which::Lost => State::Lost,
            };
        }
        self.append(memory, which, index);
    }

    /// Marks a chunk as acknowledged. It is in no list then.
    pub(super) fn acked(&mut self, memory: &mut [Chunk], index: usize) {
        self.unlink(memory, index);
        if let Some(chunk) = memory.get_mut(index) {
            chunk.state = State::Acked { to: name(index) };
        }
    }

    const fn list(&self, which: Which) -> &List {
        match which {
            Which::Flight => &self.flight,
            Which::Lost => &self.lost,
        }
    }

    fn list_mut(&mut self, which: Which) -> &mut List {
        match which {
            Which::Flight => &mut self.flight,
            Which::Lost => &mut self.lost,
        }
    }

    fn append(&mut self, memory: &mut [Chunk], which: Which, index: usize) {
        let list = self.list_mut(which);
        let last = list.last;
        list.last = name(index);
        if last == NONE {
            list.first = name(index);
        }
        if let Some(chunk) = at(memory, last) {
            chunk.next = name(index);
        }
        if let Some(chunk) = memory.get_mut(index) {
            chunk.previous = last;
            chunk.next = NONE;
        }
    }

    fn unlink(&mut self, memory: &mut [Chunk], index: usize) {
        let Some(chunk) = memory.get(index) else {
            return;
        };
        let which = match chunk.state {
            State::InFlight => Which::Flight,
            State::Lost => Which::Lost,
            State::Acked { .. } => return,
        };
        let (previous, next) = (chunk.previous, chunk.next);
        match at(memory, previous) {
            Some(chunk) => chunk.next = next,
            None => self.list_mut(which).first = next,
        }
        match at(memory, next) {
            Some(chunk) => chunk.previous = previous,
            None => self.list_mut(which).last = previous,
        }
    }
}

/// An index as it is kept. There are never as many chunks as would not fit.
fn name(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

fn at(memory: &mut [Chunk], name: u32) -> Option<&mut Chunk> {
    memory.get_mut(usize::try_from(name).ok()?)
}
