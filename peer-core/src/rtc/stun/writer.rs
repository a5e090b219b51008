//! Writing a message into a buffer.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::attribute::xor;
use super::message::message_type;
use super::{
    ATTRIBUTE_HEADER_LEN, Attribute, Class, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId,
    fingerprint, kind, padded,
};
use crate::bytes;
use crate::rtc::crypto::Crypto;

/// Puts a message together. What does not fit is told by [`finish`](Self::finish).
#[derive(Debug)]
#[must_use]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    transaction: TransactionId,
    /// `None` once something did not fit.
    len: Option<usize>,
}

impl<'b> Writer<'b> {
    /// Writes the header. A request's transaction id must be random: it proves the response.
    pub fn new(
        buffer: &'b mut [u8],
        class: Class,
        method: Method,
        transaction: TransactionId,
    ) -> Self {
        let kind = message_type(class, method).to_be_bytes();
        let len = bytes::concat(buffer, &[&kind, &[0, 0], &MAGIC_COOKIE, &transaction]);
        Self {
            buffer,
            transaction,
            len,
        }
    }

    /// Appends an attribute.
    pub fn put(mut self, attribute: Attribute<'_>) -> Self {
        use Attribute as A;
        let kind = attribute.kind();
        match attribute {
            A::MappedAddress(address) | A::AlternateServer(address) => self.address(kind, address),
            A::XorMappedAddress(address)
            | A::XorPeerAddress(address)
            | A::XorRelayedAddress(address) => {
                let address = xor(address, &self.transaction);
                self.address(kind, address);
            }
            A::Username(value)
            | A::UnknownAttributes(value)
            | A::Data(value)
            | A::Realm(value)
            | A::Nonce(value)
            | A::PasswordAlgorithms(value)
            | A::AlternateDomain(value)
            | A::Software(value)
            | A::Unknown { value, .. } => self.append(kind, &[value]),
            A::ErrorCode { code, reason } => {
                let [class, number] = code_parts(code);
                self.append(kind, &[&[0, 0, class, number], reason]);
            }
            A::AddressErrorCode {
                family,
                code,
                reason,
            } => {
                let [class, number] = code_parts(code);
                self.append(kind, &[&[family.number(), 0, class, number], reason]);
            }
            A::ChannelNumber(number) | A::PasswordAlgorithm(number) => {
                self.append(kind, &[&number.to_be_bytes(), &[0, 0]]);
            }
            A::Lifetime(number) | A::Priority(number) | A::Nomination(number) => {
                self.append(kind, &[&number.to_be_bytes()]);
            }
            A::RequestedAddressFamily(family) | A::AdditionalAddressFamily(family) => {
                self.append(kind, &[&[family.number(), 0, 0, 0]]);
            }
            A::EvenPort { reserve } => self.append(kind, &[&[if reserve { 0x80 } else { 0 }]]),
            A::RequestedTransport(protocol) => self.append(kind, &[&[protocol, 0, 0, 0]]),
            A::DontFragment | A::UseCandidate => self.append(kind, &[]),
            A::UserHash(value) => self.append(kind, &[value]),
            A::ReservationToken(value) => self.append(kind, &[value]),
            A::Icmp {
                kind: icmp,
                code,
                data,
            } => {
                let [high, low] = code.to_be_bytes();
                self.append(kind, &[&[0, 0, icmp << 1 | high & 1, low], &data]);
            }
            A::IceControlled(number) | A::IceControlling(number) => {
                self.append(kind, &[&number.to_be_bytes()]);
            }
        }
        self
    }

    /// Appends MESSAGE-INTEGRITY over all before it: HMAC-SHA-1 with this key.
    pub fn integrity<C: Crypto>(mut self, crypto: &mut C, key: &[u8]) -> Self {
        let mac = self
            .covered(20)
            .map(|covered| crypto.hmac_sha1(key, &[covered]));
        self.append_some(kind::MESSAGE_INTEGRITY, mac);
        self
    }

    /// Appends MESSAGE-INTEGRITY-SHA256 over all before it.
    pub fn integrity_sha256<C: Crypto>(mut self, crypto: &mut C, key: &[u8]) -> Self {
        let mac = self
            .covered(32)
            .map(|covered| crypto.hmac_sha256(key, &[covered]));
        self.append_some(kind::MESSAGE_INTEGRITY_SHA256, mac);
        self
    }

    /// Appends FINGERPRINT over all before it; it has to be the last.
    pub fn fingerprint(mut self) -> Self {
        let crc = self.covered(4).map(|covered| fingerprint(&[covered]));
        self.append_some(kind::FINGERPRINT, crc.map(u32::to_be_bytes));
        self
    }

    /// Returns the message.
    pub fn finish(mut self) -> Result<&'b [u8], NoRoom> {
        let len = self.len.ok_or(NoRoom)?;
        self.set_len(0).ok_or(NoRoom)?;
        self.buffer.get(..len).ok_or(NoRoom)
    }

    fn address(&mut self, kind: u16, address: SocketAddr) {
        let [a, b] = address.port().to_be_bytes();
        match address.ip() {
            IpAddr::V4(ip) => self.append(kind, &[&[0, 1, a, b], &ip.octets()]),
            IpAddr::V6(ip) => self.append(kind, &[&[0, 2, a, b], &ip.octets()]),
        }
    }

    fn append_some<const N: usize>(&mut self, kind: u16, value: Option<[u8; N]>) {
        match value {
            Some(value) => self.append(kind, &[&value]),
            None => self.len = None,
        }
    }

    fn append(&mut self, kind: u16, parts: &[&[u8]]) {
        self.len = self.try_append(kind, parts);
    }

    fn try_append(&mut self, kind: u16, parts: &[&[u8]]) -> Option<usize> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut at = self.len?;
        bytes::append(self.buffer, &mut at, &kind.to_be_bytes())?;
        bytes::append(
            self.buffer,
            &mut at,
            &u16::try_from(len).ok()?.to_be_bytes(),
        )?;
        for part in parts {
            bytes::append(self.buffer, &mut at, part)?;
        }
        let zeros = [0; 4];
        bytes::append(self.buffer, &mut at, zeros.get(..padded(len) - len)?)?;
        Some(at)
    }

    /// Sets the header's length to what there is and an attribute of `value` bytes, which is what
    /// such an attribute covers; all bytes so far.
    fn covered(&mut self, value: usize) -> Option<&[u8]> {
        self.set_len(ATTRIBUTE_HEADER_LEN + value)?;
        self.buffer.get(..self.len?)
    }

    fn set_len(&mut self, more: usize) -> Option<()> {
        let len = u16::try_from(self.len?.checked_sub(HEADER_LEN)? + more).ok()?;
        bytes::copy(self.buffer.get_mut(2..)?, &len.to_be_bytes())
    }
}

/// The hundreds and the rest of an error code.
fn code_parts(code: u16) -> [u8; 2] {
    let [hundreds, rest] = [code / 100 % 8, code % 100].map(u16::to_be_bytes);
    [hundreds[1], rest[1]]
}

/// The buffer is too small for the message, or the message too long for STUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the STUN message does not fit its buffer")
    }
}

impl core::error::Error for NoRoom {}
