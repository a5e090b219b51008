//! JSON (RFC 8259), read in place and written into a slice.
//!
//! [`Reader`] reads a text in the buffer in which it arrived: an escape is always longer than what
//! it stands for, so strings are unescaped in place and returned as `&str`. [`Writer`] writes what
//! `JSON.stringify` writes. [`from_slice`] and [`to_slice`] do the same for serde's types.
//!
//! The grammar is that of `JSON.parse`. A byte order mark before the text is skipped, as
//! `TextDecoder` does. The limits are the buffer and, for nesting,
//! [`config::JSON_DEPTH_MAX`](crate::config::JSON_DEPTH_MAX). There are two differences to a
//! browser: invalid UTF-8 is an error instead of U+FFFD, and a lone surrogate escape, which a Rust
//! string cannot hold, becomes U+FFFD.
//!
//! ```
//! use peer_core::wire::json;
//! let mut text = *br#"{"name":"caf\u00e9","n":[1,2.5]}"#;
//! let mut reader = json::Reader::new(&mut text)?;
//! reader.begin_object()?;
//! assert_eq!(reader.next_key()?, Some("name"));
//! assert_eq!(reader.string()?, "café");
//! assert_eq!(reader.next_key()?, Some("n"));
//! assert_eq!(reader.raw()?, "[1,2.5]");
//! assert_eq!(reader.next_key()?, None);
//! reader.end()?;
//! # Ok::<(), json::DecodeError>(())
//! ```

mod de;
mod number;
mod reader;
mod scan;
mod ser;
mod writer;

#[cfg(test)]
mod tests;

pub use crate::codec::{DecodeError, EncodeError};
pub use de::{Deserializer, from_slice};
pub use number::Number;
pub use reader::{Kind, Reader};
pub use ser::{Serializer, to_slice};
pub use writer::Writer;

/// Checks that a text is one complete JSON value, without changing it.
///
/// ```
/// use peer_core::wire::json::{DecodeError, check};
/// assert_eq!(check(r#"{"a":[1,2]}"#), Ok(()));
/// assert_eq!(check("{} {}"), Err(DecodeError::Trailing));
/// ```
///
/// # Errors
/// The first [`DecodeError`] found.
pub fn check(text: &str) -> Result<(), DecodeError> {
    let text = text.as_bytes();
    let end = scan::value(text, scan::after_bom(text), 0)?;
    if scan::at_end(text, end) {
        Ok(())
    } else {
        Err(DecodeError::Trailing)
    }
}

/// Returns the value of a key of a JSON object, as the text it is. Changes nothing. Of keys that
/// come twice the last one counts. A key written with escapes is not found.
///
/// ```
/// use peer_core::wire::json::member;
/// let text = r#"{"a":1,"b":{"c":"d"}}"#;
/// assert_eq!(member(text, "b").and_then(|b| member(b, "c")), Some("\"d\""));
/// assert_eq!(member("[1]", "a"), None);
/// ```
#[must_use]
pub fn member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut found = [None];
    members(text, &[key], &mut found)?;
    found[0]
}

/// Whether a key of an object was written with escapes, so that it may be one that was looked for.
pub(crate) type Escaped = bool;

/// Looks for several keys as [`member`] does, in one pass: the value of `keys[i]` goes to
/// `found[i]`. `None` if the text is no object.
pub(crate) fn members<'a>(
    text: &'a str,
    keys: &[&str],
    found: &mut [Option<&'a str>],
) -> Option<Escaped> {
    let bytes = text.as_bytes();
    let mut escaped = false;
    let mut at = scan::byte(bytes, scan::after_bom(bytes), b'{').ok()?;
    if let Ok(end) = scan::byte(bytes, at, b'}') {
        return scan::at_end(bytes, end).then_some(escaped);
    }
    loop {
        let start = scan::byte(bytes, at, b'"').ok()?;
        let (end, escape) = scan::string(bytes, start).ok()?;
        escaped |= escape.is_some();
        let value = scan::whitespace(bytes, scan::byte(bytes, end + 1, b':').ok()?);
        let value_end = scan::value(bytes, value, 1).ok()?;
        let key = text.get(start..end);
        for (_, found) in keys
            .iter()
            .zip(&mut *found)
            .filter(|(k, _)| Some(**k) == key)
        {
            *found = text.get(value..value_end);
        }
        at = scan::whitespace(bytes, value_end);
        match bytes.get(at)? {
            b',' => at += 1,
            b'}' => return scan::at_end(bytes, at + 1).then_some(escaped),
            _ => return None,
        }
    }
}
