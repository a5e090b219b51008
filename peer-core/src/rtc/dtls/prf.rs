//! TLS 1.2's pseudorandom function (RFC 5246 §5) and what is derived with it.

use crate::rtc::crypto::{Crypto, DIGEST_LEN, SCALAR_LEN, Secret};

/// Bytes of a master secret.
pub(super) const MASTER_LEN: usize = 48;
/// Bytes of the key block of the suite that needs the most.
pub(super) const KEY_BLOCK_LEN: usize = 2 * (32 + 12);
/// Bytes that a Finished holds.
pub(super) const VERIFY_LEN: usize = 12;

/// P_SHA256 over the label and the seed, which comes in two parts.
fn prf<C: Crypto>(crypto: &mut C, secret: &[u8], label: &[u8], seed: [&[u8]; 2], out: &mut [u8]) {
    let [first, second] = seed;
    let mut a = Secret::new(crypto.hmac_sha256(secret, &[label, first, second]));
    for chunk in out.chunks_mut(DIGEST_LEN) {
        let block = crypto.hmac_sha256(secret, &[a.as_bytes(), label, first, second]);
        let block = Secret::new(block);
        chunk
            .iter_mut()
            .zip(block.as_bytes())
            .for_each(|(to, from)| *to = *from);
        a = Secret::new(crypto.hmac_sha256(secret, &[a.as_bytes()]));
    }
}

/// RFC 7627 §4: from what ECDH gave and the hash of the handshake so far.
pub(super) fn master<C: Crypto>(
    crypto: &mut C,
    premaster: &Secret<SCALAR_LEN>,
    session_hash: &[u8; DIGEST_LEN],
) -> Secret<MASTER_LEN> {
    let mut master = Secret::ZERO;
    let label = b"extended master secret";
    prf(
        crypto,
        premaster.as_bytes(),
        label,
        [session_hash, &[]],
        master.as_mut(),
    );
    master
}

/// RFC 5246 §6.3.
pub(super) fn key_block<C: Crypto>(
    crypto: &mut C,
    master: &Secret<MASTER_LEN>,
    client_random: &[u8; 32],
    server_random: &[u8; 32],
) -> Secret<KEY_BLOCK_LEN> {
    let mut block = Secret::ZERO;
    let seed: [&[u8]; 2] = [server_random, client_random];
    prf(
        crypto,
        master.as_bytes(),
        b"key expansion",
        seed,
        block.as_mut(),
    );
    block
}

/// What the Finished of one end holds (RFC 5246 §7.4.9).
pub(super) fn verify_data<C: Crypto>(
    crypto: &mut C,
    master: &Secret<MASTER_LEN>,
    client: bool,
    transcript: &[u8; DIGEST_LEN],
) -> [u8; VERIFY_LEN] {
    let label: &[u8] = if client {
        b"client finished"
    } else {
        b"server finished"
    };
    let mut data = [0; VERIFY_LEN];
    prf(
        crypto,
        master.as_bytes(),
        label,
        [transcript, &[]],
        &mut data,
    );
    data
}

#[cfg(all(test, feature = "rustcrypto"))]
mod tests {
    use super::*;
    use crate::rtc::crypto::{CryptoError, RustCrypto};

    /// The vector for P_SHA256 that was posted to the TLS working group's list and is used by all.
    #[test]
    fn it_is_p_sha256() {
        let secret = [
            0x9b, 0xbe, 0x43, 0x6b, 0xa9, 0x40, 0xf0, 0x17, 0xb1, 0x76, 0x52, 0x84, 0x9a, 0x71,
            0xdb, 0x35,
        ];
        let seed = [
            0xa0, 0xba, 0x9f, 0x93, 0x6c, 0xda, 0x31, 0x18, 0x27, 0xa6, 0xf7, 0x96, 0xff, 0xd5,
            0x19, 0x8c,
        ];
        let expected = [
            0xe3, 0xf2, 0x29, 0xba, 0x72, 0x7b, 0xe1, 0x7b, 0x8d, 0x12, 0x26, 0x20, 0x55, 0x7c,
            0xd4, 0x53, 0xc2, 0xaa, 0xb2, 0x1d, 0x07, 0xc3, 0xd4, 0x95, 0x32, 0x9b, 0x52, 0xd4,
            0xe6, 0x1e, 0xdb, 0x5a, 0x6b, 0x30, 0x17, 0x91, 0xe9, 0x0d, 0x35, 0xc9, 0xc9, 0xa4,
            0x6b, 0x4e, 0x14, 0xba, 0xf9, 0xaf, 0x0f, 0xa0, 0x22, 0xf7, 0x07, 0x7d, 0xef, 0x17,
            0xab, 0xfd, 0x37, 0x97, 0xc0, 0x56, 0x4b, 0xab, 0x4f, 0xbc, 0x91, 0x66, 0x6e, 0x9d,
            0xef, 0x9b, 0x97, 0xfc, 0xe3, 0x4f, 0x79, 0x67, 0x89, 0xba, 0xa4, 0x80, 0x82, 0xd1,
            0x22, 0xee, 0x42, 0xc5, 0xa7, 0x2e, 0x5a, 0x51, 0x10, 0xff, 0xf7, 0x01, 0x87, 0x34,
            0x7b, 0x66,
        ];
        let mut crypto = RustCrypto::new(|_: &mut [u8]| Err(CryptoError::Random));
        let mut out = [0; 100];
        prf(
            &mut crypto,
            &secret,
            b"test label",
            [&seed[..5], &seed[5..]],
            &mut out,
        );
        assert_eq!(out, expected);
    }
}
