//! A connection to another peer: its handles, its two queues, and the tasks between them and the
//! channel.
//!
//! It knows its peer only as an [`Owner`].

mod assembly;
mod byte_stream;
mod halves;
mod owner;
mod plane;
mod queue;
mod receiving;
mod sending;
mod waiters;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use core::sync::atomic::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use peer_core::serialization::Serialization;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use byte_stream::ByteStream;
pub use halves::{ReceiveHalf, SendHalf};

pub(crate) use assembly::Incomplete;
pub(crate) use owner::Owner;
pub(crate) use plane::DataPlane;

use crate::codec::{self, Payload};
use crate::error::{CloseReason, ConnectionFailure, ReceiveError, SendError};
use crate::event::ConnectionInfo;
use crate::sync;
use crate::value::Value;

/// What keeps the peer of a connection alive; nothing else is known of it here.
pub(crate) type KeepAlive = Arc<dyn core::any::Any + Send + Sync>;

/// A connection to another peer. PeerJS's `DataConnection`.
///
/// Handles are cheap to clone; a message that several wait for goes to one of them. When the last
/// handle is dropped, the connection is closed after what was sent has been delivered, as long as
/// the program lives to do it. A connection keeps its [`Peer`](crate::Peer) alive, so the handle of
/// the peer may be dropped before.
///
/// ```no_run
/// # async fn run(connection: peer_net::DataConnection) -> Result<(), Box<dyn std::error::Error>> {
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Reading { celsius: f64 }
///
/// connection.send(&Reading { celsius: 21.5 }).await?;
/// while let Some(reading) = connection.recv_as::<Reading>().await? {
///     println!("{} has {} °C", connection.peer(), reading.celsius);
/// }
/// println!("over: {}", connection.closed().await);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DataConnection {
    tether: Arc<Tether>,
    _peer: KeepAlive,
}

/// What ties the handles to their connection: the last one's drop closes it.
pub(crate) struct Tether {
    plane: Arc<DataPlane>,
}

impl Tether {
    pub(crate) fn new(plane: Arc<DataPlane>) -> Arc<Self> {
        Arc::new(Self { plane })
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        self.plane.abandon();
    }
}

impl DataConnection {
    pub(crate) fn new(tether: Arc<Tether>, peer: KeepAlive) -> Self {
        Self {
            tether,
            _peer: peer,
        }
    }

    /// The remote peer's id. PeerJS: `peer`.
    pub fn peer(&self) -> &str {
        self.tether.plane.info.peer.as_str()
    }

    /// The connection's id on the wire. PeerJS: `connectionId`.
    pub fn connection_id(&self) -> &str {
        self.tether.plane.info.connection_id.as_str()
    }

    /// The label.
    pub fn label(&self) -> &str {
        self.tether.plane.info.label()
    }

    /// What the offerer said about the connection; `None` when it said nothing.
    pub fn metadata(&self) -> Option<Value> {
        self.tether.plane.info.metadata()
    }

    /// The metadata as a type of yours.
    ///
    /// # Errors
    /// It is not of that shape; without metadata `null` is read.
    pub fn metadata_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.tether.plane.info.metadata_json().unwrap_or("null"))
    }

    /// PeerJS's `reliable`: whether messages keep their order.
    pub fn reliable(&self) -> bool {
        self.tether.plane.info.reliable
    }

    /// How values travel.
    pub fn serialization(&self) -> Serialization {
        self.tether.plane.info.serialization
    }

    /// Whether the remote started it.
    pub fn is_incoming(&self) -> bool {
        self.tether.plane.info.incoming
    }

    /// All of the above without the connection, as events carry it.
    pub fn info(&self) -> &Arc<ConnectionInfo> {
        &self.tether.plane.info
    }

    /// Whether both sides may send. PeerJS: `open`.
    pub fn is_open(&self) -> bool {
        self.tether.plane.is_open()
    }

    /// Waits until both sides may send. Dropping the future changes nothing.
    ///
    /// # Errors
    /// [`ConnectionFailure`]: it never opened, with the stage it reached.
    pub async fn opened(&self) -> Result<(), ConnectionFailure> {
        self.tether.plane.opened().await
    }

    /// Sends a value, after waiting until the connection is open and not congested. Messages go in
    /// the order in which their `send` was first polled.
    ///
    /// Byte slices are sequences of numbers to serde: send bytes with
    /// [`send_bytes`](Self::send_bytes). A future that is dropped before it is ready has sent
    /// nothing.
    ///
    /// # Errors
    /// [`SendError`]; the connection stays as it was.
    pub async fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), SendError> {
        self.tether
            .plane
            .send(|serialization, text| codec::encode(serialization, text, value))
            .await
    }

    /// Sends a value, or says why not now. It never goes before what was sent or is waiting in
    /// `send`.
    ///
    /// # Errors
    /// [`SendError::NotOpenYet`] and [`SendError::Congested`], where `send` waits, and all of its
    /// errors.
    pub fn try_send<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), SendError> {
        self.tether
            .plane
            .try_send(|serialization, text| codec::encode(serialization, text, value))
    }

    /// Sends a string: in `raw` as a text message, else as a string value.
    ///
    /// # Errors
    /// [`SendError`]; the connection stays as it was.
    pub async fn send_text(&self, text: impl Into<String>) -> Result<(), SendError> {
        let text = text.into();
        self.send(text.as_str()).await
    }

    /// Sends bytes: in `raw` as a binary message, in `binary` as an `ArrayBuffer`.
    ///
    /// # Errors
    /// [`SendError::Encode`] in `json`, which has no bytes, and as [`send`](Self::send).
    pub async fn send_bytes(&self, bytes: impl Into<Bytes>) -> Result<(), SendError> {
        let bytes = bytes.into();
        self.tether
            .plane
            .send(|serialization, _| codec::encode_bytes(serialization, bytes))
            .await
    }

    /// The next message; `None` once the connection is over and everything that had come was read.
    /// Cancel safe.
    ///
    /// In `raw` a text is [`Value::String`] and a binary message [`Value::Bytes`]. In `postcard`,
    /// which does not describe itself, the message comes as bytes: use [`recv_as`](Self::recv_as)
    /// there.
    ///
    /// # Errors
    /// [`ReceiveError`] about this one message; the connection goes on.
    pub async fn recv(&self) -> Result<Option<Value>, ReceiveError> {
        self.next(|payload| codec::decode(self.serialization(), payload))
            .await
    }

    /// The next message as a type of yours; else as [`recv`](Self::recv).
    ///
    /// # Errors
    /// [`ReceiveError`] about this one message; the connection goes on.
    pub async fn recv_as<T: DeserializeOwned>(&self) -> Result<Option<T>, ReceiveError> {
        self.next(|payload| codec::decode_as(self.serialization(), payload))
            .await
    }

    /// Waits for a message without taking it: its bytes in its serialization, before
    /// [`recv`](Self::recv) decodes it. `None` once the connection is over and everything was read.
    /// Cancel safe.
    pub async fn next_size(&self) -> Option<usize> {
        self.tether.plane.inbox.next_size().await
    }

    /// Bytes of messages that arrived so far, those of chunks included. Wraps.
    pub fn bytes_received(&self) -> usize {
        self.tether.plane.received.load(Ordering::Relaxed)
    }

    async fn next<T>(
        &self,
        decode: impl FnOnce(Payload) -> Result<T, ReceiveError>,
    ) -> Result<Option<T>, ReceiveError> {
        let arrived = self.tether.plane.inbox.pop().await;
        arrived
            .map(|arrived| self.tether.read(arrived.payload, decode))
            .transpose()
    }

    /// Bytes that were sent and not yet delivered, as `RTCDataChannel.bufferedAmount` and PeerJS's
    /// `bufferSize` together: those in the queue of the connection, and those in the channel.
    pub fn buffered_amount(&self) -> usize {
        self.tether.plane.buffered_amount()
    }

    /// Closes at once; what is not delivered yet is lost. PeerJS: `close()`.
    pub fn close(&self) {
        self.tether.plane.close(CloseReason::Local);
    }

    /// Closes once everything that was sent has been delivered, and waits for it. What is to be
    /// sent from now on is refused. Dropping the future leaves the closing to go on. PeerJS:
    /// `close({flush: true})`, without its losses on unordered channels.
    pub async fn close_flush(&self) -> CloseReason {
        self.tether.plane.close_later();
        self.tether.plane.closed().await
    }

    /// Splits the connection into a half to send, a [`Sink`](futures_util::Sink), and one to
    /// receive, a [`Stream`](futures_util::Stream), for two tasks. Each of them is a handle like
    /// this one.
    pub fn split(self) -> (SendHalf, ReceiveHalf) {
        (SendHalf::new(self.clone()), ReceiveHalf::new(self))
    }

    /// Makes a stream of bytes, [`AsyncRead`](tokio::io::AsyncRead) and
    /// [`AsyncWrite`](tokio::io::AsyncWrite), of a connection that is [`reliable`](Self::reliable)
    /// and [`Serialization::Raw`].
    ///
    /// # Errors
    /// The connection as it is, if it is not both: its messages would come in another order, or
    /// have another form.
    pub fn into_byte_stream(self) -> Result<ByteStream, Self> {
        if self.reliable() && self.serialization() == Serialization::Raw {
            Ok(ByteStream::new(self))
        } else {
            Err(self)
        }
    }

    /// Waits until the connection is over, and says why. Dropping the future changes nothing.
    pub async fn closed(&self) -> CloseReason {
        self.tether.plane.closed().await
    }
}

impl Tether {
    /// Reads a message, and counts one that cannot be.
    fn read<T>(
        &self,
        payload: Payload,
        decode: impl FnOnce(Payload) -> Result<T, ReceiveError>,
    ) -> Result<T, ReceiveError> {
        decode(payload).inspect_err(|error| self.plane.owner.malformed(&self.plane.info, error))
    }
}

impl core::fmt::Debug for DataConnection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DataConnection")
            .field("peer", &self.peer())
            .field("connection_id", &self.connection_id())
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}
