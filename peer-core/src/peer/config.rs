//! What a peer and a connection are made with.

use crate::{PeerId, Token, random::Secret, serialization::Serialization, time::Duration};

/// How a [`Peer`](super::Peer) behaves. PeerJS's `PeerOptions`, as far as it needs no I/O.
///
/// A duration of zero switches the heartbeat off and makes a deadline pass at once.
///
/// ```
/// use peer_core::{PeerId, peer::Config};
/// # fn random() -> [u8; 32] { [7; 32] }
/// let mut config = Config::new(random()); // 32 bytes of the board's generator
/// config.id = Some(PeerId::new("sensor-7")?);
/// # Ok::<(), peer_core::IdError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The id to take; `None` asks the broker for one.
    pub id: Option<PeerId>,
    /// The secret that owns the id at the broker, kept across reconnects. Store one to take the id
    /// over after a restart. `None` makes a new one from the random bytes.
    pub token: Option<Token>,
    pub(super) random: Secret,
    /// Time between HEARTBEATs. PeerJS: `pingInterval`, 5 s.
    pub ping_interval: Duration,
    /// How long a connection may take from `connect` or its OFFER to open. Default 30 s.
    pub connect_timeout: Duration,
    /// How long the broker may take to answer an open, and to say OPEN to a new token. Default 10
    /// s.
    pub open_timeout: Duration,
    /// How long a broker that may know the token already, since it was stored or used before, may
    /// stay silent on a socket that is up: then the peer counts as open. PeerServer sends no OPEN
    /// when an id is taken over with its own token. Default 1 s.
    pub attach_grace: Duration,
    /// How long a connection under [`close_flush`](super::DataConnection::close_flush) may make no
    /// progress: no byte acknowledged, then no close by the remote. Then it is closed as `close`
    /// would. Default 10 s.
    pub flush_timeout: Duration,
    /// Whether to take an OFFER. Called before anything is made for it, perhaps more than once for
    /// one OFFER. Default: takes all. What it refuses is counted in [`Stats::refused_offers`]; the
    /// remote is not told, since PeerJS has no message for it.
    pub admit: fn(&IncomingOffer<'_>) -> bool,
    /// Incoming connections that one remote may hold while more than half of the table is in use. 0
    /// means a quarter of the table, at least one. At the limit its OFFERs are refused and counted.
    pub remote_share: usize,
}

impl Config {
    /// PeerJS's defaults. `random` is 32 bytes of a CSPRNG, fresh at each start: connection ids,
    /// and the token unless one is given, are derived from them (HMAC-SHA-256 with a label each),
    /// so that none tells another.
    pub fn new(random: [u8; 32]) -> Self {
        Self {
            id: None,
            token: None,
            random: Secret::new(random),
            ping_interval: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(30),
            open_timeout: Duration::from_secs(10),
            attach_grace: Duration::from_secs(1),
            flush_timeout: Duration::from_secs(10),
            admit: |_| true,
            remote_share: 0,
        }
    }
}

/// An OFFER that asks to be let in.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct IncomingOffer<'a> {
    /// The remote's id, as the broker says.
    pub peer: &'a str,
    /// The label of the data channel, if the offer has one.
    pub label: Option<&'a str>,
    /// The metadata, a JSON text, if the offer has some.
    pub metadata: Option<&'a str>,
    /// Incoming connections that the remote holds already, in whatever state.
    pub held: usize,
}

/// What `connect` takes. PeerJS's `PeerConnectOption`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectOptions<'a> {
    /// The channel's label; `None` or an empty one takes the connection's id, as PeerJS does.
    pub label: Option<&'a str>,
    /// Any JSON text; `None` leaves the field out.
    pub metadata: Option<&'a str>,
    /// PeerJS's `reliable`: `true` orders messages. Default `false`, as in PeerJS.
    pub reliable: bool,
    /// How values travel. Default `Binary`.
    pub serialization: Serialization,
}

/// Where the peer stands with its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PeerState {
    /// An id is being asked for or the socket is being opened.
    Connecting,
    /// The broker knows the peer.
    Open,
    /// No socket; connections live on. [`Peer::reconnect`](super::Peer::reconnect) comes back.
    Disconnected,
    /// Destroyed for good.
    Destroyed,
}

/// Counters since the start. They wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Stats {
    /// Broker messages that could not be parsed, made no sense or came from nobody they could come
    /// from.
    pub malformed_signals: u32,
    /// Candidates, early signals and offers dropped for want of room.
    pub dropped_signals: u32,
    /// OFFERs that [`Config::admit`] refused, or that went beyond their remote's share of the
    /// table.
    pub refused_offers: u32,
    /// Offers of media calls, which this peer does not take.
    pub media_offers: u32,
    /// Data channel messages that could not be decoded or did not fit the inbox.
    pub malformed_messages: u32,
    /// Inputs for stale handles and for connections that are over.
    pub stale_inputs: u32,
}
