//! New options while leaves are there.

use peer_core::link::{LeafOutput, LinkError};
use peer_core::peer::Event;
use peer_net::gateway::{Gateway, GatewayError};
use peer_net::{Peer, Serialization};
use tokio::net::{TcpListener, TcpStream};

use crate::device::{Device, timing};
use crate::surroundings::{
    Outcome, bob, broker, entry, from_bob, options, rtc, soon, talk, until, until_status,
};

#[tokio::test]
async fn a_reload_changes_leaves_while_others_stay() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    let mut gateway = Gateway::bind(options.clone()).await?;
    let bob = bob(&broker).await;
    let one = Device::open(&gateway, "one", 1).await;
    let two = Device::open(&gateway, "two", 2).await;
    let (to_one, _) = from_bob(&bob, &one, "one", Serialization::Json).await;
    let (to_two, ours) = from_bob(&bob, &two, "two", Serialization::Json).await;

    let mut bad = options.clone();
    bad.limits.leaves = 0;
    gateway.reload(bad).await.unwrap_err();
    talk(&two, ours, &to_two).await?;

    options.leaves = vec![entry("two", 2), entry("three", 3)];
    gateway.reload(options.clone()).await?;
    soon(to_one.closed()).await;
    one.until(&LeafOutput::Refused(LinkError::UnknownLeaf))
        .await;
    let three = Device::open(&gateway, "three", 3).await;
    talk(&two, ours, &to_two).await?;

    // Another key, and an id that is no longer allowed.
    options.leaves = vec![entry("two", 2), entry("three", 4)];
    options.leaves[0].ids.clear();
    gateway.reload(options).await?;
    soon(to_two.closed()).await;
    let status = until_status(&gateway, |status| {
        let leaf = status.leaves.iter().find(|leaf| leaf.name == "three");
        leaf.is_some_and(|leaf| !leaf.present)
    })
    .await;
    assert!(status.leaves.iter().all(|leaf| leaf.name != "one"));
    for leaf in &status.leaves {
        let end = leaf.last_end.as_deref().unwrap_or_default();
        assert!(end.starts_with("the gateway has another key"), "{end}");
    }
    drop(three);
    Ok(())
}

#[tokio::test]
async fn a_reload_changes_the_broker_and_connections_stay() -> Outcome {
    let old = broker().await;
    let new = broker().await;
    let mut gateway = Gateway::bind(options(&old)).await?;
    let bob = bob(&old).await;
    let leaf = Device::open(&gateway, "one", 1).await;
    let (theirs, ours) = from_bob(&bob, &leaf, "one", Serialization::Json).await;
    leaf.forget();
    gateway.reload(options(&new)).await?;
    leaf.until(&LeafOutput::Event(Event::Disconnected)).await;
    talk(&leaf, ours, &theirs).await?;
    leaf.with(|engine, now| engine.reconnect(now)).await?;
    leaf.until(&LeafOutput::Event(Event::Open)).await;
    let carol = Peer::builder().broker(new.url()).rtc(rtc()).id("carol");
    let carol = soon(carol.open()).await?;
    let (to_carol, of_carol) = from_bob(&carol, &leaf, "one", Serialization::Json).await;
    talk(&leaf, of_carol, &to_carol).await?;
    talk(&leaf, ours, &theirs).await?;
    let status = gateway.status();
    assert_eq!(
        (status.leaves[0].arrivals, status.leaves[0].link.sessions),
        (1, 2)
    );
    Ok(())
}

#[tokio::test]
async fn a_reload_changes_where_leaves_come_from() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    let mut gateway = Gateway::bind(options.clone()).await?;
    let bob = bob(&broker).await;
    let one = Device::open(&gateway, "one", 1).await;
    let (to_one, ours) = from_bob(&bob, &one, "one", Serialization::Json).await;
    let before = gateway.local_addrs()[0];

    // An address that somebody else has: nothing changes, and the leaves named with it do not count
    // either.
    let taken = TcpListener::bind("127.0.0.1:0").await?;
    let mut bad = options.clone();
    bad.listen = vec![([127, 0, 0, 1], 0).into(), taken.local_addr()?];
    bad.leaves.clear();
    let error = gateway.reload(bad).await.unwrap_err();
    assert!(matches!(error, GatewayError::Listen { .. }), "{error}");
    assert_eq!(gateway.local_addrs(), [before]);
    talk(&one, ours, &to_one).await?;

    // Another one in place of the first, and a server that is called. The leaf that is there stays.
    drop(taken);
    let server = TcpListener::bind("127.0.0.1:0").await?;
    options.listen = vec![([127, 0, 0, 2], 0).into()];
    options.connect = vec![server.local_addr()?.to_string()];
    gateway.reload(options.clone()).await?;
    until(async || TcpStream::connect(before).await.err()).await;
    talk(&one, ours, &to_one).await?;
    let (stream, _) = soon(server.accept()).await?;
    let two = Device::start(stream, "two", 2, "two", timing());
    two.until(&LeafOutput::Event(Event::Open)).await;
    let (to_two, theirs) = from_bob(&bob, &two, "two", Serialization::Json).await;

    // The same again changes nothing.
    gateway.reload(options.clone()).await?;
    talk(&two, theirs, &to_two).await?;

    // A server that is no longer named is let go, and its leaf told.
    options.connect.clear();
    gateway.reload(options).await?;
    two.down().await;
    soon(to_two.closed()).await;
    let status = until_status(&gateway, |status| status.present == 1).await;
    let end = status.leaves[1].last_end.as_deref();
    assert_eq!(end, Some("the gateway closed its line"));
    talk(&one, ours, &to_one).await?;
    let one_more = Device::open(&gateway, "two", 2).await;
    gateway.shutdown().await;
    one_more.down().await;
    Ok(())
}
