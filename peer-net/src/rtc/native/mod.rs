//! The WebRTC stack of peer-core, driven by tokio: one task a session, UDP sockets that all
//! sessions of a peer share.
//!
//! What comes to a socket is put into the [`Mailbox`](mailbox::Mailbox) of the session that it is
//! for; the session's task takes it from there, and writes to the socket itself. Nobody waits for
//! another session.

mod channel;
mod endpoint;
mod failure;
mod interfaces;
mod lane;
mod mailbox;
mod outgoing;
mod servers;
mod socket;
mod storage;
mod streams;
mod table;
mod task;
mod work;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc, watch};
use tracing::Instrument as _;

pub(super) use self::endpoint::Endpoint;
use self::mailbox::Mailbox;
use self::task::Task;
use super::SessionEvent;
use super::channel::{Below, End};
use super::session::Role;
use super::stage::SharedStage;

/// A session's handle. Dropping it closes the session.
#[derive(Debug)]
pub(super) struct Session {
    mailbox: Arc<Mailbox>,
    told: Arc<Told>,
    candidates_dropped: AtomicU64,
}

impl Session {
    /// Starts the task of a session with that remote.
    pub(super) fn start(
        endpoint: &Arc<Endpoint>,
        remote: &str,
        role: Role,
        events: mpsc::Sender<SessionEvent>,
    ) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        let told = Arc::new(Told::default());
        let task = Task {
            endpoint: Arc::clone(endpoint),
            remote: remote.to_owned(),
            role,
            mailbox: Arc::clone(&mailbox),
            told: Arc::clone(&told),
            events,
        };
        // The span of the connection goes with the task.
        tokio::spawn(task.run().in_current_span());
        Self {
            mailbox,
            told,
            candidates_dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn apply_answer(&self, sdp: String) {
        self.mailbox.answer(sdp);
    }

    pub(super) fn add_candidate(&self, candidate: String) {
        if !self.mailbox.candidate(candidate) {
            self.candidates_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn signalled_again(&self) {
        self.mailbox.signalled_again();
    }

    pub(super) fn candidates_dropped(&self) -> u64 {
        self.candidates_dropped.load(Ordering::Relaxed)
    }

    pub(super) fn remote_address(&self) -> Option<SocketAddr> {
        *self.told.address()
    }

    pub(super) fn close(&self) {
        self.mailbox.close();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the handle and the ends of the channel see of the task.
#[derive(Debug, Default)]
struct Told {
    stage: SharedStage,
    address: Mutex<Option<SocketAddr>>,
    /// Bytes that the session took and the remote has not acknowledged.
    buffered: AtomicUsize,
    acknowledged: Notify,
    end: watch::Sender<Option<End>>,
}

impl Told {
    /// Tells what is buffered now.
    fn tell(&self, buffered: usize) {
        if self.buffered.swap(buffered, Ordering::SeqCst) > buffered {
            self.acknowledged.notify_waiters();
        }
    }

    /// Where the remote is. It is whole after any panic.
    fn address(&self) -> std::sync::MutexGuard<'_, Option<SocketAddr>> {
        self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Below for Told {
    fn buffered(&self) -> usize {
        self.buffered.load(Ordering::SeqCst)
    }

    fn acknowledged(&self) -> &Notify {
        &self.acknowledged
    }

    fn end(&self) -> &watch::Sender<Option<End>> {
        &self.end
    }
}
