//! One data connection, as the application holds it.

use std::sync::Arc;

use bytes::Bytes;
use peer_core::serialization::Serialization;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{CloseReason, ConnectionFailure, ReceiveError, SendError};
use crate::event::ConnectionInfo;
use crate::value::Value;

/// A connection to another peer. PeerJS's `DataConnection`.
///
/// Handles are cheap to clone; a message that several wait for goes to one of them. When the last handle is
/// dropped, the connection is closed after what was sent has been delivered.
#[derive(Clone)]
pub struct DataConnection {
    held: Arc<Held>,
}

/// What the handles share; its drop closes the connection.
pub(crate) struct Held {
    info: Arc<ConnectionInfo>,
}

impl DataConnection {
    pub(crate) fn from_held(held: Arc<Held>) -> Self {
        Self { held }
    }

    /// The remote peer's id. PeerJS: `peer`.
    pub fn peer(&self) -> &str {
        self.held.info.peer.as_str()
    }

    /// The connection's id on the wire. PeerJS: `connectionId`.
    pub fn connection_id(&self) -> &str {
        self.held.info.connection_id.as_str()
    }

    /// The label.
    pub fn label(&self) -> &str {
        self.held.info.label()
    }

    /// What the offerer said about the connection; `None` when it said nothing.
    pub fn metadata(&self) -> Option<Value> {
        self.held.info.metadata()
    }

    /// The metadata as a type of yours.
    ///
    /// # Errors
    /// It is not of that shape; without metadata `null` is read.
    pub fn metadata_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.held.info.metadata_json().unwrap_or("null"))
    }

    /// PeerJS's `reliable`: whether messages keep their order.
    pub fn reliable(&self) -> bool {
        self.held.info.reliable
    }

    /// How values travel.
    pub fn serialization(&self) -> Serialization {
        self.held.info.serialization
    }

    /// Whether the remote started it.
    pub fn is_incoming(&self) -> bool {
        self.held.info.incoming
    }

    /// All of the above without the connection, as events carry it.
    pub fn info(&self) -> &Arc<ConnectionInfo> {
        &self.held.info
    }

    /// Whether both sides may send. PeerJS: `open`.
    pub fn is_open(&self) -> bool {
        todo!()
    }

    /// Waits until both sides may send.
    ///
    /// # Errors
    /// [`ConnectionFailure`]: it never opened, with the stage it reached.
    pub async fn opened(&self) -> Result<(), ConnectionFailure> {
        todo!()
    }

    /// Sends a value, after waiting until the connection is open and not congested.
    ///
    /// Byte slices are sequences of numbers to serde: send bytes with [`send_bytes`](Self::send_bytes).
    ///
    /// # Errors
    /// [`SendError`]; the connection stays as it was.
    pub async fn send<T: Serialize + ?Sized>(&self, _value: &T) -> Result<(), SendError> {
        todo!()
    }

    /// Sends a value, or says why not now.
    ///
    /// # Errors
    /// [`SendError::NotOpenYet`] and [`SendError::Congested`], where `send` waits, and all of its errors.
    pub fn try_send<T: Serialize + ?Sized>(&self, _value: &T) -> Result<(), SendError> {
        todo!()
    }

    /// Sends a string: in `raw` as a text message, else as a string value.
    ///
    /// # Errors
    /// [`SendError`]; the connection stays as it was.
    pub async fn send_text(&self, _text: impl Into<String>) -> Result<(), SendError> {
        todo!()
    }

    /// Sends bytes: in `raw` as a binary message, in `binary` as an `ArrayBuffer`.
    ///
    /// # Errors
    /// [`SendError::Encode`] in `json`, which has no bytes, and as [`send`](Self::send).
    pub async fn send_bytes(&self, _bytes: impl Into<Bytes>) -> Result<(), SendError> {
        todo!()
    }

    /// The next message; `None` once the connection is over and everything that had come was read. Cancel safe.
    ///
    /// In `raw` a text is [`Value::String`] and a binary message [`Value::Bytes`]. In `postcard`, which does not
    /// describe itself, the message comes as bytes: use [`recv_as`](Self::recv_as) there.
    ///
    /// # Errors
    /// [`ReceiveError`] about this one message; the connection goes on.
    pub async fn recv(&self) -> Result<Option<Value>, ReceiveError> {
        todo!()
    }

    /// The next message as a type of yours; else as [`recv`](Self::recv).
    ///
    /// # Errors
    /// [`ReceiveError`] about this one message; the connection goes on.
    pub async fn recv_as<T: DeserializeOwned>(&self) -> Result<Option<T>, ReceiveError> {
        todo!()
    }

    /// Bytes that were sent and not yet delivered, as `RTCDataChannel.bufferedAmount`. PeerJS's `bufferSize`
    /// counts messages it holds back itself; `send` holds back none, it waits.
    pub fn buffered_amount(&self) -> usize {
        todo!()
    }

    /// Closes at once; what is not delivered yet is lost. PeerJS: `close()`.
    pub fn close(&self) {
        todo!()
    }

    /// Closes once everything that was sent has been delivered, and waits for it.
    /// PeerJS: `close({flush: true})`, without its losses on unordered channels.
    pub async fn close_flush(&self) -> CloseReason {
        todo!()
    }

    /// Waits until the connection is over, and says why.
    pub async fn closed(&self) -> CloseReason {
        todo!()
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
