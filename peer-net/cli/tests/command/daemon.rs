//! What is lost comes back.

use core::future::IntoFuture as _;

use crate::process::{Folder, Outcome, Process, at, broker, broker_at, peer, run, soon};

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

#[tokio::test]
async fn daemons_wait_for_a_broker_that_is_not_there_at_their_start() -> Outcome {
    let first = broker().await;
    let port = first.local_addr().port();
    let folder = Folder::new();
    let into = folder.path("in");
    let options = at(&first);
    first.shutdown().await;
    let mut plain = Process::start(&["listen", "--id", "plain"], &options);
    let mut files = Process::start(&["receive", "--id", "files", "--into", &into], &options);
    let mut json = Process::start(&["listen", "--json", "--id", "json"], &options);
    for process in [&mut plain, &mut files] {
        process.told("trying again").await;
    }
    assert_eq!(json.event("error").await["kind"], "network");
    // Whoever does not want to wait says so; whoever looks at it does not wait either.
    for args in [
        &["listen", "--no-reconnect"][..],
        &["listen", "--json", "--no-reconnect"],
        &["receive", "--no-reconnect", "--into", &folder.path("other")],
        &["connect", "bob"],
        &["connect", "bob", "--json"],
    ] {
        run(args, &options, "").await.assert_code(3);
    }
    // They end in order while they wait.
    let mut waits = Process::start(&["listen", "--id", "waits"], &options);
    waits.told("trying again").await;
    let mut destroyed = Process::start(&["listen", "--json", "--id", "destroyed"], &options);
    destroyed.event("error").await;
    destroyed.write("{\"destroy\":true}\n").await;
    let destroyed = destroyed.ended().await;
    destroyed.assert_code(0);
    assert_eq!(destroyed.events().pop().expect("a line")["event"], "close");
    waits.signal("TERM").await;
    waits.ended().await.assert_code(0);

    let second = broker_at(port).await;
    plain.told("Listening as plain").await;
    files.told("Ready").await;
    assert_eq!(json.event("open").await["id"], "json");
    // A broker that refuses is not asked again.
    for args in [
        &["listen", "--id", "plain"][..],
        &["listen", "--json", "--id", "plain"],
    ] {
        let refused = Process::start(args, &at(&second)).ended().await;
        refused.assert_code(3);
        assert!(!refused.stderr.contains("trying again"), "{refused:?}");
        assert!(refused.stderr.contains("could not open"), "{refused:?}");
    }
    for process in [plain, files, json] {
        process.signal("TERM").await;
        process.ended().await.assert_code(0);
    }
    Ok(())
}

#[tokio::test]
async fn connect_talks_on_while_the_broker_is_lost() -> Outcome {
    let first = broker().await;
    let port = first.local_addr().port();
    let bob = peer(&first).id("bob").open().await?;
    let mut process = Process::start(&["connect", "bob", "--id", "alice"], &at(&first));
    let connection = soon(bob.accept()).await.expect("it comes");
    first.shutdown().await;
    process.told("is lost").await;
    process.write("still here\n").await;
    assert_eq!(soon(connection.recv()).await?, Some("still here".into()));
    let second = broker_at(port).await;
    process.told("back at").await;
    connection.send("me too").await?;
    assert_eq!(process.line().await, "me too");
    process.ended().await.assert_code(0);
    drop(second);
    Ok(())
}
