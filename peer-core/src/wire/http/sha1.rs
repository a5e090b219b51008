//! SHA-1 (RFC 3174). Only for the WebSocket handshake, where nothing depends on its strength.

use crate::bytes;

/// The digest of a text of at most 119 bytes, which two blocks hold; `None` for a longer one.
pub(super) fn sha1(text: &[u8]) -> Option<[u8; 20]> {
    let mut blocks = [0_u8; 128];
    let blocks = if text.len() < 56 {
        &mut blocks[..64]
    } else {
        &mut blocks[..]
    };
    let (body, length) = blocks.split_last_chunk_mut::<8>()?;
    bytes::copy(body, text)?;
    *body.get_mut(text.len())? = 0x80;
    *length = (text.len() as u64 * 8).to_be_bytes();

    let mut state = [
        0x6745_2301,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];
    for block in blocks.chunks_exact(64) {
        compress(&mut state, block);
    }
    let mut digest = [0; 20];
    for (byte, word) in digest
        .iter_mut()
        .zip(state.into_iter().flat_map(u32::to_be_bytes))
    {
        *byte = word;
    }
    Some(digest)
}

fn compress(state: &mut [u32; 5], block: &[u8]) {
    let mut words = [0_u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes
            .iter()
            .fold(0, |word, &byte| word << 8 | u32::from(byte));
    }
    for t in 16..80 {
        words[t] = (words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (t, word) in words.into_iter().enumerate() {
        let (f, k) = match t {
            0..20 => (b & c | !b & d, 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e);
        let next = next.wrapping_add(word).wrapping_add(k);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(add);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{format, string::String};

    use super::sha1;

    fn hex(text: &[u8]) -> Option<String> {
        sha1(text).map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// RFC 3174, section 7.3, and FIPS 180.
    #[test]
    fn the_test_vectors() {
        for (text, digest) in [
            ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
        ] {
            assert_eq!(hex(text.as_bytes()).as_deref(), Some(digest));
        }
        // The fourth is ten times eight times these eight digits; one is what fits here.
        let digits = "01234567".repeat(8);
        assert_eq!(
            hex(digits.as_bytes()).as_deref(),
            Some("e0c094e867ef46c350ef54a7f59dd60bed92ae83")
        );
        assert!(sha1(&[0; 119]).is_some());
        assert!(sha1(&[0; 120]).is_none());
    }
}
