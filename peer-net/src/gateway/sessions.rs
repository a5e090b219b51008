//! The running WebRTC sessions of one leaf.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use peer_core::peer::ConnectionHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::leaf::{Beginning, SessionInput, Takes};
use super::options::CONNECTIONS_MAX;
use crate::rtc::{
    ChannelReceiver, ChannelSender, Endpoint, Message, SendError, Session, SessionEvent,
};

/// Events of one session that wait to be put in order.
const EVENTS_MAX: usize = 32;
/// What of one session waits for the leaf beside what its channel holds, of either kind.
const INPUTS_MAX: usize = 1;

/// What comes of a session.
pub(super) enum FromSession {
    Input(SessionInput),
    /// What came of a message that waited for room: what is not acknowledged now, in bytes.
    Sent(Result<usize, SendError>),
}

/// As a session's task has it.
enum Event {
    Opened(ChannelSender),
    Acknowledged,
    Input(SessionInput),
}

pub(super) struct Sessions {
    /// In the order in which they began.
    sessions: Vec<Running>,
    /// Where the next look for events begins: every session has its turn.
    turn: usize,
    /// Taken by sessions until nothing is left of them.
    places: Arc<Semaphore>,
    /// Held by whatever is to be waited for at the end.
    alive: mpsc::Sender<()>,
}

struct Running {
    handle: ConnectionHandle,
    session: Session,
    channel: Option<ChannelSender>,
    /// A message that waits for room in the channel.
    waiting: Option<Waiting>,
    /// What may be taken now.
    takes: Takes,
    signals: mpsc::Receiver<Event>,
    /// Messages, and the end behind them.
    data: mpsc::Receiver<Event>,
}

/// Only leaves know who their remotes are, and several may have the same one: no two sessions share
/// sockets.
const REMOTE: &str = "";

type Waiting = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>>;

impl Sessions {
    pub(super) fn new(alive: mpsc::Sender<()>) -> Self {
        Self {
            sessions: Vec::new(),
            turn: 0,
            places: Arc::new(Semaphore::new(2 * CONNECTIONS_MAX)),
            alive,
        }
    }

    /// Sessions of which something is left.
    pub(super) fn running(&self) -> usize {
        2 * CONNECTIONS_MAX - self.places.available_permits()
    }

    /// Begins a session.
    pub(super) fn begin(&mut self, rtc: &Endpoint, handle: ConnectionHandle, beginning: Beginning) {
        let place = self.places.clone().try_acquire_owned();
        debug_assert!(place.is_ok(), "no more begin than there are places");
        let (events, queue) = mpsc::channel(EVENTS_MAX);
        let session = match beginning {
            Beginning::Offer { label, ordered } => rtc.offer(REMOTE, label, ordered, events),
            Beginning::Answer { offer } => rtc.answer(REMOTE, offer, events),
        };
        let (signals, signals_queue) = mpsc::channel(INPUTS_MAX);
        let (data, data_queue) = mpsc::channel(INPUTS_MAX);
        let relay = Relay {
            events: queue,
            signals,
            data,
        };
        tokio::spawn(relay.run(place.ok(), self.alive.clone()));
        self.sessions.push(Running {
            handle,
            session,
            channel: None,
            waiting: None,
            takes: Takes::Nothing,
            signals: signals_queue,
            data: data_queue,
        });
    }

    pub(super) fn session(&self, handle: ConnectionHandle) -> Option<&Session> {
        let mut sessions = self.sessions.iter();
        let running = sessions.find(|running| running.handle == handle)?;
        Some(&running.session)
    }

    /// Hands a message to the session's channel. `None`: it waits for room, or the session is gone.
    pub(super) fn send(
        &mut self,
        handle: ConnectionHandle,
        message: Message,
    ) -> Option<Result<usize, SendError>> {
        let mut sessions = self.sessions.iter_mut();
        let running = sessions.find(|running| running.handle == handle)?;
        let channel = running.channel.clone()?;
        match channel.try_send(message.clone()) {
            Ok(()) => Some(Ok(channel.buffered_amount())),
            Err(SendError::Full) => {
                running.waiting = Some(Box::pin(async move { channel.send(message).await }));
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Closes a session, so that its remote notices, and forgets it.
    pub(super) fn close(&mut self, handle: ConnectionHandle) {
        self.sessions.retain(|running| running.handle != handle);
    }

    /// Says what may be taken of each session, in the order in which they began. Of others nothing.
    pub(super) fn allow(&mut self, takes: impl Iterator<Item = (ConnectionHandle, Takes)>) {
        let mut sessions = self.sessions.iter_mut();
        for (handle, takes) in takes {
            for running in sessions.by_ref() {
                let is_it = running.handle == handle;
                running.takes = if is_it { takes } else { Takes::Nothing };
                if is_it {
                    break;
                }
            }
        }
        for running in sessions {
            running.takes = Takes::Nothing;
        }
    }

    /// The next thing that a session has and that may be taken; waits when none has. Cancel safe.
    pub(super) async fn next(&mut self) -> (ConnectionHandle, FromSession) {
        poll_fn(|context| {
            let count = self.sessions.len();
            for step in 0..count {
                let index = (self.turn + step) % count;
                if let Some(running) = self.sessions.get_mut(index)
                    && let Poll::Ready(from) = running.poll(context)
                {
                    let handle = running.handle;
                    self.turn = index + 1;
                    return Poll::Ready((handle, from));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Running {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<FromSession> {
        if let Some(waiting) = &mut self.waiting
            && let Poll::Ready(result) = waiting.as_mut().poll(context)
        {
            self.waiting = None;
            return Poll::Ready(FromSession::Sent(result.map(|()| self.buffered())));
        }
        if self.takes != Takes::Nothing
            && let Poll::Ready(Some(event)) = self.signals.poll_recv(context)
        {
            return Poll::Ready(FromSession::Input(self.input(event)));
        }
        if self.takes != Takes::All {
            return Poll::Pending;
        }
        self.data.poll_recv(context).map(|event| {
            // Without an end its task failed.
            let closed = Event::Input(SessionInput::Closed);
            FromSession::Input(self.input(event.unwrap_or(closed)))
        })
    }

    fn input(&mut self, event: Event) -> SessionInput {
        match event {
            Event::Opened(channel) => {
                self.channel = Some(channel);
                SessionInput::Opened
            }
            Event::Acknowledged => SessionInput::Acknowledged(self.buffered()),
            Event::Input(input) => input,
        }
    }

    fn buffered(&self) -> usize {
        let channel = self.channel.as_ref();
        channel.map_or(0, ChannelSender::buffered_amount)
    }
}

/// Puts a session's events and its channel's messages into the orders of [`SessionInput`].
struct Relay {
    events: mpsc::Receiver<SessionEvent>,
    signals: mpsc::Sender<Event>,
    data: mpsc::Sender<Event>,
}

/// The leaf has closed the session.
struct Gone;

impl Relay {
    async fn run(mut self, place: Option<OwnedSemaphorePermit>, alive: mpsc::Sender<()>) {
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
                self.put(Event::Opened(sender.clone())).await?;
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
                        place.send(Event::Input(SessionInput::Message(message)));
                    }
                }
                more = &mut acknowledged, if sending => {
                    // In this order: what is acknowledged while the leaf is told makes another
                    // round.
                    acknowledged.set(sender.acknowledged());
                    sending = more;
                    self.put(Event::Acknowledged).await?;
                }
            }
        };
        drop(place);
        while let Some(message) = receiver.recv().await {
            self.put(Event::Input(SessionInput::Message(message)))
                .await?;
        }
        self.put(Event::Input(last)).await
    }

    async fn event(&self, event: SessionEvent) -> Result<(), Gone> {
        self.put(Event::Input(match event {
            SessionEvent::LocalDescription(sdp) => SessionInput::LocalDescription(sdp),
            SessionEvent::LocalCandidate(candidate) => SessionInput::LocalCandidate(candidate),
            SessionEvent::IceState(state) => SessionInput::IceState(state),
            SessionEvent::DtlsConnected => SessionInput::DtlsConnected,
            SessionEvent::Open(sender, _) => return self.put(Event::Opened(sender)).await,
            SessionEvent::Closed => SessionInput::Closed,
            SessionEvent::Failed(failure, sentence) => {
                tracing::debug!(target: "peer_net", "a leaf's session failed: {sentence}");
                SessionInput::Failed(failure)
            }
        }))
        .await
    }

    async fn put(&self, event: Event) -> Result<(), Gone> {
        let queue = match &event {
            Event::Input(input) if input.is_data() => &self.data,
            _ => &self.signals,
        };
        queue.send(event).await.map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use peer_core::peer::RtcFailure;

    use super::*;
    use crate::rtc::IceState;

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
        let input = |event| match event {
            Some(Event::Input(input)) => input,
            _ => panic!("an input"),
        };
        let mut next = async || input(told.recv().await);
        assert!(matches!(
            next().await,
            SessionInput::IceState(IceState::Connected)
        ));
        assert!(matches!(next().await, SessionInput::DtlsConnected));
        assert!(matches!(
            input(ends.recv().await),
            SessionInput::Failed(RtcFailure::Sctp)
        ));
    }
}
