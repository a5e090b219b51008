//! What a peer's handles and its driver share.

use std::sync::{Arc, Weak};

use peer_core::PeerId;
use peer_core::peer::{ConnectionError, ConnectionHandle, PeerError, PeerState};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};

use crate::budget::Budget;
use crate::connection::{Incomplete, Owner, Tether};
use crate::error::{ListError, PeerFailure};
use crate::event::{ConnectionInfo, EVENTS_MAX, Event, Events};
use crate::options::Options;
use crate::signalling::BrokerClient;
use crate::sync::{Mutex, lock};

/// The target of log lines that tell an [`Event`].
const EVENTS: &str = "peer_net::event";

/// Counters of a peer since its start. They wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// What the engine counts.
    pub engine: peer_core::peer::Stats,
    /// Offers that were not taken, whatever the reason: `on_offer`, a rate, a share, a limit, no
    /// place. The log says which.
    pub refused_offers: u64,
    /// Incoming connections closed because nobody accepted them.
    pub unaccepted: u64,
    /// Incoming connections, open or not, that gave their place to another remote.
    pub gave_way: u64,
    /// Messages dropped for want of room or for being too big.
    pub dropped_messages: u64,
    /// Messages that could not be read.
    pub malformed_messages: u64,
}

/// Where the peer stands, for those who wait.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) state: PeerState,
    pub(crate) id: Option<PeerId>,
    /// The last error since the last open.
    pub(crate) failure: Option<PeerFailure>,
    /// Whether the driver will come back by itself.
    pub(crate) returning: bool,
}

/// What handles ask of the driver without waiting. Bounded: a connection asks for each thing a few
/// times at most.
#[derive(Default)]
pub(crate) struct Requests {
    pub(crate) destroy: bool,
    /// Destroy once every connection has delivered what was sent.
    pub(crate) shutdown: bool,
    pub(crate) close: Vec<ConnectionHandle>,
}

/// Held by the handles of a peer and of its connections. When the last of them is gone, the peer
/// ends.
pub(crate) struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

pub(crate) struct Shared {
    pub(crate) runtime: Handle,
    pub(crate) client: BrokerClient,
    pub(crate) max_message_size: usize,
    /// Of incomplete messages.
    pub(crate) incomplete: Incomplete,
    /// Of messages that wait to be received.
    pub(crate) inboxes: Budget,
    status: watch::Sender<Status>,
    requests: Mutex<Requests>,
    /// Rung when `requests` has something.
    pub(crate) bell: Notify,
    connections: Mutex<Vec<Weak<Tether>>>,
    stats: Mutex<Stats>,
    events: Mutex<Option<broadcast::Sender<Event>>>,
    /// The first stream, which begins at the start.
    first_events: Mutex<Option<broadcast::Receiver<Event>>>,
}

impl Shared {
    pub(crate) fn new(
        runtime: Handle,
        client: BrokerClient,
        id: Option<PeerId>,
        options: &Options,
    ) -> Arc<Self> {
        let (events, first) = broadcast::channel(EVENTS_MAX);
        let state = PeerState::Connecting;
        let status = Status {
            state,
            id,
            failure: None,
            returning: false,
        };
        Arc::new(Self {
            runtime,
            client,
            max_message_size: options.max_message_size,
            incomplete: Incomplete::new(options.max_message_size),
            inboxes: Budget::new(options.inbox_bytes),
            status: watch::Sender::new(status),
            requests: Mutex::default(),
            bell: Notify::new(),
            connections: Mutex::default(),
            stats: Mutex::default(),
            events: Mutex::new(Some(events)),
            first_events: Mutex::new(Some(first)),
        })
    }

    pub(crate) fn status(&self) -> watch::Ref<'_, Status> {
        self.status.borrow()
    }

    pub(crate) fn set_status(&self, change: impl FnOnce(&mut Status) -> bool) {
        self.status.send_if_modified(change);
    }

    pub(crate) async fn opened(&self) -> Result<PeerId, PeerFailure> {
        let mut status = self.status.subscribe();
        let settled = status.wait_for(|status| match status.state {
            PeerState::Open | PeerState::Destroyed => true,
            PeerState::Disconnected => !status.returning,
            PeerState::Connecting => false,
        });
        // The sender lives in `self`.
        let Ok(status) = settled.await else {
            return Err(PeerFailure::new(PeerError::Disconnected));
        };
        match (&status.state, &status.id) {
            (PeerState::Open, Some(id)) => Ok(id.clone()),
            _ => Err(status
                .failure
                .clone()
                .unwrap_or_else(|| PeerFailure::new(PeerError::Disconnected))),
        }
    }

    pub(crate) fn destroy(&self) {
        lock(&self.requests).destroy = true;
        self.bell.notify_one();
    }

    pub(crate) fn shutdown(&self) {
        lock(&self.requests).shutdown = true;
        self.bell.notify_one();
    }

    /// What keeps the peer alive as long as it is held.
    pub(crate) fn alive(self: &Arc<Self>) -> Arc<Alive> {
        Arc::new(Alive(self.clone()))
    }

    pub(crate) fn take_requests(&self) -> Requests {
        core::mem::take(&mut lock(&self.requests))
    }

    pub(crate) fn connections(&self) -> Vec<Arc<Tether>> {
        let connections = lock(&self.connections);
        connections.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn remember(&self, connection: &Arc<Tether>) {
        let mut connections = lock(&self.connections);
        connections.retain(|tether| tether.strong_count() > 0);
        connections.push(Arc::downgrade(connection));
    }

    pub(crate) fn stats(&self) -> Stats {
        *lock(&self.stats)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut lock(&self.stats));
    }

    pub(crate) fn emit(&self, event: Event) {
        self.log(&event);
        if let Some(events) = lock(&self.events).as_ref() {
            // Nobody listening is fine.
            let _ = events.send(event);
        }
    }

    /// Everything goes to `tracing`; a subscriber filters by level and target: events have one of
    /// their own, so that who tells them himself can leave them out.
    fn log(&self, event: &Event) {
        let id = self.status.borrow().id.clone();
        let id = id.as_ref().map_or("", PeerId::as_str);
        match event {
            Event::Error(failure) => {
                let source = core::error::Error::source(failure);
                tracing::error!(target: EVENTS, id, kind = failure.kind(), source, "{failure}");
            }
            Event::ConnectionFailed(info, failure) => {
                let peer = info.peer().as_str();
                tracing::warn!(target: EVENTS, id, peer, kind = failure.kind(), "{failure}");
            }
            Event::ConnectionError(info, error) => {
                let peer = info.peer().as_str();
                tracing::warn!(target: EVENTS, id, peer, kind = error.as_str(), "{error}");
            }
            Event::Disconnected => {
                tracing::warn!(target: EVENTS, id, "disconnected from the broker");
            }
            Event::Open(_) => tracing::info!(target: EVENTS, id, "open"),
            Event::Connection(info) => {
                tracing::debug!(target: EVENTS, id, peer = info.peer().as_str(), "a connection comes");
            }
            Event::ConnectionOpen(info) => {
                tracing::info!(target: EVENTS, id, peer = info.peer().as_str(), "a connection is open");
            }
            Event::ConnectionClosed(info, reason) => {
                let peer = info.peer().as_str();
                tracing::info!(target: EVENTS, id, peer, "a connection is closed: {reason}");
            }
            Event::Closed => tracing::info!(target: EVENTS, id, "closed"),
            Event::Lagged(_) => {}
        }
    }

    /// Tells the end, once, and ends the streams.
    pub(crate) fn end_events(&self) {
        if let Some(events) = lock(&self.events).take() {
            self.log(&Event::Closed);
            let _ = events.send(Event::Closed);
        }
    }

    pub(crate) fn events(&self) -> Events {
        if let Some(first) = lock(&self.first_events).take() {
            return Events::new(first);
        }
        let receiver = match lock(&self.events).as_ref() {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        };
        Events::new(receiver)
    }

    pub(crate) async fn list_all_peers(&self) -> Result<Vec<String>, ListError> {
        self.client
            .list_all_peers()
            .await
            .map_err(|error| ListError {
                source: Arc::new(error),
            })
    }
}

impl Owner for Shared {
    fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn close(&self, handle: ConnectionHandle) {
        let mut requests = lock(&self.requests);
        if !requests.close.contains(&handle) {
            requests.close.push(handle);
        }
        drop(requests);
        self.bell.notify_one();
    }

    fn malformed(&self, info: &ConnectionInfo, why: &dyn core::fmt::Display) {
        let peer = info.peer().as_str();
        tracing::debug!(target: "peer_net", peer, "a message cannot be read: {why}");
        self.count(|stats| stats.malformed_messages += 1);
    }

    fn dropped(&self, info: &Arc<ConnectionInfo>) {
        self.count(|stats| stats.dropped_messages += 1);
        let too_big = ConnectionError::MessageTooBig;
        self.emit(Event::ConnectionError(info.clone(), too_big));
    }
}
