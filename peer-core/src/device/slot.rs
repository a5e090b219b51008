//! A place for one session.

use heapless::String;

use crate::peer::ConnectionHandle;
use crate::rtc::crypto::Crypto;
use crate::rtc::session::{Event, Memory, Session};
use crate::rtc::stack::SessionId;

use super::MID_MAX;

/// A place for a session.
///
/// The first variant is all zeros: with the niche of an `Option` a static of it would cost flash.
#[repr(u8)]
#[expect(clippy::large_enum_variant, reason = "it stays where it is")]
pub(super) enum Slot<'m, C: Crypto> {
    /// Without memory: nobody's.
    Unlent,
    Free(Memory<'m>),
    Taken(Taken<'m, C>),
}

/// A session and what the engine knows of it.
pub(super) struct Taken<'m, C: Crypto> {
    pub(super) session: Session<'m, 'm, C>,
    pub(super) id: SessionId,
    pub(super) state: State,
    /// The media section's id in the descriptions.
    pub(super) mid: String<MID_MAX>,
    /// What the engine had no room to hear of.
    pub(super) untold: Option<Event>,
    /// The room that the engine had for data when it took no more.
    pub(super) blocked: Option<usize>,
    /// What the engine thinks that the channel holds, and that it takes.
    pub(super) buffered: u32,
    pub(super) credit: u32,
    /// The most that the channel ever took at once.
    pub(super) most_room: usize,
}

/// Where a session is, as the engine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The engine waits for our description.
    Describing(ConnectionHandle),
    /// It has it.
    Connecting(ConnectionHandle),
    /// It knows that the channel is open.
    Open(ConnectionHandle),
    /// It knows that the session is over.
    Over(ConnectionHandle),
    /// It has forgotten the session, which says its last words.
    Leaving,
}

impl State {
    /// Whose session it is.
    pub(super) const fn handle(self) -> Option<ConnectionHandle> {
        match self {
            Self::Describing(handle)
            | Self::Connecting(handle)
            | Self::Open(handle)
            | Self::Over(handle) => Some(handle),
            Self::Leaving => None,
        }
    }
}

impl<'m, C: Crypto> Slot<'m, C> {
    pub(super) const fn taken(&mut self) -> Option<&mut Taken<'m, C>> {
        match self {
            Self::Taken(taken) => Some(taken),
            Self::Unlent | Self::Free(_) => None,
        }
    }
}
