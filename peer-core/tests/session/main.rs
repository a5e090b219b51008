//! Sessions against each other in virtual time, over a network that loses, doubles, reorders,
//! delays and moves.

#![allow(missing_docs)]

mod by_hand;
mod connect;
mod data;
#[path = "../support/datagrams.rs"]
mod datagrams;
mod ends;
mod errors;
#[path = "../support/flights.rs"]
mod flights;
mod hostile;
mod net;
mod pending;
#[path = "../sctp/raw.rs"]
#[expect(dead_code, reason = "the tests of SCTP need more of it")]
mod raw;
mod relay;
mod shared;
#[path = "../ice/turn_server.rs"]
#[expect(dead_code, reason = "the tests of ICE need more of it")]
mod turn_server;
