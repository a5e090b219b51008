//! A leaf with its engine, a gateway, and behind it a broker that relays, sessions that always
//! work, and a second engine with a stack of its own. In virtual time.

use std::{
    borrow::ToOwned,
    boxed::Box,
    collections::VecDeque,
    format,
    string::{String, ToString},
    vec::Vec,
};

use crate::{
    PeerId,
    connection::SendError,
    link::{
        Gateway, GatewayOutput, Key, Leaf, LeafConfig, LeafKeys, LeafOutput, LinkInputError,
        LinkResources, Timing,
    },
    peer::{
        BrokerCommand, BrokerInput, Config, ConnectOptions, ConnectionHandle, Event, Input,
        InputError, Output, Peer, PeerResources, Room, RtcCommand, RtcInput,
    },
    serialization::{Fragment, MessageKind},
    time::{Duration, Instant},
};

pub(super) struct Keys {
    pub(super) key: Key,
    pub(super) ids: Vec<String>,
    pub(super) random_ids: bool,
}

impl LeafKeys for Keys {
    fn key(&self, leaf: &str) -> Option<&Key> {
        (leaf == "greenhouse").then_some(&self.key)
    }

    fn allows_id(&self, _: &str, id: &str) -> bool {
        self.ids.iter().any(|allowed| allowed == id)
    }

    fn allows_random_id(&self, _: &str) -> bool {
        self.random_ids
    }
}

/// Whose session, socket or engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Leaf,
    Bob,
}

#[derive(Clone, Debug)]
enum Stimulus {
    Attached,
    Id(String),
    Signal(String),
    Description(String),
    Candidate(String),
    Opened,
    Closed,
    Delivered,
    Data(Data),
}

/// A channel message, or what is left of one.
#[derive(Clone, Debug)]
struct Data {
    kind: MessageKind,
    bytes: Vec<u8>,
    given: usize,
}

/// A wire that takes its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slow {
    /// Each byte takes so long.
    pub(super) byte: Duration,
    /// Then it is under way so long.
    pub(super) delay: Duration,
    /// Bytes that are taken before they are on the wire.
    pub(super) buffer: usize,
}

type Noise = Box<dyn FnMut(&mut Vec<u8>)>;
type End = (Side, ConnectionHandle);

pub(super) struct Lab {
    pub(super) now: Instant,
    pub(super) leaf: Leaf<'static>,
    pub(super) peer: Peer<'static>,
    pub(super) gateway: Gateway<'static>,
    pub(super) bob: Peer<'static>,
    pub(super) keys: Keys,
    pub(super) leaf_outputs: Vec<LeafOutput>,
    pub(super) bob_events: Vec<Event>,
    /// What the gateway did: `up`, `open sensor-7`, `close`, `down …`.
    pub(super) trace: Vec<String>,
    /// Whether the gateway's driver does what it is told.
    pub(super) gateway_works: bool,
    /// Whether data is delivered and acknowledged at once; else the channel holds it.
    pub(super) cut: bool,
    /// Whether the remote acknowledges what the leaf sends; else that is owed.
    pub(super) acknowledges: bool,
    owed: Vec<End>,
    /// Bytes on the wire in either direction pass through this.
    pub(super) noise: Noise,
    /// `None`: bytes are there at once.
    pub(super) slow: Option<Slow>,
    /// Bytes on a slow wire, and when they leave it.
    wires: [VecDeque<(Instant, u8)>; 2],
    pub(super) random: u64,
    sessions: Vec<[Option<End>; 2]>,
    /// Channel messages of the leaf that are not whole.
    halves: Vec<(End, Vec<u8>)>,
    online: [Option<String>; 2],
    queues: [VecDeque<(Option<ConnectionHandle>, Stimulus)>; 2],
}

pub(super) fn key(byte: u8) -> Key {
    Key::new([byte; 32])
}

pub(super) fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

pub(super) fn engine(id: Option<&str>) -> Peer<'static> {
    let mut config = Config::new([7; 32]);
    config.id = id.map(|id| PeerId::new(id).unwrap());
    let memory: &'static mut PeerResources<3> = leak(PeerResources::new());
    Peer::new(config, memory)
}

pub(super) fn new_leaf(key: u8, random: u8) -> Leaf<'static> {
    let config = LeafConfig::new("greenhouse", [key; 32], [random; 32]);
    Leaf::new(config, leak(LinkResources::<3>::new()).slices()).unwrap()
}

pub(super) fn new_gateway(random: u8) -> Gateway<'static> {
    let memory = leak(LinkResources::<3, 1024, 8192, 8192>::new());
    Gateway::new(Timing::default(), [random; 32], memory.slices()).unwrap()
}

impl Lab {
    pub(super) fn new(id: Option<&str>) -> Self {
        Self {
            now: Instant::from_millis(1_000),
            leaf: new_leaf(7, 1),
            peer: engine(id),
            gateway: new_gateway(2),
            bob: engine(Some("bob")),
            keys: Keys {
                key: key(7),
                ids: std::vec!["sensor-7".to_owned()],
                random_ids: true,
            },
            leaf_outputs: Vec::new(),
            bob_events: Vec::new(),
            trace: Vec::new(),
            gateway_works: true,
            cut: false,
            acknowledges: true,
            owed: Vec::new(),
            noise: Box::new(|_| {}),
            slow: None,
            wires: [VecDeque::new(), VecDeque::new()],
            random: 1,
            sessions: Vec::new(),
            halves: Vec::new(),
            online: [None, None],
            queues: [VecDeque::new(), VecDeque::new()],
        }
    }

    /// Both open, and a connection between them: its handles at the leaf and at Bob.
    pub(super) fn connected() -> (Self, ConnectionHandle, ConnectionHandle) {
        let mut lab = Self::new(Some("sensor-7"));
        lab.drive();
        let here = lab.connect(ConnectOptions {
            reliable: true,
            ..ConnectOptions::default()
        });
        lab.drive();
        let Some(&Event::Connection(there)) = lab.bob_events.get(1) else {
            panic!("{:?}", lab.bob_events)
        };
        assert!(lab.peer.connection(here).unwrap().is_open());
        lab.leaf_outputs.clear();
        lab.bob_events.clear();
        lab.trace.clear();
        (lab, here, there)
    }

    pub(super) fn connect(&mut self, options: ConnectOptions<'_>) -> ConnectionHandle {
        let bob = PeerId::new("bob").unwrap();
        self.peer.connect(self.now, &bob, options).unwrap()
    }

    pub(super) fn draw(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    /// Time passes, in the steps that somebody asks for.
    pub(super) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..100_000 {
            let next = self.drive();
            match next.filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    self.now = end;
                    self.drive();
                    return;
                }
            }
        }
        panic!("somebody is busy with nothing");
    }

    /// Until nothing is left to do at this time; when the next thing is.
    pub(super) fn drive(&mut self) -> Option<Instant> {
        for _ in 0..100_000 {
            let mut busy = false;
            let mut next: Vec<Option<Instant>> = Vec::new();
            loop {
                match self.leaf.poll(self.now, &mut self.peer) {
                    LeafOutput::Timeout(at) => break next.push(at),
                    output => {
                        busy = true;
                        self.leaf_outputs.push(output);
                    }
                }
            }
            busy |= self.carry(Side::Leaf);
            if !self.gateway_works {
                next.push(self.gateway.next_timeout());
            }
            while self.gateway_works {
                match self.gateway.poll_output(self.now, &self.keys) {
                    GatewayOutput::Timeout(at) => {
                        next.push(at);
                        break;
                    }
                    output => {
                        busy = true;
                        let (word, command) = own(output);
                        self.trace.push(word);
                        self.execute(Side::Leaf, command);
                    }
                }
            }
            busy |= self.carry(Side::Bob);
            loop {
                let (word, command) = match self.bob.poll_output(Room::UNLIMITED) {
                    Output::Timeout(at) if at.is_none_or(|at| at > self.now) => {
                        break next.push(at);
                    }
                    Output::Timeout(_) => {
                        self.bob.handle_input(self.now, Input::Timeout).unwrap();
                        continue;
                    }
                    Output::Event(event) => {
                        self.bob_events.push(event);
                        continue;
                    }
                    Output::Broker(command) => own(GatewayOutput::Broker(command)),
                    Output::Rtc(handle, command) => own(GatewayOutput::Rtc(handle, command)),
                };
                let _ = word;
                busy = true;
                self.execute(Side::Bob, command);
            }
            busy |= self.deliver(Side::Leaf);
            busy |= self.deliver(Side::Bob);
            next.extend(self.wires.iter().map(|wire| Some(wire.front()?.0)));
            if !busy {
                return next.into_iter().flatten().min();
            }
        }
        panic!("they never come to rest");
    }

    /// Moves bytes over the wire, in pieces of any size. `from` Leaf is towards the gateway.
    fn carry(&mut self, from: Side) -> bool {
        let mut busy = false;
        while let Some(&(at, byte)) = self.wires[from as usize].front()
            && at <= self.now
        {
            self.wires[from as usize].pop_front();
            busy = true;
            self.arrive(from, &[byte]);
        }
        loop {
            let mut piece = std::vec![0; 1 + self.draw(90) as usize];
            if let Some(slow) = self.slow {
                piece.truncate(slow.buffer.saturating_sub(self.wires[from as usize].len()));
            }
            let len = match from {
                Side::Leaf => self.leaf.transmit(self.now, &mut piece),
                Side::Bob => self.gateway.transmit(self.now, &mut piece),
            };
            if len == 0 {
                return busy;
            }
            busy = true;
            piece.truncate(len);
            (self.noise)(&mut piece);
            if self.cut {
                continue;
            }
            if let Some(slow) = self.slow {
                let wire = &mut self.wires[from as usize];
                for byte in piece {
                    let last = wire.back().map_or(self.now + slow.delay, |(at, _)| *at);
                    wire.push_back((last.max(self.now + slow.delay) + slow.byte, byte));
                }
                continue;
            }
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let len = 1 + self.draw(rest.len() as u64) as usize;
                let (now, after) = rest.split_at(len);
                rest = after;
                self.arrive(from, now);
            }
        }
    }

    fn arrive(&mut self, from: Side, bytes: &[u8]) {
        match from {
            Side::Leaf => self.gateway.receive(self.now, bytes, &self.keys),
            Side::Bob => self.leaf.receive(self.now, bytes, &mut self.peer),
        }
    }

    fn tell(&mut self, (side, handle): End, stimulus: Stimulus) {
        self.queues[side as usize].push_back((Some(handle), stimulus));
    }

    fn execute(&mut self, side: Side, command: Command) {
        let queue = &mut self.queues[side as usize];
        match command {
            Command::None => {}
            Command::RetrieveId => queue.push_back((None, Stimulus::Id("given".to_owned()))),
            Command::Open(id) => {
                self.online[side as usize] = Some(id);
                queue.push_back((None, Stimulus::Attached));
                queue.push_back((None, Stimulus::Signal(r#"{"type":"OPEN"}"#.to_owned())));
            }
            Command::CloseSocket => {
                self.online[side as usize] = None;
                queue.retain(|(handle, _)| handle.is_some());
            }
            Command::Signal(text) => self.relay(side, &text),
            Command::Rtc(handle, command) => self.session((side, handle), command),
        }
    }

    /// What PeerServer does with a message.
    fn relay(&mut self, side: Side, text: &str) {
        let Ok(mut message) = serde_json::from_str::<serde_json::Value>(text) else {
            return;
        };
        if !message.is_object() || message["type"] == "HEARTBEAT" {
            return;
        }
        let src = self.online[side as usize]
            .clone()
            .expect("sent without a socket");
        message["src"] = src.into();
        let dst = message["dst"].as_str().unwrap_or_default().to_owned();
        let there = self
            .online
            .iter()
            .position(|id| id.as_deref() == Some(dst.as_str()));
        if let Some(there) = there {
            self.queues[there].push_back((None, Stimulus::Signal(message.to_string())));
        }
    }

    fn session(&mut self, end: End, command: Session) {
        let found = self
            .sessions
            .iter()
            .position(|session| session.contains(&Some(end)));
        let other = found.and_then(|n| {
            let mut ends = self.sessions[n].into_iter().flatten();
            ends.find(|other| *other != end)
        });
        match command {
            Session::CreateOffer => {
                self.tell(
                    end,
                    Stimulus::Description(format!("offer {}", self.sessions.len())),
                );
                self.tell(end, Stimulus::Candidate("candidate:1".to_owned()));
                self.sessions.push([Some(end), None]);
            }
            Session::AcceptOffer(sdp) => {
                let n = sdp
                    .strip_prefix("offer ")
                    .and_then(|n| n.parse::<usize>().ok());
                if let Some(session) = n.and_then(|n| self.sessions.get_mut(n)) {
                    session[1] = Some(end);
                    self.tell(end, Stimulus::Description(sdp.replace("offer", "answer")));
                }
            }
            Session::ApplyAnswer => {
                for end in [Some(end), other].into_iter().flatten() {
                    self.tell(end, Stimulus::Opened);
                }
            }
            Session::Data { kind, bytes, last } => {
                let mut whole = match self.halves.iter().position(|(half, _)| *half == end) {
                    Some(at) => self.halves.remove(at).1,
                    None => Vec::new(),
                };
                whole.extend(bytes);
                if !last {
                    self.halves.push((end, whole));
                    return;
                }
                let data = Data {
                    kind,
                    bytes: whole,
                    given: 0,
                };
                self.data(end, other, Stimulus::Data(data));
            }
            Session::Candidate => {}
            Session::Close => {
                self.queues[end.0 as usize].retain(|(handle, _)| *handle != Some(end.1));
                self.halves.retain(|(half, _)| *half != end);
                if let Some(n) = found {
                    self.sessions[n] = [None, None];
                }
                if let Some(other) = other {
                    self.tell(other, Stimulus::Closed);
                }
            }
        }
    }

    fn data(&mut self, end: End, other: Option<End>, stimulus: Stimulus) {
        if let Some(other) = other {
            self.tell(other, stimulus);
            match self.acknowledges || end.0 == Side::Bob {
                true => self.tell(end, Stimulus::Delivered),
                false => self.owed.push(end),
            }
        }
    }

    /// The remote acknowledges all that it owes, and what comes from now on.
    pub(super) fn acknowledge(&mut self) {
        self.acknowledges = true;
        for end in core::mem::take(&mut self.owed) {
            self.tell(end, Stimulus::Delivered);
        }
    }

    /// Hands over what came for one side, until it has no room. Data that has none holds up the
    /// data and the end behind it, and a signal the signals.
    fn deliver(&mut self, side: Side) -> bool {
        let (mut busy, mut at, mut held) = (false, 0, Vec::new());
        while let Some((handle, stimulus)) = self.queues[side as usize].get_mut(at) {
            let data = matches!(stimulus, Stimulus::Data(_) | Stimulus::Closed);
            let queue = (*handle, data);
            if held.contains(&queue) {
                at += 1;
                continue;
            }
            let mut signal = Vec::new();
            let input = match (*handle, &*stimulus) {
                (_, Stimulus::Attached) => Input::Broker(BrokerInput::Opened),
                (_, Stimulus::Id(id)) => Input::Broker(BrokerInput::IdRetrieved(id)),
                (_, Stimulus::Signal(text)) => {
                    signal.extend_from_slice(text.as_bytes());
                    Input::Broker(BrokerInput::Message(&mut signal))
                }
                (None, _) => unreachable!("everything else is a session's"),
                (Some(handle), stimulus) => Input::Rtc(
                    handle,
                    match stimulus {
                        Stimulus::Description(sdp) => RtcInput::LocalDescription(sdp),
                        Stimulus::Candidate(text) => RtcInput::LocalCandidate(text),
                        Stimulus::Opened => RtcInput::ChannelOpened,
                        Stimulus::Delivered => RtcInput::ChannelBuffered(0),
                        Stimulus::Data(data) => RtcInput::Fragment(Fragment {
                            first: data.given == 0,
                            last: true,
                            kind: data.kind,
                            bytes: &data.bytes[data.given..],
                        }),
                        _ => RtcInput::ChannelClosed,
                    },
                ),
            };
            let taken = match side {
                Side::Leaf => match self.gateway.handle_input(&input) {
                    Err(LinkInputError::Full) => Some(0),
                    Err(LinkInputError::NoRoom { taken }) => Some(taken),
                    _ => None,
                },
                Side::Bob => match self.bob.handle_input(self.now, input) {
                    Err(InputError::Full) => Some(0),
                    Err(InputError::InboxFull { taken }) => Some(taken),
                    _ => None,
                },
            };
            match taken {
                Some(taken) => {
                    if let Stimulus::Data(data) = stimulus {
                        data.given += taken;
                        busy |= taken > 0;
                    }
                    held.push(queue);
                }
                None => {
                    self.queues[side as usize].remove(at);
                    busy = true;
                }
            }
        }
        busy
    }

    /// Messages that the stack holds because somebody has no room.
    pub(super) fn held(&self, side: Side) -> usize {
        self.queues[side as usize].len()
    }
}

enum Command {
    None,
    RetrieveId,
    Open(String),
    CloseSocket,
    Signal(String),
    Rtc(ConnectionHandle, Session),
}

enum Session {
    CreateOffer,
    AcceptOffer(String),
    ApplyAnswer,
    Candidate,
    Data {
        kind: MessageKind,
        bytes: Vec<u8>,
        last: bool,
    },
    Close,
}

/// A command in a word, and one that borrows nothing.
fn own(output: GatewayOutput<'_>) -> (String, Command) {
    match output {
        GatewayOutput::Up => ("up".to_owned(), Command::None),
        GatewayOutput::Down(reason) => (format!("down {reason:?}"), Command::None),
        GatewayOutput::Refused(refusal) => (format!("refused {refusal:?}"), Command::None),
        GatewayOutput::IdRefused(id) => (format!("id refused {id}"), Command::None),
        GatewayOutput::Broker(BrokerCommand::RetrieveId) => {
            ("retrieve".to_owned(), Command::RetrieveId)
        }
        GatewayOutput::Broker(BrokerCommand::Open { id, .. }) => {
            (format!("open {id}"), Command::Open(id.to_owned()))
        }
        GatewayOutput::Broker(BrokerCommand::Close) => {
            ("close socket".to_owned(), Command::CloseSocket)
        }
        GatewayOutput::Broker(BrokerCommand::Send(text)) => {
            ("signal".to_owned(), Command::Signal(text.to_owned()))
        }
        GatewayOutput::Rtc(handle, command) => {
            let (word, command) = match command {
                RtcCommand::CreateOffer { .. } => ("create offer", Session::CreateOffer),
                RtcCommand::AcceptOffer { sdp } => {
                    ("accept offer", Session::AcceptOffer(sdp.to_owned()))
                }
                RtcCommand::ApplyAnswer { .. } => ("apply answer", Session::ApplyAnswer),
                RtcCommand::AddCandidate { .. } => ("candidate", Session::Candidate),
                RtcCommand::Send(fragment) => (
                    "send",
                    Session::Data {
                        kind: fragment.kind,
                        bytes: fragment.bytes.to_vec(),
                        last: fragment.last,
                    },
                ),
                RtcCommand::Close => ("close", Session::Close),
            };
            (word.to_owned(), Command::Rtc(handle, command))
        }
        GatewayOutput::Timeout(_) => ("".to_owned(), Command::None),
    }
}

/// Sends numbered messages both ways, reading as they come; what either side got.
pub(super) fn talk(lab: &mut Lab, here: ConnectionHandle, there: ConnectionHandle, count: u32) {
    let (mut sent, mut got) = ([0, 0], [Vec::new(), Vec::new()]);
    for _ in 0..100_000 {
        for (side, peer, handle) in [(0, &mut lab.peer, here), (1, &mut lab.bob, there)] {
            let mut connection = peer.connection(handle).expect("it lives");
            while sent[side] < count {
                let text = format!("{} {}", sent[side], "x".repeat(sent[side] as usize % 700));
                match connection.send(&text) {
                    Ok(()) => sent[side] += 1,
                    Err(SendError::Full) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            while let Ok(text) = connection.recv::<&str>() {
                let number: u32 = text.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(
                    text.len(),
                    format!("{number} ").len() + number as usize % 700
                );
                got[side].push(number);
            }
        }
        lab.wait(Duration::from_millis(20));
        if got.iter().all(|got| got.len() == count as usize) {
            let all: Vec<u32> = (0..count).collect();
            assert_eq!(got, [all.clone(), all]);
            return;
        }
    }
    panic!("sent {sent:?}, got {:?}", [got[0].len(), got[1].len()]);
}
