//! What is on the wire: parsers and emitters without state.

pub mod candidate;
pub mod chunk;
pub mod dcep;
pub mod http;
pub mod json;
pub mod sdp;
pub mod signal;
pub mod websocket;
