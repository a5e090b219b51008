//! Packets as they are written.

use super::super::serial::Tsn;
use super::{DATA_HEADER_LEN, Data, HEADER_LEN, Header, kind, padded};
use crate::bytes;

/// Appends chunks to a packet. What does not fit is `None`, and nothing of it is written.
#[derive(Debug)]
pub(crate) struct PacketWriter<'b> {
    /// As long as the packet may become.
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> PacketWriter<'b> {
    pub(crate) fn new(buffer: &'b mut [u8], header: Header) -> Option<Self> {
        let mut len = 0;
        bytes::append(buffer, &mut len, &header.source_port.to_be_bytes())?;
        bytes::append(buffer, &mut len, &header.destination_port.to_be_bytes())?;
        bytes::append(buffer, &mut len, &header.tag.to_be_bytes())?;
        bytes::append(buffer, &mut len, &[0; 4])?;
        Some(Self { buffer, len })
    }

    /// Whether there is no chunk yet.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == HEADER_LEN
    }

    /// Whether the packet may become so long.
    pub(crate) const fn takes(&self, length: usize) -> bool {
        self.buffer.len() >= length
    }

    /// The packet may become so long at most.
    pub(crate) fn limit(&mut self, length: usize) {
        let buffer = core::mem::take(&mut self.buffer);
        let length = length.clamp(self.len.min(buffer.len()), buffer.len());
        self.buffer = buffer.get_mut(..length).unwrap_or_default();
    }

    /// Bytes that are left for further chunks.
    pub(crate) const fn room(&self) -> usize {
        self.buffer.len() - self.len
    }

    /// Appends a chunk whose value is the concatenation of `parts`.
    pub(crate) fn chunk(&mut self, kind: u8, flags: u8, parts: &[&[u8]]) -> Option<()> {
        let value: usize = parts.iter().map(|part| part.len()).sum();
        let len = value + 4;
        let [l0, l1] = u16::try_from(len).ok()?.to_be_bytes();
        let room = self.buffer.get_mut(self.len..)?.get_mut(..padded(len))?;
        let mut at = 0;
        bytes::append(room, &mut at, &[kind, flags, l0, l1])?;
        for part in parts {
            bytes::append(room, &mut at, part)?;
        }
        room.get_mut(at..)?.fill(0);
        self.len += padded(len);
        Some(())
    }

    /// Fills the packet up to a length with a chunk that means nothing (RFC 4820).
    pub(crate) fn pad(&mut self, length: usize) -> Option<()> {
        let room = self.buffer.get_mut(self.len..length)?;
        let [l0, l1] = u16::try_from(room.len()).ok()?.to_be_bytes();
        let (head, rest) = room.split_first_chunk_mut()?;
        *head = [kind::PAD, 0, l0, l1];
        rest.fill(0);
        self.len = length;
        Some(())
    }

    /// Appends DATA. The payload is given in two pieces; the one in `data` is not looked at.
    pub(crate) fn data(&mut self, data: &Data<'_>, payload: (&[u8], &[u8])) -> Option<()> {
        let [t0, t1, t2, t3] = data.tsn.0.to_be_bytes();
        let [i0, i1] = data.stream.to_be_bytes();
        let [n0, n1] = data.ssn.to_be_bytes();
        let [p0, p1, p2, p3] = data.ppid.to_be_bytes();
        let head: [u8; DATA_HEADER_LEN - 4] = [t0, t1, t2, t3, i0, i1, n0, n1, p0, p1, p2, p3];
        self.chunk(kind::DATA, data.flags, &[&head, payload.0, payload.1])
    }

    /// Appends a SACK with as many of the gap blocks and duplicates as fit.
    pub(crate) fn sack(
        &mut self,
        cumulative: Tsn,
        window: u32,
        gaps: impl Iterator<Item = (u16, u16)>,
        duplicates: &[Tsn],
    ) -> Option<()> {
        const HEAD: usize = 16;
        let room = self.buffer.get_mut(self.len..)?;
        // A chunk's length has 16 bits.
        let limit = room.len().min(usize::from(u16::MAX) & !3);
        let room = room.get_mut(..limit)?;
        let mut len = HEAD;
        let (mut gap_count, mut duplicate_count) = (0_u16, 0_u16);
        if room.len() < HEAD {
            return None;
        }
        for (first, last) in gaps {
            let [f0, f1] = first.to_be_bytes();
            let [l0, l1] = last.to_be_bytes();
            if bytes::append(room, &mut len, &[f0, f1, l0, l1]).is_none() {
                break;
            }
            gap_count += 1;
        }
        for tsn in duplicates {
            if bytes::append(room, &mut len, &tsn.0.to_be_bytes()).is_none() {
                break;
            }
            duplicate_count += 1;
        }
        let [l0, l1] = u16::try_from(len).ok()?.to_be_bytes();
        let mut at = 0;
        bytes::append(room, &mut at, &[kind::SACK, 0, l0, l1])?;
        bytes::append(room, &mut at, &cumulative.0.to_be_bytes())?;
        bytes::append(room, &mut at, &window.to_be_bytes())?;
        bytes::append(room, &mut at, &gap_count.to_be_bytes())?;
        bytes::append(room, &mut at, &duplicate_count.to_be_bytes())?;
        self.len += len;
        Some(())
    }

    /// Writes the checksum and returns the length of the packet.
    pub(crate) fn finish(self, checksum: fn(&[&[u8]]) -> u32) -> Option<usize> {
        let packet = self.buffer.get_mut(..self.len)?;
        let crc = checksum(&[packet]);
        bytes::copy(packet.get_mut(HEADER_LEN - 4..)?, &crc.to_le_bytes())?;
        Some(self.len)
    }
}
