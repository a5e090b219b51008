//! One client's WebSocket at the broker.

use core::net::IpAddr;
use core::pin::pin;
use core::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, StreamExt};
use peer_realm::ClientMessage;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data as OpData, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::hub::Hub;
use super::incoming::{Incoming, PONGS_MAX};
use crate::rate::Rate;
use crate::time::engine_now;
use crate::url::percent_decode;

/// Buffer for reading, in bytes. Signalling messages are small, and there are many sockets.
const READ_BUFFER: usize = 4 * 1024;
/// Most of a message that goes into one frame, in bytes.
const FRAME_MAX: usize = 16 * 1024;

/// Serves an upgraded connection of a client at `address` until it ends. `query` is the request's,
/// undecoded.
pub(super) async fn run<S>(hub: &Hub, stream: S, address: IpAddr, query: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = &hub.options.limits;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        // Frames go out one by one; beyond them there are only answers to pings.
        .max_write_buffer_size(2 * FRAME_MAX + PONGS_MAX)
        .max_message_size(Some(limits.realm.message_bytes))
        .max_frame_size(Some(limits.realm.message_bytes));
    let (stream, unfinished) =
        Incoming::new(stream, hub.incoming.clone(), limits.realm.message_bytes);
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let (mut sink, mut stream) = socket.split();

    let per_second = limits.messages_per_second.max(1);
    let epoch = Instant::now();
    let mut rate = Rate::new(engine_now(epoch), per_second, per_second);
    let turn = Duration::from_secs(1) / per_second;

    let [key, id, token] = ["key", "id", "token"].map(|name| parameter(query, name));
    let (session, outbox) = hub.connect(address, &key, &id, &token);
    tracing::info!(session = session.0, ?id, "a client is here");
    let _leave = Leave {
        hub,
        session,
        id: &id,
    };

    let error = {
        let write = async {
            while let Some(text) = outbox.next().await {
                if !matches!(
                    timeout(limits.write_timeout, send(&mut sink, text)).await,
                    Ok(Ok(()))
                ) {
                    return false;
                }
            }
            // No code, as PeerServer closes.
            matches!(
                timeout(limits.close_timeout, sink.send(Message::Close(None))).await,
                Ok(Ok(()))
            )
        };
        let read = async {
            while let Some(frame) = stream.next().await {
                match &frame {
                    Ok(Message::Text(_) | Message::Binary(_)) => unfinished.finish(),
                    Ok(other) => unfinished.control(other.len()),
                    Err(_) => {}
                }
                if let Ok(Message::Ping(payload)) = &frame
                    && !unfinished.ping(payload.len())
                {
                    tracing::debug!(session = session.0, "it does not read answers to its pings");
                    return None;
                }
                while !rate.take(engine_now(epoch)) {
                    sleep(turn).await;
                }
                match frame {
                    Ok(Message::Text(text)) => receive(hub, session, text.as_str()).await,
                    Ok(Message::Binary(bytes)) => match core::str::from_utf8(&bytes) {
                        Ok(text) => receive(hub, session, text).await,
                        Err(_) => tracing::debug!(session = session.0, "binary frame is not text"),
                    },
                    Ok(_) => {}
                    Err(error) => return Some(error),
                }
            }
            None
        };
        let too_slow = async {
            outbox.closed().await;
            sleep(limits.write_timeout).await;
        };
        let (mut write, mut read) = (pin!(write), pin!(read));
        tokio::select! {
            error = &mut read => error,
            () = too_slow => {
                tracing::debug!(session = session.0, "cut: it reads too slowly to be closed");
                return;
            }
            () = outbox.cut_off() => {
                tracing::debug!(session = session.0, "cut: it provokes more than it reads");
                return;
            }
            closed = &mut write => {
                hub.disconnect(session);
                if closed {
                    // The closing handshake: the client's frame comes behind what it sent before.
                    let _ = timeout(limits.close_timeout, read).await;
                } else {
                    tracing::debug!(session = session.0, "cut: it does not read");
                }
                return;
            }
        }
    };
    hub.disconnect(session);
    if let Some(error) = error {
        tracing::debug!(session = session.0, %error, "the WebSocket failed");
        if let Some(code) = close_code(&error) {
            let frame = CloseFrame {
                code,
                reason: tungstenite::Utf8Bytes::default(),
            };
            let _ = timeout(limits.close_timeout, sink.send(Message::Close(Some(frame)))).await;
        }
    }
}

/// Sends one message, a long one in several frames: the buffer stays as large as its largest frame
/// was.
async fn send<S>(sink: &mut S, text: String) -> Result<(), Error>
where
    S: Sink<Message, Error = Error> + Unpin,
{
    if text.len() <= FRAME_MAX {
        return sink.send(Message::text(text)).await;
    }
    let mut rest = Bytes::from(text);
    let mut opcode = OpData::Text;
    while !rest.is_empty() {
        let piece = rest.split_to(FRAME_MAX.min(rest.len()));
        let frame = Frame::message(piece, OpCode::Data(opcode), rest.is_empty());
        sink.send(Message::Frame(frame)).await?;
        opcode = OpData::Continue;
    }
    Ok(())
}

/// Whatever way a session ends, its id is free again.
struct Leave<'a> {
    hub: &'a Hub,
    session: super::SessionId,
    id: &'a str,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        tracing::info!(session = self.session.0, id = ?self.id, "a client is gone");
        self.hub.disconnect(self.session);
    }
}

async fn receive(hub: &Hub, session: super::SessionId, text: &str) {
    // Read outside the hub's lock: a long message costs nobody else.
    match ClientMessage::parse(text) {
        Ok(message) => {
            // A fast sender is slowed down to what the receiver takes, before anything is refused.
            // The sender's id comes on top.
            let size = text.len() + 2 * hub.options.limits.realm.id_bytes;
            if let Some(outbox) = hub.congested(session, &message, size) {
                let room = outbox.room(session, size);
                if timeout(hub.options.limits.relay_timeout, room)
                    .await
                    .is_err()
                {
                    outbox.stall();
                }
            }
            hub.message(session, &message);
        }
        Err(error) => tracing::debug!(session = session.0, %error, "dropped"),
    }
}

/// What to tell a client whose frames cannot be used, as the npm package `ws` does.
fn close_code(error: &Error) -> Option<CloseCode> {
    match error {
        Error::Capacity(_) => Some(CloseCode::Size),
        Error::Protocol(_) => Some(CloseCode::Protocol),
        Error::Utf8(_) => Some(CloseCode::Invalid),
        _ => None,
    }
}

/// The last value of a query parameter, empty when there is none.
fn parameter(query: &str, name: &str) -> String {
    let mut pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .rfind(|(key, _)| percent_decode(key) == name)
        .map(|(_, value)| percent_decode(value))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::parameter;

    #[test]
    fn parameters_are_read_as_urlsearchparams_does() {
        let query = "id=a+b&key=x&i%64=c%20d&token&&=z";
        assert_eq!(parameter(query, "id"), "c d");
        assert_eq!(parameter(query, "key"), "x");
        assert_eq!(parameter(query, "token"), "");
        assert_eq!(parameter(query, "none"), "");
    }
}
