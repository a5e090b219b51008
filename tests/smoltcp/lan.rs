//! A device with an engine, a cable, a router, and the time.

use core::time::Duration;
use std::collections::{HashMap, VecDeque};

use peer_core::{
    PeerId,
    net::{BrokerSocket, SocketTiming, timestamp},
    peer::{
        BrokerCommand, Config, ConnectionHandle, Event, Input, InputError, Output, Peer,
        PeerResources, RtcCommand, RtcInput,
    },
    time::Instant,
    wire::http::BrokerAddress,
};
use peer_sim::lan::{Port, Treatment, carry, hardware_address};
use smoltcp::{
    iface::{Interface, SocketHandle, SocketSet},
    phy::Medium,
    socket::tcp,
    wire::{IpAddress, IpCidr},
};

use crate::router::{Behind, PORT, Router};

/// What a test chooses.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) id: Option<&'static str>,
    pub(crate) medium: Medium,
    pub(crate) ipv6: bool,
    pub(crate) mtu: usize,
    /// The TCP buffers and the memory for a message, in bytes.
    pub(crate) receive: usize,
    pub(crate) send: usize,
    pub(crate) message: usize,
    pub(crate) treatment: Treatment,
    /// Whether the clock is the machine's. Otherwise it jumps to whatever is next.
    pub(crate) real_time: bool,
    pub(crate) ping_interval: Duration,
    pub(crate) socket: fn(&mut SocketSetup),
}

/// How the broker's socket is made.
pub(crate) struct SocketSetup {
    pub(crate) address: IpAddress,
    pub(crate) timing: SocketTiming,
    pub(crate) reconnect: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            id: Some("device"),
            medium: Medium::Ethernet,
            ipv6: false,
            mtu: 1500,
            receive: 1024,
            send: 4096,
            message: 2048,
            treatment: Treatment::default(),
            real_time: false,
            ping_interval: Duration::from_secs(5),
            socket: |_| {},
        }
    }
}

/// Random bytes that a test knows: nonces are all sevens.
fn sevens(bytes: &mut [u8]) {
    bytes.fill(7);
}

pub(crate) struct Lan {
    pub(crate) router: Router,
    pub(crate) device: Port,
    pub(crate) iface: Interface,
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) tcp: SocketHandle,
    pub(crate) broker: BrokerSocket<'static, fn(&mut [u8])>,
    pub(crate) peer: Peer<'static>,
    pub(crate) events: Vec<Event>,
    /// Commands for sessions, as texts.
    pub(crate) rtc: Vec<String>,
    /// HEARTBEATs handed to the socket.
    pub(crate) heartbeats: usize,
    /// When a socket was asked for.
    pub(crate) opens: Vec<Instant>,
    pub(crate) handles: HashMap<usize, ConnectionHandle>,
    described: VecDeque<(ConnectionHandle, Described)>,
    pub(crate) now: Instant,
    /// Turns of the loop so far.
    pub(crate) turns: usize,
    started: Option<std::time::Instant>,
    timeout: Option<Instant>,
    /// The clock does not jump beyond.
    horizon: Option<Instant>,
}

/// How much of its description the engine has from a session.
enum Described {
    No,
    ButForTheCandidate,
}

/// Feeds the descriptions that were asked for, each with one candidate, until the engine is full.
fn describe(
    now: Instant,
    peer: &mut Peer<'_>,
    described: &mut VecDeque<(ConnectionHandle, Described)>,
) {
    while let Some((handle, step)) = described.front_mut() {
        let input = match step {
            Described::No => RtcInput::LocalDescription("v=0\r\nour offer"),
            Described::ButForTheCandidate => RtcInput::LocalCandidate("candidate:ours"),
        };
        match (peer.handle_input(now, Input::Rtc(*handle, input)), &step) {
            (Err(InputError::Full), _) => return,
            (Ok(()), Described::No) => *step = Described::ButForTheCandidate,
            (Ok(()) | Err(InputError::Stale), _) => drop(described.pop_front()),
            (Err(error), _) => panic!("{error}"),
        }
    }
}

impl Lan {
    pub(crate) fn new(setup: Setup, behind: Box<dyn FnMut() -> Behind>) -> Self {
        let mut device = Port::new(setup.medium, setup.mtu);
        let router = Router::new(setup.medium, setup.mtu, setup.treatment, behind);
        let mut config = smoltcp::iface::Config::new(hardware_address(setup.medium, 7));
        config.random_seed = 7;
        let mut iface = Interface::new(config, &mut device, timestamp(Instant::ZERO));
        let address = |last| match setup.ipv6 {
            true => IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, last),
            false => IpAddress::v4(192, 0, 2, last as u8),
        };
        iface.update_ip_addrs(|addresses| {
            let prefix = if setup.ipv6 { 64 } else { 24 };
            addresses.push(IpCidr::new(address(7), prefix)).unwrap();
        });
        let mut sockets = SocketSet::new(Vec::new());
        let tcp = sockets.add(tcp::Socket::new(
            tcp::SocketBuffer::new(vec![0; setup.receive]),
            tcp::SocketBuffer::new(vec![0; setup.send]),
        ));
        let host = if setup.ipv6 { "fd00::1" } else { "192.0.2.1" };
        let broker = BrokerAddress {
            host,
            port: PORT,
            path: "/",
            key: "peerjs",
        };
        let mut socket = SocketSetup {
            address: address(1),
            timing: SocketTiming::default(),
            reconnect: true,
        };
        (setup.socket)(&mut socket);
        let memory = Box::leak(vec![0; setup.message].into_boxed_slice());
        let random: fn(&mut [u8]) = sevens;
        let (address, timing) = (socket.address, socket.timing);
        let mut broker = BrokerSocket::new(address, broker, timing, memory, random);
        broker.set_reconnect(socket.reconnect);
        let mut config = Config::new([7; 32]);
        config.id = setup.id.map(|id| PeerId::new(id).unwrap());
        config.ping_interval = setup.ping_interval;
        let resources: &'static mut PeerResources<8> = Box::leak(Box::new(PeerResources::new()));
        Self {
            router,
            device,
            iface,
            sockets,
            tcp,
            broker,
            peer: Peer::new(config, resources),
            events: Vec::new(),
            rtc: Vec::new(),
            heartbeats: 0,
            opens: Vec::new(),
            handles: HashMap::new(),
            described: VecDeque::new(),
            now: Instant::ZERO,
            turns: 0,
            started: setup.real_time.then(std::time::Instant::now),
            timeout: None,
            horizon: None,
        }
    }

    /// The loop of a program, once; then the time moves on.
    pub(crate) fn turn(&mut self) {
        let now = self.now;
        self.turns += 1;
        self.iface
            .poll(timestamp(now), &mut self.device, &mut self.sockets);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        self.broker
            .poll(now, &mut self.iface, socket, &mut self.peer);
        describe(now, &mut self.peer, &mut self.described);
        self.timeout = loop {
            match self.broker.poll_output(socket, &mut self.peer) {
                Output::Broker(command) => {
                    match &command {
                        BrokerCommand::Send(text) => {
                            self.heartbeats += usize::from(text.contains("HEARTBEAT"));
                        }
                        BrokerCommand::Open { .. } => self.opens.push(now),
                        _ => {}
                    }
                    self.broker.handle_command(now, socket, command);
                }
                Output::Rtc(handle, command) => {
                    let offer = matches!(command, RtcCommand::CreateOffer { .. });
                    self.rtc.push(format!("{command:?}"));
                    self.handles.insert(handle.index(), handle);
                    if offer {
                        self.described.push_back((handle, Described::No));
                    }
                    describe(now, &mut self.peer, &mut self.described);
                }
                Output::Event(event) => self.events.push(event),
                Output::Timeout(at) => break at,
            }
        };
        self.iface
            .poll(timestamp(now), &mut self.device, &mut self.sockets);
        carry(&mut self.device, &mut self.router.server.port);
        self.router.turn(now);
        carry(&mut self.device, &mut self.router.server.port);
        self.wait();
    }

    fn wait(&mut self) {
        let quiet = self.device.is_quiet() && !self.router.server.busy;
        if let Some(started) = self.started {
            if quiet {
                std::thread::sleep(Duration::from_micros(200));
            }
            self.now = Instant::from_micros(started.elapsed().as_micros() as u64);
            return;
        }
        let next = self.timeout.into_iter().chain(
            self.iface
                .poll_at(timestamp(self.now), &self.sockets)
                .map(peer_core::net::instant),
        );
        let next = next
            .chain(self.router.server.next_timeout(self.now))
            .chain(self.horizon)
            .min();
        // A turn costs something; that it does also shows what never waits.
        let mut now = self.now + Duration::from_micros(100);
        if let (true, Some(next)) = (quiet, next) {
            now = now.max(next);
        }
        self.now = now;
    }

    /// Runs until something holds.
    pub(crate) fn run_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let (began, turns) = (self.now, std::time::Instant::now());
        while !holds(self) {
            self.turn();
            assert!(
                self.now.saturating_duration_since(began) < Duration::from_secs(600)
                    && turns.elapsed() < Duration::from_secs(60),
                "never happened: {what}; at {:?}: {:?}, {:?}, {:?}, {:?}, {:?}, {:?}, {} accepted",
                self.now,
                self.peer.state(),
                self.broker.last_error(),
                self.broker.failures(),
                self.events.last(),
                self.rtc,
                self.tcp_state(),
                self.router.server.accepted,
            );
        }
    }

    /// Runs for some time.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.horizon = Some(end);
        while self.now < end {
            self.turn();
        }
        self.horizon = None;
    }

    pub(crate) fn saw(&self, event: Event) -> bool {
        self.events.contains(&event)
    }

    pub(crate) fn tcp_state(&self) -> tcp::State {
        self.sockets.get::<tcp::Socket<'_>>(self.tcp).state()
    }
}
