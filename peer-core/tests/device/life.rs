//! How connections begin and end, one after another in the same memory.

use peer_core::peer::{ConnectFailure, ConnectionError, Event, RtcFailure, Stage};
use peer_core::rtc::stack::STALE;

use crate::world::{Node, Path, SECOND, World, addr};

#[test]
fn one_connection_after_another_serves_in_the_same_memory() {
    let nodes = vec![Node::new::<1, 1>(1, "one"), Node::new::<1, 1>(2, "two")];
    let mut world = World::online(1, nodes);
    for round in 0..12 {
        let (from, to) = (round % 2, 1 - round % 2);
        let name = ["one", "two"][to];
        let now = world.now;
        let handle = world.nodes[from].connect(now, name, true);
        world.until(SECOND * 20, |world| {
            world
                .nodes
                .iter()
                .all(|node| node.opened().len() == round + 1)
        });
        let other = world.nodes[to].opened()[round];
        let text = format!("round {round}");
        world.nodes[to].queue.push_back((other, text.clone()));
        world.until(SECOND, |world| {
            world.nodes[from].texts.last() == Some(&(handle, text.clone()))
        });
        // Whoever closes, the other one hears of it at once.
        let (closer, handles) = ([from, to][round / 2 % 2], [handle, other]);
        let closes = if closer == from {
            handles[0]
        } else {
            handles[1]
        };
        world.nodes[closer].peer.connection(closes).unwrap().close();
        let ends = [(from, handle), (to, other)];
        world.until(SECOND, |world| {
            let over = |(n, it): (usize, _)| world.nodes[n].has(Event::ConnectionClosed(it));
            ends.into_iter().all(over)
        });
        world.run(SECOND / 10);
    }
}

#[test]
fn a_device_that_is_full_refuses_and_says_so() {
    let nodes = vec![
        Node::new::<2, 1>(1, "full"),
        Node::new::<2, 2>(2, "friend"),
        Node::new::<2, 2>(3, "late"),
    ];
    let mut world = World::online(2, nodes);
    let now = world.now;
    let friend = world.nodes[1].connect(now, "full", true);
    world.until(SECOND * 5, |world| !world.nodes[0].opened().is_empty());
    let now = world.now;
    world.nodes[2].connect(now, "full", true);
    let own = world.nodes[0].connect(now, "late", true);
    let lacks = ConnectionError::Rtc(RtcFailure::Resources);
    let failed = |event: &&Event| match event {
        Event::ConnectionFailed(_, failure) => failure.reason == lacks,
        _ => false,
    };
    world.until(SECOND * 5, |world| {
        world.nodes[0].events.iter().filter(failed).count() == 2
    });
    let stage = Stage::Offer;
    let failure = ConnectFailure {
        stage,
        reason: lacks,
    };
    assert!(world.nodes[0].has(Event::ConnectionFailed(own, failure)));
    // The friend notices nothing.
    world.nodes[1]
        .queue
        .push_back((friend, String::from("hello")));
    world.until(SECOND, |world| world.nodes[0].texts.len() == 1);
}

#[test]
fn a_remote_that_answers_nothing_gives_its_place_back() {
    let nodes = vec![Node::new::<1, 1>(1, "one"), Node::new::<1, 1>(2, "two")];
    let mut world = World::online(3, nodes);
    for round in 0..3 {
        world.path.loss = 1.0;
        let now = world.now;
        let handle = world.nodes[0].connect(now, "two", true);
        let failed =
            |event: &Event| matches!(event, Event::ConnectionFailed(it, _) if *it == handle);
        world.until(SECOND * 31, |world| {
            world.nodes[0].events.iter().any(failed)
        });
        world.run(SECOND * 2);
        world.path.loss = 0.0;
        let now = world.now;
        let handle = world.nodes[0].connect(now, "two", true);
        world.until(SECOND * 5, |world| {
            world.nodes[0].opened().len() == round + 1
        });
        world.nodes[0].peer.connection(handle).unwrap().close();
        world.run(SECOND);
    }
}

#[test]
fn a_connection_survives_another_address_of_its_device() {
    let (mut world, handles) = World::pair(4, Path::default(), true);
    for (n, new) in [(0, "198.51.100.7:6000"), (1, "198.51.100.8:7000")] {
        let now = world.now;
        let node = &mut world.nodes[n];
        node.address = addr(new);
        node.device.set_addresses(now, &[node.address]);
        for (side, handle) in handles.into_iter().enumerate() {
            let text = (handle, format!("from {side}"));
            world.nodes[side].queue.push_back(text);
        }
        let before: Vec<_> = world.nodes.iter().map(|node| node.texts.len()).collect();
        world.until(STALE, |world| {
            let heard = |(node, before): (&Node, usize)| node.texts.len() > before;
            world.nodes.iter().zip(before.clone()).all(heard)
        });
    }
}

#[test]
fn a_remote_that_vanishes_is_missed_and_its_place_serves_again() {
    let nodes = vec![
        Node::new::<1, 1>(1, "device"),
        Node::new::<1, 1>(2, "gone"),
        Node::new::<1, 1>(3, "next"),
    ];
    let mut world = World::online(5, nodes);
    let now = world.now;
    world.nodes[1].connect(now, "device", true);
    world.until(SECOND * 5, |world| !world.nodes[0].opened().is_empty());
    let lost = world.nodes[0].opened()[0];
    world.nodes[1].address = addr("203.0.113.1:9");
    world.until(SECOND * 80, |world| {
        world.nodes[0].has(Event::ConnectionClosed(lost))
    });
    let now = world.now;
    world.nodes[2].connect(now, "device", true);
    world.until(SECOND * 5, |world| world.nodes[0].opened().len() == 2);
}

/// Randomness that fails costs the connection that needs it, and no place.
#[test]
fn a_source_of_randomness_that_fails_for_a_while_costs_no_place() {
    let nodes = vec![Node::new::<2, 1>(1, "one"), Node::new::<2, 1>(2, "two")];
    let mut world = World::online(17, nodes);
    world.nodes[0].is_random.set(false);
    for _ in 0..3 {
        let now = world.now;
        let lost = world.nodes[0].connect(now, "two", true);
        let failed = |event: &Event| matches!(event, Event::ConnectionFailed(it, _) if *it == lost);
        // A step goes on to the next heartbeat where nothing else is under way.
        world.until(SECOND * 10, |world| {
            world.nodes[0].events.iter().any(failed)
        });
    }
    world.nodes[0].is_random.set(true);
    let now = world.now;
    world.nodes[0].connect(now, "two", true);
    world.until(SECOND * 5, |world| {
        world.nodes.iter().all(|node| !node.opened().is_empty())
    });
}
