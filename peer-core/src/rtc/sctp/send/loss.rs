//! What is taken for lost: a chunk that was sent sufficiently before one that arrived (the idea of
//! RFC 8985, "RACK"), so that neither a lost retransmission nor reordering needs a timer.

use super::super::serial::Tsn;
use super::{Chunk, Memory, Sender, Which, size};
use crate::time::Instant;

/// The window for reordering is at most this many quarters of the shortest round trip.
const QUARTERS_MAX: u32 = 16;
/// Chunks that arrived behind a gap from which on it counts as a loss at once, as long as no
/// reordering was seen (RFC 9260, section 7.2.4).
const ARRIVED: u32 = 3;

/// The newest transmission that arrived.
#[derive(Clone, Copy, Debug)]
struct Newest {
    order: u32,
    /// Microseconds until that was known.
    took: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Reordering {
    newest: Option<Newest>,
    seen: bool,
    quarters: u32,
    /// When it was widened last.
    widened: Instant,
    /// When what is in flight longest counts as lost.
    at: Option<Instant>,
    /// Chunks that arrived behind a gap since the last cumulative acknowledgement.
    pub(super) arrived: u32,
}

impl Default for Reordering {
    fn default() -> Self {
        Self {
            newest: None,
            seen: false,
            quarters: 1,
            widened: Instant::ZERO,
            at: None,
            arrived: 0,
        }
    }
}

impl Reordering {
    pub(super) const fn timeout(&self) -> Option<Instant> {
        self.at
    }

    /// Everything under way counts as lost: nothing is known any more.
    pub(super) fn forget(&mut self) {
        self.newest = None;
        self.at = None;
        self.arrived = 0;
    }

    /// The newest transmission that is known to have arrived, to compare with.
    pub(super) fn mark(&self) -> Option<u32> {
        self.newest.map(|newest| newest.order)
    }

    /// A chunk arrived. `mark` is from before this acknowledgement.
    pub(super) fn arrived(
        &mut self,
        chunk: &Chunk,
        now: Instant,
        mark: Option<u32>,
        least: Option<u64>,
    ) {
        let took = now.micros_since(chunk.sent());
        if chunk.times > 1 {
            // Too soon for what was sent last: an earlier transmission of it arrived.
            if least.is_some_and(|least| took < least) {
                return;
            }
        } else if mark.is_some_and(|mark| is_after(mark, chunk.order)) {
            self.seen = true;
        }
        let is_newer = |newest: Newest| is_after(chunk.order, newest.order);
        if self.newest.is_none_or(is_newer) {
            self.newest = Some(Newest {
                order: chunk.order,
                took,
            });
        }
    }

    /// The remote got something twice, so something was taken for lost that was not. Widens the
    /// window once a round trip.
    pub(super) fn duplicates(&mut self, now: Instant, round_trip: u64) {
        if now.micros_since(self.widened) >= round_trip {
            self.widened = now;
            self.seen = true;
            self.quarters = (self.quarters + 1).min(QUARTERS_MAX);
        }
    }
}

impl Sender {
    /// Moves what counts as lost from the flight.
    pub(super) fn find_losses(&mut self, memory: &mut Memory<'_>, now: Instant) {
        self.reordering.at = None;
        let Some(newest) = self.reordering.newest else {
            return;
        };
        let certain = self.congestion.in_recovery() || self.reordering.arrived >= ARRIVED;
        let window = if !self.reordering.seen && certain {
            0
        } else {
            let least = self.rtt.least().unwrap_or_default();
            let window = least * u64::from(self.reordering.quarters) / 4;
            window.min(self.rtt.round_trip())
        };
        while let Some(index) = self.chunks.first(Which::Flight)
            && let Some(chunk) = memory.chunks.get(index)
            && is_after(newest.order, chunk.order)
        {
            let at = chunk.sent().plus(newest.took).plus(window);
            if now < at {
                self.reordering.at = Some(at);
                return;
            }
            let tsn = self.chunks.tsn(memory.chunks, index);
            self.lose(memory, index);
            self.lost(tsn);
        }
    }

    /// Takes a chunk that is in flight for lost.
    pub(super) fn lose(&mut self, memory: &mut Memory<'_>, index: usize) {
        let len = memory.chunks.get(index).map_or(0, |chunk| chunk.len);
        self.outstanding = self.outstanding.saturating_sub(size(len));
        self.chunks.move_to(memory.chunks, Which::Lost, index);
    }

    /// A loss: the congestion window answers, and the first packet goes at once.
    fn lost(&mut self, tsn: Tsn) {
        let before = self.congestion.in_recovery();
        let least = self.rtt.least().unwrap_or(u64::MAX);
        self.congestion.lost(tsn, self.chunks.end(), least);
        self.allowance |= !before;
    }
}

/// Whether transmission `a` was after `b`.
const fn is_after(a: u32, b: u32) -> bool {
    Tsn(a).is_after(Tsn(b))
}
