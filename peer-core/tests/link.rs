//! A leaf over the byte streams of `embedded-io` and `embedded-io-async`.
#![allow(clippy::std_instead_of_core, reason = "a test has std")]

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    convert::Infallible,
    rc::Rc,
};

use embassy_futures::select::select;
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, pipe::Pipe};
use peer_core::{
    PeerId,
    link::{
        Gateway, GatewayOutput, Key, Leaf, LeafConfig, LeafKeys, LeafOutput, LinkError,
        LinkInputError, LinkResources, Timing, read_ready, run, write_all,
    },
    peer::{
        Config, ConnectOptions, Event, InputError, Output, Peer, PeerError, PeerResources,
        PeerState,
    },
    sync::Shared,
    time::{Duration, Instant},
};

#[path = "support/executor.rs"]
mod executor;
#[path = "../examples/support/network.rs"]
mod network;

use executor::Task;
use network::Network;

struct Keys(Key);

impl LeafKeys for Keys {
    fn key(&self, _: &str) -> Option<&Key> {
        Some(&self.0)
    }

    fn allows_id(&self, leaf: &str, id: &str) -> bool {
        leaf == "greenhouse" && id == "sensor-7"
    }
}

thread_local! {
    static NOW: Cell<Instant> = const { Cell::new(Instant::from_millis(1_000)) };
    static NEXT: Cell<Option<Instant>> = const { Cell::new(None) };
}

fn clock() -> Instant {
    NOW.get()
}

/// Time that passes when nothing else happens.
async fn sleep_until(at: Option<Instant>) {
    std::future::poll_fn(|_| {
        if at.is_some_and(|at| at <= clock()) {
            return std::task::Poll::Ready(());
        }
        if let Some(at) = at {
            NEXT.set(Some(NEXT.get().map_or(at, |next| next.min(at))));
        }
        std::task::Poll::Pending
    })
    .await;
}

fn let_time_pass() -> bool {
    let next = NEXT.take();
    NOW.set(next.map_or(clock() + Duration::from_millis(100), |at| at.max(clock())));
    true
}

fn engine(id: &str) -> Peer<'static> {
    let mut config = Config::new([id.len() as u8; 32]);
    config.id = Some(PeerId::new(id).unwrap());
    let memory: &'static mut PeerResources<2> = Box::leak(Box::new(PeerResources::new()));
    Peer::new(config, memory)
}

fn leaf() -> Leaf<'static> {
    let config = LeafConfig::new("greenhouse", [7; 32], [1; 32]);
    let memory: &'static mut LinkResources<2> = Box::leak(Box::new(LinkResources::new()));
    Leaf::new(config, memory.slices()).unwrap()
}

fn gateway() -> Gateway<'static> {
    let memory: &'static mut LinkResources<2> = Box::leak(Box::new(LinkResources::new()));
    Gateway::new(Timing::default(), [2; 32], memory.slices()).unwrap()
}

/// One turn of a gateway's driver: side 0 of the network.
fn turn(gateway: &mut Gateway<'_>, network: &mut Network) -> bool {
    let keys = Keys(Key::new([7; 32]));
    let mut busy = false;
    loop {
        match gateway.poll_output(clock(), &keys) {
            GatewayOutput::Timeout(_) => break,
            GatewayOutput::Broker(command) => network.carry_out(0, Output::Broker(command)),
            GatewayOutput::Rtc(handle, command) => {
                network.carry_out(0, Output::Rtc(handle, command));
            }
            _ => {}
        }
        busy = true;
    }
    busy | network.deliver(0, |input| match gateway.handle_input(&input) {
        Err(LinkInputError::Full) => Err(InputError::Full),
        Err(LinkInputError::NoRoom { taken }) => Err(InputError::InboxFull { taken }),
        _ => Ok(()),
    })
}

/// Side 1: a peer with its own stack.
fn turn_of_bob(bob: &Shared<'static, NoopRawMutex>, network: &mut Network) -> bool {
    let mut busy = false;
    bob.poll(|output| {
        busy = true;
        network.carry_out(1, output);
    });
    busy | network.deliver(1, |input| bob.handle_input(input))
}

type Wire = Pipe<NoopRawMutex, 48>;

/// The gateway and Bob, with everything between them.
async fn serve(up: &Wire, down: &Wire, bob: &Shared<'static, NoopRawMutex>) {
    let (mut gateway, mut network) = (gateway(), Network::default());
    let keys = Keys(Key::new([7; 32]));
    let (mut pending, mut piece) = (Vec::new(), [0; 40]);
    loop {
        while turn(&mut gateway, &mut network) | turn_of_bob(bob, &mut network) {}
        // Never waits for the leaf to read: that is what credit is for.
        if pending.is_empty() {
            let len = gateway.transmit(clock(), &mut piece);
            pending.extend_from_slice(&piece[..len]);
        }
        if !pending.is_empty()
            && let Ok(len) = down.try_write(&pending)
        {
            pending.drain(..len);
            continue;
        }
        let mut bytes = [0; 33];
        let read = async {
            let len = up.read(&mut bytes).await;
            Some(len)
        };
        let writable = async {
            match pending.as_slice() {
                [] => std::future::pending().await,
                bytes => down.write(bytes).await,
            }
        };
        // What is due cannot be said while the stream is full.
        let timeout = gateway.next_timeout().filter(|_| pending.is_empty());
        let timeout = sleep_until(timeout);
        let idle = select(bob.wanted(), timeout);
        match select(read, select(writable, idle)).await {
            embassy_futures::select::Either::First(Some(len)) => {
                gateway.receive(clock(), &bytes[..len], &keys);
            }
            embassy_futures::select::Either::Second(embassy_futures::select::Either::First(
                len,
            )) => {
                pending.drain(..len);
            }
            _ => {}
        }
    }
}

#[test]
fn tasks_share_an_engine_behind_a_link() {
    let (up, down) = (Wire::new(), Wire::new());
    let shared: Shared<'_, NoopRawMutex> = Shared::new(engine("sensor-7"), clock);
    let bob: Shared<'_, NoopRawMutex> = Shared::new(engine("bob"), clock);
    let link_events = RefCell::new(Vec::new());
    let application = async {
        shared.open().await.unwrap();
        bob.open().await.unwrap();
        let to = PeerId::new("bob").unwrap();
        let options = ConnectOptions {
            reliable: true,
            ..ConnectOptions::default()
        };
        let connection = shared.connect(&to, options).await.unwrap();
        // Both ways at once, more than any buffer holds.
        let send = async {
            for n in 0..150_u32 {
                connection.send(&(n, "x".repeat(200))).await.unwrap();
            }
        };
        let receive = async {
            for n in 0..150_u32 {
                assert_eq!(connection.recv::<(u32, String)>().await.unwrap().0, n);
            }
        };
        embassy_futures::join::join(send, receive).await;
    };
    let echo = async {
        let handle = loop {
            if let Event::Connection(handle) = bob.event().await {
                break handle;
            }
        };
        let connection = bob.connection(handle);
        loop {
            let Ok(message) = connection.recv::<(u32, String)>().await else {
                return;
            };
            connection.send(&message).await.unwrap();
        }
    };
    let drive = async {
        let mut leaf = leaf();
        let (mut reader, mut writer) = (&down, &up);
        let run = shared.run_leaf(&mut leaf, &mut reader, &mut writer, sleep_until, |output| {
            link_events.borrow_mut().push(output);
        });
        run.await.unwrap();
    };
    let tasks: Vec<Task<'_>> = vec![
        Box::pin(application),
        Box::pin(echo),
        Box::pin(drive),
        Box::pin(serve(&up, &down, &bob)),
    ];
    executor::run(tasks, let_time_pass);
    assert_eq!(*link_events.borrow(), [LeafOutput::Up]);
}

/// One direction of a blocking stream, which is at its end when nobody else holds it.
#[derive(Clone, Default)]
struct Bytes(Rc<RefCell<VecDeque<u8>>>);

struct Serial {
    rx: Bytes,
    tx: Bytes,
}

impl embedded_io::ErrorType for Serial {
    type Error = Infallible;
}

impl embedded_io::Read for Serial {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut bytes = self.rx.0.borrow_mut();
        let len = buffer.len().min(bytes.len()).min(7);
        for place in &mut buffer[..len] {
            *place = bytes.pop_front().unwrap();
        }
        Ok(len)
    }
}

impl embedded_io::ReadReady for Serial {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.rx.0.borrow().is_empty())
    }
}

impl embedded_io::Write for Serial {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let len = bytes.len().min(5);
        self.tx.0.borrow_mut().extend(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[test]
fn a_bare_loop_over_a_blocking_stream() {
    let (up, down) = (Bytes::default(), Bytes::default());
    let mut here = Serial {
        rx: down.clone(),
        tx: up.clone(),
    };
    let mut there = Serial { rx: up, tx: down };
    let (mut leaf, mut peer) = (leaf(), engine("sensor-7"));
    let (mut gateway, mut network) = (gateway(), Network::default());
    let keys = Keys(Key::new([7; 32]));
    let mut outputs = Vec::new();
    for _ in 0..20 {
        read_ready(&mut here, |bytes| leaf.receive(clock(), bytes, &mut peer)).unwrap();
        loop {
            match leaf.poll(clock(), &mut peer) {
                LeafOutput::Timeout(_) => break,
                output => outputs.push(output),
            }
        }
        write_all(&mut here, |room| leaf.transmit(clock(), room)).unwrap();
        read_ready(&mut there, |bytes| gateway.receive(clock(), bytes, &keys)).unwrap();
        while turn(&mut gateway, &mut network) {}
        write_all(&mut there, |room| gateway.transmit(clock(), room)).unwrap();
    }
    assert_eq!(outputs, [LeafOutput::Up, LeafOutput::Event(Event::Open)]);
}

/// A stream that ends after so many bytes.
struct Ending<'w>(&'w Wire, usize);

impl embedded_io::ErrorType for Ending<'_> {
    type Error = Infallible;
}

impl embedded_io_async::Read for Ending<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        if self.1 == 0 {
            return Ok(0);
        }
        let len = self.0.read(buffer).await;
        self.1 = self.1.saturating_sub(len);
        Ok(len)
    }
}

#[test]
fn the_end_of_the_stream_ends_the_session() {
    let (up, down) = (Wire::new(), Wire::new());
    let bob: Shared<'_, NoopRawMutex> = Shared::new(engine("bob"), clock);
    let outputs = RefCell::new(Vec::new());
    let (mut leaf, mut peer) = (leaf(), engine("sensor-7"));
    let drive = async {
        let mut reader = Ending(&down, 250);
        let mut writer = &up;
        let keep = |output, _: &mut Peer<'_>| outputs.borrow_mut().push(output);
        let ended = run(
            &mut leaf,
            &mut peer,
            &mut reader,
            &mut writer,
            clock,
            sleep_until,
            keep,
        );
        ended.await.unwrap();
    };
    let tasks: Vec<Task<'_>> = vec![Box::pin(drive), Box::pin(serve(&up, &down, &bob))];
    executor::run(tasks, let_time_pass);
    assert_eq!(
        outputs.take(),
        [LeafOutput::Up, LeafOutput::Event(Event::Open)]
    );
    let rest: Vec<LeafOutput> = std::iter::from_fn(|| match leaf.poll(clock(), &mut peer) {
        LeafOutput::Timeout(_) => None,
        output => Some(output),
    })
    .collect();
    assert_eq!(
        rest,
        [
            LeafOutput::Down(LinkError::Closed),
            LeafOutput::Event(Event::Error(PeerError::Network)),
            LeafOutput::Event(Event::Disconnected),
        ]
    );
    assert_eq!(peer.state(), PeerState::Disconnected);
}
