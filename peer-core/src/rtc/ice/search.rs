//! Time: a path that falls silent, the search for another one, and the end.

use super::agent::{Agent, Cause, Phase};
use super::event::Failure;
use super::memory::{BaseState, Link, Pair, PairState};
use super::{CONSENT, CONSENT_REPEAT, Role};
use crate::time::{Duration, Instant, duration, earlier, micros};

/// How long beyond its round trip a check of the path in use is not answered until others are
/// tried: two were sent.
const SEARCH_AFTER: Duration = Duration::from_millis(600);
/// The shortest silence that can be asked to be survived.
const SURVIVE_MIN: Duration = Duration::from_secs(1);
/// How long a lite agent is not asked until the path counts as silent.
const LITE_SILENCE: Duration = Duration::from_secs(15);
/// How late we are called until that is taken for a sleep of the machine.
const SLEPT: Duration = Duration::from_secs(5);
/// How long after a change of our address the candidates are told again while nothing answers: what
/// took the first ones to the remote may have been lost with the old address.
const TELL_AGAIN: [u64; 3] = [400_000, 1_000_000, 2_500_000];
/// Between two checks of a pair while a path is looked for, until so much silence: in microseconds.
const INTERVALS: [(u64, u64); 2] = [(5_000_000, 200_000), (60_000_000, 1_000_000)];
/// The same after that.
const LONG_INTERVAL: u64 = 5_000_000;

impl Agent<'_> {
    /// Our address has changed: every pair is checked at once, and the remote told to prefer what
    /// it sees.
    pub(super) fn moved(&mut self, now: Instant) {
        self.tell_candidates_again();
        self.changed = Some((now, 0));
        self.nomination = self.nomination.saturating_add(1);
        let since = self.silent_since().unwrap_or(now);
        match self.phase {
            Phase::Connected | Phase::Searching { .. } => {
                self.phase = Phase::Searching {
                    since,
                    cause: Cause::Moved,
                };
            }
            _ => {}
        }
        self.hurry(now);
    }

    /// Returns whether the path has not answered for [`Config::silence`](super::Config), as
    /// [`Event::Disconnected`](super::Event::Disconnected) tells.
    pub const fn is_disconnected(&self) -> bool {
        matches!(self.phase, Phase::Disconnected { .. })
    }

    /// Whether the remote has said so lately that it wants to hear from us on this pair: by an
    /// answer, or by a request where we are lite.
    pub(super) fn has_consent(&self, pair: &Pair) -> bool {
        let last = match self.config.lite {
            true => pair.asked,
            false => pair.answered,
        };
        last.is_some_and(|at| at + CONSENT > self.advanced)
    }

    /// Returns why the agent gave up, as soon as it has.
    pub const fn failure(&self) -> Option<Failure> {
        match self.phase {
            Phase::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// Returns the shortest round trip that a check had, of any pair; `None` before an answer.
    pub fn round_trip(&self) -> Option<Duration> {
        let pairs = self.memory.pairs.iter();
        pairs.filter_map(|pair| pair.round_trip).min().map(duration)
    }

    fn hurry(&mut self, now: Instant) {
        self.hurried = now;
        for pair in self.memory.pairs.iter_mut() {
            pair.due = now;
        }
        for question in self.memory.questions.iter_mut() {
            if !question.is_asked {
                question.next = now;
            }
        }
        self.probe_relays(now);
    }

    /// Returns since when there is no path that answers: what has waited longest may give way to
    /// another connection.
    pub const fn silent_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Searching { since, .. } | Phase::Disconnected { since } => Some(since),
            _ => None,
        }
    }

    /// Microseconds between two checks of a pair while a path is looked for.
    pub(super) fn search_interval(&self, now: Instant) -> Option<u64> {
        self.silent_since()?;
        let silent = now.micros_since(self.hurried);
        let interval = INTERVALS.iter().find(|(until, _)| silent < *until);
        Some(interval.map_or(LONG_INTERVAL, |(_, interval)| *interval))
    }

    /// When the candidates are told again.
    fn tells_again(&self) -> Option<Instant> {
        self.silent_since()?;
        let (since, times) = self.changed?;
        let after = TELL_AGAIN.get(usize::from(times))?;
        Some(since.plus(*after))
    }

    /// Does what is due at this time without anything having come.
    pub(super) fn advance(&mut self, now: Instant) {
        let before = core::mem::replace(&mut self.advanced, now);
        if self.reselect.is_some_and(|at| at <= now) {
            self.reselect = None;
            self.choose(now);
        }
        self.give_up_checks(now);
        self.keep_permissions(now);
        // Each step may be due after a long sleep.
        while let Some((at, next)) = self.next_phase() {
            if at > now {
                break;
            }
            if before < at && at + SLEPT < now && !self.config.lite {
                self.wake(now);
                break;
            }
            match next {
                Phase::Searching { .. } => self.hurry(now),
                Phase::Disconnected { .. } if self.role == Role::Controlling => {
                    self.nomination = self.nomination.saturating_add(1);
                }
                Phase::Failed(failure) => {
                    self.fail(failure);
                    break;
                }
                _ => {}
            }
            self.phase = next;
        }
        // A search that has begun just now may be long after the change.
        while self.tells_again().is_some_and(|at| at <= now)
            && let Some((_, times)) = &mut self.changed
        {
            *times += 1;
            self.tell_candidates_again();
        }
    }

    /// Nobody was there to hear an answer, as the machine slept: the time begins anew. Consent does
    /// not, it ended with the time of the last answer.
    fn wake(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Checking { since } => *since = now,
            phase => {
                *phase = Phase::Searching {
                    since: now,
                    cause: Cause::Moved,
                };
            }
        }
        self.hurry(now);
    }

    /// Where the agent goes if nothing comes, and when.
    fn next_phase(&self) -> Option<(Instant, Phase)> {
        match self.phase {
            Phase::Checking { since } => {
                let hopeless = !self
                    .memory
                    .pairs
                    .iter()
                    .any(|pair| pair.state == PairState::Succeeded || self.is_unfinished(pair));
                let pairs = !self.memory.pairs.is_empty();
                let failure = match pairs {
                    true => Failure::NoAnswer,
                    false => Failure::NoCandidates,
                };
                // Two NATs that give each packet another port show each other new ones for ever.
                let patience = micros(self.config.patience);
                let more = if hopeless { 0 } else { patience };
                let waits = self.remote.is_some() && !self.config.lite;
                let at = since.plus(patience).plus(more);
                waits.then_some((at, Phase::Failed(failure)))
            }
            Phase::Connected => {
                let pair = self.pair(self.selected?)?;
                if self.config.lite {
                    let since = pair.asked?;
                    return Some((since + LITE_SILENCE, Phase::Disconnected { since }));
                }
                let since = pair.check.as_ref()?.first;
                let cause = Cause::Silent;
                let answers = pair.round_trip.map_or(Duration::ZERO, duration);
                let at = since + SEARCH_AFTER + answers;
                Some((at, Phase::Searching { since, cause }))
            }
            Phase::Searching { since, .. } if self.survive() > micros(self.config.silence) => {
                Some((since + self.config.silence, Phase::Disconnected { since }))
            }
            Phase::Searching { since, .. } | Phase::Disconnected { since } => {
                Some((since.plus(self.survive()), Phase::Failed(Failure::Lost)))
            }
            Phase::Failed(_) | Phase::Closed => None,
        }
    }

    /// How many microseconds a path may be silent: what is shorter than this only says that nothing
    /// was asked.
    fn survive(&self) -> u64 {
        micros(self.config.survive.max(match self.config.lite {
            true => LITE_SILENCE,
            false => SURVIVE_MIN,
        }))
    }

    /// The most microseconds between two checks of a path that works, so that one that has died is
    /// known as dead not much later than is survived.
    pub(super) fn consent_interval_max(&self) -> u64 {
        (self.survive() / 4).max(micros(CONSENT_REPEAT))
    }

    /// Checks that were sent as often as they are, and not answered.
    fn give_up_checks(&mut self, now: Instant) {
        let mut given_up = false;
        while let Some(link) = self.hopeless_check(now) {
            let nominated = self.nominating == Some(link);
            if nominated {
                self.nominating = None;
            }
            let Some(pair) = self.pair_mut(link) else {
                return;
            };
            pair.check = None;
            pair.triggered = None;
            // One that worked once stays, if it was not to be used.
            if nominated || pair.state != PairState::Succeeded {
                pair.state = PairState::Failed;
            }
            self.yield_peer(link);
            given_up = true;
        }
        if given_up {
            self.unfreeze();
            self.choose(now);
        }
    }

    /// A pair whose check has been waited for long enough.
    fn hopeless_check(&self, now: Instant) -> Option<Link> {
        let mut pairs = self.memory.pairs.iter();
        let pair = pairs.find(|pair| self.end_of_check(pair).is_some_and(|at| at <= now))?;
        Some(pair.link)
    }

    /// When the check of this pair is given up, if it is not sent again.
    fn end_of_check(&self, pair: &Pair) -> Option<Instant> {
        let ends =
            self.silent_since().is_none() && self.selected != Some(pair.link) && self.is_last(pair);
        pair.check.filter(|_| ends).map(|check| check.next)
    }

    /// When [`transmit`](Self::transmit) has something to do by itself; `None` for never.
    pub fn timeout(&self) -> Option<Instant> {
        if !self.answers.is_empty() {
            return Some(Instant::ZERO);
        }
        if self.is_over() {
            return self.relays_due();
        }
        let mut at = earlier(self.reselect, self.relays_due());
        at = earlier(at, self.next_phase().map(|(at, _)| at));
        at = earlier(at, self.tells_again());
        let paced = |due: Instant| due.max(self.paced);
        for question in self.memory.questions.iter() {
            at = earlier(at, question.due(self.asks_again()).map(paced));
        }
        for pair in self.memory.pairs.iter() {
            let due = self.due(pair).map(|due| match self.is_unpaced(pair.link) {
                true => due,
                false => paced(due),
            });
            at = earlier(earlier(at, due), self.end_of_check(pair));
        }
        at
    }

    /// Whether a base is in use.
    pub(super) fn has_base(&self) -> bool {
        let mut bases = self.memory.bases.iter();
        bases.any(|base| base.state != BaseState::Gone)
    }
}
