//! Who may connect, and what strangers cannot do.

use super::*;

#[tokio::test]
async fn the_door_can_be_kept() -> Outcome {
    let broker = broker().await;
    let rule = |offer: &peer_net::Offer| offer.label == "friend";
    let bob = soon(builder(&broker).id("bob").on_offer(rule).open()).await?;
    let alice = soon(
        builder(&broker)
            .id("alice")
            .connect_timeout(Duration::from_secs(2))
            .open(),
    );
    let alice = alice.await?;
    let mut events = bob.events();
    let stranger = soon(alice.connect("bob").label("stranger").into_future()).await;
    let ConnectError::Failed(failure) = stranger.expect_err("bob does not answer") else {
        panic!("another error");
    };
    assert_eq!(failure.failure().reason, ConnectionError::TimedOut);
    assert_eq!(bob.stats().refused_offers, 1);
    soon(alice.connect("bob").label("friend").into_future()).await?;
    let first = until(&mut events, |event| matches!(event, Event::Connection(_))).await;
    assert!(matches!(first, Event::Connection(info) if info.label() == "friend"));
    Ok(())
}

#[tokio::test]
async fn a_full_house_is_told_and_refuses() -> Outcome {
    let broker = broker().await;
    let alice = soon(builder(&broker).id("alice").max_connections(1).open()).await?;
    let bob = soon(builder(&broker).id("bob").open()).await?;
    let (ours, _theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    let error = alice
        .connect("bob")
        .await
        .expect_err("it has its one connection");
    assert!(matches!(
        error,
        ConnectError::TooManyConnections { limit: 1 }
    ));
    ours.close();
    soon(ours.closed()).await;
    connected(&alice, &bob, Serialization::Binary, true).await;
    Ok(())
}

/// A description as a browser makes it.
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
    a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 \
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\n";

/// Somebody at the broker who says what he likes.
async fn stranger(broker: &Broker, id: &str) -> (SocketSender, SocketReceiver) {
    let client = BrokerClient::new(broker.url().parse().expect("it is one")).expect("it is one");
    let (sender, mut receiver) = soon(client.connect(id, "token"))
        .await
        .expect("the broker is there")
        .split();
    let open = soon(receiver.next()).await.expect("it goes on");
    assert_eq!(open, br#"{"type":"OPEN"}"#);
    (sender, receiver)
}

/// An offer to bob, changed somehow.
fn offer(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut offer = serde_json::json!({
        "type": "OFFER", "dst": "bob",
        "payload": {
            "sdp": {"type": "offer", "sdp": SDP}, "type": "data", "connectionId": "dc_1",
            "label": "stranger", "reliable": true, "serialization": "binary",
        },
    });
    change(&mut offer["payload"]);
    offer.to_string()
}

#[tokio::test]
async fn strangers_do_not_lock_out_friends() -> Outcome {
    let broker = broker().await;
    let rule = |offer: &peer_net::Offer| {
        assert_ne!(offer.label, "panic");
        offer.label != "unwanted"
    };
    let bob = soon(builder(&broker).id("bob").on_offer(rule).open()).await?;
    let mut sent = 0;
    for n in 0..4 {
        let (mut sender, _receiver) = stranger(&broker, &format!("mallory{n}")).await;
        for id in 0..200 {
            let message = offer(|offer| {
                offer["connectionId"] = format!("dc_{id}").into();
                match n {
                    0 => offer["label"] = "unwanted".into(),
                    1 => offer["label"] = "panic".into(),
                    _ => offer["sdp"]["sdp"] = "v=0".into(),
                }
            });
            sender.send(message).await?;
            sent += 1;
        }
        while bob.stats().refused_offers < sent {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let alice = soon(builder(&broker).id("alice").open()).await?;
    for _ in 0..8 {
        connected(&alice, &bob, Serialization::Binary, true).await;
    }
    assert_eq!(bob.stats().refused_offers, 800);
    Ok(())
}

#[tokio::test]
async fn what_exceeds_a_limit_is_told_on_its_connection() -> Outcome {
    let broker = broker().await;
    let bob = soon(builder(&broker).id("bob").open()).await?;
    let mut events = bob.events();
    let (mut mallory, _receiver) = stranger(&broker, "mallory").await;
    for (field, len, limit) in [
        ("metadata", peer_net::METADATA_MAX, "METADATA_MAX"),
        ("label", 200, "LABEL_MAX"),
        ("sdp", 17_000, "SDP_MAX"),
    ] {
        mallory
            .send(offer(|offer| offer[field] = "x".repeat(len).into()))
            .await?;
        let failed = |event: &Event| matches!(event, Event::ConnectionFailed(..));
        let Event::ConnectionFailed(info, failure) = until(&mut events, failed).await else {
            return Err("another event".into());
        };
        assert_eq!(
            (info.peer().as_str(), info.connection_id().as_str()),
            ("mallory", "dc_1")
        );
        assert!(failure.to_string().contains(limit), "{failure}");
        assert_eq!(failure.side(), peer_net::Side::Remote);
    }
    assert_eq!(bob.stats().refused_offers, 3);
    // Of an id that is too long as much as there is room for.
    let (mut mallory, _receiver) = stranger(&broker, &"m".repeat(300)).await;
    mallory.send(offer(|_| {})).await?;
    let failed = |event: &Event| matches!(event, Event::ConnectionFailed(..));
    let Event::ConnectionFailed(info, failure) = until(&mut events, failed).await else {
        return Err("another event".into());
    };
    assert_eq!(info.peer().as_str(), "m".repeat(128));
    assert!(failure.to_string().contains("PEER_ID_MAX"), "{failure}");
    Ok(())
}

#[tokio::test]
async fn a_label_may_have_line_ends() -> Outcome {
    let broker = broker().await;
    let bob = soon(builder(&broker).id("bob").open()).await?;
    let alice = soon(builder(&broker).id("alice").open()).await?;
    let label = "two\nlines\u{7f}";
    let (mine, theirs) = tokio::join!(
        soon(alice.connect("bob").label(label).into_future()),
        soon(bob.accept())
    );
    let theirs = theirs.ok_or("bob lives")?;
    assert_eq!((mine?.label(), theirs.label()), (label, label));
    Ok(())
}

/// A broker that knows one peer, as npm `peer` behaves to it: it passes EXPIRE on.
#[tokio::test]
async fn a_remote_that_is_refused_is_told_that_nobody_is_there() -> Outcome {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let opening = Peer::builder()
        .broker(format!("ws://{address}/"))
        .id("bob")
        .on_offer(|offer| offer.label != "stranger")
        .open();
    let accepting = async {
        let (stream, _) = listener.accept().await?;
        let mut socket = tokio_tungstenite::accept_async(stream).await?;
        socket.send(Message::text(r#"{"type":"OPEN"}"#)).await?;
        Ok::<_, Box<dyn core::error::Error + Send + Sync>>(socket)
    };
    let (bob, socket) = tokio::join!(soon(opening), soon(accepting));
    let (bob, mut socket) = (bob?, socket?);
    let mut sent: serde_json::Value = serde_json::from_str(&offer(|_| {}))?;
    sent["src"] = "mallory".into();
    socket.send(Message::text(sent.to_string())).await?;
    let said = loop {
        let message = soon(socket.next()).await.ok_or("it goes on")??;
        let said: serde_json::Value = serde_json::from_str(message.to_text()?)?;
        if said["type"] != "HEARTBEAT" {
            break said;
        }
    };
    assert_eq!(
        said,
        serde_json::json!({"type": "EXPIRE", "dst": "mallory"})
    );
    assert_eq!(bob.stats().refused_offers, 1);

    // Not while another connection with it is here: it would give up that one as well.
    sent["payload"]["label"] = "friend".into();
    socket.send(Message::text(sent.to_string())).await?;
    sent["payload"]["label"] = "stranger".into();
    sent["payload"]["connectionId"] = "dc_2".into();
    socket.send(Message::text(sent.to_string())).await?;
    sent["src"] = "eve".into();
    socket.send(Message::text(sent.to_string())).await?;
    let said = loop {
        let message = soon(socket.next()).await.ok_or("it goes on")??;
        let said: serde_json::Value = serde_json::from_str(message.to_text()?)?;
        if said["type"] == "EXPIRE" {
            break said;
        }
    };
    assert_eq!(said["dst"], "eve");
    assert_eq!(bob.stats().refused_offers, 3);
    Ok(())
}

#[tokio::test]
async fn a_description_with_many_candidates_is_answered() -> Outcome {
    let broker = broker().await;
    let _bob = soon(builder(&broker).id("bob").open()).await?;
    let (mut sender, mut receiver) = stranger(&broker, "alice").await;
    let candidates: String = (0..100)
        .map(|n| {
            format!(
                "a=candidate:{n} 1 udp 2113937151 192.0.2.1 {} typ host\r\n",
                5000 + n
            )
        })
        .collect();
    let sdp = format!("{SDP}{candidates}");
    assert!(sdp.len() > 5000, "{}", sdp.len());
    sender
        .send(offer(|offer| offer["sdp"]["sdp"] = sdp.into()))
        .await?;
    loop {
        let message = soon(receiver.next()).await.expect("it goes on");
        if String::from_utf8(message)?.contains(r#""type":"ANSWER""#) {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn one_address_under_many_names_has_one_share() -> Outcome {
    let broker = broker().await;
    let [near, far] = peer_tests::stacks();
    let bob = peer_tests::builder(&broker, near);
    let bob = bob.id("bob").max_connections(8);
    let bob = soon(bob.open()).await?;
    let mut names = Vec::new();
    for n in 0..8 {
        let peer = peer_tests::builder(&broker, far).id(format!("m{n}"));
        let peer = soon(peer.open()).await?;
        let (ours, theirs) = peer_tests::connected(&peer, &bob, Serialization::Binary, true).await;
        if n >= 4 {
            // Half of the places are in use, and it holds more than a quarter.
            assert!(matches!(soon(theirs.closed()).await, CloseReason::GaveWay));
            assert_eq!(theirs.closed().await.side(), peer_net::Side::Local);
        }
        names.push((peer, ours, theirs));
    }
    assert_eq!(bob.stats().gave_way, 4);
    let open = bob.connections().iter().filter(|c| c.is_open()).count();
    assert_eq!(open, 4);
    Ok(())
}
