//! What strangers send, while friends talk.

use std::net::SocketAddr;

use peer_core::peer::Event;

use crate::flights::Random;
use crate::world::{Datagram, Node, Path, SECOND, World};

/// Has both friends say something more, and waits for it.
fn talk(world: &mut World, handles: [peer_core::peer::ConnectionHandle; 2]) {
    let before: Vec<_> = world.nodes.iter().map(|node| node.texts.len()).collect();
    for (n, handle) in handles.into_iter().enumerate() {
        world.nodes[n]
            .queue
            .push_back((handle, String::from("hello")));
    }
    world.until(SECOND, |world| {
        let heard = |n: usize| world.nodes[n].texts.len() > before[n];
        heard(0) && heard(1)
    });
}

fn bytes(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| (random.next() >> 24) as u8).collect()
}

#[test]
fn garbage_from_anywhere_changes_nothing() {
    let (mut world, handles) = World::pair(11, Path::default(), true);
    let friends: Vec<_> = world.nodes.iter().map(|node| node.address).collect();
    for round in 0..400 {
        for n in 0..20_u16 {
            let len = world.random.below(1_500) as usize;
            let mut packet = bytes(&mut world.random, len);
            if let Some(first) = packet.first_mut() {
                *first = [0, 1, 3, 20, 22, 23, 63, 64, 128, 255][usize::from(n) % 10];
            }
            // From strangers, and as if from the friend.
            let from = match n % 4 {
                0 => friends[1],
                _ => SocketAddr::from(([203, 0, 113, n as u8], 1_024 + n)),
            };
            let to = friends[0];
            let at = world.now;
            world.flights.push(at, Datagram { from, to, packet });
        }
        if round % 20 == 0 {
            talk(&mut world, handles);
        } else {
            world.run(SECOND / 100);
        }
    }
    assert!(world.nodes[0].device.dropped() > 1_000);
    let ends = |event: &Event| {
        matches!(
            event,
            Event::ConnectionClosed(_) | Event::ConnectionError(..)
        )
    };
    assert!(!world.nodes.iter().any(|node| node.events.iter().any(ends)));
}

/// What was said before is said again, as it was and with a bit changed, by the friend's address
/// and by strangers, from the handshake on.
#[test]
fn what_is_replayed_and_forged_changes_nothing() {
    let nodes = vec![Node::new::<2, 2>(1, "one"), Node::new::<2, 2>(2, "two")];
    let mut world = World::new(12, nodes);
    world.recorded = Some(Vec::new());
    world.until(SECOND, |world| {
        world.nodes.iter().all(|it| it.has(Event::Open))
    });
    let now = world.now;
    let handle = world.nodes[0].connect(now, "two", true);
    let mut random = Random::new(12);
    let mut forge = |world: &mut World| {
        let recorded = world.recorded.take().unwrap_or_default();
        for _ in 0..10 {
            let Some(count) = (!recorded.is_empty()).then_some(recorded.len() as u64) else {
                break;
            };
            let it = &recorded[random.below(count) as usize];
            let mut packet = it.packet.clone();
            if random.chance(0.7) {
                let at = random.below(packet.len() as u64) as usize;
                packet[at] ^= 1 << random.below(8);
            }
            let from = match random.chance(0.5) {
                true => it.from,
                false => SocketAddr::from(([203, 0, 113, 5], 7_777)),
            };
            let to = it.to;
            let at = world.now + SECOND / 50;
            world.flights.push(at, Datagram { from, to, packet });
        }
        world.recorded = Some(recorded);
    };
    world.until(SECOND * 10, |world| {
        forge(world);
        world.nodes.iter().all(|node| !node.opened().is_empty())
    });
    let handles = [handle, world.nodes[1].opened()[0]];
    for _ in 0..100 {
        forge(&mut world);
        talk(&mut world, handles);
    }
    assert_eq!(world.nodes[0].texts.len(), 100);
    assert_eq!(world.nodes[1].texts.len(), 100);
}

/// Strangers offer without end and never answer a check; the friend that is there stays, and one
/// that comes gets a place.
#[test]
fn a_flood_of_offers_costs_no_friend_its_connection() {
    let nodes = vec![
        Node::new::<4, 4>(1, "device"),
        Node::new::<1, 1>(2, "friend"),
        Node::new::<1, 1>(3, "later"),
    ];
    let mut world = World::online(13, nodes);
    let now = world.now;
    let friend = world.nodes[1].connect(now, "device", true);
    world.until(SECOND * 5, |world| !world.nodes[0].opened().is_empty());
    let here = world.nodes[0].opened()[0];
    let sdp = "v=0\\r\\no=- 1 1 IN IP4 0.0.0.0\\r\\ns=-\\r\\nt=0 0\\r\\n\
               m=application 9 UDP/DTLS/SCTP webrtc-datachannel\\r\\nc=IN IP4 0.0.0.0\\r\\n\
               a=ice-ufrag:abcd\\r\\na=ice-pwd:abcdefghijklmnopqrstuv\\r\\n";
    let hex = ["AB"; 32].join(":");
    let sdp = format!("{sdp}a=fingerprint:sha-256 {hex}\\r\\na=setup:actpass\\r\\na=mid:0\\r\\n");
    for round in 0..300 {
        for stranger in 0..3 {
            let text = format!(
                r#"{{"type":"OFFER","src":"stranger{stranger}","payload":{{"sdp":{{"type":"offer","sdp":"{sdp}"}},"type":"data","connectionId":"dc_{round}_{stranger}","label":"x","reliable":true,"serialization":"binary"}}}}"#
            );
            world.tell(0, text);
        }
        world.run(SECOND / 20);
        if round % 30 == 0 {
            world.nodes[1].queue.push_back((friend, format!("{round}")));
            let last = (here, format!("{round}"));
            world.until(SECOND, |world| world.nodes[0].texts.last() == Some(&last));
        }
    }
    let now = world.now;
    world.nodes[2].connect(now, "device", true);
    world.until(SECOND * 5, |world| !world.nodes[2].opened().is_empty());
    assert!(!world.nodes[0].has(Event::ConnectionClosed(here)));
}
