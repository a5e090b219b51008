//! What a SACK says. Its cost is what it says: each chunk is looked at when it is acknowledged, and
//! not again by the SACKs that repeat it.

use super::super::Violation;
use super::super::packet::{LAST, Sack, UNORDERED};
use super::super::serial::Tsn;
use super::{Chunk, Memory, Probe, Sender, State, Which, size};
use crate::time::Instant;

/// What one SACK brought.
#[derive(Clone, Copy, Debug, Default)]
struct Brought {
    /// Bytes acknowledged that were not before.
    bytes: usize,
    /// The round trip of the newest chunk that was sent once: its transmission, and how many
    /// microseconds.
    sample: Option<(u32, u64)>,
}

impl Sender {
    /// Takes a SACK. One that is older than another is passed over.
    ///
    /// # Errors
    /// [`Violation::Acknowledgement`] if it acknowledges what was not sent.
    pub(in super::super) fn sack(
        &mut self,
        memory: &mut Memory<'_>,
        now: Instant,
        sack: &Sack<'_>,
    ) -> Result<(), Violation> {
        let cumulative = sack.cumulative;
        if cumulative.is_after(self.last_sent()) {
            return Err(Violation::Acknowledgement);
        }
        if self.chunks.base().before().is_after(cumulative) {
            return Ok(());
        }
        let under_way = self.last_sent().since(cumulative);
        let is_wrong =
            |(first, last): (u16, u16)| first == 0 || last < first || u32::from(last) > under_way;
        if sack.gaps().any(is_wrong) {
            return Err(Violation::Acknowledgement);
        }

        let limited = self.congestion.is_full(self.outstanding);
        let mark = self.reordering.mark();
        let mut brought = Brought::default();
        if self.acknowledge_to(memory, now, cumulative, mark, &mut brought) {
            self.reordering.arrived = 0;
        }
        self.renege(memory);
        for (first, last) in sack.gaps() {
            let (first, last) = (
                cumulative.plus(u32::from(first)),
                cumulative.plus(u32::from(last)),
            );
            self.acknowledge_gap(memory, now, (first, last), mark, &mut brought);
        }

        let window = usize::try_from(sack.window).unwrap_or(usize::MAX);
        // What is under way did not fit before, and does now.
        let opened = self.window < self.outstanding && self.outstanding <= window;
        self.window = window;
        self.errors = 0;
        if let Some((_, sample)) = brought.sample {
            self.rtt.sample(sample);
            self.congestion.sample(sample);
        }
        let end = self.chunks.end();
        self.congestion
            .acked(brought.bytes, cumulative, end, limited);
        if sack.duplicates > 0 {
            let round_trip = self.rtt.round_trip();
            self.reordering.duplicates(now, round_trip);
        }
        if opened && brought.bytes == 0 {
            self.window_opened(memory, now);
        }
        self.find_losses(memory, now);

        if brought.bytes > 0 {
            self.probes = 0;
        }
        if self.chunks.is_empty() {
            self.retransmission = None;
            self.probe = Probe::No;
        } else if brought.bytes > 0 {
            self.retransmission = Some(now.plus(self.rtt.rto()));
            self.arm_probe(now);
        }
        Ok(())
    }

    /// What was sent beyond a window that has opened was dropped, unless it is still under way: of
    /// what was sent less than a round trip ago the remote could not say anything yet.
    fn window_opened(&mut self, memory: &mut Memory<'_>, now: Instant) {
        let round_trip = self.rtt.round_trip();
        while let Some(index) = self.chunks.first(Which::Flight)
            && let Some(chunk) = memory.chunks.get(index)
            && now.micros_since(chunk.sent()) >= round_trip
        {
            self.lose(memory, index);
        }
        if self.outstanding == 0 {
            self.retransmission = None;
        }
        // Not to wait for a timer that has backed off, should what is under way be dropped, too.
        self.arm_probe(now);
    }

    /// Frees everything up to `cumulative`. Whether that was anything.
    fn acknowledge_to(
        &mut self,
        memory: &mut Memory<'_>,
        now: Instant,
        cumulative: Tsn,
        mark: Option<u32>,
        brought: &mut Brought,
    ) -> bool {
        let mut end = None;
        while !self.chunks.base().is_after(cumulative)
            && let Some(chunk) = self.chunks.pop(memory.chunks)
        {
            if !matches!(chunk.state, State::Acked { .. }) {
                self.arrived(&chunk, now, mark, brought);
            }
            self.buffered = self.buffered.saturating_sub(usize::from(chunk.len));
            if chunk.flags & (LAST | UNORDERED) == LAST {
                self.ordered = self.ordered.saturating_sub(1);
            }
            end = Some((chunk.at, chunk.len));
        }
        let Some((at, len)) = end else {
            return false;
        };
        let capacity = memory.bytes.len();
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let end = super::super::circle::forward(capacity, at, usize::from(len));
        self.queue.free_to(memory.bytes, end);
        true
    }

    /// Marks the chunks from `first` to `last` as arrived, but for those that are known to have.
    fn acknowledge_gap(
        &mut self,
        memory: &mut Memory<'_>,
        now: Instant,
        (first, last): (Tsn, Tsn),
        mark: Option<u32>,
        brought: &mut Brought,
    ) {
        let mut tsn = first;
        while !tsn.is_after(last) {
            let Some(index) = self.chunks.index(memory.chunks, tsn) else {
                return;
            };
            let Some(&chunk) = memory.chunks.get(index) else {
                return;
            };
            let to = match chunk.state {
                State::Acked { to } => usize::try_from(to).unwrap_or(index),
                State::InFlight | State::Lost => {
                    self.arrived(&chunk, now, mark, brought);
                    self.chunks.acked(memory.chunks, index);
                    self.reordering.arrived = self.reordering.arrived.saturating_add(1);
                    index
                }
            };
            tsn = self.chunks.tsn(memory.chunks, to).next();
        }
        // The way past all of them, for the SACKs that say the same.
        let start = self.chunks.index(memory.chunks, first);
        let end = self.chunks.index(memory.chunks, tsn.before());
        if let (Some(start), Some(end)) = (start, end)
            && let Some(chunk) = memory.chunks.get_mut(start)
            && let Ok(to) = u32::try_from(end)
        {
            chunk.state = State::Acked { to };
        }
    }

    fn arrived(&mut self, chunk: &Chunk, now: Instant, mark: Option<u32>, brought: &mut Brought) {
        let size = size(chunk.len);
        if chunk.state == State::InFlight {
            self.outstanding = self.outstanding.saturating_sub(size);
        }
        brought.bytes += size;
        self.reordering.arrived(chunk, now, mark, self.rtt.least());
        let is_newer = brought
            .sample
            .is_none_or(|(order, _)| Tsn(chunk.order).is_after(Tsn(order)));
        // What was sent twice tells of no round trip (Karn).
        if chunk.times == 1 && is_newer {
            let took = now.micros_since(chunk.sent());
            brought.sample = Some((chunk.order, took));
        }
    }

    /// The remote dropped what it had acknowledged in a gap block (RFC 9260, section 6.2): the
    /// chunk behind the cumulative acknowledgement would not be missing otherwise.
    fn renege(&mut self, memory: &mut Memory<'_>) {
        let mut tsn = self.chunks.base();
        while let Some(index) = self.chunks.index(memory.chunks, tsn)
            && let Some(chunk) = memory.chunks.get(index)
            && matches!(chunk.state, State::Acked { .. })
        {
            self.chunks.move_to(memory.chunks, Which::Lost, index);
            tsn = tsn.next();
        }
    }
}
