//! One WebRTC data channel: ICE, DTLS, SCTP and DCEP of one connection, datagrams in and out.
//!
//! A [`Session`] performs no I/O and reads no clock. Its memory is lent to it: a static
//! [`Resources`] on a microcontroller, slices elsewhere.
//!
//! # The loop
//! 1. [`set_addresses`](Session::set_addresses) tells the sockets there are; again when they
//!    change.
//! 2. Signal [`Agent::ufrag`], [`Agent::password`] (of [`ice`](Session::ice)),
//!    [`setup`](Session::setup) and the fingerprint of the [`Identity`]; tell with
//!    [`set_remote`](Session::set_remote) and [`add_candidate`](Session::add_candidate) what the
//!    remote signals, with [`credit`](Session::credit) how many bytes that was. One end calls
//!    [`open`](Session::open).
//! 3. [`receive`](Session::receive) each datagram that came.
//! 4. [`work`](Session::work) while [`wants_work`](Session::wants_work): long arithmetic, in steps.
//! 5. [`transmit`](Session::transmit) until `None`. Do it after each other call, and when
//!    [`timeout`](Session::timeout) has come.
//! 6. [`poll_event`](Session::poll_event) until `None`; [`read`](Session::read) and
//!    [`consume`](Session::consume) what the application takes, [`send`](Session::send) what it
//!    gives. Go back to 3, until [`is_over`](Session::is_over).
//!
//! ```
//! use peer_core::rtc::crypto::{CryptoError, RustCrypto};
//! use peer_core::rtc::dtls::Identity;
//! use peer_core::rtc::ice::{Role, SocketId};
//! use peer_core::rtc::session::{Config, Event, Kind, Outgoing, Received};
//! use peer_core::rtc::session::{Remote, Resources, Session};
//! use peer_core::time::{Duration, Instant};
//! # let mut state = 1_u8;
//! # let mut crypto = RustCrypto::new(|out: &mut [u8]| {
//! #     for byte in out { state = state.wrapping_mul(5).wrapping_add(7); *byte = state; }
//! #     Ok::<(), CryptoError>(())
//! # });
//! let mut memory = [const { Resources::<2, 4, 8, 1, 0, 1536, 4096, 16, 4096, 4>::new() }; 2];
//! let [here, there] = &mut memory;
//! let identities = [Identity::generate(&mut crypto)?, Identity::generate(&mut crypto)?];
//! let mut now = Instant::ZERO;
//! let config = Config::new(Role::Controlling);
//! let mut a = Session::new(now, &mut crypto, config, here.lend(), &[])?;
//! let config = Config::new(Role::Controlled);
//! let mut b = Session::new(now, &mut crypto, config, there.lend(), &[])?;
//! let (ours, theirs) = ("192.0.2.1:5000".parse()?, "192.0.2.2:6000".parse()?);
//! a.set_addresses(now, &[(SocketId(0), ours)])?;
//! b.set_addresses(now, &[(SocketId(0), theirs)])?;
//! a.open("chat", true)?;
//!
//! // What an offer, an answer and a candidate tell.
//! let offer = Remote {
//!     fingerprint: *identities[0].fingerprint(),
//!     ..Remote::new(a.ice().ufrag(), a.ice().password(), a.setup())
//! };
//! b.set_remote(now, &offer)?;
//! let answer = Remote {
//!     fingerprint: *identities[1].fingerprint(),
//!     ..Remote::new(b.ice().ufrag(), b.ice().password(), b.setup())
//! };
//! a.set_remote(now, &answer)?;
//! a.credit(500);
//! b.credit(500);
//! let Some(Event::LocalCandidate(candidate)) = b.poll_event() else { panic!("no candidate") };
//! a.add_candidate(now, &candidate.line(b.ice().ufrag()).to_string())?;
//!
//! // What two drivers do, with a network that loses nothing.
//! let mut datagram = [0; 1200];
//! let (mut is_open, mut heard) = (false, Vec::new());
//! for _ in 0..40 {
//!     now = now + Duration::from_millis(50);
//!     while a.work(now, &mut crypto, &identities[0]) {}
//!     while let Some(it) = a.transmit(now, &mut crypto, &mut datagram) {
//!         b.receive(now, &mut crypto, SocketId(0), ours, &mut datagram[..it.len]);
//!     }
//!     while b.work(now, &mut crypto, &identities[1]) {}
//!     while let Some(it) = b.transmit(now, &mut crypto, &mut datagram) {
//!         a.receive(now, &mut crypto, SocketId(0), theirs, &mut datagram[..it.len]);
//!     }
//!     while let Some(event) = a.poll_event() {
//!         if matches!(event, Event::Open { .. }) {
//!             is_open = true;
//!             assert_eq!(a.send(Outgoing::message(Kind::Text), b"hello"), Ok(5));
//!         }
//!     }
//!     if let Some(Received::Piece(piece)) = b.read() {
//!         heard.extend_from_slice(piece.bytes);
//!         let len = piece.bytes.len();
//!         b.consume(len);
//!     }
//! }
//! assert!(is_open);
//! assert_eq!((b.label(), &heard[..]), ("chat", &b"hello"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//! What [`ice`], [`dtls`] and [`sctp`] say of theirs, and:
//!
//! | what | limit | at the limit |
//! |---|---|---|
//! | channels | one | a further one of the remote is reset, its messages dropped |
//! | bytes of a UDP payload, TURN's and DTLS's overhead included | [`DATAGRAM_MAX`] | SCTP makes shorter packets |
//! | bytes of the label | [`LABEL_MAX`] | [`OpenError::LabelTooLong`]; of the remote's: [`Failure::Channel`] |
//! | to a remote that did not prove itself, beyond checks and alert | 6 sendings of one flight | DTLS waits for its end |
//! | memory for such a remote, messages of 1,536 bytes and tables of 8 included | 8 KiB | more is lent once it is known: [`Memory::sctp`] |
//!
//! # Waits
//! DTLS and SCTP wait for the first answer to their handshakes twice the round trip that ICE
//! measured, 50 ms to 1 s, then twice as long each time. While the path does not answer, SCTP
//! waits for it, so that an outage ends nothing before [`ice::Config::survive`] does; when it is
//! back, SCTP sends at once.
//!
//! # Order of an end
//! [`close`](Session::close) sends SCTP's ABORT, then DTLS's `close_notify`, one packet each, and
//! gives TURN's allocations back. What the remote sent and we acknowledged is read before its end
//! is told. A path that died is a [`Failure`], never a [`Closed`].

mod channel;
mod end;
mod error;
mod receive;
mod resources;
mod state;
mod transmit;

use super::crypto::DIGEST_LEN;
use super::dtls::{self, Suite};
use super::{ice, sctp};
use crate::time::Duration;

pub use crate::config::LABEL_MAX;
pub use crate::wire::sdp::Setup;
pub use channel::{Kind, Outgoing, Piece, Received};
pub use end::{Closed, Event};
pub use error::{Failure, OpenError, RemoteError, SendError, ServersError};
pub use resources::{DetachedSctp, Memory, Place, Resources, SctpMemory, Spot};
#[cfg(feature = "device")]
pub(crate) use state::Drawn;
pub use state::Session;

#[cfg(doc)]
use super::{dtls::Identity, ice::Agent};

/// Bytes of the largest UDP payload that is made.
pub const DATAGRAM_MAX: usize = dtls::DATAGRAM_MAX;

/// What a session has to know beforehand.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The path: role, patience, silence that is survived.
    pub ice: ice::Config,
    /// The DTLS role that we offer, or take: [`Setup::Actpass`] leaves it to the remote, and makes
    /// us client where it does so, too. Default: that; without the feature `dtls-server`
    /// [`Setup::Active`], and no other one finds a remote.
    pub setup: Setup,
    /// The cipher suite that is wanted most. Default: AES-128-GCM.
    pub prefer: Suite,
    /// How long the DTLS handshake may take. Default: 30 s.
    pub handshake: Duration,
    /// The longest message in bytes that the remote may send: our `a=max-message-size`. Default:
    /// 262,144.
    pub receive_max: u64,
    /// Whether whole unordered messages are delivered though earlier ones are missing. Default:
    /// yes.
    pub overtaking: bool,
    /// Whether a TURN server may be told later, with [`Session::set_servers`]: packets are then
    /// short enough to go through one, as where it is known from the start. Default: no.
    pub may_relay: bool,
    /// CRC32c, as in [`sctp::Config::checksum`].
    pub checksum: fn(&[&[u8]]) -> u32,
}

impl Config {
    /// Returns the defaults. Who offers is [`ice::Role::Controlling`].
    pub const fn new(role: ice::Role) -> Self {
        Self {
            ice: ice::Config::new(role),
            setup: match cfg!(feature = "dtls-server") {
                true => Setup::Actpass,
                false => Setup::Active,
            },
            prefer: Suite::Aes128Gcm,
            handshake: Duration::from_secs(30),
            receive_max: 262_144,
            overtaking: true,
            may_relay: false,
            checksum: sctp::crc32c,
        }
    }
}

/// What the remote's description says.
#[derive(Clone, Copy, Debug)]
pub struct Remote<'a> {
    /// `a=ice-ufrag`.
    pub ufrag: &'a str,
    /// `a=ice-pwd`.
    pub password: &'a str,
    /// Whether there is `a=ice-lite`.
    pub lite: bool,
    /// `a=setup`.
    pub setup: Setup,
    /// `a=fingerprint:sha-256`.
    pub fingerprint: [u8; DIGEST_LEN],
    /// `a=sctp-port`.
    pub sctp_port: u16,
    /// `a=max-message-size` in bytes: the longest message that is sent.
    pub max_message_size: u32,
}

impl<'a> Remote<'a> {
    /// Returns a remote with SCTP port 5000 that takes messages of 262,144 bytes, with a
    /// fingerprint that no certificate has: set its own.
    pub const fn new(ufrag: &'a str, password: &'a str, setup: Setup) -> Self {
        Self {
            ufrag,
            password,
            lite: false,
            setup,
            fingerprint: [0; DIGEST_LEN],
            sctp_port: 5000,
            max_message_size: 262_144,
        }
    }
}
