use core::mem;

use crate::{bytes, config::JSON_DEPTH_MAX};

use super::{Number, ReadError, scan};

/// The type of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// Reads a JSON text in place, value by value.
///
/// Each method reads one value and leaves the reader behind it. Asking for another type than is
/// there is [`ReadError::Type`] and moves nothing; after any other error the reader is of no more
/// use.
#[derive(Debug)]
pub struct Reader<'a> {
    /// What has not been handed out yet.
    text: &'a mut [u8],
    at: usize,
    depth: usize,
    /// An array or object was just opened, so no comma comes first.
    opened: bool,
}

impl<'a> Reader<'a> {
    /// A reader over a whole text, which is checked to be UTF-8.
    ///
    /// # Errors
    /// [`ReadError::Utf8`].
    pub fn new(text: &'a mut [u8]) -> Result<Self, ReadError> {
        core::str::from_utf8(text).map_err(|_| ReadError::Utf8)?;
        let at = scan::after_bom(text);
        Ok(Self {
            text,
            at,
            depth: 0,
            opened: false,
        })
    }

    /// The type of the next value.
    ///
    /// # Errors
    /// [`ReadError::Incomplete`] or [`ReadError::Syntax`] if no value starts here.
    pub fn kind(&mut self) -> Result<Kind, ReadError> {
        Ok(match self.peek()? {
            b'n' => Kind::Null,
            b't' | b'f' => Kind::Boolean,
            b'-' | b'0'..=b'9' => Kind::Number,
            b'"' => Kind::String,
            b'[' => Kind::Array,
            b'{' => Kind::Object,
            _ => return Err(ReadError::Syntax),
        })
    }

    /// Reads `null`.
    ///
    /// # Errors
    /// [`ReadError`], as everywhere here.
    pub fn null(&mut self) -> Result<(), ReadError> {
        self.expect(Kind::Null)?;
        self.at = scan::literal(self.text, self.at, "null")?;
        Ok(())
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    /// [`ReadError`], as everywhere here.
    pub fn boolean(&mut self) -> Result<bool, ReadError> {
        self.expect(Kind::Boolean)?;
        let value = self.peek()? == b't';
        self.at = scan::literal(self.text, self.at, if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Reads a number.
    ///
    /// # Errors
    /// [`ReadError`], as everywhere here.
    pub fn number(&mut self) -> Result<Number, ReadError> {
        let (text, fractional) = self.number_text()?;
        Number::parse(text, fractional).ok_or(ReadError::Syntax)
    }

    /// Reads a number that is no [`Number::Float`].
    ///
    /// # Errors
    /// [`ReadError::Type`] for another number, else as everywhere here.
    pub fn integer(&mut self) -> Result<Number, ReadError> {
        let (text, fractional) = self.number_text()?;
        Number::parse_integer(text, fractional).ok_or(ReadError::Type)
    }

    /// Passes a number: its text, and whether it has a fraction or an exponent.
    fn number_text(&mut self) -> Result<(&str, bool), ReadError> {
        self.expect(Kind::Number)?;
        let (end, fractional) = scan::number(self.text, self.at)?;
        let start = mem::replace(&mut self.at, end);
        let text = core::str::from_utf8(self.text.get(start..end).unwrap_or_default());
        Ok((text.unwrap_or_default(), fractional))
    }

    /// Reads a string, unescaping it in place.
    ///
    /// # Errors
    /// [`ReadError`], as everywhere here.
    pub fn string(&mut self) -> Result<&'a str, ReadError> {
        self.expect(Kind::String)?;
        let (close, escape) = scan::string(self.text, self.at + 1)?;
        let body = self.split(self.at + 1, close);
        self.at = 1;
        let len = match escape {
            None => body.len(),
            // `split` moved the positions: the escape was `body.len() + escape - close` into the
            // body.
            Some(escape) => unescape(body, (body.len() + escape).saturating_sub(close)),
        };
        core::str::from_utf8(body.get(..len).unwrap_or_default()).map_err(|_| ReadError::Utf8)
    }

    /// Opens an array; then [`next_element`](Self::next_element).
    ///
    /// # Errors
    /// [`ReadError`], as everywhere here.
    pub fn begin_array(&mut self) -> Result<(), ReadError> {
        self.expect(Kind::Array)?;
        self.open()
    }

    /// Whether the open array has one more element, which is to be read next; `false` closes the
    /// array.
    ///
    /// # Errors
    /// [`ReadError`], as everywhere here.
    pub fn next_element(&mut self) -> Result<bool, ReadError> {
        self.separate(b']')
    }

    /// Opens an object; then [`next_key`](Self::next_key).
    ///
    /// # Errors
    /// [`ReadError`], as everywhere here.
    pub fn begin_object(&mut self) -> Result<(), ReadError> {
        self.expect(Kind::Object)?;
        self.open()
    }

    /// The next key of the open object, whose value is to be read next; `None` closes the object. A
    /// key may come twice; `JSON.parse` keeps the last.
    ///
    /// # Errors
    /// [`ReadError`], as everywhere here.
    pub fn next_key(&mut self) -> Result<Option<&'a str>, ReadError> {
        if !self.separate(b'}')? {
            return Ok(None);
        }
        if self.peek()? != b'"' {
            return Err(ReadError::Syntax);
        }
        let key = self.string()?;
        self.at = scan::byte(self.text, self.at, b':')?;
        Ok(Some(key))
    }

    /// Skips a value of any type.
    ///
    /// # Errors
    /// [`ReadError`], as everywhere here.
    pub fn skip(&mut self) -> Result<(), ReadError> {
        self.at = scan::value(self.text, self.at, self.depth)?;
        Ok(())
    }

    /// Reads a value of any type as the JSON text it is, nothing unescaped.
    ///
    /// # Errors
    /// [`ReadError`], as everywhere here.
    pub fn raw(&mut self) -> Result<&'a str, ReadError> {
        self.peek()?;
        let end = scan::value(self.text, self.at, self.depth)?;
        let text = self.split(self.at, end);
        self.at = 0;
        core::str::from_utf8(text).map_err(|_| ReadError::Utf8)
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    /// [`ReadError::Trailing`].
    pub fn end(&self) -> Result<(), ReadError> {
        if scan::at_end(self.text, self.at) {
            Ok(())
        } else {
            Err(ReadError::Trailing)
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Result<u8, ReadError> {
        self.at = scan::whitespace(self.text, self.at);
        self.text.get(self.at).copied().ok_or(ReadError::Incomplete)
    }

    fn expect(&mut self, kind: Kind) -> Result<(), ReadError> {
        if self.kind()? == kind {
            Ok(())
        } else {
            Err(ReadError::Type)
        }
    }

    fn open(&mut self) -> Result<(), ReadError> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(ReadError::Depth);
        }
        self.depth += 1;
        self.at += 1;
        self.opened = true;
        Ok(())
    }

    /// What stands before an element: nothing, a comma, or the closing bracket (`false`).
    fn separate(&mut self, close: u8) -> Result<bool, ReadError> {
        let found = self.peek()?;
        let first = mem::take(&mut self.opened);
        if found == close {
            self.at += 1;
            self.depth = self.depth.saturating_sub(1);
            return Ok(false);
        }
        if !first {
            self.at = scan::byte(self.text, self.at, b',')?;
        }
        Ok(true)
    }

    /// Hands out `start..end`; the reader keeps what follows, so its position must be set anew.
    fn split(&mut self, start: usize, end: usize) -> &'a mut [u8] {
        let text = mem::take(&mut self.text);
        let (head, rest) = text.split_at_mut_checked(end).unwrap_or_default();
        self.text = rest;
        head.get_mut(start..).unwrap_or_default()
    }
}

/// Resolves the escapes of a string whose grammar was checked, the first of them at `read`. The
/// length left.
fn unescape(body: &mut [u8], mut read: usize) -> usize {
    let mut write = read;
    while let Some(&byte) = body.get(read) {
        if byte != b'\\' {
            bytes::append(body, &mut write, &[byte]);
            read += 1;
            continue;
        }
        let plain = match body.get(read + 1) {
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let (character, used) = unicode(body.get(read..).unwrap_or_default());
                // Never longer than the escape: 3 bytes for 6, 4 bytes for 12.
                let mut utf8 = [0; 4];
                let utf8 = character.encode_utf8(&mut utf8).as_bytes();
                bytes::append(body, &mut write, utf8);
                read += used;
                continue;
            }
            Some(&other) => other,
            None => break,
        };
        bytes::append(body, &mut write, &[plain]);
        read += 2;
    }
    write
}

/// The character of a `\u` escape of four digits, or of two that make a surrogate pair, and the bytes used.
fn unicode(escape: &[u8]) -> (char, usize) {
    let unit = |at: usize| -> Option<u32> {
        if escape.get(at..at + 2)? != b"\\u" {
            return None;
        }
        let digits = escape.get(at + 2..at + 6)?;
        digits.iter().try_fold(0, |unit, &digit| {
            Some(unit << 4 | char::from(digit).to_digit(16)?)
        })
    };
    // The grammar was checked, so there is one.
    let Some(high) = unit(0) else { return ('?', 2) };
    if let 0xd800..0xdc00 = high
        && let Some(low @ 0xdc00..0xe000) = unit(6)
    {
        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            12,
        );
    }
    (
        char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER),
        6,
    )
}
