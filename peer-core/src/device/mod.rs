//! A whole peer on one machine: the engine's sessions over one UDP socket, without a gateway.
//!
//! A [`Device`] carries out what the engine wants of WebRTC with sessions of [`rtc`](crate::rtc),
//! in memory that is fixed when the program is built. It performs no I/O: the program owns the UDP
//! socket, the broker's socket (over smoltcp a `net::BrokerSocket`) and the clock.
//!
//! # The loop
//! 1. [`set_addresses`](Device::set_addresses) tells where the socket is; again when that changes.
//! 2. [`receive`](Device::receive) each datagram that came.
//! 3. [`work`](Device::work): one step of a handshake's long arithmetic, if there is any.
//! 4. [`poll`](Device::poll) until it says [`DeviceOutput::Timeout`]; between two calls do with the
//!    engine what you like.
//! 5. [`transmit`](Device::transmit) until `None`.
//! 6. Wait for a datagram, the broker's socket, the application, or the earlier of the time that
//!    `poll` said and [`timeout`](Device::timeout), which is told after `transmit`. Go back to 2.
//!
//! Poll the engine through the device only. The application calls the [`Peer`] as it would with
//! any other driver.
//!
//! ```
//! use core::net::SocketAddr;
//! use peer_core::device::{Device, DeviceOutput, DeviceResources};
//! use peer_core::peer::{Config, Peer, PeerResources};
//! use peer_core::rtc::{crypto::{CryptoError, RustCrypto}, dtls::Identity, ice, session};
//! use peer_core::time::Instant;
//! # let mut state = 1_u8;
//! # let random = |out: &mut [u8]| {
//! #     for byte in out { state = state.wrapping_mul(5).wrapping_add(7); *byte = state; }
//! #     Ok::<(), CryptoError>(())
//! # };
//! # let udp_receive = |_: &mut [u8]| None::<(usize, SocketAddr)>;
//! # let udp_send = |_: &[u8], _: SocketAddr| {};
//! // In firmware these are statics; being all zero they cost no flash.
//! let mut for_peer: PeerResources<1> = PeerResources::new();
//! let mut for_device: DeviceResources<'_, _, 1> = DeviceResources::new();
//! let mut datagram = [0; 1472]; // Browsers send longer ones than we do.
//!
//! let mut crypto = RustCrypto::new(random);
//! let identity = Identity::generate(&mut crypto)?;
//! let config = session::Config::new(ice::Role::Controlled);
//! let mut device = Device::new(config, crypto, &identity, &mut for_device);
//! let mut peer = Peer::new(Config::new([7; 32]), &mut for_peer);
//! let mut now = Instant::ZERO;
//! device.set_addresses(now, &["192.0.2.7:5000".parse()?]);
//! for _ in 0..3 {
//!     while let Some((len, from)) = udp_receive(&mut datagram) {
//!         device.receive(now, from, &mut datagram[..len]);
//!     }
//!     device.work(now);
//!     // So much as the broker's socket takes.
//!     let room = 2_000;
//!     let timeout = loop {
//!         match device.poll(now, room, &mut peer) {
//!             DeviceOutput::Broker(_) => { /* open, send, close */ }
//!             DeviceOutput::Event(_) => { /* the application's */ }
//!             DeviceOutput::Timeout(at) => break at,
//!         }
//!     };
//!     while let Some(it) = device.transmit(now, &mut datagram) {
//!         udp_send(&datagram[..it.len], it.destination);
//!     }
//!     now = timeout.into_iter().chain(device.timeout()).min().unwrap_or(now);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # DTLS
//! It offers `a=setup:active` and answers so, and is DTLS's client to every browser. Leave out the
//! feature `dtls-server`, unless devices are to connect to each other, or to remotes that insist on
//! the role of client.
//!
//! # Limits
//! | what | limit | at the limit |
//! |---|---|---|
//! | sessions | `SESSIONS` of [`DeviceResources`] | the connection fails with [`RtcFailure::Resources`] |
//! | bytes sent and not acknowledged, each message 11 more | `SEND` | the rest waits in the engine's outbox |
//! | bytes that came and that the engine has no room for | `RECEIVE` | the remote waits: SCTP's window closes |
//! | addresses | one of each family, [`ADDRESSES_MAX`] | the first of each counts |
//! | addresses of a remote, pairs | 8, 12 | as in [`ice`](crate::rtc::ice#limits) |
//! | id of the remote's media section | [`MID_MAX`] | [`RtcFailure::Description`] |
//! | datagrams of nobody's that sessions hear of | one each [`UNCLAIMED_PAUSE`] | others are dropped and counted |
//! | connections with one remote address and port | one | a second one finds no path |
//!
//! As many sessions as the engine has connections suffice: one that still says its last words gives
//! way.
//!
//! [`Peer`]: crate::peer::Peer
//! [`RtcFailure::Resources`]: crate::peer::RtcFailure::Resources
//! [`RtcFailure::Description`]: crate::peer::RtcFailure::Description

mod commands;
mod description;
mod driver;
mod engine;
mod resources;
mod slot;

pub use driver::Device;
pub use engine::DeviceOutput;
pub use resources::DeviceResources;

use crate::time::Duration;

/// Addresses of ours: one of IPv4, one of IPv6.
pub const ADDRESSES_MAX: usize = 2;
/// Bytes of the id (`a=mid`) of a remote's media section. Browsers call it `0`.
pub const MID_MAX: usize = 16;
/// Between two datagrams of sources that belong to no session of which sessions hear: their remotes
/// may have moved.
pub const UNCLAIMED_PAUSE: Duration = Duration::from_millis(5);
