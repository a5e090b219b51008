//! PeerJS's chunk protocol for BinaryPack messages
//! (`lib/dataconnection/BufferedConnection/binaryPackChunker.ts`), and the close message, which
//! looks alike.
//!
//! A packed message above [`CHUNKED_MTU`] bytes is cut, and each piece is sent as a BinaryPack map
//! of its own: `{__peerData: id, n, data, total}`. A receiver tells them from ordinary messages by
//! a `__peerData` that JavaScript takes as true.

mod parse;
#[cfg(test)]
mod tests;

use core::{fmt, num::NonZeroU32};

use heapless::Vec;

use super::json;

pub use parse::parse;

/// The longest packed message that is sent whole, and the data in every chunk but the last. PeerJS:
/// `chunkedMTU`.
pub const CHUNKED_MTU: usize = 16300;

/// The longest chunk frame: [`CHUNKED_MTU`] bytes of data and at most 43 around them.
pub const CHUNK_FRAME_MAX: usize = CHUNKED_MTU + HEAD_MAX + TAIL_MAX;

/// The close message of `conn.close({flush: true})` in `binary` mode: `{__peerData: {type:
/// "close"}}`.
pub const CLOSE: &[u8] = b"\x81\xba__peerData\x81\xb4type\xb5close";

/// The close message in `json` mode.
pub const CLOSE_JSON: &str = r#"{"__peerData":{"type":"close"}}"#;

/// Map tag and key, id, key, `n`, key, binary tag and length.
pub(crate) const HEAD_MAX: usize = 12 + 5 + 2 + 5 + 5 + 3;
/// Key, `total`.
pub(crate) const TAIL_MAX: usize = 6 + 5;

/// How many frames a packed message of this length takes: one if it is sent whole.
///
/// ```
/// use peer_core::wire::chunk::frames;
/// assert_eq!([frames(0), frames(16_300), frames(16_301)], [1, 1, 2]);
/// ```
pub const fn frames(len: usize) -> usize {
    if len <= CHUNKED_MTU {
        1
    } else {
        len.div_ceil(CHUNKED_MTU)
    }
}

/// A chunk to send: [`parts`](Self::parts) one after the other are one data channel message.
#[derive(Clone, Debug)]
pub struct ChunkFrame<'a> {
    head: Vec<u8, HEAD_MAX>,
    data: &'a [u8],
    tail: Vec<u8, TAIL_MAX>,
}

impl<'a> ChunkFrame<'a> {
    /// Chunk number `n`, from 0, of a packed message; `None` behind the last. The id is to differ
    /// between the messages of one connection; PeerJS counts them from 1, and takes 0 for no chunk
    /// at all.
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
    pub fn new(id: NonZeroU32, n: u32, packed: &'a [u8]) -> Option<Self> {
        let total = u32::try_from(packed.len().div_ceil(CHUNKED_MTU)).ok()?;
        if n >= total {
            return None;
        }
        let start = usize::try_from(n).ok()?.checked_mul(CHUNKED_MTU)?;
        let rest = packed.get(start..)?;
        Self::from_parts(id, n, total, rest.get(..CHUNKED_MTU).unwrap_or(rest))
    }

    /// Chunk number `n` of `total`, when the caller cuts the message itself. All chunks but the last should have
    /// one length; PeerJS takes any. `None` for more than 65,535 bytes of data.
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

    /// The frame's bytes in three parts: what comes before the data, the data, what follows.
    pub fn parts(&self) -> [&[u8]; 3] {
        [&self.head, self.data, &self.tail]
    }

    /// The piece of the packed message.
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The frame's length, at most [`CHUNK_FRAME_MAX`].
    pub fn len(&self) -> usize {
        self.head.len() + self.data.len() + self.tail.len()
    }

    /// Never: a frame holds at least its keys.
    pub const fn is_empty(&self) -> bool {
        false
    }
}

/// PeerJS's shortest form of an integer.
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

/// All chunks of a packed message, in order.
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
    /// The chunks of this message. See [`ChunkFrame::new`] for the id.
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

/// What a BinaryPack message is to the chunk protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// An ordinary message, or one that cannot be walked through: the decoder will say why.
    Message,
    /// One chunk of a message.
    Chunk(Chunk<'a>),
    /// The remote asks to close the connection.
    Close,
}

/// A chunk that came in. `n < total` always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Which message it belongs to, on this connection.
    pub id: ChunkId,
    /// Its place, from 0. Chunks may come in any order.
    pub n: u32,
    /// How many chunks the message has, at least 1. PeerJS believes the first chunk that comes.
    pub total: u32,
    /// The piece of the packed message; empty if it was not binary, as with PeerJS.
    pub data: &'a [u8],
}

/// Names a chunked message. PeerJS takes anything true as an id and keeps chunks under its string
/// form, so `5` and `"5"` are the same. Integers up to 2^53 are themselves here; anything else is a
/// 64-bit hash with the highest bit set. A remote that makes two of its own ids collide spoils only
/// its own messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChunkId(u64);

impl ChunkId {
    /// The id as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A chunk makes no sense and is to be dropped. The remote's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ChunkError {
    /// `total` is missing, zero, or no integer below 2^32.
    Total,
    /// `n` is missing, no integer, or not below `total`.
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

/// Whether a message in `json` mode is the close message. Any object whose `__peerData.type` is
/// `"close"` is.
///
/// ```
/// use peer_core::wire::chunk::{CLOSE_JSON, is_json_close};
/// assert!(is_json_close(CLOSE_JSON));
/// assert!(!is_json_close(r#"{"a":1}"#));
/// ```
pub fn is_json_close(text: &str) -> bool {
    let peer_data = json::member(text, "__peerData");
    peer_data.and_then(|data| json::member(data, "type")) == Some(r#""close""#)
}
