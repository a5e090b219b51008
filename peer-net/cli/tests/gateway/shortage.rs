//! Without file descriptors.

use tokio::net::TcpStream;

use crate::command::{device, open};
use crate::process::{Folder, Process, config, leaf};
use crate::surroundings::{Outcome, bob, broker, from_bob, soon, talk, until};
use peer_core::link::LeafOutput;
use peer_core::peer::Event;
use peer_net::Serialization;

#[tokio::test]
async fn a_gateway_without_descriptors_says_so_and_serves_on() -> Outcome {
    let broker = broker().await;
    let folder = Folder::new();
    let limits = "[limits]\nunproven = 1000\n";
    let text = config(&broker, "") + &leaf("one", 1) + &leaf("two", 2) + limits;
    let mut process = Process::limited(&folder.file("gateway.toml", text), 60).await;
    let one = open(process.leaves[0], "one", 1).await;
    let bob = bob(&broker).await;
    let (theirs, ours) = from_bob(&bob, &one, "one", Serialization::Json).await;
    let mut strangers = Vec::new();
    for _ in 0..60 {
        strangers.push(soon(TcpStream::connect(process.leaves[0])).await?);
    }
    let told = process.told("no file descriptors").await;
    assert!(told.contains("ulimit -n"), "{told}");
    // So does its page.
    let browser = soon(TcpStream::connect(process.page.expect("it has one"))).await?;
    let told = process.told("a browser's connection").await;
    assert!(told.contains("no file descriptors"), "{told}");
    drop(browser);
    let (busy, began) = (process.busy(), std::time::Instant::now());
    // Who is there is served, and nothing spins.
    talk(&one, ours, &theirs).await?;
    tokio::time::sleep(core::time::Duration::from_secs(1)).await;
    let (busy, passed) = (process.busy() - busy, began.elapsed());
    assert!(busy < passed / 2, "{busy:?} of {passed:?}");
    // Who waits is let in once there is room.
    let two = device(process.leaves[0], "two", 2).await;
    strangers.clear();
    two.until(&LeafOutput::Event(Event::Open)).await;
    until(async || (process.status().await["present"] == 2).then_some(())).await;
    process.signal("TERM").await;
    let ended = process.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(
        !ended.stderr.contains("no file descriptors"),
        "it says it once: {ended:#?}"
    );
    Ok(())
}
