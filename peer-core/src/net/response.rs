//! The answer to a request, read where smoltcp has put it.

use smoltcp::socket::tcp;

use crate::wire::http::ResponseHead;

use super::{SocketError, stream};

/// What has come of an answer.
pub(super) enum Answer {
    /// It is not whole yet.
    Waiting,
    /// What was asked for; an upgrade's head has been taken out of the buffer.
    Given,
    Failed(SocketError),
}

/// Looks at the answer to an upgrade with this nonce.
pub(super) fn read_upgrade(socket: &mut tcp::Socket<'_>, nonce: &[u8; 16]) -> Answer {
    read(socket, |bytes, incomplete, _| {
        match ResponseHead::parse(bytes) {
            Ok(Some(head)) if head.is_upgrade(nonce) => (head.len, Answer::Given),
            Ok(Some(head)) if head.status == 101 => (0, Answer::Failed(SocketError::Upgrade)),
            Ok(Some(head)) => (0, Answer::Failed(SocketError::Status(head.status))),
            Ok(None) => (0, incomplete),
            Err(error) => (0, Answer::Failed(SocketError::Response(error))),
        }
    })
}

/// Looks at the answer to a request for an id, which `take` is given.
pub(super) fn read_id(socket: &mut tcp::Socket<'_>, take: impl FnOnce(&str)) -> Answer {
    read(socket, |bytes, incomplete, finished| {
        let (start, body) = match ResponseHead::parse(bytes) {
            Ok(Some(head)) if head.status == 200 => (head.len, head.body),
            Ok(Some(head)) => return (0, Answer::Failed(SocketError::Status(head.status))),
            Ok(None) => return (0, incomplete),
            Err(error) => return (0, Answer::Failed(SocketError::Response(error))),
        };
        debug_assert!(start <= bytes.len(), "the head is among the bytes");
        let answer = match body.read(bytes.get_mut(start..).unwrap_or_default(), finished) {
            Ok(Some(id)) => match core::str::from_utf8(id) {
                Ok(id) => {
                    take(id);
                    Answer::Given
                }
                Err(_) => Answer::Failed(SocketError::Id),
            },
            Ok(None) => incomplete,
            Err(error) => Answer::Failed(SocketError::Response(error)),
        };
        (0, answer)
    })
}

/// Lends `look` all bytes that have come, what an incomplete answer means now, and whether nothing
/// more will come. It says how many bytes to take out.
///
/// A new connection's receive buffer is contiguous until something is taken out of it.
fn read(
    socket: &mut tcp::Socket<'_>,
    look: impl FnOnce(&mut [u8], Answer, bool) -> (usize, Answer),
) -> Answer {
    let (capacity, finished) = (socket.recv_capacity(), stream::is_finished(socket));
    if !socket.can_recv() {
        return if finished {
            Answer::Failed(SocketError::Lost)
        } else {
            Answer::Waiting
        };
    }
    let answer = socket.recv(|bytes| {
        let incomplete = if finished {
            Answer::Failed(SocketError::Lost)
        } else if bytes.len() >= capacity {
            Answer::Failed(SocketError::ResponseTooLarge)
        } else {
            Answer::Waiting
        };
        look(bytes, incomplete, finished)
    });
    answer.unwrap_or(Answer::Failed(SocketError::Lost))
}
