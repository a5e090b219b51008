//! A network that loses, doubles, delays and cuts.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::packets::records;
use super::*;

/// Each datagram of a handshake lost once, with flights in one datagram and in many.
#[test]
fn each_datagram_may_be_lost() {
    for datagram_max in [DATAGRAM_MAX, 200] {
        for way in [Way::ToServer, Way::ToClient] {
            for lost in 0..8 {
                let mut pair = Pair::new(|ours, theirs| {
                    ours.datagram_max = datagram_max;
                    theirs.datagram_max = datagram_max;
                });
                pair.connect(&mut |to, n, datagram| {
                    if (to, n) == (way, lost) {
                        Vec::new()
                    } else {
                        perfect(to, n, datagram)
                    }
                });
                // The first wait, and less than a second one.
                let limit = DELAY * 4 + Duration::from_millis(200) + DELAY * 2;
                assert!(
                    pair.elapsed() <= limit,
                    "{way:?} {lost}: {:?}",
                    pair.elapsed()
                );
                pair.talk();
            }
        }
    }
}

/// Each record of a handshake lost once, out of its datagram.
#[test]
fn each_record_may_be_lost() {
    for way in [Way::ToServer, Way::ToClient] {
        for lost in 0..9 {
            let mut pair = Pair::new(|_, _| {});
            let mut record = 0;
            pair.connect(&mut |to, _, datagram: Vec<u8>| {
                let mut kept = Vec::new();
                for bytes in records(&datagram) {
                    if to != way || record != lost {
                        kept.extend(bytes);
                    }
                    record += usize::from(to == way);
                }
                std::vec![(DELAY, kept)]
            });
            pair.talk();
        }
    }
}

/// Each datagram cut at each length once.
#[test]
fn each_datagram_may_be_truncated() {
    for way in [Way::ToServer, Way::ToClient] {
        for cut in 0..2 {
            for len in 0..600 {
                let mut pair = Pair::new(|_, _| {});
                pair.connect(&mut |to, n, mut datagram: Vec<u8>| {
                    if (to, n) == (way, cut) {
                        datagram.truncate(len);
                    }
                    perfect(to, n, datagram)
                });
            }
        }
    }
}

/// Every datagram twice, at once and late.
#[test]
fn datagrams_may_be_doubled() {
    for late in [0, 5, 50, 500] {
        let mut pair = Pair::new(|ours, theirs| {
            ours.datagram_max = 300;
            theirs.datagram_max = 300;
        });
        pair.connect(&mut |_, _, datagram: Vec<u8>| {
            let again = DELAY + Duration::from_millis(late);
            std::vec![(DELAY, datagram.clone()), (again, datagram)]
        });
        assert!(pair.sent[0] + pair.sent[1] < 40, "{:?}", pair.sent);
        pair.talk();
    }
}

/// The datagrams of a flight in the reverse order: what comes early is kept. Only a
/// ChangeCipherSpec before its time is not, and costs the client's first wait.
#[test]
fn flights_may_come_in_reverse() {
    for (way, waits) in [(Way::ToClient, 0), (Way::ToServer, 1)] {
        let mut pair = Pair::new(|ours, theirs| {
            ours.datagram_max = 200;
            theirs.datagram_max = 200;
        });
        pair.connect(&mut |to, n, datagram: Vec<u8>| {
            // The later, the sooner, within the first flights.
            let sooner = u64::try_from(n).expect("small").min(8) * u64::from(to == way);
            std::vec![(DELAY - Duration::from_millis(sooner), datagram)]
        });
        assert!(
            pair.sent[usize::from(way == Way::ToClient)] > 3,
            "{:?}",
            pair.sent
        );
        let limit = DELAY * 4 + (DELAY * 2 + Duration::from_millis(200)) * waits;
        assert!(pair.elapsed() <= limit, "{way:?}: {:?}", pair.elapsed());
        pair.talk();
    }
}

/// A Finished before its ChangeCipherSpec is kept, too.
#[test]
fn the_last_two_records_may_change_places() {
    for way in [Way::ToServer, Way::ToClient] {
        let mut pair = Pair::new(|_, _| {});
        pair.connect(&mut |to, n, mut datagram: Vec<u8>| {
            let change = datagram.windows(3).position(|it| it == [20, 0xfe, 0xfd]);
            if let Some(at) = change.filter(|_| to == way) {
                let record: Vec<u8> = datagram.drain(at..at + 14).collect();
                datagram.extend(record);
            }
            perfect(to, n, datagram)
        });
        assert_eq!(pair.elapsed(), DELAY * 4, "{way:?}");
    }
}

/// The back-off of a client that nobody answers, and its end.
#[test]
fn nobody_answers() {
    let mut pair = Pair::new(|ours, theirs| {
        ours.first_wait = Duration::from_millis(100);
        theirs.time_limit = Duration::from_secs(5);
    });
    pair.run(&mut |_, _, _| Vec::new());
    // 0.1, 0.2, 0.4, 0.8 s, and 4 × 1.6 s before the last.
    assert_eq!(pair.sent, [6, 0]);
    assert_eq!(pair.elapsed(), Duration::from_secs(30));
    let failed = Event::Failed(DtlsError::TimedOut { alert: None });
    assert_eq!(
        (&pair.client.events[..], &pair.server.events[..]),
        (&[failed][..], &[failed][..])
    );
}

/// When a client sends its hello, and what follows it, where nobody answers.
#[test]
fn the_wait_is_doubled() {
    let mut pair = Pair::new(|ours, _| ours.time_limit = Duration::from_secs(300));
    let now = pair.now;
    let sends = |end: &mut End<NullCrypto>| {
        let mut times = Vec::new();
        while let Some(at) = end.dtls.timeout().filter(|_| end.events.is_empty()) {
            if !end.transmit(at).is_empty() {
                let passed = at.saturating_duration_since(now);
                times.push(u64::try_from(passed.as_millis()).expect("a short test"));
            }
        }
        times
    };
    // To one who has proved who it is, up to RFC 6347's 60 s.
    let hello = pair.client.transmit(now).concat();
    pair.server.receive(now, &hello);
    pair.server.work(now);
    let flight = pair.server.transmit(now).concat();
    pair.client.receive(now, &flight);
    pair.client.work(now);
    pair.client.transmit(now);
    let known = [
        200, 600, 1_400, 3_000, 6_200, 12_600, 25_400, 51_000, 102_200, 162_200, 222_200,
    ];
    assert_eq!(
        sends(&mut pair.client)[..],
        [&known[..], &[282_200]].concat()
    );
    // To a stranger six times; the last one late.
    assert_eq!(sends(&mut pair.server), [200, 600, 1_400, 3_000, 15_800]);
}

#[test]
fn the_first_wait_is_bounded() {
    for (wanted, waited) in [(0, 50), (300, 300), (9_000, 1_000)] {
        let mut pair = Pair::new(|ours, _| ours.first_wait = Duration::from_millis(wanted));
        pair.client.transmit(pair.now);
        let expected = pair.now + Duration::from_millis(waited);
        assert_eq!(pair.client.dtls.timeout(), Some(expected));
    }
}

/// The server's last flight is lost again and again: the client's own flight asks for it.
#[test]
fn the_last_flight_is_sent_again() {
    let mut pair = Pair::new(|_, _| {});
    pair.connect(&mut |to, n, datagram| {
        if to == Way::ToClient && (1..6).contains(&n) {
            Vec::new()
        } else {
            perfect(to, n, datagram)
        }
    });
    pair.talk();
}

/// What a client repeats does not use up what the server sends by itself: an outage at the start
/// is survived, whose end neither sees.
#[test]
fn an_outage_at_the_start_is_survived() {
    let mut pair = Pair::new(|_, _| {});
    let hello = pair.client.transmit(pair.now).concat();
    for _ in 0..40 {
        pair.server.receive(pair.now, &hello);
        pair.server.work(pair.now);
        pair.server.transmit(pair.now);
        pair.now = pair.now + Duration::from_millis(100);
    }
    // And no hello arrives any more.
    pair.connect(&mut |way, n, datagram| {
        if way == Way::ToServer && is_hello(&datagram) {
            Vec::new()
        } else {
            perfect(way, n, datagram)
        }
    });
    pair.talk();
}

/// Whether a datagram is a ClientHello.
fn is_hello(datagram: &[u8]) -> bool {
    datagram[0] == 22 && datagram[13] == 1
}

/// A hundred handshakes at 20 % loss: none fails. At 30 % a flight to a stranger is lost six times
/// in one of them.
#[test]
fn random_loss_fails_hardly_a_handshake() {
    for (percent, bearable) in [(20, 0), (30, 1)] {
        let mut failed = 0;
        for seed in 0..100 {
            let mut random = NullCrypto::new(seed);
            let mut pair = Pair::new(|_, _| {});
            pair.run(&mut |to, n, datagram| {
                let mut byte = [0];
                random.random(&mut byte).expect("it does not fail");
                if u16::from(byte[0]) * 100 / 256 < percent {
                    Vec::new()
                } else {
                    perfect(to, n, datagram)
                }
            });
            let late = [Event::Failed(DtlsError::TimedOut { alert: None })];
            if pair.client.events == late {
                failed += 1;
            } else {
                assert_eq!(pair.client.events, [Event::Connected]);
                assert_eq!(pair.server.events, [Event::Connected]);
            }
        }
        assert!(failed <= bearable, "{percent} %: {failed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the network does to the first datagrams, the handshake is done: they are doubled,
    /// late, cut, and five of them lost.
    #[test]
    fn whatever_the_network_does(
        fates in prop::collection::vec((0_u8..6, 0_u64..400, 0_usize..400), 40),
        datagram_max in 128_usize..600,
    ) {
        let mut pair = Pair::new(|ours, theirs| {
            ours.datagram_max = datagram_max;
            theirs.datagram_max = datagram_max;
        });
        let (mut n, mut lost) = (0, 0);
        pair.connect(&mut |way, count, mut datagram: Vec<u8>| {
            n += 1;
            let Some(&(fate, millis, len)) = fates.get(n - 1) else {
                return perfect(way, count, datagram);
            };
            let late = Duration::from_millis(millis);
            match fate {
                // What is cut may be lost, too; a flight is sent six times.
                0 | 3 if lost == 5 => perfect(way, count, datagram),
                0 => {
                    lost += 1;
                    Vec::new()
                }
                1 => std::vec![(DELAY, datagram.clone()), (late, datagram)],
                2 => std::vec![(late, datagram)],
                3 => {
                    lost += 1;
                    datagram.truncate(len);
                    std::vec![(DELAY, datagram)]
                }
                _ => perfect(way, count, datagram),
            }
        });
        pair.talk();
    }

    /// Any five of the first ten: a stranger is sent a flight six times.
    #[test]
    fn any_five_may_be_lost(lost in any::<u32>()) {
        let lost: BTreeSet<usize> = (0..10).filter(|n| lost >> n & 1 == 1).take(5).collect();
        let mut pair = Pair::new(|_, _| {});
        let mut n = 0;
        pair.connect(&mut |way, count, datagram| {
            n += 1;
            if lost.contains(&(n - 1)) { Vec::new() } else { perfect(way, count, datagram) }
        });
    }
}
