extern crate std;

use core::num::NonZeroU32;
use std::{fs, string::String, vec::Vec};

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const ONE: NonZeroU32 = NonZeroU32::MIN;

fn vectors() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/wire_vectors.json"
    );
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn chunk(frame: &[u8]) -> Chunk<'_> {
    match parse(frame) {
        Ok(BinaryMessage::Chunk(chunk)) => chunk,
        other => panic!("{other:?}"),
    }
}

#[test]
fn recorded_chunks_are_read_and_written_byte_for_byte() {
    let mut chunked = 0;
    for case in vectors()["chunking"].as_array().unwrap() {
        let frames = case["frames"].as_array().unwrap();
        let frames: Vec<_> = frames
            .iter()
            .map(|frame| hex(frame.as_str().unwrap()))
            .collect();
        if let [frame] = &*frames {
            assert_eq!(parse(frame), Ok(BinaryMessage::Whole));
            assert!(frame.len() <= CHUNKED_MTU);
            continue;
        }
        chunked += 1;
        let mut packed = Vec::new();
        let mut id = 0;
        for (n, frame) in frames.iter().enumerate() {
            let chunk = chunk(frame);
            assert_eq!((chunk.n as usize, chunk.total as usize), (n, frames.len()));
            packed.extend_from_slice(chunk.data);
            id = chunk.id.get();
        }
        assert_eq!(super::frames(packed.len()), frames.len());
        let id = NonZeroU32::new(u32::try_from(id).unwrap()).unwrap();
        let ours: Vec<_> = Chunks::new(id, &packed)
            .map(|frame| frame.parts().concat())
            .collect();
        assert_eq!(ours, frames);
        assert!(Chunks::new(id, &packed).all(|frame| frame.len() == frame.parts().concat().len()));
    }
    assert!(chunked >= 5);
}

#[test]
fn recorded_messages_are_ordinary_or_close() {
    let mut closes = 0;
    for case in vectors()["simple"].as_array().unwrap() {
        let Some(frame) = case["frame"]["hex"].as_str().map(hex) else {
            continue;
        };
        let close = case["close_flush"] == true;
        closes += usize::from(close);
        match case["serialization"].as_str().unwrap() {
            "binary" => {
                let want = if close {
                    BinaryMessage::Close
                } else {
                    BinaryMessage::Whole
                };
                assert_eq!(parse(&frame), Ok(want));
                assert_eq!(frame == CLOSE, close);
            }
            "json" => {
                let text = String::from_utf8(frame).unwrap();
                assert_eq!(is_json_close(&text), close);
                assert_eq!(text == CLOSE_JSON, close);
            }
            _ => {}
        }
    }
    assert_eq!(closes, 2);
}

#[test]
fn keys_come_in_any_order_with_others_between() {
    let frame = b"\x86\xb5total\xcd\x00\x02\xb1x\x82\xb1n\x07\xb2ab\x91\xb1n\xb4data\xda\x00\x02hi\
        \x05\xb1n\xb1n\xce\x00\x00\x00\x01\xba__peerData\xd3\x00\x00\x00\x00\x00\x00\x00\x09";
    let chunk = chunk(frame);
    assert_eq!(
        (chunk.id.get(), chunk.n, chunk.total, chunk.data),
        (9, 1, 2, &b"hi"[..])
    );
}

fn with_id(id: &[u8]) -> Vec<u8> {
    [
        b"\x84\xba__peerData",
        id,
        b"\xb1n\x00\xb4data\xa1x\xb5total\x01",
    ]
    .concat()
}

#[test]
fn ids_are_what_javascript_takes_as_true() {
    for id in [
        &b"\x00"[..],
        b"\xc0",
        b"\xc1",
        b"\xc2",
        b"\xb0",
        b"\xcb\0\0\0\0\0\0\0\0",
        b"\xcc\0",
    ] {
        assert_eq!(parse(&with_id(id)), Ok(BinaryMessage::Whole), "{id:?}");
    }
    for (id, number) in [
        (&b"\x05"[..], 5),
        (b"\xcc\x05", 5),
        (b"\xd0\x05", 5),
        (b"\xb15", 5),
        (b"\xcb\x40\x14\0\0\0\0\0\0", 5),
        (b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff", (1 << 53) - 1),
    ] {
        assert_eq!(chunk(&with_id(id)).id.get(), number, "{id:?}");
    }
    for id in [
        &b"\xff"[..],
        b"\xb205",
        b"\xb1a",
        b"\xc3",
        b"\xa0",
        b"\x90",
        b"\x80",
        b"\x81\xb4type\x01",
    ] {
        assert!(chunk(&with_id(id)).id.get() >= 1 << 63, "{id:?}");
    }
    assert_ne!(chunk(&with_id(b"\xb1a")).id, chunk(&with_id(b"\xb1b")).id);
    assert_eq!(
        parse(&with_id(b"\x82\x01\x02\xb4type\xb5close")),
        Ok(BinaryMessage::Close)
    );
}

#[test]
fn data_of_another_type_counts_as_empty() {
    for data in [&b"\xb3abc"[..], b"\xc0", b"\x05", b"\x93\x01\x02\x03"] {
        let frame = [
            b"\x84\xba__peerData\x01\xb1n\x00\xb4data",
            data,
            b"\xb5total\x01",
        ]
        .concat();
        assert_eq!(chunk(&frame).data, b"", "{data:?}");
    }
    assert_eq!(
        chunk(b"\x83\xba__peerData\x01\xb1n\x00\xb5total\x01").data,
        b""
    );
}

#[test]
fn chunks_that_cannot_be_placed_are_errors() {
    for (rest, error) in [
        (&b"\xb1n\x00\xb5total\x00"[..], ChunkError::Total),
        (b"\xb1n\x00\xb5total\xff", ChunkError::Total),
        (b"\xb1n\x00\xb5total\xb11", ChunkError::Total),
        (
            b"\xb1n\x00\xb5total\xcf\0\0\0\x01\0\0\0\0",
            ChunkError::Total,
        ),
        (b"\xb1n\x01\xb5total\x01", ChunkError::Index),
        (b"\xb1n\xff\xb5total\x01", ChunkError::Index),
        (
            b"\xb1n\xcb\x3f\xe0\0\0\0\0\0\0\xb5total\x02",
            ChunkError::Index,
        ),
        (b"\xb1m\x00\xb5total\x01", ChunkError::Index),
        (b"\xb1n\x00\xb1n\x01", ChunkError::Total),
    ] {
        let frame = [b"\x83\xba__peerData\x01", rest].concat();
        assert_eq!(parse(&frame), Err(error), "{rest:?}");
    }
}

#[test]
fn what_is_not_whole_is_left_to_the_decoder() {
    let frame = with_id(b"\x05");
    for len in 0..frame.len() {
        assert_eq!(parse(&frame[..len]), Ok(BinaryMessage::Whole));
    }
    // Counts far beyond the bytes that are there.
    assert_eq!(
        parse(b"\xdf\xff\xff\xff\xff\x01\x01"),
        Ok(BinaryMessage::Whole)
    );
    assert_eq!(
        parse(b"\x81\xb1a\xdd\xff\xff\xff\xff\xdf\xff\xff\xff\xff\x01"),
        Ok(BinaryMessage::Whole)
    );
    // Nesting costs nothing.
    assert_eq!(parse(&[0x81; 100_000]), Ok(BinaryMessage::Whole));
}

#[test]
fn the_longest_frame_is_as_documented() {
    let packed = [0; 2 * CHUNKED_MTU];
    assert_eq!(ChunkFrame::new(ONE, 0, &packed).unwrap().len(), 16_331);
    let id = NonZeroU32::MAX;
    assert_eq!(ChunkFrame::new(id, 0, &packed).unwrap().len(), 16_335);
    const { assert!(CHUNK_FRAME_MAX < 16_384) };
    assert!(ChunkFrame::new(ONE, 0, &[]).is_none());
}

proptest! {
    #[test]
    fn chunks_put_together_are_the_message(
        len in 0..100_000usize, id in any::<NonZeroU32>(), seed in any::<u8>(),
    ) {
        let packed: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(seed)).collect();
        let mut whole = Vec::new();
        for (n, frame) in Chunks::new(id, &packed).enumerate() {
            prop_assert!(frame.len() <= CHUNK_FRAME_MAX);
            let bytes = frame.parts().concat();
            let chunk = chunk(&bytes);
            prop_assert_eq!(chunk.id.get(), u64::from(id.get()));
            prop_assert_eq!(chunk.n as usize, n);
            whole.extend_from_slice(chunk.data);
        }
        prop_assert_eq!(whole, packed);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), tag in 0x80..0x90u8) {
        let _ = parse(&bytes);
        let _ = parse(&[&[tag], &bytes[..]].concat());
        let _ = parse(&[&[tag][..], b"\xba__peerData", &bytes].concat());
    }
}
