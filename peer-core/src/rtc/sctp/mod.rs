//! One SCTP association as WebRTC's data channels need it: RFC 9260 over DTLS (RFC 8261, RFC 8831),
//! with receiving of partial reliability (RFC 3758), the reset of streams (RFC 6525) and the I bit
//! (RFC 7053).
//!
//! An [`Association`] performs no I/O and reads no clock. The memory it works in is lent to it,
//! from 2 KB a direction to several MiB, with the same code.
//!
//! # The loop
//! 1. [`receive`](Association::receive) each packet that came, with the time.
//! 2. [`read`](Association::read) and [`consume`](Association::consume) what the application takes.
//! 3. [`send`](Association::send) what it gives.
//! 4. [`transmit`](Association::transmit) until it has no packet. Do this after each of the others.
//! 5. [`poll_event`](Association::poll_event) until there is none.
//! 6. Wait for a packet, the application, or [`timeout`](Association::timeout), and go back.
//!
//! ```
//! use peer_core::rtc::sctp::{Association, Config, Event, Outgoing, Received, Resources};
//! use peer_core::time::Instant;
//!
//! let (mut here, mut there): (Resources<4096, 8, 4096, 4>, Resources<4096, 8, 4096, 4>) =
//!     (Resources::new(), Resources::new());
//! # fn random(n: u8) -> [u8; 8] { [n; 8] }
//! let mut a = Association::new(Config::new(random(1)), here.lend());
//! let mut b = Association::new(Config::new(random(2)), there.lend());
//! let now = Instant::ZERO;
//! a.connect();
//! let mut message = Outgoing::message(0, 51);
//! message.unordered = true;
//! assert_eq!(a.send(message, b"hello"), Ok(5));
//!
//! let mut packet = [0; 1200];
//! for _ in 0..4 {
//!     while let Some(len) = a.transmit(now, &mut packet) {
//!         b.receive(now, &packet[..len]);
//!     }
//!     while let Some(len) = b.transmit(now, &mut packet) {
//!         a.receive(now, &packet[..len]);
//!     }
//! }
//! assert_eq!((a.poll_event(), b.poll_event()), (Some(Event::Open), Some(Event::Open)));
//! let Some(Received::Piece(piece)) = b.read() else { panic!("nothing came") };
//! assert_eq!((piece.stream, piece.ppid, piece.last, piece.bytes), (0, 51, true, &b"hello"[..]));
//! b.consume(5);
//! assert_eq!(a.buffered(), 0);
//! ```
//!
//! # Limits
//! | what | limit | at the limit |
//! |---|---|---|
//! | bytes that are sent and not acknowledged | the memory of the sending half; each message costs 11 more | [`send`](Association::send) takes less |
//! | chunks under way | the memory of the sending half, see [`Chunk`] | sending waits |
//! | ordered messages under way | 32,767 | sending waits |
//! | streams that are sent on | [`STREAMS_MAX`] | [`SendError::TooManyStreams`] |
//! | bytes that came and are not read | the memory of the receiving half; each chunk costs 14 more | dropped unacknowledged; the remote sends it again |
//! | gaps in what came | the memory of the receiving half, see [`Run`] | as above |
//! | length of a message that comes | [`Config::receive_max`] | the association ends, [`Violation::MessageTooLong`] |
//! | length of a message that is sent | [`Config::send_max`] | [`SendError::TooLong`] |
//! | TSNs ahead of the last one that came with all before it | 65,535 | dropped unacknowledged |
//! | bytes of either half | 1 GiB | more are not used |
//! | wait for an acknowledgement | 400 ms to 10 s, 1 s before a round trip is known | sent again, and then twice as long |
//! | wait in the handshake | see [`Config::round_trip`] | sent again, and then twice as long |
//! | retransmissions without any answer | [`Config::retransmissions`] | the association ends, [`End::Unreachable`] |
//! | INITs whose cookie has not come back | 1 | the last one counts |
//! | state cookie of the remote | the memory of the receiving half | the association ends, [`End::Unreachable`] |
//! | duplicates told in one SACK | 8 | further ones are not told |
//! | streams that one reset of the remote names | 64 | the reset is denied |
//! | probes for longer packets | 3, then none for 10 minutes | packets stay as long as [`Config::base_packet`] |
//! | HEARTBEAT of the remote | 64 bytes of information | a longer one is not answered |
//!
//! # Not supported
//! I-DATA (RFC 8260), more than one path, sending with limited retransmissions (RFC 3758),
//! authentication, adding of streams, the end by SHUTDOWN from our side (an end is an ABORT, as the
//! channels were reset before).

mod association;
mod circle;
mod handshake;
mod incoming;
mod outgoing;
mod packet;
mod path;
mod receive;
mod reset;
mod send;
mod serial;
#[cfg(test)]
mod tests;

use core::fmt;

pub use association::{Association, Detached, Memory, Resources};
pub use packet::crc32c;
pub use receive::{Piece, Received, Run};
pub use send::{Chunk, STREAMS_MAX};

use crate::time::Duration;

/// The highest [`Config::retransmissions`]: what counts them to one more, and HEARTBEATs to two
/// more, has 8 bits.
pub const RETRANSMISSIONS_MAX: u8 = u8::MAX - 2;

/// What an association is made with. The defaults suit WebRTC.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Our port. Default: 5000.
    pub local_port: u16,
    /// The remote's port, from its description (`a=sctp-port`). Default: 5000.
    pub remote_port: u16,
    /// The longest packet in bytes, at least 512. Default: 1,140, which DTLS, TURN and IPv6 carry
    /// within 1,280.
    pub packet: u16,
    /// Bytes of a packet that any path takes, at least 512 as well. Packets become longer, up to
    /// [`packet`](Self::packet), as soon as one has arrived so (RFC 8899). Default: 896, which DTLS
    /// and TURN carry within 1,000.
    pub base_packet: u16,
    /// The longest message in bytes that the remote may send. Default: 262,144.
    pub receive_max: u64,
    /// The longest message in bytes that is sent (`a=max-message-size` of the remote), but for
    /// those that open channels (RFC 8832). Default: 262,144.
    pub send_max: u64,
    /// Whether whole unordered messages are delivered though earlier ones are missing. Default:
    /// yes.
    pub overtaking: bool,
    /// How often in a row something is sent again before the remote counts as gone: the association
    /// ends when the last of these is not answered in time either (RFC 9260, section 8.1).
    /// More than [`RETRANSMISSIONS_MAX`] count as so many. Default: 10.
    pub retransmissions: u8,
    /// The round trip, where it is known from elsewhere. Then the first packet of the handshake
    /// waits for its answer twice that, kept between 50 ms and 1 s, and each repetition twice as
    /// long, up to 10 s; data waits as after a first measurement (RFC 9260, section 6.3.1).
    /// Default: none, which is RTO.Initial, 1 s, doubled for data, too.
    pub round_trip: Option<Duration>,
    /// Time without traffic until the remote is asked for a sign of life. Default: 30 s.
    pub heartbeat: Duration,
    /// CRC32c of the concatenation of its arguments. Default: [`crc32c`]; a faster one can be
    /// given.
    pub checksum: fn(&[&[u8]]) -> u32,
    tag: u32,
    tsn: u32,
}

impl Config {
    /// Returns the defaults. `random` are bytes of a CSPRNG, other ones for each association: the
    /// verification tag and the first TSN.
    pub const fn new(random: [u8; 8]) -> Self {
        let [t0, t1, t2, t3, n0, n1, n2, n3] = random;
        let tag = u32::from_be_bytes([t0, t1, t2, t3]);
        Self {
            local_port: 5000,
            remote_port: 5000,
            packet: 1140,
            base_packet: 896,
            receive_max: 262_144,
            send_max: 262_144,
            overtaking: true,
            retransmissions: 10,
            round_trip: None,
            heartbeat: Duration::from_secs(30),
            checksum: crc32c,
            // 0 is no tag (RFC 9260, section 3.3.2).
            tag: if tag == 0 { 1 } else { tag },
            tsn: u32::from_be_bytes([n0, n1, n2, n3]),
        }
    }
}

/// What a piece that is sent belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The id of the stream.
    pub stream: u16,
    /// The payload protocol identifier (RFC 8831, section 8).
    pub ppid: u32,
    /// Whether the message may overtake others.
    pub unordered: bool,
    /// Whether the message begins here.
    pub first: bool,
    /// Whether the message ends here.
    pub last: bool,
}

impl Outgoing {
    /// Returns a whole ordered message.
    pub const fn message(stream: u16, ppid: u32) -> Self {
        Self {
            stream,
            ppid,
            unordered: false,
            first: true,
            last: true,
        }
    }
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SendError {
    /// The association is over, or the remote ends it.
    Closed,
    /// There are no bytes. SCTP has no empty messages.
    Empty,
    /// The message would be longer than [`Config::send_max`].
    TooLong,
    /// The message before was not ended, or there is none that could go on.
    OtherMessage,
    /// [`STREAMS_MAX`] streams are in use.
    TooManyStreams,
    /// The stream is being reset.
    StreamReset,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the SCTP association is over",
            Self::Empty => "SCTP cannot carry an empty message",
            Self::TooLong => "the message is longer than the remote takes",
            Self::OtherMessage => "another message was begun and not ended",
            Self::TooManyStreams => "no further SCTP stream can be opened",
            Self::StreamReset => "the SCTP stream is being reset",
        })
    }
}

impl core::error::Error for SendError {}

/// What happened to an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// It is open: both ends know each other.
    Open,
    /// The remote has begun anew (RFC 9260, section 5.2.4.1). What it had not acknowledged is lost,
    /// and every stream is as after a reset.
    Restarted,
    /// Our reset of this stream was answered; the stream can be used anew.
    StreamReset(u16),
    /// It is over. Told after everything that came before was read, and last.
    Closed(End),
}

/// Why an association is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum End {
    /// [`Association::abort`] was called.
    Local,
    /// The remote aborted it, for this cause (RFC 9260, section 3.3.10), 0 if it told none.
    Aborted(u16),
    /// The remote ended it by SHUTDOWN; all we had sent was acknowledged.
    Shutdown,
    /// The remote did not answer, though something was sent again [`Config::retransmissions`]
    /// times.
    Unreachable,
    /// The remote broke the rules; it was told so.
    Violation(Violation),
}

/// Which rule the remote broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Violation {
    /// Fragments that are no message: one without its first, or of another stream
    /// (RFC 9260, section 6.9).
    Fragments,
    /// A message is longer than [`Config::receive_max`].
    MessageTooLong,
    /// It acknowledged what was not sent.
    Acknowledgement,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Stats {
    /// Packets that were dropped: wrong checksum, tag or port, or no chunk of it could be read.
    pub bad_packets: u64,
    /// SACK, FORWARD-TSN and RE-CONFIG that were refused.
    pub refused: u64,
    /// DATA that came while there was no memory for it; the remote sends it again.
    pub dropped: u64,
}
