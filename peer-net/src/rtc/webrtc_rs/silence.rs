//! How long the remote has been silent.
//!
//! The agent below notes by the wall clock when it heard the remote, and would judge the age of
//! that note by the wall clock too: set forward by a minute, it would end every session at once.
//! Here a note that changes means that something came, whatever it says, and time is measured by
//! the monotonic clock.

use core::time::Duration;
use std::time::{Instant, SystemTime};

/// Measures silence from looks at the agent's note.
#[derive(Debug)]
pub(super) struct Silence {
    /// The longest time that counts between two looks.
    stride: Duration,
    note: Option<SystemTime>,
    looked: Instant,
    silent: Duration,
}

impl Silence {
    /// `stride`: somewhat more than the time between two looks. A program that was stopped for
    /// longer did not listen, so the rest of that time says nothing about the remote.
    pub(super) const fn new(stride: Duration, now: Instant) -> Self {
        Self {
            stride,
            note: None,
            looked: now,
            silent: Duration::ZERO,
        }
    }

    /// How long the remote has been silent, by what the agent's note says now.
    pub(super) fn look(&mut self, note: SystemTime, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.looked).min(self.stride);
        self.looked = now;
        if self.note.replace(note) == Some(note) {
            self.silent += passed;
        } else {
            self.silent = Duration::ZERO;
        }
        self.silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_step_of_the_wall_clock_is_no_silence() {
        let (wall, start) = (SystemTime::now(), Instant::now());
        let mut silence = Silence::new(2 * SECOND, start);
        let mut look = |note: SystemTime, at: u32| silence.look(note, start + at * SECOND);
        assert_eq!(look(wall, 0), Duration::ZERO);
        assert_eq!(look(wall + SECOND, 1), Duration::ZERO);
        // The clock goes an hour forward, then two back; the remote is heard all the time.
        assert_eq!(look(wall + HOUR, 2), Duration::ZERO);
        assert_eq!(look(wall - HOUR, 3), Duration::ZERO);
        // Now it falls silent, and the clock has no say in it.
        assert_eq!(look(wall - HOUR, 4), SECOND);
        assert_eq!(look(wall - HOUR, 5), 2 * SECOND);
        assert_eq!(look(wall - HOUR + SECOND, 6), Duration::ZERO);
    }

    #[test]
    fn a_stopped_program_did_not_listen() {
        let (wall, start) = (SystemTime::now(), Instant::now());
        let mut silence = Silence::new(2 * SECOND, start);
        assert_eq!(silence.look(wall, start), Duration::ZERO);
        assert_eq!(silence.look(wall, start + HOUR), 2 * SECOND);
    }
}
