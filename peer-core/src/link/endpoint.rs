//! What both ends of a link have in common: frames in, frames out, credit, timers.

use heapless::{String, Vec};

use crate::{bytes, time::Instant};

use super::{
    DownReason, FRAME_MAX, FRAME_MIN, LEAF_NAME_MAX, LinkSlices, LinkStats, NONCE_LEN, PROOF_LEN,
    Refusal, Timing, VERSION, WINDOW_MIN,
    cobs::{Decoded, Decoder, stuffed_len},
    frame::{CONTROL_MAX, Frame, Greeting, Status, seal},
    message::Outbound,
    retransmission::Retransmission,
    window::{Accepted, Incoming, Outgoing},
};

/// Bytes of stuffed control frames that wait. Two fit; more are dropped, and come again with their timers.
const CONTROL_ROOM: usize = 2 * stuffed_len(CONTROL_MAX);

pub(super) type Name = String<LEAF_NAME_MAX>;

#[derive(Debug)]
pub(super) struct Endpoint<'m> {
    decoder: Decoder<'m>,
    pub(super) outgoing: Outgoing<'m>,
    pub(super) incoming: Incoming<'m>,
    /// Stuffed control frames, the first partly written perhaps.
    control: Vec<u8, CONTROL_ROOM>,
    pub(super) timing: Timing,
    up: bool,
    /// When the last whole frame of the session came.
    heard: Instant,
    /// When a status is due at the latest.
    status_at: Instant,
    status_due: bool,
    /// The next status asks for data again.
    complain: bool,
    /// It was asked for, and has not come yet.
    complained: bool,
    retransmission: Retransmission,
    pub(super) stats: LinkStats,
}

/// What came that the role has to decide on.
#[derive(Debug)]
pub(super) enum Heard {
    Hello(Greeting, Name),
    Challenge(Greeting, [u8; PROOF_LEN]),
    Proof([u8; PROOF_LEN]),
    Welcome,
    Refuse(Refusal),
    Reset(DownReason),
    /// Something of a session, where there is none.
    Stray,
    /// The other end broke the rules of the session.
    Fault(DownReason),
}

impl<'m> Endpoint<'m> {
    pub(super) fn new(timing: Timing, memory: LinkSlices<'m>) -> (Self, &'m mut [super::Session]) {
        let mut endpoint = Self {
            decoder: Decoder::new(memory.frame),
            outgoing: Outgoing::new(memory.transmit),
            incoming: Incoming::new(memory.receive),
            control: Vec::new(),
            timing,
            up: false,
            heard: Instant::ZERO,
            status_at: Instant::ZERO,
            status_due: false,
            complain: false,
            complained: false,
            retransmission: Retransmission::new(timing.resend),
            stats: LinkStats::default(),
        };
        endpoint.drop_session();
        for session in memory.sessions.iter_mut() {
            *session = super::Session::FREE;
        }
        (endpoint, memory.sessions)
    }

    /// What this end says of itself.
    pub(super) fn greeting(&self, nonce: [u8; NONCE_LEN]) -> Greeting {
        Greeting {
            version: VERSION,
            nonce,
            frame: u16::try_from(self.decoder.capacity())
                .unwrap_or(u16::MAX)
                .min(FRAME_MAX),
            window: self.incoming.window(),
        }
    }

    /// Whether both sides agree that there is a session.
    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// Begins a session with an end that said this of itself.
    pub(super) fn begin(&mut self, now: Instant, other: &Greeting) {
        self.outgoing
            .start(other.frame.min(FRAME_MAX), other.window);
        self.incoming.clear();
        self.up = true;
        self.heard = now;
        self.status_at = now + self.timing.keep_alive;
    }

    /// Ends the session; what has come whole can still be taken, until [`Self::drop_session`].
    pub(super) fn halt(&mut self) {
        self.up = false;
        self.outgoing.clear();
    }

    /// Ends the session; what was on its way is forgotten.
    pub(super) fn drop_session(&mut self) {
        self.up = false;
        self.outgoing.clear();
        // What may be said before the other end is known: the least that every end takes.
        self.outgoing.start(FRAME_MIN, WINDOW_MIN);
        self.incoming.clear();
        self.status_due = false;
        self.complain = false;
        self.complained = false;
        self.retransmission = Retransmission::new(self.timing.resend);
    }

    /// Queues a control frame. One that finds no room is dropped: its timer brings it again.
    pub(super) fn control(&mut self, frame: &Frame<'_>) {
        let mut stuffed = [0; stuffed_len(CONTROL_MAX)];
        if let Some(len) = seal(core::iter::once(&frame.write()[..]), &mut stuffed) {
            let stuffed = stuffed.get(..len).unwrap_or_default();
            let _ = self.control.extend_from_slice(stuffed);
        }
    }

    /// Queues a message. The caller asked whether there is room.
    pub(super) fn send(&mut self, message: &Outbound<'_>) -> Option<()> {
        self.outgoing.push(&message.parts())?;
        self.stats.messages_sent = self.stats.messages_sent.wrapping_add(1);
        Some(())
    }

    /// Takes bytes of the stream until something comes that the role has to decide on.
    pub(super) fn receive(&mut self, now: Instant, bytes: &mut &[u8]) -> Option<Heard> {
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            let heard = match self.decoder.push(byte) {
                Decoded::More => None,
                Decoded::Garbage => {
                    self.garbage();
                    None
                }
                Decoded::Frame(len) => self.frame(now, len),
            };
            if heard.is_some() {
                return heard;
            }
        }
        None
    }

    fn frame(&mut self, now: Instant, len: usize) -> Option<Heard> {
        let Some(frame) = Frame::parse(self.decoder.frame(len)) else {
            self.garbage();
            return None;
        };
        let heard = match frame {
            Frame::Hello(greeting, name) => {
                Heard::Hello(greeting, Name::try_from(name).unwrap_or_default())
            }
            Frame::Challenge(greeting, proof) => Heard::Challenge(greeting, proof),
            Frame::Proof(proof) => Heard::Proof(proof),
            Frame::Welcome => Heard::Welcome,
            Frame::Refuse(refusal) => Heard::Refuse(refusal),
            Frame::Reset(reason) => Heard::Reset(reason),
            Frame::Status(_) | Frame::Data { .. } if !self.up => Heard::Stray,
            Frame::Status(status) => {
                self.heard = now;
                let outgoing = &mut self.outgoing;
                if outgoing.acknowledge(status.next, status.limit, status.resend) {
                    let more = outgoing.awaits_acknowledgement();
                    self.retransmission.acknowledged(now, status.next, more);
                }
                if status.resend {
                    self.retransmission.asked();
                    self.stats.resends = self.stats.resends.wrapping_add(1);
                }
                return None;
            }
            Frame::Data {
                flags,
                number,
                payload,
            } => {
                self.heard = now;
                match self.incoming.accept(flags, number, payload) {
                    Accepted::Next => {
                        self.complained = false;
                        self.status_due = true;
                    }
                    Accepted::Repeated => self.status_due = true,
                    Accepted::Early => self.ask_again(),
                    Accepted::Violation => return Some(Heard::Fault(DownReason::Violation)),
                }
                return None;
            }
        };
        Some(heard)
    }

    fn garbage(&mut self) {
        self.stats.garbage = self.stats.garbage.wrapping_add(1);
        if self.up {
            self.ask_again();
        }
    }

    /// Something was lost: asks for it, once.
    fn ask_again(&mut self) {
        if !self.complained {
            self.complained = true;
            self.complain = true;
            self.status_due = true;
        }
    }

    /// Drops the message that was taken.
    pub(super) fn taken(&mut self) {
        self.incoming.pop();
        self.stats.messages_received = self.stats.messages_received.wrapping_add(1);
        self.status_due |= self.incoming.has_news();
    }

    /// Writes bytes for the stream, which count as sent.
    pub(super) fn transmit(&mut self, now: Instant, out: &mut [u8]) -> usize {
        self.tick(now);
        let mut at = 0;
        while let Some(room) = out.get_mut(at..).filter(|room| !room.is_empty()) {
            if self.outgoing.is_mid_frame() {
                at += self.write_data(now, room);
                continue;
            }
            if self.up && self.status_due && self.control.is_empty() {
                self.status(now);
            }
            if !self.control.is_empty() {
                let waiting = self.control.len();
                let len = waiting.min(room.len());
                bytes::copy(room, self.control.get(..len).unwrap_or_default());
                bytes::copy_within(&mut self.control, len..waiting, 0);
                self.control.truncate(waiting - len);
                at += len;
                continue;
            }
            match self.up {
                true => match self.write_data(now, room) {
                    0 => break,
                    len => at += len,
                },
                false => break,
            }
        }
        at
    }

    fn write_data(&mut self, now: Instant, room: &mut [u8]) -> usize {
        let (len, frame) = self.outgoing.write(room);
        // One that was acknowledged while it was written again is gone by now.
        if let Some(frame) = frame
            && self.outgoing.awaits_acknowledgement()
        {
            self.retransmission.written(now, frame.number, frame.again);
        }
        len
    }

    fn status(&mut self, now: Instant) {
        self.status_due = false;
        self.status_at = now + self.timing.keep_alive;
        let status = Status {
            resend: core::mem::take(&mut self.complain),
            next: self.incoming.next(),
            limit: self.incoming.tell_limit(),
        };
        self.control(&Frame::Status(status));
    }

    /// Whether there is something to write.
    pub(super) fn has_output(&mut self, now: Instant) -> bool {
        self.tick(now);
        self.outgoing.is_mid_frame()
            || !self.control.is_empty()
            || (self.up && (self.status_due || self.outgoing.may_write()))
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if !self.up {
            return None;
        }
        let next = self.status_at.min(self.heard + self.timing.dead_after);
        let resend = self.retransmission.next_timeout();
        Some(resend.map_or(next, |at| at.min(next)))
    }

    /// Whether the session has to end, and why.
    pub(super) fn check(&mut self, now: Instant) -> Option<DownReason> {
        if !self.up {
            return None;
        }
        self.tick(now);
        if self.heard + self.timing.dead_after <= now {
            return Some(DownReason::Silent);
        }
        self.retransmission
            .is_exhausted()
            .then_some(DownReason::NoProgress)
    }

    /// Makes due what the time has come for.
    fn tick(&mut self, now: Instant) {
        if !self.up {
            return;
        }
        if self.status_at <= now {
            // Moved on at once: while the stream takes nothing, nothing is due again and again.
            self.status_due = true;
            self.status_at = now + self.timing.keep_alive;
        }
        if self.outgoing.awaits_acknowledgement() && self.retransmission.fire(now) {
            self.stats.resends = self.stats.resends.wrapping_add(1);
            self.outgoing.resend();
        }
    }
}

/// Whether an end can be talked to: its limits are not below the least that every end has.
pub(super) fn is_usable(greeting: &Greeting) -> bool {
    greeting.frame >= FRAME_MIN && (WINDOW_MIN..=u32::MAX >> 1).contains(&greeting.window)
}
