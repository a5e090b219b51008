//! The life of a peer and its connections, as packet traces.

use std::{format, string::ToString};

use super::lab::Lab;
use crate::{PeerId, Token, peer::*, serialization::Serialization, time::Duration};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn failure(stage: Stage, reason: ConnectionError) -> ConnectFailure {
    ConnectFailure { stage, reason }
}

#[test]
fn opens_with_its_own_id() {
    let mut lab = Lab::new(&[Some("alice")]);
    assert_eq!(lab.nodes[0].peer.state(), PeerState::Connecting);
    lab.drive();
    assert_eq!(lab.nodes[0].trace, ["open alice"]);
    assert_eq!(lab.nodes[0].events, [Event::Open]);
    assert_eq!(lab.nodes[0].peer.state(), PeerState::Open);
}

#[test]
fn opens_with_an_id_of_the_broker() {
    let mut lab = Lab::new(&[None]);
    assert_eq!(lab.nodes[0].peer.id(), None);
    lab.drive();
    assert_eq!(lab.nodes[0].trace, ["retrieve", "open given-0"]);
    assert_eq!(lab.nodes[0].events, [Event::Open]);
    assert_eq!(lab.nodes[0].peer.id().map(PeerId::as_str), Some("given-0"));
}

#[test]
fn connects() {
    let mut lab = Lab::open(&[Some("alice"), Some("bob")]);
    let options = ConnectOptions {
        metadata: Some(r#"{"k":[1,2]}"#),
        serialization: Serialization::Json,
        ..ConnectOptions::default()
    };
    let here = lab.connect(0, "bob", options);
    lab.drive();
    let id = lab.nodes[0]
        .peer
        .connection(here)
        .unwrap()
        .connection_id()
        .to_string();
    assert_eq!(
        lab.take_trace(0),
        [
            &*format!("create offer {id} false"),
            "OFFER",
            "CANDIDATE",
            "apply answer 0",
            "add candidate:1"
        ]
    );
    assert_eq!(
        lab.take_trace(1),
        ["accept offer 0", "add candidate:0", "ANSWER", "CANDIDATE"]
    );
    assert_eq!(
        lab.nodes[0].sent[0],
        format!(
            concat!(
                r#"{{"type":"OFFER","payload":{{"sdp":{{"sdp":"offer 0","type":"offer"}},"type":"data","connectionId":"{id}","#,
                r#""metadata":{{"k":[1,2]}},"label":"{id}","reliable":false,"serialization":"json"}},"dst":"bob"}}"#
            ),
            id = id
        )
    );
    assert_eq!(lab.take_events(0), [Event::ConnectionOpen(here)]);
    let events = lab.take_events(1);
    let Event::Connection(there) = events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(events[1..], [Event::ConnectionOpen(there)]);
    let connection = lab.nodes[1].peer.connection(there).unwrap();
    assert_eq!(connection.peer().as_str(), "alice");
    assert_eq!(connection.connection_id(), id);
    assert_eq!(connection.metadata(), Some(r#"{"k":[1,2]}"#));
    assert_eq!(connection.serialization(), Serialization::Json);
    assert!(connection.is_incoming() && connection.is_open() && !connection.reliable());
    assert_eq!(lab.nodes[0].peer.stats(), Stats::default());
    assert_eq!(lab.nodes[1].peer.stats(), Stats::default());
}

#[test]
fn a_connect_before_the_broker_is_open_waits() {
    let mut lab = Lab::new(&[Some("alice"), Some("bob")]);
    let here = lab.connect(0, "bob", ConnectOptions::default());
    lab.drive();
    let trace = lab.take_trace(0);
    assert_eq!(trace[0], "open alice");
    assert!(trace[1].starts_with("create offer"), "{trace:?}");
    assert_eq!(
        lab.nodes[0].events,
        [Event::Open, Event::ConnectionOpen(here)]
    );
}

#[test]
fn several_connections_to_one_peer() {
    let mut lab = Lab::with(&[Some("alice"), Some("bob")], |config| {
        config.remote_share = 3;
    });
    lab.drive();
    let handles = [(); 3].map(|()| lab.connect(0, "bob", ConnectOptions::default()));
    let bob = PeerId::new("bob").unwrap();
    assert_eq!(
        lab.nodes[0]
            .peer
            .connect(lab.now, &bob, ConnectOptions::default()),
        Err(ConnectError::TooManyConnections)
    );
    lab.drive();
    for handle in handles {
        assert!(lab.nodes[0].peer.connection(handle).unwrap().is_open());
    }
    assert_eq!(lab.nodes[1].peer.connections().count(), 3);
}

#[test]
fn heartbeats_while_the_socket_is_up() {
    let mut lab = Lab::open(&[Some("alice")]);
    lab.wait(Duration::from_secs(21));
    assert_eq!(lab.take_trace(0), ["HEARTBEAT"; 4]);
    // Asleep for a day: one, not seventeen thousand.
    lab.now = lab.now + DAY;
    lab.input(0, Input::Timeout).unwrap();
    lab.drive();
    assert_eq!(lab.take_trace(0), ["HEARTBEAT"]);
    assert_eq!(lab.nodes[0].timeout, Some(lab.now + Duration::from_secs(5)));
    lab.nodes[0].peer.disconnect(lab.now);
    lab.wait(HOUR);
    assert_eq!(lab.take_trace(0), ["close socket"]);
    assert_eq!(lab.nodes[0].timeout, None);
}

#[test]
fn an_id_taken_at_the_first_open_is_the_end() {
    for (message, error) in [
        (
            r#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#,
            PeerError::UnavailableId,
        ),
        (
            r#"{"type":"ERROR","payload":{"msg":"ID is taken"}}"#,
            PeerError::ServerError,
        ),
        (
            r#"{"type":"INVALID-KEY","payload":{"msg":"ID is taken"}}"#,
            PeerError::InvalidKey,
        ),
    ] {
        let mut lab = Lab::new(&[Some("alice")]);
        lab.says_open = false;
        let here = lab.connect(0, "bob", ConnectOptions::default());
        lab.drive();
        lab.signal(0, message).unwrap();
        lab.drive();
        assert_eq!(
            lab.take_events(0),
            [
                Event::Error(error),
                Event::Disconnected,
                Event::ConnectionFailed(here, failure(Stage::Offer, ConnectionError::Destroyed)),
                Event::Closed
            ]
        );
        assert_eq!(lab.take_trace(0), ["open alice", "close socket"]);
        let peer = &mut lab.nodes[0].peer;
        assert_eq!(peer.broker_message(), Some("ID is taken"));
        assert_eq!(peer.state(), PeerState::Destroyed);
        assert_eq!(peer.reconnect(lab.now), Err(ConnectError::Destroyed));
        lab.wait(HOUR);
        assert_eq!((lab.take_events(0).len(), lab.nodes[0].timeout), (0, None));
    }
}

#[test]
fn an_error_after_the_first_open_leaves_connections_alive() {
    let (mut lab, here, _) = Lab::connected(ConnectOptions::default());
    lab.signal(0, r#"{"type":"ERROR","payload":{"msg":"enough"}}"#)
        .unwrap();
    lab.drive();
    assert_eq!(
        lab.take_events(0),
        [Event::Error(PeerError::ServerError), Event::Disconnected]
    );
    assert!(lab.nodes[0].peer.connection(here).unwrap().is_open());
    let bob = PeerId::new("bob").unwrap();
    let refused = lab.nodes[0]
        .peer
        .connect(lab.now, &bob, ConnectOptions::default());
    assert_eq!(refused, Err(ConnectError::Disconnected));
    lab.nodes[0].peer.reconnect(lab.now).unwrap();
    assert_eq!(
        lab.nodes[0].peer.reconnect(lab.now),
        Err(ConnectError::NotDisconnected)
    );
    lab.drive();
    assert_eq!(lab.take_events(0), [Event::Open]);
    assert_eq!(lab.take_trace(0), ["close socket", "open alice"]);
    assert!(lab.nodes[0].peer.connection(here).unwrap().is_open());
}

#[test]
fn a_lost_socket_is_told_and_left_alone() {
    let (mut lab, here, _) = Lab::connected(ConnectOptions::default());
    lab.input(0, Input::Broker(BrokerInput::Closed)).unwrap();
    lab.wait(HOUR);
    assert_eq!(
        lab.take_events(0),
        [Event::Error(PeerError::Network), Event::Disconnected]
    );
    assert_eq!(
        lab.take_trace(0),
        [""; 0],
        "no socket is left to close, none is opened"
    );
    assert!(lab.nodes[0].peer.connection(here).unwrap().is_open());
    assert_eq!(lab.nodes[0].timeout, None);
}

/// The outputs of an engine whose driver never answers.
fn poll_alone(peer: &mut Peer<'_>) -> std::vec::Vec<std::string::String> {
    let mut outputs = std::vec::Vec::new();
    loop {
        match peer.poll_output(Room::UNLIMITED) {
            Output::Timeout(_) => return outputs,
            output => outputs.push(format!("{output:?}")),
        }
    }
}

fn lonely<'m>(id: Option<&str>, memory: &'m mut PeerResources<1>) -> Peer<'m> {
    let mut config = Config::new([7; 32]);
    config.id = id.map(|id| PeerId::new(id).unwrap());
    Peer::new(config, memory)
}

#[test]
fn an_unreachable_broker() {
    let at = Instant::from_millis;
    for late in [false, true] {
        // With an id of one's own: `network`, and another try is possible.
        let mut memory = PeerResources::new();
        let mut peer = lonely(Some("alice"), &mut memory);
        assert_eq!(poll_alone(&mut peer).len(), 1);
        peer.handle_input(at(5), Input::Timeout).unwrap();
        assert!(
            matches!(peer.poll_output(Room::UNLIMITED), Output::Timeout(Some(t)) if t == at(10_005))
        );
        let input = if late {
            Input::Timeout
        } else {
            Input::Broker(BrokerInput::Closed)
        };
        peer.handle_input(at(10_005), input).unwrap();
        let mut outputs = poll_alone(&mut peer);
        if late {
            assert_eq!(outputs.remove(0), "Broker(Close)");
        }
        assert_eq!(outputs, ["Event(Error(Network))", "Event(Disconnected)"]);
        assert_eq!(peer.reconnect(at(10_005)), Ok(()));

        // With an id of the broker's: `server-error`, the end.
        let mut memory = PeerResources::new();
        let mut peer = lonely(None, &mut memory);
        assert_eq!(poll_alone(&mut peer), ["Broker(RetrieveId)"]);
        peer.handle_input(at(5), Input::Timeout).unwrap();
        let input = if late {
            Input::Timeout
        } else {
            Input::Broker(BrokerInput::Failed)
        };
        peer.handle_input(at(10_005), input).unwrap();
        assert_eq!(
            poll_alone(&mut peer),
            [
                "Event(Error(ServerError))",
                "Event(Disconnected)",
                "Event(Closed)"
            ]
        );
    }
}

#[test]
fn an_id_that_is_none_is_the_brokers_error() {
    let mut memory = PeerResources::new();
    let mut peer = lonely(None, &mut memory);
    assert_eq!(poll_alone(&mut peer), ["Broker(RetrieveId)"]);
    let now = Instant::ZERO;
    let input = Input::Broker(BrokerInput::IdRetrieved("\n"));
    assert_eq!(peer.handle_input(now, input), Err(InputError::Malformed));
    assert_eq!(peer.state(), PeerState::Destroyed);
}

#[test]
fn a_silent_attach_counts_as_open_after_the_grace() {
    let mut lab = Lab::with(&[Some("alice")], |config| {
        config.token = Token::from_wire("stored").ok();
    });
    lab.says_open = false;
    lab.drive();
    assert_eq!(lab.take_events(0), []);
    lab.wait(Duration::from_secs(1));
    assert_eq!(lab.take_events(0), [Event::Open]);
    lab.signal(0, r#"{"type":"OPEN"}"#).unwrap();
    lab.drive();
    assert_eq!(lab.take_events(0), [], "a late OPEN says nothing new");
}

#[test]
fn a_relayed_signal_proves_the_attach() {
    let mut lab = Lab::new(&[Some("alice")]);
    lab.says_open = false;
    lab.drive();
    lab.signal(0, r#"{"type":"LEAVE","src":"bob"}"#).unwrap();
    lab.drive();
    assert_eq!(lab.take_events(0), [Event::Open]);
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.take_events(0), []);
}

#[test]
fn disconnect_and_reconnect_back_to_back() {
    let mut lab = Lab::open(&[Some("alice")]);
    let peer = &mut lab.nodes[0].peer;
    peer.disconnect(lab.now);
    peer.reconnect(lab.now).unwrap();
    // The old socket's last words.
    lab.signal(0, r#"{"type":"ERROR"}"#).unwrap();
    lab.input(0, Input::Broker(BrokerInput::Closed)).unwrap();
    lab.drive();
    assert_eq!(lab.take_trace(0), ["close socket", "open alice"]);
    assert_eq!(lab.take_events(0), [Event::Disconnected, Event::Open]);
}

#[test]
fn expire_fails_those_that_wait_for_an_answer() {
    let (mut lab, open, _) = Lab::connected(ConnectOptions::default());
    let waiting = lab.connect(0, "carol", ConnectOptions::default());
    lab.drive();
    lab.signal(0, r#"{"type":"EXPIRE","src":"bob","dst":"alice"}"#)
        .unwrap();
    lab.drive();
    assert_eq!(lab.take_events(0), [], "forged: bob did answer");
    lab.signal(0, r#"{"type":"EXPIRE","src":"carol","dst":"alice"}"#)
        .unwrap();
    lab.drive();
    assert_eq!(
        lab.take_events(0),
        [
            Event::Error(PeerError::PeerUnavailable),
            Event::ConnectionFailed(
                waiting,
                failure(Stage::Answer, ConnectionError::PeerUnavailable)
            )
        ]
    );
    assert!(lab.nodes[0].peer.connection(open).unwrap().is_open());
    assert_eq!(lab.nodes[0].trace.last().map(|word| &**word), Some("close"));
}

#[test]
fn leave_closes_every_connection_with_that_peer() {
    let (mut lab, open, _) = Lab::connected(ConnectOptions::default());
    let waiting = lab.connect(0, "bob", ConnectOptions::default());
    lab.signal(0, r#"{"type":"LEAVE","src":"carol","dst":"alice"}"#)
        .unwrap();
    lab.signal(0, r#"{"type":"LEAVE","src":"bob","dst":"alice"}"#)
        .unwrap();
    lab.poll(0);
    assert_eq!(
        lab.take_events(0),
        [
            Event::ConnectionClosed(open),
            Event::ConnectionFailed(
                waiting,
                failure(Stage::Offer, ConnectionError::RemoteClosed)
            )
        ]
    );
    assert_eq!(
        lab.take_trace(0),
        ["close"],
        "the second had no session yet"
    );
}

#[test]
fn every_connect_ends_by_its_deadline_with_its_stage() {
    let stages: [(&[RtcInput<'_>], Stage); 3] = [
        (&[], Stage::Ice),
        (&[RtcInput::IceConnected], Stage::Dtls),
        (
            &[RtcInput::IceConnected, RtcInput::DtlsConnected],
            Stage::Sctp,
        ),
    ];
    for (inputs, stage) in stages {
        let mut lab = Lab::open(&[Some("alice"), Some("bob")]);
        lab.network = false;
        let here = lab.connect(0, "bob", ConnectOptions::default());
        lab.drive();
        for input in inputs {
            let input = match input {
                RtcInput::IceConnected => RtcInput::IceConnected,
                _ => RtcInput::DtlsConnected,
            };
            lab.rtc(0, here, input).unwrap();
        }
        let Event::Connection(there) = lab.take_events(1)[0] else {
            panic!()
        };
        lab.wait(Duration::from_millis(29_999));
        assert_eq!(lab.take_events(0), []);
        lab.wait(Duration::from_millis(1));
        let failed = |handle, stage| {
            [Event::ConnectionFailed(
                handle,
                failure(stage, ConnectionError::TimedOut),
            )]
        };
        assert_eq!(lab.take_events(0), failed(here, stage));
        assert_eq!(lab.take_events(1), failed(there, Stage::Ice));
        lab.wait(HOUR);
        assert_eq!(lab.take_events(0), []);
        assert!(lab.nodes[0].peer.connection(here).is_none());
    }
}

#[test]
fn an_offer_that_never_left_is_the_brokers_fault() {
    let mut lab = Lab::new(&[Some("alice")]);
    lab.says_open = false;
    let here = lab.connect(0, "bob", ConnectOptions::default());
    lab.drive();
    lab.input(0, Input::Broker(BrokerInput::Closed)).unwrap();
    lab.wait(Duration::from_secs(30));
    assert_eq!(
        lab.take_events(0),
        [
            Event::Error(PeerError::Network),
            Event::Disconnected,
            Event::ConnectionFailed(here, failure(Stage::Offer, ConnectionError::BrokerLost))
        ]
    );
    assert_eq!(
        lab.take_trace(0),
        ["open alice"],
        "no session was made, none is closed"
    );
}

#[test]
fn a_failed_session() {
    let (mut lab, open, _) = Lab::connected(ConnectOptions::default());
    let waiting = lab.connect(0, "bob", ConnectOptions::default());
    lab.poll(0);
    lab.rtc(0, waiting, RtcInput::Failed(RtcFailure::Dtls))
        .unwrap();
    lab.rtc(0, open, RtcInput::Failed(RtcFailure::Ice)).unwrap();
    assert_eq!(
        lab.rtc(0, open, RtcInput::ChannelClosed),
        Err(InputError::Stale)
    );
    lab.poll(0);
    assert_eq!(
        lab.take_events(0),
        [
            Event::ConnectionError(open, ConnectionError::Rtc(RtcFailure::Ice)),
            Event::ConnectionClosed(open),
            Event::ConnectionFailed(
                waiting,
                failure(Stage::Dtls, ConnectionError::Rtc(RtcFailure::Dtls))
            )
        ]
    );
}

#[test]
fn close_is_seen_by_both() {
    let (mut lab, here, there) = Lab::connected(ConnectOptions::default());
    lab.nodes[0].peer.connection(here).unwrap().close();
    lab.nodes[0].peer.connection(here).unwrap().close();
    lab.drive();
    assert_eq!(lab.take_events(0), [Event::ConnectionClosed(here)]);
    assert_eq!(lab.take_events(1), [Event::ConnectionClosed(there)]);
    assert_eq!((lab.take_trace(0).len(), lab.take_trace(1).len()), (1, 1));
    assert!(lab.nodes[0].peer.connection(here).is_none());
}

#[test]
fn a_connection_can_be_looked_at_when_its_last_event_is_polled() {
    let (mut lab, here, _) = Lab::connected(ConnectOptions::default());
    let peer = &mut lab.nodes[0].peer;
    peer.connection(here).unwrap().close();
    while !matches!(
        peer.poll_output(Room::UNLIMITED),
        Output::Event(Event::ConnectionClosed(_))
    ) {}
    assert_eq!(peer.connection(here).unwrap().peer().as_str(), "bob");
    peer.poll_output(Room::UNLIMITED);
    assert!(peer.connection(here).is_none());
}

#[test]
fn a_close_before_it_opened_is_a_failure() {
    let mut lab = Lab::open(&[Some("alice")]);
    let here = lab.connect(0, "bob", ConnectOptions::default());
    lab.nodes[0].peer.connection(here).unwrap().close();
    lab.drive();
    assert_eq!(
        lab.take_events(0),
        [Event::ConnectionFailed(
            here,
            failure(Stage::Offer, ConnectionError::LocalClosed)
        )]
    );
    assert_eq!(lab.take_trace(0), [""; 0]);
}

#[test]
fn destroy_ends_everything_once() {
    let (mut lab, here, there) = Lab::connected(ConnectOptions::default());
    let waiting = lab.connect(0, "carol", ConnectOptions::default());
    lab.drive();
    lab.take_trace(0);
    lab.nodes[0].peer.destroy(lab.now);
    lab.nodes[0].peer.destroy(lab.now);
    lab.drive();
    assert_eq!(
        lab.take_events(0),
        [
            Event::Disconnected,
            Event::ConnectionClosed(here),
            Event::ConnectionFailed(waiting, failure(Stage::Answer, ConnectionError::Destroyed)),
            Event::Closed
        ]
    );
    assert_eq!(lab.take_trace(0), ["close socket", "close", "close"]);
    assert_eq!(lab.take_events(1), [Event::ConnectionClosed(there)]);
    let bob = PeerId::new("bob").unwrap();
    let refused = lab.nodes[0]
        .peer
        .connect(lab.now, &bob, ConnectOptions::default());
    assert_eq!(refused, Err(ConnectError::Destroyed));
    lab.wait(HOUR);
    assert_eq!(lab.nodes[0].timeout, None);
}

#[test]
fn connect_says_what_is_wrong() {
    let mut lab = Lab::open(&[Some("alice")]);
    let mut connect = |to: &str, label, metadata| {
        let options = ConnectOptions {
            label,
            metadata,
            ..ConnectOptions::default()
        };
        lab.nodes[0]
            .peer
            .connect(lab.now, &PeerId::new(to).unwrap(), options)
    };
    let long = "x".repeat(crate::config::LABEL_MAX + 1);
    let json = format!("[{}1]", "1,".repeat(128));
    assert_eq!(connect("alice", None, None), Err(ConnectError::OwnId));
    assert_eq!(connect("bob", Some(&long), None), Err(ConnectError::Label));
    assert_eq!(connect("bob", None, Some("{")), Err(ConnectError::Metadata));
    assert_eq!(connect("bob", None, Some("")), Err(ConnectError::Metadata));
    assert_eq!(
        connect("bob", None, Some(&json)),
        Err(ConnectError::Metadata)
    );
    assert!(connect("bob", Some(""), Some("null")).is_ok());
}

#[test]
fn memory_can_serve_one_peer_after_another() {
    let mut memory = PeerResources::new();
    let bob = PeerId::new("bob").unwrap();
    let mut peer = lonely(Some("alice"), &mut memory);
    let old = peer
        .connect(Instant::ZERO, &bob, ConnectOptions::default())
        .unwrap();
    let mut peer = lonely(Some("alice"), &mut memory);
    assert_eq!(peer.connections().count(), 0);
    let new = peer
        .connect(Instant::ZERO, &bob, ConnectOptions::default())
        .unwrap();
    assert_ne!(old, new);
    assert!(peer.connection(old).is_none() && peer.connection(new).is_some());
}

#[test]
fn without_an_answer_the_answer_is_what_is_missing() {
    let mut lab = Lab::open(&[Some("alice")]);
    let here = lab.connect(0, "bob", ConnectOptions::default());
    lab.drive();
    lab.rtc(0, here, RtcInput::IceChecking).unwrap();
    lab.wait(Duration::from_secs(30));
    let expected = failure(Stage::Answer, ConnectionError::TimedOut);
    assert_eq!(
        lab.take_events(0),
        [Event::ConnectionFailed(here, expected)]
    );
}

#[test]
fn a_heartbeat_too_short_to_tell_is_none() {
    let mut lab = Lab::with(&[Some("alice")], |config| {
        config.ping_interval = Duration::from_nanos(1);
    });
    lab.wait(HOUR);
    assert_eq!(lab.take_trace(0), ["open alice"]);
    assert_eq!(lab.nodes[0].timeout, None);
}
