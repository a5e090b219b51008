//! Known answers. Wycheproof's, thousands more, are asked in `tests/crypto.rs` of the repository.

extern crate std;
use std::vec::Vec;

use super::*;
use crate::rtc::crypto::equal;

fn hex<const N: usize>(text: &str) -> [u8; N] {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|two| (two[0] << 4 | two[1]) as u8)
        .collect();
    bytes.try_into().expect("as many bytes")
}

fn crypto() -> RustCrypto<impl FnMut(&mut [u8]) -> Result<(), CryptoError>> {
    RustCrypto::new(|_: &mut [u8]| Err(CryptoError::Random))
}

fn point(x: &str, y: &str) -> [u8; PUBLIC_KEY_LEN] {
    let mut point = [4; PUBLIC_KEY_LEN];
    point[1..33].copy_from_slice(&hex::<32>(x));
    point[33..].copy_from_slice(&hex::<32>(y));
    point
}

/// RFC 5903 §8.1.
#[test]
fn ecdh_on_p256() {
    let i = Secret::new(hex(
        "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
    ));
    let r = Secret::new(hex(
        "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53",
    ));
    let gi = point(
        "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180",
        "5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3",
    );
    let gr = point(
        "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63",
        "56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
    );
    let shared = hex("d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de");
    let mut crypto = crypto();
    assert_eq!(crypto.public_key(&i), Ok(gi));
    assert_eq!(crypto.public_key(&r), Ok(gr));
    assert_eq!(crypto.agree(&i, &gr).expect("a point").as_bytes(), &shared);
    assert_eq!(crypto.agree(&r, &gi).expect("a point").as_bytes(), &shared);
}

/// RFC 6979 §A.2.5 with SHA-256 and "sample".
#[test]
fn ecdsa_on_p256() {
    let secret = hex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
    let secret = Secret::new(secret);
    let public = point(
        "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6",
        "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
    );
    let mut crypto = crypto();
    let mut hash = crypto.sha256();
    Sha256::update(&mut hash, b"sample");
    let mut digest = Sha256::finish(hash);
    let signature = crypto.sign(&secret, &digest).expect("a key");
    let expected: [u8; SIGNATURE_LEN] = hex(
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716
         f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    );
    assert_eq!(signature, expected);
    assert_eq!(crypto.public_key(&secret), Ok(public));
    assert_eq!(crypto.verify(&public, &digest, &signature), Ok(()));
    digest[0] ^= 1;
    let wrong = crypto.verify(&public, &digest, &signature);
    assert_eq!(wrong, Err(CryptoError::NotVerified));
    let zero = crypto.verify(&public, &digest, &[0; SIGNATURE_LEN]);
    assert_eq!(zero, Err(CryptoError::NotVerified));
}

#[test]
fn what_is_no_key_is_refused() {
    let mut crypto = crypto();
    let order = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    for scalar in [[0; SCALAR_LEN], order, [0xff; SCALAR_LEN]] {
        assert_eq!(
            crypto.public_key(&Secret::new(scalar)),
            Err(CryptoError::Key)
        );
        let signature = crypto.sign(&Secret::new(scalar), &[1; DIGEST_LEN]);
        assert_eq!(signature, Err(CryptoError::Key));
    }
    let one = Secret::new([1; SCALAR_LEN]);
    let mut public = crypto.public_key(&one).expect("in range");
    public[64] ^= 1;
    assert_eq!(crypto.agree(&one, &public).err(), Some(CryptoError::Key));
    let good = crypto.sign(&one, &[1; DIGEST_LEN]).expect("a key");
    let verified = crypto.verify(&public, &[1; DIGEST_LEN], &good);
    assert_eq!(verified, Err(CryptoError::Key));
}

#[test]
fn keys_are_drawn_and_randomness_can_fail() {
    assert_eq!(crypto().key_pair().err(), Some(CryptoError::Random));
    let mut calls = 0_u8;
    let mut crypto = RustCrypto::new(|out: &mut [u8]| {
        // The first is no scalar.
        out.fill(if calls == 0 { 0 } else { calls });
        calls += 1;
        Ok(())
    });
    let key = crypto.key_pair().expect("the second is one");
    assert_eq!(key.secret.as_bytes(), &[1; SCALAR_LEN]);
    let mut stuck = RustCrypto::new(|out: &mut [u8]| {
        out.fill(0);
        Ok(())
    });
    assert_eq!(stuck.key_pair().err(), Some(CryptoError::Key));
}

fn check(
    key: AeadKey<'_>,
    nonce: &[u8; 12],
    aad: &[u8],
    plain: &[u8],
    sealed: &[u8],
    tag: [u8; 16],
) {
    let mut crypto = crypto();
    let aead = crypto.aead(key);
    let mut text = plain.to_vec();
    assert_eq!(crypto.seal(&aead, nonce, aad, &mut text), Ok(tag));
    assert_eq!(&text[..sealed.len()], sealed);
    let cipher = text.clone();
    assert_eq!(crypto.open(&aead, nonce, aad, &mut text, &tag), Ok(()));
    assert_eq!(text, plain);
    let mut wrong = tag;
    wrong[15] ^= 0x80;
    let mut text = cipher;
    let opened = crypto.open(&aead, nonce, aad, &mut text, &wrong);
    assert_eq!(opened, Err(CryptoError::NotVerified));
}

/// Test case 4 of McGrew and Viega's "The Galois/Counter Mode of Operation", NIST's source.
#[test]
fn aes_128_gcm() {
    let plain: [u8; 60] = hex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    );
    let sealed: [u8; 60] = hex(
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
         21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
    );
    check(
        AeadKey::Aes128Gcm(&hex("feffe9928665731c6d6a8f9467308308")),
        &hex("cafebabefacedbaddecaf888"),
        &hex::<20>("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
        &plain,
        &sealed,
        hex("5bc94fbc3221a5db94fae95ae7121a47"),
    );
}

/// RFC 8439 §2.8.2.
#[test]
fn chacha20_poly1305() {
    let key: [u8; 32] = core::array::from_fn(|n| 0x80 + n as u8);
    check(
        AeadKey::ChaCha20Poly1305(&key),
        &hex("070000004041424344454647"),
        &hex::<12>("50515253c0c1c2c3c4c5c6c7"),
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
          future, sunscreen would be it.",
        &hex::<16>("d31a8d34648e60db7b86afbc53ef7ec2"),
        hex("1ae10b594f09e26a7e902ecbd0600691"),
    );
}

/// FIPS 180-4; RFC 4231 and RFC 2202, cases 2 and 6 (a key longer than a block); RFC 1321.
#[test]
fn hashes_and_macs() {
    let mut crypto = crypto();
    let mut hash = crypto.sha256();
    Sha256::update(&mut hash, b"a");
    Sha256::update(&mut hash, b"bc");
    let abc = hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(Sha256::finish(hash), abc);

    let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
    assert_eq!(
        crypto.hmac_sha256(b"Jefe", &parts),
        hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    );
    assert_eq!(
        crypto.hmac_sha1(b"Jefe", &parts),
        hex("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")
    );
    let long: &[u8] = b"Test Using Larger Than Block-Size Key - Hash Key First";
    assert_eq!(
        crypto.hmac_sha256(&[0xaa; 131], &[long]),
        hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
    );
    assert_eq!(
        crypto.hmac_sha1(&[0xaa; 80], &[long]),
        hex("aa4ae5e15272d00e95705637ce8a3b55ed402112")
    );
    assert_eq!(
        crypto.md5(&[b"message ", b"digest"]),
        hex("f96b697d7cb7938d525a2f31aaf161d0")
    );
}

#[test]
fn equal_is_equal() {
    assert!(equal(b"", b"") && equal(b"abc", b"abc"));
    assert!(!equal(b"abc", b"abd") && !equal(b"abc", b"ab") && !equal(b"", b"a"));
}

#[test]
fn a_secret_is_not_printed_and_is_taken_from_its_place() {
    let mut bytes = [7; 4];
    let secret = Secret::take(&mut bytes);
    assert_eq!((bytes, secret.as_bytes()), ([0; 4], &[7; 4]));
    assert_eq!(std::format!("{secret:?}"), "Secret(…)");
}
