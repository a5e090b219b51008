//! The simulation: its clock, its queue and what can be done to it.

use core::cmp::Reverse;
use core::fmt;
use std::collections::BinaryHeap;
use std::rc::Rc;

use peer_core::PeerId;
use peer_core::connection::SendError;
use peer_core::link::Key;
use peer_core::peer::{
    ConnectError, ConnectOptions, ConnectionHandle, Peer, PeerState, RtcFailure, Stats as PeerStats,
};
use peer_core::time::{Duration, Instant};
use peer_realm::Realm;
use serde::Serialize;

use crate::action::Action;
use crate::broker::{Broker, Segment};
use crate::check::{AUDIT_EVERY, Offer};
use crate::host::{
    Access, Conn, Host, HostEvent, HostId, HostOptions, HostState, Identity, Message, leaf_key,
};
use crate::io::Stimulus;
use crate::ledger::Ledger;
use crate::link::{Network, Node, SiteId, SiteOptions};
use crate::options::{SimOptions, SimStats};
use crate::session::{Datagram, End, EndId, Udp};
use crate::trace::Trace;
use crate::{Rng, trace};

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Happening {
    HostTimer(HostId),
    /// A frame reaches a node of the LAN.
    Frame(Node, Vec<u8>),
    GatewayTurn(HostId),
    BrokerTurn,
    HostPoll(HostId, u32),
    HostRead(HostId, u32, ConnectionHandle),
    HostFeed(HostId, u32, ConnectionHandle),
    Reconnect(HostId, u32),
    Stimulus(HostId, u32, Stimulus),
    Datagram(Box<Datagram>),
    Udp(Box<Udp>),
    EndTimer(EndId),
    EndTick(EndId),
    StackFails(EndId, RtcFailure),
    Segment(usize, usize, Segment),
    Retry(usize, usize),
    Reset(usize, usize),
    RealmTimer,
    Undelivered(EndId, Option<u64>),
    Audit,
    Act(Box<Action>),
}

struct Scheduled {
    at: Instant,
    order: u64,
    happening: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Peers, a broker and a network in virtual time.
///
/// One seed and the same calls give the same trace, bit for bit. Nothing runs by itself:
/// [`step`](Self::step), [`run_for`](Self::run_for), [`run_until`](Self::run_until) and
/// [`wait`](Self::wait) let time pass. After every step the [invariants](crate::INVARIANTS) are
/// checked; a violation panics with the seed and the way to replay it.
///
/// ```
/// use peer_core::peer::ConnectOptions;
/// use peer_core::time::Duration;
/// use peer_sim::{HostOptions, Sim};
///
/// let mut sim = Sim::new(7);
/// let alice = sim.add_host(HostOptions::new("alice"));
/// let bob = sim.add_host(HostOptions::new("bob"));
/// sim.run_for(Duration::from_secs(1));
///
/// let conn = sim.connect(alice, "bob", ConnectOptions::default())?;
/// assert!(sim.wait(Duration::from_secs(1), |sim| sim.is_open(conn)));
/// sim.send(conn, ("temperature", 21.5))?;
/// sim.run_for(Duration::from_secs(1));
/// let messages = sim.take_messages(bob);
/// assert_eq!(messages[0].decode::<(String, f64)>()?, ("temperature".to_owned(), 21.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Sim {
    pub(crate) seed: u64,
    pub(crate) steps: u64,
    pub(crate) now: Instant,
    order: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    pub(crate) options: SimOptions,
    pub(crate) net: Network,
    pub(crate) hosts: Vec<Host>,
    pub(crate) ends: Vec<Option<Box<End>>>,
    pub(crate) ledgers: Vec<Ledger>,
    pub(crate) broker: Broker,
    pub(crate) trace: Trace,
    pub(crate) stats: SimStats,
    pub(crate) rng_hosts: Rng,
    pub(crate) rng_stack: Rng,
    rng: Rng,
    pub(crate) waived: Vec<&'static str>,
    pub(crate) replay: String,
    pub(crate) reported: bool,
    /// Somebody repeats or changes signals.
    pub(crate) tampered: bool,
    /// Whose turn it is, for reports.
    pub(crate) subject: Option<HostId>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("seed", &self.seed)
            .field("steps", &self.steps)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl Sim {
    /// An empty world with the default options and a broker that runs.
    pub fn new(seed: u64) -> Self {
        Self::with_options(seed, SimOptions::default())
    }

    /// An empty world with a broker that runs.
    pub fn with_options(seed: u64, options: SimOptions) -> Self {
        let mut rng = Rng::new(seed);
        let mut trace = Trace::new();
        if let Some(lines) = crate::check::lines_asked_for() {
            trace.set_limit(lines);
        }
        let mut net = Network::new(rng.fork());
        net.add(options.broker_link, None);
        let mut sim = Self {
            seed,
            steps: 0,
            now: Instant::ZERO,
            order: 0,
            queue: BinaryHeap::new(),
            net,
            hosts: Vec::new(),
            ends: Vec::new(),
            ledgers: Vec::new(),
            broker: Broker::new(options.realm.clone()),
            options,
            trace,
            stats: SimStats::default(),
            rng_hosts: rng.fork(),
            rng_stack: rng.fork(),
            rng: rng.fork(),
            waived: Vec::new(),
            replay: "the same program with Sim::new({seed})".to_owned(),
            reported: false,
            tampered: false,
            subject: None,
        };
        sim.schedule(Instant::ZERO + AUDIT_EVERY, Happening::Audit);
        sim
    }

    /// How a failure tells to be replayed; `{seed}` stands for the seed.
    pub fn set_replay(&mut self, command: &str) {
        command.clone_into(&mut self.replay);
    }

    /// Does not check this [invariant](crate::INVARIANTS).
    ///
    /// # Panics
    /// There is none of this name.
    pub fn waive(&mut self, invariant: &str) {
        let known = crate::INVARIANTS
            .iter()
            .find(|(name, _)| *name == invariant);
        self.waived.push(known.expect("the name of an invariant").0);
    }

    /// Keeps so many lines of trace. Default: 20,000. The hash covers all lines ever written.
    pub fn keep_trace(&mut self, lines: usize) {
        self.trace.set_limit(lines);
    }

    /// Adds a host and starts it.
    ///
    /// # Panics
    /// The id is not one the engine takes, or longer than a leaf's name may be.
    pub fn add_host(&mut self, options: HostOptions) -> HostId {
        let number = self.hosts.len();
        let name = options
            .id
            .clone()
            .unwrap_or_else(|| format!("host-{number}"));
        self.place_host(name, options, false)
    }

    /// Adds a host or a gateway and starts it.
    pub(crate) fn place_host(
        &mut self,
        name: String,
        options: HostOptions,
        is_gateway: bool,
    ) -> HostId {
        let id = HostId(self.hosts.len());
        self.net.add(options.link, options.site);
        match options.access {
            Access::Modelled => {}
            Access::Tcp => self.put_broker_on_lan(),
            Access::Leaf(gateway) => {
                let gateway = &mut self.hosts[gateway.0];
                let keys = Rc::make_mut(&mut gateway.keys);
                keys.add(&name, Key::new(leaf_key(id)), options.id.clone());
                if let Some(machine) = &mut gateway.gateway {
                    machine.grow();
                }
            }
        }
        let token = self.rng_hosts.next();
        // Each clock has its own epoch.
        let offset = (1_000_000_000_000 + self.rng_hosts.below(1_000_000_000_000)) as i64;
        let mut host = Host::new(name, options, token, offset);
        host.is_gateway = is_gateway;
        self.hosts.push(host);
        self.boot(id, Identity::Same);
        id
    }

    /// Adds `count` hosts, `prefix-0` and so on, and starts them.
    pub fn add_hosts(&mut self, prefix: &str, count: usize, options: &HostOptions) -> Vec<HostId> {
        (0..count)
            .map(|number| {
                self.add_host(HostOptions {
                    id: Some(format!("{prefix}-{number}")),
                    ..options.clone()
                })
            })
            .collect()
    }

    /// Adds a site: a LAN behind one uplink. See [`topology`](crate::topology) for whole ones.
    pub fn add_site(&mut self, options: SiteOptions) -> SiteId {
        self.net.add_site(options.uplink, options.nat)
    }

    /// Where a host stands.
    pub fn site(&self, host: HostId) -> Option<SiteId> {
        self.hosts[host.0].options.site
    }

    /// All hosts, gateways included, in the order they were added.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len()).map(HostId)
    }

    /// Starts a connection. See [`Peer::connect`].
    ///
    /// # Errors
    /// [`ConnectError`]; [`ConnectError::Destroyed`] also where the host is down or paused.
    ///
    /// # Panics
    /// `remote` is not an id.
    pub fn connect(
        &mut self,
        host: HostId,
        remote: &str,
        options: ConnectOptions<'_>,
    ) -> Result<Conn, ConnectError> {
        if self.state(host) != HostState::Up {
            return Err(ConnectError::Destroyed);
        }
        let to = PeerId::from_wire(remote).expect("the remote's id is one the engine takes");
        let label = options.label.map(str::to_owned);
        let metadata = options.metadata.map(str::to_owned);
        let (reliable, serialization) = (options.reliable, options.serialization);
        let offer = Offer {
            label: label.clone().filter(|label| !label.is_empty()),
            metadata: metadata.clone(),
            serialization,
        };
        self.will_tell_time(host);
        let result = self.call(host, move |peer, now| {
            let options = ConnectOptions {
                label: label.as_deref(),
                metadata: metadata.as_deref(),
                reliable,
                serialization,
            };
            peer.connect(now, &to, options)
        });
        let handle = match result.unwrap_or(Err(ConnectError::Destroyed)) {
            Ok(handle) => handle,
            Err(error) => {
                self.note(host, format_args!("connect to {remote} refused: {error:?}"));
                return Err(error);
            }
        };
        self.note(host, format_args!("connects to {remote}: {handle:?}"));
        self.stats.connects += 1;
        let timeout = self.connect_timeout(host);
        let end = self.end_of(host, handle);
        let now = self.now;
        let place = &mut self.hosts[host.0];
        place.add_record(handle, remote.to_owned(), reliable, timeout, end, now);
        if let Some(record) = place.record_mut(handle) {
            record.offer = Some(offer);
        }
        self.poll_soon(host);
        Ok(Conn {
            host,
            incarnation: self.hosts[host.0].incarnation,
            handle,
        })
    }

    /// Sends a value. See [`DataConnection::send`](peer_core::peer::DataConnection::send).
    ///
    /// # Errors
    /// [`SendError`]; [`SendError::Closed`] also for a stale connection.
    pub fn send<T: Serialize + 'static>(&mut self, conn: Conn, value: T) -> Result<(), SendError> {
        if !self.is_current(conn) {
            return Err(SendError::Closed);
        }
        let result = self.give(conn, value);
        self.poll_soon(conn.host);
        result
    }

    /// Gives a value to the engine, which is to be polled then.
    pub(crate) fn give<T: Serialize + 'static>(
        &mut self,
        conn: Conn,
        value: T,
    ) -> Result<(), SendError> {
        let handle = conn.handle;
        let room = self.hosts[conn.host.0].options.capacity.outbox;
        let sent = self.call(conn.host, move |peer, _| {
            let mut connection = peer.connection(handle).ok_or(SendError::Closed)?;
            connection.send(&value)?;
            let mut buffer = vec![0; room];
            let frame = connection.serialization().encode(&value, &mut buffer);
            let frame = frame.expect("what was just encoded can be encoded again");
            Ok(trace::digest(frame.bytes))
        });
        match sent.unwrap_or(Err(SendError::Closed)) {
            Ok(digest) => {
                self.note(conn.host, format_args!("{handle:?} sends {digest:016x}"));
                if self.is_streaming(conn) {
                    self.violated(
                        "stream-whole",
                        format_args!("{handle:?} took a message in the middle of another"),
                    );
                }
                self.record_sent(conn.host, handle, digest);
                Ok(())
            }
            Err(error) => {
                if error == SendError::Full {
                    self.record_full(conn.host, handle);
                }
                Err(error)
            }
        }
    }

    /// Closes a connection. See [`DataConnection::close`](peer_core::peer::DataConnection::close).
    pub fn close(&mut self, conn: Conn) {
        self.note(conn.host, format_args!("closes {:?}", conn.handle));
        self.mark_closed(conn);
        self.with_connection(conn, |connection, _| connection.close());
    }

    /// Closes a connection once all is sent. See
    /// [`DataConnection::close_flush`](peer_core::peer::DataConnection::close_flush).
    pub fn close_flush(&mut self, conn: Conn) {
        self.note(
            conn.host,
            format_args!("closes {:?} with a flush", conn.handle),
        );
        if self.machine(conn.host) != conn.host {
            // It may give up while the remote's close message is on its way through the link.
            self.mark_closed(conn);
        }
        self.with_connection(conn, |connection, now| connection.close_flush(now));
    }

    /// Whether the connection is open at this end.
    pub fn is_open(&self, conn: Conn) -> bool {
        self.is_current(conn)
            && self.hosts[conn.host.0]
                .record(conn.handle)
                .is_some_and(|record| record.opened && !record.ended)
    }

    /// Whether the connection is over at this end, or the host crashed since.
    pub fn is_over(&self, conn: Conn) -> bool {
        !self.is_current(conn)
            || self.hosts[conn.host.0]
                .record(conn.handle)
                .is_none_or(|record| record.ended)
    }

    /// The peer at the far end.
    pub fn remote(&self, conn: Conn) -> Option<&str> {
        let record = self.hosts[conn.host.0].record(conn.handle);
        Some(record?.remote.as_str()).filter(|_| self.is_current(conn))
    }

    /// The connections of a host that are open, oldest first.
    pub fn open_connections(&self, host: HostId) -> Vec<Conn> {
        let Host {
            records,
            incarnation,
            ..
        } = &self.hosts[host.0];
        records
            .iter()
            .filter(|record| record.opened && !record.ended)
            .map(|record| Conn {
                host,
                incarnation: *incarnation,
                handle: record.handle,
            })
            .collect()
    }

    /// Calls the engine of a host that runs with its time, then polls it. For what has no method of
    /// its own.
    pub fn call<R: 'static>(
        &mut self,
        host: HostId,
        job: impl FnOnce(&mut Peer<'_>, Instant) -> R + 'static,
    ) -> Option<R> {
        let now = self.now;
        let place = &mut self.hosts[host.0];
        if place.paused {
            return None;
        }
        let local = place.local(now);
        let engine = place.engine.as_mut()?;
        Some(engine.with(move |peer| job(peer, local)))
    }

    /// Where a host's peer stands with its broker; `None`: the host is down.
    pub fn peer_state(&mut self, host: HostId) -> Option<PeerState> {
        let engine = self.hosts[host.0].engine.as_mut()?;
        Some(engine.with(|peer| peer.state()))
    }

    /// The counters of a host's engine; `None`: the host is down.
    pub fn peer_stats(&mut self, host: HostId) -> Option<PeerStats> {
        let engine = self.hosts[host.0].engine.as_mut()?;
        Some(engine.with(|peer| peer.stats()))
    }

    /// Whether the host's peer is open at the broker, as its application knows.
    pub fn is_online(&self, host: HostId) -> bool {
        self.hosts[host.0].engine.is_some() && self.hosts[host.0].online
    }

    /// Whether a host runs.
    pub fn state(&self, host: HostId) -> HostState {
        self.hosts[host.0].state()
    }

    /// A host's name: the peer id it was given, else its number.
    pub fn name(&self, host: HostId) -> &str {
        &self.hosts[host.0].name
    }

    /// Takes what happened at a host, oldest first; at most the latest
    /// [`KEPT_MAX`](crate::KEPT_MAX).
    pub fn take_events(&mut self, host: HostId) -> Vec<HostEvent> {
        self.hosts[host.0].events.drain(..).collect()
    }

    /// Takes what a host read, oldest first; at most the latest [`KEPT_MAX`](crate::KEPT_MAX).
    pub fn take_messages(&mut self, host: HostId) -> Vec<Message> {
        self.hosts[host.0].messages.drain(..).collect()
    }

    /// The broker's state.
    pub fn realm(&self) -> &Realm {
        &self.broker.realm
    }

    /// The time of the world, from zero.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Chance for scenarios. Using it does not change what the network does.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// What was counted.
    pub fn stats(&self) -> SimStats {
        SimStats {
            packets: self.net.sent,
            packets_lost: self.net.lost,
            ..self.stats
        }
    }

    /// The lines of the trace that are kept, for snapshots.
    pub fn trace(&self) -> String {
        self.trace.text()
    }

    /// A hash over all lines of the trace, those not kept included.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Lines of trace written.
    pub fn trace_lines(&self) -> u64 {
        self.trace.written()
    }

    /// Does the next thing that is due; when it was due.
    pub fn step(&mut self) -> Instant {
        // The audit is always scheduled, so the queue is never empty.
        if let Some(Reverse(Scheduled { at, happening, .. })) = self.queue.pop() {
            self.now = self.now.max(at);
            self.steps += 1;
            self.happen(happening);
        }
        self.now
    }

    /// Does what is due up to and including this time.
    pub fn run_until(&mut self, time: Instant) {
        while self
            .queue
            .peek()
            .is_some_and(|Reverse(next)| next.at <= time)
        {
            self.step();
        }
        self.now = self.now.max(time);
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Lets time pass until the condition holds, at most so long; whether it holds. It is looked at
    /// after every step.
    pub fn wait(&mut self, at_most: Duration, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + at_most;
        while !condition(self) {
            if self.queue.peek().is_none_or(|Reverse(next)| next.at > end) {
                self.now = end;
                return condition(self);
            }
            self.step();
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::HostTimer(host) => self.host_timer(host),
            Happening::Frame(node, frame) => self.frame(node, frame),
            Happening::GatewayTurn(host) => self.gateway_timer(host),
            Happening::BrokerTurn => self.broker_timer(),
            Happening::HostPoll(host, incarnation) => self.host_poll(host, incarnation),
            Happening::HostRead(host, incarnation, handle) => {
                self.host_read(host, incarnation, handle);
            }
            Happening::HostFeed(host, incarnation, handle) => {
                self.host_feed(host, incarnation, handle);
            }
            Happening::Reconnect(host, incarnation) => self.reconnect_host(host, incarnation),
            Happening::Stimulus(host, incarnation, stimulus) => {
                self.stimulate(host, incarnation, stimulus);
            }
            Happening::Datagram(datagram) => self.datagram(datagram),
            Happening::Udp(udp) => self.udp(udp),
            Happening::EndTimer(end) => self.end_timer(end),
            Happening::EndTick(end) => self.tick(end),
            Happening::StackFails(end, failure) => self.fail_end(end, failure),
            Happening::Segment(socket, direction, segment) => {
                self.segment(socket, direction, segment);
            }
            Happening::Retry(socket, direction) => self.retry(socket, direction),
            Happening::Reset(socket, direction) => self.reset(socket, direction),
            Happening::RealmTimer => self.realm_timer(),
            Happening::Undelivered(end, oldest) => self.check_undelivered(end, oldest),
            Happening::Audit => {
                self.audit();
                let next = self.now + AUDIT_EVERY;
                self.schedule(next, Happening::Audit);
            }
            Happening::Act(action) => self.act(*action),
        }
    }

    pub(crate) fn schedule(&mut self, at: Instant, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled {
            at,
            order: self.order,
            happening,
        }));
    }

    /// Writes a line about a host.
    pub(crate) fn note(&mut self, host: HostId, text: fmt::Arguments<'_>) {
        let Host {
            name, incarnation, ..
        } = &self.hosts[host.0];
        self.trace
            .line(self.now, format_args!("{name}#{incarnation} {text}"));
    }

    pub(crate) fn connect_timeout(&self, host: HostId) -> Duration {
        let mut config = peer_core::peer::Config::new([0; 32]);
        (self.hosts[host.0].options.tune)(&mut config);
        config.connect_timeout
    }

    /// A call that tells the engine the time, whatever comes of it.
    pub(crate) fn will_tell_time(&mut self, host: HostId) {
        let now = self.now;
        let place = &mut self.hosts[host.0];
        if place.state() == HostState::Up {
            place.told = place.told.max(place.local(now));
        }
    }

    pub(crate) fn is_current(&self, conn: Conn) -> bool {
        let host = &self.hosts[conn.host.0];
        host.engine.is_some() && host.incarnation == conn.incarnation
    }

    fn mark_closed(&mut self, conn: Conn) {
        if self.is_current(conn)
            && let Some(record) = self.hosts[conn.host.0].record_mut(conn.handle)
        {
            record.closed_here = true;
        }
    }

    pub(crate) fn with_connection(
        &mut self,
        conn: Conn,
        job: impl FnOnce(&mut peer_core::peer::DataConnection<'_>, Instant) + 'static,
    ) {
        if !self.is_current(conn) {
            return;
        }
        let handle = conn.handle;
        self.call(conn.host, move |peer, now| {
            if let Some(mut connection) = peer.connection(handle) {
                job(&mut connection, now);
            }
        });
        self.poll_soon(conn.host);
    }
}

impl Drop for Sim {
    /// A failing assertion of a test, or a panic of an engine, tells the seed too.
    fn drop(&mut self) {
        if std::thread::panicking() && !self.reported {
            eprintln!("{}", self.report());
        }
    }
}
