//! When a flight is sent again (RFC 6347 §4.2.4).

use crate::time::{Duration, Instant, earlier};

/// Bounds of the first wait.
pub(super) const FIRST_WAIT_MIN: Duration = Duration::from_millis(50);
pub(super) const FIRST_WAIT_MAX: Duration = Duration::from_secs(1);
/// The wait is doubled up to this one. RFC 6347 would go to 60 s, which is longer than a handshake
/// may take here; ICE knows sooner whether the path still lives.
const WAIT_MAX: Duration = Duration::from_secs(4);
/// How often a flight is sent because the remote repeated its own. After it only time counts.
const ANSWERS_MAX: u8 = 16;

#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    first: Duration,
    wait: Duration,
    /// When the flight is sent again.
    at: Option<Instant>,
    /// When the handshake ends.
    ends: Instant,
    sent: Option<Instant>,
    answers: u8,
}

impl Timer {
    pub(super) fn new(now: Instant, first_wait: Duration, time_limit: Duration) -> Self {
        let first = first_wait.clamp(FIRST_WAIT_MIN, FIRST_WAIT_MAX);
        Self {
            first,
            wait: first,
            at: None,
            ends: now + time_limit,
            sent: None,
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
    pub(super) const fn new_flight(&mut self) {
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
        self.at = Some(now + self.wait);
    }

    /// Whether it is time to send the flight again. It then waits twice as long.
    #[must_use]
    pub(super) fn expires(&mut self, now: Instant) -> bool {
        let expired = self.at.is_some_and(|at| now >= at);
        if expired {
            self.at = None;
            self.wait = (self.wait * 2).min(WAIT_MAX);
        }
        expired
    }

    /// Whether to send the flight again because the remote repeats itself: not if it was just sent,
    /// since one flight of the remote's can be many records.
    #[must_use]
    pub(super) fn answers(&mut self, now: Instant) -> bool {
        let quiet = |sent: Instant| now.saturating_duration_since(sent) >= self.first / 2;
        let answers = self.sent.is_some_and(quiet) && self.answers < ANSWERS_MAX;
        if answers {
            self.answers += 1;
        }
        answers
    }
}
