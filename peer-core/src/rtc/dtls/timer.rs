//! When a flight is sent again (RFC 6347 §4.2.4).

use crate::rtc;
use crate::time::{Duration, Instant, earlier};

/// No wait is longer, in microseconds (RFC 6347 §4.2.4.1).
const WAIT_MAX: u32 = 60_000_000;
/// How often a flight is sent because the remote repeated its own. After it only time counts.
const ANSWERS_MAX: u8 = 16;
/// How often a flight is sent to a stranger at all: what may be nobody is to cost little. The last
/// time is not an answer, however often the stranger repeats itself.
const STRANGER_MAX: u8 = 6;
/// How much longer the wait before the last of them is, for a remote that only begins late.
const LAST_TRY: u32 = 4;

/// Whom a flight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remote {
    /// It has not proved who it is.
    Stranger,
    /// Its signature was verified.
    Known,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    /// The first wait and the next one, in microseconds.
    first: u32,
    wait: u32,
    /// When the flight is sent again.
    at: Option<Instant>,
    /// When the handshake ends.
    ends: Instant,
    sent: Option<Instant>,
    remote: Remote,
    /// How often this flight was sent, and how often as an answer.
    sends: u8,
    answers: u8,
}

impl Timer {
    pub(super) fn new(now: Instant, first_wait: Duration, time_limit: Duration) -> Self {
        let first = rtc::first_wait(first_wait);
        Self {
            first,
            wait: first,
            at: None,
            ends: now + time_limit,
            sent: None,
            remote: Remote::Stranger,
            sends: 0,
            answers: 0,
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        earlier(self.at, Some(self.ends))
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.ends
    }

    /// Another flight is to be sent.
    pub(super) const fn new_flight(&mut self, known: bool) {
        self.remote = if known {
            Remote::Known
        } else {
            Remote::Stranger
        };
        self.sends = 0;
        self.wait = self.first;
        self.at = None;
        self.sent = None;
        self.answers = 0;
    }

    /// The flight arrived.
    pub(super) const fn stop(&mut self) {
        self.at = None;
    }

    /// The flight was sent to its end; an answer is waited for.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = Some(now);
        self.sends = self.sends.saturating_add(1);
        let mut wait = self.wait;
        if self.remote == Remote::Stranger && self.sends == STRANGER_MAX - 1 {
            wait *= LAST_TRY;
        }
        let goes_on = self.remote == Remote::Known || self.sends < STRANGER_MAX;
        self.at = goes_on.then_some(now.plus(wait.min(WAIT_MAX).into()));
    }

    fn back_off(&mut self) {
        self.wait = (self.wait * 2).min(WAIT_MAX);
    }

    /// Whether it is time to send the flight again. It then waits twice as long.
    #[must_use]
    pub(super) fn expires(&mut self, now: Instant) -> bool {
        let expired = self.at.is_some_and(|at| now >= at);
        if expired {
            self.at = None;
            self.back_off();
        }
        expired
    }

    /// Whether to send the flight again because the remote repeats itself: not if it was just sent,
    /// since one flight of the remote's can be many records. To a stranger it is as if the timer
    /// had run out: however often it repeats itself, it is not answered ever faster.
    #[must_use]
    pub(super) fn answers(&mut self, now: Instant) -> bool {
        let (may_send, wait) = match self.remote {
            Remote::Known => (self.answers < ANSWERS_MAX, self.first),
            Remote::Stranger => (self.sends + 1 < STRANGER_MAX, self.wait),
        };
        let quiet = |sent: Instant| now.short_since(sent) >= wait / 2;
        let answers = may_send && self.sent.is_some_and(quiet);
        if answers {
            self.answers += 1;
            if self.remote == Remote::Stranger {
                self.back_off();
            }
        }
        answers
    }
}
