//! How associations end.

use peer_core::rtc::sctp::{End, Outgoing, RETRANSMISSIONS_MAX};
use peer_core::time::Duration;

use crate::net::{Net, Path, Size, message};

const ORDERED: Outgoing = Outgoing::message(1, 53);

#[test]
fn an_abort_is_told() {
    let mut net = Net::open(1, Size::both(1 << 14), Path::default());
    net.ends[0].association.abort();
    net.until(Duration::from_secs(1), |net| net.ends[1].closed().is_some());
    assert_eq!(net.ends[0].closed(), Some(End::Local));
    assert_eq!(net.ends[1].closed(), Some(End::Aborted(12)));
}

/// What was acknowledged is read before the end is told, though nobody read before it came.
#[test]
fn the_end_is_told_last() {
    let mut net = Net::open(2, Size::both(1 << 14), Path::default());
    net.ends[1].reads = false;
    let content = message(1, 9000);
    assert_eq!(net.ends[0].association.send(ORDERED, &content), Ok(9000));
    net.until(Duration::from_secs(5), |net| {
        net.ends[0].association.buffered() == 0
    });
    net.ends[0].association.abort();
    net.run(Duration::from_secs(1));
    assert_eq!((net.ends[1].count, net.ends[1].closed()), (0, None));
    net.ends[1].reads = true;
    net.until(Duration::from_secs(1), |net| net.ends[1].closed().is_some());
    assert!(net.ends[1].messages[0].2 == content);
}

#[test]
fn a_remote_that_is_silent_for_ever_is_noticed() {
    for data in [false, true] {
        let mut net = Net::open(3, Size::both(1 << 14), Path::default());
        net.dropper = Some(Box::new(|_, _| true));
        if data {
            net.ends[0].association.send(ORDERED, b"x").unwrap();
        }
        net.until(Duration::from_secs(600), |net| {
            net.ends[0].closed().is_some()
        });
        assert_eq!(net.ends[0].closed(), Some(End::Unreachable));
        assert_eq!(net.ends[0].association.timeout(), None);
    }
    let mut net = Net::new(3, Size::both(1 << 14), Path::default());
    net.dropper = Some(Box::new(|_, _| true));
    net.ends[0].association.connect();
    net.until(Duration::from_secs(600), |net| {
        net.ends[0].closed().is_some()
    });
    assert_eq!(net.ends[0].closed(), Some(End::Unreachable));
    assert!(net.ends[0].packets <= 12);
}

/// An idle association asks for a sign of life and gets it.
#[test]
fn an_idle_association_lives() {
    let mut net = Net::open(4, Size::both(1 << 14), Path::default());
    let packets = net.ends[0].packets;
    let end = net.now + Duration::from_secs(3600);
    while net.now < end {
        assert!(net.step());
        let unanswered = net.ends.each_ref().map(|end| end.association.unanswered());
        assert_eq!(unanswered, [0, 0], "what is under way is not unanswered");
    }
    assert!(net.ends.iter().all(|end| end.closed().is_none()));
    let packets = net.ends[0].packets - packets;
    // One each half minute, and the answers, which may go together.
    assert!((100..300).contains(&packets), "{packets}");
}

/// Signs of life that the application asks for are no reason to give the remote up.
#[test]
fn asking_often_ends_nothing() {
    let mut net = Net::open(5, Size::both(1 << 14), Path::default());
    net.dropper = Some(Box::new(|from, _| from == 1));
    let packets = net.ends[0].packets;
    for _ in 0..100 {
        net.ends[0].association.heartbeat();
        net.now = net.now + Duration::from_millis(60);
        net.flush(0);
    }
    assert_eq!(net.ends[0].packets - packets, 100);
    assert_eq!(net.ends[0].closed(), None);
}

/// Why an association ended is known before everything is read.
#[test]
fn the_reason_is_known_at_once() {
    let mut net = Net::open(6, Size::both(1 << 14), Path::default());
    net.ends[1].reads = false;
    net.ends[0].association.send(ORDERED, b"x").unwrap();
    net.run(Duration::from_secs(1));
    assert_eq!(net.ends[1].association.end_reason(), None);
    net.ends[0].association.abort();
    net.run(Duration::from_secs(1));
    let reason = net.ends[1].association.end_reason();
    assert!(matches!(reason, Some(End::Aborted(_))), "{reason:?}");
    assert_eq!(net.ends[1].closed(), None, "it is told after what came");
}

/// A path that fails again and again is not a remote that is gone: what was sent in vain goes again
/// each time the path is back, and none of it counts.
#[test]
fn a_path_that_flaps_ends_nothing() {
    let mut net = Net::open(7, Size::both(1 << 14), Path::default());
    net.transfer(0, ORDERED, &[message(1, 100)], Duration::from_secs(1));
    net.dropper = Some(Box::new(|_, _| true));
    net.ends[0].association.send(ORDERED, b"x").unwrap();
    net.ends[0].association.reset_stream(2).unwrap();
    net.run(Duration::from_secs(8));
    let end = &mut net.ends[0];
    assert!(end.association.unanswered() > 1);
    let packets = end.packets;
    for _ in 0..20 {
        net.ends[0].association.path_is_back(net.now);
        net.flush(0);
        let end = &mut net.ends[0];
        end.work(net.now);
        assert_eq!((end.association.unanswered(), end.closed()), (0, None));
        net.now = net.now + Duration::from_millis(10);
    }
    // Once, and then as their timers say.
    assert!(net.ends[0].packets - packets < 8);
    net.dropper = None;
    net.ends[0].association.path_is_back(net.now);
    net.until(Duration::from_millis(100), |net| net.ends[1].count == 2);
}

/// A path that changes before anything is known to be lost: what was under way on the old one goes
/// soon on the new one, however often that happens and though no round trip was ever measured.
#[test]
fn what_was_under_way_goes_on_the_new_path() {
    let mut net = Net::open(9, Size::both(1 << 14), Path::default());
    for sent in 1..=6 {
        net.dropper = Some(Box::new(|_, _| true));
        net.ends[0].association.send(ORDERED, b"x").unwrap();
        net.run(Duration::from_millis(50));
        net.dropper = None;
        net.ends[0].association.path_is_back(net.now);
        net.until(Duration::from_millis(1_100), |net| {
            net.ends[1].count == sent
        });
        net.run(Duration::from_secs(1));
    }
}

/// Who knows the round trip beforehand waits for no other one.
#[test]
fn a_round_trip_that_is_known_counts_from_the_first_packet_on() {
    let mut configs = [crate::net::config(1), crate::net::config(2)];
    for config in &mut configs {
        config.round_trip = Some(Duration::from_millis(20));
    }
    let sizes = [Size::both(1 << 14); 2];
    let mut net = Net::with(10, configs, sizes, Path::default());
    net.ends[0].association.connect();
    net.until(Duration::from_secs(1), |net| {
        net.ends.iter().all(crate::net::End::is_open)
    });
    net.dropper = Some(Box::new(|_, _| true));
    net.ends[0].association.send(ORDERED, b"x").unwrap();
    net.flush(0);
    net.dropper = None;
    net.until(Duration::from_millis(150), |net| net.ends[1].count == 1);
}

/// The same while the association is not open yet.
#[test]
fn a_path_that_flaps_ends_no_handshake() {
    let mut net = Net::new(8, Size::both(1 << 14), Path::default());
    net.dropper = Some(Box::new(|_, _| true));
    net.ends[0].association.connect();
    net.run(Duration::from_secs(8));
    for _ in 0..20 {
        net.ends[0].association.path_is_back(net.now);
        net.run(Duration::from_millis(10));
        assert_eq!(net.ends[0].closed(), None);
    }
    net.dropper = None;
    // RTO.Initial doubled, not the longest wait.
    net.until(Duration::from_millis(2_100), |net| {
        net.ends.iter().all(crate::net::End::is_open)
    });
}

/// A remote is asked once and so many times again as is configured, whatever it is asked for.
#[test]
fn each_question_is_asked_as_often() {
    for question in ["data", "reset", "heartbeat"] {
        let mut configs = [crate::net::config(1), crate::net::config(2)];
        configs[0].retransmissions = 3;
        if question != "heartbeat" {
            configs[0].heartbeat = Duration::from_secs(3600);
        }
        let mut net = Net::with(9, configs, [Size::both(1 << 14); 2], Path::default());
        net.ends[0].association.connect();
        net.until(Duration::from_secs(5), |net| {
            net.ends.iter().all(crate::net::End::is_open)
        });
        net.dropper = Some(Box::new(|_, _| true));
        let packets = net.ends[0].packets;
        let association = &mut net.ends[0].association;
        match question {
            "data" => assert_eq!(association.send(ORDERED, b"x"), Ok(1)),
            "reset" => association.reset_stream(2).unwrap(),
            _ => {}
        }
        // RTO.Initial doubled each time: 1, 2, 4 and 8 s.
        let limit = if question == "heartbeat" { 151 } else { 16 };
        net.until(Duration::from_secs(limit), |net| {
            net.ends[0].closed().is_some()
        });
        assert_eq!(net.ends[0].closed(), Some(End::Unreachable), "{question}");
        assert_eq!(net.ends[0].association.unanswered(), 4, "{question}");
        assert_eq!(net.ends[0].packets - packets, 4, "{question}");
    }
}

/// However many retransmissions are asked for, a remote that is gone is noticed.
#[test]
fn no_number_of_retransmissions_is_endless() {
    const LONG: Duration = Duration::from_secs(10_000);
    for retransmissions in [RETRANSMISSIONS_MAX - 1, RETRANSMISSIONS_MAX, 254, 255] {
        for question in ["handshake", "data", "reset", "heartbeat"] {
            let mut configs = [crate::net::config(1), crate::net::config(2)];
            configs[0].retransmissions = retransmissions;
            let mut net = Net::with(9, configs, [Size::both(1 << 14); 2], Path::default());
            net.ends[0].association.connect();
            if question == "handshake" {
                net.dropper = Some(Box::new(|_, _| true));
            }
            net.until(Duration::from_secs(5), |net| {
                question == "handshake" || net.ends.iter().all(crate::net::End::is_open)
            });
            net.dropper = Some(Box::new(|_, _| true));
            let association = &mut net.ends[0].association;
            match question {
                "data" => assert_eq!(association.send(ORDERED, b"x"), Ok(1)),
                "reset" => association.reset_stream(2).unwrap(),
                _ => {}
            }
            net.until(LONG, |net| net.ends[0].closed().is_some());
            assert_eq!(net.ends[0].closed(), Some(End::Unreachable), "{question}");
        }
    }
}
