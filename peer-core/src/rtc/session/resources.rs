//! The memory of a session.

use super::channel::Dcep;
use crate::rtc::sctp::{Association, Detached};
use crate::rtc::{dtls, ice, sctp};

/// Memory for one session: the five numbers of [`ice::Resources`], bytes for a handshake message as
/// in [`dtls::Resources`], the four numbers of [`sctp::Resources`].
///
/// All zero at first, so that a static of it costs no flash.
#[derive(Debug, Default)]
pub struct Resources<
    'm,
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
    place: Place<'m>,
}

impl<
    'm,
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
> Resources<'m, BASES, REMOTES, PAIRS, QUESTIONS, RELAYS, MESSAGE, SEND, CHUNKS, RECEIVE, RUNS>
{
    /// Returns unused memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ice: ice::Resources::new(),
            dtls: dtls::Resources::new(),
            sctp: sctp::Resources::new(),
            place: Place::new(),
        }
    }

    /// Lends it to a session, for as long as it lives.
    pub fn lend(&'m mut self) -> Memory<'m> {
        Memory {
            ice: self.ice.lend(),
            dtls: self.dtls.lend(),
            sctp: Some(SctpMemory {
                memory: self.sctp.lend(),
                place: (&mut self.place).into(),
            }),
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
    pub sctp: Option<SctpMemory<'m>>,
}

/// The memory for data.
#[derive(Debug)]
pub struct SctpMemory<'m> {
    /// What is sent and received.
    pub memory: sctp::Memory<'m>,
    /// For the state of the association.
    pub place: Spot<'m>,
}

/// A [`Place`], whether an association was there before or not.
#[derive(Debug)]
pub struct Spot<'m>(At<'m>);

#[derive(Debug)]
enum At<'m> {
    Unused(&'m mut Place<'m>),
    /// Of an association that is over.
    Used(&'m mut Live<'m>),
}

impl<'m> From<&'m mut Place<'m>> for Spot<'m> {
    fn from(place: &'m mut Place<'m>) -> Self {
        Self(At::Unused(place))
    }
}

impl<'m> Spot<'m> {
    /// Puts an association there.
    pub(super) fn put(self, association: Association<'m>, dcep: Dcep) -> Option<&'m mut Live<'m>> {
        match self.0 {
            At::Unused(place) => place.put(association, dcep),
            At::Used(live) => {
                *live = Live { association, dcep };
                Some(live)
            }
        }
    }
}

/// Where the state of SCTP lies once there is one: 1.4 KiB on 64 bits that a remote does not cost
/// which has not proved who it is.
///
/// All zero at first.
#[derive(Debug, Default)]
pub struct Place<'m>(Content<'m>);

/// The first variant is all zeros: with the niche of an `Option` a static of it would cost flash.
#[derive(Debug, Default)]
#[repr(u8)]
#[expect(clippy::large_enum_variant, reason = "it is lent, not moved")]
enum Content<'m> {
    #[default]
    Nothing,
    Live(Live<'m>),
}

/// An association, and what came of DCEP.
#[derive(Debug)]
pub(super) struct Live<'m> {
    pub(super) association: Association<'m>,
    pub(super) dcep: Dcep,
}

impl<'m> Place<'m> {
    /// Returns an unused place.
    pub const fn new() -> Self {
        Self(Content::Nothing)
    }

    /// Puts an association there.
    fn put(&mut self, association: Association<'m>, dcep: Dcep) -> Option<&mut Live<'m>> {
        self.0 = Content::Live(Live { association, dcep });
        match &mut self.0 {
            Content::Live(live) => Some(live),
            Content::Nothing => None,
        }
    }
}

/// What a session gave back together with its memory for data; see
/// [`Session::without_sctp`](super::Session::without_sctp).
#[derive(Debug)]
#[must_use = "the channel goes on once it has memory again"]
pub struct DetachedSctp(pub(super) Option<(Detached, Dcep)>);

impl<'m> Live<'m> {
    /// Takes the memory away. The association is over.
    pub(super) fn take_memory(&'m mut self) -> SctpMemory<'m> {
        SctpMemory {
            memory: self.association.take_memory(),
            place: Spot(At::Used(self)),
        }
    }

    /// Takes the association out, and leaves one there that does nothing.
    pub(super) fn detach(&mut self) -> (Detached, Dcep) {
        let nothing = sctp::Memory {
            send: &mut [],
            chunks: &mut [],
            receive: &mut [],
            runs: &mut [],
        };
        let nobody = Association::new(sctp::Config::new([0; 8]), nothing);
        let association = core::mem::replace(&mut self.association, nobody);
        (
            association.without_memory(),
            core::mem::take(&mut self.dcep),
        )
    }
}
