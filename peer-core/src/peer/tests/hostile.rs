//! Signals that are early, late, doubled, forged or broken.

use std::{format, string::String};

use super::lab::Lab;
use crate::peer::*;

fn offer(src: &str, id: &str, rest: &str) -> String {
    format!(
        r#"{{"type":"OFFER","src":"{src}","dst":"alice","payload":{{"type":"data","sdp":{{"type":"offer","sdp":"of {src} {id}"}},"connectionId":"{id}","serialization":"binary"{rest}}}}}"#
    )
}

fn answer(src: &str, id: &str) -> String {
    format!(
        r#"{{"type":"ANSWER","src":"{src}","dst":"alice","payload":{{"type":"data","sdp":{{"type":"answer","sdp":"of {src}"}},"connectionId":"{id}"}}}}"#
    )
}

fn candidate(src: &str, id: &str, candidate: &str) -> String {
    format!(
        r#"{{"type":"CANDIDATE","src":"{src}","dst":"alice","payload":{{"type":"data","candidate":{{"candidate":"{candidate}","sdpMid":"0","sdpMLineIndex":0}},"connectionId":"{id}"}}}}"#
    )
}

#[test]
fn early_candidates_wait_for_their_offer() {
    let mut lab = Lab::open(&[Some("alice")]);
    lab.signal(0, &candidate("bob", "dc_1", "candidate:1"))
        .unwrap();
    lab.signal(0, &candidate("bob", "dc_1", "candidate:2"))
        .unwrap();
    lab.signal(0, &candidate("eve", "dc_1", "candidate:forged"))
        .unwrap();
    lab.drive();
    assert_eq!(lab.take_trace(0), [""; 0]);
    lab.signal(0, &offer("bob", "dc_1", "")).unwrap();
    lab.signal(0, &candidate("bob", "dc_1", "candidate:3"))
        .unwrap();
    lab.drive();
    assert_eq!(
        lab.take_trace(0),
        [
            "accept of bob dc_1",
            "add candidate:3",
            "add candidate:1",
            "add candidate:2"
        ]
    );
}

#[test]
fn candidates_for_a_connection_that_was_not_offered_yet_are_dropped() {
    let mut lab = Lab::open(&[Some("alice")]);
    let handle = lab.connect(0, "bob", ConnectOptions::default());
    let connection = lab.nodes[0].peer.connection(handle).unwrap();
    let guessed = candidate("bob", connection.connection_id(), "candidate:1");
    assert_eq!(lab.signal(0, &guessed), Err(InputError::Malformed));
    lab.drive();
    let trace = lab.take_trace(0);
    assert!(trace[0].starts_with("create offer"), "{trace:?}");
    assert!(
        !trace.iter().any(|line| line.starts_with("add")),
        "{trace:?}"
    );
}

#[test]
fn local_candidates_wait_for_the_answer() {
    let mut lab = Lab::open(&[Some("alice")]);
    lab.signal(0, &offer("bob", "dc_1", "")).unwrap();
    lab.drive();
    let Event::Connection(handle) = lab.take_events(0)[0] else {
        panic!()
    };
    lab.rtc(0, handle, RtcInput::LocalCandidate("candidate:1"))
        .unwrap();
    lab.rtc(0, handle, RtcInput::LocalCandidate("candidate:2"))
        .unwrap();
    lab.drive();
    lab.rtc(0, handle, RtcInput::LocalDescription("mine"))
        .unwrap();
    lab.rtc(0, handle, RtcInput::LocalCandidate("")).unwrap();
    assert_eq!(
        lab.rtc(0, handle, RtcInput::LocalDescription("mine")),
        Err(InputError::Stale),
        "one is enough"
    );
    lab.drive();
    assert_eq!(
        lab.take_trace(0),
        ["accept of bob dc_1", "ANSWER", "CANDIDATE", "CANDIDATE"]
    );
    assert!(lab.nodes[0].sent[1].contains("candidate:1"));
    assert!(lab.nodes[0].sent[2].contains("candidate:2"));
}

#[test]
fn only_the_first_answer_of_the_right_peer_counts() {
    let mut lab = Lab::open(&[Some("alice")]);
    let here = lab.connect(0, "bob", ConnectOptions::default());
    lab.drive();
    let id = String::from(lab.nodes[0].peer.connection(here).unwrap().connection_id());
    lab.take_trace(0);
    assert_eq!(
        lab.signal(0, &answer("eve", &id)),
        Err(InputError::Malformed)
    );
    lab.signal(0, &answer("bob", &id)).unwrap();
    assert_eq!(
        lab.signal(0, &answer("bob", &id)),
        Err(InputError::Malformed)
    );
    assert_eq!(
        lab.signal(0, &answer("bob", "dc_unknown")),
        Err(InputError::Malformed)
    );
    lab.drive();
    assert_eq!(lab.take_trace(0), ["apply of bob"]);
    assert_eq!(lab.nodes[0].peer.stats().malformed_signals, 3);
}

#[test]
fn a_stranger_cannot_touch_a_connection_whose_id_it_knows() {
    let (mut lab, here, _) = Lab::connected(ConnectOptions::default());
    let id = String::from(lab.nodes[0].peer.connection(here).unwrap().connection_id());
    let _ = lab.signal(0, &answer("eve", &id));
    lab.signal(0, &candidate("eve", &id, "candidate:6"))
        .unwrap();
    lab.signal(0, r#"{"type":"LEAVE","src":"eve","dst":"alice"}"#)
        .unwrap();
    lab.signal(0, r#"{"type":"EXPIRE","src":"eve","dst":"alice"}"#)
        .unwrap();
    lab.signal(0, &offer("eve", &id, "")).unwrap();
    lab.poll(0);
    let trace = lab.take_trace(0);
    assert_eq!(
        trace,
        [&*format!("accept of eve {id}"), "add candidate:6"],
        "a connection of its own, no more"
    );
    assert!(lab.nodes[0].peer.connection(here).unwrap().is_open());
}

#[test]
fn an_offer_for_a_connection_that_exists_replaces_it() {
    let (mut lab, _, there) = Lab::connected(ConnectOptions::default());
    let id = String::from(lab.nodes[1].peer.connection(there).unwrap().connection_id());
    lab.signal(1, &offer("alice", &id, "")).unwrap();
    lab.poll(1);
    let events = lab.take_events(1);
    assert_eq!(events[0], Event::ConnectionClosed(there));
    let Event::Connection(new) = events[1] else {
        panic!("{events:?}")
    };
    assert_ne!(new, there);
    assert_eq!(
        lab.take_trace(1),
        [&*format!("accept of alice {id}"), "close"]
    );
}

#[test]
fn offers_that_cannot_be_answered_are_dropped_and_counted() {
    let mut lab = Lab::open(&[Some("alice")]);
    let long = "x".repeat(crate::config::LABEL_MAX + 1);
    for bad in [
        // From ourselves, of an unknown serialization, of none.
        offer("alice", "dc_1", ""),
        offer("bob", "dc_1", r#","serialization":"MsgPack""#),
        offer("bob", "dc_1", r#","serialization":null"#),
        offer("bob", &"x".repeat(crate::config::CONNECTION_ID_MAX + 1), ""),
        offer(&"x".repeat(crate::config::PEER_ID_MAX + 1), "dc_1", ""),
        offer("bob", "dc_1", &format!(r#","label":"{long}""#)),
        offer("bob", "dc_1", r#","sdp":7"#),
        offer("bob", "dc_1", r#","type":"smell""#),
        String::from("{"),
        String::from("null"),
        String::from(r#"{"type":"DANCE","src":"bob"}"#),
        String::new(),
    ] {
        assert_eq!(lab.signal(0, &bad), Err(InputError::Malformed), "{bad}");
    }
    lab.drive();
    assert_eq!(lab.take_events(0), []);
    assert_eq!(lab.nodes[0].peer.stats().malformed_signals, 12);

    lab.signal(0, &offer("bob", "mc_1", r#","type":"media""#))
        .unwrap();
    lab.drive();
    assert_eq!(
        (lab.take_events(0), lab.nodes[0].peer.stats().media_offers),
        (std::vec![], 1)
    );
}

#[test]
fn an_offer_without_an_id_is_answered_with_an_invented_one() {
    let mut lab = Lab::open(&[Some("alice")]);
    let text = offer("bob", "", "").replace(r#""connectionId":"","#, "");
    lab.signal(0, &text).unwrap();
    lab.drive();
    let Event::Connection(handle) = lab.take_events(0)[0] else {
        panic!()
    };
    let id = String::from(
        lab.nodes[0]
            .peer
            .connection(handle)
            .unwrap()
            .connection_id(),
    );
    assert!(id.starts_with("dc_"));
    lab.rtc(0, handle, RtcInput::LocalDescription("mine"))
        .unwrap();
    lab.drive();
    assert!(lab.nodes[0].sent[0].contains(&id));
    assert_eq!(lab.nodes[0].peer.connection(handle).unwrap().label(), id);
}

#[test]
fn metadata_that_does_not_fit_is_left_out() {
    let mut lab = Lab::open(&[Some("alice")]);
    let long = format!(r#","metadata":"{}""#, "m".repeat(300));
    lab.signal(0, &offer("bob", "dc_1", &long)).unwrap();
    lab.drive();
    let Event::Connection(handle) = lab.take_events(0)[0] else {
        panic!()
    };
    let connection = lab.nodes[0].peer.connection(handle).unwrap();
    assert_eq!(
        (connection.metadata(), connection.metadata_too_long()),
        (None, true)
    );
}

#[test]
fn a_full_table_drops_offers_and_lives_on() {
    let mut lab = Lab::open(&[Some("alice")]);
    for n in 0..10 {
        let text = offer(&format!("bob{n}"), &format!("dc_{n}"), "");
        lab.signal(0, &text).unwrap();
        lab.drive();
        let Some(&Event::Connection(handle)) = lab.take_events(0).first() else {
            assert!(n >= 3);
            continue;
        };
        // One that is open gives way to nobody.
        for input in [RtcInput::LocalDescription("mine"), RtcInput::ChannelOpened] {
            lab.rtc(0, handle, input).unwrap();
        }
        lab.drive();
        assert_eq!(lab.take_events(0), [Event::ConnectionOpen(handle)]);
    }
    assert_eq!(lab.nodes[0].peer.stats().dropped_signals, 7);
    lab.signal(0, r#"{"type":"LEAVE","src":"bob1"}"#).unwrap();
    lab.drive();
    assert!(matches!(
        lab.take_events(0)[..],
        [Event::ConnectionClosed(_)]
    ));
    lab.signal(0, &offer("bob", "dc_new", "")).unwrap();
    lab.drive();
    assert!(matches!(lab.take_events(0)[..], [Event::Connection(_)]));
}

#[test]
fn an_offer_that_hides_what_it_replaces_costs_nobody_a_place() {
    let mut lab = Lab::open(&[Some("alice")]);
    for (src, id) in [("bob", "dc_1"), ("eve", "dc_2"), ("eve", "dc_3")] {
        lab.signal(0, &offer(src, id, "")).unwrap();
    }
    lab.drive();
    let taken = lab.take_events(0);
    // The parser reads the key; what looks before it does not.
    let text = offer("bob", "dc_1", "").replace("connectionId", "connectionI\\u0064");
    lab.signal(0, &text).unwrap();
    lab.drive();
    let Event::Connection(replaced) = taken[0] else {
        panic!("{taken:?}")
    };
    let ended =
        |event: &Event| matches!(event, Event::ConnectionFailed(handle, _) if *handle != replaced);
    assert!(!lab.take_events(0).iter().any(ended));
}

#[test]
fn a_slot_that_only_waits_to_be_polled_is_worth_a_second_try() {
    let mut lab = Lab::open(&[Some("alice")]);
    for n in 0..3 {
        lab.signal(0, &offer(&format!("bob{n}"), &format!("dc_{n}"), ""))
            .unwrap();
    }
    lab.drive();
    lab.signal(0, r#"{"type":"LEAVE","src":"bob0"}"#).unwrap();
    let text = offer("carol", "dc_1", "");
    assert_eq!(lab.signal(0, &text), Err(InputError::Full));
    lab.drive();
    assert_eq!(lab.signal(0, &text), Ok(()));
}

#[test]
fn a_full_ring_changes_nothing() {
    let mut lab = Lab::open(&[Some("alice")]);
    lab.signal(0, &offer("bob", "dc_1", "")).unwrap();
    let mut taken = 0;
    let full = loop {
        let text = candidate("bob", "dc_1", &format!("candidate:{taken:0>200}"));
        match lab.signal(0, &text) {
            Ok(()) => taken += 1,
            Err(error) => break (error, text),
        }
        assert!(taken < 100);
    };
    assert_eq!(full.0, InputError::Full);
    lab.drive();
    assert_eq!(lab.signal(0, &full.1), Ok(()));
    lab.drive();
    assert_eq!(lab.take_trace(0).len(), 1 + taken + 1);
    assert_eq!(lab.nodes[0].peer.stats().dropped_signals, 0);

    // The other way: signals for a broker that takes none.
    let Event::Connection(handle) = lab.take_events(0)[0] else {
        panic!()
    };
    lab.rtc(0, handle, RtcInput::LocalDescription("mine"))
        .unwrap();
    let mut taken = 0;
    while lab.rtc(0, handle, RtcInput::LocalCandidate("candidate:0")) == Ok(()) {
        taken += 1;
        assert!(taken < 100);
    }
    lab.nodes[0].peer.disconnect(lab.now);
    assert_eq!(
        lab.rtc(0, handle, RtcInput::LocalCandidate("candidate:0")),
        Ok(())
    );
    assert_eq!(
        lab.nodes[0].peer.stats().dropped_signals,
        1,
        "polling would not help"
    );
    lab.nodes[0].peer.reconnect(lab.now).unwrap();
    lab.drive();
    assert_eq!(
        lab.nodes[0].sent.len(),
        1 + taken,
        "kept for the next socket"
    );
}

#[test]
fn descriptions_beyond_the_memory_end_their_connection() {
    let mut lab = Lab::open(&[Some("alice")]);
    let here = lab.connect(0, "bob", ConnectOptions::default());
    lab.poll(0);
    lab.rtc(0, here, RtcInput::LocalDescription(&"v".repeat(1600)))
        .unwrap();
    lab.poll(0);
    assert!(matches!(
        lab.take_events(0)[..],
        [Event::ConnectionFailed(
            _,
            ConnectFailure {
                stage: Stage::Offer,
                reason: ConnectionError::Rtc(RtcFailure::Resources)
            }
        )]
    ));
}
