//! Many messages, large messages, both ways.

use peer_core::rtc::sctp::Outgoing;
use peer_core::time::Duration;

use crate::net::{Net, Path, Size, message};

const ORDERED: Outgoing = Outgoing::message(1, 53);

#[test]
fn messages_of_every_length() {
    let mut net = Net::open(1, Size::both(1 << 16), Path::default());
    let messages: Vec<_> = (1..=4000)
        .step_by(13)
        .map(|len| message(len, len))
        .collect();
    net.transfer(0, ORDERED, &messages, Duration::from_secs(60));
    let read: Vec<_> = net.ends[1].messages.drain(..).map(|m| m.2).collect();
    assert!(read == messages);
    assert_eq!(net.ends[1].association.stats().dropped, 0);
    assert!(net.ends.iter().all(|end| end.association.is_idle()));
}

/// One code for 2 KB and for 4 MiB.
#[test]
fn windows_of_every_size() {
    for bytes in [2048, 4096, 65_536, 4 << 20] {
        let mut net = Net::open(2, Size::both(bytes), Path::default());
        let messages: Vec<_> = (0..40).map(|n| message(n, 16_300)).collect();
        net.transfer(0, ORDERED, &messages, Duration::from_secs(120));
        net.transfer(1, ORDERED, &messages, Duration::from_secs(120));
        for end in &net.ends {
            assert!(end.messages.iter().map(|m| &m.2).eq(&messages), "{bytes}");
        }
    }
}

/// More than the numbers of a stream, 16 bits, of messages of one byte.
#[test]
fn a_quarter_of_a_million_messages_of_one_byte() {
    for (send, receive) in [
        (2048, 2048),
        (4096, 4096),
        (1 << 20, 1 << 20),
        (1 << 20, 2048),
    ] {
        let mut net = Net::open(
            3,
            Size { send, receive },
            Path {
                delay: Duration::from_micros(100),
                ..Path::default()
            },
        );
        let messages: Vec<_> = (0..250_000).map(|n| message(n, 1)).collect();
        net.transfer(0, ORDERED, &messages, Duration::from_secs(3600));
        assert!(net.ends[1].messages.iter().map(|m| &m.2).eq(&messages));
    }
}

#[test]
fn both_ways_at_once() {
    let mut net = Net::open(4, Size::both(1 << 16), Path::default());
    let messages: Vec<_> = (0..400).map(|n| message(n, 1 + n * 17)).collect();
    let mut sent = [0; 2];
    net.until(Duration::from_secs(60), |net| {
        for (end, sent) in net.ends.iter_mut().zip(&mut sent) {
            while let Some(bytes) = messages.get(*sent)
                && end.association.send_room() >= bytes.len()
            {
                assert_eq!(end.association.send(ORDERED, bytes), Ok(bytes.len()));
                *sent += 1;
            }
        }
        net.ends.iter().all(|end| end.count == messages.len())
    });
    for end in &net.ends {
        assert!(end.messages.iter().map(|m| &m.2).eq(&messages));
    }
}

/// Each end begins, as browsers do.
#[test]
fn both_ends_connect() {
    for (a, b) in [(0, 0), (0, 5), (5, 0), (0, 25)] {
        let mut net = Net::new(5, Size::both(1 << 16), Path::default());
        let start = net.now;
        net.until(Duration::from_secs(5), |net| {
            for (end, wait) in net.ends.iter_mut().zip([a, b]) {
                if net.now >= start + Duration::from_millis(wait) {
                    end.association.connect();
                }
            }
            net.ends.iter().all(|end| end.is_open())
        });
        let messages: Vec<_> = (0..40).map(|n| message(n, 3000)).collect();
        net.transfer(0, ORDERED, &messages, Duration::from_secs(5));
        net.transfer(1, ORDERED, &messages, Duration::from_secs(5));
        assert!(net.ends.iter().all(|end| end.events.len() == 1));
    }
}

/// TSNs and tags that wrap at once.
#[test]
fn numbers_wrap() {
    let configs = [crate::net::config(0xff), crate::net::config(2)];
    let path = Path {
        loss: 0.05,
        ..Path::default()
    };
    let mut net = Net::with(6, configs, [Size::both(1 << 16); 2], path);
    net.ends[0].association.connect();
    let messages: Vec<_> = (0..400).map(|n| message(n, 3000)).collect();
    net.transfer(0, ORDERED, &messages, Duration::from_secs(60));
    assert!(net.ends[1].messages.iter().map(|m| &m.2).eq(&messages));
}
