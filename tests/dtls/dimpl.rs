//! The crate `dimpl` at the other end, in virtual time: each datagram of a handshake lost, doubled
//! or late.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::crypto::Dtls12CipherSuite;
use dimpl::{DtlsCertificate, Output};
use peer_core::rtc::crypto::RustCrypto;
use peer_core::rtc::dtls::{
    Config, DATAGRAM_MAX, Dtls, Event, HEADROOM, Identity, Role, Suite, TAILROOM,
};
use peer_core::time;

use super::{Source, crypto, identity, memory};

/// One way.
const DELAY: Duration = Duration::from_millis(20);

/// A private key of P-256 (RFC 5208, RFC 5915) up to its scalar.
const KEY: &[u8] = &[
    0x30, 0x41, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 3, 1, 7, 4, 0x27, 0x30, 0x25, 2, 1, 1, 4, 0x20,
];

fn certificate(identity: &Identity) -> DtlsCertificate {
    DtlsCertificate {
        certificate: identity.certificate().to_vec(),
        private_key: [KEY, identity.secret().as_bytes()].concat(),
    }
}

/// Whom a datagram goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Ours,
    Theirs,
}

/// When what the network made of a datagram arrives: after these times, each once.
type Fate<'f> = &'f dyn Fn(To, usize) -> Vec<Duration>;

fn perfect(_: To, _: usize) -> Vec<Duration> {
    vec![DELAY]
}

/// What may be chosen of a handshake.
#[derive(Clone, Copy, Debug)]
struct Setting {
    /// Ours.
    role: Role,
    suite: Suite,
    datagram_max: usize,
    cookie: bool,
    /// Whether theirs, as client, offers DTLS 1.3, too.
    newer: bool,
}

const PLAIN: Setting = Setting {
    role: Role::Client,
    suite: Suite::Aes128Gcm,
    datagram_max: 1_150,
    cookie: false,
    newer: false,
};

struct Pair {
    ours: Dtls<'static, RustCrypto<Source>>,
    crypto: RustCrypto<Source>,
    identity: Identity,
    theirs: dimpl::Dtls,
    start: Instant,
    now: Duration,
    /// When their timer ends.
    their_timeout: Option<Instant>,
    events: Vec<Event>,
    /// Whether theirs is connected, and what certificate it saw.
    connected: bool,
    certificate: Vec<u8>,
    closed: bool,
    /// Application data that came to ours and to theirs.
    data: [Vec<Vec<u8>>; 2],
    under_way: VecDeque<(Duration, To, Vec<u8>)>,
    sent: [usize; 2],
}

impl Pair {
    fn new(setting: Setting) -> Self {
        let mut crypto = crypto();
        let (identity, other) = (identity(), identity());
        let mut config = Config::new(setting.role, *other.fingerprint());
        config.prefer = setting.suite;
        config.datagram_max = setting.datagram_max;
        let suite = match setting.suite {
            Suite::Aes128Gcm => Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256,
            Suite::ChaCha20Poly1305 => Dtls12CipherSuite::ECDHE_ECDSA_CHACHA20_POLY1305_SHA256,
        };
        let their_config = dimpl::Config::builder()
            .mtu(setting.datagram_max)
            .use_server_cookie(setting.cookie)
            .dtls12_cipher_suites(&[suite])
            .dangerously_set_rng_seed(1)
            .build()
            .expect("a configuration");
        let start = Instant::now();
        let (their_config, certificate) = (Arc::new(their_config), certificate(&other));
        let mut theirs = if setting.newer {
            dimpl::Dtls::new_auto(their_config, certificate, start)
        } else {
            dimpl::Dtls::new_12(their_config, certificate, start)
        };
        theirs.set_active(setting.role == Role::Server);
        Self {
            ours: Dtls::new(time::Instant::ZERO, &mut crypto, &config, memory()),
            crypto,
            identity,
            theirs,
            start,
            now: Duration::ZERO,
            their_timeout: Some(start),
            events: Vec::new(),
            connected: false,
            certificate: Vec::new(),
            closed: false,
            data: [Vec::new(), Vec::new()],
            under_way: VecDeque::new(),
            sent: [0, 0],
        }
    }

    fn our_now(&self) -> time::Instant {
        let micros = u64::try_from(self.now.as_micros()).expect("a short test");
        time::Instant::from_micros(micros)
    }

    fn send(&mut self, to: To, datagram: &[u8], fate: Fate<'_>) {
        let n = &mut self.sent[usize::from(to == To::Theirs)];
        for delay in fate(to, *n) {
            let at = self.now + delay;
            let place = self.under_way.partition_point(|(other, ..)| *other <= at);
            let datagram = datagram.to_vec();
            self.under_way.insert(place, (at, to, datagram));
        }
        *n += 1;
    }

    /// What both do now.
    fn turn(&mut self, fate: Fate<'_>) {
        let now = self.our_now();
        while self.ours.work(now, &mut self.crypto, &self.identity) {}
        let mut out = [0; DATAGRAM_MAX];
        while let Some(len) = self.ours.transmit(now, &mut self.crypto, &mut out) {
            self.send(To::Theirs, &out[..len], fate);
        }
        self.events
            .extend(core::iter::from_fn(|| self.ours.poll_event()));

        let now = self.start + self.now;
        if self.their_timeout.take().is_some_and(|at| at <= now) {
            self.theirs.handle_timeout(now).expect("it goes on");
        }
        let mut out = [0; 2_048];
        loop {
            match self.theirs.poll_output(&mut out) {
                Output::Packet(packet) => {
                    let packet = packet.to_vec();
                    self.send(To::Ours, &packet, fate);
                }
                Output::Timeout(at) => {
                    self.their_timeout = Some(at);
                    break;
                }
                Output::Connected => self.connected = true,
                Output::PeerCert(certificate) => self.certificate = certificate.to_vec(),
                Output::ApplicationData(data) => self.data[1].push(data.to_vec()),
                Output::CloseNotify => self.closed = true,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Lets time pass until `done`, a minute at most.
    fn run(&mut self, fate: Fate<'_>, done: impl Fn(&Self) -> bool) {
        loop {
            self.turn(fate);
            if done(self) {
                return;
            }
            let ours = self
                .ours
                .timeout()
                .map(|at| self.now + at.saturating_duration_since(self.our_now()));
            let theirs = self.their_timeout.map(|at| at - self.start);
            let arrival = self.under_way.front().map(|(at, ..)| *at);
            let next = [ours, theirs, arrival].into_iter().flatten().min();
            self.now = self.now.max(next.expect("theirs has a timer"));
            assert!(self.now < Duration::from_secs(60), "{:?}", self.events);
            while self
                .under_way
                .front()
                .is_some_and(|(at, ..)| *at <= self.now)
            {
                let Some((_, to, mut datagram)) = self.under_way.pop_front() else {
                    break;
                };
                match to {
                    To::Theirs => self.theirs.handle_packet(&datagram).expect("it goes on"),
                    To::Ours => {
                        let now = self.our_now();
                        let mut rest = &mut datagram[..];
                        while let Some(data) = self.ours.receive(now, &mut self.crypto, &mut rest) {
                            self.data[0].push(data.to_vec());
                        }
                    }
                }
            }
        }
    }

    /// Connects over this network, talks both ways and closes; how long the handshake took.
    fn check(mut self, fate: Fate<'_>) -> Duration {
        self.run(fate, |pair| pair.connected && !pair.events.is_empty());
        let took = self.now;
        assert_eq!(self.events, [Event::Connected]);
        assert_eq!(self.certificate, self.identity.certificate());
        let texts: Vec<Vec<u8>> = (1..=10_u8).map(|n| vec![n; usize::from(n) * 100]).collect();
        for text in &texts {
            let mut buffer = vec![0; HEADROOM + text.len() + TAILROOM];
            let range = HEADROOM..HEADROOM + text.len();
            buffer[range.clone()].copy_from_slice(text);
            let sealed = self.ours.seal(&mut self.crypto, &mut buffer, range);
            let sealed = sealed.expect("it is open");
            self.send(To::Theirs, &buffer[sealed], &perfect);
            self.theirs
                .send_application_data(text)
                .expect("it is connected");
            self.run(&perfect, |pair| pair.under_way.is_empty());
        }
        assert_eq!(self.data, [texts.clone(), texts]);
        self.ours.close();
        self.run(&perfect, |pair| pair.closed);
        took
    }
}

/// Both roles, both suites.
fn settings(plain: Setting) -> impl Iterator<Item = Setting> {
    [Role::Client, Role::Server]
        .into_iter()
        .flat_map(move |role| {
            [Suite::Aes128Gcm, Suite::ChaCha20Poly1305].map(|suite| Setting {
                role,
                suite,
                ..plain
            })
        })
}

#[test]
fn it_connects_with_dimpl() {
    for setting in settings(PLAIN) {
        for setting in [
            setting,
            Setting {
                cookie: true,
                ..setting
            },
        ] {
            let flights = match setting.role {
                Role::Client if setting.cookie => 6,
                Role::Client | Role::Server => 4,
            };
            assert_eq!(
                Pair::new(setting).check(&perfect),
                DELAY * flights,
                "{setting:?}"
            );
        }
    }
}

/// As a browser does: a hello that offers more than DTLS 1.2.
#[test]
fn server_of_dimpl_that_offers_dtls_1_3() {
    for setting in settings(Setting {
        newer: true,
        ..PLAIN
    }) {
        if setting.role == Role::Server {
            Pair::new(setting).check(&perfect);
        }
    }
}

#[test]
fn their_close_is_heard() {
    for setting in settings(PLAIN) {
        let mut pair = Pair::new(setting);
        pair.run(&perfect, |pair| pair.connected && !pair.events.is_empty());
        pair.theirs.close().expect("it is open");
        pair.run(&perfect, |pair| pair.events.len() == 2);
        assert_eq!(pair.events, [Event::Connected, Event::Closed]);
    }
}

/// Each datagram of the handshake lost once, with flights in one datagram and in many.
fn each_lost(role: Role, datagram_max: usize) {
    let setting = Setting {
        role,
        datagram_max,
        cookie: true,
        ..PLAIN
    };
    for to in [To::Ours, To::Theirs] {
        for lost in 0..8 {
            Pair::new(setting).check(&|way, n| {
                if (way, n) == (to, lost) {
                    Vec::new()
                } else {
                    vec![DELAY]
                }
            });
        }
    }
}

#[test]
fn client_of_dimpl_with_each_datagram_lost() {
    each_lost(Role::Client, 1_150);
}

#[test]
fn client_of_dimpl_with_each_small_datagram_lost() {
    each_lost(Role::Client, 300);
}

#[test]
fn server_of_dimpl_with_each_datagram_lost() {
    each_lost(Role::Server, 1_150);
}

#[test]
fn server_of_dimpl_with_each_small_datagram_lost() {
    each_lost(Role::Server, 300);
}

/// All doubled, at once and late; each flight in the reverse order.
#[test]
fn datagrams_doubled_and_in_reverse() {
    for setting in settings(Setting {
        datagram_max: 300,
        ..PLAIN
    }) {
        Pair::new(setting).check(&|_, _| vec![DELAY, DELAY]);
        Pair::new(setting).check(&|_, _| vec![DELAY, DELAY * 6]);
        Pair::new(setting).check(&|_, n| {
            // The later, the sooner, within the first flights.
            let n = u32::try_from(n).expect("few");
            vec![DELAY - Duration::from_millis(1) * n.min(10)]
        });
    }
}
