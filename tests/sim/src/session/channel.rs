//! What waits at both ends of a channel, and a model of one SCTP stream with user messages:
//! reliable, ordered or not, with a window and repetitions.
//!
//! Of the model: a message is one unit that is lost as soon as one of its packets is. The window
//! does not adapt; acknowledgements are one a message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use peer_core::peer::ConnectionHandle;
use peer_core::serialization::MessageKind;
use peer_core::time::{Duration, Instant};

use crate::host::HostId;
use crate::io::{RtcStimulus, Stimulus};
use crate::session::modelled::Body;
use crate::session::{Below, End, EndId, Stage};
use crate::sim::{Happening, Sim};

/// Bytes on the way at once.
const WINDOW: usize = 64 * 1024;
/// Bytes a receiver holds for an application that does not read. Beyond: not acknowledged, so sent
/// again.
pub(crate) const RECEIVE_WINDOW: usize = 256 * 1024;
/// Bytes that are read of a real session and that the engine has not taken: one message may go
/// beyond.
const READ_AHEAD: usize = 16 * 1024;
/// A message is repeated first after this; doubles up to [`REPEAT_MAX`].
const REPEAT_FIRST: Duration = Duration::from_millis(600);
const REPEAT_MAX: Duration = Duration::from_secs(3);

/// What a message carries.
#[derive(Debug)]
pub(crate) enum Payload {
    /// DCEP's OPEN.
    Open,
    Frame(MessageKind, Rc<[u8]>),
}

impl Payload {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Open => 40,
            Self::Frame(_, bytes) => bytes.len(),
        }
    }

    /// What it counts in `bufferedAmount`.
    fn buffered(&self) -> usize {
        match self {
            Self::Open => 0,
            Self::Frame(_, bytes) => bytes.len(),
        }
    }
}

#[derive(Debug)]
struct Flying {
    payload: Rc<Payload>,
    repeat_at: Instant,
    repeats: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Sender {
    waiting: VecDeque<Rc<Payload>>,
    flying: BTreeMap<u32, Flying>,
    flying_bytes: usize,
    next: u32,
    pub(crate) buffered: usize,
    /// A message that comes in pieces.
    partial: Option<(MessageKind, Vec<u8>)>,
    /// Bytes that the engine may send, where it was told.
    pub(crate) credit: Option<usize>,
    /// Bytes of the first message that waits which a real session has, and bytes that it has and
    /// that are not acknowledged.
    pub(super) given: usize,
    below: usize,
}

/// What a stack that counts credit takes at most.
const CREDIT_MAX: usize = 24 * 1024;

impl Sender {
    /// What it has room for. A message of which the end has not come takes none: it is sent when it
    /// is whole.
    pub(crate) fn room(&self) -> usize {
        let partial = self.partial.as_ref().map_or(0, |(_, bytes)| bytes.len());
        CREDIT_MAX.saturating_sub(self.buffered - partial)
    }

    /// Takes a message, or a piece of one. What is wrong with it.
    pub(crate) fn push_piece(
        &mut self,
        first: bool,
        last: bool,
        kind: MessageKind,
        bytes: &[u8],
    ) -> Result<(), String> {
        if let Some(credit) = &mut self.credit {
            let left = credit.checked_sub(bytes.len());
            *credit = left.ok_or(format!("{} bytes, {credit} bytes of credit", bytes.len()))?;
        }
        let mut partial = match (first, self.partial.take()) {
            (true, None) => (kind, Vec::new()),
            (false, Some(partial)) if partial.0 == kind => partial,
            (first, partial) => return Err(format!("first {first} after {partial:?}")),
        };
        partial.1.extend(bytes);
        self.buffered += bytes.len();
        if last {
            self.waiting
                .push_back(Rc::new(Payload::Frame(kind, partial.1.into())));
        } else {
            self.partial = Some(partial);
        }
        Ok(())
    }

    /// Messages that a real session has not taken, in order.
    pub(super) fn waiting(&self) -> Vec<Rc<Payload>> {
        self.waiting.iter().map(Rc::clone).collect()
    }

    /// A real session has taken so many messages and so much of the next one. Whether less is
    /// buffered than was.
    pub(super) fn took(&mut self, messages: usize, given: usize, below: usize) -> bool {
        self.waiting.drain(..messages);
        (self.given, self.below) = (given, below);
        let waiting: usize = self.waiting.iter().map(|payload| payload.len()).sum();
        let partial = self.partial.as_ref().map_or(0, |(_, bytes)| bytes.len());
        let buffered = waiting - given + partial + below;
        core::mem::replace(&mut self.buffered, buffered) > buffered
    }

    /// W3C's `bufferedAmount`.
    pub(crate) fn buffered_amount(&self) -> u32 {
        u32::try_from(self.buffered).unwrap_or(u32::MAX)
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.flying.values().map(|flying| flying.repeat_at).min()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.flying.is_empty()
            && self.partial.is_none()
            && self.below == 0
    }
}

#[derive(Debug, Default)]
pub(crate) struct Receiver {
    /// All below have come.
    next: u32,
    ahead: BTreeMap<u32, Rc<Payload>>,
    seen: BTreeSet<u32>,
    opened: bool,
    /// What the engine could not take yet, in order.
    pub(crate) held: VecDeque<RtcStimulus>,
    held_bytes: usize,
    /// A real session has more to read.
    pub(super) unread: bool,
}

impl Receiver {
    /// How many bytes more may be read of a real session. Its own memory holds the others.
    pub(super) fn room(&self) -> usize {
        READ_AHEAD.saturating_sub(self.held_bytes)
    }

    pub(super) const fn read(&mut self, len: usize) {
        self.held_bytes += len;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && !self.unread
    }
}

impl Sim {
    /// The offerer's DCEP OPEN, before all else.
    pub(crate) fn channel_open(&mut self, id: EndId) {
        if let Some(end) = self.ends[id].as_deref_mut() {
            end.tx.waiting.push_front(Rc::new(Payload::Open));
            // The way back has no OPEN of its own.
            end.rx.opened = true;
        }
        self.channel_flush(id);
    }

    /// Sends what the window lets through.
    pub(crate) fn channel_flush(&mut self, id: EndId) {
        if matches!(
            self.ends[id].as_deref(),
            Some(End {
                below: Below::Real(_),
                ..
            })
        ) {
            self.turn_real(id);
            return;
        }
        let now = self.now;
        loop {
            let Some(end) = self.ends[id].as_deref_mut() else {
                return;
            };
            if end.stage != Stage::Established {
                return;
            }
            let tx = &mut end.tx;
            let Some(payload) = tx.waiting.front() else {
                break;
            };
            if tx.flying_bytes > 0 && tx.flying_bytes + payload.len() > WINDOW {
                break;
            }
            let Some(payload) = tx.waiting.pop_front() else {
                break;
            };
            let tsn = tx.next;
            tx.next += 1;
            tx.flying_bytes += payload.len();
            tx.flying.insert(
                tsn,
                Flying {
                    payload: Rc::clone(&payload),
                    repeat_at: now + REPEAT_FIRST,
                    repeats: 0,
                },
            );
            self.transmit(id, Body::Data(tsn, payload));
        }
        self.arm_modelled(id);
    }

    /// Repeats what was not acknowledged in time.
    pub(crate) fn channel_repeat(&mut self, id: EndId) {
        let now = self.now;
        let Some(end) = self.ends[id].as_deref_mut() else {
            return;
        };
        if end.tx.due().is_none_or(|at| at > now) {
            return;
        }
        let mut again = Vec::new();
        for (tsn, flying) in &mut end.tx.flying {
            if flying.repeat_at <= now {
                flying.repeats += 1;
                let wait = (REPEAT_FIRST * (1 << flying.repeats.min(6))).min(REPEAT_MAX);
                flying.repeat_at = now + wait;
                again.push((*tsn, Rc::clone(&flying.payload)));
            }
        }
        for (tsn, payload) in again {
            self.transmit(id, Body::Data(tsn, payload));
        }
    }

    /// Tells how much there is room for, where the stack counts credit.
    pub(crate) fn channel_credit(&mut self, id: EndId) {
        let counts = self.ends[id]
            .as_deref()
            .is_some_and(|end| end.tx.credit.is_some());
        if counts {
            // What it has room for is looked up when it is told.
            self.tell(id, RtcStimulus::Credit(0));
        }
    }

    pub(crate) fn channel_ack(&mut self, id: EndId, tsn: u32) {
        let Some(end) = self.ends[id].as_deref_mut() else {
            return;
        };
        let Some(flying) = end.tx.flying.remove(&tsn) else {
            return;
        };
        end.tx.flying_bytes -= flying.payload.len();
        end.tx.buffered -= flying.payload.buffered();
        let buffered = end.tx.buffered_amount();
        if flying.payload.buffered() > 0 {
            self.tell(id, RtcStimulus::Buffered(buffered));
            self.channel_credit(id);
        }
        self.channel_flush(id);
        self.check_delivered(id);
    }

    pub(crate) fn channel_data(&mut self, id: EndId, tsn: u32, payload: Rc<Payload>) {
        let Some(end) = self.ends[id].as_deref_mut() else {
            return;
        };
        // The association may be up at the remote while our last flight was lost: its data is
        // repeated.
        if end.stage != Stage::Established {
            return;
        }
        let ordered = end.ordered;
        let rx = &mut end.rx;
        let is_new = tsn >= rx.next && !rx.ahead.contains_key(&tsn) && !rx.seen.contains(&tsn);
        if !is_new {
            self.transmit(id, Body::Ack(tsn));
            return;
        }
        // Until the channel is open nothing may overtake its OPEN.
        let in_turn = ordered || !rx.opened;
        let ahead: usize = rx.ahead.values().map(|payload| payload.len()).sum();
        // What came ahead cannot keep out what it waits for.
        let ahead = if tsn == rx.next { 0 } else { ahead };
        if rx.held_bytes + ahead + payload.len() > RECEIVE_WINDOW {
            return;
        }
        let mut ready = Vec::new();
        if in_turn {
            rx.ahead.insert(tsn, payload);
            while let Some(payload) = rx.ahead.remove(&rx.next) {
                rx.next += 1;
                rx.opened |= matches!(*payload, Payload::Open);
                ready.push(payload);
                if rx.opened && !ordered {
                    // What waited for the OPEN need not wait any longer.
                    for (tsn, payload) in core::mem::take(&mut rx.ahead) {
                        rx.seen.insert(tsn);
                        ready.push(payload);
                    }
                }
                while rx.seen.remove(&rx.next) {
                    rx.next += 1;
                }
            }
        } else {
            rx.seen.insert(tsn);
            while rx.seen.remove(&rx.next) {
                rx.next += 1;
            }
            ready.push(payload);
        }
        self.transmit(id, Body::Ack(tsn));
        for payload in ready {
            let stimulus = match &*payload {
                Payload::Open => RtcStimulus::Opened,
                Payload::Frame(kind, bytes) => {
                    self.stats.frames += 1;
                    if let Some(end) = self.ends[id].as_deref_mut() {
                        end.rx.held_bytes += bytes.len();
                    }
                    RtcStimulus::Frame(*kind, Rc::clone(bytes), 0)
                }
            };
            self.tell(id, stimulus);
        }
    }

    fn receiver(&mut self, host: HostId, handle: ConnectionHandle) -> Option<&mut Receiver> {
        let end = *self.hosts[host.0].ends.get(&handle)?;
        self.ends[end].as_deref_mut().map(|end| &mut end.rx)
    }

    /// Whether an input has to wait behind what the engine could not take. Keeps it then.
    pub(crate) fn must_hold(
        &mut self,
        host: HostId,
        handle: ConnectionHandle,
        rtc: &RtcStimulus,
    ) -> bool {
        let is_in_turn = matches!(
            rtc,
            RtcStimulus::Frame(..) | RtcStimulus::Closed | RtcStimulus::Failed(_)
        );
        let Some(rx) = self.receiver(host, handle) else {
            return false;
        };
        if !is_in_turn {
            return false;
        }
        if rx.held.is_empty() {
            if let RtcStimulus::Frame(_, bytes, _) = rtc {
                rx.held_bytes -= bytes.len();
                self.read_on(host, handle);
            }
            return false;
        }
        rx.held.push_back(rtc.clone());
        true
    }

    /// Something was taken: a real session that has more is read.
    fn read_on(&mut self, host: HostId, handle: ConnectionHandle) {
        let Some(end) = self.hosts[host.0].ends.get(&handle).copied() else {
            return;
        };
        let rx = self.ends[end].as_deref().map(|end| &end.rx);
        if rx.is_some_and(|rx| rx.unread && rx.room() > 0) {
            let now = self.now;
            self.schedule(now, Happening::EndTick(end));
        }
    }

    /// So many bytes were taken, or dropped.
    pub(crate) fn release_held(&mut self, host: HostId, handle: ConnectionHandle, len: usize) {
        if let Some(rx) = self.receiver(host, handle) {
            rx.held_bytes = rx.held_bytes.saturating_sub(len);
        }
        self.read_on(host, handle);
    }

    /// Keeps a frame that the engine refused for now.
    pub(crate) fn hold(&mut self, host: HostId, stimulus: Stimulus) {
        let Stimulus::Rtc(handle, rtc) = stimulus else {
            return;
        };
        let Some(rx) = self.receiver(host, handle) else {
            return;
        };
        if let RtcStimulus::Frame(_, bytes, _) = &rtc {
            rx.held_bytes += bytes.len();
        }
        rx.held.push_front(rtc);
    }

    /// Feeds what was held back as far as the engine takes it.
    pub(crate) fn feed_held(&mut self, host: HostId, handle: ConnectionHandle) {
        loop {
            let Some(rx) = self.receiver(host, handle) else {
                return;
            };
            let Some(rtc) = rx.held.pop_front() else {
                return;
            };
            if let RtcStimulus::Frame(_, bytes, _) = &rtc {
                rx.held_bytes -= bytes.len();
            }
            self.read_on(host, handle);
            let Some(rx) = self.receiver(host, handle) else {
                return;
            };
            let before = rx.held.len();
            self.input(host, &Stimulus::Rtc(handle, rtc));
            match self.receiver(host, handle) {
                Some(rx) if rx.held.len() > before => return,
                _ => {}
            }
        }
    }
}
