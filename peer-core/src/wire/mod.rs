//! Parsers and writers of what is sent: SDP, candidates, DCEP, chunks, JSON, the broker's messages,
//! HTTP and WebSocket. None performs I/O or allocates.

pub mod candidate;
pub mod chunk;
pub mod dcep;
pub mod http;
pub mod json;
pub mod sdp;
pub mod signal;
pub mod websocket;
