//! What came early: runs of consecutive TSNs behind a gap.

use core::mem;

use super::super::serial::Tsn;
use super::log::List;

/// TSNs without a gap, of which none is in order yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    pub(super) first: Tsn,
    pub(super) last: Tsn,
    /// Their records. Those of messages that were delivered early are not among them.
    pub(super) records: List,
    /// The unordered message at the end of the run that is not whole yet.
    pub(super) open: Open,
}

impl Run {
    /// An unused one, to fill memory with.
    pub const EMPTY: Self = Self {
        first: Tsn(0),
        last: Tsn(0),
        records: List::Empty,
        open: Open::No,
    };
}

/// The last message of a run. Its layout makes an unused run all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Open {
    /// Its start is unknown, or it is ordered, or there is none.
    #[default]
    No,
    /// Its first record, and the one before it in the run's list.
    From { first: usize, before: Option<usize> },
}

/// The runs in use, in the order of their TSNs. The memory is lent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Runs {
    len: usize,
}

/// Where a TSN belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is in a run already.
    Held,
    /// It follows the end of this run; and if `joins`, it comes before the start of the next.
    Behind { run: usize, joins: bool },
    /// It comes before the start of this run.
    Before(usize),
    /// It is apart, and this would be its index.
    Apart(usize),
}

impl Runs {
    pub(super) fn get<'r>(&self, memory: &'r [Run]) -> &'r [Run] {
        memory.get(..self.len).unwrap_or_default()
    }

    pub(super) fn get_mut<'r>(&self, memory: &'r mut [Run], index: usize) -> Option<&'r mut Run> {
        memory.get_mut(..self.len)?.get_mut(index)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) const fn is_full(&self, memory: &[Run]) -> bool {
        self.len == memory.len()
    }

    /// Finds the place of a TSN. All TSNs are within 2¹⁶ of each other.
    pub(super) fn place(&self, memory: &[Run], tsn: Tsn) -> Place {
        let runs = self.get(memory);
        // The first run that does not end before the TSN.
        let index = runs.partition_point(|run| tsn.is_after(run.last));
        let behind = index
            .checked_sub(1)
            .filter(|&before| runs.get(before).is_some_and(|run| run.last.next() == tsn));
        let next = runs.get(index);
        if next.is_some_and(|run| !run.first.is_after(tsn)) {
            return Place::Held;
        }
        let joins = next.is_some_and(|run| tsn.next() == run.first);
        match behind {
            Some(run) => Place::Behind { run, joins },
            None if joins => Place::Before(index),
            None => Place::Apart(index),
        }
    }

    /// Makes room for a run at `index`. `None` if there is none left.
    pub(super) fn insert(&mut self, memory: &mut [Run], index: usize, run: Run) -> Option<()> {
        let mut moved = run;
        for slot in memory.get_mut(index..=self.len)? {
            mem::swap(slot, &mut moved);
        }
        self.len += 1;
        Some(())
    }

    /// Takes the run at `index` out.
    pub(super) fn remove(&mut self, memory: &mut [Run], index: usize) -> Option<Run> {
        let tail = memory
            .get_mut(index..self.len)
            .filter(|tail| !tail.is_empty())?;
        self.len -= 1;
        let mut moved = Run::EMPTY;
        for slot in tail.iter_mut().rev() {
            mem::swap(slot, &mut moved);
        }
        Some(moved)
    }
}
