//! [`Crypto`] in pure Rust, by the crates of RustCrypto: constant time, no allocation.

#[cfg(feature = "aes-gcm")]
use aes_gcm::{AeadInPlace as _, Aes128Gcm, KeyInit as _};
#[cfg(feature = "chacha20poly1305")]
use chacha20poly1305::ChaCha20Poly1305;
#[cfg(not(feature = "aes-gcm"))]
use chacha20poly1305::{AeadInPlace as _, KeyInit as _};
use sha2::Digest as _;

use super::{
    AeadKey, Aeads, Crypto, CryptoError, DIGEST_LEN, NONCE_LEN, PUBLIC_KEY_LEN, SCALAR_LEN,
    SIGNATURE_LEN, Secret, Sha256, TAG_LEN,
};
use crate::hash::{Hash, Md5, Sha1};

#[cfg(any(feature = "compact", test))]
mod compact;
#[cfg(any(not(feature = "compact"), test))]
mod crates;

#[cfg(feature = "compact")]
use compact as curve;
#[cfg(not(feature = "compact"))]
use crates as curve;

/// [`Crypto`] in pure Rust.
///
/// Signatures are those of RFC 6979: they need no randomness. A handshake takes 30 million
/// instructions of a Cortex-M4, each of its steps up to 12 million, and less than 5 KB of stack.
///
/// With the feature `compact` P-256 is of this crate, in place of the crate `p256`: 12 KB of flash
/// less, 35 million instructions. It takes no more time for one secret than for another, either.
///
/// ```
/// use peer_core::rtc::crypto::{Crypto as _, CryptoError, RustCrypto};
/// // On a microcontroller: its TRNG, which may have failed its self-test.
/// fn random(out: &mut [u8]) -> Result<(), CryptoError> {
///     # let mut state = 1_u8;
///     # for byte in out { state = state.wrapping_mul(5).wrapping_add(7); *byte = state; }
///     Ok(())
/// }
/// let mut crypto = RustCrypto::new(random);
/// let key = crypto.key_pair()?;
/// let signature = crypto.sign(&key.secret, &[7; 32])?;
/// crypto.verify(&key.public, &[7; 32], &signature)?;
/// # Ok::<(), CryptoError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RustCrypto<R> {
    random: R,
}

impl<R: FnMut(&mut [u8]) -> Result<(), CryptoError>> RustCrypto<R> {
    /// `random` fills a slice from a CSPRNG, or fails with [`CryptoError::Random`].
    pub const fn new(random: R) -> Self {
        Self { random }
    }
}

/// An AEAD with its key, prepared.
#[expect(missing_debug_implementations, reason = "it is a secret")]
#[cfg_attr(
    feature = "aes-gcm",
    expect(clippy::large_enum_variant, reason = "there is no allocator to box it")
)]
pub enum Aead {
    /// Wiped when dropped.
    #[cfg(feature = "aes-gcm")]
    Aes128Gcm(Aes128Gcm),
    /// Wiped when dropped.
    #[cfg(feature = "chacha20poly1305")]
    ChaCha20Poly1305(ChaCha20Poly1305),
    /// A key for the one that is left out: nothing is encrypted or decrypted with it.
    #[cfg(not(all(feature = "aes-gcm", feature = "chacha20poly1305")))]
    LeftOut,
}

impl Sha256 for sha2::Sha256 {
    fn update(&mut self, bytes: &[u8]) {
        sha2::Digest::update(self, bytes);
    }

    fn finish(self) -> [u8; DIGEST_LEN] {
        self.finalize().into()
    }
}

impl<R: FnMut(&mut [u8]) -> Result<(), CryptoError>> Crypto for RustCrypto<R> {
    type Sha256 = sha2::Sha256;
    type Aead = Aead;

    const AEADS: Aeads = match (
        cfg!(feature = "aes-gcm"),
        cfg!(feature = "chacha20poly1305"),
    ) {
        (true, false) => Aeads::Aes128Gcm,
        (false, _) => Aeads::ChaCha20Poly1305,
        (true, true) => Aeads::Both,
    };

    fn random(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        (self.random)(out)
    }

    fn public_key(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
    ) -> Result<[u8; PUBLIC_KEY_LEN], CryptoError> {
        curve::public_key(secret)
    }

    fn agree(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        remote: &[u8; PUBLIC_KEY_LEN],
    ) -> Result<Secret<SCALAR_LEN>, CryptoError> {
        curve::agree(secret, remote)
    }

    fn sign(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        digest: &[u8; DIGEST_LEN],
    ) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
        curve::sign(secret, digest)
    }

    fn verify(
        &mut self,
        public: &[u8; PUBLIC_KEY_LEN],
        digest: &[u8; DIGEST_LEN],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), CryptoError> {
        curve::verify(public, digest, signature)
    }

    fn sha256(&mut self) -> Self::Sha256 {
        sha2::Sha256::new()
    }

    fn hmac_sha256(&mut self, key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
        <sha2::Sha256 as Hash<_>>::hmac(key, parts)
    }

    fn hmac_sha1(&mut self, key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
        Sha1::hmac(key, parts)
    }

    fn md5(&mut self, parts: &[&[u8]]) -> [u8; 16] {
        Md5::digest(parts)
    }

    fn aead(&mut self, key: AeadKey<'_>) -> Aead {
        match key {
            #[cfg(feature = "aes-gcm")]
            AeadKey::Aes128Gcm(key) => Aead::Aes128Gcm(Aes128Gcm::new(key.into())),
            #[cfg(feature = "chacha20poly1305")]
            AeadKey::ChaCha20Poly1305(key) => {
                Aead::ChaCha20Poly1305(ChaCha20Poly1305::new(key.into()))
            }
            #[cfg(not(all(feature = "aes-gcm", feature = "chacha20poly1305")))]
            _ => Aead::LeftOut,
        }
    }

    fn seal(
        &mut self,
        key: &Aead,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CryptoError> {
        match key {
            #[cfg(feature = "aes-gcm")]
            Aead::Aes128Gcm(key) => key.encrypt_in_place_detached(nonce.into(), aad, text),
            #[cfg(feature = "chacha20poly1305")]
            Aead::ChaCha20Poly1305(key) => key.encrypt_in_place_detached(nonce.into(), aad, text),
            #[cfg(not(all(feature = "aes-gcm", feature = "chacha20poly1305")))]
            Aead::LeftOut => return Err(CryptoError::Key),
        }
        .map(Into::into)
        .map_err(|_| CryptoError::TooLong)
    }

    fn open(
        &mut self,
        key: &Aead,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        let (nonce, tag) = (nonce.into(), tag.into());
        match key {
            #[cfg(feature = "aes-gcm")]
            Aead::Aes128Gcm(key) => key.decrypt_in_place_detached(nonce, aad, text, tag),
            #[cfg(feature = "chacha20poly1305")]
            Aead::ChaCha20Poly1305(key) => key.decrypt_in_place_detached(nonce, aad, text, tag),
            #[cfg(not(all(feature = "aes-gcm", feature = "chacha20poly1305")))]
            Aead::LeftOut => return Err(CryptoError::Key),
        }
        .map_err(|_| CryptoError::NotVerified)
    }
}

#[cfg(all(test, feature = "rustcrypto"))]
mod tests;
