//! The guards against the real crates. What each attack does to an unguarded connection is in
//! HAZARDS order: the test's name says what is sent, the body that the connection survives it.

mod any;
mod dtls;
mod sctp;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};
use webrtc_util::{Conn, Error};

/// Longest any single step may take; the machine may be slow, nothing is decided by it but failure.
const DEADLINE: Duration = Duration::from_secs(60);

/// What becomes of a datagram on its way: nothing, itself, or itself among others.
type Tamper = Box<dyn FnMut(&[u8]) -> Vec<Vec<u8>> + Send>;

/// One end of a cable.
struct Wire {
    to_peer: mpsc::Sender<Vec<u8>>,
    /// The way into this end, for attackers.
    to_self: mpsc::Sender<Vec<u8>>,
    inbound: tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>,
    tamper: Mutex<Option<Tamper>>,
    broken: AtomicBool,
    receives: AtomicU64,
    /// Whether somebody waits at this end and nothing is there.
    idle: Notify,
}

/// Datagrams on their way; no attack here needs more.
const CABLE_MAX: usize = 1 << 18;

fn cable() -> (Arc<Wire>, Arc<Wire>) {
    let (to_a, from_b) = mpsc::channel(CABLE_MAX);
    let (to_b, from_a) = mpsc::channel(CABLE_MAX);
    let wire = |to_peer, to_self, inbound| {
        Arc::new(Wire {
            to_peer,
            to_self,
            inbound: tokio::sync::Mutex::new(inbound),
            tamper: Mutex::default(),
            broken: AtomicBool::new(false),
            receives: AtomicU64::new(0),
            idle: Notify::new(),
        })
    };
    (
        wire(to_b.clone(), to_a.clone(), from_b),
        wire(to_a, to_b, from_a),
    )
}

impl Wire {
    /// Lets this end receive what an attacker sends.
    fn inject(&self, datagram: &[u8]) {
        self.to_self.try_send(datagram.to_vec()).unwrap();
    }

    /// Changes what this end sends from now on.
    fn tamper(&self, tamper: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
        *self.tamper.lock().unwrap() = Some(Box::new(tamper));
    }

    /// Waits until all that was sent to this end is taken and somebody waits for more.
    async fn drained(&self) {
        // The first may be a note from before.
        self.idle.notified().await;
        self.inject(&[]);
        self.idle.notified().await;
    }

    fn cut(&self) {
        self.broken.store(true, Ordering::SeqCst);
        self.inject(&[]);
    }
}

#[async_trait]
impl Conn for Wire {
    async fn connect(&self, _: SocketAddr) -> Result<(), Error> {
        Ok(())
    }

    async fn recv(&self, buf: &mut [u8]) -> Result<usize, Error> {
        self.receives.fetch_add(1, Ordering::SeqCst);
        let mut inbound = self.inbound.lock().await;
        if inbound.is_empty() {
            self.idle.notify_one();
        }
        let datagram = if self.broken.load(Ordering::SeqCst) {
            None
        } else {
            inbound.recv().await
        };
        if self.broken.load(Ordering::SeqCst) {
            return Err(Error::Other("the cable is cut".to_owned()));
        }
        let datagram = datagram.unwrap();
        let length = datagram.len().min(buf.len());
        buf[..length].copy_from_slice(&datagram[..length]);
        Ok(length)
    }

    async fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        Ok((self.recv(buf).await?, self.remote_addr().unwrap()))
    }

    async fn send(&self, buf: &[u8]) -> Result<usize, Error> {
        let datagrams = match &mut *self.tamper.lock().unwrap() {
            Some(tamper) => tamper(buf),
            None => vec![buf.to_vec()],
        };
        for datagram in datagrams {
            // A full cable loses, as the network does.
            let _ = self.to_peer.try_send(datagram);
        }
        Ok(buf.len())
    }

    async fn send_to(&self, buf: &[u8], _: SocketAddr) -> Result<usize, Error> {
        self.send(buf).await
    }

    fn local_addr(&self) -> Result<SocketAddr, Error> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], 2)))
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn core::any::Any + Send + Sync) {
        self
    }
}

/// xorshift64*: enough to spread faults, the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}
