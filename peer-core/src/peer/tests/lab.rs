//! Engines, a broker that relays and sessions that always work, in virtual time.

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
    peer::{
        BrokerCommand, BrokerInput, Config, ConnectOptions, ConnectionHandle, Event, Input,
        InputError, Output, Peer, PeerResources, Room, RtcCommand, RtcInput,
    },
    serialization::{Fragment, MessageKind},
    time::{Duration, Instant},
};

/// What a session's far end is told, and what the broker has to deliver.
enum Delivery {
    Signal(String),
    Rtc(ConnectionHandle, Stimulus),
}

#[derive(Clone)]
enum Stimulus {
    Description(String),
    Candidate(String),
    Connected,
    Opened,
    Closed,
    Text(String),
    Binary(Vec<u8>),
    /// Everything was delivered.
    Delivered,
}

/// One engine with everything it did.
pub(super) struct Node {
    pub(super) peer: Peer<'static>,
    pub(super) events: Vec<Event>,
    /// Outputs in a short form, in order: `open alice`, `OFFER`, `accept`, `close` ….
    pub(super) trace: Vec<String>,
    /// What the broker's socket was given.
    pub(super) sent: Vec<String>,
    pub(super) timeout: Option<Instant>,
    online: Option<String>,
    inbox: VecDeque<Delivery>,
}

/// A session: who offered, who answered.
struct Session {
    ends: [Option<(usize, ConnectionHandle)>; 2],
    over: bool,
}

pub(super) struct Lab {
    pub(super) nodes: Vec<Node>,
    sessions: Vec<Session>,
    pub(super) now: Instant,
    /// Whether the broker says OPEN, and whether sessions get through.
    pub(super) says_open: bool,
    pub(super) network: bool,
    /// Whether channels deliver at once what they are given.
    pub(super) delivers: bool,
    /// Signals for peers that are not there.
    pub(super) lost: Vec<String>,
}

impl Lab {
    /// Engines with these ids; `None` has the broker choose.
    pub(super) fn new(ids: &[Option<&str>]) -> Self {
        Self::with(ids, |_| {})
    }

    pub(super) fn with(ids: &[Option<&str>], tune: impl Fn(&mut Config)) -> Self {
        let nodes = ids.iter().zip(1_u8..).map(|(id, n)| {
            let mut config = Config::new([n; 32]);
            config.id = id.map(|id| PeerId::new(id).unwrap());
            tune(&mut config);
            let memory: &'static mut PeerResources<3> = Box::leak(Box::new(PeerResources::new()));
            Node {
                peer: Peer::new(config, memory),
                events: Vec::new(),
                trace: Vec::new(),
                sent: Vec::new(),
                timeout: None,
                online: None,
                inbox: VecDeque::new(),
            }
        });
        Self {
            nodes: nodes.collect(),
            sessions: Vec::new(),
            now: Instant::from_millis(1_000),
            says_open: true,
            network: true,
            delivers: true,
            lost: Vec::new(),
        }
    }

    /// Engines that are open, their events forgotten.
    pub(super) fn open(ids: &[Option<&str>]) -> Self {
        let mut lab = Self::new(ids);
        lab.drive();
        for node in &mut lab.nodes {
            assert_eq!(node.events, [Event::Open]);
            node.events.clear();
            node.trace.clear();
            node.sent.clear();
        }
        lab
    }

    /// Two engines with an open connection: its handle at either.
    pub(super) fn connected(
        options: ConnectOptions<'_>,
    ) -> (Self, ConnectionHandle, ConnectionHandle) {
        let mut lab = Self::open(&[Some("alice"), Some("bob")]);
        let here = lab.connect(0, "bob", options);
        lab.drive();
        let Some(&Event::Connection(there)) = lab.nodes[1].events.first() else {
            panic!("{:?}", lab.nodes[1].events)
        };
        assert_eq!(lab.nodes[0].events, [Event::ConnectionOpen(here)]);
        for node in &mut lab.nodes {
            node.events.clear();
            node.trace.clear();
            node.sent.clear();
        }
        (lab, here, there)
    }

    pub(super) fn connect(
        &mut self,
        n: usize,
        to: &str,
        options: ConnectOptions<'_>,
    ) -> ConnectionHandle {
        let to = PeerId::new(to).unwrap();
        self.nodes[n].peer.connect(self.now, &to, options).unwrap()
    }

    pub(super) fn signal(&mut self, n: usize, text: &str) -> Result<(), InputError> {
        let mut bytes = text.to_owned().into_bytes();
        self.input(n, Input::Broker(BrokerInput::Message(&mut bytes)))
    }

    pub(super) fn input(&mut self, n: usize, input: Input<'_>) -> Result<(), InputError> {
        self.nodes[n].peer.handle_input(self.now, input)
    }

    pub(super) fn rtc(
        &mut self,
        n: usize,
        handle: ConnectionHandle,
        input: RtcInput<'_>,
    ) -> Result<(), InputError> {
        self.input(n, Input::Rtc(handle, input))
    }

    pub(super) fn take_events(&mut self, n: usize) -> Vec<Event> {
        core::mem::take(&mut self.nodes[n].events)
    }

    pub(super) fn take_trace(&mut self, n: usize) -> Vec<String> {
        core::mem::take(&mut self.nodes[n].trace)
    }

    /// Time passes in the steps the engines ask for.
    pub(super) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut steps = 0;
        loop {
            self.drive();
            let Some(next) = self.nodes.iter().filter_map(|node| node.timeout).min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            for node in &mut self.nodes {
                node.peer.handle_input(self.now, Input::Timeout).unwrap();
            }
            steps += 1;
            assert!(steps < 10_000, "an engine is busy with nothing");
        }
        self.now = end;
        self.drive();
    }

    /// Forgets what the lab's own sessions and broker would still say, so that a test can speak for
    /// them.
    pub(super) fn speak_alone(&mut self) {
        for node in &mut self.nodes {
            node.inbox.clear();
        }
    }

    /// Until nothing is left to do at this time.
    pub(super) fn drive(&mut self) {
        for _ in 0..10_000 {
            let mut busy = false;
            for n in 0..self.nodes.len() {
                busy |= self.poll(n);
                busy |= self.deliver(n);
            }
            if !busy {
                return;
            }
        }
        panic!("the engines never come to rest");
    }

    /// Carries out outputs of one engine until it waits.
    pub(super) fn poll(&mut self, n: usize) -> bool {
        let mut busy = false;
        while self.poll_once(n) {
            busy = true;
        }
        busy
    }

    /// Carries out one output; `false` when there is none.
    pub(super) fn poll_once(&mut self, n: usize) -> bool {
        let node = &mut self.nodes[n];
        match node.peer.poll_output(Room::UNLIMITED) {
            Output::Timeout(at) => {
                node.timeout = at;
                // An engine that has not been told any time asks for it at once.
                if at.is_some_and(|at| at < self.now) {
                    node.peer.handle_input(self.now, Input::Timeout).unwrap();
                    return true;
                }
                return false;
            }
            Output::Event(event) => node.events.push(event),
            Output::Broker(BrokerCommand::RetrieveId) => {
                node.trace.push("retrieve".to_owned());
                let id = format!("given-{n}");
                node.peer
                    .handle_input(self.now, Input::Broker(BrokerInput::IdRetrieved(&id)))
                    .unwrap();
            }
            Output::Broker(BrokerCommand::Open { id, .. }) => {
                node.trace.push(format!("open {id}"));
                node.online = Some(id.to_owned());
                node.peer
                    .handle_input(self.now, Input::Broker(BrokerInput::Opened))
                    .unwrap();
                if self.says_open {
                    node.inbox
                        .push_back(Delivery::Signal(r#"{"type":"OPEN"}"#.to_owned()));
                }
            }
            Output::Broker(BrokerCommand::Close) => {
                node.trace.push("close socket".to_owned());
                node.online = None;
            }
            Output::Broker(BrokerCommand::Send(text)) => {
                let text = text.to_owned();
                self.relay(n, &text);
            }
            Output::Rtc(handle, command) => {
                let (word, outcome) = match command {
                    RtcCommand::CreateOffer { label, reliable } => {
                        (format!("create offer {label} {reliable}"), Some(None))
                    }
                    RtcCommand::AcceptOffer { sdp } => {
                        (format!("accept {sdp}"), Some(Some(sdp.to_owned())))
                    }
                    RtcCommand::ApplyAnswer { sdp } => (format!("apply {sdp}"), None),
                    RtcCommand::AddCandidate { candidate } => (format!("add {candidate}"), None),
                    RtcCommand::Send(fragment) => match text(&fragment) {
                        Some(text) => (format!("send {text}"), None),
                        None => (format!("send {}", hex(fragment.bytes)), None),
                    },
                    RtcCommand::Close => ("close".to_owned(), None),
                };
                let payload = match command {
                    RtcCommand::Send(fragment) => Some(match text(&fragment) {
                        Some(text) => Stimulus::Text(text.to_owned()),
                        None => Stimulus::Binary(fragment.bytes.to_vec()),
                    }),
                    RtcCommand::Close => Some(Stimulus::Closed),
                    _ => None,
                };
                let applied = matches!(command, RtcCommand::ApplyAnswer { .. });
                node.trace.push(word);
                self.session(n, handle, outcome, payload, applied);
            }
        }
        true
    }

    fn session(
        &mut self,
        n: usize,
        handle: ConnectionHandle,
        start: Option<Option<String>>,
        payload: Option<Stimulus>,
        applied: bool,
    ) {
        match start {
            Some(None) => {
                let sdp = format!("offer {}", self.sessions.len());
                self.sessions.push(Session {
                    ends: [Some((n, handle)), None],
                    over: false,
                });
                self.tell(n, handle, Stimulus::Description(sdp));
                self.tell(n, handle, Stimulus::Candidate(format!("candidate:{n}")));
            }
            Some(Some(sdp)) => {
                let number = sdp
                    .strip_prefix("offer ")
                    .and_then(|number| number.parse::<usize>().ok());
                let Some(session) = number.and_then(|number| self.sessions.get_mut(number)) else {
                    return;
                };
                session.ends[1] = Some((n, handle));
                self.tell(
                    n,
                    handle,
                    Stimulus::Description(sdp.replace("offer", "answer")),
                );
                self.tell(n, handle, Stimulus::Candidate(format!("candidate:{n}")));
            }
            None => {}
        }
        let Some(session) = self
            .sessions
            .iter_mut()
            .find(|session| session.ends.contains(&Some((n, handle))))
        else {
            return;
        };
        let other = session
            .ends
            .into_iter()
            .flatten()
            .find(|end| *end != (n, handle));
        let over = session.over;
        session.over |= matches!(payload, Some(Stimulus::Closed));
        if let (Some((m, there)), Some(payload), false) = (other, payload, over) {
            if self.delivers && !matches!(payload, Stimulus::Closed) {
                self.tell(n, handle, Stimulus::Delivered);
            }
            self.tell(m, there, payload);
        }
        if let (Some((m, there)), true, true) = (other, applied, self.network) {
            for (n, handle) in [(n, handle), (m, there)] {
                self.tell(n, handle, Stimulus::Connected);
                self.tell(n, handle, Stimulus::Opened);
            }
        }
    }

    fn tell(&mut self, n: usize, handle: ConnectionHandle, stimulus: Stimulus) {
        self.nodes[n]
            .inbox
            .push_back(Delivery::Rtc(handle, stimulus));
    }

    /// What PeerServer does with a message.
    fn relay(&mut self, n: usize, text: &str) {
        let mut message: serde_json::Value = serde_json::from_str(text).unwrap();
        let kind = message["type"].as_str().unwrap().to_owned();
        self.nodes[n].trace.push(kind.clone());
        self.nodes[n].sent.push(text.to_owned());
        if kind == "HEARTBEAT" {
            return;
        }
        let src = self.nodes[n].online.clone().expect("sent without a socket");
        let dst = message["dst"].as_str().unwrap().to_owned();
        message["src"] = src.into();
        let there = self
            .nodes
            .iter_mut()
            .find(|node| node.online.as_deref() == Some(dst.as_str()));
        match there {
            Some(there) => there.inbox.push_back(Delivery::Signal(message.to_string())),
            None => self.lost.push(message.to_string()),
        }
    }

    fn deliver(&mut self, n: usize) -> bool {
        let Some(delivery) = self.nodes[n].inbox.pop_front() else {
            return false;
        };
        let result = match &delivery {
            Delivery::Signal(text) => self.signal(n, text),
            Delivery::Rtc(handle, stimulus) => {
                let input = match stimulus {
                    Stimulus::Description(sdp) => RtcInput::LocalDescription(sdp),
                    Stimulus::Candidate(candidate) => RtcInput::LocalCandidate(candidate),
                    Stimulus::Connected => RtcInput::IceConnected,
                    Stimulus::Opened => RtcInput::ChannelOpened,
                    Stimulus::Closed => RtcInput::ChannelClosed,
                    Stimulus::Delivered => RtcInput::ChannelBuffered(0),
                    Stimulus::Text(text) => RtcInput::Fragment(Fragment::text(text)),
                    Stimulus::Binary(bytes) => RtcInput::Fragment(Fragment::binary(bytes)),
                };
                self.rtc(n, *handle, input)
            }
        };
        if matches!(result, Err(InputError::Full | InputError::InboxFull { .. })) {
            self.nodes[n].inbox.push_front(delivery);
        }
        // Only the application can help then.
        !matches!(result, Err(InputError::InboxFull { .. }))
    }
}

/// A connection of an engine that is alone, open at time zero, its outputs forgotten.
pub(super) fn open_alone(peer: &mut Peer<'_>) -> ConnectionHandle {
    let now = Instant::ZERO;
    let bob = PeerId::new("bob").unwrap();
    let handle = peer.connect(now, &bob, ConnectOptions::default()).unwrap();
    let forget = |peer: &mut Peer<'_>| {
        while !matches!(peer.poll_output(Room::UNLIMITED), Output::Timeout(_)) {}
    };
    let mut text = *br#"{"type":"OPEN"}"#;
    forget(peer);
    for input in [
        BrokerInput::IdRetrieved("alice"),
        BrokerInput::Opened,
        BrokerInput::Message(&mut text),
    ] {
        peer.handle_input(now, Input::Broker(input)).unwrap();
        forget(peer);
    }
    for input in [RtcInput::LocalDescription("mine"), RtcInput::ChannelOpened] {
        peer.handle_input(now, Input::Rtc(handle, input)).unwrap();
        forget(peer);
    }
    handle
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of a whole message, if it is one.
fn text<'a>(message: &Fragment<'a>) -> Option<&'a str> {
    assert!(message.is_whole());
    (message.kind == MessageKind::Text).then(|| core::str::from_utf8(message.bytes).unwrap())
}
