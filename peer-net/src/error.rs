//! Errors, one type an operation. Each is a sentence; `kind()` is PeerJS's word for it.

use core::error::Error as StdError;
use core::fmt;
use std::sync::Arc;

use peer_core::IdError;
use peer_core::config::LABEL_MAX;
use peer_core::peer::{ConnectFailure, ConnectionError, PeerError, RtcFailure};

use crate::signalling::{AddressError, BrokerError};

/// Something that went wrong with a peer or its broker, as `Event::Error` and `opened()` report it.
#[derive(Clone, Debug)]
pub struct PeerFailure {
    error: PeerError,
    detail: Option<Arc<str>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl PeerFailure {
    pub(crate) fn new(error: PeerError) -> Self {
        Self {
            error,
            detail: None,
            source: None,
        }
    }

    pub(crate) fn with_detail(mut self, detail: Option<&str>) -> Self {
        self.detail = detail.filter(|text| !text.is_empty()).map(Arc::from);
        self
    }

    pub(crate) fn with_source(mut self, source: Arc<dyn StdError + Send + Sync>) -> Self {
        self.source = Some(source);
        self
    }

    /// What it was.
    pub fn error(&self) -> PeerError {
        self.error
    }

    /// PeerJS's string, for example `unavailable-id`.
    pub fn kind(&self) -> &'static str {
        self.error.as_str()
    }

    /// The broker's own words, where it said something. What else caused it is the
    /// [`source`](StdError::source).
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

impl fmt::Display for PeerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl StdError for PeerFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.source.as_ref()?;
        Some(source.as_ref())
    }
}

/// The options of a peer cannot be used. Nothing was started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The id is not one PeerJS allows.
    #[error("the id '{id}' cannot be used")]
    Id {
        /// The id.
        id: String,
        /// Why not.
        source: IdError,
    },
    /// The token is empty, too long or has control characters.
    #[error("the token cannot be used")]
    Token(#[source] IdError),
    /// The broker's URL is not one.
    #[error("the broker's address '{url}' cannot be used")]
    Broker {
        /// What was given.
        url: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// The broker cannot be spoken to with these options.
    #[error("the broker's options cannot be used")]
    BrokerOptions(#[source] Arc<BrokerError>),
    /// There is no tokio runtime here.
    #[error("a peer must be built inside a tokio runtime")]
    NoRuntime,
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers")]
    Random,
}

impl BuildError {
    /// PeerJS's string.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Id { .. } => PeerError::InvalidId,
            Self::Token(_) => PeerError::InvalidKey,
            Self::Broker { .. } | Self::BrokerOptions(_) => PeerError::Network,
            Self::Random | Self::NoRuntime => PeerError::Webrtc,
        }
        .as_str()
    }
}

/// `open()` failed: the options were bad, or the broker did not take the peer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The options cannot be used.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The broker did not take the peer, or could not be reached.
    #[error(transparent)]
    Peer(#[from] PeerFailure),
}

impl OpenError {
    /// PeerJS's string, for example `unavailable-id`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Build(error) => error.kind(),
            Self::Peer(failure) => failure.kind(),
        }
    }
}

/// A connection could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The remote id is not one.
    #[error("'{id}' cannot be a peer's id")]
    Id {
        /// The id.
        id: String,
        /// Why not.
        source: IdError,
    },
    /// Every connection this peer may have is in use.
    #[error("the peer has its {limit} connections; close one first or raise max_connections")]
    TooManyConnections {
        /// The limit.
        limit: usize,
    },
    /// The peer left its broker.
    #[error("the peer is disconnected from its broker; call reconnect first")]
    Disconnected,
    /// The peer is destroyed.
    #[error("the peer is destroyed")]
    Destroyed,
    /// The label is too long.
    #[error("the label has more than {LABEL_MAX} bytes (LABEL_MAX)")]
    Label,
    /// The metadata is too long, or is not JSON.
    #[error("the metadata cannot be used: {0}")]
    Metadata(String),
    /// A peer cannot connect to itself.
    #[error("a peer cannot connect to itself")]
    OwnId,
    /// The attempt was made and came to nothing.
    #[error(transparent)]
    Failed(#[from] ConnectionFailure),
}

impl ConnectError {
    /// PeerJS's string.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Id { .. } => PeerError::InvalidId.as_str(),
            Self::Disconnected | Self::Destroyed => PeerError::Disconnected.as_str(),
            Self::TooManyConnections { .. } | Self::Label | Self::Metadata(_) | Self::OwnId => {
                PeerError::Webrtc.as_str()
            }
            Self::Failed(failure) => failure.kind(),
        }
    }
}

/// A connection never opened: how far it got, why it ended, and what the stack below said.
#[derive(Clone, Debug)]
pub struct ConnectionFailure {
    failure: ConnectFailure,
    detail: Option<Arc<str>>,
}

impl ConnectionFailure {
    pub(crate) fn new(failure: ConnectFailure, detail: Option<Arc<str>>) -> Self {
        Self { failure, detail }
    }

    /// The stage and the reason.
    pub fn failure(&self) -> ConnectFailure {
        self.failure
    }

    /// Whose doing it was, as far as that can be told.
    pub fn side(&self) -> Side {
        match self.failure.reason {
            ConnectionError::LocalClosed
            | ConnectionError::Destroyed
            | ConnectionError::GaveWay
            | ConnectionError::Rtc(RtcFailure::Resources) => Side::Local,
            ConnectionError::RemoteClosed
            | ConnectionError::PeerUnavailable
            | ConnectionError::Rtc(RtcFailure::Description) => Side::Remote,
            // Also a silent remote: it may be the broker that is silent, or the path.
            _ => Side::Between,
        }
    }

    /// What the WebRTC stack said, or which limit was exceeded, if there is more to say.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// PeerJS's string.
    pub fn kind(&self) -> &'static str {
        self.failure.reason.as_str()
    }
}

impl fmt::Display for ConnectionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.failure),
            None => self.failure.fmt(f),
        }
    }
}

impl StdError for ConnectionFailure {}

/// A message was not sent. The connection stays as it was.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is not open yet (`try_send` only; `send` waits).
    #[error("the connection is not open yet; wait for opened()")]
    NotOpenYet,
    /// The connection is over, or never opened.
    #[error("the connection is closed: {0}")]
    Closed(CloseReason),
    /// The channel has as much to do as it may have (`try_send` only; `send` waits).
    #[error("the connection is congested; use send, which waits, or try again later")]
    Congested,
    /// The message is too big for the serialization or for the remote.
    #[error("the message has {size} bytes, and {limit} are the most that this connection carries")]
    MessageTooBig {
        /// Bytes of the encoded message.
        size: usize,
        /// The most that can be sent.
        limit: usize,
    },
    /// PeerJS cannot deliver it: a top-level null, or something that encodes as one.
    #[error("PeerJS cannot receive null as a whole message; put it into an object or an array")]
    Null,
    /// The serialization has no way to write it.
    #[error("the value cannot be written in this connection's serialization: {0}")]
    Encode(String),
}

impl SendError {
    /// PeerJS's string.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotOpenYet | Self::Congested => "not-open-yet",
            Self::Closed(_) => "connection-closed",
            Self::MessageTooBig { .. } => "message-too-big",
            Self::Null | Self::Encode(_) => "negotiation-failed",
        }
    }
}

/// One message could not be read. It is gone; the connection goes on, and the next `recv` reads on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The remote sent something that is not in this connection's serialization.
    #[error("the remote peer sent a message that cannot be read: {0}")]
    Malformed(String),
    /// The message is not of the type that was asked for.
    #[error("the message is not of the type that was asked for: {0}")]
    Type(String),
    /// The message nests deeper than is read.
    #[error("the message nests deeper than {limit} ({name})")]
    TooDeep {
        /// The limit.
        limit: usize,
        /// Its name.
        name: &'static str,
    },
    /// The message holds more values than `MAX_VALUES`.
    #[error("the message holds more than {limit} values")]
    TooManyValues {
        /// The limit.
        limit: usize,
    },
}

/// Whose doing something was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Side {
    /// This program, or this machine.
    Local,
    /// The remote peer.
    Remote,
    /// What is between the two, or nobody can tell.
    Between,
}

/// Why a connection is over.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    #[error("this side closed it")]
    Local,
    /// The remote closed it, or said so with a close message.
    #[error("the remote peer closed it")]
    Remote,
    /// The path, or the stack below it on either side, failed.
    #[error("the path to the remote peer was lost: {0}")]
    Lost(Arc<str>),
    /// This side closed it for another remote, since its own held more than its share of the
    /// places.
    #[error(
        "this side closed it: its remote held more than its share of the connections (remote_share)"
    )]
    GaveWay,
    /// It never opened.
    #[error(transparent)]
    NeverOpened(ConnectionFailure),
    /// The peer was destroyed.
    #[error("the peer was destroyed")]
    Destroyed,
}

impl CloseReason {
    /// Whose doing it was.
    pub fn side(&self) -> Side {
        match self {
            Self::Local | Self::GaveWay | Self::Destroyed => Side::Local,
            Self::Remote => Side::Remote,
            Self::Lost(_) => Side::Between,
            Self::NeverOpened(failure) => failure.side(),
        }
    }

    /// One word for it: `local`, `remote`, `lost`, `gave-way`, `never-opened` or `destroyed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Lost(_) => "lost",
            Self::GaveWay => "gave-way",
            Self::NeverOpened(_) => "never-opened",
            Self::Destroyed => "destroyed",
        }
    }
}

impl Side {
    /// `local`, `remote` or `between`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Between => "between",
        }
    }
}

/// `reconnect` was refused.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconnectError {
    /// The peer is destroyed.
    #[error("the peer is destroyed; build a new one")]
    Destroyed,
    /// The peer is not disconnected.
    #[error("the peer is not disconnected from its broker")]
    NotDisconnected,
    /// The broker did not take the peer, or could not be reached.
    #[error(transparent)]
    Peer(#[from] PeerFailure),
}

/// The broker did not give the list of its peers.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the broker did not list its peers")]
pub struct ListError {
    pub(crate) source: Arc<BrokerError>,
}

impl ListError {
    /// PeerJS's string.
    pub fn kind(&self) -> &'static str {
        PeerError::ServerError.as_str()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::broker::BindError;
    #[cfg(feature = "gateway")]
    use crate::gateway::GatewayError;
    use crate::signalling::TlsError;

    const CAUSE: &str = "the cause below";

    fn io() -> io::Error {
        io::Error::other(CAUSE)
    }

    fn tls() -> TlsError {
        TlsError::Unusable(CAUSE.into())
    }

    fn broker() -> Vec<BrokerError> {
        let host = "broker.example".to_owned();
        vec![
            BrokerError::Address(AddressError::Scheme),
            BrokerError::Resolve {
                host: host.clone(),
                source: io(),
            },
            BrokerError::Connect {
                authority: host.clone(),
                source: io(),
            },
            BrokerError::Tls(tls()),
            BrokerError::Untrusted {
                host: host.clone(),
                source: io(),
            },
            BrokerError::Handshake { host, source: io() },
            BrokerError::WebSocket(CAUSE.into()),
        ]
    }

    fn failure(source: BrokerError) -> PeerFailure {
        PeerFailure::new(PeerError::Network).with_source(Arc::new(source))
    }

    /// Every type of this crate whose errors have a source, with each variant that has one.
    fn errors() -> Vec<Box<dyn StdError>> {
        let id = || "a--b".to_owned();
        let build = |error: BuildError| -> [Box<dyn StdError>; 2] {
            [Box::new(error.clone()), Box::new(OpenError::Build(error))]
        };
        let mut errors: Vec<Box<dyn StdError>> = vec![
            Box::new(tls()),
            Box::new(BindError::Listen(io())),
            Box::new(BindError::Tls(tls())),
            Box::new(ConnectError::Id {
                id: id(),
                source: IdError::Invalid,
            }),
            Box::new(peer_realm::ClientMessage::parse("[]").unwrap_err()),
            Box::new(
                peer_core::wire::signal::Signal::parse(&mut b"{".to_vec()).expect_err("no JSON"),
            ),
        ];
        for error in broker() {
            let failed = failure(error);
            errors.push(Box::new(failed.clone()));
            errors.push(Box::new(OpenError::Peer(failed.clone())));
            errors.push(Box::new(ReconnectError::Peer(failed)));
        }
        for error in broker() {
            errors.push(Box::new(ListError {
                source: Arc::new(error),
            }));
        }
        for error in broker() {
            errors.extend(build(BuildError::BrokerOptions(Arc::new(error))));
        }
        #[cfg(feature = "gateway")]
        for error in broker() {
            errors.push(Box::new(GatewayError::Broker(error)));
        }
        #[cfg(feature = "gateway")]
        for error in broker() {
            errors.push(Box::new(GatewayError::Certificates(error)));
        }
        #[cfg(feature = "gateway")]
        errors.push(Box::new(GatewayError::Listen {
            address: ([127, 0, 0, 1], 1).into(),
            source: io(),
        }));
        for error in broker() {
            errors.push(Box::new(error));
        }
        errors.extend(build(BuildError::Token(IdError::Empty)));
        errors.extend(build(BuildError::Id {
            id: id(),
            source: IdError::Invalid,
        }));
        errors.extend(build(BuildError::Broker {
            url: "x".to_owned(),
            source: AddressError::Scheme,
        }));
        errors
    }

    #[test]
    fn no_error_repeats_its_source() {
        for error in errors() {
            let mut above: &dyn StdError = error.as_ref();
            assert!(above.source().is_some(), "{above:?} has a source");
            while let Some(source) = above.source() {
                let (text, said) = (above.to_string(), source.to_string());
                assert!(
                    !text.contains(&said),
                    "{above:?} repeats its source: {text}"
                );
                above = source;
            }
        }
    }
}
