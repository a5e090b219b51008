//! Why a call to a broker failed.

use std::io;

use peer_core::peer::PeerError;

use super::address::AddressError;
use crate::tls::TlsError;

/// What another library says, in whatever version of it.
pub(crate) type Cause = Box<dyn core::error::Error + Send + Sync>;

/// Why a call to a broker failed: the stage, and in `source()` the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The address is not one.
    #[error("the broker's address cannot be used")]
    Address(#[from] AddressError),
    /// DNS.
    #[error("the broker's name {host} could not be resolved")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// TCP. Every address of the name was tried; the last error is the source.
    #[error("no TCP connection to the broker at {authority}; is it running, and the port right?")]
    Connect {
        /// Host and port.
        authority: String,
        /// Why the last address failed.
        source: io::Error,
    },
    /// TLS could not be set up on this side.
    #[error("TLS could not be set up")]
    Tls(#[from] TlsError),
    /// The broker's certificate is not trusted.
    #[error(
        "the certificate of the broker {host} is not trusted; if it is the broker's own, or that \
         of a private authority, name the file that holds it as a trusted one"
    )]
    Untrusted {
        /// The name it was checked against.
        host: String,
        /// What rustls says.
        source: io::Error,
    },
    /// TLS was spoken to a port that does not speak it.
    #[error("{authority} does not speak TLS; use ws:// or http:// for it, or another port")]
    NotTls {
        /// Host and port.
        authority: String,
    },
    /// No TLS was spoken to a port that wants it.
    #[error("{authority} speaks TLS only; use wss:// or https:// for it, or another port")]
    OnlyTls {
        /// Host and port.
        authority: String,
    },
    /// The TLS handshake.
    #[error("the TLS handshake with the broker {host} failed")]
    Handshake {
        /// The name its certificate was checked against.
        host: String,
        /// What rustls says.
        source: io::Error,
    },
    /// This machine has lost the address from which the broker was spoken to.
    #[error("this machine has no longer the address from which it spoke to the broker")]
    Moved,
    /// HTTP.
    #[error("the HTTP exchange with the broker failed")]
    Http(#[source] hyper::Error),
    /// The broker answered with another status than expected.
    #[error("the broker answered {call} with status {status}: {body}")]
    Status {
        /// What was asked.
        call: &'static str,
        /// The status code.
        status: u16,
        /// The beginning of the answer.
        body: String,
    },
    /// The broker sent the caller elsewhere.
    #[error(
        "the broker answered {call} with a redirect to {location:?}, which is not followed; use \
         that address itself"
    )]
    Redirect {
        /// What was asked.
        call: &'static str,
        /// Where to.
        location: String,
    },
    /// The broker does not list its peers.
    #[error(
        "the broker does not list its peers: discovery is off there (start it with \
         --allow_discovery)"
    )]
    DiscoveryOff,
    /// The answer is not what the call returns.
    #[error("the broker's answer to {call} is not {expected}; is this a PeerServer?")]
    Answer {
        /// What was asked.
        call: &'static str,
        /// What should have come.
        expected: &'static str,
    },
    /// The WebSocket upgrade, or the WebSocket later.
    #[error("the WebSocket to the broker failed")]
    WebSocket(#[source] Cause),
    /// A deadline passed.
    #[error("the broker took too long: {stage}")]
    TimedOut {
        /// What was being waited for.
        stage: &'static str,
    },
    /// This machine gave no random bytes.
    #[error("the operating system's random number generator failed")]
    Random,
}

impl BrokerError {
    /// The PeerJS error kind nearest to this. PeerJS itself reports any failure of
    /// [`BrokerClient::retrieve_id`](super::BrokerClient::retrieve_id) as `server-error`.
    pub fn kind(&self) -> PeerError {
        match self {
            Self::Tls(_)
            | Self::Handshake { .. }
            | Self::Untrusted { .. }
            | Self::NotTls { .. }
            | Self::OnlyTls { .. } => PeerError::SslUnavailable,
            Self::Status { .. }
            | Self::Redirect { .. }
            | Self::DiscoveryOff
            | Self::Answer { .. } => PeerError::ServerError,
            Self::Address(_)
            | Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Http(_)
            | Self::WebSocket(_)
            | Self::TimedOut { .. }
            | Self::Moved
            | Self::Random => PeerError::Network,
        }
    }
}
