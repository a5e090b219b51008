//! What is lost comes back.

use core::future::IntoFuture as _;

use crate::process::{Folder, Outcome, Process, at, broker, broker_at, peer, soon};

#[tokio::test]
async fn listen_and_receive_come_back_to_a_lost_broker() -> Outcome {
    let first = broker().await;
    let port = first.local_addr().port();
    let folder = Folder::new();
    let into = folder.path("in");
    let options = at(&first);
    let mut plain = Process::start(&["listen", "--id", "plain"], &options);
    plain.told("Listening").await;
    let mut files = Process::start(&["receive", "--id", "files", "--into", &into], &options);
    files.told("Ready").await;
    let mut json = Process::start(&["listen", "--json", "--id", "json"], &options);
    json.event("open").await;
    let mut once = Process::start(&["listen", "--id", "once", "--no-reconnect"], &options);
    once.told("Listening").await;

    first.shutdown().await;
    for process in [&mut plain, &mut files] {
        process.told("is lost").await;
    }
    json.event("disconnected").await;
    let ended = once.ended().await;
    ended.assert_code(3);
    assert!(ended.stderr.contains("is lost"), "{}", ended.stderr);

    let second = broker_at(port).await;
    assert!(plain.told("back at").await.contains("plain"));
    assert!(files.told("back at").await.contains("files"));
    assert_eq!(json.event("open").await["id"], "json");
    let bob = peer(&second).open().await?;
    let connection = soon(bob.connect("plain").into_future()).await?;
    connection.send("hello again").await?;
    assert_eq!(plain.line().await, "hello again");
    for process in [plain, files, json] {
        process.signal("TERM").await;
        process.ended().await.assert_code(0);
    }
    Ok(())
}

#[tokio::test]
async fn who_lost_power_gets_its_id_back_at_once() -> Outcome {
    let broker = broker().await;
    let folder = Folder::new();
    let state = folder.path("state");
    let args = ["listen", "--json", "--state", &state];
    let mut process = Process::start(&args, &at(&broker));
    let id = process.event("open").await["id"].clone();
    // A second one with that state would throw the first one out.
    let second = Process::start(&args, &at(&broker)).ended().await;
    second.assert_code(6);
    assert!(
        second.stderr.contains("another process"),
        "{}",
        second.stderr
    );
    process.signal("KILL").await;
    assert_eq!(process.ended().await.code, None);
    let mut again = Process::start(&args, &at(&broker));
    assert_eq!(again.event("open").await["id"], id);
    again.signal("TERM").await;
    again.ended().await.assert_code(0);
    Ok(())
}

#[tokio::test]
async fn send_goes_on_after_broker_and_receiver_were_gone_together() -> Outcome {
    let first = broker().await;
    let port = first.local_addr().port();
    let folder = Folder::new();
    let (into, state) = (folder.path("in"), folder.path("state"));
    let content: Vec<u8> = (0..40_000_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761) as u8)
        .collect();
    let file = folder.file("large.bin", &content);
    let receive = [
        "receive", "--into", &into, "--id", "files", "--state", &state,
    ];
    let options = at(&first);
    let mut receiver = Process::start(&receive, &options);
    receiver.told("Ready").await;
    let mut sender = Process::start(&["send", "files", &file], &options);
    // Something has arrived.
    let partials = std::path::Path::new(&into).join(".peer-receive");
    soon(async {
        loop {
            let there = std::fs::read_dir(&partials).into_iter().flatten().flatten();
            if there
                .filter_map(|entry| entry.metadata().ok())
                .any(|file| file.len() > 500_000)
            {
                return;
            }
            tokio::time::sleep(core::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    receiver.signal("KILL").await;
    drop(receiver);
    first.shutdown().await;
    sender.told("trying again").await;
    let second = broker_at(port).await;
    let mut receiver = Process::start(&receive, &at(&second));
    receiver.told("Ready").await;
    let line = receiver.line().await;
    assert!(line.contains("large.bin"), "{line}");
    sender.ended().await.assert_code(0);
    assert!(std::fs::read(format!("{into}/large.bin"))? == content);
    receiver.signal("TERM").await;
    receiver.ended().await.assert_code(0);
    Ok(())
}
