//! A stream in virtual time, with a leaf at its other end that is an engine and `peer_core`'s end
//! of the link.

use peer_core::PeerId;
use peer_core::link::{Leaf as LeafEnd, LeafConfig, LeafOutput, LinkResources};
use peer_core::peer::{Config, ConnectOptions, Event, Peer as Engine, PeerResources};
use peer_core::serialization::Serialization;

use super::*;
use crate::gateway::options::{GatewayLimits, GatewayOptions, LeafOptions};
use crate::rtc::IceState;

const STALL: Duration = Duration::from_secs(10);
const PROVE_WITHIN: Duration = Duration::from_secs(30);
const ROOM: Room = Room {
    broker: true,
    sessions: 0,
};

struct Lab {
    now: Instant,
    stream: LeafStream<'static>,
    registry: &'static Registry,
    leaf: LeafEnd<'static>,
    engine: Engine<'static>,
    /// Whether the stream takes what the gateway writes.
    writable: bool,
    /// Whether channels take what they are handed.
    channels_take: bool,
    room: Room,
    actions: Vec<Action>,
    events: Vec<LeafOutput>,
}

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

fn settings(key: u8) -> Arc<Settings> {
    let options = GatewayOptions {
        leaves: vec![LeafOptions {
            name: "greenhouse".to_owned(),
            key: [key; KEY_LEN],
            ids: vec!["sensor-7".to_owned()],
            random_id: false,
        }],
        limits: GatewayLimits {
            stall: STALL,
            prove_within: PROVE_WITHIN,
            ..GatewayLimits::default()
        },
        ..GatewayOptions::default()
    };
    Arc::new(Settings::new(&options).unwrap())
}

fn stream(registry: &'static Registry, now: Instant) -> LeafStream<'static> {
    let memory = LinkSlices {
        sessions: vec![Default::default(); 8].leak(),
        frame: vec![0; 4096].leak(),
        transmit: vec![0; 64 << 10].leak(),
        receive: vec![0; 64 << 10].leak(),
    };
    let line = Line {
        name: "tcp 192.0.2.7:4711".to_owned(),
        from: Some(IpAddr::from([192, 0, 2, 7])),
        timing: Timing::default(),
        frame: 4096,
        is_open_to_all: true,
    };
    LeafStream::new(now, line, [3; KEY_LEN], memory, registry, settings(7)).unwrap()
}

impl Lab {
    fn new() -> Self {
        let registry = leak(Registry::new(Instant::ZERO));
        Self::on(registry, Instant::ZERO)
    }

    fn on(registry: &'static Registry, now: Instant) -> Self {
        let memory: &mut LinkResources<4, 1024, 65_536, 32_768> = leak(LinkResources::new());
        let config = LeafConfig::new("greenhouse", [7; KEY_LEN], [5; KEY_LEN]);
        let leaf = LeafEnd::new(config, memory.slices()).unwrap();
        let resources: &mut PeerResources<4, 8192, 32_768, 32_768> = leak(PeerResources::new());
        let mut config = Config::new([9; 32]);
        config.id = Some(PeerId::new("sensor-7").unwrap());
        Self {
            now,
            stream: stream(registry, now),
            registry,
            leaf,
            engine: Engine::new(config, resources),
            writable: true,
            channels_take: true,
            room: ROOM,
            actions: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Moves bytes until there are none and nothing is to be done.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            loop {
                match self.leaf.poll(self.now, &mut self.engine) {
                    LeafOutput::Timeout(_) => break,
                    event => self.events.push(event),
                }
            }
            let mut piece = [0; 512];
            let len = self.leaf.transmit(self.now, &mut piece);
            if len > 0 && self.stream.is_serving() {
                self.stream.receive(self.now, &piece[..len]);
                moved = true;
            }
            while let Some(action) = self.stream.poll(self.now, self.room) {
                if let Action::Send(handle, _) = &action
                    && self.channels_take
                {
                    self.stream.sent(*handle, Ok(0));
                }
                self.actions.push(action);
                moved = true;
            }
            let output = self.stream.output().to_vec();
            if self.writable && !output.is_empty() {
                self.stream.written(self.now, output.len());
                self.leaf.receive(self.now, &output, &mut self.engine);
                moved = true;
            }
            if !moved {
                return;
            }
        }
        panic!("it does not settle");
    }

    /// Goes on to when the stream wants to be polled, with a leaf that says nothing more.
    fn pass(&mut self) -> Option<Action> {
        self.now = self.stream.timeout().expect("there is a deadline");
        self.stream.poll(self.now, self.room)
    }

    /// The leaf's broker is open.
    fn open() -> Self {
        let mut lab = Self::new();
        lab.settle();
        assert!(
            matches!(&lab.actions[..], [Action::OpenBroker { id, .. }] if id == "sensor-7"),
            "{:?}",
            lab.actions
        );
        lab.broker(BrokerEvent::Opened);
        lab.broker(BrokerEvent::Message(br#"{"type":"OPEN"}"#.to_vec()));
        assert!(lab.events.contains(&LeafOutput::Event(Event::Open)));
        lab.actions.clear();
        lab
    }

    fn broker(&mut self, event: BrokerEvent) {
        assert!(self.stream.takes_broker());
        self.stream.broker(event);
        self.settle();
    }

    fn session(&mut self, handle: ConnectionHandle, input: SessionInput) {
        let takes = self.stream.takes().find(|(of, _)| *of == handle);
        assert_eq!(takes, Some((handle, Takes::All)));
        self.stream.session(handle, input);
        self.settle();
    }

    /// The leaf is connected with bob.
    fn connected() -> (Self, ConnectionHandle) {
        let mut lab = Self::open();
        let options = ConnectOptions {
            label: Some("readings"),
            metadata: None,
            reliable: true,
            serialization: Serialization::Binary,
        };
        let bob = PeerId::new("bob").unwrap();
        let connection = lab.engine.connect(lab.now, &bob, options).unwrap();
        lab.settle();
        let handle = match &lab.actions[..] {
            [Action::Begin(handle, Beginning::Offer { label, ordered })] => {
                assert!(*ordered && !label.is_empty());
                *handle
            }
            other => panic!("{other:?}"),
        };
        lab.session(handle, SessionInput::LocalDescription("an offer".into()));
        let Some(Action::SendSignal(offer)) = lab.actions.get(1) else {
            panic!("{:?}", lab.actions);
        };
        let mut answer: serde_json::Value = serde_json::from_str(offer).unwrap();
        answer["type"] = "ANSWER".into();
        answer["src"] = "bob".into();
        answer["dst"] = "sensor-7".into();
        answer["payload"]["sdp"] = serde_json::json!({"type": "answer", "sdp": "an answer"});
        lab.broker(BrokerEvent::Message(answer.to_string().into_bytes()));
        assert!(
            matches!(&lab.actions[..], [.., Action::ApplyAnswer(of, sdp)]
            if *of == handle && sdp == "an answer")
        );
        lab.session(handle, SessionInput::IceState(IceState::Connected));
        lab.session(handle, SessionInput::DtlsConnected);
        lab.session(handle, SessionInput::Opened);
        let open = LeafOutput::Event(Event::ConnectionOpen(connection));
        assert!(lab.events.contains(&open), "{:?}", lab.events);
        lab.actions.clear();
        (lab, connection)
    }

    fn send(&mut self, connection: ConnectionHandle, text: &str) {
        let mut connection = self.engine.connection(connection).unwrap();
        connection.send(text).unwrap();
        self.settle();
    }
}

/// The next deadline that is not the link's own.
fn later_than_the_link(lab: &Lab) -> Option<Instant> {
    let timeout = lab.stream.timeout()?;
    (lab.stream.link.next_timeout() != Some(timeout)).then_some(timeout)
}

#[test]
fn a_stream_without_a_key_ends_when_its_time_is_over() {
    let mut lab = Lab::new();
    assert!(lab.stream.poll(lab.now, ROOM).is_none());
    assert_eq!(lab.stream.timeout(), Some(Instant::ZERO + PROVE_WITHIN));
    assert!(matches!(lab.pass(), Some(Action::End(End::Unproven))));
    assert_eq!(lab.stream.timeout(), None);
    assert!(lab.stream.poll(lab.now, ROOM).is_none());
    let status = lab.registry.status(lab.now, lab.stream.settings());
    assert_eq!((status.refused.unproven, status.unproven), (1, 0));
}

#[test]
fn a_stream_without_a_key_may_say_only_so_much() {
    let mut lab = Lab::new();
    for _ in 0..UNPROVEN_BYTES / 4096 {
        lab.stream.receive(lab.now, &[0x55; 4096]);
        assert!(lab.stream.poll(lab.now, ROOM).is_none());
    }
    lab.stream.receive(lab.now, &[0x55]);
    let end = lab.stream.poll(lab.now, ROOM);
    assert!(matches!(end, Some(Action::End(End::Unproven))));
}

#[test]
fn nothing_is_polled_while_nothing_happens() {
    let (mut lab, connection) = Lab::connected();
    assert_eq!(later_than_the_link(&lab), None);
    // Nor while a channel is full, until it has been so for too long.
    lab.channels_take = false;
    lab.send(connection, "a reading");
    let handle = match &lab.actions[..] {
        [Action::Send(handle, _)] => *handle,
        other => panic!("{other:?}"),
    };
    lab.send(connection, "another, that waits behind it");
    assert_eq!(lab.actions.len(), 1, "{:?}", lab.actions);
    let stalled = lab.stream.slots.stalled_at(STALL);
    assert_eq!(stalled, Some(lab.now + STALL));
    assert!(lab.stream.timeout() <= stalled);
    // Once there is room everything goes on by itself.
    lab.channels_take = true;
    lab.stream.sent(handle, Ok(9));
    lab.settle();
    assert!(matches!(&lab.actions[..], [_, Action::Send(..)]));
    assert_eq!(lab.stream.slots.stalled_at(STALL), None);
}

#[test]
fn a_channel_that_takes_nothing_for_too_long_fails() {
    let (mut lab, connection) = Lab::connected();
    lab.channels_take = false;
    lab.send(connection, "a reading");
    lab.actions.clear();
    let until = lab.now + STALL;
    while lab.now < until {
        lab.now = lab.stream.timeout().unwrap().min(until);
        // The leaf keeps its link alive.
        lab.settle();
    }
    let closes = |action: &Action| matches!(action, Action::Close(_));
    assert!(
        lab.actions.iter().any(closes),
        "{:?} {:?}",
        lab.actions,
        lab.events
    );
    let is_over = |event: &LeafOutput| {
        matches!(
            event,
            LeafOutput::Event(Event::ConnectionFailed(..) | Event::ConnectionClosed(_))
        )
    };
    assert!(lab.events.iter().any(is_over), "{:?}", lab.events);
    let status = lab.registry.status(lab.now, lab.stream.settings());
    assert_eq!(status.leaves[0].link.stalled, 1);
    assert!(status.leaves[0].connections.is_empty());
}

#[test]
fn a_broker_without_room_makes_the_leaf_wait_and_loses_nothing() {
    let mut lab = Lab::open();
    lab.room.broker = false;
    let bob = PeerId::new("bob").unwrap();
    lab.engine
        .connect(lab.now, &bob, ConnectOptions::default())
        .unwrap();
    lab.settle();
    assert!(lab.actions.is_empty(), "{:?}", lab.actions);
    lab.room.broker = true;
    lab.settle();
    assert!(matches!(lab.actions[..], [Action::Begin(..)]));
}

#[test]
fn a_leaf_that_falls_silent_is_gone_even_while_it_has_to_wait() {
    let mut lab = Lab::open();
    lab.room.broker = false;
    let start = lab.now;
    lab.settle();
    let dead = start + Timing::default().dead_after;
    while lab.now < dead {
        assert!(lab.pass().is_none());
        let output = lab.stream.output().len();
        lab.stream.written(lab.now, output);
    }
    assert!(!lab.stream.link.is_up());
    lab.room.broker = true;
    let closed = lab.stream.poll(lab.now, lab.room);
    assert!(matches!(closed, Some(Action::CloseBroker)), "{closed:?}");
    assert!(lab.stream.poll(lab.now, lab.room).is_none());
    let status = lab.registry.status(lab.now, lab.stream.settings());
    assert_eq!((status.present, status.unproven), (0, 1));
}

#[test]
fn a_stream_that_takes_no_byte_is_cut() {
    let mut lab = Lab::open();
    lab.writable = false;
    let start = lab.now;
    let end = loop {
        // The leaf goes on talking.
        lab.settle();
        if matches!(lab.actions.last(), Some(Action::End(_)))
            && let Some(Action::End(end)) = lab.actions.pop()
        {
            break end;
        }
        lab.now = lab.stream.timeout().unwrap();
        assert!(lab.now <= start + 2 * STALL);
    };
    assert!(matches!(end, End::Stuck(STALL)));
    let is_close = |action: &Action| matches!(action, Action::CloseBroker);
    assert!(lab.actions.iter().any(is_close), "{:?}", lab.actions);
}

#[test]
fn a_leaf_hears_that_its_gateway_stops() {
    let (mut lab, _) = Lab::connected();
    lab.stream.stop(lab.now, End::Stop);
    lab.settle();
    assert!(matches!(
        lab.actions[..],
        [
            Action::Close(_),
            Action::CloseBroker,
            Action::End(End::Stop)
        ] | [
            Action::CloseBroker,
            Action::Close(_),
            Action::End(End::Stop)
        ]
    ));
    let down = |event: &LeafOutput| matches!(event, LeafOutput::Down(_));
    assert!(lab.events.iter().any(down));
    let status = lab.registry.status(lab.now, lab.stream.settings());
    let last_end = status.leaves[0].last_end.as_deref();
    assert_eq!(last_end, Some("the gateway closed its line"));
}

/// A stream that is being closed takes the place of no other that is yet to prove a key.
#[test]
fn a_stream_that_ends_cuts_nobody_who_is_new() {
    let mut lab = Lab::open();
    let mut limited = settings(7);
    Arc::get_mut(&mut limited).unwrap().limits.unproven = 1;
    lab.stream.set(limited.clone());
    let new = stream(lab.registry, lab.now);
    lab.stream.stop(lab.now, End::Stop);
    lab.settle();
    let is_end = |action: &Action| matches!(action, Action::End(End::Stop));
    assert!(lab.actions.iter().any(is_end), "{:?}", lab.actions);
    let status = lab.registry.status(lab.now, &limited);
    assert_eq!((status.unproven, status.refused.unproven), (1, 0));
    assert!(new.is_serving());
}

#[test]
fn a_stream_that_takes_nothing_does_not_hold_up_the_end() {
    let (mut lab, _) = Lab::connected();
    lab.writable = false;
    lab.stream.stop(lab.now, End::Stop);
    lab.settle();
    assert_eq!(lab.stream.timeout(), Some(lab.now + FAREWELL));
    assert!(matches!(lab.pass(), Some(Action::End(End::Stop))));
}

#[test]
fn a_leaf_that_comes_again_takes_its_own_place() {
    let mut old = Lab::open();
    let mut new = Lab::on(old.registry, old.now);
    new.settle();
    assert!(matches!(new.actions[..], [Action::OpenBroker { .. }]));
    old.stream.stop(old.now, End::Replaced);
    old.settle();
    let ends = |action: &Action| matches!(action, Action::End(End::Replaced));
    assert!(old.actions.iter().any(ends), "{:?}", old.actions);
    let status = old.registry.status(old.now, old.stream.settings());
    assert_eq!((status.present, status.unproven), (1, 0));
    assert_eq!(status.leaves[0].arrivals, 2);
}

#[test]
fn a_key_that_was_taken_back_cuts_the_leaf() {
    let mut lab = Lab::open();
    lab.stream.set(settings(7));
    lab.settle();
    assert!(lab.stream.link.is_up(), "nothing has changed for it");
    lab.stream.set(settings(8));
    lab.settle();
    assert!(!lab.stream.link.is_up());
    assert!(matches!(lab.actions[..], [Action::CloseBroker]));
    let status = lab.registry.status(lab.now, lab.stream.settings());
    let last_end = status.leaves[0].last_end.as_deref().unwrap();
    assert!(last_end.contains("another key"), "{last_end}");
}
