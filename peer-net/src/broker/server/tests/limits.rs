//! What a client, an address and all of them together may cost at most.

use super::*;

#[tokio::test]
async fn unfinished_messages_are_bounded_over_all_clients() {
    let limits = BrokerLimits {
        incoming_bytes: 600_000,
        ..BrokerLimits::default()
    };
    let broker = bind(BrokerOptions {
        limits,
        ..BrokerOptions::default()
    })
    .await;
    let mut one = websocket(&broker, "key=peerjs&id=one&token=t").await;
    let mut two = websocket(&broker, "key=peerjs&id=two&token=t").await;
    for (socket, before) in [(&mut one, 0), (&mut two, 180_000)] {
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(OPEN));
        until(|| broker.hub.incoming.used() >= before).await;
        // A frame of 500,000 bytes, of which 200,000 come.
        let stream = socket.get_mut();
        stream
            .write_all(b"\x81\xff\0\0\0\0\0\x07\xa1\x20\0\0\0\0")
            .await
            .unwrap();
        stream.write_all(&[b' '; 200_000]).await.unwrap();
    }
    let end = timeout(PATIENCE, two.next()).await.expect("an end in time");
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    until(|| broker.ids().len() == 1).await;
    assert_eq!(&*broker.ids()[0], "one");
    join(&broker, "three").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_others_are_not() {
    let limits = BrokerLimits {
        outbox_messages: 64,
        relay_timeout: Duration::from_millis(20),
        write_timeout: Duration::from_millis(500),
        ..BrokerLimits::default()
    };
    let broker = bind(BrokerOptions {
        limits,
        ..BrokerOptions::default()
    })
    .await;
    let deaf = websocket(&broker, "key=peerjs&id=deaf&token=t").await;
    let (mut sender, mut receiver) = join(&broker, "alice").await;

    // What the kernel buffers for the deaf one is the system's affair, so until it is full.
    let payload = "x".repeat(200_000);
    let offer = format!(r#"{{"type":"OFFER","payload":"{payload}","dst":"deaf"}}"#);
    let flood = async {
        loop {
            sender.send(offer.clone()).await.unwrap();
        }
    };
    let expire = r#"{"type":"EXPIRE","src":"deaf","dst":"alice"}"#;
    tokio::select! {
        () = flood => {}
        message = next(&mut receiver) => assert_eq!(message, expire),
    }
    until(|| !broker.ids().iter().any(|id| &**id == "deaf")).await;
    assert!(broker.stats().refused > 0);
    drop(deaf);
    let (mut sender, mut receiver) = join(&broker, "bob").await;
    sender
        .send(r#"{"type":"OFFER","dst":"bob"}"#)
        .await
        .unwrap();
    assert_eq!(
        next(&mut receiver).await,
        r#"{"type":"OFFER","src":"bob","dst":"bob"}"#
    );
}

#[tokio::test]
async fn a_fast_sender_is_slowed_down_and_loses_nothing() {
    let limits = BrokerLimits {
        outbox_messages: 8,
        relay_timeout: PATIENCE,
        ..BrokerLimits::default()
    };
    let broker = bind(BrokerOptions {
        limits,
        ..BrokerOptions::default()
    })
    .await;
    let (mut sender, _receiver) = join(&broker, "alice").await;
    let (_sender, mut receiver) = join(&broker, "bob").await;
    const COUNT: usize = 3_000;
    let send = async {
        for n in 0..COUNT {
            let text = format!(r#"{{"type":"OFFER","payload":{n},"dst":"bob"}}"#);
            sender.send(text).await.unwrap();
        }
    };
    let receive = async {
        for n in 0..COUNT {
            let text = format!(r#"{{"type":"OFFER","src":"alice","dst":"bob","payload":{n}}}"#);
            assert_eq!(next(&mut receiver).await, text);
        }
    };
    tokio::join!(send, receive);
    assert_eq!(broker.stats().refused, 0);
}

#[tokio::test]
async fn a_client_that_provokes_more_than_it_reads_is_cut() {
    let limits = BrokerLimits {
        outbox_messages: 64,
        outbox_bytes: 1 << 20,
        realm: RealmLimits {
            source_messages: 0,
            ..RealmLimits::default()
        },
        ..BrokerLimits::default()
    };
    let broker = bind(BrokerOptions {
        limits,
        ..BrokerOptions::default()
    })
    .await;
    let mut deaf = websocket(&broker, "key=peerjs&id=deaf&token=t").await;
    // Each is answered by an EXPIRE that repeats the long id.
    let offer = format!(r#"{{"type":"OFFER","dst":"{}"}}"#, "x".repeat(100_000));
    let flood = async { while deaf.send(Message::text(offer.clone())).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("cut in time");
    until(|| broker.ids().is_empty()).await;
}

#[tokio::test]
async fn what_nobody_picks_up_expires() {
    let broker = bind(BrokerOptions {
        expire_timeout: Duration::from_millis(40),
        cleanup_out_msgs: Duration::from_millis(10),
        ..BrokerOptions::default()
    })
    .await;
    let (mut sender, mut receiver) = join(&broker, "alice").await;
    sender
        .send(r#"{"type":"OFFER","dst":"bob"}"#)
        .await
        .unwrap();
    assert_eq!(
        next(&mut receiver).await,
        r#"{"type":"EXPIRE","src":"bob","dst":"alice"}"#
    );
    assert_eq!(broker.stats().queued_bytes, 0);
}

#[tokio::test]
async fn a_silent_client_is_disconnected() {
    let alive_timeout = Duration::from_millis(100);
    let broker = bind(BrokerOptions {
        alive_timeout,
        ..BrokerOptions::default()
    })
    .await;
    let (_sender, mut receiver) = join(&broker, "alice").await;
    ended(&mut receiver).await;
    assert_eq!((broker.ids().len(), broker.stats().timed_out), (0, 1));
}

#[tokio::test]
async fn connections_without_requests_are_closed() {
    let short = Duration::from_millis(50);
    for (idle_timeout, handshake_timeout, bytes) in [
        (short, PATIENCE, &b""[..]),
        (
            short,
            PATIENCE,
            b"GET /peerjs/id HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        (PATIENCE, short, b"GET /peerjs/id HTTP/1.1\r\nHo"),
        (PATIENCE, PATIENCE, b"\x16\x03\x01 no HTTP at all\r\n\r\n"),
    ] {
        let limits = BrokerLimits {
            idle_timeout,
            handshake_timeout,
            ..BrokerLimits::default()
        };
        let broker = bind(BrokerOptions {
            limits,
            ..BrokerOptions::default()
        })
        .await;
        raw(&broker, bytes).await;
    }
}

#[tokio::test]
async fn a_request_head_is_bounded() {
    let broker = bind(BrokerOptions::default()).await;
    for headers in [
        "X: ".to_owned() + &"a".repeat(40_000),
        "X: a\r\n".repeat(200),
    ] {
        let answer = get(&broker, "/", &(headers + "\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let answer = get(&broker, &format!("/{}", "a".repeat(70_000)), "").await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn beyond_the_limit_connections_wait() {
    let limits = BrokerLimits {
        connections: 1,
        ..BrokerLimits::default()
    };
    let broker = bind(BrokerOptions {
        limits,
        ..BrokerOptions::default()
    })
    .await;
    let first = join(&broker, "alice").await;
    let second = get(&broker, "/", "");
    let mut second = core::pin::pin!(second);
    assert!(
        timeout(Duration::from_millis(50), &mut second)
            .await
            .is_err()
    );
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200 "));
}

/// A WebSocket upgrade whose `X-Forwarded-For` says this: the status line, and the socket.
async fn upgrade(broker: &Broker, id: &str, forwarded: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(broker.local_addr()).await.unwrap();
    let request = format!(
        "GET /peerjs?key=peerjs&id={id}&token=t HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nX-Forwarded-For: {forwarded}\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    (head.lines().next().unwrap().to_owned(), stream)
}

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols";
const TOO_MANY: &str = "HTTP/1.1 429 Too Many Requests";

#[tokio::test]
async fn an_address_with_too_many_connections_is_told_so() {
    let limits = BrokerLimits {
        connections_per_address: 2,
        // Those that say nothing stay.
        idle_timeout: PATIENCE,
        handshake_timeout: PATIENCE,
        ..BrokerLimits::default()
    };
    let broker = bind(BrokerOptions {
        limits,
        ..BrokerOptions::default()
    })
    .await;
    let alice = join(&broker, "alice").await;
    let _bob = join(&broker, "bob").await;
    let answer = get(&broker, "/peerjs/id", "").await;
    assert!(answer.starts_with(TOO_MANY), "{answer}");
    assert!(
        answer.contains("Too many connections come from this address, see --max"),
        "{answer}"
    );
    // What it says of itself counts only from a proxy.
    let (status, _) = upgrade(&broker, "carol", "192.0.2.1").await;
    assert_eq!(status, TOO_MANY);

    // So many that nobody can be told any more.
    let mut silent = Vec::new();
    for _ in 0..REFUSALS_MAX {
        silent.push(TcpStream::connect(broker.local_addr()).await.unwrap());
    }
    assert_eq!(get(&broker, "/peerjs/id", "").await, "");
    drop(silent);

    drop(alice);
    until(|| broker.ids().len() == 1).await;
    let answered = async {
        while !get(&broker, "/peerjs/id", "")
            .await
            .starts_with("HTTP/1.1 200 ")
        {}
    };
    timeout(PATIENCE, answered)
        .await
        .expect("its place is free");
}

#[tokio::test]
async fn behind_a_proxy_the_address_it_tells_counts() {
    let limits = BrokerLimits {
        connections_per_address: 1,
        ..BrokerLimits::default()
    };
    let broker = bind(BrokerOptions {
        proxied: true,
        limits,
        ..BrokerOptions::default()
    })
    .await;
    let (status, first) = upgrade(&broker, "a", "192.0.2.1").await;
    assert_eq!(status, SWITCHING);
    // The client invented all but the last.
    for forwarded in [
        "198.51.100.1, 192.0.2.1",
        // Octets above ASCII hide nothing.
        "\u{e9}, 192.0.2.1",
        "192.0.2.1:4711",
        "a\r\nX-Forwarded-For: 192.0.2.1",
    ] {
        let (status, _) = upgrade(&broker, "b", forwarded).await;
        assert_eq!(status, TOO_MANY, "{forwarded}");
    }
    let (status, _second) = upgrade(&broker, "c", "192.0.2.1, [2001:db8::1]:80").await;
    assert_eq!(status, SWITCHING);
    assert_eq!(upgrade(&broker, "d", "2001:db8::2").await.0, TOO_MANY);
    // Who is not told of counts as the proxy. Requests do not count.
    let (status, _third) = upgrade(&broker, "e", "unknown").await;
    assert_eq!(status, SWITCHING);
    assert_eq!(upgrade(&broker, "f", "127.0.0.1").await.0, TOO_MANY);
    assert!(
        get(&broker, "/peerjs/id", "")
            .await
            .starts_with("HTTP/1.1 200 ")
    );

    drop(first);
    until(|| broker.ids().len() == 2).await;
    let back = async { while upgrade(&broker, "g", "192.0.2.1").await.0 != SWITCHING {} };
    timeout(PATIENCE, back).await.expect("its place is free");
}

#[tokio::test]
async fn a_client_that_pings_and_does_not_read_is_cut() {
    let limits = BrokerLimits {
        messages_per_second: 1_000_000,
        ..BrokerLimits::default()
    };
    let broker = bind(BrokerOptions {
        limits,
        ..BrokerOptions::default()
    })
    .await;
    let mut deaf = websocket(&broker, "key=peerjs&id=deaf&token=t").await;
    let pings = [&b"\x89\xfd\0\0\0\0"[..], &[b'p'; 125]]
        .concat()
        .repeat(500);
    let flood = async { while deaf.get_mut().write_all(&pings).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("cut in time");
    until(|| broker.ids().is_empty()).await;
}

#[tokio::test]
async fn a_client_that_sends_faster_than_the_rate_is_slowed_down() {
    const RATE: u32 = 20;
    let limits = BrokerLimits {
        messages_per_second: RATE,
        ..BrokerLimits::default()
    };
    let broker = bind(BrokerOptions {
        limits,
        ..BrokerOptions::default()
    })
    .await;
    let started = Instant::now();
    let (mut sender, mut receiver) = join(&broker, "alice").await;
    for n in 0..2 * RATE {
        let text = format!(r#"{{"type":"OFFER","payload":{n},"dst":"alice"}}"#);
        sender.send(text).await.unwrap();
    }
    for n in 0..2 * RATE {
        assert!(
            next(&mut receiver)
                .await
                .ends_with(&format!(r#""payload":{n}}}"#))
        );
    }
    // As many as the rate at once, and the others in the second after.
    assert!(
        started.elapsed() >= Duration::from_millis(950),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn nobody_waits_twice_for_a_client_that_does_not_read() {
    let limits = BrokerLimits {
        outbox_messages: 64,
        relay_timeout: Duration::from_secs(1),
        write_timeout: 2 * PATIENCE,
        ..BrokerLimits::default()
    };
    let broker = bind(BrokerOptions {
        limits,
        ..BrokerOptions::default()
    })
    .await;
    let _deaf = websocket(&broker, "key=peerjs&id=deaf&token=t").await;
    let (mut sender, mut receiver) = join(&broker, "alice").await;
    let offer = |bytes| {
        format!(
            r#"{{"type":"OFFER","payload":"{}","dst":"deaf"}}"#,
            "x".repeat(bytes)
        )
    };
    let flood = async {
        loop {
            sender.send(offer(200_000)).await.unwrap();
        }
    };
    let expire = r#"{"type":"EXPIRE","src":"deaf","dst":"alice"}"#;
    tokio::select! {
        () = flood => {}
        message = next(&mut receiver) => assert_eq!(message, expire),
    }
    // More than would fit into this test's patience, were each waited for.
    let heard = async {
        for _ in 0..2 * PATIENCE.as_secs() {
            sender.send(offer(200_000)).await.unwrap();
        }
        sender
            .send(r#"{"type":"OFFER","dst":"alice"}"#)
            .await
            .unwrap();
        while next(&mut receiver).await != r#"{"type":"OFFER","src":"alice","dst":"alice"}"# {}
    };
    timeout(PATIENCE, heard).await.expect("heard in time");
}

#[tokio::test]
async fn a_slow_reader_does_not_stay_when_it_is_closed() {
    let limits = BrokerLimits {
        outbox_messages: 1_000,
        outbox_bytes: 100 << 20,
        outboxes_bytes: 1 << 30,
        write_timeout: Duration::from_secs(1),
        ..BrokerLimits::default()
    };
    let broker = bind(BrokerOptions {
        limits,
        ..BrokerOptions::default()
    })
    .await;
    let mut slow = websocket(&broker, "key=peerjs&id=slow&token=token").await;
    let (mut sender, mut receiver) = join(&broker, "alice").await;
    // Twice what the system buffers.
    const COUNT: usize = 100;
    let offer = format!(
        r#"{{"type":"OFFER","payload":"{}","dst":"slow"}}"#,
        "x".repeat(200_000)
    );
    for _ in 0..COUNT {
        sender.send(offer.clone()).await.unwrap();
    }
    sender
        .send(r#"{"type":"OFFER","dst":"alice"}"#)
        .await
        .unwrap();
    next(&mut receiver).await;

    let _again = join(&broker, "slow").await;
    let mut read = 0;
    while let Some(Ok(Message::Text(_))) = slow.next().await {
        read += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        read < COUNT,
        "{read} were written though it was to be closed"
    );
}

#[tokio::test]
async fn lists_of_peers_are_bounded_while_they_are_read() {
    let limits = BrokerLimits {
        outboxes_bytes: 100,
        ..BrokerLimits::default()
    };
    let broker = bind(BrokerOptions {
        allow_discovery: true,
        limits,
        ..BrokerOptions::default()
    })
    .await;
    let _alice = join(&broker, "alice").await;
    assert!(
        get(&broker, "/peerjs/peers", "")
            .await
            .ends_with("[\"alice\"]")
    );
    until(|| broker.hub.outgoing.used() == "[\"alice\"]".len()).await;
    let _bob = join(&broker, "bob").await;
    assert!(
        get(&broker, "/peerjs/peers", "")
            .await
            .ends_with("[\"alice\",\"bob\"]")
    );
    let _long = join(&broker, &"x".repeat(100)).await;
    let answer = get(&broker, "/peerjs/peers", "").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}
