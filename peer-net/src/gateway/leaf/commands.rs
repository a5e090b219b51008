//! What a leaf wants done. Refusals are answers as its engine knows them.

use peer_core::peer::{BrokerCommand, ConnectionHandle, RtcCommand, RtcFailure};
use tokio::runtime::Handle;

use super::{Leaf, Told};
use crate::driver::broker::{BrokerEvent, BrokerSocket};
use crate::gateway::options::Settings;
use crate::gateway::sessions::{Beginning, SessionInput, Sessions};
use crate::rate::Rate;

/// Does something with the broker's socket. What comes back is a refusal.
pub(super) fn broker_command(
    broker: &mut BrokerSocket,
    opens: &mut Rate,
    leaf: Option<&mut Leaf>,
    command: &BrokerCommand<'_>,
) -> Option<Told> {
    let state = match *command {
        BrokerCommand::RetrieveId => {
            if !opens.take() {
                return Some(Told::Broker(BrokerEvent::Failed));
            }
            broker.retrieve_id(&Handle::current());
            "connecting"
        }
        BrokerCommand::Open { id, token } => {
            if !opens.take() {
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
            broker.send(text);
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

/// Does something with a session. What comes back is a refusal.
pub(super) fn rtc_command(
    sessions: &mut Sessions,
    begins: &mut Rate,
    settings: &Settings,
    handle: ConnectionHandle,
    command: &RtcCommand<'_>,
) -> Option<Told> {
    let beginning = match *command {
        RtcCommand::CreateOffer { label, reliable } => Beginning::Offer {
            label,
            ordered: reliable,
        },
        RtcCommand::AcceptOffer { sdp } => Beginning::Answer { offer: sdp },
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
    if begins.take() && sessions.begin(settings, handle, &beginning) {
        return None;
    }
    let failed = SessionInput::Failed(RtcFailure::Resources);
    Some(Told::Session(handle, failed))
}
