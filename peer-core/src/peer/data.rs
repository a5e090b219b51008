//! The data plane of a peer that owns outboxes and inboxes: fragments in, fragments out.

use crate::{
    connection::{ReceiveError, Received},
    serialization::Fragment,
    storage::Handle,
};

use super::{
    ConnectionError, ConnectionHandle, InputError, Output, Peer, RtcCommand, broken, gone,
    slot::{Flush, Read, Slot, State, pending},
};

impl Peer<'_> {
    /// One message from the channel of a connection that is not over, or a part of one.
    pub(super) fn fragment(
        &mut self,
        handle: ConnectionHandle,
        fragment: Fragment<'_>,
    ) -> Result<(), InputError> {
        let Some(slot) = self.table.get_mut(handle.0) else {
            return Err(gone());
        };
        // What comes from the channel tells that it is open.
        slot.open();
        if self.memory.inbox.each() == 0 {
            return Ok(());
        }
        let memory = self.memory.inbox.of_mut(handle.index());
        let mut lost = slot.drop_read(memory);
        let before = slot.inbox.dropped();
        let fed = slot.inbox.feed(memory, fragment);
        if fed.is_ok() {
            lost = lost.wrapping_add(slot.tell_losses(before));
        }
        self.stats.malformed_messages = self.stats.malformed_messages.wrapping_add(lost);
        match fed {
            Ok(Received::Blocked { taken }) => {
                let readable = slot.inbox.is_readable();
                debug_assert!(readable, "full of nothing that can be read");
                if readable && slot.inbox.is_empty() {
                    // A message that came in parts turned out not to fit: its pieces can be read.
                    slot.events |= pending::DATA;
                    self.dirty.set();
                }
                Err(InputError::InboxFull { taken })
            }
            Ok(Received::Message | Received::Piece) => {
                slot.events |= pending::DATA;
                Ok(())
            }
            Ok(Received::Close) => {
                slot.end(ConnectionError::RemoteClosed);
                Ok(())
            }
            Ok(Received::Part | Received::Ignored) => Ok(()),
            Err(ReceiveError::TooLarge | ReceiveError::NoRoom) => {
                self.too_big(handle);
                Ok(())
            }
            Err(_) => {
                self.count_malformed_message();
                Err(InputError::Malformed)
            }
        }
    }

    /// A message came that nobody has the memory for. It is lost, and the application hears of it.
    pub(super) fn too_big(&mut self, handle: ConnectionHandle) {
        match self.table.get_mut(handle.0) {
            Some(slot) => {
                slot.open();
                slot.report(ConnectionError::MessageTooBig);
            }
            None => debug_assert!(false, "the connection was there"),
        }
        self.count_malformed_message();
    }

    fn count_malformed_message(&mut self) {
        self.stats.malformed_messages = self.stats.malformed_messages.wrapping_add(1);
    }

    /// What the channel still holds.
    pub(super) fn buffered(&mut self, handle: ConnectionHandle, bytes: u32) {
        let later = self.now + self.config.flush_timeout;
        if let Some(slot) = self.table.get_mut(handle.0) {
            if let State::Open(Flush::Draining(deadline)) = &mut slot.state
                && bytes < slot.buffered
            {
                *deadline = later;
            }
            slot.buffered = bytes;
        }
    }

    /// Takes flush-closes a step further where that is possible.
    pub(super) fn advance_flushes(&mut self) {
        for (handle, slot) in self.table.iter_mut() {
            if let State::Open(Flush::Draining(deadline)) = slot.state {
                slot.advance_flush(deadline, self.memory.outbox.of_mut(handle.index()));
            }
        }
    }

    /// The next connection with data that its channel can take, in turn.
    pub(super) fn next_to_send(&mut self) -> Option<Handle> {
        let (mut before, mut after) = (None, None);
        for (handle, slot) in self.table.iter_mut() {
            if !slot.is_open() || slot.credit == 0 {
                continue;
            }
            let memory = self.memory.outbox.of_mut(handle.index());
            if slot.outbox.is_ready(memory, slot.buffered) {
                let first = if handle.index() < self.turn {
                    &mut before
                } else {
                    &mut after
                };
                first.get_or_insert(handle);
            }
        }
        after.or(before)
    }

    /// Hands out the next piece, of at most `room` bytes, of a connection that has one.
    pub(super) fn send(&mut self, handle: Handle, room: usize) -> Output<'_> {
        self.turn = handle.index() + 1;
        let Some(slot) = self.table.get_mut(handle) else {
            return broken("the slot was there");
        };
        let memory = self.memory.outbox.of_mut(handle.index());
        let most = room.min(usize::try_from(slot.credit).unwrap_or(usize::MAX));
        let Some(piece) = slot.outbox.poll_piece(memory, slot.buffered, most) else {
            return broken("a piece was ready");
        };
        let len = u32::try_from(piece.bytes.len()).unwrap_or(u32::MAX);
        slot.buffered = slot.buffered.saturating_add(len);
        if slot.credit != u32::MAX {
            slot.credit = slot.credit.saturating_sub(len);
        }
        if piece.last && core::mem::take(&mut slot.wants_room) {
            slot.events |= pending::WRITABLE;
        }
        Output::Rtc(ConnectionHandle(handle), RtcCommand::Send(piece))
    }
}

impl Slot {
    /// Drops what was handed out by the last read. Returns how many messages the inbox lost by it.
    #[must_use]
    pub(super) fn drop_read(&mut self, memory: &mut [u8]) -> u32 {
        let before = self.inbox.dropped();
        match core::mem::replace(&mut self.read, Read::Nothing) {
            Read::Nothing => {}
            Read::Message => self.inbox.pop(memory),
            Read::Piece | Read::LastPiece => self.inbox.pop_piece(memory),
        }
        self.tell_losses(before)
    }

    /// Tells the application of messages that the inbox had to give up although what it was given
    /// was taken. `before`: how many it had lost then. Returns how many it lost since.
    fn tell_losses(&mut self, before: u32) -> u32 {
        let lost = self.inbox.dropped().wrapping_sub(before);
        if lost > 0 && self.is_open() {
            self.report(ConnectionError::MessageTooBig);
        }
        lost
    }

    /// Once everything before it is through, sends the close message; closes where there is none.
    fn advance_flush(&mut self, deadline: crate::time::Instant, outbox: &mut [u8]) {
        self.outbox.release(outbox);
        if !self.outbox.is_empty() || self.buffered > 0 {
            return;
        }
        match self.outbox.close(outbox) {
            Ok(()) => self.state = State::Open(Flush::Told(deadline)),
            // No such message in this serialization, or an outbox too small for it.
            Err(_) => self.end(ConnectionError::LocalClosed),
        }
    }
}
