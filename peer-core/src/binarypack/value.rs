use core::fmt;

use serde::{
    Deserialize, Serialize, Serializer,
    de::{self, Visitor},
    ser::{SerializeMap as _, SerializeSeq as _},
};

use super::{
    DecodeError,
    token::{Reader, Token, integral, text_of},
};
use crate::config::BINARYPACK_DEPTH_MAX;

/// By this newtype name a [`Value`] asks the deserializer for its bytes as they are.
pub(super) const VALUE: &str = "$peer_core::binarypack::Value";

/// A packed value of any shape. Strings, binary data, arrays and maps are borrowed from its bytes.
///
/// It is checked as a whole when it is made, so reading its parts cannot fail. It can be a field of
/// a type that [`from_slice`](super::from_slice) reads.
///
/// ```
/// use peer_core::binarypack::Value;
/// let value = Value::from_slice(b"\x82\xb4type\xb4chat\xb2to\x92\x01\x02")?;
/// assert_eq!(value.get("type").and_then(|v| v.as_str()), Some("chat"));
/// assert_eq!(value.get("to").and_then(|v| v.at(1)).and_then(|v| v.as_u64()), Some(2));
/// # Ok::<(), peer_core::binarypack::DecodeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// `null` or `undefined`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that is not negative.
    Unsigned(u64),
    /// A negative integer.
    Signed(i64),
    /// A number with a fraction, or outside the range of both integers.
    Number(f64),
    /// A string.
    Str(&'a str),
    /// Binary data: an `ArrayBuffer` or typed array in PeerJS.
    Bytes(&'a [u8]),
    /// An array.
    Array(Array<'a>),
    /// An object.
    Map(Map<'a>),
}

impl<'a> Value<'a> {
    /// Reads the first value in `input`. Ignores bytes after it, as PeerJS does.
    ///
    /// # Errors
    /// [`DecodeError`] if any part of the value cannot be read.
    pub fn from_slice(input: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { input };
        reader.check(BINARYPACK_DEPTH_MAX)?;
        let input = reader.read_of(input);
        Self::read(&mut Reader { input }, Reader::take_all)
    }

    /// Reads a value that was checked before.
    fn read(
        reader: &mut Reader<'a>,
        children: fn(&mut Reader<'a>, usize) -> Result<&'a [u8], DecodeError>,
    ) -> Result<Self, DecodeError> {
        Ok(match reader.token()? {
            Token::Null => Self::Null,
            Token::Bool(value) => Self::Bool(value),
            Token::Unsigned(value) => Self::Unsigned(value),
            Token::Signed(value) => Self::Signed(value),
            Token::Double(value) => match integral(value) {
                Some(Token::Unsigned(value)) => Self::Unsigned(value),
                Some(Token::Signed(value)) => Self::Signed(value),
                _ => Self::Number(value),
            },
            Token::Text(text) => Self::Str(text_of(text)?),
            Token::Bytes(bytes) => Self::Bytes(bytes),
            Token::Array(len) => Self::Array(Array {
                len,
                items: children(reader, len)?,
            }),
            // At most the number of bytes left.
            Token::Map(len) => Self::Map(Map {
                len,
                items: children(reader, len * 2)?,
            }),
        })
    }

    /// Returns the `bool`, if it is one.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        if let Self::Bool(value) = self {
            Some(value)
        } else {
            None
        }
    }

    /// Returns the integer, if it is one and not negative.
    #[must_use]
    pub fn as_u64(self) -> Option<u64> {
        if let Self::Unsigned(value) = self {
            Some(value)
        } else {
            None
        }
    }

    /// Returns the integer, if it is one and fits.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Unsigned(value) => i64::try_from(value).ok(),
            Self::Signed(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the number as JavaScript has it, if it is one.
    #[must_use]
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Self::Unsigned(value) => Some(value as f64),
            Self::Signed(value) => Some(value as f64),
            Self::Number(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the text, if it is a string.
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        if let Self::Str(value) = self {
            Some(value)
        } else {
            None
        }
    }

    /// Returns the bytes, if it is binary data.
    #[must_use]
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(value) = self {
            Some(value)
        } else {
            None
        }
    }

    /// Returns the value of a key, if it is a map with this key. See [`Map::get`].
    #[must_use]
    pub fn get(self, key: &str) -> Option<Self> {
        if let Self::Map(map) = self {
            map.get(key)
        } else {
            None
        }
    }

    /// Returns the element at an index, if it is an array of sufficient length.
    #[must_use]
    pub fn at(self, index: usize) -> Option<Self> {
        if let Self::Array(array) = self {
            array.iter().nth(index)
        } else {
            None
        }
    }

    /// Returns the elements in order; none if it is not an array.
    ///
    /// ```
    /// use peer_core::binarypack::Value;
    /// let value = Value::from_slice(b"\x92\x01\x02")?;
    /// assert_eq!(value.items().filter_map(Value::as_u64).sum::<u64>(), 3);
    /// # Ok::<(), peer_core::binarypack::DecodeError>(())
    /// ```
    pub fn items(self) -> impl Iterator<Item = Self> {
        let array = match self {
            Self::Array(array) => Some(array),
            _ => None,
        };
        array.into_iter().flatten()
    }

    /// Returns keys and values in order, repeated keys too; none if it is not a map.
    ///
    /// ```
    /// use peer_core::binarypack::Value;
    /// let value = Value::from_slice(b"\x81\xb1a\x07")?;
    /// let mut entries = value.entries().map(|(key, value)| (key, value.as_u64()));
    /// assert_eq!(entries.next(), Some(("a", Some(7))));
    /// # Ok::<(), peer_core::binarypack::DecodeError>(())
    /// ```
    pub fn entries(self) -> impl Iterator<Item = (&'a str, Self)> {
        let map = match self {
            Self::Map(map) => Some(map),
            _ => None,
        };
        map.into_iter().flatten()
    }
}

/// A packed array. Reaching an element takes a walk over those before it.
#[derive(Clone, Copy)]
pub struct Array<'a> {
    len: usize,
    items: &'a [u8],
}

impl<'a> Array<'a> {
    /// Returns the number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the elements in order.
    #[must_use]
    pub fn iter(&self) -> ArrayIter<'a> {
        ArrayIter {
            left: self.len,
            reader: Reader { input: self.items },
        }
    }
}

/// Iterates over the elements of an [`Array`].
#[derive(Clone, Debug)]
pub struct ArrayIter<'a> {
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Iterator for ArrayIter<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        Value::read(&mut self.reader, Reader::take_elements).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Value<'a>;
    type IntoIter = ArrayIter<'a>;

    fn into_iter(self) -> ArrayIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Array<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// A packed map. Its entries are in the order in which they were packed.
#[derive(Clone, Copy)]
pub struct Map<'a> {
    len: usize,
    items: &'a [u8],
}

impl<'a> Map<'a> {
    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns keys and values in order, repeated keys too.
    #[must_use]
    pub fn iter(&self) -> MapIter<'a> {
        MapIter {
            left: self.len,
            reader: Reader { input: self.items },
        }
    }

    /// Returns the value of a key. Of equal keys the last one counts, as in JavaScript.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.iter()
            .filter(|(k, _)| *k == key)
            .last()
            .map(|(_, value)| value)
    }
}

/// Iterates over the entries of a [`Map`].
#[derive(Clone, Debug)]
pub struct MapIter<'a> {
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Iterator for MapIter<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<(&'a str, Value<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let key = Value::read(&mut self.reader, Reader::take_elements)
            .ok()?
            .as_str()?;
        Some((
            key,
            Value::read(&mut self.reader, Reader::take_elements).ok()?,
        ))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a> IntoIterator for Map<'a> {
    type Item = (&'a str, Value<'a>);
    type IntoIter = MapIter<'a>;

    fn into_iter(self) -> MapIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Map<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(value),
            Self::Unsigned(value) => serializer.serialize_u64(value),
            Self::Signed(value) => serializer.serialize_i64(value),
            Self::Number(value) => serializer.serialize_f64(value),
            Self::Str(value) => serializer.serialize_str(value),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::Array(array) => {
                let mut sequence = serializer.serialize_seq(Some(array.len))?;
                for element in array {
                    sequence.serialize_element(&element)?;
                }
                sequence.end()
            }
            Self::Map(map) => {
                let mut entries = serializer.serialize_map(Some(map.len))?;
                for (key, value) in map {
                    entries.serialize_entry(key, &value)?;
                }
                entries.end()
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Packed;

        impl<'de> Visitor<'de> for Packed {
            type Value = Value<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value in BinaryPack")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Value<'de>, E> {
                Value::from_slice(bytes).map_err(E::custom)
            }
        }

        deserializer.deserialize_newtype_struct(VALUE, Packed)
    }
}
