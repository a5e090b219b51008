//! Sessions against each other in virtual time, over a network that loses, doubles, reorders,
//! delays and moves.

#![allow(missing_docs)]

mod connect;
mod data;
mod ends;
mod hostile;
mod net;
mod pending;
