//! What idle peers and connections cost in memory, both ends in this process: `cargo run --release
//! -p peer-examples --example footprint`.
//!
//! Linux only: reads the resident set from /proc. The first peer pays for what all share, so it is
//! not counted.

use std::error::Error;
use std::time::Duration;

use peer_net::Peer;
use peer_net::broker::{Broker, BrokerOptions};

const PEERS: usize = 50;
const CONNECTIONS: usize = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "size of peer_core::peer::Peer: {} bytes",
        size_of::<peer_core::peer::Peer<'_>>()
    );
    println!(
        "size of PeerResources<4>: {} bytes",
        size_of::<peer_core::peer::PeerResources<4>>()
    );

    let broker = Broker::bind("127.0.0.1:0", BrokerOptions::default()).await?;
    let server = open(&broker, Some("server")).await?;
    let client = open(&broker, None).await?;
    // Warms up what is made once: certificates, buffers of the allocator.
    drop(client.connect("server").await?);
    let _ = server.accept().await;

    let before = resident_kib()?;
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        peers.push(open(&broker, None).await?);
    }
    settle().await;
    let with_peers = resident_kib()?;
    println!(
        "an idle peer, its place at the broker included: {} KiB",
        (with_peers - before) / PEERS
    );

    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(client.connect("server").await?);
        connections.push(server.accept().await.ok_or("the server ended")?);
    }
    settle().await;
    let with_connections = resident_kib()?;
    println!(
        "an end of an idle connection: {} KiB",
        (with_connections - with_peers) / (2 * CONNECTIONS)
    );
    println!("in all: {with_connections} KiB");
    Ok(())
}

async fn open(broker: &Broker, id: Option<&str>) -> Result<Peer, Box<dyn Error>> {
    let builder = Peer::builder()
        .broker(broker.url())
        .ice_servers([])
        // All of them come from one remote.
        .offer_rate(10_000)
        .remote_offer_rate(10_000)
        .remote_share(usize::MAX);
    let builder = match id {
        Some(id) => builder.id(id),
        None => builder,
    };
    Ok(builder.open().await?)
}

/// Lets what only opening needs go.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

fn resident_kib() -> Result<usize, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse()?)
}
