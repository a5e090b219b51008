//! The host at the other end of the cable: it ends the LAN's TCP connections and passes their bytes
//! on.

use core::net::SocketAddr;
use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
};

use peer_core::time::Instant;
use peer_sim::lan::{Server, ServerOptions, Treatment, Wire, WireId};
use smoltcp::{
    phy::Medium,
    wire::{IpAddress, IpCidr},
};

/// Where the LAN finds the broker.
pub(crate) const PORT: u16 = 9000;
/// Bytes of a server that wait for one connection.
const HELD_MAX: usize = 16_384;

/// What is behind one connection.
pub(crate) type Behind = Box<dyn FnMut(Instant, &mut Wire)>;

pub(crate) struct Router {
    pub(crate) server: Server,
    legs: BTreeMap<WireId, Behind>,
    behind: Box<dyn FnMut() -> Behind>,
}

impl Router {
    pub(crate) fn new(
        medium: Medium,
        mtu: usize,
        treatment: Treatment,
        behind: Box<dyn FnMut() -> Behind>,
    ) -> Self {
        let mut options = ServerOptions::new([192, 0, 2, 1]);
        let ipv6 = IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 1);
        options.addresses.push(IpCidr::new(ipv6, 64));
        options.medium = medium;
        options.mtu = mtu;
        options.port = PORT;
        options.treatment = treatment;
        Self {
            server: Server::new(options),
            legs: BTreeMap::new(),
            behind,
        }
    }

    pub(crate) fn turn(&mut self, now: Instant) {
        self.server.receive(now);
        for (id, wire) in self.server.wires() {
            let behind = self.legs.entry(id).or_insert_with(|| (self.behind)());
            behind(now, wire);
            if wire.gone {
                self.legs.remove(&id);
            }
        }
        self.server.send(now);
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
