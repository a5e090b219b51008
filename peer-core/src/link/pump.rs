//! Between an end of a link and the byte streams of `embedded-io` and `embedded-io-async`.

use core::{
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
/// #     uart: &mut S, leaf: &mut Leaf<'_>, peer: &mut Peer<'_>, now: Instant) -> Result<(), S::Error> {
/// read_ready(uart, |bytes| leaf.receive(now, bytes))?;
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

/// As [`write_all`], to an asynchronous stream. When it is dropped half way the link sends again what was lost.
///
/// # Errors
/// Those of the stream.
pub async fn write_all_async<W: asynchronous::Write>(
    writer: &mut W,
    mut give: impl FnMut(&mut [u8]) -> usize,
) -> Result<(), W::Error> {
    let mut piece = [0; PIECE];
    loop {
        match give(&mut piece) {
            0 => return writer.flush().await,
            len => {
                writer
                    .write_all(piece.get(..len).unwrap_or_default())
                    .await?;
            }
        }
    }
}

/// The clock of [`run`], and what it waits for beside the stream.
#[allow(async_fn_in_trait, reason = "one task runs it, whatever its executor")]
pub trait Sleep {
    /// The time.
    fn now(&self) -> Instant;

    /// Waits until `at`, for ever for `None`, or until something else wants the engine polled. Needless wakes are harmless.
    async fn sleep_until(&mut self, at: Option<Instant>);
}

/// Runs a leaf over an asynchronous stream until that fails or ends.
///
/// `application` is called with each output but the timeouts; there it may do with the engine what it likes. A read that is dropped while it
/// waits must not lose bytes, which holds for buffered UARTs and TCP.
///
/// # Errors
/// Those of the stream. The session is over then; the engine hears of it at the next poll.
pub async fn run<R, W>(
    leaf: &mut Leaf<'_>,
    peer: &mut Peer<'_>,
    reader: &mut R,
    writer: &mut W,
    sleep: &mut impl Sleep,
    mut application: impl FnMut(LeafOutput, &mut Peer<'_>),
) -> Result<(), R::Error>
where
    R: asynchronous::Read,
    W: asynchronous::Write<Error = R::Error>,
{
    let mut piece = [0; PIECE];
    let outcome = loop {
        let now = sleep.now();
        let timeout = loop {
            match leaf.poll(now, peer) {
                LeafOutput::Timeout(at) => break at,
                output => application(output, peer),
            }
        };
        if let Err(error) = write_all_async(writer, |room| leaf.transmit(now, room)).await {
            break Err(error);
        }
        match either(reader.read(&mut piece), sleep.sleep_until(timeout)).await {
            Some(Ok(0)) => break Ok(()),
            Some(Ok(len)) => leaf.receive(sleep.now(), piece.get(..len).unwrap_or_default()),
            Some(Err(error)) => break Err(error),
            None => {}
        }
    };
    leaf.disconnected();
    outcome
}

/// What `first` gives, or nothing when `second` is done before.
pub(crate) async fn either<T>(
    first: impl Future<Output = T>,
    second: impl Future<Output = ()>,
) -> Option<T> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|context| {
        if let Poll::Ready(value) = first.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        second.as_mut().poll(context).map(|()| None)
    })
    .await
}
