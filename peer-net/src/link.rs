//! One connection's data plane: what its handles, its reader and the driver share. Messages pass here and
//! never through the driver.

use core::num::NonZeroU32;
use core::time::Duration;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use peer_core::peer::{ConnectionError, ConnectionHandle};
use peer_core::serialization::Serialization;
use peer_core::wire::chunk::{self, Received};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::codec::{self, Outgoing};
use crate::error::{CloseReason, ConnectionFailure, SendError};
use crate::event::{ConnectionInfo, Event};
use crate::inbox::{Assembly, Part, Payload, Queue};
use crate::rtc::{self, ChannelReceiver, ChannelSender, Message};
use crate::shared::{Shared, lock};

/// How long a closing connection may deliver nothing of what was sent before the rest is given up.
const FLUSH_STALL: Duration = Duration::from_secs(10);
/// How long a remote that was asked to close may take. PeerJS before 1.5 does not know the request.
const CLOSE_WAIT: Duration = Duration::from_secs(3);
/// How deep chunked messages may be nested in chunked messages. Deeper ones are dropped and counted.
const NESTED_MAX: usize = 4;

/// Where a connection stands, for those who wait.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Opening,
    Open,
    Over(CloseReason),
}

pub(crate) struct Link {
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
    /// A task of `try_send` is still handing over the chunks of a message.
    pouring: AtomicBool,
}

impl Link {
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
            pouring: AtomicBool::new(false),
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

    pub(crate) fn buffered_amount(&self) -> usize {
        self.channel.get().map_or(0, ChannelSender::buffered_amount)
    }

    pub(crate) fn count_malformed(&self) {
        self.shared.count(|stats| stats.malformed_messages += 1);
    }

    // Sending.

    /// The channel, once it is open.
    async fn ready(&self) -> Result<&ChannelSender, SendError> {
        if lock(&self.ending).is_none() {
            if let Some(channel) = self.channel.get() {
                return Ok(channel);
            }
            let mut state = self.state.subscribe();
            let _ = state
                .wait_for(|state| !matches!(state, State::Opening))
                .await;
        }
        self.ready_now()
    }

    fn ready_now(&self) -> Result<&ChannelSender, SendError> {
        if lock(&self.ending).is_some() || matches!(*self.state.borrow(), State::Over(_)) {
            return Err(SendError::Closed(self.reason()));
        }
        self.channel.get().ok_or(SendError::NotOpenYet)
    }

    fn reason(&self) -> CloseReason {
        if let State::Over(reason) = &*self.state.borrow() {
            return reason.clone();
        }
        lock(&self.ending).clone().unwrap_or(CloseReason::Remote)
    }

    pub(crate) async fn send(
        &self,
        encode: impl FnOnce(Serialization, bool) -> Result<Outgoing, SendError>,
    ) -> Result<(), SendError> {
        let channel = self.ready().await?;
        match encode(
            self.info.serialization,
            self.json_as_text.load(Ordering::Relaxed),
        )? {
            Outgoing::Whole(message) => self.hand_over(channel, message).await,
            Outgoing::Chunked(packed) => {
                for frame in codec::frames(self.next_chunk_id(), &packed) {
                    self.hand_over(channel, frame).await?;
                }
                Ok(())
            }
        }
    }

    pub(crate) fn try_send(
        self: &Arc<Self>,
        encode: impl FnOnce(Serialization, bool) -> Result<Outgoing, SendError>,
    ) -> Result<(), SendError> {
        let channel = self.ready_now()?;
        // One message at a time: what it still holds is no part of the channel's own limit.
        if self.pouring.load(Ordering::Acquire) {
            return Err(SendError::Congested);
        }
        let json_as_text = self.json_as_text.load(Ordering::Relaxed);
        let packed = match encode(self.info.serialization, json_as_text)? {
            Outgoing::Whole(message) => return self.hand_over_now(channel, message),
            Outgoing::Chunked(packed) => packed,
        };
        let id = self.next_chunk_id();
        let mut sent = 0;
        let stopped = codec::frames(id, &packed).find_map(|frame| {
            let result = self.hand_over_now(channel, frame);
            sent += usize::from(result.is_ok());
            result.err()
        });
        match stopped {
            None => Ok(()),
            // The remote has the beginning, so the rest must follow.
            Some(SendError::Congested) if sent > 0 => {
                let link = self.clone();
                link.pouring.store(true, Ordering::Release);
                self.shared.runtime.spawn(async move {
                    link.pour(id, &packed, sent).await;
                    link.pouring.store(false, Ordering::Release);
                });
                Ok(())
            }
            Some(error) => Err(error),
        }
    }

    /// Sends the chunks of a message after the first `sent`.
    async fn pour(&self, id: NonZeroU32, packed: &[u8], sent: usize) {
        let Some(channel) = self.channel.get() else {
            return;
        };
        for frame in codec::frames(id, packed).skip(sent) {
            if self.hand_over(channel, frame).await.is_err() {
                return;
            }
        }
    }

    async fn hand_over(&self, channel: &ChannelSender, message: Message) -> Result<(), SendError> {
        let size = message_len(&message);
        channel
            .send(message)
            .await
            .map_err(|error| self.send_error(channel, error, size))
    }

    fn hand_over_now(&self, channel: &ChannelSender, message: Message) -> Result<(), SendError> {
        let size = message_len(&message);
        channel
            .try_send(message)
            .map_err(|error| self.send_error(channel, error, size))
    }

    fn send_error(&self, channel: &ChannelSender, error: rtc::SendError, size: usize) -> SendError {
        match error {
            rtc::SendError::TooBig => SendError::MessageTooBig {
                size,
                limit: channel.max_message_size(),
            },
            rtc::SendError::Full => SendError::Congested,
            rtc::SendError::Closed => SendError::Closed(self.reason()),
        }
    }

    /// Counts from 1, as PeerJS does: it takes 0 for no chunk at all.
    fn next_chunk_id(&self) -> NonZeroU32 {
        loop {
            let last = self.chunk_id.fetch_add(1, Ordering::Relaxed);
            if let Some(id) = NonZeroU32::new(last.wrapping_add(1)) {
                return id;
            }
        }
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
            flush(channel).await;
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
            if timeout(CLOSE_WAIT, channel.send(request))
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

/// Waits until everything is delivered, as long as something is.
async fn flush(channel: &ChannelSender) {
    let mut left = channel.buffered_amount();
    while timeout(FLUSH_STALL, channel.flushed()).await.is_err() {
        let now = channel.buffered_amount();
        if now >= left {
            return;
        }
        left = now;
    }
}

fn message_len(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
    }
}

/// Takes messages from the channel, joins chunks and puts whole messages into the inbox; waits while that is full.
async fn read(link: Arc<Link>, mut receiver: ChannelReceiver) {
    let mut assembly = Assembly::new(link.shared.max_message_size, link.shared.budget.clone());
    while let Some(message) = receiver.recv().await {
        match sort(&link, &mut assembly, message) {
            Some(Sorted::Message(payload)) => link.inbox.push(payload).await,
            Some(Sorted::Close) => {
                link.close(CloseReason::Remote);
                break;
            }
            None => {}
        }
    }
    link.inbox.end();
}

enum Sorted {
    Message(Payload),
    Close,
}

/// What a message is to the application: itself, a request to close, or nothing yet.
fn sort(link: &Link, assembly: &mut Assembly, message: Message) -> Option<Sorted> {
    match (link.info.serialization, message) {
        (Serialization::Binary | Serialization::BinaryUtf8, Message::Binary(bytes)) => {
            sort_packed(link, assembly, bytes)
        }
        (Serialization::Json, message) => {
            let text = match &message {
                Message::Text(text) => Some(text.as_str()),
                Message::Binary(bytes) => core::str::from_utf8(bytes).ok(),
            };
            if text.is_some_and(|text| text.len() <= CLOSE_TEXT_MAX && chunk::is_json_close(text)) {
                return Some(Sorted::Close);
            }
            link.json_as_text
                .store(matches!(message, Message::Text(_)), Ordering::Relaxed);
            Some(Sorted::Message(payload(message)))
        }
        (_, message) => Some(Sorted::Message(payload(message))),
    }
}

/// A JSON text longer than this is not looked through for a close request; PeerJS's has 31 bytes.
const CLOSE_TEXT_MAX: usize = 256;

fn sort_packed(link: &Link, assembly: &mut Assembly, mut bytes: Bytes) -> Option<Sorted> {
    for _ in 0..NESTED_MAX {
        let chunk = match chunk::parse(&bytes) {
            Ok(Received::Message) => return Some(Sorted::Message(Payload::Binary(bytes))),
            Ok(Received::Close) => return Some(Sorted::Close),
            Ok(Received::Chunk(chunk)) => chunk,
            Err(_) => {
                link.count_malformed();
                return None;
            }
        };
        // A part shares the frame it came in, unless that would keep much more than the part in memory.
        let data = if chunk.data.len() >= bytes.len() / 2 && !chunk.data.is_empty() {
            bytes.slice_ref(chunk.data)
        } else {
            Bytes::copy_from_slice(chunk.data)
        };
        let part = Part {
            id: chunk.id.get(),
            n: chunk.n,
            total: chunk.total,
            data,
        };
        match assembly.insert(part) {
            Ok(whole) => bytes = whole?,
            Err(_) => {
                link.shared.count(|stats| stats.dropped_messages += 1);
                let too_big = ConnectionError::MessageTooBig;
                link.shared
                    .emit(Event::ConnectionError(link.info.clone(), too_big));
                return None;
            }
        }
    }
    link.count_malformed();
    None
}

fn payload(message: Message) -> Payload {
    match message {
        Message::Text(text) => Payload::Text(text),
        Message::Binary(bytes) => Payload::Binary(bytes),
    }
}
