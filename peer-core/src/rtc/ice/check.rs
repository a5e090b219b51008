//! Checks: what they say, and what their answers mean (RFC 8445 §7.2).

use core::net::SocketAddr;

use super::agent::{Agent, Cause, Phase};
use super::candidate::{CandidateKind, peer_reflexive_priority, renewed_priority};
use super::event::Failure;
use super::memory::{Check, Link, Pair, PairState, Route};
use super::{CONSENT_INTERVAL, CONSENT_REPEAT, Role, Transmit, UFRAG_MAX};
use crate::bytes;
use crate::rtc::crypto::Crypto;
use crate::rtc::stun::{Attribute, Class, Message, Method, TransactionId, Writer};
use crate::time::{Duration, Instant, micros};

/// The first wait for an answer in microseconds, RTO of RFC 8489 §6.2.1; RFC 8445 §14.3 asks for so
/// much.
const FIRST_WAIT: u32 = 500_000;
/// How often a check is sent: Rc of RFC 8489 §6.2.1.
const TRIES: u32 = 7;
/// How often a check is sent that nominates a pair which works, each [`CONSENT_REPEAT`].
const NOMINATION_TRIES: u32 = 20;
/// How many first waits follow the last: Rm.
const LAST_WAIT: u32 = 16;
/// How often a server is asked something over UDP.
pub(super) const SERVER_TRIES: u32 = 5;
/// How long the last of these is waited for, in microseconds.
const SERVER_LAST_WAIT: u64 = 2_000_000;
/// Until the remote is told of another mapped address. A NAT may change it all the time.
const REMAPPED: Duration = Duration::from_millis(200);
/// Bytes of the longest message that an agent makes by itself.
pub(super) const CHECK_MAX: usize = 144;

/// How many microseconds after it was sent so often a check is sent again, or has failed after the
/// last time.
pub(super) fn wait(sent: u32) -> u64 {
    let first_waits = match sent {
        0 => 0,
        1..TRIES => 1 << (sent - 1),
        _ => LAST_WAIT,
    };
    u64::from(FIRST_WAIT * first_waits)
}

/// The same for a question to a server.
pub(super) fn server_wait(sent: u32) -> u64 {
    match sent {
        SERVER_TRIES => SERVER_LAST_WAIT,
        sent => wait(sent),
    }
}

impl Agent<'_> {
    /// Whether so many bytes may still go to where a pair leads.
    pub(super) fn may_check(&self, link: Link) -> bool {
        let room = self.allowed.saturating_sub(self.spent) >= CHECK_MAX as u64;
        self.remote_of(link)
            .is_some_and(|remote| remote.answered || room)
    }

    /// NOMINATION for a check of this pair, if it is to carry USE-CANDIDATE.
    fn nomination_for(&self, link: Link) -> Option<u32> {
        let all = matches!(
            self.phase,
            Phase::Disconnected { .. }
                | Phase::Searching {
                    cause: Cause::Moved,
                    ..
                }
        );
        let this = self.selected == Some(link) || self.nominating == Some(link);
        (self.role == Role::Controlling && (all || this)).then_some(self.nomination)
    }

    /// PRIORITY for a check from this base: what a candidate that it shows would be worth.
    ///
    /// On the path in use, and on each while one is searched for, that is more than all before. A
    /// check shows a candidate there only if a NAT has given us another address, and the remote
    /// remembers the PRIORITY that it saw first. Firefox sends nothing to an address that is worth
    /// less than the old one, and Chromium only after seconds.
    fn check_priority(&self, link: Link) -> u32 {
        let Some(base) = self.base(link) else {
            return 0;
        };
        let goes_on = self.selected == Some(link) || self.silent_since().is_some();
        match base.kind {
            CandidateKind::Host if goes_on => renewed_priority(base.moves),
            CandidateKind::Host if base.moves == 0 => peer_reflexive_priority(base.place),
            _ => base.priority(),
        }
    }

    /// Sends a check of this pair, the one under way again where it still says what is meant.
    pub(super) fn send_check<C: Crypto>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        link: Link,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let mut random = TransactionId::default();
        let (role, nomination) = (self.role, self.nomination_for(link));
        let priority = self.check_priority(link);
        let same = |check: &Check| {
            check.role == role && check.nomination == nomination && check.priority == priority
        };
        let under_way = self.pair(link)?.check.filter(same);
        if under_way.is_none() && crypto.random(&mut random).is_err() {
            self.fail(Failure::Random);
            return None;
        }
        let repeats = self.repeats(now, link);
        let selected = self.selected == Some(link);
        let pair = self.pair_mut(link)?;
        // The path in use is silent since the first that was not answered, whatever it said.
        let before = pair.check.filter(|_| selected);
        let mut check = under_way.unwrap_or(Check {
            id: random,
            first: before.map_or(now, |check| check.first),
            next: now,
            sent: before.map_or(0, |check| check.sent),
            role,
            nomination,
            priority,
        });
        check.sent = check.sent.saturating_add(1);
        check.next = now.plus(repeats.unwrap_or_else(|| wait(check.sent)));
        pair.check = Some(check);
        pair.triggered = None;
        pair.due = check.next;
        if pair.state != PairState::Succeeded {
            pair.state = PairState::InProgress;
        }
        let (route, to) = (self.base(link)?.route, self.remote_of(link)?.address);
        let written = self.write_check(crypto, &check, out);
        debug_assert!(written.is_some(), "a check fits");
        let len = written.unwrap_or(0);
        let answered = self.remote_of(link).is_some_and(|remote| remote.answered);
        if !answered {
            self.spent = self.spent.saturating_add(len as u64);
        }
        self.send_on(route, to, out, len)
    }

    /// How many microseconds until this check is repeated, where that is not RFC 8489's schedule.
    fn repeats(&self, now: Instant, link: Link) -> Option<u64> {
        // A pair that is nominated works: what is lost there is not lost for long.
        let works = self.selected == Some(link) || self.nominating == Some(link);
        self.search_interval(now)
            .or(works.then_some(micros(CONSENT_REPEAT)))
    }

    /// Whether a check was sent as often as it is, and only the last wait is left.
    pub(super) fn is_last(&self, pair: &Pair) -> bool {
        let tries = match self.nominating == Some(pair.link) {
            true => NOMINATION_TRIES,
            false => TRIES,
        };
        pair.check.is_some_and(|check| check.sent >= tries)
    }

    fn write_check<C: Crypto>(
        &self,
        crypto: &mut C,
        check: &Check,
        out: &mut [u8],
    ) -> Option<usize> {
        let remote = self.remote.as_ref()?;
        let mut user = [0; UFRAG_MAX + 1 + super::LOCAL_UFRAG_LEN];
        let len = bytes::concat(&mut user, &[remote.ufrag(), b":", &self.local.ufrag])?;
        let mut writer = Writer::new(out, Class::Request, Method::BINDING, check.id)
            .put(Attribute::Username(bytes::front(&user, len)))
            .put(Attribute::Priority(check.priority))
            .put(match check.role {
                Role::Controlling => Attribute::IceControlling(self.tie_breaker),
                Role::Controlled => Attribute::IceControlled(self.tie_breaker),
            });
        if let Some(nomination) = check.nomination {
            writer = writer
                .put(Attribute::UseCandidate)
                .put(Attribute::Nomination(nomination));
        }
        let written = writer
            .integrity(crypto, remote.key())
            .fingerprint()
            .finish();
        Some(written.ok()?.len())
    }

    /// Takes a response to a check. Whether it was one of the remote.
    pub(super) fn response<C: Crypto>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        route: Route,
        source: SocketAddr,
        message: &Message<'_>,
    ) -> bool {
        let found = self.memory.pairs.iter().find_map(|pair| {
            let check = pair.check?;
            (check.id == *message.transaction()).then_some((pair.link, check))
        });
        let Some((link, check)) = found else {
            return false;
        };
        let there = self.base(link).is_some_and(|base| base.route == route)
            && self
                .remote_of(link)
                .is_some_and(|remote| remote.address == source);
        let authentic = self.remote.as_ref().is_some_and(|remote| {
            message.verify_integrity(crypto, remote.key()).is_ok()
                && message.verify_fingerprint().is_ok()
        });
        if !there || !authentic {
            return false;
        }
        match message.class() {
            Class::Success => {
                let mapped = message.attributes().find_map(|attribute| match attribute {
                    Attribute::XorMappedAddress(address) => Some(address),
                    _ => None,
                });
                if let Some(mapped) = mapped {
                    self.answered(now, link, &check, mapped);
                }
            }
            _ => {
                let code = message.attributes().find_map(|attribute| match attribute {
                    Attribute::ErrorCode { code, .. } => Some(code),
                    _ => None,
                });
                self.refused(link, &check, code);
            }
        }
        true
    }

    fn answered(&mut self, now: Instant, link: Link, check: &Check, mapped: SocketAddr) {
        if let Some(remote) = self.memory.remotes.get_mut(usize::from(link.remote)) {
            remote.answered = true;
        }
        let longest = self.consent_interval_max();
        // One that is not in use is asked on while a path is looked for: it may become the one.
        let interval = self
            .search_interval(now)
            .filter(|_| self.selected != Some(link));
        let Some(pair) = self.pair_mut(link) else {
            return;
        };
        // Of one that was sent again it is a bound, better than nothing for DTLS's first wait.
        let is_exact = check.sent == 1 && check.next <= check.first.plus(FIRST_WAIT.into());
        if is_exact || pair.round_trip.is_none() {
            pair.round_trip = Some(now.short_since(check.first));
        }
        pair.state = PairState::Succeeded;
        pair.check = None;
        pair.triggered = None;
        pair.answered = Some(now);
        pair.due = now.plus(interval.unwrap_or_else(|| consent_delay(&check.id).min(longest)));
        let before = pair.mapped.replace(mapped);
        if self.nominating == Some(link) && check.nomination.is_none() {
            // This was the check before; the one that nominates follows.
            self.trigger(link);
        }
        self.unfreeze();
        self.worked(now, link, check.nomination);
        if self.selected != Some(link) {
            return;
        }
        match before {
            Some(before) if before != mapped => self.remapped(now, link, mapped),
            _ => self.renewed(),
        }
    }

    /// A NAT has given the path another address: the remote shall prefer it from now on.
    fn remapped(&mut self, now: Instant, link: Link, mapped: SocketAddr) {
        self.moves = self.moves.saturating_add(1);
        self.nomination = self.nomination.saturating_add(1);
        self.renewing = true;
        let moves = self.moves;
        if let Some(base) = self.memory.bases.get_mut(usize::from(link.base)) {
            base.moves = moves;
        }
        if let Some(pair) = self.pair_mut(link) {
            pair.due = now + REMAPPED;
        }
        self.tell_mapped(link, mapped);
    }

    /// The remote has heard of the other address.
    pub(super) fn renewed(&mut self) {
        if core::mem::take(&mut self.renewing) {
            self.renewals = self.renewals.wrapping_add(1);
        }
    }

    /// How often a NAT gave the path in use another address and the remote has heard of it: what
    /// was sent meanwhile may be lost, though the path is the same for us.
    pub(in crate::rtc) const fn renewals(&self) -> u32 {
        self.renewals
    }

    /// An error came. Of a path in use only silence counts.
    fn refused(&mut self, link: Link, check: &Check, code: Option<u16>) {
        if code == Some(487) {
            if check.role == self.role && !self.config.lite {
                self.switch_role();
            }
            if let Some(pair) = self.pair_mut(link) {
                pair.check = None;
                if pair.state != PairState::Succeeded {
                    pair.state = PairState::Waiting;
                }
            }
            self.trigger(link);
        } else if self.selected != Some(link) {
            if let Some(pair) = self.pair_mut(link) {
                pair.check = None;
                pair.triggered = None;
                pair.state = PairState::Failed;
            }
            if self.nominating == Some(link) {
                self.nominating = None;
            }
            self.unfreeze();
        }
    }
}

/// Microseconds until the next check of a path that has just answered: 4 to 6 s, by a random byte.
fn consent_delay(random: &TransactionId) -> u64 {
    const LEAST: u32 = 800 * CONSENT_INTERVAL.as_secs() as u32;
    let [first, ..] = random;
    u64::from(LEAST + LEAST / 2 * u32::from(*first) / 255) * 1_000
}
