//! Packets made and taken apart by hand.

use peer_core::rtc::sctp::crc32c;

pub(crate) const DATA: u8 = 0;
pub(crate) const INIT: u8 = 1;
pub(crate) const INIT_ACK: u8 = 2;
pub(crate) const SACK: u8 = 3;
pub(crate) const HEARTBEAT: u8 = 4;
pub(crate) const HEARTBEAT_ACK: u8 = 5;
pub(crate) const ABORT: u8 = 6;
pub(crate) const SHUTDOWN: u8 = 7;
pub(crate) const SHUTDOWN_ACK: u8 = 8;
pub(crate) const COOKIE_ECHO: u8 = 10;
pub(crate) const COOKIE_ACK: u8 = 11;
pub(crate) const SHUTDOWN_COMPLETE: u8 = 14;
pub(crate) const RECONFIG: u8 = 130;
pub(crate) const FORWARD_TSN: u8 = 192;

/// Tag and first TSN of the ends that [`net::config`](crate::net::config) makes.
pub(crate) const fn tag(n: u8) -> u32 {
    u32::from_be_bytes([n; 4])
}

/// A chunk, with its padding.
pub(crate) fn chunk(kind: u8, flags: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let mut chunk = vec![kind, flags];
    chunk.extend(u16::try_from(value.len() + 4).unwrap().to_be_bytes());
    chunk.extend(value);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

pub(crate) fn packet(tag: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(5000_u16.to_be_bytes());
    packet.extend(5000_u16.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(chunks.concat());
    let crc = crc32c(&[&packet]);
    packet[8..12].copy_from_slice(&crc.to_le_bytes());
    packet
}

/// DATA on stream 1.
pub(crate) fn data(tsn: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    data_on(1, tsn, flags, payload)
}

pub(crate) fn data_on(stream: u16, tsn: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 5] = [
        &tsn.to_be_bytes(),
        &stream.to_be_bytes(),
        &[0; 2],
        &53_u32.to_be_bytes(),
        payload,
    ];
    chunk(DATA, flags, &parts)
}

pub(crate) fn sack(cumulative: u32, window: u32, gaps: &[(u16, u16)]) -> Vec<u8> {
    let mut value = Vec::new();
    value.extend(cumulative.to_be_bytes());
    value.extend(window.to_be_bytes());
    value.extend(u16::try_from(gaps.len()).unwrap().to_be_bytes());
    value.extend([0; 2]);
    for (first, last) in gaps {
        value.extend(first.to_be_bytes());
        value.extend(last.to_be_bytes());
    }
    chunk(SACK, 0, &[&value])
}

/// An outgoing SSN reset request.
pub(crate) fn reset(number: u32, last: u32, streams: &[u16]) -> Vec<u8> {
    let mut value = Vec::new();
    for number in [number, 0, last] {
        value.extend(number.to_be_bytes());
    }
    for stream in streams {
        value.extend(stream.to_be_bytes());
    }
    let len = u16::try_from(value.len() + 4).unwrap().to_be_bytes();
    chunk(RECONFIG, 0, &[&13_u16.to_be_bytes(), &len, &value])
}

/// The chunks of a packet: kind, flags, value.
pub(crate) fn chunks(packet: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
    let mut rest = &packet[12..];
    let mut chunks = Vec::new();
    while let [kind, flags, l0, l1, ..] = *rest {
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        chunks.push((kind, flags, rest[4..len].to_vec()));
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    chunks
}

pub(crate) fn number(value: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(value[at..at + 4].try_into().unwrap())
}
