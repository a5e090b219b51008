//! From a value to the channel: one queue, one task that empties it.

use core::num::NonZeroU32;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;

use peer_core::serialization::Serialization;
use tokio::time::timeout;

use super::plane::DataPlane;
use super::queue::{Ended, Refused};
use crate::codec::{self, Outgoing};
use crate::error::{CloseReason, SendError};
use crate::rtc::{self, ChannelSender, Message};

/// How long a closing connection may deliver nothing of what was sent before the rest is given up.
const FLUSH_STALL: Duration = Duration::from_secs(10);

impl DataPlane {
    /// Puts a message into the queue, whole, when there is room. Dropping the future puts in
    /// nothing.
    pub(super) async fn send(
        &self,
        encode: impl FnOnce(Serialization, bool) -> Result<Outgoing, SendError>,
    ) -> Result<(), SendError> {
        if self.channel.get().is_none() && !self.is_ending() {
            self.settled().await;
        }
        let (message, len) = self.message(encode)?;
        let pushed = self.outbox.push(message, len).await;
        pushed.map_err(|Ended| self.closed_error())
    }

    pub(super) fn try_send(
        &self,
        encode: impl FnOnce(Serialization, bool) -> Result<Outgoing, SendError>,
    ) -> Result<(), SendError> {
        let (message, len) = self.message(encode)?;
        self.outbox
            .try_push(message, len)
            .map_err(|refused| match refused {
                Refused::Full => SendError::Congested,
                Refused::Ended => self.closed_error(),
            })
    }

    /// Encodes a message that the channel can carry. Its size, too.
    pub(super) fn message(
        &self,
        encode: impl FnOnce(Serialization, bool) -> Result<Outgoing, SendError>,
    ) -> Result<(Outgoing, usize), SendError> {
        if self.is_ending() {
            return Err(self.closed_error());
        }
        let channel = self.channel.get().ok_or(SendError::NotOpenYet)?;
        let json_as_text = self.json_as_text.load(Ordering::Relaxed);
        let message = encode(self.info.serialization, json_as_text)?;
        let (limit, size) = (channel.max_message_size(), message.len());
        if message.largest_frame() > limit {
            return Err(SendError::MessageTooBig { size, limit });
        }
        Ok((message, size))
    }

    pub(super) fn closed_error(&self) -> SendError {
        // What is over without a reason was closed by this side a moment ago.
        SendError::Closed(self.reason().unwrap_or(CloseReason::Local))
    }

    pub(super) fn buffered_amount(&self) -> usize {
        let in_channel = self.channel.get().map_or(0, ChannelSender::buffered_amount);
        self.outbox.bytes().saturating_add(in_channel)
    }

    /// Waits until everything is delivered, as long as something is.
    pub(super) async fn delivered(&self, channel: &ChannelSender) {
        let mut before = self.acknowledged(channel);
        loop {
            let delivered = async {
                self.outbox.idle().await;
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

    async fn hand_over(
        &self,
        channel: &ChannelSender,
        message: Message,
    ) -> Result<(), rtc::SendError> {
        let size = message.len();
        channel.send(message).await?;
        self.handed_over.fetch_add(size, Ordering::Relaxed);
        Ok(())
    }
}

/// Hands the channel what was sent, in order, until the queue or the channel ends.
pub(super) async fn write(plane: Arc<DataPlane>, channel: ChannelSender) {
    let mut ids = ChunkIds::default();
    while let Some((message, mut lent)) = plane.outbox.lend().await {
        let sent = match message {
            Outgoing::Whole(message) => plane.hand_over(&channel, message).await,
            Outgoing::Chunked(packed) => {
                let mut sent = Ok(());
                for frame in codec::frames(ids.draw(), &packed) {
                    let size = frame.len().min(lent);
                    sent = plane.hand_over(&channel, frame).await;
                    if sent.is_err() {
                        break;
                    }
                    lent -= size;
                    plane.outbox.release(size);
                }
                sent
            }
        };
        plane.outbox.release(lent);
        if let Err(error) = sent {
            tracing::debug!(target: "peer_net", %error, "the channel takes no more");
            break;
        }
    }
    // Whoever waits for room waits in vain.
    plane.outbox.abandon();
}

/// Ids of messages in chunks. They begin with 1, as in PeerJS: it takes 0 for no chunk at all.
#[derive(Default)]
struct ChunkIds(u32);

impl ChunkIds {
    fn draw(&mut self) -> NonZeroU32 {
        self.0 = self.0.checked_add(1).unwrap_or(1);
        NonZeroU32::new(self.0).unwrap_or(NonZeroU32::MIN)
    }
}
