//! Ctrl-C and SIGTERM, which end a command in order, and SIGHUP, which makes one read its
//! configuration again.

use std::io;

/// Is ready once the user or the system wants the program to end. From this call on, not from the
/// first poll, the signals no longer kill the process.
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    let signals = Signals::new();
    async move {
        match signals {
            Ok(mut signals) => signals.wait().await,
            // Without a handler the system ends the process itself.
            Err(error) => {
                tracing::warn!("Ctrl-C cannot be handled: {error}");
                std::future::pending::<()>().await;
            }
        }
    }
}

/// SIGHUPs. From here on they no longer kill the process. Where there are none, none ever comes.
pub(crate) struct Hangups {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Hangups {
    pub(crate) fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let signal = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!("SIGHUP cannot be handled: {error}"));
        Self {
            signal: signal.ok(),
        }
    }

    /// The next one. Cancel safe.
    pub(crate) async fn next(&mut self) {
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        core::future::pending::<()>().await;
    }
}

#[cfg(not(unix))]
impl Hangups {
    pub(crate) fn new() -> Self {
        Self {}
    }

    pub(crate) async fn next(&mut self) {
        core::future::pending::<()>().await;
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
