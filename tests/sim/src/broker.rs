//! The broker: the real `Realm` behind a model of WebSockets over TCP.

use std::collections::{HashMap, VecDeque};

use peer_core::time::{Duration, Instant};
use peer_realm::{Action, ClientMessage, Realm, RealmOptions, SessionId};

use crate::broker_lan::BrokerLan;
use crate::host::HostId;
use crate::io::{Stimulus, kind_of};
use crate::lan::WireId;
use crate::link::BROKER;
use crate::sim::{Happening, Sim};

/// First retransmission of a segment; doubles up to [`RETRY_MAX`] (RFC 6298 with a floor as in
/// Linux).
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(4);
/// A segment nobody acknowledged for so long breaks the socket. Linux's `TCP_USER_TIMEOUT` in a
/// sensible setting.
const BREAKS_AFTER: Duration = Duration::from_secs(20);
/// Messages that wait for one socket. What the realm relays beyond is refused; a client's own break
/// the socket.
const LANE_MAX: usize = 1_024;
/// Signals remembered for [`Action::RepeatSignal`](crate::Action::RepeatSignal) and its like.
const REMEMBERED: usize = 64;
/// Bytes of the TCP and TLS handshakes and of the upgrade.
const UPGRADE: usize = 1_500;

#[derive(Clone, Debug)]
pub(crate) enum Segment {
    Upgrade { id: String, token: String },
    Accepted,
    Text(String),
    End,
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Self::Upgrade { .. } => UPGRADE,
            Self::Accepted => 300,
            Self::Text(text) => text.len() + 8,
            Self::End => 40,
        }
    }
}

/// One direction of a socket.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Segment>,
    last_arrival: Option<Instant>,
    failing_since: Option<Instant>,
    failures: u32,
}

#[derive(Debug)]
pub(crate) struct Socket {
    host: HostId,
    /// Where it is: at the host, or at the gateway it uses.
    machine: HostId,
    incarnation: u32,
    session: SessionId,
    /// NAT binding it was made with; segments of an older one get a reset.
    epoch: u16,
    client_open: bool,
    server_open: bool,
    lanes: [Lane; 2],
}

/// Where a session's messages go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route {
    Modelled(usize),
    /// A connection over smoltcp's TCP.
    Tcp(WireId),
}

/// A lane's number: from the client, from the server.
type Direction = usize;
const UP: Direction = 0;
const DOWN: Direction = 1;

pub(crate) struct Broker {
    pub(crate) realm: Realm,
    pub(crate) up: bool,
    options: RealmOptions,
    sockets: Vec<Socket>,
    pub(crate) by_session: HashMap<SessionId, Route>,
    timer: Option<Instant>,
    offset: Duration,
    relayed: VecDeque<(SessionId, String)>,
    /// The same broker on the LAN, while its machine runs.
    pub(crate) lan: Option<BrokerLan>,
    /// Hosts that use it there, and sessions so far.
    pub(crate) on_lan: usize,
    pub(crate) lan_sessions: u64,
}

impl Broker {
    pub(crate) fn new(options: RealmOptions) -> Self {
        Self {
            realm: Realm::new(options.clone()),
            up: true,
            options,
            sockets: Vec::new(),
            by_session: HashMap::new(),
            timer: None,
            offset: Duration::ZERO,
            relayed: VecDeque::new(),
            lan: None,
            on_lan: 0,
            lan_sessions: 0,
        }
    }

    pub(crate) fn local(&self, now: Instant) -> Instant {
        now + self.offset
    }
}

impl Sim {
    pub(crate) fn stop_broker_now(&mut self, orderly: bool) {
        if !core::mem::replace(&mut self.broker.up, false) {
            return;
        }
        self.trace
            .line(self.now, format_args!("broker stops, orderly: {orderly}"));
        self.broker.realm = Realm::new(self.broker.options.clone());
        self.broker.by_session.clear();
        self.stop_broker_lan(orderly);
        for index in 0..self.broker.sockets.len() {
            let socket = &mut self.broker.sockets[index];
            if !core::mem::replace(&mut socket.server_open, false) {
                continue;
            }
            socket.lanes[DOWN].waiting.clear();
            // A process that ends has its kernel say so; a machine that dies says nothing.
            if orderly {
                self.send_segment(index, DOWN, Segment::End);
            }
        }
    }

    pub(crate) fn start_broker_now(&mut self) {
        if !core::mem::replace(&mut self.broker.up, true) {
            self.trace.line(self.now, format_args!("broker starts"));
            self.start_broker_lan();
        }
    }

    pub(crate) fn jump_broker_clock(&mut self, by: Duration) {
        self.broker.offset += by;
        self.trace
            .line(self.now, format_args!("broker clock jumps {by:?}"));
        self.arm_realm();
    }

    /// Delivers one of the latest signals once more, with one byte changed or as it was.
    pub(crate) fn tamper(&mut self, changes: bool) {
        self.tampered = true;
        let index = self.rng_stack.index(self.broker.relayed.len());
        let Some((session, text)) = self.broker.relayed.get(index).cloned() else {
            return;
        };
        let mut bytes = text.into_bytes();
        if changes {
            let at = self.rng_stack.index(bytes.len());
            bytes[at] = 0x20 + self.rng_stack.below(0x5f) as u8;
        }
        let Ok(text) = String::from_utf8(bytes) else {
            return;
        };
        if self.broker.by_session.contains_key(&session) {
            self.trace.line(
                self.now,
                format_args!("somebody repeats {} to {session:?}", kind_of(&text)),
            );
            self.deliver_to(session, text);
        }
    }

    pub(crate) fn retrieve_id(&mut self, id: HostId) {
        self.note(id, format_args!("> broker retrieve id"));
        let now = self.now;
        let to = self.machine(id).node();
        let incarnation = self.lease(id);
        let ask = self.net.send(now, to, BROKER, UPGRADE)[0];
        let answer = ask.and_then(|at| self.net.send(at, BROKER, to, 300)[0]);
        let happening = match answer {
            Some(at) if self.broker.up => {
                let fresh = format!("given-{:08x}", self.rng_hosts.next() >> 32);
                (at, Stimulus::IdRetrieved(fresh))
            }
            _ => (now + Duration::from_secs(2), Stimulus::RetrieveFailed),
        };
        self.schedule(
            happening.0,
            Happening::Stimulus(id, incarnation, happening.1),
        );
    }

    pub(crate) fn open_socket(&mut self, id: HostId, peer: String, token: String) {
        self.note(id, format_args!("> broker open {peer}"));
        if let Some(old) = self.hosts[id.0].socket.take() {
            self.socket_client_closed(old);
        }
        let index = self.broker.sockets.len();
        let (machine, incarnation) = (self.machine(id), self.lease(id));
        let epoch = self.hosts[machine.0].address_epoch;
        let host = &mut self.hosts[id.0];
        self.broker.sockets.push(Socket {
            host: id,
            machine,
            incarnation,
            session: SessionId(index as u64),
            epoch,
            client_open: true,
            server_open: false,
            lanes: Default::default(),
        });
        host.socket = Some(index);
        self.send_segment(index, UP, Segment::Upgrade { id: peer, token });
    }

    pub(crate) fn socket_send(&mut self, id: HostId, text: String) {
        let kind = kind_of(&text);
        self.note(id, format_args!("> {kind}, {} bytes", text.len()));
        let Some(socket) = self.hosts[id.0].socket else {
            // The socket ended and the engine has not been told yet.
            return;
        };
        self.stats.signals += 1;
        self.send_segment(socket, UP, Segment::Text(text));
    }

    /// The client ends its socket in order.
    pub(crate) fn socket_client_closed(&mut self, index: usize) {
        let socket = &mut self.broker.sockets[index];
        if core::mem::replace(&mut socket.client_open, false) {
            self.send_segment(index, UP, Segment::End);
        }
    }

    /// The client's machine is gone: the server learns of it when nobody acknowledges.
    pub(crate) fn socket_client_vanished(&mut self, index: usize) {
        let socket = &mut self.broker.sockets[index];
        socket.client_open = false;
        socket.lanes[UP].waiting.clear();
    }

    fn send_segment(&mut self, index: usize, direction: Direction, segment: Segment) {
        let lane = &mut self.broker.sockets[index].lanes[direction];
        if lane.waiting.len() >= LANE_MAX {
            self.break_socket(index, direction);
            return;
        }
        lane.waiting.push_back(segment);
        if lane.failing_since.is_none() {
            self.pump(index, direction);
        }
    }

    /// Sends what waits until something is lost.
    pub(crate) fn pump(&mut self, index: usize, direction: Direction) {
        let now = self.now;
        loop {
            let socket = &mut self.broker.sockets[index];
            let host = &self.hosts[socket.machine.0];
            let client = socket.machine.node();
            let (from, to) = if direction == UP {
                (client, BROKER)
            } else {
                (BROKER, client)
            };
            // A kernel acknowledges, or resets, as long as its machine runs. A rebound NAT has
            // forgotten the way in.
            let listens = direction == UP || (host.runs() && host.address_epoch == socket.epoch);
            let lane = &mut socket.lanes[direction];
            let Some(segment) = lane.waiting.front() else {
                return;
            };
            let round_trips = if matches!(segment, Segment::Upgrade { .. }) {
                2
            } else {
                0
            };
            let arrival = self
                .net
                .send(now, from, to, segment.len())
                .into_iter()
                .flatten()
                .next()
                .filter(|_| listens);
            let Some(arrival) = arrival else {
                let since = *lane.failing_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= BREAKS_AFTER {
                    self.break_socket(index, direction);
                    return;
                }
                let wait = (RETRY_FIRST * (1 << lane.failures.min(6))).min(RETRY_MAX);
                lane.failures += 1;
                self.schedule(now + wait, Happening::Retry(index, direction));
                return;
            };
            lane.failing_since = None;
            lane.failures = 0;
            let arrival = arrival + self.net.latency(from, to) * 2 * round_trips;
            let arrival = lane.last_arrival.map_or(arrival, |last| arrival.max(last));
            lane.last_arrival = Some(arrival);
            if let Some(segment) = lane.waiting.pop_front() {
                self.schedule(arrival, Happening::Segment(index, direction, segment));
            }
        }
    }

    pub(crate) fn retry(&mut self, index: usize, direction: Direction) {
        let lane = &mut self.broker.sockets[index].lanes[direction];
        if lane.failing_since.is_some() {
            self.pump(index, direction);
        }
    }

    /// The sender of this direction gives the socket up.
    fn break_socket(&mut self, index: usize, direction: Direction) {
        let socket = &mut self.broker.sockets[index];
        let lane = &mut socket.lanes[direction];
        lane.waiting.clear();
        lane.failing_since = None;
        lane.failures = 0;
        if direction == UP {
            self.client_lost_socket(index);
        } else {
            self.server_lost_socket(index);
        }
    }

    fn client_lost_socket(&mut self, index: usize) {
        let socket = &mut self.broker.sockets[index];
        if !core::mem::replace(&mut socket.client_open, false) {
            return;
        }
        socket.lanes[UP].waiting.clear();
        let (id, incarnation) = (socket.host, socket.incarnation);
        if self.lease(id) == incarnation && self.hosts[id.0].socket == Some(index) {
            self.hosts[id.0].socket = None;
            let now = self.now;
            self.schedule(
                now,
                Happening::Stimulus(id, incarnation, Stimulus::SocketClosed),
            );
        }
    }

    fn server_lost_socket(&mut self, index: usize) {
        let socket = &mut self.broker.sockets[index];
        if core::mem::replace(&mut socket.server_open, false) {
            let session = socket.session;
            self.broker.by_session.remove(&session);
            self.broker.realm.disconnect(session);
        }
    }

    /// A segment is there.
    pub(crate) fn segment(&mut self, index: usize, direction: Direction, segment: Segment) {
        if direction == UP {
            self.segment_at_server(index, segment);
            return;
        }
        let socket = &self.broker.sockets[index];
        let (id, incarnation) = (socket.host, socket.incarnation);
        let machine = socket.machine;
        let runs = self.hosts[machine.0].runs();
        let is_ours = self.lease(id) == incarnation
            && runs
            && self.hosts[id.0].socket == Some(index)
            && socket.client_open;
        if !is_ours {
            // The machine runs but the socket is gone: a reset goes back.
            if runs && self.net.is_reachable(machine.node(), BROKER) {
                let at = self.now + self.net.latency(machine.node(), BROKER);
                self.schedule(at, Happening::Reset(index, UP));
            }
            return;
        }
        match segment {
            Segment::Accepted => self.stimulate(id, incarnation, Stimulus::Opened),
            Segment::Text(text) => self.stimulate(id, incarnation, Stimulus::Text(text)),
            Segment::End | Segment::Upgrade { .. } => {
                self.client_lost_socket(index);
            }
        }
    }

    fn segment_at_server(&mut self, index: usize, segment: Segment) {
        let now = self.now;
        let local = self.broker.local(now);
        let socket = &mut self.broker.sockets[index];
        let (session, id) = (socket.session, socket.machine);
        let rebound = socket.epoch != self.hosts[id.0].address_epoch;
        let knows = socket.server_open || matches!(segment, Segment::Upgrade { .. });
        if !self.broker.up || !knows || rebound {
            // From a process or binding that does not exist any more. The server's own end learns
            // nothing.
            if !matches!(segment, Segment::End) && self.net.is_reachable(BROKER, id.node()) {
                let at = now + self.net.latency(BROKER, id.node());
                self.schedule(at, Happening::Reset(index, DOWN));
            }
            return;
        }
        match segment {
            Segment::Upgrade { id: peer, token } => {
                socket.server_open = true;
                let route = Route::Modelled(index);
                self.broker.by_session.insert(session, route);
                self.send_segment(index, DOWN, Segment::Accepted);
                let key = self.broker.options.key.clone();
                let actions = self
                    .broker
                    .realm
                    .connect(local, session, &key, &peer, &token);
                self.realm_actions(actions);
            }
            Segment::Text(text) => match ClientMessage::parse(&text) {
                Ok(message) => {
                    let actions = self.broker.realm.message(local, session, &message);
                    self.realm_actions(actions);
                }
                Err(error) => self.violated(
                    "signals-are-json",
                    format_args!("the engine sent {text}: {error}"),
                ),
            },
            Segment::End => self.server_lost_socket(index),
            Segment::Accepted => {}
        }
        self.arm_realm();
    }

    /// The far end of this direction said that it knows no such socket.
    pub(crate) fn reset(&mut self, index: usize, direction: Direction) {
        if direction == DOWN {
            self.client_lost_socket(index);
        } else {
            self.server_lost_socket(index);
        }
    }

    pub(crate) fn realm_actions(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { session, text } => self.deliver_to(session, text),
                Action::Relay { from, to, text } => {
                    let full = match self.broker.by_session.get(&to) {
                        Some(&Route::Modelled(index)) => {
                            self.broker.sockets[index].lanes[DOWN].waiting.len() >= LANE_MAX / 4
                        }
                        Some(&Route::Tcp(wire)) => self.lan_is_full(wire),
                        None => false,
                    };
                    if full {
                        let actions = self.broker.realm.refused(from, to);
                        self.realm_actions(actions);
                    } else {
                        self.broker.relayed.push_back((to, text.clone()));
                        if self.broker.relayed.len() > REMEMBERED {
                            self.broker.relayed.pop_front();
                        }
                        self.deliver_to(to, text);
                    }
                }
                Action::Close { session } => {
                    // Refused ones never were in the realm; the others it has forgotten.
                    if self.broker.realm.id(session).is_some() {
                        self.violated(
                            "realm-forgets",
                            format_args!("{session:?} is closed and still known"),
                        );
                    }
                    match self.broker.by_session.remove(&session) {
                        Some(Route::Modelled(index)) => {
                            self.broker.sockets[index].server_open = false;
                            self.send_segment(index, DOWN, Segment::End);
                        }
                        Some(Route::Tcp(wire)) => self.lan_close(wire),
                        None => {}
                    }
                }
            }
        }
    }

    fn deliver_to(&mut self, session: SessionId, text: String) {
        match self.broker.by_session.get(&session) {
            Some(&Route::Modelled(index)) => self.send_segment(index, DOWN, Segment::Text(text)),
            Some(&Route::Tcp(wire)) => self.lan_send(wire, &text),
            None => self.violated(
                "realm-sessions",
                format_args!("a message for {session:?}, which is closed"),
            ),
        }
    }

    pub(crate) fn realm_timer(&mut self) {
        if self.broker.timer != Some(self.now) {
            return;
        }
        self.broker.timer = None;
        if !self.broker.up {
            return;
        }
        let local = self.broker.local(self.now);
        let actions = self.broker.realm.poll(local);
        self.realm_actions(actions);
        if self
            .broker
            .realm
            .next_timeout()
            .is_some_and(|at| at <= local)
        {
            self.violated(
                "realm-timeouts-move",
                format_args!("poll did not do what was due"),
            );
        }
        self.check_realm();
        self.arm_realm();
    }

    pub(crate) fn arm_realm(&mut self) {
        let Some(at) = self.broker.realm.next_timeout() else {
            return;
        };
        let micros = at
            .as_micros()
            .saturating_sub(u64::try_from(self.broker.offset.as_micros()).unwrap_or(u64::MAX));
        let at = Instant::from_micros(micros).max(self.now);
        if self.broker.timer.is_none_or(|timer| at < timer) {
            self.broker.timer = Some(at);
            self.schedule(at, Happening::RealmTimer);
        }
    }

    fn check_realm(&mut self) {
        let stats = self.broker.realm.stats();
        let limits = &self.broker.options.limits;
        if stats.queued_bytes > limits.queued_bytes
            || stats.clients > self.broker.options.concurrent_limit
        {
            self.violated("realm-capacity", format_args!("{stats:?}"));
        }
    }
}
