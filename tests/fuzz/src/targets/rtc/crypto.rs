//! The cryptography that protects nothing, of peer-core's own tests.

pub(super) use peer_core::rtc::crypto::*;

#[path = "../../../../../peer-core/src/rtc/crypto/null.rs"]
#[allow(dead_code, reason = "the tests of peer-core use more of it")]
pub(super) mod null;
