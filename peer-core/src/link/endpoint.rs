//! What both ends of a link have in common: frames in, frames out, timers.

use heapless::{String, Vec};
use serde::Serialize;

use crate::{bytes, time::Instant};

use super::{
    FRAME_MAX, FRAME_MIN, LEAF_NAME_MAX, LinkError, LinkSlices, LinkStats, NONCE_LEN, PROOF_LEN,
    SessionSlot, Timing, Version, WINDOW_MIN,
    cobs::{Decoded, Decoder, stuffed_len},
    data_queue,
    frame::{DATA_OVERHEAD, DataFrame, Frame, Greeting, SERVICE_MAX, Status, seal},
    inbox::{Inbox, window},
    outgoing::{Outgoing, Unsent},
    stream::{Place, Stream},
};

/// Bytes of stuffed service frames that wait. Two of the longest fit; more are dropped, and come
/// again with their timers.
const SERVICE_ROOM: usize = 2 * stuffed_len(SERVICE_MAX);

pub(super) type Name = String<LEAF_NAME_MAX>;

/// Which end of a link it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Its engine takes data at once.
    Leaf,
    /// Data waits in its memory for the driver.
    Gateway,
}

/// Memory that the two streams share for as long as a link session runs.
#[derive(Debug)]
pub(super) struct Divided<'m> {
    bytes: &'m mut [u8],
    /// Bytes of the control stream, which are the first.
    control: usize,
}

impl<'m> Divided<'m> {
    fn new(bytes: &'m mut [u8]) -> Self {
        let control = bytes.len();
        Self { bytes, control }
    }

    /// Leaves the last `data` bytes to the data stream.
    fn divide(&mut self, data: usize) {
        self.control = self.bytes.len().saturating_sub(data);
    }

    pub(super) fn control(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.control).unwrap_or_default()
    }

    pub(super) fn data(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.control..).unwrap_or_default()
    }
}

#[derive(Debug)]
pub(super) struct Endpoint<'m> {
    role: Role,
    decoder: Decoder<'m>,
    /// For frames that are not acknowledged.
    pub(super) transmit: Divided<'m>,
    /// For messages and data that are not taken.
    pub(super) receive: Divided<'m>,
    pub(super) control: Stream,
    pub(super) data: Stream,
    pub(super) inbox: Inbox,
    /// Stuffed service frames, the first partly written perhaps.
    service: Vec<u8, SERVICE_ROOM>,
    pub(super) timing: Timing,
    /// `None`: there is no link session.
    version: Option<Version>,
    /// When the last whole frame of the link session came.
    heard: Instant,
    /// When a status is due at the latest.
    status_at: Instant,
    pub(super) status_due: bool,
    pub(super) stats: LinkStats,
}

/// What came that the role has to decide on.
#[derive(Debug)]
pub(super) enum Heard {
    Hello(Greeting, Name),
    Challenge(Greeting, [u8; PROOF_LEN]),
    Proof([u8; PROOF_LEN]),
    Welcome,
    Refuse(LinkError),
    Reset(LinkError),
    /// Something of a link session, where there is none.
    Stray,
    /// The other end broke the rules of the link session.
    Fault(LinkError),
}

/// What became of a data frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// Not now; it has to come again.
    NoRoom,
    /// Nobody who keeps to the rules sends it.
    Violation,
}

impl<'m> Endpoint<'m> {
    pub(super) fn new(
        role: Role,
        timing: Timing,
        memory: LinkSlices<'m>,
    ) -> (Self, &'m mut [SessionSlot]) {
        let endpoint = Self {
            role,
            decoder: Decoder::new(memory.frame),
            transmit: Divided::new(memory.transmit),
            receive: Divided::new(memory.receive),
            control: Stream::new(Outgoing::default(), timing.resend),
            data: Stream::new(Outgoing::default(), timing.resend),
            inbox: Inbox::default(),
            service: Vec::new(),
            timing,
            version: None,
            heard: Instant::ZERO,
            status_at: Instant::ZERO,
            status_due: false,
            stats: LinkStats::default(),
        };
        memory.sessions.fill(SessionSlot::FREE);
        (endpoint, memory.sessions)
    }

    /// Bytes of the receive memory that data has in a link session of this version.
    fn data_memory(&self, version: Version) -> usize {
        match (self.role, version) {
            (Role::Gateway, Version::Two) => {
                let len = self.receive.bytes.len();
                (len / 4)
                    .max(super::DATA_QUEUE_MIN)
                    .min(len - len.min(WINDOW_MIN as usize))
            }
            _ => 0,
        }
    }

    /// What this end says of itself.
    pub(super) fn greeting(&self, version: Version, nonce: [u8; NONCE_LEN]) -> Greeting {
        let data = self.data_memory(version);
        let mut frame = self.decoder.capacity();
        if data > 0 {
            // The longest data frame fits the memory for data, once that is empty.
            frame = frame.min(data - data_queue::RECORD.min(data) + DATA_OVERHEAD);
        }
        Greeting {
            version: version.to_wire(),
            nonce,
            frame: u16::try_from(frame).unwrap_or(u16::MAX).min(FRAME_MAX),
            window: window(self.receive.bytes.len() - data),
        }
    }

    /// Whether both sides agree that there is a link session.
    pub(super) fn is_up(&self) -> bool {
        self.version.is_some()
    }

    /// The version of the link session.
    pub(super) fn version(&self) -> Option<Version> {
        self.version
    }

    /// Begins a link session with an end that said this of itself.
    pub(super) fn begin(&mut self, now: Instant, version: Version, other: &Greeting) {
        self.drop_session();
        let frame = other.frame.min(FRAME_MAX);
        let transmit = match version {
            Version::One => 0,
            Version::Two => self.transmit.bytes.len() / 4,
        };
        self.transmit.divide(transmit);
        self.receive.divide(self.data_memory(version));
        self.inbox = Inbox::new(self.receive.control());
        self.control.out = Outgoing::control(frame, other.window);
        self.data.out = Outgoing::data(frame, transmit);
        self.version = Some(version);
        self.heard = now;
        self.status_at = now + self.timing.keep_alive;
    }

    /// Ends the link session; messages that have come whole can still be taken, until
    /// [`Self::drop_session`].
    pub(super) fn halt(&mut self) {
        self.version = None;
        self.control = Stream::new(Outgoing::default(), self.timing.resend);
        self.data = Stream::new(Outgoing::default(), self.timing.resend);
        self.status_due = false;
    }

    /// Ends the link session; what was on its way is forgotten.
    pub(super) fn drop_session(&mut self) {
        self.halt();
        self.inbox = Inbox::default();
    }

    /// Queues a service frame. One that finds no room is dropped: its timer brings it again.
    pub(super) fn serve(&mut self, frame: &Frame<'_>) {
        let mut stuffed = [0; stuffed_len(SERVICE_MAX)];
        let len = seal(&frame.write(), &mut stuffed);
        let stuffed = len.and_then(|len| stuffed.get(..len));
        debug_assert!(stuffed.is_some(), "the longest fits");
        if self
            .service
            .extend_from_slice(stuffed.unwrap_or_default())
            .is_err()
        {
            debug!("a service frame found no room");
        }
    }

    /// Bytes of the longest message that fits now.
    pub(super) fn room(&mut self) -> usize {
        self.control.out.room(self.transmit.control())
    }

    /// Queues a message.
    pub(super) fn send(&mut self, message: &impl Serialize) -> Result<(), Unsent> {
        let sent = self.control.out.push(self.transmit.control(), message);
        let stats = &mut self.stats;
        match sent {
            Ok(()) => stats.messages_sent = stats.messages_sent.wrapping_add(1),
            Err(Unsent::TooLong) => stats.too_long = stats.too_long.wrapping_add(1),
            Err(Unsent::Full) => {}
        }
        sent
    }

    /// Takes bytes of the stream until something comes that the role has to decide on. `take` gets
    /// the data frames, and the memory for them.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        bytes: &mut &[u8],
        mut take: impl FnMut(&DataFrame<'_>, &mut [u8]) -> Taken,
    ) -> Option<Heard> {
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            let heard = match self.decoder.push(byte) {
                Decoded::More => None,
                Decoded::Garbage => {
                    self.garbage();
                    None
                }
                Decoded::Frame(len) => self.frame(now, len, &mut take),
            };
            if heard.is_some() {
                return heard;
            }
        }
        None
    }

    fn frame(
        &mut self,
        now: Instant,
        len: usize,
        take: &mut impl FnMut(&DataFrame<'_>, &mut [u8]) -> Taken,
    ) -> Option<Heard> {
        let frame = Frame::parse(self.decoder.frame(len));
        Some(match (frame, self.version) {
            (Some(Frame::Hello(greeting, name)), _) => {
                let name = Name::try_from(name);
                debug_assert!(name.is_ok(), "a longer name is no hello");
                Heard::Hello(greeting, name.ok()?)
            }
            (Some(Frame::Challenge(greeting, proof)), _) => Heard::Challenge(greeting, proof),
            (Some(Frame::Proof(proof)), _) => Heard::Proof(proof),
            (Some(Frame::Welcome), _) => Heard::Welcome,
            (Some(Frame::Refuse(refusal, _)), _) => Heard::Refuse(refusal),
            (Some(Frame::Reset(reason)), _) => Heard::Reset(reason),
            (Some(Frame::Status(_) | Frame::Control { .. } | Frame::Data(_)), None) => Heard::Stray,
            (Some(Frame::Status(status)), Some(version))
                if status.data.is_some() == (version == Version::Two) =>
            {
                self.heard = now;
                self.status_came(now, &status);
                return None;
            }
            (
                Some(Frame::Control {
                    flags,
                    number,
                    payload,
                }),
                Some(_),
            ) => {
                self.heard = now;
                match self.control.place(number) {
                    Place::Next => {
                        let taken = self.inbox.accept(self.receive.control(), flags, payload);
                        if taken.is_err() {
                            return Some(Heard::Fault(LinkError::Violation));
                        }
                        self.control.arrived();
                        self.status_due = true;
                    }
                    Place::Repeated => self.status_due = true,
                    Place::Early => self.status_due |= self.control.lost(),
                }
                return None;
            }
            (Some(Frame::Data(data)), Some(Version::Two)) => {
                self.heard = now;
                match self.data.place(data.number) {
                    Place::Next => match take(&data, self.receive.data()) {
                        Taken::Yes => {
                            self.data.arrived();
                            self.status_due = true;
                        }
                        Taken::NoRoom => self.data.refused(),
                        Taken::Violation => return Some(Heard::Fault(LinkError::Violation)),
                    },
                    Place::Repeated => self.status_due = true,
                    Place::Early => self.status_due |= self.data.lost(),
                }
                return None;
            }
            (None | Some(Frame::Status(_) | Frame::Data(_)), _) => {
                self.garbage();
                return None;
            }
        })
    }

    fn status_came(&mut self, now: Instant, status: &Status) {
        self.control.out.set_limit(status.limit);
        let control = self.transmit.control();
        let mut again = self.control.acknowledged(now, control, status.control);
        if let Some(told) = status.data {
            again |= self.data.acknowledged(now, self.transmit.data(), told);
        }
        if again {
            self.stats.resends = self.stats.resends.wrapping_add(1);
        }
    }

    fn garbage(&mut self) {
        self.stats.garbage = self.stats.garbage.wrapping_add(1);
        if let Some(version) = self.version {
            self.status_due |= self.control.lost();
            self.status_due |= version == Version::Two && self.data.lost();
        }
    }

    /// Drops the message that was taken.
    pub(super) fn taken(&mut self) {
        let memory = self.receive.control();
        self.inbox.pop(memory);
        self.stats.messages_received = self.stats.messages_received.wrapping_add(1);
        self.status_due |= self.is_up() && self.inbox.has_news(self.receive.control());
    }

    /// There may be room for data again.
    pub(super) fn has_data_room(&mut self) {
        self.status_due |= self.is_up() && self.data.has_room();
    }

    /// Writes bytes for the stream, which count as sent.
    ///
    /// A frame that is half written comes first, then service frames, then the control stream, then
    /// data: control never queues behind data.
    pub(super) fn transmit(&mut self, now: Instant, out: &mut [u8]) -> usize {
        self.tick(now);
        let mut at = 0;
        while let Some(room) = out.get_mut(at..).filter(|room| !room.is_empty()) {
            if self.control.out.is_mid_frame() {
                at += self.control.write(now, self.transmit.control(), room);
                continue;
            }
            if self.data.out.is_mid_frame() {
                at += self.data.write(now, self.transmit.data(), room);
                continue;
            }
            if self.is_up() && self.status_due && self.service.is_empty() {
                self.status(now);
            }
            if !self.service.is_empty() {
                at += self.write_service(room);
                continue;
            }
            let mut len = self.control.write(now, self.transmit.control(), room);
            if len == 0 {
                len = self.data.write(now, self.transmit.data(), room);
            }
            if len == 0 {
                break;
            }
            at += len;
        }
        at
    }

    fn write_service(&mut self, room: &mut [u8]) -> usize {
        let waiting = self.service.len();
        let len = waiting.min(room.len());
        let copied = self
            .service
            .get(..len)
            .and_then(|frames| bytes::copy(room, frames))
            .and_then(|()| bytes::copy_within(&mut self.service, len..waiting, 0));
        debug_assert!(copied.is_some(), "no more than there is");
        self.service.truncate(waiting - len);
        len
    }

    fn status(&mut self, now: Instant) {
        self.status_due = false;
        self.status_at = now + self.timing.keep_alive;
        let is_two = self.version == Some(Version::Two);
        let status = Status {
            control: self.control.acknowledgement(),
            limit: self.inbox.tell_limit(self.receive.control()),
            data: is_two.then(|| self.data.acknowledgement()),
        };
        self.serve(&Frame::Status(status));
    }

    /// Whether there is something to write.
    pub(super) fn has_output(&mut self, now: Instant) -> bool {
        self.tick(now);
        !self.service.is_empty()
            || (self.is_up() && self.status_due)
            || self.control.out.is_mid_frame()
            || self.control.out.may_write(self.transmit.control())
            || self.data.out.is_mid_frame()
            || self.data.out.may_write(self.transmit.data())
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if !self.is_up() {
            return None;
        }
        let status = Some(self.status_at.min(self.heard + self.timing.dead_after));
        let resend = [&self.control, &self.data].map(|stream| stream.timer.next_timeout());
        resend.into_iter().chain([status]).flatten().min()
    }

    /// Whether the link session has to end, and why.
    pub(super) fn check(&mut self, now: Instant) -> Option<LinkError> {
        if !self.is_up() {
            return None;
        }
        self.tick(now);
        if self.heard + self.timing.dead_after <= now {
            return Some(LinkError::Silent);
        }
        let exhausted = self.control.timer.is_exhausted() || self.data.timer.is_exhausted();
        exhausted.then_some(LinkError::NoProgress)
    }

    /// Makes due what the time has come for.
    fn tick(&mut self, now: Instant) {
        if !self.is_up() {
            return;
        }
        if self.status_at <= now {
            // Moved on at once: while the stream takes nothing, nothing is due again and again.
            self.status_due = true;
            self.status_at = now + self.timing.keep_alive;
        }
        let again = self.control.fire(now, self.transmit.control());
        if again | self.data.fire(now, self.transmit.data()) {
            self.stats.resends = self.stats.resends.wrapping_add(1);
        }
    }
}

/// The version in which an end can be talked to, or why it cannot: an unknown one, or limits below
/// the least.
pub(super) fn usable(greeting: &Greeting) -> Result<Version, LinkError> {
    let version =
        Version::from_wire(greeting.version).ok_or(LinkError::Version(greeting.version))?;
    let fits =
        greeting.frame >= FRAME_MIN && (WINDOW_MIN..=u32::MAX >> 1).contains(&greeting.window);
    fits.then_some(version).ok_or(LinkError::Limits)
}
