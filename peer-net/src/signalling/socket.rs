//! The client's WebSocket.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::ErrorKind;
use std::net::UdpSocket;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::error::BrokerError;

/// Time for the socket to take one message. Beyond: [`BrokerError::TimedOut`].
pub const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is looked whether this machine still has the address of a socket.
const LOOK: Duration = Duration::from_secs(1);
/// Longest message taken from the broker, in bytes. Beyond: the socket ends with an error.
pub const MESSAGE_MAX: usize = 2 * 1024 * 1024;

/// The open WebSocket of one id.
pub struct Socket {
    pub(super) stream: WebSocketStream<Stream>,
    /// Our own end of it.
    pub(super) ours: Option<SocketAddr>,
}

impl Socket {
    /// One half to send, one to receive, for two tasks. Pings are answered while the receiving half
    /// is polled.
    pub fn split(self) -> (SocketSender, SocketReceiver) {
        let (sink, stream) = self.stream.split();
        (
            SocketSender { sink },
            SocketReceiver {
                stream,
                own: self.ours.map(OwnAddress::new),
                error: None,
            },
        )
    }
}

impl core::fmt::Debug for Socket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

/// The sending half of a [`Socket`].
#[derive(Debug)]
pub struct SocketSender {
    sink: SplitSink<WebSocketStream<Stream>, Message>,
}

impl SocketSender {
    /// Sends one message, a JSON text. Returns when the operating system took it.
    ///
    /// # Errors
    /// The socket is gone, or took nothing for [`SEND_TIMEOUT`]; it is of no use after that.
    pub async fn send(&mut self, text: impl Into<String>) -> Result<(), BrokerError> {
        self.write(Message::text(text.into())).await
    }

    /// Sends the closing frame. The receiver ends when the broker answers it; whoever does not want
    /// to wait drops both halves.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn close(&mut self) -> Result<(), BrokerError> {
        self.write(Message::Close(None)).await
    }

    async fn write(&mut self, message: Message) -> Result<(), BrokerError> {
        match timeout(SEND_TIMEOUT, self.sink.send(message)).await {
            Err(_) => Err(BrokerError::TimedOut {
                stage: "it does not take a message",
            }),
            Ok(sent) => sent.map_err(|error| BrokerError::WebSocket(Box::new(error))),
        }
    }
}

/// The receiving half of a [`Socket`].
#[derive(Debug)]
pub struct SocketReceiver {
    stream: SplitStream<WebSocketStream<Stream>>,
    own: Option<OwnAddress>,
    error: Option<BrokerError>,
}

impl SocketReceiver {
    /// The next message, at most [`MESSAGE_MAX`] bytes, as it came. `None`: the socket is closed,
    /// and [`error`](Self::error) says whether in order. Cancel safe.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        while self.error.is_none() {
            let next = tokio::select! {
                next = self.stream.next() => next?,
                () = lost(&mut self.own) => {
                    self.error = Some(BrokerError::Moved);
                    continue;
                }
            };
            match next {
                Ok(Message::Text(text)) => return Some(text.as_bytes().to_vec()),
                Ok(Message::Binary(bytes)) => return Some(bytes.to_vec()),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_)) => {
                }
                Err(error) => self.error = Some(BrokerError::WebSocket(Box::new(error))),
            }
        }
        None
    }

    /// What ended the socket, if it was not a closing handshake.
    pub fn error(&self) -> Option<&BrokerError> {
        self.error.as_ref()
    }

    /// The same, to keep.
    pub fn into_error(self) -> Option<BrokerError> {
        self.error
    }
}

/// Our own end of a socket, and the clock by which it is looked for.
#[derive(Debug)]
struct OwnAddress {
    /// With any port.
    address: SocketAddr,
    look: Interval,
}

impl OwnAddress {
    fn new(mut address: SocketAddr) -> Self {
        address.set_port(0);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { address, look }
    }

    /// Waits until this machine has lost it: nothing comes there any more, and without this that
    /// would only show once something was sent and not acknowledged. Cancel safe: the clock runs
    /// on.
    async fn lost(&mut self) {
        loop {
            self.look.tick().await;
            let bound = UdpSocket::bind(self.address);
            if bound.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable) {
                return;
            }
        }
    }
}

/// The same; never where the address is not known.
async fn lost(own: &mut Option<OwnAddress>) {
    match own {
        Some(own) => own.lost().await,
        None => core::future::pending().await,
    }
}

pub(super) type Stream = Box<dyn Io>;

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}

impl core::fmt::Debug for dyn Io {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Io")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_this_machine_has_not_is_lost() {
        let own = |ip: [u8; 4]| Some(OwnAddress::new(SocketAddr::from((ip, 1))));
        let mut here = own([127, 0, 0, 1]);
        assert!(timeout(10 * LOOK, lost(&mut here)).await.is_err());
        assert!(timeout(10 * LOOK, lost(&mut None)).await.is_err());
        let mut gone = own([192, 0, 2, 254]);
        assert!(timeout(LOOK, lost(&mut gone)).await.is_ok());
    }

    /// Whoever waits for other things, too, and often, sees it as soon.
    #[tokio::test(start_paused = true)]
    async fn it_is_looked_although_the_waiting_is_given_up_again_and_again() {
        let mut gone = OwnAddress::new(SocketAddr::from(([192, 0, 2, 254], 1)));
        gone.look.reset();
        let mut tries = 0;
        while timeout(LOOK / 10, gone.lost()).await.is_err() {
            tries += 1;
            assert!(tries < 20);
        }
        assert!(tries >= 8, "{tries}");
    }
}
