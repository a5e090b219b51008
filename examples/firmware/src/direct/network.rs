//! The network: the Ethernet chip under smoltcp, the broker's socket and the UDP socket on it.

use core::net::SocketAddr;

use peer_core::{
    net::{BrokerAddress, BrokerSocket, SocketTiming, instant, timestamp},
    peer::{BrokerCommand, Peer},
    time::Instant,
};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage},
    socket::{tcp, udp},
    wire::{EthernetAddress, IpAddress, IpCidr, IpEndpoint},
};

use crate::{
    board,
    lan9118::{Lan9118, MAC_LEN},
    settings::{Settings, UDP_PORT},
};

/// Locally administered. A real device has its own.
const MAC: [u8; MAC_LEN] = [2, 0, 0, 0, 0, 1];

/// Datagrams that wait for the main loop, and for the chip; and bytes of these.
const DATAGRAMS: usize = 8;
const UDP_RECEIVED: usize = 6_000;
const UDP_TO_SEND: usize = 3_000;
/// Of the broker's connection; a message of it has at most [`MESSAGE`] bytes.
const TCP_RECEIVED: usize = 1_024;
const TCP_TO_SEND: usize = 1_536;
const MESSAGE: usize = 2_048;

type Random = fn(&mut [u8]);

/// What smoltcp keeps of sockets. Not all zero at the start, so it is apart: a static of it would
/// cost flash.
pub struct Sockets<'m> {
    storage: [SocketStorage<'m>; 2],
    heads: [[udp::PacketMetadata; DATAGRAMS]; 2],
}

impl Sockets<'_> {
    pub const fn new() -> Self {
        Self {
            storage: [SocketStorage::EMPTY; 2],
            heads: [[udp::PacketMetadata::EMPTY; DATAGRAMS]; 2],
        }
    }
}

/// All other memory of the network.
pub struct NetworkMemory {
    chip: Lan9118,
    udp_received: [u8; UDP_RECEIVED],
    udp_to_send: [u8; UDP_TO_SEND],
    tcp_received: [u8; TCP_RECEIVED],
    tcp_to_send: [u8; TCP_TO_SEND],
    message: [u8; MESSAGE],
}

impl NetworkMemory {
    pub const fn new() -> Self {
        Self {
            chip: Lan9118::new(),
            udp_received: [0; UDP_RECEIVED],
            udp_to_send: [0; UDP_TO_SEND],
            tcp_received: [0; TCP_RECEIVED],
            tcp_to_send: [0; TCP_TO_SEND],
            message: [0; MESSAGE],
        }
    }
}

pub struct Network<'m> {
    chip: &'m mut Lan9118,
    iface: Interface,
    sockets: SocketSet<'m>,
    udp: SocketHandle,
    tcp: SocketHandle,
    broker: BrokerSocket<'m, Random>,
}

impl<'m> Network<'m> {
    /// Starts the chip. `None`: there is none.
    pub fn start(
        settings: &Settings,
        memory: &'m mut NetworkMemory,
        Sockets { storage, heads }: &'m mut Sockets<'m>,
        now: Instant,
    ) -> Option<Self> {
        let chip = &mut memory.chip;
        chip.start(MAC)?;
        let mut seed = [0; 8];
        random(&mut seed);
        let mut config = Config::new(EthernetAddress(MAC).into());
        config.random_seed = u64::from_be_bytes(seed);
        let mut iface = Interface::new(config, chip, timestamp(now));
        let address = IpCidr::new(settings.address.into(), settings.prefix_len);
        iface.update_ip_addrs(|all| {
            // There is room for one.
            let _ = all.push(address);
        });
        let _ = iface.routes_mut().add_default_ipv4_route(settings.router);

        let [received, to_send] = heads;
        let mut socket = udp::Socket::new(
            udp::PacketBuffer::new(&mut received[..], &mut memory.udp_received[..]),
            udp::PacketBuffer::new(&mut to_send[..], &mut memory.udp_to_send[..]),
        );
        // A port that is not 0, of a socket that is not open: it is bound.
        let _ = socket.bind(UDP_PORT);
        let mut sockets = SocketSet::new(&mut storage[..]);
        let udp = sockets.add(socket);
        let tcp = sockets.add(tcp::Socket::new(
            tcp::SocketBuffer::new(&mut memory.tcp_received[..]),
            tcp::SocketBuffer::new(&mut memory.tcp_to_send[..]),
        ));
        let server = BrokerAddress {
            host: "broker",
            port: settings.broker.port(),
            path: "/",
            key: "peerjs",
        };
        let address = IpAddress::from(*settings.broker.ip());
        let timing = SocketTiming::default();
        let broker = BrokerSocket::new(
            address,
            server,
            timing,
            &mut memory.message,
            random as Random,
        );
        Some(Self {
            chip,
            iface,
            sockets,
            udp,
            tcp,
            broker,
        })
    }
}

impl Network<'_> {
    /// Moves frames between the chip and the sockets, and tells the engine of its broker.
    pub fn poll(&mut self, now: Instant, peer: &mut Peer<'_>) {
        self.iface
            .poll(timestamp(now), self.chip, &mut self.sockets);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        self.broker.poll(now, &mut self.iface, socket, peer);
    }

    /// The next datagram that came. One that is longer than `out` is dropped.
    pub fn receive<'d>(&mut self, out: &'d mut [u8]) -> Option<(SocketAddr, &'d mut [u8])> {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.udp);
        loop {
            let (datagram, about) = socket.recv().ok()?;
            let from = about.endpoint;
            if let Some(place) = out.get_mut(..datagram.len()) {
                place.copy_from_slice(datagram);
                let (ip, len) = (from.addr.into(), datagram.len());
                return Some((SocketAddr::new(ip, from.port), &mut out[..len]));
            }
        }
    }

    /// Whether a datagram of any length can be sent.
    pub fn can_send(&mut self) -> bool {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.udp);
        socket.can_send() && socket.send_queue() == 0
    }

    /// Sends a datagram, or not: then its sender does so again.
    pub fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.udp);
        let _ = socket.send_slice(datagram, IpEndpoint::from(to));
    }

    /// Bytes of a command for the broker that can be carried out now.
    pub fn broker_room(&self) -> usize {
        self.broker
            .room(self.sockets.get::<tcp::Socket<'_>>(self.tcp))
    }

    pub fn command(&mut self, now: Instant, command: BrokerCommand<'_>) {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        self.broker.handle_command(now, socket, command);
    }

    /// When to poll again though nothing comes.
    pub fn timeout(&mut self, now: Instant) -> Option<Instant> {
        let of_smoltcp = self.iface.poll_at(timestamp(now), &self.sockets);
        let of_smoltcp = of_smoltcp.map(instant);
        [of_smoltcp, self.broker.timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sockets to the broker that failed so far.
    pub fn failures(&self) -> u32 {
        self.broker.failures()
    }
}

/// For ports, masks and nonces. Without randomness nothing goes on.
fn random(out: &mut [u8]) {
    if !board::fill_random(out) {
        board::stop();
    }
}
