//! When to try again.

use crate::time::{Duration, Instant};

/// Pauses that double from `first` to `most`, each cut by up to half at random: many devices that
/// lost the same server do not come back at the same time.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    attempt: u32,
}

impl Backoff {
    pub(super) const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            attempt: 0,
        }
    }

    /// The time of the next attempt. `random` is any 16 random bits.
    pub(super) fn next(&mut self, now: Instant, random: u16) -> Instant {
        let doubled = self
            .first
            .saturating_mul(1_u32.checked_shl(self.attempt).unwrap_or(u32::MAX))
            .min(self.most);
        self.attempt = (self.attempt + 1).min(31);
        let half = u64::try_from(doubled.as_micros() / 2).unwrap_or(u64::MAX);
        let share = u128::from(half) * u128::from(random) / u128::from(u16::MAX);
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        now + Duration::from_micros(half.saturating_add(share))
    }

    /// It worked: the next pause is the first again.
    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_limit_and_start_over() {
        let (first, most) = (Duration::from_millis(500), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, most);
        let mut before = Duration::ZERO;
        for attempt in 0..100 {
            let pause = backoff
                .next(Instant::ZERO, u16::MAX)
                .saturating_duration_since(Instant::ZERO);
            let doubled = first * 2_u32.pow(attempt.min(20));
            assert_eq!(pause, doubled.min(most));
            assert!(pause >= before);
            before = pause;
        }
        backoff.reset();
        assert_eq!(backoff.next(Instant::ZERO, 0), Instant::ZERO + first / 2);
    }

    #[test]
    fn any_duration_will_do() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        for _ in 0..3 {
            assert!(backoff.next(Instant::from_millis(1), 9) > Instant::from_millis(1));
        }
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(backoff.next(Instant::ZERO, 9), Instant::ZERO);
    }
}
