use core::mem;

use crate::{bytes, config::JSON_DEPTH_MAX};

use super::{DecodeError, Number, scan};

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
/// Each method reads one value and moves the reader behind it. If the value is of another type, the
/// method returns [`DecodeError::Type`] and moves nothing. After any other error the reader cannot
/// be used any more.
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
    /// Makes a reader over a complete text. Checks that it is UTF-8.
    ///
    /// # Errors
    /// [`DecodeError::Utf8`].
    pub fn new(text: &'a mut [u8]) -> Result<Self, DecodeError> {
        core::str::from_utf8(text).map_err(|_| DecodeError::Utf8)?;
        let at = scan::after_bom(text);
        Ok(Self {
            text,
            at,
            depth: 0,
            opened: false,
        })
    }

    /// Returns the type of the next value.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] or [`DecodeError::Syntax`] if no value starts here.
    pub fn kind(&mut self) -> Result<Kind, DecodeError> {
        Ok(match self.peek()? {
            b'n' => Kind::Null,
            b't' | b'f' => Kind::Boolean,
            b'-' | b'0'..=b'9' => Kind::Number,
            b'"' => Kind::String,
            b'[' => Kind::Array,
            b'{' => Kind::Object,
            _ => return Err(DecodeError::Syntax),
        })
    }

    /// Reads `null`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn null(&mut self) -> Result<(), DecodeError> {
        self.expect(Kind::Null)?;
        self.at = scan::literal(self.text, self.at, "null")?;
        Ok(())
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn boolean(&mut self) -> Result<bool, DecodeError> {
        self.expect(Kind::Boolean)?;
        let value = self.peek()? == b't';
        self.at = scan::literal(self.text, self.at, if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Reads a number.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn number(&mut self) -> Result<Number, DecodeError> {
        let (text, fractional) = self.number_text()?;
        Number::parse(text, fractional).ok_or(DecodeError::Syntax)
    }

    /// Reads a number that is not a [`Number::Float`].
    ///
    /// # Errors
    /// [`DecodeError::Type`] for a number that is a [`Number::Float`], and any other
    /// [`DecodeError`].
    pub fn integer(&mut self) -> Result<Number, DecodeError> {
        let (text, fractional) = self.number_text()?;
        Number::parse_integer(text, fractional).ok_or(DecodeError::Type)
    }

    /// Passes a number: its text, and whether it has a fraction or an exponent.
    fn number_text(&mut self) -> Result<(&str, bool), DecodeError> {
        self.expect(Kind::Number)?;
        let (end, fractional) = scan::number(self.text, self.at)?;
        let start = mem::replace(&mut self.at, end);
        let text = self.text.get(start..end).ok_or(DecodeError::Truncated)?;
        Ok((checked(text)?, fractional))
    }

    /// Reads a string and unescapes it in place.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn string(&mut self) -> Result<&'a str, DecodeError> {
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
        checked(bytes::front(body, len))
    }

    /// Opens an array. Call [`next_element`](Self::next_element) next.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn begin_array(&mut self) -> Result<(), DecodeError> {
        self.expect(Kind::Array)?;
        self.open()
    }

    /// Returns whether the open array has another element, which is the next value to read. Returns
    /// `false` at its end and closes the array.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn next_element(&mut self) -> Result<bool, DecodeError> {
        self.separate(b']')
    }

    /// Opens an object. Call [`next_key`](Self::next_key) next.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn begin_object(&mut self) -> Result<(), DecodeError> {
        self.expect(Kind::Object)?;
        self.open()
    }

    /// Returns the next key of the open object, whose value is the next to read. Returns `None` at
    /// its end and closes the object. A key may come twice; `JSON.parse` keeps the last value.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn next_key(&mut self) -> Result<Option<&'a str>, DecodeError> {
        if !self.separate(b'}')? {
            return Ok(None);
        }
        if self.peek()? != b'"' {
            return Err(DecodeError::Syntax);
        }
        let key = self.string()?;
        self.at = scan::byte(self.text, self.at, b':')?;
        Ok(Some(key))
    }

    /// Skips a value of any type.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        self.at = scan::value(self.text, self.at, self.depth)?;
        Ok(())
    }

    /// Reads a value of any type as JSON text, without unescaping it.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn raw(&mut self) -> Result<&'a str, DecodeError> {
        self.peek()?;
        let end = scan::value(self.text, self.at, self.depth)?;
        let text = self.split(self.at, end);
        self.at = 0;
        checked(text)
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    pub fn end(&self) -> Result<(), DecodeError> {
        if scan::at_end(self.text, self.at) {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }

    /// Returns the next byte that is not white space.
    fn peek(&mut self) -> Result<u8, DecodeError> {
        self.at = scan::whitespace(self.text, self.at);
        self.text
            .get(self.at)
            .copied()
            .ok_or(DecodeError::Truncated)
    }

    fn expect(&mut self, kind: Kind) -> Result<(), DecodeError> {
        if self.kind()? == kind {
            Ok(())
        } else {
            Err(DecodeError::Type)
        }
    }

    fn open(&mut self) -> Result<(), DecodeError> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(DecodeError::Depth);
        }
        self.depth += 1;
        self.at += 1;
        self.opened = true;
        Ok(())
    }

    /// What stands before an element: nothing, a comma, or the closing bracket (`false`).
    fn separate(&mut self, close: u8) -> Result<bool, DecodeError> {
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

    /// Takes `start..end` out of the text. The reader keeps what follows, so its position must be
    /// set anew.
    fn split(&mut self, start: usize, end: usize) -> &'a mut [u8] {
        let text = mem::take(&mut self.text);
        debug_assert!(start <= end && end <= text.len());
        let (head, rest) = text.split_at_mut_checked(end).unwrap_or_default();
        self.text = rest;
        head.get_mut(start..).unwrap_or_default()
    }
}

/// A part of the text, which [`Reader::new`] found to be UTF-8; the ends of tokens are ASCII, and
/// so are escapes, which become whole characters.
fn checked(part: &[u8]) -> Result<&str, DecodeError> {
    let part = core::str::from_utf8(part);
    debug_assert!(part.is_ok());
    part.map_err(|_| DecodeError::Utf8)
}

/// Resolves the escapes of a string whose grammar was checked, the first of them at `read`. The
/// length left.
fn unescape(body: &mut [u8], mut read: usize) -> usize {
    let mut write = read;
    while let Some(&byte) = body.get(read) {
        let mut utf8 = [byte; 4];
        // Never longer than the escape: 3 bytes for 6, 4 bytes for 12.
        let (plain, used) = match byte {
            b'\\' => {
                let (character, used) = escape(bytes::rest(body, read));
                (character.encode_utf8(&mut utf8).as_bytes(), used)
            }
            _ => (&utf8[..1], 1),
        };
        let written = bytes::append(body, &mut write, plain);
        debug_assert!(written.is_some());
        read += used;
    }
    write
}

/// The character that an escape stands for, and the bytes it takes.
fn escape(escape: &[u8]) -> (char, usize) {
    let character = match escape.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode(escape),
        Some(&itself) => char::from(itself),
        None => {
            debug_assert!(false, "the grammar was checked");
            char::REPLACEMENT_CHARACTER
        }
    };
    (character, 2)
}

/// The character of a `\u` escape of four digits, or of two that make a surrogate pair, and the
/// bytes it takes.
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
    let high = unit(0);
    debug_assert!(high.is_some(), "the grammar was checked");
    let (code, used) = match (high, unit(6)) {
        (Some(high @ 0xd800..0xdc00), Some(low @ 0xdc00..0xe000)) => {
            (Some(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 12)
        }
        (code, _) => (code, 6),
    };
    // A surrogate alone is no character.
    let character = code.and_then(char::from_u32);
    (character.unwrap_or(char::REPLACEMENT_CHARACTER), used)
}
