//! Bytes on their way from the link to the stream.

use core::time::Duration;

use peer_core::link::Gateway as LinkEnd;
use peer_core::time::Instant;

/// Bytes moved between the link and the stream at once.
pub(in crate::gateway) const PIECE: usize = 4096;

pub(super) struct Output {
    piece: Vec<u8>,
    from: usize,
    to: usize,
    /// When the stream took something last, or had nothing to take.
    moved: Instant,
    pub(super) bytes_sent: u64,
}

impl Output {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            piece: vec![0; PIECE],
            from: 0,
            to: 0,
            moved: now,
            bytes_sent: 0,
        }
    }

    /// What the stream has not taken.
    pub(super) fn bytes(&self) -> &[u8] {
        self.piece.get(self.from..self.to).unwrap_or_default()
    }

    /// Takes more of the link if the stream has taken all.
    pub(super) fn fill(&mut self, now: Instant, link: &mut LinkEnd<'_>) {
        if self.from == self.to {
            (self.from, self.to) = (0, link.transmit(now, &mut self.piece));
            self.moved = now;
        }
    }

    pub(super) fn written(&mut self, now: Instant, len: usize) {
        self.from = (self.from + len).min(self.to);
        self.moved = now;
        self.bytes_sent += len as u64;
    }

    /// When a stream that takes nothing has taken nothing for so long.
    pub(super) fn stuck_at(&self, stall: Duration) -> Option<Instant> {
        (self.from < self.to).then(|| self.moved + stall)
    }
}
