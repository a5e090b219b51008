//! A queue of byte records in one slice. Every record is contiguous.

use core::fmt;

use crate::bytes;

/// There is no room for the record. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring has no room for the record")
    }
}

impl core::error::Error for Full {}

/// Bytes of the length before each record.
const PREFIX: usize = 4;
/// In place of a length: the next record is at the start of the memory.
const WRAP: u32 = u32::MAX;

/// The indices of a queue of records; the memory is lent to each call and must be the same slice each time.
///
/// Each record costs its length and four bytes. At the limit [`push`](Self::push) is [`Full`] and nothing changes.
///
/// ```
/// use peer_core::storage::Ring;
/// let (mut ring, mut memory) = (Ring::new(), [0; 32]);
/// ring.push(&mut memory, &[b"hello ", b"world"])?;
/// assert_eq!(ring.front(&memory), Some(&b"hello world"[..]));
/// ring.pop(&memory);
/// assert!(ring.is_empty());
/// # Ok::<(), peer_core::storage::Full>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring {
    /// Where the oldest record's prefix is.
    head: usize,
    /// Where the next record's prefix goes.
    tail: usize,
    /// Where the newest record's prefix is.
    back: usize,
    records: usize,
}

impl Ring {
    /// An empty ring. All zero.
    pub const fn new() -> Self {
        Self {
            head: 0,
            tail: 0,
            back: 0,
            records: 0,
        }
    }

    /// Records held.
    pub const fn len(&self) -> usize {
        self.records
    }

    /// Whether no record is held.
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Drops every record.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Appends one record, the concatenation of `parts`.
    ///
    /// # Errors
    /// [`Full`] when it does not fit now.
    pub fn push(&mut self, memory: &mut [u8], parts: &[&[u8]]) -> Result<(), Full> {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        let room = self.reserve(memory, len)?;
        bytes::concat(room, parts).ok_or(Full)?;
        self.commit(memory, len);
        Ok(())
    }

    /// Appends one record that `write` writes into the largest contiguous room there is; it returns the length.
    ///
    /// # Errors
    /// Those of `write`, which also decides what too little room means. Nothing changes then.
    pub fn push_with<E>(
        &mut self,
        memory: &mut [u8],
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let largest = self.largest(memory);
        let len = match largest.and_then(|room| self.reserve(memory, room).ok()) {
            Some(room) => {
                let limit = room.len();
                write(room)?.min(limit)
            }
            None => {
                write(&mut [])?;
                return Ok(());
            }
        };
        // `reserve` has already moved the tail where the largest room is.
        self.commit(memory, len);
        Ok(())
    }

    /// The oldest record.
    pub fn front<'m>(&self, memory: &'m [u8]) -> Option<&'m [u8]> {
        let (start, len) = self.locate(memory)?;
        memory.get(start..start + len)
    }

    /// The oldest record, to be changed in place.
    pub fn front_mut<'m>(&self, memory: &'m mut [u8]) -> Option<&'m mut [u8]> {
        let (start, len) = self.locate(memory)?;
        memory.get_mut(start..start + len)
    }

    /// The newest record, to be changed in place.
    pub fn back_mut<'m>(&self, memory: &'m mut [u8]) -> Option<&'m mut [u8]> {
        if self.records == 0 {
            return None;
        }
        let len = read_prefix(memory, self.back)? as usize;
        let start = self.back + PREFIX;
        memory.get_mut(start..start.checked_add(len)?)
    }

    /// Drops the oldest record. Nothing happens when there is none.
    pub fn pop(&mut self, memory: &[u8]) {
        let Some((start, len)) = self.locate(memory) else {
            return;
        };
        self.head = start + len;
        self.records -= 1;
        if self.records == 0 {
            self.clear();
        }
    }

    /// Bytes of the longest record that fits now.
    pub fn free(&self, memory: &[u8]) -> usize {
        self.largest(memory).unwrap_or(0)
    }

    fn locate(&self, memory: &[u8]) -> Option<(usize, usize)> {
        if self.records == 0 {
            return None;
        }
        match read_prefix(memory, self.head) {
            Some(len) if len != WRAP => Some((self.head + PREFIX, len as usize)),
            // Too little room for a prefix, or a mark: the record is at the start.
            _ => read_prefix(memory, 0).map(|len| (PREFIX, len as usize)),
        }
    }

    /// Contiguous room at the tail and, where the tail may wrap, at the start.
    fn rooms(&self, memory: &[u8]) -> (usize, usize) {
        if self.records > 0 && self.tail <= self.head {
            (self.head - self.tail, 0)
        } else {
            (memory.len() - self.tail.min(memory.len()), self.head)
        }
    }

    fn largest(&self, memory: &[u8]) -> Option<usize> {
        let (end, start) = self.rooms(memory);
        end.max(start).checked_sub(PREFIX)
    }

    /// Room for `len` bytes; moves the tail to the start where only that helps.
    fn reserve<'m>(&mut self, memory: &'m mut [u8], len: usize) -> Result<&'m mut [u8], Full> {
        let (end, start) = self.rooms(memory);
        let needed = len
            .checked_add(PREFIX)
            .filter(|_| len < WRAP as usize)
            .ok_or(Full)?;
        if needed > end {
            if needed > start {
                return Err(Full);
            }
            if let Some(mark) = memory.get_mut(self.tail..self.tail + PREFIX) {
                bytes::copy(mark, &WRAP.to_be_bytes());
            }
            self.tail = 0;
        }
        memory
            .get_mut(self.tail + PREFIX..self.tail + needed)
            .ok_or(Full)
    }

    fn commit(&mut self, memory: &mut [u8], len: usize) {
        // `reserve` checked that `len` fits in 32 bits, and in the memory.
        if let Some(prefix) = memory.get_mut(self.tail..) {
            bytes::copy(prefix, &(len as u32).to_be_bytes());
        }
        self.back = self.tail;
        self.tail += PREFIX + len;
        self.records += 1;
    }
}

fn read_prefix(memory: &[u8], at: usize) -> Option<u32> {
    let bytes = memory.get(at..at + PREFIX)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{collections::VecDeque, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_queue(
            size in 0_usize..200,
            steps in prop::collection::vec((any::<bool>(), 0_usize..60), 0..200),
        ) {
            let mut memory = std::vec![0; size];
            let mut ring = Ring::new();
            let mut model: VecDeque<Vec<u8>> = VecDeque::new();
            for (i, (push, len)) in steps.into_iter().enumerate() {
                if push {
                    let record = std::vec![i as u8; len];
                    let fits = model.iter().map(|r| r.len() + PREFIX).sum::<usize>() + len + PREFIX <= size;
                    match ring.push(&mut memory, &[&record]) {
                        Ok(()) => { prop_assert!(fits); model.push_back(record); }
                        Err(Full) => prop_assert!(ring.free(&memory) < len || ring.free(&memory) == 0),
                    }
                } else {
                    prop_assert_eq!(ring.front(&memory), model.front().map(Vec::as_slice));
                    ring.pop(&memory);
                    model.pop_front();
                }
                prop_assert_eq!(ring.len(), model.len());
            }
        }
    }

    #[test]
    fn a_failed_write_changes_nothing() {
        let (mut ring, mut memory) = (Ring::new(), [0; 16]);
        ring.push(&mut memory, &[b"abc"]).unwrap();
        assert_eq!(
            ring.push_with(&mut memory, |_| Err::<usize, _>("no")),
            Err("no")
        );
        ring.push_with(&mut memory, |room| {
            room[..2].copy_from_slice(b"de");
            Ok::<_, ()>(2)
        })
        .unwrap();
        ring.pop(&memory);
        assert_eq!(ring.front(&memory), Some(&b"de"[..]));
    }
}
