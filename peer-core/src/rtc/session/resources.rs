//! The memory of a session.

use crate::rtc::{dtls, ice, sctp};

/// Memory for one session: the five numbers of [`ice::Resources`], bytes for a handshake message as
/// in [`dtls::Resources`], the four numbers of [`sctp::Resources`].
///
/// All zero at first, so that a static of it costs no flash.
#[derive(Debug, Default)]
pub struct Resources<
    const BASES: usize,
    const REMOTES: usize,
    const PAIRS: usize,
    const QUESTIONS: usize,
    const RELAYS: usize,
    const MESSAGE: usize,
    const SEND: usize,
    const CHUNKS: usize,
    const RECEIVE: usize,
    const RUNS: usize,
> {
    ice: ice::Resources<BASES, REMOTES, PAIRS, QUESTIONS, RELAYS>,
    dtls: dtls::Resources<MESSAGE>,
    sctp: sctp::Resources<SEND, CHUNKS, RECEIVE, RUNS>,
}

impl<
    const BASES: usize,
    const REMOTES: usize,
    const PAIRS: usize,
    const QUESTIONS: usize,
    const RELAYS: usize,
    const MESSAGE: usize,
    const SEND: usize,
    const CHUNKS: usize,
    const RECEIVE: usize,
    const RUNS: usize,
> Resources<BASES, REMOTES, PAIRS, QUESTIONS, RELAYS, MESSAGE, SEND, CHUNKS, RECEIVE, RUNS>
{
    /// Returns unused memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ice: ice::Resources::new(),
            dtls: dtls::Resources::new(),
            sctp: sctp::Resources::new(),
        }
    }

    /// Lends it to a session.
    pub fn lend(&mut self) -> Memory<'_> {
        Memory {
            ice: self.ice.lend(),
            dtls: self.dtls.lend(),
            sctp: Some(self.sctp.lend()),
        }
    }
}

/// The memory of a session, all of it lent.
#[derive(Debug)]
pub struct Memory<'m> {
    /// For the path.
    pub ice: ice::Memory<'m>,
    /// For the handshake.
    pub dtls: dtls::Memory<'m>,
    /// For data. Without it nobody costs more than the handshake does before
    /// [`Event::Secured`](super::Event::Secured); then
    /// [`lend_sctp`](super::Session::lend_sctp) has to follow.
    pub sctp: Option<sctp::Memory<'m>>,
}
