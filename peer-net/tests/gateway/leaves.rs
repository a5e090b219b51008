//! Leaves that behave.

use core::future::IntoFuture as _;

use peer_core::link::LeafOutput;
use peer_core::peer::{Event, Peer as Engine, PeerError};
use peer_net::gateway::{ConnectionStatus, Gateway};
use peer_net::{Serialization, Value};
use tokio::net::TcpStream;

use crate::device::{Device, timing};
use crate::surroundings::{
    Outcome, bob, broker, from_bob, options, soon, talk, until, until_status,
};

#[tokio::test]
async fn a_leaf_is_an_ordinary_peer_in_every_serialization() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    let leaf = Device::open(&gateway, "one", 1).await;
    for serialization in [
        Serialization::Binary,
        Serialization::Json,
        Serialization::Raw,
        Serialization::Postcard,
    ] {
        let (theirs, ours) = from_bob(&bob, &leaf, "one", serialization).await;
        let metadata = move |engine: &mut Engine<'_>, _| {
            let connection = engine.connection(ours)?;
            assert_eq!(connection.serialization(), serialization);
            connection.metadata().map(str::to_owned)
        };
        let metadata = leaf.with(metadata).await;
        assert_eq!(metadata.as_deref(), Some(r#"{"from":"bob"}"#));
        talk(&leaf, ours, &theirs).await?;
        // One is closed by the leaf, the next by Bob.
        if serialization == Serialization::Binary {
            let close = move |engine: &mut Engine<'_>, _| {
                engine.connection(ours).map(|mut ours| ours.close())
            };
            leaf.with(close).await;
            soon(theirs.closed()).await;
        } else {
            theirs.close();
        }
        leaf.connection_closed(ours).await;

        let ours = leaf.connect(serialization).await;
        let theirs = soon(bob.accept()).await.expect("bob lives");
        assert_eq!(leaf.connection_open().await, ours);
        assert_eq!(theirs.label(), "readings");
        assert_eq!(
            theirs.metadata(),
            Some(Value::from([("from", Value::from("leaf"))]))
        );
        talk(&leaf, ours, &theirs).await?;
        theirs.close();
        leaf.connection_closed(ours).await;
    }
    let status = until_status(&gateway, |status| status.leaves[0].connections.is_empty()).await;
    let leaf = &status.leaves[0];
    assert_eq!((leaf.name.as_str(), leaf.present), ("one", true));
    assert_eq!(
        (leaf.id.as_deref(), leaf.broker),
        (Some("one"), "connected")
    );
    assert_eq!((leaf.link.sessions, leaf.link.garbage), (8, 0));
    gateway.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn large_messages_and_many_pass_both_ways() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    let leaf = Device::open(&gateway, "one", 1).await;
    let (theirs, ours) = from_bob(&bob, &leaf, "one", Serialization::Binary).await;
    // In two chunks; the leaf's inbox holds one such message.
    let long = "x".repeat(20_000);
    for _ in 0..5 {
        theirs.send(&long).await?;
        assert_eq!(leaf.recv(ours).await, long);
        leaf.send(ours, &long).await;
        let value = soon(theirs.recv_as::<String>()).await?;
        assert_eq!(value.as_ref(), Some(&long));
    }
    let sending = async {
        for n in 0..2_000 {
            leaf.send(ours, &n.to_string()).await;
        }
    };
    let receiving = async {
        for n in 0..2_000 {
            let value = soon(theirs.recv_as::<String>()).await.expect("it is one");
            assert_eq!(value, Some(n.to_string()));
        }
    };
    tokio::join!(sending, receiving);
    for n in 0..500 {
        theirs.send(n.to_string().as_str()).await?;
    }
    for n in 0..500 {
        assert_eq!(leaf.recv(ours).await, n.to_string());
    }
    Ok(())
}

#[tokio::test]
async fn a_full_channel_holds_its_leaf_up_and_loses_nothing() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    // The channel takes less than the engine runs ahead.
    options.limits.connections = 1;
    options.limits.bytes = 256 << 10;
    let gateway = Gateway::bind(options).await?;
    let bob = bob(&broker).await;
    let leaf = Device::open(&gateway, "one", 1).await;
    let (theirs, ours) = from_bob(&bob, &leaf, "one", Serialization::Raw).await;
    let text = |n: usize| format!("{n} {}", "z".repeat(10_000));
    let sending = async {
        for n in 0..300 {
            leaf.send(ours, &text(n)).await;
        }
    };
    let receiving = async {
        for n in 0..300 {
            let value = soon(theirs.recv()).await.expect("it can be read");
            assert_eq!(value, Some(text(n).into()));
        }
    };
    tokio::join!(sending, receiving);
    Ok(())
}

#[tokio::test]
async fn the_remotes_of_a_leaf_that_dies_notice() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    let leaf = Device::open(&gateway, "one", 1).await;
    let (theirs, _) = from_bob(&bob, &leaf, "one", Serialization::Binary).await;
    drop(leaf);
    soon(theirs.closed()).await;
    until_status(&gateway, |status| status.present == 0).await;

    // It comes back under the same id, and once more on a second line while the first is still
    // there.
    let leaf = Device::open(&gateway, "one", 1).await;
    let (theirs, _) = from_bob(&bob, &leaf, "one", Serialization::Binary).await;
    let again = Device::open(&gateway, "one", 1).await;
    soon(theirs.closed()).await;
    leaf.down().await;
    let (theirs, ours) = from_bob(&bob, &again, "one", Serialization::Json).await;
    talk(&again, ours, &theirs).await?;
    let status = gateway.status();
    assert_eq!((status.present, status.leaves[0].arrivals), (1, 3));

    // The gateway ends: leaf and remote notice.
    gateway.shutdown().await;
    soon(theirs.closed()).await;
    again.connection_closed(ours).await;
    Ok(())
}

#[tokio::test]
async fn a_leaf_that_says_little_at_a_time_is_told_that_it_arrived() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    let leaf = Device::open(&gateway, "one", 1).await;
    let (theirs, ours) = from_bob(&bob, &leaf, "one", Serialization::Binary).await;
    for _ in 0..3 {
        talk(&leaf, ours, &theirs).await?;
        // Otherwise the engine would believe more and more to be on its way, and stop at its
        // high-water mark.
        until(async || {
            let buffered =
                move |engine: &mut Engine<'_>, _| Some(engine.connection(ours)?.buffered_amount());
            leaf.with(buffered).await.filter(|buffered| *buffered == 0)
        })
        .await;
    }
    Ok(())
}

#[tokio::test]
async fn the_status_tells_who_is_connected() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    let leaf = Device::open(&gateway, "one", 1).await;
    // PeerJS's label may be anything.
    let hostile = "<img src=x onerror=alert(1)>\u{202e}";
    let connect = bob.connect("one").label(hostile).into_future();
    let (incoming, _) = tokio::join!(soon(connect), leaf.connection_open());
    let incoming = incoming?;
    leaf.connect(Serialization::Json).await;
    let outgoing = soon(bob.accept()).await.expect("bob lives");
    outgoing.send("on").await?;

    let all_open = |connections: &[ConnectionStatus]| {
        let mut open = connections.iter().filter(|c| c.state == "open");
        open.by_ref().count() == 2 && connections.iter().any(|c| c.messages_received == 1)
    };
    let status = until_status(&gateway, |status| all_open(&status.leaves[0].connections)).await;
    let [first, second] = &status.leaves[0].connections[..] else {
        panic!("there are two");
    };
    assert!(first.incoming && !second.incoming);
    for (connection, theirs) in [(first, &incoming), (second, &outgoing)] {
        assert_eq!(connection.peer.as_deref(), Some("bob"));
        assert_eq!(connection.label.as_deref(), Some(theirs.label()));
        let id = theirs.connection_id();
        assert_eq!(connection.connection_id.as_deref(), Some(id));
    }
    assert_eq!(first.label.as_deref(), Some(hostile));
    assert_eq!((second.messages_sent, second.bytes_received), (0, 4));
    Ok(())
}

#[tokio::test]
async fn a_leaf_comes_back_with_the_id_that_the_broker_gave_it() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    for leaf in &mut options.leaves {
        leaf.ids.clear();
        leaf.random_id = true;
    }
    let gateway = Gateway::bind(options).await?;
    let address = gateway.local_addrs()[0];
    let open = LeafOutput::Event(Event::Open);

    let first = Device::start(TcpStream::connect(address).await?, "one", 1, "", timing());
    first.until(&open).await;
    let id = first
        .with(|engine, _| engine.id().map(|id| id.as_str().to_owned()))
        .await
        .expect("it is open");
    drop(first);
    let again = Device::start(TcpStream::connect(address).await?, "one", 1, &id, timing());
    again.until(&open).await;

    // It is nobody else's.
    let thief = Device::start(TcpStream::connect(address).await?, "two", 2, &id, timing());
    let refused = LeafOutput::Event(Event::Error(PeerError::ServerError));
    thief.until(&refused).await;
    Ok(())
}
