//! The memory of an association: little at first, as much as was asked for while that is of use,
//! and given back when nothing is under way.

use core::time::Duration;

use peer_core::rtc::sctp::{Chunk, Memory, Run};
use tokio::time::Instant;

/// Bytes of each half while little is under way.
pub(super) const SMALL: usize = 4 * 1024;
/// Chunks that may be under way, and gaps that are kept in what came, with little memory and with
/// all of it. Sending waits beyond; what would make one more gap is dropped, and comes again.
const CHUNKS: [usize; 2] = [32, 8192];
const RUNS: [usize; 2] = [16, 512];

/// More than [`SMALL`] in so short a time is much: with little memory no more can come in one round
/// trip, so that on a path whose round trips are shorter it is the memory that holds things up.
const MOMENT: Duration = Duration::from_secs(1);

/// How much of its memory a half has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Full,
}

/// How much both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) send: Size,
    pub(super) receive: Size,
}

impl Sizes {
    pub(super) const SMALL: Self = Self {
        send: Size::Small,
        receive: Size::Small,
    };
}

/// Whether much goes one way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    since: Instant,
    bytes: usize,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            bytes: 0,
        }
    }
}

impl Traffic {
    pub(super) fn count(&mut self, bytes: usize) {
        if bytes > 0 && self.since.elapsed() > MOMENT {
            *self = Self::default();
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether it was more of late than little memory is good for.
    pub(super) fn is_much(&self) -> bool {
        self.bytes > SMALL && self.since.elapsed() <= MOMENT
    }
}

pub(super) struct Storage {
    /// Bytes of the halves with all of their memory.
    most: [usize; 2],
    sizes: Sizes,
    send: Vec<u8>,
    chunks: Vec<Chunk>,
    receive: Vec<u8>,
    runs: Vec<Run>,
}

impl Storage {
    /// `send`, `receive`: bytes of the halves at most.
    pub(super) fn new(send: usize, receive: usize) -> Self {
        let mut storage = Self {
            most: [send, receive],
            sizes: Sizes::SMALL,
            send: Vec::new(),
            chunks: Vec::new(),
            receive: Vec::new(),
            runs: Vec::new(),
        };
        storage.set_send(Size::Small);
        storage.set_receive(Size::Small);
        storage
    }

    pub(super) fn lend(&mut self) -> Memory<'_> {
        Memory {
            send: &mut self.send,
            chunks: &mut self.chunks,
            receive: &mut self.receive,
            runs: &mut self.runs,
        }
    }

    /// Changes what differs; nothing may be in those halves.
    pub(super) fn resize(&mut self, sizes: Sizes) {
        if sizes.send != self.sizes.send {
            self.set_send(sizes.send);
        }
        if sizes.receive != self.sizes.receive {
            self.set_receive(sizes.receive);
        }
        self.sizes = sizes;
    }

    fn set_send(&mut self, size: Size) {
        // The old memory goes before the new comes.
        (self.send, self.chunks) = (Vec::new(), Vec::new());
        self.send = vec![0; bytes(self.most[0], size)];
        self.chunks = vec![Chunk::EMPTY; CHUNKS[size as usize]];
    }

    fn set_receive(&mut self, size: Size) {
        (self.receive, self.runs) = (Vec::new(), Vec::new());
        self.receive = vec![0; bytes(self.most[1], size)];
        self.runs = vec![Run::EMPTY; RUNS[size as usize]];
    }
}

fn bytes(most: usize, size: Size) -> usize {
    match size {
        Size::Small => most.min(SMALL),
        Size::Full => most,
    }
}
