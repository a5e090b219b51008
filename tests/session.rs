//! `peer_core::rtc::session` over UDP on 127.0.0.1 with either stack of peer-net: each role of ICE
//! with each of DTLS, messages both ways, and the end from either side.

use core::time::Duration;
use std::io::Read as _;
use std::sync::Arc;

use peer_core::rtc::crypto::{CryptoError, RustCrypto};
use peer_core::rtc::ice::Role;
use peer_core::rtc::session::{
    Closed, Config, Event, Kind, Outgoing, Received, SendError, Session, Setup,
};
use peer_core::rtc::stack::SessionId;
use peer_core::time::Instant;
use peer_net::Stack;
use peer_net::rtc::{
    ChannelReceiver, ChannelSender, Endpoint, Message, Session as Other, SessionEvent,
};
use peer_tests::udp::Sessions;
use tokio::sync::mpsc;

/// No test decides by this time; it only ends one that hangs.
const HANG: Duration = Duration::from_secs(60);
const LABEL: &str = "ünter";
/// Lengths of the messages that go each way.
const LENS: [usize; 7] = [1, 0, 1_200, 16_300, 65_536, 262_144, 3];

type Crypto = RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>;

fn random(out: &mut [u8]) -> Result<(), CryptoError> {
    let file = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(out));
    file.map_err(|_| CryptoError::Random)
}

fn message(index: usize) -> Vec<u8> {
    let len = LENS.get(index).copied().unwrap_or_default();
    (0..len).map(|at| (at * 7 + index) as u8 & 0x7f).collect()
}

fn kind(index: usize) -> Kind {
    match index % 2 {
        0 => Kind::Text,
        _ => Kind::Binary,
    }
}

/// Our end, on a socket, and the other one, which runs in tasks.
struct Pair {
    sessions: Sessions<Crypto>,
    id: SessionId,
    other: Other,
    others: mpsc::Receiver<SessionEvent>,
    offers: bool,
    channel: Option<(ChannelSender, ChannelReceiver)>,
    other_closed: bool,
    events: Vec<Event>,
    /// What came, and what was sent: messages, and bytes of the next.
    messages: Vec<(Kind, Vec<u8>)>,
    partial: Vec<u8>,
    sent: (usize, usize),
    all: Arc<[(Kind, Vec<u8>)]>,
}

impl Pair {
    fn new(offers: bool, setup: Setup, stack: Stack, ordered: bool) -> Self {
        let here = "127.0.0.1:0".parse().unwrap();
        let crypto: Crypto = RustCrypto::new(random);
        let mut sessions = Sessions::bind(crypto, &[here]).unwrap();
        let mut config = Config::new(match offers {
            true => Role::Controlling,
            false => Role::Controlled,
        });
        config.ice.include_loopback = true;
        config.setup = setup;
        let id = sessions.add(config);
        let endpoint = Endpoint::new(peer_tests::rtc(stack));
        let (sender, others) = mpsc::channel(64);
        let other = if offers {
            sessions.session(id).open(LABEL, ordered).unwrap();
            endpoint.answer("remote", sessions.describe(id, "0"), sender)
        } else {
            endpoint.offer("remote", LABEL.to_owned(), ordered, sender)
        };
        Self {
            sessions,
            id,
            other,
            others,
            offers,
            channel: None,
            other_closed: false,
            events: Vec::new(),
            messages: Vec::new(),
            partial: Vec::new(),
            sent: (0, 0),
            all: expected().into(),
        }
    }

    fn session(&mut self) -> &mut Session<'static, 'static, Crypto> {
        self.sessions.session(self.id)
    }

    /// What the other end told.
    fn hear(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::LocalDescription(text) => {
                self.sessions.set_description(self.id, &text);
                if !self.offers {
                    let answer = self.sessions.describe(self.id, "0");
                    self.other.apply_answer(answer);
                }
            }
            SessionEvent::LocalCandidate(line) => {
                assert!(self.sessions.add_candidate(self.id, &line), "{line}");
            }
            SessionEvent::Open(sender, receiver) => self.channel = Some((sender, receiver)),
            SessionEvent::Closed => self.other_closed = true,
            SessionEvent::Failed(stage, why) => panic!("{stage:?}: {why}"),
            _ => {}
        }
    }

    /// Gives and takes messages, once the channel is open.
    fn talk(&mut self) {
        let all = Arc::clone(&self.all);
        let open = self
            .events
            .iter()
            .any(|it| matches!(it, Event::Open { .. }));
        while open && self.sent.0 < LENS.len() {
            let (index, given) = self.sent;
            let bytes = &all[index].1;
            let piece = Outgoing {
                first: given == 0,
                ..Outgoing::message(kind(index))
            };
            match self.session().send(piece, &bytes[given..]) {
                Ok(taken) if given + taken == bytes.len() => self.sent = (index + 1, 0),
                Ok(taken) => self.sent.1 += taken,
                Err(SendError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let session = self.sessions.session(self.id);
        while let Some(Received::Piece(piece)) = session.read() {
            self.partial.extend_from_slice(piece.bytes);
            let (len, kind) = (piece.bytes.len(), piece.kind);
            if piece.last {
                let message = std::mem::take(&mut self.partial);
                self.messages.push((kind, message));
            }
            session.consume(len);
        }
    }

    /// Does what is due, and waits a little for what comes.
    fn turn(&mut self) {
        self.sessions.turn();
        let session = self.sessions.session(self.id);
        while let Some(event) = session.poll_event() {
            if let Event::LocalCandidate(candidate) = event {
                let line = candidate.line(session.ice().ufrag()).to_string();
                self.other.add_candidate(line);
            }
            self.events.push(event);
        }
        while let Ok(event) = self.others.try_recv() {
            self.hear(event);
        }
        self.talk();
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        while !done(self) {
            let is_soon = self.sessions.now() < Instant::ZERO + HANG;
            assert!(
                is_soon,
                "{what}: {:?}, {} messages",
                self.events,
                self.messages.len()
            );
            self.turn();
        }
    }
}

/// Sends what our end sends, too, and takes what it gets.
async fn other_talks(sender: ChannelSender, mut receiver: ChannelReceiver) -> Vec<(Kind, Vec<u8>)> {
    let sends = async {
        for index in 0..LENS.len() {
            let bytes = message(index);
            let message = match kind(index) {
                Kind::Text => Message::Text(String::from_utf8(bytes).unwrap()),
                Kind::Binary => Message::Binary(bytes.into()),
            };
            sender.send(message).await.unwrap();
        }
        // Closes the session when it is dropped.
        sender
    };
    let takes = async {
        let mut taken = Vec::new();
        while taken.len() < LENS.len() {
            taken.push(match receiver.recv().await.expect("it stays open") {
                Message::Text(text) => (Kind::Text, text.into_bytes()),
                Message::Binary(bytes) => (Kind::Binary, bytes.to_vec()),
            });
        }
        (taken, receiver)
    };
    let (sender, (taken, receiver)) = tokio::join!(sends, takes);
    sender.flushed().await;
    drop((sender, receiver));
    taken
}

fn expected() -> Vec<(Kind, Vec<u8>)> {
    (0..LENS.len())
        .map(|index| (kind(index), message(index)))
        .collect()
}

fn with(offers: bool, setup: Setup, stack: Stack, we_close: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let mut pair = Pair::new(offers, setup, stack, true);
    pair.until("open", |pair| pair.channel.is_some());
    let (sender, receiver) = pair.channel.take().unwrap();
    let talk = runtime.spawn(other_talks(sender, receiver));
    pair.until("messages", |pair| {
        talk.is_finished() && pair.messages.len() == LENS.len()
    });
    assert!(pair.messages == expected(), "what came");
    assert!(runtime.block_on(talk).unwrap() == expected(), "what went");
    assert_eq!(pair.session().label(), LABEL);
    assert!(pair.events.contains(&Event::Open { ordered: true }));
    if we_close {
        pair.session().close();
        pair.until("their end", |pair| pair.other_closed);
    } else {
        pair.other.close();
        pair.until("our end", |pair| {
            pair.events.iter().any(|it| matches!(it, Event::Closed(_)))
        });
        let last = pair.events.last();
        let told = matches!(
            last,
            Some(Event::Closed(
                Closed::Aborted(_) | Closed::CloseNotify | Closed::Shutdown | Closed::Channel
            ))
        );
        assert!(told, "{last:?}");
    }
}

/// Offering as server and as client, answering as client and as server.
const ROLES: [(bool, Setup); 4] = [
    (true, Setup::Actpass),
    (true, Setup::Active),
    (false, Setup::Actpass),
    (false, Setup::Passive),
];

#[test]
fn with_the_native_stack() {
    for (index, (offers, setup)) in ROLES.into_iter().enumerate() {
        with(offers, setup, Stack::Native, index % 2 == 0);
    }
}

#[test]
fn with_webrtc_rs() {
    for (index, (offers, setup)) in ROLES.into_iter().enumerate() {
        with(offers, setup, Stack::WebrtcRs, index % 2 == 1);
    }
}
