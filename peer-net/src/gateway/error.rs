//! What can be wrong with a gateway.

use core::net::SocketAddr;
use std::io;

use super::options::CONNECTIONS_MAX;
use crate::signalling::BrokerError;

/// A gateway did not start, or did not take new options.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The broker cannot be spoken to with these options.
    #[error("the gateway cannot speak to its broker")]
    Broker(#[source] BrokerError),
    /// The certificates to trust are none.
    #[error("the certificates to trust at the broker cannot be used")]
    Certificates(#[source] BrokerError),
    /// An address cannot be listened on.
    #[error("leaves cannot be listened for on {address}; take a free address of this machine")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A leaf's name is empty or too long.
    #[error("'{0}' cannot be the name of a leaf: it has 1 to 32 bytes")]
    LeafName(String),
    /// A name twice.
    #[error("there are two leaves named '{0}'; each has its own name")]
    TwoLeaves(String),
    /// A limit is zero.
    #[error("the limit `{0}` is zero, which lets nothing through; raise it")]
    Zero(&'static str),
    /// The limit of connections is out of bounds.
    #[error("the connections of a leaf are limited to a number from 1 to {CONNECTIONS_MAX}")]
    Connections,
    /// The limit of bytes is too low.
    #[error(
        "the bytes that a leaf may have buffered are too few for its connections: {least} are the least; raise them or \
         allow fewer connections"
    )]
    Bytes {
        /// The least.
        least: usize,
    },
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers")]
    Random,
}
