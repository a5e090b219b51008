//! The engine is told what sessions say, and says what it wants.

use core::fmt::Write as _;

use crate::bytes::TextBuffer;
use crate::config::CANDIDATE_MAX;
use crate::peer::{
    BrokerCommand, ConnectionHandle, Event, Input, InputError, Output, Peer, Room, RtcFailure,
    RtcInput,
};
use crate::rtc::crypto::Crypto;
use crate::rtc::session::{self, Failure, Kind, Received};
use crate::serialization::{Fragment, MessageKind};
use crate::time::Instant;

use super::Device;
use super::commands::Answer;
use super::description::{self, OURS_MAX};
use super::slot::{Slot, State, Taken};

/// Of the room that a channel had at most, this part is told at least: less would be cut into tiny
/// pieces.
const LEAST_PART: usize = 4;

/// What a poll of a [`Device`] leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum DeviceOutput<'p> {
    /// Do something with the broker's socket.
    Broker(BrokerCommand<'p>),
    /// Tell the application.
    Event(Event),
    /// Nothing more now. Call again at this time, or when something else happens;
    /// [`Device::timeout`] may be earlier.
    Timeout(Option<Instant>),
}

impl<'m, C: Crypto> Device<'m, C> {
    /// Tells the engine what sessions say and what came, and carries out what it wants of them.
    /// Returns what is left to do. `broker` is how many bytes the broker's socket takes, as
    /// [`Room::broker`].
    ///
    /// What the engine has no room for stays in the session, and the remote waits.
    #[must_use]
    pub fn poll<'p>(
        &mut self,
        now: Instant,
        broker: usize,
        peer: &'p mut Peer<'_>,
    ) -> DeviceOutput<'p> {
        self.untold = false;
        self.tell_all(now, peer);
        loop {
            if peer.has_broker_command(broker) {
                let room = Room {
                    broker,
                    ..Room::NONE
                };
                return match peer.poll_output(room) {
                    Output::Broker(command) => DeviceOutput::Broker(command),
                    Output::Event(event) => DeviceOutput::Event(event),
                    Output::Rtc(..) | Output::Timeout(_) => {
                        debug_assert!(false, "there was a command for the broker");
                        DeviceOutput::Timeout(Some(Instant::ZERO))
                    }
                };
            }
            let room = Room {
                broker: 0,
                rtc: match self.is_cramped() {
                    true => 1,
                    false => usize::MAX,
                },
                data: usize::MAX,
            };
            self.holds |= room.rtc == 1;
            let answer = match peer.poll_output(room) {
                Output::Event(event) => return DeviceOutput::Event(event),
                Output::Timeout(Some(at)) if at <= now => {
                    feed(peer, now, Input::Timeout);
                    continue;
                }
                Output::Timeout(at) => return DeviceOutput::Timeout(at),
                Output::Broker(_) => {
                    debug_assert!(false, "there is no room for it");
                    Answer::Nothing
                }
                Output::Rtc(handle, command) => self.command(now, handle, &command),
            };
            match answer {
                Answer::Nothing => {}
                Answer::Input(handle, input) => feed(peer, now, Input::Rtc(handle, input)),
                Answer::Made(place) | Answer::Sent(place) => self.tell(place, now, peer),
            }
        }
    }

    /// Tells what each session has to say.
    fn tell_all(&mut self, now: Instant, peer: &mut Peer<'_>) {
        for place in 0..self.slots.len() {
            self.tell(place, now, peer);
        }
    }

    /// The same of the session at that place. What the engine has no room for is told by the next
    /// poll.
    fn tell(&mut self, place: usize, now: Instant, peer: &mut Peer<'_>) {
        let Some(taken) = self.slots.get_mut(place).and_then(Slot::taken) else {
            return;
        };
        if let State::Describing(handle) = taken.state {
            let Self {
                identity, config, ..
            } = self;
            let mut buffer = [0; OURS_MAX];
            let ours = description::write(taken, identity.fingerprint(), config, &mut buffer);
            let input = Input::Rtc(handle, RtcInput::LocalDescription(ours));
            if peer.handle_input(now, input) == Err(InputError::Full) {
                return;
            }
            taken.state = State::Connecting(handle);
        }
        while let State::Connecting(handle) | State::Open(handle) = taken.state
            && (taken.tell_event(handle, now, peer) || taken.pass_data(handle, now, peer))
        {}
        taken.tell_room(now, peer);
    }
}

impl<C: Crypto> Taken<'_, C> {
    /// Tells the next thing that happened. Whether that was possible.
    fn tell_event(&mut self, handle: ConnectionHandle, now: Instant, peer: &mut Peer<'_>) -> bool {
        let untold = self.untold.take();
        let Some(event) = untold.or_else(|| self.session.poll_event()) else {
            return false;
        };
        let is_open = matches!(self.state, State::Open(_));
        let input = match event {
            session::Event::LocalCandidate(candidate) => {
                let mut buffer = [0; CANDIDATE_MAX];
                let mut text = TextBuffer::new(&mut buffer);
                let line = candidate.line(self.session.ice().ufrag());
                let written = write!(text, "{line}");
                debug_assert!(written.is_ok(), "a line of ours is short");
                let input = Input::Rtc(handle, RtcInput::LocalCandidate(text.finish()));
                let is_full = peer.handle_input(now, input) == Err(InputError::Full);
                self.untold = is_full.then_some(event);
                return !is_full;
            }
            session::Event::Connected => RtcInput::IceConnected,
            session::Event::Disconnected => {
                // Where the remote's NAT lets nothing in, it has to ask us.
                self.session.tell_candidates_again();
                RtcInput::IceChecking
            }
            session::Event::Secured => RtcInput::DtlsConnected,
            session::Event::Open { .. } => {
                self.state = State::Open(handle);
                RtcInput::ChannelOpened
            }
            session::Event::Closed(_) if is_open => RtcInput::ChannelClosed,
            session::Event::Closed(_) => RtcInput::Failed(RtcFailure::Sctp),
            session::Event::Failed(failure) => RtcInput::Failed(match failure {
                Failure::Ice(_) => RtcFailure::Ice,
                Failure::Dtls(_) => RtcFailure::Dtls,
                Failure::Channel(_) => RtcFailure::Channel,
                Failure::Sctp(_) | Failure::Unreachable | Failure::Restarted => RtcFailure::Sctp,
            }),
            session::Event::GatheringDone | session::Event::PathChanged(_) => return true,
        };
        if matches!(input, RtcInput::ChannelClosed | RtcInput::Failed(_)) {
            self.state = State::Over(handle);
        }
        feed(peer, now, Input::Rtc(handle, input));
        true
    }

    /// Hands on the next piece of a message. Whether that was possible.
    fn pass_data(&mut self, handle: ConnectionHandle, now: Instant, peer: &mut Peer<'_>) -> bool {
        let is_blocked = |room| !peer.has_read_since(handle, room);
        if self.blocked.is_some_and(is_blocked) {
            return false;
        }
        self.blocked = None;
        let piece = match self.session.read() {
            None => return false,
            Some(Received::Abandoned) => {
                self.session.consume(0);
                return true;
            }
            Some(Received::Piece(piece)) => piece,
        };
        let fragment = Fragment {
            first: piece.first,
            last: piece.last,
            kind: match piece.kind {
                Kind::Text => MessageKind::Text,
                Kind::Binary => MessageKind::Binary,
            },
            bytes: piece.bytes,
        };
        let len = piece.bytes.len();
        let input = Input::Rtc(handle, RtcInput::Fragment(fragment));
        let (taken, goes_on) = match peer.handle_input(now, input) {
            Ok(()) | Err(InputError::Malformed | InputError::Stale) => (len, true),
            // The application has to read first.
            Err(InputError::InboxFull { taken }) => {
                self.blocked = Some(peer.receive_room(handle));
                (taken, false)
            }
            Err(InputError::Full) => (0, false),
        };
        // Of an empty message nothing counts as all of it.
        if taken > 0 || goes_on {
            self.session.consume(taken);
        }
        goes_on
    }

    /// Tells what the channel holds, and what it takes.
    fn tell_room(&mut self, now: Instant, peer: &mut Peer<'_>) {
        let State::Open(handle) = self.state else {
            return;
        };
        let buffered = u32::try_from(self.session.buffered()).unwrap_or(u32::MAX);
        if buffered != self.buffered {
            self.buffered = buffered;
            let input = RtcInput::ChannelBuffered(buffered);
            feed(peer, now, Input::Rtc(handle, input));
        }
        let room = self.session.send_room();
        self.most_room = self.most_room.max(room);
        let credit = match room >= self.most_room / LEAST_PART {
            true => u32::try_from(room).unwrap_or(u32::MAX - 1),
            false => 0,
        };
        if credit != self.credit {
            self.credit = credit;
            let input = RtcInput::ChannelCredit(credit);
            feed(peer, now, Input::Rtc(handle, input));
        }
    }
}

/// Feeds an input that the engine takes whatever its state; one for a connection that is over is
/// dropped.
fn feed(peer: &mut Peer<'_>, now: Instant, input: Input<'_>) {
    let fed = peer.handle_input(now, input);
    debug_assert!(fed != Err(InputError::Full), "it needs no room");
}
