//! What the driver feeds the engine: what handles ask for, and what comes from the broker and from sessions.

use peer_core::peer::{
    self, BrokerInput, ConnectOptions, ConnectionHandle, Input, InputError, Peer as Engine,
    RtcInput,
};
use peer_core::time::Instant;

use super::broker::BrokerEvent;
use super::{Command, ConnectRequest, Driver, METADATA_MAX};
use std::sync::Arc;

use crate::connection::Held;
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
    ) -> Result<Arc<Held>, ConnectError> {
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
                    "it has more than {METADATA_MAX} bytes of JSON, or is nested too deeply"
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
                self.feed(engine, |engine, now| {
                    engine.handle_input(now, Input::Broker(BrokerInput::IdRetrieved(&id)))
                });
            }
            BrokerEvent::Opened => {
                self.feed(engine, |engine, now| {
                    engine.handle_input(now, Input::Broker(BrokerInput::Opened))
                });
            }
            BrokerEvent::Message(mut message) => {
                self.feed(engine, |engine, now| {
                    engine.handle_input(now, Input::Broker(BrokerInput::Message(&mut message)))
                });
            }
            BrokerEvent::Closed => {
                self.feed(engine, |engine, now| {
                    engine.handle_input(now, Input::Broker(BrokerInput::Closed))
                });
            }
            BrokerEvent::Failed => {
                self.feed(engine, |engine, now| {
                    engine.handle_input(now, Input::Broker(BrokerInput::Failed))
                });
            }
        }
    }

    /// Feeds an input; when the engine has no room, does what it says first. That always helps.
    fn feed(
        &mut self,
        engine: &mut Engine<'_>,
        mut input: impl FnMut(&mut Engine<'_>, Instant) -> Result<(), InputError>,
    ) {
        if input(engine, self.now()) == Err(InputError::Full) {
            self.drain(engine);
            let _ = input(engine, self.now());
        }
    }

    // Sessions.

    pub(super) fn session_event(
        &mut self,
        engine: &mut Engine<'_>,
        handle: ConnectionHandle,
        event: SessionEvent,
    ) {
        match event {
            SessionEvent::LocalDescription(sdp) => self.feed(engine, |engine, now| {
                engine.handle_input(now, Input::Rtc(handle, RtcInput::LocalDescription(&sdp)))
            }),
            SessionEvent::LocalCandidate(candidate) => self.feed(engine, |engine, now| {
                engine.handle_input(
                    now,
                    Input::Rtc(handle, RtcInput::LocalCandidate(&candidate)),
                )
            }),
            SessionEvent::IceState(state) => {
                self.connections.ice_state(handle, state);
                self.feed(engine, |engine, now| {
                    engine.handle_input(now, Input::Rtc(handle, state.input()))
                });
            }
            SessionEvent::DtlsConnected => self.feed(engine, |engine, now| {
                engine.handle_input(now, Input::Rtc(handle, RtcInput::DtlsConnected))
            }),
            SessionEvent::Open(sender, receiver) => {
                self.connections.attach(handle, sender, receiver);
                self.feed(engine, |engine, now| {
                    engine.handle_input(now, Input::Rtc(handle, RtcInput::ChannelOpened))
                });
            }
            SessionEvent::Closed => self.feed(engine, |engine, now| {
                engine.handle_input(now, Input::Rtc(handle, RtcInput::ChannelClosed))
            }),
            SessionEvent::Failed(failure, detail) => {
                self.connections.failed(handle, &detail);
                self.feed(engine, |engine, now| {
                    engine.handle_input(now, Input::Rtc(handle, RtcInput::Failed(failure)))
                });
            }
        }
    }
}
