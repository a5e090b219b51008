//! SCTP packets (RFC 9260, RFC 3758, RFC 6525) before `webrtc-sctp` sees them.
//!
//! Its parsers panic on chunk and parameter lengths that disagree, and one packet can keep it busy for seconds with
//! its lock held. [`validate`] refuses the first kind; [`SctpGuard`] knows the association and refuses the second.
//! The checksum is left to the crate, which verifies it before it parses.

use core::sync::atomic::{AtomicU64, Ordering};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::watch;
use webrtc_util::{Conn, Error};

use super::{DATAGRAM_MAX, lock, other};

/// Chunks of one packet. Browsers' packets of 1,200 bytes hold at most 59 with data.
const CHUNKS_MAX: usize = 128;
/// Chunks of one packet that each make the crate queue an answer.
const ANSWERED_MAX: usize = 4;
/// How far a TSN may be ahead of what we acknowledged: what has to be sorted, and what one packet may skip.
const TSN_WINDOW: u32 = 16_384;
/// Streams the far side may use. PeerJS uses one.
const STREAMS_MAX: usize = 64;
/// Streams of one reset request, and requests for a later TSN than was acknowledged, which the crate keeps.
const RESET_STREAMS_MAX: usize = 64;
const RESETS_AHEAD_MAX: u32 = 32;

const HEADER_LEN: usize = 12;
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_ACK: u8 = 5;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;
const RECONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;

const OUTGOING_RESET: u16 = 13;
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
    /// A TSN too far ahead.
    #[error("the far side skips further ahead than its window")]
    Window,
    /// Too many streams, or resets of them.
    #[error("the far side uses more streams than a data connection has")]
    Streams,
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

/// A packet that ends the association as browsers do: ABORT, cause 12 (user initiated), `Close called`.
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

/// A `Conn` between `dtls` and `webrtc-sctp`: passes valid packets, drops and counts others.
///
/// It watches both directions, so it knows the tags and how far the far side's data was acknowledged.
pub(crate) struct SctpGuard {
    inner: Arc<dyn Conn + Send + Sync>,
    association: Mutex<Association>,
    refused: AtomicU64,
    aborted: watch::Sender<bool>,
}

impl SctpGuard {
    /// Guards `inner`, a DTLS connection.
    pub(crate) fn new(inner: Arc<dyn Conn + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            association: Mutex::default(),
            refused: AtomicU64::new(0),
            aborted: watch::Sender::new(false),
        })
    }

    /// Packets of the far side that were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Waits until the far side aborted the association: its `close()`. The crate may miss it.
    pub(crate) async fn aborted(&self) {
        let _ = self.aborted.subscribe().wait_for(|aborted| *aborted).await;
    }

    /// Ends the association as browsers do, so that the far side notices at once. Nothing is sent afterwards,
    /// and nothing at all before the far side's tag is known.
    ///
    /// # Errors
    /// Those of the transport.
    pub(crate) async fn abort(&self) -> Result<(), Error> {
        let header = {
            let mut association = lock(&self.association);
            association.ended = true;
            association.outgoing.take()
        };
        if let Some(header) = header {
            self.inner.send(&abort(header)).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Conn for SctpGuard {
    async fn connect(&self, addr: SocketAddr) -> Result<(), Error> {
        self.inner.connect(addr).await
    }

    async fn recv(&self, buf: &mut [u8]) -> Result<usize, Error> {
        loop {
            let length = self.inner.recv(buf).await?;
            let packet = buf.get(..length).unwrap_or_default();
            let screened = validate(packet).and_then(|()| lock(&self.association).received(packet));
            match screened {
                Ok(aborted) => {
                    if aborted {
                        self.aborted.send_replace(true);
                    }
                    return Ok(length);
                }
                Err(refusal) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(%refusal, "dropped a packet");
                }
            }
        }
    }

    async fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        let length = self.recv(buf).await?;
        let remote = self
            .inner
            .remote_addr()
            .ok_or_else(|| other("the transport has no remote"))?;
        Ok((length, remote))
    }

    async fn send(&self, buf: &[u8]) -> Result<usize, Error> {
        if !lock(&self.association).sending(buf) {
            return Ok(buf.len());
        }
        self.inner.send(buf).await
    }

    async fn send_to(&self, buf: &[u8], _target: SocketAddr) -> Result<usize, Error> {
        self.send(buf).await
    }

    fn local_addr(&self) -> Result<SocketAddr, Error> {
        self.inner.local_addr()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.inner.remote_addr()
    }

    async fn close(&self) -> Result<(), Error> {
        self.inner.close().await
    }

    fn as_any(&self) -> &(dyn core::any::Any + Send + Sync) {
        self
    }
}

/// What is known of the association from the packets that went by.
#[derive(Default)]
struct Association {
    /// Header of our packets, once the far side's tag is in it.
    outgoing: Option<Header>,
    established: bool,
    ended: bool,
    /// Up to here the far side's data was taken: by its INIT at first, then by our SACKs.
    cumulative: Option<u32>,
    streams: Vec<u16>,
    resets_ahead: u32,
}

impl Association {
    /// Takes a valid packet of the far side; says whether it aborts.
    fn received(&mut self, packet: &[u8]) -> Result<bool, SctpRefusal> {
        let mut aborted = false;
        for chunk in Chunks::of(packet) {
            match chunk.kind {
                INIT | INIT_ACK if !self.established => {
                    self.cumulative = u32_at(chunk.value, 12).map(|tsn| tsn.wrapping_sub(1));
                }
                DATA => {
                    self.check_tsn(u32_at(chunk.value, 0))?;
                    self.check_stream(u16_at(chunk.value, 4).unwrap_or_default())?;
                }
                FORWARD_TSN => self.check_tsn(u32_at(chunk.value, 0))?,
                RECONFIG => self.check_resets(chunk.value)?,
                COOKIE_ACK => self.established = true,
                ABORT => aborted = true,
                _ => {}
            }
        }
        Ok(aborted)
    }

    fn check_tsn(&self, tsn: Option<u32>) -> Result<(), SctpRefusal> {
        // Without an INIT there is no association the crate would file data in.
        let (Some(tsn), Some(cumulative)) = (tsn, self.cumulative) else {
            return Err(SctpRefusal::Window);
        };
        let ahead = tsn.wrapping_sub(cumulative);
        // The upper half of the circle is behind: repeated data, which is acknowledged again.
        if ahead > TSN_WINDOW && ahead <= u32::MAX / 2 + 1 {
            return Err(SctpRefusal::Window);
        }
        Ok(())
    }

    fn check_stream(&mut self, stream: u16) -> Result<(), SctpRefusal> {
        if !self.streams.contains(&stream) {
            if self.streams.len() >= STREAMS_MAX {
                return Err(SctpRefusal::Streams);
            }
            self.streams.push(stream);
        }
        Ok(())
    }

    fn check_resets(&mut self, value: &[u8]) -> Result<(), SctpRefusal> {
        let mut parameters = Parameters(value);
        while let Some((kind, value)) = parameters.next() {
            if kind != OUTGOING_RESET {
                continue;
            }
            let ahead = match (u32_at(value, 8), self.cumulative) {
                (Some(last), Some(cumulative)) => last.wrapping_sub(cumulative),
                _ => return Err(SctpRefusal::Window),
            };
            if (1..=u32::MAX / 2 + 1).contains(&ahead) {
                if self.resets_ahead >= RESETS_AHEAD_MAX || ahead > TSN_WINDOW {
                    return Err(SctpRefusal::Streams);
                }
                self.resets_ahead += 1;
            }
        }
        Ok(())
    }

    /// Notes a packet of ours; `false` if it is not to be sent any more.
    fn sending(&mut self, packet: &[u8]) -> bool {
        if self.ended {
            return false;
        }
        self.outgoing = Header::parse(packet)
            .filter(|header| header.verification_tag != 0)
            .or(self.outgoing);
        for chunk in Chunks::of(packet) {
            match chunk.kind {
                SACK => {
                    self.established = true;
                    self.cumulative = u32_at(chunk.value, 0);
                }
                COOKIE_ACK => self.established = true,
                _ => {}
            }
        }
        true
    }
}

#[derive(Clone, Copy)]
struct Chunk<'a> {
    kind: u8,
    flags: u8,
    value: &'a [u8],
}

impl Chunk<'_> {
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
                let parameters = self.value.get(16..).ok_or(SctpRefusal::Parameter)?;
                self.flags == 0 && Parameters::fill(parameters)
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
                length >= 4 && length % 4 == 0
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
    while let Some((kind, value)) = parameters.next() {
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
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    fn of(packet: &'a [u8]) -> Self {
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
struct Parameters<'a>(&'a [u8]);

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

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u16::from_be_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}

/// CRC-32C (RFC 9260, appendix A), bit by bit: only our own few ABORTs need it.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}
