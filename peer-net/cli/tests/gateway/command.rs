//! `peer gateway`, as people and scripts meet it.

use core::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use peer_core::link::{LeafOutput, LinkError};
use peer_core::peer::Event;
use peer_net::broker::{Broker, BrokerOptions, Ssl};
use peer_net::{Peer, Serialization};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use crate::device::{Device, timing};
use crate::process::{Folder, Process, config, leaf, run};
use crate::surroundings::{Outcome, bob, broker, broker_at, from_bob, rtc, soon, talk, until};

pub(crate) async fn device(address: SocketAddr, name: &str, key: u8) -> Device {
    let stream = soon(TcpStream::connect(address)).await;
    Device::start(stream.expect("it listens"), name, key, name, timing())
}

pub(crate) async fn open(address: SocketAddr, name: &str, key: u8) -> Device {
    let device = device(address, name, key).await;
    device.until(&LeafOutput::Event(Event::Open)).await;
    device
}

async fn until_status(process: &Process, wanted: impl Fn(&Value) -> bool) -> Value {
    until(async || Some(process.status().await).filter(|status| wanted(status))).await
}

#[tokio::test]
async fn it_says_when_it_is_ready_and_shows_every_leaf() -> Outcome {
    let broker = broker().await;
    let folder = Folder::new();
    folder.file("two.key", format!("{}\n", "02".repeat(32)));
    let leaves = leaf("one", 1) + "[[leaf]]\nname = 'two'\nkey_file = 'two.key'\nids = ['*']\n";
    let text = config(&broker, "") + &leaves + "[[serial]]\npath = '/nowhere/tty'\n";
    let process = Process::start(&folder.file("gateway.toml", text)).await;
    assert_eq!(process.leaves.len(), 1);

    let (head, body) = process.get("/").await;
    assert!(
        head.contains("text/html") && head.contains("no-store"),
        "{head}"
    );
    assert!(body.contains("Content-Security-Policy"));
    for path in ["/page.js", "/style.css"] {
        assert!(body.contains(&path[1..]), "the page wants {path}");
        assert!(process.get(path).await.0.starts_with("HTTP/1.1 200"));
    }
    assert!(
        process
            .get("/gateway.toml")
            .await
            .0
            .starts_with("HTTP/1.1 404")
    );

    let bob = bob(&broker).await;
    let one = open(process.leaves[0], "one", 1).await;
    let (theirs, ours) = from_bob(&bob, &one, "one", Serialization::Json).await;
    talk(&one, ours, &theirs).await?;
    let wrong = device(process.leaves[0], "two", 9).await;
    wrong.until(&LeafOutput::Refused(LinkError::Key)).await;
    drop(wrong);
    let status = until_status(&process, |status| status["refused"]["key"] != 0).await;
    assert_eq!(
        (&status["present"], &status["limit"]),
        (&1.into(), &32.into())
    );
    assert_eq!(status["absent"][0]["line"], "serial /nowhere/tty");
    let url = broker.url();
    assert!(url.contains(status["broker"].as_str().expect("a text")));
    let [one, two] = &status["leaves"].as_array().expect("a list")[..] else {
        panic!("there are two leaves");
    };
    assert_eq!((&one["name"], &one["id"]), (&"one".into(), &"one".into()));
    assert_eq!(
        (&one["present"], &one["broker"]),
        (&true.into(), &"connected".into())
    );
    assert_eq!(
        (&one["arrivals"], &one["link"]["sessions"]),
        (&1.into(), &1.into())
    );
    assert!(one["link"]["bytes_received"].as_u64() > Some(0));
    assert!(
        one["line"]
            .as_str()
            .expect("a text")
            .starts_with("tcp 127.0.0.1:")
    );
    let connection = &one["connections"][0];
    assert_eq!(
        (&connection["peer"], &connection["state"]),
        (&"bob".into(), &"open".into())
    );
    assert_eq!(connection["label"], theirs.label());
    assert_eq!(
        (
            &connection["messages_sent"],
            &connection["messages_received"]
        ),
        (&1.into(), &1.into())
    );
    assert!(connection["bytes_sent"].as_u64() > Some(0));
    assert_eq!(
        (&two["name"], &two["present"]),
        (&"two".into(), &false.into())
    );
    // No key is told.
    assert!(!status.to_string().contains("0101"));
    Ok(())
}

#[tokio::test]
async fn sighup_reads_the_configuration_again() -> Outcome {
    let broker = broker().await;
    let folder = Folder::new();
    let write = |text: String| folder.file("gateway.toml", text);
    let path = write(config(&broker, "") + &leaf("one", 1) + &leaf("two", 2));
    let mut process = Process::start(&path).await;
    let bob = bob(&broker).await;
    let first = process.leaves[0];
    let one = open(first, "one", 1).await;
    let two = open(first, "two", 2).await;
    let (to_one, ours) = from_bob(&bob, &one, "one", Serialization::Json).await;
    let (to_two, _) = from_bob(&bob, &two, "two", Serialization::Json).await;

    // One leaf goes, one comes.
    write(config(&broker, "") + &leaf("one", 1) + &leaf("three", 3));
    let told = process.reload().await;
    assert_eq!(told, format!("Reloaded {}: 2 leaves.", path));
    assert_eq!(process.leaves, [first]);
    soon(to_two.closed()).await;
    two.until(&LeafOutput::Refused(LinkError::UnknownLeaf))
        .await;
    let three = open(first, "three", 3).await;
    talk(&one, ours, &to_one).await?;

    // Another key.
    write(config(&broker, "") + &leaf("one", 1) + &leaf("three", 4));
    process.reload().await;
    three.down().await;
    three.until(&LeafOutput::Refused(LinkError::Key)).await;
    open(first, "three", 4).await;
    talk(&one, ours, &to_one).await?;

    // A mistake: nothing changes, and all that was goes on.
    write(config(&broker, "lisn = []") + &leaf("two", 2));
    let refused = process.refuse().await;
    for words in [&path, "line 4", "`lisn`", "nothing has changed"] {
        assert!(refused.contains(words), "{refused}");
    }
    std::fs::remove_file(&path)?;
    let refused = process.refuse().await;
    assert!(refused.contains("cannot be read"), "{refused}");
    let taken = TcpListener::bind("127.0.0.1:0").await?;
    let elsewhere = format!("listen = ['{}']", taken.local_addr()?);
    write(config(&broker, "").replace("listen = ['127.0.0.1:0']", &elsewhere));
    let refused = process.refuse().await;
    assert!(
        refused.contains(&taken.local_addr()?.to_string()),
        "{refused}"
    );
    talk(&one, ours, &to_one).await?;
    open(first, "three", 4).await;

    // Other addresses. Who is there stays.
    let moved = config(&broker, "").replace("127.0.0.1:0", "127.0.0.2:0");
    write(moved + &leaf("one", 1) + &leaf("three", 4));
    let old_page = process.page.expect("it has one");
    process.reload().await;
    let [now] = process.leaves[..] else {
        panic!("it listens on one address");
    };
    assert!(now.to_string().starts_with("127.0.0.2:"));
    for gone in [first, old_page] {
        until(async || TcpStream::connect(gone).await.err()).await;
    }
    open(now, "three", 4).await;
    talk(&one, ours, &to_one).await?;
    until_status(&process, |status| status["present"] == 1).await;

    write(config(&broker, "").replace("'127.0.0.1:0'\n\n", "'off'\n\n") + &leaf("one", 1));
    assert!(process.reload().await.ends_with(": 1 leaf."));
    assert_eq!(process.page, None);
    talk(&one, ours, &to_one).await?;
    Ok(())
}

#[tokio::test]
async fn sigterm_and_sigint_end_it_in_order() -> Outcome {
    let broker = broker().await;
    let folder = Folder::new();
    let text = config(&broker, "") + &leaf("one", 1) + &leaf("two", 2);
    let path = folder.file("gateway.toml", text);
    let bob = bob(&broker).await;
    for signal in ["TERM", "INT"] {
        let process = Process::start(&path).await;
        let one = open(process.leaves[0], "one", 1).await;
        let (theirs, ours) = from_bob(&bob, &one, "one", Serialization::Json).await;
        // One that hears nothing any more, and a stranger, hold nothing up.
        let deaf = open(process.leaves[0], "two", 2).await;
        deaf.deaf().await;
        let stranger = TcpStream::connect(process.leaves[0]).await?;
        let signalled = tokio::time::Instant::now();
        process.signal(signal).await;
        let ended = process.ended().await;
        assert_eq!((ended.code, &ended.stderr[..]), (Some(0), ""), "{ended:?}");
        // Its own bound is five seconds; a busy machine is given more.
        assert!(
            signalled.elapsed().as_secs() < 30,
            "{:?}",
            signalled.elapsed()
        );
        one.down().await;
        one.connection_closed(ours).await;
        soon(theirs.closed()).await;
        drop(stranger);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_said_in_a_sentence() -> Outcome {
    let broker = broker().await;
    let taken = TcpListener::bind("127.0.0.1:0").await?;
    let taken = taken.local_addr()?.to_string();
    let good = config(&broker, "");
    let folder = Folder::new();
    folder.file("short.key", "00ff");
    let with = |rest: &str| format!("{}{rest}", good);
    let line = |number: usize| format!("line {}:", good.lines().count() + number);
    let cases = [
        (
            String::new(),
            vec!["line 1:".to_owned(), "`broker`".to_owned()],
        ),
        ("broker = ".to_owned(), vec!["line 1".to_owned()]),
        (
            good.replace("broker = 'http", "broker = 'ftp"),
            vec!["line 1:".into(), "ws://".into()],
        ),
        (
            good.replace("listen = ['127.0.0.1:0']", "listen = ['localhost']"),
            vec![
                "line 2:".into(),
                "'localhost'".into(),
                "127.0.0.1:7400".into(),
            ],
        ),
        (
            good.replace("listen = ['127.0.0.1:0']", &format!("listen = ['{taken}']")),
            vec![taken.clone(), "free address".into()],
        ),
        (
            good.replace("status = '127.0.0.1:0'", &format!("status = '{taken}'")),
            vec![taken.clone(), "`status`".into()],
        ),
        (
            good.replace("status = '127.0.0.1:0'", "status = 'on'"),
            vec!["line 3:".into(), "'on'".into()],
        ),
        (
            good.replace("['127.0.0.1']", "['there']"),
            vec!["line 7:".into(), "IP address".into()],
        ),
        (
            good.replace("loopback = true", "loopback = 1"),
            vec!["line 6:".into(), "true or false".into()],
        ),
        (
            good.replace("listen =", "cafile = 'none.pem'\nlisten ="),
            vec!["line 2:".into(), "none.pem".into()],
        ),
        (
            good.replace("listen =", "cafile = 'short.key'\nlisten ="),
            vec!["line 2:".into(), "short.key".into(), "certificate".into()],
        ),
        (
            with("[[leaf]]\nname = 'a'\nkey = 'abc'\n"),
            vec![line(3), "openssl rand -hex 32".into()],
        ),
        (
            with("[[leaf]]\nname = 'a'\nkey_file = 'short.key'\n"),
            vec![line(3), "short.key".into(), "openssl".into()],
        ),
        (
            with("[[leaf]]\nname = 'a'\nkey_file = 'none.key'\n"),
            vec![line(3), "none.key".into()],
        ),
        (
            with("[[leaf]]\nname = 'a'\n"),
            vec![line(1), "'a' needs".into(), "key_file".into()],
        ),
        (
            with(&(leaf("a", 1) + &leaf("a", 2))),
            vec![line(6), "two leaves named 'a'".into()],
        ),
        (
            with(&leaf("a", 7)),
            vec![
                "'a'".into(),
                "example".into(),
                "openssl rand -hex 32".into(),
            ],
        ),
        (
            with("[limits]\nleaves = 0\n"),
            vec![line(2), "`leaves`".into(), "raise it".into()],
        ),
        (
            with("[limits]\nbytes = 1024\n"),
            vec![line(2), "2097152".into()],
        ),
        (
            with("[limits]\nconnections = 1000\n"),
            vec![line(2), "256".into()],
        ),
        (
            with("[limits]\nstall = -1\n"),
            vec![line(2), "seconds".into()],
        ),
        (
            with("[[serial]]\nspeed = 9600\n"),
            vec![line(1), "`path`".into()],
        ),
        (
            with("[[serial]]\npath = 'p'\nspeed = 0\n"),
            vec![line(3), "`speed`".into()],
        ),
        (
            with("[[ice_server]]\nurls = 'stun.example.org'\n"),
            vec![line(1), "stun:".into()],
        ),
        (
            with("[[leef]]\n"),
            vec![line(1), "`leef`".into(), "`leaf`".into()],
        ),
    ];
    for (text, words) in cases {
        let path = folder.file("gateway.toml", &text);
        let ended = run(&["gateway", "--config", &path]).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{text}\n{ended:?}"
        );
        assert_sentence(&ended.stderr);
        // Addresses are found out to be taken when they are; all else is of the file.
        let of_file = (!ended.stderr.contains(&taken)).then(|| path.clone());
        for words in words.iter().chain(&of_file) {
            assert!(
                ended.stderr.contains(words),
                "{words} is not in: {}",
                ended.stderr
            );
        }
    }

    // Files that cannot be read.
    let binary = folder.file("binary.toml", [0xFF, 0xFE]);
    let nowhere = folder.path("nowhere.toml");
    for path in [&binary, &nowhere, &folder.path("")] {
        let ended = run(&["gateway", "--config", path]).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(6), ""),
            "{ended:?}"
        );
        assert_sentence(&ended.stderr);
        assert!(ended.stderr.contains(path), "{}", ended.stderr);
    }
    // No file at all.
    let ended = run(&["gateway"]).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("--config"), "{}", ended.stderr);
    // Only looked at.
    let path = folder.file("gateway.toml", &good);
    let ended = run(&["gateway", "--check", "--config", &path]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(ended.stdout, format!("{path} can be used.\n"));
    // And so are the certificates that the command line names.
    let cafile = folder.path("short.key");
    let check = ["gateway", "--check", "--config", &path, "--cafile", &cafile];
    let ended = run(&check).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert_sentence(&ended.stderr);
    let told = &ended.stderr;
    assert!(
        told.contains(&cafile) && told.contains("certificate"),
        "{told}"
    );
    Ok(())
}

#[tokio::test]
async fn keys_that_others_may_read_are_warned_of() -> Outcome {
    let broker = broker().await;
    let folder = Folder::new();
    let key = folder.file("two.key", format!("{}\n", "02".repeat(32)));
    let leaves = "[[leaf]]\nname = 'two'\nkey_file = 'two.key'\nids = ['*']\n";
    let path = folder.file("gateway.toml", config(&broker, "") + leaves);
    let check = ["gateway", "--check", "--config", &path];
    let ended = run(&check).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644))?;
    let ended = run(&check).await;
    assert_eq!(ended.code, Some(0));
    assert_sentence(&ended.stderr);
    assert!(ended.stderr.contains("chmod 600") && ended.stderr.contains("two.key"));
    Ok(())
}

#[tokio::test]
async fn the_page_answers_no_other_site() -> Outcome {
    let broker = broker().await;
    let folder = Folder::new();
    let process = Process::start(&folder.file("gateway.toml", config(&broker, ""))).await;
    for (host, status) in [
        ("evil.example.org", "HTTP/1.1 421"),
        ("evil.example.org:7480", "HTTP/1.1 421"),
        ("localhost:7480", "HTTP/1.1 200"),
        ("gateway.local", "HTTP/1.1 200"),
        ("[::1]:7480", "HTTP/1.1 200"),
    ] {
        let (head, _) = process.get_as("/status.json", host).await;
        assert!(head.starts_with(status), "{host}: {head}");
    }
    Ok(())
}

#[tokio::test]
async fn leaves_come_back_to_a_lost_broker_and_gateway() -> Outcome {
    // The gateway is there before the broker is.
    let first = broker().await;
    let port = first.local_addr().port();
    let folder = Folder::new();
    let path = folder.file("gateway.toml", config(&first, "") + &leaf("one", 1));
    first.shutdown().await;
    let process = Process::start(&path).await;
    let one = device(process.leaves[0], "one", 1).await;
    // A leaf asks again by itself, as the firmware of the example does.
    let back = async || {
        loop {
            one.with(|engine, now| engine.reconnect(now)).await?;
            let opens = |output: &LeafOutput| match output {
                LeafOutput::Event(Event::Open) => Some(true),
                LeafOutput::Event(Event::Disconnected) => Some(false),
                _ => None,
            };
            if one.find(opens).await {
                return Ok::<_, peer_core::peer::ConnectError>(());
            }
        }
    };
    one.until(&LeafOutput::Event(Event::Disconnected)).await;
    let second = broker_at(port).await;
    back().await?;
    let bob = bob(&second).await;
    let (theirs, ours) = from_bob(&bob, &one, "one", Serialization::Json).await;
    talk(&one, ours, &theirs).await?;

    // The broker is lost: what is connected lives on, and new ones come once it is back.
    second.shutdown().await;
    one.until(&LeafOutput::Event(Event::Disconnected)).await;
    talk(&one, ours, &theirs).await?;
    let third = broker_at(port).await;
    back().await?;
    talk(&one, ours, &theirs).await?;
    let carol = Peer::builder().broker(third.url()).rtc(rtc()).id("carol");
    let carol = soon(carol.open()).await?;
    let (theirs, ours) = from_bob(&carol, &one, "one", Serialization::Json).await;
    talk(&one, ours, &theirs).await?;
    until_status(&process, |status| {
        status["leaves"][0]["broker"] == "connected"
    })
    .await;

    // The gateway loses power: the leaf of before has its id again at once.
    process.signal("KILL").await;
    one.down().await;
    drop(process);
    let process = Process::start(&path).await;
    let again = open(process.leaves[0], "one", 1).await;
    let (theirs, ours) = from_bob(&carol, &again, "one", Serialization::Json).await;
    talk(&again, ours, &theirs).await
}

#[tokio::test]
async fn a_broker_with_a_certificate_of_its_own_is_trusted_where_that_is_named() -> Outcome {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (cert, key) = (made.cert.pem(), made.key_pair.serialize_pem());
    let folder = Folder::new();
    let cafile = folder.file("broker.pem", &cert);
    let options = BrokerOptions {
        ssl: Some(Ssl {
            cert: cert.into_bytes(),
            key: key.into_bytes(),
        }),
        ..BrokerOptions::default()
    };
    let broker = Broker::bind("127.0.0.1:0", options).await?;
    let leaves = leaf("one", 1) + &leaf("two", 2) + &leaf("three", 3);
    let plain = config(&broker, "") + &leaves;
    let path = folder.file("gateway.toml", &plain);

    // Not named: not trusted.
    let mut process = Process::start(&path).await;
    let one = device(process.leaves[0], "one", 1).await;
    one.until(&LeafOutput::Event(Event::Disconnected)).await;
    // Named in the file, which is read again.
    folder.file(
        "gateway.toml",
        plain.replace("listen =", "cafile = 'broker.pem'\nlisten ="),
    );
    process.reload().await;
    open(process.leaves[0], "two", 2).await;
    // Named on the command line.
    folder.file("gateway.toml", &plain);
    let process = Process::start_with(&path, &["--cafile", &cafile]).await;
    open(process.leaves[0], "three", 3).await;
    let nothing = folder.path("nothing.pem");
    let ended = run(&["gateway", "--config", &path, "--cafile", &nothing]).await;
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(ended.stderr.contains("nothing.pem"), "{ended:?}");
    Ok(())
}

/// One line, for people: nothing that only Rust understands.
fn assert_sentence(text: &str) {
    let line = text.strip_prefix("peer: ").unwrap_or_default();
    assert_eq!(line.lines().count(), 1, "{text}");
    for dump in ["Error", "{ ", "Some(", "None", "Os {", "panicked", "Io("] {
        assert!(!line.contains(dump), "{dump} is in: {text}");
    }
}
