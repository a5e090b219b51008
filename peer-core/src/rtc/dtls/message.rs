//! The other handshake messages that a client reads or both ends write: certificates, key exchange,
//! and what is signed.

use super::error::DtlsError;
use super::reader::{Reader, contains, u24};
use super::step::Message;
use crate::rtc::crypto::{PUBLIC_KEY_LEN, SIGNATURE_LEN, signature};

/// named_curve, secp256r1, and the length of a point.
pub(super) const CURVE: [u8; 4] = [3, 0, 23, 65];
/// SHA-256 and ECDSA.
pub(super) const ECDSA_SHA256: [u8; 2] = [4, 3];
/// The two lengths before the only certificate of a list.
pub(super) fn certificate_list(len: usize) -> Option<[u8; 6]> {
    let ([a, b, c], [d, e, f]) = (u24(len.checked_add(3)?)?, u24(len)?);
    Some([a, b, c, d, e, f])
}

/// Reads a list of certificates: the first, which is the sender's own.
pub(super) fn read_certificate(body: &[u8]) -> Result<&[u8], DtlsError> {
    const MALFORMED: DtlsError = DtlsError::Malformed(Message::Certificate);
    let mut reader = Reader::new(body);
    let list = reader
        .vec24()
        .filter(|_| reader.is_empty())
        .ok_or(MALFORMED)?;
    if list.is_empty() {
        return Err(DtlsError::NoCertificate);
    }
    let first = Reader::new(list).vec24().ok_or(MALFORMED)?;
    if first.is_empty() {
        Err(DtlsError::NoCertificate)
    } else {
        Ok(first)
    }
}

/// A ServerKeyExchange: the part that is signed, the point in it, the signature.
pub(super) struct KeyExchange<'a> {
    pub(super) signed: &'a [u8],
    pub(super) point: [u8; PUBLIC_KEY_LEN],
    pub(super) signature: [u8; SIGNATURE_LEN],
}

/// Reads a ServerKeyExchange of ECDHE with P-256 (RFC 8422 §5.4).
pub(super) fn read_key_exchange(body: &[u8]) -> Result<KeyExchange<'_>, DtlsError> {
    const MALFORMED: DtlsError = DtlsError::Malformed(Message::ServerKeyExchange);
    let (signed, rest) = body
        .split_at_checked(CURVE.len() + PUBLIC_KEY_LEN)
        .ok_or(MALFORMED)?;
    let (curve, point) = signed.split_first_chunk::<4>().ok_or(MALFORMED)?;
    let ([kind, a, b, len], [named, c, d, point_len]) = (*curve, CURVE);
    if [kind, a, b] != [named, c, d] {
        return Err(DtlsError::Curve);
    }
    if len != point_len {
        return Err(DtlsError::PointFormat);
    }
    Ok(KeyExchange {
        signed,
        point: *point.first_chunk().ok_or(MALFORMED)?,
        signature: read_signature(rest, Message::ServerKeyExchange)?,
    })
}

/// Algorithm and signature, to the end.
pub(super) fn read_signature(
    bytes: &[u8],
    message: Message,
) -> Result<[u8; SIGNATURE_LEN], DtlsError> {
    let malformed = DtlsError::Malformed(message);
    let mut reader = Reader::new(bytes);
    if reader.array::<2>().ok_or(malformed)? != ECDSA_SHA256 {
        return Err(DtlsError::SignatureAlgorithm);
    }
    let der = reader
        .vec16()
        .filter(|_| reader.is_empty())
        .ok_or(malformed)?;
    signature::from_der(der).ok_or(malformed)
}

/// Checks that a CertificateRequest takes what we have.
pub(super) fn read_certificate_request(body: &[u8]) -> Result<(), DtlsError> {
    const MALFORMED: DtlsError = DtlsError::Malformed(Message::CertificateRequest);
    let mut reader = Reader::new(body);
    let (Some(kinds), Some(algorithms), Some(_), true) = (
        reader.vec8(),
        reader.vec16(),
        reader.vec16(),
        reader.is_empty(),
    ) else {
        return Err(MALFORMED);
    };
    if kinds.contains(&64) && contains(algorithms, ECDSA_SHA256) {
        Ok(())
    } else {
        Err(DtlsError::SignatureAlgorithm)
    }
}
