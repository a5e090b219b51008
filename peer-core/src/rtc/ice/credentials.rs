//! The user name fragment and the password of either end (RFC 8445 §5.3).

use core::fmt;

use zeroize::Zeroize as _;

use crate::bytes;
use crate::hash::{Hash as _, Sha1};
use crate::rtc::crypto::{Crypto, CryptoError, Secret, equal};

/// Characters of a local ufrag: 48 bits.
pub const LOCAL_UFRAG_LEN: usize = 8;
/// Characters of a local password: 144 bits.
pub(super) const PASSWORD_LEN: usize = 24;
/// Characters of the longest ufrag of a remote. Each check carries it to an address of the remote's
/// choice, so it is not the 256 of RFC 8839.
pub const UFRAG_MAX: usize = 32;
/// Characters of the longest password of a remote (RFC 8839 §5.4).
pub const PASSWORD_MAX: usize = 256;

/// Bytes of HMAC's longest key; it takes a longer one's hash (RFC 2104).
const KEY_MAX: usize = 64;

/// What ufrag and password are made of (RFC 8839 §5.4).
const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What this end is known by, and proves itself with.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) ufrag: [u8; LOCAL_UFRAG_LEN],
    pub(super) password: Secret<PASSWORD_LEN>,
}

impl Local {
    pub(super) fn draw<C: Crypto>(crypto: &mut C) -> Result<Self, CryptoError> {
        let mut ufrag = [0; LOCAL_UFRAG_LEN];
        crypto.random(&mut ufrag)?;
        ufrag.iter_mut().for_each(character);
        let mut password = Secret::ZERO;
        crypto.random(password.as_mut())?;
        password.as_mut().iter_mut().for_each(character);
        Ok(Self { ufrag, password })
    }
}

/// Keeps six random bits, as a character.
fn character(byte: &mut u8) {
    *byte = CHARACTERS
        .get(usize::from(*byte & 63))
        .copied()
        .unwrap_or(b'A');
}

/// Credentials of a remote that are legal.
#[derive(Clone, Copy)]
pub(super) struct Checked<'a> {
    ufrag: &'a [u8],
    password: &'a [u8],
}

impl<'a> Checked<'a> {
    pub(super) fn new(ufrag: &'a str, password: &'a str) -> Result<Self, CredentialsError> {
        let (ufrag, password) = (ufrag.as_bytes(), password.as_bytes());
        let legal = |text: &[u8]| text.iter().all(|byte| CHARACTERS.contains(byte));
        if !(4..=UFRAG_MAX).contains(&ufrag.len()) || !legal(ufrag) {
            return Err(CredentialsError::Ufrag);
        }
        if !(22..=PASSWORD_MAX).contains(&password.len()) || !legal(password) {
            return Err(CredentialsError::Password);
        }
        Ok(Self { ufrag, password })
    }
}

/// What the remote is known by, and proves itself with.
#[derive(Debug)]
pub(super) struct Remote {
    ufrag: [u8; UFRAG_MAX],
    ufrag_len: usize,
    /// The password as HMAC takes it.
    key: Secret<KEY_MAX>,
    key_len: usize,
}

impl Remote {
    /// Nobody yet; see [`set`](Self::set).
    pub(super) const fn empty() -> Self {
        Self {
            ufrag: [0; UFRAG_MAX],
            ufrag_len: 0,
            key: Secret::ZERO,
            key_len: 0,
        }
    }

    /// Takes what a description tells. Written in place: no copy of the password is left elsewhere.
    pub(super) fn set(&mut self, credentials: &Checked<'_>) {
        let Checked { ufrag, password } = credentials;
        self.ufrag_len = bytes::copy(&mut self.ufrag, ufrag).map_or(0, |()| ufrag.len());
        self.key_len = write_key(password, self.key.as_mut());
    }

    pub(super) fn is(&self, credentials: &Checked<'_>) -> bool {
        let mut key = Secret::<KEY_MAX>::ZERO;
        let len = write_key(credentials.password, key.as_mut());
        self.ufrag() == credentials.ufrag && equal(self.key(), bytes::front(key.as_bytes(), len))
    }

    pub(super) fn ufrag(&self) -> &[u8] {
        bytes::front(&self.ufrag, self.ufrag_len)
    }

    /// The key of MESSAGE-INTEGRITY.
    pub(super) fn key(&self) -> &[u8] {
        bytes::front(self.key.as_bytes(), self.key_len)
    }
}

/// Writes the key that HMAC-SHA-1 makes of a password, and returns its length.
fn write_key(password: &[u8], key: &mut [u8]) -> usize {
    if bytes::copy(key, password).is_some() {
        return password.len();
    }
    let hash = Sha1::digest(&[password]);
    bytes::copy(key, &hash).map_or(0, |()| hash.len())
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.ufrag.zeroize();
    }
}

/// Why a remote's credentials cannot be used. Does not say what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CredentialsError {
    /// The ufrag has not 4 to [`UFRAG_MAX`] characters, or others than letters, digits, `+`, `/`.
    Ufrag,
    /// The password has not 22 to [`PASSWORD_MAX`] characters, or others than these.
    Password,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ufrag => "the far side's ICE ufrag is too short, too long or illegal",
            Self::Password => "the far side's ICE password is too short, too long or illegal",
        })
    }
}

impl core::error::Error for CredentialsError {}

#[cfg(all(test, feature = "rustcrypto"))]
mod tests {
    extern crate std;

    use super::*;
    use crate::rtc::crypto::RustCrypto;

    #[test]
    fn every_password_gives_its_hmac() {
        let mut crypto = RustCrypto::new(|_: &mut [u8]| Err(CryptoError::Random));
        for len in [22, 63, 64, 65, 255, PASSWORD_MAX] {
            let password = "aB3+".repeat(64);
            let password = &password[..len];
            let mut remote = Remote::empty();
            let checked = Checked::new("ufrag", password).unwrap();
            remote.set(&checked);
            let expected = crypto.hmac_sha1(password.as_bytes(), &[b"text"]);
            assert_eq!(crypto.hmac_sha1(remote.key(), &[b"text"]), expected);
            assert!(remote.is(&checked));
            let mut other = std::string::String::from(&password[..len - 1]);
            other.push('x');
            assert!(!remote.is(&Checked::new("ufrag", &other).unwrap()));
            assert!(!remote.is(&Checked::new("other", password).unwrap()));
        }
    }
}
