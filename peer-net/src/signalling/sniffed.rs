//! What a server says first, to tell one that speaks TLS from one that does not.

use core::pin::Pin;
use core::sync::atomic::{AtomicU8, Ordering};
use core::task::{Context, Poll, ready};
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The record type of a TLS alert: what a TLS server answers to plain HTTP.
const ALERT: u8 = 21;
/// The least and the greatest record type of TLS.
const TLS: core::ops::RangeInclusive<u8> = 20..=24;

/// The first byte read; 0 as long as there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstByte(Arc<AtomicU8>);

impl FirstByte {
    /// Whether the server spoke, and not TLS.
    pub(super) fn is_other_than_tls(&self) -> bool {
        let first = self.0.load(Ordering::Relaxed);
        first != 0 && !TLS.contains(&first)
    }

    /// Whether the server answered in TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ALERT
    }
}

/// A stream of which the first byte read is kept.
pub(super) struct Sniffed<S> {
    stream: S,
    first: FirstByte,
}

impl<S> Sniffed<S> {
    pub(super) fn new(stream: S) -> (Self, FirstByte) {
        let first = FirstByte::default();
        let kept = first.clone();
        (Self { stream, first }, kept)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sniffed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if let Some(&byte) = buffer.filled().get(before)
            && self.first.0.load(Ordering::Relaxed) == 0
        {
            self.first.0.store(byte, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sniffed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
