//! What a connection asks of the peer that it belongs to.

use std::sync::Arc;

use peer_core::peer::ConnectionHandle;
use tokio::runtime::Handle;

use crate::event::ConnectionInfo;

/// The peer, as its connections see it.
pub(crate) trait Owner: Send + Sync {
    /// Where the tasks of connections run.
    fn runtime(&self) -> &Handle;

    /// Ends a connection at once.
    fn close(&self, handle: ConnectionHandle);

    /// A message could not be read.
    fn malformed(&self, info: &ConnectionInfo, why: &dyn core::fmt::Display);

    /// A message was too big, or there was no room for it.
    fn dropped(&self, info: &Arc<ConnectionInfo>);
}
