//! A little HTTP server for pages that are in the program.

use core::convert::Infallible;
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Browsers connected at a time; further ones wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 64;
/// How long a browser may take to send its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const CSS: &str = "text/css; charset=utf-8";
pub(crate) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
pub(crate) const JSON: &str = "application/json";

/// A media type and what is of it.
pub(crate) type Answer = (&'static str, Bytes);

/// Serves what `answer` has for a path, until the program ends or the task is aborted. Gives the address it is at.
pub(crate) async fn serve(
    address: SocketAddr,
    answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
) -> std::io::Result<(SocketAddr, AbortHandle)> {
    let listener = TcpListener::bind(address).await?;
    let local = listener.local_addr()?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let answer = Arc::new(answer);
    let task = tokio::spawn(async move {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors: let some go before the next try.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let response = respond(answer(request.uri().path()));
                    async { Ok::<_, Infallible>(response) }
                });
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
