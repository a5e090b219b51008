//! Lines and sizes; agents at work are in `tests/ice`.

extern crate std;

use core::mem::size_of;
use std::string::ToString as _;

use proptest::prelude::*;

use super::candidate::{host_priority, moved_priority, peer_reflexive_priority, renewed_priority};
use super::memory::{Base, Pair, Remote};
use super::*;

#[test]
fn a_line_is_what_browsers_write() {
    let host = Candidate {
        kind: CandidateKind::Host,
        address: "192.0.2.2:43600".parse().unwrap(),
        priority: host_priority(0),
        foundation: 4_172_356_180,
        related: None,
    };
    assert_eq!(
        host.line("X60mabcd").to_string(),
        "candidate:4172356180 1 udp 2130706431 192.0.2.2 43600 typ host generation 0 ufrag X60mabcd"
    );
    let reflexive = Candidate {
        kind: CandidateKind::ServerReflexive,
        address: "[2001:db8::1]:9000".parse().unwrap(),
        related: Some(host.address),
        ..host
    };
    assert_eq!(
        reflexive.line("X60mabcd").to_string(),
        "candidate:4172356180 1 udp 2130706431 2001:db8::1 9000 typ srflx raddr 192.0.2.2 \
         rport 43600 generation 0 ufrag X60mabcd"
    );
}

/// The recipe that browsers follow: above every host candidate, and growing.
#[test]
fn a_move_is_worth_more_than_all_before() {
    assert_eq!(host_priority(0), 0x7eff_ffff);
    assert_eq!(peer_reflexive_priority(0), 0x6eff_ffff);
    assert!(moved_priority(1, 1) > host_priority(0));
    assert!(renewed_priority(0) > host_priority(0));
    assert!(moved_priority(1, 1) > renewed_priority(0));
    for moves in 1..100 {
        assert!(moved_priority(moves, 0) > moved_priority(moves, 1));
        assert!(renewed_priority(moves) > moved_priority(moves, 0));
        assert!(moved_priority(moves + 1, 1) > renewed_priority(moves));
    }
}

/// What 1,000 sessions that wait cost.
#[test]
fn sizes_are_reasonable() {
    assert!(size_of::<Pair>() <= 176, "{}", size_of::<Pair>());
    assert!(size_of::<Remote>() <= 64, "{}", size_of::<Remote>());
    assert!(size_of::<Base>() <= 104, "{}", size_of::<Base>());
    assert!(
        size_of::<Agent<'_>>() <= 1_152,
        "{}",
        size_of::<Agent<'_>>()
    );
    assert!(size_of::<Event>() <= 96, "{}", size_of::<Event>());
    // A device: two addresses of ours, eight of the remote, all pairs.
    assert!(size_of::<Resources<2, 8, 16, 2, 0>>() <= 3_712);
}

proptest! {
    #[test]
    fn no_line_panics(line in "(candidate:)?\\PC{0,120}") {
        let _ = Candidate::parse(&line, true);
    }

    #[test]
    fn what_is_written_is_read(v6: [u8; 16], v4: [u8; 4], six: bool, port in 1024_u16.., n: u32) {
        let ip = if six { v6.into() } else { core::net::IpAddr::from(v4) };
        let candidate = Candidate {
            kind: CandidateKind::Host,
            address: SocketAddr::new(ip, port),
            priority: n,
            foundation: n,
            related: None,
        };
        let line = candidate.line("abcd").to_string();
        match Candidate::parse(&line, false) {
            Ok(read) => prop_assert_eq!(read.address, candidate.address),
            Err(error) => prop_assert!(matches!(error, Refused::Address(_)), "{:?}", error),
        }
    }
}
