//! Sockets over smoltcp's TCP: the broker's, and with the feature `link` the link's.
//!
//! Both are state machines without an executor: the program owns the
//! [`Interface`](smoltcp::iface::Interface), the device, the sockets and the clock, and calls them
//! once a turn. They neither allocate nor wait. smoltcp's types are named nowhere else in this
//! crate; the program depends on the same smoltcp, 0.14, and chooses its own features of it.
//!
//! # The whole loop
//! What firmware needs with an Ethernet or IP device, its clock and a generator of random bytes:
//!
//! ```
//! use peer_core::{PeerId, time::Instant};
//! use peer_core::net::{BrokerAddress, BrokerSocket, SocketTiming, timestamp};
//! use peer_core::peer::{Config, ConnectionHandle, Event, Output, Peer, PeerResources, RtcCommand};
//! use smoltcp::iface::{Config as IfaceConfig, Interface, SocketSet, SocketStorage};
//! use smoltcp::phy::Device;
//! use smoltcp::socket::tcp;
//! use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
//!
//! fn run<D: Device>(
//!     device: &mut D,
//!     clock: impl Fn() -> Instant,
//!     wait_until: impl Fn(Option<Instant>), // or until the device has something
//!     random: fn(&mut [u8]),
//!     mut rtc: impl FnMut(ConnectionHandle, RtcCommand<'_>),
//!     mut application: impl FnMut(&mut Peer<'_>, Event),
//! ) {
//!     // In firmware these are statics.
//!     let mut sockets = [SocketStorage::EMPTY; 1];
//!     let (mut received, mut to_send, mut message) = ([0; 1024], [0; 4096], [0; 2048]);
//!     let mut resources: PeerResources<4> = PeerResources::new();
//!
//!     let (mut seed, mut secret) = ([0; 8], [0; 32]);
//!     random(&mut seed);
//!     random(&mut secret);
//!     let mut config = IfaceConfig::new(EthernetAddress([2, 0, 0, 0, 0, 7]).into());
//!     config.random_seed = u64::from_be_bytes(seed);
//!     let mut iface = Interface::new(config, device, timestamp(clock()));
//!     iface.update_ip_addrs(|addresses| {
//!         let _ = addresses.push(IpCidr::new(IpAddress::v4(192, 0, 2, 7), 24));
//!     });
//!     let mut sockets = SocketSet::new(&mut sockets[..]);
//!     let tcp = sockets.add(tcp::Socket::new(
//!         tcp::SocketBuffer::new(&mut received[..]),
//!         tcp::SocketBuffer::new(&mut to_send[..]),
//!     ));
//!     let server = BrokerAddress { host: "192.0.2.1", port: 9000, path: "/", key: "peerjs" };
//!     let (address, timing) = (IpAddress::v4(192, 0, 2, 1), SocketTiming::default());
//!     let mut broker = BrokerSocket::new(address, server, timing, &mut message, random);
//!     let mut config = Config::new(secret);
//!     config.id = PeerId::new("sensor-7").ok();
//!     let mut peer = Peer::new(config, &mut resources);
//!
//!     while peer.state() != peer_core::peer::PeerState::Destroyed {
//!         let now = clock();
//!         iface.poll(timestamp(now), device, &mut sockets);
//!         let socket = sockets.get_mut::<tcp::Socket<'_>>(tcp);
//!         broker.poll(now, &mut iface, socket, &mut peer);
//!         let timeout = loop {
//!             match broker.poll_output(socket, &mut peer) {
//!                 Output::Broker(command) => broker.handle_command(now, socket, command),
//!                 Output::Rtc(handle, command) => rtc(handle, command),
//!                 Output::Event(event) => application(&mut peer, event),
//!                 Output::Timeout(at) => break at,
//!             }
//!         };
//!         let of_smoltcp = iface.poll_at(timestamp(now), &sockets).map(peer_core::net::instant);
//!         wait_until(timeout.into_iter().chain(of_smoltcp).min());
//!     }
//! }
//! ```
//!
//! # smoltcp's own limits
//! They are set when it is built, through its features or `SMOLTCP_*` in the environment.
//!
//! - A device needs the neighbour of its broker, or the router to it, in the neighbour cache: 8
//!   entries (`IFACE_NEIGHBOR_CACHE_COUNT`) do. Simulated LANs with more machines raise it, or
//!   entries push each other out.
//! - A broker in another network needs a route: `iface.routes_mut()`. Two are held
//!   (`IFACE_MAX_ROUTE_COUNT`).
//! - DHCP, SLAAC and names are the program's: smoltcp has sockets for them. Without an address a
//!   connect fails as [`SocketError::Unaddressable`] and is tried again after a pause.
//! - TLS there is none. Use a broker in the own network, or a [`link`](crate#layers) to a gateway
//!   that speaks TLS.

mod backoff;
mod broker_socket;
mod config;
mod error;
mod frames;
#[cfg(feature = "link")]
mod link_socket;
mod response;
mod stream;

pub use broker_socket::BrokerSocket;
pub use config::SocketTiming;
pub use error::SocketError;
#[cfg(feature = "link")]
pub use link_socket::LinkSocket;

#[doc(inline)]
pub use crate::wire::http::BrokerAddress;

use crate::time::Instant;

/// The time as smoltcp wants it. Saturates.
pub fn timestamp(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// The time as smoltcp tells it. One before the epoch is the epoch.
pub fn instant(timestamp: smoltcp::time::Instant) -> Instant {
    Instant::from_micros(u64::try_from(timestamp.total_micros()).unwrap_or(0))
}
