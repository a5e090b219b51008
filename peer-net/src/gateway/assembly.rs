//! Data of one session that comes from a leaf: put together into messages, and kept until the
//! channel takes them.

use core::fmt;
use std::collections::VecDeque;

use peer_core::link::DATA_MESSAGE_COST;
use peer_core::serialization::{Fragment, MessageKind};
use peer_core::time::{Duration, Instant};

use crate::rtc::Message;

/// Bytes of whole messages that wait for a channel before the leaf is granted nothing more.
const WAITING_BYTES: usize = 64 << 10;
/// The longest message. It is what Chromium takes; a leaf that sends more loses the session.
const MESSAGE_BYTES: usize = 256 << 10;

/// Holds at most [`MESSAGE_BYTES`] of a message that is not whole, as much of one that is, and
/// [`WAITING_BYTES`] twice.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// What has come of a message.
    half: Vec<u8>,
    waiting: VecDeque<Message>,
    /// What those cost of the credit.
    waiting_cost: usize,
    /// What is left of the credit that the leaf was granted.
    granted: usize,
    /// The message that the channel was handed and has not taken.
    handed: Option<Handed>,
}

#[derive(Debug)]
struct Handed {
    len: usize,
    since: Instant,
}

/// Why a session cannot go on: something of it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// A message is longer than [`MESSAGE_BYTES`].
    TooLong,
    /// A text is none.
    NoText,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(
                f,
                "the leaf sent a message of more than {MESSAGE_BYTES} bytes"
            ),
            Self::NoText => f.write_str("the leaf sent a text that is not UTF-8"),
        }
    }
}

impl Assembly {
    /// Takes a fragment.
    pub(super) fn take(&mut self, fragment: &Fragment<'_>) -> Result<(), Lost> {
        if fragment.first {
            self.half.clear();
            self.granted = self.granted.saturating_sub(DATA_MESSAGE_COST as usize);
        }
        self.granted = self.granted.saturating_sub(fragment.bytes.len());
        if self.half.len() + fragment.bytes.len() > MESSAGE_BYTES {
            return Err(Lost::TooLong);
        }
        self.half.extend_from_slice(fragment.bytes);
        if !fragment.last {
            return Ok(());
        }
        let bytes = core::mem::take(&mut self.half);
        let message = match fragment.kind {
            MessageKind::Text => Message::Text(String::from_utf8(bytes).map_err(|_| Lost::NoText)?),
            MessageKind::Binary => Message::Binary(bytes.into()),
        };
        self.waiting_cost += cost(message.len());
        self.waiting.push_back(message);
        Ok(())
    }

    /// The next message for the channel, once the one before is [`sent`](Self::sent).
    pub(super) fn next(&mut self, now: Instant) -> Option<Message> {
        if self.handed.is_some() {
            return None;
        }
        let message = self.waiting.pop_front()?;
        let len = message.len();
        self.handed = Some(Handed { len, since: now });
        Some(message)
    }

    /// The channel took the message that it was handed; its length.
    pub(super) fn sent(&mut self) -> usize {
        let len = self.handed.take().map_or(0, |handed| handed.len);
        self.waiting_cost = self.waiting_cost.saturating_sub(cost(len));
        len
    }

    /// When the channel has not taken the message that it was handed for so long.
    pub(super) fn stalled_at(&self, stall: Duration) -> Option<Instant> {
        self.handed.as_ref().map(|handed| handed.since + stall)
    }

    /// Drops everything: the channel takes no more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes that the channel has not got.
    pub(super) fn buffered(&self) -> usize {
        let handed = self.handed.as_ref().map_or(0, |handed| handed.len);
        let waiting: usize = self.waiting.iter().map(Message::len).sum();
        self.half.len() + handed + waiting
    }

    /// What the leaf has to be granted now: when a quarter became free, or nothing is left.
    pub(super) fn grant(&self) -> Option<usize> {
        let room = WAITING_BYTES.saturating_sub(self.waiting_cost);
        let more = room.saturating_sub(self.granted);
        let is_due = more >= WAITING_BYTES / 4 || self.granted <= DATA_MESSAGE_COST as usize;
        (more > 0 && is_due).then_some(room)
    }

    /// The leaf was granted this.
    pub(super) fn granted(&mut self, room: usize) {
        self.granted = room;
    }
}

fn cost(len: usize) -> usize {
    len + DATA_MESSAGE_COST as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(first: bool, last: bool, kind: MessageKind, bytes: &[u8]) -> Fragment<'_> {
        Fragment {
            first,
            last,
            kind,
            bytes,
        }
    }

    #[test]
    fn fragments_become_messages() {
        let mut assembly = Assembly::default();
        assembly.granted(100);
        // A text may be cut within a character.
        let [a, b] = "é".as_bytes() else { panic!() };
        for (first, last, byte) in [(true, false, a), (false, true, b)] {
            let piece = [*byte];
            assembly
                .take(&fragment(first, last, MessageKind::Text, &piece))
                .unwrap();
        }
        assembly
            .take(&fragment(true, true, MessageKind::Binary, &[]))
            .unwrap();
        assert_eq!(assembly.buffered(), 2);
        assert_eq!(assembly.granted, 100 - 2 - 16);
        let waiting: Vec<_> = assembly.waiting.iter().collect();
        assert!(matches!(&waiting[..], [Message::Text(text), Message::Binary(_)] if text == "é"));
    }

    #[test]
    fn what_cannot_be_sent_is_an_error() {
        let mut assembly = Assembly::default();
        let wrong = fragment(true, true, MessageKind::Text, &[0xff]);
        assert_eq!(assembly.take(&wrong), Err(Lost::NoText));
        let piece = vec![0; 1 << 10];
        let mut first = true;
        for _ in 0..MESSAGE_BYTES >> 10 {
            let fragment = fragment(first, false, MessageKind::Binary, &piece);
            assert_eq!(assembly.take(&fragment), Ok(()));
            first = false;
        }
        let one_more = fragment(false, false, MessageKind::Binary, &[0]);
        assert_eq!(assembly.take(&one_more), Err(Lost::TooLong));
    }

    #[test]
    fn credit_is_what_may_wait() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.grant(), Some(WAITING_BYTES));
        assembly.granted(WAITING_BYTES);
        assert_eq!(assembly.grant(), None);
        let message = vec![0; WAITING_BYTES / 2];
        for _ in 0..2 {
            let whole = fragment(true, true, MessageKind::Binary, &message);
            assembly.take(&whole).unwrap();
        }
        assert_eq!(assembly.grant(), None, "nothing is free");
        let now = Instant::ZERO;
        for _ in 0..2 {
            assert!(assembly.next(now).is_some() && assembly.next(now).is_none());
            assert_eq!(assembly.sent(), message.len());
        }
        assert_eq!(assembly.grant(), Some(WAITING_BYTES));
    }
}
