//! The state of one connection.

use crate::{
    ConnectionId, Label, PeerId, bytes,
    connection::{Inbox, Outbox},
    serialization::Serialization,
    time::Instant,
};

use super::{ConnectFailure, ConnectionError, ConnectionHandle, Event, RtcFailure, Stage};

/// Who started a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Ours,
    /// A remote.
    Theirs,
    /// A remote, and the application has taken it with [`Peer::accept`](super::Peer::accept).
    Accepted,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It fails at the deadline.
    Negotiating {
        at: Negotiation,
        /// `None` only in a free slot, for its zeros.
        deadline: Option<Instant>,
    },
    Open(Flush),
    /// Nothing more happens to it; events, the close command and unread data may still be waiting.
    Over {
        end: End,
        session: Session,
    },
}

/// How far the two descriptions are. The first three are of a connection of ours, the others of a
/// remote's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Negotiation {
    /// `CreateOffer` is to be polled.
    WantsOffer,
    /// The session makes our offer.
    MakesOffer,
    /// Our offer is on its way or there; no answer has come.
    AwaitsAnswer,
    /// `AcceptOffer` waits in the queue of commands.
    WantsAnswer,
    /// The session makes our answer.
    MakesAnswer,
    /// Both descriptions are made: ICE, DTLS and SCTP are at work.
    Connects,
}

/// How far a flush-close is. It is given up at the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    No,
    /// Until outbox and channel are empty, since on an unordered channel a close message would
    /// overtake data.
    Draining(Instant),
    /// The close message is out; the remote closes.
    Told(Instant),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    /// It never was open.
    Failed(ConnectFailure),
}

/// What the driver still has to do with the session of a connection that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// There is none, or the driver was told to end it.
    Gone,
    /// `Close` is to be polled.
    WantsClose,
}

/// What the application was lent of the inbox. It goes at the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Nothing,
    /// The oldest message.
    Message,
    /// Bytes of the oldest message.
    Piece,
    /// The last bytes of the oldest message.
    LastPiece,
}

/// The metadata in the slot's stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metadata {
    None,
    /// So many bytes.
    Text(usize),
    /// The remote sent some, longer than the stripe.
    TooLong,
}

/// Events of one connection that wait to be polled: one bit a kind, polled in this order. So no
/// queue can overflow, and what repeats before it is polled is told once.
pub(super) mod pending {
    pub(crate) const CONNECTION: u8 = 1;
    pub(crate) const OPEN: u8 = 1 << 1;
    pub(crate) const DATA: u8 = 1 << 2;
    pub(crate) const WRITABLE: u8 = 1 << 3;
    pub(crate) const ERROR: u8 = 1 << 4;
    pub(crate) const LAST: u8 = 1 << 5;
}

/// The state of one connection.
#[derive(Debug)]
pub struct Slot {
    pub(super) remote: PeerId,
    pub(super) id: ConnectionId,
    pub(super) label: Label,
    pub(super) metadata: Metadata,
    pub(super) serialization: Serialization,
    pub(super) reliable: bool,
    pub(super) origin: Origin,
    pub(super) state: State,
    pub(super) stage: Stage,
    /// Events, see [`pending`].
    pub(super) events: u8,
    /// What [`pending::ERROR`] tells.
    error: ConnectionError,
    /// A send found the outbox full, so room is to be told.
    pub(super) wants_room: bool,
    pub(super) read: Read,
    /// Bytes the channel holds, as the driver last told, and what was sent since.
    pub(super) buffered: u32,
    /// Bytes the session takes, where the driver counts that.
    pub(super) credit: u32,
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
}

impl Slot {
    /// What a free slot holds. All zero, which no `Option` of an enum would be; the link proof
    /// checks it.
    pub(super) const fn vacant() -> Self {
        Self {
            remote: PeerId::vacant(),
            id: ConnectionId::vacant(),
            label: Label::vacant(),
            metadata: Metadata::None,
            serialization: Serialization::Binary,
            reliable: false,
            origin: Origin::Ours,
            state: State::Negotiating {
                at: Negotiation::WantsOffer,
                deadline: None,
            },
            stage: Stage::Offer,
            events: 0,
            error: ConnectionError::Rtc(RtcFailure::Description),
            wants_room: false,
            read: Read::Nothing,
            buffered: 0,
            credit: 0,
            outbox: Outbox::new(Serialization::Binary),
            inbox: Inbox::new(Serialization::Binary),
        }
    }

    /// Makes a claimed slot one for a new connection, in place: field by field, so that nothing
    /// large moves. The ids and the label are the caller's to set.
    pub(super) fn reset(
        &mut self,
        serialization: Serialization,
        at: Negotiation,
        deadline: Instant,
    ) {
        self.metadata = Metadata::None;
        self.serialization = serialization;
        self.reliable = false;
        self.origin = Origin::Ours;
        self.state = State::Negotiating {
            at,
            deadline: Some(deadline),
        };
        self.stage = Stage::Offer;
        self.events = 0;
        self.wants_room = false;
        self.read = Read::Nothing;
        self.buffered = 0;
        self.credit = u32::MAX;
        self.outbox = Outbox::new(serialization);
        self.inbox.reset(serialization);
    }

    /// Keeps the metadata, in the slot's stripe, where it fits there.
    pub(super) fn set_metadata(&mut self, text: Option<&str>, stripe: &mut [u8]) {
        self.metadata = match text {
            None => Metadata::None,
            Some(text) => match bytes::copy(stripe, text.as_bytes()) {
                Some(()) => Metadata::Text(text.len()),
                None => Metadata::TooLong,
            },
        };
    }

    /// The metadata, a JSON text.
    pub(super) fn metadata<'m>(&self, stripe: &'m [u8]) -> Option<&'m str> {
        let Metadata::Text(len) = self.metadata else {
            return None;
        };
        let text = stripe
            .get(..len)
            .and_then(|bytes| core::str::from_utf8(bytes).ok());
        debug_assert!(text.is_some(), "it was copied from a text");
        text
    }

    pub(super) fn is_incoming(&self) -> bool {
        self.origin != Origin::Ours
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over { .. })
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    pub(super) fn is_between(&self, remote: &str, id: &str) -> bool {
        !self.is_over() && self.remote.as_str() == remote && self.id.as_str() == id
    }

    /// How far a connection that is not open yet is with its descriptions.
    pub(super) fn negotiation(&self) -> Option<Negotiation> {
        match self.state {
            State::Negotiating { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Takes the descriptions a step further. The deadline stays.
    pub(super) fn negotiate(&mut self, next: Negotiation) {
        if let State::Negotiating { at, .. } = &mut self.state {
            *at = next;
        }
    }

    /// Whether our offer is on its way, or there, and no answer has come.
    pub(super) fn awaits_answer(&self) -> bool {
        self.negotiation() == Some(Negotiation::AwaitsAnswer)
    }

    /// Whether the local description is on its way to the remote, so that candidates may follow.
    pub(super) fn is_described(&self) -> bool {
        match self.state {
            State::Negotiating { at, .. } => {
                matches!(at, Negotiation::AwaitsAnswer | Negotiation::Connects)
            }
            State::Open(_) => true,
            State::Over { .. } => false,
        }
    }

    /// Whether the driver was told to make a session, and not yet to end it.
    pub(super) fn has_session(&self) -> bool {
        match self.state {
            State::Negotiating { at, .. } => {
                !matches!(at, Negotiation::WantsOffer | Negotiation::WantsAnswer)
            }
            State::Open(_) => true,
            State::Over { session, .. } => session == Session::WantsClose,
        }
    }

    /// While negotiating: when it fails. While open: when a flush-close gives up waiting.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Negotiating { deadline, .. } => deadline,
            State::Open(Flush::Draining(deadline) | Flush::Told(deadline)) => Some(deadline),
            State::Open(Flush::No) | State::Over { .. } => None,
        }
    }

    /// Whether nothing holds the slot any more.
    pub(super) fn is_done(&self) -> bool {
        self.is_leaving() && self.events == 0 && !self.has_session()
    }

    /// Whether polling alone frees the slot.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_over() && self.unread() == 0
    }

    /// Whole messages that were not handed out.
    pub(super) fn unread(&self) -> usize {
        let lent = matches!(self.read, Read::Message | Read::LastPiece);
        self.inbox.len().saturating_sub(lent.into())
    }

    pub(super) fn reach(&mut self, stage: Stage) {
        self.stage = self.stage.max(stage);
    }

    /// ICE reached a stage. Without an answer it is the answer that is missing, whatever the agent
    /// does meanwhile.
    pub(super) fn ice_reached(&mut self, stage: Stage) {
        if !self.awaits_answer() {
            self.reach(stage);
        }
    }

    /// The channel is open.
    pub(super) fn open(&mut self) {
        if let State::Negotiating { .. } = self.state {
            self.state = State::Open(Flush::No);
            self.events |= pending::OPEN;
        }
    }

    /// Ends the connection, whatever it was at. Only the first call counts.
    pub(super) fn end(&mut self, reason: ConnectionError) {
        let end = match self.state {
            State::Over { .. } => return,
            State::Open(_) => End::Closed,
            State::Negotiating { .. } => {
                debug!("a connect ended at stage {} of 5", self.stage as u8 + 1);
                End::Failed(ConnectFailure {
                    stage: self.stage,
                    reason,
                })
            }
        };
        let session = if self.has_session() {
            Session::WantsClose
        } else {
            Session::Gone
        };
        self.state = State::Over { end, session };
        self.events = (self.events & !pending::WRITABLE) | pending::LAST;
    }

    /// The session failed below.
    pub(super) fn fail(&mut self, failure: RtcFailure) {
        match failure {
            RtcFailure::Dtls => self.reach(Stage::Dtls),
            RtcFailure::Sctp | RtcFailure::Channel => self.reach(Stage::Sctp),
            _ => {}
        }
        if self.is_open() {
            self.report(ConnectionError::Rtc(failure));
        }
        self.end(ConnectionError::Rtc(failure));
    }

    /// Tells an error. Only a connection that was open has one: else its end tells why.
    pub(super) fn report(&mut self, error: ConnectionError) {
        debug_assert!(self.is_open(), "an error before the open");
        self.error = error;
        self.events |= pending::ERROR;
    }

    /// The next event.
    pub(super) fn take_event(&mut self, handle: ConnectionHandle) -> Option<Event> {
        // The lowest bit is the first in order.
        let bit = self.events & self.events.wrapping_neg();
        self.events ^= bit;
        Some(match (bit, self.state) {
            (0, _) => return None,
            (pending::CONNECTION, _) => Event::Connection(handle),
            (pending::OPEN, _) => Event::ConnectionOpen(handle),
            (pending::DATA, _) => Event::Data(handle),
            (pending::WRITABLE, _) => Event::Writable(handle),
            (pending::ERROR, _) => Event::ConnectionError(handle, self.error),
            (
                _,
                State::Over {
                    end: End::Failed(failure),
                    ..
                },
            ) => Event::ConnectionFailed(handle, failure),
            _ => Event::ConnectionClosed(handle),
        })
    }
}
