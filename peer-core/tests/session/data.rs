//! Messages, and paths that change under them.

use std::cell::Cell;
use std::rc::Rc;

use peer_core::rtc::session::{Event, Kind, Outgoing};
use peer_core::time::Duration;

use crate::net::{Client, Net, Path, Random, SECOND};

/// Messages from 0 bytes to 256 KiB.
fn messages(seed: u64) -> Vec<(Kind, Vec<u8>)> {
    let mut random = Random::new(seed);
    let lens = [
        1, 0, 2, 1_099, 1_100, 1_160, 5_000, 16_384, 0, 70_000, 262_144, 1,
    ];
    let kinds = [Kind::Binary, Kind::Text];
    let each = lens.iter().enumerate();
    each.map(|(i, len)| (kinds[i % 2], random.bytes(*len)))
        .collect()
}

#[test]
fn messages_of_all_lengths_both_ways_in_order_and_not() {
    for (seed, ordered, bad) in [
        (1, true, false),
        (2, false, false),
        (3, true, true),
        (4, false, true),
    ] {
        let mut net = Net::open(seed, Client::Answerer, 0, ordered);
        if bad {
            net.path = Path {
                jitter: Duration::from_millis(4),
                loss: 0.02,
                double: 0.05,
                ..Path::default()
            };
        }
        for end in 0..2 {
            net.ends[end].queue.extend(messages(seed + end as u64));
        }
        net.until(SECOND * 120, |net| {
            net.ends.iter().all(|end| end.messages.len() >= 12)
        });
        for end in 0..2 {
            let mut expected = messages(seed + 1 - end as u64);
            let mut got = std::mem::take(&mut net.ends[end].messages);
            if !ordered {
                let key = |(kind, bytes): &(Kind, Vec<u8>)| (*kind == Kind::Text, bytes.clone());
                expected.sort_by_key(key);
                got.sort_by_key(key);
            }
            assert!(got == expected, "seed {seed}, end {end}");
            assert_eq!(net.ends[end].end(), None);
        }
    }
}

#[test]
fn a_reader_that_stops_stops_the_sender() {
    let mut net = Net::open(5, Client::Offerer, 0, true);
    net.ends[1].reads = false;
    let bytes = Random::new(5).bytes(200_000);
    net.ends[0].queue.push_back((Kind::Binary, bytes.clone()));
    net.run(SECOND * 30);
    assert!(net.ends[0].session.buffered() > 0);
    assert_eq!(net.ends[0].session.send_room(), 0);
    assert_eq!(net.ends[0].end(), None);
    net.ends[1].reads = true;
    net.until(SECOND * 30, |net| !net.ends[1].messages.is_empty());
    assert!(net.ends[1].messages[0].1 == bytes);
}

/// Has both ends send small messages all the time, and moves one of them.
fn moves_under_load(seed: u64, who: usize, path: Path) {
    let mut net = Net::open(seed, Client::Answerer, 0, true);
    net.path = path;
    let mut sent = [0_u32; 2];
    let mut gaps = Vec::new();
    for step in 0..600 {
        if step % 150 == 100 {
            // A NAT that gives it another port, and lets nothing in at the old one.
            let outer = &mut net.ends[who].outer;
            outer.set_port(outer.port() + 1);
            gaps.push((
                net.now,
                net.ends[0].messages.len(),
                net.ends[1].messages.len(),
            ));
        }
        for (end, sent) in net.ends.iter_mut().zip(&mut sent) {
            if end.queue.is_empty() {
                let mut bytes = sent.to_be_bytes().to_vec();
                bytes.resize(400, 7);
                end.queue.push_back((Kind::Binary, bytes));
                *sent += 1;
            }
        }
        net.run(Duration::from_millis(20));
    }
    assert_eq!(gaps.len(), 4);
    net.until(SECOND * 20, |net| {
        (0..2).all(|end| net.ends[1 - end].messages.len() as u32 == sent[end])
    });
    for end in &net.ends {
        for (number, (_, bytes)) in end.messages.iter().enumerate() {
            assert_eq!(bytes[..4], (number as u32).to_be_bytes());
        }
        assert_eq!(end.end(), None);
        assert!(!end.has(Event::Disconnected), "{:?}", end.events);
    }
}

/// A remote that, as Chromium does, takes data from a new mapping only after it has checked it.
/// What was sent from there before does not wait until SCTP's timer runs out again.
#[test]
fn what_a_new_mapping_swallowed_is_sent_again_once_the_remote_has_checked_it() {
    let mut net = Net::open(30, Client::Answerer, 0, true);
    net.run(SECOND * 3);
    net.ends[0].outer.set_port(7_000);
    let checked = Rc::new(Cell::new(false));
    let checks = Rc::clone(&checked);
    net.dropper = Some(Box::new(move |from, packet| {
        checks.set(checks.get() || from == 1 && packet[..2] == [0, 1]);
        from == 0 && packet[0] >= 20 && !checks.get()
    }));
    net.ends[0].queue.push_back((Kind::Text, b"hello".to_vec()));
    net.until(SECOND * 5, |_| checked.get());
    let begun = net.now;
    net.until(SECOND * 5, |net| !net.ends[1].messages.is_empty());
    let took = net.now.saturating_duration_since(begun);
    assert!(took <= Duration::from_millis(100), "{took:?}");
}

/// As PeerJS's request to close, which is the last message of its sender.
#[test]
fn a_message_that_stays_in_order_is_read_after_those_before_it() {
    for in_order in [true, false] {
        let mut net = Net::open(31, Client::Answerer, 0, false);
        net.run(SECOND * 3);
        let mut lost = false;
        net.dropper = Some(Box::new(move |from, packet| {
            from == 0 && packet[0] >= 20 && !std::mem::replace(&mut lost, true)
        }));
        let last = Outgoing {
            in_order,
            ..Outgoing::message(Kind::Text)
        };
        let before = Outgoing::message(Kind::Text);
        for (message, text) in [(before, "lost"), (last, "last"), (before, "after")] {
            let session = &mut net.ends[0].session;
            assert_eq!(session.send(message, text.as_bytes()), Ok(text.len()));
            net.flush(0);
        }
        net.until(SECOND * 5, |net| net.ends[1].messages.len() == 3);
        let got = net.ends[1].messages.iter().map(|(_, bytes)| &bytes[..]);
        let expected = match in_order {
            true => [&b"after"[..], b"lost", b"last"],
            false => [&b"last"[..], b"after", b"lost"],
        };
        assert!(got.eq(expected), "{:?}", net.ends[1].messages);
    }
}

#[test]
fn a_nat_that_rebinds_under_load_loses_nothing() {
    for who in 0..2 {
        moves_under_load(10 + who as u64, who, Path::default());
        let lossy = Path {
            loss: 0.05,
            jitter: Duration::from_millis(5),
            ..Path::default()
        };
        moves_under_load(20 + who as u64, who, lossy);
    }
}

#[test]
fn an_outage_of_fifty_seconds_loses_nothing_and_ends_nothing() {
    for who in 0..2 {
        let mut net = Net::open(30 + who as u64, Client::Answerer, 0, true);
        net.dropper = Some(Box::new(|_, _| true));
        let bytes = Random::new(6).bytes(10_000);
        net.ends[who].queue.push_back((Kind::Binary, bytes.clone()));
        net.run(SECOND * 50);
        assert!(net.ends.iter().all(|end| end.has(Event::Disconnected)));
        assert!(net.ends[1 - who].messages.is_empty());
        net.dropper = None;
        let back = net.now;
        net.until(SECOND * 10, |net| !net.ends[1 - who].messages.is_empty());
        assert!(net.ends[1 - who].messages[0].1 == bytes);
        // Checks go each second, and what waited goes at once.
        let took = net.now.saturating_duration_since(back);
        assert!(took < SECOND * 3 / 2, "{took:?}");
        assert!(net.ends.iter().all(|end| end.end().is_none()));
    }
}

#[test]
fn an_ice_restart_keeps_the_channel() {
    let mut net = Net::open(40, Client::Answerer, 0, true);
    let message = Random::new(8).bytes(50_000);
    for end in &mut net.ends {
        end.queue.push_back((Kind::Binary, message.clone()));
    }
    net.run(Duration::from_millis(30));
    let now = net.now;
    let old = net.ends[0].session.ice().ufrag().to_owned();
    for end in &mut net.ends {
        end.session.restart_ice(now, &mut end.crypto).unwrap();
        assert_eq!(end.session.path(), None);
    }
    assert_ne!(net.ends[0].session.ice().ufrag(), old);
    net.describe();
    net.until(SECOND * 10, |net| {
        net.ends.iter().all(|end| end.messages.len() == 1)
    });
    for end in &net.ends {
        assert!(end.messages[0].1 == message);
        assert_eq!(end.end(), None);
    }
}
