//! One of the two streams of a link session: numbered frames out, numbered frames in.

use crate::time::{Duration, Instant};

use super::{frame::Acknowledgement, outgoing::Outgoing, retransmission::Retransmission};

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) out: Outgoing,
    pub(super) timer: Retransmission,
    /// The number of the frame that is waited for.
    next: u8,
    gap: Gap,
}

/// Whether a frame is missing, and what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// Nothing is known to be missing.
    None,
    /// The next status asks for it.
    Ask,
    /// It was asked for, and has not come yet.
    Asked,
    /// It came when there was no room; it is asked for when there is.
    Refused,
}

/// Where a frame stands among those that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Next,
    /// It came before.
    Repeated,
    /// After a gap.
    Early,
}

impl Stream {
    pub(super) fn new(out: Outgoing, resend: Duration) -> Self {
        Self {
            out,
            timer: Retransmission::new(resend),
            next: 0,
            gap: Gap::None,
        }
    }

    pub(super) fn place(&self, number: u8) -> Place {
        match number.wrapping_sub(self.next) {
            0 => Place::Next,
            ahead if ahead < 128 => Place::Early,
            _ => Place::Repeated,
        }
    }

    /// The frame that was waited for was taken.
    pub(super) fn arrived(&mut self) {
        self.next = self.next.wrapping_add(1);
        self.gap = Gap::None;
    }

    /// The frame that was waited for came, and there was no room for it.
    pub(super) fn refused(&mut self) {
        self.gap = Gap::Refused;
    }

    /// There may be room again. Whether a status is due.
    pub(super) fn has_room(&mut self) -> bool {
        let asks = self.gap == Gap::Refused;
        if asks {
            self.gap = Gap::Ask;
        }
        asks
    }

    /// Something was lost: it is asked for, once. Whether a status is due.
    pub(super) fn lost(&mut self) -> bool {
        let asks = self.gap == Gap::None;
        if asks {
            self.gap = Gap::Ask;
        }
        asks
    }

    /// What the next status says.
    pub(super) fn acknowledgement(&mut self) -> Acknowledgement {
        let again = self.gap == Gap::Ask;
        if again {
            self.gap = Gap::Asked;
        }
        Acknowledgement {
            again,
            next: self.next,
        }
    }

    /// The other end told what it has. Whether it asks for the rest again.
    pub(super) fn acknowledged(
        &mut self,
        now: Instant,
        memory: &mut [u8],
        told: Acknowledgement,
    ) -> bool {
        if self.out.acknowledge(memory, told.next, told.again) {
            let more = self.out.awaits_acknowledgement();
            self.timer.acknowledged(now, told.next, more);
        }
        if told.again {
            self.timer.asked();
        }
        told.again
    }

    /// Writes bytes of the frame that is next.
    pub(super) fn write(&mut self, now: Instant, memory: &mut [u8], out: &mut [u8]) -> usize {
        let (len, frame) = self.out.write(memory, out);
        // One that was acknowledged while it was written again is gone by now.
        if let Some(frame) = frame
            && self.out.awaits_acknowledgement()
        {
            self.timer.written(now, frame.number, frame.again);
        }
        len
    }

    /// Has everything written again if it was not acknowledged in time. Whether it was not.
    pub(super) fn fire(&mut self, now: Instant, memory: &mut [u8]) -> bool {
        let again = self.out.awaits_acknowledgement() && self.timer.fire(now);
        if again {
            self.out.resend(memory);
        }
        again
    }
}
