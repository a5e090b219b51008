//! WebSocket framing for a client (RFC 6455), without I/O.
//!
//! [`Decoder`] takes the server's bytes as they come and joins messages in memory of a fixed size.
//! [`FrameHeader`] and [`apply_mask`] make the client's frames. The opening handshake is in
//! [`http`](super::http). Extensions are not supported and not offered.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use core::fmt;

pub use decode::{Decoder, ServerMessage};
pub use encode::{FrameHeader, apply_mask, write_close, write_frame};

/// The longest payload of a control frame, in bytes (RFC 6455, section 5.5).
pub const CONTROL_MAX: usize = 125;

/// The kind of a frame (RFC 6455, section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Opcode {
    /// A continuation of a message.
    Continuation,
    /// A text message, or its first fragment.
    Text,
    /// A binary message, or its first fragment.
    Binary,
    /// The close frame.
    Close,
    /// A ping. Answer it with a pong of the same payload.
    Ping,
    /// A pong.
    Pong,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Why the connection cannot go on: the server broke the framing, or sent a message larger than the
/// memory for it. Send a close frame with [`close_code`](Self::close_code) and close the
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FrameError {
    /// A reserved bit is set, though no extension was agreed on.
    Reserved,
    /// The opcode is unknown.
    Opcode,
    /// The frame is masked, which only a client's may be.
    Masked,
    /// A length is not encoded in its shortest form, or has its highest bit set.
    Length,
    /// A control frame is fragmented or longer than [`CONTROL_MAX`].
    Control,
    /// A continuation came without a message, or a new message within another one.
    Fragmentation,
    /// A close frame has half a code, a code that must not be sent, or a reason that is not UTF-8.
    Close,
    /// The message is longer than the decoder's memory. If the server is trusted, give it more
    /// memory.
    TooLarge,
}

impl FrameError {
    /// Returns the code for the close frame (RFC 6455, section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::TooLarge => 1009,
            _ => 1002,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "the WebSocket server set a reserved bit",
            Self::Opcode => "the WebSocket server sent a frame of an unknown kind",
            Self::Masked => "the WebSocket server sent a masked frame",
            Self::Length => "the WebSocket server sent a malformed frame length",
            Self::Control => "the WebSocket server sent a control frame in pieces or too long",
            Self::Fragmentation => "the WebSocket server mixed up the pieces of its messages",
            Self::Close => "the WebSocket server sent a malformed close frame",
            Self::TooLarge => "the WebSocket server sent a message larger than the memory for it",
        })
    }
}

impl core::error::Error for FrameError {}

/// The frame does not fit the buffer. A frame needs its payload's length and [`FrameHeader::MAX`]
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BufferTooSmall;

impl fmt::Display for BufferTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the WebSocket frame does not fit the buffer")
    }
}

impl core::error::Error for BufferTooSmall {}
