//! Signalling recorded between PeerJS 1.5.5 in Chromium and npm `peer`, replayed against the engine
//! in either role.

use std::{format, fs, string::String, vec::Vec};

use serde_json::Value;

use super::lab::Lab;
use crate::{peer::*, serialization::Serialization};

/// One side's recorded messages, sent or received.
fn messages(exchange: &Value, side: &str, kind: &str) -> Vec<String> {
    let frames = exchange[side].as_array().unwrap();
    frames
        .iter()
        .filter(|frame| frame["kind"] == kind)
        .map(|frame| frame["data"].as_str().unwrap().into())
        .filter(|text: &String| !text.contains(r#""type":"OPEN""#))
        .collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn sdp(message: &str) -> String {
    json(message)["payload"]["sdp"]["sdp"]
        .as_str()
        .unwrap()
        .into()
}

fn candidate(message: &str) -> String {
    json(message)["payload"]["candidate"]["candidate"]
        .as_str()
        .unwrap()
        .into()
}

/// The recorded message as we write it: the user name fragment is in the candidate line already.
fn without_fragment(message: &str) -> Value {
    let mut message = json(message);
    message["payload"]["candidate"]
        .as_object_mut()
        .unwrap()
        .remove("usernameFragment");
    message
}

fn exchanges() -> Vec<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/signalling_vectors.json"
    );
    let vectors = json(&fs::read_to_string(path).unwrap());
    let exchanges = vectors["exchanges"].as_array().unwrap().clone();
    assert_eq!(exchanges.len(), 6);
    exchanges
}

/// Feeds our side what its session would say, and compares what goes out with what PeerJS sent.
fn speak(lab: &mut Lab, handle: ConnectionHandle, recorded: &[String]) {
    lab.rtc(0, handle, RtcInput::LocalDescription(&sdp(&recorded[0])))
        .unwrap();
    for message in &recorded[1..] {
        lab.rtc(0, handle, RtcInput::LocalCandidate(&candidate(message)))
            .unwrap();
    }
    lab.drive();
    assert_eq!(lab.nodes[0].sent.len(), recorded.len());
    assert_eq!(lab.nodes[0].sent[0], recorded[0], "byte for byte");
    for (ours, theirs) in lab.nodes[0].sent.iter().zip(recorded).skip(1) {
        assert_eq!(json(ours), without_fragment(theirs));
    }
}

#[test]
fn answers_a_browser() {
    for exchange in exchanges() {
        let mut lab = Lab::open(&[Some("bob")]);
        let received = messages(&exchange, "answerer_ws", "ws.recv");
        for message in &received {
            lab.signal(0, message).unwrap();
        }
        lab.drive();
        let trace = lab.take_trace(0);
        assert_eq!(trace[0], format!("accept {}", sdp(&received[0])));
        for (ours, theirs) in trace[1..].iter().zip(&received[1..]) {
            assert_eq!(*ours, format!("add {}", candidate(theirs)));
        }
        let Event::Connection(handle) = lab.take_events(0)[0] else {
            panic!()
        };
        let connection = lab.nodes[0].peer.connection(handle).unwrap();
        let options = &exchange["connect_options"];
        assert_eq!(
            connection.metadata().map(json).as_ref(),
            Some(&options["metadata"])
        );
        assert_eq!(connection.reliable(), options["reliable"] == true);
        let name = options["serialization"].as_str().unwrap_or("binary");
        assert_eq!(
            Some(connection.serialization()),
            Serialization::from_wire(name)
        );
        let label = options["label"]
            .as_str()
            .unwrap_or(connection.connection_id());
        assert_eq!(connection.label(), label);
        speak(
            &mut lab,
            handle,
            &messages(&exchange, "answerer_ws", "ws.sent"),
        );
        assert_eq!(lab.nodes[0].peer.stats(), Stats::default());
    }
}

#[test]
fn offers_to_a_browser() {
    for exchange in exchanges() {
        let mut lab = Lab::open(&[Some("alice")]);
        let options = &exchange["connect_options"];
        let metadata = serde_json::to_string(&options["metadata"]).unwrap();
        let name = options["serialization"].as_str().unwrap_or("default");
        let handle = lab.connect(
            0,
            "bob",
            ConnectOptions {
                label: options["label"].as_str(),
                metadata: Some(&metadata),
                reliable: options["reliable"] == true,
                serialization: Serialization::from_wire(name).unwrap(),
            },
        );
        lab.poll(0);
        lab.take_trace(0);

        // Ours instead of PeerJS's random id.
        let sent = messages(&exchange, "offerer_ws", "ws.sent");
        let theirs = String::from(json(&sent[0])["payload"]["connectionId"].as_str().unwrap());
        let ours = String::from(
            lab.nodes[0]
                .peer
                .connection(handle)
                .unwrap()
                .connection_id(),
        );
        let sent: Vec<_> = sent
            .iter()
            .map(|text| text.replace(&theirs, &ours))
            .collect();
        lab.speak_alone();
        speak(&mut lab, handle, &sent);
        lab.take_trace(0);

        let received = messages(&exchange, "offerer_ws", "ws.recv");
        for message in &received {
            lab.signal(0, &message.replace(&theirs, &ours)).unwrap();
        }
        lab.drive();
        let trace = lab.take_trace(0);
        assert_eq!(trace[0], format!("apply {}", sdp(&received[0])));
        for (ours, theirs) in trace[1..].iter().zip(&received[1..]) {
            assert_eq!(*ours, format!("add {}", candidate(theirs)));
        }
        assert_eq!(trace.len(), received.len());
        assert_eq!(lab.nodes[0].peer.stats(), Stats::default());
    }
}
