//! The WebRTC sessions of one leaf.

use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use core::task::Poll;
use std::sync::{Arc, OnceLock};

use peer_core::peer::{ConnectionHandle, IceState, RtcFailure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::options::{CONNECTIONS_MAX, Settings};
use super::remotes::Remote;
use super::status::ConnectionStatus;
use crate::rtc::{ChannelReceiver, ChannelSender, Message, Session, SessionEvent};

/// Events of one session that wait to be put in order.
const EVENTS_MAX: usize = 32;
/// What of one session waits for the leaf beside what its channel holds.
const INPUTS_MAX: usize = 1;

/// What a session has for the leaf, in the order that the engine expects.
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
    /// What the leaf was told last: the bytes that are not acknowledged, of so many that it had sent.
    pub(super) told: (u32, u64),
    /// What the description of the leaf's offer is known by, once it has one.
    pub(super) offered: Option<u64>,
    pub(super) counts: Arc<Counts>,
    inputs: mpsc::Receiver<SessionInput>,
    over: bool,
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
        let (sender, inputs) = mpsc::channel(INPUTS_MAX);
        let relay = Relay {
            events: queue,
            inputs: sender,
        };
        tokio::spawn(relay.run(place, self.alive.clone()));
        self.slots.push(Slot {
            handle,
            session,
            channel: None,
            told: (0, 0),
            offered: None,
            counts,
            inputs,
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

    /// The next thing that a session has; waits when none has. Cancel safe.
    pub(super) async fn next(&mut self) -> (ConnectionHandle, SessionInput) {
        poll_fn(|context| {
            let count = self.slots.len();
            for step in 0..count {
                let index = (self.turn + step) % count;
                let Some(slot) = self.slots.get_mut(index).filter(|slot| !slot.over) else {
                    continue;
                };
                let input = match slot.inputs.poll_recv(context) {
                    Poll::Pending => continue,
                    Poll::Ready(Some(input)) => input,
                    // Its task failed.
                    Poll::Ready(None) => SessionInput::Closed,
                };
                slot.over = matches!(input, SessionInput::Closed | SessionInput::Failed(_));
                slot.counts.over.store(slot.over, Relaxed);
                self.turn = index + 1;
                return Poll::Ready((slot.handle, input));
            }
            Poll::Pending
        })
        .await
    }
}

impl Slot {
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

/// Puts a session's events and its channel's messages into one order.
struct Relay {
    events: mpsc::Receiver<SessionEvent>,
    inputs: mpsc::Sender<SessionInput>,
}

/// The leaf has closed the session.
struct Gone;

impl Relay {
    async fn run(mut self, place: OwnedSemaphorePermit, alive: mpsc::Sender<()>) {
        let _ = self.relay().await;
        drop(self.inputs);
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
            self.control(event).await?;
        }
        Ok(())
    }

    /// While the channel is open, and what is left in it after.
    async fn data(
        &mut self,
        sender: &ChannelSender,
        mut receiver: ChannelReceiver,
    ) -> Result<(), Gone> {
        let mut acknowledged = core::pin::pin!(sender.acknowledged());
        let mut sending = true;
        let last = loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event @ SessionEvent::IceState(_)) => self.control(event).await?,
                    Some(SessionEvent::Failed(failure, _)) => break SessionInput::Failed(failure),
                    Some(SessionEvent::Closed) | None => break SessionInput::Closed,
                    Some(_) => {}
                },
                Some(message) = receiver.recv() => self.put(SessionInput::Message(message)).await?,
                more = &mut acknowledged, if sending => {
                    // In this order: what is acknowledged while the leaf is told makes another round.
                    acknowledged.set(sender.acknowledged());
                    sending = more;
                    self.put(SessionInput::Acknowledged).await?;
                }
            }
        };
        while let Some(message) = receiver.recv().await {
            self.put(SessionInput::Message(message)).await?;
        }
        self.put(last).await
    }

    async fn control(&self, event: SessionEvent) -> Result<(), Gone> {
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
        self.inputs.send(input).await.map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_leaf_hears_how_far_its_session_has_come() {
        let (events, queue) = mpsc::channel(EVENTS_MAX);
        let (inputs, mut told) = mpsc::channel(INPUTS_MAX);
        let mut relay = Relay {
            events: queue,
            inputs,
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
        let failed = next().await;
        assert!(matches!(
            failed,
            Some(SessionInput::Failed(RtcFailure::Sctp))
        ));
    }
}
