//! The link: a gateway lends a microcontroller its broker socket and its WebRTC stack.
//!
//! The microcontroller, the *leaf*, runs the whole [`Peer`](crate::peer::Peer). What it lacks is ICE, DTLS and SCTP. So
//! the engine's outputs go over a byte stream (UART, USB CDC, TCP) to a *gateway*, and inputs come back. There is no
//! second protocol and no second engine: to the remote browser the leaf is an ordinary peer. [`Leaf`] and [`Gateway`]
//! are the two ends, both without I/O.
//!
//! ```
//! use peer_core::{PeerId, link::*, peer::*, time::Instant};
//!
//! struct Keys(Key);
//! impl LeafKeys for Keys {
//!     fn key(&self, leaf: &str) -> Option<&Key> { (leaf == "greenhouse").then_some(&self.0) }
//!     fn allows_id(&self, _: &str, id: &str) -> bool { id == "sensor-7" }
//! }
//!
//! let keys = Keys(Key::new([7; 32]));
//! let mut memory: [LinkResources<2>; 2] = [LinkResources::new(), LinkResources::new()];
//! let [here, there] = &mut memory;
//! let config = LeafConfig::new("greenhouse", Key::new([7; 32]), [1; 32]);
//! let mut leaf = Leaf::new(config, here.slices())?;
//! let mut gateway = Gateway::new(Timing::default(), [2; 32], there.slices())?;
//!
//! let mut resources: PeerResources<2> = PeerResources::new();
//! let mut config = Config::new([7; 32]);
//! config.id = Some(PeerId::new("sensor-7")?);
//! let mut peer = Peer::new(config, &mut resources);
//!
//! let (now, mut wire) = (Instant::from_millis(5), [0; 64]);
//! let opened = loop {
//!     while let LeafOutput::Up = leaf.poll(now, &mut peer) {}
//!     let len = leaf.transmit(now, &mut wire);
//!     gateway.receive(now, &wire[..len], &keys);
//!     match gateway.poll_output(now, &keys) {
//!         GatewayOutput::Broker(BrokerCommand::Open { id, .. }) => break id.to_owned(),
//!         _ => {}
//!     }
//!     let len = gateway.transmit(now, &mut wire);
//!     leaf.receive(now, &wire[..len]);
//! };
//! assert_eq!(opened, "sensor-7");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Specification, version 1
//!
//! Enough to write either end in C. `tests/vectors/link_vectors.json` has an example of everything below, in hex.
//!
//! ## Frames
//!
//! The stream carries frames. A frame is a body and the CRC of it, stuffed by COBS (Consistent Overhead Byte Stuffing,
//! Cheshire and Baker), with a zero byte before and after. Between two zeros there is a frame, nothing, or garbage.
//!
//! ```text
//! 00  COBS( body  CRC )  00
//!     body: type (1 byte), fields
//!     CRC:  CRC-16/IBM-3740 of the body, little-endian
//!           (polynomial 1021, initial FFFF, not reflected, no final XOR; "123456789" gives 29B1)
//! ```
//! Numbers in bodies are little-endian. An end that reads garbage, a wrong CRC, an unknown type, a body of a wrong length, or a
//! frame longer than it takes, drops what it has up to the next zero. Each end says how long a frame it takes, CRC included
//! and stuffing not; none takes less than 64 ([`FRAME_MIN`]), none may be sent more than 4,096 ([`FRAME_MAX`]).
//!
//! | type | name | fields | by |
//! |---|---|---|---|
//! | 01 | hello | version (1 byte, 01), nonce (16), longest frame (2), window (4), name of the leaf (1 to 32, UTF-8, to the end) | leaf |
//! | 02 | challenge | version (1), nonce (16), longest frame (2), window (4), proof (32) | gateway |
//! | 03 | proof | proof (32) | leaf |
//! | 04 | welcome | | gateway |
//! | 05 | refuse | reason (1), version of the sender (1) | both |
//! | 06 | reset | reason (1) | both |
//! | 07 | status | flags (1; bit 0: send again), number (1), limit (4) | both |
//! | 10–13 | data | number (1), payload (to the end). Type bit 0: first of its message, bit 1: last | both |
//!
//! ## Handshake
//!
//! ```text
//! leaf                                   gateway
//!   hello (nonce, limits, name)  ─────▶    looks up the key by the name
//!                                ◀─────  challenge (nonce, limits, proof of the gateway)
//!   checks the proof; proof      ─────▶    checks the proof
//!                                ◀─────  welcome
//!   data, status                 ◀────▶  data, status
//! ```
//! A proof is HMAC-SHA-256 with the leaf's key (32 bytes) over, one after the other: `peer link gateway` or `peer link leaf`
//! in ASCII, after who proves; the length of the hello's body (1 byte); the hello's body; the challenge's body up to its
//! proof (25 bytes). Nonces are never used twice; where they come from is the business of each end. Here they are
//! the first 16 bytes of HMAC-SHA-256 of a counter, keyed with random bytes from the caller.
//!
//! The leaf says hello again, with the same nonce, each [`Timing::handshake_retry`] until it is challenged, then its proof
//! until it is welcomed. A gateway answers the same hello with the same challenge, so that a proof is right whatever crossed it; another one
//! with a new challenge, and only the last counts. A session that
//! runs ends only when a new proof is right, so a stray hello harms nothing. When the proof of the running session comes
//! again, the welcome was lost: it is said again. A proof that nothing is pending for is answered by reset.
//!
//! Refuse ends a handshake: the leaf waits [`Timing::refused_retry`] and begins again with another nonce.
//!
//! | reason | | who |
//! |---|---|---|
//! | 1 | the version; the byte after it says which one the sender speaks | both |
//! | 2 | no leaf of that name | gateway |
//! | 3 | the proof is wrong | both |
//! | 4 | the limits are below 64 for the frame or 2,048 ([`WINDOW_MIN`]) for the window | both |
//!
//! Type and version will stay the first two bytes of hello and challenge in every version.
//!
//! ## Data
//!
//! Each direction of a session is a sequence of messages, cut into data frames: as many as needed, each payload of any
//! length that fits the frame, 0 included. Frames are numbered from 0, modulo 256; at most 127 ([`FRAMES_MAX`]) may
//! be unacknowledged. The receiver takes only the number it waits for. One ahead of it (by less than 128), and any garbage, tells
//! that something was lost: a status asks to send again, once until the right one comes. Others are repeated: dropped, and a
//! status is due.
//!
//! A status says: the number that is waited for, so all before it have come; the limit; whether to send again from that number. It
//! is due whenever data came, when a quarter of the window became free, and each [`Timing::keep_alive`] whatever
//! happens. Several that are due are one. A sender keeps frames until they are acknowledged. It sends all of them again, in order, when it is
//! asked to, or when nothing was acknowledged in time: [`Timing::resend`] at first, then as RFC 6298 learns it from how long
//! acknowledgements take, and twice as long each time that none comes, up to 8 s ([`RESEND_WAIT_MAX`]). Without one after 8
//! ([`RESENDS_MAX`]) times the session ends (reason 4). Statuses that acknowledge what was not sent, or less than before, are ignored.
//!
//! ## Credit
//!
//! A receiver has a queue of *window* bytes for messages that wait. A frame costs its payload, the first one of a message
//! four bytes more ([`MESSAGE_COST`]). The cost of all frames since the session began, each counted once, must not pass the
//! limit; both count modulo 2³². The first limit is the window. As messages are taken, the limit grows by what they cost. Hence no message is
//! longer than the window less four. A frame beyond the limit, or a first one inside a message, or another one outside, ends the session (reason 3).
//!
//! ## Messages
//!
//! A message is one value of these enums in postcard (the wire format of version 1: a variant's number, then its fields; numbers are
//! LEB128, lowest bits first; `bool` one byte; texts and bytes a length and the bytes). [`Output`](crate::peer::Output) and
//! [`Input`](crate::peer::Input) say what each means.
//!
//! | leaf | | gateway | |
//! |---|---|---|---|
//! | 0 | `RetrieveId` | 0 | `IdRetrieved(str)` |
//! | 1 | `Open { token: str, id: str }` | 1 | `Opened` |
//! | 2 | `Send(str)` | 2 | `Message(bytes)` |
//! | 3 | `Close` | 3 | `Closed` |
//! | 4 | `CreateOffer(session, reliable: bool, label: str)` | 4 | `Failed` |
//! | 5 | `AcceptOffer(session, sdp: str)` | 5 | `LocalDescription(session, str)` |
//! | 6 | `ApplyAnswer(session, sdp: str)` | 6 | `LocalCandidate(session, str)` |
//! | 7 | `AddCandidate(session, str)` | 7 | `ChannelOpened(session)` |
//! | 8 | `SendText(session, str)` | 8 | `Text(session, str)` |
//! | 9 | `SendBinary(session, bytes)` | 9 | `Binary(session, bytes)` |
//! | 10 | `CloseSession(session)` | 10 | `ChannelBuffered(session, taken: u32, buffered: u32)` |
//! | | | 11 | `ChannelClosed(session)` |
//! | | | 12 | `IceState(session, u32)`: 0 checking, 1 connected, 2 disconnected |
//! | | | 13 | `DtlsConnected(session)` |
//! | | | 14 | `SessionFailed(session, u32)`: 0 description, 1 ICE, 2 DTLS, 3 SCTP, 4 channel, 5 resources, 6 gateway |
//! | | | 15 | `MessageTooBig(session)`: a message came that the leaf has no window for; it was dropped |
//!
//! `session` is a `u32` that the leaf chose in `CreateOffer` or `AcceptOffer`; it is free again after `CloseSession`. Messages for
//! other sessions are dropped: they crossed a close. `taken` counts the bytes of all `SendText` and `SendBinary` of the session that the gateway
//! has handed on, modulo 2³²; what the leaf sent beyond it is still under way and counts as buffered. A message that cannot be read ends the link's session
//! (reason 3).
//!
//! An id in `Open` that the leaf's key does not allow is answered as a broker would: `Opened`, then a `Message` with an `ERROR`. An id that
//! came in `IdRetrieved` is allowed.
//!
//! ## The end
//!
//! A session ends when the other end was silent for [`Timing::dead_after`], and for the reasons above. The end that
//! finds out says reset. An end without a session that hears data or a status says reset too, at most one each [`Timing::handshake_retry`].
//!
//! | reason | |
//! |---|---|
//! | 1 | the other end was silent |
//! | 2 | there is no session, or another one |
//! | 3 | the rules were broken |
//! | 4 | data is not acknowledged |
//! | 5 | closed on purpose |
//!
//! When a session ends everything in it does: the gateway closes the broker's socket and all WebRTC sessions; the
//! leaf's engine hears that its broker is gone and its connections have failed ([`RtcFailure::Gateway`](crate::peer::RtcFailure)). What
//! had come whole before is given to the engine first.
//!
//! # Limits
//!
//! | limit | where | at the limit |
//! |---|---|---|
//! | frame | `FRAME` of [`LinkResources`], 64 to 4,096 B, default 256 | longer messages are cut |
//! | messages to be taken: the window | `RECEIVE`, at least 2,048 B, default 4,096 | the other end waits. A data message that is longer is dropped and told to the engine as [`RtcInput::MessageTooBig`](crate::peer::RtcInput); anything else longer fails its connection or is counted |
//! | frames to be acknowledged | `TRANSMIT`, default 4,096 B; 127 frames | the engine is not polled; its outbox fills, then `SendError::Full` |
//! | sessions | `SESSIONS` | a connect fails with [`RtcFailure::Resources`](crate::peer::RtcFailure) |
//! | control frames to be written | 2 | dropped; timers bring them again |
//! | resends without progress | [`RESENDS_MAX`] | the session ends |
//!
//! A frame of the engine is one message of the link. So a leaf of 2 KB buffers cannot send, or receive, one chunk of 16,300 bytes as PeerJS
//! cuts them. Sending needs no such chunk: [`Outbox::stream`](crate::connection::Outbox::stream) cuts messages of any length into chunks
//! as small as its memory wants. For receiving from PeerJS messages longer than the window, `RECEIVE` has to be 16,400 bytes and more,
//! and the engine's `INBOX` as long as the whole message. `TRANSMIT` should be 1.2 times the larger of `OUTBOX` and 3⁄8 `CONTROL`, and some 64 bytes.
//! A leaf's application that does not read a connection whose inbox is full holds up all of the leaf's inputs.
//!
//! # Security
//!
//! The handshake proves that both ends know the key when a session begins. It neither hides nor signs what follows: whoever can
//! change bytes on the wire can change the session's. A wire that leaves the case belongs into TLS, SSH or a VPN.

mod auth;
mod cobs;
mod endpoint;
mod frame;
mod gateway;
mod leaf;
mod message;
mod pump;
mod retransmission;
#[cfg(test)]
mod tests;
mod window;

pub use auth::Key;
pub use gateway::{Gateway, GatewayOutput, LeafKeys};
pub use leaf::{Leaf, LeafConfig, LeafOutput};
#[cfg(feature = "sync")]
pub(crate) use pump::pump;
pub use pump::{Sleep, read_ready, run, write_all};

use core::fmt;

use crate::{
    config::{PEER_ID_MAX, TOKEN_MAX},
    peer::ConnectionHandle,
    time::Duration,
};

/// The version of the protocol.
pub const VERSION: u8 = 1;
/// Bytes of a [`Key`] and of the random bytes that nonces come from.
pub const KEY_LEN: usize = 32;
/// Bytes of a nonce.
pub const NONCE_LEN: usize = 16;
/// Bytes of a proof.
pub const PROOF_LEN: usize = 32;
/// Bytes of the longest name of a leaf.
pub const LEAF_NAME_MAX: usize = 32;
/// The longest frame, CRC included, that every end takes.
pub const FRAME_MIN: u16 = 64;
/// The longest frame, CRC included, that any end is sent.
pub const FRAME_MAX: u16 = 4096;
/// The smallest window, in bytes.
pub const WINDOW_MIN: u32 = 2048;
/// Frames that may be unacknowledged.
pub const FRAMES_MAX: u8 = 127;
/// Times that frames are sent again without an acknowledgement.
pub const RESENDS_MAX: u8 = 8;
/// The longest wait for an acknowledgement, unless [`Timing::resend`] is longer.
pub const RESEND_WAIT_MAX: Duration = Duration::from_secs(8);
/// What a message costs of the credit beside its bytes.
pub const MESSAGE_COST: usize = 4;

/// Bytes that a message has at most beside the texts in it.
const OUTPUT_OVERHEAD: usize = 24;
/// Bytes of the longest `Open`.
const OPEN_MAX: usize = PEER_ID_MAX + TOKEN_MAX + OUTPUT_OVERHEAD;
/// The least memory for frames on their way: an `Open` in the smallest frames.
const TRANSMIT_MIN: usize = OPEN_MAX + (OPEN_MAX / 60 + 1) * 12 + 64;

/// When an end does what by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Timing {
    /// A status is sent at least so often. Default 2 s.
    pub keep_alive: Duration,
    /// An end that was silent so long is dead. Three times its keep-alive or more. Default 7 s.
    pub dead_after: Duration,
    /// Frames are sent again when the last one was sent so long ago and none was acknowledged since. It is the least: on a
    /// stream that is slower, an end waits as long as acknowledgements there take. Default 500 ms.
    pub resend: Duration,
    /// Hellos and proofs are said again so often. Default 1 s.
    pub handshake_retry: Duration,
    /// A leaf that was refused waits so long. Default 10 s.
    pub refused_retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(2),
            dead_after: Duration::from_secs(7),
            resend: Duration::from_millis(500),
            handshake_retry: Duration::from_secs(1),
            refused_retry: Duration::from_secs(10),
        }
    }
}

/// Counters of one end since it was made. They wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct LinkStats {
    /// Messages put on their way.
    pub messages_sent: u32,
    /// Messages taken.
    pub messages_received: u32,
    /// Frames that were none: broken stuffing, wrong CRC, unknown, too long.
    pub garbage: u32,
    /// Times that frames were sent again, or the other end was asked to.
    pub resends: u32,
    /// Messages that do not fit this end's memory or the other end's window.
    pub too_long: u32,
    /// Ids that a leaf wanted and may not use.
    pub refused: u32,
}

/// Why there is no session any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DownReason {
    /// Nothing was heard of the other end for [`Timing::dead_after`].
    Silent,
    /// The other end has no such session: it was started anew.
    Restarted,
    /// An end broke the rules of the protocol: one of them has a bug, or bytes were changed without harm to the CRC.
    Violation,
    /// Data was sent again and again and never acknowledged.
    NoProgress,
    /// It was ended on purpose, or the stream is gone.
    Closed,
}

impl DownReason {
    const fn to_wire(self) -> u8 {
        match self {
            Self::Silent => 1,
            Self::Restarted => 2,
            Self::Violation => 3,
            Self::NoProgress => 4,
            Self::Closed => 5,
        }
    }

    const fn from_wire(reason: u8) -> Self {
        match reason {
            1 => Self::Silent,
            3 => Self::Violation,
            4 => Self::NoProgress,
            5 => Self::Closed,
            _ => Self::Restarted,
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "the other end of the link was silent for too long",
            Self::Restarted => "the other end of the link was started anew",
            Self::Violation => "an end of the link broke the rules of its protocol",
            Self::NoProgress => "data sent over the link was never acknowledged",
            Self::Closed => "the link was closed",
        })
    }
}

impl core::error::Error for DownReason {}

/// Why there is no session at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refusal {
    /// The other end speaks this version, not [`VERSION`].
    Version(u8),
    /// The gateway knows no leaf of that name.
    Name,
    /// The ends have different keys, or somebody who has none tried.
    Key,
    /// The other end's frame or window is smaller than this protocol needs.
    Limits,
}

impl Refusal {
    const fn to_wire(self) -> (u8, u8) {
        match self {
            Self::Version(version) => (1, version),
            Self::Name => (2, VERSION),
            Self::Key => (3, VERSION),
            Self::Limits => (4, VERSION),
        }
    }

    const fn from_wire(reason: u8, version: u8) -> Option<Self> {
        Some(match reason {
            1 => Self::Version(version),
            2 => Self::Name,
            3 => Self::Key,
            4 => Self::Limits,
            _ => return None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "the other end speaks version {version} of the link, this one {VERSION}; update one of them"
            ),
            Self::Name => f.write_str("the gateway knows no leaf of that name; configure it there"),
            Self::Key => f.write_str("the leaf and the gateway have different keys"),
            Self::Limits => f.write_str("the other end's buffers are smaller than the link needs"),
        }
    }
}

impl core::error::Error for Refusal {}

/// A call on an end of a link was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LinkError {
    /// The name is empty or longer than [`LEAF_NAME_MAX`].
    Name,
    /// The memory is smaller than the least of [`LinkResources`].
    Memory,
    /// There is no room now; try again when the other end has taken something.
    Full,
    /// The message fits neither now nor later: it is longer than the leaf's window or this end's memory.
    TooLong,
    /// There is no session.
    Down,
    /// The leaf has no such WebRTC session, or no longer.
    Stale,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "a leaf's name has 1 to 32 bytes",
            Self::Memory => "the memory is too small for a link; see LinkResources",
            Self::Full => "the link has no room for the message now; try again later",
            Self::TooLong => "the message is longer than the link can carry",
            Self::Down => "the other end of the link is not there",
            Self::Stale => "the leaf has closed that WebRTC session",
        })
    }
}

impl core::error::Error for LinkError {}

/// Memory for one end of a link. Const and all zero, so a static of it sits in `.bss`.
///
/// | parameter | bytes | holds |
/// |---|---|---|
/// | `SESSIONS` | 12 each | WebRTC sessions; at a leaf as many as the peer has connections |
/// | `FRAME` | 64 to 4,096 | the frame that comes |
/// | `TRANSMIT` | about 400 at least | frames to be acknowledged |
/// | `RECEIVE` | 2,048 at least | messages to be taken |
#[derive(Debug)]
pub struct LinkResources<
    const SESSIONS: usize,
    const FRAME: usize = 256,
    const TRANSMIT: usize = 4096,
    const RECEIVE: usize = 4096,
> {
    sessions: [Session; SESSIONS],
    frame: [u8; FRAME],
    transmit: [u8; TRANSMIT],
    receive: [u8; RECEIVE],
}

impl<const SESSIONS: usize, const FRAME: usize, const TRANSMIT: usize, const RECEIVE: usize>
    LinkResources<SESSIONS, FRAME, TRANSMIT, RECEIVE>
{
    /// Memory, all zero.
    pub const fn new() -> Self {
        Self {
            sessions: [Session::FREE; SESSIONS],
            frame: [0; FRAME],
            transmit: [0; TRANSMIT],
            receive: [0; RECEIVE],
        }
    }

    /// The memory in pieces, capacities erased.
    pub fn slices(&mut self) -> LinkSlices<'_> {
        LinkSlices {
            sessions: &mut self.sessions,
            frame: &mut self.frame,
            transmit: &mut self.transmit,
            receive: &mut self.receive,
        }
    }
}

impl<const SESSIONS: usize, const FRAME: usize, const TRANSMIT: usize, const RECEIVE: usize> Default
    for LinkResources<SESSIONS, FRAME, TRANSMIT, RECEIVE>
{
    fn default() -> Self {
        Self::new()
    }
}

/// The memory of [`LinkResources`] in pieces, for a program that learns its sizes at run time.
#[derive(Debug)]
pub struct LinkSlices<'m> {
    /// See [`LinkResources`].
    pub sessions: &'m mut [Session],
    /// See [`LinkResources`].
    pub frame: &'m mut [u8],
    /// See [`LinkResources`].
    pub transmit: &'m mut [u8],
    /// See [`LinkResources`].
    pub receive: &'m mut [u8],
}

/// Room for what an end knows of one WebRTC session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Session {
    number: u32,
    /// Bytes of data that went from the leaf, modulo 2³²: at the leaf sent, at the gateway taken.
    bytes: u32,
    used: bool,
}

impl Session {
    const FREE: Self = Self {
        number: 0,
        bytes: 0,
        used: false,
    };

    fn handle(&self) -> ConnectionHandle {
        ConnectionHandle::from_bits(self.number)
    }

    fn count(&mut self, bytes: usize) {
        // No message has 2³² bytes.
        self.bytes = self.bytes.wrapping_add(bytes as u32);
    }

    fn find(sessions: &mut [Self], handle: ConnectionHandle) -> Option<&mut Self> {
        let number = handle.to_bits();
        sessions
            .iter_mut()
            .find(|session| session.used && session.number == number)
    }

    /// Notes a session. `false`: there is no room, or it is there already.
    fn claim(sessions: &mut [Self], handle: ConnectionHandle) -> bool {
        if Self::find(sessions, handle).is_some() {
            return false;
        }
        let Some(free) = sessions.iter_mut().find(|session| !session.used) else {
            return false;
        };
        *free = Self {
            number: handle.to_bits(),
            bytes: 0,
            used: true,
        };
        true
    }

    fn free(sessions: &mut [Self], handle: ConnectionHandle) {
        if let Some(session) = Self::find(sessions, handle) {
            session.used = false;
        }
    }
}

/// Whether an end can be made of these.
fn check(name: &str, memory: &LinkSlices<'_>) -> Result<endpoint::Name, LinkError> {
    if memory.frame.len() < usize::from(FRAME_MIN)
        || memory.transmit.len() < TRANSMIT_MIN
        || memory.receive.len() < WINDOW_MIN as usize
    {
        return Err(LinkError::Memory);
    }
    endpoint::Name::try_from(name)
        .ok()
        .filter(|name| !name.is_empty())
        .ok_or(LinkError::Name)
}
