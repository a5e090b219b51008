//! The open channel: messages between its ends and the association.

use core::future::pending;
use std::sync::Arc;

use peer_core::rtc::sctp::{Association, Outgoing};
use peer_core::wire::dcep::{self, DcepMessage, PPID_DCEP};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::super::association::{Failure, theirs};
use super::super::channel::{Inbox, Line, Message, Queued, StackEnds};
use super::Shared;

pub(super) struct OpenChannel {
    pub(super) stream: u16,
    order: Order,
    line: Arc<Line>,
    queued: mpsc::Receiver<Queued>,
    inbox: Inbox,
    /// Told once nothing more comes.
    pub(super) drained: Option<oneshot::Sender<()>>,
    /// The message being given to the association, and how much of it was taken.
    sending: Option<(Queued, usize)>,
    /// A message that the inbox has no room for. Until it has nothing more is read, so the window
    /// closes.
    held: Option<Message>,
    /// See [`is_cramped`](Self::is_cramped).
    cramped: bool,
}

/// Whether messages may overtake each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Ordered,
    /// Once the remote has acknowledged the opening (RFC 8832, section 6).
    UnorderedAfterAck,
    Unordered,
}

/// A whole message of the remote.
pub(super) enum Came {
    Message(Message),
    /// The first of all: whether the channel that it opens is ordered, or why it opens none.
    Opening(Result<bool, Failure>),
    Ack,
}

/// `None`: it is of no use to anybody. `is_open`: whether there is a channel.
pub(super) fn came(is_open: bool, ppid: u32, bytes: &[u8]) -> Option<Came> {
    let is_dcep = ppid == PPID_DCEP;
    if !is_open {
        let opening = theirs(is_dcep, bytes).map(|open| open.ordered);
        return Some(Came::Opening(opening));
    }
    if !is_dcep {
        return Message::from_wire(ppid, bytes).map(Came::Message);
    }
    if let Ok(DcepMessage::Ack) = dcep::parse(bytes) {
        return Some(Came::Ack);
    }
    tracing::debug!("the remote opens an open channel, or says what cannot be read");
    None
}

impl OpenChannel {
    pub(super) fn new(stream: u16, order: Order, ends: StackEnds) -> Self {
        let StackEnds {
            line,
            queued,
            inbox,
            drained,
        } = ends;
        Self {
            stream,
            order,
            line,
            queued,
            inbox,
            drained: Some(drained),
            sending: None,
            held: None,
            cramped: false,
        }
    }

    /// The remote knows of the channel.
    pub(super) fn acknowledged(&mut self) {
        if self.order == Order::UnorderedAfterAck {
            self.order = Order::Unordered;
        }
    }

    /// Whether there is more to send than `small` memory holds. It waits until what was given is
    /// acknowledged.
    pub(super) const fn is_cramped(&self) -> bool {
        self.cramped
    }

    /// Whether the application has read everything.
    pub(super) fn is_read(&self) -> bool {
        self.has_room() && self.inbox.is_empty()
    }

    /// Gives the association what waits to be sent, as much as it takes, and returns how many bytes
    /// that was. `small`: it could have more memory.
    pub(super) fn give(
        &mut self,
        association: &mut Association<'_>,
        shared: &Shared,
        small: bool,
    ) -> usize {
        self.cramped &= small;
        let mut given = 0;
        while !self.cramped {
            if self.sending.is_none() {
                self.sending = self.queued.try_recv().ok().map(|queued| (queued, 0));
            }
            let Some((queued, taken)) = &mut self.sending else {
                return given;
            };
            let message = Outgoing {
                unordered: self.order == Order::Unordered && !queued.last,
                first: *taken == 0,
                ..Outgoing::message(self.stream, queued.ppid)
            };
            let rest = queued.payload.get(*taken..).unwrap_or_default();
            if small && rest.len() > association.send_room() {
                self.cramped = true;
                return given;
            }
            match association.send(message, rest) {
                Ok(0) => return given,
                Ok(count) => {
                    *taken += count;
                    given += count;
                }
                Err(error) => {
                    tracing::debug!(%error, "the data channel takes no more");
                    self.close();
                    return given;
                }
            }
            if *taken == queued.payload.len() {
                // Counted twice for a moment rather than not at all.
                shared.tell(association.buffered());
                self.line.left_queue(queued.payload.len());
                shared.acknowledged.notify_waiters();
                self.sending = None;
            }
        }
        given
    }

    /// Nothing more is sent: whoever waits to send hears so.
    pub(super) fn close(&mut self) {
        self.line.close();
        self.queued.close();
        while self.queued.try_recv().is_ok() {}
        self.sending = None;
    }

    /// Whether a message that comes can be handed over or held.
    pub(super) const fn has_room(&self) -> bool {
        self.held.is_none()
    }

    /// Hands a message over, or holds it.
    pub(super) fn deliver(&mut self, message: Message) {
        match self.inbox.try_permit(&message) {
            Some(permit) => self.inbox.try_deliver(message, permit),
            None => self.held = Some(message),
        }
    }

    pub(super) fn ready(&mut self, ready: Ready) {
        match ready {
            Ready::Queued(queued) => self.sending = Some((queued, 0)),
            Ready::Room(permit) => {
                if let Some(message) = self.held.take() {
                    self.inbox.try_deliver(message, permit);
                }
            }
        }
    }

    /// Hands over what is held once there is room. `false`: nobody wants it any more.
    pub(super) async fn wait_for_room(&mut self) -> bool {
        tokio::select! {
            permit = room(&self.inbox, self.held.as_ref()) => {
                self.ready(Ready::Room(permit));
                true
            }
            () = self.inbox.closed() => false,
        }
    }
}

/// What the ends of the channel are ready for.
pub(super) enum Ready {
    /// A message to send.
    Queued(Queued),
    /// Room for the message that is held.
    Room(OwnedSemaphorePermit),
}

/// Waits for either, as far as it is wanted.
pub(super) async fn ready(channel: &mut Option<OpenChannel>) -> Ready {
    let Some(channel) = channel else {
        return pending().await;
    };
    let is_free = channel.sending.is_none();
    tokio::select! {
        Some(queued) = channel.queued.recv(), if is_free => Ready::Queued(queued),
        permit = room(&channel.inbox, channel.held.as_ref()) => Ready::Room(permit),
    }
}

/// Room for the message that is held; never where none is.
async fn room(inbox: &Inbox, held: Option<&Message>) -> OwnedSemaphorePermit {
    let Some(message) = held else {
        return pending().await;
    };
    match inbox.permit(message).await {
        Some(permit) => permit,
        None => pending().await,
    }
}
