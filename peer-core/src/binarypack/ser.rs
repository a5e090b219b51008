use core::fmt;

use serde::{Serialize, ser};

use super::{
    EncodeError,
    key::Key,
    write::{Counter, SliceWriter, Write},
};
use crate::{bytes, config::BINARYPACK_DEPTH_MAX};

/// Packs `value` into `buffer` and returns the packed bytes.
///
/// # Errors
/// [`EncodeError`]; the buffer contains an incomplete value then.
pub fn to_slice<'b, T: Serialize + ?Sized>(
    value: &T,
    buffer: &'b mut [u8],
) -> Result<&'b mut [u8], EncodeError> {
    let mut writer = SliceWriter::new(buffer);
    to_writer(value, &mut writer)?;
    Ok(writer.into_written())
}

/// Packs `value` into a sink.
///
/// # Errors
/// [`EncodeError`]; the sink has an incomplete value then.
pub fn to_writer<T: Serialize + ?Sized, W: Write>(value: &T, sink: W) -> Result<(), EncodeError> {
    value.serialize(&mut Serializer::new(sink))
}

/// Returns the length of `value` when packed, in bytes.
///
/// # Errors
/// [`EncodeError`], any but [`EncodeError::BufferTooSmall`].
pub fn serialized_len<T: Serialize + ?Sized>(value: &T) -> Result<usize, EncodeError> {
    let mut counter = Counter::default();
    to_writer(value, &mut counter)?;
    Ok(counter.0)
}

/// Packs serde's data model into a sink.
#[derive(Debug)]
pub struct Serializer<W> {
    sink: W,
    /// Levels that may still be opened.
    depth: usize,
    control_key: bool,
}

impl<W: Write> Serializer<W> {
    /// Makes a serializer that writes into `sink`.
    pub fn new(sink: W) -> Self {
        Self {
            sink,
            depth: BINARYPACK_DEPTH_MAX,
            control_key: false,
        }
    }

    /// Returns whether the outermost value was a map with the key `__peerData`. PeerJS takes such a
    /// message for a chunk or a close message.
    pub fn has_control_key(&self) -> bool {
        self.control_key
    }

    #[inline]
    fn tagged<const N: usize, const M: usize>(
        &mut self,
        tag: u8,
        content: [u8; N],
    ) -> Result<(), EncodeError> {
        // `M` is `N + 1`; the language cannot say so yet.
        let mut bytes = [tag; M];
        for (place, byte) in bytes.iter_mut().skip(1).zip(content) {
            *place = byte;
        }
        self.sink.write(&bytes)
    }

    #[inline]
    fn unsigned(&mut self, value: u64) -> Result<(), EncodeError> {
        match value {
            0..=0x7f => self.sink.write(&[value as u8]),
            0x80..=0xff => self.sink.write(&[0xcc, value as u8]),
            0x100..=0xffff => self.tagged::<2, 3>(0xcd, (value as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.tagged::<4, 5>(0xce, (value as u32).to_be_bytes()),
            _ if !is_exact(value.into()) => Err(EncodeError::Precision),
            _ if value == 1 << 63 => self.double(value as f64),
            _ => self.tagged::<8, 9>(
                if value >> 63 == 0 { 0xd3 } else { 0xcf },
                value.to_be_bytes(),
            ),
        }
    }

    #[inline]
    fn signed(&mut self, value: i64) -> Result<(), EncodeError> {
        match value {
            0.. => self.unsigned(value as u64),
            -32..0 => self.sink.write(&[value as u8]),
            -0x80..-32 => self.sink.write(&[0xd0, value as u8]),
            -0x8000..-0x80 => self.tagged::<2, 3>(0xd1, (value as i16).to_be_bytes()),
            -0x8000_0000..-0x8000 => self.tagged::<4, 5>(0xd2, (value as i32).to_be_bytes()),
            _ if !is_exact(value.unsigned_abs().into()) => Err(EncodeError::Precision),
            _ => self.double(value as f64),
        }
    }

    fn double(&mut self, value: f64) -> Result<(), EncodeError> {
        self.tagged::<8, 9>(0xcb, value.to_be_bytes())
    }

    #[inline]
    fn number(&mut self, value: f64) -> Result<(), EncodeError> {
        const TWO_64: f64 = 18_446_744_073_709_551_616.0;
        if !value.is_finite() {
            Err(EncodeError::NotFinite)
        } else if (0.0..TWO_64).contains(&value) && value as u64 as f64 == value {
            self.unsigned(value as u64)
        } else if (-2_147_483_648.0..0.0).contains(&value) && value as i64 as f64 == value {
            self.signed(value as i64)
        } else if value.is_subnormal() {
            Err(EncodeError::Subnormal)
        } else {
            self.double(value)
        }
    }

    #[inline]
    fn header(&mut self, small: u8, medium: u8, large: u8, len: usize) -> Result<(), EncodeError> {
        match u32::try_from(len).map_err(|_| EncodeError::TooLong)? {
            len @ 0..=15 => self.sink.write(&[small | len as u8]),
            len @ 16..=0xffff => self.tagged::<2, 3>(medium, (len as u16).to_be_bytes()),
            len => self.tagged::<4, 5>(large, len.to_be_bytes()),
        }
    }

    #[inline]
    fn text(&mut self, text: &str) -> Result<(), EncodeError> {
        self.header(0xb0, 0xd8, 0xd9, text.len())?;
        self.sink.write(text.as_bytes())
    }

    /// Writes a string that is formatted twice: once for its length, which comes first.
    fn formatted(&mut self, value: fmt::Arguments<'_>) -> Result<(), EncodeError> {
        let custom = |error: Option<_>| error.unwrap_or(EncodeError::Refused);
        let mut counter = Counter::default();
        bytes::format(value, |text| counter.write(text.as_bytes())).map_err(custom)?;
        self.header(0xb0, 0xd8, 0xd9, counter.0)?;
        let mut len = 0_usize;
        bytes::format(value, |text| {
            len = len.saturating_add(text.len());
            self.sink.write(text.as_bytes())
        })
        .map_err(custom)?;
        if len == counter.0 {
            Ok(())
        } else {
            Err(EncodeError::LengthMismatch)
        }
    }

    #[inline]
    pub(super) fn key(&mut self, key: &str) -> Result<(), EncodeError> {
        if key == "__proto__" {
            return Err(EncodeError::ReservedKey);
        }
        if self.depth + 1 == BINARYPACK_DEPTH_MAX && key == "__peerData" {
            self.control_key = true;
        }
        self.text(key)
    }

    fn open_array(&mut self, len: usize) -> Result<Compound<'_, W>, EncodeError> {
        self.depth = self.depth.checked_sub(1).ok_or(EncodeError::Depth)?;
        self.header(0x90, 0xdc, 0xdd, len)?;
        Ok(Compound {
            serializer: self,
            left: len,
            levels: 1,
        })
    }

    fn open_map(&mut self, len: usize) -> Result<Compound<'_, W>, EncodeError> {
        self.depth = self.depth.checked_sub(1).ok_or(EncodeError::Depth)?;
        self.header(0x80, 0xde, 0xdf, len)?;
        Ok(Compound {
            serializer: self,
            left: len,
            levels: 1,
        })
    }

    /// The map of one entry around the content of an enum variant.
    fn open_variant(&mut self, variant: &str) -> Result<(), EncodeError> {
        self.depth = self.depth.checked_sub(1).ok_or(EncodeError::Depth)?;
        self.header(0x80, 0xde, 0xdf, 1)?;
        self.key(variant)
    }
}

/// Whether the magnitude survives the way through a 53-bit mantissa.
#[inline]
fn is_exact(magnitude: u128) -> bool {
    magnitude <= 1 << 53 || 128 - magnitude.leading_zeros() - magnitude.trailing_zeros() <= 53
}

impl<'s, W: Write> ser::Serializer for &'s mut Serializer<W> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'s, W>;
    type SerializeTuple = Compound<'s, W>;
    type SerializeTupleStruct = Compound<'s, W>;
    type SerializeTupleVariant = Compound<'s, W>;
    type SerializeMap = Compound<'s, W>;
    type SerializeStruct = Compound<'s, W>;
    type SerializeStructVariant = Compound<'s, W>;

    fn is_human_readable(&self) -> bool {
        // What a JavaScript program would rather see: addresses and times as text.
        true
    }

    fn serialize_bool(self, v: bool) -> Result<(), EncodeError> {
        self.sink.write(&[0xc2 | u8::from(v)])
    }

    fn serialize_i8(self, v: i8) -> Result<(), EncodeError> {
        self.signed(v.into())
    }

    fn serialize_i16(self, v: i16) -> Result<(), EncodeError> {
        self.signed(v.into())
    }

    fn serialize_i32(self, v: i32) -> Result<(), EncodeError> {
        self.signed(v.into())
    }

    fn serialize_i64(self, v: i64) -> Result<(), EncodeError> {
        self.signed(v)
    }

    fn serialize_i128(self, v: i128) -> Result<(), EncodeError> {
        match (i64::try_from(v), u64::try_from(v)) {
            (Ok(v), _) => self.signed(v),
            (_, Ok(v)) => self.unsigned(v),
            _ if is_exact(v.unsigned_abs()) => self.double(v as f64),
            _ => Err(EncodeError::Precision),
        }
    }

    fn serialize_u8(self, v: u8) -> Result<(), EncodeError> {
        self.unsigned(v.into())
    }

    fn serialize_u16(self, v: u16) -> Result<(), EncodeError> {
        self.unsigned(v.into())
    }

    fn serialize_u32(self, v: u32) -> Result<(), EncodeError> {
        self.unsigned(v.into())
    }

    fn serialize_u64(self, v: u64) -> Result<(), EncodeError> {
        self.unsigned(v)
    }

    fn serialize_u128(self, v: u128) -> Result<(), EncodeError> {
        match u64::try_from(v) {
            Ok(v) => self.unsigned(v),
            _ if is_exact(v) => self.double(v as f64),
            _ => Err(EncodeError::Precision),
        }
    }

    fn serialize_f32(self, v: f32) -> Result<(), EncodeError> {
        self.number(v.into())
    }

    fn serialize_f64(self, v: f64) -> Result<(), EncodeError> {
        self.number(v)
    }

    fn serialize_char(self, v: char) -> Result<(), EncodeError> {
        self.text(v.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, v: &str) -> Result<(), EncodeError> {
        self.text(v)
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), EncodeError> {
        self.header(0xa0, 0xda, 0xdb, v.len())?;
        self.sink.write(v)
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        self.sink.write(&[0xc0])
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.sink.write(&[0xc0])
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), EncodeError> {
        self.sink.write(&[0xc0])
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.text(variant)
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
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.open_variant(variant)?;
        value.serialize(&mut *self)?;
        self.depth += 1;
        Ok(())
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Compound<'s, W>, EncodeError> {
        self.open_array(len.ok_or(EncodeError::LengthRequired)?)
    }

    fn serialize_tuple(self, len: usize) -> Result<Compound<'s, W>, EncodeError> {
        self.open_array(len)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        len: usize,
    ) -> Result<Compound<'s, W>, EncodeError> {
        self.open_array(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'s, W>, EncodeError> {
        self.open_variant(variant)?;
        let content = self.open_array(len)?;
        Ok(Compound {
            levels: 2,
            ..content
        })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Compound<'s, W>, EncodeError> {
        self.open_map(len.ok_or(EncodeError::LengthRequired)?)
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Compound<'s, W>, EncodeError> {
        self.open_map(len)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'s, W>, EncodeError> {
        self.open_variant(variant)?;
        let content = self.open_map(len)?;
        Ok(Compound {
            levels: 2,
            ..content
        })
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        self.formatted(format_args!("{value}"))
    }
}

/// An array or map that is being written.
#[derive(Debug)]
pub struct Compound<'s, W> {
    serializer: &'s mut Serializer<W>,
    left: usize,
    levels: usize,
}

impl<W: Write> Compound<'_, W> {
    #[inline]
    fn count(&mut self) -> Result<(), EncodeError> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(EncodeError::LengthMismatch)?;
        Ok(())
    }

    fn close(self) -> Result<(), EncodeError> {
        self.serializer.depth += self.levels;
        if self.left == 0 {
            Ok(())
        } else {
            Err(EncodeError::LengthMismatch)
        }
    }

    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.count()?;
        value.serialize(&mut *self.serializer)
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), EncodeError> {
        self.count()?;
        self.serializer.key(key)?;
        value.serialize(&mut *self.serializer)
    }
}

macro_rules! sequences {
    ($($trait:ident $method:ident),*) => {$(
        impl<W: Write> ser::$trait for Compound<'_, W> {
            type Ok = ();
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.element(value)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.close()
            }
        }
    )*};
}

sequences!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

macro_rules! structs {
    ($($trait:ident),*) => {$(
        impl<W: Write> ser::$trait for Compound<'_, W> {
            type Ok = ();
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(
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

structs!(SerializeStruct, SerializeStructVariant);

impl<W: Write> ser::SerializeMap for Compound<'_, W> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.count()?;
        key.serialize(Key(self.serializer))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(&mut *self.serializer)
    }

    fn end(self) -> Result<(), EncodeError> {
        self.close()
    }
}
