//! One session: its handle, and the task that takes it from descriptions to an open channel and to its end.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{RtcConfig, SessionEvent};

/// One peer connection with one data channel. Dropping it closes it.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// Starts as the offerer: makes an offer and, once answered, opens a channel named `label`.
    pub fn offer(
        _config: Arc<RtcConfig>,
        _label: String,
        _ordered: bool,
        _events: mpsc::Sender<SessionEvent>,
    ) -> Self {
        Self {}
    }

    /// Starts as the answerer of `offer`, an SDP, and waits for the remote to open a channel.
    pub fn answer(
        _config: Arc<RtcConfig>,
        _offer: String,
        _events: mpsc::Sender<SessionEvent>,
    ) -> Self {
        Self {}
    }

    /// Gives the offerer the remote's answer, an SDP.
    pub fn apply_answer(&self, _sdp: String) {}

    /// Gives either side a candidate of the remote, `candidate:…`. What cannot be used is dropped.
    pub fn add_candidate(&self, _candidate: String) {}

    /// Closes the session; the remote notices at once. Closing twice is harmless.
    pub fn close(&self) {}
}
