//! Bytes in a circle: what goes beyond the end of the memory goes on at its start.
//!
//! Positions are always below the length of the memory. Every call checks; a position or a length
//! that cannot be is `None`, or nothing.

use crate::bytes;

/// The position `by` bytes behind `at`.
#[inline]
pub(super) const fn forward(capacity: usize, at: usize, by: usize) -> usize {
    let sum = at.saturating_add(by);
    if sum < capacity { sum } else { sum - capacity }
}

/// The two pieces in which `len` bytes from `at` on lie. The second is empty where they do not
/// wrap.
#[inline]
pub(super) fn pieces(memory: &[u8], at: usize, len: usize) -> Option<(&[u8], &[u8])> {
    let behind = memory.get(at..)?;
    match behind.get(..len) {
        Some(whole) => Some((whole, &[])),
        None if len > memory.len() => None,
        None => Some((behind, memory.get(..len - behind.len())?)),
    }
}

/// Copies the bytes from `at` on to `to`.
#[inline]
pub(super) fn read(memory: &[u8], at: usize, to: &mut [u8]) -> Option<()> {
    let (first, second) = pieces(memory, at, to.len())?;
    bytes::copy(to, first)?;
    bytes::copy(to.get_mut(first.len()..)?, second)
}

/// Copies `from` to `at` and behind.
#[inline]
pub(super) fn write(memory: &mut [u8], at: usize, from: &[u8]) -> Option<()> {
    if from.len() > memory.len() {
        return None;
    }
    let behind = memory.get_mut(at..)?;
    match from.split_at_checked(behind.len()) {
        Some((first, second)) => {
            bytes::copy(behind, first)?;
            bytes::copy(memory, second)
        }
        None => bytes::copy(behind, from),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            capacity in 1_usize..40, at in 0_usize..40,
            from in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let at = at % capacity;
            let mut memory = std::vec![0; capacity];
            if from.len() > capacity {
                prop_assert_eq!(pieces(&memory, at, from.len()), None);
                return Ok(());
            }
            prop_assert_eq!(write(&mut memory, at, &from), Some(()));
            let mut back = std::vec![0; from.len()];
            prop_assert_eq!(read(&memory, at, &mut back), Some(()));
            prop_assert_eq!(&back, &from);
            let end = forward(capacity, at, from.len());
            prop_assert_eq!(end, (at + from.len()) % capacity);
        }
    }
}
