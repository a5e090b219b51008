//! The parts of a stream, each by itself.

use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::Raw;
use crate::{
    link::{
        data_queue::DataQueue,
        frame::DataFrame,
        outgoing::{Outgoing, Unsent},
        session_slot::Credit,
        stream::{Place, Stream},
    },
    time::Duration,
};

proptest! {
    /// The leaf tells the engine how much room there is; what is no longer than that has to fit.
    #[test]
    fn what_has_room_fits(
        memory in 350_usize..3_000,
        frame in 64_u16..600,
        lens in prop::collection::vec(0_usize..700, 0..12),
    ) {
        let mut memory = vec![0; memory];
        let mut outgoing = Outgoing::control(frame, 1 << 20);
        for len in lens {
            let room = outgoing.room(&memory);
            let sent = outgoing.push(&mut memory, &Raw(&vec![7; len.max(1)]));
            prop_assert!(sent.is_ok() || room < len.max(1), "{sent:?} of {len} in {room}");
        }
        let room = outgoing.room(&memory);
        if room > 0 {
            prop_assert_eq!(outgoing.push(&mut memory, &Raw(&vec![0; room])), Ok(()));
        }
    }

    #[test]
    fn data_that_has_room_fits(
        memory in 64_usize..1_500,
        frame in 64_u16..600,
        lens in prop::collection::vec(0_usize..600, 0..12),
    ) {
        let mut memory = vec![0; memory];
        let mut outgoing = Outgoing::data(frame, memory.len());
        prop_assert!(outgoing.data_room(&memory) > 0, "one frame always fits");
        for len in lens {
            let room = outgoing.data_room(&memory);
            if room > 0 {
                let payload = vec![7; len.min(room)];
                prop_assert!(outgoing.push_data(&mut memory, 3, 5, 3, &payload).is_some());
                prop_assert!(outgoing.holds(&memory, 3) && !outgoing.holds(&memory, 4));
            }
        }
        // Once it is acknowledged there is room again.
        let mut out = vec![0; 4_096];
        let mut written = 0_u8;
        while outgoing.write(&mut memory, &mut out).0 > 0 {
            written += 1;
        }
        outgoing.acknowledge(&mut memory, written, false);
        prop_assert!(outgoing.data_room(&memory) > 0 && !outgoing.holds(&memory, 3));
    }

    #[test]
    fn a_data_queue_is_a_queue(
        payloads in prop::collection::vec(
            (any::<u32>(), prop::collection::vec(any::<u8>(), 0..90)),
            0..20,
        ),
    ) {
        let (mut memory, mut queue) = (vec![0; 600], DataQueue::default());
        let mut taken = Vec::new();
        for (session, payload) in &payloads {
            let frame = DataFrame { flags: 3, number: 0, session: *session, payload };
            if queue.push(&mut memory, &frame).is_some() {
                taken.push((*session, payload.clone()));
            }
        }
        for (session, payload) in taken {
            let front = queue.front(&memory).unwrap();
            prop_assert_eq!((front.session, front.payload), (session, &payload[..]));
            queue.pop(&mut memory);
        }
        prop_assert!(queue.is_empty());
    }
}

#[test]
fn what_can_never_pass_is_told_from_what_waits() {
    let mut memory = vec![0; 1_000];
    let mut outgoing = Outgoing::control(256, 2_048);
    assert_eq!(
        outgoing.push(&mut memory, &Raw(&[7; 1_000])),
        Err(Unsent::TooLong)
    );
    assert_eq!(outgoing.push(&mut memory, &Raw(&[7; 600])), Ok(()));
    assert_eq!(
        outgoing.push(&mut memory, &Raw(&[7; 600])),
        Err(Unsent::Full)
    );
    let mut large = vec![0; 9_000];
    let mut outgoing = Outgoing::control(256, 2_048);
    assert_eq!(
        outgoing.push(&mut large, &Raw(&[7; 2_045])),
        Err(Unsent::TooLong)
    );
    assert_eq!(outgoing.push(&mut large, &Raw(&[7; 2_044])), Ok(()));
}

#[test]
fn credit_counts_heads_and_order() {
    let mut credit = Credit::default();
    assert_eq!(credit.spend(3, 0), None, "nothing was granted");
    assert_eq!(credit.grant(30), 30);
    assert_eq!(credit.bytes_left(), 22);
    assert_eq!(credit.spend(2, 1), None, "no message has begun");
    assert_eq!(credit.spend(1, 10), Some(()));
    assert_eq!(credit.spend(1, 1), None, "one has begun");
    assert_eq!(credit.spend(0, 0), None, "it carries nothing");
    assert_eq!(credit.spend(0, 13), None, "beyond the limit");
    assert_eq!(credit.spend(2, 12), Some(()));
    assert_eq!(credit.left(), 0);
    // A limit only grows, also beyond 2³².
    credit.set_limit(10);
    assert_eq!(credit.left(), 0);
    for _ in 0..5 {
        credit.grant(u32::MAX >> 1);
        assert_eq!(credit.spend(3, (u32::MAX >> 1) as usize - 8), Some(()));
    }
    credit.grant(9);
    assert!(credit.is_news(40, 40) && !credit.is_news(9, 40) && !credit.is_news(12, 40));
    credit.spend(3, 0).unwrap();
    assert!(credit.is_news(2, 40), "it has nothing left to speak of");
}

#[test]
fn a_frame_that_found_no_room_is_asked_for_when_there_is() {
    let mut stream = Stream::new(Outgoing::default(), Duration::from_secs(1));
    assert_eq!(stream.place(1), Place::Early);
    assert!(stream.lost() && !stream.lost(), "it is asked for once");
    assert!(stream.acknowledgement().again && !stream.acknowledgement().again);
    stream.arrived();
    stream.refused();
    assert!(!stream.lost() && !stream.acknowledgement().again);
    assert!(stream.has_room() && !stream.has_room());
    assert!(stream.acknowledgement().again);
    assert_eq!(stream.acknowledgement().next, 1);
}
