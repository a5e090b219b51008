//! Whole lives over the link.

use std::{format, string::String, vec, vec::Vec};

use super::lab::{Lab, Side, Slow, engine, key, new_gateway, new_leaf};
use crate::{
    connection::SendError,
    link::{
        DownReason, Leaf, LeafConfig, LeafOutput, LinkError, LinkResources, Refusal, VERSION,
        frame::{Frame, Greeting, seal},
    },
    peer::{
        ConnectFailure, ConnectOptions, ConnectionHandle, Event, FailureReason, PeerError,
        PeerState, RtcFailure, Stage,
    },
    serialization::Serialization,
    time::Duration,
};

/// Sends numbered messages both ways, reading as they come; what either side got.
fn talk(lab: &mut Lab, here: ConnectionHandle, there: ConnectionHandle, count: u32) {
    let (mut sent, mut got) = ([0, 0], [Vec::new(), Vec::new()]);
    for _ in 0..100_000 {
        for (side, peer, handle) in [(0, &mut lab.peer, here), (1, &mut lab.bob, there)] {
            let mut connection = peer.connection(handle).expect("it lives");
            while sent[side] < count {
                let text = format!("{} {}", sent[side], "x".repeat(sent[side] as usize % 700));
                match connection.send(&text) {
                    Ok(()) => sent[side] += 1,
                    Err(SendError::Full) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            while let Ok(text) = connection.recv::<&str>() {
                let number: u32 = text.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(
                    text.len(),
                    format!("{number} ").len() + number as usize % 700
                );
                got[side].push(number);
            }
        }
        lab.wait(Duration::from_millis(20));
        if got.iter().all(|got| got.len() == count as usize) {
            let all: Vec<u32> = (0..count).collect();
            assert_eq!(got, [all.clone(), all]);
            return;
        }
    }
    panic!("sent {sent:?}, got {:?}", [got[0].len(), got[1].len()]);
}

#[test]
fn an_engine_behind_a_link_is_an_ordinary_peer() {
    for seed in 1..=5 {
        let mut lab = Lab::new(Some("sensor-7"));
        lab.random = seed;
        lab.drive();
        assert_eq!(
            lab.leaf_outputs,
            [LeafOutput::Up, LeafOutput::Event(Event::Open)]
        );
        assert_eq!(lab.trace, ["up", "open sensor-7"]);
        assert_eq!(lab.gateway.leaf(), Some("greenhouse"));

        let here = lab.connect(ConnectOptions {
            reliable: true,
            metadata: Some(r#"{"room":2}"#),
            ..ConnectOptions::default()
        });
        lab.drive();
        assert_eq!(
            lab.leaf_outputs[2..],
            [LeafOutput::Event(Event::ConnectionOpen(here))]
        );
        let Some(&Event::Connection(there)) = lab.bob_events.get(1) else {
            panic!("{:?}", lab.bob_events)
        };
        let bobs = lab.bob.connection(there).unwrap();
        assert_eq!(bobs.metadata(), Some(r#"{"room":2}"#));
        talk(&mut lab, here, there, 60);

        lab.bob.connection(there).unwrap().close();
        lab.drive();
        assert!(
            lab.leaf_outputs
                .contains(&LeafOutput::Event(Event::ConnectionClosed(here)))
        );
        assert_eq!(lab.gateway.sessions(), 0);
        let stats = [lab.leaf.stats(), lab.gateway.stats()];
        assert!(
            stats
                .iter()
                .all(|stats| stats.garbage == 0 && stats.resends == 0)
        );
    }
}

#[test]
fn a_broker_gives_an_id() {
    let mut lab = Lab::new(None);
    lab.keys.ids.clear();
    lab.drive();
    assert_eq!(lab.trace, ["up", "retrieve", "open given"]);
    assert_eq!(lab.peer.state(), PeerState::Open);
}

#[test]
fn an_id_that_is_not_allowed_is_refused() {
    let mut lab = Lab::new(Some("mayor"));
    lab.drive();
    assert_eq!(lab.trace, ["up", "id refused mayor"]);
    assert_eq!(
        lab.leaf_outputs,
        [
            LeafOutput::Up,
            LeafOutput::Event(Event::Error(PeerError::ServerError)),
            LeafOutput::Event(Event::Disconnected),
            LeafOutput::Event(Event::Closed),
        ]
    );
    assert!(lab.peer.broker_message().unwrap().contains("gateway"));

    let mut lab = Lab::new(None);
    lab.keys.random_ids = false;
    lab.drive();
    assert_eq!(lab.trace, ["up"]);
    assert_eq!(lab.peer.state(), PeerState::Destroyed);
    assert_eq!(lab.gateway.stats().refused, 1);
}

#[test]
fn a_wrong_key_is_refused_at_both_ends() {
    let mut lab = Lab::new(Some("sensor-7"));
    lab.keys.key = key(8);
    lab.drive();
    assert_eq!(lab.leaf_outputs, [LeafOutput::Refused(Refusal::Key)]);
    assert_eq!(lab.trace, ["refused Key"]);
    assert!(!lab.leaf.is_up() && !lab.gateway.is_up());
    lab.keys.key = key(7);
    lab.wait(Duration::from_secs(10));
    assert!(lab.leaf.is_up() && lab.gateway.is_up());
}

#[test]
fn a_gateway_takes_no_wrong_proof() {
    let mut lab = Lab::new(Some("sensor-7"));
    let mut wire = [0; 256];
    // The hello passes; the leaf never answers the challenge.
    lab.leaf.poll(lab.now, &mut lab.peer);
    let len = lab.leaf.transmit(lab.now, &mut wire);
    lab.gateway.receive(lab.now, &wire[..len], &lab.keys);
    let len = seal(
        core::iter::once(&Frame::Proof([9; 32]).write()[..]),
        &mut wire,
    );
    lab.gateway
        .receive(lab.now, &wire[..len.unwrap()], &lab.keys);
    assert!(!lab.gateway.is_up());
    lab.drive();
    assert_eq!(lab.trace[0], "refused Key");
    // Nor one that was right for an earlier session.
    lab.wait(Duration::from_secs(20));
    assert!(lab.gateway.is_up());
}

#[test]
fn an_unknown_leaf_is_refused() {
    let mut lab = Lab::new(Some("sensor-7"));
    let config = LeafConfig::new("stranger", key(7), [1; 32]);
    let memory = super::lab::leak(LinkResources::<3>::new());
    lab.leaf = Leaf::new(config, memory.slices()).unwrap();
    lab.drive();
    assert_eq!(lab.leaf_outputs, [LeafOutput::Refused(Refusal::Name)]);
    assert_eq!(lab.trace, ["refused Name"]);
}

#[test]
fn other_versions_are_told_apart() {
    let mut lab = Lab::new(Some("sensor-7"));
    let mut wire = [0; 256];
    let future = Greeting {
        version: 9,
        nonce: [0; 16],
        frame: 256,
        window: 4096,
    };
    let hello = Frame::Hello(future, "greenhouse").write();
    let len = seal(core::iter::once(&hello[..]), &mut wire).unwrap();
    lab.gateway.receive(lab.now, &wire[..len], &lab.keys);
    lab.drive();
    assert_eq!(lab.trace[0], "refused Version(9)");
    // The leaf heard `refuse` with our version, which is its own: it cannot be meant.
    assert_eq!(
        lab.leaf_outputs[0],
        LeafOutput::Refused(Refusal::Version(VERSION))
    );

    let mut lab = Lab::new(Some("sensor-7"));
    lab.leaf.poll(lab.now, &mut lab.peer);
    let challenge = Frame::Challenge(future, [0; 32]).write();
    let len = seal(core::iter::once(&challenge[..]), &mut wire).unwrap();
    lab.leaf.receive(lab.now, &wire[..len]);
    assert_eq!(
        lab.leaf.poll(lab.now, &mut lab.peer),
        LeafOutput::Refused(Refusal::Version(9))
    );
}

/// What the application of a leaf hears when a session with one open connection is over.
fn end_of_all(reason: DownReason, here: ConnectionHandle) -> Vec<LeafOutput> {
    vec![
        LeafOutput::Down(reason),
        LeafOutput::Event(Event::Error(PeerError::Network)),
        LeafOutput::Event(Event::Disconnected),
        LeafOutput::Event(Event::ConnectionError(
            here,
            crate::peer::ConnectionError::ConnectionClosed,
        )),
        LeafOutput::Event(Event::ConnectionClosed(here)),
    ]
}

#[test]
fn a_gateway_that_starts_again_ends_all_and_lends_again() {
    let (mut lab, here, _) = Lab::connected();
    lab.gateway = new_gateway(3);
    lab.wait(Duration::from_secs(3));
    let mut expected = end_of_all(DownReason::Restarted, here);
    expected.push(LeafOutput::Up);
    assert_eq!(lab.leaf_outputs, expected);
    assert_eq!(lab.trace, ["up"]);

    lab.peer.reconnect(lab.now).unwrap();
    lab.drive();
    assert_eq!(lab.trace, ["up", "open sensor-7"]);
    assert_eq!(lab.peer.state(), PeerState::Open);
}

#[test]
fn a_leaf_that_starts_again_leaves_nothing_behind() {
    let (mut lab, ..) = Lab::connected();
    lab.leaf = new_leaf(key(7), 4);
    lab.peer = engine(Some("sensor-7"));
    lab.drive();
    assert_eq!(
        lab.trace,
        [
            "close",
            "close socket",
            "down Restarted",
            "up",
            "open sensor-7"
        ]
    );
    assert_eq!(
        lab.leaf_outputs,
        [LeafOutput::Up, LeafOutput::Event(Event::Open)]
    );
    assert_eq!(lab.gateway.sessions(), 0);
}

#[test]
fn silence_ends_a_session_at_both_ends() {
    let (mut lab, here, _) = Lab::connected();
    lab.cut = true;
    lab.wait(Duration::from_secs(6));
    assert!(lab.leaf.is_up() && lab.gateway.is_up());
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.leaf_outputs, end_of_all(DownReason::Silent, here));
    assert_eq!(lab.trace, ["close", "close socket", "down Silent"]);

    // Wanted while the link is down, done when it is back.
    lab.peer.reconnect(lab.now).unwrap();
    lab.drive();
    lab.cut = false;
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.peer.state(), PeerState::Open);
    assert_eq!(lab.trace[3..], ["up", "open sensor-7"]);
}

#[test]
fn a_session_stays_up_while_nothing_happens() {
    let (mut lab, here, there) = Lab::connected();
    lab.wait(Duration::from_secs(600));
    assert_eq!(lab.leaf_outputs, []);
    talk(&mut lab, here, there, 3);
}

#[test]
fn a_connect_under_way_fails_with_the_link() {
    let (mut lab, ..) = Lab::connected();
    lab.gateway_works = false;
    let handle = lab.connect(ConnectOptions::default());
    lab.drive();
    lab.leaf.disconnected();
    lab.gateway = new_gateway(3);
    lab.drive();
    let failed = ConnectFailure {
        stage: Stage::Offer,
        reason: FailureReason::Rtc(RtcFailure::Gateway),
    };
    assert!(
        lab.leaf_outputs
            .contains(&LeafOutput::Event(Event::ConnectionFailed(handle, failed)))
    );
}

#[test]
fn noise_costs_time_and_nothing_else() {
    for seed in 1..=6_u64 {
        let (mut lab, here, there) = Lab::connected();
        let mut state = seed;
        let mut draw = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        // Bytes change, vanish and come from nowhere, zeros among them.
        lab.noise = std::boxed::Box::new(move |bytes| {
            if draw(40) == 0 && !bytes.is_empty() {
                let at = draw(bytes.len() as u64) as usize;
                match draw(3) {
                    0 => bytes[at] = draw(256) as u8,
                    1 => drop(bytes.remove(at)),
                    _ => (0..draw(300)).for_each(|_| bytes.insert(at, draw(256) as u8)),
                }
            }
        });
        talk(&mut lab, here, there, 150);
        assert!(lab.leaf.stats().garbage + lab.gateway.stats().garbage > 10);
        assert!(lab.leaf.stats().resends > 0);
        assert_eq!(lab.trace.iter().filter(|word| *word == "up").count(), 0);
    }
}

#[test]
fn a_slow_wire_is_only_slow() {
    let (mut lab, here, there) = Lab::connected();
    // 2,400 bits a second behind a socket whose buffers hold minutes.
    lab.slow = Some(Slow {
        byte: Duration::from_micros(4_167),
        delay: Duration::ZERO,
        buffer: 65_536,
    });
    talk(&mut lab, here, there, 40);
    assert_eq!(lab.trace.iter().filter(|word| *word == "up").count(), 0);
    // It learns: most of what is sent, is sent once.
    for stats in [lab.leaf.stats(), lab.gateway.stats()] {
        assert!(stats.resends <= 6, "{stats:?}");
    }
}

#[test]
fn a_frame_acknowledged_while_it_is_written_again_is_done_with() {
    let (mut lab, here, _) = Lab::connected();
    // The acknowledgement comes after the first wait, while little of the repeated frame is written.
    lab.slow = Some(Slow {
        byte: Duration::from_millis(2),
        delay: Duration::from_millis(300),
        buffer: 24,
    });
    for _ in 0..5 {
        let text = "x".repeat(120);
        lab.peer.connection(here).unwrap().send(&text).unwrap();
        lab.wait(Duration::from_secs(5));
    }
    assert!(lab.leaf.stats().resends > 0);
}

#[test]
fn a_handshake_may_take_longer_than_its_retries() {
    let mut lab = Lab::new(Some("sensor-7"));
    lab.slow = Some(Slow {
        byte: Duration::from_micros(100),
        delay: Duration::from_millis(2_500),
        buffer: 4096,
    });
    lab.wait(Duration::from_secs(30));
    assert_eq!(
        lab.leaf_outputs,
        [LeafOutput::Up, LeafOutput::Event(Event::Open)]
    );
    assert_eq!(lab.trace[..2], ["up", "open sensor-7"]);
}

#[test]
fn a_flood_waits_for_a_leaf_that_does_not_read() {
    let (mut lab, here, there) = Lab::connected();
    let mut sent = 0_u32;
    for _ in 0..200 {
        while lab
            .bob
            .connection(there)
            .unwrap()
            .send(&format!("{sent} {}", "x".repeat(400)))
            .is_ok()
        {
            sent += 1;
        }
        lab.drive();
    }
    assert!(sent > 40, "{sent}");
    let held = lab.held(Side::Leaf);
    assert!(held > 0, "the gateway's stack has to wait");
    assert!(lab.leaf.is_up());
    let mut got = 0;
    while got < sent {
        let mut connection = lab.peer.connection(here).unwrap();
        while let Ok(text) = connection.recv::<&str>() {
            assert!(text.starts_with(&format!("{got} ")));
            got += 1;
        }
        lab.drive();
    }
    assert_eq!(lab.held(Side::Leaf), 0);
}

#[test]
fn a_gateway_that_does_not_poll_fills_the_engines_outbox() {
    let (mut lab, here, there) = Lab::connected();
    lab.gateway_works = false;
    let text: String = "x".repeat(500);
    let mut sent = 0_usize;
    loop {
        match lab.peer.connection(here).unwrap().send(&text) {
            Ok(()) => sent += 1,
            Err(SendError::Full) => break,
            Err(error) => panic!("{error}"),
        }
        lab.wait(Duration::from_millis(700));
    }
    // Its window, the leaf's frames and the outbox; not one byte more.
    assert!((20..45).contains(&sent), "{sent}");
    lab.wait(Duration::from_secs(60));
    assert!(lab.leaf.is_up(), "a slow gateway is no dead one");
    assert!(
        lab.peer.connection(here).unwrap().buffered_amount() > 8_000,
        "what is under way counts as buffered"
    );

    lab.gateway_works = true;
    let mut got = 0;
    for _ in 0..100 {
        lab.drive();
        while let Ok(text) = lab.bob.connection(there).unwrap().recv::<&str>() {
            assert_eq!(text.len(), 500);
            got += 1;
        }
    }
    assert_eq!(got, sent);
    assert!(
        lab.leaf_outputs
            .contains(&LeafOutput::Event(Event::Writable(here)))
    );
    assert_eq!(lab.peer.connection(here).unwrap().buffered_amount(), 0);
}

#[test]
fn a_message_longer_than_the_window_is_told() {
    let mut lab = Lab::new(Some("sensor-7"));
    // Bob can send more than the leaf can hold.
    let memory: &'static mut crate::peer::PeerResources<1, 4096, 8192> =
        super::lab::leak(crate::peer::PeerResources::new());
    let mut config = crate::peer::Config::new([7; 32]);
    config.id = Some(crate::PeerId::new("bob").unwrap());
    lab.bob = crate::peer::Peer::new(config, memory);
    lab.drive();
    let here = lab.connect(ConnectOptions {
        serialization: Serialization::Raw,
        ..ConnectOptions::default()
    });
    lab.drive();
    let Some(&Event::Connection(there)) = lab.bob_events.get(1) else {
        panic!("{:?}", lab.bob_events)
    };
    let mut connection = lab.bob.connection(there).unwrap();
    connection.send(&*"x".repeat(5000)).unwrap();
    connection.send("short").unwrap();
    lab.drive();
    let error = crate::peer::ConnectionError::MessageTooBig;
    assert!(
        lab.leaf_outputs
            .contains(&LeafOutput::Event(Event::ConnectionError(here, error)))
    );
    assert_eq!(lab.gateway.stats().too_long, 1);
    assert_eq!(
        lab.peer.connection(here).unwrap().recv::<&str>(),
        Ok("short")
    );
}

#[test]
fn more_sessions_than_there_is_room_for() {
    let mut lab = Lab::new(Some("sensor-7"));
    lab.gateway = crate::link::Gateway::new(
        crate::link::Timing::default(),
        [2; 32],
        super::lab::leak(LinkResources::<1>::new()).slices(),
    )
    .unwrap();
    lab.drive();
    let first = lab.connect(ConnectOptions::default());
    let second = lab.connect(ConnectOptions::default());
    lab.drive();
    assert!(lab.peer.connection(first).unwrap().is_open());
    let failed = ConnectFailure {
        stage: Stage::Offer,
        reason: FailureReason::Rtc(RtcFailure::Resources),
    };
    assert!(
        lab.leaf_outputs
            .contains(&LeafOutput::Event(Event::ConnectionFailed(second, failed)))
    );
}

#[test]
fn memory_and_names_are_checked() {
    let config = |name| LeafConfig::new(name, key(1), [1; 32]);
    let mut memory = LinkResources::<1>::new();
    for name in ["", "a name of more than thirty-two bytes"] {
        assert_eq!(
            Leaf::new(config(name), memory.slices()).err(),
            Some(LinkError::Name)
        );
    }
    let mut small = LinkResources::<1, 63>::new();
    let made = Leaf::new(config("a"), small.slices());
    assert_eq!(made.err(), Some(LinkError::Memory));
    let mut small = LinkResources::<1, 64, 4096, 2047>::new();
    let made = Leaf::new(config("a"), small.slices());
    assert_eq!(made.err(), Some(LinkError::Memory));
}

#[test]
fn the_smallest_memory_works() {
    let (mut lab, ..) = Lab::connected();
    let memory = super::lab::leak(LinkResources::<1, 64, 1024, 2048>::new());
    let config = LeafConfig::new("greenhouse", key(7), [9; 32]);
    lab.leaf = Leaf::new(config, memory.slices()).unwrap();
    let memory: &'static mut crate::peer::PeerResources<1, 2048, 600, 1024> =
        super::lab::leak(crate::peer::PeerResources::new());
    let mut config = crate::peer::Config::new([7; 32]);
    config.id = Some(crate::PeerId::new("sensor-7").unwrap());
    lab.peer = crate::peer::Peer::new(config, memory);
    lab.drive();
    let here = lab.connect(ConnectOptions {
        reliable: true,
        ..ConnectOptions::default()
    });
    lab.bob_events.clear();
    lab.drive();
    let there = lab.bob_events.iter().find_map(|event| match event {
        Event::Connection(there) => Some(*there),
        _ => None,
    });
    let there = there.unwrap();
    for _ in 0..50 {
        lab.peer
            .connection(here)
            .unwrap()
            .send(&*"y".repeat(300))
            .unwrap();
        lab.drive();
        assert_eq!(
            lab.bob
                .connection(there)
                .unwrap()
                .recv::<&str>()
                .unwrap()
                .len(),
            300
        );
        lab.bob
            .connection(there)
            .unwrap()
            .send(&*"z".repeat(700))
            .unwrap();
        lab.drive();
        assert_eq!(
            lab.peer
                .connection(here)
                .unwrap()
                .recv::<&str>()
                .unwrap()
                .len(),
            700
        );
    }
}

/// Whatever a leaf has no room for, its engine knows the time and frees what is over.
#[test]
fn a_jammed_leaf_tells_the_engine_the_time() {
    let (mut lab, here, there) = Lab::connected();
    lab.bob.connection(there).unwrap().send("bye").unwrap();
    lab.drive();
    lab.bob.connection(there).unwrap().close();
    lab.drive();
    let outputs = core::mem::take(&mut lab.leaf_outputs);
    assert_eq!(
        outputs.last(),
        Some(&LeafOutput::Event(Event::ConnectionClosed(here)))
    );
    // Nothing leaves it from here on, and there is no room for what the engine may say.
    for _ in 0..20 {
        lab.leaf.inject(&[&[0; 400]]);
    }
    // It is kept for what is unread.
    let mut connection = lab.peer.connection(here).unwrap();
    assert_eq!(connection.recv::<&str>().unwrap(), "bye");
    assert!(matches!(
        lab.leaf.poll(lab.now, &mut lab.peer),
        LeafOutput::Timeout(_)
    ));
    assert!(lab.peer.connection(here).is_none());
}
