//! Candidates: what an address is worth, and its line.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::policy::{self, Unusable};
pub use crate::wire::candidate::CandidateKind;
use crate::wire::candidate::{self, Address, CandidateError, Transport};

/// The component of a data channel, the only one.
const COMPONENT: u16 = 1;
/// What a candidate is worth after the first change of address: above every host candidate, whose
/// type preference is 126 (RFC 8445 §5.1.2.1), so that a remote prefers what is newest.
pub(super) const MOVED: u32 = 0x7f00_0000;

/// An address at which an end can perhaps be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// How it was learnt.
    pub kind: CandidateKind,
    /// Where to send to.
    pub address: SocketAddr,
    /// What its end thinks it is worth; higher is preferred.
    pub priority: u32,
    /// The same for candidates of the same kind, base and server; a hash of what a line says.
    pub foundation: u32,
    /// The base of a reflexive candidate, or what a TURN server saw of a relayed one.
    pub related: Option<SocketAddr>,
}

impl Candidate {
    /// Reads a remote's `candidate:` line.
    ///
    /// # Errors
    /// [`Refused`], which says why the candidate cannot be used.
    pub fn parse(line: &str, include_loopback: bool) -> Result<Self, Refused> {
        Self::usable(&candidate::parse(line)?, include_loopback)
    }

    pub(super) fn usable(
        read: &candidate::Candidate<'_>,
        include_loopback: bool,
    ) -> Result<Self, Refused> {
        if read.transport == Transport::Tcp {
            return Err(Refused::Tcp);
        }
        if read.component != COMPONENT {
            return Err(Refused::Component);
        }
        let Address::Ip(ip) = read.address else {
            return Err(Refused::Mdns);
        };
        let address = SocketAddr::new(ip, read.port);
        policy::check(address, include_loopback)?;
        let related = match read.related {
            Some((Address::Ip(ip), port)) => Some(SocketAddr::new(ip, port)),
            _ => None,
        };
        Ok(Self {
            kind: read.kind,
            address,
            priority: read.priority,
            foundation: hash(&[read.foundation.as_bytes()]),
            related,
        })
    }

    /// Returns the line, from `candidate:` on, as in `RTCIceCandidate.candidate`.
    pub const fn line<'a>(&'a self, ufrag: &'a str) -> Line<'a> {
        Line {
            candidate: self,
            ufrag,
        }
    }
}

/// A candidate's line; see [`Candidate::line`].
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    candidate: &'a Candidate,
    ufrag: &'a str,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Candidate {
            kind,
            address,
            priority,
            foundation,
            related,
        } = self.candidate;
        let (ip, port, kind) = (address.ip(), address.port(), kind.as_str());
        write!(
            f,
            "candidate:{foundation} {COMPONENT} udp {priority} {ip} {port} typ {kind}"
        )?;
        if let Some(related) = related {
            write!(f, " raddr {} rport {}", related.ip(), related.port())?;
        }
        write!(f, " generation 0 ufrag {}", self.ufrag)
    }
}

/// Why a candidate of the remote is not used. The rest of its candidates are not touched by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refused {
    /// The line cannot be read.
    Line(CandidateError),
    /// The address is a `.local` name. The remote's own checks show where it is.
    Mdns,
    /// It is for TCP.
    Tcp,
    /// It is not for component 1.
    Component,
    /// Nothing is sent to this address.
    Address(Unusable),
    /// It belongs to other credentials than those of the description.
    OtherUfrag,
    /// There is no room for another one.
    TooMany,
}

impl From<CandidateError> for Refused {
    fn from(error: CandidateError) -> Self {
        Self::Line(error)
    }
}

impl From<Unusable> for Refused {
    fn from(error: Unusable) -> Self {
        Self::Address(error)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line(error) => return error.fmt(f),
            Self::Address(error) => return error.fmt(f),
            Self::Mdns => "the far side's candidate is a .local name, which is not resolved",
            Self::Tcp => "the far side's candidate is for TCP, which ICE here does not use",
            Self::Component => "the far side's candidate is not for component 1",
            Self::OtherUfrag => "the far side's candidate belongs to another ICE session",
            Self::TooMany => "the far side has more candidates than there is room for",
        })
    }
}

impl core::error::Error for Refused {}

/// What a host candidate is worth, by its place among the local addresses.
pub(super) fn host_priority(place: usize) -> u32 {
    priority(126, place)
}

/// What a peer-reflexive candidate is worth: PRIORITY of a check (RFC 8445 §7.1.1).
pub(super) fn peer_reflexive_priority(place: usize) -> u32 {
    priority(110, place)
}

pub(super) fn server_reflexive_priority(place: usize) -> u32 {
    priority(100, place)
}

pub(super) fn relayed_priority(place: usize) -> u32 {
    priority(0, place)
}

/// RFC 8445 §5.1.2.1.
fn priority(preference: u32, place: usize) -> u32 {
    let local = u32::from(u16::MAX) - u32::from(u16::try_from(place).unwrap_or(u16::MAX));
    preference << 24 | local << 8 | (256 - u32::from(COMPONENT))
}

/// What an address is worth after so many changes. Of those after the same change one with a
/// lower `rank` is better; there are two ranks.
pub(super) const fn moved_priority(moves: u32, rank: u32) -> u32 {
    MOVED | (moves.saturating_mul(4).saturating_sub(rank) & 0x00ff_ffff)
}

/// PRIORITY of a check after so many changes, where another one is not known of: what an address is
/// worth that this check shows, as a NAT has given it to us. More than all before, and less than
/// after the next change.
pub(super) const fn renewed_priority(moves: u32) -> u32 {
    MOVED | (moves.saturating_mul(4).saturating_add(1) & 0x00ff_ffff)
}

/// The foundation of a local candidate (RFC 8445 §5.1.1.3).
pub(super) fn foundation(kind: CandidateKind, base: IpAddr, server: Option<IpAddr>) -> u32 {
    let kind = [kind as u8];
    match server {
        None => with_ip(base, &kind, &[]),
        Some(IpAddr::V4(server)) => with_ip(base, &kind, &server.octets()),
        Some(IpAddr::V6(server)) => with_ip(base, &kind, &server.octets()),
    }
}

fn with_ip(base: IpAddr, kind: &[u8], server: &[u8]) -> u32 {
    match base {
        IpAddr::V4(ip) => hash(&[kind, &ip.octets(), server]),
        IpAddr::V6(ip) => hash(&[kind, &ip.octets(), server]),
    }
}

/// FNV-1a of Fowler, Noll and Vo. Who makes two foundations collide has his own pairs checked in
/// another order, and nothing else.
fn hash(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().copied().flatten();
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}
