//! The task of a session, from descriptions to its last event: it owns the memory.

use core::fmt::Display;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt as _;
use peer_core::peer::RtcFailure;
use peer_core::rtc::dtls::{self, Suite};
use peer_core::rtc::ice::{self, Role as IceRole, Server, TransportPolicy};
use peer_core::rtc::session::{Config, Memory, Place, SctpMemory, Session};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::mailbox::Mailbox;
use super::servers::{Resolved, agent_servers};
use super::storage::{SMALL, Storage};
use super::streams::Streams;
use super::work::{Handshake, Next, Phase, Rest, Work};
use super::{Role, Told};
use crate::rtc::crypto::RingCrypto;
use crate::rtc::description::Remote;
use crate::rtc::stage::Failure;
use crate::rtc::{IceTransportPolicy, RtcConfig, SessionEvent};
use crate::time::{FOREVER, after, engine_now};

/// Tables of a session: addresses of ours, of the remote, pairs, questions to servers, allocations.
type Tables = ice::Resources<8, 32, 40, 8, 0>;
/// The same where TURN servers are asked for addresses, too.
type RelayTables = ice::Resources<12, 32, 64, 16, 4>;
/// Bytes of the longest message of a handshake.
const MESSAGE_MAX: usize = 2048;

/// What a session is made of.
pub(super) struct Task {
    pub(super) endpoint: Arc<Endpoint>,
    /// Tells the remotes apart that sessions are with.
    pub(super) remote: String,
    pub(super) role: Role,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) told: Arc<Told>,
    pub(super) events: mpsc::Sender<SessionEvent>,
}

impl Task {
    /// Runs the session. A panic in the stack ends no more than this session.
    pub(super) async fn run(self) {
        let (told, events) = (Arc::clone(&self.told), self.events.clone());
        let failure = match AssertUnwindSafe(self.session()).catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(_) => {
                tracing::error!("a WebRTC session panicked");
                told.stage.get().failure("the WebRTC stack failed")
            }
        };
        let (failure, sentence) = failure;
        let _ = events.send(SessionEvent::Failed(failure, sentence)).await;
    }

    async fn session(self) -> Result<(), Failure> {
        let config = Arc::clone(&self.endpoint.config);
        // Nothing is made for an offer that cannot be answered.
        let (role, offered) = match &self.role {
            Role::Offer { .. } => (IceRole::Controlling, None),
            Role::Answer { offer } => (IceRole::Controlled, Some(Remote::parse(offer, true)?)),
        };
        let entered = self.endpoint.enter(&self.remote, &self.mailbox);
        let place = entered.map_err(|error| resources(&error))?;
        let mut crypto = RingCrypto::default();
        let identity = self.endpoint.identity(&mut crypto);
        let identity = identity.map_err(|error| resources(&error))?;
        let epoch = Instant::now();
        let (mut tables, mut relay_tables);
        let tables = match self.endpoint.servers.may_relay() {
            true => {
                relay_tables = Box::new(RelayTables::new());
                relay_tables.lend()
            }
            false => {
                tables = Box::new(Tables::new());
                tables.lend()
            }
        };
        let lists = Lists::default();
        let mut handshake = Box::new(dtls::Resources::<MESSAGE_MAX>::new());
        let memory = Memory {
            ice: tables,
            dtls: handshake.lend(),
            sctp: None,
        };
        let settings = settings(&self.endpoint, role);
        let session = Session::new(engine_now(epoch), &mut crypto, settings, memory, &[]);
        let session = session.map_err(|error| resources(&error))?;
        if !place.seat.name(session.ice().ufrag()) {
            return Err(resources(&"two sessions drew the same name"));
        }
        let rest = Rest {
            crypto,
            identity,
            epoch,
            phase: Phase::Opening(after(epoch, config.connect_timeout)),
            config: Arc::clone(&config),
            place,
            mailbox: self.mailbox,
            mail: Default::default(),
            told: self.told,
            events: Some(self.events),
            untold: VecDeque::new(),
            sockets: Vec::new().into(),
            channel: None,
            max_message_size: config.max_message_size,
            handshake: Handshake::AtOnce,
            candidates: 0,
            has_moved: false,
            servers: None,
            streams: Streams::new(Arc::clone(&self.endpoint.servers)),
            unsent: VecDeque::new(),
            sizes: None,
            came: Default::default(),
            went: Default::default(),
            idle_since: None,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
        };
        let (session, mut detached) = session.without_sctp();
        // In a box, as it would lie in the task's memory once for each place it is used in.
        let mut work = Box::new(Work { session, rest });
        work.begin(self.role, offered)?;
        let mut lookup = Lookup::new(&self.endpoint, &lists);
        // Without memory for data: a remote that has not proved itself costs none.
        let mut sizes = match lookup.run(&mut work).await {
            Next::Memory(sizes) => sizes,
            Next::Over => return Ok(()),
        };
        let (mut session, mut rest) = work.apart();
        let window = receive_window(&config) as usize;
        let mut storage = Storage::new((config.send_buffer / 2).max(SMALL), window);
        loop {
            storage.resize(sizes);
            rest.sizes = Some(sizes);
            let mut place = Place::new();
            let memory = SctpMemory {
                memory: storage.lend(),
                place: (&mut place).into(),
            };
            let mut work = Box::new(Work {
                session: session.with_sctp(memory, detached),
                rest,
            });
            match lookup.run(&mut work).await {
                Next::Memory(other) => sizes = other,
                Next::Over => return Ok(()),
            }
            let before;
            (before, rest) = work.apart();
            (session, detached) = before.without_sctp();
        }
    }
}

/// What a session borrows once its servers are known.
#[derive(Default)]
struct Lists<'m> {
    resolved: OnceLock<Arc<[Resolved]>>,
    servers: OnceLock<Vec<Server<'m>>>,
}

type Resolving = Pin<Box<dyn Future<Output = Arc<[Resolved]>> + Send>>;

/// Tells a session its servers as soon as their names are resolved.
struct Lookup<'m> {
    lists: &'m Lists<'m>,
    /// `None` once it is told.
    resolving: Option<Resolving>,
}

impl<'m> Lookup<'m> {
    fn new(endpoint: &Arc<Endpoint>, lists: &'m Lists<'m>) -> Self {
        let servers = Arc::clone(&endpoint.servers);
        Self {
            lists,
            resolving: Some(Box::pin(async move { servers.resolved().await })),
        }
    }

    /// Works until that pauses.
    async fn run(&mut self, work: &mut Work<'m, '_>) -> Next {
        loop {
            let Some(resolving) = &mut self.resolving else {
                return work.run().await;
            };
            let resolved = tokio::select! {
                biased;
                resolved = resolving => resolved,
                next = work.run() => return next,
            };
            self.resolving = None;
            let resolved = self.lists.resolved.get_or_init(|| resolved);
            let servers = self.lists.servers.get_or_init(|| agent_servers(resolved));
            work.set_servers(servers, resolved);
        }
    }
}

fn settings(endpoint: &Endpoint, role: IceRole) -> Config {
    let config = &endpoint.config;
    let mut settings = Config::new(role);
    settings.ice.include_loopback = config.include_loopback;
    settings.ice.policy = match config.ice_transport_policy {
        IceTransportPolicy::All => TransportPolicy::All,
        IceTransportPolicy::Relay => TransportPolicy::Relay,
    };
    settings.may_relay = endpoint.servers.may_relay();
    settings.ice.patience = config.connect_timeout.min(FOREVER);
    settings.ice.silence = config.disconnected_timeout.min(FOREVER);
    settings.ice.survive = config.survive.min(FOREVER);
    settings.handshake = config.connect_timeout.min(FOREVER);
    settings.receive_max = u64::from(config.max_message_size);
    settings.prefer = prefer();
    settings
}

/// The suite that this processor is quick with.
fn prefer() -> Suite {
    #[cfg(target_arch = "x86_64")]
    let has_aes = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let has_aes = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has_aes = false;
    match has_aes {
        true => Suite::Aes128Gcm,
        false => Suite::ChaCha20Poly1305,
    }
}

/// The receive window in bytes at most.
fn receive_window(config: &RtcConfig) -> u32 {
    let two = config.max_message_size.saturating_mul(2);
    config.receive_window.max(two)
}

pub(super) fn resources(error: &dyn Display) -> Failure {
    let sentence = format!("this machine could not start a session: {error}");
    (RtcFailure::Resources, sentence)
}
