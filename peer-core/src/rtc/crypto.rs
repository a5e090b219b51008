//! The cryptography that WebRTC needs, behind one trait.
//!
//! [`Crypto`] is all that `rtc` asks for: ECDH and ECDSA on P-256, AES-128-GCM and
//! ChaCha20-Poly1305 in place, SHA-256, HMAC, MD5 for TURN's keys, and randomness, which can fail.
//! With the feature `rustcrypto`, [`RustCrypto`] is an implementation in pure Rust; with `aes-gcm`
//! or `chacha20poly1305` alone, one with no more than that AEAD. A board with an
//! accelerator brings its own; each operation takes `&mut self` for that.
//!
//! Curve points are uncompressed (SEC 1 §2.3.3): `4`, x, y. Signatures are r and s, 32 bytes each;
//! [`signature`] turns them into DER and back, as strictly for one implementation as for another.

use core::fmt;

use zeroize::{Zeroize as _, ZeroizeOnDrop};

#[cfg(test)]
pub(crate) mod null;
#[cfg(any(feature = "aes-gcm", feature = "chacha20poly1305"))]
mod rustcrypto;
pub mod signature;

#[cfg(any(feature = "aes-gcm", feature = "chacha20poly1305"))]
pub use rustcrypto::RustCrypto;

/// Bytes of a point of P-256, uncompressed.
pub const PUBLIC_KEY_LEN: usize = 65;
/// Bytes of a scalar or coordinate of P-256.
pub const SCALAR_LEN: usize = 32;
/// Bytes of a signature: r and s.
pub const SIGNATURE_LEN: usize = 64;
/// Bytes of a SHA-256 digest.
pub const DIGEST_LEN: usize = 32;
/// Bytes of the tag of both AEADs.
pub const TAG_LEN: usize = 16;
/// Bytes of the nonce of both AEADs.
pub const NONCE_LEN: usize = 12;

/// Scalars drawn for a key before giving up. One in 2³² is no key.
const KEY_TRIES: usize = 4;

/// Cryptography for STUN, TURN and DTLS.
///
/// Operations with secrets take the same time whatever the secret is.
pub trait Crypto {
    /// A running SHA-256.
    type Sha256: Sha256;
    /// An AEAD with its key, prepared. Should wipe the key when dropped.
    type Aead;

    /// The AEADs that [`aead`](Self::aead) takes. DTLS offers and takes no others.
    const AEADS: Aeads = Aeads::Both;

    /// Fills `out` with random bytes of a CSPRNG, or fails with [`CryptoError::Random`].
    fn random(&mut self, out: &mut [u8]) -> Result<(), CryptoError>;

    /// Returns the point that belongs to a secret scalar of P-256.
    ///
    /// Fails with [`CryptoError::Key`] for 0 and for what is not below the order of the group.
    fn public_key(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
    ) -> Result<[u8; PUBLIC_KEY_LEN], CryptoError>;

    /// Returns the x coordinate that ECDH on P-256 gives.
    ///
    /// Fails with [`CryptoError::Key`] if the remote's point is not on the curve.
    fn agree(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        remote: &[u8; PUBLIC_KEY_LEN],
    ) -> Result<Secret<SCALAR_LEN>, CryptoError>;

    /// Signs a SHA-256 digest with ECDSA on P-256: r and s.
    fn sign(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        digest: &[u8; DIGEST_LEN],
    ) -> Result<[u8; SIGNATURE_LEN], CryptoError>;

    /// Verifies a signature over a SHA-256 digest.
    ///
    /// Fails with [`CryptoError::Key`] if the point is not on the curve, else with
    /// [`CryptoError::NotVerified`].
    fn verify(
        &mut self,
        public: &[u8; PUBLIC_KEY_LEN],
        digest: &[u8; DIGEST_LEN],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), CryptoError>;

    /// Starts a SHA-256.
    fn sha256(&mut self) -> Self::Sha256;

    /// HMAC-SHA-256 over the parts, one after the other.
    fn hmac_sha256(&mut self, key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_LEN];

    /// HMAC-SHA-1 over the parts, one after the other: STUN's MESSAGE-INTEGRITY.
    fn hmac_sha1(&mut self, key: &[u8], parts: &[&[u8]]) -> [u8; 20];

    /// MD5 of the parts, one after the other: a TURN key, and nothing else.
    fn md5(&mut self, parts: &[&[u8]]) -> [u8; 16];

    /// Prepares a key for one of [`AEADS`](Self::AEADS).
    fn aead(&mut self, key: AeadKey<'_>) -> Self::Aead;

    /// Encrypts `text` in place and returns the tag over it and `aad`.
    ///
    /// Fails with [`CryptoError::TooLong`] where the text has more bytes than the AEAD takes.
    fn seal(
        &mut self,
        key: &Self::Aead,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CryptoError>;

    /// Decrypts `text` in place.
    ///
    /// Fails with [`CryptoError::NotVerified`] if the tag is not that of the text and `aad`; what
    /// is in `text` then is not to be used.
    fn open(
        &mut self,
        key: &Self::Aead,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError>;

    /// Draws a key of P-256.
    fn key_pair(&mut self) -> Result<KeyPair, CryptoError> {
        let mut last = CryptoError::Key;
        for _ in 0..KEY_TRIES {
            let mut secret = Secret::ZERO;
            self.random(secret.as_mut())?;
            match self.public_key(&secret) {
                Ok(public) => return Ok(KeyPair { secret, public }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A running SHA-256 (FIPS 180-4). A clone goes on by itself.
pub trait Sha256: Clone {
    /// Hashes further bytes.
    fn update(&mut self, bytes: &[u8]);

    /// Returns the digest of all bytes.
    fn finish(self) -> [u8; DIGEST_LEN];
}

/// A key for an AEAD, and which AEAD.
#[derive(Clone, Copy)]
pub enum AeadKey<'a> {
    /// NIST SP 800-38D with AES-128.
    Aes128Gcm(&'a [u8; 16]),
    /// RFC 8439.
    ChaCha20Poly1305(&'a [u8; 32]),
}

/// Which AEADs there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Aeads {
    /// AES-128-GCM and ChaCha20-Poly1305.
    Both,
    /// Only the one that every implementation of WebRTC has to have (RFC 8827 §6.5).
    Aes128Gcm,
    /// Only the one that is fast without an AES instruction. Browsers have it, too.
    ChaCha20Poly1305,
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CryptoError {
    /// The source of randomness failed.
    Random,
    /// The bytes are no key: a scalar out of range, a point that is not on the curve.
    Key,
    /// The signature or tag is wrong.
    NotVerified,
    /// The text is longer than the AEAD takes.
    TooLong,
}

impl fmt::Display for CryptoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random => "the source of randomness failed",
            Self::Key => "the bytes are no key of P-256",
            Self::NotVerified => "the signature or tag is wrong",
            Self::TooLong => "the text is too long to be encrypted",
        })
    }
}

impl core::error::Error for CryptoError {}

/// Secret bytes: not printed, wiped when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Zeros, to be filled.
    pub const ZERO: Self = Self([0; N]);

    /// Keeps these bytes. The copy of the caller is the caller's to wipe.
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// Moves the bytes here and wipes the place they came from.
    pub fn take(bytes: &mut [u8; N]) -> Self {
        let secret = Self(*bytes);
        bytes.zeroize();
        secret
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> AsMut<[u8]> for Secret<N> {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret scalar of P-256 and its point.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The scalar.
    pub secret: Secret<SCALAR_LEN>,
    /// The point, uncompressed.
    pub public: [u8; PUBLIC_KEY_LEN],
}

/// Whether both are the same, in a time that tells nothing but their lengths.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    let different = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && core::hint::black_box(different) == 0
}
