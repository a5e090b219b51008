//! PeerJS for programs and gateways, on tokio.
#![forbid(unsafe_code)]

pub mod broker;
pub mod rtc;
