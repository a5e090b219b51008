//! Names of servers, resolved by threads of our own: tokio's blocking pool belongs to the
//! application, whose jobs may fill it.
//!
//! | what | limit | at the limit |
//! |---|---|---|
//! | threads that take names | one a list | the next names wait for it |
//! | a name that its resolver is slow with | [`SLOW`] | another thread takes the next names |
//! | threads of slow names | one a name | it is not looked up again before that ends |
//! | until a caller does without a name | [`TIMEOUT`] from when it is looked up | it is left out |
//! | what was found | [`KEPT`] | it is looked up again; until then, and if that fails, it stays |
//! | that nothing was found | [`KEPT_FAILURE`] | it is looked up again |

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::io;
use std::net::ToSocketAddrs as _;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

use tokio::sync::Notify;

use crate::sync::{Mutex, lock};

/// How long a look-up may take until it is not waited for.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a look-up may take until it holds up no other.
const SLOW: Duration = Duration::from_secs(1);
/// How long what was found counts.
const KEPT: Duration = Duration::from_secs(5 * 60);
/// How long it counts that nothing was found.
const KEPT_FAILURE: Duration = Duration::from_secs(10);

type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// A name, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) host: String,
    /// The first of each family, IPv4 before IPv6, as it was found last.
    pub(super) addresses: Vec<IpAddr>,
    state: State,
    /// Why there is no address, as it was told last.
    trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Due,
    /// A thread looks it up.
    UnderWay {
        since: Instant,
    },
    /// What came of it counts until then.
    Settled {
        until: Instant,
    },
}

/// The names of a list.
#[derive(Debug)]
struct Book {
    names: Vec<Name>,
    /// The name that the thread looks up which takes the next ones, too.
    taker: Option<usize>,
    slow: Duration,
    timeout: Duration,
}

/// What is to be looked up.
#[derive(Debug, PartialEq, Eq)]
struct Task {
    place: usize,
    host: String,
}

impl Book {
    fn new(hosts: Vec<String>) -> Self {
        let names = hosts.into_iter().map(|host| Name {
            host,
            addresses: Vec::new(),
            state: State::Due,
            trouble: None,
        });
        Self {
            names: names.collect(),
            taker: None,
            slow: SLOW,
            timeout: TIMEOUT,
        }
    }

    /// When the thread that takes names has been at one for too long.
    fn slow_at(&self) -> Option<Instant> {
        match self.names.get(self.taker?)?.state {
            State::UnderWay { since } => Some(since + self.slow),
            State::Due | State::Settled { .. } => None,
        }
    }

    fn has_due(&self) -> bool {
        self.names.iter().any(|name| name.state == State::Due)
    }

    /// What a new thread is to begin with, if there has to be one.
    fn begin(&mut self, now: Instant) -> Option<Task> {
        for name in &mut self.names {
            if matches!(name.state, State::Settled { until } if until <= now) {
                name.state = State::Due;
            }
        }
        match self.slow_at() {
            Some(at) if now < at => None,
            _ => self.take(now),
        }
    }

    /// The next name for the thread that takes them.
    fn take(&mut self, now: Instant) -> Option<Task> {
        let due = self.names.iter_mut().enumerate();
        let mut due = due.filter(|(_, name)| name.state == State::Due);
        let Some((place, name)) = due.next() else {
            // One that is slow goes on, and may yet take the next ones.
            return None;
        };
        name.state = State::UnderWay { since: now };
        self.taker = Some(place);
        Some(Task {
            place,
            host: name.host.clone(),
        })
    }

    /// What was found. What the thread is to go on with, unless another one has taken over.
    fn settle(
        &mut self,
        now: Instant,
        place: usize,
        found: io::Result<Vec<IpAddr>>,
    ) -> Option<Task> {
        let name = self.names.get_mut(place)?;
        let addresses = found.map(|all| {
            let first = |v4| all.iter().copied().find(|ip| ip.is_ipv4() == v4);
            let both = [first(true), first(false)];
            both.into_iter().flatten().collect::<Vec<_>>()
        });
        let trouble = match addresses {
            Ok(addresses) if !addresses.is_empty() => {
                name.addresses = addresses;
                None
            }
            Ok(_) => Some("it has no address".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(trouble) = &trouble {
            tracing::warn!(host = %name.host, error = %trouble, "ICE server's name not resolved");
        }
        let kept = if trouble.is_some() {
            KEPT_FAILURE
        } else {
            KEPT
        };
        name.state = State::Settled { until: now + kept };
        name.trouble = trouble;
        if self.taker != Some(place) {
            return None;
        }
        self.taker = None;
        self.take(now)
    }

    /// When a caller that waits has to look again, if nothing changes; `None` if there is nothing
    /// to wait for.
    fn waits_until(&self, now: Instant) -> Option<Instant> {
        let under_way = self.names.iter().filter_map(|name| match name.state {
            State::UnderWay { since } => Some(since + self.timeout).filter(|at| now < *at),
            State::Due | State::Settled { .. } => None,
        });
        let slow = self.slow_at().filter(|_| self.has_due());
        under_way.chain(slow).min()
    }
}

/// What threads and callers share.
struct Shared {
    book: Mutex<Book>,
    /// Something was settled.
    settled: Notify,
    lookup: Box<Lookup>,
}

/// The names of a list, resolved where they are asked for.
pub(super) struct Names(Arc<Shared>);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lock(&self.0.book).names.fmt(f)
    }
}

impl Names {
    pub(super) fn new(hosts: Vec<String>) -> Self {
        Self::with_lookup(hosts, |host| {
            let all = (host, 0).to_socket_addrs()?;
            Ok(all.map(|address| address.ip()).collect())
        })
    }

    pub(super) fn with_lookup(
        hosts: Vec<String>,
        lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            book: Mutex::new(Book::new(hosts)),
            settled: Notify::new(),
            lookup: Box::new(lookup),
        }))
    }

    /// Returns all names, once each has been looked up or has taken too long.
    pub(super) async fn resolved(&self) -> Vec<Name> {
        loop {
            let settled = self.0.settled.notified();
            let now = Instant::now();
            let (task, until) = {
                let mut book = lock(&self.0.book);
                let task = book.begin(now);
                let until = book.waits_until(now);
                if task.is_none() && until.is_none() {
                    return book.names.clone();
                }
                (task, until)
            };
            if let Some(task) = task {
                self.spawn(task);
            } else if let Some(until) = until {
                let wait = until.saturating_duration_since(now);
                // Either way it is looked at again.
                tokio::select! {
                    () = settled => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }

    fn spawn(&self, task: Task) {
        let shared = Arc::downgrade(&self.0);
        let place = task.place;
        let builder = thread::Builder::new().name("peer-resolver".to_owned());
        if let Err(error) = builder.spawn(move || run(&shared, task)) {
            let mut next = lock(&self.0.book).settle(Instant::now(), place, Err(error));
            // The others do not fare better now.
            while let Some(task) = next {
                let error = io::Error::other("no thread could be started to resolve it");
                next = lock(&self.0.book).settle(Instant::now(), task.place, Err(error));
            }
            self.0.settled.notify_waiters();
        }
    }

    pub(super) fn missing(&self) -> Vec<String> {
        let book = lock(&self.0.book);
        let names = book.names.iter().filter(|name| name.addresses.is_empty());
        let sentences = names.map(|name| {
            let why = match (&name.trouble, name.state) {
                (Some(trouble), _) => trouble,
                (None, State::UnderWay { .. }) => "the resolver has not answered",
                (None, State::Due | State::Settled { .. }) => "it was not looked up yet",
            };
            format!("the ICE server's name {} is not resolved: {why}", name.host)
        });
        sentences.collect()
    }
}

/// Looks names up for as long as there are some, and somebody who asks.
fn run(shared: &Weak<Shared>, first: Task) {
    let mut task = Some(first);
    while let Some(Task { place, host }) = task
        && let Some(shared) = shared.upgrade()
    {
        let found = (shared.lookup)(&host);
        task = lock(&shared.book).settle(Instant::now(), place, found);
        shared.settled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn book(names: &[&str]) -> (Book, Instant) {
        let hosts = names.iter().map(|&name| name.to_owned()).collect();
        (Book::new(hosts), Instant::now())
    }

    fn task(place: usize, host: &str) -> Option<Task> {
        let host = host.to_owned();
        Some(Task { place, host })
    }

    fn found(last: u8) -> io::Result<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([192, 0, 2, last])])
    }

    #[test]
    fn one_thread_looks_all_up_and_what_it_found_is_kept() {
        let (mut book, now) = book(&["a", "b"]);
        assert_eq!(book.begin(now), task(0, "a"));
        assert_eq!(book.begin(now), None, "there is a thread");
        assert_eq!(book.waits_until(now), Some(now + SLOW));
        assert_eq!(book.settle(now, 0, found(1)), task(1, "b"));
        assert_eq!(book.begin(now), None);
        assert_eq!(book.settle(now, 1, found(2)), None);
        assert_eq!(book.waits_until(now), None);
        assert_eq!(book.begin(now + KEPT - SECOND), None);
        assert_eq!(book.begin(now + KEPT), task(0, "a"));
        // It fails: what was known before is better than nothing.
        let now = now + KEPT;
        let failed = Err(io::Error::other("broken"));
        assert_eq!(book.settle(now, 0, failed), task(1, "b"));
        assert_eq!(book.names[0].addresses, found(1).unwrap());
        assert_eq!(book.settle(now, 1, found(3)), None);
        assert_eq!(book.names[1].addresses, found(3).unwrap());
        assert_eq!(book.begin(now + KEPT_FAILURE - SECOND), None);
        assert_eq!(book.begin(now + KEPT_FAILURE), task(0, "a"));
    }

    #[test]
    fn the_first_of_each_family_counts() {
        let (mut book, now) = book(&["a", "b"]);
        book.begin(now);
        let all = ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"];
        book.settle(now, 0, Ok(all.map(|ip| ip.parse().unwrap()).to_vec()));
        let expected = ["192.0.2.1", "2001:db8::1"];
        assert_eq!(
            book.names[0].addresses,
            expected.map(|ip| ip.parse::<IpAddr>().unwrap())
        );
        assert_eq!(book.settle(now, 1, Ok(Vec::new())), None);
        assert_eq!(book.names[1].trouble.as_deref(), Some("it has no address"));
        assert_eq!(book.waits_until(now), None);
    }

    #[test]
    fn a_slow_name_holds_up_no_other_and_is_looked_up_once() {
        let (mut book, now) = book(&["slow", "b", "c"]);
        assert_eq!(book.begin(now), task(0, "slow"));
        assert_eq!(book.begin(now + SLOW / 2), None);
        let later = now + SLOW;
        assert_eq!(book.begin(later), task(1, "b"));
        assert_eq!(book.begin(later), None);
        assert_eq!(book.settle(later, 1, found(1)), task(2, "c"));
        assert_eq!(book.settle(later, 2, found(2)), None);
        assert_eq!(book.waits_until(later), Some(now + TIMEOUT));
        assert_eq!(book.waits_until(now + TIMEOUT), None);
        // However long it takes.
        assert_eq!(book.begin(now + KEPT / 2), None);
        assert_eq!(book.waits_until(now + KEPT / 2), None);
        assert_eq!(book.settle(now + KEPT / 2, 0, found(3)), None);
        assert_eq!(book.names[0].addresses, found(3).unwrap());
    }

    #[test]
    fn a_slow_thread_that_nobody_replaced_goes_on() {
        let (mut book, now) = book(&["slow"]);
        book.begin(now);
        let later = now + TIMEOUT * 2;
        assert_eq!(book.begin(later), None, "there is nothing else to do");
        assert_eq!(book.settle(later, 0, found(1)), None);
        assert_eq!(book.begin(later + KEPT), task(0, "slow"));
    }

    /// A runtime whose blocking pool is full, and many who ask at once.
    #[test]
    fn nothing_of_the_blocking_pool_is_needed_and_each_is_looked_up_once() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (release, released) = mpsc::channel::<()>();
        runtime.spawn_blocking(move || released.recv());
        let (asked, questions) = mpsc::channel();
        let names = Names::with_lookup(vec!["a".into(), "b".into()], move |host| {
            let thread = thread::current().name().map(str::to_owned);
            asked.send((host.to_owned(), thread)).unwrap();
            found(1)
        });
        runtime.block_on(async {
            let many = (0..50).map(|_| names.resolved());
            for all in futures_util::future::join_all(many).await {
                assert!(all.iter().all(|name| name.addresses == found(1).unwrap()));
            }
        });
        let questions: Vec<_> = questions.try_iter().collect();
        let by = Some("peer-resolver".to_owned());
        assert_eq!(questions, [("a".into(), by.clone()), ("b".into(), by)]);
        drop(release);
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_is_done_without() {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let names = Names::with_lookup(vec!["hangs".into(), "b".into()], move |host| {
            if host == "hangs" {
                // Ends when the test does.
                let _ = lock(&released).recv();
            }
            found(1)
        });
        {
            let mut book = lock(&names.0.book);
            (book.slow, book.timeout) = (SECOND / 20, SECOND / 10);
        }
        for _ in 0..3 {
            let all = names.resolved().await;
            assert_eq!(all[0].addresses.len(), 0);
            assert_eq!(all[1].addresses.len(), 1);
        }
        let [missing] = &names.missing()[..] else {
            panic!("{:?}", names.missing());
        };
        assert!(
            missing.contains("hangs") && missing.contains("has not answered"),
            "{missing}"
        );
        drop(release);
        while !names.missing().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(names.resolved().await[0].addresses.len(), 1);
    }
}
