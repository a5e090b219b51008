//! P-256 in few instructions: one multiplication for the field and for the order of the group, one
//! formula for the sum of two points. RustCrypto's `p256` is 12 KB of flash more.
//!
//! What is done with secrets depends on none of them: loops have a fixed length, no place in memory
//! is chosen by a secret, and what is not wanted is masked out. Only a signature that is verified,
//! where nothing is secret, may take another time than the next.

use core::hint::black_box;

use zeroize::{Zeroize as _, Zeroizing};

use super::super::{
    CryptoError, DIGEST_LEN, PUBLIC_KEY_LEN, SCALAR_LEN, SIGNATURE_LEN, Secret, equal,
};
use crate::hash::Hash as _;

/// A number of 256 bits, the lowest word first.
type Words = [u32; WORDS];
const WORDS: usize = 8;
const ZERO: Words = [0; WORDS];
const ONE: Words = [1, 0, 0, 0, 0, 0, 0, 0];

/// The same for each word of two numbers, the lowest first, without a loop: nothing else takes as
/// long as these.
macro_rules! each_word {
    ($numbers:expr, $more:ident, $step:expr) => {{
        let (to, from) = $numbers;
        let [a, b, c, d, e, f, g, h] = to;
        let [i, j, k, l, m, n, o, p] = from;
        let step = $step;
        (*a, $more) = step(*a, *i, $more);
        (*b, $more) = step(*b, *j, $more);
        (*c, $more) = step(*c, *k, $more);
        (*d, $more) = step(*d, *l, $more);
        (*e, $more) = step(*e, *m, $more);
        (*f, $more) = step(*f, *n, $more);
        (*g, $more) = step(*g, *o, $more);
        (*h, $more) = step(*h, *p, $more);
    }};
}

/// The integers modulo a prime. A product is divided by 2²⁵⁶ (Montgomery), so numbers are kept
/// multiplied by that, where it says so.
struct Modulus {
    prime: Words,
    /// 2⁵¹² modulo the prime.
    square: Words,
    /// The inverse of minus the prime, modulo 2³².
    inverse: u32,
}

/// Of the coordinates.
static FIELD: Modulus = Modulus {
    prime: [
        0xffff_ffff,
        0xffff_ffff,
        0xffff_ffff,
        0,
        0,
        0,
        1,
        0xffff_ffff,
    ],
    square: [
        3,
        0,
        0xffff_ffff,
        0xffff_fffb,
        0xffff_fffe,
        0xffff_ffff,
        0xffff_fffd,
        4,
    ],
    inverse: 1,
};

/// Of the scalars.
static ORDER: Modulus = Modulus {
    prime: [
        0xfc63_2551,
        0xf3b9_cac2,
        0xa717_9e84,
        0xbce6_faad,
        0xffff_ffff,
        0xffff_ffff,
        0,
        0xffff_ffff,
    ],
    square: [
        0xbe79_eea2,
        0x8324_4c95,
        0x49bd_6fa6,
        0x4699_799c,
        0x2b6b_ec59,
        0x2845_b239,
        0xf3d9_5620,
        0x66e1_2d94,
    ],
    inverse: 0xee00_bc4f,
};

/// The curve is y² = x³ − 3 x + b, and this is b, times 2²⁵⁶.
static B: Words = [
    0x29c4_bddf,
    0xd89c_df62,
    0x7884_3090,
    0xacf0_05cd,
    0xf721_2ed6,
    0xe5a2_20ab,
    0x0487_4834,
    0xdc30_061d,
];

/// x, y and z, times 2²⁵⁶, of a point that is (x ÷ z, y ÷ z).
type Point = [Words; 3];

/// 1, times 2²⁵⁶.
const FIELD_ONE: Words = [
    1,
    0,
    0,
    0xffff_ffff,
    0xffff_ffff,
    0xffff_ffff,
    0xffff_fffe,
    0,
];
const INFINITY: Point = [ZERO, FIELD_ONE, ZERO];
static GENERATOR: Point = [
    [
        0x18a9_143c,
        0x79e7_30d4,
        0x5fed_b601,
        0x75ba_95fc,
        0x7762_2510,
        0x79fb_732b,
        0xa537_55c6,
        0x1890_5f76,
    ],
    [
        0xce95_560a,
        0xddf2_5357,
        0xba19_e45c,
        0x8b4a_b8e4,
        0xdd21_f325,
        0xd2e8_8688,
        0x2588_5d85,
        0x8571_ff18,
    ],
    FIELD_ONE,
];

/// 2¹²⁸ times it.
static GENERATOR_HIGH: Point = [
    [
        0xbfe2_0925,
        0x62a8_c244,
        0x8fdc_e867,
        0x91c1_9ac3,
        0xdd38_7063,
        0x5a96_a5d5,
        0x21d3_24f6,
        0x61d5_87d4,
    ],
    [
        0xa371_73ea,
        0xe876_73a2,
        0x5377_8b65,
        0x2384_8008,
        0x05ba_b43e,
        0x10f8_441e,
        0x4621_efbe,
        0xfa11_fe12,
    ],
    FIELD_ONE,
];

pub(super) fn public_key(secret: &Secret<SCALAR_LEN>) -> Result<[u8; PUBLIC_KEY_LEN], CryptoError> {
    let scalar = secret_scalar(secret)?;
    let [x, y] = affine(&multiply_generator(&scalar));
    let mut point = [4; PUBLIC_KEY_LEN];
    let [_, coordinates @ ..] = &mut point;
    *coordinates = write_both(&x, &y);
    Ok(point)
}

pub(super) fn agree(
    secret: &Secret<SCALAR_LEN>,
    remote: &[u8; PUBLIC_KEY_LEN],
) -> Result<Secret<SCALAR_LEN>, CryptoError> {
    let scalar = secret_scalar(secret)?;
    let [mut x, _] = affine(&multiply(&scalar, &point(remote)?));
    let shared = Secret::new(write(&x));
    x.zeroize();
    Ok(shared)
}

/// With the number of RFC 6979, which is as good as random.
pub(super) fn sign(
    secret: &Secret<SCALAR_LEN>,
    digest: &[u8; DIGEST_LEN],
) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
    let scalar = secret_scalar(secret)?;
    let digest = ORDER.reduced(read(digest));
    let (digest_bytes, bytes) = (write(&digest), secret.as_bytes());
    let mut key = Zeroizing::new([0; DIGEST_LEN]);
    let mut value = Zeroizing::new([1; DIGEST_LEN]);
    let next = |key: &mut [u8; DIGEST_LEN], value: &mut [u8; DIGEST_LEN], parts: [&[u8]; 3]| {
        let [a, b, c] = parts;
        *key = sha2::Sha256::hmac(key, &[value, a, b, c]);
        *value = sha2::Sha256::hmac(key, &[value]);
    };
    next(&mut key, &mut value, [&[0], bytes, &digest_bytes]);
    next(&mut key, &mut value, [&[1], bytes, &digest_bytes]);
    for _ in 0..TRIES {
        *value = sha2::Sha256::hmac(&*key, &[&*value]);
        let number = Zeroizing::new(read(&value));
        if ORDER.is_unit(&number) {
            let [x, _] = affine(&multiply_generator(&number));
            let r = ORDER.reduced(x);
            // (digest + r · secret) ÷ number
            let long = Zeroizing::new(ORDER.multiply(&scalar, &ORDER.square));
            let sum = Zeroizing::new(ORDER.add(&ORDER.multiply(&long, &r), &digest));
            let s = ORDER.multiply(&ORDER.invert(&number), &sum);
            if r != ZERO && s != ZERO {
                return Ok(write_both(&r, &s));
            }
        }
        next(&mut key, &mut value, [&[0], &[], &[]]);
    }
    Err(CryptoError::Key)
}

/// One in 2³² is not taken.
const TRIES: usize = 4;

pub(super) fn verify(
    public: &[u8; PUBLIC_KEY_LEN],
    digest: &[u8; DIGEST_LEN],
    signature: &[u8; SIGNATURE_LEN],
) -> Result<(), CryptoError> {
    let point = point(public)?;
    let (halves, _) = signature.as_chunks::<SCALAR_LEN>();
    let [r, s] = halves else {
        return Err(CryptoError::NotVerified);
    };
    let (r, s) = (read(r), read(s));
    if !ORDER.is_unit(&r) || !ORDER.is_unit(&s) {
        return Err(CryptoError::NotVerified);
    }
    let inverse = ORDER.invert(&s);
    let digest = ORDER.reduced(read(digest));
    let scalars = [&digest, &r].map(|it| ORDER.multiply(&inverse, it));
    let sum = multiply_both(false, 8 * SCALAR_LEN, &scalars, &[GENERATOR, point]);
    let [_, _, z] = &sum;
    let [x, _] = affine(&sum);
    // Of the numbers below the field's prime, some are not below the order.
    let right = *z != ZERO && equal(&write(&ORDER.reduced(x)), &write(&r));
    right.then_some(()).ok_or(CryptoError::NotVerified)
}

fn secret_scalar(secret: &Secret<SCALAR_LEN>) -> Result<Zeroizing<Words>, CryptoError> {
    let scalar = Zeroizing::new(read(secret.as_bytes()));
    ORDER
        .is_unit(&scalar)
        .then_some(scalar)
        .ok_or(CryptoError::Key)
}

/// The point that is written so, if it is on the curve.
fn point(bytes: &[u8; PUBLIC_KEY_LEN]) -> Result<Point, CryptoError> {
    let [4, coordinates @ ..] = bytes else {
        return Err(CryptoError::Key);
    };
    let (halves, _) = coordinates.as_chunks::<SCALAR_LEN>();
    let [x, y] = halves else {
        return Err(CryptoError::Key);
    };
    let (x, y) = (read(x), read(y));
    let long = |it: &Words| FIELD.multiply(it, &FIELD.square);
    if !FIELD.is_below(&x) || !FIELD.is_below(&y) {
        return Err(CryptoError::Key);
    }
    let (x, y) = (long(&x), long(&y));
    let three_x = FIELD.add(&FIELD.add(&x, &x), &x);
    let cube = FIELD.multiply(&FIELD.multiply(&x, &x), &x);
    let right = FIELD.add(&FIELD.subtract(&cube, &three_x), &B);
    match FIELD.multiply(&y, &y) == right {
        true => Ok([x, y, FIELD_ONE]),
        false => Err(CryptoError::Key),
    }
}

/// x and y, no longer times 2²⁵⁶. Of no use for infinity.
fn affine(point: &Point) -> [Words; 2] {
    let [x, y, z] = point;
    // Not times 2²⁵⁶, so that the product is not, either.
    let z = FIELD.multiply(z, &ONE);
    let inverse = FIELD.multiply(&FIELD.invert(&z), &ONE);
    [x, y].map(|it| FIELD.multiply(it, &inverse))
}

/// A multiple of the generator.
fn multiply_generator(scalar: &Words) -> Point {
    multiply_halves(scalar, &[GENERATOR, GENERATOR_HIGH])
}

fn multiply(scalar: &Words, point: &Point) -> Point {
    let mut high = *point;
    for _ in 0..128 {
        high = sum(&high, &high);
    }
    multiply_halves(scalar, &[*point, high])
}

/// A multiple of a point: the lower half of the scalar of it, and the upper half of 2¹²⁸ times it.
#[inline(never)]
fn multiply_halves(scalar: &Words, points: &[Point; 2]) -> Point {
    let [a, b, c, d, e, f, g, h] = *scalar;
    let mut halves = [[a, b, c, d, 0, 0, 0, 0], [e, f, g, h, 0, 0, 0, 0]];
    let product = multiply_both(true, 128, &halves, points);
    halves.zeroize();
    product
}

/// The sum of multiples of two points; the scalars have so many bits, and are secret or not.
#[inline(never)]
fn multiply_both(secret: bool, bits: usize, scalars: &[Words; 2], points: &[Point; 2]) -> Point {
    let [first, second] = points;
    let both = sum(first, second);
    let mut result = INFINITY;
    for bit in (0..bits).rev() {
        result = sum(&result, &result);
        let [a, b] = scalars
            .each_ref()
            .map(|words| words[bit / 32 % WORDS] >> (bit % 32) & 1);
        if !secret && a | b == 0 {
            continue;
        }
        let mut added = INFINITY;
        for (wanted, point) in [(1, first), (2, second), (3, &both)] {
            let difference = (a | b << 1) ^ wanted;
            // 0 or 1: whether there is none.
            let same = (difference.wrapping_sub(1) >> 31) & 1;
            for (to, from) in added.iter_mut().zip(point) {
                select(to, from, same);
            }
        }
        result = sum(&result, &added);
    }
    result
}

/// Copies, without a call of what copies any number of bytes from and to anywhere.
#[inline(never)]
fn set(to: &mut Words, from: &Words) {
    let mut _none = ();
    each_word!((to, from), _none, |_, from: u32, ()| (from, ()));
}

/// Puts `from` in place of `to` if `choice` is 1, and nothing if it is 0.
fn select(to: &mut Words, from: &Words, choice: u32) {
    let mask = black_box(choice.wrapping_neg());
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= (*to ^ from) & mask;
    }
}

/// A step of [`SUM`]: what is done with which two registers, and where the result goes.
type Step = (Operation, u8, u8, u8);

#[derive(Clone, Copy)]
enum Operation {
    Add,
    Subtract,
    Multiply,
}

/// The complete sum of Renes, Costello and Batina (2016), algorithm 4: right for every two points
/// of the curve, also if they are the same, or one is infinity. The registers are x, y and z of
/// the one (0 to 2) and of the other (3 to 5), b (6), t₀ to t₄ (7 to 11), and the result's x, y
/// and z (12 to 14).
static SUM: [Step; 43] = {
    use Operation::{Add, Multiply, Subtract};
    [
        (Multiply, 0, 3, 7),
        (Multiply, 1, 4, 8),
        (Multiply, 2, 5, 9),
        (Add, 0, 1, 10),
        (Add, 3, 4, 11),
        (Multiply, 10, 11, 10),
        (Add, 7, 8, 11),
        (Subtract, 10, 11, 10),
        (Add, 1, 2, 11),
        (Add, 4, 5, 12),
        (Multiply, 11, 12, 11),
        (Add, 8, 9, 12),
        (Subtract, 11, 12, 11),
        (Add, 0, 2, 12),
        (Add, 3, 5, 13),
        (Multiply, 12, 13, 12),
        (Add, 7, 9, 13),
        (Subtract, 12, 13, 13),
        (Multiply, 6, 9, 14),
        (Subtract, 13, 14, 12),
        (Add, 12, 12, 14),
        (Add, 12, 14, 12),
        (Subtract, 8, 12, 14),
        (Add, 8, 12, 12),
        (Multiply, 6, 13, 13),
        (Add, 9, 9, 8),
        (Add, 8, 9, 9),
        (Subtract, 13, 9, 13),
        (Subtract, 13, 7, 13),
        (Add, 13, 13, 8),
        (Add, 8, 13, 13),
        (Add, 7, 7, 8),
        (Add, 8, 7, 7),
        (Subtract, 7, 9, 7),
        (Multiply, 11, 13, 8),
        (Multiply, 7, 13, 9),
        (Multiply, 12, 14, 13),
        (Add, 13, 9, 13),
        (Multiply, 10, 12, 12),
        (Subtract, 12, 8, 12),
        (Multiply, 11, 14, 14),
        (Multiply, 10, 7, 8),
        (Add, 14, 8, 14),
    ]
};

#[inline(never)]
fn sum(one: &Point, other: &Point) -> Point {
    let mut registers = [ZERO; 16];
    let ([x, y, z], [u, v, w]) = (one, other);
    for (to, from) in registers.iter_mut().zip([x, y, z, u, v, w, &B]) {
        set(to, from);
    }
    let [mut result, mut other] = [ZERO; 2];
    for (operation, a, b, to) in &SUM {
        set(&mut result, &registers[usize::from(*a) % 16]);
        set(&mut other, &registers[usize::from(*b) % 16]);
        match operation {
            Operation::Add => FIELD.add_to(&mut result, &other),
            Operation::Subtract => FIELD.subtract_from(&mut result, &other),
            Operation::Multiply => FIELD.multiply_by(&mut result, &other),
        }
        set(&mut registers[usize::from(*to) % 16], &result);
    }
    let [.., x, y, z, _] = registers;
    [x, y, z]
}

impl Modulus {
    /// The product, divided by 2²⁵⁶.
    fn multiply(&self, a: &Words, b: &Words) -> Words {
        let mut product = *a;
        self.multiply_by(&mut product, b);
        product
    }

    #[inline(never)]
    fn multiply_by(&self, a: &mut Words, b: &Words) {
        let mut all = [0; 2 * WORDS];
        let mut high = 0;
        for (at, a) in a.iter().enumerate() {
            let Some((sum, rest)) = all.get_mut(at..).and_then(<[u32]>::split_first_chunk_mut)
            else {
                break;
            };
            let more = add_row(sum, *a, b, self) + u64::from(high);
            if let Some(above) = rest.first_mut() {
                *above = more as u32;
            }
            high = (more >> 32) as u32;
        }
        if let Some((_, sum)) = all.split_last_chunk() {
            set(a, sum);
        }
        self.reduce(high, a);
    }

    fn add(&self, a: &Words, b: &Words) -> Words {
        let mut sum = *a;
        self.add_to(&mut sum, b);
        sum
    }

    fn add_to(&self, sum: &mut Words, other: &Words) {
        let high = add_product(sum, 1, other);
        self.reduce(high, sum);
    }

    fn subtract(&self, a: &Words, b: &Words) -> Words {
        let mut difference = *a;
        self.subtract_from(&mut difference, b);
        difference
    }

    fn subtract_from(&self, difference: &mut Words, other: &Words) {
        let borrowed = subtract(difference, other);
        add_product(difference, borrowed, &self.prime);
    }

    /// What is left of a number below twice the prime, of which `high` is the bit 256.
    #[inline(never)]
    fn reduce(&self, high: u32, number: &mut Words) {
        let borrowed = subtract(number, &self.prime);
        // 0 or 1 times: it takes as long.
        add_product(number, black_box(borrowed & (high ^ 1)), &self.prime);
    }

    fn reduced(&self, mut number: Words) -> Words {
        self.reduce(0, &mut number);
        number
    }

    fn is_below(&self, number: &Words) -> bool {
        subtract(&mut { *number }, &self.prime) == 1
    }

    /// Whether it is a number that can be divided by.
    fn is_unit(&self, number: &Words) -> bool {
        let any = number.iter().fold(0, |any, word| any | word);
        self.is_below(number) & (any != 0)
    }

    /// The inverse of a number that is not times 2²⁵⁶; it itself is. By Fermat: the exponent is
    /// known to all.
    fn invert(&self, number: &Words) -> Words {
        let long = self.multiply(number, &self.square);
        let mut exponent = self.prime;
        subtract(&mut exponent, &[2, 0, 0, 0, 0, 0, 0, 0]);
        let mut power = long;
        // The highest bit is one.
        for bit in (0..255).rev() {
            let square = power;
            self.multiply_by(&mut power, &square);
            if exponent[bit / 32 % WORDS] >> (bit % 32) & 1 == 1 {
                self.multiply_by(&mut power, &long);
            }
        }
        power
    }
}

/// Adds a multiple, and returns the word above.
#[inline(never)]
fn add_product(sum: &mut Words, factor: u32, words: &Words) -> u32 {
    let mut more = 0;
    each_word!((sum, words), more, |to: u32, word: u32, more: u32| {
        let all = u64::from(factor) * u64::from(word) + u64::from(to) + u64::from(more);
        (all as u32, (all >> 32) as u32)
    });
    more
}

/// Adds a multiple, and then that multiple of the prime that makes the lowest word 0. Returns what
/// is above.
#[inline(never)]
fn add_row(sum: &mut Words, factor: u32, words: &Words, modulus: &Modulus) -> u64 {
    let [lowest, ..] = *sum;
    let [word, ..] = *words;
    let zeroing = factor
        .wrapping_mul(word)
        .wrapping_add(lowest)
        .wrapping_mul(modulus.inverse);
    let [a, b, c, d, e, f, g, h] = sum;
    let [i, j, k, l, m, n, o, p] = words;
    let [q, r, s, t, u, v, w, x] = &modulus.prime;
    let (mut one, mut two) = (0, 0);
    // Not a closure, which would be called.
    macro_rules! step {
        ($to:ident, $word:ident, $prime:ident) => {
            let all = u64::from(factor) * u64::from(*$word) + u64::from(*$to) + u64::from(one);
            one = (all >> 32) as u32;
            let low = u64::from(all as u32);
            let all = u64::from(zeroing) * u64::from(*$prime) + low + u64::from(two);
            two = (all >> 32) as u32;
            *$to = all as u32;
        };
    }
    step!(a, i, q);
    step!(b, j, r);
    step!(c, k, s);
    step!(d, l, t);
    step!(e, m, u);
    step!(f, n, v);
    step!(g, o, w);
    step!(h, p, x);
    u64::from(one) + u64::from(two)
}

/// Returns the bit that was borrowed.
#[inline(never)]
fn subtract(difference: &mut Words, words: &Words) -> u32 {
    let mut borrowed = 0;
    each_word!(
        (difference, words),
        borrowed,
        |to: u32, word: u32, borrowed: u32| {
            let all = u64::from(to)
                .wrapping_sub(u64::from(word))
                .wrapping_sub(u64::from(borrowed));
            (all as u32, (all >> 63) as u32)
        }
    );
    borrowed
}

fn read(bytes: &[u8; SCALAR_LEN]) -> Words {
    let mut words = ZERO;
    for (to, from) in words.iter_mut().rev().zip(bytes.as_chunks().0) {
        *to = u32::from_be_bytes(*from);
    }
    words
}

fn write(words: &Words) -> [u8; SCALAR_LEN] {
    let mut bytes = [0; SCALAR_LEN];
    for (to, from) in bytes.as_chunks_mut().0.iter_mut().zip(words.iter().rev()) {
        *to = from.to_be_bytes();
    }
    bytes
}

fn write_both(a: &Words, b: &Words) -> [u8; 2 * SCALAR_LEN] {
    let mut bytes = [0; 2 * SCALAR_LEN];
    for (to, from) in bytes.as_chunks_mut().0.iter_mut().zip([a, b]) {
        *to = write(from);
    }
    bytes
}

#[cfg(test)]
mod tests;
