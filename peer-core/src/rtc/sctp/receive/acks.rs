//! When to acknowledge, and what came twice.

use super::super::serial::Tsn;
use crate::time::Instant;

/// Microseconds that a lone packet may wait for its acknowledgement (RFC 9260, section 6.2: at most
/// 500 ms).
const SACK_DELAY: u64 = 20_000;
/// Duplicates that are told in one SACK; more are counted as these.
const DUPLICATES_MAX: usize = 8;
/// SACKs before the last one for packets that came in one go. Of more packets the last ones are
/// told together.
const REPORTS_MAX: usize = 7;
/// Packets after the last gap that are reported so.
const LOSSY_PACKETS: u8 = 128;

/// Whether a SACK is owed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Due {
    #[default]
    No,
    /// One packet came and may be joined by a second until then.
    At(Instant),
    Now,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Acks {
    due: Due,
    duplicates: [Tsn; DUPLICATES_MAX],
    duplicate_count: usize,
    /// What the packet being read asks for.
    packet: Packet,
    /// The highest TSN after each packet that is reported by itself, the oldest first.
    reports: [Tsn; REPORTS_MAX],
    report_count: usize,
    /// That after the last packet.
    highest: Tsn,
    /// Packets until no more are reported by themselves.
    lossy: u8,
}

/// What one packet brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Packet {
    #[default]
    NoData,
    Data,
    /// It must be acknowledged at once.
    Urgent,
}

impl Acks {
    pub(super) fn data(&mut self) {
        if self.packet == Packet::NoData {
            self.packet = Packet::Data;
        }
    }

    pub(super) fn urgent(&mut self) {
        self.packet = Packet::Urgent;
    }

    /// What the packet brought must be acknowledged at once, if it brought anything.
    pub(super) fn hurry(&mut self) {
        if self.packet == Packet::Data {
            self.urgent();
        }
    }

    pub(super) fn duplicate(&mut self, tsn: Tsn) {
        if let Some(slot) = self.duplicates.get_mut(self.duplicate_count) {
            *slot = tsn;
            self.duplicate_count += 1;
        }
        self.urgent();
    }

    /// The end of a packet. While there is a gap every packet is acknowledged at once, and every
    /// second one else (RFC 9260, section 6.2). `highest` is the highest TSN that came.
    ///
    /// Whoever is given packets in trains sends only after the last of each. A remote that counts
    /// SACKs, to find a loss (three, section 7.2.4) and to open its congestion window, would get
    /// too few of them: it would wait for its timer. So where packets are lost, those of a train
    /// are reported one by one.
    pub(super) fn packet_ends(&mut self, now: Instant, gap: bool, highest: Tsn) {
        if self.packet == Packet::NoData {
            return;
        }
        self.lossy = match gap {
            true => LOSSY_PACKETS,
            false => self.lossy.saturating_sub(1),
        };
        if self.due == Due::Now
            && self.lossy > 0
            && highest.is_after(self.highest)
            && let Some(slot) = self.reports.get_mut(self.report_count)
        {
            *slot = self.highest;
            self.report_count += 1;
        }
        self.highest = highest;
        self.due = match (self.packet, self.due) {
            (Packet::Data, Due::No) if !gap => Due::At(now.plus(SACK_DELAY)),
            _ => Due::Now,
        };
        self.packet = Packet::NoData;
    }

    /// Takes the report of the earliest packet out: the highest TSN that had come with it.
    pub(super) fn report(&mut self) -> Option<Tsn> {
        let (&first, rest) = self.reports.get(..self.report_count)?.split_first()?;
        self.report_count = rest.len();
        self.reports.rotate_left(1);
        Some(first)
    }

    /// Asks for a SACK with the next packet.
    pub(super) fn now(&mut self) {
        self.due = Due::Now;
    }

    pub(super) const fn timeout(&self) -> Option<Instant> {
        match self.due {
            Due::At(at) => Some(at),
            Due::No | Due::Now => None,
        }
    }

    /// Whether one has to be sent now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        match self.due {
            Due::No => false,
            Due::At(at) => now >= at,
            Due::Now => true,
        }
    }

    /// Whether one may go with other chunks.
    pub(super) fn is_wanted(&self) -> bool {
        self.due != Due::No
    }

    pub(super) fn duplicates(&self) -> &[Tsn] {
        self.duplicates
            .get(..self.duplicate_count)
            .unwrap_or_default()
    }

    pub(super) fn sent(&mut self) {
        self.due = Due::No;
        self.duplicate_count = 0;
        self.report_count = 0;
    }
}
