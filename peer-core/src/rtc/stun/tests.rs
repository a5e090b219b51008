//! RFC 5769's vectors and RFC 8489's; hostile input.

extern crate std;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

#[cfg(feature = "rustcrypto")]
mod vectors {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rtc::crypto::{CryptoError, RustCrypto};

    const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
    const TRANSACTION: TransactionId = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
    /// "Matrix" in katakana.
    const MATRIX: &str = "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}";

    fn crypto() -> RustCrypto<impl FnMut(&mut [u8]) -> Result<(), CryptoError>> {
        RustCrypto::new(|_: &mut [u8]| Err(CryptoError::Random))
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        digits
            .chunks(2)
            .map(|two| (two[0] << 4 | two[1]) as u8)
            .collect()
    }

    /// RFC 5769 §2.1.
    #[test]
    fn request() {
        let bytes = hex(
            "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74
             002400046e0001ff80290008932ff9b151263b36000600096576746a3a6836765920202000080014
             9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf",
        );
        let message = Message::parse(&bytes).expect("a message");
        let what = (message.class(), message.method(), message.transaction());
        assert_eq!(what, (Class::Request, Method::BINDING, &TRANSACTION));
        let expected = [
            Attribute::Software(b"STUN test client"),
            Attribute::Priority(0x6e00_01ff),
            Attribute::IceControlled(0x932f_f9b1_5126_3b36),
            Attribute::Username(b"evtj:h6vY"),
        ];
        assert!(message.attributes().eq(expected));
        let mut crypto = crypto();
        assert_eq!(message.verify_integrity(&mut crypto, PASSWORD), Ok(()));
        assert_eq!(message.verify_fingerprint(), Ok(()));
        let wrong = message.verify_integrity(&mut crypto, b"another");
        assert_eq!(wrong, Err(CheckError::Wrong));
        let missing = message.verify_integrity_sha256(&mut crypto, PASSWORD);
        assert_eq!(missing, Err(CheckError::Missing));

        // Written by us it is the same, but for the padding, which is theirs to choose.
        let mut buffer = [0; 108];
        let ours = expected
            .into_iter()
            .fold(
                Writer::new(&mut buffer, Class::Request, Method::BINDING, TRANSACTION),
                Writer::put,
            )
            .integrity(&mut crypto, PASSWORD)
            .fingerprint()
            .finish()
            .expect("108 bytes");
        assert_eq!(ours.len(), bytes.len());
        assert_eq!(ours[..76 - 3], bytes[..76 - 3]);
        let ours = Message::parse(ours).expect("a message");
        assert_eq!(ours.verify_integrity(&mut crypto, PASSWORD), Ok(()));
        assert_eq!(ours.verify_fingerprint(), Ok(()));
    }

    /// RFC 5769 §2.2 and §2.3.
    #[test]
    fn responses() {
        let v4 = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220
                  002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7
                  80280004c07d4c96";
        let v6 = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220
                  002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf1
                  1784c97c8292c275bfe3ed4180280004c8fb0b4c";
        let addresses = [
            "192.0.2.1:32853",
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        ];
        let mut crypto = crypto();
        for (text, address) in [v4, v6].into_iter().zip(addresses) {
            let bytes = hex(text);
            let message = Message::parse(&bytes).expect("a message");
            let what = (message.class(), message.method(), message.transaction());
            assert_eq!(what, (Class::Success, Method::BINDING, &TRANSACTION));
            let address: SocketAddr = address.parse().expect("an address");
            let expected = [
                Attribute::Software(b"test vector"),
                Attribute::XorMappedAddress(address),
            ];
            assert!(message.attributes().eq(expected));
            assert_eq!(message.verify_integrity(&mut crypto, PASSWORD), Ok(()));
            assert_eq!(message.verify_fingerprint(), Ok(()));
        }
    }

    /// RFC 5769 §2.4, byte for byte as we write it.
    #[test]
    fn long_term_credentials() {
        let bytes = hex(
            "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe3
             82b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b
             6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666",
        );
        let message = Message::parse(&bytes).expect("a message");
        let attributes = [
            Attribute::Username(MATRIX.as_bytes()),
            Attribute::Nonce(b"f//499k954d6OL34oL9FSTvy64sA"),
            Attribute::Realm(b"example.org"),
        ];
        assert!(message.attributes().eq(attributes));
        let mut crypto = crypto();
        let key = long_term_key(&mut crypto, MATRIX.as_bytes(), b"example.org", b"TheMatrIX");
        assert_eq!(
            message.verify_integrity(&mut crypto, key.as_bytes()),
            Ok(())
        );
        assert_eq!(message.verify_fingerprint(), Err(CheckError::Missing));

        let mut buffer = [0; 200];
        let transaction = *message.transaction();
        let ours = attributes
            .into_iter()
            .fold(
                Writer::new(&mut buffer, Class::Request, Method::BINDING, transaction),
                Writer::put,
            )
            .integrity(&mut crypto, key.as_bytes())
            .finish();
        assert_eq!(ours, Ok(&bytes[..]));
    }

    /// RFC 8489 §B.1 with erratum 6268, byte for byte as we write it.
    #[test]
    fn sha256() {
        let bytes = hex(
            "000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952c6780417da0f
             24819415569e60b205c46e41407f1704001500296f624d61744a6f73324141414366 2f2f3439396b
             39353464364f4c33346f4c3946535476793634734100000000 14000b6578616d706c652e6f726700
             001d000400020000001c0020b5c7bf005b6c52a21c51c5e892f81924136296cb927c431493092 78c
             c6518e65",
        );
        let message = Message::parse(&bytes).expect("a message");
        let mut crypto = crypto();
        let (user, realm) = (MATRIX.as_bytes(), b"example.org");
        let hash = user_hash(&mut crypto, user, realm);
        let attributes = [
            Attribute::UserHash(&hash),
            Attribute::Nonce(b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA"),
            Attribute::Realm(realm),
            Attribute::PasswordAlgorithm(2),
        ];
        assert!(message.attributes().eq(attributes));
        let key = long_term_key_sha256(&mut crypto, user, realm, b"TheMatrIX");
        let verified = message.verify_integrity_sha256(&mut crypto, key.as_bytes());
        assert_eq!(verified, Ok(()));
        let mut buffer = [0; 200];
        let ours = attributes
            .into_iter()
            .fold(
                Writer::new(
                    &mut buffer,
                    Class::Request,
                    Method::BINDING,
                    *message.transaction(),
                ),
                Writer::put,
            )
            .integrity_sha256(&mut crypto, key.as_bytes())
            .finish();
        assert_eq!(ours, Ok(&bytes[..]));
    }

    /// Every bit of a message counts for its integrity, its fingerprint or its form.
    #[test]
    fn no_changed_bit_passes() {
        let mut crypto = crypto();
        let mut buffer = [0; 128];
        let good = Writer::new(&mut buffer, Class::Request, Method::BINDING, TRANSACTION)
            .put(Attribute::Username(b"evtj:h6vY"))
            .put(Attribute::UseCandidate)
            .integrity(&mut crypto, PASSWORD)
            .fingerprint()
            .finish()
            .expect("128 bytes")
            .to_vec();
        let mut outcomes = BTreeMap::new();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let outcome = match Message::parse(&bytes) {
                Err(_) => "form",
                Ok(message) if message.verify_fingerprint().is_err() => "fingerprint",
                Ok(message) if message.verify_integrity(&mut crypto, PASSWORD).is_err() => "mac",
                Ok(_) => panic!("bit {bit} changes nothing"),
            };
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
        assert!(outcomes["fingerprint"] > 400, "{outcomes:?}");
    }

    #[test]
    fn what_follows_integrity_is_skipped() {
        let mut crypto = crypto();
        let mut buffer = [0; 128];
        let bytes = Writer::new(&mut buffer, Class::Request, Method::BINDING, TRANSACTION)
            .put(Attribute::Username(b"u"))
            .integrity(&mut crypto, PASSWORD)
            .put(Attribute::UseCandidate)
            .fingerprint()
            .finish()
            .expect("128 bytes");
        let message = Message::parse(bytes).expect("a message");
        assert_eq!(message.verify_integrity(&mut crypto, PASSWORD), Ok(()));
        assert_eq!(message.verify_fingerprint(), Ok(()));
        assert!(message.attributes().eq([Attribute::Username(b"u")]));
    }
}

/// A header and these attributes, already padded.
fn message(attributes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(attributes.len())
        .expect("short")
        .to_be_bytes();
    let head: [&[u8]; 4] = [&[0, 1], &len, &MAGIC_COOKIE, &[9; 12]];
    [&head.concat(), attributes].concat()
}

#[test]
fn malformed_messages_are_refused() {
    let good = message(&[0, 0x24, 0, 4, 1, 2, 3, 4]);
    assert!(Message::parse(&good).is_ok());
    for len in 0..good.len() {
        assert!(Message::parse(&good[..len]).is_err(), "{len} bytes");
    }
    let mut rtp = good.clone();
    rtp[0] = 0x80;
    assert_eq!(Message::parse(&rtp).err(), Some(ParseError::NotStun));
    let mut old = good.clone();
    old[4] = 0;
    assert_eq!(Message::parse(&old).err(), Some(ParseError::NotStun));
    let mut long = good.clone();
    long.extend([0; 4]);
    assert_eq!(Message::parse(&long).err(), Some(ParseError::Length));

    let bad: [&[u8]; 10] = [
        &[0, 0x24, 0, 3, 1, 2, 3, 0],             // PRIORITY of 3 bytes
        &[0, 0x24, 0, 8, 1, 2, 3, 4],             // cut off
        &[0, 0x25, 0, 1, 1, 0, 0, 0],             // USE-CANDIDATE with a value
        &[0, 0x20, 0, 8, 0, 3, 1, 2, 1, 2, 3, 4], // no such family
        &[0, 0x20, 0, 8, 0, 2, 1, 2, 1, 2, 3, 4], // half an IPv6 address
        &[0, 0x09, 0, 4, 0, 0, 2, 0],             // error 200
        &[0, 0x09, 0, 4, 0, 0, 4, 100],           // error 4 and 100
        &[0, 0x08, 0, 4, 1, 2, 3, 4],             // MAC of 4 bytes
        &[0, 0x1c, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8], // MAC of 8 bytes
        &[0x80, 0x28, 0, 4, 1, 2, 3, 4, 0, 0x24, 0, 4, 1, 2, 3, 4], // behind FINGERPRINT
    ];
    for bad in bad {
        let bytes = message(bad);
        assert_eq!(
            Message::parse(&bytes).err(),
            Some(ParseError::Attribute),
            "{bad:x?}"
        );
    }
}

#[test]
fn what_need_not_be_understood_may_be_anything() {
    // ICE-CONTROLLED of 3 bytes, an attribute to be understood and one that need not.
    let bytes = message(&[
        0x80, 0x29, 0, 3, 1, 2, 3, 0, 0, 0x7f, 0, 0, 0xc0, 0x57, 0, 4, 0, 0, 0, 10,
    ]);
    let message = Message::parse(&bytes).expect("a message");
    assert!(
        message
            .attributes()
            .all(|it| matches!(it, Attribute::Unknown { .. }))
    );
    assert_eq!(message.attributes().count(), 3);
    assert!(message.unknown_required().eq([0x7f]));
}

#[test]
fn classes_and_methods_are_interleaved() {
    let all = [
        (Class::Request, Method::BINDING, 0x0001),
        (Class::Indication, Method::BINDING, 0x0011),
        (Class::Success, Method::ALLOCATE, 0x0103),
        (Class::Error, Method::CHANNEL_BIND, 0x0119),
        (Class::Indication, Method::DATA, 0x0017),
        (Class::Success, Method::new(0xfff), 0x3fef),
    ];
    for (class, method, first) in all {
        let mut buffer = [0; 20];
        let bytes = Writer::new(&mut buffer, class, method, [1; 12]).finish();
        let bytes = bytes.expect("20 bytes");
        assert_eq!(u16::from_be_bytes([bytes[0], bytes[1]]), first);
        let message = Message::parse(bytes).expect("a message");
        assert_eq!((message.class(), message.method()), (class, method));
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let mut buffer = [0; 27];
    let writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, [1; 12]);
    assert_eq!(writer.put(Attribute::Priority(1)).finish(), Err(NoRoom));
    let mut buffer = [0; 19];
    let writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, [1; 12]);
    assert_eq!(writer.fingerprint().finish(), Err(NoRoom));
    let mut buffer = std::vec![0; 70_000];
    let long = std::vec![0; 65_533];
    let writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, [1; 12]);
    assert_eq!(writer.put(Attribute::Data(&long)).finish(), Err(NoRoom));
}

#[test]
fn channel_data() {
    let mut buffer = [0; 10];
    assert_eq!(ChannelData::write_header(0x4001, 5, &mut buffer), Some(()));
    buffer[4..9].copy_from_slice(b"hello");
    let (channel, data) = (0x4001, &b"hello"[..]);
    for len in [9, 10] {
        let parsed = ChannelData::parse(&buffer[..len]);
        assert_eq!(parsed, Some(ChannelData { channel, data }));
    }
    assert_eq!(ChannelData::parse(&buffer[..8]), None);
    assert_eq!(ChannelData::parse(&[0x50, 0, 0, 0]), None);
    assert_eq!(ChannelData::write_header(0x3fff, 5, &mut buffer), None);
    assert_eq!(ChannelData::write_header(0x4000, 65_536, &mut buffer), None);
}

fn addresses() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
    let v6 = any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
    (prop_oneof![v4, v6], any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(message) = Message::parse(&bytes) {
            let _ = message.attributes().count();
        }
        let _ = ChannelData::parse(&bytes);
    }

    #[test]
    fn whatever_attributes_come_are_read_or_refused(
        attributes in prop::collection::vec(
            (prop_oneof![0_u16..0x30, 0x8000_u16..0x8030, any::<u16>()],
             prop::collection::vec(any::<u8>(), 0..40)),
            0..8,
        ),
    ) {
        let mut body = Vec::new();
        for (kind, value) in &attributes {
            body.extend(kind.to_be_bytes());
            body.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let bytes = message(&body);
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert!(message.attributes().count() <= attributes.len());
            prop_assert!(message.verify_fingerprint() != Ok(()) || body.len() >= 8);
        }
    }

    #[test]
    fn what_is_written_is_read(
        transaction in any::<[u8; 12]>(),
        address in addresses(),
        text in prop::collection::vec(any::<u8>(), 0..30),
        (code, number) in (300_u16..700, any::<u32>()),
        long in any::<u64>(),
        reserve in any::<bool>(),
        hash in any::<[u8; 32]>(),
    ) {
        let token = [hash[0]; 8];
        let (low, high) = (number as u16, (number >> 16) as u16);
        let family = if reserve { Family::Ipv4 } else { Family::Ipv6 };
        let all = [
            Attribute::MappedAddress(address),
            Attribute::Username(&text),
            Attribute::ErrorCode { code, reason: &text },
            Attribute::UnknownAttributes(&text),
            Attribute::ChannelNumber(low),
            Attribute::Lifetime(number),
            Attribute::XorPeerAddress(address),
            Attribute::Data(&text),
            Attribute::Realm(&text),
            Attribute::Nonce(&text),
            Attribute::XorRelayedAddress(address),
            Attribute::RequestedAddressFamily(family),
            Attribute::EvenPort { reserve },
            Attribute::RequestedTransport(17),
            Attribute::DontFragment,
            Attribute::PasswordAlgorithm(high),
            Attribute::UserHash(&hash),
            Attribute::XorMappedAddress(address),
            Attribute::ReservationToken(&token),
            Attribute::Priority(number),
            Attribute::UseCandidate,
            Attribute::AdditionalAddressFamily(family),
            Attribute::AddressErrorCode { family, code, reason: &text },
            Attribute::PasswordAlgorithms(&text),
            Attribute::AlternateDomain(&text),
            Attribute::Icmp { kind: hash[1] >> 1, code: low & 0x1ff, data: number.to_be_bytes() },
            Attribute::Software(&text),
            Attribute::AlternateServer(address),
            Attribute::IceControlled(long),
            Attribute::IceControlling(long),
            Attribute::Nomination(number),
            Attribute::Unknown { kind: 0x7f, value: &text },
        ];
        let mut buffer = [0; 1_200];
        let writer = Writer::new(&mut buffer, Class::Indication, Method::SEND, transaction);
        let bytes = all.into_iter().fold(writer, Writer::put).fingerprint().finish();
        let message = Message::parse(bytes.expect("1,200 bytes")).expect("a message");
        prop_assert!(message.attributes().eq(all));
        prop_assert_eq!(message.verify_fingerprint(), Ok(()));
    }
}
