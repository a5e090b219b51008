//! Messages, both ways, and what holds them back.

use peer_core::peer::Event;
use peer_core::time::Duration;

use crate::flights::Random;
use crate::world::{Path, SECOND, World};

fn path(random: &mut Random, loss: f64) -> Path {
    Path {
        delay: Duration::from_micros(500 + random.below(60_000)),
        jitter: Duration::from_micros(random.below(20_000)),
        loss,
        double: 0.05,
    }
}

#[test]
fn messages_come_once_and_in_order_both_ways_whatever_the_network_does() {
    for seed in 0..30 {
        let mut random = Random::new(seed);
        let loss = [0.0, 0.02, 0.10][seed as usize % 3];
        let reliable = seed % 2 == 0;
        let (mut world, handles) = World::pair(seed, path(&mut random, loss), reliable);
        let said: Vec<Vec<String>> = (0..2)
            .map(|n| {
                let text = |k| format!("{n} {k} {}", "x".repeat(random.below(1_500) as usize));
                (0..60).map(text).collect()
            })
            .collect();
        for (n, texts) in said.iter().enumerate() {
            let queue = texts.iter().map(|text| (handles[n], text.clone()));
            world.nodes[n].queue.extend(queue);
        }
        world.until(SECOND * 120, |world| {
            world.nodes.iter().all(|node| node.texts.len() >= 60)
        });
        for (n, texts) in said.iter().enumerate() {
            let heard = &world.nodes[1 - n].texts;
            let mut heard: Vec<_> = heard.iter().map(|(_, text)| text.clone()).collect();
            let mut texts = texts.clone();
            if !reliable {
                heard.sort();
                texts.sort();
            }
            assert_eq!(heard, texts, "seed {seed}");
        }
    }
}

#[test]
fn a_device_that_does_not_read_holds_the_other_back_and_loses_nothing() {
    let (mut world, handles) = World::pair(7, Path::default(), true);
    world.nodes[1].reads = false;
    let texts: Vec<_> = (0..200)
        .map(|n| format!("{n} {}", "y".repeat(200)))
        .collect();
    let queue = texts.iter().map(|text| (handles[0], text.clone()));
    world.nodes[0].queue.extend(queue);
    world.run(SECOND * 20);
    let waiting = world.nodes[0].queue.len();
    // In the inbox, the window, the send half and the outbox are 8 KB.
    assert!((150..190).contains(&waiting), "{waiting}");
    // It goes on for the other direction.
    let back = (handles[1], String::from("still here"));
    world.nodes[1].queue.push_back(back);
    world.until(SECOND, |world| world.nodes[0].texts.len() == 1);

    world.nodes[1].reads = true;
    world.until(SECOND * 30, |world| world.nodes[1].texts.len() == 200);
    let heard = world.nodes[1].texts.iter().map(|(_, text)| text);
    assert!(heard.eq(&texts));
}

/// 100 KB of one message through an inbox of 2 KB, in chunks as short as ours and as long as
/// PeerJS's.
#[test]
fn a_message_longer_than_all_memory_passes_in_pieces() {
    for (loss, chunk) in [(0.0, 1_000), (0.05, 1_000), (0.0, 16_300), (0.05, 16_300)] {
        let (mut world, handles) = World::pair(
            8,
            Path {
                loss,
                ..Path::default()
            },
            true,
        );
        world.nodes[1].reads = false;
        let mut connection = world.nodes[1].peer.connection(handles[1]).unwrap();
        connection.set_streaming(true);
        let whole: Vec<u8> = (0..102_400_u32).map(|n| ((n * 7) >> 3) as u8).collect();
        let mut connection = world.nodes[0].peer.connection(handles[0]).unwrap();
        connection.stream(whole.len(), chunk).unwrap();
        world.nodes[1].pieces = Some(Default::default());
        let mut written = 0;
        world.until(SECOND * 60, |world| {
            let mut connection = world.nodes[0].peer.connection(handles[0]).unwrap();
            while written < whole.len()
                && let Ok(taken) = connection.stream_write(&whole[written..])
            {
                written += taken;
            }
            let (_, heard) = world.nodes[1].pieces.as_ref().unwrap();
            !heard.is_empty()
        });
        let (_, heard) = world.nodes[1].pieces.as_ref().unwrap();
        assert!(*heard == [whole]);
    }
}

#[test]
fn a_flush_close_delivers_what_was_said() {
    for seed in 0..5 {
        let loss = [0.0, 0.1][seed as usize % 2];
        let (mut world, handles) = World::pair(
            seed,
            Path {
                loss,
                ..Path::default()
            },
            true,
        );
        let texts = (0..5).map(|n| (handles[0], format!("{n} {}", "z".repeat(300))));
        world.nodes[0].queue.extend(texts);
        world.until(SECOND, |world| world.nodes[0].queue.is_empty());
        let now = world.now;
        let mut connection = world.nodes[0].peer.connection(handles[0]).unwrap();
        connection.close_flush(now);
        let over = Event::ConnectionClosed(handles[1]);
        world.until(SECOND * 9, |world| world.nodes[1].has(over));
        assert_eq!(world.nodes[1].texts.len(), 5, "seed {seed}");
        let over = Event::ConnectionClosed(handles[0]);
        world.until(SECOND * 9, |world| world.nodes[0].has(over));
    }
}
