//! A PeerServer-compatible broker, and the client of one.
//!
//! [`Broker`] is a server beside your own code, or the command `peer broker`; [`BrokerClient`] is
//! what a peer needs of any PeerServer; [`Realm`] is the broker without sockets, for simulations.
//!
//! What clients of npm `peer` 1.0.2 can see is the same here (`tests/broker/compat.mjs` compares
//! the two), except for this:
//!
//! - The same id and token again: OPEN, and the old socket is closed. (npm: no OPEN, it stays
//!   open.)
//! - LEAVE, EXPIRE and other messages of the broker are not accepted from clients. (npm: relays
//!   LEAVE and EXPIRE, and a LEAVE without `dst` frees the sender's id.)
//! - A message that is not JSON is dropped. (npm: the socket is deaf afterwards, and the library
//!   form ends its process.)
//! - Messages for absent peers expire by sender, so nobody's arrival shortens another's wait.
//! - Everything has a limit, see [`BrokerLimits`] and [`RealmLimits`]. (npm: nothing but
//!   `concurrent_limit`, and 100 MiB a message.) The one that an honest site may meet is that of
//!   connections per address, for example behind a proxy that the broker was not told of: status
//!   429.
//! - While seven eighths of `concurrent_limit` are in use, who has most gives way to who has none,
//!   by address or IPv6 network of 48 bits ([`Realm::connect_from`]). (npm: who comes last is
//!   refused.)
//! - No `ETag`, `X-Powered-By`, `Keep-Alive`, nor `Content-Length` with status 204.

mod addresses;
mod http;
mod hub;
mod incoming;
mod memory;
mod options;
mod outbox;
mod server;
mod session;
mod tls;

pub use crate::signalling::{
    AddressError, BrokerAddress, BrokerClient, BrokerError, CONNECT_TIMEOUT, ID_MAX, MESSAGE_MAX,
    PEERJS_VERSION, PEERS_MAX, SEND_TIMEOUT, Socket, SocketReceiver, SocketSender, TlsError,
    UNACKNOWLEDGED_TIMEOUT,
};
pub use options::*;
pub use peer_realm::{
    Action, ClientMessage, MessageError, MessageType, Origin, Realm, RealmLimits, RealmOptions,
    RealmStats, SessionId,
};
pub use server::{BindError, Broker};
