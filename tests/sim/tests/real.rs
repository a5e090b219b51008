//! Real sessions over the modelled network.

use peer_core::peer::ConnectOptions;
use peer_core::time::Duration;
use peer_sim::{Action, Conn, Dependence, HostId, HostOptions, Link, Nat, Sessions, Sim};

const SECOND: Duration = Duration::from_secs(1);

fn host(id: &str, nat: Option<Nat>) -> HostOptions {
    HostOptions {
        link: Link::wifi(),
        nat,
        sessions: Sessions::Real,
        ..HostOptions::new(id)
    }
}

/// Two hosts that are online, and the connection that one has asked for.
fn connect(seed: u64, nats: [Option<Nat>; 2]) -> (Sim, [HostId; 2], Conn) {
    let mut sim = Sim::new(seed);
    let [here, there] = nats;
    let hosts = [host("alice", here), host("bob", there)].map(|host| sim.add_host(host));
    sim.run_for(SECOND);
    let options = ConnectOptions {
        reliable: true,
        ..ConnectOptions::default()
    };
    let conn = sim.connect(hosts[0], "bob", options).unwrap();
    (sim, hosts, conn)
}

fn open(seed: u64, nats: [Option<Nat>; 2]) -> (Sim, [HostId; 2], [Conn; 2]) {
    let (mut sim, hosts, conn) = connect(seed, nats);
    assert!(sim.wait(SECOND * 10, |sim| sim.is_open(conn)));
    assert!(sim.wait(SECOND, |sim| !sim.open_connections(hosts[1]).is_empty()));
    let back = sim.open_connections(hosts[1])[0];
    (sim, hosts, [conn, back])
}

fn nats() -> Vec<Option<Nat>> {
    let all = Dependence::ALL.iter().flat_map(|mapping| {
        Dependence::ALL.map(|filtering| {
            Some(Nat {
                mapping: *mapping,
                filtering,
            })
        })
    });
    all.chain([None]).collect()
}

#[test]
fn what_is_sent_arrives_both_ways() {
    for seed in 0..10 {
        let (mut sim, hosts, conns) = open(seed, [None, None]);
        for number in 0..50_u32 {
            for conn in conns {
                sim.send(conn, (number, "x".repeat(number as usize)))
                    .unwrap();
            }
            sim.run_for(Duration::from_millis(20));
        }
        sim.run_for(SECOND * 5);
        for host in hosts {
            let messages = sim.take_messages(host);
            let numbers = messages
                .iter()
                .map(|it| it.decode::<(u32, String)>().unwrap().0);
            assert!(numbers.eq(0..50), "seed {seed}");
        }
    }
}

/// RFC 4787's kinds against each other, without a relay.
#[test]
fn every_pair_of_nats_meets_that_can() {
    for (row, here) in nats().into_iter().enumerate() {
        for (column, there) in nats().into_iter().enumerate() {
            let seed = (row * 10 + column) as u64;
            let (mut sim, _, conn) = connect(seed, [here, there]);
            let opened = sim.wait(SECOND * 15, |sim| sim.is_open(conn));
            assert_eq!(opened, Nat::can_meet(here, there), "{here:?} and {there:?}");
        }
    }
}

/// Who moves, and whether they stand behind NATs that filter.
#[test]
fn a_session_follows_whoever_moves_and_loses_nothing() {
    let behind = Some(Nat {
        mapping: Dependence::Independent,
        filtering: Dependence::AddressAndPort,
    });
    for (seed, nats) in [
        [None, None],
        [behind, None],
        [None, behind],
        [behind, behind],
    ]
    .into_iter()
    .enumerate()
    {
        for movers in [&[0][..], &[1], &[0, 1]] {
            let (mut sim, hosts, conns) = open(seed as u64, nats);
            for step in 0..6_u32 {
                for mover in movers {
                    sim.act(Action::Rebind(hosts[*mover]));
                }
                for conn in conns {
                    sim.send(conn, step).unwrap();
                }
                sim.run_for(SECOND * 10);
                for host in hosts {
                    let read: Vec<u32> = sim
                        .take_messages(host)
                        .iter()
                        .map(|it| it.decode().unwrap())
                        .collect();
                    assert_eq!(read, [step], "{nats:?}, {movers:?} moved");
                }
            }
        }
    }
}

#[test]
fn an_outage_loses_nothing() {
    let (mut sim, hosts, conns) = open(3, [None, None]);
    sim.act(Action::Partition(vec![hosts[0]]));
    sim.after(SECOND * 40, Action::Heal);
    for number in 0..20_u32 {
        for conn in conns {
            sim.send(conn, number).unwrap();
        }
        sim.run_for(SECOND * 3);
    }
    sim.run_for(SECOND * 10);
    for host in hosts {
        let messages = sim.take_messages(host);
        let numbers = messages.iter().map(|it| it.decode::<u32>().unwrap());
        assert!(numbers.eq(0..20));
    }
}
