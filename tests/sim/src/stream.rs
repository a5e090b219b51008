//! Messages that an application sends piece by piece, as a sensor does that has no room for all of
//! it.

use peer_core::connection::SendError;
use peer_core::peer::ConnectionHandle;

use crate::host::{Conn, HostId};
use crate::sim::Sim;
use crate::trace;

/// Bytes that the application hands over at once.
const PIECE: usize = 512;
/// BinaryPack's `bin 32`, as PeerJS calls an `ArrayBuffer`, and its length.
const HEAD: usize = 5;

/// A message on its way into an outbox. Its bytes are made as they are needed.
#[derive(Debug)]
pub(crate) struct Streaming {
    head: [u8; HEAD],
    seed: u64,
    len: usize,
    written: usize,
    digest: u64,
}

impl Streaming {
    fn new(len: usize, seed: u64) -> Self {
        let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        Self {
            head: [0xdb, a, b, c, d],
            seed,
            len: HEAD + len,
            written: 0,
            digest: trace::digest(&[]),
        }
    }

    fn left(&self) -> usize {
        self.len - self.written
    }

    fn byte(&self, at: usize) -> u8 {
        match self.head.get(at) {
            Some(byte) => *byte,
            None => (self.seed.rotate_left((at % 61) as u32) as u8).wrapping_add(at as u8),
        }
    }

    /// The next bytes.
    fn piece(&self) -> Vec<u8> {
        let end = self.written + self.left().min(PIECE);
        (self.written..end).map(|at| self.byte(at)).collect()
    }
}

impl Sim {
    /// Sends `len` bytes of chance as one BinaryPack message, piece by piece as there is room, in
    /// chunks of `chunk` bytes: so it may be longer than the outbox. The application goes on with
    /// it by itself, until it is whole, the connection ends, or
    /// [`abort_stream`](Self::abort_stream). See
    /// [`DataConnection::stream`](peer_core::peer::DataConnection::stream).
    ///
    /// # Errors
    /// [`SendError`]; [`SendError::Closed`] also for a stale connection.
    pub fn stream(&mut self, conn: Conn, len: usize, chunk: usize) -> Result<(), SendError> {
        let handle = conn.handle;
        if !self.is_current(conn) {
            return Err(SendError::Closed);
        }
        let streaming = Streaming::new(len, self.rng_hosts.next());
        let whole = streaming.len;
        self.call(conn.host, move |peer, _| {
            let mut connection = peer.connection(handle).ok_or(SendError::Closed)?;
            connection.stream(whole, chunk)
        })
        .unwrap_or(Err(SendError::Closed))?;
        self.note(
            conn.host,
            format_args!("{handle:?} streams {whole} bytes by {chunk}"),
        );
        if let Some(record) = self.hosts[conn.host.0].record_mut(handle) {
            record.streaming = Some(streaming);
        }
        self.stream_on(conn.host, handle);
        self.poll_soon(conn.host);
        Ok(())
    }

    /// Gives up the message that is being streamed, if any.
    pub fn abort_stream(&mut self, conn: Conn) {
        if !self.is_streaming(conn) {
            return;
        }
        self.note(conn.host, format_args!("{:?} stops to stream", conn.handle));
        if let Some(record) = self.hosts[conn.host.0].record_mut(conn.handle) {
            record.streaming = None;
        }
        self.with_connection(conn, |connection, _| connection.abort_stream());
    }

    /// Whether a message is being streamed.
    pub fn is_streaming(&self, conn: Conn) -> bool {
        let record = self.hosts[conn.host.0].record(conn.handle);
        self.is_current(conn) && record.is_some_and(|record| record.streaming.is_some())
    }

    /// Hands over as much as there is room for.
    pub(crate) fn stream_on(&mut self, id: HostId, handle: ConnectionHandle) {
        loop {
            let record = self.hosts[id.0].record(handle);
            let Some(streaming) = record.and_then(|record| record.streaming.as_ref()) else {
                return;
            };
            let mut piece = streaming.piece();
            let bytes = piece.clone();
            let written = self.call(id, move |peer, _| {
                let mut connection = peer.connection(handle).ok_or(SendError::Closed)?;
                let written = connection.stream_write(&bytes)?;
                Ok((written, connection.stream_left()))
            });
            let (written, left) = match written.unwrap_or(Err(SendError::Closed)) {
                Ok(written) => written,
                Err(SendError::Full) => {
                    self.record_full(id, handle);
                    return;
                }
                // It is over, or about to be.
                Err(_) => {
                    if let Some(record) = self.hosts[id.0].record_mut(handle) {
                        record.streaming = None;
                    }
                    return;
                }
            };
            piece.truncate(written);
            let record = self.hosts[id.0].record_mut(handle);
            let Some(streaming) = record.and_then(|record| record.streaming.as_mut()) else {
                return;
            };
            streaming.digest = trace::digest_on(streaming.digest, &piece);
            streaming.written += written;
            let (expected, digest) = (streaming.left(), streaming.digest);
            if written == 0 || left != expected {
                self.violated(
                    "stream-whole",
                    format_args!(
                        "{handle:?} took {written} bytes and wants {left} more, not {expected}"
                    ),
                );
            }
            if expected == 0 {
                if let Some(record) = self.hosts[id.0].record_mut(handle) {
                    record.streaming = None;
                }
                self.stats.streamed += 1;
                self.note(id, format_args!("{handle:?} streamed {digest:016x}"));
                self.record_sent(id, handle, digest);
                return;
            }
        }
    }
}
