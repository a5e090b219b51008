//! `peer_core::rtc::session` over UDP on 127.0.0.1 with the stack that peer-net puts together of
//! webrtc-ice, webrtc-dtls and either SCTP: each role of ICE with each of DTLS, messages both ways,
//! and the end from either side.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::Read as _;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Instant as Clock;

use peer_core::rtc::crypto::{CryptoError, RustCrypto};
use peer_core::rtc::dtls::Identity;
use peer_core::rtc::ice::{Role, SocketId};
use peer_core::rtc::session::{
    Closed, Config, Event, Kind, Outgoing, Received, Remote, Resources, SendError, Session, Setup,
};
use peer_core::time::Instant;
use peer_core::wire::sdp::{self, Emit};
use peer_net::rtc::{ChannelReceiver, ChannelSender, Message, Session as Other, SessionEvent};
use peer_net::{RtcConfig, Stack};
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
    session: Session<'static, Crypto>,
    crypto: Crypto,
    identity: Identity,
    socket: UdpSocket,
    begun: Clock,
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
        let memory: &'static mut Resources<2, 8, 16, 1, 0, 1536, 65536, 512, 65536, 32> =
            Box::leak(Box::default());
        let mut crypto: Crypto = RustCrypto::new(random);
        let role = match offers {
            true => Role::Controlling,
            false => Role::Controlled,
        };
        let mut config = Config::new(role);
        config.ice.include_loopback = true;
        config.setup = setup;
        let identity = Identity::generate(&mut crypto).unwrap();
        let now = Instant::ZERO;
        let mut session = Session::new(now, &mut crypto, config, memory.lend(), &[]).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        let address = socket.local_addr().unwrap();
        session
            .set_addresses(now, &[(SocketId(0), address)])
            .unwrap();
        let rtc = RtcConfig {
            stack,
            include_loopback: true,
            ip_filter: vec![[127, 0, 0, 1].into()],
            ..RtcConfig::default()
        };
        let (sender, others) = mpsc::channel(64);
        let other = if offers {
            session.open(LABEL, ordered).unwrap();
            Other::answer(Arc::new(rtc), describe(&session, &identity), sender)
        } else {
            Other::offer(Arc::new(rtc), LABEL.to_owned(), ordered, sender)
        };
        Self {
            session,
            crypto,
            identity,
            socket,
            begun: Clock::now(),
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

    fn now(&self) -> Instant {
        Instant::from_micros(self.begun.elapsed().as_micros() as u64)
    }

    /// What the other end told.
    fn hear(&mut self, event: SessionEvent) {
        let now = self.now();
        match event {
            SessionEvent::LocalDescription(text) => {
                let description = sdp::parse(&text).unwrap();
                let fingerprint = description.fingerprints().find_map(|it| it.sha256());
                let remote = Remote {
                    lite: description.ice_lite,
                    fingerprint: fingerprint.unwrap(),
                    sctp_port: description.sctp_port,
                    max_message_size: description.max_message_size,
                    ..Remote::new(
                        description.ufrag,
                        description.pwd,
                        description.setup.unwrap(),
                    )
                };
                self.session.credit(text.len() as u32);
                self.session.set_remote(now, &remote).unwrap();
                if !self.offers {
                    let answer = describe(&self.session, &self.identity);
                    self.other.apply_answer(answer);
                }
            }
            SessionEvent::LocalCandidate(line) => {
                self.session.credit(line.len() as u32);
                self.session.add_candidate(now, &line).unwrap();
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
            match self.session.send(piece, &bytes[given..]) {
                Ok(taken) if given + taken == bytes.len() => self.sent = (index + 1, 0),
                Ok(taken) => self.sent.1 += taken,
                Err(SendError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        while let Some(Received::Piece(piece)) = self.session.read() {
            self.partial.extend_from_slice(piece.bytes);
            let (len, kind) = (piece.bytes.len(), piece.kind);
            if piece.last {
                let message = std::mem::take(&mut self.partial);
                self.messages.push((kind, message));
            }
            self.session.consume(len);
        }
    }

    /// Does what is due, and waits a little for what comes.
    fn turn(&mut self) {
        let mut buffer = [0; 2_000];
        let now = self.now();
        while self.session.work(now, &mut self.crypto, &self.identity) {}
        while let Some(it) = self.session.transmit(now, &mut self.crypto, &mut buffer) {
            assert!(it.len <= 1_200);
            self.socket
                .send_to(&buffer[..it.len], it.destination)
                .unwrap();
        }
        while let Some(event) = self.session.poll_event() {
            if let Event::LocalCandidate(candidate) = event {
                let line = candidate.line(self.session.ice().ufrag()).to_string();
                self.other.add_candidate(line);
            }
            self.events.push(event);
        }
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            let (now, from): (_, SocketAddr) = (self.now(), from);
            self.session
                .receive(now, &mut self.crypto, SocketId(0), from, &mut buffer[..len]);
            self.talk();
        }
        while let Ok(event) = self.others.try_recv() {
            self.hear(event);
        }
        self.talk();
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        while !done(self) {
            assert!(
                self.begun.elapsed() < HANG,
                "{what}: {:?}, {} messages",
                self.events,
                self.messages.len()
            );
            self.turn();
        }
    }
}

/// Our description.
fn describe(session: &Session<'static, Crypto>, identity: &Identity) -> String {
    let emit = Emit {
        session_id: 1,
        ufrag: session.ice().ufrag(),
        pwd: session.ice().password(),
        fingerprint: identity.fingerprint(),
        setup: session.setup(),
        mid: "0",
        sctp_port: sdp::SCTP_PORT,
        max_message_size: 262_144,
        candidates: &[],
    };
    emit.to_string()
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
    assert_eq!(pair.session.label(), LABEL);
    assert!(pair.events.contains(&Event::Open { ordered: true }));
    if we_close {
        pair.session.close();
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
