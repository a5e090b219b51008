//! Messages in chunks: honest ones in any order come out whole, whatever else comes between.

use std::collections::VecDeque;

use peer_core::connection::{Inbox, Received};
use peer_core::serialization::{Fragment, Serialization};
use peer_core::wire::chunk;

use super::bytes::Bytes;

/// Nobody lies about the chunks of ids up to this. Their message is told by the number.
const HONEST: u32 = 40;

/// A sequence of frames and reads at one inbox.
pub fn chunks(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let serialization = match bytes.byte() {
        0 => Serialization::Json,
        1 => Serialization::Raw,
        _ => Serialization::Binary,
    };
    let mut memory = vec![0; 64 + 8 * usize::from(bytes.byte())];
    let mut inbox = Inbox::new(serialization);
    // What must be read, in order; `None` where a liar decides.
    let mut expected: VecDeque<Option<Vec<u8>>> = VecDeque::new();
    while !bytes.is_empty() {
        let (frame, whole) = match bytes.below(8) {
            0 | 1 => {
                read(&mut inbox, &mut memory, &mut expected);
                continue;
            }
            2 => {
                let frame = bytes.piece().to_vec();
                if let Ok(chunk::BinaryMessage::Chunk(chunk)) = chunk::parse(&frame)
                    && chunk.id.get() <= u64::from(HONEST)
                {
                    continue;
                }
                (frame, None)
            }
            3 => {
                let (id, n, total) = (bytes.byte(), bytes.byte(), bytes.byte());
                let id = HONEST + 1 + u32::from(id);
                (packed(id, n.into(), total.into(), bytes.piece()), None)
            }
            4 => {
                let (n, total) = (bytes.word(), bytes.word());
                let huge = u32::from(n) << 16;
                (
                    packed(HONEST + 1, huge, u32::from(total) << 16, bytes.piece()),
                    None,
                )
            }
            _ => {
                let id = u32::from(bytes.byte()) % HONEST;
                let (message, stride) = honest(id);
                let pieces: Vec<_> = message.chunks(stride).collect();
                let n = bytes.below(pieces.len());
                let total = u32::try_from(pieces.len()).unwrap();
                (
                    packed(id + 1, u32::try_from(n).unwrap(), total, pieces[n]),
                    Some(message.clone()),
                )
            }
        };
        // Chunks only mean something where there are chunks.
        let whole = if serialization.is_chunked() {
            whole
        } else {
            Some(frame.clone())
        };
        feed(&mut inbox, &mut memory, &frame, whole, &mut expected);
    }
    while !inbox.is_empty() {
        read(&mut inbox, &mut memory, &mut expected);
    }
    assert!(expected.is_empty());
}

fn feed(
    inbox: &mut Inbox,
    memory: &mut [u8],
    frame: &[u8],
    whole: Option<Vec<u8>>,
    expected: &mut VecDeque<Option<Vec<u8>>>,
) {
    let before = (inbox.len(), inbox.dropped());
    match inbox.feed(memory, Fragment::binary(frame)) {
        Ok(Received::Message) => {
            assert_eq!(inbox.len(), before.0 + 1);
            // The message may be the frame itself, though it was meant to be a chunk.
            let is_chunk = matches!(chunk::parse(frame), Ok(chunk::BinaryMessage::Chunk(_)));
            let raw = !inbox.serialization().is_chunked() || !is_chunk;
            expected.push_back(if raw { Some(frame.to_vec()) } else { whole });
        }
        Ok(Received::Close | Received::Part | Received::Ignored) => {
            assert_eq!(inbox.len(), before.0);
        }
        Ok(Received::Blocked { taken }) => {
            assert!(taken == 0 && before.0 > 0, "reading makes room");
            assert_eq!((inbox.len(), inbox.dropped()), before, "nothing was taken");
        }
        Ok(other) => panic!("{other:?} without streaming"),
        Err(_) => {
            assert_eq!(inbox.len(), before.0);
            assert_ne!(inbox.dropped(), before.1, "losses are counted");
        }
    }
}

fn read(inbox: &mut Inbox, memory: &mut [u8], expected: &mut VecDeque<Option<Vec<u8>>>) {
    let len = inbox.len();
    let Some(message) = inbox.front(memory) else {
        assert!(len == 0 && expected.is_empty());
        return;
    };
    let want = expected.pop_front().expect("as many as were told");
    if let Some(want) = want {
        assert_eq!(message.bytes, want);
    }
    let _ = inbox.decode::<serde_json::Value>(memory);
    inbox.pop(memory);
    assert_eq!(inbox.len(), len - 1);
}

/// The message of an honest id, and the length of its chunks.
fn honest(id: u32) -> (Vec<u8>, usize) {
    let stride = 1 + (id as usize * 7) % 50;
    let len = stride + (id as usize * 31) % 150 + 1;
    let byte = |at: usize| (at as u32 * 13 + id) as u8;
    ((0..len).map(byte).collect(), stride)
}

/// A chunk as PeerJS packs it.
fn packed(id: u32, n: u32, total: u32, data: &[u8]) -> Vec<u8> {
    let mut out = b"\x84\xba__peerData\xce".to_vec();
    out.extend(id.to_be_bytes());
    out.extend(b"\xb1n\xce");
    out.extend(n.to_be_bytes());
    out.extend(b"\xb4data\xda");
    out.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(data);
    out.extend(b"\xb5total\xce");
    out.extend(total.to_be_bytes());
    out
}
