//! The memory of a peer, and how it is cut.

use core::num::NonZeroUsize;

use crate::storage::{Entry, Full, Handle, Ring};

use super::{early::EarlySignals, slot::Slot};

/// Memory for a [`Peer`](super::Peer) of `CONNS` connections. Const and all zero, so a static of it
/// sits in `.bss`.
///
/// | parameter | bytes | holds | at the limit |
/// |---|---|---|---|
/// | `CONNS` | 856 each on 32 bits | connections | `connect` is refused, OFFERs are dropped and counted |
/// | `CONTROL` | 3⁄8 | signals on their way to the broker | [`InputError::Full`](super::InputError::Full) |
/// | | 3⁄8 | descriptions and candidates on their way to the WebRTC stack | the same |
/// | | 1⁄4 | candidates that came too early | the oldest goes, counted |
/// | `OUTBOX` | a connection | encoded messages to be sent | [`SendError::Full`](crate::connection::SendError::Full) |
/// | `INBOX` | a connection | messages to be read, chunks to be joined | [`InputError::InboxFull`](super::InputError::InboxFull); a message longer than it is dropped and counted |
/// | `METADATA` | a connection | the metadata | `ConnectError::Metadata`; a remote's is left out |
///
/// A description longer than 3⁄8 of `CONTROL` cannot pass: its connection fails. `OUTBOX` and
/// `INBOX` may be 0 where the driver carries the data past the engine.
#[derive(Debug)]
pub struct PeerResources<
    const CONNS: usize,
    const CONTROL: usize = 3456,
    const OUTBOX: usize = 2048,
    const INBOX: usize = 2048,
    const METADATA: usize = 128,
> {
    slots: [Entry<Slot>; CONNS],
    control: [u8; CONTROL],
    outbox: [[u8; OUTBOX]; CONNS],
    inbox: [[u8; INBOX]; CONNS],
    metadata: [[u8; METADATA]; CONNS],
}

impl<
    const CONNS: usize,
    const CONTROL: usize,
    const OUTBOX: usize,
    const INBOX: usize,
    const METADATA: usize,
> PeerResources<CONNS, CONTROL, OUTBOX, INBOX, METADATA>
{
    /// Memory, all zero.
    pub const fn new() -> Self {
        Self {
            slots: [const { Entry::new(Slot::vacant()) }; CONNS],
            control: [0; CONTROL],
            outbox: [[0; OUTBOX]; CONNS],
            inbox: [[0; INBOX]; CONNS],
            metadata: [[0; METADATA]; CONNS],
        }
    }

    pub(super) fn slices(&mut self) -> PeerSlices<'_> {
        PeerSlices {
            slots: &mut self.slots,
            control: &mut self.control,
            outbox: self.outbox.as_flattened_mut(),
            inbox: self.inbox.as_flattened_mut(),
            metadata: self.metadata.as_flattened_mut(),
        }
    }
}

/// The same memory in pieces, for a driver with a heap that learns its sizes at run time. Each of
/// `outbox`, `inbox` and `metadata` is shared out evenly among the slots; its bytes should be zero.
///
/// ```
/// use peer_core::peer::{ConnectionSlot, Config, Peer, PeerSlices};
/// # fn random() -> [u8; 32] { [7; 32] }
/// let mut slots: Vec<_> = (0..3).map(|_| ConnectionSlot::default()).collect();
/// let (mut control, mut metadata) = (vec![0; 4096], vec![0; 3 * 256]);
/// let memory = PeerSlices {
///     slots: &mut slots,
///     control: &mut control,
///     outbox: &mut [],
///     inbox: &mut [],
///     metadata: &mut metadata,
/// };
/// let peer = Peer::with_slices(Config::new(random()), memory);
/// ```
#[derive(Debug)]
pub struct PeerSlices<'r> {
    /// One a connection.
    pub slots: &'r mut [ConnectionSlot],
    /// See [`PeerResources`].
    pub control: &'r mut [u8],
    /// See [`PeerResources`].
    pub outbox: &'r mut [u8],
    /// See [`PeerResources`].
    pub inbox: &'r mut [u8],
    /// See [`PeerResources`].
    pub metadata: &'r mut [u8],
}

/// Room for the state of one connection.
pub type ConnectionSlot = Entry<Slot>;

impl Default for ConnectionSlot {
    fn default() -> Self {
        Self::new(Slot::vacant())
    }
}

impl<'r> PeerSlices<'r> {
    pub(super) fn split(self) -> (&'r mut [ConnectionSlot], Memory<'r>) {
        let part = self.control.len() / 8 * 3;
        let (signals, rest) = self.control.split_at_mut_checked(part).unwrap_or_default();
        let (rtc, early) = rest.split_at_mut_checked(part).unwrap_or_default();
        let conns = NonZeroUsize::new(self.slots.len()).unwrap_or(NonZeroUsize::MIN);
        let stripes = |bytes: &'r mut [u8]| Stripes {
            each: bytes.len() / conns,
            bytes,
        };
        let memory = Memory {
            signals: Queue::new(signals),
            rtc: Queue::new(rtc),
            early: EarlySignals::new(early),
            outbox: stripes(self.outbox),
            inbox: stripes(self.inbox),
            metadata: stripes(self.metadata),
        };
        (self.slots, memory)
    }
}

impl<
    const CONNS: usize,
    const CONTROL: usize,
    const OUTBOX: usize,
    const INBOX: usize,
    const METADATA: usize,
> Default for PeerResources<CONNS, CONTROL, OUTBOX, INBOX, METADATA>
{
    fn default() -> Self {
        Self::new()
    }
}

/// The memory of a peer without its slots, capacities erased.
#[derive(Debug)]
pub(super) struct Memory<'r> {
    /// Signals for the broker, ready to be sent.
    pub(super) signals: Queue<'r>,
    /// Descriptions and candidates for the WebRTC stack.
    pub(super) rtc: Queue<'r>,
    pub(super) early: EarlySignals<'r>,
    pub(super) outbox: Stripes<'r>,
    pub(super) inbox: Stripes<'r>,
    pub(super) metadata: Stripes<'r>,
}

/// As many equal pieces of memory as there are slots.
#[derive(Debug)]
pub(super) struct Stripes<'r> {
    bytes: &'r mut [u8],
    each: usize,
}

impl Stripes<'_> {
    /// Bytes a slot has.
    pub(super) fn each(&self) -> usize {
        self.each
    }

    /// The piece of slot `index`.
    pub(super) fn of(&self, index: usize) -> &[u8] {
        let start = index.saturating_mul(self.each);
        self.bytes
            .get(start..start.saturating_add(self.each))
            .unwrap_or_default()
    }

    /// The piece of slot `index`.
    pub(super) fn of_mut(&mut self, index: usize) -> &mut [u8] {
        let start = index.saturating_mul(self.each);
        self.bytes
            .get_mut(start..start.saturating_add(self.each))
            .unwrap_or_default()
    }
}

/// What a record of a [`Queue`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Offer,
    Answer,
    Candidate,
}

/// The oldest record of a [`Queue`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Front {
    /// The connection it is for.
    pub(super) handle: Handle,
    pub(super) kind: Kind,
    /// Bytes of its text.
    pub(super) len: usize,
}

/// Bytes before the text of a record: the handle and the kind.
const HEADER: usize = 5;

/// A ring of texts, each for one connection.
#[derive(Debug)]
pub(super) struct Queue<'r> {
    ring: Ring,
    memory: &'r mut [u8],
}

impl<'r> Queue<'r> {
    fn new(memory: &'r mut [u8]) -> Self {
        Self {
            ring: Ring::new(),
            memory,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Bytes of the longest text that fits now.
    pub(super) fn free(&self) -> usize {
        self.ring.free(self.memory).saturating_sub(HEADER)
    }

    pub(super) fn clear(&mut self) {
        self.ring.clear();
    }

    pub(super) fn push(&mut self, handle: Handle, kind: Kind, text: &str) -> Result<(), Full> {
        self.ring
            .push(self.memory, &[&header(handle, kind), text.as_bytes()])
    }

    /// Appends a text that `write` writes; it returns the length.
    pub(super) fn push_with<E>(
        &mut self,
        handle: Handle,
        kind: Kind,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), Full> {
        self.ring.push_with(self.memory, |room| {
            let (head, text) = room.split_first_chunk_mut::<HEADER>().ok_or(Full)?;
            *head = header(handle, kind);
            Ok(HEADER + write(text).map_err(|_| Full)?)
        })
    }

    /// What the oldest record is.
    pub(super) fn front(&self) -> Option<Front> {
        let (handle, kind, text) = self.ring.front(self.memory).and_then(parse)?;
        Some(Front {
            handle,
            kind,
            len: text.len(),
        })
    }

    /// Drops the oldest record.
    pub(super) fn skip(&mut self) {
        self.ring.pop(self.memory);
    }

    /// Takes the oldest record; its text stays in place until the next push.
    pub(super) fn take(&mut self) -> Option<(Handle, Kind, &str)> {
        let memory: &[u8] = self.memory;
        let record = self.ring.front(memory)?;
        self.ring.pop(memory);
        parse(record)
    }
}

fn header(handle: Handle, kind: Kind) -> [u8; HEADER] {
    let [a, b, c, d] = handle.to_bytes();
    [a, b, c, d, kind as u8]
}

fn parse(record: &[u8]) -> Option<(Handle, Kind, &str)> {
    let (&[a, b, c, d, kind], text) = record.split_first_chunk::<HEADER>()?;
    let kind = match kind {
        0 => Kind::Offer,
        1 => Kind::Answer,
        _ => Kind::Candidate,
    };
    Some((
        Handle::from_bytes([a, b, c, d]),
        kind,
        core::str::from_utf8(text).ok()?,
    ))
}
