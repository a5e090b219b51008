//! ICE agents in virtual time, over a network with NATs that loses, doubles, reorders and delays.

#![allow(missing_docs)]

mod connect;
mod hostile;
mod moves;
mod nat;
mod net;
mod turn;
mod turn_server;
