//! The flight that was sent last, kept to be sent again (RFC 6347 §4.2.4).

use super::fragments::{self, header};
use super::prf::VERIFY_LEN;
use super::protection::KeyBlock;
use super::record::{self, Content, Header, SEQUENCE_MAX};
use crate::bytes;
use crate::rtc::crypto::{Crypto, TAG_LEN};

/// Bytes of a flight's plaintext messages with their headers. The longest has a certificate of
/// [`CERTIFICATE_MAX`](super::CERTIFICATE_MAX) bytes and less than 400 bytes beside it.
pub(super) const FLIGHT_MAX: usize = 1_024;
/// Bytes of the smallest datagram that is made, if the flight does not fit: the last two records
/// have to fit one.
pub(super) const DATAGRAM_MIN: usize = 128;

const FINISHED: u8 = 20;

/// What has been sent of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// Nothing: it is a new one.
    Nothing,
    /// The messages before this place in the memory, and as many bytes of the message there.
    Messages { at: usize, within: usize },
    /// All.
    All,
}

/// Messages in plaintext, and perhaps a ChangeCipherSpec and an encrypted Finished after them.
pub(super) struct Flight<'m> {
    memory: &'m mut [u8; FLIGHT_MAX],
    len: usize,
    finished: Option<(u16, [u8; VERIFY_LEN])>,
    sent: Sent,
}

/// The sequence numbers of the records that are sent, one per epoch. They only grow, also when a
/// flight is sent again: a nonce is never used twice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sequences([u64; 2]);

impl Sequences {
    /// The number of the next record. `None` once there is none left.
    pub(super) fn next(&mut self, epoch: u16) -> Option<u64> {
        let next = self.0.get_mut(usize::from(epoch))?;
        let sequence = *next;
        if sequence > SEQUENCE_MAX {
            return None;
        }
        *next = sequence + 1;
        Some(sequence)
    }

    #[cfg(test)]
    pub(super) const fn set(&mut self, epoch: usize, next: u64) {
        self.0[epoch] = next;
    }
}

impl<'m> Flight<'m> {
    pub(super) const fn new(memory: &'m mut [u8; FLIGHT_MAX]) -> Self {
        Self {
            memory,
            len: 0,
            finished: None,
            sent: Sent::All,
        }
    }

    /// Gives the memory back.
    pub(super) const fn into_memory(self) -> &'m mut [u8; FLIGHT_MAX] {
        self.memory
    }

    /// Begins another flight.
    pub(super) const fn clear(&mut self) {
        self.len = 0;
        self.finished = None;
        self.sent = Sent::All;
    }

    /// Appends a message; its bytes with the header, for the transcript.
    pub(super) fn push(&mut self, kind: u8, sequence: u16, parts: &[&[u8]]) -> Option<&[u8]> {
        let start = self.len;
        let mut end = start;
        let len = parts.iter().map(|part| part.len()).sum();
        bytes::append(self.memory, &mut end, &header(kind, sequence, len)?)?;
        for part in parts {
            bytes::append(self.memory, &mut end, part)?;
        }
        self.len = end;
        self.memory.get(start..end)
    }

    /// Ends the flight with a ChangeCipherSpec and a Finished.
    pub(super) const fn finish(&mut self, sequence: u16, verify_data: [u8; VERIFY_LEN]) {
        self.finished = Some((sequence, verify_data));
    }

    /// Sends all of it, for the first time.
    pub(super) const fn begin(&mut self) {
        self.sent = Sent::Nothing;
    }

    /// Whether nothing of it was sent yet.
    pub(super) const fn is_new(&self) -> bool {
        matches!(self.sent, Sent::Nothing)
    }

    /// Sends all of it again.
    pub(super) const fn restart(&mut self) {
        if self.len > 0 || self.finished.is_some() {
            self.sent = Sent::Messages { at: 0, within: 0 };
        }
    }

    #[cfg(test)]
    pub(super) fn own_finished(&self) -> (u16, [u8; VERIFY_LEN]) {
        self.finished.expect("there is one")
    }

    #[cfg(test)]
    pub(super) fn spoil_finished(&mut self) {
        let (_, data) = self.finished.as_mut().expect("there is one");
        data[0] ^= 1;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0 && self.finished.is_none()
    }

    pub(super) const fn is_sent(&self) -> bool {
        matches!(self.sent, Sent::All)
    }

    /// Writes the next datagram of the flight; its bytes. `None` if `out` is too small, or no
    /// sequence number is left.
    ///
    /// A message that fits a datagram is not cut.
    pub(super) fn datagram<C: Crypto>(
        &mut self,
        crypto: &mut C,
        keys: Option<&KeyBlock>,
        sequences: &mut Sequences,
        out: &mut [u8],
    ) -> Option<usize> {
        let mut written = 0;
        let (mut at, mut within) = match self.sent {
            Sent::Nothing => (0, 0),
            Sent::Messages { at, within } => (at, within),
            Sent::All => return None,
        };
        while at < self.len {
            let message = self.memory.get(at..self.len)?;
            let (head, rest) = message.split_first_chunk::<{ fragments::HEADER_LEN }>()?;
            let &[kind, a, b, c, d, e, ..] = head;
            let len = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
            let left = rest.get(within..len)?;
            let taken = written + record::HEADER_LEN + fragments::HEADER_LEN;
            let room = out.len().checked_sub(taken);
            let Some(room) = room.filter(|&room| written == 0 || left.len() <= room) else {
                break;
            };
            let body = bytes::front(left, left.len().min(room));
            if body.is_empty() && !left.is_empty() {
                break;
            }
            let record = Header {
                content: Content::Handshake,
                epoch: 0,
                sequence: sequences.next(0)?,
                len: u16::try_from(fragments::HEADER_LEN + body.len()).ok()?,
            };
            let [f, g, h] = super::reader::u24(within)?;
            let [i, j, k] = super::reader::u24(body.len())?;
            let head = [kind, a, b, c, d, e, f, g, h, i, j, k];
            for part in [&record.write()[..], &head, body] {
                bytes::append(out, &mut written, part)?;
            }
            within += body.len();
            if within == len {
                at += fragments::HEADER_LEN + len;
                within = 0;
            }
        }
        self.sent = Sent::Messages { at, within };
        if at >= self.len {
            match self.finished {
                None => self.sent = Sent::All,
                Some(finished) => {
                    if let Some(len) =
                        last(crypto, keys?, sequences, finished, out.get_mut(written..)?)
                    {
                        written += len;
                        self.sent = Sent::All;
                    }
                }
            }
        }
        (written > 0).then_some(written)
    }
}

/// Bytes of a ChangeCipherSpec and the longest encrypted Finished.
const LAST_LEN: usize =
    record::HEADER_LEN + 1 + record::HEADER_LEN + 8 + fragments::HEADER_LEN + VERIFY_LEN + TAG_LEN;
const _: () = assert!(LAST_LEN <= DATAGRAM_MIN);

/// Writes the last two records.
fn last<C: Crypto>(
    crypto: &mut C,
    keys: &KeyBlock,
    sequences: &mut Sequences,
    (sequence, verify_data): (u16, [u8; VERIFY_LEN]),
    out: &mut [u8],
) -> Option<usize> {
    if out.len() < LAST_LEN {
        return None;
    }
    let keys = keys.write(crypto)?;
    let change = Header {
        content: Content::ChangeCipherSpec,
        epoch: 0,
        sequence: sequences.next(0)?,
        len: 1,
    };
    let written = bytes::concat(out, &[&change.write(), &[1]])?;
    let record = out.get_mut(written..)?;
    let head = header(FINISHED, sequence, VERIFY_LEN)?;
    let len = bytes::concat(record.get_mut(keys.text_at()..)?, &[&head, &verify_data])?;
    let header = Header {
        content: Content::Handshake,
        epoch: 1,
        sequence: sequences.next(1)?,
        len: 0,
    };
    Some(written + keys.seal(crypto, header, record, len)?)
}
