//! Self-signed certificates (RFC 8827 §6.5): made in place, and read no further than their key.

use core::fmt;

use crate::bytes;
use crate::rtc::crypto::{
    Crypto, CryptoError, DIGEST_LEN, KeyPair, PUBLIC_KEY_LEN, SCALAR_LEN, Secret, Sha256 as _,
    signature,
};

/// Bytes of the longest certificate that an [`Identity`] takes.
pub const CERTIFICATE_MAX: usize = 512;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const VERSION_TAG: u8 = 0xa0;
/// ecdsa-with-SHA256.
const ALGORITHM: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// CN=peer. Nobody reads it.
const NAME: &[u8] = b"\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x0c\x04peer";
/// 2020 to 2049: there is no clock to know better, and nobody looks at it.
const VALIDITY: &[u8] = b"\x30\x1e\x17\x0d200101000000Z\x17\x0d491231235959Z";
/// A SubjectPublicKeyInfo up to the point: id-ecPublicKey, prime256v1.
const KEY_INFO: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 3, 1, 7, 3, 0x42, 0,
];
/// An AlgorithmIdentifier, its contents: id-ecPublicKey and prime256v1.
const P256: &[u8] = &[
    6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7,
];
/// The same with secp384r1.
const P384: &[u8] = &[
    6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22,
];
/// rsaEncryption.
const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

/// A certificate and its key: who we are to the remote, as the description's fingerprint says.
///
/// One may serve many connections.
pub struct Identity {
    secret: Secret<SCALAR_LEN>,
    certificate: [u8; CERTIFICATE_MAX],
    len: usize,
    fingerprint: [u8; DIGEST_LEN],
}

impl Identity {
    /// Draws a key, and signs a certificate of some 274 bytes with it: two operations on the curve.
    pub fn generate<C: Crypto>(crypto: &mut C) -> Result<Self, CryptoError> {
        let key = crypto.key_pair()?;
        let mut serial = [0; 8];
        crypto.random(&mut serial)?;
        // Positive, and not shorter.
        let [first, ..] = &mut serial;
        *first = *first & 0x3f | 0x40;
        let mut certificate = [0; CERTIFICATE_MAX];
        let len = write(crypto, &key, &serial, &mut certificate)?;
        let fingerprint = digest(crypto, &[bytes::front(&certificate, len)]);
        Ok(Self {
            secret: key.secret,
            certificate,
            len,
            fingerprint,
        })
    }

    /// Uses a certificate in DER and the scalar of its key, kept from an earlier run.
    pub fn new<C: Crypto>(
        crypto: &mut C,
        secret: Secret<SCALAR_LEN>,
        certificate: &[u8],
    ) -> Result<Self, IdentityError> {
        let public = crypto.public_key(&secret).map_err(|_| IdentityError::Key)?;
        let key = public_key(certificate).map_err(IdentityError::Certificate)?;
        if key != public {
            return Err(IdentityError::OtherKey);
        }
        let mut kept = [0; CERTIFICATE_MAX];
        bytes::copy(&mut kept, certificate).ok_or(IdentityError::TooLong)?;
        Ok(Self {
            secret,
            certificate: kept,
            len: certificate.len(),
            fingerprint: digest(crypto, &[certificate]),
        })
    }

    /// The certificate of this identity with the key of another.
    #[cfg(test)]
    pub(super) fn with_key_of(mut self, other: &Self) -> Self {
        self.secret = other.secret.clone();
        self
    }

    /// Returns the certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        bytes::front(&self.certificate, self.len)
    }

    /// Returns the SHA-256 of the certificate: what `a=fingerprint:sha-256` tells the remote.
    pub const fn fingerprint(&self) -> &[u8; DIGEST_LEN] {
        &self.fingerprint
    }

    /// Returns the scalar, to be kept with the certificate.
    pub const fn secret(&self) -> &Secret<SCALAR_LEN> {
        &self.secret
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Why a certificate and a key are no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum IdentityError {
    /// The scalar is no key of P-256.
    Key,
    /// The certificate cannot be used.
    Certificate(CertificateError),
    /// The certificate is that of another key.
    OtherKey,
    /// The certificate has more than [`CERTIFICATE_MAX`] bytes.
    TooLong,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("the scalar is no key of P-256"),
            Self::Certificate(error) => error.fmt(f),
            Self::OtherKey => f.write_str("the certificate belongs to another key"),
            Self::TooLong => write!(f, "the certificate has more than {CERTIFICATE_MAX} bytes"),
        }
    }
}

impl core::error::Error for IdentityError {}

/// Why a certificate cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CertificateError {
    /// It is no certificate in DER.
    Malformed,
    /// Its key is RSA's.
    Rsa,
    /// Its key is on P-384.
    P384,
    /// Its key is of another kind, neither of these nor P-256.
    OtherKind,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the certificate is not DER",
            Self::Rsa => "the certificate's key is RSA's; only ECDSA with P-256 is known here",
            Self::P384 => "the certificate's key is on P-384; only P-256 is known here",
            Self::OtherKind => "the certificate's key is not ECDSA's with P-256",
        })
    }
}

impl core::error::Error for CertificateError {}

/// SHA-256 of the parts.
pub(super) fn digest<C: Crypto>(crypto: &mut C, parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
    let mut hash = crypto.sha256();
    for part in parts {
        hash.update(part);
    }
    hash.finish()
}

/// Writes a certificate to the start of `out`; its bytes.
fn write<C: Crypto>(
    crypto: &mut C,
    key: &KeyPair,
    serial: &[u8; 8],
    out: &mut [u8],
) -> Result<usize, CryptoError> {
    const TBS_LEN: usize = 5
        + 2
        + 8
        + ALGORITHM.len()
        + 2 * NAME.len()
        + VALIDITY.len()
        + KEY_INFO.len()
        + PUBLIC_KEY_LEN;
    const { assert!(TBS_LEN >= 128 && TBS_LEN < 256, "its length has one byte") };
    let tbs: [&[u8]; 10] = [
        &[SEQUENCE, 0x81, TBS_LEN.to_le_bytes()[0]],
        &[VERSION_TAG, 3, INTEGER, 1, 2],
        &[INTEGER, 8],
        serial,
        ALGORITHM,
        NAME,
        VALIDITY,
        NAME,
        KEY_INFO,
        &key.public,
    ];
    let digest = digest(crypto, &tbs);
    let signed = crypto.sign(&key.secret, &digest)?;
    let mut der = [0; signature::DER_MAX];
    let mut all = || {
        let len = signature::to_der(&signed, &mut der)?;
        let der = der.get(..len)?;
        let bits = u8::try_from(len + 1).ok()?;
        let whole = u16::try_from(3 + TBS_LEN + ALGORITHM.len() + 3 + len).ok()?;
        // A length that fits one byte must have one.
        let head = match whole.to_be_bytes() {
            [0, low] => &[SEQUENCE, 0x81, low][..],
            [high, low] => &[SEQUENCE, 0x82, high, low],
        };
        let mut written = 0;
        bytes::append(out, &mut written, head)?;
        for part in tbs
            .into_iter()
            .chain([ALGORITHM, &[BIT_STRING, bits, 0], der])
        {
            bytes::append(out, &mut written, part)?;
        }
        Some(written)
    };
    all().ok_or(CryptoError::TooLong)
}

/// Takes an element off DER: its tag and its contents.
fn element<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&len, rest) = rest.split_first()?;
            (usize::from(len), rest)
        }
        0x82 => {
            let (&len, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(len)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(len)?;
    *der = rest;
    Some((tag, contents))
}

/// Reads a certificate up to its key (RFC 5280 §4.1), and no further.
pub(super) fn public_key(certificate: &[u8]) -> Result<[u8; PUBLIC_KEY_LEN], CertificateError> {
    let (algorithm, key) = key_info(certificate).ok_or(CertificateError::Malformed)?;
    if algorithm.starts_with(RSA) {
        return Err(CertificateError::Rsa);
    }
    match algorithm {
        P384 => Err(CertificateError::P384),
        // No unused bits, and a point.
        P256 => match key.split_first() {
            Some((0, point)) => point.try_into().map_err(|_| CertificateError::OtherKind),
            _ => Err(CertificateError::Malformed),
        },
        _ => Err(CertificateError::OtherKind),
    }
}

/// The contents of the key's AlgorithmIdentifier and of its BIT STRING.
fn key_info(mut certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut all = expect(&mut certificate, SEQUENCE)?;
    let mut tbs = expect(&mut all, SEQUENCE)?;
    if tbs.first() == Some(&VERSION_TAG) {
        expect(&mut tbs, VERSION_TAG)?;
    }
    expect(&mut tbs, INTEGER)?;
    // The signature's algorithm, the issuer, the validity, the subject.
    for _ in 0..4 {
        expect(&mut tbs, SEQUENCE)?;
    }
    let mut info = expect(&mut tbs, SEQUENCE)?;
    let algorithm = expect(&mut info, SEQUENCE)?;
    Some((algorithm, expect(&mut info, BIT_STRING)?))
}

/// Takes an element that has to have this tag.
fn expect<'a>(der: &mut &'a [u8], wanted: u8) -> Option<&'a [u8]> {
    let (tag, contents) = element(der)?;
    (tag == wanted).then_some(contents)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::rtc::crypto::null::NullCrypto;

    #[test]
    fn what_is_made_is_read() {
        let mut crypto = NullCrypto::new(1);
        let identity = Identity::generate(&mut crypto).expect("randomness");
        let public = crypto.public_key(identity.secret()).expect("a key");
        assert_eq!(public_key(identity.certificate()), Ok(public));
        let fingerprint = digest(&mut crypto, &[identity.certificate()]);
        assert_eq!(identity.fingerprint(), &fingerprint);

        let secret = identity.secret().clone();
        let again = Identity::new(&mut crypto, secret, identity.certificate()).expect("they fit");
        assert_eq!(again.fingerprint(), identity.fingerprint());
        let other = Identity::generate(&mut crypto).expect("randomness");
        let secret = other.secret().clone();
        let wrong = Identity::new(&mut crypto, secret, identity.certificate());
        assert_eq!(wrong.err(), Some(IdentityError::OtherKey));
        assert_ne!(other.fingerprint(), identity.fingerprint());
    }

    #[test]
    fn other_keys_have_a_name() {
        let mut crypto = NullCrypto::new(1);
        let identity = Identity::generate(&mut crypto).expect("randomness");
        let der = identity.certificate();
        let at = der
            .windows(P256.len())
            .position(|it| it == P256)
            .expect("it is there");
        let with = |algorithm: &[u8]| {
            // As long as the old one, so that no length changes.
            let mut der = der.to_vec();
            der[at..at + P256.len()].fill(5);
            der[at..at + algorithm.len()].copy_from_slice(algorithm);
            der
        };
        assert_eq!(public_key(&with(RSA)), Err(CertificateError::Rsa));
        let mut unknown = P256.to_vec();
        unknown[18] ^= 1;
        assert_eq!(
            public_key(&with(&unknown)),
            Err(CertificateError::OtherKind)
        );
        for len in 0..at {
            assert_eq!(public_key(&der[..len]), Err(CertificateError::Malformed));
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(
            noise in prop::collection::vec(any::<u8>(), 0..64),
            at in 0_usize..280,
        ) {
            let _ = public_key(&noise);
            let mut crypto = NullCrypto::new(1);
            let identity = Identity::generate(&mut crypto).expect("randomness");
            let mut der: Vec<u8> = identity.certificate().to_vec();
            for (to, from) in der.iter_mut().skip(at).zip(noise) {
                *to = from;
            }
            let _ = public_key(&der);
        }
    }
}
