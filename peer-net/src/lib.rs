// Links of the pages lead to pages: to modules here, to files elsewhere. The first definition
// counts.
#![doc = "[peerjs-api]: docs::peerjs_api\n[command]: docs::command"]
#![doc = "[json-lines]: docs::json_lines\n[figures]: docs::figures\n"]
#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! [`Peer`] and [`DataConnection`] are handles. One task a peer drives the engine of `peer_core`:
//! it owns the socket to the broker and decides what happens to connections. Messages do not pass
//! it: each connection has a task of its own that takes them from its channel, joins chunks and
//! fills a bounded queue, and decodes where `recv` is called. So connections run side by side, and
//! a slow reader holds up nobody but its sender.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(feature = "native", feature = "webrtc-rs")))]
compile_error!("peer-net needs a WebRTC stack: enable its feature `native`, `webrtc-rs`, or both");

pub mod broker;
pub mod budget;
mod codec;
mod connection;
#[cfg(any(doc, doctest))]
pub mod docs;
mod error;
mod event;
#[cfg(feature = "gateway")]
pub mod gateway;
mod ice_server;
mod limits;
pub mod listener;
mod options;
mod peer;
mod rate;
pub mod rtc;
mod signalling;
mod sync;
mod time;
mod tls;
mod url;
mod value;

pub use connection::{ByteStream, DataConnection, ReceiveHalf, SendHalf};
pub use error::{
    BuildError, CloseReason, ConnectError, ConnectionFailure, ListError, OpenError, PeerFailure,
    ReceiveError, ReconnectError, SendError, Side,
};
pub use event::{ConnectionInfo, EVENTS_MAX, Event, Events};
pub use limits::{
    ACCEPT_BACKLOG, INBOX_BYTES, JSON_VALUE_DEPTH_MAX, MAX_CONNECTIONS, MAX_MESSAGE_SIZE,
    METADATA_MAX, OFFER_BURST, OFFERS_PER_SECOND, RECONNECT_PAUSE_MAX, REMOTE_OFFERS_PER_SECOND,
};
pub use options::Offer;
pub use peer::{Connect, Peer, PeerBuilder, Stats};
pub use peer_core::peer::{
    ConnectFailure, ConnectionError, PeerError, PeerState, RtcFailure, Stage,
};
pub use peer_core::serialization::Serialization;
pub use peer_core::{ConnectionId, IdError, Label, PeerId, Token};
pub use rtc::{IceServer, IceTransportPolicy, RtcConfig, Stack, UdpPorts};
pub use value::{MAX_VALUES, Number, Object, Value};
