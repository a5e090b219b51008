extern crate std;

use std::{string::String, vec, vec::Vec};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{
    DecodeError, EncodeError, Fragment, JSON_LIMIT, MessageKind, RAW_LIMIT, Serialization,
};

const WIRE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/wire_vectors.json"
));

const ALL: [Serialization; 5] = [
    Serialization::Binary,
    Serialization::BinaryUtf8,
    Serialization::Json,
    Serialization::Raw,
    Serialization::Postcard,
];

#[test]
fn names_survive_the_wire() {
    for serialization in ALL {
        let read = Serialization::from_wire(serialization.as_str()).unwrap();
        assert_eq!(read.as_str(), serialization.as_str());
    }
    assert_eq!(Serialization::from_wire("none"), Some(Serialization::Raw));
    assert_eq!(Serialization::from_wire(""), None);
}

/// Bytes as serde calls them.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

#[test]
fn frames_are_those_of_peerjs() {
    let wire: Json = serde_json::from_str(WIRE).unwrap();
    let mut seen = 0;
    for row in wire["simple"].as_array().unwrap() {
        let serialization =
            Serialization::from_wire(row["serialization"].as_str().unwrap()).unwrap();
        let Some(value) = row.get("value") else {
            continue;
        };
        let mut buffer = [0; 128];
        let frame = match value.get("hex") {
            // PeerJS makes an object of a typed array in JSON; serde has no such notion.
            Some(_) if serialization == Serialization::Json => continue,
            Some(hex) => serialization.encode(&Bytes(unhex(hex.as_str().unwrap())), &mut buffer),
            None => serialization.encode(value, &mut buffer),
        }
        .unwrap();
        let expected = &row["frame"];
        let expected = match frame.kind {
            MessageKind::Text => expected["utf8"].as_str().unwrap().as_bytes().to_vec(),
            MessageKind::Binary => unhex(expected["hex"].as_str().unwrap()),
        };
        assert_eq!(frame.bytes, expected);
        let kind = frame.kind;
        let len = frame.bytes.len();
        if value.get("hex").is_none() {
            let read: Json = serialization.decode(kind, &mut buffer[..len]).unwrap();
            assert_eq!(read, *value);
        }
        seen += 1;
    }
    assert_eq!(seen, 28);
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn a_struct_survives_all_but_raw() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Reading<'a> {
        sensor: &'a str,
        celsius: f64,
    }
    let reading = Reading {
        sensor: "a\"b",
        celsius: 21.5,
    };
    for serialization in ALL {
        let mut buffer = [0; 64];
        if serialization == Serialization::Raw {
            assert_eq!(
                serialization.encode(&reading, &mut buffer),
                Err(EncodeError::Type)
            );
            continue;
        }
        let len = serialization
            .encode(&reading, &mut buffer)
            .unwrap()
            .bytes
            .len();
        assert_eq!(
            serialization.decode::<Reading<'_>>(MessageKind::Binary, &mut buffer[..len]),
            Ok(Reading {
                sensor: "a\"b",
                celsius: 21.5
            })
        );
        assert!(
            serialization
                .decode::<Reading<'_>>(MessageKind::Binary, &mut [])
                .is_err()
        );
        assert_eq!(
            serialization.encode(&reading, &mut buffer[..4]),
            Err(EncodeError::BufferTooSmall)
        );
    }
}

#[test]
fn raw_is_strings_and_bytes() {
    let mut buffer = [0; 16];
    let raw = Serialization::Raw;
    assert_eq!(raw.encode("é", &mut buffer), Ok(Fragment::text("é")));
    assert_eq!(
        raw.encode(&[1_u8, 2], &mut buffer),
        Ok(Fragment::binary(&[1, 2]))
    );
    assert_eq!(raw.encode(&[[1_u8]], &mut buffer), Err(EncodeError::Type));
    assert_eq!(raw.encode(&["a"], &mut buffer), Err(EncodeError::Type));
    assert_eq!(raw.encode(&5_u8, &mut buffer), Err(EncodeError::Type));
    assert_eq!(
        raw.encode(&core::net::Ipv4Addr::LOCALHOST, &mut buffer),
        Ok(Fragment::text("127.0.0.1"))
    );
    assert_eq!(
        raw.decode::<&str>(MessageKind::Text, &mut { *b"abc" }),
        Ok("abc")
    );
    assert_eq!(
        raw.decode::<&[u8]>(MessageKind::Binary, &mut { *b"abc" }),
        Ok(&b"abc"[..])
    );
    assert_eq!(
        raw.decode::<Vec<u8>>(MessageKind::Binary, &mut { *b"abc" }),
        Ok(b"abc".to_vec())
    );
    assert_eq!(
        raw.decode::<[u8; 2]>(MessageKind::Binary, &mut { *b"abc" }),
        Err(DecodeError::Length)
    );
    assert_eq!(
        raw.decode::<Vec<u8>>(MessageKind::Text, &mut { *b"abc" }),
        Err(DecodeError::Type)
    );
}

#[test]
fn what_peerjs_cannot_take_is_refused() {
    let mut buffer = vec![0; RAW_LIMIT + 1];
    for serialization in [Serialization::Binary, Serialization::Json] {
        for null in [None, Some(())] {
            assert_eq!(
                serialization.encode(&null, &mut buffer),
                Err(EncodeError::TopLevelNull)
            );
        }
    }
    assert_eq!(
        Serialization::Json.encode(&f64::NAN, &mut buffer),
        Err(EncodeError::TopLevelNull)
    );
    let fits = "a".repeat(JSON_LIMIT - 3);
    assert!(Serialization::Json.encode(&fits, &mut buffer).is_ok());
    let long = String::from("a") + &fits;
    assert_eq!(
        Serialization::Json.encode(&long, &mut buffer),
        Err(EncodeError::MessageTooBig)
    );
    assert!(
        Serialization::Raw
            .encode(&"a".repeat(RAW_LIMIT), &mut buffer)
            .is_ok()
    );
    let long = "a".repeat(RAW_LIMIT + 1);
    assert_eq!(
        Serialization::Raw.encode(&long, &mut buffer),
        Err(EncodeError::MessageTooBig)
    );
    let control = std::collections::BTreeMap::from([("__peerData", 1)]);
    assert_eq!(
        Serialization::Binary.encode(&control, &mut buffer),
        Err(EncodeError::ReservedKey),
        "PeerJS would take it for a chunk"
    );
    assert!(
        Serialization::Binary
            .encode(&[control], &mut buffer)
            .is_ok()
    );
    let mut text = *b"\"abc\"";
    assert_eq!(
        Serialization::Binary.decode::<&str>(MessageKind::Text, &mut text),
        Err(DecodeError::Text)
    );
    assert_eq!(
        Serialization::Json.decode::<&str>(MessageKind::Text, &mut text),
        Ok("abc")
    );
}
