//! Messages of the control stream that came, put together, kept until they are taken.
//!
//! State only; the memory is lent to each call, always the same.

use crate::bytes;

use super::{
    MESSAGE_COST,
    frame::{FIRST, LAST},
};

/// Bytes before each message in the memory: its length. What [`MESSAGE_COST`] pays for.
const PREFIX: usize = MESSAGE_COST;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    used: usize,
    /// Where the message that is not yet complete begins.
    open: Option<usize>,
    /// Complete messages.
    messages: u32,
    taken_cost: u32,
    /// The limit that the other end was last told.
    told: u32,
}

/// Its sender broke the rules: a frame beyond the credit, out of place in its message, or with
/// nothing in it.
#[derive(Debug)]
pub(super) struct Violation;

/// The first credit of memory of this length.
pub(super) fn window(memory: usize) -> u32 {
    const MOST: u32 = u32::MAX >> 1;
    u32::try_from(memory).unwrap_or(MOST).min(MOST)
}

impl Inbox {
    /// One whose first limit was told in the handshake.
    pub(super) fn new(memory: &[u8]) -> Self {
        Self {
            told: window(memory.len()),
            ..Self::default()
        }
    }

    /// Takes the payload of the next frame.
    pub(super) fn accept(
        &mut self,
        memory: &mut [u8],
        flags: u8,
        payload: &[u8],
    ) -> Result<(), Violation> {
        let first = flags & FIRST != 0;
        if first != self.open.is_none() || (flags == 0 && payload.is_empty()) {
            return Err(Violation);
        }
        let start = self.open.unwrap_or(self.used);
        let at = self.used + if first { PREFIX } else { 0 };
        let end = at + payload.len();
        let place = memory.get_mut(at..end).ok_or(Violation)?;
        bytes::copy(place, payload).ok_or(Violation)?;
        self.used = end;
        self.open = Some(start);
        if flags & LAST != 0 {
            self.open = None;
            // No longer than the memory, whose length is a `u32` where it is a window.
            let len = u32::try_from(end - start - PREFIX).map_err(|_| Violation)?;
            let prefix = memory.get_mut(start..).ok_or(Violation)?;
            bytes::copy(prefix, &len.to_le_bytes()).ok_or(Violation)?;
            self.messages += 1;
        }
        Ok(())
    }

    /// Whether a message is complete.
    pub(super) fn has_message(&self) -> bool {
        self.messages > 0
    }

    /// The oldest message.
    pub(super) fn front<'m>(&self, memory: &'m mut [u8]) -> Option<&'m mut [u8]> {
        let len = self.front_len(memory)?;
        memory.get_mut(PREFIX..PREFIX + len)
    }

    fn front_len(&self, memory: &[u8]) -> Option<usize> {
        if self.messages == 0 {
            return None;
        }
        let prefix = memory.first_chunk::<PREFIX>()?;
        usize::try_from(u32::from_le_bytes(*prefix)).ok()
    }

    /// Drops the oldest message: its room is credit again.
    pub(super) fn pop(&mut self, memory: &mut [u8]) {
        let Some(len) = self.front_len(memory) else {
            debug_assert!(false, "there is a message to be dropped");
            return;
        };
        let bytes = PREFIX + len;
        let moved = bytes::copy_within(memory, bytes..self.used, 0);
        debug_assert!(moved.is_some(), "the messages lie in the memory");
        self.used -= bytes;
        self.open = self.open.map(|start| start - bytes);
        self.messages -= 1;
        // At most the window, which fits.
        self.taken_cost = self.taken_cost.wrapping_add(bytes as u32);
    }

    fn limit(&self, memory: &[u8]) -> u32 {
        self.taken_cost.wrapping_add(window(memory.len()))
    }

    /// The limit, to be told.
    pub(super) fn tell_limit(&mut self, memory: &[u8]) -> u32 {
        self.told = self.limit(memory);
        self.told
    }

    /// Whether so much room is free again that the other end should hear of it: a quarter of the
    /// window.
    pub(super) fn has_news(&self, memory: &[u8]) -> bool {
        self.limit(memory).wrapping_sub(self.told) >= (window(memory.len()) / 4).max(1)
    }
}
