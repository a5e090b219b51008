//! The one task a peer has: it drives the engine.

use core::future::Future;
use std::sync::Arc;

use peer_core::PeerId;
use peer_core::serialization::Serialization;
use tokio::sync::{mpsc, oneshot};

use crate::builder::Options;
use crate::data_connection::DataConnection;
use crate::error::{BuildError, ConnectError, ReconnectError};
use crate::shared::Shared;

/// What handles ask of the driver.
pub(crate) enum Command {
    Connect(
        ConnectRequest,
        oneshot::Sender<Result<DataConnection, ConnectError>>,
    ),
    Disconnect(oneshot::Sender<()>),
    Reconnect(oneshot::Sender<Result<(), ReconnectError>>),
}

pub(crate) struct ConnectRequest {
    pub(crate) remote: PeerId,
    pub(crate) label: Option<String>,
    pub(crate) metadata: Option<String>,
    pub(crate) reliable: bool,
    pub(crate) serialization: Serialization,
}

pub(crate) fn prepare(
    options: Options,
    _commands: mpsc::Receiver<Command>,
    _backlog: mpsc::Sender<DataConnection>,
) -> Result<(Arc<Shared>, impl Future<Output = ()> + Send + 'static), BuildError> {
    let shared = Shared::new(options.id);
    Ok((shared, async {}))
}
