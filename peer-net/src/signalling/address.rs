//! Where a broker is, and how ids get into URLs.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;

use crate::url::{percent_decode, percent_encode, surround};

/// Where a broker is: PeerJS's options `host`, `port`, `path`, `key` and `secure`, or one URL.
///
/// ```
/// use peer_net::broker::BrokerAddress;
/// let address: BrokerAddress = "https://broker.example/peers?key=k".parse()?;
/// assert_eq!((address.port, address.path.as_str(), address.key.as_str()), (443, "/peers/", "k"));
/// assert!(address.secure);
/// # Ok::<(), peer_net::broker::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Name or IP address, an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The broker's `path` option, with a slash at either end.
    pub path: String,
    /// The broker's key.
    pub key: String,
    /// TLS: `https` and `wss`.
    pub secure: bool,
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

/// Why a text is not the URL of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No scheme, or another.
    #[error("a broker URL begins with http://, https://, ws:// or wss://")]
    Scheme,
    /// No host, or characters that no host has.
    #[error("the broker URL has no usable host; an IPv6 address goes in brackets")]
    Host,
    /// Not a port.
    #[error("the port in the broker URL is not a number from 1 to 65535")]
    Port,
    /// `user:password@`.
    #[error("a broker URL takes no user name or password")]
    Credentials,
    /// Characters that no path has.
    #[error("the path in the broker URL has characters that must be percent-encoded")]
    Path,
    /// Something other than `key=…` after the question mark.
    #[error("a broker URL takes no parameter but ?key=…, and the key must not be empty")]
    Query,
}

impl FromStr for BrokerAddress {
    type Err = AddressError;

    /// `http(s)://` or `ws(s)://`, host, optional port and path, optional `?key=…` (default
    /// `peerjs`). The path is the broker's `path` option, without the key or `peerjs` behind it.
    fn from_str(url: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(AddressError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(AddressError::Scheme),
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(AddressError::Credentials);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed.split_once(']').ok_or(AddressError::Host)?;
                host.parse::<Ipv6Addr>().map_err(|_| AddressError::Host)?;
                (
                    host,
                    port.strip_prefix(':').or(port.is_empty().then_some("")),
                )
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, Some("")),
            },
        };
        let port = match port.ok_or(AddressError::Port)? {
            "" => default_port(secure),
            port => port
                .parse()
                .ok()
                .filter(|&port| port != 0)
                .ok_or(AddressError::Port)?,
        };
        let key = match query {
            None => "peerjs".to_owned(),
            Some(query) => {
                let key = query
                    .strip_prefix("key=")
                    .filter(|key| !key.contains(['&', '#']));
                percent_decode(key.ok_or(AddressError::Query)?)
            }
        };
        let address = Self {
            host: host.to_owned(),
            port,
            path: surround(path),
            key,
            secure,
        };
        address.check()?;
        Ok(address)
    }
}

impl BrokerAddress {
    /// Whether every part can be written into a request.
    ///
    /// # Errors
    /// The part that cannot.
    pub fn check(&self) -> Result<(), AddressError> {
        let host = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        if self.host.is_empty()
            || !self.host.chars().all(host)
            || (self.host.contains([':', '%']) && self.host.parse::<IpAddr>().is_err())
        {
            return Err(AddressError::Host);
        }
        if self.port == 0 {
            return Err(AddressError::Port);
        }
        let path = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/".contains(c);
        if !self.path.chars().all(path) {
            return Err(AddressError::Path);
        }
        if self.key.is_empty() {
            return Err(AddressError::Query);
        }
        Ok(())
    }

    /// Value of the `Host` header; the port only when it is not the scheme's.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == default_port(self.secure) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Path of an HTTP API call.
    pub(super) fn api(&self, call: &str) -> String {
        format!(
            "{}{}/{call}",
            surround(&self.path),
            percent_encode(&self.key)
        )
    }

    /// Path and query of the WebSocket.
    pub(super) fn websocket(&self, id: &str, token: &str, version: &str) -> String {
        format!(
            "{}peerjs?key={}&id={}&token={}&version={version}",
            surround(&self.path),
            percent_encode(&self.key),
            percent_encode(id),
            percent_encode(token),
        )
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), surround(&self.path))?;
        if self.key != "peerjs" {
            write!(f, "?key={}", percent_encode(&self.key))?;
        }
        Ok(())
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, host, port, path, key, secure) in [
            (
                "http://localhost:9000",
                "localhost",
                9000,
                "/",
                "peerjs",
                false,
            ),
            ("ws://[::1]:9000/a/b", "::1", 9000, "/a/b/", "peerjs", false),
            (
                "wss://x.example/?key=a%20b",
                "x.example",
                443,
                "/",
                "a b",
                true,
            ),
            (
                "HTTPS://x.example/app/",
                "x.example",
                443,
                "/app/",
                "peerjs",
                true,
            ),
            ("http://[::1]", "::1", 80, "/", "peerjs", false),
        ] {
            let address: BrokerAddress = url.parse().unwrap();
            let expected = BrokerAddress {
                host: host.to_owned(),
                port,
                path: path.to_owned(),
                key: key.to_owned(),
                secure,
            };
            assert_eq!(address, expected, "{url}");
            assert_eq!(address.to_string().parse(), Ok(expected), "{address}");
        }
    }

    #[test]
    fn what_is_no_url_is_told_why() {
        for (url, error) in [
            ("localhost:9000", AddressError::Scheme),
            ("ftp://x", AddressError::Scheme),
            ("http://", AddressError::Host),
            ("http://a b/", AddressError::Host),
            ("http://[::1", AddressError::Host),
            ("http://x:0/", AddressError::Port),
            ("http://x:70000/", AddressError::Port),
            ("http://[::1]9000", AddressError::Port),
            ("http://u:p@x/", AddressError::Credentials),
            ("http://x/a b", AddressError::Path),
            ("http://x/\r\nEvil: 1", AddressError::Path),
            ("http://x/?id=a", AddressError::Query),
            ("http://x/?key=", AddressError::Query),
            ("http://x/?key=a&token=b", AddressError::Query),
        ] {
            assert_eq!(url.parse::<BrokerAddress>(), Err(error), "{url}");
        }
    }
}
