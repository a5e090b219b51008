//! Inputs to begin with: the recorded vectors, and what was written by hand.

use std::fs;
use std::path::Path;

use serde_json::Value;

const SIGNALLING: &str =
    include_str!("../../../../peer-core/tests/vectors/signalling_vectors.json");
const BINARYPACK: &str =
    include_str!("../../../../peer-core/tests/vectors/binarypack_vectors.json");
const BINARYPACK_DECODE: &str =
    include_str!("../../../../peer-core/tests/vectors/binarypack_decode_vectors.json");
const WIRE: &str = include_str!("../../../../peer-core/tests/vectors/wire_vectors.json");
const LINK: &str = include_str!("../../../../peer-core/tests/vectors/link_vectors.json");
/// Longer vectors are left out: they are the same again.
const SEED_MAX: usize = 4_096;

/// The seeds of a target. `folder` is this crate's `seeds`.
pub fn seeds(target: &str, folder: &Path) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = match target {
        "json" | "signal" | "envelope" => signals(),
        "sdp" => {
            let mut texts = found(&signals(), "sdp");
            texts.retain(|text| text.starts_with(b"v=0"));
            texts
        }
        "candidate" => found(&signals(), "candidate"),
        "binarypack" => packed(&[BINARYPACK, BINARYPACK_DECODE]),
        "chunks" => packed(&[WIRE]).iter().map(|it| frames(it)).collect(),
        "link" => packed(&[LINK]).iter().map(|it| garbage(it)).collect(),
        "sctp_packets" => chunks(),
        "sctp_pair" => scripts(),
        "engine" => signals().iter().map(|it| told(it)).collect(),
        _ => Vec::new(),
    };
    seeds.retain(|seed| seed.len() <= SEED_MAX);
    seeds.extend(files(&folder.join(target)));
    seeds.sort();
    seeds.dedup();
    seeds
}

/// What is in the files of a folder, if there is one, in the order of their names.
pub fn files(folder: &Path) -> Vec<Vec<u8>> {
    let files = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Every message that went over a recorded WebSocket.
fn signals() -> Vec<Vec<u8>> {
    let recorded: Value = serde_json::from_str(SIGNALLING).expect("JSON");
    let mut texts = Vec::new();
    each(&recorded, &mut |value| {
        if let Some(text) = value["data"].as_str() {
            texts.push(text.as_bytes().to_vec());
        }
    });
    texts
}

/// The texts under a key, in any of these JSON texts.
fn found(texts: &[Vec<u8>], key: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for text in texts {
        let Ok(value) = serde_json::from_slice::<Value>(text) else {
            continue;
        };
        each(&value, &mut |value| {
            if let Some(text) = value[key].as_str() {
                found.push(text.as_bytes().to_vec());
            }
        });
    }
    found
}

/// Everything that is hexadecimal in these vectors. Some nest deeper than `serde_json` reads.
fn packed(vectors: &[&str]) -> Vec<Vec<u8>> {
    let texts = vectors.iter().flat_map(|text| text.split('"'));
    texts.filter_map(hex).collect()
}

/// Calls `visit` with everything in a value.
fn each(value: &Value, visit: &mut impl FnMut(&Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter().for_each(|value| each(value, visit)),
        Value::Object(entries) => entries.values().for_each(|value| each(value, visit)),
        _ => {}
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

/// A script for `chunks`: one frame, and a read.
fn frames(frame: &[u8]) -> Vec<u8> {
    let len = frame.len().min(255);
    [&[2, 255, 2, len as u8], &frame[..len], &[0]].concat()
}

/// A script for `link`: bytes at either end of a session.
fn garbage(bytes: &[u8]) -> Vec<u8> {
    let (len, body) = (bytes.len().min(255), &bytes[..bytes.len().min(255)]);
    [
        &[1, 1, 3, len as u8],
        body,
        &[4, len as u8],
        body,
        &[5, len as u8],
        body,
        &[6, len as u8],
        body,
    ]
    .concat()
}

/// A script for `engine`: a socket that opens, a connect, and what the broker said.
fn told(text: &[u8]) -> Vec<u8> {
    let len = (text.len() as u16).to_le_bytes();
    [
        &[2, 1, 1, 9, 7, 12, 0, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0, 1, 11][..],
        &len,
        text,
        &[1, 2, 0, 8],
    ]
    .concat()
}

/// One packet of each chunk, and some together.
fn chunks() -> Vec<Vec<u8>> {
    const FIRST: [u8; 4] = [2; 4];
    let number = |n: u8| [2, 2, 2, 2 + n];
    let chunk = |kind: u8, flags: u8, parts: &[&[u8]]| {
        let value = parts.concat();
        let mut chunk = vec![kind, flags, 0, value.len() as u8 + 4];
        chunk.extend(value);
        chunk.resize(chunk.len().next_multiple_of(4), 0);
        chunk
    };
    let data = |n: u8, flags: u8| {
        chunk(
            0,
            flags,
            &[&number(n), &[0, 1, 0, 0, 0, 0, 0, 53], b"hello"],
        )
    };
    let packets = [
        data(0, 3),
        data(1, 2),
        data(3, 7),
        chunk(
            1,
            0,
            &[&[9; 4], &[0, 1, 0, 0, 0, 9, 0, 9], &FIRST, &[0xc0, 0, 0, 4]],
        ),
        chunk(3, 0, &[&[1; 4], &[0, 1, 0, 0, 0, 1, 0, 0], &[0, 2, 0, 3]]),
        chunk(4, 0, &[&[0, 1, 0, 8, 1, 2, 3, 4]]),
        chunk(6, 0, &[&[0, 12, 0, 4]]),
        chunk(7, 0, &[&[1; 4]]),
        chunk(10, 0, &[&[1, 1, 1, 1, 2, 2, 2, 2]]),
        chunk(130, 0, &[&[0, 13, 0, 18], &FIRST, &[1; 4], &FIRST, &[0, 1]]),
        chunk(192, 0, &[&number(2), &[0; 4]]),
        [data(0, 2), data(1, 0), data(2, 1)].concat(),
    ];
    let mut seeds = Vec::new();
    let mut all = Vec::new();
    for packet in packets {
        let mut seed = vec![0x23, 40, packet.len() as u8];
        seed.extend(packet);
        all.extend(&seed);
        seeds.push(seed);
    }
    seeds.push(all);
    seeds
}

/// Sends, transmits, delivers and reads, with and without losses.
fn scripts() -> Vec<Vec<u8>> {
    let good = [
        0,
        200,
        9,
        2,
        6 | 0x60,
        0,
        6 | 0x60,
        0,
        12,
        255,
        255,
        3,
        7 | 0x60,
        0,
    ];
    let lossy = [
        0,
        200,
        9,
        2,
        10,
        0,
        6 | 0x60,
        1,
        6,
        0,
        14,
        100,
        2,
        6 | 0x60,
        0,
        12,
        9,
        0,
    ];
    vec![
        good.repeat(20),
        lossy.repeat(20),
        [&good[..], &lossy].concat().repeat(20),
    ]
}
