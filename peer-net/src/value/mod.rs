//! Owned dynamic values: what JavaScript could have sent.

mod de;
mod number;
mod object;

pub(crate) use de::{ValueSeed, ValuesLeft};
pub use number::Number;
pub use object::Object;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// Most values in one received message, nested ones counted. A message with more is
/// [`ReceiveError::TooManyValues`](crate::ReceiveError::TooManyValues): one byte on the wire can
/// stand for a whole value in memory.
pub const MAX_VALUES: usize = 1 << 20;

/// Any value that PeerJS can send. Bytes stay bytes, and numbers compare as in JavaScript: `5 ==
/// 5.0`.
///
/// ```
/// use peer_net::Value;
/// let value = Value::from([("reading", Value::from(21.5)), ("unit", "°C".into())]);
/// assert_eq!(value["unit"].as_str(), Some("°C"));
/// assert_eq!(Value::from(5), Value::from(5.0));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `null` and `undefined`.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(String),
    /// An `ArrayBuffer`, a typed array or a `Blob`. JSON has none: `send` refuses them there.
    Bytes(Bytes),
    /// An array.
    Array(Vec<Self>),
    /// An object, its keys in the order of the sender.
    Object(Object),
}

/// What an index finds when there is nothing.
static NULL: Value = Value::Null;

impl Value {
    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number, if it is one; above 2⁵³ the nearest.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(number.as_f64()),
            _ => None,
        }
    }

    /// The number, if it is a whole one of that range.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The number, if it is a whole one of that range.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes, if it is bytes.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The member of that name, if it is an object that has one.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_object()?.get(key)
    }

    /// The value as a type of yours.
    ///
    /// # Errors
    /// The value does not have the shape of `T`.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, serde::de::value::Error> {
        T::deserialize(self)
    }
}

impl core::ops::Index<&str> for Value {
    type Output = Self;

    /// The member of that name, or `Null`, as JavaScript gives `undefined`.
    fn index(&self, key: &str) -> &Self {
        self.get(key).unwrap_or(&NULL)
    }
}

impl core::ops::Index<usize> for Value {
    type Output = Self;

    /// The element at that place, or `Null`, as JavaScript gives `undefined`.
    fn index(&self, index: usize) -> &Self {
        self.as_array()
            .and_then(|values| values.get(index))
            .unwrap_or(&NULL)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::Array(values) => values.serialize(serializer),
            Self::Object(object) => {
                let mut map = serializer.serialize_map(Some(object.len()))?;
                for (key, value) in object.iter() {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

macro_rules! from {
    ($($from:ty => |$value:ident| $into:expr),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $into
            }
        }
    )*};
}

from! {
    () => |_nothing| Self::Null,
    bool => |value| Self::Bool(value),
    i8 => |value| Self::Number(i64::from(value).into()),
    i16 => |value| Self::Number(i64::from(value).into()),
    i32 => |value| Self::Number(i64::from(value).into()),
    i64 => |value| Self::Number(value.into()),
    u8 => |value| Self::Number(i64::from(value).into()),
    u16 => |value| Self::Number(i64::from(value).into()),
    u32 => |value| Self::Number(i64::from(value).into()),
    u64 => |value| Self::Number(value.into()),
    f32 => |value| Self::Number(f64::from(value).into()),
    f64 => |value| Self::Number(value.into()),
    Number => |value| Self::Number(value),
    &str => |value| Self::String(value.to_owned()),
    String => |value| Self::String(value),
    Bytes => |value| Self::Bytes(value),
    Vec<Self> => |value| Self::Array(value),
    Object => |value| Self::Object(value),
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<K: Into<String>, V: Into<Self>, const N: usize> From<[(K, V); N]> for Value {
    fn from(members: [(K, V); N]) -> Self {
        Self::Object(members.into_iter().collect())
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => {
                if let Some(value) = number.as_i64() {
                    value.into()
                } else if let Some(value) = number.as_u64() {
                    value.into()
                } else {
                    number.as_f64().unwrap_or(f64::NAN).into()
                }
            }
            serde_json::Value::String(text) => Self::String(text),
            serde_json::Value::Array(values) => {
                Self::Array(values.into_iter().map(Self::from).collect())
            }
            serde_json::Value::Object(map) => Self::Object(
                map.into_iter()
                    .map(|(key, value)| (key, Self::from(value)))
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
