//! A PeerServer-compatible broker, and the client of one.

mod absent;
mod address;
mod budget;
mod client;
mod error;
mod http;
mod hub;
mod incoming;
mod message;
mod options;
mod outbox;
mod realm;
mod server;
mod session;
mod socket;
mod tls;

pub use address::{AddressError, BrokerAddress};
pub use client::*;
pub use error::BrokerError;
pub use message::{ClientMessage, MessageError, MessageType};
pub use options::*;
pub use realm::{Action, Realm, RealmStats, SessionId};
pub use server::{BindError, Broker};
pub use socket::*;
pub use tls::TlsError;
