//! Counts what a session needs to read its messages.

use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::memory::Memory;

/// Header of a client's control frame: two bytes and the mask.
const CONTROL_HEADER: usize = 6;
/// Header of ours.
const PONG_HEADER: usize = 2;
/// Bytes of answers to pings that a client may leave unread, beyond what the system buffers.
pub(super) const PONGS_MAX: usize = 16 * 1024;

/// A stream whose longest message counts in the memory that all sessions share.
///
/// Without it every session could hold a buffer for a message of the full size at the same time.
/// Each may hold [`FREE`](Self::FREE) bytes in any case, so that small messages pass whatever
/// others do.
#[derive(Debug)]
pub(super) struct Incoming<S> {
    stream: S,
    unfinished: Arc<Unfinished>,
}

/// The session's part of the account.
#[derive(Debug)]
pub(super) struct Unfinished {
    memory: Arc<Memory>,
    /// Bytes read since the last complete message.
    read: AtomicUsize,
    /// Bytes taken of the memory: the longest message, beyond what is free.
    taken: AtomicUsize,
    /// What even a message in many fragments does not need.
    read_max: usize,
    /// Bytes of answers to pings that may wait to be written.
    pongs: AtomicUsize,
}

impl<S> Incoming<S> {
    /// Bytes of a message that are always allowed.
    pub(super) const FREE: usize = 16 * 1024;

    /// Messages have at most `message_bytes`; the frames around them may take as much again.
    pub(super) fn new(
        stream: S,
        memory: Arc<Memory>,
        message_bytes: usize,
    ) -> (Self, Arc<Unfinished>) {
        let unfinished = Arc::new(Unfinished {
            memory,
            read: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            read_max: message_bytes.saturating_mul(2).saturating_add(Self::FREE),
            pongs: AtomicUsize::new(0),
        });
        (
            Self {
                stream,
                unfinished: unfinished.clone(),
            },
            unfinished,
        )
    }
}

impl Unfinished {
    /// A message is complete and will be gone soon. The buffer it was in stays as large.
    pub(super) fn finish(&self) {
        self.read.store(0, Ordering::Relaxed);
    }

    /// A control frame of `payload` bytes is answered; the message around it may go on.
    pub(super) fn control(&self, payload: usize) {
        let less = |value: usize| Some(value.saturating_sub(payload + CONTROL_HEADER));
        let _ = self
            .read
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// A ping of `payload` bytes came, which will be answered by as many. Whether the client reads
    /// the answers.
    pub(super) fn ping(&self, payload: usize) -> bool {
        let bytes = payload + PONG_HEADER;
        let waiting = self.pongs.fetch_add(bytes, Ordering::Relaxed);
        waiting.saturating_add(bytes) <= PONGS_MAX
    }

    /// Whatever it was, it was written before any answer that still waits.
    fn written(&self, bytes: usize) {
        let less = |value: usize| Some(value.saturating_sub(bytes));
        let _ = self
            .pongs
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    fn add(&self, bytes: usize, free: usize) -> io::Result<()> {
        let read = self
            .read
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        let taken = self.taken.load(Ordering::Relaxed);
        let lacking = read.saturating_sub(free).saturating_sub(taken);
        if read > self.read_max || !self.memory.take_for(lacking, taken, 0) {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "too many clients have long messages",
            ));
        }
        self.taken.fetch_add(lacking, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.memory.give(self.taken.load(Ordering::Relaxed));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Incoming<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        core::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let bytes = buf.filled().len().saturating_sub(before);
        let allowed = self.unfinished.add(bytes, Self::FREE);
        if allowed.is_err() {
            buf.set_filled(before);
        }
        Poll::Ready(allowed)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Incoming<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = core::task::ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.unfinished.written(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_longest_message_counts_until_the_session_ends() {
        const FREE: usize = Incoming::<()>::FREE;
        let memory = Arc::new(Memory::new(FREE));
        let input = vec![0; 8 * FREE];
        let mut piece = vec![0; FREE];
        let (mut one, account) = Incoming::new(&input[..], memory.clone(), FREE);
        let (mut two, _other) = Incoming::new(&input[..], memory.clone(), FREE);

        one.read_exact(&mut piece).await.unwrap();
        two.read_exact(&mut piece).await.unwrap();
        assert_eq!(memory.used(), 0);
        one.read_exact(&mut piece).await.unwrap();
        assert_eq!(memory.used(), FREE);
        let error = two.read_exact(&mut piece).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);

        // Others as long are in the same buffer, and what was a control frame is not in there.
        account.finish();
        for _ in 0..2 {
            one.read_exact(&mut piece).await.unwrap();
        }
        account.control(FREE / 2);
        one.read_exact(&mut piece[..FREE / 2]).await.unwrap();
        assert_eq!(memory.used(), FREE);
        drop((one, account));
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn answers_to_pings_wait_in_small_number() {
        let memory = Arc::new(Memory::new(0));
        let (mut stream, account) = Incoming::new(io::Cursor::new(vec![0; 1 << 16]), memory, 0);
        let ping = 125;
        let fit = PONGS_MAX / (ping + PONG_HEADER);
        assert!((0..fit).all(|_| account.ping(ping)));
        assert!(!account.ping(ping));
        stream.write_all(&[0; PONGS_MAX]).await.unwrap();
        assert!(account.ping(ping));
    }

    #[tokio::test]
    async fn fragments_without_end_end() {
        let memory = Arc::new(Memory::new(1 << 30));
        let input = vec![0; 1 << 20];
        let (mut stream, _account) = Incoming::new(&input[..], memory.clone(), 1_000);
        let mut read = Vec::new();
        assert!(stream.read_to_end(&mut read).await.is_err());
        assert!(memory.used() < 100_000, "{}", memory.used());
    }
}
