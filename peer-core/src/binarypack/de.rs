use serde::{
    Deserialize, de,
    de::{DeserializeSeed, IntoDeserializer, Visitor, value::SeqDeserializer},
    forward_to_deserialize_any,
};

use super::{
    DecodeError,
    token::{Reader, Token, integral, text_of},
    value::VALUE,
};
use crate::config::BINARYPACK_DEPTH_MAX;

/// Elements that a header may make a collection reserve room for beforehand.
const SIZE_HINT_MAX: usize = 4096;

/// Unpacks the first value in `input`. Ignores bytes after it, as PeerJS does. Strings and binary
/// data can be borrowed.
///
/// # Errors
/// [`DecodeError`].
pub fn from_slice<'de, T: Deserialize<'de>>(input: &'de [u8]) -> Result<T, DecodeError> {
    T::deserialize(&mut Deserializer::new(input))
}

/// Unpacks one value after the other.
#[derive(Debug)]
pub struct Deserializer<'de> {
    reader: Reader<'de>,
    /// Levels that may still be entered.
    depth: usize,
}

impl<'de> Deserializer<'de> {
    /// Reads from the start of `input`.
    #[must_use]
    pub fn new(input: &'de [u8]) -> Self {
        Self {
            reader: Reader { input },
            depth: BINARYPACK_DEPTH_MAX,
        }
    }

    /// Returns the bytes that are not read yet.
    #[must_use]
    pub fn rest(&self) -> &'de [u8] {
        self.reader.input
    }

    fn enter(&mut self) -> Result<(), DecodeError> {
        self.depth = self.depth.checked_sub(1).ok_or(DecodeError::Depth)?;
        Ok(())
    }

    fn visit_array<V: Visitor<'de>>(
        &mut self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.enter()?;
        let mut elements = Elements {
            de: self,
            left: count,
        };
        let value = visitor.visit_seq(&mut elements)?;
        let left = elements.left;
        self.leave(left)?;
        Ok(value)
    }

    fn visit_map<V: Visitor<'de>>(
        &mut self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.enter()?;
        let mut entries = Elements {
            de: self,
            left: count,
        };
        let value = visitor.visit_map(&mut entries)?;
        let left = entries.left;
        self.leave(left)?;
        Ok(value)
    }

    fn leave(&mut self, left: usize) -> Result<(), DecodeError> {
        self.depth += 1;
        if left == 0 {
            Ok(())
        } else {
            Err(DecodeError::Length)
        }
    }

    fn visit<V: Visitor<'de>>(
        &mut self,
        token: Token<'de>,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match token {
            Token::Null => visitor.visit_unit(),
            Token::Bool(value) => visitor.visit_bool(value),
            Token::Unsigned(value) => visitor.visit_u64(value),
            Token::Signed(value) => visitor.visit_i64(value),
            // Where the type is not known, a number is an integer if it can be: so a type that is
            // read by way of serde's buffer (untagged, flattened) sees what it would see directly.
            Token::Double(value) => match integral(value) {
                Some(Token::Unsigned(value)) => visitor.visit_u64(value),
                Some(Token::Signed(value)) => visitor.visit_i64(value),
                _ => visitor.visit_f64(value),
            },
            Token::Text(text) => visitor.visit_borrowed_str(text_of(text)?),
            Token::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Token::Array(count) => self.visit_array(count, visitor),
            Token::Map(count) => self.visit_map(count, visitor),
        }
    }

    #[inline]
    fn visit_next<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        let token = self.reader.token()?;
        self.visit(token, visitor)
    }

    #[inline]
    fn visit_float<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        // The usual case first, past the large match; likewise below.
        if let [0xcb, rest @ ..] = self.reader.input
            && let Some((bytes, rest)) = rest.split_first_chunk()
        {
            self.reader.input = rest;
            return visitor.visit_f64(f64::from_be_bytes(*bytes));
        }
        match self.reader.token()? {
            Token::Double(value) => visitor.visit_f64(value),
            token => self.visit(token, visitor),
        }
    }

    #[inline]
    fn visit_integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        match *self.reader.input {
            [tag @ 0x00..=0x7f, ref rest @ ..] => {
                self.reader.input = rest;
                visitor.visit_u64(tag.into())
            }
            [0xcc, a, ref rest @ ..] => {
                self.reader.input = rest;
                visitor.visit_u64(a.into())
            }
            [0xcd, a, b, ref rest @ ..] => {
                self.reader.input = rest;
                visitor.visit_u64(u16::from_be_bytes([a, b]).into())
            }
            [0xce, a, b, c, d, ref rest @ ..] => {
                self.reader.input = rest;
                visitor.visit_u64(u32::from_be_bytes([a, b, c, d]).into())
            }
            _ => self.visit_next(visitor),
        }
    }

    fn visit_sequence<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.reader.token()? {
            // A `Uint8Array` for a `Vec<u8>` or `[u8; N]`.
            Token::Bytes(bytes) => {
                let mut elements = SeqDeserializer::new(bytes.iter().copied());
                let value = visitor.visit_seq(&mut elements)?;
                elements.end()?;
                Ok(value)
            }
            token => self.visit(token, visitor),
        }
    }
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.visit_integer(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Deserializer<'de> {
    type Error = DecodeError;

    forward_to_deserialize_any! {
        bool i128 u128 char str string bytes byte_buf unit unit_struct map struct identifier
    }

    integers!(
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    );

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.visit_next(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.visit_float(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.visit_float(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let mut ahead = self.reader;
        if matches!(ahead.token(), Ok(Token::Null)) {
            self.reader = ahead;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name != VALUE {
            return visitor.visit_newtype_struct(self);
        }
        let all = self.reader.input;
        self.reader.check(self.depth)?;
        visitor.visit_borrowed_bytes(self.reader.read_of(all))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.visit_sequence(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.visit_sequence(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.visit_sequence(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.reader.token()? {
            Token::Text(text) => {
                let variant: de::value::BorrowedStrDeserializer<'de, DecodeError> =
                    de::value::BorrowedStrDeserializer::new(text_of(text)?);
                visitor.visit_enum(variant)
            }
            Token::Map(1) => {
                self.enter()?;
                let value = visitor.visit_enum(Variant(self))?;
                self.depth += 1;
                Ok(value)
            }
            Token::Map(_) => Err(DecodeError::Length),
            _ => Err(DecodeError::Type),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.reader.skip(1)?;
        visitor.visit_unit()
    }
}

/// What is left of an array or map.
struct Elements<'a, 'de> {
    de: &'a mut Deserializer<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for &mut Elements<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(&mut *self.de).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(SIZE_HINT_MAX))
    }
}

impl<'de> de::MapAccess<'de> for &mut Elements<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        match self.de.reader.token()? {
            Token::Text(text) => seed.deserialize(Key(text_of(text)?)).map(Some),
            _ => Err(DecodeError::Key),
        }
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        seed.deserialize(&mut *self.de)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(SIZE_HINT_MAX))
    }
}

/// A map key. It is text on the wire, whatever it is in Rust.
struct Key<'de>(&'de str);

macro_rules! parsed_keys {
    ($($method:ident $visit:ident),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            visitor.$visit(self.0.parse().map_err(|_| DecodeError::Key)?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Key<'de> {
    type Error = DecodeError;

    forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }

    parsed_keys!(
        deserialize_bool visit_bool,
        deserialize_i8 visit_i8, deserialize_i16 visit_i16, deserialize_i32 visit_i32,
        deserialize_i64 visit_i64, deserialize_i128 visit_i128,
        deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32,
        deserialize_u64 visit_u64, deserialize_u128 visit_u128
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_str(self.0)
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

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_enum(IntoDeserializer::<DecodeError>::into_deserializer(self.0))
    }
}

/// The single entry of a map that stands for an enum variant.
struct Variant<'a, 'de>(&'a mut Deserializer<'de>);

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), DecodeError> {
        match self.0.reader.token()? {
            Token::Text(text) => Ok((seed.deserialize(Key(text_of(text)?))?, self)),
            _ => Err(DecodeError::Key),
        }
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.0.visit_sequence(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.0.visit_next(visitor)
    }
}
