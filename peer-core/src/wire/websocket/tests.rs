extern crate std;

use std::{string::String, vec, vec::Vec};

use proptest::prelude::*;

use super::*;

/// What was received, owned.
#[derive(Clone, Debug, PartialEq)]
enum Got {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Error(FrameError),
}

/// Everything in the bytes, fed in pieces that end at these places.
fn decode(bytes: &[u8], cuts: &[usize], memory: usize) -> Vec<Got> {
    let mut memory = vec![0; memory];
    let mut decoder = Decoder::new(&mut memory);
    let mut all = Vec::new();
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    for piece in cuts.windows(2) {
        let mut piece = &bytes[piece[0]..piece[1]];
        loop {
            all.push(match decoder.decode(&mut piece) {
                Ok(None) => {
                    assert!(piece.is_empty());
                    break;
                }
                Ok(Some(ServerMessage::Text(text))) => Got::Text(text.into()),
                Ok(Some(ServerMessage::Binary(bytes))) => Got::Binary(bytes.into()),
                Ok(Some(ServerMessage::Ping(bytes))) => Got::Ping(bytes.into()),
                Ok(Some(ServerMessage::Pong(bytes))) => Got::Pong(bytes.into()),
                Ok(Some(ServerMessage::Close { code, reason })) => Got::Close(code, reason.into()),
                Err(error) => {
                    assert_eq!(decoder.decode(&mut piece), Err(error), "an error stays");
                    all.push(Got::Error(error));
                    return all;
                }
            });
        }
    }
    all
}

/// A server's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(len as u8),
        len @ 126..=0xffff => {
            frame.push(126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// The examples of RFC 6455, section 5.7.
#[test]
fn the_examples_of_the_rfc() {
    let long = vec![7; 256];
    let longer = vec![8; 65536];
    let bytes = [
        b"\x81\x05Hello".to_vec(),
        b"\x01\x03Hel\x80\x02lo".to_vec(),
        b"\x89\x05Hello\x8a\x05Hello".to_vec(),
        [b"\x82\x7e\x01\x00", &long[..]].concat(),
        [b"\x82\x7f\0\0\0\0\0\x01\0\0", &longer[..]].concat(),
    ]
    .concat();
    let want = [
        Got::Text(b"Hello".into()),
        Got::Text(b"Hello".into()),
        Got::Ping(b"Hello".into()),
        Got::Pong(b"Hello".into()),
        Got::Binary(long),
        Got::Binary(longer),
    ];
    assert_eq!(decode(&bytes, &[], 65536), want);
}

#[test]
fn a_broken_frame_is_an_error() {
    let too_long = [frame(0x89, &[0; 126])].concat();
    for (bytes, error) in [
        (&b"\xc1\x00"[..], FrameError::Reserved),
        (b"\x91\x00", FrameError::Reserved),
        (b"\x83\x00", FrameError::Opcode),
        (b"\x8b\x00", FrameError::Opcode),
        (b"\x81\x80", FrameError::Masked),
        (b"\x81\x7e\x00\x7d", FrameError::Length),
        (b"\x81\x7f\0\0\0\0\0\0\xff\xff", FrameError::Length),
        (b"\x81\x7f\x80\0\0\0\0\x01\0\0", FrameError::Length),
        (b"\x09\x00", FrameError::Control),
        (&too_long, FrameError::Control),
        (b"\x80\x00", FrameError::Fragmentation),
        (b"\x01\x00\x81\x00", FrameError::Fragmentation),
        (b"\x88\x01x", FrameError::Close),
        (b"\x88\x02\x03\xe7", FrameError::Close),
        (b"\x88\x02\x03\xed", FrameError::Close),
        (b"\x88\x02\x0b\xb7", FrameError::Close),
        (b"\x88\x03\x03\xe8\xff", FrameError::Close),
        (b"\x82\x0b", FrameError::TooLarge),
        (
            b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff",
            FrameError::TooLarge,
        ),
    ] {
        assert_eq!(decode(bytes, &[], 10), [Got::Error(error)], "{bytes:x?}");
    }
    let mut pieces = frame(0x02, &[0; 6]);
    pieces.extend(frame(0x80, &[0; 5]));
    assert_eq!(decode(&pieces, &[], 10), [Got::Error(FrameError::TooLarge)]);
    assert_eq!(decode(&pieces, &[], 11), [Got::Binary(vec![0; 11])]);
}

#[test]
fn nothing_comes_after_close() {
    assert_eq!(
        decode(b"\x88\x00\x81\x01x", &[], 9),
        [Got::Close(None, "".into())]
    );
    let bytes = b"\x88\x05\x03\xe8bye\xff\xff\xff";
    assert_eq!(
        decode(bytes, &[], 9),
        [Got::Close(Some(1000), "bye".into())]
    );
}

#[test]
fn a_message_can_be_had_again_until_the_next() {
    let mut memory = [0; 8];
    let mut decoder = Decoder::new(&mut memory);
    let mut bytes = &b"\x81\x02ab\x89\x01x\x82\x01c"[..];
    assert_eq!(
        decoder.decode(&mut bytes),
        Ok(Some(ServerMessage::Text(&mut b"ab".to_vec())))
    );
    decoder.last_message()[0] = b'A';
    assert_eq!(decoder.last_message(), b"Ab");
    assert_eq!(
        decoder.decode(&mut bytes),
        Ok(Some(ServerMessage::Ping(b"x")))
    );
    assert_eq!(
        decoder.last_message(),
        b"Ab",
        "control frames have room of their own"
    );
    assert_eq!(
        decoder.decode(&mut bytes),
        Ok(Some(ServerMessage::Binary(&mut b"c".to_vec())))
    );
    assert_eq!(decoder.last_message(), b"c");
}

#[test]
fn a_reset_forgets_what_was_before() {
    for before in [
        &b"\x01\x02ab"[..],
        b"\x89\x05x",
        b"\x81",
        b"\x88\x00",
        b"\xff\x00",
    ] {
        let mut memory = [0; 8];
        let mut decoder = Decoder::new(&mut memory);
        let _ = decoder.decode(&mut &*before);
        decoder.reset();
        let text = decoder.decode(&mut &b"\x81\x02cd"[..]);
        assert_eq!(
            text,
            Ok(Some(ServerMessage::Text(&mut b"cd".to_vec()))),
            "{before:?}"
        );
    }
}

#[test]
fn a_control_frame_is_cut_and_a_small_buffer_is_full() {
    let mut buffer = [0; 200];
    assert_eq!(
        write_frame(Opcode::Pong, &[1; 150], [0; 4], &mut buffer)
            .unwrap()
            .len(),
        131
    );
    assert_eq!(
        write_frame(Opcode::Text, &[1; 150], [0; 4], &mut buffer)
            .unwrap()
            .len(),
        158
    );
    assert_eq!(
        write_frame(Opcode::Text, &[1; 150], [0; 4], &mut buffer[..157]),
        Err(BufferTooSmall)
    );
    assert_eq!(
        write_close(1000, [0; 4], &mut buffer),
        Ok(&b"\x88\x82\0\0\0\0\x03\xe8"[..])
    );
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let control = (
        prop_oneof![Just(0x89u8), Just(0x8a)],
        prop::collection::vec(any::<u8>(), 0..126),
    );
    let control = control.prop_map(|(first, payload)| frame(first, &payload));
    let message = (
        1..3u8,
        prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..300), control.clone()),
            1..4,
        ),
    );
    let message = message.prop_map(|(opcode, pieces)| {
        let mut bytes = Vec::new();
        let last = pieces.len() - 1;
        for (at, (piece, control)) in pieces.iter().enumerate() {
            let opcode = if at == 0 { opcode } else { 0 };
            bytes.extend(frame(if at == last { 0x80 } else { 0 } | opcode, piece));
            bytes.extend_from_slice(control);
        }
        bytes
    });
    prop::collection::vec(prop_oneof![control, message], 0..4).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn the_cuts_do_not_matter(
        mut bytes in stream(), cuts in prop::collection::vec(any::<usize>(), 0..8),
        damage in any::<Option<(usize, u8)>>(), memory in 0..1000usize,
    ) {
        if let (Some((at, byte)), false) = (damage, bytes.is_empty()) {
            let len = bytes.len();
            bytes[at % len] = byte;
        }
        let whole = decode(&bytes, &[], memory);
        prop_assert_eq!(&decode(&bytes, &cuts, memory), &whole);
        let all: Vec<_> = (0..bytes.len()).collect();
        prop_assert_eq!(&decode(&bytes, &all, memory), &whole);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), memory in 0..64usize) {
        decode(&bytes, &[], memory);
    }

    #[test]
    fn what_a_client_sends_a_server_reads(
        payload in prop::collection::vec(any::<u8>(), 0..70_000), mask in any::<[u8; 4]>(),
    ) {
        let mut buffer = vec![0; payload.len() + FrameHeader::MAX];
        let sent = write_frame(Opcode::Binary, &payload, mask, &mut buffer).unwrap();
        // Unmask it, and it is a server's frame.
        let header = FrameHeader::new(Opcode::Binary, payload.len(), mask).as_bytes().len();
        let mut plain = sent.to_vec();
        apply_mask(&mut plain[header..], mask, 0);
        plain[1] &= 0x7f;
        plain.drain(header - 4..header);
        prop_assert_eq!(decode(&plain, &[], payload.len()), [Got::Binary(payload)]);
    }

    #[test]
    fn a_mask_may_be_applied_in_pieces(
        mut bytes in prop::collection::vec(any::<u8>(), 0..64),
        cut in any::<prop::sample::Index>(),
        mask in any::<[u8; 4]>(),
    ) {
        let mut pieces = bytes.clone();
        apply_mask(&mut bytes, mask, 0);
        let cut = cut.index(pieces.len() + 1);
        apply_mask(&mut pieces[..cut], mask, 0);
        apply_mask(&mut pieces[cut..], mask, cut);
        prop_assert_eq!(bytes, pieces);
    }
}
