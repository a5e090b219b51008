//! What works.

use super::packets::records;
use super::*;
use crate::rtc::dtls::record::Content;

#[test]
fn two_sessions_connect_and_talk() {
    let mut pair = Pair::new(|_, _| {});
    pair.connect(&mut perfect);
    // Four flights: two round trips, nothing waited for.
    assert_eq!((pair.sent, pair.elapsed()), ([2, 2], DELAY * 4));
    pair.talk();
}

#[test]
fn each_suite_is_chosen_as_the_server_prefers() {
    for [client, server] in [
        [Suite::Aes128Gcm, Suite::ChaCha20Poly1305],
        [Suite::ChaCha20Poly1305, Suite::Aes128Gcm],
    ] {
        let mut pair = Pair::new(|ours, theirs| {
            ours.prefer = client;
            theirs.prefer = server;
        });
        pair.connect(&mut perfect);
        pair.talk();
        // ChaCha20-Poly1305 has no nonce in the record.
        let nonce = if server == Suite::Aes128Gcm { 8 } else { 0 };
        let record = pair.client.send(b"12345").expect("open");
        assert_eq!(record.len(), 13 + nonce + 5 + 16);
    }
}

#[cfg(feature = "rustcrypto")]
#[test]
fn it_connects_with_real_cryptography() {
    use crate::rtc::crypto::RustCrypto;
    for prefer in [Suite::Aes128Gcm, Suite::ChaCha20Poly1305] {
        let crypto = |seed| {
            let mut source = NullCrypto::new(seed);
            RustCrypto::new(move |out: &mut [u8]| source.random(out))
        };
        let mut pair = Pair::with(crypto(1), crypto(2), |_, theirs| theirs.prefer = prefer);
        pair.connect(&mut perfect);
        pair.talk();
    }
}

#[test]
fn srtp_is_agreed_on_where_both_want() {
    for [client, server] in [[true, true], [true, false], [false, true]] {
        let mut pair = Pair::new(|ours, theirs| {
            ours.use_srtp = client;
            theirs.use_srtp = server;
        });
        let mut seen = false;
        pair.connect(&mut |way, n, datagram: Vec<u8>| {
            if way == Way::ToClient && n == 0 {
                seen = datagram
                    .windows(9)
                    .any(|it| it == [0, 14, 0, 5, 0, 2, 0, 1, 0]);
            }
            perfect(way, n, datagram)
        });
        assert_eq!(seen, client && server);
    }
}

#[test]
fn flights_are_cut_where_datagrams_are_small() {
    for datagram_max in DATAGRAM_MIN..700 {
        let mut pair = Pair::new(|ours, theirs| {
            ours.datagram_max = datagram_max;
            theirs.datagram_max = datagram_max;
        });
        let mut longest = 0;
        pair.connect(&mut |way, n, datagram: Vec<u8>| {
            longest = longest.max(datagram.len());
            perfect(way, n, datagram)
        });
        assert!(
            longest <= datagram_max && longest > datagram_max / 2,
            "{longest}"
        );
        pair.talk();
    }
}

/// A record is never sent twice, also when a flight is: with GCM it would be the same nonce.
#[test]
fn no_sequence_number_is_used_twice() {
    let mut seen = std::collections::BTreeSet::new();
    let mut pair = Pair::new(|_, _| {});
    pair.connect(&mut |way, n, datagram: Vec<u8>| {
        for record in records(&datagram) {
            assert!(seen.insert((way == Way::ToServer, record[3..11].to_vec())));
        }
        if n < 3 {
            Vec::new()
        } else {
            perfect(way, n, datagram)
        }
    });
    assert!(seen.len() > 20);
}

#[test]
fn closing_is_told() {
    let mut pair = Pair::new(|_, _| {});
    pair.connect(&mut perfect);
    pair.client.dtls.close();
    assert_eq!(pair.client.send(b"x"), Err(SealError::NotOpen));
    pair.run(&mut perfect);
    assert_eq!(pair.client.events, [Event::Connected]);
    assert_eq!(pair.server.events, [Event::Connected, Event::Closed]);
    assert_eq!(pair.server.send(b"x"), Err(SealError::NotOpen));
    assert!(pair.client.dtls.is_wiped() && pair.server.dtls.is_wiped());
}

#[test]
fn work_is_one_operation_at_a_time() {
    let mut pair = Pair::new(|_, _| {});
    let now = pair.now;
    // Nothing but the hello can be sent; the share is made ahead.
    assert!(pair.client.dtls.wants_work() && pair.server.dtls.wants_work());
    assert!(
        !pair
            .client
            .dtls
            .work(now, &mut pair.client.crypto, &pair.client.identity)
    );
    let hello = pair.client.transmit(now).concat();
    pair.server.receive(now, &hello);
    let mut steps = 0;
    while pair.server.dtls.wants_work() {
        assert!(
            pair.server.transmit(now).is_empty(),
            "the flight is not done yet"
        );
        pair.server
            .dtls
            .work(now, &mut pair.server.crypto, &pair.server.identity);
        steps += 1;
    }
    assert_eq!(steps, 2, "a share, a signature");
    let flight = pair.server.transmit(now).concat();
    pair.client.receive(now, &flight);
    let mut steps = 0;
    while pair.client.dtls.wants_work() {
        pair.client
            .dtls
            .work(now, &mut pair.client.crypto, &pair.client.identity);
        steps += 1;
    }
    assert_eq!(steps, 3, "a verification, a secret, a signature");
    let flight = pair.client.transmit(now).concat();
    pair.server.receive(now, &flight);
    let mut steps = 0;
    while pair.server.dtls.wants_work() {
        assert!(pair.server.events.is_empty());
        pair.server
            .dtls
            .work(now, &mut pair.server.crypto, &pair.server.identity);
        pair.server.poll();
        steps += 1;
    }
    // The Finished came before its keys, and was kept.
    assert_eq!(
        (steps, &pair.server.events[..]),
        (2, &[Event::Connected][..])
    );
}

#[test]
fn text_needs_its_room() {
    let mut pair = Pair::new(|_, _| {});
    assert_eq!(pair.client.send(b"x"), Err(SealError::NotOpen));
    pair.connect(&mut perfect);
    let client = &mut pair.client;
    let mut buffer = [0; HEADROOM + 10 + TAILROOM];
    for text in [
        HEADROOM - 1..HEADROOM + 5,
        HEADROOM..HEADROOM + 11,
        0..5,
        40..usize::MAX,
    ] {
        let sealed = client.dtls.seal(&mut client.crypto, &mut buffer, text);
        assert_eq!(sealed, Err(SealError::NoRoom));
    }
    assert_eq!(client.send(&[0; TEXT_MAX + 1]), Err(SealError::NoRoom));
    let longest = client
        .send(&[7; TEXT_MAX])
        .expect("as long as a record may be");
    pair.server.receive(pair.now, &longest);
    assert_eq!(pair.server.data, [[7; TEXT_MAX]]);
}

/// What a session takes: said in the report of sizes, and here so that it does not grow unseen.
#[test]
fn sizes() {
    let (session, lent) = (size_of::<Dtls<'_, NullCrypto>>(), size_of::<Resources<M>>());
    assert!(session <= 1_536, "{session} bytes of a session");
    assert_eq!(lent, M + 1_024);
}

/// The datagrams of a handshake up to the Finished of the end that gets `way`'s other, exclusive:
/// what is left is its ChangeCipherSpec and the Finished, which is taken off.
fn up_to_finished(pair: &mut Pair, way: Way) -> Vec<u8> {
    let now = pair.now;
    let hello = pair.client.transmit(now).concat();
    pair.server.receive(now, &hello);
    pair.server.work(now);
    let flight = pair.server.transmit(now).concat();
    pair.client.receive(now, &flight);
    pair.client.work(now);
    let mut last = pair.client.transmit(now).concat();
    if way == Way::ToClient {
        pair.server.receive(now, &last);
        pair.server.work(now);
        last = pair.server.transmit(now).concat();
    }
    // A record of GCM: 13, 8, 12 and 12, 16 bytes.
    let finished = last.split_off(last.len() - 61);
    assert_eq!(finished[..5], [22, 0xfe, 0xfd, 0, 1]);
    last
}

/// Records with these parts of an end's own Finished.
fn finished_in(end: &mut End<NullCrypto>, pieces: &[(u8, u8)]) -> Vec<Vec<u8>> {
    let (sequence, data) = end.dtls.own_finished();
    let [high, low] = sequence.to_be_bytes();
    let record = |&(start, stop): &(u8, u8)| {
        let body = &data[start.into()..stop.into()];
        let len = stop - start;
        let head = [20, 0, 0, 12, high, low, 0, 0, start, 0, 0, len];
        let text = [&head[..], body].concat();
        let (bytes, len) = end.dtls.seal_as(&mut end.crypto, Content::Handshake, &text);
        bytes[..len].to_vec()
    };
    pieces.iter().map(record).collect()
}

/// As any message: dimpl cuts it where a datagram has room left.
#[test]
fn a_finished_may_come_in_fragments() {
    let bytes: Vec<(u8, u8)> = (0..12).rev().map(|at| (at, at + 1)).collect();
    let cases: [&[(u8, u8)]; 6] = [
        &[(0, 12)],
        &[(0, 1), (1, 12)],
        &[(5, 12), (0, 7)],
        &[(0, 0), (0, 12)],
        &[(0, 6), (0, 6), (3, 9), (9, 12)],
        &bytes,
    ];
    for way in [Way::ToServer, Way::ToClient] {
        for pieces in cases {
            for early in [false, true] {
                // Two records are kept for later, not more.
                if early && (pieces.len() > 2 || way == Way::ToClient) {
                    continue;
                }
                let mut pair = Pair::new(|_, _| {});
                let before = up_to_finished(&mut pair, way);
                let now = pair.now;
                let (from, to) = match way {
                    Way::ToServer => (&mut pair.client, &mut pair.server),
                    Way::ToClient => (&mut pair.server, &mut pair.client),
                };
                let records = finished_in(from, pieces);
                to.receive(now, &before);
                if !early {
                    to.work(now);
                }
                for record in records {
                    assert!(to.events.is_empty());
                    to.receive(now, &record);
                }
                to.work(now);
                assert_eq!(to.events, [Event::Connected], "{way:?} {pieces:?} {early}");
                pair.connect(&mut perfect);
                pair.talk();
            }
        }
    }
}
