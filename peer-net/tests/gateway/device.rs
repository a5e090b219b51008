//! A leaf: what a firmware's main loop does, in a task.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use peer_core::PeerId;
use peer_core::link::{Leaf, LeafConfig, LeafOutput, LinkResources, Timing};
use peer_core::peer::{
    Config, ConnectOptions, ConnectionError, ConnectionHandle, Event, Peer as Engine, PeerResources,
};
use peer_core::time::Instant;
use peer_net::Serialization;
use peer_net::gateway::Gateway;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::surroundings::soon;

/// Orders that wait for a device.
const ORDERS_MAX: usize = 8;
/// Outputs that no test has looked at. Beyond it the device fails.
const OUTPUTS_MAX: usize = 256;

type Job = Box<dyn FnOnce(&mut Engine<'_>, Instant) + Send>;

enum Order {
    Job(Job),
    /// Bytes for the stream beside what the link says.
    Noise(Vec<u8>),
    /// It reads nothing any more, but goes on talking.
    Deaf,
}

/// Dropping it ends it, and its stream with it.
pub(crate) struct Device {
    orders: mpsc::Sender<Order>,
    outputs: Arc<Outputs>,
    task: JoinHandle<()>,
}

impl Drop for Device {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a device said. The same output waits only once: all of them say how things are.
#[derive(Default)]
struct Outputs {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    outputs: VecDeque<LeafOutput>,
    is_over: bool,
}

impl Outputs {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no test panics here")
    }

    fn put(&self, output: LeafOutput) {
        let outputs = &mut self.waiting().outputs;
        if !outputs.contains(&output) {
            assert!(outputs.len() < OUTPUTS_MAX, "nobody looks at the outputs");
            outputs.push_back(output);
        }
        self.bell.notify_one();
    }
}

/// When a device's link does what. A refused one comes again soon.
pub(crate) fn timing() -> Timing {
    Timing {
        handshake_retry: Duration::from_millis(100),
        refused_retry: Duration::from_millis(200),
        ..Timing::default()
    }
}

impl Device {
    /// An empty `id`: the broker gives one.
    pub(crate) fn start<S>(stream: S, name: &str, key: u8, id: &str, timing: Timing) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let memory: &'static mut LinkResources<4, 1024, 65_536, 32_768> =
            leak(LinkResources::new());
        let random = core::array::from_fn(|_| random_byte());
        let mut config = LeafConfig::new(name, [key; 32], random);
        config.timing = timing;
        let leaf = Leaf::new(config, memory.slices()).expect("there is memory");
        let resources: &'static mut PeerResources<4, 8192, 32_768, 32_768> =
            leak(PeerResources::new());
        let mut config = Config::new([key; 32]);
        config.id = (!id.is_empty()).then(|| PeerId::new(id).expect("an id"));
        let engine = Engine::new(config, resources);
        let (orders, queue) = mpsc::channel(ORDERS_MAX);
        let outputs = Arc::new(Outputs::default());
        let said = Said(outputs.clone());
        Self {
            orders,
            outputs,
            task: tokio::spawn(run(stream, leaf, engine, queue, said)),
        }
    }

    pub(crate) async fn tcp(gateway: &Gateway, name: &str, key: u8) -> Self {
        let stream = TcpStream::connect(gateway.local_addrs()[0]).await;
        Self::start(stream.expect("it listens"), name, key, name, timing())
    }

    /// One that its broker knows.
    pub(crate) async fn open(gateway: &Gateway, name: &str, key: u8) -> Self {
        let device = Self::tcp(gateway, name, key).await;
        device.until(&LeafOutput::Event(Event::Open)).await;
        device
    }

    /// The next output that is wanted. Others are kept for later.
    pub(crate) async fn find<T>(&self, wanted: impl Fn(&LeafOutput) -> Option<T>) -> T {
        loop {
            {
                let mut waiting = self.outputs.waiting();
                let mut found = waiting.outputs.iter().enumerate();
                let found = found.find_map(|(index, output)| Some((index, wanted(output)?)));
                if let Some((index, found)) = found {
                    waiting.outputs.remove(index);
                    return found;
                }
                assert!(!waiting.is_over, "the device is over");
            }
            soon(self.outputs.bell.notified()).await;
        }
    }

    /// Forgets what was said.
    pub(crate) fn forget(&self) {
        self.outputs.waiting().outputs.clear();
    }

    pub(crate) async fn until(&self, wanted: &LeafOutput) {
        self.find(|output| (output == wanted).then_some(())).await;
    }

    /// Its session with the gateway ends.
    pub(crate) async fn down(&self) {
        self.find(|output| matches!(output, LeafOutput::Down(_)).then_some(()))
            .await;
    }

    pub(crate) async fn with<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Engine<'_>, Instant) -> T + Send + 'static,
    ) -> T {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |engine, now| {
            let _ = done.send(job(engine, now));
        });
        self.order(Order::Job(job)).await;
        soon(result).await.expect("the device runs")
    }

    pub(crate) async fn noise(&self, bytes: impl Into<Vec<u8>>) {
        self.order(Order::Noise(bytes.into())).await;
    }

    pub(crate) async fn deaf(&self) {
        self.order(Order::Deaf).await;
    }

    async fn order(&self, order: Order) {
        let sent = soon(self.orders.send(order)).await;
        assert!(sent.is_ok(), "the device runs");
    }

    pub(crate) async fn connect(&self, serialization: Serialization) -> ConnectionHandle {
        let connect = move |engine: &mut Engine<'_>, now| {
            let options = ConnectOptions {
                label: Some("readings"),
                metadata: Some(r#"{"from":"leaf"}"#),
                reliable: true,
                serialization,
            };
            engine.connect(now, &PeerId::new("bob").expect("an id"), options)
        };
        self.with(connect).await.expect("there is room")
    }

    pub(crate) async fn connection_open(&self) -> ConnectionHandle {
        self.find(|output| match output {
            LeafOutput::Event(Event::ConnectionOpen(handle)) => Some(*handle),
            _ => None,
        })
        .await
    }

    pub(crate) async fn connection_failed(&self, handle: ConnectionHandle) -> ConnectionError {
        self.find(|output| match output {
            LeafOutput::Event(Event::ConnectionFailed(failed, failure)) if *failed == handle => {
                Some(failure.reason)
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn connection_closed(&self, handle: ConnectionHandle) {
        self.until(&LeafOutput::Event(Event::ConnectionClosed(handle)))
            .await;
    }

    /// Sends a text and waits for room.
    pub(crate) async fn send(&self, handle: ConnectionHandle, text: &str) {
        loop {
            let text = text.to_owned();
            let send = move |engine: &mut Engine<'_>, _| {
                let mut connection = engine.connection(handle).expect("it lives");
                connection.send(text.as_str())
            };
            match self.with(send).await {
                Ok(()) => return,
                Err(peer_core::connection::SendError::Full) => {
                    self.until(&LeafOutput::Event(Event::Writable(handle)))
                        .await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Sends as much as there is room for.
    pub(crate) async fn fill(&self, handle: ConnectionHandle, text: &str) {
        let text = text.to_owned();
        self.with(move |engine, _| {
            let mut connection = engine.connection(handle)?;
            while connection.send(text.as_str()).is_ok() {}
            Some(())
        })
        .await;
    }

    /// The next message, a text.
    pub(crate) async fn recv(&self, handle: ConnectionHandle) -> String {
        loop {
            let recv = move |engine: &mut Engine<'_>, _| {
                let mut connection = engine.connection(handle)?;
                connection.recv::<&str>().map(str::to_owned).ok()
            };
            if let Some(text) = self.with(recv).await {
                return text;
            }
            self.until(&LeafOutput::Event(Event::Data(handle))).await;
        }
    }
}

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

fn random_byte() -> u8 {
    use core::hash::BuildHasher as _;
    std::hash::RandomState::new().hash_one(0) as u8
}

/// The device's end of its outputs: whoever waits for one hears of its end.
struct Said(Arc<Outputs>);

impl Drop for Said {
    fn drop(&mut self) {
        self.0.waiting().is_over = true;
        self.0.bell.notify_one();
    }
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    mut leaf: Leaf<'static>,
    mut engine: Engine<'static>,
    mut orders: mpsc::Receiver<Order>,
    said: Said,
) {
    let start = tokio::time::Instant::now();
    let now = || Instant::from_micros(u64::try_from(start.elapsed().as_micros()).unwrap_or(0));
    let mut piece = [0; 512];
    let mut deaf = false;
    loop {
        let timeout = loop {
            match leaf.poll(now(), &mut engine) {
                LeafOutput::Timeout(at) => break at,
                output => said.0.put(output),
            }
        };
        loop {
            let len = leaf.transmit(now(), &mut piece);
            if len == 0 {
                break;
            }
            if stream.write_all(&piece[..len]).await.is_err() {
                break;
            }
        }
        let sleep = timeout.map(|at| start + Duration::from_micros(at.as_micros()));
        tokio::select! {
            read = stream.read(&mut piece), if !deaf => match read {
                Ok(0) | Err(_) => break,
                Ok(len) => leaf.receive(now(), &piece[..len], &mut engine),
            },
            order = orders.recv() => match order {
                Some(Order::Job(job)) => job(&mut engine, now()),
                Some(Order::Noise(bytes)) => {
                    if stream.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                Some(Order::Deaf) => deaf = true,
                None => return,
            },
            () = async {
                match sleep {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => core::future::pending().await,
                }
            } => {}
        }
    }
    // The stream is gone; the engine hears of it.
    leaf.disconnected();
    loop {
        match leaf.poll(now(), &mut engine) {
            LeafOutput::Timeout(_) => break,
            output => said.0.put(output),
        }
    }
    drop(said);
    // Its state may still be looked at.
    while let Some(order) = orders.recv().await {
        if let Order::Job(job) = order {
            job(&mut engine, now());
        }
    }
}
