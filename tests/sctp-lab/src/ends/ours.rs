//! Ours: `peer_core::rtc::sctp`.

use std::time::Duration;

use peer_core::rtc::sctp::{
    Association, Chunk, Config, Event, Memory, Outgoing, Received, Run as Gap,
};
use peer_core::time::Instant;

use crate::end::{End, EndOptions, MTU, PPID, Read, Role, STREAM, State};
use crate::random::Random;

/// Bytes that wait or are under way: as many as the largest window of the scenarios.
const SEND: usize = 4 << 20;

/// The smallest sending memory: one with a small window has a small one, too, as a device has.
const SEND_MIN: usize = 2048;

/// The memory that an end is lent.
pub(super) struct Lent {
    send: Vec<u8>,
    chunks: Vec<Chunk>,
    receive: Vec<u8>,
    gaps: Vec<Gap>,
}

impl Lent {
    /// For a window of `window` bytes, and twice as much to send.
    pub(super) fn new(window: usize) -> Self {
        let send = (2 * window).clamp(SEND_MIN, 2 * SEND);
        Self {
            send: vec![0; send],
            chunks: vec![Chunk::EMPTY; (send / 64).clamp(8, 16384)],
            receive: vec![0; window],
            gaps: vec![Gap::EMPTY; (window / 1024).clamp(4, 1024)],
        }
    }
}

/// An end of ours.
pub(super) struct Ours<'m> {
    association: Association<'m>,
    state: State,
    /// Bytes of the message to send that were taken.
    taken: usize,
}

impl<'m> Ours<'m> {
    pub(super) fn new(options: &EndOptions, lent: &'m mut Lent) -> Self {
        let mut random = Random::new(options.seed, 2);
        let mut config = Config::new(random.next().to_be_bytes());
        config.packet = MTU as u16;
        config.receive_max = u64::MAX;
        config.send_max = u64::MAX;
        let memory = Memory {
            send: &mut lent.send,
            chunks: &mut lent.chunks,
            receive: &mut lent.receive,
            runs: &mut lent.gaps,
        };
        let mut association = Association::new(config, memory);
        if options.role == Role::Active {
            association.connect();
        }
        Self {
            association,
            state: State::Opening,
            taken: 0,
        }
    }

    fn events(&mut self) {
        while let Some(event) = self.association.poll_event() {
            match event {
                Event::Open => self.state = State::Open,
                other => self.state = State::Ended(format!("{other:?}")),
            }
        }
    }
}

/// Their clock has microseconds. What is between two counts as the earlier one, and a deadline is
/// reached when its microsecond begins.
fn instant(now: Duration) -> Instant {
    Instant::from_micros(now.as_micros() as u64)
}

impl End for Ours<'_> {
    fn receive(&mut self, now: Duration, packet: &[u8]) {
        self.association.receive(instant(now), packet);
        self.events();
    }

    fn transmit(&mut self, now: Duration, packet: &mut Vec<u8>) -> bool {
        packet.resize(MTU, 0);
        let length = self.association.transmit(instant(now), packet);
        packet.truncate(length.unwrap_or(0));
        self.events();
        length.is_some()
    }

    fn timeout(&self) -> Option<Duration> {
        let at = self.association.timeout()?;
        Some(Duration::from_micros(at.as_micros()))
    }

    fn handle_timeout(&mut self, _: Duration) {
        // `transmit` looks at the timers.
    }

    fn send(&mut self, _: Duration, unordered: bool, message: &[u8]) -> bool {
        let rest = &message[self.taken..];
        let piece = Outgoing {
            unordered,
            first: self.taken == 0,
            ..Outgoing::message(STREAM, PPID)
        };
        match self.association.send(piece, rest) {
            Ok(taken) if taken == rest.len() => {
                self.taken = 0;
                true
            }
            Ok(taken) => {
                self.taken += taken;
                false
            }
            Err(why) => {
                self.state = State::Ended(why.to_string());
                false
            }
        }
    }

    fn read(&mut self, _: Duration, bytes: &mut Vec<u8>) -> Option<Read> {
        let read = match self.association.read()? {
            Received::Piece(piece) => {
                bytes.extend_from_slice(piece.bytes);
                let read = Read {
                    stream: piece.stream,
                    ppid: piece.ppid,
                    last: piece.last,
                };
                (piece.bytes.len(), read)
            }
            other => {
                self.state = State::Ended(format!("read {other:?}"));
                return None;
            }
        };
        self.association.consume(read.0);
        Some(read.1)
    }

    fn state(&self) -> State {
        self.state.clone()
    }

    fn abort(&mut self, _: Duration) {
        self.association.abort();
    }
}
