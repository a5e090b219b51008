//! Keys, nonces and what either end proves with them.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::random::Secret;

use super::{KEY_LEN, NONCE_LEN, PROOF_LEN, frame::Greeting};

/// The secret of one leaf, which the leaf and its gateway share. Not printed, wiped on drop.
#[derive(Clone, Debug)]
pub struct Key(Secret);

impl Key {
    /// Returns a key of these bytes.
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(Secret::new(bytes))
    }
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
        key.0
            .mac(&[label, &[len], self.hello, &self.challenge.challenge_head()])
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
#[derive(Clone, Debug)]
pub(super) struct Nonces {
    seed: Secret,
    drawn: u64,
}

impl Nonces {
    pub(super) fn new(seed: Secret) -> Self {
        Self { seed, drawn: 0 }
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
