//! Headers of DTLS 1.2 records and handshake fragments (RFC 6347, sections 4.1 and 4.2.2).

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

pub(super) const RECORD_HEADER_LEN: usize = 13;
pub(super) const FRAGMENT_HEADER_LEN: usize = 12;

/// Shortest encrypted body with AES-GCM: explicit nonce and tag.
const SEALED_MIN_GCM: usize = 8 + 16;
/// With ChaCha20-Poly1305: the tag.
const SEALED_MIN_CHACHA: usize = 16;
const ECDHE_ECDSA_CHACHA20_POLY1305: u16 = 0xCCA9;

/// One record of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) kind: u8,
    pub(super) epoch: u16,
    pub(super) body: &'a [u8],
    /// Header and body.
    pub(super) length: usize,
}

impl<'a> Record<'a> {
    /// The first record, if there is a whole one of DTLS 1.0 or 1.2 with a body.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER_LEN>()?;
        let &[kind, 0xfe, 0xfd | 0xff, e0, e1, _, _, _, _, _, _, l0, l1] = header else {
            return None;
        };
        let body = rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
        // `dtls` takes a datagram that ends in an empty record for broken, all of it.
        if body.is_empty() {
            return None;
        }
        let epoch = u16::from_be_bytes([e0, e1]);
        Some(Self {
            kind,
            epoch,
            body,
            length: RECORD_HEADER_LEN + body.len(),
        })
    }
}

/// One fragment of a handshake message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) kind: u8,
    /// Length of the whole message.
    pub(super) total: usize,
    pub(super) sequence: u16,
    pub(super) offset: usize,
    pub(super) data: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// The first fragment of a record's body and what follows it.
    pub(super) fn parse(body: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = body.split_first_chunk::<FRAGMENT_HEADER_LEN>()?;
        let &[kind, t0, t1, t2, s0, s1, o0, o1, o2, l0, l1, l2] = header;
        let (data, rest) = rest.split_at_checked(u24(l0, l1, l2))?;
        let (total, offset) = (u24(t0, t1, t2), u24(o0, o1, o2));
        if offset + data.len() > total {
            return None;
        }
        let sequence = u16::from_be_bytes([s0, s1]);
        Some((
            Self {
                kind,
                total,
                sequence,
                offset,
                data,
            },
            rest,
        ))
    }
}

/// Whether a plaintext handshake record can be of the flight a client repeats until it has our last
/// one.
pub(super) fn is_client_flight(body: &[u8]) -> bool {
    use super::message::{CERTIFICATE, CERTIFICATE_VERIFY, CLIENT_KEY_EXCHANGE};
    Fragment::parse(body).is_some_and(|(fragment, _)| {
        matches!(
            fragment.kind,
            CERTIFICATE | CERTIFICATE_VERIFY | CLIENT_KEY_EXCHANGE
        )
    })
}

/// Shortest encrypted body under a suite.
pub(super) const fn sealed_min(chacha: bool) -> usize {
    if chacha {
        SEALED_MIN_CHACHA
    } else {
        SEALED_MIN_GCM
    }
}

/// Whether a ServerHello chooses ChaCha20-Poly1305; `None` for other messages.
pub(super) fn chooses_chacha(body: &[u8]) -> Option<bool> {
    let (fragment, _) = Fragment::parse(body)?;
    if fragment.kind != super::message::SERVER_HELLO || fragment.offset != 0 {
        return None;
    }
    let session_id = usize::from(*fragment.data.get(34)?);
    let suite = fragment.data.get(35 + session_id..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*suite) == ECDHE_ECDSA_CHACHA20_POLY1305)
}

/// Appends a plaintext record with our own numbering.
pub(super) fn write(out: &mut Vec<u8>, kind: u8, sequence: u64, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let [_, _, s0, s1, s2, s3, s4, s5] = sequence.to_be_bytes();
    let [l0, l1] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    out.extend_from_slice(&[kind, 0xfe, 0xfd, 0, 0, s0, s1, s2, s3, s4, s5, l0, l1]);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Header of a handshake fragment that begins at 0.
pub(super) fn fragment_header(kind: u8, total: usize, sequence: u16, length: usize) -> [u8; 12] {
    let [.., t0, t1, t2] = (total as u32).to_be_bytes();
    let [.., l0, l1, l2] = (length as u32).to_be_bytes();
    let [s0, s1] = sequence.to_be_bytes();
    [kind, t0, t1, t2, s0, s1, 0, 0, 0, l0, l1, l2]
}

fn u24(b0: u8, b1: u8, b2: u8) -> usize {
    usize::from(b0) << 16 | usize::from(b1) << 8 | usize::from(b2)
}
