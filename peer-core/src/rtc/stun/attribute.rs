//! The values of attributes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAGIC_COOKIE, TransactionId, kind};

/// An attribute of STUN, ICE or TURN.
///
/// Texts are bytes: they are compared, hashed and sent back, and may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attribute<'a> {
    /// The reflexive address, as servers of RFC 3489 tell it.
    MappedAddress(SocketAddr),
    /// Who asks. In ICE: the ufrag of whom is asked, a colon, the ufrag of who asks.
    Username(&'a [u8]),
    /// Why a request failed.
    ErrorCode {
        /// 300 to 699.
        code: u16,
        /// For people.
        reason: &'a [u8],
    },
    /// The types that an error 420 is about, 2 bytes each, big-endian.
    UnknownAttributes(&'a [u8]),
    /// A TURN channel, `0x4000` to `0x4fff` (RFC 8656 §12).
    ChannelNumber(u16),
    /// How long an allocation lives, in seconds.
    Lifetime(u32),
    /// The address of a TURN peer.
    XorPeerAddress(SocketAddr),
    /// What a TURN peer sent, or is sent.
    Data(&'a [u8]),
    /// Names the credentials that are meant.
    Realm(&'a [u8]),
    /// To be sent back with the credentials.
    Nonce(&'a [u8]),
    /// The address that a TURN server lends.
    XorRelayedAddress(SocketAddr),
    /// Asks for a relayed address of this family.
    RequestedAddressFamily(Family),
    /// Asks for an even port, and perhaps for the next one.
    EvenPort {
        /// Whether the next port is to be kept.
        reserve: bool,
    },
    /// The transport between relay and peer: 17 is UDP.
    RequestedTransport(u8),
    /// Asks not to fragment towards the peer.
    DontFragment,
    /// The algorithm that the long-term key was made with: 1 is MD5, 2 is SHA-256.
    PasswordAlgorithm(u16),
    /// SHA-256 of user name and realm instead of the user name.
    UserHash(&'a [u8; 32]),
    /// The reflexive address.
    XorMappedAddress(SocketAddr),
    /// The next port, kept by [`EvenPort`](Self::EvenPort).
    ReservationToken(&'a [u8; 8]),
    /// The priority that a candidate learned from this check would have (RFC 8445 §7.1.1).
    Priority(u32),
    /// Nominates the pair (RFC 8445 §7.1.2).
    UseCandidate,
    /// Asks for a second relayed address, of this family.
    AdditionalAddressFamily(Family),
    /// Why there is no relayed address of this family.
    AddressErrorCode {
        /// Of the address that there is not.
        family: Family,
        /// 300 to 699.
        code: u16,
        /// For people.
        reason: &'a [u8],
    },
    /// The algorithms for long-term keys that a server knows, as they are sent.
    PasswordAlgorithms(&'a [u8]),
    /// The domain to be expected in the certificate of the alternate server.
    AlternateDomain(&'a [u8]),
    /// An ICMP packet about a TURN peer.
    Icmp {
        /// ICMP's type, 7 bits.
        kind: u8,
        /// ICMP's code, 9 bits.
        code: u16,
        /// What the packet tells, such as the MTU.
        data: [u8; 4],
    },
    /// What the sender is, for people.
    Software(&'a [u8]),
    /// The server to ask instead.
    AlternateServer(SocketAddr),
    /// The sender takes itself for the controlled agent: its tie-breaker.
    IceControlled(u64),
    /// The sender takes itself for the controlling agent: its tie-breaker.
    IceControlling(u64),
    /// Orders nominations (draft-thatcher-ice-renomination): the highest counts.
    Nomination(u32),
    /// Another attribute.
    Unknown {
        /// Its type. Below `0x8000`, who does not understand it must not go on.
        kind: u16,
        /// Its value, without padding.
        value: &'a [u8],
    },
}

/// An address family (RFC 8489 §14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Family {
    /// 1.
    Ipv4,
    /// 2.
    Ipv6,
}

impl Family {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Ipv4 => 1,
            Self::Ipv6 => 2,
        }
    }

    const fn read(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Ipv4),
            2 => Some(Self::Ipv6),
            _ => None,
        }
    }
}

impl<'a> Attribute<'a> {
    /// Reads the value of an attribute that is not one of the three which prove a message.
    ///
    /// `None` if it must be understood, is known, and has a value that it cannot have.
    pub(super) fn read(found: u16, value: &'a [u8], transaction: &TransactionId) -> Option<Self> {
        let known = Self::known(found, value, transaction);
        if known.is_none() && (found >= 0x8000 || !is_known(found)) {
            return Some(Self::Unknown { kind: found, value });
        }
        known
    }

    fn known(found: u16, value: &'a [u8], transaction: &TransactionId) -> Option<Self> {
        Some(match found {
            kind::MAPPED_ADDRESS => Self::MappedAddress(address(value)?),
            kind::USERNAME => Self::Username(value),
            kind::ERROR_CODE => {
                let (&[_, _, class, number], reason) = value.split_first_chunk()?;
                let code = error_code(class, number)?;
                Self::ErrorCode { code, reason }
            }
            kind::UNKNOWN_ATTRIBUTES => Self::UnknownAttributes(value),
            kind::CHANNEL_NUMBER => {
                let &[a, b, _, _] = array(value)?;
                Self::ChannelNumber(u16::from_be_bytes([a, b]))
            }
            kind::LIFETIME => Self::Lifetime(u32::from_be_bytes(*array(value)?)),
            kind::XOR_PEER_ADDRESS => Self::XorPeerAddress(xor_address(value, transaction)?),
            kind::DATA => Self::Data(value),
            kind::REALM => Self::Realm(value),
            kind::NONCE => Self::Nonce(value),
            kind::XOR_RELAYED_ADDRESS => Self::XorRelayedAddress(xor_address(value, transaction)?),
            kind::REQUESTED_ADDRESS_FAMILY => Self::RequestedAddressFamily(family(value)?),
            kind::EVEN_PORT => {
                let &[flags] = array(value)?;
                Self::EvenPort {
                    reserve: flags & 0x80 != 0,
                }
            }
            kind::REQUESTED_TRANSPORT => {
                let &[protocol, _, _, _] = array(value)?;
                Self::RequestedTransport(protocol)
            }
            kind::DONT_FRAGMENT => empty(value, Self::DontFragment)?,
            kind::PASSWORD_ALGORITHM => {
                let &[a, b, ..] = value.first_chunk::<4>()?;
                Self::PasswordAlgorithm(u16::from_be_bytes([a, b]))
            }
            kind::USERHASH => Self::UserHash(array(value)?),
            kind::XOR_MAPPED_ADDRESS => Self::XorMappedAddress(xor_address(value, transaction)?),
            kind::RESERVATION_TOKEN => Self::ReservationToken(array(value)?),
            kind::PRIORITY => Self::Priority(u32::from_be_bytes(*array(value)?)),
            kind::USE_CANDIDATE => empty(value, Self::UseCandidate)?,
            kind::ADDITIONAL_ADDRESS_FAMILY => Self::AdditionalAddressFamily(family(value)?),
            kind::ADDRESS_ERROR_CODE => {
                let (&[family, _, class, number], reason) = value.split_first_chunk()?;
                Self::AddressErrorCode {
                    family: Family::read(family)?,
                    code: error_code(class, number)?,
                    reason,
                }
            }
            kind::PASSWORD_ALGORITHMS => Self::PasswordAlgorithms(value),
            kind::ALTERNATE_DOMAIN => Self::AlternateDomain(value),
            kind::ICMP => {
                let &[_, _, a, b, data @ ..] = array::<8>(value)?;
                Self::Icmp {
                    kind: a >> 1,
                    code: u16::from_be_bytes([a & 1, b]),
                    data,
                }
            }
            kind::SOFTWARE => Self::Software(value),
            kind::ALTERNATE_SERVER => Self::AlternateServer(address(value)?),
            kind::ICE_CONTROLLED => Self::IceControlled(u64::from_be_bytes(*array(value)?)),
            kind::ICE_CONTROLLING => Self::IceControlling(u64::from_be_bytes(*array(value)?)),
            kind::NOMINATION => Self::Nomination(u32::from_be_bytes(*array(value)?)),
            _ => return None,
        })
    }

    /// The type of the attribute.
    pub const fn kind(&self) -> u16 {
        match *self {
            Self::MappedAddress(_) => kind::MAPPED_ADDRESS,
            Self::Username(_) => kind::USERNAME,
            Self::ErrorCode { .. } => kind::ERROR_CODE,
            Self::UnknownAttributes(_) => kind::UNKNOWN_ATTRIBUTES,
            Self::ChannelNumber(_) => kind::CHANNEL_NUMBER,
            Self::Lifetime(_) => kind::LIFETIME,
            Self::XorPeerAddress(_) => kind::XOR_PEER_ADDRESS,
            Self::Data(_) => kind::DATA,
            Self::Realm(_) => kind::REALM,
            Self::Nonce(_) => kind::NONCE,
            Self::XorRelayedAddress(_) => kind::XOR_RELAYED_ADDRESS,
            Self::RequestedAddressFamily(_) => kind::REQUESTED_ADDRESS_FAMILY,
            Self::EvenPort { .. } => kind::EVEN_PORT,
            Self::RequestedTransport(_) => kind::REQUESTED_TRANSPORT,
            Self::DontFragment => kind::DONT_FRAGMENT,
            Self::PasswordAlgorithm(_) => kind::PASSWORD_ALGORITHM,
            Self::UserHash(_) => kind::USERHASH,
            Self::XorMappedAddress(_) => kind::XOR_MAPPED_ADDRESS,
            Self::ReservationToken(_) => kind::RESERVATION_TOKEN,
            Self::Priority(_) => kind::PRIORITY,
            Self::UseCandidate => kind::USE_CANDIDATE,
            Self::AdditionalAddressFamily(_) => kind::ADDITIONAL_ADDRESS_FAMILY,
            Self::AddressErrorCode { .. } => kind::ADDRESS_ERROR_CODE,
            Self::PasswordAlgorithms(_) => kind::PASSWORD_ALGORITHMS,
            Self::AlternateDomain(_) => kind::ALTERNATE_DOMAIN,
            Self::Icmp { .. } => kind::ICMP,
            Self::Software(_) => kind::SOFTWARE,
            Self::AlternateServer(_) => kind::ALTERNATE_SERVER,
            Self::IceControlled(_) => kind::ICE_CONTROLLED,
            Self::IceControlling(_) => kind::ICE_CONTROLLING,
            Self::Nomination(_) => kind::NOMINATION,
            Self::Unknown { kind, .. } => kind,
        }
    }
}

/// Whether the values of this type are read here, of those that must be understood.
const fn is_known(found: u16) -> bool {
    matches!(
        found,
        kind::MAPPED_ADDRESS
            | kind::USERNAME
            | kind::ERROR_CODE..=kind::UNKNOWN_ATTRIBUTES
            | kind::CHANNEL_NUMBER..=kind::LIFETIME
            | kind::XOR_PEER_ADDRESS..=kind::DONT_FRAGMENT
            | kind::PASSWORD_ALGORITHM..=kind::USERHASH
            | kind::XOR_MAPPED_ADDRESS
            | kind::RESERVATION_TOKEN
            | kind::PRIORITY..=kind::USE_CANDIDATE
    )
}

/// The value, if it has just this length.
fn array<const N: usize>(value: &[u8]) -> Option<&[u8; N]> {
    value.try_into().ok()
}

fn empty<'a>(value: &[u8], attribute: Attribute<'a>) -> Option<Attribute<'a>> {
    value.is_empty().then_some(attribute)
}

fn family(value: &[u8]) -> Option<Family> {
    let &[number, _, _, _] = array(value)?;
    Family::read(number)
}

/// Hundreds and the rest; only 300 to 699 can be (RFC 8489 §14.8).
fn error_code(class: u8, number: u8) -> Option<u16> {
    let class = class & 7;
    ((3..=6).contains(&class) && number < 100).then(|| u16::from(class) * 100 + u16::from(number))
}

/// RFC 8489 §14.1.
fn address(value: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, a, b], rest) = value.split_first_chunk()?;
    let ip = match Family::read(family)? {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::from(*array::<4>(rest)?)),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(*array::<16>(rest)?)),
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([a, b])))
}

fn xor_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    Some(xor(address(value)?, transaction))
}

/// Hides an address from NATs that rewrite what they find, and shows it again (RFC 8489 §14.2).
pub(super) fn xor(address: SocketAddr, transaction: &TransactionId) -> SocketAddr {
    let [a, b, ..] = MAGIC_COOKIE;
    let mut mask = [0; 16];
    let cookie = MAGIC_COOKIE.iter().chain(transaction);
    mask.iter_mut()
        .zip(cookie)
        .for_each(|(to, from)| *to = *from);
    let ip = match address.ip() {
        IpAddr::V4(ip) => {
            let cookie = u32::from_be_bytes(MAGIC_COOKIE);
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() ^ cookie))
        }
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(
            ip.to_bits() ^ u128::from_be_bytes(mask),
        )),
    };
    SocketAddr::new(ip, address.port() ^ u16::from_be_bytes([a, b]))
}
