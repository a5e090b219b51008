//! Whole lives over the link: an id, connections, their ends.

use std::string::String;

use super::lab::{Lab, leak, talk};
use crate::{
    link::{Leaf, LeafConfig, LeafOutput, LinkResources},
    peer::{
        ConnectFailure, ConnectOptions, ConnectionError, Event, PeerError, PeerState, RtcFailure,
        Stage,
    },
    time::Duration,
};

#[test]
fn an_engine_behind_a_link_is_an_ordinary_peer() {
    for seed in 1..=5 {
        let mut lab = Lab::new(Some("sensor-7"));
        lab.random = seed;
        lab.drive();
        assert_eq!(
            lab.leaf_outputs,
            [LeafOutput::Up, LeafOutput::Event(Event::Open)]
        );
        assert_eq!(lab.trace, ["up", "open sensor-7"]);
        assert_eq!(lab.gateway.leaf(), Some("greenhouse"));

        let here = lab.connect(ConnectOptions {
            reliable: true,
            metadata: Some(r#"{"room":2}"#),
            ..ConnectOptions::default()
        });
        lab.drive();
        assert_eq!(
            lab.leaf_outputs[2..],
            [LeafOutput::Event(Event::ConnectionOpen(here))]
        );
        let Some(&Event::Connection(there)) = lab.bob_events.get(1) else {
            panic!("{:?}", lab.bob_events)
        };
        let bobs = lab.bob.connection(there).unwrap();
        assert_eq!(bobs.metadata(), Some(r#"{"room":2}"#));
        talk(&mut lab, here, there, 60);

        lab.bob.connection(there).unwrap().close();
        lab.drive();
        assert!(
            lab.leaf_outputs
                .contains(&LeafOutput::Event(Event::ConnectionClosed(here)))
        );
        assert_eq!(lab.gateway.sessions(), 0);
        let stats = [lab.leaf.stats(), lab.gateway.stats()];
        assert!(
            stats
                .iter()
                .all(|stats| stats.garbage == 0 && stats.resends == 0)
        );
    }
}

#[test]
fn a_broker_gives_an_id() {
    let mut lab = Lab::new(None);
    lab.keys.ids.clear();
    lab.drive();
    assert_eq!(lab.trace, ["up", "retrieve", "open given"]);
    assert_eq!(lab.peer.state(), PeerState::Open);
}

#[test]
fn an_id_that_is_not_allowed_is_refused() {
    let mut lab = Lab::new(Some("mayor"));
    lab.drive();
    assert_eq!(lab.trace, ["up", "id refused mayor"]);
    assert_eq!(
        lab.leaf_outputs,
        [
            LeafOutput::Up,
            LeafOutput::Event(Event::Error(PeerError::ServerError)),
            LeafOutput::Event(Event::Disconnected),
            LeafOutput::Event(Event::Closed),
        ]
    );
    assert!(lab.peer.broker_message().unwrap().contains("gateway"));

    let mut lab = Lab::new(None);
    lab.keys.random_ids = false;
    lab.drive();
    assert_eq!(lab.trace, ["up"]);
    assert_eq!(lab.peer.state(), PeerState::Destroyed);
    assert_eq!(lab.gateway.stats().refused, 1);
}

#[test]
fn a_session_stays_up_while_nothing_happens() {
    let (mut lab, here, there) = Lab::connected();
    lab.wait(Duration::from_secs(600));
    assert_eq!(lab.leaf_outputs, []);
    talk(&mut lab, here, there, 3);
}

#[test]
fn more_sessions_than_there_is_room_for() {
    let mut lab = Lab::new(Some("sensor-7"));
    lab.gateway = crate::link::Gateway::new(
        crate::link::Timing::default(),
        [2; 32],
        leak(LinkResources::<1>::new()).slices(),
    )
    .unwrap();
    lab.drive();
    let first = lab.connect(ConnectOptions::default());
    let second = lab.connect(ConnectOptions::default());
    lab.drive();
    assert!(lab.peer.connection(first).unwrap().is_open());
    let failed = ConnectFailure {
        stage: Stage::Offer,
        reason: ConnectionError::Rtc(RtcFailure::Resources),
    };
    assert!(
        lab.leaf_outputs
            .contains(&LeafOutput::Event(Event::ConnectionFailed(second, failed)))
    );
}

/// Gateway sessions are free once they have ended, whatever the leaf says.
#[test]
fn a_session_that_ended_is_free_without_the_leaf() {
    let (mut lab, here, there) = Lab::connected();
    lab.bob
        .connection(there)
        .unwrap()
        .send("last words")
        .unwrap();
    lab.drive();
    lab.bob.connection(there).unwrap().close();
    lab.drive();
    assert_eq!(lab.gateway.sessions(), 0);
    assert_eq!(lab.trace.last().map(String::as_str), Some("close"));
    let closed = LeafOutput::Event(Event::ConnectionClosed(here));
    assert!(lab.leaf_outputs.contains(&closed));
    let mut connection = lab.peer.connection(here).unwrap();
    assert_eq!(connection.recv::<&str>(), Ok("last words"));
}

#[test]
fn the_smallest_memory_works() {
    let (mut lab, ..) = Lab::connected();
    let memory = leak(LinkResources::<1, 64, 1024, 2048>::new());
    let config = LeafConfig::new("greenhouse", [7; 32], [9; 32]);
    lab.leaf = Leaf::new(config, memory.slices()).unwrap();
    let memory: &'static mut crate::peer::PeerResources<1, 2048, 600, 1024> =
        leak(crate::peer::PeerResources::new());
    let mut config = crate::peer::Config::new([3; 32]);
    config.id = Some(crate::PeerId::new("sensor-7").unwrap());
    lab.peer = crate::peer::Peer::new(config, memory);
    lab.drive();
    let here = lab.connect(ConnectOptions {
        reliable: true,
        ..ConnectOptions::default()
    });
    lab.bob_events.clear();
    lab.drive();
    let there = lab.bob_events.iter().find_map(|event| match event {
        Event::Connection(there) => Some(*there),
        _ => None,
    });
    let there = there.unwrap();
    for _ in 0..50 {
        lab.peer
            .connection(here)
            .unwrap()
            .send(&*"y".repeat(300))
            .unwrap();
        lab.drive();
        assert_eq!(
            lab.bob
                .connection(there)
                .unwrap()
                .recv::<&str>()
                .unwrap()
                .len(),
            300
        );
        lab.bob
            .connection(there)
            .unwrap()
            .send(&*"z".repeat(700))
            .unwrap();
        lab.drive();
        assert_eq!(
            lab.peer
                .connection(here)
                .unwrap()
                .recv::<&str>()
                .unwrap()
                .len(),
            700
        );
    }
}
