//! BinaryPack, PeerJS's own packing (`peerjs-js-binarypack` 2.1.0), as a serde format.
//!
//! It looks like MessagePack and is not: strings and binary data have other tags. [`to_slice`],
//! [`to_writer`] and [`from_slice`] go between bytes and any serde type; [`Value`] reads bytes whose
//! shape is not known beforehand. Nothing is allocated.
//!
//! ```
//! use peer_core::binarypack::{self, Value};
//! let mut buffer = [0; 64];
//! let bytes = binarypack::to_slice(&("temperature", 21.5), &mut buffer)?;
//! let (name, celsius): (&str, f64) = binarypack::from_slice(bytes)?;
//! assert_eq!((name, celsius), ("temperature", 21.5));
//! assert_eq!(Value::from_slice(bytes)?.at(0).and_then(|v| v.as_str()), Some("temperature"));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # What is written
//!
//! The bytes are those of PeerJS's `pack()`, except where PeerJS itself reads those bytes back as
//! something else. What no PeerJS can read is an error instead of another value.
//!
//! | Rust | BinaryPack |
//! |---|---|
//! | `bool`, `()`, unit struct, `None` | `c3` / `c2`, `c0` |
//! | integers from −2³¹ to 2³² − 1 | the shortest of one byte, `cc` `cd` `ce` `d0` `d1` `d2` |
//! | 2³² up to 2⁵³, and exact `f64`s up to 2⁶⁴ | `d3` below 2⁶³, `cf` above it, `cb` at 2⁶³ itself (PeerJS reads its own `d3` there as negative) |
//! | below −2³¹ | `cb`: PeerJS reads negative `d3` rounded to multiples of 2,048 |
//! | 2⁶⁴ and up, exact `f64`s only | `cb`; `pack()` refuses them, `unpack()` reads them right |
//! | integers that are no `f64` exactly | [`EncodeError::Precision`] |
//! | `f32`, `f64` without a fraction | as the integer: `1.0` is `01`, `-0.0` is `00` |
//! | `f32`, `f64` with a fraction | `cb`, plain IEEE. PeerJS's own bytes are off by up to 10⁻⁶ just below powers of two; ours are not |
//! | subnormal `f64` | [`EncodeError::Subnormal`]: PeerJS misreads them |
//! | NaN, ±∞ | [`EncodeError::NotFinite`]: PeerJS cannot send ∞ and reads NaN as 1.1 × 10⁻³⁰⁸ |
//! | `str`, `char`, unit variants | string: `b0`–`bf`, `d8`, `d9` |
//! | bytes (`serialize_bytes`) | binary: `a0`–`af`, `da`, `db`; an `ArrayBuffer` in PeerJS |
//! | sequences, tuples | array: `90`–`9f`, `dc`, `dd`. Their length must be known ([`EncodeError::LengthRequired`]) |
//! | maps, structs | map: `80`–`8f`, `de`, `df`. Keys are strings; integers, `bool` and `char` are written as such |
//! | other enum variants | a map of one entry, variant name to content, as in `serde_json` |
//! | key `__proto__` | [`EncodeError::ReservedKey`]: it would set the prototype at a PeerJS receiver. Messages are also refused the outermost key `__peerData` ([`Serialization::encode`](crate::serialization::Serialization::encode)) |
//!
//! # What is read
//!
//! Everything `pack()` writes, and: `ca` (float32), `d3` and doubles at their IEEE meaning even where
//! PeerJS misreads them, the reserved tags (`c1`, `c4`–`c9`, `d4`–`d7`) as null. Bytes after the first
//! value are ignored, as PeerJS does. A JavaScript number has one type, so floats are taken for
//! integers where they are integral, integers for floats; binary data is also taken where a sequence of
//! `u8` is wanted. Stricter than PeerJS, with an error each: a value that ends early
//! ([`DecodeError::Truncated`], PeerJS reads zeros), text that is not UTF-8 ([`DecodeError::Utf8`]),
//! keys that are not strings ([`DecodeError::Key`]), nesting beyond
//! [`BINARYPACK_DEPTH_MAX`](crate::config::BINARYPACK_DEPTH_MAX) ([`DecodeError::Depth`]). A count in a
//! header that the remaining bytes cannot hold is refused before anything is done with it.

use core::fmt;

mod de;
mod key;
mod ser;
#[cfg(test)]
mod tests;
pub(crate) mod token;
mod value;
mod write;

pub use de::{Deserializer, from_slice};
pub use ser::{Compound, Serializer, serialized_len, to_slice, to_writer};
pub use value::{Array, ArrayIter, Map, MapIter, Value};
pub use write::{Counter, SliceWriter, Write};

/// A value was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EncodeError {
    /// The buffer is too small. What was written to it is incomplete.
    Full,
    /// A sequence or map does not know its length beforehand.
    LengthRequired,
    /// A sequence or map has another number of elements than it announced, or a text another length.
    LengthMismatch,
    /// A length above 2³² − 1.
    TooLong,
    /// A map key is not a string, integer, `bool`, `char` or unit variant.
    Key,
    /// A map key is `__proto__`, which vanishes at a PeerJS receiver, or the outermost map of a message
    /// has the key `__peerData`, by which PeerJS knows chunks.
    ReservedKey,
    /// An integer that is not exact as a JavaScript number.
    Precision,
    /// NaN or an infinity.
    NotFinite,
    /// A number closer to zero than 2⁻¹⁰²², which PeerJS misreads.
    Subnormal,
    /// Nested deeper than [`BINARYPACK_DEPTH_MAX`](crate::config::BINARYPACK_DEPTH_MAX).
    Depth,
    /// The type's own `Serialize` failed.
    Custom,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the packed value does not fit in the buffer",
            Self::LengthRequired => "a sequence or map must know its length before it is packed",
            Self::LengthMismatch => "a value has another length than it announced",
            Self::TooLong => "a length is above 4,294,967,295",
            Self::Key => "a map key must be a string, an integer, a bool or a char",
            Self::ReservedKey => "the map key __proto__ or __peerData cannot be delivered",
            Self::Precision => {
                "the integer is not exact as a JavaScript number; send it as a string"
            }
            Self::NotFinite => "NaN and infinities cannot be packed",
            Self::Subnormal => "PeerJS misreads numbers closer to zero than 2.2e-308",
            Self::Depth => "the value is nested deeper than this build packs",
            Self::Custom => "the type refused to be serialized",
        })
    }
}

impl core::error::Error for EncodeError {}

impl serde::ser::Error for EncodeError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Custom
    }
}

/// Bytes were not a value of the wanted type, or no value at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the value does.
    Truncated,
    /// A string is not UTF-8.
    Utf8,
    /// A map key is not a string, or not what the wanted type takes for a key.
    Key,
    /// Nested deeper than [`BINARYPACK_DEPTH_MAX`](crate::config::BINARYPACK_DEPTH_MAX).
    Depth,
    /// The value has another type than the one wanted.
    Type,
    /// The type fits, the value does not: out of range, not a known variant.
    Value,
    /// A sequence or map has another number of elements than wanted.
    Length,
    /// A field is missing.
    MissingField,
    /// A field is there twice or is not known to a type that denies unknown fields.
    UnexpectedField,
    /// The type's own `Deserialize` failed.
    Custom,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the packed value ends early",
            Self::Utf8 => "a packed string is not UTF-8",
            Self::Key => "a packed map has a key that is not usable",
            Self::Depth => "the packed value is nested deeper than this build reads",
            Self::Type => "the packed value has another type than wanted",
            Self::Value => "the packed value is out of the range wanted",
            Self::Length => "the packed sequence or map has another length than wanted",
            Self::MissingField => "the packed map lacks a field",
            Self::UnexpectedField => "the packed map has a field twice or one too many",
            Self::Custom => "the type refused the packed value",
        })
    }
}

impl core::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Custom
    }

    fn invalid_type(_: serde::de::Unexpected<'_>, _: &dyn serde::de::Expected) -> Self {
        Self::Type
    }

    fn invalid_value(_: serde::de::Unexpected<'_>, _: &dyn serde::de::Expected) -> Self {
        Self::Value
    }

    fn invalid_length(_: usize, _: &dyn serde::de::Expected) -> Self {
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
