//! `peer gateway`: lends the broker and WebRTC to microcontrollers.

use core::net::SocketAddr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use peer_net::gateway::{EXAMPLE, Gateway, GatewayConfig, StatusSource, read_certificates};
use tokio::task::AbortHandle;

use crate::failure::{Failure, sentence};
use crate::http::{self, Answer};
use crate::shown::tell;
use crate::signals::{Hangups, interrupted};
use crate::stdout::print;

const PAGE: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// The key in the example, which everybody knows.
const EXAMPLE_KEY: [u8; 32] = [7; 32];
/// The longest configuration that is read, in bytes.
const CONFIG_MAX: u64 = 1 << 20;

/// Lend this machine's broker socket and WebRTC stack to microcontrollers that run peer-core.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
`--example` prints a configuration that explains every setting. Once everything is listened on, stdout says so and then `Ready.`\n\
SIGHUP reads the file again, and all of it counts at once; leaves that may stay do. A file with a mistake \
changes nothing, and stderr says so. Ctrl-C and SIGTERM tell every leaf and close every connection, and end \
with status 0 within five seconds.\n\
Exit codes: 1 the configuration cannot be used, or an address not be listened on; 6 the configuration cannot \
be read.")]
pub(crate) struct Args {
    /// The configuration, TOML.
    #[arg(short, long, value_name = "FILE", required_unless_present = "example")]
    config: Option<PathBuf>,
    /// Certificates (PEM) to trust besides those of the system and of `cafile` in the
    /// configuration, when the broker is spoken to over TLS. SIGHUP reads them again, too.
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// Only say whether the configuration can be used.
    #[arg(long)]
    check: bool,
    /// Print a configuration that explains every setting.
    #[arg(long, conflicts_with_all = ["config", "check"])]
    example: bool,
}

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// The configuration cannot be read or used, or an address cannot be listened on.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let Some(path) = args.config else {
        return print(EXAMPLE.trim_end());
    };
    let files = Files {
        config: path,
        cafile: args.cafile,
    };
    let config = load(&files)?;
    if args.check {
        return print(&format!("{} can be used.", files.config.display()));
    }
    // Before the line that tells scripts they may go on.
    let interrupted = interrupted();
    let mut hangups = Hangups::new();
    let gateway = Gateway::bind(config.options).await.map_err(|error| {
        Failure::other(format!("the gateway could not start: {}", sentence(&error)))
    })?;
    let page = Page::serve(config.status, &gateway)
        .await
        .map_err(Failure::other)?;
    let mut served = Served { gateway, page };
    let unwritable = |error| Failure::other(format!("stdout cannot be written: {error}"));
    served.announce("Ready.").map_err(unwritable)?;

    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            () = &mut interrupted => break,
            () = hangups.next() => match served.reload(&files).await {
                Ok(told) => served.announce(&told).map_err(unwritable)?,
                Err(why) => tell!("peer: {why}; nothing has changed"),
            },
        }
    }
    served.gateway.shutdown().await;
    Ok(())
}

struct Served {
    gateway: Gateway,
    page: Page,
}

/// The status page.
struct Page {
    /// Where it was asked for.
    wanted: Option<SocketAddr>,
    served: Option<(SocketAddr, AbortHandle)>,
}

impl Served {
    /// Says where everything is, and then `last`.
    fn announce(&self, last: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        for address in self.gateway.local_addrs() {
            writeln!(stdout, "Listening for leaves on {address}")?;
        }
        if let Some((address, _)) = &self.page.served {
            writeln!(stdout, "Status at http://{address}/")?;
        }
        writeln!(stdout, "{last}")?;
        stdout.flush()
    }

    /// Takes what the file says now. What to tell about it.
    async fn reload(&mut self, files: &Files) -> Result<String, String> {
        let config = read(files).map_err(|(_, why)| why)?;
        let page = if config.status == self.page.wanted {
            None
        } else {
            Some(Page::serve(config.status, &self.gateway).await?)
        };
        let leaves = config.options.leaves.len();
        if let Err(error) = self.gateway.reload(config.options).await {
            if let Some(page) = page {
                page.end();
            }
            return Err(sentence(&error));
        }
        if let Some(page) = page {
            core::mem::replace(&mut self.page, page).end();
        }
        let noun = if leaves == 1 { "leaf" } else { "leaves" };
        let file = files.config.display();
        Ok(format!("Reloaded {file}: {leaves} {noun}."))
    }
}

impl Page {
    async fn serve(wanted: Option<SocketAddr>, gateway: &Gateway) -> Result<Self, String> {
        let served = match wanted {
            None => None,
            Some(address) => {
                let source = gateway.status_source();
                let served = http::serve(address, move |path| answer(path, &source)).await;
                Some(served.map_err(|error| {
                    format!(
                        "the status page cannot be served at {address}: {error}; `status` names another address, or \
                         \"off\""
                    )
                })?)
            }
        };
        Ok(Self { wanted, served })
    }

    fn end(self) {
        if let Some((_, task)) = self.served {
            task.abort();
        }
    }
}

/// What is read at the start and with each SIGHUP.
struct Files {
    config: PathBuf,
    cafile: Option<PathBuf>,
}

fn load(files: &Files) -> Result<GatewayConfig, Failure> {
    read(files).map_err(|(is_file, why)| {
        if is_file {
            Failure::file(why)
        } else {
            Failure::other(why)
        }
    })
}

/// A configuration, or whether the file was to blame and what is wrong.
fn read(files: &Files) -> Result<GatewayConfig, (bool, String)> {
    let path = &files.config;
    let unreadable = |path: &Path, error: io::Error| {
        let path = path.display();
        (true, format!("{path} cannot be read: {error}"))
    };
    let text = read_text(path).map_err(|error| unreadable(path, error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut config = GatewayConfig::parse(&text, folder)
        .map_err(|error| (false, format!("{}, {error}", path.display())))?;
    if let Some(file) = &files.cafile {
        let pem = read_certificates(file).map_err(|error| {
            let is_file = error.kind() != io::ErrorKind::InvalidData;
            (is_file, error.to_string())
        })?;
        let trusted = &mut config.options.root_certificates;
        trusted.push(b'\n');
        trusted.extend(pem);
    }
    let mut leaves = config.options.leaves.iter();
    if let Some(leaf) = leaves.find(|leaf| leaf.key == EXAMPLE_KEY) {
        let why = format!(
            "{}: the leaf '{}' has the example's key, which everybody knows; make one with \
             `openssl rand -hex 32`",
            path.display(),
            leaf.name
        );
        return Err((false, why));
    }
    #[cfg(unix)]
    warn_of_readers(&text, path, folder);
    Ok(config)
}

/// Tells which files with keys others on this machine may read.
#[cfg(unix)]
fn warn_of_readers(text: &str, path: &Path, folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let table: toml::Table = toml::from_str(text).unwrap_or_default();
    let leaves = table.get("leaf").and_then(toml::Value::as_array);
    for leaf in leaves.into_iter().flatten() {
        let (key, file) = (leaf.get("key"), leaf.get("key_file"));
        let file = file
            .and_then(toml::Value::as_str)
            .map(|file| folder.join(file));
        let of_config = key.map(|_| path.to_owned());
        for file in file.into_iter().chain(of_config) {
            let mode = std::fs::metadata(&file).map(|file| file.permissions().mode());
            if mode.is_ok_and(|mode| mode & 0o077 != 0) {
                let file = file.display();
                tell!("peer: others may read {file}, which holds a key: chmod 600 {file}");
                return;
            }
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(CONFIG_MAX + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > CONFIG_MAX {
        return Err(io::Error::other(format!(
            "it has more than {CONFIG_MAX} bytes, too many for a configuration"
        )));
    }
    Ok(text)
}

fn answer(path: &str, source: &StatusSource) -> Option<Answer> {
    Some(match path {
        "/" | "/index.html" => (http::HTML, Bytes::from_static(PAGE.as_bytes())),
        "/style.css" => (http::CSS, Bytes::from_static(STYLE.as_bytes())),
        "/page.js" => (http::JAVASCRIPT, Bytes::from_static(SCRIPT.as_bytes())),
        "/status.json" => (
            http::JSON,
            serde_json::to_vec(&source.status()).ok()?.into(),
        ),
        _ => return None,
    })
}
