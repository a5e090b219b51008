//! What happened, for the application.

use core::fmt;

use super::{ConnectionHandle, RtcFailure};

/// Something that happened. Small and `Copy`: ids, metadata and data are pulled from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// The broker knows the peer; [`Peer::id`](super::Peer::id) is set. PeerJS: `open`.
    Open,
    /// A remote peer wants a connection. PeerJS: `connection`.
    Connection(ConnectionHandle),
    /// Both sides may send. PeerJS: `open` of the connection.
    ConnectionOpen(ConnectionHandle),
    /// A message came. Read until nothing is left: messages that came before this was polled share
    /// one event, and what is left unread is not told again. PeerJS: `data`.
    Data(ConnectionHandle),
    /// A send that was [`SendError::Full`](crate::connection::SendError::Full) may work now.
    Writable(ConnectionHandle),
    /// The connection is over. The last event of a connection that had opened. Messages that came
    /// before can still be read. PeerJS: `close`.
    ConnectionClosed(ConnectionHandle),
    /// The connection never opened, and never will. Its last event. PeerJS: `error` of the
    /// connection.
    ConnectionFailed(ConnectionHandle, ConnectFailure),
    /// Something went wrong on an open connection. After [`ConnectionError::Rtc`] it ends. PeerJS:
    /// `error` of the connection.
    ConnectionError(ConnectionHandle, ConnectionError),
    /// The broker's socket is gone; connections live on. PeerJS: `disconnected`.
    Disconnected,
    /// The peer is destroyed. Its last event. PeerJS: `close`.
    Closed,
    /// Something went wrong. PeerJS: `error`.
    Error(PeerError),
}

/// Errors of a peer, PeerJS's `PeerErrorType` (`lib/enums.ts`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PeerError {
    /// The machine cannot do WebRTC.
    BrowserIncompatible,
    /// The peer was disconnected from its broker on purpose and cannot start connections.
    Disconnected,
    /// The broker or the local rule refused the id.
    InvalidId,
    /// The broker refused the key.
    InvalidKey,
    /// The connection to the broker was lost or could not be made.
    Network,
    /// Nobody with that id answered the broker.
    PeerUnavailable,
    /// The broker does not speak TLS.
    SslUnavailable,
    /// The broker could not be asked for an id, or sent an error.
    ServerError,
    /// The broker's socket failed.
    SocketError,
    /// The broker's socket closed unexpectedly.
    SocketClosed,
    /// The id is taken.
    UnavailableId,
    /// The WebRTC stack failed.
    Webrtc,
}

impl PeerError {
    /// PeerJS's string, for example `peer-unavailable`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BrowserIncompatible => "browser-incompatible",
            Self::Disconnected => "disconnected",
            Self::InvalidId => "invalid-id",
            Self::InvalidKey => "invalid-key",
            Self::Network => "network",
            Self::PeerUnavailable => "peer-unavailable",
            Self::SslUnavailable => "ssl-unavailable",
            Self::ServerError => "server-error",
            Self::SocketError => "socket-error",
            Self::SocketClosed => "socket-closed",
            Self::UnavailableId => "unavailable-id",
            Self::Webrtc => "webrtc",
        }
    }
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BrowserIncompatible => "this machine cannot do WebRTC",
            Self::Disconnected => {
                "the peer is disconnected from its broker; reconnect before connecting to others"
            }
            Self::InvalidId => "the id is not one PeerJS allows",
            Self::InvalidKey => "the broker refused the key",
            Self::Network => "the connection to the broker was lost or could not be made",
            Self::PeerUnavailable => "no peer with that id is at the broker",
            Self::SslUnavailable => "the broker does not offer TLS",
            Self::ServerError => "the broker could not be reached, or reported an error",
            Self::SocketError => "the socket to the broker failed",
            Self::SocketClosed => "the socket to the broker closed unexpectedly",
            Self::UnavailableId => "the id is taken by another peer",
            Self::Webrtc => "WebRTC failed",
        })
    }
}

impl core::error::Error for PeerError {}

/// What went wrong with a connection. [`Event::ConnectionError`] tells `Rtc` and `MessageTooBig`,
/// [`Event::ConnectionFailed`] all but `MessageTooBig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConnectionError {
    /// The WebRTC session failed. Of a connect that failed the stage tells how far it got.
    Rtc(RtcFailure),
    /// The remote sent a message that is too big for this side. It was dropped.
    MessageTooBig,
    /// The broker says that nobody picked the offer up (EXPIRE).
    PeerUnavailable,
    /// The deadline passed.
    TimedOut,
    /// The remote left or ended the attempt.
    RemoteClosed,
    /// The local application closed it.
    LocalClosed,
    /// The peer was destroyed.
    Destroyed,
    /// The broker is gone, so the offer cannot be sent.
    BrokerLost,
    /// It was not open yet and gave its place to another remote, since the table was full.
    GaveWay,
}

impl ConnectionError {
    /// PeerJS's string, of `BaseConnectionErrorType`, `DataConnectionErrorType` or `PeerErrorType`
    /// (`lib/enums.ts`): for example `negotiation-failed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rtc(_) | Self::TimedOut | Self::GaveWay => "negotiation-failed",
            Self::MessageTooBig => "message-too-big",
            Self::PeerUnavailable => "peer-unavailable",
            Self::RemoteClosed | Self::LocalClosed | Self::Destroyed => "connection-closed",
            Self::BrokerLost => "network",
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rtc(RtcFailure::Description) => "the remote peer's description cannot be used",
            Self::Rtc(RtcFailure::Ice) => {
                "no network path to the remote peer works; a TURN server may be needed"
            }
            Self::Rtc(RtcFailure::Dtls) => "the encryption handshake failed",
            Self::Rtc(RtcFailure::Sctp | RtcFailure::Channel) => "the data channel failed",
            Self::Rtc(RtcFailure::Gateway) => "the link to the gateway was lost",
            Self::Rtc(RtcFailure::Resources) => {
                "this machine lacks sockets or memory for one more connection"
            }
            Self::MessageTooBig => "the remote peer sent a message that is too big for this side",
            Self::PeerUnavailable => "no peer with that id is at the broker",
            Self::TimedOut => "it took too long",
            Self::RemoteClosed => "the remote peer ended the attempt",
            Self::LocalClosed => "it was closed before it opened",
            Self::Destroyed => "the peer was destroyed",
            Self::BrokerLost => "the broker is gone, so the offer cannot be sent",
            Self::GaveWay => "every connection slot was in use, and another remote came first",
        })
    }
}

impl core::error::Error for ConnectionError {}

/// How far a connect got. In the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stage {
    /// The offer is not made or not sent yet: the broker, or the local stack.
    Offer,
    /// The offer is at the broker; the remote has not answered.
    Answer,
    /// Descriptions are exchanged; candidate pairs are being checked.
    Ice,
    /// A pair works; DTLS shakes hands.
    Dtls,
    /// SCTP and the data channel are being set up.
    Sctp,
}

/// Why a connect came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConnectFailure {
    /// How far it got.
    pub stage: Stage,
    /// What ended it there.
    pub reason: ConnectionError,
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.reason, self.stage) {
            (ConnectionError::TimedOut, Stage::Offer) => {
                "the broker did not take the offer in time"
            }
            (ConnectionError::TimedOut, Stage::Answer) => {
                "no answer came in time: the remote peer, or the broker between, is silent"
            }
            (ConnectionError::TimedOut, Stage::Ice) => {
                "no network path was found in time; a TURN server may be needed"
            }
            (ConnectionError::TimedOut, Stage::Dtls) => "the encryption handshake took too long",
            (ConnectionError::TimedOut, Stage::Sctp) => "the data channel did not open in time",
            (reason, _) => return reason.fmt(f),
        })
    }
}

impl core::error::Error for ConnectFailure {}
