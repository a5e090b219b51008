//! What the engine wants done with sessions.

use heapless::String;

use crate::peer::{ConnectionHandle, RtcCommand, RtcFailure, RtcInput};
use crate::rtc::crypto::Crypto;
use crate::rtc::ice::Role;
use crate::rtc::session::{self, Drawn, Kind, Outgoing, Session, Setup};
use crate::serialization::{Fragment, MessageKind};
use crate::time::Instant;
use crate::wire::sdp::Description;

use super::Device;
use super::description;
use super::slot::{Slot, State, Taken};

/// The media section of our offers.
const MID: &str = "0";

/// What a command leads to that the engine has to hear.
pub(super) enum Answer {
    Nothing,
    Input(ConnectionHandle, RtcInput<'static>),
    /// The session at this place has a description to tell.
    Made(usize),
    /// The channel of the session at this place was given something.
    Sent(usize),
}

impl Answer {
    const fn failed(handle: ConnectionHandle, failure: RtcFailure) -> Self {
        Self::Input(handle, RtcInput::Failed(failure))
    }
}

impl<'m, C: Crypto> Device<'m, C> {
    pub(super) fn command(
        &mut self,
        now: Instant,
        handle: ConnectionHandle,
        command: &RtcCommand<'_>,
    ) -> Answer {
        match *command {
            RtcCommand::CreateOffer { label, reliable } => {
                let made = self.offer(now, handle, label, reliable);
                self.made(handle, made)
            }
            RtcCommand::AcceptOffer { sdp } => {
                let made = self.accept(now, handle, sdp);
                self.made(handle, made)
            }
            RtcCommand::ApplyAnswer { sdp } => match self.of(handle) {
                Some((_, taken)) => match taken.answered(now, sdp) {
                    Ok(()) => Answer::Input(handle, RtcInput::IceChecking),
                    Err(failure) => Answer::failed(handle, failure),
                },
                None => Answer::Nothing,
            },
            RtcCommand::AddCandidate { candidate } => {
                if let Some((_, taken)) = self.of(handle) {
                    taken.learn(now, candidate);
                }
                Answer::Nothing
            }
            RtcCommand::Send(fragment) => match self.of(handle) {
                Some((place, taken)) => match taken.give(&fragment) {
                    Ok(()) => Answer::Sent(place),
                    Err(failure) => Answer::failed(handle, failure),
                },
                None => Answer::Nothing,
            },
            RtcCommand::Close => {
                if let Some((_, taken)) = self.of(handle) {
                    taken.session.close();
                    taken.state = State::Leaving;
                }
                Answer::Nothing
            }
        }
    }

    fn made(&mut self, handle: ConnectionHandle, made: Result<usize, RtcFailure>) -> Answer {
        match made {
            Ok(place) => Answer::Made(place),
            Err(failure) => {
                warning!("no session can be made: {}", failure as u8);
                // Of one that was made before it failed nobody knows.
                if let Some((place, _)) = self.of(handle) {
                    self.free(place);
                }
                Answer::failed(handle, failure)
            }
        }
    }

    fn offer(
        &mut self,
        now: Instant,
        handle: ConnectionHandle,
        label: &str,
        reliable: bool,
    ) -> Result<usize, RtcFailure> {
        let (place, taken) = self.make(now, handle, Role::Controlling, MID)?;
        let opened = taken.session.open(label, reliable);
        opened.map_err(|_| RtcFailure::Channel)?;
        Ok(place)
    }

    fn accept(
        &mut self,
        now: Instant,
        handle: ConnectionHandle,
        sdp: &str,
    ) -> Result<usize, RtcFailure> {
        let offer = description::read(sdp).ok_or(RtcFailure::Description)?;
        let mid = offer.mid.unwrap_or(MID);
        let (place, taken) = self.make(now, handle, Role::Controlled, mid)?;
        taken.describe(now, &offer, length(sdp), Setup::Actpass)?;
        Ok(place)
    }

    /// Makes a session.
    #[inline(never)]
    fn make(
        &mut self,
        now: Instant,
        handle: ConnectionHandle,
        role: Role,
        mid: &str,
    ) -> Result<(usize, &mut Taken<'m, C>), RtcFailure> {
        let mid = String::try_from(mid).map_err(|_| RtcFailure::Description)?;
        let drawn = Drawn::draw(&mut self.crypto).map_err(|_| RtcFailure::Resources)?;
        let place = self.place().ok_or(RtcFailure::Resources)?;
        let slot = self.slots.get_mut(place).ok_or(RtcFailure::Resources)?;
        let Slot::Free(memory) = core::mem::replace(slot, Slot::Unlent) else {
            debug_assert!(false, "the place was free");
            return Err(RtcFailure::Resources);
        };
        let mut config = self.config;
        config.ice.role = role;
        config.setup = match role {
            // So every browser is DTLS server, and our server half can be left out.
            Role::Controlling => Setup::Active,
            Role::Controlled => session::Config::new(role).setup,
        };
        let mut session = Session::with(now, drawn, config, memory, &[]);
        let told = session.set_addresses(now, &self.addresses);
        debug_assert!(told.is_ok(), "there is memory for so many");
        let id = self.stack.add(session.ice().ufrag());
        debug_assert!(
            id.is_ok(),
            "there is a place for each session, and names are drawn"
        );
        let Ok(id) = id else {
            if let Some(memory) = session.into_memory() {
                *slot = Slot::Free(memory);
            }
            return Err(RtcFailure::Resources);
        };
        *slot = Slot::Taken(Taken {
            session,
            id,
            state: State::Describing(handle),
            mid,
            untold: None,
            blocked: None,
            buffered: 0,
            // What the engine thinks until it is told.
            credit: u32::MAX,
            most_room: 0,
        });
        let taken = slot.taken().ok_or(RtcFailure::Resources)?;
        Ok((place, taken))
    }

    /// A free place. Last words are not waited for.
    fn place(&mut self) -> Option<usize> {
        let free = |slot: &Slot<'_, C>| matches!(slot, Slot::Free(_));
        if let Some(place) = self.slots.iter().position(free) {
            return Some(place);
        }
        let place = self.slots.iter().position(is_leaving)?;
        self.free(place);
        Some(place)
    }

    /// Whether the only free place there may soon be is that of a session which says its last
    /// words.
    pub(super) fn is_cramped(&self) -> bool {
        let free = |slot: &Slot<'_, C>| matches!(slot, Slot::Free(_));
        !self.slots.iter().any(free) && self.slots.iter().any(is_leaving)
    }

    /// The session of a connection, and its place.
    fn of(&mut self, handle: ConnectionHandle) -> Option<(usize, &mut Taken<'m, C>)> {
        let mut all = self.slots.iter_mut().enumerate();
        all.find_map(|(place, slot)| {
            let taken = slot.taken()?;
            (taken.state.handle() == Some(handle)).then_some((place, taken))
        })
    }
}

fn is_leaving<C: Crypto>(slot: &Slot<'_, C>) -> bool {
    matches!(slot, Slot::Taken(taken) if taken.state == State::Leaving)
}

impl<C: Crypto> Taken<'_, C> {
    /// Takes the remote's answer.
    fn answered(&mut self, now: Instant, sdp: &str) -> Result<(), RtcFailure> {
        let answer = description::read(sdp).ok_or(RtcFailure::Description)?;
        self.describe(now, &answer, length(sdp), Setup::Active)
    }

    /// Takes the remote's description, which came in so many bytes. `theirs`: what counts where it
    /// says no DTLS role.
    fn describe(
        &mut self,
        now: Instant,
        description: &Description<'_>,
        len: u32,
        theirs: Setup,
    ) -> Result<(), RtcFailure> {
        let remote = description::remote(description, theirs);
        let told = self.session.set_remote(now, &remote);
        told.map_err(|_| RtcFailure::Description)?;
        self.session.credit(len);
        for candidate in description.candidates() {
            // One that cannot be used is not.
            let _refused = self.session.add_candidate(now, candidate);
        }
        Ok(())
    }

    /// Takes a candidate of the remote.
    fn learn(&mut self, now: Instant, candidate: &str) {
        self.session.credit(length(candidate));
        // One that cannot be used is not.
        let _refused = self.session.add_candidate(now, candidate);
    }

    /// Gives the channel a message, or a piece of one, for which there is room.
    fn give(&mut self, fragment: &Fragment<'_>) -> Result<(), RtcFailure> {
        let outgoing = Outgoing {
            kind: match fragment.kind {
                MessageKind::Text => Kind::Text,
                MessageKind::Binary => Kind::Binary,
            },
            first: fragment.first,
            last: fragment.last,
            in_order: false,
        };
        match self.session.send(outgoing, fragment.bytes) {
            Ok(taken) if taken == fragment.bytes.len() => {
                let taken = u32::try_from(taken).unwrap_or(u32::MAX);
                self.buffered = self.buffered.saturating_add(taken);
                self.credit = self.credit.saturating_sub(taken);
                Ok(())
            }
            // It ends, as will be told.
            Err(session::SendError::Closed) => Ok(()),
            Ok(_) | Err(session::SendError::Full | session::SendError::NotOpen) => {
                debug_assert!(false, "the engine knows what there is room for");
                Err(RtcFailure::Channel)
            }
            // Longer than the remote takes.
            Err(session::SendError::Sctp(_)) => Err(RtcFailure::Channel),
        }
    }
}

fn length(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}
