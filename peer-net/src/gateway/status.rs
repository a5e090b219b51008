//! What a gateway tells about itself. No secret is in it.

use peer_core::link::LinkStats;
use serde::Serialize;

/// A gateway at one moment. As JSON it is what the command's status page shows.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct GatewayStatus {
    /// Seconds since the start.
    pub uptime: u64,
    /// The broker's host and port.
    pub broker: String,
    /// Leaves that are there.
    pub present: usize,
    /// The limit of them.
    pub limit: usize,
    /// Streams over TCP that came or were called, since the start.
    pub streams: u64,
    /// Those of them that are there and whose leaf has not proved its key.
    pub unproven: usize,
    /// What was turned away, since the start.
    pub refused: RefusedCounts,
    /// Every leaf that is configured, by name.
    pub leaves: Vec<LeafStatus>,
    /// Ports and servers that are not there, and why.
    pub absent: Vec<AbsentLine>,
}

/// Leaves and streams that were turned away. The counters wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedCounts {
    /// Leaves of an unknown name.
    pub name: u64,
    /// Leaves with a wrong key.
    pub key: u64,
    /// Leaves of another version, or with too little memory.
    pub other: u64,
    /// Leaves beyond the limit.
    pub limit: u64,
    /// Leaves that came again too soon.
    pub rate: u64,
    /// Streams over TCP that proved no key in time, said too much without one, or gave way to newer
    /// ones.
    pub unproven: u64,
    /// Frames that were none, on streams where nobody had proved a key.
    pub garbage: u64,
}

/// A serial port or a TCP server that cannot be used at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AbsentLine {
    /// Its path or address.
    pub line: String,
    /// Why.
    pub reason: String,
    /// How often it was tried since it was there last.
    pub tries: u64,
}

/// One leaf.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LeafStatus {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub present: bool,
    /// Where it is or was last: `tcp 192.0.2.7:4711`, `serial /dev/ttyUSB0`.
    pub line: String,
    /// Seconds that it has been there, or gone.
    pub since: u64,
    /// How often it came.
    pub arrivals: u64,
    /// Why it was gone last.
    pub last_end: Option<String>,
    /// The id that it opened at the broker.
    pub id: Option<String>,
    /// Where its socket stands: `none`, `connecting` or `connected`.
    pub broker: &'static str,
    /// Counters of its link.
    pub link: LinkCounts,
    /// Its WebRTC sessions.
    pub connections: Vec<ConnectionStatus>,
}

/// Counters of one leaf's link since it came last. They wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LinkCounts {
    /// Bytes from the leaf.
    pub bytes_received: u64,
    /// Bytes to the leaf.
    pub bytes_sent: u64,
    /// Messages from the leaf.
    pub messages_received: u64,
    /// Messages to the leaf.
    pub messages_sent: u64,
    /// Frames that were none.
    pub garbage: u64,
    /// Times that frames were sent again.
    pub resends: u64,
    /// Messages that were too long for the leaf.
    pub too_long: u64,
    /// Ids that the leaf wanted and may not use.
    pub refused_ids: u64,
    /// Commands that were refused: beyond a limit or a rate.
    pub refused_commands: u64,
    /// Commands without a meaning: data on a channel that is not open, for example.
    pub senseless: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Sessions closed because their remote took nothing for too long.
    pub stalled: u64,
}

impl LinkCounts {
    pub(super) fn take(&mut self, stats: LinkStats) {
        self.messages_received = stats.messages_received.into();
        self.messages_sent = stats.messages_sent.into();
        self.garbage = stats.garbage.into();
        self.resends = stats.resends.into();
        self.too_long = stats.too_long.into();
        self.refused_ids = stats.refused.into();
    }
}

/// One WebRTC session of a leaf.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ConnectionStatus {
    /// Counts the sessions of the link.
    pub number: u64,
    /// The id of the remote peer: what the broker says of one that called, what the leaf says of
    /// one it calls. `None` until that is known. At most 128 bytes of it, as of the next two, and
    /// whatever characters they have.
    pub peer: Option<String>,
    /// PeerJS's id of the connection.
    pub connection_id: Option<String>,
    /// The connection's label.
    pub label: Option<String>,
    /// `connecting`, `open`, `interrupted` while the network path does not answer, or `closed`.
    pub state: &'static str,
    /// The remote started it.
    pub incoming: bool,
    /// Seconds since it began.
    pub since: u64,
    /// Messages to the remote.
    pub messages_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Messages from the remote.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Bytes to the remote that it has not acknowledged.
    pub buffered: u64,
}
