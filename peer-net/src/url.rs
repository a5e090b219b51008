//! Paths and percent-encoding in URLs.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The path with one slash at either end.
pub(crate) fn surround(path: &str) -> String {
    let inner = path.trim_matches('/');
    if inner.is_empty() {
        "/".to_owned()
    } else {
        format!("/{inner}/")
    }
}

/// What JavaScript's `encodeURIComponent` escapes.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// As JavaScript's `encodeURIComponent`.
pub(crate) fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

/// As `URLSearchParams` reads a value: `+` is a space, a broken escape stays as it is, bytes that
/// are not UTF-8 become U+FFFD.
pub(crate) fn percent_decode(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

/// Whether JavaScript's `decodeURIComponent` takes it: every escape is whole, and the bytes are
/// UTF-8.
pub(crate) fn is_decodable(text: &str) -> bool {
    let mut escapes = text.split('%').skip(1).map(str::as_bytes);
    let is_hex = |escape: &[u8]| escape.iter().all(u8::is_ascii_hexdigit);
    escapes.all(|rest| rest.get(..2).is_some_and(is_hex))
        && percent_decode_str(text).decode_utf8().is_ok()
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
        assert_eq!(percent_encode("a b!~*'()-_."), "a%20b!~*'()-_.");
        for (text, decodable) in [
            ("a%20b", true),
            ("%c3%A9", true),
            ("%4", false),
            ("%", false),
            ("%zz", false),
            ("%+4", false),
            ("%%41", false),
            ("%ff", false),
        ] {
            assert_eq!(is_decodable(text), decodable, "{text}");
        }
    }
}
