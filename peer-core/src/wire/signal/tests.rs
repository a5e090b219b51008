extern crate std;

use std::{
    fs,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// The text of every WebSocket frame of this kind (`ws.sent`, `ws.recv`) in the recorded exchanges.
fn frames(kind: &str) -> Vec<String> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/signalling_vectors.json"
    );
    let vectors: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    for exchange in vectors["exchanges"].as_array().unwrap() {
        for side in ["offerer_ws", "answerer_ws"] {
            for entry in exchange[side].as_array().unwrap() {
                if entry["kind"] == kind {
                    frames.push(String::from(entry["data"].as_str().unwrap()));
                }
            }
        }
    }
    assert!(frames.len() > 30, "{}", frames.len());
    frames
}

fn parse(text: &str) -> Result<String, SignalError> {
    let mut text = Vec::from(text);
    Signal::parse(&mut text).map(|message| std::format!("{message:?}"))
}

#[test]
fn every_recorded_frame_is_parsed() {
    for frame in frames("ws.recv") {
        let value: Value = serde_json::from_str(&frame).unwrap();
        let payload = &value["payload"];
        let mut text = frame.clone().into_bytes();
        match Signal::parse(&mut text).unwrap() {
            Signal::Open => assert_eq!(value["type"], "OPEN"),
            Signal::Offer { src, offer } => {
                assert_eq!(
                    (&value["type"], &value["src"]),
                    (&"OFFER".into(), &src.into())
                );
                assert_eq!(payload["sdp"]["sdp"], offer.sdp);
                assert_eq!(payload["connectionId"], offer.connection_id.unwrap());
                assert_eq!(payload["metadata"].to_string(), offer.metadata.unwrap());
                assert_eq!(payload["label"], offer.label.unwrap());
                assert_eq!(payload["reliable"], offer.reliable);
                assert_eq!(payload["serialization"], offer.serialization.unwrap());
            }
            Signal::Answer { src, answer } => {
                assert_eq!(
                    (&value["type"], &value["src"]),
                    (&"ANSWER".into(), &src.into())
                );
                assert_eq!(payload["sdp"]["sdp"], answer.sdp);
                assert_eq!(payload["connectionId"], answer.connection_id);
            }
            Signal::Candidate {
                src,
                connection_id,
                candidate,
            } => {
                let candidate = candidate.unwrap();
                assert_eq!(
                    (&value["type"], &value["src"]),
                    (&"CANDIDATE".into(), &src.into())
                );
                assert_eq!(payload["connectionId"], connection_id);
                assert_eq!(payload["candidate"]["candidate"], candidate.candidate);
                assert_eq!(candidate.sdp_mid, Some("0"));
                assert_eq!(candidate.sdp_m_line_index, Some(0));
                assert_eq!(
                    payload["candidate"]["usernameFragment"],
                    candidate.username_fragment.unwrap()
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_recorded_frame_is_written_byte_for_byte() {
    for frame in frames("ws.sent") {
        let dst: Value = serde_json::from_str(&frame).unwrap();
        let dst = dst["dst"].as_str().unwrap();
        // The server adds the source; only then is it a message for a client.
        let mut text = frame.replacen('{', r#"{"src":"me","#, 1).into_bytes();
        let mut buffer = vec![0; frame.len()];
        let written = match Signal::parse(&mut text).unwrap() {
            Signal::Offer { offer, .. } => write_offer(dst, &offer, &mut buffer),
            Signal::Answer { answer, .. } => write_answer(dst, &answer, &mut buffer),
            Signal::Candidate {
                connection_id,
                candidate,
                ..
            } => write_candidate(dst, connection_id, &candidate.unwrap(), &mut buffer),
            other => panic!("{other:?}"),
        };
        assert_eq!(written, Ok(frame.as_str()));
    }
}

#[test]
fn a_buffer_too_small_by_one_byte_is_full() {
    let offer = Offer {
        metadata: Some("{}"),
        ..Offer::default()
    };
    let mut buffer = [0; 256];
    let len = write_offer("bob", &offer, &mut buffer).unwrap().len();
    let error = write_offer("bob", &offer, &mut buffer[..len - 1]);
    assert_eq!(error, Err(crate::wire::json::EncodeError::BufferTooSmall));
}

#[test]
fn the_broker_speaks() {
    for (text, message) in [
        (r#"{"type":"OPEN"}"#, Signal::Open),
        (r#"{"type":"HEARTBEAT"}"#, Signal::Heartbeat),
        (
            r#"{"type":"ERROR","payload":{"msg":"a\"b"}}"#,
            Signal::Error { msg: "a\"b" },
        ),
        (r#"{"type":"ERROR"}"#, Signal::Error { msg: "" }),
        (
            r#"{"type":"ERROR","payload":"text"}"#,
            Signal::Error { msg: "" },
        ),
        (
            r#"{"payload":{"msg":"ID is taken"},"type":"ID-TAKEN"}"#,
            Signal::IdTaken { msg: "ID is taken" },
        ),
        (
            r#"{"type":"INVALID-KEY","payload":{}}"#,
            Signal::InvalidKey { msg: "" },
        ),
        (
            r#"{"type":"LEAVE","src":"x","dst":"me"}"#,
            Signal::Leave { src: "x" },
        ),
        (
            r#"{"type":"EXPIRE","src":"x","dst":"me"}"#,
            Signal::Expire { src: "x" },
        ),
    ] {
        let mut text = Vec::from(text);
        assert_eq!(Signal::parse(&mut text), Ok(message));
    }
}

#[test]
fn an_offer_may_lack_much_and_hold_more() {
    let mut text = Vec::from(concat!(
        r#"{"payload":{"browser":"Chrome","sdp":{"type":"offer","sdp":"v=0\r\n","x":[{}]},"#,
        r#""reliable":1,"label":5,"metadata":{"a":"\u00e9\n"} ,"type":"data"},"#,
        r#""src":"x","type":"OFFER"}"#,
    ));
    let offer = Offer {
        sdp: "v=0\r\n",
        connection_id: None,
        metadata: Some(r#"{"a":"\u00e9\n"}"#),
        label: None,
        reliable: true,
        serialization: None,
    };
    assert_eq!(
        Signal::parse(&mut text),
        Ok(Signal::Offer { src: "x", offer })
    );
    // A plain string as the description.
    let mut text = Vec::from(r#"{"type":"OFFER","src":"x","payload":{"type":"data","sdp":"v=0"}}"#);
    let offer = Offer {
        sdp: "v=0",
        ..Offer::default()
    };
    assert_eq!(
        Signal::parse(&mut text),
        Ok(Signal::Offer { src: "x", offer })
    );
}

#[test]
fn media_is_told_apart() {
    for kind in ["OFFER", "ANSWER", "CANDIDATE"] {
        let mut text = std::format!(
            r#"{{"type":"{kind}","src":"x","payload":{{"type":"media","connectionId":"mc_1"}}}}"#
        )
        .into_bytes();
        assert_eq!(
            Signal::parse(&mut text),
            Ok(Signal::Media {
                src: "x",
                connection_id: Some("mc_1")
            })
        );
    }
}

#[test]
fn empty_candidates_are_ignored() {
    for candidate in [
        "null",
        r#""""#,
        "{}",
        r#"{"candidate":""}"#,
        r#"{"candidate":null}"#,
    ] {
        let mut text = std::format!(
            r#"{{"type":"CANDIDATE","src":"x","payload":{{"candidate":{candidate},"connectionId":"c"}}}}"#
        )
        .into_bytes();
        assert_eq!(
            Signal::parse(&mut text),
            Ok(Signal::Candidate {
                src: "x",
                connection_id: "c",
                candidate: None
            })
        );
    }
}

#[test]
fn errors_say_what_is_missing() {
    let deep = "[".repeat(1000);
    for (text, error) in [
        ("", SignalError::Json(DecodeError::Truncated)),
        ("null", SignalError::Json(DecodeError::Type)),
        ("[]", SignalError::Json(DecodeError::Type)),
        ("{} x", SignalError::Json(DecodeError::Trailing)),
        (deep.as_str(), SignalError::Json(DecodeError::Type)),
        ("{}", SignalError::Type),
        (r#"{"type":"open"}"#, SignalError::Type),
        (r#"{"type":"LEAVE"}"#, SignalError::Source),
        (r#"{"type":"LEAVE","src":7}"#, SignalError::Source),
        (r#"{"type":"OFFER","src":"x"}"#, SignalError::ConnectionType),
        (
            r#"{"type":"OFFER","src":"x","payload":{"type":"video"}}"#,
            SignalError::ConnectionType,
        ),
        (
            r#"{"type":"OFFER","src":"x","payload":{"type":"data"}}"#,
            SignalError::Sdp,
        ),
        (
            r#"{"type":"ANSWER","src":"x","payload":{"sdp":{"type":"offer","sdp":"v"},"connectionId":"c"}}"#,
            SignalError::Sdp,
        ),
        (
            r#"{"type":"ANSWER","src":"x","payload":{"sdp":"v"}}"#,
            SignalError::ConnectionId,
        ),
        (
            r#"{"type":"CANDIDATE","src":"x","payload":{"candidate":""}}"#,
            SignalError::ConnectionId,
        ),
        (
            r#"{"type":"CANDIDATE","src":"x","payload":{"candidate":"x","connectionId":"c"}}"#,
            SignalError::Candidate,
        ),
    ] {
        assert_eq!(parse(text), Err(error), "{text}");
    }
    let nested = std::format!(r#"{{"payload":{deep}}}"#);
    assert_eq!(parse(&nested), Err(SignalError::Json(DecodeError::Depth)));
}

/// Type, source and connection of a message.
fn summary<'a>(message: &Signal<'a>) -> (&'static str, Option<&'a str>, Option<&'a str>) {
    match *message {
        Signal::Open => ("OPEN", None, None),
        Signal::Error { .. } => ("ERROR", None, None),
        Signal::IdTaken { .. } => ("ID-TAKEN", None, None),
        Signal::InvalidKey { .. } => ("INVALID-KEY", None, None),
        Signal::Heartbeat => ("HEARTBEAT", None, None),
        Signal::Leave { src } => ("LEAVE", Some(src), None),
        Signal::Expire { src } => ("EXPIRE", Some(src), None),
        Signal::Offer { src, offer } => ("OFFER", Some(src), offer.connection_id),
        Signal::Answer { src, answer } => ("ANSWER", Some(src), Some(answer.connection_id)),
        Signal::Candidate {
            src, connection_id, ..
        } => ("CANDIDATE", Some(src), Some(connection_id)),
        Signal::Media { src, connection_id } => ("media", Some(src), connection_id),
    }
}

/// Whether `peek` says what `parse` says, or nothing. Text that cannot be parsed may be anything.
fn peek_agrees(text: &[u8]) -> bool {
    let mut copy = text.to_vec();
    let (Some(peek), Ok(message)) = (peek(text), Signal::parse(&mut copy)) else {
        return true;
    };
    let (kind, src, connection_id) = summary(&message);
    (kind == "media" || kind == peek.kind)
        && (src.is_none() || src == peek.src)
        && (connection_id.is_none() || connection_id == peek.connection_id)
}

#[test]
fn a_peek_says_what_every_recorded_frame_says() {
    for frame in frames("ws.recv") {
        let frame = frame.into_bytes();
        assert!(peek(&frame).is_some());
        assert!(peek_agrees(&frame));
    }
}

#[test]
fn a_peek_needs_no_order_and_shuns_escapes() {
    let seen = |kind, src, connection_id| {
        Some(Peek {
            kind,
            src,
            connection_id,
            label: None,
            metadata: None,
        })
    };
    for (text, want) in [
        (r#"{"type":"OPEN"}"#, seen("OPEN", None, None)),
        (
            concat!(
                "\u{feff} {\"payload\" : {\"sdp\":{\"connectionId\":\"no\",\"sdp\":\"\\r\\n\"}, ",
                "\"connectionId\": \"dc_1\"},\"src\":\"x\", \"type\":\"OFFER\"}\n",
            ),
            seen("OFFER", Some("x"), Some("dc_1")),
        ),
        // Of keys that come twice the last one counts.
        (
            r#"{"type":"a","type":"LEAVE","src":"x","src":7,"payload":{"connectionId":"c"},"payload":[]}"#,
            seen("LEAVE", None, None),
        ),
        (
            r#"{"type":"LEAVE","src":""}"#,
            seen("LEAVE", Some(""), None),
        ),
        (r#"{"type":"LEAVE","src":"\u0078"}"#, None),
        (r#"{"type":"LEAVE","src":"x","\u0073rc":"y"}"#, None),
        (r#"{"type":"LE\u0041VE","src":"x"}"#, None),
        (r#"{"type":"ANSWER","payload":{"connectionId":"\""}}"#, None),
        (
            r#"{"type":"ANSWER","payload":{"connection\u0049d":"c"}}"#,
            None,
        ),
        (r#"{"src":"x"}"#, None),
        (r#"{"type":7}"#, None),
        (r#"{"type":"OPEN"} x"#, None),
        (r#"{"type":"OPEN""#, None),
        ("[]", None),
        ("{}", None),
        ("", None),
    ] {
        assert_eq!(peek(text.as_bytes()), want, "{text}");
        assert!(peek_agrees(text.as_bytes()), "{text}");
    }
    assert_eq!(peek(b"{\"type\":\"OPEN\",\"x\":\"\xff\"}"), None);
}

proptest! {
    #[test]
    fn a_peek_agrees_with_parse(
        keys in proptest::collection::vec(0..8usize, 0..6),
        values in proptest::collection::vec(0..12usize, 6),
    ) {
        let key = ["type", "src", "payload", "payload", "dst", "t\\u0079pe", "s\\u0072c", "x"];
        let value = [
            r#""LEAVE""#, r#""ANSWER""#, r#""OFFER""#, r#""x""#, r#""\u0041""#, "7", "null",
            r#"{"connectionId":"c","sdp":"v"}"#, r#"{"connectionId":"\u0041","sdp":"v"}"#,
            r#"{"type":"data","sdp":{"type":"offer","sdp":"v"},"connectionId":"a","connectionId":"b"}"#,
            r#"{"type":"media","connectionId":"c","connectionI\u0064":"d"}"#, "[]",
        ];
        let members: Vec<_> = keys.iter().zip(values)
            .map(|(&k, v)| std::format!("\"{}\":{}", key[k], value[v]))
            .collect();
        let text = std::format!("{{{}}}", members.join(" , "));
        prop_assert!(peek_agrees(text.as_bytes()), "{}", text);
    }

    #[test]
    fn an_offer_survives(
        sdp in any::<String>(), label in any::<Option<String>>(), id in any::<Option<String>>(),
        reliable in any::<bool>(), dst in any::<String>(),
    ) {
        let offer = Offer {
            sdp: &sdp, connection_id: id.as_deref(), metadata: Some("[1, \"\\n\"]"),
            label: label.as_deref(), reliable, serialization: Some("json"),
        };
        let mut buffer = vec![0; 16384];
        let text = write_offer(&dst, &offer, &mut buffer).unwrap();
        let mut text = text.replacen('{', r#"{"src":"me","#, 1).into_bytes();
        prop_assert_eq!(Signal::parse(&mut text), Ok(Signal::Offer { src: "me", offer }));
    }

    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(peek_agrees(&bytes));
        let _ = Signal::parse(&mut bytes);
    }

    #[test]
    fn no_damaged_frame_panics(
        frame in 0..60usize, at in any::<usize>(), byte in any::<u8>(), cut in any::<usize>(),
    ) {
        let frames = frames("ws.recv");
        let mut text = frames[frame % frames.len()].clone().into_bytes();
        let (at, cut) = (at % text.len(), cut % text.len());
        text[at] = byte;
        prop_assert!(peek_agrees(&text));
        prop_assert!(peek_agrees(&text[cut..]));
        let _ = Signal::parse(&mut text.clone());
        let _ = Signal::parse(&mut text[cut..]);
    }
}
