use core::fmt;

use crate::wire::chunk::Chunk;

/// The bookkeeping of one message that comes in chunks: what is there, and where each chunk belongs.
///
/// The bytes and a bitmap of chunks are the caller's, so they may be in fixed or growing memory. Every
/// sender cuts a message into chunks of one length, the last one shorter; chunk `n` then belongs at `n`
/// times that length, whatever order they come in. If the last comes first, the length is not known yet; it
/// is parked at the start.
///
/// For each chunk: [`plan`](Self::plan), then provide [`bitmap_len`](Self::bitmap_len) zeroed bytes and the
/// planned size, move what is parked, copy the data, and [`accept`](Self::accept).
///
/// ```
/// use peer_core::{connection::{Assembly, Placed}, wire::chunk::{self, Received}};
/// let frames = [
///     &b"\x84\xba__peerData\x01\xb1n\x01\xb4data\xa2ef\xb5total\x02"[..],
///     b"\x84\xba__peerData\x01\xb1n\x00\xb4data\xa4abcd\xb5total\x02",
/// ];
/// let mut message: Option<(Assembly, Vec<u8>, Vec<u8>)> = None;
/// for frame in frames {
///     let Ok(Received::Chunk(chunk)) = chunk::parse(frame) else { continue };
///     let (assembly, bitmap, bytes) = message.get_or_insert_with(|| {
///         let assembly = Assembly::new(&chunk);
///         (assembly, vec![0; assembly.bitmap_len()], vec![])
///     });
///     // The place to compare the size with a limit.
///     if let Placed::At { offset, size, unpark } = assembly.plan(&chunk, bitmap)? {
///         bytes.resize(bytes.len().max(size), 0);
///         if let Some((len, to)) = unpark {
///             bytes.copy_within(..len, to);
///         }
///         bytes[offset..offset + chunk.data.len()].copy_from_slice(chunk.data);
///         assembly.accept(&chunk, bitmap);
///     }
/// }
/// let (assembly, _, bytes) = message.unwrap();
/// assert_eq!(assembly.complete_len().map(|len| &bytes[..len]), Some(&b"abcdef"[..]));
/// # Ok::<(), peer_core::connection::AssemblyError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assembly {
    id: u64,
    total: u32,
    received: u32,
    /// Length of all chunks but the last; 0 while unknown.
    stride: usize,
    /// One more than the length of the last chunk; 0 before that came.
    last: usize,
}

/// Where a chunk belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is there already.
    Duplicate,
    /// At `offset` in a buffer of `size` bytes.
    At {
        /// Where the data goes.
        offset: usize,
        /// Bytes that the message takes, as far as is known. It never shrinks below what was placed.
        size: usize,
        /// Length and new place of what was parked at the start; to be moved first.
        unpark: Option<(usize, usize)>,
    },
}

/// A chunk does not belong to the message it names; the message is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AssemblyError {
    /// The number is not below the total that the first chunk told.
    Index,
    /// The chunk is empty or of another length than the others.
    Length,
    /// The message's length does not fit in memory.
    TooLarge,
}

impl fmt::Display for AssemblyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Index => "a chunk's number is beyond its message",
            Self::Length => "the chunks of a message differ in length",
            Self::TooLarge => "a chunked message is longer than memory can be",
        })
    }
}

impl core::error::Error for AssemblyError {}

impl Assembly {
    /// Nothing, all zero.
    pub(super) const NONE: Self = Self {
        id: 0,
        total: 0,
        received: 0,
        stride: 0,
        last: 0,
    };

    /// The message that `chunk`, the first to arrive, belongs to. Its `total` is believed.
    pub const fn new(chunk: &Chunk<'_>) -> Self {
        Self {
            id: chunk.id.get(),
            total: chunk.total,
            ..Self::NONE
        }
    }

    /// The chunks' id.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Bytes of the bitmap: one bit a chunk. Check it against a limit: the remote chooses `total`.
    pub const fn bitmap_len(&self) -> usize {
        // A total has 32 bits.
        self.total.div_ceil(8) as usize
    }

    /// Where a chunk belongs. Nothing changes yet.
    ///
    /// # Errors
    /// [`AssemblyError`]: the sender does not do as PeerJS does.
    pub fn plan(&self, chunk: &Chunk<'_>, bitmap: &[u8]) -> Result<Placed, AssemblyError> {
        let last = self.total.checked_sub(1).ok_or(AssemblyError::Index)?;
        if chunk.n > last {
            return Err(AssemblyError::Index);
        }
        if bitmap
            .get(chunk.n as usize / 8)
            .is_some_and(|byte| byte >> (chunk.n % 8) & 1 == 1)
        {
            return Ok(Placed::Duplicate);
        }
        let len = chunk.data.len();
        let before_last = |stride: usize| {
            usize::try_from(last)
                .ok()
                .and_then(|n| n.checked_mul(stride))
                .ok_or(AssemblyError::TooLarge)
        };
        let end = |start: usize, len: usize| start.checked_add(len).ok_or(AssemblyError::TooLarge);
        if chunk.n == last {
            if self.stride == 0 {
                return Ok(Placed::At {
                    offset: 0,
                    size: len,
                    unpark: None,
                });
            }
            if len > self.stride {
                return Err(AssemblyError::Length);
            }
            let offset = before_last(self.stride)?;
            return Ok(Placed::At {
                offset,
                size: end(offset, len)?,
                unpark: None,
            });
        }
        let known = self.stride != 0;
        let parked = self.last_len();
        if len == 0 || (known && len != self.stride) || parked.is_some_and(|parked| parked > len) {
            return Err(AssemblyError::Length);
        }
        let last_at = before_last(len)?;
        Ok(Placed::At {
            // Before the last one.
            offset: chunk.n as usize * len,
            size: end(last_at, parked.unwrap_or(len))?,
            unpark: parked.filter(|_| !known).map(|parked| (parked, last_at)),
        })
    }

    /// Counts a chunk that was planned and copied. Returns whether it was the last one missing.
    pub fn accept(&mut self, chunk: &Chunk<'_>, bitmap: &mut [u8]) -> bool {
        if let Some(byte) = bitmap.get_mut(chunk.n as usize / 8) {
            *byte |= 1 << (chunk.n % 8);
        }
        self.received = self.received.saturating_add(1);
        if chunk.n.checked_add(1) == Some(self.total) {
            // No slice is so long that this saturates.
            self.last = chunk.data.len().saturating_add(1);
        } else {
            self.stride = chunk.data.len();
        }
        self.complete_len().is_some()
    }

    /// The message's length, once every chunk is there.
    pub fn complete_len(&self) -> Option<usize> {
        if self.total == 0 || self.received < self.total {
            return None;
        }
        usize::try_from(self.total - 1)
            .ok()?
            .checked_mul(self.stride)?
            .checked_add(self.last_len()?)
    }

    /// Length of the last chunk, once it is there.
    fn last_len(&self) -> Option<usize> {
        self.last.checked_sub(1)
    }
}
