//! Sockets over smoltcp's TCP: the broker's.

mod backoff;
mod broker_socket;
mod config;
mod error;
mod stream;

pub use broker_socket::{BrokerSocket, BrokerSocketStats};
pub use config::{BrokerSocketConfig, Timing};
pub use error::SocketError;

use crate::time::Instant;

/// The time as smoltcp wants it.
pub fn timestamp(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// The earlier of two times, where `None` is never.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}
