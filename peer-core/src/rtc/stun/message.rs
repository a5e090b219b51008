//! Reading: a datagram that has been checked.

use core::fmt;

use super::{ATTRIBUTE_HEADER_LEN, Attribute, HEADER_LEN, MAGIC_COOKIE, fingerprint, kind, padded};
use crate::bytes;
use crate::rtc::crypto::{Crypto, equal};

/// Names a request and its response.
pub type TransactionId = [u8; 12];

/// What a message is to its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Class {
    /// Wants a response.
    Request,
    /// Wants none.
    Indication,
    /// It was done.
    Success,
    /// It was not.
    Error,
}

/// What a message is about: 12 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Method(u16);

impl Method {
    /// RFC 8489: asks for the reflexive address; ICE's check.
    pub const BINDING: Self = Self(1);
    /// RFC 8656: asks for a relayed address.
    pub const ALLOCATE: Self = Self(3);
    /// RFC 8656: keeps or ends an allocation.
    pub const REFRESH: Self = Self(4);
    /// RFC 8656: data to the relay, for a peer.
    pub const SEND: Self = Self(6);
    /// RFC 8656: data from the relay, of a peer.
    pub const DATA: Self = Self(7);
    /// RFC 8656: lets a peer's address through.
    pub const CREATE_PERMISSION: Self = Self(8);
    /// RFC 8656: a short name for a peer.
    pub const CHANNEL_BIND: Self = Self(9);

    /// Keeps the low 12 bits.
    pub const fn new(number: u16) -> Self {
        Self(number & 0xfff)
    }

    /// Returns the number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// The first two bytes (RFC 8489 §5): the class sits between the bits of the method.
pub(super) const fn message_type(class: Class, method: Method) -> u16 {
    let class = match class {
        Class::Request => 0,
        Class::Indication => 0x010,
        Class::Success => 0x100,
        Class::Error => 0x110,
    };
    let Method(method) = method;
    (method & 0xf80) << 2 | (method & 0x070) << 1 | method & 0xf | class
}

const fn class_and_method(kind: u16) -> (Class, Method) {
    let class = match kind & 0x110 {
        0 => Class::Request,
        0x010 => Class::Indication,
        0x100 => Class::Success,
        _ => Class::Error,
    };
    (
        class,
        Method((kind & 0x3e00) >> 2 | (kind & 0xe0) >> 1 | kind & 0xf),
    )
}

/// A datagram that is a STUN message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: Method,
    transaction: &'a TransactionId,
    /// Where these attributes begin.
    integrity: Option<usize>,
    integrity_sha256: Option<usize>,
    fingerprint: Option<usize>,
}

impl<'a> Message<'a> {
    /// Checks a datagram: header, bounds, and the values of the attributes that must be understood
    /// and are known here.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (&[a, b, c, d, e, f, g, h], rest) =
            bytes.split_first_chunk().ok_or(ParseError::NotStun)?;
        let (transaction, rest) = rest.split_first_chunk().ok_or(ParseError::NotStun)?;
        if a & 0xc0 != 0 || [e, f, g, h] != MAGIC_COOKIE {
            return Err(ParseError::NotStun);
        }
        let len = usize::from(u16::from_be_bytes([c, d]));
        if len % 4 != 0 || len != rest.len() {
            return Err(ParseError::Length);
        }
        let (class, method) = class_and_method(u16::from_be_bytes([a, b]));
        let mut message = Self {
            bytes,
            class,
            method,
            transaction,
            integrity: None,
            integrity_sha256: None,
            fingerprint: None,
        };
        let mut raw = Raw {
            rest,
            at: HEADER_LEN,
        };
        while let Some((at, found, value)) = raw.next().ok_or(ParseError::Attribute)? {
            if message.fingerprint.is_some() {
                return Err(ParseError::Attribute);
            }
            match found {
                kind::FINGERPRINT if value.len() == 4 => message.fingerprint = Some(at),
                kind::MESSAGE_INTEGRITY if value.len() == 20 => {
                    message.integrity.get_or_insert(at);
                }
                kind::MESSAGE_INTEGRITY_SHA256
                    if (16..=32).contains(&value.len()) && value.len() % 4 == 0 =>
                {
                    message.integrity_sha256.get_or_insert(at);
                }
                kind::FINGERPRINT | kind::MESSAGE_INTEGRITY | kind::MESSAGE_INTEGRITY_SHA256 => {
                    return Err(ParseError::Attribute);
                }
                _ if message.integrity_seen() => {}
                _ => {
                    Attribute::read(found, value, transaction).ok_or(ParseError::Attribute)?;
                }
            }
        }
        Ok(message)
    }

    const fn integrity_seen(&self) -> bool {
        self.integrity.is_some() || self.integrity_sha256.is_some()
    }

    /// Returns the class.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// Returns the method.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// Returns the transaction's id.
    pub const fn transaction(&self) -> &'a TransactionId {
        self.transaction
    }

    /// Whether there is a MESSAGE-INTEGRITY. It may be wrong.
    pub const fn has_integrity(&self) -> bool {
        self.integrity.is_some()
    }

    /// Returns the attributes before MESSAGE-INTEGRITY, in the order of the message.
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes {
            raw: self.raw(),
            transaction: self.transaction,
        }
    }

    /// Returns the types of the attributes that must be understood and are not: what an error 420
    /// names.
    pub const fn unknown_required(&self) -> UnknownRequired<'a> {
        UnknownRequired(self.attributes())
    }

    /// The attributes that count, without the last three kinds.
    const fn raw(&self) -> Raw<'a> {
        let (_, rest) = match self.bytes.split_at_checked(HEADER_LEN) {
            Some(parts) => parts,
            None => (self.bytes, [].as_slice()),
        };
        Raw {
            rest,
            at: HEADER_LEN,
        }
    }

    /// Whether the sender knew the key of MESSAGE-INTEGRITY: HMAC-SHA-1 (RFC 8489 §14.5).
    ///
    /// The key is the password of ICE, or [`long_term_key`](super::long_term_key).
    pub fn verify_integrity<C: Crypto>(
        &self,
        crypto: &mut C,
        key: &[u8],
    ) -> Result<(), CheckError> {
        let (head, attributes, value) = self.covered(self.integrity)?;
        let mac = crypto.hmac_sha1(key, &[&head, attributes]);
        verdict(equal(&mac, value))
    }

    /// Whether the sender knew the key of MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.6), which may be
    /// shortened to 16 bytes.
    pub fn verify_integrity_sha256<C: Crypto>(
        &self,
        crypto: &mut C,
        key: &[u8],
    ) -> Result<(), CheckError> {
        let (head, attributes, value) = self.covered(self.integrity_sha256)?;
        let mac = crypto.hmac_sha256(key, &[&head, attributes]);
        verdict(equal(mac.get(..value.len()).unwrap_or_default(), value))
    }

    /// Whether FINGERPRINT is right: this is STUN, and not another protocol that looks like it.
    pub fn verify_fingerprint(&self) -> Result<(), CheckError> {
        let (head, attributes, value) = self.covered(self.fingerprint)?;
        verdict(fingerprint(&[&head, attributes]).to_be_bytes() == value)
    }

    /// What the attribute at this place covers, and its value.
    fn covered(&self, at: Option<usize>) -> Result<Covered<'a>, CheckError> {
        let at = at.ok_or(CheckError::Missing)?;
        let parts = || {
            let mut attribute = Raw {
                rest: self.bytes.get(at..)?,
                at,
            };
            let (_, _, value) = attribute.next()??;
            let len = u16::try_from(attribute.at.checked_sub(HEADER_LEN)?).ok()?;
            let (&[a, b, ..], [c, d]) = (self.bytes.first_chunk::<4>()?, len.to_be_bytes());
            Some(([a, b, c, d], self.bytes.get(4..at)?, value))
        };
        let covered = parts();
        debug_assert!(covered.is_some(), "the message was checked");
        covered.ok_or(CheckError::Wrong)
    }
}

/// The type of a message and a length that ends with an attribute; what is between that length and
/// the attribute; the attribute's value.
type Covered<'a> = ([u8; 4], &'a [u8], &'a [u8]);

fn verdict(right: bool) -> Result<(), CheckError> {
    if right {
        Ok(())
    } else {
        Err(CheckError::Wrong)
    }
}

/// The attributes of bytes, and where the first of them lies in the message.
#[derive(Clone, Copy, Debug)]
struct Raw<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Raw<'a> {
    /// The place, type and value of the next. `Some(None)` after the last, `None` if it is cut off.
    fn next(&mut self) -> Option<Option<(usize, u16, &'a [u8])>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        let (&[a, b, c, d], rest) = self.rest.split_first_chunk()?;
        let len = usize::from(u16::from_be_bytes([c, d]));
        let (value, rest) = rest.split_at_checked(padded(len))?;
        let at = self.at;
        self.rest = rest;
        self.at = at + ATTRIBUTE_HEADER_LEN + value.len();
        Some(Some((
            at,
            u16::from_be_bytes([a, b]),
            bytes::front(value, len),
        )))
    }
}

/// The attributes of a message; see [`Message::attributes`].
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    raw: Raw<'a>,
    transaction: &'a TransactionId,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (_, found, value) = self.raw.next()??;
        match found {
            kind::FINGERPRINT | kind::MESSAGE_INTEGRITY | kind::MESSAGE_INTEGRITY_SHA256 => None,
            _ => Attribute::read(found, value, self.transaction),
        }
    }
}

/// See [`Message::unknown_required`].
#[derive(Clone, Copy, Debug)]
pub struct UnknownRequired<'a>(Attributes<'a>);

impl Iterator for UnknownRequired<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        self.0.find_map(|attribute| match attribute {
            Attribute::Unknown { kind, .. } if kind < 0x8000 => Some(kind),
            _ => None,
        })
    }
}

/// Why a datagram is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ParseError {
    /// Too short for a header, or without the magic cookie.
    NotStun,
    /// The length is not that of the datagram.
    Length,
    /// An attribute is cut off, follows FINGERPRINT, or has a value that it cannot have.
    Attribute,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotStun => "the datagram is not STUN",
            Self::Length => "the STUN message has not the length of the datagram",
            Self::Attribute => "an attribute of the STUN message is malformed",
        })
    }
}

impl core::error::Error for ParseError {}

/// Why a message is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CheckError {
    /// There is no such attribute.
    Missing,
    /// It does not fit the message.
    Wrong,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the STUN message lacks the attribute that proves it",
            Self::Wrong => "the attribute that proves the STUN message is wrong",
        })
    }
}

impl core::error::Error for CheckError {}
