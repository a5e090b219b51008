//! The raw serialization: a string or bytes, nothing around them.

use core::fmt;

use serde::{
    Deserialize, Serialize, de,
    de::{Visitor, value::SeqDeserializer},
    forward_to_deserialize_any,
    ser::{self, Impossible},
};

use crate::bytes;

use super::{DecodeError, EncodeError, Fragment, MessageKind, RAW_LIMIT};

pub(super) fn encode<'b, T: Serialize + ?Sized>(
    value: &T,
    buffer: &'b mut [u8],
) -> Result<Fragment<'b>, EncodeError> {
    let mut raw = Raw {
        buffer,
        len: 0,
        in_sequence: false,
    };
    let kind = value.serialize(&mut raw)?;
    let Raw { buffer, len, .. } = raw;
    let bytes: &'b [u8] = buffer.get(..len).unwrap_or_default();
    // A text was copied from `str`s.
    Ok(Fragment::whole(kind, bytes))
}

pub(super) fn decode<'de, T: Deserialize<'de>>(
    kind: MessageKind,
    bytes: &'de [u8],
) -> Result<T, DecodeError> {
    T::deserialize(match kind {
        MessageKind::Text => {
            Message::Text(core::str::from_utf8(bytes).map_err(|_| DecodeError::Type)?)
        }
        MessageKind::Binary => Message::Binary(bytes),
    })
}

struct Raw<'b> {
    buffer: &'b mut [u8],
    len: usize,
    /// Inside of a sequence only `u8` have a meaning, outside of it only the rest.
    in_sequence: bool,
}

impl Raw<'_> {
    fn formatted(&mut self, value: fmt::Arguments<'_>) -> Result<MessageKind, EncodeError> {
        bytes::format(value, |text| {
            self.append(text.as_bytes(), MessageKind::Text).map(drop)
        })
        .map_err(|error| error.unwrap_or(EncodeError::Type))?;
        Ok(MessageKind::Text)
    }

    fn append(&mut self, bytes: &[u8], kind: MessageKind) -> Result<MessageKind, EncodeError> {
        if self.len + bytes.len() > RAW_LIMIT {
            return Err(EncodeError::MessageTooBig);
        }
        bytes::append(self.buffer, &mut self.len, bytes).ok_or(EncodeError::BufferTooSmall)?;
        Ok(kind)
    }

    fn whole(&mut self, bytes: &[u8], kind: MessageKind) -> Result<MessageKind, EncodeError> {
        if self.in_sequence {
            Err(EncodeError::Type)
        } else {
            self.append(bytes, kind)
        }
    }
}

macro_rules! refused {
    ($($method:ident($($type:ty),*) $(-> $ok:ty)?;)*) => {$(
        fn $method(self $(, _: $type)*) -> Result<refused!(@ok $($ok)?), EncodeError> {
            Err(EncodeError::Type)
        }
    )*};
    (@ok) => { MessageKind };
    (@ok $ok:ty) => { $ok };
}

impl ser::Serializer for &mut Raw<'_> {
    type Ok = MessageKind;
    type Error = EncodeError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Impossible<MessageKind, EncodeError>;
    type SerializeTupleVariant = Impossible<MessageKind, EncodeError>;
    type SerializeMap = Impossible<MessageKind, EncodeError>;
    type SerializeStruct = Impossible<MessageKind, EncodeError>;
    type SerializeStructVariant = Impossible<MessageKind, EncodeError>;

    refused! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeStructVariant;
    }

    fn serialize_u8(self, v: u8) -> Result<MessageKind, EncodeError> {
        if self.in_sequence {
            self.append(&[v], MessageKind::Binary)
        } else {
            Err(EncodeError::Type)
        }
    }

    fn serialize_str(self, v: &str) -> Result<MessageKind, EncodeError> {
        self.whole(v.as_bytes(), MessageKind::Text)
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<MessageKind, EncodeError> {
        self.whole(v, MessageKind::Binary)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<MessageKind, EncodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<MessageKind, EncodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<MessageKind, EncodeError> {
        Err(EncodeError::Type)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, EncodeError> {
        if core::mem::replace(&mut self.in_sequence, true) {
            return Err(EncodeError::Type);
        }
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, EncodeError> {
        self.serialize_seq(None)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<MessageKind, EncodeError> {
        if self.in_sequence {
            return Err(EncodeError::Type);
        }
        self.formatted(format_args!("{value}"))
    }
}

impl ser::SerializeSeq for &mut Raw<'_> {
    type Ok = MessageKind;
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(&mut **self).map(drop)
    }

    fn end(self) -> Result<MessageKind, EncodeError> {
        Ok(MessageKind::Binary)
    }
}

impl ser::SerializeTuple for &mut Raw<'_> {
    type Ok = MessageKind;
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(&mut **self).map(drop)
    }

    fn end(self) -> Result<MessageKind, EncodeError> {
        Ok(MessageKind::Binary)
    }
}

/// A message to be read.
enum Message<'de> {
    Text(&'de str),
    Binary(&'de [u8]),
}

impl<'de> de::Deserializer<'de> for Message<'de> {
    type Error = DecodeError;

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct map struct tuple_struct enum identifier ignored_any
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self {
            Self::Text(text) => visitor.visit_borrowed_str(text),
            Self::Binary(bytes) => visitor.visit_borrowed_bytes(bytes),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self {
            Self::Binary(bytes) => {
                let mut elements = SeqDeserializer::<_, DecodeError>::new(bytes.iter().copied());
                let value = visitor.visit_seq(&mut elements)?;
                elements.end()?;
                Ok(value)
            }
            Self::Text(_) => Err(DecodeError::Type),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }
}
