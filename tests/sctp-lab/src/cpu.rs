//! CPU time of the calls of an end.

use std::sync::OnceLock;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Sums the CPU time that this thread spent between [`start`](Self::start) and
/// [`stop`](Self::stop), less what reading the clock costs.
#[derive(Debug, Default)]
pub struct Meter {
    started: Duration,
    spent: Duration,
}

impl Meter {
    /// Begins a span.
    pub fn start(&mut self) {
        self.started = thread_time();
    }

    /// Ends the span.
    pub fn stop(&mut self) {
        let span = thread_time().saturating_sub(self.started);
        self.spent += span.saturating_sub(clock_cost());
    }

    /// The sum of all spans.
    pub fn spent(&self) -> Duration {
        self.spent
    }
}

fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// What an empty span shows, measured once a process.
fn clock_cost() -> Duration {
    static COST: OnceLock<Duration> = OnceLock::new();
    *COST.get_or_init(|| {
        let mut spans: Vec<Duration> = (0..1001)
            .map(|_| {
                let started = thread_time();
                thread_time().saturating_sub(started)
            })
            .collect();
        spans.sort_unstable();
        spans[spans.len() / 2]
    })
}
