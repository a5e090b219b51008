//! The data plane of one connection: what goes out through an [`Outbox`], what comes in through an
//! [`Inbox`].
//!
//! Both are a few words of state; the bytes are in memory that is lent to each call and must be the
//! same slice each time. So both are usable without the engine, over any slice: the engine lends
//! static arrays, a program on an operating system may lend a `Vec`.

use core::fmt;

mod inbox;
mod outbox;
#[cfg(test)]
mod tests;

pub use inbox::{ASSEMBLIES_MAX, MESSAGE_COST};
pub use outbox::HIGH_WATER;

#[doc(hidden)]
pub use {
    inbox::{Inbox, Message, Received},
    outbox::Outbox,
};

use crate::{
    serialization::{DecodeError, EncodeError},
    storage,
};

/// A message was not taken. Nothing of it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SendError {
    /// The outbox has no room now; wait for `Writable`.
    Full,
    /// The message does not fit in the outbox even when that is empty. Give it more memory, or
    /// stream the message.
    TooLarge,
    /// The connection's serialization has no place for the value. Never
    /// [`EncodeError::BufferTooSmall`].
    Encode(EncodeError),
    /// A streamed message is not finished yet.
    Streaming,
    /// More bytes than the streamed message was announced with.
    StreamLength,
    /// The connection's serialization has no such thing: only BinaryPack messages can be streamed,
    /// and raw and postcard have no close message.
    Unsupported,
    /// The close message was sent; nothing may follow it.
    Closing,
    /// The connection is not open yet; wait for its open event. PeerJS: `not-open-yet`.
    NotOpenYet,
    /// The connection is over.
    Closed,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the outbox has no room now; send again when it is writable",
            Self::TooLarge => "the message is larger than the outbox",
            Self::Encode(error) => return error.fmt(f),
            Self::Streaming => "a streamed message must be finished or aborted first",
            Self::StreamLength => "more bytes than the streamed message was announced with",
            Self::Unsupported => "the connection's serialization does not provide for this",
            Self::Closing => "the connection is closing",
            Self::NotOpenYet => "the connection is not open yet; wait for its open event",
            Self::Closed => "the connection is over",
        })
    }
}

impl core::error::Error for SendError {}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::BufferTooSmall => Self::Full,
            other => Self::Encode(other),
        }
    }
}

impl From<storage::Full> for SendError {
    fn from(_: storage::Full) -> Self {
        Self::Full
    }
}

/// A frame did not become (part of) a message, or a message not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReceiveError {
    /// The message is larger than the inbox. It was dropped.
    TooLarge,
    /// The message does not fit beside others that are still coming in, or its chunks came out of
    /// order where that cannot be. It was dropped.
    NoRoom,
    /// The frame has no meaning on this connection; the remote's fault. It was dropped, and with it
    /// the message it was a part of.
    Malformed,
    /// There is no message to read.
    Empty,
    /// The message is not the value that was asked for.
    Decode(DecodeError),
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the remote sent a message larger than the inbox; it was dropped",
            Self::NoRoom => {
                "the inbox has no room beside messages still coming in; one was dropped"
            }
            Self::Malformed => "the remote sent a frame without a meaning; it was dropped",
            Self::Empty => "there is no message to read",
            Self::Decode(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for ReceiveError {}
