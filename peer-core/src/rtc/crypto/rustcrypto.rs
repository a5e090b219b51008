//! [`Crypto`] in pure Rust, by the crates of RustCrypto: constant time, no allocation.

#[cfg(feature = "aes-gcm")]
use aes_gcm::{AeadInPlace as _, Aes128Gcm, KeyInit as _};
#[cfg(feature = "chacha20poly1305")]
use chacha20poly1305::ChaCha20Poly1305;
#[cfg(not(feature = "aes-gcm"))]
use chacha20poly1305::{AeadInPlace as _, KeyInit as _};
use ecdsa::hazmat::SignPrimitive as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::{PublicKey, SecretKey};
use sha2::Digest as _;
use zeroize::Zeroizing;

use super::{
    AeadKey, Aeads, Crypto, CryptoError, DIGEST_LEN, NONCE_LEN, PUBLIC_KEY_LEN, SCALAR_LEN,
    SIGNATURE_LEN, Secret, Sha256, TAG_LEN,
};
use crate::hash::{Hash, Md5, Sha1};

/// [`Crypto`] in pure Rust.
///
/// Signatures are those of RFC 6979: they need no randomness. A handshake's four operations on the
/// curve take 35 to 62 million instructions of a Cortex-M4, and less than 5 KB of stack.
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
        let point = secret_key(secret)?.public_key().to_encoded_point(false);
        point.as_bytes().try_into().map_err(|_| CryptoError::Key)
    }

    fn agree(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        remote: &[u8; PUBLIC_KEY_LEN],
    ) -> Result<Secret<SCALAR_LEN>, CryptoError> {
        let scalar = Zeroizing::new(secret_key(secret)?.to_nonzero_scalar());
        let remote = PublicKey::from_sec1_bytes(remote).map_err(|_| CryptoError::Key)?;
        let shared = p256::ecdh::diffie_hellman(&*scalar, remote.as_affine());
        Ok(Secret::new((*shared.raw_secret_bytes()).into()))
    }

    fn sign(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        digest: &[u8; DIGEST_LEN],
    ) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
        // A `SigningKey` would calculate the public key first, which takes as long as signing.
        let scalar = Zeroizing::new(secret_key(secret)?.to_nonzero_scalar());
        let (signature, _) = scalar
            .try_sign_prehashed_rfc6979::<sha2::Sha256>(digest.into(), &[])
            .map_err(|_| CryptoError::Key)?;
        Ok(signature.to_bytes().into())
    }

    fn verify(
        &mut self,
        public: &[u8; PUBLIC_KEY_LEN],
        digest: &[u8; DIGEST_LEN],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), CryptoError> {
        let key = VerifyingKey::from_sec1_bytes(public).map_err(|_| CryptoError::Key)?;
        let signature =
            Signature::from_bytes(signature.into()).map_err(|_| CryptoError::NotVerified)?;
        key.verify_prehash(digest, &signature)
            .map_err(|_| CryptoError::NotVerified)
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

fn secret_key(secret: &Secret<SCALAR_LEN>) -> Result<SecretKey, CryptoError> {
    SecretKey::from_bytes(secret.as_bytes().into()).map_err(|_| CryptoError::Key)
}

#[cfg(all(test, feature = "rustcrypto"))]
mod tests;
