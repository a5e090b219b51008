//! From a value to the channel.

use core::num::NonZeroU32;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;

use peer_core::serialization::Serialization;
use peer_core::wire::chunk;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{DataPlane, State};
use crate::codec::{self, Outgoing};
use crate::error::{CloseReason, SendError};
use crate::rtc::{self, ChannelSender, Message};
use crate::shared::lock;

/// How long a closing connection may deliver nothing of what was sent before the rest is given up.
const FLUSH_STALL: Duration = Duration::from_secs(10);

impl DataPlane {
    pub(crate) async fn send(
        self: &Arc<Self>,
        encode: impl FnOnce(Serialization, bool) -> Result<Outgoing, SendError>,
    ) -> Result<(), SendError> {
        let channel = self.ready().await?;
        let json_as_text = self.json_as_text.load(Ordering::Relaxed);
        let packed = match encode(self.info.serialization, json_as_text)? {
            Outgoing::Whole(message) => return self.hand_over(channel, message).await,
            Outgoing::Chunked(packed) => packed,
        };
        self.left_behind.none().await;
        let mut chunks = Chunked::new(self, packed);
        let result = chunks.send(channel).await;
        if result.is_err() {
            chunks.forget();
        }
        result
    }

    pub(crate) fn try_send(
        self: &Arc<Self>,
        encode: impl FnOnce(Serialization, bool) -> Result<Outgoing, SendError>,
    ) -> Result<(), SendError> {
        let channel = self.ready_now()?;
        // What those still hold is no part of the channel's own limit.
        if self.left_behind.any() {
            return Err(SendError::Congested);
        }
        let json_as_text = self.json_as_text.load(Ordering::Relaxed);
        let packed = match encode(self.info.serialization, json_as_text)? {
            Outgoing::Whole(message) => return self.hand_over_now(channel, message),
            Outgoing::Chunked(packed) => packed,
        };
        let mut chunks = Chunked::new(self, packed);
        match chunks.try_send(channel) {
            Ok(()) => Ok(()),
            // The remote has the beginning, so the rest follows when `chunks` is dropped.
            Err(SendError::Congested) if chunks.sent > 0 => Ok(()),
            Err(error) => {
                chunks.forget();
                Err(error)
            }
        }
    }

    pub(crate) fn buffered_amount(&self) -> usize {
        self.channel.get().map_or(0, ChannelSender::buffered_amount)
    }

    /// Waits until everything is delivered, as long as something is.
    pub(super) async fn delivered(&self, channel: &ChannelSender) {
        let mut before = self.acknowledged(channel);
        loop {
            let delivered = async {
                self.in_chunks.none().await;
                channel.flushed().await;
            };
            if timeout(FLUSH_STALL, delivered).await.is_ok() {
                return;
            }
            let now = self.acknowledged(channel);
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Bytes the remote has acknowledged so far. Wraps.
    fn acknowledged(&self, channel: &ChannelSender) -> usize {
        let handed_over = self.handed_over.load(Ordering::Relaxed);
        handed_over.wrapping_sub(channel.buffered_amount())
    }

    /// The channel, once it is open.
    async fn ready(&self) -> Result<&ChannelSender, SendError> {
        if lock(&self.ending).is_none() {
            if let Some(channel) = self.channel.get() {
                return Ok(channel);
            }
            let mut state = self.state.subscribe();
            let _ = state
                .wait_for(|state| !matches!(state, State::Opening))
                .await;
        }
        self.ready_now()
    }

    fn ready_now(&self) -> Result<&ChannelSender, SendError> {
        if lock(&self.ending).is_some() || matches!(*self.state.borrow(), State::Over(_)) {
            return Err(SendError::Closed(self.reason()));
        }
        self.channel.get().ok_or(SendError::NotOpenYet)
    }

    fn reason(&self) -> CloseReason {
        if let State::Over(reason) = &*self.state.borrow() {
            return reason.clone();
        }
        lock(&self.ending).clone().unwrap_or(CloseReason::Remote)
    }

    async fn hand_over(&self, channel: &ChannelSender, message: Message) -> Result<(), SendError> {
        let size = message.len();
        let sent = channel.send(message).await;
        self.handed(channel, size, sent)
    }

    fn hand_over_now(&self, channel: &ChannelSender, message: Message) -> Result<(), SendError> {
        let size = message.len();
        let sent = channel.try_send(message);
        self.handed(channel, size, sent)
    }

    fn handed(
        &self,
        channel: &ChannelSender,
        size: usize,
        sent: Result<(), rtc::SendError>,
    ) -> Result<(), SendError> {
        match sent {
            Ok(()) => {
                self.handed_over.fetch_add(size, Ordering::Relaxed);
                Ok(())
            }
            Err(rtc::SendError::TooBig) => Err(SendError::MessageTooBig {
                size,
                limit: channel.max_message_size(),
            }),
            Err(rtc::SendError::Full) => Err(SendError::Congested),
            Err(rtc::SendError::Closed) => Err(SendError::Closed(self.reason())),
        }
    }

    /// Counts from 1, as PeerJS does: it takes 0 for no chunk at all.
    fn next_chunk_id(&self) -> NonZeroU32 {
        loop {
            let last = self.chunk_id.fetch_add(1, Ordering::Relaxed);
            if let Some(id) = NonZeroU32::new(last.wrapping_add(1)) {
                return id;
            }
        }
    }
}

/// A message on its way in chunks. Dropped halfway, as when a `send` is cancelled, it sends the rest from a task:
/// the remote would keep the beginning for ever. While there is such a task no other message begins in chunks, so
/// each caller leaves one behind at most.
struct Chunked<'l> {
    plane: &'l Arc<DataPlane>,
    packed: Vec<u8>,
    id: NonZeroU32,
    sent: usize,
    _counted: Counted,
}

impl<'l> Chunked<'l> {
    fn new(plane: &'l Arc<DataPlane>, packed: Vec<u8>) -> Self {
        let (id, _counted) = (plane.next_chunk_id(), plane.in_chunks.count());
        Self {
            plane,
            packed,
            id,
            sent: 0,
            _counted,
        }
    }

    async fn send(&mut self, channel: &ChannelSender) -> Result<(), SendError> {
        for frame in codec::frames(self.id, &self.packed).skip(self.sent) {
            self.plane.hand_over(channel, frame).await?;
            self.sent += 1;
        }
        Ok(())
    }

    fn try_send(&mut self, channel: &ChannelSender) -> Result<(), SendError> {
        for frame in codec::frames(self.id, &self.packed) {
            self.plane.hand_over_now(channel, frame)?;
            self.sent += 1;
        }
        Ok(())
    }

    /// Nothing more is to be sent of it.
    fn forget(&mut self) {
        self.packed = Vec::new();
    }
}

impl Drop for Chunked<'_> {
    fn drop(&mut self) {
        // All of it went, or nothing, or it was forgotten.
        if self.sent == 0 || self.sent >= chunk::frames(self.packed.len()) {
            return;
        }
        let (plane, packed) = (self.plane.clone(), core::mem::take(&mut self.packed));
        let (id, sent) = (self.id, self.sent);
        let counted = (plane.left_behind.count(), plane.in_chunks.count());
        self.plane.shared.runtime.spawn(async move {
            if let Some(channel) = plane.channel.get() {
                for frame in codec::frames(id, &packed).skip(sent) {
                    if plane.hand_over(channel, frame).await.is_err() {
                        break;
                    }
                }
            }
            drop(counted);
        });
    }
}

/// How many of something there are, for those who wait until there are none.
#[derive(Clone, Debug, Default)]
pub(super) struct Count(watch::Sender<usize>);

impl Count {
    fn any(&self) -> bool {
        *self.0.borrow() > 0
    }

    async fn none(&self) {
        if self.any() {
            // The sender lives in `self`.
            let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
        }
    }

    fn count(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(self.clone())
    }
}

/// One of a [`Count`].
struct Counted(Count);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
