//! `raw`: a string or bytes, as they are, and nothing else.

use bytes::Bytes;
use serde::ser::{Impossible, Serialize, Serializer};

use crate::error::SendError;
use crate::rtc::Message;

/// Takes strings and bytes and refuses all else.
pub(super) struct RawSerializer;

/// Nothing that is made of parts goes through.
type Never = Impossible<Message, SendError>;

impl serde::ser::Error for SendError {
    fn custom<T: core::fmt::Display>(text: T) -> Self {
        Self::Encode(text.to_string())
    }
}

fn refuse<T>(what: &str) -> Result<T, SendError> {
    Err(SendError::Encode(format!(
        "raw carries strings and bytes, not {what}; use binary or json"
    )))
}

macro_rules! refuse {
    ($($method:ident($($argument:ty),*) -> $what:literal as $result:ty;)*) => {$(
        fn $method(self, $(_: $argument),*) -> Result<$result, SendError> {
            refuse($what)
        }
    )*};
}

impl Serializer for RawSerializer {
    type Ok = Message;
    type Error = SendError;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_str(self, text: &str) -> Result<Message, SendError> {
        Ok(Message::Text(text.to_owned()))
    }

    fn serialize_char(self, c: char) -> Result<Message, SendError> {
        Ok(Message::Text(c.to_string()))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Message, SendError> {
        Ok(Message::Binary(Bytes::copy_from_slice(bytes)))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Message, SendError> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Message, SendError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Message, SendError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<Message, SendError> {
        refuse("enums with content")
    }

    refuse! {
        serialize_bool(bool) -> "booleans" as Message;
        serialize_i8(i8) -> "numbers" as Message;
        serialize_i16(i16) -> "numbers" as Message;
        serialize_i32(i32) -> "numbers" as Message;
        serialize_i64(i64) -> "numbers" as Message;
        serialize_u8(u8) -> "numbers" as Message;
        serialize_u16(u16) -> "numbers" as Message;
        serialize_u32(u32) -> "numbers" as Message;
        serialize_u64(u64) -> "numbers" as Message;
        serialize_f32(f32) -> "numbers" as Message;
        serialize_f64(f64) -> "numbers" as Message;
        serialize_none() -> "null" as Message;
        serialize_unit() -> "null" as Message;
        serialize_unit_struct(&'static str) -> "null" as Message;
        serialize_seq(Option<usize>) -> "arrays" as Never;
        serialize_tuple(usize) -> "arrays" as Never;
        serialize_tuple_struct(&'static str, usize) -> "arrays" as Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> "arrays" as Never;
        serialize_map(Option<usize>) -> "objects" as Never;
        serialize_struct(&'static str, usize) -> "objects" as Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> "objects" as Never;
    }
}
