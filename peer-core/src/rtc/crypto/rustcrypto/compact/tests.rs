//! Against the crate `p256`: the same bytes and the same refusals.

use proptest::prelude::*;

use super::super::crates;
use super::*;

fn secret(words: Words) -> Secret<SCALAR_LEN> {
    Secret::new(write(&words))
}

/// Scalars where a carry, a half or an end is, and some that are none.
fn edges() -> impl Iterator<Item = Words> {
    let max = [u32::MAX; WORDS];
    let near = [
        ZERO,
        ORDER.prime,
        FIELD.prime,
        max,
        [0, 0, 0, 0, 1, 0, 0, 0],
    ];
    near.into_iter().flat_map(|edge| {
        (0..4).flat_map(move |n| {
            let (mut above, mut below) = (edge, edge);
            add_product(&mut above, n, &ONE);
            for _ in 0..n {
                subtract(&mut below, &ONE);
            }
            [above, below]
        })
    })
}

#[test]
fn keys_at_the_edges() {
    let (mut good, mut bad) = (0, 0);
    let generator = public_key(&secret(ONE)).expect("1 is one");
    for words in edges() {
        let secret = secret(words);
        let public = public_key(&secret);
        assert_eq!(public, crates::public_key(&secret), "{words:x?}");
        let signature = sign(&secret, &[7; 32]);
        assert_eq!(signature, crates::sign(&secret, &[7; 32]));
        let shared = agree(&secret, &generator).map(|it| *it.as_bytes());
        let theirs = crates::agree(&secret, &generator).map(|it| *it.as_bytes());
        assert_eq!(shared, theirs);
        match public {
            Ok(public) => {
                let signature = signature.expect("it is a key");
                assert_eq!(verify(&public, &[7; 32], &signature), Ok(()));
                good += 1;
            }
            Err(error) => {
                assert_eq!(error, CryptoError::Key);
                bad += 1;
            }
        }
    }
    assert!(good >= 15 && bad >= 15, "{good}, {bad}");
}

/// The field itself, as few points come near its prime.
#[test]
fn numbers_at_the_edges() {
    for modulus in [&FIELD, &ORDER] {
        let below = || edges().filter(|it| modulus.is_below(it));
        let long = |it: &Words| modulus.multiply(it, &modulus.square);
        for a in below() {
            assert_eq!(modulus.multiply(&long(&a), &ONE), a);
            assert_eq!(modulus.subtract(&a, &a), ZERO);
            if modulus.is_unit(&a) {
                assert_eq!(modulus.multiply(&modulus.invert(&a), &a), ONE);
            }
            for b in below() {
                let sum = modulus.add(&a, &b);
                assert!(modulus.is_below(&sum));
                assert_eq!(modulus.subtract(&sum, &b), a);
                let product = modulus.multiply(&long(&a), &b);
                assert!(modulus.is_below(&product));
                assert_eq!(product, modulus.multiply(&long(&b), &a));
                // (a + b) b = a b + b b
                let square = modulus.multiply(&long(&b), &b);
                let whole = modulus.multiply(&long(&sum), &b);
                assert_eq!(whole, modulus.add(&product, &square));
            }
        }
    }
}

/// Points that are none: a coordinate too large, off the curve, another form, infinity.
#[test]
fn points_that_are_none() {
    let key = secret([9; WORDS]);
    let good = public_key(&key).expect("it is a key");
    let signature = sign(&key, &[1; 32]).expect("it is a key");
    let mut points = std::vec::Vec::new();
    for at in [1, 32, 33, 64] {
        let mut bad = good;
        bad[at] ^= 1;
        points.push(bad);
    }
    for form in [0, 2, 3, 5, 6, 7] {
        let mut bad = good;
        bad[0] = form;
        points.push(bad);
    }
    let mut zeros = [0; PUBLIC_KEY_LEN];
    points.push(zeros);
    zeros[0] = 4;
    points.push(zeros);
    for words in edges() {
        for half in [1..33, 33..65] {
            let mut bad = good;
            bad[half].copy_from_slice(&write(&words));
            points.push(bad);
        }
    }
    for point in points {
        let refused = agree(&key, &point).map(|_| ());
        assert_eq!(refused, Err(CryptoError::Key), "{point:x?}");
        assert!(crates::agree(&key, &point).is_err());
        let refused = verify(&point, &[1; 32], &signature);
        assert_eq!(refused, Err(CryptoError::Key));
    }
}

/// r and s of which one is no number to divide by, or that are of infinity.
#[test]
fn signatures_that_are_none() {
    let key = secret([9; WORDS]);
    let public = public_key(&key).expect("it is a key");
    let good = sign(&key, &[1; 32]).expect("it is a key");
    for words in edges() {
        for half in [0..32, 32..64] {
            let mut bad = good;
            bad[half].copy_from_slice(&write(&words));
            let refused = Err(CryptoError::NotVerified);
            assert_eq!(verify(&public, &[1; 32], &bad), refused, "{words:x?}");
            assert_eq!(crates::verify(&public, &[1; 32], &bad), refused);
        }
    }
    // digest + r · secret = 0: the sum of both multiples is infinity.
    let r = read(good.first_chunk().expect("64 bytes"));
    let scalar = read(key.as_bytes());
    let long = ORDER.multiply(&r, &ORDER.square);
    let digest = write(&ORDER.subtract(&ZERO, &ORDER.multiply(&long, &scalar)));
    assert_eq!(
        verify(&public, &digest, &good),
        Err(CryptoError::NotVerified)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn as_the_crates(a in any::<Words>(), b in any::<Words>(), digest in any::<[u8; 32]>(), at in 0..96_usize, bit in 0..8) {
        let (one, two) = (secret(a), secret(b));
        let publics = [&one, &two].map(public_key);
        prop_assert_eq!(&publics, &[&one, &two].map(crates::public_key));
        let [Ok(public), Ok(remote)] = publics else { return Ok(()) };
        let shared = agree(&one, &remote).expect("they are keys");
        let theirs = crates::agree(&two, &public).expect("they are keys");
        prop_assert_eq!(shared.as_bytes(), theirs.as_bytes());
        let signature = sign(&one, &digest).expect("it is a key");
        prop_assert_eq!(Ok(signature), crates::sign(&one, &digest));
        prop_assert_eq!(verify(&public, &digest, &signature), Ok(()));
        prop_assert!(verify(&remote, &digest, &signature).is_err());
        // One bit of the digest or of the signature.
        let (mut digest, mut signature) = (digest, signature);
        let byte = digest.iter_mut().chain(&mut signature).nth(at).expect("96 bytes");
        *byte ^= 1_u8 << bit;
        prop_assert_eq!(verify(&public, &digest, &signature), Err(CryptoError::NotVerified));
    }
}
