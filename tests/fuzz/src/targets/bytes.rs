//! Bytes as decisions: what a target does is spelled out by its input. And bytes that are sent.

use std::sync::LazyLock;

/// Where [`pattern`] is the same again.
const PERIOD: usize = 1 << 16;
/// The longest part of it, in bytes.
pub(super) const PATTERN_MAX: usize = 8_192;

/// Bytes that differ from one place to the next: `len` of them, at most [`PATTERN_MAX`], the first
/// one at `at`. They are made once, and compared as a whole, as nothing else is done so often.
pub(super) fn pattern(at: u64, len: usize) -> &'static [u8] {
    static ALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0..(PERIOD + PATTERN_MAX) as u64)
            .map(|at| ((at % PERIOD as u64).wrapping_mul(0x9e37_79b9) >> 13) as u8)
            .collect()
    });
    let from = (at % PERIOD as u64) as usize;
    &ALL[from..from + len]
}

/// What is left of an input. At its end everything is 0 and empty.
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    /// Two bytes, the lower one first.
    pub(super) fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number below `n`, which is not 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    /// Up to 255 bytes, their number before them.
    pub(super) fn piece(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte());
        self.take(len)
    }

    /// Up to 65,535 bytes, their number before them.
    pub(super) fn long_piece(&mut self) -> &'a [u8] {
        let len = usize::from(self.word());
        self.take(len)
    }

    /// A piece as text; what is not UTF-8 in it becomes U+FFFD.
    pub(super) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.piece()).into_owned()
    }

    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }
}
