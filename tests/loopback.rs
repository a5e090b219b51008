//! Rust to Rust, over real ICE, DTLS and SCTP on 127.0.0.1, through our own broker.

use core::future::{Future, IntoFuture as _};
use core::time::Duration;

use peer_net::broker::{Broker, BrokerClient, BrokerOptions, SocketReceiver, SocketSender};
use peer_net::{
    CloseReason, ConnectError, ConnectionError, DataConnection, Event, Events, Peer, PeerBuilder,
    PeerError, PeerState, RtcConfig, SendError, Serialization, Stage, Value,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

type Outcome = Result<(), Box<dyn core::error::Error>>;

/// No test decides by this time; it only ends one that hangs.
const HANG: Duration = Duration::from_secs(120);

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(HANG, future).await.expect("it hangs")
}

async fn broker() -> Broker {
    let options = BrokerOptions {
        allow_discovery: true,
        ..BrokerOptions::default()
    };
    Broker::bind("127.0.0.1:0", options)
        .await
        .expect("a free port on 127.0.0.1")
}

fn builder(broker: &Broker) -> PeerBuilder {
    let rtc = RtcConfig {
        include_loopback: true,
        ip_filter: vec![[127, 0, 0, 1].into()],
        ..RtcConfig::default()
    };
    Peer::builder().broker(broker.url()).rtc(rtc)
}

async fn peers(broker: &Broker) -> (Peer, Peer) {
    let alice = soon(builder(broker).id("alice").open())
        .await
        .expect("alice opens");
    let bob = soon(builder(broker).id("bob").open())
        .await
        .expect("bob opens");
    (alice, bob)
}

/// Both ends of a connection.
async fn connected(
    from: &Peer,
    to: &Peer,
    serialization: Serialization,
    reliable: bool,
) -> (DataConnection, DataConnection) {
    let remote = to.id().expect("it is open").to_string();
    let connect = from
        .connect(remote)
        .serialization(serialization)
        .reliable(reliable);
    let (ours, theirs) = tokio::join!(soon(connect.into_future()), soon(to.accept()));
    (ours.expect("it opens"), theirs.expect("it lives"))
}

async fn until(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = soon(events.next()).await.expect("the stream goes on");
        if wanted(&event) {
            return event;
        }
    }
}

fn sample() -> Value {
    Value::from([
        ("text", Value::from("grüße 🌍")),
        (
            "numbers",
            Value::Array(vec![1.into(), (-2.5).into(), 4_294_967_296_i64.into()]),
        ),
        (
            "nested",
            Value::from([("nothing", Value::Null), ("yes", true.into())]),
        ),
        ("empty", Value::Array(Vec::new())),
    ])
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    celsius: f64,
    place: String,
}

#[tokio::test]
async fn values_travel_both_ways_in_every_serialization() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    for serialization in [Serialization::Binary, Serialization::Json] {
        for reliable in [false, true] {
            let (ours, theirs) = connected(&alice, &bob, serialization, reliable).await;
            assert_eq!(
                (theirs.serialization(), theirs.reliable()),
                (serialization, reliable)
            );
            ours.send(&sample()).await?;
            assert_eq!(soon(theirs.recv()).await?, Some(sample()));
            theirs.send("back").await?;
            assert_eq!(soon(ours.recv()).await?, Some("back".into()));
        }
    }
    let (ours, theirs) = connected(&alice, &bob, Serialization::Raw, true).await;
    ours.send_text("text").await?;
    ours.send_bytes(vec![1, 2]).await?;
    ours.send_text("").await?;
    ours.send_bytes(vec![]).await?;
    assert_eq!(soon(theirs.recv()).await?, Some("text".into()));
    assert_eq!(
        soon(theirs.recv()).await?,
        Some(Value::Bytes(vec![1, 2].into()))
    );
    assert_eq!(soon(theirs.recv()).await?, Some("".into()));
    assert_eq!(
        soon(theirs.recv()).await?,
        Some(Value::Bytes(vec![].into()))
    );

    let (ours, theirs) = connected(&alice, &bob, Serialization::Postcard, true).await;
    let reading = Reading {
        celsius: 21.5,
        place: "greenhouse".into(),
    };
    ours.send(&reading).await?;
    assert_eq!(soon(theirs.recv_as::<Reading>()).await?, Some(reading));
    Ok(())
}

#[tokio::test]
async fn what_a_connection_is_told_arrives_at_the_other_end() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let mut events = bob.events();
    let reading = Reading {
        celsius: 4.0,
        place: "cellar".into(),
    };
    let connect = alice
        .connect("bob")
        .label("cold chain")
        .metadata(&reading)
        .reliable(true);
    let ours = connect.start().await?;
    assert!(matches!(ours.try_send("early"), Err(SendError::NotOpenYet)));
    let theirs = soon(bob.accept()).await.expect("bob lives");
    soon(ours.opened()).await?;
    assert!(ours.is_open() && theirs.is_open());
    assert!(theirs.is_incoming() && !ours.is_incoming());
    assert_eq!((theirs.peer(), theirs.label()), ("alice", "cold chain"));
    assert_eq!(theirs.connection_id(), ours.connection_id());
    assert_eq!(theirs.metadata_as::<Reading>()?, reading);
    assert_eq!(
        theirs.metadata().expect("it has some")["celsius"].as_i64(),
        Some(4)
    );
    until(&mut events, |event| matches!(event, Event::Open(_))).await;
    let offered = until(&mut events, |event| matches!(event, Event::Connection(_))).await;
    assert!(matches!(offered, Event::Connection(info) if info.label() == "cold chain"));
    until(&mut events, |event| {
        matches!(event, Event::ConnectionOpen(_))
    })
    .await;
    assert_eq!(
        bob.connection("alice", ours.connection_id())
            .map(|c| c.is_open()),
        Some(true)
    );
    Ok(())
}

#[tokio::test]
async fn several_connections_between_two_peers_do_not_mix() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let mut pairs = Vec::new();
    for _ in 0..3 {
        pairs.push(connected(&alice, &bob, Serialization::Binary, true).await);
        pairs.push(connected(&bob, &alice, Serialization::Binary, true).await);
    }
    assert_eq!((alice.connections().len(), bob.connections().len()), (6, 6));
    for (n, (ours, _)) in pairs.iter().enumerate() {
        ours.send(&n).await?;
    }
    for (n, (_, theirs)) in pairs.iter().enumerate() {
        assert_eq!(soon(theirs.recv_as::<usize>()).await?, Some(n));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_megabytes_in_one_message() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    for reliable in [true, false] {
        let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, reliable).await;
        let bytes: Vec<u8> = (0..20 << 20)
            .map(|n: u32| (n * 31 + (n >> 8) * 17) as u8)
            .collect();
        let (sent, received) =
            tokio::join!(soon(ours.send_bytes(bytes.clone())), soon(theirs.recv()));
        sent?;
        let received = received?.expect("it comes");
        assert!(
            received
                .as_bytes()
                .is_some_and(|received| *received == bytes),
            "{reliable}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_thousand_small_messages_keep_their_order() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    let send = async {
        for n in 0..1000 {
            ours.send(&n).await?;
        }
        Ok::<_, SendError>(())
    };
    let receive = async {
        for n in 0..1000 {
            assert_eq!(theirs.recv().await.expect("it is readable"), Some(n.into()));
        }
    };
    let (sent, ()) = tokio::join!(soon(send), soon(receive));
    Ok(sent?)
}

#[tokio::test]
async fn close_is_noticed_and_what_came_before_stays_readable() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    theirs.send("kept").await?;
    theirs.close_flush().await;
    assert!(matches!(soon(ours.closed()).await, CloseReason::Remote));
    assert!(!ours.is_open());
    assert_eq!(soon(ours.recv()).await?, Some("kept".into()));
    assert_eq!(soon(ours.recv()).await?, None);
    assert!(matches!(
        ours.send("late").await,
        Err(SendError::Closed(CloseReason::Remote))
    ));

    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    ours.close();
    assert!(!ours.is_open());
    assert!(matches!(soon(ours.closed()).await, CloseReason::Local));
    assert!(matches!(soon(theirs.closed()).await, CloseReason::Remote));
    assert_eq!(soon(theirs.recv()).await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_flush_delivers_first_in_every_mode() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let bytes = vec![7; 2 << 20];
    for reliable in [true, false] {
        let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, reliable).await;
        let receive = async {
            let value = theirs.recv().await?.expect("it comes before the end");
            assert_eq!(value.as_bytes().map(|b| b.len()), Some(bytes.len()));
            assert_eq!(theirs.recv().await?, None);
            Ok::<_, peer_net::ReceiveError>(())
        };
        let send = async {
            ours.send_bytes(bytes.clone()).await?;
            assert!(matches!(ours.close_flush().await, CloseReason::Local));
            Ok::<_, SendError>(())
        };
        let (sent, received) = tokio::join!(soon(send), soon(receive));
        sent?;
        received?;
    }
    for serialization in [Serialization::Json, Serialization::Raw] {
        let (ours, theirs) = connected(&alice, &bob, serialization, false).await;
        for _ in 0..20 {
            ours.send("x").await?;
        }
        soon(ours.close_flush()).await;
        for _ in 0..20 {
            assert_eq!(soon(theirs.recv()).await?, Some("x".into()));
        }
        assert_eq!(soon(theirs.recv()).await?, None);
    }
    Ok(())
}

#[tokio::test]
async fn dropping_the_last_handle_delivers_and_closes() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    let clone = ours.clone();
    drop(ours);
    clone.send(&vec![0; 200_000]).await?;
    drop(clone);
    let received = soon(theirs.recv_as::<Vec<u8>>()).await?;
    assert_eq!(received.map(|values| values.len()), Some(200_000));
    assert!(matches!(soon(theirs.closed()).await, CloseReason::Remote));

    Ok(())
}

#[tokio::test]
async fn a_connection_keeps_its_peer_alive() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let mut events = alice.events();
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    drop(alice);
    ours.send("still here").await?;
    assert_eq!(soon(theirs.recv()).await?, Some("still here".into()));
    theirs.send("and back").await?;
    assert_eq!(soon(ours.recv()).await?, Some("and back".into()));

    ours.send(&vec![0; 200_000]).await?;
    drop(ours);
    let received = soon(theirs.recv_as::<Vec<u8>>()).await?;
    assert_eq!(received.map(|values| values.len()), Some(200_000));
    until(&mut events, |event| matches!(event, Event::Closed)).await;
    assert!(matches!(soon(theirs.closed()).await, CloseReason::Remote));
    Ok(())
}

#[tokio::test]
async fn shutdown_delivers_what_was_sent() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, false).await;
    let (other, others) = connected(&alice, &bob, Serialization::Json, true).await;
    ours.try_send(&Value::Bytes(vec![3; 2 << 20].into()))?;
    other.send("last").await?;
    let read = async {
        let big = theirs.recv().await?.expect("it was sent");
        assert_eq!(big.as_bytes().map(|bytes| bytes.len()), Some(2 << 20));
        assert_eq!(others.recv().await?, Some("last".into()));
        Ok::<_, peer_net::ReceiveError>(())
    };
    let ((), read) = tokio::join!(soon(alice.shutdown()), soon(read));
    read?;
    assert!(alice.is_destroyed());
    assert!(matches!(
        ours.send("late").await,
        Err(SendError::Closed(CloseReason::Local))
    ));
    Ok(())
}

#[tokio::test]
async fn messages_keep_their_order_whoever_sends_and_gives_up() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    let read = async {
        let mut firsts = Vec::new();
        while let Some(value) = theirs.recv().await? {
            firsts.push(value.as_bytes().expect("of bytes")[0]);
        }
        Ok::<_, peer_net::ReceiveError>(firsts)
    };
    let write = async {
        let mut sent = Vec::new();
        for round in 0..8_u8 {
            // Far more than the channel takes at once, so nearly all of it still waits.
            let big = Value::Bytes(vec![4 * round; 8 << 20].into());
            if ours.try_send(&big).is_ok() {
                sent.push(4 * round);
            }
            let mut cancelled = Box::pin(ours.send_bytes(vec![4 * round + 1; 100_000]));
            tokio::select! {
                biased;
                result = &mut cancelled => {
                    result?;
                    sent.push(4 * round + 1);
                }
                () = tokio::task::yield_now() => {}
            }
            drop(cancelled);
            ours.send_bytes(vec![4 * round + 2]).await?;
            sent.push(4 * round + 2);
            if ours
                .try_send(&Value::Bytes(vec![4 * round + 3].into()))
                .is_ok()
            {
                sent.push(4 * round + 3);
            }
        }
        ours.close_flush().await;
        Ok::<_, SendError>(sent)
    };
    let (sent, received) = tokio::join!(soon(write), soon(read));
    assert_eq!(sent?, received?);
    Ok(())
}

#[tokio::test]
async fn halves_and_byte_streams() -> Outcome {
    use futures_util::{SinkExt, StreamExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    let (mut send, _receive) = ours.split();
    let (_send, receive) = theirs.split();
    let sending = tokio::spawn(async move {
        for n in 0..500 {
            send.send(n).await?;
        }
        SinkExt::<u32>::close(&mut send).await
    });
    let received: Vec<_> = soon(receive.map(|value| value.ok()?.as_i64()).collect()).await;
    soon(sending).await??;
    assert!(received.into_iter().eq((0..500).map(Some)));

    let (ours, theirs) = connected(&alice, &bob, Serialization::Json, true).await;
    assert!(ours.into_byte_stream().is_err());
    drop(theirs);
    let (ours, theirs) = connected(&alice, &bob, Serialization::Raw, true).await;
    let mut writer = ours.into_byte_stream().expect("raw and reliable");
    let mut reader = theirs.into_byte_stream().expect("raw and reliable");
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n * 7) as u8).collect();
    let mut received = Vec::new();
    let write = async {
        writer.write_all(&bytes).await?;
        writer.shutdown().await
    };
    let (wrote, read) = tokio::join!(soon(write), soon(reader.read_to_end(&mut received)));
    wrote?;
    read?;
    assert!(received == bytes);
    assert!(writer.write_all(b"late").await.is_err());
    Ok(())
}

/// What may be moved into a task, and awaited there.
#[test]
fn handles_and_futures_are_send() {
    fn task<T: Send + 'static>() {}
    fn future<T: Send>(_: T) {}
    task::<Peer>();
    task::<DataConnection>();
    task::<Events>();
    task::<peer_net::SendHalf>();
    task::<peer_net::ReceiveHalf>();
    task::<peer_net::ByteStream>();
    task::<peer_net::Connect>();
    task::<<peer_net::Connect as IntoFuture>::IntoFuture>();
    #[allow(dead_code, reason = "it only has to compile")]
    fn futures(peer: &Peer, connection: &DataConnection, builder: PeerBuilder) {
        future(builder.open());
        future(peer.opened());
        future(peer.connect("bob").into_future());
        future(peer.connect("bob").start());
        future(peer.accept());
        future(peer.disconnect());
        future(peer.reconnect());
        future(peer.shutdown());
        future(peer.closed());
        future(peer.list_all_peers());
        future(connection.opened());
        future(connection.send("text"));
        future(connection.send_text("text"));
        future(connection.send_bytes(Vec::new()));
        future(connection.recv());
        future(connection.recv_as::<String>());
        future(connection.close_flush());
        future(connection.closed());
    }
}

#[tokio::test]
async fn destroy_ends_everything() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let mut events = alice.events();
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, false).await;
    alice.destroy();
    assert!(soon(alice.accept()).await.is_none());
    soon(alice.closed()).await;
    assert!(alice.is_destroyed());
    assert!(matches!(soon(ours.closed()).await, CloseReason::Destroyed));
    assert!(matches!(soon(theirs.closed()).await, CloseReason::Remote));
    assert!(soon(alice.accept()).await.is_none());
    assert!(matches!(
        alice.connect("bob").await,
        Err(ConnectError::Destroyed)
    ));
    assert!(matches!(
        alice.reconnect().await,
        Err(peer_net::ReconnectError::Destroyed)
    ));
    let mut told = Vec::new();
    while let Some(event) = soon(events.next()).await {
        told.push(event);
    }
    let closed = |event: &Event| matches!(event, Event::ConnectionClosed(..));
    assert!(told.iter().any(closed));
    assert!(
        told.iter()
            .any(|event| matches!(event, Event::Disconnected))
    );
    assert!(matches!(told.last(), Some(Event::Closed)));
    assert!(soon(alice.events().next()).await.is_none());
    Ok(())
}

#[tokio::test]
async fn ids_given_and_taken() -> Outcome {
    let broker = broker().await;
    let given = soon(builder(&broker).open()).await?;
    let id = given.id().expect("the broker gave one").to_string();
    assert_eq!(id.len(), 36);
    assert_eq!(
        soon(given.list_all_peers()).await?,
        core::slice::from_ref(&id)
    );
    let taken = soon(builder(&broker).id(&id).open())
        .await
        .expect_err("it is taken");
    assert_eq!(taken.kind(), "unavailable-id");
    assert_eq!(
        taken.to_string(),
        "the id is taken by another peer: ID is taken"
    );
    assert!(given.is_open());
    let invalid = builder(&broker)
        .id("a--b")
        .build()
        .expect_err("PeerJS forbids it");
    assert_eq!(invalid.kind(), "invalid-id");
    let own = given
        .connect(id)
        .await
        .expect_err("a peer cannot call itself");
    assert!(matches!(own, ConnectError::OwnId));
    Ok(())
}

#[tokio::test]
async fn nobody_there() -> Outcome {
    let options = BrokerOptions {
        expire_timeout: Duration::from_millis(200),
        cleanup_out_msgs: Duration::from_millis(100),
        ..BrokerOptions::default()
    };
    let broker = Broker::bind("127.0.0.1:0", options).await?;
    let alice = soon(builder(&broker).id("alice").open()).await?;
    let mut events = alice.events();
    let error = soon(alice.connect("nobody").into_future())
        .await
        .expect_err("nobody is there");
    assert_eq!(error.kind(), "peer-unavailable");
    let ConnectError::Failed(failure) = error else {
        panic!("{error}")
    };
    assert_eq!(failure.failure().stage, Stage::Answer);
    assert_eq!(failure.failure().reason, ConnectionError::PeerUnavailable);
    let event = until(&mut events, |event| matches!(event, Event::Error(_))).await;
    assert!(matches!(event, Event::Error(error) if error.error() == PeerError::PeerUnavailable));
    assert!(alice.is_open() && alice.connections().is_empty());
    Ok(())
}

#[tokio::test]
async fn no_broker_there() -> Outcome {
    let gone = broker().await;
    let with_id = builder(&gone).id("alice");
    let without = builder(&gone);
    gone.shutdown().await;
    let error = soon(with_id.open()).await.expect_err("nobody listens");
    assert_eq!(error.kind(), "network");
    assert!(error.to_string().contains("is it running"), "{error}");
    let error = soon(without.open()).await.expect_err("nobody listens");
    assert_eq!(error.kind(), "server-error");
    Ok(())
}

#[tokio::test]
async fn a_connect_before_the_broker_is_open_is_not_lost() -> Outcome {
    let broker = broker().await;
    let bob = soon(builder(&broker).id("bob").open()).await?;
    let alice = builder(&broker).id("alice").build()?;
    let ours = alice.connect("bob").start().await?;
    ours.send("waited").await?;
    let theirs = soon(bob.accept()).await.expect("bob lives");
    assert_eq!(soon(theirs.recv()).await?, Some("waited".into()));
    Ok(())
}

#[tokio::test]
async fn connections_outlive_the_broker() -> Outcome {
    let first = broker().await;
    let (alice, bob) = peers(&first).await;
    let mut events = alice.events();
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    let address = first.local_addr();
    first.shutdown().await;
    until(&mut events, |event| matches!(event, Event::Disconnected)).await;
    assert_eq!(alice.state(), PeerState::Disconnected);
    ours.send("alive").await?;
    assert_eq!(soon(theirs.recv()).await?, Some("alive".into()));
    assert!(matches!(
        alice.connect("bob").await,
        Err(ConnectError::Disconnected)
    ));

    let _second = Broker::bind(address, BrokerOptions::default()).await?;
    assert_eq!(soon(alice.reconnect()).await?.as_str(), "alice");
    soon(bob.reconnect()).await?;
    ours.send("still").await?;
    assert_eq!(soon(theirs.recv()).await?, Some("still".into()));
    connected(&bob, &alice, Serialization::Json, false).await;
    Ok(())
}

#[tokio::test]
async fn a_peer_that_shall_comes_back_by_itself() -> Outcome {
    let first = broker().await;
    let alice = soon(builder(&first).id("alice").reconnect(true).open()).await?;
    let mut events = alice.events();
    let address = first.local_addr();
    first.shutdown().await;
    until(&mut events, |event| matches!(event, Event::Disconnected)).await;
    let _second = Broker::bind(address, BrokerOptions::default()).await?;
    until(&mut events, |event| matches!(event, Event::Open(_))).await;
    alice.disconnect().await;
    assert_eq!(alice.state(), PeerState::Disconnected);
    until(&mut events, |event| matches!(event, Event::Disconnected)).await;
    Ok(())
}

#[tokio::test]
async fn disconnect_and_reconnect_in_one_breath() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    for _ in 0..5 {
        alice.disconnect().await;
        assert!(alice.is_disconnected());
        assert_eq!(alice.id().expect("it stays known").as_str(), "alice");
        soon(alice.reconnect()).await?;
        assert!(alice.is_open());
    }
    assert!(matches!(
        alice.reconnect().await,
        Err(peer_net::ReconnectError::NotDisconnected)
    ));
    ours.send("here").await?;
    assert_eq!(soon(theirs.recv()).await?, Some("here".into()));
    connected(&bob, &alice, Serialization::Binary, true).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_back_its_sender_and_nobody_else() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (slow, unread) = connected(&alice, &bob, Serialization::Binary, true).await;
    let (quick, read) = connected(&alice, &bob, Serialization::Binary, true).await;
    let piece = vec![1; 64 << 10];
    let mut sent = 0_usize;
    // Stops by itself: no queue on the way is without a limit.
    while timeout(Duration::from_secs(2), slow.send_bytes(piece.clone()))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 64 << 4, "64 MiB wait somewhere");
    }
    while slow.try_send(&sent).is_ok() {}
    assert!(matches!(slow.try_send(&sent), Err(SendError::Congested)));
    quick.send("through").await?;
    assert_eq!(soon(read.recv()).await?, Some("through".into()));
    // The last one was cancelled halfway and comes all the same.
    for _ in 0..sent {
        let value = soon(unread.recv()).await?.expect("it was sent");
        assert_eq!(value.as_bytes().map(|bytes| bytes.len()), Some(piece.len()));
    }
    Ok(())
}

#[tokio::test]
async fn a_cancelled_send_sends_all_or_nothing() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    // More than the channel takes at once, so the next one waits when it is dropped.
    let big = vec![1; 3 << 20];
    ours.send_bytes(big.clone()).await?;
    let mut cancelled = Box::pin(ours.send_bytes(vec![2; 1000]));
    tokio::select! {
        biased;
        _ = &mut cancelled => panic!("three megabytes went at once"),
        () = core::future::ready(()) => {}
    }
    drop(cancelled);
    let whole_or_later = ours.try_send(&big.len());
    let next = async {
        ours.send("next").await?;
        ours.close_flush().await;
        Ok::<_, SendError>(())
    };
    let receive = async {
        let mut received = Vec::new();
        while let Some(value) = theirs.recv().await.expect("it is readable") {
            received.push(value);
        }
        received
    };
    let (sent, received) = tokio::join!(soon(next), soon(receive));
    sent?;
    assert!(
        received
            .iter()
            .any(|value| value.as_bytes().is_some_and(|b| *b == big))
    );
    assert!(received.contains(&"next".into()));
    assert_eq!(received.len(), if whole_or_later.is_ok() { 3 } else { 2 });
    Ok(())
}

#[tokio::test]
async fn try_send_takes_a_message_whole_or_not_at_all() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    let big = Value::Bytes(vec![3; 5 << 20].into());
    ours.try_send(&big)?;
    assert!(matches!(ours.try_send(&big), Err(SendError::Congested)));
    assert_eq!(soon(theirs.recv()).await?, Some(big));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_send_side_by_side() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, false).await;
    let senders: Vec<_> = (0..4_u8)
        .map(|n| {
            let ours = ours.clone();
            tokio::spawn(async move { ours.send_bytes(vec![n; 300_000]).await })
        })
        .collect();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let value = soon(theirs.recv()).await?.expect("four come");
        let bytes = value.as_bytes().expect("of bytes").clone();
        assert!(bytes.len() == 300_000 && bytes.iter().all(|byte| *byte == bytes[0]));
        seen.push(bytes[0]);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3]);
    for sender in senders {
        sender.await??;
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_sent_leaves_the_connection_open() -> Outcome {
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Json, true).await;
    let error = ours
        .send(&"x".repeat(20_000))
        .await
        .expect_err("PeerJS has a limit");
    assert_eq!(error.kind(), "message-too-big");
    assert!(matches!(
        ours.send(&Value::Null).await,
        Err(SendError::Null)
    ));
    ours.send("fits").await?;
    assert_eq!(soon(theirs.recv()).await?, Some("fits".into()));
    let (ours, theirs) = connected(&alice, &bob, Serialization::Raw, true).await;
    let error = ours
        .send_bytes(vec![0; 300_000])
        .await
        .expect_err("the remote said 262,144");
    assert!(matches!(
        error,
        SendError::MessageTooBig {
            size: 300_000,
            limit: 262_144
        }
    ));
    ours.send_bytes(vec![0; 262_144]).await?;
    let value = soon(theirs.recv()).await?.expect("it fits");
    assert_eq!(value.as_bytes().map(|bytes| bytes.len()), Some(262_144));
    Ok(())
}

#[tokio::test]
async fn a_message_over_the_limit_is_dropped_and_the_connection_goes_on() -> Outcome {
    let broker = broker().await;
    let alice = soon(builder(&broker).id("alice").open()).await?;
    let bob = soon(builder(&broker).id("bob").max_message_size(100_000).open()).await?;
    let mut events = bob.events();
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    ours.send_bytes(vec![0; 200_000]).await?;
    ours.send_bytes(vec![0; 90_000]).await?;
    let value = soon(theirs.recv()).await?.expect("the smaller one");
    assert_eq!(value.as_bytes().map(|bytes| bytes.len()), Some(90_000));
    let error = until(&mut events, |event| {
        matches!(event, Event::ConnectionError(..))
    })
    .await;
    assert!(
        matches!(error, Event::ConnectionError(_, error) if error.as_str() == "message-too-big")
    );
    assert_eq!(bob.stats().dropped_messages, 1);
    Ok(())
}

#[tokio::test]
async fn a_peer_that_was_disconnected_on_purpose_stays_away() -> Outcome {
    let broker = broker().await;
    let alice = soon(builder(&broker).id("alice").reconnect(true).open()).await?;
    let mut events = alice.events();
    broker.shutdown().await;
    until(&mut events, |event| matches!(event, Event::Disconnected)).await;
    alice.disconnect().await;
    let error = soon(alice.opened())
        .await
        .expect_err("it does not come back");
    assert_eq!(error.kind(), "network");
    Ok(())
}

#[tokio::test]
async fn a_connection_nobody_wants_any_more_is_given_up() -> Outcome {
    let broker = broker().await;
    let (alice, _bob) = peers(&broker).await;
    let mut events = alice.events();
    drop(alice.connect("bob").start().await?);
    let failed = |event: &Event| matches!(event, Event::ConnectionFailed(..));
    let Event::ConnectionFailed(info, failure) = until(&mut events, failed).await else {
        return Err("another event".into());
    };
    assert_eq!(info.peer().as_str(), "bob");
    assert_eq!(failure.failure().reason, ConnectionError::LocalClosed);
    assert!(alice.connections().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_peer_that_shall_waits_for_its_first_broker() -> Outcome {
    let first = broker().await;
    let address = first.local_addr();
    let alice = builder(&first).reconnect(true);
    first.shutdown().await;
    let alice = alice.build()?;
    assert_eq!(alice.id().map(|id| id.as_str().len()), Some(36));
    let mut events = alice.events();
    until(&mut events, |event| matches!(event, Event::Error(_))).await;
    let _second = Broker::bind(address, BrokerOptions::default()).await?;
    assert_eq!(soon(alice.opened()).await?.as_str().len(), 36);
    Ok(())
}

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
    let bob = builder(&broker).id("bob").max_connections(8);
    let bob = soon(bob.open()).await?;
    let mut names = Vec::new();
    for n in 0..8 {
        let peer = soon(builder(&broker).id(format!("m{n}")).open()).await?;
        let (ours, theirs) = connected(&peer, &bob, Serialization::Binary, true).await;
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

#[tokio::test]
async fn no_duration_is_too_long() -> Outcome {
    let mut options = BrokerOptions {
        expire_timeout: Duration::MAX,
        alive_timeout: Duration::MAX,
        cleanup_out_msgs: Duration::MAX,
        ..BrokerOptions::default()
    };
    options.limits.handshake_timeout = Duration::MAX;
    options.limits.idle_timeout = Duration::MAX;
    options.limits.relay_timeout = Duration::MAX;
    options.limits.write_timeout = Duration::MAX;
    let broker = Broker::bind("127.0.0.1:0", options).await?;
    let rtc = RtcConfig {
        include_loopback: true,
        ip_filter: vec![[127, 0, 0, 1].into()],
        connect_timeout: Duration::MAX,
        disconnected_timeout: Duration::MAX,
        failed_timeout: Duration::MAX,
        ..RtcConfig::default()
    };
    let builder = || {
        Peer::builder()
            .broker(broker.url())
            .rtc(rtc.clone())
            .ping_interval(Duration::MAX)
    };
    let alice = soon(builder().id("alice").open()).await?;
    let bob = soon(builder().id("bob").open()).await?;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    ours.send("through").await?;
    assert_eq!(soon(theirs.recv()).await?, Some("through".into()));
    soon(alice.shutdown()).await;
    soon(bob.shutdown()).await;
    Ok(())
}
