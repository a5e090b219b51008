//! Relayed paths.

use peer_core::rtc::ice::turn::{HEADROOM, Login, TAILROOM, TurnError, message_len};
use peer_core::rtc::ice::{CandidateKind, Config, Event, Outcome, Role, Server, SocketId, Via};
use peer_core::rtc::stun::Method;
use peer_core::time::Duration;

use crate::nat::{Dependence, Nat};
use crate::net::{End, Net, addr};
use crate::turn_server::{PASSWORD, TurnServer, USER};

const SECOND: Duration = Duration::from_secs(1);
const A: &str = "198.51.100.20:3478";
const B: &str = "198.51.100.21:3478";
const LOGIN: Login<'_> = Login {
    username: USER,
    password: PASSWORD,
};

fn servers(all: &[&str]) -> &'static [Server<'static>] {
    let all = all.iter().map(|it| Server::turn(addr(it), LOGIN, Via::Udp));
    Vec::leak(all.collect())
}

/// Two ends behind NATs that give each packet another port: only a relay helps.
fn apart(seed: u64, all: &[&str]) -> Net {
    let configs = [Role::Controlling, Role::Controlled].map(Config::new);
    let mut net = Net::with(seed, configs, servers(all));
    let strict = Dependence::AddressAndPort;
    net.network.nats = [
        Some(Nat::new([192, 0, 2, 1].into(), strict, strict)),
        Some(Nat::new([203, 0, 113, 1].into(), strict, strict)),
    ];
    net.turn_servers = vec![TurnServer::new(A)];
    net
}

fn start(net: &mut Net) {
    net.addresses(0, &["10.0.0.2:5000"]);
    net.addresses(1, &["10.0.1.2:6000"]);
    net.describe();
}

fn is_relayed(net: &Net) -> bool {
    net.ends
        .iter()
        .any(|end| end.agent.path().is_some_and(|path| path.relayed))
}

#[test]
fn ends_that_cannot_meet_use_a_relay() {
    for seed in 0..10 {
        let mut net = apart(seed, &[A]);
        net.path.loss = seed as f64 / 50.0;
        start(&mut net);
        net.connect(SECOND * 30);
        assert!(is_relayed(&net));
        net.talk(SECOND * 10);
        let server = &net.turn_servers[0];
        assert!(server.count(Method::CREATE_PERMISSION) > 0);
        net.run(SECOND * 5);
        let (channels, indications) = {
            let server = &net.turn_servers[0];
            (server.channel_data, server.indications)
        };
        net.run(SECOND * 5);
        let server = &net.turn_servers[0];
        // Data goes through a channel once there is one: 50 messages, but for those that are lost.
        // Checks of other pairs do not, and there are some where the path looked dead.
        assert!(server.channel_data > channels + 25, "seed {seed}");
        assert!(server.indications <= indications + 40, "seed {seed}");
    }
}

#[test]
fn an_allocation_its_permissions_and_channels_live_for_hours() {
    let mut net = apart(1, &[A]);
    net.turn_servers[0].nonce_lives = 7;
    start(&mut net);
    net.connect(SECOND * 10);
    net.talk(SECOND);
    for _ in 0..12 {
        net.run(SECOND * 600);
        net.talk(SECOND);
    }
    for end in &net.ends {
        assert!(end.is_connected());
        assert_eq!(end.count(Event::Disconnected), 0);
    }
    assert!(net.turn_servers[0].count(Method::REFRESH) > 10);
    assert!(net.turn_servers[0].count(Method::CHANNEL_BIND) > 10);
}

#[test]
fn what_is_allocated_is_given_back() {
    let mut net = apart(2, &[A]);
    start(&mut net);
    net.connect(SECOND * 10);
    assert_eq!(net.turn_servers[0].allocations(), 2);
    for end in &mut net.ends {
        end.agent.close();
    }
    net.run(SECOND);
    assert_eq!(net.turn_servers[0].released, 2);
    assert_eq!(net.turn_servers[0].allocations(), 0);
    assert!(net.ends.iter().all(|end| end.agent.timeout().is_none()));
}

/// One request may be lost, and a server may want another nonce first.
#[test]
fn what_is_allocated_is_given_back_whatever_happens_to_the_request() {
    for trouble in ["loss", "nonce", "silence"] {
        let mut net = apart(2, &[A]);
        start(&mut net);
        net.connect(SECOND * 10);
        match trouble {
            "nonce" => net.turn_servers[0].nonce_lives = 1,
            _ => net.path.loss = 1.0,
        }
        for end in &mut net.ends {
            end.agent.close();
        }
        net.run(SECOND / 4);
        if trouble == "loss" {
            net.path.loss = 0.0;
        }
        net.run(SECOND * 10);
        let left = if trouble == "silence" { 2 } else { 0 };
        assert_eq!(net.turn_servers[0].allocations(), left, "{trouble}");
        assert!(net.ends.iter().all(|end| end.agent.timeout().is_none()));
    }
}

fn verdict(net: &Net) -> Option<TurnError> {
    net.ends[0]
        .agent
        .reports()
        .find_map(|report| match report.outcome {
            Outcome::NotRelayed(error) => Some(error),
            _ => None,
        })
}

#[test]
fn each_refusal_has_a_name() {
    for (code, error) in [
        (300, TurnError::TryAlternate(None)),
        (403, TurnError::Forbidden),
        (437, TurnError::AllocationMismatch),
        (440, TurnError::AddressFamily),
        (441, TurnError::WrongCredentials),
        (442, TurnError::UnsupportedTransport),
        (486, TurnError::Quota),
        (508, TurnError::InsufficientCapacity),
        (500, TurnError::Refused(500)),
    ] {
        let mut net = apart(3, &[A]);
        net.turn_servers[0].refuses = Some((Method::ALLOCATE, code));
        start(&mut net);
        net.run(SECOND * 3);
        assert_eq!(verdict(&net), Some(error));
        assert_eq!(net.ends[0].count(Event::GatheringDone), 1);
    }
}

#[test]
fn a_wrong_password_is_tried_once() {
    let mut net = apart(4, &[A]);
    let login = Login {
        username: USER,
        password: "wrong",
    };
    let list = vec![Server::turn(addr(A), login, Via::Udp)];
    let config = Config::new(Role::Controlling);
    net.ends[0] = End::new(77, config, Vec::leak(list));
    net.addresses(0, &["10.0.0.2:5000"]);
    net.run(SECOND * 20);
    assert_eq!(verdict(&net), Some(TurnError::Credentials));
    assert_eq!(net.turn_servers[0].count(Method::ALLOCATE), 2);
    assert!(!format!("{login:?}").contains("wrong"));
}

#[test]
fn a_nonce_that_is_always_stale_is_given_up() {
    let mut net = apart(5, &[A]);
    net.turn_servers[0].nonce_lives = 0;
    net.addresses(0, &["10.0.0.2:5000"]);
    net.run(SECOND * 20);
    assert_eq!(verdict(&net), Some(TurnError::StaleNonce));
    assert!(net.turn_servers[0].count(Method::ALLOCATE) <= 3);
}

#[test]
fn answers_without_the_right_integrity_are_dropped() {
    for forged in [true, false] {
        let mut net = apart(6, &[A]);
        net.turn_servers[0].forges = Some(forged);
        net.addresses(0, &["10.0.0.2:5000"]);
        net.run(SECOND * 20);
        assert_eq!(verdict(&net), Some(TurnError::NoAnswer));
        assert!(
            net.ends[0]
                .candidates
                .iter()
                .all(|it| it.kind != CandidateKind::Relay)
        );
    }
}

#[test]
fn of_several_servers_one_that_works_is_enough() {
    let dead = "198.51.100.99:3478";
    let mut net = apart(7, &[dead, B, A]);
    let mut refuses = TurnServer::new(B);
    refuses.refuses = Some((Method::ALLOCATE, 508));
    net.turn_servers.push(refuses);
    start(&mut net);
    net.connect(SECOND * 10);
    net.talk(SECOND);
    net.run(SECOND * 10);
    let outcomes: Vec<_> = net.ends[0].agent.reports().collect();
    let of = |server: usize| {
        let mut relayed = outcomes.iter().rev();
        relayed.find(|it| it.server == server).unwrap().outcome
    };
    assert_eq!(of(0), Outcome::NotRelayed(TurnError::NoAnswer));
    assert_eq!(of(1), Outcome::NotRelayed(TurnError::InsufficientCapacity));
    assert!(matches!(of(2), Outcome::Relayed(_)));
}

#[test]
fn a_peer_that_the_server_forbids_fails_and_nothing_else() {
    let mut net = apart(8, &[A]);
    net.turn_servers[0].refuses = Some((Method::CREATE_PERMISSION, 403));
    start(&mut net);
    net.run(SECOND * 30);
    assert!(!net.ends.iter().any(End::is_connected));
    // One question for each peer, after those of all.
    assert!(net.turn_servers[0].count(Method::CREATE_PERMISSION) < 30);
    assert!(matches!(
        net.ends[0].agent.reports().last().map(|it| it.outcome),
        Some(Outcome::Relayed(_))
    ));
}

#[test]
fn a_better_path_replaces_the_relay_when_it_opens() {
    let mut net = Net::with(
        9,
        [Role::Controlling, Role::Controlled].map(Config::new),
        servers(&[A]),
    );
    net.turn_servers = vec![TurnServer::new(A)];
    net.addresses(0, &["192.0.2.1:5000"]);
    net.addresses(1, &["203.0.113.1:6000"]);
    net.describe();
    // The direct way opens after 5 s.
    let opens = net.now + SECOND * 5;
    net.dropper = Some(Box::new(move |now, from, to| {
        let ends = [addr("192.0.2.1:5000"), addr("203.0.113.1:6000")];
        now < opens && ends.contains(&from) && ends.contains(&to)
    }));
    net.connect(SECOND * 4);
    assert!(is_relayed(&net) || net.ends[0].remote().unwrap().port() > 40_000);
    net.talk(SECOND);
    net.run(SECOND * 15);
    assert_eq!(net.ends[0].remote(), Some(addr("203.0.113.1:6000")));
    assert_eq!(net.ends[1].remote(), Some(addr("192.0.2.1:5000")));
    net.talk(SECOND);
}

/// UDP is blocked but for the stream to the server.
#[test]
fn a_stream_to_a_turn_server_carries_a_path() {
    let server = Server::turn(addr(A), LOGIN, Via::Stream(SocketId(9)));
    let list: &'static [Server<'static>] = Vec::leak(vec![server]);
    let configs = [Role::Controlling, Role::Controlled].map(Config::new);
    let mut net = Net::with(10, configs, list);
    net.turn_servers = vec![TurnServer::new(A)];
    net.addresses(0, &["192.0.2.1:5000"]);
    net.addresses(1, &["203.0.113.1:6000"]);
    net.describe();
    net.dropper = Some(Box::new(|_, from, to| {
        from == addr("192.0.2.1:5000") || to == addr("192.0.2.1:5000")
    }));
    net.ends[0]
        .sockets
        .push((SocketId(9), addr("192.0.2.1:50009")));
    let now = net.now;
    net.ends[0].agent.stream_opened(now, SocketId(9));
    net.connect(SECOND * 10);
    net.talk(SECOND);
    assert!(net.ends[0].agent.path().unwrap().relayed);
    // The stream breaks, and is opened again.
    let now = net.now;
    net.ends[0].agent.stream_closed(now, SocketId(9));
    assert_eq!(net.ends[0].agent.path(), None);
    net.run(SECOND);
    net.ends[0].sockets.pop();
    net.ends[0]
        .sockets
        .push((SocketId(9), addr("192.0.2.1:50010")));
    let now = net.now;
    net.ends[0].agent.stream_opened(now, SocketId(9));
    let gap = net.gap(SECOND * 10);
    assert!(gap <= SECOND * 2, "{gap:?}");
}

#[test]
fn messages_of_a_stream_are_told_apart() {
    assert_eq!(message_len(&[0, 1, 0]), Ok(None));
    assert_eq!(message_len(&[0, 1, 0, 8]), Ok(Some(28)));
    assert_eq!(message_len(&[0x40, 0, 0, 5]), Ok(Some(12)));
    assert_eq!(message_len(&[0x40, 0, 0, 8, 1]), Ok(Some(12)));
    assert!(message_len(&[0, 1, 0, 7]).is_err());
    assert!(message_len(&[0x80, 0, 0, 8]).is_err());
}

#[test]
fn a_frame_needs_its_room() {
    let mut net = apart(11, &[A]);
    start(&mut net);
    net.connect(SECOND * 10);
    let end = net
        .ends
        .iter_mut()
        .find(|end| end.agent.path().is_some_and(|path| path.relayed));
    let agent = &mut end.unwrap().agent;
    let mut buffer = [0; 200];
    assert_eq!(agent.frame(&mut buffer, 2..100), None);
    assert_eq!(agent.frame(&mut buffer, 100..201), None);
    let (transmit, range) = agent.frame(&mut buffer, HEADROOM..200 - TAILROOM).unwrap();
    assert_eq!((transmit.destination, transmit.len), (addr(A), range.len()));
}

/// The server has restarted, or a NAT makes us look like another to it.
#[test]
fn a_lost_allocation_is_made_anew() {
    for restarts in [true, false] {
        let mut net = apart(12, &[A]);
        start(&mut net);
        net.connect(SECOND * 10);
        net.talk(SECOND);
        for _ in 0..3 {
            net.run(SECOND * 20);
            if restarts {
                net.turn_servers[0].forget();
            } else {
                for nat in net.network.nats.iter_mut().flatten() {
                    nat.rebind();
                }
            }
            let gap = net.gap(SECOND * 30);
            // Up to 6 s until the next check, and a second of silence.
            assert!(gap <= SECOND * 9, "{restarts}: {gap:?}");
        }
    }
}

/// Of a server that is silent until the time of the allocation is over another one is wanted then
/// and there: [`Net`] sees that nothing that is due is left for the next call.
#[test]
fn an_allocation_whose_time_is_over_is_asked_for_at_once() {
    let mut net = apart(14, &[A]);
    net.addresses(0, &["10.0.0.2:5000"]);
    net.run(SECOND * 5);
    assert_eq!(net.turn_servers[0].allocations(), 1);
    net.turn_servers.clear();
    net.run(SECOND * 900);
    assert_eq!(verdict(&net), Some(TurnError::NoAnswer));
}

/// A server that promises no time is not asked without pause.
#[test]
fn a_lifetime_of_nothing_is_taken_for_half_a_minute() {
    let mut net = apart(13, &[A]);
    net.turn_servers[0].lifetime = 0;
    net.addresses(0, &["10.0.0.2:5000"]);
    net.run(SECOND * 60);
    assert!(net.turn_servers[0].count(Method::REFRESH) <= 6);
    assert!(net.turn_servers[0].count(Method::ALLOCATE) <= 20);
}

#[test]
fn an_offer_makes_us_and_our_relay_send_at_most_five_times_its_bytes() {
    use peer_core::rtc::ice::REFLECTION_FACTOR;
    let mut net = apart(14, &[A]);
    net.signalling = None;
    net.addresses(0, &["10.0.0.2:5000"]);
    net.run(SECOND);
    let (now, agent) = (net.now, &mut net.ends[0].agent);
    agent
        .set_remote(now, &"u".repeat(32), &"p".repeat(22), false)
        .unwrap();
    let mut bytes = 900;
    for n in 0..24 {
        let line = format!("candidate:{n} 1 udp 1 203.0.113.{n} 6000 typ host");
        bytes += line.len();
        agent.add_candidate(now, &line).unwrap();
    }
    agent.credit(bytes as u32);
    net.run(SECOND * 90);
    let direct = net.ends[0].sent.iter().filter(|(to, _)| to.port() == 6000);
    let direct: u64 = direct.map(|(_, sent)| sent.1).sum();
    let relayed = net.turn_servers[0].relayed_bytes;
    assert!(direct > 0 && relayed > 0);
    assert!(
        direct + relayed <= REFLECTION_FACTOR * bytes as u64,
        "{direct} {relayed} {bytes}"
    );
}

/// End 0 is reached through a relay alone; end 1 has no server.
fn relayed_alone(seed: u64) -> Net {
    let configs = [Role::Controlling, Role::Controlled].map(Config::new);
    let mut net = Net::with(seed, configs, servers(&[A]));
    net.ends[1] = End::new(77, Config::new(Role::Controlled), &[]);
    net.turn_servers = vec![TurnServer::new(A)];
    drop_what_is_not_relayed(&mut net);
    net.addresses(0, &["192.0.2.1:5000"]);
    net
}

fn drop_what_is_not_relayed(net: &mut Net) {
    net.dropper = Some(Box::new(|_, from, to| {
        let here = addr("192.0.2.1:5000");
        [from, to].contains(&here) && ![from, to].contains(&addr(A))
    }));
}

#[test]
fn a_relayed_path_outlives_many_addresses_of_the_remote() {
    let mut net = relayed_alone(15);
    net.addresses(1, &["203.0.113.1:6000"]);
    net.describe();
    net.connect(SECOND * 10);
    net.talk(SECOND);
    for n in 2..40 {
        net.run(SECOND * 20);
        net.addresses(1, &[&format!("203.0.113.{n}:6000")]);
        let gap = net.gap(SECOND * 20);
        assert!(gap <= SECOND * 2, "{n}: {gap:?}");
    }
    // Each has its channel: data does not go in indications.
    net.run(SECOND * 5);
    let indications = net.turn_servers[0].indications;
    net.run(SECOND * 5);
    assert!(net.turn_servers[0].indications <= indications + 10);
}

/// The one that works is named first, and pushed out by those that never answer.
#[test]
fn of_more_remotes_than_a_server_table_holds_the_one_that_works_is_found() {
    let mut net = relayed_alone(16);
    net.addresses(1, &["203.0.113.1:6000"]);
    net.describe();
    net.run(Duration::from_millis(40));
    let (now, agent) = (net.now, &mut net.ends[0].agent);
    agent.credit(100_000);
    for n in 0..20 {
        let line = format!("candidate:{n} 1 udp 1 198.18.0.{n} 6000 typ host");
        agent.add_candidate(now, &line).unwrap();
    }
    net.connect(SECOND * 70);
    net.talk(SECOND);
    // It stays the one that is let in when all of them are tried again.
    net.dropper = Some(Box::new(|_, _, _| true));
    net.run(SECOND * 40);
    drop_what_is_not_relayed(&mut net);
    net.connect(SECOND * 10);
    net.talk(SECOND);
}
