//! The state of one connection.

use crate::{
    ConnectionId, Label, PeerId,
    connection::{Inbox, Outbox},
    serialization::Serialization,
    time::Instant,
};

use super::{
    ConnectFailure, ConnectionError, ConnectionHandle, Event, FailureReason, RtcFailure, Stage,
};

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Negotiating,
    Open,
    /// Nothing more happens to it; events, the close command and unread data may still be waiting.
    Over,
}

/// Events of one connection that wait to be polled: one bit a kind, polled in this order. So no queue can
/// overflow, and what repeats before it is polled is told once.
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
    /// Bytes of the metadata in the slot's stripe; 0: there is none, since no JSON text is empty.
    pub(super) metadata: usize,
    pub(super) metadata_too_long: bool,
    pub(super) serialization: Serialization,
    pub(super) reliable: bool,
    pub(super) incoming: bool,
    pub(super) phase: Phase,
    pub(super) stage: Stage,
    /// While negotiating: when it fails. While open: when a flush-close gives up waiting.
    pub(super) deadline: Option<Instant>,
    /// Events, see [`pending`].
    pub(super) events: u8,
    /// It ended without having been open, for this reason.
    failed: bool,
    reason: FailureReason,
    /// What [`pending::ERROR`] tells.
    error: ConnectionError,
    /// `CreateOffer` is to be polled.
    pub(super) create_offer: bool,
    /// `Close` is to be polled.
    pub(super) close: bool,
    /// The driver was told to make a session, so it must be told to end it.
    pub(super) session: bool,
    /// The local description is on its way to the remote, so candidates may follow.
    pub(super) described: bool,
    /// The remote's answer came.
    pub(super) answered: bool,
    pub(super) flush: Flush,
    /// A send found the outbox full, so room is to be told.
    pub(super) wants_room: bool,
    /// The oldest message in the inbox was handed out and goes at the next call.
    pub(super) read: bool,
    /// Bytes the channel holds, as the driver last told, and what was sent since.
    pub(super) buffered: u32,
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
}

/// How far a flush-close is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    No,
    /// Until outbox and channel are empty, since on an unordered channel a close message would overtake data.
    Draining,
    /// The close message is out; the remote closes.
    Told,
}

impl Slot {
    /// What a free slot holds. All zero, which no `Option` of an enum would be; the link proof checks it.
    pub(super) const fn vacant() -> Self {
        Self {
            remote: PeerId::vacant(),
            id: ConnectionId::vacant(),
            label: Label::vacant(),
            metadata: 0,
            metadata_too_long: false,
            serialization: Serialization::Binary,
            reliable: false,
            incoming: false,
            phase: Phase::Negotiating,
            stage: Stage::Offer,
            deadline: None,
            events: 0,
            failed: false,
            reason: FailureReason::Rtc(RtcFailure::Description),
            error: ConnectionError::NegotiationFailed,
            create_offer: false,
            close: false,
            session: false,
            described: false,
            answered: false,
            flush: Flush::No,
            wants_room: false,
            read: false,
            buffered: 0,
            outbox: Outbox::new(Serialization::Binary),
            inbox: Inbox::new(Serialization::Binary),
        }
    }

    /// Makes a claimed slot one for a new connection, in place: field by field, so that nothing large moves.
    /// The ids and the label are the caller's to set.
    pub(super) fn reset(&mut self, serialization: Serialization, deadline: Instant) {
        self.metadata = 0;
        self.metadata_too_long = false;
        self.serialization = serialization;
        self.reliable = false;
        self.incoming = false;
        self.phase = Phase::Negotiating;
        self.stage = Stage::Offer;
        self.deadline = Some(deadline);
        self.events = 0;
        self.failed = false;
        self.create_offer = false;
        self.close = false;
        self.session = false;
        self.described = false;
        self.answered = false;
        self.flush = Flush::No;
        self.wants_room = false;
        self.read = false;
        self.buffered = 0;
        self.outbox = Outbox::new(serialization);
        self.inbox.reset(serialization);
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    pub(super) fn is_between(&self, remote: &str, id: &str) -> bool {
        !self.is_over() && self.remote.as_str() == remote && self.id.as_str() == id
    }

    /// Whether our offer is on its way, or there, and no answer has come.
    pub(super) fn awaits_answer(&self) -> bool {
        self.phase == Phase::Negotiating && !self.incoming && self.described && !self.answered
    }

    /// Whether nothing holds the slot any more.
    pub(super) fn is_done(&self) -> bool {
        self.is_leaving() && self.events == 0 && !self.close
    }

    /// Whether polling alone frees the slot.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_over() && self.inbox.len() <= usize::from(self.read)
    }

    pub(super) fn reach(&mut self, stage: Stage) {
        self.stage = self.stage.max(stage);
    }

    /// The channel is open.
    pub(super) fn open(&mut self) {
        if self.phase == Phase::Negotiating {
            self.phase = Phase::Open;
            self.deadline = None;
            self.events |= pending::OPEN;
        }
    }

    /// Ends the connection, whatever it was at. Only the first call counts.
    pub(super) fn end(&mut self, reason: FailureReason) {
        if self.is_over() {
            return;
        }
        if self.phase == Phase::Negotiating {
            debug!("a connect ended at stage {} of 5", self.stage as u8 + 1);
            self.failed = true;
            self.reason = reason;
        }
        self.phase = Phase::Over;
        self.deadline = None;
        self.create_offer = false;
        self.close = self.session;
        self.events = (self.events & !pending::WRITABLE) | pending::LAST;
    }

    /// The session failed below.
    pub(super) fn fail(&mut self, failure: RtcFailure) {
        match failure {
            RtcFailure::Dtls => self.reach(Stage::Dtls),
            RtcFailure::Sctp | RtcFailure::Channel => self.reach(Stage::Sctp),
            _ => {}
        }
        if self.phase == Phase::Open {
            self.report(match failure {
                RtcFailure::Ice | RtcFailure::Description => ConnectionError::NegotiationFailed,
                _ => ConnectionError::ConnectionClosed,
            });
        }
        self.end(FailureReason::Rtc(failure));
    }

    pub(super) fn report(&mut self, error: ConnectionError) {
        self.error = error;
        self.events |= pending::ERROR;
    }

    /// The next event.
    pub(super) fn take_event(&mut self, handle: ConnectionHandle) -> Option<Event> {
        // The lowest bit is the first in order.
        let bit = self.events & self.events.wrapping_neg();
        self.events ^= bit;
        Some(match bit {
            0 => return None,
            pending::CONNECTION => Event::Connection(handle),
            pending::OPEN => Event::ConnectionOpen(handle),
            pending::DATA => Event::Data(handle),
            pending::WRITABLE => Event::Writable(handle),
            pending::ERROR => Event::ConnectionError(handle, self.error),
            _ if self.failed => {
                let failure = ConnectFailure {
                    stage: self.stage,
                    reason: self.reason,
                };
                Event::ConnectionFailed(handle, failure)
            }
            _ => Event::ConnectionClosed(handle),
        })
    }
}
