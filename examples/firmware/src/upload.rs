//! What a page sends that is longer than the inbox: checked as it comes, and held nowhere.

use peer_core::serialization::Fragment;

use crate::history::Checksum;

/// BinaryPack's `raw 16` and `raw 32`, as PeerJS calls bytes, with the length behind it.
const HEADS: [(u8, usize); 2] = [(0xda, 3), (0xdb, 5)];

/// How far a message has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upload {
    /// Bytes of its head that are not counted.
    head: usize,
    /// Bytes that came, without the head.
    pub(crate) bytes: usize,
    pub(crate) checksum: Checksum,
}

impl Upload {
    /// Takes the next piece of a message. Returns what came, once all of it has.
    /// `packed`: it is BinaryPack.
    pub(crate) fn go_on(
        coming: &mut Option<Self>,
        piece: &Fragment<'_>,
        packed: bool,
    ) -> Option<Self> {
        let mut upload = match coming.take() {
            Some(upload) if !piece.first => upload,
            // The rest of the one before was lost.
            _ => Self::begin(piece.bytes.first().filter(|_| packed)),
        };
        let head = upload.head.min(piece.bytes.len());
        upload.head -= head;
        let bytes = piece.bytes.get(head..).unwrap_or_default();
        upload.checksum.add(bytes);
        upload.bytes += bytes.len();
        if piece.last {
            return Some(upload);
        }
        *coming = Some(upload);
        None
    }

    fn begin(first: Option<&u8>) -> Self {
        let head = HEADS.iter().find(|(of, _)| Some(of) == first);
        Self {
            head: head.map_or(0, |(_, len)| *len),
            bytes: 0,
            checksum: Checksum::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(bytes: &[u8]) -> u32 {
        let mut sum = Checksum::new();
        sum.add(bytes);
        sum.0
    }

    #[test]
    fn the_same_however_it_is_cut() {
        let packed = b"\xdb\0\0\0\x0bhello world";
        for step in 1..packed.len() {
            let (mut coming, mut done) = (None, None);
            for (n, bytes) in packed.chunks(step).enumerate() {
                assert!(done.is_none());
                let piece = Fragment {
                    first: n == 0,
                    last: (n + 1) * step >= packed.len(),
                    ..Fragment::binary(bytes)
                };
                done = Upload::go_on(&mut coming, &piece, true);
            }
            let done = done.unwrap();
            assert_eq!(
                (done.bytes, done.checksum.0),
                (11, checksum(b"hello world"))
            );
            assert!(coming.is_none());
        }
    }

    #[test]
    fn one_of_which_the_rest_is_lost_is_forgotten() {
        let first = Fragment {
            last: false,
            ..Fragment::binary(b"abc")
        };
        let mut coming = None;
        assert!(Upload::go_on(&mut coming, &first, false).is_none());
        let done = Upload::go_on(&mut coming, &Fragment::binary(b"foobar"), false).unwrap();
        assert_eq!((done.bytes, done.checksum.0), (6, 0xbf9c_f968));
    }
}
