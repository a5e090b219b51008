//! The data channel over webrtc-sctp: its opening, and the two tasks between its ends and the
//! stream.

use core::cell::RefCell;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use peer_core::peer::RtcFailure;
use peer_core::wire::dcep::{self, Reliability};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::Instrument as _;
use webrtc_sctp::chunk::chunk_payload_data::PayloadProtocolIdentifier as Ppid;
use webrtc_sctp::stream::{ReliabilityType, Stream};

use super::association::{OPENING_LEN, Ours, theirs};
use super::sctp::{Packets, Sctp};
use super::session::ASSOCIATION_DIED;
use crate::rtc::RtcConfig;
use crate::rtc::channel::{Below, Channel, End, Inbox, Line, Message, Queued, StackEnds, channel};
use crate::rtc::stage::Failure;

/// The id of the stream that carries nothing and is never opened at the remote: data channels end
/// below it.
const NUDGE_STREAM: u16 = u16::MAX;
/// How long a read may wait for the association's lock before the stream counts as empty.
const DRAIN_WAIT: Duration = Duration::from_millis(10);
/// Between two looks at whether the association's loops run.
const WATCHDOG_INTERVAL: Duration = Duration::from_secs(1);

/// The tasks of a channel, and its way to fail senders that wait.
pub(super) struct Tasks {
    writer: tokio::task::JoinHandle<()>,
    reader: tokio::task::JoinHandle<()>,
    watchdog: tokio::task::JoinHandle<()>,
    line: Arc<Line>,
}

impl Tasks {
    /// Ends sending at once. The reader goes on as long as it has something to hand over and
    /// somebody to take it.
    pub(super) fn end(&self) {
        self.line.close();
        self.writer.abort();
        self.watchdog.abort();
    }

    /// Ends both directions at once.
    pub(super) fn abort(&self) {
        self.end();
        self.reader.abort();
    }
}

/// An open channel.
pub(super) struct Opened {
    pub(super) channel: Channel,
    /// Comes when nothing more will be read from the stream.
    pub(super) drained: oneshot::Receiver<()>,
}

/// As the side that offered: opens the channel. Data may follow at once.
pub(super) async fn open(
    sctp: &Arc<Sctp>,
    config: &RtcConfig,
    ours: &Ours,
    max_message_size: usize,
) -> Result<(Opened, Tasks), Failure> {
    let id = ours.stream();
    let open = ours.message()?;
    let stream = sctp
        .association
        .open_stream(id, Ppid::Binary)
        .await
        .map_err(|error| failure("no stream for the channel", error))?;
    sctp.packets.watch_stream(id);
    if ours.ordered {
        sctp.packets.bound_unread(0);
    }
    stream
        .write_sctp(&open, Ppid::Dcep)
        .await
        .map_err(|error| failure("the channel's opening was not sent", error))?;
    // Ordered until the remote's ACK, so that no message overtakes the opening.
    start(stream, sctp, config, !ours.ordered, max_message_size).await
}

/// As the side that answered: waits for the remote to open a channel.
pub(super) async fn accept(
    sctp: &Arc<Sctp>,
    config: &RtcConfig,
    max_message_size: usize,
) -> Result<(Opened, Tasks), Failure> {
    let stream = sctp.association.accept_stream().await.ok_or_else(|| {
        let sentence = "the association ended before a channel was opened";
        (RtcFailure::Channel, sentence.to_owned())
    })?;
    sctp.packets.watch_stream(stream.stream_identifier());
    let mut buffer = vec![0; OPENING_LEN as usize];
    let (length, ppid) = stream
        .read_sctp(&mut buffer)
        .await
        .map_err(|error| failure("the channel's opening was not read", error))?;
    let bytes = buffer.get(..length).unwrap_or_default();
    let open = theirs(ppid == Ppid::Dcep, bytes)?;
    if open.ordered {
        sctp.packets.bound_unread(1);
    }
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

fn failure(what: &str, error: impl core::fmt::Display) -> Failure {
    (RtcFailure::Channel, format!("{what}: {error}"))
}

async fn start(
    stream: Arc<Stream>,
    sctp: &Arc<Sctp>,
    config: &RtcConfig,
    unordered_after_ack: bool,
    max_message_size: usize,
) -> Result<(Opened, Tasks), Failure> {
    let nudge = sctp
        .association
        .open_stream(NUDGE_STREAM, Ppid::Binary)
        .await;
    let nudge = nudge.map_err(|error| failure("no stream to wake the association with", error))?;
    let order = Arc::new(Order::default());
    let below = Arc::new(StreamBelow {
        stream: Arc::clone(&stream),
        packets: Arc::clone(&sctp.packets),
    });
    let (channel, ends) = channel(config, max_message_size, below);
    let (drained, when_drained) = oneshot::channel();
    let StackEnds {
        line,
        queued,
        inbox,
    } = ends;
    let writer = Writer {
        line: Arc::clone(&line),
        stream: Arc::clone(&stream),
        order: Arc::clone(&order),
        nudge,
        packets: Arc::clone(&sctp.packets),
    };
    let writer = tokio::spawn(writer.run(queued).in_current_span());
    let reader = Reader {
        stream,
        order,
        packets: Arc::clone(&sctp.packets),
        inbox,
        unordered_after_ack,
        max_message_size: config.max_message_size as usize,
    };
    let reader = tokio::spawn(reader.run(drained).in_current_span());
    let watchdog = watch(Arc::downgrade(sctp)).in_current_span();
    let tasks = Tasks {
        writer,
        reader,
        watchdog: tokio::spawn(watchdog),
        line,
    };
    let opened = Opened {
        channel,
        drained: when_drained,
    };
    Ok((opened, tasks))
}

/// Tells when a loop of the association is gone without a word, which it is after a panic.
async fn watch(sctp: Weak<Sctp>) {
    let mut interval = tokio::time::interval(WATCHDOG_INTERVAL);
    loop {
        interval.tick().await;
        let Some(sctp) = sctp.upgrade() else { return };
        if !sctp.is_alive() {
            return sctp.packets.fail(ASSOCIATION_DIED);
        }
    }
}

/// What the ends of the channel ask.
struct StreamBelow {
    stream: Arc<Stream>,
    packets: Arc<Packets>,
}

impl Below for StreamBelow {
    fn buffered(&self) -> usize {
        self.stream.buffered_amount()
    }

    fn acknowledged(&self) -> &Notify {
        self.packets.acknowledgements()
    }

    fn end(&self) -> &watch::Sender<Option<End>> {
        self.packets.end_sender()
    }
}

/// Hands messages to the stream.
struct Writer {
    line: Arc<Line>,
    stream: Arc<Stream>,
    order: Arc<Order>,
    /// A stream that carries nothing.
    nudge: Arc<Stream>,
    packets: Arc<Packets>,
}

impl Writer {
    /// Gives a message to the stream.
    ///
    /// Of a message of 85 KiB and more the stream queues piece by piece, waits whenever the queue
    /// is full (128 KiB), and wakes the association only at the end (`pending_queue.rs`,
    /// `append_large`). The association sends as acknowledgements come; but if all was acknowledged
    /// before the next piece is queued, none come and both wait for ever. Pieces are queued only
    /// while the write is polled here, so the association is woken after each poll that leaves it
    /// waiting. Smaller messages are queued as a whole and never wait here, nor do larger ones for
    /// which there is room.
    async fn write(&self, queued: &Queued) -> Result<usize, webrtc_sctp::Error> {
        let mut writing = pin!(
            self.stream
                .write_sctp(&queued.payload, Ppid::from(queued.ppid))
        );
        poll_fn(|context| {
            let written = writing.as_mut().poll(context);
            if written.is_pending() {
                // Nothing goes out for an empty write, and it never waits: it only wakes the
                // association.
                let nothing = Bytes::new();
                let _ = pin!(self.nudge.write_sctp(&nothing, Ppid::Binary)).poll(context);
            }
            written
        })
        .await
    }

    /// Hands messages to the stream, one at a time: a write that is dropped half-way would break
    /// the stream, so it must not depend on the caller of `send`.
    async fn run(self, mut queue: mpsc::Receiver<Queued>) {
        while let Some(queued) = queue.recv().await {
            loop {
                let acknowledged = self.packets.acknowledged();
                if self.stream.buffered_amount() <= self.line.capacity() {
                    break;
                }
                acknowledged.await;
            }
            // The stream counts the bytes as its own before it waits for anything.
            let length = queued.payload.len();
            if queued.last {
                self.order.keep(&self.stream);
            }
            let written = self.write(&queued).await;
            self.line.left_queue(length);
            self.packets.wake();
            if let Err(error) = written {
                tracing::debug!(%error, "the data channel takes no more");
                self.line.close();
                // Unless the remote closed it, which is known by then.
                self.packets.fail("the SCTP association failed");
                return;
            }
        }
    }
}

/// Whether messages of an unordered channel may overtake each other by now, and still.
///
/// A remote that is built as we are reads whatever may come in any order before what has its place.
/// So a last message without a place would be read before earlier ones that were sent before the
/// channel's opening was acknowledged.
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
    inbox: Inbox,
    unordered_after_ack: bool,
    max_message_size: usize,
}

thread_local! {
    /// Where messages are put together before they are copied out, one at a time: the stream tells
    /// a message's length only with its bytes, so a buffer of a channel's own would have to be as
    /// long as the longest.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Reader {
    /// Moves messages from the stream to the inbox. When the inbox is full nothing is read, the
    /// window closes and the remote waits. At the end everything that had been acknowledged is
    /// still handed over.
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
                        permit = self.inbox.permit(&message) => self.inbox.deliver(message, permit).await,
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
                permit = self.inbox.permit(&message) => self.inbox.deliver(message, permit).await,
                () = self.inbox.closed() => return,
            }
        }
    }

    /// Reads what is left: at most the receive window, since nothing arrives any more. No packet
    /// will tell when the lock of the stream is free, so each read keeps its place in the queue for
    /// it.
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
            // All that makes a stream readable comes with a packet, as does whoever else would hold
            // its lock.
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
                    tracing::debug!(%error, "a message cannot be read");
                    self.packets
                        .fail("the remote sent a message above the size it was told");
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
        Message::from_wire(ppid as u32, bytes).map_or(Read::Nothing, Read::Message)
    }
}

enum Read {
    Message(Message),
    /// Something that is not for the application.
    Nothing,
    End,
}
