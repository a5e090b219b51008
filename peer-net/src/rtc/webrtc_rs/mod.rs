//! ICE, DTLS and SCTP assembled from the crates webrtc-ice, dtls and webrtc-sctp, with what guards
//! and mends them.
//!
//! Known limits of these: a path that dies is not replaced by another; and while a session ends
//! that still waits for STUN or TURN servers, its tasks and sockets stay until those have been
//! waited for, 8 s at most.

mod association;
mod certificate;
mod channel;
mod dtls;
mod flight;
mod guard;
mod ice;
mod minder;
mod sctp;
mod session;
mod silence;
mod unread;

use core::time::Duration;

pub(super) use self::session::Session;

/// Each step of taking a session down that could wait for the stack.
const CLOSE_STEP: Duration = Duration::from_millis(500);
