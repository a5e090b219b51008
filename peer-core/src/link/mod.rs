//! The link: a gateway lends a microcontroller its broker socket and its WebRTC stack.
//!
//! The microcontroller, the *leaf*, runs the whole [`Peer`](crate::peer::Peer). What it lacks is
//! ICE, DTLS and SCTP. So the engine's outputs go over a byte stream (UART, USB CDC, TCP) to a
//! *gateway*, and inputs come back. There is no second protocol and no second engine: to the remote
//! browser the leaf is an ordinary peer. [`Leaf`] and [`Gateway`] are the two ends, both without
//! I/O.
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
//! let config = LeafConfig::new("greenhouse", [7; 32], [1; 32]);
//! let mut leaf = Leaf::new(config, here.slices())?;
//! let mut gateway = Gateway::new(Timing::default(), [2; 32], there.slices())?;
//!
//! let mut resources: PeerResources<2> = PeerResources::new();
//! let mut config = Config::new([7; 32]); // 32 bytes of a CSPRNG
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
//!     leaf.receive(now, &wire[..len], &mut peer);
//! };
//! assert_eq!(opened, "sensor-7");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Both ends are specified in [`specification`], for those who write one in another language.
//!
//! # Limits
//!
//! | limit | where | at the limit |
//! |---|---|---|
//! | frame | `FRAME` of [`LinkResources`], 64 to 4,096 B, default 256 | longer messages are cut |
//! | messages to be taken: the window | `RECEIVE`, at least 2,048 B, default 3,072 | the other end waits. A longer message fails its connection ([`RtcFailure::Resources`](crate::peer::RtcFailure)) or is dropped and counted |
//! | frames to be acknowledged | `TRANSMIT`, default 4,096 B, ¼ of it data; 127 frames each | the rest stays in the engine. A longer message fails its connection or is dropped and counted |
//! | data of a connection | the engine's `INBOX` and `OUTBOX` | that connection waits, nothing else |
//! | sessions | `SESSIONS`, at most [`SESSIONS_MAX`] | a connect fails with `Resources` |
//! | service frames to be written | 2 | dropped; timers bring them again |
//! | resends without progress | [`RESENDS_MAX`] | the link session ends |
//!
//! Data goes in pieces of a frame, so channel messages of any length pass whatever the memory.
//! `TRANSMIT` should be 1.6 times ⅜ `CONTROL` of the engine, and some 64 bytes, so that every
//! signal passes.
//!
//! # Security
//!
//! The handshake proves that both ends know the key when a link session begins. It neither hides
//! nor signs what follows: whoever can change bytes on the wire can change the link session's. A
//! wire that leaves the case belongs into TLS, SSH or a VPN.

mod auth;
mod cobs;
mod data_queue;
mod endpoint;
mod frame;
mod gateway;
mod inbox;
mod leaf;
mod message;
mod outgoing;
mod pump;
mod retransmission;
mod session_slot;
mod stream;
#[doc = include_str!("../../docs/link.md")]
pub mod specification {}
#[cfg(test)]
mod tests;

#[doc(hidden)]
pub use auth::Key;
#[doc(hidden)]
pub use gateway::{Gateway, GatewayOutput, LeafKeys, LinkInputError};
pub use leaf::{Leaf, LeafConfig, LeafOutput};
#[cfg(feature = "sync")]
pub(crate) use pump::pump;
pub use pump::{read_ready, run, write_all};
#[doc(hidden)]
pub use session_slot::SessionSlot;

use core::fmt;

use crate::{
    config::{PEER_ID_MAX, TOKEN_MAX},
    time::Duration,
};
use endpoint::Role;

/// The newest version of the protocol. A [`Leaf`] speaks this one only, a [`Gateway`] version 1 as
/// well.
pub const VERSION: u8 = 2;
/// Bytes of a leaf's key and of the random bytes that nonces come from.
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
/// The least memory that a gateway leaves to data of a leaf of version 2, in bytes.
pub const DATA_QUEUE_MIN: usize = 512;
/// Frames that may be unacknowledged.
pub const FRAMES_MAX: u8 = 127;
/// Times that frames are sent again without an acknowledgement.
pub const RESENDS_MAX: u8 = 8;
/// The longest wait for an acknowledgement, unless [`Timing::resend`] is longer.
pub const RESEND_WAIT_MAX: Duration = Duration::from_secs(8);
/// What a message of the control stream costs of the credit beside its bytes.
pub const MESSAGE_COST: usize = 4;
/// What the first fragment of a channel message costs of a session's credit beside its bytes.
pub const DATA_MESSAGE_COST: u32 = 8;

/// Bytes that a message has at most beside the texts in it.
const OUTPUT_OVERHEAD: usize = 24;
/// Bytes of the longest `Open`.
const OPEN_MAX: usize = PEER_ID_MAX + TOKEN_MAX + OUTPUT_OVERHEAD;
/// The least memory for frames on their way: three quarters of it hold an `Open` in the smallest
/// frames.
const TRANSMIT_MIN: usize = (OPEN_MAX + (OPEN_MAX / 60 + 1) * 14 + 64) / 3 * 4;
/// WebRTC sessions that an end can have.
pub const SESSIONS_MAX: usize = 256;

/// A version of the protocol that an end here speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    const fn to_wire(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    const fn from_wire(version: u8) -> Option<Self> {
        match version {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }
}

/// When an end does what by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Timing {
    /// A status is sent at least so often. Default 2 s.
    pub keep_alive: Duration,
    /// An end that was silent so long is dead. Three times its keep-alive or more. Default 7 s.
    pub dead_after: Duration,
    /// Frames are sent again when the last one was sent so long ago and none was acknowledged
    /// since. It is the least: on a stream that is slower, an end waits as long as acknowledgements
    /// there take. Default 500 ms.
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

/// Why there is no link: it cannot be made, the other end does not want it, or it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LinkError {
    /// [`Leaf::new`]: the name is empty or longer than [`LEAF_NAME_MAX`].
    Name,
    /// [`Leaf::new`]: the memory is smaller than the least of [`LinkResources`].
    Memory,
    /// Refused: the other end speaks this version, not [`VERSION`].
    Version(u8),
    /// Refused: the gateway knows no leaf of that name.
    UnknownLeaf,
    /// Refused: the ends have different keys, or somebody who has none tried.
    Key,
    /// Refused: the other end's frame or window is smaller than this protocol needs.
    Limits,
    /// Over: nothing was heard of the other end for [`Timing::dead_after`].
    Silent,
    /// Over: the other end has no such session, since it was started anew.
    Restarted,
    /// Over: an end broke the rules of the protocol. One of them has a bug, or bytes were changed
    /// without harm to the CRC.
    Violation,
    /// Over: data was sent again and again and never acknowledged.
    NoProgress,
    /// Over: it was ended on purpose, or the stream is gone.
    Closed,
}

impl LinkError {
    /// The number in a `Reset`.
    const fn to_reset(self) -> u8 {
        match self {
            Self::Silent => 1,
            Self::Violation => 3,
            Self::NoProgress => 4,
            Self::Closed => 5,
            _ => 2,
        }
    }

    const fn from_reset(reason: u8) -> Self {
        match reason {
            1 => Self::Silent,
            3 => Self::Violation,
            4 => Self::NoProgress,
            5 => Self::Closed,
            _ => Self::Restarted,
        }
    }

    /// The number in a `Refuse`.
    const fn to_refuse(self) -> u8 {
        match self {
            Self::Version(_) => 1,
            Self::UnknownLeaf => 2,
            Self::Key => 3,
            _ => 4,
        }
    }

    const fn from_refuse(reason: u8, version: u8) -> Option<Self> {
        Some(match reason {
            1 => Self::Version(version),
            2 => Self::UnknownLeaf,
            3 => Self::Key,
            4 => Self::Limits,
            _ => return None,
        })
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "a leaf's name has 1 to 32 bytes",
            Self::Memory => "the memory is too small for a link; see LinkResources",
            Self::Version(version) => {
                return write!(
                    f,
                    "the other end speaks version {version} of the link, this one {VERSION}; update one of them"
                );
            }
            Self::UnknownLeaf => "the gateway knows no leaf of that name; configure it there",
            Self::Key => "the leaf and the gateway have different keys",
            Self::Limits => "the other end's buffers are smaller than the link needs",
            Self::Silent => "the other end of the link was silent for too long",
            Self::Restarted => "the other end of the link was started anew",
            Self::Violation => "an end of the link broke the rules of its protocol",
            Self::NoProgress => "data sent over the link was never acknowledged",
            Self::Closed => "the link was closed",
        })
    }
}

impl core::error::Error for LinkError {}

/// Memory for one end of a link. Const and all zero, so a static of it sits in `.bss`.
///
/// | parameter | bytes | holds |
/// |---|---|---|
/// | `SESSIONS` | 36 each | WebRTC sessions; at a leaf as many as the peer has connections |
/// | `FRAME` | 64 to 4,096 | the frame that comes |
/// | `TRANSMIT` | about 450 at least | frames to be acknowledged: ¾ of it messages, ¼ data |
/// | `RECEIVE` | 2,048 at least; 2,560 at a gateway | messages to be taken; at a gateway, data takes ¼ of it |
#[derive(Debug)]
pub struct LinkResources<
    const SESSIONS: usize,
    const FRAME: usize = 256,
    const TRANSMIT: usize = 4096,
    const RECEIVE: usize = 3072,
> {
    sessions: [SessionSlot; SESSIONS],
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
            sessions: [SessionSlot::FREE; SESSIONS],
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
#[doc(hidden)]
#[derive(Debug)]
pub struct LinkSlices<'m> {
    /// See [`LinkResources`].
    pub sessions: &'m mut [SessionSlot],
    /// See [`LinkResources`].
    pub frame: &'m mut [u8],
    /// See [`LinkResources`].
    pub transmit: &'m mut [u8],
    /// See [`LinkResources`].
    pub receive: &'m mut [u8],
}

/// Whether an end can be made of these.
fn check(name: &str, memory: &LinkSlices<'_>, role: Role) -> Result<endpoint::Name, LinkError> {
    let data = match role {
        Role::Leaf => 0,
        Role::Gateway => DATA_QUEUE_MIN,
    };
    if memory.frame.len() < usize::from(FRAME_MIN)
        || memory.transmit.len() < TRANSMIT_MIN
        || memory.receive.len() < WINDOW_MIN as usize + data
        || memory.sessions.len() > SESSIONS_MAX
    {
        return Err(LinkError::Memory);
    }
    endpoint::Name::try_from(name)
        .ok()
        .filter(|name| !name.is_empty())
        .ok_or(LinkError::Name)
}
