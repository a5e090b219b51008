//! Reading values, and reading types out of values.

use core::cell::Cell;

use bytes::Bytes;
use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{MAX_VALUES, Object, Value};

/// How many values may still be read.
pub(crate) struct ValuesLeft(Cell<usize>);

impl ValuesLeft {
    pub(crate) fn new(values: usize) -> Self {
        Self(Cell::new(values))
    }

    /// Whether there were more than that.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.0.get() == 0
    }

    fn spend<E: serde::de::Error>(&self) -> Result<(), E> {
        let left = self.0.get().saturating_sub(1);
        self.0.set(left);
        if left == 0 {
            Err(E::custom("too many values"))
        } else {
            Ok(())
        }
    }
}

/// Reads one value while so many are left; bytes borrowed from `source` are shared with it where
/// that is worth it.
#[derive(Clone, Copy)]
pub(crate) struct ValueSeed<'s> {
    pub(crate) left: &'s ValuesLeft,
    pub(crate) source: Option<&'s Bytes>,
}

/// Bytes are shared with the message they came in when they are at least this part of it, so that a
/// few bytes cannot keep a large message in memory.
const SHARED_FROM: usize = 4;

impl ValueSeed<'_> {
    fn bytes(&self, part: &[u8]) -> Bytes {
        match self.source {
            Some(source) if part.len() >= source.len() / SHARED_FROM => {
                let (start, within) = (part.as_ptr().addr(), source.as_ptr().addr());
                match start.checked_sub(within) {
                    // Borrowed from the source: `slice_ref` would panic if it were not.
                    Some(offset) if offset + part.len() <= source.len() => {
                        source.slice(offset..offset + part.len())
                    }
                    _ => Bytes::copy_from_slice(part),
                }
            }
            _ => Bytes::copy_from_slice(part),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.left.spend()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(Bytes::copy_from_slice(value)))
    }

    fn visit_borrowed_bytes<E>(self, value: &'de [u8]) -> Result<Value, E> {
        Ok(Value::Bytes(self.bytes(value)))
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        self.deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        // No capacity from the size hint: it is the sender's claim.
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            members.push((key, map.next_value_seed(self)?));
        }
        Ok(Value::Object(Object::from_members(members)))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let left = ValuesLeft::new(MAX_VALUES);
        ValueSeed {
            left: &left,
            source: None,
        }
        .deserialize(deserializer)
    }
}

impl<'de> IntoDeserializer<'de, Error> for &'de Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for &'de Value {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => {
                if let Some(value) = number.as_i64() {
                    visitor.visit_i64(value)
                } else if let Some(value) = number.as_u64() {
                    visitor.visit_u64(value)
                } else {
                    visitor.visit_f64(number.as_f64())
                }
            }
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Value::Array(values) => {
                let mut seq = SeqDeserializer::new(values.iter());
                let value = visitor.visit_seq(&mut seq)?;
                seq.end()?;
                Ok(value)
            }
            Value::Object(object) => {
                let mut map = MapDeserializer::new(object.iter());
                let value = visitor.visit_map(&mut map)?;
                map.end()?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(Variant(self))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// An enum as serde writes it: the name alone, or an object of one member.
struct Variant<'de>(&'de Value);

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Content<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Content<'de>), Error> {
        use serde::de::Error as _;
        let (name, content) = match self.0 {
            Value::String(name) => (name.as_str(), None),
            Value::Object(object) if object.len() == 1 => match object.iter().next() {
                Some((name, content)) => (name, Some(content)),
                None => return Err(Error::custom("an enum is missing")),
            },
            _ => {
                return Err(Error::custom(
                    "an enum is a string or an object of one member",
                ));
            }
        };
        Ok((
            seed.deserialize(name.into_deserializer())?,
            Content(content),
        ))
    }
}

struct Content<'de>(Option<&'de Value>);

impl<'de> Content<'de> {
    fn value(self) -> Result<&'de Value, Error> {
        use serde::de::Error as _;
        self.0
            .ok_or_else(|| Error::custom("the variant's content is missing"))
    }
}

impl<'de> VariantAccess<'de> for Content<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        use serde::de::Error as _;
        match self.0 {
            None | Some(Value::Null) => Ok(()),
            Some(_) => Err(Error::custom("the variant has no content")),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.value()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.value()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.value()?.deserialize_any(visitor)
    }
}
