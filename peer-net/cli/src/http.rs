//! A little HTTP server for pages that are in the program.

use core::convert::Infallible;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use peer_net::listener::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

/// Browsers connected at a time; further ones wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 64;
/// How long a browser may take to send its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a browser may read nothing of its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Domains that no site of the internet has.
const LOCAL_DOMAINS: [&str; 5] = [".local", ".localhost", ".lan", ".internal", ".home.arpa"];

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const CSS: &str = "text/css; charset=utf-8";
pub(crate) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
pub(crate) const JSON: &str = "application/json";

/// A media type and what is of it.
pub(crate) type Answer = (&'static str, Bytes);

/// Serves what `answer` has for a path, until the program ends or the task is aborted. Gives the
/// address it is at.
pub(crate) async fn serve(
    address: SocketAddr,
    answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
) -> io::Result<(SocketAddr, AbortHandle)> {
    let listener = TcpListener::bind(address).await?;
    let local = listener.local_addr()?;
    let mut listener = Listener::new(listener, "a browser's connection");
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let answer = Arc::new(answer);
    let task = tokio::spawn(async move {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let (stream, _) = listener.accept().await;
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let response = if is_ours(&request) {
                        respond(answer(request.uri().path()))
                    } else {
                        misdirected()
                    };
                    async { Ok::<_, Infallible>(response) }
                });
                let stream = Deadlined::new(stream);
                // A browser that misbehaves only ends its own connection.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(place);
            });
        }
    });
    Ok((local, task.abort_handle()))
}

/// Whether the page was asked for under a name that only this network knows. A site of the internet
/// may lead its own name to this machine (DNS rebinding), and then its scripts would read the page.
fn is_ours(request: &Request<Incoming>) -> bool {
    let header = request.headers().get(HOST).map(|host| host.to_str());
    let host = match (request.uri().host(), header) {
        (Some(host), _) => host,
        (None, Some(Ok(host))) => host,
        (None, None) => return true,
        (None, Some(Err(_))) => return false,
    };
    is_local_name(host)
}

/// An address, or a name that nobody can register.
fn is_local_name(host: &str) -> bool {
    let host = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host.parse::<core::net::IpAddr>().is_ok()
        || !host.contains('.')
        || LOCAL_DOMAINS.iter().any(|domain| host.ends_with(domain))
}

fn misdirected() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(
        "This page is only shown under an address or a local name.\n",
    ));
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    response
}

/// A stream whose writes have a deadline: a browser that does not read gives its place away.
struct Deadlined {
    stream: TcpStream,
    /// Runs while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Deadlined {
    const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            deadline: None,
        }
    }

    /// What a write came to, or that it took too long.
    fn within<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIMEOUT)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Deadlined {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Deadlined {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.within(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.within(cx, ended)
    }
}

fn respond(answer: Option<Answer>) -> Response<Full<Bytes>> {
    let Some((kind, body)) = answer else {
        let mut response = Response::new(Full::from("There is nothing here.\n"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn names_that_sites_of_the_internet_may_have() {
        for ours in [
            "127.0.0.1:80",
            "[fd00::1]:80",
            "localhost",
            "pi",
            "pi.local:7480",
            "a.lan.",
        ] {
            assert!(is_local_name(ours), "{ours}");
        }
        for theirs in [
            "example.org",
            "localhost.example.org:7480",
            "1.2.3.4.example.org",
        ] {
            assert!(!is_local_name(theirs), "{theirs}");
        }
    }

    #[tokio::test]
    async fn who_reads_nothing_is_given_up() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let reader = TcpStream::connect(listener.local_addr()?).await?;
        let mut stream = Deadlined::new(listener.accept().await?.0);
        // Until the buffers of both are full; from there on the deadline runs.
        let block = [0; 1 << 16];
        while tokio::time::timeout(Duration::from_millis(50), stream.write(&block))
            .await
            .is_ok()
        {}
        assert!(stream.deadline.is_some());
        stream.deadline = Some(Box::pin(tokio::time::sleep(Duration::ZERO)));
        let error = stream
            .write(&block)
            .await
            .expect_err("the deadline is over");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(reader);
        Ok(())
    }
}
