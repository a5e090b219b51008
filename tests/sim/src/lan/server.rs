//! A machine on the LAN that listens at one TCP port.

use core::fmt;

use peer_core::net::{instant, timestamp};
use peer_core::time::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::Medium;
use smoltcp::socket::tcp::{self, State};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use super::Port;

/// Bytes held for one direction of one connection; TCP's window closes then.
const HELD_MAX: usize = 16_384;
/// A socket's send buffer.
const SEND_BUFFER: usize = 4_096;

/// What a [`Server`] is made with.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Its addresses.
    pub addresses: Vec<IpCidr>,
    /// What its network card is attached to. Default: Ethernet.
    pub medium: Medium,
    /// The longest IP packet. Default: 1,500.
    pub mtu: usize,
    /// The last three bytes of its hardware address. Default: 1.
    pub hardware: u32,
    /// Where it listens. Default: 9000.
    pub port: u16,
    /// Connections at once. Default: 4.
    pub connections: usize,
    /// How it treats the bytes.
    pub treatment: Treatment,
    /// TCP's sequence numbers come from it.
    pub seed: u64,
}

impl ServerOptions {
    /// A machine of this address in a network of 256, with the defaults above.
    pub fn new(address: [u8; 4]) -> Self {
        let [a, b, c, d] = address;
        Self {
            addresses: vec![IpCidr::new(IpAddress::v4(a, b, c, d), 24)],
            medium: Medium::Ethernet,
            mtu: 1_500,
            hardware: 1,
            port: 9_000,
            connections: 4,
            treatment: Treatment::default(),
            seed: 1,
        }
    }
}

/// How a [`Server`] treats the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Treatment {
    /// The receive buffer of its sockets, which is the other end's send window.
    pub window: usize,
    /// The most bytes it takes from and gives to a connection in one turn.
    pub bite: usize,
    /// It reads nothing, so that the other end's window closes.
    pub paused: bool,
}

impl Default for Treatment {
    fn default() -> Self {
        Self {
            window: 4_096,
            bite: usize::MAX,
            paused: false,
        }
    }
}

/// Names a connection of a [`Server`]: its number since the start, from 1.
pub type WireId = usize;

/// The bytes of one connection, in and out.
#[derive(Debug, Default)]
pub struct Wire {
    /// What has come and nobody took.
    pub received: Vec<u8>,
    /// What is to be sent.
    pub send: Vec<u8>,
    /// Nothing more is to be sent.
    pub close: bool,
    /// To be reset.
    pub reset: bool,
    /// The other end has closed its half.
    pub finished: bool,
    /// The connection is over. This is the last time that it is seen.
    pub gone: bool,
}

/// A machine that ends TCP connections. One turn is [`receive`](Self::receive), something with each
/// of [`wires`](Self::wires), then [`send`](Self::send).
pub struct Server {
    /// Its network card.
    pub port: Port,
    iface: Interface,
    sockets: SocketSet<'static>,
    legs: Vec<Leg>,
    tcp_port: u16,
    /// How it treats the bytes.
    pub treatment: Treatment,
    /// Connections so far.
    pub accepted: usize,
    /// Whether it listens.
    pub listening: bool,
    /// Bytes moved in the last turn, so more may be to do at once.
    pub busy: bool,
}

struct Leg {
    handle: SocketHandle,
    wire: Option<(WireId, Wire)>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("accepted", &self.accepted)
            .field("listening", &self.listening)
            .finish_non_exhaustive()
    }
}

/// A hardware address for the medium.
pub fn hardware_address(medium: Medium, last: u32) -> HardwareAddress {
    let [_, a, b, c] = last.to_be_bytes();
    match medium {
        Medium::Ethernet => EthernetAddress([2, 0, 0, a, b, c]).into(),
        _ => HardwareAddress::Ip,
    }
}

impl Server {
    /// A machine that listens.
    pub fn new(options: ServerOptions) -> Self {
        let mut port = Port::new(options.medium, options.mtu);
        let mut config = Config::new(hardware_address(options.medium, options.hardware));
        config.random_seed = options.seed;
        let mut iface = Interface::new(config, &mut port, timestamp(Instant::ZERO));
        iface.update_ip_addrs(|addresses| {
            for address in options.addresses {
                addresses
                    .push(address)
                    .expect("a machine has few addresses");
            }
        });
        let mut sockets = SocketSet::new(Vec::new());
        let legs = (0..options.connections)
            .map(|_| Leg {
                handle: sockets.add(socket(options.treatment.window)),
                wire: None,
            })
            .collect();
        Self {
            port,
            iface,
            sockets,
            legs,
            tcp_port: options.port,
            treatment: options.treatment,
            accepted: 0,
            listening: true,
            busy: false,
        }
    }

    /// Takes what has come into the wires.
    pub fn receive(&mut self, now: Instant) {
        self.iface
            .poll(timestamp(now), &mut self.port, &mut self.sockets);
        self.busy = false;
        for leg in &mut self.legs {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(leg.handle);
            let state = socket.state();
            let is_gone = state == State::Closed && socket.remote_endpoint().is_none();
            if is_gone || state == State::TimeWait {
                match &mut leg.wire {
                    Some((_, wire)) => {
                        wire.finished = true;
                        wire.gone = true;
                    }
                    None => listen(socket, self.listening, self.tcp_port),
                }
                continue;
            }
            match state {
                State::Listen if !self.listening => {
                    socket.abort();
                    continue;
                }
                State::Closed | State::Listen | State::SynReceived => continue,
                _ => {}
            }
            let (_, wire) = leg.wire.get_or_insert_with(|| {
                self.accepted += 1;
                (self.accepted, Wire::default())
            });
            let mut left = self.treatment.bite;
            while socket.can_recv()
                && left > 0
                && wire.received.len() < HELD_MAX
                && !self.treatment.paused
            {
                let taken = socket.recv(|bytes| {
                    let len = bytes.len().min(left);
                    wire.received.extend_from_slice(&bytes[..len]);
                    (len, len)
                });
                left -= taken.unwrap_or(left);
                self.busy = true;
            }
            wire.finished = !socket.may_recv();
        }
    }

    /// The connections there are, in the order of their sockets.
    pub fn wires(&mut self) -> impl Iterator<Item = (WireId, &mut Wire)> {
        self.legs
            .iter_mut()
            .filter_map(|leg| leg.wire.as_mut().map(|(id, wire)| (*id, wire)))
    }

    /// Sends what the wires say.
    pub fn send(&mut self, now: Instant) {
        for leg in &mut self.legs {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(leg.handle);
            let Some((_, wire)) = &mut leg.wire else {
                continue;
            };
            if wire.gone {
                leg.wire = None;
                listen(socket, self.listening, self.tcp_port);
                continue;
            }
            if wire.reset {
                socket.abort();
                continue;
            }
            let piece = wire.send.len().min(self.treatment.bite);
            if socket.may_send() {
                let len = socket.send_slice(&wire.send[..piece]).unwrap_or(0);
                wire.send.drain(..len);
                self.busy |= len > 0;
            }
            if wire.close && wire.send.is_empty() {
                socket.close();
            }
        }
        self.iface
            .poll(timestamp(now), &mut self.port, &mut self.sockets);
    }

    /// Listens with more sockets.
    pub fn grow(&mut self, by: usize) {
        for _ in 0..by {
            let handle = self.sockets.add(socket(self.treatment.window));
            self.legs.push(Leg { handle, wire: None });
        }
    }

    /// Forgets the connections with this address, without a word to it: which ones.
    pub fn forget(&mut self, remote: impl Into<IpAddress>) -> Vec<WireId> {
        let remote = remote.into();
        let mut forgotten = Vec::new();
        for leg in &mut self.legs {
            let old = self.sockets.get::<tcp::Socket<'_>>(leg.handle);
            if old.remote_endpoint().is_none_or(|end| end.addr != remote) {
                continue;
            }
            self.sockets.remove(leg.handle);
            leg.handle = self.sockets.add(socket(self.treatment.window));
            forgotten.extend(leg.wire.take().map(|(id, _)| id));
        }
        forgotten
    }

    /// Resets every connection.
    pub fn cut(&mut self) {
        for leg in &self.legs {
            self.sockets.get_mut::<tcp::Socket<'_>>(leg.handle).abort();
        }
    }

    /// When smoltcp wants its next turn.
    pub fn next_timeout(&mut self, now: Instant) -> Option<Instant> {
        self.iface
            .poll_at(timestamp(now), &self.sockets)
            .map(instant)
    }
}

fn socket(window: usize) -> tcp::Socket<'static> {
    tcp::Socket::new(
        tcp::SocketBuffer::new(vec![0; window]),
        tcp::SocketBuffer::new(vec![0; SEND_BUFFER]),
    )
}

/// Makes a socket whose connection is over ready for the next one.
fn listen(socket: &mut tcp::Socket<'_>, listening: bool, port: u16) {
    socket.abort();
    if listening {
        socket
            .listen(port)
            .expect("a socket that is closed can listen");
    }
}
