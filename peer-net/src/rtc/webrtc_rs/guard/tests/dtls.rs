//! Rows of the table "DTLS".

use tokio::time::timeout;
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::crypto::Certificate;
use webrtc_dtls::handshake::Handshake;

use super::super::message::is_well_formed;
use super::super::record::{self, fragment_header};
use super::super::{Guard, Refusal};
use super::*;

fn config() -> Config {
    Config {
        certificates: vec![Certificate::generate_self_signed(vec!["peer".to_owned()]).unwrap()],
        cipher_suites: vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256],
        client_auth: ClientAuthType::RequireAnyClientCert,
        extended_master_secret: ExtendedMasterSecretType::Require,
        insecure_skip_verify: true,
        flight_interval: Duration::from_millis(50),
        ..Config::default()
    }
}

struct Side {
    wire: Arc<Wire>,
    guard: Arc<Guard>,
    conn: Arc<DTLSConn>,
}

async fn side(wire: Arc<Wire>, is_client: bool) -> Side {
    let guard = Guard::new(wire.clone(), is_client);
    let conn = DTLSConn::new(guard.clone(), config(), is_client, None)
        .await
        .unwrap();
    guard.handshake_done();
    Side {
        wire,
        guard,
        conn: Arc::new(conn),
    }
}

async fn connect(client: Arc<Wire>, server: Arc<Wire>) -> (Side, Side) {
    let server = tokio::spawn(side(server, false));
    let client = tokio::spawn(side(client, true));
    let both = async { (client.await.unwrap(), server.await.unwrap()) };
    timeout(DEADLINE, both).await.unwrap()
}

/// Data passes both ways, and the server has read the client's repetitions to the end.
async fn assert_alive(client: &Side, server: &Side) {
    for (from, to) in [(client, server), (server, client)] {
        from.conn.send(b"still here").await.unwrap();
        let mut buf = [0; 64];
        let length = timeout(DEADLINE, to.conn.recv(&mut buf))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&buf[..length], b"still here");
    }
}

fn record(kind: u8, epoch: u16, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    record::write(&mut out, kind, sequence, &[body]);
    out[3..5].copy_from_slice(&epoch.to_be_bytes());
    out
}

fn fragment(kind: u8, total: usize, sequence: u16, offset: u32, data: &[u8]) -> Vec<u8> {
    let mut header = fragment_header(kind, total, sequence, data.len());
    header[6..9].copy_from_slice(&offset.to_be_bytes()[1..]);
    [&header, data].concat()
}

/// Plaintext that kills an unguarded connection, or hangs its handshake.
fn junk() -> Vec<(&'static str, Vec<u8>)> {
    const LAST: u64 = (1 << 48) - 1;
    let hello = [
        &[0xfe, 0xfd][..],
        &[0; 32],
        &[0, 0],
        &[0, 2, 0xc0, 0x2b, 1, 0],
        &[0, 3, 0, 0, 0],
    ];
    let hello = hello.concat();
    vec![
        ("fatal alert", record(21, 0, 7, &[2, 40])),
        ("close_notify", record(21, 0, 8, &[1, 0])),
        ("user_cancelled", record(21, 0, 9, &[1, 90])),
        ("truncated alert", record(21, 0, 10, &[2])),
        ("application data", record(23, 0, 11, b"hello")),
        ("unknown type", record(25, 0, 12, b"hello")),
        ("bad ChangeCipherSpec", record(20, 0, 13, &[2])),
        (
            "encrypted ChangeCipherSpec in the clear",
            record(20, 1, 14, &[1]),
        ),
        ("unreadable handshake", record(22, 0, 15, &[1, 2, 3])),
        (
            "hello that is indexed past its end",
            record(22, 0, 16, &fragment(1, hello.len(), 0, 0, &hello)),
        ),
        (
            "server hello likewise",
            record(22, 0, 17, &fragment(2, hello.len(), 0, 0, &hello)),
        ),
        (
            "empty key exchange",
            record(22, 0, 18, &fragment(16, 0, 1, 0, &[])),
        ),
        (
            "half a message",
            record(22, 0, 19, &fragment(11, 500, 1, 100, &[0; 9])),
        ),
        (
            "highest sequence number",
            record(22, 0, LAST, &fragment(14, 0, 7, 0, &[])),
        ),
        (
            "highest sequence number, data",
            record(23, 1, LAST, &[0; 40]),
        ),
        ("encrypted and too short to be", record(23, 1, 20, &[0; 12])),
        ("encrypted alert, too short", record(21, 1, 21, &[0; 2])),
        ("encrypted garbage", record(23, 1, 22, &[9; 100])),
        ("later epoch", record(23, 2, 23, &[9; 100])),
        ("no record", vec![0xff; 50]),
        ("half a header", vec![22, 0xfe, 0xfd, 0]),
        ("empty record", record(22, 0, 24, &[])),
        ("DTLS 1.3 record", vec![0x2f; 40]),
    ]
}

#[tokio::test]
async fn nothing_is_refused_of_an_undisturbed_connection() {
    let (a, b) = cable();
    let (client, server) = connect(a, b).await;
    assert_alive(&client, &server).await;
    for side in [&client, &server] {
        assert_eq!(side.guard.stats().refused_total(), 0);
        assert_eq!(side.guard.stats().errors(), 0);
        assert_eq!(side.guard.plaintext_alert(), None);
    }
}

#[tokio::test]
async fn a_forged_plaintext_alert_kills_an_unguarded_connection() {
    let (a, b) = cable();
    let server = tokio::spawn(DTLSConn::new(b.clone(), config(), false, None));
    let client = DTLSConn::new(a, config(), true, None).await.unwrap();
    let server = server.await.unwrap().unwrap();
    b.inject(&record(21, 0, 99, &[2, 40]));
    let read = timeout(DEADLINE, server.recv(&mut [0; 64])).await.unwrap();
    assert!(read.is_err(), "if this reads on, the guard has less to do");
    drop(client);
}

#[tokio::test]
async fn one_byte_fragments_by_the_ten_thousands_that_overflow_the_stack() {
    let (a, b) = cable();
    let (total, hello) = (8000, [0]);
    for round in 0..5 {
        for offset in 0..total {
            let fragment = fragment(1, total as usize, 0, offset, &hello);
            b.inject(&record(22, 0, u64::from(round * total + offset), &fragment));
        }
    }
    for offset in 0..40_000 {
        b.inject(&record(
            22,
            0,
            offset,
            &fragment(1, 40_000, 0, offset as u32, &hello),
        ));
    }
    let (client, server) = connect(a, b).await;
    assert_alive(&client, &server).await;
    let stats = server.guard.stats();
    assert!(stats.refused(Refusal::Flood) > 39_000);
    assert!(stats.refused(Refusal::Malformed) >= 40_000);
    assert!(stats.passed_bytes() < 8_000, "{}", stats.passed_bytes());
}

#[tokio::test]
async fn a_peer_whose_messages_never_end_holds_no_memory() {
    // Well-formed messages without end: as many as fit, then none.
    let (wire, peer) = cable();
    let guard = Guard::new(wire, true);
    let certificate = [&[0, 0x1f, 0x37, 0, 0x1f, 0x34][..], &[7; 0x1f34]].concat();
    let hello = [&[0xfe, 0xfd][..], &[0; 32], &[0, 0xc0, 0x2b, 0, 0, 0]].concat();
    peer.send(&record(22, 0, 0, &fragment(2, hello.len(), 0, 0, &hello)))
        .await
        .unwrap();
    for sequence in 1..200 {
        let message = fragment(11, certificate.len(), sequence, 0, &certificate);
        peer.send(&record(22, 0, u64::from(sequence), &message))
            .await
            .unwrap();
    }
    peer.send(&record(23, 1, 0, b"the end, long enough to be encrypted"))
        .await
        .unwrap();
    let mut buf = [0; 8192];
    loop {
        let length = timeout(DEADLINE, guard.recv(&mut buf))
            .await
            .unwrap()
            .unwrap();
        if buf[..length].ends_with(b"encrypted") {
            break;
        }
    }
    assert!(guard.stats().passed_bytes() <= 66_000);
    assert!(guard.stats().refused_total() > 190);
}

#[tokio::test]
async fn fragments_without_bytes_that_no_limit_counts() {
    let (a, b) = cable();
    for sequence in 0..100_000 {
        let offset = (sequence % 200) as u32;
        b.inject(&record(22, 0, sequence, &fragment(1, 200, 0, offset, &[])));
    }
    let (client, server) = connect(a, b).await;
    assert_alive(&client, &server).await;
    assert!(server.guard.stats().refused(Refusal::Malformed) >= 100_000);
    assert!(server.guard.stats().passed_bytes() < 8_000);
}

#[tokio::test]
async fn records_of_later_epochs_that_are_kept_without_limit() {
    let (a, b) = cable();
    let flood = |wire: &Wire| {
        for sequence in 0..10_000 {
            wire.inject(&record(23, 2 + (sequence % 9) as u16, sequence, &[0; 1000]));
        }
    };
    flood(&b);
    let (client, server) = connect(a, b).await;
    let passed = server.guard.stats().passed();
    flood(&server.wire);
    flood(&client.wire);
    assert_alive(&client, &server).await;
    assert!(server.guard.stats().refused(Refusal::Epoch) >= 20_000);
    assert!(server.guard.stats().passed() < passed + 10);
}

#[tokio::test]
async fn encrypted_records_before_there_are_keys_that_are_kept_without_limit() {
    let (a, b) = cable();
    for sequence in 0..10_000 {
        b.inject(&record(23, 1, sequence, &[0; 1000]));
        b.inject(&record(22, 1, sequence, &[0; 100]));
        b.inject(&record(22, 1, sequence, &[0; 4000]));
    }
    let (client, server) = connect(a, b).await;
    assert_alive(&client, &server).await;
    let stats = server.guard.stats();
    assert!(stats.refused(Refusal::Early) > 19_000);
    assert!(stats.passed_bytes() < 300_000, "{}", stats.passed_bytes());
}

#[tokio::test]
async fn forged_plaintext_after_the_handshake_that_kills_the_connection() {
    let (a, b) = cable();
    let (client, server) = connect(a, b).await;
    for (name, datagram) in junk() {
        client.wire.inject(&datagram);
        server.wire.inject(&datagram);
        println!("{name}");
        assert_alive(&client, &server).await;
    }
    // In front of a true record in the same datagram, where the junk leaves the record readable;
    // else behind it.
    for (name, datagram) in junk() {
        let behind = [
            "no record",
            "half a header",
            "empty record",
            "DTLS 1.3 record",
        ]
        .contains(&name);
        for side in [&client, &server] {
            let junk = datagram.clone();
            side.wire.tamper(move |datagram| {
                let whole = if behind {
                    [datagram, &junk]
                } else {
                    [&junk, datagram]
                };
                vec![whole.concat()]
            });
        }
        assert_alive(&client, &server).await;
    }
}

#[tokio::test]
async fn forged_plaintext_during_the_handshake_that_fails_or_hangs_it() {
    let (a, b) = cable();
    for wire in [&a, &b] {
        wire.tamper(|datagram| {
            let mut all: Vec<_> = junk().into_iter().map(|(_, junk)| junk).collect();
            all.push(datagram.to_vec());
            all
        });
    }
    let (client, server) = connect(a, b).await;
    assert_alive(&client, &server).await;
    // A true alert would look the same; it is there to explain a handshake that ran out of time.
    assert_eq!(server.guard.plaintext_alert(), Some(40));
    assert!(server.guard.stats().refused(Refusal::Alert) >= 4);
}

#[tokio::test]
async fn a_transport_closed_below_that_makes_the_reader_spin() {
    let (a, b) = cable();
    let (client, server) = connect(a, b).await;
    assert_alive(&client, &server).await;
    let before = server.wire.receives.load(Ordering::SeqCst);
    server.wire.cut();
    timeout(DEADLINE, server.guard.dead()).await.unwrap();
    // Time for the millions there would be.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let receives = server.wire.receives.load(Ordering::SeqCst) - before;
    assert!(receives <= 8, "{receives}");
}

#[tokio::test]
async fn a_lost_last_flight_that_is_never_sent_again() {
    let (a, b) = cable();
    let mut lost = 0;
    b.tamper(move |datagram| {
        // The server's last flight begins with a ChangeCipherSpec.
        if datagram[0] == 20 && lost < 3 {
            lost += 1;
            return Vec::new();
        }
        vec![datagram.to_vec()]
    });
    let (client, server) = connect(a, b).await;
    assert_alive(&client, &server).await;
    assert!(server.guard.stats().repeated() >= 3);
    assert_eq!(client.guard.stats().repeated(), 0);
}

#[tokio::test]
async fn two_of_five_datagrams_lost_that_fail_half_of_the_handshakes() {
    for seed in 1..=20 {
        let (a, b) = cable();
        for (wire, salt) in [(&a, 0), (&b, 1 << 32)] {
            let mut random = Random(seed + salt);
            wire.tamper(move |datagram| {
                if random.percent(40) {
                    Vec::new()
                } else {
                    vec![datagram.to_vec()]
                }
            });
        }
        let (client, server) = connect(a, b).await;
        for side in [&client, &server] {
            side.wire.tamper(|datagram| vec![datagram.to_vec()]);
        }
        assert_alive(&client, &server).await;
    }
}

#[tokio::test]
async fn datagrams_twice_and_out_of_order() {
    for seed in 1..=10 {
        let (a, b) = cable();
        for (wire, salt) in [(&a, 0), (&b, 1 << 32)] {
            let mut random = Random(seed + salt);
            let mut held = Vec::new();
            wire.tamper(move |datagram| {
                held.push(datagram.to_vec());
                if random.percent(40) {
                    return Vec::new();
                }
                let mut all = core::mem::take(&mut held);
                all.reverse();
                all.push(datagram.to_vec());
                all
            });
        }
        let (client, server) = connect(a, b).await;
        for side in [&client, &server] {
            side.wire.tamper(|datagram| vec![datagram.to_vec()]);
        }
        assert_alive(&client, &server).await;
    }
}

#[tokio::test]
async fn a_hello_in_fragments_as_browsers_send_it() {
    let (a, b) = cable();
    a.tamper(|datagram| {
        let Some((whole, _)) = record::Record::parse(datagram)
            .filter(|record| record.kind == 22 && record.epoch == 0)
            .and_then(|record| record::Fragment::parse(record.body))
        else {
            return vec![datagram.to_vec()];
        };
        if whole.kind != 1 {
            return vec![datagram.to_vec()];
        }
        let cut = whole.data.len() / 2;
        [(0, &whole.data[..cut]), (cut, &whole.data[cut..])]
            .iter()
            .rev()
            .map(|&(offset, data)| {
                let body = fragment(1, whole.total, whole.sequence, offset as u32, data);
                record(22, 0, offset as u64, &body)
            })
            .collect()
    });
    let (client, server) = connect(a, b).await;
    assert_alive(&client, &server).await;
    assert_eq!(server.guard.stats().refused_total(), 0);
}

#[tokio::test]
async fn records_that_the_far_side_would_lose_are_refused() {
    let (a, b) = cable();
    let (client, server) = connect(a, b).await;
    assert!(client.conn.send(&[0; 8192]).await.is_err());
    assert_eq!(client.guard.stats().refused(Refusal::Oversize), 1);
    assert_alive(&client, &server).await;
}

/// Messages of a true handshake, kind and body.
async fn messages() -> Vec<(u8, Vec<u8>)> {
    let (a, b) = cable();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for wire in [&a, &b] {
        let seen = seen.clone();
        wire.tamper(move |datagram| {
            let mut rest = datagram;
            while let Some(record) = record::Record::parse(rest) {
                if let Some((fragment, _)) = record::Fragment::parse(record.body)
                    && (record.kind, record.epoch) == (22, 0)
                {
                    seen.lock()
                        .unwrap()
                        .push((fragment.kind, fragment.data.to_vec()));
                }
                rest = &rest[record.length..];
            }
            vec![datagram.to_vec()]
        });
    }
    connect(a, b).await;
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[tokio::test]
async fn malformed_messages_that_panic_the_parsers() {
    let messages = messages().await;
    let mut kinds: Vec<_> = messages.iter().map(|message| message.0).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, [1, 2, 3, 11, 12, 13, 14, 15, 16]);
    let mut random = Random(2);
    let (mut passed, mut refused) = (0, 0);
    for round in 0..60_000 {
        let (kind, mut body) = messages[round % messages.len()].clone();
        for _ in 0..random.below(4) {
            if body.is_empty() || random.percent(10) {
                body.push(random.next() as u8);
                continue;
            }
            let at = random.below(body.len());
            match random.below(4) {
                0 => body.truncate(at),
                1 => body[at] ^= 1 << random.below(8),
                2 => body[at] = [0, 1, 0x7f, 0xff][random.below(4)],
                _ => drop(body.remove(at)),
            }
        }
        if is_well_formed(kind, &body) {
            passed += 1;
            let message = fragment(kind, body.len(), 0, 0, &body);
            // Errors are fine, panics are what must not be.
            let _ = Handshake::unmarshal(&mut message.as_slice());
        } else {
            refused += 1;
        }
    }
    assert!(passed > 10_000 && refused > 10_000, "{passed} {refused}");
}
