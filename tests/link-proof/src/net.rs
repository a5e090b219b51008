//! `net`: the broker's socket opens over smoltcp, from a device that hears itself.

use peer_core::{
    PeerId,
    link::{Leaf, LeafConfig, LinkResources},
    net::{BrokerSocket, LinkSocket, SocketTiming, instant, timestamp},
    peer::{Config, Event, Output, Peer, PeerResources},
    time::{Duration, Instant},
    wire::http::{BrokerAddress, accept_key},
};
use smoltcp::{
    iface::{Config as IfaceConfig, Interface, SocketSet, SocketStorage},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp::{Socket, SocketBuffer},
    wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint},
};

const MTU: usize = 576;
const FRAMES: usize = 8;
const ADDRESS: IpAddress = IpAddress::v4(192, 0, 2, 7);

pub(crate) fn run() -> Option<()> {
    let device = fixed!(DEVICE: Loop = Loop {
        frames: [[0; MTU]; FRAMES],
        lens: [0; FRAMES],
        first: 0,
        count: 0,
    });
    let mut now = Instant::from_millis(5);
    let config = IfaceConfig::new(HardwareAddress::Ip);
    let mut iface = Interface::new(config, device, timestamp(now));
    iface.update_ip_addrs(|addresses| {
        let _ = addresses.push(IpCidr::new(ADDRESS, 24));
    });
    let mut storage = [SocketStorage::EMPTY; 3];
    let [a, b, c, d, e, f] = fixed!(BUFFERS: [[u8; 1024]; 6] = [[0; 1024]; 6]);
    let mut sockets = SocketSet::new(&mut storage[..]);
    let mut add = |receive, send| {
        sockets.add(Socket::new(
            SocketBuffer::new(receive),
            SocketBuffer::new(send),
        ))
    };
    let (client, server, gateway) = (
        add(&mut a[..], &mut b[..]),
        add(&mut c[..], &mut d[..]),
        add(&mut e[..], &mut f[..]),
    );
    sockets.get_mut::<Socket<'_>>(server).listen(9000).ok()?;

    let random: fn(&mut [u8]) = |bytes| bytes.fill(7);
    let target = BrokerAddress {
        host: "192.0.2.7",
        port: 9000,
        path: "/",
        key: "peerjs",
    };
    let message = fixed!(MESSAGE: [u8; 512] = [0; 512]);
    let timing = SocketTiming::default();
    let mut broker = BrokerSocket::new(ADDRESS, target, timing, message, random);
    let mut link = LinkSocket::new(IpEndpoint::new(ADDRESS, 1), timing, random);
    let memory = fixed!(LINK: LinkResources<2> = LinkResources::new());
    let config = LeafConfig::new("leaf", [7; 32], [1; 32]);
    let mut leaf = Leaf::new(config, memory.slices()).ok()?;
    let resources = fixed!(MEMORY: PeerResources<2> = PeerResources::new());
    let mut config = Config::new([7; 32]);
    config.id = Some(PeerId::new("alice").ok()?);
    let mut peer = Peer::new(config, resources);

    for _ in 0..100 {
        iface.poll(timestamp(now), device, &mut sockets);
        answer(sockets.get_mut::<Socket<'_>>(server));
        let socket = sockets.get_mut::<Socket<'_>>(gateway);
        link.poll(now, &mut iface, socket, &mut leaf, &mut peer);
        link.flush(now, socket, &mut leaf);
        let socket = sockets.get_mut::<Socket<'_>>(client);
        broker.poll(now, &mut iface, socket, &mut peer);
        loop {
            match broker.poll_output(socket, &mut peer) {
                Output::Broker(command) => broker.handle_command(now, socket, command),
                Output::Event(Event::Open) => {
                    let refused = link.last_error().is_some() && link.next_timeout().is_some();
                    return (broker.is_open() && refused).then_some(());
                }
                Output::Timeout(_) => break,
                _ => {}
            }
        }
        now = instant(timestamp(now + Duration::from_millis(1)));
    }
    None
}

/// What a broker says to an upgrade.
fn answer(socket: &mut Socket<'_>) {
    let asked = socket.recv(|bytes| {
        let asked = bytes.ends_with(b"\r\n\r\n");
        (if asked { bytes.len() } else { 0 }, asked)
    });
    if asked != Ok(true) {
        return;
    }
    for piece in [
        b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: ",
        &accept_key(&[7; 16])[..],
        b"\r\n\r\n\x81\x0f{\"type\":\"OPEN\"}",
    ] {
        let _ = socket.send_slice(piece);
    }
}

/// Whatever is sent comes back.
struct Loop {
    frames: [[u8; MTU]; FRAMES],
    lens: [usize; FRAMES],
    first: usize,
    count: usize,
}

impl Device for Loop {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Frame, Room<'_>)> {
        self.count = self.count.checked_sub(1)?;
        let frame = Frame(*self.frames.get(self.first)?, *self.lens.get(self.first)?);
        self.first = (self.first + 1) % FRAMES;
        Some((frame, Room(self)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Room<'_>> {
        (self.count < FRAMES).then_some(Room(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

struct Frame([u8; MTU], usize);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0.get(..self.1).unwrap_or_default())
    }
}

struct Room<'a>(&'a mut Loop);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, give: F) -> R {
        let at = (self.0.first + self.0.count) % FRAMES;
        self.0.count += 1;
        self.0.lens[at] = len;
        give(&mut self.0.frames[at][..len])
    }
}
