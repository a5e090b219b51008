//! What the handles of one connection, its reader, its writer and the driver share. Messages pass
//! here and never through the driver.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use peer_core::peer::ConnectionHandle;
use peer_core::serialization::Serialization;
use peer_core::wire::chunk;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::Instrument as _;

use super::assembly::{Assembly, Incomplete};
use super::owner::Owner;
use super::queue::Queue;
use super::receiving::{Arrived, read};
use super::sending::write;
use crate::budget::Account;
use crate::codec::Outgoing;
use crate::error::{CloseReason, ConnectionFailure};
use crate::event::ConnectionInfo;
use crate::rtc::{ChannelReceiver, ChannelSender, Message};
use crate::sync::{Mutex, lock};

/// Bytes of one connection that wait for `recv`; one message fits always. At the limit the reader
/// of the channel waits, then the channel's window closes and the remote waits.
pub(super) const INBOX_BYTES_MAX: usize = 1 << 20;
/// Bytes of one connection that were sent and wait for the channel; one message fits always. At the
/// limit `send` waits.
pub(super) const OUTBOX_BYTES_MAX: usize = 256 << 10;
/// How long a remote that was asked to close may take. PeerJS before 1.5 does not know the request.
const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// Where a connection stands, for those who wait.
#[derive(Clone, Debug)]
pub(super) enum State {
    Opening,
    Open,
    Over(CloseReason),
}

pub(crate) struct DataPlane {
    pub(crate) info: Arc<ConnectionInfo>,
    pub(super) inbox: Queue<Arrived>,
    /// What the messages of the inbox hold of the bytes of all inboxes.
    pub(super) account: Account,
    /// Nobody will receive any more.
    pub(super) abandoned: Notify,
    pub(super) outbox: Queue<Outgoing>,
    pub(super) owner: Arc<dyn Owner>,
    pub(super) channel: OnceLock<ChannelSender>,
    /// The remote's last JSON came as text, so it may be a PeerJS from before 1.5 that knows no
    /// other.
    pub(super) json_as_text: AtomicBool,
    /// Bytes handed to the channel. Wraps.
    pub(super) handed_over: AtomicUsize,
    /// Bytes that came over the channel. Wraps.
    pub(super) received: AtomicUsize,
    handle: ConnectionHandle,
    state: watch::Sender<State>,
    /// Why it will be over; the first reason stays.
    ending: Mutex<Option<CloseReason>>,
    finishing: AtomicBool,
    message_max: usize,
    incomplete: Incomplete,
}

impl DataPlane {
    /// `message_max`: bytes of the largest message taken. `incomplete`: what the connections of a
    /// peer have together for incomplete ones. `account`: what it has of the bytes of all inboxes.
    pub(crate) fn new(
        info: Arc<ConnectionInfo>,
        handle: ConnectionHandle,
        owner: Arc<dyn Owner>,
        message_max: usize,
        incomplete: Incomplete,
        account: Account,
    ) -> Arc<Self> {
        Arc::new(Self {
            info,
            inbox: Queue::new(INBOX_BYTES_MAX),
            account,
            abandoned: Notify::new(),
            outbox: Queue::new(OUTBOX_BYTES_MAX),
            owner,
            channel: OnceLock::new(),
            json_as_text: AtomicBool::new(false),
            handed_over: AtomicUsize::new(0),
            received: AtomicUsize::new(0),
            handle,
            state: watch::Sender::new(State::Opening),
            ending: Mutex::default(),
            finishing: AtomicBool::new(false),
            message_max,
            incomplete,
        })
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(*self.state.borrow(), State::Open) && lock(&self.ending).is_none()
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(*self.state.borrow(), State::Over(_))
    }

    /// Whether it is over, or this side is ending it.
    pub(super) fn is_ending(&self) -> bool {
        self.is_over() || lock(&self.ending).is_some()
    }

    /// Waits until it is open or over.
    pub(super) async fn settled(&self) {
        let mut state = self.state.subscribe();
        // The sender lives in `self`.
        let _ = state
            .wait_for(|state| !matches!(state, State::Opening))
            .await;
    }

    pub(super) async fn opened(&self) -> Result<(), ConnectionFailure> {
        self.settled().await;
        match &*self.state.borrow() {
            State::Over(CloseReason::NeverOpened(failure)) => Err(failure.clone()),
            _ => Ok(()),
        }
    }

    pub(super) async fn closed(&self) -> CloseReason {
        let mut state = self.state.subscribe();
        match state
            .wait_for(|state| matches!(state, State::Over(_)))
            .await
            .as_deref()
        {
            Ok(State::Over(reason)) => reason.clone(),
            _ => CloseReason::Destroyed,
        }
    }

    /// Why it is over or will be; `None` as long as nothing ends it.
    pub(super) fn reason(&self) -> Option<CloseReason> {
        if let State::Over(reason) = &*self.state.borrow() {
            return Some(reason.clone());
        }
        lock(&self.ending).clone()
    }

    /// What the log says around what happens on it.
    pub(crate) fn span(&self) -> tracing::Span {
        let (id, remote) = (self.info.connection_id.as_str(), self.info.peer.as_str());
        tracing::info_span!(target: "peer_net", "connection", id, remote)
    }

    pub(super) fn assembly(&self) -> Assembly {
        Assembly::new(self.message_max, self.incomplete.clone())
    }

    // Its life, as the driver tells it.

    /// The channel is there. Its reader and its writer run until it ends.
    pub(crate) fn attach(self: &Arc<Self>, sender: ChannelSender, receiver: ChannelReceiver) {
        if self.channel.set(sender.clone()).is_ok() {
            let runtime = self.owner.runtime();
            runtime.spawn(read(self.clone(), receiver).instrument(self.span()));
            runtime.spawn(write(self.clone(), sender).instrument(self.span()));
        }
    }

    /// Both sides may send.
    pub(crate) fn open(&self) {
        self.state.send_if_modified(|state| {
            let opens = matches!(state, State::Opening);
            if opens {
                *state = State::Open;
            }
            opens
        });
    }

    /// It is over. Returns the reason, which is an earlier one if there was.
    pub(crate) fn end(&self, reason: CloseReason) -> CloseReason {
        let reason = match (lock(&self.ending).take(), reason) {
            (_, reason @ CloseReason::NeverOpened(_)) => reason,
            (Some(earlier), _) => earlier,
            (None, reason) => reason,
        };
        self.state.send_if_modified(|state| {
            let ends = !matches!(state, State::Over(_));
            if ends {
                *state = State::Over(reason.clone());
            }
            ends
        });
        self.outbox.abandon();
        if self.channel.get().is_none() {
            // No reader will do it.
            self.inbox.end();
        }
        reason
    }

    // Its end, as asked for.

    /// Closes at once.
    pub(crate) fn close(&self, reason: CloseReason) {
        if self.is_over() {
            return;
        }
        lock(&self.ending).get_or_insert(reason);
        self.outbox.abandon();
        self.owner.close(self.handle);
    }

    /// Closes once what was sent is delivered. Nothing more is taken to be sent.
    pub(crate) fn close_later(self: &Arc<Self>) {
        if self.is_over() {
            return;
        }
        if !self.finishing.swap(true, Ordering::AcqRel) {
            let finish = self.clone().finish().instrument(self.span());
            self.owner.runtime().spawn(finish);
        }
    }

    /// Nobody has a handle any more.
    pub(super) fn abandon(self: &Arc<Self>) {
        self.inbox.abandon();
        self.abandoned.notify_one();
        self.leave();
    }

    /// Closes once what was sent is delivered; at once where nothing can have been.
    pub(crate) fn leave(self: &Arc<Self>) {
        if self.channel.get().is_some() {
            self.close_later();
        } else {
            self.close(CloseReason::Local);
        }
    }

    /// Waits for delivery, asks the remote to close, and closes if it does not.
    ///
    /// Delivery comes first even where messages keep their order: on an unordered channel the
    /// request would overtake them.
    async fn finish(self: Arc<Self>) {
        let over = async {
            self.settled().await;
            let Some(channel) = self.channel.get() else {
                return;
            };
            self.outbox.end();
            self.delivered(channel).await;
            let request = match self.info.serialization {
                Serialization::Binary | Serialization::BinaryUtf8 => {
                    Message::Binary(Bytes::from_static(chunk::CLOSE))
                }
                Serialization::Json if self.json_as_text.load(Ordering::Relaxed) => {
                    Message::Text(chunk::CLOSE_JSON.to_owned())
                }
                Serialization::Json => {
                    Message::Binary(Bytes::from_static(chunk::CLOSE_JSON.as_bytes()))
                }
                // Nothing in these could ask for it.
                _ => return,
            };
            lock(&self.ending).get_or_insert(CloseReason::Local);
            if timeout(CLOSE_WAIT, channel.send_last(request))
                .await
                .is_ok_and(|sent| sent.is_ok())
            {
                let _ = timeout(CLOSE_WAIT, self.closed()).await;
            }
        };
        tokio::select! {
            () = over => {}
            _ = self.closed() => {}
        }
        self.close(CloseReason::Local);
    }
}
