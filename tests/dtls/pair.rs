//! Two sessions of ours in virtual time, with any cryptography, over a network that changes what it
//! carries.

use peer_core::rtc::crypto::{Crypto, CryptoError, RustCrypto};
use peer_core::rtc::dtls::{Config, DATAGRAM_MAX, Dtls, Event, Identity, Role, SealError};
use peer_core::time::{Duration, Instant};
use peer_net::rtc::crypto::RingCrypto;

use super::{memory, packets};

/// Randomness that is the same for the same seed.
pub(crate) type Seeded = Box<dyn FnMut(&mut [u8]) -> Result<(), CryptoError>>;

/// `calls` times; then it fails.
pub(crate) fn seeded(seed: u64, mut calls: u32) -> Seeded {
    let mut state = seed;
    Box::new(move |out| {
        calls = calls.checked_sub(1).ok_or(CryptoError::Random)?;
        for byte in out {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            [*byte, ..] = (z ^ (z >> 31)).to_le_bytes();
        }
        Ok(())
    })
}

pub(crate) fn rustcrypto(random: Seeded) -> RustCrypto<Seeded> {
    RustCrypto::new(random)
}

pub(crate) fn ring(random: Seeded) -> RingCrypto<Seeded> {
    RingCrypto::new(random)
}

/// Runs a check, which is generic over [`Crypto`], with each that there is.
#[macro_export]
macro_rules! on_both {
    ($($(#[$doc:meta])* $name:ident => $check:ident;)*) => {
        mod with_rustcrypto {
            $($(#[$doc])* #[test] fn $name() { super::$check($crate::pair::rustcrypto); })*
        }
        mod with_ring {
            $($(#[$doc])* #[test] fn $name() { super::$check($crate::pair::ring); })*
        }
    };
}

/// A session with what belongs to it.
pub(crate) struct End<C: Crypto> {
    pub(crate) dtls: Dtls<'static, C>,
    pub(crate) crypto: C,
    pub(crate) identity: Identity,
    pub(crate) events: Vec<Event>,
    pub(crate) data: Vec<Vec<u8>>,
}

impl<C: Crypto> End<C> {
    pub(crate) fn new(now: Instant, mut crypto: C, identity: Identity, config: &Config) -> Self {
        Self {
            dtls: Dtls::new(now, &mut crypto, config, memory()),
            crypto,
            identity,
            events: Vec::new(),
            data: Vec::new(),
        }
    }

    pub(crate) fn receive(&mut self, now: Instant, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        let mut rest = &mut datagram[..];
        while let Some(data) = self.dtls.receive(now, &mut self.crypto, &mut rest) {
            self.data.push(data.to_vec());
        }
        self.poll();
    }

    pub(crate) fn turn(&mut self, now: Instant) -> Vec<Vec<u8>> {
        while self.dtls.work(now, &mut self.crypto, &self.identity) {}
        let mut all = Vec::new();
        let mut out = [0; DATAGRAM_MAX];
        while let Some(len) = self.dtls.transmit(now, &mut self.crypto, &mut out) {
            all.push(out[..len].to_vec());
        }
        self.poll();
        all
    }

    pub(crate) fn poll(&mut self) {
        self.events
            .extend(core::iter::from_fn(|| self.dtls.poll_event()));
    }

    pub(crate) fn send(&mut self, data: &[u8]) -> Result<Vec<u8>, SealError> {
        packets::seal(&mut self.dtls, &mut self.crypto, data)
    }
}

/// What becomes of a datagram on its way to an end of this role.
pub(crate) type Way<'n> = &'n mut dyn FnMut(Role, Vec<u8>) -> Vec<u8>;

pub(crate) fn unchanged(_: Role, datagram: Vec<u8>) -> Vec<u8> {
    datagram
}

pub(crate) struct Pair<A: Crypto, B: Crypto = A> {
    pub(crate) client: End<A>,
    pub(crate) server: End<B>,
    pub(crate) now: Instant,
}

impl<A: Crypto, B: Crypto> Pair<A, B> {
    /// A client and a server that know each other, with a change of their configurations.
    pub(crate) fn new(
        mut ours: A,
        mut theirs: B,
        change: impl FnOnce(&mut Config, &mut Config),
    ) -> Self {
        let now = Instant::from_millis(1);
        let client = Identity::generate(&mut ours).expect("randomness");
        let server = Identity::generate(&mut theirs).expect("randomness");
        let mut for_client = Config::new(Role::Client, *server.fingerprint());
        let mut for_server = Config::new(Role::Server, *client.fingerprint());
        change(&mut for_client, &mut for_server);
        Self {
            client: End::new(now, ours, client, &for_client),
            server: End::new(now, theirs, server, &for_server),
            now,
        }
    }

    /// Runs both to the end of the handshake, or of its time.
    pub(crate) fn run(&mut self, way: Way<'_>) {
        for _ in 0..200 {
            let sent = self.client.turn(self.now);
            let back = self.server.turn(self.now);
            let quiet = sent.is_empty() && back.is_empty();
            for datagram in sent {
                let datagram = way(Role::Server, datagram);
                self.server.receive(self.now, &datagram);
            }
            for datagram in back {
                let datagram = way(Role::Client, datagram);
                self.client.receive(self.now, &datagram);
            }
            if quiet {
                let next = [self.client.dtls.timeout(), self.server.dtls.timeout()];
                let Some(next) = next.into_iter().flatten().min() else {
                    return;
                };
                self.now = next.max(self.now + Duration::from_millis(1));
            }
        }
        panic!("it never ends");
    }

    pub(crate) fn connect(&mut self) {
        self.run(&mut unchanged);
        assert_eq!(self.client.events, [Event::Connected]);
        assert_eq!(self.server.events, [Event::Connected]);
    }
}
