//! One allocation on a TURN server (RFC 8656), over UDP or a stream, for an IPv4 or IPv6 address.
//!
//! A [`Turn`] performs no I/O and is told the time: [`receive`](Turn::receive) what the server
//! sent, [`transmit`](Turn::transmit) until `None`, wait for [`timeout`](Turn::timeout).
//! [`permit`](Turn::permit) lets a peer's address in, [`bind`](Turn::bind) gives it a channel,
//! [`frame`](Turn::frame) wraps what is sent to it. An [`Agent`](super::Agent) does all of this for
//! the servers that it is given.
//!
//! | what | limit | at the limit |
//! |---|---|---|
//! | peers with a permission | [`PEERS_MAX`] | one that was refused, else one without a channel, else one with gives way, of these one whose pair has failed, else the one used longest ago; with requests under way for all of them the new one is left out |
//! | user name | what the longest request in a datagram of 1,200 bytes leaves: 512 bytes fit always | [`TurnError::TooLong`] |
//! | realm, nonce | [`REALM_MAX`], [`NONCE_MAX`] bytes | [`TurnError::TooLong`] |
//! | 401 and 438 to one request | 2 | [`TurnError::Credentials`] or [`TurnError::StaleNonce`] |
//! | a request over UDP | 5 times in 9.5 s | [`TurnError::NoAnswer`], of what is repeated anyway: again after 5 s |
//! | a request over a stream | once, 9.5 s | as above |
//!
//! Requests are made one after the other; permissions of many peers are asked for at once.
//! An answer that has to have a MESSAGE-INTEGRITY, and has none or a wrong one, is dropped.
//! Passwords of a shared secret (REST) are the caller's to compute; they are used as any.
//!
//! Not supported: TCP between relay and peer (RFC 6062), even ports and reservations, mobility,
//! SHA-256 for long-term credentials, going to the alternate server of an error 300.

mod client;
mod frame;
mod peers;

use core::fmt;
use core::net::SocketAddr;

use crate::time::Duration;

pub use client::{Incoming, Login, NONCE_MAX, REALM_MAX, Transport, Turn};
pub use frame::{NotTurn, message_len};
pub use peers::PEERS_MAX;

/// Bytes of room that [`Turn::frame`] needs before the data.
pub const HEADROOM: usize = 48;
/// Bytes of room that [`Turn::frame`] needs after the data.
pub const TAILROOM: usize = 3;

/// Until what a server did not answer, or refused once, is asked for again.
const AGAIN: Duration = Duration::from_secs(5);

/// Why there is no relayed address, or none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TurnError {
    /// The server did not answer.
    NoAnswer,
    /// 300: another server is to be asked, perhaps this one.
    TryAlternate(Option<SocketAddr>),
    /// 401: user name or password is wrong.
    Credentials,
    /// 403: the server does not serve us, or this peer.
    Forbidden,
    /// 437: the server knows no allocation of ours, or another one.
    AllocationMismatch,
    /// 438: the nonce it has just given is stale already.
    StaleNonce,
    /// 440: it has no address of this family.
    AddressFamily,
    /// 441: the allocation was made with other credentials.
    WrongCredentials,
    /// 442: it does not relay UDP.
    UnsupportedTransport,
    /// 486: this user has too many allocations.
    Quota,
    /// 508: the server has no room.
    InsufficientCapacity,
    /// Another error, by its code; 0 without one.
    Refused(u16),
    /// Its answer lacks the address or the realm.
    BadAnswer,
    /// Realm, nonce, user name or password are too long.
    TooLong,
    /// The stream to the server has ended.
    StreamClosed,
}

impl TurnError {
    /// The meaning of an error code.
    const fn of(code: u16, alternate: Option<SocketAddr>) -> Self {
        match code {
            300 => Self::TryAlternate(alternate),
            401 => Self::Credentials,
            403 => Self::Forbidden,
            437 => Self::AllocationMismatch,
            438 => Self::StaleNonce,
            440 => Self::AddressFamily,
            441 => Self::WrongCredentials,
            442 => Self::UnsupportedTransport,
            486 => Self::Quota,
            508 => Self::InsufficientCapacity,
            code => Self::Refused(code),
        }
    }
}

impl fmt::Display for TurnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAnswer => "no answer: the server's address is wrong, or the way to it blocked",
            Self::TryAlternate(Some(address)) => {
                return write!(f, "the TURN server wants {address} to be asked (300)");
            }
            Self::TryAlternate(None) => "the TURN server wants another one to be asked (300)",
            Self::Credentials => "the TURN server refused user name or password (401)",
            Self::Forbidden => "the TURN server forbids it (403)",
            Self::AllocationMismatch => "the TURN server does not know our allocation (437)",
            Self::StaleNonce => "the TURN server refused the nonce that it gave (438)",
            Self::AddressFamily => "the TURN server has no address of this family (440)",
            Self::WrongCredentials => "the allocation has other TURN credentials (441)",
            Self::UnsupportedTransport => "the TURN server does not relay UDP (442)",
            Self::Quota => "this TURN user has too many allocations (486)",
            Self::InsufficientCapacity => "the TURN server has no room (508)",
            Self::Refused(code) => return write!(f, "the TURN server refused with error {code}"),
            Self::BadAnswer => "the TURN server's answer lacks an address or a realm",
            Self::TooLong => "TURN realm, nonce, user name or password are too long",
            Self::StreamClosed => "the stream to the TURN server has ended",
        })
    }
}

impl core::error::Error for TurnError {}
