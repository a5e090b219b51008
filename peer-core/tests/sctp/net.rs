//! Two ends and the network between them, in virtual time.

use peer_core::rtc::sctp::{Association, Chunk, Config, Event, Memory, Outgoing, Received, Run};
use peer_core::time::{Duration, Instant};

use crate::flights::Flights;
pub(crate) use crate::flights::Random;

/// What a path does to packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) delay: Duration,
    /// Up to this much more, at random, so packets overtake each other.
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) double: f64,
    /// Bytes a second; 0 for no limit.
    pub(crate) rate: u64,
    /// Bytes that wait for the line.
    pub(crate) queue: u64,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            double: 0.0,
            rate: 0,
            queue: 1 << 20,
        }
    }
}

/// Bytes of memory of an end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) send: usize,
    pub(crate) receive: usize,
}

impl Size {
    pub(crate) const fn both(bytes: usize) -> Self {
        Self {
            send: bytes,
            receive: bytes,
        }
    }
}

/// One end, and what happened at it.
pub(crate) struct End {
    pub(crate) association: Association<'static>,
    pub(crate) events: Vec<Event>,
    /// Whole messages that were read: stream, payload protocol, bytes.
    pub(crate) messages: Vec<(u16, u32, Vec<u8>)>,
    partial: Vec<u8>,
    pub(crate) abandoned: usize,
    pub(crate) resets: Vec<Option<u16>>,
    /// Whether it reads.
    pub(crate) reads: bool,
    /// Whether messages are kept; else only counted.
    pub(crate) keeps: bool,
    pub(crate) count: usize,
    pub(crate) bytes: u64,
    line_free: Instant,
    pub(crate) packets: u64,
    /// The longest time without anything read, once something was.
    pub(crate) silence: Duration,
    last_read: Option<Instant>,
}

impl End {
    pub(crate) fn new(config: Config, size: Size) -> Self {
        Self {
            association: Association::new(config, memory(size)),
            events: Vec::new(),
            messages: Vec::new(),
            partial: Vec::new(),
            abandoned: 0,
            resets: Vec::new(),
            reads: true,
            keeps: true,
            count: 0,
            bytes: 0,
            line_free: Instant::ZERO,
            packets: 0,
            silence: Duration::ZERO,
            last_read: None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.events.contains(&Event::Open)
    }

    pub(crate) fn closed(&self) -> Option<peer_core::rtc::sctp::End> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(end) => Some(*end),
            _ => None,
        })
    }

    pub(crate) fn work(&mut self, now: Instant) {
        while self.reads
            && let Some(received) = self.association.read()
        {
            let consumed = match received {
                Received::Piece(piece) => {
                    assert_eq!(piece.first, self.partial.is_empty());
                    self.partial.extend_from_slice(piece.bytes);
                    self.bytes += piece.bytes.len() as u64;
                    if piece.last {
                        self.count += 1;
                        let message = std::mem::take(&mut self.partial);
                        if self.keeps {
                            self.messages.push((piece.stream, piece.ppid, message));
                        }
                    }
                    piece.bytes.len()
                }
                Received::Abandoned => {
                    self.abandoned += 1;
                    self.partial.clear();
                    0
                }
                Received::Reset(stream) => {
                    self.resets.push(stream);
                    0
                }
                _ => unreachable!(),
            };
            self.association.consume(consumed);
            if let Some(last) = self.last_read {
                let silent = now.saturating_duration_since(last);
                self.silence = self.silence.max(silent);
            }
            self.last_read = Some(now);
        }
        while let Some(event) = self.association.poll_event() {
            self.events.push(event);
        }
    }
}

/// Two ends and a network.
pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) ends: [End; 2],
    pub(crate) paths: [Path; 2],
    pub(crate) random: Random,
    /// To which end, and what.
    flights: Flights<(usize, Vec<u8>)>,
    /// Looked at for each packet of an end: whether it is to be lost.
    #[allow(clippy::type_complexity)]
    pub(crate) dropper: Option<Box<dyn FnMut(usize, &[u8]) -> bool>>,
}

/// Memory for an end, for ever.
pub(crate) fn memory(size: Size) -> Memory<'static> {
    let chunks = (size.send / 64).clamp(4, 8192);
    let runs = (size.receive / 512).clamp(4, 512);
    Memory {
        send: Vec::leak(vec![0; size.send]),
        chunks: Vec::leak(vec![Chunk::EMPTY; chunks]),
        receive: Vec::leak(vec![0; size.receive]),
        runs: Vec::leak(vec![Run::EMPTY; runs]),
    }
}

/// Of a path that is known to take the longest packets.
pub(crate) fn config(n: u8) -> Config {
    let mut config = Config::new([n; 8]);
    config.base_packet = config.packet;
    config
}

impl Net {
    pub(crate) fn new(seed: u64, size: Size, path: Path) -> Self {
        Self::with(seed, [config(1), config(2)], [size; 2], path)
    }

    pub(crate) fn with(seed: u64, configs: [Config; 2], sizes: [Size; 2], path: Path) -> Self {
        let [a, b] = configs;
        Self {
            now: Instant::from_micros(1_000),
            ends: [End::new(a, sizes[0]), End::new(b, sizes[1])],
            paths: [path; 2],
            random: Random::new(seed),
            flights: Flights::new(),
            dropper: None,
        }
    }

    /// An association that is open.
    pub(crate) fn open(seed: u64, size: Size, path: Path) -> Self {
        let mut net = Self::new(seed, size, path);
        net.ends[0].association.connect();
        net.until(Duration::from_secs(30), |net| {
            net.ends.iter().all(End::is_open)
        });
        net
    }

    /// Sends everything that an end has to send.
    pub(crate) fn flush(&mut self, from: usize) {
        let mut buffer = [0; 1500];
        while let Some(len) = self.ends[from].association.transmit(self.now, &mut buffer) {
            self.ends[from].packets += 1;
            let packet = buffer[..len].to_vec();
            let lost = self
                .dropper
                .as_mut()
                .is_some_and(|dropper| dropper(from, &packet));
            if !lost {
                self.put(from, packet);
            }
        }
    }

    /// Puts a packet onto the path of an end.
    pub(crate) fn put(&mut self, from: usize, packet: Vec<u8>) {
        let path = self.paths[from];
        if self.random.chance(path.loss) {
            return;
        }
        let mut at = self.now;
        if path.rate > 0 {
            let end = &mut self.ends[from];
            let free = end.line_free.max(self.now);
            let wait = free.saturating_duration_since(self.now);
            let waiting = wait.as_micros() as u64 * path.rate / 1_000_000;
            if waiting > path.queue {
                return;
            }
            let takes = Duration::from_nanos(packet.len() as u64 * 1_000_000_000 / path.rate);
            end.line_free = free + takes;
            at = end.line_free;
        }
        let times = 1 + usize::from(self.random.chance(path.double));
        for _ in 0..times {
            let jitter = self.random.below(path.jitter.as_micros() as u64 + 1);
            let at = at + path.delay + Duration::from_micros(jitter);
            self.flights.push(at, (1 - from, packet.clone()));
        }
    }

    /// Goes on to the next thing that happens. `false` if nothing ever does.
    pub(crate) fn step(&mut self) -> bool {
        for end in 0..2 {
            self.flush(end);
            self.ends[end].work(self.now);
            self.flush(end);
        }
        let arrives = self.flights.next();
        let timers = self.ends.iter().filter_map(|end| end.association.timeout());
        let Some(next) = timers.chain(arrives).min() else {
            return false;
        };
        self.now = self.now.max(next);
        while let Some((to, packet)) = self.flights.pop(self.now) {
            self.ends[to].association.receive(self.now, &packet);
        }
        true
    }

    /// Steps until the condition holds; panics if it does not within `limit`.
    #[track_caller]
    pub(crate) fn until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        let mut steps = 0_u64;
        while !done(self) {
            steps += 1;
            let goes_on = self.step() && self.now <= end && steps < 20_000_000;
            assert!(
                goes_on || done(self),
                "not within {limit:?}: {steps} steps, read {} and {}, buffered {} and {}, events {:?} and {:?}, {:?} {:?}",
                self.ends[0].bytes,
                self.ends[1].bytes,
                self.ends[0].association.buffered(),
                self.ends[1].association.buffered(),
                self.ends[0].events,
                self.ends[1].events,
                self.ends[0].association.stats(),
                self.ends[1].association.stats(),
            );
        }
    }

    /// Steps for a while, whatever happens.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end && self.step() {}
        self.now = self.now.max(end);
    }

    /// Sends whole messages, the next one when there is room for it, and waits until all are read.
    #[track_caller]
    pub(crate) fn transfer(
        &mut self,
        from: usize,
        message: Outgoing,
        messages: &[Vec<u8>],
        limit: Duration,
    ) {
        let mut next = 0;
        let mut offset = 0;
        let goal = self.ends[1 - from].count + messages.len();
        self.until(limit, |net| {
            while let Some(bytes) = messages.get(next) {
                let mut piece = message;
                piece.first = offset == 0;
                let taken = net.ends[from].association.send(piece, &bytes[offset..]);
                offset += taken.unwrap();
                if offset < bytes.len() {
                    break;
                }
                next += 1;
                offset = 0;
            }
            net.ends[1 - from].count == goal && net.ends[from].association.buffered() == 0
        });
    }
}

/// A message whose bytes tell its number and are easy to compare.
pub(crate) fn message(number: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (number.wrapping_mul(31) + at * 7 + at / 251) as u8)
        .collect()
}
