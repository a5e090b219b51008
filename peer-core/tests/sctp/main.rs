//! SCTP associations in virtual time, over a network that loses, doubles, reorders, delays and
//! limits.

#![allow(missing_docs)]

mod amounts;
mod ends;
#[path = "../support/flights.rs"]
mod flights;
mod hostile;
mod loss;
mod net;
mod raw;
mod scripted;
mod streams;
mod windows;
