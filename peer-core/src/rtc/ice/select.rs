//! Which pair is used: nomination, and what replaces a pair in use.

use super::Role;
use super::agent::{Agent, Phase};
use super::candidate::CandidateKind;
use super::memory::{Link, Pair, PairState};
use crate::time::{Duration, Instant};

/// How long a better pair is waited for before the first nomination, where one end is behind a NAT,
/// and where a relay is between. It can be replaced later; not every remote follows, though.
const WAIT_REFLEXIVE: Duration = Duration::from_millis(100);
const WAIT_RELAYED: Duration = Duration::from_millis(200);
/// How long nothing came on the path in use until another one that the remote has nominated as
/// well, but is worth less, replaces it.
const QUIET: Duration = Duration::from_millis(500);
/// The same where data comes on the other one: more than datagrams are overtaken by.
const QUIET_FOR_DATA: Duration = Duration::from_millis(100);
/// How long the path in use does not answer until any other one that does replaces it.
const SILENT: Duration = Duration::from_secs(2);

impl Agent<'_> {
    /// A check of this pair was answered; it had this NOMINATION with USE-CANDIDATE.
    pub(super) fn worked(&mut self, now: Instant, link: Link, nomination: Option<u32>) {
        if self.selected == Some(link) {
            self.goes_on();
        } else if self.role == Role::Controlling
            && nomination == Some(self.nomination)
            && (self.nominating == Some(link)
                || self
                    .pair(link)
                    .is_some_and(|pair| self.is_better(now, pair, self.used())))
        {
            self.select(now, link);
        }
        self.choose(now);
    }

    /// An authentic request came on this pair.
    pub(super) fn heard(&mut self, now: Instant, link: Link) {
        if self.config.lite && self.selected == Some(link) {
            self.goes_on();
        }
        self.choose(now);
    }

    /// Data came on this pair.
    pub(super) fn data_came(&mut self, now: Instant, link: Link) {
        let Some(pair) = self.pair_mut(link) else {
            return;
        };
        pair.data = Some(now);
        if self.selected != Some(link) {
            self.choose(now);
        }
    }

    /// The path in use answers.
    fn goes_on(&mut self) {
        if self.silent_since().is_some() {
            self.phase = Phase::Connected;
            self.changed = None;
        }
    }

    pub(super) fn select(&mut self, now: Instant, link: Link) {
        if self.is_over() {
            return;
        }
        // What the remote nominated before is no reason to go back.
        let before = self
            .selected
            .and_then(|selected| self.pair(selected)?.nominated);
        self.selected = Some(link);
        self.selected_at = now;
        self.last_remote = Some(link.remote);
        self.nominating = None;
        self.reselect = None;
        self.phase = Phase::Connected;
        self.changed = None;
        self.path_untold = true;
        if let Some(pair) = self.pair_mut(link) {
            pair.nominated = pair.nominated.max(before);
            // It is not silent for longer than it is in use.
            if let Some(check) = &mut pair.check {
                check.first = now;
                check.sent = check.sent.max(2);
            }
        }
        self.bind_channel(now, link);
    }

    /// Thinks over which pair is used.
    pub(super) fn choose(&mut self, now: Instant) {
        let used = self.used();
        let best = self
            .memory
            .pairs
            .iter()
            .filter(|pair| self.is_better(now, pair, used))
            .max_by_key(|pair| {
                let nominated = match self.role {
                    Role::Controlling => None,
                    Role::Controlled => pair.nominated,
                };
                (nominated, self.priority(pair.link))
            })
            .map(|pair| pair.link);
        let Some(best) = best else {
            self.think_again(now);
            return;
        };
        match self.role {
            Role::Controlled => self.select(now, best),
            Role::Controlling if !matches!(self.phase, Phase::Checking { .. }) => {
                self.replace(now, best);
            }
            Role::Controlling if self.nominating.is_none() => self.nominate(now, best),
            Role::Controlling => {}
        }
    }

    /// A pair that the remote nominated may replace the one in use once that is quiet.
    fn think_again(&mut self, now: Instant) {
        let waits = self.role == Role::Controlled
            && self.memory.pairs.iter().any(|pair| {
                pair.state == PairState::Succeeded
                    && pair.nominated.is_some()
                    && Some(pair.link) != self.selected
                    && pair.asked.is_some_and(|asked| asked + QUIET > now)
            });
        if waits && self.reselect.is_none() {
            self.reselect = Some(now + QUIET);
        }
    }

    /// Sends a check with USE-CANDIDATE, once there is nothing better to wait for.
    fn nominate(&mut self, now: Instant, link: Link) {
        let better =
            self.memory.pairs.iter().any(|pair| {
                self.is_unfinished(pair) && self.priority(pair.link) > self.priority(link)
            });
        let first = self.memory.pairs.iter().filter_map(|pair| pair.answered);
        let ready = first.min().unwrap_or(now) + self.patience_for(link);
        if better && now < ready {
            self.reselect = Some(ready);
            return;
        }
        self.reselect = None;
        self.nominating = Some(link);
        self.trigger(link);
    }

    /// Uses another pair from now on. Data need not wait until the remote has heard of it: it takes
    /// data wherever we have proved ourselves.
    fn replace(&mut self, now: Instant, link: Link) {
        self.nomination = self.nomination.saturating_add(1);
        self.select(now, link);
        if let Some(pair) = self.pair_mut(link) {
            pair.due = now;
            pair.check = None;
        }
    }

    fn patience_for(&self, link: Link) -> Duration {
        let relays = self
            .base(link)
            .is_some_and(|base| base.kind == CandidateKind::Relay);
        let remote = self.remote_of(link).map(|remote| remote.kind);
        match remote {
            _ if relays => WAIT_RELAYED,
            Some(CandidateKind::Host) => Duration::ZERO,
            Some(CandidateKind::Relay) => WAIT_RELAYED,
            _ => WAIT_REFLEXIVE,
        }
    }

    /// The pair in use.
    fn used(&self) -> Option<&Pair> {
        self.pair(self.selected?)
    }

    /// Whether this pair works and is to be used instead of the one that is.
    fn is_better(&self, now: Instant, pair: &Pair, used: Option<&Pair>) -> bool {
        let link = pair.link;
        if pair.state != PairState::Succeeded || self.selected == Some(link) {
            return false;
        }
        let by_remote = self.role == Role::Controlled && pair.nominated.is_none();
        let Some(used) = used else {
            // The first is the remote's choice, where that is its part. After a change of our
            // address it may not know yet that there is something to choose.
            return !by_remote || (self.had_path() && pair.answered.is_some());
        };
        let higher = self.priority(link) > self.priority(used.link);
        let since = |at: Option<Instant>, time: Duration| at.is_none_or(|at| at + time <= now);
        let data_moved =
            pair.data.is_some() && pair.data > used.heard() && since(used.heard(), QUIET_FOR_DATA);
        let replaces_silent = is_silent(now, used)
            && pair.answered > used.answered
            && pair.answered > used.check.map(|check| check.first);
        // Those that were proved before were not chosen then.
        let since_then = match self.role {
            Role::Controlling => pair.answered,
            Role::Controlled => pair.answered.max(pair.asked),
        };
        let higher = higher && since_then >= Some(self.selected_at);
        match self.role {
            Role::Controlling => higher || data_moved || replaces_silent,
            Role::Controlled => {
                let as_good = pair.nominated.is_some() && pair.nominated == used.nominated;
                let asked_since = pair.asked > used.heard() && since(used.heard(), QUIET);
                // Data that moved is the remote's choice, too: its NAT may have given it another
                // address, and then it has nothing to nominate.
                pair.nominated > used.nominated
                    || data_moved
                    || (as_good && (higher || asked_since))
                    || replaces_silent
            }
        }
    }

    /// Whether there has been a path.
    const fn had_path(&self) -> bool {
        !matches!(self.phase, Phase::Checking { .. })
    }

    /// Whether the remote has proved itself on this pair.
    pub(super) fn is_proved(&self, link: Link) -> bool {
        self.pair(link)
            .is_some_and(|pair| pair.asked.is_some() || pair.answered.is_some())
    }
}

/// Whether a path has not answered for some time.
fn is_silent(now: Instant, pair: &Pair) -> bool {
    pair.check
        .is_some_and(|check| check.sent > 2 && check.first + SILENT <= now)
}
