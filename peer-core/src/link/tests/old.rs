//! A leaf of version 1, and what a gateway of version 2 does with it.

use std::{string::String, string::ToString, vec::Vec};

use super::{
    lab::{Keys, key, leak, new_gateway},
    vectors::violations,
};
use crate::{
    link::{
        Gateway, GatewayOutput, LinkError, LinkInputError, LinkResources, Timing, Version,
        auth::{Prover, Transcript},
        endpoint::{Endpoint, Heard, Role, Taken},
        frame::{DataFrame, Frame, Greeting},
        message::{FromGateway, FromLeaf},
    },
    peer::{ConnectionHandle, Input, RtcCommand, RtcFailure, RtcInput},
    serialization::Fragment,
    time::{Duration, Instant},
};

/// It takes what comes at once and says what it is told to say, without an engine.
struct OldLeaf {
    endpoint: Endpoint<'static>,
    hello: Greeting,
    gateway: Option<Greeting>,
    /// What came, in words.
    heard: Vec<String>,
    /// Whether it takes the messages that come.
    takes: bool,
}

fn no_data(_: &DataFrame<'_>, _: &mut [u8]) -> Taken {
    panic!("version 1 has no data frames")
}

struct Pair {
    now: Instant,
    leaf: OldLeaf,
    gateway: Gateway<'static>,
    keys: Keys,
    /// What the gateway's driver was told.
    said: Vec<String>,
}

impl OldLeaf {
    fn new() -> Self {
        let memory = leak(LinkResources::<3>::new());
        let (endpoint, _) = Endpoint::new(Role::Leaf, Timing::default(), memory.slices());
        let hello = endpoint.greeting(Version::One, [9; 16]);
        Self {
            endpoint,
            hello,
            gateway: None,
            heard: Vec::new(),
            takes: true,
        }
    }

    fn receive(&mut self, now: Instant, mut bytes: &[u8]) {
        while let Some(heard) = self.endpoint.receive(now, &mut bytes, no_data) {
            match heard {
                Heard::Challenge(gateway, proof) => {
                    assert_eq!(gateway.version, 1);
                    let hello = self.hello.hello("greenhouse");
                    let transcript = Transcript {
                        hello: &hello,
                        challenge: &gateway,
                    };
                    assert!(transcript.verify(&key(7), Prover::Gateway, &proof));
                    let proof = transcript.prove(&key(7), Prover::Leaf);
                    self.endpoint.serve(&Frame::Proof(proof));
                    self.gateway = Some(gateway);
                }
                Heard::Welcome => {
                    let gateway = self.gateway.unwrap();
                    self.endpoint.begin(now, Version::One, &gateway);
                }
                Heard::Reset(reason) => {
                    self.heard.push(std::format!("reset {reason:?}"));
                    self.endpoint.drop_session();
                }
                other => panic!("{other:?}"),
            }
        }
        while self.takes
            && let Some(message) = self.endpoint.inbox.front(self.endpoint.receive.control())
        {
            let message: FromGateway<'_> = postcard::from_bytes(message).unwrap();
            let mut word = std::format!("{message:?}");
            word.truncate(40);
            self.heard.push(word);
            self.endpoint.taken();
        }
    }

    fn say(&mut self, message: &FromLeaf<'_>) {
        self.endpoint.send(message).unwrap();
    }
}

impl Pair {
    fn up() -> Self {
        let mut pair = Self {
            now: Instant::from_millis(1_000),
            leaf: OldLeaf::new(),
            gateway: new_gateway(2),
            keys: Keys {
                key: key(7),
                ids: std::vec!["sensor-7".to_string()],
                random_ids: true,
            },
            said: Vec::new(),
        };
        let hello = Frame::Hello(pair.leaf.hello, "greenhouse");
        pair.leaf.endpoint.serve(&hello);
        pair.drive();
        assert_eq!(pair.said, ["up"]);
        assert_eq!(pair.gateway.version(), Some(1));
        pair.said.clear();
        pair
    }

    fn drive(&mut self) {
        for _ in 0..1_000 {
            let mut busy = false;
            loop {
                let word = match self.gateway.poll_output(self.now, &self.keys) {
                    GatewayOutput::Timeout(_) => break,
                    GatewayOutput::Up => "up".to_string(),
                    GatewayOutput::Rtc(_, RtcCommand::Send(fragment)) => {
                        assert!(fragment.is_whole());
                        std::format!("send {}", fragment.bytes.len())
                    }
                    other => std::format!("{other:?}"),
                };
                self.said.push(word);
                busy = true;
            }
            let mut wire = [0; 200];
            let len = self.gateway.transmit(self.now, &mut wire);
            self.leaf.receive(self.now, &wire[..len]);
            busy |= len > 0;
            let len = self.leaf.endpoint.transmit(self.now, &mut wire);
            self.gateway.receive(self.now, &wire[..len], &self.keys);
            busy |= len > 0;
            if !busy {
                return;
            }
        }
        panic!("they never come to rest");
    }

    /// With an open session.
    fn open() -> (Self, ConnectionHandle) {
        let mut pair = Self::up();
        pair.leaf.say(&FromLeaf::CreateOffer(5, true, "dc"));
        pair.drive();
        let handle = ConnectionHandle::from_bits(5);
        pair.tell(RtcInput::ChannelOpened).unwrap();
        pair.drive();
        assert_eq!(pair.leaf.heard, ["ChannelOpened(5)"]);
        pair.said.clear();
        pair.leaf.heard.clear();
        (pair, handle)
    }

    fn tell(&mut self, input: RtcInput<'_>) -> Result<(), LinkInputError> {
        let handle = ConnectionHandle::from_bits(5);
        self.gateway.handle_input(&Input::Rtc(handle, input))
    }
}

fn text(text: &str) -> RtcInput<'_> {
    RtcInput::Fragment(Fragment::text(text))
}

#[test]
fn messages_go_whole_both_ways() {
    let (mut pair, _) = Pair::open();
    pair.leaf.say(&FromLeaf::SendText(5, "hello"));
    let long = [7; 2_000];
    pair.leaf.say(&FromLeaf::SendBinary(5, &long));
    pair.drive();
    assert_eq!(pair.said, ["send 5", "send 2000"]);
    pair.tell(text("back")).unwrap();
    pair.drive();
    assert_eq!(pair.leaf.heard, [r#"Text(5, "back")"#]);
    // What its window does not take is told in place.
    let long = "x".repeat(5_000);
    assert_eq!(pair.tell(text(&long)), Err(LinkInputError::TooLong));
    pair.drive();
    assert_eq!(pair.leaf.heard[1..], ["MessageTooBig(5)"]);
}

#[test]
fn its_session_ends_when_it_says_so() {
    for end in [RtcInput::ChannelClosed, RtcInput::Failed(RtcFailure::Ice)] {
        let (mut pair, _) = Pair::open();
        pair.tell(end).unwrap();
        pair.drive();
        assert_eq!(pair.leaf.heard.len(), 1);
        assert_eq!(pair.gateway.sessions(), 1, "it must be closed");
        pair.leaf.say(&FromLeaf::CloseSession(5));
        pair.drive();
        assert_eq!(pair.gateway.sessions(), 0);
        assert_eq!(pair.said.len(), 1);
    }
}

/// A stalled session of version 1 holds up the leaf, and only so far as its driver granted.
#[test]
fn a_driver_grants_it_credit_as_to_any_leaf() {
    let (mut pair, _) = Pair::open();
    pair.tell(RtcInput::ChannelCredit(100)).unwrap();
    for _ in 0..3 {
        pair.leaf.say(&FromLeaf::SendBinary(5, &[1; 80]));
    }
    pair.leaf.say(&FromLeaf::RetrieveId);
    pair.drive();
    assert_eq!(pair.said, ["send 80", "send 80"]);
    pair.tell(RtcInput::ChannelCredit(1)).unwrap();
    pair.drive();
    assert_eq!(pair.said[2..], ["send 80", "Broker(RetrieveId)"]);
    assert_eq!(pair.leaf.heard.len(), 0, "it knows of no credit");
}

#[test]
fn a_full_leaf_is_waited_for() {
    let (mut pair, _) = Pair::open();
    pair.leaf.takes = false;
    let long = "x".repeat(1_000);
    let mut given = 0;
    let full = loop {
        match pair.tell(text(&long)) {
            Ok(()) => given += 1,
            Err(error) => break error,
        }
        pair.drive();
    };
    assert_eq!(full, LinkInputError::NoRoom { taken: 0 });
    assert!(given >= 3);
    pair.leaf.takes = true;
    pair.leaf.receive(pair.now, &[]);
    pair.drive();
    assert_eq!(pair.leaf.heard.len(), given);
    assert_eq!(pair.tell(text(&long)), Ok(()));
}

/// A frame in the middle of a message that carries nothing costs nothing, so it could go on for
/// ever.
#[test]
fn violations_end_the_session() {
    for (bytes, why) in violations(Version::One) {
        let mut pair = Pair::up();
        let (end, rest) = bytes.split_last().unwrap();
        pair.gateway.receive(pair.now, rest, &pair.keys);
        assert!(pair.gateway.is_up(), "{why}");
        pair.gateway.receive(pair.now, &[*end], &pair.keys);
        pair.drive();
        assert!(!pair.gateway.is_up(), "{why}");
        assert_eq!(
            pair.leaf.heard,
            [std::format!("reset {:?}", LinkError::Violation)]
        );
    }
}

#[test]
fn it_stays_up_and_its_end_is_noticed() {
    let (mut pair, handle) = Pair::open();
    for _ in 0..30 {
        pair.now = pair.now + Duration::from_secs(2);
        pair.drive();
    }
    assert!(pair.gateway.is_up());
    pair.now = pair.now + Duration::from_secs(8);
    let mut said = Vec::new();
    loop {
        match pair.gateway.poll_output(pair.now, &pair.keys) {
            GatewayOutput::Timeout(_) => break,
            output => said.push(std::format!("{output:?}")),
        }
    }
    assert_eq!(
        said,
        [
            std::format!("Rtc({handle:?}, Close)"),
            "Down(Silent)".to_string()
        ]
    );
}
