//! The SCTP association of a session and its channel, by whichever stack.

use std::sync::Arc;

use peer_core::peer::RtcFailure;
use tokio::sync::watch;
use webrtc_util::Conn;

use super::RtcConfig;
use super::channel::Channel;
use super::webrtc_rs::WebrtcRs;

/// Why a session did not open.
pub(super) type Failure = (RtcFailure, String);

/// What an association is made for.
pub(super) struct Purpose {
    pub(super) config: Arc<RtcConfig>,
    pub(super) remote_port: u16,
    /// The longest message in bytes that both ends take.
    pub(super) max_message_size: u32,
    pub(super) opening: Opening,
}

/// Who opens the channel.
pub(super) enum Opening {
    /// We do.
    Ours {
        label: String,
        ordered: bool,
        /// Whether we are the DTLS client, which has the even ids (RFC 8832, section 6).
        dtls_client: bool,
    },
    /// The remote does.
    Theirs,
}

/// An association over a DTLS connection.
pub(super) enum Association {
    WebrtcRs(WebrtcRs),
}

impl Association {
    pub(super) fn new(dtls: Arc<dyn Conn + Send + Sync>, purpose: Purpose) -> Self {
        Self::WebrtcRs(WebrtcRs::new(dtls, purpose))
    }

    /// Sends INIT and waits for the association. The remote may do the same at the same time.
    pub(super) async fn associate(&self) -> Result<(), Failure> {
        match self {
            Self::WebrtcRs(stack) => stack.associate().await,
        }
    }

    /// Opens the channel, or waits until the remote does. Once, after [`associate`](Self::associate).
    pub(super) async fn open(&self) -> Result<Channel, Failure> {
        match self {
            Self::WebrtcRs(stack) => stack.open().await,
        }
    }

    /// Waits until the remote closed, reset the channel or broke DTLS, or [`end`](Self::end) was called.
    pub(super) async fn ended(&self) {
        let _ = self.end_sender().subscribe().wait_for(|end| *end).await;
    }

    /// Ends the session as if the remote had: what came before is still handed over.
    pub(super) fn end(&self) {
        self.end_sender().send_replace(true);
    }

    /// Whether what runs the association does.
    pub(super) fn is_alive(&self) -> bool {
        match self {
            Self::WebrtcRs(stack) => stack.is_alive(),
        }
    }

    /// Makes the remote send something, for those who measure its silence.
    pub(super) async fn heartbeat(&self) {
        match self {
            Self::WebrtcRs(stack) => stack.heartbeat().await,
        }
    }

    /// Tells the remote that we are gone, and takes everything down. After an end of the remote's the receiver may
    /// still read what had come.
    pub(super) async fn close(&self) {
        match self {
            Self::WebrtcRs(stack) => stack.close().await,
        }
    }

    fn end_sender(&self) -> &watch::Sender<bool> {
        match self {
            Self::WebrtcRs(stack) => stack.end(),
        }
    }
}
