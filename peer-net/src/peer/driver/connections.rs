//! The driver's side of connections: their sessions, and what the application is told about them.

use core::net::IpAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{SelectAll, Stream};
use peer_core::ConnectionId;
use peer_core::peer::{
    ConnectFailure, ConnectionError, ConnectionHandle, Event as EngineEvent, Peer as Engine,
    RtcFailure, Stage,
};
use tokio::sync::mpsc;

use crate::connection::{DataPlane, Tether};
use crate::error::{CloseReason, ConnectionFailure};
use crate::event::{ConnectionInfo, Event};
use crate::options::Options;
use crate::peer::shared::Shared;
use crate::rtc::{
    ChannelReceiver, ChannelSender, Endpoint, IceState, Session, SessionEvent, Stack,
};

use super::admission::Gate;
use super::offer::{Content, Received, Refusal, Unread};

/// Events of one session that wait for the driver. At the limit the session waits.
const SESSION_EVENTS_MAX: usize = 32;

/// Bytes of a remote's id that is told that it was refused.
const EXPIRE_ID_MAX: usize = 512;
/// Characters of a label that is too long that are told.
const LABEL_TOLD: usize = 128;

/// A session's event, and whose.
pub(super) type Tagged = (ConnectionHandle, SessionEvent);

pub(super) struct Connections {
    shared: Arc<Shared>,
    rtc: Endpoint,
    gate: Gate,
    max_connections: usize,
    /// Incoming connections that one address may hold while more than half of the places are in
    /// use.
    remote_share: usize,
    /// Connections that have opened.
    opened: u64,
    /// Gone once the peer is destroyed.
    backlog: Option<mpsc::Sender<Arc<Tether>>>,
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
    unclaimed: Option<Arc<Tether>>,
    /// What the stack said when it failed.
    detail: Option<Arc<str>>,
    ice: Option<IceState>,
    /// Once it is open: the remote's address, and how many had opened before.
    address: Option<(IpAddr, u64)>,
}

impl Connections {
    pub(super) fn new(
        shared: Arc<Shared>,
        backlog: mpsc::Sender<Arc<Tether>>,
        options: &Options,
    ) -> Self {
        Self {
            shared,
            rtc: Endpoint::new(options.rtc.clone()),
            gate: Gate::new(options.on_offer.clone(), options.offer_rates),
            max_connections: options.max_connections,
            remote_share: match options.remote_share {
                0 => (options.max_connections / 4).max(1),
                share => share,
            },
            opened: 0,
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
    ) -> Option<Arc<Tether>> {
        let connection = self.insert(engine, handle)?;
        if let Some(slot) = self.slots.get_mut(&handle) {
            slot.unclaimed = None;
        }
        Some(connection)
    }

    /// Makes a slot for a connection the engine has.
    fn insert(&mut self, engine: &mut Engine<'_>, handle: ConnectionHandle) -> Option<Arc<Tether>> {
        let info = Arc::new(info(engine, handle, self.rtc.config().stack)?);
        let (most, incomplete) = (self.shared.max_message_size, self.shared.incomplete.clone());
        let account = self.shared.inboxes.account();
        let plane = DataPlane::new(info, handle, self.shared.clone(), most, incomplete, account);
        let connection = Tether::new(plane.clone());
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
                address: None,
            },
        );
        Some(connection)
    }

    pub(super) fn create_offer(&mut self, handle: ConnectionHandle, label: &str, reliable: bool) {
        let (events, queue) = mpsc::channel(SESSION_EVENTS_MAX);
        if let Some(slot) = self.slots.get_mut(&handle) {
            let _span = slot.plane.span().entered();
            let (remote, label) = (slot.plane.info.peer.as_str(), label.to_owned());
            slot.session = Some(self.rtc.offer(remote, label, reliable, events));
            self.events.push(SessionEvents { handle, queue });
        }
    }

    /// Whether the offer may go on to the engine, for which it makes room where that is due.
    pub(super) fn admits(&mut self, engine: &mut Engine<'_>, received: &Received) -> bool {
        let backlog = self.backlog.as_ref().filter(|_| !self.leaving);
        let refusal = match &received.content {
            _ if backlog.is_none_or(mpsc::Sender::is_closed) => Some(Refusal::Unwanted),
            Content::Whole(offer, problem) => self.gate.admits(offer, problem.clone()).err(),
            Content::Cut(offer, problem) => {
                let rate = self.gate.admits_remote(&offer.peer).err();
                Some(rate.unwrap_or(Refusal::Unread(problem.clone())))
            }
            Content::Unknown(problem) => Some(Refusal::Unread(problem.clone())),
        };
        if let Some(refusal) = refusal {
            self.refused(received, &refusal);
            return false;
        }
        self.make_room(engine);
        true
    }

    /// Counts, logs and tells that an offer was not taken.
    pub(super) fn refused(&mut self, received: &Received, why: &Refusal) {
        self.shared.count(|stats| stats.refused_offers += 1);
        if *why != Refusal::Rule {
            self.gate.log(&received.src, why);
        }
        // What is beyond a limit is told on the connection; strangers can make it no more often
        // than their rate.
        let offer = received.content.offer();
        let (Refusal::Unread(problem @ Unread::Limit { .. }), Some(offer)) = (why, offer) else {
            return;
        };
        let info = ConnectionInfo {
            peer: offer.peer.clone(),
            connection_id: offer.connection_id.clone(),
            label: offer.label.chars().take(LABEL_TOLD).collect(),
            metadata: None,
            reliable: offer.reliable,
            serialization: offer.serialization,
            incoming: true,
            stack: self.rtc.config().stack,
        };
        let failure = ConnectFailure {
            stage: Stage::Offer,
            reason: ConnectionError::Rtc(RtcFailure::Description),
        };
        let failure = ConnectionFailure::new(failure, Some(problem.to_string().into()));
        self.shared
            .emit(Event::ConnectionFailed(Arc::new(info), failure));
    }

    /// What tells a remote that was refused that nobody is there, for brokers that pass it on: npm
    /// `peer` does, and PeerJS then tells its user `peer-unavailable`. Others drop it. Not while
    /// there is another connection with that remote: it would give up that one, too, if it waits
    /// for an answer.
    pub(super) fn expire(&mut self, received: &Received) -> Option<String> {
        let src = received.src.as_str();
        let is_known = |slot: &Slot| slot.plane.info.peer.as_str() == src;
        if src.len() > EXPIRE_ID_MAX || self.slots.values().any(is_known) {
            return None;
        }
        self.gate.may_expire().then(|| {
            let expire = serde_json::json!({"type": "EXPIRE", "dst": src});
            expire.to_string()
        })
    }

    /// Where every place is taken by connections that are open: one gives way, of the address that
    /// holds most, if that is more than its share. Among those that are not open the engine
    /// chooses.
    fn make_room(&mut self, engine: &mut Engine<'_>) {
        let is_pending = |slot: &Slot| slot.plane.info.incoming && slot.address.is_none();
        if self.slots.len() < self.max_connections || self.slots.values().any(is_pending) {
            return;
        }
        let addresses = self.slots.values().filter_map(|slot| slot.address);
        let most = addresses
            .map(|(address, _)| address)
            .max_by_key(|address| self.held_by(*address));
        if let Some(address) = most.filter(|address| self.held_by(*address) > self.remote_share) {
            let newest = self
                .slots
                .iter()
                .filter_map(|(handle, slot)| Some((*handle, slot.address?)))
                .filter(|(_, (of, _))| *of == address)
                .max_by_key(|(_, (_, number))| *number);
            if let Some((handle, _)) = newest {
                self.give_way(engine, handle);
            }
        }
    }

    fn held_by(&self, address: IpAddr) -> usize {
        let addresses = self.slots.values().filter_map(|slot| slot.address);
        addresses.filter(|(of, _)| *of == address).count()
    }

    fn give_way(&mut self, engine: &mut Engine<'_>, handle: ConnectionHandle) {
        let Some(slot) = self.slots.get(&handle) else {
            return;
        };
        slot.plane.close(CloseReason::GaveWay);
        self.shared.count(|stats| stats.gave_way += 1);
        if let Some(mut connection) = engine.connection(handle) {
            connection.close();
        }
    }

    /// A remote wants a connection, and may have one.
    pub(super) fn accept_offer(
        &mut self,
        engine: &mut Engine<'_>,
        handle: ConnectionHandle,
        sdp: String,
    ) {
        if self.insert(engine, handle).is_none() {
            return;
        }
        let (events, queue) = mpsc::channel(SESSION_EVENTS_MAX);
        if let Some(slot) = self.slots.get_mut(&handle) {
            let _span = slot.plane.span().entered();
            let remote = slot.plane.info.peer.as_str();
            slot.session = Some(self.rtc.answer(remote, sdp, events));
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

    /// The broker takes signals again.
    pub(super) fn signalled_again(&self) {
        let sessions = self.slots.values().filter_map(|slot| slot.session.as_ref());
        sessions.for_each(Session::signalled_again);
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
                    if failure.reason == ConnectionError::GaveWay {
                        self.shared.count(|stats| stats.gave_way += 1);
                    }
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
        let is_crowded = self.slots.len() > self.max_connections / 2;
        let Some(slot) = self.slots.get_mut(&handle) else {
            return;
        };
        self.opened += 1;
        if slot.plane.info.incoming {
            let address = slot.session.as_ref().and_then(Session::remote_address);
            slot.address = address.map(|address| (address.ip(), self.opened));
        }
        let address = slot.address;
        if let Some((address, _)) = address
            && is_crowded
            && self.held_by(address) > self.remote_share
        {
            self.gate.log(&address.to_string(), &Refusal::Full);
            self.give_way(engine, handle);
        }
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
        match &slot.detail {
            _ if self.destroying => CloseReason::Destroyed,
            Some(detail) => CloseReason::Lost(detail.clone()),
            None if slot.ice == Some(IceState::Disconnected) => {
                CloseReason::Lost("it fell silent".into())
            }
            None => CloseReason::Remote,
        }
    }

    // Ends.

    /// The peer is to end: connections end once they have delivered what was sent, those that
    /// nobody has at once.
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
fn info(engine: &mut Engine<'_>, handle: ConnectionHandle, stack: Stack) -> Option<ConnectionInfo> {
    let connection = engine.connection(handle)?;
    Some(ConnectionInfo {
        peer: connection.peer().clone(),
        connection_id: ConnectionId::from_wire(connection.connection_id()).ok()?,
        label: connection.label().to_owned(),
        metadata: connection.metadata().map(str::to_owned),
        reliable: connection.reliable(),
        serialization: connection.serialization(),
        incoming: connection.is_incoming(),
        stack,
    })
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
