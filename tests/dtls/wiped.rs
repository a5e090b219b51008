//! A session's memory holds no secret of it after it ended, however it ended.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use peer_core::rtc::crypto::{
    AeadKey, Crypto, CryptoError, DIGEST_LEN, NONCE_LEN, PUBLIC_KEY_LEN, SCALAR_LEN, SIGNATURE_LEN,
    Secret, TAG_LEN,
};
use peer_core::rtc::dtls::{DtlsError, Event};
use peer_core::time::Duration;

use super::packets::rewrite;
use super::pair::{End, Pair, Seeded, seeded};

const NOTHING: [&str; 0] = [];

/// Notes each secret that it is given or gives.
struct Watched<C> {
    inner: C,
    /// In pieces of 16 bytes.
    secrets: Rc<RefCell<BTreeMap<[u8; 16], &'static str>>>,
}

impl<C: Crypto> Watched<C> {
    fn note(&self, what: &'static str, secret: &[u8]) {
        let (pieces, _) = secret.as_chunks::<16>();
        let mut secrets = self.secrets.borrow_mut();
        secrets.extend(pieces.iter().map(|piece| (*piece, what)));
    }
}

impl<C: Crypto> Crypto for Watched<C> {
    type Sha256 = C::Sha256;
    /// With the key as it is: most keep it in another shape.
    type Aead = (C::Aead, Secret<32>);

    fn random(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.inner.random(out)
    }

    fn public_key(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
    ) -> Result<[u8; PUBLIC_KEY_LEN], CryptoError> {
        self.note("scalar", secret.as_bytes());
        self.inner.public_key(secret)
    }

    fn agree(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        remote: &[u8; PUBLIC_KEY_LEN],
    ) -> Result<Secret<SCALAR_LEN>, CryptoError> {
        let shared = self.inner.agree(secret, remote)?;
        self.note("premaster secret", shared.as_bytes());
        Ok(shared)
    }

    fn sign(
        &mut self,
        secret: &Secret<SCALAR_LEN>,
        digest: &[u8; DIGEST_LEN],
    ) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
        self.inner.sign(secret, digest)
    }

    fn verify(
        &mut self,
        public: &[u8; PUBLIC_KEY_LEN],
        digest: &[u8; DIGEST_LEN],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), CryptoError> {
        self.inner.verify(public, digest, signature)
    }

    fn sha256(&mut self) -> C::Sha256 {
        self.inner.sha256()
    }

    fn hmac_sha256(&mut self, key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
        let mac = self.inner.hmac_sha256(key, parts);
        // What a Finished holds is sent, and no secret.
        for label in ["extended master secret", "key expansion"] {
            if parts.contains(&label.as_bytes()) {
                self.note(label, &mac);
            }
        }
        mac
    }

    fn hmac_sha1(&mut self, key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
        self.inner.hmac_sha1(key, parts)
    }

    fn md5(&mut self, parts: &[&[u8]]) -> [u8; 16] {
        self.inner.md5(parts)
    }

    fn aead(&mut self, key: AeadKey<'_>) -> Self::Aead {
        let bytes: &[u8] = match &key {
            AeadKey::Aes128Gcm(key) => *key,
            AeadKey::ChaCha20Poly1305(key) => *key,
        };
        self.note("key", bytes);
        let mut kept = Secret::ZERO;
        kept.as_mut()[..bytes.len()].copy_from_slice(bytes);
        (self.inner.aead(key), kept)
    }

    fn seal(
        &mut self,
        key: &Self::Aead,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CryptoError> {
        self.inner.seal(&key.0, nonce, aad, text)
    }

    fn open(
        &mut self,
        key: &Self::Aead,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        self.inner.open(&key.0, nonce, aad, text, tag)
    }
}

/// Which pieces stand in the session's memory.
fn found<C: Crypto>(end: &End<Watched<C>>) -> Vec<&'static str> {
    let start = (&raw const end.dtls).cast::<u8>();
    // SAFETY: the bytes lie within the session. What was never written is read, too: whatever it
    // is, it is compared and not trusted.
    let memory: Vec<u8> = (0..size_of_val(&end.dtls))
        .map(|at| unsafe { start.add(at).read_volatile() })
        .collect();
    let secrets = end.crypto.secrets.borrow();
    assert!(secrets.len() >= 2, "the share at least");
    let stands = |piece: &[u8; 16]| memory.windows(16).any(|window| window == piece);
    let pieces = secrets.iter().filter(|(piece, _)| stands(piece));
    pieces.map(|(_, what)| *what).collect()
}

/// `seed` is another for each pair: what was never written in a session's memory may be left of an
/// earlier one's.
fn pair<C: Crypto>(make: fn(Seeded) -> C, seed: u64) -> Pair<Watched<C>> {
    let watched = |seed| Watched {
        inner: make(seeded(seed, u32::MAX)),
        secrets: Rc::default(),
    };
    let mut pair = Pair::new(watched(2 * seed), watched(2 * seed + 1), |_, _| {});
    // The identities are not the sessions'.
    pair.client.crypto.secrets.borrow_mut().clear();
    pair.server.crypto.secrets.borrow_mut().clear();
    pair.client.turn(pair.now);
    pair.server.turn(pair.now);
    // That what is there is found: the shares that were made ahead.
    for end in [&pair.client, &pair.server] {
        assert_eq!(found(end), ["scalar"; 2]);
    }
    pair
}

fn after_a_close<C: Crypto>(make: fn(Seeded) -> C) {
    let mut pair = pair(make, 1);
    pair.now = pair.now + Duration::from_secs(1);
    pair.connect();
    for end in [&pair.client, &pair.server] {
        // The keys of both directions, one piece each with AES-128, and nothing else.
        assert_eq!(found(end), ["key"; 2]);
    }
    pair.client.dtls.close();
    let told = pair.client.turn(pair.now).concat();
    pair.server.receive(pair.now, &told);
    pair.server.turn(pair.now);
    assert_eq!(pair.server.events, [Event::Connected, Event::Closed]);
    for end in [&pair.client, &pair.server] {
        assert_eq!(found(end), NOTHING);
    }
}

/// Each message spoiled that ends a handshake, and what the other does when its time is over.
fn after_a_failure<C: Crypto>(make: fn(Seeded) -> C) {
    for spoiled in [1, 2, 11, 12, 13, 14, 15, 16] {
        let mut pair = pair(make, spoiled.into());
        pair.now = pair.now + Duration::from_secs(1);
        pair.run(&mut |_, datagram| {
            rewrite(&datagram, |kind, body| {
                let last = body.last().map_or(1, |last| last ^ 1);
                let mut body = body.to_vec();
                body.pop();
                body.push(last);
                (kind == spoiled).then_some(body)
            })
        });
        for end in [&pair.client, &pair.server] {
            assert!(matches!(end.events[..], [Event::Failed(_)]), "{spoiled}");
            assert_eq!(found(end), NOTHING, "{spoiled}: {:?}", end.events);
        }
    }
}

/// Also if nobody answers: the share that was made ahead.
fn after_its_time<C: Crypto>(make: fn(Seeded) -> C) {
    let mut pair = pair(make, 1);
    pair.now = pair.now + Duration::from_secs(60);
    for end in [&mut pair.client, &mut pair.server] {
        end.turn(pair.now);
        let late = Event::Failed(DtlsError::TimedOut { alert: None });
        assert_eq!(end.events, [late]);
        assert_eq!(found(end), NOTHING);
    }
}

crate::on_both! {
    after_a_close => after_a_close;
    after_a_failure => after_a_failure;
    after_its_time => after_its_time;
}
