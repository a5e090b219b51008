//! What networks do to packets.

use core::cell::Cell;
use std::rc::Rc;

use peer_core::rtc::sctp::{Config, Outgoing};
use peer_core::time::Duration;

use crate::net::{Net, Path, Random, Size, message};

const ORDERED: Outgoing = Outgoing::message(1, 53);

#[test]
fn nothing_is_lost_or_doubled_or_out_of_order() {
    for seed in 0..40 {
        let mut random = Random::new(seed + 77);
        let path = Path {
            delay: Duration::from_micros(100 + random.below(30_000)),
            jitter: Duration::from_micros(random.below(4_000) * random.below(2)),
            loss: random.below(25) as f64 / 100.0,
            double: random.below(10) as f64 / 100.0,
            rate: random.below(2) * 2_000_000,
            queue: 50_000,
        };
        let size = Size {
            send: 2048 << random.below(8),
            receive: 2048 << random.below(8),
        };
        let mut net = Net::open(seed, size, path);
        let messages: Vec<_> = (0..100)
            .map(|n| {
                let bits = random.below(15);
                message(n, 1 + random.below(1 << bits) as usize)
            })
            .collect();
        net.transfer(0, ORDERED, &messages, Duration::from_secs(3600));
        let read = net.ends[1].messages.iter().map(|m| &m.2);
        assert!(read.eq(&messages), "seed {seed}, {path:?}, {size:?}");
    }
}

/// Unordered messages may come in another order, each once.
#[test]
fn unordered_messages_overtake() {
    let mut overtook = 0;
    for seed in 0..20 {
        let path = Path {
            loss: 0.05,
            ..Path::default()
        };
        let mut net = Net::open(seed, Size::both(1 << 17), path);
        let mut unordered = ORDERED;
        unordered.unordered = true;
        let messages: Vec<_> = (0..300).map(|n| message(n, 1 + (n * 37) % 3000)).collect();
        net.transfer(0, unordered, &messages, Duration::from_secs(600));
        let mut read: Vec<_> = net.ends[1].messages.drain(..).map(|m| m.2).collect();
        overtook += usize::from(read != messages);
        let mut all = messages.clone();
        read.sort();
        all.sort();
        assert!(read == all, "seed {seed}");
        assert!(net.ends.iter().all(|end| end.association.is_idle()));
    }
    assert!(overtook > 10);
}

/// The handshake goes on when any one of its packets is lost.
#[test]
fn any_packet_of_the_handshake_may_be_lost() {
    for lost in 0..6 {
        let mut net = Net::new(lost, Size::both(1 << 14), Path::default());
        let mut number = 0;
        net.dropper = Some(Box::new(move |_, _| {
            number += 1;
            number == lost + 1
        }));
        net.ends[0].association.connect();
        let messages = [message(1, 100)];
        net.transfer(0, ORDERED, &messages, Duration::from_secs(20));
        net.until(Duration::from_secs(1), |net| {
            net.ends.iter().all(|end| end.is_open())
        });
    }
}

/// A lone message whose packet is lost comes after about three round trips, not after a timeout of
/// 400 ms: the probe.
#[test]
fn the_end_is_probed() {
    let mut net = Net::open(9, Size::both(1 << 16), Path::default());
    net.transfer(0, ORDERED, &[message(1, 100)], Duration::from_secs(5));
    let start = net.now;
    let mut lost = false;
    net.dropper = Some(Box::new(move |from, packet| {
        let first = from == 0 && packet.len() > 100 && !lost;
        lost |= first;
        first
    }));
    net.transfer(0, ORDERED, &[message(2, 100)], Duration::from_secs(5));
    let took = net.now.saturating_duration_since(start);
    assert!(took < Duration::from_millis(100), "{took:?}");
}

/// A path that has died is probed a few times until the retransmission timer runs out: each probe
/// waits twice as long as the one before.
#[test]
fn a_dead_path_is_not_flooded_with_probes() {
    let mut net = Net::open(9, Size::both(1 << 16), Path::default());
    net.transfer(0, ORDERED, &[message(1, 100)], Duration::from_secs(5));
    net.dropper = Some(Box::new(|_, _| true));
    let before = net.ends[0].packets;
    let taken = net.ends[0].association.send(ORDERED, &message(2, 100));
    assert_eq!(taken, Ok(100));
    net.flush(0);
    net.run(Duration::from_millis(390));
    let sent = net.ends[0].packets - before;
    assert!((3..=10).contains(&sent), "{sent}");
}

/// What is too long for the path never arrives, and nothing longer is sent but a few probes. On a
/// path that takes them packets are long soon.
#[test]
fn packets_are_no_longer_than_the_path_takes() {
    for takes in [900, 1200] {
        let configs = [1, 2].map(|n| Config::new([n; 8]));
        let mut net = Net::with(5, configs, [Size::both(1 << 16); 2], Path::default());
        let long = Rc::new(Cell::new(0));
        let count = Rc::clone(&long);
        net.dropper = Some(Box::new(move |_, packet| {
            count.set(count.get() + u32::from(packet.len() > 900));
            packet.len() > takes
        }));
        net.ends[0].association.connect();
        let messages: Vec<_> = (0..20).map(|number| message(number, 10_000)).collect();
        net.transfer(0, ORDERED, &messages, Duration::from_secs(20));
        net.transfer(1, ORDERED, &messages, Duration::from_secs(20));
        net.run(Duration::from_secs(30));
        match takes {
            900 => assert_eq!(long.get(), 6, "three probes of each end"),
            _ => assert!(long.get() > 300, "{}", long.get()),
        }
    }
}
