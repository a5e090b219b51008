//! Thousands of peers, a broker and a bad network in virtual time, from a seed.
//!
//! Real: each host runs a [`peer_core::peer::Peer`] with its own memory, and the broker is the
//! [`peer_net::broker::Realm`] of the real one. Signals, descriptions, candidates, chunks and messages are the real
//! bytes. A model, and documented as one: the sockets to the broker, and ICE, DTLS and SCTP below the engine.
//!
//! | what | how it is modelled |
//! |---|---|
//! | time | virtual, in microseconds; each host has a clock with its own epoch, which can jump |
//! | network | an access [`Link`] a node; packets are lost, late, doubled, overtaken; partitions; one-way cuts |
//! | broker's socket | reliable and ordered; loss is delay (retransmission from 250 ms, doubling to 4 s); breaks after 20 s without progress; a dead end answers with a reset |
//! | ICE | descriptions and candidates travel as texts; checks from 100 ms, doubling to 2 s, given up after 25 s; one candidate that works and up to four that do not |
//! | consent | every 2.5 s; `Disconnected` after 6 s, failed after [`LIVENESS`] of silence |
//! | NAT | a new binding silences sessions (or not, [`SimOptions::follows_rebinding`]) and resets the broker's socket |
//! | DTLS and SCTP set-up | eight flights, repeated by the DTLS client; then DCEP's OPEN |
//! | channel | a message is one unit, acknowledged one by one, repeated from 600 ms; 64 KiB on the way; ordered or not |
//! | end | `Close` sends one ABORT, which may be lost; a crash is silence |
//! | host | runs, stands still (what comes waits), or is down; its driver may poll late, its application read late |
//!
//! Not modelled: several candidates and paths, TURN, congestion control, cryptography, streams that are reset, the
//! cost of computing.
//!
//! # Determinism
//! One seed and the same calls give the same [trace](Sim::trace), bit for bit: no wall clock, no randomness but
//! [`Rng`], no order that depends on a hash.
//!
//! # Use
//! See [`Sim`]. `examples/fleet.rs` is a whole program, with `tests/fleet.rs` to assert what it showed.
//!
//! | command | what |
//! |---|---|
//! | `cargo test -p peer-sim` | all, with 200 seeds of the [hard scenario](scenario::hard) |
//! | `PEER_SIM_SEED=7 cargo test -p peer-sim two_hundred` | one seed of it |
//! | `cargo run --release -p peer-sim --example soak -- --seeds 10000 [--from N]` | as many seeds as you like; `--hosts`, `--actions` |
//! | `cargo run --release -p peer-sim --example crowd` | 10,000 idle peers, then 1,000 peers with 10,000 connects, measured |
//! | `cargo run -p peer-sim --example fleet` | the fleet, as a picture |
//!
//! # Invariants
//! [`INVARIANTS`] lists them. All are on; [`Sim::waive`] switches one off. A violation panics with the seed, the
//! step, the last lines of the trace and the command to replay it, which a scenario sets with [`Sim::set_replay`]. So
//! does any other panic while a [`Sim`] lives.

#![forbid(unsafe_code)]

mod action;
mod broker;
mod broker_lan;
mod channel;
mod check;
mod device;
mod driver;
mod engine;
mod gateway;
mod host;
mod house;
mod io;
pub mod lan;
mod ledger;
mod link;
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
pub use random::Rng;
pub use session::LIVENESS;
pub use sim::{Sim, SimOptions, SimStats};
