//! What is there of sessions outside of the stacks: the endpoint that starts them, and the handle
//! of one.

use core::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

#[cfg(feature = "native")]
use super::native;
#[cfg(feature = "webrtc-rs")]
use super::webrtc_rs;
use super::{RtcConfig, SessionEvent, Stack};

/// What the sessions of one peer are made of, and share.
///
/// Sessions run on the tokio runtime in which they are started. They live on without it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    config: Arc<RtcConfig>,
    #[cfg(feature = "native")]
    native: Arc<native::Endpoint>,
}

impl Endpoint {
    /// Opens no socket before the first session is started.
    pub fn new(config: RtcConfig) -> Self {
        let config = Arc::new(config);
        Self {
            #[cfg(feature = "native")]
            native: Arc::new(native::Endpoint::new(Arc::clone(&config))),
            config,
        }
    }

    /// Returns how sessions are made.
    pub fn config(&self) -> &RtcConfig {
        &self.config
    }

    /// Starts a session as the offerer: makes an offer and, once answered, opens a channel named
    /// `label`.
    ///
    /// `remote` is the remote's id, or whatever else tells remotes apart: sessions with the same
    /// one share no socket.
    pub fn offer(
        &self,
        remote: &str,
        label: String,
        ordered: bool,
        events: mpsc::Sender<SessionEvent>,
    ) -> Session {
        self.start(remote, Role::Offer { label, ordered }, events)
    }

    /// Starts a session as the answerer of `offer`, an SDP, and waits for the remote to open a
    /// channel. `remote` is as for [`offer`](Self::offer).
    pub fn answer(
        &self,
        remote: &str,
        offer: String,
        events: mpsc::Sender<SessionEvent>,
    ) -> Session {
        self.start(remote, Role::Answer { offer }, events)
    }

    #[cfg_attr(
        not(feature = "native"),
        expect(
            unused_variables,
            reason = "only sockets that are shared tell remotes apart"
        )
    )]
    fn start(&self, remote: &str, role: Role, events: mpsc::Sender<SessionEvent>) -> Session {
        Session(match self.config.stack {
            #[cfg(feature = "webrtc-rs")]
            Stack::WebrtcRs => {
                let config = Arc::clone(&self.config);
                AnySession::WebrtcRs(webrtc_rs::Session::start(config, role, events))
            }
            #[cfg(feature = "native")]
            Stack::Native => {
                AnySession::Native(native::Session::start(&self.native, remote, role, events))
            }
        })
    }
}

/// What a session is begun with.
#[derive(Debug)]
pub(super) enum Role {
    Offer { label: String, ordered: bool },
    Answer { offer: String },
}

/// One peer connection with one data channel. Dropping it closes it.
#[derive(Debug)]
pub struct Session(AnySession);

#[derive(Debug)]
enum AnySession {
    #[cfg(feature = "webrtc-rs")]
    WebrtcRs(webrtc_rs::Session),
    #[cfg(feature = "native")]
    Native(native::Session),
}

/// Calls the same method of either.
macro_rules! either {
    ($session:expr, $method:ident($($argument:expr),*)) => {
        match &$session.0 {
            #[cfg(feature = "webrtc-rs")]
            AnySession::WebrtcRs(session) => session.$method($($argument),*),
            #[cfg(feature = "native")]
            AnySession::Native(session) => session.$method($($argument),*),
        }
    };
}

impl Session {
    /// Gives the offerer the remote's answer, an SDP. Only the first one counts.
    pub fn apply_answer(&self, sdp: String) {
        either!(self, apply_answer(sdp));
    }

    /// Gives either side a candidate of the remote, `candidate:…`. What cannot be used is dropped,
    /// and so are more than 32 of them.
    pub fn add_candidate(&self, candidate: String) {
        either!(self, add_candidate(candidate));
    }

    /// Tells that signals reach the remote again, after the way on which they go was lost: where
    /// our address changed meanwhile the remote is told it again. The stack of webrtc-rs has told
    /// all it ever will.
    pub fn signalled_again(&self) {
        either!(self, signalled_again());
    }

    /// Returns how many candidates came too fast or too late to be looked at.
    pub fn candidates_dropped(&self) -> u64 {
        either!(self, candidates_dropped())
    }

    /// Returns where the remote is, once a path to it works.
    pub fn remote_address(&self) -> Option<SocketAddr> {
        either!(self, remote_address())
    }

    /// Closes the session; the remote notices at once. What was sent and is not yet acknowledged is
    /// lost. Closing twice is harmless.
    pub fn close(&self) {
        either!(self, close());
    }
}
