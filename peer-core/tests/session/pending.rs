//! What a remote costs that has not proved who it is.

use peer_core::rtc::ice::SocketId;
use peer_core::rtc::session::{Config, Event, Memory, Remote, Session, Setup};
use peer_core::rtc::{dtls, ice};
use peer_core::time::Instant;

use crate::net::{self, Client, LABEL, Net, SECOND, crypto};

/// Most that a session may cost until the remote has proved who it is: 8 KiB. 2.5 KiB of it are for
/// DTLS's messages, 1.7 its state, in which the keys of an open session share the bytes of the
/// handshake; 2.1 are ICE's tables, 0.9 its state.
const PENDING_MAX: usize = 8 * 1_024;

#[test]
fn a_thousand_pending_sessions() {
    let mut crypto = crypto(1);
    let mut path: Vec<ice::Resources<2, 8, 8, 1, 0>> = Vec::new();
    path.resize_with(1_000, Default::default);
    let mut handshake: Vec<dtls::Resources<1536>> = Vec::new();
    handshake.resize_with(1_000, Default::default);
    let lent = size_of_val(&path[..]) + size_of_val(&handshake[..]);
    let mut sessions = Vec::with_capacity(1_000);
    let now = Instant::from_micros(1);
    for (path, handshake) in path.iter_mut().zip(&mut handshake) {
        let memory = Memory {
            ice: path.lend(),
            dtls: handshake.lend(),
            // Lent when the remote is known.
            sctp: None,
        };
        let config = Config::new(ice::Role::Controlled);
        let mut session = Session::new(now, &mut crypto, config, memory, &[]).unwrap();
        let local = [(SocketId(0), "192.0.2.1:5000".parse().unwrap())];
        session.set_addresses(now, &local).unwrap();
        let remote = Remote::new("abcd", "0123456789abcdef012345", Setup::Actpass);
        session.set_remote(now, &remote).unwrap();
        sessions.push(session);
    }
    let each = (lent + size_of_val(&sessions[..])) / sessions.len();
    println!("{each} of {PENDING_MAX} bytes");
    assert!(each <= PENDING_MAX, "{each} bytes");
}

#[test]
fn the_memory_for_data_can_follow() {
    let mut net = Net::new(9, Client::Answerer);
    let memory: &'static mut net::Memory = Box::leak(Box::default());
    let lent = memory.lend();
    let (now, crypto) = (net.now, &mut net.ends[1].crypto);
    let config = Config::new(ice::Role::Controlled);
    let without = Memory { sctp: None, ..lent };
    let mut session = Session::new(now, crypto, config, without, &[]).unwrap();
    let address = [(SocketId(0), net.ends[1].inner)];
    session.set_addresses(now, &address).unwrap();
    net.ends[1].session = session;
    net.ends[0].session.open(LABEL, true).unwrap();
    net.describe();
    net.until(SECOND * 5, |net| net.ends[1].has(Event::Secured));
    net.run(SECOND);
    assert_eq!(net.ends[0].opened(), None);
    let more: &'static mut net::Memory = Box::leak(Box::default());
    let data = more.lend().sctp.unwrap();
    net.ends[1].session.lend_sctp(data).unwrap();
    net.until(SECOND * 5, |net| {
        net.ends.iter().all(|end| end.opened() == Some(true))
    });
    let more: &'static mut net::Memory = Box::leak(Box::default());
    let data = more.lend().sctp.unwrap();
    assert!(net.ends[1].session.lend_sctp(data).is_err(), "it has some");
}

#[test]
fn six_packets_to_one_who_answers_checks_alone() {
    for (client, silent) in [
        (Client::Offerer, 1),
        (Client::Answerer, 0),
        (Client::Offerer, 0),
        (Client::Answerer, 1),
    ] {
        let mut net = Net::new(1, client);
        net.ends[0].session.open(LABEL, true).unwrap();
        net.describe();
        // The hello of the silent end arrives, if it is the client; nothing else of it.
        let mut hellos = 0;
        net.dropper = Some(Box::new(move |from, packet| {
            let handshake = packet[0] >= 20;
            if from == silent && handshake && packet[0] == 22 && packet[13] == 1 {
                hellos += 1;
                return hellos > 1;
            }
            from == silent && handshake
        }));
        let other = 1 - silent;
        net.until(SECOND * 60, |net| net.ends[other].end().is_some());
        let failed = net.ends[other].end();
        assert!(matches!(failed, Some(Event::Failed(_))), "{failed:?}");
        let sent = net.ends[other].records;
        assert!((1..=6).contains(&sent), "{sent} packets");
    }
}
