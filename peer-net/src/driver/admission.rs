//! Who may start a connection, decided before anything is created for it.

use peer_core::PeerId;
use tokio::time::Instant;

use crate::builder::{Admission, OFFER_BURST, OFFERS_PER_SECOND, Offer, PENDING_SHARE};

/// A bucket of [`OFFER_BURST`] offers, filled at [`OFFERS_PER_SECOND`], and the application's own rule.
pub(super) struct Gate {
    max_connections: usize,
    rule: Option<Admission>,
    /// In millionths of an offer.
    tokens: u64,
    filled: Instant,
}

const TOKEN: u64 = 1_000_000;

impl Gate {
    pub(super) fn new(max_connections: usize, rule: Option<Admission>) -> Self {
        Self {
            max_connections,
            rule,
            tokens: u64::from(OFFER_BURST) * TOKEN,
            filled: Instant::now(),
        }
    }

    /// `pending` are the remotes of the incoming connections that are not open yet.
    pub(super) fn admits<'p>(
        &mut self,
        offer: &Offer,
        pending: impl Iterator<Item = &'p PeerId>,
    ) -> bool {
        let (mut all, mut of_remote) = (0, 0);
        for remote in pending {
            all += 1;
            of_remote += usize::from(*remote == offer.peer);
        }
        let share = (self.max_connections / PENDING_SHARE).max(1);
        all < share
            && of_remote < (share / PENDING_SHARE).max(1)
            && self.take(Instant::now())
            && self.rule.as_ref().is_none_or(|rule| rule(offer))
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
        let mut gate = Gate::new(8, None);
        let start = gate.filled;
        let passed = (0..1000).filter(|_| gate.take(start)).count();
        assert_eq!(passed, OFFER_BURST as usize);
        let later = start + Duration::from_secs(1);
        let passed = (0..1000).filter(|_| gate.take(later)).count();
        assert_eq!(passed, OFFERS_PER_SECOND as usize);
    }

    #[test]
    fn remotes_that_do_not_get_on_leave_room_for_others() {
        let mut gate = Gate::new(8, None);
        let offer = |peer: &str| Offer {
            peer: PeerId::new(peer).unwrap(),
            connection_id: peer_core::ConnectionId::from_random(1),
            label: String::new(),
            metadata: None,
            reliable: false,
            serialization: peer_core::serialization::Serialization::Binary,
        };
        let [mallory, alice] = ["mallory", "alice"].map(offer);
        let one = [mallory.peer.clone()];
        assert!(gate.admits(&mallory, one.iter()));
        let two = [mallory.peer.clone(), mallory.peer.clone()];
        assert!(!gate.admits(&mallory, two.iter()), "a quarter is taken");
        assert!(gate.admits(&alice, two.iter()));
        let four = [two, [alice.peer.clone(), alice.peer.clone()]].concat();
        assert!(
            !gate.admits(&offer("bob"), four.iter()),
            "one half is taken"
        );
        assert!(Gate::new(1, None).admits(&alice, [].iter()));
    }
}
