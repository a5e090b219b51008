//! What is sent arrives: every kind, in order, within limits.

use peer_net::budget;
use tokio::time::sleep;

use super::*;

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

/// More than 16 bits count, and than any window of bytes holds back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_messages_without_number_wait_for_a_reader_who_is_late() -> Outcome {
    const MOST: u32 = 200_000;
    let broker = broker().await;
    let (alice, bob) = peers(&broker).await;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Raw, true).await;
    let mut sent = 0_u32;
    while sent < MOST
        && timeout(
            Duration::from_secs(2),
            ours.send_bytes(sent.to_be_bytes().to_vec()),
        )
        .await
        .is_ok()
    {
        sent += 1;
    }
    println!("{sent} messages are on the way");
    for number in 0..sent {
        let value = soon(theirs.recv()).await?.expect("it was sent");
        let bytes = value.as_bytes().map(|bytes| bytes.to_vec());
        assert_eq!(bytes, Some(number.to_be_bytes().to_vec()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_flood_hold_no_more_than_the_budget_of_the_inboxes() -> Outcome {
    const REMOTES: usize = 4;
    const INBOXES: usize = 1 << 20;
    const MESSAGE: usize = 60_000;
    const EACH: usize = 100;
    let broker = broker().await;
    let bob = builder(&broker).id("bob").inbox_bytes(INBOXES);
    let (alice, bob) = (
        soon(builder(&broker).open()).await?,
        soon(bob.open()).await?,
    );
    let (mut unread, mut floods) = (Vec::new(), Vec::new());
    for _ in 0..REMOTES {
        let (ours, theirs) = connected(&alice, &bob, Serialization::Raw, true).await;
        unread.push(theirs);
        floods.push(tokio::spawn(async move {
            for n in 0..EACH {
                ours.send_bytes(vec![n as u8; MESSAGE]).await?;
            }
            Ok::<_, SendError>(ours)
        }));
    }
    // What left the channels: the budget, the share of each, and a message of each that waits for
    // room. Alone each inbox would hold as much as the budget.
    let arrived = || {
        unread
            .iter()
            .map(DataConnection::bytes_received)
            .sum::<usize>()
    };
    let most = INBOXES + REMOTES * (budget::SHARE + MESSAGE);
    soon(async {
        while arrived() < INBOXES - MESSAGE {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for _ in 0..100 {
        assert!(arrived() <= most, "{} of {most}", arrived());
        sleep(Duration::from_millis(5)).await;
    }
    // Nothing is lost, whoever is read first.
    for theirs in &unread {
        for n in 0..EACH {
            let value = soon(theirs.recv()).await?.expect("it was sent");
            assert!(
                value
                    .as_bytes()
                    .is_some_and(|bytes| bytes.len() == MESSAGE && bytes[0] == n as u8)
            );
        }
    }
    for flood in floods {
        soon(flood).await??;
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
