//! SCTP packets: bytes to chunks, and back (RFC 9260, section 3).

mod chunk;
mod write;

pub(crate) use chunk::{
    Chunk, Chunks, Cookie, Data, Init, Malformed, Parameters, Reconfig, Sack, kind,
};
pub(crate) use write::PacketWriter;

/// Bytes of the common header.
pub(crate) const HEADER_LEN: usize = 12;
/// Bytes of a DATA chunk before its payload.
pub(crate) const DATA_HEADER_LEN: usize = 16;

/// Flags of a DATA chunk: the last fragment of its message.
pub(crate) const LAST: u8 = 1;
/// The first fragment of its message.
pub(crate) const FIRST: u8 = 2;
/// The message is unordered.
pub(crate) const UNORDERED: u8 = 4;
/// The receiver is asked to acknowledge at once (RFC 7053).
pub(crate) const IMMEDIATE: u8 = 8;

/// Bytes of a chunk of `len` bytes with its padding.
pub(crate) const fn padded(len: usize) -> usize {
    len.saturating_add(3) & !3
}

/// Returns the CRC32c of `parts`, one after the other (RFC 9260, appendix A).
///
/// Table-driven: 16 KiB of tables on a machine with an operating system, 1 KiB without one.
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    #[cfg(target_os = "none")]
    type Width = crc::Table<1>;
    #[cfg(not(target_os = "none"))]
    type Width = crc::Table<16>;
    const CRC: crc::Crc<u32, Width> = crc::Crc::<u32, Width>::new(&crc::CRC_32_ISCSI);
    static TABLES: crc::Crc<u32, Width> = CRC;
    let mut digest = TABLES.digest();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// The common header (RFC 9260, section 3.1), its checksum aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) tag: u32,
}

/// Reads a packet: its header, and its chunks yet unread.
///
/// # Errors
/// [`Malformed`] if it is too short, or its checksum is wrong.
pub(crate) fn parse(
    packet: &[u8],
    checksum: fn(&[&[u8]]) -> u32,
) -> Result<(Header, Chunks<'_>), Malformed> {
    let (header, chunks) = packet.split_first_chunk::<HEADER_LEN>().ok_or(Malformed)?;
    let &[s0, s1, d0, d1, t0, t1, t2, t3, c0, c1, c2, c3] = header;
    let (before, _) = header.split_at_checked(HEADER_LEN - 4).ok_or(Malformed)?;
    if checksum(&[before, &[0; 4], chunks]) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(Malformed);
    }
    let header = Header {
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        tag: u32::from_be_bytes([t0, t1, t2, t3]),
    };
    Ok((header, Chunks::new(chunks)))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    /// RFC 3720, appendix B.4.
    #[test]
    fn published_checksums() {
        let rising: Vec<u8> = (0..32).collect();
        let falling: Vec<u8> = (0..32).rev().collect();
        for (bytes, crc) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
            (&falling, 0x113f_db5c),
            (b"123456789", 0xe306_9283),
        ] {
            assert_eq!(crc32c(&[bytes]), crc);
            let (a, b) = bytes.split_at(bytes.len() / 3);
            assert_eq!(crc32c(&[a, b]), crc);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for chunk in Chunks::new(&bytes).take(100) {
                let _ = std::format!("{chunk:?}");
            }
        }

        #[test]
        fn a_changed_bit_is_noticed(
            payload in prop::collection::vec(any::<u8>(), 1..100), at: usize, bit in 0..8,
        ) {
            let mut memory = [0; 200];
            let header = Header { source_port: 5000, destination_port: 5001, tag: 7 };
            let mut writer = PacketWriter::new(&mut memory, header).unwrap();
            let tsn = super::super::serial::Tsn(9);
            let payload = &payload[..];
            let data = Data { flags: FIRST | LAST, tsn, stream: 1, ssn: 2, ppid: 51, payload };
            writer.data(&data, (payload, &[])).unwrap();
            let length = writer.finish(crc32c).unwrap();
            let packet = &mut memory[..length];
            let (read, mut chunks) = parse(packet, crc32c).unwrap();
            prop_assert_eq!(read, header);
            prop_assert_eq!(chunks.next(), Some(Ok(Chunk::Data(data))));
            prop_assert_eq!(chunks.next(), None);
            let at = at % packet.len();
            packet[at] ^= 1_u8 << bit;
            prop_assert!(parse(packet, crc32c).is_err());
        }
    }
}
