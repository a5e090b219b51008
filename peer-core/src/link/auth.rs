//! Keys, nonces and what either end proves with them.

use core::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::bytes;

use super::{KEY_LEN, NONCE_LEN, PROOF_LEN, frame::Greeting};

/// The secret of one leaf, which the leaf and its gateway share: 32 random bytes, not a password.
///
/// It is not printed by `Debug`.
#[derive(Clone)]
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// A key of these bytes.
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// HMAC-SHA-256 (RFC 2104, RFC 6234) over the parts, one after the other.
    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = start(&self.0);
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// An HMAC takes a key of any length.
fn start(key: &[u8; KEY_LEN]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    bytes::copy(&mut block, key);
    // RFC 2104: a key is padded with zeros to one block, so the padded one is the same key.
    <Hmac<Sha256> as Mac>::new(&block.into())
}

/// The end that proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prover {
    Gateway,
    Leaf,
}

/// What was said before either end proves its key.
pub(super) struct Transcript<'a> {
    pub(super) hello: &'a [u8],
    pub(super) challenge: &'a Greeting,
}

impl Transcript<'_> {
    fn mac(&self, key: &Key, prover: Prover) -> Hmac<Sha256> {
        let label: &[u8] = match prover {
            Prover::Gateway => b"peer link gateway",
            Prover::Leaf => b"peer link leaf",
        };
        // The length separates the name at the hello's end from what follows.
        let len = u8::try_from(self.hello.len()).unwrap_or(u8::MAX);
        key.mac(&[label, &[len], self.hello, &self.challenge.challenge_head()])
    }

    pub(super) fn prove(&self, key: &Key, prover: Prover) -> [u8; PROOF_LEN] {
        self.mac(key, prover).finalize().into_bytes().into()
    }

    /// Whether the other end knows the key. Takes the same time whichever byte is wrong.
    pub(super) fn verify(&self, key: &Key, prover: Prover, proof: &[u8; PROOF_LEN]) -> bool {
        self.mac(key, prover).verify(proof.into()).is_ok()
    }
}

/// Nonces from random bytes that the caller supplied once: HMAC of a counter.
#[derive(Clone)]
pub(super) struct Nonces {
    seed: Key,
    drawn: u64,
}

impl Nonces {
    pub(super) fn new(random: [u8; KEY_LEN]) -> Self {
        Self {
            seed: Key(random),
            drawn: 0,
        }
    }

    pub(super) fn draw(&mut self) -> [u8; NONCE_LEN] {
        self.drawn = self.drawn.wrapping_add(1);
        let bytes = self
            .seed
            .mac(&[&self.drawn.to_le_bytes()])
            .finalize()
            .into_bytes();
        bytes.first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(…)")
    }
}
