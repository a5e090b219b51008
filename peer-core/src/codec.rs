//! Why a value does not become bytes, and bytes not a value: one error each for every
//! serialization.

use core::fmt;

use serde::{de, ser};

/// A value did not become a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EncodeError {
    /// The message does not fit the buffer, whose content is incomplete. A larger one may hold it.
    BufferTooSmall,
    /// The message is longer than its serialization allows:
    /// [`JSON_LIMIT`](crate::serialization::JSON_LIMIT),
    /// [`RAW_LIMIT`](crate::serialization::RAW_LIMIT). PeerJS's `message-too-big`.
    MessageTooBig,
    /// The value is null as a whole, which no PeerJS receiver takes in BinaryPack or JSON.
    TopLevelNull,
    /// The serialization has no place for a value of this type: raw takes only strings and bytes.
    Type,
    /// A map key is not a string, number, `bool`, `char` or unit variant; in BinaryPack also where
    /// it is a float.
    Key,
    /// BinaryPack: a map key is `__proto__`, which a PeerJS receiver loses, or the outermost map of
    /// a message has the key `__peerData`, by which PeerJS tells chunks from other messages.
    ReservedKey,
    /// BinaryPack: an integer is not exact as a JavaScript number.
    Precision,
    /// BinaryPack: a number is NaN or an infinity.
    NotFinite,
    /// BinaryPack: a number is closer to zero than 2⁻¹⁰²², which PeerJS misreads.
    Subnormal,
    /// BinaryPack, postcard: a sequence or map does not know its length beforehand.
    LengthRequired,
    /// BinaryPack: a sequence or map has another number of elements than it announced, or a text
    /// another length.
    LengthMismatch,
    /// BinaryPack: a length is above 2³² − 1.
    TooLong,
    /// BinaryPack: the value is nested deeper than
    /// [`BINARYPACK_DEPTH_MAX`](crate::config::BINARYPACK_DEPTH_MAX).
    Depth,
    /// The type's `Serialize` or `Display` failed, or it is an integer of 128 bits in JSON.
    Refused,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BufferTooSmall => "the message does not fit in the buffer",
            Self::MessageTooBig => "the message is longer than its serialization allows",
            Self::TopLevelNull => "a message that is null as a whole cannot be delivered",
            Self::Type => "the serialization has no place for a value of this type",
            Self::Key => "a map key must be a string, an integer, a bool or a char",
            Self::ReservedKey => "the map key __proto__ or __peerData cannot be delivered",
            Self::Precision => {
                "the integer is not exact as a JavaScript number; send it as a string"
            }
            Self::NotFinite => "NaN and infinities cannot be packed",
            Self::Subnormal => "PeerJS misreads numbers closer to zero than 2.2e-308",
            Self::LengthRequired => "a sequence or map must know its length before it is written",
            Self::LengthMismatch => "a value has another length than it announced",
            Self::TooLong => "a length is above 4,294,967,295",
            Self::Depth => "the value is nested deeper than this build packs",
            Self::Refused => "the type refused to be serialized",
        })
    }
}

impl core::error::Error for EncodeError {}

impl ser::Error for EncodeError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Refused
    }
}

/// A message did not become a value of the wanted type. The remote sent something else than was
/// asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DecodeError {
    /// A text message on a connection where only binary ones have a meaning.
    Text,
    /// The bytes end before the value does.
    Truncated,
    /// JSON: the text breaks the grammar of RFC 8259.
    Syntax,
    /// JSON: something follows the value.
    Trailing,
    /// A string is not UTF-8.
    Utf8,
    /// A map key is not a string, or the wanted type does not take it as a key.
    Key,
    /// The value is nested deeper than
    /// [`BINARYPACK_DEPTH_MAX`](crate::config::BINARYPACK_DEPTH_MAX) or
    /// [`JSON_DEPTH_MAX`](crate::config::JSON_DEPTH_MAX).
    Depth,
    /// The value has another type than the one wanted.
    Type,
    /// The value is out of range, or not a known variant.
    Value,
    /// A sequence or map has another number of elements than wanted.
    Length,
    /// A field is missing.
    MissingField,
    /// A field comes twice, or the type denies unknown fields and does not know it.
    UnexpectedField,
    /// The type's `Deserialize` failed; in postcard also for any other reason.
    Refused,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "a text message on a connection that carries binary ones",
            Self::Truncated => "the message ends within a value",
            Self::Syntax => "the JSON text breaks the grammar of RFC 8259",
            Self::Trailing => "something follows the JSON value",
            Self::Utf8 => "a string in the message is not UTF-8",
            Self::Key => "a map in the message has a key that is not usable",
            Self::Depth => "the message is nested deeper than this build reads",
            Self::Type => "the message has another type than wanted",
            Self::Value => "a value in the message is out of the range wanted",
            Self::Length => "a sequence or map in the message has another length than wanted",
            Self::MissingField => "the message lacks a field",
            Self::UnexpectedField => "the message has a field twice or one too many",
            Self::Refused => "the message does not fit the type it is read into",
        })
    }
}

impl core::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Refused
    }

    fn invalid_type(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::Type
    }

    fn invalid_value(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::Value
    }

    fn invalid_length(_: usize, _: &dyn de::Expected) -> Self {
        Self::Length
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::Value
    }

    fn unknown_field(_: &str, _: &'static [&'static str]) -> Self {
        Self::UnexpectedField
    }

    fn missing_field(_: &'static str) -> Self {
        Self::MissingField
    }

    fn duplicate_field(_: &'static str) -> Self {
        Self::UnexpectedField
    }
}
