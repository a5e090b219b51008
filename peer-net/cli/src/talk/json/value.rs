//! Values as JSON lines write them: what JSON lacks is an object of one key that begins with `$`.
//!
//! Bytes are `{"$bytes":"base64"}`; NaN and infinities `{"$number":"NaN"}`, `"Infinity"`,
//! `"-Infinity"`. An object that looks like one of these is wrapped: `{"$object":{"$bytes":"…"}}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use peer_net::{Object, Value};
use serde::ser::{Serialize, SerializeMap, Serializer};

const BYTES: &str = "$bytes";
const NUMBER: &str = "$number";
const OBJECT: &str = "$object";

/// A value, to be written as JSON.
pub(in super::super) struct Json<'v>(pub(in super::super) &'v Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bytes(bytes) => wrapped(serializer, BYTES, &STANDARD.encode(bytes)),
            Value::Number(number) if !number.as_f64().is_finite() => {
                let number = number.as_f64();
                let name = if number.is_nan() {
                    "NaN"
                } else if number > 0.0 {
                    "Infinity"
                } else {
                    "-Infinity"
                };
                wrapped(serializer, NUMBER, name)
            }
            Value::Array(values) => serializer.collect_seq(values.iter().map(Json)),
            Value::Object(object) if looks_wrapped(object) => {
                wrapped(serializer, OBJECT, &Plain(object))
            }
            Value::Object(object) => Plain(object).serialize(serializer),
            plain => plain.serialize(serializer),
        }
    }
}

struct Plain<'v>(&'v Object);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, Json(value))))
    }
}

fn wrapped<S: Serializer, T: Serialize + ?Sized>(
    serializer: S,
    key: &'static str,
    value: &T,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(key, value)?;
    map.end()
}

fn looks_wrapped(object: &Object) -> bool {
    object.len() == 1
        && object
            .iter()
            .all(|(key, _)| matches!(key, BYTES | NUMBER | OBJECT))
}

/// The value that a JSON text means, from the plain one that was read.
///
/// # Errors
/// A sentence: a wrapper holds something that it cannot.
pub(super) fn from_json(json: &Value) -> Result<Value, String> {
    match json {
        Value::Array(values) => values
            .iter()
            .map(from_json)
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
        Value::Object(object) => {
            if object.len() == 1 {
                if let Some(bytes) = object.get(BYTES) {
                    return bytes_from(bytes);
                }
                if let Some(number) = object.get(NUMBER) {
                    return number_from(number);
                }
                if let Some(Value::Object(inner)) = object.get(OBJECT) {
                    return object_from(inner);
                }
            }
            object_from(object)
        }
        plain => Ok(plain.clone()),
    }
}

fn object_from(object: &Object) -> Result<Value, String> {
    let members = object
        .iter()
        .map(|(key, value)| Ok((key.to_owned(), from_json(value)?)));
    members
        .collect::<Result<Vec<_>, String>>()
        .map(|members| Value::Object(members.into_iter().collect()))
}

fn bytes_from(json: &Value) -> Result<Value, String> {
    let text = json.as_str().ok_or("$bytes takes a string of base 64")?;
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| format!("$bytes is not base 64: {error}"))?;
    Ok(Value::Bytes(bytes.into()))
}

fn number_from(json: &Value) -> Result<Value, String> {
    match json.as_str() {
        Some("NaN") => Ok(f64::NAN.into()),
        Some("Infinity") => Ok(f64::INFINITY.into()),
        Some("-Infinity") => Ok(f64::NEG_INFINITY.into()),
        _ => Err("$number takes \"NaN\", \"Infinity\" or \"-Infinity\"".to_owned()),
    }
}

/// What a value takes in memory, about, in bytes.
pub(super) fn cost(value: &Value) -> usize {
    let more = match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Array(values) => values.iter().map(cost).sum(),
        Value::Object(object) => {
            let member =
                |(key, value): (&str, &Value)| size_of::<String>() + key.len() + cost(value);
            object.iter().map(member).sum()
        }
        _ => 0,
    };
    size_of::<Value>() + more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> String {
        let json = serde_json::from_str(text).expect("JSON");
        let value = from_json(&json).expect("a value");
        serde_json::to_string(&Json(&value)).expect("JSON")
    }

    #[test]
    fn what_json_lacks_survives() {
        for text in [
            r#"{"$bytes":"AQID"}"#,
            r#"[{"$bytes":""},{"$number":"NaN"},{"$number":"-Infinity"},{"$number":"Infinity"}]"#,
            r#"{"$object":{"$bytes":"not base 64"}}"#,
            r#"{"$object":{"$object":{"a":1}}}"#,
            r#"{"$bytes":1,"b":2}"#,
            r#"{"a":[1,2.5,-3,true,null,"😀"],"$other":{}}"#,
            // What serde_json keeps for itself is an object like any other.
            r#"{"$serde_json::private::RawValue":"[1]"}"#,
            r#"[{"$serde_json::private::Number":"1e5"}]"#,
        ] {
            assert_eq!(round_trip(text), text);
        }
    }

    #[test]
    fn wrong_wrappers_are_refused() {
        for text in [
            r#"{"$bytes":"%"}"#,
            r#"{"$bytes":5}"#,
            r#"{"$number":"five"}"#,
        ] {
            assert!(
                from_json(&serde_json::from_str(text).expect("JSON")).is_err(),
                "{text}"
            );
        }
    }
}
