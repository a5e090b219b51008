//! `peer broker`: a PeerServer.

use core::pin::pin;
use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};

use peer_net::broker::{
    BindError, Broker, BrokerLimits, BrokerOptions, CorsOptions, CorsOrigin, Ssl,
};

use crate::failure::{Failure, sentence};
use crate::shown::tell;
use crate::signals::{Hangups, interrupted};
use crate::stdout::print;

/// Run a broker that PeerJS clients can use in place of npm's PeerServer.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Flags and defaults are those of npm `peer` 1.0.2, and one more; `--expire-timeout` and `--expire_timeout` are the \
same. The first line on stdout is `Listening on URL (key KEY)`. Ctrl-C and SIGTERM close every \
client's socket and end with status 0. SIGHUP reads the files of --sslkey and --sslcert again.

Clients: new Peer(id, { host: 'HOST', port: PORT, path: 'PATH' })")]
pub(crate) struct Args {
    /// Port to listen on; 0 takes any free one and prints it.
    #[arg(short, long, env = "PORT", default_value_t = 9000)]
    port: u16,
    /// Address or name to listen on. Default: every address of this machine, IPv6 and IPv4.
    #[arg(short = 'H', long)]
    host: Option<String>,
    /// Path the API lives at.
    #[arg(long, env = "PEERSERVER_PATH", default_value = "/")]
    path: String,
    /// Key that clients must bring.
    #[arg(short, long, default_value = "peerjs")]
    key: String,
    /// Milliseconds that messages wait for an absent peer.
    #[arg(
        short = 't',
        long = "expire_timeout",
        alias = "expire-timeout",
        value_name = "MS"
    )]
    #[arg(default_value_t = 5_000)]
    expire_timeout: u64,
    /// Milliseconds without a HEARTBEAT after which a client is disconnected.
    #[arg(long = "alive_timeout", alias = "alive-timeout", value_name = "MS")]
    #[arg(default_value_t = 60_000)]
    alive_timeout: u64,
    /// Clients that can be connected at once. When it is nearly full, one of an address that has
    /// most gives way to one of an address that has none.
    #[arg(
        short,
        long = "concurrent_limit",
        alias = "concurrent-limit",
        value_name = "N"
    )]
    #[arg(default_value_t = 5_000)]
    concurrent_limit: usize,
    /// Let clients list the ids of all peers.
    #[arg(long = "allow_discovery", alias = "allow-discovery")]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    #[arg(default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    allow_discovery: bool,
    /// A reverse proxy is in front: the last address in X-Forwarded-For is the client's.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    #[arg(default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    proxied: bool,
    /// Connections that one client address may have at once; more get status 429. npm's has no such
    /// limit.
    #[arg(
        long = "max_connections_per_address",
        alias = "max-connections-per-address",
        value_name = "N"
    )]
    #[arg(default_value_t = BrokerLimits::default().connections_per_address)]
    max_connections_per_address: usize,
    /// Origins of web pages that may use the HTTP API, letter by letter; none after it: no page
    /// may. Default: all.
    #[arg(long, num_args = 0.., value_name = "ORIGIN")]
    cors: Option<Vec<String>>,
    /// PEM file with the TLS key; needs --sslcert.
    #[arg(long, requires = "sslcert", value_name = "FILE")]
    sslkey: Option<PathBuf>,
    /// PEM file with the TLS certificate chain; needs --sslkey.
    #[arg(long, requires = "sslkey", value_name = "FILE")]
    sslcert: Option<PathBuf>,
}

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// A file cannot be read, the address cannot be listened on, or stdout is closed.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let (host, port) = (args.host.clone(), args.port);
    let key = args.key.clone();
    let files = args.sslkey.clone().zip(args.sslcert.clone());
    let options = options(args)?;
    // Before the line that tells scripts they may go on.
    let mut interrupted = pin!(interrupted());
    let mut hangups = files.is_some().then(Hangups::new);
    let broker = bind(host.as_deref(), port, options)
        .await
        .map_err(|error| {
            Failure::other(format!("the broker could not start: {}", sentence(&error)))
        })?;

    print(&format!("Listening on {} (key {key})", address(&broker)))?;

    loop {
        let hangup = async {
            match &mut hangups {
                Some(hangups) => hangups.next().await,
                None => core::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut interrupted => break,
            () = hangup => match renew(&broker, files.as_ref()) {
                // Nobody may be there to read it.
                Ok(()) => drop(print("Key and certificate were read again.")),
                Err(why) => tell!("peer: {why}; nothing has changed"),
            },
        }
    }
    broker.shutdown().await;
    Ok(())
}

/// Takes the key and the certificate that are in the files now. Why not.
fn renew(broker: &Broker, files: Option<&(PathBuf, PathBuf)>) -> Result<(), String> {
    let Some((key, cert)) = files else {
        return Ok(());
    };
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    let ssl = Ssl {
        key: read(key)?,
        cert: read(cert)?,
    };
    broker.set_ssl(&ssl).map_err(|error| sentence(&error))
}

fn options(args: Args) -> Result<BrokerOptions, Failure> {
    let ssl = match (&args.sslkey, &args.sslcert) {
        (Some(key), Some(cert)) => Some(Ssl {
            key: read(key)?,
            cert: read(cert)?,
        }),
        _ => None,
    };
    let origin = args.cors.map_or(CorsOrigin::Reflect, CorsOrigin::List);
    let mut options = BrokerOptions {
        path: args.path,
        key: args.key,
        expire_timeout: Duration::from_millis(args.expire_timeout),
        alive_timeout: Duration::from_millis(args.alive_timeout),
        concurrent_limit: args.concurrent_limit,
        allow_discovery: args.allow_discovery,
        proxied: args.proxied,
        ssl,
        cors_options: CorsOptions { origin },
        ..BrokerOptions::default()
    };
    // Room for the HTTP requests of as many clients as there may be.
    let connections = args
        .concurrent_limit
        .saturating_add(args.concurrent_limit / 2);
    options.limits.connections = options.limits.connections.max(connections);
    options.limits.connections_per_address = args.max_connections_per_address;
    Ok(options)
}

async fn bind(host: Option<&str>, port: u16, options: BrokerOptions) -> Result<Broker, BindError> {
    match host {
        Some(host) => Broker::bind((host, port), options).await,
        None => match Broker::bind(("::", port), options.clone()).await {
            // A machine without IPv6.
            Err(BindError::Listen(error)) if error.kind() != io::ErrorKind::AddrInUse => {
                Broker::bind(("0.0.0.0", port), options).await
            }
            bound => bound,
        },
    }
}

/// The broker's URL without the key, which is printed beside it.
fn address(broker: &Broker) -> String {
    let url = broker.url();
    url.split('?').next().unwrap_or_default().to_owned()
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::file(format!("{} cannot be read: {error}", path.display())))
}
