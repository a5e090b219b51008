//! BinaryPack, PeerJS's binary serialization (`peerjs-js-binarypack` 2.1.0), as a serde format.
//!
//! It resembles MessagePack, but strings and binary data have other tags. [`to_slice`] and
//! [`from_slice`] convert between bytes and any serde type. [`Value`] reads bytes whose shape is
//! not known beforehand. Nothing is allocated.
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
//! The bytes are those of PeerJS's `pack()`, except where PeerJS reads its own bytes back as
//! another value. A value that PeerJS cannot read is an error.
//!
//! - `true`, `false`: `c3`, `c2`. `()`, a unit struct, `None`: `c0`.
//! - Integers from −2³¹ to 2³² − 1: the shortest of one byte, `cc`, `cd`, `ce`, `d0`, `d1`, `d2`.
//! - 2³² up to 2⁵³, and exact `f64`s up to 2⁶⁴: `d3` below 2⁶³, `cf` above it, `cb` at 2⁶³ itself
//!   (PeerJS reads its own `d3` there as negative).
//! - Integers below −2³¹: `cb`. PeerJS reads a negative `d3` rounded to a multiple of 2,048.
//! - 2⁶⁴ and above, exact `f64`s only: `cb`. `pack()` refuses them, `unpack()` reads them right.
//! - Integers that are not exact as an `f64`: [`EncodeError::Precision`].
//! - `f32`, `f64` without a fraction: as the integer. `1.0` is `01`, `-0.0` is `00`.
//! - `f32`, `f64` with a fraction: `cb`, as IEEE 754 has them. PeerJS's own bytes are off by up to
//!   10⁻⁶ just below powers of two.
//! - Subnormal `f64`: [`EncodeError::Subnormal`], since PeerJS misreads them.
//! - NaN, ±∞: [`EncodeError::NotFinite`]. PeerJS cannot send ∞, and reads NaN as 1.1 × 10⁻³⁰⁸.
//! - `str`, `char`, unit variants: string, `b0`–`bf`, `d8`, `d9`.
//! - Bytes (`serialize_bytes`): binary, `a0`–`af`, `da`, `db`; an `ArrayBuffer` in PeerJS.
//! - Sequences, tuples: array, `90`–`9f`, `dc`, `dd`. Their length must be known, else
//!   [`EncodeError::LengthRequired`].
//! - Maps, structs: map, `80`–`8f`, `de`, `df`. Keys are strings; integers, `bool` and `char` are
//!   written as strings.
//! - Other enum variants: a map of one entry, variant name to content, as in `serde_json`.
//! - The key `__proto__`: [`EncodeError::ReservedKey`], since it would set the prototype at a
//!   PeerJS receiver. In a message, the outermost key `__peerData` is refused as well
//!   ([`Serialization::encode`](crate::serialization::Serialization::encode)).
//!
//! # What is read
//!
//! Everything that `pack()` writes. Beyond that, and more leniently than the format:
//!
//! - `ca` (float32), and `d3` and doubles as IEEE 754 has them, even where PeerJS misreads them.
//! - The reserved tags (`c1`, `c4`–`c9`, `d4`–`d7`) as null.
//! - Bytes after the first value are ignored, as PeerJS does.
//! - A JavaScript number has one type: a float without a fraction is also read as an integer, an
//!   integer as a float.
//! - Binary data is also read as a sequence of `u8`.
//!
//! Stricter than PeerJS, each with an error of its own:
//!
//! - A value that ends early: [`DecodeError::Truncated`]. PeerJS reads zeros.
//! - Text that is not UTF-8: [`DecodeError::Utf8`].
//! - Keys that are not strings: [`DecodeError::Key`].
//! - Nesting beyond [`BINARYPACK_DEPTH_MAX`](crate::config::BINARYPACK_DEPTH_MAX):
//!   [`DecodeError::Depth`].
//!
//! A count that the remaining bytes cannot hold is refused at once.

mod de;
mod key;
mod ser;
#[cfg(test)]
mod tests;
pub(crate) mod token;
mod value;
mod write;

#[doc(no_inline)]
pub use crate::codec::{DecodeError, EncodeError};
pub use de::from_slice;
pub use ser::{serialized_len, to_slice};
pub use value::Value;

#[doc(hidden)]
pub use {
    de::Deserializer,
    ser::{Compound, Serializer, to_writer},
    value::{Array, ArrayIter, Map, MapIter},
    write::{Counter, SliceWriter, Write},
};
