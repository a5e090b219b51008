//! Storage of fixed capacity: bytes in rings, things in tables.
//!
//! State and memory are apart: a [`Ring`] is a few indices, the bytes are lent to each call. So one
//! struct can own many of both without borrowing from itself.

mod ring;
mod table;

pub use ring::{Full, Ring};
pub use table::{Entry, Handle, Table};
