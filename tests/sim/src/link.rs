//! The network: one access link a node, and what lies between.

use core::net::Ipv4Addr;
use std::collections::{BTreeMap, BTreeSet};

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

    /// A site's way out by cable or DSL: 8 to 12 ms, 0.1 % loss, 40 Mbit/s.
    pub const fn cable_modem() -> Self {
        Self {
            latency: Duration::from_millis(8),
            jitter: Duration::from_millis(4),
            loss: 0.001,
            rate: Some(5_000_000),
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
/// Where gateways and the broker listen on the LAN, and the longest IP packet there.
pub(crate) const LAN_PORT: u16 = 9_000;
pub(crate) const MTU: usize = 1_500;
/// How long a NAT keeps a mapping that nobody inside uses (RFC 4787, section 4.3: two minutes or
/// more).
pub(crate) const NAT_FORGETS: Duration = Duration::from_secs(120);

/// A node's address on the LAN, in 10/8.
pub(crate) fn address(node: Node) -> Ipv4Addr {
    let [_, a, b, c] = (node as u32 + 1).to_be_bytes();
    Ipv4Addr::new(10, a, b, c)
}

/// Whom an Ethernet frame is for. A question who has an address goes to whoever has it: there is no
/// broadcast.
pub(crate) fn destination(frame: &[u8]) -> Option<Node> {
    let target = match frame.get(12..14)? {
        [0x08, 0x00] => frame.get(30..34)?,
        [0x08, 0x06] => frame.get(38..42)?,
        _ => return None,
    };
    let [10, a, b, c] = *target else { return None };
    (u32::from_be_bytes([0, a, b, c]) as usize).checked_sub(1)
}

/// What a site is like: a LAN, each of whose hosts has its own link, behind one uplink to the
/// internet that they share. What stays at the site does not use the uplink.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SiteOptions {
    /// The way out. Default: [`Link::cable_modem`].
    pub uplink: Link,
    /// Whether there is a NAT, which lets in only what its site has asked for: packets from an
    /// address that a host has sent to before, 120 s at most. Default: no.
    pub nat: bool,
}

impl Default for SiteOptions {
    fn default() -> Self {
        Self {
            uplink: Link::cable_modem(),
            nat: false,
        }
    }
}

/// Names a site of a [`Sim`](crate::Sim).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub(crate) usize);

/// Until when the last bits sent each way take.
#[derive(Debug)]
struct Queues {
    up_free: Instant,
    down_free: Instant,
}

impl Queues {
    const EMPTY: Self = Self {
        up_free: Instant::ZERO,
        down_free: Instant::ZERO,
    };
}

#[derive(Debug)]
struct Attached {
    link: Link,
    site: Option<SiteId>,
    island: u32,
    queues: Queues,
}

/// A LAN behind one uplink.
#[derive(Debug)]
struct SiteNet {
    uplink: Link,
    is_cut: bool,
    /// Who inside has sent to whom outside, and when last. `None`: no NAT.
    mappings: Option<BTreeMap<(Node, Node), Instant>>,
    queues: Queues,
}

/// Who can reach whom, and how fast.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: Vec<Attached>,
    sites: Vec<SiteNet>,
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
            sites: Vec::new(),
            cuts: BTreeSet::new(),
            islands: 0,
            rng,
            sent: 0,
            lost: 0,
        }
    }

    pub(crate) fn add(&mut self, link: Link, site: Option<SiteId>) -> Node {
        self.nodes.push(Attached {
            link,
            site,
            island: 0,
            queues: Queues::EMPTY,
        });
        self.nodes.len() - 1
    }

    pub(crate) fn add_site(&mut self, uplink: Link, nat: bool) -> SiteId {
        self.sites.push(SiteNet {
            uplink,
            is_cut: false,
            mappings: nat.then(BTreeMap::new),
            queues: Queues::EMPTY,
        });
        SiteId(self.sites.len() - 1)
    }

    pub(crate) fn set_link(&mut self, node: Node, link: Link) {
        self.nodes[node].link = link;
    }

    pub(crate) fn set_uplink(&mut self, site: SiteId, link: Link) {
        self.sites[site.0].uplink = link;
    }

    pub(crate) fn cut_site(&mut self, site: SiteId) {
        self.sites[site.0].is_cut = true;
    }

    /// The site's NAT starts anew.
    pub(crate) fn forget_mappings(&mut self, site: SiteId) {
        if let Some(mappings) = &mut self.sites[site.0].mappings {
            mappings.clear();
        }
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
        for site in &mut self.sites {
            site.is_cut = false;
        }
    }

    /// The sites that a packet leaves and enters; none when it stays where it is.
    fn borders(&self, from: Node, to: Node) -> [Option<SiteId>; 2] {
        let (from, to) = (self.nodes[from].site, self.nodes[to].site);
        if from == to { [None; 2] } else { [from, to] }
    }

    pub(crate) fn is_reachable(&self, from: Node, to: Node) -> bool {
        self.nodes[from].island == self.nodes[to].island
            && (self.cuts.is_empty() || !self.cuts.contains(&(from, to)))
            && (self.borders(from, to).into_iter().flatten()).all(|site| !self.sites[site.0].is_cut)
    }

    /// Whether packets get from one to the other, and few are lost.
    pub(crate) fn is_good(&self, from: Node, to: Node) -> bool {
        let path = self.path(from, to);
        self.is_reachable(from, to) && path.iter().flatten().all(|link| link.loss < 0.01)
    }

    /// The links on the way.
    fn path(&self, from: Node, to: Node) -> [Option<Link>; 4] {
        let uplinks = self.borders(from, to);
        let uplink = |site: Option<SiteId>| site.map(|site| self.sites[site.0].uplink);
        [
            Some(self.nodes[from].link),
            uplink(uplinks[0]),
            uplink(uplinks[1]),
            Some(self.nodes[to].link),
        ]
    }

    /// One way without waiting, jitter or loss.
    pub(crate) fn latency(&self, from: Node, to: Node) -> Duration {
        let path = self.path(from, to);
        path.iter().flatten().map(|link| link.latency).sum()
    }

    /// Sends so many bytes in as many packets as they need: when they are there, if all get
    /// through, and when a duplicate is.
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
        let path = self.path(from, to);
        let twice = path
            .iter()
            .flatten()
            .any(|link| self.rng.chance(link.duplicate));
        let again = twice.then(|| self.pass(now, from, to, bytes)).flatten();
        [arrives, again]
    }

    fn pass(&mut self, now: Instant, from: Node, to: Node, bytes: usize) -> Option<Instant> {
        if !self.is_reachable(from, to) || !self.translate(now, from, to) {
            return None;
        }
        let path = self.path(from, to);
        let links = || path.iter().flatten();
        for _ in 0..bytes.div_ceil(PACKET).max(1) {
            if links().any(|link| self.rng.chance(link.loss)) {
                return None;
            }
        }
        let [leaves, enters] = self.borders(from, to);
        let up = &mut self.nodes[from];
        let mut sent = queue(&mut up.queues.up_free, now, up.link.rate, bytes)?;
        if let Some(site) = leaves {
            let site = &mut self.sites[site.0];
            sent = queue(&mut site.queues.up_free, sent, site.uplink.rate, bytes)?;
        }
        let mut delay: Duration = links().map(|link| link.latency).sum();
        for link in links() {
            delay += self.rng.up_to(link.jitter);
        }
        if links().any(|link| self.rng.chance(link.reorder)) {
            let held: Duration = links().map(|link| link.latency + link.jitter).sum();
            delay += 2 * held;
        }
        let mut there = sent + delay;
        if let Some(site) = enters {
            let site = &mut self.sites[site.0];
            there = queue(&mut site.queues.down_free, there, site.uplink.rate, bytes)?;
        }
        let down = &mut self.nodes[to];
        queue(&mut down.queues.down_free, there, down.link.rate, bytes)
    }

    /// Whether NATs on the way let a packet through. They let in what was asked for, address by
    /// address.
    fn translate(&mut self, now: Instant, from: Node, to: Node) -> bool {
        let [leaves, enters] = self.borders(from, to);
        if let Some(site) = leaves
            && let Some(mappings) = &mut self.sites[site.0].mappings
        {
            mappings.insert((from, to), now);
        }
        let mappings = enters.and_then(|site| self.sites[site.0].mappings.as_ref());
        mappings.is_none_or(|mappings| {
            mappings
                .get(&(to, from))
                .is_some_and(|used| now.saturating_duration_since(*used) < NAT_FORGETS)
        })
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
