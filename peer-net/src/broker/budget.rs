//! Memory that all sessions share.

use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in use of a fixed number.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max,
        }
    }

    /// Takes `bytes` if they leave `reserve` free.
    pub(super) fn take(&self, bytes: usize, reserve: usize) -> bool {
        let max = self.max.saturating_sub(reserve);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&used| used <= max)
            })
            .is_ok()
    }

    /// Whether [`take`](Self::take) would have done so a moment ago.
    pub(super) fn has(&self, bytes: usize, reserve: usize) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used.saturating_add(bytes) <= self.max.saturating_sub(reserve)
    }

    /// Gives back what was taken.
    pub(super) fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}
