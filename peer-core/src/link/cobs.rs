//! Consistent Overhead Byte Stuffing (Cheshire and Baker, 1997): frames without a zero in them, between zeros.

/// Bytes that a frame of `len` bytes takes at most once stuffed, with a zero before and after it.
pub(super) const fn stuffed_len(len: usize) -> usize {
    len + len / 254 + 3
}

/// Stuffs one frame into a slice, a piece at a time.
#[derive(Debug)]
pub(super) struct Encoder<'b> {
    out: &'b mut [u8],
    at: usize,
    /// Where the code of the block under way goes.
    code_at: usize,
    code: u8,
    full: bool,
}

impl<'b> Encoder<'b> {
    /// A frame that begins at the start of `out`.
    pub(super) fn new(out: &'b mut [u8]) -> Self {
        let mut encoder = Self {
            out,
            at: 0,
            code_at: 0,
            code: 1,
            full: false,
        };
        encoder.put(0);
        encoder.open();
        encoder
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.code == 0xff {
                self.close();
                self.open();
            }
            if byte == 0 {
                self.close();
                self.open();
                continue;
            }
            self.put(byte);
            self.code = self.code.saturating_add(1);
        }
    }

    /// Ends the frame: its length in `out`, or nothing when it did not fit.
    pub(super) fn finish(mut self) -> Option<usize> {
        self.close();
        self.put(0);
        (!self.full).then_some(self.at)
    }

    fn open(&mut self) {
        self.code_at = self.at;
        self.code = 1;
        self.put(0);
    }

    fn close(&mut self) {
        if let Some(place) = self.out.get_mut(self.code_at) {
            *place = self.code;
        }
    }

    fn put(&mut self, byte: u8) {
        match self.out.get_mut(self.at) {
            Some(place) => {
                *place = byte;
                self.at += 1;
            }
            None => self.full = true,
        }
    }
}

/// Takes the stuffing out as bytes come, into memory for one frame.
#[derive(Debug)]
pub(super) struct Decoder<'m> {
    frame: &'m mut [u8],
    len: usize,
    /// Bytes of the block that are still to come.
    left: u8,
    /// A zero belongs before the next block.
    zero: bool,
    bad: bool,
    /// Something came since the last delimiter.
    begun: bool,
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
            left: 0,
            zero: false,
            bad: false,
            begun: false,
        }
    }

    /// The longest frame.
    pub(super) fn capacity(&self) -> usize {
        self.frame.len()
    }

    /// The bytes of a frame just completed.
    pub(super) fn frame(&self, len: usize) -> &[u8] {
        self.frame.get(..len).unwrap_or_default()
    }

    pub(super) fn push(&mut self, byte: u8) -> Decoded {
        if byte == 0 {
            let len = core::mem::take(&mut self.len);
            let whole = self.left == 0 && !self.bad;
            let begun = core::mem::take(&mut self.begun);
            self.left = 0;
            self.zero = false;
            self.bad = false;
            return match (begun, whole) {
                (false, _) => Decoded::More,
                (true, true) => Decoded::Frame(len),
                (true, false) => Decoded::Garbage,
            };
        }
        self.begun = true;
        if self.left > 0 {
            self.left -= 1;
            self.put(byte);
        } else {
            if self.zero {
                self.put(0);
            }
            self.left = byte - 1;
            self.zero = byte != 0xff;
        }
        Decoded::More
    }

    fn put(&mut self, byte: u8) {
        match self.frame.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.bad = true,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{vec, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    fn stuff(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; stuffed_len(bytes.len())];
        let mut encoder = Encoder::new(&mut out);
        encoder.push(bytes);
        let len = encoder.finish().unwrap();
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
        let long: Vec<u8> = (1..=254).collect();
        assert_eq!(stuff(&long)[..3], [0, 0xff, 1]);
        assert_eq!(stuff(&long).len(), stuffed_len(254) - 1);
    }

    proptest! {
        #[test]
        fn round_trip(
            bytes in prop::collection::vec(prop_oneof![Just(0), any::<u8>(), Just(7)], 0..700),
        ) {
            let stuffed = stuff(&bytes);
            prop_assert!(stuffed.len() <= stuffed_len(bytes.len()));
            prop_assert!(stuffed[1..stuffed.len() - 1].iter().all(|byte| *byte != 0));
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
            let mut out = vec![0; room];
            let mut encoder = Encoder::new(&mut out);
            encoder.push(&bytes);
            if let Some(len) = encoder.finish() {
                prop_assert!(len <= room);
            } else {
                prop_assert!(room < stuffed_len(bytes.len()));
            }
        }
    }
}
