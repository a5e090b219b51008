//! The peer's side of its broker: the socket's state, what is to be done with it, what happened to it.

use heapless::String;

use crate::time::{Duration, Instant, earlier};

use super::{Event, PeerError, PeerState};

/// Bytes kept of the text of an ERROR or ID-TAKEN.
const MESSAGE_MAX: usize = 120;

/// How far the peer is with its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// No socket, none wanted.
    Down,
    /// Waiting for an id.
    Retrieving,
    /// Waiting for the socket.
    Opening,
    /// The socket is up; OPEN has not come.
    Attached,
    /// The broker knows the peer.
    Open,
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

#[derive(Debug)]
pub(super) struct Broker {
    pub(super) link: Link,
    pub(super) destroyed: bool,
    /// The broker has known the peer before, so an ERROR is not fatal.
    opened_once: bool,
    /// The open began before the engine was told any time; its deadline starts with the first input.
    unarmed: bool,
    /// Of the open, or of the grace for an OPEN that does not come.
    deadline: Option<Instant>,
    next_ping: Option<Instant>,
    close: bool,
    /// `RetrieveId` or `Open`, whichever fits the link, is to be polled.
    start: bool,
    ping: bool,
    /// Changes not yet polled. Three are enough: see [`Self::note`].
    changes: [Option<Change>; 3],
    /// The event of the end is to be polled.
    end: bool,
    unavailable: bool,
    pub(super) message: String<MESSAGE_MAX, u8>,
}

impl Broker {
    /// A link that is about to open.
    pub(super) fn new(has_id: bool) -> Self {
        Self {
            link: if has_id {
                Link::Opening
            } else {
                Link::Retrieving
            },
            destroyed: false,
            opened_once: false,
            unarmed: true,
            deadline: None,
            next_ping: None,
            close: false,
            start: true,
            ping: false,
            changes: [None; 3],
            end: false,
            unavailable: false,
            message: String::new(),
        }
    }

    pub(super) fn state(&self) -> PeerState {
        match self.link {
            _ if self.destroyed => PeerState::Destroyed,
            Link::Down => PeerState::Disconnected,
            Link::Open => PeerState::Open,
            Link::Retrieving | Link::Opening | Link::Attached => PeerState::Connecting,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.link == Link::Open
    }

    /// Whether the socket is up, OPEN or not. Inputs of an older socket come while `start` waits.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.link, Link::Attached | Link::Open)
    }

    /// Whether an answer to the last `RetrieveId` or `Open` may come.
    pub(super) fn is_asked(&self, link: Link) -> bool {
        self.link == link && !self.start
    }

    /// Tells the time to an open that began without.
    pub(super) fn arm(&mut self, now: Instant, open_timeout: Duration) {
        if self.unarmed {
            self.unarmed = false;
            if self.link != Link::Down {
                self.deadline = Some(now + open_timeout);
            }
        }
    }

    /// Begins to open.
    pub(super) fn begin(&mut self, has_id: bool, deadline: Instant) {
        self.link = if has_id {
            Link::Opening
        } else {
            Link::Retrieving
        };
        self.start = true;
        self.deadline = Some(deadline);
    }

    /// The socket is up.
    pub(super) fn attached(&mut self, grace_ends: Instant, next_ping: Option<Instant>) {
        self.link = Link::Attached;
        self.deadline = Some(grace_ends);
        self.next_ping = next_ping;
    }

    /// The broker knows the peer. Saying it again is harmless.
    pub(super) fn opened(&mut self) {
        if self.link == Link::Attached {
            self.link = Link::Open;
            self.opened_once = true;
            self.deadline = None;
            self.note(Change::Up);
        }
    }

    /// Lets the link go; `socket_lives` when the driver has to close the socket.
    pub(super) fn down(&mut self, error: Option<PeerError>, socket_lives: bool) {
        if self.link == Link::Down {
            return;
        }
        // A socket whose `Open` was never polled does not exist.
        self.close |= socket_lives && !self.start && self.link != Link::Retrieving;
        self.link = Link::Down;
        self.start = false;
        self.ping = false;
        self.deadline = None;
        self.next_ping = None;
        self.note(Change::Down(error));
    }

    /// An error before the first OPEN destroys the peer.
    pub(super) fn is_fatal(&self) -> bool {
        !self.opened_once
    }

    pub(super) fn destroyed(&mut self) {
        if !self.destroyed {
            self.destroyed = true;
            self.end = true;
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
        if self.unarmed && self.link != Link::Down {
            // Whatever the epoch: at once, to learn the time.
            return Some(now);
        }
        earlier(self.deadline, self.next_ping)
    }

    /// Whether the deadline has passed; it then is gone.
    pub(super) fn expired(&mut self, now: Instant) -> bool {
        self.deadline.take_if(|deadline| *deadline <= now).is_some()
    }

    /// A HEARTBEAT when one is due. However late: one, and the next a whole interval from now.
    pub(super) fn beat(&mut self, now: Instant, interval: Duration) {
        if self.next_ping.is_some_and(|at| at <= now) {
            self.ping = true;
            self.next_ping = Some(now + interval);
        }
    }

    pub(super) fn take_action(&mut self) -> Option<Action> {
        if core::mem::take(&mut self.close) {
            return Some(Action::Close);
        }
        if core::mem::take(&mut self.start) {
            return Some(if self.link == Link::Retrieving {
                Action::RetrieveId
            } else {
                Action::Open
            });
        }
        core::mem::take(&mut self.ping).then_some(Action::Heartbeat)
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
        core::mem::take(&mut self.end).then_some(Event::Closed)
    }

    /// Remembers a change until it is polled. What nobody saw in time folds: with two waiting, a change like
    /// the first of them leads back to where the first led, so it alone is told.
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
        let mut broker = Broker::new(true);
        for _ in 0..5 {
            assert_eq!(broker.take_action(), Some(Action::Open));
            broker.attached(Instant::ZERO, None);
            broker.opened();
            broker.down(Some(PeerError::Network), false);
            broker.begin(true, Instant::ZERO);
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
        let mut broker = Broker::new(true);
        broker.keep_message(&"ä".repeat(100));
        assert_eq!(broker.message.len(), MESSAGE_MAX);
    }
}
