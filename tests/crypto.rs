//! Wycheproof's vectors against each `Crypto` that there is.

use peer_core::rtc::crypto::{AeadKey, Crypto, CryptoError, RustCrypto, Secret, Sha256, signature};
use peer_net::rtc::crypto::RingCrypto;
use wycheproof::TestResult;
use wycheproof::{aead, ecdh, ecdsa, mac};

fn rustcrypto() -> impl Crypto {
    RustCrypto::new(|_: &mut [u8]| Err(CryptoError::Random))
}

fn ring() -> impl Crypto {
    RingCrypto::default()
}

/// Counts what was asked, and compares with what the vectors want. `Acceptable` may be either.
#[derive(Debug, Default, PartialEq)]
struct Score {
    valid: usize,
    invalid: usize,
    acceptable: usize,
}

impl Score {
    fn count(&mut self, wanted: TestResult, passed: bool, what: &dyn core::fmt::Debug) {
        match wanted {
            TestResult::Valid => self.valid += usize::from(assert_is(passed, true, what)),
            TestResult::Invalid => self.invalid += usize::from(assert_is(passed, false, what)),
            TestResult::Acceptable => self.acceptable += 1,
        }
    }

    fn enough(&self, valid: usize, invalid: usize) {
        assert!(
            self.valid >= valid && self.invalid >= invalid,
            "too few were asked: {self:?}"
        );
    }
}

fn assert_is(passed: bool, wanted: bool, what: &dyn core::fmt::Debug) -> bool {
    assert_eq!(passed, wanted, "{what:?}");
    true
}

fn check_ecdh(crypto: &mut impl Crypto) {
    let mut score = Score::default();
    let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1Ecpoint).expect("it is built in");
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // A private key is a number without leading zeros, or with one that keeps it positive.
        let digits: Vec<u8> = test
            .private_key
            .iter()
            .copied()
            .skip_while(|&b| b == 0)
            .collect();
        let mut scalar = [0; 32];
        scalar[32 - digits.len()..].copy_from_slice(&digits);
        // Compressed points are no keys here: what is 65 bytes long is asked.
        let shared = <[u8; 65]>::try_from(&test.public_key[..])
            .ok()
            .and_then(|remote| crypto.agree(&Secret::new(scalar), &remote).ok());
        let right = shared.is_some_and(|shared| shared.as_bytes()[..] == test.shared_secret[..]);
        if test.public_key.first() == Some(&4) || test.result.must_fail() {
            score.count(test.result, right, test);
        }
    }
    score.enough(200, 10);
}

fn check_ecdsa(crypto: &mut impl Crypto) {
    let mut score = Score::default();
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).expect("it is built in");
    for group in &set.test_groups {
        let public: [u8; 65] = group.key.key[..].try_into().expect("an uncompressed point");
        for test in &group.tests {
            let mut hash = crypto.sha256();
            hash.update(&test.msg);
            let digest = hash.finish();
            let verified = signature::from_der(&test.sig)
                .is_some_and(|signature| crypto.verify(&public, &digest, &signature).is_ok());
            score.count(test.result, verified, test);
        }
    }
    score.enough(100, 200);
}

fn check_aead(crypto: &mut impl Crypto) {
    for name in [aead::TestName::AesGcm, aead::TestName::ChaCha20Poly1305] {
        let mut score = Score::default();
        let set = aead::TestSet::load(name).expect("it is built in");
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let (key_16, key_32) = (test.key[..].try_into(), test.key[..].try_into());
            let key = match (name, &key_16, &key_32) {
                (aead::TestName::AesGcm, Ok(key), _) => AeadKey::Aes128Gcm(key),
                (aead::TestName::ChaCha20Poly1305, _, Ok(key)) => AeadKey::ChaCha20Poly1305(key),
                _ => continue,
            };
            let (Ok(nonce), Ok(tag)) = (test.nonce[..].try_into(), test.tag[..].try_into()) else {
                continue;
            };
            let key = crypto.aead(key);
            let mut text = test.ct.to_vec();
            let opened = crypto.open(&key, &nonce, &test.aad, &mut text, &tag);
            let right = opened.is_ok() && text == test.pt[..];
            score.count(test.result, right, test);
            if test.result == TestResult::Valid {
                let sealed = crypto.seal(&key, &nonce, &test.aad, &mut text);
                assert_eq!((sealed, &text[..]), (Ok(tag), &test.ct[..]), "{test:?}");
            }
        }
        score.enough(35, 20);
    }
}

fn check_hmac(crypto: &mut impl Crypto) {
    for name in [mac::TestName::HmacSha1, mac::TestName::HmacSha256] {
        let mut score = Score::default();
        let set = mac::TestSet::load(name).expect("it is built in");
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let whole = match name {
                mac::TestName::HmacSha1 => crypto.hmac_sha1(&test.key, &[&test.msg]).to_vec(),
                _ => crypto.hmac_sha256(&test.key, &[&test.msg]).to_vec(),
            };
            // Some tags are shortened.
            let right = whole.get(..test.tag.len()) == Some(&test.tag[..]);
            score.count(test.result, right, test);
        }
        score.enough(60, 60);
    }
}

#[test]
fn ecdh_of_rustcrypto() {
    check_ecdh(&mut rustcrypto());
}

#[test]
fn ecdh_of_ring() {
    check_ecdh(&mut ring());
}

#[test]
fn ecdsa_and_der_of_rustcrypto() {
    check_ecdsa(&mut rustcrypto());
}

#[test]
fn ecdsa_and_der_of_ring() {
    check_ecdsa(&mut ring());
}

#[test]
fn aeads_of_rustcrypto() {
    check_aead(&mut rustcrypto());
}

#[test]
fn aeads_of_ring() {
    check_aead(&mut ring());
}

#[test]
fn hmac_of_rustcrypto() {
    check_hmac(&mut rustcrypto());
}

#[test]
fn hmac_of_ring() {
    check_hmac(&mut ring());
}
