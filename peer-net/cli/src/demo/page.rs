//! The demo's web page: four embedded files, PeerJS from npm when it is installed, and the
//! configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::http::{self, Answer};

const INDEX: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// Where browsers with internet access find PeerJS.
const PEERJS_CDN: &str = "https://unpkg.com/peerjs@1.5.5/dist/peerjs.min.js";
/// Where `npm install` in `examples/browser` puts it.
const PEERJS_NPM: &str = "examples/browser/node_modules/peerjs/dist/peerjs.min.js";

/// What the page serves.
pub(super) struct Page {
    index: String,
    config: String,
    peerjs: Option<Bytes>,
}

impl Page {
    /// `config` is the JSON that the page's script reads; `peerjs` names PeerJS's file, else it is
    /// looked for.
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

    fn answer(&self, path: &str) -> Option<Answer> {
        Some(match path {
            "/" | "/index.html" => (http::HTML, Bytes::from(self.index.clone())),
            "/style.css" => (http::CSS, Bytes::from_static(STYLE.as_bytes())),
            "/page.js" => (http::JAVASCRIPT, Bytes::from_static(SCRIPT.as_bytes())),
            "/config.json" => (http::JSON, Bytes::from(self.config.clone())),
            "/peerjs.min.js" => (http::JAVASCRIPT, self.peerjs.clone()?),
            _ => return None,
        })
    }
}

/// Serves the page until the program ends. Gives the address it is at.
pub(super) async fn serve(page: Arc<Page>, address: SocketAddr) -> std::io::Result<SocketAddr> {
    let served = http::serve(address, move |path| page.answer(path)).await;
    served.map(|(address, _)| address)
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
