//! Reading: fragments of messages in their order, and what happened between them.

use super::super::packet::{FIRST, LAST, UNORDERED};
use super::log::{Kind, List};
use super::{Memory, Receiver};
use crate::rtc::sctp::Violation;

/// What is read from an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received<'a> {
    /// A piece of a message. Pieces of two messages never mix.
    Piece(Piece<'a>),
    /// The remote gave up the message of which pieces were read: nothing more of it will come
    /// (RFC 3758).
    Abandoned,
    /// The remote has reset this stream, or all with `None`, which closes their data channels
    /// (RFC 8831, section 6.7).
    Reset(Option<u16>),
}

/// A piece of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The id of the stream.
    pub stream: u16,
    /// The payload protocol identifier (RFC 8831, section 8).
    pub ppid: u32,
    /// Whether the message is unordered.
    pub unordered: bool,
    /// Whether the message begins here.
    pub first: bool,
    /// Whether the message ends here, once all of these bytes are consumed.
    pub last: bool,
    /// At least one byte.
    pub bytes: &'a [u8],
}

/// Where the reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reading {
    /// Between two messages.
    #[default]
    Between,
    /// Within a message: which list it is in, its stream, bytes of it so far, bytes of the record
    /// that are consumed.
    Within {
        overtaken: bool,
        stream: u16,
        bytes: u64,
        offset: u16,
    },
}

impl Receiver {
    /// Lends the next piece, or tells what happened. The same again until it is consumed.
    ///
    /// # Errors
    /// [`Violation`] if the remote's fragments are no messages, or a message is longer than
    /// `longest` bytes.
    pub(in super::super) fn read<'m>(
        &mut self,
        memory: &'m mut Memory<'_>,
        longest: u64,
    ) -> Result<Option<Received<'m>>, Violation> {
        loop {
            let (overtaken, list) = self.next_list();
            let List::Of { first: at, .. } = list else {
                return Ok(None);
            };
            let Some(head) = self.log.head(memory.bytes, at) else {
                return Ok(None);
            };
            match head.kind {
                Kind::Data => {}
                Kind::Reset => {
                    let stream = (head.flags == 0).then_some(head.stream);
                    return Ok(Some(Received::Reset(stream)));
                }
                Kind::Gap => {
                    if matches!(self.reading, Reading::Within { .. }) {
                        return Ok(Some(Received::Abandoned));
                    }
                    self.skipping = true;
                    self.free(memory, overtaken);
                    continue;
                }
                Kind::Freed => {
                    debug_assert!(false, "what was read is in no list");
                    self.free(memory, overtaken);
                    continue;
                }
            }
            let begins = head.flags & FIRST != 0;
            if self.skipping && !overtaken {
                if !begins {
                    self.free(memory, overtaken);
                    continue;
                }
                self.skipping = false;
            }
            let (stream, before, offset) = match self.reading {
                Reading::Between if !begins => return Err(Violation::Fragments),
                Reading::Between => (head.stream, 0, 0),
                Reading::Within {
                    stream,
                    bytes,
                    offset,
                    ..
                } => {
                    let goes_on = stream == head.stream && begins == (bytes == 0);
                    if !goes_on && offset == 0 {
                        return Err(Violation::Fragments);
                    }
                    (stream, bytes, offset)
                }
            };
            self.reading = Reading::Within {
                overtaken,
                stream,
                bytes: before,
                offset,
            };
            let len = usize::from(head.len);
            let bytes = self.log.payload(memory.bytes, at, len, usize::from(offset));
            if before.saturating_add(bytes.len() as u64) > longest {
                return Err(Violation::MessageTooLong);
            }
            return Ok(Some(Received::Piece(Piece {
                stream,
                ppid: head.ppid,
                unordered: head.flags & UNORDERED != 0,
                first: before == 0,
                last: head.flags & LAST != 0 && usize::from(offset) + bytes.len() == len,
                bytes,
            })));
        }
    }

    /// Consumes `count` bytes of the piece that was lent, or the event.
    pub(in super::super) fn consume(&mut self, memory: &mut Memory<'_>, count: usize) {
        let (overtaken, list) = self.next_list();
        let List::Of { first: at, .. } = list else {
            return;
        };
        let Some(head) = self.log.head(memory.bytes, at) else {
            return;
        };
        match (head.kind, self.reading) {
            (
                Kind::Data,
                Reading::Within {
                    stream,
                    bytes,
                    offset,
                    ..
                },
            ) => {
                let left = usize::from(head.len.saturating_sub(offset));
                let count = count.min(left);
                let bytes = bytes.saturating_add(count as u64);
                if count < left {
                    let taken = u16::try_from(count).unwrap_or(u16::MAX);
                    self.reading = Reading::Within {
                        overtaken,
                        stream,
                        bytes,
                        offset: offset.saturating_add(taken),
                    };
                    return;
                }
                self.reading = if head.flags & LAST != 0 {
                    Reading::Between
                } else {
                    Reading::Within {
                        overtaken,
                        stream,
                        bytes,
                        offset: 0,
                    }
                };
            }
            (Kind::Gap, _) => {
                self.reading = Reading::Between;
                self.skipping = true;
            }
            _ => {}
        }
        self.free(memory, overtaken);
    }

    /// Which list is read: a message that was begun goes on; else those that overtook come first.
    fn next_list(&self) -> (bool, List) {
        let overtaken = match self.reading {
            Reading::Within { overtaken, .. } => overtaken,
            Reading::Between => self.overtaken != List::Empty,
        };
        let list = if overtaken {
            self.overtaken
        } else {
            self.ordered
        };
        (overtaken, list)
    }

    fn free(&mut self, memory: &mut Memory<'_>, overtaken: bool) {
        let list = if overtaken {
            &mut self.overtaken
        } else {
            &mut self.ordered
        };
        self.log.free_first(memory.bytes, list);
        self.window_grew(memory);
    }
}
