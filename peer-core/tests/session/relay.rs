//! Paths through a TURN server.

use peer_core::rtc::ice::turn::Login;
use peer_core::rtc::ice::{Server, Via};
use peer_core::rtc::session::{DATAGRAM_MAX, Kind};
use peer_core::rtc::stun::Method;

use crate::net::{Client, LABEL, Net, Random, SECOND, addr};
use crate::turn_server::{PASSWORD, TurnServer, USER};

const SERVER: &str = "198.51.100.20:3478";
const LOGIN: Login<'_> = Login {
    username: USER,
    password: PASSWORD,
};

#[test]
fn no_datagram_is_longer_through_a_relay() {
    for client in [Client::Offerer, Client::Answerer] {
        let servers = vec![Server::turn(addr(SERVER), LOGIN, Via::Udp)];
        let mut net = Net::with(1, client, Vec::leak(servers));
        net.turn = Some(TurnServer::new(SERVER));
        net.ends[0].session.open(LABEL, true).unwrap();
        net.describe();
        net.until(SECOND * 10, |net| {
            net.ends.iter().all(|end| end.opened().is_some())
        });
        let mut paths = net.ends.iter().filter_map(|end| end.session.path());
        assert!(paths.any(|path| path.relayed));
        let bytes = Random::new(3).bytes(262_144);
        for end in &mut net.ends {
            end.queue.push_back((Kind::Binary, bytes.clone()));
        }
        net.until(SECOND * 60, |net| {
            net.ends.iter().all(|end| end.messages.len() == 1)
        });
        assert!(net.ends.iter().all(|end| end.messages[0].1 == bytes));
        assert!(
            (1_100..=DATAGRAM_MAX).contains(&net.longest),
            "{}",
            net.longest
        );
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
