//! The reset of streams, which is how a data channel closes (RFC 6525, RFC 8831 section 6.7).

use super::association::Association;
use super::packet::{PacketWriter, Parameters, Reconfig, kind};
use super::serial::Tsn;
use crate::bytes;
use crate::time::Instant;

/// Streams that one request of the remote may name; with more it is denied.
const NAMED_MAX: usize = 64;

/// Results of a request (RFC 6525, section 4.4).
mod result {
    pub(super) const PERFORMED: u32 = 1;
    pub(super) const DENIED: u32 = 2;
    pub(super) const BAD_NUMBER: u32 = 5;
    pub(super) const IN_PROGRESS: u32 = 6;
}

/// Our request, and those of the remote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resets {
    /// The number of our next request, or of the one under way.
    number: u32,
    ours: Ours,
    /// The number of the remote's next request.
    expected: u32,
    /// What the last one was answered.
    answered: u32,
    /// An answer that is owed: number and result.
    owed: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    No,
    /// To be sent, after so many times without an answer.
    Due {
        unanswered: u8,
    },
    /// Sent, after so many times without an answer; waits for one until then.
    Asked {
        unanswered: u8,
        until: Instant,
    },
    /// The remote answered that it is not ready; asked anew at this time.
    Again(Instant),
}

impl Resets {
    /// Requests of either end begin with its initial TSN.
    pub(super) const fn new(initial: u32, remote_initial: u32) -> Self {
        Self {
            number: initial,
            ours: Ours::No,
            expected: remote_initial,
            answered: result::PERFORMED,
            owed: None,
        }
    }

    pub(super) const fn timeout(&self) -> Option<Instant> {
        match self.ours {
            Ours::No => None,
            Ours::Due { .. } => Some(Instant::ZERO),
            Ours::Asked { until: at, .. } | Ours::Again(at) => Some(at),
        }
    }

    /// Has a request that was sent in vain sent again at once, as if for the first time.
    pub(super) const fn path_is_back(&mut self) {
        if self.unanswered() > 0 {
            self.ours = Ours::Due { unanswered: 0 };
        }
    }

    /// How often in a row our request was not answered in time.
    pub(super) const fn unanswered(&self) -> u8 {
        match self.ours {
            Ours::No | Ours::Again(_) => 0,
            Ours::Due { unanswered } | Ours::Asked { unanswered, .. } => unanswered,
        }
    }
}

impl Association<'_> {
    /// RE-CONFIG of the remote.
    pub(super) fn reconfig(&mut self, now: Instant, parameters: Parameters<'_>) {
        for parameter in parameters {
            let parsed = parameter.and_then(|(kind, value)| Reconfig::parse(kind, value));
            match parsed {
                Ok(Some(Reconfig::Response { number, result })) => {
                    self.reset_answered(now, number, result);
                }
                Ok(Some(Reconfig::Outgoing {
                    number,
                    last,
                    streams,
                })) => self.reset_asked(number, |association| association.perform(last, streams)),
                Ok(Some(Reconfig::Other(number))) => {
                    self.reset_asked(number, |_| result::DENIED);
                }
                Ok(None) => {}
                Err(_) => {
                    self.stats.refused += 1;
                    return;
                }
            }
        }
    }

    fn reset_asked(&mut self, number: u32, perform: impl FnOnce(&mut Self) -> u32) {
        let answer = if number == self.resets.expected {
            let answer = perform(self);
            self.resets.expected = number.wrapping_add(1);
            self.resets.answered = answer;
            answer
        } else if number == self.resets.expected.wrapping_sub(1) {
            // It came again: done once, answered again.
            if self.resets.answered == result::IN_PROGRESS {
                self.resets.answered = perform(self);
            }
            self.resets.answered
        } else {
            self.stats.refused += 1;
            result::BAD_NUMBER
        };
        self.resets.owed = Some((number, answer));
    }

    /// Resets incoming streams, once everything up to `last` has come.
    fn perform(&mut self, last: Tsn, streams: &[[u8; 2]]) -> u32 {
        if last.is_after(self.receiver.cumulative()) {
            return result::IN_PROGRESS;
        }
        if streams.len() > NAMED_MAX {
            return result::DENIED;
        }
        let memory = &mut self.receive_memory;
        let mut told = streams
            .iter()
            .map(|&stream| Some(u16::from_be_bytes(stream)))
            .chain(streams.is_empty().then_some(None))
            .map(|stream| self.receiver.reset(memory, stream));
        if told.all(|told| told.is_some()) {
            result::PERFORMED
        } else {
            result::IN_PROGRESS
        }
    }

    fn reset_answered(&mut self, now: Instant, number: u32, answer: u32) {
        if matches!(self.resets.ours, Ours::No | Ours::Again(_)) {
            return;
        }
        if number != self.resets.number {
            self.stats.refused += 1;
            return;
        }
        let again = answer == result::IN_PROGRESS;
        self.sender.streams.answered(number, again);
        self.resets.number = number.wrapping_add(1);
        self.resets.ours = if again {
            Ours::Again(now.plus(self.sender.rtt.round_trip()))
        } else {
            Ours::No
        };
    }

    /// Begins a request where one is wanted, and the same again where it was not answered.
    pub(super) fn handle_reset_timeout(&mut self, now: Instant) {
        let unanswered = match self.resets.ours {
            Ours::No => 0,
            Ours::Again(at) if now >= at => 0,
            Ours::Asked { unanswered, until } if now >= until => {
                self.sender.rtt.back_off();
                unanswered.saturating_add(1)
            }
            _ => return,
        };
        self.resets.ours = if unanswered > 0 || self.sender.streams.ask(self.resets.number) {
            Ours::Due { unanswered }
        } else {
            Ours::No
        };
    }

    /// Writes what is owed, and our request when its time has come.
    pub(super) fn write_reset(&mut self, now: Instant, writer: &mut PacketWriter<'_>) {
        if let Some((number, result)) = self.resets.owed.take() {
            let mut value = [0, 16, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0];
            let mut len = 4;
            let written = bytes::append(&mut value, &mut len, &number.to_be_bytes())
                .and_then(|()| bytes::append(&mut value, &mut len, &result.to_be_bytes()))
                .and_then(|()| writer.chunk(kind::RECONFIG, 0, &[&value]));
            debug_assert!(written.is_some());
        }
        let Ours::Due { unanswered } = self.resets.ours else {
            return;
        };
        let number = self.resets.number;
        // The head of the parameter, three numbers, the streams.
        let mut value = [0; 16 + 2 * super::STREAMS_MAX];
        let mut len = 4;
        let numbers = [
            number,
            self.resets.expected.wrapping_sub(1),
            self.sender.last_sent().0,
        ];
        for number in numbers {
            let written = bytes::append(&mut value, &mut len, &number.to_be_bytes());
            debug_assert!(written.is_some());
        }
        for stream in self.sender.streams.asked(number) {
            let written = bytes::append(&mut value, &mut len, &stream.to_be_bytes());
            debug_assert!(written.is_some());
        }
        let [l0, l1] = u16::try_from(len).unwrap_or_default().to_be_bytes();
        let written = bytes::copy(&mut value, &[0, 13, l0, l1]);
        debug_assert!(written.is_some());
        if writer
            .chunk(kind::RECONFIG, 0, &[bytes::front(&value, len)])
            .is_some()
        {
            self.resets.ours = Ours::Asked {
                unanswered,
                until: now.plus(self.sender.rtt.rto()),
            };
        }
    }
}
