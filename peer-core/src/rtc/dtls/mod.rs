//! DTLS 1.2 (RFC 6347), client and server, as WebRTC uses it (RFC 8827).
//!
//! Certificates are self-signed, on both ends, and proved by the fingerprint that was signalled.
//! A session performs no I/O and is told the time:
//!
//! 1. [`receive`](Dtls::receive) takes a datagram and gives the application data in it, in place.
//! 2. [`work`](Dtls::work) does one long operation, while [`wants_work`](Dtls::wants_work): at most
//!    one on the curve, some 11 million instructions of a Cortex-M4.
//! 3. [`transmit`](Dtls::transmit) gives datagrams to send, until `None`. Call it after the two
//!    above, and when the time of [`timeout`](Dtls::timeout) has come.
//! 4. [`poll_event`](Dtls::poll_event) tells that the session opened or ended.
//! 5. [`seal`](Dtls::seal) makes a datagram of application data, in place.
//!
//! | supported | refused, and how |
//! |---|---|
//! | ECDHE-ECDSA on P-256 with AES-128-GCM or ChaCha20-Poly1305, SHA-256 | other suites, curves, hashes, DTLS 1.0: by name |
//! | extended master secret | a remote without it |
//! | flights with fragments, sent again, in any order | fragments that contradict each other: dropped |
//! | HelloVerifyRequest, as client | as server none is sent: read DTLS only from a source that ICE has checked |
//! | `use_srtp`, for remotes that insist on it | media |
//! | alerts, encrypted | alerts in plaintext end nothing |
//! | | renegotiation: dropped; resumption, compression: not offered |
//!
//! | limit | what happens at it |
//! |---|---|
//! | `M` bytes of [`Resources`] for a handshake message | [`DtlsError::MessageTooLong`]; what came before its turn gives way |
//! | [`HANDSHAKE_MAX`] bytes for all messages of a remote | [`DtlsError::HandshakeTooLong`] |
//! | 5 messages ahead of the one that is next, 8 pieces with gaps of each | further ones are dropped, and come again |
//! | 2 encrypted records before their keys, of 48 bytes each | the older one, and a longer one, are dropped, and come again |
//! | a flight is sent again after the first wait, then twice as long, up to 60 s | [`DtlsError::TimedOut`] after the time limit |
//! | a flight is sent 6 times to a remote whose signature was not verified yet, after 4 times the wait the last time | then only time counts |
//! | 16 answers to a verified remote that repeats its flight, one in half a first wait | then only time counts |
//! | 5 answers to another one, of the 6 times, one in half a wait | as above |
//! | records 64 behind the newest | dropped as replayed |
//! | 2³⁶ records with a wrong tag | [`DtlsError::TooManyForgeries`] |
//! | 2⁴⁸ records sent | [`SealError::Exhausted`] |
//!
//! After the handshake nothing in plaintext is looked at, and nothing is sent in plaintext, but for
//! the ChangeCipherSpec of a last flight that the remote did not get.

mod certificate;
mod client;
mod error;
mod flight;
mod fragments;
mod handshake;
mod hello;
mod message;
mod prf;
mod protection;
mod reader;
mod record;
mod replay;
#[cfg(feature = "dtls-server")]
mod server;
#[cfg(feature = "dtls-server")]
mod server_messages;
mod session;
mod step;
#[cfg(test)]
mod tests;
mod timer;

use crate::rtc::crypto::{DIGEST_LEN, TAG_LEN};
use crate::time::Duration;

pub use certificate::{CERTIFICATE_MAX, CertificateError, Identity, IdentityError};
pub use error::{DtlsError, SealError};
pub use protection::Suite;
pub use session::{Dtls, Memory, Resources};
pub use step::Message;

/// Bytes of all messages of a remote's handshake together.
pub const HANDSHAKE_MAX: usize = 16 * 1_024;
/// Bytes of a handshake message, unless another number is chosen.
pub const MESSAGE_MAX: usize = 4 * 1_024;
/// Bytes of a datagram, unless fewer are configured.
pub const DATAGRAM_MAX: usize = 1_200;
/// Bytes of the smallest datagram that can be configured.
pub const DATAGRAM_MIN: usize = flight::DATAGRAM_MIN;
/// Bytes of room that [`Dtls::seal`] needs before the text.
pub const HEADROOM: usize = record::HEADER_LEN + 8;
/// Bytes of room that [`Dtls::seal`] needs after the text.
pub const TAILROOM: usize = TAG_LEN;
/// Bytes of the longest text of a record (RFC 5246 §6.2.1).
pub const TEXT_MAX: usize = 1 << 14;

/// Which end of a handshake we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Role {
    /// Sends the first hello: `a=setup:active`.
    Client,
    /// Waits for it: `a=setup:passive`.
    #[cfg(feature = "dtls-server")]
    Server,
}

impl Role {
    /// Whether it is the server.
    pub(in crate::rtc) const fn is_server(self) -> bool {
        match self {
            Self::Client => false,
            #[cfg(feature = "dtls-server")]
            Self::Server => true,
        }
    }
}

/// What a session has to know beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which end we are.
    pub role: Role,
    /// SHA-256 of the remote's certificate, as its description says.
    pub fingerprint: [u8; DIGEST_LEN],
    /// Which suite is wanted most. The other is taken, too.
    pub prefer: Suite,
    /// How long to wait for an answer before a flight is sent again: twice the round trip that ICE
    /// measured. Kept between 50 ms and 1 s.
    pub first_wait: Duration,
    /// How long the handshake may take.
    pub time_limit: Duration,
    /// Bytes of the largest datagram to make, [`DATAGRAM_MIN`] to [`DATAGRAM_MAX`]. Messages that
    /// do not fit are cut.
    pub datagram_max: usize,
    /// Whether to agree on a profile for SRTP, for remotes that insist on it. No media is sent.
    pub use_srtp: bool,
}

impl Config {
    /// AES-128-GCM where it can be; a first wait of 200 ms, 30 s for all, datagrams of 1,200 bytes,
    /// no SRTP.
    pub const fn new(role: Role, fingerprint: [u8; DIGEST_LEN]) -> Self {
        Self {
            role,
            fingerprint,
            prefer: Suite::Aes128Gcm,
            first_wait: Duration::from_millis(200),
            time_limit: Duration::from_secs(30),
            datagram_max: DATAGRAM_MAX,
            use_srtp: false,
        }
    }
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// The remote is who the description said; application data may go both ways.
    Connected,
    /// The remote closed the session.
    Closed,
    /// The session failed.
    Failed(DtlsError),
}
