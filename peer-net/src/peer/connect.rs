//! A connection about to be made.

use core::future::{Future, IntoFuture};
use core::pin::Pin;

use peer_core::PeerId;
use peer_core::serialization::Serialization;
use serde::Serialize;
use tokio::sync::oneshot;

use super::Peer;
use super::driver::{Command, ConnectRequest};
use crate::connection::DataConnection;
use crate::error::ConnectError;

/// A connection about to be made. PeerJS's `PeerConnectOption`.
#[must_use = "nothing happens until it is awaited or started"]
#[derive(Debug)]
pub struct Connect {
    peer: Peer,
    remote: String,
    label: Option<String>,
    metadata: Option<Result<String, String>>,
    reliable: bool,
    serialization: Serialization,
}

impl Connect {
    pub(super) fn new(peer: Peer, remote: String) -> Self {
        Self {
            peer,
            remote,
            label: None,
            metadata: None,
            reliable: false,
            serialization: Serialization::default(),
        }
    }

    /// The channel's label. Default: the connection's id.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Anything that becomes JSON, for the remote to see before it takes the connection.
    pub fn metadata<T: Serialize + ?Sized>(mut self, metadata: &T) -> Self {
        self.metadata = Some(serde_json::to_string(metadata).map_err(|error| error.to_string()));
        self
    }

    /// `true` keeps messages in order. Default `false`, as in PeerJS: all arrive, in any order.
    pub fn reliable(mut self, reliable: bool) -> Self {
        self.reliable = reliable;
        self
    }

    /// How values travel. Default [`Serialization::Binary`].
    pub fn serialization(mut self, serialization: Serialization) -> Self {
        self.serialization = serialization;
        self
    }

    /// Starts it and returns the connection that still opens; wait with
    /// [`DataConnection::opened`]. PeerJS's `connect` does this.
    ///
    /// # Errors
    /// [`ConnectError`], never `Failed`: the attempt was not made.
    pub async fn start(self) -> Result<DataConnection, ConnectError> {
        let remote = PeerId::from_wire(&self.remote).map_err(|source| ConnectError::Id {
            id: self.remote.clone(),
            source,
        })?;
        let (reply, answer) = oneshot::channel();
        let request = ConnectRequest {
            remote,
            label: self.label,
            metadata: self.metadata.transpose().map_err(ConnectError::Metadata)?,
            reliable: self.reliable,
            serialization: self.serialization,
        };
        let sent = self
            .peer
            .inner
            .commands
            .send(Command::Connect(request, reply))
            .await;
        sent.map_err(|_| ConnectError::Destroyed)?;
        let tether = answer.await.map_err(|_| ConnectError::Destroyed)??;
        Ok(self.peer.tied(tether))
    }
}

impl IntoFuture for Connect {
    type Output = Result<DataConnection, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Starts it and waits until it is open. Dropping the future closes it.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let connection = self.start().await?;
            connection.opened().await?;
            Ok(connection)
        })
    }
}
