//! One engine for several tasks, over `embassy-sync`: handles that connect, send and receive, and a driver.
//!
//! [`Shared`] owns the engine behind a blocking mutex. Any number of tasks use it through `&Shared`: they await
//! [`connect`](Shared::connect), [`event`](Shared::event), and [`send`](Connection::send) and
//! [`recv`](Connection::recv) of a [`Connection`]. One task, the driver, does the I/O; see [`Shared::poll`]. Nothing is
//! allocated.
//!
//! Every future here may be dropped at any time. Then nothing was sent, no message or event is lost, and a connect is
//! given up.
//!
//! The mutex is held while the engine works: for the time of encoding, decoding or copying one message. Tasks of one
//! executor take `NoopRawMutex` or `ThreadModeRawMutex`, which block nobody; `CriticalSectionRawMutex` is for tasks at
//! several interrupt levels, whose latency then includes that time.
//!
//! # Limits
//! | limit | default | at the limit |
//! |---|---|---|
//! | tasks that wait, `TASKS` of [`Shared`] | 8 | all are woken in turn: they work, but do not rest |
//! | connects that wait | `TASKS` | [`ConnectFailed::TooManyTasks`] |
//! | events nobody took ([`EVENTS_MAX`]) | 16 | the oldest goes, counted by [`Shared::missed_events`] |

use core::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    task::{Context, Poll},
};

use embassy_sync::{
    blocking_mutex::{Mutex, raw::RawMutex},
    waitqueue::{MultiWakerRegistration, WakerRegistration},
};
use heapless::{Deque, Vec};

mod connection;
#[cfg(feature = "link")]
mod leaf;

pub use connection::{Connection, Copied, RecvError};

use crate::{
    PeerId,
    peer::{
        ConnectError, ConnectFailure, ConnectOptions, ConnectionHandle, Event, Input, InputError,
        Output, Peer, PeerState, ReconnectError,
    },
    time::Instant,
};

/// Events kept for [`Shared::event`].
pub const EVENTS_MAX: usize = 16;

/// An engine that tasks share. `M` says who may be interrupted by whom, `TASKS` how many tasks wait at once.
///
/// ```
/// use embassy_sync::blocking_mutex::raw::NoopRawMutex;
/// use peer_core::{PeerId, Token, peer::{Config, ConnectOptions, Peer, PeerResources}, sync::Shared, time::Instant};
///
/// let mut memory: PeerResources<2> = PeerResources::new();
/// let mut config = Config::new(Token::from_random(7), 42);
/// config.id = Some(PeerId::new("sensor-7")?);
/// let clock = || Instant::from_millis(5);
/// let shared: Shared<'_, NoopRawMutex> = Shared::new(Peer::new(config, &mut memory), clock);
///
/// // One task …
/// let talk = async {
///     shared.open().await?;
///     let connection = shared.connect(&PeerId::new("bob")?, ConnectOptions::default()).await?;
///     connection.send("hello").await?;
///     let mut memory = [0; 64];
///     let answer = connection.recv_into(&mut memory).await?;
///     Ok::<_, Box<dyn std::error::Error>>(answer.len)
/// };
/// // … and the driver.
/// let drive = async {
///     loop {
///         let timeout = shared.poll(|output| { /* to the broker's socket, the WebRTC stack */ });
///         // Whichever comes first: an input for `shared.handle_input`, the timeout, or:
///         shared.wanted().await;
///     }
/// };
/// # fn both<A, B: std::future::Future<Output = ()>>(_: A, _: B) {}
/// # both(talk, drive);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Shared<'r, M: RawMutex, const TASKS: usize = 8> {
    inner: Mutex<M, RefCell<Inner<'r, TASKS>>>,
    clock: fn() -> Instant,
}

struct Inner<'r, const TASKS: usize> {
    peer: Peer<'r>,
    events: Deque<Event, EVENTS_MAX>,
    missed: u32,
    connects: Connects<TASKS>,
    tasks: MultiWakerRegistration<TASKS>,
    driver: WakerRegistration,
    /// The driver is wanted and has not yet waited since.
    wanted: bool,
}

/// Connects that wait, and how they ended.
type Connects<const TASKS: usize> =
    Vec<(ConnectionHandle, Option<Result<(), ConnectFailure>>), TASKS>;

impl<M: RawMutex, const TASKS: usize> fmt::Debug for Shared<'_, M, TASKS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared(…)")
    }
}

impl<'r, M: RawMutex, const TASKS: usize> Shared<'r, M, TASKS> {
    const AT_LEAST_ONE_TASK: () = assert!(TASKS > 0, "somebody has to be able to wait");

    /// Shares an engine; `clock` tells the time that its driver tells it.
    pub fn new(peer: Peer<'r>, clock: fn() -> Instant) -> Self {
        let () = Self::AT_LEAST_ONE_TASK;
        Self {
            inner: Mutex::new(RefCell::new(Inner {
                peer,
                events: Deque::new(),
                missed: 0,
                connects: Vec::new(),
                tasks: MultiWakerRegistration::new(),
                driver: WakerRegistration::new(),
                wanted: true,
            })),
            clock,
        }
    }

    /// Waits for the next event. [`Event::Data`] and [`Event::Writable`] are not among them, since
    /// [`Connection`] waits by itself, nor is what a [`connect`](Self::connect) reports. Several tasks share the
    /// events out among them.
    pub async fn event(&self) -> Event {
        self.wait(|inner| inner.events.pop_front()).await
    }

    /// Events that were dropped since nobody took them in time. Wraps.
    pub fn missed_events(&self) -> u32 {
        self.lock(|inner| inner.missed)
    }

    /// Waits until the broker knows the peer.
    ///
    /// # Errors
    /// [`NotOpen`] with the state, when the peer is not on its way to be: disconnected or destroyed.
    pub async fn open(&self) -> Result<(), NotOpen> {
        self.wait(|inner| match inner.peer.state() {
            PeerState::Open => Some(Ok(())),
            PeerState::Connecting => None,
            state => Some(Err(NotOpen(state))),
        })
        .await
    }

    /// Connects, and waits until the connection is open. Dropped before, it closes the connection.
    ///
    /// # Errors
    /// [`ConnectFailed`].
    pub async fn connect(
        &self,
        remote: &PeerId,
        options: ConnectOptions<'_>,
    ) -> Result<Connection<'_, 'r, M, TASKS>, ConnectFailed> {
        let now = (self.clock)();
        let handle = self.change(|inner| {
            if inner.connects.is_full() {
                return Err(ConnectFailed::TooManyTasks);
            }
            let handle = inner
                .peer
                .connect(now, remote, options)
                .map_err(ConnectFailed::Refused)?;
            // There is room.
            let _ = inner.connects.push((handle, None));
            Ok(handle)
        })?;
        let pending = Pending {
            shared: self,
            handle,
        };
        let outcome = self
            .wait(|inner| {
                let waits = inner.connects.iter().find(|(it, _)| *it == handle);
                waits.and_then(|(_, outcome)| *outcome)
            })
            .await;
        if outcome.is_ok() {
            self.lock(|inner| inner.forget_connect(handle));
            core::mem::forget(pending);
        }
        outcome
            .map(|()| self.connection(handle))
            .map_err(ConnectFailed::Failed)
    }

    /// A handle for a connection, for example one that [`Event::Connection`] told of.
    pub fn connection(&self, handle: ConnectionHandle) -> Connection<'_, 'r, M, TASKS> {
        Connection {
            shared: self,
            handle,
        }
    }

    /// As [`Peer::disconnect`].
    pub fn disconnect(&self) {
        let now = (self.clock)();
        self.change(|inner| inner.peer.disconnect(now));
    }

    /// As [`Peer::reconnect`].
    ///
    /// # Errors
    /// [`ReconnectError`].
    pub fn reconnect(&self) -> Result<(), ReconnectError> {
        let now = (self.clock)();
        self.change(|inner| inner.peer.reconnect(now))
    }

    /// As [`Peer::destroy`].
    pub fn destroy(&self) {
        let now = (self.clock)();
        self.change(|inner| inner.peer.destroy(now));
    }

    /// The peer's id, once known.
    pub fn id(&self) -> Option<PeerId> {
        self.lock(|inner| inner.peer.id().cloned())
    }

    /// Where the peer stands.
    pub fn state(&self) -> PeerState {
        self.lock(|inner| inner.peer.state())
    }

    /// For the driver: takes the engine's outputs until it waits, and says when to come back at the latest.
    ///
    /// `carry_out` gets commands for the broker's socket and for sessions, and must not call back into this. To be called
    /// after [`handle_input`](Self::handle_input), when [`wanted`](Self::wanted) is done, and at the time told.
    pub fn poll(&self, mut carry_out: impl FnMut(Output<'_>)) -> Option<Instant> {
        let now = (self.clock)();
        self.drive(|peer, publish| {
            loop {
                match peer.poll_output() {
                    Output::Event(event) => publish(event),
                    Output::Timeout(Some(at)) if at <= now => {
                        // A timeout is always taken.
                        let _ = peer.handle_input(now, Input::Timeout);
                    }
                    Output::Timeout(at) => return at,
                    output => carry_out(output),
                }
            }
        })
    }

    /// For the driver: as [`Peer::handle_input`]. Then poll.
    ///
    /// After [`InputError::InboxFull`] feed it again when [`wanted`](Self::wanted) is done.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn handle_input(&self, input: Input<'_>) -> Result<(), InputError> {
        let now = (self.clock)();
        self.drive(|peer, _| peer.handle_input(now, input))
    }

    /// For the driver: waits until a task did something that wants the engine polled, or [`notify`](Self::notify) was called.
    pub async fn wanted(&self) {
        poll_fn(|context| {
            self.lock(|inner| {
                if core::mem::take(&mut inner.wanted) {
                    return Poll::Ready(());
                }
                inner.driver.register(context.waker());
                Poll::Pending
            })
        })
        .await;
    }

    /// Wakes the driver.
    pub fn notify(&self) {
        self.change(|_| ());
    }

    /// For a driver that has its own way with the engine, such as a link: lends it, with a place for the
    /// events it gives. Then the waiting tasks look again.
    pub fn drive<T>(&self, turn: impl FnOnce(&mut Peer<'r>, &mut dyn FnMut(Event)) -> T) -> T {
        self.lock(|inner| {
            let Inner {
                peer,
                events,
                missed,
                connects,
                ..
            } = inner;
            let mut publish = |event| keep(events, missed, connects, event);
            let result = turn(peer, &mut publish);
            inner.tasks.wake();
            result
        })
    }

    /// Changes something that the driver has to act on, and other tasks may wait for.
    fn change<T>(&self, change: impl FnOnce(&mut Inner<'r, TASKS>) -> T) -> T {
        self.lock(|inner| {
            let result = change(inner);
            inner.want();
            result
        })
    }

    /// Waits until `look` finds what it looks for.
    fn wait<T>(
        &self,
        mut look: impl FnMut(&mut Inner<'r, TASKS>) -> Option<T>,
    ) -> impl Future<Output = T> {
        poll_fn(move |context: &mut Context<'_>| {
            self.lock(|inner| match look(inner) {
                Some(found) => Poll::Ready(found),
                None => {
                    inner.tasks.register(context.waker());
                    Poll::Pending
                }
            })
        })
    }

    /// Nothing in this module calls back while it holds the lock, so it is never taken twice.
    fn lock<T>(&self, f: impl FnOnce(&mut Inner<'r, TASKS>) -> T) -> T {
        self.inner.lock(|inner| f(&mut inner.borrow_mut()))
    }
}

impl<const TASKS: usize> Inner<'_, TASKS> {
    /// Wakes the driver.
    fn want(&mut self) {
        self.wanted = true;
        self.driver.wake();
    }

    fn forget_connect(&mut self, handle: ConnectionHandle) {
        self.connects.retain(|(it, _)| *it != handle);
    }
}

/// Keeps an event for whom it concerns.
fn keep<const TASKS: usize>(
    events: &mut Deque<Event, EVENTS_MAX>,
    missed: &mut u32,
    connects: &mut Connects<TASKS>,
    event: Event,
) {
    let outcome = match event {
        Event::Data(_) | Event::Writable(_) => return,
        Event::ConnectionOpen(handle) => Some((handle, Ok(()))),
        Event::ConnectionFailed(handle, failure) => Some((handle, Err(failure))),
        _ => None,
    };
    if let Some((handle, outcome)) = outcome
        && let Some((_, waits)) = connects.iter_mut().find(|(it, _)| *it == handle)
    {
        *waits = Some(outcome);
        return;
    }
    if events.is_full() {
        events.pop_front();
        *missed = missed.wrapping_add(1);
    }
    // There is room.
    let _ = events.push_back(event);
}

/// A connect that waits. Dropped, it is given up.
struct Pending<'s, 'r, M: RawMutex, const TASKS: usize> {
    shared: &'s Shared<'r, M, TASKS>,
    handle: ConnectionHandle,
}

impl<M: RawMutex, const TASKS: usize> Drop for Pending<'_, '_, M, TASKS> {
    fn drop(&mut self) {
        self.shared.change(|inner| {
            inner.forget_connect(self.handle);
            if let Some(mut connection) = inner.peer.connection(self.handle) {
                connection.close();
                connection.release();
            }
        });
    }
}

/// A connect came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConnectFailed {
    /// It was not even started.
    Refused(ConnectError),
    /// It ended before it was open.
    Failed(ConnectFailure),
    /// As many connects wait already as [`Shared`] has `TASKS`.
    TooManyTasks,
}

impl fmt::Display for ConnectFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Failed(failure) => failure.fmt(f),
            Self::TooManyTasks => {
                f.write_str("too many tasks wait for a connect; give Shared more TASKS")
            }
        }
    }
}

impl core::error::Error for ConnectFailed {}

/// The peer is disconnected or destroyed, so it will not open by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NotOpen(
    /// Where it stands.
    pub PeerState,
);

impl fmt::Display for NotOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            PeerState::Destroyed => "the peer is destroyed; make a new one",
            _ => "the peer is disconnected from its broker; reconnect first",
        })
    }
}

impl core::error::Error for NotOpen {}
