//! Fragments in, and messages read in pieces.

use super::*;
use crate::connection::MESSAGE_COST;

fn fragment(first: bool, last: bool, bytes: &[u8]) -> Fragment<'_> {
    let kind = MessageKind::Binary;
    Fragment {
        first,
        last,
        kind,
        bytes,
    }
}

/// Feeds a frame in pieces of `len` bytes, all of which must be taken; the last outcome.
fn feed_cut(
    inbox: &mut Inbox,
    memory: &mut [u8],
    frame: &[u8],
    len: usize,
) -> Result<Received, ReceiveError> {
    let count = frame.len().div_ceil(len).max(1);
    let mut outcome = Ok(Received::Ignored);
    for i in 0..count {
        let bytes = &frame[i * len..frame.len().min(i * len + len)];
        let fed = inbox.feed(memory, fragment(i == 0, i + 1 == count, bytes));
        assert!(!matches!(fed, Ok(Received::Blocked { .. })));
        outcome = outcome.and(fed);
    }
    outcome
}

/// Reads what can be read in pieces, and puts it together.
#[derive(Default)]
struct Reader {
    messages: Vec<Vec<u8>>,
    open: Option<Vec<u8>>,
    lost: usize,
}

impl Reader {
    fn read(&mut self, inbox: &mut Inbox, memory: &mut [u8]) -> bool {
        let Some(piece) = inbox.piece(memory) else {
            assert!(!inbox.is_readable());
            return false;
        };
        if piece.first {
            self.lost += usize::from(self.open.is_some());
            self.open = Some(vec![]);
        }
        let message = self
            .open
            .as_mut()
            .expect("a message begins with its first piece");
        message.extend_from_slice(piece.bytes);
        if piece.last {
            self.messages.extend(self.open.take());
        }
        inbox.pop_piece(memory);
        true
    }

    /// Feeds a frame in pieces of `len` bytes, and reads where that makes room.
    fn pass(&mut self, inbox: &mut Inbox, memory: &mut [u8], frame: &[u8], len: usize) {
        let mut at = 0;
        while at < frame.len() {
            let end = frame.len().min(at + len);
            let piece = fragment(at == 0, end == frame.len(), &frame[at..end]);
            at = match inbox.feed(memory, piece) {
                Ok(Received::Blocked { taken }) => at + taken,
                _ => end,
            };
            if inbox.free(memory) < 20 {
                while self.read(inbox, memory) {}
            }
        }
    }
}

#[test]
fn a_chunk_of_peerjs_passes_through_two_kilobytes() {
    let (mut outbox, mut out) = (Outbox::new(Serialization::Binary), vec![0; 60_000]);
    outbox.send(&mut out, &Bytes(pattern(50_000))).unwrap();
    let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), [0; 2048]);
    inbox.set_streaming(true);
    let mut reader = Reader::default();
    for frame in drain(&mut outbox, &mut out) {
        let mut rest = &frame[..];
        while !rest.is_empty() {
            let fed = inbox.feed(&mut memory, fragment(rest.len() == frame.len(), true, rest));
            let taken = match fed.unwrap() {
                Received::Blocked { taken } => taken,
                _ => rest.len(),
            };
            rest = &rest[taken..];
            assert!(inbox.front(&mut memory).is_none(), "never whole");
            while reader.read(&mut inbox, &mut memory) {}
        }
    }
    assert_eq!(reader.messages.len(), 1);
    let message = &reader.messages[0];
    assert_eq!(
        binarypack::from_slice::<&[u8]>(message),
        Ok(&pattern(50_000)[..])
    );
    assert_eq!((inbox.dropped(), inbox.free(&memory)), (0, 2048));
}

/// A driver that feeds a frame again and again while unread messages block it made the chunked
/// messages that were coming in look stale, and a live one was evicted.
#[test]
fn frames_fed_again_age_nothing() {
    let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), [0; 300]);
    let first = chunk(1, 0, 2, b"\xb6abc");
    assert_eq!(
        inbox.frame(&mut memory, Fragment::binary(&first)),
        Ok(Received::Part)
    );
    let fill = [0xb0; 100];
    for _ in 0..2 {
        assert_eq!(
            inbox.frame(&mut memory, Fragment::binary(&fill)),
            Ok(Received::Message)
        );
    }
    // Whole messages, the first chunk of another message, and a chunk of the one that waits.
    let blocked = [fill.to_vec(), chunk(2, 0, 2, &fill), chunk(1, 1, 2, &fill)];
    for _ in 0..2000 {
        for frame in &blocked {
            assert_eq!(inbox.frame(&mut memory, Fragment::binary(frame)), BLOCKED);
        }
    }
    inbox.pop(&mut memory);
    inbox.pop(&mut memory);
    // Room that only a stale message would give.
    let large = Fragment::binary(&[0xb0; 290]);
    assert_eq!(inbox.frame(&mut memory, large), Err(ReceiveError::NoRoom));
    let second = chunk(1, 1, 2, b"def");
    assert_eq!(
        inbox.frame(&mut memory, Fragment::binary(&second)),
        Ok(Received::Message)
    );
    assert_eq!(inbox.decode::<&str>(&mut memory), Ok("abcdef"));
    assert_eq!(inbox.dropped(), 1);
}

#[test]
fn what_is_too_large_is_told_once_and_stops_nothing() {
    for serialization in [
        Serialization::Json,
        Serialization::Raw,
        Serialization::Binary,
    ] {
        for len in [1, 7, 40, 1000] {
            let (mut inbox, mut memory) = (Inbox::new(serialization), [0; 64]);
            let mut errors = 0;
            for i in 0..1000 / len {
                let piece = fragment(i == 0, i + 1 == 1000 / len, &[b'1'; 1000][..len]);
                match inbox.feed(&mut memory, piece) {
                    Err(error) => {
                        assert_eq!(error, ReceiveError::TooLarge);
                        errors += 1;
                    }
                    Ok(outcome) => assert!(outcome != BLOCKED.unwrap()),
                }
                assert!(inbox.free(&memory) > 0);
            }
            assert_eq!((errors, inbox.dropped()), (1, 1), "{serialization:?} {len}");
            let next = Fragment::binary(b"1");
            assert_eq!(inbox.frame(&mut memory, next), Ok(Received::Message));
        }
    }
}

#[test]
fn a_stream_out_of_order_loses_its_message_only() {
    let stream_cut = |frames: &[Vec<u8>], len| {
        let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), [0; 128]);
        inbox.set_streaming(true);
        let mut reader = Reader::default();
        for frame in frames {
            reader.pass(&mut inbox, &mut memory, frame, len);
        }
        while reader.read(&mut inbox, &mut memory) {}
        (reader.messages, reader.lost, inbox.dropped())
    };
    let stream = |frames: &[Vec<u8>]| {
        let outcome = stream_cut(frames, 1);
        for len in [7, 40, 100, 1000] {
            assert_eq!(stream_cut(frames, len), outcome, "cut at each {len} bytes");
        }
        outcome
    };
    let long = [0xb1; 300].to_vec();
    let part = |id, n, total| chunk(id, n, total, &long);
    let end = b"\x07".to_vec();
    // In order.
    let whole = [&long[..], &long].concat();
    let messages = vec![whole.clone(), end.clone()];
    assert_eq!(
        stream(&[part(1, 0, 2), part(1, 1, 2), end.clone()]),
        (messages, 0, 0)
    );
    // A repeated chunk is none.
    let messages = vec![whole, end.clone()];
    let frames = [part(1, 0, 2), part(1, 0, 2), part(1, 1, 2), end.clone()];
    assert_eq!(stream(&frames), (messages, 0, 0));
    // One is missing, then the rest of it is ignored.
    let frames = [part(1, 0, 4), part(1, 2, 4), part(1, 3, 4), end.clone()];
    assert_eq!(stream(&frames), (vec![end.clone()], 1, 1));
    // Another message between.
    let frames = [part(1, 0, 2), end.clone(), part(1, 1, 2)];
    assert_eq!(stream(&frames), (vec![end.clone()], 1, 1));
    // Another chunked message between, read in pieces itself.
    let frames = [part(1, 0, 2), part(2, 0, 1), part(1, 1, 2)];
    assert_eq!(stream(&frames), (vec![long.clone()], 1, 1));
    // The first one is missing: nothing is read of the others, which do not fit.
    let frames = [part(1, 1, 3), part(1, 2, 3), end.clone()];
    assert_eq!(stream(&frames), (vec![end.clone()], 0, 1));
    // A chunk that lies about itself.
    let frames = [part(1, 0, 0), end.clone()];
    assert_eq!(stream(&frames), (vec![end.clone()], 1, 1));
    // Small ones may come in any order, as without streaming.
    let frames = [chunk(3, 1, 2, b"b"), chunk(3, 0, 2, b"\xb2a")];
    assert_eq!(stream(&frames), (vec![b"\xb2ab".to_vec()], 0, 0));
}

/// Of a chunk that had begun when streaming was set, and of one that is written in another way than
/// PeerJS does, the application read the frame.
#[test]
fn a_chunk_that_is_not_unwrapped_is_not_read_in_pieces() {
    let odd = [&b"\x84\xba__peerData\xc0"[..], &[0xb1; 300]].concat();
    for (frame, late) in [(chunk(1, 0, 1, &[0xb1; 300]), true), (odd, false)] {
        for len in [40, 70, 100] {
            let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), [0; 128]);
            inbox.set_streaming(!late);
            let begun = inbox.feed(&mut memory, fragment(true, false, &frame[..len]));
            assert_eq!(begun, Ok(Received::Part));
            inbox.set_streaming(true);
            let rest = inbox.feed(&mut memory, fragment(false, true, &frame[len..]));
            assert_eq!(rest, Err(ReceiveError::TooLarge));
            assert!(!inbox.is_readable());
            assert_eq!(inbox.dropped(), 1);
        }
    }
}

/// Each chunk that came in fragments was counted and told.
#[test]
fn a_message_in_chunks_is_told_once() {
    // Where the memory is taken by a chunk of another message, that one goes first.
    for (in_the_way, len) in [(0, 1), (0, 7), (0, 40), (0, 1000), (1, 1), (1, 7), (1, 40)] {
        let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), [0; 128]);
        for _ in 0..in_the_way {
            let small = chunk(9, 0, 2, &[0xb1; 50]);
            let fed = inbox.frame(&mut memory, Fragment::binary(&small));
            assert_eq!(fed, Ok(Received::Part));
        }
        let mut errors = 0;
        for n in 0..4 {
            let frame = chunk(1, n, 4, &[0xb1; 300]);
            let fed = frame.chunks(len).enumerate().map(|(i, piece)| {
                let last = (i + 1) * len >= frame.len();
                inbox.feed(&mut memory, fragment(i == 0, last, piece))
            });
            errors += fed.filter(|fed| fed.is_err()).count();
        }
        assert_eq!((errors, inbox.dropped()), (1, 1), "cut at {len}");
        let next = Fragment::binary(b"1");
        assert_eq!(inbox.frame(&mut memory, next), Ok(Received::Message));
    }
}

/// A frame whose head did not fit beside a chunk of another message was lost without anybody
/// knowing whose it was, so the rest of its message was counted again.
#[test]
fn a_head_is_read_before_anything_of_its_message_is_lost() {
    let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), [0; 128]);
    let other = chunk(9, 0, 2, &[0xb1; 90]);
    let fed = inbox.frame(&mut memory, Fragment::binary(&other));
    assert_eq!(fed, Ok(Received::Part));
    let mut errors = vec![];
    for n in 0..3 {
        let frame = chunk(1, n, 3, &[0xb1; 300]);
        for (i, byte) in frame.iter().enumerate() {
            let last = i + 1 == frame.len();
            errors.extend(
                inbox
                    .feed(&mut memory, fragment(i == 0, last, &[*byte]))
                    .err(),
            );
        }
    }
    assert_eq!(errors, [ReceiveError::NoRoom, ReceiveError::TooLarge]);
    assert_eq!(inbox.dropped(), 2);
}

#[test]
fn the_rest_of_a_message_can_be_dropped() {
    let (mut inbox, mut memory) = (Inbox::new(Serialization::Raw), [0; 64]);
    inbox.set_streaming(true);
    let blocked = inbox.feed(&mut memory, fragment(true, false, &[1; 100]));
    let Ok(Received::Blocked { taken }) = blocked else {
        panic!("{blocked:?}");
    };
    let piece = inbox.piece(&mut memory).unwrap();
    assert_eq!(
        (piece.first, piece.last, piece.bytes.len()),
        (true, false, taken)
    );
    assert_eq!(inbox.decode::<&[u8]>(&mut memory), Err(ReceiveError::Empty));
    inbox.pop(&mut memory);
    assert!(!inbox.is_readable());
    let rest = inbox.feed(&mut memory, fragment(false, true, &[1; 50]));
    assert_eq!(rest, Ok(Received::Ignored));
    assert_eq!(
        inbox.frame(&mut memory, Fragment::text("next")),
        Ok(Received::Message)
    );
    assert_eq!(inbox.decode::<&str>(&mut memory), Ok("next"));
    assert_eq!(inbox.dropped(), 0, "it was the application's wish");
}

#[test]
fn texts_may_be_cut_anywhere() {
    for (text, outcome) in [
        ("äöü€".as_bytes(), Ok(Received::Message)),
        (b"\xc3\xc3", Err(ReceiveError::Malformed)),
    ] {
        let (mut inbox, mut memory) = (Inbox::new(Serialization::Raw), [0; 64]);
        for (i, byte) in text.iter().enumerate() {
            let (first, last) = (i == 0, i + 1 == text.len());
            let kind = MessageKind::Text;
            let bytes = &[*byte];
            let fed = inbox.feed(
                &mut memory,
                Fragment {
                    first,
                    last,
                    kind,
                    bytes,
                },
            );
            assert_eq!(fed, if last { outcome } else { Ok(Received::Part) });
        }
        assert_eq!(inbox.len(), usize::from(outcome.is_ok()));
    }
}

#[test]
fn a_driver_that_loses_a_rest_loses_a_message() {
    let (mut inbox, mut memory) = (Inbox::new(Serialization::Raw), [0; 64]);
    let begun = inbox.feed(&mut memory, fragment(true, false, b"half"));
    assert_eq!(begun, Ok(Received::Part));
    assert_eq!(
        inbox.frame(&mut memory, Fragment::text("next")),
        Ok(Received::Message)
    );
    assert_eq!((inbox.len(), inbox.dropped()), (1, 1));
    let rest = inbox.feed(&mut memory, fragment(false, true, b"rest"));
    assert_eq!(rest, Ok(Received::Ignored));
}

/// What a remote may send: messages, chunks, lies about chunks, garbage.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let made = |(id, n, total, len): (u32, u32, u32, usize)| chunk(id, n, total, &pattern(len));
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        (0_u32..8, 0_u32..4, 0_u32..4, 0_usize..60).prop_map(made),
        (0_u32..4, 0_u32..3, 1_u32..3, 0_usize..900).prop_map(made),
        (0_u32..8, any::<u32>(), any::<u32>(), 0_usize..60).prop_map(made),
        Just(CLOSE.to_vec()),
    ]
}

fn any_serialization() -> impl Strategy<Value = Serialization> {
    prop_oneof![
        4 => Just(Serialization::Binary),
        1 => Just(Serialization::Json),
        1 => Just(Serialization::Raw),
        1 => Just(Serialization::Postcard),
    ]
}

proptest! {
    #[test]
    fn cutting_changes_nothing(
        frames in prop::collection::vec(frame(), 0..60),
        len in 1_usize..100,
        serialization in any_serialization(),
    ) {
        let (mut whole, mut memory) = (Inbox::new(serialization), vec![0; 100_000]);
        let (mut cut, mut cut_memory) = (Inbox::new(serialization), vec![0; 100_000]);
        for frame in &frames {
            let outcome = whole.frame(&mut memory, Fragment::binary(frame));
            prop_assert_eq!(feed_cut(&mut cut, &mut cut_memory, frame, len), outcome);
            prop_assert_eq!((whole.len(), whole.dropped()), (cut.len(), cut.dropped()));
        }
        prop_assert_eq!(whole.free(&memory), cut.free(&cut_memory));
        while !whole.is_empty() {
            prop_assert_eq!(whole.front(&mut memory), cut.front(&mut cut_memory));
            whole.pop(&mut memory);
            cut.pop(&mut cut_memory);
        }
        prop_assert!(cut.is_empty());
    }

    /// The driver gives as much as it was promised room for. It is all taken, and there is always
    /// room for more once the application has read.
    #[test]
    fn what_was_promised_is_taken(
        size in 0_usize..1000,
        streaming in any::<bool>(),
        frames in prop::collection::vec(frame(), 0..40),
        steps in prop::collection::vec((0_u8..8, 1_usize..120), 1..100),
        serialization in any_serialization(),
    ) {
        let (mut inbox, mut memory) = (Inbox::new(serialization), vec![0; size]);
        inbox.set_streaming(streaming);
        let mut steps = steps.iter().copied().cycle();
        let mut promised = inbox.free(&memory);
        for frame in &frames {
            let mut at = None;
            while at != Some(frame.len()) || frame.is_empty() {
                let (step, len) = steps.next().unwrap();
                match step {
                    0 => inbox.pop(&mut memory),
                    1 => drop(inbox.piece(&mut memory)),
                    2 => inbox.pop_piece(&mut memory),
                    3 => promised = promised.max(inbox.free(&memory)),
                    _ => {}
                }
                let free = inbox.free(&memory);
                prop_assert!(free >= promised, "a promise is kept: {free} {promised}");
                let cost = if at.is_none() { MESSAGE_COST } else { 0 };
                if promised <= cost {
                    promised = free;
                    if promised <= cost {
                        prop_assert!(inbox.is_readable(), "stuck");
                        inbox.pop(&mut memory);
                        promised = inbox.free(&memory);
                        continue;
                    }
                }
                let start = at.unwrap_or(0);
                // Some frames go whole.
                let len = if step == 7 { usize::MAX } else { len };
                let end = frame.len().min(start.saturating_add(len.min(promised - cost)));
                let last = end == frame.len();
                let fed = inbox.feed(&mut memory, fragment(at.is_none(), last, &frame[start..end]));
                let blocked = matches!(fed, Ok(Received::Blocked { .. }));
                prop_assert!(!blocked);
                promised -= cost + (end - start);
                at = Some(end);
                if last {
                    break;
                }
            }
        }
        while inbox.is_readable() {
            inbox.pop(&mut memory);
        }
        prop_assert!(inbox.free(&memory) > MESSAGE_COST);
    }

    /// Messages of any length come through a small inbox, on an ordered channel.
    #[test]
    fn messages_of_any_length_pass(
        size in 64_usize..3000,
        lens in prop::collection::vec((0_usize..20_000, 0_usize..500), 1..6),
        cuts in prop::collection::vec((1_usize..4000, any::<bool>()), 1..50),
    ) {
        let mut outbox = Outbox::new(Serialization::Binary);
        let (mut frames, mut sent) = (vec![], vec![]);
        for (len, stride) in lens {
            let mut buffer = vec![0; len + 32];
            let used = binarypack::to_slice(&Bytes(pattern(len)), &mut buffer).unwrap().len();
            buffer.truncate(used);
            if stride < 20 {
                let mut memory = vec![0; len + 100];
                outbox.send(&mut memory, &Bytes(pattern(len))).unwrap();
                frames.extend(drain(&mut outbox, &mut memory));
            } else {
                frames.extend(cut(&mut outbox, &buffer, stride));
            }
            sent.push(buffer);
        }
        let (mut inbox, mut memory) = (Inbox::new(Serialization::Binary), vec![0; size]);
        inbox.set_streaming(true);
        let mut reader = Reader::default();
        let mut cuts = cuts.iter().copied().cycle();
        for frame in &frames {
            let mut at = 0;
            while at < frame.len() {
                let (len, read) = cuts.next().unwrap();
                let end = frame.len().min(at + len);
                let piece = fragment(at == 0, end == frame.len(), &frame[at..end]);
                match inbox.feed(&mut memory, piece) {
                    Ok(Received::Blocked { taken }) => {
                        at += taken;
                        prop_assert!(reader.read(&mut inbox, &mut memory));
                    }
                    outcome => {
                        prop_assert!(outcome.is_ok());
                        at = end;
                    }
                }
                if read {
                    reader.read(&mut inbox, &mut memory);
                }
            }
        }
        while reader.read(&mut inbox, &mut memory) {}
        prop_assert_eq!((reader.lost, inbox.dropped()), (0, 0));
        prop_assert!(reader.open.is_none());
        prop_assert_eq!(reader.messages, sent);
        prop_assert_eq!(inbox.free(&memory), size);
    }
}
