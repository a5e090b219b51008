//! The life of a peer and its connections, as packet traces.

use std::{format, string::ToString, vec::Vec};

use super::lab::Lab;
use crate::{PeerId, peer::*, serialization::Serialization, time::Duration};

const DAY: Duration = Duration::from_secs(86_400);

fn failure(stage: Stage, reason: FailureReason) -> ConnectFailure {
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
    assert_eq!(connection.connection_id().as_str(), id);
    assert_eq!(connection.metadata(), Some(r#"{"k":[1,2]}"#));
    assert_eq!(connection.serialization(), Serialization::Json);
    assert!(connection.is_incoming() && connection.is_open() && !connection.reliable());
    assert_eq!(lab.nodes[0].peer.stats(), Stats::default());
    assert_eq!(lab.nodes[1].peer.stats(), Stats::default());
}
