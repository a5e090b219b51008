//! The task of a session: packets in and out, and the end of it.

use core::time::Duration;
use std::sync::Arc;

use futures_util::FutureExt;
use peer_core::peer::RtcFailure;
use peer_core::rtc::sctp::{
    self, Association, Config, Detached, Event, Memory, Outgoing, Piece, Received, Violation,
};
use peer_core::wire::dcep::{self, PPID_DCEP};
use peer_core::wire::sdp::SCTP_PORT;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use webrtc_util::Conn;

use super::super::CLOSE_STEP;
use super::super::association::{End, Failure, OPENING_LEN, Opening, Purpose, end};
use super::super::channel::{Channel, Message, channel};
use super::super::guard::DATAGRAM_MAX;
use super::Shared;
use super::open::{Came, OpenChannel, Order, Ready, came, ready};
use super::storage::{SMALL, Size, Sizes, Storage, Traffic};
use crate::time::{engine_now, of_engine, sleep_until};

/// Longest SCTP packet, in bytes: 1,200 less what DTLS (37) and a relay's channel (4) add, and
/// something to spare.
const PACKET: u16 = 1144;
/// The memory in which messages are put together is kept up to this size.
const PARTIAL_KEPT: usize = 16 * 1024;
/// How long memory is kept while little is under way.
const IDLE_KEPT: Duration = Duration::from_secs(1);
/// Packets that are read from DTLS before what they ask for is sent, and that are sent before some
/// are read.
const BATCH: usize = 32;
/// How long the remote has to answer the reset of our stream before the association is aborted.
const RESET_WAIT: Duration = Duration::from_millis(300);
/// What DTLS has not sent after so long counts as lost, so that the task never hangs in it.
const SEND_WAIT: Duration = CLOSE_STEP;

/// What packets go through.
type Dtls = dyn Conn + Send + Sync;

/// What the session asks of its task.
pub(super) enum Command {
    /// Make the remote send something.
    Heartbeat,
    /// End; what the remote sent before its own end is still handed over.
    Close,
}

pub(super) struct Task {
    pub(super) purpose: Purpose,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) associated: Option<oneshot::Sender<Result<(), Failure>>>,
    pub(super) opened: Option<oneshot::Sender<Result<Channel, Failure>>>,
}

/// How far the session is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Going,
    /// Our stream is being reset, the last thing before ABORT.
    Resetting(Instant),
    Over(Rest),
}

/// What becomes of what came and is not read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// The receiver gets it.
    Kept,
    /// We ended it, so nobody wants it.
    Dropped,
}

/// Why it is over.
#[derive(Clone, Copy)]
enum Why {
    Sctp(sctp::End),
    /// DTLS says nothing more: the remote closed it.
    Dtls,
}

impl Why {
    const fn end(self) -> End {
        match self {
            Self::Sctp(sctp::End::Unreachable | sctp::End::Violation(_)) => {
                End::Failed(self.sentence())
            }
            Self::Sctp(_) | Self::Dtls => End::Ended,
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Sctp(sctp::End::Local) => "it was closed on this side",
            Self::Sctp(sctp::End::Unreachable) => "the remote does not answer",
            Self::Sctp(sctp::End::Violation(Violation::MessageTooLong)) => {
                "the remote sent a message above the size it was told"
            }
            Self::Sctp(sctp::End::Violation(_)) => "the remote broke the rules of SCTP",
            Self::Sctp(_) => "the remote aborted it",
            Self::Dtls => "the remote closed the encrypted connection",
        }
    }
}

/// The task at work.
struct Work<A> {
    task: Task,
    association: A,
    epoch: Instant,
    channel: Option<OpenChannel>,
    /// The message being put together.
    partial: Vec<u8>,
    /// Where packets are made.
    out: Vec<u8>,
    phase: Phase,
    /// The memory that the association has.
    sizes: Sizes,
    came: Traffic,
    went: Traffic,
    /// Since when little is under way, if there is memory to give back.
    idle_since: Option<Instant>,
}

impl Task {
    pub(super) async fn run(mut self, dtls: Arc<Dtls>) {
        let config = &self.purpose.config;
        let mut random = [0; 8];
        if SecureRandom::fill(&SystemRandom::new(), &mut random).is_err() {
            let sentence = "this machine has no randomness for an SCTP association";
            self.refuse((RtcFailure::Resources, sentence.to_owned()));
            return;
        }
        let window = self.purpose.receive_window();
        let mut settings = Config::new(random);
        settings.local_port = SCTP_PORT;
        settings.remote_port = self.purpose.remote_port;
        settings.packet = PACKET;
        settings.send_max = u64::from(self.purpose.send_max());
        settings.receive_max = u64::from(config.max_message_size.max(OPENING_LEN));
        let mut storage = Storage::new((config.send_buffer / 2).max(SMALL), window as usize);
        let nothing = Memory {
            send: &mut [],
            chunks: &mut [],
            receive: &mut [],
            runs: &mut [],
        };
        let mut packet = vec![0; DATAGRAM_MAX];
        let mut end = self.shared.end.subscribe();
        let mut association = Association::new(settings, nothing);
        association.connect();
        let mut work = Work {
            association: association.without_memory(),
            task: self,
            epoch: Instant::now(),
            channel: None,
            partial: Vec::new(),
            out: vec![0; usize::from(PACKET)],
            phase: Phase::Going,
            sizes: Sizes::SMALL,
            came: Traffic::new(),
            went: Traffic::new(),
            idle_since: None,
        };
        loop {
            let mut housed = work.with_memory(storage.lend());
            let Some(sizes) = housed.run(&*dtls, &mut end, &mut packet).await else {
                drop((dtls, packet));
                // Boxed, so that while it goes nothing is kept for its end.
                return Box::pin(housed.over_and_out()).await;
            };
            work = housed.without_memory();
            work.sizes = sizes;
            storage.resize(sizes);
        }
    }

    /// The session does not open, if it has not.
    fn refuse(&mut self, failure: Failure) {
        if let Some(associated) = self.associated.take() {
            let _ = associated.send(Err(failure));
        } else if let Some(opened) = self.opened.take() {
            let _ = opened.send(Err(failure));
        }
    }
}

impl Work<Detached> {
    fn with_memory(self, memory: Memory<'_>) -> Work<Association<'_>> {
        self.moved(|association| association.with_memory(memory))
    }
}

impl<A> Work<A> {
    fn moved<B>(self, to: impl FnOnce(A) -> B) -> Work<B> {
        Work {
            association: to(self.association),
            task: self.task,
            epoch: self.epoch,
            channel: self.channel,
            partial: self.partial,
            out: self.out,
            phase: self.phase,
            sizes: self.sizes,
            came: self.came,
            went: self.went,
            idle_since: self.idle_since,
        }
    }
}

impl Work<Association<'_>> {
    fn without_memory(self) -> Work<Detached> {
        self.moved(Association::without_memory)
    }

    /// Works until it is over, or until the association should have so much memory.
    async fn run(
        &mut self,
        dtls: &Dtls,
        end: &mut watch::Receiver<Option<End>>,
        packet: &mut [u8],
    ) -> Option<Sizes> {
        loop {
            if let Phase::Over(_) = self.phase {
                return None;
            }
            self.events();
            self.take();
            self.give();
            if let Some(sizes) = self.other_sizes() {
                return Some(sizes);
            }
            let more = self.transmit(dtls).await;
            if let Some(reason) = self.association.end_reason() {
                self.over(Why::Sctp(reason), Rest::Kept);
            }
            if let Phase::Over(_) = self.phase {
                return None;
            }
            let deadline = self.deadline();
            tokio::select! {
                received = dtls.recv(packet) => match received {
                    Ok(len) => self.received(dtls, packet, len),
                    Err(error) => self.dtls_over(&error),
                },
                command = self.task.commands.recv() => self.command(dtls, command).await,
                ready = ready(&mut self.channel) => self.ready(ready),
                () = ended(end), if self.is_undrained() => self.drained(),
                () = sleep_until(deadline) => self.reset_in_time(),
                () = core::future::ready(()), if more => {}
            }
        }
    }

    /// When there is something to do although nothing comes.
    fn deadline(&self) -> Option<Instant> {
        let timeout = self.association.timeout();
        let timeout = timeout.map(|at| of_engine(self.epoch, at));
        let idle = self.idle_since.map(|since| since + IDLE_KEPT);
        let resetting = match self.phase {
            Phase::Resetting(until) => Some(until),
            Phase::Going | Phase::Over(_) => None,
        };
        [timeout, idle, resetting].into_iter().flatten().min()
    }

    /// A remote that has not answered the reset of our stream by now is waited for no longer.
    fn reset_in_time(&mut self) {
        if let Phase::Resetting(until) = self.phase
            && until <= Instant::now()
        {
            self.association.abort();
        }
    }

    /// The memory that the association should have, if that is other than what it has: a half that
    /// is idle can get it.
    fn other_sizes(&mut self) -> Option<Sizes> {
        let mut sizes = self.sizes;
        let (send, receive) = (&mut sizes.send, &mut sizes.receive);
        let sends_much = self.channel.as_ref().is_some_and(OpenChannel::is_cramped);
        if sends_much && self.association.is_send_idle() {
            *send = Size::Full;
        }
        if self.came.is_much() && self.association.is_receive_idle() {
            *receive = Size::Full;
        }
        if sizes == Sizes::SMALL {
            self.idle_since = None;
        } else if self.came.is_much() || self.went.is_much() {
            self.idle_since = Some(Instant::now());
        } else if self.idle_since.get_or_insert_with(Instant::now).elapsed() >= IDLE_KEPT {
            if self.is_idle() {
                sizes = Sizes::SMALL;
                self.partial.shrink_to_fit();
            }
            // The application may still have to read: nothing else would tell that it has.
            self.idle_since = Some(Instant::now());
        }
        (sizes != self.sizes).then_some(sizes)
    }

    /// Whether nothing is under way, and nothing waits to be read.
    fn is_idle(&self) -> bool {
        let is_read = self.channel.as_ref().is_some_and(OpenChannel::is_read);
        is_read && self.association.is_idle()
    }

    async fn over_and_out(mut self) {
        self.task.commands.close();
        self.out = Vec::new();
        if self.phase == Phase::Over(Rest::Kept) {
            self.deliver_rest().await;
        }
    }

    /// Takes a packet, and those that wait behind it.
    fn received(&mut self, dtls: &Dtls, packet: &mut [u8], len: usize) {
        let now = engine_now(self.epoch);
        self.association
            .receive(now, packet.get(..len).unwrap_or_default());
        for _ in 1..BATCH {
            // A remote that was told a larger window once would lose what does not fit.
            if self.association.receive_room() < SMALL / 2 {
                return;
            }
            match dtls.recv(packet).now_or_never() {
                Some(Ok(len)) => self
                    .association
                    .receive(now, packet.get(..len).unwrap_or_default()),
                Some(Err(error)) => return self.dtls_over(&error),
                None => return,
            }
        }
    }

    /// DTLS brings nothing more.
    fn dtls_over(&mut self, error: &webrtc_util::Error) {
        tracing::debug!(%error, "DTLS is over");
        self.over(Why::Dtls, Rest::Kept);
    }

    /// Sends what there is to send, so much that there may be more.
    async fn transmit(&mut self, dtls: &Dtls) -> bool {
        let mut more = false;
        for count in 1..=BATCH {
            let now = engine_now(self.epoch);
            let Some(len) = self.association.transmit(now, &mut self.out) else {
                break;
            };
            let packet = self.out.get(..len).unwrap_or_default();
            // As if it had been lost on its way: whether the path is dead is for ICE to say.
            match timeout(SEND_WAIT, dtls.send(packet)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an SCTP packet was not sent"),
                Err(_) => {
                    tracing::debug!("DTLS did not send an SCTP packet");
                    // Whoever waits for the task comes first.
                    break;
                }
            }
            more = count == BATCH;
        }
        self.task.shared.tell(self.association.buffered());
        more
    }

    async fn command(&mut self, dtls: &Dtls, command: Option<Command>) {
        match (command, self.phase) {
            (Some(Command::Heartbeat), _) => self.association.heartbeat(),
            // The remote answers our reset first, so that it sees its channel close in order.
            (Some(Command::Close), Phase::Resetting(_)) => {}
            (Some(Command::Close) | None, _) => {
                let ended = self.task.shared.end.borrow().is_some();
                self.association.abort();
                self.transmit(dtls).await;
                let rest = if ended { Rest::Kept } else { Rest::Dropped };
                self.over(Why::Sctp(sctp::End::Local), rest);
            }
        }
    }

    /// Nothing more goes or comes. The first reason counts.
    fn over(&mut self, why: Why, rest: Rest) {
        if let Phase::Over(_) = self.phase {
            return;
        }
        tracing::debug!(why = why.sentence(), "the SCTP association is over");
        self.phase = Phase::Over(rest);
        let failure = if self.task.associated.is_some() {
            RtcFailure::Sctp
        } else {
            RtcFailure::Channel
        };
        let sentence = format!("the SCTP association ended: {}", why.sentence());
        self.task.refuse((failure, sentence));
        self.ended(why.end());
    }

    /// Tells everybody that nothing more can be sent, and that all that came is here.
    fn ended(&mut self, why: End) {
        end(&self.task.shared.end, why);
        self.drained();
        if let Some(channel) = &mut self.channel {
            channel.close();
        }
    }

    fn is_undrained(&self) -> bool {
        self.channel
            .as_ref()
            .is_some_and(|channel| channel.drained.is_some())
    }

    /// Nothing more is taken from the remote that is not here: the session need not wait.
    fn drained(&mut self) {
        if let Some(drained) = self.channel.as_mut().and_then(|one| one.drained.take()) {
            let _ = drained.send(());
        }
    }

    fn events(&mut self) {
        while let Some(event) = self.association.poll_event() {
            match event {
                Event::Open => {
                    if let Some(associated) = self.task.associated.take() {
                        let _ = associated.send(Ok(()));
                    }
                    self.open_ours();
                }
                Event::StreamReset(_) => self.association.abort(),
                // Looked at before this comes, since this waits for the application to read.
                Event::Closed(_) => {}
                event => {
                    tracing::debug!(?event, "the remote forgot the association");
                    let why = "the remote began a new SCTP association";
                    end(&self.task.shared.end, End::Failed(why));
                    self.association.abort();
                }
            }
        }
    }

    /// Opens the channel, if that is for us to do. Data may follow at once.
    fn open_ours(&mut self) {
        let Opening::Ours(ours) = &self.task.purpose.opening else {
            return;
        };
        let stream = ours.stream();
        let order = if ours.ordered {
            Order::Ordered
        } else {
            Order::UnorderedAfterAck
        };
        match ours.message() {
            Ok(message) => {
                self.say(stream, &message);
                self.open(stream, order);
            }
            Err(failure) => self.fail(failure),
        }
    }

    /// Sends a message of DCEP, before anything else is sent.
    fn say(&mut self, stream: u16, bytes: &[u8]) {
        let message = Outgoing::message(stream, PPID_DCEP);
        match self.association.send(message, bytes) {
            Ok(taken) => debug_assert_eq!(taken, bytes.len(), "nothing was sent before"),
            // It is over already, which is told in a moment.
            Err(error) => tracing::debug!(%error, "the channel is not opened"),
        }
    }

    fn open(&mut self, stream: u16, order: Order) {
        let size = self.task.purpose.max_message_size as usize;
        let below = Arc::clone(&self.task.shared);
        let (channel, ends) = channel(&self.task.purpose.config, size, below);
        self.channel = Some(OpenChannel::new(stream, order, ends));
        if let Some(opened) = self.task.opened.take() {
            let _ = opened.send(Ok(channel));
        }
    }

    /// The channel will not open.
    fn fail(&mut self, failure: Failure) {
        self.task.refuse(failure);
        self.association.abort();
    }

    /// Gives the association what waits to be sent.
    fn give(&mut self) {
        if let Some(channel) = &mut self.channel {
            let small = self.sizes.send == Size::Small;
            let given = channel.give(&mut self.association, &self.task.shared, small);
            self.went.count(given);
        }
    }

    /// Takes messages from the association for as long as there is room for them.
    fn take(&mut self) {
        while self.channel.as_ref().is_none_or(OpenChannel::has_room) {
            let (stream, count, whole) = match self.association.read() {
                Some(Received::Piece(piece)) if !is_wanted(self.channel.as_ref(), &piece) => {
                    if piece.first {
                        let (stream, ppid) = (piece.stream, piece.ppid);
                        tracing::debug!(stream, ppid, "nobody asked for that message");
                    }
                    (piece.stream, piece.bytes.len(), None)
                }
                Some(Received::Piece(piece)) => {
                    // What came in one piece is copied once.
                    let is_open = self.channel.is_some();
                    let whole = if piece.last && self.partial.is_empty() {
                        came(is_open, piece.ppid, piece.bytes)
                    } else {
                        self.partial.extend_from_slice(piece.bytes);
                        let all = piece.last.then_some(&self.partial);
                        all.and_then(|all| came(is_open, piece.ppid, all))
                    };
                    (piece.stream, piece.bytes.len(), whole)
                }
                Some(Received::Reset(stream)) => {
                    self.association.consume(0);
                    self.reset(stream);
                    continue;
                }
                Some(_) => {
                    self.partial.clear();
                    self.association.consume(0);
                    continue;
                }
                None => return,
            };
            self.association.consume(count);
            self.came.count(count);
            if let Some(came) = whole {
                self.partial.clear();
                if self.sizes.receive == Size::Small {
                    self.partial.shrink_to(PARTIAL_KEPT);
                }
                self.came(stream, came);
            }
        }
    }

    /// A whole message came.
    fn came(&mut self, stream: u16, came: Came) {
        match (came, &mut self.channel) {
            (Came::Opening(Ok(ordered)), None) => {
                self.say(stream, &dcep::ACK);
                let order = if ordered {
                    Order::Ordered
                } else {
                    Order::Unordered
                };
                self.open(stream, order);
            }
            (Came::Opening(Err(failure)), None) => self.fail(failure),
            (Came::Message(message), Some(channel)) => channel.deliver(message),
            (Came::Ack, Some(channel)) => channel.acknowledged(),
            (Came::Opening(_), Some(_)) | (Came::Message(_) | Came::Ack, None) => {
                debug_assert!(false, "it was looked whether there is a channel");
            }
        }
    }

    /// The remote closed the channel: it hears that ours is closed too, and that is the end.
    fn reset(&mut self, stream: Option<u16>) {
        let Some(ours) = self.channel.as_ref().map(|channel| channel.stream) else {
            return;
        };
        if stream.is_some_and(|stream| stream != ours) || self.phase != Phase::Going {
            return;
        }
        match self.association.reset_stream(ours) {
            Ok(()) => self.phase = Phase::Resetting(Instant::now() + RESET_WAIT),
            Err(error) => {
                tracing::debug!(%error, "our end of the channel is not reset");
                self.association.abort();
            }
        }
        self.ended(End::Ended);
    }

    fn ready(&mut self, ready: Ready) {
        if let Some(channel) = &mut self.channel {
            channel.ready(ready);
        }
    }

    /// Hands over what the remote sent before its end, as fast as it is read.
    async fn deliver_rest(mut self) {
        loop {
            self.take();
            match &mut self.channel {
                Some(channel) if !channel.has_room() => {
                    if !channel.wait_for_room().await {
                        return;
                    }
                }
                _ => return,
            }
        }
    }
}

/// Whether a piece is of a message that somebody wants. The rest is dropped as it comes.
fn is_wanted(channel: Option<&OpenChannel>, piece: &Piece<'_>) -> bool {
    let is_known = piece.ppid == PPID_DCEP || Message::is_ppid(piece.ppid);
    channel.is_none_or(|channel| channel.stream == piece.stream && is_known)
}

/// The session was told to end.
async fn ended(end: &mut watch::Receiver<Option<End>>) {
    let _ = end.wait_for(Option::is_some).await;
}
