use core::fmt::{self, Write as _};

use crate::hash::{Hash as _, Sha1};

use crate::bytes::TextBuffer;

use super::{PEERJS_VERSION, RequestError};

/// The address of a broker: PeerJS's `host`, `port`, `path` and `key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerAddress<'a> {
    /// Host name or IP address; IPv6 with or without brackets.
    pub host: &'a str,
    /// The port. Written into the requests even if it is the default port, as PeerJS does.
    pub port: u16,
    /// The path that the broker is mounted at. Slashes are added on both sides where they are
    /// missing; empty is `/`.
    pub path: &'a str,
    /// The API key. `peerjs` unless the broker is set up with another one.
    pub key: &'a str,
}

impl BrokerAddress<'_> {
    /// Writes `GET {path}{key}/id?ts=…&version=…`, the request for an id. The body of the response
    /// is the id. `ts` must differ from request to request, so that no cache answers; PeerJS uses
    /// milliseconds.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn write_id_request<'b>(
        &self,
        ts: u64,
        buffer: &'b mut [u8],
    ) -> Result<&'b str, RequestError> {
        let mut out = TextBuffer::new(buffer);
        let key = Encoded(self.key);
        put(
            &mut out,
            format_args!("GET {}{key}/id?ts={ts}", self.path()?),
        )?;
        put(
            &mut out,
            format_args!("&version={PEERJS_VERSION} HTTP/1.1\r\n"),
        )?;
        put(
            &mut out,
            format_args!("Host: {}\r\nConnection: close\r\n\r\n", self.host()?),
        )?;
        Ok(out.finish())
    }

    /// Writes the WebSocket upgrade for an id and its token. `nonce` is 16 random bytes. Check the
    /// response with [`ResponseHead::is_upgrade`](super::ResponseHead::is_upgrade) and the same
    /// nonce.
    ///
    /// ```
    /// use peer_core::wire::http::{BrokerAddress, ResponseHead, accept_key};
    /// let broker = BrokerAddress { host: "fd00::1", port: 9000, path: "/app", key: "peerjs" };
    /// let mut buffer = [0; 512];
    /// let nonce = b"the sample nonce";
    /// let request = broker.write_upgrade_request("a b", "t0k3n", nonce, &mut buffer)?;
    /// assert_eq!(request, concat!(
    ///     "GET /app/peerjs?key=peerjs&id=a%20b&token=t0k3n&version=1.5.5 HTTP/1.1\r\n",
    ///     "Host: [fd00::1]:9000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    ///     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    /// ));
    /// let answer = b"HTTP/1.1 101 Switching Protocols\r\n\
    ///     Upgrade: websocket\r\nConnection: Upgrade\r\n\
    ///     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    /// assert!(ResponseHead::parse(answer)?.unwrap().is_upgrade(nonce));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn write_upgrade_request<'b>(
        &self,
        id: &str,
        token: &str,
        nonce: &[u8; 16],
        buffer: &'b mut [u8],
    ) -> Result<&'b str, RequestError> {
        let mut out = TextBuffer::new(buffer);
        let (key, id, token) = (Encoded(self.key), Encoded(id), Encoded(token));
        put(
            &mut out,
            format_args!("GET {}peerjs?key={key}&id={id}&token={token}", self.path()?),
        )?;
        put(
            &mut out,
            format_args!("&version={PEERJS_VERSION} HTTP/1.1\r\n"),
        )?;
        put(
            &mut out,
            format_args!("Host: {}\r\nConnection: Upgrade\r\n", self.host()?),
        )?;
        put(
            &mut out,
            format_args!("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        )?;
        put(
            &mut out,
            format_args!("Sec-WebSocket-Key: {}\r\n\r\n", Base64(nonce)),
        )?;
        Ok(out.finish())
    }

    fn path(&self) -> Result<Path<'_>, RequestError> {
        let path = self.path.trim_matches('/');
        if path
            .bytes()
            .any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#'))
        {
            return Err(RequestError::Invalid);
        }
        Ok(Path(path))
    }

    fn host(&self) -> Result<Host<'_>, RequestError> {
        if self.host.is_empty() || !self.host.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RequestError::Invalid);
        }
        Ok(Host(self.host, self.port))
    }
}

fn put(out: &mut TextBuffer<'_>, text: fmt::Arguments<'_>) -> Result<(), RequestError> {
    out.write_fmt(text)
        .map_err(|_| RequestError::BufferTooSmall)
}

/// A path between slashes.
struct Path<'a>(&'a str);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("/")
        } else {
            write!(f, "/{}/", self.0)
        }
    }
}

/// Host and port, IPv6 in brackets.
struct Host<'a>(&'a str, u16);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        if host.contains(':') && !host.starts_with('[') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// Returns the `Sec-WebSocket-Accept` that belongs to a nonce (RFC 6455, section 4.2.2).
///
/// ```
/// use peer_core::wire::http::accept_key;
/// assert_eq!(&accept_key(b"the sample nonce"), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
#[must_use]
pub fn accept_key(nonce: &[u8; 16]) -> [u8; 28] {
    let mut key = [0; 24];
    let mut accept = [0; 28];
    let key = base64(nonce, &mut key);
    let digest = Sha1::digest(&[key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"]);
    base64(&digest, &mut accept);
    accept
}

/// Writes bytes in base64 into a buffer of exactly the length of the text.
fn base64<'b>(bytes: &[u8], buffer: &'b mut [u8]) -> &'b str {
    let mut text = TextBuffer::new(buffer);
    let written = write!(text, "{}", Base64(bytes));
    debug_assert!(written.is_ok(), "four characters for three bytes");
    text.finish()
}

/// Displays a text as JavaScript's `encodeURIComponent` writes it.
pub(super) struct Encoded<'a>(pub(super) &'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => f.write_char(byte.into()),
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => {
                f.write_char(byte.into())
            }
            _ => write!(f, "%{byte:02X}"),
        })
    }
}

/// Displays bytes in base64 with padding (RFC 4648, section 4).
pub(super) struct Base64<'a>(pub(super) &'a [u8]);

impl fmt::Display for Base64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for group in self.0.chunks(3) {
            // A group that ends early is filled up with zeros.
            let byte = |at: usize| group.get(at).map_or(0, |&byte| u32::from(byte));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for at in 0..4 {
                let index = (bits >> (18 - 6 * at)) as usize & 63;
                f.write_char(if at <= group.len() {
                    ALPHABET[index].into()
                } else {
                    '='
                })?;
            }
        }
        Ok(())
    }
}
