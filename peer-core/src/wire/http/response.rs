use crate::bytes;

use super::{ResponseError, accept_key};

/// The longest response head that is read, in bytes, interim responses included. A longer one is
/// [`ResponseError::TooLarge`].
pub const RESPONSE_HEAD_MAX: usize = 8192;

/// The head of a response: what comes before its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    /// The status code.
    pub status: u16,
    /// The length of the head in bytes. The body, or the first WebSocket frame, starts there.
    pub len: usize,
    /// How long the body is.
    pub body: Body,
    /// Whether the head has `Connection: Upgrade` and `Upgrade: websocket`.
    pub upgrade: bool,
    /// The value of `Sec-WebSocket-Accept`, if the head has it and it is UTF-8.
    pub accept: Option<&'a str>,
}

/// How the end of a body is found (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Body {
    /// The body has this many bytes.
    Length(u64),
    /// The body is sent in chunks.
    Chunked,
    /// The body ends where the connection is closed.
    UntilClose,
}

impl<'a> ResponseHead<'a> {
    /// Parses the head of a response from all bytes that have come so far. Returns `None` until the
    /// head is complete. Skips interim responses (status 1xx except 101).
    ///
    /// Header values and the reason phrase may contain any octet above ASCII (RFC 9110, section
    /// 5.5); only the headers that are used must be ASCII.
    ///
    /// The caller's buffer limits the head as well: give up when it is full and this still returns
    /// `None`. PeerServer's heads are shorter than 400 bytes.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, ResponseError> {
        let mut start = 0;
        while let Some(head) = Self::parse_one(bytes, start)? {
            if head.len > RESPONSE_HEAD_MAX {
                break;
            }
            if head.status == 101 || head.status >= 200 {
                return Ok(Some(head));
            }
            start = head.len;
        }
        if bytes.len() > RESPONSE_HEAD_MAX {
            Err(ResponseError::TooLarge)
        } else {
            Ok(None)
        }
    }

    /// Returns whether the server switched to WebSocket for this nonce (RFC 6455, section 4.1).
    #[must_use]
    pub fn is_upgrade(&self, nonce: &[u8; 16]) -> bool {
        self.status == 101
            && self.upgrade
            && self
                .accept
                .is_some_and(|accept| accept.as_bytes() == accept_key(nonce))
    }

    fn parse_one(bytes: &'a [u8], start: usize) -> Result<Option<Self>, ResponseError> {
        let mut lines = Lines { bytes, at: start };
        let Some(line) = lines.next() else {
            // Do not wait for the end of what is something else.
            let begun = bytes::rest(bytes, start);
            let known = begun.len().min(b"HTTP/1.".len());
            return if begun.get(..known) == b"HTTP/1.".get(..known) {
                Ok(None)
            } else {
                Err(ResponseError::NotHttp)
            };
        };
        let mut head = Self {
            status: status(line).ok_or(ResponseError::NotHttp)?,
            len: 0,
            body: Body::UntilClose,
            upgrade: false,
            accept: None,
        };
        let (mut length, mut chunked, mut connection, mut protocol) = (None, false, false, false);
        loop {
            let Some(line) = lines.next() else {
                return Ok(None);
            };
            if line.is_empty() {
                break;
            }
            let (name, value) = header(line).ok_or(ResponseError::Header)?;
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
            if is("content-length") {
                let value = number(value, 10).ok_or(ResponseError::ContentLength)?;
                if length.is_some_and(|length| length != value) {
                    return Err(ResponseError::ContentLength);
                }
                length = Some(value);
            } else if is("transfer-encoding") {
                if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(ResponseError::TransferEncoding);
                }
                chunked = true;
            } else if is("connection") {
                connection |= lists(value, "upgrade");
            } else if is("upgrade") {
                protocol |= lists(value, "websocket");
            } else if is("sec-websocket-accept") {
                head.accept = core::str::from_utf8(value).ok();
            }
        }
        head.len = lines.at;
        head.upgrade = connection && protocol;
        head.body = match (head.status, length) {
            (..200 | 204 | 304, _) => Body::Length(0),
            _ if chunked => Body::Chunked,
            (_, Some(length)) => Body::Length(length),
            (_, None) => Body::UntilClose,
        };
        Ok(Some(head))
    }
}

impl Body {
    /// Returns the complete body from all bytes after the head that have come so far, or `None`
    /// until it is complete. Joins chunks in place, once all have come. `closed` says that no more
    /// bytes will come.
    ///
    /// The caller's buffer is the limit: give up when it is full and this still returns `None`.
    ///
    /// # Errors
    /// [`ResponseError::Incomplete`] or [`ResponseError::TransferEncoding`].
    pub fn read(self, bytes: &mut [u8], closed: bool) -> Result<Option<&mut [u8]>, ResponseError> {
        let whole = match self {
            Self::Length(len) => usize::try_from(len).ok().filter(|&len| len <= bytes.len()),
            Self::Chunked => join_chunks(bytes)?,
            Self::UntilClose => closed.then_some(bytes.len()),
        };
        match whole {
            Some(len) => Ok(bytes.get_mut(..len)),
            None if closed => Err(ResponseError::Incomplete),
            None => Ok(None),
        }
    }
}

/// Moves the data of all chunks to the front once the last chunk has come, and returns its length.
fn join_chunks(bytes: &mut [u8]) -> Result<Option<usize>, ResponseError> {
    // Once to see whether all is there, and once more to move it.
    for moving in [false, true] {
        let (mut at, mut joined) = (0, 0);
        loop {
            let mut lines = Lines { bytes, at };
            let Some(line) = lines.next() else {
                // A size and its extensions need not be longer than this.
                let open = bytes.len() - at;
                return if open > 256 {
                    Err(ResponseError::TransferEncoding)
                } else {
                    Ok(None)
                };
            };
            let start = lines.at;
            // What follows a semicolon are extensions.
            let size = split_at_byte(line, b';').map_or(line, |(size, _)| size);
            let size = number(size.trim_ascii(), 16).ok_or(ResponseError::TransferEncoding)?;
            if size == 0 {
                if moving {
                    return Ok(Some(joined));
                }
                // Trailers, if any, then an empty line.
                loop {
                    match lines.next() {
                        None => return Ok(None),
                        Some([]) => break,
                        Some(_) => {}
                    }
                }
                break;
            }
            let end = usize::try_from(size)
                .ok()
                .and_then(|size| start.checked_add(size));
            let end = end.ok_or(ResponseError::TransferEncoding)?;
            let mut lines = Lines { bytes, at: end };
            match lines.next() {
                None => return Ok(None),
                Some([]) => at = lines.at,
                Some(_) => return Err(ResponseError::TransferEncoding),
            }
            if moving {
                let moved = bytes::copy_within(bytes, start..end, joined);
                debug_assert!(moved.is_some(), "the first turn saw all of it");
            }
            joined += end - start;
        }
    }
    Ok(None)
}

/// Iterates over the complete lines, which end with CRLF or LF, without their ends.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let (line, _) = rest.split_at_checked(rest.iter().position(|&byte| byte == b'\n')?)?;
        self.at += line.len() + 1;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// Returns the code of a status line such as `HTTP/1.1 200 OK`. The reason may contain any octet.
fn status(line: &[u8]) -> Option<u16> {
    let (minor, rest) = line.strip_prefix(b"HTTP/1.")?.split_first()?;
    let (code, reason) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    if !minor.is_ascii_digit() || !matches!(reason, [] | [b' ', ..]) {
        return None;
    }
    number(code, 10)
        .and_then(|code| u16::try_from(code).ok())
        .filter(|&code| code >= 100)
}

/// Splits a header line into name and value. A folded line, which starts with white space, has no
/// name and is refused. A value may contain octets above ASCII (RFC 9110, section 5.5).
fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = split_at_byte(line, b':')?;
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let text = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
    let valid = !name.is_empty() && name.iter().all(token) && value.iter().all(text);
    valid.then_some((name, value.trim_ascii()))
}

/// Splits a line at the first such byte, which belongs to neither part.
fn split_at_byte(line: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let (before, rest) = line.split_at_checked(line.iter().position(|&found| found == byte)?)?;
    Some((before, rest.split_first()?.1))
}

fn lists(value: &[u8], wanted: &str) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Reads a number that consists of digits only, without a sign.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, &digit| {
        let digit = char::from(digit).to_digit(radix)?;
        value.checked_mul(radix.into())?.checked_add(digit.into())
    })
}
