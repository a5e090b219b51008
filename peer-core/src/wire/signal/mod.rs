//! The broker's messages: what PeerServer and PeerJS say over the WebSocket.
//!
//! [`Message::parse`] is as lenient as PeerJS's `Peer._handleMessage`: keys in any order, unknown
//! keys skipped, missing fields that PeerJS can do without left out, fields of a wrong type taken
//! as missing. The writers emit, byte for byte, what PeerJS 1.5.5 does.
//!
//! Ids are `&str` as they came; [`PeerId::from_wire`](crate::PeerId::from_wire) and its siblings
//! check them.

mod parse;
mod write;

#[cfg(test)]
mod tests;

use core::fmt;

use super::json::ReadError;

#[allow(unused_imports, reason = "the engine is to use it")]
pub(crate) use parse::peek;
pub use write::{HEARTBEAT, write_answer, write_candidate, write_offer};

/// One message from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message<'a> {
    /// OPEN: the id is ours.
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
    /// LEAVE: the broker lost this peer.
    Leave {
        /// The peer that left.
        src: &'a str,
    },
    /// EXPIRE: nobody picked up what was sent to this peer.
    Expire {
        /// The peer that was not there.
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
        /// The candidate; `None` for an empty one, which WebRTC ignores.
        candidate: Option<Candidate<'a>>,
    },
    /// An OFFER, ANSWER or CANDIDATE of a media call. A peer without media ignores it.
    Media {
        /// The peer that calls.
        src: &'a str,
        /// The call's id, if it has one.
        connection_id: Option<&'a str>,
    },
    /// HEARTBEAT. Only ever sent *to* a broker.
    Heartbeat,
}

/// What [`peek`] reads of a broker's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the engine is to use it")]
pub(crate) struct Peek<'a> {
    /// `type`: `OPEN`, `OFFER` and so on, or a type that is not known here.
    pub(crate) kind: &'a str,
    /// `src`: the peer that it is from.
    pub(crate) src: Option<&'a str>,
    /// `payload.connectionId`: the connection that it is for.
    pub(crate) connection_id: Option<&'a str>,
}

/// What a data connection's OFFER says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The session description.
    pub sdp: &'a str,
    /// The connection's id. Without one PeerJS invents one and answers with it.
    pub connection_id: Option<&'a str>,
    /// Anything the caller attached, as JSON text.
    pub metadata: Option<&'a str>,
    /// The data channel's label. PeerJS: the connection's id unless the caller chose one.
    pub label: Option<&'a str>,
    /// PeerJS's `reliable`; any value that JavaScript takes as true is.
    pub reliable: bool,
    /// How values travel: `binary`, `binary-utf8`, `json`, `raw`, or another name.
    pub serialization: Option<&'a str>,
}

/// What an ANSWER says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The session description.
    pub sdp: &'a str,
    /// The connection it answers.
    pub connection_id: &'a str,
}

/// An ICE candidate. WebRTC's `RTCIceCandidateInit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The candidate line, `candidate:…`.
    pub candidate: &'a str,
    /// The media section's id; `"0"` for a data connection.
    pub sdp_mid: Option<&'a str>,
    /// The media section's number; 0 for a data connection.
    pub sdp_m_line_index: Option<u16>,
    /// The ICE user name fragment it belongs to.
    pub username_fragment: Option<&'a str>,
}

impl<'a> Candidate<'a> {
    /// A candidate of the first media section, as a data connection has only one.
    pub const fn new(candidate: &'a str) -> Self {
        Self {
            candidate,
            sdp_mid: Some("0"),
            sdp_m_line_index: Some(0),
            username_fragment: None,
        }
    }
}

/// A broker's message makes no sense. All are the sender's fault; PeerJS logs and ignores such
/// messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SignalError {
    /// It is not JSON, or not an object.
    Json(ReadError),
    /// Its `type` is missing or unknown.
    Type,
    /// It should say who sent it, and does not.
    Source,
    /// An OFFER's `payload.type` is neither `data` nor `media`.
    ConnectionType,
    /// An ANSWER or CANDIDATE without `connectionId`.
    ConnectionId,
    /// An OFFER or ANSWER without a session description, or with one of another type.
    Sdp,
    /// A CANDIDATE whose candidate is not one.
    Candidate,
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json(error) => return write!(f, "the broker's message cannot be read: {error}"),
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

impl From<ReadError> for SignalError {
    fn from(error: ReadError) -> Self {
        Self::Json(error)
    }
}
