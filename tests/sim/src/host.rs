//! One host: an engine and the driver around it.

use std::collections::{HashMap, VecDeque};

use peer_core::connection::Message as Raw;
use peer_core::peer::{
    BrokerCommand, BrokerInput, Config, ConnectionHandle, Event, IceState, Input, InputError,
    Output, PeerState, ReconnectError, RtcCommand, RtcFailure, RtcInput,
};
use peer_core::serialization::{DecodeError, Frame, FrameKind, Serialization};
use peer_core::time::{Duration, Instant};
use peer_core::{PeerId, Token};
use serde::de::DeserializeOwned;

use crate::check::Record;
use crate::engine::{Capacity, Engine};
use crate::link::{Link, Node};
use crate::session::EndId;
use crate::sim::{Happening, Sim};

/// Events and messages a host keeps until they are taken. At the limit the oldest goes.
pub const KEPT_MAX: usize = 10_000;
/// Packets and segments that wait for a paused host. Beyond: dropped, as a socket buffer does.
const BACKLOG_MAX: usize = 512;
/// A second reading of the clock after a late poll is at most this much later.
const LAZY_MAX: Duration = Duration::from_millis(30);

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

/// Names one connection at one of its two hosts. Stale once the connection is over or the host crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conn {
    /// Where.
    pub host: HostId,
    pub(crate) incarnation: u32,
    pub(crate) handle: ConnectionHandle,
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
    /// What its engine may use.
    pub capacity: Capacity,
    /// The application comes back after it lost the broker, first after this long, doubled up to 30 s, with a random
    /// half. Default: 1 s. `None`: it does not.
    pub reconnect: Option<Duration>,
    /// The application reads a message at most so much later than it could. Default: at once.
    pub reads_after: Duration,
    /// Probability that the driver polls late after an input, so that inputs come back to back. Default: 0.
    pub lazy: f64,
    /// Whether messages are kept for [`Sim::take_messages`]. They are checked anyway. Default: yes.
    pub keeps_messages: bool,
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
            capacity: Capacity::default(),
            reconnect: Some(Duration::from_secs(1)),
            reads_after: Duration::ZERO,
            lazy: 0.0,
            keeps_messages: true,
            tune: |_| {},
        }
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
    pub kind: FrameKind,
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

/// An input for the engine that owns what it carries.
#[derive(Clone, Debug)]
pub(crate) enum Stimulus {
    IdRetrieved(String),
    RetrieveFailed,
    Opened,
    Text(String),
    SocketClosed,
    Timeout,
    Rtc(ConnectionHandle, RtcStimulus),
}

#[derive(Clone, Debug)]
pub(crate) enum RtcStimulus {
    Description(String),
    Candidate(String),
    Ice(IceState),
    Dtls,
    Opened,
    Frame(FrameKind, std::rc::Rc<[u8]>),
    Buffered(u32),
    Closed,
    Failed(RtcFailure),
}

impl Stimulus {
    fn feed(&self, peer: &mut peer_core::peer::Peer<'_>, now: Instant) -> Result<(), InputError> {
        let mut bytes;
        let input = match self {
            Self::IdRetrieved(id) => Input::Broker(BrokerInput::IdRetrieved(id)),
            Self::RetrieveFailed => Input::Broker(BrokerInput::Failed),
            Self::Opened => Input::Broker(BrokerInput::Opened),
            Self::Text(text) => {
                bytes = text.clone().into_bytes();
                Input::Broker(BrokerInput::Message(&mut bytes))
            }
            Self::SocketClosed => Input::Broker(BrokerInput::Closed),
            Self::Timeout => Input::Timeout,
            Self::Rtc(handle, rtc) => Input::Rtc(
                *handle,
                match rtc {
                    RtcStimulus::Description(sdp) => RtcInput::LocalDescription(sdp),
                    RtcStimulus::Candidate(line) => RtcInput::LocalCandidate(line),
                    RtcStimulus::Ice(state) => RtcInput::IceState(*state),
                    RtcStimulus::Dtls => RtcInput::DtlsConnected,
                    RtcStimulus::Opened => RtcInput::ChannelOpened,
                    RtcStimulus::Frame(kind, bytes) => RtcInput::Message(match kind {
                        FrameKind::Text => {
                            Frame::Text(str::from_utf8(bytes).expect("it was a text when sent"))
                        }
                        FrameKind::Binary => Frame::Binary(bytes),
                    }),
                    RtcStimulus::Buffered(bytes) => RtcInput::ChannelBuffered(*bytes),
                    RtcStimulus::Closed => RtcInput::ChannelClosed,
                    RtcStimulus::Failed(failure) => RtcInput::Failed(*failure),
                },
            ),
        };
        peer.handle_input(now, input)
    }
}

/// An output that owns what it carries.
#[derive(Debug)]
enum Command {
    RetrieveId,
    Open { id: String, token: String },
    Send(String),
    CloseSocket,
    Rtc(ConnectionHandle, Rtc),
    Event(Event),
}

#[derive(Debug)]
pub(crate) enum Rtc {
    CreateOffer { reliable: bool },
    AcceptOffer(String),
    ApplyAnswer(String),
    AddCandidate(String),
    Send(FrameKind, std::rc::Rc<[u8]>),
    Close,
}

/// Outputs until an event, which the application may want to look into before the next poll, or until there are no
/// more: then with the time of the timeout.
struct Batch {
    commands: Vec<Command>,
    waits: Option<Option<Instant>>,
}

/// Outputs taken in one go.
const BATCH_MAX: usize = 64;

pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) options: HostOptions,
    pub(crate) token: u64,
    pub(crate) engine: Option<Engine>,
    pub(crate) incarnation: u32,
    pub(crate) paused: bool,
    /// Local time less simulation time, µs.
    pub(crate) offset: i64,
    /// The latest time told to the engine.
    pub(crate) told: Instant,
    /// When the engine wants its timeout, local.
    pub(crate) wanted: Option<Instant>,
    /// The timer that is set, simulation time.
    timer: Option<Instant>,
    poll_pending: bool,
    pub(crate) socket: Option<usize>,
    pub(crate) ends: HashMap<ConnectionHandle, EndId>,
    pub(crate) address_epoch: u16,
    pub(crate) records: Vec<Record>,
    pub(crate) ended: VecDeque<ConnectionHandle>,
    pub(crate) events: VecDeque<HostEvent>,
    pub(crate) messages: VecDeque<Message>,
    backlog: VecDeque<Happening>,
    pub(crate) closed: bool,
    pub(crate) online: bool,
    /// It connects or is connected to its broker.
    pub(crate) attempts: bool,
    pub(crate) busy: (Instant, u32),
    backoff: u32,
    reconnect_pending: bool,
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
            told: Instant::ZERO,
            wanted: None,
            timer: None,
            poll_pending: false,
            socket: None,
            ends: HashMap::new(),
            address_epoch: 0,
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
        }
    }

    pub(crate) fn local(&self, now: Instant) -> Instant {
        let micros = i128::from(now.as_micros()) + i128::from(self.offset);
        Instant::from_micros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX))
    }

    /// The simulation time at which this host's clock shows `local`.
    fn global(&self, local: Instant) -> Instant {
        let micros = i128::from(local.as_micros()) - i128::from(self.offset);
        Instant::from_micros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX))
    }

    pub(crate) fn state(&self) -> HostState {
        match &self.engine {
            None => HostState::Down,
            Some(_) if self.paused => HostState::Paused,
            Some(_) => HostState::Up,
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
        let may_drop = matches!(happening, Happening::Datagram(_));
        if !may_drop || self.backlog.len() < BACKLOG_MAX {
            self.backlog.push_back(happening);
        }
        None
    }
}

impl Sim {
    /// Makes the engine of a host that is down.
    pub(crate) fn boot(&mut self, id: HostId, identity: Identity) {
        let fresh_token = self.rng_hosts.next();
        let random = self.rng_hosts.next();
        let host = &mut self.hosts[id.0];
        if host.engine.is_some() {
            return;
        }
        if identity == Identity::NewToken {
            host.token = fresh_token;
        }
        let mut config = Config::new(Token::from_random(host.token), random);
        config.id = host
            .options
            .id
            .as_deref()
            .map(|id| PeerId::from_wire(id).expect("the host's id is one the engine takes"));
        (host.options.tune)(&mut config);
        host.engine = Some(Engine::new(config, host.options.capacity));
        host.incarnation += 1;
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

    /// Everything but id and token is gone, and nobody is told.
    pub(crate) fn crash_host(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        if host.engine.take().is_none() {
            return;
        }
        host.paused = false;
        host.backlog.clear();
        host.ended.clear();
        host.records.clear();
        let mut ends: Vec<EndId> = host.ends.drain().map(|(_, end)| end).collect();
        ends.sort_unstable();
        let socket = host.socket.take();
        self.note(id, format_args!("crashes"));
        for end in ends {
            self.forget_end(end);
        }
        if let Some(socket) = socket {
            self.socket_client_vanished(socket);
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
        self.drain(id);
    }

    pub(crate) fn jump_clock(&mut self, id: HostId, seconds: i32) {
        self.hosts[id.0].offset += i64::from(seconds) * 1_000_000;
        self.note(id, format_args!("clock jumps {seconds} s"));
        self.arm(id);
    }

    /// Feeds one input, polls if need be and feeds it again, then polls.
    pub(crate) fn stimulate(&mut self, id: HostId, incarnation: u32, stimulus: Stimulus) {
        let host = &mut self.hosts[id.0];
        if host.incarnation != incarnation || host.engine.is_none() {
            return;
        }
        if host.paused {
            host.backlog
                .push_back(Happening::Stimulus(id, incarnation, stimulus));
            return;
        }
        if let Stimulus::Rtc(handle, rtc) = &stimulus
            && self.must_hold(id, *handle, rtc)
        {
            return;
        }
        self.input(id, &stimulus);
        self.poll_soon(id);
    }

    /// Polls, or lets a driver that polls late do so: a few outputs now and the others later.
    pub(crate) fn poll_soon(&mut self, id: HostId) {
        let host = &self.hosts[id.0];
        let (lazy, incarnation) = (host.options.lazy, host.incarnation);
        if host.engine.is_none() || host.paused || !self.rng_hosts.chance(lazy) {
            self.drain(id);
            return;
        }
        let few = self.rng_hosts.index(4);
        if self.poll_some(id, few) {
            self.arm(id);
        } else if !core::mem::replace(&mut self.hosts[id.0].poll_pending, true) {
            let at = self.now + self.rng_hosts.up_to(LAZY_MAX);
            self.schedule(at, Happening::HostPoll(id, incarnation));
        }
    }

    /// Polls at most so many outputs and does what they say; whether the engine waits now.
    fn poll_some(&mut self, id: HostId, at_most: usize) -> bool {
        let host = &mut self.hosts[id.0];
        let Some(engine) = &mut host.engine else {
            return true;
        };
        let batch = engine.with(move |peer| poll(peer, at_most));
        self.count_outputs(id, batch.commands.len());
        for command in batch.commands {
            self.perform(id, command);
        }
        if let Some(wanted) = batch.waits {
            self.hosts[id.0].wanted = wanted;
        }
        batch.waits.is_some()
    }

    /// What the engine said to one input.
    pub(crate) fn input(&mut self, id: HostId, stimulus: &Stimulus) {
        self.subject = Some(id);
        self.note_stimulus(id, stimulus);
        if let Stimulus::Rtc(handle, RtcStimulus::Frame(_, bytes)) = stimulus {
            self.look_for_close(id, *handle, bytes);
        }
        let mut result = self.feed(id, stimulus);
        if result == Err(InputError::Full) {
            self.stats.full += 1;
            self.drain(id);
            result = self.feed(id, stimulus);
            if result == Err(InputError::Full) {
                self.violated(
                    "full-helps",
                    format_args!("{stimulus:?} is Full after polling"),
                );
            }
        }
        if let Stimulus::Rtc(handle, RtcStimulus::Frame(..)) = stimulus {
            match result {
                Err(InputError::InboxFull) => {
                    self.stats.inbox_full += 1;
                    self.hold(id, stimulus.clone());
                }
                // Documented: a message too large for the memory is dropped and reported.
                Err(InputError::Malformed) => self.excuse(id, *handle),
                _ => {}
            }
        }
    }

    fn feed(&mut self, id: HostId, stimulus: &Stimulus) -> Result<(), InputError> {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        let local = host.local(now);
        host.told = host.told.max(local);
        let Some(engine) = &mut host.engine else {
            return Ok(());
        };
        self.stats.inputs += 1;
        let stimulus = stimulus.clone();
        engine.with(move |peer| stimulus.feed(peer, local))
    }

    pub(crate) fn host_timer(&mut self, id: HostId) {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        if host.timer != Some(now) {
            return;
        }
        host.timer = None;
        if host.engine.is_none() || host.paused {
            // Armed again when it goes on.
            return;
        }
        let local = host.local(now);
        let told = host.told;
        if host.wanted.is_some_and(|wanted| wanted <= local.max(told)) {
            self.input(id, &Stimulus::Timeout);
            self.drain(id);
            let host = &self.hosts[id.0];
            let (wanted, told) = (host.wanted, host.told);
            if wanted.is_some_and(|wanted| wanted <= told) {
                self.violated(
                    "timeouts-move",
                    format_args!("after Timeout at {told:?} the engine still wants {wanted:?}"),
                );
            }
        } else {
            self.arm(id);
        }
    }

    pub(crate) fn host_poll(&mut self, id: HostId, incarnation: u32) {
        if self.hosts[id.0].incarnation == incarnation {
            self.drain(id);
        }
    }

    /// Polls until the engine waits, and does what it says.
    pub(crate) fn drain(&mut self, id: HostId) {
        self.subject = Some(id);
        if self.hosts[id.0].paused {
            return;
        }
        self.hosts[id.0].poll_pending = false;
        while !self.poll_some(id, BATCH_MAX) {}
        self.arm(id);
        self.check_host(id);
    }

    /// Sets the timer for what the engine wants.
    fn arm(&mut self, id: HostId) {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        let Some(wanted) = host.wanted.filter(|_| !host.paused) else {
            return;
        };
        let at = if wanted <= host.told {
            now
        } else {
            host.global(wanted).max(now)
        };
        if host.timer.is_none_or(|timer| at < timer) {
            host.timer = Some(at);
            self.schedule(at, Happening::HostTimer(id));
        }
    }

    fn perform(&mut self, id: HostId, command: Command) {
        match command {
            Command::RetrieveId => self.retrieve_id(id),
            Command::Open { id: peer, token } => self.open_socket(id, peer, token),
            Command::Send(text) => self.socket_send(id, text),
            Command::CloseSocket => {
                self.note(id, format_args!("> broker close"));
                if let Some(socket) = self.hosts[id.0].socket.take() {
                    self.socket_client_closed(socket);
                }
            }
            Command::Rtc(handle, rtc) => self.session_command(id, handle, rtc),
            Command::Event(event) => self.event(id, event),
        }
    }

    fn event(&mut self, id: HostId, event: Event) {
        self.note(id, format_args!("event {event:?}"));
        let handle = self.check_event(id, event);
        let now = self.now;
        let host = &mut self.hosts[id.0];
        let conn = handle.map(|handle| Conn {
            host: id,
            incarnation: host.incarnation,
            handle,
        });
        host.events.push_back(HostEvent {
            at: now,
            event,
            conn,
        });
        if host.events.len() > KEPT_MAX {
            host.events.pop_front();
        }
        match event {
            Event::Data(handle) => {
                let wait = host.options.reads_after;
                let readable = host.engine.as_mut().and_then(|engine| {
                    engine.with(move |peer| Some(peer.connection(handle)?.readable()))
                });
                if readable.is_none_or(|readable| readable == 0) {
                    self.violated(
                        "data-to-read",
                        format_args!("{event:?} and nothing to read"),
                    );
                } else if wait.is_zero() {
                    self.read(id, handle);
                } else {
                    let incarnation = host.incarnation;
                    let at = now + self.rng_hosts.up_to(wait);
                    self.mark_reading(id, handle);
                    self.schedule(at, Happening::HostRead(id, incarnation, handle));
                }
            }
            Event::Open => host.backoff = 0,
            Event::Disconnected => self.plan_reconnect(id),
            _ => {}
        }
    }

    fn plan_reconnect(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        let Some(first) = host.options.reconnect else {
            return;
        };
        if core::mem::replace(&mut host.reconnect_pending, true) {
            return;
        }
        let wait = (first * (1 << host.backoff.min(5))).min(Duration::from_secs(30));
        host.backoff += 1;
        let incarnation = host.incarnation;
        let at = self.now + wait / 2 + self.rng_hosts.up_to(wait / 2);
        self.schedule(at, Happening::Reconnect(id, incarnation));
    }

    pub(crate) fn reconnect_host(&mut self, id: HostId, incarnation: u32) {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        if host.incarnation != incarnation || host.engine.is_none() {
            return;
        }
        if host.paused {
            host.backlog
                .push_back(Happening::Reconnect(id, incarnation));
            return;
        }
        host.reconnect_pending = false;
        let local = host.local(now);
        host.told = host.told.max(local);
        let result = host
            .engine
            .as_mut()
            .map(|engine| engine.with(move |peer| (peer.state(), peer.reconnect(local))));
        match result {
            Some((PeerState::Disconnected, Ok(()))) => {
                self.hosts[id.0].attempts = true;
                self.note(id, format_args!("reconnects"));
                self.drain(id);
            }
            Some((PeerState::Destroyed, Err(ReconnectError::Destroyed)))
            | Some((
                PeerState::Open | PeerState::Connecting,
                Err(ReconnectError::NotDisconnected),
            ))
            | None => {}
            Some((state, result)) => self.violated(
                "reconnect",
                format_args!("{state:?} answers reconnect with {result:?}"),
            ),
        }
    }

    pub(crate) fn host_read(&mut self, id: HostId, incarnation: u32, handle: ConnectionHandle) {
        self.subject = Some(id);
        let host = &mut self.hosts[id.0];
        if host.incarnation != incarnation || host.engine.is_none() {
            return;
        }
        if host.paused {
            host.backlog
                .push_back(Happening::HostRead(id, incarnation, handle));
            return;
        }
        self.read(id, handle);
        self.drain(id);
    }

    /// The application reads all there is; then the engine is given what it could not take before.
    fn read(&mut self, id: HostId, handle: ConnectionHandle) {
        let Some(engine) = &mut self.hosts[id.0].engine else {
            return;
        };
        let read = engine.with(move |peer| {
            let mut connection = peer.connection(handle)?;
            let serialization = connection.serialization();
            let mut messages = Vec::new();
            while let Some(Raw { kind, bytes }) = connection.recv_raw() {
                messages.push((kind, bytes.to_vec()));
            }
            Some((serialization, messages))
        });
        let Some((serialization, messages)) = read else {
            self.check_vanished(id, handle);
            return;
        };
        for (kind, bytes) in messages {
            self.received(id, handle, serialization, kind, bytes);
        }
        self.done_reading(id, handle);
        self.feed_held(id, handle);
    }

    fn received(
        &mut self,
        id: HostId,
        handle: ConnectionHandle,
        serialization: Serialization,
        kind: FrameKind,
        bytes: Vec<u8>,
    ) {
        let digest = crate::trace::digest(&bytes);
        let len = bytes.len();
        self.note(
            id,
            format_args!("reads {handle:?} {len} bytes {digest:016x}"),
        );
        self.stats.messages_read += 1;
        self.check_received(id, handle, digest);
        let now = self.now;
        let host = &mut self.hosts[id.0];
        if host.options.keeps_messages {
            let from = host
                .record(handle)
                .map(|record| record.remote.clone())
                .unwrap_or_default();
            host.messages.push_back(Message {
                at: now,
                conn: Conn {
                    host: id,
                    incarnation: host.incarnation,
                    handle,
                },
                from,
                kind,
                serialization,
                bytes,
            });
            if host.messages.len() > KEPT_MAX {
                host.messages.pop_front();
            }
        }
    }

    fn note_stimulus(&mut self, id: HostId, stimulus: &Stimulus) {
        match stimulus {
            Stimulus::Timeout => self.note(id, format_args!("< timeout")),
            Stimulus::IdRetrieved(peer) => self.note(id, format_args!("< id {peer}")),
            Stimulus::Text(text) => {
                let digest = crate::trace::digest(text.as_bytes());
                let kind = kind_of(text);
                self.note(id, format_args!("< {kind} {digest:016x}"));
            }
            Stimulus::Rtc(handle, RtcStimulus::Description(sdp)) => {
                let len = sdp.len();
                self.note(id, format_args!("< {handle:?} description, {len} bytes"));
            }
            Stimulus::Rtc(handle, RtcStimulus::Frame(_, bytes)) => {
                let len = bytes.len();
                self.note(id, format_args!("< {handle:?} frame, {len} bytes"));
            }
            Stimulus::Rtc(handle, rtc) => self.note(id, format_args!("< {handle:?} {rtc:?}")),
            other => self.note(id, format_args!("< {other:?}")),
        }
    }
}

/// The type of a signalling message, for the trace.
pub(crate) fn kind_of(text: &str) -> &str {
    text.split('"').nth(3).unwrap_or("?")
}

fn poll(peer: &mut peer_core::peer::Peer<'_>, at_most: usize) -> Batch {
    let mut commands = Vec::new();
    while commands.len() < at_most {
        commands.push(match peer.poll_output() {
            Output::Timeout(at) => {
                return Batch {
                    commands,
                    waits: Some(at),
                };
            }
            Output::Event(event) => {
                commands.push(Command::Event(event));
                break;
            }
            Output::Broker(BrokerCommand::RetrieveId) => Command::RetrieveId,
            Output::Broker(BrokerCommand::Open { id, token }) => Command::Open {
                id: id.to_owned(),
                token: token.to_owned(),
            },
            Output::Broker(BrokerCommand::Send(text)) => Command::Send(text.to_owned()),
            Output::Broker(BrokerCommand::Close) => Command::CloseSocket,
            Output::Rtc(handle, command) => Command::Rtc(
                handle,
                match command {
                    RtcCommand::CreateOffer { reliable, .. } => Rtc::CreateOffer { reliable },
                    RtcCommand::AcceptOffer { sdp } => Rtc::AcceptOffer(sdp.to_owned()),
                    RtcCommand::ApplyAnswer { sdp } => Rtc::ApplyAnswer(sdp.to_owned()),
                    RtcCommand::AddCandidate { candidate } => {
                        Rtc::AddCandidate(candidate.to_owned())
                    }
                    RtcCommand::Send(frame) => Rtc::Send(frame.kind(), frame.as_bytes().into()),
                    RtcCommand::Close => Rtc::Close,
                },
            ),
        });
    }
    Batch {
        commands,
        waits: None,
    }
}
