//! One host: what it is like, what is kept of it, and its starts and ends.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use peer_core::peer::{Config, ConnectionHandle, Event};
use peer_core::rtc::dtls;
use peer_core::serialization::{DecodeError, MessageKind, Serialization};
use peer_core::time::{Duration, Instant, monotonic};
use peer_core::{PeerId, Token};
use serde::de::DeserializeOwned;

use crate::Rng;
use crate::check::Record;
use crate::device::{Attachment, To, fill};
use crate::engine::{Capacity, Engine};
use crate::gateway::{Keys, Leased, Machine};
use crate::link::{BROKER, Link, Node, SiteId};
use crate::nat::{Nat, Table};
use crate::options::Sessions;
use crate::session::EndId;
use crate::sim::{Happening, Sim};

/// Events and messages a host keeps until they are taken. At the limit the oldest goes.
pub const KEPT_MAX: usize = 10_000;
/// Packets and segments that wait for a paused host. Beyond: dropped, as a socket buffer does.
const BACKLOG_MAX: usize = 512;

/// Names a host of a [`Sim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(crate) usize);

impl HostId {
    pub(crate) const fn node(self) -> Node {
        self.0 + 1
    }

    /// The host's number: 0 for the first one added.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// Names one connection at one of its two hosts. Stale once the connection is over or the host
/// crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conn {
    /// Where.
    pub host: HostId,
    pub(crate) incarnation: u32,
    pub(crate) handle: ConnectionHandle,
}

impl Conn {
    /// Names the connection at the host's engine, for [`Sim::call`].
    pub const fn handle(self) -> ConnectionHandle {
        self.handle
    }
}

/// How a host reaches its broker and its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// By the models of this crate.
    #[default]
    Modelled,
    /// Its broker by [`peer_core::net`]: HTTP and a WebSocket over smoltcp's TCP, whose frames
    /// travel over the links. Its sessions are modelled.
    Tcp,
    /// Broker and sessions by [`peer_core::link`] over smoltcp's TCP through this
    /// [gateway](Sim::add_gateway), whose sessions are modelled.
    Leaf(HostId),
}

/// What a host is like.
///
/// ```
/// use peer_sim::{HostOptions, Link};
/// let sensor = HostOptions { link: Link::wifi(), ..HostOptions::new("sensor") };
/// assert!(sensor.reconnect.is_some());
/// ```
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The peer's id; `None`: the broker chooses one.
    pub id: Option<String>,
    /// Its access to the network. Default: [`Link::lan`].
    pub link: Link,
    /// Where it stands. Default: nowhere in particular, directly at the internet.
    pub site: Option<SiteId>,
    /// The NAT between its real sessions and the internet. Default: none.
    pub nat: Option<Nat>,
    /// How it reaches its broker and its peers. Default: [`Access::Modelled`].
    pub access: Access,
    /// What carries its connections, which is the same at both ends of one that can open. Default:
    /// [`Sessions::Modelled`].
    pub sessions: Sessions,
    /// What its engine may use.
    pub capacity: Capacity,
    /// The application comes back after it lost the broker, first after this long, doubled up to 30
    /// s, with a random half. Default: 1 s. `None`: it does not. With [`Access::Tcp`]
    /// [`BrokerSocket`](peer_core::net::BrokerSocket) does it with its own pauses, and the
    /// application after 35 to 70 s what that leaves to it.
    pub reconnect: Option<Duration>,
    /// The application reads a message at most so much later than it could. Default: at once.
    pub reads_after: Duration,
    /// Probability that the driver polls late after an input, so that inputs come back to back.
    /// Default: 0.
    pub lazy: f64,
    /// The application answers each message of a connection that came in with one as long, and
    /// reads the next one only when that was accepted. Default: no.
    pub echoes: bool,
    /// The application reads messages in pieces, and so takes longer ones than its memory holds.
    /// Kept messages are not among them. Default: no.
    pub streams_in: bool,
    /// Probability that its driver gets a message in pieces, which it feeds as they come. Default:
    /// 0.
    pub cuts: f64,
    /// Probability that there is little room for what the engine says, or none, when its driver
    /// polls. Default: 0.
    pub tight: f64,
    /// Whether its WebRTC stack counts credit. Default: no.
    pub credit: bool,
    /// Whether messages are kept for [`Sim::take_messages`]. They are checked anyway. Default: yes.
    pub keeps_messages: bool,
    /// Whether the driver puts its clock through [`monotonic`](peer_core::time::monotonic) before
    /// it tells the engine, as it has to when the clock may be set back. Default: yes.
    pub monotonic: bool,
    /// Changes the engine's configuration.
    pub tune: fn(&mut Config),
}

impl HostOptions {
    /// A host of this peer id, with the defaults above.
    pub fn new(id: &str) -> Self {
        Self {
            id: Some(id.to_owned()),
            ..Self::anonymous()
        }
    }

    /// A host that asks the broker for an id.
    pub fn anonymous() -> Self {
        Self {
            id: None,
            link: Link::lan(),
            site: None,
            nat: None,
            access: Access::Modelled,
            sessions: Sessions::Modelled,
            capacity: Capacity::default(),
            reconnect: Some(Duration::from_secs(1)),
            reads_after: Duration::ZERO,
            lazy: 0.0,
            echoes: false,
            streams_in: false,
            cuts: 0.0,
            tight: 0.0,
            credit: false,
            keeps_messages: true,
            monotonic: true,
            tune: |_| {},
        }
    }
}

impl Default for HostOptions {
    /// [`HostOptions::anonymous`].
    fn default() -> Self {
        Self::anonymous()
    }
}

/// Who a host is when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// The same id and token: it kept both in flash.
    Same,
    /// The same id with a new token: it forgot its token, so the broker takes it for a stranger.
    NewToken,
}

/// Whether a host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostState {
    /// It runs.
    Up,
    /// It stands still, as a stopped process does: its kernel still acknowledges.
    Paused,
    /// It crashed: nothing is left of it but id and token.
    Down,
}

/// An event of a host's engine, with the time of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostEvent {
    /// When it was polled.
    pub at: Instant,
    /// What happened.
    pub event: Event,
    /// The connection it is about, if any.
    pub conn: Option<Conn>,
}

/// A message that a host read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it was read.
    pub at: Instant,
    /// The connection it came on.
    pub conn: Conn,
    /// The peer that sent it.
    pub from: String,
    /// Whether it was text or binary.
    pub kind: MessageKind,
    /// How it is encoded.
    pub serialization: Serialization,
    /// The message, chunks put together.
    pub bytes: Vec<u8>,
}

impl Message {
    /// The value it holds.
    ///
    /// # Errors
    /// It holds something else.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let mut bytes = self.bytes.clone();
        self.serialization.decode(self.kind, &mut bytes)
    }
}

/// A clock that may be set, made monotonic.
struct Clock {
    reading: Rc<Cell<Instant>>,
    now: Box<dyn FnMut() -> Instant>,
    /// How far it is behind what it is made.
    behind: Duration,
}

impl Clock {
    fn new() -> Self {
        let reading = Rc::new(Cell::new(Instant::ZERO));
        let read = Rc::clone(&reading);
        Self {
            reading,
            now: Box::new(monotonic(move || read.get())),
            behind: Duration::ZERO,
        }
    }

    /// The monotonic time when the clock says `reading`.
    fn now(&mut self, reading: Instant) -> Instant {
        self.reading.set(reading);
        let now = (self.now)();
        self.behind = now.saturating_duration_since(reading);
        now
    }

    /// What the clock will say at this monotonic time, unless it steps back before.
    fn reading(&self, at: Instant) -> Instant {
        Instant::ZERO + at.saturating_duration_since(Instant::ZERO + self.behind)
    }
}

/// An input for the engine that owns what it carries.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) options: HostOptions,
    pub(crate) token: u64,
    pub(crate) engine: Option<Engine>,
    pub(crate) incarnation: u32,
    pub(crate) paused: bool,
    /// What its clock says less simulation time, µs.
    pub(crate) offset: i64,
    /// What makes of it the time that the engine is told.
    clock: Clock,
    /// The latest time told to the engine.
    pub(crate) told: Instant,
    /// When the engine wants its timeout, local.
    pub(crate) wanted: Option<Instant>,
    /// The timer that is set, simulation time.
    pub(crate) timer: Option<Instant>,
    pub(crate) poll_pending: bool,
    pub(crate) socket: Option<usize>,
    pub(crate) ends: HashMap<ConnectionHandle, EndId>,
    pub(crate) address_epoch: u16,
    /// What its NAT knows of it.
    pub(crate) nat: Table,
    /// What its real sessions prove who they are with.
    pub(crate) identity: Option<Rc<dtls::Identity>>,
    pub(crate) records: Vec<Record>,
    /// Connections that are over, and since when.
    pub(crate) ended: VecDeque<(ConnectionHandle, Instant)>,
    pub(crate) events: VecDeque<HostEvent>,
    pub(crate) messages: VecDeque<Message>,
    pub(crate) backlog: VecDeque<Happening>,
    pub(crate) closed: bool,
    pub(crate) online: bool,
    /// It connects or is connected to its broker.
    pub(crate) attempts: bool,
    pub(crate) busy: (Instant, u32),
    pub(crate) backoff: u32,
    pub(crate) reconnect_pending: bool,
    /// A gateway, while it runs.
    pub(crate) gateway: Option<Box<Machine>>,
    pub(crate) is_gateway: bool,
    /// Who may use it.
    pub(crate) keys: Rc<Keys>,
    /// A leaf's place at its gateway.
    pub(crate) leased: Leased,
    /// A leaf's engine is polled, and told the time, from its first session on.
    pub(crate) was_up: bool,
    /// What the engine had counted as malformed.
    pub(crate) malformed: u32,
    /// Turns that a device wanted and did nothing in, since when.
    pub(crate) idle_turns: (Instant, u32),
}

impl Host {
    pub(crate) fn new(name: String, options: HostOptions, token: u64, offset: i64) -> Self {
        Self {
            name,
            options,
            token,
            engine: None,
            incarnation: 0,
            paused: false,
            offset,
            clock: Clock::new(),
            told: Instant::ZERO,
            wanted: None,
            timer: None,
            poll_pending: false,
            socket: None,
            ends: HashMap::new(),
            address_epoch: 0,
            nat: Table::default(),
            identity: None,
            records: Vec::new(),
            ended: VecDeque::new(),
            events: VecDeque::new(),
            messages: VecDeque::new(),
            backlog: VecDeque::new(),
            closed: false,
            online: false,
            attempts: false,
            busy: (Instant::ZERO, 0),
            backoff: 0,
            reconnect_pending: false,
            gateway: None,
            is_gateway: false,
            keys: Rc::default(),
            leased: Leased::default(),
            was_up: false,
            malformed: 0,
            idle_turns: (Instant::ZERO, 0),
        }
    }

    /// Whether the machine runs, or stands still.
    pub(crate) const fn runs(&self) -> bool {
        self.engine.is_some() || self.gateway.is_some()
    }

    /// Whether there is smoltcp around the engine.
    pub(crate) const fn is_device(&self) -> bool {
        !matches!(self.options.access, Access::Modelled)
    }

    /// The time that its driver tells the engine.
    pub(crate) fn local(&mut self, now: Instant) -> Instant {
        let micros = i128::from(now.as_micros()) + i128::from(self.offset);
        let reading = Instant::from_micros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX));
        if self.options.monotonic {
            self.clock.now(reading)
        } else {
            reading
        }
    }

    /// The simulation time at which its driver will see `local`.
    pub(crate) fn global(&self, local: Instant) -> Instant {
        let local = if self.options.monotonic {
            self.clock.reading(local)
        } else {
            local
        };
        let micros = i128::from(local.as_micros()) - i128::from(self.offset);
        Instant::from_micros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX))
    }

    pub(crate) fn state(&self) -> HostState {
        match self.runs() {
            false => HostState::Down,
            true if self.paused => HostState::Paused,
            true => HostState::Up,
        }
    }

    /// Whether its polling is up to date, so that what is queued in the engine has been handed out.
    pub(crate) const fn is_drained(&self) -> bool {
        !self.poll_pending && !self.paused
    }

    /// Keeps what came while it was paused. `None`: it is not paused.
    pub(crate) fn keep(&mut self, happening: Happening) -> Option<Happening> {
        if !self.paused {
            return Some(happening);
        }
        let may_drop = matches!(
            happening,
            Happening::Datagram(_) | Happening::Udp(_) | Happening::Frame(..)
        );
        if !may_drop || self.backlog.len() < BACKLOG_MAX {
            self.backlog.push_back(happening);
        }
        None
    }
}

/// The key of a leaf. Nobody is kept out by it.
pub(crate) const fn leaf_key(id: HostId) -> [u8; 32] {
    [id.0 as u8 | 1; 32]
}

impl Sim {
    /// Makes the engine of a host that is down.
    pub(crate) fn boot(&mut self, id: HostId, identity: Identity) {
        let fresh_token = self.rng_hosts.next();
        let random = self.rng_hosts.next();
        let host = &mut self.hosts[id.0];
        if host.runs() {
            return;
        }
        if host.is_gateway {
            self.boot_gateway(id, random);
            return;
        }
        if identity == Identity::NewToken {
            host.token = fresh_token;
        }
        let mut secret = [0; 32];
        fill(&mut Rng::new(random), &mut secret);
        let mut config = Config::new(secret);
        config.token = Token::from_wire(&format!("token-{:x}", host.token)).ok();
        config.id = host
            .options
            .id
            .as_deref()
            .map(|id| PeerId::from_wire(id).expect("the host's id is one the engine takes"));
        (host.options.tune)(&mut config);
        let attachment = self.attachment(id, random);
        let host = &mut self.hosts[id.0];
        host.engine = Some(Engine::new(config, host.options.capacity, attachment));
        host.incarnation += 1;
        host.was_up = false;
        host.leased.before_start = host.leased.session;
        host.malformed = 0;
        host.clock = Clock::new();
        host.told = Instant::ZERO;
        host.wanted = None;
        host.timer = None;
        host.poll_pending = false;
        host.closed = false;
        host.online = false;
        host.attempts = true;
        host.backoff = 0;
        host.reconnect_pending = false;
        let incarnation = host.incarnation;
        self.note(id, format_args!("starts, incarnation {incarnation}"));
        self.drain(id);
    }

    fn boot_gateway(&mut self, id: HostId, random: u64) {
        let connections = 4 + 2 * self.hosts[id.0].keys.len();
        let machine = Machine::new(id.node(), Rng::new(random), connections);
        let host = &mut self.hosts[id.0];
        host.gateway = Some(Box::new(machine));
        host.clock = Clock::new();
        host.incarnation += 1;
        let incarnation = host.incarnation;
        self.note(id, format_args!("starts, incarnation {incarnation}"));
        self.gateway_soon(id);
    }

    /// What is around the engine of a device.
    fn attachment(&self, id: HostId, random: u64) -> Option<Attachment> {
        let host = &self.hosts[id.0];
        let (remote, to) = match host.options.access {
            Access::Modelled => return None,
            Access::Tcp => (
                BROKER,
                To::Broker {
                    key: self.options.realm.key.clone(),
                    reconnect: host.options.reconnect.is_some(),
                },
            ),
            Access::Leaf(gateway) => (
                gateway.node(),
                To::Gateway {
                    name: host.name.clone(),
                    key: leaf_key(id),
                },
            ),
        };
        Some(Attachment {
            own: id.node(),
            remote,
            rng: Rng::new(random),
            to,
        })
    }

    /// What a machine's stack holds for a host is gone, and nobody is told.
    pub(crate) fn drop_stack(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        let mut ends: Vec<EndId> = host.ends.drain().map(|(_, end)| end).collect();
        ends.sort_unstable();
        let socket = host.socket.take();
        for end in ends {
            self.forget_end(end);
        }
        if let Some(socket) = socket {
            self.socket_client_vanished(socket);
        }
    }

    /// Everything but id and token is gone, and nobody is told.
    pub(crate) fn crash_host(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        if !host.runs() {
            return;
        }
        host.engine = None;
        host.gateway = None;
        host.paused = false;
        host.backlog.clear();
        host.ended.clear();
        host.records.clear();
        if !matches!(host.options.access, Access::Leaf(_)) {
            host.leased.held.clear();
        }
        self.note(id, format_args!("crashes"));
        if self.hosts[id.0].is_gateway {
            self.gateway_vanished(id);
        } else if self.machine(id) == id {
            self.drop_stack(id);
        }
    }

    pub(crate) fn resume_host(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        if !core::mem::take(&mut host.paused) {
            return;
        }
        let backlog = core::mem::take(&mut host.backlog);
        self.note(id, format_args!("resumes with {} waiting", backlog.len()));
        for happening in backlog {
            let now = self.now;
            self.schedule(now, happening);
        }
        self.gateway_soon(id);
        self.drain(id);
    }

    pub(crate) fn jump_clock(&mut self, id: HostId, seconds: i32) {
        self.hosts[id.0].offset += i64::from(seconds) * 1_000_000;
        self.note(id, format_args!("clock jumps {seconds} s"));
        // Whoever sleeps for a while sleeps as long, whatever the clock says: nobody sees a step
        // back before.
        if seconds > 0 || !self.hosts[id.0].options.monotonic {
            self.arm(id);
        }
    }
}
