use crate::bytes;

use super::{CONTROL_MAX, FrameError, Opcode};

/// A complete message or control frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// A text message, mutable so that JSON can be read in place. The decoder does not check that
    /// it is UTF-8; the JSON reader does.
    Text(&'a mut [u8]),
    /// A binary message.
    Binary(&'a mut [u8]),
    /// A ping. Answer it with a pong of the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The server closes the connection. Answer with a close frame, then close the connection.
    /// Nothing is decoded after it.
    Close {
        /// The close code, if there is one.
        code: Option<u16>,
        /// The reason, empty if there is none.
        reason: &'a str,
    },
}

/// Decodes the server's bytes. A message longer than the memory is [`FrameError::TooLarge`] as soon
/// as the header of the frame has come that exceeds it. Control frames have memory of their own.
///
/// ```
/// use peer_core::wire::websocket::{Decoder, ServerMessage};
/// let mut memory = [0; 64];
/// let mut decoder = Decoder::new(&mut memory);
/// // Two pieces of a message with a ping between them.
/// let mut bytes = &b"\x01\x03Hel\x89\x00\x80\x02lo"[..];
/// assert_eq!(decoder.decode(&mut bytes)?, Some(ServerMessage::Ping(b"")));
/// assert_eq!(decoder.decode(&mut bytes)?, Some(ServerMessage::Text(&mut *b"Hello".to_vec())));
/// assert_eq!(decoder.decode(&mut bytes)?, None);
/// # Ok::<(), peer_core::wire::websocket::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Decoder<'m> {
    memory: &'m mut [u8],
    /// Bytes of the message in `memory`.
    filled: usize,
    /// The kind of the message that is being put together.
    message: Option<Opcode>,
    control: [u8; CONTROL_MAX],
    control_filled: usize,
    header: [u8; 10],
    header_filled: usize,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Payload(Frame),
    /// A close frame came.
    Closed,
    Failed(FrameError),
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    last: bool,
    opcode: Opcode,
    /// Payload bytes still to come.
    left: usize,
}

impl<'m> Decoder<'m> {
    /// Makes a decoder for messages of up to `memory.len()` bytes.
    pub const fn new(memory: &'m mut [u8]) -> Self {
        Self {
            memory,
            filled: 0,
            message: None,
            control: [0; CONTROL_MAX],
            control_filled: 0,
            header: [0; 10],
            header_filled: 0,
            state: State::Header,
        }
    }

    /// Forgets everything, for the next connection with the same memory.
    pub fn reset(&mut self) {
        self.filled = 0;
        self.message = None;
        self.control_filled = 0;
        self.header_filled = 0;
        self.state = State::Header;
    }

    /// Returns the last text or binary message again, for a receiver that could not take it yet.
    /// Valid until the next [`decode`](Self::decode). Changes that the receiver made to it remain.
    pub fn last_message(&mut self) -> &mut [u8] {
        bytes::front_mut(self.memory, self.filled)
    }

    /// Takes bytes from the front of `bytes` up to the end of a message or control frame. Call it
    /// again with the rest until it returns `None`: then all bytes are taken.
    ///
    /// # Errors
    /// [`FrameError`]. Every later call returns the same error, until [`reset`](Self::reset).
    pub fn decode(&mut self, bytes: &mut &[u8]) -> Result<Option<ServerMessage<'_>>, FrameError> {
        let whole = loop {
            match self.state {
                State::Failed(error) => return Err(error),
                State::Closed => {
                    *bytes = &[];
                    return Ok(None);
                }
                State::Header => {
                    let Some((&byte, rest)) = bytes.split_first() else {
                        return Ok(None);
                    };
                    *bytes = rest;
                    let frame = match self.header(byte) {
                        Ok(Some(frame)) => frame,
                        Ok(None) => continue,
                        Err(error) => return Err(self.fail(error)),
                    };
                    self.state = State::Payload(frame);
                }
                State::Payload(mut frame) => {
                    let (taken, rest) = bytes.split_at_checked(frame.left).unwrap_or((*bytes, &[]));
                    *bytes = rest;
                    let stored = self.store(frame.opcode, taken);
                    debug_assert!(stored.is_some(), "`admit` saw to the room");
                    if stored.is_none() {
                        return Err(self.fail(FrameError::TooLarge));
                    }
                    frame.left -= taken.len();
                    if frame.left > 0 {
                        self.state = State::Payload(frame);
                        return Ok(None);
                    }
                    self.state = State::Header;
                    if frame.last {
                        break frame.opcode;
                    }
                }
            }
        };
        self.finish(whole).map(Some)
    }

    /// Takes one byte of a header. Returns the frame once its header is complete.
    fn header(&mut self, byte: u8) -> Result<Option<Frame>, FrameError> {
        let stored = bytes::append(&mut self.header, &mut self.header_filled, &[byte]);
        debug_assert!(stored.is_some(), "the longest header has room");
        let [first, second, length @ ..] = self.header;
        let need = match second & 0x7f {
            _ if self.header_filled < 2 => return Ok(None),
            126 => 4,
            127 => 10,
            _ => 2,
        };
        if self.header_filled < need {
            return Ok(None);
        }
        self.header_filled = 0;
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved);
        }
        if second & 0x80 != 0 {
            return Err(FrameError::Masked);
        }
        let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
        let opcode = Opcode::from_bits(opcode).ok_or(FrameError::Opcode)?;
        let len = match need {
            2 => u64::from(second),
            4 => Some(u64::from(u16::from_be_bytes([length[0], length[1]])))
                .filter(|&len| len > 125)
                .ok_or(FrameError::Length)?,
            _ => Some(u64::from_be_bytes(length))
                .filter(|&len| len > 0xffff && len >> 63 == 0)
                .ok_or(FrameError::Length)?,
        };
        let left = usize::try_from(len).unwrap_or(usize::MAX);
        self.admit(last, opcode, left)?;
        Ok(Some(Frame { last, opcode, left }))
    }

    /// Checks that a frame of this kind and length may come now.
    fn admit(&mut self, last: bool, opcode: Opcode, len: usize) -> Result<(), FrameError> {
        if opcode.is_control() {
            self.control_filled = 0;
            return if last && len <= CONTROL_MAX {
                Ok(())
            } else {
                Err(FrameError::Control)
            };
        }
        match (opcode, self.message) {
            (Opcode::Continuation, Some(_)) => {}
            (Opcode::Continuation, None) | (_, Some(_)) => return Err(FrameError::Fragmentation),
            (_, None) => {
                self.message = Some(opcode);
                self.filled = 0;
            }
        }
        if len > self.memory.len() - self.filled {
            return Err(FrameError::TooLarge);
        }
        Ok(())
    }

    /// Puts a piece of payload in its place.
    fn store(&mut self, opcode: Opcode, piece: &[u8]) -> Option<()> {
        let (memory, filled) = if opcode.is_control() {
            (&mut self.control[..], &mut self.control_filled)
        } else {
            (&mut *self.memory, &mut self.filled)
        };
        bytes::append(memory, filled, piece)
    }

    /// Returns what is complete with a frame of this kind.
    fn finish(&mut self, opcode: Opcode) -> Result<ServerMessage<'_>, FrameError> {
        match opcode {
            Opcode::Ping => Ok(ServerMessage::Ping(self.control_payload())),
            Opcode::Pong => Ok(ServerMessage::Pong(self.control_payload())),
            Opcode::Close => {
                self.state = State::Closed;
                if parse_close(self.control_payload()).is_none() {
                    return Err(self.fail(FrameError::Close));
                }
                parse_close(self.control_payload())
                    .map(|(code, reason)| ServerMessage::Close { code, reason })
                    .ok_or(FrameError::Close)
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                let text = self.message.take() == Some(Opcode::Text);
                let payload = bytes::front_mut(self.memory, self.filled);
                Ok(if text {
                    ServerMessage::Text(payload)
                } else {
                    ServerMessage::Binary(payload)
                })
            }
        }
    }

    fn control_payload(&self) -> &[u8] {
        bytes::front(&self.control, self.control_filled)
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.state = State::Failed(error);
        error
    }
}

/// Reads code and reason from a close frame's payload (RFC 6455, sections 5.5.1 and 7.4).
fn parse_close(payload: &[u8]) -> Option<(Option<u16>, &str)> {
    if payload.is_empty() {
        return Some((None, ""));
    }
    let (code, reason) = payload.split_first_chunk()?;
    let code = u16::from_be_bytes(*code);
    let reason = core::str::from_utf8(reason).ok()?;
    // 1004 to 1006 and 1015 are never sent; below 3000 the others await a registration.
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999).then_some((Some(code), reason))
}
