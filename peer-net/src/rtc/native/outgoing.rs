//! Datagrams on their way to a socket: those that follow each other to the same address go in one
//! system call.

use core::cell::RefCell;
use core::net::SocketAddr;
use std::io;
use std::sync::Arc;

use peer_core::rtc::ice::Transmit;
use peer_core::rtc::session::DATAGRAM_MAX;

use super::socket::{SEND_MAX, Socket};

thread_local! {
    /// Where datagrams are made. Of a thread, so that an idle session costs nothing.
    static MADE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `make` with room for datagrams: [`SEND_MAX`] bytes and one datagram more.
pub(super) fn with_room<T>(make: impl FnOnce(&mut [u8]) -> T) -> T {
    MADE.with_borrow_mut(|buffer| {
        buffer.resize(SEND_MAX + DATAGRAM_MAX, 0);
        make(buffer)
    })
}

/// Datagrams to one address, each as long as the first but for the last. They lie at the start of
/// the room.
#[derive(Debug)]
pub(super) struct Batch {
    socket: Arc<Socket>,
    to: SocketAddr,
    stride: usize,
    count: usize,
    len: usize,
}

/// What a socket did not take.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) socket: Arc<Socket>,
    to: SocketAddr,
    stride: usize,
    bytes: Vec<u8>,
}

impl Batch {
    pub(super) fn new(socket: &Arc<Socket>, first: &Transmit) -> Self {
        Self {
            socket: Arc::clone(socket),
            to: first.destination,
            stride: first.len,
            count: 1,
            len: first.len,
        }
    }

    /// Bytes of it.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds the datagram that lies behind it, if it can go along.
    pub(super) fn add(&mut self, next: &Transmit) -> bool {
        let is_alike = next.socket == self.socket.id
            && next.destination == self.to
            && next.len <= self.stride
            // After a shorter one none can come.
            && self.len == self.stride * self.count;
        let has_room = self.count < self.socket.segments_max() && self.len + next.len <= SEND_MAX;
        if is_alike && has_room {
            self.count += 1;
            self.len += next.len;
        }
        is_alike && has_room
    }

    /// Keeps it for later.
    pub(super) fn keep(self, room: &[u8]) -> Unsent {
        Unsent {
            bytes: room.get(..self.len).unwrap_or_default().to_vec(),
            socket: self.socket,
            to: self.to,
            stride: self.stride,
        }
    }

    /// Sends it; what the socket does not take now is returned. What fails otherwise is lost, as it
    /// could be on its way.
    pub(super) fn send(self, room: &[u8]) -> Option<Unsent> {
        let bytes = room.get(..self.len).unwrap_or_default();
        Unsent {
            bytes: Vec::new(),
            socket: self.socket,
            to: self.to,
            stride: self.stride,
        }
        .send(Some(bytes))
    }
}

impl Unsent {
    /// Tries again.
    pub(super) fn again(self) -> Option<Self> {
        self.send(None)
    }

    fn send(mut self, bytes: Option<&[u8]>) -> Option<Self> {
        let sent = bytes.unwrap_or(&self.bytes);
        match self.socket.send(self.to, sent, self.stride) {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Some(bytes) = bytes {
                    self.bytes = bytes.to_vec();
                }
                Some(self)
            }
            Err(error) => {
                tracing::trace!(%error, to = %self.to, "datagrams were not sent");
                None
            }
        }
    }
}
