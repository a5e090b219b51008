//! Parts of a LAN whose machines run smoltcp: a network card in memory, a machine that ends TCP
//! connections, and the server's half of a WebSocket. No TAP device, no privileges, no clock of
//! their own.
//!
//! A [`Sim`](crate::Sim) carries what the cards send over its links, see [`Access`](crate::Access).
//! A program that wants no more than a cable between two cards uses [`carry`].
//!
//! ```
//! use peer_core::time::Instant;
//! use peer_sim::lan::{Port, Server, ServerOptions, carry};
//! use smoltcp::phy::Medium;
//!
//! let mut server = Server::new(ServerOptions::new([192, 0, 2, 1]));
//! let mut device = Port::new(Medium::Ethernet, 1500);
//! // One turn of the server: what has come, what there is to say to each connection, what goes out.
//! let now = Instant::ZERO;
//! carry(&mut device, &mut server.port);
//! server.receive(now);
//! for (_, wire) in server.wires() {
//!     let echo = std::mem::take(&mut wire.received);
//!     wire.send.extend(echo);
//! }
//! server.send(now);
//! assert!(server.port.is_quiet());
//! ```

mod port;
mod server;
pub mod websocket;

pub use port::{Port, Received, Sending, carry};
pub use server::{Server, ServerOptions, Treatment, Wire, WireId, hardware_address};
