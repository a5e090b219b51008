//! The server's half of HTTP and WebSocket, as much as a broker needs. What clients say is taken
//! from a simulated network: what breaks the rules is a finding, so it panics.

use peer_core::wire::http::accept_key;
use peer_core::wire::websocket::apply_mask;

/// A text message.
pub const TEXT: u8 = 0x81;
/// A close frame.
pub const CLOSE: u8 = 0x88;
/// A ping.
pub const PING: u8 = 0x89;
/// The answer to it.
pub const PONG: u8 = 0x8a;

/// A server's frame: its first byte, as the constants above, and its payload of less than 64 KiB.
///
/// ```
/// use peer_sim::lan::websocket::{TEXT, frame};
/// assert_eq!(frame(TEXT, b"hi"), [0x81, 2, b'h', b'i']);
/// ```
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(len as u8),
        len => {
            let len = u16::try_from(len).expect("signals are shorter than 64 KiB");
            frame.push(126);
            frame.extend_from_slice(&len.to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// The client's frames in some bytes, unmasked: first byte and payload. The bytes that are left
/// over are not a whole frame.
///
/// # Panics
/// A frame is not masked.
pub fn client_frames(mut bytes: &[u8]) -> (Vec<(u8, Vec<u8>)>, usize) {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!(second & 0x80, 0x80, "a client masks");
        let (len, rest) = match (second & 0x7f, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (126.., _) => break,
            (len, rest) => (usize::from(len), rest),
        };
        if rest.len() < 4 + len {
            break;
        }
        let mask: [u8; 4] = rest[..4].try_into().expect("four bytes are four bytes");
        let mut payload = rest[4..4 + len].to_vec();
        apply_mask(&mut payload, mask, 0);
        frames.push((*first, payload));
        bytes = &rest[4 + len..];
    }
    (frames, bytes.len())
}

/// Takes the head of an HTTP request off some bytes, once it is whole.
pub fn take_request(bytes: &mut Vec<u8>) -> Option<String> {
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    let request = bytes.drain(..end + 4).collect();
    Some(String::from_utf8(request).expect("a request is ASCII"))
}

/// A parameter of a request's target, decoded.
///
/// ```
/// use peer_sim::lan::websocket::parameter;
/// let request = "GET /peerjs?key=peerjs&id=a%20b HTTP/1.1\r\n\r\n";
/// assert_eq!(parameter(request, "id").as_deref(), Some("a b"));
/// assert_eq!(parameter(request, "token"), None);
/// ```
pub fn parameter(request: &str, name: &str) -> Option<String> {
    let target = request.split(' ').nth(1)?;
    let (_, query) = target.split_once('?')?;
    let value = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)?
        .1;
    let mut decoded = Vec::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.extend_from_slice(before.as_bytes());
        let (digits, after) = after.split_at_checked(2)?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    decoded.extend_from_slice(rest.as_bytes());
    String::from_utf8(decoded).ok()
}

/// The answer that accepts an upgrade of this nonce.
pub fn upgrade(nonce: &[u8; 16]) -> Vec<u8> {
    let accept = accept_key(nonce);
    let accept = core::str::from_utf8(&accept).expect("Base64 is ASCII");
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}

/// The nonce of an upgrade request.
///
/// ```
/// use peer_sim::lan::websocket::nonce;
/// let request = "GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// assert_eq!(nonce(request).as_ref(), Some(b"the sample nonce"));
/// ```
pub fn nonce(request: &str) -> Option<[u8; 16]> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (_, after) = request.split_once("Sec-WebSocket-Key: ")?;
    let text = after.split("\r\n").next()?.trim_end_matches('=');
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for character in text.bytes() {
        let value = ALPHABET.iter().position(|other| *other == character)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes.try_into().ok()
}
