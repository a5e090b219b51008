//! The form of SCTP packets (RFC 9260, RFC 3758, RFC 6525): every length the parsers of
//! `webrtc-sctp` rely on.

use super::DATAGRAM_MAX;
use super::inflow::Data;

/// Chunks of one packet. Browsers' packets of 1,200 bytes hold at most 59 with data.
const CHUNKS_MAX: usize = 128;
/// Chunks of one packet that each make the crate queue an answer.
const ANSWERED_MAX: usize = 4;
/// Streams of one reset request.
const RESET_STREAMS_MAX: usize = 64;

const HEADER_LEN: usize = 12;
pub(super) const DATA: u8 = 0;
pub(super) const INIT: u8 = 1;
pub(super) const INIT_ACK: u8 = 2;
pub(super) const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
pub(super) const HEARTBEAT_ACK: u8 = 5;
pub(super) const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
pub(super) const ERROR: u8 = 9;
pub(super) const COOKIE_ECHO: u8 = 10;
pub(super) const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;
pub(super) const RECONFIG: u8 = 130;
/// Padding (RFC 4820): of no meaning, and of the kind that is skipped by who does not know it.
const PAD: u8 = 132;
pub(super) const FORWARD_TSN: u8 = 192;

pub(super) const OUTGOING_RESET: u16 = 13;
const RECONFIG_RESPONSE: u16 = 16;
const HEARTBEAT_INFO: u16 = 1;

/// Why a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SctpRefusal {
    /// Shorter than a packet, longer than [`DATAGRAM_MAX`], or from or to port 0.
    #[error("the far side's packet is no SCTP packet")]
    Header,
    /// A chunk does not fit the packet.
    #[error("a chunk of the far side's packet has a wrong length")]
    Chunk,
    /// A value, parameter or cause does not fit its chunk.
    #[error("a parameter in the far side's packet has a wrong length")]
    Parameter,
    /// More chunks than a packet may have, or a chunk that must be alone.
    #[error("the far side's packet has chunks that must not be together")]
    Bundle,
    /// A chunk that cannot come now: an INIT in an association, data outside of one.
    #[error("a chunk of the far side's packet cannot come at this point")]
    State,
    /// A TSN or SSN too far ahead.
    #[error("the far side skips further ahead than its window")]
    Window,
    /// Too many streams, or resets of them.
    #[error("the far side uses more streams than a data connection has")]
    Streams,
    /// Too many small fragments of messages that do not end.
    #[error("the far side sends fragments of messages that do not end")]
    Fragments,
}

/// Checks the form of a packet: every length, to the byte, of everything the crate reads.
///
/// # Errors
/// [`SctpRefusal`]; the crate must not see the packet.
pub(crate) fn validate(packet: &[u8]) -> Result<(), SctpRefusal> {
    let header = Header::parse(packet).ok_or(SctpRefusal::Header)?;
    if packet.len() > DATAGRAM_MAX || header.source_port == 0 || header.destination_port == 0 {
        return Err(SctpRefusal::Header);
    }
    let (mut count, mut answered) = (0, 0);
    let mut chunks = Chunks::of(packet);
    while let Some(chunk) = chunks.next() {
        let alone = count == 0 && chunks.rest.is_empty();
        count += 1;
        answered += usize::from(chunk.is_answered());
        if count > CHUNKS_MAX || answered > ANSWERED_MAX {
            return Err(SctpRefusal::Bundle);
        }
        chunk.validate(alone, chunks.rest.is_empty())?;
    }
    if count == 0 || !chunks.rest.is_empty() {
        return Err(SctpRefusal::Chunk);
    }
    Ok(())
}

/// Ports and tag of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    /// The receiver's tag; 0 with an INIT alone.
    pub(crate) verification_tag: u32,
}

impl Header {
    /// Of any packet that is long enough.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let &[s0, s1, d0, d1, t0, t1, t2, t3, ..] = packet.first_chunk::<HEADER_LEN>()?;
        Some(Self {
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            verification_tag: u32::from_be_bytes([t0, t1, t2, t3]),
        })
    }
}

/// A packet that ends the association as browsers do: ABORT, cause 12 (user initiated), `Close
/// called`.
pub(crate) fn abort(header: Header) -> Vec<u8> {
    let mut packet = Vec::with_capacity(32);
    packet.extend_from_slice(&header.source_port.to_be_bytes());
    packet.extend_from_slice(&header.destination_port.to_be_bytes());
    packet.extend_from_slice(&header.verification_tag.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(&[ABORT, 0, 0, 20, 0, 12, 0, 16]);
    packet.extend_from_slice(b"Close called");
    seal(&mut packet);
    packet
}

/// A packet that the far side has to answer (RFC 9260, section 8.3).
pub(crate) fn heartbeat(header: Header) -> Vec<u8> {
    let mut packet = Vec::with_capacity(24);
    packet.extend_from_slice(&header.source_port.to_be_bytes());
    packet.extend_from_slice(&header.destination_port.to_be_bytes());
    packet.extend_from_slice(&header.verification_tag.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    // With one path there is nothing to tell apart by the information.
    packet.extend_from_slice(&[HEARTBEAT, 0, 0, 12, 0, 1, 0, 8, 0, 0, 0, 0]);
    seal(&mut packet);
    packet
}

/// Makes the answers to [`heartbeat`] in a valid packet something the crate skips. It knows no
/// HEARTBEAT ACK, and ends the association on what it does not know (`association_internal.rs`,
/// `handle_chunk`, code `0b00`).
pub(super) fn hide_answers(packet: &mut [u8]) {
    let mut at = HEADER_LEN;
    let mut found = false;
    while let Some((&kind, length)) = packet.get(at).zip(u16_at(packet, at + 2)) {
        if kind == HEARTBEAT_ACK
            && let Some(kind) = packet.get_mut(at)
        {
            *kind = PAD;
            found = true;
        }
        at += usize::from(length).max(4).next_multiple_of(4);
    }
    if found {
        seal(packet);
    }
}

/// Writes the checksum of a packet into its header.
pub(crate) fn seal(packet: &mut [u8]) {
    if let Some(field) = packet.get_mut(8..HEADER_LEN) {
        field.fill(0);
    }
    let checksum = crc32c(packet).to_le_bytes();
    if let Some(field) = packet.get_mut(8..HEADER_LEN) {
        field.copy_from_slice(&checksum);
    }
}

#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) kind: u8,
    flags: u8,
    pub(super) value: &'a [u8],
}

impl Chunk<'_> {
    /// Of a valid DATA chunk.
    pub(super) fn data(self) -> Data {
        Data {
            tsn: u32_at(self.value, 0).unwrap_or_default(),
            stream: u16_at(self.value, 4).unwrap_or_default(),
            ssn: u16_at(self.value, 6).unwrap_or_default(),
            unordered: self.flags & 4 != 0,
            begin: self.flags & 2 != 0,
            end: self.flags & 1 != 0,
            length: self.value.len().saturating_sub(12),
        }
    }

    /// Whether the crate queues at least one packet in answer.
    const fn is_answered(self) -> bool {
        match self.kind {
            HEARTBEAT | RECONFIG | COOKIE_ECHO | FORWARD_TSN => true,
            DATA..=COOKIE_ACK | SHUTDOWN_COMPLETE => false,
            // Unknown, with the bit that asks for a report.
            kind => kind & 0x40 != 0,
        }
    }

    fn validate(self, alone: bool, last: bool) -> Result<(), SctpRefusal> {
        let length = self.value.len();
        let fits = match self.kind {
            // Data without data is a protocol violation (RFC 9260, section 6.2).
            DATA => length > 12,
            INIT | INIT_ACK => {
                if !alone {
                    return Err(SctpRefusal::Bundle);
                }
                // What the crate would refuse, it must not be thought to have taken.
                self.flags == 0
                    && u32_at(self.value, 0).is_some_and(|tag| tag != 0)
                    && u32_at(self.value, 4).is_some_and(|window| window >= 1500)
                    && u16_at(self.value, 8).is_some_and(|streams| streams > 0)
                    && u16_at(self.value, 10).is_some_and(|streams| streams > 0)
                    && self.value.get(16..).is_some_and(Parameters::fill)
            }
            SACK => is_sack(self.value),
            HEARTBEAT | HEARTBEAT_ACK => {
                let mut parameters = Parameters(self.value);
                parameters
                    .next()
                    .is_some_and(|(kind, _)| kind == HEARTBEAT_INFO)
                    && parameters.0.is_empty()
            }
            ABORT | ERROR => {
                if !last {
                    return Err(SctpRefusal::Bundle);
                }
                Parameters::fill(self.value)
            }
            SHUTDOWN => {
                if !last {
                    return Err(SctpRefusal::Bundle);
                }
                length == 4
            }
            SHUTDOWN_ACK | SHUTDOWN_COMPLETE | COOKIE_ACK => length == 0,
            RECONFIG => is_reconfig(self.value),
            FORWARD_TSN => {
                if !last {
                    return Err(SctpRefusal::Bundle);
                }
                length >= 4 && length.is_multiple_of(4)
            }
            _ => true,
        };
        if fits {
            Ok(())
        } else {
            Err(SctpRefusal::Parameter)
        }
    }
}

fn is_sack(value: &[u8]) -> bool {
    let (Some(gaps), Some(duplicates)) = (u16_at(value, 8), u16_at(value, 10)) else {
        return false;
    };
    let (gaps, duplicates) = (usize::from(gaps), usize::from(duplicates));
    if value.len() != 12 + 4 * (gaps + duplicates) {
        return false;
    }
    // Blocks that overlap make the crate walk the same chunks again and again.
    let mut before = 0;
    (0..gaps).all(|gap| {
        let (start, end) = (u16_at(value, 12 + 4 * gap), u16_at(value, 14 + 4 * gap));
        let ascending = start.is_some_and(|start| start > before) && end >= start;
        before = end.unwrap_or_default();
        ascending
    })
}

fn is_reconfig(value: &[u8]) -> bool {
    let mut parameters = Parameters(value);
    let mut count = 0;
    for (kind, value) in parameters.by_ref() {
        count += 1;
        let fits = match kind {
            OUTGOING_RESET => {
                let streams = value.len().wrapping_sub(12) / 2;
                value.len() >= 12 && value.len() % 2 == 0 && streams <= RESET_STREAMS_MAX
            }
            RECONFIG_RESPONSE => matches!(value.len(), 8 | 16),
            _ => true,
        };
        if !fits {
            return false;
        }
    }
    (1..=2).contains(&count) && parameters.0.is_empty()
}

/// Chunks of a packet, up to the first that does not fit; what is left is in `rest`.
pub(super) struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    pub(super) fn of(packet: &'a [u8]) -> Self {
        Self {
            rest: packet.get(HEADER_LEN..).unwrap_or_default(),
        }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let &[kind, flags, l0, l1] = self.rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let value = self.rest.get(4..length)?;
        // The crate wants the padding to be there, after the last chunk too.
        self.rest = self.rest.get(length.next_multiple_of(4)..)?;
        Some(Chunk { kind, flags, value })
    }
}

/// Parameters or causes of a chunk: type and value; what does not fit is left.
pub(super) struct Parameters<'a>(pub(super) &'a [u8]);

impl<'a> Parameters<'a> {
    /// Whether nothing is left.
    fn fill(value: &'a [u8]) -> bool {
        let mut parameters = Self(value);
        while parameters.next().is_some() {}
        parameters.0.is_empty()
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let &[k0, k1, l0, l1] = self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let value = self.0.get(4..length)?;
        // The last one's padding may be missing: it is the chunk's then.
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_be_bytes([k0, k1]), value))
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u16::from_be_bytes(*bytes))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}

/// CRC-32C (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = (crc ^ u32::from(*byte)).to_le_bytes();
        CRC_TABLE.get(usize::from(low)).copied().unwrap_or_default() ^ crc >> 8
    })
}

static CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};
