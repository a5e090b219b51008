//! Who may start a connection, decided before anything is created for it.

use tokio::time::Instant;

use crate::builder::{Admission, OFFER_BURST, OFFERS_PER_SECOND, Offer};

/// A bucket of [`OFFER_BURST`] offers, filled at [`OFFERS_PER_SECOND`], and the application's own rule.
pub(super) struct Gate {
    rule: Option<Admission>,
    /// In millionths of an offer.
    tokens: u64,
    filled: Instant,
}

const TOKEN: u64 = 1_000_000;

impl Gate {
    pub(super) fn new(rule: Option<Admission>) -> Self {
        Self {
            rule,
            tokens: u64::from(OFFER_BURST) * TOKEN,
            filled: Instant::now(),
        }
    }

    pub(super) fn admits(&mut self, offer: &Offer) -> bool {
        self.take(Instant::now()) && self.rule.as_ref().is_none_or(|rule| rule(offer))
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_micros();
        self.filled = now;
        let gained = u64::try_from(passed)
            .unwrap_or(u64::MAX)
            .saturating_mul(OFFERS_PER_SECOND.into());
        self.tokens = self
            .tokens
            .saturating_add(gained)
            .min(u64::from(OFFER_BURST) * TOKEN);
        let left = self.tokens.checked_sub(TOKEN);
        self.tokens = left.unwrap_or(self.tokens);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut gate = Gate::new(None);
        let start = gate.filled;
        let passed = (0..1000).filter(|_| gate.take(start)).count();
        assert_eq!(passed, OFFER_BURST as usize);
        let later = start + Duration::from_secs(1);
        let passed = (0..1000).filter(|_| gate.take(later)).count();
        assert_eq!(passed, OFFERS_PER_SECOND as usize);
    }
}
