//! What a peer is made with.

use core::time::Duration;
use std::sync::Arc;

use peer_core::serialization::Serialization;
use peer_core::{ConnectionId, PeerId, Token};

use crate::limits::{
    INBOX_BYTES, MAX_CONNECTIONS, MAX_MESSAGE_SIZE, OFFER_BURST, OFFERS_PER_SECOND,
    REMOTE_OFFERS_PER_SECOND,
};
use crate::rtc::{IceServer, RtcConfig};
use crate::signalling::BrokerAddress;

/// What a remote asks for, before anything is created for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Offer {
    /// The remote peer, as its broker names it.
    pub peer: PeerId,
    /// The connection's id on the wire; `-` where the remote gave none, so that one is made.
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

/// How often something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerSecond(pub(crate) u32);

impl PerSecond {
    pub(crate) fn burst(self) -> u32 {
        self.0.saturating_mul(OFFER_BURST)
    }
}

/// How often offers are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) all: PerSecond,
    pub(crate) remote: PerSecond,
}

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) id: Option<PeerId>,
    pub(crate) token: Option<Token>,
    pub(crate) broker: BrokerAddress,
    /// Certificates that are trusted besides the system's, in PEM.
    pub(crate) certificates: Vec<u8>,
    pub(crate) rtc: RtcConfig,
    pub(crate) ping_interval: Duration,
    pub(crate) reconnect: bool,
    pub(crate) max_connections: usize,
    pub(crate) remote_share: usize,
    pub(crate) offer_rates: Rates,
    pub(crate) max_message_size: usize,
    pub(crate) inbox_bytes: usize,
    pub(crate) on_offer: Option<Admission>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            id: None,
            token: None,
            broker: BrokerAddress::default(),
            certificates: Vec::new(),
            rtc: RtcConfig {
                ice_servers: IceServer::peerjs_defaults(),
                ..RtcConfig::default()
            },
            ping_interval: Duration::from_secs(5),
            reconnect: false,
            max_connections: MAX_CONNECTIONS,
            remote_share: 0,
            offer_rates: Rates {
                all: PerSecond(OFFERS_PER_SECOND),
                remote: PerSecond(REMOTE_OFFERS_PER_SECOND),
            },
            max_message_size: MAX_MESSAGE_SIZE,
            inbox_bytes: INBOX_BYTES,
            on_offer: None,
        }
    }
}
