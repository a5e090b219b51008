//! Frames without a zero in them, between zeros: Consistent Overhead Byte Stuffing by the crate
//! `cobs`.
//!
//! State and memory are apart, so a frame can be stuffed where it will wait, a piece at a time.

use cobs::{DecodeResult, DecoderState, EncoderState, PushResult};

/// Bytes that a frame of `len` bytes takes at most once stuffed, with a zero before and after it.
pub(super) const fn stuffed_len(len: usize) -> usize {
    len + len / 254 + 3
}

/// Stuffs one frame into a slice, which is lent to each call.
#[derive(Debug)]
pub(super) struct Encoder {
    state: EncoderState,
    /// Bytes written.
    at: usize,
    /// A block of 254 bytes is full. The next one gets its code only when a byte follows.
    block_full: bool,
}

impl Encoder {
    /// Begins a frame at the start of `out`. `None`: it does not fit, here as in the other calls.
    pub(super) fn new(out: &mut [u8]) -> Option<Self> {
        // The first zero, and the place of the first code.
        *out.first_chunk_mut::<2>()? = [0; 2];
        Some(Self {
            state: EncoderState::default(),
            at: 2,
            block_full: false,
        })
    }

    pub(super) fn push(&mut self, out: &mut [u8], bytes: &[u8]) -> Option<()> {
        for &byte in bytes {
            if core::mem::take(&mut self.block_full) {
                self.put(out, 0)?;
            }
            match self.state.push(byte) {
                PushResult::AddSingle(byte) => self.put(out, byte)?,
                PushResult::ModifyFromStartAndSkip((code_at, code)) => {
                    set_code(out, code_at, code)?;
                    self.put(out, 0)?;
                }
                PushResult::ModifyFromStartAndPushAndSkip((code_at, code, byte)) => {
                    set_code(out, code_at, code)?;
                    self.put(out, byte)?;
                    self.block_full = true;
                }
            }
        }
        Some(())
    }

    /// Ends the frame: its length in `out`.
    pub(super) fn finish(mut self, out: &mut [u8]) -> Option<usize> {
        if !self.block_full {
            let (code_at, code) = self.state.clone().finalize();
            set_code(out, code_at, code)?;
        }
        self.put(out, 0)?;
        Some(self.at)
    }

    fn put(&mut self, out: &mut [u8], byte: u8) -> Option<()> {
        *out.get_mut(self.at)? = byte;
        self.at += 1;
        Some(())
    }
}

/// Writes the code of a block. The crate counts from the first code, which a zero is before.
fn set_code(out: &mut [u8], code_at: usize, code: u8) -> Option<()> {
    *out.get_mut(code_at + 1)? = code;
    Some(())
}

/// Takes the stuffing out as bytes come, into memory for one frame.
#[derive(Debug)]
pub(super) struct Decoder<'m> {
    frame: &'m mut [u8],
    len: usize,
    state: DecoderState,
    too_long: bool,
}

/// What a byte led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// Nothing yet.
    More,
    /// A frame of this many bytes is complete.
    Frame(usize),
    /// What came since the last zero is no frame, or one longer than the memory.
    Garbage,
}

impl<'m> Decoder<'m> {
    pub(super) fn new(frame: &'m mut [u8]) -> Self {
        Self {
            frame,
            len: 0,
            state: DecoderState::Idle,
            too_long: false,
        }
    }

    /// The longest frame.
    pub(super) fn capacity(&self) -> usize {
        self.frame.len()
    }

    /// The bytes of a frame just completed.
    pub(super) fn frame(&self, len: usize) -> &[u8] {
        debug_assert!(len <= self.frame.len(), "a frame that was decoded here");
        self.frame.get(..len).unwrap_or_default()
    }

    pub(super) fn push(&mut self, byte: u8) -> Decoded {
        let result = self.state.feed(byte);
        if let Ok(DecodeResult::DataContinue(byte)) = result {
            match self.frame.get_mut(self.len) {
                Some(place) => {
                    *place = byte;
                    self.len += 1;
                }
                None => self.too_long = true,
            }
        }
        if byte != 0 {
            return Decoded::More;
        }
        let len = core::mem::take(&mut self.len);
        let too_long = core::mem::take(&mut self.too_long);
        match result {
            Ok(DecodeResult::DataComplete) if !too_long => Decoded::Frame(len),
            // A zero after a zero.
            Ok(DecodeResult::NoData) => Decoded::More,
            _ => Decoded::Garbage,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{vec, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    fn stuff_into(out: &mut [u8], pieces: &[&[u8]]) -> Option<usize> {
        let mut encoder = Encoder::new(out)?;
        for piece in pieces {
            encoder.push(out, piece)?;
        }
        encoder.finish(out)
    }

    fn stuff(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; stuffed_len(bytes.len())];
        let len = stuff_into(&mut out, &[bytes]).unwrap();
        out.truncate(len);
        out
    }

    #[test]
    fn examples_of_the_paper() {
        assert_eq!(stuff(&[]), [0, 1, 0]);
        assert_eq!(stuff(&[0]), [0, 1, 1, 0]);
        assert_eq!(
            stuff(&[0x11, 0x22, 0, 0x33]),
            [0, 3, 0x11, 0x22, 2, 0x33, 0]
        );
        // Nothing follows a last full block, not even the code of an empty one.
        let long: Vec<u8> = (1..=254).collect();
        assert_eq!(stuff(&long)[..3], [0, 0xff, 1]);
        assert_eq!(stuff(&long)[254..], [0xfd, 0xfe, 0]);
    }

    #[test]
    fn an_empty_block_after_a_full_one_is_taken() {
        let mut memory = [0; 254];
        let mut decoder = Decoder::new(&mut memory);
        let full: Vec<u8> = [0xff].into_iter().chain(1..=254).collect();
        for byte in full.iter().chain(&[1]) {
            assert_eq!(decoder.push(*byte), Decoded::More);
        }
        assert_eq!(decoder.push(0), Decoded::Frame(254));
    }

    proptest! {
        #[test]
        fn round_trip(
            bytes in prop::collection::vec(prop_oneof![Just(0), any::<u8>(), Just(7)], 0..700),
            cut in 0_usize..700,
        ) {
            let stuffed = stuff(&bytes);
            prop_assert!(stuffed.len() <= stuffed_len(bytes.len()));
            prop_assert!(stuffed[1..stuffed.len() - 1].iter().all(|byte| *byte != 0));
            // However it is cut, the bytes are the same.
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            let mut out = vec![9; stuffed_len(bytes.len())];
            let len = stuff_into(&mut out, &[head, &[], tail, &[]]).unwrap();
            prop_assert_eq!(&out[..len], &stuffed[..]);

            let mut memory = vec![0; 700];
            let mut decoder = Decoder::new(&mut memory);
            let mut last = Decoded::More;
            for byte in stuffed {
                last = decoder.push(byte);
            }
            prop_assert_eq!(last, Decoded::Frame(bytes.len()));
            prop_assert_eq!(decoder.frame(bytes.len()), &bytes[..]);
        }

        #[test]
        fn too_little_room_is_told(
            bytes in prop::collection::vec(any::<u8>(), 1..300),
            room in 0_usize..300,
        ) {
            match stuff_into(&mut vec![0; room], &[&bytes]) {
                Some(len) => prop_assert!(len <= room),
                None => prop_assert!(room < stuffed_len(bytes.len())),
            }
        }
    }
}
