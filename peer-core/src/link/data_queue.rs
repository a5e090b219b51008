//! Data frames of a leaf that wait until the gateway's driver takes them.
//!
//! State only; the memory is lent to each call, always the same.

use crate::bytes;

use super::frame::DataFrame;

/// Bytes before each payload in the memory: flags, session, length.
pub(super) const RECORD: usize = 7;

#[derive(Debug, Default)]
pub(super) struct DataQueue {
    used: usize,
}

impl DataQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Appends a frame. `None`: it does not fit now.
    #[must_use]
    pub(super) fn push(&mut self, memory: &mut [u8], frame: &DataFrame<'_>) -> Option<()> {
        let len = u16::try_from(frame.payload.len()).ok()?.to_le_bytes();
        let session = frame.session.to_le_bytes();
        let room = memory.get_mut(self.used..)?;
        self.used += bytes::concat(room, &[&[frame.flags], &session, &len, frame.payload])?;
        Some(())
    }

    /// The oldest frame. Its number is not kept.
    pub(super) fn front<'m>(&self, memory: &'m [u8]) -> Option<DataFrame<'m>> {
        let (head, rest) = memory.get(..self.used)?.split_first_chunk::<RECORD>()?;
        let [flags, a, b, c, d, e, f] = *head;
        Some(DataFrame {
            flags,
            number: 0,
            session: u32::from_le_bytes([a, b, c, d]),
            payload: rest.get(..usize::from(u16::from_le_bytes([e, f])))?,
        })
    }

    /// Drops the oldest frame.
    pub(super) fn pop(&mut self, memory: &mut [u8]) {
        let Some(len) = self.front(memory).map(|frame| RECORD + frame.payload.len()) else {
            debug_assert!(false, "there is a frame to be dropped");
            return;
        };
        let moved = bytes::copy_within(memory, len..self.used, 0);
        debug_assert!(moved.is_some(), "the frames lie in the memory");
        self.used -= len;
    }
}
