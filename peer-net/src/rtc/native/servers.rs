//! STUN and TURN servers: what their URLs say (RFC 7064, RFC 7065), where they are, and what an
//! agent is told of them.

mod names;

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use peer_core::rtc::ice::turn::Login;
use peer_core::rtc::ice::{Server, SocketId, Via};
use peer_core::rtc::stun::Family;
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;

use self::names::Names;
use super::super::{IceServer, RtcConfig};
use crate::tls::{self, TlsError};

/// URLs that are used. Further ones are passed over, which is logged.
pub(super) const URLS_MAX: usize = 8;
/// The id of the stream to the first server of a list. The next ones follow, so sockets have those
/// below.
pub(super) const STREAMS_FROM: u8 = 200;

/// The ports of RFC 7064 §3.2 and RFC 7065 §3.2.
const PORT: u16 = 3478;
const TLS_PORT: u16 = 5349;

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// Where a URL says that a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Ip(IpAddr),
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A URL that can be used.
#[derive(PartialEq, Eq)]
pub(super) struct ServerUrl {
    text: String,
    pub(super) host: Host,
    port: u16,
    pub(super) transport: Transport,
    /// User name and password of a TURN server.
    login: Option<(String, String)>,
}

impl fmt::Debug for ServerUrl {
    /// Without user name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ServerUrl {
    /// Reads `scheme:host[:port][?transport=…]`; why it is of no use.
    fn new(text: &str, server: &IceServer) -> Result<Self, &'static str> {
        const NO_URL: &str = "not a stun:, turn: or turns: URL";
        let (scheme, rest) = text.split_once(':').ok_or(NO_URL)?;
        let (place, query) = match rest.split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (rest, None),
        };
        let transport = match query.map(|query| query.split_once('=')) {
            None => None,
            Some(Some(("transport", value))) => Some(value),
            Some(_) => return Err("what follows ? is not transport=udp or transport=tcp"),
        };
        let is = |name: &str| scheme.eq_ignore_ascii_case(name);
        let is_turn = is("turn") || is("turns");
        let is_secure = is("turns") || is("stuns");
        let transport = match transport {
            _ if is("stuns") => return Err("STUN over TLS shows no address that ICE could use"),
            Some(_) if is("stun") => return Err("a stun: URL has no ?"),
            None if is("stun") || is("turn") => Transport::Udp,
            Some(value) if is("turn") && value.eq_ignore_ascii_case("udp") => Transport::Udp,
            Some(value) if is("turn") && value.eq_ignore_ascii_case("tcp") => Transport::Tcp,
            None if is("turns") => Transport::Tls,
            Some(value) if is("turns") && value.eq_ignore_ascii_case("tcp") => Transport::Tls,
            Some(value) if is("turns") && value.eq_ignore_ascii_case("udp") => {
                return Err("TURN over DTLS is not supported");
            }
            Some(_) if is_turn => {
                return Err("TURN is reached over transport=udp or transport=tcp only");
            }
            _ => return Err(NO_URL),
        };
        let (host, port) = host_and_port(place)?;
        let login = (server.username.clone(), server.credential.clone());
        if is_turn && (login.0.is_empty() || login.1.is_empty()) {
            return Err("a TURN server needs a user name and a credential");
        }
        Ok(Self {
            text: text.to_owned(),
            host,
            port: port.unwrap_or(if is_secure { TLS_PORT } else { PORT }),
            transport,
            login: is_turn.then_some(login),
        })
    }
}

/// Reads `host[:port]`.
fn host_and_port(text: &str) -> Result<(Host, Option<u16>), &'static str> {
    const NO_HOST: &str = "what follows the scheme is not a host, or a host and a port";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']').ok_or(NO_HOST)?;
            let ip: Ipv6Addr = ip.parse().map_err(|_| "not an IPv6 address in [ ]")?;
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':').ok_or(NO_HOST)?),
            };
            (Host::Ip(ip.into()), port)
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            (host_of(host)?, port)
        }
    };
    // Of u16's own parser a + would be one.
    let digits = |port: &&str| !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit());
    let port = match port {
        None => None,
        Some(port) => {
            let number = Some(port).filter(digits).and_then(|it| it.parse().ok());
            Some(
                number
                    .filter(|it| *it != 0)
                    .ok_or("not a port from 1 to 65535")?,
            )
        }
    };
    Ok((host, port))
}

fn host_of(text: &str) -> Result<Host, &'static str> {
    if let Ok(ip) = text.parse() {
        return Ok(Host::Ip(ip));
    }
    let is_name = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.' | b'_');
    // The longest name that DNS knows (RFC 1035 §2.3.4), as text.
    match (1..=253).contains(&text.len()) && text.bytes().all(is_name) {
        true => Ok(Host::Name(text.to_ascii_lowercase())),
        false => Err("the host is neither an address nor a name of a-z, 0-9, '-', '_' and '.'"),
    }
}

/// What of these servers can be used. The rest is logged and passed over.
fn server_urls(servers: &[IceServer]) -> Vec<Arc<ServerUrl>> {
    let mut urls = Vec::new();
    for server in servers {
        for text in &server.urls {
            match ServerUrl::new(text, server) {
                Ok(url) if urls.len() < URLS_MAX => urls.push(Arc::new(url)),
                Ok(_) => tracing::warn!(url = %text, "ICE server passed over: too many"),
                Err(reason) => tracing::warn!(url = %text, reason, "ICE server passed over"),
            }
        }
    }
    urls
}

/// A server, and an address of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) url: Arc<ServerUrl>,
    pub(super) address: SocketAddr,
}

impl Resolved {
    /// Whether it is asked for relayed addresses over UDP.
    pub(super) fn may_relay_over_udp(&self) -> bool {
        self.url.login.is_some() && self.url.transport == Transport::Udp
    }

    /// The id of the stream to it, if it is reached over one, by its place in the list.
    pub(super) fn stream(&self, place: usize) -> Option<SocketId> {
        if self.url.transport == Transport::Udp {
            return None;
        }
        STREAMS_FROM
            .checked_add(u8::try_from(place).ok()?)
            .map(SocketId)
    }
}

/// What an agent is told of them: as many, in this order. Of TURN servers an address of the family
/// is asked for over which they are reached.
pub(super) fn agent_servers(all: &[Resolved]) -> Vec<Server<'_>> {
    let each = all.iter().enumerate().map(|(place, resolved)| {
        let Some((username, password)) = &resolved.url.login else {
            return Server::stun(resolved.address);
        };
        let via = resolved.stream(place).map_or(Via::Udp, Via::Stream);
        let mut server = Server::turn(resolved.address, Login { username, password }, via);
        if resolved.address.is_ipv6() {
            server.family = Family::Ipv6;
        }
        server
    });
    each.collect()
}

/// The servers of an endpoint. Their names are resolved when they are needed, once for all of its
/// sessions.
#[derive(Debug)]
pub(super) struct Servers {
    urls: Vec<Arc<ServerUrl>>,
    names: Names,
    trusted: Vec<CertificateDer<'static>>,
    tls: OnceLock<Result<Arc<ClientConfig>, TlsError>>,
}

impl Servers {
    /// Reads the URLs of a configuration.
    pub(super) fn new(config: &RtcConfig) -> Arc<Self> {
        Self::with_names(config, Names::new)
    }

    fn with_names(config: &RtcConfig, names: impl FnOnce(Vec<String>) -> Names) -> Arc<Self> {
        let urls = server_urls(&config.ice_servers);
        let mut hosts: Vec<String> = Vec::new();
        for url in &urls {
            if let Host::Name(name) = &url.host
                && !hosts.contains(name)
            {
                hosts.push(name.clone());
            }
        }
        Arc::new(Self {
            urls,
            names: names(hosts),
            trusted: config.turn_certificates.clone(),
            tls: OnceLock::new(),
        })
    }

    /// How TLS is spoken with them. The system's roots are read once, when this is called first.
    pub(super) fn tls(&self) -> Result<Arc<ClientConfig>, &TlsError> {
        let config = || tls::client_config(&self.trusted, None);
        self.tls.get_or_init(config).as_ref().map(Arc::clone)
    }

    /// Whether there is a TURN server, so that a session has to reckon with a relay.
    pub(super) fn may_relay(&self) -> bool {
        self.urls.iter().any(|url| url.login.is_some())
    }

    /// Returns each server with its address, one with two families twice: at most two for each of
    /// [`URLS_MAX`]. At once where there is nothing to resolve; names that are not found, or not
    /// within [`names::TIMEOUT`], are left out.
    pub(super) async fn resolved(&self) -> Arc<[Resolved]> {
        let found = self.names.resolved().await;
        let each = self.urls.iter().flat_map(|url| {
            let (literal, named) = match &url.host {
                Host::Ip(ip) => (Some(*ip), None),
                Host::Name(name) => (None, found.iter().find(|it| it.host == *name)),
            };
            let named = named.map(|it| &it.addresses[..]).unwrap_or_default();
            let all = literal.into_iter().chain(named.iter().copied());
            all.map(|ip| Resolved {
                url: Arc::clone(url),
                address: SocketAddr::new(ip, url.port),
            })
        });
        each.collect()
    }

    /// Returns a sentence for each name that has no address so far, and why.
    pub(super) fn missing(&self) -> Vec<String> {
        self.names.missing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> IceServer {
        IceServer::turn(url, "u", "c")
    }

    fn read(url: &str) -> Result<(String, u16, Transport, bool), &'static str> {
        let url = ServerUrl::new(url, &server(url))?;
        let has_login = url.login.is_some();
        Ok((url.host.to_string(), url.port, url.transport, has_login))
    }

    #[test]
    fn urls_that_can_be_used() {
        use Transport::{Tcp, Tls, Udp};
        for (url, host, port, transport, is_turn) in [
            (
                "stun:stun.example.org",
                "stun.example.org",
                3478,
                Udp,
                false,
            ),
            ("stun:192.0.2.1:19302", "192.0.2.1", 19302, Udp, false),
            ("STUN:Example.ORG:1", "example.org", 1, Udp, false),
            ("stun:[2001:db8::1]", "2001:db8::1", 3478, Udp, false),
            ("turn:a_b.example:65535", "a_b.example", 65535, Udp, true),
            ("turn:a?transport=udp", "a", 3478, Udp, true),
            ("turn:a:80?transport=TCP", "a", 80, Tcp, true),
            ("turn:[::1]:443?transport=tcp", "::1", 443, Tcp, true),
            ("turns:a", "a", 5349, Tls, true),
            (
                "turns:192.0.2.1:443?transport=tcp",
                "192.0.2.1",
                443,
                Tls,
                true,
            ),
        ] {
            assert_eq!(
                read(url),
                Ok((host.to_owned(), port, transport, is_turn)),
                "{url}"
            );
        }
    }

    #[test]
    fn urls_that_cannot_be_used_say_why() {
        for (url, word) in [
            ("", "URL"),
            ("example.org", "URL"),
            ("http://example.org", "URL"),
            ("stuns:a", "TLS"),
            ("stun:a?transport=udp", "?"),
            ("turn:a?transport=sctp", "transport="),
            ("turn:a?transport", "transport="),
            ("turn:a?x=y", "transport="),
            ("turns:a?transport=udp", "DTLS"),
            ("stun:", "host"),
            ("stun:a:", "port"),
            ("stun:a:0", "port"),
            ("stun:a:+1", "port"),
            ("stun:a:65536", "port"),
            ("stun:a:1:2", "port"),
            ("stun:2001:db8::1", "port"),
            ("stun:[2001:db8::1", "host"),
            ("stun:[2001:db8::1]1", "host"),
            ("stun:[192.0.2.1]", "IPv6"),
            ("stun:[fe80::1%eth0]", "IPv6"),
            ("stun://a", "neither"),
            ("turn:user@a", "neither"),
            ("stun:müller.example", "neither"),
        ] {
            let reason = read(url).expect_err(url);
            assert!(reason.contains(word), "{url}: {reason}");
        }
        let long = format!("stun:{}", "a".repeat(254));
        assert!(read(&long).is_err());
        let reason = ServerUrl::new("turn:a", &IceServer::new("turn:a"));
        assert_eq!(
            reason,
            Err("a TURN server needs a user name and a credential")
        );
    }

    #[test]
    fn so_many_urls_are_used_as_may_be() {
        let mut servers = vec![server("nothing")];
        servers.extend((0..20).map(|n| server(&format!("stun:192.0.2.{n}"))));
        let urls = server_urls(&servers);
        assert_eq!(urls.len(), URLS_MAX);
        assert_eq!(urls[0].to_string(), "stun:192.0.2.0");
        assert!(!format!("{urls:?}").contains("\"c\""));
    }

    #[tokio::test]
    async fn what_an_agent_is_told() {
        let urls = [
            "stun:a",
            "turn:b:1",
            "turns:b",
            "turn:192.0.2.9?transport=tcp",
            "turn:unknown",
        ];
        let config = RtcConfig {
            ice_servers: urls.map(server).to_vec(),
            ..RtcConfig::default()
        };
        let servers = Servers::with_names(&config, |hosts| {
            assert_eq!(hosts, ["a", "b", "unknown"]);
            Names::with_lookup(hosts, |host| match host {
                "a" => Ok(vec![[192, 0, 2, 1].into()]),
                "b" => Ok(vec![Ipv6Addr::LOCALHOST.into(), [192, 0, 2, 2].into()]),
                _ => Err(std::io::Error::other("no such name")),
            })
        });
        assert!(servers.may_relay() && !servers.urls.is_empty());
        let resolved = servers.resolved().await;
        let told = agent_servers(&resolved);
        let (stun, turn) = (Server::stun, |at: &str, via| {
            let at: SocketAddr = at.parse().unwrap();
            let login = Login {
                username: "u",
                password: "c",
            };
            let mut server = Server::turn(at, login, via);
            if at.is_ipv6() {
                server.family = Family::Ipv6;
            }
            server
        });
        let over = |id| Via::Stream(SocketId(id));
        let expected = [
            stun("192.0.2.1:3478".parse().unwrap()),
            turn("192.0.2.2:1", Via::Udp),
            turn("[::1]:1", Via::Udp),
            turn("192.0.2.2:5349", over(203)),
            turn("[::1]:5349", over(204)),
            turn("192.0.2.9:3478", over(205)),
        ];
        assert_eq!(told, expected);
        let missing = servers.missing();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].contains("unknown") && missing[0].contains("no such name"));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_resolved() {
        let servers = Servers::new(&RtcConfig {
            ice_servers: vec![IceServer::new("stun:localhost:9")],
            ..RtcConfig::default()
        });
        assert!(!servers.may_relay());
        let resolved = servers.resolved().await;
        assert!(!resolved.is_empty(), "{:?}", servers.missing());
        for server in resolved.iter() {
            assert!(server.address.ip().is_loopback());
            assert_eq!(server.address.port(), 9);
        }
        let none = Servers::new(&RtcConfig::default());
        assert!(none.urls.is_empty() && none.resolved().await.is_empty());
    }
}
