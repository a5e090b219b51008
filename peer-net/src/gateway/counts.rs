//! Counters of one WebRTC session of a leaf, for the status.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::OnceLock;

use peer_core::time::Instant;

use super::remotes::Remote;
use super::status::ConnectionStatus;
use crate::rtc::IceState;

#[derive(Debug)]
pub(super) struct Counts {
    number: u64,
    incoming: bool,
    remote: OnceLock<Remote>,
    began: Instant,
    open: AtomicBool,
    interrupted: AtomicBool,
    over: AtomicBool,
    messages_sent: AtomicU64,
    bytes_sent: AtomicU64,
    messages_received: AtomicU64,
    bytes_received: AtomicU64,
    buffered: AtomicU64,
}

impl Counts {
    pub(super) fn new(now: Instant, number: u64, incoming: bool) -> Self {
        Self {
            number,
            incoming,
            remote: OnceLock::new(),
            began: now,
            open: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            over: AtomicBool::new(false),
            messages_sent: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
            messages_received: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
            buffered: AtomicU64::new(0),
        }
    }

    /// Whether the leaf offered it, to nobody knows whom.
    pub(super) fn is_nameless_offer(&self) -> bool {
        !self.incoming && self.remote.get().is_none()
    }

    /// Says who is at the other end. The first word counts.
    pub(super) fn name(&self, remote: Remote) {
        self.remote.get_or_init(|| remote);
    }

    pub(super) fn ice_state(&self, state: IceState) {
        let interrupted = state == IceState::Disconnected;
        self.interrupted.store(interrupted, Relaxed);
    }

    pub(super) fn open(&self) {
        self.open.store(true, Relaxed);
    }

    pub(super) fn over(&self) {
        self.over.store(true, Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.messages_sent.fetch_add(1, Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Relaxed)
    }

    pub(super) fn received(&self, bytes: usize) {
        self.messages_received.fetch_add(1, Relaxed);
        self.bytes_received.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes that are not acknowledged.
    pub(super) fn buffered_bytes(&self) -> usize {
        usize::try_from(self.buffered.load(Relaxed)).unwrap_or(usize::MAX)
    }

    /// So many bytes are not acknowledged.
    pub(super) fn buffered(&self, bytes: usize) {
        self.buffered.store(bytes as u64, Relaxed);
    }

    pub(super) fn status(&self, now: Instant) -> ConnectionStatus {
        let state = if self.over.load(Relaxed) {
            "closed"
        } else if !self.open.load(Relaxed) {
            "connecting"
        } else if self.interrupted.load(Relaxed) {
            "interrupted"
        } else {
            "open"
        };
        let remote = self.remote.get();
        ConnectionStatus {
            number: self.number,
            peer: remote.map(|remote| remote.peer.clone()),
            connection_id: remote.and_then(|remote| remote.connection_id.clone()),
            label: remote.and_then(|remote| remote.label.clone()),
            state,
            incoming: self.incoming,
            since: now.saturating_duration_since(self.began).as_secs(),
            messages_sent: self.messages_sent.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            messages_received: self.messages_received.load(Relaxed),
            bytes_received: self.bytes_received.load(Relaxed),
            buffered: self.buffered.load(Relaxed),
        }
    }
}
