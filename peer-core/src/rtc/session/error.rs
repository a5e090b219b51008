//! Why something failed, and at which stage.

use core::fmt;

use crate::rtc::dtls::DtlsError;
use crate::rtc::ice::{self, CredentialsError, ServersKnown};
use crate::rtc::sctp::{self, Violation};
use crate::wire::dcep::DcepError;

/// Why a session failed. The variant is the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Failure {
    /// There is no path, or none any more.
    Ice(ice::Failure),
    /// The remote did not prove that it is who its description says, or DTLS was broken off.
    Dtls(DtlsError),
    /// The remote broke a rule of SCTP. It was told so.
    Sctp(Violation),
    /// The remote answers checks, and did not answer SCTP.
    Unreachable,
    /// The remote began its SCTP association anew: what was under way is lost.
    Restarted,
    /// The message by which the remote opens its channel cannot be read, or is too long.
    Channel(DcepError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ice(failure) => failure.fmt(f),
            Self::Dtls(error) => error.fmt(f),
            Self::Sctp(violation) => write!(
                f,
                "the remote broke a rule of SCTP ({violation:?}); the connection was ended"
            ),
            Self::Unreachable => {
                f.write_str("the remote answers ICE's checks, and does not answer SCTP")
            }
            Self::Restarted => f.write_str(
                "the remote began its SCTP association anew; what was under way is lost",
            ),
            Self::Channel(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Failure {}

/// Why a remote's description cannot be used. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RemoteError {
    /// Ufrag or password.
    Credentials(CredentialsError),
    /// Both ends want the same DTLS role, or an answer left the choice open.
    Setup,
    /// DTLS role or fingerprint are others than before. That would be another connection.
    Changed,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials(error) => error.fmt(f),
            Self::Setup => f.write_str(
                "the far side's a=setup does not go with ours: one has to be DTLS client, the \
                 other server",
            ),
            Self::Changed => f.write_str(
                "the far side's new description has another fingerprint or DTLS role; only ICE can \
                 begin anew",
            ),
        }
    }
}

impl core::error::Error for RemoteError {}

/// Why servers cannot be told. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ServersError {
    /// There are some already.
    Known(ServersKnown),
    /// There is a TURN server among them, and DTLS has begun with packets that are too long to go
    /// through one: [`Config::may_relay`](super::Config::may_relay) was to be set.
    TooLateToRelay,
}

impl From<ServersKnown> for ServersError {
    fn from(error: ServersKnown) -> Self {
        Self::Known(error)
    }
}

impl fmt::Display for ServersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(error) => error.fmt(f),
            Self::TooLateToRelay => f.write_str(
                "a TURN server was told after DTLS had begun: set may_relay in the session's \
                 configuration",
            ),
        }
    }
}

impl core::error::Error for ServersError {}

/// Why no channel can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpenError {
    /// The label has more than [`LABEL_MAX`](super::LABEL_MAX) bytes.
    LabelTooLong,
    /// There is or was a channel.
    NotFirst,
    /// The session is over.
    Over,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LabelTooLong => "the label is longer than this build allows (LABEL_MAX)",
            Self::NotFirst => "the session has its channel already",
            Self::Over => "the session is over",
        })
    }
}

impl core::error::Error for OpenError {}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SendError {
    /// The channel is not open yet.
    NotOpen,
    /// The channel is closed.
    Closed,
    /// There is no room now. Transmit, and try again when something was acknowledged.
    Full,
    /// The pieces do not make up messages, or the message is too long.
    Sctp(sctp::SendError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("the data channel is not open yet"),
            Self::Closed => f.write_str("the data channel is closed"),
            Self::Full => f.write_str("there is no room for more data until some is acknowledged"),
            Self::Sctp(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SendError {}
