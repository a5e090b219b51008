//! What the driver feeds the engine: what handles ask for, and what comes from the broker and from
//! sessions.

use peer_core::config::JSON_DEPTH_MAX;
use peer_core::peer::{
    self, BrokerInput, ConnectOptions, ConnectionHandle, Input, InputError, Peer as Engine,
    RtcInput,
};
use peer_core::time::Instant;

use super::offer::{self, Received, Refusal};
use super::{Command, ConnectRequest, Driver, Signal};
use crate::limits::METADATA_MAX;
use crate::signalling::BrokerEvent;
use std::sync::Arc;

use crate::connection::Tether;
use crate::error::{ConnectError, ReconnectError};
use crate::rtc::SessionEvent;

impl Driver {
    // What handles ask for.

    pub(super) fn serve_requests(&mut self, engine: &mut Engine<'_>) {
        let requests = self.shared.take_requests();
        for handle in requests.close {
            if let Some(mut connection) = engine.connection(handle) {
                connection.close();
            }
        }
        if requests.destroy {
            self.destroy(engine);
        } else if requests.shutdown {
            self.leaving = true;
            self.connections.leave(engine);
        }
    }

    pub(super) fn destroy(&mut self, engine: &mut Engine<'_>) {
        self.connections.destroying();
        self.stay_away();
        engine.destroy(self.now());
    }

    pub(super) fn serve(&mut self, engine: &mut Engine<'_>, command: Command) {
        match command {
            Command::Connect(request, reply) => {
                // Nobody waits any more: nothing is started.
                if !reply.is_closed() {
                    let _ = reply.send(self.connect(engine, request));
                }
            }
            Command::Disconnect(done) => {
                self.stay_away();
                engine.disconnect(self.now());
                self.drain(engine);
                let _ = done.send(());
            }
            Command::Reconnect(done) => {
                let result = engine.reconnect(self.now()).map_err(|error| match error {
                    peer::ConnectError::Destroyed => ReconnectError::Destroyed,
                    _ => ReconnectError::NotDisconnected,
                });
                if result.is_ok() {
                    self.wants_broker = true;
                    self.sync_status(engine);
                }
                let _ = done.send(result);
            }
        }
    }

    /// The broker was left on purpose.
    fn stay_away(&mut self) {
        self.wants_broker = false;
        if let Some(backoff) = &mut self.backoff {
            backoff.reset();
        }
    }

    fn connect(
        &mut self,
        engine: &mut Engine<'_>,
        request: ConnectRequest,
    ) -> Result<Arc<Tether>, ConnectError> {
        if self.leaving {
            return Err(ConnectError::Destroyed);
        }
        let options = ConnectOptions {
            label: request.label.as_deref(),
            metadata: request.metadata.as_deref(),
            reliable: request.reliable,
            serialization: request.serialization,
        };
        let handle = engine
            .connect(self.now(), &request.remote, options)
            .map_err(|error| match error {
                peer::ConnectError::Disconnected => ConnectError::Disconnected,
                peer::ConnectError::Destroyed => ConnectError::Destroyed,
                peer::ConnectError::Label => ConnectError::Label,
                peer::ConnectError::Metadata => ConnectError::Metadata(format!(
                    "it has more than {METADATA_MAX} bytes of JSON (METADATA_MAX), or nests deeper \
                     than {JSON_DEPTH_MAX} (JSON_DEPTH_MAX)"
                )),
                peer::ConnectError::OwnId => ConnectError::OwnId,
                _ => ConnectError::TooManyConnections {
                    limit: self.max_connections,
                },
            })?;
        self.connections
            .started(engine, handle)
            .ok_or(ConnectError::Destroyed)
    }

    // The broker.

    pub(super) fn broker_event(&mut self, engine: &mut Engine<'_>, event: BrokerEvent) {
        match event {
            BrokerEvent::IdRetrieved(id) => {
                tracing::Span::current().record("id", id.as_str());
                self.tell(engine, Input::Broker(BrokerInput::IdRetrieved(&id)));
            }
            BrokerEvent::Opened => self.tell(engine, Input::Broker(BrokerInput::Opened)),
            BrokerEvent::Message(message) => self.message(engine, message),
            BrokerEvent::Closed => self.tell(engine, Input::Broker(BrokerInput::Closed)),
            BrokerEvent::Failed => self.tell(engine, Input::Broker(BrokerInput::Failed)),
        }
    }

    /// A message of the broker. An offer is looked at before the engine has it.
    fn message(&mut self, engine: &mut Engine<'_>, mut message: Vec<u8>) {
        let received = offer::read(&message, engine.id());
        if let Some(received) = &received
            && !self.connections.admits(engine, received)
        {
            self.expire(received);
            return;
        }
        let before = engine.stats();
        let fed = self.feed(engine, |engine, now| {
            engine.handle_input(now, Input::Broker(BrokerInput::Message(&mut message)))
        });
        let after = engine.stats();
        if let Some(received) = received
            && (before.refused_offers, before.dropped_signals)
                != (after.refused_offers, after.dropped_signals)
        {
            self.connections.refused(&received, &Refusal::Full);
            self.expire(&received);
        }
        if !fed {
            // Nothing more is read until it is fed.
            self.held = Some(message);
        }
    }

    /// Tells a remote that its offer was refused, if there is room for that.
    fn expire(&mut self, received: &Received) {
        if self.broker.has_room()
            && let Some(text) = self.connections.expire(received)
        {
            let sent = self.broker.send(&text);
            debug_assert!(sent, "there was room");
        }
    }

    /// Feeds what there was no room for, in order, as far as there is some now.
    pub(super) fn feed_held(&mut self, engine: &mut Engine<'_>) {
        if let Some(message) = self.held.take() {
            self.message(engine, message);
        }
        while let Some((handle, signal)) = self.signals.pop_front() {
            if !self.feed_signal(engine, handle, &signal) {
                self.signals.push_front((handle, signal));
                return;
            }
        }
    }

    /// Feeds an input; when the engine has no room, does first what it says. `false`: there is no
    /// room, since the broker's socket takes no signal, and the input is to be fed again.
    #[must_use]
    fn feed(
        &mut self,
        engine: &mut Engine<'_>,
        mut input: impl FnMut(&mut Engine<'_>, Instant) -> Result<(), InputError>,
    ) -> bool {
        if input(engine, self.now()) != Err(InputError::Full) {
            return true;
        }
        self.drain(engine);
        input(engine, self.now()) != Err(InputError::Full)
    }

    fn feed_signal(
        &mut self,
        engine: &mut Engine<'_>,
        handle: ConnectionHandle,
        signal: &Signal,
    ) -> bool {
        self.feed(engine, |engine, now| {
            let input = match signal {
                Signal::Description(sdp) => RtcInput::LocalDescription(sdp),
                Signal::Candidate(candidate) => RtcInput::LocalCandidate(candidate),
            };
            engine.handle_input(now, Input::Rtc(handle, input))
        })
    }

    /// A session's signal, behind those that wait.
    fn signal(&mut self, engine: &mut Engine<'_>, handle: ConnectionHandle, signal: Signal) {
        if !self.signals.is_empty() || !self.feed_signal(engine, handle, &signal) {
            self.signals.push_back((handle, signal));
        }
    }

    /// Feeds what the engine always has room for.
    fn tell(&mut self, engine: &mut Engine<'_>, input: Input<'_>) {
        if engine.handle_input(self.now(), input) == Err(InputError::Full) {
            debug_assert!(false, "only signals need room");
            tracing::error!(target: "peer_net", "the engine had no room for an input");
        }
    }

    // Sessions.

    pub(super) fn session_event(
        &mut self,
        engine: &mut Engine<'_>,
        handle: ConnectionHandle,
        event: SessionEvent,
    ) {
        let input = match event {
            SessionEvent::LocalDescription(sdp) => {
                return self.signal(engine, handle, Signal::Description(sdp));
            }
            SessionEvent::LocalCandidate(candidate) => {
                return self.signal(engine, handle, Signal::Candidate(candidate));
            }
            SessionEvent::IceState(state) => {
                self.connections.ice_state(handle, state);
                state.input()
            }
            SessionEvent::DtlsConnected => RtcInput::DtlsConnected,
            SessionEvent::Open(sender, receiver) => {
                self.connections.attach(handle, sender, receiver);
                RtcInput::ChannelOpened
            }
            SessionEvent::Closed => RtcInput::ChannelClosed,
            SessionEvent::Failed(failure, detail) => {
                self.connections.failed(handle, &detail);
                RtcInput::Failed(failure)
            }
        };
        self.tell(engine, Input::Rtc(handle, input));
    }
}
