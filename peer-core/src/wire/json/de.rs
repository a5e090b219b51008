use serde::de::{
    self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::{DecodeError, Kind, Number, Reader};

/// Reads a complete text into a value. Unescapes the text in place, so that the value may borrow
/// from it.
///
/// Enums are externally tagged, as with `serde_json`. A map takes the last of equal keys; a derived
/// struct refuses them.
///
/// ```
/// use peer_core::wire::json;
/// let mut text = *br#"["caf\u00e9",1.5]"#;
/// let value: (&str, f64) = json::from_slice(&mut text)?;
/// assert_eq!(value, ("café", 1.5));
/// # Ok::<(), json::DecodeError>(())
/// ```
///
/// # Errors
/// [`DecodeError`]; the text is partly unescaped then.
pub fn from_slice<'de, T: de::Deserialize<'de>>(text: &'de mut [u8]) -> Result<T, DecodeError> {
    let mut deserializer = Deserializer::new(text)?;
    let value = T::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads JSON in place as serde's data model.
#[derive(Debug)]
pub struct Deserializer<'de> {
    reader: Reader<'de>,
}

impl<'de> Deserializer<'de> {
    /// Makes a deserializer over a complete text.
    ///
    /// # Errors
    /// [`DecodeError::Utf8`].
    pub fn new(text: &'de mut [u8]) -> Result<Self, DecodeError> {
        Reader::new(text).map(|reader| Self { reader })
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    pub fn end(&self) -> Result<(), DecodeError> {
        self.reader.end()
    }
}

macro_rules! integers_and_other_types {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.no_double(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Deserializer<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.reader.kind()? != Kind::Number {
            return self.no_double(visitor);
        }
        match self.reader.number()? {
            Number::Unsigned(value) => visitor.visit_u64(value),
            Number::Signed(value) => visitor.visit_i64(value),
            Number::Float(value) => visitor.visit_f64(value),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.reader.kind()? == Kind::Null {
            self.reader.null()?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.reader.kind()? == Kind::String {
            visitor.visit_borrowed_bytes(self.reader.string()?.as_bytes())
        } else {
            self.no_double(visitor)
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.reader.kind()? {
            Kind::String => visitor.visit_enum(self.reader.string()?.into_deserializer()),
            Kind::Object => {
                self.reader.begin_object()?;
                let key = self.reader.next_key()?.ok_or(DecodeError::Length)?;
                let value = visitor.visit_enum(Variant {
                    deserializer: self,
                    key,
                })?;
                match self.reader.next_key()? {
                    None => Ok(value),
                    Some(_) => Err(DecodeError::Length),
                }
            }
            _ => Err(DecodeError::Type),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.reader.skip()?;
        visitor.visit_unit()
    }

    integers_and_other_types! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_char
        deserialize_str deserialize_string deserialize_unit deserialize_seq deserialize_map
        deserialize_identifier
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.no_double(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.no_double(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.no_double(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.no_double(visitor)
    }
}

impl<'de> Deserializer<'de> {
    /// Any value but a double, so that a program without doubles does not link what reads them.
    fn no_double<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.reader.kind()? {
            Kind::Null => {
                self.reader.null()?;
                visitor.visit_unit()
            }
            Kind::Boolean => visitor.visit_bool(self.reader.boolean()?),
            Kind::Number => match self.reader.integer()? {
                Number::Unsigned(value) => visitor.visit_u64(value),
                Number::Signed(value) => visitor.visit_i64(value),
                Number::Float(_) => Err(DecodeError::Type),
            },
            Kind::String => visitor.visit_borrowed_str(self.reader.string()?),
            Kind::Array => {
                self.reader.begin_array()?;
                let mut elements = Elements {
                    deserializer: self,
                    over: false,
                };
                let value = visitor.visit_seq(&mut elements)?;
                elements.close()?;
                Ok(value)
            }
            Kind::Object => {
                self.reader.begin_object()?;
                let mut entries = Entries {
                    deserializer: self,
                    over: false,
                };
                let value = visitor.visit_map(&mut entries)?;
                entries.close()?;
                Ok(value)
            }
        }
    }
}

struct Elements<'d, 'de> {
    deserializer: &'d mut Deserializer<'de>,
    over: bool,
}

impl Elements<'_, '_> {
    /// A visitor may stop early, but only if nothing is left.
    fn close(self) -> Result<(), DecodeError> {
        if self.over || !self.deserializer.reader.next_element()? {
            Ok(())
        } else {
            Err(DecodeError::Length)
        }
    }
}

impl<'de> SeqAccess<'de> for &mut Elements<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        if self.over || !self.deserializer.reader.next_element()? {
            self.over = true;
            return Ok(None);
        }
        seed.deserialize(&mut *self.deserializer).map(Some)
    }
}

struct Entries<'d, 'de> {
    deserializer: &'d mut Deserializer<'de>,
    over: bool,
}

impl Entries<'_, '_> {
    fn close(self) -> Result<(), DecodeError> {
        if self.over || self.deserializer.reader.next_key()?.is_none() {
            Ok(())
        } else {
            Err(DecodeError::Length)
        }
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        if self.over {
            return Ok(None);
        }
        match self.deserializer.reader.next_key()? {
            Some(key) => seed.deserialize(Key(key)).map(Some),
            None => {
                self.over = true;
                Ok(None)
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeError> {
        seed.deserialize(&mut *self.deserializer)
    }
}

struct Variant<'d, 'de> {
    deserializer: &'d mut Deserializer<'de>,
    key: &'de str,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), DecodeError> {
        Ok((seed.deserialize(Key(self.key))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        self.deserializer.reader.null()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        seed.deserialize(self.deserializer)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_seq(self.deserializer, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_map(self.deserializer, visitor)
    }
}

/// A map key: a string, but numbers and booleans may be read from it.
struct Key<'de>(&'de str);

macro_rules! parsed_keys {
    ($($method:ident $visit:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            visitor.$visit(self.0.parse().map_err(|_| DecodeError::Type)?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Key<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_str(self.0)
    }

    parsed_keys! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8
        deserialize_i16 visit_i16
        deserialize_i32 visit_i32
        deserialize_i64 visit_i64
        deserialize_u8 visit_u8
        deserialize_u16 visit_u16
        deserialize_u32 visit_u32
        deserialize_u64 visit_u64
        deserialize_f32 visit_f32
        deserialize_f64 visit_f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_enum(
            IntoDeserializer::<DecodeError>::into_deserializer(self.0),
            name,
            variants,
            visitor,
        )
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}
