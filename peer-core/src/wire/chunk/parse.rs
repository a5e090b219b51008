use super::{Chunk, ChunkError, ChunkId, Received};

/// Tells chunks and the close message from ordinary messages.
///
/// Only a map needs more than a look at its first byte. Its values are then stepped over, not
/// decoded: once through the frame at most, without recursion. Keys may come in any order; of equal
/// keys the last counts; other keys are skipped.
///
/// ```
/// use peer_core::wire::chunk::{CLOSE, Received, parse};
/// assert_eq!(parse(b"\xb5hello")?, Received::Message);
/// assert_eq!(parse(CLOSE)?, Received::Close);
/// let chunk = parse(b"\x84\xba__peerData\x01\xb1n\x00\xb4data\xa2hi\xb5total\x02")?;
/// assert!(matches!(chunk, Received::Chunk(chunk) if chunk.data == b"hi" && chunk.total == 2));
/// # Ok::<(), peer_core::wire::chunk::ChunkError>(())
/// ```
///
/// # Errors
/// [`ChunkError`] for a chunk that cannot be placed.
pub fn parse(frame: &[u8]) -> Result<Received<'_>, ChunkError> {
    if !matches!(frame.first(), Some(0x80..=0x8f | 0xde | 0xdf)) {
        return Ok(Received::Message);
    }
    let Some(fields) = Fields::read(frame) else {
        return Ok(Received::Message);
    };
    let id = match fields.peer_data {
        PeerData::False => return Ok(Received::Message),
        PeerData::Close => return Ok(Received::Close),
        PeerData::Id(id) => id,
    };
    let total = fields
        .total
        .filter(|&total| total > 0)
        .ok_or(ChunkError::Total)?;
    let n = fields.n.filter(|&n| n < total).ok_or(ChunkError::Index)?;
    Ok(Received::Chunk(Chunk {
        id,
        n,
        total,
        data: fields.data,
    }))
}

enum PeerData {
    /// Missing, or what JavaScript takes as false.
    False,
    Close,
    Id(ChunkId),
}

struct Fields<'a> {
    peer_data: PeerData,
    n: Option<u32>,
    total: Option<u32>,
    data: &'a [u8],
}

impl<'a> Fields<'a> {
    /// `None` if the frame is no whole map.
    fn read(frame: &'a [u8]) -> Option<Self> {
        let mut fields = Self {
            peer_data: PeerData::False,
            n: None,
            total: None,
            data: &[],
        };
        let (Item::Map(entries), mut rest) = Item::read(frame)? else {
            return None;
        };
        for _ in 0..entries {
            let (key, _) = Item::read(rest)?;
            rest = skip(rest)?;
            let (value, _) = Item::read(rest)?;
            match key {
                Item::Text(b"__peerData") => fields.peer_data = peer_data(value, rest)?,
                Item::Text(b"n") => fields.n = value.index(),
                Item::Text(b"total") => fields.total = value.index(),
                Item::Text(b"data") => {
                    fields.data = if let Item::Binary(data) = value {
                        data
                    } else {
                        &[]
                    };
                }
                _ => {}
            }
            rest = skip(rest)?;
        }
        Some(fields)
    }
}

/// What a `__peerData`, which starts at `bytes`, means.
fn peer_data(value: Item<'_>, bytes: &[u8]) -> Option<PeerData> {
    const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;
    let id = |number: u64| PeerData::Id(ChunkId(number));
    Some(match value {
        Item::Nothing | Item::Boolean(false) | Item::Integer(0) | Item::Text(b"") => {
            PeerData::False
        }
        Item::Float(value) if value == 0.0 || value.is_nan() => PeerData::False,
        Item::Map(entries) if is_close(entries, bytes)? => PeerData::Close,
        Item::Text(text) => match decimal(text) {
            Some(number) if number <= MAX_SAFE_INTEGER => id(number),
            _ => id(hash(text)),
        },
        value => match value
            .integer()
            .and_then(|number| u64::try_from(number).ok())
        {
            Some(number) if number <= MAX_SAFE_INTEGER => id(number),
            _ => {
                let len = bytes.len() - skip(bytes)?.len();
                id(hash(bytes.get(..len)?))
            }
        },
    })
}

/// Whether the map that starts at `bytes` says `type: "close"`.
fn is_close(entries: u32, bytes: &[u8]) -> Option<bool> {
    let mut close = false;
    let (_, mut rest) = Item::read(bytes)?;
    for _ in 0..entries {
        let (key, _) = Item::read(rest)?;
        rest = skip(rest)?;
        if let Item::Text(b"type") = key {
            close = matches!(Item::read(rest)?.0, Item::Text(b"close"));
        }
        rest = skip(rest)?;
    }
    Some(close)
}

/// The number that JavaScript would print as this text.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.first() == Some(&b'0') || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// FNV-1a, apart from the small integers.
fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash | 1 << 63
}

/// One BinaryPack value, or the header of an array or map.
#[derive(Clone, Copy)]
enum Item<'a> {
    /// Null, undefined, or a reserved tag.
    Nothing,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Binary(&'a [u8]),
    Text(&'a [u8]),
    Array(u32),
    Map(u32),
}

impl<'a> Item<'a> {
    /// The item at the start of the bytes, and what follows it.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let low = u32::from(tag & 0x0f);
        Some(match tag {
            0x00..=0x7f => (Self::Integer(tag.into()), rest),
            0x80..=0x8f => (Self::Map(low), rest),
            0x90..=0x9f => (Self::Array(low), rest),
            0xa0..=0xaf => binary(low, rest)?,
            0xb0..=0xbf => text(low, rest)?,
            0xc0 | 0xc1 | 0xc4..=0xc9 | 0xd4..=0xd7 => (Self::Nothing, rest),
            0xc2 | 0xc3 => (Self::Boolean(tag == 0xc3), rest),
            0xca => {
                let (bits, rest) = rest.split_first_chunk()?;
                (Self::Float(f32::from_be_bytes(*bits).into()), rest)
            }
            0xcb => {
                let (bits, rest) = rest.split_first_chunk()?;
                (Self::Float(f64::from_be_bytes(*bits)), rest)
            }
            0xcc..=0xcf => {
                let (value, rest) = unsigned(1 << (tag - 0xcc), rest)?;
                // What is beyond `i64` is beyond every use here.
                (
                    i64::try_from(value).map_or(Self::Float(value as f64), Self::Integer),
                    rest,
                )
            }
            0xd0..=0xd3 => {
                let bits = 8 << (tag - 0xd0);
                let (value, rest) = unsigned(bits / 8, rest)?;
                // Shifted up and down again, the sign bit fills the rest.
                (
                    Self::Integer((value << (64 - bits)).cast_signed() >> (64 - bits)),
                    rest,
                )
            }
            0xd8 | 0xd9 => {
                let (len, rest) = count(tag == 0xd9, rest)?;
                text(len, rest)?
            }
            0xda | 0xdb => {
                let (len, rest) = count(tag == 0xdb, rest)?;
                binary(len, rest)?
            }
            0xdc | 0xdd => {
                let (len, rest) = count(tag == 0xdd, rest)?;
                (Self::Array(len), rest)
            }
            0xde | 0xdf => {
                let (len, rest) = count(tag == 0xdf, rest)?;
                (Self::Map(len), rest)
            }
            0xe0..=0xff => (Self::Integer(tag.cast_signed().into()), rest),
        })
    }

    /// A number without a fraction.
    fn integer(self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(value),
            // A cast saturates, so the comparison also finds what is out of range.
            Self::Float(value) if value as i64 as f64 == value => Some(value as i64),
            _ => None,
        }
    }

    fn index(self) -> Option<u32> {
        u32::try_from(self.integer()?).ok()
    }
}

fn binary(len: u32, bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (data, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    Some((Item::Binary(data), rest))
}

fn text(len: u32, bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (data, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    Some((Item::Text(data), rest))
}

fn count(long: bool, bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (value, rest) = unsigned(if long { 4 } else { 2 }, bytes)?;
    Some((u32::try_from(value).ok()?, rest))
}

/// A big-endian number of up to eight bytes.
fn unsigned(len: usize, bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(len)?;
    Some((
        digits
            .iter()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)),
        rest,
    ))
}

/// What follows the value at the start of the bytes. Every item is at least one byte, so however
/// large the counts in it claim to be, this ends with the bytes.
fn skip(mut bytes: &[u8]) -> Option<&[u8]> {
    let mut pending = 1_u64;
    while pending > 0 {
        let (item, rest) = Item::read(bytes)?;
        bytes = rest;
        pending -= 1;
        pending = pending.saturating_add(match item {
            Item::Array(len) => len.into(),
            Item::Map(len) => u64::from(len) * 2,
            _ => 0,
        });
    }
    Some(bytes)
}
