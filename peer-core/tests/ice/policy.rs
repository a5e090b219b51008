//! Servers that are told late, and addresses that the remote shall not learn.

use peer_core::rtc::ice::turn::Login;
use peer_core::rtc::ice::{CandidateKind, Config, Event, Outcome, Role, Server, ServersKnown};
use peer_core::rtc::ice::{SocketId, TransportPolicy, Via};
use peer_core::time::Duration;

use crate::net::{End, Net, STUN, addr};
use crate::turn_server::{PASSWORD, TurnServer, USER};

const SECOND: Duration = Duration::from_secs(1);
const TURN: &str = "198.51.100.20:3478";

fn servers() -> &'static [Server<'static>] {
    let login = Login {
        username: USER,
        password: PASSWORD,
    };
    let turn = Server::turn(addr(TURN), login, Via::Udp);
    Vec::leak(vec![Server::stun(addr(STUN)), turn])
}

/// Two ends that could meet, and a TURN server.
fn net(seed: u64, policies: [TransportPolicy; 2], servers: &'static [Server<'static>]) -> Net {
    let mut configs = [Role::Controlling, Role::Controlled].map(Config::new);
    for (config, policy) in configs.iter_mut().zip(policies) {
        config.policy = policy;
    }
    let mut net = Net::with(seed, configs, servers);
    net.turn_servers = vec![TurnServer::new(TURN)];
    net.addresses(0, &["192.0.2.1:5000"]);
    net.addresses(1, &["203.0.113.1:6000"]);
    net
}

fn kinds(end: &End) -> Vec<CandidateKind> {
    end.candidates.iter().map(|it| it.kind).collect()
}

#[test]
fn servers_may_be_told_later() {
    let mut net = net(1, [TransportPolicy::All; 2], &[]);
    // Of this address nobody knows any more when they come.
    net.addresses(0, &["192.0.2.9:5000"]);
    net.addresses(0, &["192.0.2.1:5000"]);
    net.describe();
    net.connect(SECOND * 5);
    assert_eq!(net.ends[0].count(Event::GatheringDone), 1);
    assert_eq!(kinds(&net.ends[1]), [CandidateKind::Host]);
    for end in &mut net.ends {
        assert_eq!(end.agent.set_servers(net.now, servers()), Ok(()));
        let again = end.agent.set_servers(net.now, servers());
        assert_eq!(again, Err(ServersKnown));
    }
    net.run(SECOND * 5);
    for end in &net.ends {
        assert_eq!(end.count(Event::GatheringDone), 2);
        let relayed = kinds(end)
            .iter()
            .filter(|it| **it == CandidateKind::Relay)
            .count();
        assert_eq!(relayed, 1);
        let mut outcomes = end.agent.reports().map(|it| it.outcome);
        assert!(outcomes.any(|it| matches!(it, Outcome::Reflexive(_))));
        assert_eq!(end.agent.reports().count(), 3);
    }
    // From an address that comes later they are asked, too.
    net.addresses(0, &["192.0.2.1:5000", "192.0.2.2:5000"]);
    net.run(SECOND * 5);
    assert_eq!(net.ends[0].agent.reports().count(), 6);
}

#[test]
fn a_stream_to_a_server_that_was_told_later_is_used() {
    let mut net = net(2, [TransportPolicy::All; 2], &[]);
    let login = Login {
        username: USER,
        password: PASSWORD,
    };
    let stream = SocketId(200);
    let server = Server::turn(addr(TURN), login, Via::Stream(stream));
    let agent = &mut net.ends[0].agent;
    // It is of no server yet.
    agent.stream_opened(net.now, stream);
    agent.set_servers(net.now, Vec::leak(vec![server])).unwrap();
    assert_eq!(agent.reports().count(), 0);
    agent.stream_opened(net.now, stream);
    assert_eq!(agent.reports().count(), 1);
    let mut buffer = [0; 1200];
    let sent = agent.transmit(net.now, &mut net.ends[0].crypto, &mut buffer);
    assert_eq!(sent.map(|it| it.socket), Some(stream));
}

#[test]
fn servers_that_come_after_the_end_change_nothing() {
    let mut net = net(3, [TransportPolicy::All; 2], &[]);
    net.ends[0].agent.close();
    assert_eq!(net.ends[0].agent.set_servers(net.now, servers()), Ok(()));
    assert_eq!(net.ends[0].agent.timeout(), None);
    assert_eq!(net.ends[0].agent.reports().count(), 0);
}

/// Nothing goes from one to the other but what the server relays, and no candidate names it.
#[test]
fn with_the_policy_relay_the_remote_learns_no_address() {
    use TransportPolicy::{All, Relay};
    for policies in [[Relay, Relay], [Relay, All], [All, Relay]] {
        for late in [false, true] {
            let told = if late { &[][..] } else { servers() };
            let mut net = net(4, policies, told);
            if late {
                for end in &mut net.ends {
                    end.agent.set_servers(net.now, servers()).unwrap();
                }
            }
            net.describe();
            net.connect(SECOND * 10);
            net.talk(SECOND);
            net.run(SECOND * 30);
            // The addresses change, and all is told again.
            for end in 0..2 {
                let address = ["192.0.2.2:5000", "203.0.113.2:6000"][end];
                net.addresses(end, &[address]);
                net.ends[end].agent.tell_candidates_again();
                net.run(SECOND * 20);
            }
            net.talk(SECOND * 5);
            assert!(net.ends.iter().all(End::is_connected));
            for (end, policy) in net.ends.iter().zip(policies) {
                if policy == All {
                    assert!(kinds(end).contains(&CandidateKind::Host));
                    continue;
                }
                for candidate in &end.candidates {
                    assert_eq!(candidate.kind, CandidateKind::Relay);
                    assert_eq!(candidate.address.ip(), addr(TURN).ip());
                    assert_eq!(candidate.related, Some(addr("0.0.0.0:9")));
                }
                assert!(!end.candidates.is_empty());
                let others = end.sent.keys().filter(|to| {
                    let to = to.to_string();
                    to != TURN && to != STUN
                });
                assert_eq!(others.count(), 0, "{:?}", end.sent.keys());
                assert!(end.agent.path().is_some_and(|path| path.relayed));
                let mut outcomes = end.agent.reports().map(|it| it.outcome);
                assert!(outcomes.any(|it| matches!(it, Outcome::Reflexive(_))));
            }
        }
    }
}

/// The remote guesses the address, and asks there with the right password.
#[test]
fn with_the_policy_relay_no_check_is_answered_at_our_address() {
    let mut net = net(5, [TransportPolicy::All, TransportPolicy::Relay], servers());
    net.describe();
    net.connect(SECOND * 10);
    net.ends[0].agent.credit(10_000);
    let line = "candidate:1 1 udp 2130706431 203.0.113.1 6000 typ host";
    net.ends[0].agent.add_candidate(net.now, line).unwrap();
    net.run(SECOND * 60);
    assert!(net.ends[0].packets_to("203.0.113.1:6000") > 3);
    assert_eq!(net.ends[1].packets_to("192.0.2.1:5000"), 0);
    assert!(
        net.ends[0]
            .agent
            .path()
            .is_some_and(|it| it.remote.ip() == addr(TURN).ip())
    );
    let socket = SocketId(0);
    assert!(!net.ends[1].agent.hears(socket, addr("192.0.2.1:5000")));
}

#[test]
fn with_the_policy_relay_and_no_server_there_is_nothing_to_try() {
    let mut net = net(6, [TransportPolicy::Relay; 2], &[]);
    net.describe();
    net.run(SECOND * 60);
    for end in &net.ends {
        let none = peer_core::rtc::ice::Failure::NoCandidates;
        assert_eq!(end.failure(), Some(none));
        assert!(end.sent.is_empty() && end.candidates.is_empty());
    }
}
