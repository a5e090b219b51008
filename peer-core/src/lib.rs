//! PeerJS without I/O: get an id at a PeerServer, open data connections to other peers, talk to
//! unmodified PeerJS in a browser, in memory that is fixed when the program is built.
//!
//! The crate needs neither `std` nor an allocator, has no `unsafe`, reads no clock, draws no
//! randomness and touches no socket. It is told what happened and says what to do. `peer-net`
//! drives it with tokio; firmware and simulators drive it themselves.
//!
//! # Layers
//! A lower one never names an upper one, and each is usable by itself. What the pages do not show
//! (`wire`, `storage`, and some types of the others) is public for `peer-net` and the tests alone:
//! it is no promise and may change with any version.
//!
//! | module | what it is |
//! |---|---|
//! | [`peer`] | the engine: PeerJS's `Peer` and `DataConnection` as one state machine |
//! | [`connection`] | the data plane of one connection: [`Outbox`](connection::Outbox), [`Inbox`](connection::Inbox) |
//! | [`serialization`] | BinaryPack, JSON, raw and postcard behind one [`Serialization`](serialization::Serialization) |
//! | [`binarypack`] | PeerJS's binary format as a serde format |
//! | `wire` (no promise) | parsers and emitters without state: JSON, signals, SDP, candidates, DCEP, chunks, HTTP, WebSocket |
//! | `storage` (no promise) | byte rings and tables with handles that notice reuse |
//! | `sync` (feature `sync`) | handles for several tasks over `embassy-sync` |
//! | `link` (feature `link`) | the engine's I/O as frames between a microcontroller and its gateway |
//! | `net` (feature `smoltcp`) | the broker's socket and the link over smoltcp's TCP |
//! | `rtc` (feature `rtc`) | a WebRTC data channel in static memory; STUN, ICE, TURN, DTLS, SCTP, and a session of them |
//! | `device` (feature `device`) | a whole peer on one machine: the engine's sessions with `rtc`, over one UDP socket |
//! | [`peerjs_wire`] | a page: what travels between PeerJS, a broker and this crate |
//! | [`time`], [`config`] and the ids | the caller's clock, the limits, texts that are valid by construction |
//!
//! # The drive loop
//! A driver owns the broker's socket, the WebRTC sessions and the clock, and runs six steps:
//!
//! 1. Poll [`Peer::poll_output`](peer::Peer::poll_output). What it lends is good until the next
//!    call.
//! 2. `Broker`: open or close the socket, ask for an id, or send a text. `Rtc`: make, feed or end a
//!    session.
//! 3. `Event`: tell the application. It may call the peer at once: connect, send, read, close.
//! 4. `Timeout`: nothing more to do. Until then go back to 1.
//! 5. Wait for the socket, a session, the application, or the time of the timeout; `None` means no
//!    time at all.
//! 6. Feed what came through [`Peer::handle_input`](peer::Peer::handle_input) with the time, and go
//!    back to 1.
//!
//! ```
//! use peer_core::{PeerId, time::Instant};
//! use peer_core::peer::{BrokerInput, Config, Event, Input, Output, Peer, PeerResources, Room};
//!
//! // In firmware this is a static; being all zero it costs no flash.
//! let mut memory: PeerResources<2> = PeerResources::new();
//! # fn random() -> [u8; 32] { [7; 32] }
//! let mut config = Config::new(random()); // 32 bytes of a CSPRNG
//! config.id = Some(PeerId::new("sensor-7")?);
//! let mut peer = Peer::new(config, &mut memory);
//!
//! // What a driver does, without its waiting: the socket opens, the broker says OPEN.
//! let mut opened = false;
//! let mut now = Instant::ZERO;
//! while !opened {
//!     match peer.poll_output(Room::UNLIMITED) {
//!         Output::Broker(_) => {
//!             peer.handle_input(now, Input::Broker(BrokerInput::Opened))?;
//!             let mut message = *br#"{"type":"OPEN"}"#;
//!             peer.handle_input(now, Input::Broker(BrokerInput::Message(&mut message)))?;
//!         }
//!         Output::Rtc(..) => {}
//!         Output::Event(event) => opened = event == Event::Open,
//!         Output::Timeout(at) => {
//!             now = at.expect("an open peer has a heartbeat");
//!             peer.handle_input(now, Input::Timeout)?;
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Capacities
//! How much memory there is, is a type: [`PeerResources`](peer::PeerResources). How long an id or a
//! label may be, is in [`config`], and can be changed by environment variables at build time.
//! Deadlines and intervals are in [`Config`](peer::Config). What happens at each limit is said
//! where it is defined; the [table of the engine](peer#limits) is a start. Nothing grows.
//!
//! # Features
//! | feature | what it does | default |
//! |---|---|---|
//! | `log` | log lines through the `log` crate | off |
//! | `defmt` | log lines through `defmt`, and `Format` on the public types; wins over `log` | off |
//! | `smoltcp` | `net`: sockets over smoltcp's TCP | off |
//! | `link` | the module `link`: the engine's I/O as frames between a microcontroller and a gateway | off |
//! | `rtc` | the module `rtc`: WebRTC in static memory | off |
//! | `device` | the module `device`: the engine's sessions with `rtc`, without a gateway | off |
//! | `sync` | the module `sync`: handles for several tasks over `embassy-sync` | off |
//! | `rustcrypto` | `rtc`'s cryptography in pure Rust | off |
//! | `aes-gcm`, `chacha20poly1305` | the same with one of the two AEADs, for a device that has no room for both; browsers have both | off |
//! | `compact` | with these, P-256 of our own in place of the crate `p256`: 12 KB of flash less, a sixth slower | off |
//! | `turn` | with `rtc`: relayed addresses of TURN servers | on |
//! | `dtls-server` | with `rtc`: the DTLS role of server. Without it we say `a=setup:active`, which leaves the role of client to us with every browser | on |
//!
//! # Panics
//! A panic is a bug of this crate, never an input. Whatever a network brings is parsed into a
//! value, a typed error, or is dropped and counted in [`Stats`](peer::Stats). `tests/sizes/run` in
//! the repository looks into the compiled crate for places that could.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(test)]
extern crate std;

#[macro_use]
mod fmt;

pub mod binarypack;
mod bytes;
mod codec;
pub mod config;
pub mod connection;
#[cfg(feature = "device")]
pub mod device;
mod hash;
mod id;
#[cfg(feature = "link")]
pub mod link;
#[cfg(feature = "smoltcp")]
pub mod net;
pub mod peer;
#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/peerjs-wire.md")]
pub mod peerjs_wire {}
mod random;
#[cfg(feature = "rtc")]
pub mod rtc;
pub mod serialization;
#[doc(hidden)]
pub mod storage;
#[cfg(feature = "sync")]
pub mod sync;
pub mod time;
#[doc(hidden)]
pub mod wire;

#[doc(hidden)]
pub use id::{ConnectionId, Label};
pub use id::{IdError, PeerId, Token};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
