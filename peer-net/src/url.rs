//! Paths and percent-encoding in URLs.

/// The path with one slash at either end.
pub(crate) fn surround(path: &str) -> String {
    let inner = path.trim_matches('/');
    if inner.is_empty() {
        "/".to_owned()
    } else {
        format!("/{inner}/")
    }
}

/// As JavaScript's `encodeURIComponent`.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// As `URLSearchParams` reads a value: `+` is a space, a broken escape stays as it is, bytes that are
/// not UTF-8 become U+FFFD.
pub(crate) fn percent_decode(text: &str) -> String {
    let text = text.replace('+', " ");
    String::from_utf8_lossy(&percent_decode_bytes(&text).0).into_owned()
}

/// The bytes, and whether every escape was complete.
pub(crate) fn percent_decode_bytes(text: &str) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(text.len());
    let mut complete = true;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let escape = match (byte, ahead.next().and_then(hex), ahead.next().and_then(hex)) {
            (b'%', Some(high), Some(low)) => Some(high << 4 | low),
            _ => None,
        };
        complete &= byte != b'%' || escape.is_some();
        if escape.is_some() {
            bytes = ahead;
        }
        out.push(escape.unwrap_or(byte));
    }
    (out, complete)
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_round_trip() {
        let text = "a b&c=d/é☃%+\r\n\"'";
        assert_eq!(percent_decode(&percent_encode(text)), text);
        assert_eq!(percent_decode("a+b%2Bc%zz%4"), "a b+c%zz%4");
        assert_eq!(percent_decode("%ff"), "\u{fffd}");
        assert_eq!(percent_decode_bytes("%4"), (b"%4".to_vec(), false));
    }
}
