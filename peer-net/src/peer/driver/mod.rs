//! The one task a peer has: it drives the engine, its socket to the broker and its sessions.
//! Control only: no message of a connection passes here.
//!
//! A turn: do what the engine says until it waits; then one input, from whoever has one; then
//! again. The engine says only what inputs made it say, so a turn ends.

mod admission;
mod connections;
mod inputs;
mod offer;

use core::future::Future;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt as _;
use peer_core::PeerId;
use peer_core::peer::{
    BrokerCommand, Config, ConnectionHandle, ConnectionSlot, Event as EngineEvent, Input, Output,
    Peer as Engine, PeerError, PeerSlices, PeerState, Room, RtcCommand,
};
use peer_core::serialization::Serialization;
use peer_core::time::Instant;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::Instrument as _;
use uuid::{Builder, Uuid};

use crate::connection::Tether;
use crate::error::{BuildError, ConnectError, PeerFailure, ReconnectError};
use crate::event::Event;
use crate::limits::METADATA_MAX;
use crate::options::Options;
use crate::peer::shared::Shared;
use crate::signalling::{Backoff, BrokerClient, BrokerEvent, BrokerSocket};
use crate::time::{engine_now, of_engine, sleep_until};
use connections::Connections;

/// What the engine has for signals on their way, in bytes: several of the largest descriptions
/// either way. When it is full, sessions wait.
const CONTROL_BYTES: usize = 256 << 10;
/// Signals of sessions that the engine had no room for, since the broker's socket takes none. At
/// the limit sessions are not read.
const SIGNALS_MAX: usize = 1024;
/// What closing the broker's socket takes of the room of the engine's outputs. It goes where no
/// signal does.
const CLOSE_COST: usize = 1;
/// How long the broker may take to answer an open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the end of a destroyed peer may take, until its sessions and its socket are gone.
const END_WAIT: Duration = Duration::from_secs(2);

/// What handles ask of the driver.
pub(crate) enum Command {
    Connect(
        ConnectRequest,
        oneshot::Sender<Result<Arc<Tether>, ConnectError>>,
    ),
    Disconnect(oneshot::Sender<()>),
    Reconnect(oneshot::Sender<Result<(), ReconnectError>>),
}

pub(crate) struct ConnectRequest {
    pub(crate) remote: PeerId,
    pub(crate) label: Option<String>,
    pub(crate) metadata: Option<String>,
    pub(crate) reliable: bool,
    pub(crate) serialization: Serialization,
}

/// Sets up everything a peer shares, and its driver, which is to be spawned.
pub(crate) fn prepare(
    runtime: Handle,
    options: Options,
    commands: mpsc::Receiver<Command>,
    backlog: mpsc::Sender<Arc<Tether>>,
) -> Result<(Arc<Shared>, impl Future<Output = ()> + Send + 'static), BuildError> {
    let (seed, [for_pauses, for_id @ ..]) = random()?;
    let client = BrokerClient::new(options.broker.clone())
        .and_then(|client| match options.certificates.as_slice() {
            [] => Ok(client),
            certificates => client.root_certificates(certificates),
        })
        .map_err(|error| BuildError::BrokerOptions(Arc::new(error)))?;
    let mut config = Config::new(seed);
    config.token = options.token.clone();
    config.id = match &options.id {
        Some(id) => Some(id.clone()),
        // The first failure to be given one would be the end. This one is made as PeerServer makes
        // them.
        None if options.reconnect => PeerId::from_wire(&uuid(for_id)).ok(),
        None => None,
    };
    config.ping_interval = options.ping_interval;
    config.connect_timeout = options.rtc.connect_timeout;
    config.open_timeout = OPEN_TIMEOUT;
    config.remote_share = options.remote_share;
    let shared = Shared::new(runtime, client.clone(), config.id.clone(), &options);
    let driver = Driver {
        shared: shared.clone(),
        commands,
        broker: BrokerSocket::new(client),
        backoff: options.reconnect.then(|| Backoff::new(for_pauses)),
        connections: Connections::new(shared.clone(), backlog, &options),
        max_connections: options.max_connections,
        epoch: tokio::time::Instant::now(),
        wants_broker: true,
        deadline: None,
        held: None,
        signals: VecDeque::new(),
        leaving: false,
        finished: false,
    };
    let span = tracing::info_span!(target: "peer_net", "peer", id = tracing::field::Empty);
    if let Some(id) = &config.id {
        span.record("id", id.as_str());
    }
    Ok((shared, driver.run(config).instrument(span)))
}

/// What the engine derives its secrets from, and numbers that tell nothing of it.
fn random() -> Result<([u8; 32], [u64; 3]), BuildError> {
    let (mut seed, mut bytes) = ([0; 32], [[0; 8]; 3]);
    let random = SystemRandom::new();
    random
        .fill(&mut seed)
        .and_then(|()| random.fill(bytes.as_flattened_mut()))
        .map_err(|_| BuildError::Random)?;
    Ok((seed, bytes.map(u64::from_ne_bytes)))
}

/// A UUID, version 4 (RFC 9562 §5.4).
fn uuid([high, low]: [u64; 2]) -> String {
    let random = Uuid::from_u64_pair(high, low).into_bytes();
    Builder::from_random_bytes(random).into_uuid().to_string()
}

struct Driver {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    broker: BrokerSocket,
    /// There if the peer is to come back by itself.
    backoff: Option<Backoff>,
    connections: Connections,
    max_connections: usize,
    /// Where the engine's clock begins.
    epoch: tokio::time::Instant,
    /// The application did not disconnect.
    wants_broker: bool,
    /// When the engine wants to be woken.
    deadline: Option<Instant>,
    /// A message of the broker that the engine had no room for. No other is read before it is fed.
    held: Option<Vec<u8>>,
    /// Signals of sessions that the engine had no room for.
    signals: VecDeque<(ConnectionHandle, Signal)>,
    /// To be destroyed once no connection is left.
    leaving: bool,
    finished: bool,
}

/// What a session has for the broker.
enum Signal {
    Description(String),
    Candidate(String),
}

/// Who had an input.
enum Turn {
    /// The broker's socket takes a signal again.
    Room,
    Requests,
    Command(Command),
    Broker(BrokerEvent),
    Session(connections::Tagged),
    Timeout,
    Reconnect,
}

impl Driver {
    async fn run(mut self, config: Config) {
        // On the heap piece by piece: nothing large passes over the stack, and what is never used
        // is never touched.
        let mut slots: Vec<_> = (0..self.max_connections)
            .map(|_| ConnectionSlot::default())
            .collect();
        let mut control = vec![0; CONTROL_BYTES];
        let mut metadata = vec![0; self.max_connections.saturating_mul(METADATA_MAX)];
        let memory = PeerSlices {
            slots: &mut slots,
            control: &mut control,
            outbox: &mut [],
            inbox: &mut [],
            metadata: &mut metadata,
        };
        let mut engine = Engine::with_slices(config, memory);
        loop {
            self.drain(&mut engine);
            self.feed_held(&mut engine);
            if self.leaving && self.connections.is_empty() && !self.finished {
                self.destroy(&mut engine);
                self.drain(&mut engine);
            }
            if self.finished {
                self.connections.accept_no_more();
                self.shared.end_events();
                // Whoever waits for the end may leave the process after it: the remotes shall know
                // by then.
                let _ = timeout(END_WAIT, self.ended()).await;
                return;
            }
            match self.wait().await {
                Turn::Room => {}
                Turn::Requests => self.serve_requests(&mut engine),
                Turn::Command(command) => self.serve(&mut engine, command),
                Turn::Broker(event) => self.broker_event(&mut engine, event),
                Turn::Session((handle, event)) => self.session_event(&mut engine, handle, event),
                Turn::Timeout => {
                    let _ = engine.handle_input(self.now(), Input::Timeout);
                }
                Turn::Reconnect => {
                    if let Some(backoff) = &mut self.backoff {
                        backoff.taken();
                    }
                    let _ = engine.reconnect(self.now());
                }
            }
        }
    }

    /// Waits until the sessions and the socket are gone.
    async fn ended(&mut self) {
        while self.connections.events.next().await.is_some() {}
        self.broker.ended().await;
    }

    /// The next thing that happens. Cancelled branches lose nothing.
    async fn wait(&mut self) -> Turn {
        let deadline = self.deadline.map(|at| of_engine(self.epoch, at));
        let reconnect = self.backoff.as_ref().and_then(Backoff::due);
        tokio::select! {
            () = self.shared.bell.notified() => Turn::Requests,
            Some(command) = self.commands.recv() => Turn::Command(command),
            () = self.broker.room(), if !self.broker.has_room() => Turn::Room,
            event = self.broker.next(), if self.held.is_none() => Turn::Broker(event),
            Some(event) = self.connections.events.next(), if self.signals.len() < SIGNALS_MAX => {
                Turn::Session(event)
            }
            () = sleep_until(deadline) => Turn::Timeout,
            () = sleep_until(reconnect) => Turn::Reconnect,
        }
    }

    fn now(&self) -> Instant {
        engine_now(self.epoch)
    }

    fn drain(&mut self, engine: &mut Engine<'_>) {
        loop {
            let broker = if self.broker.has_room() {
                usize::MAX
            } else {
                CLOSE_COST
            };
            let room = Room {
                broker,
                ..Room::UNLIMITED
            };
            match engine.poll_output(room) {
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    break;
                }
                Output::Broker(command) => match command {
                    BrokerCommand::RetrieveId => self.broker.retrieve_id(&self.shared.runtime),
                    BrokerCommand::Open { id, token } => {
                        self.broker.open(&self.shared.runtime, id, token);
                    }
                    BrokerCommand::Send(text) => {
                        let sent = self.broker.send(text);
                        debug_assert!(sent, "there was room");
                    }
                    BrokerCommand::Close => self.broker.close(),
                },
                Output::Rtc(handle, command) => match command {
                    RtcCommand::CreateOffer { label, reliable } => {
                        self.connections.create_offer(handle, label, reliable);
                    }
                    RtcCommand::AcceptOffer { sdp } => {
                        let sdp = sdp.to_owned();
                        self.connections.accept_offer(engine, handle, sdp);
                    }
                    RtcCommand::ApplyAnswer { sdp } => self.connections.apply_answer(handle, sdp),
                    RtcCommand::AddCandidate { candidate } => {
                        self.connections.add_candidate(handle, candidate);
                    }
                    RtcCommand::Close => self.connections.close(handle),
                    // Messages go another way here.
                    _ => {}
                },
                Output::Event(event) => self.engine_event(engine, event),
            }
        }
        self.sync_status(engine);
        let stats = engine.stats();
        self.shared.count(|all| all.engine = stats);
    }

    fn engine_event(&mut self, engine: &mut Engine<'_>, event: EngineEvent) {
        match event {
            EngineEvent::Open => {
                self.connections.signalled_again();
                if let Some(backoff) = &mut self.backoff {
                    backoff.reset();
                }
                self.sync_status(engine);
                if let Some(id) = engine.id() {
                    self.shared.emit(Event::Open(id.clone()));
                }
            }
            EngineEvent::Disconnected => {
                if let Some(backoff) = self.backoff.as_mut().filter(|_| self.wants_broker) {
                    backoff.begin();
                }
                self.sync_status(engine);
                self.shared.emit(Event::Disconnected);
            }
            EngineEvent::Error(error) => {
                let failure = self.failure(engine, error);
                if !matches!(error, PeerError::PeerUnavailable | PeerError::Webrtc) {
                    self.shared.set_status(|status| {
                        status.failure = Some(failure.clone());
                        false
                    });
                }
                if engine.state() == PeerState::Destroyed {
                    // Whoever hears of it can tell an end from a failure that is followed by
                    // another attempt.
                    self.sync_status(engine);
                }
                self.shared.emit(Event::Error(failure));
            }
            EngineEvent::Closed => {
                self.finished = true;
                self.sync_status(engine);
            }
            event => self.connections.engine_event(engine, event),
        }
    }

    fn failure(&self, engine: &Engine<'_>, error: PeerError) -> PeerFailure {
        let failure = PeerFailure::new(error);
        match error {
            PeerError::PeerUnavailable => failure,
            _ => match self.broker.last_error() {
                Some(source) => failure.with_source(source.clone()),
                None => failure.with_detail(engine.broker_message()),
            },
        }
    }

    /// Tells those who wait where the engine stands.
    fn sync_status(&self, engine: &Engine<'_>) {
        let state = engine.state();
        let returning = state == PeerState::Disconnected
            && self
                .backoff
                .as_ref()
                .is_some_and(|backoff| backoff.due().is_some());
        self.shared.set_status(|status| {
            let changed = status.state != state
                || status.returning != returning
                || status.id.as_ref() != engine.id();
            if changed {
                status.state = state;
                status.returning = returning;
                status.id = engine.id().cloned();
            }
            if state == PeerState::Open {
                status.failure = None;
            }
            changed
        });
    }
}

impl Drop for Driver {
    /// However the driver ends, nobody waits for ever.
    fn drop(&mut self) {
        self.connections.end_all();
        self.shared.set_status(|status| {
            status.state = PeerState::Destroyed;
            true
        });
        self.shared.end_events();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_look_like_those_of_peerserver() {
        assert_eq!(super::uuid([0; 2]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(
            super::uuid([u64::MAX; 2]),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
    }
}
