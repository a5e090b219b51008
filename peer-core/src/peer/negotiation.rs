//! Signalling: what the broker's messages and the sessions' descriptions and candidates lead to.

use crate::{
    ConnectionId, Label, PeerId,
    config::{CANDIDATE_MAX, SDP_MAX},
    serialization::Serialization,
    wire::{
        json::{self, EncodeError},
        signal::{
            Answer, IceCandidateInit, Offer, Signal, write_answer, write_candidate, write_offer,
        },
    },
};

pub(super) use crate::wire::signal::HEARTBEAT;

use super::{
    ConnectionError, ConnectionHandle, InputError, Peer, PeerError, RtcFailure, RtcInput, Stage,
    early::{Early, Owner},
    gone,
    resources::{Kind, Memory},
    slot::{Negotiation, Origin, Slot, pending},
};

impl Peer<'_> {
    /// One message of the broker.
    pub(super) fn signal(&mut self, bytes: &mut [u8]) -> Result<(), InputError> {
        if self.must_drain_for(bytes) {
            return Err(InputError::Full);
        }
        let message = match Signal::parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                debug!("dropped a signal: {}", error);
                return Err(self.malformed());
            }
        };
        match message {
            Signal::Error { msg } => self.refused(PeerError::ServerError, msg),
            Signal::IdTaken { msg } => self.refused(PeerError::UnavailableId, msg),
            Signal::InvalidKey { msg } => self.refused(PeerError::InvalidKey, msg),
            message => {
                // Whatever the broker relays, it knows us.
                self.broker.opened();
                self.dirty.set();
                return self.relayed(message);
            }
        }
        Ok(())
    }

    fn relayed(&mut self, message: Signal<'_>) -> Result<(), InputError> {
        match message {
            Signal::Offer { src, offer } => return self.offer(src, &offer),
            Signal::Answer { src, answer } => return self.answer(src, &answer),
            Signal::Candidate {
                candidate: None, ..
            } => {}
            Signal::Candidate {
                src,
                connection_id,
                candidate: Some(candidate),
            } => {
                return self.candidate(src, connection_id, candidate.candidate);
            }
            Signal::Leave { src } => {
                for (_, slot) in self
                    .table
                    .iter_mut()
                    .filter(|(_, slot)| slot.remote == *src)
                {
                    slot.end(ConnectionError::RemoteClosed);
                }
            }
            Signal::Expire { src } => {
                let waiting = |slot: &Slot| slot.remote == *src && slot.awaits_answer();
                for (_, slot) in self.table.iter_mut().filter(|(_, slot)| waiting(slot)) {
                    slot.end(ConnectionError::PeerUnavailable);
                    self.broker.unavailable();
                }
            }
            Signal::Media { .. } => {
                self.stats.media_offers = self.stats.media_offers.wrapping_add(1);
            }
            _ => {}
        }
        Ok(())
    }

    /// The broker refused us.
    fn refused(&mut self, error: PeerError, text: &str) {
        warning!("the broker refused this peer: {}", text);
        self.broker.keep_message(text);
        self.broker_failed(error);
    }

    fn offer(&mut self, src: &str, offer: &Offer<'_>) -> Result<(), InputError> {
        let own = self.config.id.as_ref().is_some_and(|id| id.as_str() == src);
        let (Ok(remote), Some(serialization), false) = (
            PeerId::from_wire(src),
            offer.serialization.and_then(Serialization::from_wire),
            own,
        ) else {
            return Err(self.malformed());
        };
        let id = match offer.connection_id {
            Some(id) => ConnectionId::from_wire(id),
            // As PeerJS does: the answer carries the invented one.
            None => Ok(self.draw_connection_id()),
        };
        let Ok(id) = id else {
            return Err(self.malformed());
        };
        let label = match offer.label {
            Some(label) if !label.is_empty() => Label::from_wire(label),
            _ => Label::from_wire(id.as_str()),
        };
        let Ok(label) = label else {
            return Err(self.malformed());
        };
        if offer.sdp.len() > SDP_MAX {
            return Err(self.malformed());
        }

        if !self.admits(src, id.as_str(), offer.label, offer.metadata) {
            self.stats.refused_offers = self.stats.refused_offers.wrapping_add(1);
            return Ok(());
        }
        // As PeerJS does: an offer for a connection that exists replaces it.
        for (_, slot) in self.table.iter_mut() {
            if slot.is_between(src, id.as_str()) {
                slot.end(ConnectionError::RemoteClosed);
            }
        }
        let deadline = self.now + self.config.connect_timeout;
        let Some((handle, slot)) = self.table.claim() else {
            return self.dropped();
        };
        if self
            .memory
            .rtc
            .push(handle, Kind::Offer, offer.sdp)
            .is_err()
        {
            self.table.remove(handle);
            return self.dropped();
        }
        slot.reset(serialization, Negotiation::WantsAnswer, deadline);
        slot.remote = remote;
        slot.id = id;
        slot.label = label;
        slot.reliable = offer.reliable;
        slot.origin = Origin::Theirs;
        slot.stage = Stage::Answer;
        slot.events = pending::CONNECTION;
        slot.set_metadata(offer.metadata, self.memory.metadata.of_mut(handle.index()));
        self.dirty.early = true;
        Ok(())
    }

    fn answer(&mut self, src: &str, answer: &Answer<'_>) -> Result<(), InputError> {
        let found = self
            .table
            .iter_mut()
            .find(|(_, slot)| slot.is_between(src, answer.connection_id));
        // An answer nobody waits for is of no use later either: with its OFFER we would be the ones
        // to answer.
        let Some((handle, slot)) = found.filter(|(_, slot)| slot.awaits_answer()) else {
            return Err(self.malformed());
        };
        if answer.sdp.len() > SDP_MAX
            || self
                .memory
                .rtc
                .push(handle, Kind::Answer, answer.sdp)
                .is_err()
        {
            slot.end(ConnectionError::Rtc(RtcFailure::Description));
            return Err(self.malformed());
        }
        slot.negotiate(Negotiation::Connects);
        slot.reach(Stage::Ice);
        Ok(())
    }

    fn candidate(&mut self, src: &str, id: &str, candidate: &str) -> Result<(), InputError> {
        if candidate.len() > CANDIDATE_MAX {
            return self.dropped();
        }
        let unknown = |slot: &Slot| slot.negotiation() == Some(Negotiation::WantsOffer);
        match self.find(|slot| slot.is_between(src, id)) {
            // Nobody can know of it before its offer is made, and there is no session to add it to.
            Some(handle) if self.table.get(handle).is_some_and(unknown) => Err(self.malformed()),
            Some(handle) => match self.memory.rtc.push(handle, Kind::Candidate, candidate) {
                Ok(()) => Ok(()),
                Err(_) => self.dropped(),
            },
            None if PeerId::from_wire(src).is_err() || ConnectionId::from_wire(id).is_err() => {
                Err(self.malformed())
            }
            None => {
                let dropped = self.memory.early.keep(Owner::Remote { src, id }, candidate);
                self.stats.dropped_signals = self.stats.dropped_signals.wrapping_add(dropped);
                Ok(())
            }
        }
    }

    /// Something about a session.
    pub(super) fn rtc_input(
        &mut self,
        handle: ConnectionHandle,
        input: RtcInput<'_>,
    ) -> Result<(), InputError> {
        let failed = matches!(input, RtcInput::Failed(_));
        // A driver whose sessions are all gone says so of connections that have none yet, too.
        let concerns = |slot: &&mut Slot| !slot.is_over() && (slot.has_session() || failed);
        let Some(slot) = self.table.get_mut(handle.0).filter(concerns) else {
            return Err(self.stale());
        };
        self.dirty.set();
        match input {
            RtcInput::LocalDescription(sdp) => return self.local_description(handle, sdp),
            RtcInput::LocalCandidate(candidate) => return self.local_candidate(handle, candidate),
            RtcInput::ChannelOpened => slot.open(),
            RtcInput::Fragment(fragment) => return self.fragment(handle, fragment),
            RtcInput::MessageTooBig => self.too_big(handle),
            RtcInput::ChannelBuffered(bytes) => self.buffered(handle, bytes),
            RtcInput::ChannelCredit(bytes) => slot.credit = bytes,
            RtcInput::ChannelClosed => slot.end(ConnectionError::RemoteClosed),
            RtcInput::IceChecking => slot.ice_reached(Stage::Ice),
            RtcInput::IceConnected => slot.ice_reached(Stage::Dtls),
            RtcInput::DtlsConnected => slot.reach(Stage::Sctp),
            RtcInput::Failed(failure) => slot.fail(failure),
        }
        Ok(())
    }

    fn local_description(&mut self, handle: ConnectionHandle, sdp: &str) -> Result<(), InputError> {
        let Some(slot) = self.table.get_mut(handle.0) else {
            return Err(gone());
        };
        let Memory {
            signals, metadata, ..
        } = &mut self.memory;
        let dst = slot.remote.as_str();
        let (written, next) = match slot.negotiation() {
            Some(Negotiation::MakesAnswer) => {
                let answer = Answer {
                    sdp,
                    connection_id: slot.id.as_str(),
                };
                let written = signals.push_with(handle.0, Kind::Answer, |room| {
                    write_answer(dst, &answer, room).map(str::len)
                });
                (written, Negotiation::Connects)
            }
            Some(Negotiation::MakesOffer) => {
                let offer = Offer {
                    sdp,
                    connection_id: Some(slot.id.as_str()),
                    metadata: slot.metadata(metadata.of(handle.index())),
                    label: Some(slot.label.as_str()),
                    reliable: slot.reliable,
                    serialization: Some(slot.serialization.as_str()),
                };
                let written = signals.push_with(handle.0, Kind::Offer, |room| {
                    write_offer(dst, &offer, room).map(str::len)
                });
                (written, Negotiation::AwaitsAnswer)
            }
            // It was not asked for, or was given already.
            _ => return Err(self.stale()),
        };
        if written.is_ok() {
            slot.negotiate(next);
            if next == Negotiation::Connects {
                slot.reach(Stage::Ice);
            }
            self.dirty.early = true;
            return Ok(());
        }
        if self.broker.is_open() && !signals.is_empty() {
            return Err(InputError::Full);
        }
        slot.end(if self.broker.is_open() {
            ConnectionError::Rtc(RtcFailure::Resources)
        } else {
            ConnectionError::BrokerLost
        });
        self.dropped()
    }

    fn local_candidate(
        &mut self,
        handle: ConnectionHandle,
        candidate: &str,
    ) -> Result<(), InputError> {
        if candidate.is_empty() {
            return Ok(());
        }
        if candidate.len() > CANDIDATE_MAX {
            return self.dropped();
        }
        let Some(slot) = self.table.get(handle.0) else {
            return Err(gone());
        };
        if !slot.is_described() {
            let dropped = self.memory.early.keep(Owner::Local(handle.0), candidate);
            self.stats.dropped_signals = self.stats.dropped_signals.wrapping_add(dropped);
            return Ok(());
        }
        let signals = &mut self.memory.signals;
        let written = signals.push_with(handle.0, Kind::Candidate, |room| {
            write_local_candidate(slot, candidate, room)
        });
        match written {
            Ok(()) => Ok(()),
            Err(_) if self.broker.is_open() && !signals.is_empty() => Err(InputError::Full),
            Err(_) => self.dropped(),
        }
    }

    /// Looks whether a signal can be sent, and notes that it will be.
    pub(super) fn advance_signal(&mut self, room: usize) -> bool {
        self.release_local();
        let Some(front) = self.memory.signals.front() else {
            return false;
        };
        if front.len.max(1) > room {
            return false;
        }
        // What is for a connection that is over was dropped before.
        let slot = self.table.get_mut(front.handle);
        debug_assert!(slot.is_some(), "the signal is for a live connection");
        if let Some(slot) = slot.filter(|_| front.kind == Kind::Offer) {
            slot.reach(Stage::Answer);
        }
        true
    }

    /// Once nothing waits before them, sends local candidates whose description has gone.
    fn release_local(&mut self) {
        if !self.dirty.early || !self.memory.signals.is_empty() {
            return;
        }
        let (table, Memory { signals, early, .. }) = (&self.table, &mut self.memory);
        let described = |early: &Early<'_>| match early.owner {
            Owner::Local(handle) => table.get(handle).is_some_and(Slot::is_described),
            Owner::Remote { .. } => false,
        };
        let Some(found) = early.find(described) else {
            return;
        };
        if let Owner::Local(handle) = found.owner
            && let Some(slot) = table.get(handle)
        {
            let written = signals.push_with(handle, Kind::Candidate, |room| {
                write_local_candidate(slot, found.candidate, room)
            });
            if written.is_err() {
                self.stats.dropped_signals = self.stats.dropped_signals.wrapping_add(1);
            }
        }
        early.drop_oldest(described);
    }

    /// Once nothing waits before them, hands on candidates that came before the OFFER they belong
    /// to.
    pub(super) fn replay_early(&mut self) {
        if !self.dirty.early || !self.memory.rtc.is_empty() {
            return;
        }
        let (table, Memory { rtc, early, .. }) = (&self.table, &mut self.memory);
        let connection = |early: &Early<'_>| match early.owner {
            Owner::Remote { src, id } => table
                .iter()
                .find(|(_, slot)| slot.is_between(src, id))
                .map(|(handle, _)| handle),
            Owner::Local(_) => None,
        };
        let known = |early: &Early<'_>| connection(early).is_some();
        match early
            .find(known)
            .map(|early| (connection(&early), early.candidate))
        {
            Some((Some(handle), candidate)) => {
                if rtc.push(handle, Kind::Candidate, candidate).is_err() {
                    self.stats.dropped_signals = self.stats.dropped_signals.wrapping_add(1);
                }
                early.drop_oldest(known);
            }
            _ => {
                // Local ones may still wait for a broker that takes them.
                self.dirty.early = early
                    .iter()
                    .any(|early| matches!(early.owner, Owner::Local(_)));
            }
        }
    }

    /// Counts an input that nothing waits for.
    fn stale(&mut self) -> InputError {
        self.stats.stale_inputs = self.stats.stale_inputs.wrapping_add(1);
        InputError::Stale
    }

    pub(super) fn malformed(&mut self) -> InputError {
        self.stats.malformed_signals = self.stats.malformed_signals.wrapping_add(1);
        InputError::Malformed
    }

    /// Counts what was dropped for want of room. No error: feeding it again would not help.
    fn dropped(&mut self) -> Result<(), InputError> {
        debug!("dropped a signal for want of room");
        self.stats.dropped_signals = self.stats.dropped_signals.wrapping_add(1);
        Ok(())
    }
}

fn write_local_candidate(
    slot: &Slot,
    candidate: &str,
    room: &mut [u8],
) -> Result<usize, EncodeError> {
    let (dst, id) = (slot.remote.as_str(), slot.id.as_str());
    write_candidate(dst, id, &IceCandidateInit::new(candidate), room).map(str::len)
}

pub(super) fn is_json(text: &str) -> bool {
    json::check(text).is_ok()
}
