//! The serializations of a data connection.
//!
//! [`Serialization::encode`] and [`Serialization::decode`] turn values into messages and back. They
//! know nothing of chunks, which are the business of [`connection`](crate::connection).

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{binarypack, wire::json};

mod raw;
#[cfg(test)]
mod tests;

/// PeerJS sends JSON texts shorter than this many bytes. A receiver takes any length.
pub const JSON_LIMIT: usize = 16_300;
/// Longest raw message. A browser closes the connection on a longer one.
pub const RAW_LIMIT: usize = 262_144;

/// One data channel message, as WebRTC tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A string message (PPID 51, 56 when empty).
    Text(&'a str),
    /// A binary message (PPID 53, 57 when empty).
    Binary(&'a [u8]),
}

impl<'a> Frame<'a> {
    /// The bytes of either kind.
    pub const fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Which of both it is.
    pub const fn kind(self) -> FrameKind {
        match self {
            Self::Text(_) => FrameKind::Text,
            Self::Binary(_) => FrameKind::Binary,
        }
    }
}

/// The kind of a [`Frame`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FrameKind {
    /// Binary.
    #[default]
    Binary,
    /// A string.
    Text,
}

/// One data channel message, or a piece of one. The pieces of a message follow one another; a text
/// may be cut anywhere, also within a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Whether the message begins with these bytes.
    pub first: bool,
    /// Whether the message ends with these bytes.
    pub last: bool,
    /// The kind of the message, the same for all of its pieces.
    pub kind: FrameKind,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Returns a message in one piece.
    pub const fn whole(frame: Frame<'a>) -> Self {
        Self {
            first: true,
            last: true,
            kind: frame.kind(),
            bytes: frame.as_bytes(),
        }
    }

    /// Returns the message, if it is in one piece. `None` also for a text that is not UTF-8.
    ///
    /// ```
    /// use peer_core::serialization::{Fragment, Frame};
    /// let whole = Fragment::whole(Frame::Text("a"));
    /// assert_eq!(whole.as_frame(), Some(Frame::Text("a")));
    /// assert_eq!(Fragment { last: false, ..whole }.as_frame(), None);
    /// ```
    pub fn as_frame(&self) -> Option<Frame<'a>> {
        match (self.first && self.last, self.kind) {
            (false, _) => None,
            (true, FrameKind::Binary) => Some(Frame::Binary(self.bytes)),
            (true, FrameKind::Text) => core::str::from_utf8(self.bytes).ok().map(Frame::Text),
        }
    }
}

/// How values travel on a connection. PeerJS's `serialization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Serialization {
    /// BinaryPack, chunked above 16,300 bytes. PeerJS's `default` and `binary`.
    #[default]
    Binary,
    /// The same under PeerJS's other name for it.
    BinaryUtf8,
    /// JSON in binary frames, at most 16,299 bytes.
    Json,
    /// Strings and bytes as they are.
    Raw,
    /// postcard, between our own peers only; never towards a browser.
    Postcard,
}

impl Serialization {
    /// The name in an OFFER. PeerJS knows all of them but `postcard`.
    ///
    /// ```
    /// use peer_core::serialization::Serialization;
    /// assert_eq!(Serialization::BinaryUtf8.as_str(), "binary");
    /// assert_eq!(Serialization::from_wire("default"), Some(Serialization::Binary));
    /// assert_eq!(Serialization::from_wire("MsgPack"), None);
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Binary | Self::BinaryUtf8 => "binary",
            Self::Json => "json",
            Self::Raw => "raw",
            Self::Postcard => "postcard",
        }
    }

    /// The serialization of a name in an OFFER. `none` is what PeerJS before 1.5 calls `raw`.
    pub fn from_wire(name: &str) -> Option<Self> {
        Some(match name {
            "binary" | "default" => Self::Binary,
            "binary-utf8" => Self::BinaryUtf8,
            "json" => Self::Json,
            "raw" | "none" => Self::Raw,
            "postcard" => Self::Postcard,
            _ => return None,
        })
    }

    /// Whether long messages go out in chunks, and chunks that come in are put together.
    pub const fn is_chunked(self) -> bool {
        matches!(self, Self::Binary | Self::BinaryUtf8)
    }

    /// Whether a string message has no meaning.
    pub(crate) const fn is_binary(self) -> bool {
        !matches!(self, Self::Json | Self::Raw)
    }

    /// Writes `value` into `buffer` as one message, not yet cut into chunks.
    ///
    /// Raw takes only strings, bytes and sequences of `u8`.
    ///
    /// # Errors
    /// [`EncodeError`]; the buffer's content is then undefined.
    pub fn encode<'b, T: Serialize + ?Sized>(
        self,
        value: &T,
        buffer: &'b mut [u8],
    ) -> Result<Frame<'b>, EncodeError> {
        let bytes: &[u8] = match self {
            Self::Binary | Self::BinaryUtf8 => {
                let mut writer = binarypack::SliceWriter::new(buffer);
                let mut serializer = binarypack::Serializer::new(&mut writer);
                value
                    .serialize(&mut serializer)
                    .map_err(|error| match error {
                        binarypack::EncodeError::BufferTooSmall => EncodeError::BufferTooSmall,
                        other => EncodeError::BinaryPack(other),
                    })?;
                if serializer.has_control_key() {
                    return Err(EncodeError::BinaryPack(
                        binarypack::EncodeError::ReservedKey,
                    ));
                }
                let packed = writer.into_written();
                if *packed == [0xc0] {
                    return Err(EncodeError::TopLevelNull);
                }
                packed
            }
            Self::Json => {
                let text = json::to_slice(value, buffer).map_err(|error| match error {
                    json::WriteError::BufferTooSmall => EncodeError::BufferTooSmall,
                    other => EncodeError::Json(other),
                })?;
                if text == b"null" {
                    return Err(EncodeError::TopLevelNull);
                }
                if text.len() >= JSON_LIMIT {
                    return Err(EncodeError::MessageTooBig);
                }
                text
            }
            Self::Raw => return raw::encode(value, buffer),
            Self::Postcard => postcard::to_slice(value, buffer).map_err(|error| match error {
                postcard::Error::SerializeBufferFull => EncodeError::BufferTooSmall,
                _ => EncodeError::Postcard,
            })?,
        };
        Ok(Frame::Binary(bytes))
    }

    /// Reads one whole message. JSON is unescaped in place, so `bytes` change; nothing is copied
    /// and the value may borrow from them.
    ///
    /// JSON is taken from text frames too: PeerJS before 1.5 sends it so.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode<'de, T: Deserialize<'de>>(
        self,
        kind: FrameKind,
        bytes: &'de mut [u8],
    ) -> Result<T, DecodeError> {
        match (self, kind) {
            (Self::Json, _) => json::from_slice(bytes).map_err(DecodeError::Json),
            (Self::Raw, _) => raw::decode(kind, bytes),
            (_, FrameKind::Text) => Err(DecodeError::Text),
            (Self::Binary | Self::BinaryUtf8, _) => {
                binarypack::from_slice(bytes).map_err(DecodeError::BinaryPack)
            }
            (Self::Postcard, _) => postcard::from_bytes(bytes).map_err(|_| DecodeError::Postcard),
        }
    }
}

/// A value did not become a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EncodeError {
    /// The buffer is too small.
    BufferTooSmall,
    /// The value is null as a whole, which no PeerJS receiver takes in binary or JSON.
    TopLevelNull,
    /// The message is longer than its serialization allows: [`JSON_LIMIT`], [`RAW_LIMIT`]. PeerJS's
    /// `message-too-big`.
    MessageTooBig,
    /// BinaryPack has no place for the value.
    BinaryPack(binarypack::EncodeError),
    /// JSON has no place for the value.
    Json(json::WriteError),
    /// Raw takes only strings and bytes.
    Raw,
    /// postcard has no place for the value.
    Postcard,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BufferTooSmall => "the message does not fit in the buffer",
            Self::TopLevelNull => "a message that is null as a whole cannot be delivered",
            Self::MessageTooBig => "the message is longer than its serialization allows",
            Self::BinaryPack(error) => return error.fmt(f),
            Self::Json(error) => return error.fmt(f),
            Self::Raw => "a raw connection carries only strings and bytes",
            Self::Postcard => "the value cannot be written as postcard",
        })
    }
}

impl core::error::Error for EncodeError {}

/// A message did not become a value. The remote sent something else than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DecodeError {
    /// A text frame where only binary ones have a meaning.
    Text,
    /// The BinaryPack is broken or holds something else.
    BinaryPack(binarypack::DecodeError),
    /// The JSON is broken or holds something else.
    Json(json::ReadError),
    /// A raw message is a string or bytes, and the other was asked for.
    Raw,
    /// The postcard bytes are broken or hold something else.
    Postcard,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "a text message on a connection that carries binary ones",
            Self::BinaryPack(error) => return error.fmt(f),
            Self::Json(error) => return error.fmt(f),
            Self::Raw => "the raw message is not of the kind wanted",
            Self::Postcard => "the message is not the postcard value wanted",
        })
    }
}

impl core::error::Error for DecodeError {}
