//! What a leaf is told: what came of its commands, and what its broker and its browsers say.

use peer_core::link::LinkInputError;
use peer_core::peer::{BrokerInput, ConnectionHandle, Input, RtcInput};
use peer_core::serialization::{Fragment, MessageKind};

use super::{Served, Told};
use crate::gateway::sessions::{SessionInput, Slot};
use crate::rtc::Message;
use crate::signalling::BrokerEvent;

impl Served<'_> {
    /// Tells the leaf what there is. Whether something was told.
    pub(super) fn tell(&mut self) -> bool {
        let mut told = false;
        while let Some(answer) = self.answers.pop_front() {
            if let Some(answer) = self.give(answer) {
                self.answers.push_front(answer);
                return told;
            }
            told = true;
        }
        if let Some(event) = self.held.take() {
            match self.give(Told::Broker(event)) {
                Some(Told::Broker(event)) => self.held = Some(event),
                _ => told = true,
            }
        }
        for handle in self.sessions.handles() {
            let held = self.sessions.slot(handle).map(Slot::take_held);
            for input in held.into_iter().flatten().flatten() {
                match self.give(Told::Session(handle, input)) {
                    Some(Told::Session(_, input)) => {
                        if let Some(slot) = self.sessions.slot(handle) {
                            slot.hold(input);
                        }
                    }
                    _ => told = true,
                }
            }
        }
        told
    }

    /// Gives one input to the link; gives it back when there is no room.
    fn give(&mut self, mut told: Told) -> Option<Told> {
        let given = match &mut told {
            Told::Broker(event) => {
                let input = match event {
                    BrokerEvent::IdRetrieved(id) => BrokerInput::IdRetrieved(id),
                    BrokerEvent::Opened => BrokerInput::Opened,
                    BrokerEvent::Message(message) => BrokerInput::Message(message),
                    BrokerEvent::Closed => BrokerInput::Closed,
                    BrokerEvent::Failed => BrokerInput::Failed,
                };
                self.link.handle_input(&Input::Broker(input))
            }
            Told::Session(handle, input) => self.give_session(*handle, input),
        };
        match given {
            Err(LinkInputError::Full) => return Some(told),
            Err(LinkInputError::NoRoom { taken }) => {
                if let Told::Session(handle, _) = &told
                    && let Some(slot) = self.sessions.slot(*handle)
                {
                    slot.given += taken;
                }
                return Some(told);
            }
            Err(error) => {
                tracing::debug!(target: "peer_net", "an input for a leaf was dropped: {error}");
            }
            Ok(()) => self.given(&told),
        }
        if let Told::Session(handle, SessionInput::Message(_)) = &told
            && let Some(slot) = self.sessions.slot(*handle)
        {
            slot.given = 0;
        }
        None
    }

    fn give_session(
        &mut self,
        handle: ConnectionHandle,
        input: &SessionInput,
    ) -> Result<(), LinkInputError> {
        let mut news = None;
        let input = match input {
            SessionInput::LocalDescription(sdp) => RtcInput::LocalDescription(sdp),
            SessionInput::LocalCandidate(candidate) => RtcInput::LocalCandidate(candidate),
            SessionInput::IceState(state) => state.input(),
            SessionInput::DtlsConnected => RtcInput::DtlsConnected,
            SessionInput::Opened(_) => RtcInput::ChannelOpened,
            SessionInput::Message(message) => {
                let given = self.sessions.slot(handle).map_or(0, |slot| slot.given);
                let (kind, bytes) = match message {
                    Message::Text(text) => (MessageKind::Text, text.as_bytes()),
                    Message::Binary(bytes) => (MessageKind::Binary, &bytes[..]),
                };
                RtcInput::Fragment(Fragment {
                    first: given == 0,
                    last: true,
                    kind,
                    bytes: bytes.get(given..).unwrap_or_default(),
                })
            }
            SessionInput::Acknowledged => {
                let Some(slot) = self.sessions.slot(handle) else {
                    return Ok(());
                };
                // The link adds what it has not handed out yet.
                let buffered = slot.buffered() + slot.assembly.buffered();
                let buffered = u32::try_from(buffered).unwrap_or(u32::MAX);
                // The leaf counts what it sends by itself, so the same amount is news when it has
                // sent something since.
                let told = (buffered, slot.counts.bytes_sent());
                if slot.told == told {
                    return Ok(());
                }
                news = Some(told);
                RtcInput::ChannelBuffered(buffered)
            }
            SessionInput::Closed => RtcInput::ChannelClosed,
            SessionInput::Failed(failure) => RtcInput::Failed(*failure),
        };
        self.link.handle_input(&Input::Rtc(handle, input))?;
        if let Some(told) = news
            && let Some(slot) = self.sessions.slot(handle)
        {
            slot.told = told;
        }
        Ok(())
    }

    /// Grants the leaf more of a session's data, as far as there is room for it here.
    pub(super) fn grant(&mut self, handle: ConnectionHandle) {
        let Some(slot) = self.sessions.slot(handle) else {
            return;
        };
        let Some(room) = slot.assembly.grant() else {
            return;
        };
        let bytes = u32::try_from(room).unwrap_or(u32::MAX);
        let input = Input::Rtc(handle, RtcInput::ChannelCredit(bytes));
        match self.link.handle_input(&input) {
            Ok(()) => slot.assembly.granted(room),
            // Once there is room for it.
            Err(LinkInputError::Full) => {}
            Err(error) => {
                tracing::debug!(target: "peer_net", "a leaf was granted nothing: {error}");
            }
        }
    }

    /// Notes what the leaf knows now.
    fn given(&mut self, told: &Told) {
        match told {
            Told::Broker(event) => {
                if let BrokerEvent::Message(message) = event {
                    self.remotes.heard(message);
                }
                if let Some(leaf) = &mut self.leaf {
                    if let BrokerEvent::IdRetrieved(id) = event {
                        let id = id.trim();
                        self.common.registry.gave(&leaf.name, id);
                        leaf.given = Some(id.to_owned());
                    }
                    leaf.broker = match event {
                        BrokerEvent::Opened | BrokerEvent::Message(_) => "connected",
                        _ => "none",
                    };
                }
            }
            Told::Session(handle, input) => {
                let Some(slot) = self.sessions.slot(*handle) else {
                    return;
                };
                match input {
                    SessionInput::LocalDescription(sdp) => {
                        slot.offered = Some(self.remotes.hash(sdp));
                    }
                    SessionInput::IceState(state) => slot.ice_state(*state),
                    SessionInput::Opened(channel) => slot.open(channel.clone()),
                    SessionInput::Message(message) => slot.counts.received(message.len()),
                    _ => {}
                }
            }
        }
    }
}
