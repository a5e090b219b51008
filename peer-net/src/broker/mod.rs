//! A PeerServer-compatible broker, and the client of one.

mod absent;
mod address;
mod client;
mod http;
mod hub;
mod message;
mod options;
mod outbox;
mod realm;
mod server;
mod session;
mod tls;

pub use address::{AddressError, BrokerAddress};
pub use client::*;
pub use message::{ClientMessage, MessageError, MessageType};
pub use options::*;
pub use realm::{Action, Realm, RealmStats, SessionId};
pub use server::{BindError, Broker};
pub use tls::TlsError;
