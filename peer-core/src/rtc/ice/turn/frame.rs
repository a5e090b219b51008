//! Data to and from peers, and messages in a stream (RFC 8656 §12.5 and RFC 8489 §6.2.2).

use core::fmt;
use core::net::SocketAddr;
use core::ops::Range;

use crate::bytes;
use crate::rtc::stun::{Attribute, ChannelData, Class, HEADER_LEN, Method, TransactionId, Writer};

/// The type and length of a DATA attribute.
const DATA: [u8; 2] = [0x00, 0x13];

/// Returns how many bytes of a stream the first message takes, its padding included; `None` if too
/// few came to tell.
///
/// # Errors
/// [`NotTurn`]: end the stream.
pub fn message_len(stream: &[u8]) -> Result<Option<usize>, NotTurn> {
    let Some(&[a, _, c, d]) = stream.first_chunk() else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([c, d]));
    match a {
        0..=0x3f if len % 4 == 0 => Ok(Some(HEADER_LEN + len)),
        0x40..=0x4f => Ok(Some(ChannelData::HEADER_LEN + len.next_multiple_of(4))),
        _ => Err(NotTurn),
    }
}

/// The stream is not TURN's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NotTurn;

impl fmt::Display for NotTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what came from the TURN server is neither STUN nor channel data")
    }
}

impl core::error::Error for NotTurn {}

/// Makes channel data of the bytes there, and returns where it lies.
pub(super) fn channel_data(
    number: u16,
    padded: bool,
    buffer: &mut [u8],
    data: Range<usize>,
) -> Option<Range<usize>> {
    let len = data.end.checked_sub(data.start)?;
    let start = data.start.checked_sub(ChannelData::HEADER_LEN)?;
    ChannelData::write_header(number, len, buffer.get_mut(start..data.start)?)?;
    let pad = match padded {
        true => len.next_multiple_of(4) - len,
        false => 0,
    };
    zeros(buffer, data.end, pad)?;
    Some(start..data.end + pad)
}

/// Makes a Send indication of the bytes there, and returns where it lies.
pub(super) fn send_indication(
    id: TransactionId,
    peer: SocketAddr,
    buffer: &mut [u8],
    data: Range<usize>,
) -> Option<Range<usize>> {
    let len = data.end.checked_sub(data.start)?;
    let pad = len.next_multiple_of(4) - len;
    let mut head = [0; super::HEADROOM];
    let written = Writer::new(&mut head, Class::Indication, Method::SEND, id)
        .put(Attribute::XorPeerAddress(peer))
        .finish();
    let mut head_len = written.ok()?.len();
    let whole = u16::try_from(head_len - HEADER_LEN + 4 + len + pad).ok()?;
    bytes::copy(head.get_mut(2..)?, &whole.to_be_bytes())?;
    bytes::append(&mut head, &mut head_len, &DATA)?;
    bytes::append(
        &mut head,
        &mut head_len,
        &u16::try_from(len).ok()?.to_be_bytes(),
    )?;
    let start = data.start.checked_sub(head_len)?;
    bytes::copy(buffer.get_mut(start..)?, bytes::front(&head, head_len))?;
    zeros(buffer, data.end, pad)?;
    Some(start..data.end + pad)
}

fn zeros(buffer: &mut [u8], at: usize, count: usize) -> Option<()> {
    bytes::copy(buffer.get_mut(at..)?, [0; super::TAILROOM].get(..count)?)
}
