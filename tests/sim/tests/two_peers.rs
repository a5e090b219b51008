//! Two peers, one thing at a time.

use peer_core::connection::SendError;
use peer_core::peer::{
    ConnectFailure, ConnectOptions, ConnectionError, Event, PeerError, PeerState, RtcFailure, Stage,
};
use peer_core::serialization::Serialization;
use peer_core::time::Duration;
use peer_sim::{
    Action, Capacity, Conn, HostEvent, HostId, HostOptions, Identity, LIVENESS, Link, Sim,
    SimOptions,
};

const SECOND: Duration = Duration::from_secs(1);

/// Two hosts that are open.
fn pair(options: SimOptions, link: Link) -> (Sim, HostId, HostId) {
    let mut sim = Sim::with_options(5, options);
    let host = |id| HostOptions {
        link,
        capacity: Capacity {
            outbox: 64 * 1024,
            inbox: 64 * 1024,
            ..Capacity::default()
        },
        ..HostOptions::new(id)
    };
    let (alice, bob) = (sim.add_host(host("alice")), sim.add_host(host("bob")));
    assert!(sim.wait(10 * SECOND, |sim| sim.is_online(alice)
        && sim.is_online(bob)));
    sim.take_events(alice);
    sim.take_events(bob);
    (sim, alice, bob)
}

fn connected(options: SimOptions, link: Link, reliable: bool) -> (Sim, Conn, Conn) {
    let (mut sim, alice, bob) = pair(options, link);
    let options = ConnectOptions {
        reliable,
        ..ConnectOptions::default()
    };
    let here = sim.connect(alice, "bob", options).unwrap();
    assert!(sim.wait(30 * SECOND, |sim| {
        sim.is_open(here) && sim.open_connections(bob).len() == 1
    }));
    let there = sim.open_connections(bob)[0];
    (sim, here, there)
}

fn kinds(events: &[HostEvent]) -> Vec<Event> {
    events.iter().map(|event| event.event).collect()
}

#[test]
fn they_connect_talk_and_close() {
    let (mut sim, here, there) = connected(SimOptions::default(), Link::lan(), true);
    assert_eq!(sim.remote(there), Some("alice"));
    sim.send(here, vec![1_u32, 2, 3]).unwrap();
    sim.send(here, "x".repeat(40_000)).unwrap();
    sim.send(there, 7_i64).unwrap();
    sim.run_for(SECOND);
    let messages = sim.take_messages(there.host);
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0].decode::<Vec<u32>>(), Ok(vec![1, 2, 3]));
    // Put together from three chunks.
    assert_eq!(messages[1].decode::<String>().unwrap().len(), 40_000);
    assert_eq!(sim.take_messages(here.host)[0].decode(), Ok(7_i64));

    sim.close_flush(here);
    assert!(sim.wait(SECOND, |sim| sim.is_over(here) && sim.is_over(there)));
    assert_eq!(sim.send(here, 1), Err(SendError::Closed));
}

#[test]
fn everything_arrives_over_the_worst_link() {
    for reliable in [true, false] {
        let (mut sim, here, there) = connected(SimOptions::default(), Link::bad(), reliable);
        for number in 0..200_u32 {
            sim.send(here, number).unwrap();
        }
        sim.run_for(60 * SECOND);
        let messages = sim.take_messages(there.host);
        let mut numbers: Vec<u32> = messages
            .iter()
            .map(|message| message.decode().unwrap())
            .collect();
        assert_eq!(numbers.is_sorted(), reliable, "{numbers:?}");
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..200));
    }
}

#[test]
fn nobody_there() {
    let (mut sim, alice, _) = pair(SimOptions::default(), Link::lan());
    let conn = sim
        .connect(alice, "carol", ConnectOptions::default())
        .unwrap();
    assert!(sim.wait(10 * SECOND, |sim| sim.is_over(conn)));
    let failure = ConnectFailure {
        stage: Stage::Answer,
        reason: ConnectionError::PeerUnavailable,
    };
    let events = sim.take_events(alice);
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].event, Event::Error(PeerError::PeerUnavailable));
    assert!(matches!(events[1].event, Event::ConnectionFailed(_, what) if what == failure));
    assert_eq!(events[1].conn, Some(conn));
}

#[test]
fn a_crash_is_silence_and_then_the_end() {
    let (mut sim, here, there) = connected(SimOptions::default(), Link::lan(), true);
    sim.run_for(SECOND);
    sim.act(Action::Crash(there.host));
    let crashed = sim.now();
    assert!(sim.wait(60 * SECOND, |sim| sim.is_over(here)));
    let silent = sim.now().saturating_duration_since(crashed);
    assert!(
        silent + 3 * SECOND > LIVENESS && silent < LIVENESS + 3 * SECOND,
        "{silent:?}"
    );
    // It comes back as itself, at once, and as a stranger not until its old socket is forgotten.
    sim.act(Action::Start(there.host, Identity::Same));
    assert!(sim.wait(5 * SECOND, |sim| sim.is_online(there.host)));
    sim.act(Action::Crash(there.host));
    sim.act(Action::Start(there.host, Identity::NewToken));
    sim.run_for(5 * SECOND);
    assert_eq!(sim.peer_state(there.host), Some(PeerState::Destroyed));
}

#[test]
fn a_partition_in_the_set_up_fails_at_its_stage() {
    let (mut sim, alice, bob) = pair(SimOptions::default(), Link::lan());
    let conn = sim
        .connect(alice, "bob", ConnectOptions::default())
        .unwrap();
    // The broker still relays; the two do not reach each other.
    sim.act(Action::Cut(alice, bob));
    sim.act(Action::Cut(bob, alice));
    assert!(sim.wait(31 * SECOND, |sim| sim.is_over(conn)));
    let events = kinds(&sim.take_events(alice));
    assert!(
        matches!(
            events[..],
            [Event::ConnectionFailed(
                _,
                ConnectFailure {
                    stage: Stage::Ice,
                    reason: ConnectionError::Rtc(RtcFailure::Ice) | ConnectionError::RemoteClosed
                }
            )]
        ),
        "{events:?}"
    );
}

#[test]
fn a_new_nat_binding_ends_sessions_unless_they_follow_it() {
    for follows_rebinding in [false, true] {
        let options = SimOptions {
            follows_rebinding,
            ..SimOptions::default()
        };
        let (mut sim, here, there) = connected(options, Link::lan(), true);
        sim.act(Action::Rebind(here.host));
        sim.run_for(LIVENESS + 5 * SECOND);
        assert_eq!(sim.is_open(here), follows_rebinding);
        assert_eq!(sim.is_open(there), follows_rebinding);
        // The broker's socket broke at the next heartbeat and was replaced.
        let events = kinds(&sim.take_events(here.host));
        assert!(events.contains(&Event::Error(PeerError::Network)));
        assert!(sim.is_online(here.host));
    }
}

#[test]
fn a_host_that_stood_still_catches_up() {
    let (mut sim, here, there) = connected(SimOptions::default(), Link::lan(), true);
    sim.act(Action::Pause(there.host));
    for number in 0..20_u32 {
        sim.send(here, number).unwrap();
    }
    sim.run_for(10 * SECOND);
    assert!(sim.take_messages(there.host).is_empty());
    sim.act(Action::Resume(there.host));
    sim.run_for(5 * SECOND);
    assert_eq!(sim.take_messages(there.host).len(), 20);
    assert!(sim.is_open(here) && sim.is_open(there));
}

#[test]
fn a_clock_that_jumps_ahead_fails_what_was_due_and_nothing_else() {
    let (mut sim, here, there) = connected(SimOptions::default(), Link::lan(), true);
    let pending = sim
        .connect(here.host, "nobody", ConnectOptions::default())
        .unwrap();
    sim.run_for(Duration::from_millis(100));
    sim.act(Action::Jump(here.host, 3_600));
    sim.run_for(SECOND);
    assert!(sim.is_over(pending));
    assert!(sim.is_open(here) && sim.is_open(there) && sim.is_online(here.host));
    sim.send(there, "still there").unwrap();
    sim.run_for(SECOND);
    assert_eq!(sim.take_messages(here.host).len(), 1);
}

/// What a driver owes an engine whose clock may be set back, and what an engine does that is not
/// given it.
#[test]
fn a_clock_that_is_set_back_costs_nothing_or_the_time_until_it_has_caught_up() {
    for monotonic in [true, false] {
        let mut sim = Sim::new(5);
        let alice = sim.add_host(HostOptions {
            monotonic,
            ..HostOptions::new("alice")
        });
        let bob = sim.add_host(HostOptions::new("bob"));
        sim.run_for(SECOND);
        let open = sim
            .connect(alice, "bob", ConnectOptions::default())
            .unwrap();
        assert!(sim.wait(SECOND, |sim| sim.is_open(open)));
        let carol = sim.add_host(HostOptions::new("carol"));
        sim.run_for(SECOND);
        sim.act(Action::Pause(carol));
        // Nobody answers this one.
        let pending = sim
            .connect(alice, "carol", ConnectOptions::default())
            .unwrap();
        sim.run_for(SECOND);
        sim.act(Action::Jump(alice, -600));
        sim.run_for(45 * SECOND);
        assert_eq!(sim.is_over(pending), monotonic);
        // Connections live by the network's time.
        assert!(sim.is_open(open));
        sim.send(open, "here").unwrap();
        sim.close_flush(open);
        sim.run_for(SECOND);
        assert_eq!(sim.take_messages(bob).len(), 1);
        if !monotonic {
            // Heartbeats wait too, so the broker takes it for dead, and says so.
            sim.run_for(60 * SECOND);
            assert!(!sim.is_online(alice) || !kinds(&sim.take_events(alice)).is_empty());
        }
        sim.run_for(600 * SECOND);
        assert!(sim.is_over(pending) && sim.is_online(alice));
    }
}

#[test]
fn messages_are_streamed_out_of_less_memory() {
    for (link, reliable) in [
        (Link::lan(), true),
        (Link::bad(), true),
        (Link::wifi(), false),
    ] {
        let mut sim = Sim::new(6);
        let sensor = sim.add_host(HostOptions {
            link,
            // Its outbox fills before it is polled.
            lazy: 1.0,
            ..HostOptions::new("sensor")
        });
        let hub = sim.add_host(HostOptions {
            capacity: Capacity {
                inbox: 120_000,
                ..Capacity::default()
            },
            ..HostOptions::new("hub")
        });
        assert!(sim.wait(20 * SECOND, |sim| sim.is_online(sensor)
            && sim.is_online(hub)));
        let options = ConnectOptions {
            reliable,
            ..ConnectOptions::default()
        };
        let conn = sim.connect(sensor, "hub", options).unwrap();
        assert!(sim.wait(20 * SECOND, |sim| sim.is_open(conn)));
        // Its outbox holds 2,048 bytes.
        sim.stream(conn, 100_000, 700).unwrap();
        assert!(sim.is_streaming(conn));
        assert_eq!(sim.send(conn, "between"), Err(SendError::Streaming));
        assert!(sim.wait(60 * SECOND, |sim| !sim.is_streaming(conn)));
        sim.send(conn, "behind").unwrap();
        sim.run_for(20 * SECOND);
        let messages = sim.take_messages(hub);
        let lens: Vec<usize> = messages.iter().map(|message| message.bytes.len()).collect();
        assert!(
            lens.contains(&100_005) && lens.contains(&7) && lens.len() == 2,
            "{lens:?}"
        );

        // One that is given up is not there, and the next one is.
        sim.stream(conn, 100_000, 700).unwrap();
        sim.abort_stream(conn);
        sim.send(conn, "again").unwrap();
        sim.run_for(20 * SECOND);
        assert_eq!(sim.take_messages(hub).len(), 1);
        assert_eq!(sim.stats().streamed, 1);
    }
}

#[test]
fn a_broker_restart_leaves_connections_alone() {
    for orderly in [true, false] {
        let (mut sim, here, there) = connected(SimOptions::default(), Link::wifi(), false);
        sim.act(Action::StopBroker { orderly });
        sim.after(3 * SECOND, Action::StartBroker);
        sim.run_for(SECOND);
        sim.send(here, 1_u8).unwrap();
        sim.run_for(40 * SECOND);
        assert_eq!(sim.take_messages(there.host).len(), 1);
        assert!(sim.is_online(here.host) && sim.is_online(there.host));
        assert!(sim.is_open(here) && sim.is_open(there));
    }
}

#[test]
fn every_serialization_passes() {
    for serialization in [
        Serialization::Binary,
        Serialization::BinaryUtf8,
        Serialization::Json,
        Serialization::Raw,
        Serialization::Postcard,
    ] {
        let (mut sim, alice, bob) = pair(SimOptions::default(), Link::cellular());
        let options = ConnectOptions {
            serialization,
            ..ConnectOptions::default()
        };
        let conn = sim.connect(alice, "bob", options).unwrap();
        assert!(sim.wait(10 * SECOND, |sim| sim.is_open(conn)));
        sim.send(conn, "déjà vu").unwrap();
        sim.run_for(5 * SECOND);
        let message = &sim.take_messages(bob)[0];
        assert_eq!(message.decode::<String>().unwrap(), "déjà vu");
    }
}

/// A message that is streamed and never finished does not hold up a close that delivers what was
/// sent before.
#[test]
fn a_flush_close_amid_a_streamed_message_closes_at_once() {
    let (mut sim, here, there) = connected(SimOptions::default(), Link::lan(), true);
    sim.send(here, "before").unwrap();
    let handle = here.handle();
    sim.call(here.host, move |peer, _| {
        let mut connection = peer.connection(handle).unwrap();
        connection.stream(50_000, 1_000).unwrap();
        connection.stream_write(&[7; 3_000]).unwrap();
    });
    sim.close_flush(here);
    assert!(sim.wait(SECOND, |sim| sim.is_over(here) && sim.is_over(there)));
    let messages = sim.take_messages(there.host);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].decode::<String>().unwrap(), "before");
}

/// Whoever offers connections without end leaves room for others.
#[test]
fn one_stranger_cannot_hold_every_slot() {
    let mut sim = Sim::new(5);
    let victim = sim.add_host(HostOptions::new("victim"));
    let mallory = sim.add_host(HostOptions {
        capacity: Capacity {
            connections: 30,
            ..Capacity::default()
        },
        ..HostOptions::new("mallory")
    });
    let bob = sim.add_host(HostOptions::new("bob"));
    sim.run_for(SECOND);
    for _ in 0..30 {
        let options = ConnectOptions::default();
        sim.connect(mallory, "victim", options).unwrap();
    }
    sim.run_for(SECOND);
    let conn = sim
        .connect(bob, "victim", ConnectOptions::default())
        .unwrap();
    assert!(sim.wait(2 * SECOND, |sim| sim.is_open(conn)));
    assert!(sim.peer_stats(victim).unwrap().refused_offers > 20);
}

/// An application that refuses an offer spends nothing on it.
#[test]
fn an_offer_that_is_not_admitted_makes_no_session() {
    let mut sim = Sim::new(5);
    let alice = sim.add_host(HostOptions {
        tune: |config| config.admit = |offer| offer.peer != "mallory",
        ..HostOptions::new("alice")
    });
    let mallory = sim.add_host(HostOptions::new("mallory"));
    let bob = sim.add_host(HostOptions::new("bob"));
    sim.run_for(SECOND);
    let refused = sim
        .connect(mallory, "alice", ConnectOptions::default())
        .unwrap();
    let admitted = sim
        .connect(bob, "alice", ConnectOptions::default())
        .unwrap();
    let opens = |sim: &Sim| sim.is_open(admitted) && sim.open_connections(alice).len() == 1;
    assert!(sim.wait(2 * SECOND, opens));
    assert_eq!(sim.stats().sessions, 3);
    assert!(sim.wait(40 * SECOND, |sim| sim.is_over(refused)));
}

/// Messages of any length pass through an inbox of 2 KB where they are read in pieces, cut anywhere
/// on the way.
#[test]
fn messages_longer_than_the_inbox_are_read_in_pieces() {
    for serialization in [Serialization::Binary, Serialization::Json] {
        let mut sim = Sim::new(8);
        let sensor = sim.add_host(HostOptions {
            capacity: Capacity {
                outbox: 64 * 1024,
                ..Capacity::default()
            },
            ..HostOptions::new("sensor")
        });
        let hub = sim.add_host(HostOptions {
            streams_in: true,
            cuts: 0.9,
            reads_after: SECOND / 10,
            ..HostOptions::new("hub")
        });
        sim.run_for(SECOND);
        let options = ConnectOptions {
            reliable: true,
            serialization,
            ..ConnectOptions::default()
        };
        let conn = sim.connect(sensor, "hub", options).unwrap();
        assert!(sim.wait(SECOND, |sim| sim.is_open(conn)));
        let long = if serialization == Serialization::Json {
            16_000
        } else {
            45_000
        };
        for len in [10, long, 1, long] {
            sim.send(conn, "x".repeat(len)).unwrap();
            sim.run_for(10 * SECOND);
        }
        assert_eq!(sim.stats().messages_read, 4);
        assert_eq!(sim.stats().pieced, 2);
        assert!(sim.is_open(conn));
        assert_eq!(sim.stats().too_big, 0);
        assert!(sim.is_online(hub));
    }
}
