//! A lane: one UDP socket for each address of this machine, which sessions of different remotes
//! share.

use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peer_core::rtc::ice::SocketId;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::interfaces::ADDRESSES_MAX;
use super::mailbox::Mailbox;
use super::servers::STREAMS_FROM;
use super::socket::Socket;
use super::table::{Key, Table};

/// System calls in which one socket is read before others come to their turn.
const READS: usize = 16;

/// Sockets, and the sessions on them.
#[derive(Debug, Default)]
pub(super) struct Lane {
    table: Mutex<Table>,
    sockets: Mutex<Sockets>,
}

#[derive(Debug, Default)]
struct Sockets {
    all: Arc<[Arc<Socket>]>,
    readers: HashMap<IpAddr, AbortHandle>,
    next: u8,
}

impl Sockets {
    /// The id that was not in use for longest.
    fn free_id(&mut self) -> SocketId {
        const { assert!(ADDRESSES_MAX < STREAMS_FROM as usize) };
        loop {
            let id = SocketId(self.next);
            self.next = (self.next + 1) % STREAMS_FROM;
            if !self.all.iter().any(|it| it.id == id) {
                return id;
            }
        }
    }
}

/// A session's place on a lane, which it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) lane: Arc<Lane>,
    pub(super) key: Key,
}

impl Seat {
    /// Names the session, see [`Table::name`].
    #[must_use]
    pub(super) fn name(&self, ufrag: &str) -> bool {
        self.lane.table().name(self.key, ufrag)
    }

    /// Notes a datagram that the session is about to send.
    pub(super) fn sent(&self, datagram: &[u8]) {
        // Most are data, of which there is nothing to note.
        if matches!(datagram.first(), Some(0..=3)) {
            self.lane.table().sent(self.key, datagram);
        }
    }

    /// Has what these servers relay to these sockets be for the session.
    pub(super) fn reserve(&self, servers: impl IntoIterator<Item = (SocketId, SocketAddr)>) {
        self.lane.table().reserve(self.key, servers);
    }

    /// Claims a source for the session.
    pub(super) fn claim(&self, socket: SocketId, source: SocketAddr) {
        let now = Instant::now();
        self.lane.table().claim(now, self.key, (socket, source));
    }

    /// Returns the sockets there are.
    pub(super) fn sockets(&self) -> Arc<[Arc<Socket>]> {
        Arc::clone(&self.lane.sockets().all)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.lane.table().remove(self.key);
    }
}

impl Lane {
    /// Seats a session.
    pub(super) fn seat(self: &Arc<Self>, mailbox: Arc<Mailbox>) -> Seat {
        let key = self.table().add(mailbox);
        Seat {
            lane: Arc::clone(self),
            key,
        }
    }

    /// Has one socket for each of these addresses, and tells the sessions if something changed.
    /// `bind` makes one.
    ///
    /// # Errors
    /// That of the last one, if there is none at all.
    pub(super) fn set_addresses(
        self: &Arc<Self>,
        addresses: &[IpAddr],
        bind: impl Fn(SocketId, IpAddr) -> io::Result<Socket>,
    ) -> io::Result<()> {
        let mut sockets = self.sockets();
        let mut all = Vec::with_capacity(addresses.len());
        let (mut changed, mut failed) = (sockets.all.len() != addresses.len(), None);
        for ip in addresses {
            let old = sockets.all.iter().find(|it| it.address.ip() == *ip);
            if let Some(old) = old {
                all.push(Arc::clone(old));
                continue;
            }
            let id = sockets.free_id();
            match bind(id, *ip) {
                Ok(socket) => {
                    changed = true;
                    let socket = Arc::new(socket);
                    let reader = tokio::spawn(read(Arc::clone(&socket), Arc::downgrade(self)));
                    sockets.readers.insert(*ip, reader.abort_handle());
                    all.push(socket);
                }
                // An address that has just come or gone.
                Err(error) => {
                    tracing::debug!(%error, %ip, "no UDP socket at one of this machine's addresses");
                    failed = Some(error);
                }
            }
        }
        if let (true, Some(error)) = (all.is_empty(), failed) {
            return Err(error);
        }
        if changed {
            sockets.readers.retain(|ip, reader| {
                let is_kept = all.iter().any(|socket| socket.address.ip() == *ip);
                if !is_kept {
                    reader.abort();
                }
                is_kept
            });
            sockets.all = all.into();
            let table = self.table();
            for mailbox in table.mailboxes() {
                mailbox.sockets(Arc::clone(&sockets.all));
            }
        }
        Ok(())
    }

    /// What is there is whole after any panic.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        for reader in self.sockets().readers.values() {
            reader.abort();
        }
    }
}

/// Reads a socket until its lane is gone.
async fn read(socket: Arc<Socket>, lane: std::sync::Weak<Lane>) {
    while socket.readable().await.is_ok() {
        let Some(lane) = lane.upgrade() else {
            return;
        };
        for _ in 0..READS {
            let mut table = None;
            let received = socket.receive(|train| {
                let table = table.get_or_insert_with(|| lane.table());
                table.deliver(Instant::now(), socket.id, &train);
            });
            match received {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What was sent before did not arrive.
                Err(error) => tracing::trace!(%error, "a UDP socket told an error"),
            }
        }
        tokio::task::yield_now().await;
    }
}
