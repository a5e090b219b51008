//! The serializations of a data connection.
//!
//! [`Serialization::encode`] and [`Serialization::decode`] turn values into messages and back. They
//! know nothing of chunks, which are the business of [`connection`](crate::connection).

use serde::{Deserialize, Serialize};

pub use crate::codec::{DecodeError, EncodeError};
use crate::{binarypack, wire::json};

mod raw;
#[cfg(test)]
mod tests;

/// PeerJS sends JSON texts shorter than this many bytes. A receiver takes any length.
pub const JSON_LIMIT: usize = 16_300;
/// Longest raw message. A browser closes the connection on a longer one.
pub const RAW_LIMIT: usize = 262_144;

/// What a data channel message is, as WebRTC tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum MessageKind {
    /// Binary (PPID 53, 57 when empty).
    #[default]
    Binary,
    /// A string (PPID 51, 56 when empty).
    Text,
}

/// One data channel message, or a piece of one. The pieces of a message follow one another; a text
/// may be cut anywhere, also within a character.
///
/// ```
/// use peer_core::serialization::{Fragment, MessageKind};
/// let whole = Fragment::text("ab");
/// assert!(whole.is_whole() && whole.kind == MessageKind::Text);
/// let first = Fragment { last: false, bytes: b"a", ..whole };
/// let rest = Fragment { first: false, bytes: b"b", ..whole };
/// assert!(!first.is_whole() && !rest.is_whole());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Whether the message begins with these bytes.
    pub first: bool,
    /// Whether the message ends with these bytes.
    pub last: bool,
    /// The kind of the message, the same for all of its pieces.
    pub kind: MessageKind,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Returns a binary message in one piece.
    #[must_use]
    pub const fn binary(bytes: &'a [u8]) -> Self {
        Self::whole(MessageKind::Binary, bytes)
    }

    /// Returns a string message in one piece.
    #[must_use]
    pub const fn text(text: &'a str) -> Self {
        Self::whole(MessageKind::Text, text.as_bytes())
    }

    pub(crate) const fn whole(kind: MessageKind, bytes: &'a [u8]) -> Self {
        Self {
            first: true,
            last: true,
            kind,
            bytes,
        }
    }

    /// Returns whether it is a message in one piece.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.first && self.last
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
    ) -> Result<Fragment<'b>, EncodeError> {
        let bytes: &[u8] = match self {
            Self::Binary | Self::BinaryUtf8 => {
                let mut writer = binarypack::SliceWriter::new(buffer);
                let mut serializer = binarypack::Serializer::new(&mut writer);
                value.serialize(&mut serializer)?;
                if serializer.has_control_key() {
                    return Err(EncodeError::ReservedKey);
                }
                let packed = writer.into_written();
                if *packed == [0xc0] {
                    return Err(EncodeError::TopLevelNull);
                }
                packed
            }
            Self::Json => {
                let text = json::to_slice(value, buffer)?;
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
                postcard::Error::SerializeSeqLengthUnknown => EncodeError::LengthRequired,
                _ => EncodeError::Refused,
            })?,
        };
        Ok(Fragment::binary(bytes))
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
        kind: MessageKind,
        bytes: &'de mut [u8],
    ) -> Result<T, DecodeError> {
        match (self, kind) {
            (Self::Json, _) => json::from_slice(bytes),
            (Self::Raw, _) => raw::decode(kind, bytes),
            (_, MessageKind::Text) => Err(DecodeError::Text),
            (Self::Binary | Self::BinaryUtf8, _) => binarypack::from_slice(bytes),
            (Self::Postcard, _) => postcard::from_bytes(bytes).map_err(|error| match error {
                postcard::Error::DeserializeUnexpectedEnd => DecodeError::Truncated,
                postcard::Error::DeserializeBadUtf8 => DecodeError::Utf8,
                _ => DecodeError::Refused,
            }),
        }
    }
}
