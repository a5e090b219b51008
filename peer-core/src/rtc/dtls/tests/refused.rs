//! What must be refused, and by which name.

use super::packets::{records, rewrite};
use super::*;
use crate::rtc::dtls::step::Step;

/// The body with the only place where `from` stands changed to `to`.
fn replaced(body: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at: Vec<usize> = (0..body.len())
        .filter(|&at| body[at..].starts_with(from))
        .collect();
    assert_eq!(at.len(), 1, "{from:x?} stands in {body:x?}");
    [&body[..at[0]], to, &body[at[0] + from.len()..]].concat()
}

/// Runs a handshake whose messages of one kind are changed on the way.
fn changed(kind: Message, change: impl Fn(&[u8]) -> Vec<u8>) -> Pair {
    let mut pair = Pair::new(|ours, theirs| {
        ours.time_limit = Duration::from_secs(3);
        theirs.time_limit = Duration::from_secs(3);
    });
    pair.run(&mut |way, n, datagram: Vec<u8>| {
        // The server's and the client's certificate are of the same kind.
        let changed = rewrite(&datagram, |it, body| {
            let theirs = kind != Message::Certificate || way == Way::ToClient;
            (it == kind.number() && theirs).then(|| change(body))
        });
        perfect(way, n, changed)
    });
    assert!(
        !pair.client.events.contains(&Event::Connected),
        "{:?}",
        pair.client.events
    );
    assert!(
        !pair.server.events.contains(&Event::Connected),
        "{:?}",
        pair.server.events
    );
    assert!(pair.client.dtls.is_wiped() && pair.server.dtls.is_wiped());
    pair
}

#[test]
fn a_client_hello_is_refused_by_name() {
    use DtlsError as E;
    let cases: &[(&[u8], &[u8], E)] = &[
        (
            &[0xc0, 0x2b, 0xcc, 0xa9],
            &[0xc0, 0x2f, 0xc0, 0x30],
            E::CipherSuite,
        ),
        (&[0xa9, 1, 0, 0], &[0xa9, 1, 1, 0], E::Compression),
        (
            &[0, 10, 0, 4, 0, 2, 0, 23],
            &[0, 10, 0, 4, 0, 2, 0, 24],
            E::Curve,
        ),
        (&[0, 11, 0, 2, 1, 0], &[0, 11, 0, 2, 1, 1], E::PointFormat),
        (&[0, 2, 4, 3], &[0, 2, 8, 4], E::SignatureAlgorithm),
        (&[0, 13, 0, 4], &[0, 99, 0, 4], E::SignatureAlgorithm),
        (&[0, 23, 0, 0], &[0, 99, 0, 0], E::NoExtendedMasterSecret),
        (
            &[0xff, 1, 0, 1, 0],
            &[0xff, 1, 0, 1, 1],
            E::Malformed(Message::ClientHello),
        ),
        // The same extension twice.
        (
            &[0, 23, 0, 0],
            &[0, 10, 0, 0],
            E::Malformed(Message::ClientHello),
        ),
    ];
    for (from, to, error) in cases {
        let pair = changed(Message::ClientHello, |body| replaced(body, from, to));
        assert_eq!(
            pair.server.events,
            [Event::Failed(*error)],
            "{from:x?} to {to:x?}"
        );
        // The alert came in plaintext: it ends nothing, and is told when the time is over.
        let alert = Some(error.alert());
        assert_eq!(pair.client.events, [Event::Failed(E::TimedOut { alert })]);
    }
    let old = changed(Message::ClientHello, |body| {
        [&[0xfe, 0xff], &body[2..]].concat()
    });
    assert_eq!(old.server.events, [Event::Failed(E::Version)]);
}

#[test]
fn a_server_hello_is_refused_by_name() {
    use DtlsError as E;
    let cases: &[(&[u8], &[u8], E)] = &[
        (&[0xc0, 0x2b, 0], &[0xc0, 0x2f, 0], E::CipherSuite),
        (&[0xc0, 0x2b, 0], &[0xc0, 0x0a, 0], E::CipherSuite),
        (&[0xc0, 0x2b, 0], &[0xc0, 0x2b, 1], E::Compression),
        (&[0, 23, 0, 0], &[0, 10, 0, 0], E::NoExtendedMasterSecret),
        (&[0, 23, 0, 0], &[0, 99, 0, 0], E::UnsolicitedExtension(99)),
        (&[0, 23, 0, 0], &[0, 14, 0, 0], E::UnsolicitedExtension(14)),
        (&[0, 11, 0, 2, 1, 0], &[0, 11, 0, 2, 1, 2], E::PointFormat),
    ];
    for (from, to, error) in cases {
        let pair = changed(Message::ServerHello, |body| replaced(body, from, to));
        assert_eq!(
            pair.client.events,
            [Event::Failed(*error)],
            "{from:x?} to {to:x?}"
        );
    }
    let old = changed(Message::ServerHello, |body| {
        [&[0xfe, 0xff], &body[2..]].concat()
    });
    assert_eq!(old.client.events, [Event::Failed(E::Version)]);
}

#[test]
fn a_key_exchange_is_refused_by_name() {
    use DtlsError as E;
    let cases: [(usize, u8, E); 7] = [
        (0, 1, E::Curve),                    // an explicit curve
        (2, 29, E::Curve),                   // X25519
        (3, 33, E::PointFormat),             // a compressed point
        (4, 2, E::KeyExchangeSignature),     // another point
        (69, 2, E::SignatureAlgorithm),      // SHA-1
        (70, 1, E::SignatureAlgorithm),      // RSA
        (80, 0xee, E::KeyExchangeSignature), // another signature
    ];
    for (at, to, error) in cases {
        let pair = changed(Message::ServerKeyExchange, |body| {
            let mut body = body.to_vec();
            assert_ne!(body[at], to);
            body[at] = to;
            body
        });
        assert_eq!(pair.client.events, [Event::Failed(error)], "byte {at}");
    }
    // A signature over other randoms.
    let random = changed(Message::ServerHello, |body| {
        let mut body = body.to_vec();
        body[10] ^= 1;
        body
    });
    assert_eq!(
        random.client.events,
        [Event::Failed(E::KeyExchangeSignature)]
    );
}

#[test]
fn a_client_is_refused_by_name() {
    use DtlsError as E;
    let request = changed(Message::CertificateRequest, |_| {
        std::vec![1, 1, 0, 2, 4, 1, 0, 0]
    });
    assert_eq!(
        request.client.events,
        [Event::Failed(E::SignatureAlgorithm)]
    );

    let point = changed(Message::ClientKeyExchange, |body| {
        let mut body = body.to_vec();
        body[1] = 5;
        body
    });
    assert_eq!(point.server.events, [Event::Failed(E::Point)]);
    let compressed = changed(Message::ClientKeyExchange, |body| {
        [&[33], &body[1..34]].concat()
    });
    assert_eq!(compressed.server.events, [Event::Failed(E::PointFormat)]);

    let hash = changed(Message::CertificateVerify, |body| {
        [&[2], &body[1..]].concat()
    });
    assert_eq!(hash.server.events, [Event::Failed(E::SignatureAlgorithm)]);

    // Another point changes the session hash, and with it every key: nothing can be opened.
    let other = changed(Message::ClientKeyExchange, |body| {
        let mut body = body.to_vec();
        body[40] ^= 1;
        body
    });
    assert_eq!(other.server.events, [Event::Failed(E::CertificateVerify)]);
}

#[test]
fn certificates_are_refused_by_name() {
    let malformed = changed(Message::Certificate, |body| body[..body.len() - 1].to_vec());
    let error = DtlsError::Malformed(Message::Certificate);
    assert_eq!(malformed.client.events, [Event::Failed(error)]);
    let none = changed(Message::Certificate, |_| std::vec![0, 0, 0]);
    assert_eq!(
        none.client.events,
        [Event::Failed(DtlsError::NoCertificate)]
    );
    let other = changed(Message::Certificate, |body| {
        let mut body = body.to_vec();
        body[50] ^= 1;
        body
    });
    assert_eq!(other.client.events, [Event::Failed(DtlsError::Fingerprint)]);
}

/// A client without a certificate, which TLS allows and WebRTC does not.
#[test]
fn an_empty_client_certificate_is_refused() {
    let mut pair = Pair::new(|_, _| {});
    pair.run(&mut |way, n, datagram: Vec<u8>| {
        let empty = rewrite(&datagram, |kind, _| {
            (kind == 11 && way == Way::ToServer).then(|| std::vec![0, 0, 0])
        });
        perfect(way, n, empty)
    });
    assert_eq!(
        pair.server.events,
        [Event::Failed(DtlsError::NoCertificate)]
    );
}

#[test]
fn another_fingerprint_is_refused_before_any_data() {
    let mut client = Pair::new(|ours, _| ours.fingerprint[0] ^= 1);
    client.run(&mut perfect);
    assert_eq!(
        client.client.events,
        [Event::Failed(DtlsError::Fingerprint)]
    );
    assert!(!client.server.events.contains(&Event::Connected));

    let mut server = Pair::new(|_, theirs| theirs.fingerprint[31] ^= 0x80);
    server.run(&mut perfect);
    assert_eq!(
        server.server.events,
        [Event::Failed(DtlsError::Fingerprint)]
    );
    assert!(!server.client.events.contains(&Event::Connected));
}

/// The right certificate, and not its key.
#[test]
fn a_certificate_without_its_key_is_refused() {
    let mut pair = Pair::new(|_, _| {});
    let other = Identity::generate(&mut NullCrypto::new(9)).expect("randomness");
    pair.server.identity = pair.server.identity.with_key_of(&other);
    pair.run(&mut perfect);
    let error = DtlsError::KeyExchangeSignature;
    assert_eq!(pair.client.events, [Event::Failed(error)]);

    let mut pair = Pair::new(|_, _| {});
    pair.client.identity = pair.client.identity.with_key_of(&other);
    pair.run(&mut perfect);
    assert_eq!(
        pair.server.events,
        [Event::Failed(DtlsError::CertificateVerify)]
    );
    assert!(!pair.client.events.contains(&Event::Connected));
}

#[test]
fn a_wrong_finished_is_refused() {
    let mut pair = Pair::new(|_, _| {});
    let now = pair.now;
    let hello = pair.client.transmit(now).concat();
    pair.server.receive(now, &hello);
    pair.server.work(now);
    let flight = pair.server.transmit(now).concat();
    pair.client.receive(now, &flight);
    pair.client.work(now);
    pair.client.dtls.spoil_finished();
    let flight = pair.client.transmit(now).concat();
    pair.server.work(now);
    pair.server.receive(now, &flight);
    pair.server.work(now);
    assert_eq!(pair.server.events, [Event::Failed(DtlsError::Finished)]);

    let mut pair = Pair::new(|_, _| {});
    let hello = pair.client.transmit(now).concat();
    pair.server.receive(now, &hello);
    pair.server.work(now);
    let flight = pair.server.transmit(now).concat();
    pair.client.receive(now, &flight);
    pair.client.work(now);
    let flight = pair.client.transmit(now).concat();
    pair.server.receive(now, &flight);
    pair.server.work(now);
    pair.server.dtls.spoil_finished();
    let flight = pair.server.transmit(now).concat();
    pair.client.receive(now, &flight);
    assert_eq!(pair.client.events, [Event::Failed(DtlsError::Finished)]);
}

/// The whole table: 11 pairs of what is waited for and what comes are legal.
#[test]
fn every_other_message_is_refused() {
    use {Message as M, Step as S};
    let legal = [
        (S::ServerHelloOrCookie, M::HelloVerifyRequest),
        (S::ServerHelloOrCookie, M::ServerHello),
        (S::ServerHello, M::ServerHello),
        (S::ServerCertificate, M::Certificate),
        (S::ServerKeyExchange, M::ServerKeyExchange),
        (S::CertificateRequest, M::CertificateRequest),
        (S::ServerHelloDone, M::ServerHelloDone),
        (S::ClientHello, M::ClientHello),
        (S::ClientCertificate, M::Certificate),
        (S::ClientKeyExchange, M::ClientKeyExchange),
        (S::CertificateVerify, M::CertificateVerify),
    ];
    let steps = [
        S::ServerHelloOrCookie,
        S::ServerHello,
        S::ServerCertificate,
        S::ServerKeyExchange,
        S::CertificateRequest,
        S::ServerHelloDone,
        S::ClientHello,
        S::ClientCertificate,
        S::ClientKeyExchange,
        S::CertificateVerify,
        S::Change,
        S::Finished,
    ];
    for step in steps {
        for kind in 0..=255 {
            let message = M::read(kind);
            assert_eq!(message.number(), kind);
            let is_legal = legal.contains(&(step, message));
            assert_eq!(
                step.after(message).is_some(),
                is_legal,
                "{step:?} {message:?}"
            );
        }
    }
}

/// A message left out, in a session: what comes instead is refused by name.
#[test]
fn skipped_messages_are_refused() {
    let cases = [
        (Way::ToClient, 11, Message::ServerKeyExchange),
        (Way::ToClient, 12, Message::CertificateRequest),
        (Way::ToClient, 13, Message::ServerHelloDone),
        (Way::ToServer, 11, Message::ClientKeyExchange),
        (Way::ToServer, 16, Message::CertificateVerify),
    ];
    for (way, skipped, comes) in cases {
        let mut pair = Pair::new(|_, _| {});
        pair.run(&mut |to, n, datagram: Vec<u8>| {
            let mut out = Vec::new();
            let mut back = 0;
            for record in records(&datagram) {
                let mut record = record.to_vec();
                if to == way && record[0] == 22 && record[4] == 0 {
                    if record[13] == skipped {
                        back = 1;
                        continue;
                    }
                    // What follows takes its place.
                    record[18] -= back;
                }
                out.extend(record);
            }
            perfect(to, n, out)
        });
        let refusing = if way == Way::ToClient {
            &pair.client
        } else {
            &pair.server
        };
        let error = DtlsError::Unexpected(comes);
        assert_eq!(refusing.events, [Event::Failed(error)], "without {skipped}");
    }
}
