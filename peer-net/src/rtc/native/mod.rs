//! SCTP of our own: one task a session, which owns the association, between DTLS and the channel's
//! ends.

mod open;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "for the driver of all of peer-core's stack")
)]
mod servers;
mod storage;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "for the driver of all of peer-core's stack")
)]
mod streams;
mod task;
#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use peer_core::peer::RtcFailure;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::Instrument as _;
use webrtc_util::Conn;

use self::task::{Command, Task};
use super::CLOSE_STEP;
use super::association::{End, Failure, Purpose};
use super::channel::{Below, Channel};

/// Commands that may wait for the task. It is never busy for long; one too many is one of a kind
/// that waits already.
const COMMANDS_MAX: usize = 4;

/// The session's hold of the task.
pub(super) struct Native {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    awaited: Mutex<Awaited>,
}

/// What the task tells once.
struct Awaited {
    associated: Option<oneshot::Receiver<Result<(), Failure>>>,
    opened: Option<oneshot::Receiver<Result<Channel, Failure>>>,
}

/// What the ends of the channel see of the task.
pub(super) struct Shared {
    /// Bytes that the association took and the remote has not acknowledged.
    buffered: AtomicUsize,
    acknowledged: Notify,
    end: watch::Sender<Option<End>>,
}

impl Shared {
    /// Tells what is buffered now.
    fn tell(&self, buffered: usize) {
        if self.buffered.swap(buffered, Ordering::SeqCst) > buffered {
            self.acknowledged.notify_waiters();
        }
    }
}

impl Below for Shared {
    fn buffered(&self) -> usize {
        self.buffered.load(Ordering::SeqCst)
    }

    fn acknowledged(&self) -> &Notify {
        &self.acknowledged
    }

    fn end(&self) -> &watch::Sender<Option<End>> {
        &self.end
    }
}

impl Native {
    pub(super) fn new(dtls: Arc<dyn Conn + Send + Sync>, purpose: Purpose) -> Self {
        let shared = Arc::new(Shared {
            buffered: AtomicUsize::new(0),
            acknowledged: Notify::new(),
            end: watch::Sender::new(None),
        });
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (associated, when_associated) = oneshot::channel();
        let (opened, when_opened) = oneshot::channel();
        let task = Task {
            purpose,
            shared: Arc::clone(&shared),
            commands: receiver,
            associated: Some(associated),
            opened: Some(opened),
        };
        tokio::spawn(task.run(dtls).in_current_span());
        Self {
            commands,
            shared,
            awaited: Mutex::new(Awaited {
                associated: Some(when_associated),
                opened: Some(when_opened),
            }),
        }
    }

    pub(super) async fn associate(&self) -> Result<(), Failure> {
        told(self.awaited(|awaited| awaited.associated.take())).await
    }

    pub(super) async fn open(&self) -> Result<Channel, Failure> {
        told(self.awaited(|awaited| awaited.opened.take())).await
    }

    pub(super) fn end(&self) -> &watch::Sender<Option<End>> {
        &self.shared.end
    }

    pub(super) fn heartbeat(&self) {
        // With as many commands before it the task is busy anyway.
        let _ = self.commands.try_send(Command::Heartbeat);
    }

    pub(super) async fn close(&self) {
        let closing = async {
            if self.commands.send(Command::Close).await.is_ok() {
                // What the receiver has still to read stays with the task, which goes on by itself.
                self.commands.closed().await;
            }
        };
        let _ = timeout(CLOSE_STEP, closing).await;
    }

    fn awaited<T>(&self, change: impl FnOnce(&mut Awaited) -> T) -> T {
        change(&mut self.awaited.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the task says, once; it says something unless it panicked.
async fn told<T>(when: Option<oneshot::Receiver<Result<T, Failure>>>) -> Result<T, Failure> {
    match when {
        Some(when) => when.await.unwrap_or_else(|_| {
            let sentence = "the task of the SCTP association is gone".to_owned();
            Err((RtcFailure::Resources, sentence))
        }),
        None => {
            debug_assert!(false, "asked for once");
            core::future::pending().await
        }
    }
}
