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
        let mut hash = RealSha256::default();
        for part in parts {
            hash.update(part);
        }
        hash.finish()
    }
}

/// SHA-256, as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct RealSha256(sha2::Sha256);

impl Sha256 for RealSha256 {
    fn update(&mut self, bytes: &[u8]) {
        sha2::Digest::update(&mut self.0, bytes);
    }

    fn finish(self) -> [u8; DIGEST_LEN] {
        sha2::Digest::finalize(self.0).into()
    }
}

/// The first bytes of others.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

impl Crypto for NullCrypto {
    type Sha256 = RealSha256;
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

    fn sha256(&mut self) -> RealSha256 {
        RealSha256::default()
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
