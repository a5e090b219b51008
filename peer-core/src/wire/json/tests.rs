extern crate std;

use std::{string::String, vec, vec::Vec};

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn read(text: &str) -> Result<Value, DecodeError> {
    from_slice(&mut Vec::from(text))
}

#[test]
fn strings_are_unescaped_in_place() {
    for (text, want) in [
        (r#""""#, ""),
        (r#""plain é 😀""#, "plain é 😀"),
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""a\u0041\u00e9\u20ac\ud83d\ude00z""#, "aAé€😀z"),
        (r#""\u0000""#, "\0"),
        (r#""\ud800""#, "\u{fffd}"),
        (r#""\udc00x""#, "\u{fffd}x"),
        (r#""\ud800\ud800\udc00""#, "\u{fffd}\u{10000}"),
        (r#""\ud800\n""#, "\u{fffd}\n"),
        (r#""\uD83D\u0041""#, "\u{fffd}A"),
    ] {
        let mut bytes = Vec::from(text);
        let mut reader = Reader::new(&mut bytes).unwrap();
        assert_eq!(reader.string(), Ok(want), "{text}");
        assert_eq!(reader.end(), Ok(()));
    }
}

#[test]
fn raw_text_is_left_alone() {
    let mut bytes = Vec::from(" [ {\"\\u0061\" : \"\\n\"} , 1e5 ] ,");
    let mut reader = Reader::new(&mut bytes).unwrap();
    assert_eq!(reader.raw(), Ok("[ {\"\\u0061\" : \"\\n\"} , 1e5 ]"));
    assert_eq!(reader.end(), Err(DecodeError::Trailing));
}

#[test]
fn asking_for_another_type_moves_nothing() {
    let mut bytes = Vec::from("[null]");
    let mut reader = Reader::new(&mut bytes).unwrap();
    assert_eq!(reader.begin_object(), Err(DecodeError::Type));
    assert_eq!(reader.string(), Err(DecodeError::Type));
    assert_eq!(reader.begin_array(), Ok(()));
    assert_eq!(reader.next_element(), Ok(true));
    assert_eq!(reader.number(), Err(DecodeError::Type));
    assert_eq!(reader.null(), Ok(()));
    assert_eq!(reader.next_element(), Ok(false));
    assert_eq!(reader.end(), Ok(()));
}

#[test]
fn the_grammar_is_strict() {
    for (text, error) in [
        ("", DecodeError::Truncated),
        (" ", DecodeError::Truncated),
        ("nul", DecodeError::Truncated),
        ("nulL", DecodeError::Syntax),
        ("True", DecodeError::Syntax),
        ("01", DecodeError::Trailing),
        ("1.", DecodeError::Truncated),
        ("1.e1", DecodeError::Syntax),
        (".5", DecodeError::Syntax),
        ("+1", DecodeError::Syntax),
        ("-", DecodeError::Truncated),
        ("-x", DecodeError::Syntax),
        ("1e", DecodeError::Truncated),
        ("1e+", DecodeError::Truncated),
        ("NaN", DecodeError::Syntax),
        ("Infinity", DecodeError::Syntax),
        ("'a'", DecodeError::Syntax),
        ("\"\n\"", DecodeError::Syntax),
        ("\"\\x\"", DecodeError::Syntax),
        ("\"\\u12g4\"", DecodeError::Syntax),
        ("\"\\u12", DecodeError::Truncated),
        ("\"abc", DecodeError::Truncated),
        ("[1,]", DecodeError::Syntax),
        ("[,1]", DecodeError::Syntax),
        ("[1 2]", DecodeError::Syntax),
        ("[1", DecodeError::Truncated),
        ("{\"a\":1,}", DecodeError::Syntax),
        ("{\"a\" 1}", DecodeError::Syntax),
        ("{a:1}", DecodeError::Syntax),
        ("{1:1}", DecodeError::Syntax),
        ("{\"a\":}", DecodeError::Syntax),
        ("[1}", DecodeError::Syntax),
        ("{} []", DecodeError::Trailing),
        ("1 // no", DecodeError::Trailing),
        ("\u{a0}1", DecodeError::Syntax),
    ] {
        assert_eq!(read(text), Err(error), "{text}");
        assert_eq!(check(text), Err(error), "{text}");
    }
    assert_eq!(
        from_slice::<Value>(&mut [b'"', 0xff, b'"']),
        Err(DecodeError::Utf8)
    );
    assert_eq!(read("\u{feff} [1]\t\r\n"), Ok(serde_json::json!([1])));
}

#[test]
fn depth_is_bounded() {
    let max = crate::config::JSON_DEPTH_MAX;
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(check(&nested(max)), Ok(()));
    assert!(read(&nested(max)).is_ok());
    assert_eq!(check(&nested(max + 1)), Err(DecodeError::Depth));
    assert_eq!(read(&nested(max + 1)), Err(DecodeError::Depth));
    assert_eq!(check(&"[".repeat(100_000)), Err(DecodeError::Depth));
    assert_eq!(check(&"{\"\":".repeat(100_000)), Err(DecodeError::Depth));
}

#[test]
fn numbers_are_read_as_they_fit() {
    for (text, want) in [
        ("0", Number::Unsigned(0)),
        ("18446744073709551615", Number::Unsigned(u64::MAX)),
        (
            "18446744073709551616",
            Number::Float(18_446_744_073_709_551_616.0),
        ),
        ("-1", Number::Signed(-1)),
        ("-9223372036854775808", Number::Signed(i64::MIN)),
        (
            "-9223372036854775809",
            Number::Float(-9_223_372_036_854_775_809.0),
        ),
        ("1.0", Number::Float(1.0)),
        ("1e3", Number::Float(1000.0)),
        ("-0.5E-1", Number::Float(-0.05)),
        ("1e400", Number::Float(f64::INFINITY)),
    ] {
        let mut bytes = Vec::from(text);
        assert_eq!(
            Reader::new(&mut bytes).unwrap().number(),
            Ok(want),
            "{text}"
        );
    }
    let mut bytes = *b"-0";
    let Ok(Number::Float(zero)) = Reader::new(&mut bytes).unwrap().number() else {
        panic!()
    };
    assert!(zero == 0.0 && zero.is_sign_negative());
}

/// What Node 20 prints for `JSON.stringify` of the same doubles.
#[test]
fn doubles_are_written_as_ecmascript_does() {
    for (value, want) in [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.1, "0.1"),
        (100.0, "100"),
        (123.456, "123.456"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e21, "1.5e+21"),
        (123_456_789_012_345_680_000.0, "123456789012345680000"),
        (1_152_921_504_606_846_976.0, "1152921504606847000"),
        (0.000_001, "0.000001"),
        (0.000_001_25, "0.00000125"),
        (1e-7, "1e-7"),
        (-1.25e-7, "-1.25e-7"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        (9_007_199_254_740_993.0, "9007199254740992"),
        // Halfway between two shortest forms: the even one.
        (281_418_215_537_311.0 + 0.125, "281418215537311.12"),
        (-1_382_728_444_848_751.0 - 0.25, "-1382728444848751.2"),
        (281_418_215_537_311.0 + 0.375, "281418215537311.38"),
        (f64::NAN, "null"),
        (f64::INFINITY, "null"),
        (f64::NEG_INFINITY, "null"),
    ] {
        let mut buffer = [0; 32];
        assert_eq!(
            to_slice(&value, &mut buffer),
            Ok(want.as_bytes()),
            "{value:e}"
        );
    }
    assert_eq!(to_slice(&0.1f32, &mut [0; 3]), Ok(&b"0.1"[..]));
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Shape {
    Unit,
    Newtype(u8),
    Tuple(u8, String),
    Struct { a: Option<i32>, b: () },
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Everything {
    shapes: Vec<Shape>,
    character: char,
    pair: (bool, f32),
    map: std::collections::BTreeMap<i16, Shape>,
    keyed: std::collections::BTreeMap<bool, Newtype>,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Newtype(u64);

#[test]
fn serde_shapes_match_serde_json() {
    let value = Everything {
        shapes: vec![
            Shape::Unit,
            Shape::Newtype(1),
            Shape::Tuple(2, "x\u{1}\u{7f}\u{2028}".into()),
            Shape::Struct { a: None, b: () },
            Shape::Struct { a: Some(-4), b: () },
        ],
        character: '\n',
        pair: (true, 2.5),
        map: [(-1, Shape::Unit), (7, Shape::Newtype(9))].into(),
        keyed: [(false, Newtype(u64::MAX))].into(),
    };
    let mut buffer = [0; 1024];
    let len = to_slice(&value, &mut buffer).unwrap().len();
    assert_eq!(
        core::str::from_utf8(&buffer[..len]).unwrap(),
        serde_json::to_string(&value).unwrap()
    );
    for short in 0..len {
        assert_eq!(
            to_slice(&value, &mut [0; 1024][..short]),
            Err(EncodeError::BufferTooSmall)
        );
    }
    assert_eq!(from_slice::<Everything>(&mut buffer[..len]), Ok(value));
}

#[test]
fn serde_borrows_and_refuses() {
    let mut text = *br#"{"a":"\u0061b","c":[1,2]}"#;
    let map: std::collections::BTreeMap<&str, serde::de::IgnoredAny> =
        from_slice(&mut text).unwrap();
    assert_eq!(map.len(), 2);
    assert_eq!(from_slice::<&str>(&mut { *br#""\u0061b""# }), Ok("ab"));
    assert_eq!(
        from_slice::<(u8, u8)>(&mut { *b"[1,2,3]" }),
        Err(DecodeError::Length)
    );
    assert_eq!(
        from_slice::<(u8, u8)>(&mut { *b"[1]" }),
        Err(DecodeError::Length)
    );
    assert_eq!(from_slice::<u8>(&mut { *b"256" }), Err(DecodeError::Value));
    assert_eq!(from_slice::<u8>(&mut { *b"\"1\"" }), Err(DecodeError::Type));
    assert_eq!(
        from_slice::<u8>(&mut { *b"1 1" }),
        Err(DecodeError::Trailing)
    );
    assert_eq!(
        from_slice::<Shape>(&mut { *br#""Circle""# }),
        Err(DecodeError::Value)
    );
    assert_eq!(
        from_slice::<Shape>(&mut { *br#"{"Unit":null}"# }),
        Ok(Shape::Unit)
    );
    assert_eq!(
        from_slice::<Shape>(&mut { *br#"{"Unit":null,"a":1}"# }),
        Err(DecodeError::Length)
    );
    assert_eq!(from_slice::<Option<u8>>(&mut { *b"null" }), Ok(None));
    let map: std::collections::HashMap<(), ()> = [((), ())].into();
    assert_eq!(to_slice(&map, &mut [0; 32]), Err(EncodeError::Key));
}

#[test]
fn bytes_are_an_array_of_numbers() {
    struct Bytes<'a>(&'a [u8]);
    impl serde::Serialize for Bytes<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }
    assert_eq!(
        to_slice(&Bytes(&[0, 255]), &mut [0; 16]),
        Ok(&b"[0,255]"[..])
    );
}

#[test]
fn members_are_found() {
    for (text, want) in [
        (r#"{"a":[1,2]}"#, Some("[1,2]")),
        (" { \"b\" : {\"a\":2} , \"a\" : 1 } ", Some("1")),
        (r#"{"a":1,"a":2}"#, Some("2")),
        (r#"{"b":1}"#, None),
        ("{}", None),
        (r#"{"a":1"#, None),
        ("", None),
        ("5", None),
    ] {
        assert_eq!(member(text, "a"), want, "{text}");
    }
}

/// Any JSON value, numbers of all kinds.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1000i32..1000).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has none", |x| x.is_finite())
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Doubles that are whole come back as integers, as JavaScript writes them without a point.
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

proptest! {
    #[test]
    fn what_is_written_is_read(value in value()) {
        let mut buffer = vec![0; 1 << 20];
        let len = to_slice(&value, &mut buffer).unwrap().len();
        let text = core::str::from_utf8(&buffer[..len]).unwrap();
        prop_assert_eq!(check(text), Ok(()));
        let theirs: Value = serde_json::from_str(text).unwrap();
        prop_assert!(same(&theirs, &value));
        let ours: Value = from_slice(&mut buffer[..len]).unwrap();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn what_serde_json_writes_is_read(value in value(), pretty in any::<bool>()) {
        let text = if pretty { std::format!("{value:#}") } else { std::format!("{value}") };
        prop_assert_eq!(read(&text), Ok(value));
        prop_assert_eq!(check(&text), Ok(()));
    }

    #[test]
    fn every_prefix_is_incomplete(value in value(), cut in any::<prop::sample::Index>()) {
        let text = std::format!("[{value}]");
        let mut cut = cut.index(text.len());
        while !text.is_char_boundary(cut) { cut -= 1; }
        prop_assert_eq!(read(&text[..cut]), Err(DecodeError::Truncated));
    }

    #[test]
    fn strings_of_code_units_are_read_as_serde_json_does(units in proptest::collection::vec(
        prop_oneof![any::<u16>(), 0xd800u16..0xe000, 0x20u16..0x7f], 0..20,
    )) {
        let text: String = units.iter().map(|unit| std::format!("\\u{unit:04x}")).collect();
        let want = String::from_utf16_lossy(&units);
        let mut bytes = std::format!("\"{text}\"").into_bytes();
        prop_assert_eq!(Reader::new(&mut bytes).unwrap().string(), Ok(want.as_str()));
    }

    #[test]
    fn what_we_take_serde_json_takes(text in r#"[\[\]{}",:0-9eE+\-.\\u nulltrefas]{0,24}"#) {
        let ours = read(&text);
        prop_assert_eq!(check(&text).is_ok(), ours.is_ok());
        match serde_json::from_str::<Value>(&text) {
            Ok(theirs) => prop_assert_eq!(ours, Ok(theirs)),
            // serde_json refuses numbers beyond a double and lone surrogates; JSON.parse and we do
            // not.
            Err(error) => {
                let error = std::format!("{error}");
                let known = ["out of range", "surrogate", "hex escape"];
                prop_assert!(ours.is_err() || known.iter().any(|known| error.contains(known)));
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = from_slice::<Value>(&mut bytes.clone());
        let _ = from_slice::<Everything>(&mut bytes.clone());
        let _ = member(&String::from_utf8_lossy(&bytes), "a");
    }
}
