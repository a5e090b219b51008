//! The command as a process: what it says, how it ends, and what it does when something is lost.
//! Over our broker and real ICE, DTLS and SCTP on 127.0.0.1.
#![cfg(unix)]

mod broker;
mod bytes;
mod daemon;
mod files;
mod json;
mod lines;
mod process;
#[path = "../shared/mod.rs"]
mod shared;
mod terminal;
mod tls;
