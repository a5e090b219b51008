//! Bytes that nobody should send.

use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::lab::Lab;
use crate::{link::frame::seal, time::Duration};

/// What may come over the wire: noise, or a frame with a right CRC around any body.
fn pieces() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let kind = prop_oneof![
        4 => prop::sample::select(vec![
            1_u8, 2, 3, 4, 5, 6, 7, 8, 0x10, 0x11, 0x12, 0x13, 0x20, 0x23, 0x27
        ]),
        1 => any::<u8>(),
    ];
    let body = (
        kind,
        prop_oneof![Just(0_u8), Just(1), any::<u8>()],
        prop::collection::vec(any::<u8>(), 0..70),
    )
        .prop_map(|(kind, second, rest)| [vec![kind, second], rest].concat());
    prop::collection::vec(
        prop_oneof![
            body.prop_map(|body| (true, body)),
            prop::collection::vec(any::<u8>(), 0..80).prop_map(|bytes| (false, bytes)),
        ],
        0..12,
    )
}

fn wire((sealed, bytes): &(bool, Vec<u8>)) -> Vec<u8> {
    if !sealed {
        return bytes.clone();
    }
    let mut out = [0; 128];
    let len = seal(bytes, &mut out).unwrap();
    out[..len].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever comes, in a session or out of one: no panic, no busy loop, and both ends find
    /// together again.
    #[test]
    fn anything_at_either_end(
        up in any::<bool>(),
        to_leaf in pieces(),
        to_gateway in pieces(),
    ) {
        let mut lab = if up { Lab::connected().0 } else { Lab::new(Some("sensor-7")) };
        for piece in &to_leaf {
            lab.leaf.receive(lab.now, &wire(piece), &mut lab.peer);
            let _ = lab.leaf.poll(lab.now, &mut lab.peer);
        }
        for piece in &to_gateway {
            lab.gateway.receive(lab.now, &wire(piece), &lab.keys);
        }
        lab.wait(Duration::from_secs(40));
        prop_assert!(lab.leaf.is_up() && lab.gateway.is_up());
        // A forged message may have said that the broker is gone.
        if lab.peer.state() == crate::peer::PeerState::Disconnected {
            lab.peer.reconnect(lab.now).unwrap();
            lab.drive();
        }
        prop_assert!(matches!(
            lab.peer.state(),
            crate::peer::PeerState::Open | crate::peer::PeerState::Destroyed
        ));
    }

    /// A leaf that proved its key and then says anything harms nobody but itself.
    #[test]
    fn any_message_of_a_leaf(messages in prop::collection::vec(
        (0_u8..13, 0_u8..4, prop::collection::vec(any::<u8>(), 0..20)), 1..20,
    )) {
        let (mut lab, ..) = Lab::connected();
        for (tag, handle, rest) in &messages {
            lab.leaf.inject(&[&[*tag, *handle], &rest[..]].concat());
            lab.drive();
            prop_assert!(lab.gateway.sessions() <= 3);
        }
        lab.wait(Duration::from_secs(40));
        prop_assert!(lab.leaf.is_up() && lab.gateway.is_up());
    }

    /// And a gateway that does so.
    #[test]
    fn any_message_of_a_gateway(messages in prop::collection::vec(
        (0_u8..19, 0_u8..4, prop::collection::vec(any::<u8>(), 0..20)), 1..20,
    )) {
        let (mut lab, ..) = Lab::connected();
        for (tag, handle, rest) in &messages {
            lab.gateway.inject(&[&[*tag, *handle], &rest[..]].concat());
            lab.drive();
        }
        lab.wait(Duration::from_secs(40));
        prop_assert!(lab.leaf.is_up() && lab.gateway.is_up());
    }
}
