//! The addresses of this machine that sessions may use.

use core::net::IpAddr;
use std::io;

use crate::rtc::RtcConfig;

/// Addresses that are used; the rest is left out.
pub(super) const ADDRESSES_MAX: usize = 8;

/// Returns the addresses that the configuration allows, in the order of the system.
pub(super) fn addresses(config: &RtcConfig) -> io::Result<Vec<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs()?;
    let mut addresses = Vec::new();
    for interface in interfaces {
        let ip = interface.ip();
        let name = &interface.name;
        let is_named = config.interfaces.is_empty() || config.interfaces.contains(name);
        if is_named && is_usable(config, ip) && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    if addresses.len() > ADDRESSES_MAX {
        tracing::debug!(
            addresses = addresses.len(),
            "this machine has more addresses than one session uses"
        );
        addresses.truncate(ADDRESSES_MAX);
    }
    Ok(addresses)
}

fn is_usable(config: &RtcConfig, ip: IpAddr) -> bool {
    // One that needs the name of an interface besides cannot be told to the remote.
    let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    !is_link_local
        && !ip.is_unspecified()
        && (config.include_loopback || !ip.is_loopback())
        && (config.ip_filter.is_empty() || config.ip_filter.contains(&ip))
}
