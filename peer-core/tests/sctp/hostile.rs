//! Remotes that lie.

use peer_core::rtc::sctp::Outgoing;
use peer_core::time::Duration;

use crate::net::{Net, Path, Random, Size, message};

/// Bytes of real packets, changed at random and with a right checksum: nothing panics, and nothing
/// is answered with more than a few packets.
#[test]
fn changed_packets_harm_nothing() {
    for seed in 0..60 {
        let mut net = Net::open(seed, Size::both(1 << 13), Path::default());
        let mut random = Random::new(seed);
        let ordered = Outgoing::message(1, 53);
        for round in 0..60 {
            let content = message(round, 1 + random.below(3000) as usize);
            let _ = net.ends[0].association.send(ordered, &content);
            let mut buffer = [0; 1500];
            while let Some(len) = net.ends[0].association.transmit(net.now, &mut buffer) {
                let packet = &mut buffer[..len];
                for _ in 0..random.below(4) {
                    let at = 12 + random.below(len as u64 - 12) as usize;
                    packet[at] = random.next() as u8;
                }
                let len = 12 + random.below(len as u64 - 11) as usize;
                let packet = &mut packet[..len];
                packet[8..12].fill(0);
                let crc = peer_core::rtc::sctp::crc32c(&[packet]);
                packet[8..12].copy_from_slice(&crc.to_le_bytes());
                net.ends[1].association.receive(net.now, packet);
                let mut out = [0; 1500];
                let mut answers = 0;
                while net.ends[1]
                    .association
                    .transmit(net.now, &mut out)
                    .is_some()
                {
                    answers += 1;
                    assert!(answers < 20);
                }
                while let Some(received) = net.ends[1].association.read() {
                    let count = match received {
                        peer_core::rtc::sctp::Received::Piece(piece) => piece.bytes.len(),
                        _ => 0,
                    };
                    net.ends[1].association.consume(count);
                }
                net.now = net.now + Duration::from_millis(random.below(300));
            }
            net.now = net.now + Duration::from_millis(500);
        }
    }
}
