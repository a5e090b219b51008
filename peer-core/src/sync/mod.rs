//! One engine for several tasks, over `embassy-sync`: handles that connect, send and receive, and
//! a driver.
//!
//! [`Shared`] owns the engine behind a blocking mutex. Any number of tasks use it through
//! `&Shared`: they await [`connect`](Shared::connect), [`accept`](Shared::accept),
//! [`event`](Shared::event), and [`send`](Connection::send) and [`recv`](Connection::recv) of a
//! [`Connection`]. One task, the driver, does the I/O; see [`Shared::poll`]. Nothing is allocated.
//!
//! Every future here may be dropped at any time. Then nothing was sent, no message or event is
//! lost, and a connect is given up.
//!
//! The mutex is held while the engine works: for the time of encoding, decoding or copying one
//! message. Tasks of one executor take `NoopRawMutex` or `ThreadModeRawMutex`, which block nobody;
//! `CriticalSectionRawMutex` is for tasks at several interrupt levels, whose latency then includes
//! that time.
//!
//! # Limits
//! | limit | default | at the limit |
//! |---|---|---|
//! | tasks that wait, `TASKS` of [`Shared`] | 8 | all are woken in turn: they work, but do not rest |
//! | connects that wait | `TASKS` | [`ConnectError::TooManyTasks`] |
//! | events nobody took ([`EVENTS_MAX`]) | 16 | the oldest is dropped, counted by [`Shared::missed_events`]; [`Shared::accept`] misses no connection |
//!
//! # Panics
//! A closure that is called while the mutex is held must not call [`Shared`] or [`Connection`]:
//! that is a panic. They are named where they are taken. Dropping a future there is fine.

use core::{
    cell::{RefCell, RefMut},
    fmt,
    future::{Future, poll_fn},
    task::{Context, Poll},
};

use embassy_sync::{
    blocking_mutex::{Mutex, raw::RawMutex},
    waitqueue::{MultiWakerRegistration, WakerRegistration},
};
use heapless::Deque;

mod connect;
mod connection;
#[cfg(feature = "link")]
mod leaf;

pub use connection::Connection;

use crate::{
    PeerId,
    peer::{
        ConnectError, ConnectionHandle, Event, Input, InputError, Output, Peer, PeerState, Room,
    },
    time::Instant,
};

use connect::{Connects, GivenUp};

/// Events kept for [`Shared::event`].
pub const EVENTS_MAX: usize = 16;

/// An engine that tasks share.
///
/// `M` says who may be interrupted by whom, `TASKS` how many tasks wait at once, `C` is the clock.
///
/// ```
/// use embassy_sync::blocking_mutex::raw::NoopRawMutex;
/// use peer_core::peer::{Config, ConnectOptions, Peer, PeerResources};
/// use peer_core::{PeerId, sync::Shared, time::Instant};
///
/// let mut memory: PeerResources<2> = PeerResources::new();
/// # fn random() -> [u8; 32] { [7; 32] }
/// let mut config = Config::new(random());
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
///     Ok::<_, Box<dyn std::error::Error>>(answer.bytes.len())
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
pub struct Shared<'r, M: RawMutex, const TASKS: usize = 8, C = fn() -> Instant> {
    state: Mutex<M, State<'r, TASKS>>,
    clock: C,
}

struct State<'r, const TASKS: usize> {
    inner: RefCell<Inner<'r, TASKS>>,
    given_up: GivenUp<TASKS>,
}

struct Inner<'r, const TASKS: usize> {
    peer: Peer<'r>,
    events: Deque<Event, EVENTS_MAX>,
    missed: u32,
    connects: Connects<TASKS>,
    tasks: MultiWakerRegistration<TASKS>,
    driver: WakerRegistration,
    /// Something has happened that the driver has not looked at.
    wanted: bool,
}

impl<M: RawMutex, const TASKS: usize, C> fmt::Debug for Shared<'_, M, TASKS, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared(…)")
    }
}

impl<'r, M: RawMutex, const TASKS: usize> Shared<'r, M, TASKS> {
    /// Shares an engine. `clock` returns the time that the engine is told.
    pub fn new(peer: Peer<'r>, clock: fn() -> Instant) -> Self {
        Self::with_clock(peer, clock)
    }
}

impl<'r, M: RawMutex, const TASKS: usize, C: Fn() -> Instant> Shared<'r, M, TASKS, C> {
    const AT_LEAST_ONE_TASK: () = assert!(TASKS > 0, "somebody has to be able to wait");

    /// As [`new`](Shared::new), with a clock that may capture, such as a timer's peripheral.
    pub fn with_clock(peer: Peer<'r>, clock: C) -> Self {
        let () = Self::AT_LEAST_ONE_TASK;
        Self {
            state: Mutex::new(State {
                inner: RefCell::new(Inner {
                    peer,
                    events: Deque::new(),
                    missed: 0,
                    connects: Connects::new(),
                    tasks: MultiWakerRegistration::new(),
                    driver: WakerRegistration::new(),
                    wanted: true,
                }),
                given_up: GivenUp::new(),
            }),
            clock,
        }
    }

    /// Waits for the next event. For incoming connections use [`accept`](Self::accept), which
    /// misses none. [`Event::Data`] and [`Event::Writable`] are not among them, since
    /// [`Connection`] waits by itself, nor is what a [`connect`](Self::connect) reports. Several
    /// tasks share the events out among them.
    pub async fn event(&self) -> Event {
        self.wait(|inner| inner.events.pop_front()).await
    }

    /// Events that were dropped because nobody took them in time. Wraps.
    pub fn missed_events(&self) -> u32 {
        self.lock(|inner| inner.missed)
    }

    /// Waits for the next incoming connection that this has not returned before. None is missed
    /// while it is there, also when [`event`](Self::event) missed its [`Event::Connection`].
    /// Several tasks share the connections out among them. As [`Peer::accept`].
    pub async fn accept(&self) -> Connection<'_, 'r, M, TASKS, C> {
        let handle = self.wait(|inner| inner.peer.accept()).await;
        self.connection(handle)
    }

    /// Waits until the broker knows the peer.
    ///
    /// # Errors
    /// [`ConnectError::Disconnected`] or [`ConnectError::Destroyed`], where the peer will not open
    /// by itself.
    pub async fn open(&self) -> Result<(), ConnectError> {
        self.wait(|inner| match inner.peer.state() {
            PeerState::Open => Some(Ok(())),
            PeerState::Connecting => None,
            PeerState::Disconnected => Some(Err(ConnectError::Disconnected)),
            PeerState::Destroyed => Some(Err(ConnectError::Destroyed)),
        })
        .await
    }

    /// Returns a handle for a connection, for example one that [`Event::Connection`] named.
    pub fn connection(&self, handle: ConnectionHandle) -> Connection<'_, 'r, M, TASKS, C> {
        Connection {
            shared: self,
            handle,
        }
    }

    /// Returns handles of all connections, those that are over but not yet free included. The mutex
    /// is taken for each step alone: what comes and goes meanwhile may be missed.
    pub fn connections(&self) -> impl Iterator<Item = Connection<'_, 'r, M, TASKS, C>> {
        let mut next = 0;
        core::iter::from_fn(move || {
            let is_next = |handle: &ConnectionHandle| handle.index() >= next;
            let handle = self.lock(|inner| inner.peer.connections().find(is_next))?;
            next = handle.index() + 1;
            Some(self.connection(handle))
        })
    }

    /// As [`Peer::disconnect`].
    pub fn disconnect(&self) {
        let now = (self.clock)();
        self.change(|inner| inner.peer.disconnect(now));
    }

    /// As [`Peer::reconnect`].
    ///
    /// # Errors
    /// [`ConnectError::NotDisconnected`], [`ConnectError::Destroyed`].
    pub fn reconnect(&self) -> Result<(), ConnectError> {
        let now = (self.clock)();
        self.change(|inner| inner.peer.reconnect(now))
    }

    /// As [`Peer::destroy`].
    pub fn destroy(&self) {
        let now = (self.clock)();
        self.change(|inner| inner.peer.destroy(now));
    }

    /// Returns the peer's id, once known.
    pub fn id(&self) -> Option<PeerId> {
        self.lock(|inner| inner.peer.id().cloned())
    }

    /// Returns how far the peer is with its broker.
    pub fn state(&self) -> PeerState {
        self.lock(|inner| inner.peer.state())
    }

    /// For the driver: takes the engine's outputs until it waits, and returns when to come back at
    /// the latest. As [`poll_within`](Self::poll_within) with room for everything.
    pub fn poll(&self, mut carry_out: impl FnMut(Output<'_>)) -> Option<Instant> {
        self.poll_within(Room::UNLIMITED, |output| {
            carry_out(output);
            Room::UNLIMITED
        })
    }

    /// For the driver: takes the engine's outputs that fit `room`, until it waits or none fits, and
    /// returns when to come back at the latest. Come back too when there is more room.
    ///
    /// `carry_out` gets commands for the broker's socket and for sessions, and returns the room
    /// that is left. It is called while the mutex is held. Call this after
    /// [`handle_input`](Self::handle_input), when [`wanted`](Self::wanted) is done, and at the
    /// returned time.
    pub fn poll_within(
        &self,
        mut room: Room,
        mut carry_out: impl FnMut(Output<'_>) -> Room,
    ) -> Option<Instant> {
        let now = (self.clock)();
        self.begin_turn();
        self.drive(|peer, publish| {
            loop {
                match peer.poll_output(room) {
                    Output::Event(event) => publish(event),
                    Output::Timeout(Some(at)) if at <= now => {
                        let taken = peer.handle_input(now, Input::Timeout);
                        debug_assert!(taken.is_ok(), "a timeout is always taken");
                    }
                    Output::Timeout(at) => return at,
                    output => room = carry_out(output),
                }
            }
        })
    }

    /// Tells the engine what happened, as [`Peer::handle_input`] does, and wakes the driver if
    /// another task than that calls it.
    ///
    /// After [`InputError::InboxFull`] feed it again when [`wanted`](Self::wanted) is done.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn handle_input(&self, input: Input<'_>) -> Result<(), InputError> {
        let now = (self.clock)();
        self.change(|inner| inner.peer.handle_input(now, input))
    }

    /// For the driver: waits until something was done to the engine that asks for a poll, or
    /// [`notify`](Self::notify) was called.
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

    /// For a driver that has its own way with the engine, such as a link: lends the engine, with a
    /// place for the events it gives. Then the waiting tasks look again; the driver is not woken.
    ///
    /// `turn` is called while the mutex is held.
    pub fn drive<T>(&self, turn: impl FnOnce(&mut Peer<'r>, &mut dyn FnMut(Event)) -> T) -> T {
        self.lock(|inner| {
            let Inner {
                peer,
                events,
                missed,
                connects,
                ..
            } = inner;
            let mut publish = |event| {
                if connects.keep(&event) {
                    keep(events, missed, event);
                }
            };
            let result = turn(peer, &mut publish);
            inner.tasks.wake();
            result
        })
    }

    /// The driver looks at everything now.
    fn begin_turn(&self) {
        self.lock(|inner| inner.wanted = false);
    }

    /// Changes something that the driver has to act on, and other tasks may wait for.
    fn change<T>(&self, change: impl FnOnce(&mut Inner<'r, TASKS>) -> T) -> T {
        self.lock(|inner| {
            let result = change(inner);
            inner.want();
            inner.tasks.wake();
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

    /// Nothing in this module calls back while it holds the lock. What others drop meanwhile, such
    /// as a future when its waker goes, is given up afterwards.
    fn lock<T>(&self, f: impl FnOnce(&mut Inner<'r, TASKS>) -> T) -> T {
        self.state.lock(|state| {
            let mut inner = state.inner.borrow_mut();
            let result = f(&mut inner);
            state.give_up(inner);
            result
        })
    }
}

impl<'r, const TASKS: usize> State<'r, TASKS> {
    /// Ends the connects that nobody waits for any more.
    fn give_up(&self, mut inner: RefMut<'_, Inner<'r, TASKS>>) {
        while let Some(handle) = self.given_up.take() {
            inner.connects.forget(handle);
            if let Some(mut connection) = inner.peer.connection(handle) {
                connection.close();
                connection.release();
            }
            inner.want();
        }
    }
}

impl<const TASKS: usize> Inner<'_, TASKS> {
    /// Wakes the driver.
    fn want(&mut self) {
        self.wanted = true;
        self.driver.wake();
    }
}

/// Keeps an event, if need be in place of the oldest.
fn keep(events: &mut Deque<Event, EVENTS_MAX>, missed: &mut u32, event: Event) {
    if events.is_full() {
        events.pop_front();
        *missed = missed.wrapping_add(1);
    }
    let kept = events.push_back(event);
    debug_assert!(kept.is_ok(), "there is room");
}
