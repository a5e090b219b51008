use super::*;
use proptest::prelude::*;
use serde::Deserialize;

#[test]
fn numbers_compare_as_in_javascript() {
    assert_eq!(Value::from(5), Value::from(5.0));
    assert_eq!(Value::from(0), Value::from(-0.0));
    assert_eq!(Value::from(u64::MAX).as_u64(), Some(u64::MAX));
    assert_ne!(Value::from(u64::MAX), Value::from(u64::MAX - 1));
    assert_ne!(Value::from(f64::NAN), Value::from(f64::NAN));
    assert_eq!(serde_json::to_string(&Value::from(5.0)).unwrap(), "5");
    assert_eq!(serde_json::to_string(&Value::from(5.5)).unwrap(), "5.5");
    assert_eq!(
        Value::from(9.2e18),
        Value::from(9_200_000_000_000_000_000_i64)
    );
    assert_eq!(Value::from(1e300).as_i64(), None);
}

#[test]
fn the_last_of_equal_keys_wins_at_the_place_of_the_first() {
    let small: Value = serde_json::from_str(r#"{"a":1,"b":2,"a":3}"#).unwrap();
    assert_eq!(serde_json::to_string(&small).unwrap(), r#"{"a":3,"b":2}"#);
    let mut members: Vec<(String, Value)> = (0..20).map(|n| (format!("k{n}"), n.into())).collect();
    members.push(("k0".into(), "last".into()));
    members.push(("k0".into(), "very last".into()));
    let object: Object = members.into_iter().collect();
    assert_eq!(object.len(), 20);
    assert_eq!(
        object.iter().next().unwrap(),
        ("k0", &Value::from("very last"))
    );
}

#[test]
fn objects_are_equal_in_any_order() {
    let one = Value::from([("a", 1), ("b", 2)]);
    assert_eq!(one, Value::from([("b", 2), ("a", 1)]));
    assert_ne!(one, Value::from([("a", 1), ("c", 2)]));
    assert_eq!(one["a"].as_i64(), Some(1));
    assert!(one["z"].is_null());
}

#[derive(Debug, Deserialize, PartialEq)]
enum Command {
    Stop,
    Sample { interval: f64, name: Option<String> },
    Say(String),
}

#[test]
fn a_value_becomes_a_type() {
    let value: Value = serde_json::from_str(
        r#"["Stop",{"Sample":{"interval":2,"name":null}},{"Say":"hi"},{"Say":5}]"#,
    )
    .unwrap();
    assert_eq!(value[0].to::<Command>().unwrap(), Command::Stop);
    let sample = Command::Sample {
        interval: 2.0,
        name: None,
    };
    assert_eq!(value[1].to::<Command>().unwrap(), sample);
    assert_eq!(value[2].to::<Command>().unwrap(), Command::Say("hi".into()));
    assert!(value[3].to::<Command>().is_err());
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e12_f64..1e12).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            proptest::collection::vec((".{0,3}", inner), 0..24)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_round_trip(value in any_value()) {
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value.clone());
        prop_assert_eq!(Value::from(serde_json::from_str::<serde_json::Value>(&text).unwrap()), value.clone());
        prop_assert_eq!(value.to::<Value>().unwrap(), value);
    }
}

#[test]
fn a_message_of_too_many_values_is_refused() {
    let text = format!("[{}0]", "0,".repeat(20));
    let left = ValuesLeft::new(20);
    let seed = ValueSeed {
        left: &left,
        source: None,
    };
    let mut json = serde_json::Deserializer::from_str(&text);
    assert!(serde::de::DeserializeSeed::deserialize(seed, &mut json).is_err());
    assert!(left.is_exhausted());
}
