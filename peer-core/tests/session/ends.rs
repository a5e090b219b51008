//! How a session ends, and what is told of it.

use peer_core::rtc::ice;
use peer_core::rtc::session::{Closed, Event, Failure, Kind, SendError};
use peer_core::rtc::session::{Outgoing, Setup};

use crate::net::{Client, Net, Path, Random, SECOND};

#[test]
fn closing_is_told_as_the_closing_of_the_remote() {
    for (seed, client) in [(1, Client::Offerer), (2, Client::Answerer)] {
        for who in 0..2 {
            let mut net = Net::open(seed, client, 0, true);
            net.ends[who].session.close();
            net.until(SECOND, |net| net.ends[1 - who].end().is_some());
            let end = Event::Closed(Closed::Aborted(12));
            assert_eq!(net.ends[1 - who].end(), Some(end));
            net.run(SECOND);
            for end in &mut net.ends {
                assert!(end.session.is_over());
                assert_eq!(end.session.timeout(), None);
                let message = Outgoing::message(Kind::Text);
                assert_eq!(end.session.send(message, b"x"), Err(SendError::Closed));
                // Wiped.
                assert!(end.session.ice().password().bytes().all(|byte| byte == 0));
            }
            assert_eq!(net.ends[who].end(), None);
        }
    }
}

/// Whatever the session before was at: unused, checking, shaking hands, full of what nobody reads.
#[test]
fn one_session_after_another_serves_in_the_same_memory() {
    let mut net = Net::new(9, Client::Answerer);
    for round in 0..40_u32 {
        net = net.again();
        net.ends[0].session.open("again", true).unwrap();
        net.describe();
        if round % 4 != 3 {
            net.run(SECOND / 100 * round);
            if round % 4 == 2 {
                net.ends[1].reads = false;
                net.ends[0]
                    .queue
                    .push_back((Kind::Binary, vec![7; 100_000]));
                net.run(SECOND / 100 * round);
                net.ends[1].reads = true;
            }
            continue;
        }
        let message = vec![round as u8; 50_000];
        net.ends[0].queue.push_back((Kind::Binary, message.clone()));
        net.until(SECOND * 5, |net| !net.ends[1].messages.is_empty());
        assert_eq!(net.ends[1].messages, [(Kind::Binary, message)]);
        assert_eq!(net.ends[1].session.label(), "again");
    }
}

#[test]
fn each_of_the_two_last_packets_is_enough() {
    // The first, then the second of them is lost.
    for lost in 0..2 {
        let mut net = Net::open(3, Client::Answerer, 0, true);
        net.run(SECOND * 2);
        net.ends[0].session.close();
        let mut count = 0;
        net.dropper = Some(Box::new(move |from, packet| {
            count += i32::from(from == 0 && packet[0] >= 20);
            from == 0 && count == lost + 1
        }));
        net.until(SECOND, |net| net.ends[1].end().is_some());
        let reason = match lost {
            0 => Closed::CloseNotify,
            _ => Closed::Aborted(12),
        };
        assert_eq!(net.ends[1].end(), Some(Event::Closed(reason)));
    }
}

#[test]
fn a_path_that_dies_is_never_the_remotes_closing() {
    for who in 0..2 {
        let mut net = Net::open(4, Client::Answerer, 0, true);
        net.ends[who].session.close();
        net.dropper = Some(Box::new(|_, _| true));
        let limit = SECOND * 150;
        net.until(limit, |net| net.ends[1 - who].end().is_some());
        let lost = Event::Failed(Failure::Ice(ice::Failure::Lost));
        assert_eq!(net.ends[1 - who].end(), Some(lost));
        assert!(net.ends[1 - who].has(Event::Disconnected));
    }
}

#[test]
fn a_dead_remote_is_told_within_what_is_survived() {
    for talks in [false, true] {
        let mut net = Net::open(8, Client::Answerer, 0, true);
        net.ends[0].session.set_survive(SECOND * 3);
        net.run(SECOND * 10);
        net.dropper = Some(Box::new(|_, _| true));
        if talks {
            let message = (Kind::Text, b"nobody hears it".to_vec());
            net.ends[0].queue.push_back(message);
        }
        net.run(SECOND * 4);
        let lost = Event::Failed(Failure::Ice(ice::Failure::Lost));
        assert_eq!(net.ends[0].end(), Some(lost));
        assert!(!net.ends[0].has(Event::Disconnected));
        assert_eq!(net.ends[1].end(), None);
    }
}

#[test]
fn what_was_acknowledged_is_read_before_the_end_is_told() {
    for bad in [false, true] {
        let mut net = Net::open(5, Client::Offerer, 0, true);
        if bad {
            net.path = Path::bad(&mut Random::new(9));
        }
        net.ends[1].reads = false;
        let all: Vec<_> = (0..8)
            .map(|n| (Kind::Binary, Random::new(n).bytes(1_500)))
            .collect();
        net.ends[0].queue.extend(all.clone());
        net.run(SECOND * 10);
        assert_eq!(net.ends[0].session.buffered(), 0, "all is acknowledged");
        net.path = Path::default();
        net.ends[0].session.close();
        net.run(SECOND * 5);
        assert_eq!(net.ends[1].end(), None);
        net.ends[1].reads = true;
        net.flush(1);
        net.flush(1);
        assert!(net.ends[1].messages == all);
        let end = Event::Closed(Closed::Aborted(12));
        assert_eq!(net.ends[1].end(), Some(end));
    }
}

#[test]
fn closing_while_packets_are_lost() {
    let mut told = 0;
    for seed in 0..12 {
        let mut net = Net::open(seed, Client::Answerer, 0, true);
        net.path = Path::bad(&mut Random::new(seed + 500));
        let who = usize::from(seed % 2 == 0);
        for end in &mut net.ends {
            let messages = (0..20).map(|n| (Kind::Binary, Random::new(n).bytes(3_000)));
            end.queue.extend(messages);
        }
        net.run(SECOND);
        net.ends[who].session.close();
        net.until(SECOND * 150, |net| net.ends[1 - who].end().is_some());
        match net.ends[1 - who].end() {
            Some(Event::Closed(Closed::Aborted(12) | Closed::CloseNotify)) => told += 1,
            Some(Event::Failed(Failure::Ice(ice::Failure::Lost))) => {}
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(told >= 9, "{told} of 12 were told");
}

#[test]
fn closing_before_there_is_anything_tells_nobody() {
    for steps in [0, 1, 2, 3, 4, 5, 6, 7, 8] {
        let mut net = Net::new(7, Client::Answerer);
        net.ends[0].session.open("x", true).unwrap();
        net.describe();
        for _ in 0..steps {
            net.step();
        }
        assert!(net.ends.iter().all(|end| end.opened().is_none()));
        net.ends[0].session.close();
        net.flush(0);
        assert!(net.ends[0].session.is_over());
        net.until(SECOND * 200, |net| net.ends[1].end().is_some());
        assert!(!net.ends[1].has(Event::Open { ordered: true }));
        assert_eq!(net.ends[1].session.setup(), Setup::Active);
    }
}
