//! What a broker can be told: PeerServer's options under their own names, and the limits it has
//! not.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use peer_realm::{RealmLimits, RealmOptions};

use crate::url::surround;

/// Options of a [`Broker`](super::Broker), with the names and library defaults of npm `peer` 1.0.2.
///
/// `host` and `port` are the address given to [`Broker::bind`](super::Broker::bind).
///
/// ```
/// use peer_net::broker::BrokerOptions;
/// let options = BrokerOptions { allow_discovery: true, ..BrokerOptions::default() };
/// assert_eq!(options.key, "peerjs");
/// ```
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// Where the API lives, `/` by default. A slash is put in front and behind where it is missing.
    pub path: String,
    /// The key a WebSocket must bring, `peerjs` by default. The HTTP API takes any word, as
    /// PeerServer does.
    pub key: String,
    /// How long messages wait for an absent peer before their sender gets EXPIRE. 5 s.
    pub expire_timeout: Duration,
    /// How long a client may go without HEARTBEAT before it is disconnected. 90 s; the command uses
    /// PeerServer's 60 s.
    pub alive_timeout: Duration,
    /// Ids that can be connected at once, 5,000. One more gets ERROR.
    pub concurrent_limit: usize,
    /// Whether `GET …/peers` lists the ids. Off: 401.
    pub allow_discovery: bool,
    /// A reverse proxy is in front, and sets `X-Forwarded-For`. The last address in it names the
    /// client in the log and counts for [`BrokerLimits::connections_per_address`]; those before it
    /// are the client's own words. Not to be set without a proxy: anybody could name any address.
    pub proxied: bool,
    /// How often expired messages are looked for. 1 s.
    pub cleanup_out_msgs: Duration,
    /// Key and certificate for TLS. Without, plain HTTP.
    pub ssl: Option<Ssl>,
    /// Which web pages may use the HTTP API.
    pub cors_options: CorsOptions,
    /// Makes ids for `GET …/id`; UUID version 4 without it.
    pub generate_client_id: Option<GenerateClientId>,
    /// What the broker spends at most.
    pub limits: BrokerLimits,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        let realm = RealmOptions::default();
        Self {
            path: "/".to_owned(),
            key: realm.key,
            expire_timeout: realm.expire_timeout,
            alive_timeout: realm.alive_timeout,
            concurrent_limit: realm.concurrent_limit,
            allow_discovery: false,
            proxied: false,
            cleanup_out_msgs: realm.cleanup_out_msgs,
            ssl: None,
            cors_options: CorsOptions::default(),
            generate_client_id: None,
            limits: BrokerLimits::default(),
        }
    }
}

impl BrokerOptions {
    /// `path` with a slash at either end.
    pub(super) fn base_path(&self) -> String {
        surround(&self.path)
    }

    /// The part of the options the [`Realm`](super::Realm) needs.
    pub fn realm(&self) -> RealmOptions {
        RealmOptions {
            key: self.key.clone(),
            expire_timeout: self.expire_timeout,
            alive_timeout: self.alive_timeout,
            concurrent_limit: self.concurrent_limit,
            cleanup_out_msgs: self.cleanup_out_msgs,
            limits: self.limits.realm.clone(),
        }
    }
}

/// Key and certificate chain, the *contents* of PEM files.
#[derive(Clone)]
pub struct Ssl {
    /// The private key: PKCS#8, PKCS#1 or SEC1, in PEM.
    pub key: Vec<u8>,
    /// The certificate, followed by its intermediates, in PEM.
    pub cert: Vec<u8>,
}

impl fmt::Debug for Ssl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ssl").finish_non_exhaustive()
    }
}

/// Cross-origin rules for the HTTP API.
#[derive(Clone, Debug, Default)]
pub struct CorsOptions {
    /// The origins that may read answers.
    pub origin: CorsOrigin,
}

/// The origins that may read answers of the HTTP API. The WebSocket is open to all, as
/// PeerServer's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CorsOrigin {
    /// Any: the request's `Origin` is echoed. PeerServer's default, `origin: true`.
    #[default]
    Reflect,
    /// Any: the answer says `*`.
    Any,
    /// This one, whoever asks. `origin: "http://a.example"` of the npm package `cors`.
    Fixed(String),
    /// These, letter by letter, `*` as well; others get no header and the browser refuses them the
    /// answer. An empty list allows none.
    List(Vec<String>),
}

/// A source of ids. Called again while the id is taken, at most [`GenerateClientId::ATTEMPTS`]
/// times.
#[derive(Clone)]
pub struct GenerateClientId(Arc<dyn Fn() -> String + Send + Sync>);

impl GenerateClientId {
    /// Attempts to find a free id. After them the request is answered with status 500.
    pub const ATTEMPTS: usize = 64;

    /// Takes ids from `generate`, which must not block.
    pub fn new(generate: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(generate))
    }

    pub(super) fn generate(&self) -> String {
        (self.0)()
    }
}

impl fmt::Debug for GenerateClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GenerateClientId")
    }
}

/// What a broker spends at most.
///
/// With the defaults that is at most 64 MiB for what clients do not read, 128 MiB to read long
/// messages into, 32 MiB for what waits for absent peers, and some 100 KiB for each connection (TLS
/// included).
#[derive(Clone, Debug)]
pub struct BrokerLimits {
    /// The limits of the realm.
    pub realm: RealmLimits,
    /// TCP connections at once, WebSockets included. 8,192. The next one waits in the listen queue.
    pub connections: usize,
    /// TCP connections of one address at once, WebSockets included: 1,024. For IPv6 an address is a
    /// network of 64 bits. Behind a proxy ([`BrokerOptions::proxied`]) it is WebSockets by the
    /// address that the proxy tells. Beyond: status 429; when very many are being told so, closed.
    pub connections_per_address: usize,
    /// Largest HTTP request head, 16 KiB as in Node (at least 8 KiB). Beyond: status 431 and
    /// closed.
    pub request_head_bytes: usize,
    /// Time for the TLS handshake, and for one request head. 10 s. Beyond: closed.
    pub handshake_timeout: Duration,
    /// Time a connection may be without a new request before its upgrade. 15 s. Beyond: closed.
    pub idle_timeout: Duration,
    /// Messages waiting for one client to read them. 1,024, of which one sender may hold a quarter.
    /// A sender whose message does not fit is not read from until it does; after
    /// [`relay_timeout`](Self::relay_timeout) the message is refused, and the sender gets EXPIRE. A
    /// client that lets the *broker's own* messages overflow is disconnected.
    pub outbox_messages: usize,
    /// The same in bytes, 4 MiB. At least twice [`RealmLimits::queue_bytes`] is sensible.
    pub outbox_bytes: usize,
    /// How long a sender waits for room in the receiver's outbox. 5 s. When one waited in vain
    /// nobody waits for that receiver until it takes a message.
    pub relay_timeout: Duration,
    /// Bytes in the outboxes of all clients, 64 MiB. Three quarters for relayed messages, half of
    /// that only for outboxes of up to 16 KiB; the rest for the broker's own, and for lists of
    /// peers that are being read. Beyond: as for a single full outbox; for a list status 503.
    pub outboxes_bytes: usize,
    /// Bytes to read messages into, over all clients, 128 MiB: each client's longest message counts
    /// while it is connected, without its first 16 KiB. Half is only for messages of up to 32 KiB.
    /// Beyond: the client whose message it is is disconnected.
    pub incoming_bytes: usize,
    /// Messages and pings that are taken from one client in a second, 1,000, and as many at once.
    /// Beyond: it is not read from until it is its turn again; nothing is lost.
    pub messages_per_second: u32,
    /// Time for a client to take one message, and, once it is to be closed, all that waits for it.
    /// 30 s. Beyond: it does not read, it is disconnected. So is one that leaves answers to its
    /// pings unread.
    pub write_timeout: Duration,
    /// Time for a client to answer a closing handshake. 3 s. Beyond: cut.
    pub close_timeout: Duration,
}

impl Default for BrokerLimits {
    fn default() -> Self {
        Self {
            realm: RealmLimits::default(),
            connections: 8_192,
            connections_per_address: 1_024,
            request_head_bytes: 16 * 1024,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15),
            outbox_messages: 1_024,
            outbox_bytes: 4 * 1024 * 1024,
            relay_timeout: Duration::from_secs(5),
            outboxes_bytes: 64 * 1024 * 1024,
            incoming_bytes: 128 * 1024 * 1024,
            messages_per_second: 1_000,
            write_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(3),
        }
    }
}
