//! What a leaf wants done. Refusals are answers as its engine knows them.

use std::collections::VecDeque;

use peer_core::peer::{BrokerCommand, ConnectionHandle, RtcCommand, RtcFailure};
use peer_core::time::Instant;

use super::slots::{SessionInput, Slots};
use super::{Action, Beginning, Leaf, Room, Step, Told};
use crate::gateway::options::Settings;
use crate::gateway::remotes::Remotes;
use crate::signalling::BrokerEvent;
use crate::sync::lock;

/// The parts of a stream that commands are about.
pub(super) struct Parts<'s> {
    pub(super) slots: &'s mut Slots,
    pub(super) remotes: &'s mut Remotes,
    pub(super) leaf: Option<&'s mut Leaf>,
    pub(super) held: &'s mut Option<BrokerEvent>,
    pub(super) actions: &'s mut VecDeque<Action>,
}

/// Something about the broker's socket.
pub(super) fn broker(now: Instant, parts: Parts<'_>, command: &BrokerCommand<'_>) -> Step {
    let Parts {
        slots,
        remotes,
        leaf,
        held,
        actions,
    } = parts;
    if !matches!(command, BrokerCommand::Send(_)) {
        // It is of a socket or a call that is over now.
        *held = None;
    }
    let takes_open = || {
        let mut leaf = leaf.as_deref().map(|leaf| lock(&leaf.rates));
        leaf.as_mut().is_some_and(|rates| rates.opens.take(now))
    };
    let (state, action) = match *command {
        BrokerCommand::RetrieveId => {
            if !takes_open() {
                return Step::Refuse(Told::Broker(BrokerEvent::Failed));
            }
            ("connecting", Action::RetrieveId)
        }
        BrokerCommand::Open { id, token } => {
            if !takes_open() {
                actions.push_back(Action::CloseBroker);
                return Step::Refuse(Told::Broker(BrokerEvent::Closed));
            }
            let (id, token) = (id.to_owned(), token.to_owned());
            if let Some(leaf) = leaf {
                leaf.id = Some(id.clone());
                leaf.broker = "connecting";
            }
            return Step::Do(Action::OpenBroker { id, token });
        }
        BrokerCommand::Send(text) => {
            if slots.expect_offer()
                && let Some((description, remote)) = remotes.sent(text)
            {
                slots.offered(description, remote);
            }
            return Step::Do(Action::SendSignal(text.to_owned()));
        }
        BrokerCommand::Close => ("none", Action::CloseBroker),
    };
    if let Some(leaf) = leaf {
        leaf.broker = state;
    }
    Step::Do(action)
}

/// Something about a session.
pub(super) fn session(
    now: Instant,
    parts: Parts<'_>,
    settings: &Settings,
    room: Room,
    handle: ConnectionHandle,
    command: &RtcCommand<'_>,
) -> Step {
    let slots = parts.slots;
    let (beginning, remote) = match *command {
        RtcCommand::CreateOffer { label, reliable } => {
            let (label, ordered) = (label.to_owned(), reliable);
            (Beginning::Offer { label, ordered }, None)
        }
        RtcCommand::AcceptOffer { sdp } => {
            let offer = sdp.to_owned();
            (Beginning::Answer { offer }, parts.remotes.accepted(sdp))
        }
        RtcCommand::ApplyAnswer { sdp } => {
            return Step::Do(Action::ApplyAnswer(handle, sdp.to_owned()));
        }
        RtcCommand::AddCandidate { candidate } => {
            return Step::Do(Action::AddCandidate(handle, candidate.to_owned()));
        }
        RtcCommand::Close => {
            slots.close(handle);
            return Step::Do(Action::Close(handle));
        }
        // Messages go another way.
        RtcCommand::Send(_) => return Step::Done,
    };
    let leaf = parts.leaf.as_deref();
    let limit = settings.limits.connections;
    let may_begin = leaf.is_some_and(|leaf| lock(&leaf.rates).sessions.take(now))
        && slots.len() < limit
        && room.sessions < 2 * limit;
    if !may_begin {
        let failed = SessionInput::Failed(RtcFailure::Resources);
        return Step::Refuse(Told::Session(handle, failed));
    }
    let incoming = matches!(beginning, Beginning::Answer { .. });
    slots.begin(now, handle, incoming);
    if let (Some(remote), Some(slot)) = (remote, slots.get(handle)) {
        slot.counts.name(remote);
    }
    Step::Do(Action::Begin(handle, beginning))
}
