//! Frames on their way out: numbered, stuffed, in order, kept until the other end has them.
//!
//! State only; the memory is lent to each call, always the same.

use core::num::NonZeroUsize;

use postcard::ser_flavors::Flavor;
use serde::Serialize;

use crate::bytes;

use super::{
    FRAMES_MAX, MESSAGE_COST,
    cobs::stuffed_len,
    frame::{CONTROL_OVERHEAD, DATA_OVERHEAD, FIRST, LAST, Sealer, control_head, data_head},
};

/// Bytes before each stuffed frame in the memory: its length, what it costs of the credit, its
/// slot.
const RECORD: usize = 5;
/// What a frame takes of the memory at most beside its payload and one byte for 254 of that. The
/// last one of a message rounds up, hence one more.
const CONTROL_COST: usize = RECORD + stuffed_len(CONTROL_OVERHEAD) + 1;
const DATA_COST: usize = RECORD + stuffed_len(DATA_OVERHEAD) + 1;

/// The frames of one stream.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Bytes of the memory that hold frames.
    used: usize,
    frames: u8,
    /// The number of the oldest frame.
    first: u8,
    /// The frame to be written next: its place, and frames before it.
    cursor: usize,
    before: u8,
    /// Bytes of it that are written.
    written: usize,
    /// Frames, from the oldest, that were ever written whole.
    sent: u8,
    /// Frames, from the oldest, that the other end has, but that could not be dropped yet.
    acknowledged: u8,
    /// All frames have to be written again, once none is half written.
    rewind: bool,
    /// Credit used by all frames that are acknowledged and dropped.
    dropped_cost: u32,
    /// Credit used by the frames before the cursor.
    cursor_cost: u32,
    /// What may be used in all.
    limit: u32,
    /// Bytes of the largest payload of a frame. 0: there is no link session.
    payload: usize,
    /// Bytes of the longest message the other end takes.
    longest: usize,
}

/// Where a frame is, and what it is.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// Stuffed.
    len: usize,
    cost: u32,
    slot: u8,
}

/// A frame that was written whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) number: u8,
    /// Not for the first time.
    pub(super) again: bool,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// It fits once the other end has acknowledged something.
    Full,
    /// It never fits: it is longer than the memory, or than the other end takes.
    TooLong,
}

impl Outgoing {
    /// A stream of messages to an end that takes frames of this length and has a first limit of
    /// `window`.
    pub(super) fn control(frame: u16, window: u32) -> Self {
        Self {
            payload: usize::from(frame).saturating_sub(CONTROL_OVERHEAD),
            longest: (window as usize).saturating_sub(MESSAGE_COST),
            limit: window,
            ..Self::default()
        }
    }

    /// A stream of data to an end that takes frames of this length, from this much memory.
    pub(super) fn data(frame: u16, memory: usize) -> Self {
        let fits = memory - memory / 254;
        let frame = usize::from(frame).saturating_sub(DATA_OVERHEAD);
        Self {
            payload: frame.min(fits.saturating_sub(DATA_COST + 1)),
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Bytes of the longest message that fits now.
    pub(super) fn room(&self, memory: &[u8]) -> usize {
        let each = self.payload + self.payload / 254 + CONTROL_COST + 1;
        let each = NonZeroUsize::new(each).unwrap_or(NonZeroUsize::MIN);
        let free = memory.len().saturating_sub(self.used);
        let last = free % each;
        let last = last.saturating_sub(CONTROL_COST + last / 254 + 1);
        (free / each * self.payload + last).min(self.frames_left() * self.payload)
    }

    /// Bytes of data that fit now: as much as one frame carries, or none.
    pub(super) fn data_room(&self, memory: &[u8]) -> usize {
        let frame = self.payload + self.payload / 254 + DATA_COST;
        match memory.len().saturating_sub(self.used) >= frame && self.frames_left() > 0 {
            true => self.payload,
            false => 0,
        }
    }

    fn frames_left(&self) -> usize {
        usize::from(FRAMES_MAX.saturating_sub(self.frames))
    }

    /// Whether a message of `len` bytes fits now, or ever.
    fn check(&self, memory: &[u8], len: usize) -> Result<(), Unsent> {
        let each = NonZeroUsize::new(self.payload).ok_or(Unsent::Full)?;
        let frames = (len / each + usize::from(len % each > 0)).max(1);
        let bytes = frames * CONTROL_COST + len + len / 254;
        if len > self.longest || bytes > memory.len() || frames > usize::from(FRAMES_MAX) {
            return Err(Unsent::TooLong);
        }
        let fits = bytes <= memory.len().saturating_sub(self.used) && frames <= self.frames_left();
        fits.then_some(()).ok_or(Unsent::Full)
    }

    /// Appends a message, cut into control frames.
    pub(super) fn push(
        &mut self,
        memory: &mut [u8],
        message: &impl Serialize,
    ) -> Result<(), Unsent> {
        let left = len_of(message);
        self.check(memory, left)?;
        let (used, frames) = (self.used, self.frames);
        let cutter = Cutter {
            left,
            flags: FIRST,
            open: None,
            outgoing: self,
            memory,
        };
        let done = postcard::serialize_with_flavor(message, Sink::Cut(cutter));
        debug_assert!(done.is_ok(), "it was measured before");
        done.map_err(|_| {
            self.used = used;
            self.frames = frames;
            Unsent::TooLong
        })?;
        Ok(())
    }

    /// Appends data as one frame of this slot's session. `None`: it does not fit.
    #[must_use]
    pub(super) fn push_data(
        &mut self,
        memory: &mut [u8],
        slot: u8,
        session: u32,
        flags: u8,
        payload: &[u8],
    ) -> Option<()> {
        if payload.len() > self.data_room(memory) || self.frames_left() == 0 {
            return None;
        }
        let head = data_head(flags, self.next_number(), session);
        let out = memory.get_mut(self.used + RECORD..)?;
        let mut sealer = Sealer::new(out)?;
        sealer.push(out, &head)?;
        sealer.push(out, payload)?;
        let len = sealer.finish(out)?;
        self.keep(memory, Record { len, cost: 0, slot })
    }

    fn next_number(&self) -> u8 {
        self.first.wrapping_add(self.frames)
    }

    /// Counts a frame that was stuffed behind the others.
    fn keep(&mut self, memory: &mut [u8], record: Record) -> Option<()> {
        let [a, b] = u16::try_from(record.len).ok()?.to_le_bytes();
        let [c, d] = u16::try_from(record.cost).ok()?.to_le_bytes();
        bytes::copy(memory.get_mut(self.used..)?, &[a, b, c, d, record.slot])?;
        self.used += RECORD + record.len;
        self.frames += 1;
        Some(())
    }

    fn record(&self, memory: &[u8], at: usize) -> Option<Record> {
        let &[a, b, c, d, slot] = memory.get(at..self.used)?.first_chunk::<RECORD>()?;
        Some(Record {
            len: usize::from(u16::from_le_bytes([a, b])),
            cost: u32::from(u16::from_le_bytes([c, d])),
            slot,
        })
    }

    /// Whether a frame of this slot is not acknowledged.
    pub(super) fn holds(&self, memory: &[u8], slot: u8) -> bool {
        let (mut at, mut frames) = (0, 0);
        while let Some(record) = self.record(memory, at) {
            if frames >= self.acknowledged && record.slot == slot {
                return true;
            }
            at += RECORD + record.len;
            frames += 1;
        }
        false
    }

    /// Whether part of a frame is written, so that nothing may come between.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.written > 0
    }

    /// Whether something that was written whole is not acknowledged.
    pub(super) fn awaits_acknowledgement(&self) -> bool {
        self.sent > self.acknowledged
    }

    /// Whether a frame waits that the credit covers.
    pub(super) fn may_write(&self, memory: &[u8]) -> bool {
        self.record(memory, self.cursor)
            .is_some_and(|record| is_within(self.cursor_cost.wrapping_add(record.cost), self.limit))
    }

    /// Writes bytes of the frame that is next, as far as the credit goes: how many, and the frame
    /// if it is whole.
    pub(super) fn write(&mut self, memory: &mut [u8], out: &mut [u8]) -> (usize, Option<Written>) {
        if self.written == 0 && !self.may_write(memory) {
            return (0, None);
        }
        let Some(record) = self.record(memory, self.cursor) else {
            debug_assert!(false, "a frame that is half written is kept");
            self.written = 0;
            return (0, None);
        };
        let start = self.cursor + RECORD;
        let rest = memory.get(start + self.written..start + record.len);
        let rest = rest.unwrap_or_default();
        let len = rest.len().min(out.len());
        let copied = rest.get(..len).and_then(|rest| bytes::copy(out, rest));
        debug_assert!(copied.is_some(), "the frame lies in the memory");
        self.written += len;
        if self.written < record.len {
            return (len, None);
        }
        let frame = Written {
            number: self.first.wrapping_add(self.before),
            again: self.before < self.sent,
        };
        self.written = 0;
        self.cursor = start + record.len;
        self.cursor_cost = self.cursor_cost.wrapping_add(record.cost);
        self.before += 1;
        self.sent = self.sent.max(self.before);
        self.tidy(memory);
        (len, Some(frame))
    }

    /// The other end waits for frame `next`. Whether it has more than before.
    ///
    /// What cannot be is ignored: an old status, or one from somebody who lies.
    pub(super) fn acknowledge(&mut self, memory: &mut [u8], next: u8, again: bool) -> bool {
        let frames = next.wrapping_sub(self.first);
        if frames > self.sent || frames < self.acknowledged {
            return false;
        }
        let progress = frames > self.acknowledged;
        self.acknowledged = frames;
        self.rewind |= again;
        self.tidy(memory);
        progress
    }

    /// The other end takes frames that cost up to `limit` in all. It never takes less than it said
    /// before.
    pub(super) fn set_limit(&mut self, limit: u32) {
        if is_within(self.limit, limit) {
            self.limit = limit;
        }
    }

    /// Writes again from the oldest frame that is not acknowledged.
    pub(super) fn resend(&mut self, memory: &mut [u8]) {
        self.rewind = true;
        self.tidy(memory);
    }

    /// Drops what is acknowledged and rewinds, once no frame is half written.
    fn tidy(&mut self, memory: &mut [u8]) {
        if self.written > 0 {
            return;
        }
        let (mut dropped_bytes, mut dropped) = (0, 0);
        while self.acknowledged > dropped {
            let Some(record) = self.record(memory, dropped_bytes) else {
                debug_assert!(false, "what was sent and not dropped is kept");
                break;
            };
            dropped_bytes += RECORD + record.len;
            dropped += 1;
            self.dropped_cost = self.dropped_cost.wrapping_add(record.cost);
            if self.before < dropped {
                // It was being sent again.
                self.cursor = dropped_bytes;
                self.before = dropped;
                self.cursor_cost = self.dropped_cost;
            }
        }
        if dropped > 0 {
            let moved = bytes::copy_within(memory, dropped_bytes..self.used, 0);
            debug_assert!(moved.is_some(), "the frames lie in the memory");
            self.used -= dropped_bytes;
            self.cursor -= dropped_bytes;
            self.before -= dropped;
            self.sent -= dropped;
            self.frames -= dropped;
            self.acknowledged = 0;
            self.first = self.first.wrapping_add(dropped);
        }
        if core::mem::take(&mut self.rewind) {
            self.cursor = 0;
            self.before = 0;
            self.cursor_cost = self.dropped_cost;
        }
    }
}

/// Whether `used` is not beyond `limit`, both counted from the link session's start and wrapping.
pub(super) fn is_within(used: u32, limit: u32) -> bool {
    limit.wrapping_sub(used) < 1 << 31
}

/// Bytes of a message.
fn len_of(message: &impl Serialize) -> usize {
    let len = postcard::serialize_with_flavor(message, Sink::Count(0));
    debug_assert!(len.is_ok(), "nothing in a message fails to be written");
    len.unwrap_or(usize::MAX)
}

/// Where postcard writes a message: first its length is counted, then it is cut into frames.
enum Sink<'a> {
    Count(usize),
    Cut(Cutter<'a>),
}

/// Cuts a message into control frames as its bytes come.
struct Cutter<'a> {
    /// Bytes of the message that are to come.
    left: usize,
    /// Of the next frame.
    flags: u8,
    open: Option<Open>,
    outgoing: &'a mut Outgoing,
    memory: &'a mut [u8],
}

/// A frame that is being stuffed.
struct Open {
    sealer: Sealer,
    /// Bytes that are to come.
    left: usize,
    cost: usize,
}

impl Cutter<'_> {
    fn extend(&mut self, mut data: &[u8]) -> Option<()> {
        while !data.is_empty() {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.begin()?,
            };
            let (now, rest) = data.split_at_checked(open.left.min(data.len()))?;
            data = rest;
            open.left -= now.len();
            self.left = self.left.checked_sub(now.len())?;
            let out = self.memory.get_mut(self.outgoing.used + RECORD..)?;
            open.sealer.push(out, now)?;
            if open.left > 0 {
                self.open = Some(open);
                continue;
            }
            let record = Record {
                len: open.sealer.finish(out)?,
                cost: u32::try_from(open.cost).ok()?,
                slot: 0,
            };
            self.outgoing.keep(self.memory, record)?;
        }
        Some(())
    }

    fn begin(&mut self) -> Option<Open> {
        let len = self.left.min(self.outgoing.payload);
        let last = if len == self.left { LAST } else { 0 };
        let first = core::mem::take(&mut self.flags);
        let head = control_head(first | last, self.outgoing.next_number());
        let out = self.memory.get_mut(self.outgoing.used + RECORD..)?;
        let mut sealer = Sealer::new(out)?;
        sealer.push(out, &head)?;
        Some(Open {
            sealer,
            left: len,
            cost: len + if first == 0 { 0 } else { MESSAGE_COST },
        })
    }
}

impl Flavor for Sink<'_> {
    type Output = usize;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        let done = match self {
            Self::Count(len) => {
                *len += data.len();
                Some(())
            }
            Self::Cut(cutter) => cutter.extend(data),
        };
        done.ok_or(postcard::Error::SerializeBufferFull)
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> postcard::Result<usize> {
        match self {
            Self::Count(len) => Ok(len),
            Self::Cut(cutter) if cutter.left == 0 && cutter.open.is_none() => Ok(0),
            Self::Cut(_) => Err(postcard::Error::SerializeBufferFull),
        }
    }
}
