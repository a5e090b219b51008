//! ICE agents in virtual time, over a network with NATs that loses, doubles, reorders and delays.

#![allow(missing_docs)]

mod connect;
#[path = "../support/datagrams.rs"]
mod datagrams;
#[path = "../support/flights.rs"]
mod flights;
mod hostile;
mod moves;
mod nat;
mod net;
mod policy;
mod turn;
mod turn_server;
