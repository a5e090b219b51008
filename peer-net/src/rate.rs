//! How often something may be done.

use peer_core::time::Instant;

/// A bucket of so many, filled at so many a second. Told the time.
pub(crate) struct Rate {
    burst: u32,
    per_second: u32,
    /// In millionths.
    tokens: u64,
    filled: Instant,
}

const TOKEN: u64 = 1_000_000;

impl Rate {
    pub(crate) fn new(now: Instant, burst: u32, per_second: u32) -> Self {
        Self {
            burst,
            per_second,
            tokens: u64::from(burst) * TOKEN,
            filled: now,
        }
    }

    /// Whether it may be done now; then it counts as done.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let left = self.tokens.checked_sub(TOKEN);
        self.tokens = left.unwrap_or(self.tokens);
        left.is_some()
    }

    /// Whether nothing of the burst is spent.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= u64::from(self.burst) * TOKEN
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_micros();
        self.filled = now;
        let gained = u64::try_from(passed)
            .unwrap_or(u64::MAX)
            .saturating_mul(self.per_second.into());
        self.tokens = self
            .tokens
            .saturating_add(gained)
            .min(u64::from(self.burst) * TOKEN);
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut rate = Rate::new(Instant::ZERO, 128, 32);
        let start = Instant::ZERO;
        let passed = (0..1000).filter(|_| rate.take(start)).count();
        assert_eq!(passed, 128);
        let later = start + Duration::from_secs(1);
        let passed = (0..1000).filter(|_| rate.take(later)).count();
        assert_eq!(passed, 32);
    }
}
