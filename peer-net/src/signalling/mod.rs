//! The client's side of a broker: where it is, its HTTP calls, its WebSocket, and one of them at a
//! time for a driver.

mod address;
mod backoff;
mod client;
mod error;
mod reconnecting;
mod sniffed;
mod socket;

pub use address::{AddressError, BrokerAddress};
pub use client::*;
pub use error::BrokerError;
pub use socket::*;

pub use crate::tls::TlsError;

pub(crate) use backoff::Backoff;
pub(crate) use error::Cause;
pub(crate) use reconnecting::{BrokerEvent, BrokerSocket};
