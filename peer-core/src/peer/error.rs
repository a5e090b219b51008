//! Why a call was refused. One small enum an operation.

use core::fmt;

use super::ConnectFailure;

/// A `connect` or `reconnect` was refused, or the connect of a task came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConnectError {
    /// Every slot is in use; close a connection first.
    TooManyConnections,
    /// The peer is disconnected from its broker (PeerJS: `disconnected`); reconnect first.
    Disconnected,
    /// The peer is not disconnected from its broker, so there is nothing to reconnect.
    NotDisconnected,
    /// The peer is destroyed.
    Destroyed,
    /// The label is empty or longer than `LABEL_MAX`.
    Label,
    /// The metadata does not fit its slot or is not JSON.
    Metadata,
    /// A peer cannot connect to itself: PeerJS's signalling cannot tell the two ends apart.
    OwnId,
    /// The connection ended before it was open. Only where the connect waits for that, in the
    /// module `sync`; otherwise it is [`Event::ConnectionFailed`](super::Event::ConnectionFailed).
    Failed(ConnectFailure),
    /// As many tasks wait for a connect already as there is room for. Only in the module `sync`.
    TooManyTasks,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManyConnections => {
                "every connection slot is in use; close a connection, or read and release a closed one"
            }
            Self::Disconnected => {
                "the peer is disconnected from its broker; reconnect before connecting to others"
            }
            Self::NotDisconnected => {
                "the peer is not disconnected from its broker, so there is nothing to reconnect"
            }
            Self::Destroyed => "the peer is destroyed; make a new one",
            Self::Label => "the label is longer than this build allows (LABEL_MAX)",
            Self::Metadata => "the metadata is too long or is not JSON",
            Self::OwnId => "a peer cannot connect to itself",
            Self::Failed(failure) => return failure.fmt(f),
            Self::TooManyTasks => "too many tasks wait for a connect; give Shared more TASKS",
        })
    }
}

impl core::error::Error for ConnectError {}

/// An input was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InputError {
    /// There is no room: poll outputs until `Timeout`, then feed this input again. Polling always
    /// helps, unless the driver itself has no [`Room`](super::Room); what polling cannot help is
    /// dropped and counted instead.
    Full,
    /// The application has to read from the connection first: unread messages fill its inbox. Of
    /// the fragment these first bytes were taken. Hold the rest, and what comes after it for this
    /// connection, and feed it again when the application has read; it is the `first` of its
    /// message only if nothing was taken.
    InboxFull {
        /// Bytes that were taken.
        taken: usize,
    },
    /// What the broker or the remote sent cannot be read or makes no sense. It was dropped and is
    /// counted in [`Stats`](super::Stats).
    Malformed,
    /// The handle is stale, its connection is over, or nobody asked for this. Counted and ignored.
    Stale,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the engine has no room for the input; poll outputs and feed it again",
            Self::InboxFull { .. } => {
                "unread messages fill the connection's inbox; read some and feed the input again"
            }
            Self::Malformed => {
                "the broker or the remote sent something that makes no sense; it was dropped"
            }
            Self::Stale => "the input is for a connection that is over, or nobody asked for it",
        })
    }
}

impl core::error::Error for InputError {}
