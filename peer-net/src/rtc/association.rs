//! The SCTP association of a session and its channel, by either stack.

use std::sync::Arc;

use peer_core::peer::RtcFailure;
use tokio::sync::watch;
use webrtc_util::Conn;

use super::channel::Channel;
#[cfg(feature = "native")]
use super::native::Native;
#[cfg(feature = "webrtc-rs")]
use super::webrtc_rs::WebrtcRs;
use super::{RtcConfig, Stack};

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

/// Why an association is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The remote ended it, or the session did.
    Ended,
    /// Something failed: the beginning of a sentence that says what.
    Failed(&'static str),
}

/// An association over a DTLS connection.
pub(super) enum Association {
    #[cfg(feature = "webrtc-rs")]
    WebrtcRs(WebrtcRs),
    #[cfg(feature = "native")]
    Native(Native),
}

impl Association {
    pub(super) fn new(dtls: Arc<dyn Conn + Send + Sync>, purpose: Purpose) -> Self {
        match purpose.config.stack {
            #[cfg(feature = "webrtc-rs")]
            Stack::WebrtcRs => Self::WebrtcRs(WebrtcRs::new(dtls, purpose)),
            #[cfg(feature = "native")]
            Stack::Native => Self::Native(Native::new(dtls, purpose)),
        }
    }

    /// Waits until the remote has answered. Once.
    pub(super) async fn associate(&self) -> Result<(), Failure> {
        match self {
            #[cfg(feature = "webrtc-rs")]
            Self::WebrtcRs(stack) => stack.associate().await,
            #[cfg(feature = "native")]
            Self::Native(stack) => stack.associate().await,
        }
    }

    /// Opens the channel, or waits until the remote does. Once, after
    /// [`associate`](Self::associate).
    pub(super) async fn open(&self) -> Result<Channel, Failure> {
        match self {
            #[cfg(feature = "webrtc-rs")]
            Self::WebrtcRs(stack) => stack.open().await,
            #[cfg(feature = "native")]
            Self::Native(stack) => stack.open().await,
        }
    }

    /// Waits until the remote closed, reset the channel or broke DTLS, until something failed, or
    /// [`end`](Self::end) was called.
    pub(super) async fn ended(&self) -> End {
        let mut end = self.end_sender().subscribe();
        let ended = end.wait_for(Option::is_some).await;
        // The sender lives as long as this.
        ended.ok().and_then(|end| *end).unwrap_or(End::Ended)
    }

    /// Why it is over, if it is.
    pub(super) fn end_reason(&self) -> Option<End> {
        *self.end_sender().borrow()
    }

    /// Ends the session as if the remote had: what came before is still handed over.
    pub(super) fn end(&self) {
        end(self.end_sender(), End::Ended);
    }

    /// Whether what runs the association does.
    pub(super) fn is_alive(&self) -> bool {
        match self {
            #[cfg(feature = "webrtc-rs")]
            Self::WebrtcRs(stack) => stack.is_alive(),
            #[cfg(feature = "native")]
            Self::Native(stack) => stack.is_alive(),
        }
    }

    /// Makes the remote send something, for those who measure its silence.
    pub(super) async fn heartbeat(&self) {
        match self {
            #[cfg(feature = "webrtc-rs")]
            Self::WebrtcRs(stack) => stack.heartbeat().await,
            #[cfg(feature = "native")]
            Self::Native(stack) => stack.heartbeat(),
        }
    }

    /// Tells the remote that we are gone, and takes everything down. After an end of the remote's
    /// the receiver may still read what had come.
    pub(super) async fn close(&self) {
        match self {
            #[cfg(feature = "webrtc-rs")]
            Self::WebrtcRs(stack) => stack.close().await,
            #[cfg(feature = "native")]
            Self::Native(stack) => stack.close().await,
        }
    }

    fn end_sender(&self) -> &watch::Sender<Option<End>> {
        match self {
            #[cfg(feature = "webrtc-rs")]
            Self::WebrtcRs(stack) => stack.end(),
            #[cfg(feature = "native")]
            Self::Native(stack) => stack.end(),
        }
    }
}

/// Tells why it is over; the first reason counts.
pub(super) fn end(sender: &watch::Sender<Option<End>>, reason: End) {
    sender.send_if_modified(|end| {
        let first = end.is_none();
        if first {
            *end = Some(reason);
        }
        first
    });
}
