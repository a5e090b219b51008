//! `webrtc-sctp` with its defaults, on a tokio runtime of its own whose clock stands still.
//!
//! The runtime's clock is moved by the laboratory, and every call runs its tasks until none has
//! anything to do, so what is measured in virtual time is honest, with two exceptions: its timers
//! fire up to [`TICK`] late, and it measures round trips with the system's clock, by which they
//! take almost nothing, so that its retransmission timeout is always its minimum of 1 s. That is
//! what it would be on all paths of this laboratory. Its CPU time is not told: it hands each packet
//! to another thread.

use std::any::Any;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc};
use webrtc_sctp::Error;
use webrtc_sctp::association::{Association, Config};
use webrtc_sctp::chunk::chunk_payload_data::PayloadProtocolIdentifier;
use webrtc_sctp::stream::{ReliabilityType, Stream};
use webrtc_util::Conn;

use crate::end::{End, EndOptions, MTU, Read, Role, STREAM, State};

/// How often its timers are looked at.
const TICK: Duration = Duration::from_millis(5);

/// Bytes that wait to be written.
const SEND_BUFFER: usize = 1 << 20;

/// Largest message that is read.
const LARGEST: usize = 1 << 20;

/// Rounds without a sign of life after which its tasks are at rest.
const ROUNDS: u32 = 3;

/// Turns of the scheduler in a round.
const YIELDS: u32 = 8;

/// An end of `webrtc-sctp`.
pub(super) struct WebrtcSctp {
    runtime: Runtime,
    wire: Arc<Wire>,
    writes: mpsc::UnboundedSender<(bool, Bytes)>,
    now: Duration,
    /// Something happened that its tasks do not know yet.
    dirty: bool,
}

impl WebrtcSctp {
    pub(super) fn new(options: &EndOptions) -> Self {
        // One blocking thread, which takes its jobs in order: see `settle`.
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .max_blocking_threads(1)
            .build()
            .expect("a runtime without I/O needs only memory");
        let wire = Arc::new(Wire::default());
        let (writes, written) = mpsc::unbounded_channel();
        let config = Config {
            net_conn: Arc::clone(&wire) as Arc<dyn Conn + Send + Sync>,
            max_receive_buffer_size: u32::try_from(options.window).unwrap_or(u32::MAX),
            max_message_size: LARGEST as u32,
            mtu: MTU as u32,
            name: String::new(),
            remote_port: 5000,
            local_port: 5000,
        };
        runtime.spawn(serve(Arc::clone(&wire), config, options.role, written));
        Self {
            runtime,
            wire,
            writes,
            now: Duration::ZERO,
            dirty: true,
        }
    }

    /// Runs its tasks until they rest. A job of ours at the end of the blocking queue returns when
    /// those of its packets have.
    fn settle(&mut self, now: Duration) {
        if !std::mem::take(&mut self.dirty) && now <= self.now {
            return;
        }
        let step = now.saturating_sub(self.now);
        self.now += step;
        let wire = &self.wire;
        self.runtime.block_on(async {
            if step > Duration::ZERO {
                tokio::time::advance(step).await;
            }
            let (mut quiet, mut signs) = (0, wire.lock().signs);
            while quiet < ROUNDS {
                if tokio::task::spawn_blocking(|| ()).await.is_err() {
                    wire.end("a packet could not be made");
                }
                for _ in 0..YIELDS {
                    tokio::task::yield_now().await;
                }
                let before = std::mem::replace(&mut signs, wire.lock().signs);
                quiet = if before == signs { quiet + 1 } else { 0 };
            }
        });
    }
}

async fn serve(
    wire: Arc<Wire>,
    config: Config,
    role: Role,
    mut written: mpsc::UnboundedReceiver<(bool, Bytes)>,
) {
    let association = match role {
        Role::Active => Association::client(config).await,
        Role::Passive => Association::server(config).await,
    };
    let association = match association {
        Ok(association) => association,
        Err(why) => return wire.end(&why.to_string()),
    };
    // A message of the remote that came first has made the stream.
    let opened = association.open_stream(STREAM, PayloadProtocolIdentifier::Binary);
    let stream = match opened.await {
        Err(Error::ErrStreamAlreadyExist) => association.accept_stream().await,
        Err(why) => return wire.end(&why.to_string()),
        Ok(stream) => Some(stream),
    };
    let Some(stream) = stream else {
        return wire.end("the association ended");
    };
    stream.set_default_payload_type(PayloadProtocolIdentifier::Binary);
    wire.lock().state = State::Open;
    tokio::spawn(read(Arc::clone(&wire), Arc::clone(&stream)));
    while let Some((unordered, message)) = written.recv().await {
        stream.set_reliability_params(unordered, ReliabilityType::Reliable, 0);
        if let Err(why) = stream.write(&message).await {
            return wire.end(&why.to_string());
        }
        let mut inner = wire.lock();
        inner.waiting -= message.len();
        inner.signs += 1;
    }
}

async fn read(wire: Arc<Wire>, stream: Arc<Stream>) {
    let mut buffer = vec![0; LARGEST];
    loop {
        match stream.read_sctp(&mut buffer).await {
            Ok((0, _)) => return wire.end("the stream was closed"),
            Ok((length, ppid)) => {
                let mut inner = wire.lock();
                inner
                    .read
                    .push_back((ppid as u32, buffer[..length].to_vec()));
                inner.signs += 1;
            }
            Err(why) => return wire.end(&why.to_string()),
        }
    }
}

impl End for WebrtcSctp {
    fn receive(&mut self, _: Duration, packet: &[u8]) {
        self.wire.lock().incoming.push_back(packet.to_vec());
        self.wire.arrived.notify_one();
        self.dirty = true;
    }

    fn transmit(&mut self, now: Duration, packet: &mut Vec<u8>) -> bool {
        self.settle(now);
        let next = self.wire.lock().outgoing.pop_front();
        packet.extend(next.iter().flatten());
        next.is_some()
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.now + TICK)
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.settle(now);
    }

    fn send(&mut self, _: Duration, unordered: bool, message: &[u8]) -> bool {
        let mut inner = self.wire.lock();
        if inner.waiting >= SEND_BUFFER {
            return false;
        }
        inner.waiting += message.len();
        self.dirty = true;
        self.writes
            .send((unordered, Bytes::copy_from_slice(message)))
            .is_ok()
    }

    fn read(&mut self, now: Duration, bytes: &mut Vec<u8>) -> Option<Read> {
        self.settle(now);
        let (ppid, message) = self.wire.lock().read.pop_front()?;
        bytes.extend_from_slice(&message);
        Some(Read {
            stream: STREAM,
            ppid,
            last: true,
        })
    }

    fn state(&self) -> State {
        self.wire.lock().state.clone()
    }

    fn abort(&mut self, _: Duration) {
        self.wire.end("closed");
    }

    fn counts_cpu(&self) -> bool {
        false
    }
}

/// What the association believes to be its network.
#[derive(Default)]
struct Wire {
    inner: Mutex<Inner>,
    arrived: Notify,
}

struct Inner {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
    /// Messages with their payload protocol identifiers.
    read: VecDeque<(u32, Vec<u8>)>,
    /// Bytes that wait to be written.
    waiting: usize,
    state: State,
    /// Grows with whatever a task does.
    signs: u64,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            incoming: VecDeque::new(),
            outgoing: VecDeque::new(),
            read: VecDeque::new(),
            waiting: 0,
            state: State::Opening,
            signs: 0,
        }
    }
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, why: &str) {
        self.lock().state = State::Ended(why.to_owned());
    }
}

type Result<T> = std::result::Result<T, webrtc_util::Error>;

const REMOTE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

#[async_trait]
impl Conn for Wire {
    async fn connect(&self, _: SocketAddr) -> Result<()> {
        Ok(())
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            {
                let mut inner = self.lock();
                if let Some(packet) = inner.incoming.pop_front() {
                    inner.signs += 1;
                    let length = packet.len().min(buffer.len());
                    buffer[..length].copy_from_slice(&packet[..length]);
                    return Ok(length);
                }
            }
            self.arrived.notified().await;
        }
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
        Ok((self.recv(buffer).await?, REMOTE))
    }

    async fn send(&self, packet: &[u8]) -> Result<usize> {
        let mut inner = self.lock();
        inner.outgoing.push_back(packet.to_vec());
        inner.signs += 1;
        Ok(packet.len())
    }

    async fn send_to(&self, packet: &[u8], _: SocketAddr) -> Result<usize> {
        self.send(packet).await
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        Ok(REMOTE)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(REMOTE)
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}
