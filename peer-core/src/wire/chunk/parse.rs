use crate::binarypack::{
    DecodeError,
    token::{Reader, Token, integral},
};

use super::{BinaryMessage, Chunk, ChunkError, ChunkId};

/// Tells chunks and the close message from other messages in `binary` mode.
///
/// Reads only the first byte of what is not a map, and a map once, without recursion and without
/// decoding its values. Keys may come in any order. Of equal keys the last counts. Other keys are
/// skipped.
///
/// ```
/// use peer_core::wire::chunk::{CLOSE, BinaryMessage, parse};
/// assert_eq!(parse(b"\xb5hello")?, BinaryMessage::Whole);
/// assert_eq!(parse(CLOSE)?, BinaryMessage::Close);
/// let chunk = parse(b"\x84\xba__peerData\x01\xb1n\x00\xb4data\xa2hi\xb5total\x02")?;
/// assert!(matches!(chunk, BinaryMessage::Chunk(chunk) if chunk.data == b"hi" && chunk.total == 2));
/// # Ok::<(), peer_core::wire::chunk::ChunkError>(())
/// ```
///
/// # Errors
/// [`ChunkError`] for a chunk without a usable `n` and `total`.
pub fn parse(frame: &[u8]) -> Result<BinaryMessage<'_>, ChunkError> {
    if !matches!(frame.first(), Some(0x80..=0x8f | 0xde | 0xdf)) {
        return Ok(BinaryMessage::Whole);
    }
    let Ok(fields) = Fields::read(frame) else {
        return Ok(BinaryMessage::Whole);
    };
    let id = match fields.peer_data {
        PeerData::False => return Ok(BinaryMessage::Whole),
        PeerData::Close => return Ok(BinaryMessage::Close),
        PeerData::Id(id) => id,
    };
    let total = fields
        .total
        .filter(|&total| total > 0)
        .ok_or(ChunkError::Total)?;
    let n = fields.n.filter(|&n| n < total).ok_or(ChunkError::Index)?;
    Ok(BinaryMessage::Chunk(Chunk {
        id,
        n,
        total,
        data: fields.data,
    }))
}

enum PeerData {
    /// `__peerData` is missing, or JavaScript takes it as false.
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
    /// Reads a map. Returns an error if the frame is not a complete map.
    fn read(frame: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Self {
            peer_data: PeerData::False,
            n: None,
            total: None,
            data: &[],
        };
        let mut reader = Reader { input: frame };
        let Token::Map(entries) = reader.token()? else {
            return Err(DecodeError::Type);
        };
        for _ in 0..entries {
            let (key, _) = reader.value()?;
            let (value, packed) = reader.value()?;
            match key {
                Token::Text(b"__peerData") => fields.peer_data = peer_data(value, packed)?,
                Token::Text(b"n") => fields.n = index(value),
                Token::Text(b"total") => fields.total = index(value),
                Token::Text(b"data") => {
                    fields.data = if let Token::Bytes(data) = value {
                        data
                    } else {
                        &[]
                    };
                }
                _ => {}
            }
        }
        Ok(fields)
    }
}

/// Returns what a `__peerData` means, whose packed bytes are `packed`.
fn peer_data(value: Token<'_>, packed: &[u8]) -> Result<PeerData, DecodeError> {
    const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;
    let number = match value {
        Token::Null | Token::Bool(false) | Token::Unsigned(0) | Token::Text(b"") => {
            return Ok(PeerData::False);
        }
        Token::Double(value) if value == 0.0 || value.is_nan() => return Ok(PeerData::False),
        Token::Map(_) if is_close(packed)? => return Ok(PeerData::Close),
        Token::Text(text) => decimal(text),
        value => unsigned(value),
    };
    let id = number.filter(|&number| number <= MAX_SAFE_INTEGER);
    Ok(PeerData::Id(ChunkId(id.unwrap_or_else(|| match value {
        // However long a tag its length needs.
        Token::Text(text) => hash(text),
        _ => hash(packed),
    }))))
}

/// Returns whether a map contains `type: "close"`.
fn is_close(map: &[u8]) -> Result<bool, DecodeError> {
    let mut reader = Reader { input: map };
    let mut close = false;
    if let Token::Map(entries) = reader.token()? {
        for _ in 0..entries {
            let (key, _) = reader.value()?;
            let (value, _) = reader.value()?;
            if let Token::Text(b"type") = key {
                close = matches!(value, Token::Text(b"close"));
            }
        }
    }
    Ok(close)
}

/// Returns a number that is not negative and has no fraction.
fn unsigned(value: Token<'_>) -> Option<u64> {
    match value {
        Token::Unsigned(value) => Some(value),
        Token::Double(value) => match integral(value) {
            Some(Token::Unsigned(value)) => Some(value),
            _ => None,
        },
        _ => None,
    }
}

fn index(value: Token<'_>) -> Option<u32> {
    u32::try_from(unsigned(value)?).ok()
}

/// Returns the number that JavaScript prints as this text.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.first() == Some(&b'0') || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// Returns the FNV-1a hash with the highest bit set, which no small integer has.
fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash | 1 << 63
}
