//! Devices, a broker that relays, and the network between them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use peer_core::PeerId;
use peer_core::connection::SendError;
use peer_core::device::{Device, DeviceOutput, DeviceResources};
use peer_core::peer::{
    BrokerCommand, BrokerInput, Config, ConnectOptions, ConnectionHandle, Event, Input, InputError,
    Peer, PeerResources,
};
use peer_core::rtc::crypto::{Crypto as _, CryptoError, RustCrypto};
use peer_core::rtc::dtls::Identity;
use peer_core::rtc::{ice, session};
use peer_core::serialization::Serialization;
use peer_core::time::{Duration, Instant};

pub(crate) use crate::datagrams::{Crypto, Datagram, Path, addr, crypto};
use crate::flights::{Flights, Random};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
const START: Instant = Instant::from_micros(1_000);
/// From a device to the broker, or back.
const TO_BROKER: Duration = Duration::from_millis(15);
/// Until a device that had no room for a signal is asked again.
const AGAIN: Duration = Duration::from_millis(1);
/// Bytes that the broker's socket takes at once.
const ROOM: usize = 2_000;
/// Turns of one device at one instant. More is a busy loop.
const TURNS_MAX: usize = 1_000;

/// One machine with everything that happened on it.
pub(crate) struct Node {
    pub(crate) peer: Peer<'static>,
    pub(crate) device: Device<'static, Crypto>,
    /// Where its socket is, and is reached.
    pub(crate) address: SocketAddr,
    pub(crate) events: Vec<Event>,
    /// Texts that came, with the connection.
    pub(crate) texts: Vec<(ConnectionHandle, String)>,
    /// Whether it reads.
    pub(crate) reads: bool,
    /// Pieces of long messages, if it reads those: bytes of each that has come whole.
    pub(crate) pieces: Option<(Vec<u8>, Vec<Vec<u8>>)>,
    /// What is to be said, as the outbox has room.
    pub(crate) queue: VecDeque<(ConnectionHandle, String)>,
    /// Whether its source of randomness works.
    pub(crate) is_random: Rc<Cell<bool>>,
    timeout: Option<Instant>,
    /// Its id, while its socket to the broker is open.
    online: Option<String>,
}

impl Node {
    /// With so many connections of the engine, and sessions of the device.
    pub(crate) fn new<const CONNS: usize, const SESSIONS: usize>(seed: u64, id: &str) -> Self {
        let for_peer: &mut PeerResources<CONNS> = Box::leak(Box::default());
        let for_device: &'static mut DeviceResources<'static, Crypto, SESSIONS> =
            Box::leak(Box::default());
        let mut drawn = crypto(seed);
        let identity = Box::leak(Box::new(Identity::generate(&mut drawn).unwrap()));
        let is_random = Rc::new(Cell::new(true));
        let works = Rc::clone(&is_random);
        let crypto: Crypto = RustCrypto::new(Box::new(move |out| match works.get() {
            true => drawn.random(out),
            false => Err(CryptoError::Random),
        }));
        let config = session::Config::new(ice::Role::Controlled);
        let mut device = Device::new(config, crypto, identity, for_device);
        let address = SocketAddr::from(([192, 0, 2, seed as u8], 5_000));
        device.set_addresses(START, &[address]);
        let mut config = Config::new([seed as u8; 32]);
        config.id = Some(PeerId::new(id).unwrap());
        Self {
            peer: Peer::new(config, for_peer),
            device,
            is_random,
            address,
            events: Vec::new(),
            texts: Vec::new(),
            reads: true,
            pieces: None,
            queue: VecDeque::new(),
            timeout: Some(START),
            online: None,
        }
    }

    pub(crate) fn connect(&mut self, now: Instant, to: &str, reliable: bool) -> ConnectionHandle {
        let options = ConnectOptions {
            reliable,
            serialization: Serialization::Binary,
            ..ConnectOptions::default()
        };
        self.peer
            .connect(now, &PeerId::new(to).unwrap(), options)
            .unwrap()
    }

    /// The connections that opened, in order.
    pub(crate) fn opened(&self) -> Vec<ConnectionHandle> {
        let opened = self.events.iter().filter_map(|event| match event {
            Event::ConnectionOpen(handle) => Some(*handle),
            _ => None,
        });
        opened.collect()
    }

    pub(crate) fn has(&self, event: Event) -> bool {
        self.events.contains(&event)
    }

    /// Reads pieces where data was told, as an application does.
    fn listen(&mut self, event: Event) {
        if let (Event::Data(handle), Some((partial, whole))) = (event, &mut self.pieces)
            && let Some(mut connection) = self.peer.connection(handle)
        {
            while let Some(piece) = connection.recv_piece() {
                assert_eq!(piece.first, partial.is_empty());
                partial.extend_from_slice(piece.bytes);
                if piece.last {
                    whole.push(core::mem::take(partial));
                }
            }
        }
    }

    /// Reads and says what it can.
    fn talk(&mut self) {
        let handles: Vec<_> = self.peer.connections().collect();
        for handle in handles {
            let Some(mut connection) = self.peer.connection(handle) else {
                continue;
            };
            while self.reads
                && let Ok(text) = connection.recv::<&str>()
            {
                self.texts.push((handle, text.to_owned()));
            }
        }
        while let Some((handle, text)) = self.queue.front() {
            let Some(mut connection) = self.peer.connection(*handle) else {
                break;
            };
            match connection.send(text.as_str()) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(SendError::Full | SendError::NotOpenYet | SendError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// What is on its way between a device and the broker.
enum Signal {
    ToDevice(usize, FromBroker),
    Leaves(String),
    /// From that device.
    Text(usize, String),
}

enum FromBroker {
    Opened,
    Message(String),
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    pub(crate) path: Path,
    pub(crate) random: Random,
    /// Everything that was sent, if that is wanted.
    pub(crate) recorded: Option<Vec<Datagram>>,
    /// Called with each text for the broker; `false`: it is lost.
    pub(crate) relays: bool,
    pub(crate) flights: Flights<Datagram>,
    signals: Flights<Signal>,
}

impl World {
    pub(crate) fn new(seed: u64, nodes: Vec<Node>) -> Self {
        Self {
            now: START,
            nodes,
            path: Path::default(),
            random: Random::new(seed),
            recorded: None,
            relays: true,
            flights: Flights::new(),
            signals: Flights::new(),
        }
    }

    /// The same, once all are open at the broker.
    pub(crate) fn online(seed: u64, nodes: Vec<Node>) -> Self {
        let mut world = Self::new(seed, nodes);
        world.all_open();
        world
    }

    fn all_open(&mut self) {
        self.until(SECOND, |world| {
            world.nodes.iter().all(|node| node.has(Event::Open))
        });
    }

    /// Two devices, and the connection that the first has with the second, at both ends.
    pub(crate) fn pair(seed: u64, path: Path, reliable: bool) -> (Self, [ConnectionHandle; 2]) {
        let nodes = vec![Node::new::<2, 2>(1, "one"), Node::new::<2, 2>(2, "two")];
        let mut world = Self::new(seed, nodes);
        world.path = path;
        world.all_open();
        let handle = world.nodes[0].connect(world.now, "two", reliable);
        world.until(SECOND * 25, |world| {
            world.nodes.iter().all(|node| !node.opened().is_empty())
        });
        let other = world.nodes[1].opened()[0];
        (world, [handle, other])
    }

    /// Everything that a device has to do, until it waits.
    fn turn(&mut self, n: usize) {
        let mut out = [0; session::DATAGRAM_MAX];
        let now = self.now;
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "device {n} is busy at {now:?}");
            self.nodes[n].device.work(now);
            self.nodes[n].talk();
            loop {
                let node = &mut self.nodes[n];
                match node.device.poll(now, ROOM, &mut node.peer) {
                    DeviceOutput::Broker(command) => {
                        let at = now + TO_BROKER;
                        match command {
                            BrokerCommand::Open { id, .. } => {
                                node.online = Some(id.to_owned());
                                let open = String::from(r#"{"type":"OPEN"}"#);
                                for signal in [FromBroker::Opened, FromBroker::Message(open)] {
                                    self.signals.push(at, Signal::ToDevice(n, signal));
                                }
                            }
                            BrokerCommand::Send(text) => {
                                assert!(text.len() <= ROOM);
                                self.signals.push(at, Signal::Text(n, text.to_owned()));
                            }
                            BrokerCommand::Close => {
                                if let Some(id) = node.online.take() {
                                    self.signals.push(at, Signal::Leaves(id));
                                }
                            }
                            BrokerCommand::RetrieveId => panic!("it has an id"),
                        }
                    }
                    DeviceOutput::Event(event) => {
                        node.events.push(event);
                        node.listen(event);
                        node.talk();
                    }
                    DeviceOutput::Timeout(at) => {
                        node.timeout = at;
                        break;
                    }
                }
            }
            while let Some(it) = self.nodes[n].device.transmit(now, &mut out) {
                let from = self.nodes[n].address;
                self.send(from, it.destination, &out[..it.len]);
            }
            let node = &self.nodes[n];
            if node.device.timeout().is_none_or(|at| at > now) {
                break;
            }
        }
    }

    pub(crate) fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8]) {
        let datagram = || Datagram {
            from,
            to,
            packet: packet.to_vec(),
        };
        if let Some(recorded) = &mut self.recorded {
            recorded.push(datagram());
        }
        if self.random.chance(self.path.loss) {
            return;
        }
        for _ in 0..1 + usize::from(self.random.chance(self.path.double)) {
            let jitter = self.random.below(self.path.jitter.as_micros() as u64 + 1);
            let at = self.now + self.path.delay + Duration::from_micros(jitter);
            self.flights.push(at, datagram());
        }
    }

    fn arrive(&mut self, signal: Signal) {
        match signal {
            Signal::ToDevice(n, signal) => {
                // The engine may have to be polled between two of them.
                self.turn(n);
                let peer = &mut self.nodes[n].peer;
                let mut bytes;
                let input = match &signal {
                    FromBroker::Opened => BrokerInput::Opened,
                    FromBroker::Message(text) => {
                        bytes = text.clone().into_bytes();
                        BrokerInput::Message(&mut bytes)
                    }
                };
                let fed = peer.handle_input(self.now, Input::Broker(input));
                // It has no place for an offer while a session says its last words.
                if fed == Err(InputError::Full) {
                    let later = self.now + AGAIN;
                    self.signals.push(later, Signal::ToDevice(n, signal));
                }
            }
            Signal::Leaves(id) => self.broadcast(&id),
            Signal::Text(n, text) => {
                let mut message: serde_json::Value = serde_json::from_str(&text).unwrap();
                let from = self.nodes[n].online.clone();
                let (Some(to), Some(from), true) = (message["dst"].as_str(), from, self.relays)
                else {
                    return;
                };
                let to = self
                    .nodes
                    .iter()
                    .position(|it| it.online.as_deref() == Some(to));
                message["src"] = from.into();
                if let Some(to) = to {
                    self.tell(to, message.to_string());
                }
            }
        }
    }

    /// Has the broker say that to a device.
    pub(crate) fn tell(&mut self, to: usize, text: String) {
        let signal = Signal::ToDevice(to, FromBroker::Message(text));
        self.signals.push(self.now + TO_BROKER, signal);
    }

    fn broadcast(&mut self, id: &str) {
        for n in 0..self.nodes.len() {
            let text = format!(r#"{{"type":"LEAVE","src":"{id}"}}"#);
            self.tell(n, text);
        }
    }

    /// Goes on to the next thing that happens.
    pub(crate) fn step(&mut self) {
        for n in 0..self.nodes.len() {
            self.turn(n);
        }
        let timers = self.nodes.iter();
        let timers = timers.flat_map(|node| [node.timeout, node.device.timeout()]);
        let flights = [self.flights.next(), self.signals.next()];
        let next = timers.chain(flights).flatten().min();
        self.now = self.now.max(next.expect("a peer has a heartbeat"));
        while let Some(signal) = self.signals.pop(self.now) {
            self.arrive(signal);
        }
        while let Some(mut it) = self.flights.pop(self.now) {
            if let Some(node) = self.nodes.iter_mut().find(|node| node.address == it.to) {
                node.device.receive(self.now, it.from, &mut it.packet);
            }
        }
        for n in 0..self.nodes.len() {
            self.turn(n);
        }
    }

    /// Steps until the condition holds; panics if it does not within `limit`.
    #[track_caller]
    pub(crate) fn until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            self.step();
            let events: Vec<_> = self.nodes.iter().map(|node| &node.events).collect();
            assert!(self.now <= end, "not within {limit:?}: {events:#?}");
        }
    }

    /// Steps for a while, whatever happens.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }
}
