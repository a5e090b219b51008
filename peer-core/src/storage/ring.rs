//! A queue of byte records in one slice. Every record is contiguous.

use core::fmt;

use crate::bytes;

/// There is no room for the record. Nothing changed.
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

/// The indices of a queue of records; the memory is lent to each call and must be the same slice
/// each time.
///
/// Each record costs its length and four bytes, and up to the length of one record is lost where
/// the queue goes on at the start of the memory: a record that does not fit behind the newest goes
/// there. At the limit [`push`](Self::push) is [`Full`] and nothing changes.
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
    /// Where the newest record's prefix is; the same as `tail` where that is not known.
    back: usize,
    records: usize,
}

impl Ring {
    /// Returns an empty ring. All zero.
    pub const fn new() -> Self {
        Self {
            head: 0,
            tail: 0,
            back: 0,
            records: 0,
        }
    }

    /// Returns how many records are held.
    pub const fn len(&self) -> usize {
        self.records
    }

    /// Returns whether no record is held.
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
    /// [`Full`] when it does not fit now. Nothing changes then.
    pub fn push(&mut self, memory: &mut [u8], parts: &[&[u8]]) -> Result<(), Full> {
        let len = parts
            .iter()
            .try_fold(0_usize, |len, part| len.checked_add(part.len()))
            .ok_or(Full)?;
        let at = self.place(memory, len).ok_or(Full)?;
        let room = memory.get_mut(at + PREFIX..).ok_or(Full)?;
        bytes::concat(room, parts).ok_or(Full)?;
        self.commit(memory, at, len)
    }

    /// Appends one record that `write` writes into the largest contiguous room there is; it returns
    /// the length. `Ok` means that the record is in the ring.
    ///
    /// # Errors
    /// [`Full`] when there is no room for any record; `write` is not called. Those of `write`,
    /// which decides what too little room means. Nothing changes then.
    pub fn push_with<E: From<Full>>(
        &mut self,
        memory: &mut [u8],
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let largest = self.largest(memory).ok_or(Full)?;
        let at = self.place(memory, largest).ok_or(Full)?;
        let room = memory.get_mut(at + PREFIX..).ok_or(Full)?;
        let len = write(room.get_mut(..largest).ok_or(Full)?)?;
        debug_assert!(len <= largest, "more was written than there is room");
        if len > largest {
            return Err(Full.into());
        }
        Ok(self.commit(memory, at, len)?)
    }

    /// Returns the oldest record.
    pub fn front<'m>(&self, memory: &'m [u8]) -> Option<&'m [u8]> {
        let (start, len) = self.locate(memory)?;
        memory.get(start..start + len)
    }

    /// Returns the oldest record, to be changed in place.
    pub fn front_mut<'m>(&self, memory: &'m mut [u8]) -> Option<&'m mut [u8]> {
        let (start, len) = self.locate(memory)?;
        memory.get_mut(start..start + len)
    }

    /// Returns the newest record, to be changed in place; `None` also between
    /// [`pop_back`](Self::pop_back) and the next push.
    pub fn back_mut<'m>(&self, memory: &'m mut [u8]) -> Option<&'m mut [u8]> {
        if self.back == self.tail {
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

    /// Takes back the latest push. Nothing happens when its record is gone, or at a second call: a
    /// record does not tell where the one before it is.
    pub fn pop_back(&mut self) {
        if self.back == self.tail {
            return;
        }
        // Where the record was the first at the start of the memory, the tail stays there: the mark
        // that leads there is already written.
        self.tail = self.back;
        self.records -= 1;
        if self.records == 0 {
            self.clear();
        }
    }

    /// Returns the length of the longest record that fits now.
    pub fn free(&self, memory: &[u8]) -> usize {
        self.largest(memory).unwrap_or(0)
    }

    fn locate(&self, memory: &[u8]) -> Option<(usize, usize)> {
        if self.records == 0 {
            return None;
        }
        let found = match read_prefix(memory, self.head) {
            Some(len) if len != WRAP => Some((self.head + PREFIX, len as usize)),
            // Too little room for a prefix, or a mark: the record is at the start.
            _ => read_prefix(memory, 0).map(|len| (PREFIX, len as usize)),
        };
        debug_assert!(
            found.is_some_and(|(start, len)| start + len <= memory.len()),
            "the memory is not the slice that was written to"
        );
        found
    }

    /// Contiguous room at the tail and, where the tail may wrap, at the start.
    ///
    /// Equal `head` and `tail` mean a full ring: an empty one is cleared. So the two halves of the
    /// memory cannot be mistaken for one another.
    fn rooms(&self, memory: &[u8]) -> (usize, usize) {
        if self.records > 0 && self.tail <= self.head {
            (self.head - self.tail, 0)
        } else {
            (memory.len().saturating_sub(self.tail), self.head)
        }
    }

    fn largest(&self, memory: &[u8]) -> Option<usize> {
        let (end, start) = self.rooms(memory);
        end.max(start)
            .checked_sub(PREFIX)
            .map(|largest| largest.min(WRAP as usize - 1))
    }

    /// Where the prefix of a record of `len` bytes goes: at the tail, at the start where only that
    /// helps. Nothing changes, so that a write may still fail.
    fn place(&self, memory: &[u8], len: usize) -> Option<usize> {
        let (end, start) = self.rooms(memory);
        let needed = len.checked_add(PREFIX).filter(|_| len < WRAP as usize)?;
        if needed <= end {
            Some(self.tail)
        } else {
            (needed <= start).then_some(0)
        }
    }

    /// Counts a record that was written behind where `place` put its prefix.
    fn commit(&mut self, memory: &mut [u8], at: usize, len: usize) -> Result<(), Full> {
        let prefix = u32::try_from(len).map_err(|_| Full)?.to_be_bytes();
        if at != self.tail
            && let Some(mark) = memory.get_mut(self.tail..self.tail + PREFIX)
        {
            mark.copy_from_slice(&WRAP.to_be_bytes());
        }
        let place = memory.get_mut(at..).ok_or(Full)?;
        bytes::copy(place, &prefix).ok_or(Full)?;
        self.back = at;
        self.tail = at + PREFIX + len;
        self.records += 1;
        Ok(())
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
            steps in prop::collection::vec((0_u8..6, 0_usize..60), 0..200),
        ) {
            let mut memory = std::vec![0; size];
            let mut ring = Ring::new();
            let mut model: VecDeque<Vec<u8>> = VecDeque::new();
            // Whether the ring knows its newest record.
            let mut known = false;
            for (i, (step, len)) in steps.into_iter().enumerate() {
                let record = std::vec![i as u8; len];
                let free = ring.free(&memory);
                match step {
                    0 => match ring.push(&mut memory, &[&record]) {
                        Ok(()) => {
                            prop_assert!(len <= free);
                            model.push_back(record);
                            known = true;
                        }
                        Err(Full) => prop_assert!(free < len || free == 0),
                    },
                    1 => {
                        let written = ring.push_with(&mut memory, |room| {
                            let place = room.get_mut(..len).ok_or(Full)?;
                            place.copy_from_slice(&record);
                            Ok::<_, Full>(len)
                        });
                        if written.is_ok() {
                            model.push_back(record);
                            known = true;
                        } else {
                            prop_assert!(free < len || free == 0);
                        }
                    }
                    2 => {
                        let failed = ring.push_with(&mut memory, |_| Err::<usize, _>(Full));
                        prop_assert_eq!(failed, Err(Full));
                        prop_assert_eq!(ring.free(&memory), free, "a failed write costs nothing");
                    }
                    3 => {
                        ring.pop_back();
                        if known {
                            model.pop_back();
                        }
                        known = false;
                    }
                    _ => {
                        prop_assert_eq!(ring.front(&memory), model.front().map(Vec::as_slice));
                        ring.pop(&memory);
                        model.pop_front();
                    }
                }
                known &= !model.is_empty();
                let newest = model.back().filter(|_| known).map(Vec::as_slice);
                prop_assert_eq!(ring.back_mut(&mut memory).map(|record| &*record), newest);
                prop_assert_eq!(ring.len(), model.len());
            }
        }
    }

    /// `push_with` called the write with an empty room and said `Ok` where not even a prefix fits.
    #[test]
    fn ok_means_stored() {
        let (mut ring, mut memory) = (Ring::new(), [0; 10]);
        ring.push(&mut memory, &[b"abc"]).unwrap();
        let nothing = |_: &mut [u8]| Ok::<_, Full>(0);
        assert_eq!(ring.push_with(&mut memory, nothing), Err(Full));
        assert_eq!(ring.len(), 1);
        assert_eq!(Ring::new().push_with(&mut [0; 3], nothing), Err(Full));
    }

    #[test]
    fn a_failed_write_changes_nothing() {
        let (mut ring, mut memory) = (Ring::new(), [0; 16]);
        ring.push(&mut memory, &[b"abc"]).unwrap();
        assert_eq!(
            ring.push_with(&mut memory, |_| Err::<usize, _>(Full)),
            Err(Full)
        );
        ring.push_with(&mut memory, |room| {
            room[..2].copy_from_slice(b"de");
            Ok::<_, Full>(2)
        })
        .unwrap();
        ring.pop(&memory);
        assert_eq!(ring.front(&memory), Some(&b"de"[..]));
    }
}
