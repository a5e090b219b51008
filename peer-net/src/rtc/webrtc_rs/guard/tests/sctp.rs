//! Rows of the table "SCTP". The far side is authenticated and hostile: its packets are valid but
//! for the attack.

use bytes::Bytes;
use tokio::time::timeout;
use webrtc_sctp::association::{Association, Config};
use webrtc_sctp::chunk::chunk_payload_data::PayloadProtocolIdentifier;
use webrtc_sctp::stream::Stream;

use super::super::packet::{Chunks, HEARTBEAT_ACK, Header, SctpRefusal, abort, seal, validate};
use super::super::sctp::SctpGuard;
use super::*;

struct Side {
    wire: Arc<Wire>,
    guard: Arc<SctpGuard>,
    association: Association,
    stream: Arc<Stream>,
}

fn guarded(wire: &Arc<Wire>) -> (Arc<SctpGuard>, Config) {
    let guard = SctpGuard::new(wire.clone());
    let config = Config {
        net_conn: guard.clone(),
        max_receive_buffer_size: 0,
        max_message_size: 0,
        mtu: 0,
        name: "test".to_owned(),
        remote_port: 5000,
        local_port: 5000,
    };
    (guard, config)
}

async fn associate(wire: &Arc<Wire>, is_client: bool) -> (Arc<SctpGuard>, Association) {
    let (guard, config) = guarded(wire);
    let association = if is_client {
        Association::client(config).await
    } else {
        Association::server(config).await
    };
    (guard, association.unwrap())
}

async fn connect(a: Arc<Wire>, b: Arc<Wire>) -> (Side, Side) {
    let both = async {
        let ((a_guard, a_end), (b_guard, b_end)) =
            tokio::join!(associate(&a, true), associate(&b, false));
        let a_stream = a_end
            .open_stream(1, PayloadProtocolIdentifier::Binary)
            .await
            .unwrap();
        a_stream.write(&Bytes::from_static(b"open")).await.unwrap();
        let b_stream = b_end.accept_stream().await.unwrap();
        assert_eq!(b_stream.read(&mut [0; 64]).await.unwrap(), 4);
        let side = |wire, guard, association, stream| Side {
            wire,
            guard,
            association,
            stream,
        };
        (
            side(a, a_guard, a_end, a_stream),
            side(b, b_guard, b_end, b_stream),
        )
    };
    timeout(DEADLINE, both).await.unwrap()
}

async fn assert_alive(a: &Side, b: &Side) {
    for (from, to) in [(a, b), (b, a)] {
        from.stream
            .write(&Bytes::from_static(b"still here"))
            .await
            .unwrap();
        let mut buf = [0; 64];
        let length = timeout(DEADLINE, to.stream.read(&mut buf))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&buf[..length], b"still here");
    }
}

/// Keeps a copy of everything a wire sends.
fn tap(wire: &Wire) -> Arc<Mutex<Vec<Vec<u8>>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    wire.tamper(move |packet| {
        kept.lock().unwrap().push(packet.to_vec());
        vec![packet.to_vec()]
    });
    seen
}

/// A packet with chunks: type, flags, value.
fn packet(header: Header, chunks: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend_from_slice(&header.source_port.to_be_bytes());
    packet.extend_from_slice(&header.destination_port.to_be_bytes());
    packet.extend_from_slice(&header.verification_tag.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    for (kind, flags, value) in chunks {
        packet.extend_from_slice(&[*kind, *flags]);
        packet.extend_from_slice(&(value.len() as u16 + 4).to_be_bytes());
        packet.extend_from_slice(value);
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    seal(&mut packet);
    packet
}

fn data(tsn: u32, stream: u16, payload: &[u8]) -> Vec<u8> {
    let [t0, t1, t2, t3] = tsn.to_be_bytes();
    let [s0, s1] = stream.to_be_bytes();
    [&[t0, t1, t2, t3, s0, s1, 0, 0, 0, 0, 0, 53], payload].concat()
}

fn reset(request: u32, last_tsn: u32, streams: &[u16]) -> Vec<u8> {
    let mut value = vec![0, 13];
    value.extend_from_slice(&(16 + 2 * streams.len() as u16).to_be_bytes());
    for number in [request, 0, last_tsn] {
        value.extend_from_slice(&number.to_be_bytes());
    }
    streams
        .iter()
        .for_each(|stream| value.extend_from_slice(&stream.to_be_bytes()));
    value
}

/// Headers of what `a` sends, and the TSN of its last data.
async fn position(a: &Side, b: &Side) -> (Header, u32) {
    let sent = tap(&a.wire);
    assert_alive(a, b).await;
    let sent = sent.lock().unwrap();
    let last = sent.iter().rev().find(|packet| packet[12] == 0).unwrap();
    let tsn = u32::from_be_bytes(*last[16..].first_chunk().unwrap());
    (Header::parse(last).unwrap(), tsn)
}

#[tokio::test]
async fn nothing_is_refused_of_an_undisturbed_association() {
    let (a, b) = cable();
    let (a, b) = connect(a, b).await;
    let sent = tap(&a.wire);
    let message = Bytes::from(vec![7; 60_000]);
    a.stream.write(&message).await.unwrap();
    let mut buf = vec![0; 65_536];
    assert_eq!(
        timeout(DEADLINE, b.stream.read(&mut buf))
            .await
            .unwrap()
            .unwrap(),
        60_000
    );
    assert_alive(&a, &b).await;
    assert_eq!((a.guard.refused(), b.guard.refused()), (0, 0));
    assert!(
        sent.lock()
            .unwrap()
            .iter()
            .all(|packet| validate(packet).is_ok())
    );
}

#[tokio::test]
async fn a_forward_tsn_that_takes_seconds() {
    let (a, b) = cable();
    let (a, b) = connect(a, b).await;
    let (header, tsn) = position(&a, &b).await;
    for jump in [
        1 << 15,
        1 << 30,
        (1 << 31) - 1,
        1 << 31,
        (1 << 31) + 3,
        3 << 30,
    ] {
        let tsn = tsn.wrapping_add(jump);
        b.wire
            .inject(&packet(header, &[(192, 0, tsn.to_be_bytes().to_vec())]));
        b.wire
            .inject(&packet(header, &[(0, 3, data(tsn, 1, b"x"))]));
    }
    assert_alive(&a, &b).await;
    assert_eq!(b.guard.refused(), 12);
}

#[tokio::test]
async fn streams_and_resets_without_end() {
    let (a, b) = cable();
    let (a, b) = connect(a, b).await;
    let (header, tsn) = position(&a, &b).await;
    for stream in 100..1000 {
        // Far enough not to disturb the numbers of the true data.
        let tsn = tsn.wrapping_add(8000);
        b.wire
            .inject(&packet(header, &[(0, 3, data(tsn, stream, b"x"))]));
        b.wire.inject(&packet(
            header,
            &[(130, 0, reset(stream.into(), tsn, &[1]))],
        ));
    }
    assert_alive(&a, &b).await;
    // 63 more streams and 32 resets passed.
    assert_eq!(b.guard.refused(), 900 - 63 + 900 - 32);
}

#[tokio::test]
async fn an_init_in_an_association_that_moves_its_numbers() {
    let (a, b) = cable();
    let (a, b) = connect(a, b).await;
    let (header, tsn) = position(&a, &b).await;
    for kind in [1, 2] {
        let mut init = vec![0, 0, 0, 9, 0, 1, 0, 0, 0, 9, 0, 9];
        init.extend_from_slice(&tsn.wrapping_sub(1 << 30).to_be_bytes());
        let header = Header {
            verification_tag: if kind == 1 { 0 } else { 9 },
            ..header
        };
        b.wire.inject(&packet(header, &[(kind, 0, init)]));
    }
    assert_alive(&a, &b).await;
    assert_eq!(b.guard.refused(), 2);
}

#[tokio::test]
async fn fragments_and_messages_that_are_sorted_for_minutes() {
    const MIDDLE: u8 = 0;
    const UNORDERED_MIDDLE: u8 = 4;
    const WHOLE: u8 = 3;
    // Whole messages begin after one that never comes. Packets of 50 chunks pass or fall together.
    for (flags, most) in [(MIDDLE, 2150), (UNORDERED_MIDDLE, 2150), (WHOLE, 4146)] {
        let (a, b) = cable();
        let (a, b) = connect(a, b).await;
        let (header, mut tsn) = position(&a, &b).await;
        tsn = tsn.wrapping_add(1);
        let mut ssn = 10_u16;
        const PACKETS: u64 = 300;
        for _ in 0..PACKETS {
            let chunks: Vec<_> = (0..50)
                .map(|_| {
                    tsn = tsn.wrapping_add(1);
                    ssn += u16::from(flags == WHOLE);
                    let mut value = data(tsn, 2, b"x");
                    value[6..8].copy_from_slice(&ssn.to_be_bytes());
                    (0, flags, value)
                })
                .collect();
            b.wire.inject(&packet(header, &chunks));
        }
        timeout(DEADLINE, b.wire.drained()).await.unwrap();
        let passed = (PACKETS + 1 - b.guard.refused()) * 50;
        assert!((1..=most).contains(&passed), "{flags}: {passed}");
    }
}

/// The crate answers a HEARTBEAT, and would end the association on the answer.
#[tokio::test]
async fn heartbeats_are_answered_and_harmless() {
    let (a, b) = cable();
    let (a, b) = connect(a, b).await;
    let answers = tap(&b.wire);
    for _ in 0..3 {
        a.guard.heartbeat().await.unwrap();
        assert_alive(&a, &b).await;
    }
    let is_answer = |packet: &&Vec<u8>| Chunks::of(packet).any(|chunk| chunk.kind == HEARTBEAT_ACK);
    assert_eq!(answers.lock().unwrap().iter().filter(is_answer).count(), 3);
    assert_eq!((a.guard.refused(), b.guard.refused()), (0, 0));
}

#[tokio::test]
async fn a_close_that_the_far_side_notices() {
    let (a, b) = cable();
    let (a, b) = connect(a, b).await;
    let (header, _) = position(&a, &b).await;
    let sent = tap(&a.wire);
    a.guard.abort().await.unwrap();
    timeout(DEADLINE, b.guard.aborted()).await.unwrap();
    let mut buf = [0; 64];
    let read = timeout(DEADLINE, b.stream.read(&mut buf)).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)));
    let _ = a.stream.write(&Bytes::from_static(b"after the end")).await;
    a.guard.abort().await.unwrap();
    let sent = sent.lock().unwrap();
    let aborts: Vec<_> = sent.iter().filter(|packet| packet[12] == 6).collect();
    assert_eq!(aborts, [&abort(header)]);
    // Chromium's chunk.
    assert_eq!(
        aborts[0][12..],
        *b"\x06\x00\x00\x14\x00\x0c\x00\x10Close called"
    );
}

#[test]
fn lengths_that_panic_the_parsers() {
    let header = Header {
        source_port: 5000,
        destination_port: 5000,
        verification_tag: 7,
    };
    let init = |parameters: &[u8]| {
        let fixed = [0, 0, 0, 9, 0, 1, 0, 0, 0, 9, 0, 9, 0, 0, 0, 1];
        [&fixed, parameters].concat()
    };
    type Chunks<'a> = &'a [(u8, u8, Vec<u8>)];
    let refused: &[(&str, Chunks<'_>, SctpRefusal)] = &[
        ("no chunk", &[], SctpRefusal::Chunk),
        (
            "INIT too short",
            &[(1, 0, vec![0; 15])],
            SctpRefusal::Parameter,
        ),
        (
            "INIT, parameter too long",
            &[(1, 0, init(&[0xc0, 0, 0, 5]))],
            SctpRefusal::Parameter,
        ),
        (
            "INIT, parameter too short",
            &[(1, 0, init(&[0xc0, 0, 0, 3]))],
            SctpRefusal::Parameter,
        ),
        (
            "INIT, rest",
            &[(1, 0, init(&[0xc0, 0, 0, 4, 1]))],
            SctpRefusal::Parameter,
        ),
        (
            "INIT ACK likewise",
            &[(2, 0, init(&[0, 7, 0, 9, 1]))],
            SctpRefusal::Parameter,
        ),
        (
            "INIT among others",
            &[(1, 0, init(&[])), (11, 0, vec![])],
            SctpRefusal::Bundle,
        ),
        (
            "INIT with flags",
            &[(1, 1, init(&[]))],
            SctpRefusal::Parameter,
        ),
        (
            "FORWARD-TSN, empty",
            &[(192, 0, vec![])],
            SctpRefusal::Parameter,
        ),
        (
            "FORWARD-TSN, half a stream",
            &[(192, 0, vec![0; 6])],
            SctpRefusal::Parameter,
        ),
        (
            "FORWARD-TSN first",
            &[(192, 0, vec![0; 4]), (11, 0, vec![])],
            SctpRefusal::Bundle,
        ),
        (
            "SHUTDOWN, short",
            &[(7, 0, vec![0; 2])],
            SctpRefusal::Parameter,
        ),
        (
            "SACK, more gaps",
            &[(3, 0, [&[0; 8][..], &[0, 1, 0, 0]].concat())],
            SctpRefusal::Parameter,
        ),
        (
            "SACK, the same gap again",
            &[(
                3,
                0,
                [&[0; 8][..], &[0, 2, 0, 0], &[0, 1, 0, 9], &[0, 1, 0, 9]].concat(),
            )],
            SctpRefusal::Parameter,
        ),
        (
            "HEARTBEAT, empty",
            &[(4, 0, vec![])],
            SctpRefusal::Parameter,
        ),
        (
            "HEARTBEAT, overlong",
            &[(4, 0, vec![0, 1, 0, 9, 1])],
            SctpRefusal::Parameter,
        ),
        (
            "HEARTBEATs",
            &vec![(4, 0, vec![0, 1, 0, 4]); 5],
            SctpRefusal::Bundle,
        ),
        (
            "unknown, to be reported",
            &vec![(0xff, 0, vec![]); 5],
            SctpRefusal::Bundle,
        ),
        ("chunks", &vec![(11, 0, vec![]); 129], SctpRefusal::Bundle),
        (
            "ERROR, cause too long",
            &[(9, 0, vec![0, 1, 0, 9])],
            SctpRefusal::Parameter,
        ),
        (
            "RE-CONFIG, empty",
            &[(130, 0, vec![])],
            SctpRefusal::Parameter,
        ),
        (
            "RE-CONFIG, short",
            &[(130, 0, vec![0, 13, 0, 8, 0, 0, 0, 0])],
            SctpRefusal::Parameter,
        ),
        (
            "RE-CONFIG, streams",
            &[(130, 0, reset(1, 1, &[0; 65]))],
            SctpRefusal::Parameter,
        ),
        (
            "DATA, empty",
            &[(0, 3, data(1, 1, b""))],
            SctpRefusal::Parameter,
        ),
    ];
    for (name, chunks, refusal) in refused {
        assert_eq!(validate(&packet(header, chunks)), Err(*refusal), "{name}");
    }
    let whole = packet(header, &[(0, 3, data(1, 1, b"hello"))]);
    assert_eq!(validate(&whole), Ok(()));
    for length in 0..whole.len() {
        assert!(validate(&whole[..length]).is_err());
    }
    let [mut long, mut short] = [whole.clone(), whole];
    long[15] = 200;
    short[15] = 3;
    assert_eq!(validate(&long), Err(SctpRefusal::Chunk));
    assert_eq!(validate(&short), Err(SctpRefusal::Chunk));
    assert_eq!(validate(&abort(header)), Ok(()));
}

/// Packets of true associations, and of the kinds those seldom send.
async fn corpus() -> Vec<Vec<u8>> {
    let (a, b) = cable();
    let (sent_a, sent_b) = (tap(&a), tap(&b));
    let (a, b) = connect(a, b).await;
    for length in [1, 100, 1500, 5000] {
        a.stream.write(&Bytes::from(vec![1; length])).await.unwrap();
        assert_eq!(b.stream.read(&mut [0; 8000]).await.unwrap(), length);
    }
    let (header, tsn) = {
        let sent = sent_a.lock().unwrap();
        let last = sent.iter().rev().find(|packet| packet[12] == 0).unwrap();
        (
            Header::parse(last).unwrap(),
            u32::from_be_bytes(*last[16..].first_chunk().unwrap()),
        )
    };
    let mut all = sent_a.lock().unwrap().clone();
    all.extend(sent_b.lock().unwrap().iter().cloned());
    let ahead = tsn.wrapping_add(3).to_be_bytes();
    all.push(packet(
        header,
        &[(192, 0, [&ahead[..], &[0, 1, 0, 9]].concat())],
    ));
    all.push(packet(header, &[(130, 0, reset(5, tsn, &[1, 9]))]));
    all.push(packet(
        header,
        &[(130, 0, reset(6, tsn.wrapping_add(9), &[9]))],
    ));
    all.push(packet(
        header,
        &[(4, 0, b"\x00\x01\x00\x0chearbeat".to_vec())],
    ));
    all.push(packet(header, &[(9, 0, vec![0, 1, 0, 8, 0, 1, 0, 0])]));
    all.push(packet(header, &[(7, 0, tsn.to_be_bytes().to_vec())]));
    all.push(packet(
        header,
        &[(
            3,
            0,
            [&ahead[..], &[0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 4]].concat(),
        )],
    ));
    all
}

fn mutate(random: &mut Random, corpus: &[Vec<u8>], live: &[u8]) -> Vec<u8> {
    const KINDS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 130, 192, 193];
    let mut packet = corpus[random.below(corpus.len())].clone();
    packet[4..8].copy_from_slice(&live[4..8]);
    if matches!(packet[12], 0 | 192) && random.percent(80) {
        let tsn = u32::from_be_bytes(*live[16..].first_chunk().unwrap());
        let tsn = tsn.wrapping_add(random.below(6) as u32);
        packet[16..20].copy_from_slice(&tsn.to_be_bytes());
    }
    for _ in 0..random.below(7) {
        let length = packet.len();
        let at = random.below(length);
        match random.below(7) {
            0 => packet[at] ^= 1 << random.below(8),
            1 => packet[at] = random.next() as u8,
            2 => packet[at.max(12.min(length - 1))] = [0, 0xff, 0x7f, 0x80][random.below(4)],
            3 => packet.truncate(at.max(1)),
            // Lengths of chunks and parameters.
            4 if length > 16 => packet[15 + at % (length - 15)] = random.below(64) as u8,
            5 if length < 3000 => {
                packet.extend_from_slice(&corpus[random.below(corpus.len())][12..]);
            }
            _ if length > 16 => packet[12 + at % (length - 12) / 4 * 4] = KINDS[random.below(16)],
            _ => {}
        }
    }
    seal(&mut packet);
    packet
}

/// Runs attacks on threads of their own, so that a hang fails one test and holds up no other. Any
/// panic on them fails it too: the crate's tasks panic where nobody looks.
fn watched<T: Send + 'static>(
    name: &'static str,
    attacks: impl Future<Output = T> + Send + 'static,
) -> T {
    let panics = Arc::new(Mutex::new(Vec::new()));
    let seen = panics.clone();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| match std::thread::current().name() {
        Some(thread) if thread == name => seen.lock().unwrap().push(info.to_string()),
        _ => before(info),
    }));
    let (done, finished) = std::sync::mpsc::channel();
    let run = move || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime
            .worker_threads(2)
            .thread_name(name)
            .enable_all()
            .build()
            .unwrap();
        done.send(runtime.block_on(attacks)).unwrap();
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .unwrap();
    let result = finished.recv_timeout(10 * DEADLINE);
    assert_eq!(*panics.lock().unwrap(), Vec::<String>::new());
    result.expect("hung")
}

const ROUNDS: u64 = 100;
const PACKETS: u64 = 300;

#[test]
fn mutated_packets_that_panic_and_hang_the_association() {
    let (refused, survived) = watched("association", async {
        let corpus = corpus().await;
        let (mut refused, mut survived) = (0, 0);
        for round in 1..=ROUNDS {
            let mut random = Random(round);
            let (a, b) = cable();
            let (a, b) = connect(a, b).await;
            let sent = tap(&a.wire);
            assert_alive(&a, &b).await;
            let live = sent
                .lock()
                .unwrap()
                .iter()
                .rev()
                .find(|p| p[12] == 0)
                .unwrap()
                .clone();
            for _ in 0..PACKETS {
                b.wire.inject(&mutate(&mut random, &corpus, &live));
            }
            // Valid attacks may end the association; what counts is that its lock is free.
            let state = timeout(DEADLINE, b.association.open_stream(77, Default::default()));
            let _ = state.await.expect("the association hangs");
            let reads = async {
                let mut buf = vec![0; 8192];
                while !matches!(b.stream.read(&mut buf).await, Ok(0) | Err(_)) {}
            };
            let read_on = async {
                tokio::select! {
                    () = b.wire.drained() => 1,
                    () = b.guard.aborted() => 0,
                    () = reads => 0,
                }
            };
            survived += timeout(DEADLINE, read_on)
                .await
                .expect("not read to the end");
            refused += b.guard.refused();
            let _ = timeout(DEADLINE, b.association.close()).await;
            let _ = timeout(DEADLINE, a.association.close()).await;
        }
        (refused, survived)
    });
    let all = ROUNDS * PACKETS;
    println!("{refused} of {all} refused, {survived} of {ROUNDS} associations read on");
    assert!(refused > all / 20 && refused < all);
}

#[test]
fn mutated_packets_before_there_is_an_association() {
    let refused = watched("handshake", async {
        let corpus = corpus().await;
        let mut refused = 0;
        for round in 1..=ROUNDS {
            let mut random = Random(round);
            let (_a, b) = cable();
            let (guard, config) = guarded(&b);
            for _ in 0..PACKETS {
                let live = corpus[random.below(corpus.len())].clone();
                let live = if live.len() >= 20 {
                    live
                } else {
                    corpus[0].clone()
                };
                b.inject(&mutate(&mut random, &corpus, &live));
            }
            let association = async {
                let end = if round % 2 == 0 {
                    Association::client(config).await
                } else {
                    Association::server(config).await
                };
                // It may come to be, from a whole handshake among the packets.
                let _end = end;
                core::future::pending::<()>().await;
            };
            let read_on = async {
                tokio::select! {
                    () = b.drained() => {}
                    () = guard.aborted() => {}
                    () = association => {}
                }
            };
            timeout(DEADLINE, read_on)
                .await
                .expect("not read to the end");
            refused += guard.refused();
        }
        refused
    });
    println!("{refused} of {} refused", ROUNDS * PACKETS);
    assert!(refused > 0 && refused < ROUNDS * PACKETS);
}
