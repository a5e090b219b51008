//! Sessions against each other, in virtual time, over a network that does what a test says.

extern crate std;
use std::boxed::Box;
use std::collections::VecDeque;
use std::vec::Vec;

use super::*;
use crate::rtc::crypto::Crypto;
use crate::rtc::crypto::null::NullCrypto;
use crate::time::Instant;

mod hostile;
mod loss;
mod packets;
mod parsers;
mod refused;
mod sessions;

/// Memory for a message: enough for a post-quantum ClientHello.
const M: usize = 1_536;
/// One way.
const DELAY: Duration = Duration::from_millis(20);

/// Memory that outlives the test's sessions. A test run is short.
fn memory() -> &'static mut Resources<M> {
    Box::leak(Box::default())
}

/// A session with what belongs to it.
struct End<C: Crypto> {
    dtls: Dtls<'static, C>,
    crypto: C,
    identity: Identity,
    events: Vec<Event>,
    data: Vec<Vec<u8>>,
}

impl<C: Crypto> End<C> {
    fn receive(&mut self, now: Instant, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        let mut rest = &mut datagram[..];
        while let Some(data) = self.dtls.receive(now, &mut self.crypto, &mut rest) {
            self.data.push(data.to_vec());
        }
        self.poll();
    }

    fn work(&mut self, now: Instant) {
        while self.dtls.work(now, &mut self.crypto, &self.identity) {}
        self.poll();
    }

    fn transmit(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut out = [0; DATAGRAM_MAX];
        while let Some(len) = self.dtls.transmit(now, &mut self.crypto, &mut out) {
            all.push(out[..len].to_vec());
            assert!(all.len() < 100, "it sends without end");
        }
        self.poll();
        all
    }

    fn poll(&mut self) {
        self.events
            .extend(core::iter::from_fn(|| self.dtls.poll_event()));
    }

    fn send(&mut self, data: &[u8]) -> Result<Vec<u8>, SealError> {
        packets::seal(&mut self.dtls, &mut self.crypto, data)
    }
}

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

/// What the network makes of the `n`th datagram of a way: when what arrives, after now.
type Network<'n> = dyn FnMut(Way, usize, Vec<u8>) -> Vec<(Duration, Vec<u8>)> + 'n;

fn perfect(_: Way, _: usize, datagram: Vec<u8>) -> Vec<(Duration, Vec<u8>)> {
    std::vec![(DELAY, datagram)]
}

struct Pair<C: Crypto = NullCrypto> {
    client: End<C>,
    server: End<C>,
    now: Instant,
    /// When, to whom, what; sorted by time, in the order of sending.
    queue: VecDeque<(Instant, Way, Vec<u8>)>,
    /// How many were sent each way.
    sent: [usize; 2],
}

impl Pair {
    fn new(change: impl FnOnce(&mut Config, &mut Config)) -> Self {
        Self::with(NullCrypto::new(1), NullCrypto::new(2), change)
    }
}

impl<C: Crypto> Pair<C> {
    fn with(mut ours: C, mut theirs: C, change: impl FnOnce(&mut Config, &mut Config)) -> Self {
        let now = Instant::from_millis(1_000);
        let client = Identity::generate(&mut ours).expect("randomness");
        let server = Identity::generate(&mut theirs).expect("randomness");
        let mut client_config = Config::new(Role::Client, *server.fingerprint());
        let mut server_config = Config::new(Role::Server, *client.fingerprint());
        change(&mut client_config, &mut server_config);
        let end = |mut crypto: C, identity, config: &Config| End {
            dtls: Dtls::new(now, &mut crypto, config, memory()),
            crypto,
            identity,
            events: Vec::new(),
            data: Vec::new(),
        };
        Self {
            client: end(ours, client, &client_config),
            server: end(theirs, server, &server_config),
            now,
            queue: VecDeque::new(),
            sent: [0, 0],
        }
    }

    fn send(&mut self, network: &mut Network<'_>, way: Way, datagram: Vec<u8>) {
        let n = match way {
            Way::ToServer => &mut self.sent[0],
            Way::ToClient => &mut self.sent[1],
        };
        let arriving = network(way, *n, datagram);
        *n += 1;
        for (delay, datagram) in arriving {
            let at = self.now + delay;
            let place = self.queue.partition_point(|(other, ..)| *other <= at);
            self.queue.insert(place, (at, way, datagram));
        }
    }

    /// What both do now.
    fn turn(&mut self, network: &mut Network<'_>) {
        self.client.work(self.now);
        for datagram in self.client.transmit(self.now) {
            self.send(network, Way::ToServer, datagram);
        }
        self.server.work(self.now);
        for datagram in self.server.transmit(self.now) {
            self.send(network, Way::ToClient, datagram);
        }
    }

    /// Lets time pass until both sessions have no deadline and nothing is under way.
    fn run(&mut self, network: &mut Network<'_>) {
        for _ in 0..10_000 {
            self.turn(network);
            let deadlines = [self.client.dtls.timeout(), self.server.dtls.timeout()];
            let arrival = self.queue.front().map(|(at, ..)| *at);
            let next = deadlines.into_iter().flatten().chain(arrival).min();
            let Some(next) = next else { return };
            self.now = self.now.max(next);
            while let Some((at, way, datagram)) = self.queue.pop_front() {
                if at > self.now {
                    self.queue.push_front((at, way, datagram));
                    break;
                }
                match way {
                    Way::ToServer => self.server.receive(self.now, &datagram),
                    Way::ToClient => self.client.receive(self.now, &datagram),
                }
            }
        }
        panic!("it never ends");
    }

    fn connect(&mut self, network: &mut Network<'_>) {
        self.run(network);
        assert_eq!(self.client.events, [Event::Connected]);
        assert_eq!(self.server.events, [Event::Connected]);
    }

    /// How long it took.
    fn elapsed(&self) -> Duration {
        self.now
            .saturating_duration_since(Instant::from_millis(1_000))
    }

    /// Application data both ways, in datagrams that hold more than one record.
    fn talk(&mut self) {
        for n in 0..3_u8 {
            let mut there = self.client.send(&[n; 100]).expect("open");
            there.extend(self.client.send(&[]).expect("open"));
            there.extend(self.client.send(&[n; 900]).expect("open"));
            self.server.data.clear();
            self.server.receive(self.now, &there);
            assert_eq!(self.server.data, [&[n; 100][..], &[], &[n; 900]]);
            let back = self.server.send(&[n; 1_000]).expect("open");
            self.client.data.clear();
            self.client.receive(self.now, &back);
            assert_eq!(self.client.data, [[n; 1_000]]);
        }
    }
}
