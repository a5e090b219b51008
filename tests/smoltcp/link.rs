//! A link over TCP: the leaf on the device, its gateway behind the router.

use core::{cell::RefCell, time::Duration};
use std::rc::Rc;

use peer_core::{
    PeerId,
    link::{
        Gateway, GatewayOutput, Key, Leaf, LeafConfig, LeafKeys, LeafOutput, LinkError,
        LinkResources, Timing,
    },
    net::{self, LinkSocket, SocketError, timestamp},
    peer::{BrokerCommand, BrokerInput, Config, Event, Input, Peer, PeerResources},
    time::Instant,
};
use peer_sim::lan::{Port, Treatment, Wire, carry, hardware_address};
use smoltcp::{
    iface::{Interface, SocketSet},
    phy::Medium,
    socket::tcp,
    wire::{IpAddress, IpCidr, IpEndpoint},
};

use crate::router::{Behind, PORT, Router};

struct Keys(Key);

impl LeafKeys for Keys {
    fn key(&self, leaf: &str) -> Option<&Key> {
        (leaf == "greenhouse").then_some(&self.0)
    }

    fn allows_id(&self, _: &str, id: &str) -> bool {
        id == "sensor-7"
    }
}

/// A gateway whose broker says OPEN, one after the other connection.
fn gateway(opens: &Rc<RefCell<usize>>, wires: &Rc<RefCell<usize>>) -> Box<dyn FnMut() -> Behind> {
    let (opens, wires) = (opens.clone(), wires.clone());
    Box::new(move || {
        *wires.borrow_mut() += 1;
        let number = *wires.borrow() as u8;
        let opens = opens.clone();
        let keys = Keys(Key::new([7; 32]));
        let memory: &'static mut LinkResources<2> = Box::leak(Box::new(LinkResources::new()));
        let slices = memory.slices();
        let mut gateway = Gateway::new(Timing::default(), [number; 32], slices).unwrap();
        Box::new(move |now, wire: &mut Wire| {
            gateway.receive(now, &wire.received, &keys);
            wire.received.clear();
            loop {
                let open = match gateway.poll_output(now, &keys) {
                    GatewayOutput::Timeout(_) => break,
                    GatewayOutput::Broker(BrokerCommand::Open { id, .. }) => id == "sensor-7",
                    _ => false,
                };
                if open {
                    *opens.borrow_mut() += 1;
                    let mut message = *br#"{"type":"OPEN"}"#;
                    for input in [BrokerInput::Opened, BrokerInput::Message(&mut message)] {
                        gateway.handle_input(&Input::Broker(input)).unwrap();
                    }
                }
            }
            let mut piece = [0; 256];
            while wire.send.len() < 4096 {
                match gateway.transmit(now, &mut piece) {
                    0 => break,
                    len => wire.send.extend_from_slice(&piece[..len]),
                }
            }
            wire.close |= wire.finished;
        })
    })
}

#[test]
fn a_leaf_comes_up_and_comes_back() {
    for (ipv6, bite, buffer) in [(false, usize::MAX, 1024), (true, 5, 64), (false, 1, 16)] {
        let (opens, wires) = (Rc::default(), Rc::default());
        let treatment = Treatment {
            bite,
            window: buffer,
            paused: false,
        };
        let mut device = Port::new(Medium::Ethernet, 1500);
        let behind = gateway(&opens, &wires);
        let mut router = Router::new(Medium::Ethernet, 1500, treatment, behind);
        let mut config = smoltcp::iface::Config::new(hardware_address(Medium::Ethernet, 7));
        config.random_seed = 7;
        let mut iface = Interface::new(config, &mut device, timestamp(Instant::ZERO));
        let (own, remote, prefix) = match ipv6 {
            true => {
                let address = |last| IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, last);
                (address(7), address(1), 64)
            }
            false => {
                let address = |last| IpAddress::v4(192, 0, 2, last);
                (address(7), address(1), 24)
            }
        };
        iface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(own, prefix)).unwrap());
        let mut sockets = SocketSet::new(Vec::new());
        let tcp = sockets.add(tcp::Socket::new(
            tcp::SocketBuffer::new(vec![0; buffer]),
            tcp::SocketBuffer::new(vec![0; buffer]),
        ));
        let random: fn(&mut [u8]) = |bytes| bytes.fill(9);
        let remote = IpEndpoint::new(remote, PORT);
        let mut link = LinkSocket::new(remote, net::SocketTiming::default(), random);

        let mut memory: LinkResources<2> = LinkResources::new();
        let config = LeafConfig::new("greenhouse", [7; 32], [1; 32]);
        let mut leaf = Leaf::new(config, memory.slices()).unwrap();
        let mut resources: PeerResources<2> = PeerResources::new();
        let mut config = Config::new([7; 32]);
        config.id = Some(PeerId::new("sensor-7").unwrap());
        let mut peer = Peer::new(config, &mut resources);

        let (mut now, mut outputs) = (Instant::from_millis(1), Vec::new());
        let mut cut = false;
        loop {
            iface.poll(timestamp(now), &mut device, &mut sockets);
            let socket = sockets.get_mut::<tcp::Socket<'_>>(tcp);
            link.poll(now, &mut iface, socket, &mut leaf, &mut peer);
            let timeout = loop {
                match leaf.poll(now, &mut peer) {
                    LeafOutput::Timeout(at) => break at,
                    output => outputs.push(output),
                }
            };
            link.flush(now, socket, &mut leaf);
            iface.poll(timestamp(now), &mut device, &mut sockets);
            carry(&mut device, &mut router.server.port);
            router.turn(now);
            carry(&mut device, &mut router.server.port);

            let ups = outputs
                .iter()
                .filter(|output| **output == LeafOutput::Up)
                .count();
            let open = outputs
                .iter()
                .filter(|output| **output == LeafOutput::Event(Event::Open));
            match (ups, open.count(), cut) {
                (1, 1, false) => {
                    // The gateway's machine goes for a while.
                    router.server.listening = false;
                    router.server.cut();
                    cut = true;
                }
                (1, 1, true) if link.last_error() == Some(SocketError::Refused) => {
                    router.server.listening = true;
                }
                (2, ..) => {
                    let _ = peer.reconnect(now);
                    if *opens.borrow() == 2 {
                        break;
                    }
                }
                _ => {}
            }
            assert!(
                now < Instant::from_millis(600_000),
                "{outputs:?}, {:?}",
                link.last_error()
            );
            let next = timeout
                .into_iter()
                .chain(link.next_timeout())
                .chain(iface.poll_at(timestamp(now), &sockets).map(net::instant))
                .chain(router.server.next_timeout(now))
                .min();
            now = now + Duration::from_micros(100);
            if let (true, Some(next)) = (device.is_quiet() && !router.server.busy, next) {
                now = now.max(next);
            }
        }
        assert!(outputs.contains(&LeafOutput::Down(LinkError::Closed)));
        assert!(*wires.borrow() == 2 && link.is_open() && leaf.is_up());
        assert_eq!(leaf.stats().garbage, 0);
    }
}
