//! How a link session ends, and what becomes of what was under way.

use std::{format, string::String, vec, vec::Vec};

use super::{
    lab::{Lab, engine, leak, new_gateway, new_leaf},
    vectors::violations,
};
use crate::{
    link::{
        GatewayOutput, Leaf, LeafConfig, LeafOutput, LinkError, LinkResources, Version,
        message::FromLeaf,
    },
    peer::{
        ConnectFailure, ConnectOptions, ConnectionError, ConnectionHandle, Event, Input, PeerError,
        PeerState, RtcFailure, RtcInput, Stage,
    },
    time::Duration,
};

/// What the application of a leaf hears when a session with one open connection is over.
fn end_of_all(reason: LinkError, here: ConnectionHandle) -> Vec<LeafOutput> {
    vec![
        LeafOutput::Down(reason),
        LeafOutput::Event(Event::Error(PeerError::Network)),
        LeafOutput::Event(Event::Disconnected),
        LeafOutput::Event(Event::ConnectionError(
            here,
            ConnectionError::Rtc(RtcFailure::Gateway),
        )),
        LeafOutput::Event(Event::ConnectionClosed(here)),
    ]
}

#[test]
fn a_gateway_that_starts_again_ends_all_and_lends_again() {
    let (mut lab, here, _) = Lab::connected();
    lab.gateway = new_gateway(3);
    lab.wait(Duration::from_secs(3));
    let mut expected = end_of_all(LinkError::Restarted, here);
    expected.push(LeafOutput::Up);
    // The engine reconnects by itself.
    expected.push(LeafOutput::Event(Event::Open));
    assert_eq!(lab.leaf_outputs, expected);
    assert_eq!(lab.trace, ["up", "open sensor-7"]);
    assert_eq!(lab.peer.state(), PeerState::Open);
}

#[test]
fn a_leaf_that_starts_again_leaves_nothing_behind() {
    let (mut lab, ..) = Lab::connected();
    lab.leaf = new_leaf(7, 4);
    lab.peer = engine(Some("sensor-7"));
    lab.drive();
    assert_eq!(
        lab.trace,
        [
            "close",
            "close socket",
            "down Restarted",
            "up",
            "open sensor-7"
        ]
    );
    assert_eq!(
        lab.leaf_outputs,
        [LeafOutput::Up, LeafOutput::Event(Event::Open)]
    );
    assert_eq!(lab.gateway.sessions(), 0);
}

#[test]
fn silence_ends_a_session_at_both_ends() {
    let (mut lab, here, _) = Lab::connected();
    lab.cut = true;
    lab.wait(Duration::from_secs(6));
    assert!(lab.leaf.is_up() && lab.gateway.is_up());
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.leaf_outputs, end_of_all(LinkError::Silent, here));
    assert!(lab.peer.connection(here).is_none(), "its slot is free");
    assert_eq!(lab.trace, ["close", "close socket", "down Silent"]);

    lab.cut = false;
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.peer.state(), PeerState::Open);
    assert_eq!(lab.trace[3..], ["up", "open sensor-7"]);
}

#[test]
fn a_connect_under_way_fails_with_the_link() {
    let (mut lab, ..) = Lab::connected();
    lab.gateway_works = false;
    let handle = lab.connect(ConnectOptions::default());
    lab.drive();
    lab.leaf.disconnected();
    lab.gateway = new_gateway(3);
    lab.drive();
    let failed = ConnectFailure {
        stage: Stage::Offer,
        reason: ConnectionError::Rtc(RtcFailure::Gateway),
    };
    assert!(
        lab.leaf_outputs
            .contains(&LeafOutput::Event(Event::ConnectionFailed(handle, failed)))
    );
}

/// What the leaf acknowledged its application reads, whatever else was on its way when the link
/// session ended.
#[test]
fn acknowledged_data_outlives_the_link() {
    let (mut lab, here, there) = Lab::connected();
    let mut sent = 0;
    let text = "x".repeat(300);
    while lab.bob.connection(there).unwrap().send(&text).is_ok() {
        sent += 1;
        if sent == 5 {
            break;
        }
    }
    // Many signals before it: more than the engine has room for.
    for n in 0..12 {
        let signal = format!(
            r#"{{"type":"OFFER","src":"s-{n}","payload":{{"connectionId":"dc_{n}","label":"{}"}}}}"#,
            "y".repeat(100)
        );
        let message = std::vec![
            2,
            0x80 | (signal.len() & 0x7f) as u8,
            (signal.len() >> 7) as u8
        ];
        lab.gateway
            .inject(&[&message[..], signal.as_bytes()].concat());
    }
    lab.drive();
    lab.leaf.disconnected();
    lab.drive();
    let mut got = 0;
    while let Ok(read) = lab.peer.connection(here).unwrap().recv::<&str>() {
        assert_eq!(read, text);
        got += 1;
    }
    assert_eq!(got, sent);
}

/// The application hears of each link session that ends, also of one that was over at once.
#[test]
fn a_link_session_that_is_over_at_once_is_told() {
    let mut lab = Lab::new(Some("sensor-7"));
    let mut wire = [0; 256];
    let _ = lab.leaf.poll(lab.now, &mut lab.peer);
    while !lab.leaf.is_up() {
        let len = lab.leaf.transmit(lab.now, &mut wire);
        lab.gateway.receive(lab.now, &wire[..len], &lab.keys);
        let _ = lab.gateway.poll_output(lab.now, &lab.keys);
        let len = lab.gateway.transmit(lab.now, &mut wire);
        lab.leaf.receive(lab.now, &wire[..len], &mut lab.peer);
        if !lab.leaf.is_up() {
            let _ = lab.leaf.poll(lab.now, &mut lab.peer);
        }
    }
    lab.leaf.disconnected();
    let said = lab.leaf.poll(lab.now, &mut lab.peer);
    assert_eq!(said, LeafOutput::Down(LinkError::Closed));
    lab.wait(Duration::from_secs(3));
    assert_eq!(
        lab.leaf_outputs,
        [LeafOutput::Up, LeafOutput::Event(Event::Open)],
        "the engine never knew"
    );
}

/// A message that cannot be read ends the link session, but not one that is over already.
#[test]
fn nonsense_before_the_end_is_told_once() {
    let (mut lab, here, _) = Lab::connected();
    lab.gateway.inject(&[99, 1]);
    let mut wire = [0; 256];
    let len = lab.gateway.transmit(lab.now, &mut wire);
    lab.leaf.receive(lab.now, &wire[..len], &mut lab.peer);
    lab.leaf.disconnected();
    lab.cut = true;
    lab.drive();
    assert_eq!(lab.leaf_outputs, end_of_all(LinkError::Closed, here));
}

#[test]
fn an_id_request_lost_with_the_link_is_asked_again() {
    let mut lab = Lab::new(None);
    lab.keys.ids.clear();
    // The request comes to a gateway that does nothing with it.
    lab.gateway_works = false;
    lab.wait(Duration::from_secs(1));
    assert!(lab.leaf.is_up());
    lab.gateway = new_gateway(3);
    lab.gateway_works = true;
    lab.wait(Duration::from_secs(10));
    assert_eq!(lab.trace[..3], ["up", "retrieve", "open given"]);
    assert_eq!(lab.peer.state(), PeerState::Open);
}

#[test]
fn an_application_may_reconnect_by_itself() {
    let mut lab = Lab::new(Some("sensor-7"));
    let mut config = LeafConfig::new("greenhouse", [7; 32], [1; 32]);
    config.reconnect = false;
    let memory = leak(LinkResources::<3>::new());
    lab.leaf = Leaf::new(config, memory.slices()).unwrap();
    lab.drive();
    lab.gateway = new_gateway(3);
    lab.wait(Duration::from_secs(10));
    assert!(lab.leaf.is_up());
    assert_eq!(lab.peer.state(), PeerState::Disconnected);
    // And one that disconnected on purpose stays so.
    let mut lab = Lab::new(Some("sensor-7"));
    lab.drive();
    lab.peer.disconnect(lab.now);
    lab.drive();
    lab.gateway = new_gateway(3);
    lab.wait(Duration::from_secs(10));
    assert!(lab.leaf.is_up());
    assert_eq!(lab.peer.state(), PeerState::Disconnected);
}

/// While the link is down the deadline of a connect passes, and that of an open does not begin.
#[test]
fn deadlines_while_there_is_no_link() {
    let (mut lab, ..) = Lab::connected();
    let handle = lab.connect(ConnectOptions::default());
    lab.cut = true;
    lab.wait(Duration::from_secs(60));
    assert!(!lab.leaf.is_up());
    let failed = |output: &LeafOutput| match output {
        LeafOutput::Event(Event::ConnectionFailed(failed, _)) => *failed == handle,
        _ => false,
    };
    assert_eq!(
        lab.leaf_outputs
            .iter()
            .filter(|output| failed(output))
            .count(),
        1
    );
    lab.peer.reconnect(lab.now).unwrap();
    lab.leaf_outputs.clear();
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.leaf_outputs, []);
    lab.cut = false;
    lab.wait(Duration::from_secs(3));
    assert_eq!(
        lab.leaf_outputs,
        [LeafOutput::Up, LeafOutput::Event(Event::Open)]
    );
}

/// Whoever breaks the rules of version 2 ends the session, not the gateway.
#[test]
fn violations_end_the_session() {
    for (bytes, why) in violations(Version::Two) {
        let (mut lab, ..) = Lab::connected();
        // The session that the vectors speak of.
        let handle = ConnectionHandle::from_bits(7);
        let offer = FromLeaf::CreateOffer(7, true, "dc");
        let mut wire = [0; 256];
        lab.leaf
            .inject(postcard::to_slice(&offer, &mut [0; 32]).unwrap());
        let len = lab.leaf.transmit(lab.now, &mut wire);
        lab.gateway.receive(lab.now, &wire[..len], &lab.keys);
        let said = lab.gateway.poll_output(lab.now, &lab.keys);
        assert!(matches!(said, GatewayOutput::Rtc(made, _) if made == handle));
        lab.gateway
            .handle_input(&Input::Rtc(handle, RtcInput::ChannelOpened))
            .unwrap();
        let mut poll = |bytes: &[u8]| {
            lab.gateway.receive(lab.now, bytes, &lab.keys);
            format!("{:?}", lab.gateway.poll_output(lab.now, &lab.keys))
        };
        assert!(poll(&[]).starts_with("Timeout"), "{why}: it grants credit");
        let (end, rest) = bytes.split_last().unwrap();
        let said = poll(rest);
        assert!(
            said.starts_with("Rtc") || said.starts_with("Timeout"),
            "{why}: {said}"
        );
        let said: Vec<String> = [&[*end][..], &[], &[], &[]].map(poll).to_vec();
        let down = said.iter().find(|said| said.starts_with("Down"));
        assert_eq!(
            down.map(String::as_str),
            Some("Down(Violation)"),
            "{why}: {said:?}"
        );
    }
}
