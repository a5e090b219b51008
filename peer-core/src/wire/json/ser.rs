use core::fmt;

use serde::ser::{
    self, Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
};

use super::{EncodeError, Writer};

/// Writes a value as the text that `JSON.stringify` makes of it.
///
/// `None`, unit and numbers that are not finite become `null`. Enums are externally tagged, as with
/// `serde_json`. `serialize_bytes` writes an array of numbers, since JSON has no bytes. Integers
/// are written in full; JavaScript rounds those beyond 2^53 when it reads them.
///
/// ```
/// use peer_core::wire::json;
/// let mut buffer = [0; 32];
/// assert_eq!(json::to_slice(&("a\n", 1.0, None::<u8>), &mut buffer)?, br#"["a\n",1,null]"#);
/// # Ok::<(), json::EncodeError>(())
/// ```
///
/// # Errors
/// [`EncodeError`].
pub fn to_slice<'b, T: ser::Serialize + ?Sized>(
    value: &T,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], EncodeError> {
    let mut serializer = Serializer {
        writer: Writer::new(buffer),
    };
    value.serialize(&mut serializer)?;
    Ok(serializer.writer.finish().as_bytes())
}

/// Writes serde's data model as JSON.
#[derive(Debug)]
pub struct Serializer<'b> {
    writer: Writer<'b>,
}

impl<'b> Serializer<'b> {
    /// Makes a serializer that appends to what the writer contains.
    #[must_use]
    pub const fn new(writer: Writer<'b>) -> Self {
        Self { writer }
    }

    /// Returns the writer.
    #[must_use]
    pub fn into_writer(self) -> Writer<'b> {
        self.writer
    }

    fn open_variant(&mut self, variant: &str, bracket: &str) -> Result<(), EncodeError> {
        self.writer.raw("{")?;
        self.writer.string(variant)?;
        self.writer.raw(":")?;
        self.writer.raw(bracket)
    }
}

/// An open array or object and the brackets that close it.
#[derive(Debug)]
pub struct Compound<'s, 'b> {
    serializer: &'s mut Serializer<'b>,
    empty: bool,
    close: &'static str,
}

impl Compound<'_, '_> {
    fn separate(&mut self) -> Result<(), EncodeError> {
        if core::mem::replace(&mut self.empty, false) {
            return Ok(());
        }
        self.serializer.writer.raw(",")
    }

    fn element<T: ser::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.separate()?;
        value.serialize(&mut *self.serializer)
    }

    fn field<T: ser::Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.separate()?;
        self.serializer.writer.string(key)?;
        self.serializer.writer.raw(":")?;
        value.serialize(&mut *self.serializer)
    }

    fn close(self) -> Result<(), EncodeError> {
        self.serializer.writer.raw(self.close)
    }
}

macro_rules! integers {
    ($($method:ident $type:ty => $write:ident)*) => {$(
        fn $method(self, value: $type) -> Result<(), EncodeError> {
            self.writer.$write(value)
        }
    )*};
}

impl<'s, 'b> ser::Serializer for &'s mut Serializer<'b> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'s, 'b>;
    type SerializeTuple = Compound<'s, 'b>;
    type SerializeTupleStruct = Compound<'s, 'b>;
    type SerializeTupleVariant = Compound<'s, 'b>;
    type SerializeMap = Compound<'s, 'b>;
    type SerializeStruct = Compound<'s, 'b>;
    type SerializeStructVariant = Compound<'s, 'b>;

    integers! {
        serialize_i8 i8 => signed
        serialize_i16 i16 => signed
        serialize_i32 i32 => signed
        serialize_i64 i64 => signed
        serialize_u8 u8 => unsigned
        serialize_u16 u16 => unsigned
        serialize_u32 u32 => unsigned
        serialize_u64 u64 => unsigned
    }

    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.writer.raw(if value { "true" } else { "false" })
    }

    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        self.writer.single(value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        self.writer.float(value)
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.writer.string(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        self.writer.string(value)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        self.writer.display(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), EncodeError> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        self.writer.raw("null")
    }

    fn serialize_some<T: ser::Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.writer.raw("null")
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), EncodeError> {
        self.writer.raw("null")
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.writer.string(variant)
    }

    fn serialize_newtype_struct<T: ser::Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ser::Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.open_variant(variant, "")?;
        value.serialize(&mut *self)?;
        self.writer.raw("}")
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Compound<'s, 'b>, EncodeError> {
        self.writer.raw("[")?;
        Ok(Compound {
            serializer: self,
            empty: true,
            close: "]",
        })
    }

    fn serialize_tuple(self, len: usize) -> Result<Compound<'s, 'b>, EncodeError> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<Compound<'s, 'b>, EncodeError> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Compound<'s, 'b>, EncodeError> {
        self.open_variant(variant, "[")?;
        Ok(Compound {
            serializer: self,
            empty: true,
            close: "]}",
        })
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Compound<'s, 'b>, EncodeError> {
        self.writer.raw("{")?;
        Ok(Compound {
            serializer: self,
            empty: true,
            close: "}",
        })
    }

    fn serialize_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<Compound<'s, 'b>, EncodeError> {
        self.serialize_map(Some(len))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Compound<'s, 'b>, EncodeError> {
        self.open_variant(variant, "{")?;
        Ok(Compound {
            serializer: self,
            empty: true,
            close: "}}",
        })
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident)*) => {$(
        impl $trait for Compound<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            fn $method<T>(&mut self, value: &T) -> Result<(), EncodeError>
            where
                T: ser::Serialize + ?Sized,
            {
                self.element(value)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.close()
            }
        }
    )*};
}

elements! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl $trait for Compound<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            fn serialize_field<T: ser::Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.field(key, value)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.close()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Compound<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: ser::Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.separate()?;
        key.serialize(Key {
            writer: &mut self.serializer.writer,
        })?;
        self.serializer.writer.raw(":")
    }

    fn serialize_value<T: ser::Serialize + ?Sized>(
        &mut self,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(&mut *self.serializer)
    }

    fn end(self) -> Result<(), EncodeError> {
        self.close()
    }
}

/// What is no map key.
type NoKey = Impossible<(), EncodeError>;

/// Writes a map key, always a string.
struct Key<'w, 'b> {
    writer: &'w mut Writer<'b>,
}

impl Key<'_, '_> {
    fn quoted(
        self,
        put: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.writer.raw("\"")?;
        put(self.writer)?;
        self.writer.raw("\"")
    }
}

macro_rules! integer_keys {
    ($($method:ident $type:ty => $write:ident)*) => {$(
        fn $method(self, value: $type) -> Result<(), EncodeError> {
            self.quoted(|writer| writer.$write(value))
        }
    )*};
}

macro_rules! no_keys {
    ($($method:ident($($argument:ty),*) -> $output:ty;)*) => {$(
        fn $method(self, $(_: $argument),*) -> Result<$output, EncodeError> {
            Err(EncodeError::Key)
        }
    )*};
}

impl ser::Serializer for Key<'_, '_> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = NoKey;
    type SerializeTuple = NoKey;
    type SerializeTupleStruct = NoKey;
    type SerializeTupleVariant = NoKey;
    type SerializeMap = NoKey;
    type SerializeStruct = NoKey;
    type SerializeStructVariant = NoKey;

    integer_keys! {
        serialize_i8 i8 => signed
        serialize_i16 i16 => signed
        serialize_i32 i32 => signed
        serialize_i64 i64 => signed
        serialize_u8 u8 => unsigned
        serialize_u16 u16 => unsigned
        serialize_u32 u32 => unsigned
        serialize_u64 u64 => unsigned
    }

    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.writer.string(if value { "true" } else { "false" })
    }

    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        if !value.is_finite() {
            return Err(EncodeError::Key);
        }
        self.quoted(|writer| writer.single(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        if !value.is_finite() {
            return Err(EncodeError::Key);
        }
        self.quoted(|writer| writer.float(value))
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.writer.string(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        self.writer.string(value)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        self.writer.display(value)
    }

    fn serialize_some<T: ser::Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.writer.string(variant)
    }

    fn serialize_newtype_struct<T: ser::Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ser::Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), EncodeError> {
        Err(EncodeError::Key)
    }

    no_keys! {
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_seq(Option<usize>) -> NoKey;
        serialize_tuple(usize) -> NoKey;
        serialize_tuple_struct(&'static str, usize) -> NoKey;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> NoKey;
        serialize_map(Option<usize>) -> NoKey;
        serialize_struct(&'static str, usize) -> NoKey;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> NoKey;
    }
}
