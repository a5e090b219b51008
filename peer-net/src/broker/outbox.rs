//! What waits for one client to read it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peer_realm::SessionId;
use tokio::sync::Notify;

use super::memory::Memory;
use super::options::BrokerLimits;

/// A bounded queue between the hub, which never waits, and one session's writer.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// Something to write, or nothing more to come.
    ready: Notify,
    /// A message was taken out, or the session ends.
    taken: Notify,
    /// The session is to end at once.
    cut: Notify,
    messages_max: usize,
    bytes_max: usize,
    /// What the outboxes of all sessions may hold.
    memory: Arc<Memory>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(Option<SessionId>, String)>,
    bytes: usize,
    /// Messages and bytes of each sender that has any waiting.
    shares: HashMap<SessionId, (usize, usize)>,
    closing: bool,
    /// A sender waited in vain, and nothing was taken out since.
    stalled: bool,
}

impl State {
    fn share(&self, from: SessionId) -> (usize, usize) {
        self.shares.get(&from).copied().unwrap_or_default()
    }
}

/// The message does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Outbox {
    /// What one sender may hold: this part of the whole.
    const SHARE: usize = 4;

    pub(super) fn new(limits: &BrokerLimits, memory: Arc<Memory>) -> Self {
        Self {
            state: Mutex::default(),
            ready: Notify::new(),
            taken: Notify::new(),
            cut: Notify::new(),
            messages_max: limits.outbox_messages,
            bytes_max: limits.outbox_bytes,
            memory,
        }
    }

    /// Adds a message of the broker (`from` is `None`) or of another client.
    pub(super) fn push(&self, from: Option<SessionId>, text: String) -> Result<(), Full> {
        let mut state = self.lock();
        let size = text.len();
        let taken = self.fits(&state, from, size)
            && match from {
                Some(_) => self.memory.take_for(size, state.bytes, self.reserve()),
                None => self.memory.take(size),
            };
        if !taken {
            return Err(Full);
        }
        if let Some(from) = from {
            let (messages, bytes) = state.share(from);
            state.shares.insert(from, (messages + 1, bytes + size));
        }
        state.bytes += size;
        state.queue.push_back((from, text));
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Whether a message of `size` bytes would be taken now.
    pub(super) fn has_room(&self, from: SessionId, size: usize) -> bool {
        let state = self.lock();
        self.fits(&state, Some(from), size)
            && self.memory.has_for(size, state.bytes, self.reserve())
    }

    /// Whether waiting for room was in vain before, and nothing has changed.
    pub(super) fn is_stalled(&self) -> bool {
        self.lock().stalled
    }

    /// Waiting for room was in vain: no sender is made to wait again before something is taken out.
    pub(super) fn stall(&self) {
        self.lock().stalled = true;
    }

    /// Returns when there is room, or never will be.
    pub(super) async fn room(&self, from: SessionId, size: usize) {
        loop {
            let mut taken = core::pin::pin!(self.taken.notified());
            // From here on no notification is missed.
            taken.as_mut().enable();
            if self.lock().closing || self.has_room(from, size) {
                return;
            }
            taken.await;
        }
    }

    fn fits(&self, state: &State, from: Option<SessionId>, size: usize) -> bool {
        if state.closing
            || state.queue.len() >= self.messages_max
            || state.bytes + size > self.bytes_max
        {
            return false;
        }
        from.is_none_or(|from| {
            let (messages, bytes) = state.share(from);
            // A share is never too small for a single message.
            messages == 0
                || (messages < self.messages_max / Self::SHARE
                    && bytes + size <= self.bytes_max / Self::SHARE)
        })
    }

    /// The broker's own messages still get through when relayed ones do not.
    fn reserve(&self) -> usize {
        self.memory.max() / Self::SHARE
    }

    /// Nothing more is to be added; the session closes after what waits.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.ready.notify_one();
        self.taken.notify_waiters();
    }

    /// Ends the session without waiting for anything.
    pub(super) fn cut(&self) {
        let mut state = self.lock();
        self.memory.give(state.bytes);
        *state = State {
            closing: true,
            ..State::default()
        };
        drop(state);
        self.ready.notify_one();
        self.cut.notify_one();
        self.taken.notify_waiters();
    }

    /// The next message to write. `None` once closed and empty.
    pub(super) async fn next(&self) -> Option<String> {
        loop {
            {
                let mut state = self.lock();
                if let Some((from, text)) = state.queue.pop_front() {
                    state.stalled = false;
                    state.bytes -= text.len();
                    self.memory.give(text.len());
                    if let Some(from) = from
                        && let Some((messages, bytes)) = state.shares.get_mut(&from)
                    {
                        *messages -= 1;
                        *bytes -= text.len();
                        if *messages == 0 {
                            state.shares.remove(&from);
                        }
                    }
                    drop(state);
                    self.taken.notify_waiters();
                    return Some(text);
                }
                if state.closing {
                    return None;
                }
            }
            self.ready.notified().await;
        }
    }

    /// Returns when nothing more will be added.
    pub(super) async fn closed(&self) {
        loop {
            let mut taken = core::pin::pin!(self.taken.notified());
            taken.as_mut().enable();
            if self.lock().closing {
                return;
            }
            taken.await;
        }
    }

    /// Returns when the session is to end at once.
    pub(super) async fn cut_off(&self) {
        self.cut.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.memory.give(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(messages: usize, bytes: usize) -> Outbox {
        sharing(messages, bytes, &Arc::new(Memory::new(1_000)))
    }

    fn sharing(messages: usize, bytes: usize, memory: &Arc<Memory>) -> Outbox {
        let limits = BrokerLimits {
            outbox_messages: messages,
            outbox_bytes: bytes,
            ..BrokerLimits::default()
        };
        Outbox::new(&limits, memory.clone())
    }

    #[tokio::test]
    async fn all_outboxes_share_their_memory() {
        let memory = Arc::new(Memory::new(100));
        let (one, two) = (sharing(10, 1_000, &memory), sharing(10, 1_000, &memory));
        assert_eq!(one.push(Some(SessionId(1)), "x".repeat(70)), Ok(()));
        assert_eq!(two.push(Some(SessionId(2)), "x".repeat(10)), Err(Full));
        assert_eq!(two.push(None, "x".repeat(10)), Ok(()));
        one.next().await;
        assert_eq!(two.push(Some(SessionId(2)), "x".repeat(10)), Ok(()));
        assert_eq!(memory.used(), 20);
        drop(two);
        assert_eq!(one.push(None, "x".repeat(30)), Ok(()));
        one.cut();
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn one_sender_leaves_room_for_others() {
        let outbox = outbox(8, 1_000);
        let (flooder, other) = (Some(SessionId(1)), Some(SessionId(2)));
        assert_eq!(outbox.push(flooder, "a".to_owned()), Ok(()));
        assert_eq!(outbox.push(flooder, "b".to_owned()), Ok(()));
        assert_eq!(outbox.push(flooder, "c".to_owned()), Err(Full));
        assert_eq!(outbox.push(other, "d".to_owned()), Ok(()));
        assert_eq!(outbox.push(None, "e".to_owned()), Ok(()));
        assert_eq!(outbox.next().await.as_deref(), Some("a"));
        assert_eq!(outbox.push(flooder, "f".to_owned()), Ok(()));
        outbox.close();
        assert_eq!(outbox.push(None, "g".to_owned()), Err(Full));
        for text in ["b", "d", "e", "f"] {
            assert_eq!(outbox.next().await.as_deref(), Some(text));
        }
        assert_eq!(outbox.next().await, None);
        let state = outbox.lock();
        assert_eq!((state.bytes, state.shares.len()), (0, 0));
    }

    #[tokio::test]
    async fn room_comes_when_a_message_is_taken_or_all_ends() {
        let outbox = outbox(8, 1_000);
        let from = SessionId(1);
        for _ in 0..2 {
            assert_eq!(outbox.push(Some(from), "a".to_owned()), Ok(()));
        }
        assert!(!outbox.has_room(from, 1));
        outbox.stall();
        assert!(outbox.is_stalled());
        tokio::join!(biased; outbox.room(from, 1), outbox.next());
        assert!(!outbox.is_stalled());
        assert_eq!(outbox.push(Some(from), "a".to_owned()), Ok(()));
        tokio::join!(biased; outbox.room(from, 1), outbox.closed(), async { outbox.close() });
        assert!(!outbox.has_room(from, 1));
    }

    #[tokio::test]
    async fn bytes_are_bounded_but_a_single_large_message_passes() {
        let outbox = outbox(100, 100);
        let from = Some(SessionId(1));
        assert_eq!(outbox.push(from, "x".repeat(80)), Ok(()));
        assert_eq!(outbox.push(from, "x".to_owned()), Err(Full));
        assert_eq!(outbox.push(None, "x".repeat(21)), Err(Full));
        assert_eq!(outbox.push(None, "x".repeat(20)), Ok(()));
        outbox.cut();
        outbox.cut_off().await;
        assert_eq!(outbox.next().await, None);
    }
}
