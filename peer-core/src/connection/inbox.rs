use serde::Deserialize;

use super::{Assembly, Placed, ReceiveError};
use crate::{
    bytes,
    serialization::{Frame, FrameKind, Serialization},
    wire::chunk::{self, Chunk},
};

/// Chunked messages that may be coming in at the same time. One more is dropped, unless one of them has
/// gone stale.
pub const ASSEMBLIES_MAX: usize = 8;
/// Finished and dropped chunked messages whose late chunks are recognised.
const RECENT_MAX: usize = 16;
/// A chunked message of which nothing came for so many frames is given up where room is needed.
const STALE_FRAMES: u32 = 1024;

/// Bytes before each block: its whole length in 32 bits and what it is.
const HEADER: usize = 5;
const BINARY: u8 = 0;
const TEXT: u8 = 1;
/// A message still coming in: a bitmap of its chunks, then its bytes.
const ASSEMBLY: u8 = 2;

/// Messages that came in on one connection: puts chunks together and keeps whole messages until they are
/// read.
///
/// Messages come out in the order in which they became whole, which on an ordered channel is the order
/// they were sent in. The state is apart from the memory; lend the same slice to each call. All zero when new.
///
/// ```
/// use peer_core::{connection::{Inbox, Received}, serialization::{Frame, Serialization}};
/// let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), [0; 256]);
/// assert_eq!(inbox.feed(&mut memory, Frame::Binary(b"\x92\xb2on\x05"))?, Received::Message);
/// assert_eq!(inbox.decode::<(&str, u8)>(&mut memory)?, ("on", 5));
/// inbox.pop(&mut memory);
/// assert!(inbox.is_empty());
/// # Ok::<(), peer_core::connection::ReceiveError>(())
/// ```
///
/// What a hostile remote can do is bounded by the memory: a message that does not fit is dropped and
/// counted, frames without a meaning likewise, and the connection goes on, as it does in PeerJS.
#[derive(Clone, Debug)]
pub struct Inbox {
    serialization: Serialization,
    /// The blocks lie between these, one after the other.
    head: usize,
    tail: usize,
    messages: usize,
    frames: u32,
    dropped: u32,
    assemblies: [Slot; ASSEMBLIES_MAX],
    /// Finished and dropped messages, see [`short`]; 0 where there is none; a ring.
    recent: [u32; RECENT_MAX],
    recent_next: u8,
}

/// One message that is coming in, and its block.
#[derive(Clone, Copy, Debug)]
struct Slot {
    start: usize,
    /// 0 while the slot is free.
    len: usize,
    /// The number of the frame that brought the latest chunk.
    touched: u32,
    assembly: Assembly,
}

impl Slot {
    fn is_used(&self) -> bool {
        self.len > 0
    }
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Received {
    /// A message is whole and can be read.
    Message,
    /// It was one chunk of several.
    Chunk,
    /// It repeats a chunk, or belongs to a message that is finished or was dropped.
    Ignored,
    /// The remote asks to close the connection. Messages before it can still be read.
    Close,
}

/// A message as it came in.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'m> {
    /// Whether it was a string or binary.
    pub kind: FrameKind,
    /// Its bytes. JSON is unescaped in place, so they may be changed.
    pub bytes: &'m mut [u8],
}

impl Inbox {
    /// An empty inbox. With [`Serialization::Binary`] it is all zero.
    pub const fn new(serialization: Serialization) -> Self {
        const VACANT: Slot = Slot {
            start: 0,
            len: 0,
            touched: 0,
            assembly: Assembly::NONE,
        };
        Self {
            serialization,
            head: 0,
            tail: 0,
            messages: 0,
            frames: 0,
            dropped: 0,
            assemblies: [VACANT; ASSEMBLIES_MAX],
            recent: [0; RECENT_MAX],
            recent_next: 0,
        }
    }

    /// Makes it as a new one is, in place: a new one is too large to be moved about on a small stack.
    pub(crate) fn reset(&mut self, serialization: Serialization) {
        self.serialization = serialization;
        (self.head, self.tail) = (0, 0);
        self.messages = 0;
        self.frames = 0;
        self.dropped = 0;
        for slot in &mut self.assemblies {
            slot.len = 0;
        }
        self.recent.fill(0);
        self.recent_next = 0;
    }

    /// How values are read.
    pub const fn serialization(&self) -> Serialization {
        self.serialization
    }

    /// Messages that can be read.
    pub const fn len(&self) -> usize {
        self.messages
    }

    /// Whether there is no message to read.
    pub const fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Messages lost since the beginning: too large, without a meaning, or given up.
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Takes one frame from the channel.
    ///
    /// # Errors
    /// After [`ReceiveError::Full`] the frame was not taken: feed it again once messages were read. After any other
    /// error the message is lost, counted, and the connection goes on.
    pub fn feed(&mut self, memory: &mut [u8], frame: Frame<'_>) -> Result<Received, ReceiveError> {
        self.frames = self.frames.wrapping_add(1);
        match (self.serialization, frame) {
            (Serialization::Raw, _) => self.push(memory, frame),
            (_, Frame::Text("") | Frame::Binary([])) => Err(self.lose(ReceiveError::Malformed)),
            (Serialization::Json, _) => {
                let text = core::str::from_utf8(frame.as_bytes())
                    .map_err(|_| self.lose(ReceiveError::Malformed))?;
                if chunk::is_json_close(text) {
                    return Ok(Received::Close);
                }
                self.push(memory, frame)
            }
            (_, Frame::Text(_)) => Err(self.lose(ReceiveError::Malformed)),
            (Serialization::Postcard, _) => self.push(memory, frame),
            (Serialization::Binary | Serialization::BinaryUtf8, Frame::Binary(bytes)) => {
                match chunk::parse(bytes) {
                    Ok(chunk::Received::Message) => self.push(memory, frame),
                    Ok(chunk::Received::Close) => Ok(Received::Close),
                    Ok(chunk::Received::Chunk(chunk)) => self.chunk(memory, &chunk),
                    Err(_) => Err(self.lose(ReceiveError::Malformed)),
                }
            }
        }
    }

    /// The oldest message as it came in.
    pub fn front<'m>(&self, memory: &'m mut [u8]) -> Option<Message<'m>> {
        let (start, len, kind) = self.front_block(memory)?;
        let kind = if kind == TEXT {
            FrameKind::Text
        } else {
            FrameKind::Binary
        };
        Some(Message {
            kind,
            bytes: memory.get_mut(start + HEADER..start + len)?,
        })
    }

    /// The oldest message as a value, which may borrow from it. The message stays; [`pop`](Self::pop) it when
    /// done. JSON is unescaped in place, so it can be decoded only once.
    ///
    /// [`binarypack::Value`](crate::binarypack::Value) takes any BinaryPack message.
    ///
    /// # Errors
    /// [`ReceiveError::Empty`], [`ReceiveError::Decode`].
    pub fn decode<'m, T: Deserialize<'m>>(&self, memory: &'m mut [u8]) -> Result<T, ReceiveError> {
        let message = self.front(memory).ok_or(ReceiveError::Empty)?;
        self.serialization
            .decode(message.kind, message.bytes)
            .map_err(ReceiveError::Decode)
    }

    /// Drops the oldest message. Nothing happens when there is none.
    pub fn pop(&mut self, memory: &mut [u8]) {
        let Some((start, len, _)) = self.front_block(memory) else {
            return;
        };
        // Only messages still coming in can lie before it; they move up.
        bytes::copy_within(memory, self.head..start, self.head + len);
        for slot in self.slots() {
            if slot.start < start {
                slot.start += len;
            }
        }
        self.head += len;
        self.messages -= 1;
        self.settle();
    }

    /// The first block that is a message: start, length, kind.
    fn front_block(&self, memory: &[u8]) -> Option<(usize, usize, u8)> {
        let mut at = self.head;
        while at < self.tail {
            let header: &[u8; HEADER] = memory.get(at..)?.first_chunk()?;
            let [a, b, c, d, kind] = *header;
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            if kind != ASSEMBLY {
                return Some((at, len, kind));
            }
            at += len.max(HEADER);
        }
        None
    }

    /// Appends a whole message.
    fn push(&mut self, memory: &mut [u8], frame: Frame<'_>) -> Result<Received, ReceiveError> {
        let content = frame.as_bytes();
        let kind = match frame.kind() {
            FrameKind::Binary => BINARY,
            FrameKind::Text => TEXT,
        };
        let len = HEADER.saturating_add(content.len());
        self.make_room(memory, len, 0, None)?;
        bytes::copy(self.append_block(memory, len, kind), content);
        self.messages += 1;
        Ok(Received::Message)
    }

    fn chunk(&mut self, memory: &mut [u8], chunk: &Chunk<'_>) -> Result<Received, ReceiveError> {
        let id = chunk.id.get();
        if self.recent.contains(&short(id)) {
            return Ok(Received::Ignored);
        }
        let known = self
            .assemblies
            .iter()
            .position(|slot| slot.is_used() && slot.assembly.id() == id);
        let index = match known {
            Some(index) => index,
            None => self.begin(memory, chunk)?,
        };
        let slot = *self.slot(index);
        let data = slot.start + HEADER + slot.assembly.bitmap_len();
        let bitmap = memory.get(slot.start + HEADER..data).unwrap_or_default();
        let planned = slot.assembly.plan(chunk, bitmap);
        let (offset, size, unpark) = match planned {
            Ok(Placed::At {
                offset,
                size,
                unpark,
            }) => (offset, size, unpark),
            Ok(Placed::Duplicate) => return Ok(Received::Ignored),
            Err(_) => {
                self.give_up(memory, index);
                return Err(ReceiveError::Malformed);
            }
        };
        if let Err(error) = self.grow(memory, index, size) {
            if error != ReceiveError::Full || known.is_none() {
                self.abandon(memory, index);
            }
            // The frame is fed again after `Full`, so its message is not lost yet.
            if error != ReceiveError::Full {
                self.remember(id);
            }
            return Err(error);
        }

        let frames = self.frames;
        let slot = self.slot(index);
        // The block is there, and `grow` made it long enough.
        let (bitmap, content) = memory
            .get_mut(slot.start + HEADER..slot.start + slot.len)
            .and_then(|block| block.split_at_mut_checked(slot.assembly.bitmap_len()))
            .unwrap_or_default();
        if let Some((len, to)) = unpark {
            bytes::copy_within(content, 0..len, to);
        }
        if let Some(place) = content.get_mut(offset..) {
            bytes::copy(place, chunk.data);
        }
        slot.touched = frames;
        if slot.assembly.accept(chunk, bitmap) {
            self.finish(memory, index)
        } else {
            Ok(Received::Chunk)
        }
    }

    /// Starts a block for the message of this chunk, with room for its bitmap only.
    fn begin(&mut self, memory: &mut [u8], chunk: &Chunk<'_>) -> Result<usize, ReceiveError> {
        let assembly = Assembly::new(chunk);
        let len = HEADER.saturating_add(assembly.bitmap_len());
        let room = self.make_room(memory, len, 0, None).and_then(|()| {
            let free = |slots: &[Slot]| slots.iter().position(|slot| !slot.is_used());
            if free(&self.assemblies).is_none() {
                self.evict_stale(memory, None);
            }
            free(&self.assemblies).ok_or_else(|| self.lose(ReceiveError::NoRoom))
        });
        let index = room.inspect_err(|error| {
            if *error != ReceiveError::Full {
                self.remember(assembly.id());
            }
        })?;
        let start = self.tail;
        self.append_block(memory, len, ASSEMBLY).fill(0);
        *self.slot(index) = Slot {
            start,
            len,
            touched: self.frames,
            assembly,
        };
        Ok(index)
    }

    /// Makes the block of a message so large that it takes `size` bytes of data.
    fn grow(&mut self, memory: &mut [u8], index: usize, size: usize) -> Result<(), ReceiveError> {
        let slot = *self.slot(index);
        let len = (HEADER + slot.assembly.bitmap_len()).saturating_add(size);
        let Some(more) = len.checked_sub(slot.len).filter(|more| *more > 0) else {
            return Ok(());
        };
        self.make_room(memory, more, slot.len, Some(index))?;
        self.move_to_tail(memory, index);
        let slot = self.slot(index);
        slot.len = len;
        write_header(memory, slot.start, len, ASSEMBLY);
        self.tail += more;
        Ok(())
    }

    /// Makes a message of what has come in whole.
    fn finish(&mut self, memory: &mut [u8], index: usize) -> Result<Received, ReceiveError> {
        self.move_to_tail(memory, index);
        let Slot {
            start, assembly, ..
        } = *self.slot(index);
        self.remember(assembly.id());
        let data = start + HEADER + assembly.bitmap_len();
        let len = assembly.complete_len().unwrap_or(0);
        self.slot(index).len = 0;
        match chunk::parse(memory.get(data..data + len).unwrap_or_default()) {
            Ok(chunk::Received::Message) => {
                bytes::copy_within(memory, data..data + len, start + HEADER);
                write_header(memory, start, HEADER + len, BINARY);
                self.tail = start + HEADER + len;
                self.messages += 1;
                Ok(Received::Message)
            }
            outcome => {
                self.tail = start;
                self.settle();
                match outcome {
                    Ok(chunk::Received::Close) => Ok(Received::Close),
                    // Chunks within chunks, which no PeerJS sends.
                    _ => Err(self.lose(ReceiveError::Malformed)),
                }
            }
        }
    }

    /// Provides `more` bytes at the tail, for a block that has `present` of its bytes already.
    fn make_room(
        &mut self,
        memory: &mut [u8],
        more: usize,
        present: usize,
        keep: Option<usize>,
    ) -> Result<(), ReceiveError> {
        if more.saturating_add(present) > memory.len().min(u32::MAX as usize) {
            return Err(self.lose(ReceiveError::TooLarge));
        }
        loop {
            if more <= memory.len() - self.tail {
                return Ok(());
            }
            if more <= memory.len() - (self.tail - self.head) {
                self.compact(memory);
                return Ok(());
            }
            if self.messages > 0 {
                return Err(ReceiveError::Full);
            }
            if !self.evict_stale(memory, keep) {
                return Err(self.lose(ReceiveError::NoRoom));
            }
        }
    }

    /// Moves the blocks to the start.
    fn compact(&mut self, memory: &mut [u8]) {
        let head = self.head;
        bytes::copy_within(memory, head..self.tail, 0);
        for slot in self.slots() {
            slot.start -= head;
        }
        self.head = 0;
        self.tail -= head;
    }

    /// A new block at the tail, where room was made for it: what follows its header.
    fn append_block<'m>(&mut self, memory: &'m mut [u8], len: usize, kind: u8) -> &'m mut [u8] {
        let start = self.tail;
        self.tail += len;
        write_header(memory, start, len, kind);
        memory
            .get_mut(start + HEADER..start + len)
            .unwrap_or_default()
    }

    /// Makes the block of a message the last one. Other messages that are coming in may then come before it.
    fn move_to_tail(&mut self, memory: &mut [u8], index: usize) {
        let Slot { start, len, .. } = *self.slot(index);
        if let Some(blocks) = memory.get_mut(start..self.tail) {
            bytes::rotate_left(blocks, len);
        }
        for slot in self.slots() {
            if slot.start > start {
                slot.start -= len;
            }
        }
        self.slot(index).start = self.tail - len;
    }

    /// Drops a message of which nothing came for long, and says whether there was one.
    fn evict_stale(&mut self, memory: &mut [u8], keep: Option<usize>) -> bool {
        let oldest = self
            .assemblies
            .iter()
            .enumerate()
            .filter(|(index, slot)| slot.is_used() && Some(*index) != keep)
            .map(|(index, slot)| (self.frames.wrapping_sub(slot.touched), index))
            .max_by_key(|(age, _)| *age)
            .filter(|(age, _)| *age > STALE_FRAMES);
        if let Some((_, index)) = oldest {
            self.give_up(memory, index);
        }
        oldest.is_some()
    }

    /// Drops a message that is coming in, and the chunks of it that are still to come.
    fn give_up(&mut self, memory: &mut [u8], index: usize) {
        let id = self.slot(index).assembly.id();
        self.remember(id);
        self.abandon(memory, index);
        let _ = self.lose(ReceiveError::Malformed);
    }

    /// Removes the block of a message that is coming in.
    fn abandon(&mut self, memory: &mut [u8], index: usize) {
        self.move_to_tail(memory, index);
        let slot = self.slot(index);
        slot.len = 0;
        self.tail = slot.start;
        self.settle();
    }

    fn remember(&mut self, id: u64) {
        self.recent[usize::from(self.recent_next) % RECENT_MAX] = short(id);
        self.recent_next = self.recent_next.wrapping_add(1);
    }

    fn lose(&mut self, error: ReceiveError) -> ReceiveError {
        self.dropped = self.dropped.saturating_add(1);
        error
    }

    fn settle(&mut self) {
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
        }
    }

    /// The slot with this index, which is below [`ASSEMBLIES_MAX`].
    fn slot(&mut self, index: usize) -> &mut Slot {
        &mut self.assemblies[index % ASSEMBLIES_MAX]
    }

    fn slots(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.assemblies.iter_mut().filter(|slot| slot.is_used())
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new(Serialization::default())
    }
}

fn write_header(memory: &mut [u8], start: usize, len: usize, kind: u8) {
    // `make_room` keeps lengths within 32 bits.
    let [a, b, c, d] = (len as u32).to_be_bytes();
    if let Some(place) = memory.get_mut(start..) {
        bytes::copy(place, &[a, b, c, d, kind]);
    }
}

/// A chunked message's id in 32 bits, never 0: itself where it fits, as all that PeerJS counts do; of others the
/// low half. A remote whose ids then look alike loses only its own messages.
fn short(id: u64) -> u32 {
    match id as u32 {
        0 => (id >> 32) as u32,
        low => low,
    }
}
