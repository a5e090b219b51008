//! What is sent next.

use core::ops::Range;

use super::agent::Agent;
use super::memory::{Link, Pair, PairState};
use super::{PACE, Transmit};
use crate::rtc::crypto::Crypto;
use crate::time::{Duration, Instant};

/// How long data paused until the path is checked, if it was not since. What the remote sends goes
/// astray where a NAT has given us another address, and only a check from there can tell it so.
const AFTER_DATA: Duration = Duration::from_millis(300);

impl Agent<'_> {
    /// Writes the next datagram that is to be sent now; `None` if there is none. `out` has to have
    /// at least 144 bytes, with TURN servers 1,200.
    pub fn transmit<C: Crypto>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        out: &mut [u8],
    ) -> Option<Transmit> {
        self.advance(now);
        while !self.answers.is_empty() {
            if let Some(answer) = self.transmit_answer(crypto, out) {
                return Some(answer);
            }
        }
        if let Some(request) = self.transmit_relay(now, crypto, out) {
            return Some(request);
        }
        if self.is_over() {
            return None;
        }
        for link in [self.selected, self.nominating].into_iter().flatten() {
            if let Some(pair) = self.pair(link)
                && self.due(pair).is_some_and(|due| due <= now)
            {
                return self.send_check(now, crypto, link, out);
            }
        }
        if now < self.paced {
            return None;
        }
        // Where many pairs are looked at again and again, there always is a check that is due.
        let mut transmit = match self.is_question_overdue(now) {
            true => self.ask(now, crypto, out),
            false => None,
        };
        if transmit.is_none() {
            transmit = match self.next_check(now) {
                Some(link) => self.send_check(now, crypto, link, out),
                None => self.ask(now, crypto, out),
            };
        }
        if transmit.is_some() {
            self.paced = now + PACE;
        }
        transmit
    }

    /// Makes a datagram of the data there for the [path](Self::path), in place, and returns it and
    /// where it lies. Through a relay it is wrapped: there have to be `turn::HEADROOM` bytes before
    /// and `turn::TAILROOM` after the data. `None` if there is no path, or no room.
    pub fn frame(
        &mut self,
        buffer: &mut [u8],
        data: Range<usize>,
    ) -> Option<(Transmit, Range<usize>)> {
        self.path()?;
        let link = self.selected?;
        let (route, to) = (self.base(link)?.route, self.remote_of(link)?.address);
        self.wrap(route, to, buffer, data)
    }

    /// Whether checks of this pair go out of turn: it has answered, and is in use or about to be.
    pub(super) fn is_unpaced(&self, link: Link) -> bool {
        self.selected == Some(link) || self.nominating == Some(link)
    }

    /// The pair that is checked next, but for those out of turn.
    fn next_check(&self, now: Instant) -> Option<Link> {
        let due = |pair: &&Pair| {
            !self.is_unpaced(pair.link) && self.due(pair).is_some_and(|due| due <= now)
        };
        let pairs = self.memory.pairs.iter().filter(due);
        let triggered = pairs
            .clone()
            .filter_map(|pair| Some((pair.triggered?, pair.link)));
        if let Some((_, link)) = triggered.min_by_key(|(order, _)| *order) {
            return Some(link);
        }
        let next = pairs.max_by_key(|pair| {
            let fresh = pair.state == PairState::Waiting;
            let last = Some(pair.link.remote) == self.last_remote;
            let waited = now.micros_since(pair.due);
            (fresh, last, waited, self.priority(pair.link))
        });
        next.map(|pair| pair.link)
    }

    /// When this pair is to be checked next.
    pub(super) fn due(&self, pair: &Pair) -> Option<Instant> {
        let possible = self.may_check(pair.link) && self.is_open(pair.link);
        if self.config.lite || self.remote.is_none() || !possible {
            return None;
        }
        if self.selected == Some(pair.link) {
            let quiet = pair.data.filter(|data| pair.answered < Some(*data));
            let due = quiet.map_or(pair.due, |data| pair.due.min(data + AFTER_DATA));
            return Some(pair.check.map_or(due, |check| check.next));
        }
        if pair.triggered.is_some() {
            return Some(Instant::ZERO);
        }
        if self.silent_since().is_some() {
            return Some(pair.due);
        }
        let again = match self.is_last(pair) {
            true => None,
            false => pair.check.map(|check| check.next),
        };
        match pair.state {
            _ if self.nominating == Some(pair.link) => again,
            PairState::Waiting if self.is_wanted(pair.link) => Some(pair.due),
            PairState::InProgress if self.is_wanted(pair.link) => again,
            _ => None,
        }
    }
}
