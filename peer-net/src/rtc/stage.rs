//! How far a session is, and what a failure there means.

use core::sync::atomic::{AtomicU8, Ordering};

use peer_core::peer::RtcFailure;

/// Why a session did not open, or ended: the kind, and a sentence.
pub(super) type Failure = (RtcFailure, String);

/// The stages in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Preparing,
    AwaitingAnswer,
    Checking,
    Encrypting,
    Associating,
    Opening,
    Open,
}

impl Stage {
    const ALL: [Self; 7] = [
        Self::Preparing,
        Self::AwaitingAnswer,
        Self::Checking,
        Self::Encrypting,
        Self::Associating,
        Self::Opening,
        Self::Open,
    ];

    /// What a deadline or a panic in it means.
    const fn meaning(self) -> (RtcFailure, &'static str) {
        match self {
            Self::Preparing => (RtcFailure::Resources, "the session could not be prepared"),
            Self::AwaitingAnswer => (RtcFailure::Ice, "the remote's answer was awaited"),
            Self::Checking => (
                RtcFailure::Ice,
                "network paths were being checked; a TURN server may be needed",
            ),
            Self::Encrypting => (RtcFailure::Dtls, "the encryption handshake was under way"),
            Self::Associating => (RtcFailure::Sctp, "the SCTP association was being set up"),
            Self::Opening => (RtcFailure::Channel, "the data channel was being opened"),
            Self::Open => (RtcFailure::Channel, "the channel was open"),
        }
    }

    /// The failure that `why` is at this stage.
    pub(super) fn failure(self, why: &str) -> Failure {
        let (failure, doing) = self.meaning();
        (failure, format!("{why} while {doing}"))
    }
}

/// The stage of a session, for those who look from elsewhere.
#[derive(Debug, Default)]
pub(super) struct SharedStage(AtomicU8);

impl SharedStage {
    pub(super) fn enter(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Stage {
        let at = usize::from(self.0.load(Ordering::Relaxed));
        Stage::ALL.get(at).copied().unwrap_or(Stage::Open)
    }
}
