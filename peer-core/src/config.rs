//! Compile-time limits. Each can be set at build time through an environment variable of the same
//! name with `PEER_CORE_` in front, for example `PEER_CORE_PEER_ID_MAX=40 cargo build`.

mod generated {
    include!(concat!(env!("OUT_DIR"), "/config.rs"));
}

/// Longest [`PeerId`](crate::PeerId), in bytes. A longer id is
/// [`IdError::TooLong`](crate::IdError::TooLong).
pub const PEER_ID_MAX: usize = generated::PEER_ID_MAX;
/// Longest [`ConnectionId`](crate::ConnectionId), in bytes. PeerJS makes 14 (`dc_` and 11
/// characters).
pub const CONNECTION_ID_MAX: usize = generated::CONNECTION_ID_MAX;
/// Longest [`Token`](crate::Token), in bytes. PeerJS makes about 11.
pub const TOKEN_MAX: usize = generated::TOKEN_MAX;
/// Longest data channel [`Label`](crate::Label), in bytes.
pub const LABEL_MAX: usize = generated::LABEL_MAX;
/// Longest candidate line, in bytes. Longer ones are dropped and counted.
pub const CANDIDATE_MAX: usize = generated::CANDIDATE_MAX;
/// Longest session description, in bytes. Chromium's are about 600; those of peers that do not
/// trickle hold all candidates. The engine's memory (`CONTROL`) limits them as well.
pub const SDP_MAX: usize = generated::SDP_MAX;
/// Deepest nesting of a JSON text that is read.
pub const JSON_DEPTH_MAX: usize = generated::JSON_DEPTH_MAX;
/// Deepest nesting of a BinaryPack value that is read.
pub const BINARYPACK_DEPTH_MAX: usize = generated::BINARYPACK_DEPTH_MAX;
/// Signals kept for connection ids whose OFFER has not arrived yet. At the limit the oldest goes.
pub const EARLY_SIGNALS_MAX: usize = generated::EARLY_SIGNALS_MAX;
