//! PeerJS's chunk protocol for BinaryPack messages
//! (`lib/dataconnection/BufferedConnection/binaryPackChunker.ts`) and its close message.
//!
//! A packed message longer than [`CHUNKED_MTU`] bytes is cut, and each piece is sent as a
//! BinaryPack map of its own: `{__peerData: id, n, data, total}`. A map is a chunk if JavaScript
//! takes its `__peerData` as true, and the close message if it is `{type: "close"}`.

mod parse;
#[cfg(test)]
mod tests;

use core::{fmt, num::NonZeroU32};

use heapless::Vec;

use super::json;

pub use parse::parse;

/// The length of the longest packed message that is not cut, and of the data in every chunk but the
/// last, in bytes. PeerJS's `chunkedMTU`.
pub const CHUNKED_MTU: usize = 16300;

/// The length of the longest chunk frame in bytes: [`CHUNKED_MTU`] bytes of data and at most 43
/// around them.
pub const CHUNK_FRAME_MAX: usize = CHUNKED_MTU + HEAD_MAX + TAIL_MAX;

/// The close message of `conn.close({flush: true})` in `binary` mode: `{__peerData: {type:
/// "close"}}`.
pub const CLOSE: &[u8] = b"\x81\xba__peerData\x81\xb4type\xb5close";

/// The close message in `json` mode: the same object as JSON.
pub const CLOSE_JSON: &str = r#"{"__peerData":{"type":"close"}}"#;

/// Map tag and key, id, key, `n`, key, binary tag and length.
pub(crate) const HEAD_MAX: usize = 12 + 5 + 2 + 5 + 5 + 3;
/// Key, `total`.
pub(crate) const TAIL_MAX: usize = 6 + 5;

/// Returns the number of frames for a packed message of this length: 1 if it is not cut.
///
/// ```
/// use peer_core::wire::chunk::frames;
/// assert_eq!([frames(0), frames(16_300), frames(16_301)], [1, 1, 2]);
/// ```
#[must_use]
pub const fn frames(len: usize) -> usize {
    if len <= CHUNKED_MTU {
        1
    } else {
        len.div_ceil(CHUNKED_MTU)
    }
}

/// A chunk to send. Its [`parts`](Self::parts), one after the other, are one data channel message.
#[derive(Clone, Debug)]
pub struct ChunkFrame<'a> {
    head: Vec<u8, HEAD_MAX>,
    data: &'a [u8],
    tail: Vec<u8, TAIL_MAX>,
}

impl<'a> ChunkFrame<'a> {
    /// Makes chunk number `n`, from 0, of a packed message. Returns `None` after the last chunk.
    /// The id must differ between the messages of one connection. PeerJS counts from 1, and does
    /// not take a map with id 0 as a chunk.
    ///
    /// ```
    /// # use core::num::NonZeroU32;
    /// use peer_core::wire::chunk::ChunkFrame;
    /// let packed = [7; 20_000];
    /// let frame = ChunkFrame::new(NonZeroU32::MIN, 1, &packed).unwrap();
    /// assert_eq!(frame.data().len(), 20_000 - 16_300);
    /// assert_eq!(frame.parts()[2], b"\xb5total\x02");
    /// assert!(ChunkFrame::new(NonZeroU32::MIN, 2, &packed).is_none());
    /// ```
    #[must_use]
    pub fn new(id: NonZeroU32, n: u32, packed: &'a [u8]) -> Option<Self> {
        let total = u32::try_from(packed.len().div_ceil(CHUNKED_MTU)).ok()?;
        if n >= total {
            return None;
        }
        let start = usize::try_from(n).ok()?.checked_mul(CHUNKED_MTU)?;
        let rest = packed.get(start..)?;
        Self::from_parts(id, n, total, rest.get(..CHUNKED_MTU).unwrap_or(rest))
    }

    /// Makes chunk number `n` of `total` of a message that the caller cuts. All chunks but the last
    /// should have one length; PeerJS takes any. Returns `None` for more than 65,535 bytes of data.
    pub(crate) fn from_parts(id: NonZeroU32, n: u32, total: u32, data: &'a [u8]) -> Option<Self> {
        let mut head = Vec::new();
        head.extend_from_slice(b"\x84\xba__peerData").ok()?;
        integer(&mut head, id.get())?;
        head.extend_from_slice(b"\xb1n").ok()?;
        integer(&mut head, n)?;
        head.extend_from_slice(b"\xb4data").ok()?;
        match u16::try_from(data.len()).ok()? {
            len @ 0..16 => head.push(0xa0 | len.to_be_bytes()[1]).ok()?,
            len => {
                head.push(0xda).ok()?;
                head.extend_from_slice(&len.to_be_bytes()).ok()?;
            }
        }
        let mut tail = Vec::new();
        tail.extend_from_slice(b"\xb5total").ok()?;
        integer(&mut tail, total)?;
        Some(Self { head, data, tail })
    }

    /// Returns the frame in three parts: what comes before the data, the data, what follows it.
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 3] {
        [&self.head, self.data, &self.tail]
    }

    /// Returns the piece of the packed message.
    #[must_use]
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Returns the length of the frame in bytes, at most [`CHUNK_FRAME_MAX`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.data.len() + self.tail.len()
    }

    /// Returns `false`: a frame contains at least its keys.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}

/// Writes an integer in the shortest form, as PeerJS does.
fn integer<const N: usize>(out: &mut Vec<u8, N>, value: u32) -> Option<()> {
    let bytes = value.to_be_bytes();
    match value {
        0..=0x7f => out.extend_from_slice(&bytes[3..]),
        0x80..=0xff => out.extend_from_slice(&[0xcc, bytes[3]]),
        0x100..=0xffff => out.extend_from_slice(&[0xcd, bytes[2], bytes[3]]),
        _ => out
            .push(0xce)
            .map_err(|_| Default::default())
            .and_then(|()| out.extend_from_slice(&bytes)),
    }
    .ok()
}

/// Iterates over all chunks of a packed message, in order.
///
/// ```
/// # use core::num::NonZeroU32;
/// use peer_core::wire::chunk::Chunks;
/// let packed = [7; 40_000];
/// let lengths = Chunks::new(NonZeroU32::MIN, &packed).map(|frame| frame.data().len());
/// assert!(lengths.eq([16_300, 16_300, 7_400]));
/// ```
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    id: NonZeroU32,
    n: u32,
    packed: &'a [u8],
}

impl<'a> Chunks<'a> {
    /// Starts at the first chunk of this message. See [`ChunkFrame::new`] for the id.
    #[must_use]
    pub const fn new(id: NonZeroU32, packed: &'a [u8]) -> Self {
        Self { id, n: 0, packed }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = ChunkFrame<'a>;

    fn next(&mut self) -> Option<ChunkFrame<'a>> {
        let frame = ChunkFrame::new(self.id, self.n, self.packed)?;
        self.n = self.n.saturating_add(1);
        Some(frame)
    }
}

/// What a message in `binary` mode is to the chunk protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryMessage<'a> {
    /// A message that is not cut, or one that cannot be read, for which the decoder returns the
    /// error.
    Whole,
    /// A chunk of a message.
    Chunk(Chunk<'a>),
    /// The remote peer asks to close the connection.
    Close,
}

/// A chunk that came in. `n` is less than `total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The message that it belongs to, on this connection.
    pub id: ChunkId,
    /// The chunk's number, from 0. Chunks may come in any order.
    pub n: u32,
    /// The number of chunks of the message, at least 1. PeerJS uses that of the first chunk that
    /// comes.
    pub total: u32,
    /// The piece of the packed message. Empty if `data` is not binary, as in PeerJS.
    pub data: &'a [u8],
}

/// The id of a chunked message. PeerJS takes any value as an id that JavaScript takes as true, and
/// compares ids as strings, so `5` and `"5"` are equal. An integer below 2^53 is kept as it is; for
/// anything else this is a 64-bit hash with the highest bit set. A remote peer whose ids collide
/// damages only its own messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChunkId(u64);

impl ChunkId {
    /// Returns the id as a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Why a chunk must be dropped. The remote peer is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ChunkError {
    /// `total` is missing, zero, or not an integer below 2^32.
    Total,
    /// `n` is missing, not an integer, or not below `total`.
    Index,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Total => "the remote peer sent a chunk without a usable total",
            Self::Index => "the remote peer sent a chunk whose number is not below its total",
        })
    }
}

impl core::error::Error for ChunkError {}

/// Returns whether a message in `json` mode is the close message: an object whose `__peerData.type`
/// is `"close"`.
///
/// ```
/// use peer_core::wire::chunk::{CLOSE_JSON, is_json_close};
/// assert!(is_json_close(CLOSE_JSON));
/// assert!(!is_json_close(r#"{"a":1}"#));
/// ```
#[must_use]
pub fn is_json_close(text: &str) -> bool {
    let peer_data = json::member(text, "__peerData");
    peer_data.and_then(|data| json::member(data, "type")) == Some(r#""close""#)
}
