//! The options that every command with a peer takes.

use core::pin::Pin;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use peer_net::{
    INBOX_BYTES, IceServer, MAX_CONNECTIONS, MAX_MESSAGE_SIZE, OFFERS_PER_SECOND, Peer,
    PeerBuilder, REMOTE_OFFERS_PER_SECOND, RtcConfig, Stack, UdpPorts,
};

use crate::failure::{Failure, no_turn_advice};
use crate::online::{Online, Start};
use crate::state::State;

/// Which broker, which id, which ICE servers.
#[derive(clap::Args)]
pub(crate) struct PeerOptions {
    /// The broker: ws://, wss://, http:// or https://, then `HOST[:PORT][/PATH][?key=KEY]`.
    #[arg(
        long,
        value_name = "URL",
        env = "PEER_BROKER",
        default_value = "wss://0.peerjs.com"
    )]
    broker: String,

    /// The id to take; without it the broker gives one.
    #[arg(long)]
    id: Option<String>,

    /// The secret that owns the id: with the same token a restarted program gets its id back at
    /// once.
    #[arg(long, env = "PEER_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// A folder that keeps the id and the token, so that this command gets its id back at once when
    /// it starts again, after a loss of power too. It is made where there is none; one for each
    /// running command and broker.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// End with status 3 when the broker is lost. Without it the command comes back to the broker
    /// by itself, with the same id, and connections live on meanwhile; `listen` and `receive` also
    /// wait for a broker that cannot be reached when they start, as before the network is up.
    #[arg(long)]
    no_reconnect: bool,

    /// A STUN or TURN server: stun:HOST:PORT, turn:USER:PASSWORD@HOST:PORT, or `none`. Repeatable.
    /// Without it PeerJS's public ones are used. USER may hold colons, PASSWORD may not. With the
    /// native stack turns: and `?transport=tcp`, too.
    #[arg(long = "ice-server", value_name = "URL")]
    ice_servers: Vec<String>,

    /// Use the addresses of loopback interfaces for paths, too: for tests on one machine.
    #[arg(long)]
    include_loopback: bool,

    /// Whose ICE, DTLS and SCTP carry the data: those of webrtc-rs, or native, which are quicker
    /// and made for bad paths. The other side may have others.
    #[arg(
        long,
        value_name = "STACK",
        env = "PEER_STACK",
        default_value_t,
        value_parser = PossibleValuesParser::new(Stack::ALL.iter().map(|stack| stack.name()))
            .try_map(|name| name.parse::<Stack>())
    )]
    stack: Stack,

    /// The UDP ports to use, for a firewall: one or a range, FIRST-LAST. With TURN servers each
    /// connection needs one, as do further connections with the same remote. Any by default.
    #[arg(long, value_name = "PORTS")]
    udp_port: Option<UdpPorts>,

    /// Seconds of silence until a connection is given up, up to an hour. It waits, and comes back
    /// with all that was sent, while the network is gone or changes.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=3600))]
    survive: u16,

    /// Certificates (PEM) to trust besides those of the system, when the broker is spoken to over
    /// TLS: those of a private authority, or the broker's own, self-signed one.
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,

    /// Certificates (PEM) to trust besides those of the system, when a TURN server is spoken to
    /// over TLS (turns:): those of a private authority, or the server's own, self-signed one.
    #[arg(long, value_name = "FILE")]
    turn_cafile: Option<PathBuf>,

    /// Most connections at a time.
    #[arg(long, value_name = "N", default_value_t = MAX_CONNECTIONS)]
    max_connections: usize,

    /// Most connections of one remote, by its id and by its address, while more than half of all
    /// are in use; 0 is a quarter of all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    remote_share: usize,

    /// Offers a second that are taken from all remotes together.
    #[arg(long, value_name = "N", default_value_t = OFFERS_PER_SECOND)]
    offer_rate: u32,

    /// Offers a second that are taken from one remote.
    #[arg(long, value_name = "N", default_value_t = REMOTE_OFFERS_PER_SECOND)]
    remote_offer_rate: u32,

    /// The largest message to take, in bytes; larger ones are dropped, and stderr or an error says
    /// so.
    #[arg(long, value_name = "BYTES", default_value_t = MAX_MESSAGE_SIZE)]
    max_message_size: usize,

    /// Bytes of messages that wait to be received, over all connections, and 64 KiB more for each.
    /// At the limit remotes wait.
    #[arg(long, value_name = "BYTES", default_value_t = INBOX_BYTES)]
    inbox_bytes: usize,
}

impl PeerOptions {
    /// A builder set up as the user wants it, and what keeps its state.
    pub(crate) fn builder(&self) -> Result<(PeerBuilder, Option<State>), Failure> {
        let (id, token) = (self.id.as_deref(), self.token.as_deref());
        let state = match &self.state {
            Some(folder) => Some(State::open(folder, id, token)?),
            None => None,
        };
        let kept = state.as_ref().map(|state| &state.identity);
        let mut rtc = RtcConfig {
            stack: self.stack,
            ice_servers: IceServer::peerjs_defaults(),
            include_loopback: self.include_loopback,
            ports: self.udp_port,
            survive: Duration::from_secs(self.survive.into()),
            ..RtcConfig::default()
        };
        if let Some(file) = &self.turn_cafile {
            let added = rtc.add_turn_certificates(read_pem(file)?);
            let cannot = |error| Failure::file(format!("{}: {error}", file.display()));
            added.map_err(cannot)?;
        }
        let mut builder = Peer::builder()
            .rtc(rtc)
            .broker(&self.broker)
            .reconnect(!self.no_reconnect)
            .max_message_size(self.max_message_size)
            .inbox_bytes(self.inbox_bytes)
            .max_connections(self.max_connections)
            .remote_share(self.remote_share)
            .offer_rate(self.offer_rate)
            .remote_offer_rate(self.remote_offer_rate);
        if let Some(file) = &self.cafile {
            builder = builder.root_certificates(read_pem(file)?);
        }
        if let Some(id) = kept.map(|kept| &kept.id[..]).or(id) {
            builder = builder.id(id);
        }
        if let Some(token) = kept.map(|kept| &kept.token[..]).or(token) {
            builder = builder.token(token);
        }
        if !self.ice_servers.is_empty() {
            let given = self.ice_servers.iter().filter(|url| *url != "none");
            if given.clone().any(|url| url.starts_with("turn")) {
                no_turn_advice();
            }
            builder = builder.ice_servers(given.map(|url| ice_server(url)));
        }
        Ok((builder, state))
    }

    /// A peer that the broker knows, set up further; `None` where somebody wants the end before.
    pub(crate) async fn open(
        &self,
        start: Start,
        interrupted: Pin<&mut impl Future<Output = ()>>,
        more: impl FnOnce(PeerBuilder) -> PeerBuilder,
    ) -> Result<Option<Online>, Failure> {
        let (builder, state) = self.builder()?;
        let builder = more(builder);
        let peer = builder.build().map_err(|error| Failure::of_build(&error))?;
        let returns = self.reconnects();
        let start = if returns { start } else { Start::Once };
        let opening = Online::open(peer, state, &self.broker, start, returns);
        tokio::select! {
            online = opening => online.map(Some),
            () = interrupted => Ok(None),
        }
    }

    /// The broker as the user named it.
    pub(crate) fn broker(&self) -> &str {
        &self.broker
    }

    /// Whether the command comes back to a broker that it lost.
    pub(crate) const fn reconnects(&self) -> bool {
        !self.no_reconnect
    }
}

/// Reads a file of certificates.
fn read_pem(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file)
        .map_err(|error| Failure::file(format!("{} cannot be read: {error}", file.display())))
}

/// `turn:USER:PASSWORD@HOST:PORT` carries the credentials that browsers keep apart. The user name
/// of a TURN server with passwords for a time is `TIME:NAME`.
fn ice_server(url: &str) -> IceServer {
    let Some((scheme, rest)) = url.split_once(':') else {
        return IceServer::new(url);
    };
    match rest.rsplit_once('@') {
        Some((account, host)) => {
            let (user, password) = account.rsplit_once(':').unwrap_or((account, ""));
            IceServer::turn(format!("{scheme}:{host}"), user, password)
        }
        None => IceServer::new(url),
    }
}

/// For a peer that only connects: whoever offers it something costs it nothing.
pub(crate) fn refuse_offers(builder: PeerBuilder) -> PeerBuilder {
    builder.on_offer(|_| false)
}

/// How long a command waits for its peer to end before it exits anyway.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// Destroys the peer so that every remote notices, and waits for it.
pub(crate) async fn end(peer: &Peer) {
    peer.destroy();
    drop(tokio::time::timeout(END_TIMEOUT, peer.closed()).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_turn_urls() {
        let server = ice_server("turn:me:p@ss@turn.example.org:3478");
        assert_eq!(
            server,
            IceServer::turn("turn:turn.example.org:3478", "me", "p@ss")
        );
        let server = ice_server("turn:1700000000:me:c2VjcmV0@turn.example.org:3478");
        assert_eq!(
            server,
            IceServer::turn("turn:turn.example.org:3478", "1700000000:me", "c2VjcmV0")
        );
        assert_eq!(ice_server("stun:a:1"), IceServer::new("stun:a:1"));
    }
}
