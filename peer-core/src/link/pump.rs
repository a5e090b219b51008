//! Between an end of a link and the byte streams of `embedded-io` and `embedded-io-async`.

use core::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use embedded_io::{Read, ReadReady, Write};
use embedded_io_async as asynchronous;

use crate::{peer::Peer, time::Instant};

use super::{Leaf, LeafOutput};

/// Bytes moved at once. On the stack.
pub(crate) const PIECE: usize = 64;

/// Hands the bytes that a blocking stream has now to `take`, without waiting.
///
/// ```
/// # use peer_core::{link::{Leaf, LeafOutput, read_ready, write_all}, peer::Peer, time::Instant};
/// # fn turn<S: embedded_io::Read + embedded_io::ReadReady + embedded_io::Write>(
/// #     uart: &mut S, leaf: &mut Leaf<'_>, peer: &mut Peer<'_>, now: Instant,
/// # ) -> Result<(), S::Error> {
/// read_ready(uart, |bytes| leaf.receive(now, bytes, peer))?;
/// while let LeafOutput::Event(_) = leaf.poll(now, peer) {}
/// write_all(uart, |room| leaf.transmit(now, room))?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Those of the stream. A stream that is at its end is as one that has nothing.
pub fn read_ready<R: Read + ReadReady>(
    reader: &mut R,
    mut take: impl FnMut(&[u8]),
) -> Result<(), R::Error> {
    let mut piece = [0; PIECE];
    while reader.read_ready()? {
        match reader.read(&mut piece)? {
            0 => break,
            len => take(piece.get(..len).unwrap_or_default()),
        }
    }
    Ok(())
}

/// Writes what `give` has to a blocking stream, until it has nothing.
///
/// # Errors
/// Those of the stream. What was not written is lost; the link sends it again.
pub fn write_all<W: Write>(
    writer: &mut W,
    mut give: impl FnMut(&mut [u8]) -> usize,
) -> Result<(), W::Error> {
    let mut piece = [0; PIECE];
    loop {
        match give(&mut piece) {
            0 => return writer.flush(),
            len => writer.write_all(piece.get(..len).unwrap_or_default())?,
        }
    }
}

/// Runs a leaf over an asynchronous stream until that fails or ends. It reads while it writes, so
/// two ends that both have much to say do not block each other.
///
/// `clock` returns the time. `sleep_until` waits until a time, for ever for `None`; needless wakes
/// are harmless. `application` is called with each output but the timeouts; there it may do with
/// the engine what it likes. For an application of several tasks see the module `sync`. A read that
/// is dropped while it waits must not lose bytes, which holds for buffered UARTs and TCP.
///
/// # Errors
/// Those of the stream. The session is over then; the engine hears of it at the next poll.
pub async fn run<R, W>(
    leaf: &mut Leaf<'_>,
    peer: &mut Peer<'_>,
    reader: &mut R,
    writer: &mut W,
    clock: impl Fn() -> Instant,
    sleep_until: impl AsyncFn(Option<Instant>),
    mut application: impl FnMut(LeafOutput, &mut Peer<'_>),
) -> Result<(), R::Error>
where
    R: asynchronous::Read,
    W: asynchronous::Write<Error = R::Error>,
{
    let turn = |leaf: &mut Leaf<'_>, now, bytes: &[u8]| {
        leaf.receive(now, bytes, peer);
        loop {
            match leaf.poll(now, peer) {
                LeafOutput::Timeout(at) => return at,
                output => application(output, peer),
            }
        }
    };
    pump(leaf, reader, writer, clock, sleep_until, turn, async || {
        core::future::pending::<()>().await;
    })
    .await
}

/// As [`run`]: `turn` takes bytes, does what there is to do and says when the next thing is due,
/// `wanted` waits for whatever else asks for a turn.
pub(crate) async fn pump<R, W>(
    leaf: &mut Leaf<'_>,
    reader: &mut R,
    writer: &mut W,
    clock: impl Fn() -> Instant,
    sleep_until: impl AsyncFn(Option<Instant>),
    mut turn: impl FnMut(&mut Leaf<'_>, Instant, &[u8]) -> Option<Instant>,
    wanted: impl AsyncFn(),
) -> Result<(), R::Error>
where
    R: asynchronous::Read,
    W: asynchronous::Write<Error = R::Error>,
{
    let leaf = RefCell::new(leaf);
    // What was written may be due again before anything that was known before.
    let wrote = Cell::new(false);
    let read = async {
        let mut piece = [0; PIECE];
        let mut came = 0;
        loop {
            let bytes = piece.get(..came).unwrap_or_default();
            let timeout = turn(&mut leaf.borrow_mut(), clock(), bytes);
            came = 0;
            let idle = either(sleep_until(timeout), either(wanted(), done(&wrote)));
            match either(reader.read(&mut piece), idle).await {
                Either::First(Ok(0)) => return Ok(()),
                Either::First(Ok(len)) => came = len,
                Either::First(Err(error)) => return Err(error),
                Either::Second(_) => {}
            }
        }
    };
    let write = async {
        let mut piece = [0; PIECE];
        let mut flushed = true;
        loop {
            // Asked again whenever the reader was, which comes first.
            let next = poll_fn(
                |context| match leaf.borrow_mut().transmit(clock(), &mut piece) {
                    0 if flushed => Poll::Pending,
                    len => {
                        wrote.set(true);
                        context.waker().wake_by_ref();
                        Poll::Ready(len)
                    }
                },
            );
            let len = next.await;
            flushed = len == 0;
            let outcome = match piece.get(..len) {
                Some(bytes) if len > 0 => writer.write_all(bytes).await,
                _ => writer.flush().await,
            };
            if let Err(error) = outcome {
                return error;
            }
        }
    };
    let outcome = match either(read, write).await {
        Either::First(outcome) => outcome,
        Either::Second(error) => Err(error),
    };
    leaf.into_inner().disconnected();
    outcome
}

async fn done(flag: &Cell<bool>) {
    poll_fn(|_| match flag.take() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// Which of two was done first.
enum Either<A, B> {
    First(A),
    Second(B),
}

/// Waits for either; drops the other.
async fn either<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> Either<A, B> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|context| {
        if let Poll::Ready(value) = first.as_mut().poll(context) {
            return Poll::Ready(Either::First(value));
        }
        second.as_mut().poll(context).map(Either::Second)
    })
    .await
}
