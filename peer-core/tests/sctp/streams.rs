//! Streams and their reset.

use peer_core::rtc::sctp::{Event, Outgoing, SendError};
use peer_core::time::Duration;

use crate::net::{Net, Path, Size, message};

/// The reset is told after all data, at both ends; the stream can be used anew.
#[test]
fn a_reset_comes_after_the_data() {
    for seed in 0..30 {
        let path = Path {
            loss: if seed == 0 { 0.0 } else { 0.15 },
            ..Path::default()
        };
        let mut net = Net::open(seed, Size::both(1 << 14), path);
        for round in 1..=3 {
            let ordered = Outgoing::message(7, 51);
            let content = message(round, 9000);
            assert_eq!(net.ends[0].association.send(ordered, &content), Ok(9000));
            net.ends[0].association.reset_stream(7).unwrap();
            assert_eq!(
                net.ends[0].association.send(ordered, b"x"),
                Err(SendError::StreamReset)
            );
            net.until(Duration::from_secs(60), |net| {
                // The message was read when the reset was.
                assert!(net.ends[1].resets.len() <= net.ends[1].count);
                let done = net.ends[0].events.iter();
                let done = done.filter(|event| **event == Event::StreamReset(7));
                done.count() == round && net.ends[0].association.buffered() == 0
            });
            assert_eq!(net.ends[1].resets, vec![Some(7); round]);
        }
    }
}

/// Both ends close the same channel at once.
#[test]
fn resets_cross() {
    for seed in 0..30 {
        let path = Path {
            loss: if seed == 0 { 0.0 } else { 0.15 },
            ..Path::default()
        };
        let mut net = Net::open(seed, Size::both(1 << 14), path);
        for end in &mut net.ends {
            end.association
                .send(Outgoing::message(3, 51), b"bye")
                .unwrap();
            end.association.reset_stream(3).unwrap();
        }
        net.until(Duration::from_secs(60), |net| {
            let done = |end: &crate::net::End| {
                end.resets == [Some(3)] && end.events.contains(&Event::StreamReset(3))
            };
            net.ends.iter().all(done)
        });
        assert!(net.ends.iter().all(|end| end.count == 1));
    }
}

#[test]
fn messages_do_not_mix() {
    let mut net = Net::open(1, Size::both(1 << 14), Path::default());
    let association = &mut net.ends[0].association;
    let first = Outgoing {
        last: false,
        ..Outgoing::message(1, 51)
    };
    assert_eq!(association.send(first, b"one "), Ok(4));
    assert_eq!(
        association.send(Outgoing::message(2, 51), b"x"),
        Err(SendError::OtherMessage)
    );
    assert_eq!(association.send(first, b"x"), Err(SendError::OtherMessage));
    let last = Outgoing {
        first: false,
        ..Outgoing::message(1, 51)
    };
    assert_eq!(association.send(last, b""), Err(SendError::Empty));
    assert_eq!(association.send(last, b"two"), Ok(3));
    assert_eq!(association.send(last, b"x"), Err(SendError::OtherMessage));
    net.until(Duration::from_secs(5), |net| net.ends[1].count == 1);
    assert_eq!(net.ends[1].messages, [(1, 51, b"one two".to_vec())]);
}
