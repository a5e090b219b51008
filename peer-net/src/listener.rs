//! TCP listeners that outlive a shortage of file descriptors.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

/// Pause before the next try: what holds a descriptor has to end first.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two log lines of the same trouble.
const AGAIN: Duration = Duration::from_secs(10);

/// Errors of the systems that lack file descriptors.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// Whether an error says that this process, or the machine, has no file descriptors left.
pub fn lacks_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

/// A listener that goes on where nothing can be accepted for the moment: it says so in the log,
/// once in ten seconds, and tries again after a pause, so that it does not spin.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    what: &'static str,
    over_at: Option<Instant>,
    told: Option<Instant>,
}

impl Listener {
    /// `what`: what it accepts, for the log, such as "a client's connection".
    pub fn new(listener: TcpListener, what: &'static str) -> Self {
        Self {
            listener,
            what,
            over_at: None,
            told: None,
        }
    }

    /// The next connection, and where it comes from. Cancel safe.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            if let Some(at) = self.over_at {
                sleep_until(at).await;
                self.over_at = None;
            }
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Something was not accepted.
    fn failed(&mut self, error: &io::Error) {
        let what = self.what;
        if is_of_one(error) {
            // It was given up before it was accepted, and is out of the queue.
            tracing::debug!(target: "peer_net", "{what} was not accepted: {error}");
            return;
        }
        let now = Instant::now();
        self.over_at = Some(now + PAUSE);
        let told = self.told.map(|told| now.duration_since(told));
        if told.is_some_and(|ago| ago < AGAIN) {
            return;
        }
        self.told = Some(now);
        if lacks_descriptors(error) {
            tracing::error!(
                target: "peer_net",
                "no file descriptors are left: {what} was not accepted, and new ones wait; allow \
                 this process more (ulimit -n, LimitNOFILE of a service): {error}"
            );
        } else {
            tracing::error!(
                target: "peer_net",
                "this machine does not accept {what}, and new ones wait: {error}"
            );
        }
    }
}

/// Whether the error concerns the connection alone that would have been accepted.
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_connection_that_was_given_up_holds_up_no_other() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = Listener::new(listener, "a test");
        listener.failed(&io::ErrorKind::ConnectionAborted.into());
        assert_eq!(listener.over_at, None);
        for error in [
            io::Error::from_raw_os_error(EMFILE),
            io::ErrorKind::OutOfMemory.into(),
        ] {
            listener.failed(&error);
            assert!(listener.over_at.is_some(), "{error}");
            let stream = TcpStream::connect(address).await.unwrap();
            let (_, from) = listener.accept().await;
            assert_eq!(from, stream.local_addr().unwrap());
            assert_eq!(listener.over_at, None);
        }
    }
}
