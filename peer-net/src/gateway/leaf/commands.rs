//! What a leaf wants done. Refusals are answers as its engine knows them.

use peer_core::peer::{BrokerCommand, ConnectionHandle, RtcCommand, RtcFailure};
use tokio::runtime::Handle;

use super::{Leaf, Told};
use crate::gateway::options::Settings;
use crate::gateway::remotes::Remotes;
use crate::gateway::sessions::{Beginning, SessionInput, Sessions};
use crate::signalling::{BrokerEvent, BrokerSocket};
use crate::sync::lock;

/// The parts of a served stream that commands are about.
pub(super) struct Parts<'s> {
    pub(super) broker: &'s mut BrokerSocket,
    pub(super) sessions: &'s mut Sessions,
    pub(super) remotes: &'s mut Remotes,
    pub(super) leaf: Option<&'s mut Leaf>,
}

/// Does something with the broker's socket. What comes back is a refusal.
pub(super) fn broker_command(parts: Parts<'_>, command: &BrokerCommand<'_>) -> Option<Told> {
    let Parts {
        broker,
        sessions,
        remotes,
        leaf,
    } = parts;
    let state = match *command {
        BrokerCommand::RetrieveId => {
            if !takes_open(leaf.as_deref()) {
                return Some(Told::Broker(BrokerEvent::Failed));
            }
            broker.retrieve_id(&Handle::current());
            "connecting"
        }
        BrokerCommand::Open { id, token } => {
            if !takes_open(leaf.as_deref()) {
                broker.close();
                return Some(Told::Broker(BrokerEvent::Closed));
            }
            broker.open(&Handle::current(), id, token);
            if let Some(leaf) = leaf {
                leaf.id = Some(id.to_owned());
                leaf.broker = "connecting";
            }
            return None;
        }
        BrokerCommand::Send(text) => {
            if sessions.expect_offer()
                && let Some((description, remote)) = remotes.sent(text)
            {
                sessions.offered(description, remote);
            }
            let sent = broker.send(text);
            debug_assert!(sent, "nothing is taken of the leaf while there is no room");
            return None;
        }
        BrokerCommand::Close => {
            broker.close();
            "none"
        }
    };
    if let Some(leaf) = leaf {
        leaf.broker = state;
    }
    None
}

fn takes_open(leaf: Option<&Leaf>) -> bool {
    leaf.is_some_and(|leaf| lock(&leaf.rates).opens.take())
}

/// Does something with a session. What comes back is a refusal.
pub(super) fn rtc_command(
    parts: Parts<'_>,
    settings: &Settings,
    handle: ConnectionHandle,
    command: &RtcCommand<'_>,
) -> Option<Told> {
    let sessions = parts.sessions;
    let beginning = match *command {
        RtcCommand::CreateOffer { label, reliable } => Beginning::Offer {
            label,
            ordered: reliable,
        },
        RtcCommand::AcceptOffer { sdp } => Beginning::Answer {
            offer: sdp,
            remote: parts.remotes.accepted(sdp),
        },
        RtcCommand::ApplyAnswer { sdp } => {
            if let Some(slot) = sessions.slot(handle) {
                slot.session.apply_answer(sdp.to_owned());
            }
            return None;
        }
        RtcCommand::AddCandidate { candidate } => {
            if let Some(slot) = sessions.slot(handle) {
                slot.session.add_candidate(candidate.to_owned());
            }
            return None;
        }
        RtcCommand::Close => {
            sessions.close(handle);
            return None;
        }
        // Messages go another way.
        RtcCommand::Send(_) => return None,
    };
    let leaf = parts.leaf.as_deref();
    let may_begin = leaf.is_some_and(|leaf| lock(&leaf.rates).sessions.take());
    if may_begin && sessions.begin(settings, handle, beginning) {
        return None;
    }
    let failed = SessionInput::Failed(RtcFailure::Resources);
    Some(Told::Session(handle, failed))
}
