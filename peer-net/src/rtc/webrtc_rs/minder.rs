//! What the ICE agent has to be told or asked from time to time, since it does not tell by itself:
//! that it should nominate, whether the remote fell silent, how many addresses it has taken for
//! candidates.

use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, watch};
use webrtc_ice::agent::Agent;
use webrtc_ice::candidate::candidate_base::unmarshal_candidate;
use webrtc_ice::candidate::{Candidate, CandidatePairState};
use webrtc_ice::state::ConnectionState;

use super::silence::Silence;

/// Between two looks whether a pair works that could be nominated: an eighth of the time gone by,
/// so that they make connecting no more than that slower, within these limits.
const HASTE_MIN: Duration = Duration::from_millis(1);
const HASTE_MAX: Duration = Duration::from_millis(25);
/// How often the agent is prompted to nominate. It is once for each pair that works, usually once
/// in all.
const PROMPTS_MAX: u16 = 32;
/// Addresses a remote may check from, its candidates included. The agent takes every new one for a
/// candidate, without a limit (`agent_internal.rs`, `handle_inbound`); with more the session ends.
/// Looked at as often as for silence: a flood had added some hundreds by then, less than 1 MB.
const MAX_REMOTE_ADDRESSES: usize = 128;
/// Longest time between two looks for silence.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// Runs beside the agent, from the first check to the end.
pub(super) struct Minder {
    pub(super) agent: Arc<Agent>,
    pub(super) controlling: bool,
    pub(super) state: Arc<watch::Sender<ConnectionState>>,
    pub(super) hopeless: Arc<watch::Sender<Option<&'static str>>>,
    pub(super) quiet: Arc<Notify>,
    pub(super) disconnected_timeout: Duration,
    pub(super) survive: Duration,
}

impl Minder {
    pub(super) async fn run(self) {
        let tolerated = self.survive;
        let begun = Instant::now();
        let mut prompts = PROMPTS_MAX;
        let mut worked = 0;
        while self.agent.get_selected_candidate_pair().is_none() {
            if begun.elapsed() > tolerated {
                self.state.send_replace(ConnectionState::Failed);
                return;
            }
            if self.controlling {
                let works = self.working_pairs().await;
                if works > worked && prompts > 0 {
                    prompts -= 1;
                    self.prompt(prompts);
                }
                worked = works;
            }
            if self.is_crowded().await {
                return;
            }
            tokio::time::sleep((begun.elapsed() / 8).clamp(HASTE_MIN, HASTE_MAX)).await;
        }

        let interval = (self.disconnected_timeout / 8).clamp(HASTE_MIN, LOOK_MAX);
        let mut silence = Silence::new(2 * interval, Instant::now());
        while let Some(pair) = self.agent.get_selected_candidate_pair() {
            let silent = silence.look(pair.remote.last_received(), Instant::now());
            if silent > self.disconnected_timeout / 5 * 3 {
                self.quiet.notify_one();
            }
            self.tell(if silent > tolerated {
                ConnectionState::Failed
            } else if silent > self.disconnected_timeout {
                ConnectionState::Disconnected
            } else {
                ConnectionState::Connected
            });
            if silent > tolerated || self.is_crowded().await {
                return;
            }
            tokio::time::sleep(interval).await;
        }
    }

    fn tell(&self, now: ConnectionState) {
        self.state.send_if_modified(|state| {
            let modified = *state != now && *state != ConnectionState::Closed;
            if modified {
                *state = now;
            }
            modified
        });
    }

    async fn is_crowded(&self) -> bool {
        let crowded = self.agent.get_remote_candidates_stats().await.len() > MAX_REMOTE_ADDRESSES;
        if crowded {
            self.hopeless
                .send_replace(Some("the remote checks from too many addresses"));
        }
        crowded
    }

    async fn working_pairs(&self) -> usize {
        let pairs = self.agent.get_candidate_pairs_stats().await;
        pairs
            .iter()
            .filter(|pair| pair.state == CandidatePairState::Succeeded)
            .count()
    }

    /// Has the controlling agent nominate a pair that works. By itself it looks only once an
    /// interval of checks, or when the remote happens to check that pair again
    /// (`agent_selector.rs`, `contact_candidates`). Nothing of its own makes it look for us; a new
    /// candidate of the remote does, and one over TCP has no other effect, since nothing here is
    /// paired with it.
    fn prompt(&self, number: u16) {
        let line = format!(
            "1 1 tcp 1 192.0.2.1 {} typ host tcptype passive",
            number + 1
        );
        match unmarshal_candidate(&line) {
            Ok(candidate) => {
                let candidate: Arc<dyn Candidate + Send + Sync> = Arc::new(candidate);
                let _ = self.agent.add_remote_candidate(&candidate);
            }
            Err(error) => tracing::debug!(%error, "the agent was not prompted"),
        }
    }
}
