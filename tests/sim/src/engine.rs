//! A real engine together with the memory it borrows.

use core::cell::Cell;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::rc::Rc;

use peer_core::peer::{Config, ConnectionSlot, Peer, PeerSlices};

/// What a host's engine may use. See [`PeerResources`](peer_core::peer::PeerResources).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections at once.
    pub connections: usize,
    /// Bytes for signals.
    pub control: usize,
    /// Bytes a connection for messages going out.
    pub outbox: usize,
    /// Bytes a connection for messages coming in.
    pub inbox: usize,
    /// Bytes a connection for metadata.
    pub metadata: usize,
}

impl Default for Capacity {
    /// Four connections and the defaults of [`PeerResources`](peer_core::peer::PeerResources).
    fn default() -> Self {
        Self {
            connections: 4,
            control: 4096,
            outbox: 2048,
            inbox: 2048,
            metadata: 256,
        }
    }
}

type Job = Box<dyn FnOnce(&mut Peer<'_>)>;

/// An engine that owns its memory.
///
/// A `Peer` borrows its memory, and a struct cannot hold both. An async block can: this is one that does whatever
/// job is handed to it, as the task of a real driver does. Nobody ever awaits it.
pub(crate) struct Engine {
    task: Pin<Box<dyn Future<Output = ()>>>,
    job: Rc<Cell<Option<Job>>>,
}

impl Engine {
    pub(crate) fn new(config: Config, capacity: Capacity) -> Self {
        let job = Rc::new(Cell::new(None::<Job>));
        let jobs = Rc::clone(&job);
        let task = Box::pin(async move {
            let count = capacity.connections;
            let mut slots: Vec<ConnectionSlot> =
                (0..count).map(|_| ConnectionSlot::default()).collect();
            let mut control = vec![0; capacity.control];
            let mut outbox = vec![0; count * capacity.outbox];
            let mut inbox = vec![0; count * capacity.inbox];
            let mut metadata = vec![0; count * capacity.metadata];
            let memory = PeerSlices {
                slots: &mut slots,
                control: &mut control,
                outbox: &mut outbox,
                inbox: &mut inbox,
                metadata: &mut metadata,
            };
            let mut peer = Peer::with_slices(config, memory);
            core::future::poll_fn(|_| {
                if let Some(job) = jobs.take() {
                    job(&mut peer);
                }
                Poll::<()>::Pending
            })
            .await;
        });
        Self { task, job }
    }

    /// Has the engine do something.
    pub(crate) fn with<R: 'static>(&mut self, job: impl FnOnce(&mut Peer<'_>) -> R + 'static) -> R {
        let result = Rc::new(Cell::new(None));
        let place = Rc::clone(&result);
        self.job.set(Some(Box::new(move |peer| {
            place.set(Some(job(peer)));
        })));
        let mut context = Context::from_waker(Waker::noop());
        let _never_ready = self.task.as_mut().poll(&mut context);
        result.take().expect("the task does the job it is given")
    }
}
