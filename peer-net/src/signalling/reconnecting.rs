//! A driver's side of the broker: one HTTP call or one socket at a time, each in a task of its own.
//! The peer's driver and the gateway have one each.

use core::future::pending;
use core::time::Duration;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::{BrokerClient, BrokerError};

/// Signals that wait for the socket. At the limit whoever has more waits, see
/// [`BrokerSocket::has_room`]; a socket that takes none for [`SEND_TIMEOUT`](super::SEND_TIMEOUT)
/// is lost.
const SIGNALS_MAX: usize = 256;
/// Messages of the broker that wait for the driver. At the limit the socket is not read.
const MESSAGES_MAX: usize = 32;
/// How long a socket that was closed may take to end, and the next one waits for it: the broker
/// should see the old one go before the new one comes.
const CLOSE_WAIT: Duration = Duration::from_millis(500);

/// What came of a command, or over the socket.
#[derive(Debug)]
pub(crate) enum BrokerEvent {
    IdRetrieved(String),
    Opened,
    Message(Vec<u8>),
    Closed,
    Failed,
}

pub(crate) struct BrokerSocket {
    client: BrokerClient,
    /// Of the call or socket of now; those of earlier ones go nowhere.
    events: Option<mpsc::Receiver<Result<BrokerEvent, Arc<BrokerError>>>>,
    signals: Option<mpsc::Sender<String>>,
    task: Option<JoinHandle<()>>,
    last_error: Option<Arc<BrokerError>>,
    /// It is the socket of another broker.
    outdated: bool,
    /// What an error of now means: the call failed, or the socket closed.
    retrieving: bool,
}

impl Drop for BrokerSocket {
    fn drop(&mut self) {
        // Its socket is closed in order by the task itself, within its own deadline.
        self.close();
    }
}

impl BrokerSocket {
    pub(crate) fn new(client: BrokerClient) -> Self {
        Self {
            client,
            events: None,
            signals: None,
            task: None,
            last_error: None,
            outdated: false,
            retrieving: false,
        }
    }

    /// Speaks to another broker from now on. A call or a socket of before counts as lost.
    #[cfg(feature = "gateway")]
    pub(crate) fn change(&mut self, client: BrokerClient) {
        self.client = client;
        self.outdated = self.events.is_some();
    }

    /// Why the last call or socket failed, until the next begins.
    pub(crate) fn last_error(&self) -> Option<&Arc<BrokerError>> {
        self.last_error.as_ref()
    }

    pub(crate) fn retrieve_id(&mut self, runtime: &Handle) {
        let events = self.begin();
        self.retrieving = true;
        let client = self.client.clone();
        let retrieval = async move {
            let id = client.retrieve_id().await;
            let _ = events
                .send(id.map(BrokerEvent::IdRetrieved).map_err(Arc::new))
                .await;
        };
        self.task = Some(runtime.spawn(retrieval.in_current_span()));
    }

    pub(crate) fn open(&mut self, runtime: &Handle, id: &str, token: &str) {
        let previous = self.task.take();
        let events = self.begin();
        let (signals, queue) = mpsc::channel(SIGNALS_MAX);
        self.signals = Some(signals);
        let (client, id, token) = (self.client.clone(), id.to_owned(), token.to_owned());
        let socket = async move {
            if let Some(mut previous) = previous
                && timeout(CLOSE_WAIT, &mut previous).await.is_err()
            {
                previous.abort();
            }
            let end = run(&client, &id, &token, queue, &events).await;
            let _ = events
                .send(end.map(|()| BrokerEvent::Closed).map_err(Arc::new))
                .await;
        };
        self.task = Some(runtime.spawn(socket.in_current_span()));
    }

    /// Whether [`send`](Self::send) would take a signal. Without a socket it does: the signal goes
    /// nowhere.
    pub(crate) fn has_room(&self) -> bool {
        match &self.signals {
            Some(signals) => signals.capacity() > 0 || signals.is_closed(),
            None => true,
        }
    }

    /// Waits until there is room for a signal. Cancel safe.
    pub(crate) fn room(&self) -> impl Future<Output = ()> + use<> {
        let signals = self.signals.clone();
        async move {
            if let Some(signals) = signals {
                // What is closed takes everything.
                let _ = signals.reserve().await;
            }
        }
    }

    /// Hands a signal to the socket. `false`: there was no room, and it is not sent.
    #[must_use]
    pub(crate) fn send(&self, text: &str) -> bool {
        let Some(signals) = &self.signals else {
            return true;
        };
        match signals.try_send(text.to_owned()) {
            Err(mpsc::error::TrySendError::Full(_)) => false,
            // Its end is on the way.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
        }
    }

    /// Closes the socket in order; nothing more comes from it.
    pub(crate) fn close(&mut self) {
        self.signals = None;
        self.events = None;
        self.outdated = false;
    }

    /// Waits until the closed socket is gone.
    pub(crate) async fn ended(&mut self) {
        if let Some(task) = &mut self.task {
            let _ = task.await;
            self.task = None;
        }
    }

    /// The next event. Cancel safe.
    pub(crate) async fn next(&mut self) -> BrokerEvent {
        if self.outdated {
            self.close();
            return self.lost();
        }
        let Some(events) = &mut self.events else {
            return pending().await;
        };
        match events.recv().await {
            Some(Ok(event)) => {
                if matches!(event, BrokerEvent::Closed) {
                    self.close();
                }
                event
            }
            Some(Err(error)) => {
                tracing::debug!(target: "peer_net", %error, "the broker's socket or call failed");
                self.last_error = Some(error);
                self.close();
                self.lost()
            }
            None => {
                self.close();
                self.lost()
            }
        }
    }

    /// What an end means.
    fn lost(&self) -> BrokerEvent {
        if self.retrieving {
            BrokerEvent::Failed
        } else {
            BrokerEvent::Closed
        }
    }

    /// Forgets the last call or socket.
    fn begin(&mut self) -> mpsc::Sender<Result<BrokerEvent, Arc<BrokerError>>> {
        self.close();
        self.last_error = None;
        self.retrieving = false;
        let (sender, events) = mpsc::channel(MESSAGES_MAX);
        self.events = Some(events);
        sender
    }
}

/// One socket, from its opening to its end.
async fn run(
    client: &BrokerClient,
    id: &str,
    token: &str,
    mut signals: mpsc::Receiver<String>,
    events: &mpsc::Sender<Result<BrokerEvent, Arc<BrokerError>>>,
) -> Result<(), BrokerError> {
    let socket = tokio::select! {
        socket = client.connect(id, token) => socket?,
        () = events.closed() => return Ok(()),
    };
    let (mut sender, mut receiver) = socket.split();
    if events.send(Ok(BrokerEvent::Opened)).await.is_err() {
        let _ = timeout(CLOSE_WAIT, sender.close()).await;
        return Ok(());
    }
    let write = async {
        while let Some(text) = signals.recv().await {
            sender.send(text).await?;
        }
        // The driver let go. The other side may now answer the closing frame, which ends the
        // reading.
        let _ = timeout(CLOSE_WAIT, sender.close()).await;
        tokio::time::sleep(CLOSE_WAIT).await;
        Ok::<_, BrokerError>(())
    };
    let read = async move {
        while let Some(message) = receiver.next().await {
            // Nobody listens while the socket is being closed.
            let _ = events.send(Ok(BrokerEvent::Message(message))).await;
        }
        receiver.into_error().map_or(Ok(()), Err)
    };
    tokio::select! {
        ended = write => ended,
        ended = read => ended,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_socket_that_takes_nothing_makes_signals_wait() {
        let client = BrokerClient::new(super::super::BrokerAddress::default()).unwrap();
        let mut socket = BrokerSocket::new(client);
        assert!(socket.has_room() && socket.send("without a socket"));
        let (signals, mut queue) = mpsc::channel(SIGNALS_MAX);
        let (events, received) = mpsc::channel(1);
        (socket.signals, socket.events) = (Some(signals), Some(received));
        for n in 0..SIGNALS_MAX {
            assert!(socket.has_room() && socket.send(&n.to_string()));
        }
        assert!(!socket.has_room() && !socket.send("one too many"));
        assert!(socket.room().now_or_never().is_none());
        assert!(socket.next().now_or_never().is_none(), "it is not lost");
        assert_eq!(queue.recv().await.as_deref(), Some("0"));
        assert!(socket.room().now_or_never().is_some());
        assert!(socket.has_room() && socket.send("the next"));
        drop(events);
    }
}
