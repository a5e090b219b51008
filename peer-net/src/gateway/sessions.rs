//! The WebRTC sessions of one leaf.

use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use core::task::{Context, Poll};
use std::sync::{Arc, OnceLock};

use peer_core::peer::{ConnectionHandle, RtcFailure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::assembly::Assembly;
use super::options::{CONNECTIONS_MAX, Settings};
use super::remotes::Remote;
use super::status::ConnectionStatus;
use crate::rtc::{ChannelReceiver, ChannelSender, IceState, Message, Session, SessionEvent};

/// Events of one session that wait to be put in order.
const EVENTS_MAX: usize = 32;
/// What of one session waits for the leaf beside what its channel holds, of either kind.
const INPUTS_MAX: usize = 1;

/// What a session has for the leaf. Messages and the end come in their order, and the rest in its
/// own: what the leaf has no credit for holds up no signal.
#[derive(Debug)]
pub(super) enum SessionInput {
    LocalDescription(String),
    LocalCandidate(String),
    IceState(IceState),
    DtlsConnected,
    Opened(ChannelSender),
    Message(Message),
    /// The remote has something of what was sent.
    Acknowledged,
    Closed,
    Failed(RtcFailure),
}

impl SessionInput {
    fn is_end(&self) -> bool {
        matches!(self, Self::Closed | Self::Failed(_))
    }
}

pub(super) struct Sessions {
    slots: Vec<Slot>,
    /// Where the next look for inputs begins: every session has its turn.
    turn: usize,
    /// Sessions begun.
    pub(super) begun: u64,
    /// Taken by sessions until nothing is left of them.
    places: Arc<Semaphore>,
    /// Held by whatever is to be waited for at the end.
    alive: mpsc::Sender<()>,
}

pub(super) struct Slot {
    pub(super) handle: ConnectionHandle,
    pub(super) session: Session,
    pub(super) channel: Option<ChannelSender>,
    /// What the leaf was told last: the bytes that are not acknowledged, of so many that it had
    /// sent.
    pub(super) told: (u32, u64),
    /// What the description of the leaf's offer is known by, once it has one.
    pub(super) offered: Option<u64>,
    pub(super) counts: Arc<Counts>,
    /// Data of the leaf on its way to the channel.
    pub(super) assembly: Assembly,
    signals: Queue,
    /// Messages, and the end behind them.
    data: Queue,
    /// Bytes of the message that is held in `data` that the leaf has.
    pub(super) given: usize,
    over: bool,
}

/// What comes one after the other, and the first of it if the link had no room.
struct Queue {
    inputs: mpsc::Receiver<SessionInput>,
    held: Option<SessionInput>,
}

/// Counters of one session, for the status.
#[derive(Debug)]
pub(super) struct Counts {
    number: u64,
    incoming: bool,
    remote: OnceLock<Remote>,
    began: Instant,
    open: AtomicBool,
    interrupted: AtomicBool,
    over: AtomicBool,
    messages_sent: AtomicU64,
    bytes_sent: AtomicU64,
    messages_received: AtomicU64,
    bytes_received: AtomicU64,
    buffered: AtomicU64,
}

/// How a session begins.
pub(super) enum Beginning<'a> {
    Offer {
        label: &'a str,
        ordered: bool,
    },
    Answer {
        offer: &'a str,
        remote: Option<Remote>,
    },
}

impl Sessions {
    pub(super) fn new(alive: mpsc::Sender<()>) -> Self {
        Self {
            slots: Vec::new(),
            turn: 0,
            begun: 0,
            places: Arc::new(Semaphore::new(2 * CONNECTIONS_MAX)),
            alive,
        }
    }

    /// Begins a session. `false`: it is one too many.
    pub(super) fn begin(
        &mut self,
        settings: &Settings,
        handle: ConnectionHandle,
        beginning: Beginning<'_>,
    ) -> bool {
        let limit = settings.limits.connections;
        let taken = 2 * CONNECTIONS_MAX - self.places.available_permits();
        if self.slots.len() >= limit || taken >= 2 * limit {
            return false;
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return false;
        };
        let (events, queue) = mpsc::channel(EVENTS_MAX);
        let rtc = settings.rtc.clone();
        self.begun += 1;
        let (session, counts) = match beginning {
            Beginning::Offer { label, ordered } => (
                Session::offer(rtc, label.to_owned(), ordered, events),
                Counts::new(self.begun, false),
            ),
            Beginning::Answer { offer, remote } => {
                let counts = Counts::new(self.begun, true);
                if let Some(remote) = remote {
                    let _ = counts.remote.set(remote);
                }
                (Session::answer(rtc, offer.to_owned(), events), counts)
            }
        };
        let counts = Arc::new(counts);
        let (signals, signals_queue) = mpsc::channel(INPUTS_MAX);
        let (data, data_queue) = mpsc::channel(INPUTS_MAX);
        let relay = Relay {
            events: queue,
            signals,
            data,
        };
        tokio::spawn(relay.run(place, self.alive.clone()));
        self.slots.push(Slot {
            handle,
            session,
            channel: None,
            told: (0, 0),
            offered: None,
            counts,
            assembly: Assembly::default(),
            signals: Queue::new(signals_queue),
            data: Queue::new(data_queue),
            given: 0,
            over: false,
        });
        true
    }

    pub(super) fn slot(&mut self, handle: ConnectionHandle) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.handle == handle)
    }

    /// Closes a session, so that its remote notices, and forgets it.
    pub(super) fn close(&mut self, handle: ConnectionHandle) {
        self.slots.retain(|slot| slot.handle != handle);
    }

    /// Whether the leaf is about to send an offer.
    pub(super) fn expect_offer(&self) -> bool {
        let mut counts = self.slots.iter().map(|slot| &slot.counts);
        counts.any(|counts| !counts.incoming && counts.remote.get().is_none())
    }

    /// The offer with this description goes to this remote.
    pub(super) fn offered(&mut self, description: u64, remote: Remote) {
        let mut slots = self.slots.iter();
        if let Some(slot) = slots.find(|slot| slot.offered == Some(description)) {
            let _ = slot.counts.remote.set(remote);
        }
    }

    pub(super) fn counts(&self) -> Vec<Arc<Counts>> {
        self.slots.iter().map(|slot| slot.counts.clone()).collect()
    }

    /// The next thing that a session has, other than for a queue that is held up; waits when none
    /// has. Cancel safe.
    pub(super) async fn next(&mut self) -> (ConnectionHandle, SessionInput) {
        poll_fn(|context| {
            let count = self.slots.len();
            for step in 0..count {
                let index = (self.turn + step) % count;
                if let Some(slot) = self.slots.get_mut(index)
                    && let Poll::Ready(input) = slot.poll(context)
                {
                    let handle = slot.handle;
                    self.turn = index + 1;
                    return Poll::Ready((handle, input));
                }
            }
            Poll::Pending
        })
        .await
    }

    pub(super) fn handles(&self) -> Vec<ConnectionHandle> {
        self.slots.iter().map(|slot| slot.handle).collect()
    }

    /// Whether a channel has no room for what a leaf sent.
    pub(super) fn waits_for_channel(&self) -> bool {
        self.slots.iter().any(|slot| slot.assembly.waits())
    }
}

impl Queue {
    fn new(inputs: mpsc::Receiver<SessionInput>) -> Self {
        Self { inputs, held: None }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<SessionInput>> {
        match self.held {
            Some(_) => Poll::Pending,
            None => self.inputs.poll_recv(context),
        }
    }
}

impl Slot {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<SessionInput> {
        if self.over {
            return Poll::Pending;
        }
        if let Poll::Ready(Some(input)) = self.signals.poll(context) {
            return Poll::Ready(input);
        }
        // Data is the leaf's only once it knows that the channel is open.
        if self.signals.held.is_some() {
            return Poll::Pending;
        }
        let input = match self.data.poll(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(input)) => input,
            // Its task failed.
            Poll::Ready(None) => SessionInput::Closed,
        };
        self.over = input.is_end();
        self.counts.over.store(self.over, Relaxed);
        Poll::Ready(input)
    }

    /// Ends the session by this side: nothing more comes of it, and nothing goes.
    pub(super) fn fail(&mut self) {
        self.session.close();
        self.channel = None;
        self.assembly = Assembly::default();
        let _ = self.take_held();
        self.over = true;
        self.counts.over.store(true, Relaxed);
    }

    /// Keeps what the link had no room for.
    pub(super) fn hold(&mut self, input: SessionInput) {
        let queue = match input {
            SessionInput::Message(_) | SessionInput::Closed | SessionInput::Failed(_) => {
                &mut self.data
            }
            _ => &mut self.signals,
        };
        debug_assert!(queue.held.is_none(), "nothing is taken behind what is held");
        queue.held = Some(input);
    }

    /// What the link had no room for.
    pub(super) fn take_held(&mut self) -> [Option<SessionInput>; 2] {
        [self.signals.held.take(), self.data.held.take()]
    }

    pub(super) fn ice_state(&self, state: IceState) {
        let interrupted = state == IceState::Disconnected;
        self.counts.interrupted.store(interrupted, Relaxed);
    }

    pub(super) fn open(&mut self, channel: ChannelSender) {
        self.channel = Some(channel);
        self.counts.open.store(true, Relaxed);
    }

    pub(super) fn buffered(&self) -> usize {
        let buffered = self
            .channel
            .as_ref()
            .map_or(0, ChannelSender::buffered_amount);
        self.counts.buffered.store(buffered as u64, Relaxed);
        buffered
    }
}

impl Counts {
    fn new(number: u64, incoming: bool) -> Self {
        Self {
            number,
            incoming,
            remote: OnceLock::new(),
            began: Instant::now(),
            open: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            over: AtomicBool::new(false),
            messages_sent: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
            messages_received: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
            buffered: AtomicU64::new(0),
        }
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.messages_sent.fetch_add(1, Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Relaxed)
    }

    pub(super) fn received(&self, bytes: usize) {
        self.messages_received.fetch_add(1, Relaxed);
        self.bytes_received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn status(&self) -> ConnectionStatus {
        let state = if self.over.load(Relaxed) {
            "closed"
        } else if !self.open.load(Relaxed) {
            "connecting"
        } else if self.interrupted.load(Relaxed) {
            "interrupted"
        } else {
            "open"
        };
        let remote = self.remote.get();
        ConnectionStatus {
            number: self.number,
            peer: remote.map(|remote| remote.peer.clone()),
            connection_id: remote.and_then(|remote| remote.connection_id.clone()),
            label: remote.and_then(|remote| remote.label.clone()),
            state,
            incoming: self.incoming,
            since: self.began.elapsed().as_secs(),
            messages_sent: self.messages_sent.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            messages_received: self.messages_received.load(Relaxed),
            bytes_received: self.bytes_received.load(Relaxed),
            buffered: self.buffered.load(Relaxed),
        }
    }
}

/// Puts a session's events and its channel's messages into the orders of [`SessionInput`].
struct Relay {
    events: mpsc::Receiver<SessionEvent>,
    signals: mpsc::Sender<SessionInput>,
    data: mpsc::Sender<SessionInput>,
}

/// The leaf has closed the session.
struct Gone;

impl Relay {
    async fn run(mut self, place: OwnedSemaphorePermit, alive: mpsc::Sender<()>) {
        let _ = self.relay().await;
        drop(self.signals);
        drop(self.data);
        // The last event comes when nothing of the session is left.
        while self.events.recv().await.is_some() {}
        drop(place);
        drop(alive);
    }

    async fn relay(&mut self) -> Result<(), Gone> {
        while let Some(event) = self.events.recv().await {
            if let SessionEvent::Open(sender, receiver) = event {
                self.put(SessionInput::Opened(sender.clone())).await?;
                return self.data(&sender, receiver).await;
            }
            self.event(event).await?;
        }
        Ok(())
    }

    /// While the channel is open, and what is left in it after.
    async fn data(
        &mut self,
        sender: &ChannelSender,
        mut receiver: ChannelReceiver,
    ) -> Result<(), Gone> {
        let data = self.data.clone();
        let mut place = None;
        let mut acknowledged = core::pin::pin!(sender.acknowledged());
        let mut sending = true;
        let last = loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event @ SessionEvent::IceState(_)) => self.event(event).await?,
                    Some(SessionEvent::Failed(failure, _)) => break SessionInput::Failed(failure),
                    Some(SessionEvent::Closed) | None => break SessionInput::Closed,
                    Some(_) => {}
                },
                // A leaf that takes no data of this session hears all else of it.
                reserved = data.reserve(), if place.is_none() => {
                    place = Some(reserved.map_err(|_| Gone)?);
                }
                Some(message) = receiver.recv(), if place.is_some() => {
                    if let Some(place) = place.take() {
                        place.send(SessionInput::Message(message));
                    }
                }
                more = &mut acknowledged, if sending => {
                    // In this order: what is acknowledged while the leaf is told makes another
                    // round.
                    acknowledged.set(sender.acknowledged());
                    sending = more;
                    self.put(SessionInput::Acknowledged).await?;
                }
            }
        };
        drop(place);
        while let Some(message) = receiver.recv().await {
            self.put(SessionInput::Message(message)).await?;
        }
        self.put(last).await
    }

    async fn event(&self, event: SessionEvent) -> Result<(), Gone> {
        self.put(match event {
            SessionEvent::LocalDescription(sdp) => SessionInput::LocalDescription(sdp),
            SessionEvent::LocalCandidate(candidate) => SessionInput::LocalCandidate(candidate),
            SessionEvent::IceState(state) => SessionInput::IceState(state),
            SessionEvent::DtlsConnected => SessionInput::DtlsConnected,
            SessionEvent::Open(sender, _) => SessionInput::Opened(sender),
            SessionEvent::Closed => SessionInput::Closed,
            SessionEvent::Failed(failure, sentence) => {
                tracing::debug!(target: "peer_net", "a leaf's session failed: {sentence}");
                SessionInput::Failed(failure)
            }
        })
        .await
    }

    async fn put(&self, input: SessionInput) -> Result<(), Gone> {
        let queue = match input {
            SessionInput::Message(_) | SessionInput::Closed | SessionInput::Failed(_) => &self.data,
            _ => &self.signals,
        };
        queue.send(input).await.map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_leaf_hears_how_far_its_session_has_come() {
        let (events, queue) = mpsc::channel(EVENTS_MAX);
        let (signals, mut told) = mpsc::channel(INPUTS_MAX);
        let (data, mut ends) = mpsc::channel(INPUTS_MAX);
        let mut relay = Relay {
            events: queue,
            signals,
            data,
        };
        tokio::spawn(async move {
            let _ = relay.relay().await;
        });
        for event in [
            SessionEvent::IceState(IceState::Connected),
            SessionEvent::DtlsConnected,
            SessionEvent::Failed(RtcFailure::Sctp, "it was refused".to_owned()),
        ] {
            assert!(events.send(event).await.is_ok());
        }
        let mut next = async || told.recv().await;
        assert!(matches!(
            next().await,
            Some(SessionInput::IceState(IceState::Connected))
        ));
        assert!(matches!(next().await, Some(SessionInput::DtlsConnected)));
        assert!(matches!(
            ends.recv().await,
            Some(SessionInput::Failed(RtcFailure::Sctp))
        ));
    }
}
