//! Anything at all: no panic, and the books of what is kept balance.

use proptest::prelude::*;

use super::super::handshake::Handshake;
use super::super::inflow::{Data, Inflow};
use super::super::packet::validate;
use super::super::record;
use super::super::{DATAGRAM_MAX, Guard, GuardStats};
use super::{Random, cable};

/// Bytes that often look like records of handshake fragments.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let record = (
        prop::sample::select(&[20, 21, 22, 22, 22, 23, 26, 0][..]),
        prop::sample::select(&[0, 0, 0, 1, 2, 255][..]),
        (0..20u8, 0..300usize, 0..4u16, 0..300u32),
        prop::collection::vec(any::<u8>(), 0..300),
    );
    let record = record.prop_map(|(kind, epoch, (message, total, sequence, offset), data)| {
        let mut header = record::fragment_header(message, total, sequence, data.len());
        header[6..9].copy_from_slice(&offset.to_be_bytes()[1..]);
        let mut out = Vec::new();
        record::write(&mut out, kind, 0, &[&header, &data]);
        out[4] = epoch;
        out
    });
    let records = prop::collection::vec(record, 0..4).prop_map(|records| records.concat());
    (records, prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(records, rest)| [records, rest].concat())
}

proptest! {
    #[test]
    fn datagrams(datagrams in prop::collection::vec(datagram(), 1..8), is_client: bool) {
        let stats = GuardStats::default();
        let mut handshake = Handshake::new(is_client);
        let guard = Guard::new(cable().0, is_client);
        for mut datagram in datagrams {
            handshake.screen(&datagram, &stats);
            while let Some(passed) = handshake.pop() {
                prop_assert!(passed.len() <= DATAGRAM_MAX);
                let mut rest = &passed[..];
                while let Some(record) = record::Record::parse(rest) {
                    prop_assert!(record.epoch <= 1 && (record.epoch, record.kind) != (0, record::ALERT));
                    rest = &rest[record.length..];
                }
                prop_assert!(rest.is_empty());
            }
            let length = datagram.len();
            let (kept, _) = guard.screen_established(&mut datagram, length);
            prop_assert!(kept <= length);
        }
    }

    #[test]
    fn packets(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..20u8, length in 0..200u8) {
        let mut packet = bytes;
        if packet.len() > 16 {
            packet[12] = kind;
            packet[14] = 0;
            packet[15] = length;
        }
        let _ = validate(&packet);
    }

    #[test]
    fn messages_that_end_leave_nothing(
        start: u32, lengths in prop::collection::vec(1..20u32, 1..30), seed in 1..u64::MAX, ordered: bool,
    ) {
        let mut all = Vec::new();
        let mut tsn = start;
        for (ssn, &length) in lengths.iter().enumerate() {
            for index in 0..length {
                tsn = tsn.wrapping_add(1);
                all.push(Data {
                    tsn,
                    stream: 1,
                    ssn: ssn as u16,
                    unordered: !ordered,
                    begin: index == 0,
                    end: index + 1 == length,
                    length: 500,
                });
            }
        }
        let mut random = Random(seed);
        let mut inflow = Inflow::default();
        inflow.begin(start.wrapping_add(1)).unwrap();
        let mut arriving = all.clone();
        while !arriving.is_empty() {
            let data = arriving.swap_remove(random.below(arriving.len()));
            inflow.check(&data).unwrap();
            inflow.take(&data);
            if random.percent(30) {
                // The same again.
                inflow.take(&data);
            }
        }
        prop_assert_eq!(inflow.kept(), (0, 0));
        inflow.acknowledge(tsn);
        all.iter().for_each(|data| inflow.take(data));
        prop_assert_eq!(inflow.kept(), (0, 0));
    }
}
