//! A raw connection that keeps its order, as a stream of bytes.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::DataConnection;
use super::halves::{Inbox, Outbox, Task};
use super::queue::{Ended, Reader, Writer};
use super::receiving::Arrived;
use crate::codec::{self, Outgoing, Payload};
use crate::error::{CloseReason, SendError};

/// Bytes that one message carries at most. Every WebRTC stack takes so many.
const PIECE_MAX: usize = 16 << 10;

/// A [`DataConnection`] as a stream of bytes: tokio's `AsyncRead` and `AsyncWrite`, for example for
/// [`copy_bidirectional`](tokio::io::copy_bidirectional).
///
/// What is written leaves by itself in messages of at most 16 KiB; where one ends has no meaning.
/// Messages are read one after the other, texts as their UTF-8. `shutdown` delivers everything and
/// closes the connection, for both directions: a data channel has no end of one direction only.
/// Reading ends without an error when either side closed the connection, else with the reason.
pub struct ByteStream {
    connection: DataConnection,
    reader: Reader<Inbox, Arrived>,
    writer: Writer<Outbox, Outgoing>,
    /// The rest of a message.
    rest: Bytes,
    opening: Option<Task<()>>,
    closing: Option<Task<CloseReason>>,
}

impl ByteStream {
    pub(super) fn new(connection: DataConnection) -> Self {
        Self {
            reader: Reader::new(Inbox(connection.tether.clone())),
            writer: Writer::new(Outbox(connection.tether.clone())),
            rest: Bytes::new(),
            opening: None,
            closing: None,
            connection,
        }
    }

    /// The connection, which stays one of messages for its other handles.
    pub fn connection(&self) -> &DataConnection {
        &self.connection
    }

    fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<CloseReason> {
        let tether = &self.connection.tether;
        let closing = self.closing.get_or_insert_with(|| {
            let tether = tether.clone();
            Box::pin(async move { tether.plane.closed().await })
        });
        let reason = ready!(closing.as_mut().poll(context));
        self.closing = None;
        Poll::Ready(reason)
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            self.rest = match ready!(self.reader.poll_pop(context)).map(|arrived| arrived.payload) {
                Some(Payload::Binary(bytes)) => bytes,
                Some(Payload::Text(text)) => text.into(),
                None => {
                    let reason = ready!(self.poll_closed(context));
                    return Poll::Ready(match reason {
                        CloseReason::Local | CloseReason::Remote => Ok(()),
                        reason => Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason)),
                    });
                }
            };
        }
        let len = self.rest.len().min(buffer.remaining());
        buffer.put_slice(self.rest.get(..len).unwrap_or_default());
        self.rest.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let plane = self.connection.tether.plane.clone();
        let broken =
            |error: SendError| Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, error)));
        if plane.channel.get().is_none() && !plane.is_ending() {
            let tether = self.connection.tether.clone();
            let opening = self
                .opening
                .get_or_insert_with(|| Box::pin(async move { tether.plane.settled().await }));
            ready!(opening.as_mut().poll(context));
            self.opening = None;
        }
        if let Err(Ended) = ready!(self.writer.poll_ready(context)) {
            return broken(plane.closed_error());
        }
        let most = plane.channel.get().map_or(PIECE_MAX, |channel| {
            channel.max_message_size().clamp(1, PIECE_MAX)
        });
        let piece = buffer.get(..most).unwrap_or(buffer);
        let encoded = plane.message(|serialization, _| {
            codec::encode_bytes(serialization, Bytes::copy_from_slice(piece))
        });
        let pushed = encoded.and_then(|(message, len)| {
            let pushed = plane.outbox.push_now(message, len);
            pushed.map_err(|Ended| plane.closed_error())
        });
        match pushed {
            Ok(()) => Poll::Ready(Ok(piece.len())),
            Err(error) => broken(error),
        }
    }

    /// Nothing to do: what is written leaves by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.tether.plane.close_later();
        self.poll_closed(context).map(|_| Ok(()))
    }
}

impl core::fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("ByteStream").field(&self.connection).finish()
    }
}
