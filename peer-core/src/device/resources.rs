//! The memory of a device.

use crate::rtc::crypto::Crypto;
use crate::rtc::{session, stack};

use super::ADDRESSES_MAX;
use super::slot::Slot;

const REMOTES: usize = 8;
const PAIRS: usize = 12;
/// Takes the certificates of browsers, and as DTLS server their ClientHello.
const MESSAGE: usize = 1536;
/// Requests of all sessions whose answers are told from others.
const REQUESTS: usize = 24;

type ForSession<
    'm,
    const SEND: usize,
    const CHUNKS: usize,
    const RECEIVE: usize,
    const RUNS: usize,
> = session::Resources<
    'm,
    ADDRESSES_MAX,
    REMOTES,
    PAIRS,
    0,
    0,
    MESSAGE,
    SEND,
    CHUNKS,
    RECEIVE,
    RUNS,
>;

/// Memory for a [`Device`](super::Device) of so many sessions at a time. Const and all zero, so a
/// static of it sits in `.bss`.
///
/// | parameter | default | what it bounds, for each session |
/// |---|---|---|
/// | `SEND` | 2048 | bytes that are sent and not acknowledged |
/// | `CHUNKS` | 16 | pieces of these |
/// | `RECEIVE` | 2048 | bytes that came and that the engine has no room for |
/// | `RUNS` | 8 | gaps in these |
#[expect(missing_debug_implementations, reason = "it is memory")]
pub struct DeviceResources<
    'm,
    C: Crypto,
    const SESSIONS: usize,
    const SEND: usize = 2048,
    const CHUNKS: usize = 16,
    const RECEIVE: usize = 2048,
    const RUNS: usize = 8,
> {
    slots: [Slot<'m, C>; SESSIONS],
    sessions: [ForSession<'m, SEND, CHUNKS, RECEIVE, RUNS>; SESSIONS],
    stack: stack::Resources<SESSIONS, REQUESTS>,
}

impl<
    'm,
    C: Crypto,
    const SESSIONS: usize,
    const SEND: usize,
    const CHUNKS: usize,
    const RECEIVE: usize,
    const RUNS: usize,
> DeviceResources<'m, C, SESSIONS, SEND, CHUNKS, RECEIVE, RUNS>
{
    /// Memory, all zero.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: [const { Slot::Unlent }; SESSIONS],
            sessions: [const { ForSession::new() }; SESSIONS],
            stack: stack::Resources::new(),
        }
    }

    pub(super) fn lend(&'m mut self) -> (&'m mut [Slot<'m, C>], stack::Memory<'m>) {
        for (slot, memory) in self.slots.iter_mut().zip(&mut self.sessions) {
            *slot = Slot::Free(memory.lend());
        }
        (&mut self.slots, self.stack.lend())
    }
}

impl<
    C: Crypto,
    const SESSIONS: usize,
    const SEND: usize,
    const CHUNKS: usize,
    const RECEIVE: usize,
    const RUNS: usize,
> Default for DeviceResources<'_, C, SESSIONS, SEND, CHUNKS, RECEIVE, RUNS>
{
    fn default() -> Self {
        Self::new()
    }
}
