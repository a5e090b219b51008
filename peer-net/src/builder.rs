//! How a peer is made: PeerJS's `PeerOptions`, and limits of our own.

use core::time::Duration;
use std::sync::Arc;

use peer_core::serialization::Serialization;
use peer_core::{ConnectionId, PeerId, Token};

use crate::broker::BrokerAddress;
use crate::error::{BuildError, OpenError};
use crate::peer::Peer;
use crate::rtc::{IceServer, IceTransportPolicy, RtcConfig};

/// Connections of one peer, unless the builder says otherwise. More are refused
/// ([`ConnectError::TooManyConnections`](crate::ConnectError)); offers beyond are dropped and counted.
pub const MAX_CONNECTIONS: usize = 256;
/// Largest message that is put together from chunks or taken from a channel. A larger one is dropped and
/// counted, and the connection reports `message-too-big` and goes on.
pub const MAX_MESSAGE_SIZE: usize = 64 << 20;
/// Incoming connections that are open and wait for [`Peer::accept`]. At the limit a further one is closed as
/// soon as it opens, and counted.
pub const ACCEPT_BACKLOG: usize = 64;
/// Offers a second that are taken from all remotes together, after a burst of [`OFFER_BURST`]. More are dropped
/// and counted.
pub const OFFERS_PER_SECOND: u32 = 32;
/// Offers that may come at once.
pub const OFFER_BURST: u32 = 128;
/// What part of a peer's connections incoming ones that are not open yet may take: one half, and those of one
/// remote one quarter, but at least one. Offers beyond are dropped and counted, so strangers who offer and do not
/// answer cannot take every place.
pub const PENDING_SHARE: usize = 2;
/// The longest pause between two automatic reconnects. The first is a tenth of a second, each next one twice
/// as long, and each is cut by up to half at random.
pub const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(30);

/// What a remote asks for, before anything is created for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Offer {
    /// The remote peer, as its broker names it.
    pub peer: PeerId,
    /// The connection's id on the wire.
    pub connection_id: ConnectionId,
    /// The label.
    pub label: String,
    /// The metadata, a JSON text.
    pub metadata: Option<String>,
    /// PeerJS's `reliable`.
    pub reliable: bool,
    /// How values will travel.
    pub serialization: Serialization,
}

/// Decides about an [`Offer`].
pub(crate) type Admission = Arc<dyn Fn(&Offer) -> bool + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) id: Option<PeerId>,
    pub(crate) token: Option<Token>,
    pub(crate) broker: BrokerAddress,
    pub(crate) rtc: RtcConfig,
    pub(crate) ping_interval: Duration,
    pub(crate) reconnect: bool,
    pub(crate) max_connections: usize,
    pub(crate) max_message_size: usize,
    pub(crate) on_offer: Option<Admission>,
    pub(crate) debug: u8,
}

/// Makes a [`Peer`]. Every option has PeerJS's default.
///
/// ```no_run
/// # async fn run() -> Result<(), peer_net::OpenError> {
/// let peer = peer_net::Peer::builder()
///     .id("greenhouse-7")
///     .broker("ws://127.0.0.1:9000/")
///     .open()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until build() or open()"]
pub struct PeerBuilder {
    options: Options,
    /// The first mistake, told by `build`.
    mistake: Option<BuildError>,
}

impl Default for PeerBuilder {
    fn default() -> Self {
        Self {
            options: Options {
                id: None,
                token: None,
                broker: BrokerAddress::default(),
                rtc: RtcConfig {
                    ice_servers: IceServer::peerjs_defaults(),
                    ..RtcConfig::default()
                },
                ping_interval: Duration::from_secs(5),
                reconnect: false,
                max_connections: MAX_CONNECTIONS,
                max_message_size: MAX_MESSAGE_SIZE,
                on_offer: None,
                debug: 0,
            },
            mistake: None,
        }
    }
}

impl PeerBuilder {
    /// The id to take. Default: the broker gives one.
    pub fn id(mut self, id: impl AsRef<str>) -> Self {
        let id = id.as_ref();
        match PeerId::new(id) {
            Ok(id) => self.options.id = Some(id),
            Err(source) => self.blame(BuildError::Id {
                id: id.to_owned(),
                source,
            }),
        }
        self
    }

    /// The broker's API key. Default `peerjs`.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.options.broker.key = key.into();
        self
    }

    /// The broker's host name or address. Default `0.peerjs.com`.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.options.broker.host = host.into();
        self
    }

    /// The broker's port. Default 443.
    pub fn port(mut self, port: u16) -> Self {
        self.options.broker.port = port;
        self
    }

    /// The path the broker lives under. Default `/`.
    pub fn path(mut self, path: impl AsRef<str>) -> Self {
        self.options.broker.path = path.as_ref().to_owned();
        self
    }

    /// Whether to speak TLS with the broker. Default `true`.
    pub fn secure(mut self, secure: bool) -> Self {
        self.options.broker.secure = secure;
        self
    }

    /// Host, port, path, key and TLS in one: `ws://127.0.0.1:9000/myapp?key=peerjs`, or `wss`, `http`, `https`.
    pub fn broker(mut self, url: impl AsRef<str>) -> Self {
        let url = url.as_ref();
        match url.parse() {
            Ok(address) => self.options.broker = address,
            Err(source) => self.blame(BuildError::Broker {
                url: url.to_owned(),
                source,
            }),
        }
        self
    }

    /// The secret that owns the id. Default: random. Give the same one to take the id over after a crash.
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        match Token::from_wire(token.as_ref()) {
            Ok(token) => self.options.token = Some(token),
            Err(error) => self.blame(BuildError::Token(error)),
        }
        self
    }

    /// STUN and TURN servers, PeerJS's `config.iceServers`. Default: PeerJS's own. Empty: direct paths only.
    pub fn ice_servers(mut self, servers: impl IntoIterator<Item = IceServer>) -> Self {
        self.options.rtc.ice_servers = servers.into_iter().collect();
        self
    }

    /// Whether only relayed paths are used, PeerJS's `config.iceTransportPolicy`. Default: all paths.
    pub fn ice_transport_policy(mut self, policy: IceTransportPolicy) -> Self {
        self.options.rtc.ice_transport_policy = policy;
        self
    }

    /// Every option of the WebRTC stack at once, ICE servers and connect timeout included: PeerJS's `config`.
    pub fn rtc(mut self, config: RtcConfig) -> Self {
        self.options.rtc = config;
        self
    }

    /// Time between heartbeats to the broker, PeerJS's `pingInterval`. Default 5 s.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.options.ping_interval = interval;
        self
    }

    /// How long a connection may take to open. Default 30 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.rtc.connect_timeout = timeout;
        self
    }

    /// Come back to the broker by itself, with the same id and token, for ever, with pauses that grow to
    /// [`RECONNECT_PAUSE_MAX`]: after the socket was lost, and before the first time as long as the broker cannot be
    /// reached. A broker that refuses the first time (id taken, wrong key) still ends the peer. Without an id of
    /// yours the peer makes one itself, as PeerServer would. Default `false`, as in PeerJS.
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.options.reconnect = reconnect;
        self
    }

    /// Most connections at a time. Default [`MAX_CONNECTIONS`].
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.options.max_connections = connections;
        self
    }

    /// Largest message to receive, in bytes. Default [`MAX_MESSAGE_SIZE`].
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.options.max_message_size = bytes;
        self
    }

    /// Asked for each offer before anything is created for it; `false` drops the offer without a word, and it is
    /// counted. Called on the peer's own task: it must not block. A peer that only connects may refuse all.
    pub fn on_offer(mut self, admit: impl Fn(&Offer) -> bool + Send + Sync + 'static) -> Self {
        self.options.on_offer = Some(Arc::new(admit));
        self
    }

    /// PeerJS's `debug`: 0 nothing, 1 errors, 2 warnings, 3 everything. What passes goes to `tracing` under the
    /// target `peer_net`, where a subscriber may filter further. Default 0.
    pub fn debug(mut self, level: u8) -> Self {
        self.options.debug = level;
        self
    }

    /// Starts the peer and returns at once, before the broker knows it. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// [`BuildError`]: an option cannot be used.
    pub fn build(self) -> Result<Peer, BuildError> {
        match self.mistake {
            Some(mistake) => Err(mistake),
            None => Peer::start(self.options),
        }
    }

    /// Starts the peer and waits until the broker knows it.
    ///
    /// # Errors
    /// [`OpenError`]: an option cannot be used, or the broker did not take the peer.
    pub async fn open(self) -> Result<Peer, OpenError> {
        let peer = self.build()?;
        peer.opened().await?;
        Ok(peer)
    }

    /// Keeps the first mistake.
    fn blame(&mut self, error: BuildError) {
        self.mistake.get_or_insert(error);
    }
}

impl core::fmt::Debug for PeerBuilder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // The token is a secret.
        f.debug_struct("PeerBuilder")
            .field("id", &self.options.id)
            .field("broker", &self.options.broker)
            .finish_non_exhaustive()
    }
}
