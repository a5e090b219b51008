//! Thousands of peers, a broker and a bad network in virtual time, from a seed.
//!
//! Real: each host runs a [`peer_core::peer::Peer`] with its own memory, and the broker is the
//! [`peer_realm::Realm`] of the real one. Signals, descriptions, candidates, chunks and
//! messages are the real bytes. A model, and documented as one: the sockets to the broker, and ICE,
//! DTLS and SCTP below the engine.
//!
//! - **Time** is virtual, in microseconds; each host has a clock with its own epoch, which can jump
//!   ahead and be set back.
//! - **Network**: an access [`Link`] a node, and where it stands at a site the
//!   [uplink](SiteOptions) that all there share. Packets are lost, late, doubled, overtaken;
//!   partitions; one-way cuts.
//! - **The broker's socket** is reliable and ordered. Loss is delay (retransmission from 250 ms,
//!   doubling to 4 s). It breaks after 20 s without progress; a dead end answers with a reset.
//! - **ICE**: descriptions and candidates travel as texts; checks from 100 ms, doubling to 2 s,
//!   given up after 25 s; one candidate that works and up to four that do not.
//! - **Consent** every 2.5 s; `Disconnected` after 6 s, failed after [`LIVENESS`] of silence.
//! - **NAT**: a new binding silences sessions (or not, [`SimOptions::follows_rebinding`]) and
//!   resets the broker's socket; a site's lets in only what was asked for, address by address.
//! - **DTLS and SCTP set-up**: eight flights, repeated by the DTLS client; then DCEP's OPEN.
//! - **Channel**: a message is one unit, acknowledged one by one, repeated from 600 ms; 64 KiB on
//!   the way; ordered or not.
//! - **End**: `Close` sends one ABORT, which may be lost; a crash is silence.
//! - **Host**: it runs, stands still (what comes waits), or is down. Its driver may poll late, feed
//!   messages in pieces, have little room or count credit; its application may read late or in
//!   pieces.
//!
//! Not modelled: several candidates and paths, TURN, congestion control, cryptography, streams that
//! are reset, the cost of computing.
//!
//! # Real sessions
//! A host's connections may be carried by [`peer_core::rtc`] instead, by its [`Sessions`]: ICE with
//! a STUN server, DTLS with RustCrypto, SCTP, as datagrams over the same links, through a [`Nat`]
//! of any kind. [`Action::Rebind`] gives its NAT another address, or the host itself if there is
//! none. Only two such hosts can open a connection. Not there: TURN, more than one address a host,
//! two sessions on one socket.
//!
//! # Leaves
//! A host may be a device with smoltcp around its engine, by its [`Access`]. Nothing of the
//! following is a model: the program's loop, [`peer_core::net`] or [`peer_core::link`], TCP, IPv4,
//! ARP, and Ethernet's frames, which travel over the links like all other packets.
//!
//! ```text
//! Access::Tcp    engine, BrokerSocket, smoltcp ──frames── smoltcp, WebSocket, realm
//!                sessions: modelled
//! Access::Leaf   engine, Leaf, LinkSocket, smoltcp ──frames── smoltcp, link::Gateway
//!                the gateway's broker socket and sessions: modelled
//! ```
//! A [gateway](Sim::add_gateway) is a machine of its own, which can crash, stand still and be cut
//! off as any host. All machines are in one Ethernet whose switch knows who has which address, so
//! none needs a router. [`lan`] has the parts.
//!
//! # Clocks
//! An engine wants a monotonic clock. Drivers here read a clock that may be set, and make it
//! monotonic as they have to, with [`monotonic`](peer_core::time::monotonic). A host whose driver
//! does not ([`HostOptions::monotonic`]) shows what an engine does then: no deadline comes nearer
//! until the clock has caught up, and nothing else happens.
//!
//! # Determinism
//! One seed and the same calls give the same [trace](Sim::trace), bit for bit: no wall clock, no
//! randomness but [`Rng`], from which TCP's sequence numbers and ports come too, no order that
//! depends on a hash. The trace's [hash](Sim::trace_hash) covers every frame. `tests/snapshots`
//! holds traces of small worlds; who changes behaviour renews them, see `tests/snapshots.rs`.
//!
//! # Use
//! See [`Sim`], and [`topology`] for whole places:
//!
//! ```
//! use peer_core::time::Duration;
//! use peer_sim::topology::{Site, Star};
//! use peer_sim::{HostOptions, Link, Sim};
//!
//! let mut sim = Sim::new(7);
//! let sensor = HostOptions { link: Link::wifi(), ..HostOptions::default() };
//! let mut star = Star::build(&mut sim, "hub", "sensor", 50, &sensor);
//! let plant = Site::new("plant").nat().leaves(8, &sensor).build(&mut sim);
//! star.spokes.extend(&plant.leaves);
//! sim.run_for(Duration::from_secs(10));
//!
//! let conns = star.connect(&mut sim);
//! assert!(sim.wait(Duration::from_secs(30), |sim| conns.iter().all(|conn| sim.is_open(*conn))));
//! for conn in conns {
//!     sim.send(conn, 21.5)?;
//! }
//! sim.restart_broker(Duration::from_secs(3));
//! sim.run_for(Duration::from_secs(60));
//! assert_eq!(sim.take_messages(star.hub).len(), 58);
//! assert!(star.is_online(&sim));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! `examples/fleet.rs` is a whole program, with `tests/fleet.rs` to assert what it showed.
//!
//! - `cargo test -p peer-sim`: all, with 200 seeds of the [hard scenario](scenario::hard) 40 of it
//!   [with leaves](scenario::Hard::leaves), and 20 with real sessions.
//! - `PEER_SIM_SEED=7 cargo test -p peer-sim two_hundred`: one seed of it; `forty`: with leaves;
//!   `twenty`: with real sessions.
//! - `PEER_SIM_RENEW=1 cargo test -p peer-sim --test snapshots`: writes the stored traces anew.
//! - `cargo run -p peer-sim --example soak -- --seeds 10000 [--from N] [--leaves | --real]`: as
//!   many seeds as you like; `--hosts`, `--actions`.
//! - `PEER_SIM_LINES=20000`, before any of these: a failure shows so many lines of its trace, not
//!   60.
//! - `cargo run --release -p peer-sim --example crowd`: 10,000 idle peers, then 1,000 peers with
//!   10,000 connects, measured.
//! - `cargo run -p peer-sim --example fleet`: the fleet, as a picture.
//!
//! # Invariants
//! [`INVARIANTS`] lists them. All are on, for devices too, whose links and sockets may add their
//! own documented waits; [`Sim::waive`] switches one off. A violation panics with the seed, the
//! step, the last lines of the trace and the command to replay it, which a scenario sets with
//! [`Sim::set_replay`]. So does any other panic while a [`Sim`] lives.

#![forbid(unsafe_code)]

mod action;
mod broker;
mod broker_lan;
mod check;
mod device;
mod driver;
mod engine;
mod flow;
mod gateway;
mod host;
mod house;
mod io;
pub mod lan;
mod ledger;
mod link;
mod nat;
mod options;
mod random;
pub mod scenario;
mod session;
mod sim;
mod stream;
#[cfg(test)]
mod tests;
pub mod topology;
mod trace;

pub use action::Action;
pub use check::INVARIANTS;
pub use engine::Capacity;
pub use gateway::GatewayOptions;
pub use host::{
    Access, Conn, HostEvent, HostId, HostOptions, HostState, Identity, KEPT_MAX, Message,
};
pub use link::{Link, SiteId, SiteOptions};
pub use nat::{Dependence, Nat};
pub use options::{Sessions, SimOptions, SimStats};
pub use random::Rng;
pub use session::LIVENESS;
pub use sim::Sim;
