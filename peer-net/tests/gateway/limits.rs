//! What happens at each limit.

use core::time::Duration;
use std::io::ErrorKind;

use peer_core::link::LeafOutput;
use peer_core::link::Timing;
use peer_core::peer::{ConnectionError, Event, Peer as Engine, RtcFailure};
use peer_net::gateway::{Gateway, RateLimit};
use peer_net::{Peer, RtcConfig, Serialization};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::device::{Device, timing};
use crate::surroundings::{
    Outcome, bob, broker, from_bob, options, rtc, soon, talk, until, until_status,
};

#[tokio::test]
async fn limits_hold() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    options.limits.leaves = 1;
    options.limits.connections = 1;
    options.limits.bytes = 1 << 20;
    let gateway = Gateway::bind(options).await?;
    let bob = bob(&broker).await;
    let leaf = Device::open(&gateway, "one", 1).await;
    let (theirs, ours) = from_bob(&bob, &leaf, "one", Serialization::Json).await;

    // One connection too many fails at once, and harms not the first.
    let second = leaf.connect(Serialization::Json).await;
    let resources = ConnectionError::Rtc(RtcFailure::Resources);
    assert_eq!(leaf.connection_failed(second).await, resources);
    talk(&leaf, ours, &theirs).await?;

    // One leaf too many is cut; once there is room it may come.
    let two = Device::tcp(&gateway, "two", 2).await;
    two.down().await;
    assert_eq!(gateway.status().refused.limit, 1);
    drop(leaf);
    until_status(&gateway, |status| status.present == 0).await;
    let _two = Device::open(&gateway, "two", 2).await;
    assert_eq!(gateway.status().leaves[0].link.refused_commands, 1);
    Ok(())
}

#[tokio::test]
async fn a_leaf_that_stops_reading_is_cut() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    options.limits.stall = Duration::from_millis(300);
    // What is not acknowledged comes again at once, which fills what the system holds for the leaf.
    options.timing.resend = Duration::from_millis(20);
    let gateway = Gateway::bind(options).await?;
    let bob = bob(&broker).await;
    let good = Device::open(&gateway, "two", 2).await;
    let (theirs, ours) = from_bob(&bob, &good, "two", Serialization::Json).await;

    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let stream = socket.connect(gateway.local_addrs()[0]).await?;
    let patient = Timing {
        dead_after: Duration::from_secs(600),
        ..timing()
    };
    let leaf = Device::start(stream, "one", 1, "one", patient);
    leaf.until(&LeafOutput::Event(Event::Open)).await;
    let (unheard, _) = from_bob(&bob, &leaf, "one", Serialization::Binary).await;
    leaf.deaf().await;
    let mut sent = 0;
    while unheard.send(&"q".repeat(15_000)).await.is_ok() {
        sent += 1;
        if sent % 16 == 0 {
            talk(&good, ours, &theirs).await?;
        }
    }
    soon(unheard.closed()).await;
    let status = until_status(&gateway, |status| status.present == 1).await;
    let end = status.leaves[0].last_end.as_deref();
    assert_eq!(end, Some("it took no byte for 0.3 s"));
    talk(&good, ours, &theirs).await?;
    // It may come again, here in place of itself.
    Device::open(&gateway, "one", 1).await;
    Ok(())
}

#[tokio::test]
async fn a_session_whose_remote_stops_reading_is_closed() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    options.limits.connections = 2;
    // What the channels take is less than the engine runs ahead.
    options.limits.bytes = 512 << 10;
    options.limits.stall = Duration::from_millis(300);
    let gateway = Gateway::bind(options).await?;
    let bob = bob(&broker).await;
    let good = Device::open(&gateway, "two", 2).await;
    let (theirs, ours) = from_bob(&bob, &good, "two", Serialization::Json).await;
    let leaf = Device::open(&gateway, "one", 1).await;
    let (its_other, other) = from_bob(&bob, &leaf, "one", Serialization::Json).await;

    let small = RtcConfig {
        max_message_size: 16 << 10,
        receive_window: 32 << 10,
        receive_buffer: 16 << 10,
        ..rtc()
    };
    let carol = Peer::builder().broker(broker.url()).rtc(small).id("carol");
    let carol = soon(carol.open()).await?;
    let (unread, flooding) = from_bob(&carol, &leaf, "one", Serialization::Raw).await;
    let text = "f".repeat(10_000);
    let fill = async || {
        let alive = move |engine: &mut Engine<'_>, _| engine.connection(flooding).is_some();
        leaf.fill(flooding, &text).await;
        talk(&good, ours, &theirs).await.expect("it is not harmed");
        let status = gateway.status();
        let flooding = status.leaves[0].connections.iter().max_by_key(|c| c.number);
        if let Some(flooding) = flooding {
            assert!(flooding.buffered <= 256 << 10, "{}", flooding.buffered);
        }
        (!leaf.with(alive).await).then_some(())
    };
    until(fill).await;
    soon(unread.closed()).await;
    let status = until_status(&gateway, |status| status.leaves[0].connections.len() == 1).await;
    assert_eq!(status.leaves[0].link.stalled, 1);
    assert_eq!(status.leaves[0].arrivals, 1);
    talk(&leaf, other, &its_other).await?;
    Ok(())
}

#[tokio::test]
async fn sessions_and_broker_sockets_have_a_rate() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    let rare = |burst| RateLimit {
        burst,
        per_second: 0,
    };
    options.limits.sessions = rare(3);
    options.limits.opens = rare(2);
    let gateway = Gateway::bind(options).await?;
    let bob = bob(&broker).await;
    let good = Device::open(&gateway, "two", 2).await;
    let (theirs, ours) = from_bob(&bob, &good, "two", Serialization::Json).await;
    let leaf = Device::open(&gateway, "one", 1).await;
    for _ in 0..3 {
        let ours = leaf.connect(Serialization::Json).await;
        let theirs = soon(bob.accept()).await.expect("bob lives");
        assert_eq!(leaf.connection_open().await, ours);
        theirs.close();
        leaf.connection_closed(ours).await;
    }
    let resources = ConnectionError::Rtc(RtcFailure::Resources);
    let one_more = leaf.connect(Serialization::Json).await;
    assert_eq!(leaf.connection_failed(one_more).await, resources);

    // One socket has been opened.
    for opens in [true, false] {
        leaf.forget();
        leaf.with(|engine, now| engine.disconnect(now)).await;
        leaf.until(&LeafOutput::Event(Event::Disconnected)).await;
        leaf.forget();
        leaf.with(|engine, now| engine.reconnect(now)).await?;
        leaf.until(&LeafOutput::Event(match opens {
            true => Event::Open,
            false => Event::Disconnected,
        }))
        .await;
    }
    let status = gateway.status();
    assert_eq!(status.leaves[0].link.refused_commands, 2);
    assert_eq!(status.leaves[1].link.refused_commands, 0);
    talk(&good, ours, &theirs).await?;

    // Neither is given back by coming again.
    drop(leaf);
    until_status(&gateway, |status| status.present == 1).await;
    let leaf = Device::tcp(&gateway, "one", 1).await;
    leaf.until(&LeafOutput::Event(Event::Disconnected)).await;
    Ok(())
}

#[tokio::test]
async fn streams_without_a_proved_key_are_few_and_short() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    options.limits.unproven = 2;
    let mut gateway = Gateway::bind(options.clone()).await?;
    let good = Device::open(&gateway, "two", 2).await;
    let address = gateway.local_addrs()[0];
    let mut streams = Vec::new();
    for count in [1, 2, 2] {
        let came = gateway.status().streams;
        streams.push(TcpStream::connect(address).await?);
        until_status(&gateway, |status| status.streams > came).await;
        until_status(&gateway, |status| status.unproven == count).await;
    }
    assert_eq!(soon(streams[0].read(&mut [0])).await?, 0);
    assert_eq!(gateway.status().refused.unproven, 1);
    streams.remove(0);

    // One from elsewhere takes the place of one of these, and is not driven away by more of them.
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 3], 0).into())?;
    streams.insert(0, socket.connect(address).await?);
    for refused in 2..10 {
        until_status(&gateway, |status| status.refused.unproven == refused).await;
        streams.push(TcpStream::connect(address).await?);
    }
    until_status(&gateway, |status| status.refused.unproven == 10).await;
    let elsewhere = streams[0].try_read(&mut [0]);
    let kind = elsewhere.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::WouldBlock), "it is still open");

    // The others have 30 seconds, until the limit is another.
    options.limits.prove_within = Duration::from_millis(50);
    gateway.reload(options).await?;
    for stream in &mut streams {
        assert_eq!(soon(stream.read(&mut [0])).await?, 0);
    }
    let status = until_status(&gateway, |status| status.unproven == 0).await;
    assert_eq!((status.refused.unproven, status.present), (12, 1));
    good.with(|engine, now| engine.disconnect(now)).await;
    Ok(())
}
