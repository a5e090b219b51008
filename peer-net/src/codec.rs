//! Between values and what travels, in each serialization.

mod raw;

use core::num::NonZeroU32;
use std::borrow::Cow;
use std::io;

use bytes::Bytes;
use peer_core::binarypack::{self, DecodeError, EncodeError};
use peer_core::config::BINARYPACK_DEPTH_MAX;
use peer_core::serialization::Serialization;
use peer_core::wire::chunk::{CHUNKED_MTU, Chunks};
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed as _};

use crate::error::{ReceiveError, SendError};
use crate::limits::JSON_VALUE_DEPTH_MAX;
use crate::rtc::Message;
use crate::value::{MAX_VALUES, Value, ValueSeed, ValuesLeft};

/// Longest message in `json`. PeerJS sends none of 16,300 bytes or more (`lib/util.ts`,
/// `chunkedMTU`).
pub(crate) const JSON_MAX: usize = CHUNKED_MTU - 1;
/// `null` in BinaryPack.
const PACKED_NULL: &[u8] = &[0xC0];

/// One message of the remote, still in its serialization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Text(String),
    Binary(Bytes),
}

impl Payload {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// A message ready to be sent.
#[derive(Clone, Debug)]
pub(crate) enum Outgoing {
    Whole(Message),
    /// Packed bytes that travel in chunks.
    Chunked(Vec<u8>),
}

impl Outgoing {
    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Whole(message) => message.len(),
            Self::Chunked(packed) => packed.len(),
        }
    }

    /// Bytes of the largest frame it travels in.
    pub(crate) fn largest_frame(&self) -> usize {
        match self {
            Self::Whole(message) => message.len(),
            // The first chunk is full.
            Self::Chunked(packed) => Chunks::new(NonZeroU32::MAX, packed)
                .next()
                .map_or(0, |chunk| chunk.len()),
        }
    }

    fn packed(packed: Vec<u8>) -> Self {
        if packed.len() > CHUNKED_MTU {
            Self::Chunked(packed)
        } else {
            Self::Whole(Message::Binary(packed.into()))
        }
    }
}

/// A packed message's chunks as the frames that travel.
pub(crate) fn frames(id: NonZeroU32, packed: &[u8]) -> impl Iterator<Item = Message> {
    Chunks::new(id, packed).map(|chunk| {
        let mut frame = Vec::with_capacity(chunk.len());
        for part in chunk.parts() {
            frame.extend_from_slice(part);
        }
        Message::Binary(frame.into())
    })
}

/// Encodes a value. `json_as_text`: the remote speaks JSON in text frames, as PeerJS did before
/// 1.5.
pub(crate) fn encode<T: Serialize + ?Sized>(
    serialization: Serialization,
    json_as_text: bool,
    value: &T,
) -> Result<Outgoing, SendError> {
    match serialization {
        Serialization::Binary | Serialization::BinaryUtf8 => {
            let mut packed = Packed(Vec::new());
            let mut serializer = binarypack::Serializer::new(&mut packed);
            value
                .serialize(&mut serializer)
                .map_err(|error| encode_error(&error))?;
            if serializer.has_control_key() {
                return Err(SendError::Encode(
                    "PeerJS keeps the member __peerData of a message for itself".to_owned(),
                ));
            }
            if packed.0 == PACKED_NULL {
                Err(SendError::Null)
            } else {
                Ok(Outgoing::packed(packed.0))
            }
        }
        Serialization::Json => {
            let mut json = Vec::new();
            let mut serializer = serde_json::Serializer::with_formatter(&mut json, NoBytes);
            value
                .serialize(&mut serializer)
                .map_err(|error| encode_error(&error))?;
            let json = String::from_utf8(json).map_err(|error| encode_error(&error))?;
            json_message(json, json_as_text)
        }
        Serialization::Raw => value.serialize(raw::RawSerializer).map(Outgoing::Whole),
        Serialization::Postcard => {
            let bytes = postcard::to_allocvec(value).map_err(|error| encode_error(&error))?;
            Ok(Outgoing::Whole(Message::Binary(bytes.into())))
        }
        _ => Err(unknown()),
    }
}

/// Encodes bytes that are one message.
pub(crate) fn encode_bytes(
    serialization: Serialization,
    bytes: Bytes,
) -> Result<Outgoing, SendError> {
    match serialization {
        Serialization::Binary | Serialization::BinaryUtf8 => {
            // Tag and length take at most five bytes.
            let mut packed = Packed(Vec::with_capacity(bytes.len() + 5));
            binarypack::to_writer(&AsBytes(&bytes), &mut packed)
                .map_err(|error| encode_error(&error))?;
            Ok(Outgoing::packed(packed.0))
        }
        Serialization::Raw => Ok(Outgoing::Whole(Message::Binary(bytes))),
        Serialization::Postcard => encode(serialization, false, &AsBytes(&bytes)),
        _ => Err(SendError::Encode(NO_BYTES.to_owned())),
    }
}

const NO_BYTES: &str = "JSON has no bytes; use binary or raw, or send base64";

/// JSON as `JSON.stringify` writes it. Bytes, of which serde_json would make numbers, are refused.
struct NoBytes;

impl serde_json::ser::Formatter for NoBytes {
    fn write_byte_array<W: ?Sized + io::Write>(&mut self, _: &mut W, _: &[u8]) -> io::Result<()> {
        Err(io::Error::other(NO_BYTES))
    }
}

fn json_message(json: String, as_text: bool) -> Result<Outgoing, SendError> {
    if json == "null" {
        return Err(SendError::Null);
    }
    if json.len() > JSON_MAX {
        return Err(SendError::MessageTooBig {
            size: json.len(),
            limit: JSON_MAX,
        });
    }
    Ok(Outgoing::Whole(if as_text {
        Message::Text(json)
    } else {
        Message::Binary(json.into_bytes().into())
    }))
}

/// Decodes a message whose shape is not known.
pub(crate) fn decode(
    serialization: Serialization,
    payload: Payload,
) -> Result<Value, ReceiveError> {
    let left = ValuesLeft::new(MAX_VALUES);
    let result = match (serialization, payload) {
        (Serialization::Binary | Serialization::BinaryUtf8, Payload::Binary(bytes)) => {
            let seed = ValueSeed {
                left: &left,
                source: Some(&bytes),
            };
            let mut packed = binarypack::Deserializer::new(&bytes);
            seed.deserialize(&mut packed)
                .map_err(|error| packed_error(&error))
        }
        (Serialization::Json, payload) => {
            let text = json_text(&payload);
            let text = without_lone_surrogates(&text);
            let mut json = serde_json::Deserializer::from_str(&text);
            let seed = ValueSeed {
                left: &left,
                source: None,
            };
            let value = seed.deserialize(&mut json);
            value
                .and_then(|value| json.end().map(|()| value))
                .map_err(|error| json_error(&error))
        }
        (Serialization::Raw, Payload::Text(text)) => Ok(Value::String(text)),
        (Serialization::Raw | Serialization::Postcard, Payload::Binary(bytes)) => {
            Ok(Value::Bytes(bytes))
        }
        (_, Payload::Text(_)) => Err(text_frame()),
        (_, Payload::Binary(_)) => Err(ReceiveError::Malformed("unknown serialization".to_owned())),
    };
    match result {
        Err(_) if left.is_exhausted() => Err(ReceiveError::TooManyValues { limit: MAX_VALUES }),
        result => result,
    }
}

/// Decodes a message into a type.
pub(crate) fn decode_as<T: DeserializeOwned>(
    serialization: Serialization,
    payload: Payload,
) -> Result<T, ReceiveError> {
    match (serialization, payload) {
        (Serialization::Binary | Serialization::BinaryUtf8, Payload::Binary(bytes)) => {
            binarypack::from_slice(&bytes).map_err(|error| packed_error(&error))
        }
        (Serialization::Json, payload) => {
            let text = json_text(&payload);
            serde_json::from_str(&without_lone_surrogates(&text))
                .map_err(|error| json_error(&error))
        }
        (Serialization::Postcard, Payload::Binary(bytes)) => {
            postcard::from_bytes(&bytes).map_err(|error| ReceiveError::Type(error.to_string()))
        }
        (Serialization::Raw, payload) => {
            let value = match payload {
                Payload::Text(text) => Value::String(text),
                Payload::Binary(bytes) => Value::Bytes(bytes),
            };
            T::deserialize(&value).map_err(|error| ReceiveError::Type(error.to_string()))
        }
        (_, Payload::Text(_)) => Err(text_frame()),
        (_, Payload::Binary(_)) => Err(ReceiveError::Malformed("unknown serialization".to_owned())),
    }
}

/// JSON as the browser's `TextDecoder` reads it: without a byte order mark, U+FFFD for what is not
/// UTF-8.
fn json_text(payload: &Payload) -> Cow<'_, str> {
    match payload {
        Payload::Text(text) => text.as_str().into(),
        Payload::Binary(bytes) => {
            String::from_utf8_lossy(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes))
        }
    }
}

/// Writes escapes of one half of a surrogate pair, which a JavaScript string can hold and ours
/// cannot, as that of U+FFFD.
fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    let escape = |at: usize| {
        let digits = json.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut mended: Option<String> = None;
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        at += match escape(at) {
            None => 2,
            Some(0xD800..=0xDBFF) if matches!(escape(at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                let mended = mended.get_or_insert_default();
                mended.push_str(json.get(copied..at).unwrap_or_default());
                mended.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            Some(_) => 6,
        };
    }
    match mended {
        None => json.into(),
        Some(mended) => (mended + json.get(copied..).unwrap_or_default()).into(),
    }
}

fn packed_error(error: &DecodeError) -> ReceiveError {
    let text = error.to_string();
    match error {
        DecodeError::Depth => ReceiveError::TooDeep {
            limit: BINARYPACK_DEPTH_MAX,
            name: "BINARYPACK_DEPTH_MAX",
        },
        DecodeError::Truncated | DecodeError::Utf8 | DecodeError::Key => {
            ReceiveError::Malformed(text)
        }
        _ => ReceiveError::Type(text),
    }
}

fn json_error(error: &serde_json::Error) -> ReceiveError {
    // It has no other way to say so.
    if error.to_string().starts_with("recursion limit exceeded") {
        return ReceiveError::TooDeep {
            limit: JSON_VALUE_DEPTH_MAX,
            name: "JSON_VALUE_DEPTH_MAX",
        };
    }
    match error.classify() {
        serde_json::error::Category::Data => ReceiveError::Type(error.to_string()),
        _ => ReceiveError::Malformed(error.to_string()),
    }
}

fn text_frame() -> ReceiveError {
    ReceiveError::Malformed("a text message, where only binary ones have a meaning".to_owned())
}

fn encode_error(error: &impl core::fmt::Display) -> SendError {
    SendError::Encode(error.to_string())
}

fn unknown() -> SendError {
    SendError::Encode("this version does not know the serialization".to_owned())
}

/// Where BinaryPack grows.
struct Packed(Vec<u8>);

impl binarypack::Write for Packed {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Bytes that serde is to see as bytes.
struct AsBytes<'a>(&'a [u8]);

impl Serialize for AsBytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
mod tests;
