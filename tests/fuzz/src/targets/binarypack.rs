//! BinaryPack, and every serialization that messages come in.

use std::collections::BTreeMap;

use peer_core::binarypack::{self, Value};
use peer_core::serialization::{Fragment, MessageKind, Serialization};
use serde::{Deserialize, Serialize};

/// Types of every shape that serde knows.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct Everything {
    unit: (),
    small: i8,
    byte: u8,
    wide: u64,
    signed: i64,
    single: f32,
    double: f64,
    letter: Option<char>,
    text: String,
    bytes: Vec<u8>,
    tuple: Option<(bool, u16, String)>,
    list: Vec<Choice>,
    map: BTreeMap<i16, Box<Option<Self>>>,
    raw: [u32; 2],
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
enum Choice {
    Unit,
    Newtype(Option<u32>),
    Tuple(i32, f64),
    Struct { a: String, b: Vec<Self> },
}

impl Default for Everything {
    fn default() -> Self {
        Self {
            unit: (),
            small: 0,
            byte: 0,
            wide: 0,
            signed: 0,
            single: 0.0,
            double: 0.0,
            letter: None,
            text: String::new(),
            bytes: Vec::new(),
            tuple: None,
            list: Vec::new(),
            map: BTreeMap::new(),
            raw: [0; 2],
        }
    }
}

/// One message: into a value of any shape and back, and into types that want others.
pub fn binarypack(data: &[u8]) {
    if let Ok(value) = Value::from_slice(data) {
        let budget = visit(value);
        assert!(budget <= data.len(), "no more values than bytes");
        write_again(value, data.len());
    }
    types(data);
    let text = String::from_utf8_lossy(data);
    for serialization in [
        Serialization::Binary,
        Serialization::Json,
        Serialization::Raw,
        Serialization::Postcard,
    ] {
        for kind in [MessageKind::Binary, MessageKind::Text] {
            let mut bytes = match kind {
                MessageKind::Binary => data.to_vec(),
                MessageKind::Text => text.as_bytes().to_vec(),
            };
            let _ = serialization.decode::<Everything>(kind, &mut bytes);
        }
    }
}

/// Looks at everything in it; how many values there are, the keys of maps not counted.
fn visit(value: Value<'_>) -> usize {
    let scalar = [
        value.as_bool().is_some(),
        value.as_f64().is_some(),
        value.as_str().is_some(),
        value.as_bytes().is_some(),
    ];
    let _ = (value.as_u64(), value.as_i64());
    match value {
        Value::Array(array) => {
            let items: Vec<_> = array.iter().collect();
            assert_eq!(items.len(), array.len());
            1 + items.into_iter().map(visit).sum::<usize>()
        }
        Value::Map(map) => {
            let entries: Vec<_> = map.iter().collect();
            assert_eq!(entries.len(), map.len());
            if let Some((key, last)) = entries.last() {
                let found = map.get(key).expect("a key it has");
                assert_eq!(format!("{found:?}"), format!("{last:?}"));
            }
            1 + entries
                .into_iter()
                .map(|(_, value)| visit(value))
                .sum::<usize>()
        }
        Value::Null => 1,
        _ => {
            assert_eq!(scalar.into_iter().filter(|is| *is).count(), 1);
            1
        }
    }
}

/// What can be written is read as the same, and has the length that was foretold.
fn write_again(value: Value<'_>, len: usize) {
    let mut buffer = vec![0; 9 * len + 16];
    let room = buffer.len();
    let Ok(written) = binarypack::to_slice(&value, &mut buffer) else {
        // Numbers, keys and depths that PeerJS would misread.
        return;
    };
    assert!(written.len() < room);
    assert_eq!(binarypack::serialized_len(&value), Ok(written.len()));
    assert_eq!(Value::from_slice(written), Ok(value));
    if let Ok(frame) = Serialization::Binary.encode(&value, &mut vec![0; 9 * len + 16]) {
        assert_eq!(frame, Fragment::binary(written));
    }
}

fn types(data: &[u8]) {
    if let Ok(everything) = binarypack::from_slice::<Everything>(data)
        && let Ok(len) = binarypack::serialized_len(&everything)
    {
        let mut buffer = vec![0; len];
        let written = binarypack::to_slice(&everything, &mut buffer).unwrap();
        let again: Everything = binarypack::from_slice(written).unwrap();
        assert_eq!(everything, again);
    }
    let _ = binarypack::from_slice::<serde_json::Value>(data);
    let _ = binarypack::from_slice::<Choice>(data);
    let _ = binarypack::from_slice::<BTreeMap<String, Value<'_>>>(data);
    let _ = binarypack::from_slice::<Vec<(u8, &str)>>(data);
    let _ = binarypack::from_slice::<BTreeMap<bool, char>>(data);
}
