//! The peer's side of its broker: the socket's state, what is to be done with it, what happened to
//! it.

use heapless::String;

use crate::time::{Duration, Instant, earlier};

use super::{Event, PeerError, PeerState};

/// Bytes kept of the text of an ERROR or ID-TAKEN.
const MESSAGE_MAX: usize = 120;

/// How far the peer is with its broker.
///
/// A command that is not polled yet is a state of its own, and no deadline runs in it: a driver
/// without a path to the broker leaves it there for as long as it likes.
#[derive(Clone, Copy, Debug)]
enum Socket {
    /// No socket, none wanted.
    Down,
    /// `RetrieveId` is to be polled.
    WantsId,
    /// Waiting for an id.
    Retrieving(Wait),
    /// `Open` is to be polled.
    WantsOpen,
    /// Waiting for the socket.
    Opening(Wait),
    /// The socket is up; OPEN has not come.
    Attached(Attached),
    /// The broker knows the peer.
    Open,
}

/// How long to wait for an answer.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// Nobody has told the time since the question was polled.
    Unarmed,
    Until(Instant),
}

/// What it means that OPEN does not come.
#[derive(Clone, Copy, Debug)]
enum Attached {
    /// The broker has no such peer yet, so its OPEN must come; at this time it is given up.
    New(Instant),
    /// A broker that knows the token may say nothing; at this time the peer counts as open.
    Known(Instant),
}

/// HEARTBEATs of a socket that is up.
#[derive(Clone, Copy, Debug)]
enum Heartbeat {
    Off,
    /// The next one is due at this time.
    At(Instant),
    /// One is to be polled; the next one is due at this time.
    Due(Instant),
}

/// The life of a peer as its broker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// The broker has never known the peer, so an ERROR destroys it.
    New,
    /// The broker has known the peer.
    Known,
    /// Destroyed; `Event::Closed` is to be polled.
    Ending,
    /// Destroyed, and told.
    Ended,
}

/// A change the application has to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Up,
    Down(Option<PeerError>),
}

/// What to do with the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Close,
    RetrieveId,
    Open,
    Heartbeat,
}

/// What came of the last deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    Nothing,
    /// No id was given in time.
    Retrieving,
    /// No socket, or no OPEN over it, came in time.
    Opening,
}

#[derive(Debug)]
pub(super) struct Broker {
    socket: Socket,
    life: Life,
    heartbeat: Heartbeat,
    /// An older socket is to be closed first.
    close: bool,
    /// Whether a broker may know the peer's token: it was stored, or has been used before.
    token_is_known: bool,
    /// Changes not yet polled. Three are enough: see [`Self::note`].
    changes: [Option<Change>; 3],
    unavailable: bool,
    pub(super) message: String<MESSAGE_MAX, u8>,
}

impl Broker {
    /// A peer that is about to open. `token_is_known`: the broker may know the token already.
    pub(super) fn new(has_id: bool, token_is_known: bool) -> Self {
        let mut broker = Self {
            socket: Socket::Down,
            life: Life::New,
            heartbeat: Heartbeat::Off,
            close: false,
            token_is_known,
            changes: [None; 3],
            unavailable: false,
            message: String::new(),
        };
        broker.begin(has_id);
        broker
    }

    pub(super) fn state(&self) -> PeerState {
        if self.is_destroyed() {
            return PeerState::Destroyed;
        }
        match self.socket {
            Socket::Down => PeerState::Disconnected,
            Socket::Open => PeerState::Open,
            _ => PeerState::Connecting,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.socket, Socket::Open)
    }

    /// Whether the socket is up, OPEN or not.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.socket, Socket::Attached(_) | Socket::Open)
    }

    /// Whether an answer to `RetrieveId` may come.
    pub(super) fn is_retrieving(&self) -> bool {
        matches!(self.socket, Socket::Retrieving(_))
    }

    /// Whether an answer to `Open` may come.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.socket, Socket::Opening(_))
    }

    /// Tells the time to a question that was polled without.
    pub(super) fn arm(&mut self, now: Instant, open_timeout: Duration) {
        if let Socket::Retrieving(wait) | Socket::Opening(wait) = &mut self.socket
            && matches!(wait, Wait::Unarmed)
        {
            *wait = Wait::Until(now + open_timeout);
        }
    }

    /// Begins to open.
    pub(super) fn begin(&mut self, has_id: bool) {
        self.socket = if has_id {
            Socket::WantsOpen
        } else {
            Socket::WantsId
        };
    }

    /// The socket is up. Until `open_ends` a new peer may wait for its OPEN, until `grace_ends` a
    /// known one.
    pub(super) fn attached(
        &mut self,
        open_ends: Instant,
        grace_ends: Instant,
        next_ping: Option<Instant>,
    ) {
        self.socket = Socket::Attached(if self.token_is_known {
            Attached::Known(grace_ends)
        } else {
            Attached::New(open_ends)
        });
        // From here on a broker may have seen it, whatever becomes of this socket.
        self.token_is_known = true;
        self.heartbeat = next_ping.map_or(Heartbeat::Off, Heartbeat::At);
    }

    /// The broker knows the peer. Saying it again is harmless.
    pub(super) fn opened(&mut self) {
        if let Socket::Attached(_) = self.socket {
            self.socket = Socket::Open;
            if self.life == Life::New {
                self.life = Life::Known;
            }
            self.note(Change::Up);
        }
    }

    /// Lets the socket go; `socket_lives` when the driver has to close it.
    pub(super) fn down(&mut self, error: Option<PeerError>, socket_lives: bool) {
        // A socket whose `Open` was never polled does not exist.
        let exists = self.is_up() || self.is_opening();
        if matches!(self.socket, Socket::Down) {
            return;
        }
        self.close |= socket_lives && exists;
        self.socket = Socket::Down;
        self.heartbeat = Heartbeat::Off;
        self.note(Change::Down(error));
    }

    /// The request for an id was lost on its way: it is made again.
    pub(super) fn retrieve_again(&mut self) {
        debug_assert!(self.is_retrieving(), "no id was asked for");
        self.socket = Socket::WantsId;
    }

    /// An error before the first OPEN destroys the peer.
    pub(super) fn is_fatal(&self) -> bool {
        self.life == Life::New
    }

    fn is_destroyed(&self) -> bool {
        matches!(self.life, Life::Ending | Life::Ended)
    }

    pub(super) fn destroyed(&mut self) {
        if !self.is_destroyed() {
            self.life = Life::Ending;
        }
    }

    /// Nobody with some id is at the broker.
    pub(super) fn unavailable(&mut self) {
        self.unavailable = true;
    }

    /// Keeps the text of an ERROR, cut to fit.
    pub(super) fn keep_message(&mut self, text: &str) {
        self.message.clear();
        for c in text.chars() {
            if self.message.push(c).is_err() {
                break;
            }
        }
    }

    pub(super) fn next_timeout(&self, now: Instant) -> Option<Instant> {
        let ping = match self.heartbeat {
            Heartbeat::At(at) | Heartbeat::Due(at) => Some(at),
            Heartbeat::Off => None,
        };
        match self.socket {
            // Whatever the epoch: at once, to learn the time.
            Socket::Retrieving(Wait::Unarmed) | Socket::Opening(Wait::Unarmed) => Some(now),
            Socket::Retrieving(Wait::Until(at)) | Socket::Opening(Wait::Until(at)) => Some(at),
            Socket::Attached(Attached::New(at) | Attached::Known(at)) => earlier(Some(at), ping),
            Socket::Open => ping,
            Socket::Down | Socket::WantsId | Socket::WantsOpen => None,
        }
    }

    /// Fires the deadline of the socket if it has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Expired {
        match self.socket {
            Socket::Retrieving(Wait::Until(at)) if at <= now => Expired::Retrieving,
            Socket::Opening(Wait::Until(at)) | Socket::Attached(Attached::New(at)) if at <= now => {
                Expired::Opening
            }
            Socket::Attached(Attached::Known(at)) if at <= now => {
                self.opened();
                Expired::Nothing
            }
            _ => Expired::Nothing,
        }
    }

    /// A HEARTBEAT when one is due. However late: one, and the next a whole interval from now.
    pub(super) fn beat(&mut self, now: Instant, interval: Duration) {
        if let Heartbeat::At(at) | Heartbeat::Due(at) = self.heartbeat
            && at <= now
        {
            self.heartbeat = Heartbeat::Due(now + interval);
        }
    }

    /// The next thing to do with the socket.
    pub(super) fn action(&self) -> Option<Action> {
        if self.close {
            return Some(Action::Close);
        }
        match (self.socket, self.heartbeat) {
            (Socket::WantsId, _) => Some(Action::RetrieveId),
            (Socket::WantsOpen, _) => Some(Action::Open),
            (_, Heartbeat::Due(_)) => Some(Action::Heartbeat),
            _ => None,
        }
    }

    /// The action is polled.
    pub(super) fn polled(&mut self, action: Action) {
        match action {
            Action::Close => self.close = false,
            Action::RetrieveId => self.socket = Socket::Retrieving(Wait::Unarmed),
            Action::Open => self.socket = Socket::Opening(Wait::Unarmed),
            Action::Heartbeat => {
                if let Heartbeat::Due(next) = self.heartbeat {
                    self.heartbeat = Heartbeat::At(next);
                }
            }
        }
    }

    /// The next event, except that of the end.
    pub(super) fn take_event(&mut self) -> Option<Event> {
        if core::mem::take(&mut self.unavailable) {
            return Some(Event::Error(PeerError::PeerUnavailable));
        }
        let event = match &mut self.changes[0] {
            Some(Change::Up) => Event::Open,
            Some(Change::Down(error)) => match error.take() {
                Some(error) => return Some(Event::Error(error)),
                None => Event::Disconnected,
            },
            None => return None,
        };
        let [_, second, third] = self.changes;
        self.changes = [second, third, None];
        Some(event)
    }

    /// The event of the end, once nothing else is left.
    pub(super) fn take_end(&mut self) -> Option<Event> {
        if self.life != Life::Ending {
            return None;
        }
        self.life = Life::Ended;
        Some(Event::Closed)
    }

    /// Remembers a change until it is polled. What nobody saw in time folds: with two waiting, a
    /// change like the first of them leads back to where the first led, so it alone is told.
    fn note(&mut self, change: Change) {
        let is_up = |change: Change| change == Change::Up;
        match self.changes {
            [Some(first), Some(_), _] if is_up(first) == is_up(change) => {
                self.changes = [Some(change), None, None];
            }
            // Full only as up, down, down: then a third down tells nothing new.
            _ => {
                if let Some(free) = self.changes.iter_mut().find(|change| change.is_none()) {
                    *free = Some(change);
                } else {
                    debug_assert!(!is_up(change), "an up follows a down");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn changes_nobody_saw_fold_together() {
        let mut broker = Broker::new(true, false);
        for _ in 0..5 {
            assert_eq!(broker.action(), Some(Action::Open));
            broker.polled(Action::Open);
            broker.attached(Instant::ZERO, Instant::ZERO, None);
            broker.opened();
            broker.down(Some(PeerError::Network), false);
            broker.begin(true);
        }
        broker.down(None, true);
        broker.destroyed();
        let mut events: Vec<Event> = core::iter::from_fn(|| broker.take_event()).collect();
        events.extend(broker.take_end());
        assert_eq!(
            events,
            [
                Event::Open,
                Event::Error(PeerError::Network),
                Event::Disconnected,
                Event::Disconnected,
                Event::Closed
            ]
        );
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut broker = Broker::new(true, false);
        broker.keep_message(&"ä".repeat(100));
        assert_eq!(broker.message.len(), MESSAGE_MAX);
    }
}
