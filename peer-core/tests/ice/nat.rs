//! Networks behind NATs (RFC 4787). None of them hairpins.

use std::net::{IpAddr, SocketAddr};

/// Which packets get the same outer port, and which may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dependence {
    /// Whatever the other endpoint.
    Independent,
    /// The other endpoint's address.
    Address,
    /// Its address and port.
    AddressAndPort,
}

impl Dependence {
    pub(crate) const ALL: [Self; 3] = [Self::Independent, Self::Address, Self::AddressAndPort];

    fn same(self, a: SocketAddr, b: SocketAddr) -> bool {
        match self {
            Self::Independent => true,
            Self::Address => a.ip() == b.ip(),
            Self::AddressAndPort => a == b,
        }
    }
}

#[derive(Debug)]
struct Mapping {
    inner: SocketAddr,
    toward: SocketAddr,
    port: u16,
    contacted: Vec<SocketAddr>,
}

#[derive(Debug)]
pub(crate) struct Nat {
    pub(crate) public: IpAddr,
    pub(crate) mapping: Dependence,
    pub(crate) filtering: Dependence,
    table: Vec<Mapping>,
    next: u16,
}

impl Nat {
    pub(crate) fn new(public: IpAddr, mapping: Dependence, filtering: Dependence) -> Self {
        Self {
            public,
            mapping,
            filtering,
            table: Vec::new(),
            next: 20_000,
        }
    }

    /// Forgets everything, and gives other ports from now on.
    pub(crate) fn rebind(&mut self) {
        self.table.clear();
        self.next += 100;
    }

    fn outward(&mut self, inner: SocketAddr, to: SocketAddr) -> SocketAddr {
        let kind = self.mapping;
        let same = |it: &&mut Mapping| it.inner == inner && kind.same(it.toward, to);
        let port = match self.table.iter_mut().find(same) {
            Some(mapping) => {
                mapping.contacted.push(to);
                mapping.contacted.dedup();
                mapping.port
            }
            None => {
                self.next += 1;
                self.table.push(Mapping {
                    inner,
                    toward: to,
                    port: self.next,
                    contacted: vec![to],
                });
                self.next
            }
        };
        SocketAddr::new(self.public, port)
    }

    fn inward(&self, from: SocketAddr, port: u16) -> Option<SocketAddr> {
        let mapping = self.table.iter().find(|it| it.port == port)?;
        let mut contacted = mapping.contacted.iter();
        let open = self.filtering == Dependence::Independent
            || contacted.any(|to| self.filtering.same(*to, from));
        open.then_some(mapping.inner)
    }
}

/// Two sites, each perhaps behind a NAT, and the internet. The private addresses of site `n` are
/// `10.0.n.0/24`.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) nats: [Option<Nat>; 2],
}

impl Network {
    fn site(ip: IpAddr) -> Option<usize> {
        match ip {
            IpAddr::V4(ip) => match ip.octets() {
                [10, 0, site, _] => Some(usize::from(site)),
                _ => None,
            },
            IpAddr::V6(_) => None,
        }
    }

    /// What a packet looks like outside. `None` if it does not get there.
    pub(crate) fn leave(&mut self, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        let (here, there) = (Self::site(from.ip()), Self::site(to.ip()));
        if here == there {
            return Some(from);
        }
        if there.is_some() {
            return None;
        }
        let nat = self.nats[here?].as_mut()?;
        (nat.public != to.ip()).then(|| nat.outward(from, to))
    }

    /// Where a packet arrives.
    pub(crate) fn arrive(&self, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        let nat = self.nats.iter().flatten().find(|nat| nat.public == to.ip());
        match nat {
            Some(nat) => nat.inward(from, to.port()),
            None => Some(to),
        }
    }
}
