//! One connection's data plane: what its handles, its reader and the driver share. Messages pass here and
//! never through the driver.

mod reading;
mod sending;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use peer_core::peer::ConnectionHandle;
use peer_core::serialization::Serialization;
use peer_core::wire::chunk;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::{CloseReason, ConnectionFailure};
use crate::event::ConnectionInfo;
use crate::inbox::Queue;
use crate::rtc::{ChannelReceiver, ChannelSender, Message};
use crate::shared::{Shared, lock};
use reading::read;
use sending::Count;

/// How long a remote that was asked to close may take. PeerJS before 1.5 does not know the request.
const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// Where a connection stands, for those who wait.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Opening,
    Open,
    Over(CloseReason),
}

pub(crate) struct DataPlane {
    pub(crate) info: Arc<ConnectionInfo>,
    pub(crate) inbox: Queue,
    handle: ConnectionHandle,
    shared: Arc<Shared>,
    state: watch::Sender<State>,
    channel: OnceLock<ChannelSender>,
    /// The id of the last chunked message.
    chunk_id: AtomicU32,
    /// The remote's last JSON came as text, so it may be a PeerJS from before 1.5 that knows no other.
    json_as_text: AtomicBool,
    /// Why it will be over; the first reason stays.
    ending: Mutex<Option<CloseReason>>,
    finishing: AtomicBool,
    /// Bytes handed to the channel. Wraps.
    handed_over: AtomicUsize,
    /// Messages on their way in chunks.
    in_chunks: Count,
    /// Those of them whose `send` is gone.
    left_behind: Count,
}

impl DataPlane {
    pub(crate) fn new(
        info: Arc<ConnectionInfo>,
        handle: ConnectionHandle,
        shared: Arc<Shared>,
    ) -> Arc<Self> {
        Arc::new(Self {
            info,
            inbox: Queue::default(),
            handle,
            shared,
            state: watch::Sender::new(State::Opening),
            channel: OnceLock::new(),
            chunk_id: AtomicU32::new(0),
            json_as_text: AtomicBool::new(false),
            ending: Mutex::default(),
            finishing: AtomicBool::new(false),
            handed_over: AtomicUsize::new(0),
            in_chunks: Count::default(),
            left_behind: Count::default(),
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.state.borrow(), State::Open) && lock(&self.ending).is_none()
    }

    pub(crate) async fn opened(&self) -> Result<(), ConnectionFailure> {
        let mut state = self.state.subscribe();
        match state
            .wait_for(|state| !matches!(state, State::Opening))
            .await
            .as_deref()
        {
            Ok(State::Over(CloseReason::NeverOpened(failure))) => Err(failure.clone()),
            _ => Ok(()),
        }
    }

    pub(crate) async fn closed(&self) -> CloseReason {
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

    pub(crate) fn count_malformed(&self) {
        self.shared.count(|stats| stats.malformed_messages += 1);
    }

    // Its life, as the driver tells it.

    /// The channel is there. Its reader runs until the channel ends.
    pub(crate) fn attach(self: &Arc<Self>, sender: ChannelSender, receiver: ChannelReceiver) {
        if self.channel.set(sender).is_ok() {
            self.shared.runtime.spawn(read(self.clone(), receiver));
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
        if self.channel.get().is_none() {
            // No reader will do it.
            self.inbox.end();
        }
        reason
    }

    // Its end, as asked for.

    /// Closes at once.
    pub(crate) fn close(&self, reason: CloseReason) {
        if matches!(*self.state.borrow(), State::Over(_)) {
            return;
        }
        lock(&self.ending).get_or_insert(reason);
        self.shared.close(self.handle);
    }

    /// Closes after delivery; the driver runs [`finish`](Self::finish).
    pub(crate) fn close_later(self: &Arc<Self>) {
        if matches!(*self.state.borrow(), State::Over(_)) {
            return;
        }
        if !self.finishing.swap(true, Ordering::AcqRel) {
            self.shared.finish(self.clone());
        }
    }

    /// Nobody has a handle any more.
    pub(crate) fn abandon(self: &Arc<Self>) {
        self.inbox.abandon();
        if self.channel.get().is_some() {
            self.close_later();
        } else {
            self.close(CloseReason::Local);
        }
    }

    /// Waits for delivery, asks the remote to close, and closes if it does not.
    ///
    /// Delivery comes first even where messages keep their order: on an unordered channel the request would
    /// overtake them.
    pub(crate) async fn finish(self: Arc<Self>) {
        let over = async {
            let _ = self.opened().await;
            let Some(channel) = self.channel.get() else {
                return;
            };
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
