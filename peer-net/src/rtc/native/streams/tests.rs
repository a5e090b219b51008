//! Streams to servers that do what they are told. Those to a real TURN server are in the
//! repository's `tests/ice.rs`.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{IceServer, RtcConfig};

/// Only ends a test that hangs.
const HANG: Duration = Duration::from_secs(60);
const ID: SocketId = SocketId(200);

/// An event that borrows nothing.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Opened(SocketId),
    Message(SocketId, SocketAddr, Vec<u8>),
    Closed(SocketId, String),
}

async fn next(streams: &mut Streams) -> Told {
    match timeout(HANG, streams.next()).await.unwrap() {
        Event::Opened(id) => Told::Opened(id),
        Event::Message(id, from, bytes) => Told::Message(id, from, bytes.to_vec()),
        Event::Closed(id, why) => Told::Closed(id, why),
    }
}

#[track_caller]
fn closed(told: Told, word: &str) {
    let Told::Closed(ID, why) = told else {
        panic!("{told:?}");
    };
    assert!(
        why.starts_with("the TURN server turn") && why.contains(word),
        "{why}"
    );
}

/// Streams, and the server of this URL.
async fn streams(url: &str, trusted: &[CertificateDer<'static>]) -> (Streams, Resolved) {
    let servers = Servers::new(&RtcConfig {
        ice_servers: vec![IceServer::turn(url, "u", "c")],
        turn_certificates: trusted.to_vec(),
        ..RtcConfig::default()
    });
    let resolved = servers.resolved().await;
    let v4 = resolved.iter().find(|it| it.address.is_ipv4()).unwrap();
    (Streams::new(servers), v4.clone())
}

/// Streams with one that is open, and the other end of it.
async fn open() -> (Streams, TcpStream, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut streams, to) = streams(&format!("turn:{address}?transport=tcp"), &[]).await;
    streams.connect(ID, &to, Some(address.ip())).unwrap();
    let (opened, accepted) = tokio::join!(next(&mut streams), listener.accept());
    assert_eq!(opened, Told::Opened(ID));
    (streams, accepted.unwrap().0, address)
}

/// Channel data of so many bytes, with its padding.
fn message(len: u16) -> Vec<u8> {
    let mut bytes = vec![0x40, 1];
    bytes.extend(len.to_be_bytes());
    bytes.extend((0..len).map(|n| n as u8));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[tokio::test]
async fn messages_come_whole_however_the_stream_is_cut() {
    let (mut streams, mut server, address) = open().await;
    let lens = [0, 1, 2, 3, 1_200, 5, 1_516, 1_500, 7, 8, 1_100, 900];
    for (cut, rounds) in [(1, 1), (3, 1), (1_000, 20), (50_000, 20)] {
        let rounds = || lens.into_iter().cycle().take(lens.len() * rounds);
        let sent: Vec<u8> = rounds().flat_map(message).collect();
        let sending = async {
            for part in sent.chunks(cut) {
                server.write_all(part).await.unwrap();
                if cut < 10 {
                    tokio::task::yield_now().await;
                }
            }
        };
        let receiving = async {
            for len in rounds() {
                let expected = Told::Message(ID, address, message(len));
                // What gives the waiting up loses nothing.
                let told = loop {
                    tokio::select! {
                        biased;
                        told = next(&mut streams) => break told,
                        () = tokio::task::yield_now() => {}
                    }
                };
                assert_eq!(told, expected, "cut in {cut}");
            }
        };
        tokio::join!(sending, receiving);
    }
}

#[tokio::test]
async fn what_is_no_turn_ends_the_stream() {
    let too_long = message(1_517);
    let stun = [&[0, 1, 0xff, 0xfc][..], &[0; 16]].concat();
    for (bytes, word) in [
        (&b"SSH-2.0-OpenSSH_9.6"[..], "understood"),
        (&b"HTTP/1.1 400 Bad Request"[..], "bytes"),
        (&[0, 1, 0, 3][..], "understood"),
        (&too_long[..], "1524 bytes"),
        (&stun[..], "bytes"),
        (&message(100)[..50], "ended"),
        (&[][..], "ended"),
    ] {
        let (mut streams, mut server, _) = open().await;
        server.write_all(bytes).await.unwrap();
        server.shutdown().await.unwrap();
        closed(next(&mut streams).await, word);
        // It is gone, for a while.
        assert!(
            timeout(Duration::from_millis(1), streams.next())
                .await
                .is_err()
        );
        streams.send(ID, b"dropped");
        assert!(!streams.has_unsent());
    }
}

#[tokio::test]
async fn a_stream_that_ended_is_opened_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut streams, to) = streams(&format!("turn:{address}?transport=tcp"), &[]).await;
    streams.connect(ID, &to, None).unwrap();
    for ends in 0..3 {
        let (opened, accepted) = tokio::join!(next(&mut streams), listener.accept());
        assert_eq!(opened, Told::Opened(ID), "{ends}");
        match ends {
            0 => {
                let (mut server, _) = accepted.unwrap();
                server.write_all(&message(4)).await.unwrap();
                let Told::Message(..) = next(&mut streams).await else {
                    panic!("nothing came");
                };
                assert_eq!(streams.troubles().count(), 0);
                drop(server);
                closed(next(&mut streams).await, "ended");
                assert!(streams.troubles().all(|why| why.contains("ended")));
                assert_eq!(streams.troubles().count(), 1);
            }
            // Our address is gone, and its end not told.
            1 => {
                assert_eq!(streams.leave(&[address.ip()]), []);
                assert_eq!(streams.leave(&[]), [ID]);
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn datagrams_go_out_in_order_and_whole() {
    let (mut streams, mut server, _) = open().await;
    for len in 0..40 {
        streams.send(ID, &message(len));
    }
    streams.send(SocketId(201), b"of no stream");
    assert!(streams.has_unsent());
    let expected: Vec<u8> = (0..40).flat_map(message).collect();
    let mut got = vec![0; expected.len()];
    tokio::select! {
        told = next(&mut streams) => panic!("{told:?}"),
        read = server.read_exact(&mut got) => assert_eq!(read.unwrap(), expected.len()),
    }
    assert_eq!(got, expected);
    assert!(!streams.has_unsent());
}

/// A server that does not read: datagrams are dropped whole, and no more waits than may.
#[tokio::test]
async fn what_waits_for_too_long_is_dropped() {
    let (mut streams, mut server, _) = open().await;
    let datagram = message(1_100);
    let sent = 20_000;
    for _ in 0..sent {
        streams.send(ID, &datagram);
        let State::Open(open) = &streams.streams[0].state else {
            panic!("it is open");
        };
        assert!(open.unsent.len() <= UNSENT_MAX);
        assert!(open.unsent.capacity() <= 2 * UNSENT_MAX);
        tokio::select! {
            biased;
            told = next(&mut streams) => panic!("{told:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert!(streams.has_unsent());
    let reading = async {
        let mut got = vec![0; datagram.len()];
        let mut count = 0;
        // The last one is told by another length.
        loop {
            server.read_exact(&mut got[..4]).await.unwrap();
            if got[..4] == message(8)[..4] {
                return count;
            }
            server.read_exact(&mut got[4..]).await.unwrap();
            assert!(got == datagram);
            count += 1;
        }
    };
    let writing = async {
        while streams.has_unsent() {
            tokio::select! {
                biased;
                told = next(&mut streams) => panic!("{told:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        streams.send(ID, &message(8));
        next(&mut streams).await
    };
    let count = tokio::select! {
        count = reading => count,
        told = writing => panic!("{told:?}"),
    };
    assert!((1..sent).contains(&count), "{count} of {sent}");
}

#[tokio::test]
async fn who_is_not_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (mut streams, to) = streams(&format!("turn:{address}?transport=tcp"), &[]).await;
    streams.connect(ID, &to, None).unwrap();
    closed(next(&mut streams).await, "over TCP");
}

/// In virtual time, which goes on where nothing else does.
#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut streams, to) = streams(&format!("turns:{address}"), &[own("localhost").1]).await;
    let begun = tokio::time::Instant::now();
    streams.connect(ID, &to, None).unwrap();
    closed(next(&mut streams).await, "within 10 s");
    assert!(begun.elapsed() >= OPENING);
    assert!(begun.elapsed() < OPENING * 2);
}

#[tokio::test]
async fn there_are_so_many_streams_as_may_be() {
    let (mut streams, to) = streams("turn:127.0.0.1:9?transport=tcp", &[]).await;
    for id in 0..STREAMS_MAX {
        streams.connect(SocketId(id as u8), &to, None).unwrap();
    }
    assert_eq!(streams.connect(ID, &to, None), Err(TooManyStreams));
    // In place of one that there is.
    assert_eq!(streams.connect(SocketId(0), &to, None), Ok(()));
    streams.close(SocketId(1));
    assert_eq!(streams.connect(ID, &to, None), Ok(()));
    for id in 0..STREAMS_MAX {
        streams.close(SocketId(id as u8));
    }
    assert_eq!(streams.streams.len(), 1);
}

/// A certificate of its own for a name.
fn own(name: &str) -> (KeyPair, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (key, certificate.der().clone())
}

/// A root, and a certificate for a name that it vouches for.
fn vouched(name: &str) -> (CertificateDer<'static>, KeyPair, CertificateDer<'static>) {
    let root_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &root, &root_key).unwrap();
    (root.der().clone(), key, certificate.der().clone())
}

fn acceptor(key: &KeyPair, certificate: &CertificateDer<'static>) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// What comes of a stream to `localhost` over TLS, which is an echo if it opens.
async fn over_tls(
    trusted: &CertificateDer<'static>,
    key: &KeyPair,
    certificate: &CertificateDer<'static>,
) -> Vec<Told> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = acceptor(key, certificate);
    let (mut streams, to) = streams(
        &format!("turns:localhost:{port}"),
        std::slice::from_ref(trusted),
    )
    .await;
    streams.connect(ID, &to, None).unwrap();
    let serving = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(tcp).await else {
            return;
        };
        let (mut buffer, mut left) = (vec![0; 4_096], 100 * message(1_100).len());
        while left > 0 {
            let count = stream.read(&mut buffer).await.unwrap();
            stream.write_all(&buffer[..count]).await.unwrap();
            left -= count;
        }
        stream.shutdown().await.unwrap();
    };
    let talking = async {
        let mut told = vec![next(&mut streams).await];
        if let [Told::Opened(_)] = &told[..] {
            for round in 0..100 {
                streams.send(ID, &message(1_100));
                if round % 10 == 9 {
                    for _ in 0..10 {
                        told.push(next(&mut streams).await);
                    }
                }
            }
            told.push(next(&mut streams).await);
        }
        told
    };
    tokio::join!(serving, talking).1
}

#[tokio::test]
async fn over_tls_too_with_a_root_that_is_given() {
    let (root, key, certificate) = vouched("localhost");
    let told = over_tls(&root, &key, &certificate).await;
    assert_eq!(told.len(), 102);
    for told in &told[1..101] {
        let Told::Message(ID, _, bytes) = told else {
            panic!("{told:?}");
        };
        assert!(*bytes == message(1_100));
    }
    closed(told.into_iter().next_back().unwrap(), "ended");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    // Another root, and a name that is another server's.
    let (_, key, certificate) = vouched("localhost");
    let (other, ..) = vouched("localhost");
    let (root, other_key, elsewhere) = vouched("turn.example.org");
    for (trusted, key, certificate) in [(other, key, certificate), (root, other_key, elsewhere)] {
        let mut told = over_tls(&trusted, &key, &certificate).await;
        assert_eq!(told.len(), 1);
        closed(told.remove(0), "turn_certificates");
    }
    // One that is trusted itself needs no name.
    let (key, certificate) = own("turn.example.org");
    let told = over_tls(&certificate, &key, &certificate).await;
    assert_eq!(told[0], Told::Opened(ID));
}
