//! Devices with each other over a modelled broker and network, in virtual time.

mod data;
#[path = "../support/datagrams.rs"]
mod datagrams;
#[path = "../support/flights.rs"]
mod flights;
mod hostile;
mod life;
mod world;
