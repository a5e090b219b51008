//! Records (RFC 6347 §4.1): what a datagram is made of.

use core::mem;

/// Bytes of a record's header.
pub(super) const HEADER_LEN: usize = 13;
/// DTLS 1.2.
pub(super) const VERSION: [u8; 2] = [0xfe, 0xfd];
/// The last sequence number of an epoch.
pub(super) const SEQUENCE_MAX: u64 = (1 << 48) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
}

impl Content {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
        }
    }

    const fn read(number: u8) -> Option<Self> {
        match number {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) content: Content,
    pub(super) epoch: u16,
    /// Below 2⁴⁸.
    pub(super) sequence: u64,
    pub(super) len: u16,
}

impl Header {
    pub(super) fn write(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        let numbers = self.epoch_and_sequence();
        let [a, b] = VERSION;
        let bytes = [self.content.number(), a, b]
            .into_iter()
            .chain(numbers)
            .chain(self.len.to_be_bytes());
        header
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from);
        header
    }

    /// Epoch and sequence number as they stand in the header, in the additional data, and in the
    /// nonce.
    pub(super) const fn epoch_and_sequence(&self) -> [u8; 8] {
        ((self.epoch as u64) << 48 | self.sequence & SEQUENCE_MAX).to_be_bytes()
    }

    /// `None` for what is no record of DTLS 1.2 here. The first hello may say DTLS 1.0.
    fn read(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let &[content, major, minor, a, b, c, d, e, f, g, h, i, j] = bytes;
        let epoch = u16::from_be_bytes([a, b]);
        let version = [major, minor];
        let version_fits = version == VERSION || epoch == 0 && version == [0xfe, 0xff];
        version_fits.then_some(Self {
            content: Content::read(content)?,
            epoch,
            sequence: u64::from_be_bytes([0, 0, c, d, e, f, g, h]),
            len: u16::from_be_bytes([i, j]),
        })
    }
}

/// Takes the next record that can be read off a datagram: its header and its body.
///
/// A record that is cut off ends the datagram; one of another protocol is skipped.
pub(super) fn next<'d>(datagram: &mut &'d mut [u8]) -> Option<(Header, &'d mut [u8])> {
    loop {
        let (head, rest) = mem::take(datagram).split_first_chunk_mut::<HEADER_LEN>()?;
        let &mut [.., high, low] = head;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (body, rest) = rest.split_at_mut_checked(len)?;
        *datagram = rest;
        if let Some(header) = Header::read(head) {
            return Some((header, body));
        }
    }
}
