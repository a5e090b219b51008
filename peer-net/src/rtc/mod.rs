//! WebRTC sessions: ICE, DTLS and SCTP for one data channel each.
//!
//! An [`Endpoint`] starts them. A [`Session`] is one `RTCPeerConnection` with one
//! `RTCDataChannel`, as PeerJS uses them. It runs in tasks of its own, is fed descriptions and
//! candidates, and answers with [`SessionEvent`]s. Once [`SessionEvent::Open`] has come, messages
//! go through [`ChannelSender`] and [`ChannelReceiver`] without passing anybody else's task.
//!
//! Whose ICE, DTLS and SCTP that are is a setting, [`Stack`]; both ends may have different ones.
//!
//! This module is a seam. Nothing outside of it knows how bytes travel.

mod channel;
#[cfg(feature = "native")]
pub mod crypto;
mod description;
#[cfg(feature = "native")]
mod native;
mod ports;
mod session;
mod stage;
#[cfg(test)]
mod tests;
#[cfg(feature = "webrtc-rs")]
mod webrtc_rs;

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use core::time::Duration;

use peer_core::peer::{RtcFailure, RtcInput};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Deserializer};

pub use channel::{ChannelReceiver, ChannelSender, Message, SendError};
pub use ports::{BadPorts, UdpPorts};
pub use session::{Endpoint, Session};

use crate::tls::{self, TlsError};

/// Remote candidates of one session; each is checked from every local one. More are dropped.
const REMOTE_CANDIDATES_MAX: usize = 32;

/// Whose ICE, DTLS and SCTP carry the data.
///
/// Its names, as [`Display`](fmt::Display), [`FromStr`] and serde have them, are `webrtc-rs` and
/// `native`. The default is webrtc-rs where it is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Stack {
    /// Those of the crates `webrtc-ice`, `dtls` and `webrtc-sctp`. Of the feature `webrtc-rs`.
    ///
    /// A path that dies is not replaced by another. No window update wakes the sending half while
    /// something is under way: what a remote with another SCTP dropped for want of room goes again
    /// when the retransmission timer runs out, which doubles up to 60 s while the remote does not
    /// read.
    #[cfg(feature = "webrtc-rs")]
    #[cfg_attr(docsrs, doc(cfg(feature = "webrtc-rs")))]
    #[default]
    WebrtcRs,
    /// Those of `peer_core::rtc`: one task a session on sockets that all sessions of a peer share,
    /// quick where packets are lost, on another path where one dies, nothing of the blocking pool.
    /// All sessions of a peer show the same certificate, made for the first one. Of the feature
    /// `native`.
    ///
    /// On a channel that the remote opened with `maxRetransmits` or `maxPacketLifeTime` what is
    /// sent from here is never given up: those are ignored.
    #[cfg(feature = "native")]
    #[cfg_attr(docsrs, doc(cfg(feature = "native")))]
    #[cfg_attr(not(feature = "webrtc-rs"), default)]
    Native,
}

impl Stack {
    /// Every one that is built.
    pub const ALL: &[Self] = &[
        #[cfg(feature = "webrtc-rs")]
        Self::WebrtcRs,
        #[cfg(feature = "native")]
        Self::Native,
    ];

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "webrtc-rs")]
            Self::WebrtcRs => "webrtc-rs",
            #[cfg(feature = "native")]
            Self::Native => "native",
        }
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Stack {
    type Err = UnknownStack;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.iter().copied();
        all.find(|stack| stack.name() == name).ok_or(UnknownStack)
    }
}

/// No [`Stack`] of this name is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownStack;

impl fmt::Display for UnknownStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such stack in this build; there are:")?;
        Stack::ALL
            .iter()
            .try_for_each(|stack| write!(f, " {stack}"))
    }
}

impl core::error::Error for UnknownStack {}

/// How sessions are made. The defaults suit a machine on an ordinary network; every wait and buffer
/// is bounded.
#[derive(Clone, Debug)]
pub struct RtcConfig {
    /// Whose ICE, DTLS and SCTP carry the data. Default: those of webrtc-rs, where they are built.
    pub stack: Stack,
    /// STUN and TURN servers. Default: none, so only host candidates. While 128 of them are waited
    /// for in this process, a further session does without.
    pub ice_servers: Vec<IceServer>,
    /// Trusted beside the system's roots where a TURN server speaks TLS (`turns:`): a root, or the
    /// server's own. Default: none. For [`Stack::Native`]; the other does not speak TLS with them.
    pub turn_certificates: Vec<CertificateDer<'static>>,
    /// Which local candidates are used: PeerJS's `config.iceTransportPolicy`. Default: all.
    pub ice_transport_policy: IceTransportPolicy,
    /// Resolves `.local` candidates by multicast DNS. Default: off; browsers are then reached by
    /// their own checks. [`Stack::Native`] never resolves them.
    pub mdns: bool,
    /// From the start until the channel is open, the remote's answer included; over it, the session
    /// fails with the stage it had reached. Default: 30 s. Connectivity checks alone get no more
    /// than [`survive`](Self::survive).
    pub connect_timeout: Duration,
    /// Silence until [`IceState::Disconnected`] is reported. Default: 5 s. By the monotonic clock,
    /// as is the next.
    pub disconnected_timeout: Duration,
    /// Silence until the session ends. Default: 60 s. Time in which the program was stopped does
    /// not count.
    pub survive: Duration,
    /// The largest message in bytes the remote is told it may send. Default: 262,144, as Chromium.
    pub max_message_size: u32,
    /// SCTP receive window in bytes at most: received, and not yet read by the session. Default:
    /// 1 MiB. Values below twice [`max_message_size`](Self::max_message_size) are raised to it.
    /// `Stack::Native` tells the remote 4 KiB while little comes: no more than that in a second.
    pub receive_window: u32,
    /// Bytes of messages that wait in one [`ChannelReceiver`]. When it is full the window closes
    /// and the remote has to wait. Default: 4 MiB; at least one message always fits.
    pub receive_buffer: usize,
    /// Bytes handed to one [`ChannelSender`] and not yet acknowledged; about as much makes `send`
    /// wait, half of it in a queue, half on its way. Default: 1 MiB; at least one message always
    /// fits.
    pub send_buffer: usize,
    /// Gathers candidates on loopback interfaces too: for tests on one machine. Default: off.
    pub include_loopback: bool,
    /// Only these local addresses are used. Default: empty, which means all.
    pub ip_filter: Vec<IpAddr>,
    /// Only interfaces with these names are used. Default: empty, which means all.
    pub interfaces: Vec<String>,
    /// Only these UDP ports of this machine are used. Default: any that are free.
    ///
    /// [`Stack::Native`] takes one for all sessions with different remotes, and one more for each
    /// further session with a remote that has one; with TURN servers one a session, as a server
    /// knows a client by its port. When none is free a session shares one: it gets no relayed
    /// address, and what two sessions with one remote receive from the same port of it may go to
    /// the wrong one, which drops it. The other stack takes several ports a session, and a session
    /// that finds none fails.
    pub ports: Option<UdpPorts>,
}

impl Default for RtcConfig {
    fn default() -> Self {
        Self {
            stack: Stack::default(),
            ice_servers: Vec::new(),
            turn_certificates: Vec::new(),
            ice_transport_policy: IceTransportPolicy::All,
            mdns: false,
            connect_timeout: Duration::from_secs(30),
            disconnected_timeout: Duration::from_secs(5),
            survive: Duration::from_secs(60),
            max_message_size: 262_144,
            receive_window: 1 << 20,
            receive_buffer: 4 << 20,
            send_buffer: 1 << 20,
            include_loopback: false,
            ip_filter: Vec::new(),
            interfaces: Vec::new(),
            ports: None,
        }
    }
}

impl RtcConfig {
    /// Adds every certificate of a PEM text, at least one, to
    /// [`turn_certificates`](Self::turn_certificates).
    ///
    /// # Errors
    /// There is none, or one cannot be read.
    pub fn add_turn_certificates(&mut self, pem: impl AsRef<[u8]>) -> Result<(), TlsError> {
        let certificates = tls::certificates(pem.as_ref())?;
        self.turn_certificates.extend(certificates);
        Ok(())
    }
}

/// Which local candidates are gathered, told to the remote and checked: `RTCIceTransportPolicy`.
///
/// Candidates of the remote are taken under either policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IceTransportPolicy {
    /// Every one.
    #[default]
    All,
    /// Only relayed ones, so the remote never learns this machine's addresses. A session fails,
    /// with [`RtcFailure::Ice`], as soon as no TURN server gave a relayed address.
    Relay,
}

/// A STUN or TURN server: `RTCIceServer`.
///
/// `stun:` and `turn:` over UDP work, with [`Stack::Native`] `turns:` and `turn:` with
/// `?transport=tcp`, too. The rest is logged and passed over.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct IceServer {
    /// For example `stun:stun.example.org:3478`. In JSON one string or a list.
    #[serde(deserialize_with = "one_or_many")]
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default)]
    pub username: String,
    /// For TURN: the password.
    #[serde(default)]
    pub credential: String,
}

impl fmt::Debug for IceServer {
    /// Without the credential, which does not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// How far ICE is: `RTCIceTransportState`, as far as anybody here cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceState {
    /// Pairs are being checked.
    Checking,
    /// A pair works.
    Connected,
    /// The pair in use stopped answering; it may come back.
    Disconnected,
}

impl IceState {
    /// What the engine is told.
    pub(crate) const fn input(self) -> RtcInput<'static> {
        match self {
            Self::Checking | Self::Disconnected => RtcInput::IceChecking,
            Self::Connected => RtcInput::IceConnected,
        }
    }
}

/// What a [`Session`] reports. Exactly one of `Closed` and `Failed` is the last.
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The offer or answer to send: an SDP. Comes first, before any candidate.
    LocalDescription(String),
    /// A gathered candidate, `candidate:…` without `a=`.
    LocalCandidate(String),
    /// The ICE transport moved.
    IceState(IceState),
    /// DTLS has shaken hands, with the remote of the description. The [`IceState`] that made it
    /// possible may come after.
    DtlsConnected,
    /// The data channel is open.
    Open(ChannelSender, ChannelReceiver),
    /// The session is over: closed by either side. What arrived before may still wait in the
    /// [`ChannelReceiver`].
    Closed,
    /// The session never opened; or it had, and the path or the stack failed, with what arrived
    /// before still in the [`ChannelReceiver`]. The sentence says why, for people.
    Failed(RtcFailure, String),
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Urls {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Urls::deserialize(deserializer)? {
        Urls::One(url) => vec![url],
        Urls::Many(urls) => urls,
    })
}
