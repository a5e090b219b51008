//! What a failure of the session is called outside, in a sentence for people.

use peer_core::peer::RtcFailure;
use peer_core::rtc::ice::{Agent, Failure as IceFailure};
use peer_core::rtc::session::Failure;

use super::servers::Resolved;
use crate::rtc::stage::{self, Stage};

/// Outcomes of asking servers that are told.
const OUTCOMES_TOLD: usize = 8;

/// What is known of the ICE servers.
pub(super) struct Asked<'a> {
    pub(super) agent: &'a Agent<'a>,
    pub(super) servers: &'a [Resolved],
    /// Sentences about those whose names were not resolved, and those to which no stream leads.
    pub(super) missing: Vec<String>,
}

/// The kind and the sentence.
pub(super) fn of_session(failure: Failure, asked: &Asked<'_>, was_open: bool) -> stage::Failure {
    let kind = match failure {
        Failure::Ice(_) => RtcFailure::Ice,
        Failure::Dtls(_) => RtcFailure::Dtls,
        Failure::Sctp(_) | Failure::Unreachable | Failure::Restarted => RtcFailure::Sctp,
        Failure::Channel(_) => RtcFailure::Channel,
        _ => RtcFailure::Channel,
    };
    let kind = if was_open { RtcFailure::Channel } else { kind };
    let sentence = match failure {
        Failure::Ice(IceFailure::NoAnswer | IceFailure::NoCandidates) => no_path(asked),
        Failure::Ice(IceFailure::Lost) => "the network path was lost".to_owned(),
        Failure::Dtls(error) => format!("the DTLS handshake failed: {error}"),
        Failure::Channel(error) => format!("the channel's opening cannot be read: {error}"),
        failure => failure.to_string(),
    };
    (kind, sentence)
}

/// Why there is no path: what servers answered.
fn no_path(asked: &Asked<'_>) -> String {
    let sentence = "no network path to the remote works; a TURN server may be needed";
    with_outcomes(sentence, asked)
}

/// Why there is no relayed path, where only such are allowed.
pub(super) fn no_relay(asked: &Asked<'_>) -> String {
    let sentence = "only relayed paths are allowed, and no TURN server gave one: check the \
                    servers' addresses, user names and credentials";
    with_outcomes(sentence, asked)
}

/// Why a session is not open in time, at a stage.
pub(super) fn in_time(stage: Stage, asked: &Asked<'_>) -> stage::Failure {
    let (kind, sentence) = stage.failure("the time was up");
    match stage {
        Stage::Checking => (kind, with_outcomes(&sentence, asked)),
        _ => (kind, sentence),
    }
}

/// Adds what each server answered.
fn with_outcomes(sentence: &str, asked: &Asked<'_>) -> String {
    let mut outcomes = asked.missing.clone();
    for report in asked.agent.reports() {
        let Some(server) = asked.servers.get(report.server) else {
            continue;
        };
        let outcome = format!("{}: {}", server.url, report.outcome);
        // The same from each of our addresses is told once.
        if !outcomes.contains(&outcome) {
            outcomes.push(outcome);
        }
    }
    outcomes.truncate(OUTCOMES_TOLD);
    outcomes.insert(0, sentence.to_owned());
    outcomes.join("; ")
}
