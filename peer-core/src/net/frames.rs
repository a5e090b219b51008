//! WebSocket frames over smoltcp's buffers: in pieces in, whole out.

use smoltcp::socket::tcp;

use crate::{
    bytes,
    time::{Duration, Instant},
    wire::websocket::{
        CONTROL_MAX, Decoder, FrameError, FrameHeader, Opcode, ServerMessage, apply_mask,
        write_close,
    },
};

use super::{
    SocketError,
    stream::{self, Watch},
};

/// The longest control frame of a client: header, mask, payload.
const CONTROL_FRAME_MAX: usize = 6 + CONTROL_MAX;

/// The frames of one WebSocket after another.
#[derive(Debug)]
pub(super) struct Frames<'m> {
    decoder: Decoder<'m>,
    pong: Pong,
    watch: Watch,
}

/// The payload of the last ping that is not answered yet. An older one need not be (RFC 6455,
/// section 5.5.3).
#[derive(Debug)]
struct Pong {
    payload: [u8; CONTROL_MAX],
    len: Option<usize>,
}

/// What a look at the bytes that came led to.
pub(super) enum Step {
    /// Nothing whole has come.
    Wait,
    /// Something that needs no answer, or a ping, or a piece of a message.
    Passed,
    /// A message: [`Frames::message`].
    Message,
    /// The server closes, with this code if it gave one.
    Close(Option<u16>),
    Failed(SocketError),
}

impl<'m> Frames<'m> {
    /// `memory` is for one message.
    pub(super) fn new(memory: &'m mut [u8]) -> Self {
        Self {
            decoder: Decoder::new(memory),
            pong: Pong {
                payload: [0; CONTROL_MAX],
                len: None,
            },
            watch: Watch::default(),
        }
    }

    /// Forgets the last WebSocket.
    pub(super) fn reset(&mut self) {
        self.decoder.reset();
        self.pong.len = None;
        self.watch = Watch::default();
    }

    /// The last message, until the next [`Step::Message`].
    pub(super) fn message(&mut self) -> &mut [u8] {
        self.decoder.last_message()
    }

    /// Whether nothing was acknowledged for too long. To be asked before anything new is written.
    pub(super) fn is_stalled(
        &mut self,
        now: Instant,
        socket: &tcp::Socket<'_>,
        timeout: Duration,
    ) -> bool {
        self.watch.is_stalled(now, socket, timeout)
    }

    /// When [`is_stalled`](Self::is_stalled) may become true.
    pub(super) fn stall_deadline(&self, timeout: Duration) -> Option<Instant> {
        self.watch.deadline(timeout)
    }

    /// Takes bytes up to the end of a message or control frame.
    pub(super) fn next(&mut self, socket: &mut tcp::Socket<'_>) -> Step {
        if !socket.can_recv() {
            return if stream::is_finished(socket) {
                Step::Failed(SocketError::Lost)
            } else {
                Step::Wait
            };
        }
        let (decoder, pong) = (&mut self.decoder, &mut self.pong);
        let step = socket.recv(|bytes| {
            let mut rest = &*bytes;
            let step = step(decoder.decode(&mut rest), pong);
            (bytes.len().saturating_sub(rest.len()), step)
        });
        step.unwrap_or(Step::Failed(SocketError::Lost))
    }

    /// Answers the last ping once there is room for the answer.
    pub(super) fn answer_ping(
        &mut self,
        now: Instant,
        socket: &mut tcp::Socket<'_>,
        mask: impl FnOnce() -> [u8; 4],
    ) {
        let Some(len) = self.pong.len else {
            return;
        };
        if stream::room(socket) < CONTROL_FRAME_MAX {
            return;
        }
        let payload = self.pong.payload;
        self.pong.len = None;
        debug_assert!(len <= payload.len(), "a ping that was copied whole");
        let payload = payload.get(..len).unwrap_or_default();
        let written = self.write(now, socket, Opcode::Pong, payload, mask());
        debug_assert!(written, "there was room");
    }

    /// Writes one frame, wholly or not at all.
    pub(super) fn write(
        &mut self,
        now: Instant,
        socket: &mut tcp::Socket<'_>,
        opcode: Opcode,
        payload: &[u8],
        mask: [u8; 4],
    ) -> bool {
        let header = FrameHeader::new(opcode, payload.len(), mask);
        let header = header.as_bytes();
        if stream::room(socket) < header.len().saturating_add(payload.len())
            || socket.send_slice(header).is_err()
        {
            return false;
        }
        let mut done = 0;
        // Twice at most: the buffer is a ring.
        while done < payload.len() {
            let rest = payload.get(done..).unwrap_or_default();
            let written = socket.send(|room| {
                let len = room.len().min(rest.len());
                if let (Some(room), Some(piece)) = (room.get_mut(..len), rest.get(..len)) {
                    let copied = bytes::copy(room, piece);
                    debug_assert!(copied.is_some(), "the room is as long");
                    apply_mask(room, mask, done);
                }
                (len, len)
            });
            match written {
                Ok(len) if len > 0 => done += len,
                _ => {
                    debug_assert!(false, "there was room: {written:?}");
                    return false;
                }
            }
        }
        self.watch.wrote(now, socket);
        true
    }
}

/// Bytes of a text that can be written as one frame now. Anything, when the buffer is empty: what
/// does not fit then never does.
pub(super) fn room(socket: &tcp::Socket<'_>) -> usize {
    let free = stream::room(socket);
    if free == socket.send_capacity() {
        return usize::MAX;
    }
    payload_max(free)
}

/// The longest payload of a masked frame of `len` bytes (RFC 6455, section 5.2): the longer ones
/// have longer headers.
fn payload_max(len: usize) -> usize {
    let with = |header: usize, most: usize| len.saturating_sub(header).min(most);
    with(6, 125).max(with(8, 65_535)).max(with(14, usize::MAX))
}

/// Writes a close frame if there is room for one; without, the other side just sees the connection
/// end.
pub(super) fn close(socket: &mut tcp::Socket<'_>, code: u16, mask: [u8; 4]) {
    let mut frame = [0; 8];
    match write_close(code, mask, &mut frame) {
        Ok(frame) if stream::room(socket) >= frame.len() => {
            let sent = socket.send_slice(frame);
            debug_assert_eq!(sent, Ok(frame.len()), "there was room");
        }
        _ => socket.close(),
    }
}

/// What was decoded, without its borrow.
fn step(received: Result<Option<ServerMessage<'_>>, FrameError>, pong: &mut Pong) -> Step {
    match received {
        Ok(Some(ServerMessage::Text(_) | ServerMessage::Binary(_))) => Step::Message,
        Ok(Some(ServerMessage::Ping(payload))) => {
            if bytes::copy(&mut pong.payload, payload).is_some() {
                pong.len = Some(payload.len());
            }
            Step::Passed
        }
        Ok(Some(ServerMessage::Pong(_)) | None) => Step::Passed,
        Ok(Some(ServerMessage::Close { code, .. })) => Step::Close(code),
        Err(error) => Step::Failed(SocketError::Frame(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_payload_fits_and_no_longer_one() {
        let frame = |len: usize| FrameHeader::new(Opcode::Text, len, [0; 4]).as_bytes().len() + len;
        for len in (0..300).chain(65_500..65_600) {
            let most = payload_max(len);
            assert!(frame(most) <= len || most == 0, "{len}: {most}");
            assert!(frame(most + 1) > len, "{len}: {most}");
        }
    }
}
