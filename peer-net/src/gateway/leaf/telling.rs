//! What a leaf is told: what came of its commands, and what its broker and its browsers say.

use peer_core::link::LinkInputError;
use peer_core::peer::{BrokerInput, ConnectionHandle, Input, RtcInput};
use peer_core::serialization::{Fragment, MessageKind};

use super::slots::SessionInput;
use super::{LeafStream, Told};
use crate::rtc::Message;
use crate::signalling::BrokerEvent;

impl LeafStream<'_> {
    /// Tells the leaf what there is, as far as there is room for it.
    pub(super) fn tell(&mut self) {
        while let Some(answer) = self.answers.pop_front() {
            if let Some(answer) = self.give(answer) {
                self.answers.push_front(answer);
                return;
            }
        }
        if let Some(event) = self.held.take()
            && let Some(Told::Broker(event)) = self.give(Told::Broker(event))
        {
            self.held = Some(event);
        }
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.at(index) else {
                return;
            };
            let handle = slot.handle;
            for input in slot.take_held().into_iter().flatten() {
                if let Some(Told::Session(_, input)) = self.give(Told::Session(handle, input))
                    && let Some(slot) = self.slots.at(index)
                {
                    slot.hold_again(input);
                }
            }
        }
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
                    && let Some(slot) = self.slots.get(*handle)
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
            && let Some(slot) = self.slots.get(*handle)
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
            SessionInput::Opened => RtcInput::ChannelOpened,
            SessionInput::Message(message) => {
                let given = self.slots.get(handle).map_or(0, |slot| slot.given);
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
            SessionInput::Acknowledged(_) => {
                let Some(slot) = self.slots.get(handle) else {
                    return Ok(());
                };
                // The link adds what it has not handed out yet.
                let buffered = slot.counts.buffered_bytes() + slot.assembly.buffered();
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
            && let Some(slot) = self.slots.get(handle)
        {
            slot.told = told;
        }
        Ok(())
    }

    /// Grants the leaf more of a session's data, as far as there is room for it here.
    pub(super) fn grant(&mut self, handle: ConnectionHandle) {
        let Some(slot) = self.slots.get(handle) else {
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
                        self.registry.gave(&leaf.name, id);
                        leaf.given = Some(id.to_owned());
                    }
                    leaf.broker = match event {
                        BrokerEvent::Opened | BrokerEvent::Message(_) => "connected",
                        _ => "none",
                    };
                }
            }
            Told::Session(handle, input) => {
                let Some(slot) = self.slots.get(*handle) else {
                    return;
                };
                match input {
                    SessionInput::LocalDescription(sdp) => {
                        slot.offered = Some(self.remotes.hash(sdp));
                    }
                    SessionInput::IceState(state) => slot.counts.ice_state(*state),
                    SessionInput::Opened => slot.open(),
                    SessionInput::Message(message) => slot.counts.received(message.len()),
                    _ => {}
                }
            }
        }
    }
}
