//! Leaves behind a gateway: real engines over the link on TCP and on a pseudo-terminal, our broker, and peers of
//! peer-net at the other side, over real ICE, DTLS and SCTP on 127.0.0.1.

use core::future::{Future, IntoFuture as _};
use core::time::Duration;
use std::collections::VecDeque;

use peer_core::link::{
    Key, Leaf, LeafConfig, LeafOutput, LinkResources, Refusal, Timing as LinkTiming,
};
use peer_core::peer::{
    Config, ConnectOptions, ConnectionHandle, Event, FailureReason, Peer as Engine, PeerError,
    PeerResources, RtcFailure,
};
use peer_core::time::Instant;
use peer_core::{PeerId, Token};
use peer_net::broker::{Broker, BrokerOptions};
use peer_net::gateway::{Gateway, GatewayOptions, GatewayStatus, LeafOptions, SerialPort};
use peer_net::{DataConnection, Peer, RtcConfig, Serialization, Value};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

type Outcome = Result<(), Box<dyn core::error::Error>>;

/// No test decides by this time; it only ends one that hangs.
const HANG: Duration = Duration::from_secs(120);

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(HANG, future).await.expect("it hangs")
}

// The surroundings.

fn rtc() -> RtcConfig {
    RtcConfig {
        include_loopback: true,
        ip_filter: vec![[127, 0, 0, 1].into()],
        ..RtcConfig::default()
    }
}

async fn broker() -> Broker {
    Broker::bind("127.0.0.1:0", BrokerOptions::default())
        .await
        .expect("a free port on 127.0.0.1")
}

fn options(broker: &Broker) -> GatewayOptions {
    GatewayOptions {
        broker: broker.url().parse().expect("its URL is one"),
        rtc: rtc(),
        listen: vec![([127, 0, 0, 1], 0).into()],
        leaves: vec![entry("one", 1), entry("two", 2)],
        ..GatewayOptions::default()
    }
}

/// A leaf that may use its name as its id.
fn entry(name: &str, key: u8) -> LeafOptions {
    LeafOptions {
        name: name.to_owned(),
        key: [key; 32],
        ids: vec![name.to_owned()],
        random_id: false,
    }
}

async fn bob(broker: &Broker) -> Peer {
    let builder = Peer::builder().broker(broker.url()).rtc(rtc()).id("bob");
    soon(builder.open()).await.expect("bob opens")
}

async fn until_status(gateway: &Gateway, wanted: impl Fn(&GatewayStatus) -> bool) -> GatewayStatus {
    let look = async {
        loop {
            let status = gateway.status();
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(look).await
}

// A leaf: what a firmware's main loop does, in a task.

type Job = Box<dyn FnOnce(&mut Engine<'_>, Instant) + Send>;

struct Device {
    jobs: mpsc::UnboundedSender<Job>,
    outputs: mpsc::UnboundedReceiver<LeafOutput>,
    seen: VecDeque<LeafOutput>,
    /// Bytes for the stream beside what the link says.
    noise: mpsc::UnboundedSender<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Drop for Device {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

impl Device {
    fn start<S>(stream: S, name: &str, key: u8, id: &str) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let memory: &'static mut LinkResources<4, 1024, 65_536, 32_768> =
            leak(LinkResources::new());
        let random = core::array::from_fn(|_| rand_byte());
        let mut config = LeafConfig::new(name, Key::new([key; 32]), random);
        config.timing = LinkTiming {
            refused_retry: Duration::from_millis(200),
            ..LinkTiming::default()
        };
        let leaf = Leaf::new(config, memory.slices()).expect("there is memory");
        let resources: &'static mut PeerResources<4, 8192, 32_768, 32_768> =
            leak(PeerResources::new());
        let mut config = Config::new(Token::from_random(u64::from(key)), 42 + u64::from(key));
        config.id = Some(PeerId::new(id).expect("an id"));
        let engine = Engine::new(config, resources);
        let (jobs, job_queue) = mpsc::unbounded_channel();
        let (output_queue, outputs) = mpsc::unbounded_channel();
        let (noise, noise_queue) = mpsc::unbounded_channel();
        let task = run(stream, leaf, engine, job_queue, output_queue, noise_queue);
        Self {
            jobs,
            outputs,
            seen: VecDeque::new(),
            noise,
            task: tokio::spawn(task),
        }
    }

    async fn tcp(gateway: &Gateway, name: &str, key: u8) -> Self {
        let stream = TcpStream::connect(gateway.local_addrs()[0]).await;
        Self::start(stream.expect("it listens"), name, key, name)
    }

    /// One that its broker knows.
    async fn open(gateway: &Gateway, name: &str, key: u8) -> Self {
        let mut device = Self::tcp(gateway, name, key).await;
        device.until(&LeafOutput::Event(Event::Open)).await;
        device
    }

    /// The next output that is wanted. Others are kept for later.
    async fn find<T>(&mut self, wanted: impl Fn(&LeafOutput) -> Option<T>) -> T {
        if let Some(index) = self.seen.iter().position(|output| wanted(output).is_some()) {
            let output = self.seen.remove(index).expect("it is there");
            return wanted(&output).expect("it is wanted");
        }
        loop {
            let output = soon(self.outputs.recv()).await;
            let output = output.expect("the device runs");
            match wanted(&output) {
                Some(found) => return found,
                None => self.seen.push_back(output),
            }
        }
    }

    async fn until(&mut self, wanted: &LeafOutput) {
        self.find(|output| (output == wanted).then_some(())).await;
    }

    async fn with<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Engine<'_>, Instant) -> T + Send + 'static,
    ) -> T {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |engine, now| {
            let _ = done.send(job(engine, now));
        });
        assert!(self.jobs.send(job).is_ok(), "the device runs");
        soon(result).await.expect("the device runs")
    }

    async fn connect(&self, serialization: Serialization) -> ConnectionHandle {
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

    async fn connection_open(&mut self) -> ConnectionHandle {
        self.find(|output| match output {
            LeafOutput::Event(Event::ConnectionOpen(handle)) => Some(*handle),
            _ => None,
        })
        .await
    }

    async fn connection_closed(&mut self, handle: ConnectionHandle) {
        self.until(&LeafOutput::Event(Event::ConnectionClosed(handle)))
            .await;
    }

    /// Sends a text and waits for room.
    async fn send(&mut self, handle: ConnectionHandle, text: &str) {
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

    /// The next message, a text.
    async fn recv(&mut self, handle: ConnectionHandle) -> String {
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

fn rand_byte() -> u8 {
    use core::hash::BuildHasher as _;
    use std::hash::RandomState;
    RandomState::new().hash_one(0) as u8
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    mut leaf: Leaf<'static>,
    mut engine: Engine<'static>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    outputs: mpsc::UnboundedSender<LeafOutput>,
    mut noise: mpsc::UnboundedReceiver<Vec<u8>>,
) {
    let start = tokio::time::Instant::now();
    let now = || Instant::from_micros(u64::try_from(start.elapsed().as_micros()).unwrap_or(0));
    let mut piece = [0; 512];
    loop {
        let timeout = loop {
            match leaf.poll(now(), &mut engine) {
                LeafOutput::Timeout(at) => break at,
                output => {
                    let _ = outputs.send(output);
                }
            }
        };
        loop {
            let len = leaf.transmit(now(), &mut piece);
            if len == 0 {
                break;
            }
            if stream.write_all(&piece[..len]).await.is_err() {
                return;
            }
        }
        let sleep = timeout.map(|at| start + Duration::from_micros(at.as_micros()));
        tokio::select! {
            read = stream.read(&mut piece) => match read {
                Ok(0) | Err(_) => break,
                Ok(len) => leaf.receive(now(), &piece[..len]),
            },
            job = jobs.recv() => match job {
                Some(job) => job(&mut engine, now()),
                None => return,
            },
            Some(bytes) = noise.recv() => {
                if stream.write_all(&bytes).await.is_err() {
                    break;
                }
            }
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
            LeafOutput::Timeout(_) => return,
            output => {
                let _ = outputs.send(output);
            }
        }
    }
}

/// A connection from Bob to the leaf, both ends open.
async fn from_bob(
    bob: &Peer,
    leaf: &mut Device,
    id: &str,
    serialization: Serialization,
) -> (DataConnection, ConnectionHandle) {
    let connect = bob
        .connect(id)
        .serialization(serialization)
        .reliable(true)
        .metadata(&serde_json::json!({"from": "bob"}));
    let (theirs, ours) = tokio::join!(soon(connect.into_future()), leaf.connection_open());
    (theirs.expect("it opens"), ours)
}

async fn talk(leaf: &mut Device, ours: ConnectionHandle, theirs: &DataConnection) -> Outcome {
    leaf.send(ours, "21.5 °C").await;
    let value = soon(theirs.recv_as::<String>()).await?;
    assert_eq!(value.as_deref(), Some("21.5 °C"));
    match theirs.serialization() {
        Serialization::Raw => theirs.send_text("on").await?,
        _ => theirs.send("on").await?,
    }
    assert_eq!(leaf.recv(ours).await, "on");
    Ok(())
}

// The tests.

#[tokio::test]
async fn a_leaf_is_an_ordinary_peer_in_every_serialization() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    let mut leaf = Device::open(&gateway, "one", 1).await;
    for serialization in [
        Serialization::Binary,
        Serialization::Json,
        Serialization::Raw,
        Serialization::Postcard,
    ] {
        let (theirs, ours) = from_bob(&bob, &mut leaf, "one", serialization).await;
        let metadata = move |engine: &mut Engine<'_>, _| {
            let connection = engine.connection(ours)?;
            assert_eq!(connection.serialization(), serialization);
            connection.metadata().map(str::to_owned)
        };
        let metadata = leaf.with(metadata).await;
        assert_eq!(metadata.as_deref(), Some(r#"{"from":"bob"}"#));
        talk(&mut leaf, ours, &theirs).await?;
        // One is closed by the leaf, the next by Bob.
        if serialization == Serialization::Binary {
            let close = move |engine: &mut Engine<'_>, _| {
                engine.connection(ours).map(|mut ours| ours.close())
            };
            leaf.with(close).await;
            soon(theirs.closed()).await;
        } else {
            theirs.close();
        }
        leaf.connection_closed(ours).await;

        let ours = leaf.connect(serialization).await;
        let theirs = soon(bob.accept()).await.expect("bob lives");
        assert_eq!(leaf.connection_open().await, ours);
        assert_eq!(theirs.label(), "readings");
        assert_eq!(
            theirs.metadata(),
            Some(Value::from([("from", Value::from("leaf"))]))
        );
        talk(&mut leaf, ours, &theirs).await?;
        theirs.close();
        leaf.connection_closed(ours).await;
    }
    let status = until_status(&gateway, |status| status.leaves[0].connections.is_empty()).await;
    let leaf = &status.leaves[0];
    assert_eq!((leaf.name.as_str(), leaf.present), ("one", true));
    assert_eq!(
        (leaf.id.as_deref(), leaf.broker),
        (Some("one"), "connected")
    );
    assert_eq!((leaf.link.sessions, leaf.link.garbage), (8, 0));
    gateway.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn large_messages_and_many_pass_both_ways() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    let mut leaf = Device::open(&gateway, "one", 1).await;
    let (theirs, ours) = from_bob(&bob, &mut leaf, "one", Serialization::Binary).await;
    // In two chunks; the leaf's inbox holds one such message.
    let long = "x".repeat(20_000);
    for _ in 0..5 {
        theirs.send(&long).await?;
        assert_eq!(leaf.recv(ours).await, long);
        leaf.send(ours, &long).await;
        let value = soon(theirs.recv_as::<String>()).await?;
        assert_eq!(value.as_ref(), Some(&long));
    }
    let sending = async {
        for n in 0..2_000 {
            leaf.send(ours, &n.to_string()).await;
        }
    };
    let receiving = async {
        for n in 0..2_000 {
            let value = soon(theirs.recv_as::<String>()).await.expect("it is one");
            assert_eq!(value, Some(n.to_string()));
        }
    };
    tokio::join!(sending, receiving);
    for n in 0..500 {
        theirs.send(n.to_string().as_str()).await?;
    }
    for n in 0..500 {
        assert_eq!(leaf.recv(ours).await, n.to_string());
    }
    Ok(())
}

#[tokio::test]
async fn a_full_channel_holds_its_leaf_up_and_loses_nothing() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    // The channel takes less than the engine runs ahead.
    options.limits.connections = 1;
    options.limits.bytes = 256 << 10;
    let gateway = Gateway::bind(options).await?;
    let bob = bob(&broker).await;
    let mut leaf = Device::open(&gateway, "one", 1).await;
    let (theirs, ours) = from_bob(&bob, &mut leaf, "one", Serialization::Raw).await;
    let text = |n: usize| format!("{n} {}", "z".repeat(10_000));
    let sending = async {
        for n in 0..300 {
            leaf.send(ours, &text(n)).await;
        }
    };
    let receiving = async {
        for n in 0..300 {
            let value = soon(theirs.recv()).await.expect("it can be read");
            assert_eq!(value, Some(text(n).into()));
        }
    };
    tokio::join!(sending, receiving);
    Ok(())
}

#[tokio::test]
async fn the_remotes_of_a_leaf_that_dies_notice() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    let mut leaf = Device::open(&gateway, "one", 1).await;
    let (theirs, _) = from_bob(&bob, &mut leaf, "one", Serialization::Binary).await;
    drop(leaf);
    soon(theirs.closed()).await;
    until_status(&gateway, |status| status.present == 0).await;

    // It comes back under the same id, and once more on a second line while the first is still there.
    let mut leaf = Device::open(&gateway, "one", 1).await;
    let (theirs, _) = from_bob(&bob, &mut leaf, "one", Serialization::Binary).await;
    let mut again = Device::open(&gateway, "one", 1).await;
    soon(theirs.closed()).await;
    let down = leaf.find(|output| match output {
        LeafOutput::Down(_) => Some(()),
        _ => None,
    });
    down.await;
    let (theirs, ours) = from_bob(&bob, &mut again, "one", Serialization::Json).await;
    talk(&mut again, ours, &theirs).await?;
    let status = gateway.status();
    assert_eq!((status.present, status.leaves[0].arrivals), (1, 3));

    // The gateway ends: leaf and remote notice.
    gateway.shutdown().await;
    soon(theirs.closed()).await;
    again.connection_closed(ours).await;
    Ok(())
}

#[tokio::test]
async fn a_leaf_that_falls_silent_is_cut() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    // Its stream stays open when it has died.
    let (stream, bridge) = tokio::io::duplex(1 << 16);
    let mut tcp = TcpStream::connect(gateway.local_addrs()[0]).await?;
    let bridge = tokio::spawn(async move {
        let (mut from, mut to) = tcp.split();
        let (mut near, mut far) = tokio::io::split(bridge);
        let _ = tokio::join!(
            tokio::io::copy(&mut from, &mut far),
            tokio::io::copy(&mut near, &mut to)
        );
        core::future::pending::<()>().await;
    });
    let mut leaf = Device::start(stream, "one", 1, "one");
    leaf.until(&LeafOutput::Event(Event::Open)).await;
    let (theirs, _) = from_bob(&bob, &mut leaf, "one", Serialization::Binary).await;
    drop(leaf);
    // More than the link has room for, so something is held.
    let sending = async {
        loop {
            if theirs.send(&"q".repeat(15_000)).await.is_err() {
                return;
            }
        }
    };
    soon(sending).await;
    let status = until_status(&gateway, |status| status.present == 0).await;
    // Whichever is found first.
    let end = status.leaves[0].last_end.as_deref().unwrap_or_default();
    assert!(
        end.contains("silent") || end.contains("never acknowledged"),
        "{end}"
    );
    bridge.abort();
    Ok(())
}

#[tokio::test]
async fn wrong_keys_names_and_ids_are_refused() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let mut wrong = Device::tcp(&gateway, "one", 9).await;
    wrong.until(&LeafOutput::Refused(Refusal::Key)).await;
    let mut nobody = Device::tcp(&gateway, "three", 1).await;
    nobody.until(&LeafOutput::Refused(Refusal::Name)).await;
    let stream = TcpStream::connect(gateway.local_addrs()[0]).await?;
    let mut thief = Device::start(stream, "one", 1, "two");
    thief
        .until(&LeafOutput::Event(Event::Error(PeerError::ServerError)))
        .await;
    let status = until_status(&gateway, |status| status.leaves[0].link.refused_ids == 1).await;
    assert!(status.refused.name > 0);
    // The leaf itself finds out that the gateway has another key, and says so.
    assert!(status.refused.key > 0);
    assert_eq!(status.present, 1);
    Ok(())
}

/// A frame as the specification of the link has it.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut crc: u16 = 0xFFFF;
    for byte in body {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            };
        }
    }
    let mut plain = body.to_vec();
    plain.extend_from_slice(&crc.to_le_bytes());
    let mut out = vec![0];
    // No frame here is long enough for a block without a zero.
    for block in plain.split(|byte| *byte == 0) {
        out.push(block.len() as u8 + 1);
        out.extend_from_slice(block);
    }
    out.push(0);
    out
}

#[tokio::test]
async fn one_that_floods_or_lies_harms_no_other() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    let mut good = Device::open(&gateway, "two", 2).await;
    let (theirs, ours) = from_bob(&bob, &mut good, "two", Serialization::Json).await;

    // Garbage from strangers, one of them without an end.
    let address = gateway.local_addrs()[0];
    let flood = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await?;
        let garbage: Vec<u8> = (0..100_000_u32).map(|n| (n * 31 + n / 256) as u8).collect();
        loop {
            stream.write_all(&garbage).await?;
            tokio::task::yield_now().await;
        }
        #[expect(unreachable_code, reason = "it tells the type")]
        Ok::<_, std::io::Error>(())
    });
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(address).await?);
    }
    talk(&mut good, ours, &theirs).await?;

    // A leaf that sends as fast as it can to a browser that reads nothing.
    let mut fast = Device::open(&gateway, "one", 1).await;
    let (unread, flooding) = from_bob(&bob, &mut fast, "one", Serialization::Raw).await;
    let text = "f".repeat(10_000);
    for _ in 0..100 {
        let text = text.clone();
        fast.with(move |engine, _| {
            let mut connection = engine.connection(flooding)?;
            while connection.send(text.as_str()).is_ok() {}
            Some(())
        })
        .await;
        talk(&mut good, ours, &theirs).await?;
    }

    // Garbage in its own session harms nobody, not even itself; a lie ends it, and it may begin anew.
    fast.noise.send(vec![0xA5; 3_000])?;
    until_status(&gateway, |status| status.leaves[0].link.garbage > 0).await;
    let lies = (0..=255).flat_map(|number| sealed(&[0x10, number, 1]));
    fast.noise.send(lies.collect())?;
    soon(unread.closed()).await;
    fast.find(|output| match output {
        LeafOutput::Down(_) => Some(()),
        _ => None,
    })
    .await;
    fast.until(&LeafOutput::Up).await;
    talk(&mut good, ours, &theirs).await?;

    let status = until_status(&gateway, |status| status.present == 2).await;
    assert!(status.refused.unproven > 0, "the oldest streams gave way");
    let of_good = &status.leaves[1];
    assert_eq!((of_good.arrivals, of_good.link.garbage), (1, 0));
    flood.abort();
    Ok(())
}

#[tokio::test]
async fn limits_hold() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    options.limits.leaves = 1;
    options.limits.connections = 1;
    options.limits.bytes = 1 << 20;
    let gateway = Gateway::bind(options).await?;
    let bob = bob(&broker).await;
    let mut leaf = Device::open(&gateway, "one", 1).await;
    let (theirs, ours) = from_bob(&bob, &mut leaf, "one", Serialization::Json).await;

    // One connection too many fails at once, and harms not the first.
    let second = leaf.connect(Serialization::Json).await;
    let reason = leaf
        .find(|output| match output {
            LeafOutput::Event(Event::ConnectionFailed(handle, failure)) => {
                assert_eq!(*handle, second);
                Some(failure.reason)
            }
            _ => None,
        })
        .await;
    assert_eq!(reason, FailureReason::Rtc(RtcFailure::Resources));
    talk(&mut leaf, ours, &theirs).await?;

    // One leaf too many is cut; once there is room it may come.
    let mut two = Device::tcp(&gateway, "two", 2).await;
    two.find(|output| matches!(output, LeafOutput::Down(_)).then_some(()))
        .await;
    assert_eq!(gateway.status().refused.limit, 1);
    drop(leaf);
    until_status(&gateway, |status| status.present == 0).await;
    let _two = Device::open(&gateway, "two", 2).await;
    assert_eq!(gateway.status().leaves[0].link.refused_commands, 1);
    Ok(())
}

#[tokio::test]
async fn a_reload_changes_leaves_while_others_stay() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    let mut gateway = Gateway::bind(options.clone()).await?;
    let bob = bob(&broker).await;
    let mut one = Device::open(&gateway, "one", 1).await;
    let mut two = Device::open(&gateway, "two", 2).await;
    let (to_one, _) = from_bob(&bob, &mut one, "one", Serialization::Json).await;
    let (to_two, ours) = from_bob(&bob, &mut two, "two", Serialization::Json).await;

    let mut bad = options.clone();
    bad.limits.leaves = 0;
    gateway.reload(bad).unwrap_err();
    talk(&mut two, ours, &to_two).await?;

    options.leaves = vec![entry("two", 2), entry("three", 3)];
    assert!(gateway.reload(options.clone())?.is_empty());
    soon(to_one.closed()).await;
    one.until(&LeafOutput::Refused(Refusal::Name)).await;
    let three = Device::open(&gateway, "three", 3).await;
    talk(&mut two, ours, &to_two).await?;

    // Another key, and an id that is no longer allowed.
    options.leaves = vec![entry("two", 2), entry("three", 4)];
    options.leaves[0].ids.clear();
    options.listen.clear();
    assert_eq!(gateway.reload(options)?, ["listen"]);
    soon(to_two.closed()).await;
    let status = until_status(&gateway, |status| {
        let leaf = status.leaves.iter().find(|leaf| leaf.name == "three");
        leaf.is_some_and(|leaf| !leaf.present)
    })
    .await;
    assert!(status.leaves.iter().all(|leaf| leaf.name != "one"));
    drop(three);
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_serial_port_is_opened_when_it_is_there() -> Outcome {
    use tokio_serial::{SerialPort as _, SerialStream};
    let broker = broker().await;
    let (ours, theirs) = SerialStream::pair()?;
    let path = theirs.name().expect("a pseudo-terminal has a path");
    // A port has one user; the gateway is to be it.
    drop(theirs);
    let missing = format!("{path}-not-there");
    let mut options = options(&broker);
    let port = |path: &str| SerialPort {
        path: path.to_owned(),
        speed: 115_200,
    };
    options.serial = vec![port(&path), port(&missing)];
    let gateway = Gateway::bind(options).await?;
    // Both were tried, in their order; before, a pseudo-terminal is as one that failed.
    until_status(&gateway, |status| !status.absent.is_empty()).await;
    let bob = bob(&broker).await;
    let mut leaf = Device::start(ours, "one", 1, "one");
    leaf.until(&LeafOutput::Event(Event::Open)).await;
    let (remote, handle) = from_bob(&bob, &mut leaf, "one", Serialization::Binary).await;
    talk(&mut leaf, handle, &remote).await?;
    let long = Value::from("y".repeat(20_000));
    remote.send(&long).await?;
    assert_eq!(Value::from(leaf.recv(handle).await), long);

    let status = gateway.status();
    assert_eq!(status.leaves[0].line, format!("serial {path}"));
    assert_eq!(status.absent.len(), 1);
    assert_eq!(status.absent[0].line, format!("serial {missing}"));

    // Unplugged.
    drop(leaf);
    soon(remote.closed()).await;
    until_status(&gateway, |status| {
        status.absent.len() == 2 || status.present == 0
    })
    .await;
    gateway.shutdown().await;
    Ok(())
}
