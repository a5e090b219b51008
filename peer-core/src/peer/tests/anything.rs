//! Arbitrary inputs and calls in arbitrary order, polled at arbitrary times.

use std::{collections::HashMap, format, string::String, vec, vec::Vec};

use proptest::prelude::*;

use crate::{
    PeerId,
    peer::*,
    serialization::Fragment,
    time::{Duration, Instant},
};

#[derive(Clone, Debug)]
enum Step {
    Poll(u8),
    Wait(u32),
    Connect(u8),
    CloseConnection(u8),
    Flush(u8),
    Send(u8, u16),
    Recv(u8),
    Disconnect,
    Reconnect,
    Destroy,
    IdRetrieved(String),
    Opened,
    Closed,
    Failed,
    Garbage(Vec<u8>),
    Message { kind: u8, src: u8, id: u8, len: u16 },
    Rtc { handle: u8, kind: u8, len: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<u8>().prop_map(Step::Poll),
        2 => any::<u32>().prop_map(|ms| Step::Wait(ms % 40_000)),
        3 => any::<u8>().prop_map(Step::Connect),
        1 => any::<u8>().prop_map(Step::CloseConnection),
        1 => any::<u8>().prop_map(Step::Flush),
        3 => (any::<u8>(), 0_u16..300).prop_map(|(n, len)| Step::Send(n, len)),
        2 => any::<u8>().prop_map(Step::Recv),
        1 => Just(Step::Disconnect),
        2 => Just(Step::Reconnect),
        1 => prop_oneof![20 => Just(Step::Failed), 1 => Just(Step::Destroy)],
        1 => "[a-z]{0,4}".prop_map(Step::IdRetrieved),
        4 => Just(Step::Opened),
        1 => Just(Step::Closed),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Garbage),
        8 => (any::<u8>(), any::<u8>(), any::<u8>(), 0_u16..2_500)
            .prop_map(|(kind, src, id, len)| Step::Message { kind, src, id, len }),
        8 => (any::<u8>(), any::<u8>(), 0_u16..2_500)
            .prop_map(|(handle, kind, len)| Step::Rtc { handle, kind, len }),
    ]
}

/// What was seen of one connection.
#[derive(Debug, Default)]
struct Seen {
    ours: bool,
    announced: bool,
    opened: bool,
    last: bool,
    sessions: u32,
    closes: u32,
}

struct World<'r> {
    peer: Peer<'r>,
    now: Instant,
    seen: HashMap<ConnectionHandle, Seen>,
    order: Vec<ConnectionHandle>,
    ids: Vec<String>,
    end: bool,
    timeout: Option<Instant>,
}

/// PeerJS's close message.
const CLOSE: &[u8] = b"\x81\xba__peerData\x81\xb4type\xb5close";
const IDS: [&str; 3] = ["bob", "carol", "alice"];

impl World<'_> {
    fn note(&mut self, handle: ConnectionHandle) -> &mut Seen {
        let order = &mut self.order;
        self.seen.entry(handle).or_insert_with(|| {
            order.push(handle);
            Seen::default()
        })
    }

    /// Polls once; whether there was something.
    fn poll(&mut self) -> bool {
        enum Seen {
            Event(Event),
            Session(ConnectionHandle),
            Close(ConnectionHandle),
            Other,
        }
        let seen = match self.peer.poll_output(Room::UNLIMITED) {
            Output::Timeout(at) => {
                self.timeout = at;
                return false;
            }
            Output::Event(event) => Seen::Event(event),
            Output::Rtc(
                handle,
                RtcCommand::CreateOffer { .. } | RtcCommand::AcceptOffer { .. },
            ) => Seen::Session(handle),
            Output::Rtc(handle, RtcCommand::Close) => Seen::Close(handle),
            Output::Rtc(..) | Output::Broker(_) => Seen::Other,
        };
        assert!(
            !self.end || matches!(seen, Seen::Other),
            "nothing after the end"
        );
        match seen {
            Seen::Session(handle) => self.note(handle).sessions += 1,
            Seen::Close(handle) => self.note(handle).closes += 1,
            Seen::Event(Event::Closed) => self.end = true,
            Seen::Event(Event::Connection(handle)) => {
                let seen = self.note(handle);
                assert!(!seen.ours && !seen.announced && !seen.opened && !seen.last);
                seen.announced = true;
            }
            Seen::Event(Event::ConnectionOpen(handle)) => {
                let seen = self.note(handle);
                assert!((seen.ours || seen.announced) && !seen.opened && !seen.last);
                seen.opened = true;
            }
            Seen::Event(Event::ConnectionClosed(handle)) => {
                let seen = self.note(handle);
                assert!(seen.opened && !seen.last);
                seen.last = true;
                assert!(
                    self.peer.connection(handle).is_some(),
                    "to be looked at once more"
                );
            }
            Seen::Event(Event::ConnectionFailed(handle, _)) => {
                let seen = self.note(handle);
                assert!((seen.ours || seen.announced) && !seen.opened && !seen.last);
                seen.last = true;
            }
            Seen::Event(_) | Seen::Other => {}
        }
        true
    }

    fn drain(&mut self) {
        let mut steps = 0;
        while self.poll() {
            steps += 1;
            assert!(steps < 1_000, "polling never ends");
        }
    }

    fn input(&mut self, input: Input<'_>) {
        let _ = self.peer.handle_input(self.now, input);
    }

    fn with(&mut self, n: u8, act: impl FnOnce(DataConnection<'_>, Instant)) {
        if let Some(&handle) = self.order.get(usize::from(n) % self.order.len().max(1))
            && let Some(connection) = self.peer.connection(handle)
        {
            act(connection, self.now);
        }
    }

    fn step(&mut self, step: Step) {
        let text = |len: u16| "v".repeat(len.into());
        match step {
            Step::Poll(times) => {
                for _ in 0..times % 8 {
                    self.poll();
                }
            }
            Step::Wait(ms) => {
                self.now = self.now + Duration::from_millis(ms.into());
                self.input(Input::Timeout);
            }
            Step::Connect(to) => {
                let to = PeerId::new(IDS[usize::from(to) % 2]).unwrap();
                if let Ok(handle) = self.peer.connect(self.now, &to, ConnectOptions::default()) {
                    let id = self.peer.connection(handle).unwrap().connection_id().into();
                    self.ids.push(id);
                    self.note(handle).ours = true;
                }
            }
            Step::CloseConnection(n) => {
                self.with(n, |mut connection, _| connection.close());
            }
            Step::Flush(n) => {
                self.with(n, |mut connection, now| connection.close_flush(now));
            }
            Step::Send(n, len) => {
                self.with(n, |mut connection, _| {
                    let _ = connection.send(&*text(len));
                });
            }
            Step::Recv(n) => {
                self.with(n, |mut connection, _| {
                    let _ = connection.recv::<&str>();
                });
            }
            Step::Disconnect => self.peer.disconnect(self.now),
            Step::Reconnect => drop(self.peer.reconnect(self.now)),
            Step::Destroy => self.peer.destroy(self.now),
            Step::IdRetrieved(id) => self.input(Input::Broker(BrokerInput::IdRetrieved(&id))),
            Step::Opened => self.input(Input::Broker(BrokerInput::Opened)),
            Step::Closed => self.input(Input::Broker(BrokerInput::Closed)),
            Step::Failed => self.input(Input::Broker(BrokerInput::Failed)),
            Step::Garbage(mut bytes) => self.input(Input::Broker(BrokerInput::Message(&mut bytes))),
            Step::Message { kind, src, id, len } => {
                let src = IDS[usize::from(src) % IDS.len()];
                let known = self
                    .ids
                    .get(usize::from(id) % 6)
                    .map_or("dc_1", String::as_str);
                let body = text(len);
                let message = match kind % 12 {
                    0 => r#"{"type":"OPEN"}"#.into(),
                    1 => r#"{"type":"ERROR","payload":{"msg":"no"}}"#.into(),
                    2 => r#"{"type":"ID-TAKEN"}"#.into(),
                    3 => format!(r#"{{"type":"LEAVE","src":"{src}"}}"#),
                    4 => format!(r#"{{"type":"EXPIRE","src":"{src}"}}"#),
                    5 | 6 => format!(
                        r#"{{"type":"OFFER","src":"{src}","payload":{{"type":"data","serialization":"raw","sdp":{{"sdp":"{body}"}},"connectionId":"{known}"}}}}"#
                    ),
                    7 | 8 => format!(
                        r#"{{"type":"ANSWER","src":"{src}","payload":{{"sdp":{{"sdp":"{body}"}},"connectionId":"{known}"}}}}"#
                    ),
                    _ => format!(
                        r#"{{"type":"CANDIDATE","src":"{src}","payload":{{"candidate":{{"candidate":"{body}"}},"connectionId":"{known}"}}}}"#,
                        body = &body[..body.len().min(300)]
                    ),
                };
                self.input(Input::Broker(BrokerInput::Message(
                    &mut message.into_bytes(),
                )));
            }
            Step::Rtc { handle, kind, len } => {
                let Some(&handle) = self
                    .order
                    .get(usize::from(handle) % self.order.len().max(1))
                else {
                    return;
                };
                let body = text(len);
                self.input(Input::Rtc(
                    handle,
                    match kind % 14 {
                        0..=2 => RtcInput::LocalDescription(&body),
                        3..=5 => RtcInput::LocalCandidate(&body[..body.len().min(300)]),
                        6 | 7 => RtcInput::ChannelOpened,
                        8 => RtcInput::Fragment(Fragment::text(&body)),
                        9 => RtcInput::Fragment(Fragment::binary(if len % 3 == 0 {
                            CLOSE
                        } else {
                            body.as_bytes()
                        })),
                        10 => RtcInput::ChannelBuffered(len.into()),
                        11 => RtcInput::ChannelClosed,
                        12 => RtcInput::IceConnected,
                        _ => RtcInput::Failed(RtcFailure::Sctp),
                    },
                ));
            }
        }
    }
}

fn holds_together<const C: usize, const K: usize, const D: usize, const M: usize>(
    memory: &mut PeerResources<C, K, D, D, M>,
    own: bool,
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let mut config = Config::new([7; 32]);
    config.id = own.then(|| PeerId::new("alice").unwrap());
    let mut world = World {
        peer: Peer::new(config, memory),
        now: Instant::from_millis(77),
        seen: HashMap::new(),
        order: Vec::new(),
        ids: Vec::new(),
        end: false,
        timeout: None,
    };
    for step in steps {
        world.step(step);
    }

    // Time runs as the engine asks; it never asks for the past twice.
    world.drain();
    let settled = world.now + Duration::from_secs(30);
    while let Some(at) = world.timeout.filter(|at| *at <= settled) {
        world.now = world.now.max(at);
        world.input(Input::Timeout);
        world.drain();
        prop_assert!(world.timeout.is_none_or(|at| at > world.now));
    }
    // By now every connect has ended, in one way.
    for (handle, seen) in &world.seen {
        prop_assert!(seen.opened || seen.last, "{handle:?} {seen:?}");
        // Unread messages keep it.
        let live = world
            .peer
            .connection(*handle)
            .is_some_and(|it| it.readable() == 0);
        prop_assert!(!(seen.last && live), "{handle:?} outlives its last event");
        prop_assert!(seen.sessions <= 1);
        prop_assert_eq!(seen.closes, if seen.last { seen.sessions } else { 0 });
    }

    world.peer.destroy(world.now);
    world.drain();
    prop_assert!(world.end);
    prop_assert_eq!(world.timeout, None);
    let unread: Vec<_> = world.peer.connections().collect();
    for handle in unread {
        let mut connection = world.peer.connection(handle).unwrap();
        prop_assert!(connection.readable() > 0);
        connection.release();
    }
    world.drain();
    prop_assert_eq!(world.peer.connections().count(), 0);
    for seen in world.seen.values() {
        prop_assert!(seen.last);
        prop_assert_eq!(seen.closes, seen.sessions);
    }
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..150)
}

proptest! {
    #[test]
    fn anything_goes(own in any::<bool>(), steps in steps()) {
        holds_together(&mut PeerResources::<3, 4096, 256, 256, 256>::new(), own, steps)?;
    }

    #[test]
    fn anything_goes_in_hardly_any_memory(own in any::<bool>(), steps in steps()) {
        holds_together(&mut PeerResources::<2, 600, 40, 40, 3>::new(), own, steps)?;
    }

    #[test]
    fn anything_goes_in_no_memory(own in any::<bool>(), steps in steps()) {
        holds_together(&mut PeerResources::<1, 0, 0, 0, 0>::new(), own, steps)?;
    }
}
