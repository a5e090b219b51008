//! STUN (RFC 8489), with what ICE (RFC 8445) and TURN (RFC 8656, RFC 6156) add to it.
//!
//! Reading has two levels. [`Message::parse`] checks a whole datagram once: the header, the bounds
//! of every attribute, the value of every attribute known here. After it the accessors of
//! [`Message`] cannot fail, and [`Message::attributes`] gives values that are legal by type.
//! Whether the sender knew a password is a question of its own: ask
//! [`Message::verify_integrity`] before anything in a message is believed.
//!
//! [`Writer`] puts a message together in a buffer of the caller's.
//!
//! | limit | what happens at it |
//! |---|---|
//! | a message of 65,555 bytes | it cannot be longer: its length has 16 bits |
//! | an attribute twice | both are given; the first counts (RFC 8489 §14) |
//! | after MESSAGE-INTEGRITY | only FINGERPRINT and MESSAGE-INTEGRITY-SHA256 count, the rest is skipped |
//!
//! ```
//! use peer_core::rtc::crypto::{CryptoError, RustCrypto};
//! use peer_core::rtc::stun::{Attribute, Class, Message, Method, Writer};
//! # let mut crypto = RustCrypto::new(|_: &mut [u8]| Err(CryptoError::Random));
//! let mut buffer = [0; 128];
//! let request = Writer::new(&mut buffer, Class::Request, Method::BINDING, [7; 12])
//!     .put(Attribute::Username(b"theirs:ours"))
//!     .put(Attribute::Priority(1_862_270_975))
//!     .integrity(&mut crypto, b"their password")
//!     .fingerprint()
//!     .finish()?;
//!
//! let message = Message::parse(request)?;
//! assert_eq!(message.verify_integrity(&mut crypto, b"their password"), Ok(()));
//! assert_eq!(message.attributes().next(), Some(Attribute::Username(b"theirs:ours")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attribute;
mod channel_data;
mod key;
mod message;
#[cfg(test)]
mod tests;
mod writer;

pub use attribute::{Attribute, Family};
pub use channel_data::ChannelData;
pub use key::{long_term_key, long_term_key_sha256, user_hash};
pub use message::{
    Attributes, CheckError, Class, Message, Method, ParseError, TransactionId, UnknownRequired,
};
pub use writer::{NoRoom, Writer};

/// Bytes of a header.
pub const HEADER_LEN: usize = 20;

/// RFC 8489 §5.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// RFC 8489 §14.7.
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// Bytes of an attribute's type and length.
const ATTRIBUTE_HEADER_LEN: usize = 4;

/// The types of the attributes, by IANA's registry of STUN attributes.
mod kind {
    pub(super) const MAPPED_ADDRESS: u16 = 0x0001;
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(super) const CHANNEL_NUMBER: u16 = 0x000c;
    pub(super) const LIFETIME: u16 = 0x000d;
    pub(super) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(super) const DATA: u16 = 0x0013;
    pub(super) const REALM: u16 = 0x0014;
    pub(super) const NONCE: u16 = 0x0015;
    pub(super) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(super) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub(super) const EVEN_PORT: u16 = 0x0018;
    pub(super) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(super) const DONT_FRAGMENT: u16 = 0x001a;
    pub(super) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub(super) const PASSWORD_ALGORITHM: u16 = 0x001d;
    pub(super) const USERHASH: u16 = 0x001e;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const RESERVATION_TOKEN: u16 = 0x0022;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    pub(super) const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    pub(super) const ADDRESS_ERROR_CODE: u16 = 0x8001;
    pub(super) const PASSWORD_ALGORITHMS: u16 = 0x8002;
    pub(super) const ALTERNATE_DOMAIN: u16 = 0x8003;
    pub(super) const ICMP: u16 = 0x8004;
    pub(super) const SOFTWARE: u16 = 0x8022;
    pub(super) const ALTERNATE_SERVER: u16 = 0x8023;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLED: u16 = 0x8029;
    pub(super) const ICE_CONTROLLING: u16 = 0x802a;
    pub(super) const NOMINATION: u16 = 0xc001;
}

/// How many bytes an attribute's value takes with its padding.
const fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// The value of FINGERPRINT over all before it, given in parts (RFC 8489 §14.7).
fn fingerprint(parts: &[&[u8]]) -> u32 {
    // Without a table: 1 KB of flash less, and STUN messages are short and rare.
    #[cfg(target_os = "none")]
    type Width = crc::NoTable;
    #[cfg(not(target_os = "none"))]
    type Width = crc::Table<16>;
    const CRC: crc::Crc<u32, Width> = crc::Crc::<u32, Width>::new(&crc::CRC_32_ISO_HDLC);
    static TABLES: crc::Crc<u32, Width> = CRC;
    let mut digest = TABLES.digest();
    for part in parts {
        digest.update(part);
    }
    digest.finalize() ^ FINGERPRINT_XOR
}
