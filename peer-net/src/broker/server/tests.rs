mod limits;
#[cfg(target_os = "linux")]
mod origins;

use core::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::broker::{
    BrokerClient, BrokerError, BrokerLimits, CorsOptions, CorsOrigin, GenerateClientId,
    RealmLimits, SocketReceiver, SocketSender, Ssl,
};

const OPEN: &str = r#"{"type":"OPEN"}"#;
/// Long enough that only a bug reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

async fn bind(options: BrokerOptions) -> Broker {
    Broker::bind("127.0.0.1:0", options).await.unwrap()
}

async fn join(broker: &Broker, id: &str) -> (SocketSender, SocketReceiver) {
    let client = BrokerClient::new(broker.url().parse().unwrap()).unwrap();
    let (sender, mut receiver) = client.connect(id, "token").await.unwrap().split();
    assert_eq!(next(&mut receiver).await, OPEN);
    (sender, receiver)
}

async fn next(receiver: &mut SocketReceiver) -> String {
    let message = timeout(PATIENCE, receiver.next())
        .await
        .expect("a message in time");
    String::from_utf8(message.expect("an open socket")).unwrap()
}

async fn ended(receiver: &mut SocketReceiver) {
    while timeout(PATIENCE, receiver.next())
        .await
        .expect("an end in time")
        .is_some()
    {}
}

/// A WebSocket whose frames the test has in its own hands.
async fn websocket(broker: &Broker, query: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(broker.local_addr()).await.unwrap();
    let url = format!(
        "ws://{}{}peerjs?{query}",
        broker.local_addr(),
        broker.hub.base_path
    );
    tokio_tungstenite::client_async(url, stream)
        .await
        .unwrap()
        .0
}

/// Sends bytes and reads until the broker closes.
async fn raw(broker: &Broker, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(broker.local_addr()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("an end in time");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(broker: &Broker, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    raw(broker, request.as_bytes()).await
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .expect("the condition in time");
}

#[tokio::test]
async fn two_clients_exchange_messages_in_text_and_binary_frames() {
    let broker = bind(BrokerOptions::default()).await;
    let (_alice, mut alice) = join(&broker, "alice").await;
    let mut bob = websocket(&broker, "key=peerjs&id=bob&token=t").await;
    assert_eq!(bob.next().await.unwrap().unwrap(), Message::text(OPEN));
    let sent = r#"{"type":"OFFER","payload":{"a": 1},"dst":"alice"}"#;
    bob.send(Message::text(sent)).await.unwrap();
    bob.send(Message::binary(sent.as_bytes())).await.unwrap();
    for _ in 0..2 {
        let relayed = r#"{"type":"OFFER","src":"bob","dst":"alice","payload":{"a": 1}}"#;
        assert_eq!(next(&mut alice).await, relayed);
    }
    bob.send(Message::Ping("hi".into())).await.unwrap();
    assert_eq!(
        bob.next().await.unwrap().unwrap(),
        Message::Pong("hi".into())
    );
    bob.close(None).await.unwrap();
    until(|| broker.ids().len() == 1).await;
}

#[tokio::test]
async fn refusals_are_messages_and_then_a_close_without_code() {
    let broker = bind(BrokerOptions::default()).await;
    let _alice = join(&broker, "alice").await;
    for (query, text) in [
        (
            "id=a&token=t",
            "No id, token, or key supplied to websocket server",
        ),
        ("key=x&id=a&token=t", "Invalid key provided"),
        ("key=peerjs&id=alice&token=t", "ID is taken"),
    ] {
        let mut socket = websocket(&broker, query).await;
        let message = socket.next().await.unwrap().unwrap().into_text().unwrap();
        assert!(message.contains(text), "{message}");
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Close(None));
    }
}

#[tokio::test]
async fn attaching_again_closes_the_old_socket() {
    let broker = bind(BrokerOptions::default()).await;
    let (_old_sender, mut old) = join(&broker, "alice").await;
    let (mut sender, mut new) = join(&broker, "alice").await;
    ended(&mut old).await;
    assert!(old.error().is_none());
    sender
        .send(r#"{"type":"OFFER","dst":"alice"}"#)
        .await
        .unwrap();
    assert_eq!(
        next(&mut new).await,
        r#"{"type":"OFFER","src":"alice","dst":"alice"}"#
    );
}

#[tokio::test]
async fn bad_frames_hurt_nobody() {
    let broker = bind(BrokerOptions::default()).await;
    let (mut sender, mut receiver) = join(&broker, "alice").await;

    let mut mallory = websocket(&broker, "key=peerjs&id=mallory&token=t").await;
    for message in ["", "{", "null", "5", "[]", "\u{0}", r#"{"type":{}}"#] {
        mallory.send(Message::text(message)).await.unwrap();
    }
    mallory
        .send(Message::binary(vec![0xff; 100]))
        .await
        .unwrap();
    mallory
        .send(Message::text("[".repeat(1_000_000)))
        .await
        .unwrap();
    // None of it cost the socket.
    mallory
        .send(Message::text(r#"{"type":"OFFER","dst":"mallory"}"#))
        .await
        .unwrap();
    assert_eq!(mallory.next().await.unwrap().unwrap(), Message::text(OPEN));
    let message = mallory.next().await.unwrap().unwrap();
    assert_eq!(
        message,
        Message::text(r#"{"type":"OFFER","src":"mallory","dst":"mallory"}"#)
    );

    // Frames that break the protocol: each costs its own socket, with the code `ws` uses.
    for (frame, code) in [
        (
            &b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"[..],
            1009_u16,
        ), // 2^64 - 1 bytes
        (b"\x81\xff\0\0\0\0\x00\x20\0\0\0\0\0\0", 1009), // 2 MiB
        (b"\x81\x02hi", 1002),                           // not masked
        (b"\xf1\x80\0\0\0\0", 1002),                     // reserved bits
        (b"\x83\x80\0\0\0\0", 1002),                     // reserved opcode
        (b"\x81\x81\0\0\0\0\xff", 1007),                 // not UTF-8
    ] {
        let mut socket = websocket(&broker, "key=peerjs&id=raw&token=t").await;
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(OPEN));
        socket.get_mut().write_all(frame).await.unwrap();
        let answer = timeout(PATIENCE, socket.next()).await;
        match answer
            .unwrap_or_else(|_| panic!("no answer to {frame:?}"))
            .unwrap()
            .unwrap()
        {
            Message::Close(Some(close)) => assert_eq!(u16::from(close.code), code, "{frame:?}"),
            other => panic!("{other:?} after {frame:?}"),
        }
    }

    sender
        .send(r#"{"type":"OFFER","dst":"alice"}"#)
        .await
        .unwrap();
    assert_eq!(
        next(&mut receiver).await,
        r#"{"type":"OFFER","src":"alice","dst":"alice"}"#
    );
}

#[tokio::test]
async fn options_shape_the_http_api() {
    let ids = Mutex::new(["taken", "taken", "free"].iter().cycle());
    let broker = bind(BrokerOptions {
        path: "app".to_owned(),
        key: "k k".to_owned(),
        allow_discovery: true,
        cors_options: CorsOptions {
            origin: CorsOrigin::List(vec!["http://a".to_owned()]),
        },
        generate_client_id: Some(GenerateClientId::new(move || {
            ids.lock()
                .unwrap()
                .next()
                .copied()
                .unwrap_or_default()
                .to_owned()
        })),
        ..BrokerOptions::default()
    })
    .await;
    let client = BrokerClient::new(broker.url().parse().unwrap()).unwrap();
    let _taken = join(&broker, "taken").await;
    let _other = join(&broker, "ä b&\"<").await;
    assert_eq!(client.retrieve_id().await.unwrap(), "free");
    assert_eq!(client.list_all_peers().await.unwrap(), ["taken", "ä b&\"<"]);

    let allowed = get(&broker, "/app/x/id", "Origin: http://a\r\n").await;
    assert!(
        allowed.contains("access-control-allow-origin: http://a\r\n"),
        "{allowed}"
    );
    let denied = get(&broker, "/app/x/id", "Origin: http://b\r\n").await;
    assert!(!denied.contains("access-control"), "{denied}");
    assert!(get(&broker, "/x/id", "").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_fixed_origin_is_told_to_all() {
    let origin = CorsOrigin::Fixed("http://a".to_owned());
    let broker = bind(BrokerOptions {
        cors_options: CorsOptions { origin },
        ..BrokerOptions::default()
    })
    .await;
    for headers in ["", "Origin: http://b\r\n"] {
        let answer = get(&broker, "/x/id", headers).await;
        assert!(
            answer.contains("access-control-allow-origin: http://a\r\n"),
            "{answer}"
        );
        assert!(answer.contains("vary: Origin\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn ids_that_are_always_taken_are_an_error_not_a_loop() {
    let generate_client_id = Some(GenerateClientId::new(|| "taken".to_owned()));
    let broker = bind(BrokerOptions {
        generate_client_id,
        ..BrokerOptions::default()
    })
    .await;
    let _taken = join(&broker, "taken").await;
    let client = BrokerClient::new(broker.url().parse().unwrap()).unwrap();
    let error = client.retrieve_id().await.unwrap_err();
    assert!(
        matches!(error, BrokerError::Status { status: 500, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn shutdown_closes_every_socket_and_frees_the_port() {
    let broker = bind(BrokerOptions::default()).await;
    let addr = broker.local_addr();
    let (_sender, mut receiver) = join(&broker, "alice").await;
    let idle = TcpStream::connect(addr).await.unwrap();
    let (end, ()) = tokio::join!(receiver.next(), broker.shutdown());
    assert_eq!(end, None);
    assert!(receiver.error().is_none(), "{:?}", receiver.error());
    drop(idle);
    let again = Broker::bind(addr, BrokerOptions::default()).await.unwrap();
    join(&again, "alice").await;
    drop(again);
}

#[tokio::test]
async fn tls_is_offered_and_certificates_are_checked() {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    let (key, cert) = (certified.key_pair.serialize_pem(), certified.cert.pem());
    let ssl = Some(Ssl {
        key: key.into_bytes(),
        cert: cert.clone().into_bytes(),
    });
    let broker = bind(BrokerOptions {
        ssl,
        ..BrokerOptions::default()
    })
    .await;
    assert!(broker.url().starts_with("https://127.0.0.1:"));

    let stranger = BrokerClient::new(broker.url().parse().unwrap()).unwrap();
    let client = stranger.clone().root_certificates(cert.as_bytes()).unwrap();
    assert_eq!(client.retrieve_id().await.unwrap().len(), 36);
    let (mut sender, mut receiver) = client.connect("alice", "t").await.unwrap().split();
    assert_eq!(next(&mut receiver).await, OPEN);
    sender
        .send(r#"{"type":"OFFER","dst":"alice"}"#)
        .await
        .unwrap();
    assert_eq!(
        next(&mut receiver).await,
        r#"{"type":"OFFER","src":"alice","dst":"alice"}"#
    );

    let error = stranger.connect("bob", "t").await.unwrap_err();
    // A system without any roots says so instead.
    assert!(
        matches!(error, BrokerError::Untrusted { .. } | BrokerError::Tls(_)),
        "{error:?}"
    );
    let plain = raw(&broker, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!plain.contains("HTTP"), "{plain}");
}

#[tokio::test]
async fn another_certificate_serves_those_who_come_after() {
    let certify = || rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let ssl = |certified: &rcgen::CertifiedKey| Ssl {
        key: certified.key_pair.serialize_pem().into_bytes(),
        cert: certified.cert.pem().into_bytes(),
    };
    let (old, new) = (certify(), certify());
    let broker = bind(BrokerOptions {
        ssl: Some(ssl(&old)),
        ..BrokerOptions::default()
    })
    .await;
    let client = |certified: &rcgen::CertifiedKey| {
        let client = BrokerClient::new(broker.url().parse().unwrap()).unwrap();
        client
            .root_certificates(certified.cert.pem().as_bytes())
            .unwrap()
    };
    let (mut sender, mut receiver) = client(&old).connect("alice", "t").await.unwrap().split();
    assert_eq!(next(&mut receiver).await, OPEN);

    broker.set_ssl(&ssl(&new)).unwrap();
    assert_eq!(client(&new).retrieve_id().await.unwrap().len(), 36);
    assert!(client(&old).retrieve_id().await.is_err());
    let mixed = Ssl {
        key: ssl(&old).key,
        ..ssl(&new)
    };
    assert!(matches!(broker.set_ssl(&mixed), Err(TlsError::Unusable(_))));
    assert_eq!(client(&new).retrieve_id().await.unwrap().len(), 36);
    // Those who were there go on.
    sender
        .send(r#"{"type":"OFFER","dst":"alice"}"#)
        .await
        .unwrap();
    assert!(next(&mut receiver).await.contains("OFFER"));

    let plain = bind(BrokerOptions::default()).await;
    assert!(matches!(plain.set_ssl(&ssl(&new)), Err(TlsError::Off)));
}

#[tokio::test]
async fn unusable_keys_and_certificates_are_told_apart() {
    let pair = |names: &str| rcgen::generate_simple_self_signed(vec![names.to_owned()]).unwrap();
    let (one, other) = (pair("a"), pair("b"));
    let (key, cert) = (one.key_pair.serialize_pem(), one.cert.pem());
    for (key, cert, expected) in [
        ("", cert.as_str(), "Key("),
        (key.as_str(), "", "Certificate("),
        (key.as_str(), key.as_str(), "Certificate("),
        (
            other.key_pair.serialize_pem().as_str(),
            cert.as_str(),
            "Unusable(",
        ),
    ] {
        let ssl = Some(Ssl {
            key: key.into(),
            cert: cert.into(),
        });
        let options = BrokerOptions {
            ssl,
            ..BrokerOptions::default()
        };
        match Broker::bind("127.0.0.1:0", options).await {
            Err(BindError::Tls(error)) => {
                assert!(format!("{error:?}").starts_with(expected), "{error:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}
