//! The Rust half of `tests/bench/interop.mjs`; `tests/interop/page/bench.js` is the same in a
//! browser.
//!
//! ```text
//! bench_peer serve BROKER ID                               prints `open`, serves until it is killed
//! bench_peer run BROKER REMOTE CONNECTS PINGS MEGABYTES    prints one JSON object
//! ```
//! The label says what the server does: `echo` sends everything back, `bulk:N` answers "done" after
//! N bytes.

use core::error::Error;
use std::time::Instant;

use peer_net::{DataConnection, Peer, Serialization, Value};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const MIB: usize = 1 << 20;

#[tokio::main]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", broker, id] => serve(broker, id).await,
        ["run", broker, remote, connects, pings, megabytes] => {
            let peer = Peer::builder()
                .broker(broker)
                .ice_servers([])
                .open()
                .await?;
            let report = run(
                &peer,
                remote,
                connects.parse()?,
                pings.parse()?,
                megabytes.parse()?,
            );
            println!("{}", report.await?);
            peer.destroy();
            peer.closed().await;
            Ok(())
        }
        _ => Err("usage: bench_peer serve BROKER ID | run BROKER REMOTE CONNECTS PINGS MIB".into()),
    }
}

async fn serve(broker: &str, id: &str) -> Outcome<()> {
    let peer = Peer::builder()
        .broker(broker)
        .id(id)
        .ice_servers([])
        // All of them come from one remote.
        .offer_rate(10_000)
        .remote_offer_rate(10_000)
        .remote_share(usize::MAX)
        .open()
        .await?;
    println!("open");
    while let Some(connection) = peer.accept().await {
        tokio::spawn(async move {
            if let Err(error) = attend(&connection).await {
                eprintln!("{}: {error}", connection.label());
            }
        });
    }
    Ok(())
}

async fn attend(connection: &DataConnection) -> Outcome<()> {
    let label = connection.label();
    let total: usize = label.strip_prefix("bulk:").map_or(Ok(0), str::parse)?;
    let mut received = 0;
    while let Some(value) = connection.recv().await? {
        if label == "echo" {
            connection.send(&value).await?;
        } else if let Value::Bytes(bytes) = value {
            received += bytes.len();
            if received == total {
                connection.send_text("done").await?;
            }
        }
    }
    Ok(())
}

async fn run(
    peer: &Peer,
    remote: &str,
    connects: usize,
    pings: usize,
    megabytes: usize,
) -> Outcome<String> {
    let mut connect = Vec::new();
    for _ in 0..connects {
        let started = Instant::now();
        let connection = open(peer, remote, "open", Serialization::Binary).await?;
        connect.push(started.elapsed().as_secs_f64() * 1e3);
        connection.close();
    }
    let rtt = ping(peer, remote, pings).await?;
    let raw = bulk(peer, remote, Serialization::Raw, 64 << 10, megabytes).await?;
    let binary = bulk(peer, remote, Serialization::Binary, MIB, megabytes).await?;
    Ok(format!(
        r#"{{"connect":{connect:?},"rtt":{rtt:?},"raw64k":{raw:?},"binary1m":{binary:?}}}"#
    ))
}

async fn open(
    peer: &Peer,
    remote: &str,
    label: &str,
    serialization: Serialization,
) -> Outcome<DataConnection> {
    let connect = peer
        .connect(remote)
        .label(label)
        .reliable(true)
        .serialization(serialization);
    Ok(connect.await?)
}

/// Milliseconds from a one-character message to its echo.
async fn ping(peer: &Peer, remote: &str, pings: usize) -> Outcome<Vec<f64>> {
    let connection = open(peer, remote, "echo", Serialization::Raw).await?;
    let mut times = Vec::with_capacity(pings);
    for _ in 0..pings {
        let started = Instant::now();
        connection.send_text("x").await?;
        connection
            .recv()
            .await?
            .ok_or("the server closed the connection")?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    connection.close();
    Ok(times)
}

/// MiB a second from the first send to the server's word that all arrived.
async fn bulk(
    peer: &Peer,
    remote: &str,
    serialization: Serialization,
    frame: usize,
    megabytes: usize,
) -> Outcome<f64> {
    let total = megabytes * MIB;
    let connection = open(peer, remote, &format!("bulk:{total}"), serialization).await?;
    let payload = vec![7; frame];
    let started = Instant::now();
    for _ in 0..total / frame {
        connection.send_bytes(payload.clone()).await?;
    }
    connection
        .recv()
        .await?
        .ok_or("the server closed the connection")?;
    let seconds = started.elapsed().as_secs_f64();
    connection.close();
    Ok(megabytes as f64 / seconds)
}
