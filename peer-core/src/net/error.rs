use core::fmt;

use crate::wire::{
    http::{RequestError, ResponseError},
    websocket::FrameError,
};

/// Why a connection could not be opened, or was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SocketError {
    /// There is no way to the address: the interface has no address of its family, or it is none to
    /// connect to.
    Unaddressable,
    /// Nothing answered the TCP connect in time.
    ConnectTimeout,
    /// The other side refused the TCP connect: nothing listens there.
    Refused,
    /// The request could not be written: the configuration is wrong, or the TCP send buffer too
    /// small for it.
    Request(RequestError),
    /// The HTTP answer did not come in time.
    ResponseTimeout,
    /// The HTTP answer cannot be understood.
    Response(ResponseError),
    /// The HTTP answer is larger than the TCP receive buffer.
    ResponseTooLarge,
    /// The HTTP answer has this status, neither 200 for an id nor 101 for a WebSocket.
    Status(u16),
    /// The server did not switch to WebSocket as RFC 6455 wants it: something between does not pass
    /// it through.
    Upgrade,
    /// The id is not UTF-8.
    Id,
    /// The server broke the WebSocket framing, or sent a message larger than the memory for one.
    Frame(FrameError),
    /// The server closed the WebSocket, with this code if it gave one.
    Closed(Option<u16>),
    /// The TCP connection ended without a word.
    Lost,
    /// Nothing that was sent was acknowledged in time.
    Stalled,
    /// A signal is longer than the TCP send buffer.
    Overflow,
}

impl SocketError {
    /// Whether there was no TCP connection.
    pub(super) const fn is_unconnected(self) -> bool {
        matches!(
            self,
            Self::Unaddressable | Self::ConnectTimeout | Self::Refused
        )
    }

    /// Whether the network is to blame, so that the same may work a little later.
    pub(super) const fn is_transport(self) -> bool {
        matches!(
            self,
            Self::Unaddressable
                | Self::ConnectTimeout
                | Self::Refused
                | Self::ResponseTimeout
                | Self::Response(ResponseError::Incomplete)
                | Self::Lost
                | Self::Stalled
        )
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unaddressable => {
                "there is no way to the address; give the interface an address of its family"
            }
            Self::ConnectTimeout => "nothing answered the TCP connect in time",
            Self::Refused => "the TCP connect was refused; nothing listens at the address and port",
            Self::Request(error) => return error.fmt(f),
            Self::ResponseTimeout => "the broker did not answer the HTTP request in time",
            Self::Response(error) => return error.fmt(f),
            Self::ResponseTooLarge => {
                "the broker's HTTP answer is larger than the TCP receive buffer"
            }
            Self::Status(status) => {
                return write!(f, "the broker answered with HTTP status {status}");
            }
            Self::Upgrade => {
                "the broker did not switch to WebSocket; a proxy between may not pass it through"
            }
            Self::Id => "the broker answered with an id that is not text",
            Self::Frame(error) => return error.fmt(f),
            Self::Closed(Some(code)) => {
                return write!(f, "the broker closed the WebSocket with code {code}");
            }
            Self::Closed(None) => "the broker closed the WebSocket without a code",
            Self::Lost => "the TCP connection ended without a word",
            Self::Stalled => "nothing that was sent was acknowledged in time",
            Self::Overflow => "a signal is longer than the TCP send buffer; make that larger",
        })
    }
}

impl core::error::Error for SocketError {}
