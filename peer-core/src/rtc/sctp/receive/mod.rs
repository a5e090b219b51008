//! The receiving half: what came, in what order it is read, and what the remote is told of it.
//!
//! Chunks are delivered in the order of their TSNs. Without I-DATA the fragments of a message have
//! consecutive TSNs (RFC 9260, section 6.9), so this keeps the order of every stream without any
//! state of one. Only whole unordered messages may overtake a gap, see [`Receiver::overtaking`].

mod acks;
mod log;
mod read;
mod runs;
#[cfg(test)]
mod tests;

use acks::Acks;
use log::{HEAD_LEN, Head, Kind, List, Log};
use read::Reading;
pub use read::{Piece, Received};
pub use runs::Run;
use runs::{Open, Place, Runs};

use super::packet::{DATA_HEADER_LEN, Data, FIRST, IMMEDIATE, LAST, PacketWriter, UNORDERED};
use super::serial::Tsn;
use crate::time::Instant;

/// A TSN further ahead than this cannot be told in a gap block, and is dropped.
const AHEAD_MAX: u32 = u16::MAX as u32;
/// The largest chunk that a path brings; kept free for what fills a gap.
const CHUNK_MAX: usize = 1200;
/// A grown window is told when it grew by this much, or by half of all memory.
const WINDOW_STEP: usize = 2 * CHUNK_MAX;

/// The memory of the receiving half.
#[derive(Debug)]
pub(super) struct Memory<'m> {
    pub(super) bytes: &'m mut [u8],
    pub(super) runs: &'m mut [Run],
}

#[derive(Clone, Debug)]
pub(super) struct Receiver {
    /// The last TSN that came with all before it.
    cumulative: Tsn,
    log: Log,
    /// What is read next, in order.
    ordered: List,
    /// Whole unordered messages that overtook a gap.
    overtaken: List,
    /// Whether messages may overtake.
    overtaking: bool,
    runs: Runs,
    reading: Reading,
    /// Whether the first fragment of the next message in order was lost: the others are no use.
    skipping: bool,
    acks: Acks,
    /// The window that was told last, less what came since: what the remote believes.
    told: usize,
    /// Chunks that came again, and that there was no memory for.
    pub(super) dropped: u64,
}

impl Receiver {
    pub(super) fn new(overtaking: bool) -> Self {
        Self {
            cumulative: Tsn::default(),
            log: Log::default(),
            ordered: List::Empty,
            overtaken: List::Empty,
            overtaking,
            runs: Runs::default(),
            reading: Reading::default(),
            skipping: false,
            acks: Acks::default(),
            told: 0,
            dropped: 0,
        }
    }

    /// Begins with the remote's initial TSN. What is yet unread stays; what came early goes.
    pub(super) fn start(&mut self, memory: &mut Memory<'_>, initial: Tsn) {
        while let Some(mut run) = self.runs.remove(memory.runs, 0) {
            self.log.free_all(memory.bytes, &mut run.records);
        }
        self.cumulative = initial.before();
        self.acks = Acks::default();
        // INIT and INIT ACK tell it.
        self.told = self.window(memory);
    }

    /// The window: bytes of payload that the remote may send beyond what is acknowledged.
    ///
    /// Each record costs [`HEAD_LEN`] bytes besides. Remotes count at least the 16 bytes of a
    /// chunk's head for each, or send large chunks; for the latter some is held back.
    pub(super) fn window(&self, memory: &Memory<'_>) -> usize {
        let free = self.log.free(memory.bytes);
        free.saturating_sub(HEAD_LEN * (1 + free / 1024))
    }

    pub(super) const fn cumulative(&self) -> Tsn {
        self.cumulative
    }

    /// Takes a DATA chunk, drops it if there is no room, and notes what is to be acknowledged.
    #[inline(never)]
    pub(super) fn data(&mut self, memory: &mut Memory<'_>, data: &Data<'_>) {
        self.acks.data();
        if data.flags & IMMEDIATE != 0 {
            self.acks.urgent();
        }
        if !data.tsn.is_after(self.cumulative) {
            self.acks.duplicate(data.tsn);
            return;
        }
        let taken = if data.tsn == self.cumulative.next() {
            self.in_order(memory, data)
        } else if data.tsn.since(self.cumulative) > AHEAD_MAX {
            None
        } else {
            self.early(memory, data)
        };
        if taken.is_none() {
            self.dropped += 1;
            self.acks.urgent();
        }
        self.told = self
            .told
            .saturating_sub(DATA_HEADER_LEN + data.payload.len());
    }

    fn in_order(&mut self, memory: &mut Memory<'_>, data: &Data<'_>) -> Option<()> {
        let at = self.log.push(memory.bytes, &head(data)?, data.payload)?;
        self.log.append(memory.bytes, &mut self.ordered, at);
        self.cumulative = data.tsn;
        self.close_gap(memory);
        Some(())
    }

    /// Moves the first run into order if it follows.
    fn close_gap(&mut self, memory: &mut Memory<'_>) {
        let first = self.runs.get(memory.runs).first();
        if first.is_some_and(|run| run.first == self.cumulative.next())
            && let Some(run) = self.runs.remove(memory.runs, 0)
        {
            self.log.join(memory.bytes, &mut self.ordered, run.records);
            self.cumulative = run.last;
            self.acks.urgent();
        }
    }

    #[inline(never)]
    fn early(&mut self, memory: &mut Memory<'_>, data: &Data<'_>) -> Option<()> {
        let place = self.runs.place(memory.runs, data.tsn);
        if place == Place::Held {
            self.acks.duplicate(data.tsn);
            return Some(());
        }
        // What fills the gap must find room, or both ends would wait for ever.
        let reserve = CHUNK_MAX + HEAD_LEN;
        let needed = HEAD_LEN + data.payload.len() + reserve;
        let apart = matches!(place, Place::Apart(_));
        if self.log.free(memory.bytes) < needed || (apart && self.runs.is_full(memory.runs)) {
            return None;
        }
        let at = self.log.push(memory.bytes, &head(data)?, data.payload)?;
        let run = match place {
            Place::Behind { run, joins } => {
                let next = if joins {
                    self.runs.remove(memory.runs, run + 1)
                } else {
                    None
                };
                let run = self.runs.get_mut(memory.runs, run)?;
                let before = match run.records {
                    List::Empty => None,
                    List::Of { last, .. } => Some(last),
                };
                self.log.append(memory.bytes, &mut run.records, at);
                run.last = data.tsn;
                if data.flags & FIRST != 0 {
                    run.open = Open::From { first: at, before };
                }
                if let Some(next) = next {
                    // What was whole between the two is found when it comes into order.
                    self.log.join(memory.bytes, &mut run.records, next.records);
                    run.last = next.last;
                    run.open = Open::No;
                    return Some(());
                }
                run
            }
            Place::Before(index) => {
                let run = self.runs.get_mut(memory.runs, index)?;
                let mut records = List::Of {
                    first: at,
                    last: at,
                };
                self.log.join(memory.bytes, &mut records, run.records);
                run.records = records;
                run.first = data.tsn;
                run.open = Open::No;
                return Some(());
            }
            Place::Apart(index) => {
                let open = if data.flags & FIRST != 0 {
                    Open::From {
                        first: at,
                        before: None,
                    }
                } else {
                    Open::No
                };
                let run = Run {
                    first: data.tsn,
                    last: data.tsn,
                    records: List::Of {
                        first: at,
                        last: at,
                    },
                    open,
                };
                self.runs.insert(memory.runs, index, run)?;
                self.runs.get_mut(memory.runs, index)?
            }
            Place::Held => return None,
        };
        // A whole unordered message at the end of its run may overtake.
        if data.flags & LAST != 0
            && data.flags & UNORDERED != 0
            && self.overtaking
            && let Open::From { first, before } = run.open
        {
            run.records = match (run.records, before) {
                (List::Of { first, .. }, Some(last)) => List::Of { first, last },
                _ => List::Empty,
            };
            run.open = Open::No;
            if let Some(before) = before {
                self.log.link(memory.bytes, before, None);
            }
            let message = List::Of { first, last: at };
            self.log.join(memory.bytes, &mut self.overtaken, message);
        }
        Some(())
    }

    /// Gives up everything up to `new` that did not come (RFC 3758, section 3.6). `None` if there
    /// is no room to note it: the remote says it again.
    #[inline(never)]
    pub(super) fn forward(&mut self, memory: &mut Memory<'_>, new: Tsn) -> Option<()> {
        self.acks.urgent();
        if !new.is_after(self.cumulative) {
            return Some(());
        }
        if new.since(self.cumulative) > AHEAD_MAX {
            return None;
        }
        while new.is_after(self.cumulative) {
            // The next one is missing; that is what the mark tells the reader.
            self.mark(memory, Kind::Gap, None)?;
            let held = self.runs.get(memory.runs).first();
            if held.is_some_and(|run| !run.first.is_after(new))
                && let Some(run) = self.runs.remove(memory.runs, 0)
            {
                self.log.join(memory.bytes, &mut self.ordered, run.records);
                self.cumulative = run.last;
            } else {
                self.cumulative = new;
            }
        }
        self.close_gap(memory);
        Some(())
    }

    /// Tells the reader, in order, that the remote has reset a stream, or all of them. `None` if
    /// there is no room.
    pub(super) fn reset(&mut self, memory: &mut Memory<'_>, stream: Option<u16>) -> Option<()> {
        self.mark(memory, Kind::Reset, stream)
    }

    fn mark(&mut self, memory: &mut Memory<'_>, kind: Kind, stream: Option<u16>) -> Option<()> {
        let all = u8::from(stream.is_none());
        let head = Head::new(kind, all, stream.unwrap_or_default(), 0, 0);
        let at = self.log.push(memory.bytes, &head, &[])?;
        self.log.append(memory.bytes, &mut self.ordered, at);
        Some(())
    }

    /// The end of a packet. A remote that believes that no second one fits waits for a SACK.
    pub(super) fn packet_ends(&mut self, memory: &Memory<'_>, now: Instant) {
        if self.told < CHUNK_MAX {
            self.acks.hurry();
        }
        let last = self.runs.get(memory.runs).last();
        let highest = last.map_or(self.cumulative, |run| run.last);
        self.acks.packet_ends(now, last.is_some(), highest);
    }

    pub(super) const fn timeout(&self) -> Option<Instant> {
        self.acks.timeout()
    }

    /// Whether a SACK has to be sent now, with nothing else if need be.
    pub(super) fn sack_is_due(&self, now: Instant) -> bool {
        self.acks.is_due(now)
    }

    /// Whether a SACK may go with other chunks.
    pub(super) fn sack_is_wanted(&self) -> bool {
        self.acks.is_wanted()
    }

    /// Appends a SACK. Another one may be due after it.
    pub(super) fn write_sack(
        &mut self,
        memory: &Memory<'_>,
        writer: &mut PacketWriter<'_>,
    ) -> Option<()> {
        let window = self.window(memory);
        let report = self.acks.report();
        // A report tells no more than what had come by then.
        let cumulative = match report {
            Some(highest) if self.cumulative.is_after(highest) => highest,
            _ => self.cumulative,
        };
        let offset = |tsn: Tsn| u16::try_from(tsn.since(cumulative)).ok();
        let runs = self.runs.get(memory.runs).iter();
        let told = u32::try_from(window).unwrap_or(u32::MAX);
        if let Some(highest) = report {
            let gaps = runs.map_while(|run| {
                let is_later = run.last.is_after(highest);
                let last = if is_later { highest } else { run.last };
                let is_told = !run.first.is_after(highest);
                is_told.then_some((offset(run.first)?, offset(last)?))
            });
            writer.sack(cumulative, told, gaps, &[])?;
        } else {
            let gaps = runs.map_while(|run| Some((offset(run.first)?, offset(run.last)?)));
            writer.sack(cumulative, told, gaps, self.acks.duplicates())?;
            self.acks.sent();
        }
        self.told = window;
        Some(())
    }

    /// Whether everything was read.
    pub(super) fn is_drained(&self) -> bool {
        self.ordered == List::Empty && self.overtaken == List::Empty
    }

    /// Whether no memory is in use.
    pub(super) const fn is_empty(&self) -> bool {
        self.log.is_empty() && self.runs.is_empty()
    }

    /// Drops everything that is not read, since nobody may read it.
    pub(super) fn discard(&mut self, memory: &mut Memory<'_>) {
        self.log.free_all(memory.bytes, &mut self.ordered);
        self.log.free_all(memory.bytes, &mut self.overtaken);
        self.reading = Reading::Between;
    }

    /// Something was read: tells the window if it grew by much. Each time it doubled it is told
    /// again, since a SACK may be lost and nothing else would make the remote send.
    pub(super) fn window_grew(&mut self, memory: &Memory<'_>) {
        let step = WINDOW_STEP.min(memory.bytes.len() / 2).max(1);
        let much = step.max(self.told);
        if self.window(memory) >= self.told + much {
            self.acks.now();
        }
    }
}

fn head(data: &Data<'_>) -> Option<Head> {
    let len = u16::try_from(data.payload.len()).ok()?;
    let flags = data.flags & (FIRST | LAST | UNORDERED);
    Some(Head::new(Kind::Data, flags, data.stream, data.ppid, len))
}
