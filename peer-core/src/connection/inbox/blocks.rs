//! The inbox's memory. Blocks lie one after the other without gaps; freed room is at the end, once
//! the blocks are moved to the start.
//!
//! Only whole messages leave, from the front; messages of which some chunks came may lie before and
//! between them. Where one of these grows, what follows it moves. That costs time, never room:
//! nothing is kept for bytes that have not come.

use super::{
    Coming, Inbox, Lent, MESSAGE_COST, Reading,
    chunks::{Partial, STALE_FRAMES},
};
use crate::{bytes, connection::ReceiveError, serialization::MessageKind};

/// Bytes before each block: its whole length in 32 bits and what it is.
pub(super) const HEADER: usize = 5;
const BINARY: u8 = 0;
const TEXT: u8 = 1;
/// A message of which some chunks came.
const PARTIAL: u8 = 2;

/// There is no room.
pub(super) enum NoRoom {
    /// Reading makes some.
    Unread,
    /// Only dropping something would.
    Held,
}

impl Inbox {
    /// Bytes that are free. Lengths are kept in 32 bits; memory beyond is not used.
    pub(super) fn room(&self, memory: &[u8]) -> usize {
        let limit = memory.len().min(u32::MAX as usize);
        limit.saturating_sub(self.tail - self.head)
    }

    /// Bytes that must be free where nothing can be read, so that something can come.
    pub(super) const fn needed(&self) -> usize {
        if self.coming.is_kept() {
            1
        } else {
            MESSAGE_COST + 1
        }
    }

    /// Whether the last block is open.
    pub(super) const fn is_open(&self) -> bool {
        self.coming.is_kept() || self.unwrapping.is_some()
    }

    /// Bytes of the open block that are a message's.
    pub(super) fn open_len(&self) -> usize {
        if self.is_open() {
            let len = (self.tail - self.open).checked_sub(HEADER + self.framing);
            debug_assert!(len.is_some(), "an open block has its header");
            len.unwrap_or(0)
        } else {
            0
        }
    }

    /// The oldest whole message: start, length, kind.
    pub(super) fn front_block(&self, memory: &[u8]) -> Option<(usize, usize, MessageKind)> {
        if self.messages == 0 {
            return None;
        }
        let mut at = self.head;
        while at < self.tail {
            let header: &[u8; HEADER] = memory.get(at..)?.first_chunk()?;
            let [a, b, c, d, kind] = *header;
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            if kind != PARTIAL {
                return Some((at, len, kind_of(kind)));
            }
            at += len.max(HEADER);
        }
        debug_assert!(false, "as many messages are counted as there are");
        None
    }

    /// Provides `more` bytes at the tail.
    pub(super) fn make_room(
        &mut self,
        memory: &mut [u8],
        more: usize,
        keep: Option<usize>,
    ) -> Result<(), NoRoom> {
        loop {
            if more <= self.room(memory) {
                if more > memory.len() - self.tail {
                    self.compact(memory);
                }
                return Ok(());
            }
            if self.is_readable() {
                return Err(NoRoom::Unread);
            }
            if !self.evict(memory, STALE_FRAMES, keep) {
                return Err(NoRoom::Held);
            }
        }
    }

    /// Appends to the last block, where there is room for it.
    pub(super) fn append(&mut self, memory: &mut [u8], bytes: &[u8]) {
        if bytes.len() > memory.len() - self.tail {
            self.compact(memory);
        }
        let appended = bytes::append(memory, &mut self.tail, bytes);
        debug_assert!(appended.is_some(), "room was made");
    }

    /// Starts a block at the tail, where there is room for its header.
    pub(super) fn append_header(
        &mut self,
        memory: &mut [u8],
        len: usize,
        kind: Option<MessageKind>,
    ) {
        self.append(memory, &[0; HEADER]);
        write_header(memory, self.tail - HEADER, len, kind);
    }

    /// Moves the blocks to the start.
    fn compact(&mut self, memory: &mut [u8]) {
        let head = self.head;
        let moved = bytes::copy_within(memory, head..self.tail, 0);
        debug_assert!(moved.is_some(), "blocks lie within the memory");
        for partial in self.partials() {
            partial.start -= head;
        }
        self.open = self.open.saturating_sub(head);
        self.head = 0;
        self.tail -= head;
    }

    /// Removes `len` bytes of a whole message from `start` on; what lies before moves up.
    pub(super) fn remove(&mut self, memory: &mut [u8], start: usize, len: usize) {
        // The header, where only a piece goes, is written anew.
        let moved = bytes::copy_within(memory, self.head..start, self.head + len);
        debug_assert!(moved.is_some(), "blocks lie within the memory");
        for partial in self.partials() {
            if partial.start < start {
                partial.start += len;
            }
        }
        self.head += len;
    }

    /// Makes a block the last but for the open one. Others may then come before it.
    pub(super) fn move_to_tail(&mut self, memory: &mut [u8], index: usize) {
        let Partial { start, len, .. } = *self.partial(index);
        let end = if self.is_open() { self.open } else { self.tail };
        if let Some(blocks) = memory.get_mut(start..end) {
            let moved = bytes::rotate_left(blocks, len);
            debug_assert!(moved.is_some(), "blocks lie within the memory");
        }
        for partial in self.partials() {
            if partial.start > start {
                partial.start -= len;
            }
        }
        self.partial(index).start = end - len;
    }

    /// Removes the block of a message of which some chunks came.
    pub(super) fn abandon(&mut self, memory: &mut [u8], index: usize) {
        let Partial { start, len, .. } = *self.partial(index);
        *self.partial(index) = Partial::NONE;
        let moved = bytes::copy_within(memory, start + len..self.tail, start);
        debug_assert!(moved.is_some(), "blocks lie within the memory");
        for partial in self.partials() {
            if partial.start > start {
                partial.start -= len;
            }
        }
        if self.is_open() {
            self.open -= len;
        }
        self.tail -= len;
        self.settle();
    }

    /// Makes a whole message of the open block.
    pub(super) fn close_open(&mut self, memory: &mut [u8]) {
        let kind = kind(memory, self.open);
        write_header(memory, self.open, self.tail - self.open, Some(kind));
        self.messages += 1;
        if self.reading == Reading::Pieces {
            self.reading = Reading::Whole;
        }
        self.coming = Coming::Nothing;
    }

    /// Removes the open block, and what of its message is still to come.
    pub(super) fn drop_open(&mut self) {
        if self.unwrapping.is_some() {
            self.remember(self.unwrapping.id());
        }
        if self.is_open() {
            self.tail = self.open;
        }
        if self.coming.is_kept() {
            self.coming = Coming::Discarded;
        }
        self.unwrapping.clear();
        self.framing = 0;
        if self.messages == 0 {
            self.reading = Reading::Whole;
            self.lent = Lent::Nothing;
        }
        self.settle();
    }

    /// Removes the first bytes of the open block's message.
    pub(super) fn drop_open_bytes(&mut self, memory: &mut [u8], len: usize) {
        let start = self.open + HEADER;
        let moved = bytes::copy_within(memory, start + len..self.tail, start);
        debug_assert!(moved.is_some(), "as many bytes are there");
        self.tail = self.tail.saturating_sub(len).max(start);
    }

    /// Drops what has to be, so that `needed` bytes can come in or something can be read.
    ///
    /// Only unread messages may hold back the channel. Where everything is taken by messages that
    /// are not whole, one of them goes: a stale one, else the one in the open block, else the
    /// one of which nothing came for longest. What may be a chunk stays until its head is whole:
    /// until then nobody can tell which message would be lost, and know the rest of it again.
    ///
    /// # Errors
    /// A message was lost.
    pub(super) fn relieve(&mut self, memory: &mut [u8], needed: usize) -> Result<(), ReceiveError> {
        let mut relieved = Ok(());
        while !self.is_readable() && self.room(memory) < needed {
            if self.evict(memory, STALE_FRAMES, None) {
                continue;
            }
            if self.streaming && self.coming != Coming::Chunk && self.open_len() > 0 {
                self.reading = Reading::Pieces;
                continue;
            }
            let mut error = ReceiveError::NoRoom;
            let is_head = self.coming == Coming::ChunkHead;
            if is_head && self.evict(memory, 0, None) {
                // There is room now, or one less that takes it.
            } else if self.is_open() {
                if needed > memory.len().saturating_sub(self.tail - self.open) {
                    error = ReceiveError::TooLarge;
                }
                self.lose_coming(memory, error);
            } else if !self.evict(memory, 0, None) {
                debug_assert!(false, "something takes the memory");
                break;
            }
            relieved = Err(error);
        }
        relieved
    }

    pub(super) fn settle(&mut self) {
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
        }
    }
}

pub(super) fn write_header(memory: &mut [u8], at: usize, len: usize, kind: Option<MessageKind>) {
    let kind = match kind {
        Some(MessageKind::Binary) => BINARY,
        Some(MessageKind::Text) => TEXT,
        None => PARTIAL,
    };
    debug_assert!(
        u32::try_from(len).is_ok(),
        "lengths are kept within 32 bits"
    );
    let [a, b, c, d] = (len as u32).to_be_bytes();
    let written = memory
        .get_mut(at..)
        .and_then(|place| bytes::copy(place, &[a, b, c, d, kind]));
    debug_assert!(written.is_some(), "room was made for the header");
}

/// The kind of the message whose block starts at `at`.
pub(super) fn kind(memory: &[u8], at: usize) -> MessageKind {
    kind_of(memory.get(at + HEADER - 1).copied().unwrap_or(BINARY))
}

const fn kind_of(kind: u8) -> MessageKind {
    if kind == TEXT {
        MessageKind::Text
    } else {
        MessageKind::Binary
    }
}
