//! `peer listen` and `peer connect`: netcat for peers, and the JSON-lines contract for scripts.

mod bytes;
mod incoming;
mod json;
mod lines;
mod stdin;

use clap::ValueEnum;
use peer_net::{Peer, Serialization};

use crate::failure::Failure;
use crate::peer_options::PeerOptions;

/// How values travel.
#[derive(Clone, Copy, ValueEnum)]
enum SerializationName {
    Binary,
    #[value(name = "binary-utf8")]
    BinaryUtf8,
    Json,
    Raw,
}

impl From<SerializationName> for Serialization {
    fn from(name: SerializationName) -> Self {
        match name {
            SerializationName::Binary => Self::Binary,
            SerializationName::BinaryUtf8 => Self::BinaryUtf8,
            SerializationName::Json => Self::Json,
            SerializationName::Raw => Self::Raw,
        }
    }
}

#[derive(clap::Args)]
struct TalkOptions {
    #[command(flatten)]
    peer: PeerOptions,

    /// Send every message back as it was decoded.
    #[arg(long)]
    echo: bool,

    /// Speak JSON lines on stdin and stdout
    /// (<https://docs.rs/peer-net/latest/peer_net/docs/json_lines>).
    #[arg(long)]
    json: bool,

    /// Send stdin and write stdout as they are, not as lines: `tar c . | peer connect ID --bytes`.
    /// Connections are raw and keep their order. `listen` serves one peer and ends with it.
    #[arg(long, conflicts_with_all = ["json", "echo", "serialization"])]
    bytes: bool,

    /// How values travel on connections started from here.
    #[arg(long, value_enum, default_value = "binary")]
    serialization: SerializationName,

    /// Keep messages in order on connections started from here (PeerJS's `reliable`).
    #[arg(long)]
    reliable: bool,

    /// The label of connections started from here; by default the connection's id.
    #[arg(long)]
    label: Option<String>,

    /// What the remote sees about connections started from here, as JSON.
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
}

/// What `peer listen` takes.
#[derive(clap::Args)]
pub(crate) struct ListenArgs {
    #[command(flatten)]
    options: TalkOptions,
}

/// What `peer connect` takes.
#[derive(clap::Args)]
pub(crate) struct ConnectArgs {
    /// The peer to connect to.
    #[arg(value_name = "ID")]
    remote: String,

    /// After the end of stdin, wait for replies until so many seconds pass in which nothing is
    /// received, printed or delivered.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    wait: f64,

    #[command(flatten)]
    options: TalkOptions,
}

/// What a connection started from here looks like.
struct Defaults {
    serialization: Serialization,
    reliable: bool,
    label: Option<String>,
    metadata: Option<serde_json::Value>,
}

impl TalkOptions {
    fn defaults(&self) -> Result<Defaults, Failure> {
        let metadata = self
            .metadata
            .as_deref()
            .map(serde_json::from_str)
            .transpose();
        Ok(Defaults {
            serialization: if self.bytes {
                Serialization::Raw
            } else {
                self.serialization.into()
            },
            reliable: self.reliable || self.bytes,
            label: self.label.clone(),
            metadata: metadata.map_err(|error| {
                Failure::usage(format!(
                    "--metadata is not JSON ({error}); strings need quotes"
                ))
            })?,
        })
    }
}

impl Defaults {
    fn connect(&self, peer: &Peer, remote: &str) -> peer_net::Connect {
        let mut connect = peer
            .connect(remote)
            .serialization(self.serialization)
            .reliable(self.reliable);
        if let Some(label) = &self.label {
            connect = connect.label(label);
        }
        if let Some(metadata) = &self.metadata {
            connect = connect.metadata(metadata);
        }
        connect
    }
}

/// `peer listen`.
pub(crate) async fn listen(args: ListenArgs) -> Result<(), Failure> {
    let TalkOptions { peer, echo, .. } = &args.options;
    let defaults = args.options.defaults()?;
    if args.options.json {
        json::run(peer, defaults, *echo, None).await
    } else if args.options.bytes {
        bytes::listen(peer).await
    } else {
        lines::listen(peer, *echo).await
    }
}

/// `peer connect`.
pub(crate) async fn connect(args: ConnectArgs) -> Result<(), Failure> {
    let TalkOptions { peer, echo, .. } = &args.options;
    let defaults = args.options.defaults()?;
    let wait = std::time::Duration::try_from_secs_f64(args.wait)
        .map_err(|_| Failure::usage("--wait takes a number of seconds, zero or more"))?;
    if args.options.json {
        json::run(peer, defaults, *echo, Some(args.remote)).await
    } else if args.options.bytes {
        bytes::connect(peer, &defaults, &args.remote, wait).await
    } else {
        lines::connect(peer, &defaults, &args.remote, *echo, wait).await
    }
}
