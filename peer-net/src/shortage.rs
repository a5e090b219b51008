//! Connections that the system does not hand over, for want of file descriptors mostly.

use core::time::Duration;
use std::io;

use tokio::time::Instant;

/// Pause before the system is asked again. The connections wait in its queue meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// The log says it again after so long.
const AGAIN: Duration = Duration::from_secs(60);
/// Errors of a process and of a system without file descriptors, on every Unix.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// What a listener does when it cannot accept: it says so, and asks again after a pause.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    told: Option<Instant>,
    over_at: Option<Instant>,
}

impl Shortage {
    /// `what` was not accepted.
    pub(crate) fn begin(&mut self, what: &str, error: &io::Error) {
        let now = Instant::now();
        self.over_at = Some(now + PAUSE);
        if !matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) {
            // It concerns one connection, which was given up before it was accepted.
            tracing::debug!(target: "peer_net", "{what} was not accepted: {error}");
            return;
        }
        if self
            .told
            .is_none_or(|told| now.duration_since(told) >= AGAIN)
        {
            self.told = Some(now);
            tracing::error!(
                target: "peer_net",
                "no file descriptors are left: {what} was not accepted, and new ones wait; allow \
                 this process more (ulimit -n, LimitNOFILE of a service): {error}"
            );
        }
    }

    /// When to ask again; `None`: now.
    pub(crate) fn over_at(&self) -> Option<Instant> {
        self.over_at.filter(|at| *at > Instant::now())
    }
}
