//! Copies within and between slices without a panic. Where a length or a place does not fit,
//! nothing is done and `None` is returned.
//!
//! All of the crate's copies go through here. So the optimizer can prove, and `tests/sizes/run`
//! checks, that no panic is left in the crate; below `opt-level` 3 it does not look into `core`,
//! and those of this file remain in sight.

use core::{fmt, ops::Range};

/// Copies `from` to the start of `to`.
#[inline]
#[must_use]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) -> Option<()> {
    to.get_mut(..from.len())?.copy_from_slice(from);
    Some(())
}

/// Copies `from` to where `len` bytes of `to` are written already, and counts it.
#[inline]
#[must_use]
pub(crate) fn append(to: &mut [u8], len: &mut usize, from: &[u8]) -> Option<()> {
    copy(to.get_mut(*len..)?, from)?;
    *len += from.len();
    Some(())
}

/// Copies `parts` to the start of `to`, one after the other; the bytes they take.
#[must_use]
pub(crate) fn concat(to: &mut [u8], parts: &[&[u8]]) -> Option<usize> {
    let mut len = 0;
    for part in parts {
        append(to, &mut len, part)?;
    }
    Some(len)
}

/// The first `len` bytes, where so many are known to be there.
#[inline]
pub(crate) fn front(memory: &[u8], len: usize) -> &[u8] {
    debug_assert!(len <= memory.len());
    memory.get(..len).unwrap_or_default()
}

/// As [`front`], to change.
#[inline]
pub(crate) fn front_mut(memory: &mut [u8], len: usize) -> &mut [u8] {
    debug_assert!(len <= memory.len());
    memory.get_mut(..len).unwrap_or_default()
}

/// What follows the first `at` bytes, where so many are known to be there.
#[inline]
pub(crate) fn rest(memory: &[u8], at: usize) -> &[u8] {
    debug_assert!(at <= memory.len());
    memory.get(at..).unwrap_or_default()
}

/// Moves the bytes at `from` to `to`; the two places may overlap.
#[inline]
#[must_use]
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
#[must_use]
pub(crate) fn rotate_left(memory: &mut [u8], by: usize) -> Option<()> {
    if by > memory.len() {
        return None;
    }
    memory.rotate_left(by);
    Some(())
}

/// Writes text into a slice. A piece that does not fit is an error, and nothing of it is written.
#[derive(Debug)]
pub(crate) struct TextBuffer<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> TextBuffer<'b> {
    pub(crate) const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, text: &str) -> Option<()> {
        append(self.buffer, &mut self.len, text.as_bytes())
    }

    /// Returns what was written.
    pub(crate) fn finish(self) -> &'b str {
        let text = core::str::from_utf8(front(self.buffer, self.len));
        debug_assert!(text.is_ok(), "only whole strings are written");
        text.unwrap_or_default()
    }
}

impl fmt::Write for TextBuffer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text).ok_or(fmt::Error)
    }
}

/// Formats a value piece by piece into what may fail: its error, or `None` if it was the value's
/// `Display` that failed.
pub(crate) fn format<E>(
    value: fmt::Arguments<'_>,
    put: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), Option<E>> {
    struct Pieces<F, E> {
        put: F,
        error: Option<E>,
    }
    impl<E, F: FnMut(&str) -> Result<(), E>> fmt::Write for Pieces<F, E> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            (self.put)(text).map_err(|error| {
                self.error = Some(error);
                fmt::Error
            })
        }
    }
    let mut pieces = Pieces { put, error: None };
    fmt::write(&mut pieces, value).map_err(|_| pieces.error)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_that_does_not_fit_is_not_begun() {
        let mut memory = [0; 5];
        let mut text = TextBuffer::new(&mut memory);
        let accent = '\u{e9}';
        assert!(write!(text, "ab{accent}").is_ok());
        assert!(write!(text, "xy").is_err());
        assert_eq!((text.push("z"), text.push("z")), (Some(()), None));
        assert_eq!(text.len(), 5);
        assert_eq!(text.finish(), "ab\u{e9}z");
    }

    #[test]
    fn a_format_tells_the_sinks_errors_from_the_values() {
        struct Refuses;
        impl fmt::Display for Refuses {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                Err(fmt::Error)
            }
        }
        let mut put = |text: &str| if text.contains('b') { Err(7) } else { Ok(()) };
        assert_eq!(format(format_args!("{}{}", 1, 2), &mut put), Ok(()));
        assert_eq!(format(format_args!("{}b", "a"), &mut put), Err(Some(7)));
        assert_eq!(format(format_args!("a{Refuses}"), &mut put), Err(None));
    }

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
