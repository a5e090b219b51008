//! Ids and secrets from 32 random bytes, so that none of them tells another.

use core::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::ZeroizeOnDrop;

use crate::bytes;

/// Bytes of a secret and of what is derived from it.
pub(crate) const SECRET_LEN: usize = 32;

/// 32 bytes of a CSPRNG. Not printed, wiped on drop.
#[derive(Clone, ZeroizeOnDrop)]
pub(crate) struct Secret([u8; SECRET_LEN]);

impl Secret {
    pub(crate) const fn new(bytes: [u8; SECRET_LEN]) -> Self {
        Self(bytes)
    }

    /// The `n`th value under this label: HMAC-SHA-256 (RFC 2104, RFC 6234) of both.
    ///
    /// Whoever knows any number of derived values knows neither the secret nor another value.
    pub(crate) fn derive(&self, label: &str, n: u64) -> [u8; SECRET_LEN] {
        let mac = self.mac(&[label.as_bytes(), &n.to_le_bytes()]);
        mac.finalize().into_bytes().into()
    }

    /// HMAC-SHA-256 over the parts, one after the other.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut block = [0; 64];
        // RFC 2104 pads a key with zeros to one block, so the padded key is the same key.
        let done = bytes::copy(&mut block, &self.0);
        debug_assert!(done.is_some(), "a block is longer than a secret");
        let mut mac = <Hmac<Sha256> as Mac>::new(&block.into());
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The first eight bytes as a number.
pub(crate) fn first_u64(bytes: &[u8; SECRET_LEN]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *bytes;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use super::*;

    /// RFC 4231, test case 1: the key of 20 bytes is the same as the one padded to 32.
    #[test]
    fn it_is_hmac_sha_256() {
        let mut key = [0; SECRET_LEN];
        key[..20].fill(0x0b);
        let mac = Secret::new(key).mac(&[b"Hi ", b"There"]).finalize();
        let expected = [
            0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b,
            0xf1, 0x2b, 0x88, 0x1d, 0xc2, 0x00, 0xc9, 0x83, 0x3d, 0xa7, 0x26, 0xe9, 0x37, 0x6c,
            0x2e, 0x32, 0xcf, 0xf7,
        ];
        assert_eq!(mac.into_bytes()[..], expected);
    }

    #[test]
    fn labels_and_numbers_differ_and_nothing_is_printed() {
        let secret = Secret::new([7; SECRET_LEN]);
        let first = secret.derive("a", 1);
        assert_ne!(first, secret.derive("a", 2));
        assert_ne!(first, secret.derive("b", 1));
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
