//! The gateway: lends its broker socket and its WebRTC stack to microcontrollers, its *leaves*,
//! over TCP and serial ports.
//!
//! A leaf runs the whole engine of `peer_core` and speaks the [link](peer_core::link). The gateway
//! executes what the engine says, with a socket to the broker and [sessions](crate::rtc) for each
//! leaf, and nothing more: it has no engine and no id of its own. To browsers the leaf is an
//! ordinary peer.
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
//! Nothing. Each stream has a task of its own, with memory of its own that is made once. What a
//! leaf does not take waits in the buffers of that session, and then its browser waits. What it
//! sends too fast waits in that session's credit. It is cut, and all its sessions and its socket
//! with it, when it falls silent, takes no bytes, or breaks a rule of the link. Browsers notice at
//! once.
//!
//! # Limits
//! | limit | default | at the limit |
//! |---|---|---|
//! | leaves, [`GatewayLimits::leaves`] | 32 | a further one is cut and counted |
//! | times that a leaf comes, [`GatewayLimits::arrivals`] | 8, then 1 a second | it is cut and counted |
//! | sessions of a leaf, [`GatewayLimits::connections`] | 8, as many more closing | the session fails (`Resources`) |
//! | bytes of a leaf's sessions, [`GatewayLimits::bytes`] | 8 MiB | the leaf waits, or the browser |
//! | bytes of a leaf's link | 64 KiB each way | the leaf waits, or the browser. At a leaf of version 1 it is the longest message, and longer ones of a browser are dropped and told |
//! | bytes of a session that a leaf sends and its channel does not take | 64 KiB and one message | the leaf waits with that session; one of version 1 with all |
//! | a message that a leaf sends | 256 KiB | the session fails (`Channel`) |
//! | sessions begun by a leaf, [`GatewayLimits::sessions`] | 32, then 8 a second | the session fails (`Resources`) |
//! | broker sockets and ids of a leaf, [`GatewayLimits::opens`] | 8, then 1 a second | it fails, as if the broker were gone |
//! | streams whose leaf has not proved its key, [`GatewayLimits::unproven`] | 64 | the oldest of the address that has most is closed; an IPv6 network counts as one |
//! | the time to prove a key, on TCP, [`GatewayLimits::prove_within`] | 30 s | the stream is closed |
//! | bytes without a proved key, on TCP | 256 KiB | the stream is closed |
//! | a message that a full channel does not take, [`GatewayLimits::stall`] | 10 s | that session is closed |
//! | a stream that takes no byte, [`GatewayLimits::stall`] | 10 s | it is cut |
//! | bytes that the system holds for a leaf on TCP | 64 KiB, which Linux doubles | the leaf waits, or the browser |
//! | remotes' names in the status | 128 bytes each, those of 16 offers that wait | cut; such a connection is shown without |
//!
//! The link neither hides nor signs what it carries after its handshake: TCP outside of a trusted
//! network belongs into a VPN or a tunnel.

mod assembly;
mod config;
mod counts;
mod driver;
mod error;
mod leaf;
mod lines;
mod options;
mod rates;
mod registry;
mod remotes;
mod sessions;
mod status;
mod streams;

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::{Arc, Mutex};

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use lines::Lines;
use options::Settings;
use registry::Registry;

use crate::sync::lock;
use crate::time::engine_now;

pub use config::{ConfigError, GatewayConfig, STATUS_ADDRESS, read_certificates};
pub use error::GatewayError;
pub use options::{
    CONNECTION_BYTES_MIN, CONNECTIONS_MAX, GatewayLimits, GatewayOptions, LeafOptions, RateLimit,
    SerialPort,
};
pub use status::{
    AbsentLine, ConnectionStatus, GatewayStatus, LeafStatus, LinkCounts, RefusedCounts,
};

/// A configuration that explains every setting, TOML.
pub const EXAMPLE: &str = include_str!("../../docs/gateway.toml");

/// How long the end may take, until every remote knows.
const END_WAIT: Duration = Duration::from_secs(5);

/// A running gateway. Dropping it ends it too, without waiting.
#[derive(Debug)]
pub struct Gateway {
    common: Arc<Common>,
    lines: Lines,
    /// Ends when nothing of the gateway is left.
    ended: mpsc::Receiver<()>,
}

/// What the tasks share.
struct Common {
    settings: watch::Sender<Arc<Settings>>,
    stop: watch::Sender<bool>,
    registry: Registry,
    /// Where the clock of all of them begins.
    epoch: Instant,
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
    /// Serial ports and servers that are not there yet are no error: [`status`](Self::status)
    /// tells, and they are tried until they are.
    ///
    /// # Errors
    /// [`GatewayError`]: the options cannot be used, or an address cannot be listened on. Nothing
    /// was started.
    pub async fn bind(options: GatewayOptions) -> Result<Self, GatewayError> {
        let settings = Settings::new(&options)?;
        let mut lines = Lines::default();
        let bound = lines.bind(&options.listen).await?;
        let (alive, ended) = mpsc::channel(1);
        let common = Arc::new(Common {
            settings: watch::Sender::new(Arc::new(settings)),
            stop: watch::Sender::new(false),
            registry: Registry::new(peer_core::time::Instant::ZERO),
            epoch: Instant::now(),
            alive: Mutex::new(Some(alive)),
        });
        lines.serve(&options, bound, &common);
        Ok(Self {
            common,
            lines,
            ended,
        })
    }

    /// The addresses listened on, in the order of [`GatewayOptions::listen`].
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.lines.local_addrs()
    }

    /// Every leaf, its connections and counters.
    pub fn status(&self) -> GatewayStatus {
        self.common.status()
    }

    /// A handle that tells the status for as long as the gateway is there.
    pub fn status_source(&self) -> StatusSource {
        StatusSource(self.common.clone())
    }

    /// Takes new options, all of them. A leaf whose key is another or gone, or whose id it may no
    /// longer use, is cut; so is one on a server or a serial port that is no longer named or has
    /// another speed. Others stay, those included that came over an address which is no longer
    /// listened on; when the broker is another one their sockets to the old one are lost, and their
    /// connections stay. ICE servers, buffers and timers count for sessions and streams from now
    /// on, and no leaf is cut for a lower limit.
    ///
    /// # Errors
    /// [`GatewayError`]: the options cannot be used, or a new address cannot be listened on.
    /// Nothing has changed.
    pub async fn reload(&mut self, options: GatewayOptions) -> Result<(), GatewayError> {
        let settings = Settings::new(&options)?;
        let bound = self.lines.bind(&options.listen).await?;
        self.common.registry.retain(&settings);
        self.common.settings.send_replace(Arc::new(settings));
        self.lines.serve(&options, bound, &self.common);
        Ok(())
    }

    /// Ends it: leaves are told, their sessions and sockets closed so that every remote notices.
    /// Waits for that, for five seconds at most.
    pub async fn shutdown(mut self) {
        self.common.stop.send_replace(true);
        let lines = core::mem::take(&mut self.lines);
        let end = async {
            lines.end().await;
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
    fn now(&self) -> peer_core::time::Instant {
        engine_now(self.epoch)
    }

    fn status(&self) -> GatewayStatus {
        self.registry.status(self.now(), &self.settings.borrow())
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
