//! Whom to let in: the application's rule, a share of the table for each remote, and who gives way.

use crate::wire::signal::{Peek, peek};

use super::{
    ConnectionError, IncomingOffer, Peer,
    slot::{Slot, State},
};

impl Peer<'_> {
    /// Whether a message of the broker may need room that polling would make. Asked before the
    /// message is parsed, since that changes it, and it will be fed again.
    pub(super) fn must_drain_for(&mut self, message: &[u8]) -> bool {
        // Both at once, so that polling once makes room for all of it.
        if self.table.len() >= self.table.capacity() {
            self.make_way_for(message);
            if self.table.iter().any(|(_, slot)| slot.is_leaving()) {
                return true;
            }
        }
        let queue = &self.memory.rtc;
        !queue.is_empty() && queue.free() < message.len()
    }

    /// Ends what an OFFER takes the place of, where the table is full. Its slot is free when it was
    /// polled.
    fn make_way_for(&mut self, message: &[u8]) {
        // Not parsed yet, since that changes it. What `peek` does not read is dropped where the
        // table is full: PeerServer writes no such OFFER.
        let Some(Peek {
            kind: "OFFER",
            src: Some(src),
            connection_id,
            label,
            metadata,
        }) = peek(message)
        else {
            return;
        };
        let id = connection_id.unwrap_or_default();
        let replaced = |slot: &Slot| slot.is_between(src, id);
        if let Some((_, slot)) = self.table.iter_mut().find(|(_, slot)| replaced(slot)) {
            // As PeerJS does: an offer for a connection that exists replaces it.
            slot.end(ConnectionError::RemoteClosed);
            self.dirty.set();
            return;
        }
        // One that is refused must not cost another its place.
        if self.table.iter().any(|(_, slot)| slot.is_leaving())
            || !self.admits(src, id, label, metadata)
        {
            return;
        }
        let newcomer = self.held(src, "");
        let found = self
            .table
            .iter()
            .filter(|(_, slot)| slot.is_incoming())
            .filter_map(|(handle, slot)| match slot.state {
                State::Negotiating { deadline, .. } => Some((handle, slot, deadline)),
                _ => None,
            })
            .map(|(handle, slot, deadline)| {
                let held = self.held(slot.remote.as_str(), "");
                (handle, held, slot.stage, deadline)
            })
            .filter(|(_, held, ..)| *held > newcomer)
            // Who holds most; of those who got least far; of those the oldest.
            .min_by_key(|(_, held, stage, deadline)| {
                (core::cmp::Reverse(*held), *stage, *deadline)
            });
        if let Some((handle, ..)) = found
            && let Some(slot) = self.table.get_mut(handle)
        {
            slot.end(ConnectionError::GaveWay);
            self.dirty.set();
        }
    }

    /// Whether the offer of a connection that is new may have a slot. `id` names one that it
    /// replaces.
    pub(super) fn admits(
        &self,
        src: &str,
        id: &str,
        label: Option<&str>,
        metadata: Option<&str>,
    ) -> bool {
        let held = self.held(src, id);
        let offer = IncomingOffer {
            peer: src,
            label,
            metadata,
            held,
        };
        (self.config.admit)(&offer) && (!self.is_crowded() || held < self.share())
    }

    /// Incoming connections of a remote that are not over, but for the one with this id.
    fn held(&self, remote: &str, but: &str) -> usize {
        let counts = |slot: &Slot| {
            slot.is_incoming()
                && !slot.is_over()
                && slot.remote.as_str() == remote
                && slot.id.as_str() != but
        };
        self.table.iter().filter(|(_, slot)| counts(slot)).count()
    }

    /// Whether more than half of the table is in use.
    fn is_crowded(&self) -> bool {
        self.table.len() > self.table.capacity() / 2
    }

    /// What one remote may hold of a crowded table.
    fn share(&self) -> usize {
        match self.config.remote_share {
            0 => (self.table.capacity() / 4).max(1),
            share => share,
        }
    }
}
