//! [`Crypto`] by `ring` where that is fast and can be asked: each packet's AEAD, SHA-256, HMAC and
//! randomness. Keys of P-256 stay with `p256`: `ring` takes neither a scalar for ECDH nor a digest
//! to sign, and both are asked once a handshake. Its signatures are those of RFC 6979, so that both
//! implementations say the same where they draw the same.

use core::fmt;

use peer_core::rtc::crypto::{
    AeadKey, Crypto, CryptoError, DIGEST_LEN, NONCE_LEN, PUBLIC_KEY_LEN, RustCrypto, SCALAR_LEN,
    SIGNATURE_LEN, Secret, Sha256, TAG_LEN,
};
use ring::aead::{AES_128_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac};

/// Fills a slice from a CSPRNG, or fails with [`CryptoError::Random`].
type Source = fn(&mut [u8]) -> Result<(), CryptoError>;

/// [`Crypto`] by `ring`, and by `p256` for its curve.
///
/// `ring` wipes nothing of what it works with: keys of its AEADs stay in memory that is given back,
/// and so does what its HMAC and SHA-256 keep of secrets while they run. The secrets of the curve
/// are wiped as by [`RustCrypto`].
///
/// ```
/// use peer_core::rtc::crypto::{AeadKey, Crypto as _};
/// use peer_net::rtc::crypto::RingCrypto;
/// let mut crypto = RingCrypto::default();
/// let key = crypto.aead(AeadKey::Aes128Gcm(&[7; 16]));
/// let mut text = *b"text";
/// let tag = crypto.seal(&key, &[0; 12], b"", &mut text)?;
/// crypto.open(&key, &[0; 12], b"", &mut text, &tag)?;
/// assert_eq!(&text, b"text");
/// # Ok::<(), peer_core::rtc::crypto::CryptoError>(())
/// ```
#[derive(Debug)]
pub struct RingCrypto<R = Source> {
    curve: RustCrypto<R>,
}

impl Default for RingCrypto {
    /// With the randomness of the operating system.
    fn default() -> Self {
        Self::new(|out| {
            SystemRandom::new()
                .fill(out)
                .map_err(|_| CryptoError::Random)
        })
    }
}

impl<R: FnMut(&mut [u8]) -> Result<(), CryptoError>> RingCrypto<R> {
    /// With randomness of one's own: `random` fills a slice from a CSPRNG, or fails with
    /// [`CryptoError::Random`].
    pub const fn new(random: R) -> Self {
        Self {
            curve: RustCrypto::new(random),
        }
    }
}

/// A running SHA-256.
#[derive(Clone)]
pub struct RingSha256(digest::Context);

impl fmt::Debug for RingSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RingSha256")
    }
}

impl Sha256 for RingSha256 {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; DIGEST_LEN] {
        first(self.0.finish().as_ref())
    }
}

/// The first bytes of others, which are as many.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    debug_assert_eq!(bytes.len(), N, "it is chosen by its length");
    bytes.first_chunk().copied().unwrap_or([0; N])
}

/// The HMAC of the parts, one after the other.
fn mac<const N: usize>(algorithm: hmac::Algorithm, key: &[u8], parts: &[&[u8]]) -> [u8; N] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    for part in parts {
        context.update(part);
    }
    first(context.sign().as_ref())
}

impl<R: FnMut(&mut [u8]) -> Result<(), CryptoError>> Crypto for RingCrypto<R> {
    type Sha256 = RingSha256;
    type Aead = LessSafeKey;

    fn random(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.curve.random(out)
    }

    fn public_key(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
    ) -> Result<[u8; PUBLIC_KEY_LEN], CryptoError> {
        self.curve.public_key(secret)
    }

    fn agree(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        remote: &[u8; PUBLIC_KEY_LEN],
    ) -> Result<Secret<SCALAR_LEN>, CryptoError> {
        self.curve.agree(secret, remote)
    }

    fn sign(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        digest: &[u8; DIGEST_LEN],
    ) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
        self.curve.sign(secret, digest)
    }

    fn verify(
        &mut self,
        public: &[u8; PUBLIC_KEY_LEN],
        digest: &[u8; DIGEST_LEN],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), CryptoError> {
        self.curve.verify(public, digest, signature)
    }

    fn sha256(&mut self) -> RingSha256 {
        RingSha256(digest::Context::new(&digest::SHA256))
    }

    fn hmac_sha256(&mut self, key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
        mac(hmac::HMAC_SHA256, key, parts)
    }

    fn hmac_sha1(&mut self, key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
        mac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key, parts)
    }

    /// Not of `ring`, which has no MD5.
    fn md5(&mut self, parts: &[&[u8]]) -> [u8; 16] {
        self.curve.md5(parts)
    }

    fn aead(&mut self, key: AeadKey<'_>) -> LessSafeKey {
        let (algorithm, bytes): (_, &[u8]) = match &key {
            AeadKey::Aes128Gcm(key) => (&AES_128_GCM, *key),
            AeadKey::ChaCha20Poly1305(key) => (&CHACHA20_POLY1305, *key),
        };
        LessSafeKey::new(
            UnboundKey::new(algorithm, bytes).expect("a key of the algorithm's length"),
        )
    }

    fn seal(
        &mut self,
        key: &LessSafeKey,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CryptoError> {
        let tag = key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(aad),
            text,
        );
        tag.map(|tag| first(tag.as_ref()))
            .map_err(|_| CryptoError::TooLong)
    }

    fn open(
        &mut self,
        key: &LessSafeKey,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        key.open_in_place_separate_tag(nonce, Aad::from(aad), (*tag).into(), text, 0..)
            .map(|_| ())
            .map_err(|_| CryptoError::NotVerified)
    }
}
