//! The tables of an agent, and what is in them.

use core::net::SocketAddr;

use heapless::{Vec, VecView};

use super::relay::Relay;
use super::{CandidateKind, Role, SocketId};
use crate::rtc::stun::TransactionId;
use crate::time::Instant;

/// Memory for one agent: addresses of ours (relayed ones included), addresses of the remote, pairs
/// of the two, questions to servers, and allocations on TURN servers (without the feature `turn`
/// these cost nothing). At most 255 each.
#[derive(Debug, Default)]
pub struct Resources<
    const BASES: usize,
    const REMOTES: usize,
    const PAIRS: usize,
    const QUESTIONS: usize,
    const RELAYS: usize,
> {
    bases: Vec<Base, BASES>,
    remotes: Vec<Remote, REMOTES>,
    pairs: Vec<Pair, PAIRS>,
    questions: Vec<Question, QUESTIONS>,
    relays: Vec<Relay, RELAYS>,
}

impl<
    const BASES: usize,
    const REMOTES: usize,
    const PAIRS: usize,
    const QUESTIONS: usize,
    const RELAYS: usize,
> Resources<BASES, REMOTES, PAIRS, QUESTIONS, RELAYS>
{
    /// Returns unused memory.
    pub const fn new() -> Self {
        Self {
            bases: Vec::new(),
            remotes: Vec::new(),
            pairs: Vec::new(),
            questions: Vec::new(),
            relays: Vec::new(),
        }
    }

    /// Lends it to an agent.
    pub fn lend(&mut self) -> Memory<'_> {
        Memory {
            bases: self.bases.as_mut_view(),
            remotes: self.remotes.as_mut_view(),
            pairs: self.pairs.as_mut_view(),
            questions: self.questions.as_mut_view(),
            relays: self.relays.as_mut_view(),
        }
    }
}

/// The memory of an agent, all of it lent; see [`Resources::lend`].
#[derive(Debug)]
pub struct Memory<'m> {
    pub(super) bases: &'m mut VecView<Base>,
    pub(super) remotes: &'m mut VecView<Remote>,
    pub(super) pairs: &'m mut VecView<Pair>,
    pub(super) questions: &'m mut VecView<Question>,
    pub(super) relays: &'m mut VecView<Relay>,
}

impl Memory<'_> {
    pub(super) fn clear(&mut self) {
        self.bases.clear();
        self.remotes.clear();
        self.pairs.clear();
        self.questions.clear();
        self.relays.clear();
    }
}

/// How bytes leave from a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// From a socket.
    Socket(SocketId),
    /// Through the allocation at this place.
    #[cfg(feature = "turn")]
    Relay(u8),
}

/// An address of ours that bytes are sent from.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) state: BaseState,
    pub(super) route: Route,
    /// Host or relay.
    pub(super) kind: CandidateKind,
    pub(super) address: SocketAddr,
    /// How the server saw us that relays.
    pub(super) related: Option<SocketAddr>,
    /// Its place in the caller's list: the first is preferred.
    pub(super) place: usize,
    /// How many changes of address there had been when it got its priority.
    pub(super) moves: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BaseState {
    /// In use; its candidate is not told yet.
    Untold,
    /// In use, and told.
    Told,
    /// The address is gone. The place is for another.
    Gone,
}

/// An address of the remote.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) address: SocketAddr,
    pub(super) kind: CandidateKind,
    pub(super) priority: u32,
    pub(super) foundation: u32,
    /// Whether a check to it was answered: only then somebody there wants to hear from us.
    pub(super) answered: bool,
    /// When it was named or last asked something.
    pub(super) seen: Instant,
}

/// Names a pair: places in the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) base: u8,
    pub(super) remote: u8,
}

/// A pair of a base and an address of the remote.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) link: Link,
    pub(super) state: PairState,
    /// The check under way. Its answer counts in every state.
    pub(super) check: Option<Check>,
    /// Its place among those that are checked out of turn.
    pub(super) triggered: Option<u32>,
    /// The remote nominated it, with this NOMINATION, 0 without.
    pub(super) nominated: Option<u32>,
    /// When the last check was answered.
    pub(super) answered: Option<Instant>,
    /// When the remote's last check came.
    pub(super) asked: Option<Instant>,
    /// When data came last.
    pub(super) data: Option<Instant>,
    /// When it is checked next, if nothing is under way, or while a path is searched for.
    pub(super) due: Instant,
    /// How we look from there.
    pub(super) mapped: Option<SocketAddr>,
    /// In microseconds.
    pub(super) round_trip: Option<u32>,
}

impl Pair {
    /// When anything of the remote came last.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.answered.max(self.asked).max(self.data)
    }
}

/// Where a pair is (RFC 8445 §6.1.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PairState {
    Frozen,
    Waiting,
    InProgress,
    Succeeded,
    Failed,
}

/// A Binding request to the remote that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) id: TransactionId,
    /// When it was sent first.
    pub(super) first: Instant,
    /// When it is sent again or given up.
    pub(super) next: Instant,
    pub(super) sent: u32,
    pub(super) role: Role,
    /// NOMINATION, if it carries USE-CANDIDATE.
    pub(super) nomination: Option<u32>,
    /// PRIORITY.
    pub(super) priority: u32,
}

/// A question to a STUN server, from one base.
#[derive(Debug)]
pub(super) struct Question {
    /// The place of the server in the list.
    pub(super) server: u8,
    pub(super) base: u8,
    pub(super) id: TransactionId,
    pub(super) sent: u32,
    /// When it is asked, or given up; once that is over, when it is asked anew while no path
    /// answers.
    pub(super) next: Instant,
    pub(super) is_asked: bool,
    /// What came of it last.
    pub(super) outcome: super::Outcome,
    /// Whether the candidate that it gave was told.
    pub(super) told: bool,
}
