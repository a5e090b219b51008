//! How the channel is opened, used and closed, with a remote whose SCTP says what the test wants.

use std::net::SocketAddr;

use peer_core::rtc::dtls::{self, Dtls, HEADROOM, Identity};
use peer_core::rtc::ice::{self, Agent, SocketId};
use peer_core::rtc::sctp::{self, Association, End};
use peer_core::rtc::session::{
    Closed, Config, DATAGRAM_MAX, Event, Failure, Kind, LABEL_MAX, Outgoing, Piece, Place,
    Received, Remote, SctpMemory, SendError, Session, Setup,
};
use peer_core::time::{Duration, Instant};
use peer_core::wire::dcep::DcepError;

use crate::net::{Crypto, LABEL, Memory, START, addr, crypto};
use crate::raw;

const SOCKET: SocketId = SocketId(0);
const HERE: &str = "192.0.2.1:5000";
const THERE: &str = "192.0.2.2:5000";
/// The remote is DTLS's server: its channels have odd numbers.
const STREAM: u16 = 1;
const DCEP: u32 = 50;
const TEXT: u32 = 51;
const BINARY: u32 = 53;
const TEXT_EMPTY: u32 = 56;
const BINARY_EMPTY: u32 = 57;
const ACK: &[u8] = &[2];
const FIRST: u8 = 2;

/// A session, and the parts of its remote.
struct Pair {
    now: Instant,
    session: Session<'static, 'static, Crypto>,
    crypto: Crypto,
    identity: Identity,
    events: Vec<Event>,
    agent: Agent<'static>,
    dtls: Dtls<'static, Crypto>,
    association: Association<'static>,
    their_crypto: Crypto,
    their_identity: Identity,
    /// What its packets carried last: the verification tag, and the TSN of DATA.
    tag: u32,
    tsn: u32,
    /// Whether the test writes its packets from now on.
    by_hand: bool,
}

impl Pair {
    fn new() -> Self {
        let mut crypto = [crypto(1), crypto(2)];
        let identities = crypto
            .each_mut()
            .map(|crypto| Identity::generate(crypto).unwrap());
        let memory: &'static mut Memory = Box::leak(Box::default());
        let config = Config::new(ice::Role::Controlled);
        let session = Session::new(START, &mut crypto[0], config, memory.lend(), &[]);
        let mut session = session.unwrap();
        let memory: &'static mut ice::Resources<1, 2, 2, 0, 0> = Box::leak(Box::default());
        let config = ice::Config::new(ice::Role::Controlling);
        let agent = Agent::new(START, &mut crypto[1], config, memory.lend(), &[]);
        let mut agent = agent.unwrap();

        session
            .set_addresses(START, &[(SOCKET, addr(HERE))])
            .unwrap();
        agent
            .set_addresses(START, &[(SOCKET, addr(THERE))])
            .unwrap();
        let remote = Remote {
            fingerprint: *identities[1].fingerprint(),
            ..Remote::new(agent.ufrag(), agent.password(), Setup::Actpass)
        };
        session.set_remote(START, &remote).unwrap();
        let ours = session.ice();
        agent
            .set_remote(START, ours.ufrag(), ours.password(), false)
            .unwrap();
        session.credit(1_000);
        agent.credit(1_000);
        let line = |address: SocketAddr| {
            format!(
                "candidate:1 1 udp 1 {} {} typ host",
                address.ip(),
                address.port()
            )
        };
        session.add_candidate(START, &line(addr(THERE))).unwrap();
        agent.add_candidate(START, &line(addr(HERE))).unwrap();

        let memory: &'static mut dtls::Resources = Box::leak(Box::default());
        let config = dtls::Config::new(dtls::Role::Server, *identities[0].fingerprint());
        let dtls = Dtls::new(START, &mut crypto[1], &config, memory);
        let memory: &'static mut sctp::Resources<16_384, 64, 16_384, 16> =
            Box::leak(Box::default());
        let mut association = Association::new(sctp::Config::new([7; 8]), memory.lend());
        association.connect();
        let ([crypto, their_crypto], [identity, their_identity]) = (crypto, identities);
        Self {
            now: START,
            session,
            crypto,
            identity,
            events: Vec::new(),
            agent,
            dtls,
            association,
            their_crypto,
            their_identity,
            tag: 0,
            tsn: 0,
            by_hand: false,
        }
    }

    /// One whose remote has opened a channel.
    fn open() -> Self {
        let mut pair = Self::new();
        pair.say(STREAM, DCEP, &opening(0, LABEL.as_bytes()));
        pair.until(|pair| pair.events.contains(&Event::Open { ordered: true }));
        pair.step();
        assert_eq!(pair.heard(), [(STREAM, DCEP, ACK.to_vec())]);
        pair
    }

    /// A message of the remote.
    fn say(&mut self, stream: u16, ppid: u32, bytes: &[u8]) {
        let message = sctp::Outgoing::message(stream, ppid);
        assert_eq!(self.association.send(message, bytes), Ok(bytes.len()));
    }

    /// What the remote has read: stream, protocol, bytes.
    fn heard(&mut self) -> Vec<(u16, u32, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(sctp::Received::Piece(piece)) = self.association.read() {
            let len = piece.bytes.len();
            all.push((piece.stream, piece.ppid, piece.bytes.to_vec()));
            self.association.consume(len);
        }
        all
    }

    /// What our application reads: whole messages, in one piece each.
    fn messages(&mut self) -> Vec<(Kind, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(Received::Piece(piece)) = self.session.read() {
            assert!(piece.first && piece.last);
            let len = piece.bytes.len();
            all.push((piece.kind, piece.bytes.to_vec()));
            self.session.consume(len);
        }
        all
    }

    /// A datagram of the remote that carries this SCTP packet.
    fn put(&mut self, packet: &[u8]) {
        let mut buffer = [0; DATAGRAM_MAX];
        let end = HEADROOM + packet.len();
        buffer[HEADROOM..end].copy_from_slice(packet);
        let sealed = self
            .dtls
            .seal(&mut self.their_crypto, &mut buffer, HEADROOM..end);
        let from = addr(THERE);
        self.session.receive(
            self.now,
            &mut self.crypto,
            SOCKET,
            from,
            &mut buffer[sealed.unwrap()],
        );
    }

    /// Chunks of the remote that its association knows nothing of. It is silent from then on.
    fn chunks(&mut self, chunks: &[Vec<u8>]) {
        self.by_hand = true;
        self.put(&raw::packet(self.tag, chunks));
        self.step();
    }

    fn note(&mut self, packet: &[u8]) {
        let u32_at = |at| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        self.tag = u32_at(4);
        let mut at = 12;
        while at + 4 <= packet.len() {
            if packet[at] == raw::DATA {
                self.tsn = u32_at(at + 4);
            }
            let len = usize::from(u16::from_be_bytes([packet[at + 2], packet[at + 3]]));
            at += len.next_multiple_of(4).max(4);
        }
    }

    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(10);
        let now = self.now;
        let mut buffer = [0; DATAGRAM_MAX];
        while self.session.work(now, &mut self.crypto, &self.identity) {}
        while let Some(it) = self.session.transmit(now, &mut self.crypto, &mut buffer) {
            let (theirs, datagram) = (&mut self.their_crypto, &mut buffer[..it.len]);
            let received = self
                .agent
                .receive(now, theirs, SOCKET, addr(HERE), datagram);
            if let ice::Received::Data(mut rest) = received {
                while let Some(packet) = self.dtls.receive(now, theirs, &mut rest) {
                    if !self.by_hand {
                        self.association.receive(now, packet);
                    }
                }
            }
        }
        let theirs = &mut self.their_crypto;
        while self.dtls.work(now, theirs, &self.their_identity) {}
        loop {
            let sent = self.agent.transmit(now, theirs, &mut buffer);
            let len = match sent.map(|it| it.len) {
                Some(len) => len,
                None => match self.dtls.transmit(now, theirs, &mut buffer) {
                    Some(len) => len,
                    None => break,
                },
            };
            let datagram = &mut buffer[..len];
            self.session
                .receive(now, &mut self.crypto, SOCKET, addr(THERE), datagram);
        }
        while self.dtls.is_open()
            && !self.by_hand
            && let Some(len) = self.association.transmit(now, &mut buffer[..1_140])
        {
            let packet = buffer[..len].to_vec();
            self.note(&packet);
            self.put(&packet);
        }
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
        while self.agent.poll_event().is_some() {}
        while self.dtls.poll_event().is_some() {}
        while self.association.poll_event().is_some() {}
    }

    fn until(&mut self, what: impl Fn(&Self) -> bool) {
        for _ in 0..1_000 {
            if what(self) {
                return;
            }
            self.step();
        }
        panic!("it does not happen: {:?}", self.events);
    }

    fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    fn opened(&self) -> usize {
        let opened = |event: &&Event| matches!(event, Event::Open { .. });
        self.events.iter().filter(opened).count()
    }
}

/// An OPEN without a protocol (RFC 8832 §5.1).
fn opening(channel: u8, label: &[u8]) -> Vec<u8> {
    let mut bytes = vec![3, channel, 0, 0, 0, 0, 0, 0];
    bytes.extend(u16::try_from(label.len()).unwrap().to_be_bytes());
    bytes.extend([0; 2]);
    bytes.extend(label);
    bytes
}

#[test]
fn an_opening_that_cannot_be_read_fails_the_session() {
    for (bytes, error) in [
        (vec![9], DcepError::UnknownMessage),
        (vec![3, 0], DcepError::Truncated),
        (opening(7, b"label"), DcepError::UnknownChannelType),
        (opening(0, &[0xff]), DcepError::NotUtf8),
        (opening(0, &[b'x'; LABEL_MAX + 1]), DcepError::LabelTooLong),
        // In several packets.
        (opening(0, &[b'x'; 5_000]), DcepError::LabelTooLong),
    ] {
        let mut pair = Pair::new();
        pair.say(STREAM, DCEP, &bytes);
        let failed = Event::Failed(Failure::Channel(error));
        pair.until(|pair| pair.events.last() == Some(&failed));
        assert_eq!(pair.opened(), 0);
        pair.steps(3);
        assert_eq!(pair.association.end_reason(), Some(End::Aborted(12)));
        assert_eq!(pair.events.last(), Some(&failed), "it is the last one");
        assert!(pair.session.is_over());
    }
}

#[test]
fn what_dcep_says_of_an_open_channel_changes_nothing() {
    let mut pair = Pair::open();
    for bytes in [&[9][..], ACK, &opening(0x80, b"another")] {
        pair.say(STREAM, DCEP, bytes);
    }
    pair.say(STREAM, TEXT, b"hello");
    pair.steps(3);
    assert_eq!(pair.messages(), [(Kind::Text, b"hello".to_vec())]);
    assert_eq!((pair.session.label(), pair.opened()), (LABEL, 1));
    assert_eq!(pair.heard(), [], "one opening is acknowledged once");
    assert!(!pair.session.is_over());
}

#[test]
fn memory_for_data_is_exchanged_while_it_is_idle() {
    let mut pair = Pair::open();
    let message = vec![7; 40_000];
    for round in 0..3 {
        let memory: &'static mut sctp::Resources<65_536, 64, 65_536, 16> =
            Box::leak(Box::default());
        let place: &'static mut Place<'static> = Box::leak(Box::default());
        assert!(pair.session.is_send_idle() && pair.session.is_receive_idle());
        let before = pair.session.receive_room();
        let (session, detached) = pair.session.without_sctp();
        assert_eq!(session.receive_room(), 0);
        let memory = memory.lend();
        let place = place.into();
        pair.session = session.with_sctp(SctpMemory { memory, place }, detached);
        assert!(round > 0 || pair.session.receive_room() > before);

        let outgoing = Outgoing::message(Kind::Binary);
        assert_eq!(pair.session.send(outgoing, &message), Ok(message.len()));
        pair.say(STREAM, TEXT, b"hello");
        assert!(!pair.session.is_send_idle());
        let mut heard = 0;
        for _ in 0..100 {
            pair.step();
            let pieces = pair.heard();
            heard += pieces.iter().map(|(.., bytes)| bytes.len()).sum::<usize>();
        }
        assert_eq!(heard, message.len());
        assert_eq!(pair.messages(), [(Kind::Text, b"hello".to_vec())]);
    }
}

#[test]
fn a_further_channel_is_reset_and_its_messages_are_dropped() {
    let mut pair = Pair::open();
    pair.say(3, DCEP, &opening(0, b"further"));
    pair.say(3, BINARY, &[3; 3_000]);
    pair.say(STREAM, BINARY, b"ours");
    pair.say(3, TEXT_EMPTY, &[0]);
    pair.steps(10);
    assert_eq!(pair.messages(), [(Kind::Binary, b"ours".to_vec())]);
    assert_eq!((pair.session.label(), pair.opened()), (LABEL, 1));
    assert_eq!(
        pair.association.read(),
        Some(sctp::Received::Reset(Some(3)))
    );
    assert_eq!(
        pair.session.send(Outgoing::message(Kind::Text), b"on"),
        Ok(2)
    );
}

#[test]
fn an_empty_message_is_one_piece_of_no_bytes() {
    let mut pair = Pair::open();
    // One byte is sent for it (RFC 8831 §6.6). Whoever sends more means the same.
    pair.say(STREAM, BINARY_EMPTY, &[0]);
    pair.say(STREAM, TEXT_EMPTY, b"abc");
    pair.say(STREAM, BINARY_EMPTY, &[1; 2_500]);
    pair.say(STREAM, TEXT, b"end");
    pair.steps(10);
    for kind in [Kind::Binary, Kind::Text, Kind::Binary] {
        let piece = Piece {
            kind,
            first: true,
            last: true,
            bytes: &[],
        };
        assert_eq!(pair.session.read(), Some(Received::Piece(piece)));
        assert_eq!(pair.session.read(), Some(Received::Piece(piece)));
        pair.session.consume(0);
    }
    assert_eq!(pair.messages(), [(Kind::Text, b"end".to_vec())]);
    let empty = Outgoing::message(Kind::Text);
    assert_eq!(pair.session.send(empty, b""), Ok(0));
    pair.steps(3);
    assert_eq!(pair.heard(), [(STREAM, TEXT_EMPTY, vec![0])]);
}

#[test]
fn a_message_that_the_remote_gives_up_is_told_as_abandoned() {
    let mut pair = Pair::open();
    let tsn = pair.tsn;
    let forward = |tsn: u32| raw::chunk(raw::FORWARD_TSN, 0, &[&tsn.to_be_bytes()]);
    // Of a channel that nobody reads: it is not told.
    pair.chunks(&[raw::data_on(9, tsn + 1, FIRST, &[9; 100])]);
    pair.chunks(&[forward(tsn + 2)]);
    assert_eq!(pair.session.read(), None);
    pair.chunks(&[raw::data_on(STREAM, tsn + 3, FIRST, b"half a")]);
    let piece = Piece {
        kind: Kind::Binary,
        first: true,
        last: false,
        bytes: b"half a",
    };
    assert_eq!(pair.session.read(), Some(Received::Piece(piece)));
    pair.session.consume(6);
    assert_eq!(pair.session.read(), None);
    pair.session.consume(6);
    pair.chunks(&[forward(tsn + 4)]);
    assert_eq!(pair.session.read(), Some(Received::Abandoned));
    pair.session.consume(0);
    assert_eq!(pair.session.read(), None);
    const WHOLE: u8 = 3;
    pair.chunks(&[raw::data_on(STREAM, tsn + 5, WHOLE, b"next")]);
    assert_eq!(pair.messages(), [(Kind::Binary, b"next".to_vec())]);
}

#[test]
fn before_its_acknowledgement_an_unordered_channel_sends_in_order() {
    let mut pair = Pair::new();
    let message = Outgoing::message(Kind::Text);
    assert_eq!(pair.session.send(message, b"x"), Err(SendError::NotOpen));
    assert_eq!((pair.session.send_room(), pair.session.buffered()), (0, 0));
    pair.session.consume(1);
    pair.session.open(LABEL, false).unwrap();
    assert_eq!(pair.session.send(message, b"x"), Err(SendError::NotOpen));
    pair.until(|pair| pair.events.contains(&Event::Open { ordered: false }));
    pair.steps(3);
    // We are DTLS's client, so it is stream 0 (RFC 8832 §6).
    let mut opening = opening(0x80, LABEL.as_bytes());
    // The priority of the browsers' API, 256.
    opening[2] = 1;
    assert_eq!(pair.heard(), [(0, DCEP, opening)]);
    let unordered = |pair: &mut Pair| {
        let room = pair.session.send_room();
        assert_eq!(pair.session.send(message, b"hello"), Ok(5));
        assert_eq!(pair.session.buffered(), 5);
        assert!(pair.session.send_room() < room);
        // The remote acknowledges by itself within 200 ms.
        pair.steps(30);
        assert_eq!(pair.session.buffered(), 0);
        let Some(sctp::Received::Piece(piece)) = pair.association.read() else {
            panic!("nothing came");
        };
        assert_eq!((piece.stream, piece.bytes), (0, &b"hello"[..]));
        let unordered = piece.unordered;
        pair.association.consume(5);
        unordered
    };
    assert!(!unordered(&mut pair));
    // Of another channel.
    pair.say(2, DCEP, ACK);
    pair.steps(3);
    assert!(!unordered(&mut pair));
    pair.say(0, DCEP, ACK);
    pair.steps(3);
    assert!(unordered(&mut pair));
}

#[test]
fn a_channel_that_the_remote_resets_is_closed_on_both_sides() {
    let mut pair = Pair::open();
    pair.say(STREAM, TEXT, b"last");
    pair.association.reset_stream(STREAM).unwrap();
    pair.steps(10);
    let closed = Event::Closed(Closed::Channel);
    assert!(!pair.events.contains(&closed), "there is something to read");
    assert_eq!(pair.messages(), [(Kind::Text, b"last".to_vec())]);
    pair.steps(10);
    assert_eq!(pair.events.last(), Some(&closed));
    assert_eq!(
        pair.association.read(),
        Some(sctp::Received::Reset(Some(STREAM)))
    );
    let message = Outgoing::message(Kind::Text);
    assert_eq!(pair.session.send(message, b"x"), Err(SendError::Closed));
    assert!(!pair.session.is_over(), "it is ours to close the rest");
    pair.session.close();
    assert_eq!(pair.session.send(message, b"x"), Err(SendError::Closed));
    pair.steps(3);
    assert!(pair.session.is_over());
    assert_eq!(pair.association.end_reason(), Some(End::Aborted(12)));
}
