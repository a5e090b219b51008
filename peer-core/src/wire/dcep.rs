//! The Data Channel Establishment Protocol (RFC 8832), which opens a channel with its label and
//! reliability.
//!
//! ```
//! use peer_core::wire::dcep::{self, DcepMessage, Open, Reliability};
//!
//! let open = Open { ordered: true, label: "dc_1", ..Open::default() };
//! let mut buffer = [0; 64];
//! let length = open.write(&mut buffer)?;
//! assert_eq!(dcep::parse(&buffer[..length])?, DcepMessage::Open(open));
//! # Ok::<(), dcep::DcepError>(())
//! ```

use core::fmt;

use crate::{bytes, config::LABEL_MAX};

/// The SCTP payload protocol identifier of DCEP messages (RFC 8832, section 8.1).
pub const PPID_DCEP: u32 = 50;
/// The payload protocol identifier of UTF-8 text (RFC 8831, section 8).
pub const PPID_STRING: u32 = 51;
/// The payload protocol identifier of binary messages.
pub const PPID_BINARY: u32 = 53;
/// The payload protocol identifier of an empty text. SCTP has no empty messages, so it carries one
/// byte 0.
pub const PPID_STRING_EMPTY: u32 = 56;
/// The payload protocol identifier of an empty binary message, which carries one byte 0.
pub const PPID_BINARY_EMPTY: u32 = 57;
/// The longest sub-protocol name that is read or written, in bytes. PeerJS's is empty.
pub const PROTOCOL_MAX: usize = LABEL_MAX;
/// The length of an OPEN message without label and protocol, in bytes.
pub const OPEN_HEADER_LEN: usize = 12;
/// The ACK message.
pub const ACK: [u8; 1] = [0x02];

const OPEN: u8 = 0x03;
const UNORDERED: u8 = 0x80;

/// Reads a message that came with [`PPID_DCEP`]. Bytes after its end are ignored.
///
/// # Errors
/// [`DcepError`]; do not open the channel then.
pub fn parse(bytes: &[u8]) -> Result<DcepMessage<'_>, DcepError> {
    match bytes.first() {
        None => Err(DcepError::Truncated),
        Some(&OPEN) => Open::parse(bytes).map(DcepMessage::Open),
        Some(&byte) if [byte] == ACK => Ok(DcepMessage::Ack),
        Some(_) => Err(DcepError::UnknownMessage),
    }
}

/// A DCEP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DcepMessage<'a> {
    /// DATA_CHANNEL_OPEN: the remote peer opened a channel. Answer with [`ACK`].
    Open(Open<'a>),
    /// DATA_CHANNEL_ACK: the remote peer accepted our channel.
    Ack,
}

/// The content of DATA_CHANNEL_OPEN (RFC 8832, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    /// Whether messages are delivered in order. PeerJS sets it from its option `reliable`.
    pub ordered: bool,
    /// How long a message is retransmitted.
    pub reliability: Reliability,
    /// The priority; higher is more urgent. Browsers write 256.
    pub priority: u16,
    /// The label of the channel, at most [`LABEL_MAX`] bytes.
    pub label: &'a str,
    /// The sub-protocol, at most [`PROTOCOL_MAX`] bytes.
    pub protocol: &'a str,
}

impl Default for Open<'_> {
    /// Returns PeerJS's default channel: unordered, reliable, priority 256, without a label.
    fn default() -> Self {
        Self {
            ordered: false,
            reliability: Reliability::Reliable,
            priority: 256,
            label: "",
            protocol: "",
        }
    }
}

impl<'a> Open<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, DcepError> {
        let (header, text) = bytes
            .split_first_chunk::<OPEN_HEADER_LEN>()
            .ok_or(DcepError::Truncated)?;
        let &[_, kind, p0, p1, r0, r1, r2, r3, l0, l1, n0, n1] = header;
        let parameter = u32::from_be_bytes([r0, r1, r2, r3]);
        let reliability = match kind & !UNORDERED {
            0 => Reliability::Reliable,
            1 => Reliability::MaxRetransmits(parameter),
            2 => Reliability::MaxPacketLifeTime(parameter),
            _ => return Err(DcepError::UnknownChannelType),
        };
        let label = usize::from(u16::from_be_bytes([l0, l1]));
        let protocol = usize::from(u16::from_be_bytes([n0, n1]));
        if label > LABEL_MAX {
            return Err(DcepError::LabelTooLong);
        }
        if protocol > PROTOCOL_MAX {
            return Err(DcepError::ProtocolTooLong);
        }
        let (label, rest) = text.split_at_checked(label).ok_or(DcepError::Truncated)?;
        let protocol = rest.get(..protocol).ok_or(DcepError::Truncated)?;
        Ok(Self {
            ordered: kind & UNORDERED == 0,
            reliability,
            priority: u16::from_be_bytes([p0, p1]),
            label: core::str::from_utf8(label).map_err(|_| DcepError::NotUtf8)?,
            protocol: core::str::from_utf8(protocol).map_err(|_| DcepError::NotUtf8)?,
        })
    }

    /// Writes the message and returns its length: [`OPEN_HEADER_LEN`] and the two texts.
    ///
    /// # Errors
    /// [`DcepError::LabelTooLong`], [`DcepError::ProtocolTooLong`], [`DcepError::BufferTooSmall`].
    pub fn write(&self, buffer: &mut [u8]) -> Result<usize, DcepError> {
        if self.label.len() > LABEL_MAX {
            return Err(DcepError::LabelTooLong);
        }
        if self.protocol.len() > PROTOCOL_MAX {
            return Err(DcepError::ProtocolTooLong);
        }
        let label = u16::try_from(self.label.len()).map_err(|_| DcepError::LabelTooLong)?;
        let protocol =
            u16::try_from(self.protocol.len()).map_err(|_| DcepError::ProtocolTooLong)?;
        let (kind, parameter) = match self.reliability {
            Reliability::Reliable => (0, 0),
            Reliability::MaxRetransmits(count) => (1, count),
            Reliability::MaxPacketLifeTime(millis) => (2, millis),
        };
        let kind = if self.ordered { kind } else { kind | UNORDERED };
        let [p0, p1] = self.priority.to_be_bytes();
        let [r0, r1, r2, r3] = parameter.to_be_bytes();
        let [l0, l1] = label.to_be_bytes();
        let [n0, n1] = protocol.to_be_bytes();
        let header = [OPEN, kind, p0, p1, r0, r1, r2, r3, l0, l1, n0, n1];

        let parts = [&header[..], self.label.as_bytes(), self.protocol.as_bytes()];
        bytes::concat(buffer, &parts).ok_or(DcepError::BufferTooSmall)
    }
}

/// How long a message is retransmitted (RFC 8832, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Reliability {
    /// Until it is acknowledged. PeerJS uses nothing else.
    Reliable,
    /// At most this many times.
    MaxRetransmits(u32),
    /// For this many milliseconds.
    MaxPacketLifeTime(u32),
}

/// Why a message could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DcepError {
    /// The message ends too early.
    Truncated,
    /// The message is neither OPEN nor ACK.
    UnknownMessage,
    /// RFC 8832 does not define the channel type.
    UnknownChannelType,
    /// The label is longer than [`LABEL_MAX`] bytes.
    LabelTooLong,
    /// The sub-protocol is longer than [`PROTOCOL_MAX`] bytes.
    ProtocolTooLong,
    /// The label or the sub-protocol is not UTF-8.
    NotUtf8,
    /// The buffer to write into is too small.
    BufferTooSmall,
}

impl fmt::Display for DcepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the far side's channel opening message ends too early",
            Self::UnknownMessage => {
                "the far side's channel opening message is neither OPEN nor ACK"
            }
            Self::UnknownChannelType => "the far side opened a channel of an unknown type",
            Self::LabelTooLong => {
                "the channel's label is longer than this build allows (LABEL_MAX)"
            }
            Self::ProtocolTooLong => "the channel's protocol name is longer than this build allows",
            Self::NotUtf8 => "the far side's channel label or protocol is not UTF-8",
            Self::BufferTooSmall => "the buffer is too small for the channel opening message",
        })
    }
}

impl core::error::Error for DcepError {}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chromiums_bytes() {
        // Sent for `peer.connect(id, {label: "lab", reliable})`.
        for (kind, ordered) in [(0x00, true), (0x80, false)] {
            let bytes = [3, kind, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, b'l', b'a', b'b'];
            let open = Open {
                ordered,
                label: "lab",
                ..Open::default()
            };
            assert_eq!(parse(&bytes), Ok(DcepMessage::Open(open)));
            let mut written = [0; 15];
            assert_eq!(open.write(&mut written), Ok(15));
            assert_eq!(written, bytes);
            assert_eq!(open.write(&mut [0; 14]), Err(DcepError::BufferTooSmall));
            for length in 1..bytes.len() {
                assert_eq!(parse(&bytes[..length]), Err(DcepError::Truncated));
            }
        }
        assert_eq!(parse(&ACK), Ok(DcepMessage::Ack));
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(parse(&[]), Err(DcepError::Truncated));
        assert_eq!(parse(&[1]), Err(DcepError::UnknownMessage));
        let open = |kind, label: u16, protocol: u16, text: &[u8]| {
            let [l0, l1] = label.to_be_bytes();
            let [n0, n1] = protocol.to_be_bytes();
            let mut bytes = std::vec![3, kind, 1, 0, 0, 0, 0, 0, l0, l1, n0, n1];
            bytes.extend_from_slice(text);
            parse(&bytes).err()
        };
        assert_eq!(open(3, 0, 0, b""), Some(DcepError::UnknownChannelType));
        assert_eq!(open(0, u16::MAX, 0, b""), Some(DcepError::LabelTooLong));
        assert_eq!(open(0, 0, u16::MAX, b""), Some(DcepError::ProtocolTooLong));
        assert_eq!(open(0, 1, 0, &[0xff]), Some(DcepError::NotUtf8));
        assert_eq!(open(0, 0, 2, b"x"), Some(DcepError::Truncated));
        let long = "x".repeat(LABEL_MAX + 1);
        let open = Open {
            label: &long,
            ..Open::default()
        };
        assert_eq!(open.write(&mut [0; 1024]), Err(DcepError::LabelTooLong));
        let open = Open {
            protocol: &long,
            ..Open::default()
        };
        assert_eq!(open.write(&mut [0; 1024]), Err(DcepError::ProtocolTooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..64), open: bool) {
            if let (true, Some(first)) = (open, bytes.first_mut()) {
                *first = OPEN;
            }
            let _ = parse(&bytes);
        }

        #[test]
        fn reads_what_it_writes(
            ordered: bool, kind in 0..3, parameter: u32, priority: u16,
            label in "\\PC{0,20}", protocol in "\\PC{0,20}",
        ) {
            let reliability = match kind {
                0 => Reliability::Reliable,
                1 => Reliability::MaxRetransmits(parameter),
                _ => Reliability::MaxPacketLifeTime(parameter),
            };
            let open = Open { ordered, reliability, priority, label: &label, protocol: &protocol };
            let mut buffer = [0; 256];
            let length = open.write(&mut buffer).unwrap();
            prop_assert_eq!(parse(&buffer[..length]), Ok(DcepMessage::Open(open)));
        }
    }
}
