//! How much may be under way (RFC 9260, section 7.2), with slow start left by delay (RFC 9406), and
//! a smaller answer to losses while no queue stands on the path (the idea of TCP Veno, Fu and Liew
//! 2003): such a loss is the path's, not ours.

use super::super::serial::Tsn;

/// Packets of the first window (RFC 6928).
const INITIAL_PACKETS: usize = 10;
/// Packets of the window after a loss, at least.
const LEAST_PACKETS: usize = 4;
/// A window of fewer packets is small: its end may wait for an acknowledgement that is delayed.
const SMALL_PACKETS: usize = 10;
/// A round trip longer than the shortest by an eighth, but by so many microseconds at least and at
/// most, ends slow start: the queue of the path is filling.
const DELAY_MIN: u64 = 4_000;
const DELAY_MAX: u64 = 16_000;
/// Samples of a round that are looked at before that is judged.
const SAMPLES: u8 = 8;
/// Packets of ours that stand in the queue of the path when a loss is taken for its overflow.
const QUEUED_PACKETS: usize = 3;

/// The congestion window, in bytes of chunks with their heads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Congestion {
    packet: usize,
    window: usize,
    threshold: usize,
    /// Bytes acknowledged since the window grew last, in congestion avoidance.
    partial: usize,
    /// Losses up to this TSN are one event.
    recovery: Option<Tsn>,
    round: Round,
}

/// One round trip of slow start.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// It ends when this is acknowledged.
    end: Option<Tsn>,
    samples: u8,
    /// The shortest round trip of this round, and of the one before, in microseconds.
    least: u64,
    before: Option<u64>,
}

impl Congestion {
    pub(super) const fn new(packet: usize) -> Self {
        Self {
            packet,
            window: packet * INITIAL_PACKETS,
            threshold: usize::MAX,
            partial: 0,
            recovery: None,
            round: Round {
                end: None,
                samples: 0,
                least: u64::MAX,
                before: None,
            },
        }
    }

    /// Bytes that may be under way.
    pub(super) const fn window(&self) -> usize {
        self.window
    }

    /// Whether so much under way makes use of the window: no whole packet more would fit.
    pub(super) const fn is_full(&self, outstanding: usize) -> bool {
        outstanding + self.packet > self.window
    }

    /// Whether a sender that is limited to `limit` bytes under way has to have each packet
    /// acknowledged at once, so as not to wait for the remote while the remote waits for a second
    /// packet (RFC 7053, section 4).
    pub(super) const fn is_small(&self, limit: usize) -> bool {
        limit < SMALL_PACKETS * self.packet
    }

    pub(super) const fn in_recovery(&self) -> bool {
        self.recovery.is_some()
    }

    /// `bytes` were acknowledged, all up to `cumulative`; `limited` if the window was full before.
    /// `end` is the TSN of the next new chunk.
    pub(super) fn acked(&mut self, bytes: usize, cumulative: Tsn, end: Tsn, limited: bool) {
        if let Some(recovery) = self.recovery {
            if recovery.is_after(cumulative) {
                return;
            }
            self.recovery = None;
        }
        let round_over = self.round.end.is_none_or(|end| !end.is_after(cumulative));
        if round_over {
            self.round.before = (self.round.samples > 0).then_some(self.round.least);
            self.round.least = u64::MAX;
            self.round.samples = 0;
            self.round.end = Some(end.before());
        }
        if !limited || bytes == 0 {
            return;
        }
        if self.window < self.threshold {
            self.window = self.window.saturating_add(bytes);
            return;
        }
        self.partial = self.partial.saturating_add(bytes);
        if self.partial >= self.window {
            self.partial -= self.window;
            self.window = self.window.saturating_add(self.packet);
        }
    }

    /// A round trip took `sample` microseconds.
    pub(super) fn sample(&mut self, sample: u64) {
        self.round.least = self.round.least.min(sample);
        self.round.samples = self.round.samples.saturating_add(1);
        if self.window >= self.threshold || self.round.samples < SAMPLES {
            return;
        }
        if let Some(before) = self.round.before {
            let more = (before / 8).clamp(DELAY_MIN, DELAY_MAX);
            if self.round.least >= before + more {
                self.threshold = self.window;
            }
        }
    }

    /// The chunk `tsn` was lost. All that was sent before `end` belongs to the same event. `least`
    /// is the shortest round trip of all, in microseconds.
    pub(super) fn lost(&mut self, tsn: Tsn, end: Tsn, least: u64) {
        if self
            .recovery
            .is_some_and(|recovery| !tsn.is_after(recovery))
        {
            return;
        }
        self.recovery = Some(end.before());
        let rest = if self.queue_stands(least) {
            self.window / 2
        } else {
            self.window / 5 * 4
        };
        self.threshold = rest.max(LEAST_PACKETS * self.packet);
        self.window = self.threshold;
        self.partial = 0;
    }

    /// Whether packets of ours stand in the queue of the path: the part of the window by which the
    /// shortest round trip of the last one is longer than the shortest of all. So it is assumed
    /// before there is a sample.
    fn queue_stands(&self, least: u64) -> bool {
        let recent = match self.round.before {
            _ if self.round.samples > 0 => self.round.least,
            Some(before) => before,
            None => return true,
        };
        let wait = recent.saturating_sub(least);
        let packets = (QUEUED_PACKETS * self.packet) as u64;
        wait.saturating_mul(self.window as u64) >= recent.saturating_mul(packets)
    }

    /// Nothing was acknowledged in time.
    pub(super) fn timed_out(&mut self) {
        self.threshold = (self.window / 2).max(LEAST_PACKETS * self.packet);
        self.window = self.packet;
        self.partial = 0;
        self.recovery = None;
    }
}
