//! One DTLS session, and what a remote may send it that has every key: the messages of a real
//! remote, cut, changed, in any order, and messages of its own.

use peer_core::rtc::dtls::{
    Config, DATAGRAM_MAX, Dtls, Event, HEADROOM, Identity, Resources, Role, Suite, TAILROOM,
};
use peer_core::time::{Duration, Instant};

use super::super::bytes::Bytes;
use super::crypto::{Belief, Gullible};

const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;
const TAG: usize = 16;
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const FINISHED: u8 = 20;
/// Messages of the remote that are remembered.
const MESSAGES_MAX: usize = 32;

/// A whole handshake message.
#[derive(Clone)]
struct Message {
    kind: u8,
    sequence: u16,
    body: Vec<u8>,
}

impl Message {
    /// The fragment with the bytes from `at` to `end`.
    fn fragment(&self, at: usize, end: usize) -> Vec<u8> {
        let [_, a, b, c] = (self.body.len() as u32).to_be_bytes();
        let [d, e] = self.sequence.to_be_bytes();
        let [_, f, g, h] = (at as u32).to_be_bytes();
        let [_, i, j, k] = ((end - at) as u32).to_be_bytes();
        let header = [self.kind, a, b, c, d, e, f, g, h, i, j, k];
        [&header[..], &self.body[at..end]].concat()
    }

    fn whole(&self) -> Vec<u8> {
        self.fragment(0, self.body.len())
    }
}

struct End<'m> {
    dtls: Dtls<'m, Gullible>,
    crypto: Gullible,
    identity: Identity,
    /// What is under way to it.
    queue: Vec<Vec<u8>>,
    events: Vec<Event>,
    data: usize,
}

impl End<'_> {
    fn receive(&mut self, now: Instant, mut datagram: Vec<u8>) {
        let mut rest = &mut datagram[..];
        while self
            .dtls
            .receive(now, &mut self.crypto, &mut rest)
            .is_some()
        {
            assert!(self.dtls.is_open() || self.events.contains(&Event::Connected));
            self.data += 1;
        }
    }

    /// What it sends and tells now.
    fn flush(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let (mut out, mut sent) = ([0; DATAGRAM_MAX], Vec::new());
        while let Some(len) = self.dtls.transmit(now, &mut self.crypto, &mut out) {
            assert!(len <= DATAGRAM_MAX);
            sent.push(out[..len].to_vec());
            assert!(sent.len() < 30, "a flight is bounded");
        }
        let timeout = self.dtls.timeout();
        assert!(timeout.is_none_or(|at| at > now), "{timeout:?} at {now:?}");
        self.events
            .extend(core::iter::from_fn(|| self.dtls.poll_event()));
        let is_told_once = match self.events[..] {
            [] | [_] => true,
            [first, last] => first == Event::Connected && last != Event::Connected,
            _ => false,
        };
        assert!(is_told_once, "{:?}", self.events);
        sent
    }
}

/// The remote's side of the network.
struct Wire {
    suite: Suite,
    messages: Vec<Message>,
    /// Of the next record that is not the remote's own.
    sequence: u64,
    /// Records that are to be sent in one datagram.
    held: Vec<u8>,
}

impl Wire {
    fn nonce_len(&self) -> usize {
        match self.suite {
            Suite::Aes128Gcm => 8,
            Suite::ChaCha20Poly1305 => 0,
        }
    }

    /// Remembers the whole messages in a datagram.
    fn learn(&mut self, mut datagram: &[u8]) {
        while let Some((header, rest)) = datagram.split_first_chunk::<RECORD_HEADER>() {
            let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let (body, rest) = rest.split_at(len);
            datagram = rest;
            let mut body = body.to_vec();
            if header[4] == 1 {
                // Where the remote was talked into the other suite, it is not understood.
                let text = self.nonce_len()..body.len().saturating_sub(TAG);
                body = body.get(text).unwrap_or_default().to_vec();
                Gullible::mask(&mut body);
            }
            if header[0] == HANDSHAKE {
                self.learn_messages(&body);
            }
        }
    }

    fn learn_messages(&mut self, mut record: &[u8]) {
        while let Some((header, rest)) = record.split_first_chunk::<MESSAGE_HEADER>() {
            let number =
                |at: usize| u32::from_be_bytes([0, header[at], header[at + 1], header[at + 2]]);
            let Some((body, rest)) = rest.split_at_checked(number(9) as usize) else {
                return;
            };
            record = rest;
            let sequence = u16::from_be_bytes([header[4], header[5]]);
            let is_new = self.messages.iter().all(|it| it.sequence != sequence);
            if number(1) == number(9) && is_new && self.messages.len() < MESSAGES_MAX {
                self.messages.push(Message {
                    kind: header[0],
                    sequence,
                    body: body.to_vec(),
                });
            }
        }
    }

    /// Adds a record to the datagram that is being made.
    fn put(&mut self, content: u8, epoch: u16, body: &[u8]) {
        self.sequence += 1;
        let numbers = (u64::from(epoch) << 48 | self.sequence).to_be_bytes();
        let (nonce, tag) = match epoch {
            0 => (0, 0),
            _ => (self.nonce_len(), TAG),
        };
        let len = nonce + body.len() + tag;
        self.held.reserve(RECORD_HEADER + len);
        self.held.extend_from_slice(&[content, 0xfe, 0xfd]);
        self.held.extend_from_slice(&numbers);
        self.held.extend_from_slice(&(len as u16).to_be_bytes());
        self.held.extend_from_slice(&numbers[..nonce]);
        self.held.extend_from_slice(body);
        if epoch > 0 {
            let text = self.held.len() - body.len();
            Gullible::mask(&mut self.held[text..]);
            self.held.extend_from_slice(&[6; TAG]);
        }
    }

    /// One of the remote's messages, as the script has it changed.
    fn message(&self, script: &mut Bytes<'_>, shift: u8) -> Message {
        let any = Message {
            kind: script.byte(),
            sequence: 0,
            body: Vec::new(),
        };
        let count = self.messages.len().max(1);
        let known = self.messages.get(usize::from(any.kind) % count);
        let mut message = known.cloned().unwrap_or(any);
        let shift = [0, 1, 2, u16::MAX][usize::from(shift & 3)];
        message.sequence = message.sequence.wrapping_add(shift);
        message
    }
}

fn end<'m>(
    now: Instant,
    n: u8,
    (role, suite, belief): (Role, Suite, Belief),
    fingerprint: [u8; 32],
    identity: Identity,
    memory: &'m mut Resources<1536>,
) -> End<'m> {
    let mut config = Config::new(role, fingerprint);
    config.prefer = suite;
    config.time_limit = Duration::from_secs(10);
    config.use_srtp = n == 1;
    let mut crypto = Gullible::new(n.into(), belief);
    End {
        dtls: Dtls::new(now, &mut crypto, &config, memory),
        crypto,
        identity,
        queue: Vec::new(),
        events: Vec::new(),
        data: 0,
    }
}

/// A session in either role, and a script of what its remote sends.
pub fn handshake(data: &[u8]) {
    let mut script = Bytes::new(data);
    let mut now = Instant::from_millis(1);
    let decisions = script.byte();
    let roles = match decisions & 1 {
        0 => [Role::Client, Role::Server],
        _ => [Role::Server, Role::Client],
    };
    let suite = match decisions & 2 {
        0 => Suite::Aes128Gcm,
        _ => Suite::ChaCha20Poly1305,
    };
    let belief = match decisions & 4 {
        0 => Belief::All,
        _ => Belief::Strict,
    };
    // Else the script says when the long operations are done.
    let works = decisions & 8 == 0;
    let mut crypto = Gullible::new(7, belief);
    let identities = [(); 2].map(|()| Identity::generate(&mut crypto).expect("it is random"));
    let fingerprints = identities.each_ref().map(|it| *it.fingerprint());
    let [ours, theirs] = identities;
    let mut memory = [const { Resources::<1536>::new() }; 2];
    let [here, there] = &mut memory;
    let kind = |n: usize| (roles[n], suite, belief);
    let mut one = end(now, 0, kind(0), fingerprints[1], ours, here);
    let mut remote = end(now, 1, kind(1), fingerprints[0], theirs, there);
    let mut wire = Wire {
        suite,
        messages: Vec::new(),
        sequence: 100,
        held: Vec::new(),
    };
    loop {
        if works {
            while one.dtls.work(now, &mut one.crypto, &one.identity) {}
        }
        remote.queue.extend(one.flush(now));
        while remote.dtls.work(now, &mut remote.crypto, &remote.identity) {}
        for datagram in remote.flush(now) {
            wire.learn(&datagram);
            one.queue.push(datagram);
        }
        if script.is_empty() {
            break;
        }
        let operation = script.byte();
        let shift = operation >> 4;
        match operation & 15 {
            0 if !one.queue.is_empty() => {
                let datagram = one.queue.remove(0);
                one.receive(now, datagram);
            }
            1 if !remote.queue.is_empty() => {
                let datagram = remote.queue.remove(0);
                remote.receive(now, datagram);
            }
            2 if !one.queue.is_empty() => drop(one.queue.remove(0)),
            3 => {
                one.dtls.work(now, &mut one.crypto, &one.identity);
            }
            4 => now = now + Duration::from_millis(u64::from(script.byte()) * 8),
            5 => {
                let noise = script.piece().to_vec();
                one.receive(now, noise);
            }
            6 => {
                let (content, epoch) = (script.byte(), script.byte());
                wire.put(
                    CHANGE_CIPHER_SPEC + content % 5,
                    epoch.into(),
                    script.piece(),
                );
            }
            7 => {
                let (at, change) = (usize::from(script.word()), script.byte());
                if let Some(datagram) = one.queue.first_mut() {
                    let at = at % datagram.len();
                    datagram[at] ^= change;
                }
            }
            kind @ 8.. => {
                let mut message = wire.message(&mut script, shift);
                let at = usize::from(script.word()) % (message.body.len() + 1);
                match kind {
                    9 => {
                        if let Some(byte) = message.body.get_mut(at) {
                            *byte ^= script.byte();
                        }
                    }
                    10 => drop(message.body.splice(at..at, script.piece().to_vec())),
                    11 => {
                        let end = message.body.len().min(at + script.below(64));
                        message.body.drain(at..end);
                    }
                    12 => message.body = script.long_piece().to_vec(),
                    13 => message.kind = script.byte(),
                    _ => {}
                }
                // Finished comes encrypted, unless the script wants it otherwise.
                let epoch = u16::from((message.kind == FINISHED) != (operation & 0x40 != 0));
                match kind {
                    14 => {
                        let len = message.body.len();
                        let from = at.min(len);
                        let to = len.min(from + script.below(256));
                        wire.put(HANDSHAKE, epoch, &message.fragment(from, to));
                    }
                    15 => {
                        let size = script.below(64) + 1;
                        let len = message.body.len();
                        let mut cuts: Vec<usize> = (0..len).step_by(size).collect();
                        if operation & 0x10 != 0 {
                            cuts.reverse();
                        }
                        for from in cuts {
                            let to = len.min(from + size);
                            wire.put(HANDSHAKE, epoch, &message.fragment(from, to));
                        }
                    }
                    _ => wire.put(HANDSHAKE, epoch, &message.whole()),
                }
            }
            _ => {}
        }
        if operation & 0x80 == 0 && !wire.held.is_empty() {
            one.receive(now, core::mem::take(&mut wire.held));
        }
    }
    settle(now, one);
}

/// Nothing comes any more: the handshake ends, if it was not done, and what is open can be closed.
fn settle(mut now: Instant, mut one: End<'_>) {
    for _ in 0..100 {
        while one.dtls.work(now, &mut one.crypto, &one.identity) {}
        one.flush(now);
        let Some(next) = one.dtls.timeout() else {
            break;
        };
        now = next;
    }
    assert_eq!(one.dtls.timeout(), None);
    assert!(!one.events.is_empty(), "it has come to an end");
    let was_open = one.dtls.is_open();
    let connected = one.events.contains(&Event::Connected);
    assert!(connected || !was_open && one.data == 0);
    let mut buffer = [9; HEADROOM + 10 + TAILROOM];
    let text = HEADROOM..HEADROOM + 10;
    let sealed = one.dtls.seal(&mut one.crypto, &mut buffer, text.clone());
    assert_eq!(sealed.is_ok(), was_open);
    one.dtls.close();
    let last = one.flush(now);
    assert!(last.len() <= 1 && (was_open || last.is_empty()));
    assert!(one.flush(now).is_empty() && !one.dtls.is_open());
    let sealed = one.dtls.seal(&mut one.crypto, &mut buffer, text);
    assert!(sealed.is_err());
}
