//! Signalling: what the broker's messages and the sessions' descriptions and candidates lead to.

use crate::{
    ConnectionId, Label, PeerId, bytes,
    config::{CANDIDATE_MAX, SDP_MAX},
    serialization::Serialization,
    wire::{
        json::{self, WriteError},
        signal::{Answer, Candidate, Message, Offer, write_answer, write_candidate, write_offer},
    },
};

pub(super) use crate::wire::signal::HEARTBEAT;

use super::{
    ConnectionHandle, FailureReason, IceState, InputError, Peer, PeerError, RtcFailure, RtcInput,
    Stage,
    early::{Early, Owner},
    resources::{Kind, Memory},
    slot::{Slot, pending},
};

impl Peer<'_> {
    /// One message of the broker.
    pub(super) fn signal(&mut self, bytes: &mut [u8]) -> Result<(), InputError> {
        if self.must_drain_for(bytes.len()) {
            return Err(InputError::Full);
        }
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                debug!("dropped a signal: {}", error);
                return Err(self.malformed());
            }
        };
        match message {
            Message::Error { msg } => self.refused(PeerError::ServerError, msg),
            Message::IdTaken { msg } => self.refused(PeerError::UnavailableId, msg),
            Message::InvalidKey { msg } => self.refused(PeerError::InvalidKey, msg),
            message => {
                // Whatever the broker relays, it knows us.
                self.broker.opened();
                self.dirty.set();
                return self.relayed(message);
            }
        }
        Ok(())
    }

    fn relayed(&mut self, message: Message<'_>) -> Result<(), InputError> {
        match message {
            Message::Offer { src, offer } => return self.offer(src, &offer),
            Message::Answer { src, answer } => return self.answer(src, &answer),
            Message::Candidate {
                candidate: None, ..
            } => {}
            Message::Candidate {
                src,
                connection_id,
                candidate: Some(candidate),
            } => {
                return self.candidate(src, connection_id, candidate.candidate);
            }
            Message::Leave { src } => {
                for (_, slot) in self
                    .table
                    .iter_mut()
                    .filter(|(_, slot)| slot.remote == *src)
                {
                    slot.end(FailureReason::RemoteClosed);
                }
            }
            Message::Expire { src } => {
                let waiting = |slot: &Slot| slot.remote == *src && slot.awaits_answer();
                for (_, slot) in self.table.iter_mut().filter(|(_, slot)| waiting(slot)) {
                    slot.end(FailureReason::PeerUnavailable);
                    self.broker.unavailable();
                }
            }
            Message::Media { .. } => {
                self.stats.media_offers = self.stats.media_offers.wrapping_add(1);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a message of `len` bytes may need room that polling would make. Asked before the message is
    /// parsed, since parsing changes it.
    fn must_drain_for(&self, len: usize) -> bool {
        let queue = &self.memory.rtc;
        let queue_is_short = !queue.is_empty() && queue.free() < len;
        let slots_are_short = self.table.len() == self.table.capacity()
            && self.table.iter().any(|(_, slot)| slot.is_leaving());
        queue_is_short || slots_are_short
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

        // As PeerJS does: an offer for a connection that exists replaces it.
        for (_, slot) in self.table.iter_mut() {
            if slot.is_between(src, id.as_str()) {
                slot.end(FailureReason::RemoteClosed);
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
        slot.reset(serialization, deadline);
        slot.remote = remote;
        slot.id = id;
        slot.label = label;
        slot.reliable = offer.reliable;
        slot.incoming = true;
        slot.stage = Stage::Answer;
        slot.events = pending::CONNECTION;
        if let Some(metadata) = offer.metadata {
            let place = self.memory.metadata.of_mut(handle.index());
            match bytes::copy(place, metadata.as_bytes()) {
                Some(()) => slot.metadata = metadata.len(),
                None => slot.metadata_too_long = true,
            }
        }
        self.dirty.early = true;
        Ok(())
    }

    fn answer(&mut self, src: &str, answer: &Answer<'_>) -> Result<(), InputError> {
        let found = self
            .table
            .iter_mut()
            .find(|(_, slot)| slot.is_between(src, answer.connection_id));
        // An answer nobody waits for is of no use later either: with its OFFER we would be the ones to answer.
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
            slot.end(FailureReason::Rtc(RtcFailure::Description));
            return Err(self.malformed());
        }
        slot.answered = true;
        slot.reach(Stage::Ice);
        Ok(())
    }

    fn candidate(&mut self, src: &str, id: &str, candidate: &str) -> Result<(), InputError> {
        if candidate.len() > CANDIDATE_MAX {
            return self.dropped();
        }
        let unknown = |slot: &Slot| !slot.incoming && !slot.session;
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
        let Some(slot) = self.table.get_mut(handle.0).filter(|slot| !slot.is_over()) else {
            self.stats.stale_inputs = self.stats.stale_inputs.wrapping_add(1);
            return Err(InputError::Stale);
        };
        self.dirty.set();
        match input {
            RtcInput::LocalDescription(sdp) => return self.local_description(handle, sdp),
            RtcInput::LocalCandidate(candidate) => return self.local_candidate(handle, candidate),
            RtcInput::ChannelOpened => slot.open(),
            RtcInput::Message(frame) => return self.message(handle, frame),
            RtcInput::MessageTooBig => {
                slot.report(super::ConnectionError::MessageTooBig);
                self.stats.malformed_messages = self.stats.malformed_messages.wrapping_add(1);
            }
            RtcInput::ChannelBuffered(bytes) => self.buffered(handle, bytes),
            RtcInput::ChannelClosed => slot.end(FailureReason::RemoteClosed),
            // Without an answer it is the answer that is missing, whatever the agent does meanwhile.
            RtcInput::IceState(_) if !slot.incoming && !slot.answered => {}
            RtcInput::IceState(IceState::Checking) => slot.reach(Stage::Ice),
            RtcInput::IceState(IceState::Connected) => slot.reach(Stage::Dtls),
            // It may come back; the driver says `Failed` when it does not.
            RtcInput::IceState(IceState::Disconnected) => {}
            RtcInput::DtlsConnected => slot.reach(Stage::Sctp),
            RtcInput::Failed(failure) => slot.fail(failure),
        }
        Ok(())
    }

    fn local_description(&mut self, handle: ConnectionHandle, sdp: &str) -> Result<(), InputError> {
        let Some(slot) = self.table.get_mut(handle.0) else {
            return Err(InputError::Stale);
        };
        if slot.described || !slot.session {
            return Err(self.malformed());
        }
        let Memory {
            signals, metadata, ..
        } = &mut self.memory;
        let metadata = metadata
            .of(handle.index())
            .get(..slot.metadata)
            .unwrap_or_default();
        let dst = slot.remote.as_str();
        let written = if slot.incoming {
            let answer = Answer {
                sdp,
                connection_id: slot.id.as_str(),
            };
            signals.push_with(handle.0, Kind::Answer, |room| {
                write_answer(dst, &answer, room).map(str::len)
            })
        } else {
            let offer = Offer {
                sdp,
                connection_id: Some(slot.id.as_str()),
                metadata: core::str::from_utf8(metadata)
                    .ok()
                    .filter(|text| !text.is_empty()),
                label: Some(slot.label.as_str()),
                reliable: slot.reliable,
                serialization: Some(slot.serialization.as_str()),
            };
            signals.push_with(handle.0, Kind::Offer, |room| {
                write_offer(dst, &offer, room).map(str::len)
            })
        };
        if written.is_ok() {
            slot.described = true;
            if slot.incoming {
                slot.reach(Stage::Ice);
            }
            self.dirty.early = true;
            return Ok(());
        }
        if self.broker.is_open() && !signals.is_empty() {
            return Err(InputError::Full);
        }
        slot.end(if self.broker.is_open() {
            FailureReason::Rtc(RtcFailure::Resources)
        } else {
            FailureReason::BrokerLost
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
            return Err(InputError::Stale);
        };
        if !slot.described {
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
    pub(super) fn advance_signal(&mut self) -> bool {
        self.release_local();
        let Some((handle, kind)) = self.memory.signals.front() else {
            return false;
        };
        if let Some(slot) = self.table.get_mut(handle)
            && kind == Kind::Offer
        {
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
            Owner::Local(handle) => table.get(handle).is_some_and(|slot| slot.described),
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

    /// Once nothing waits before them, hands on candidates that came before the OFFER they belong to.
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

    fn malformed(&mut self) -> InputError {
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
) -> Result<usize, WriteError> {
    let (dst, id) = (slot.remote.as_str(), slot.id.as_str());
    write_candidate(dst, id, &Candidate::new(candidate), room).map(str::len)
}

pub(super) fn is_json(text: &str) -> bool {
    json::check(text).is_ok()
}
