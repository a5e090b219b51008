//! ECDSA signatures in DER (RFC 3279 §2.2.3): a SEQUENCE of two INTEGERs.

use super::{SCALAR_LEN, SIGNATURE_LEN};
use crate::bytes;

/// Bytes of the longest signature in DER.
pub const DER_MAX: usize = 72;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 2;

/// Writes a signature in DER to the start of `out`; the bytes it takes.
///
/// Takes 8 to 72 bytes. `None` if `out` has fewer.
#[must_use]
pub fn to_der(signature: &[u8; SIGNATURE_LEN], out: &mut [u8]) -> Option<usize> {
    let (r, s) = signature.split_at(SCALAR_LEN);
    let (r, s) = (unsigned(r), unsigned(s));
    let ((r_len, r_zero), (s_len, s_zero)) = (integer_len(r)?, integer_len(s)?);
    let all = r_len.checked_add(s_len)?.checked_add(4)?;
    const ZERO: &[u8] = &[0];
    let zero = |is: bool| if is { ZERO } else { &[] };
    bytes::concat(
        out,
        &[
            &[SEQUENCE, all, INTEGER, r_len],
            zero(r_zero),
            r,
            &[INTEGER, s_len],
            zero(s_zero),
            s,
        ],
    )
}

/// Reads a signature in DER, and nothing else: no other length, no leading zero that is not needed,
/// no negative number, no byte more.
#[must_use]
pub fn from_der(der: &[u8]) -> Option<[u8; SIGNATURE_LEN]> {
    let (&[SEQUENCE, len], body) = der.split_first_chunk()? else {
        return None;
    };
    if usize::from(len) != body.len() {
        return None;
    }
    let mut signature = [0; SIGNATURE_LEN];
    let (r, s) = signature.split_at_mut(SCALAR_LEN);
    let rest = integer(body, r)?;
    integer(rest, s)?.is_empty().then_some(signature)
}

/// The number without leading zeros; zero has one byte.
fn unsigned(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        if rest.is_empty() {
            break;
        }
        number = rest;
    }
    number
}

/// How many bytes an INTEGER has, and whether the first is a zero that keeps it positive.
fn integer_len(number: &[u8]) -> Option<(u8, bool)> {
    let zero = number.first()? & 0x80 != 0;
    let len = u8::try_from(number.len()).ok()?;
    Some((len.checked_add(u8::from(zero))?, zero))
}

/// Reads an INTEGER to the end of `out`; what follows it.
fn integer<'d>(der: &'d [u8], out: &mut [u8]) -> Option<&'d [u8]> {
    let (&[INTEGER, len], rest) = der.split_first_chunk()? else {
        return None;
    };
    let (number, rest) = rest.split_at_checked(usize::from(len))?;
    let number = match number {
        [] => return None,
        [0, after @ ..] => match after {
            [] => number,
            [first, ..] if first & 0x80 != 0 => after,
            _ => return None,
        },
        [first, ..] if first & 0x80 != 0 => return None,
        _ => number,
    };
    let at = out.len().checked_sub(number.len())?;
    bytes::copy(out.get_mut(at..)?, number)?;
    Some(rest)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::*;

    fn signature(r: &[u8], s: &[u8]) -> [u8; SIGNATURE_LEN] {
        let mut signature = [0; SIGNATURE_LEN];
        signature[32 - r.len()..32].copy_from_slice(r);
        signature[64 - s.len()..].copy_from_slice(s);
        signature
    }

    #[test]
    fn only_der_is_read() {
        let good = [0x30, 7, 2, 2, 0, 0x80, 2, 1, 5];
        assert_eq!(from_der(&good), Some(signature(&[0x80], &[5])));
        let bad: [&[u8]; 9] = [
            &[],
            &[0x30, 6, 2, 1, 0x80, 2, 1, 5],          // negative
            &[0x30, 7, 2, 2, 0, 0x7f, 2, 1, 5],       // a zero too many
            &[0x30, 0x81, 7, 2, 2, 0, 0x80, 2, 1, 5], // a long length
            &[0x30, 7, 2, 2, 0, 0x80, 2, 1, 5, 0],    // a byte behind
            &[0x30, 8, 2, 2, 0, 0x80, 2, 1, 5, 0],    // a byte within
            &[0x30, 5, 2, 0, 2, 1, 5],                // no number
            &[0x31, 7, 2, 2, 0, 0x80, 2, 1, 5],       // no SEQUENCE
            &[0x30, 7, 2, 2, 0, 0x80, 3, 1, 5],       // no INTEGER
        ];
        for bad in bad {
            assert_eq!(from_der(bad), None, "{bad:x?}");
        }
        // A number of 33 bytes.
        let mut long = [1; 40];
        long[..4].copy_from_slice(&[0x30, 38, 2, 33]);
        long[37..].copy_from_slice(&[2, 1, 1]);
        assert_eq!(from_der(&long), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            r in prop::collection::vec(any::<u8>(), 1..=32),
            s in prop::collection::vec(any::<u8>(), 1..=32),
        ) {
            let signature = signature(&r, &s);
            let mut der = [0; DER_MAX];
            let len = to_der(&signature, &mut der).expect("72 bytes are enough");
            prop_assert_eq!(from_der(&der[..len]), Some(signature));
            prop_assert_eq!(to_der(&signature, &mut der[..len - 1]), None);
        }

        #[test]
        fn whatever_comes_is_read_or_refused(der in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(signature) = from_der(&der) {
                let mut again = [0; DER_MAX];
                let len = to_der(&signature, &mut again).expect("72 bytes are enough");
                prop_assert_eq!(&again[..len], &der[..]);
            }
        }
    }
}
