//! The whole engine: arbitrary texts of a broker, inputs of sessions and calls of an application,
//! at arbitrary times.

use std::collections::HashMap;

use peer_core::PeerId;
use peer_core::connection::MESSAGE_COST;
use peer_core::peer::{
    BrokerCommand, BrokerInput, Config, ConnectOptions, ConnectionHandle, DataConnection, Event,
    Input, InputError, Output, Peer, PeerResources, Room, RtcCommand, RtcFailure, RtcInput,
};
use peer_core::serialization::{Fragment, MessageKind, Serialization};
use peer_core::time::{Duration, Instant};

use super::bytes::Bytes;

/// What was seen of one connection.
#[derive(Debug, Default)]
struct Seen {
    ours: bool,
    announced: bool,
    opened: bool,
    last: bool,
    sessions: u32,
    closes: u32,
    /// The remote is within a message of this kind.
    within: Option<MessageKind>,
    /// What of a fragment the engine did not take, and whether the message ends with it.
    held: Option<(Vec<u8>, bool)>,
    /// Bytes that its channel takes; `None`: any.
    credit: Option<u32>,
    /// Messages may be read in pieces.
    streams: bool,
    /// The application has read the beginning of a message, and not its end.
    reading: bool,
}

struct World<'r> {
    peer: Peer<'r>,
    now: Instant,
    seen: HashMap<ConnectionHandle, Seen>,
    order: Vec<ConnectionHandle>,
    /// Ids of our connections, to be answered.
    ids: Vec<String>,
    end: bool,
    timeout: Option<Instant>,
}

/// A script: the engine's memory, then steps.
pub fn engine(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    match bytes.below(4) {
        0 => run(&mut PeerResources::<2, 600, 40, 40, 3>::new(), bytes),
        1 => run(&mut PeerResources::<1, 0, 0, 0, 0>::new(), bytes),
        _ => run(&mut PeerResources::<3, 4096, 512, 512, 128>::new(), bytes),
    }
}

fn run<const C: usize, const K: usize, const D: usize, const M: usize>(
    memory: &mut PeerResources<C, K, D, D, M>,
    mut bytes: Bytes<'_>,
) {
    let mut config = Config::new([7; 32]);
    config.id = (bytes.below(4) > 0).then(|| PeerId::new("alice").unwrap());
    let mut world = World {
        peer: Peer::new(config, memory),
        now: Instant::from_millis(77),
        seen: HashMap::new(),
        order: Vec::new(),
        ids: Vec::new(),
        end: false,
        timeout: None,
    };
    while !bytes.is_empty() {
        world.step(&mut bytes);
    }
    world.settle();
    world.end();
}

impl World<'_> {
    fn note(&mut self, handle: ConnectionHandle) -> &mut Seen {
        let order = &mut self.order;
        self.seen.entry(handle).or_insert_with(|| {
            order.push(handle);
            Seen::default()
        })
    }

    /// Polls once; whether there was something.
    fn poll(&mut self, room: Room) -> bool {
        let (handle, command) = match self.peer.poll_output(room) {
            Output::Timeout(at) => {
                self.timeout = at;
                return false;
            }
            Output::Event(event) => {
                self.event(event);
                return true;
            }
            Output::Broker(command) => {
                let len = match command {
                    BrokerCommand::Send(text) => text.len(),
                    BrokerCommand::Open { id, token } => id.len() + token.len(),
                    BrokerCommand::RetrieveId | BrokerCommand::Close => 0,
                };
                assert!(len.max(1) <= room.broker, "{len} of {room:?}");
                return true;
            }
            Output::Rtc(handle, command) => (handle, command),
        };
        assert!(!self.end, "nothing after the end");
        match command {
            RtcCommand::CreateOffer { label: text, .. } | RtcCommand::AcceptOffer { sdp: text } => {
                assert!(text.len().max(1) <= room.rtc);
                self.note(handle).sessions += 1;
            }
            RtcCommand::Close => {
                assert!(room.rtc > 0);
                self.note(handle).closes += 1;
            }
            RtcCommand::Send(piece) => {
                assert!(piece.bytes.len() <= 512 && piece.bytes.len().max(1) <= room.data);
                let len = piece.bytes.len() as u32;
                if let Some(credit) = &mut self.note(handle).credit {
                    *credit = credit
                        .checked_sub(len)
                        .expect("no more than there is credit");
                }
            }
            RtcCommand::ApplyAnswer { sdp: text }
            | RtcCommand::AddCandidate { candidate: text } => {
                assert!(text.len().max(1) <= room.rtc);
                assert_eq!(self.note(handle).sessions, 1);
            }
        }
        true
    }

    fn event(&mut self, event: Event) {
        assert!(!self.end, "nothing after the end");
        match event {
            Event::Closed => self.end = true,
            Event::Connection(handle) => {
                let seen = self.note(handle);
                assert!(!seen.ours && !seen.announced && !seen.opened && !seen.last);
                seen.announced = true;
            }
            Event::ConnectionOpen(handle) => {
                let seen = self.note(handle);
                assert!((seen.ours || seen.announced) && !seen.opened && !seen.last);
                seen.opened = true;
            }
            Event::ConnectionClosed(handle) => {
                let seen = self.note(handle);
                assert!(seen.opened && !seen.last);
                seen.last = true;
                assert!(
                    self.peer.connection(handle).is_some(),
                    "to be looked at once more"
                );
            }
            Event::ConnectionFailed(handle, _) => {
                let seen = self.note(handle);
                assert!((seen.ours || seen.announced) && !seen.opened && !seen.last);
                seen.last = true;
            }
            Event::Data(handle) => {
                let readable = self.peer.connection(handle).map(|it| it.readable());
                let streams = self.note(handle).streams;
                assert!(readable.is_some_and(|messages| messages > 0 || streams));
            }
            _ => {}
        }
    }

    fn drain(&mut self) {
        for _ in 0..2_000 {
            if !self.poll(Room::UNLIMITED) {
                return;
            }
        }
        panic!("polling never ends");
    }

    fn input(&mut self, input: Input<'_>) -> Result<(), InputError> {
        self.peer.handle_input(self.now, input)
    }

    fn signal(&mut self, text: Vec<u8>) {
        let mut bytes = text.clone();
        if self.input(Input::Broker(BrokerInput::Message(&mut bytes))) == Err(InputError::Full) {
            self.drain();
            let mut bytes = text;
            let again = self.input(Input::Broker(BrokerInput::Message(&mut bytes)));
            assert_ne!(again, Err(InputError::Full), "polling makes room");
        }
    }

    fn handle(&self, n: u8) -> Option<ConnectionHandle> {
        self.order
            .get(usize::from(n) % self.order.len().max(1))
            .copied()
    }

    fn with(&mut self, n: u8, act: impl FnOnce(DataConnection<'_>, Instant)) {
        if let Some(handle) = self.handle(n)
            && let Some(connection) = self.peer.connection(handle)
        {
            act(connection, self.now);
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(24) {
            0 => drop(self.poll(room(bytes))),
            1 => self.drain(),
            2 => {
                self.now = self.now + Duration::from_millis(u64::from(bytes.word()));
                self.input(Input::Timeout).unwrap();
            }
            3 => self.connect(bytes),
            4 => {
                let n = bytes.byte();
                self.with(n / 4, |mut connection, now| match n % 4 {
                    0 => connection.close(),
                    1 => connection.close_flush(now),
                    2 => connection.release(),
                    _ => connection.abort_stream(),
                });
            }
            5 => {
                let (n, piece) = (bytes.byte(), bytes.piece());
                self.with(n / 3, |mut connection, _| {
                    let _ = match n % 3 {
                        0 => connection.send(&String::from_utf8_lossy(piece)),
                        1 => connection.stream(100 + piece.len(), piece.len()),
                        _ => connection.stream_write(piece).map(drop),
                    };
                });
            }
            6 => {
                let n = bytes.byte();
                self.with(n / 2, |mut connection, _| {
                    if n.is_multiple_of(2) {
                        let _ = connection.recv::<serde_json::Value>();
                    } else {
                        let _ = connection.recv_raw();
                    }
                });
                // Either drops the rest of a message that is read in pieces.
                if let Some(handle) = self.handle(n / 2) {
                    self.note(handle).reading = false;
                }
            }
            7 => match bytes.below(16) {
                0 => self.peer.destroy(self.now),
                1..6 => self.peer.disconnect(self.now),
                _ => drop(self.peer.reconnect(self.now)),
            },
            8 => {
                let id = bytes.text();
                let _ = self.input(Input::Broker(BrokerInput::IdRetrieved(&id)));
            }
            9 | 10 => {
                let input = match bytes.below(8) {
                    0 => BrokerInput::Closed,
                    1 => BrokerInput::Failed,
                    _ => BrokerInput::Opened,
                };
                let _ = self.input(Input::Broker(input));
            }
            11 => self.signal(bytes.long_piece().to_vec()),
            12..=15 => {
                let text = self.message(bytes);
                self.signal(text.into_bytes());
            }
            16..=19 => self.rtc(bytes),
            20 | 21 => self.fragment(bytes),
            22 => self.credit(bytes),
            _ => self.read_pieces(bytes),
        }
    }

    /// A piece of a message, or what the engine did not take of the one before.
    fn fragment(&mut self, bytes: &mut Bytes<'_>) {
        let (n, flags) = (bytes.byte(), bytes.byte());
        let Some(handle) = self.handle(n) else { return };
        let piece = bytes.piece().to_vec();
        let room = self.peer.receive_room(handle);
        let seen = self.note(handle);
        let (piece, last) = seen.held.take().unwrap_or((piece, flags % 2 == 0));
        let kind = match flags & 2 {
            0 => MessageKind::Binary,
            _ => MessageKind::Text,
        };
        let fragment = Fragment {
            first: seen.within.is_none(),
            last,
            kind: seen.within.unwrap_or(kind),
            bytes: &piece,
        };
        let cost = if fragment.first { MESSAGE_COST } else { 0 } + piece.len();
        let fed = self.input(Input::Rtc(handle, RtcInput::Fragment(fragment)));
        let seen = self.note(handle);
        match fed {
            Err(InputError::InboxFull { taken }) => {
                assert!(cost > room, "{cost} bytes were promised {room}");
                assert!(taken <= piece.len());
                if taken > 0 {
                    seen.within = Some(fragment.kind);
                }
                seen.held = Some((piece[taken..].to_vec(), last));
            }
            Err(InputError::Full) => seen.held = Some((piece, last)),
            _ if last => seen.within = None,
            _ => seen.within = Some(fragment.kind),
        }
    }

    fn credit(&mut self, bytes: &mut Bytes<'_>) {
        let (n, credit) = (bytes.byte(), u32::from(bytes.word()) % 600);
        let Some(handle) = self.handle(n) else { return };
        if self
            .input(Input::Rtc(handle, RtcInput::ChannelCredit(credit)))
            .is_ok()
        {
            self.note(handle).credit = Some(credit);
        }
    }

    /// The application reads pieces, or changes how it wants to be told.
    fn read_pieces(&mut self, bytes: &mut Bytes<'_>) {
        let (n, what) = (bytes.byte(), bytes.byte());
        let Some(handle) = self.handle(n) else { return };
        let mut reading = self.note(handle).reading;
        let Some(mut connection) = self.peer.connection(handle) else {
            return;
        };
        match what % 8 {
            0 => connection.set_high_water((what / 8).into()),
            1 => connection.set_streaming(false),
            2 | 3 => {
                connection.set_streaming(true);
                self.note(handle).streams = true;
            }
            _ => {
                for _ in 0..=what / 8 {
                    let Some(piece) = connection.recv_piece() else {
                        break;
                    };
                    assert!(
                        piece.first || reading,
                        "a message begins with its first piece"
                    );
                    reading = !piece.last;
                }
                self.note(handle).reading = reading;
            }
        }
    }

    fn connect(&mut self, bytes: &mut Bytes<'_>) {
        let to = PeerId::new(["bob", "carol", "alice"][bytes.below(3)]).unwrap();
        let (metadata, label) = (bytes.text(), bytes.text());
        let options = ConnectOptions {
            label: Some(&label),
            metadata: (!metadata.is_empty()).then_some(&metadata),
            reliable: bytes.below(2) == 0,
            serialization: serialization(bytes.byte()),
        };
        if let Ok(handle) = self.peer.connect(self.now, &to, options) {
            let id = self.peer.connection(handle).unwrap().connection_id().into();
            self.ids.push(id);
            self.note(handle).ours = true;
        }
    }

    /// Something that a broker may pass on.
    fn message(&mut self, bytes: &mut Bytes<'_>) -> String {
        let (kind, src) = (bytes.byte(), ["bob", "carol", "alice"][bytes.below(3)]);
        let (n, len) = (bytes.below(6), usize::from(bytes.word()) % 2_500);
        let known = self.ids.get(n).map_or("dc_1", String::as_str);
        let body = "v".repeat(len);
        match kind % 12 {
            0 => r#"{"type":"OPEN"}"#.into(),
            1 => r#"{"type":"ERROR","payload":{"msg":"no"}}"#.into(),
            2 => r#"{"type":"ID-TAKEN"}"#.into(),
            3 => format!(r#"{{"type":"LEAVE","src":"{src}"}}"#),
            4 => format!(r#"{{"type":"EXPIRE","src":"{src}"}}"#),
            5 | 6 => {
                let serialization = serialization(kind / 12).as_str();
                format!(
                    r#"{{"type":"OFFER","src":"{src}","payload":{{"type":"data","serialization":"{serialization}","sdp":{{"sdp":"{body}"}},"connectionId":"{known}"}}}}"#
                )
            }
            7 | 8 => format!(
                r#"{{"type":"ANSWER","src":"{src}","payload":{{"sdp":{{"sdp":"{body}"}},"connectionId":"{known}"}}}}"#
            ),
            _ => format!(
                r#"{{"type":"CANDIDATE","src":"{src}","payload":{{"candidate":{{"candidate":"{body}"}},"connectionId":"{known}"}}}}"#,
                body = &body[..len.min(300)]
            ),
        }
    }

    fn rtc(&mut self, bytes: &mut Bytes<'_>) {
        let (n, kind) = (bytes.byte(), bytes.byte());
        let Some(handle) = self.handle(n) else { return };
        let body = "v".repeat(usize::from(kind) * 12);
        let text;
        let input = match kind % 16 {
            0..=2 => RtcInput::LocalDescription(&body),
            3..=5 => RtcInput::LocalCandidate(&body[..body.len().min(300)]),
            6 | 7 => RtcInput::ChannelOpened,
            8 => {
                text = bytes.text();
                RtcInput::Fragment(Fragment::text(&text))
            }
            9 | 10 => RtcInput::Fragment(Fragment::binary(bytes.piece())),
            11 => RtcInput::ChannelBuffered(u32::from(bytes.word()) << (kind / 16)),
            12 => RtcInput::ChannelClosed,
            13 if n % 2 == 0 => RtcInput::IceConnected,
            13 => RtcInput::IceChecking,
            14 if n % 2 == 0 => RtcInput::MessageTooBig,
            14 => RtcInput::DtlsConnected,
            _ => RtcInput::Failed(RtcFailure::Sctp),
        };
        let _ = self.input(Input::Rtc(handle, input));
    }

    /// Time runs as the engine asks; it never asks for the past twice, and every connect ends in
    /// one way.
    fn settle(&mut self) {
        self.drain();
        let settled = self.now + Duration::from_secs(30);
        while let Some(at) = self.timeout.filter(|at| *at <= settled) {
            self.now = self.now.max(at);
            self.input(Input::Timeout).unwrap();
            self.drain();
            assert!(self.timeout.is_none_or(|at| at > self.now), "no busy loop");
        }
        for (handle, seen) in &self.seen {
            assert!(seen.opened || seen.last, "{handle:?} {seen:?}");
            // Unread messages keep it.
            let live = self
                .peer
                .connection(*handle)
                .is_some_and(|it| it.readable() == 0);
            assert!(!(seen.last && live), "{handle:?} outlives its last event");
            assert!(seen.sessions <= 1);
            assert_eq!(seen.closes, if seen.last { seen.sessions } else { 0 });
        }
    }

    fn end(&mut self) {
        self.peer.destroy(self.now);
        self.drain();
        assert!(self.end);
        assert_eq!(self.timeout, None);
        let unread: Vec<_> = self.peer.connections().collect();
        for handle in unread {
            let mut connection = self.peer.connection(handle).unwrap();
            assert!(connection.readable() > 0);
            connection.release();
        }
        self.drain();
        assert_eq!(self.peer.connections().count(), 0);
        for seen in self.seen.values() {
            assert!(seen.last);
            assert_eq!(seen.closes, seen.sessions);
        }
    }
}

/// Room for nothing, for little, or for anything, each of the three by itself.
fn room(bytes: &mut Bytes<'_>) -> Room {
    let mut one = || match bytes.below(4) {
        0 => usize::MAX,
        1 => 0,
        2 => bytes.below(40),
        _ => bytes.word().into(),
    };
    Room {
        broker: one(),
        rtc: one(),
        data: one(),
    }
}

fn serialization(n: u8) -> Serialization {
    match n % 4 {
        0 | 1 => Serialization::Binary,
        2 => Serialization::Json,
        _ => Serialization::Raw,
    }
}
