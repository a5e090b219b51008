//! What must be refused, in both roles, with each cryptography: found by changing what goes over
//! the wire.

use peer_core::rtc::crypto::{Crypto, signature};
use peer_core::rtc::dtls::{DtlsError as E, Event, Identity, Role, SealError, Suite};

use super::packets::{record, records, rewrite};
use super::pair::{End, Pair, Seeded, seeded, unchanged};

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

fn pair<C: Crypto>(make: fn(Seeded) -> C) -> Pair<C> {
    Pair::new(
        make(seeded(1, u32::MAX)),
        make(seeded(2, u32::MAX)),
        |_, _| {},
    )
}

/// Runs a handshake in which the messages of a type that go to a role are changed; why that end
/// failed, if it did. Nobody else may be connected where it failed.
fn outcome<C: Crypto>(
    make: fn(Seeded) -> C,
    to: Role,
    kind: u8,
    change: &dyn Fn(&[u8]) -> Vec<u8>,
) -> Option<E> {
    let mut pair = pair(make);
    pair.run(&mut |role, datagram| {
        rewrite(&datagram, |it, body| {
            (role == to && it == kind).then(|| change(body))
        })
    });
    let (end, other) = match to {
        Role::Client => (&pair.client.events, &pair.server.events),
        Role::Server => (&pair.server.events, &pair.client.events),
    };
    match end[..] {
        [Event::Failed(error)] => {
            assert!(matches!(other[..], [Event::Failed(_)]), "{other:?}");
            Some(error)
        }
        [Event::Connected] => None,
        _ => panic!("{end:?}"),
    }
}

/// Another certificate, and points that are not on the curve. What else is refused by name does not
/// depend on the cryptography, and is tested beside it.
fn is_refused_by_name<C: Crypto>(make: fn(Seeded) -> C) {
    for role in [Role::Client, Role::Server] {
        let other = outcome(make, role, 11, &|body| {
            let mut body = body.to_vec();
            body[40] ^= 1;
            body
        });
        assert_eq!(other, Some(E::Fingerprint));
    }
    for point in [[0; 64], [0xff; 64]] {
        let off = outcome(make, Role::Server, 16, &|_| [&[65, 4][..], &point].concat());
        assert_eq!(off, Some(E::Point));
    }
}

/// Neither side is connected to somebody else, and no data goes either way before.
fn another_fingerprint<C: Crypto>(make: fn(Seeded) -> C) {
    for role in [Role::Client, Role::Server] {
        let (ours, theirs) = (make(seeded(1, u32::MAX)), make(seeded(2, u32::MAX)));
        let mut pair = Pair::new(ours, theirs, |client, server| match role {
            Role::Client => client.fingerprint[7] ^= 1,
            Role::Server => server.fingerprint[7] ^= 1,
        });
        pair.run(&mut unchanged);
        let (end, other) = match role {
            Role::Client => (&pair.client.events, &pair.server.events),
            Role::Server => (&pair.server.events, &pair.client.events),
        };
        assert_eq!(end[..], [Event::Failed(E::Fingerprint)]);
        assert!(matches!(other[..], [Event::Failed(_)]), "{other:?}");
        assert!(pair.client.data.is_empty() && pair.server.data.is_empty());
        assert_eq!(pair.client.send(b"data"), Err(SealError::NotOpen));
        assert_eq!(pair.server.send(b"data"), Err(SealError::NotOpen));
    }
}

/// The body of a message that goes to a role, in a handshake that is not changed.
fn body_of<C: Crypto>(make: fn(Seeded) -> C, seed: u64, to: Role, kind: u8) -> Vec<u8> {
    let mut pair = Pair::new(
        make(seeded(1, u32::MAX)),
        make(seeded(2, u32::MAX)),
        |_, _| {},
    );
    // The same certificates, and then other randomness.
    let configs = [
        (Role::Client, &pair.server.identity),
        (Role::Server, &pair.client.identity),
    ];
    let [client, server] = configs
        .map(|(role, remote)| peer_core::rtc::dtls::Config::new(role, *remote.fingerprint()));
    let (a, b) = (
        make(seeded(seed, u32::MAX)),
        make(seeded(seed + 1, u32::MAX)),
    );
    pair.client = End::new(pair.now, a, pair.client.identity, &client);
    pair.server = End::new(pair.now, b, pair.server.identity, &server);
    let mut found = None;
    pair.run(&mut |role, datagram| {
        rewrite(&datagram, |it, body| {
            if role == to && it == kind {
                found = Some(body.to_vec());
            }
            None
        })
    });
    found.expect("it was sent")
}

/// What is signed is this handshake, by the key of the certificate that was signalled.
fn signatures<C: Crypto>(make: fn(Seeded) -> C) {
    // Of another handshake between the same two.
    let cases = [
        (Role::Client, 12, E::KeyExchangeSignature),
        (Role::Server, 15, E::CertificateVerify),
    ];
    for (role, kind, error) in cases {
        let other = body_of(make, 100, role, kind);
        let found = outcome(make, role, kind, &|_| other.clone());
        assert_eq!(found, Some(error));
        // By another key.
        let mut crypto = make(seeded(50, u32::MAX));
        let key = crypto.key_pair().expect("randomness");
        let signed = crypto.sign(&key.secret, &[1; 32]).expect("a key");
        let mut der = [0; signature::DER_MAX];
        let len = signature::to_der(&signed, &mut der).expect("it fits");
        let found = outcome(make, role, kind, &|body| {
            let kept = if kind == 12 { 69 } else { 0 };
            let head = [4, 3, 0, u8::try_from(len).expect("short")];
            [&body[..kept], &head, &der[..len]].concat()
        });
        assert_eq!(found, Some(error));
    }
    // Swapped randoms: what the server sends as its own is the client's.
    let mut pair = pair(make);
    let mut random = Vec::new();
    pair.run(&mut |_, datagram| {
        rewrite(&datagram, |kind, body| {
            if kind == 1 {
                random = body[2..34].to_vec();
            }
            (kind == 2).then(|| [&body[..2], &random, &body[34..]].concat())
        })
    });
    assert_eq!(pair.client.events, [Event::Failed(E::KeyExchangeSignature)]);
}

/// A signature that was changed on its way and still is right: its s is the order less what it was.
/// The transcripts differ by it, and the Finished tells.
fn a_changed_transcript<C: Crypto>(make: fn(Seeded) -> C) {
    let found = outcome(make, Role::Server, 15, &|body| {
        let mut signed = signature::from_der(&body[4..]).expect("it is ours");
        let mut borrow = 0;
        for at in (0..32).rev() {
            let digit = i16::from(ORDER[at]) - i16::from(signed[32 + at]) - borrow;
            borrow = i16::from(digit < 0);
            signed[32 + at] = digit.rem_euclid(256).to_le_bytes()[0];
        }
        let mut der = [0; signature::DER_MAX];
        let len = signature::to_der(&signed, &mut der).expect("it fits");
        [&[4, 3, 0, u8::try_from(len).expect("short")], &der[..len]].concat()
    });
    assert_eq!(found, Some(E::Finished));
}

/// A server that would go on with an old session: its ChangeCipherSpec after its hello counts for
/// nothing, whatever session it names.
fn resumption<C: Crypto>(make: fn(Seeded) -> C) {
    let mut pair = pair(make);
    pair.run(&mut |role, datagram| {
        if role == Role::Server {
            return datagram;
        }
        let hello = records(&datagram)[0].to_vec();
        let hello = rewrite(&hello, |_, body| {
            assert_eq!(body[34], 0, "ours names no session");
            Some([&body[..34], &[32], &[5; 32], &body[35..]].concat())
        });
        let change = record(20, 0, 90, &[1]);
        let finished = record(22, 1, 0, &[7; 48]);
        [hello, change, finished].concat()
    });
    let late = Event::Failed(E::TimedOut { alert: None });
    assert_eq!(pair.client.events, [late]);
}

/// Records are opened once, and only as they were sealed.
fn replays_and_forgeries<C: Crypto>(make: fn(Seeded) -> C) {
    for suite in [Suite::Aes128Gcm, Suite::ChaCha20Poly1305] {
        let (ours, theirs) = (make(seeded(1, u32::MAX)), make(seeded(2, u32::MAX)));
        let mut pair = Pair::new(ours, theirs, |_, server| server.prefer = suite);
        pair.connect();
        let now = pair.now;
        let to_server = [b"1", b"2"].map(|data| pair.client.send(data).expect("open"));
        let to_client = [b"1", b"2"].map(|data| pair.server.send(data).expect("open"));
        check_records(&mut pair.server, now, &to_server);
        check_records(&mut pair.client, now, &to_client);
    }
}

fn check_records<C: Crypto>(
    end: &mut End<C>,
    now: peer_core::time::Instant,
    sealed: &[Vec<u8>; 2],
) {
    for record in sealed.iter().rev() {
        for at in 0..record.len() {
            for bit in [0, 7] {
                let mut forged = record.clone();
                forged[at] ^= 1 << bit;
                end.receive(now, &forged);
            }
            end.receive(now, &record[..at]);
        }
        assert!(end.data.is_empty(), "{:x?}", end.data);
        end.receive(now, record);
        assert_eq!(end.data.len(), 1);
        end.receive(now, record);
        assert_eq!(end.data.split_off(0).len(), 1, "once");
    }
    assert_eq!(end.events, [Event::Connected]);
}

fn randomness_that_fails<C: Crypto>(make: fn(Seeded) -> C) {
    for role in [Role::Client, Role::Server] {
        for calls in 0..3 {
            let mut pair = pair(make);
            let remote = match role {
                Role::Client => &pair.server.identity,
                Role::Server => &pair.client.identity,
            };
            let config = peer_core::rtc::dtls::Config::new(role, *remote.fingerprint());
            let identity = Identity::generate(&mut make(seeded(9, u32::MAX))).expect("randomness");
            let mut end = End::new(pair.now, make(seeded(3, calls)), identity, &config);
            pair.now = pair.now + peer_core::time::Duration::from_millis(1);
            end.turn(pair.now);
            // The hello's random, and the share.
            let failed: &[Event] = if calls < 2 {
                &[Event::Failed(E::Random)]
            } else {
                &[]
            };
            assert_eq!(end.events, failed, "{role:?} {calls}");
        }
    }
}

crate::on_both! {
    certificates_and_points_are_refused_by_name => is_refused_by_name;
    another_fingerprint_is_refused => another_fingerprint;
    signatures_are_of_this_handshake_and_this_key => signatures;
    a_changed_transcript_is_refused => a_changed_transcript;
    a_session_is_not_resumed => resumption;
    records_are_opened_once_and_unchanged => replays_and_forgeries;
    randomness_may_fail => randomness_that_fails;
}

/// All that goes over the wire, with these two at the ends.
fn transcript<A: Crypto, B: Crypto>(a: A, b: B, suite: Suite) -> Vec<Vec<u8>> {
    let mut pair = Pair::new(a, b, |_, server| server.prefer = suite);
    let mut all = Vec::new();
    pair.run(&mut |_, datagram| {
        all.push(datagram.clone());
        datagram
    });
    for n in 0..20 {
        let there = pair.client.send(&[n; 60]).expect("open");
        let back = pair.server.send(&[n; 90]).expect("open");
        pair.server.receive(pair.now, &there);
        pair.client.receive(pair.now, &back);
        all.extend([there, back]);
    }
    assert_eq!((pair.client.data.len(), pair.server.data.len()), (20, 20));
    all
}

/// Both implementations say the same, byte for byte, where they draw the same, and so understand
/// each other.
#[test]
fn both_say_the_same() {
    use super::pair::{ring, rustcrypto};
    let seeds = || [1, 2].map(|seed| seeded(seed, u32::MAX));
    for suite in [Suite::Aes128Gcm, Suite::ChaCha20Poly1305] {
        let [a, b] = seeds();
        let first = transcript(rustcrypto(a), rustcrypto(b), suite);
        assert!(first.len() >= 44);
        let [a, b] = seeds();
        assert_eq!(first, transcript(ring(a), ring(b), suite));
        let [a, b] = seeds();
        assert_eq!(first, transcript(rustcrypto(a), ring(b), suite));
        let [a, b] = seeds();
        assert_eq!(first, transcript(ring(a), rustcrypto(b), suite));
    }
}
