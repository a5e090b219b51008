use core::fmt;

use serde::{
    Serialize,
    ser::{self, Impossible},
};

use super::{EncodeError, ser::Serializer, write::Write};

/// Writes map keys, all as strings.
pub(super) struct Key<'s, W>(pub(super) &'s mut Serializer<W>);

macro_rules! keys_as_text {
    ($($method:ident $type:ty),*) => {$(
        fn $method(self, v: $type) -> Result<(), EncodeError> {
            ser::Serializer::collect_str(self.0, &v)
        }
    )*};
}

macro_rules! no_keys {
    ($($method:ident($($type:ty),*) $(-> $ok:ty)?;)*) => {$(
        fn $method(self $(, _: $type)*) -> Result<no_keys!(@ok $($ok)?), EncodeError> {
            Err(EncodeError::Key)
        }
    )*};
    (@ok) => { () };
    (@ok $ok:ty) => { $ok };
}

impl<W: Write> ser::Serializer for Key<'_, W> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Impossible<(), EncodeError>;
    type SerializeTuple = Impossible<(), EncodeError>;
    type SerializeTupleStruct = Impossible<(), EncodeError>;
    type SerializeTupleVariant = Impossible<(), EncodeError>;
    type SerializeMap = Impossible<(), EncodeError>;
    type SerializeStruct = Impossible<(), EncodeError>;
    type SerializeStructVariant = Impossible<(), EncodeError>;

    keys_as_text!(
        serialize_bool bool,
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
        serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64,
        serialize_u128 u128
    );

    no_keys! {
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeStructVariant;
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    fn serialize_char(self, v: char) -> Result<(), EncodeError> {
        self.0.key(v.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, v: &str) -> Result<(), EncodeError> {
        self.0.key(v)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), EncodeError> {
        Err(EncodeError::Key)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.0.key(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), EncodeError> {
        Err(EncodeError::Key)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        let mut key = heapless::String::<16>::new();
        match fmt::write(&mut key, format_args!("{value}")) {
            Ok(()) => self.0.key(&key),
            // Longer than any key that is special.
            Err(_) => ser::Serializer::collect_str(self.0, value),
        }
    }
}
