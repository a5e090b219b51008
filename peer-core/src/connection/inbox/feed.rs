//! How fragments come in.

use super::{
    Inbox, Lent, MEMORY_MIN, Meaning, Reading, Received,
    blocks::{self, HEADER, NoRoom},
    chunks::Part,
    meaning, unwrap,
};
use crate::{
    connection::ReceiveError,
    serialization::{Fragment, MessageKind},
};

/// What the next bytes of the frame that is coming in are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coming {
    /// No frame has begun.
    Nothing,
    /// They go to the open block as they are.
    Plain,
    /// They may be the head of a chunk: of which message, and whether it is unwrapped as it comes,
    /// is known once the head is whole.
    ChunkHead,
    /// They go to the open block as they are: a chunk that is not unwrapped. So it is put together
    /// with others once it is whole, and never read in pieces.
    Chunk,
    /// Data of a chunk that is unwrapped.
    ChunkData,
    /// What follows the data of a chunk that is unwrapped.
    ChunkTail,
    /// They are dropped.
    Discarded,
}

impl Coming {
    /// Whether a frame has begun that goes to the open block.
    pub(super) const fn is_kept(self) -> bool {
        !matches!(self, Self::Nothing | Self::Discarded)
    }
}

impl Inbox {
    /// Takes one fragment from the channel, as far as there is room. A message in one fragment is
    /// taken whole or not at all, unless it can only be read in pieces.
    ///
    /// # Errors
    /// The message is lost and counted, and the fragment was taken; what follows of the message is
    /// [`Received::Ignored`]. The connection goes on. Where a message becomes whole in the call by
    /// which another is lost, only [`dropped`](Self::dropped) tells of the loss.
    pub fn feed(
        &mut self,
        memory: &mut [u8],
        fragment: Fragment<'_>,
    ) -> Result<Received, ReceiveError> {
        let mut lost = Ok(());
        if fragment.first {
            if self.coming.is_kept() {
                // The driver lost the rest of a message.
                self.drop_open();
                lost = Err(self.lose(ReceiveError::Malformed));
            }
            self.coming = Coming::Nothing;
            match self.begin(memory, &fragment) {
                Ok(Received::Part) => {}
                // A frame that is fed again must not age the messages that are coming in.
                Ok(blocked @ Received::Blocked { .. }) => return Ok(blocked),
                outcome => return self.conclude(memory, outcome, lost),
            }
            self.frames = self.frames.wrapping_add(1);
        }
        self.advance(memory, &fragment, lost)
    }

    /// Makes ready for a frame, or says at once what becomes of it.
    fn begin(
        &mut self,
        memory: &mut [u8],
        fragment: &Fragment<'_>,
    ) -> Result<Received, ReceiveError> {
        let (kind, bytes) = (fragment.kind, fragment.bytes);
        let error = if memory.len() < MEMORY_MIN {
            Some(ReceiveError::TooLarge)
        } else if kind == MessageKind::Text && self.serialization.is_binary() {
            Some(ReceiveError::Malformed)
        } else {
            None
        };
        if let Some(error) = error {
            if !fragment.last {
                self.coming = Coming::Discarded;
            }
            return Err(self.lose(error));
        }
        // Of a frame in one fragment everything is known at once, unless it is unwrapped.
        let looks = self.streaming || !fragment.last;
        let has_head = self.serialization.is_chunked()
            && (self.unwrapping.is_some() || (looks && unwrap::may_be_chunk(bytes)));
        let header = if self.is_open() { 0 } else { HEADER };
        let mut room = header + bytes.len().min(1);
        let mut id = None;
        if fragment.last && !has_head {
            // In one fragment: what needs no room is told at once, and the rest is taken whole.
            match meaning(self.serialization, kind, bytes) {
                Some(Meaning::Message) => {}
                Some(Meaning::Close) => return Ok(Received::Close),
                Some(Meaning::Chunk(chunk)) if self.is_recent(chunk.id.get()) => {
                    return Ok(Received::Ignored);
                }
                Some(Meaning::Chunk(chunk)) => id = Some(chunk.id.get()),
                None if unwrap::chunk_id(bytes).is_some_and(|id| self.is_recent(id)) => {
                    return Ok(Received::Ignored);
                }
                None => return Err(self.lose(ReceiveError::Malformed)),
            }
            let whole = header.saturating_add(bytes.len());
            if whole <= memory.len() || !self.streaming || id.is_some() {
                room = whole;
            }
        }
        let known = id.and_then(|id| self.known(id));
        match self.make_room(memory, room, known) {
            Ok(()) => {}
            Err(NoRoom::Unread) if room <= memory.len() => {
                return Ok(Received::Blocked { taken: 0 });
            }
            // It is read in pieces.
            Err(NoRoom::Held) if self.streaming && id.is_none() => {}
            Err(_) => {
                let error = if room > memory.len() {
                    ReceiveError::TooLarge
                } else {
                    ReceiveError::NoRoom
                };
                return Err(self.give_up(memory, id, known, error));
            }
        }
        if !self.is_open() {
            self.open = self.tail;
            self.append_header(memory, HEADER, Some(kind));
        }
        self.framing = 0;
        self.coming = if has_head {
            Coming::ChunkHead
        } else {
            Coming::Plain
        };
        Ok(Received::Part)
    }

    /// Takes the bytes of a frame that has begun.
    fn advance(
        &mut self,
        memory: &mut [u8],
        fragment: &Fragment<'_>,
        mut lost: Result<(), ReceiveError>,
    ) -> Result<Received, ReceiveError> {
        let (bytes, mut taken) = (fragment.bytes, 0);
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty())
            && self.coming.is_kept()
        {
            if self.room(memory) == 0 {
                lost = self.relieve(memory, 1).and(lost);
                if self.room(memory) == 0 && self.coming.is_kept() {
                    return Ok(Received::Blocked { taken });
                }
                continue;
            }
            let limit = self.unwrap_limit().min(self.room(memory));
            let now = rest.get(..limit).unwrap_or(rest);
            self.append(memory, now);
            taken += now.len();
            if !matches!(self.coming, Coming::Plain | Coming::Chunk) {
                let (back, unwrapped) = self.unwrap(memory, now.len());
                taken -= back;
                lost = unwrapped.and(lost);
            }
        }
        let ended = if fragment.last {
            self.end(memory)
        } else if self.coming.is_kept() {
            Ok(Received::Part)
        } else {
            Ok(Received::Ignored)
        };
        self.conclude(memory, ended, lost)
    }

    /// Tells what became of a fragment, and keeps the channel going.
    fn conclude(
        &mut self,
        memory: &mut [u8],
        outcome: Result<Received, ReceiveError>,
        mut lost: Result<(), ReceiveError>,
    ) -> Result<Received, ReceiveError> {
        if memory.len() >= MEMORY_MIN {
            let needed = self.needed();
            lost = lost.and(self.relieve(memory, needed));
        }
        match outcome {
            Ok(Received::Part | Received::Ignored) => {
                lost?;
                if self.reading != Reading::Whole && self.open_len() > 0 {
                    return Ok(Received::Piece);
                }
                outcome
            }
            _ => outcome,
        }
    }

    /// Ends the frame that is coming in.
    fn end(&mut self, memory: &mut [u8]) -> Result<Received, ReceiveError> {
        match self.coming {
            Coming::Nothing => Ok(Received::Ignored),
            Coming::Discarded => {
                self.coming = Coming::Nothing;
                Ok(Received::Ignored)
            }
            Coming::Plain | Coming::Chunk => self.end_plain(memory),
            Coming::ChunkHead => {
                // Too short for a chunk.
                let lost = self.not_unwrapped(memory);
                let ended = self.end_plain(memory);
                if matches!(ended, Ok(Received::Ignored)) {
                    lost?;
                }
                ended
            }
            Coming::ChunkData | Coming::ChunkTail => self.end_chunk(memory),
        }
    }

    /// The frame that is the open block is whole.
    fn end_plain(&mut self, memory: &mut [u8]) -> Result<Received, ReceiveError> {
        if self.is_taken() {
            self.close_open(memory);
            return Ok(Received::Message);
        }
        let kind = blocks::kind(memory, self.open);
        let content = memory.get(self.open + HEADER..self.tail);
        debug_assert!(content.is_some(), "the open block is in the memory");
        let content = content.unwrap_or_default();
        let outcome = match meaning(self.serialization, kind, content) {
            Some(Meaning::Message) => {
                self.close_open(memory);
                return Ok(Received::Message);
            }
            Some(Meaning::Chunk(chunk)) => {
                let part = Part::new(&chunk);
                let data = chunk
                    .data
                    .as_ptr()
                    .addr()
                    .wrapping_sub(content.as_ptr().addr());
                let outcome = self.chunk_of_open(memory, &part, data);
                self.coming = Coming::Nothing;
                return outcome;
            }
            Some(Meaning::Close) => Ok(Received::Close),
            None => Err(self.lose(ReceiveError::Malformed)),
        };
        self.drop_open();
        self.coming = Coming::Nothing;
        outcome
    }

    /// Whether a piece was taken of the open message.
    pub(super) fn is_taken(&self) -> bool {
        self.messages == 0 && (self.reading == Reading::Begun || self.lent != Lent::Nothing)
    }
}
