//! A network that loses, doubles, delays and cuts.

use std::collections::BTreeSet;

use proptest::prelude::*;

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
                let mut rest = &datagram[..];
                while !rest.is_empty() {
                    let len = 13 + usize::from(u16::from_be_bytes([rest[11], rest[12]]));
                    if to != way || record != lost {
                        kept.extend(&rest[..len]);
                    }
                    record += usize::from(to == way);
                    rest = &rest[len..];
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
    // 0.1, 0.2, 0.4, 0.8, 1.6, 3.2 and then 4 s each: after 0, 0.1, 0.3, … 6.3, 10.3, … 26.3 s.
    assert_eq!(pair.sent, [12, 0]);
    assert_eq!(pair.elapsed(), Duration::from_secs(30));
    let failed = Event::Failed(DtlsError::TimedOut { alert: None });
    assert_eq!(
        (&pair.client.events[..], &pair.server.events[..]),
        (&[failed][..], &[failed][..])
    );
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

/// A hundred handshakes each at 20 and 40 % loss: none fails.
#[test]
fn random_loss_fails_no_handshake() {
    for percent in [20, 40] {
        let mut slowest = Duration::ZERO;
        for seed in 0..100 {
            let mut random = NullCrypto::new(seed);
            let mut pair = Pair::new(|_, _| {});
            pair.connect(&mut |to, n, datagram| {
                let mut byte = [0];
                random.random(&mut byte).expect("it does not fail");
                if u16::from(byte[0]) * 100 / 256 < percent {
                    Vec::new()
                } else {
                    perfect(to, n, datagram)
                }
            });
            slowest = slowest.max(pair.elapsed());
        }
        assert!(
            slowest < Duration::from_secs(30),
            "{percent} %: {slowest:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the network does to the first datagrams, the handshake is done or, where it lasted,
    /// not failed by it: fates are lost, doubled, late, cut.
    #[test]
    fn whatever_the_network_does(
        fates in prop::collection::vec((0_u8..6, 0_u64..400, 0_usize..400), 40),
        datagram_max in 128_usize..600,
    ) {
        let mut pair = Pair::new(|ours, theirs| {
            ours.datagram_max = datagram_max;
            theirs.datagram_max = datagram_max;
            // Forty lost in a row take longer than a handshake may.
            ours.time_limit = Duration::from_secs(600);
            theirs.time_limit = Duration::from_secs(600);
        });
        let mut n = 0;
        pair.connect(&mut |way, count, mut datagram: Vec<u8>| {
            n += 1;
            let Some(&(fate, millis, len)) = fates.get(n - 1) else {
                return perfect(way, count, datagram);
            };
            let late = Duration::from_millis(millis);
            match fate {
                0 => Vec::new(),
                1 => std::vec![(DELAY, datagram.clone()), (late, datagram)],
                2 => std::vec![(late, datagram)],
                3 => {
                    datagram.truncate(len);
                    std::vec![(DELAY, datagram)]
                }
                _ => perfect(way, count, datagram),
            }
        });
        pair.talk();
    }

    /// Any set of lost datagrams among the first ten.
    #[test]
    fn any_ten_may_be_lost(lost in any::<u32>()) {
        let lost: BTreeSet<usize> = (0..10).filter(|n| lost >> n & 1 == 1).collect();
        let mut pair = Pair::new(|_, _| {});
        let mut n = 0;
        pair.connect(&mut |way, count, datagram| {
            n += 1;
            if lost.contains(&(n - 1)) { Vec::new() } else { perfect(way, count, datagram) }
        });
    }
}
