//! The grammar: where tokens end. Nothing here changes the text.

use crate::{bytes, config::JSON_DEPTH_MAX};

use super::DecodeError;

/// Where the text starts behind a byte order mark.
pub(super) fn after_bom(text: &[u8]) -> usize {
    if text.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    }
}

/// The first position from `at` that holds no white space.
pub(super) fn whitespace(text: &[u8], at: usize) -> usize {
    at + bytes::rest(text, at)
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        .count()
}

/// Whether nothing but white space follows `at`.
pub(super) fn at_end(text: &[u8], at: usize) -> bool {
    whitespace(text, at) == text.len()
}

/// The position behind the given byte, white space before it skipped.
pub(super) fn byte(text: &[u8], at: usize, wanted: u8) -> Result<usize, DecodeError> {
    let at = whitespace(text, at);
    match text.get(at) {
        Some(&found) if found == wanted => Ok(at + 1),
        Some(_) => Err(DecodeError::Syntax),
        None => Err(DecodeError::Truncated),
    }
}

/// The position behind a literal such as `null`.
pub(super) fn literal(text: &[u8], at: usize, wanted: &str) -> Result<usize, DecodeError> {
    let rest = bytes::rest(text, at);
    if rest.starts_with(wanted.as_bytes()) {
        Ok(at + wanted.len())
    } else if wanted.as_bytes().starts_with(rest) {
        Err(DecodeError::Truncated)
    } else {
        Err(DecodeError::Syntax)
    }
}

/// Finds the closing quote of a string whose opening quote is just before `at`: its position, and
/// that of the first escape.
pub(super) fn string(text: &[u8], mut at: usize) -> Result<(usize, Option<usize>), DecodeError> {
    let mut escape = None;
    loop {
        match text.get(at).ok_or(DecodeError::Truncated)? {
            b'"' => return Ok((at, escape)),
            b'\\' => {
                escape = escape.or(Some(at));
                match text.get(at + 1).ok_or(DecodeError::Truncated)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                    b'u' => {
                        for index in at + 2..at + 6 {
                            if !text
                                .get(index)
                                .ok_or(DecodeError::Truncated)?
                                .is_ascii_hexdigit()
                            {
                                return Err(DecodeError::Syntax);
                            }
                        }
                        at += 6;
                    }
                    _ => return Err(DecodeError::Syntax),
                }
            }
            0..=0x1f => return Err(DecodeError::Syntax),
            _ => at += 1,
        }
    }
}

/// The position behind the number at `at`, and whether it has a fraction or an exponent.
pub(super) fn number(text: &[u8], at: usize) -> Result<(usize, bool), DecodeError> {
    let digits = |at: usize| -> Result<usize, DecodeError> {
        let rest = bytes::rest(text, at);
        match rest.iter().take_while(|byte| byte.is_ascii_digit()).count() {
            0 if rest.is_empty() => Err(DecodeError::Truncated),
            0 => Err(DecodeError::Syntax),
            count => Ok(at + count),
        }
    };
    let mut end = if text.get(at) == Some(&b'-') {
        at + 1
    } else {
        at
    };
    end = if text.get(end) == Some(&b'0') {
        end + 1
    } else {
        digits(end)?
    };
    let mut fractional = false;
    if text.get(end) == Some(&b'.') {
        fractional = true;
        end = digits(end + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(end) {
        fractional = true;
        end = if let Some(b'+' | b'-') = text.get(end + 1) {
            end + 2
        } else {
            end + 1
        };
        end = digits(end)?;
    }
    Ok((end, fractional))
}

/// The position behind the value that starts at or after `at`, `depth` arrays and objects being
/// open. Recurses once a level, at most [`JSON_DEPTH_MAX`] deep.
pub(super) fn value(text: &[u8], at: usize, depth: usize) -> Result<usize, DecodeError> {
    let at = whitespace(text, at);
    match *text.get(at).ok_or(DecodeError::Truncated)? {
        b'n' => literal(text, at, "null"),
        b't' => literal(text, at, "true"),
        b'f' => literal(text, at, "false"),
        b'"' => string(text, at + 1).map(|(end, _)| end + 1),
        b'-' | b'0'..=b'9' => number(text, at).map(|(end, _)| end),
        open @ (b'[' | b'{') => {
            if depth >= JSON_DEPTH_MAX {
                return Err(DecodeError::Depth);
            }
            let close = if open == b'[' { b']' } else { b'}' };
            let mut at = whitespace(text, at + 1);
            if text.get(at) == Some(&close) {
                return Ok(at + 1);
            }
            loop {
                if open == b'{' {
                    let (end, _) = string(text, byte(text, at, b'"')?)?;
                    at = byte(text, end + 1, b':')?;
                }
                at = whitespace(text, value(text, at, depth + 1)?);
                match text.get(at).ok_or(DecodeError::Truncated)? {
                    b',' => at += 1,
                    &found if found == close => return Ok(at + 1),
                    _ => return Err(DecodeError::Syntax),
                }
            }
        }
        _ => Err(DecodeError::Syntax),
    }
}
