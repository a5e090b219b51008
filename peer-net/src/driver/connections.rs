//! The driver's side of connections: their sessions, and what the application is told about them.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{SelectAll, Stream};
use peer_core::ConnectionId;
use peer_core::peer::{ConnectionHandle, Event as EngineEvent, Peer as Engine};
use tokio::sync::mpsc;

use crate::builder::{Offer, Options};
use crate::connection::{DataPlane, Held};
use crate::error::{CloseReason, ConnectionFailure};
use crate::event::{ConnectionInfo, Event};
use crate::rtc::{ChannelReceiver, ChannelSender, IceState, RtcConfig, Session, SessionEvent};
use crate::shared::Shared;

use super::admission::Gate;

/// Events of one session that wait for the driver. At the limit the session waits.
const SESSION_EVENTS_MAX: usize = 32;

/// A session's event, and whose.
pub(super) type Tagged = (ConnectionHandle, SessionEvent);

pub(super) struct Connections {
    shared: Arc<Shared>,
    rtc: Arc<RtcConfig>,
    gate: Gate,
    /// Gone once the peer is destroyed.
    backlog: Option<mpsc::Sender<Arc<Held>>>,
    slots: HashMap<ConnectionHandle, Slot>,
    /// Of all sessions, those just closed included. Ends never: an empty one waits.
    pub(super) events: SelectAll<SessionEvents>,
    /// Nothing new is taken.
    leaving: bool,
    destroying: bool,
}

struct Slot {
    plane: Arc<DataPlane>,
    session: Option<Session>,
    /// An incoming connection belongs to nobody until it is open.
    unclaimed: Option<Arc<Held>>,
    /// What the stack said when it failed.
    detail: Option<Arc<str>>,
    ice: Option<IceState>,
}

impl Connections {
    pub(super) fn new(
        shared: Arc<Shared>,
        backlog: mpsc::Sender<Arc<Held>>,
        options: &Options,
    ) -> Self {
        Self {
            shared,
            rtc: Arc::new(options.rtc.clone()),
            gate: Gate::new(options.max_connections, options.on_offer.clone()),
            backlog: Some(backlog),
            slots: HashMap::new(),
            events: SelectAll::new(),
            leaving: false,
            destroying: false,
        }
    }

    // Beginnings.

    /// The application started a connection.
    pub(super) fn started(
        &mut self,
        engine: &mut Engine<'_>,
        handle: ConnectionHandle,
    ) -> Option<Arc<Held>> {
        let connection = self.insert(engine, handle)?;
        if let Some(slot) = self.slots.get_mut(&handle) {
            slot.unclaimed = None;
        }
        Some(connection)
    }

    /// Makes a slot for a connection the engine has.
    fn insert(&mut self, engine: &mut Engine<'_>, handle: ConnectionHandle) -> Option<Arc<Held>> {
        let info = Arc::new(info(engine, handle)?);
        let (most, budget) = (self.shared.max_message_size, self.shared.budget.clone());
        let plane = DataPlane::new(info, handle, self.shared.clone(), most, budget);
        let connection = Held::new(plane.clone());
        self.shared.remember(&connection);
        let unclaimed = Some(connection.clone());
        self.slots.insert(
            handle,
            Slot {
                plane,
                session: None,
                unclaimed,
                detail: None,
                ice: None,
            },
        );
        Some(connection)
    }

    pub(super) fn create_offer(&mut self, handle: ConnectionHandle, label: &str, reliable: bool) {
        let (events, queue) = mpsc::channel(SESSION_EVENTS_MAX);
        if let Some(slot) = self.slots.get_mut(&handle) {
            slot.session = Some(Session::offer(
                self.rtc.clone(),
                label.to_owned(),
                reliable,
                events,
            ));
            self.events.push(SessionEvents { handle, queue });
        }
    }

    /// A remote wants a connection. The gate is asked before anything is made for it.
    pub(super) fn accept_offer(
        &mut self,
        engine: &mut Engine<'_>,
        handle: ConnectionHandle,
        sdp: String,
    ) {
        let Some(info) = info(engine, handle) else {
            return;
        };
        let waiting = self.slots.values().filter(|slot| slot.unclaimed.is_some());
        let pending = waiting.map(|slot| &slot.plane.info.peer);
        let may_be_accepted = !self.leaving
            && self
                .backlog
                .as_ref()
                .is_some_and(|backlog| !backlog.is_closed());
        if !may_be_accepted || !self.gate.admits(&offer(info), pending) {
            self.shared.count(|stats| stats.refused_offers += 1);
            if let Some(mut connection) = engine.connection(handle) {
                connection.close();
            }
            return;
        }
        if self.insert(engine, handle).is_none() {
            return;
        }
        let (events, queue) = mpsc::channel(SESSION_EVENTS_MAX);
        if let Some(slot) = self.slots.get_mut(&handle) {
            slot.session = Some(Session::answer(self.rtc.clone(), sdp, events));
            self.events.push(SessionEvents { handle, queue });
        }
    }

    // Sessions.

    pub(super) fn apply_answer(&mut self, handle: ConnectionHandle, sdp: &str) {
        if let Some(session) = self.session(handle) {
            session.apply_answer(sdp.to_owned());
        }
    }

    pub(super) fn add_candidate(&mut self, handle: ConnectionHandle, candidate: &str) {
        if let Some(session) = self.session(handle) {
            session.add_candidate(candidate.to_owned());
        }
    }

    /// Ends the session. The slot stays for the connection's last event.
    pub(super) fn close(&mut self, handle: ConnectionHandle) {
        if let Some(session) = self
            .slots
            .get_mut(&handle)
            .and_then(|slot| slot.session.take())
        {
            session.close();
        }
    }

    pub(super) fn attach(
        &mut self,
        handle: ConnectionHandle,
        sender: ChannelSender,
        receiver: ChannelReceiver,
    ) {
        if let Some(slot) = self.slots.get(&handle) {
            slot.plane.attach(sender, receiver);
        }
    }

    pub(super) fn ice_state(&mut self, handle: ConnectionHandle, state: IceState) {
        if let Some(slot) = self.slots.get_mut(&handle) {
            slot.ice = Some(state);
        }
    }

    pub(super) fn failed(&mut self, handle: ConnectionHandle, detail: &str) {
        if let Some(slot) = self.slots.get_mut(&handle) {
            slot.detail = Some(detail.into());
        }
    }

    fn session(&self, handle: ConnectionHandle) -> Option<&Session> {
        self.slots.get(&handle)?.session.as_ref()
    }

    // What the engine tells about connections.

    pub(super) fn engine_event(&mut self, engine: &mut Engine<'_>, event: EngineEvent) {
        match event {
            EngineEvent::Connection(handle) => {
                if let Some(slot) = self.slots.get(&handle) {
                    self.shared.emit(Event::Connection(slot.plane.info.clone()));
                }
            }
            EngineEvent::ConnectionOpen(handle) => self.opened(engine, handle),
            EngineEvent::ConnectionClosed(handle) => {
                if let Some(slot) = self.slots.remove(&handle) {
                    let reason = slot.plane.end(self.close_reason(&slot));
                    self.shared
                        .emit(Event::ConnectionClosed(slot.plane.info.clone(), reason));
                }
            }
            EngineEvent::ConnectionFailed(handle, failure) => {
                if let Some(mut slot) = self.slots.remove(&handle) {
                    let failure = ConnectionFailure::new(failure, slot.detail.take());
                    slot.plane.end(CloseReason::NeverOpened(failure.clone()));
                    let info = slot.plane.info.clone();
                    self.shared.emit(Event::ConnectionFailed(info, failure));
                }
            }
            EngineEvent::ConnectionError(handle, error) => {
                if let Some(slot) = self.slots.get(&handle) {
                    self.shared
                        .emit(Event::ConnectionError(slot.plane.info.clone(), error));
                }
            }
            // The data plane is not the engine's here.
            _ => {}
        }
    }

    fn opened(&mut self, engine: &mut Engine<'_>, handle: ConnectionHandle) {
        let Some(slot) = self.slots.get_mut(&handle) else {
            return;
        };
        slot.plane.open();
        self.shared
            .emit(Event::ConnectionOpen(slot.plane.info.clone()));
        let Some(connection) = slot.unclaimed.take() else {
            return;
        };
        let taken = self
            .backlog
            .as_ref()
            .is_some_and(|backlog| backlog.try_send(connection).is_ok());
        if !taken {
            self.shared.count(|stats| stats.unaccepted += 1);
            if let Some(mut connection) = engine.connection(handle) {
                connection.close();
            }
        }
    }

    fn close_reason(&self, slot: &Slot) -> CloseReason {
        if self.destroying {
            CloseReason::Destroyed
        } else if slot.ice == Some(IceState::Disconnected) {
            CloseReason::Lost(
                slot.detail
                    .clone()
                    .unwrap_or_else(|| "it fell silent".into()),
            )
        } else {
            CloseReason::Remote
        }
    }

    // Ends.

    /// The peer is to end: connections end once they have delivered what was sent, those that nobody has at once.
    pub(super) fn leave(&mut self, engine: &mut Engine<'_>) {
        self.leaving = true;
        for (handle, slot) in &mut self.slots {
            if slot.unclaimed.take().is_some() {
                if let Some(mut connection) = engine.connection(*handle) {
                    connection.close();
                }
            } else {
                slot.plane.leave();
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The application destroyed the peer.
    pub(super) fn destroying(&mut self) {
        self.destroying = true;
    }

    /// Nobody waits for connections in vain.
    pub(super) fn accept_no_more(&mut self) {
        self.backlog = None;
    }

    /// Whatever is left ends here; usually nothing.
    pub(super) fn end_all(&mut self) {
        for (_, slot) in self.slots.drain() {
            slot.plane.end(CloseReason::Destroyed);
        }
    }
}

/// What the engine knows of a connection, to keep.
fn info(engine: &mut Engine<'_>, handle: ConnectionHandle) -> Option<ConnectionInfo> {
    let connection = engine.connection(handle)?;
    Some(ConnectionInfo {
        peer: connection.peer().clone(),
        connection_id: ConnectionId::from_wire(connection.connection_id()).ok()?,
        label: connection.label().to_owned(),
        metadata: connection.metadata().map(str::to_owned),
        reliable: connection.reliable(),
        serialization: connection.serialization(),
        incoming: connection.is_incoming(),
    })
}

fn offer(info: ConnectionInfo) -> Offer {
    Offer {
        peer: info.peer,
        connection_id: info.connection_id,
        label: info.label,
        metadata: info.metadata,
        reliable: info.reliable,
        serialization: info.serialization,
    }
}

/// The events of one session, tagged with its connection.
pub(super) struct SessionEvents {
    handle: ConnectionHandle,
    queue: mpsc::Receiver<SessionEvent>,
}

impl Stream for SessionEvents {
    type Item = Tagged;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Tagged>> {
        let handle = self.handle;
        self.queue
            .poll_recv(cx)
            .map(|event| event.map(|event| (handle, event)))
    }
}
