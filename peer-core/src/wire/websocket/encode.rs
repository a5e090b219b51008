use crate::bytes;

use super::{BufferTooSmall, CONTROL_MAX, Opcode};

/// The header of a client's frame. The frame is never fragmented and always masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl FrameHeader {
    /// The longest header, in bytes.
    pub const MAX: usize = 14;

    /// Makes the header of a frame with `len` bytes of payload. Mask the payload with
    /// [`apply_mask`] and the same mask. The mask must be unpredictable and new for each frame (RFC
    /// 6455, section 5.3).
    ///
    /// ```
    /// use peer_core::wire::websocket::{FrameHeader, Opcode};
    /// let header = FrameHeader::new(Opcode::Text, 5, [1, 2, 3, 4]);
    /// assert_eq!(header.as_bytes(), [0x81, 0x85, 1, 2, 3, 4]);
    /// ```
    #[must_use]
    pub fn new(opcode: Opcode, len: usize, mask: [u8; 4]) -> Self {
        let mut header = Self {
            bytes: [0; Self::MAX],
            len: 0,
        };
        header.push(&[0x80 | opcode.bits()]);
        match (u16::try_from(len), len as u64) {
            (Ok(len @ 0..126), _) => header.push(&[0x80 | len.to_be_bytes()[1]]),
            (Ok(len), _) => {
                header.push(&[0x80 | 126]);
                header.push(&len.to_be_bytes());
            }
            (Err(_), len) => {
                header.push(&[0x80 | 127]);
                header.push(&len.to_be_bytes());
            }
        }
        header.push(&mask);
        header
    }

    /// Returns the bytes to send before the payload.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        bytes::front(&self.bytes, self.len)
    }

    fn push(&mut self, bytes: &[u8]) {
        let pushed = bytes::append(&mut self.bytes, &mut self.len, bytes);
        debug_assert!(pushed.is_some(), "the longest header has room");
    }
}

/// Masks a payload in place, or a part of it that starts at its byte `offset`. Masking twice
/// restores the payload.
///
/// ```
/// use peer_core::wire::websocket::apply_mask;
/// let mut payload = *b"Hello";
/// apply_mask(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
/// assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]); // RFC 6455, section 5.7
/// ```
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4], offset: usize) {
    let turned = u32::from_le_bytes(mask).rotate_right(8 * (offset % 4) as u32);
    let mask = turned.to_le_bytes();
    for piece in payload.chunks_mut(4) {
        for (byte, mask) in piece.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
}

/// Writes a client's frame and returns it. The payload of a control frame is cut at [`CONTROL_MAX`]
/// bytes.
///
/// ```
/// use peer_core::wire::websocket::{Opcode, write_frame};
/// let mut buffer = [0; 32];
/// let frame = write_frame(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut buffer)?;
/// assert_eq!(frame, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
/// # Ok::<(), peer_core::wire::websocket::BufferTooSmall>(())
/// ```
///
/// # Errors
/// [`BufferTooSmall`].
pub fn write_frame<'b>(
    opcode: Opcode,
    payload: &[u8],
    mask: [u8; 4],
    buffer: &'b mut [u8],
) -> Result<&'b [u8], BufferTooSmall> {
    let payload = match payload.get(..CONTROL_MAX) {
        Some(cut) if opcode.is_control() => cut,
        _ => payload,
    };
    let header = FrameHeader::new(opcode, payload.len(), mask);
    let header = header.as_bytes();
    let len = bytes::concat(buffer, &[header, payload]).ok_or(BufferTooSmall)?;
    let frame = bytes::front_mut(buffer, len);
    apply_mask(
        frame.get_mut(header.len()..).ok_or(BufferTooSmall)?,
        mask,
        0,
    );
    Ok(frame)
}

/// Writes a close frame with a code and without a reason. Code 1000 is a normal closure (RFC 6455,
/// section 7.4.1).
///
/// # Errors
/// [`BufferTooSmall`].
pub fn write_close(code: u16, mask: [u8; 4], buffer: &mut [u8]) -> Result<&[u8], BufferTooSmall> {
    write_frame(Opcode::Close, &code.to_be_bytes(), mask, buffer)
}
