//! Ctrl-C and SIGTERM, which end a command in order.

use std::io;

/// Is ready once the user or the system wants the program to end. From this call on, not from the first poll,
/// the signals no longer kill the process.
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    let signals = Signals::new();
    async move {
        match signals {
            Ok(mut signals) => signals.wait().await,
            // Without a handler the system ends the process itself.
            Err(error) => {
                tracing::warn!("Ctrl-C cannot be handled: {error}");
                std::future::pending().await
            }
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn wait(&mut self) {
        // Without a handler the system ends the process itself.
        let _ = tokio::signal::ctrl_c().await;
    }
}
