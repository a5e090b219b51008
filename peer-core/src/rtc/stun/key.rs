//! Keys of the long-term credential mechanism (RFC 8489 §9.2), which TURN uses.

use crate::rtc::crypto::{Crypto, DIGEST_LEN, Secret, Sha256 as _};

/// The key of a user name, realm and password: MD5 of the three with colons between (§9.2.2).
///
/// All three are used as they are; who wants RFC 8265's OpaqueString prepares them.
pub fn long_term_key<C: Crypto>(
    crypto: &mut C,
    username: &[u8],
    realm: &[u8],
    password: &[u8],
) -> Secret<16> {
    Secret::new(crypto.md5(&[username, b":", realm, b":", password]))
}

/// As [`long_term_key`], with SHA-256: for PASSWORD-ALGORITHM 2.
pub fn long_term_key_sha256<C: Crypto>(
    crypto: &mut C,
    username: &[u8],
    realm: &[u8],
    password: &[u8],
) -> Secret<DIGEST_LEN> {
    Secret::new(digest(crypto, &[username, b":", realm, b":", password]))
}

/// What USERHASH says instead of a user name (§14.4).
pub fn user_hash<C: Crypto>(crypto: &mut C, username: &[u8], realm: &[u8]) -> [u8; DIGEST_LEN] {
    digest(crypto, &[username, b":", realm])
}

fn digest<C: Crypto>(crypto: &mut C, parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
    let mut hash = crypto.sha256();
    for part in parts {
        hash.update(part);
    }
    hash.finish()
}
