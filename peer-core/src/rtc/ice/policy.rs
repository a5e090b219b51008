//! Where nothing is sent to, whoever names the address.
//!
//! A remote that is a stranger chooses the addresses that are checked. Without this, it could make
//! us write to services of our own network.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Ports from here on are nobody's well-known service.
const PORT_MIN: u16 = 1024;
/// Lower ports that TURN servers and media servers use, on public addresses alone.
const PUBLIC_PORTS: [u16; 2] = [80, 443];

/// Why nothing is sent to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Unusable {
    /// It names no host: 0.0.0.0, a multicast or broadcast address, an IPv4 address written as
    /// IPv6, or an IPv6 address that is meaningless without the name of an interface.
    NoHost,
    /// It is of this machine, and `include_loopback` is not set.
    Loopback,
    /// The port is below 1024, and not 80 or 443 of a public address.
    Port,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHost => "the far side's candidate has an address that names no host",
            Self::Loopback => "the far side's candidate is a loopback address",
            Self::Port => "the far side's candidate has a port below 1024",
        })
    }
}

impl core::error::Error for Unusable {}

/// Whether something may be sent to an address that a remote named.
pub(super) fn check(address: SocketAddr, include_loopback: bool) -> Result<(), Unusable> {
    let ip = address.ip();
    let no_host = match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.is_multicast() || ip.is_broadcast(),
        // ::/96 and ::ffff:0:0/96 hide IPv4 addresses.
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || (v6.to_ipv4().is_some() && !v6.is_loopback())
        }
    };
    if no_host {
        return Err(Unusable::NoHost);
    }
    if ip.is_loopback() && !include_loopback {
        return Err(Unusable::Loopback);
    }
    let port = address.port();
    if port < PORT_MIN && !(PUBLIC_PORTS.contains(&port) && is_public(ip)) {
        return Err(Unusable::Port);
    }
    Ok(())
}

/// Whether an address may lie in the internet, and not in a network of ours.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                // RFC 6598, carrier-grade NAT; 240/4, reserved.
                || (a == 100 && b & 0xc0 == 64)
                || a >= 240
                || ip == Ipv4Addr::UNSPECIFIED)
        }
        // fc00::/7 is a private network's.
        IpAddr::V6(ip) => ip != Ipv6Addr::LOCALHOST && ip.octets()[0] & 0xfe != 0xfc,
    }
}
