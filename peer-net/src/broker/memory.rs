//! Memory that all sessions share.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use bytes::Bytes;

/// Bytes that are in use, up to a fixed number.
#[derive(Debug)]
pub(super) struct Memory {
    used: AtomicUsize,
    max: usize,
}

impl Memory {
    /// Half of the memory is for those who hold no more than this, so that a few who take all they
    /// can do not leave nothing to the others.
    pub(super) const SMALL: usize = 16 * 1024;

    pub(super) fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max,
        }
    }

    /// Takes `bytes` if they are free.
    pub(super) fn take(&self, bytes: usize) -> bool {
        self.take_below(self.max, bytes)
    }

    /// Takes `bytes` for a holder of `held`, if they leave `reserve` free.
    pub(super) fn take_for(&self, bytes: usize, held: usize, reserve: usize) -> bool {
        self.take_below(self.bound(bytes, held, reserve), bytes)
    }

    /// Whether [`take_for`](Self::take_for) would have done so a moment ago.
    pub(super) fn has_for(&self, bytes: usize, held: usize, reserve: usize) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used.saturating_add(bytes) <= self.bound(bytes, held, reserve)
    }

    /// Gives back what was taken.
    pub(super) fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// What may be in use after `bytes` more for a holder of `held`.
    fn bound(&self, bytes: usize, held: usize, reserve: usize) -> usize {
        let max = self.max.saturating_sub(reserve);
        if held.saturating_add(bytes) <= Self::SMALL {
            max
        } else {
            max / 2
        }
    }

    fn take_below(&self, bound: usize, bytes: usize) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&used| used <= bound)
            })
            .is_ok()
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// A text that counts while anybody has it. `None`: there is no room.
pub(super) fn charged(text: String, memory: &Arc<Memory>) -> Option<Bytes> {
    memory.take(text.len()).then(|| {
        Bytes::from_owner(Charged {
            text,
            memory: memory.clone(),
        })
    })
}

struct Charged {
    text: String,
    memory: Arc<Memory>,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.memory.give(self.text.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_take_all_they_can_leave_half_to_the_others() {
        let memory = Memory::new(8 * Memory::SMALL);
        let take_all = || {
            let mut held = 0;
            while memory.take_for(Memory::SMALL / 4, held, 0) {
                held += Memory::SMALL / 4;
            }
            held
        };
        assert_eq!(take_all(), 4 * Memory::SMALL);
        for _ in 0..4 {
            assert!(memory.has_for(Memory::SMALL, 0, 0));
            assert!(!memory.has_for(Memory::SMALL, 0, 4 * Memory::SMALL));
            assert_eq!(take_all(), Memory::SMALL);
        }
        assert_eq!(take_all(), 0);
    }
}
