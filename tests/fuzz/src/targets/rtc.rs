//! WebRTC's own stack: STUN messages, and DTLS sessions whose datagrams are changed on the way.

use std::collections::VecDeque;

use peer_core::rtc::dtls::{Config, Dtls, Event, HEADROOM, Identity, Resources, Role, TAILROOM};
use peer_core::rtc::stun::{ChannelData, Class, Message, Method, Writer};
use peer_core::time::{Duration, Instant};

use super::bytes::Bytes;

mod crypto;
mod handshake;
mod ice;
mod session;
mod turn;

use crypto::null::NullCrypto;
pub use handshake::handshake;
pub use ice::ice;
pub use session::session;

/// STUN messages: what is read is written so that it is read again. An allocation hears them, too.
pub fn stun(data: &[u8]) {
    turn::heard(data);
    if let Some(channel) = ChannelData::parse(data) {
        let mut header = [0; ChannelData::HEADER_LEN];
        ChannelData::write_header(channel.channel, channel.data.len(), &mut header).unwrap();
        assert_eq!(header, data[..4]);
    }
    let Ok(message) = Message::parse(data) else {
        return;
    };
    let mut crypto = NullCrypto::new(1);
    let _ = message.verify_integrity(&mut crypto, b"key");
    let _ = message.verify_integrity_sha256(&mut crypto, b"key");
    let _ = message.verify_fingerprint();
    assert!(message.unknown_required().all(|kind| kind < 0x8000));
    let (class, method) = (message.class(), Method::new(message.method().number()));
    let mut buffer = vec![0; data.len() + 64];
    let writer = Writer::new(&mut buffer, class, method, *message.transaction());
    let written = message
        .attributes()
        .fold(writer, Writer::put)
        .integrity(&mut crypto, b"key");
    let written = written
        .fingerprint()
        .finish()
        .expect("it is as long as what was read");
    let again = Message::parse(written).expect("it was written");
    assert!(again.attributes().eq(message.attributes()));
    assert_eq!(again.verify_integrity(&mut crypto, b"key"), Ok(()));
    assert_eq!(again.verify_fingerprint(), Ok(()));
    assert!(matches!(
        again.class(),
        Class::Request | Class::Indication | Class::Success | Class::Error
    ));
}

struct End<'m> {
    dtls: Dtls<'m, NullCrypto>,
    crypto: NullCrypto,
    identity: Identity,
    /// What is under way to it.
    queue: VecDeque<Vec<u8>>,
    events: Vec<Event>,
    data: usize,
    /// When it had nothing more to do, if nothing came since.
    quiet: Option<Instant>,
    /// How often it was to look for something to do.
    turns: u8,
}

impl End<'_> {
    fn receive(&mut self, now: Instant, mut datagram: Vec<u8>) {
        self.quiet = None;
        let mut rest = &mut datagram[..];
        while self
            .dtls
            .receive(now, &mut self.crypto, &mut rest)
            .is_some()
        {
            assert!(self.events.contains(&Event::Connected) || self.dtls.is_open());
            self.data += 1;
        }
    }

    fn turn(&mut self, now: Instant, other: &mut VecDeque<Vec<u8>>) {
        // With nothing to do, it does nothing again, which is looked at each so often.
        self.turns = self.turns.wrapping_add(1);
        let was_quiet = self.quiet == Some(now);
        if was_quiet && self.turns != 0 {
            return;
        }
        while self.dtls.work(now, &mut self.crypto, &self.identity) {}
        let mut out = [0; 1_200];
        let mut datagrams = 0;
        while let Some(len) = self.dtls.transmit(now, &mut self.crypto, &mut out) {
            assert!(!was_quiet, "it sends again");
            other.push_back(out[..len].to_vec());
            datagrams += 1;
            assert!(datagrams < 30, "a flight is bounded");
        }
        self.events
            .extend(core::iter::from_fn(|| self.dtls.poll_event()));
        self.quiet = Some(now);
    }
}

/// Two ends, one of them the other's remote, and a script of what happens to their datagrams.
pub fn dtls(data: &[u8]) {
    let mut script = Bytes::new(data);
    let mut now = Instant::from_millis(1);
    let mut crypto = NullCrypto::new(7);
    let identities = [(); 2].map(|()| Identity::generate(&mut crypto).unwrap());
    let fingerprints = [0, 1].map(|n| *identities[n].fingerprint());
    let sizes = [script.byte(), script.byte()];
    let mut memory = [const { Resources::<1536>::new() }; 2];
    let mut memories = memory.iter_mut();
    let mut n = 0;
    let mut ends = identities.map(|identity| {
        let role = if n == 0 { Role::Client } else { Role::Server };
        let mut config = Config::new(role, fingerprints[1 - n]);
        config.datagram_max = 128 + 8 * usize::from(sizes[n]);
        config.time_limit = Duration::from_secs(20);
        let mut crypto = NullCrypto::new(n as u64);
        n += 1;
        End {
            dtls: Dtls::new(
                now,
                &mut crypto,
                &config,
                memories.next().expect("one each"),
            ),
            crypto,
            identity,
            queue: VecDeque::new(),
            events: Vec::new(),
            data: 0,
            quiet: None,
            turns: 0,
        }
    });
    let turn = |ends: &mut [End<'_>; 2], now| {
        let [client, server] = ends;
        client.turn(now, &mut server.queue);
        server.turn(now, &mut client.queue);
    };
    turn(&mut ends, now);
    while !script.is_empty() {
        let operation = script.byte();
        let end = &mut ends[usize::from(operation & 1)];
        match operation >> 1 & 7 {
            0 | 1 => {
                if let Some(datagram) = end.queue.pop_front() {
                    end.receive(now, datagram);
                }
            }
            2 => drop(end.queue.pop_front()),
            3 => {
                let (at, change) = (script.word(), script.byte());
                if let Some(mut datagram) = end.queue.pop_front() {
                    let at = usize::from(at) % datagram.len();
                    datagram[at] ^= change;
                    end.receive(now, datagram);
                }
            }
            4 => {
                let noise = script.piece().to_vec();
                end.receive(now, noise);
            }
            5 => {
                if let Some(datagram) = end.queue.front().cloned() {
                    end.receive(now, datagram);
                }
            }
            6 => {
                if let Some(datagram) = end.queue.pop_front() {
                    end.queue.push_back(datagram);
                }
            }
            _ => now = now + Duration::from_millis(u64::from(script.byte()) * 8),
        }
        turn(&mut ends, now);
    }
    // From here on the network is perfect: both ends come to an end of the handshake.
    let begun = now;
    loop {
        for end in &mut ends {
            while let Some(datagram) = end.queue.pop_front() {
                end.receive(now, datagram);
            }
        }
        now = now + Duration::from_millis(200);
        turn(&mut ends, now);
        if ends.iter().all(|end| end.queue.is_empty()) {
            // Nothing happens before that.
            let Some(next) = ends.iter().filter_map(|end| end.dtls.timeout()).min() else {
                break;
            };
            assert!(next.saturating_duration_since(begun) < Duration::from_secs(60));
            now = next;
            turn(&mut ends, now);
        }
    }
    let open = ends.iter().all(|end| end.dtls.is_open());
    for end in &ends {
        assert!(
            !end.events.is_empty() && end.events.len() <= 2,
            "{:?}",
            end.events
        );
        let connected = end.events.contains(&Event::Connected);
        assert!(
            connected || end.data == 0,
            "data before the handshake was done"
        );
    }
    if open {
        let [client, server] = &mut ends;
        let mut buffer = [9; HEADROOM + 10 + TAILROOM];
        let text = HEADROOM..HEADROOM + 10;
        let sealed = client
            .dtls
            .seal(&mut client.crypto, &mut buffer, text)
            .unwrap();
        let before = server.data;
        server.receive(now, buffer[sealed].to_vec());
        assert_eq!(server.data, before + 1, "both are open and agree");
    }
}
