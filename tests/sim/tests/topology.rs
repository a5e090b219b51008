//! Sites, their uplinks and NATs, and stars.

use peer_core::peer::ConnectOptions;
use peer_core::time::Duration;
use peer_sim::topology::{Site, Star};
use peer_sim::{Action, HostId, HostOptions, Link, Sim};

const SECOND: Duration = Duration::from_secs(1);

fn reaches(sim: &mut Sim, from: HostId, to: HostId) -> bool {
    let remote = sim.name(to).to_owned();
    let conn = sim.connect(from, &remote, ConnectOptions::default());
    let conn = conn.expect("a host that is online has room");
    let reached = sim.wait(31 * SECOND, |sim| sim.is_open(conn));
    sim.close(conn);
    sim.run_for(SECOND);
    reached
}

#[test]
fn sites_meet_through_their_nats() {
    let mut sim = Sim::new(1);
    let options = HostOptions::default();
    let open = Site::new("office").hosts(2, &options).build(&mut sim);
    let home = Site::new("home").nat().hosts(2, &options).build(&mut sim);
    let cabin = Site::new("cabin").nat().uplink(Link::cellular());
    let cabin = cabin.hosts(1, &options).build(&mut sim);
    let roamer = sim.add_host(HostOptions::new("roamer"));
    sim.run_for(5 * SECOND);
    let all = [
        open.hosts[0],
        home.hosts[0],
        home.hosts[1],
        cabin.hosts[0],
        roamer,
    ];
    for from in all {
        for to in all.into_iter().filter(|to| *to != from) {
            assert!(
                reaches(&mut sim, from, to),
                "{} {}",
                sim.name(from),
                sim.name(to)
            );
        }
    }
}

#[test]
fn a_site_that_is_cut_off_keeps_what_is_inside() {
    let mut sim = Sim::new(2);
    let options = HostOptions::default();
    let home = Site::new("home").hosts(2, &options).build(&mut sim);
    let away = sim.add_host(HostOptions::new("away"));
    sim.run_for(5 * SECOND);
    let inside = sim
        .connect(home.hosts[0], "home-1", ConnectOptions::default())
        .unwrap();
    let outside = sim
        .connect(home.hosts[0], "away", ConnectOptions::default())
        .unwrap();
    assert!(sim.wait(5 * SECOND, |sim| sim.is_open(inside)
        && sim.is_open(outside)));
    sim.act(Action::CutSite(home.site));
    sim.run_for(60 * SECOND);
    assert!(sim.is_open(inside) && sim.is_over(outside));
    assert!(!sim.is_online(home.hosts[0]) && sim.is_online(away));
    sim.act(Action::Heal);
    sim.run_for(40 * SECOND);
    assert!(sim.is_online(home.hosts[0]));
}

#[test]
fn an_uplink_is_shared_and_what_stays_inside_does_not_use_it() {
    let mut sim = Sim::new(3);
    // 80 kbit/s for all of them.
    let slow = Link {
        rate: Some(10_000),
        ..Link::cable_modem()
    };
    let mut options = HostOptions::default();
    options.capacity.outbox = 32 * 1024;
    options.capacity.inbox = 32 * 1024;
    let site = Site::new("home")
        .uplink(slow)
        .hosts(4, &options)
        .build(&mut sim);
    let away = sim.add_host(HostOptions {
        capacity: options.capacity,
        ..HostOptions::new("away")
    });
    sim.run_for(5 * SECOND);
    let reliable = ConnectOptions {
        reliable: true,
        ..ConnectOptions::default()
    };
    let inside = sim.connect(site.hosts[0], "home-1", reliable).unwrap();
    let outside: Vec<_> = site.hosts[2..]
        .iter()
        .map(|host| sim.connect(*host, "away", reliable).unwrap())
        .collect();
    sim.run_for(10 * SECOND);
    let before = sim.now();
    for conn in outside.iter().chain([&inside]) {
        sim.send(*conn, "x".repeat(15_000)).unwrap();
    }
    sim.run_for(60 * SECOND);
    let took = |at: peer_core::time::Instant| at.saturating_duration_since(before);
    assert!(took(sim.take_messages(site.hosts[1])[0].at) < SECOND / 10);
    // The second one waited for the first.
    let arrived: Vec<_> = sim
        .take_messages(away)
        .iter()
        .map(|it| took(it.at))
        .collect();
    assert!(arrived.len() == 2 && arrived[1] > 3 * SECOND, "{arrived:?}");
}

#[test]
fn a_star_of_leaves_reports_to_a_hub() {
    let mut sim = Sim::new(4);
    let plant = Site::new("plant")
        .leaves(20, &HostOptions::default())
        .build(&mut sim);
    let star = Star::build(&mut sim, "hub", "sensor", 20, &HostOptions::default());
    let all = Star {
        hub: star.hub,
        spokes: plant.leaves.iter().chain(&star.spokes).copied().collect(),
    };
    assert!(sim.wait(30 * SECOND, |sim| all.is_online(sim)));
    let conns = all.connect(&mut sim);
    assert!(sim.wait(30 * SECOND, |sim| {
        conns.iter().all(|conn| sim.is_open(*conn))
    }));
    for conn in conns {
        sim.send(conn, 21.5).unwrap();
    }
    sim.run_for(5 * SECOND);
    assert_eq!(sim.take_messages(star.hub).len(), 40);
}
