//! Two ends, a network and a load, in virtual time.

use std::time::Duration;

use crate::cpu::Meter;
use crate::end::{End, PPID, Read, STREAM, State};
use crate::load::{Application, Load};
use crate::network::{Link, LinkCounts, LinkOptions};

/// Turns of an end without time passing, beyond which it is held to run in circles.
const TURNS_AT_ONCE: u32 = 100_000;

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// What is sent.
    pub load: Load,
    /// From the first end to the second, and back.
    pub links: [LinkOptions; 2],
    /// Virtual time after which it ends, complete or not.
    pub limit: Duration,
    /// Of the network.
    pub seed: u64,
}

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whether all messages arrived.
    pub complete: bool,
    /// What went wrong beyond slowness: an end that ended, messages wrong, doubled, missing.
    pub fault: Option<String>,
    /// From the first message sent to the last received; to the limit if it is not complete.
    pub elapsed: Duration,
    /// The first end and the second.
    pub ends: [EndOutcome; 2],
    /// From the first end to the second, and back.
    pub links: [LinkCounts; 2],
    /// Of an echo, in the order in which they were.
    pub round_trips: Vec<Duration>,
}

/// What one end did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndOutcome {
    /// Bytes of messages received.
    pub bytes: u64,
    /// Whole messages received.
    pub messages: u32,
    /// Longest time without a byte received, from the first one.
    pub silence: Duration,
    /// CPU time of its calls; `None` if it cannot be told.
    pub cpu: Option<Duration>,
    /// Packets sent and received.
    pub packets: u64,
}

impl Outcome {
    /// Bytes a second, both directions.
    pub fn bytes_per_second(&self) -> f64 {
        per_second(self.ends[0].bytes + self.ends[1].bytes, self.elapsed)
    }

    /// Messages a second, both directions.
    pub fn messages_per_second(&self) -> f64 {
        per_second(
            self.ends.iter().map(|end| u64::from(end.messages)).sum(),
            self.elapsed,
        )
    }

    /// The longer silence of the two receivers.
    pub fn silence(&self) -> Duration {
        self.ends[0].silence.max(self.ends[1].silence)
    }
}

fn per_second(amount: u64, elapsed: Duration) -> f64 {
    amount as f64 / elapsed.as_secs_f64().max(1e-9)
}

/// Sees every packet: when it left, from which end, its bytes.
pub type Tap<'a> = &'a mut dyn FnMut(Duration, usize, &[u8]);

/// Runs it.
pub fn run(options: &RunOptions, ends: [&mut dyn End; 2], tap: Tap<'_>) -> Outcome {
    let [first, second] = ends;
    let seats = [
        Seat::new(first, options.load, true),
        Seat::new(second, options.load, false),
    ];
    let links = [0, 1].map(|n| Link::new(options.links[n], options.seed, n as u64));
    Run {
        options,
        seats,
        links,
        now: Duration::ZERO,
        begun: None,
        tap,
    }
    .go()
}

struct Run<'a> {
    options: &'a RunOptions,
    seats: [Seat<'a>; 2],
    links: [Link; 2],
    now: Duration,
    begun: Option<Duration>,
    tap: Tap<'a>,
}

impl Run<'_> {
    fn go(mut self) -> Outcome {
        let mut turns = 0;
        let mut fault = None;
        // What an end wants to send first.
        let mut due = [true; 2];
        while !self.complete() {
            for (n, due) in due.iter_mut().enumerate() {
                if std::mem::take(due) {
                    self.turn(n);
                }
            }
            fault = self.fault();
            let next = [0, 1].map(|n| self.next(n));
            let Some(then) = next.iter().flatten().min().copied() else {
                fault.get_or_insert("nothing is under way and no timer runs".into());
                break;
            };
            if fault.is_some() || then > self.options.limit {
                break;
            }
            turns = if then > self.now { 0 } else { turns + 1 };
            self.now = self.now.max(then);
            due = next.map(|at| at.is_some_and(|at| at <= self.now));
            if turns > TURNS_AT_ONCE {
                let n = usize::from(!due[0]);
                fault = Some(format!("end {} runs in circles at {:?}", n + 1, self.now));
                break;
            }
        }
        self.outcome(fault)
    }

    fn fault(&self) -> Option<String> {
        let mut faults = self.seats.iter().enumerate();
        faults.find_map(|(n, seat)| Some(format!("end {}: {}", n + 1, seat.fault()?)))
    }

    fn complete(&self) -> bool {
        self.seats.iter().all(|seat| seat.application.complete())
    }

    /// When end `n` has something to do.
    fn next(&mut self, n: usize) -> Option<Duration> {
        let seat = &mut self.seats[n];
        let arrival = self.links[1 - n].next_arrival();
        let pause = seat.application.pause(self.now);
        let again = seat.again.then_some(self.now);
        [arrival, seat.end.timeout(), pause, again]
            .into_iter()
            .flatten()
            .min()
    }

    /// Everything that end `n` has to do now.
    fn turn(&mut self, n: usize) {
        let now = self.now;
        let seat = &mut self.seats[n];
        while let Some(packet) = self.links[1 - n].receive(now) {
            seat.incoming.push(packet);
        }
        seat.application.prepare();
        if seat.turn(now) && self.begun.is_none() {
            self.begun = Some(now);
        }
        for packet in seat.outgoing.drain(..) {
            (self.tap)(now, n, &packet);
            self.links[n].send(now, &packet);
        }
        seat.digest(now);
    }

    fn outcome(self, fault: Option<String>) -> Outcome {
        let complete = self.complete();
        let until = if complete || fault.is_some() {
            self.now
        } else {
            self.options.limit
        };
        Outcome {
            complete,
            fault,
            elapsed: until.saturating_sub(self.begun.unwrap_or_default()),
            ends: [0, 1].map(|n| self.seats[n].outcome(until)),
            links: [0, 1].map(|n| self.links[n].counts()),
            round_trips: self.seats[0].application.round_trips.clone(),
        }
    }
}

/// An end, its application, and what passes between them in a turn.
struct Seat<'a> {
    end: &'a mut dyn End,
    application: Application,
    unordered: bool,
    meter: Meter,
    incoming: Vec<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
    read: Vec<u8>,
    /// Ends of what was read in `read`.
    reads: Vec<(usize, Read)>,
    /// The end took all that was offered, and more is there.
    again: bool,
    last_byte: Option<Duration>,
    counts: EndOutcome,
    fault: Option<String>,
}

impl<'a> Seat<'a> {
    fn new(end: &'a mut dyn End, load: Load, first: bool) -> Self {
        Self {
            end,
            application: Application::new(load, first),
            unordered: load.unordered,
            meter: Meter::default(),
            incoming: Vec::new(),
            outgoing: Vec::new(),
            read: Vec::new(),
            reads: Vec::new(),
            again: false,
            last_byte: None,
            counts: EndOutcome::default(),
            fault: None,
        }
    }

    /// The part of a turn whose cost is counted: calls of the end, and nothing else that costs.
    /// Whether the end took a message.
    fn turn(&mut self, now: Duration) -> bool {
        self.meter.start();
        for packet in &self.incoming {
            self.end.receive(now, packet);
        }
        if self.end.timeout().is_some_and(|at| at <= now) {
            self.end.handle_timeout(now);
        }
        if self.application.pause(now).is_none() {
            let mut appetite = self.application.appetite();
            while appetite > 0 {
                let Some(read) = self.end.read(now, &mut self.read) else {
                    break;
                };
                self.reads.push((self.read.len(), read));
                appetite -= u32::from(read.last);
            }
        }
        let (mut took, mut refused) = (false, false);
        while self.end.state() == State::Open
            && let Some(message) = self.application.outgoing()
        {
            refused = !self.end.send(now, self.unordered, message);
            if refused {
                break;
            }
            took = true;
            self.application.accepted(now);
        }
        loop {
            let mut packet = Vec::new();
            if !self.end.transmit(now, &mut packet) {
                break;
            }
            self.outgoing.push(packet);
        }
        self.again = !refused && self.end.state() == State::Open;
        self.meter.stop();
        self.counts.packets += (self.incoming.len() + self.outgoing.len()) as u64;
        self.incoming.clear();
        took
    }

    /// Gives the application what was read.
    fn digest(&mut self, now: Duration) {
        let mut from = 0;
        for (to, read) in self.reads.drain(..) {
            if to > from {
                let since = self.last_byte.replace(now).unwrap_or(now);
                self.counts.silence = self.counts.silence.max(now - since);
            }
            if (read.stream, read.ppid) != (STREAM, PPID) {
                self.fault
                    .get_or_insert_with(|| format!("came with {read:?}"));
            }
            self.counts.bytes += (to - from) as u64;
            self.counts.messages += u32::from(read.last);
            self.application
                .received(now, &self.read[from..to], read.last);
            from = to;
        }
        self.read.clear();
        self.again = self.again && self.application.prepare();
    }

    /// What went wrong so far.
    fn fault(&self) -> Option<String> {
        match self.end.state() {
            State::Ended(why) => return Some(format!("ended: {why}")),
            State::Opening | State::Open => {}
        }
        self.application
            .fault()
            .or(self.fault.as_deref())
            .map(str::to_owned)
    }

    fn outcome(&self, until: Duration) -> EndOutcome {
        let mut counts = self.counts;
        if !self.application.complete() {
            let since = self.last_byte.unwrap_or_default();
            counts.silence = counts.silence.max(until.saturating_sub(since));
        }
        counts.cpu = self.end.counts_cpu().then(|| self.meter.spent());
        counts
    }
}
