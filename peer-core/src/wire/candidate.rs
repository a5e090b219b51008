//! ICE candidates as text (RFC 8839, section 5.1), as in `RTCIceCandidate.candidate`.
//!
//! ```
//! use peer_core::wire::candidate::{self, Address, CandidateKind};
//!
//! let line = "candidate:568500495 1 udp 2113937151 192.0.2.2 60459 typ host generation 0 ufrag OKBb";
//! let candidate = candidate::parse(line)?;
//! assert_eq!(candidate.address, Address::Ip([192, 0, 2, 2].into()));
//! assert_eq!((candidate.port, candidate.kind), (60459, CandidateKind::Host));
//! assert_eq!(candidate.extension("ufrag"), Some("OKBb"));
//! # Ok::<(), candidate::CandidateError>(())
//! ```

use core::fmt;
use core::net::IpAddr;

use crate::config::CANDIDATE_MAX;

/// Reads a candidate line. Accepts `a=` in front, spaces around, upper-case `UDP` and unknown
/// extensions.
///
/// # Errors
/// [`CandidateError`]; ignore the line. An empty line, which some peers send for "no more
/// candidates", is [`CandidateError::Empty`].
pub fn parse(line: &str) -> Result<Candidate<'_>, CandidateError> {
    let line = line.trim_ascii();
    if line.len() > CANDIDATE_MAX {
        return Err(CandidateError::TooLong);
    }
    let line = line.strip_prefix("a=").unwrap_or(line);
    if line.is_empty() {
        return Err(CandidateError::Empty);
    }
    let line = line
        .strip_prefix("candidate:")
        .ok_or(CandidateError::NotCandidate)?;
    if !line.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(CandidateError::NotCandidate);
    }
    let mut fields = Fields(line);
    let mut field = || fields.next().ok_or(CandidateError::Truncated);

    let foundation = field()?;
    if foundation.len() > 32 {
        return Err(CandidateError::InvalidFoundation);
    }
    let component = field()?
        .parse()
        .ok()
        .filter(|number| (1..=256).contains(number));
    let component = component.ok_or(CandidateError::InvalidComponent)?;
    let transport = match field()? {
        name if name.eq_ignore_ascii_case("udp") => Transport::Udp,
        name if name.eq_ignore_ascii_case("tcp") => Transport::Tcp,
        _ => return Err(CandidateError::UnknownTransport),
    };
    let priority = field()?
        .parse()
        .map_err(|_| CandidateError::InvalidPriority)?;
    let address = Address::parse(field()?)?;
    let port = field()?.parse().map_err(|_| CandidateError::InvalidPort)?;
    if field()? != "typ" {
        return Err(CandidateError::UnknownKind);
    }
    let kind = match field()? {
        "host" => CandidateKind::Host,
        "srflx" => CandidateKind::ServerReflexive,
        "prflx" => CandidateKind::PeerReflexive,
        "relay" => CandidateKind::Relay,
        _ => return Err(CandidateError::UnknownKind),
    };

    let mut related = None;
    let mut extensions = fields.0.trim_ascii();
    let mut rest = Fields(extensions);
    if rest.next() == Some("raddr") {
        let address = Address::parse(rest.next().ok_or(CandidateError::Truncated)?)?;
        if rest.next() != Some("rport") {
            return Err(CandidateError::InvalidPort);
        }
        let port = rest.next().ok_or(CandidateError::Truncated)?;
        related = Some((
            address,
            port.parse().map_err(|_| CandidateError::InvalidPort)?,
        ));
        extensions = rest.0.trim_ascii();
    }
    Ok(Candidate {
        foundation,
        component,
        transport,
        priority,
        address,
        port,
        kind,
        related,
        extensions,
    })
}

/// An ICE candidate. Its [`Display`](fmt::Display) writes the line, from `candidate:` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The foundation: equal for candidates of the same kind, base and server. 1 to 32 characters.
    pub foundation: &'a str,
    /// The component, 1 to 256. 1 for data channels.
    pub component: u16,
    /// The transport. Data channels here use [`Transport::Udp`] only.
    pub transport: Transport,
    /// The priority; higher is preferred.
    pub priority: u32,
    /// The address to send to.
    pub address: Address<'a>,
    /// The port to send to. An active TCP candidate has 9.
    pub port: u16,
    /// How the address was learnt.
    pub kind: CandidateKind,
    /// `raddr` and `rport`: the base of a reflexive candidate, or the reflexive address of a
    /// relayed one.
    pub related: Option<(Address<'a>, u16)>,
    /// The extensions as they were written: names and values in turn.
    pub extensions: &'a str,
}

impl<'a> Candidate<'a> {
    /// Returns the value of an extension, for example of `ufrag` or `tcptype`.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&'a str> {
        let mut fields = Fields(self.extensions);
        while let Some(found) = fields.next() {
            let value = fields.next();
            if found == name {
                return value;
            }
        }
        None
    }
}

impl fmt::Display for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        write!(
            f,
            "candidate:{} {} {transport}",
            self.foundation, self.component
        )?;
        write!(f, " {} {} {}", self.priority, self.address, self.port)?;
        write!(f, " typ {}", self.kind.as_str())?;
        if let Some((address, port)) = self.related {
            write!(f, " raddr {address} rport {port}")?;
        }
        if !self.extensions.is_empty() {
            write!(f, " {}", self.extensions)?;
        }
        Ok(())
    }
}

/// The address of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// An IP address.
    Ip(IpAddr),
    /// A name that ends in `.local` (multicast DNS), by which browsers hide host addresses. Ignore
    /// the candidate if it cannot be resolved: the browser's own checks still arrive.
    Mdns(&'a str),
}

impl<'a> Address<'a> {
    fn parse(text: &'a str) -> Result<Self, CandidateError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let (name, suffix) = text
            .len()
            .checked_sub(".local".len())
            .and_then(|at| text.split_at_checked(at))
            .ok_or(CandidateError::InvalidAddress)?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if suffix.eq_ignore_ascii_case(".local") && !name.is_empty() && name.bytes().all(legal) {
            return Ok(Self::Mdns(text));
        }
        Err(CandidateError::InvalidAddress)
    }
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Mdns(name) => f.write_str(name),
        }
    }
}

/// The transport of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP (RFC 6544). Recognised, so that it can be skipped for this reason.
    Tcp,
}

/// How a candidate's address was learnt (RFC 8445, section 5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CandidateKind {
    /// The address of an interface.
    Host,
    /// The address that a STUN server saw.
    ServerReflexive,
    /// The address that the remote peer saw.
    PeerReflexive,
    /// An address of a TURN server.
    Relay,
}

impl CandidateKind {
    /// Returns the word that stands after `typ`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relay => "relay",
        }
    }
}

/// Why a line could not be read. The remote peer is to blame, except for
/// [`TooLong`](Self::TooLong), which is a limit of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CandidateError {
    /// The line is empty: no more candidates will come.
    Empty,
    /// The line is longer than [`CANDIDATE_MAX`] bytes.
    TooLong,
    /// The line does not begin with `candidate:`, or contains others than printable ASCII.
    NotCandidate,
    /// The line ends before all fields have come.
    Truncated,
    /// The foundation has more than 32 characters.
    InvalidFoundation,
    /// The component is not 1 to 256.
    InvalidComponent,
    /// The transport is neither UDP nor TCP.
    UnknownTransport,
    /// The priority is not a 32-bit number.
    InvalidPriority,
    /// The address is neither an IP address nor a `.local` name.
    InvalidAddress,
    /// A port is not a 16-bit number.
    InvalidPort,
    /// `typ` is missing, or the word after it is unknown.
    UnknownKind,
}

impl fmt::Display for CandidateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the far side's candidate is empty: no more will come",
            Self::TooLong => "the candidate is longer than this build allows (CANDIDATE_MAX)",
            Self::NotCandidate => "the far side's candidate does not begin with 'candidate:'",
            Self::Truncated => "the far side's candidate ends too early",
            Self::InvalidFoundation => "the far side's candidate has an illegal foundation",
            Self::InvalidComponent => "the far side's candidate has an illegal component",
            Self::UnknownTransport => "the far side's candidate is neither for UDP nor for TCP",
            Self::InvalidPriority => "the far side's candidate has an illegal priority",
            Self::InvalidAddress => {
                "the far side's candidate has neither an IP address nor a .local name"
            }
            Self::InvalidPort => "the far side's candidate has an illegal port",
            Self::UnknownKind => "the far side's candidate is of an unknown kind",
        })
    }
}

impl core::error::Error for CandidateError {}

/// Iterates over the words of a line of printable ASCII, and keeps the rest of it.
struct Fields<'a>(&'a str);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_ascii_start();
        let end = text.bytes().position(|byte| byte == b' ');
        let split = end.and_then(|end| text.split_at_checked(end));
        let (word, rest) = split.unwrap_or((text, ""));
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const CHROMIUM: &str = "candidate:4172356180 1 udp 2113937151 192.0.2.2 43600 typ host generation 0 \
                            ufrag X60m network-cost 999";

    #[test]
    fn reads_and_writes_every_recorded_candidate() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/vectors/signalling_vectors.json"
        );
        let text = std::fs::read_to_string(path).unwrap();
        let mut count = 0;
        for part in text.split("candidate:").skip(1) {
            let line = part.split(['"', '\\']).next().unwrap();
            let line = std::format!("candidate:{line}");
            let candidate = parse(&line).unwrap();
            assert_eq!(candidate.kind, CandidateKind::Host);
            assert_eq!(candidate.extension("ufrag").map(str::len), Some(4));
            assert_eq!(candidate.extension("generation"), Some("0"));
            assert_eq!(candidate.extension("nothing"), None);
            assert_eq!(candidate.to_string(), line);
            count += 1;
        }
        assert!(count >= 20);
    }

    #[test]
    fn tolerates_what_browsers_tolerate() {
        let plain = parse(CHROMIUM).unwrap();
        for line in [
            std::format!("a={CHROMIUM}\r\n"),
            CHROMIUM.replace(" udp ", " UDP "),
        ] {
            assert_eq!(parse(&line), Ok(plain));
        }
        let odd = parse("candidate:1 1 udp 1 ::1 9 typ host x").unwrap();
        assert_eq!(odd.extension("x"), None);
        let mdns = "candidate:1 1 udp 1 4f3c-77.local 9 typ host";
        assert_eq!(parse(mdns).unwrap().address, Address::Mdns("4f3c-77.local"));
        let tcp = parse("candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype active").unwrap();
        assert_eq!(
            (tcp.transport, tcp.extension("tcptype")),
            (Transport::Tcp, Some("active"))
        );
        let relay = "candidate:1 1 udp 1 192.0.2.1 9 typ relay raddr 0.0.0.0 rport 0 generation 0";
        let read = parse(relay).unwrap();
        assert_eq!(read.related, Some((Address::Ip([0, 0, 0, 0].into()), 0)));
        assert_eq!(read.extensions, "generation 0");
        assert_eq!(read.to_string(), relay);
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            ("", CandidateError::Empty),
            ("a=", CandidateError::Empty),
            ("garbage", CandidateError::NotCandidate),
            (
                "candidate:1\u{7} 1 udp 1 ::1 9 typ host",
                CandidateError::NotCandidate,
            ),
            ("candidate:", CandidateError::Truncated),
            ("candidate:1 1 udp 1 ::1 9 typ", CandidateError::Truncated),
            (
                "candidate:1 0 udp 1 ::1 9 typ host",
                CandidateError::InvalidComponent,
            ),
            (
                "candidate:1 1 sctp 1 ::1 9 typ host",
                CandidateError::UnknownTransport,
            ),
            (
                "candidate:1 1 udp 4294967296 ::1 9 typ host",
                CandidateError::InvalidPriority,
            ),
            (
                "candidate:1 1 udp 1 fe80::1%eth0 9 typ host",
                CandidateError::InvalidAddress,
            ),
            (
                "candidate:1 1 udp 1 example.org 9 typ host",
                CandidateError::InvalidAddress,
            ),
            (
                "candidate:1 1 udp 1 .local 9 typ host",
                CandidateError::InvalidAddress,
            ),
            (
                "candidate:1 1 udp 1 ::1 65536 typ host",
                CandidateError::InvalidPort,
            ),
            (
                "candidate:1 1 udp 1 ::1 9 kind host",
                CandidateError::UnknownKind,
            ),
            (
                "candidate:1 1 udp 1 ::1 9 typ other",
                CandidateError::UnknownKind,
            ),
            (
                "candidate:1 1 udp 1 ::1 9 typ srflx raddr",
                CandidateError::Truncated,
            ),
            (
                "candidate:1 1 udp 1 ::1 9 typ srflx raddr ::1 x 1",
                CandidateError::InvalidPort,
            ),
        ];
        for (line, error) in cases {
            assert_eq!(parse(line), Err(error), "{line}");
        }
        let long = CHROMIUM.to_string() + &" x".repeat(CANDIDATE_MAX);
        assert_eq!(parse(&long), Err(CandidateError::TooLong));
        let foundation = "candidate:".to_string() + &"1".repeat(33) + " 1 udp 1 ::1 9 typ host";
        assert_eq!(parse(&foundation), Err(CandidateError::InvalidFoundation));
    }

    proptest! {
        #[test]
        fn no_text_panics(line in "(candidate:)?\\PC{0,120}") {
            let _ = parse(&line);
        }

        #[test]
        fn no_mutation_panics(at in 0usize..120, cut in 0usize..20, with in "\\PC{0,8}") {
            let mut line = CHROMIUM.to_string();
            let at = at.min(line.len());
            let end = (at + cut).min(line.len());
            line.replace_range(at..end, &with);
            if let Ok(candidate) = parse(&line) {
                let written = candidate.to_string();
                let again = parse(&written).unwrap();
                prop_assert_eq!(again, candidate);
            }
        }

        #[test]
        fn reads_what_it_writes(
            foundation in "[A-Za-z0-9+/]{1,32}", component in 1u16..=256, priority: u32, v6: [u8; 16],
            port: u16, relayed: bool, tcp: bool, extensions in "([a-z]{1,6} [a-z0-9]{1,6}( [a-z]{1,4} x)?)?",
        ) {
            let address = Address::Ip(v6.into());
            let candidate = Candidate {
                foundation: &foundation,
                component,
                transport: if tcp { Transport::Tcp } else { Transport::Udp },
                priority,
                address,
                port,
                kind: if relayed { CandidateKind::Relay } else { CandidateKind::ServerReflexive },
                related: relayed.then_some((Address::Ip([192, 0, 2, 1].into()), port)),
                extensions: &extensions,
            };
            prop_assume!(relayed || !extensions.starts_with("raddr"));
            let line = candidate.to_string();
            prop_assert_eq!(parse(&line), Ok(candidate));
        }
    }
}
