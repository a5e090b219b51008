//! How a link session begins.

use crate::time::Instant;

use super::{
    super::{
        LinkError, PROOF_LEN, VERSION,
        auth::{Prover, Transcript},
        endpoint::{Heard, Name, usable},
        frame::{Frame, Greeting},
    },
    Gateway, LeafKeys, Pending, Phase,
};

impl Gateway<'_> {
    pub(super) fn heard(&mut self, now: Instant, heard: Heard, keys: &dyn LeafKeys) {
        match heard {
            Heard::Hello(greeting, leaf) => self.greeted(&greeting, leaf, keys),
            Heard::Proof(proof) => self.proved(now, &proof),
            Heard::Stray => self.reset(now),
            Heard::Fault(reason) if self.is_up() => self.go_down(reason),
            Heard::Reset(reason) if self.is_up() => self.lose(reason),
            Heard::Refuse(refusal) if self.pending.take().is_some() => {
                self.refused = Some(refusal);
            }
            _ => {}
        }
    }

    fn greeted(&mut self, greeting: &Greeting, leaf: Name, keys: &dyn LeafKeys) {
        let usable = usable(greeting);
        let key = usable.and_then(|version| {
            let key = keys.key(&leaf).ok_or(LinkError::UnknownLeaf)?;
            Ok((version, key))
        });
        let (version, key) = match key {
            Ok(known) => known,
            Err(refusal) => {
                let told = match refusal {
                    LinkError::Version(_) => (LinkError::Version(VERSION), VERSION),
                    other => (other, greeting.version),
                };
                self.endpoint.serve(&Frame::Refuse(told.0, told.1));
                self.refused = Some(refusal);
                return;
            }
        };
        // A hello that is said again gets the same challenge: the leaf may have answered the first
        // one already.
        let known = self
            .pending
            .as_ref()
            .filter(|pending| pending.leaf == leaf && pending.greeting == *greeting)
            .map(|pending| pending.nonce);
        let nonce = known.unwrap_or_else(|| self.nonces.draw());
        let challenge = self.endpoint.greeting(version, nonce);
        let hello = greeting.hello(&leaf);
        let transcript = Transcript {
            hello: &hello,
            challenge: &challenge,
        };
        let ours = transcript.prove(key, Prover::Gateway);
        self.endpoint.serve(&Frame::Challenge(challenge, ours));
        self.pending = Some(Pending {
            leaf,
            version,
            greeting: *greeting,
            nonce,
            proof: transcript.prove(key, Prover::Leaf),
            given: false,
        });
    }

    fn proved(&mut self, now: Instant, proof: &[u8; PROOF_LEN]) {
        let right = |expected: &[u8; PROOF_LEN]| equal(expected, proof);
        if self.is_up() && right(&self.proof) {
            // The welcome was lost.
            self.endpoint.serve(&Frame::Welcome);
        } else if let Some(pending) = self.pending.as_mut().filter(|it| right(&it.proof)) {
            pending.given = true;
            if self.is_up() {
                // The leaf started again.
                self.lose(LinkError::Restarted);
            }
            self.begin(now);
        } else if let Some(pending) = self.pending.take() {
            let version = pending.version.to_wire();
            self.endpoint.serve(&Frame::Refuse(LinkError::Key, version));
            self.refused = Some(LinkError::Key);
        } else {
            self.reset(now);
        }
    }

    /// Begins a link session that was proved, once nothing is left of the one before.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.phase != Phase::Down {
            return;
        }
        let Some(pending) = self.pending.take_if(|pending| pending.given) else {
            return;
        };
        self.endpoint.begin(now, pending.version, &pending.greeting);
        self.endpoint.serve(&Frame::Welcome);
        self.leaf = pending.leaf;
        self.proof = pending.proof;
        self.given = None;
        self.phase = Phase::Rising;
    }

    /// Says that there is no link session, not too often.
    fn reset(&mut self, now: Instant) {
        if !self.is_up() && self.quiet_until <= now {
            self.quiet_until = now + self.endpoint.timing.handshake_retry;
            self.endpoint.serve(&Frame::Reset(LinkError::Restarted));
        }
    }
}

/// Takes the same time whichever byte differs.
fn equal(a: &[u8; PROOF_LEN], b: &[u8; PROOF_LEN]) -> bool {
    let differing = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    core::hint::black_box(differing) == 0
}
