//! The network: one access link a node, and what lies between.

use std::collections::BTreeSet;

use peer_core::time::{Duration, Instant};

use crate::Rng;

/// Bytes of user data in one packet on the way.
const PACKET: usize = 1_200;
/// What a rate-limited link queues, as time to send it. What comes later is dropped.
const QUEUE: Duration = Duration::from_millis(1_000);

/// The access link of one node. A path is the sender's link up and the receiver's link down.
///
/// As with Linux's `netem`, jitter alone already reorders packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// One way, always.
    pub latency: Duration,
    /// One way, at most this much more.
    pub jitter: Duration,
    /// Probability that a packet is lost, 0 to 1.
    pub loss: f64,
    /// Probability that a packet comes twice, 0 to 1.
    pub duplicate: f64,
    /// Probability that a packet is held back by twice latency and jitter, 0 to 1.
    pub reorder: f64,
    /// Bytes a second each way; `None`: no limit. At most one second's worth waits.
    pub rate: Option<u64>,
}

impl Link {
    /// No delay but 1 µs, no loss.
    pub const fn perfect() -> Self {
        Self {
            latency: Duration::from_micros(1),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            rate: None,
        }
    }

    /// A cable in the house: 0.2 ms, 100 Mbit/s.
    pub const fn lan() -> Self {
        Self {
            latency: Duration::from_micros(200),
            jitter: Duration::from_micros(100),
            rate: Some(12_500_000),
            ..Self::perfect()
        }
    }

    /// A radio in the house: 2 to 12 ms, 0.5 % loss, 20 Mbit/s.
    pub const fn wifi() -> Self {
        Self {
            latency: Duration::from_millis(2),
            jitter: Duration::from_millis(10),
            loss: 0.005,
            duplicate: 0.001,
            reorder: 0.005,
            rate: Some(2_500_000),
        }
    }

    /// A cellular modem: 30 to 80 ms, 1 % loss, 2 Mbit/s.
    pub const fn cellular() -> Self {
        Self {
            latency: Duration::from_millis(30),
            jitter: Duration::from_millis(50),
            loss: 0.01,
            duplicate: 0.0,
            reorder: 0.01,
            rate: Some(250_000),
        }
    }

    /// The edge of the world: 80 to 280 ms, 8 % loss, duplicates, reordering, 400 kbit/s.
    pub const fn bad() -> Self {
        Self {
            latency: Duration::from_millis(80),
            jitter: Duration::from_millis(200),
            loss: 0.08,
            duplicate: 0.02,
            reorder: 0.05,
            rate: Some(50_000),
        }
    }
}

/// A node: 0 is the broker, host `n` is `n + 1`.
pub(crate) type Node = usize;

pub(crate) const BROKER: Node = 0;

#[derive(Debug)]
struct Access {
    link: Link,
    island: u32,
    up_free: Instant,
    down_free: Instant,
}

/// Who can reach whom, and how fast.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: Vec<Access>,
    cuts: BTreeSet<(Node, Node)>,
    islands: u32,
    rng: Rng,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

impl Network {
    pub(crate) const fn new(rng: Rng) -> Self {
        Self {
            nodes: Vec::new(),
            cuts: BTreeSet::new(),
            islands: 0,
            rng,
            sent: 0,
            lost: 0,
        }
    }

    pub(crate) fn add(&mut self, link: Link) -> Node {
        self.nodes.push(Access {
            link,
            island: 0,
            up_free: Instant::ZERO,
            down_free: Instant::ZERO,
        });
        self.nodes.len() - 1
    }

    pub(crate) fn set_link(&mut self, node: Node, link: Link) {
        self.nodes[node].link = link;
    }

    /// Cuts these off from all others. They still reach each other.
    pub(crate) fn partition(&mut self, nodes: impl Iterator<Item = Node>) {
        self.islands += 1;
        for node in nodes {
            self.nodes[node].island = self.islands;
        }
    }

    /// No packets from one to the other any more. One way.
    pub(crate) fn cut(&mut self, from: Node, to: Node) {
        self.cuts.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        for node in &mut self.nodes {
            node.island = 0;
        }
    }

    pub(crate) fn is_reachable(&self, from: Node, to: Node) -> bool {
        self.nodes[from].island == self.nodes[to].island
            && (self.cuts.is_empty() || !self.cuts.contains(&(from, to)))
    }

    /// One way without waiting, jitter or loss.
    pub(crate) fn latency(&self, from: Node, to: Node) -> Duration {
        self.nodes[from].link.latency + self.nodes[to].link.latency
    }

    /// Sends so many bytes in as many packets as they need: when they are there, if all get through, and when a
    /// duplicate is.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        from: Node,
        to: Node,
        bytes: usize,
    ) -> [Option<Instant>; 2] {
        self.sent += 1;
        let arrives = self.pass(now, from, to, bytes);
        if arrives.is_none() {
            self.lost += 1;
            return [None; 2];
        }
        let (up, down) = (self.nodes[from].link, self.nodes[to].link);
        let twice = self.rng.chance(up.duplicate) || self.rng.chance(down.duplicate);
        let again = twice.then(|| self.pass(now, from, to, bytes)).flatten();
        [arrives, again]
    }

    fn pass(&mut self, now: Instant, from: Node, to: Node, bytes: usize) -> Option<Instant> {
        if !self.is_reachable(from, to) {
            return None;
        }
        let (up, down) = (self.nodes[from].link, self.nodes[to].link);
        for _ in 0..bytes.div_ceil(PACKET).max(1) {
            if self.rng.chance(up.loss) || self.rng.chance(down.loss) {
                return None;
            }
        }
        let sent = queue(&mut self.nodes[from].up_free, now, up.rate, bytes)?;
        let mut delay = up.latency + down.latency;
        delay += self.rng.up_to(up.jitter) + self.rng.up_to(down.jitter);
        if self.rng.chance(up.reorder) || self.rng.chance(down.reorder) {
            delay += 2 * (up.latency + up.jitter + down.latency + down.jitter);
        }
        queue(
            &mut self.nodes[to].down_free,
            sent + delay,
            down.rate,
            bytes,
        )
    }
}

/// When the last bit is through a link of this rate; `None` when the queue is full.
fn queue(free: &mut Instant, now: Instant, rate: Option<u64>, bytes: usize) -> Option<Instant> {
    let Some(rate) = rate else {
        return Some(now);
    };
    let start = now.max(*free);
    if start.saturating_duration_since(now) > QUEUE {
        return None;
    }
    let micros = (bytes as u64 + 48).saturating_mul(1_000_000) / rate.max(1);
    *free = start + Duration::from_micros(micros);
    Some(*free)
}
