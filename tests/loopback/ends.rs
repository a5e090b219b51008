//! How connections and peers end, and what arrives before.

use super::*;

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
