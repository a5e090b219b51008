//! When frames are sent again: the timer of RFC 6298, since a stream may be a socket or a wire of
//! 1,200 bits a second.

use crate::time::{Duration, Instant};

use super::{RESEND_WAIT_MAX, RESENDS_MAX};

#[derive(Debug)]
pub(super) struct Retransmission {
    /// The shortest wait, and the first one.
    least: u32,
    /// How long to wait for an acknowledgement, in microseconds. Doubled each time that none comes.
    wait: u32,
    /// How long acknowledgements took, smoothed, and how far that varies, in microseconds.
    took: Option<(u32, u32)>,
    /// The frame whose acknowledgement is timed, and when it was written. Never one that was sent
    /// again: it could not be told which of the two was acknowledged.
    timed: Option<(u8, Instant)>,
    at: Option<Instant>,
    /// Times in a row.
    count: u8,
}

impl Retransmission {
    pub(super) fn new(least: Duration) -> Self {
        let least = micros(least);
        Self {
            least,
            wait: least,
            took: None,
            timed: None,
            at: None,
            count: 0,
        }
    }

    /// A whole frame was written; `again`: not for the first time.
    pub(super) fn written(&mut self, now: Instant, number: u8, again: bool) {
        if !again && self.timed.is_none() {
            self.timed = Some((number, now));
        }
        self.at = Some(now + self.wait());
    }

    /// Frames were acknowledged, all before `next`; `more`: others are not.
    pub(super) fn acknowledged(&mut self, now: Instant, next: u8, more: bool) {
        let timed = self
            .timed
            .take_if(|(number, _)| (1..=128).contains(&next.wrapping_sub(*number)));
        if let Some((_, since)) = timed {
            self.learn(micros(now.saturating_duration_since(since)));
        }
        self.count = 0;
        self.at = more.then(|| now + self.wait());
    }

    /// Everything unacknowledged is sent again because the other end asked for it.
    pub(super) fn asked(&mut self) {
        self.timed = None;
    }

    /// Whether everything unacknowledged has to be sent again because the time has come.
    pub(super) fn fire(&mut self, now: Instant) -> bool {
        let due = self.at.take_if(|at| *at <= now).is_some();
        if due {
            self.timed = None;
            self.count = self.count.saturating_add(1);
            self.wait = self.wait.saturating_mul(2).min(self.longest());
        }
        due
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.at
    }

    /// Whether it was in vain too often.
    pub(super) fn is_exhausted(&self) -> bool {
        self.count > RESENDS_MAX
    }

    fn wait(&self) -> Duration {
        Duration::from_micros(self.wait.into())
    }

    fn longest(&self) -> u32 {
        micros(RESEND_WAIT_MAX).max(self.least)
    }

    /// RFC 6298, sections 2.2 and 2.3.
    fn learn(&mut self, took: u32) {
        let (smooth, varies) = match self.took {
            None => (took, took / 2),
            Some((smooth, varies)) => (
                smooth - smooth / 8 + took / 8,
                varies - varies / 4 + smooth.abs_diff(took) / 4,
            ),
        };
        self.took = Some((smooth, varies));
        let wait = smooth.saturating_add(varies.saturating_mul(4));
        self.wait = wait.min(self.longest()).max(self.least);
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_millis(500);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn it_waits_twice_as_long_each_time_and_gives_up() {
        let mut timer = Retransmission::new(LEAST);
        let mut now = at(0);
        let mut waits = [0; RESENDS_MAX as usize];
        timer.written(now, 0, false);
        for wait in &mut waits {
            assert!(!timer.is_exhausted());
            let next = timer.next_timeout().unwrap();
            *wait = next.saturating_duration_since(now).as_millis();
            now = next;
            assert!(timer.fire(now));
            assert!(!timer.fire(now), "once");
            timer.written(now, 0, true);
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000, 8000]);
        assert!(!timer.is_exhausted());
        assert!(timer.fire(timer.next_timeout().unwrap()));
        assert!(timer.is_exhausted());
    }

    #[test]
    fn it_learns_how_slow_the_stream_is() {
        let mut timer = Retransmission::new(LEAST);
        for number in 0..20 {
            let now = at(u64::from(number) * 10_000);
            timer.written(now, number, false);
            timer.acknowledged(at(u64::from(number) * 10_000 + 3000), number + 1, false);
            assert_eq!(timer.next_timeout(), None);
        }
        timer.written(at(300_000), 20, false);
        let wait = timer
            .next_timeout()
            .unwrap()
            .saturating_duration_since(at(300_000));
        assert!(
            wait >= Duration::from_secs(3) && wait < Duration::from_secs(4),
            "{wait:?}"
        );
    }

    #[test]
    fn what_was_sent_again_teaches_nothing_and_the_longer_wait_stays() {
        let mut timer = Retransmission::new(LEAST);
        timer.written(at(0), 255, false);
        assert!(timer.fire(at(500)));
        timer.written(at(500), 255, true);
        timer.acknowledged(at(501), 0, true);
        assert_eq!(timer.next_timeout(), Some(at(1501)));
        // A fast one teaches it to be quick again, but not quicker than allowed.
        timer.written(at(600), 0, false);
        timer.acknowledged(at(601), 1, true);
        assert_eq!(timer.next_timeout(), Some(at(1101)));
    }
}
