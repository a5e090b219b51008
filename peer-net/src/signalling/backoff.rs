//! When to come back to a lost broker.

use core::time::Duration;

use tokio::time::Instant;

use crate::limits::RECONNECT_PAUSE_MAX;

const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Pauses that double, each cut by up to half at random so that many peers do not return at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempt: u32,
    due: Option<Instant>,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(random: u64) -> Self {
        Self {
            attempt: 0,
            due: None,
            random: random | 1,
        }
    }

    /// Plans the next attempt.
    pub(crate) fn begin(&mut self) {
        let pause = self.pause();
        self.due = Some(Instant::now() + pause);
    }

    /// When the next attempt is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The attempt is being made, or is no longer wanted.
    pub(crate) fn taken(&mut self) {
        self.due = None;
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
        self.due = None;
    }

    fn pause(&mut self) -> Duration {
        let doubled =
            FIRST_PAUSE.saturating_mul(1_u32.checked_shl(self.attempt).unwrap_or(u32::MAX));
        self.attempt = (self.attempt + 1).min(31);
        // xorshift64: jitter needs no better.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let percent = u32::try_from(50 + self.random % 51).unwrap_or(100);
        doubled.min(RECONNECT_PAUSE_MAX) * percent / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_over() {
        let mut backoff = Backoff::new(7);
        let pauses: Vec<_> = (0..40).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= FIRST_PAUSE && pauses[0] >= FIRST_PAUSE / 2);
        assert!(pauses[20] >= RECONNECT_PAUSE_MAX / 2);
        assert!(pauses.iter().all(|pause| *pause <= RECONNECT_PAUSE_MAX));
        backoff.reset();
        assert!(backoff.pause() <= FIRST_PAUSE);
    }
}
