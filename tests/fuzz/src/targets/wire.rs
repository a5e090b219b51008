//! The parsers without state: what one takes, its writer writes so that it is taken again.

use peer_core::config::{CANDIDATE_MAX, JSON_DEPTH_MAX};
use peer_core::wire::candidate::{self, CandidateError};
use peer_core::wire::dcep;
use peer_core::wire::json::{self, DecodeError, Reader};
use peer_core::wire::sdp::{self, Emit, Setup};
use peer_core::wire::signal::{Signal, SignalError, write_answer, write_candidate, write_offer};
use serde_json::Value;

/// JSON texts, compared with `serde_json`.
pub fn json(data: &[u8]) {
    let mut bytes = data.to_vec();
    let ours: Result<Value, _> = json::from_slice(&mut bytes);
    walk(data);
    let Ok(text) = core::str::from_utf8(data) else {
        assert!(ours.is_err(), "not UTF-8");
        return;
    };
    let whole = json::check(text);
    assert_eq!(whole.is_ok(), ours.is_ok(), "{whole:?} {ours:?}");
    for key in ["a", "type", "__peerData", ""] {
        let member = json::member(text, key);
        if let Ok(Value::Object(object)) = &ours
            && let Some(member) = member
        {
            let value: Value = json::from_slice(&mut member.as_bytes().to_vec()).unwrap();
            // A key that was written with escapes may come after, and wins.
            assert!(object.contains_key(key), "{value} is a member");
        }
    }
    match (serde_json::from_str::<Value>(text), &ours) {
        (Ok(theirs), Ok(ours)) => assert_eq!(&theirs, ours),
        (Ok(_), Err(error)) => assert_eq!(*error, DecodeError::Depth),
        (Err(error), Ok(_)) => {
            // `JSON.parse` takes numbers beyond a double, lone surrogates, and here a byte order
            // mark.
            let error = error.to_string();
            let known = ["out of range", "surrogate", "hex escape"];
            assert!(
                text.starts_with('\u{feff}') || known.iter().any(|known| error.contains(known)),
                "{error}"
            );
        }
        (Err(_), Err(_)) => {}
    }
    if let Ok(value) = ours {
        let mut buffer = vec![0; 8 * data.len() + 64];
        let len = json::to_slice(&value, &mut buffer).unwrap().len();
        let again: Value = json::from_slice(&mut buffer[..len]).unwrap();
        assert!(same(&again, &value), "{value} became {again}");
    }
}

/// Whole numbers are written without a point, and none is below zero by its sign alone, as in
/// JavaScript.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
        }
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// Steps through a text with the reader, by the kinds it tells.
fn walk(data: &[u8]) {
    use json::Kind;
    fn value(reader: &mut Reader<'_>, depth: usize) -> Result<(), DecodeError> {
        assert!(depth <= JSON_DEPTH_MAX + 1);
        match reader.kind()? {
            Kind::Null => reader.null(),
            Kind::Boolean => reader.boolean().map(drop),
            Kind::Number => reader.number().map(drop),
            Kind::String => reader.string().map(drop),
            Kind::Array => {
                reader.begin_array()?;
                while reader.next_element()? {
                    value(reader, depth + 1)?;
                }
                Ok(())
            }
            Kind::Object => {
                reader.begin_object()?;
                while let Some(key) = reader.next_key()? {
                    match key.len() % 3 {
                        0 => reader.skip()?,
                        1 => drop(reader.raw()?),
                        _ => value(reader, depth + 1)?,
                    }
                }
                Ok(())
            }
        }
    }
    let mut bytes = data.to_vec();
    if let Ok(mut reader) = Reader::new(&mut bytes) {
        let read = value(&mut reader, 0).and_then(|()| reader.end());
        assert_eq!(
            read.is_ok(),
            core::str::from_utf8(data).is_ok_and(|text| json::check(text).is_ok()),
            "{read:?}"
        );
    }
}

/// Messages of the broker.
pub fn signal(data: &[u8]) {
    let mut bytes = data.to_vec();
    let parsed = Signal::parse(&mut bytes);
    if let Err(SignalError::Json(DecodeError::Utf8)) = parsed {
        assert!(core::str::from_utf8(data).is_err());
    }
    let Ok(message) = parsed else { return };
    let mut buffer = vec![0; 8 * data.len() + 256];
    // What we would write, as the broker passes it on.
    let written = match message {
        Signal::Offer { offer, .. } => write_offer("bob", &offer, &mut buffer),
        Signal::Answer { answer, .. } => write_answer("bob", &answer, &mut buffer),
        Signal::Candidate {
            connection_id,
            candidate: Some(candidate),
            ..
        } => write_candidate("bob", connection_id, &candidate, &mut buffer),
        _ => return,
    };
    let mut relayed = written
        .unwrap()
        .replacen('{', r#"{"src":"alice","#, 1)
        .into_bytes();
    let again = Signal::parse(&mut relayed).unwrap();
    match (message, again) {
        (Signal::Offer { offer, .. }, Signal::Offer { offer: again, .. }) => {
            assert_eq!(offer, again);
        }
        (Signal::Answer { answer, .. }, Signal::Answer { answer: again, .. }) => {
            assert_eq!(answer, again);
        }
        (
            Signal::Candidate {
                connection_id,
                candidate,
                ..
            },
            Signal::Candidate {
                connection_id: id,
                candidate: again,
                ..
            },
        ) => {
            assert_eq!((connection_id, candidate), (id, again));
        }
        (message, again) => panic!("{message:?} became {again:?}"),
    }
}

/// Session descriptions.
pub fn sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(description) = sdp::parse(&text) else {
        return;
    };
    assert!((4..=256).contains(&description.ufrag.len()));
    assert!((22..=256).contains(&description.pwd.len()));
    assert_ne!(description.sctp_port, 0);
    let digest = description
        .fingerprints()
        .find_map(|fingerprint| fingerprint.sha256())
        .expect("one that can be used");
    assert!(description.has_fingerprint(&digest));
    for line in description.candidates().take(64) {
        candidate(line.as_bytes());
    }
    let setup = description.answer_setup();
    assert_ne!(setup, Setup::Actpass);
    let _ = (description.answered_setup(), description.is_complete());

    let emit = Emit {
        session_id: 1,
        ufrag: description.ufrag,
        pwd: description.pwd,
        fingerprint: &digest,
        setup,
        mid: description.mid.unwrap_or("0"),
        sctp_port: description.sctp_port,
        max_message_size: description.max_message_size,
        candidates: &[],
    };
    let mut buffer = [0; 4096];
    let answer = emit.write(&mut buffer).unwrap();
    let answer = sdp::parse(answer).unwrap();
    assert_eq!(
        (answer.ufrag, answer.pwd),
        (description.ufrag, description.pwd)
    );
    assert_eq!(answer.setup, Some(setup));
    assert_eq!(answer.mid, Some(description.mid.unwrap_or("0")));
    assert_eq!(answer.sctp_port, description.sctp_port);
    assert_eq!(answer.max_message_size, description.max_message_size);
    assert!(answer.has_fingerprint(&digest));
}

/// ICE candidates.
pub fn candidate(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(parsed) = candidate::parse(&text) else {
        return;
    };
    let line = parsed.to_string();
    match candidate::parse(&line) {
        Ok(again) => assert_eq!(parsed, again, "{line}"),
        Err(error) => {
            // Addresses and spaces may be written longer than they were.
            assert_eq!(error, CandidateError::TooLong, "{line}");
            assert!(line.len() > CANDIDATE_MAX);
        }
    }
    let _ = (parsed.extension("ufrag"), parsed.extension(""));
}

/// Messages that open data channels.
pub fn dcep(data: &[u8]) {
    let Ok(dcep::DcepMessage::Open(open)) = dcep::parse(data) else {
        return;
    };
    let mut buffer = [0; 1024];
    let len = open.write(&mut buffer).unwrap();
    assert!(len <= data.len());
    assert_eq!(
        dcep::parse(&buffer[..len]),
        Ok(dcep::DcepMessage::Open(open))
    );
    assert!(open.write(&mut buffer[..len - 1]).is_err());
}
