//! SHA-1 (FIPS 180-4): for STUN's MESSAGE-INTEGRITY and the WebSocket handshake, which ask for it
//! by name, and nothing else.
//!
//! Small rather than fast: 0.5 KB on a Cortex-M4, where the crate `sha1`, which spells out what one
//! vendor's instructions do, has 3.4 KB. It looks at no secret to decide anything.

/// Bytes of a digest.
pub(crate) const DIGEST_LEN: usize = 20;
const BLOCK_LEN: usize = 64;

/// A running SHA-1.
pub(crate) struct Sha1 {
    state: [u32; 5],
    /// What came of the block under way.
    block: [u8; BLOCK_LEN],
    /// Bytes so far.
    len: u64,
}

impl Default for Sha1 {
    fn default() -> Self {
        Self {
            state: [
                0x6745_2301,
                0xefcd_ab89,
                0x98ba_dcfe,
                0x1032_5476,
                0xc3d2_e1f0,
            ],
            block: [0; BLOCK_LEN],
            len: 0,
        }
    }
}

impl Sha1 {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.push(*byte);
        }
    }

    pub(crate) fn finish(mut self) -> [u8; DIGEST_LEN] {
        let bits = self.len.wrapping_mul(8);
        self.push(0x80);
        while self.len % 64 != 56 {
            self.push(0);
        }
        self.update(&bits.to_be_bytes());
        let mut digest = [0; DIGEST_LEN];
        for (to, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *to = word.to_be_bytes();
        }
        digest
    }

    fn push(&mut self, byte: u8) {
        let at = (self.len % BLOCK_LEN as u64) as usize;
        self.block[at] = byte;
        self.len = self.len.wrapping_add(1);
        if at == BLOCK_LEN - 1 {
            self.compress();
        }
    }

    fn compress(&mut self) {
        let mut words = [0; 16];
        for (word, bytes) in words.iter_mut().zip(self.block.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        let [mut a, mut b, mut c, mut d, mut e] = self.state;
        for t in 0..80_usize {
            if t >= 16 {
                let mixed = words[(t + 13) % 16] ^ words[(t + 8) % 16] ^ words[(t + 2) % 16];
                words[t % 16] = (words[t % 16] ^ mixed).rotate_left(1);
            }
            let (f, constant) = match t {
                0..20 => (b & c | !b & d, 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(f)
                .wrapping_add(e)
                .wrapping_add(constant)
                .wrapping_add(words[t % 16]);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (state, word) in self.state.iter_mut().zip([a, b, c, d, e]) {
            *state = state.wrapping_add(word);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use proptest::prelude::*;
    use sha1::Digest as _;

    use super::*;

    fn digest(bytes: &[u8]) -> [u8; DIGEST_LEN] {
        let mut hash = Sha1::default();
        hash.update(bytes);
        hash.finish()
    }

    /// FIPS 180-2, appendix A.
    #[test]
    fn published_digests() {
        let hex = |text: &str| {
            let pairs = text.as_bytes().chunks(2);
            let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            pairs.map(byte).collect::<Vec<_>>()
        };
        for (bytes, expected) in [
            (&b"abc"[..], "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
            (
                &std::vec![b'a'; 1_000_000],
                "34aa973cd4c4daa4f61eeb2bdbad27316534016f",
            ),
        ] {
            assert_eq!(&digest(bytes)[..], hex(expected));
        }
    }

    proptest! {
        #[test]
        fn the_same_as_another_implementation(
            a in prop::collection::vec(any::<u8>(), 0..200),
            b in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut hash = Sha1::default();
            hash.update(&a);
            hash.update(&b);
            let expected: [u8; DIGEST_LEN] = sha1::Sha1::digest([a, b].concat()).into();
            prop_assert_eq!(hash.finish(), expected);
        }
    }
}
