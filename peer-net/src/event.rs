//! What happens to a peer, as a stream.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use peer_core::peer::ConnectionError;
use peer_core::serialization::Serialization;
use peer_core::{ConnectionId, PeerId};
use tokio::sync::broadcast;

use crate::error::{CloseReason, ConnectionFailure, PeerFailure};
use crate::rtc::Stack;
use crate::value::Value;

/// Events that wait for a slow consumer. At the limit the oldest go, and [`Event::Lagged`] says how
/// many.
pub const EVENTS_MAX: usize = 128;

/// Something that happened. Cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The broker knows the peer under this id. PeerJS: `open`.
    Open(PeerId),
    /// A remote peer wants a connection. [`Peer::accept`](crate::Peer::accept) gives it once it is
    /// open. PeerJS: `connection`.
    Connection(Arc<ConnectionInfo>),
    /// Both sides of a connection may send. PeerJS: `open` of the connection.
    ConnectionOpen(Arc<ConnectionInfo>),
    /// A connection that had opened is over. PeerJS: `close` of the connection.
    ConnectionClosed(Arc<ConnectionInfo>, CloseReason),
    /// A connection never opened, and never will. PeerJS: `error` of the connection. Also an offer
    /// that was refused since something in it exceeds a limit, which the failure's detail names.
    ConnectionFailed(Arc<ConnectionInfo>, ConnectionFailure),
    /// Something went wrong on a connection that goes on. PeerJS: `error` of the connection.
    ConnectionError(Arc<ConnectionInfo>, ConnectionError),
    /// The broker's socket is gone; connections live on. PeerJS: `disconnected`.
    Disconnected,
    /// Something went wrong. PeerJS: `error`.
    Error(PeerFailure),
    /// The peer is destroyed. The last event. PeerJS: `close`.
    Closed,
    /// This consumer was too slow and missed so many events.
    Lagged(u64),
}

/// What a connection is, without the connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    pub(crate) peer: PeerId,
    pub(crate) connection_id: ConnectionId,
    pub(crate) label: String,
    pub(crate) metadata: Option<String>,
    pub(crate) reliable: bool,
    pub(crate) serialization: Serialization,
    pub(crate) incoming: bool,
    pub(crate) stack: Stack,
}

impl ConnectionInfo {
    /// The remote peer.
    pub fn peer(&self) -> &PeerId {
        &self.peer
    }

    /// The connection's id on the wire.
    pub fn connection_id(&self) -> &ConnectionId {
        &self.connection_id
    }

    /// The label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The metadata; `None` when there was none.
    pub fn metadata(&self) -> Option<Value> {
        serde_json::from_str(self.metadata.as_deref()?).ok()
    }

    /// The metadata as the JSON text that travelled.
    pub fn metadata_json(&self) -> Option<&str> {
        self.metadata.as_deref()
    }

    /// PeerJS's `reliable`: whether messages keep their order.
    pub fn reliable(&self) -> bool {
        self.reliable
    }

    /// How values travel.
    pub fn serialization(&self) -> Serialization {
        self.serialization
    }

    /// Whether the remote started it.
    pub fn is_incoming(&self) -> bool {
        self.incoming
    }

    /// Whose SCTP carries it on this side.
    pub fn stack(&self) -> Stack {
        self.stack
    }
}

/// A peer's events, a [`Stream`] that ends after [`Event::Closed`]. At most [`EVENTS_MAX`] wait.
///
/// ```no_run
/// # async fn run(peer: peer_net::Peer) {
/// use peer_net::Event;
/// let mut events = peer.events();
/// while let Some(event) = events.next().await {
///     match event {
///         Event::ConnectionFailed(info, failure) => println!("{}: {failure}", info.peer()),
///         Event::Error(failure) => println!("{}: {failure}", failure.kind()),
///         _ => {}
///     }
/// }
/// # }
/// ```
pub struct Events {
    stream: Pin<Box<dyn Stream<Item = Event> + Send>>,
}

impl Events {
    pub(crate) fn new(receiver: broadcast::Receiver<Event>) -> Self {
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let event = match receiver.recv().await {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(missed)) => Event::Lagged(missed),
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            Some((event, receiver))
        });
        Self {
            stream: Box::pin(stream),
        }
    }

    /// The next event; `None` once the peer is destroyed and everything was told. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.stream.next().await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.stream.as_mut().poll_next(cx)
    }
}

impl core::fmt::Debug for Events {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_consumer_learns_how_much_it_missed() {
        let (sender, receiver) = broadcast::channel(EVENTS_MAX);
        for _ in 0..EVENTS_MAX + 5 {
            assert!(sender.send(Event::Disconnected).is_ok());
        }
        drop(sender);
        let mut events = Events::new(receiver);
        assert!(matches!(events.next().await, Some(Event::Lagged(5))));
        let mut left = 0;
        while let Some(Event::Disconnected) = events.next().await {
            left += 1;
        }
        assert_eq!(left, EVENTS_MAX);
    }
}
