//! The client of a broker: the HTTP calls and the WebSocket, bounded and with a deadline each.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::address::{AddressError, BrokerAddress};
use super::error::BrokerError;
use super::sniffed::{FirstByte, Sniffed};
use super::socket::{MESSAGE_MAX, Socket, Stream};
use crate::time::after;
use crate::tls;

/// The PeerJS version named in requests: the one whose wire this crate speaks.
pub const PEERJS_VERSION: &str = "1.5.5";
/// Default time for name, TCP, TLS and the HTTP answer together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Time after which sent bytes that nobody acknowledged end the socket (Linux; elsewhere the
/// system's own). HEARTBEAT has no answer, so this is how a dead path to the broker shows.
pub const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest id taken from the broker, in bytes.
pub const ID_MAX: usize = 512;
/// Longest list of peers taken from the broker, in bytes.
pub const PEERS_MAX: usize = 8 * 1024 * 1024;
/// Longest head of an HTTP answer, in bytes.
const HEAD_MAX: usize = 64 * 1024;
/// What of an unexpected answer goes into the error, in characters.
const EXCERPT_MAX: usize = 200;

/// A broker as seen by a peer. Holds no connection; each call makes its own.
///
/// ```
/// # async fn example() -> Result<(), peer_net::broker::BrokerError> {
/// use peer_net::broker::BrokerClient;
/// let client = BrokerClient::new("http://127.0.0.1:9000/".parse()?)?;
/// let id = client.retrieve_id().await?;
/// let (mut sender, mut receiver) = client.connect(&id, "token").await?.split();
/// sender.send(r#"{"type":"HEARTBEAT"}"#).await?;
/// assert_eq!(receiver.next().await.as_deref(), Some(&br#"{"type":"OPEN"}"#[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BrokerClient {
    address: BrokerAddress,
    connect_timeout: Duration,
    trusted: Vec<CertificateDer<'static>>,
    /// Made for the first connection that needs it. Clones share it.
    tls: Arc<OnceCell<Arc<ClientConfig>>>,
}

impl BrokerClient {
    /// A client of the broker at `address`.
    ///
    /// # Errors
    /// The address has parts that cannot be written into a request.
    pub fn new(address: BrokerAddress) -> Result<Self, BrokerError> {
        address.check()?;
        Ok(Self {
            address,
            connect_timeout: CONNECT_TIMEOUT,
            trusted: Vec::new(),
            tls: Arc::default(),
        })
    }

    /// Trusts the certificates in `pem` besides the system's: as roots, and each as the certificate
    /// of the broker itself. One that the broker shows exactly as it is here is taken whatever name
    /// and dates are in it, as that of `openssl req -x509`, if the broker has its key.
    ///
    /// # Errors
    /// There is no certificate in `pem`.
    pub fn root_certificates(mut self, pem: &[u8]) -> Result<Self, BrokerError> {
        self.trusted.extend(tls::certificates(pem)?);
        self.tls = Arc::default();
        Ok(self)
    }

    /// Sets the time for name, TCP, TLS and the HTTP answer together, [`CONNECT_TIMEOUT`] by
    /// default.
    #[must_use]
    pub fn connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Where the broker is.
    pub fn address(&self) -> &BrokerAddress {
        &self.address
    }

    /// Whether the other one speaks to the same broker and trusts the same certificates.
    #[cfg(feature = "gateway")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.address == other.address && self.trusted == other.trusted
    }

    /// Asks the broker for a free id.
    ///
    /// # Errors
    /// [`BrokerError`] says at which stage it failed.
    pub async fn retrieve_id(&self) -> Result<String, BrokerError> {
        const CALL: &str = "the request for an id";
        let body = self.call(CALL, "id", ID_MAX).await?;
        let id = String::from_utf8(body).unwrap_or_default();
        // A page of some other server would be markup.
        if id.is_empty() || id.contains(|c: char| c.is_control() || c == '<') {
            return Err(BrokerError::Answer {
                call: CALL,
                expected: "an id",
            });
        }
        Ok(id)
    }

    /// Asks the broker for the ids of all its peers.
    ///
    /// # Errors
    /// [`BrokerError::DiscoveryOff`] when the broker does not allow it; else the stage it failed
    /// at.
    pub async fn list_all_peers(&self) -> Result<Vec<String>, BrokerError> {
        const CALL: &str = "the request for the list of peers";
        let body = match self.call(CALL, "peers", PEERS_MAX).await {
            Err(BrokerError::Status { status: 401, .. }) => return Err(BrokerError::DiscoveryOff),
            body => body?,
        };
        serde_json::from_slice(&body).map_err(|_| BrokerError::Answer {
            call: CALL,
            expected: "a JSON array of ids",
        })
    }

    /// Opens the WebSocket for `id`. What the broker says first (OPEN, ERROR, ID-TAKEN) is left to
    /// the receiver.
    ///
    /// # Errors
    /// [`BrokerError`] says at which stage it failed.
    pub async fn connect(&self, id: &str, token: &str) -> Result<Socket, BrokerError> {
        const CALL: &str = "the WebSocket upgrade";
        let deadline = after(Instant::now(), self.connect_timeout);
        let (stream, first, ours) = self.open(deadline).await?;
        let scheme = if self.address.secure { "wss" } else { "ws" };
        let authority = self.address.authority();
        let path = self.address.websocket(id, token, PEERJS_VERSION);
        let request = Request::builder()
            .uri(format!("{scheme}://{authority}{path}"))
            .header(header::HOST, authority)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, generate_key())
            .body(())
            .map_err(|_| AddressError::Path)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(8 * 1024)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let upgrade = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        match timeout_at(deadline, upgrade).await {
            Err(_) => Err(BrokerError::TimedOut {
                stage: "no answer to the WebSocket upgrade",
            }),
            Ok(Ok((stream, _))) => Ok(Socket { stream, ours }),
            Ok(Err(tungstenite::Error::Http(response))) => {
                let (head, body) = response.into_parts();
                let location = head.headers.get(header::LOCATION);
                Err(unexpected(
                    CALL,
                    head.status,
                    location,
                    &body.unwrap_or_default(),
                ))
            }
            Ok(Err(error)) => {
                Err(self.misunderstood(&first, BrokerError::WebSocket(Box::new(error))))
            }
        }
    }

    /// One GET of the HTTP API; the body of a 200.
    async fn call(
        &self,
        call: &'static str,
        name: &str,
        body_max: usize,
    ) -> Result<Vec<u8>, BrokerError> {
        let deadline = after(Instant::now(), self.connect_timeout);
        let (stream, first, _) = self.open(deadline).await?;
        let path = format!(
            "{}?ts={}&version={PEERJS_VERSION}",
            self.address.api(name),
            ts()?
        );
        let request = Request::builder()
            .uri(path)
            .header(header::HOST, self.address.authority())
            .header(header::CONNECTION, "close")
            .body(Empty::<hyper::body::Bytes>::new())
            .map_err(|_| AddressError::Path)?;

        let exchange = async {
            let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
                .max_buf_size(HEAD_MAX)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(BrokerError::Http)?;
            let answer = async {
                let response = sender
                    .send_request(request)
                    .await
                    .map_err(BrokerError::Http)?;
                read_answer(call, response, body_max).await
            };
            let mut answer = core::pin::pin!(answer);
            tokio::select! {
                biased;
                answer = &mut answer => answer,
                // The connection may end once the answer is in its buffers.
                _ = connection => answer.await,
            }
        };
        timeout_at(deadline, exchange)
            .await
            .unwrap_or(Err(BrokerError::TimedOut {
                stage: "no answer to the HTTP request",
            }))
            .map_err(|error| match error {
                BrokerError::Http(_) => self.misunderstood(&first, error),
                error => error,
            })
    }

    /// TCP, and TLS if wanted. What the broker says first is seen by the second.
    async fn open(
        &self,
        deadline: Instant,
    ) -> Result<(Stream, FirstByte, Option<SocketAddr>), BrokerError> {
        let stream = self.open_tcp(deadline).await?;
        let ours = stream.local_addr().ok();
        let (stream, first) = Sniffed::new(stream);
        if !self.address.secure {
            return Ok((Box::new(stream), first, ours));
        }
        let config = self.tls_config().await?;
        let host = self.address.host.clone();
        let name = ServerName::try_from(host.clone()).map_err(|_| AddressError::Host)?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        match timeout_at(deadline, handshake).await {
            Err(_) => Err(BrokerError::TimedOut {
                stage: "the TLS handshake did not finish",
            }),
            Ok(Ok(stream)) => Ok((Box::new(stream), first, ours)),
            Ok(Err(_)) if first.is_other_than_tls() => Err(BrokerError::NotTls {
                authority: self.authority(),
            }),
            Ok(Err(source)) if is_untrusted(&source) => {
                Err(BrokerError::Untrusted { host, source })
            }
            Ok(Err(source)) => Err(BrokerError::Handshake { host, source }),
        }
    }

    /// The TLS configuration: the system's roots are read once.
    async fn tls_config(&self) -> Result<Arc<ClientConfig>, BrokerError> {
        let config = self
            .tls
            .get_or_try_init(|| async { tls::client_config(&self.trusted, Some(b"http/1.1")) });
        Ok(config.await?.clone())
    }

    /// Host and port.
    fn authority(&self) -> String {
        format!("{}:{}", self.address.host, self.address.port)
    }

    /// What is behind an answer that is no HTTP.
    fn misunderstood(&self, first: &FirstByte, error: BrokerError) -> BrokerError {
        if !self.address.secure && first.is_tls() {
            return BrokerError::OnlyTls {
                authority: self.authority(),
            };
        }
        error
    }

    async fn open_tcp(&self, deadline: Instant) -> Result<TcpStream, BrokerError> {
        let (host, port) = (self.address.host.as_str(), self.address.port);
        let addresses: Vec<_> = timeout_at(deadline, tokio::net::lookup_host((host, port)))
            .await
            .map_err(|_| BrokerError::TimedOut {
                stage: "its name was not resolved",
            })?
            .map_err(|source| BrokerError::Resolve {
                host: host.to_owned(),
                source,
            })?
            .collect();

        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for (tried, &address) in addresses.iter().enumerate() {
            // Each address gets its share of what is left, so that one black hole does not eat it
            // all.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    tune(&stream);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(BrokerError::Connect {
            authority: self.authority(),
            source: last,
        })
    }
}

/// Whether rustls refused the certificate.
fn is_untrusted(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

async fn read_answer(
    call: &'static str,
    response: Response<hyper::body::Incoming>,
    body_max: usize,
) -> Result<Vec<u8>, BrokerError> {
    let (head, body) = response.into_parts();
    let body = match Limited::new(body, body_max).collect().await {
        Ok(body) => body.to_bytes(),
        // Too much for an answer is still enough for an excerpt of a refusal.
        Err(error) if error.is::<LengthLimitError>() && head.status == StatusCode::OK => {
            return Err(BrokerError::Answer {
                call,
                expected: "short enough",
            });
        }
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => return Err(BrokerError::Http(*error)),
            Err(_) => hyper::body::Bytes::from_static(b"(a long text)"),
        },
    };
    if head.status == StatusCode::OK {
        return Ok(body.to_vec());
    }
    Err(unexpected(
        call,
        head.status,
        head.headers.get(header::LOCATION),
        &body,
    ))
}

fn unexpected(
    call: &'static str,
    status: StatusCode,
    location: Option<&header::HeaderValue>,
    body: &[u8],
) -> BrokerError {
    match location {
        Some(location) if status.is_redirection() => BrokerError::Redirect {
            call,
            location: excerpt(location.as_bytes()),
        },
        _ => BrokerError::Status {
            call,
            status: status.as_u16(),
            body: excerpt(body),
        },
    }
}

/// The beginning of a text of unknown origin, fit for a terminal.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    text.take(EXCERPT_MAX).collect()
}

/// PeerJS's cache breaker: milliseconds, then a random fraction.
fn ts() -> Result<String, BrokerError> {
    let millis = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let mut random = [0; 4];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| BrokerError::Random)?;
    let fraction = f64::from(u32::from_ne_bytes(random)) / (f64::from(u32::MAX) + 1.0);
    Ok(format!("{millis}{fraction}"))
}

/// Small messages leave at once, and a dead path shows. An option the system refuses is no failure.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT));
}

#[cfg(test)]
mod tests;
