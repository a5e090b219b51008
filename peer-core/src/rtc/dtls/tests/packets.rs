//! Records and handshake messages, made, cut and changed.

use super::*;

/// A record in plaintext, or what looks like one.
pub(super) fn record(content: u8, epoch: u16, sequence: u64, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("short").to_be_bytes();
    let numbers = (u64::from(epoch) << 48 | sequence).to_be_bytes();
    let head: [&[u8]; 4] = [&[content, 0xfe, 0xfd], &numbers, &len, body];
    head.concat()
}

/// A handshake fragment in a record.
pub(super) fn fragment(
    kind: u8,
    sequence: u16,
    total: usize,
    offset: usize,
    body: &[u8],
) -> Vec<u8> {
    let three = |n: usize| u32::try_from(n).expect("short").to_be_bytes()[1..].to_vec();
    let sequence = sequence.to_be_bytes();
    let parts: [&[u8]; 6] = [
        &[kind],
        &three(total),
        &sequence,
        &three(offset),
        &three(body.len()),
        body,
    ];
    record(22, 0, 0, &parts.concat())
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
    for record in records(datagram) {
        let plain = record[0] == 22 && record[4] == 0;
        match plain.then(|| change(record[13], &record[25..])).flatten() {
            Some(body) => {
                let size = u32::try_from(body.len()).expect("short").to_be_bytes();
                let all = u16::try_from(body.len() + 12).expect("short").to_be_bytes();
                let parts: [&[u8]; 7] = [
                    &record[..11],
                    &all,
                    &record[13..14],
                    &size[1..],
                    &record[17..22],
                    &size[1..],
                    &body,
                ];
                out.extend(parts.concat());
            }
            None => out.extend(record),
        }
    }
    out
}
