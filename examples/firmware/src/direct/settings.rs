//! What a real device keeps in its flash: its address, and where its broker is.

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Bytes of all settings.
pub const MAX: usize = 200;
/// The port of the UDP socket.
pub const UDP_PORT: u16 = 5007;
/// Ours, where nothing else is said: what QEMU's user network gives.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const PREFIX_LEN: u8 = 24;

pub struct Settings {
    pub address: Ipv4Addr,
    pub prefix_len: u8,
    pub router: Ipv4Addr,
    /// The PeerServer.
    pub broker: SocketAddrV4,
    /// Where browsers reach the UDP socket: not at our own address where the network between
    /// forwards a port, as QEMU's user network does.
    pub reached_at: SocketAddr,
}

impl Settings {
    /// Reads `broker=10.0.2.2:9000 address=10.0.2.15 router=10.0.2.2 reached-at=192.0.2.1:5007`, of
    /// which all but the first may be left out.
    pub fn read(text: &str) -> Option<Self> {
        let of = |name: &str| {
            let mut words = text.split_ascii_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let address = match of("address") {
            Some(address) => address.parse().ok()?,
            None => ADDRESS,
        };
        Some(Self {
            address,
            prefix_len: PREFIX_LEN,
            router: match of("router") {
                Some(router) => router.parse().ok()?,
                None => ROUTER,
            },
            broker: of("broker")?.parse().ok()?,
            reached_at: match of("reached-at") {
                Some(reached_at) => reached_at.parse().ok()?,
                None => SocketAddr::from((address, UDP_PORT)),
            },
        })
    }
}
