//! What the networks of the tests in virtual time are made of.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use peer_core::time::Instant;

/// A generator of random numbers, the same from the same seed (xorshift).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64 <= probability && probability > 0.0
    }
}

/// Packets on their way, in the order in which they arrive; at one time the first sent first.
pub(crate) struct Flights<P>(BinaryHeap<Flight<P>>, u64);

impl<P> Flights<P> {
    pub(crate) const fn new() -> Self {
        Self(BinaryHeap::new(), 0)
    }

    pub(crate) fn push(&mut self, at: Instant, packet: P) {
        self.1 += 1;
        self.0.push(Flight {
            at,
            number: self.1,
            packet,
        });
    }

    /// When the next one arrives.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|flight| flight.at)
    }

    /// The next one that has arrived by now.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<P> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|flight| flight.packet)
    }
}

struct Flight<P> {
    at: Instant,
    number: u64,
    packet: P,
}

impl<P> Ord for Flight<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<P> PartialOrd for Flight<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> PartialEq for Flight<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<P> Eq for Flight<P> {}
