//! From the channel to the inbox.

use core::sync::atomic::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use peer_core::serialization::Serialization;
use peer_core::wire::chunk::{self, BinaryMessage};

use super::assembly::{Assembly, Part};
use super::plane::DataPlane;
use crate::budget::Held;
use crate::codec::Payload;
use crate::error::CloseReason;
use crate::rtc::{ChannelReceiver, Message};

/// How deep chunked messages may be nested in chunked messages. Deeper ones are dropped and
/// counted.
const NESTED_MAX: usize = 4;
/// What a message in an inbox costs besides its bytes.
const MESSAGE_COST: usize = 128;
/// A JSON text longer than this is not looked through for a close request; PeerJS's has 31 bytes.
const CLOSE_TEXT_MAX: usize = 256;

/// Takes messages from the channel, joins chunks and puts whole messages into the inbox; waits
/// while that is full.
pub(super) async fn read(plane: Arc<DataPlane>, mut receiver: ChannelReceiver) {
    let mut assembly = plane.assembly();
    while let Some(message) = receiver.recv().await {
        plane.received.fetch_add(message.len(), Ordering::Relaxed);
        match sort(&plane, &mut assembly, message) {
            Some(Sorted::Message(payload)) => {
                let len = payload.len();
                let _held = room(&plane, len).await;
                // After the end nobody reads; the remote is not held up.
                let _ = plane.inbox.push(Arrived { payload, _held }, len).await;
            }
            Some(Sorted::Close) => {
                plane.close(CloseReason::Remote);
                break;
            }
            None => {}
        }
    }
    plane.inbox.end();
}

/// A message of the inbox.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) payload: Payload,
    /// Given back once it is received.
    _held: Held,
}

/// Waits until all inboxes together have room for a message. Nothing more comes after the end, and
/// nothing stays after the last handle is gone: there is no wait then.
async fn room(plane: &DataPlane, len: usize) -> Held {
    let cost = len.saturating_add(MESSAGE_COST);
    tokio::select! {
        biased;
        held = plane.account.take(cost) => held,
        _ = plane.closed() => plane.account.take_now(cost),
        () = plane.abandoned.notified() => {
            // It counts for the next message, too.
            plane.abandoned.notify_one();
            plane.account.take_now(cost)
        }
    }
}

enum Sorted {
    Message(Payload),
    Close,
}

/// What a message is to the application: itself, a request to close, or nothing yet.
fn sort(plane: &DataPlane, assembly: &mut Assembly, message: Message) -> Option<Sorted> {
    match (plane.info.serialization, message) {
        (Serialization::Binary | Serialization::BinaryUtf8, Message::Binary(bytes)) => {
            sort_packed(plane, assembly, bytes)
        }
        (Serialization::Json, message) => {
            let text = match &message {
                Message::Text(text) => Some(text.as_str()),
                Message::Binary(bytes) => core::str::from_utf8(bytes).ok(),
            };
            if text.is_some_and(|text| text.len() <= CLOSE_TEXT_MAX && chunk::is_json_close(text)) {
                return Some(Sorted::Close);
            }
            plane
                .json_as_text
                .store(matches!(message, Message::Text(_)), Ordering::Relaxed);
            Some(Sorted::Message(payload(message)))
        }
        (_, message) => Some(Sorted::Message(payload(message))),
    }
}

fn sort_packed(plane: &DataPlane, assembly: &mut Assembly, mut bytes: Bytes) -> Option<Sorted> {
    for _ in 0..NESTED_MAX {
        let chunk = match chunk::parse(&bytes) {
            Ok(BinaryMessage::Whole) => return Some(Sorted::Message(Payload::Binary(bytes))),
            Ok(BinaryMessage::Close) => return Some(Sorted::Close),
            Ok(BinaryMessage::Chunk(chunk)) => chunk,
            Err(error) => {
                plane.owner.malformed(&plane.info, &error);
                return None;
            }
        };
        // A part shares the frame it came in, unless that would keep much more than the part in
        // memory.
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
                plane.owner.dropped(&plane.info);
                return None;
            }
        }
    }
    let why = format_args!("more than {NESTED_MAX} chunked messages are nested in each other");
    plane.owner.malformed(&plane.info, &why);
    None
}

fn payload(message: Message) -> Payload {
    match message {
        Message::Text(text) => Payload::Text(text),
        Message::Binary(bytes) => Payload::Binary(bytes),
    }
}
