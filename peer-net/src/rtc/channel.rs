//! The two ends of an open data channel.

use bytes::Bytes;

/// One message of a data channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A string. Received bytes that are not UTF-8 are replaced by U+FFFD, as browsers do.
    Text(String),
    /// Bytes.
    Binary(Bytes),
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
    /// As much as [`RtcConfig::send_buffer`](super::RtcConfig::send_buffer) waits already. Only from
    /// [`ChannelSender::try_send`].
    #[error("the data channel is congested; wait until it is drained")]
    Full,
}

/// The sending end. Clones send into the same channel.
#[derive(Clone, Debug)]
pub struct ChannelSender {}

impl ChannelSender {
    /// Hands a message over; waits while the channel is congested.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::TooBig`].
    pub async fn send(&self, _message: Message) -> Result<(), SendError> {
        Err(SendError::Closed)
    }

    /// As [`send`](Self::send), without waiting.
    ///
    /// # Errors
    /// [`SendError::Full`] besides.
    pub fn try_send(&self, _message: Message) -> Result<(), SendError> {
        Err(SendError::Closed)
    }

    /// Bytes handed over and not yet acknowledged by the remote.
    pub fn buffered_amount(&self) -> usize {
        0
    }

    /// The largest message in bytes the remote accepts.
    pub fn max_message_size(&self) -> usize {
        0
    }

    /// Waits until everything sent before is acknowledged by the remote, or the channel is closed.
    pub async fn flushed(&self) {}
}

/// The receiving end.
#[derive(Debug)]
pub struct ChannelReceiver {}

impl ChannelReceiver {
    /// The next message; `None` once the channel is closed and everything received before is read.
    pub async fn recv(&mut self) -> Option<Message> {
        None
    }
}
