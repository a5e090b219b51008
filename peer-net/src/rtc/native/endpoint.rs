//! What the sessions of one peer share: lanes of sockets, servers, and a certificate.

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use peer_core::rtc::crypto::CryptoError;
use peer_core::rtc::dtls::Identity;
use peer_core::rtc::ice::SocketId;

use super::interfaces::addresses;
use super::lane::{Lane, Seat};
use super::mailbox::Mailbox;
use super::servers::Servers;
use super::socket::Socket;
use crate::rtc::RtcConfig;
use crate::rtc::crypto::RingCrypto;

/// How often it is looked whether addresses came or went.
const LOOK: Duration = Duration::from_millis(500);
/// Ports that are tried for one socket. Beyond there counts as none free.
const PORTS_TRIED_MAX: usize = 1024;

/// The sockets of all sessions of a peer.
#[derive(Debug)]
pub(in crate::rtc) struct Endpoint {
    pub(super) config: Arc<RtcConfig>,
    pub(super) servers: Arc<Servers>,
    /// Made by the first session: its key and signature cost as much as half a handshake.
    identity: OnceLock<Arc<Identity>>,
    lanes: Mutex<Lanes>,
    /// Ports that were tried so far, where they are told.
    ports_tried: AtomicUsize,
}

#[derive(Debug, Default)]
struct Lanes {
    all: Vec<Taken>,
    /// Whether somebody looks for addresses that come and go.
    watched: bool,
}

/// A lane, and how many sessions each remote has on it.
#[derive(Debug)]
struct Taken {
    lane: Arc<Lane>,
    remotes: HashMap<String, usize>,
}

/// A session's place among the others, which it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) seat: Seat,
    pub(super) endpoint: Arc<Endpoint>,
    remote: String,
}

impl Endpoint {
    pub(in crate::rtc) fn new(config: Arc<RtcConfig>) -> Self {
        Self {
            servers: Servers::new(&config),
            config,
            identity: OnceLock::new(),
            lanes: Mutex::default(),
            ports_tried: AtomicUsize::new(0),
        }
    }

    /// Returns who we are to every remote.
    pub(super) fn identity(&self, crypto: &mut RingCrypto) -> Result<Arc<Identity>, CryptoError> {
        let identity = match self.identity.get() {
            Some(identity) => identity,
            None => {
                let made = Arc::new(Identity::generate(crypto)?);
                // Of two that are made at once the first one counts.
                self.identity.get_or_init(|| made)
            }
        };
        Ok(Arc::clone(identity))
    }

    /// Seats a session on a lane where no other one has this remote: data is told apart by source
    /// and socket alone. And one that asks TURN servers for an address on a lane of its own: to a
    /// server one socket is one client. When there is no port for a further lane it sits where it
    /// disturbs least.
    pub(super) fn enter(
        self: &Arc<Self>,
        remote: &str,
        mailbox: &Arc<Mailbox>,
    ) -> io::Result<Place> {
        let mut lanes = self.lanes();
        let alone = self.servers.may_relay();
        let is_free = |taken: &Taken| match alone {
            true => taken.remotes.is_empty(),
            false => !taken.remotes.contains_key(remote),
        };
        let free = lanes.all.iter().position(is_free);
        let at = match free.map_or_else(|| self.add_lane(&mut lanes), Ok) {
            Ok(at) => at,
            // For want of anything else two sessions would only be mixed.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => {
                let crowd = |taken: &Taken| {
                    let same = taken.remotes.get(remote).copied();
                    (same.unwrap_or(0), taken.remotes.len())
                };
                let all = lanes.all.iter().enumerate();
                let least = all.min_by_key(|(_, taken)| crowd(taken));
                let (at, _) = least.ok_or(error)?;
                tracing::debug!("no UDP port is free for a session of its own");
                at
            }
        };
        let taken = lanes.all.get_mut(at).ok_or(io::ErrorKind::NotFound)?;
        *taken.remotes.entry(remote.to_owned()).or_default() += 1;
        Ok(Place {
            seat: taken.lane.seat(Arc::clone(mailbox)),
            endpoint: Arc::clone(self),
            remote: remote.to_owned(),
        })
    }

    /// Opens a lane. Returns its position.
    fn add_lane(self: &Arc<Self>, lanes: &mut Lanes) -> io::Result<usize> {
        let lane = Arc::new(Lane::default());
        self.look(&lane, &addresses(&self.config)?)?;
        if !core::mem::replace(&mut lanes.watched, true) {
            tokio::spawn(watch(Arc::downgrade(self)));
        }
        lanes.all.push(Taken {
            lane,
            remotes: HashMap::new(),
        });
        Ok(lanes.all.len() - 1)
    }

    /// Has a lane follow the addresses of this machine.
    fn look(&self, lane: &Arc<Lane>, addresses: &[IpAddr]) -> io::Result<()> {
        lane.set_addresses(addresses, |id, ip| self.bind(id, ip))
    }

    /// Binds a socket to a port that is free, of those that it may have: the first one after the
    /// one that was taken last.
    fn bind(&self, id: SocketId, ip: IpAddr) -> io::Result<Socket> {
        let Some(ports) = self.config.ports else {
            return Socket::bind(id, SocketAddr::new(ip, 0));
        };
        let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..ports.count().min(PORTS_TRIED_MAX) {
            let port = ports.get(self.ports_tried.fetch_add(1, Ordering::Relaxed));
            match Socket::bind(id, SocketAddr::new(ip, port)) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => failure = error,
                bound => return bound,
            }
        }
        Err(failure)
    }

    /// What is there is whole after any panic.
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lanes = self.endpoint.lanes();
        lanes.all.retain_mut(|taken| {
            if Arc::ptr_eq(&taken.lane, &self.seat.lane)
                && let Some(sessions) = taken.remotes.get_mut(&self.remote)
            {
                *sessions -= 1;
                if *sessions == 0 {
                    taken.remotes.remove(&self.remote);
                }
            }
            // Its sockets go with the last session.
            !taken.remotes.is_empty()
        });
    }
}

/// Looks for addresses that came or went, as long as there are lanes.
async fn watch(endpoint: Weak<Endpoint>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(endpoint) = endpoint.upgrade() else {
            return;
        };
        let mut lanes = endpoint.lanes();
        lanes.watched = !lanes.all.is_empty();
        if !lanes.watched {
            return;
        }
        match addresses(&endpoint.config) {
            Ok(addresses) => {
                for taken in &lanes.all {
                    // One that lost all its addresses waits for others.
                    if let Err(error) = endpoint.look(&taken.lane, &addresses) {
                        tracing::debug!(%error, "no UDP socket can be bound");
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "this machine's addresses are not told"),
        }
    }
}
