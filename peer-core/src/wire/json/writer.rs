use core::fmt;

use crate::bytes::{self, TextBuffer};

use super::{EncodeError, number::Ecma};

/// Writes JSON values into a slice. Escapes and formats as `JSON.stringify` does. The caller writes
/// brackets, commas and colons with [`raw`](Self::raw).
///
/// ```
/// use peer_core::wire::json::Writer;
/// let mut buffer = [0; 32];
/// let mut writer = Writer::new(&mut buffer);
/// writer.raw(r#"{"msg":"#)?;
/// writer.string("a\"b\n")?;
/// writer.raw("}")?;
/// assert_eq!(writer.finish(), r#"{"msg":"a\"b\n"}"#);
/// # Ok::<(), peer_core::wire::json::EncodeError>(())
/// ```
#[derive(Debug)]
pub struct Writer<'b>(TextBuffer<'b>);

impl<'b> Writer<'b> {
    /// Makes a writer that starts at the start of the buffer.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self(TextBuffer::new(buffer))
    }

    /// Returns the number of bytes written so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether nothing was written yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what was written.
    #[must_use]
    pub fn finish(self) -> &'b str {
        self.0.finish()
    }

    /// Writes a text as it is: punctuation, or a value that is JSON already.
    ///
    /// # Errors
    /// [`EncodeError::BufferTooSmall`].
    pub fn raw(&mut self, text: &str) -> Result<(), EncodeError> {
        self.0.push(text).ok_or(EncodeError::BufferTooSmall)
    }

    /// Writes a string with its quotes.
    ///
    /// # Errors
    /// [`EncodeError::BufferTooSmall`].
    pub fn string(&mut self, text: &str) -> Result<(), EncodeError> {
        self.raw("\"")?;
        self.escaped(text)?;
        self.raw("\"")
    }

    /// Writes the `Display` of a value as a string.
    ///
    /// # Errors
    /// [`EncodeError::BufferTooSmall`], [`EncodeError::Refused`] if the value's `Display` failed.
    pub fn display(&mut self, value: &(impl fmt::Display + ?Sized)) -> Result<(), EncodeError> {
        self.raw("\"")?;
        self.format(format_args!("{value}"), Self::escaped)?;
        self.raw("\"")
    }

    /// Writes an integer that may be negative.
    ///
    /// # Errors
    /// [`EncodeError::BufferTooSmall`].
    pub fn signed(&mut self, value: impl Into<i64>) -> Result<(), EncodeError> {
        self.format(format_args!("{}", value.into()), Self::raw)
    }

    /// Writes an integer that is not negative.
    ///
    /// # Errors
    /// [`EncodeError::BufferTooSmall`].
    pub fn unsigned(&mut self, value: impl Into<u64>) -> Result<(), EncodeError> {
        self.format(format_args!("{}", value.into()), Self::raw)
    }

    /// Writes a double as ECMAScript does: `1`, `0.1`, `1e+21`, `1e-7`; `null` for what is not
    /// finite.
    ///
    /// # Errors
    /// [`EncodeError::BufferTooSmall`].
    pub fn float(&mut self, value: f64) -> Result<(), EncodeError> {
        if !value.is_finite() {
            return self.raw("null");
        }
        self.format(format_args!("{}", Ecma(value)), Self::raw)
    }

    /// Writes a single with the digits that are enough to tell it from other singles: `0.1`, where
    /// JavaScript, which only has doubles, would write `0.10000000149011612`.
    ///
    /// # Errors
    /// [`EncodeError::BufferTooSmall`].
    pub fn single(&mut self, value: f32) -> Result<(), EncodeError> {
        if !value.is_finite() {
            return self.raw("null");
        }
        self.format(format_args!("{}", Ecma(value)), Self::raw)
    }

    fn escaped(&mut self, text: &str) -> Result<(), EncodeError> {
        let mut plain = 0;
        for (at, byte) in text.bytes().enumerate() {
            let mut hex = *b"\\u0000";
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                0x08 => "\\b",
                0x0c => "\\f",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                0..=0x1f => {
                    hex[4] = b'0' + (byte >> 4);
                    hex[5] = b"0123456789abcdef"[usize::from(byte & 15)];
                    let hex = core::str::from_utf8(&hex);
                    debug_assert!(hex.is_ok());
                    hex.unwrap_or_default()
                }
                _ => continue,
            };
            // What is escaped is ASCII, so the pieces between are whole strings.
            debug_assert!(text.is_char_boundary(at) && text.is_char_boundary(at + 1));
            self.raw(text.get(plain..at).unwrap_or_default())?;
            self.raw(escape)?;
            plain = at + 1;
        }
        self.raw(text.get(plain..).unwrap_or_default())
    }

    fn format(
        &mut self,
        value: fmt::Arguments<'_>,
        put: fn(&mut Self, &str) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        bytes::format(value, |text| put(self, text))
            .map_err(|error| error.unwrap_or(EncodeError::Refused))
    }
}
