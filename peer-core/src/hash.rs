//! SHA-1 and MD5 in few instructions, and HMAC. WebSocket, STUN and TURN ask for them, for some
//! dozens of bytes at a time: RustCrypto's crates are as fast as may be, and 4 KB of flash more.
//! What they take does not depend on what is hashed, only on its length.

#[cfg(any(feature = "aes-gcm", feature = "chacha20poly1305"))]
use crate::bytes;

/// Bytes of a block of SHA-1, of MD5 and of SHA-256.
const BLOCK_LEN: usize = 64;

/// A hash of `N` bytes, over blocks of 64.
pub(crate) trait Hash<const N: usize>: Default {
    fn update(&mut self, bytes: &[u8]);

    fn finish(self) -> [u8; N];

    /// The hash of `parts`, one after the other.
    fn digest(parts: &[&[u8]]) -> [u8; N] {
        let mut hash = Self::default();
        for part in parts {
            hash.update(part);
        }
        hash.finish()
    }

    /// The HMAC of `parts` (RFC 2104).
    #[cfg(any(feature = "aes-gcm", feature = "chacha20poly1305"))]
    #[inline(never)]
    fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; N] {
        let mut pad = [0; BLOCK_LEN];
        if bytes::copy(&mut pad, key).is_none() {
            let copied = bytes::copy(&mut pad, &Self::digest(&[key]));
            debug_assert!(copied.is_some(), "a digest is shorter than a block");
        }
        pad.iter_mut().for_each(|byte| *byte ^= 0x36);
        let mut inner = Self::default();
        inner.update(&pad);
        for part in parts {
            inner.update(part);
        }
        pad.iter_mut().for_each(|byte| *byte ^= 0x36 ^ 0x5c);
        let mac = Self::digest(&[&pad, &inner.finish()]);
        zeroize::Zeroize::zeroize(&mut pad);
        mac
    }
}

#[cfg(any(feature = "aes-gcm", feature = "chacha20poly1305"))]
impl Hash<32> for sha2::Sha256 {
    fn update(&mut self, bytes: &[u8]) {
        sha2::Digest::update(self, bytes);
    }

    fn finish(self) -> [u8; 32] {
        sha2::Digest::finalize(self).into()
    }
}

/// What SHA-1 and MD5 have in common: words of 32 bits, and how the end is padded.
#[derive(Clone, Debug)]
struct Blocks<const WORDS: usize> {
    state: [u32; WORDS],
    block: [u8; BLOCK_LEN],
    len: u64,
}

impl<const WORDS: usize> Blocks<WORDS> {
    const fn new(state: [u32; WORDS]) -> Self {
        Self {
            state,
            block: [0; BLOCK_LEN],
            len: 0,
        }
    }

    fn update(&mut self, bytes: &[u8], compress: fn(&mut [u32; WORDS], &[u8; BLOCK_LEN])) {
        for byte in bytes {
            let at = self.len as usize % BLOCK_LEN;
            self.block[at] = *byte;
            self.len += 1;
            if at == BLOCK_LEN - 1 {
                compress(&mut self.state, &self.block);
            }
        }
    }

    fn pad(&mut self, len: [u8; 8], compress: fn(&mut [u32; WORDS], &[u8; BLOCK_LEN])) {
        self.update(&[0x80], compress);
        while self.len % BLOCK_LEN as u64 != BLOCK_LEN as u64 - 8 {
            self.update(&[0], compress);
        }
        self.update(&len, compress);
    }
}

/// The words of a block.
fn words(block: &[u8; BLOCK_LEN], word: fn([u8; 4]) -> u32) -> [u32; 16] {
    let mut words = [0; 16];
    let (bytes, _) = block.as_chunks();
    for (to, from) in words.iter_mut().zip(bytes) {
        *to = word(*from);
    }
    words
}

/// SHA-1 (FIPS 180-4).
#[derive(Clone, Debug)]
pub(crate) struct Sha1(Blocks<5>);

impl Default for Sha1 {
    fn default() -> Self {
        Self(Blocks::new([
            0x6745_2301,
            0xefcd_ab89,
            0x98ba_dcfe,
            0x1032_5476,
            0xc3d2_e1f0,
        ]))
    }
}

impl Sha1 {
    #[inline(never)]
    fn compress(state: &mut [u32; 5], block: &[u8; BLOCK_LEN]) {
        let mut words = words(block, u32::from_be_bytes);
        let [mut a, mut b, mut c, mut d, mut e] = *state;
        for n in 0..80 {
            if n >= 16 {
                let next = words[(n + 13) % 16] ^ words[(n + 8) % 16] ^ words[(n + 2) % 16];
                words[n % 16] = (next ^ words[n % 16]).rotate_left(1);
            }
            let (mixed, constant) = match n / 20 {
                0 => (d ^ (b & (c ^ d)), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (d & (b | c)), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let first = a
                .rotate_left(5)
                .wrapping_add(mixed)
                .wrapping_add(e)
                .wrapping_add(constant)
                .wrapping_add(words[n % 16]);
            (a, b, c, d, e) = (first, a, b.rotate_left(30), c, d);
        }
        for (to, from) in state.iter_mut().zip([a, b, c, d, e]) {
            *to = to.wrapping_add(from);
        }
    }
}

impl Hash<20> for Sha1 {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes, Self::compress);
    }

    fn finish(mut self) -> [u8; 20] {
        let bits = self.0.len.wrapping_mul(8);
        self.0.pad(bits.to_be_bytes(), Self::compress);
        let mut hash = [0; 20];
        for (to, word) in hash.as_chunks_mut().0.iter_mut().zip(self.0.state) {
            *to = word.to_be_bytes();
        }
        hash
    }
}

/// MD5 (RFC 1321), which TURN's long-term credentials are made with.
#[cfg(any(feature = "aes-gcm", feature = "chacha20poly1305"))]
#[derive(Clone, Debug)]
pub(crate) struct Md5(Blocks<4>);

#[cfg(any(feature = "aes-gcm", feature = "chacha20poly1305"))]
impl Default for Md5 {
    fn default() -> Self {
        let state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        Self(Blocks::new(state))
    }
}

#[cfg(any(feature = "aes-gcm", feature = "chacha20poly1305"))]
impl Md5 {
    #[inline(never)]
    fn compress(state: &mut [u32; 4], block: &[u8; BLOCK_LEN]) {
        /// 2³² times the sine of 1, 2, 3, …
        const SINES: [u32; 64] = [
            0xd76a_a478,
            0xe8c7_b756,
            0x2420_70db,
            0xc1bd_ceee,
            0xf57c_0faf,
            0x4787_c62a,
            0xa830_4613,
            0xfd46_9501,
            0x6980_98d8,
            0x8b44_f7af,
            0xffff_5bb1,
            0x895c_d7be,
            0x6b90_1122,
            0xfd98_7193,
            0xa679_438e,
            0x49b4_0821,
            0xf61e_2562,
            0xc040_b340,
            0x265e_5a51,
            0xe9b6_c7aa,
            0xd62f_105d,
            0x0244_1453,
            0xd8a1_e681,
            0xe7d3_fbc8,
            0x21e1_cde6,
            0xc337_07d6,
            0xf4d5_0d87,
            0x455a_14ed,
            0xa9e3_e905,
            0xfcef_a3f8,
            0x676f_02d9,
            0x8d2a_4c8a,
            0xfffa_3942,
            0x8771_f681,
            0x6d9d_6122,
            0xfde5_380c,
            0xa4be_ea44,
            0x4bde_cfa9,
            0xf6bb_4b60,
            0xbebf_bc70,
            0x289b_7ec6,
            0xeaa1_27fa,
            0xd4ef_3085,
            0x0488_1d05,
            0xd9d4_d039,
            0xe6db_99e5,
            0x1fa2_7cf8,
            0xc4ac_5665,
            0xf429_2244,
            0x432a_ff97,
            0xab94_23a7,
            0xfc93_a039,
            0x655b_59c3,
            0x8f0c_cc92,
            0xffef_f47d,
            0x8584_5dd1,
            0x6fa8_7e4f,
            0xfe2c_e6e0,
            0xa301_4314,
            0x4e08_11a1,
            0xf753_7e82,
            0xbd3a_f235,
            0x2ad7_d2bb,
            0xeb86_d391,
        ];
        const TURNS: [[u8; 4]; 4] = [
            [7, 12, 17, 22],
            [5, 9, 14, 20],
            [4, 11, 16, 23],
            [6, 10, 15, 21],
        ];
        let words = words(block, u32::from_le_bytes);
        let [mut a, mut b, mut c, mut d] = *state;
        for (n, sine) in SINES.into_iter().enumerate() {
            let (mixed, at) = match n / 16 {
                0 => (d ^ (b & (c ^ d)), n),
                1 => (c ^ (d & (b ^ c)), 5 * n + 1),
                2 => (b ^ c ^ d, 3 * n + 5),
                _ => (c ^ (b | !d), 7 * n),
            };
            let sum = a
                .wrapping_add(mixed)
                .wrapping_add(sine)
                .wrapping_add(words[at % 16])
                .rotate_left(TURNS[n / 16 % 4][n % 4].into());
            (a, b, c, d) = (d, b.wrapping_add(sum), b, c);
        }
        for (to, from) in state.iter_mut().zip([a, b, c, d]) {
            *to = to.wrapping_add(from);
        }
    }
}

#[cfg(any(feature = "aes-gcm", feature = "chacha20poly1305"))]
impl Hash<16> for Md5 {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes, Self::compress);
    }

    fn finish(mut self) -> [u8; 16] {
        let bits = self.0.len.wrapping_mul(8);
        self.0.pad(bits.to_le_bytes(), Self::compress);
        let mut hash = [0; 16];
        for (to, word) in hash.as_chunks_mut().0.iter_mut().zip(self.0.state) {
            *to = word.to_le_bytes();
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// FIPS 180-2, appendix A.
    #[test]
    fn sha1() {
        for (text, hash) in [
            ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
        ] {
            assert_eq!(hex(&Sha1::digest(&[text.as_bytes()])), hash);
        }
        let million = [b'a'; 1_000];
        let million = [&million[..]; 1_000];
        let hash = "34aa973cd4c4daa4f61eeb2bdbad27316534016f";
        assert_eq!(hex(&Sha1::digest(&million)), hash);
    }

    /// RFC 1321, appendix A.5.
    #[cfg(feature = "chacha20poly1305")]
    #[test]
    fn md5() {
        for (text, hash) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                "d174ab98d277d9f5a5611c2c9f419d9f",
            ),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(hex(&Md5::digest(&[text.as_bytes()])), hash);
        }
    }

    /// However long it is, and wherever it is cut: the hash is that of the whole.
    #[test]
    fn parts() {
        let all: [u8; 200] = core::array::from_fn(|n| n as u8);
        for len in 0..all.len() {
            let whole = Sha1::digest(&[&all[..len]]);
            let (a, b) = all[..len].split_at(len / 3);
            assert_eq!(Sha1::digest(&[a, b]), whole);
            assert_eq!(
                Sha1::digest(&[a, &[], &b[..b.len() / 2], &b[b.len() / 2..]]),
                whole
            );
        }
    }
}
