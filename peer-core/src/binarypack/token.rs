//! Reads one tag with its fixed-size content at a time.

use super::DecodeError;
use crate::{bytes, config::BINARYPACK_DEPTH_MAX};

/// One element without its children.
#[derive(Clone, Copy)]
pub(crate) enum Token<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// Below zero.
    Signed(i64),
    Double(f64),
    /// Not yet checked to be UTF-8.
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    /// This many elements follow. There are at least so many bytes left.
    Array(usize),
    /// This many keys and values follow. There are at least twice so many bytes left.
    Map(usize),
}

impl Token<'_> {
    /// The elements that follow it and belong to it.
    const fn children(self) -> usize {
        match self {
            Self::Array(count) => count,
            Self::Map(count) => count.saturating_mul(2),
            _ => 0,
        }
    }
}

/// What is left of the input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) input: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn token(&mut self) -> Result<Token<'a>, DecodeError> {
        let (&tag, rest) = self.input.split_first().ok_or(DecodeError::Truncated)?;
        self.input = rest;
        Ok(match tag {
            0x00..=0x7f => Token::Unsigned(tag.into()),
            0xe0..=0xff => Token::Signed(i64::from(tag as i8)),
            0xb0..=0xbf => Token::Text(self.take(usize::from(tag & 0x0f))?),
            0xa0..=0xaf => Token::Bytes(self.take(usize::from(tag & 0x0f))?),
            0x80..=0x8f => self.map(u32::from(tag & 0x0f))?,
            0x90..=0x9f => self.array(u32::from(tag & 0x0f))?,
            0xc0 | 0xc1 | 0xc4..=0xc9 | 0xd4..=0xd7 => Token::Null,
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xca => Token::Double(f32::from_be_bytes(self.array_of()?).into()),
            0xcb => Token::Double(f64::from_be_bytes(self.array_of()?)),
            0xcc => Token::Unsigned(u8::from_be_bytes(self.array_of()?).into()),
            0xcd => Token::Unsigned(self.u16()?.into()),
            0xce => Token::Unsigned(self.u32()?.into()),
            0xcf => Token::Unsigned(u64::from_be_bytes(self.array_of()?)),
            0xd0 => signed(i8::from_be_bytes(self.array_of()?).into()),
            0xd1 => signed(i16::from_be_bytes(self.array_of()?).into()),
            0xd2 => signed(i32::from_be_bytes(self.array_of()?).into()),
            0xd3 => signed(i64::from_be_bytes(self.array_of()?)),
            0xd8 => {
                let len = self.u16()?;
                Token::Text(self.take(len.into())?)
            }
            0xd9 => {
                let len = self.u32()?;
                Token::Text(self.take(size(len)?)?)
            }
            0xda => {
                let len = self.u16()?;
                Token::Bytes(self.take(len.into())?)
            }
            0xdb => {
                let len = self.u32()?;
                Token::Bytes(self.take(size(len)?)?)
            }
            0xdc => {
                let count = self.u16()?;
                self.array(count.into())?
            }
            0xdd => {
                let count = self.u32()?;
                self.array(count)?
            }
            0xde => {
                let count = self.u16()?;
                self.map(count.into())?
            }
            0xdf => {
                let count = self.u32()?;
                self.map(count)?
            }
        })
    }

    /// Steps over so many elements and all their children, whatever their depth: nothing recurses.
    pub(crate) fn skip(&mut self, count: usize) -> Result<(), DecodeError> {
        let mut left = count;
        while left > 0 {
            left -= 1;
            left = left.saturating_add(self.token()?.children());
            // Each takes a byte at least.
            if left > self.input.len() {
                return Err(DecodeError::Truncated);
            }
        }
        Ok(())
    }

    /// Steps over one element and its children: its token, and all its bytes.
    pub(crate) fn value(&mut self) -> Result<(Token<'a>, &'a [u8]), DecodeError> {
        let all = self.input;
        let token = self.token()?;
        self.skip(token.children())?;
        Ok((token, self.read_of(all)))
    }

    /// The bytes of so many elements.
    pub(crate) fn take_elements(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let all = self.input;
        self.skip(count)?;
        Ok(self.read_of(all))
    }

    /// What was read since `all` was left. The reader only moves forward within it.
    pub(crate) fn read_of(&self, all: &'a [u8]) -> &'a [u8] {
        debug_assert!(self.input.len() <= all.len());
        bytes::front(all, all.len().saturating_sub(self.input.len()))
    }

    /// What is left, where that is known to be all the elements.
    pub(crate) fn take_all(&mut self, _: usize) -> Result<&'a [u8], DecodeError> {
        Ok(core::mem::take(&mut self.input))
    }

    /// Steps over one element and its children, and checks that strings are UTF-8, keys strings,
    /// and the nesting not deeper than `depth`.
    pub(crate) fn check(&mut self, depth: usize) -> Result<(), DecodeError> {
        // Elements still to come at the levels around this one.
        let mut around = [0; BINARYPACK_DEPTH_MAX];
        let mut level = 0_usize;
        // Elements still to come at this level, doubled, odd in maps. A key is an element too.
        let mut left = 2;
        loop {
            let token = self.token()?;
            // In a map, an even number of elements is left before a key.
            if left & 0b11 == 0b01 && !matches!(token, Token::Text(_)) {
                return Err(DecodeError::Key);
            }
            left -= 2;
            // Counts are at most the number of bytes left, so neither overflows.
            let children = match token {
                Token::Text(text) => {
                    text_of(text)?;
                    None
                }
                Token::Array(count) => Some(count << 1),
                Token::Map(count) => Some(count << 2 | 1),
                _ => None,
            };
            if let Some(children) = children {
                if level >= depth {
                    return Err(DecodeError::Depth);
                }
                *around.get_mut(level).ok_or(DecodeError::Depth)? = left;
                level += 1;
                left = children;
            }
            while left < 2 {
                let Some(outer) = level.checked_sub(1) else {
                    return Ok(());
                };
                level = outer;
                left = *around.get(level).ok_or(DecodeError::Depth)?;
            }
        }
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .input
            .split_at_checked(len)
            .ok_or(DecodeError::Truncated)?;
        self.input = rest;
        Ok(taken)
    }

    #[inline]
    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self
            .input
            .split_first_chunk()
            .ok_or(DecodeError::Truncated)?;
        self.input = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array_of().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array_of().map(u32::from_be_bytes)
    }

    fn array(&self, count: u32) -> Result<Token<'a>, DecodeError> {
        let count = size(count)?;
        if count > self.input.len() {
            Err(DecodeError::Truncated)
        } else {
            Ok(Token::Array(count))
        }
    }

    fn map(&self, count: u32) -> Result<Token<'a>, DecodeError> {
        let count = size(count)?;
        if count > self.input.len() / 2 {
            Err(DecodeError::Truncated)
        } else {
            Ok(Token::Map(count))
        }
    }
}

/// A length that no memory here can hold is one that the input cannot hold.
fn size(len: u32) -> Result<usize, DecodeError> {
    usize::try_from(len).map_err(|_| DecodeError::Truncated)
}

fn signed(value: i64) -> Token<'static> {
    u64::try_from(value).map_or(Token::Signed(value), Token::Unsigned)
}

#[inline]
pub(crate) fn text_of(bytes: &[u8]) -> Result<&str, DecodeError> {
    core::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)
}

/// The integer that a double is, if it is one that fits 64 bits.
#[inline]
pub(crate) fn integral(value: f64) -> Option<Token<'static>> {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if (-TWO_63..TWO_63).contains(&value) {
        let integer = value as i64;
        (integer as f64 == value).then(|| signed(integer))
    } else if (TWO_63..TWO_63 * 2.0).contains(&value) {
        // Doubles so large have no fraction.
        Some(Token::Unsigned(value as u64))
    } else {
        None
    }
}
