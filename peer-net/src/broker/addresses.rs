//! How many connections each client address has.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections counted by address. As large as there are connections, no larger.
#[derive(Debug)]
pub(super) struct Addresses {
    counts: Mutex<HashMap<IpAddr, usize>>,
    max: usize,
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
        let of = network(address);
        let mut counts = self.lock();
        let count = counts.get(&of).copied().unwrap_or(0);
        if count >= self.max {
            return None;
        }
        counts.insert(of, count + 1);
        Some(Place {
            addresses: self.clone(),
            of,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.lock();
        if let Some(count) = counts.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

/// What one client has: an IPv4 address, also when it comes mapped, or the 64 bits in front of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        address => address,
    }
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
    fn an_ipv6_network_counts_as_one() {
        let addresses = Arc::new(Addresses::new(1));
        let place = addresses.take(ip("2001:db8::1")).unwrap();
        assert!(addresses.take(ip("2001:db8::ffff:1")).is_none());
        assert!(addresses.take(ip("2001:db8:0:1::1")).is_some());
        drop(place);
        assert!(addresses.lock().is_empty());
    }
}
