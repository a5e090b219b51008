//! Session descriptions of a data channel (RFC 8866, RFC 8839, RFC 8841, RFC 8842), as browsers
//! write them.
//!
//! [`parse`] accepts what Chromium accepts (LF line ends, no `mid`, no `sctp-port`, no `setup`,
//! attributes at session level, the old `DTLS/SCTP 5000` form) and refuses what Chromium refuses,
//! with the reason. It also refuses two things that Chromium accepts but that never connect: a
//! rejected media line and a user fragment with illegal characters. [`Emit`] writes the text in
//! Chromium's order.
//!
//! ```
//! use peer_core::wire::sdp::{self, Emit, Setup};
//!
//! let offer = Emit {
//!     session_id: 42,
//!     ufrag: "OKBb",
//!     pwd: "wiYqDCTQR/XL8WKd2Ie6xob5",
//!     fingerprint: &[0xab; 32],
//!     setup: Setup::Actpass,
//!     mid: "0",
//!     sctp_port: 5000,
//!     max_message_size: 262_144,
//!     candidates: &[],
//! };
//! let mut buffer = [0; 1024];
//! let description = sdp::parse(offer.write(&mut buffer)?)?;
//! assert_eq!(description.ufrag, "OKBb");
//! assert!(description.has_fingerprint(&[0xab; 32]));
//! assert_eq!(description.answer_setup(), Setup::Active);
//! # Ok::<(), sdp::SdpError>(())
//! ```

use core::fmt::{self, Write};

use crate::{bytes::TextBuffer, config::SDP_MAX};

/// The largest message for a remote peer that does not announce `a=max-message-size`, in bytes (RFC
/// 8841, section 6.1).
pub const MAX_MESSAGE_SIZE_ABSENT: u32 = 65_536;
/// The largest message for `a=max-message-size:0`, "any size", in bytes: Chromium's limit.
pub const MAX_MESSAGE_SIZE_ANY: u32 = 262_144;
/// The SCTP port of WebRTC, also assumed if `a=sctp-port` is missing.
pub const SCTP_PORT: u16 = 5000;

/// Reads the session description of a data connection.
///
/// Uses the first `m=application` section with SCTP over DTLS and skips other sections. Takes an
/// attribute that is missing there from the session level.
///
/// # Errors
/// [`SdpError`]; no connection can be made with this description.
pub fn parse(text: &str) -> Result<Description<'_>, SdpError> {
    if text.len() > SDP_MAX {
        return Err(SdpError::TooLong);
    }
    if !text.starts_with("v=0\n") && !text.starts_with("v=0\r\n") {
        return Err(SdpError::NotSdp);
    }
    // A missing last line end is the mark of a text that was cut; Chromium refuses it too.
    if !text.ends_with('\n') {
        return Err(SdpError::Truncated);
    }
    let (session, medias) = split_at_media(text);
    for field in ["o=", "s=", "t="] {
        if !session.lines().any(|line| line.starts_with(field)) {
            return Err(SdpError::NotSdp);
        }
    }
    let (media, line) = application(medias).ok_or(SdpError::NoApplication)?;
    let here = Sections { session, media };

    let ufrag = here
        .attribute("ice-ufrag")
        .ok_or(SdpError::NoIceCredentials)?;
    let pwd = here
        .attribute("ice-pwd")
        .ok_or(SdpError::NoIceCredentials)?;
    if !is_ice_text(ufrag, 4) {
        return Err(SdpError::InvalidUfrag);
    }
    if !is_ice_text(pwd, 22) {
        return Err(SdpError::InvalidPwd);
    }
    if line.port == 0 && here.attribute("bundle-only").is_none() {
        return Err(SdpError::Rejected);
    }

    let mut any = false;
    let mut usable = false;
    for fingerprint in here.fingerprints() {
        any = true;
        if fingerprint.is_sha256() {
            usable = true;
            fingerprint.sha256().ok_or(SdpError::InvalidFingerprint)?;
        }
    }
    if !any {
        return Err(SdpError::NoFingerprint);
    }
    if !usable {
        return Err(SdpError::UnsupportedFingerprint);
    }

    let setup = match here.attribute("setup") {
        None => None,
        Some("active") => Some(Setup::Active),
        Some("passive") => Some(Setup::Passive),
        Some("actpass") => Some(Setup::Actpass),
        Some(_) => return Err(SdpError::InvalidSetup),
    };
    let max_message_size = match here.attribute("max-message-size") {
        None => MAX_MESSAGE_SIZE_ABSENT,
        Some(text) => match number(text).ok_or(SdpError::InvalidMaxMessageSize)? {
            0 => MAX_MESSAGE_SIZE_ANY,
            size => size,
        },
    };
    let sctp_port = match here.attribute("sctp-port") {
        Some(text) => port(text),
        None => match here.attribute("sctpmap") {
            Some(text) => port(text.split(' ').next().unwrap_or_default()),
            // `webrtc-datachannel` in the new form, the port itself in the old one.
            None => port(line.format).or(Some(SCTP_PORT)),
        },
    };

    Ok(Description {
        ufrag,
        pwd,
        setup,
        mid: here.attribute("mid").filter(|mid| !mid.is_empty()),
        sctp_port: sctp_port
            .filter(|&port| port != 0)
            .ok_or(SdpError::InvalidSctpPort)?,
        max_message_size,
        ice_lite: here.attribute("ice-lite").is_some(),
        here,
    })
}

/// A session description that was read. Borrows from its text.
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// The ICE user name fragment: 4 to 256 letters, digits, `+` or `/`.
    pub ufrag: &'a str,
    /// The ICE password: 22 to 256 of the same characters.
    pub pwd: &'a str,
    /// The DTLS role that the remote peer takes or offers, if it says so. See
    /// [`answer_setup`](Self::answer_setup).
    pub setup: Option<Setup>,
    /// The id of the media section, which candidates refer to as `sdpMid`.
    pub mid: Option<&'a str>,
    /// The SCTP port of the remote peer, never 0.
    pub sctp_port: u16,
    /// The largest message that the remote peer takes, in bytes: [`MAX_MESSAGE_SIZE_ABSENT`] if it
    /// does not say, [`MAX_MESSAGE_SIZE_ANY`] if it says 0. A larger number than 32 bits hold is
    /// the largest that they hold.
    pub max_message_size: u32,
    /// Whether the remote peer only answers connectivity checks (`a=ice-lite`).
    pub ice_lite: bool,
    here: Sections<'a>,
}

impl<'a> Description<'a> {
    /// Returns all certificate fingerprints, of any hash. At least one is a SHA-256.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint<'a>> + use<'a> {
        self.here.fingerprints()
    }

    /// Returns whether the SHA-256 of a certificate is among the fingerprints. One match is enough
    /// (RFC 8122, section 5.1).
    #[must_use]
    pub fn has_fingerprint(&self, sha256: &[u8; 32]) -> bool {
        self.fingerprints()
            .any(|fingerprint| fingerprint.sha256().as_ref() == Some(sha256))
    }

    /// Returns the candidate lines of the description, from `candidate:` on, for
    /// [`candidate::parse`](super::candidate::parse). Only the length of the text limits their
    /// number.
    pub fn candidates(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let lines = self
            .here
            .media
            .lines()
            .filter_map(|line| line.strip_prefix("a="));
        lines
            .filter(|line| line.starts_with("candidate:"))
            .map(str::trim_end)
    }

    /// Returns whether no candidates will follow by trickle (`a=end-of-candidates`).
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.here.attribute("end-of-candidates").is_some()
    }

    /// Returns the role to answer this offer with: the DTLS client (`active`) where that is
    /// allowed, since a browser as client begins with a fragmented message of 1,413 bytes.
    #[must_use]
    pub const fn answer_setup(&self) -> Setup {
        match self.setup {
            Some(Setup::Active) => Setup::Passive,
            Some(Setup::Passive | Setup::Actpass) | None => Setup::Active,
        }
    }

    /// Returns the role that the remote peer took with this answer: `active` if it does not say
    /// (RFC 4145, section 4).
    ///
    /// # Errors
    /// [`SdpError::InvalidSetup`] for `actpass`: an answer must choose.
    pub const fn answered_setup(&self) -> Result<Setup, SdpError> {
        match self.setup {
            None | Some(Setup::Active) => Ok(Setup::Active),
            Some(Setup::Passive) => Ok(Setup::Passive),
            Some(Setup::Actpass) => Err(SdpError::InvalidSetup),
        }
    }
}

/// The DTLS role in a description (`a=setup`, RFC 8842).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Setup {
    /// The DTLS client.
    Active,
    /// The DTLS server.
    Passive,
    /// Either role; only in an offer.
    Actpass,
}

impl Setup {
    /// Returns the word after `a=setup:`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Actpass => "actpass",
        }
    }
}

/// An `a=fingerprint` line (RFC 8122).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint<'a> {
    /// The name of the hash as it was written, for example `sha-256`.
    pub hash: &'a str,
    /// The digest: bytes in hexadecimal of either case with colons between them.
    pub hex: &'a str,
}

impl Fingerprint<'_> {
    /// Returns whether the hash is SHA-256.
    #[must_use]
    pub fn is_sha256(&self) -> bool {
        self.hash.eq_ignore_ascii_case("sha-256")
    }

    /// Returns the digest, if it is a well-formed SHA-256.
    #[must_use]
    pub fn sha256(&self) -> Option<[u8; 32]> {
        if !self.is_sha256() || self.hex.len() != 32 * 3 - 1 {
            return None;
        }
        let mut digest = [0; 32];
        let mut pairs = self.hex.split(':');
        for byte in &mut digest {
            let pair = pairs.next().filter(|pair| pair.len() == 2)?;
            let mut value = 0;
            for digit in pair.chars() {
                value = value << 4 | digit.to_digit(16)?;
            }
            *byte = u8::try_from(value).ok()?;
        }
        pairs.next().is_none().then_some(digest)
    }
}

/// Why a description cannot be used. The remote peer is to blame for all but
/// [`TooLong`](Self::TooLong) and [`BufferTooSmall`](Self::BufferTooSmall).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SdpError {
    /// The description is longer than [`SDP_MAX`] bytes. A build can raise this limit.
    TooLong,
    /// The text does not begin with `v=0` or has no `o=`, `s=` or `t=` line.
    NotSdp,
    /// The last line has no line end.
    Truncated,
    /// There is no `m=application` section with SCTP over DTLS: not a data connection.
    NoApplication,
    /// The port of the `m=application` line is 0.
    Rejected,
    /// `a=ice-ufrag` or `a=ice-pwd` is missing.
    NoIceCredentials,
    /// `a=ice-ufrag` is not 4 to 256 ICE characters.
    InvalidUfrag,
    /// `a=ice-pwd` is not 22 to 256 ICE characters.
    InvalidPwd,
    /// `a=fingerprint` is missing: the certificate could not be checked.
    NoFingerprint,
    /// No fingerprint is a SHA-256.
    UnsupportedFingerprint,
    /// A SHA-256 fingerprint is not 32 bytes in hexadecimal.
    InvalidFingerprint,
    /// `a=setup` has an unknown value, or `actpass` in an answer.
    InvalidSetup,
    /// `a=sctp-port` is not a port, or 0.
    InvalidSctpPort,
    /// `a=max-message-size` is not a number.
    InvalidMaxMessageSize,
    /// The buffer to write into is too small.
    BufferTooSmall,
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the session description is longer than this build allows (SDP_MAX)",
            Self::NotSdp => {
                "the far side sent no session description (v=, o=, s= or t= is missing)"
            }
            Self::Truncated => {
                "the far side's session description was cut: its last line has no end"
            }
            Self::NoApplication => "the far side's session description has no data channel",
            Self::Rejected => "the far side rejected the data channel (port 0)",
            Self::NoIceCredentials => {
                "the far side's session description has no ICE user fragment or password"
            }
            Self::InvalidUfrag => {
                "the far side's ICE user fragment is too short, too long or illegal"
            }
            Self::InvalidPwd => "the far side's ICE password is too short, too long or illegal",
            Self::NoFingerprint => "the far side announced no certificate fingerprint",
            Self::UnsupportedFingerprint => "the far side announced no SHA-256 fingerprint",
            Self::InvalidFingerprint => "the far side's SHA-256 fingerprint is malformed",
            Self::InvalidSetup => "the far side's DTLS role is unknown or left open in an answer",
            Self::InvalidSctpPort => "the far side's SCTP port is not a port",
            Self::InvalidMaxMessageSize => "the far side's max-message-size is not a number",
            Self::BufferTooSmall => "the buffer is too small for the session description",
        })
    }
}

impl core::error::Error for SdpError {}

/// An offer or answer to write, with the lines in Chromium's order. Its [`Display`](fmt::Display)
/// writes the text.
#[derive(Clone, Copy, Debug)]
pub struct Emit<'a> {
    /// A number below 2^63, new for every session (RFC 8866, section 5.2).
    pub session_id: u64,
    /// The ICE user name fragment.
    pub ufrag: &'a str,
    /// The ICE password.
    pub pwd: &'a str,
    /// The SHA-256 of the local certificate (DER).
    pub fingerprint: &'a [u8; 32],
    /// The DTLS role: [`Setup::Actpass`] in an offer, one of the others in an answer.
    pub setup: Setup,
    /// The id of the media section: `0` in an offer, the offer's in an answer.
    pub mid: &'a str,
    /// The local SCTP port, usually [`SCTP_PORT`].
    pub sctp_port: u16,
    /// The largest message that is accepted, in bytes. Browsers assume 65,536 if it is missing.
    pub max_message_size: u32,
    /// Candidate lines from `candidate:` on, written into the description; empty to trickle them.
    pub candidates: &'a [&'a str],
}

impl Emit<'_> {
    /// Writes the text into a buffer and returns it.
    ///
    /// # Errors
    /// [`SdpError::BufferTooSmall`]. About 600 bytes are needed without candidates.
    pub fn write<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b str, SdpError> {
        let mut text = TextBuffer::new(buffer);
        write!(text, "{self}").map_err(|_| SdpError::BufferTooSmall)?;
        Ok(text.finish())
    }
}

impl fmt::Display for Emit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "v=0\r\no=- {} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n",
            self.session_id
        )?;
        write!(f, "a=group:BUNDLE {}\r\n", self.mid)?;
        f.write_str("a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n")?;
        f.write_str("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n")?;
        for line in self.candidates {
            write!(f, "a={line}\r\n")?;
        }
        write!(
            f,
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
            self.ufrag, self.pwd
        )?;
        f.write_str("a=ice-options:trickle\r\na=fingerprint:sha-256 ")?;
        for (i, byte) in self.fingerprint.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        write!(
            f,
            "\r\na=setup:{}\r\na=mid:{}\r\n",
            self.setup.as_str(),
            self.mid
        )?;
        write!(f, "a=sctp-port:{}\r\n", self.sctp_port)?;
        write!(f, "a=max-message-size:{}\r\n", self.max_message_size)
    }
}

#[derive(Clone, Copy, Debug)]
struct Sections<'a> {
    session: &'a str,
    media: &'a str,
}

impl<'a> Sections<'a> {
    /// Returns the value of the first such attribute: of the media section, else of the session
    /// level.
    fn attribute(&self, name: &'static str) -> Option<&'a str> {
        attributes(self.media, name)
            .next()
            .or_else(|| attributes(self.session, name).next())
    }

    fn fingerprints(&self) -> impl Iterator<Item = Fingerprint<'a>> + use<'a> {
        let own = attributes(self.media, "fingerprint").next().is_some();
        let section = if own { self.media } else { self.session };
        attributes(section, "fingerprint").filter_map(|value| {
            let (hash, hex) = value.split_once(' ')?;
            Some(Fingerprint {
                hash,
                hex: hex.trim_ascii(),
            })
        })
    }
}

struct MediaLine<'a> {
    port: u16,
    format: &'a str,
}

fn split_at_media(text: &str) -> (&str, &str) {
    // Not `str::find`: its search for texts is large, and panics should it have a bug.
    match text.as_bytes().windows(3).position(|at| at == b"\nm=") {
        Some(at) => text.split_at_checked(at + 1).unwrap_or((text, "")),
        None => (text, ""),
    }
}

/// Returns the section of the data channel and its `m=` line.
fn application(mut medias: &str) -> Option<(&str, MediaLine<'_>)> {
    while !medias.is_empty() {
        let (media, rest) = split_at_media(medias);
        medias = rest;
        let mut fields = media.lines().next()?.split_ascii_whitespace();
        if fields.next() != Some("m=application") {
            continue;
        }
        let (Some(at), Some(protocol)) = (fields.next().and_then(port), fields.next()) else {
            continue;
        };
        if matches!(protocol, "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP" | "DTLS/SCTP") {
            let format = fields.next().unwrap_or_default();
            return Some((media, MediaLine { port: at, format }));
        }
    }
    None
}

/// Returns the values of all attributes of a name; an empty one for a flag.
fn attributes<'a>(section: &'a str, name: &'static str) -> impl Iterator<Item = &'a str> {
    section.lines().filter_map(move |line| {
        let rest = line.strip_prefix("a=")?.strip_prefix(name)?;
        if rest.trim_ascii().is_empty() {
            return Some("");
        }
        rest.strip_prefix(':').map(str::trim)
    })
}

fn is_ice_text(text: &str, min: usize) -> bool {
    (min..=256).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok()
}

/// A decimal number of any length, cut to 32 bits.
fn number(text: &str) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.chars().try_fold(0u32, |value, digit| {
        Some(value.saturating_mul(10).saturating_add(digit.to_digit(10)?))
    })
}

#[cfg(test)]
mod tests;
