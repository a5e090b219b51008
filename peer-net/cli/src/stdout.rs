//! stdout: one writer for all, on a thread of its own, so that many short lines go out in few
//! writes and a reader that is slow blocks no task.

use core::time::Duration;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use peer_net::budget::Held;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::shown::Shown;

/// Bytes that go out in one write, about.
const BATCH: usize = 64 << 10;

/// What waits to be written, and the bytes of a budget that it holds until then.
struct Piece {
    bytes: Vec<u8>,
    /// Given back once it is written.
    _held: Option<Held>,
}

/// How far the writer got.
#[derive(Clone, Debug, Default)]
struct Progress {
    pieces: u64,
    error: Option<Arc<io::Error>>,
}

/// The writer of stdout. Clones are the same.
#[derive(Clone)]
pub(crate) struct Stdout {
    pieces: mpsc::UnboundedSender<Piece>,
    handed_over: Arc<core::sync::atomic::AtomicU64>,
    progress: watch::Receiver<Progress>,
    is_terminal: bool,
}

impl Stdout {
    /// Starts the writer.
    pub(crate) fn start() -> io::Result<Self> {
        let (pieces, queue) = mpsc::unbounded_channel();
        let (done, progress) = watch::channel(Progress::default());
        std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || write_all(queue, &done))?;
        Ok(Self {
            pieces,
            handed_over: Arc::default(),
            progress,
            is_terminal: io::stdout().is_terminal(),
        })
    }

    /// Whether a person may be looking, and control characters would act.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Hands bytes to the writer. The queue has no limit of its own: what waits in it is bounded by
    /// the budget that `held` comes from.
    pub(crate) fn write(&self, bytes: Vec<u8>, held: Option<Held>) {
        use core::sync::atomic::Ordering;
        let _held = held;
        if self.pieces.send(Piece { bytes, _held }).is_ok() {
            self.handed_over.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until stdout cannot be written.
    pub(crate) async fn failed(&self) -> Failure {
        let mut progress = self.progress.clone();
        match progress.wait_for(|now| now.error.is_some()).await {
            Ok(now) => failure(now.error.as_deref()),
            // The thread only ends with its senders, of which this is one.
            Err(_) => core::future::pending().await,
        }
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// It cannot be written, or was not within `patience`.
    pub(crate) async fn flush(&self, patience: Duration) -> Result<(), Failure> {
        let wanted = self.handed_over.load(core::sync::atomic::Ordering::Relaxed);
        let mut progress = self.progress.clone();
        let written = progress.wait_for(|now| now.pieces >= wanted || now.error.is_some());
        match timeout(patience, written).await {
            Ok(Ok(now)) => match &now.error {
                None => Ok(()),
                error => Err(failure(error.as_deref())),
            },
            _ => Err(Failure::other(
                "stdout was not read, and the last of what came is lost",
            )),
        }
    }
}

fn failure(error: Option<&io::Error>) -> Failure {
    match error {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Failure::other("nobody reads stdout any more")
        }
        Some(error) => Failure::other(format!("stdout cannot be written: {error}")),
        None => Failure::other("stdout cannot be written"),
    }
}

fn write_all(mut queue: mpsc::UnboundedReceiver<Piece>, done: &watch::Sender<Progress>) {
    let mut out = io::stdout().lock();
    let (mut batch, mut held) = (Vec::new(), Vec::new());
    while let Some(piece) = queue.blocking_recv() {
        let mut pieces = 1;
        let large = piece.bytes.len() >= BATCH;
        let mut error = None;
        if large {
            error = out.write_all(&piece.bytes).err();
            drop(piece);
        } else {
            batch.extend_from_slice(&piece.bytes);
            held.push(piece._held);
            while batch.len() < BATCH
                && let Ok(piece) = queue.try_recv()
            {
                batch.extend_from_slice(&piece.bytes);
                held.push(piece._held);
                pieces += 1;
            }
            error = error.or_else(|| out.write_all(&batch).err());
        }
        error = error.or_else(|| out.flush().err());
        batch.clear();
        batch.shrink_to(2 * BATCH);
        held.clear();
        done.send_modify(|now| {
            now.pieces += pieces;
            now.error = error.map(Arc::new);
        });
        if done.borrow().error.is_some() {
            return;
        }
    }
}

/// Writes one line to stdout at once, as commands do that say little.
///
/// # Errors
/// stdout cannot be written.
pub(crate) fn print(line: &str) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        write(&format!("{}\n", Shown(line)))
    } else {
        write(&format!("{line}\n"))
    }
}

/// Writes a text to stdout at once, as it is.
///
/// # Errors
/// stdout cannot be written.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| failure(Some(&error)))
}
