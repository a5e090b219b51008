//! Deadlines: what happens when time has passed.

use crate::time::{Instant, earlier};

use super::{FailureReason, Peer, PeerError, broker::Link, slot::Phase};

impl Peer<'_> {
    /// When [`Input::Timeout`](super::Input::Timeout) is due next.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.table
            .iter()
            .map(|(_, slot)| slot.deadline)
            .fold(self.broker.next_timeout(self.now), earlier)
    }

    /// Fires what is due. Each deadline is gone or ahead of `now` afterwards, however far time jumped.
    pub(super) fn fire(&mut self) {
        let now = self.now;
        self.broker.beat(now, self.config.ping_interval);
        if self.broker.expired(now) {
            match self.broker.link {
                Link::Retrieving => self.broker_failed(PeerError::ServerError),
                Link::Opening => self.broker.down(Some(PeerError::Network), true),
                // A socket without an error for the whole grace: the broker took the id over.
                Link::Attached => self.broker.opened(),
                Link::Down | Link::Open => {}
            }
        }
        let reason = if self.broker.is_open() {
            FailureReason::TimedOut
        } else {
            FailureReason::BrokerLost
        };
        for (_, slot) in self.table.iter_mut() {
            if slot.deadline.take_if(|deadline| *deadline <= now).is_none() {
                continue;
            }
            // Only an offer that never left can blame the broker. An open connection waited long enough for
            // the remote to close it.
            slot.end(match slot.phase {
                Phase::Negotiating if slot.stage == super::Stage::Offer => reason,
                _ => FailureReason::TimedOut,
            });
        }
        self.dirty.set();
    }
}
