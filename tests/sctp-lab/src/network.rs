//! One direction of a network: what becomes of each packet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::random::Random;

/// What a full packet takes on a line of 1 Gbit/s.
pub const SLOT: Duration = Duration::from_nanos(9_528);

/// How packets are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// None is.
    None,
    /// Each with this probability, independent of the others.
    Random(f64),
    /// In bursts (Gilbert–Elliott): while the line is bad, each packet is lost with probability
    /// `lost`; while it is good, none is. The line may turn in each [slot](SLOT) of time, whether
    /// or not there is a packet, so a burst ends while an end is silent.
    Bursts {
        /// Probability that a good line turns bad.
        begin: f64,
        /// Probability that a bad line turns good: a burst is `1 / end` packets long on average.
        end: f64,
        /// Probability that a packet is lost while the line is bad.
        lost: f64,
    },
}

impl Loss {
    /// Bursts of `packets` lost packets on average that make up `rate` of all packets.
    pub fn bursts(rate: f64, packets: f64) -> Self {
        let end = 1.0 / packets;
        Self::Bursts {
            begin: end * rate / (1.0 - rate),
            end,
            lost: 1.0,
        }
    }
}

/// One direction of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkOptions {
    /// From the end of a packet's transmission to its arrival.
    pub delay: Duration,
    /// Bit/s; a packet counts with its SCTP bytes, nothing is added for UDP and IP.
    pub rate: u64,
    /// Bytes that wait for the line. A packet that does not fit is dropped (tail drop).
    pub queue: usize,
    /// What is lost on the line, after the queue.
    pub loss: Loss,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that a packet is late and is overtaken.
    pub reorder: f64,
    /// How late such a packet is at most.
    pub late: Duration,
}

impl LinkOptions {
    /// A line of 1 Gbit/s with a queue of 1 MiB that loses nothing.
    pub const fn gigabit(delay: Duration) -> Self {
        Self {
            delay,
            rate: 1_000_000_000,
            queue: 1 << 20,
            loss: Loss::None,
            duplicate: 0.0,
            reorder: 0.0,
            late: Duration::ZERO,
        }
    }
}

/// What a direction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Packets that were handed to it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Lost on the line.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub overflowed: u64,
}

/// A direction at work.
#[derive(Debug)]
pub struct Link {
    options: LinkOptions,
    random: Random,
    /// When the line has sent what waits.
    free: Duration,
    /// Whether the line is bad, as of when.
    bad: bool,
    looked: Duration,
    /// By arrival, then by the order in which they left.
    under_way: BinaryHeap<Reverse<(Duration, u64, Vec<u8>)>>,
    next: u64,
    counts: LinkCounts,
}

impl Link {
    /// The direction number `stream` of a run with this seed.
    pub fn new(options: LinkOptions, seed: u64, stream: u64) -> Self {
        Self {
            options,
            random: Random::new(seed, stream),
            free: Duration::ZERO,
            bad: false,
            looked: Duration::ZERO,
            under_way: BinaryHeap::new(),
            next: 0,
            counts: LinkCounts::default(),
        }
    }

    /// Takes a packet that leaves at `now`.
    pub fn send(&mut self, now: Duration, packet: &[u8]) {
        self.counts.packets += 1;
        self.counts.bytes += packet.len() as u64;
        // Each packet draws as often, so that what happens to one changes nothing for others.
        let draws = [(); 5].map(|()| self.random.fraction());
        let begins = self.free.max(now);
        if self.transmission(self.options.queue) < (begins - now) + self.transmission(packet.len())
        {
            self.counts.overflowed += 1;
            return;
        }
        self.free = begins + self.transmission(packet.len());
        if self.loses(draws[0], draws[1]) {
            self.counts.lost += 1;
            return;
        }
        let mut arrival = self.free + self.options.delay;
        if draws[2] < self.options.duplicate {
            self.deliver(arrival, packet);
        }
        if draws[3] < self.options.reorder {
            arrival += self.options.late.mul_f64(draws[4]);
        }
        self.deliver(arrival, packet);
    }

    /// When the next packet arrives.
    pub fn next_arrival(&self) -> Option<Duration> {
        self.under_way.peek().map(|Reverse((arrival, ..))| *arrival)
    }

    /// The next packet that has arrived by `now`.
    pub fn receive(&mut self, now: Duration) -> Option<Vec<u8>> {
        self.next_arrival().filter(|&arrival| arrival <= now)?;
        self.under_way.pop().map(|Reverse((_, _, packet))| packet)
    }

    /// What it did so far.
    pub fn counts(&self) -> LinkCounts {
        self.counts
    }

    fn transmission(&self, bytes: usize) -> Duration {
        Duration::from_nanos(
            (bytes as u128 * 8 * 1_000_000_000 / u128::from(self.options.rate)) as u64,
        )
    }

    fn loses(&mut self, change: f64, loss: f64) -> bool {
        match self.options.loss {
            Loss::None => false,
            Loss::Random(rate) => loss < rate,
            Loss::Bursts { begin, end, lost } => {
                let since = (self.free - self.looked).as_secs_f64() / SLOT.as_secs_f64();
                self.looked = self.free;
                // How the chain of two states forgets where it was.
                let share = begin / (begin + end);
                let kept = (1.0 - begin - end).powf(since.max(1.0));
                let was = if self.bad { 1.0 } else { 0.0 };
                self.bad = change < share + (was - share) * kept;
                self.bad && loss < lost
            }
        }
    }

    fn deliver(&mut self, arrival: Duration, packet: &[u8]) {
        self.under_way
            .push(Reverse((arrival, self.next, packet.to_vec())));
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn arrivals(link: &mut Link) -> Vec<(Duration, u8)> {
        let mut all = Vec::new();
        while let Some(at) = link.next_arrival() {
            all.push((at, link.receive(at).unwrap()[0]));
        }
        all
    }

    #[test]
    fn rate_delay_and_queue() {
        // 1,000 bytes take 1 ms.
        let options = LinkOptions {
            rate: 8_000_000,
            queue: 3000,
            ..LinkOptions::gigabit(10 * MS)
        };
        let mut link = Link::new(options, 1, 0);
        for n in 0..5 {
            link.send(Duration::ZERO, &[n; 1000]);
        }
        assert_eq!(
            arrivals(&mut link),
            [(11 * MS, 0), (12 * MS, 1), (13 * MS, 2)]
        );
        assert_eq!(link.counts().overflowed, 2);
    }

    #[test]
    fn losses_have_their_rate_and_length() {
        for loss in [Loss::Random(0.05), Loss::bursts(0.05, 4.0)] {
            let mut link = Link::new(
                LinkOptions {
                    loss,
                    ..LinkOptions::gigabit(MS)
                },
                7,
                0,
            );
            let mut lost = Vec::new();
            for n in 0..100_000u32 {
                let before = link.counts().lost;
                link.send(SLOT * n, &[0; 1191]);
                lost.push(link.counts().lost > before);
            }
            let rate = link.counts().lost as f64 / 1e5;
            assert!((0.045..0.055).contains(&rate), "{loss:?}: {rate}");
            let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
            let length = link.counts().lost as f64 / bursts;
            let right = if matches!(loss, Loss::Random(_)) {
                1.0..1.1
            } else {
                3.7..4.3
            };
            assert!(right.contains(&length), "{loss:?}: {length}");
        }
    }

    #[test]
    fn doubles_and_overtakes() {
        let options = LinkOptions {
            duplicate: 0.1,
            reorder: 0.1,
            late: MS,
            ..LinkOptions::gigabit(MS)
        };
        let mut link = Link::new(options, 3, 0);
        for n in 0..200 {
            link.send(Duration::from_micros(n * 100), &[n as u8]);
        }
        let all = arrivals(&mut link);
        assert!((205..240).contains(&all.len()), "{}", all.len());
        assert!(all.windows(2).any(|pair| pair[0].1 > pair[1].1));
    }
}
