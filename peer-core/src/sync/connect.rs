//! Connects that wait.

use core::cell::RefCell;

use embassy_sync::blocking_mutex::raw::RawMutex;
use heapless::Vec;

use crate::{
    PeerId,
    peer::{ConnectError, ConnectFailure, ConnectOptions, ConnectionHandle, Event},
    time::Instant,
};

use super::{Connection, Shared};

impl<'r, M: RawMutex, const TASKS: usize, C: Fn() -> Instant> Shared<'r, M, TASKS, C> {
    /// Connects, and waits until the connection is open. Dropped before, it closes the connection.
    ///
    /// # Errors
    /// [`ConnectError`]; [`ConnectError::Failed`] once it was started.
    pub async fn connect(
        &self,
        remote: &PeerId,
        options: ConnectOptions<'_>,
    ) -> Result<Connection<'_, 'r, M, TASKS, C>, ConnectError> {
        let now = (self.clock)();
        let handle = self.change(|inner| {
            if inner.connects.waiting.is_full() {
                return Err(ConnectError::TooManyTasks);
            }
            let started = inner.peer.connect(now, remote, options);
            let handle = started?;
            let waits = inner.connects.waiting.push((handle, None));
            debug_assert!(waits.is_ok(), "there is room");
            Ok(handle)
        })?;
        let pending = Pending {
            shared: self,
            handle,
        };
        let outcome = self.wait(|inner| inner.connects.outcome(handle)).await;
        if outcome.is_ok() {
            self.lock(|inner| inner.connects.forget(handle));
            core::mem::forget(pending);
        }
        outcome
            .map(|()| self.connection(handle))
            .map_err(ConnectError::Failed)
    }
}

/// Connects that wait, and how they ended.
pub(super) struct Connects<const TASKS: usize> {
    waiting: Vec<(ConnectionHandle, Option<Result<(), ConnectFailure>>), TASKS>,
}

impl<const TASKS: usize> Connects<TASKS> {
    pub(super) const fn new() -> Self {
        Self {
            waiting: Vec::new(),
        }
    }

    /// Takes note of an event; whether it is one for others.
    pub(super) fn keep(&mut self, event: &Event) -> bool {
        let (handle, outcome) = match *event {
            Event::Data(_) | Event::Writable(_) => return false,
            Event::ConnectionOpen(handle) => (handle, Ok(())),
            Event::ConnectionFailed(handle, failure) => (handle, Err(failure)),
            _ => return true,
        };
        match self.waiting.iter_mut().find(|(it, _)| *it == handle) {
            Some((_, waits)) => {
                *waits = Some(outcome);
                false
            }
            None => true,
        }
    }

    fn outcome(&self, handle: ConnectionHandle) -> Option<Result<(), ConnectFailure>> {
        let mut waiting = self.waiting.iter();
        waiting
            .find(|(it, _)| *it == handle)
            .and_then(|(_, outcome)| *outcome)
    }

    pub(super) fn forget(&mut self, handle: ConnectionHandle) {
        self.waiting.retain(|(it, _)| *it != handle);
    }
}

/// Connects whose futures were dropped. Apart from what the lock is held for: a future may be
/// dropped while it is held, by the executor when a waker goes, or by a closure.
pub(super) struct GivenUp<const TASKS: usize>(RefCell<Vec<ConnectionHandle, TASKS>>);

impl<const TASKS: usize> GivenUp<TASKS> {
    pub(super) const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    pub(super) fn take(&self) -> Option<ConnectionHandle> {
        self.0.try_borrow_mut().ok()?.pop()
    }

    fn add(&self, handle: ConnectionHandle) {
        // As many as connects wait, and borrowed for a moment only.
        let added = self.0.try_borrow_mut().map(|mut given_up| {
            let added = given_up.push(handle);
            debug_assert!(added.is_ok(), "there is room");
        });
        debug_assert!(added.is_ok(), "it is not borrowed");
    }
}

/// A connect that waits. Dropped, it is given up.
struct Pending<'s, 'r, M: RawMutex, const TASKS: usize, C> {
    shared: &'s Shared<'r, M, TASKS, C>,
    handle: ConnectionHandle,
}

impl<M: RawMutex, const TASKS: usize, C> Drop for Pending<'_, '_, M, TASKS, C> {
    fn drop(&mut self) {
        self.shared.state.lock(|state| {
            state.given_up.add(self.handle);
            // Otherwise whoever holds it does the rest.
            if let Ok(inner) = state.inner.try_borrow_mut() {
                state.give_up(inner);
            }
        });
    }
}
