//! Descriptions: what is read of the remote's, and what ours says.

use core::fmt::Write as _;

use crate::bytes::TextBuffer;
use crate::rtc::crypto::{Crypto, DIGEST_LEN};
use crate::rtc::session::{Config, Remote, Setup};
use crate::wire::sdp::{self, Description, Emit};

use super::slot::Taken;

/// Bytes of our description.
pub(super) const OURS_MAX: usize = 640;

/// Reads a remote's description.
pub(super) fn read(sdp: &str) -> Option<Description<'_>> {
    match sdp::parse(sdp) {
        Ok(description) => Some(description),
        Err(_error) => {
            debug!("a description cannot be used: {}", _error);
            None
        }
    }
}

/// What a session has to know of it. `theirs`: what counts where it says no DTLS role.
pub(super) fn remote<'a>(description: &Description<'a>, theirs: Setup) -> Remote<'a> {
    let setup = description.setup.unwrap_or(theirs);
    let fingerprint = description.fingerprints().find_map(|it| it.sha256());
    Remote {
        lite: description.ice_lite,
        // One that no certificate has: there is always one.
        fingerprint: fingerprint.unwrap_or([0; DIGEST_LEN]),
        sctp_port: description.sctp_port,
        max_message_size: description.max_message_size,
        ..Remote::new(description.ufrag, description.pwd, setup)
    }
}

/// Writes ours.
pub(super) fn write<'b, C: Crypto>(
    taken: &Taken<'_, C>,
    fingerprint: &[u8; DIGEST_LEN],
    config: &Config,
    buffer: &'b mut [u8; OURS_MAX],
) -> &'b str {
    let session = &taken.session;
    let ice = session.ice();
    // Nobody reads it; it is to differ.
    let session_id = ice
        .ufrag()
        .bytes()
        .fold(0_u64, |id, byte| id << 7 ^ u64::from(byte));
    let ours = Emit {
        session_id: session_id >> 1,
        ufrag: ice.ufrag(),
        pwd: ice.password(),
        fingerprint,
        setup: session.setup(),
        mid: &taken.mid,
        sctp_port: sdp::SCTP_PORT,
        max_message_size: u32::try_from(config.receive_max).unwrap_or(u32::MAX),
        candidates: &[],
    };
    let mut text = TextBuffer::new(buffer);
    let written = write!(text, "{ours}");
    debug_assert!(written.is_ok(), "nothing in it is long");
    text.finish()
}
