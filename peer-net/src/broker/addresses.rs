//! How many connections each client address has.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peer_realm::Origin;

/// What networks have that are wider than one client's: the bits in front, and how many times the
/// most of one client they may have. Whoever has a /48 has 65,536 of /64.
const WIDER: [(u32, usize); 3] = [(56, 2), (48, 4), (32, 16)];

/// Connections counted by network. At most a few entries for each connection.
#[derive(Debug)]
pub(super) struct Addresses {
    counts: Mutex<HashMap<Network, usize>>,
    max: usize,
}

/// An IPv4 address, also when it comes mapped, or the bits in front of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Network {
    address: IpAddr,
    bits: u32,
}

/// One connection of an address; gives its place back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    addresses: Arc<Addresses>,
    of: IpAddr,
}

impl Addresses {
    pub(super) fn new(max: usize) -> Self {
        Self {
            counts: Mutex::default(),
            max,
        }
    }

    /// A place for one more connection of this address, if it has not too many.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let of = address.to_canonical();
        let mut counts = self.lock();
        let has_room = |(network, times): (Network, usize)| {
            let count = counts.get(&network).copied().unwrap_or(0);
            count < self.max.saturating_mul(times)
        };
        if !networks(of).all(has_room) {
            return None;
        }
        for (network, _) in networks(of) {
            *counts.entry(network).or_default() += 1;
        }
        Some(Place {
            addresses: self.clone(),
            of,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.lock();
        for (network, _) in networks(self.of) {
            if let Some(count) = counts.get_mut(&network) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&network);
                }
            }
        }
    }
}

/// What counts as one when places get scarce: an IPv4 address, or an IPv6 network of 48 bits, which
/// is what one site has.
pub(super) fn origin(address: IpAddr) -> Origin {
    Origin(match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 80 << 80,
    })
}

/// The network of one client, and those around it, each with how many times the most of one client
/// it may have.
fn networks(address: IpAddr) -> impl Iterator<Item = (Network, usize)> {
    let wider = if address.is_ipv6() { &WIDER[..] } else { &[] };
    let all = core::iter::once(&(64, 1)).chain(wider);
    all.map(move |(bits, times)| {
        let (bits, times) = (*bits, *times);
        let address = match address {
            IpAddr::V6(address) => {
                let rest = 128 - bits;
                IpAddr::V6(Ipv6Addr::from(u128::from(address) >> rest << rest))
            }
            address => address,
        };
        (Network { address, bits }, times)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let addresses = Arc::new(Addresses::new(2));
        let one = addresses.take(ip("192.0.2.1")).unwrap();
        let _two = addresses.take(ip("::ffff:192.0.2.1")).unwrap();
        assert!(addresses.take(ip("192.0.2.1")).is_none());
        let _other = addresses.take(ip("192.0.2.2")).unwrap();
        drop(one);
        assert!(addresses.take(ip("192.0.2.1")).is_some());
        assert_eq!(addresses.lock().len(), 2);
    }

    #[test]
    fn origins_are_addresses_and_sites() {
        let same = |a: &str, b: &str| origin(ip(a)) == origin(ip(b));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("2001:db8:1:ffff::1", "2001:db8:1::2"));
        assert!(!same("2001:db8:1::1", "2001:db8:2::1"));
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let addresses = Arc::new(Addresses::new(1));
        let place = addresses.take(ip("2001:db8::1")).unwrap();
        assert!(addresses.take(ip("2001:db8::ffff:1")).is_none());
        assert!(addresses.take(ip("2001:db8:0:1::1")).is_some());
        drop(place);
        assert!(addresses.lock().is_empty());
    }

    #[test]
    fn who_has_a_wide_network_has_no_share_for_each_part_of_it() {
        let addresses = Arc::new(Addresses::new(1));
        let take = |network: u32| addresses.take(ip(&format!("2001:db8:1:{network:x}::1")));
        let places: Vec<_> = (0..1000).filter_map(take).collect();
        assert_eq!(places.len(), 4, "a /48");
        let take = |network: u32| addresses.take(ip(&format!("2001:db8:{:x}::1", network + 2)));
        let more: Vec<_> = (0..1000).filter_map(take).collect();
        assert_eq!(places.len() + more.len(), 16, "a /32");
        assert!(addresses.take(ip("2001:db9::1")).is_some());
        drop((places, more));
        assert!(addresses.lock().is_empty());
    }
}
