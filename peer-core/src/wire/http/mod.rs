//! The two HTTP requests of a broker's client, for an id and for the WebSocket upgrade (HTTP/1.1,
//! RFC 9112), and their responses.
//!
//! Performs no I/O: writes requests into a slice, parses responses from the bytes that have come so
//! far.
//!
//! ```
//! use peer_core::wire::http::{BrokerAddress, ResponseHead};
//! let broker = BrokerAddress { host: "192.0.2.1", port: 9000, path: "/", key: "peerjs" };
//! let mut buffer = [0; 512];
//! let request = broker.write_id_request(17_954_391_238_270, &mut buffer)?;
//! assert!(request.starts_with("GET /peerjs/id?ts=17954391238270&version=1.5.5 HTTP/1.1\r\n"));
//!
//! let mut response = *b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nalice";
//! let head = ResponseHead::parse(&response)?.unwrap();
//! let (status, body_start, framing) = (head.status, head.len, head.body);
//! assert_eq!(status, 200);
//! let body = framing.read(&mut response[body_start..], false)?;
//! assert_eq!(body.as_deref(), Some(&b"alice"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod request;
mod response;
#[cfg(test)]
mod tests;

use core::fmt;

pub use request::{BrokerAddress, accept_key};
pub use response::{Body, RESPONSE_HEAD_MAX, ResponseHead};

/// The PeerJS version that a client names in its requests.
pub const PEERJS_VERSION: &str = "1.5.5";

/// Why a request could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RequestError {
    /// The request does not fit the buffer. A larger buffer may hold it.
    BufferTooSmall,
    /// The host is empty, the host or path contains white space or characters outside ASCII, or the
    /// path contains `?` or `#`.
    Invalid,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BufferTooSmall => "the HTTP request does not fit the buffer",
            Self::Invalid => "the broker's host or path cannot stand in a URL",
        })
    }
}

impl core::error::Error for RequestError {}

/// Why a response could not be read. The server or a proxy is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ResponseError {
    /// The response is not HTTP/1.x.
    NotHttp,
    /// A header line is malformed.
    Header,
    /// The response has two different lengths, or one that is not a number.
    ContentLength,
    /// The transfer encoding is not `chunked`, or the chunks are malformed.
    TransferEncoding,
    /// The head is longer than [`RESPONSE_HEAD_MAX`].
    TooLarge,
    /// The connection closed before the body was whole.
    Incomplete,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHttp => "the broker's answer is not HTTP",
            Self::Header => "the broker's answer has a malformed header",
            Self::ContentLength => "the broker's answer has a malformed length",
            Self::TransferEncoding => "the broker's answer has an encoding that cannot be read",
            Self::TooLarge => "the broker's answer has a head that is too long",
            Self::Incomplete => "the broker closed the connection within its answer",
        })
    }
}

impl core::error::Error for ResponseError {}
