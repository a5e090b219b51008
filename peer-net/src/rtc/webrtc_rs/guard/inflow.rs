//! What the far side's data makes `webrtc-sctp` keep: fragments of unfinished messages, and
//! messages whose turn has not come. It sorts each kind anew on every chunk, so their number is
//! what has to be bounded; the receive window bounds their bytes alone, a million of one byte each.

use std::collections::{BTreeMap, BTreeSet};

use super::packet::SctpRefusal;

/// How far a TSN may be ahead of what we acknowledged: what has to be sorted, and what one packet
/// may skip.
pub(super) const TSN_WINDOW: u32 = 16_384;
/// How far it may be behind, repeated by a slow path. Not half the circle: the crate may have taken
/// more than it acknowledged, and what is just behind for us would be two thousand million ahead
/// for it.
const TSN_BEHIND_MAX: u32 = 1 << 24;
/// Streams the far side may use. PeerJS uses one.
const STREAMS_MAX: usize = 64;
/// Ordered messages of a stream that may come before one that is missing.
const ORDERED_AHEAD_MAX: u16 = 4096;
/// Fragments of unfinished messages: these, and one more for every so many bytes of them. Senders
/// fill their packets, but of a message just longer than a packet the second fragment is short:
/// when a burst of 2 MB is lost but for those, all of them wait.
const FRAGMENTS_MIN: usize = 2048;
const FRAGMENT_MEAN: usize = 128;

/// The parts of a DATA chunk that matter here.
#[derive(Clone, Copy)]
pub(super) struct Data {
    pub(super) tsn: u32,
    pub(super) stream: u16,
    pub(super) ssn: u16,
    pub(super) unordered: bool,
    pub(super) begin: bool,
    pub(super) end: bool,
    pub(super) length: usize,
}

/// The far side's data in one association.
#[derive(Default)]
pub(super) struct Inflow {
    /// Up to here it was taken: by the INIT at first, then by our SACKs.
    cumulative: Option<u32>,
    /// The same, counted on beyond 32 bits.
    position: u64,
    /// Next SSN of each stream, and those seen beyond it.
    streams: BTreeMap<u16, (u16, BTreeSet<u16>)>,
    /// Unfinished runs of fragments by the position of their first.
    runs: BTreeMap<u64, Run>,
    /// Finished ones that were not acknowledged yet: first and last position.
    finished: BTreeMap<u64, u64>,
    fragments: usize,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Run {
    last: u64,
    begin: bool,
    end: bool,
    bytes: usize,
}

impl Inflow {
    /// Takes the initial TSN of an INIT or INIT ACK. It cannot change: the crate's idea of it must
    /// not become another than ours.
    pub(super) fn begin(&mut self, tsn: u32) -> Result<(), SctpRefusal> {
        let before = tsn.wrapping_sub(1);
        if *self.cumulative.get_or_insert(before) != before {
            return Err(SctpRefusal::Window);
        }
        Ok(())
    }

    /// Takes the cumulative TSN of a SACK of ours.
    pub(super) fn acknowledge(&mut self, tsn: u32) {
        let Some(cumulative) = &mut self.cumulative else {
            return;
        };
        let advance = tsn.wrapping_sub(*cumulative);
        if advance > u32::MAX / 2 {
            return;
        }
        *cumulative = tsn;
        self.position += u64::from(advance);
        while let Some(entry) = self
            .finished
            .first_entry()
            .filter(|run| *run.get() <= self.position)
        {
            entry.remove();
        }
    }

    /// Whether data may come.
    pub(super) fn check(&self, data: &Data) -> Result<(), SctpRefusal> {
        let ahead = self.check_tsn(data.tsn)?;
        if ahead == 0 {
            return Ok(());
        }
        let stream = self.streams.get(&data.stream);
        if stream.is_none() && self.streams.len() >= STREAMS_MAX {
            return Err(SctpRefusal::Streams);
        }
        if !data.unordered {
            let next = stream.map_or(0, |(next, _)| *next);
            let ahead = data.ssn.wrapping_sub(next);
            if (ORDERED_AHEAD_MAX..=u16::MAX / 2 + 1).contains(&ahead) {
                return Err(SctpRefusal::Window);
            }
        }
        // The one that all others wait for may always come.
        let most = FRAGMENTS_MIN + (self.bytes + data.length) / FRAGMENT_MEAN;
        if ahead > 1 && !(data.begin && data.end) && self.fragments >= most {
            return Err(SctpRefusal::Fragments);
        }
        Ok(())
    }

    /// How far a TSN is ahead of what was acknowledged; 0 if it is not.
    ///
    /// # Errors
    /// [`SctpRefusal::Window`], also without an INIT: the crate has no association to file anything
    /// in then.
    pub(super) fn check_tsn(&self, tsn: u32) -> Result<u32, SctpRefusal> {
        let cumulative = self.cumulative.ok_or(SctpRefusal::Window)?;
        match tsn.wrapping_sub(cumulative) {
            ahead @ 0..=TSN_WINDOW => Ok(ahead),
            ahead if ahead >= TSN_BEHIND_MAX.wrapping_neg() => Ok(0),
            _ => Err(SctpRefusal::Window),
        }
    }

    /// Notes data that passed the check.
    pub(super) fn take(&mut self, data: &Data) {
        let Ok(ahead @ 1..) = self.check_tsn(data.tsn) else {
            return;
        };
        let (next, seen) = self.streams.entry(data.stream).or_default();
        if data.end && !data.unordered && data.ssn.wrapping_sub(*next) <= u16::MAX / 2 {
            seen.insert(data.ssn);
            while seen.remove(next) {
                *next = next.wrapping_add(1);
            }
        }
        if !(data.begin && data.end) {
            self.take_fragment(self.position + u64::from(ahead), data);
        }
    }

    /// Notes a FORWARD-TSN: what was unfinished up to there is given up, for each stream up to an
    /// SSN.
    pub(super) fn skip(&mut self, tsn: u32, streams: impl Iterator<Item = (u16, u16)>) {
        let Ok(ahead @ 1..) = self.check_tsn(tsn) else {
            return;
        };
        let point = self.position + u64::from(ahead);
        while let Some(entry) = self
            .runs
            .first_entry()
            .filter(|entry| *entry.key() <= point)
        {
            let first = *entry.key();
            let run = entry.remove();
            self.forget(first, &run);
        }
        for (stream, ssn) in streams {
            if let Some((next, seen)) = self.streams.get_mut(&stream)
                && ssn.wrapping_sub(*next) <= u16::MAX / 2
            {
                *next = ssn.wrapping_add(1);
                seen.retain(|seen| seen.wrapping_sub(*next) <= u16::MAX / 2);
            }
        }
    }

    /// Fragments of unfinished messages, and their bytes.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        assert_eq!(self.runs.is_empty(), self.fragments == 0);
        (self.fragments, self.bytes)
    }

    fn take_fragment(&mut self, at: u64, data: &Data) {
        let covers = |last: u64| last >= at;
        let before = self
            .runs
            .range(..=at)
            .next_back()
            .map(|(first, run)| (*first, *run));
        let finished = self.finished.range(..=at).next_back();
        if before.is_some_and(|(_, run)| covers(run.last))
            || finished.is_some_and(|(_, last)| covers(*last))
        {
            return;
        }
        let (mut first, mut run) = (
            at,
            Run {
                last: at,
                begin: data.begin,
                end: data.end,
                bytes: data.length,
            },
        );
        self.fragments += 1;
        self.bytes += data.length;
        if let Some((start, left)) =
            before.filter(|(_, left)| left.last + 1 == at && !left.end && !data.begin)
        {
            self.runs.remove(&start);
            (first, run.begin, run.bytes) = (start, left.begin, run.bytes + left.bytes);
        }
        if let Some(right) = self
            .runs
            .get(&(at + 1))
            .copied()
            .filter(|right| !right.begin && !data.end)
        {
            self.runs.remove(&(at + 1));
            (run.last, run.end, run.bytes) = (right.last, right.end, run.bytes + right.bytes);
        }
        if run.begin && run.end {
            self.forget(first, &run);
            self.finished.insert(first, run.last);
        } else {
            self.runs.insert(first, run);
        }
    }

    fn forget(&mut self, first: u64, run: &Run) {
        let count = usize::try_from(run.last - first + 1).unwrap_or(usize::MAX);
        self.fragments = self.fragments.saturating_sub(count);
        self.bytes = self.bytes.saturating_sub(run.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(tsn: u32, begin: bool, end: bool, length: usize) -> Data {
        Data {
            tsn,
            stream: 1,
            ssn: 0,
            unordered: true,
            begin,
            end,
            length,
        }
    }

    #[test]
    fn a_burst_that_loses_all_but_short_ends_is_made_up_for() {
        let mut inflow = Inflow::default();
        inflow.begin(1).unwrap();
        for first in [false, true] {
            for tsn in (1..=2000).filter(|tsn| (tsn % 2 == 1) == first) {
                let length = if first { 1150 } else { 6 };
                let data = fragment(tsn, first, !first, length);
                inflow.check(&data).unwrap();
                inflow.take(&data);
            }
        }
        assert_eq!(inflow.kept(), (0, 0));
    }

    #[test]
    fn at_the_limit_the_fragment_that_all_wait_for_may_come() {
        let mut inflow = Inflow::default();
        inflow.begin(1).unwrap();
        let refused = (2..TSN_WINDOW).find(|tsn| {
            let data = fragment(*tsn, false, false, 1);
            let refused = inflow.check(&data).is_err();
            inflow.take(&data);
            refused
        });
        let refused = refused.expect("there is a limit");
        assert!((2_000..2_200).contains(&refused), "{refused}");
        assert_eq!(inflow.check(&fragment(1, true, false, 1)), Ok(()));
        assert_eq!(
            inflow.check(&fragment(refused + 1, false, false, 1)),
            Err(SctpRefusal::Fragments)
        );
    }
}
