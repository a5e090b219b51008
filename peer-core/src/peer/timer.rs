//! Deadlines: what happens when time has passed.

use crate::time::{Instant, earlier};

use super::{ConnectionError, Peer, PeerError, Stage, broker::Expired, slot::State};

impl Peer<'_> {
    /// When [`Input::Timeout`](super::Input::Timeout) is due next; `None`: nothing is scheduled.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.table
            .iter()
            .map(|(_, slot)| slot.deadline())
            .fold(self.broker.next_timeout(self.now), earlier)
    }

    /// Fires what is due. Each deadline is gone or ahead of `now` afterwards, however far time
    /// jumped.
    pub(super) fn fire(&mut self) {
        let now = self.now;
        self.broker.beat(now, self.config.ping_interval);
        match self.broker.expire(now) {
            Expired::Nothing => {}
            Expired::Retrieving => self.broker_failed(PeerError::ServerError),
            Expired::Opening => self.broker.down(Some(PeerError::Network), true),
        }
        // Only an offer that never left can blame the broker.
        let unsent = if self.broker.is_open() {
            ConnectionError::TimedOut
        } else {
            ConnectionError::BrokerLost
        };
        for (_, slot) in self.table.iter_mut() {
            if slot.deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            slot.end(match slot.state {
                State::Negotiating { .. } if slot.stage == Stage::Offer => unsent,
                _ => ConnectionError::TimedOut,
            });
        }
        self.dirty.set();
    }
}
