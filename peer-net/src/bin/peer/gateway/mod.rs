//! `peer gateway`: lends the broker and WebRTC to microcontrollers.

use core::net::SocketAddr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use peer_net::gateway::{Gateway, GatewayConfig, StatusSource};

use crate::failure::{Failure, sentence};
use crate::http::{self, Answer};
use crate::signals::{Hangups, interrupted};

const PAGE: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// The longest configuration that is read.
const CONFIG_MAX: u64 = 1 << 20;

/// Lend this machine's broker socket and WebRTC stack to microcontrollers that run peer-core.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
examples/gateway.toml explains every setting. Once everything is listened on, stdout says so and then `Ready.`\n\
SIGHUP reads the file again: leaves, keys, ids, limits, broker and ICE servers change at once, the rest \
with a restart; a file with a mistake changes nothing. Ctrl-C and SIGTERM close every connection and end \
with status 0.")]
pub(crate) struct Args {
    /// The configuration, TOML.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Only say whether the configuration can be used.
    #[arg(long)]
    check: bool,
}

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// The configuration cannot be read or used, or an address cannot be listened on.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let config = load(&args.config)?;
    if args.check {
        println!("{} can be used.", args.config.display());
        return Ok(());
    }
    // Before the line that tells scripts they may go on.
    let interrupted = interrupted();
    let mut hangups = Hangups::new();
    let status = config.status;
    let mut gateway = Gateway::bind(config.options).await.map_err(|error| {
        Failure::other(format!("the gateway could not start: {}", sentence(&error)))
    })?;
    let page = match status {
        Some(address) => Some(show(address, gateway.status_source()).await?),
        None => None,
    };
    announce(&gateway, page)
        .map_err(|error| Failure::other(format!("stdout cannot be written: {error}")))?;

    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            () = &mut interrupted => break,
            () = hangups.next() => match reload(&mut gateway, &args.config, status) {
                Ok(told) => println!("{told}"),
                Err(failure) => eprintln!("peer: {failure}; nothing has changed"),
            },
        }
    }
    gateway.shutdown().await;
    Ok(())
}

fn announce(gateway: &Gateway, page: Option<SocketAddr>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for address in gateway.local_addrs() {
        writeln!(stdout, "Listening for leaves on {address}")?;
    }
    if let Some(address) = page {
        writeln!(stdout, "Status at http://{address}/")?;
    }
    writeln!(stdout, "Ready.")?;
    stdout.flush()
}

/// Takes what the file says now. What to tell about it.
fn reload(
    gateway: &mut Gateway,
    path: &Path,
    status: Option<SocketAddr>,
) -> Result<String, String> {
    let config = read(path).map_err(|(_, why)| why)?;
    let moved = config.status != status;
    let leaves = config.options.leaves.len();
    let mut later = gateway
        .reload(config.options)
        .map_err(|error| sentence(&error))?;
    if moved {
        later.push("status");
    }
    let noun = if leaves == 1 { "leaf" } else { "leaves" };
    let mut told = format!("Reloaded {}: {leaves} {noun}.", path.display());
    if !later.is_empty() {
        told = format!("{told} A restart is needed for: {}.", later.join(", "));
    }
    Ok(told)
}

fn load(path: &Path) -> Result<GatewayConfig, Failure> {
    read(path).map_err(|(is_file, why)| {
        if is_file {
            Failure::file(why)
        } else {
            Failure::other(why)
        }
    })
}

/// A configuration, or whether the file was to blame and what is wrong.
fn read(path: &Path) -> Result<GatewayConfig, (bool, String)> {
    let text = read_text(path)
        .map_err(|error| (true, format!("{} cannot be read: {error}", path.display())))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    GatewayConfig::parse(&text, folder)
        .map_err(|error| (false, format!("{}, {error}", path.display())))
}

fn read_text(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(CONFIG_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

async fn show(address: SocketAddr, source: StatusSource) -> Result<SocketAddr, Failure> {
    let served = http::serve(address, move |path| answer(path, &source)).await;
    served.map_err(|error| {
        Failure::other(format!(
            "the status page cannot be served at {address}: {error}"
        ))
    })
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
