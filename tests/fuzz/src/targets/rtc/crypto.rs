//! The cryptography that protects nothing, of peer-core's own tests, and one that believes
//! everything.

pub(super) use peer_core::rtc::crypto::*;

#[path = "../../../../../peer-core/src/rtc/crypto/null.rs"]
#[allow(dead_code, reason = "the tests of peer-core use more of it")]
pub(super) mod null;

use null::{NullCrypto, NullSha256};

/// What is made of what was changed on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// It is noticed, as with real cryptography.
    Strict,
    /// It is taken for genuine: every digest and HMAC is the same, every signature and tag right.
    /// So a fuzzer gets to what lies behind them.
    All,
}

/// [`NullCrypto`], with a [`Belief`].
#[derive(Clone, Debug)]
pub(super) struct Gullible {
    null: NullCrypto,
    pub(super) belief: Belief,
}

impl Gullible {
    pub(super) const fn new(seed: u64, belief: Belief) -> Self {
        Self {
            null: NullCrypto::new(seed),
            belief,
        }
    }

    /// What its AEADs do to a text, both ways.
    pub(super) fn mask(text: &mut [u8]) {
        text.iter_mut().for_each(|byte| *byte ^= 0x5a);
    }
}

/// That of [`NullCrypto`], or always the same.
#[derive(Clone, Debug)]
pub(super) struct Digest(Option<NullSha256>);

impl Sha256 for Digest {
    fn update(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.0 {
            hash.update(bytes);
        }
    }

    fn finish(self) -> [u8; DIGEST_LEN] {
        self.0.map_or([6; DIGEST_LEN], NullSha256::finish)
    }
}

impl Crypto for Gullible {
    type Sha256 = Digest;
    type Aead = Secret<DIGEST_LEN>;

    fn random(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.null.random(out)
    }

    fn public_key(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
    ) -> Result<[u8; PUBLIC_KEY_LEN], CryptoError> {
        self.null.public_key(secret)
    }

    fn agree(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        remote: &[u8; PUBLIC_KEY_LEN],
    ) -> Result<Secret<SCALAR_LEN>, CryptoError> {
        self.null.agree(secret, remote)
    }

    fn sign(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        digest: &[u8; DIGEST_LEN],
    ) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
        self.null.sign(secret, digest)
    }

    fn verify(
        &mut self,
        public: &[u8; PUBLIC_KEY_LEN],
        digest: &[u8; DIGEST_LEN],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), CryptoError> {
        match self.belief {
            Belief::Strict => self.null.verify(public, digest, signature),
            Belief::All => Ok(()),
        }
    }

    fn sha256(&mut self) -> Digest {
        Digest((self.belief == Belief::Strict).then(NullSha256::default))
    }

    fn hmac_sha256(&mut self, key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
        match self.belief {
            Belief::Strict => self.null.hmac_sha256(key, parts),
            Belief::All => [6; DIGEST_LEN],
        }
    }

    fn hmac_sha1(&mut self, key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
        match self.belief {
            Belief::Strict => self.null.hmac_sha1(key, parts),
            Belief::All => [6; 20],
        }
    }

    fn md5(&mut self, parts: &[&[u8]]) -> [u8; 16] {
        self.null.md5(parts)
    }

    fn aead(&mut self, key: AeadKey<'_>) -> Secret<DIGEST_LEN> {
        self.null.aead(key)
    }

    fn seal(
        &mut self,
        key: &Secret<DIGEST_LEN>,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CryptoError> {
        match self.belief {
            Belief::Strict => self.null.seal(key, nonce, aad, text),
            Belief::All => {
                Self::mask(text);
                Ok([6; TAG_LEN])
            }
        }
    }

    fn open(
        &mut self,
        key: &Secret<DIGEST_LEN>,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        match self.belief {
            Belief::Strict => self.null.open(key, nonce, aad, text, tag),
            Belief::All => {
                Self::mask(text);
                Ok(())
            }
        }
    }
}
