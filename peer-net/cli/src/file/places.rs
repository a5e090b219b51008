//! Who may send now: a few places, and what makes one free.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

/// Files that come at a time. Further senders wait for their `accept`.
const PLACES: usize = 8;
/// Places of one remote, while at least half of them are taken.
const PLACES_OF_REMOTE: usize = 2;
/// How long a place is safe from those who wait.
const GRACE: Duration = Duration::from_secs(10);
/// A transfer of so many bytes a second is never ended for one that waits.
const FAST: u64 = 64 << 10;

/// The places of all transfers.
#[derive(Default)]
pub(super) struct Places {
    taken: Mutex<Vec<Arc<Taken>>>,
    freed: Notify,
}

struct Taken {
    remote: String,
    progress: Mutex<Progress>,
    /// Told that another waits and comes first.
    over: watch::Sender<bool>,
}

struct Progress {
    since: Instant,
    bytes: u64,
}

impl Progress {
    fn rate(&self, now: Instant) -> u64 {
        let seconds = now.saturating_duration_since(self.since).as_secs().max(1);
        self.bytes / seconds
    }
}

/// A place, until this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    taken: Arc<Taken>,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, Vec<Arc<Taken>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, and waits for one. While somebody waits, the slowest transfer whose place is
    /// not new any more gives way.
    pub(super) async fn take(self: &Arc<Self>, remote: &str) -> Place {
        loop {
            let freed = self.freed.notified();
            if let Some(place) = self.try_take(remote) {
                return place;
            }
            if timeout(GRACE, freed).await.is_err() {
                self.give_way(Instant::now());
            }
        }
    }

    fn try_take(self: &Arc<Self>, remote: &str) -> Option<Place> {
        let mut taken = self.taken();
        let own = taken.iter().filter(|taken| taken.remote == remote).count();
        let crowded = taken.len() >= PLACES / 2;
        if taken.len() >= PLACES || (crowded && own >= PLACES_OF_REMOTE) {
            return None;
        }
        let place = Arc::new(Taken {
            remote: remote.to_owned(),
            progress: Mutex::new(Progress {
                since: Instant::now(),
                bytes: 0,
            }),
            over: watch::Sender::new(false),
        });
        taken.push(Arc::clone(&place));
        Some(Place {
            places: Arc::clone(self),
            taken: place,
        })
    }

    fn give_way(&self, now: Instant) {
        let taken = self.taken();
        if taken.len() < PLACES {
            return;
        }
        let rates = taken.iter().filter_map(|taken| {
            let progress = taken
                .progress
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let is_old = now.saturating_duration_since(progress.since) >= GRACE;
            is_old.then(|| (progress.rate(now), taken))
        });
        if let Some((rate, slowest)) = rates.min_by_key(|(rate, _)| *rate)
            && rate < FAST
        {
            slowest.over.send_replace(true);
        }
    }
}

impl Place {
    /// Bytes came.
    pub(super) fn progressed(&self, bytes: u64) {
        let mut progress = self
            .taken
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        progress.bytes = progress.bytes.saturating_add(bytes);
    }

    /// Waits until this place is another's.
    pub(super) async fn over(&self) {
        // The sender lives in `self`.
        drop(self.taken.over.subscribe().wait_for(|over| *over).await);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places
            .taken()
            .retain(|taken| !Arc::ptr_eq(taken, &self.taken));
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silent_and_trickling_senders_give_way() {
        let places = Arc::new(Places::default());
        let mut taken = Vec::new();
        for number in 0..PLACES {
            taken.push(places.take(&format!("mallory{number}")).await);
        }
        // All but one are as fast as honest ones; that one trickles.
        for place in &taken[1..] {
            place.progressed(FAST * 1000);
        }
        taken[0].progressed(100);
        let is_over = |place: &Place| *place.taken.over.borrow();
        places.give_way(Instant::now());
        assert!(!taken.iter().any(is_over), "all are new");
        places.give_way(Instant::now() + GRACE);
        let over: Vec<_> = taken.iter().map(is_over).collect();
        assert_eq!(over.iter().filter(|over| **over).count(), 1);
        assert!(over[0]);
        taken[0].over().await;
        taken.remove(0);
        places.give_way(Instant::now() + GRACE);
        assert!(!taken.iter().any(is_over), "there is a place");
        taken.push(places.take("bob").await);
        // Who is fast is never ended for one that waits.
        taken[PLACES - 1].progressed(FAST * 1000);
        places.give_way(Instant::now() + GRACE);
        assert!(!taken.iter().any(is_over));
    }

    #[tokio::test]
    async fn one_remote_does_not_take_all() {
        let places = Arc::new(Places::default());
        let taken: Vec<_> = core::iter::from_fn(|| places.try_take("mallory")).collect();
        assert_eq!(taken.len(), PLACES / 2);
        assert!(places.try_take("bob").is_some());
    }
}
