//! Addresses: of the broker, and of STUN and TURN servers.

use crate::error::BuildError;

/// Where a broker is. PeerJS's `host`, `port`, `path`, `key` and `secure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Starts and ends with `/`.
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) secure: bool,
}

impl Default for BrokerAddress {
    /// PeerJS's public broker.
    fn default() -> Self {
        Self {
            host: "0.peerjs.com".to_owned(),
            port: 443,
            path: "/".to_owned(),
            key: "peerjs".to_owned(),
            secure: true,
        }
    }
}

impl BrokerAddress {
    /// Reads `ws://host:port/path?key=…`; `wss`, `http` and `https` do as well.
    pub(crate) fn from_url(url: &str) -> Result<Self, BuildError> {
        Self::parse(url).map_err(|reason| BuildError::Broker {
            url: url.to_owned(),
            reason,
        })
    }

    fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or("it must begin with ws:// or wss://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err("it must begin with ws:// or wss://"),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.contains('@') {
            return Err("user names and passwords are not supported there");
        }
        let (host, port) = split_port(authority)?;
        if host.is_empty() || host.bytes().any(|byte| byte <= b' ' || byte == 0x7F) {
            return Err("the host is missing or has characters that no host has");
        }
        let port = match port {
            Some(port) => port
                .parse()
                .map_err(|_| "the port must be a number up to 65535")?,
            None if secure => 443,
            None => 80,
        };
        if path.bytes().any(|byte| byte <= b' ' || byte == 0x7F) {
            return Err("the path must not have spaces or control characters");
        }
        let mut address = Self {
            host: host.to_owned(),
            port,
            secure,
            ..Self::default()
        };
        address.set_path(path);
        for pair in query.split('&') {
            if let Some(key) = pair.strip_prefix("key=") {
                address.key = percent_decode(key).ok_or("the key is not percent-encoded UTF-8")?;
            }
        }
        Ok(address)
    }

    /// PeerJS forces a path to start and end with `/`.
    pub(crate) fn set_path(&mut self, path: &str) {
        let inner = path.trim_matches('/');
        self.path = if inner.is_empty() {
            "/".to_owned()
        } else {
            format!("/{inner}/")
        };
    }
}

/// Host, brackets of IPv6 kept, and port.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    if authority.starts_with('[') {
        let end = authority
            .find(']')
            .ok_or("the IPv6 address has no closing bracket")?;
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("something follows the IPv6 address"),
        };
    }
    Ok(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A STUN or TURN server, as browsers write it.
///
/// ```
/// use peer_net::IceServer;
/// let stun = IceServer::new("stun:stun.example.org:3478");
/// let turn = IceServer::turn("turn:turn.example.org:3478", "user", "password");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IceServer {
    /// `stun:host:port` or `turn:host:port`.
    pub urls: Vec<String>,
    /// For TURN.
    pub username: String,
    /// For TURN.
    pub credential: String,
}

impl IceServer {
    /// A server without credentials.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            username: String::new(),
            credential: String::new(),
        }
    }

    /// A TURN server.
    pub fn turn(
        url: impl Into<String>,
        username: impl Into<String>,
        credential: impl Into<String>,
    ) -> Self {
        Self {
            urls: vec![url.into()],
            username: username.into(),
            credential: credential.into(),
        }
    }

    /// What PeerJS uses when nothing is configured (`lib/util.ts`).
    pub fn peerjs_defaults() -> Vec<Self> {
        let turn = Self::turn("", "peerjs", "peerjsp");
        vec![
            Self::new("stun:stun.l.google.com:19302"),
            Self {
                urls: vec![
                    "turn:eu-0.turn.peerjs.com:3478".to_owned(),
                    "turn:us-0.turn.peerjs.com:3478".to_owned(),
                ],
                ..turn
            },
        ]
    }
}

impl core::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // The credential is a secret.
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_brokers() {
        let address = BrokerAddress::from_url("ws://127.0.0.1:9000/my/app?key=a%20b").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("127.0.0.1", 9000));
        assert_eq!(
            (address.path.as_str(), address.key.as_str()),
            ("/my/app/", "a b")
        );
        assert!(!address.secure);
        let address = BrokerAddress::from_url("wss://[::1]").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("[::1]", 443));
        assert_eq!(
            (address.path.as_str(), address.key.as_str()),
            ("/", "peerjs")
        );
        assert!(address.secure);
        for bad in [
            "127.0.0.1:9000",
            "ftp://a",
            "ws://",
            "ws://a:b",
            "ws://a:70000",
            "ws://u@a",
            "ws://[::1",
            "ws://a/b c",
            "ws://a/?key=%zz",
            "ws://a b/",
        ] {
            assert!(BrokerAddress::from_url(bad).is_err(), "{bad}");
        }
    }
}
