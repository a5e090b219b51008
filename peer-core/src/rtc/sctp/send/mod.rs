//! The sending half: messages that wait, chunks under way, and what becomes of them.

mod chunks;
mod congestion;
mod loss;
mod queue;
mod rtt;
mod sack;
mod streams;

pub use chunks::Chunk;
use chunks::{Chunks, State, Which};
use congestion::Congestion;
use loss::Reordering;
use queue::Queue;
pub(super) use rtt::{RTO_MAX, Rtt};
pub use streams::STREAMS_MAX;
pub(super) use streams::Streams;

use super::packet::{
    DATA_HEADER_LEN, Data, FIRST, IMMEDIATE, LAST, PacketWriter, UNORDERED, padded,
};
use super::serial::Tsn;
use super::{Outgoing, SendError};
use crate::time::{Duration, Instant, earlier};

/// Ordered messages that may be sent and not acknowledged. Stream sequence numbers have 16 bits
/// (RFC 1982).
const ORDERED_MAX: u32 = 32_767;
/// The shortest wait for an acknowledgement, in microseconds, before the end of what was sent is
/// sent once more.
const PROBE_MIN: u64 = 2_000;
/// How often that is doubled.
const PROBES_MAX: u8 = 8;

/// The memory of the sending half.
#[derive(Debug)]
pub(super) struct Memory<'m> {
    pub(super) bytes: &'m mut [u8],
    pub(super) chunks: &'m mut [Chunk],
}

#[derive(Clone, Debug)]
pub(super) struct Sender {
    queue: Queue,
    chunks: Chunks,
    congestion: Congestion,
    pub(super) rtt: Rtt,
    pub(super) streams: Streams,
    /// The message of which not all was given yet: its bytes so far.
    open: Option<(Outgoing, u64)>,
    /// Bytes of payload that are not acknowledged.
    buffered: usize,
    /// Bytes in flight, heads and padding included.
    outstanding: usize,
    /// The window that the remote told.
    window: usize,
    /// Ordered messages that are sent and not acknowledged.
    ordered: u32,
    /// Number of the next transmission.
    order: u32,
    reordering: Reordering,
    /// One packet may go whatever the congestion window says.
    allowance: bool,
    probe: Probe,
    /// Probes since anything was acknowledged: each waits twice as long as the one before.
    probes: u8,
    /// The retransmission timer (T3-rtx).
    retransmission: Option<Instant>,
    /// How often it ran out since anything was acknowledged.
    pub(super) errors: u8,
}

/// The probe at the end of what was sent (the idea of RFC 8985, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// Nothing is under way, or the retransmission timer has run out.
    No,
    At(Instant),
    Due,
}

impl Sender {
    /// `packet` is the length of the longest packet, `round_trip` what others measured.
    pub(super) fn new(packet: usize, round_trip: Option<Duration>) -> Self {
        Self {
            queue: Queue::default(),
            chunks: Chunks::new(Tsn::default()),
            congestion: Congestion::new(packet),
            rtt: Rtt::new(round_trip),
            streams: Streams::default(),
            open: None,
            buffered: 0,
            outstanding: 0,
            window: 0,
            ordered: 0,
            order: 0,
            reordering: Reordering::default(),
            allowance: false,
            probe: Probe::No,
            probes: 0,
            retransmission: None,
            errors: 0,
        }
    }

    /// Begins with our initial TSN and the remote's window. Messages that wait stay.
    pub(super) fn start(&mut self, initial: Tsn, window: u32) {
        debug_assert!(self.chunks.is_empty(), "nothing was sent before");
        self.chunks = Chunks::new(initial);
        self.window = usize::try_from(window).unwrap_or(usize::MAX);
    }

    /// Drops everything but what is known of the path, after the remote began anew.
    pub(super) fn restart(&mut self, packet: usize, initial: Tsn, window: u32) {
        let rtt = self.rtt;
        *self = Self::new(packet, None);
        self.rtt = rtt;
        self.start(initial, window);
    }

    /// Takes as much of a message as there is room for, and returns how much.
    pub(super) fn send(
        &mut self,
        memory: &mut Memory<'_>,
        message: Outgoing,
        longest: u64,
        bytes: &[u8],
    ) -> Result<usize, SendError> {
        if bytes.is_empty() {
            return Err(SendError::Empty);
        }
        let before = match (self.open, message.first) {
            (None, true) => 0,
            (Some((open, before)), false) if open.stream == message.stream => before,
            _ => return Err(SendError::OtherMessage),
        };
        if before.saturating_add(bytes.len() as u64) > longest {
            return Err(SendError::TooLong);
        }
        let count = bytes.len().min(self.queue.room(memory.bytes));
        let Some(taken) = bytes.get(..count).filter(|taken| !taken.is_empty()) else {
            return Ok(0);
        };
        let last = message.last && count == bytes.len();
        let mut flags = 0;
        for (set, flag) in [
            (message.first, FIRST),
            (last, LAST),
            (message.unordered, UNORDERED),
        ] {
            if set {
                flags |= flag;
            }
        }
        if message.first {
            self.streams.begins(message.stream)?;
        }
        let record = (message.stream, message.ppid, flags);
        if self.queue.push(memory.bytes, record, taken).is_none() {
            debug_assert!(false, "there was room");
            return Ok(0);
        }
        self.buffered += count;
        self.open = if last {
            None
        } else {
            Some((message, before.saturating_add(count as u64)))
        };
        Ok(count)
    }

    /// What was sent in vain is sent again at once. The path failed, not the remote: that counts
    /// as no error. What is under way may be lost with the old path: it waits for no longer than if
    /// it were sent now.
    pub(super) fn path_is_back(&mut self, memory: &mut Memory<'_>, now: Instant) {
        self.rtt.end_back_off();
        if self.errors > 0 {
            self.errors = 0;
            self.send_again(memory);
            self.allowance = true;
            self.retransmission = Some(now.plus(self.rtt.rto()));
            return;
        }
        if self.probe == Probe::No {
            self.arm_probe(now);
        }
        let at = now.plus(self.rtt.rto());
        self.retransmission = self.retransmission.map(|old| old.min(at));
    }

    /// Bytes that are taken at once.
    pub(super) fn room(&self, memory: &Memory<'_>) -> usize {
        self.queue.room(memory.bytes)
    }

    pub(super) const fn buffered(&self) -> usize {
        self.buffered
    }

    /// The cumulative TSN ack that would be right for all we sent.
    pub(super) fn last_sent(&self) -> Tsn {
        self.chunks.end().before()
    }

    /// Whether all that was given is acknowledged.
    pub(super) const fn is_flushed(&self) -> bool {
        self.chunks.is_empty() && self.queue.is_cut()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.queue.used() == 0 && self.chunks.is_empty()
    }

    /// The window that the remote told.
    pub(super) fn window(&self) -> u32 {
        u32::try_from(self.window).unwrap_or(u32::MAX)
    }

    /// Whether something may be sent soon.
    pub(super) fn wants(&self, memory: &Memory<'_>) -> bool {
        let waits = !self.queue.is_cut() && !self.chunks.is_full(memory.chunks);
        self.chunks.first(Which::Lost).is_some() || self.probe == Probe::Due || waits
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        let probe = match self.probe {
            Probe::At(at) => Some(at),
            Probe::No | Probe::Due => None,
        };
        earlier(
            earlier(self.retransmission, probe),
            self.reordering.timeout(),
        )
    }

    /// Looks at the timers.
    pub(super) fn handle_timeout(&mut self, memory: &mut Memory<'_>, now: Instant) {
        if self.reordering.timeout().is_some_and(|at| now >= at) {
            self.find_losses(memory, now);
        }
        if matches!(self.probe, Probe::At(at) if now >= at) {
            self.probe = Probe::Due;
        }
        if self.retransmission.is_none_or(|at| now < at) {
            return;
        }
        self.rtt.back_off();
        self.errors = self.errors.saturating_add(1);
        self.send_again(memory);
        self.congestion.timed_out();
        self.allowance = true;
        self.retransmission = Some(now.plus(self.rtt.rto()));
    }

    /// Takes all that is in flight for lost.
    pub(super) fn send_again(&mut self, memory: &mut Memory<'_>) {
        while let Some(index) = self.chunks.first(Which::Flight) {
            self.chunks.move_to(memory.chunks, Which::Lost, index);
        }
        self.outstanding = 0;
        self.reordering.forget();
        self.probe = Probe::No;
        self.retransmission = None;
    }

    /// Fills a packet with what is lost and what is new. Returns whether anything was written.
    pub(super) fn write(
        &mut self,
        memory: &mut Memory<'_>,
        now: Instant,
        writer: &mut PacketWriter<'_>,
    ) -> bool {
        let before = self.order;
        let lost = self.write_lost(memory, now, writer);
        if self.probe == Probe::Due {
            self.probe = Probe::No;
            if self.order == before
                && let Some(last) = self.chunks.last(Which::Flight)
            {
                self.repeat(memory, now, writer, last, IMMEDIATE);
                self.probes = self.probes.saturating_add(1);
            }
        }
        if lost {
            self.write_new(memory, now, writer, before);
        }
        if self.order == before {
            return false;
        }
        self.allowance = false;
        if self.retransmission.is_none() {
            self.retransmission = Some(now.plus(self.rtt.rto()));
        }
        self.arm_probe(now);
        true
    }

    /// Waits for an acknowledgement from now on.
    fn arm_probe(&mut self, now: Instant) {
        self.probe = match self.rtt.patience() {
            Some(patience) if self.outstanding > 0 && self.errors == 0 => {
                let wait = patience.max(PROBE_MIN) << self.probes.min(PROBES_MAX);
                Probe::At(now.plus(wait))
            }
            _ => Probe::No,
        };
    }

    /// Whether `size` more bytes may be under way.
    fn may_send(&self, size: usize, limit: usize) -> bool {
        self.outstanding == 0 || self.outstanding + size <= limit || self.allowance
    }

    /// Writes what is lost. Returns whether nothing lost is left.
    fn write_lost(
        &mut self,
        memory: &mut Memory<'_>,
        now: Instant,
        writer: &mut PacketWriter<'_>,
    ) -> bool {
        while let Some(index) = self.chunks.first(Which::Lost) {
            let Some(chunk) = memory.chunks.get(index) else {
                return false;
            };
            let size = size(chunk.len);
            if !self.may_send(size, self.congestion.window())
                || writer.room() < size
                || !self.repeat(memory, now, writer, index, 0)
            {
                return false;
            }
            self.outstanding += size;
        }
        true
    }

    /// Writes a chunk again.
    fn repeat(
        &mut self,
        memory: &mut Memory<'_>,
        now: Instant,
        writer: &mut PacketWriter<'_>,
        index: usize,
        flags: u8,
    ) -> bool {
        let tsn = self.chunks.tsn(memory.chunks, index);
        let Some(chunk) = memory.chunks.get_mut(index) else {
            return false;
        };
        let payload = payload(memory.bytes, chunk);
        if writer.data(&data(chunk, tsn, flags), payload).is_none() {
            return false;
        }
        chunk.sent = Some(now);
        chunk.order = self.order;
        chunk.times = chunk.times.saturating_add(1);
        self.order = self.order.wrapping_add(1);
        self.chunks.move_to(memory.chunks, Which::Flight, index);
        true
    }

    /// Cuts and writes new chunks. `first` is the number of the first transmission of the packet.
    fn write_new(
        &mut self,
        memory: &mut Memory<'_>,
        now: Instant,
        writer: &mut PacketWriter<'_>,
        first: u32,
    ) {
        while !self.chunks.is_full(memory.chunks) {
            let Some(next) = self.queue.next(memory.bytes) else {
                return;
            };
            let room = writer.room() & !3;
            let Some(len) = room.checked_sub(DATA_HEADER_LEN).filter(|room| *room > 0) else {
                return;
            };
            let len = len.min(next.left);
            // A packet is filled up with whole messages only, so that no fragment is tiny.
            if len < next.left && self.order != first {
                return;
            }
            let Ok(short) = u16::try_from(len) else {
                return;
            };
            let size = size(short);
            let limit = self.congestion.window().min(self.window);
            // A closed window is tried with one chunk (RFC 9260, section 6.1, rule A).
            let begins = next.flags & FIRST != 0;
            let ordered = next.flags & UNORDERED == 0;
            if !self.may_send(size, limit)
                || (self.outstanding > 0 && self.outstanding + size > self.window)
                || (begins && ordered && self.ordered >= ORDERED_MAX)
            {
                return;
            }
            let mut flags = next.flags & !LAST;
            let ends = len == next.left && next.flags & LAST != 0;
            if ends {
                flags |= LAST;
            }
            let ssn = if ordered {
                self.streams.number(next.stream)
            } else {
                0
            };
            let Ok(at) = u32::try_from(next.at) else {
                return;
            };
            let chunk = Chunk {
                sent: Some(now),
                order: self.order,
                at,
                ppid: next.ppid,
                len: short,
                stream: next.stream,
                ssn,
                flags,
                state: State::InFlight,
                times: 1,
                ..Chunk::EMPTY
            };
            // With nothing behind it no second packet makes the remote acknowledge soon.
            let is_last = self.queue.holds_only(len) || self.chunks.is_almost_full(memory.chunks);
            let immediate = if is_last || self.congestion.is_small(limit) {
                IMMEDIATE
            } else {
                0
            };
            let tsn = self.chunks.end();
            let payload = payload(memory.bytes, &chunk);
            if writer
                .data(&data(&chunk, tsn, immediate), payload)
                .is_none()
                || self.chunks.push(memory.chunks, chunk).is_none()
            {
                debug_assert!(false, "there was room");
                return;
            }
            self.queue.cut(len);
            self.order = self.order.wrapping_add(1);
            self.outstanding += size;
            if ends {
                self.streams.ended(next.stream, tsn, ordered);
                self.ordered += u32::from(ordered);
            }
        }
    }
}

/// Bytes of a chunk with its head and padding: what remotes count too.
const fn size(len: u16) -> usize {
    DATA_HEADER_LEN + padded(len as usize)
}

fn payload<'m>(bytes: &'m [u8], chunk: &Chunk) -> (&'m [u8], &'m [u8]) {
    let at = usize::try_from(chunk.at).unwrap_or(usize::MAX);
    queue::bytes(bytes, at, usize::from(chunk.len))
}

fn data(chunk: &Chunk, tsn: Tsn, flags: u8) -> Data<'static> {
    Data {
        flags: chunk.flags | flags,
        tsn,
        stream: chunk.stream,
        ssn: chunk.ssn,
        ppid: chunk.ppid,
        payload: &[],
    }
}
