//! Which STUN and TURN servers a peer uses.

use crate::rtc::IceServer;

impl IceServer {
    /// A server without credentials: `stun:host:port`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            ..Self::default()
        }
    }

    /// A TURN server: `turn:host:port`.
    pub fn turn(
        url: impl Into<String>,
        username: impl Into<String>,
        credential: impl Into<String>,
    ) -> Self {
        Self {
            urls: vec![url.into()],
            username: username.into(),
            credential: credential.into(),
        }
    }

    /// What PeerJS uses when nothing is configured (`lib/util.ts`).
    pub fn peerjs_defaults() -> Vec<Self> {
        let urls = [
            "turn:eu-0.turn.peerjs.com:3478",
            "turn:us-0.turn.peerjs.com:3478",
        ];
        vec![
            Self::new("stun:stun.l.google.com:19302"),
            Self {
                urls: urls.map(str::to_owned).to_vec(),
                ..Self::turn("", "peerjs", "peerjsp")
            },
        ]
    }
}
