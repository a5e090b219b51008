//! The broker as a server: sockets around a [`Realm`](super::Realm).

use core::net::{IpAddr, SocketAddr};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use peer_realm::RealmStats;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::addresses::Place;
use super::http::{self, Answer, Body};
use super::hub::Hub;
use super::options::{BrokerOptions, Ssl};
use super::session;
use super::tls;
use crate::listener::Listener;
use crate::signalling::TlsError;
use crate::time::{FOREVER, after};
use crate::url::percent_encode;

/// Header fields of a request. Beyond: status 431.
const HEADERS_MAX: usize = 100;
/// Connections that are being told that their address has too many. The next one is closed without
/// a word.
const REFUSALS_MAX: usize = 64;

/// Why a broker could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be listened on.
    #[error("the broker cannot listen on the address it was given")]
    Listen(#[source] io::Error),
    /// Key or certificate cannot be used.
    #[error("the broker cannot offer TLS")]
    Tls(#[from] TlsError),
}

/// A running broker, compatible with npm `peer` 1.0.2.
///
/// It ends when it is dropped; [`shutdown`](Self::shutdown) also waits for it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use peer_net::broker::{Broker, BrokerClient, BrokerOptions};
/// let broker = Broker::bind("127.0.0.1:0", BrokerOptions::default()).await?;
/// let client = BrokerClient::new(broker.url().parse()?)?;
/// assert_eq!(client.retrieve_id().await?.len(), 36);
/// broker.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Broker {
    local_addr: SocketAddr,
    hub: Arc<Hub>,
    tls: watch::Sender<Option<Arc<ServerConfig>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Broker {
    /// Listens on `addr` (port 0: any free one) and serves from a task of its own.
    ///
    /// # Errors
    /// The address cannot be listened on, or key and certificate cannot be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn bind(addr: impl ToSocketAddrs, options: BrokerOptions) -> Result<Self, BindError> {
        let tls = match &options.ssl {
            Some(ssl) => Some(tls::server_config(ssl)?),
            None => None,
        };
        let listener = TcpListener::bind(addr).await.map_err(BindError::Listen)?;
        let local_addr = listener.local_addr().map_err(BindError::Listen)?;
        let hub = Arc::new(Hub::new(options));
        let (stop, stopped) = watch::channel(false);
        let (tls, latest_tls) = watch::channel(tls);
        let task = tokio::spawn(serve(hub.clone(), listener, latest_tls, stopped));
        Ok(Self {
            local_addr,
            hub,
            tls,
            stop,
            task,
        })
    }

    /// The address it listens on, with the port the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The URL for clients on this machine, for example `http://127.0.0.1:9000/`.
    pub fn url(&self) -> String {
        let scheme = if self.hub.options.ssl.is_some() {
            "https"
        } else {
            "http"
        };
        let host = match self.local_addr.ip() {
            // Every address, IPv4 included.
            ip if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            ip => ip,
        };
        let addr = SocketAddr::new(host, self.local_addr.port());
        let key = match self.hub.options.key.as_str() {
            "peerjs" => String::new(),
            key => format!("?key={}", percent_encode(key)),
        };
        format!("{scheme}://{addr}{}{key}", self.hub.base_path)
    }

    /// The ids connected now, in the order they came.
    pub fn ids(&self) -> Vec<Arc<str>> {
        self.hub.ids()
    }

    /// Counters.
    pub fn stats(&self) -> RealmStats {
        self.hub.stats()
    }

    /// Takes another key and certificate, such as a renewed one, for the connections that come from
    /// now on.
    ///
    /// # Errors
    /// They cannot be used, or the broker was started without TLS; nothing has changed.
    pub fn set_ssl(&self, ssl: &Ssl) -> Result<(), TlsError> {
        if self.tls.borrow().is_none() {
            return Err(TlsError::Off);
        }
        self.tls.send_replace(Some(tls::server_config(ssl)?));
        Ok(())
    }

    /// Stops listening, closes every socket and waits for that, at most twice
    /// [`close_timeout`](super::BrokerLimits::close_timeout).
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // A panic in there is a bug, but not one the caller can do something about now.
        let _ = self.task.await;
    }
}

async fn serve(
    hub: Arc<Hub>,
    listener: TcpListener,
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    mut stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(hub.options.limits.connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let mut connections = JoinSet::new();
    let mut listener = Listener::new(listener, "a client's connection");
    let timer = {
        let hub = hub.clone();
        async move { hub.run_timer().await }
    };
    let mut timer = core::pin::pin!(timer);
    let for_connections = stopped.clone();
    loop {
        tokio::select! {
            () = told_to_stop(&mut stopped) => break,
            () = &mut timer => {}
            Some(_) = connections.join_next() => {}
            (stream, remote, slot) = accept(&mut listener, &slots) => {
                let Some(entry) = Entry::new(&hub, remote, slot, &refusals) else {
                    tracing::debug!(%remote, "closed: too many connections of its address");
                    continue;
                };
                let (hub, stopped) = (hub.clone(), for_connections.clone());
                let tls = tls.borrow().clone().map(TlsAcceptor::from);
                connections.spawn(async move {
                    connection(&hub, stream, remote, &entry, tls, stopped).await;
                });
            }
        }
    }
    drop(listener);
    hub.close_all();
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(hub.options.limits.close_timeout.saturating_mul(2), all).await;
    connections.shutdown().await;
}

/// The next connection, once there is room for one more.
async fn accept(
    listener: &mut Listener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // Only a closed semaphore gives none, and nobody closes it.
    let slot = slots.clone().acquire_owned().await.ok();
    let (stream, remote) = listener.accept().await;
    (stream, remote, slot)
}

/// What a connection may do, and holds while it lasts.
enum Entry {
    /// A slot among all connections, and a place among those of its address.
    Served {
        _slot: Option<OwnedSemaphorePermit>,
        _place: Option<Place>,
    },
    /// Its address has too many: it is told so.
    Refused { _refusal: OwnedSemaphorePermit },
}

impl Entry {
    /// `None`: it is to be closed.
    fn new(
        hub: &Hub,
        remote: SocketAddr,
        slot: Option<OwnedSemaphorePermit>,
        refusals: &Arc<Semaphore>,
    ) -> Option<Self> {
        // Behind a proxy all connections have its address; clients are told apart by their
        // requests.
        if hub.options.proxied {
            return Some(Self::Served {
                _slot: slot,
                _place: None,
            });
        }
        if let Some(place) = hub.addresses.take(remote.ip()) {
            return Some(Self::Served {
                _slot: slot,
                _place: Some(place),
            });
        }
        let refusal = refusals.clone().try_acquire_owned().ok()?;
        Some(Self::Refused { _refusal: refusal })
    }
}

async fn connection(
    hub: &Arc<Hub>,
    stream: TcpStream,
    remote: SocketAddr,
    entry: &Entry,
    tls: Option<TlsAcceptor>,
    stopped: watch::Receiver<bool>,
) {
    // Small messages should leave at once; if the system will not, they leave later.
    let _ = stream.set_nodelay(true);
    match tls {
        None => exchange(hub, stream, remote, entry, stopped).await,
        Some(tls) => {
            match timeout(hub.options.limits.handshake_timeout, tls.accept(stream)).await {
                Ok(Ok(stream)) => exchange(hub, stream, remote, entry, stopped).await,
                Ok(Err(error)) => tracing::debug!(%remote, %error, "the TLS handshake failed"),
                Err(_) => tracing::debug!(%remote, "the TLS handshake took too long"),
            }
        }
    }
}

/// HTTP, and WebSocket if that is what it becomes.
async fn exchange<S>(
    hub: &Arc<Hub>,
    stream: S,
    remote: SocketAddr,
    entry: &Entry,
    mut stopped: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &hub.options.limits;
    let upgraded = Mutex::new(None);
    let (active, last_active) = watch::channel(Instant::now());
    let service = service_fn(|mut request: Request<Incoming>| {
        active.send_replace(Instant::now());
        let answer = match entry {
            Entry::Served { .. } => http::answer(hub, &request),
            Entry::Refused { .. } => Answer::Response(http::too_many_connections()),
        };
        let response: Response<Body> = match answer {
            Answer::Response(response) => response,
            Answer::Upgrade(response) => match client(hub, remote, request.headers()) {
                Ok(client) => {
                    let query = request.uri().query().unwrap_or_default().to_owned();
                    let upgrade = hyper::upgrade::on(&mut request);
                    *upgraded.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some((upgrade, query, client));
                    response
                }
                Err(TooMany) => http::too_many_connections(),
            },
        };
        core::future::ready(Ok::<_, core::convert::Infallible>(response))
    });
    {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.handshake_timeout.min(FOREVER))
            // hyper takes no less.
            .max_buf_size(limits.request_head_bytes.max(8 * 1024))
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = core::pin::pin!(connection);
        loop {
            let idle_at = after(*last_active.borrow(), limits.idle_timeout);
            tokio::select! {
                result = &mut connection => {
                    if let Err(error) = result {
                        tracing::debug!(%remote, %error, "the HTTP exchange failed");
                    }
                    break;
                }
                () = sleep_until(idle_at) => {
                    if after(*last_active.borrow(), limits.idle_timeout) <= Instant::now() {
                        return;
                    }
                }
                () = told_to_stop(&mut stopped) => return,
            }
        }
    }
    let upgraded = upgraded
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let Some((upgrade, query, client)) = upgraded else {
        return;
    };
    match timeout(limits.handshake_timeout, upgrade).await {
        Ok(Ok(stream)) => {
            tracing::debug!(remote = client.name, "WebSocket opened");
            session::run(hub, TokioIo::new(stream), client.address, &query).await;
        }
        _ => tracing::debug!(%remote, "the WebSocket upgrade failed"),
    }
}

async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // An error means that the `Broker` was dropped.
    let _ = stopped.wait_for(|&stop| stop).await;
}

/// An address has as many connections as it may have.
struct TooMany;

/// Who wants a WebSocket.
struct Client {
    address: IpAddr,
    /// For the log.
    name: String,
    /// Behind a proxy: a place among the connections of its address.
    _place: Option<Place>,
}

fn client(hub: &Hub, remote: SocketAddr, headers: &HeaderMap) -> Result<Client, TooMany> {
    if !hub.options.proxied {
        return Ok(Client {
            address: remote.ip(),
            name: remote.to_string(),
            _place: None,
        });
    }
    let address = forwarded(headers).unwrap_or(remote.ip());
    let place = hub.addresses.take(address).ok_or(TooMany)?;
    Ok(Client {
        address,
        name: address.to_string(),
        _place: Some(place),
    })
}

/// The address that the proxy itself saw: the last one. Those before it may be anybody's invention.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all("x-forwarded-for").iter().next_back()?;
    // Only the last is read: what comes before it, in whatever encoding, is the client's word.
    let last = value.as_bytes().rsplit(|&byte| byte == b',').next()?;
    let last = core::str::from_utf8(last).ok()?.trim();
    let bare = last
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(last).parse().ok();
    // Some write the port behind it.
    address.or_else(|| last.parse().ok().map(|address: SocketAddr| address.ip()))
}

#[cfg(test)]
mod tests;
