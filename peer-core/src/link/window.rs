//! Both directions of data: frames kept until they are acknowledged, messages kept until they are taken.

use core::num::NonZeroUsize;

use crate::bytes;

use super::{
    FRAMES_MAX, MESSAGE_COST,
    cobs::stuffed_len,
    frame::{DATA_OVERHEAD, FIRST, LAST, data_head, seal},
};

/// Bytes before each stuffed frame in the memory: its length, and what it costs of the credit.
const RECORD: usize = 4;

/// Data frames on their way out, stuffed and in order, kept until the other end has them.
#[derive(Debug)]
pub(super) struct Outgoing<'m> {
    memory: &'m mut [u8],
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
    rewind: bool,
    /// Credit used by all frames that are acknowledged and dropped.
    dropped_cost: u32,
    /// Credit used by the frames before the cursor.
    cursor_cost: u32,
    /// What may be used in all.
    limit: u32,
    /// Bytes of the largest payload the other end takes.
    payload: usize,
    /// Bytes of the longest message the other end takes.
    longest: usize,
}

/// A frame that was written whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) number: u8,
    /// Not for the first time.
    pub(super) again: bool,
}

impl<'m> Outgoing<'m> {
    pub(super) fn new(memory: &'m mut [u8]) -> Self {
        Self {
            memory,
            used: 0,
            frames: 0,
            first: 0,
            cursor: 0,
            before: 0,
            written: 0,
            sent: 0,
            acknowledged: 0,
            rewind: false,
            dropped_cost: 0,
            cursor_cost: 0,
            limit: 0,
            payload: 0,
            longest: 0,
        }
    }

    /// A new session with an end of these limits. Frames that wait are its first ones.
    pub(super) fn start(&mut self, frame: u16, window: u32) {
        self.payload = usize::from(frame).saturating_sub(DATA_OVERHEAD);
        self.longest = (window as usize).saturating_sub(MESSAGE_COST);
        self.limit = window;
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.frames = 0;
        self.first = 0;
        self.cursor = 0;
        self.before = 0;
        self.written = 0;
        self.sent = 0;
        self.acknowledged = 0;
        self.rewind = false;
        self.dropped_cost = 0;
        self.cursor_cost = 0;
        self.limit = 0;
        self.payload = 0;
        self.longest = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Whether a message of `len` bytes fits now.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.bytes_for(len)
            .is_some_and(|bytes| bytes <= self.memory.len() - self.used)
            && self.frames_for(len) <= usize::from(FRAMES_MAX - self.frames)
    }

    /// Bytes of the longest message that fits now, or a little less.
    pub(super) fn longest_now(&self) -> usize {
        let mut len = self.memory.len() - self.used;
        while len > 0 && !self.has_room(len) {
            len -= len / 16 + 1;
        }
        len
    }

    /// Whether a message of `len` bytes could pass at all: in this memory and in the other end's.
    pub(super) fn can_pass(&self, len: usize) -> bool {
        len <= self.longest
            && self
                .bytes_for(len)
                .is_some_and(|bytes| bytes <= self.memory.len())
            && self.frames_for(len) <= usize::from(FRAMES_MAX)
    }

    fn frames_for(&self, len: usize) -> usize {
        let each = NonZeroUsize::new(self.payload).unwrap_or(NonZeroUsize::MIN);
        (len / each + usize::from(len % each > 0)).max(1)
    }

    fn bytes_for(&self, len: usize) -> Option<usize> {
        let each = RECORD + stuffed_len(DATA_OVERHEAD);
        // Whole frames and the rest are stuffed one by one, so each may cost one byte more.
        let frames = self.frames_for(len);
        frames.checked_mul(each + 1)?.checked_add(len + len / 254)
    }

    /// Appends a message, cut into frames. The caller has asked [`Self::has_room`].
    pub(super) fn push(&mut self, parts: &[&[u8]]) -> Option<()> {
        let mut left: usize = parts.iter().map(|part| part.len()).sum();
        if !self.has_room(left) || self.payload == 0 {
            return None;
        }
        let mut from = 0;
        let mut flags = FIRST;
        loop {
            let len = left.min(self.payload);
            left -= len;
            if left == 0 {
                flags |= LAST;
            }
            let number = self.first.wrapping_add(self.frames);
            let head = data_head(flags, number);
            let slices = range_of(parts, from, len);
            let (record, room) = self
                .memory
                .get_mut(self.used..)?
                .split_first_chunk_mut::<RECORD>()?;
            let stuffed = seal(core::iter::once(&head[..]).chain(slices), room)?;
            let cost = len + if flags & FIRST == 0 { 0 } else { MESSAGE_COST };
            let [a, b] = u16::try_from(stuffed).ok()?.to_le_bytes();
            let [c, d] = u16::try_from(cost).ok()?.to_le_bytes();
            *record = [a, b, c, d];
            self.used += RECORD + stuffed;
            self.frames += 1;
            from += len;
            flags = 0;
            if left == 0 {
                return Some(());
            }
        }
    }

    /// The stuffed length and the cost of the frame at `at`.
    fn record(&self, at: usize) -> Option<(usize, u32)> {
        let &[a, b, c, d] = self.memory.get(at..self.used)?.first_chunk::<RECORD>()?;
        Some((
            usize::from(u16::from_le_bytes([a, b])),
            u32::from(u16::from_le_bytes([c, d])),
        ))
    }

    /// Whether part of a frame is written, so that nothing may come between.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.written > 0
    }

    /// Whether everything was written and waits for its acknowledgement.
    pub(super) fn awaits_acknowledgement(&self) -> bool {
        self.sent > self.acknowledged
    }

    /// Whether a frame waits that the credit covers.
    pub(super) fn may_write(&self) -> bool {
        self.record(self.cursor)
            .is_some_and(|(_, cost)| is_within(self.cursor_cost.wrapping_add(cost), self.limit))
    }

    /// Writes bytes of the frame that is next, as far as the credit goes: how many, and the frame if it is whole.
    pub(super) fn write(&mut self, out: &mut [u8]) -> (usize, Option<Written>) {
        if self.written == 0 && !self.may_write() {
            return (0, None);
        }
        let Some((len, cost)) = self.record(self.cursor) else {
            return (0, None);
        };
        let used = self.cursor_cost.wrapping_add(cost);
        let start = self.cursor + RECORD + self.written;
        let bytes = self
            .memory
            .get(start..self.cursor + RECORD + len)
            .unwrap_or_default();
        let now = bytes.len().min(out.len());
        bytes::copy(out, bytes.get(..now).unwrap_or_default());
        self.written += now;
        if self.written < len {
            return (now, None);
        }
        let frame = Written {
            number: self.first.wrapping_add(self.before),
            again: self.before < self.sent,
        };
        self.written = 0;
        self.cursor += RECORD + len;
        self.cursor_cost = used;
        self.before += 1;
        self.sent = self.sent.max(self.before);
        self.tidy();
        (now, Some(frame))
    }

    /// The other end waits for frame `next`, and takes data up to `limit`. Whether it has more than before.
    ///
    /// What cannot be is ignored: an old status, or one from somebody who lies.
    pub(super) fn acknowledge(&mut self, next: u8, limit: u32, resend: bool) -> bool {
        let frames = next.wrapping_sub(self.first);
        if frames > self.sent || frames < self.acknowledged {
            return false;
        }
        let progress = frames > self.acknowledged;
        self.acknowledged = frames;
        if is_within(self.limit, limit) {
            self.limit = limit;
        }
        self.rewind |= resend;
        self.tidy();
        progress
    }

    /// Writes again from the oldest frame that is not acknowledged.
    pub(super) fn resend(&mut self) {
        self.rewind = true;
        self.tidy();
    }

    /// Drops what is acknowledged and rewinds, once no frame is half written.
    fn tidy(&mut self) {
        if self.written > 0 {
            return;
        }
        let (mut bytes, mut dropped) = (0, 0);
        while self.acknowledged > dropped {
            let Some((len, cost)) = self.record(bytes) else {
                break;
            };
            bytes += RECORD + len;
            dropped += 1;
            self.dropped_cost = self.dropped_cost.wrapping_add(cost);
            if self.before < dropped {
                // It was being sent again.
                self.cursor = bytes;
                self.before = dropped;
                self.cursor_cost = self.dropped_cost;
            }
        }
        if dropped > 0 {
            bytes::copy_within(self.memory, bytes..self.used, 0);
            self.used -= bytes;
            self.cursor -= bytes;
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

/// Whether `used` is not beyond `limit`, both counted from the session's start and wrapping.
fn is_within(used: u32, limit: u32) -> bool {
    limit.wrapping_sub(used) < 1 << 31
}

/// The bytes `from..from + len` of the parts put together.
fn range_of<'p>(parts: &'p [&'p [u8]], from: usize, len: usize) -> impl Iterator<Item = &'p [u8]> {
    let mut at = 0;
    parts.iter().filter_map(move |part| {
        let start = from.saturating_sub(at).min(part.len());
        let end = (from + len).saturating_sub(at).min(part.len());
        at += part.len();
        part.get(start..end).filter(|slice| !slice.is_empty())
    })
}

/// Bytes before each message in the memory: its length. What [`MESSAGE_COST`] pays for.
const PREFIX: usize = MESSAGE_COST;

/// Messages that came, put together, kept until they are taken.
#[derive(Debug)]
pub(super) struct Incoming<'m> {
    memory: &'m mut [u8],
    used: usize,
    /// Where the message that is not yet complete begins.
    open: Option<usize>,
    /// Complete messages.
    messages: u32,
    /// The number of the frame that is waited for.
    next: u8,
    received_cost: u32,
    taken_cost: u32,
    /// The limit that the other end was last told.
    told: u32,
}

/// What a data frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// The next one.
    Next,
    /// One that came before.
    Repeated,
    /// One after a gap.
    Early,
    /// One beyond the credit, or out of place in its message. Its sender is not to be trusted.
    Violation,
}

impl<'m> Incoming<'m> {
    pub(super) fn new(memory: &'m mut [u8]) -> Self {
        Self {
            memory,
            used: 0,
            open: None,
            messages: 0,
            next: 0,
            received_cost: 0,
            taken_cost: 0,
            told: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.open = None;
        self.messages = 0;
        self.next = 0;
        self.received_cost = 0;
        self.taken_cost = 0;
        self.told = self.window();
    }

    /// The first credit.
    pub(super) fn window(&self) -> u32 {
        u32::try_from(self.memory.len())
            .unwrap_or(u32::MAX >> 1)
            .min(u32::MAX >> 1)
    }

    pub(super) fn next(&self) -> u8 {
        self.next
    }

    pub(super) fn accept(&mut self, flags: u8, number: u8, payload: &[u8]) -> Accepted {
        if number != self.next {
            let ahead = number.wrapping_sub(self.next);
            return if ahead < 128 {
                Accepted::Early
            } else {
                Accepted::Repeated
            };
        }
        let first = flags & FIRST != 0;
        if first != self.open.is_none() {
            return Accepted::Violation;
        }
        let cost = payload.len() + if first { PREFIX } else { 0 };
        let end = self.used + cost;
        let Some(room) = self.memory.get_mut(self.used..end) else {
            return Accepted::Violation;
        };
        if first {
            self.open = Some(self.used);
        }
        let at = room.len() - payload.len();
        if let Some(place) = room.get_mut(at..) {
            bytes::copy(place, payload);
        }
        self.used = end;
        self.next = self.next.wrapping_add(1);
        // At most the window, which fits.
        self.received_cost = self.received_cost.wrapping_add(cost as u32);
        if flags & LAST != 0
            && let Some(start) = self.open.take()
        {
            let len = (end - start - PREFIX) as u32;
            if let Some(prefix) = self.memory.get_mut(start..) {
                bytes::copy(prefix, &len.to_le_bytes());
            }
            self.messages += 1;
        }
        Accepted::Next
    }

    /// Whether a message is complete.
    pub(super) fn has_message(&self) -> bool {
        self.messages > 0
    }

    /// The oldest message.
    pub(super) fn front(&mut self) -> Option<&mut [u8]> {
        let len = self.front_len()?;
        self.memory.get_mut(PREFIX..PREFIX + len)
    }

    fn front_len(&self) -> Option<usize> {
        if self.messages == 0 {
            return None;
        }
        let prefix = self.memory.first_chunk::<PREFIX>()?;
        Some(u32::from_le_bytes(*prefix) as usize)
    }

    /// Drops the oldest message: its room is credit again.
    pub(super) fn pop(&mut self) {
        let Some(len) = self.front_len() else { return };
        let bytes = PREFIX + len;
        bytes::copy_within(self.memory, bytes..self.used, 0);
        self.used -= bytes;
        self.open = self.open.map(|start| start - bytes);
        self.messages -= 1;
        self.taken_cost = self.taken_cost.wrapping_add(bytes as u32);
    }

    fn limit(&self) -> u32 {
        self.taken_cost.wrapping_add(self.window())
    }

    /// The limit, to be told.
    pub(super) fn tell_limit(&mut self) -> u32 {
        self.told = self.limit();
        self.told
    }

    /// Whether so much room is free again that the other end should hear of it: a quarter of the window.
    pub(super) fn has_news(&self) -> bool {
        self.limit().wrapping_sub(self.told) >= (self.window() / 4).max(1)
    }
}
