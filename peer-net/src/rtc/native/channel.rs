//! The open channel: messages between its ends and the session.

use core::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use peer_core::rtc::crypto::Crypto;
use peer_core::rtc::session::{self, Kind, Received, Session};
use peer_core::wire::dcep::{PPID_BINARY_EMPTY, PPID_STRING, PPID_STRING_EMPTY};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Told;
use crate::rtc::channel::{Inbox, Line, Message, Queued, StackEnds};

/// The memory in which messages are put together is kept up to this size.
const PARTIAL_KEPT: usize = 4 * 1024;

#[derive(Debug)]
pub(super) struct OpenChannel {
    line: Arc<Line>,
    queued: mpsc::Receiver<Queued>,
    inbox: Inbox,
    /// The message being given to the session, and how much of it was taken.
    sending: Option<(Queued, usize)>,
    /// The message being put together.
    partial: Vec<u8>,
    /// A message that the inbox has no room for. Until it has nothing more is read, so the window
    /// closes.
    held: Option<Message>,
    /// See [`is_cramped`](Self::is_cramped).
    cramped: bool,
}

impl OpenChannel {
    pub(super) fn new(ends: StackEnds) -> Self {
        let StackEnds {
            line,
            queued,
            inbox,
        } = ends;
        Self {
            line,
            queued,
            inbox,
            sending: None,
            partial: Vec::new(),
            held: None,
            cramped: false,
        }
    }

    /// Whether there is more to send than `small` memory holds. It waits until what was given is
    /// acknowledged.
    pub(super) const fn is_cramped(&self) -> bool {
        self.cramped
    }

    /// Whether the application has read everything.
    pub(super) fn is_read(&self) -> bool {
        self.held.is_none() && self.inbox.is_empty()
    }

    /// Gives memory back that only large messages needed.
    pub(super) fn shrink(&mut self) {
        self.partial.shrink_to(PARTIAL_KEPT);
    }

    /// Gives the session what waits to be sent, as much as it takes, and returns how many bytes
    /// that was. `small`: it could have more memory.
    pub(super) fn give<C: Crypto>(
        &mut self,
        session: &mut Session<'_, '_, C>,
        told: &Told,
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
            let (kind, payload) = of_wire(queued);
            let outgoing = session::Outgoing {
                kind,
                first: *taken == 0,
                last: true,
                // What is said last has to be read last.
                in_order: queued.last,
            };
            let rest = payload.get(*taken..).unwrap_or_default();
            if small && rest.len() > session.send_room() {
                self.cramped = true;
                return given;
            }
            match session.send(outgoing, rest) {
                Ok(count) => {
                    *taken += count;
                    given += count;
                }
                Err(session::SendError::Full) => return given,
                Err(error) => {
                    tracing::debug!(%error, "the data channel takes no more");
                    self.close();
                    return given;
                }
            }
            if *taken == payload.len() {
                // Counted twice for a moment rather than not at all.
                told.tell(session.buffered());
                self.line.left_queue(queued.payload.len());
                told.acknowledged.notify_waiters();
                self.sending = None;
            }
        }
        given
    }

    /// Takes messages from the session for as long as there is room for them, and returns how many
    /// bytes that was.
    pub(super) fn take<C: Crypto>(&mut self, session: &mut Session<'_, '_, C>) -> usize {
        let mut taken = 0;
        while self.held.is_none() {
            let (count, whole) = match session.read() {
                Some(Received::Piece(piece)) => {
                    // What came in one piece is copied once.
                    let whole = if piece.last && self.partial.is_empty() {
                        Some(message(piece.kind, piece.bytes))
                    } else {
                        self.partial.extend_from_slice(piece.bytes);
                        piece.last.then(|| message(piece.kind, &self.partial))
                    };
                    (piece.bytes.len(), whole)
                }
                Some(Received::Abandoned) => {
                    self.partial.clear();
                    (0, None)
                }
                None => return taken,
            };
            session.consume(count);
            taken += count;
            if let Some(message) = whole {
                self.partial.clear();
                self.deliver(message);
            }
        }
        taken
    }

    /// Nothing more is sent: whoever waits to send hears so.
    pub(super) fn close(&mut self) {
        self.line.close();
        self.queued.close();
        while self.queued.try_recv().is_ok() {}
        self.sending = None;
    }

    /// Whether nobody reads any more, or everything is handed over.
    pub(super) fn is_delivered(&self) -> bool {
        self.held.is_none() || self.inbox.is_closed()
    }

    /// Hands a message over, or holds it.
    fn deliver(&mut self, message: Message) {
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
            Ready::Unwanted => self.held = None,
        }
    }
}

/// What the ends of the channel are ready for.
pub(super) enum Ready {
    /// A message to send.
    Queued(Queued),
    /// Room for the message that is held.
    Room(OwnedSemaphorePermit),
    /// Nobody wants the message that is held.
    Unwanted,
}

/// Waits for either, as far as it is wanted.
pub(super) async fn ready(channel: &mut Option<OpenChannel>) -> Ready {
    let Some(channel) = channel else {
        return pending().await;
    };
    let is_free = channel.sending.is_none() && !channel.cramped;
    tokio::select! {
        Some(queued) = channel.queued.recv(), if is_free => Ready::Queued(queued),
        permit = room(&channel.inbox, channel.held.as_ref()) => Ready::Room(permit),
        () = channel.inbox.closed(), if channel.held.is_some() => Ready::Unwanted,
        else => pending().await,
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

/// What the session is given for a message that is written as it travels.
fn of_wire(queued: &Queued) -> (Kind, &[u8]) {
    match queued.ppid {
        PPID_STRING_EMPTY => (Kind::Text, &[]),
        PPID_BINARY_EMPTY => (Kind::Binary, &[]),
        PPID_STRING => (Kind::Text, &queued.payload),
        _ => (Kind::Binary, &queued.payload),
    }
}

fn message(kind: Kind, bytes: &[u8]) -> Message {
    match kind {
        Kind::Text => Message::Text(String::from_utf8_lossy(bytes).into_owned()),
        Kind::Binary => Message::Binary(Bytes::copy_from_slice(bytes)),
    }
}
