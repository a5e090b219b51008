//! Devices on a LAN: smoltcp carries what they say to the broker, or to a gateway.

use peer_core::connection::SendError;
use peer_core::peer::{ConnectOptions, Event};
use peer_core::time::Duration;
use peer_sim::scenario::{Hard, hard_with};
use peer_sim::topology::Site;
use peer_sim::{Access, Action, Capacity, Conn, GatewayOptions, HostId, HostOptions, Link, Sim};

const SECOND: Duration = Duration::from_secs(1);

/// A radio that is worse than most.
fn poor() -> Link {
    Link {
        loss: 0.03,
        duplicate: 0.02,
        reorder: 0.05,
        ..Link::wifi()
    }
}

fn device(id: &str, link: Link, access: Access) -> HostOptions {
    HostOptions {
        link,
        access,
        ..HostOptions::new(id)
    }
}

/// Bob, a peer as others.
fn peer(sim: &mut Sim) -> HostId {
    sim.add_host(HostOptions {
        capacity: Capacity {
            connections: 8,
            inbox: 120_000,
            ..Capacity::default()
        },
        ..HostOptions::new("bob")
    })
}

fn reliable() -> ConnectOptions<'static> {
    ConnectOptions {
        reliable: true,
        ..ConnectOptions::default()
    }
}

/// Connects and waits for both ends.
fn connect(sim: &mut Sim, from: HostId, to: HostId) -> (Conn, Conn) {
    let remote = sim.name(to).to_owned();
    let before = sim.open_connections(to);
    let here = sim.connect(from, &remote, reliable()).unwrap();
    let there = |sim: &Sim| {
        let open = sim.open_connections(to);
        open.into_iter().find(|conn| !before.contains(conn))
    };
    assert!(sim.wait(30 * SECOND, |sim| sim.is_open(here) && there(sim).is_some()));
    (here, there(sim).unwrap())
}

/// Numbers both ways, in order.
fn talk(sim: &mut Sim, here: Conn, there: Conn) {
    for number in 0..20_u32 {
        sim.send(here, number).unwrap();
        sim.send(there, 100 + number).unwrap();
    }
    sim.run_for(20 * SECOND);
    for (conn, first) in [(there, 0), (here, 100)] {
        let messages = sim.take_messages(conn.host);
        let numbers: Vec<u32> = messages.iter().map(|it| it.decode().unwrap()).collect();
        assert!(numbers.iter().copied().eq(first..first + 20), "{numbers:?}");
    }
}

#[test]
fn a_device_reaches_the_broker_over_tcp_and_finds_it_again() {
    for link in [Link::lan(), poor()] {
        let mut sim = Sim::new(3);
        let bob = peer(&mut sim);
        let sensor = sim.add_host(device("sensor", link, Access::Tcp));
        let other = sim.add_host(HostOptions {
            id: None,
            ..device("", link, Access::Tcp)
        });
        assert!(sim.wait(30 * SECOND, |sim| sim.is_online(sensor)
            && sim.is_online(other)
            && sim.is_online(bob)));
        assert!(sim.stats().lan_frames > 10);
        let (here, there) = connect(&mut sim, sensor, bob);
        talk(&mut sim, here, there);

        for orderly in [true, false] {
            sim.act(Action::StopBroker { orderly });
            sim.after(3 * SECOND, Action::StartBroker);
            sim.run_for(SECOND);
            sim.take_events(sensor);
            assert!(
                sim.wait(90 * SECOND, |sim| !sim.is_online(sensor)),
                "{orderly}"
            );
            assert!(
                sim.wait(20 * SECOND, |sim| sim.is_online(sensor)),
                "{orderly}"
            );
            // Connections do without it.
            talk(&mut sim, here, there);
        }
        assert!(sim.is_online(other));
        let (back, _) = connect(&mut sim, bob, sensor);
        assert!(sim.is_open(back));
    }
}

#[test]
fn leaves_reach_peers_through_their_gateway_and_again_after_it_restarted() {
    for (seed, link) in [(4, Link::lan()), (5, poor())] {
        let mut sim = Sim::new(seed);
        let bob = peer(&mut sim);
        let gateway = sim.add_gateway(GatewayOptions::new("gateway"));
        let leaves: Vec<HostId> = (0..12)
            .map(|number| {
                let id = format!("leaf-{number}");
                sim.add_host(device(&id, link, Access::Leaf(gateway)))
            })
            .collect();
        assert!(sim.wait(60 * SECOND, |sim| {
            leaves.iter().all(|leaf| sim.is_online(*leaf))
        }));
        let (here, there) = connect(&mut sim, leaves[0], bob);
        talk(&mut sim, here, there);
        // A leaf is called, and two leaves of one gateway meet.
        let (called, calls) = connect(&mut sim, bob, leaves[1]);
        talk(&mut sim, called, calls);
        let (one, other) = connect(&mut sim, leaves[2], leaves[3]);
        talk(&mut sim, one, other);
        // A message as long as 40 outboxes.
        sim.stream(here, 80_000, 700).unwrap();
        assert!(
            sim.is_streaming(here),
            "the link is slower than the application"
        );
        assert_eq!(sim.send(here, 1), Err(SendError::Streaming));
        assert!(sim.wait(120 * SECOND, |sim| !sim.is_streaming(here)));
        sim.run_for(20 * SECOND);
        let streamed = sim.take_messages(bob);
        assert_eq!(streamed[0].bytes.len(), 80_005);

        sim.restart_host(gateway, 5 * SECOND);
        assert!(sim.wait(30 * SECOND, |sim| sim.is_over(here) && sim.is_over(other)));
        let events = sim.take_events(leaves[0]);
        let ended = events.iter().map(|it| it.event).collect::<Vec<_>>();
        assert!(ended.contains(&Event::Disconnected), "{ended:?}");
        assert!(sim.wait(60 * SECOND, |sim| {
            leaves.iter().all(|leaf| sim.is_online(*leaf))
        }));
        assert!(sim.wait(30 * SECOND, |sim| sim.is_over(there)));
        let (here, there) = connect(&mut sim, leaves[0], bob);
        talk(&mut sim, here, there);
        sim.close_flush(here);
        assert!(sim.wait(20 * SECOND, |sim| sim.is_over(here) && sim.is_over(there)));
    }
}

#[test]
fn one_seed_is_one_trace_with_every_frame() {
    let run = |seed| {
        let sim = hard_with(seed, Hard::leaves());
        (sim.trace_hash(), sim.stats(), sim.trace())
    };
    let (first, again, other) = (run(1), run(1), run(2));
    assert!(first.1.lan_frames > 1_000, "{:?}", first.1);
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
}

/// What the gateway or the leaf does not take waits where it is, and comes.
#[test]
fn whoever_stands_still_holds_up_its_leaves_only() {
    let mut sim = Sim::new(6);
    let bob = peer(&mut sim);
    let site = Site::new("plant")
        .leaves(2, &HostOptions::default())
        .build(&mut sim);
    let (gateway, leaf) = (site.gateway.unwrap(), site.leaves[0]);
    sim.run_for(5 * SECOND);
    let (here, there) = connect(&mut sim, leaf, bob);
    let (other, _) = connect(&mut sim, site.leaves[1], bob);
    for who in [gateway, leaf] {
        sim.act(Action::Pause(who));
        for number in 0..20_u32 {
            sim.send(there, number).unwrap();
        }
        sim.run_for(5 * SECOND);
        assert!(sim.take_messages(leaf).is_empty());
        let kept = sim.send(other, "here").is_ok();
        sim.run_for(SECOND);
        assert_eq!(
            sim.take_messages(bob).len(),
            usize::from(kept && who == leaf)
        );
        sim.act(Action::Resume(who));
        sim.run_for(3 * SECOND);
        assert_eq!(sim.take_messages(leaf).len(), 20);
        sim.take_messages(bob);
    }
    assert!(sim.is_open(here) && sim.is_open(other));
}

#[test]
fn a_leaf_that_starts_again_leaves_nothing_behind() {
    let mut sim = Sim::new(7);
    let bob = peer(&mut sim);
    let site = Site::new("plant")
        .leaves(2, &HostOptions::default())
        .build(&mut sim);
    let leaf = site.leaves[0];
    sim.run_for(5 * SECOND);
    let (_, there) = connect(&mut sim, leaf, bob);
    sim.restart_host(leaf, SECOND / 2);
    // Its gateway notices when it is back, if not before.
    assert!(sim.wait(5 * SECOND, |sim| sim.is_over(there)));
    assert!(sim.wait(5 * SECOND, |sim| sim.is_online(leaf)));
    let (here, there) = connect(&mut sim, leaf, bob);
    talk(&mut sim, here, there);
    // Gone for good, it is missed after the link's silence.
    sim.act(Action::Crash(leaf));
    assert!(sim.wait(10 * SECOND, |sim| sim.is_over(there)));
}

/// A NAT that forgets ends the socket to the broker, over smoltcp's TCP too.
#[test]
fn a_device_behind_a_nat_that_forgets_comes_back() {
    let mut sim = Sim::new(8);
    let site = Site::new("home")
        .nat()
        .devices(1, &HostOptions::default())
        .build(&mut sim);
    let device = site.hosts[0];
    sim.run_for(5 * SECOND);
    assert!(sim.is_online(device));
    sim.act(Action::RebindSite(site.site));
    assert!(
        sim.wait(10 * SECOND, |sim| !sim.is_online(device)),
        "its heartbeat is reset"
    );
    assert!(sim.wait(10 * SECOND, |sim| sim.is_online(device)));
    sim.run_for(120 * SECOND);
    assert!(
        sim.is_online(device),
        "the old session ends, this one stays"
    );
    assert_eq!(sim.realm().stats().clients, 1);
}

/// Bob, who reads late, pumps 600 KB into an echo that reads only when it can write: more than all
/// that lies between them holds.
fn echoes(access: impl FnOnce(&mut Sim) -> Access) {
    let mut sim = Sim::new(9);
    let access = access(&mut sim);
    let echo = sim.add_host(HostOptions {
        echoes: true,
        ..device("echo", Link::lan(), access)
    });
    let bob = sim.add_host(HostOptions {
        capacity: Capacity {
            inbox: 8_192,
            ..Capacity::default()
        },
        reads_after: SECOND / 4,
        keeps_messages: false,
        ..HostOptions::new("bob")
    });
    assert!(sim.wait(30 * SECOND, |sim| sim.is_online(echo) && sim.is_online(bob)));
    let (here, _) = connect(&mut sim, bob, echo);
    sim.fill_up(here, 400, 1_500);
    assert!(sim.wait(300 * SECOND, |sim| sim.stats().messages_read == 800));
    assert_eq!(sim.filling(here), 0);
}

#[test]
fn an_echo_at_a_host_never_stops() {
    echoes(|_| Access::Modelled);
}

#[test]
fn an_echo_at_a_device_never_stops() {
    echoes(|_| Access::Tcp);
}

#[test]
fn an_echo_at_a_leaf_never_stops() {
    echoes(|sim| Access::Leaf(sim.add_gateway(GatewayOptions::new("gateway"))));
}
