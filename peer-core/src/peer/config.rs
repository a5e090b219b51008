//! What a peer and a connection are made with.

use crate::{PeerId, Token, serialization::Serialization, time::Duration};

/// How a [`Peer`](super::Peer) behaves. PeerJS's `PeerOptions`, as far as it needs no I/O.
///
/// A duration of zero switches the heartbeat off and makes a deadline pass at once.
///
/// ```
/// use peer_core::{PeerId, Token, peer::Config};
/// let mut config = Config::new(Token::from_random(7), 42);
/// config.id = Some(PeerId::new("sensor-7")?);
/// # Ok::<(), peer_core::IdError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The id to take; `None` asks the broker for one.
    pub id: Option<PeerId>,
    /// The secret that owns the id, kept across reconnects.
    pub token: Token,
    /// 64 random bits; connection ids are drawn from them. Give each start its own.
    pub random: u64,
    /// Time between HEARTBEATs. PeerJS: `pingInterval`, 5 s.
    pub ping_interval: Duration,
    /// How long a connection may take from `connect` or its OFFER to open. Default 30 s.
    pub connect_timeout: Duration,
    /// How long the broker may take to answer an open. Default 10 s.
    pub open_timeout: Duration,
    /// A socket that is up this long without OPEN or an error counts as open: some brokers send no OPEN
    /// when an id is taken over with its own token. Default 1 s.
    pub attach_grace: Duration,
    /// How long a connection under [`close_flush`](super::DataConnection::close_flush) may make no progress: no
    /// byte acknowledged, then no close by the remote. Then it is closed as `close` would. Default 10 s.
    pub flush_timeout: Duration,
}

impl Config {
    /// PeerJS's defaults with this token and these 64 random bits.
    pub fn new(token: Token, random: u64) -> Self {
        Self {
            id: None,
            token,
            random,
            ping_interval: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(30),
            open_timeout: Duration::from_secs(10),
            attach_grace: Duration::from_secs(1),
            flush_timeout: Duration::from_secs(10),
        }
    }
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
    /// Broker messages that could not be parsed, made no sense or came from nobody they could come from.
    pub malformed_signals: u32,
    /// Candidates, early signals and offers dropped for want of room.
    pub dropped_signals: u32,
    /// Offers of media calls, which this peer does not take.
    pub media_offers: u32,
    /// Data channel messages that could not be decoded or did not fit the inbox.
    pub malformed_messages: u32,
    /// Inputs for stale handles and for connections that are over.
    pub stale_inputs: u32,
}
