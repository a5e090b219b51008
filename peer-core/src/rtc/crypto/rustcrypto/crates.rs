//! P-256 by RustCrypto's crates.

use ecdsa::hazmat::SignPrimitive as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::{PublicKey, SecretKey};
use zeroize::Zeroizing;

use super::super::{CryptoError, DIGEST_LEN, PUBLIC_KEY_LEN, SCALAR_LEN, SIGNATURE_LEN, Secret};

pub(super) fn public_key(secret: &Secret<SCALAR_LEN>) -> Result<[u8; PUBLIC_KEY_LEN], CryptoError> {
    let point = secret_key(secret)?.public_key().to_encoded_point(false);
    point.as_bytes().try_into().map_err(|_| CryptoError::Key)
}

pub(super) fn agree(
    secret: &Secret<SCALAR_LEN>,
    remote: &[u8; PUBLIC_KEY_LEN],
) -> Result<Secret<SCALAR_LEN>, CryptoError> {
    let scalar = Zeroizing::new(secret_key(secret)?.to_nonzero_scalar());
    let remote = PublicKey::from_sec1_bytes(remote).map_err(|_| CryptoError::Key)?;
    let shared = p256::ecdh::diffie_hellman(&*scalar, remote.as_affine());
    Ok(Secret::new((*shared.raw_secret_bytes()).into()))
}

pub(super) fn sign(
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

pub(super) fn verify(
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

fn secret_key(secret: &Secret<SCALAR_LEN>) -> Result<SecretKey, CryptoError> {
    SecretKey::from_bytes(secret.as_bytes().into()).map_err(|_| CryptoError::Key)
}
