//! The two ends of a data channel, the same over either stack.

use core::fmt;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use bytes::Bytes;
use peer_core::wire::dcep::{PPID_BINARY, PPID_BINARY_EMPTY, PPID_STRING, PPID_STRING_EMPTY};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::RtcConfig;

/// What one waiting message costs besides its bytes, so that empty ones are bounded too.
const MESSAGE_OVERHEAD: usize = 64;

/// One message of a data channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A string. Received bytes that are not UTF-8 are replaced by U+FFFD.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How it travels: its payload protocol identifier (RFC 8831, section 8) and its bytes. SCTP
    /// has no empty messages; one byte stands for them.
    fn into_wire(self) -> (u32, Bytes) {
        const NOTHING: Bytes = Bytes::from_static(&[0]);
        match self {
            Self::Text(text) if text.is_empty() => (PPID_STRING_EMPTY, NOTHING),
            Self::Binary(bytes) if bytes.is_empty() => (PPID_BINARY_EMPTY, NOTHING),
            Self::Text(text) => (PPID_STRING, text.into()),
            Self::Binary(bytes) => (PPID_BINARY, bytes),
        }
    }

    #[cfg(feature = "webrtc-rs")]
    /// The message that travelled so; `None` if it is none of an application.
    pub(super) fn from_wire(ppid: u32, bytes: &[u8]) -> Option<Self> {
        Some(match ppid {
            PPID_STRING => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
            PPID_STRING_EMPTY => Self::Text(String::new()),
            PPID_BINARY => Self::Binary(Bytes::copy_from_slice(bytes)),
            PPID_BINARY_EMPTY => Self::Binary(Bytes::new()),
            _ => return None,
        })
    }
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The channel is closed, by either side.
    #[error("the data channel is closed")]
    Closed,
    /// The message is larger than [`ChannelSender::max_message_size`].
    #[error("the message is larger than the remote peer accepts; send it in parts")]
    TooBig,
    /// As much as [`RtcConfig::send_buffer`](super::RtcConfig::send_buffer) waits already. Only
    /// from [`ChannelSender::try_send`].
    #[error("the data channel is congested; wait until it is drained")]
    Full,
}

/// The sending end. Clones send into the same channel.
#[derive(Clone, Debug)]
pub struct ChannelSender {
    queue: mpsc::Sender<Queued>,
    line: Arc<Line>,
}

impl ChannelSender {
    /// Hands a message over; waits while the channel is congested. Dropping the future sends
    /// nothing.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::TooBig`].
    pub async fn send(&self, message: Message) -> Result<(), SendError> {
        self.hand_over(message, false).await
    }

    /// As [`send`](Self::send), for the last message: the remote reads it after everything that it
    /// has acknowledged, which on an unordered channel another message could overtake.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_last(&self, message: Message) -> Result<(), SendError> {
        self.hand_over(message, true).await
    }

    async fn hand_over(&self, message: Message, last: bool) -> Result<(), SendError> {
        let weight = self.weigh(&message)?;
        let room = Arc::clone(&self.line.room);
        let permit = room
            .acquire_many_owned(weight)
            .await
            .map_err(|_| SendError::Closed)?;
        let slot = self.queue.reserve().await.map_err(|_| SendError::Closed)?;
        slot.send(self.line.enqueue(message, permit, last));
        Ok(())
    }

    /// As [`send`](Self::send), without waiting.
    ///
    /// # Errors
    /// [`SendError::Full`] besides.
    pub fn try_send(&self, message: Message) -> Result<(), SendError> {
        let weight = self.weigh(&message)?;
        let slot = self.queue.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => SendError::Full,
            mpsc::error::TrySendError::Closed(()) => SendError::Closed,
        })?;
        let room = Arc::clone(&self.line.room);
        let permit = room
            .try_acquire_many_owned(weight)
            .map_err(|error| match error {
                tokio::sync::TryAcquireError::NoPermits => SendError::Full,
                tokio::sync::TryAcquireError::Closed => SendError::Closed,
            })?;
        slot.send(self.line.enqueue(message, permit, false));
        Ok(())
    }

    /// Bytes handed over and not yet acknowledged by the remote.
    pub fn buffered_amount(&self) -> usize {
        self.line.buffered()
    }

    /// The largest message in bytes the remote accepts.
    pub fn max_message_size(&self) -> usize {
        self.line.max_message_size
    }

    /// Whether the channel is closed: every further send fails.
    pub fn is_closed(&self) -> bool {
        self.line.room.is_closed()
    }

    /// Waits until the [`buffered_amount`](Self::buffered_amount) may have become less since this
    /// call, which is when the remote acknowledges something: `true`. `false`: the session is
    /// over.
    pub fn acknowledged(&self) -> impl Future<Output = bool> + '_ {
        let acknowledged = self.line.below.acknowledged().notified();
        async {
            tokio::select! {
                () = acknowledged => true,
                () = self.line.ended() => false,
            }
        }
    }

    /// Waits until everything sent before is acknowledged by the remote, or the channel is closed.
    pub async fn flushed(&self) {
        let target = self.line.accepted.load(Ordering::SeqCst);
        loop {
            let acknowledged = self.line.below.acknowledged().notified();
            // In this order: what is accepted in between only makes it wait for one more round.
            let buffered = self.line.buffered() as u64;
            let accepted = self.line.accepted.load(Ordering::SeqCst);
            if accepted.saturating_sub(buffered) >= target || self.line.room.is_closed() {
                return;
            }
            tokio::select! {
                () = acknowledged => {}
                () = self.line.ended() => return,
            }
        }
    }

    fn weigh(&self, message: &Message) -> Result<u32, SendError> {
        if message.len() > self.line.max_message_size {
            return Err(SendError::TooBig);
        }
        Ok(weight(message.len(), self.line.capacity))
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct ChannelReceiver {
    inbox: mpsc::Receiver<(Message, OwnedSemaphorePermit)>,
}

impl ChannelReceiver {
    /// The next message; `None` once the channel is closed and everything received before is read.
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Message> {
        self.inbox.recv().await.map(|(message, _)| message)
    }
}

/// An open channel, before its ends are given away.
pub(super) struct Channel {
    pub(super) sender: ChannelSender,
    pub(super) receiver: ChannelReceiver,
}

/// The stack's ends of a channel.
pub(super) struct StackEnds {
    pub(super) line: Arc<Line>,
    pub(super) queued: mpsc::Receiver<Queued>,
    pub(super) inbox: Inbox,
}

/// Makes a channel over `below`.
pub(super) fn channel(
    config: &RtcConfig,
    max_message_size: usize,
    below: Arc<dyn Below>,
) -> (Channel, StackEnds) {
    // Half of the budget waits here, half is under way.
    let capacity = (config.send_buffer / 2).clamp(MESSAGE_OVERHEAD, Semaphore::MAX_PERMITS);
    let line = Arc::new(Line {
        below,
        room: Arc::new(Semaphore::new(capacity)),
        capacity,
        waiting: AtomicUsize::new(0),
        accepted: AtomicU64::new(0),
        max_message_size,
    });
    let (queue, queued) = mpsc::channel(capacity.div_ceil(MESSAGE_OVERHEAD));
    let capacity = config
        .receive_buffer
        .clamp(MESSAGE_OVERHEAD, Semaphore::MAX_PERMITS);
    let (messages, inbox) = mpsc::channel(capacity.div_ceil(MESSAGE_OVERHEAD));
    let sender = ChannelSender {
        queue,
        line: Arc::clone(&line),
    };
    let channel = Channel {
        sender,
        receiver: ChannelReceiver { inbox },
    };
    let ends = StackEnds {
        line,
        queued,
        inbox: Inbox {
            messages,
            room: Arc::new(Semaphore::new(capacity)),
            capacity,
        },
    };
    (channel, ends)
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Either side ended it.
    Ended,
    /// Something failed: the beginning of a sentence that says what.
    Failed(&'static str),
}

/// Tells why it is over; the first reason counts.
pub(super) fn end(sender: &watch::Sender<Option<End>>, reason: End) {
    sender.send_if_modified(|end| {
        let first = end.is_none();
        if first {
            *end = Some(reason);
        }
        first
    });
}

/// What a channel asks of the stack below it.
pub(super) trait Below: Send + Sync {
    /// Bytes that the stack took and the remote has not acknowledged.
    fn buffered(&self) -> usize;
    /// Told whenever that may have become less.
    fn acknowledged(&self) -> &Notify;
    /// Why the session is over, if it is.
    fn end(&self) -> &watch::Sender<Option<End>>;
}

/// What senders and the stack share.
pub(super) struct Line {
    below: Arc<dyn Below>,
    room: Arc<Semaphore>,
    capacity: usize,
    /// Bytes in the queue to the stack.
    waiting: AtomicUsize,
    /// Bytes ever taken.
    accepted: AtomicU64,
    max_message_size: usize,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("buffered", &self.buffered())
            .finish_non_exhaustive()
    }
}

impl Line {
    #[cfg(feature = "webrtc-rs")]
    /// Bytes that may wait in the queue, and as many be under way.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Every further send fails, and so do those that wait.
    pub(super) fn close(&self) {
        self.room.close();
    }

    /// The stack counts `length` bytes of the queue as its own now.
    pub(super) fn left_queue(&self, length: usize) {
        self.waiting.fetch_sub(length, Ordering::SeqCst);
    }

    fn buffered(&self) -> usize {
        self.waiting.load(Ordering::SeqCst) + self.below.buffered()
    }

    async fn ended(&self) {
        let _ = self.below.end().subscribe().wait_for(Option::is_some).await;
    }

    fn enqueue(&self, message: Message, permit: OwnedSemaphorePermit, last: bool) -> Queued {
        let (ppid, payload) = message.into_wire();
        self.waiting.fetch_add(payload.len(), Ordering::SeqCst);
        self.accepted
            .fetch_add(payload.len() as u64, Ordering::SeqCst);
        Queued {
            ppid,
            payload,
            last,
            _permit: permit,
        }
    }
}

/// A message on its way to the stack.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) ppid: u32,
    pub(super) payload: Bytes,
    /// Nothing comes after it.
    pub(super) last: bool,
    _permit: OwnedSemaphorePermit,
}

/// The way of messages to the [`ChannelReceiver`].
#[derive(Debug)]
pub(super) struct Inbox {
    messages: mpsc::Sender<(Message, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    capacity: usize,
}

impl Inbox {
    /// Waits for room for the message. `None` never comes: the room is never closed.
    pub(super) async fn permit(&self, message: &Message) -> Option<OwnedSemaphorePermit> {
        let weight = weight(message.len(), self.capacity);
        Arc::clone(&self.room).acquire_many_owned(weight).await.ok()
    }

    #[cfg(feature = "native")]
    /// Room for the message, if there is some now.
    pub(super) fn try_permit(&self, message: &Message) -> Option<OwnedSemaphorePermit> {
        let weight = weight(message.len(), self.capacity);
        Arc::clone(&self.room).try_acquire_many_owned(weight).ok()
    }

    #[cfg(feature = "webrtc-rs")]
    /// Hands a message over. Where nobody listens any more it is dropped, so that the remote is not
    /// held up.
    pub(super) async fn deliver(&self, message: Message, permit: Option<OwnedSemaphorePermit>) {
        if let Some(permit) = permit {
            let _ = self.messages.send((message, permit)).await;
        }
    }

    #[cfg(feature = "native")]
    /// Hands a message over at once: there is a place for each message that has its room.
    pub(super) fn try_deliver(&self, message: Message, permit: OwnedSemaphorePermit) {
        let delivered = self.messages.try_send((message, permit));
        debug_assert!(
            !matches!(delivered, Err(mpsc::error::TrySendError::Full(_))),
            "a message with room has a place"
        );
    }

    #[cfg(feature = "native")]
    /// Whether everything was read.
    pub(super) fn is_empty(&self) -> bool {
        self.room.available_permits() == self.capacity
    }

    #[cfg(feature = "native")]
    /// Whether nobody listens any more.
    pub(super) fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }

    /// Waits until nobody listens any more.
    pub(super) async fn closed(&self) {
        self.messages.closed().await;
    }
}

fn weight(length: usize, capacity: usize) -> u32 {
    let weight = length.saturating_add(MESSAGE_OVERHEAD).min(capacity);
    u32::try_from(weight).unwrap_or(u32::MAX)
}
