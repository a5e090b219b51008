use core::num::{NonZeroU32, NonZeroUsize};

use serde::Serialize;

use super::SendError;
use crate::{
    binarypack, bytes,
    serialization::{Frame, FrameKind, Serialization},
    storage::Ring,
    wire::chunk::{CHUNKED_MTU, CLOSE, CLOSE_JSON, ChunkFrame, HEAD_MAX, TAIL_MAX},
};

/// Bytes that the channel may hold before frames are held back, if nothing else is set.
pub const HIGH_WATER: u32 = 262_144;

/// What the first byte of a record says.
const BINARY: u8 = 0;
const TEXT: u8 = 1;
/// The record is a packed message to be cut: id, room for a chunk's head, the bytes, room for a tail.
const CHUNKED: u8 = 2;
/// Nothing is sent.
const ABANDONED: u8 = 3;

/// Bytes of a record of [`CHUNKED`] before the packed message.
const CHUNKED_HEAD: usize = 1 + 4 + HEAD_MAX;
/// Bytes of a record that holds one ready chunk, beside its data.
const CHUNK_COST: usize = RECORD_COST + 1 + HEAD_MAX + TAIL_MAX;
/// Bytes that the ring adds to each record.
const RECORD_COST: usize = 4;

/// Messages on their way out of one connection: encodes, cuts into chunks, and holds back what the channel
/// cannot take yet.
///
/// The state is apart from the memory; lend the same slice to each call. All zero when new.
///
/// ```
/// use peer_core::{connection::Outbox, serialization::{Frame, Serialization}};
/// let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), [0; 256]);
/// outbox.send(&mut memory, &("on", 5))?;
/// let buffered = 0; // what the channel says
/// assert_eq!(outbox.poll_frame(&mut memory, buffered), Some(Frame::Binary(b"\x92\xb2on\x05")));
/// assert_eq!(outbox.poll_frame(&mut memory, buffered), None);
/// # Ok::<(), peer_core::connection::SendError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    serialization: Serialization,
    ring: Ring,
    /// 0 for [`HIGH_WATER`].
    high_water: u32,
    /// The id of the last message that was cut; of the streamed one while there is one.
    last_id: u32,
    closing: bool,
    /// The front frame was handed out and goes at the next call.
    lent: bool,
    /// Of the front message: chunks and bytes handed out.
    sent_chunks: u32,
    sent: usize,
    /// What the tail of the chunk that was lent lies upon.
    stash: [u8; TAIL_MAX],
    stash_len: u8,
    stream: Stream,
}

/// A message that the caller hands over in pieces.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    n: u32,
    total: u32,
    stride: usize,
    /// Bytes that the caller still has to write.
    left: usize,
    /// Bytes of them that the newest record still lacks.
    missing: usize,
    /// Bytes of the newest record after its data.
    tail: u8,
}

impl Outbox {
    /// An empty outbox. With [`Serialization::Binary`] it is all zero.
    pub const fn new(serialization: Serialization) -> Self {
        Self {
            serialization,
            ring: Ring::new(),
            high_water: 0,
            last_id: 0,
            closing: false,
            lent: false,
            sent_chunks: 0,
            sent: 0,
            stash: [0; TAIL_MAX],
            stash_len: 0,
            stream: Stream {
                n: 0,
                total: 0,
                stride: 0,
                left: 0,
                missing: 0,
                tail: 0,
            },
        }
    }

    /// How values are written.
    pub const fn serialization(&self) -> Serialization {
        self.serialization
    }

    /// Sets how many bytes the channel may hold before frames are held back. 0 means [`HIGH_WATER`].
    pub fn set_high_water(&mut self, bytes: u32) {
        self.high_water = bytes;
    }

    /// Whether everything was handed out. After the last chunk of a message it takes one more poll to tell.
    pub const fn is_empty(&self) -> bool {
        self.ring.is_empty() || (self.lent && self.ring.len() == 1 && self.sent_chunks == 0)
    }

    /// Whether [`close`](Self::close) was called.
    pub const fn is_closing(&self) -> bool {
        self.closing
    }

    /// Encodes one message. A BinaryPack message above 16,300 bytes is cut as it goes out.
    ///
    /// A JSON or postcard message that is too large is told from one that does not fit now only when the
    /// outbox is empty.
    ///
    /// # Errors
    /// [`SendError`]; nothing of the message is sent.
    pub fn send<T: Serialize + ?Sized>(
        &mut self,
        memory: &mut [u8],
        value: &T,
    ) -> Result<(), SendError> {
        self.check_open()?;
        self.release(memory);
        let serialization = self.serialization;
        let id = self.last_id.checked_add(1).unwrap_or(1);
        let mut cut = false;
        let pushed = self.ring.push_with(memory, |room| {
            let (kind, content) = room.split_first_mut().ok_or(SendError::Full)?;
            let frame = serialization.encode(value, content)?;
            let len = frame.as_bytes().len();
            *kind = match frame.kind() {
                FrameKind::Binary => BINARY,
                FrameKind::Text => TEXT,
            };
            if !serialization.is_chunked() || len <= CHUNKED_MTU {
                return Ok(1 + len);
            }
            let whole = CHUNKED_HEAD + len + TAIL_MAX;
            if whole > room.len() {
                return Err(SendError::Full);
            }
            let [a, b, c, d] = id.to_be_bytes();
            bytes::copy_within(room, 1..1 + len, CHUNKED_HEAD).ok_or(SendError::Full)?;
            bytes::copy(room, &[CHUNKED, a, b, c, d]).ok_or(SendError::Full)?;
            cut = true;
            Ok(whole)
        });
        match pushed {
            Ok(()) => {
                if cut {
                    self.last_id = id;
                }
                Ok(())
            }
            Err(SendError::Full) if self.never_fits(memory, value) => Err(SendError::TooLarge),
            Err(error) => Err(error),
        }
    }

    /// Announces a BinaryPack message of `len` packed bytes, which [`write`](Self::write) then takes piece by
    /// piece: so it may be longer than the outbox, or lie packed in memory of the caller.
    ///
    /// It goes out in chunks of `chunk` bytes, less where 16,300 or the memory set a limit; a message no longer
    /// than a chunk goes out whole. PeerJS puts together chunks of any size. A length of 0 does nothing.
    ///
    /// ```
    /// # use peer_core::{connection::{Outbox, SendError}, serialization::Serialization};
    /// # let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), [0; 1024]);
    /// # let mut transmit = |frame: peer_core::serialization::Frame<'_>| {};
    /// // 100,000 bytes of samples, as one `ArrayBuffer` at the browser, out of 1 KiB.
    /// outbox.stream(&memory, 5 + 100_000, 400)?;
    /// outbox.write(&mut memory, b"\xdb\x00\x01\x86\xa0")?;
    /// for _ in 0..1000 {
    ///     let (samples, mut taken) = ([7; 100], 0);
    ///     while taken < samples.len() {
    ///         taken += outbox.write(&mut memory, &samples[taken..]).unwrap_or(0);
    ///         while let Some(frame) = outbox.poll_frame(&mut memory, 0) {
    ///             transmit(frame);
    ///         }
    ///     }
    /// }
    /// assert_eq!(outbox.stream_left(), 0);
    /// # Ok::<(), SendError>(())
    /// ```
    ///
    /// # Errors
    /// [`SendError`]; nothing has changed.
    pub fn stream(&mut self, memory: &[u8], len: usize, chunk: usize) -> Result<(), SendError> {
        self.check_open()?;
        if !self.serialization.is_chunked() {
            return Err(SendError::Unsupported);
        }
        let limit = memory
            .len()
            .checked_sub(CHUNK_COST)
            .ok_or(SendError::TooLarge)?;
        let stride = chunk.clamp(1, CHUNKED_MTU).min(limit);
        let each = NonZeroUsize::new(stride).ok_or(SendError::TooLarge)?;
        let total = u32::try_from(len / each + usize::from(len % each > 0))
            .map_err(|_| SendError::TooLarge)?;
        if total > 1 {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        }
        self.stream = Stream {
            total,
            stride,
            left: len,
            ..Stream::default()
        };
        Ok(())
    }

    /// Takes the next bytes of a streamed message, as many as there is room for, and says how many.
    ///
    /// # Errors
    /// [`SendError::Full`] when not one byte fits now, [`SendError::StreamLength`] when `bytes` go beyond the
    /// announced length. Nothing was taken.
    pub fn write(&mut self, memory: &mut [u8], bytes: &[u8]) -> Result<usize, SendError> {
        if bytes.len() > self.stream.left {
            return Err(SendError::StreamLength);
        }
        self.release(memory);
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.stream.missing == 0 {
                match self.open_chunk(memory) {
                    Err(SendError::Full) if rest.len() < bytes.len() => break,
                    opened => opened?,
                }
            }
            let stream = &mut self.stream;
            let (now, after) = rest.split_at_checked(stream.missing).unwrap_or((rest, &[]));
            // The record is there and as long as `open_chunk` made it.
            let room = self.ring.back_mut(memory).and_then(|record| {
                let end = record.len().checked_sub(usize::from(stream.tail))?;
                let start = end.checked_sub(stream.missing)?;
                bytes::copy(record.get_mut(start..)?, now)
            });
            room.ok_or(SendError::Full)?;
            stream.missing -= now.len();
            stream.left -= now.len();
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }

    /// Bytes of the streamed message that are still to be written. At 0 other messages may be sent again.
    pub const fn stream_left(&self) -> usize {
        self.stream.left
    }

    /// Gives up the streamed message. What was sent of it stays with the receiver, which waits for the rest
    /// until the connection closes.
    pub fn abort_stream(&mut self, memory: &mut [u8]) {
        if self.stream.missing > 0
            && let Some(kind) = self
                .ring
                .back_mut(memory)
                .and_then(|record| record.first_mut())
        {
            *kind = ABANDONED;
        }
        self.stream = Stream::default();
    }

    /// Queues the message by which PeerJS asks the other side to close, behind everything sent before.
    ///
    /// On an unordered channel it would overtake what the channel still holds: let `buffered` fall to 0 before
    /// this is polled.
    ///
    /// # Errors
    /// [`SendError::Full`]; [`SendError::Unsupported`] on a raw or postcard connection, which has no such
    /// message: close the channel once it is drained.
    pub fn close(&mut self, memory: &mut [u8]) -> Result<(), SendError> {
        self.check_open()?;
        let message = match self.serialization {
            Serialization::Binary | Serialization::BinaryUtf8 => CLOSE,
            Serialization::Json => CLOSE_JSON.as_bytes(),
            Serialization::Raw | Serialization::Postcard => return Err(SendError::Unsupported),
        };
        self.release(memory);
        self.ring
            .push(memory, &[&[BINARY], message])
            .map_err(|_| SendError::Full)?;
        self.closing = true;
        Ok(())
    }

    /// The next frame for the channel, which now holds `buffered` bytes. The frame counts as sent. `None`
    /// while that is above the high-water mark, or when there is nothing: poll again after `buffered` fell,
    /// or something was sent.
    pub fn poll_frame<'m>(&mut self, memory: &'m mut [u8], buffered: u32) -> Option<Frame<'m>> {
        let high_water = if self.high_water == 0 {
            HIGH_WATER
        } else {
            self.high_water
        };
        if buffered > high_water {
            self.release(memory);
            return None;
        }
        if !self.is_ready(memory) {
            return None;
        }
        self.lent = true;
        let record = self.ring.front_mut(memory)?;
        if record.first() == Some(&CHUNKED) {
            return self.cut(record).map(Frame::Binary);
        }
        match *record {
            // It was copied from a `str`.
            [TEXT, ref text @ ..] => core::str::from_utf8(text).ok().map(Frame::Text),
            [_, ref bytes @ ..] => Some(Frame::Binary(bytes)),
            [] => None,
        }
    }

    /// Whether there is a frame to be handed out: a chunk that the caller is still writing is none.
    pub(crate) fn is_ready(&mut self, memory: &mut [u8]) -> bool {
        self.release(memory);
        while let Some(record) = self.ring.front(memory) {
            if record.first() != Some(&ABANDONED) {
                return self.stream.missing == 0 || self.ring.len() > 1;
            }
            self.ring.pop(memory);
        }
        false
    }

    /// The next chunk of a packed message, built around its bytes: over what was sent before them, and for
    /// the moment over what follows.
    fn cut<'m>(&mut self, record: &'m mut [u8]) -> Option<&'m [u8]> {
        let id = record.get(1..5)?.try_into().ok().map(u32::from_be_bytes)?;
        let end = record.len().checked_sub(TAIL_MAX)?;
        let start = CHUNKED_HEAD + self.sent;
        let stop = end.min(start + CHUNKED_MTU);
        let total = end.checked_sub(CHUNKED_HEAD)?.div_ceil(CHUNKED_MTU);
        let frame = ChunkFrame::from_parts(
            NonZeroU32::new(id)?,
            self.sent_chunks,
            u32::try_from(total).ok()?,
            record.get(start..stop)?,
        )?;
        let [head, _, tail] = frame.parts();
        let (mut heads, mut tails) = ([0; HEAD_MAX], [0; TAIL_MAX]);
        let (head_len, tail_len) = (head.len(), tail.len());
        bytes::copy(&mut heads, head)?;
        bytes::copy(&mut tails, tail)?;

        let frame = record.get_mut(start.checked_sub(head_len)?..stop + tail_len)?;
        bytes::copy(frame, heads.get(..head_len)?)?;
        let covered = frame.get_mut(head_len + (stop - start)..)?;
        bytes::copy(&mut self.stash, covered)?;
        self.stash_len = u8::try_from(tail_len).ok()?;
        bytes::copy(covered, tails.get(..tail_len)?)?;
        self.sent_chunks += 1;
        self.sent = stop - CHUNKED_HEAD;
        Some(frame)
    }

    /// Drops what was lent by the last poll. [`is_empty`](Self::is_empty) is exact after it.
    pub(crate) fn release(&mut self, memory: &mut [u8]) {
        if !core::mem::take(&mut self.lent) {
            return;
        }
        if self.sent_chunks > 0
            && let Some(record) = self.ring.front_mut(memory)
        {
            let start = CHUNKED_HEAD + self.sent;
            let stash = self.stash.get(..usize::from(self.stash_len));
            if let (Some(covered), Some(stash)) = (record.get_mut(start..), stash) {
                bytes::copy(covered, stash);
            }
            if start + TAIL_MAX < record.len() {
                return;
            }
        }
        self.sent_chunks = 0;
        self.sent = 0;
        self.ring.pop(memory);
    }

    /// Appends a record for the stream's next chunk, complete but for its data.
    fn open_chunk(&mut self, memory: &mut [u8]) -> Result<(), SendError> {
        let stream = &mut self.stream;
        let len = stream.left.min(stream.stride);
        if stream.total <= 1 {
            self.ring.push_with(memory, |room| {
                let record = room.get_mut(..1 + len).ok_or(SendError::Full)?;
                bytes::copy(record, &[BINARY]);
                Ok::<_, SendError>(record.len())
            })?;
            (stream.missing, stream.tail) = (len, 0);
            return Ok(());
        }
        let id = NonZeroU32::new(self.last_id).unwrap_or(NonZeroU32::MIN);
        let (n, total) = (stream.n, stream.total);
        // A tail is at most `TAIL_MAX` long.
        let mut after = 0;
        self.ring.push_with(memory, |room| {
            // The head tells the data's length, so it is made around room of that length.
            let data = room.get(..len).ok_or(SendError::Full)?;
            let frame = ChunkFrame::from_parts(id, n, total, data).ok_or(SendError::Full)?;
            let (mut heads, mut tails) = ([0; HEAD_MAX], [0; TAIL_MAX]);
            let [head, _, tail] = frame.parts();
            let (head_len, tail_len) = (head.len(), tail.len());
            let copied = bytes::copy(&mut heads, head).and(bytes::copy(&mut tails, tail));
            copied.ok_or(SendError::Full)?;
            let (head, tail) = (heads.get(..head_len), tails.get(..tail_len));
            let (head, tail) = (head.unwrap_or_default(), tail.unwrap_or_default());
            let start = bytes::concat(room, &[&[BINARY], head]).ok_or(SendError::Full)?;
            let place = room.get_mut(start + len..).ok_or(SendError::Full)?;
            bytes::copy(place, tail).ok_or(SendError::Full)?;
            after = tail.len() as u8;
            Ok::<_, SendError>(start + len + tail.len())
        })?;
        (stream.missing, stream.tail) = (len, after);
        stream.n += 1;
        Ok(())
    }

    fn check_open(&self) -> Result<(), SendError> {
        if self.closing {
            Err(SendError::Closing)
        } else if self.stream.left > 0 {
            Err(SendError::Streaming)
        } else {
            Ok(())
        }
    }

    /// Whether a message that did not fit would not fit in an empty outbox either.
    fn never_fits<T: Serialize + ?Sized>(&self, memory: &[u8], value: &T) -> bool {
        if self.ring.is_empty() {
            return true;
        }
        if !self.serialization.is_chunked() {
            return false;
        }
        let overhead = |len| {
            if len > CHUNKED_MTU {
                CHUNKED_HEAD + TAIL_MAX
            } else {
                1
            }
        };
        binarypack::serialized_len(value)
            .is_ok_and(|len| RECORD_COST + overhead(len) + len > memory.len())
    }
}
