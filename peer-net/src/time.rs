//! Points in time, however long the wait until them.

use core::future::pending;
use core::time::Duration;

use tokio::time::Instant;

/// What "for ever" means here: some thirty years. Longer waits would overflow the clock of some
/// systems.
pub(crate) const FOREVER: Duration = Duration::from_secs(1 << 30);

/// So much later, whatever the application chose as a wait.
pub(crate) fn after(start: Instant, wait: Duration) -> Instant {
    start + wait.min(FOREVER)
}

/// The engine's time, on a clock that begins at `epoch`.
pub(crate) fn engine_now(epoch: Instant) -> peer_core::time::Instant {
    let micros = epoch.elapsed().as_micros();
    peer_core::time::Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// The same the other way round.
pub(crate) fn of_engine(epoch: Instant, at: peer_core::time::Instant) -> Instant {
    after(epoch, Duration::from_micros(at.as_micros()))
}

/// Waits until then; `None` is never.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wait_is_too_long() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::MAX), now + FOREVER);
        assert_eq!(after(now, Duration::ZERO), now);
        let end = peer_core::time::Instant::from_micros(u64::MAX);
        assert!(of_engine(now, end) > now);
    }
}
