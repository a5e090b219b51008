//! What a realm is told, and what it holds at most.

use core::time::Duration;

/// What a [`Realm`](crate::Realm) is told: the options that concern ids and messages.
#[derive(Clone, Debug)]
pub struct RealmOptions {
    /// The key a WebSocket must bring. `peerjs`.
    pub key: String,
    /// How long messages wait for an absent peer before their sender gets EXPIRE. 5 s.
    pub expire_timeout: Duration,
    /// How long a client may go without HEARTBEAT before it is disconnected. 90 s; PeerServer's
    /// command has 60 s.
    pub alive_timeout: Duration,
    /// Ids that can be connected at once, 5,000. One more gets ERROR.
    pub concurrent_limit: usize,
    /// How often expired messages are looked for. 1 s.
    pub cleanup_out_msgs: Duration,
    /// What the realm holds at most.
    pub limits: RealmLimits,
}

impl Default for RealmOptions {
    fn default() -> Self {
        Self {
            key: "peerjs".to_owned(),
            expire_timeout: Duration::from_secs(5),
            alive_timeout: Duration::from_secs(90),
            concurrent_limit: 5_000,
            cleanup_out_msgs: Duration::from_secs(1),
            limits: RealmLimits::default(),
        }
    }
}

/// What a [`Realm`](crate::Realm) holds at most.
///
/// A message that would pass a `queue_…`, `queued_…`, `absent_…` or `source_…` limit is refused:
/// its sender gets EXPIRE at once instead of after `expire_timeout`, and what already waits stays.
/// The `source_…` limits are one sender's share, so that no single one fills the queues for all.
/// Nor do hundreds together: half of `queued_bytes` is only for senders with up to 16 KiB waiting,
/// half of `absent_destinations` for those with up to 4 destinations, and one sender gets half of
/// what is free in a queue.
#[derive(Clone, Debug)]
pub struct RealmLimits {
    /// Longest message from a client, 1 MiB. Beyond: its socket is closed (1009).
    pub message_bytes: usize,
    /// Longest id, 512 bytes. Beyond: ERROR for a client of that id, EXPIRE for a message to it.
    pub id_bytes: usize,
    /// Longest token, 512 bytes. Beyond: ERROR.
    pub token_bytes: usize,
    /// Messages waiting for one absent peer, 256.
    pub queue_messages: usize,
    /// Bytes waiting for one absent peer, 2 MiB. Each message counts
    /// [`MESSAGE_OVERHEAD`](Self::MESSAGE_OVERHEAD) bytes more than its text, here and below.
    pub queue_bytes: usize,
    /// Absent peers that messages wait for, 4,096.
    pub absent_destinations: usize,
    /// Bytes waiting in all, 32 MiB.
    pub queued_bytes: usize,
    /// Messages of one sender waiting in all, 512.
    pub source_messages: usize,
    /// Bytes of one sender waiting in all, 2 MiB.
    pub source_bytes: usize,
    /// Absent peers that messages of one sender wait for, 64.
    pub source_destinations: usize,
}

impl RealmLimits {
    /// What a waiting message costs besides its text.
    pub const MESSAGE_OVERHEAD: usize = 256;
}

impl Default for RealmLimits {
    fn default() -> Self {
        Self {
            message_bytes: 1024 * 1024,
            id_bytes: 512,
            token_bytes: 512,
            queue_messages: 256,
            queue_bytes: 2 * 1024 * 1024,
            absent_destinations: 4_096,
            queued_bytes: 32 * 1024 * 1024,
            source_messages: 512,
            source_bytes: 2 * 1024 * 1024,
            source_destinations: 64,
        }
    }
}
