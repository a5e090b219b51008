//! How a peer is made: PeerJS's `PeerOptions`, and limits of our own.

use core::time::Duration;
use std::sync::Arc;

use peer_core::{PeerId, Token};

use super::Peer;
use crate::error::{BuildError, OpenError};
use crate::options::{Offer, Options, PerSecond};
use crate::rtc::{IceServer, IceTransportPolicy, RtcConfig};

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
#[derive(Clone, Default)]
#[must_use = "a builder does nothing until build() or open()"]
pub struct PeerBuilder {
    options: Options,
    /// The first mistake, told by `build`.
    mistake: Option<BuildError>,
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

    /// Host, port, path, key and TLS in one: `ws://127.0.0.1:9000/myapp?key=peerjs`, or `wss`,
    /// `http`, `https`.
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

    /// Trusts certificates besides the system's, a PEM text with at least one: as roots, and each
    /// as the certificate of the broker itself, whatever name and dates are in it, as long as the
    /// broker has its key. So a broker with a certificate of its own making (`openssl req -x509`)
    /// is trusted by that certificate.
    pub fn root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.options.certificates.extend_from_slice(pem.as_ref());
        self.options.certificates.push(b'\n');
        self
    }

    /// The secret that owns the id. Default: random. Give the same one to take the id over after a
    /// crash.
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        match Token::from_wire(token.as_ref()) {
            Ok(token) => self.options.token = Some(token),
            Err(error) => self.blame(BuildError::Token(error)),
        }
        self
    }

    /// STUN and TURN servers, PeerJS's `config.iceServers`. Default: PeerJS's own. Empty: direct
    /// paths only.
    pub fn ice_servers(mut self, servers: impl IntoIterator<Item = IceServer>) -> Self {
        self.options.rtc.ice_servers = servers.into_iter().collect();
        self
    }

    /// Whether only relayed paths are used, PeerJS's `config.iceTransportPolicy`. Default: all
    /// paths.
    pub fn ice_transport_policy(mut self, policy: IceTransportPolicy) -> Self {
        self.options.rtc.ice_transport_policy = policy;
        self
    }

    /// Every option of the WebRTC stack at once, ICE servers and connect timeout included: PeerJS's
    /// `config`.
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

    /// Come back to the broker by itself, with the same id and token, for ever, with pauses that
    /// grow to [`RECONNECT_PAUSE_MAX`](crate::RECONNECT_PAUSE_MAX): after the socket was lost, and
    /// before the first time as long as the broker cannot be reached. A broker that refuses the
    /// first time (id taken, wrong key) still ends the peer. Without an id of yours the peer makes
    /// one itself, as PeerServer would. Default `false`, as in PeerJS.
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.options.reconnect = reconnect;
        self
    }

    /// Most connections at a time. Default [`MAX_CONNECTIONS`](crate::MAX_CONNECTIONS).
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.options.max_connections = connections;
        self
    }

    /// Incoming connections that one remote may hold, open or not, while more than half of
    /// [`max_connections`](Self::max_connections) are in use: a remote is an id, and once connected
    /// an address. At the limit its offers are refused, and what it opens is closed. Default 0: one
    /// quarter, at least one.
    pub fn remote_share(mut self, connections: usize) -> Self {
        self.options.remote_share = connections;
        self
    }

    /// Offers a second that are taken from all remotes together, after a burst of
    /// [`OFFER_BURST`](crate::OFFER_BURST) times as many. Default
    /// [`OFFERS_PER_SECOND`](crate::OFFERS_PER_SECOND).
    pub fn offer_rate(mut self, per_second: u32) -> Self {
        self.options.offer_rates.all = PerSecond(per_second);
        self
    }

    /// Offers a second that are taken from one remote, after a burst of
    /// [`OFFER_BURST`](crate::OFFER_BURST) times as many. Default
    /// [`REMOTE_OFFERS_PER_SECOND`](crate::REMOTE_OFFERS_PER_SECOND).
    pub fn remote_offer_rate(mut self, per_second: u32) -> Self {
        self.options.offer_rates.remote = PerSecond(per_second);
        self
    }

    /// Largest message to receive, in bytes. Default [`MAX_MESSAGE_SIZE`](crate::MAX_MESSAGE_SIZE).
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.options.max_message_size = bytes;
        self
    }

    /// Bytes of messages that wait to be received, over all connections. Default
    /// [`INBOX_BYTES`](crate::INBOX_BYTES).
    pub fn inbox_bytes(mut self, bytes: usize) -> Self {
        self.options.inbox_bytes = bytes;
        self
    }

    /// Asked for each offer before anything is created for it, and before it counts for any rate;
    /// `false` refuses the offer, which is counted and logged. Called on the peer's own task: it
    /// must not block. If it panics, that offer is refused. A peer that only connects may refuse
    /// all.
    ///
    /// PeerJS knows no answer that refuses an offer. The remote is sent EXPIRE, as if nobody were
    /// here, for brokers that pass it on: npm `peer` does, [`Broker`](crate::broker::Broker) does
    /// not. PeerJS then emits `peer-unavailable`; behind any other broker the remote waits until
    /// its own time is up. It is not sent while another connection with that remote is here, nor
    /// more often than [`offer_rate`](Self::offer_rate) takes offers. LEAVE is never sent: it would
    /// end the remote's other connections.
    pub fn on_offer(mut self, admit: impl Fn(&Offer) -> bool + Send + Sync + 'static) -> Self {
        self.options.on_offer = Some(Arc::new(admit));
        self
    }

    /// Starts the peer and returns at once, before the broker knows it. Needs a tokio runtime
    /// around it.
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
