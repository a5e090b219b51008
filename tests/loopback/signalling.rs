//! Ids, brokers that come and go, and remotes that are not there.

use super::*;

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
    let cause = core::error::Error::source(&error).ok_or("there is a cause")?;
    assert!(cause.to_string().contains("is it running"), "{cause}");
    assert!(!error.to_string().contains("is it running"), "{error}");
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
