//! A queue between the reader of a channel and the application.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Notify;

use super::Payload;
use crate::shared::lock;

/// Messages of one connection that wait for `recv`. At the limit the reader of the channel waits, then the
/// channel's window closes and the remote waits. Nothing is lost, and no other connection notices.
pub(crate) const MESSAGES_MAX: usize = 1024;
/// Bytes of one connection that wait for `recv`; one message fits always. At the limit as above.
pub(crate) const BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    readable: Notify,
    writable: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Payload>,
    bytes: usize,
    ended: bool,
}

impl Queue {
    /// Appends a message once there is room for it. Nothing is appended after the end.
    pub(crate) async fn push(&self, payload: Payload) {
        let mut payload = Some(payload);
        loop {
            let room = self.writable.notified();
            {
                let mut state = lock(&self.state);
                let len = payload.as_ref().map_or(0, Payload::len);
                let fits = state.messages.len() < MESSAGES_MAX && state.bytes + len <= BYTES_MAX;
                if state.ended || fits || state.messages.is_empty() {
                    if let Some(payload) = payload.take().filter(|_| !state.ended) {
                        state.bytes += len;
                        state.messages.push_back(payload);
                    }
                    drop(state);
                    self.readable.notify_one();
                    return;
                }
            }
            room.await;
        }
    }

    /// The oldest message; `None` at the end. Cancel safe.
    pub(crate) async fn pop(&self) -> Option<Payload> {
        loop {
            let more = self.readable.notified();
            {
                let mut state = lock(&self.state);
                if let Some(payload) = state.messages.pop_front() {
                    state.bytes -= payload.len();
                    let pass_on = !state.messages.is_empty() || state.ended;
                    drop(state);
                    self.writable.notify_one();
                    if pass_on {
                        // A second reader may wait for what is left.
                        self.readable.notify_one();
                    }
                    return Some(payload);
                }
                if state.ended {
                    return None;
                }
            }
            more.await;
        }
    }

    /// Nothing more will come. What is there stays readable.
    pub(crate) fn end(&self) {
        lock(&self.state).ended = true;
        self.readable.notify_waiters();
        self.writable.notify_waiters();
    }

    /// Nobody will read any more.
    pub(crate) fn abandon(&self) {
        {
            let mut state = lock(&self.state);
            state.ended = true;
            state.messages = VecDeque::new();
            state.bytes = 0;
        }
        self.readable.notify_waiters();
        self.writable.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::FutureExt as _;

    fn message(len: usize) -> Payload {
        Payload::Binary(Bytes::from(vec![7; len]))
    }

    #[tokio::test]
    async fn a_full_queue_makes_the_writer_wait_and_keeps_order() {
        let queue = Queue::default();
        queue.push(message(BYTES_MAX + 1)).await;
        let mut second = Box::pin(queue.push(message(1)));
        assert!(second.as_mut().now_or_never().is_none(), "over the limit");
        assert_eq!(queue.pop().await.map(|p| p.len()), Some(BYTES_MAX + 1));
        second.await;
        assert_eq!(queue.pop().await, Some(message(1)));
    }

    #[tokio::test]
    async fn the_end_comes_after_what_was_there() {
        let queue = Queue::default();
        queue.push(message(3)).await;
        queue.end();
        queue.push(message(4)).await;
        assert_eq!(queue.pop().await, Some(message(3)));
        assert_eq!(queue.pop().await, None);
        assert_eq!(queue.pop().await, None);
    }

    #[tokio::test]
    async fn every_waiting_reader_learns_of_the_end() {
        let queue = Queue::default();
        let (a, b, ()) = tokio::join!(queue.pop(), queue.pop(), async { queue.end() });
        assert_eq!((a, b), (None, None));
    }
}
