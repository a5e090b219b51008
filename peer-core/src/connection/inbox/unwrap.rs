//! Messages longer than the memory: PeerJS's chunks, unwrapped as they come.
//!
//! The data of one chunk after another goes to the open block. Before it the head of the chunk is
//! kept there until it is whole, after it the tail; both are taken away then.

use super::{Coming, Inbox, Lent, Meaning, Reading, Received, blocks::HEADER, meaning};
use crate::{connection::ReceiveError, serialization::MessageKind};

/// How a chunk of PeerJS begins: a map of four, whose first key this is.
const BEGIN: &[u8] = b"\x84\xba__peerData";
/// The longest head of a chunk: [`BEGIN`], id, key, `n`, key, tag and length of the data.
const HEAD_MAX: usize = BEGIN.len() + 9 + 2 + 9 + 5 + 5;
/// The longest tail: key, `total`.
const TAIL_MAX: usize = 6 + 9;
/// Above it JavaScript's numbers are no ids.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The message whose chunks are unwrapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unwrapping {
    /// 0 while there is none.
    id: u64,
    /// The number of the chunk that is coming in, or comes next.
    n: u32,
    /// 0 until the first chunk is whole: it comes last.
    total: u32,
    /// Bytes of data that the chunk still has.
    left: usize,
}

impl Unwrapping {
    pub(super) const NONE: Self = Self {
        id: 0,
        n: 0,
        total: 0,
        left: 0,
    };

    pub(super) const fn is_some(&self) -> bool {
        self.id != 0
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn clear(&mut self) {
        *self = Self::NONE;
    }
}

/// Whether a frame may be a chunk, as far as its first bytes tell.
pub(super) fn may_be_chunk(frame: &[u8]) -> bool {
    let len = frame.len().min(BEGIN.len());
    frame.get(..len) == BEGIN.get(..len)
}

impl Inbox {
    /// How many bytes may be taken before it has to be looked at them.
    pub(super) fn unwrap_limit(&self) -> usize {
        match self.coming {
            Coming::ChunkHead => HEAD_MAX.saturating_sub(self.framing),
            Coming::ChunkData => self.unwrapping.left,
            // One too many is an error.
            Coming::ChunkTail => (TAIL_MAX + 1).saturating_sub(self.framing),
            _ => usize::MAX,
        }
    }

    /// Looks at the `more` bytes that were taken. Returns how many were too many, and whether a
    /// message was lost.
    pub(super) fn unwrap(
        &mut self,
        memory: &mut [u8],
        more: usize,
    ) -> (usize, Result<(), ReceiveError>) {
        match self.coming {
            Coming::ChunkData => {
                self.unwrapping.left -= more;
                if self.unwrapping.left == 0 {
                    self.coming = Coming::ChunkTail;
                }
            }
            Coming::ChunkTail => {
                self.framing += more;
                if self.framing > TAIL_MAX {
                    return (0, Err(self.lose_open(ReceiveError::Malformed)));
                }
            }
            _ => {
                self.framing += more;
                match head(self.framing_bytes(memory)) {
                    Ok(head) => {
                        let back = self.framing - head.len;
                        self.framing = head.len;
                        self.tail -= back;
                        return (back, self.unwrap_chunk(memory, &head));
                    }
                    Err(Unread::Short) if self.framing < HEAD_MAX => {}
                    Err(_) => return (0, self.not_unwrapped(memory)),
                }
            }
        }
        (0, Ok(()))
    }

    /// The head of a chunk is whole.
    fn unwrap_chunk(&mut self, memory: &mut [u8], head: &Head) -> Result<(), ReceiveError> {
        let current = self.unwrapping;
        let repeated = head.id == current.id && head.n < current.n;
        if repeated || self.is_recent(head.id) {
            self.tail -= self.framing;
            self.framing = 0;
            self.coming = Coming::Discarded;
            if !current.is_some() {
                self.tail = self.open;
                self.settle();
            }
            return Ok(());
        }
        let mut lost = Ok(());
        if current.is_some() && (head.id != current.id || head.n != current.n) {
            // Another message, or one chunk too far.
            lost = Err(self.lose_unwrapped(memory));
            if head.id == current.id {
                self.drop_open();
                return lost;
            }
        }
        if !self.unwrapping.is_some() {
            if !self.streaming || head.n != 0 || self.known(head.id).is_some() {
                self.framing = 0;
                self.coming = Coming::Chunk;
                return lost;
            }
            self.unwrapping.id = head.id;
        }
        self.tail -= self.framing;
        self.framing = 0;
        self.unwrapping.left = head.data;
        self.coming = if head.data > 0 {
            Coming::ChunkData
        } else {
            Coming::ChunkTail
        };
        lost
    }

    /// The chunk that is unwrapped is over.
    pub(super) fn end_chunk(&mut self, memory: &mut [u8]) -> Result<Received, ReceiveError> {
        let total = tail(self.framing_bytes(memory));
        let now = &mut self.unwrapping;
        if now.n == 0 {
            // That of the first chunk counts, as with PeerJS.
            now.total = total.unwrap_or(0);
        }
        if self.coming == Coming::ChunkData || total.is_none() || now.n >= now.total {
            let error = self.lose_open(ReceiveError::Malformed);
            self.coming = Coming::Nothing;
            return Err(error);
        }
        now.n += 1;
        self.tail -= self.framing;
        self.framing = 0;
        self.coming = Coming::Nothing;
        if self.unwrapping.n < self.unwrapping.total {
            return Ok(Received::Part);
        }
        let whole = self.open_len();
        self.remember(self.unwrapping.id);
        self.unwrapping.clear();
        if !self.is_taken() {
            let content = memory.get(self.open + HEADER..self.open + HEADER + whole);
            debug_assert!(content.is_some(), "the open block is in the memory");
            let content = content.unwrap_or_default();
            let outcome = match meaning(self.serialization, MessageKind::Binary, content) {
                Some(Meaning::Message) => Ok(Received::Message),
                Some(Meaning::Close) => Ok(Received::Close),
                // Chunks within chunks, which no PeerJS sends.
                _ => Err(self.lose(ReceiveError::Malformed)),
            };
            if !matches!(outcome, Ok(Received::Message)) {
                self.tail = self.open;
                self.drop_open();
                return outcome;
            }
        }
        self.close_open(memory);
        Ok(Received::Message)
    }

    /// The frame whose first bytes are kept is no chunk that can be unwrapped. Where one was
    /// expected, its message is lost.
    pub(super) fn not_unwrapped(&mut self, memory: &mut [u8]) -> Result<(), ReceiveError> {
        let lost = if self.unwrapping.is_some() {
            Err(self.lose_unwrapped(memory))
        } else {
            Ok(())
        };
        // What begins as a chunk is none of the application's messages.
        self.coming = if self.framing_bytes(memory).starts_with(BEGIN) {
            Coming::Chunk
        } else {
            Coming::Plain
        };
        self.framing = 0;
        lost
    }

    /// Gives up what is in the open block, where there is no room for the rest of it. Of a chunk
    /// that is its whole message.
    pub(super) fn lose_coming(&mut self, memory: &mut [u8], error: ReceiveError) {
        let block = memory.get(self.open + HEADER..self.tail);
        let id = block
            .filter(|_| self.coming == Coming::Chunk)
            .and_then(chunk_id);
        self.drop_open();
        let known = id.and_then(|id| self.known(id));
        self.give_up(memory, id, known, error);
    }

    /// Gives up the message whose chunks are unwrapped; what is kept of the frame that is coming in
    /// stays.
    fn lose_unwrapped(&mut self, memory: &mut [u8]) -> ReceiveError {
        let len = self.open_len();
        self.drop_open_bytes(memory, len);
        self.remember(self.unwrapping.id);
        self.unwrapping.clear();
        if self.messages == 0 {
            self.reading = Reading::Whole;
            self.lent = Lent::Nothing;
        }
        self.lose(ReceiveError::NoRoom)
    }

    fn lose_open(&mut self, error: ReceiveError) -> ReceiveError {
        self.drop_open();
        self.lose(error)
    }

    fn framing_bytes<'m>(&self, memory: &'m [u8]) -> &'m [u8] {
        let bytes = memory.get(self.tail - self.framing..self.tail);
        debug_assert!(bytes.is_some(), "they are the end of the open block");
        bytes.unwrap_or_default()
    }
}

/// What comes before the data of a chunk.
struct Head {
    /// Its bytes.
    len: usize,
    id: u64,
    n: u32,
    /// Bytes of data.
    data: usize,
}

/// It is no head.
enum Unread {
    /// More bytes may make one of it.
    Short,
    /// It is something else, or written in another way than PeerJS does.
    Other,
}

/// Reads the head of a chunk at the start of the bytes.
fn head(bytes: &[u8]) -> Result<Head, Unread> {
    let rest = key(bytes, BEGIN)?;
    let (id, rest) = integer(rest)?;
    let (n, rest) = integer(key(rest, b"\xb1n")?)?;
    let (data, rest) = binary_len(key(rest, b"\xb4data")?)?;
    if id == 0 || id > MAX_SAFE_INTEGER {
        return Err(Unread::Other);
    }
    Ok(Head {
        len: bytes.len() - rest.len(),
        id,
        n: u32::try_from(n).map_err(|_| Unread::Other)?,
        data: usize::try_from(data).map_err(|_| Unread::Other)?,
    })
}

/// The message of which a frame with these bytes, or more, is a chunk.
pub(super) fn chunk_id(bytes: &[u8]) -> Option<u64> {
    head(bytes).ok().map(|head| head.id)
}

/// Reads the tail of a chunk, which is all of the bytes, and returns the total.
fn tail(bytes: &[u8]) -> Option<u32> {
    let (total, rest) = integer(key(bytes, b"\xb5total").ok()?).ok()?;
    rest.is_empty().then(|| u32::try_from(total).ok())?
}

fn key<'b>(bytes: &'b [u8], key: &[u8]) -> Result<&'b [u8], Unread> {
    match bytes.strip_prefix(key) {
        Some(rest) => Ok(rest),
        None if key.starts_with(bytes) => Err(Unread::Short),
        None => Err(Unread::Other),
    }
}

fn integer(bytes: &[u8]) -> Result<(u64, &[u8]), Unread> {
    let (&tag, rest) = bytes.split_first().ok_or(Unread::Short)?;
    match tag {
        0..=0x7f => Ok((tag.into(), rest)),
        0xcc..=0xcf => unsigned(rest, 1 << (tag - 0xcc)),
        _ => Err(Unread::Other),
    }
}

fn binary_len(bytes: &[u8]) -> Result<(u64, &[u8]), Unread> {
    let (&tag, rest) = bytes.split_first().ok_or(Unread::Short)?;
    match tag {
        0xa0..=0xaf => Ok((u64::from(tag & 0x0f), rest)),
        0xda => unsigned(rest, 2),
        0xdb => unsigned(rest, 4),
        _ => Err(Unread::Other),
    }
}

fn unsigned(bytes: &[u8], len: usize) -> Result<(u64, &[u8]), Unread> {
    let (digits, rest) = bytes.split_at_checked(len).ok_or(Unread::Short)?;
    let value = |value, &digit: &u8| value << 8 | u64::from(digit);
    Ok((digits.iter().fold(0, value), rest))
}
