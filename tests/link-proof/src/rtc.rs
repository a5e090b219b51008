//! `rtc`: each layer against itself, and all of them as a session, with RustCrypto.

use core::net::SocketAddr;

use peer_core::rtc::crypto::{Crypto as _, CryptoError, RustCrypto, signature};
use peer_core::rtc::dtls::{self, Dtls, Identity};
use peer_core::rtc::ice::{self, Agent, Role, SocketId};
use peer_core::rtc::sctp::{self, Association, Outgoing, Received};
use peer_core::rtc::session::{self, Event, Kind, Remote, Session};
use peer_core::rtc::stun::{Class, Message, Method, Writer};
use peer_core::time::{Duration, Instant};

pub(crate) fn run() -> Option<()> {
    ice()?;
    dtls()?;
    sctp()?;
    session()?;
    parts()
}

/// Not random: the same bytes each time.
fn bytes(out: &mut [u8], state: &mut u32) -> Result<(), CryptoError> {
    for byte in out {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    Ok(())
}

fn ice() -> Option<()> {
    let mut state = 1;
    let mut crypto = RustCrypto::new(|out: &mut [u8]| bytes(out, &mut state));
    let mut here: ice::Resources<2, 4, 8, 2, 0> = ice::Resources::new();
    let mut there: ice::Resources<2, 4, 8, 2, 0> = ice::Resources::new();
    let mut now = Instant::ZERO;
    let config = ice::Config::new(Role::Controlling);
    let mut a = Agent::new(now, &mut crypto, config, here.lend(), &[]).ok()?;
    let config = ice::Config::new(Role::Controlled);
    let mut b = Agent::new(now, &mut crypto, config, there.lend(), &[]).ok()?;
    let ours: SocketAddr = "192.0.2.1:5000".parse().ok()?;
    let theirs: SocketAddr = "192.0.2.2:6000".parse().ok()?;
    a.set_addresses(now, &[(SocketId(0), ours)]).ok()?;
    b.set_addresses(now, &[(SocketId(0), theirs)]).ok()?;
    a.set_remote(now, b.ufrag(), b.password(), false).ok()?;
    b.set_remote(now, a.ufrag(), a.password(), false).ok()?;
    a.credit(500);
    a.add_candidate(now, "candidate:1 1 udp 2113937151 192.0.2.2 6000 typ host")
        .ok()?;
    let mut datagram = [0; 1200];
    for _ in 0..8 {
        now = now + Duration::from_millis(50);
        while let Some(it) = a.transmit(now, &mut crypto, &mut datagram) {
            b.receive(now, &mut crypto, SocketId(0), ours, &mut datagram[..it.len]);
        }
        while let Some(it) = b.transmit(now, &mut crypto, &mut datagram) {
            a.receive(
                now,
                &mut crypto,
                SocketId(0),
                theirs,
                &mut datagram[..it.len],
            );
        }
    }
    (a.path()?.remote == theirs && b.path()?.remote == ours).then_some(())
}

fn dtls() -> Option<()> {
    let mut state = 2;
    let mut crypto = RustCrypto::new(|out: &mut [u8]| bytes(out, &mut state));
    let ours = Identity::generate(&mut crypto).ok()?;
    let theirs = Identity::generate(&mut crypto).ok()?;
    let now = Instant::ZERO;
    let mut here: dtls::Resources = dtls::Resources::new();
    let mut there: dtls::Resources = dtls::Resources::new();
    let config = dtls::Config::new(dtls::Role::Client, *theirs.fingerprint());
    let mut client = Dtls::new(now, &mut crypto, &config, &mut here);
    let config = dtls::Config::new(dtls::Role::Server, *ours.fingerprint());
    let mut server = Dtls::new(now, &mut crypto, &config, &mut there);
    let mut datagram = [0; dtls::DATAGRAM_MAX];
    while !(client.is_open() && server.is_open()) {
        let mut moved = false;
        while client.wants_work() {
            client.work(now, &mut crypto, &ours);
        }
        while let Some(len) = client.transmit(now, &mut crypto, &mut datagram) {
            let mut came = &mut datagram[..len];
            server.receive(now, &mut crypto, &mut came);
            moved = true;
        }
        while server.wants_work() {
            server.work(now, &mut crypto, &theirs);
        }
        while let Some(len) = server.transmit(now, &mut crypto, &mut datagram) {
            let mut came = &mut datagram[..len];
            client.receive(now, &mut crypto, &mut came);
            moved = true;
        }
        moved.then_some(())?;
    }
    Some(())
}

fn sctp() -> Option<()> {
    let mut here: sctp::Resources<4096, 8, 4096, 4> = sctp::Resources::new();
    let mut there: sctp::Resources<4096, 8, 4096, 4> = sctp::Resources::new();
    let mut a = Association::new(sctp::Config::new([1; 8]), here.lend());
    let mut b = Association::new(sctp::Config::new([2; 8]), there.lend());
    let now = Instant::ZERO;
    a.connect();
    a.send(Outgoing::message(0, 51), b"hello").ok()?;
    let mut packet = [0; 1200];
    for _ in 0..4 {
        while let Some(len) = a.transmit(now, &mut packet) {
            b.receive(now, &packet[..len]);
        }
        while let Some(len) = b.transmit(now, &mut packet) {
            a.receive(now, &packet[..len]);
        }
    }
    let Received::Piece(piece) = b.read()? else {
        return None;
    };
    (piece.bytes == b"hello").then_some(())
}

fn session() -> Option<()> {
    let mut state = 3;
    let mut crypto = RustCrypto::new(|out: &mut [u8]| bytes(out, &mut state));
    let mut here: session::Resources<2, 4, 8, 1, 0, 1536, 4096, 16, 4096, 4> =
        session::Resources::new();
    let mut there: session::Resources<2, 4, 8, 1, 0, 1536, 4096, 16, 4096, 4> =
        session::Resources::new();
    let mine = Identity::generate(&mut crypto).ok()?;
    let other = Identity::generate(&mut crypto).ok()?;
    let mut now = Instant::ZERO;
    let config = session::Config::new(Role::Controlling);
    let mut a = Session::new(now, &mut crypto, config, here.lend(), &[]).ok()?;
    let config = session::Config::new(Role::Controlled);
    let mut b = Session::new(now, &mut crypto, config, there.lend(), &[]).ok()?;
    let ours: SocketAddr = "192.0.2.1:5000".parse().ok()?;
    let theirs: SocketAddr = "192.0.2.2:6000".parse().ok()?;
    a.set_addresses(now, &[(SocketId(0), ours)]).ok()?;
    b.set_addresses(now, &[(SocketId(0), theirs)]).ok()?;
    a.open("chat", true).ok()?;
    let offer = Remote {
        fingerprint: *mine.fingerprint(),
        ..Remote::new(a.ice().ufrag(), a.ice().password(), a.setup())
    };
    b.set_remote(now, &offer).ok()?;
    let answer = Remote {
        fingerprint: *other.fingerprint(),
        ..Remote::new(b.ice().ufrag(), b.ice().password(), b.setup())
    };
    a.set_remote(now, &answer).ok()?;
    a.credit(500);
    b.credit(500);
    a.add_candidate(now, "candidate:1 1 udp 2113937151 192.0.2.2 6000 typ host")
        .ok()?;
    let mut datagram = [0; session::DATAGRAM_MAX];
    for _ in 0..40 {
        now = now + Duration::from_millis(50);
        while a.work(now, &mut crypto, &mine) {}
        while let Some(it) = a.transmit(now, &mut crypto, &mut datagram) {
            b.receive(now, &mut crypto, SocketId(0), ours, &mut datagram[..it.len]);
        }
        while b.work(now, &mut crypto, &other) {}
        while let Some(it) = b.transmit(now, &mut crypto, &mut datagram) {
            let came = &mut datagram[..it.len];
            a.receive(now, &mut crypto, SocketId(0), theirs, came);
        }
        while let Some(event) = a.poll_event() {
            if matches!(event, Event::Open { .. }) {
                a.send(session::Outgoing::message(Kind::Text), b"hello")
                    .ok()?;
            }
        }
        while b.poll_event().is_some() {}
    }
    let session::Received::Piece(piece) = b.read()? else {
        return None;
    };
    (piece.bytes == b"hello").then_some(())
}

/// What the others use within, by itself.
fn parts() -> Option<()> {
    let mut state = 4;
    let mut crypto = RustCrypto::new(|out: &mut [u8]| bytes(out, &mut state));
    let mut buffer = [0; 128];
    let request = Writer::new(&mut buffer, Class::Request, Method::BINDING, [7; 12])
        .integrity(&mut crypto, b"password")
        .fingerprint()
        .finish()
        .ok()?;
    let message = Message::parse(request).ok()?;
    message.verify_integrity(&mut crypto, b"password").ok()?;
    let pair = crypto.key_pair().ok()?;
    let signed = crypto.sign(&pair.secret, &[1; 32]).ok()?;
    let mut der = [0; signature::DER_MAX];
    let len = signature::to_der(&signed, &mut der)?;
    (signature::from_der(&der[..len])? == signed).then_some(())
}
