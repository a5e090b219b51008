//! Scenarios that tests, examples and soaks share.

use peer_core::peer::{ConnectOptions, PeerState};
use peer_core::serialization::Serialization;
use peer_core::time::Duration;
use serde::Serialize;

use crate::{
    Access, Action, Capacity, Conn, Dependence, GatewayOptions, HostId, HostOptions, HostState,
    Identity, Link, Nat, Rng, Sessions, Sim, SimOptions, SiteOptions,
};

/// How hard [`hard_with`] is.
#[derive(Clone, Copy, Debug)]
pub struct Hard {
    /// Hosts.
    pub hosts: usize,
    /// Gateways, each at a site of its own.
    pub gateways: usize,
    /// Leaves of those gateways.
    pub leaves: usize,
    /// Hosts that reach the broker over smoltcp.
    pub devices: usize,
    /// What carries the connections of hosts; where it is real, half of them stand behind NATs.
    pub sessions: Sessions,
    /// Things that are done to them, one every 40 ms on average.
    pub actions: usize,
    /// How long the healed world may take to be well again.
    pub settles_within: Duration,
}

impl Default for Hard {
    /// 30 hosts, 1,000 actions, 100 s; neither gateways nor devices.
    fn default() -> Self {
        Self {
            hosts: 30,
            gateways: 0,
            leaves: 0,
            devices: 0,
            sessions: Sessions::Modelled,
            actions: 1_000,
            settles_within: Duration::from_secs(100),
        }
    }
}

impl Hard {
    /// 6 hosts, 2 gateways with 6 leaves, 4 devices, 300 actions.
    pub fn leaves() -> Self {
        Self {
            hosts: 6,
            gateways: 2,
            leaves: 6,
            devices: 4,
            actions: 300,
            ..Self::default()
        }
    }

    /// 10 hosts with real sessions, 300 actions.
    pub fn real() -> Self {
        Self {
            hosts: 10,
            sessions: Sessions::Real,
            actions: 300,
            ..Self::default()
        }
    }
}

/// The hard scenario: hosts on links from perfect to bad connect, send and close at random while
/// hosts crash, stand still and come back, clocks jump, NATs forget, the network falls apart and
/// the broker restarts. Then all heals, and must be well: every peer that was not destroyed is
/// online, and any two can connect and talk.
///
/// # Panics
/// An invariant was violated, or the healed world is not well.
pub fn hard(seed: u64) -> Sim {
    hard_with(seed, Hard::default())
}

/// [`hard`] with a size of your own.
///
/// # Panics
/// As [`hard`].
pub fn hard_with(seed: u64, hard: Hard) -> Sim {
    let mut options = SimOptions::default();
    if seed.is_multiple_of(5) {
        // A broker that refuses what waits for the absent.
        options.realm.limits.queue_messages = 3;
        options.realm.limits.source_destinations = 2;
    }
    options.follows_rebinding = seed.is_multiple_of(2);
    if seed.is_multiple_of(4) {
        options.stack_fails = 0.05;
    }
    let mut sim = Sim::with_options(seed, options);
    let mut replay = "cargo run -p peer-sim --example soak -- --from {seed} --seeds 1".to_owned();
    if hard.leaves + hard.devices > 0 {
        replay.push_str(" --leaves");
    }
    if hard.sessions == Sessions::Real {
        replay.push_str(" --real");
    }
    sim.set_replay(&replay);
    for number in 0..hard.hosts {
        let mut options = any_host(sim.rng(), number);
        options.sessions = hard.sessions;
        if hard.sessions == Sessions::Real {
            options.nat = any_nat(sim.rng());
        }
        sim.add_host(options);
    }
    let gateways: Vec<HostId> = (0..hard.gateways)
        .map(|number| {
            let uplink = any_link(sim.rng());
            let nat = sim.rng().chance(0.5);
            let site = sim.add_site(SiteOptions { uplink, nat });
            let link = any_link(sim.rng());
            sim.add_gateway(GatewayOptions {
                link,
                site: Some(site),
                ..GatewayOptions::new(&format!("gateway-{number}"))
            })
        })
        .collect();
    for number in 0..hard.leaves + hard.devices {
        let mut options = any_host(sim.rng(), hard.hosts + number);
        match gateways.get(number % gateways.len().max(1)) {
            Some(gateway) if number < hard.leaves => {
                options.access = Access::Leaf(*gateway);
                // A gateway forgets whom the broker has named how, and then does not let the leaf
                // be that.
                options.id = Some(format!("leaf-{number}"));
                options.site = sim.site(*gateway);
            }
            _ => options.access = Access::Tcp,
        }
        sim.add_host(options);
    }
    sim.run_for(Duration::from_secs(2));
    for _ in 0..hard.actions {
        let wait = sim.rng().up_to(Duration::from_millis(80));
        sim.run_for(wait);
        any_action(&mut sim);
        if seed.is_multiple_of(3) && sim.rng().chance(0.1) {
            let action = if sim.rng().chance(0.5) {
                Action::RepeatSignal
            } else {
                Action::CorruptSignal
            };
            sim.act(action);
        }
    }
    heal(&mut sim);
    sim.run_for(hard.settles_within);
    assert_well(&mut sim);
    sim
}

fn any_link(rng: &mut Rng) -> Link {
    match rng.below(6) {
        0 => Link::perfect(),
        1 | 2 => Link::lan(),
        3 => Link::wifi(),
        4 => Link::cellular(),
        _ => Link::bad(),
    }
}

fn any_nat(rng: &mut Rng) -> Option<Nat> {
    let [mapping, filtering] = [(); 2].map(|()| Dependence::ALL[rng.index(3)]);
    rng.chance(0.5).then_some(Nat { mapping, filtering })
}

fn any_host(rng: &mut Rng, number: usize) -> HostOptions {
    let mut options = HostOptions::new(&format!("peer-{number}"));
    if rng.chance(0.1) {
        options.id = None;
    }
    options.link = any_link(rng);
    options.keeps_messages = false;
    if rng.chance(0.3) {
        options.reads_after = Duration::from_millis(500);
    }
    if rng.chance(0.3) {
        options.lazy = 0.6;
    }
    if rng.chance(0.3) {
        // Room for chunked messages.
        options.capacity = Capacity {
            connections: 6,
            control: 8_192,
            outbox: 48 * 1024,
            inbox: 96 * 1024,
            metadata: 64,
        };
    } else if rng.chance(0.2) {
        options.capacity.connections = 1;
    }
    options.echoes = rng.chance(0.4);
    options.streams_in = !options.echoes && rng.chance(0.2);
    if rng.chance(0.3) {
        options.cuts = 0.5;
    }
    if rng.chance(0.3) {
        options.tight = 0.5;
    }
    options.credit = rng.chance(0.2);
    // The others leave it to the engine to wait for a clock that was set back.
    options.monotonic = rng.chance(0.8);
    options.tune = match rng.below(6) {
        0 => |config| config.connect_timeout = Duration::from_millis(1_500),
        1 => |config| config.flush_timeout = Duration::ZERO,
        2 => |config| config.ping_interval = Duration::from_secs(1),
        3 => |config| config.open_timeout = Duration::from_millis(700),
        4 => |config| config.admit = |offer| offer.metadata.is_none(),
        _ => |_| {},
    };
    if rng.chance(0.3) {
        // Signals hardly fit.
        options.capacity.control = 1_900 + rng.index(1_000);
    }
    options
}

fn any_peer(sim: &mut Sim) -> HostId {
    let count = sim.hosts().count();
    HostId(sim.rng().index(count))
}

fn any_connection(sim: &mut Sim) -> Option<Conn> {
    let host = any_peer(sim);
    let open = sim.open_connections(host);
    let index = sim.rng().index(open.len());
    open.get(index).copied()
}

fn any_action(sim: &mut Sim) {
    let host = any_peer(sim);
    let soon = sim.rng().up_to(Duration::from_secs(15));
    match sim.rng().below(1_000) {
        0..400 => connect_any(sim, host),
        400..800 => {
            // One host in a burst now and then fills its outbox.
            let burst = if sim.rng().chance(0.1) { 30 } else { 3 };
            if let Some(conn) = any_connection(sim) {
                for _ in 0..burst {
                    send_any(sim, conn);
                }
                if sim.rng().chance(0.05) {
                    sim.abort_stream(conn);
                }
                if sim.rng().chance(0.05) {
                    // Up to more than all that lies between two hosts holds, echoed or not.
                    let (count, len) = (sim.rng().index(600), 100 + sim.rng().index(1_700));
                    sim.fill_up(conn, count, len);
                }
            }
        }
        800..840 => {
            if let Some(conn) = any_connection(sim) {
                if sim.rng().chance(0.5) {
                    sim.close(conn);
                } else {
                    sim.close_flush(conn);
                }
            }
        }
        840..870 => {
            let identity = if sim.rng().chance(0.8) {
                Identity::Same
            } else {
                Identity::NewToken
            };
            sim.act(Action::Crash(host));
            sim.after(soon, Action::Start(host, identity));
        }
        870..900 => {
            sim.act(Action::Pause(host));
            sim.after(soon, Action::Resume(host));
        }
        900..920 => {
            let seconds = if !sim.hosts[host.0].options.monotonic {
                // Backwards a little only: until it has caught up no deadline comes nearer.
                sim.rng().below(100) as i32 - 10
            } else if sim.rng().chance(0.5) {
                sim.rng().below(100) as i32
            } else {
                -(sim.rng().below(86_400) as i32)
            };
            sim.act(Action::Jump(host, seconds));
        }
        920..935 => match sim.site(host) {
            Some(site) if sim.rng().chance(0.5) => sim.act(Action::RebindSite(site)),
            Some(site) if sim.rng().chance(0.5) => {
                sim.act(Action::CutSite(site));
                sim.after(soon, Action::Heal);
            }
            _ => sim.act(Action::Rebind(host)),
        },
        935..950 => {
            let link = any_link(sim.rng());
            sim.act(Action::Link(host, link));
        }
        950..960 => {
            let part: Vec<HostId> = sim.hosts().collect();
            let part = part.into_iter().filter(|_| sim.rng().chance(0.3)).collect();
            sim.act(Action::Partition(part));
            sim.after(soon, Action::Heal);
        }
        960..970 => {
            let other = any_peer(sim);
            sim.act(Action::Cut(host, other));
            sim.after(2 * soon, Action::Heal);
        }
        970..978 => {
            let orderly = sim.rng().chance(0.7);
            sim.act(Action::StopBroker { orderly });
            sim.after(soon / 2, Action::StartBroker);
        }
        978..982 => sim.act(Action::JumpBroker(soon)),
        982..992 => sim.act(Action::Disconnect(host)),
        992..995 => {
            sim.act(Action::Destroy(host));
            // A new life for it.
            sim.after(soon, Action::Crash(host));
            sim.after(soon, Action::Start(host, Identity::Same));
        }
        _ => {
            if let Some(conn) = any_connection(sim) {
                sim.close_flush(conn);
                send_any(sim, conn);
            }
        }
    }
}

fn connect_any(sim: &mut Sim, host: HostId) {
    let remote = if sim.rng().chance(0.05) {
        "nobody".to_owned()
    } else {
        let remote = any_peer(sim);
        sim.name(remote).to_owned()
    };
    let serialization = match sim.rng().below(4) {
        0 => Serialization::Json,
        1 => Serialization::Postcard,
        _ => Serialization::Binary,
    };
    let options = ConnectOptions {
        label: sim.rng().chance(0.3).then_some("label"),
        metadata: match sim.rng().below(6) {
            0 => Some(r#"{"from":"hard"}"#),
            1 => Some(
                r#"["a","text","that","some","hosts","have","no","room","for","é\u0000\"","x"]"#,
            ),
            _ => None,
        },
        reliable: sim.rng().chance(0.5),
        serialization,
    };
    // Refused: full, disconnected, itself. Whatever is accepted is followed by the invariants.
    let _ = sim.connect(host, &remote, options);
}

#[derive(Serialize)]
struct Reading {
    number: u64,
    text: String,
}

fn send_any(sim: &mut Sim, conn: Conn) {
    if sim.rng().chance(0.08) {
        let len = match sim.rng().below(4) {
            0 => sim.rng().index(90_000),
            1 => sim.rng().index(100),
            _ => sim.rng().index(1_900),
        };
        let chunk = [1, 90, 400, 1_000, 16_300][sim.rng().index(5)];
        // Chunks of one byte cost a hundred each.
        let len = if chunk == 1 { len % 500 } else { len };
        // Refused on what is not BinaryPack, and where another is not through.
        let _ = sim.stream(conn, len, chunk);
        return;
    }
    let number = sim.rng().next() >> 12;
    let len = match sim.rng().below(20) {
        0 => 20_000 + sim.rng().index(25_000),
        1..4 => sim.rng().index(1_500),
        _ => sim.rng().index(60),
    };
    let text = "x".repeat(len);
    // Refused where the outbox is full or too small. Whatever is accepted is followed by the
    // invariants.
    let _ = sim.send(conn, Reading { number, text });
}

fn heal(sim: &mut Sim) {
    sim.options.stack_fails = 0.0;
    sim.act(Action::Heal);
    sim.act(Action::StartBroker);
    for host in sim.hosts() {
        sim.act(Action::Resume(host));
        sim.act(Action::Start(host, Identity::Same));
        sim.act(Action::Link(host, Link::lan()));
        if let Some(site) = sim.site(host) {
            sim.act(Action::Uplink(site, Link::lan()));
        }
    }
}

/// Every peer that was not destroyed is online, and any two neighbours can connect and talk.
fn assert_well(sim: &mut Sim) {
    let mut online = Vec::new();
    for host in sim.hosts() {
        assert_eq!(sim.state(host), HostState::Up);
        if sim.hosts[host.0].is_gateway {
            continue;
        }
        match sim.peer_state(host) {
            Some(PeerState::Open) => online.push(host),
            Some(PeerState::Destroyed) => {}
            state => panic!("{} is still {state:?}", sim.name(host)),
        }
    }
    for pair in online.chunks_exact(2) {
        // Room at both ends first.
        for host in pair {
            for conn in sim.open_connections(*host) {
                sim.close(conn);
            }
        }
        sim.run_for(Duration::from_secs(1));
        let id = sim
            .call(pair[1], |peer, _| peer.id().map(ToString::to_string))
            .flatten()
            .expect("who is open has an id");
        let conn = sim
            .connect(pair[0], &id, ConnectOptions::default())
            .unwrap_or_else(|error| panic!("{} cannot connect: {error}", sim.name(pair[0])));
        let opened = sim.wait(Duration::from_secs(10), |sim| sim.is_open(conn));
        let [one, other] = [pair[0], pair[1]].map(|host| sim.hosts[host.0].options.nat);
        let can = Nat::can_meet(one, other);
        assert_eq!(opened, can, "{} connects to {id}", sim.name(pair[0]));
        if !opened {
            continue;
        }
        let read = sim.stats().messages_read;
        sim.send(conn, "well")
            .expect("an open connection takes a message");
        let arrived = sim.wait(Duration::from_secs(10), |sim| {
            sim.stats().messages_read > read
        });
        assert!(arrived, "{id} hears nothing");
    }
}

/// What came of [`crowd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// Connections that were started.
    pub connects: usize,
    /// Of those, how many opened.
    pub opened: usize,
    /// Of those, how many failed.
    pub failed: usize,
}

/// Many peers: each of `peers` starts `connects / peers` connections to random others within a
/// minute, greets on each that opens, and keeps it. Half-way the broker restarts and is away for 5
/// s.
///
/// # Panics
/// An invariant was violated.
pub fn crowd(seed: u64, peers: usize, connects: usize) -> (Sim, Crowd) {
    let mut sim = Sim::new(seed);
    sim.keep_trace(1_000);
    let each = connects.div_ceil(peers);
    let options = HostOptions {
        capacity: Capacity {
            // As many as it starts come in on average.
            connections: 2 * each + 16,
            control: 4_096,
            outbox: 256,
            inbox: 256,
            metadata: 0,
        },
        keeps_messages: false,
        ..HostOptions::new("")
    };
    let hosts = sim.add_hosts("peer", peers, &options);
    sim.run_for(Duration::from_secs(5));

    let gap = Duration::from_secs(60) / u32::try_from(connects.max(1)).unwrap_or(u32::MAX);
    let mut conns = Vec::new();
    for number in 0..connects {
        if number == connects / 2 {
            sim.restart_broker(Duration::from_secs(5));
        }
        sim.run_for(gap);
        // Whoever's turn it is may have to wait for its broker.
        let from = number % peers;
        let to = (from + 1 + sim.rng().index(peers - 1)) % peers;
        let mut from = from;
        while !sim.is_online(hosts[from]) || from == to {
            from = (from + 1) % peers;
            if from == number % peers {
                sim.run_for(Duration::from_millis(100));
            }
        }
        let remote = sim.name(hosts[to]).to_owned();
        let options = ConnectOptions {
            reliable: number.is_multiple_of(2),
            ..ConnectOptions::default()
        };
        let conn = sim
            .connect(hosts[from], &remote, options)
            .expect("a peer that is online has room for one more");
        conns.push(conn);
    }
    let mut crowd = Crowd {
        connects,
        opened: 0,
        failed: 0,
    };
    // As long as a connect may take.
    sim.run_for(Duration::from_secs(31));
    for conn in conns {
        if sim.is_open(conn) {
            crowd.opened += 1;
            sim.send(conn, "hello")
                .expect("an open connection takes a greeting");
        } else {
            crowd.failed += 1;
        }
    }
    sim.run_for(Duration::from_secs(5));
    (sim, crowd)
}

/// Peers that only stay at their broker.
pub fn idle(seed: u64, peers: usize, time: Duration) -> Sim {
    let mut options = SimOptions::default();
    options.realm.concurrent_limit = peers;
    let mut sim = Sim::with_options(seed, options);
    sim.keep_trace(1_000);
    sim.add_hosts("peer", peers, &HostOptions::new(""));
    sim.run_for(time);
    sim
}
