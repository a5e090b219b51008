//! TURN's short form of data through a channel (RFC 8656 §12.4).

use crate::bytes;

/// Data of a TURN peer that has a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelData<'a> {
    /// `0x4000` to `0x4fff`.
    pub channel: u16,
    /// What was sent.
    pub data: &'a [u8],
}

impl<'a> ChannelData<'a> {
    /// Bytes before the data.
    pub const HEADER_LEN: usize = 4;

    /// Reads a datagram. What follows the data is padding. `None` if it is no channel's.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (&[a, b, c, d], rest) = datagram.split_first_chunk()?;
        let channel = u16::from_be_bytes([a, b]);
        let data = rest.get(..usize::from(u16::from_be_bytes([c, d])))?;
        is_channel(channel).then_some(Self { channel, data })
    }

    /// Writes the header for `len` bytes of data to the start of `out`.
    ///
    /// `None` if it does not fit, the number is no channel's, or the data has more than 65,535
    /// bytes. Over UDP no padding is needed.
    pub fn write_header(channel: u16, len: usize, out: &mut [u8]) -> Option<()> {
        let len = u16::try_from(len).ok()?;
        let ([a, b], [c, d]) = (channel.to_be_bytes(), len.to_be_bytes());
        bytes::copy(out, &[a, b, c, d]).filter(|()| is_channel(channel))
    }
}

const fn is_channel(number: u16) -> bool {
    matches!(number, 0x4000..=0x4fff)
}
