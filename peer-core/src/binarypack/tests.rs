extern crate std;

use std::{
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec,
    vec::Vec,
};

use proptest::prelude::*;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value as Json;

use super::{DecodeError, EncodeError, Value, from_slice, serialized_len, to_slice};

const VECTORS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/binarypack_vectors.json"
));
const DECODE_VECTORS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/binarypack_decode_vectors.json"
));
const PACK_ERRORS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/binarypack_pack_errors.json"
));

/// The rows of the page are true.
#[test]
fn the_page_of_the_wire_shows_what_is_written() {
    let page = include_str!("../../docs/peerjs-wire.md");
    let table = page.split("| value | bytes |").nth(1).unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut seen = 0;
    for row in rows {
        let cells: Vec<&str> = row.split('`').collect();
        let value: Json = serde_json::from_str(cells[1]).unwrap();
        let mut buf = [0; 64];
        let written = to_slice(&value, &mut buf).unwrap();
        assert_eq!(written, unhex(cells[3]), "{row}");
        seen += 1;
    }
    assert_eq!(seen, 9);
}

/// A JavaScript value, from the grammar of the vectors.
#[derive(Clone, Debug)]
enum Js {
    Null,
    Bool(bool),
    Number(f64),
    Str(String),
    Bytes(Vec<u8>),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Js {
    fn parse(json: &Json) -> Self {
        let object = match json {
            Json::Null => return Self::Null,
            Json::Bool(value) => return Self::Bool(*value),
            Json::Object(object) => object,
            other => panic!("not in the grammar: {other}"),
        };
        let count = |of: &Json| of["n"].as_u64().unwrap() as usize;
        let text = |of: &Json| of.as_str().unwrap().to_string();
        let (kind, content) = object.iter().next().unwrap();
        match kind.as_str() {
            "undef" => Self::Null,
            "n" => Self::Number(f64::from_bits(
                u64::from_str_radix(object["bits"].as_str().unwrap(), 16).unwrap(),
            )),
            "s" => Self::Str(text(content)),
            "s16" => {
                let units: Vec<u16> = serde_json::from_value(content.clone()).unwrap();
                Self::Str(String::from_utf16_lossy(&units))
            }
            "date" => Self::Str(text(&object["string"])),
            "bin" => Self::Bytes(unhex(content.as_str().unwrap())),
            "a" => Self::Array(
                content
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(Self::parse)
                    .collect(),
            ),
            "o" => Self::Object(
                content
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|entry| (text(&entry[0]), Self::parse(&entry[1])))
                    .collect(),
            ),
            "srep" => Self::Str(content["s"].as_str().unwrap().repeat(count(content))),
            "brep" => Self::Bytes(
                (0..count(content))
                    .map(|i| ((i * 31 + (i >> 8) * 17) & 255) as u8)
                    .collect(),
            ),
            "arep" => Self::Array(vec![Self::parse(&content["v"]); count(content)]),
            "orep" => Self::Object(
                (0..count(content))
                    .map(|i| (std::format!("k{i}"), Self::parse(&content["v"])))
                    .collect(),
            ),
            other => panic!("not in the grammar: {other}"),
        }
    }

    /// Whether the value is what JavaScript would call the same. −0 is 0, as `pack()` has it.
    fn is(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(a), Value::Bool(b)) => *a == b,
            (Self::Number(a), b) => b.as_f64().is_some_and(|b| *a == b),
            (Self::Str(a), Value::Str(b)) => a == b,
            (Self::Bytes(a), Value::Bytes(b)) => a == b,
            (Self::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is(b))
            }
            (Self::Object(a), Value::Map(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && a.is(b))
            }
            _ => false,
        }
    }
}

impl Serialize for Js {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => serializer.serialize_f64(*value),
            Self::Str(value) => serializer.serialize_str(value),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::Array(value) => value.serialize(serializer),
            Self::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| std::format!("{byte:02x}"))
        .collect()
}

fn rows(text: &str) -> Vec<Json> {
    // One row nests 100 arrays.
    let mut json = serde_json::Deserializer::from_str(text);
    json.disable_recursion_limit();
    Deserialize::deserialize(&mut json).unwrap()
}

fn pack<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut buffer = vec![0; serialized_len(value)?];
    let len = to_slice(value, &mut buffer)?.len();
    assert_eq!(len, buffer.len());
    Ok(buffer)
}

/// The rows whose bytes PeerJS misreads, or miswrites, and what is written instead.
const WRITTEN_OTHERWISE: &[(&str, Result<&str, EncodeError>)] = &[
    // PeerJS's bytes are read as −2⁶³ and 0.
    ("int 9223372036854776000", Ok("cb43e0000000000000")),
    ("int 18446744073709552000", Ok("cb43f0000000000000")),
    // Below −2³¹ always a double. Half of these survive PeerJS's d3, by being multiples of 2,048.
    ("int -2147483649", Ok("cbc1e0000000200000")),
    ("int -4294967295", Ok("cbc1efffffffe00000")),
    ("int -4294967296", Ok("cbc1f0000000000000")),
    ("int -4294967297", Ok("cbc1f0000000100000")),
    ("int -1099511627776", Ok("cbc270000000000000")),
    ("int -4503599627370496", Ok("cbc330000000000000")),
    ("int -9007199254740991", Ok("cbc33fffffffffffff")),
    ("int -9007199254740992", Ok("cbc340000000000000")),
    ("int -4611686018427388000", Ok("cbc3d0000000000000")),
    ("int -9223372036854776000", Ok("cbc3e0000000000000")),
    // PeerJS's logarithm is off by one; the bytes are another number.
    ("double 4503599627370495.5", Ok("cb432fffffffffffff")),
    ("double -4503599627370495.5", Ok("cbc32fffffffffffff")),
    ("double 3.9999999999999996", Ok("cb400fffffffffffff")),
    ("double 7.999999999999999", Ok("cb401fffffffffffff")),
    ("double 4.450147717014403e-308", Ok("cb0020000000000000")),
    // No bytes would be read right.
    (
        "double 1.1125369292536007e-308",
        Err(EncodeError::Subnormal),
    ),
    ("double 5e-324", Err(EncodeError::Subnormal)),
    ("double NaN", Err(EncodeError::NotFinite)),
];

#[test]
fn writes_the_bytes_of_peerjs() {
    let mut otherwise = BTreeSet::new();
    let rows = rows(VECTORS);
    assert_eq!(rows.len(), 269);
    for row in &rows {
        let name = row["name"].as_str().unwrap();
        let value = Js::parse(&row["json_description"]);
        let exception = WRITTEN_OTHERWISE.iter().find(|(n, _)| *n == name);
        let expected = match exception {
            Some((_, expected)) => {
                otherwise.insert(name);
                *expected
            }
            None => Ok(row["hex"].as_str().unwrap()),
        };
        let packed = pack(&value);
        assert_eq!(
            packed.as_deref().map(hex).map_err(|e| *e),
            expected.map(String::from),
            "{name}"
        );
        if let Ok(bytes) = packed {
            assert!(
                value.is(Value::from_slice(&bytes).unwrap()),
                "{name} is read back as it was"
            );
        }
    }
    assert_eq!(
        otherwise.len(),
        WRITTEN_OTHERWISE.len(),
        "every exception is needed"
    );
}

#[test]
fn reads_the_bytes_of_peerjs() {
    for row in rows(VECTORS) {
        let name = row["name"].as_str().unwrap();
        let bytes = unhex(row["hex"].as_str().unwrap());
        let value = Value::from_slice(&bytes).unwrap();
        let meant = Js::parse(&row["json_description"]).is(value);
        // What `pack()` got wrong is not in the bytes any more.
        let lost = row
            .get("js_unpacks_to")
            .is_some_and(|other| Js::parse(other).is(value));
        let zero_for_nan = name == "double NaN" && value == Value::Unsigned(0)
            || name == "double 1.1125369292536007e-308" && lost;
        assert!(meant || lost || zero_for_nan, "{name}: {value:?}");

        let again = from_slice::<serde_json::Value>(&bytes);
        if !std::format!("{value:?}").contains("Bytes") {
            assert!(again.is_ok(), "{name}: {again:?}");
        }
    }
}

/// Where this decoder and `unpack()` part: bytes, and what is read here.
const READ_OTHERWISE: &[(&str, Result<Js, DecodeError>)] = &[
    // An empty message, or missing bytes, is 0 in PeerJS.
    ("", Err(DecodeError::Truncated)),
    ("cc", Err(DecodeError::Truncated)),
    ("d0", Err(DecodeError::Truncated)),
    ("91", Err(DecodeError::Truncated)),
    ("92c0", Err(DecodeError::Truncated)),
    ("9301", Err(DecodeError::Truncated)),
    ("81", Err(DecodeError::Truncated)),
    ("81b161", Err(DecodeError::Truncated)),
    ("dd00000005", Err(DecodeError::Truncated)),
    ("dcffff", Err(DecodeError::Truncated)),
    ("deffff", Err(DecodeError::Truncated)),
    // Zero, infinities and subnormals read at their IEEE meaning.
    ("ca00000000", Ok(Js::Number(0.0))),
    ("ca80000000", Ok(Js::Number(0.0))),
    ("ca7f800000", Ok(Js::Number(f64::INFINITY))),
    ("caff800000", Ok(Js::Number(f64::NEG_INFINITY))),
    ("ca7fc00000", Ok(Js::Number(f64::NAN))),
    ("ca00000001", Ok(Js::Number(1.401298464324817e-45))),
    ("cb0000000000000000", Ok(Js::Number(0.0))),
    ("cb8000000000000000", Ok(Js::Number(0.0))),
    ("cb7ff8000000000000", Ok(Js::Number(f64::NAN))),
    ("cb0000000000000001", Ok(Js::Number(5e-324))),
    // Integers that PeerJS rounds on the way through a double.
    ("d3ffffffffffffffff", Ok(Js::Number(-1.0))),
    ("d3fffffffffffffffe", Ok(Js::Number(-2.0))),
    ("d3fffffffffffffc00", Ok(Js::Number(-1024.0))),
    ("d3fffffffffffffbff", Ok(Js::Number(-1025.0))),
    ("d3ffffffff7fffffff", Ok(Js::Number(-2147483649.0))),
    (
        "d37fffffffffffffff",
        Ok(Js::Number(9223372036854775807_i64 as f64)),
    ),
    // PeerJS makes strings of keys, and keeps one of two. `pack()` writes neither.
    ("82b16101b16102", Ok(Js::Null)),
    ("8201020304", Err(DecodeError::Key)),
    ("81c0c0", Err(DecodeError::Key)),
    ("81c205", Err(DecodeError::Key)),
    ("81cb3ff800000000000007", Err(DecodeError::Key)),
    ("81a16107", Err(DecodeError::Key)),
    ("819001", Err(DecodeError::Key)),
    // The prototype in JavaScript, a key like any other here.
    ("81b95f5f70726f746f5f5f81b17801", Ok(Js::Null)),
    ("81b95f5f70726f746f5f5f05", Ok(Js::Null)),
    // Not UTF-8. PeerJS guesses.
    ("b180", Err(DecodeError::Utf8)),
    ("b19f", Err(DecodeError::Utf8)),
    ("b1a0", Err(DecodeError::Utf8)),
    ("b1c3", Err(DecodeError::Utf8)),
    ("b2c0af", Err(DecodeError::Utf8)),
    ("b2c080", Err(DecodeError::Utf8)),
    ("b3e08080", Err(DecodeError::Utf8)),
    ("b3eda080", Err(DecodeError::Utf8)),
    ("b6eda0bdedb880", Err(DecodeError::Utf8)),
    ("b2e282", Err(DecodeError::Utf8)),
    ("b4f0808080", Err(DecodeError::Utf8)),
    ("b1f0", Err(DecodeError::Utf8)),
    ("b1f8", Err(DecodeError::Utf8)),
    ("b2c329", Err(DecodeError::Utf8)),
    ("b3e28229", Err(DecodeError::Utf8)),
];

#[test]
fn reads_what_peerjs_reads() {
    let mut otherwise = BTreeSet::new();
    let rows = rows(DECODE_VECTORS);
    assert_eq!(rows.len(), 143);
    for row in &rows {
        let text = row["hex"].as_str().unwrap();
        let bytes = unhex(text);
        let value = Value::from_slice(&bytes);
        if let Some((_, expected)) = READ_OTHERWISE.iter().find(|(hex, _)| *hex == text) {
            otherwise.insert(text);
            match expected {
                Ok(Js::Number(number)) if number.is_nan() => {
                    assert!(value.unwrap().as_f64().unwrap().is_nan(), "{text}");
                }
                // Maps with keys that JavaScript has no room for; see the tests below.
                Ok(Js::Null) => assert!(matches!(value, Ok(Value::Map(_))), "{text}"),
                Ok(expected) => assert!(expected.is(value.unwrap()), "{text}: {value:?}"),
                Err(expected) => assert_eq!(value, Err(*expected), "{text}"),
            }
        } else if text.starts_with("919191") {
            assert_eq!(
                (bytes.len(), value),
                (101, Err(DecodeError::Depth)),
                "100 deep"
            );
        } else if row.get("throws").is_some() {
            assert!(value.is_err(), "{text}: {value:?}");
        } else {
            let expected = Js::parse(&row["value"]);
            assert!(
                value.is_ok_and(|value| expected.is(value)),
                "{text}: {value:?}"
            );
        }
    }
    let unused: Vec<_> = READ_OTHERWISE
        .iter()
        .filter(|(hex, _)| !otherwise.contains(hex))
        .collect();
    assert!(unused.is_empty(), "every exception is needed: {unused:?}");
}

/// What `pack()` refuses and Rust can express: `None` where it is sent all the same, because every
/// PeerJS reads it right.
const REFUSED: &[(&str, f64, Option<EncodeError>)] = &[
    ("Infinity", f64::INFINITY, Some(EncodeError::NotFinite)),
    ("-Infinity", f64::NEG_INFINITY, Some(EncodeError::NotFinite)),
    ("Number.MAX_VALUE", f64::MAX, None),
    ("2^64+4096", 18446744073709555712.0, None),
    ("-(2^63)-2048", -9223372036854777856.0, None),
    ("1e20", 1e20, None),
];

#[test]
fn refuses_what_cannot_be_sent() {
    let rows = rows(PACK_ERRORS);
    for (name, value, error) in REFUSED {
        assert!(rows.iter().any(|row| row["name"] == *name));
        match error {
            Some(error) => assert_eq!(pack(value), Err(*error), "{name}"),
            None => {
                let bytes = pack(value).unwrap();
                assert_eq!((bytes[0], from_slice(&bytes)), (0xcb, Ok(*value)), "{name}");
            }
        }
    }
    // "BigInt": exact ones are numbers.
    assert_eq!(pack(&u64::MAX), Err(EncodeError::Precision));
    assert_eq!(pack(&i64::MAX), Err(EncodeError::Precision));
    assert_eq!(pack(&(i64::MIN + 1)), Err(EncodeError::Precision));
    assert_eq!(pack(&((1_u64 << 53) + 1)), Err(EncodeError::Precision));
    assert_eq!(pack(&u128::MAX), Err(EncodeError::Precision));
    assert_eq!(pack(&(1_u128 << 80)).unwrap()[0], 0xcb);
    assert_eq!(pack(&-(1_i128 << 80)).unwrap()[0], 0xcb);
    assert_eq!(
        pack(&i64::MIN).map(|b| hex(&b)),
        Ok("cbc3e0000000000000".into())
    );
    assert_eq!(
        pack(&BTreeMap::from([("__proto__", 1)])),
        Err(EncodeError::ReservedKey)
    );
    assert_eq!(pack(&BTreeMap::from([((1, 2), 1)])), Err(EncodeError::Key));
    let mut nested = Js::Array(vec![]);
    for _ in 0..crate::config::BINARYPACK_DEPTH_MAX {
        nested = Js::Array(vec![nested]);
    }
    assert_eq!(pack(&nested), Err(EncodeError::Depth));
    assert_eq!(
        to_slice("abc", &mut [0; 3]),
        Err(EncodeError::BufferTooSmall)
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(f64),
    Square(u8, u8),
    Named {
        x: Option<i32>,
        keys: BTreeMap<i16, bool>,
    },
}

#[test]
fn enums_and_keys_are_tagged_as_in_serde_json() {
    for (shape, expected) in [
        (Shape::Empty, "b5456d707479"),
        (Shape::Circle(2.0), "81b6436972636c6502"),
        (Shape::Square(1, 2), "81b6537175617265920102"),
        (
            Shape::Named {
                x: None,
                keys: BTreeMap::from([(-7, true)]),
            },
            "81b54e616d656482b178c0b46b65797381b22d37c3",
        ),
    ] {
        let bytes = pack(&shape).unwrap();
        assert_eq!(hex(&bytes), expected);
        assert_eq!(from_slice(&bytes), Ok(shape));
    }
    assert_eq!(
        from_slice::<Shape>(b"\x82\xb1a\x01\xb1b\x01"),
        Err(DecodeError::Length)
    );
    assert_eq!(from_slice::<Shape>(b"\xb1a"), Err(DecodeError::Value));
}

#[test]
fn numbers_are_one_type() {
    assert_eq!(from_slice::<f64>(b"\x05"), Ok(5.0));
    assert_eq!(from_slice::<u32>(b"\xcb\x40\x14\0\0\0\0\0\0"), Ok(5));
    assert_eq!(
        from_slice::<u32>(b"\xcb\x3f\xf8\0\0\0\0\0\0"),
        Err(DecodeError::Type)
    );
    assert_eq!(
        from_slice::<i64>(&pack(&-5_000_000_000_i64).unwrap()),
        Ok(-5_000_000_000)
    );
    assert_eq!(from_slice::<u8>(b"\xcd\x01\x00"), Err(DecodeError::Value));
    assert_eq!(from_slice::<f32>(b"\xca\x3f\xc0\0\0"), Ok(1.5));
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Integer(i64),
        Float(f64),
    }
    assert_eq!(
        from_slice(b"\xcb\xc1\xe0\0\0\0\x20\0\0"),
        Ok(Either::Integer(-2147483649))
    );
    assert_eq!(
        from_slice(b"\xcb\x3f\xf8\0\0\0\0\0\0"),
        Ok(Either::Float(1.5))
    );
}

#[test]
fn strings_and_bytes_are_borrowed() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Message<'a> {
        kind: &'a str,
        #[serde(borrow)]
        body: Value<'a>,
        raw: &'a [u8],
        list: [u8; 2],
    }
    let bytes = b"\x85\xb4kind\xb1k\xb4body\x91\xb1b\xb6ignore\x91\x81\xb1a\x91\x01\xb3raw\xa2ab\xb4list\xa2cd\xff";
    let message: Message<'_> = from_slice(bytes).unwrap();
    assert_eq!(
        (message.kind, message.raw, message.list),
        ("k", &b"ab"[..], *b"cd")
    );
    assert_eq!(message.body.at(0), Some(Value::Str("b")));
    assert_eq!(from_slice::<[u8; 2]>(b"\xa3abc"), Err(DecodeError::Length));
    assert_eq!(
        from_slice::<Vec<u8>>(b"\xa3abc"),
        Ok(vec![b'a', b'b', b'c'])
    );
    let twice = Value::from_slice(b"\x82\xb1a\x01\xb1a\x02").unwrap();
    assert_eq!(
        twice.get("a"),
        Some(Value::Unsigned(2)),
        "the last wins, as in JavaScript"
    );
    assert_eq!(from_slice::<&str>(b"\xb2c"), Err(DecodeError::Truncated));
}

#[test]
fn text_of_unknown_length_is_measured_first() {
    let address: core::net::IpAddr = core::net::Ipv6Addr::LOCALHOST.into();
    let bytes = pack(&address).unwrap();
    assert_eq!(bytes, b"\xb3::1");
    assert_eq!(from_slice(&bytes), Ok(address));
}

#[test]
fn a_huge_count_is_refused_at_the_header() {
    for bytes in [
        &b"\xdd\xff\xff\xff\xff\x00"[..],
        b"\xdf\xff\xff\xff\xff\x00\x00",
    ] {
        assert_eq!(from_slice::<Vec<u8>>(bytes), Err(DecodeError::Truncated));
        assert_eq!(
            from_slice::<serde::de::IgnoredAny>(bytes).err(),
            Some(DecodeError::Truncated)
        );
        assert_eq!(Value::from_slice(bytes), Err(DecodeError::Truncated));
    }
    let deep = [0x91; 5000];
    assert_eq!(Value::from_slice(&deep), Err(DecodeError::Depth));
    assert!(
        from_slice::<serde::de::IgnoredAny>(&deep).is_err(),
        "skipped without recursion"
    );
    assert_eq!(from_slice::<Json>(&deep), Err(DecodeError::Depth));
}

fn any_js() -> impl Strategy<Value = Js> {
    let leaf = prop_oneof![
        Just(Js::Null),
        any::<bool>().prop_map(Js::Bool),
        prop::num::f64::NORMAL.prop_map(Js::Number),
        any::<i64>().prop_map(|v| Js::Number(v as f64)),
        any::<i16>().prop_map(|v| Js::Number(v.into())),
        ".{0,40}".prop_map(Js::Str),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Js::Bytes),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Js::Array),
            prop::collection::vec((".{0,20}", inner), 0..20).prop_map(Js::Object),
        ]
    })
}

proptest! {
    #[test]
    fn values_survive(value in any_js()) {
        let bytes = pack(&value).unwrap();
        let read = Value::from_slice(&bytes).unwrap();
        prop_assert!(value.is(read), "{read:?}");
        prop_assert_eq!(pack(&read).unwrap(), bytes);
    }

    #[test]
    fn integers_survive_or_are_refused(value in any::<i64>(), shift in 0_u32..64) {
        let value = value >> shift;
        match pack(&value) {
            Ok(bytes) => prop_assert_eq!(from_slice(&bytes), Ok(value)),
            Err(error) => {
                prop_assert_eq!(error, EncodeError::Precision);
                prop_assert!(value.unsigned_abs() > 1 << 53);
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = Value::from_slice(&bytes) {
            let _ = std::format!("{value:?}");
            let _ = pack(&value);
        }
        let _ = from_slice::<Json>(&bytes);
        let _ = from_slice::<Shape>(&bytes);
        let _ = from_slice::<serde::de::IgnoredAny>(&bytes);
    }

    #[test]
    fn a_cut_value_is_truncated(value in any_js(), at in any::<prop::sample::Index>()) {
        let bytes = pack(&value).unwrap();
        let cut = &bytes[..at.index(bytes.len())];
        prop_assert_eq!(Value::from_slice(cut), Err(DecodeError::Truncated));
    }
}
