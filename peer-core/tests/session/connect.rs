//! How a channel comes to be.

use std::cell::Cell;
use std::rc::Rc;

use peer_core::rtc::sctp;
use peer_core::rtc::session::{Event, Kind, OpenError, Outgoing, RemoteError, SendError, Setup};
use peer_core::time::Duration;

use crate::net::{Client, LABEL, Net, Path, Random, SECOND};

#[test]
fn each_role_of_ice_with_each_of_dtls_and_either_end_opening() {
    for (seed, client) in [(1, Client::Offerer), (2, Client::Answerer)] {
        for opener in 0..2 {
            for ordered in [true, false] {
                let net = Net::open(seed, client, opener, ordered);
                for end in &net.ends {
                    assert_eq!(end.session.label(), LABEL);
                    assert_eq!(end.opened(), Some(ordered));
                    assert!(end.has(Event::Connected) && end.has(Event::Secured));
                    assert_eq!(end.end(), None);
                }
                let setups = net.ends.each_ref().map(|end| end.session.setup().as_str());
                assert_eq!(
                    setups,
                    match client {
                        Client::Offerer => ["active", "passive"],
                        Client::Answerer => ["passive", "active"],
                    }
                );
            }
        }
    }
}

#[test]
fn it_is_quick() {
    let net = Net::open(3, Client::Answerer, 0, true);
    let took = net.now.as_micros() / 1_000;
    // Candidates after 30 ms; checks, handshake and association: some ten ways of 10 ms, and the
    // pace of checks.
    assert!(took < 300, "{took} ms");
}

#[test]
fn loss_delay_doubling_and_overtaking_do_not_keep_them_apart() {
    for seed in 0..10 {
        let client = match seed % 2 {
            0 => Client::Offerer,
            _ => Client::Answerer,
        };
        let mut net = Net::new(seed, client);
        net.path = Path::bad(&mut Random::new(seed + 77));
        net.ends[0].session.open(LABEL, false).unwrap();
        net.describe();
        net.until(SECOND * 30, |net| {
            net.ends.iter().all(|end| end.opened() == Some(false))
        });
        assert_eq!(net.ends[1].session.label(), LABEL);
    }
}

/// Secures the two, and returns how many packets of each were such.
fn secured(mut net: Net, is_such: impl Fn(&[u8]) -> bool + 'static) -> [u32; 2] {
    let such = Rc::new(Cell::new([0; 2]));
    let counted = Rc::clone(&such);
    net.dropper = Some(Box::new(move |from, packet| {
        let mut count = counted.get();
        count[from] += u32::from(is_such(packet));
        counted.set(count);
        false
    }));
    net.ends[0].session.open(LABEL, true).unwrap();
    net.describe();
    net.until(SECOND * 10, |net| {
        net.ends.iter().all(|end| end.has(Event::Secured))
    });
    such.get()
}

/// Some remotes end a handshake without.
#[test]
fn both_hellos_agree_on_srtp() {
    const USE_SRTP: [u8; 9] = [0, 14, 0, 5, 0, 2, 0, 1, 0];
    let net = Net::new(5, Client::Answerer);
    let hellos = secured(net, |packet| packet.windows(9).any(|it| it == USE_SRTP));
    assert_eq!(hellos, [1, 1]);
}

#[test]
fn dtls_waits_twice_the_round_trip_before_it_repeats_itself() {
    // With 200 ms a way a first wait that knew nothing of it would repeat each flight.
    let mut net = Net::new(4, Client::Answerer);
    net.path = Path {
        delay: Duration::from_millis(200),
        ..Path::default()
    };
    // ChangeCipherSpec and handshake: two flights each.
    let flights = secured(net, |packet| matches!(packet[0], 20 | 22));
    assert_eq!(flights, [2, 2]);
}

#[test]
fn a_channel_is_asked_for_once_and_used_when_it_is_open() {
    let mut net = Net::new(5, Client::Answerer);
    let session = &mut net.ends[0].session;
    let message = Outgoing::message(Kind::Text);
    assert_eq!(session.send(message, b"x"), Err(SendError::NotOpen));
    let long = "x".repeat(2_000);
    assert_eq!(session.open(&long, true), Err(OpenError::LabelTooLong));
    assert_eq!(session.open("a", true), Ok(()));
    assert_eq!(session.open("b", true), Err(OpenError::NotFirst));
    assert_eq!(session.send(message, b"x"), Err(SendError::NotOpen));
    session.close();
    assert_eq!(session.send(message, b"x"), Err(SendError::Closed));
    net.flush(0);
    assert!(net.ends[0].session.is_over());
    assert_eq!(net.ends[0].session.timeout(), None);
}

#[test]
fn it_opens_late_as_well() {
    let mut net = Net::new(6, Client::Offerer);
    net.describe();
    net.run(SECOND);
    assert_eq!(net.ends[0].opened(), None);
    net.ends[1].session.open(LABEL, true).unwrap();
    net.until(SECOND, |net| {
        net.ends.iter().all(|end| end.opened() == Some(true))
    });
}

#[test]
fn descriptions_that_do_not_go_together() {
    let mut net = Net::new(7, Client::Answerer);
    let [a, b] = &mut net.ends;
    b.session.set_remote(net.now, &a.remote()).unwrap();
    // Both active now.
    let mut answer = b.remote();
    answer.setup = Setup::Actpass;
    let now = net.now;
    assert_eq!(
        a.session.set_remote(now, &answer),
        Err(RemoteError::Setup),
        "an answer has to choose"
    );
    a.session.set_remote(now, &b.remote()).unwrap();
    let mut other = b.remote();
    other.fingerprint[0] ^= 1;
    assert_eq!(a.session.set_remote(now, &other), Err(RemoteError::Changed));
    let mut short = b.remote();
    short.password = "short";
    let refused = a.session.set_remote(now, &short);
    assert!(matches!(refused, Err(RemoteError::Credentials(_))));
}

#[test]
fn sctp_waits_twice_the_round_trip_too() {
    let mut net = Net::new(8, Client::Answerer);
    let lost = Rc::new(Cell::new([0; 2]));
    let counted = Rc::clone(&lost);
    net.dropper = Some(Box::new(move |from, packet| {
        let mut count = counted.get();
        count[from] += u32::from(packet[0] == 23);
        counted.set(count);
        packet[0] == 23 && count[from] <= 3
    }));
    net.ends[0].session.open(LABEL, true).unwrap();
    net.describe();
    net.until(SECOND * 5, |net| {
        net.ends.iter().all(|end| end.has(Event::Secured))
    });
    let begun = net.now;
    net.until(SECOND * 20, |net| {
        net.ends.iter().all(|end| end.opened().is_some())
    });
    assert!(lost.get().iter().all(|count| *count > 3));
    // 50 + 100 + 200 ms and the way, where RTO.Initial would make 7 s of it.
    let took = net.now.saturating_duration_since(begun);
    assert!(took < SECOND, "{took:?}");
}

/// What opens the channel is no message of the user (RFC 8832), however little the remote takes.
#[test]
fn a_small_max_message_size_bounds_messages_and_not_the_opening() {
    for opener in 0..2 {
        let mut net = Net::new(9, Client::Answerer);
        net.ends[opener].session.open(LABEL, true).unwrap();
        let [a, b] = &mut net.ends;
        let mut offer = a.remote();
        offer.max_message_size = 5;
        b.session.set_remote(net.now, &offer).unwrap();
        let mut answer = b.remote();
        answer.max_message_size = 5;
        a.session.set_remote(net.now, &answer).unwrap();
        net.tell_candidates();
        net.until(SECOND * 5, |net| {
            net.ends.iter().all(|end| end.opened() == Some(true))
        });
        for end in 0..2 {
            let session = &mut net.ends[end].session;
            let whole = Outgoing::message(Kind::Text);
            let too_long = Err(SendError::Sctp(sctp::SendError::TooLong));
            assert_eq!(session.send(whole, b"sixsix"), too_long);
            assert_eq!(session.send(whole, b"fives"), Ok(5));
            net.until(SECOND, |net| net.ends[1 - end].messages.len() == 1);
            assert_eq!(net.ends[1 - end].messages[0].1, b"fives");
        }
    }
}
