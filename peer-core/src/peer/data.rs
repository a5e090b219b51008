//! The data plane of a peer that owns outboxes and inboxes: frames in, frames out.

use crate::{
    connection::{ReceiveError, Received},
    serialization::{Fragment, Frame},
    storage::Handle,
};

use super::{
    ConnectionError, ConnectionHandle, FailureReason, InputError, Output, Peer, RtcCommand,
    slot::{Flush, Phase, Slot, pending},
};

impl Peer<'_> {
    /// One message from the channel of a connection that is not over.
    pub(super) fn message(
        &mut self,
        handle: ConnectionHandle,
        frame: Frame<'_>,
    ) -> Result<(), InputError> {
        if self.memory.inbox.each() == 0 {
            return Ok(());
        }
        let Some(slot) = self.table.get_mut(handle.0) else {
            return Err(InputError::Stale);
        };
        let memory = self.memory.inbox.of_mut(handle.index());
        slot.drop_read(memory);
        match slot.inbox.feed(memory, Fragment::whole(frame)) {
            Ok(Received::Blocked { .. }) => return Err(InputError::InboxFull),
            Ok(received) => {
                slot.open();
                match received {
                    Received::Message => slot.events |= pending::DATA,
                    Received::Close => slot.end(FailureReason::RemoteClosed),
                    _ => {}
                }
                return Ok(());
            }
            Err(ReceiveError::TooLarge | ReceiveError::NoRoom) => {
                slot.report(ConnectionError::MessageTooBig);
            }
            Err(_) => {}
        }
        self.stats.malformed_messages = self.stats.malformed_messages.wrapping_add(1);
        Err(InputError::Malformed)
    }

    /// What the channel still holds.
    pub(super) fn buffered(&mut self, handle: ConnectionHandle, bytes: u32) {
        let deadline = self.now + self.config.flush_timeout;
        if let Some(slot) = self.table.get_mut(handle.0) {
            if slot.flush == Flush::Draining && bytes < slot.buffered {
                slot.deadline = Some(deadline);
            }
            slot.buffered = bytes;
        }
    }

    /// Takes flush-closes a step further where that is possible.
    pub(super) fn advance_flushes(&mut self) {
        for (handle, slot) in self.table.iter_mut() {
            if slot.flush == Flush::Draining && slot.phase == Phase::Open {
                slot.advance_flush(self.memory.outbox.of_mut(handle.index()));
            }
        }
    }

    /// The next connection with a frame its channel can take, in turn.
    pub(super) fn next_to_send(&mut self) -> Option<Handle> {
        let (mut before, mut after) = (None, None);
        for (handle, slot) in self.table.iter_mut() {
            if slot.phase != Phase::Open {
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

    /// Hands out the next frame of a connection that has one.
    pub(super) fn send(&mut self, handle: Handle) -> Output<'_> {
        self.turn = handle.index() + 1;
        let again = Output::Timeout(Some(self.now));
        let Some(slot) = self.table.get_mut(handle) else {
            return again;
        };
        let memory = self.memory.outbox.of_mut(handle.index());
        let piece = slot
            .outbox
            .poll_piece(memory, slot.buffered, usize::MAX)
            .and_then(|whole| whole.as_frame());
        let Some(frame) = piece else {
            return again;
        };
        let len = u32::try_from(frame.as_bytes().len()).unwrap_or(u32::MAX);
        slot.buffered = slot.buffered.saturating_add(len);
        if core::mem::take(&mut slot.wants_room) {
            slot.events |= pending::WRITABLE;
        }
        Output::Rtc(ConnectionHandle(handle), RtcCommand::Send(frame))
    }
}

impl Slot {
    /// Drops the message that was handed out by the last read.
    pub(super) fn drop_read(&mut self, memory: &mut [u8]) {
        if core::mem::take(&mut self.read) {
            self.inbox.pop(memory);
        }
    }

    /// Once everything before it is through, sends the close message; closes where there is none.
    fn advance_flush(&mut self, outbox: &mut [u8]) {
        self.outbox.release(outbox);
        if !self.outbox.is_empty() || self.buffered > 0 {
            return;
        }
        match self.outbox.close(outbox) {
            Ok(()) => self.flush = Flush::Told,
            // No such message in this serialization, or an outbox too small for it.
            Err(_) => self.end(FailureReason::LocalClosed),
        }
    }
}
