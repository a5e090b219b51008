use core::num::{NonZeroU32, NonZeroUsize};

use serde::Serialize;

use super::SendError;
use crate::{
    binarypack, bytes,
    serialization::{Fragment, MessageKind, Serialization},
    storage::Ring,
    wire::chunk::{CHUNKED_MTU, CLOSE, CLOSE_JSON, ChunkFrame, HEAD_MAX, TAIL_MAX},
};

/// Bytes that the channel may hold before frames are held back, if nothing else is set.
pub const HIGH_WATER: u32 = 262_144;

/// What the first byte of a record says.
const BINARY: u8 = 0;
const TEXT: u8 = 1;
/// The record is a packed message to be cut: id, room for a chunk's head, the bytes, room for a
/// tail.
const CHUNKED: u8 = 2;

/// Bytes of a record of [`CHUNKED`] before the packed message.
const CHUNKED_HEAD: usize = 1 + 4 + HEAD_MAX;
/// Bytes of a record that holds one ready chunk, beside its data.
const CHUNK_COST: usize = RECORD_COST + 1 + HEAD_MAX + TAIL_MAX;
/// Bytes that the ring adds to each record.
const RECORD_COST: usize = 4;

/// Messages on their way out of one connection: encodes them, cuts them into chunks, and holds back
/// what the channel cannot take yet.
///
/// The state is apart from the memory; lend the same slice to each call. All zero when new. The
/// memory is the limit: a message that does not fit is [`SendError::Full`] or
/// [`SendError::TooLarge`].
///
/// ```
/// use peer_core::{connection::Outbox, serialization::{Fragment, Serialization}};
/// let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), [0; 256]);
/// outbox.send(&mut memory, &("on", 5))?;
/// let buffered = 0; // what the channel says
/// let whole = outbox.poll_piece(&mut memory, buffered, usize::MAX).unwrap();
/// assert_eq!(whole, Fragment::binary(b"\x92\xb2on\x05"));
/// assert_eq!(outbox.poll_piece(&mut memory, buffered, usize::MAX), None);
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
    front: Front,
    stream: Stream,
}

/// What was handed out of the oldest record.
#[derive(Clone, Copy, Debug, Default)]
struct Front {
    state: FrontState,
    /// Of a message that is cut: chunks and bytes handed out or begun.
    chunks: u32,
    sent: usize,
    /// Where in the record the begun frame goes on, and where it ends.
    at: usize,
    end: usize,
    /// What the tail of the chunk that was begun lies upon.
    stash: [u8; TAIL_MAX],
    stash_len: u8,
}

/// A frame that is handed out lies in the ring until the call after, which makes room of it: the
/// bytes are lent, not copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FrontState {
    /// The next frame is not begun.
    #[default]
    Waiting,
    /// A frame is begun; other pieces of it follow.
    Begun,
    /// A chunk was handed out to its end, and others of its message follow.
    ChunkSent,
    /// All of the record was handed out.
    Sent,
}

/// A message that the caller hands over in pieces.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    n: u32,
    total: u32,
    stride: usize,
    /// Bytes that the caller still has to write.
    left: usize,
    /// Bytes of them that the newest record still lacks. That record is not handed out before it is
    /// complete, so one that is given up can be taken back whole.
    missing: usize,
    /// Bytes of the newest record after its data.
    tail: u8,
}

impl Outbox {
    /// Returns an empty outbox. With [`Serialization::Binary`] it is all zero.
    pub const fn new(serialization: Serialization) -> Self {
        Self {
            serialization,
            ring: Ring::new(),
            high_water: 0,
            last_id: 0,
            closing: false,
            front: Front {
                state: FrontState::Waiting,
                chunks: 0,
                sent: 0,
                at: 0,
                end: 0,
                stash: [0; TAIL_MAX],
                stash_len: 0,
            },
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

    /// Returns how values are written.
    pub const fn serialization(&self) -> Serialization {
        self.serialization
    }

    /// Returns how many bytes the channel may hold before frames are held back.
    pub const fn high_water(&self) -> u32 {
        if self.high_water == 0 {
            HIGH_WATER
        } else {
            self.high_water
        }
    }

    /// Sets how many bytes the channel may hold before frames are held back. 0 means
    /// [`HIGH_WATER`].
    ///
    /// The limit is for the start of a frame. A frame below it may go far above it: what the
    /// channel holds is at most this and the longest frame.
    pub fn set_high_water(&mut self, bytes: u32) {
        self.high_water = bytes;
    }

    /// Returns whether everything that is complete was handed out. The piece of a streamed message
    /// that is still being written does not count.
    pub const fn is_empty(&self) -> bool {
        let sent = matches!(self.front.state, FrontState::Sent) as usize;
        self.ring.len() == sent + self.unfinished()
    }

    /// Returns whether [`close`](Self::close) was called.
    pub const fn is_closing(&self) -> bool {
        self.closing
    }

    /// Encodes one message. A BinaryPack message above 16,300 bytes is cut as it goes out.
    ///
    /// A JSON or postcard message that is too large is told from one that does not fit now only
    /// when the outbox is empty.
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
            let len = frame.bytes.len();
            *kind = match frame.kind {
                MessageKind::Binary => BINARY,
                MessageKind::Text => TEXT,
            };
            if !serialization.is_chunked() || len <= CHUNKED_MTU {
                return Ok(1 + len);
            }
            // One record for the whole message, with room for one chunk's head and tail: each
            // chunk is built in place, its head over bytes that are sent already.
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

    /// Announces a BinaryPack message of `len` packed bytes, which [`write`](Self::write) then
    /// takes piece by piece: so it may be longer than the outbox, or lie packed in memory of the
    /// caller.
    ///
    /// It goes out in chunks of `chunk` bytes, less where 16,300 or the memory set a limit; a
    /// message no longer than a chunk goes out whole. PeerJS puts together chunks of any size. A
    /// length of 0 does nothing.
    ///
    /// ```
    /// # use peer_core::{connection::{Outbox, SendError}, serialization::Serialization};
    /// # let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), [0; 1024]);
    /// # let mut transmit = |piece: peer_core::serialization::Fragment<'_>| {};
    /// // 100,000 bytes of samples, as one `ArrayBuffer` at the browser, out of 1 KiB.
    /// outbox.stream(&memory, 5 + 100_000, 400)?;
    /// outbox.write(&mut memory, b"\xdb\x00\x01\x86\xa0")?;
    /// for _ in 0..1000 {
    ///     let (samples, mut taken) = ([7; 100], 0);
    ///     while taken < samples.len() {
    ///         taken += outbox.write(&mut memory, &samples[taken..]).unwrap_or(0);
    ///         while let Some(piece) = outbox.poll_piece(&mut memory, 0, usize::MAX) {
    ///             transmit(piece);
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

    /// Takes the next bytes of a streamed message, as many as there is room for, and returns how
    /// many.
    ///
    /// # Errors
    /// [`SendError::Full`] when not one byte fits now, [`SendError::StreamLength`] when `bytes` go
    /// beyond the announced length. Nothing was taken.
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
            let room = self.ring.back_mut(memory).and_then(|record| {
                let end = record.len().checked_sub(usize::from(stream.tail))?;
                let start = end.checked_sub(stream.missing)?;
                bytes::copy(record.get_mut(start..)?, now)
            });
            debug_assert!(room.is_some(), "the open chunk is the newest record");
            room.ok_or(SendError::Full)?;
            stream.missing -= now.len();
            stream.left -= now.len();
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }

    /// Returns how many bytes of the streamed message are still to be written. At 0 other messages
    /// may be sent again.
    pub const fn stream_left(&self) -> usize {
        self.stream.left
    }

    /// Gives up the streamed message. The chunk that is not yet written whole is taken back; no
    /// byte of it was handed out. The chunks before it still go out and stay with the receiver,
    /// which waits for the rest until the connection closes.
    pub fn abort_stream(&mut self, memory: &mut [u8]) {
        self.release(memory);
        if self.unfinished() > 0 {
            self.ring.pop_back();
        }
        self.stream = Stream::default();
    }

    /// Queues the message by which PeerJS asks the other side to close, behind everything sent
    /// before. A streamed message that is not finished is given up, as by
    /// [`abort_stream`](Self::abort_stream).
    ///
    /// On an unordered channel it would overtake what the channel still holds: let `buffered` fall
    /// to 0 before this is polled.
    ///
    /// # Errors
    /// [`SendError::Full`]; [`SendError::Closing`] after the first call; [`SendError::Unsupported`]
    /// on a raw or postcard connection, which has no such message: close the channel once it is
    /// drained.
    pub fn close(&mut self, memory: &mut [u8]) -> Result<(), SendError> {
        if self.closing {
            return Err(SendError::Closing);
        }
        let message = match self.serialization {
            Serialization::Binary | Serialization::BinaryUtf8 => CLOSE,
            Serialization::Json => CLOSE_JSON.as_bytes(),
            Serialization::Raw | Serialization::Postcard => return Err(SendError::Unsupported),
        };
        self.abort_stream(memory);
        self.ring
            .push(memory, &[&[BINARY], message])
            .map_err(|_| SendError::Full)?;
        self.closing = true;
        Ok(())
    }

    /// Hands out the next frame for the channel, or the next piece of it, of at most `max` bytes.
    /// With `usize::MAX` frames are never cut. `buffered` is what the channel holds now. What is
    /// handed out counts as sent.
    ///
    /// A frame that is begun comes to its end before another begins, and whatever `buffered` is.
    ///
    /// Returns `None` when there is nothing, while `buffered` is above the
    /// [high water](Self::set_high_water), and when `max` is 0, also for an empty frame: poll again
    /// after something was sent, after `buffered` fell, or with a larger `max`.
    pub fn poll_piece<'m>(
        &mut self,
        memory: &'m mut [u8],
        buffered: u32,
        max: usize,
    ) -> Option<Fragment<'m>> {
        if !self.is_ready(memory, buffered) || max == 0 {
            return None;
        }
        let record = self.ring.front_mut(memory)?;
        let kind = match record.first() {
            Some(&TEXT) => MessageKind::Text,
            _ => MessageKind::Binary,
        };
        let first = self.front.state == FrontState::Waiting;
        if first {
            let built = self.front.build(record);
            debug_assert!(built.is_some(), "a record is as it was pushed");
            built?;
        }
        let front = &mut self.front;
        let start = front.at;
        front.at = start.saturating_add(max).min(front.end);
        let last = front.at == front.end;
        front.state = if !last {
            FrontState::Begun
        } else if front.chunks > 0 && front.next_chunk() + TAIL_MAX < record.len() {
            FrontState::ChunkSent
        } else {
            FrontState::Sent
        };
        Some(Fragment {
            first,
            last,
            kind,
            bytes: record.get(start..front.at)?,
        })
    }

    /// Returns whether [`poll_piece`](Self::poll_piece) has something to hand out.
    pub(crate) fn is_ready(&mut self, memory: &mut [u8], buffered: u32) -> bool {
        self.release(memory);
        match self.front.state {
            FrontState::Begun => true,
            _ => !self.is_empty() && buffered <= self.high_water(),
        }
    }

    /// Makes room of what was handed out to its end by the last poll.
    pub(crate) fn release(&mut self, memory: &mut [u8]) {
        match self.front.state {
            FrontState::Waiting | FrontState::Begun => {}
            FrontState::ChunkSent => {
                let front = &mut self.front;
                front.state = FrontState::Waiting;
                let restored = self.ring.front_mut(memory).and_then(|record| {
                    let stash = front.stash.get(..usize::from(front.stash_len))?;
                    bytes::copy(record.get_mut(front.next_chunk()..)?, stash)
                });
                debug_assert!(restored.is_some(), "the record is there until it is sent");
            }
            FrontState::Sent => {
                self.front = Front::default();
                self.ring.pop(memory);
            }
        }
    }

    /// Records that the caller is still writing: 0 or 1.
    const fn unfinished(&self) -> usize {
        (self.stream.missing > 0) as usize
    }

    /// Appends a record for the stream's next chunk, complete but for its data.
    fn open_chunk(&mut self, memory: &mut [u8]) -> Result<(), SendError> {
        let stream = &mut self.stream;
        let len = stream.left.min(stream.stride);
        if stream.total <= 1 {
            self.ring.push_with(memory, |room| {
                let record = room.get_mut(..1 + len).ok_or(SendError::Full)?;
                bytes::copy(record, &[BINARY]).ok_or(SendError::Full)?;
                Ok::<_, SendError>(record.len())
            })?;
            (stream.missing, stream.tail) = (len, 0);
            return Ok(());
        }
        let id = NonZeroU32::new(self.last_id).unwrap_or(NonZeroU32::MIN);
        let (n, total) = (stream.n, stream.total);
        let mut after = 0;
        self.ring.push_with(memory, |room| {
            // The head tells the data's length, so it is made around room of that length.
            let data = room.get(..len).ok_or(SendError::Full)?;
            let ends = Ends::new(id, n, total, data).ok_or(SendError::Full)?;
            let start = bytes::concat(room, &[&[BINARY], ends.head()]).ok_or(SendError::Full)?;
            let place = room.get_mut(start + len..).ok_or(SendError::Full)?;
            bytes::copy(place, ends.tail()).ok_or(SendError::Full)?;
            after = ends.tail_len;
            Ok::<_, SendError>(start + len + ends.tail().len())
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

impl Front {
    /// Sets `at` and `end` around the next frame of the record, and builds it where it is a chunk.
    fn build(&mut self, record: &mut [u8]) -> Option<()> {
        if *record.first()? == CHUNKED {
            return self.cut(record);
        }
        (self.at, self.end) = (1, record.len());
        Some(())
    }

    /// Builds the next chunk of a packed message around its bytes. The head covers bytes that were
    /// sent before. The tail covers bytes that are still to be sent: they are stashed until the
    /// chunk is out.
    fn cut(&mut self, record: &mut [u8]) -> Option<()> {
        let id = record.get(1..5)?.try_into().ok().map(u32::from_be_bytes)?;
        let end = record.len().checked_sub(TAIL_MAX)?;
        let start = self.next_chunk();
        let stop = end.min(start + CHUNKED_MTU);
        let total = end.checked_sub(CHUNKED_HEAD)?.div_ceil(CHUNKED_MTU);
        let total = u32::try_from(total).ok()?;
        let data = record.get(start..stop)?;
        let ends = Ends::new(NonZeroU32::new(id)?, self.chunks, total, data)?;

        let at = start.checked_sub(ends.head().len())?;
        bytes::copy(record.get_mut(at..)?, ends.head())?;
        let covered = record.get_mut(stop..stop + ends.tail().len())?;
        bytes::copy(&mut self.stash, covered)?;
        self.stash_len = ends.tail_len;
        bytes::copy(covered, ends.tail())?;
        (self.at, self.end) = (at, stop + ends.tail().len());
        self.chunks += 1;
        self.sent = stop - CHUNKED_HEAD;
        Some(())
    }

    /// Where in the record the data of the next chunk starts.
    const fn next_chunk(&self) -> usize {
        CHUNKED_HEAD + self.sent
    }
}

/// What a chunk has around its data, copied so that the data's memory can be written.
struct Ends {
    head: [u8; HEAD_MAX],
    head_len: u8,
    tail: [u8; TAIL_MAX],
    tail_len: u8,
}

impl Ends {
    fn new(id: NonZeroU32, n: u32, total: u32, data: &[u8]) -> Option<Self> {
        let frame = ChunkFrame::from_parts(id, n, total, data)?;
        let [from, _, to] = frame.parts();
        let (mut head, mut tail) = ([0; HEAD_MAX], [0; TAIL_MAX]);
        bytes::copy(&mut head, from)?;
        bytes::copy(&mut tail, to)?;
        Some(Self {
            head,
            head_len: u8::try_from(from.len()).ok()?,
            tail,
            tail_len: u8::try_from(to.len()).ok()?,
        })
    }

    fn head(&self) -> &[u8] {
        part(&self.head, self.head_len)
    }

    fn tail(&self) -> &[u8] {
        part(&self.tail, self.tail_len)
    }
}

fn part(bytes: &[u8], len: u8) -> &[u8] {
    bytes.get(..usize::from(len)).unwrap_or(bytes)
}
