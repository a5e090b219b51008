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
    let _ = lab.leaf.poll(lab.now, &mut lab.peer);
    let len = lab.leaf.transmit(lab.now, &mut wire);
    lab.gateway.receive(lab.now, &wire[..len], &lab.keys);
    let len = seal(&Frame::Proof([9; 32]).write(), &mut wire);
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
    let len = seal(&hello, &mut wire).unwrap();
    lab.gateway.receive(lab.now, &wire[..len], &lab.keys);
    lab.drive();
    assert_eq!(lab.trace[0], "refused Version(9)");
    // The leaf heard `refuse` with our version, which is its own: it cannot be meant.
    assert_eq!(
        lab.leaf_outputs[0],
        LeafOutput::Refused(Refusal::Version(VERSION))
    );

    let mut lab = Lab::new(Some("sensor-7"));
    let _ = lab.leaf.poll(lab.now, &mut lab.peer);
    let challenge = Frame::Challenge(future, [0; 32]).write();
    let len = seal(&challenge, &mut wire).unwrap();
    lab.leaf.receive(lab.now, &wire[..len], &mut lab.peer);
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
    // The engine reconnects by itself.
    expected.push(LeafOutput::Event(Event::Open));
    assert_eq!(lab.leaf_outputs, expected);
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
    assert!(lab.peer.connection(here).is_none(), "its slot is free");
    assert_eq!(lab.trace, ["close", "close socket", "down Silent"]);

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
    // The acknowledgement comes after the first wait, while little of the repeated frame is
    // written.
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

/// An application that reads only when it can write: the messages that Bob has back after so many
/// rounds without news.
struct Echo {
    pending: Option<String>,
    returned: u32,
}

impl Echo {
    fn run(&mut self, lab: &mut Lab, here: ConnectionHandle, there: ConnectionHandle) {
        let mut idle = 0;
        while idle < 5 {
            let before = self.returned;
            let text = "x".repeat(700);
            while lab.bob.connection(there).unwrap().send(&text).is_ok() {}
            lab.drive();
            let mut connection = lab.peer.connection(here).unwrap();
            loop {
                if let Some(text) = &self.pending {
                    match connection.send(text) {
                        Ok(()) => self.pending = None,
                        Err(SendError::Full) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                match connection.recv::<&str>() {
                    Ok(text) => self.pending = Some(text.into()),
                    Err(_) => break,
                }
            }
            lab.drive();
            while lab.bob.connection(there).unwrap().recv::<&str>().is_ok() {
                self.returned += 1;
            }
            idle = match self.returned - before {
                0 => idle + 1,
                _ => 0,
            };
            if self.returned > 2_000 {
                return;
            }
        }
    }
}

#[test]
fn an_echo_goes_on_once_its_channel_was_full() {
    let (mut lab, here, there) = Lab::connected();
    let mut echo = Echo {
        pending: None,
        returned: 0,
    };
    lab.acknowledges = false;
    echo.run(&mut lab, here, there);
    let full = echo.returned;
    assert!((300..600).contains(&full), "256 KiB are buffered: {full}");
    lab.acknowledge();
    echo.run(&mut lab, here, there);
    assert!(echo.returned > 2_000, "{}", echo.returned);
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
    // What it granted, and the outbox; not one byte more.
    assert!((4..8).contains(&sent), "{sent}");
    lab.wait(Duration::from_secs(60));
    assert!(lab.leaf.is_up(), "a slow gateway is no dead one");
    assert!(
        lab.peer.connection(here).unwrap().buffered_amount() > 500,
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
fn a_message_longer_than_the_inbox_is_told() {
    let mut lab = Lab::new(Some("sensor-7"));
    // Bob can send more than the leaf's engine can hold.
    let memory: &'static mut crate::peer::PeerResources<1, 4096, 8192> =
        super::lab::leak(crate::peer::PeerResources::new());
    let mut config = crate::peer::Config::new([3; 32]);
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
    // As many sessions as there are numbers for their places, and no more.
    let most = super::lab::leak(LinkResources::<{ crate::link::SESSIONS_MAX }>::new());
    assert!(Leaf::new(config("a"), most.slices()).is_ok());
    let more = super::lab::leak(LinkResources::<{ crate::link::SESSIONS_MAX + 1 }>::new());
    let made = Leaf::new(config("a"), more.slices());
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
    let mut config = crate::peer::Config::new([3; 32]);
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

/// One connection that the remote does not read, and one whose application does not read, hold up
/// nothing else.
#[test]
fn one_stalled_connection_stalls_nobody() {
    let (mut lab, here, there) = Lab::connected();
    let second = lab.connect(ConnectOptions {
        reliable: true,
        ..ConnectOptions::default()
    });
    lab.bob_events.clear();
    lab.drive();
    let found = lab.bob_events.iter().find_map(|event| match event {
        Event::Connection(there) => Some(*there),
        _ => None,
    });
    let other = found.expect("the second connection");
    // Nobody reads the first one at the leaf.
    let text = "x".repeat(500);
    for _ in 0..200 {
        while lab.bob.connection(there).unwrap().send(&text).is_ok() {}
        lab.drive();
    }
    let held = lab.held(Side::Leaf);
    assert!(held > 0, "the stack has to wait");
    talk(&mut lab, second, other, 40);
    assert_eq!(lab.held(Side::Leaf), held);
    // Nor does its data hold up signals, ICE or its own end.
    lab.bob.connection(other).unwrap().close();
    let third = lab.connect(ConnectOptions::default());
    lab.drive();
    let closed = LeafOutput::Event(Event::ConnectionClosed(second));
    assert!(lab.leaf_outputs.contains(&closed));
    assert!(lab.peer.connection(third).unwrap().is_open());
    assert_eq!(lab.leaf.stats().resends + lab.gateway.stats().resends, 0);
    let mut read = 0;
    while let Ok(text) = lab.peer.connection(here).unwrap().recv::<&str>() {
        read += text.len();
        lab.drive();
    }
    assert!(read > 50_000, "{read}");
}

/// What the leaf acknowledged its application reads, whatever else was on its way when the link
/// session ended.
#[test]
fn acknowledged_data_outlives_the_link() {
    let (mut lab, here, there) = Lab::connected();
    let mut sent = 0;
    let text = "x".repeat(300);
    while lab.bob.connection(there).unwrap().send(&text).is_ok() {
        sent += 1;
        if sent == 5 {
            break;
        }
    }
    // Many signals before it: more than the engine has room for.
    for n in 0..12 {
        let signal = format!(
            r#"{{"type":"OFFER","src":"s-{n}","payload":{{"connectionId":"dc_{n}","label":"{}"}}}}"#,
            "y".repeat(100)
        );
        let message = std::vec![
            2,
            0x80 | (signal.len() & 0x7f) as u8,
            (signal.len() >> 7) as u8
        ];
        lab.gateway
            .inject(&[&message[..], signal.as_bytes()].concat());
    }
    lab.drive();
    lab.leaf.disconnected();
    lab.drive();
    let mut got = 0;
    while let Ok(read) = lab.peer.connection(here).unwrap().recv::<&str>() {
        assert_eq!(read, text);
        got += 1;
    }
    assert_eq!(got, sent);
}

/// The application hears of each link session that ends, also of one that was over at once.
#[test]
fn a_link_session_that_is_over_at_once_is_told() {
    let mut lab = Lab::new(Some("sensor-7"));
    let mut wire = [0; 256];
    let _ = lab.leaf.poll(lab.now, &mut lab.peer);
    while !lab.leaf.is_up() {
        let len = lab.leaf.transmit(lab.now, &mut wire);
        lab.gateway.receive(lab.now, &wire[..len], &lab.keys);
        let _ = lab.gateway.poll_output(lab.now, &lab.keys);
        let len = lab.gateway.transmit(lab.now, &mut wire);
        lab.leaf.receive(lab.now, &wire[..len], &mut lab.peer);
        if !lab.leaf.is_up() {
            let _ = lab.leaf.poll(lab.now, &mut lab.peer);
        }
    }
    lab.leaf.disconnected();
    let said = lab.leaf.poll(lab.now, &mut lab.peer);
    assert_eq!(said, LeafOutput::Down(DownReason::Closed));
    lab.wait(Duration::from_secs(3));
    assert_eq!(
        lab.leaf_outputs,
        [LeafOutput::Up, LeafOutput::Event(Event::Open)],
        "the engine never knew"
    );
}

/// A message that cannot be read ends the link session, but not one that is over already.
#[test]
fn nonsense_before_the_end_is_told_once() {
    let (mut lab, here, _) = Lab::connected();
    lab.gateway.inject(&[99, 1]);
    let mut wire = [0; 256];
    let len = lab.gateway.transmit(lab.now, &mut wire);
    lab.leaf.receive(lab.now, &wire[..len], &mut lab.peer);
    lab.leaf.disconnected();
    lab.cut = true;
    lab.drive();
    assert_eq!(lab.leaf_outputs, end_of_all(DownReason::Closed, here));
}

#[test]
fn an_id_request_lost_with_the_link_is_asked_again() {
    let mut lab = Lab::new(None);
    lab.keys.ids.clear();
    // The request comes to a gateway that does nothing with it.
    lab.gateway_works = false;
    lab.wait(Duration::from_secs(1));
    assert!(lab.leaf.is_up());
    lab.gateway = new_gateway(3);
    lab.gateway_works = true;
    lab.wait(Duration::from_secs(10));
    assert_eq!(lab.trace[..3], ["up", "retrieve", "open given"]);
    assert_eq!(lab.peer.state(), PeerState::Open);
}

/// Gateway sessions are free once they have ended, whatever the leaf says.
#[test]
fn a_session_that_ended_is_free_without_the_leaf() {
    let (mut lab, here, there) = Lab::connected();
    lab.bob
        .connection(there)
        .unwrap()
        .send("last words")
        .unwrap();
    lab.drive();
    lab.bob.connection(there).unwrap().close();
    lab.drive();
    assert_eq!(lab.gateway.sessions(), 0);
    assert_eq!(lab.trace.last().map(String::as_str), Some("close"));
    let closed = LeafOutput::Event(Event::ConnectionClosed(here));
    assert!(lab.leaf_outputs.contains(&closed));
    let mut connection = lab.peer.connection(here).unwrap();
    assert_eq!(connection.recv::<&str>(), Ok("last words"));
}

#[test]
fn an_application_may_reconnect_by_itself() {
    let mut lab = Lab::new(Some("sensor-7"));
    let mut config = LeafConfig::new("greenhouse", key(7), [1; 32]);
    config.reconnect = false;
    let memory = super::lab::leak(LinkResources::<3>::new());
    lab.leaf = Leaf::new(config, memory.slices()).unwrap();
    lab.drive();
    lab.gateway = new_gateway(3);
    lab.wait(Duration::from_secs(10));
    assert!(lab.leaf.is_up());
    assert_eq!(lab.peer.state(), PeerState::Disconnected);
    // And one that disconnected on purpose stays so.
    let mut lab = Lab::new(Some("sensor-7"));
    lab.drive();
    lab.peer.disconnect(lab.now);
    lab.drive();
    lab.gateway = new_gateway(3);
    lab.wait(Duration::from_secs(10));
    assert!(lab.leaf.is_up());
    assert_eq!(lab.peer.state(), PeerState::Disconnected);
}

/// While the link is down the deadline of a connect passes, and that of an open does not begin.
#[test]
fn deadlines_while_there_is_no_link() {
    let (mut lab, ..) = Lab::connected();
    let handle = lab.connect(ConnectOptions::default());
    lab.cut = true;
    lab.wait(Duration::from_secs(60));
    assert!(!lab.leaf.is_up());
    let failed = |output: &LeafOutput| match output {
        LeafOutput::Event(Event::ConnectionFailed(failed, _)) => *failed == handle,
        _ => false,
    };
    assert_eq!(
        lab.leaf_outputs
            .iter()
            .filter(|output| failed(output))
            .count(),
        1
    );
    lab.peer.reconnect(lab.now).unwrap();
    lab.leaf_outputs.clear();
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.leaf_outputs, []);
    lab.cut = false;
    lab.wait(Duration::from_secs(3));
    assert_eq!(
        lab.leaf_outputs,
        [LeafOutput::Up, LeafOutput::Event(Event::Open)]
    );
}
