//! What the applications above the two ends send, and the proof that it arrived.

use std::collections::VecDeque;
use std::time::Duration;

use crate::random::Random;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Who sends when.
    pub pattern: Pattern,
    /// Messages of one direction.
    pub messages: u32,
    /// Bytes of a message, at least 1.
    pub size: usize,
    /// Whether they may overtake each other.
    pub unordered: bool,
    /// The receivers' habit.
    pub reader: Reader,
}

/// Who sends when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// The first end sends as fast as it may.
    OneWay,
    /// Both do.
    BothWays,
    /// The first end sends a message when the second's answer to the last one has come.
    Echo,
}

/// When a receiver reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// At once.
    AtOnce,
    /// After so many messages it reads nothing for a while, and again.
    Pausing(u32, Duration),
}

/// Messages that an application has ready at a time, and bytes.
const READY: (usize, usize) = (256, 64 << 10);

/// The application above one end.
#[derive(Debug)]
pub(crate) struct Application {
    load: Load,
    first: bool,
    /// Messages taken by the end.
    sent: u32,
    sent_at: Duration,
    template: Vec<u8>,
    /// Made and not taken yet.
    ready: VecDeque<Vec<u8>>,
    part: Vec<u8>,
    check: Check,
    paused_until: Duration,
    pub(crate) round_trips: Vec<Duration>,
}

impl Application {
    /// `first` is whether it is the one that sends one way.
    pub(crate) fn new(load: Load, first: bool) -> Self {
        assert!(load.size > 0, "an SCTP message is not empty");
        let mut random = Random::new(1, 1);
        let template = (0..load.size + SHIFTS)
            .map(|_| random.next() as u8)
            .collect();
        let incoming = if load.pattern == Pattern::OneWay && first {
            0
        } else {
            load.messages
        };
        Self {
            load,
            first,
            sent: 0,
            sent_at: Duration::ZERO,
            template,
            ready: VecDeque::new(),
            part: Vec::new(),
            check: Check::new(load, incoming),
            paused_until: Duration::ZERO,
            round_trips: Vec::new(),
        }
    }

    /// Makes messages that may be sent now; false if there are none.
    pub(crate) fn prepare(&mut self) -> bool {
        let allowed = match (self.load.pattern, self.first) {
            (Pattern::OneWay, false) => 0,
            (Pattern::OneWay, true) | (Pattern::BothWays, _) => self.load.messages,
            (Pattern::Echo, true) => (self.check.received + 1).min(self.load.messages),
            (Pattern::Echo, false) => self.check.received,
        };
        while self.ready.len() < READY.0 && self.ready.len() * self.load.size < READY.1 {
            let index = self.sent + self.ready.len() as u32;
            if index >= allowed {
                break;
            }
            let mut message = Vec::with_capacity(self.load.size);
            fill(&mut message, &self.template, index, self.load.size);
            self.ready.push_back(message);
        }
        !self.ready.is_empty()
    }

    /// The message that is to be sent next.
    pub(crate) fn outgoing(&self) -> Option<&[u8]> {
        self.ready.front().map(Vec::as_slice)
    }

    /// The end took it.
    pub(crate) fn accepted(&mut self, now: Duration) {
        self.sent += 1;
        self.sent_at = now;
        self.ready.pop_front();
    }

    /// When it reads again, if it pauses at `now`.
    pub(crate) fn pause(&self, now: Duration) -> Option<Duration> {
        (self.paused_until > now).then_some(self.paused_until)
    }

    /// Messages that it reads before it pauses.
    pub(crate) fn appetite(&self) -> u32 {
        match self.load.reader {
            Reader::AtOnce => u32::MAX,
            Reader::Pausing(every, _) => every - self.check.received % every,
        }
    }

    /// Takes what was read.
    pub(crate) fn received(&mut self, now: Duration, bytes: &[u8], last: bool) {
        if !last || !self.part.is_empty() {
            self.part.extend_from_slice(bytes);
            if !last {
                return;
            }
        }
        let whole = std::mem::take(&mut self.part);
        self.check.message(
            if whole.is_empty() { bytes } else { &whole },
            &self.template,
        );
        if self.load.pattern == Pattern::Echo && self.first {
            self.round_trips.push(now - self.sent_at);
        }
        if let Reader::Pausing(every, pause) = self.load.reader
            && self.check.received.is_multiple_of(every)
        {
            self.paused_until = now + pause;
        }
    }

    /// Whether all came that was to come.
    pub(crate) fn complete(&self) -> bool {
        self.check.received >= self.check.expected
    }

    /// What came wrong first.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.check.fault.as_deref()
    }
}

/// Ways to take a message's bytes from the template: those of neighbours differ.
const SHIFTS: usize = 251;

/// Message `index`: its number if there is room for it, then bytes that depend on it.
fn fill(message: &mut Vec<u8>, template: &[u8], index: u32, size: usize) {
    let shift = index as usize % SHIFTS;
    message.extend_from_slice(&template[shift..shift + size]);
    if let Some(number) = message.first_chunk_mut() {
        *number = index.to_le_bytes();
    }
}

/// That each message arrived once, whole and, where it was promised, in its place.
#[derive(Debug)]
struct Check {
    load: Load,
    expected: u32,
    received: u32,
    /// How often each number came; the shift of messages too short for a number.
    seen: Vec<u32>,
    /// What came wrong first.
    fault: Option<String>,
    right: Vec<u8>,
}

impl Check {
    fn new(load: Load, expected: u32) -> Self {
        let numbers = if load.size < 4 {
            SHIFTS
        } else {
            load.messages as usize
        };
        let seen = vec![0; numbers];
        Self {
            load,
            expected,
            received: 0,
            seen,
            fault: None,
            right: Vec::new(),
        }
    }

    fn message(&mut self, bytes: &[u8], template: &[u8]) {
        let index = match bytes.first_chunk() {
            Some(number) => u32::from_le_bytes(*number),
            None if self.load.unordered => (0..SHIFTS as u32)
                .find(|&shift| template[shift as usize..].starts_with(bytes))
                .unwrap_or(u32::MAX),
            None => self.received,
        };
        self.received += 1;
        if index >= self.load.messages {
            return self.fault(format!(
                "message {} has no number that was sent",
                self.received - 1
            ));
        }
        self.right.clear();
        fill(&mut self.right, template, index, self.load.size);
        if self.right != bytes {
            let (size, was) = (bytes.len(), self.load.size);
            return self.fault(format!(
                "message {index} of {was} bytes came wrong, with {size}"
            ));
        }
        if !self.load.unordered && index != self.received - 1 {
            self.fault(format!(
                "message {index} came in place of {}",
                self.received - 1
            ));
        }
        let numbers = self.seen.len() as u32;
        let (number, all) = (index % numbers, self.load.messages);
        let times = all / numbers + u32::from(number < all % numbers);
        let seen = &mut self.seen[number as usize];
        *seen += 1;
        // Short ones may share their bytes with others.
        if *seen > times && self.load.size >= 4 {
            self.fault(format!("message {index} came again"));
        }
    }

    fn fault(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load {
        pattern: Pattern::OneWay,
        messages: 3,
        size: 10,
        unordered: false,
        reader: Reader::AtOnce,
    };

    fn messages() -> Vec<Vec<u8>> {
        let mut sender = Application::new(LOAD, true);
        let mut all = Vec::new();
        while sender.prepare() {
            all.extend(sender.outgoing().map(<[u8]>::to_vec));
            sender.accepted(Duration::ZERO);
        }
        all
    }

    fn fault(load: Load, order: &[usize], change: impl Fn(&mut Vec<u8>)) -> Option<String> {
        let mut receiver = Application::new(load, false);
        for &n in order {
            let mut message = messages()[n].clone();
            change(&mut message);
            receiver.received(Duration::ZERO, &message[..3], false);
            receiver.received(Duration::ZERO, &message[3..], true);
        }
        receiver.check.fault
    }

    #[test]
    fn tells_what_came_wrong() {
        let unordered = Load {
            unordered: true,
            ..LOAD
        };
        assert_eq!(fault(LOAD, &[0, 1, 2], |_| ()), None);
        assert_eq!(
            fault(LOAD, &[0, 2], |_| ()).unwrap(),
            "message 2 came in place of 1"
        );
        assert_eq!(fault(unordered, &[2, 0, 1], |_| ()), None);
        assert_eq!(
            fault(unordered, &[2, 0, 2], |_| ()).unwrap(),
            "message 2 came again"
        );
        let wrong = "message 0 of 10 bytes came wrong, with 10";
        assert_eq!(fault(LOAD, &[0], |m| m[9] ^= 1).unwrap(), wrong);
        let short = "message 0 of 10 bytes came wrong, with 9";
        assert_eq!(fault(LOAD, &[0], |m| m.truncate(9)).unwrap(), short);
    }
}
