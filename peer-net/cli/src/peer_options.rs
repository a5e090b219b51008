//! The options that every command with a peer takes.

use std::time::Duration;

use peer_net::{IceServer, Peer, PeerBuilder};

use crate::failure::{Failure, sentence};

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

    /// The secret that owns the id: with the same token a restarted program gets its id back at once.
    #[arg(long, env = "PEER_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// A STUN or TURN server: stun:HOST:PORT, turn:USER:PASSWORD@HOST:PORT, or `none`. Repeatable.
    /// Without it PeerJS's public ones are used.
    #[arg(long = "ice-server", value_name = "URL")]
    ice_servers: Vec<String>,
}

impl PeerOptions {
    /// A builder set up as the user wants it.
    pub(crate) fn builder(&self) -> PeerBuilder {
        let mut builder = Peer::builder().broker(&self.broker);
        if let Some(id) = &self.id {
            builder = builder.id(id);
        }
        if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        if !self.ice_servers.is_empty() {
            let given = self.ice_servers.iter().filter(|url| *url != "none");
            builder = builder.ice_servers(given.map(|url| ice_server(url)));
        }
        builder
    }

    /// A peer that the broker knows.
    pub(crate) async fn open(&self) -> Result<Peer, Failure> {
        self.builder().open().await.map_err(|error| {
            Failure::broker(format!(
                "could not open at {}: {}",
                self.broker,
                sentence(&error)
            ))
        })
    }

    /// The broker as the user named it.
    pub(crate) fn broker(&self) -> &str {
        &self.broker
    }
}

/// `turn:USER:PASSWORD@HOST:PORT` carries the credentials that browsers keep apart.
fn ice_server(url: &str) -> IceServer {
    let Some((scheme, rest)) = url.split_once(':') else {
        return IceServer::new(url);
    };
    match rest.rsplit_once('@') {
        Some((account, host)) => {
            let (user, password) = account.split_once(':').unwrap_or((account, ""));
            IceServer::turn(format!("{scheme}:{host}"), user, password)
        }
        None => IceServer::new(url),
    }
}

/// How long a command waits for its peer to end before it exits anyway.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// Destroys the peer so that every remote notices, and waits for it.
pub(crate) async fn end(peer: &Peer) {
    peer.destroy();
    let _ = tokio::time::timeout(END_TIMEOUT, peer.closed()).await;
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
        assert_eq!(ice_server("stun:a:1"), IceServer::new("stun:a:1"));
    }
}
