//! `peer broker` when something runs out.

use core::time::Duration;
use std::time::Instant;

use peer_net::Peer;
use peer_net::broker::BrokerClient;
use tokio::net::TcpStream;

use crate::process::{Outcome, Process, soon};
use crate::shared::{busy, limited};

#[tokio::test]
async fn a_broker_without_descriptors_says_so_and_serves_on() -> Outcome {
    let args = ["broker", "--port", "0", "--host", "127.0.0.1"];
    let args = [&args[..], &["--max_connections_per_address", "1000"]].concat();
    let mut process = Process::spawn(limited(&args, 40));
    let line = process.line().await;
    let url = line.split(' ').nth(2).expect("Listening on URL").to_owned();
    let address = url
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let alice = soon(Peer::builder().broker(&url).id("alice").open()).await?;
    let client = BrokerClient::new(url.parse()?)?;
    let (mut sender, mut receiver) = soon(client.connect("bob", "token")).await?.split();
    assert!(soon(receiver.next()).await.is_some(), "OPEN");
    let mut strangers = Vec::new();
    for _ in 0..60 {
        strangers.push(soon(TcpStream::connect(&address)).await?);
    }
    let told = process.told("no file descriptors").await;
    assert!(told.contains("ulimit -n"), "{told}");
    let (before, began) = (busy(&process.child), Instant::now());
    // Who is there is served, and nothing spins.
    let offer = r#"{"type":"CANDIDATE","payload":1,"dst":"bob"}"#;
    soon(sender.send(offer)).await?;
    let relayed = soon(receiver.next()).await.expect("it is relayed");
    assert!(relayed.starts_with(br#"{"type":"CANDIDATE""#));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (spent, passed) = (busy(&process.child) - before, began.elapsed());
    assert!(spent < passed / 2, "{spent:?} of {passed:?}");
    // Who waits is served once there is room.
    let waits = tokio::spawn(async move { client.retrieve_id().await });
    strangers.clear();
    assert_eq!(soon(waits).await??.len(), 36);
    assert!(alice.is_open());
    process.signal("TERM").await;
    let ended = process.ended().await;
    ended.assert_code(0);
    assert!(
        !ended.stderr.contains("no file descriptors"),
        "it says it once: {ended:#?}"
    );
    Ok(())
}
