//! Paths through a TURN server.

use peer_core::rtc::ice::turn::Login;
use peer_core::rtc::ice::{Server, TransportPolicy, Via};
use peer_core::rtc::session::{DATAGRAM_MAX, Kind, ServersError};
use peer_core::rtc::stun::Method;

use crate::net::{Client, LABEL, Net, Random, SECOND, addr};
use crate::turn_server::{PASSWORD, TurnServer, USER};

const SERVER: &str = "198.51.100.20:3478";
const LOGIN: Login<'_> = Login {
    username: USER,
    password: PASSWORD,
};

fn servers() -> &'static [Server<'static>] {
    Vec::leak(vec![Server::turn(addr(SERVER), LOGIN, Via::Udp)])
}

/// Sends 256 KiB each way through the relay.
fn talk(net: &mut Net) {
    let bytes = Random::new(3).bytes(262_144);
    for end in &mut net.ends {
        end.queue.push_back((Kind::Binary, bytes.clone()));
    }
    net.until(SECOND * 60, |net| {
        net.ends.iter().all(|end| end.messages.len() == 1)
    });
    assert!(net.ends.iter().all(|end| end.messages[0].1 == bytes));
    let mut paths = net.ends.iter().filter_map(|end| end.session.path());
    assert!(paths.any(|path| path.relayed));
    assert!(
        (1_100..=DATAGRAM_MAX).contains(&net.longest),
        "{}",
        net.longest
    );
}

/// They are told before there is a path, or under a connection whose path then dies.
#[test]
fn no_datagram_is_longer_through_a_relay_that_is_told_later() {
    for under_a_connection in [false, true] {
        let mut net = Net::configured(2, Client::Answerer, &[], |config| {
            config.may_relay = under_a_connection;
        });
        net.ends[0].session.open(LABEL, true).unwrap();
        net.describe();
        if under_a_connection {
            net.until(SECOND * 10, |net| {
                net.ends.iter().all(|end| end.opened().is_some())
            });
        }
        net.turn = Some(TurnServer::new(SERVER));
        net.run(SECOND);
        for end in &mut net.ends {
            end.session.set_servers(net.now, servers()).unwrap();
            let again = end.session.set_servers(net.now, servers());
            assert!(matches!(again, Err(ServersError::Known(_))));
        }
        net.until(SECOND * 30, |net| {
            net.ends.iter().all(|end| end.opened().is_some())
        });
        talk(&mut net);
    }
}

/// Its packets are too long to be relayed, and stay so.
#[test]
fn a_relay_that_was_not_reckoned_with_is_refused() {
    let mut net = Net::open(3, Client::Answerer, 0, true);
    let session = &mut net.ends[0].session;
    let refused = session.set_servers(net.now, servers());
    assert_eq!(refused, Err(ServersError::TooLateToRelay));
    assert_eq!(session.ice().reports().count(), 0);
    let stun = Vec::leak(vec![Server::stun(addr(SERVER))]);
    assert_eq!(session.set_servers(net.now, stun), Ok(()));
    assert_eq!(session.ice().reports().count(), 1);
}

#[test]
fn with_the_policy_relay_all_goes_through_it() {
    let mut net = Net::configured(4, Client::Answerer, servers(), |config| {
        config.ice.policy = TransportPolicy::Relay;
    });
    net.turn = Some(TurnServer::new(SERVER));
    net.ends[0].session.open(LABEL, true).unwrap();
    net.describe();
    // Whatever is not for the server.
    net.dropper = Some(Box::new(|_, packet| packet[..2] == [0, 1]));
    talk(&mut net);
}

#[test]
fn no_datagram_is_longer_through_a_relay() {
    for client in [Client::Offerer, Client::Answerer] {
        let mut net = Net::with(1, client, servers());
        net.turn = Some(TurnServer::new(SERVER));
        net.ends[0].session.open(LABEL, true).unwrap();
        net.describe();
        net.until(SECOND * 10, |net| {
            net.ends.iter().all(|end| end.opened().is_some())
        });
        talk(&mut net);
        let server = net.turn.as_ref().unwrap();
        assert!(server.count(Method::CREATE_PERMISSION) > 0);
        // Both give their allocations back.
        net.ends[0].session.close();
        net.run(SECOND * 20);
        assert_eq!(net.ends[0].session.timeout(), None);
        let server = net.turn.as_ref().unwrap();
        assert_eq!(server.allocations(), 0);
    }
}
