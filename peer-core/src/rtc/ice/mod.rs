//! One ICE agent (RFC 8445), full in both roles or lite, with trickle (RFC 8838), consent
//! (RFC 7675), and paths that change under a connection.
//!
//! An [`Agent`] performs no I/O and reads no clock. Its tables are lent to it.
//!
//! # The loop
//! 1. [`set_addresses`](Agent::set_addresses) tells the sockets there are; again when they change.
//! 2. [`set_remote`](Agent::set_remote) and [`add_candidate`](Agent::add_candidate) tell what the
//!    remote signalled, [`credit`](Agent::credit) how many bytes that was.
//! 3. [`receive`](Agent::receive) takes each datagram that came, and gives back the remote's data.
//! 4. [`transmit`](Agent::transmit) gives datagrams to send, until `None`. Call it after each of
//!    the others, and when the time of [`timeout`](Agent::timeout) has come.
//! 5. [`poll_event`](Agent::poll_event) until there is none: candidates to be signalled, the path.
//! 6. Send data on [`path`](Agent::path), if there is one, [framed](Agent::frame) where it is
//!    relayed. Go back to 3.
//!
//! ```
//! use peer_core::rtc::crypto::{CryptoError, RustCrypto};
//! use peer_core::rtc::ice::{Agent, Config, Event, Received, Resources, Role, SocketId};
//! use peer_core::time::{Duration, Instant};
//! # let mut state = 1_u8;
//! # let mut crypto = RustCrypto::new(|out: &mut [u8]| {
//! #     for byte in out { state = state.wrapping_mul(5).wrapping_add(7); *byte = state; }
//! #     Ok::<(), CryptoError>(())
//! # });
//! let (mut here, mut there): (Resources<2, 4, 8, 2, 0>, Resources<2, 4, 8, 2, 0>) =
//!     (Resources::new(), Resources::new());
//! let mut now = Instant::ZERO;
//! let config = Config::new(Role::Controlling);
//! let mut a = Agent::new(now, &mut crypto, config, here.lend(), &[])?;
//! let config = Config::new(Role::Controlled);
//! let mut b = Agent::new(now, &mut crypto, config, there.lend(), &[])?;
//! let (ours, theirs) = ("192.0.2.1:5000".parse()?, "192.0.2.2:6000".parse()?);
//! a.set_addresses(now, &[(SocketId(0), ours)])?;
//! b.set_addresses(now, &[(SocketId(0), theirs)])?;
//!
//! // What the descriptions tell.
//! a.set_remote(now, b.ufrag(), b.password(), false)?;
//! b.set_remote(now, a.ufrag(), a.password(), false)?;
//! a.credit(500);
//! b.credit(500);
//! let Some(Event::LocalCandidate(candidate)) = b.poll_event() else { panic!("no candidate") };
//! a.add_candidate(now, &candidate.line(b.ufrag()).to_string())?;
//!
//! let mut datagram = [0; 1200];
//! for _ in 0..4 {
//!     now = now + Duration::from_millis(50);
//!     while let Some(it) = a.transmit(now, &mut crypto, &mut datagram) {
//!         b.receive(now, &mut crypto, SocketId(0), ours, &mut datagram[..it.len]);
//!     }
//!     while let Some(it) = b.transmit(now, &mut crypto, &mut datagram) {
//!         a.receive(now, &mut crypto, SocketId(0), theirs, &mut datagram[..it.len]);
//!     }
//! }
//! assert_eq!(a.path().map(|path| path.remote), Some(theirs));
//! assert_eq!(b.path().map(|path| path.remote), Some(ours));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//! | what | limit | at the limit |
//! |---|---|---|
//! | our addresses, pairs, questions, allocations | [`Resources`] | the last or worst is left out |
//! | addresses of the remote | [`Resources`] | one gives way (1), or [`Refused::TooMany`] |
//! | addresses that only the remote's checks show | [`PEER_REFLEXIVE_MAX`] | the one longest unheard gives way |
//! | bytes to addresses that never answered | [`REFLECTION_FACTOR`] (2) | not checked any more |
//! | datagrams that wait to be answered | [`ANSWERS_MAX`] | the oldest is not answered; it comes again |
//! | between two checks | [`PACE`] | the next one waits |
//! | a check | 7 times, in 39.5 s (RFC 8489 §6.2.1) | the pair has failed, until the remote asks there |
//! | a check that nominates | 20 times, each [`CONSENT_REPEAT`] | as above |
//! | a question to a server | 5 times, in 9.5 s | [`Outcome::NoAnswer`], asked anew later (3) |
//! | no pair works | [`Config::patience`] (4) | [`Failure::NoAnswer`], [`Failure::NoCandidates`] |
//! | silence of the path | [`Config::silence`] (5) | [`Event::Disconnected`] |
//! | silence, that included | [`Config::survive`] (6) | [`Failure::Lost`] |
//! | consent | [`CONSENT`] after the last answer (7) | no [`path`](Agent::path) until it answers |
//!
//! 1. An address that only a check showed; once there has been a path, any one not in use.
//! 2. Times what was [credited](Agent::credit), and once the remote's authentic requests.
//! 3. At once until there is a path. When that falls silent, and 10 s after each answer or failure
//!    while it is.
//! 4. Twice that while some are still checked. A lite agent waits for ever.
//! 5. 15 s of a lite agent.
//! 6. If that is shorter than [`Config::silence`], no [`Event::Disconnected`] comes before.
//! 7. However long the machine slept.
//!
//! Nothing is answered whose MESSAGE-INTEGRITY is not right. Answers are shorter than what they
//! answer. A response counts when it has the transaction and the address of a check that is under
//! way. Indications change nothing.
//!
//! # A path that changes
//! A path that does not answer for 0.6 s and a round trip is looked for anew, with the same
//! credentials: every base and every address of the remote is checked each 200 ms, after 5 s each
//! second, after a minute each 5 s. After a change of our address the checks have a PRIORITY above
//! all before, USE-CANDIDATE and a NOMINATION that grows, so that a remote which does not know of
//! it follows at once, an unmodified browser, too; the candidates are told again, with that
//! priority, and while nothing answers once more after 0.4, 1 and 2.5 s. STUN servers are asked
//! again how we look, as a NAT may have been given another address.
//!
//! No interface tells that a NAT has given us another address: a check does. The path in use is
//! checked when data has paused for 300 ms, too, and its checks always have a PRIORITY above that
//! of the address that the remote knows, for it remembers the first that it sees from a new one.
//! Data from an address that is not known has that address checked. A machine that slept searches
//! with the same haste, and gives up no sooner for having slept.
//!
//! # Not supported
//! ICE-TCP, multicast DNS, more than one component; of TURN what [`turn`] says. Without the feature
//! `turn` nothing is relayed.

mod agent;
mod answers;
mod candidate;
mod check;
mod credentials;
mod event;
mod gather;
mod memory;
mod pairs;
mod policy;
mod receive;
#[cfg(feature = "turn")]
mod relay;
#[cfg(not(feature = "turn"))]
#[path = "no_relay.rs"]
mod relay;
mod search;
mod select;
#[cfg(test)]
mod tests;
mod transmit;
#[cfg(feature = "turn")]
pub mod turn;

use core::fmt;
use core::net::SocketAddr;

pub(in crate::rtc) use agent::Drawn;
pub use agent::{Agent, ServersKnown, TooManyAddresses};
pub use answers::ANSWERS_MAX;
pub use candidate::{Candidate, CandidateKind, Line, Refused};
pub use credentials::{CredentialsError, LOCAL_UFRAG_LEN, PASSWORD_MAX, UFRAG_MAX};
pub use event::{Event, Failure};
pub use gather::{Outcome, Report, Server, Via};
pub use memory::{Memory, Resources};
pub use policy::Unusable;
pub(in crate::rtc) use relay::{HEADROOM, TAILROOM};

use crate::time::Duration;

/// Between two checks of one agent, but for those of a pair that has answered and is nominated or
/// in use (Ta, RFC 8445 §14.2).
pub const PACE: Duration = Duration::from_millis(50);
/// Bytes that may go to addresses which never answered, all together, for each byte that the
/// remote's descriptions had. Each authentic request adds its own length, once: who has the
/// credentials gains nothing by it, as it sends so much itself. Answers are not counted: they are
/// shorter than what they answer.
///
/// Each byte is credited to one agent, so the same bound holds for all connections of a remote
/// together, however many it offers.
pub const REFLECTION_FACTOR: u64 = 5;
/// Addresses of the remote that only its checks showed.
pub const PEER_REFLEXIVE_MAX: usize = 8;
/// Between two checks of a path that works, less or more by up to a fifth (RFC 7675 §5.1).
pub const CONSENT_INTERVAL: Duration = Duration::from_secs(5);
/// Until a check of a path that was not answered is repeated.
pub const CONSENT_REPEAT: Duration = Duration::from_millis(500);
/// How long the consent of the remote holds after its last answer (RFC 7675 §5.1).
pub const CONSENT: Duration = Duration::from_secs(30);

/// Who decides which pair is used (RFC 8445 §6.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Role {
    /// We: who sent the offer.
    Controlling,
    /// The remote.
    Controlled,
}

impl Role {
    const fn other(self) -> Self {
        match self {
            Self::Controlling => Self::Controlled,
            Self::Controlled => Self::Controlling,
        }
    }
}

/// Names a socket of the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SocketId(pub u8);

/// What an agent has to know beforehand.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Who decides. A conflict is settled (RFC 8445 §7.3.1.1).
    pub role: Role,
    /// Whether to only answer (RFC 8445 §2.5): for a machine that has a public address. The role is
    /// then controlled. Default: no.
    pub lite: bool,
    /// Whether loopback addresses may be used, for tests on one machine. Default: no.
    pub include_loopback: bool,
    /// How long to wait for a pair that works, from the last candidate on (RFC 8863). Default:
    /// 39.5 s.
    pub patience: Duration,
    /// How long a path does not answer until [`Event::Disconnected`]. Default: 5 s.
    pub silence: Duration,
    /// How long a path may be silent, counted from the first check that was not answered; at least
    /// 1 s, of a lite agent 15 s. Below 24 s the path is checked 4 times in it, each 500 ms at
    /// most. Default: 60 s.
    pub survive: Duration,
    /// Which of our addresses the remote may learn and use. Default: all.
    pub policy: TransportPolicy,
}

/// Which of our addresses the remote may learn and use: W3C's `RTCIceTransportPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TransportPolicy {
    /// Each of them.
    All,
    /// Only those that TURN servers lend. Servers are asked from our own; nothing else is sent from
    /// there, no check that comes to them is answered, and no candidate names them. A lite agent
    /// asks no server and so has none.
    #[cfg(feature = "turn")]
    Relay,
}

impl Config {
    /// Returns the defaults.
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            lite: false,
            include_loopback: false,
            patience: Duration::from_millis(39_500),
            silence: Duration::from_secs(5),
            survive: Duration::from_secs(60),
            policy: TransportPolicy::All,
        }
    }
}

/// A datagram to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From where.
    pub socket: SocketId,
    /// To where.
    pub destination: SocketAddr,
    /// Bytes of the buffer that it has.
    pub len: usize,
}

/// What a datagram was.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'d> {
    /// The agent's own, or nothing to it.
    Taken,
    /// Data from an address where the remote proved itself. It may yet be anybody's.
    Data(&'d mut [u8]),
}

/// What data is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// From where.
    pub socket: SocketId,
    /// The address of that socket, or that which a TURN server lends.
    pub local: SocketAddr,
    /// Whether a TURN server is between: data has to be [framed](Agent::frame).
    pub relayed: bool,
    /// To where.
    pub remote: SocketAddr,
    /// How the remote's address was learnt.
    pub kind: CandidateKind,
    /// The round trip of the last check that was sent once; until there was one, how long the first
    /// answer took, which is no less.
    pub round_trip: Option<Duration>,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.local, self.remote)
    }
}
