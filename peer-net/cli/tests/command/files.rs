//! `peer receive` and strangers who know its id.

use core::future::IntoFuture as _;

use peer_net::{DataConnection, Peer, Serialization, Value};

use crate::process::{Folder, Outcome, Process, at, broker, peer, soon};

async fn connect(peer: &Peer) -> Result<DataConnection, peer_net::ConnectError> {
    let connecting = peer.connect("files").label("peer-file").reliable(true);
    soon(connecting.serialization(Serialization::Raw).into_future()).await
}

async fn offer(connection: &DataConnection, name: &str, size: u64, sha256: &str) -> Outcome {
    let offer = serde_json::json!({"type": "file", "name": name, "size": size, "sha256": sha256});
    Ok(connection.send_text(offer.to_string()).await?)
}

async fn answer(connection: &DataConnection) -> Result<serde_json::Value, peer_net::ReceiveError> {
    let answer = soon(connection.recv()).await?;
    let Some(Value::String(text)) = answer else {
        panic!("it answers with a text, not {answer:?}");
    };
    Ok(serde_json::from_str(&text).expect("JSON"))
}

fn sha256(data: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, data);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test]
async fn who_knows_the_checksum_writes_into_nothing_and_stops_nothing() -> Outcome {
    let broker = broker().await;
    let folder = Folder::new();
    let into = folder.path("new/folder");
    let mut receiver = Process::start(&["receive", "--id", "files", "--into", &into], &at(&broker));
    receiver.told("Ready").await;
    let content = b"the right content".repeat(1000);
    let sum = sha256(&content);
    let bob = connect(&peer(&broker).id("bob").open().await?).await?;
    offer(&bob, "a.bin", content.len() as u64, &sum).await?;
    assert_eq!(answer(&bob).await?["offset"], 0);
    bob.send_bytes(content[..9000].to_vec()).await?;
    // Another with the same checksum gets a file of its own, and neither ends the other.
    let mallory = connect(&peer(&broker).id("mallory").open().await?).await?;
    offer(&mallory, "a.bin", content.len() as u64, &sum).await?;
    assert_eq!(answer(&mallory).await?["offset"], 0);
    mallory.send_bytes(vec![b'!'; content.len() - 1]).await?;
    bob.send_bytes(content[9000..].to_vec()).await?;
    assert_eq!(answer(&bob).await?["type"], "done");
    mallory.send_bytes(b"!".to_vec()).await?;
    assert_eq!(answer(&mallory).await?["type"], "refuse");
    assert!(receiver.line().await.contains("a.bin"));
    assert!(std::fs::read(format!("{into}/a.bin"))? == content);

    // A second one in the folder would share its unfinished files.
    let second = Process::start(&["receive", "--into", &into], &at(&broker))
        .ended()
        .await;
    second.assert_code(6);
    assert!(
        second.stderr.contains("another peer receive"),
        "{}",
        second.stderr
    );
    receiver.signal("TERM").await;
    receiver.ended().await.assert_code(0);
    let names: Vec<_> = std::fs::read_dir(&into)?
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names, ["a.bin"], "nothing else is left");
    Ok(())
}

#[tokio::test]
async fn silent_senders_and_huge_offers_do_not_close_it() -> Outcome {
    let broker = broker().await;
    let folder = Folder::new();
    let into = folder.path("in");
    let mut receiver = Process::start(&["receive", "--id", "files", "--into", &into], &at(&broker));
    receiver.told("Ready").await;
    let huge = connect(&peer(&broker).open().await?).await?;
    for size in [u64::MAX, 5 << 30] {
        offer(&huge, "huge", size, &"0".repeat(64)).await?;
        let refused = answer(&huge).await?;
        assert_eq!(refused["type"], "refuse", "{refused}");
    }
    let mut silent = Vec::new();
    for number in 0..8 {
        let mallory = peer(&broker).open().await?;
        let connection = connect(&mallory).await?;
        offer(&connection, "a", 5, &sha256(&[number])).await?;
        assert_eq!(answer(&connection).await?["type"], "accept");
        silent.push((mallory, connection));
    }
    let bob = connect(&peer(&broker).id("bob").open().await?).await?;
    offer(&bob, "\u{202e}-b\u{1b}[31m.txt", 5, &sha256(b"hello")).await?;
    assert_eq!(answer(&bob).await?["type"], "accept");
    bob.send_bytes(b"hello".to_vec()).await?;
    assert_eq!(answer(&bob).await?["type"], "done");
    assert_eq!(std::fs::read(format!("{into}/b[31m.txt"))?, b"hello");
    Ok(())
}

#[tokio::test]
async fn names_that_nothing_is_left_of_get_another() -> Outcome {
    let broker = broker().await;
    let folder = Folder::new();
    let into = folder.path("in");
    let mut receiver = Process::start(&["receive", "--id", "files", "--into", &into], &at(&broker));
    receiver.told("Ready").await;
    let bob = connect(&peer(&broker).open().await?).await?;
    offer(&bob, "..", 1, &sha256(b"x")).await?;
    assert_eq!(answer(&bob).await?["type"], "accept");
    bob.send_bytes(b"x".to_vec()).await?;
    assert_eq!(answer(&bob).await?["type"], "done");
    let line = receiver.line().await;
    assert!(
        line.contains(&format!("file-{}", &sha256(b"x")[..12])),
        "{line}"
    );
    Ok(())
}
