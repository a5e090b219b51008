//! Limits, each with what happens at it.

use core::time::Duration;

/// Connections of one peer, unless the builder says otherwise. More are refused
/// ([`ConnectError::TooManyConnections`](crate::ConnectError)). For an offer beyond, an incoming
/// connection that is not open gives way, of the remote that holds most, if it holds more than the
/// newcomer; or an open one of an address that holds more than its share
/// ([`PeerBuilder::remote_share`](crate::PeerBuilder::remote_share)). Else the offer is refused,
/// counted and logged.
pub const MAX_CONNECTIONS: usize = 256;
/// Largest message that is put together from chunks or taken from a channel. A larger one is
/// dropped and counted, and the connection reports `message-too-big` and goes on.
pub const MAX_MESSAGE_SIZE: usize = 64 << 20;
/// Bytes of messages that wait to be received, over all connections of a peer, unless the builder
/// says otherwise. Each connection has [`SHARE`](crate::budget::SHARE) more of its own. At the
/// limit a connection that wants more is not read, and its remote waits; those that hold least come
/// first. One message that is larger fits alone. Not among them are messages that are incomplete,
/// and what the WebRTC stack has received
/// ([`RtcConfig::receive_buffer`](crate::RtcConfig::receive_buffer)).
pub const INBOX_BYTES: usize = 64 << 20;
/// Incoming connections that are open and wait for [`Peer::accept`](crate::Peer::accept). At the
/// limit a further one is closed as soon as it opens, and counted.
pub const ACCEPT_BACKLOG: usize = 64;
/// Offers a second that are taken from all remotes together, after a burst of [`OFFER_BURST`] times
/// as many. More are refused, counted and logged.
pub const OFFERS_PER_SECOND: u32 = 32;
/// Offers a second that are taken from one remote, after a burst of [`OFFER_BURST`] times as many.
/// More are refused, counted and logged.
pub const REMOTE_OFFERS_PER_SECOND: u32 = 8;
/// Seconds of its rate for which offers may come at once.
pub const OFFER_BURST: u32 = 4;
/// The longest pause between two automatic reconnects. The first is a tenth of a second, each next
/// one twice as long, and each is cut by up to half at random.
pub const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Longest metadata of a connection, a JSON text in bytes. Longer ones are refused in `connect`; a
/// remote's offer with longer ones is refused, logged and told as
/// [`Event::ConnectionFailed`](crate::Event).
pub const METADATA_MAX: usize = 16 << 10;
/// Deepest nesting of a message in `json` that is read: serde_json's. A deeper one is
/// [`ReceiveError::TooDeep`](crate::ReceiveError), and the connection goes on.
pub const JSON_VALUE_DEPTH_MAX: usize = 127;
