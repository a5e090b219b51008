//! What an agent tells.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::agent::{Agent, Phase};
use super::candidate::{
    Candidate, CandidateKind, foundation, host_priority, moved_priority, relayed_priority,
    server_reflexive_priority,
};
use super::gather::Outcome;
use super::memory::{Base, BaseState};
use super::{Path, TransportPolicy};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Signal this candidate to the remote. One that was told before comes again with a higher
    /// priority after a change of address.
    LocalCandidate(Candidate),
    /// Every server has answered or was given up.
    GatheringDone,
    /// Data goes on this path from now on.
    PathChanged(Path),
    /// There is a path that works, for the first time or again.
    Connected,
    /// The path does not answer. Checks go on.
    Disconnected,
    /// It is over.
    Failed(Failure),
}

/// Why an agent gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Failure {
    /// There was no pair to be checked: the remote has named no address that can be used, or we
    /// have none.
    NoCandidates,
    /// No pair was answered.
    NoAnswer,
    /// The path fell silent and no other one was found within [`Config::survive`](super::Config).
    Lost,
    /// The source of randomness failed.
    Random,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCandidates => "ICE had no pair of addresses to try",
            Self::NoAnswer => "ICE tried every pair of addresses, and none was answered",
            Self::Lost => "the path fell silent, and ICE found no other one",
            Self::Random => "ICE failed: the source of randomness failed",
        })
    }
}

impl core::error::Error for Failure {}

/// What was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Connected,
    Disconnected,
    Failed,
}

impl Agent<'_> {
    /// Returns what happened and was not told yet. After the end only why it failed, if it did.
    pub fn poll_event(&mut self) -> Option<Event> {
        match self.phase {
            Phase::Closed => return None,
            Phase::Failed(failure) => {
                let told = core::mem::replace(&mut self.told, Told::Failed);
                return (told != Told::Failed).then_some(Event::Failed(failure));
            }
            _ => {}
        }
        if let Some(candidate) = self.untold_candidate() {
            return Some(Event::LocalCandidate(candidate));
        }
        if self.gathering_over() && !core::mem::replace(&mut self.gathering_told, true) {
            return Some(Event::GatheringDone);
        }
        // One without consent, or whose socket is gone, is told once it is a path.
        if self.path_untold
            && let Some(path) = self.path()
        {
            self.path_untold = false;
            return Some(Event::PathChanged(path));
        }
        let (now, event) = match self.phase {
            Phase::Checking { .. } | Phase::Failed(_) | Phase::Closed => return None,
            Phase::Connected | Phase::Searching { .. } if self.told == Told::Nothing => {
                (Told::Connected, Event::Connected)
            }
            // A path that is being looked for is not told as one again.
            Phase::Searching { .. } => return None,
            Phase::Connected => (Told::Connected, Event::Connected),
            Phase::Disconnected { .. } => (Told::Disconnected, Event::Disconnected),
        };
        (core::mem::replace(&mut self.told, now) != now).then_some(event)
    }

    fn untold_candidate(&mut self) -> Option<Candidate> {
        let shows_all = self.config.policy == TransportPolicy::All;
        if let Some(base) = self.memory.bases.iter_mut().find(|base| {
            base.state == BaseState::Untold && (shows_all || base.kind == CandidateKind::Relay)
        }) {
            base.state = BaseState::Told;
            return Some(base.candidate());
        }
        if !shows_all {
            return None;
        }
        if let Some(candidate) = self.mapped_untold.take() {
            return Some(candidate);
        }
        loop {
            let question = self.memory.questions.iter_mut().find(|question| {
                !question.told && matches!(question.outcome, Outcome::Reflexive(_))
            })?;
            question.told = true;
            let (Outcome::Reflexive(address), Some(base), Some(server)) = (
                question.outcome,
                self.memory.bases.get(usize::from(question.base)),
                self.servers.get(usize::from(question.server)),
            ) else {
                continue;
            };
            // Without a NAT between it is the host candidate again.
            if address != base.address {
                return Some(base.reflexive(address, server.address.ip()));
            }
        }
    }
}

impl Base {
    /// The candidate that a base is itself.
    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            kind: self.kind,
            address: self.address,
            priority: self.priority(),
            foundation: self.foundation(),
            related: self.related,
        }
    }

    /// The candidate of how it looks from a server.
    fn reflexive(&self, address: SocketAddr, server: IpAddr) -> Candidate {
        let kind = CandidateKind::ServerReflexive;
        Candidate {
            kind,
            address,
            priority: match self.moves {
                0 => server_reflexive_priority(self.place),
                moves => moved_priority(moves, 1),
            },
            foundation: foundation(kind, self.address.ip(), Some(server)),
            related: Some(self.address),
        }
    }

    pub(super) fn priority(&self) -> u32 {
        match (self.moves, self.kind) {
            (0, CandidateKind::Relay) => relayed_priority(self.place),
            (0, _) => host_priority(self.place),
            (moves, CandidateKind::Relay) => moved_priority(moves, 1),
            (moves, _) => moved_priority(moves, 0),
        }
    }

    pub(super) fn foundation(&self) -> u32 {
        foundation(self.kind, self.address.ip(), None)
    }
}
