//! What a gateway is made with, and what its tasks go by.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashMap;

use peer_core::link::{KEY_LEN, Key, LEAF_NAME_MAX, LeafKeys, Timing};

use super::GatewayError;
use crate::rtc::{Endpoint, RtcConfig};
use crate::signalling::{BrokerAddress, BrokerClient};

/// The most connections that [`GatewayLimits::connections`] may name.
pub const CONNECTIONS_MAX: usize = 256;
/// The least of [`GatewayLimits::bytes`] for each connection.
pub const CONNECTION_BYTES_MIN: usize = 256 << 10;

/// What a gateway is made with.
#[derive(Clone, Debug, Default)]
pub struct GatewayOptions {
    /// The broker of all leaves. Default: PeerJS's public one.
    pub broker: BrokerAddress,
    /// Certificates (PEM) that are trusted besides the system's, as roots and each as the broker's
    /// own; see
    /// [`BrokerClient::root_certificates`](crate::broker::BrokerClient::root_certificates).
    /// Default: none.
    pub root_certificates: Vec<u8>,
    /// How sessions are made. Sizes of messages and buffers are not taken from here but follow from
    /// [`GatewayLimits::bytes`], and a silence of more than 15 s is not survived: a leaf has few
    /// places, and a page that vanished holds one so long.
    pub rtc: RtcConfig,
    /// Addresses that leaves reach over TCP. Port 0 takes any.
    pub listen: Vec<SocketAddr>,
    /// `host:port` of TCP servers with a leaf behind each: serial device servers, emulators. Lost
    /// ones are called again.
    pub connect: Vec<String>,
    /// Serial ports with a leaf behind each. Ports that are unplugged are opened again when they
    /// are back.
    pub serial: Vec<SerialPort>,
    /// Who may come.
    pub leaves: Vec<LeafOptions>,
    /// Limits.
    pub limits: GatewayLimits,
    /// The link's timers. On slow serial ports some are longer.
    pub timing: Timing,
}

/// A serial port with a leaf at its other end: 8 data bits, no parity, 1 stop bit, no flow control,
/// which the link has by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialPort {
    /// For example `/dev/ttyUSB0`; on Linux best one of `/dev/serial/by-id`, which stays the same.
    pub path: String,
    /// Bits a second.
    pub speed: u32,
}

/// One leaf, and what it may do.
#[derive(Clone, PartialEq, Eq)]
pub struct LeafOptions {
    /// The name it says: 1 to [`LEAF_NAME_MAX`] bytes, no other leaf's.
    pub name: String,
    /// The key it shares with this gateway: random bytes. Each leaf has its own.
    pub key: [u8; KEY_LEN],
    /// Ids that it may open at the broker. `sensor-*` is every id that begins so, `*` every id.
    pub ids: Vec<String>,
    /// Whether it may ask the broker for an id, and use that: as long as the gateway runs, also
    /// when it comes back.
    pub random_id: bool,
}

impl fmt::Debug for LeafOptions {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeafOptions")
            .field("name", &self.name)
            .field("ids", &self.ids)
            .field("random_id", &self.random_id)
            .finish_non_exhaustive()
    }
}

/// What leaves may take together and each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Leaves that are there at once. A further one is cut and counted, and tries again. Default
    /// 32.
    pub leaves: usize,
    /// WebRTC sessions of one leaf, 1 to [`CONNECTIONS_MAX`]. Further ones fail at once, and the
    /// leaf's engine hears of it. As many more may be on their way out. Default 8.
    pub connections: usize,
    /// Bytes that all buffers of one leaf's connections hold together. Each connection has its
    /// share: half of it for what goes to the browser, half for what comes; when that is full the
    /// leaf waits, or the browser. One eighth of a share is the longest message that a browser is
    /// let send, up to 256 KiB. At least [`CONNECTION_BYTES_MIN`] a connection, and one of 1 MiB
    /// lets a leaf run ahead as far as its engine does. Default 8 MiB.
    pub bytes: usize,
    /// Streams over TCP whose leaf has not proved its key. A further one takes the place of the
    /// oldest from the address that has most of them, so who floods keeps out himself. Default 64.
    pub unproven: usize,
    /// How long a leaf on TCP may take to prove its key before its stream is closed. More than a
    /// leaf waits that was refused, or it is cut while it waits. Default 30 s.
    pub prove_within: Duration,
    /// How long a leaf's stream may take no byte before it is cut, and a session no message of its
    /// leaf before it is closed. Default 10 s.
    pub stall: Duration,
    /// How often one leaf may come. One that comes more often is cut and counted. Default 8, then 1
    /// a second.
    pub arrivals: RateLimit,
    /// Sessions begun by one leaf. Further ones fail at once. Default 32, then 8 a second.
    pub sessions: RateLimit,
    /// Ids asked for and sockets opened by one leaf. Further ones fail, as if the broker were gone.
    /// Default 8, then 1 a second.
    pub opens: RateLimit,
}

/// How often something may be done: so many times at once, then so many a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// At once.
    pub burst: u32,
    /// Then in each second.
    pub per_second: u32,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        let slowly = RateLimit {
            burst: 8,
            per_second: 1,
        };
        Self {
            leaves: 32,
            connections: 8,
            bytes: 8 << 20,
            unproven: 64,
            prove_within: Duration::from_secs(30),
            stall: Duration::from_secs(10),
            arrivals: slowly,
            sessions: RateLimit {
                burst: 32,
                per_second: 8,
            },
            opens: slowly,
        }
    }
}

impl GatewayLimits {
    /// The first limit that lets nothing through.
    fn zero(&self) -> Option<&'static str> {
        let zeros = [
            ("leaves", self.leaves == 0),
            ("unproven", self.unproven == 0),
            ("prove_within", self.prove_within.is_zero()),
            ("stall", self.stall.is_zero()),
            ("arrivals", self.arrivals.burst == 0),
            ("sessions", self.sessions.burst == 0),
            ("opens", self.opens.burst == 0),
        ];
        let zero = zeros.into_iter().find(|(_, is_zero)| *is_zero);
        zero.map(|(name, _)| name)
    }
}

/// The options that can change while leaves are there, checked.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) client: BrokerClient,
    pub(super) rtc: Endpoint,
    pub(super) leaves: HashMap<String, Entry>,
    pub(super) limits: GatewayLimits,
    pub(super) timing: Timing,
}

/// One leaf's.
#[derive(Debug)]
pub(super) struct Entry {
    key: Key,
    pub(super) options: LeafOptions,
}

impl Entry {
    pub(super) fn allows_id(&self, id: &str) -> bool {
        self.options
            .ids
            .iter()
            .any(|allowed| match allowed.strip_suffix('*') {
                Some(prefix) => id.starts_with(prefix),
                None => id == allowed,
            })
    }
}

impl Settings {
    pub(super) fn new(options: &GatewayOptions) -> Result<Self, GatewayError> {
        let mut client = BrokerClient::new(options.broker.clone()).map_err(GatewayError::Broker)?;
        if !options.root_certificates.is_empty() {
            client = client
                .root_certificates(&options.root_certificates)
                .map_err(GatewayError::Certificates)?;
        }
        let limits = options.limits;
        if let Some(name) = limits.zero() {
            return Err(GatewayError::Zero(name));
        }
        if !(1..=CONNECTIONS_MAX).contains(&limits.connections) {
            return Err(GatewayError::Connections);
        }
        let share = limits.bytes / limits.connections;
        if share < CONNECTION_BYTES_MIN {
            return Err(GatewayError::Bytes {
                least: limits.connections * CONNECTION_BYTES_MIN,
            });
        }
        let mut leaves = HashMap::new();
        for leaf in &options.leaves {
            if leaf.name.is_empty() || leaf.name.len() > LEAF_NAME_MAX {
                return Err(GatewayError::LeafName(leaf.name.clone()));
            }
            let entry = Entry {
                key: Key::new(leaf.key),
                options: leaf.clone(),
            };
            if leaves.insert(leaf.name.clone(), entry).is_some() {
                return Err(GatewayError::TwoLeaves(leaf.name.clone()));
            }
        }
        Ok(Self {
            client,
            rtc: Endpoint::new(rtc(&options.rtc, share)),
            leaves,
            limits,
            timing: options.timing,
        })
    }
}

/// Silence until a session ends, at most.
const SURVIVE_MAX: Duration = Duration::from_secs(15);

/// Sessions whose buffers hold no more than `share` bytes.
fn rtc(config: &RtcConfig, share: usize) -> RtcConfig {
    let at_most = |bytes: usize, most: u32| u32::try_from(bytes).unwrap_or(most).min(most);
    let max_message_size = at_most(share / 8, 256 << 10);
    RtcConfig {
        max_message_size,
        receive_window: at_most(share / 4, 4 << 20).max(2 * max_message_size),
        receive_buffer: (share / 8).min(4 << 20),
        send_buffer: (share / 2).min(16 << 20),
        survive: config.survive.min(SURVIVE_MAX),
        ..config.clone()
    }
}

/// What the leaf on a stream may do: what the settings say, and use the id that the broker gave it
/// before.
pub(super) struct Permissions<'a> {
    pub(super) settings: &'a Settings,
    pub(super) given: Option<&'a str>,
}

impl LeafKeys for Permissions<'_> {
    fn key(&self, leaf: &str) -> Option<&Key> {
        self.settings.key(leaf)
    }

    fn allows_id(&self, leaf: &str, id: &str) -> bool {
        self.settings.allows_id(leaf, id)
            || (self.given == Some(id) && self.settings.allows_random_id(leaf))
    }

    fn allows_random_id(&self, leaf: &str) -> bool {
        self.settings.allows_random_id(leaf)
    }
}

impl LeafKeys for Settings {
    fn key(&self, leaf: &str) -> Option<&Key> {
        Some(&self.leaves.get(leaf)?.key)
    }

    fn allows_id(&self, leaf: &str, id: &str) -> bool {
        self.leaves
            .get(leaf)
            .is_some_and(|entry| entry.allows_id(id))
    }

    fn allows_random_id(&self, leaf: &str) -> bool {
        self.leaves
            .get(leaf)
            .is_some_and(|entry| entry.options.random_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(name: &str) -> LeafOptions {
        LeafOptions {
            name: name.to_owned(),
            key: [7; KEY_LEN],
            ids: vec!["exact".to_owned(), "sensor-*".to_owned()],
            random_id: false,
        }
    }

    fn settings(change: impl FnOnce(&mut GatewayOptions)) -> Result<Settings, GatewayError> {
        let mut options = GatewayOptions {
            leaves: vec![leaf("a")],
            ..GatewayOptions::default()
        };
        change(&mut options);
        Settings::new(&options)
    }

    #[test]
    fn ids_are_exact_or_begin_so() {
        let settings = settings(|_| {}).unwrap();
        for (id, allowed) in [
            ("exact", true),
            ("exactly", false),
            ("sensor-7", true),
            ("sensor-", true),
            ("sensor", false),
        ] {
            assert_eq!(settings.allows_id("a", id), allowed, "{id}");
            assert!(!settings.allows_id("b", id));
        }
        assert!(!settings.allows_random_id("a"));
    }

    #[test]
    fn buffers_of_a_leaf_stay_within_its_bytes() {
        for (connections, bytes) in [(1, 256 << 10), (8, 8 << 20), (256, 64 << 20), (2, 1 << 40)] {
            let limits = GatewayLimits {
                leaves: 1,
                connections,
                bytes,
                ..GatewayLimits::default()
            };
            let settings = settings(|options| options.limits = limits).unwrap();
            let rtc = settings.rtc.config();
            let one = rtc.receive_window as usize + rtc.receive_buffer + rtc.send_buffer;
            assert!(one * connections <= bytes);
            assert!(rtc.receive_window >= 2 * rtc.max_message_size);
            assert!(rtc.max_message_size >= 16_384, "PeerJS's chunks pass");
        }
    }

    #[test]
    fn mistakes_are_told() {
        let told = |change: fn(&mut GatewayOptions)| settings(change).unwrap_err().to_string();
        assert!(told(|options| options.leaves.push(leaf("a"))).contains("two leaves named 'a'"));
        assert!(told(|options| options.leaves.push(leaf(""))).contains("name"));
        assert!(told(|options| options.limits.bytes = 1 << 20).contains("2097152"));
        assert!(told(|options| options.limits.connections = 0).contains("256"));
        assert!(told(|options| options.limits.stall = Duration::ZERO).contains("`stall`"));
        let debug = format!("{:?}", settings(|_| {}).unwrap());
        assert!(!debug.contains("7, 7"), "a key is in {debug}");
    }
}
