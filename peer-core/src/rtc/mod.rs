//! A WebRTC data channel in static memory, the same code for a microcontroller and for Linux.
//!
//! Everything here is sans-IO: it is told the time and what came, and says what to send. Memory is
//! lent when a state machine is made, or is part of it. It knows WebRTC and nothing of PeerJS.
//!
//! | module | what it is |
//! |---|---|
//! | [`crypto`] | the cryptography that the others ask for, behind a trait; RustCrypto's with the feature `rustcrypto` |
//! | [`stun`] | STUN messages, with what ICE and TURN add (RFC 8489) |
//! | [`ice`] | one ICE agent: which path to the remote works (RFC 8445) |
//! | [`dtls`] | one DTLS 1.2 session, client or server (RFC 6347, RFC 8827) |
//! | [`sctp`] | one SCTP association, as WebRTC's data channels need it (RFC 9260, RFC 8831) |
//! | [`session`] | all of these as one data channel: datagrams in and out, one timeout |
//! | [`stack`] | for which of the sessions that share sockets a datagram is |

pub mod crypto;
pub mod dtls;
pub mod ice;
pub mod sctp;
pub mod session;
pub mod stack;
pub mod stun;

use crate::time::Duration;

/// Returns how many microseconds the first packet of a handshake waits for its answer: `wanted`,
/// which is twice the round trip that ICE measured, kept between 50 ms and 1 s.
fn first_wait(wanted: Duration) -> u32 {
    match wanted.as_secs() {
        0 => wanted.subsec_micros().max(50_000),
        _ => 1_000_000,
    }
}
