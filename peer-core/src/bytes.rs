//! What slices do with a panic, done without: where lengths or places do not fit, nothing is done.
//!
//! All of the crate's copies go through here. So the optimizer can prove, and `tests/sizes/run` checks, that no panic is
//! left in the crate; below `opt-level` 3 it does not look into `core`, and those of this file remain in sight.

use core::ops::Range;

/// Copies `from` to the start of `to`.
#[inline]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) -> Option<()> {
    to.get_mut(..from.len())?.copy_from_slice(from);
    Some(())
}

/// Copies `from` to where `len` bytes of `to` are written already, and counts it.
#[inline]
pub(crate) fn append(to: &mut [u8], len: &mut usize, from: &[u8]) -> Option<()> {
    copy(to.get_mut(*len..)?, from)?;
    *len += from.len();
    Some(())
}

/// Copies `parts` to the start of `to`, one after the other; the bytes they take.
pub(crate) fn concat(to: &mut [u8], parts: &[&[u8]]) -> Option<usize> {
    let mut len = 0;
    for part in parts {
        append(to, &mut len, part)?;
    }
    Some(len)
}

/// Moves the bytes at `from` to `to`; the two places may overlap.
#[inline]
pub(crate) fn copy_within(memory: &mut [u8], from: Range<usize>, to: usize) -> Option<()> {
    let len = from.end.checked_sub(from.start)?;
    if from.end > memory.len() || to > memory.len().checked_sub(len)? {
        return None;
    }
    memory.copy_within(from, to);
    Some(())
}

/// Moves the first `by` bytes behind the others.
#[inline]
pub(crate) fn rotate_left(memory: &mut [u8], by: usize) -> Option<()> {
    if by > memory.len() {
        return None;
    }
    memory.rotate_left(by);
    Some(())
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As slices do, but for their panics.
        #[test]
        fn what_fits_is_done_and_nothing_else(
            before in prop::collection::vec(any::<u8>(), 0..20),
            from in prop::collection::vec(any::<u8>(), 0..20),
            start in 0_usize..24,
            end in 0_usize..24,
            to in 0_usize..24,
        ) {
            let mut memory = before.clone();
            let mut len = to;
            let done = append(&mut memory, &mut len, &from);
            prop_assert_eq!(done.is_some(), to + from.len() <= before.len());
            if done.is_some() {
                prop_assert_eq!((len, &memory[to..len]), (to + from.len(), &from[..]));
            } else {
                prop_assert_eq!((len, &memory), (to, &before));
            }

            let (mut memory, mut model) = (before.clone(), before.clone());
            let fits = start <= end && end <= before.len() && to + (end - start) <= before.len();
            prop_assert_eq!(copy_within(&mut memory, start..end, to).is_some(), fits);
            if fits {
                model.copy_within(start..end, to);
            }
            prop_assert_eq!(&memory, &model);

            let (mut memory, mut model) = (before.clone(), before.clone());
            prop_assert_eq!(rotate_left(&mut memory, start).is_some(), start <= before.len());
            if start <= before.len() {
                model.rotate_left(start);
            }
            prop_assert_eq!(&memory, &model);

            let mut memory = before.clone();
            let whole = [&from[..], &from[..]].concat();
            let done = concat(&mut memory, &[&from, &from]);
            prop_assert_eq!(done, (whole.len() <= before.len()).then_some(whole.len()));
            if let Some(len) = done {
                prop_assert_eq!(&memory[..len], &whole[..]);
            }
        }
    }
}
