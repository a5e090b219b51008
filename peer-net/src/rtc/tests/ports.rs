//! Sessions whose UDP ports are told.

use std::net::UdpSocket;

use super::*;
use crate::rtc::UdpPorts;

/// The port of a candidate: `candidate:FOUNDATION COMPONENT udp PRIORITY ADDRESS PORT typ …`.
fn port(candidate: &str) -> u16 {
    let port = candidate.split(' ').nth(5);
    port.and_then(|port| port.parse().ok()).expect("a port")
}

/// So many ports that were free a moment ago, one after the other.
fn free_ports(count: u16) -> UdpPorts {
    let is_free = |port: &u16| UdpSocket::bind(("127.0.0.1", *port)).is_ok();
    let mut firsts = (40_000 + (std::process::id() % 20_000) as u16..65_000).step_by(16);
    let first = firsts.find(|first| (*first..*first + count).all(|port| is_free(&port)));
    let first = first.expect("free ports");
    UdpPorts::new(first, first + count - 1).unwrap()
}

fn with_ports(ports: UdpPorts) -> RtcConfig {
    RtcConfig {
        ports: Some(ports),
        ..config()
    }
}

async fn talks((a, b): &mut (End, End), number: usize) {
    a.sender.send(bytes(100, number)).await.unwrap();
    assert_eq!(receive(&mut b.receiver).await, bytes(100, number));
    b.sender.send(bytes(200, number)).await.unwrap();
    assert_eq!(receive(&mut a.receiver).await, bytes(200, number));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_have_no_port_but_those_allowed() {
    let ports = free_ports(4);
    let mut ends = pair_between(with_ports(ports), true, None).await;
    talks(&mut ends, 1).await;
    for end in [&ends.0, &ends.1] {
        assert!(!end.candidates.is_empty());
        for candidate in &end.candidates {
            let port = port(candidate);
            assert!((ports.first()..=ports.last()).contains(&port), "{port}");
        }
    }
}

#[cfg(feature = "native")]
fn native_end(ports: Option<UdpPorts>) -> Endpoint {
    Endpoint::new(RtcConfig {
        stack: Stack::Native,
        ports,
        ..config()
    })
}

#[cfg(feature = "native")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_port_is_enough_for_many_remotes() {
    let ports = free_ports(1);
    let ours = native_end(Some(ports));
    let mut pairs = Vec::new();
    for remote in 0..10 {
        let theirs = native_end(None);
        pairs.push(pair_of([&ours, &theirs], &remote.to_string(), true, None).await);
    }
    for (number, pair) in pairs.iter_mut().enumerate() {
        talks(pair, number).await;
        let candidates = pair.0.candidates.iter().map(|it| port(it));
        assert!(candidates.eq([ports.first()]));
    }
}

/// A remote that gives each session a socket of its own, as browsers do, is served from few.
#[cfg(feature = "native")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_with_one_remote_share_the_ports_there_are() {
    let (ours, theirs) = (native_end(Some(free_ports(2))), native_end(None));
    let mut pairs = Vec::new();
    for _ in 0..5 {
        pairs.push(pair_of([&ours, &theirs], "remote", true, None).await);
    }
    for (number, pair) in pairs.iter_mut().enumerate() {
        talks(pair, number).await;
    }
    drop(pairs.drain(1..4));
    for (number, pair) in pairs.iter_mut().enumerate() {
        talks(pair, number).await;
    }
}

#[cfg(feature = "native")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_free_port_a_session_fails_and_says_so() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ours = native_end(Some(UdpPorts::new(port, port).unwrap()));
    let (events, mut from) = mpsc::channel(16);
    let session = ours.offer("remote", "dc_test".into(), true, events);
    let SessionEvent::Failed(failure, sentence) = last(&mut from).await else {
        panic!("it fails");
    };
    assert_eq!(failure, RtcFailure::Resources);
    assert!(sentence.contains("in use"), "{sentence}");
    drop(session);
}
