//! The checklist: which pairs there are, and which of them are checked (RFC 8445 §6.1.2).

use core::net::{IpAddr, SocketAddr};

use super::agent::{Agent, Phase};
use super::candidate::{Candidate, CandidateKind, MOVED, renewed_priority};
use super::memory::{Base, BaseState, Link, Pair, PairState, Remote, Route};
use super::{PEER_REFLEXIVE_MAX, Role};
use crate::time::Instant;

impl Agent<'_> {
    pub(super) fn base(&self, link: Link) -> Option<&Base> {
        let base = self.memory.bases.get(usize::from(link.base))?;
        (base.state != BaseState::Gone).then_some(base)
    }

    pub(super) fn base_of_route(&self, route: Route) -> Option<u8> {
        let mut bases = self.memory.bases.iter();
        let place = bases.position(|base| base.state != BaseState::Gone && base.route == route)?;
        u8::try_from(place).ok()
    }

    pub(super) fn remote_of(&self, link: Link) -> Option<&Remote> {
        self.memory.remotes.get(usize::from(link.remote))
    }

    pub(super) fn remote_at(&self, address: SocketAddr) -> Option<u8> {
        let mut remotes = self.memory.remotes.iter();
        u8::try_from(remotes.position(|remote| remote.address == address)?).ok()
    }

    pub(super) fn pair(&self, link: Link) -> Option<&Pair> {
        self.memory.pairs.iter().find(|pair| pair.link == link)
    }

    pub(super) fn pair_mut(&mut self, link: Link) -> Option<&mut Pair> {
        self.memory.pairs.iter_mut().find(|pair| pair.link == link)
    }

    /// What a pair is worth (RFC 8445 §6.1.2.3).
    pub(super) fn priority(&self, link: Link) -> u64 {
        let (Some(base), Some(remote)) = (self.base(link), self.remote_of(link)) else {
            return 0;
        };
        let (local, remote) = (u64::from(base.priority()), u64::from(remote.priority));
        let (controlling, controlled) = match self.role {
            Role::Controlling => (local, remote),
            Role::Controlled => (remote, local),
        };
        let least = controlling.min(controlled);
        // Both are below 2^32, and ours below 2^31.
        (least << 32)
            .saturating_add(2 * controlling.max(controlled))
            .saturating_add(u64::from(controlling > controlled))
    }

    /// What the foundation of the base is made of, and that of the remote's candidate, which is
    /// known once that came.
    fn foundation(&self, link: Link) -> Option<(CandidateKind, IpAddr, u32)> {
        let base = self.base(link)?;
        let remote = self.remote_of(link)?.foundation;
        Some((base.kind, base.address.ip(), remote))
    }

    /// Keeps an address of the remote, and returns its place; `None` if there is no room.
    pub(super) fn put_remote(&mut self, now: Instant, candidate: &Candidate) -> Option<u8> {
        if let Some(place) = self.remote_at(candidate.address) {
            let known = self.memory.remotes.get_mut(usize::from(place))?;
            known.seen = now;
            if candidate.kind != CandidateKind::PeerReflexive {
                known.kind = candidate.kind;
                known.foundation = candidate.foundation;
                known.priority = known.priority.max(candidate.priority);
            } else if candidate.priority == renewed_priority(0) {
                // It has not moved: that would be worth something only elsewhere.
            } else if known.kind == CandidateKind::PeerReflexive {
                known.priority = candidate.priority;
            } else if candidate.priority >= MOVED {
                // A remote that has come back there wants it to be preferred.
                known.priority = known.priority.max(candidate.priority);
            }
            return Some(place);
        }
        let remote = Remote {
            address: candidate.address,
            kind: candidate.kind,
            priority: candidate.priority,
            foundation: candidate.foundation,
            answered: false,
            seen: now,
        };
        let fits = match candidate.kind {
            CandidateKind::PeerReflexive => self.has_room_for_remote(),
            _ => !self.memory.remotes.is_full(),
        };
        if fits {
            let place = u8::try_from(self.memory.remotes.len()).ok()?;
            self.memory.remotes.push(remote).ok()?;
            return Some(place);
        }
        // Of those that only checks showed, once there has been a path of all, the one that was
        // heard of longest ago gives way, if it is not in use.
        let used = self.selected.map(|link| usize::from(link.remote));
        let any = candidate.kind != CandidateKind::PeerReflexive && self.last_remote.is_some();
        let (place, _) = self
            .memory
            .remotes
            .iter()
            .enumerate()
            .filter(|(place, remote)| {
                (any || remote.kind == CandidateKind::PeerReflexive) && Some(*place) != used
            })
            .min_by_key(|(_, remote)| remote.seen)?;
        *self.memory.remotes.get_mut(place)? = remote;
        let place = u8::try_from(place).ok()?;
        self.forget_pairs(|link| link.remote == place);
        if self.last_remote == Some(place) {
            self.last_remote = None;
        }
        Some(place)
    }

    /// Whether another address fits that no candidate has named.
    pub(super) fn has_room_for_remote(&self) -> bool {
        let remotes = &self.memory.remotes;
        let of_checks = |remote: &&Remote| remote.kind == CandidateKind::PeerReflexive;
        !remotes.is_full() && remotes.iter().filter(of_checks).count() < PEER_REFLEXIVE_MAX
    }

    /// Pairs a new base with each address of the remote.
    pub(super) fn pair_base(&mut self, now: Instant, base: u8) {
        for remote in 0..self.memory.remotes.len() {
            if let Ok(remote) = u8::try_from(remote) {
                self.put_pair(now, Link { base, remote });
            }
        }
        self.unfreeze();
    }

    /// Pairs a new address of the remote with each base.
    pub(super) fn pair_remote(&mut self, now: Instant, remote: u8) {
        for base in 0..self.memory.bases.len() {
            if let Ok(base) = u8::try_from(base) {
                self.put_pair(now, Link { base, remote });
            }
        }
        self.unfreeze();
    }

    /// Adds a pair that can be; the worst that does nothing gives way. Whether it is there. One
    /// that is known is wanted again: its TURN server is to let it in.
    pub(super) fn put_pair(&mut self, now: Instant, link: Link) -> bool {
        if self.pair(link).is_some() {
            self.permit(now, link);
            return true;
        }
        let (Some(base), Some(remote)) = (self.base(link), self.remote_of(link)) else {
            return false;
        };
        if !self.may_show(base.kind) || !can_pair(base.address.ip(), remote.address.ip()) {
            return false;
        }
        if self.memory.pairs.is_full() {
            let worst = self
                .memory
                .pairs
                .iter()
                .filter(|pair| pair.state != PairState::Succeeded)
                .filter(|pair| Some(pair.link) != self.selected)
                .min_by_key(|pair| (pair.state != PairState::Failed, self.priority(pair.link)))
                .map(|pair| (pair.state, pair.link));
            let Some((state, worst)) = worst else {
                return false;
            };
            if state != PairState::Failed && self.priority(worst) >= self.priority(link) {
                return false;
            }
            self.forget_pairs(|link| link == worst);
        }
        let pair = Pair {
            link,
            state: PairState::Frozen,
            check: None,
            triggered: None,
            nominated: None,
            answered: None,
            asked: None,
            data: None,
            due: now,
            mapped: None,
            round_trip: None,
        };
        if self.memory.pairs.push(pair).is_err() {
            return false;
        }
        self.permit(now, link);
        true
    }

    pub(super) fn forget_pairs(&mut self, which: impl Fn(Link) -> bool) {
        self.memory.pairs.retain(|pair| !which(pair.link));
        if self.selected.is_some_and(&which) {
            self.selected = None;
        }
        if self.nominating.is_some_and(&which) {
            self.nominating = None;
        }
    }

    /// Lets the best pair of each foundation that has none waiting or under way be checked
    /// (RFC 8445 §6.1.2.6 and §6.1.4.2).
    pub(super) fn unfreeze(&mut self) {
        loop {
            let best = self
                .memory
                .pairs
                .iter()
                .filter(|pair| pair.state == PairState::Frozen)
                .filter(|pair| {
                    let foundation = self.foundation(pair.link);
                    !self.memory.pairs.iter().any(|other| {
                        matches!(other.state, PairState::Waiting | PairState::InProgress)
                            && self.foundation(other.link) == foundation
                    })
                })
                .max_by_key(|pair| self.priority(pair.link))
                .map(|pair| pair.link);
            let Some(pair) = best.and_then(|link| self.pair_mut(link)) else {
                return;
            };
            pair.state = PairState::Waiting;
        }
    }

    /// Puts a pair behind those that are checked out of turn (RFC 8445 §6.1.4.1).
    pub(super) fn trigger(&mut self, link: Link) {
        self.triggers = self.triggers.wrapping_add(1);
        let triggers = self.triggers;
        if let Some(pair) = self.pair_mut(link) {
            pair.triggered.get_or_insert(triggers);
        }
    }

    /// Whether a pair is still to be checked in turn: only better ones than that in use are.
    pub(super) fn is_wanted(&self, link: Link) -> bool {
        match (self.phase, self.selected) {
            (Phase::Connected, Some(selected)) => self.priority(link) > self.priority(selected),
            _ => true,
        }
    }

    /// Whether a pair may still turn out to work.
    pub(super) fn is_unfinished(&self, pair: &Pair) -> bool {
        matches!(
            pair.state,
            PairState::Frozen | PairState::Waiting | PairState::InProgress
        ) && self.may_check(pair.link)
    }
}

/// Whether bytes can go from one to the other (RFC 8445 §6.1.2.2).
const fn can_pair(local: IpAddr, remote: IpAddr) -> bool {
    match (local, remote) {
        (IpAddr::V4(_), IpAddr::V4(_)) => local.is_loopback() == remote.is_loopback(),
        (IpAddr::V6(_), IpAddr::V6(_)) => local.is_loopback() == remote.is_loopback(),
        _ => false,
    }
}
