//! What a session has to know of the remote's description.

use peer_core::peer::RtcFailure;
use peer_core::wire::sdp::{self, Setup};

use super::REMOTE_CANDIDATES_MAX;
use super::stage::Failure;

/// What the remote's description says.
pub(super) struct Remote {
    /// Bytes of the text.
    #[cfg(feature = "native")]
    pub(super) len: usize,
    pub(super) ufrag: String,
    pub(super) pwd: String,
    #[cfg(feature = "native")]
    pub(super) lite: bool,
    /// That begins to check once it has an answer, and only then notes the fingerprint in it: whose
    /// certificate comes between is refused for good.
    #[cfg(feature = "native")]
    pub(super) is_libdatachannel: bool,
    pub(super) fingerprints: Vec<[u8; 32]>,
    /// Ours, as it follows from the remote's.
    pub(super) setup: Setup,
    pub(super) mid: String,
    pub(super) sctp_port: u16,
    pub(super) max_message_size: u32,
    pub(super) candidates: Vec<String>,
}

impl Remote {
    pub(super) fn parse(text: &str, is_offer: bool) -> Result<Self, Failure> {
        let refuse = |error: sdp::SdpError| (RtcFailure::Description, error.to_string());
        let description = sdp::parse(text).map_err(refuse)?;
        let setup = if is_offer {
            description.answer_setup()
        } else {
            match description.answered_setup().map_err(refuse)? {
                Setup::Active => Setup::Passive,
                Setup::Passive | Setup::Actpass => Setup::Active,
            }
        };
        Ok(Self {
            #[cfg(feature = "native")]
            len: text.len(),
            #[cfg(feature = "native")]
            lite: description.ice_lite,
            #[cfg(feature = "native")]
            is_libdatachannel: text.lines().any(|line| line.starts_with("o=rtc ")),
            ufrag: description.ufrag.to_owned(),
            pwd: description.pwd.to_owned(),
            fingerprints: description
                .fingerprints()
                .filter_map(|f| f.sha256())
                .collect(),
            setup,
            mid: description.mid.unwrap_or("0").to_owned(),
            sctp_port: description.sctp_port,
            max_message_size: description.max_message_size,
            candidates: description
                .candidates()
                .take(REMOTE_CANDIDATES_MAX)
                .map(str::to_owned)
                .collect(),
        })
    }

    /// Whether the setup that is ours makes us the DTLS client.
    pub(super) fn is_client(&self) -> bool {
        self.setup == Setup::Active
    }
}
