//! The host at the other end of the cable: it ends the LAN's TCP connections and passes their bytes on.

use core::net::SocketAddr;
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
};

use peer_core::{net::timestamp, time::Instant};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::Medium,
    socket::tcp::{self, State},
    wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr},
};

use crate::cable::End;

/// Where the LAN finds the broker.
pub(crate) const PORT: u16 = 9000;
/// Connections at once.
const LEGS: usize = 4;
/// Bytes held for one direction of one connection.
const HELD_MAX: usize = 16_384;

/// The bytes of one connection, in and out.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) received: Vec<u8>,
    pub(crate) send: Vec<u8>,
    /// Nothing more is to be sent.
    pub(crate) close: bool,
    /// To be reset.
    pub(crate) reset: bool,
    /// The device has closed its half.
    pub(crate) finished: bool,
}

/// What is behind one connection.
pub(crate) type Behind = Box<dyn FnMut(Instant, &mut Wire)>;

/// How the router treats the bytes.
#[derive(Clone, Copy)]
pub(crate) struct Treatment {
    /// The receive buffer of its sockets, which is the device's send window.
    pub(crate) window: usize,
    /// The most bytes it takes and gives a connection in one turn.
    pub(crate) bite: usize,
    /// It reads nothing, so that the device's window closes.
    pub(crate) paused: bool,
}

impl Default for Treatment {
    fn default() -> Self {
        Self {
            window: 4096,
            bite: usize::MAX,
            paused: false,
        }
    }
}

pub(crate) struct Router {
    pub(crate) device: End,
    iface: Interface,
    sockets: SocketSet<'static>,
    legs: Vec<Leg>,
    behind: Box<dyn FnMut() -> Behind>,
    pub(crate) treatment: Treatment,
    /// Connections so far.
    pub(crate) accepted: usize,
    /// Whether it listens.
    pub(crate) listening: bool,
    /// Bytes moved in the last turn, so more may be to do at once.
    pub(crate) busy: bool,
}

struct Leg {
    handle: SocketHandle,
    active: Option<(Wire, Behind)>,
}

/// A hardware address for the medium.
pub(crate) fn hardware_address(medium: Medium, last: u8) -> HardwareAddress {
    match medium {
        Medium::Ethernet => EthernetAddress([2, 0, 0, 0, 0, last]).into(),
        _ => HardwareAddress::Ip,
    }
}

impl Router {
    pub(crate) fn new(
        mut device: End,
        medium: Medium,
        treatment: Treatment,
        behind: Box<dyn FnMut() -> Behind>,
    ) -> Self {
        let mut config = Config::new(hardware_address(medium, 1));
        config.random_seed = 1;
        let mut iface = Interface::new(config, &mut device, timestamp(Instant::ZERO));
        iface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(IpAddress::v4(192, 0, 2, 1), 24))
                .unwrap();
            addresses
                .push(IpCidr::new(IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 1), 64))
                .unwrap();
        });
        let mut sockets = SocketSet::new(Vec::new());
        let legs = (0..LEGS)
            .map(|_| Leg {
                handle: sockets.add(tcp::Socket::new(
                    tcp::SocketBuffer::new(vec![0; treatment.window]),
                    tcp::SocketBuffer::new(vec![0; 4096]),
                )),
                active: None,
            })
            .collect();
        Self {
            device,
            iface,
            sockets,
            legs,
            behind,
            treatment,
            accepted: 0,
            listening: true,
            busy: false,
        }
    }

    pub(crate) fn turn(&mut self, now: Instant) {
        self.iface
            .poll(timestamp(now), &mut self.device, &mut self.sockets);
        self.busy = false;
        for leg in &mut self.legs {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(leg.handle);
            let gone = socket.state() == State::Closed && socket.remote_endpoint().is_none();
            if gone || socket.state() == State::TimeWait {
                if let Some((mut wire, mut behind)) = leg.active.take() {
                    wire.finished = true;
                    behind(now, &mut wire);
                }
                socket.abort();
                if self.listening {
                    socket.listen(PORT).unwrap();
                }
                continue;
            }
            match socket.state() {
                State::Listen if !self.listening => {
                    socket.abort();
                    continue;
                }
                State::Closed | State::Listen | State::SynReceived => continue,
                _ => {}
            }
            let (wire, behind) = leg.active.get_or_insert_with(|| {
                self.accepted += 1;
                (Wire::default(), (self.behind)())
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
                left -= taken.unwrap();
                self.busy = true;
            }
            wire.finished = !socket.may_recv();
            behind(now, wire);
            if wire.reset {
                socket.abort();
                continue;
            }
            let piece = wire.send.len().min(self.treatment.bite);
            if socket.may_send() {
                let len = socket.send_slice(&wire.send[..piece]).unwrap();
                wire.send.drain(..len);
                self.busy |= len > 0;
            }
            if wire.close && wire.send.is_empty() {
                socket.close();
            }
        }
        self.iface
            .poll(timestamp(now), &mut self.device, &mut self.sockets);
    }

    /// Resets every connection.
    pub(crate) fn cut(&mut self) {
        for leg in &self.legs {
            self.sockets.get_mut::<tcp::Socket<'_>>(leg.handle).abort();
        }
    }

    pub(crate) fn next_timeout(&mut self, now: Instant) -> Option<Instant> {
        self.iface
            .poll_at(timestamp(now), &self.sockets)
            .map(peer_core::net::instant)
    }
}

/// A real server behind the router: the forwarder.
pub(crate) fn forward(server: SocketAddr) -> Box<dyn FnMut() -> Behind> {
    Box::new(move || {
        let stream = TcpStream::connect(server).and_then(|stream| {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        let mut shut = false;
        Box::new(move |_, wire| {
            let Ok(mut stream) = stream.as_ref() else {
                wire.reset = true;
                return;
            };
            while !wire.received.is_empty() {
                match stream.write(&wire.received) {
                    Ok(len) => drop(wire.received.drain(..len)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => {
                        wire.reset = true;
                        return;
                    }
                }
            }
            if wire.finished && wire.received.is_empty() && !shut {
                shut = true;
                let _ = stream.shutdown(Shutdown::Write);
            }
            let mut piece = [0; 2048];
            while wire.send.len() < HELD_MAX && !wire.close {
                match stream.read(&mut piece) {
                    Ok(0) => wire.close = true,
                    Ok(len) => wire.send.extend_from_slice(&piece[..len]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => {
                        wire.reset = true;
                        return;
                    }
                }
            }
        })
    })
}
