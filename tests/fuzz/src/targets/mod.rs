//! One function for each thing that is read from a network: it takes any bytes, and panics where a
//! promise of the documentation is broken. libFuzzer calls them from `fuzz_targets`, the test
//! `fuzz` with seeds and mutants of them.

mod binarypack;
mod broker;
mod bytes;
mod chunks;
mod engine;
mod framing;
mod link;
mod rtc;
mod sctp;
mod seeds;
mod wire;

pub use binarypack::binarypack;
pub use broker::{envelope, realm};
pub use chunks::chunks;
pub use engine::engine;
pub use framing::{http, websocket};
pub use link::link;
pub use rtc::{dtls, handshake, ice, session, stun};
pub use sctp::{sctp_packets, sctp_pair};
pub use seeds::{files, seeds};
pub use wire::{candidate, dcep, json, sdp, signal};

/// Takes any bytes; panics where something is wrong.
pub type Target = fn(&[u8]);

/// Every target and its name.
pub const TARGETS: [(&str, Target); 20] = [
    ("json", json),
    ("signal", signal),
    ("sdp", sdp),
    ("candidate", candidate),
    ("dcep", dcep),
    ("chunks", chunks),
    ("binarypack", binarypack),
    ("http", http),
    ("websocket", websocket),
    ("link", link),
    ("engine", engine),
    ("sctp_packets", sctp_packets),
    ("sctp_pair", sctp_pair),
    ("stun", stun),
    ("dtls", dtls),
    ("handshake", handshake),
    ("ice", ice),
    ("session", session),
    ("envelope", envelope),
    ("realm", realm),
];
