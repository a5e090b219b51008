//! What strangers and liars can do.

use peer_core::rtc::crypto::{CryptoError, RustCrypto};
use peer_core::rtc::dtls::DtlsError;
use peer_core::rtc::ice;
use peer_core::rtc::session::{Config, Event, Failure, Kind, Session};
use peer_core::time::Instant;

use crate::net::{Client, Crypto, LABEL, Memory, Net, Random, SECOND, crypto};

#[test]
fn garbage_changes_nothing() {
    for (seed, client) in [(1, Client::Offerer), (2, Client::Answerer)] {
        let mut net = Net::new(seed, client);
        net.ends[0].session.open(LABEL, true).unwrap();
        net.describe();
        let mut random = Random::new(seed + 40);
        let stranger = "198.51.100.9:4444".parse().unwrap();
        let message = random.bytes(30_000);
        for end in &mut net.ends {
            end.queue.push_back((Kind::Binary, message.clone()));
        }
        for round in 0..400 {
            for end in 0..2 {
                // From a stranger, and with the address of the remote. Not what ends a handshake
                // that nobody has signed yet: whoever can forge can do that.
                let forged = round % 2 == 0;
                let from = match forged {
                    true => net.ends[1 - end].outer,
                    false => stranger,
                };
                let len = 1 + random.below(300) as usize;
                let mut packet = random.bytes(len);
                let kinds = [0, 1, 2, 3, 20, 21, 22, 23, 24, 63, 64, 79, 80, 128, 255];
                packet[0] = kinds[random.below(15) as usize];
                if packet.len() > 13 && (20..64).contains(&packet[0]) {
                    let rest = packet.len() - 13;
                    packet[1..5].copy_from_slice(&[0xfe, 0xfd, 0, 1]);
                    packet[11..13].copy_from_slice(&(rest as u16).to_be_bytes());
                }
                let to = net.ends[end].outer;
                net.put(from, to, packet);
            }
            net.step();
        }
        net.until(SECOND * 30, |net| {
            net.ends.iter().all(|end| end.messages.len() == 1)
        });
        for end in &net.ends {
            assert!(end.messages[0].1 == message);
            assert_eq!(end.end(), None);
            assert!(!end.has(Event::Disconnected));
        }
    }
}

#[test]
fn a_wrong_fingerprint_delivers_no_byte_in_either_role() {
    for client in [Client::Offerer, Client::Answerer] {
        for wronged in 0..2 {
            let mut net = Net::new(3, client);
            net.ends[0].session.open(LABEL, true).unwrap();
            let now = net.now;
            let [a, b] = &mut net.ends;
            let mut offer = a.remote();
            offer.fingerprint[31] ^= u8::from(wronged == 1);
            b.session.set_remote(now, &offer).unwrap();
            let mut answer = b.remote();
            answer.fingerprint[31] ^= u8::from(wronged == 0);
            a.session.set_remote(now, &answer).unwrap();
            net.tell_candidates();
            for end in &mut net.ends {
                end.queue.push_back((Kind::Text, b"secret".to_vec()));
            }
            net.until(SECOND * 60, |net| {
                net.ends.iter().all(|end| end.end().is_some())
            });
            let fingerprint = Event::Failed(Failure::Dtls(DtlsError::Fingerprint));
            assert_eq!(net.ends[wronged].end(), Some(fingerprint));
            assert!(!net.ends[wronged].has(Event::Secured));
            for end in &net.ends {
                assert_eq!(end.opened(), None);
                assert!(end.messages.is_empty());
                assert!(matches!(end.end(), Some(Event::Failed(Failure::Dtls(_)))));
            }
        }
    }
}

#[test]
fn sessions_that_draw_from_one_source_share_nothing() {
    let mut crypto = crypto(4);
    let mut sessions = Vec::new();
    for _ in 0..20 {
        let memory: &'static mut Memory = Box::leak(Box::default());
        let config = Config::new(ice::Role::Controlling);
        let session = Session::new(Instant::ZERO, &mut crypto, config, memory.lend(), &[]).unwrap();
        let ice = session.ice();
        sessions.push((ice.ufrag().to_owned(), ice.password().to_owned()));
    }
    for (i, (ufrag, password)) in sessions.iter().enumerate() {
        for (other_ufrag, other_password) in &sessions[i + 1..] {
            assert_ne!(ufrag, other_ufrag);
            assert_ne!(password, other_password);
        }
    }
}

#[test]
fn two_connections_say_nothing_twice() {
    let mut seen = std::collections::HashSet::new();
    for seed in [5, 6] {
        let mut net = Net::new(seed, Client::Answerer);
        let hellos = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let heard = std::rc::Rc::clone(&hellos);
        net.dropper = Some(Box::new(move |_, packet| {
            // The random of a hello of either end, in epoch 0: after the heads of record and
            // message, and the version.
            if packet[0] == 22 && packet[3..5] == [0, 0] && matches!(packet[13], 1 | 2) {
                heard.borrow_mut().push(packet[27..59].to_vec());
            }
            false
        }));
        net.ends[0].session.open(LABEL, true).unwrap();
        net.describe();
        net.until(SECOND * 5, |net| net.ends[1].opened().is_some());
        assert_eq!(hellos.borrow().len(), 2);
        for random in hellos.borrow().iter() {
            assert!(seen.insert(random.clone()), "seen before");
        }
    }
}

#[test]
fn randomness_that_fails_makes_no_session() {
    let mut broken: Crypto = RustCrypto::new(Box::new(|_| Err(CryptoError::Random)));
    let memory: &'static mut Memory = Box::leak(Box::default());
    let config = Config::new(ice::Role::Controlling);
    let session = Session::new(Instant::ZERO, &mut broken, config, memory.lend(), &[]);
    assert!(matches!(session, Err(CryptoError::Random)));
    // And fails one that was made, at the stage that needs it.
    let mut net = Net::new(8, Client::Answerer);
    net.ends[1].crypto = broken;
    net.describe();
    net.until(SECOND * 60, |net| net.ends[1].end().is_some());
    let reason = net.ends[1].end();
    assert!(
        matches!(
            reason,
            Some(Event::Failed(
                Failure::Ice(ice::Failure::Random) | Failure::Dtls(DtlsError::Random)
            ))
        ),
        "{reason:?}"
    );
}
