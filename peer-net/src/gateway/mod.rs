//! The gateway: lends its broker socket and its WebRTC stack to microcontrollers, its *leaves*, over TCP and serial ports.
//!
//! A leaf runs the whole engine of `peer_core` and speaks the [link](peer_core::link). The gateway executes
//! what the engine says, with a socket to the broker and [sessions](crate::rtc) for each leaf, and nothing more: it has
//! no engine and no id of its own. To browsers the leaf is an ordinary peer.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use peer_net::gateway::{Gateway, GatewayOptions, LeafOptions};
//!
//! let gateway = Gateway::bind(GatewayOptions {
//!     broker: "ws://127.0.0.1:9000/".parse()?,
//!     listen: vec!["127.0.0.1:7400".parse()?],
//!     leaves: vec![LeafOptions {
//!         name: "greenhouse".to_owned(),
//!         key: [7; 32],
//!         ids: vec!["sensor-7".to_owned()],
//!         random_id: false,
//!     }],
//!     ..GatewayOptions::default()
//! })
//! .await?;
//! println!("{:?}", gateway.status());
//! gateway.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # What a leaf can do to others
//! Nothing. Each stream has a task of its own, with memory of its own that is made once. What a leaf does not take waits in
//! its own buffers, and then the browser waits. What it sends too fast waits in its own window, and then it waits. It
//! is cut, and all its sessions and its socket with it, when it falls silent, takes no bytes, or breaks a rule of the
//! link. Browsers notice at once.
//!
//! # Limits
//! | limit | default | at the limit |
//! |---|---|---|
//! | leaves, [`GatewayLimits::leaves`] | 32 | a further one is cut and counted |
//! | sessions of a leaf, [`GatewayLimits::connections`] | 8, as many more closing | the session fails (`Resources`) |
//! | bytes of a leaf's sessions, [`GatewayLimits::bytes`] | 8 MiB | the leaf waits, or the browser |
//! | bytes of a leaf's link | 64 KiB each way, the longest message | the leaf waits, or the browser; longer messages of a browser are dropped and told |
//! | sessions begun by a leaf | 32, then 8 a second | the session fails (`Resources`) |
//! | broker sockets and ids of a leaf | 8, then 1 a second | it fails, as if the broker were gone |
//! | streams whose leaf has not proved its key | 64 | the oldest is closed |
//! | the time to prove a key, on TCP | 30 s | the stream is closed |
//! | a message that a full channel does not take | 10 s | that session is closed |
//! | a stream that takes no byte | 10 s | it is cut |
//!
//! The link neither hides nor signs what it carries after its handshake: TCP outside of a trusted network belongs into
//! a VPN or a tunnel.

mod config;
mod error;
mod leaf;
mod options;
mod registry;
mod sessions;
mod status;
mod streams;

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::{Arc, Mutex};

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use options::Settings;
use registry::Registry;

use crate::shared::lock;

pub use config::{ConfigError, GatewayConfig, STATUS_ADDRESS};
pub use error::GatewayError;
pub use options::{
    CONNECTION_BYTES_MIN, CONNECTIONS_MAX, GatewayLimits, GatewayOptions, LeafOptions, SerialPort,
};
pub use status::{
    AbsentLine, ConnectionStatus, GatewayStatus, LeafStatus, LinkCounts, RefusedCounts,
};

/// How long the end may take, until every remote knows.
const END_WAIT: Duration = Duration::from_secs(5);

/// A running gateway. Dropping it ends it too, without waiting.
#[derive(Debug)]
pub struct Gateway {
    common: Arc<Common>,
    options: GatewayOptions,
    local_addrs: Vec<SocketAddr>,
    tasks: JoinSet<()>,
    /// Ends when nothing of the gateway is left.
    ended: mpsc::Receiver<()>,
}

/// What the tasks share.
struct Common {
    settings: watch::Sender<Arc<Settings>>,
    stop: watch::Sender<bool>,
    registry: Registry,
    /// Held by whatever has to be waited for; gone once the gateway ends.
    alive: Mutex<Option<mpsc::Sender<()>>>,
}

impl core::fmt::Debug for Common {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Common").finish_non_exhaustive()
    }
}

impl Gateway {
    /// Starts a gateway on the current tokio runtime.
    ///
    /// Serial ports and servers that are not there yet are no error: [`status`](Self::status) tells, and they are tried
    /// until they are.
    ///
    /// # Errors
    /// [`GatewayError`]: the options cannot be used, or an address cannot be listened on. Nothing was started.
    pub async fn bind(options: GatewayOptions) -> Result<Self, GatewayError> {
        let settings = Settings::new(&options)?;
        let mut listeners = Vec::new();
        for &address in &options.listen {
            let listener = TcpListener::bind(address).await;
            let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
            listeners.push(bound.map_err(|source| GatewayError::Listen { address, source })?);
        }
        let (alive, ended) = mpsc::channel(1);
        let common = Arc::new(Common {
            settings: watch::Sender::new(Arc::new(settings)),
            stop: watch::Sender::new(false),
            registry: Registry::new(),
            alive: Mutex::new(Some(alive)),
        });
        let mut tasks = JoinSet::new();
        let mut local_addrs = Vec::new();
        for (address, listener) in listeners {
            local_addrs.push(address);
            tasks.spawn(streams::listen(listener, common.clone()));
        }
        for address in &options.connect {
            tasks.spawn(streams::call(address.clone(), common.clone()));
        }
        for port in &options.serial {
            tasks.spawn(streams::serial(port.clone(), common.clone()));
        }
        Ok(Self {
            common,
            options,
            local_addrs,
            tasks,
            ended,
        })
    }

    /// The addresses listened on, in the order of [`GatewayOptions::listen`].
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Every leaf, its connections and counters.
    pub fn status(&self) -> GatewayStatus {
        self.common.status()
    }

    /// A handle that tells the status for as long as the gateway is there.
    pub fn status_source(&self) -> StatusSource {
        StatusSource(self.common.clone())
    }

    /// Takes new leaves, keys, ids, limits, broker and ICE servers. A leaf whose key is another or gone, or whose id it may
    /// no longer use, is cut. Others stay: broker and ICE servers count for sockets and sessions from now on, buffers too,
    /// and no leaf is cut for a lower limit.
    ///
    /// Addresses, servers, serial ports and timers stay as they are: what is returned names those that differ.
    ///
    /// # Errors
    /// [`GatewayError`]: the options cannot be used, and nothing has changed.
    pub fn reload(&mut self, options: GatewayOptions) -> Result<Vec<&'static str>, GatewayError> {
        let mut settings = Settings::new(&options)?;
        settings.timing = self.options.timing;
        let old = &self.options;
        let differ = [
            ("listen", old.listen != options.listen),
            ("connect", old.connect != options.connect),
            ("serial", old.serial != options.serial),
            ("timing", old.timing != options.timing),
        ];
        self.common.registry.retain(&settings);
        self.common.settings.send_replace(Arc::new(settings));
        Ok(differ
            .into_iter()
            .filter_map(|(name, differs)| differs.then_some(name))
            .collect())
    }

    /// Ends it: leaves are told, their sessions and sockets closed so that every remote notices. Waits for that, for
    /// five seconds at most.
    pub async fn shutdown(mut self) {
        self.common.stop.send_replace(true);
        let end = async {
            while self.tasks.join_next().await.is_some() {}
            *lock(&self.common.alive) = None;
            while self.ended.recv().await.is_some() {}
        };
        if timeout(END_WAIT, end).await.is_err() {
            tracing::warn!(target: "peer_net", "the gateway did not end in order in time");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.common.stop.send_replace(true);
    }
}

/// Tells a gateway's status, see [`Gateway::status_source`].
#[derive(Clone, Debug)]
pub struct StatusSource(Arc<Common>);

impl StatusSource {
    /// Every leaf, its connections and counters.
    pub fn status(&self) -> GatewayStatus {
        self.0.status()
    }
}

impl Common {
    fn status(&self) -> GatewayStatus {
        self.registry.status(&self.settings.borrow())
    }
}

/// Waits until the gateway ends.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn random() -> Result<[u8; peer_core::link::KEY_LEN], GatewayError> {
    let mut bytes = [0; peer_core::link::KEY_LEN];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| GatewayError::Random)?;
    Ok(bytes)
}
