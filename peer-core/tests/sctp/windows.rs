//! Applications that do not read.

use peer_core::rtc::sctp::{Association, Outgoing, Received};
use peer_core::time::Duration;

use crate::net::{Net, Path, Size, config, memory, message};

const ORDERED: Outgoing = Outgoing::message(1, 53);

/// A window that closed is tried, and opens when the application reads; whatever packet is lost.
#[test]
fn a_closed_window_opens() {
    for seed in 0..30 {
        let path = Path {
            loss: if seed % 2 == 0 { 0.0 } else { 0.2 },
            ..Path::default()
        };
        for bytes in [2048, 8192] {
            let mut net = Net::open(seed, Size::both(bytes), path);
            net.ends[1].reads = false;
            let content = message(1, 60_000);
            let mut sent = 0;
            let mut send = |net: &mut Net| {
                if let Some(rest) = content.get(sent..).filter(|rest| !rest.is_empty()) {
                    let piece = Outgoing {
                        first: sent == 0,
                        ..ORDERED
                    };
                    sent += net.ends[0].association.send(piece, rest).unwrap();
                }
            };
            let stop = net.now + Duration::from_secs(100);
            net.until(Duration::from_secs(200), |net| {
                send(net);
                net.now >= stop
            });
            assert_eq!(
                net.ends[0].closed(),
                None,
                "a closed window is no dead remote"
            );
            net.ends[1].reads = true;
            let start = net.now;
            net.until(Duration::from_secs(100), |net| {
                send(net);
                net.ends[1].count == 1
            });
            assert!(net.ends[1].messages[0].2 == content);
            let took = net.now.saturating_duration_since(start);
            assert!(seed % 2 == 1 || took < Duration::from_secs(12), "{took:?}");
        }
    }
}

/// A sender that a small window stops is answered at once: nobody waits for a second packet.
#[test]
fn no_window_waits_for_a_delayed_acknowledgement() {
    for bytes in [2048, 4096, 8192] {
        for (count, len) in [(100, 1000), (3000, 1)] {
            let path = Path {
                delay: Duration::from_millis(1),
                ..Path::default()
            };
            let mut net = Net::open(1, Size::both(bytes), path);
            let messages: Vec<_> = (0..count).map(|n| message(n, len)).collect();
            net.transfer(0, ORDERED, &messages, Duration::from_secs(60));
            let silence = net.ends[1].silence;
            assert!(
                silence < Duration::from_millis(4),
                "{bytes} bytes, {len} a message: {silence:?}"
            );
        }
    }
}

/// In a window of hardly two packets, what comes early leaves room for what fills the gap.
#[test]
fn a_window_of_two_packets_never_locks() {
    for seed in 0..60 {
        let path = Path {
            jitter: Duration::from_millis(15),
            loss: 0.02,
            ..Path::default()
        };
        let bytes = [1_300, 1_700, 2_048, 2_400][seed as usize % 4];
        let mut net = Net::open(seed, Size::both(bytes), path);
        let outgoing = Outgoing {
            unordered: seed % 8 >= 4,
            ..ORDERED
        };
        let messages: Vec<_> = (0..60)
            .map(|n| message(n, 1 + (n * 397 + seed as usize * 71) % 1_500))
            .collect();
        net.transfer(0, outgoing, &messages, Duration::from_secs(120));
    }
}

/// An end that does not read, at which as much waits as it has room for, for half a minute.
fn filled(bytes: usize, len: usize) -> Net {
    let path = Path {
        delay: Duration::from_millis(1),
        ..Path::default()
    };
    let sizes = Size {
        send: 1 << 17,
        receive: bytes,
    };
    let mut net = Net::open(1, sizes, path);
    net.ends[1].reads = false;
    for n in 0..100 {
        let content = message(n, len);
        let sent = net.ends[0].association.send(ORDERED, &content);
        assert_eq!(sent, Ok(len));
    }
    net.run(Duration::from_secs(30));
    assert!(net.ends[0].association.buffered() > 0);
    net
}

/// Whatever is left of a window: what was sent beyond it, and dropped, is sent again as soon as
/// there is room.
#[test]
fn a_window_that_was_not_quite_closed_opens_at_once() {
    for len in (600..1100).step_by(23) {
        let mut net = filled(8192, len);
        net.ends[1].reads = true;
        net.until(Duration::from_millis(500), |net| net.ends[1].count == 100);
    }
}

/// That a window opened is told more than once, so that it may be lost.
#[test]
fn a_window_that_opens_is_told_again() {
    let mut net = filled(1 << 15, 1000);
    let mut told = 0;
    net.dropper = Some(Box::new(move |from, _| {
        told += u32::from(from == 1);
        from == 1 && told == 1
    }));
    let mut pieces = 0;
    while let Some(Received::Piece(piece)) = net.ends[1].association.read() {
        pieces += 1;
        let count = piece.bytes.len();
        net.ends[1].association.consume(count);
        net.flush(1);
    }
    net.ends[1].reads = true;
    net.until(Duration::from_millis(500), |net| {
        net.ends[1].count + pieces == 100
    });
}

/// Halves that are idle get more memory or less, with nothing lost and nothing doubled.
#[test]
fn memory_grows_and_shrinks() {
    for loss in [0.0, 0.1] {
        let path = Path {
            loss,
            delay: Duration::from_millis(1),
            ..Path::default()
        };
        let mut net = Net::open(7, Size::both(4096), path);
        for (round, bytes) in [1 << 16, 2048, 1 << 18, 4096].into_iter().enumerate() {
            net.run(Duration::from_secs(60));
            let room = net.ends[1].association.receive_room();
            for end in &mut net.ends {
                assert!(end.association.is_idle());
                let other = Association::new(config(9), memory(Size::both(0)));
                let association = std::mem::replace(&mut end.association, other);
                let memory = memory(Size::both(bytes));
                end.association = association.without_memory().with_memory(memory);
            }
            let now = net.ends[1].association.receive_room();
            assert_eq!(now > room, round % 2 == 0);
            assert!(now <= bytes);
            let messages: Vec<_> = (0..40).map(|n| message(n, 1500)).collect();
            let before = net.ends[1].messages.len();
            net.transfer(0, ORDERED, &messages, Duration::from_secs(60));
            assert!(
                net.ends[1].messages[before..]
                    .iter()
                    .map(|m| &m.2)
                    .eq(&messages)
            );
            let packets = net.ends[1].packets;
            net.run(Duration::from_secs(1));
            assert!(net.ends[1].packets - packets < 100);
        }
    }
}
