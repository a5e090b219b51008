//! The remote's requests, and what they are answered (RFC 8445 §7.3).

use core::net::SocketAddr;

use super::agent::Agent;
use super::candidate::{Candidate, CandidateKind};
use super::check::CHECK_MAX;
use super::memory::{Link, PairState, Route};
use super::{Role, Transmit, policy};
use crate::rtc::crypto::Crypto;
use crate::rtc::stun::{Attribute, Class, Message, Method, TransactionId, Writer};
use crate::time::{Duration, Instant};

/// Answers that wait to be sent.
pub const ANSWERS_MAX: usize = 8;
/// How old an answer may be that proves a pair which the remote asks on.
const PROVED: Duration = Duration::from_secs(1);
/// Attributes that were not understood which an error 420 names.
const UNKNOWN_MAX: usize = 4;

/// An answer that is owed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    route: Route,
    to: SocketAddr,
    id: TransactionId,
    kind: AnswerKind,
}

#[derive(Clone, Copy, Debug)]
enum AnswerKind {
    Success,
    RoleConflict,
    BadRequest,
    /// The types of so many attributes.
    Unknown([u16; UNKNOWN_MAX], u8),
}

/// What a request says.
struct Asked {
    priority: u32,
    /// Its NOMINATION, 0 without, if it has USE-CANDIDATE.
    nomination: Option<u32>,
}

impl Agent<'_> {
    /// Takes a Binding request. Nothing of it counts before it is known to be the remote's.
    pub(super) fn request<C: Crypto>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        route: Route,
        source: SocketAddr,
        message: &Message<'_>,
        len: usize,
    ) {
        if message.method() != Method::BINDING || !self.is_authentic(crypto, message) {
            return;
        }
        // Who has the credentials may name the source, too: nothing goes where nothing may.
        if policy::check(source, self.config.include_loopback).is_err() {
            return;
        }
        // What proved itself may be checked, whoever sent it from there.
        self.allowed = self.allowed.saturating_add(len as u64);
        let kind = match self.read(message) {
            Ok(asked) => {
                self.asked(now, route, source, &asked);
                AnswerKind::Success
            }
            Err(kind) => kind,
        };
        if self.answers.is_full() {
            self.answers.pop_front();
        }
        let answer = Answer {
            route,
            to: source,
            id: *message.transaction(),
            kind,
        };
        let kept = self.answers.push_back(answer);
        debug_assert!(kept.is_ok(), "room was made");
    }

    /// Whether a request names us, and its sender knows our password.
    fn is_authentic<C: Crypto>(&self, crypto: &mut C, message: &Message<'_>) -> bool {
        let user = message.attributes().find_map(|attribute| match attribute {
            Attribute::Username(user) => Some(user),
            _ => None,
        });
        let theirs = user
            .and_then(|user| user.strip_prefix(&self.local.ufrag))
            .and_then(|rest| rest.strip_prefix(b":"));
        // Before its description is here the remote may ask already.
        let named = match (&self.remote, theirs) {
            (Some(remote), Some(theirs)) => remote.ufrag() == theirs,
            (None, theirs) => theirs.is_some(),
            (Some(_), None) => false,
        };
        named
            && message.verify_fingerprint().is_ok()
            && message
                .verify_integrity(crypto, self.local.password.as_bytes())
                .is_ok()
    }

    /// What a request of the remote says, after a conflict of roles was settled.
    fn read(&mut self, message: &Message<'_>) -> Result<Asked, AnswerKind> {
        let mut unknown = [0; UNKNOWN_MAX];
        let mut count = 0;
        for (place, kind) in unknown.iter_mut().zip(message.unknown_required()) {
            *place = kind;
            count += 1;
        }
        if count > 0 {
            return Err(AnswerKind::Unknown(unknown, count));
        }
        let (mut priority, mut role, mut nominated, mut nomination) = (None, None, false, 0);
        for attribute in message.attributes() {
            match attribute {
                Attribute::Priority(value) => priority = priority.or(Some(value)),
                Attribute::IceControlling(value) => role = Some((Role::Controlling, value)),
                Attribute::IceControlled(value) => role = Some((Role::Controlled, value)),
                Attribute::UseCandidate => nominated = true,
                Attribute::Nomination(value) => nomination = value,
                _ => {}
            }
        }
        let priority = priority.ok_or(AnswerKind::BadRequest)?;
        if let Some((role, tie_breaker)) = role
            && role == self.role
        {
            self.settle(tie_breaker)?;
        }
        Ok(Asked {
            priority,
            nomination: nominated.then_some(nomination),
        })
    }

    /// Both took the same role: who has the higher tie-breaker controls (RFC 8445 §7.3.1.1).
    fn settle(&mut self, theirs: u64) -> Result<(), AnswerKind> {
        let higher = self.tie_breaker >= theirs;
        let stays = self.config.lite || higher == (self.role == Role::Controlling);
        if stays {
            return Err(AnswerKind::RoleConflict);
        }
        self.switch_role();
        Ok(())
    }

    pub(super) fn switch_role(&mut self) {
        self.role = self.role.other();
        self.nominating = None;
    }

    /// The remote has asked from there.
    fn asked(&mut self, now: Instant, route: Route, source: SocketAddr, asked: &Asked) {
        let Some(base) = self.base_of_route(route) else {
            return;
        };
        let candidate = Candidate {
            kind: CandidateKind::PeerReflexive,
            address: source,
            priority: asked.priority,
            foundation: u32::from(source.port()),
            related: None,
        };
        let Some(remote) = self.put_remote(now, &candidate) else {
            return;
        };
        let link = Link { base, remote };
        if !self.put_pair(now, link) {
            return;
        }
        let (lite, selected) = (self.config.lite, self.selected == Some(link));
        let Some(pair) = self.pair_mut(link) else {
            return;
        };
        pair.asked = Some(now);
        pair.nominated = pair.nominated.max(asked.nomination);
        if lite {
            pair.state = PairState::Succeeded;
        } else if pair.state != PairState::Succeeded {
            // What was sent before the remote had asked may have died at its NAT: it begins anew.
            if let Some(check) = &mut pair.check {
                check.next = now;
                check.sent = 0;
            }
            if pair.state != PairState::InProgress {
                pair.state = PairState::Waiting;
                pair.check = None;
            }
            self.trigger(link);
        } else if !selected {
            // It worked once. Perhaps it is what the remote uses now.
            if pair.answered.is_none_or(|at| at + PROVED <= now) {
                self.trigger(link);
            }
        } else {
            if let Some(check) = &mut pair.check {
                // It is there again: no need to wait for the next repetition.
                check.next = check.next.min(now + super::PACE);
            }
            self.renewed();
        }
        self.heard(now, link);
    }

    /// Writes the next answer. One that does not fit is dropped.
    pub(super) fn transmit_answer<C: Crypto>(
        &mut self,
        crypto: &mut C,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let Answer {
            route,
            to,
            id,
            kind,
        } = self.answers.pop_front()?;
        debug_assert!(out.len() >= CHECK_MAX);
        let class = match kind {
            AnswerKind::Success => Class::Success,
            _ => Class::Error,
        };
        let writer = Writer::new(out, class, Method::BINDING, id);
        let error = |code| Attribute::ErrorCode { code, reason: b"" };
        let writer = match kind {
            AnswerKind::Success => writer.put(Attribute::XorMappedAddress(to)),
            AnswerKind::RoleConflict => writer.put(error(487)),
            AnswerKind::BadRequest => writer.put(error(400)),
            AnswerKind::Unknown(kinds, count) => {
                let mut named = [0; UNKNOWN_MAX * 2];
                let pairs = kinds.map(u16::to_be_bytes);
                let bytes = pairs.as_flattened();
                named
                    .iter_mut()
                    .zip(bytes)
                    .for_each(|(to, from)| *to = *from);
                let named = named.get(..usize::from(count) * 2).unwrap_or(&named);
                writer
                    .put(error(420))
                    .put(Attribute::UnknownAttributes(named))
            }
        };
        let written = writer
            .integrity(crypto, self.local.password.as_bytes())
            .fingerprint()
            .finish();
        let len = written.ok()?.len();
        self.send_on(route, to, out, len)
    }
}
