//! The data channel: its opening, its two ends, and the two tasks between them and SCTP.

use core::cell::RefCell;
use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use peer_core::config::LABEL_MAX;
use peer_core::wire::dcep::{self, OPEN_HEADER_LEN, Open, Reliability};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use webrtc_sctp::chunk::chunk_payload_data::PayloadProtocolIdentifier as Ppid;
use webrtc_sctp::stream::{ReliabilityType, Stream};

use super::sctp::{Packets, Sctp};
use super::{RtcConfig, RtcFailure};

/// What one waiting message costs besides its bytes, so that empty ones are bounded too.
const MESSAGE_OVERHEAD: usize = 64;
/// The id of the stream that carries nothing and is never opened at the remote: data channels end below it.
const NUDGE_STREAM: u16 = u16::MAX;
/// How long a read may wait for the association's lock before the stream counts as empty.
const DRAIN_WAIT: Duration = Duration::from_millis(10);
/// Longest message read while the channel is being opened: DCEP's OPEN.
const OPENING_LEN: usize = 4096;

/// One message of a data channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A string. Received bytes that are not UTF-8 are replaced by U+FFFD.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How it travels. SCTP has no empty messages; one byte stands for them.
    fn into_wire(self) -> (Ppid, Bytes) {
        const NOTHING: Bytes = Bytes::from_static(&[0]);
        match self {
            Self::Text(text) if text.is_empty() => (Ppid::StringEmpty, NOTHING),
            Self::Binary(bytes) if bytes.is_empty() => (Ppid::BinaryEmpty, NOTHING),
            Self::Text(text) => (Ppid::String, text.into()),
            Self::Binary(bytes) => (Ppid::Binary, bytes),
        }
    }

    fn from_wire(ppid: Ppid, bytes: &[u8]) -> Option<Self> {
        Some(match ppid {
            Ppid::String => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
            Ppid::StringEmpty => Self::Text(String::new()),
            Ppid::Binary => Self::Binary(Bytes::copy_from_slice(bytes)),
            Ppid::BinaryEmpty => Self::Binary(Bytes::new()),
            Ppid::Dcep | Ppid::Unknown => return None,
        })
    }
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The channel is closed, by either side.
    #[error("the data channel is closed")]
    Closed,
    /// The message is larger than [`ChannelSender::max_message_size`].
    #[error("the message is larger than the remote peer accepts; send it in parts")]
    TooBig,
    /// As much as [`RtcConfig::send_buffer`](super::RtcConfig::send_buffer) waits already. Only from
    /// [`ChannelSender::try_send`].
    #[error("the data channel is congested; wait until it is drained")]
    Full,
}

/// The sending end. Clones send into the same channel.
#[derive(Clone, Debug)]
pub struct ChannelSender {
    queue: mpsc::Sender<Queued>,
    line: Arc<Line>,
}

impl ChannelSender {
    /// Hands a message over; waits while the channel is congested. Dropping the future sends nothing.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::TooBig`].
    pub async fn send(&self, message: Message) -> Result<(), SendError> {
        self.hand_over(message, false).await
    }

    /// As [`send`](Self::send), for the last message: the remote reads it after everything that it has acknowledged, which
    /// on an unordered channel another message could overtake.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_last(&self, message: Message) -> Result<(), SendError> {
        self.hand_over(message, true).await
    }

    async fn hand_over(&self, message: Message, last: bool) -> Result<(), SendError> {
        let weight = self.weigh(&message)?;
        let room = Arc::clone(&self.line.room);
        let permit = room
            .acquire_many_owned(weight)
            .await
            .map_err(|_| SendError::Closed)?;
        let slot = self.queue.reserve().await.map_err(|_| SendError::Closed)?;
        slot.send(self.line.enqueue(message, permit, last));
        Ok(())
    }

    /// As [`send`](Self::send), without waiting.
    ///
    /// # Errors
    /// [`SendError::Full`] besides.
    pub fn try_send(&self, message: Message) -> Result<(), SendError> {
        let weight = self.weigh(&message)?;
        let slot = self.queue.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => SendError::Full,
            mpsc::error::TrySendError::Closed(()) => SendError::Closed,
        })?;
        let room = Arc::clone(&self.line.room);
        let permit = room
            .try_acquire_many_owned(weight)
            .map_err(|error| match error {
                tokio::sync::TryAcquireError::NoPermits => SendError::Full,
                tokio::sync::TryAcquireError::Closed => SendError::Closed,
            })?;
        slot.send(self.line.enqueue(message, permit, false));
        Ok(())
    }

    /// Bytes handed over and not yet acknowledged by the remote.
    pub fn buffered_amount(&self) -> usize {
        self.line.buffered()
    }

    /// The largest message in bytes the remote accepts.
    pub fn max_message_size(&self) -> usize {
        self.line.max_message_size
    }

    /// Whether the channel is closed: every further send fails.
    pub fn is_closed(&self) -> bool {
        self.line.room.is_closed()
    }

    /// Waits until the remote has acknowledged something since this call: `true`. `false`: the channel is closed.
    pub fn acknowledged(&self) -> impl Future<Output = bool> + '_ {
        let acknowledged = self.line.packets.acknowledged();
        async {
            tokio::select! {
                () = acknowledged => true,
                () = self.line.packets.ended() => false,
            }
        }
    }

    /// Waits until everything sent before is acknowledged by the remote, or the channel is closed.
    pub async fn flushed(&self) {
        let target = self.line.accepted.load(Ordering::SeqCst);
        loop {
            let acknowledged = self.line.packets.acknowledged();
            // In this order: what is accepted in between only makes it wait for one more round.
            let buffered = self.line.buffered() as u64;
            let accepted = self.line.accepted.load(Ordering::SeqCst);
            if accepted.saturating_sub(buffered) >= target || self.line.room.is_closed() {
                return;
            }
            tokio::select! {
                () = acknowledged => {}
                () = self.line.packets.ended() => return,
            }
        }
    }

    fn weigh(&self, message: &Message) -> Result<u32, SendError> {
        if message.len() > self.line.max_message_size {
            return Err(SendError::TooBig);
        }
        Ok(weight(message.len(), self.line.capacity))
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct ChannelReceiver {
    inbox: mpsc::Receiver<(Message, OwnedSemaphorePermit)>,
}

impl ChannelReceiver {
    /// The next message; `None` once the channel is closed and everything received before is read. Dropping the
    /// future loses nothing.
    pub async fn recv(&mut self) -> Option<Message> {
        self.inbox.recv().await.map(|(message, _)| message)
    }
}

/// An open channel, before its ends are given away. Its tasks end with the association.
pub(super) struct Channel {
    pub(super) sender: ChannelSender,
    pub(super) receiver: ChannelReceiver,
    /// Comes when nothing more will be read from the stream.
    pub(super) drained: oneshot::Receiver<()>,
    pub(super) tasks: Tasks,
}

/// The tasks of a channel, and its way to fail senders that wait.
pub(super) struct Tasks {
    writer: tokio::task::JoinHandle<()>,
    reader: tokio::task::JoinHandle<()>,
    line: Arc<Line>,
}

impl Tasks {
    /// Ends sending at once. The reader goes on as long as it has something to hand over and somebody to take it.
    pub(super) fn end(&self) {
        self.line.room.close();
        self.writer.abort();
    }

    /// Ends both directions at once.
    pub(super) fn abort(&self) {
        self.end();
        self.reader.abort();
    }
}

/// As the side that offered: opens the channel. Data may follow at once.
pub(super) async fn open(
    sctp: &Sctp,
    config: &RtcConfig,
    label: &str,
    ordered: bool,
    dtls_client: bool,
    max_message_size: usize,
) -> Result<Channel, (RtcFailure, String)> {
    // The DTLS client has the even ids: RFC 8832, section 6.
    let id = u16::from(!dtls_client);
    let mut buffer = [0; OPEN_HEADER_LEN + LABEL_MAX];
    let length = Open {
        ordered,
        label,
        ..Open::default()
    }
    .write(&mut buffer)
    .map_err(|error| failure("the channel's label cannot be used", error))?;
    let stream = sctp
        .association
        .open_stream(id, Ppid::Binary)
        .await
        .map_err(|error| failure("no stream for the channel", error))?;
    sctp.packets.watch_stream(id);
    let open = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
    stream
        .write_sctp(&open, Ppid::Dcep)
        .await
        .map_err(|error| failure("the channel's opening was not sent", error))?;
    // Ordered until the remote's ACK, so that no message overtakes the opening.
    start(stream, sctp, config, !ordered, max_message_size).await
}

/// As the side that answered: waits for the remote to open a channel.
pub(super) async fn accept(
    sctp: &Sctp,
    config: &RtcConfig,
    max_message_size: usize,
) -> Result<Channel, (RtcFailure, String)> {
    let fail = |sentence: &str| (RtcFailure::Channel, sentence.to_owned());
    let stream = sctp
        .association
        .accept_stream()
        .await
        .ok_or_else(|| fail("the association ended before a channel was opened"))?;
    sctp.packets.watch_stream(stream.stream_identifier());
    let mut buffer = vec![0; OPENING_LEN];
    let (length, ppid) = stream
        .read_sctp(&mut buffer)
        .await
        .map_err(|error| failure("the channel's opening was not read", error))?;
    if ppid != Ppid::Dcep {
        return Err(fail("the remote sent data on a channel it had not opened"));
    }
    let open = match dcep::parse(buffer.get(..length).unwrap_or_default()) {
        Ok(dcep::DcepMessage::Open(open)) => open,
        Ok(dcep::DcepMessage::Ack) => {
            return Err(fail("the remote answered a channel never opened"));
        }
        Err(error) => return Err(failure("the channel's opening cannot be read", error)),
    };
    stream
        .write_sctp(&Bytes::from_static(&dcep::ACK), Ppid::Dcep)
        .await
        .map_err(|error| failure("the channel's opening was not acknowledged", error))?;
    let (kind, value) = match open.reliability {
        Reliability::Reliable => (ReliabilityType::Reliable, 0),
        Reliability::MaxRetransmits(count) => (ReliabilityType::Rexmit, count),
        Reliability::MaxPacketLifeTime(millis) => (ReliabilityType::Timed, millis),
    };
    stream.set_reliability_params(!open.ordered, kind, value);
    start(stream, sctp, config, false, max_message_size).await
}

fn failure(what: &str, error: impl core::fmt::Display) -> (RtcFailure, String) {
    (RtcFailure::Channel, format!("{what}: {error}"))
}

async fn start(
    stream: Arc<Stream>,
    sctp: &Sctp,
    config: &RtcConfig,
    unordered_after_ack: bool,
    max_message_size: usize,
) -> Result<Channel, (RtcFailure, String)> {
    let nudge = sctp
        .association
        .open_stream(NUDGE_STREAM, Ppid::Binary)
        .await;
    let nudge = nudge.map_err(|error| failure("no stream to wake the association with", error))?;
    // Half of the budget waits here, half is under way.
    let capacity = (config.send_buffer / 2).clamp(MESSAGE_OVERHEAD, Semaphore::MAX_PERMITS);
    let order = Arc::new(Order::default());
    let line = Arc::new(Line {
        stream: Arc::clone(&stream),
        order: Arc::clone(&order),
        nudge,
        packets: Arc::clone(&sctp.packets),
        room: Arc::new(Semaphore::new(capacity)),
        capacity,
        waiting: AtomicUsize::new(0),
        accepted: AtomicU64::new(0),
        max_message_size,
    });
    let (queue, queued) = mpsc::channel(capacity.div_ceil(MESSAGE_OVERHEAD));
    let writer = tokio::spawn(write(Arc::clone(&line), queued));

    let capacity = config
        .receive_buffer
        .clamp(MESSAGE_OVERHEAD, Semaphore::MAX_PERMITS);
    let (inbox_sender, inbox) = mpsc::channel(capacity.div_ceil(MESSAGE_OVERHEAD));
    let (drained_sender, drained) = oneshot::channel();
    let reader = Reader {
        stream,
        order,
        packets: Arc::clone(&sctp.packets),
        inbox: inbox_sender,
        room: Arc::new(Semaphore::new(capacity)),
        capacity,
        unordered_after_ack,
        max_message_size: config.max_message_size as usize,
    };
    let reader = tokio::spawn(reader.run(drained_sender));
    Ok(Channel {
        sender: ChannelSender {
            queue,
            line: Arc::clone(&line),
        },
        receiver: ChannelReceiver { inbox },
        drained,
        tasks: Tasks {
            writer,
            reader,
            line,
        },
    })
}

/// What senders and the writer share.
struct Line {
    stream: Arc<Stream>,
    order: Arc<Order>,
    /// A stream that carries nothing.
    nudge: Arc<Stream>,
    packets: Arc<Packets>,
    room: Arc<Semaphore>,
    capacity: usize,
    /// Bytes in the queue to the writer.
    waiting: AtomicUsize,
    /// Bytes ever taken.
    accepted: AtomicU64,
    max_message_size: usize,
}

impl core::fmt::Debug for Line {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Line")
            .field("buffered", &self.buffered())
            .finish_non_exhaustive()
    }
}

impl Line {
    fn buffered(&self) -> usize {
        self.waiting.load(Ordering::SeqCst) + self.stream.buffered_amount()
    }

    /// Gives a message to the stream.
    ///
    /// Of a message of 85 KiB and more the stream queues piece by piece, waits whenever the queue is full (128 KiB),
    /// and wakes the association only at the end (`pending_queue.rs`, `append_large`). The association sends as
    /// acknowledgements come; but if all was acknowledged before the next piece is queued, none come and both wait for
    /// ever. Pieces are queued only while the write is polled here, so the association is woken after each poll that
    /// leaves it waiting. Smaller messages are queued as a whole and never wait here, nor do larger ones for which
    /// there is room.
    async fn write(&self, queued: &Queued) -> Result<usize, webrtc_sctp::Error> {
        let mut writing = pin!(self.stream.write_sctp(&queued.payload, queued.ppid));
        poll_fn(|context| {
            let written = writing.as_mut().poll(context);
            if written.is_pending() {
                // Nothing goes out for an empty write, and it never waits: it only wakes the association.
                let nothing = Bytes::new();
                let _ = pin!(self.nudge.write_sctp(&nothing, Ppid::Binary)).poll(context);
            }
            written
        })
        .await
    }

    fn enqueue(&self, message: Message, permit: OwnedSemaphorePermit, last: bool) -> Queued {
        let (ppid, payload) = message.into_wire();
        self.waiting.fetch_add(payload.len(), Ordering::SeqCst);
        self.accepted
            .fetch_add(payload.len() as u64, Ordering::SeqCst);
        Queued {
            ppid,
            payload,
            last,
            _permit: permit,
        }
    }
}

#[derive(Debug)]
struct Queued {
    ppid: Ppid,
    payload: Bytes,
    last: bool,
    _permit: OwnedSemaphorePermit,
}

fn weight(length: usize, capacity: usize) -> u32 {
    let weight = length.saturating_add(MESSAGE_OVERHEAD).min(capacity);
    u32::try_from(weight).unwrap_or(u32::MAX)
}

/// Hands messages to the stream, one at a time: a write that is dropped half-way would break the stream, so
/// it must not depend on the caller of `send`.
async fn write(line: Arc<Line>, mut queue: mpsc::Receiver<Queued>) {
    while let Some(queued) = queue.recv().await {
        loop {
            let acknowledged = line.packets.acknowledged();
            if line.stream.buffered_amount() <= line.capacity {
                break;
            }
            acknowledged.await;
        }
        // The stream counts the bytes as its own before it waits for anything.
        let length = queued.payload.len();
        if queued.last {
            line.order.keep(&line.stream);
        }
        let written = line.write(&queued).await;
        line.waiting.fetch_sub(length, Ordering::SeqCst);
        line.packets.wake();
        if let Err(error) = written {
            tracing::debug!(%error, "the data channel takes no more");
            line.room.close();
            line.packets.end();
            return;
        }
    }
}

/// Whether messages of an unordered channel may overtake each other by now, and still.
///
/// A remote that is built as we are reads whatever may come in any order before what has its place. So a last message
/// without a place would be read before earlier ones that were sent before the channel's opening was acknowledged.
#[derive(Debug, Default)]
struct Order {
    kept: Mutex<bool>,
}

impl Order {
    /// The remote knows of the channel: its messages may come in any order.
    fn loosen(&self, stream: &Stream) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !*kept {
            stream.set_reliability_params(true, ReliabilityType::Reliable, 0);
        }
    }

    /// What comes now is the last.
    fn keep(&self, stream: &Stream) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = true;
        stream.set_reliability_params(false, ReliabilityType::Reliable, 0);
    }
}

struct Reader {
    stream: Arc<Stream>,
    order: Arc<Order>,
    packets: Arc<Packets>,
    inbox: mpsc::Sender<(Message, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    capacity: usize,
    unordered_after_ack: bool,
    max_message_size: usize,
}

thread_local! {
    /// Where messages are put together before they are copied out, one at a time: the stream tells a message's
    /// length only with its bytes, so a buffer of a channel's own would have to be as long as the longest.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Reader {
    /// Moves messages from the stream to the inbox. When the inbox is full nothing is read, the window closes and
    /// the remote waits. At the end everything that had been acknowledged is still handed over.
    async fn run(mut self, drained: oneshot::Sender<()>) {
        let packets = Arc::clone(&self.packets);
        let mut rest = Vec::new();
        loop {
            let read = tokio::select! {
                biased;
                read = self.read() => read,
                () = packets.ended() => break,
            };
            match read {
                Read::Message(message) => {
                    tokio::select! {
                        permit = self.permit(&message) => self.deliver(message, permit).await,
                        () = packets.ended() => {
                            rest.push(message);
                            break;
                        }
                    }
                }
                Read::Nothing => {}
                Read::End => break,
            }
        }
        self.drain(&mut rest).await;
        packets.end();
        let _ = drained.send(());
        for message in rest {
            tokio::select! {
                permit = self.permit(&message) => self.deliver(message, permit).await,
                () = self.inbox.closed() => return,
            }
        }
    }

    /// Reads what is left: at most the receive window, since nothing arrives any more. No packet will tell when the lock
    /// of the stream is free, so each read keeps its place in the queue for it.
    async fn drain(&mut self, rest: &mut Vec<Message>) {
        let stream = Arc::clone(&self.stream);
        let mut buffer = vec![0; self.max_message_size];
        while let Ok(Ok((length, ppid))) =
            tokio::time::timeout(DRAIN_WAIT, stream.read_sctp(&mut buffer)).await
        {
            match self.take(ppid, buffer.get(..length).unwrap_or_default()) {
                Read::Message(message) => rest.push(message),
                Read::Nothing => {}
                Read::End => return,
            }
        }
    }

    /// The next message, as soon as the association has it. Dropping the future loses nothing.
    async fn read(&mut self) -> Read {
        let packets = Arc::clone(&self.packets);
        loop {
            // All that makes a stream readable comes with a packet, as does whoever else would hold its lock.
            let mut delivered = pin!(packets.delivered());
            delivered.as_mut().enable();
            let read = poll_fn(|context| match self.try_read(context) {
                Poll::Ready(read) => Poll::Ready(Some(read)),
                Poll::Pending => delivered.as_mut().poll(context).map(|()| None),
            });
            if let Some(read) = read.await {
                return read;
            }
        }
    }

    fn try_read(&mut self, context: &mut Context<'_>) -> Poll<Read> {
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.len() < self.max_message_size {
                // Untouched pages of it cost nothing.
                *scratch = vec![0; self.max_message_size];
            }
            let buffer = scratch.get_mut(..self.max_message_size).unwrap_or_default();
            let (length, ppid) = match pin!(self.stream.read_sctp(buffer)).poll(context) {
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "the remote sent a message above the size it was told");
                    return Poll::Ready(Read::End);
                }
                Poll::Pending => return Poll::Pending,
            };
            let bytes = scratch.get(..length).unwrap_or_default();
            Poll::Ready(self.take(ppid, bytes))
        })
    }

    fn take(&mut self, ppid: Ppid, bytes: &[u8]) -> Read {
        if bytes.is_empty() && ppid == Ppid::Unknown {
            return Read::End;
        }
        self.packets.consumed(bytes.len());
        if ppid == Ppid::Dcep
            && dcep::parse(bytes) == Ok(dcep::DcepMessage::Ack)
            && core::mem::take(&mut self.unordered_after_ack)
        {
            self.order.loosen(&self.stream);
        }
        Message::from_wire(ppid, bytes).map_or(Read::Nothing, Read::Message)
    }

    async fn permit(&self, message: &Message) -> Option<OwnedSemaphorePermit> {
        let weight = weight(message.len(), self.capacity);
        Arc::clone(&self.room).acquire_many_owned(weight).await.ok()
    }

    async fn deliver(&self, message: Message, permit: Option<OwnedSemaphorePermit>) {
        if let Some(permit) = permit {
            // Nobody listens any more: the message is dropped, the remote is not held up.
            let _ = self.inbox.send((message, permit)).await;
        }
    }
}

enum Read {
    Message(Message),
    /// Something that is not for the application.
    Nothing,
    End,
}
