//! A WebRTC data channel in static memory, the same code for a microcontroller and for Linux.
//!
//! Everything here is sans-IO: it is told the time and what came, and says what to send. Memory is
//! lent when a state machine is made. It knows WebRTC and nothing of PeerJS.
//!
//! | module | what it is |
//! |---|---|
//! | [`sctp`] | one SCTP association, as WebRTC's data channels need it (RFC 9260, RFC 8831) |

pub mod sctp;
