//! A [`Crypto`] that protects nothing, for tests of state machines and for fuzzing: it is fast, and
//! the same seed gives the same bytes. `tests/fuzz` in the repository compiles this file, too.

use super::{
    AeadKey, Crypto, CryptoError, DIGEST_LEN, NONCE_LEN, PUBLIC_KEY_LEN, SCALAR_LEN, SIGNATURE_LEN,
    Secret, Sha256, TAG_LEN,
};

#[derive(Clone, Debug)]
pub(crate) struct NullCrypto {
    state: u64,
    /// Calls of `random` before it fails.
    pub(crate) randoms: u32,
}

impl NullCrypto {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            state: seed,
            randoms: u32::MAX,
        }
    }

    fn digest(parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
        let mut hash = NullSha256::default();
        for part in parts {
            hash.update(part);
        }
        hash.finish()
    }
}

/// In place of SHA-256: as even, and quick on short messages. Who looks for two inputs with the
/// same digest finds them.
#[derive(Clone, Debug, Default)]
pub(crate) struct NullSha256 {
    lanes: [u64; 4],
    /// What came of the next eight bytes, and how many bytes came.
    held: u64,
    len: u64,
}

impl NullSha256 {
    fn mix(&mut self, word: u64) {
        let [a, b, c, d] = self.lanes;
        let product = u128::from(a ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xbf58_476d_1ce4_e5b9;
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.lanes = [
            b ^ low,
            c.wrapping_add(high),
            d ^ word,
            a.rotate_left(23) ^ low,
        ];
    }
}

impl Sha256 for NullSha256 {
    fn update(&mut self, mut bytes: &[u8]) {
        let mut filled = 8 * (self.len % 8) as u32;
        self.len += bytes.len() as u64;
        while let Some((word, rest)) = bytes.split_first_chunk() {
            let word = u64::from_le_bytes(*word);
            self.mix(self.held | word << filled);
            self.held = word.checked_shr(64 - filled).unwrap_or(0);
            bytes = rest;
        }
        for byte in bytes {
            self.held |= u64::from(*byte) << filled;
            filled += 8;
            if filled == 64 {
                let word = core::mem::take(&mut self.held);
                self.mix(word);
                filled = 0;
            }
        }
    }

    fn finish(mut self) -> [u8; DIGEST_LEN] {
        let (held, len) = (self.held, self.len);
        for word in [held, len, 1, 2, 3, 4] {
            self.mix(word);
        }
        let mut digest = [0; DIGEST_LEN];
        for (to, lane) in digest.chunks_exact_mut(8).zip(self.lanes) {
            to.copy_from_slice(&lane.to_le_bytes());
        }
        digest
    }
}

/// The first bytes of others.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

impl Crypto for NullCrypto {
    type Sha256 = NullSha256;
    type Aead = Secret<DIGEST_LEN>;

    fn random(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.randoms = self.randoms.checked_sub(1).ok_or(CryptoError::Random)?;
        for byte in out {
            // SplitMix64.
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            [*byte, ..] = (z ^ (z >> 31)).to_le_bytes();
        }
        Ok(())
    }

    /// The secret, in plain sight.
    fn public_key(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
    ) -> Result<[u8; PUBLIC_KEY_LEN], CryptoError> {
        if secret.as_bytes() == &[0; SCALAR_LEN] {
            return Err(CryptoError::Key);
        }
        let mut point = [4; PUBLIC_KEY_LEN];
        for (to, from) in point.iter_mut().skip(1).zip(secret.as_bytes()) {
            *to = *from;
        }
        Ok(point)
    }

    fn agree(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        remote: &[u8; PUBLIC_KEY_LEN],
    ) -> Result<Secret<SCALAR_LEN>, CryptoError> {
        let [4, remote @ ..] = remote else {
            return Err(CryptoError::Key);
        };
        let mut shared = *secret.as_bytes();
        shared
            .iter_mut()
            .zip(remote)
            .for_each(|(to, from)| *to ^= from);
        Ok(Secret::new(shared))
    }

    fn sign(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        digest: &[u8; DIGEST_LEN],
    ) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
        let mac = Self::digest(&[secret.as_bytes(), digest]);
        let mut signature = [1; SIGNATURE_LEN];
        signature
            .iter_mut()
            .zip(mac)
            .for_each(|(to, from)| *to = from);
        Ok(signature)
    }

    fn verify(
        &mut self,
        public: &[u8; PUBLIC_KEY_LEN],
        digest: &[u8; DIGEST_LEN],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), CryptoError> {
        let secret = Secret::new(first(public.get(1..).unwrap_or_default()));
        let right = self.sign(&secret, digest)? == *signature;
        right.then_some(()).ok_or(CryptoError::NotVerified)
    }

    fn sha256(&mut self) -> NullSha256 {
        NullSha256::default()
    }

    fn hmac_sha256(&mut self, key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
        let mut hash = self.sha256();
        hash.update(key);
        for part in parts {
            hash.update(part);
        }
        hash.finish()
    }

    fn hmac_sha1(&mut self, key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
        first(&self.hmac_sha256(key, parts))
    }

    fn md5(&mut self, parts: &[&[u8]]) -> [u8; 16] {
        first(&Self::digest(parts))
    }

    fn aead(&mut self, key: AeadKey<'_>) -> Secret<DIGEST_LEN> {
        Secret::new(match key {
            AeadKey::Aes128Gcm(key) => Self::digest(&[b"gcm", key]),
            AeadKey::ChaCha20Poly1305(key) => Self::digest(&[b"chacha", key]),
        })
    }

    fn seal(
        &mut self,
        key: &Secret<DIGEST_LEN>,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CryptoError> {
        text.iter_mut().for_each(|byte| *byte ^= 0x5a);
        Ok(first(&Self::digest(&[key.as_bytes(), nonce, aad, text])))
    }

    fn open(
        &mut self,
        key: &Secret<DIGEST_LEN>,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        if first::<TAG_LEN>(&Self::digest(&[key.as_bytes(), nonce, aad, text])) != *tag {
            return Err(CryptoError::NotVerified);
        }
        text.iter_mut().for_each(|byte| *byte ^= 0x5a);
        Ok(())
    }
}
