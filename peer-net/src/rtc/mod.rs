//! WebRTC sessions: ICE, DTLS and SCTP for one data channel. The only module that knows how bytes travel.

#[allow(dead_code, reason = "the session takes it up")]
mod guard;
