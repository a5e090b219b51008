extern crate std;

mod fragments;

use std::{collections::BTreeMap, string::String, vec, vec::Vec};

use proptest::prelude::*;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::{Inbox, Outbox, ReceiveError, Received, SendError};
use crate::{
    binarypack::{self, Value},
    serialization::{EncodeError, Fragment, MessageKind, Serialization},
    wire::chunk::{CHUNKED_MTU, CLOSE},
};

const WIRE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/wire_vectors.json"
));

struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// The bytes of the vectors.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + (i >> 8) * 17) as u8).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| std::format!("{byte:02x}"))
        .collect()
}

fn binary(frame: Fragment<'_>) -> Vec<u8> {
    assert_eq!(frame.kind, MessageKind::Binary);
    frame.bytes.to_vec()
}

trait Whole {
    fn frame(&mut self, memory: &mut [u8], frame: Fragment<'_>) -> Result<Received, ReceiveError>;
}

impl Whole for Inbox {
    fn frame(&mut self, memory: &mut [u8], frame: Fragment<'_>) -> Result<Received, ReceiveError> {
        self.feed(memory, frame)
    }
}

const BLOCKED: Result<Received, ReceiveError> = Ok(Received::Blocked { taken: 0 });

/// The next frame, whole.
fn poll<'m>(outbox: &mut Outbox, memory: &'m mut [u8], buffered: u32) -> Option<Fragment<'m>> {
    let piece = outbox.poll_piece(memory, buffered, usize::MAX)?;
    assert!(piece.is_whole());
    Some(piece)
}

fn drain(outbox: &mut Outbox, memory: &mut [u8]) -> Vec<Vec<u8>> {
    let mut frames = vec![];
    while let Some(frame) = poll(outbox, memory, 0) {
        frames.push(binary(frame));
    }
    assert!(outbox.is_empty());
    frames
}

/// A message of this packed length, which must be above 65,540.
fn packed(len: usize) -> Vec<u8> {
    let mut buffer = vec![0; len];
    let used = binarypack::to_slice(&Bytes(pattern(len - 5)), &mut buffer)
        .unwrap()
        .len();
    assert_eq!(used, len);
    buffer
}

#[test]
fn chunks_are_those_of_peerjs() {
    let wire: Json = serde_json::from_str(WIRE).unwrap();
    let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), vec![0; 100_000]);
    let (mut inbox, mut inbox_memory) = (Inbox::new(Serialization::Binary), vec![0; 100_000]);
    for row in wire["chunking"].as_array().unwrap() {
        let value = &row["value"];
        let bytes = |value: &Json| Bytes(pattern(value["pattern"].as_u64().unwrap() as usize));
        match value["$"].as_str() {
            Some("ArrayBuffer") => outbox.send(&mut memory, &bytes(value)),
            Some("repeat") => {
                let n = value["n"].as_u64().unwrap() as usize;
                outbox.send(&mut memory, &value["s"].as_str().unwrap().repeat(n))
            }
            _ => {
                #[derive(Serialize)]
                struct Object {
                    d: Bytes,
                    e: &'static str,
                }
                outbox.send(
                    &mut memory,
                    &Object {
                        d: bytes(&value["d"]),
                        e: "z",
                    },
                )
            }
        }
        .unwrap();
        let frames = drain(&mut outbox, &mut memory);
        let expected = row["frames"].as_array().unwrap();
        assert_eq!(frames.len(), expected.len(), "{}", row["name"]);
        for (i, (frame, expected)) in frames.iter().zip(expected).enumerate() {
            assert_eq!(
                hex(frame),
                expected.as_str().unwrap(),
                "{} {i}",
                row["name"]
            );
            let received = inbox
                .frame(&mut inbox_memory, Fragment::binary(frame))
                .unwrap();
            assert_eq!(received == Received::Message, i + 1 == frames.len());
        }
        assert!(inbox.decode::<Value<'_>>(&mut inbox_memory).is_ok());
        inbox.pop(&mut inbox_memory);
    }
}

#[test]
fn the_last_chunk_may_come_first() {
    let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), vec![0; 100_000]);
    outbox.send(&mut memory, &Bytes(pattern(70_000))).unwrap();
    let mut frames = drain(&mut outbox, &mut memory);
    frames.reverse();
    let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), vec![0; 70_100]);
    for frame in &frames {
        assert!(inbox.frame(&mut memory, Fragment::binary(frame)).is_ok());
    }
    assert_eq!(inbox.decode::<&[u8]>(&mut memory), Ok(&pattern(70_000)[..]));
}

#[test]
fn frames_wait_for_the_channel() {
    let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), [0; 64]);
    outbox.set_high_water(100);
    outbox.send(&mut memory, &1).unwrap();
    assert_eq!(poll(&mut outbox, &mut memory, 101), None);
    assert_eq!(
        poll(&mut outbox, &mut memory, 100),
        Some(Fragment::binary(&[1]))
    );
    assert!(outbox.is_empty());
}

#[test]
fn full_and_too_large_differ() {
    let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), [0; 64]);
    outbox.send(&mut memory, &Bytes(vec![1; 30])).unwrap();
    assert_eq!(
        outbox.send(&mut memory, &Bytes(vec![2; 30])),
        Err(SendError::Full)
    );
    assert_eq!(
        outbox.send(&mut memory, &Bytes(vec![2; 57])),
        Err(SendError::TooLarge)
    );
    let null = SendError::Encode(EncodeError::TopLevelNull);
    assert_eq!(outbox.send(&mut memory, &()), Err(null));
    assert_eq!(drain(&mut outbox, &mut memory).len(), 1);
    outbox.send(&mut memory, &Bytes(vec![2; 30])).unwrap();
    assert_eq!(drain(&mut outbox, &mut memory).len(), 1);
    outbox.send(&mut memory, &Bytes(vec![2; 56])).unwrap();
}

#[test]
fn the_close_message_is_last() {
    for (serialization, expected) in [
        (
            Serialization::Binary,
            "81ba5f5f706565724461746181b474797065b5636c6f7365",
        ),
        (
            Serialization::Json,
            "7b225f5f7065657244617461223a7b2274797065223a22636c6f7365227d7d",
        ),
    ] {
        let (mut outbox, mut memory) = (Outbox::new(serialization), [0; 128]);
        let (mut inbox, mut inbox_memory) = (Inbox::new(serialization), [0; 128]);
        outbox.send(&mut memory, &5).unwrap();
        outbox.close(&mut memory).unwrap();
        assert_eq!(outbox.send(&mut memory, &6), Err(SendError::Closing));
        let frames = drain(&mut outbox, &mut memory);
        assert_eq!(hex(&frames[1]), expected);
        let outcomes = frames
            .iter()
            .map(|f| inbox.frame(&mut inbox_memory, Fragment::binary(f)));
        assert!(outcomes.eq([Ok(Received::Message), Ok(Received::Close)]));
        assert_eq!(inbox.decode::<u8>(&mut inbox_memory), Ok(5));
    }
    for serialization in [Serialization::Raw, Serialization::Postcard] {
        assert_eq!(
            Outbox::new(serialization).close(&mut [0; 64]),
            Err(SendError::Unsupported)
        );
    }
}

#[test]
fn raw_keeps_the_kind() {
    let (mut outbox, mut memory) = (Outbox::new(Serialization::Raw), [0; 64]);
    let (mut inbox, mut inbox_memory) = (Inbox::new(Serialization::Raw), [0; 64]);
    outbox.send(&mut memory, "é").unwrap();
    outbox.send(&mut memory, &Bytes(vec![])).unwrap();
    while let Some(frame) = poll(&mut outbox, &mut memory, 0) {
        assert!(inbox.frame(&mut inbox_memory, frame).is_ok());
    }
    assert_eq!(inbox.decode::<&str>(&mut inbox_memory), Ok("é"));
    inbox.pop(&mut inbox_memory);
    assert_eq!(inbox.decode::<&[u8]>(&mut inbox_memory), Ok(&b""[..]));
}

#[test]
fn json_is_read_from_both_kinds_of_frame() {
    let (mut inbox, mut memory) = (Inbox::new(Serialization::Json), [0; 64]);
    for frame in [Fragment::text(r#""a\nb""#), Fragment::binary(br#""a\nb""#)] {
        assert_eq!(inbox.frame(&mut memory, frame), Ok(Received::Message));
        assert_eq!(inbox.decode::<&str>(&mut memory), Ok("a\nb"));
        inbox.pop(&mut memory);
    }
    assert_eq!(
        inbox.frame(&mut memory, Fragment::binary(b"\xff")),
        Err(ReceiveError::Malformed)
    );
    assert_eq!(inbox.decode::<&str>(&mut memory), Err(ReceiveError::Empty));
}

#[test]
fn a_large_message_streams_through_little_memory() {
    let message = packed(100_000);
    let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), [0; 2048]);
    let (mut inbox, mut inbox_memory) = (Inbox::new(Serialization::Binary), vec![0; 110_000]);
    outbox.stream(&memory, message.len(), 900).unwrap();
    assert_eq!(outbox.send(&mut memory, &1), Err(SendError::Streaming));
    let mut written = 0;
    while written < message.len() {
        // Pieces of 333 bytes, as a sensor may give them.
        let piece = &message[written..message.len().min(written + 333)];
        match outbox.write(&mut memory, piece) {
            Ok(taken) => written += taken,
            Err(error) => {
                assert_eq!(error, SendError::Full);
                let frame = poll(&mut outbox, &mut memory, 0).unwrap();
                assert!(inbox.frame(&mut inbox_memory, frame).is_ok());
            }
        }
    }
    assert_eq!(
        outbox.write(&mut memory, &[0]),
        Err(SendError::StreamLength)
    );
    outbox.send(&mut memory, &1).unwrap();
    while let Some(frame) = poll(&mut outbox, &mut memory, 0) {
        assert!(inbox.frame(&mut inbox_memory, frame).is_ok());
    }
    assert_eq!(inbox.front(&mut inbox_memory).unwrap().bytes, message);
    inbox.pop(&mut inbox_memory);
    assert_eq!(inbox.decode::<u8>(&mut inbox_memory), Ok(1));
}

#[test]
fn an_aborted_stream_leaves_the_outbox_usable() {
    let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), [0; 256]);
    outbox.stream(&memory, 1000, 50).unwrap();
    outbox.write(&mut memory, &[1; 70]).unwrap();
    outbox.abort_stream(&mut memory);
    outbox.send(&mut memory, &2).unwrap();
    let frames = drain(&mut outbox, &mut memory);
    assert_eq!(
        (frames.len(), &frames[1][..]),
        (2, &[2][..]),
        "the whole chunk, not the open one"
    );
    outbox.stream(&memory, 5, 50).unwrap();
    outbox.write(&mut memory, b"\xb4half").unwrap();
    assert_eq!(
        drain(&mut outbox, &mut memory),
        [b"\xb4half".to_vec()],
        "short enough to go whole"
    );
}

/// It took one more poll to tell; and what `abort_stream` left behind kept it from being empty for
/// ever, so that a flushed close never came.
#[test]
fn close_gives_up_an_unfinished_stream() {
    for written in [0, 20, 50, 70, 120] {
        let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), [0; 512]);
        outbox.send(&mut memory, &1).unwrap();
        outbox.stream(&memory, 1000, 50).unwrap();
        outbox.write(&mut memory, &vec![1; written]).unwrap();
        for _ in 0..1 + written / 50 {
            assert!(!outbox.is_empty());
            assert!(poll(&mut outbox, &mut memory, 0).is_some());
        }
        assert!(outbox.is_empty(), "nothing complete is left of {written}");
        assert_eq!(poll(&mut outbox, &mut memory, 0), None);
        outbox.close(&mut memory).unwrap();
        assert_eq!(outbox.stream_left(), 0);
        assert_eq!(drain(&mut outbox, &mut memory), [CLOSE.to_vec()]);
        assert_eq!(outbox.close(&mut memory), Err(SendError::Closing));
    }
}

#[test]
fn an_aborted_stream_leaves_nothing_behind() {
    for written in [0, 20, 50, 70] {
        let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), [0; 256]);
        outbox.stream(&memory, 1000, 50).unwrap();
        outbox.write(&mut memory, &vec![1; written]).unwrap();
        outbox.abort_stream(&mut memory);
        for _ in 0..written / 50 {
            assert!(!outbox.is_empty());
            assert!(poll(&mut outbox, &mut memory, 0).is_some());
        }
        assert!(outbox.is_empty());
        assert!(
            outbox.send(&mut memory, &Bytes(vec![0; 240])).is_ok(),
            "all room is back"
        );
    }
}

#[test]
fn pieces_are_as_long_as_asked_for() {
    let (mut outbox, mut memory) = (Outbox::new(Serialization::Raw), [0; 256]);
    outbox.set_high_water(10);
    assert_eq!(outbox.high_water(), 10);
    outbox.send(&mut memory, "four").unwrap();
    outbox.send(&mut memory, "").unwrap();
    assert_eq!(outbox.poll_piece(&mut memory, 0, 0), None);
    assert_eq!(
        outbox.poll_piece(&mut memory, 11, 3),
        None,
        "above the high water"
    );
    let text = |first, last, bytes| Fragment {
        first,
        last,
        kind: MessageKind::Text,
        bytes,
    };
    let piece = outbox.poll_piece(&mut memory, 10, 3);
    assert_eq!(piece, Some(text(true, false, b"fou")));
    assert!(!outbox.is_empty());
    assert_eq!(outbox.poll_piece(&mut memory, 99, 0), None);
    let piece = outbox.poll_piece(&mut memory, 99, 3);
    assert_eq!(
        piece,
        Some(text(false, true, b"r")),
        "what is begun is finished"
    );
    assert_eq!(outbox.poll_piece(&mut memory, 0, 0), None);
    assert_eq!(
        outbox.poll_piece(&mut memory, 0, 1),
        Some(text(true, true, b""))
    );
    assert!(outbox.is_empty());
}

#[test]
fn a_full_inbox_pushes_back() {
    let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), [0; 32]);
    assert_eq!(
        inbox.frame(&mut memory, Fragment::binary(b"\xa9123456789")),
        Ok(Received::Message)
    );
    let next = Fragment::binary(b"\xadabcdefghijklm");
    assert_eq!(inbox.frame(&mut memory, next), BLOCKED);
    inbox.pop(&mut memory);
    assert_eq!(inbox.frame(&mut memory, next), Ok(Received::Message));
    assert_eq!(inbox.dropped(), 0);
    let large = [0xa0; 30];
    assert_eq!(
        inbox.frame(&mut memory, Fragment::binary(&large)),
        Err(ReceiveError::TooLarge)
    );
    assert_eq!((inbox.dropped(), inbox.len()), (1, 1));
}

/// A chunk as anybody may make one.
fn chunk(id: u32, n: u32, total: u32, data: &[u8]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Chunk {
        #[serde(rename = "__peerData")]
        id: u32,
        n: u32,
        data: Bytes,
        total: u32,
    }
    let mut buffer = vec![0; data.len() + 64];
    let chunk = Chunk {
        id,
        n,
        data: Bytes(data.to_vec()),
        total,
    };
    let len = binarypack::to_slice(&chunk, &mut buffer).unwrap().len();
    buffer.truncate(len);
    buffer
}

#[test]
fn lies_about_chunks_cost_one_message() {
    let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), [0; 200]);
    let mut feed = |frame: &[u8]| inbox.frame(&mut memory, Fragment::binary(frame));
    // Another total is not believed.
    assert_eq!(feed(&chunk(1, 0, 3, b"abcd")), Ok(Received::Part));
    assert_eq!(feed(&chunk(1, 1, 9, b"abcd")), Ok(Received::Part));
    assert_eq!(feed(&chunk(1, 1, 9, b"abcd")), Ok(Received::Ignored));
    assert_eq!(feed(&chunk(1, 3, 9, b"ab")), Err(ReceiveError::Malformed));
    assert_eq!(
        feed(&chunk(1, 2, 3, b"abcd")),
        Ok(Received::Ignored),
        "dropped already"
    );
    assert_eq!(feed(&chunk(2, 0, 3, b"abcd")), Ok(Received::Part));
    assert_eq!(feed(&chunk(2, 5, 9, b"abcd")), Err(ReceiveError::Malformed));
    // More than there is memory for.
    assert_eq!(
        feed(&chunk(3, 0, u32::MAX, b"abcd")),
        Err(ReceiveError::TooLarge)
    );
    assert_eq!(
        feed(&chunk(4, 0, 100, b"abcd")),
        Err(ReceiveError::TooLarge)
    );
    // No n, no total.
    assert_eq!(feed(&chunk(5, 0, 0, b"abcd")), Err(ReceiveError::Malformed));
    assert_eq!(feed(&chunk(6, 2, 2, b"abcd")), Err(ReceiveError::Malformed));
    // What is inside may be a close message, but not another chunk.
    let close = b"\x81\xba__peerData\x81\xb4type\xb5close";
    assert_eq!(feed(&chunk(7, 1, 2, &close[12..])), Ok(Received::Part));
    assert_eq!(feed(&chunk(7, 0, 2, &close[..12])), Ok(Received::Close));
    assert_eq!(
        feed(&chunk(8, 0, 1, &chunk(9, 0, 1, b"\x01"))),
        Err(ReceiveError::Malformed)
    );
    assert_eq!(feed(&chunk(10, 0, 1, b"\x05")), Ok(Received::Message));
    assert_eq!(inbox.decode::<u8>(&mut memory), Ok(5));
    assert_eq!((inbox.dropped(), inbox.len()), (7, 1));
    inbox.pop(&mut memory);
    assert_eq!(
        inbox.frame(&mut memory, Fragment::text("a")),
        Err(ReceiveError::Malformed)
    );
    assert_eq!(
        inbox.frame(&mut memory, Fragment::binary(b"")),
        Err(ReceiveError::Malformed)
    );
}

#[test]
fn stale_messages_make_room() {
    let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), [0; 200]);
    for id in 1..=8 {
        let outcome = inbox.frame(&mut memory, Fragment::binary(&chunk(id, 0, 2, b"abcd")));
        assert_eq!(outcome, Ok(Received::Part));
    }
    let ninth = chunk(9, 0, 2, b"\xb5");
    assert_eq!(
        inbox.frame(&mut memory, Fragment::binary(&ninth)),
        Err(ReceiveError::NoRoom)
    );
    for _ in 0..2000 {
        assert_eq!(
            inbox.frame(&mut memory, Fragment::binary(b"\x01")),
            Ok(Received::Message)
        );
        inbox.pop(&mut memory);
    }
    let tenth = [chunk(10, 0, 2, b"\xb3ab"), chunk(10, 1, 2, b"c")];
    assert_eq!(
        inbox.frame(&mut memory, Fragment::binary(&tenth[0])),
        Ok(Received::Part)
    );
    assert_eq!(
        inbox.frame(&mut memory, Fragment::binary(&tenth[1])),
        Ok(Received::Message)
    );
    assert_eq!(inbox.decode::<&str>(&mut memory), Ok("abc"));
}

#[test]
fn both_are_zero_when_new() {
    static _OUTBOX: Outbox = Outbox::new(Serialization::Binary);
    static _INBOX: Inbox = Inbox::new(Serialization::Binary);
    assert!(size_of::<Outbox>() <= 192, "{}", size_of::<Outbox>());
    assert!(size_of::<Inbox>() <= 1024, "{}", size_of::<Inbox>());
}

/// Feeds an inbox with frames put together again; `frame` holds the pieces of one.
fn join(frame: &mut Vec<u8>, piece: Fragment<'_>, inbox: &mut Inbox, memory: &mut [u8]) {
    assert_eq!(piece.first, frame.is_empty());
    frame.extend_from_slice(piece.bytes);
    if piece.last {
        assert!(inbox.frame(memory, Fragment::binary(frame)).is_ok());
        frame.clear();
    }
}

/// Cuts a message with the outbox's stream, which takes any chunk size.
fn cut(outbox: &mut Outbox, message: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut memory = vec![0; 4096 + CHUNKED_MTU];
    outbox.stream(&memory, message.len(), size).unwrap();
    let (mut frames, mut written) = (vec![], 0);
    while written < message.len() {
        match outbox.write(&mut memory, &message[written..]) {
            Ok(taken) => written += taken,
            Err(_) => frames.push(binary(poll(outbox, &mut memory, 0).unwrap())),
        }
    }
    frames.extend(drain(outbox, &mut memory));
    frames
}

proptest! {
    #[test]
    fn chunks_in_any_order_make_the_messages(
        lens in prop::collection::vec((1_usize..600, 20_usize..200), 1..8),
        order in prop::collection::vec(any::<u64>(), 0..400),
        twice in prop::collection::vec(any::<bool>(), 0..400),
    ) {
        let mut outbox = Outbox::new(Serialization::Binary);
        let mut frames = vec![];
        let mut messages = BTreeMap::new();
        for (i, (len, size)) in lens.iter().enumerate() {
            // The first bytes make it one of a kind.
            let mut buffer = vec![0; len + 32];
            let value = (i, Bytes(pattern(*len)));
            let used = binarypack::to_slice(&value, &mut buffer).unwrap().len();
            buffer.truncate(used);
            frames.extend(cut(&mut outbox, &buffer, *size));
            *messages.entry(buffer).or_insert(0) += 1;
        }
        for i in 0..frames.len().min(twice.len()) {
            // Whole messages have no id that would tell a repetition.
            if twice[i] && frames[i].starts_with(b"\x84") {
                frames.push(frames[i].clone());
            }
        }
        let mut keyed: Vec<_> = frames
            .into_iter()
            .enumerate()
            .map(|(i, frame)| (order.get(i).copied().unwrap_or(i as u64), frame))
            .collect();
        keyed.sort();

        let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), vec![0; 16_384]);
        for (_, frame) in keyed {
            prop_assert!(inbox.frame(&mut memory, Fragment::binary(&frame)).is_ok());
        }
        prop_assert_eq!((inbox.len(), inbox.dropped()), (lens.len(), 0));
        while let Some(message) = inbox.front(&mut memory) {
            let count = messages.get_mut(&*message.bytes);
            prop_assert!(count.is_some());
            *count.unwrap() -= 1;
            inbox.pop(&mut memory);
        }
        prop_assert!(messages.values().all(|count| *count == 0));
        prop_assert!(inbox.is_empty());
    }

    /// A model: an ordered channel, a reader that reads now and then, messages of all sizes.
    #[test]
    fn what_goes_in_comes_out_in_order(
        outbox_size in 16_usize..50_000,
        inbox_size in 16_usize..90_000,
        steps in prop::collection::vec((0_u8..4, 0_usize..40_000), 1..60),
    ) {
        let (mut outbox, mut out) = (Outbox::new(Serialization::Binary), vec![0; outbox_size]);
        let (mut inbox, mut inn) = (Inbox::new(Serialization::Binary), vec![0; inbox_size]);
        let mut sent = vec![];
        let mut read = vec![];
        let mut held: Option<Vec<u8>> = None;
        let mut dropped = 0;
        let to_the_end = (0..2000).map(|i| (2 + i as u8 % 2, 0));
        for (i, (step, len)) in steps.into_iter().chain(to_the_end).enumerate() {
            match step {
                0 | 1 => {
                    let len = if step == 0 { len % 100 } else { len };
                    match outbox.send(&mut out, &(i, Bytes(pattern(len)))) {
                        Ok(()) => sent.push((i, len)),
                        Err(error) => {
                            prop_assert!(matches!(error, SendError::Full | SendError::TooLarge));
                        }
                    }
                }
                2 => {
                    let frame = held.take().or_else(|| poll(&mut outbox, &mut out, 0).map(binary));
                    if let Some(frame) = frame {
                        match inbox.frame(&mut inn, Fragment::binary(&frame)) {
                            BLOCKED => held = Some(frame),
                            Err(error) => {
                                let lost = [ReceiveError::TooLarge, ReceiveError::NoRoom];
                                prop_assert!(lost.contains(&error));
                                dropped += 1;
                            }
                            Ok(_) => {}
                        }
                    }
                }
                _ => {
                    if let Ok((i, bytes)) = inbox.decode::<(usize, &[u8])>(&mut inn) {
                        prop_assert_eq!(bytes, &pattern(bytes.len())[..]);
                        read.push((i, bytes.len()));
                        inbox.pop(&mut inn);
                    }
                }
            }
        }
        prop_assert!(outbox.is_empty() && inbox.is_empty() && held.is_none());
        prop_assert_eq!(read.len() + dropped, sent.len());
        let mut left = sent.iter();
        prop_assert!(read.iter().all(|message| left.any(|other| other == message)), "in order");
    }

    /// Whole, cut and streamed messages, some given up, on a channel that is congested at times.
    #[test]
    fn what_is_not_given_up_arrives(
        size in 64_usize..60_000,
        steps in prop::collection::vec((0_u8..10, 1_usize..30_000, 1_usize..500), 1..80),
    ) {
        let (mut outbox, mut memory) = (Outbox::new(Serialization::Binary), vec![0; size]);
        let (mut inbox, mut inbox_memory) = (Inbox::new(Serialization::Binary), vec![0; 2_000_000]);
        let mut expected = vec![];
        // The streamed message and how much of it was written.
        let mut streamed: Option<(Vec<u8>, usize)> = None;
        let mut frame = vec![];
        for (step, len, piece) in steps {
            match step {
                0..=2 => {
                    let len = if step == 0 { len % 50 } else { len };
                    let mut buffer = vec![0; len + 5];
                    let message = Bytes(pattern(len));
                    let used = binarypack::to_slice(&message, &mut buffer).unwrap().len();
                    match outbox.send(&mut memory, &message) {
                        Ok(()) => expected.push(buffer[..used].to_vec()),
                        Err(SendError::Streaming) => prop_assert!(streamed.is_some()),
                        Err(error) => {
                            prop_assert!(matches!(error, SendError::Full | SendError::TooLarge));
                        }
                    }
                }
                3 => {
                    if outbox.stream(&memory, len + 5, piece).is_ok() {
                        prop_assert!(streamed.is_none());
                        let mut message = vec![0xdb; len + 5];
                        message[1..5].copy_from_slice(&(len as u32).to_be_bytes());
                        message[5..].copy_from_slice(&pattern(len));
                        streamed = Some((message, 0));
                    }
                }
                4..=6 => {
                    if let Some((message, written)) = &mut streamed {
                        let end = message.len().min(*written + piece * 20);
                        match outbox.write(&mut memory, &message[*written..end]) {
                            Ok(taken) => *written += taken,
                            Err(error) => prop_assert_eq!(error, SendError::Full),
                        }
                        if *written == message.len() {
                            expected.extend(streamed.take().map(|(message, _)| message));
                        }
                    }
                }
                7 if len % 3 == 0 => {
                    outbox.abort_stream(&mut memory);
                    streamed = None;
                }
                8 if frame.is_empty() => {
                    prop_assert_eq!(outbox.poll_piece(&mut memory, u32::MAX, len), None);
                }
                8 => {
                    let rest = outbox.poll_piece(&mut memory, u32::MAX, usize::MAX).unwrap();
                    prop_assert!(rest.last);
                    join(&mut frame, rest, &mut inbox, &mut inbox_memory);
                }
                _ => {
                    if let Some(piece) = outbox.poll_piece(&mut memory, 0, piece * len) {
                        join(&mut frame, piece, &mut inbox, &mut inbox_memory);
                    }
                }
            }
        }
        outbox.abort_stream(&mut memory);
        while let Some(piece) = outbox.poll_piece(&mut memory, 0, 5000) {
            join(&mut frame, piece, &mut inbox, &mut inbox_memory);
        }
        prop_assert!(outbox.is_empty());
        prop_assert_eq!(inbox.len(), expected.len());
        for message in &expected {
            prop_assert!(inbox.front(&mut inbox_memory).unwrap().bytes == &message[..]);
            inbox.pop(&mut inbox_memory);
        }
    }

    #[test]
    fn garbage_is_survived(
        size in 0_usize..300,
        frames in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                (0_u32..5, 0_u32..6, 0_u32..6, 0_usize..40)
                    .prop_map(|(id, n, total, len)| chunk(id, n, total, &pattern(len))),
                (0_u32..5, 0_u32..6, any::<u32>(), 0_usize..40)
                    .prop_map(|(id, n, total, len)| chunk(id, n, total, &pattern(len))),
            ],
            0..100,
        ),
        serialization in prop_oneof![
            4 => Just(Serialization::Binary),
            1 => Just(Serialization::Json),
            1 => Just(Serialization::Raw),
            1 => Just(Serialization::Postcard),
        ],
    ) {
        let (mut inbox, mut memory) = (Inbox::new(serialization), vec![0; size]);
        for (i, frame) in frames.iter().enumerate() {
            let before = inbox.len();
            match inbox.frame(&mut memory, Fragment::binary(frame)) {
                Ok(Received::Message) => prop_assert_eq!(inbox.len(), before + 1),
                _ => prop_assert_eq!(inbox.len(), before),
            }
            if i % 5 == 4 {
                let _ = inbox.decode::<Json>(&mut memory);
                inbox.pop(&mut memory);
            }
        }
        while !inbox.is_empty() {
            prop_assert!(inbox.front(&mut memory).is_some());
            inbox.pop(&mut memory);
        }
    }
}
