//! A bounded queue between two tasks: messages of one connection that wait for the application, or
//! for the channel.
//!
//! Nothing but a lock and wakers, so that a test can try every order in which tasks may run.

use core::future::poll_fn;
use core::task::{Context, Poll};
use std::collections::VecDeque;

use super::sync::{Mutex, lock};
use super::waiters::{Place, Waiters, wake};

/// Messages that may wait. At the limit whoever puts one in waits: nothing is lost, and no other
/// connection notices.
pub(super) const MESSAGES_MAX: usize = 1024;

/// Messages in order, each with its size in bytes.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// At the limit as with [`MESSAGES_MAX`]; one message always fits.
    bytes_max: usize,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    /// Of the items.
    bytes: usize,
    /// Of what was taken out and not released yet.
    lent: usize,
    ended: bool,
    readers: Waiters,
    /// Their order is that of their messages.
    writers: Waiters,
    /// Those who wait until nothing is left.
    idlers: Waiters,
}

/// The queue takes nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended;

/// Why a message is not taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Ended,
}

impl<T> State<T> {
    fn is_idle(&self) -> bool {
        self.items.is_empty() && self.lent == 0
    }

    fn fits(&self, len: usize, bytes_max: usize) -> bool {
        let bytes = self.bytes.saturating_add(self.lent).saturating_add(len);
        self.is_idle() || (self.items.len() < MESSAGES_MAX && bytes <= bytes_max)
    }

    fn push(&mut self, item: T, len: usize) {
        self.bytes = self.bytes.saturating_add(len);
        self.items.push_back((item, len));
    }
}

impl<T> Queue<T> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                lent: 0,
                ended: false,
                readers: Waiters::default(),
                writers: Waiters::default(),
                idlers: Waiters::default(),
            }),
        }
    }

    // Putting in.

    /// Appends a message once there is room for it and it is its turn: messages have the order in
    /// which their pushes were polled first. Dropping the future appends nothing.
    pub(super) async fn push(&self, item: T, len: usize) -> Result<(), Ended> {
        let mut item = Some(item);
        let mut writer = Writer::new(self);
        poll_fn(|context| writer.poll_push(context, &mut item, len)).await
    }

    /// Appends a message if there is room and nobody waits for it.
    pub(super) fn try_push(&self, item: T, len: usize) -> Result<(), Refused> {
        let reader = {
            let mut state = lock(&self.state);
            if state.ended {
                return Err(Refused::Ended);
            }
            if !state.writers.is_first(&Place::default()) || !state.fits(len, self.bytes_max) {
                return Err(Refused::Full);
            }
            state.push(item, len);
            state.readers.first()
        };
        wake(reader);
        Ok(())
    }

    /// Appends a message, room or not: for whoever was told before that there was some.
    pub(super) fn push_now(&self, item: T, len: usize) -> Result<(), Ended> {
        let reader = {
            let mut state = lock(&self.state);
            if state.ended {
                return Err(Ended);
            }
            state.push(item, len);
            state.readers.first()
        };
        wake(reader);
        Ok(())
    }

    // Taking out.

    /// The oldest message; `None` at the end. Dropping the future loses nothing.
    pub(super) async fn pop(&self) -> Option<T> {
        let mut reader = Reader::new(self);
        poll_fn(|context| reader.poll_pop(context)).await
    }

    /// Waits for a message and leaves it there. Its bytes; `None` at the end.
    pub(super) async fn next_size(&self) -> Option<usize> {
        let mut reader = Reader::new(self);
        poll_fn(|context| reader.poll_next_size(context)).await
    }

    /// As [`pop`](Self::pop), with the size. The message counts until [`release`](Self::release) is
    /// told so many bytes.
    pub(super) async fn lend(&self) -> Option<(T, usize)> {
        let mut reader = Reader::new(self);
        poll_fn(|context| reader.poll_take(context, true)).await
    }

    /// So many bytes of what was lent are done with.
    pub(super) fn release(&self, bytes: usize) {
        let (writer, idlers) = {
            let mut state = lock(&self.state);
            // After `abandon` nothing counts any more.
            state.lent = state.lent.saturating_sub(bytes);
            let idlers = if state.is_idle() {
                state.idlers.all()
            } else {
                Vec::new()
            };
            (state.writers.first(), idlers)
        };
        wake(writer);
        wake(idlers);
    }

    /// Bytes that wait or are lent.
    pub(super) fn bytes(&self) -> usize {
        let state = lock(&self.state);
        state.bytes.saturating_add(state.lent)
    }

    /// Waits until nothing waits and nothing is lent.
    pub(super) async fn idle(&self) {
        let mut idler = Idler {
            queue: self,
            place: Place::default(),
        };
        poll_fn(|context| idler.poll_idle(context)).await;
    }

    // The end.

    /// Nothing more is taken. What is there stays.
    pub(super) fn end(&self) {
        self.finish(false);
    }

    /// Nothing more is taken, and nobody wants what is there.
    pub(super) fn abandon(&self) {
        self.finish(true);
    }

    fn finish(&self, discard: bool) {
        let (wakers, discarded) = {
            let mut state = lock(&self.state);
            state.ended = true;
            let mut discarded = VecDeque::new();
            if discard {
                discarded = core::mem::take(&mut state.items);
                state.bytes = 0;
                state.lent = 0;
            }
            let mut wakers = state.readers.all();
            wakers.extend(state.writers.all());
            if state.is_idle() {
                wakers.extend(state.idlers.all());
            }
            (wakers, discarded)
        };
        wake(wakers);
        drop(discarded);
    }
}

/// One that puts in, with its place in the line.
pub(super) struct Writer<Q: core::ops::Deref<Target = Queue<T>>, T> {
    queue: Q,
    place: Place,
}

impl<Q: core::ops::Deref<Target = Queue<T>>, T> Writer<Q, T> {
    pub(super) fn new(queue: Q) -> Self {
        Self {
            queue,
            place: Place::default(),
        }
    }

    /// Appends what is in `item` when there is room for it.
    pub(super) fn poll_push(
        &mut self,
        context: &Context<'_>,
        item: &mut Option<T>,
        len: usize,
    ) -> Poll<Result<(), Ended>> {
        self.poll(context, len, |state| {
            if let Some(item) = item.take() {
                state.push(item, len);
            }
        })
    }

    /// Waits until there is room.
    pub(super) fn poll_ready(&mut self, context: &Context<'_>) -> Poll<Result<(), Ended>> {
        self.poll(context, 1, |_| {})
    }

    fn poll(
        &mut self,
        context: &Context<'_>,
        len: usize,
        enter: impl FnOnce(&mut State<T>),
    ) -> Poll<Result<(), Ended>> {
        let (polled, next, reader) = {
            let mut state = lock(&self.queue.state);
            let polled = if state.ended {
                Err(Ended)
            } else if state.writers.is_first(&self.place) && state.fits(len, self.queue.bytes_max) {
                enter(&mut state);
                Ok(())
            } else {
                state.writers.wait(&mut self.place, context);
                return Poll::Pending;
            };
            state.writers.leave(&mut self.place);
            // The next one may fit as well.
            (polled, state.writers.first(), state.readers.first())
        };
        wake(next);
        wake(reader);
        Poll::Ready(polled)
    }
}

impl<Q: core::ops::Deref<Target = Queue<T>>, T> Drop for Writer<Q, T> {
    fn drop(&mut self) {
        let next = {
            let mut state = lock(&self.queue.state);
            let left = state.writers.leave(&mut self.place);
            // It may have been woken for room that it leaves to the next.
            state.writers.first().filter(|_| left)
        };
        wake(next);
    }
}

/// One that takes out, with its place in the line.
pub(super) struct Reader<Q: core::ops::Deref<Target = Queue<T>>, T> {
    queue: Q,
    place: Place,
}

impl<Q: core::ops::Deref<Target = Queue<T>>, T> Reader<Q, T> {
    pub(super) fn new(queue: Q) -> Self {
        Self {
            queue,
            place: Place::default(),
        }
    }

    /// The oldest message; `None` at the end.
    pub(super) fn poll_pop(&mut self, context: &Context<'_>) -> Poll<Option<T>> {
        self.poll_take(context, false)
            .map(|taken| taken.map(|(item, _)| item))
    }

    fn poll_next_size(&mut self, context: &Context<'_>) -> Poll<Option<usize>> {
        let (size, reader) = {
            let mut state = lock(&self.queue.state);
            let size = state.items.front().map(|(_, len)| *len);
            if size.is_none() && !state.ended {
                state.readers.wait(&mut self.place, context);
                return Poll::Pending;
            }
            state.readers.leave(&mut self.place);
            // The message stays, for whoever reads it.
            (size, state.readers.first())
        };
        wake(reader);
        Poll::Ready(size)
    }

    fn poll_take(&mut self, context: &Context<'_>, lend: bool) -> Poll<Option<(T, usize)>> {
        let (taken, reader, writer, idlers) = {
            let mut state = lock(&self.queue.state);
            let taken = state.items.pop_front();
            match &taken {
                Some((_, len)) => {
                    state.bytes = state.bytes.saturating_sub(*len);
                    if lend {
                        state.lent = state.lent.saturating_add(*len);
                    }
                }
                None if state.ended => {}
                None => {
                    state.readers.wait(&mut self.place, context);
                    return Poll::Pending;
                }
            }
            state.readers.leave(&mut self.place);
            let more = !state.items.is_empty() || state.ended;
            let idlers = if state.is_idle() {
                state.idlers.all()
            } else {
                Vec::new()
            };
            (
                taken,
                state.readers.first().filter(|_| more),
                state.writers.first(),
                idlers,
            )
        };
        wake(reader);
        wake(writer);
        wake(idlers);
        Poll::Ready(taken)
    }
}

impl<Q: core::ops::Deref<Target = Queue<T>>, T> Drop for Reader<Q, T> {
    fn drop(&mut self) {
        let next = {
            let mut state = lock(&self.queue.state);
            let left = state.readers.leave(&mut self.place);
            let more = !state.items.is_empty() || state.ended;
            // It may have been woken for a message that it leaves to the next.
            state.readers.first().filter(|_| left && more)
        };
        wake(next);
    }
}

struct Idler<'q, T> {
    queue: &'q Queue<T>,
    place: Place,
}

impl<T> Idler<'_, T> {
    fn poll_idle(&mut self, context: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.queue.state);
        if state.is_idle() {
            return Poll::Ready(());
        }
        state.idlers.wait(&mut self.place, context);
        Poll::Pending
    }
}

impl<T> Drop for Idler<'_, T> {
    fn drop(&mut self) {
        lock(&self.queue.state).idlers.leave(&mut self.place);
    }
}
