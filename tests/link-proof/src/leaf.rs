//! `link` and `sync`: an engine that tasks share, behind a link to a gateway.

use core::{
    convert::Infallible,
    future::Future,
    pin::pin,
    task::{Context, Waker},
};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use peer_core::{
    PeerId,
    link::{
        Gateway, GatewayOutput, Key, Leaf, LeafConfig, LeafKeys, LinkResources, Timing, read_ready,
        write_all,
    },
    peer::{
        BrokerCommand, BrokerInput, Config, ConnectOptions, Input, Peer, PeerResources, PeerState,
        RtcCommand,
    },
    sync::Shared,
    time::Instant,
};

struct Keys(Key);

impl LeafKeys for Keys {
    fn key(&self, _: &str) -> Option<&Key> {
        Some(&self.0)
    }

    fn allows_id(&self, _: &str, id: &str) -> bool {
        id == "sensor"
    }
}

fn clock() -> Instant {
    Instant::from_millis(10)
}

pub(crate) fn run() -> Option<()> {
    let memory = fixed!(MEMORY: PeerResources<1> = PeerResources::new());
    let here = fixed!(HERE: LinkResources<1> = LinkResources::new());
    let there = fixed!(THERE: LinkResources<1> = LinkResources::new());
    let mut config = Config::new([7; 32]);
    config.id = Some(PeerId::new("sensor").ok()?);
    let shared: Shared<'_, NoopRawMutex> = Shared::new(Peer::new(config, memory), clock);
    let config = LeafConfig::new("leaf", [7; 32], [1; 32]);
    let mut leaf = Leaf::new(config, here.slices()).ok()?;
    let mut gateway = Gateway::new(Timing::default(), [2; 32], there.slices()).ok()?;
    let keys = Keys(Key::new([7; 32]));

    let to = PeerId::new("bob").ok()?;
    let mut task = pin!(async {
        shared.open().await.ok()?;
        let connection = shared.connect(&to, ConnectOptions::default()).await.ok()?;
        connection.send("hello").await.ok()?;
        let mut memory = [0; 8];
        let message = connection.recv_into(&mut memory).await.ok()?;
        Some(message.bytes.len())
    });
    let [up, down, reader, writer] = fixed!(WIRES: [Wire; 4] = [const { Wire::new() }; 4]);
    let mut offered = false;
    for _ in 0..20 {
        if task
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
        {
            return None;
        }
        read_ready(down, |bytes| {
            shared.receive_leaf(&mut leaf, clock(), bytes);
        })
        .ok()?;
        shared.poll_leaf(&mut leaf, clock(), |_| {});
        write_all(up, |room| leaf.transmit(clock(), room)).ok()?;
        read_ready(up, |bytes| gateway.receive(clock(), bytes, &keys)).ok()?;
        loop {
            let opened = match gateway.poll_output(clock(), &keys) {
                GatewayOutput::Timeout(_) => break,
                GatewayOutput::Broker(BrokerCommand::Open { id: "sensor", .. }) => true,
                GatewayOutput::Rtc(_, RtcCommand::CreateOffer { .. }) => {
                    offered = true;
                    false
                }
                _ => false,
            };
            if opened {
                gateway
                    .handle_input(&Input::Broker(BrokerInput::Opened))
                    .ok()?;
                let mut open = *br#"{"type":"OPEN"}"#;
                gateway
                    .handle_input(&Input::Broker(BrokerInput::Message(&mut open)))
                    .ok()?;
            }
        }
        write_all(down, |room| gateway.transmit(clock(), room)).ok()?;
    }
    (offered && leaf.is_up() && shared.state() == PeerState::Open).then_some(())?;

    // And over an asynchronous stream, which ends at once.
    let ended = pin!(shared.run_leaf(&mut leaf, reader, writer, forever, |_| {}));
    let over = ended
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready();
    (over && shared.state() == PeerState::Disconnected).then_some(())
}

async fn forever(_: Option<Instant>) {
    core::future::pending().await
}

/// One direction of a stream.
struct Wire {
    bytes: [u8; 2048],
    len: usize,
}

impl Wire {
    const fn new() -> Self {
        Self {
            bytes: [0; 2048],
            len: 0,
        }
    }
}

impl embedded_io::ErrorType for Wire {
    type Error = Infallible;
}

impl embedded_io::ReadReady for Wire {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.len > 0)
    }
}

impl embedded_io::Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let len = buffer.len().min(self.len);
        for (place, byte) in buffer.iter_mut().zip(&self.bytes) {
            *place = *byte;
        }
        self.bytes.copy_within(len.., 0);
        self.len -= len;
        Ok(len)
    }
}

impl embedded_io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let room = self.bytes.iter_mut().skip(self.len);
        self.len += room.zip(bytes).map(|(place, byte)| *place = *byte).count();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl embedded_io_async::Read for Wire {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        embedded_io::Read::read(self, buffer)
    }
}

impl embedded_io_async::Write for Wire {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        embedded_io::Write::write(self, bytes)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
