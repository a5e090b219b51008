//! PeerJS without I/O.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

#[macro_use]
mod fmt;

pub mod binarypack;
pub mod config;
pub mod connection;
mod id;
pub mod peer;
pub mod serialization;
pub mod storage;
pub mod time;
pub mod wire;

pub use id::{ConnectionId, IdError, Label, PeerId, Token};
