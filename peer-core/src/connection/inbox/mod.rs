use core::mem;

use serde::Deserialize;

use super::ReceiveError;
use crate::{
    serialization::{Fragment, MessageKind, Serialization},
    wire::chunk::{self, Chunk},
};

mod blocks;
mod chunks;
mod feed;
mod unwrap;

use blocks::HEADER;
use chunks::Partial;
use feed::Coming;
use unwrap::Unwrapping;

/// Chunked messages that may be coming in at the same time. One more is dropped, unless one of them
/// has gone stale: nothing of it came for 1,024 frames.
pub const ASSEMBLIES_MAX: usize = 8;
/// Bytes that a message takes beside its own, see [`Inbox::free`].
pub const MESSAGE_COST: usize = 8;

/// Finished and dropped chunked messages whose late chunks are recognised.
const RECENT_MAX: usize = 16;
/// A memory shorter than this holds nothing: every message is [`ReceiveError::TooLarge`].
const MEMORY_MIN: usize = 16;

/// Messages that came in on one connection: puts fragments and chunks together and keeps whole
/// messages until they are read.
///
/// Messages come out in the order in which they became whole, which on an ordered channel is the
/// order they were sent in. The state is apart from the memory; lend the same slice to each call.
/// All zero when new.
///
/// ```
/// use peer_core::{
///     connection::{Inbox, Received},
///     serialization::{Fragment, Serialization},
/// };
/// let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), [0; 256]);
/// let whole = Fragment::binary(b"\x92\xb2on\x05");
/// assert_eq!(inbox.feed(&mut memory, whole)?, Received::Message);
/// assert_eq!(inbox.decode::<(&str, u8)>(&mut memory)?, ("on", 5));
/// inbox.pop(&mut memory);
/// assert!(inbox.is_empty());
/// # Ok::<(), peer_core::connection::ReceiveError>(())
/// ```
///
/// # Limits
/// What a hostile remote can do is bounded by the memory: a message that does not fit is dropped
/// and counted, frames without a meaning likewise, and the connection goes on, as it does in
/// PeerJS. Nothing a remote sends can stop the channel: only unread messages push back.
///
/// A message takes five bytes beside its own. One that comes in chunks takes eight more for each
/// chunk until it is whole; memory is taken only for what has come.
///
/// # Streaming
/// A message that is longer than the memory is dropped, unless [`set_streaming`] is on. Then it is
/// read in pieces while it comes in, see [`piece`]. The chunks of PeerJS's messages are unwrapped
/// as they come, so that a chunk of 16,300 bytes passes through a memory of 2 KB. For that a
/// message's chunks must come in order and one message at a time, as on an ordered channel from
/// PeerJS. A message whose chunks do not is dropped, and so is one amid whose chunks another
/// message comes.
///
/// [`set_streaming`]: Self::set_streaming
/// [`piece`]: Self::piece
#[derive(Clone, Debug)]
pub struct Inbox {
    serialization: Serialization,
    streaming: bool,
    reading: Reading,
    coming: Coming,
    recent_next: u8,
    /// The blocks lie between these, one after the other: whole messages, and messages of which
    /// some chunks came. The last one may be open, that is still growing at its end.
    head: usize,
    tail: usize,
    /// Where the open block starts, if there is one.
    open: usize,
    /// Bytes at the end of the open block that are the head or the tail of a chunk, not data.
    framing: usize,
    unwrapping: Unwrapping,
    lent: Lent,
    messages: usize,
    frames: u32,
    dropped: u32,
    partials: [Partial; ASSEMBLIES_MAX],
    /// Finished and dropped messages, see [`short`](chunks::short); 0 where there is none; a ring.
    recent: [u32; RECENT_MAX],
}

/// How the oldest message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Nothing of it was read.
    Whole,
    /// It is in the open block and cannot become whole there, so it can be read in pieces. Nothing
    /// of it was read.
    Pieces,
    /// The first piece was read.
    Begun,
}

/// What [`Inbox::piece`] lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lent {
    Nothing,
    /// So many bytes of a message whose end had not come.
    Part(usize),
    /// All that was left of a message.
    Rest,
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[must_use]
pub enum Received {
    /// A message is whole and can be read.
    Message,
    /// It is a part of a message; more is to come.
    Part,
    /// It is a part of a message that does not fit whole, and can be read with [`Inbox::piece`].
    /// Only where [streaming](Inbox::set_streaming) is on.
    Piece,
    /// It repeats a chunk, or belongs to a message that is finished or was dropped.
    Ignored,
    /// The remote asks to close the connection. Messages before it can still be read.
    Close,
    /// What is unread takes the memory. Read, then feed the bytes from `taken` on again, with
    /// `first` only if `taken` is 0: then nothing has changed.
    Blocked {
        /// Bytes of the fragment that were taken.
        taken: usize,
    },
}

/// A message as it came in, or a piece of one.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'m> {
    /// Whether the message begins with these bytes. Where the piece before was not the
    /// [`last`](Self::last) of its message, the rest of that message was lost.
    pub first: bool,
    /// Whether the message ends with these bytes. A whole message is `first` and `last`.
    pub last: bool,
    /// Whether it was a string or binary. A string that is whole is UTF-8. One in pieces may be cut
    /// within a character and is not checked.
    pub kind: MessageKind,
    /// Its bytes. JSON is unescaped in place, so they may be changed.
    pub bytes: &'m mut [u8],
}

impl<'m> From<Message<'m>> for Fragment<'m> {
    fn from(message: Message<'m>) -> Self {
        let Message {
            first,
            last,
            kind,
            bytes,
        } = message;
        Self {
            first,
            last,
            kind,
            bytes,
        }
    }
}

/// What a whole frame is.
enum Meaning<'a> {
    Message,
    Close,
    Chunk(Chunk<'a>),
}

impl Inbox {
    /// Returns an empty inbox. With [`Serialization::Binary`] it is all zero.
    pub const fn new(serialization: Serialization) -> Self {
        Self {
            serialization,
            streaming: false,
            reading: Reading::Whole,
            coming: Coming::Nothing,
            recent_next: 0,
            head: 0,
            tail: 0,
            open: 0,
            framing: 0,
            unwrapping: Unwrapping::NONE,
            lent: Lent::Nothing,
            messages: 0,
            frames: 0,
            dropped: 0,
            partials: [Partial::NONE; ASSEMBLIES_MAX],
            recent: [0; RECENT_MAX],
        }
    }

    /// Makes it as a new one is, in place: a new one is too large to be moved about on a small
    /// stack.
    pub(crate) fn reset(&mut self, serialization: Serialization) {
        self.serialization = serialization;
        self.streaming = false;
        self.reading = Reading::Whole;
        self.coming = Coming::Nothing;
        (self.head, self.tail, self.open, self.framing) = (0, 0, 0, 0);
        self.unwrapping = Unwrapping::NONE;
        self.lent = Lent::Nothing;
        self.messages = 0;
        self.frames = 0;
        self.dropped = 0;
        for partial in &mut self.partials {
            *partial = Partial::NONE;
        }
        self.recent.fill(0);
        self.recent_next = 0;
    }

    /// Returns how values are read.
    pub const fn serialization(&self) -> Serialization {
        self.serialization
    }

    /// Sets whether messages that do not fit whole can be read in pieces. Off at first.
    pub fn set_streaming(&mut self, on: bool) {
        self.streaming = on;
    }

    /// Returns how many messages came whole and are not read. One that is being read in pieces
    /// counts once its end came.
    pub const fn len(&self) -> usize {
        self.messages
    }

    /// Returns whether no message is whole and unread.
    pub const fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Returns whether [`piece`](Self::piece) has something.
    pub fn is_readable(&self) -> bool {
        self.messages > 0 || (self.reading != Reading::Whole && self.open_len() > 0)
    }

    /// Returns how many messages were lost since the beginning: too large, without a meaning, or
    /// given up.
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Returns how many bytes will certainly be taken now. Any fragments are taken whole, whatever
    /// is in them, as long as the sum of their bytes, and [`MESSAGE_COST`] for each that is a
    /// [first](crate::serialization::Fragment::first) one, is not above this.
    ///
    /// The promise holds until it is used up: other calls only add to it. It is at least
    /// `MESSAGE_COST` and one byte where nothing is unread, or one byte where a message has begun;
    /// so a channel whose application reads goes on.
    pub fn free(&self, memory: &[u8]) -> usize {
        if memory.len() < MEMORY_MIN {
            // Everything is dropped.
            return usize::MAX;
        }
        self.room(memory)
    }

    /// Returns the oldest message as it came in. `None` also for the rest of a message of which a
    /// piece was read.
    pub fn front<'m>(&self, memory: &'m mut [u8]) -> Option<Message<'m>> {
        if self.reading == Reading::Begun || matches!(self.lent, Lent::Part(_)) {
            return None;
        }
        let (start, len, kind) = self.front_block(memory)?;
        Some(Message {
            first: true,
            last: true,
            kind,
            bytes: memory.get_mut(start + HEADER..start + len)?,
        })
    }

    /// Returns the oldest message as a value, which may borrow from it. The message stays;
    /// [`pop`](Self::pop) it when done. JSON is unescaped in place, so it can be decoded only once.
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

    /// Drops the oldest message. Of one that is read in pieces it drops the rest, also what is
    /// still to come. Nothing happens when there is none.
    pub fn pop(&mut self, memory: &mut [u8]) {
        if let Some((start, len, _)) = self.front_block(memory) {
            self.remove(memory, start, len);
            self.messages -= 1;
            self.settle();
        } else if self.reading != Reading::Whole {
            self.drop_open();
        } else {
            return;
        }
        self.reading = Reading::Whole;
        self.lent = Lent::Nothing;
        // What is lost here is counted.
        self.relieve(memory, self.needed()).ok();
    }

    /// Returns the next bytes of the oldest message: all of a message that came whole, otherwise
    /// what is there. [`pop_piece`](Self::pop_piece) it when done.
    ///
    /// ```
    /// # use peer_core::connection::{Inbox, Received};
    /// # use peer_core::serialization::{Fragment, MessageKind, Serialization};
    /// let (mut inbox, mut memory) = (Inbox::new(Serialization::Raw), [0; 64]);
    /// inbox.set_streaming(true);
    /// // A message of 200 bytes.
    /// let (mut first, mut rest, mut read) = (true, &[7; 200][..], 0);
    /// while !rest.is_empty() {
    ///     let (kind, last) = (MessageKind::Binary, true);
    ///     let fragment = Fragment { first, last, kind, bytes: rest };
    ///     let taken = match inbox.feed(&mut memory, fragment)? {
    ///         Received::Blocked { taken } => taken,
    ///         _ => rest.len(),
    ///     };
    ///     (first, rest) = (false, &rest[taken..]);
    ///     while let Some(piece) = inbox.piece(&mut memory) {
    ///         read += piece.bytes.len();
    ///         inbox.pop_piece(&mut memory);
    ///     }
    /// }
    /// assert_eq!(read, 200);
    /// # Ok::<(), peer_core::connection::ReceiveError>(())
    /// ```
    pub fn piece<'m>(&mut self, memory: &'m mut [u8]) -> Option<Message<'m>> {
        let first = self.reading != Reading::Begun;
        let (start, len, kind, last) = match self.front_block(memory) {
            Some((start, len, kind)) => (start, len - HEADER, kind, true),
            None if self.is_readable() => {
                let kind = blocks::kind(memory, self.open);
                (self.open, self.open_len(), kind, false)
            }
            None => return None,
        };
        self.lent = if last { Lent::Rest } else { Lent::Part(len) };
        let bytes = memory.get_mut(start + HEADER..start + HEADER + len)?;
        Some(Message {
            first,
            last,
            kind,
            bytes,
        })
    }

    /// Drops what [`piece`](Self::piece) gave last. Nothing happens without it.
    pub fn pop_piece(&mut self, memory: &mut [u8]) {
        match mem::replace(&mut self.lent, Lent::Nothing) {
            Lent::Nothing => {}
            Lent::Rest => self.pop(memory),
            Lent::Part(len) => {
                self.reading = Reading::Begun;
                // The message may have grown, or come to its end, meanwhile.
                if let Some((start, whole, kind)) = self.front_block(memory) {
                    self.remove(memory, start, len);
                    blocks::write_header(memory, start + len, whole - len, Some(kind));
                } else {
                    self.drop_open_bytes(memory, len);
                }
                self.relieve(memory, self.needed()).ok();
            }
        }
    }

    fn lose(&mut self, error: ReceiveError) -> ReceiveError {
        self.dropped = self.dropped.saturating_add(1);
        error
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new(Serialization::default())
    }
}

/// What a whole frame means on a connection; `None` if nothing.
fn meaning(serialization: Serialization, kind: MessageKind, content: &[u8]) -> Option<Meaning<'_>> {
    match (serialization, kind) {
        (Serialization::Raw, MessageKind::Binary) => Some(Meaning::Message),
        (Serialization::Raw, MessageKind::Text) => {
            core::str::from_utf8(content).ok()?;
            Some(Meaning::Message)
        }
        _ if content.is_empty() => None,
        (Serialization::Json, _) => {
            let text = core::str::from_utf8(content).ok()?;
            Some(if chunk::is_json_close(text) {
                Meaning::Close
            } else {
                Meaning::Message
            })
        }
        (_, MessageKind::Text) => None,
        (Serialization::Postcard, _) => Some(Meaning::Message),
        (Serialization::Binary | Serialization::BinaryUtf8, _) => match chunk::parse(content) {
            Ok(chunk::BinaryMessage::Whole) => Some(Meaning::Message),
            Ok(chunk::BinaryMessage::Close) => Some(Meaning::Close),
            Ok(chunk::BinaryMessage::Chunk(chunk)) => Some(Meaning::Chunk(chunk)),
            Err(_) => None,
        },
    }
}
