//! NATs of each kind (RFC 4787), for real sessions.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use peer_core::time::Instant;

use crate::link::{NAT_FORGETS, Node};

/// On what of the other endpoint something depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependence {
    /// Nothing.
    Independent,
    /// Its address.
    Address,
    /// Its address and port.
    AddressAndPort,
}

impl Dependence {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Independent, Self::Address, Self::AddressAndPort];

    fn same(self, a: SocketAddr, b: SocketAddr) -> bool {
        match self {
            Self::Independent => true,
            Self::Address => a.ip() == b.ip(),
            Self::AddressAndPort => a == b,
        }
    }
}

/// What a NAT is like. None hairpins; a mapping that nobody inside uses is forgotten after 120 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Which packets of one socket get the same outer port (RFC 4787 §4.1).
    pub mapping: Dependence,
    /// Which packets may come in (RFC 4787 §5): from whom its socket has sent to.
    pub filtering: Dependence,
}

impl Nat {
    /// No NAT, in its words.
    const NONE: Self = Self {
        mapping: Dependence::Independent,
        filtering: Dependence::Independent,
    };

    /// Returns whether two machines behind such NATs, or none, find a path without a relay, where
    /// both know how they look from a STUN server.
    pub fn can_meet(one: Option<Self>, other: Option<Self>) -> bool {
        let [one, other] = [one, other].map(|nat| nat.unwrap_or(Self::NONE));
        let moves = |nat: Self| nat.mapping != Dependence::Independent;
        let filters = |nat: Self| nat.filtering != Dependence::Independent;
        let by_port = |nat: Self| nat.filtering == Dependence::AddressAndPort;
        // Checks of one that moves come from a port that nobody was told. It is not let in by one
        // that filters by port, and unknown to both where both move and filter.
        let is_shut_out = moves(one) && by_port(other)
            || moves(other) && by_port(one)
            || moves(one) && moves(other) && filters(one) && filters(other);
        // Each answer comes from yet another port.
        let never_settles = [one, other].map(|nat| nat.mapping) == [Dependence::AddressAndPort; 2];
        !is_shut_out && !never_settles
    }
}

#[derive(Debug)]
struct Mapping {
    inner: u16,
    toward: SocketAddr,
    outer: u16,
    used: Instant,
    contacted: Vec<(SocketAddr, Instant)>,
}

/// The mappings of one host's NAT.
#[derive(Debug, Default)]
pub(crate) struct Table {
    mappings: Vec<Mapping>,
    made: u16,
}

impl Table {
    /// It gives other ports from now on.
    pub(crate) fn forget(&mut self) {
        self.mappings.clear();
    }

    /// The outer port of a packet that leaves.
    pub(crate) fn leave(&mut self, nat: Nat, now: Instant, inner: u16, to: SocketAddr) -> u16 {
        let lives = |used: Instant| now.saturating_duration_since(used) < NAT_FORGETS;
        self.mappings.retain(|it| lives(it.used));
        let known = self
            .mappings
            .iter()
            .position(|it| it.inner == inner && nat.mapping.same(it.toward, to));
        let index = known.unwrap_or_else(|| {
            self.made = (self.made + 1) % 40_000;
            self.mappings.push(Mapping {
                inner,
                toward: to,
                outer: 20_000 + self.made,
                used: now,
                contacted: Vec::new(),
            });
            self.mappings.len() - 1
        });
        let mapping = &mut self.mappings[index];
        mapping.used = now;
        mapping
            .contacted
            .retain(|(other, used)| *other != to && lives(*used));
        mapping.contacted.push((to, now));
        mapping.outer
    }

    /// The inner port of a packet that comes, if it is let in.
    pub(crate) fn enter(
        &self,
        nat: Nat,
        now: Instant,
        from: SocketAddr,
        outer: u16,
    ) -> Option<u16> {
        let lives = |used: Instant| now.saturating_duration_since(used) < NAT_FORGETS;
        let mapping = self.mappings.iter().find(|it| it.outer == outer)?;
        let is_known =
            |(to, used): &(SocketAddr, Instant)| lives(*used) && nat.filtering.same(*to, from);
        let is_open = nat.filtering == Dependence::Independent && lives(mapping.used)
            || mapping.contacted.iter().any(is_known);
        is_open.then_some(mapping.inner)
    }
}

/// How a node looks from the internet after so many changes of its address: one of 64.
pub(crate) fn public(node: Node, epoch: u16) -> IpAddr {
    let [.., a, b] = (node as u32).to_be_bytes();
    Ipv4Addr::new(100, 64 + (epoch % 64) as u8, a, b).into()
}

/// Whose address that is, if it still is.
pub(crate) fn node(ip: IpAddr) -> Option<Node> {
    let IpAddr::V4(ip) = ip else { return None };
    match ip.octets() {
        [100, 64..128, a, b] => Some(usize::from(u16::from_be_bytes([a, b]))),
        _ => None,
    }
}
