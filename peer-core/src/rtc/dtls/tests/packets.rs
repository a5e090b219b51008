//! Records and handshake messages, made, cut and changed. `tests/dtls` has this module, too: what
//! it takes from above, both have.

use super::*;

/// A record in plaintext, or what looks like one.
pub(super) fn record(content: u8, epoch: u16, sequence: u64, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("short").to_be_bytes();
    let numbers = (u64::from(epoch) << 48 | sequence).to_be_bytes();
    let head: [&[u8]; 4] = [&[content, 0xfe, 0xfd], &numbers, &len, body];
    head.concat()
}

/// A fragment of a handshake message.
pub(super) fn handshake(
    kind: u8,
    sequence: [u8; 2],
    total: usize,
    offset: usize,
    body: &[u8],
) -> Vec<u8> {
    let three = |n: usize| u32::try_from(n).expect("short").to_be_bytes();
    let [_, total @ ..] = three(total);
    let [_, offset @ ..] = three(offset);
    let [_, len @ ..] = three(body.len());
    let parts: [&[u8]; 6] = [&[kind], &total, &sequence, &offset, &len, body];
    parts.concat()
}

/// The records of a datagram.
pub(super) fn records(mut datagram: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while !datagram.is_empty() {
        let len = 13 + usize::from(u16::from_be_bytes([datagram[11], datagram[12]]));
        let (record, rest) = datagram.split_at(len);
        all.push(record);
        datagram = rest;
    }
    all
}

/// Goes through the whole handshake messages of a datagram: what `change` returns replaces a body.
pub(super) fn rewrite(
    datagram: &[u8],
    mut change: impl FnMut(u8, &[u8]) -> Option<Vec<u8>>,
) -> Vec<u8> {
    let mut out = Vec::new();
    for bytes in records(datagram) {
        let plain = bytes[0] == 22 && bytes[4] == 0;
        match plain.then(|| change(bytes[13], &bytes[25..])).flatten() {
            Some(body) => {
                let sequence = bytes[5..11]
                    .iter()
                    .fold(0, |all, byte| all << 8 | u64::from(*byte));
                let message = handshake(bytes[13], [bytes[17], bytes[18]], body.len(), 0, &body);
                out.extend(record(22, 0, sequence, &message));
            }
            None => out.extend(bytes),
        }
    }
    out
}

/// Application data as a datagram.
pub(super) fn seal<C: Crypto>(
    dtls: &mut Dtls<'_, C>,
    crypto: &mut C,
    data: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut buffer = [&[0; HEADROOM], data, &[0; TAILROOM]].concat();
    let text = HEADROOM..HEADROOM + data.len();
    let sealed = dtls.seal(crypto, &mut buffer, text)?;
    Ok(buffer[sealed].to_vec())
}
