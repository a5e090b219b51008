//! What was accepted has to arrive: once, in order, before a flush-close.

use std::collections::VecDeque;

use peer_core::peer::ConnectionHandle;
use peer_core::time::Duration;

use crate::host::HostId;
use crate::session::{End, EndId, Stage};
use crate::sim::{Happening, Sim};

/// How long something may be undelivered on a channel that is idle.
const DELIVERY_SLACK: Duration = Duration::from_secs(2);
/// The same for a device, which does not poll its engine while its TCP takes nothing. What travels
/// over a link is not looked into either.
const DEVICE_SLACK: Duration = Duration::from_secs(40);

/// PeerJS's close message in BinaryPack and in JSON.
const CLOSE_MESSAGES: [&[u8]; 2] = [
    b"\x81\xba__peerData\x81\xb4type\xb5close",
    br#"{"__peerData":{"type":"close"}}"#,
];

/// What one end sent and the other has not read, as digests.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sent: VecDeque<u64>,
    /// The receiver said that a message did not fit its memory, so some may be missing.
    excused: bool,
    /// Looked at again soon.
    watched: bool,
}

impl Sim {
    pub(crate) fn mark_reading(&mut self, id: HostId, handle: ConnectionHandle) {
        if let Some(record) = self.hosts[id.0].record_mut(handle) {
            record.reading = true;
        }
    }

    pub(crate) fn done_reading(&mut self, id: HostId, handle: ConnectionHandle) {
        let Some(record) = self.hosts[id.0].record_mut(handle) else {
            return;
        };
        record.reading = false;
        self.check_flushed(id, handle);
    }

    /// A frame is about to be fed.
    pub(crate) fn look_for_close(&mut self, id: HostId, handle: ConnectionHandle, frame: &[u8]) {
        if CLOSE_MESSAGES.contains(&frame)
            && let Some(record) = self.hosts[id.0].record_mut(handle)
        {
            record.told_close = true;
        }
    }

    /// Whether a connection that the remote closed with a flush brought all that was accepted
    /// before.
    pub(crate) fn check_flushed(&mut self, id: HostId, handle: ConnectionHandle) {
        let Some(record) = self.hosts[id.0].record(handle) else {
            return;
        };
        let Some(remote) = record
            .remote_end
            .filter(|_| record.told_close && record.ended && !record.reading)
            // It may have closed by itself, and not have been polled since.
            .filter(|_| !record.closed_here)
        else {
            return;
        };
        let ledger = &self.ledgers[remote];
        if !ledger.excused && !ledger.sent.is_empty() {
            let count = ledger.sent.len();
            self.violated(
                "flush-delivers",
                format_args!("{handle:?} was closed by a flush and lacks {count} messages"),
            );
        }
    }

    /// A message was not accepted for want of room.
    pub(crate) fn record_full(&mut self, id: HostId, handle: ConnectionHandle) {
        self.stats.sends_full += 1;
        if let Some(record) = self.hosts[id.0].record_mut(handle) {
            record.wants_room = true;
        }
    }

    /// The application wanted to read and there is no such connection.
    pub(crate) fn check_vanished(&mut self, id: HostId, handle: ConnectionHandle) {
        let reads = self.hosts[id.0]
            .record(handle)
            .is_some_and(|record| record.reading);
        // Of a message that is read in pieces what is unread may go with the connection.
        if reads && !self.hosts[id.0].options.streams_in {
            self.violated(
                "unread-kept",
                format_args!("{handle:?} is gone with its messages"),
            );
        }
    }

    /// A message was accepted.
    pub(crate) fn record_sent(&mut self, id: HostId, handle: ConnectionHandle, digest: u64) {
        self.stats.messages_sent += 1;
        let end = self.hosts[id.0]
            .record(handle)
            .and_then(|record| record.end);
        if let Some(end) = end {
            self.ledgers[end].sent.push_back(digest);
        }
    }

    /// A message did not fit the receiver's memory, which it reported.
    pub(crate) fn excuse(&mut self, id: HostId, handle: ConnectionHandle) {
        self.stats.too_big += 1;
        if let Some(end) = self.hosts[id.0]
            .record(handle)
            .and_then(|record| record.remote_end)
        {
            self.ledgers[end].excused = true;
        }
    }

    pub(crate) fn check_received(&mut self, id: HostId, handle: ConnectionHandle, digest: u64) {
        let Some(record) = self.hosts[id.0].record(handle) else {
            return;
        };
        let Some(remote) = record.remote_end else {
            return;
        };
        let ordered = record.ordered;
        let ledger = &mut self.ledgers[remote];
        match ledger.sent.iter().position(|sent| *sent == digest) {
            None => self.violated(
                "invented-message",
                format_args!("{handle:?} delivered {digest:016x}, which is not on its way"),
            ),
            Some(0) => {
                ledger.sent.pop_front();
            }
            Some(at) if ledger.excused && ordered => {
                ledger.sent.drain(..=at);
            }
            Some(at) => {
                ledger.sent.remove(at);
                if ordered {
                    self.violated(
                        "order-kept",
                        format_args!("{handle:?} delivered {digest:016x} before {at} older ones"),
                    );
                }
            }
        }
    }

    /// Everything this end handed to its channel has been acknowledged: whether it was read, too,
    /// and whether its application knows that there is room, is looked at a little later.
    pub(crate) fn check_delivered(&mut self, end: EndId) {
        let slack = if self.is_of_device(end) {
            DEVICE_SLACK
        } else {
            DELIVERY_SLACK
        };
        let at = self.now + slack;
        let waits = !self.ledgers[end].sent.is_empty() || self.wants_room(end);
        if self.is_idle(end) && waits && !core::mem::replace(&mut self.ledgers[end].watched, true) {
            let oldest = self.ledgers[end].sent.front().copied();
            self.schedule(at, Happening::Undelivered(end, oldest));
        }
    }

    pub(crate) fn check_undelivered(&mut self, end: EndId, oldest: Option<u64>) {
        self.ledgers[end].watched = false;
        if !self.is_idle(end) {
            return;
        }
        let ledger = &self.ledgers[end];
        let is_stuck = oldest.is_some() && ledger.sent.front().copied() == oldest;
        if is_stuck && !ledger.excused {
            let count = ledger.sent.len();
            let ends = [
                Some(end),
                self.ends[end].as_deref().and_then(|end| end.remote),
            ];
            let ends = ends.map(|end| {
                let end = self.ends[end?].as_deref()?;
                Some((self.name(end.host).to_owned(), end.handle))
            });
            self.violated(
                "nothing-lost",
                format_args!(
                    "{count} messages were accepted, acknowledged and never read, from and to {ends:?}"
                ),
            );
        }
        if self.wants_room(end) && self.ledgers[end].sent.is_empty() {
            self.violated(
                "writable-comes",
                format_args!("end {end} has all the room there is and was not told"),
            );
        }
    }

    /// Whether one of both ends belongs to a device.
    fn is_of_device(&self, end: EndId) -> bool {
        let is_device = |end: EndId| {
            let end = self.ends[end].as_deref();
            end.is_some_and(|end| self.hosts[end.host.0].is_device())
        };
        let remote = self.ends[end].as_deref().and_then(|end| end.remote);
        is_device(end) || remote.is_some_and(is_device)
    }

    fn wants_room(&self, end: EndId) -> bool {
        self.ends[end]
            .as_deref()
            .and_then(|end| self.hosts[end.host.0].record(end.handle))
            .is_some_and(|record| record.wants_room && !record.ended)
    }

    /// Whether both ends live, the way from this one to the other is empty, and nobody is slow.
    fn is_idle(&self, id: EndId) -> bool {
        let end = |id: EndId| {
            self.ends[id]
                .as_deref()
                .filter(|end| end.stage == Stage::Established)
        };
        let Some(near) = end(id) else { return false };
        let Some(far) = near.remote.and_then(end) else {
            return false;
        };
        let host = |end: &End| &self.hosts[end.host.0];
        let is_slow = host(far)
            .record(far.handle)
            .is_none_or(|record| record.reading || record.ended || !record.opened);
        near.tx.is_idle()
            && far.rx.is_empty()
            && host(far).leased.held.is_empty()
            && !is_slow
            && host(near).is_drained()
            && host(far).is_drained()
    }
}

#[cfg(test)]
impl Ledger {
    /// Puts the newest first.
    pub(crate) fn reorder_for_test(&mut self) {
        self.sent.rotate_right(1);
    }
}
