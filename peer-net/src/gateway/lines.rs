//! The lines of a gateway: what it listens on, calls and opens, each in a task of its own, and how
//! that changes.

use core::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::options::{GatewayOptions, SerialPort};
use super::{Common, GatewayError, streams};

#[derive(Debug, Default)]
pub(super) struct Lines {
    listeners: Vec<Running<Listening>>,
    called: Vec<Running<String>>,
    ports: Vec<Running<SerialPort>>,
}

/// A line that is served until this is dropped.
#[derive(Debug)]
struct Running<T> {
    line: T,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Listening {
    /// As it was asked for, maybe with port 0.
    wanted: SocketAddr,
    local: SocketAddr,
}

/// A listener that is not served yet.
pub(super) struct Bound(Listening, TcpListener);

impl Lines {
    /// Binds what is to be listened on and is not yet, in its order.
    pub(super) async fn bind(&self, wanted: &[SocketAddr]) -> Result<Vec<Bound>, GatewayError> {
        let mut here: Vec<_> = self.listeners.iter().map(|old| old.line.wanted).collect();
        let mut bound = Vec::new();
        for &wanted in wanted {
            if let Some(index) = here.iter().position(|here| *here == wanted) {
                here.swap_remove(index);
                continue;
            }
            let listener = TcpListener::bind(wanted).await;
            let listener = listener.and_then(|listener| {
                let local = listener.local_addr()?;
                Ok(Bound(Listening { wanted, local }, listener))
            });
            let address = wanted;
            bound.push(listener.map_err(|source| GatewayError::Listen { address, source })?);
        }
        Ok(bound)
    }

    /// Serves the lines of `options` and no others. Streams that came over a listener which goes
    /// stay.
    pub(super) fn serve(
        &mut self,
        options: &GatewayOptions,
        bound: Vec<Bound>,
        common: &Arc<Common>,
    ) {
        let mut old = core::mem::take(&mut self.listeners);
        let mut bound = bound.into_iter();
        for wanted in &options.listen {
            if let Some(index) = old.iter().position(|old| old.line.wanted == *wanted) {
                self.listeners.push(old.remove(index));
            } else if let Some(Bound(line, listener)) = bound.next() {
                let common = common.clone();
                let start = |stop| streams::listen(listener, stop, common);
                self.listeners.push(Running::start(line, None, start));
            }
        }
        let call = |line: &String, before, common| {
            let start = |stop| streams::call(line.clone(), stop, common);
            Running::start(line.clone(), before, start)
        };
        change(
            &mut self.called,
            &options.connect,
            |a, b| a == b,
            call,
            common,
        );
        let open = |line: &SerialPort, before, common| {
            let start = |stop| streams::serial(line.clone(), stop, common);
            Running::start(line.clone(), before, start)
        };
        let same = |a: &SerialPort, b: &SerialPort| a.path == b.path;
        change(&mut self.ports, &options.serial, same, open, common);
    }

    pub(super) fn local_addrs(&self) -> Vec<SocketAddr> {
        let locals = self.listeners.iter().map(|running| running.line.local);
        locals.collect()
    }

    /// Ends all of them, and waits for that.
    pub(super) async fn end(self) {
        let listeners = self.listeners.into_iter().map(Running::end);
        let called = self.called.into_iter().map(Running::end);
        let ports = self.ports.into_iter().map(Running::end);
        let tasks: Vec<_> = listeners.chain(called).chain(ports).collect();
        for task in tasks {
            let _ = task.await;
        }
    }
}

/// Keeps the lines that are wanted, ends the others, and starts what is new. A new one that is the
/// `same` in a way begins when the old one has ended: two would take each other's bytes.
fn change<T: PartialEq>(
    running: &mut Vec<Running<T>>,
    wanted: &[T],
    same: impl Fn(&T, &T) -> bool,
    start: impl Fn(&T, Option<JoinHandle<()>>, Arc<Common>) -> Running<T>,
    common: &Arc<Common>,
) {
    let (mut kept, mut gone): (Vec<_>, Vec<_>) = core::mem::take(running)
        .into_iter()
        .partition(|running| wanted.contains(&running.line));
    for line in wanted {
        let kept = kept
            .iter()
            .position(|kept| kept.line == *line)
            .map(|index| kept.remove(index));
        running.push(kept.unwrap_or_else(|| {
            let before = gone.iter().position(|gone| same(&gone.line, line));
            let before = before.map(|index| gone.remove(index).end());
            start(line, before, common.clone())
        }));
    }
}

impl<T> Running<T> {
    fn start<F: Future<Output = ()> + Send + 'static>(
        line: T,
        before: Option<JoinHandle<()>>,
        start: impl FnOnce(watch::Receiver<bool>) -> F,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let serve = start(stopped);
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            serve.await;
        });
        Self { line, stop, task }
    }

    /// Says that it is to end. The task ends then.
    fn end(self) -> JoinHandle<()> {
        self.stop.send_replace(true);
        self.task
    }
}
