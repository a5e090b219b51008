//! Signals: the messages that PeerServer and PeerJS exchange over the WebSocket.
//!
//! [`Signal::parse`] is as lenient as PeerJS's `Peer._handleMessage`: keys may come in any order,
//! unknown keys are skipped, fields that PeerJS does not need may be missing, and a field of a
//! wrong type counts as missing. The writers write, byte for byte, what PeerJS 1.5.5 writes.
//!
//! Ids are `&str` as they came. Check them with [`PeerId::from_wire`](crate::PeerId::from_wire),
//! [`ConnectionId::from_wire`](crate::ConnectionId::from_wire) and so on.

mod parse;
mod write;

#[cfg(test)]
mod tests;

use core::fmt;

use super::json::DecodeError;

pub(crate) use parse::peek;
pub use write::{HEARTBEAT, write_answer, write_candidate, write_offer};

/// A message from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal<'a> {
    /// OPEN: the broker registered the id.
    Open,
    /// ERROR; the broker then closes the socket.
    Error {
        /// The broker's text, empty if there is none.
        msg: &'a str,
    },
    /// ID-TAKEN; the broker then closes the socket.
    IdTaken {
        /// The broker's text, empty if there is none.
        msg: &'a str,
    },
    /// INVALID-KEY. PeerServer 1.0.2 sends ERROR instead.
    InvalidKey {
        /// The broker's text, empty if there is none.
        msg: &'a str,
    },
    /// LEAVE: this peer's socket at the broker closed.
    Leave {
        /// The peer that left.
        src: &'a str,
    },
    /// EXPIRE: what was sent to this peer was not delivered in time.
    Expire {
        /// The peer that was not connected to the broker.
        src: &'a str,
    },
    /// OFFER of a data connection.
    Offer {
        /// The peer that calls.
        src: &'a str,
        /// What it offers.
        offer: Offer<'a>,
    },
    /// ANSWER.
    Answer {
        /// The peer that answers.
        src: &'a str,
        /// Its answer.
        answer: Answer<'a>,
    },
    /// CANDIDATE.
    Candidate {
        /// The peer that gathered it.
        src: &'a str,
        /// The connection it is for.
        connection_id: &'a str,
        /// The candidate. `None` for an empty one, which WebRTC ignores.
        candidate: Option<IceCandidateInit<'a>>,
    },
    /// An OFFER, ANSWER or CANDIDATE of a media call. Ignore it: media is not supported.
    Media {
        /// The peer that calls.
        src: &'a str,
        /// The call's id, if it has one.
        connection_id: Option<&'a str>,
    },
    /// HEARTBEAT, which is only sent to a broker.
    Heartbeat,
}

/// What [`peek`] reads of a broker's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peek<'a> {
    /// `type`: `OPEN`, `OFFER` and so on, or a type that is not known here.
    pub(crate) kind: &'a str,
    /// `src`: the peer that it is from.
    pub(crate) src: Option<&'a str>,
    /// `payload.connectionId`: the connection that it is for.
    pub(crate) connection_id: Option<&'a str>,
    /// `payload.label`, unless it has escapes.
    pub(crate) label: Option<&'a str>,
    /// `payload.metadata`, as the JSON text it is.
    pub(crate) metadata: Option<&'a str>,
}

/// The content of a data connection's OFFER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The session description.
    pub sdp: &'a str,
    /// The connection's id. Without one PeerJS invents one and answers with it.
    pub connection_id: Option<&'a str>,
    /// The caller's metadata, as JSON text.
    pub metadata: Option<&'a str>,
    /// The data channel's label. PeerJS: the connection's id unless the caller chose one.
    pub label: Option<&'a str>,
    /// PeerJS's `reliable`: whether JavaScript takes its value as true.
    pub reliable: bool,
    /// The serialization: `binary`, `binary-utf8`, `json`, `raw`, or another name.
    pub serialization: Option<&'a str>,
}

/// The content of an ANSWER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The session description.
    pub sdp: &'a str,
    /// The connection it answers.
    pub connection_id: &'a str,
}

/// An ICE candidate as it is signalled: WebRTC's `RTCIceCandidateInit`. Its text is a
/// [`Candidate`](super::candidate::Candidate).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IceCandidateInit<'a> {
    /// The candidate line, `candidate:…`.
    pub candidate: &'a str,
    /// The media section's id; `"0"` for a data connection.
    pub sdp_mid: Option<&'a str>,
    /// The media section's number; 0 for a data connection.
    pub sdp_m_line_index: Option<u16>,
    /// The ICE user name fragment it belongs to.
    pub username_fragment: Option<&'a str>,
}

impl<'a> IceCandidateInit<'a> {
    /// Makes a candidate of the first media section. A data connection has only one.
    #[must_use]
    pub const fn new(candidate: &'a str) -> Self {
        Self {
            candidate,
            sdp_mid: Some("0"),
            sdp_m_line_index: Some(0),
            username_fragment: None,
        }
    }
}

/// Why a message could not be read. The sender is to blame. Ignore the message, as PeerJS does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SignalError {
    /// The message is not JSON, or not an object.
    Json(DecodeError),
    /// `type` is missing or unknown.
    Type,
    /// `src` is missing in a message that needs it.
    Source,
    /// An OFFER's `payload.type` is neither `data` nor `media`.
    ConnectionType,
    /// `connectionId` is missing in an ANSWER or CANDIDATE.
    ConnectionId,
    /// The session description is missing in an OFFER or ANSWER, or is of another type.
    Sdp,
    /// The candidate of a CANDIDATE is neither an object, nor `null`, nor an empty string.
    Candidate,
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json(_) => "the broker's message cannot be read",
            Self::Type => "the broker's message has no known type",
            Self::Source => "the broker's message does not say who sent it",
            Self::ConnectionType => "the remote peer's OFFER is for neither data nor media",
            Self::ConnectionId => "the remote peer's ANSWER or CANDIDATE names no connection",
            Self::Sdp => "the remote peer's OFFER or ANSWER has no fitting session description",
            Self::Candidate => "the remote peer's CANDIDATE holds no candidate",
        })
    }
}

impl core::error::Error for SignalError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DecodeError> for SignalError {
    fn from(error: DecodeError) -> Self {
        Self::Json(error)
    }
}
