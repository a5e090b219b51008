//! The peer, as the application holds it.

mod builder;
mod connect;
mod driver;
mod shared;

pub use builder::PeerBuilder;
pub use connect::Connect;
pub use shared::Stats;

use std::sync::Arc;

use peer_core::PeerId;
use peer_core::peer::PeerState;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::connection::{DataConnection, Tether};
use crate::error::{BuildError, ListError, PeerFailure, ReconnectError};
use crate::event::Events;
use crate::limits::ACCEPT_BACKLOG;
use crate::options::Options;
use driver::Command;
use shared::{Alive, Shared};

/// Commands that wait for the peer's task. At the limit the caller waits.
const COMMANDS_MAX: usize = 32;

/// A peer with an id at a broker, and its data connections. PeerJS's `Peer`.
///
/// Handles are cheap to clone and all mean the same peer. Its connections keep it alive, too: when
/// the last handle of the peer and of its connections is dropped, what was sent is delivered and
/// the peer destroyed. Without a handle of the peer itself nobody can accept, so offers are
/// refused.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use peer_net::Peer;
/// let peer = Peer::builder().broker("ws://127.0.0.1:9000/").open().await?;
/// let connection = peer.connect("greenhouse-7").reliable(true).await?;
/// connection.send("hello").await?;
/// while let Some(value) = connection.recv().await? {
///     println!("{value:?}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Peer {
    inner: Arc<Inner>,
}

/// What the handles of a peer share.
struct Inner {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    accepted: Mutex<mpsc::Receiver<Arc<Tether>>>,
    /// Its connections hold it as well; the driver does not.
    alive: Arc<Alive>,
}

impl Peer {
    /// A builder with PeerJS's defaults.
    pub fn builder() -> PeerBuilder {
        PeerBuilder::default()
    }

    pub(crate) fn start(options: Options) -> Result<Self, BuildError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
        let (backlog, accepted) = mpsc::channel(ACCEPT_BACKLOG);
        let (shared, driver) = driver::prepare(runtime.clone(), options, command_queue, backlog)?;
        runtime.spawn(driver);
        let inner = Inner {
            alive: shared.alive(),
            shared,
            commands,
            accepted: Mutex::new(accepted),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The id, once the broker gave or took it. Unlike PeerJS's it stays known while disconnected.
    pub fn id(&self) -> Option<PeerId> {
        self.inner.shared.status().id.clone()
    }

    /// Waits until the broker knows the peer. With the option `reconnect` it waits through lost
    /// sockets.
    ///
    /// # Errors
    /// [`PeerFailure`]: the broker cannot be reached or did not take the peer.
    pub async fn opened(&self) -> Result<PeerId, PeerFailure> {
        self.inner.shared.opened().await
    }

    /// Starts a connection to the peer of that id: await it for an open connection, or
    /// [`start`](Connect::start) it for one that still opens. PeerJS: `connect`.
    ///
    /// Before the broker is open the offer is queued, not lost.
    pub fn connect(&self, remote: impl Into<String>) -> Connect {
        Connect::new(self.clone(), remote.into())
    }

    /// The next incoming connection, open already; `None` once the peer is destroyed. Cancel safe.
    ///
    /// [`ACCEPT_BACKLOG`] of them wait; further ones are closed as soon as they open, and counted.
    /// PeerJS: the event `connection`, but here when both sides may send.
    pub async fn accept(&self) -> Option<DataConnection> {
        let tether = self.inner.accepted.lock().await.recv().await?;
        Some(self.tied(tether))
    }

    fn tied(&self, tether: Arc<Tether>) -> DataConnection {
        DataConnection::new(tether, self.inner.alive.clone())
    }

    /// All connections that somebody still holds, open or opening. PeerJS: `connections`.
    pub fn connections(&self) -> Vec<DataConnection> {
        let connections = self.inner.shared.connections().into_iter();
        connections.map(|tether| self.tied(tether)).collect()
    }

    /// The connection of that id, if somebody still holds it. PeerJS: `getConnection`.
    pub fn connection(&self, remote: &str, connection_id: &str) -> Option<DataConnection> {
        let mut connections = self.connections().into_iter();
        connections.find(|c| c.peer() == remote && c.connection_id() == connection_id)
    }

    /// Leaves the broker; connections live on. PeerJS: `disconnect`.
    pub async fn disconnect(&self) {
        let (done, wait) = oneshot::channel();
        if self
            .inner
            .commands
            .send(Command::Disconnect(done))
            .await
            .is_ok()
        {
            let _ = wait.await;
        }
    }

    /// Comes back to the broker with the same id and token, and waits until it is open. PeerJS:
    /// `reconnect`.
    ///
    /// # Errors
    /// [`ReconnectError`]: there is nothing to come back from, or the broker did not take the peer.
    pub async fn reconnect(&self) -> Result<PeerId, ReconnectError> {
        let (done, wait) = oneshot::channel();
        let sent = self.inner.commands.send(Command::Reconnect(done)).await;
        sent.map_err(|_| ReconnectError::Destroyed)?;
        wait.await.map_err(|_| ReconnectError::Destroyed)??;
        Ok(self.opened().await?)
    }

    /// Closes every connection and leaves the broker, for good. Await [`closed`](Self::closed) to
    /// know it done. PeerJS: `destroy`.
    pub fn destroy(&self) {
        self.inner.shared.destroy();
    }

    /// Ends the peer in order: refuses what is new, delivers what its connections were given to
    /// send, closes them as [`DataConnection::close_flush`] does, leaves the broker, and waits
    /// until all has ended. Dropping the future leaves that to go on. A connection that delivers
    /// nothing for 10 s is closed without the rest.
    pub async fn shutdown(&self) {
        self.inner.shared.shutdown();
        self.closed().await;
    }

    /// Waits until the peer is destroyed and everything below it has ended. Dropping the future
    /// changes nothing.
    pub async fn closed(&self) {
        self.inner.commands.closed().await;
    }

    /// The ids of all peers at the broker, if the broker tells. PeerJS: `listAllPeers`.
    ///
    /// # Errors
    /// [`ListError`]: the broker is not reachable, or does not allow it (PeerServer's
    /// `allow_discovery`).
    pub async fn list_all_peers(&self) -> Result<Vec<String>, ListError> {
        self.inner.shared.list_all_peers().await
    }

    /// What happens, as a stream. The first stream begins at the peer's start, each other one at
    /// its call.
    pub fn events(&self) -> Events {
        self.inner.shared.events()
    }

    /// Where the peer stands with its broker.
    pub fn state(&self) -> PeerState {
        self.inner.shared.status().state
    }

    /// Whether the broker knows the peer. PeerJS: `open`.
    pub fn is_open(&self) -> bool {
        self.state() == PeerState::Open
    }

    /// Whether there is no socket to the broker. PeerJS: `disconnected`.
    pub fn is_disconnected(&self) -> bool {
        matches!(self.state(), PeerState::Disconnected | PeerState::Destroyed)
    }

    /// Whether the peer is destroyed. PeerJS: `destroyed`.
    pub fn is_destroyed(&self) -> bool {
        self.state() == PeerState::Destroyed
    }

    /// Counters since the start.
    pub fn stats(&self) -> Stats {
        self.inner.shared.stats()
    }
}

impl core::fmt::Debug for Peer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let status = self.inner.shared.status();
        f.debug_struct("Peer")
            .field("id", &status.id)
            .field("state", &status.state)
            .finish()
    }
}
