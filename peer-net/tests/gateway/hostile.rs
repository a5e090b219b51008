//! Leaves and strangers that do not behave: it harms nobody else.

use core::time::Duration;

use peer_core::link::{LeafOutput, LinkError, Timing};
use peer_core::peer::{Event, PeerError};
use peer_net::Serialization;
use peer_net::gateway::{Gateway, GatewayStatus, RateLimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::device::{Device, timing};
use crate::surroundings::{Outcome, bob, broker, from_bob, options, soon, talk, until_status};

#[tokio::test]
async fn a_leaf_that_falls_silent_is_cut() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    options.timing = Timing {
        keep_alive: Duration::from_millis(500),
        dead_after: Duration::from_secs(2),
        ..Timing::default()
    };
    let gateway = Gateway::bind(options).await?;
    let bob = bob(&broker).await;
    // Its stream stays open when it has died.
    let (stream, bridge) = tokio::io::duplex(1 << 16);
    let mut tcp = TcpStream::connect(gateway.local_addrs()[0]).await?;
    let bridge = tokio::spawn(async move {
        let (mut from, mut to) = tcp.split();
        let (mut near, mut far) = tokio::io::split(bridge);
        let _ = tokio::join!(
            tokio::io::copy(&mut from, &mut far),
            tokio::io::copy(&mut near, &mut to)
        );
        core::future::pending::<()>().await;
    });
    let leaf = Device::start(stream, "one", 1, "one", timing());
    leaf.until(&LeafOutput::Event(Event::Open)).await;
    let (theirs, _) = from_bob(&bob, &leaf, "one", Serialization::Binary).await;
    drop(leaf);
    // More than the link has room for, so something is held.
    let sending = async {
        loop {
            if theirs.send(&"q".repeat(15_000)).await.is_err() {
                return;
            }
        }
    };
    soon(sending).await;
    let status = until_status(&gateway, |status| status.present == 0).await;
    // Whichever is found first.
    let end = status.leaves[0].last_end.as_deref().unwrap_or_default();
    assert!(
        end.contains("silent") || end.contains("never acknowledged"),
        "{end}"
    );
    bridge.abort();
    Ok(())
}

#[tokio::test]
async fn wrong_keys_names_and_ids_are_refused() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let wrong = Device::tcp(&gateway, "one", 9).await;
    wrong.until(&LeafOutput::Refused(LinkError::Key)).await;
    let nobody = Device::tcp(&gateway, "three", 1).await;
    nobody
        .until(&LeafOutput::Refused(LinkError::UnknownLeaf))
        .await;
    let stream = TcpStream::connect(gateway.local_addrs()[0]).await?;
    let thief = Device::start(stream, "one", 1, "two", timing());
    thief
        .until(&LeafOutput::Event(Event::Error(PeerError::ServerError)))
        .await;
    let status = until_status(&gateway, |status| status.leaves[0].link.refused_ids == 1).await;
    assert!(status.refused.name > 0);
    // The leaf itself finds out that the gateway has another key, and says so.
    assert!(status.refused.key > 0);
    assert_eq!(status.present, 1);
    Ok(())
}

/// A frame as the specification of the link has it.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut crc: u16 = 0xFFFF;
    for byte in body {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            };
        }
    }
    let mut plain = body.to_vec();
    plain.extend_from_slice(&crc.to_le_bytes());
    let mut out = vec![0];
    // No frame here is long enough for a block without a zero.
    for block in plain.split(|byte| *byte == 0) {
        out.push(block.len() as u8 + 1);
        out.extend_from_slice(block);
    }
    out.push(0);
    out
}

#[tokio::test]
async fn one_that_floods_or_lies_harms_no_other() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    let good = Device::open(&gateway, "two", 2).await;
    let (theirs, ours) = from_bob(&bob, &good, "two", Serialization::Json).await;

    // Garbage from strangers, one of them without an end.
    let address = gateway.local_addrs()[0];
    let flood = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await?;
        let garbage: Vec<u8> = (0..100_000_u32).map(|n| (n * 31 + n / 256) as u8).collect();
        loop {
            stream.write_all(&garbage).await?;
            tokio::task::yield_now().await;
        }
        #[expect(unreachable_code, reason = "it tells the type")]
        Ok::<_, std::io::Error>(())
    });
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(address).await?);
    }
    talk(&good, ours, &theirs).await?;

    // A leaf that sends as fast as it can to a browser that reads nothing.
    let fast = Device::open(&gateway, "one", 1).await;
    let (unread, flooding) = from_bob(&bob, &fast, "one", Serialization::Raw).await;
    let text = "f".repeat(10_000);
    for _ in 0..100 {
        fast.fill(flooding, &text).await;
        talk(&good, ours, &theirs).await?;
    }

    // Garbage in its own session harms nobody, not even itself; a lie ends it, and it may begin
    // anew.
    fast.noise([0xA5; 3_000]).await;
    until_status(&gateway, |status| status.leaves[0].link.garbage > 0).await;
    let lies = (0..=255).flat_map(|number| sealed(&[0x10, number, 1]));
    fast.forget();
    fast.noise(lies.collect::<Vec<_>>()).await;
    soon(unread.closed()).await;
    fast.down().await;
    fast.until(&LeafOutput::Up).await;
    talk(&good, ours, &theirs).await?;

    let status = until_status(&gateway, |status| status.present == 2).await;
    assert!(status.refused.unproven > 0, "the oldest streams gave way");
    let of_good = &status.leaves[1];
    assert_eq!((of_good.arrivals, of_good.link.garbage), (1, 0));
    flood.abort();
    Ok(())
}

#[tokio::test]
async fn one_that_dies_in_the_middle_of_a_frame_is_gone() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    let good = Device::open(&gateway, "two", 2).await;
    let (theirs, ours) = from_bob(&bob, &good, "two", Serialization::Json).await;
    let half = sealed(&[0x13, 0, 2, 3]);
    for _ in 0..3 {
        let leaf = Device::open(&gateway, "one", 1).await;
        let (lost, _) = from_bob(&bob, &leaf, "one", Serialization::Binary).await;
        leaf.noise(&half[..4]).await;
        drop(leaf);
        soon(lost.closed()).await;
        let status = until_status(&gateway, |status| status.present == 1).await;
        let end = status.leaves[0].last_end.as_deref().unwrap_or_default();
        assert!(end.starts_with("its line is gone"), "{end}");
        assert!(status.leaves[0].connections.is_empty());
        talk(&good, ours, &theirs).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_thousand_connects_at_once_are_counted_and_leave_nothing() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    options.limits.unproven = 16;
    let gateway = Gateway::bind(options).await?;
    let bob = bob(&broker).await;
    let good = Device::open(&gateway, "two", 2).await;
    let (theirs, ours) = from_bob(&bob, &good, "two", Serialization::Json).await;
    let address = gateway.local_addrs()[0];
    let source = gateway.status_source();
    let flood = tokio::spawn(async move {
        let mut open = Vec::new();
        for n in 0..1_000_u32 {
            let mut stream = TcpStream::connect(address).await?;
            // Some leave at once, some say something first, some stay.
            if n % 2 == 0 {
                let _ = stream.write_all(&[0, 9, 1, 1, 7]).await;
            }
            if n % 3 == 0 {
                open.push(stream);
            }
            assert!(source.status().unproven <= 16, "the limit holds");
        }
        Ok::<_, std::io::Error>(open)
    });
    while !flood.is_finished() {
        talk(&good, ours, &theirs).await?;
    }
    drop(flood.await??);
    let status = until_status(&gateway, |status| status.unproven == 0).await;
    assert_eq!((status.streams, status.present), (1_001, 1));
    assert!(status.refused.unproven > 0, "the oldest gave way");
    talk(&good, ours, &theirs).await?;
    Ok(())
}

#[tokio::test]
async fn a_leaf_that_comes_again_and_again_has_to_wait() -> Outcome {
    let broker = broker().await;
    let mut options = options(&broker);
    options.limits.arrivals = RateLimit {
        burst: 3,
        per_second: 1,
    };
    let gateway = Gateway::bind(options).await?;
    let bob = bob(&broker).await;
    let good = Device::open(&gateway, "two", 2).await;
    let (theirs, ours) = from_bob(&bob, &good, "two", Serialization::Json).await;
    // It has the key, and so it comes in the place of the one before.
    let mut again = Vec::new();
    let came = |status: &GatewayStatus| {
        status.refused.rate + status.leaves.first().map_or(0, |leaf| leaf.arrivals)
    };
    while gateway.status().refused.rate < 5 {
        let before = came(&gateway.status());
        again.push(Device::tcp(&gateway, "one", 1).await);
        until_status(&gateway, |status| came(status) > before).await;
        talk(&good, ours, &theirs).await?;
    }
    // The last one that was let in stays, and once it has gone another one may come in time.
    assert!(gateway.status().leaves[0].arrivals >= 3);
    drop(again);
    until_status(&gateway, |status| status.present == 1).await;
    let arrivals = gateway.status().leaves[0].arrivals;
    while gateway.status().leaves[0].arrivals == arrivals {
        let before = came(&gateway.status());
        let _again = Device::tcp(&gateway, "one", 1).await;
        until_status(&gateway, |status| came(status) > before).await;
    }
    talk(&good, ours, &theirs).await?;
    Ok(())
}

#[tokio::test]
async fn a_stranger_may_say_only_so_much() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let mut stream = TcpStream::connect(gateway.local_addrs()[0]).await?;
    // Garbage, and frames that only one may send who has proved a key.
    let noise = [sealed(&[0x13, 0, 1]), vec![0xA5; 1_000]].concat();
    let talking = async { while stream.write_all(&noise).await.is_ok() {} };
    soon(talking).await;
    let status = until_status(&gateway, |status| status.unproven == 0).await;
    assert_eq!(status.refused.unproven, 1);
    assert!(status.refused.garbage > 100, "{:?}", status.refused);
    Ok(())
}

#[tokio::test]
async fn a_handshake_that_was_overheard_is_worth_nothing() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let address = gateway.local_addrs()[0];
    // Between the leaf and its gateway somebody listens.
    let (stream, near) = tokio::io::duplex(1 << 16);
    let listener = tokio::spawn(async move {
        let (mut from, mut to) = TcpStream::connect(address).await?.into_split();
        let (mut near_from, mut near_to) = tokio::io::split(near);
        tokio::spawn(async move { tokio::io::copy(&mut from, &mut near_to).await });
        let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let len = near_from.read(&mut piece).await?;
            if len == 0 {
                return Ok::<_, std::io::Error>(heard);
            }
            heard.extend_from_slice(&piece[..len]);
            to.write_all(&piece[..len]).await?;
        }
    });
    let leaf = Device::start(stream, "one", 1, "one", timing());
    leaf.until(&LeafOutput::Event(Event::Open)).await;
    drop(leaf);
    let heard = listener.await??;
    until_status(&gateway, |status| status.present == 0).await;

    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&heard).await?;
    let status = until_status(&gateway, |status| status.refused.key > 0).await;
    assert_eq!((status.present, status.leaves[0].arrivals), (0, 1));
    Ok(())
}
