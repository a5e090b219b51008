//! The guards between a stranger's packets and the protocol crates below us.
//!
//! Whoever knows a peer's id can make it answer an offer and reach DTLS and, by then authenticated,
//! SCTP. As released, both crates can be aborted, spun or swollen from there. [`Guard`] stands
//! between ICE and `dtls`, `SctpGuard` between `dtls` and `webrtc-sctp`. Neither trusts a byte;
//! what they refuse is dropped and counted, never answered with an error the crates would die of.

mod handshake;
#[cfg(feature = "webrtc-rs")]
mod inflow;
mod message;
#[cfg(feature = "webrtc-rs")]
mod packet;
mod record;
#[cfg(feature = "webrtc-rs")]
pub(crate) mod sctp;
#[cfg(all(test, feature = "webrtc-rs"))]
mod tests;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::watch;
use webrtc_util::{Conn, Error};

use self::handshake::Handshake;
use self::record::{APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Record};
#[cfg(feature = "webrtc-rs")]
pub(crate) use self::sctp::SctpGuard;

/// Largest datagram either way, in bytes. `dtls` reads into 8,192 and loses what is longer without
/// a word.
pub(crate) const DATAGRAM_MAX: usize = 8190;
/// Errors of the transport in a row after which it is held for dead. They are 20 ms, 40 ms, …
/// apart.
const RECV_ERRORS_MAX: u32 = 6;
/// Datagrams of our last flight that are kept; a flight has at most a handful.
const FLIGHT_DATAGRAMS_MAX: usize = 16;
/// Repetitions of the last flight in a session's life, and the least time between two.
const REPEATS_MAX: u64 = 100;
const REPEAT_INTERVAL: Duration = Duration::from_millis(50);

/// A `Conn` that shows `dtls` only what it survives.
///
/// Until [`handshake_done`](Self::handshake_done): handshake messages are put together here and
/// passed whole, in order, once each, well-formed and of the kind the role expects; records of
/// epoch 1 pass in small numbers; plaintext alerts do not pass, but are remembered. Afterwards only
/// encrypted alerts and data pass, and the peer's repeated flight is answered by our last one,
/// which `dtls` itself never does.
pub(crate) struct Guard {
    inner: Arc<dyn Conn + Send + Sync>,
    is_client: bool,
    done: AtomicBool,
    handshake: Mutex<Handshake>,
    flight: Mutex<LastFlight>,
    stats: GuardStats,
    errors: AtomicU64,
    dead: watch::Sender<bool>,
}

impl Guard {
    /// Guards `inner`. `is_client` as given to `DTLSConn::new`.
    pub(crate) fn new(inner: Arc<dyn Conn + Send + Sync>, is_client: bool) -> Arc<Self> {
        Arc::new(Self {
            inner,
            is_client,
            done: AtomicBool::new(false),
            handshake: Mutex::new(Handshake::new(is_client)),
            flight: Mutex::new(LastFlight::default()),
            stats: GuardStats::default(),
            errors: AtomicU64::new(0),
            dead: watch::Sender::new(false),
        })
    }

    /// To be called as soon as `DTLSConn::new` has returned: from here on plaintext is refused.
    pub(crate) fn handshake_done(&self) {
        self.done.store(true, Ordering::Release);
        lock(&self.handshake).release();
        if self.is_client {
            // The server's last flight proves that ours arrived.
            lock(&self.flight).datagrams = Vec::new();
        }
    }

    /// What was passed and refused so far.
    pub(crate) fn stats(&self) -> &GuardStats {
        &self.stats
    }

    /// The description of the last fatal alert that came in plaintext during the handshake. It may
    /// be forged, so it ends nothing; it explains a handshake that ran out of time.
    pub(crate) fn plaintext_alert(&self) -> Option<u8> {
        lock(&self.handshake).fatal_alert()
    }

    /// Waits until the transport below is dead: it kept returning errors, or was closed.
    pub(crate) async fn dead(&self) {
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    /// Screens a datagram that came after the handshake; compacts what passes to the front.
    fn screen_established(&self, datagram: &mut [u8], length: usize) -> (usize, bool) {
        let sealed_min = self.stats.sealed_min();
        let (mut at, mut kept, mut repeat) = (0, 0, false);
        while let Some(record) = Record::parse(datagram.get(at..length).unwrap_or_default()) {
            let length = record.length;
            let end = at + length;
            match (record.epoch, record.kind) {
                (1, record::ALERT | APPLICATION_DATA) if record.body.len() >= sealed_min => {
                    datagram.copy_within(at..end, kept);
                    kept += length;
                    self.stats.passed.fetch_add(1, Ordering::Relaxed);
                }
                (0, HANDSHAKE) => {
                    repeat |= !self.is_client && record::is_client_flight(record.body);
                    self.stats.refuse(Refusal::Late);
                }
                (0, _) | (1, HANDSHAKE | CHANGE_CIPHER_SPEC) => self.stats.refuse(Refusal::Late),
                (1, _) => self.stats.refuse(Refusal::Malformed),
                _ => self.stats.refuse(Refusal::Epoch),
            }
            at = end;
        }
        if at != length {
            self.stats.refuse(Refusal::Malformed);
        }
        (kept, repeat)
    }

    fn repeatable(&self) -> Vec<Vec<u8>> {
        let mut flight = lock(&self.flight);
        let now = Instant::now();
        let soon = flight
            .repeated
            .is_some_and(|then| now - then < REPEAT_INTERVAL);
        if soon || self.stats.repeated.load(Ordering::Relaxed) >= REPEATS_MAX {
            return Vec::new();
        }
        flight.repeated = Some(now);
        self.stats.repeated.fetch_add(1, Ordering::Relaxed);
        flight.datagrams.clone()
    }

    /// An error of the transport: waits a little, for ever if it is dead. `dtls` would ask again at
    /// once.
    async fn endure(&self, error: Error) -> Result<(), Error> {
        self.stats.errors.fetch_add(1, Ordering::Relaxed);
        let errors = self.errors.fetch_add(1, Ordering::Relaxed);
        let errors = u32::try_from(errors).unwrap_or(u32::MAX);
        if errors < RECV_ERRORS_MAX && !*self.dead.borrow() {
            tokio::time::sleep(Duration::from_millis(20) * (1 << errors)).await;
            return Ok(());
        }
        if !self.dead.send_replace(true) {
            return Err(error);
        }
        core::future::pending().await
    }
}

#[async_trait]
impl Conn for Guard {
    async fn connect(&self, addr: SocketAddr) -> Result<(), Error> {
        self.inner.connect(addr).await
    }

    async fn recv(&self, buf: &mut [u8]) -> Result<usize, Error> {
        loop {
            if let Some(datagram) = lock(&self.handshake).pop()
                && let Some(room) = buf.get_mut(..datagram.len())
            {
                room.copy_from_slice(&datagram);
                return Ok(datagram.len());
            }
            if *self.dead.borrow() {
                return core::future::pending().await;
            }
            let length = match self.inner.recv(buf).await {
                Ok(length) => length.min(buf.len()),
                Err(error) => {
                    self.endure(error).await?;
                    continue;
                }
            };
            self.errors.store(0, Ordering::Relaxed);
            if self.done.load(Ordering::Acquire) {
                let (kept, repeat) = self.screen_established(buf, length);
                if repeat {
                    for datagram in self.repeatable() {
                        let _ = self.inner.send(&datagram).await;
                    }
                }
                if kept > 0 {
                    return Ok(kept);
                }
            } else {
                let datagram = buf.get(..length).unwrap_or_default();
                let advanced = lock(&self.handshake).screen(datagram, &self.stats);
                lock(&self.flight).answered |= advanced;
            }
        }
    }

    async fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        let length = self.recv(buf).await?;
        let remote = self
            .inner
            .remote_addr()
            .ok_or_else(|| other("the transport has no remote"))?;
        Ok((length, remote))
    }

    async fn send(&self, buf: &[u8]) -> Result<usize, Error> {
        if buf.len() > DATAGRAM_MAX {
            self.stats.refuse(Refusal::Oversize);
            return Err(other("the record is too long for the far side's buffer"));
        }
        if !self.done.load(Ordering::Acquire) {
            lock(&self.flight).sent(buf, &self.stats);
        }
        self.inner.send(buf).await
    }

    async fn send_to(&self, buf: &[u8], _target: SocketAddr) -> Result<usize, Error> {
        self.send(buf).await
    }

    fn local_addr(&self) -> Result<SocketAddr, Error> {
        self.inner.local_addr()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.inner.remote_addr()
    }

    async fn close(&self) -> Result<(), Error> {
        self.dead.send_replace(true);
        self.inner.close().await
    }

    fn as_any(&self) -> &(dyn core::any::Any + Send + Sync) {
        self
    }
}

/// Our newest flight, to be sent again when the peer shows that it lost it.
#[derive(Default)]
struct LastFlight {
    datagrams: Vec<Vec<u8>>,
    /// The peer's handshake went on since: what is sent next begins a new flight.
    answered: bool,
    repeated: Option<Instant>,
}

impl LastFlight {
    fn sent(&mut self, datagram: &[u8], stats: &GuardStats) {
        let mut rest = datagram;
        let mut handshake = false;
        while let Some(record) = Record::parse(rest) {
            handshake |= matches!(record.kind, HANDSHAKE | CHANGE_CIPHER_SPEC);
            if record.epoch == 0 && record.kind == HANDSHAKE {
                // As server we choose the suite ourselves.
                stats.see_suite(record.body);
            }
            rest = rest.get(record.length..).unwrap_or_default();
        }
        if !handshake {
            return;
        }
        if self.answered || self.datagrams.len() >= FLIGHT_DATAGRAMS_MAX {
            self.datagrams.clear();
            self.answered = false;
        }
        self.datagrams.push(datagram.to_vec());
    }
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not a record or message as the RFCs have it, of an unknown type, or not for this role.
    Malformed,
    /// A record of an epoch other than 0 and 1.
    Epoch,
    /// More handshake fragments, messages or bytes than a handshake has.
    Flood,
    /// A fragment or message that was there before.
    Duplicate,
    /// A plaintext alert.
    Alert,
    /// More encrypted records than there can be before the handshake is done.
    Early,
    /// Plaintext or handshake after the handshake.
    Late,
    /// Longer than [`DATAGRAM_MAX`].
    Oversize,
}

/// Counters of a [`Guard`], each since the session began.
#[derive(Debug, Default)]
pub(crate) struct GuardStats {
    passed: AtomicU64,
    passed_bytes: AtomicU64,
    repeated: AtomicU64,
    errors: AtomicU64,
    refused: [AtomicU64; 8],
    chacha: AtomicBool,
}

impl GuardStats {
    /// Records passed to `dtls`.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Bytes passed to `dtls` during the handshake: what a stranger can make it hold.
    pub(crate) fn passed_bytes(&self) -> u64 {
        self.passed_bytes.load(Ordering::Relaxed)
    }

    /// Times the last flight was sent again.
    pub(crate) fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// Errors the transport returned.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Records or fragments refused for a reason.
    #[cfg(test)]
    pub(crate) fn refused(&self, refusal: Refusal) -> u64 {
        self.refused
            .get(refusal as usize)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// All refusals.
    pub(crate) fn refused_total(&self) -> u64 {
        self.refused
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// Notes the suite a ServerHello chose, of whichever side.
    fn see_suite(&self, body: &[u8]) {
        if let Some(chacha) = record::chooses_chacha(body) {
            self.chacha.store(chacha, Ordering::Relaxed);
        }
    }

    /// Shortest body of an encrypted record: `dtls` underflows on what is shorter.
    fn sealed_min(&self) -> usize {
        record::sealed_min(self.chacha.load(Ordering::Relaxed))
    }

    fn refuse(&self, refusal: Refusal) {
        if let Some(count) = self.refused.get(refusal as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn pass(&self, bytes: usize) {
        self.passed.fetch_add(1, Ordering::Relaxed);
        self.passed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

fn other(text: &str) -> Error {
    Error::Other(text.to_owned())
}

/// Locks hold plain values, valid after any panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
