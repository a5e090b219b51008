use super::*;
use proptest::prelude::*;
use serde::Deserialize;

fn whole(outgoing: Outgoing) -> Payload {
    match outgoing {
        Outgoing::Whole(Message::Text(text)) => Payload::Text(text),
        Outgoing::Whole(Message::Binary(bytes)) => Payload::Binary(bytes),
        Outgoing::Chunked(packed) => Payload::Binary(packed.into()),
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    celsius: f64,
    place: String,
}

#[test]
fn a_type_goes_through_every_serialization_that_has_types() {
    let reading = Reading {
        celsius: 21.5,
        place: "greenhouse 🌱".into(),
    };
    for serialization in [
        Serialization::Binary,
        Serialization::Json,
        Serialization::Postcard,
    ] {
        let payload = whole(encode(serialization, false, &reading).unwrap());
        assert!(matches!(payload, Payload::Binary(_)));
        assert_eq!(
            decode_as::<Reading>(serialization, payload).unwrap(),
            reading
        );
    }
    assert!(matches!(
        encode(Serialization::Raw, false, &reading),
        Err(SendError::Encode(_))
    ));
}

#[test]
fn raw_keeps_text_and_bytes_apart() {
    let text = whole(encode(Serialization::Raw, false, "hi").unwrap());
    assert_eq!(
        decode(Serialization::Raw, text.clone()).unwrap(),
        Value::from("hi")
    );
    assert_eq!(decode_as::<String>(Serialization::Raw, text).unwrap(), "hi");
    let bytes = whole(encode_bytes(Serialization::Raw, Bytes::from("hi")).unwrap());
    assert_eq!(
        decode(Serialization::Raw, bytes).unwrap(),
        Value::from(Bytes::from("hi"))
    );
    let value = whole(encode(Serialization::Raw, false, &Value::from(Bytes::new())).unwrap());
    assert_eq!(value, Payload::Binary(Bytes::new()));
}

#[test]
fn what_peerjs_cannot_deliver_is_refused() {
    for serialization in [Serialization::Binary, Serialization::Json] {
        assert!(matches!(
            encode(serialization, false, &Value::Null),
            Err(SendError::Null)
        ));
        assert!(matches!(
            encode(serialization, false, &None::<u8>),
            Err(SendError::Null)
        ));
        assert!(encode(serialization, false, &[Value::Null]).is_ok());
    }
    assert!(matches!(
        encode(Serialization::Json, false, &f64::NAN),
        Err(SendError::Null)
    ));
    assert!(encode(Serialization::Binary, false, &f64::NAN).is_err());
    let chunk = Value::from([("__peerData", 1)]);
    assert!(matches!(
        encode(Serialization::Binary, false, &chunk),
        Err(SendError::Encode(_))
    ));
    assert!(encode_bytes(Serialization::Json, Bytes::from("x")).is_err());
}

#[test]
fn json_stops_where_peerjs_does() {
    let fits = "x".repeat(JSON_MAX - 2);
    assert!(encode(Serialization::Json, false, &fits).is_ok());
    let error = encode(Serialization::Json, false, &format!("{fits}x")).unwrap_err();
    assert!(matches!(
        error,
        SendError::MessageTooBig {
            size: 16_300,
            limit: 16_299
        }
    ));
    assert_eq!(error.kind(), "message-too-big");
    let text = whole(encode(Serialization::Json, true, &[1, 2]).unwrap());
    assert_eq!(text, Payload::Text("[1,2]".into()));
    assert_eq!(
        decode(Serialization::Json, text).unwrap()[1].as_i64(),
        Some(2)
    );
    let marked = Payload::Binary(Bytes::from("\u{FEFF}{\"a\":1}"));
    assert_eq!(
        decode(Serialization::Json, marked).unwrap()["a"].as_i64(),
        Some(1)
    );
}

#[test]
fn big_bytes_are_chunked_and_shared_when_read() {
    let bytes = Bytes::from(vec![7; 100_000]);
    let Outgoing::Chunked(packed) = encode_bytes(Serialization::Binary, bytes.clone()).unwrap()
    else {
        panic!("100,000 bytes in one frame");
    };
    assert_eq!(frames(NonZeroU32::MIN, &packed).count(), 7);
    let packed = Bytes::from(packed);
    let value = decode(Serialization::Binary, Payload::Binary(packed.clone())).unwrap();
    let read = value.as_bytes().unwrap();
    assert_eq!(read, &bytes);
    assert!(
        packed.as_ptr_range().contains(&read.as_ptr()),
        "no copy was made"
    );
    // Of 16,297 bytes one frame, of 16,298 two: the tag takes three.
    let one = encode_bytes(Serialization::Binary, Bytes::from(vec![0; 16_297])).unwrap();
    assert!(matches!(one, Outgoing::Whole(_)));
    let two = encode_bytes(Serialization::Binary, Bytes::from(vec![0; 16_298])).unwrap();
    assert!(matches!(two, Outgoing::Chunked(_)));
}

#[test]
fn an_array_of_a_million_nulls_is_not_a_way_to_eat_memory() {
    let mut packed = vec![0xDD, 0x00, 0x20, 0x00, 0x00];
    packed.resize(5 + (2 << 20), 0xC0);
    let error = decode(Serialization::Binary, Payload::Binary(packed.into())).unwrap_err();
    assert!(matches!(error, ReceiveError::TooManyValues { .. }));
}

#[test]
fn errors_tell_a_bad_message_from_another_type() {
    let text = Payload::Text("x".into());
    let binary = Serialization::Binary;
    assert!(matches!(
        decode(binary, text),
        Err(ReceiveError::Malformed(_))
    ));
    let short = Payload::Binary(Bytes::from_static(b"\x93\x01"));
    assert!(matches!(
        decode(binary, short),
        Err(ReceiveError::Malformed(_))
    ));
    let number = Payload::Binary(Bytes::from_static(b"\x05"));
    assert!(matches!(
        decode_as::<String>(binary, number),
        Err(ReceiveError::Type(_))
    ));
    let json = Payload::Binary(Bytes::from_static(b"{"));
    assert!(matches!(
        decode(Serialization::Json, json),
        Err(ReceiveError::Malformed(_))
    ));
}

proptest! {
    #[test]
    fn no_bytes_hurt(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for serialization in
            [Serialization::Binary, Serialization::Json, Serialization::Raw, Serialization::Postcard]
        {
            let payload = Payload::Binary(bytes.clone().into());
            let _ = decode(serialization, payload.clone());
            let _ = decode_as::<Reading>(serialization, payload);
        }
    }
}

fn json(text: &str) -> Result<Value, ReceiveError> {
    decode(Serialization::Json, Payload::Text(text.to_owned()))
}

#[test]
fn a_lone_surrogate_costs_one_character() {
    for (text, expected) in [
        (r#""a\ud800b""#, "a\u{FFFD}b"),
        (r#""\udc00\ud83d\ude00""#, "\u{FFFD}\u{1F600}"),
        (r#""\ud800\ud800\udc00""#, "\u{FFFD}\u{10000}"),
        (r#""\\ud800""#, r"\ud800"),
        (r#""\ud83d""#, "\u{FFFD}"),
        (r#""\u00e4""#, "ä"),
    ] {
        assert_eq!(json(text).unwrap(), Value::from(expected), "{text}");
        let typed: String = decode_as(Serialization::Json, Payload::Text(text.to_owned())).unwrap();
        assert_eq!(typed, expected, "{text}");
    }
    assert!(json(r#""\"#).is_err());
}

#[test]
fn bytes_in_json_are_refused_however_deep() {
    let nested = Value::from([("a", Value::Array(vec![Value::Bytes(vec![1, 2].into())]))]);
    let error = encode(Serialization::Json, false, &nested).unwrap_err();
    assert!(error.to_string().contains("JSON has no bytes"), "{error}");
    assert!(encode(Serialization::Json, false, &vec![1, 2]).is_ok());
}

#[test]
fn a_message_that_nests_too_deep_names_the_limit() {
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(json(&deep(JSON_VALUE_DEPTH_MAX)).is_ok());
    let error = json(&deep(JSON_VALUE_DEPTH_MAX + 1)).unwrap_err();
    assert!(
        error.to_string().contains("JSON_VALUE_DEPTH_MAX"),
        "{error}"
    );
    let packed = Payload::Binary([vec![0x91; 200], vec![0xC0]].concat().into());
    let error = decode(Serialization::Binary, packed).unwrap_err();
    assert!(
        error.to_string().contains("BINARYPACK_DEPTH_MAX"),
        "{error}"
    );
}
