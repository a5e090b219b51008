//! Who may start a connection, decided before anything is created for it.

use peer_core::PeerId;

use crate::builder::{Admission, OFFER_BURST, OFFERS_PER_SECOND, Offer, PENDING_SHARE};
use crate::rate::Rate;

/// A rate, shares of the places, and the application's own rule.
pub(super) struct Gate {
    max_connections: usize,
    rule: Option<Admission>,
    rate: Rate,
}

impl Gate {
    pub(super) fn new(max_connections: usize, rule: Option<Admission>) -> Self {
        Self {
            max_connections,
            rule,
            rate: Rate::new(OFFER_BURST, OFFERS_PER_SECOND),
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
            && self.rate.take()
            && self.rule.as_ref().is_none_or(|rule| rule(offer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
