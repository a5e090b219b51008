//! `--json`: its lines and how it ends.

use core::future::IntoFuture as _;
use std::fs::File;
use std::process::Stdio;

use peer_net::broker::BrokerClient;
use serde_json::{Value, json};

use crate::process::{Outcome, Process, at, broker, command, peer, run, soon, stacks};

#[tokio::test]
async fn its_exit_status_is_that_of_the_contract() -> Outcome {
    let broker = broker().await;
    let nobody = run(&["connect", "nobody", "--json"], &at(&broker), "").await;
    nobody.assert_code(4);
    let about = |event: &&Value| event["connection"].is_string();
    let events = nobody.events();
    let kinds: Vec<_> = events
        .iter()
        .filter(about)
        .map(|e| e["event"].clone())
        .collect();
    assert_eq!(kinds, ["connection", "error"]);
    assert_eq!(events.last(), Some(&json!({"event": "close"})));

    // Nobody listens there.
    let gone = at(&broker);
    broker.shutdown().await;
    for command in ["listen", "connect"] {
        let args: &[&str] = match command {
            "connect" => &["connect", "bob", "--json"],
            _ => &["listen", "--json", "--no-reconnect"],
        };
        let ended = run(args, &gone, "").await;
        ended.assert_code(3);
        assert_eq!(ended.events().last(), Some(&json!({"event": "close"})));
        assert!(
            ended.stderr.contains("could not open at"),
            "{}",
            ended.stderr
        );
    }
    for args in [
        &["listen", "--json", "--id", "-a-"][..],
        &["listen", "--id", "-a-"],
        &["connect", "bob", "--json", "--id", "-a-"],
        &["connect", "bob", "--metadata", "{"],
        &["listen", "--broker", "ftp://a"],
    ] {
        let more = if args.contains(&"--broker") {
            &[][..]
        } else {
            &gone
        };
        run(args, more, "").await.assert_code(2);
    }
    Ok(())
}

/// An end that was asked for is no failure of the connection that it cuts off.
#[tokio::test]
async fn an_end_that_was_asked_for_is_status_0_whatever_still_opens() -> Outcome {
    let broker = broker().await;
    for by_line in [true, false] {
        // There is somebody of that id, who never answers.
        let client = BrokerClient::new(broker.url().parse()?)?;
        let mute = soon(client.connect("mute", "token")).await?;
        let args = ["connect", "mute", "--json"];
        let mut process = Process::start(&args, &at(&broker));
        process.event("connection").await;
        if by_line {
            process.write("{\"destroy\":true}\n").await;
        } else {
            process.signal("INT").await;
        }
        process.ended().await.assert_code(0);
        drop(mute);
    }
    Ok(())
}

#[tokio::test]
async fn commands_are_answered_with_their_tags() -> Outcome {
    let broker = broker().await;
    let bob = peer(&broker).id("bob").open().await?;
    let mut process = Process::start(&["listen", "--json", "--id", "alice"], &at(&broker));
    process.event("open").await;

    process
        .write("{\"connect\":\"bob\",\"destroy\":true,\"tag\":1}\n")
        .await;
    let error = process.event("error").await;
    assert_eq!(
        (&error["kind"], &error["tag"]),
        (&json!("bad-command"), &json!(1))
    );
    process
        .write("{\"send\":1,\"tag\":[2]}\n{\"connect\":\"\",\"tag\":3}\n")
        .await;
    assert_eq!(process.event("error").await["tag"], json!([2]));
    let error = process.event("error").await;
    assert_eq!(
        (&error["kind"], &error["tag"]),
        (&json!("invalid-id"), &json!(3))
    );

    let mut remotes = Vec::new();
    let mut names = Vec::new();
    for tag in ["a", "b"] {
        process
            .write(format!("{{\"connect\":\"bob\",\"tag\":\"{tag}\"}}\n"))
            .await;
        let announced = process.event("connection").await;
        assert_eq!(announced["tag"], tag);
        remotes.push(soon(bob.accept()).await.expect("it comes"));
        let opened = process.event("connection-open").await;
        assert_eq!(opened["connection"], announced["connection"]);
        assert_eq!(opened["stack"], stacks()[0].name());
        names.push(opened["connection"].as_str().expect("a name").to_owned());
    }
    // Several, and none is named.
    process.write("{\"send\":5}\n").await;
    assert_eq!(process.event("error").await["kind"], "bad-command");
    // To all.
    process
        .write("{\"send\":{\"to\":\"all\"},\"connection\":\"*\",\"tag\":7}\n")
        .await;
    for remote in &remotes {
        let value = soon(remote.recv()).await?.expect("it comes");
        assert_eq!(value["to"].as_str(), Some("all"));
    }
    for _ in &remotes {
        assert_eq!(process.event("sent").await["tag"], 7);
    }
    // An object with a key that serde_json keeps for itself is one like any other.
    let odd = r#"{"$serde_json::private::RawValue":"[1]"}"#;
    process
        .write(format!(
            "{{\"send\":{odd},\"connection\":\"{}\"}}\n",
            names[0]
        ))
        .await;
    let value = soon(remotes[0].recv()).await?.expect("it comes");
    assert_eq!(
        value["$serde_json::private::RawValue"].as_str(),
        Some("[1]")
    );
    remotes[0].send(&value).await?;
    // As text: serde_json, with the features of this workspace, reads such an object as another
    // value.
    let line = process.line().await;
    assert!(line.ends_with(&format!("\"data\":{odd}}}")), "{line}");

    process
        .write(format!("{{\"close\":\"{}\",\"tag\":8}}\n", names[0]))
        .await;
    let closed = process.event("connection-close").await;
    assert_eq!(closed["tag"], 8);
    assert_eq!(
        (&closed["side"], &closed["connection"]),
        (&json!("local"), &json!(names[0]))
    );
    assert!(
        closed["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty())
    );
    remotes[1].close();
    let closed = process.event("connection-close").await;
    assert_eq!(
        (&closed["side"], &closed["connection"]),
        (&json!("remote"), &json!(names[1]))
    );
    process.write("{\"destroy\":true,\"tag\":9}\n").await;
    assert_eq!(process.event("close").await["tag"], 9);
    process.ended().await.assert_code(0);
    Ok(())
}

#[tokio::test]
async fn a_line_that_is_too_long_is_an_error_and_the_next_one_counts() -> Outcome {
    let broker = broker().await;
    let mut process = Process::start(&["listen", "--json"], &at(&broker));
    process.event("open").await;
    let block = vec![b'x'; 1 << 20];
    for _ in 0..97 {
        process.write(&block).await;
    }
    process.write("\n{\"destroy\":true}\n").await;
    let error = process.event("error").await;
    assert_eq!(error["kind"], "bad-command");
    process.event("close").await;
    process.ended().await.assert_code(0);
    Ok(())
}

#[tokio::test]
async fn a_reader_that_goes_ends_it_without_a_panic() -> Outcome {
    let broker = broker().await;
    for args in [&["listen", "--json"][..], &["listen", "--echo"]] {
        let bob = peer(&broker).open().await?;
        let args = [args, &["--id", "reader"]].concat();
        let mut process = Process::start(&args, &at(&broker));
        if args.contains(&"--json") {
            process.event("open").await;
        } else {
            process.told("Listening").await;
        }
        process.close_stdout();
        let connection = soon(bob.connect("reader").into_future()).await?;
        connection.send("hello").await?;
        let ended = process.ended().await;
        ended.assert_code(1);
        assert!(
            ended.stderr.contains("nobody reads stdout"),
            "{}",
            ended.stderr
        );
    }
    // A full disk.
    for args in [&["listen", "--json"][..], &["broker", "--port", "0"]] {
        let more = if args[0] == "broker" {
            Vec::new()
        } else {
            at(&broker)
        };
        let mut command = command(args, &more);
        command.stdout(Stdio::from(File::options().write(true).open("/dev/full")?));
        let ended = Process::spawn(command).ended().await;
        ended.assert_code(1);
        assert!(ended.stderr.contains("No space left"), "{}", ended.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn destroy_does_not_wait_for_a_congested_send() -> Outcome {
    let broker = broker().await;
    let bob = peer(&broker).id("deaf").open().await?;
    let args = ["connect", "deaf", "--json", "--reliable"];
    let mut process = Process::start(&args, &at(&broker));
    // It never reads.
    let _connection = soon(bob.accept()).await.expect("it comes");
    process.event("connection-open").await;
    let line = format!("{{\"send\":\"{}\"}}\n", "x".repeat(100_000));
    for _ in 0..200 {
        process.write(&line).await;
    }
    process.write("{\"destroy\":true}\n").await;
    process.event("close").await;
    process.ended().await.assert_code(0);
    Ok(())
}

#[tokio::test]
async fn messages_that_cannot_be_read_and_warnings_are_events() -> Outcome {
    let broker = broker().await;
    let bob = peer(&broker).open().await?;
    let passed_over = ["--ice-server", "stuns:192.0.2.1:5349"];
    let args = [&["listen", "--json", "--id", "reads"], &passed_over[..]].concat();
    let mut process = Process::start(&args, &at(&broker));
    // Warned of at the start by one stack, and by the other when it is asked for a connection.
    let (mut connection, mut warning) = (None, None);
    while connection.is_none() || warning.is_none() {
        let event: Value = serde_json::from_str(&process.line().await).expect("JSON");
        match event["event"].as_str() {
            Some("open") => {
                let connecting = bob
                    .connect("reads")
                    .serialization(peer_net::Serialization::Raw);
                connection = Some(soon(connecting.into_future()).await?);
            }
            Some("warning") => warning = Some(event),
            _ => {}
        }
    }
    let warning = warning.expect("it came");
    assert!(
        warning["message"]
            .as_str()
            .is_some_and(|text| text.contains("stuns:")),
        "{warning}"
    );
    drop(connection);
    Ok(())
}

/// Memory at its peak, in KiB.
fn peak(process: &Process) -> u64 {
    let id = process.child.id().expect("it lives");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a number")
}

#[tokio::test]
async fn nothing_grows_while_nobody_reads_and_nothing_is_lost() -> Outcome {
    const MESSAGES: usize = 30;
    const CHARACTERS: usize = 2_000_000;
    let broker = broker().await;
    let bob = peer(&broker).open().await?;
    let mut process = Process::start(&["listen", "--json", "--id", "unread"], &at(&broker));
    process.event("open").await;
    let connection = soon(bob.connect("unread").reliable(true).into_future()).await?;
    // Each of them is six characters as JSON: 360 MB in all.
    let text = "\u{1}".repeat(CHARACTERS);
    let sending = async {
        for _ in 0..MESSAGES {
            connection.send(&text).await?;
        }
        Ok::<_, peer_net::SendError>(())
    };
    let mut sending = core::pin::pin!(sending);
    // Until the sender gets on no more.
    let mut before = usize::MAX;
    loop {
        let wait = core::time::Duration::from_secs(3);
        let ended = tokio::time::timeout(wait, &mut sending).await;
        assert!(ended.is_err(), "the sender has to wait");
        if connection.buffered_amount() == before {
            break;
        }
        before = connection.buffered_amount();
    }
    let peak = peak(&process);
    assert!(peak < 150 << 10, "{peak} KiB");
    let reading = async {
        for _ in 0..MESSAGES {
            let line = loop {
                let line = process.line().await;
                if line.contains("\"data\"") {
                    break line;
                }
            };
            assert!(line.len() > 6 * CHARACTERS);
        }
    };
    let (sent, ()) = tokio::join!(sending, reading);
    sent?;
    Ok(())
}
