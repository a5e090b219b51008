//! The demo's web page: four embedded files, PeerJS from npm when it is installed, and the configuration.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const INDEX: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// Where browsers with internet access find PeerJS.
const PEERJS_CDN: &str = "https://unpkg.com/peerjs@1.5.5/dist/peerjs.min.js";
/// Where `npm install` in `examples/browser` puts it.
const PEERJS_NPM: &str = "examples/browser/node_modules/peerjs/dist/peerjs.min.js";

/// Browsers connected at a time; further ones wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 64;
/// How long a browser may take to send its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What the page serves.
pub(super) struct Page {
    index: String,
    config: String,
    peerjs: Option<Bytes>,
}

impl Page {
    /// `config` is the JSON that the page's script reads; `peerjs` names PeerJS's file, else it is looked for.
    pub(super) fn new(config: String, peerjs: Option<&Path>) -> std::io::Result<Self> {
        let found = peerjs.map(Path::to_path_buf).or_else(find_peerjs);
        let peerjs = found.map(std::fs::read).transpose()?.map(Bytes::from);
        let source = if peerjs.is_some() {
            "peerjs.min.js"
        } else {
            PEERJS_CDN
        };
        Ok(Self {
            index: INDEX.replace("{{PEERJS}}", source),
            config,
            peerjs,
        })
    }

    /// Whether the page loads PeerJS from the internet.
    pub(super) const fn needs_internet(&self) -> bool {
        self.peerjs.is_none()
    }

    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let (kind, body) = match path {
            "/" | "/index.html" => ("text/html; charset=utf-8", Bytes::from(self.index.clone())),
            "/style.css" => (
                "text/css; charset=utf-8",
                Bytes::from_static(STYLE.as_bytes()),
            ),
            "/page.js" => (
                "text/javascript; charset=utf-8",
                Bytes::from_static(SCRIPT.as_bytes()),
            ),
            "/config.json" => ("application/json", Bytes::from(self.config.clone())),
            "/peerjs.min.js" if self.peerjs.is_some() => (
                "text/javascript; charset=utf-8",
                self.peerjs.clone().unwrap_or_default(),
            ),
            _ => {
                let mut response = Response::new(Full::from("There is nothing here.\n"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                return response;
            }
        };
        let mut response = Response::new(Full::new(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
        headers.insert(
            CACHE_CONTROL,
            hyper::header::HeaderValue::from_static("no-store"),
        );
        response
    }
}

/// Serves the page until the program ends. Gives the address it is at.
pub(super) async fn serve(page: Arc<Page>, address: SocketAddr) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let local = listener.local_addr()?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors: let some go before the next try.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let page = Arc::clone(&page);
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let response = page.answer(request.uri().path());
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
    Ok(local)
}

/// PeerJS beside the examples: at or above the current folder, or above the program itself.
fn find_peerjs() -> Option<PathBuf> {
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    [here, program]
        .iter()
        .flatten()
        .flat_map(|place| place.ancestors())
        .map(|base| base.join(PEERJS_NPM))
        .find(|path| path.is_file())
}
