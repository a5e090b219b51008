//! Two agents and the network between them, in virtual time.

use std::collections::HashMap;
use std::net::SocketAddr;

use peer_core::rtc::ice::turn::{HEADROOM, TAILROOM};
use peer_core::rtc::ice::{
    Agent, Candidate, Config, Event, Failure, Received, Resources, Role, Server, SocketId, Transmit,
};
use peer_core::rtc::stun::{Attribute, Class, Message, Writer};
use peer_core::time::{Duration, Instant};

use crate::datagrams::Datagram;
pub(crate) use crate::datagrams::{Crypto, Path, addr, crypto};
use crate::flights::Flights;
pub(crate) use crate::flights::Random;
use crate::nat::{Dependence, Nat, Network};
use crate::turn_server::TurnServer;

pub(crate) type Memory = Resources<8, 24, 96, 8, 4>;

/// One end, and what happened at it.
pub(crate) struct End {
    pub(crate) agent: Agent<'static>,
    pub(crate) crypto: Crypto,
    pub(crate) sockets: Vec<(SocketId, SocketAddr)>,
    pub(crate) events: Vec<(Instant, Event)>,
    pub(crate) candidates: Vec<Candidate>,
    /// Whether it sends data each 100 ms.
    pub(crate) talks: bool,
    next_data: Instant,
    /// When data came.
    pub(crate) data: Vec<Instant>,
    /// Packets and bytes to each address.
    pub(crate) sent: HashMap<SocketAddr, (u64, u64)>,
    /// When requests were sent.
    pub(crate) requests: Vec<Instant>,
}

impl End {
    pub(crate) fn new(seed: u64, config: Config, servers: &'static [Server<'static>]) -> Self {
        let memory: &'static mut Memory = Box::leak(Box::default());
        let mut crypto = crypto(seed);
        let now = Instant::from_micros(1_000);
        let agent = Agent::new(now, &mut crypto, config, memory.lend(), servers).unwrap();
        Self {
            agent,
            crypto,
            sockets: Vec::new(),
            events: Vec::new(),
            candidates: Vec::new(),
            talks: false,
            next_data: now,
            data: Vec::new(),
            sent: HashMap::new(),
            requests: Vec::new(),
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        let states = self.events.iter().rev().map(|(_, event)| event);
        let state = states.into_iter().find(|event| {
            matches!(
                event,
                Event::Connected | Event::Disconnected | Event::Failed(_)
            )
        });
        state == Some(&Event::Connected)
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.events.iter().find_map(|(_, event)| match event {
            Event::Failed(failure) => Some(*failure),
            _ => None,
        })
    }

    pub(crate) fn count(&self, event: Event) -> usize {
        self.events.iter().filter(|(_, it)| *it == event).count()
    }

    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        self.agent.path().map(|path| path.remote)
    }

    pub(crate) fn packets_to(&self, address: &str) -> u64 {
        self.sent.get(&addr(address)).map_or(0, |sent| sent.0)
    }
}

/// What goes through the broker.
enum Signal {
    Candidate(String),
    Credentials(String, String),
}

type Dropper = Box<dyn FnMut(Instant, SocketAddr, SocketAddr) -> bool>;

pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) ends: [End; 2],
    pub(crate) path: Path,
    pub(crate) network: Network,
    pub(crate) random: Random,
    /// How long signalling takes; `None` while the broker is away.
    pub(crate) signalling: Option<Duration>,
    signals: Vec<(Instant, usize, Signal)>,
    /// STUN servers that answer.
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) turn_servers: Vec<TurnServer>,
    /// The PRIORITY of the first check from each outer address.
    pub(crate) shown: Vec<(SocketAddr, u32)>,
    /// Whether a packet from and to these outer addresses is lost.
    pub(crate) dropper: Option<Dropper>,
    flights: Flights<Datagram>,
}

/// The address of a STUN server, if tests use one.
pub(crate) const STUN: &str = "198.51.100.7:3478";

impl Net {
    /// End 0 controls; both have one public address.
    pub(crate) fn new(seed: u64) -> Self {
        let configs = [Role::Controlling, Role::Controlled].map(Config::new);
        Self::with(seed, configs, &[])
    }

    pub(crate) fn with(
        seed: u64,
        configs: [Config; 2],
        servers: &'static [Server<'static>],
    ) -> Self {
        let [a, b] = configs;
        Self {
            now: Instant::from_micros(1_000),
            ends: [
                End::new(seed * 2, a, servers),
                End::new(seed * 2 + 1, b, servers),
            ],
            path: Path::default(),
            network: Network::default(),
            random: Random::new(seed),
            signalling: Some(Duration::from_millis(30)),
            signals: Vec::new(),
            servers: vec![addr(STUN)],
            turn_servers: Vec::new(),
            shown: Vec::new(),
            dropper: None,
            flights: Flights::new(),
        }
    }

    /// Gives an end these addresses, each a socket of its own.
    pub(crate) fn addresses(&mut self, end: usize, addresses: &[&str]) {
        let old = std::mem::take(&mut self.ends[end].sockets);
        let mut next = old.iter().map(|(id, _)| id.0 + 1).max().unwrap_or(0);
        let sockets = addresses.iter().map(|text| {
            let address = addr(text);
            let kept = old.iter().find(|(_, it)| *it == address);
            kept.copied().unwrap_or_else(|| {
                next += 1;
                (SocketId(next - 1), address)
            })
        });
        let sockets: Vec<_> = sockets.collect();
        let end = &mut self.ends[end];
        end.agent.set_addresses(self.now, &sockets).unwrap();
        end.sockets = sockets;
    }

    /// Both tell each other their credentials at once.
    pub(crate) fn describe(&mut self) {
        for end in 0..2 {
            self.describe_to(1 - end);
        }
    }

    /// One end learns the credentials of the other.
    pub(crate) fn describe_to(&mut self, end: usize) {
        let other = &self.ends[1 - end].agent;
        let (ufrag, password) = (other.ufrag().to_owned(), other.password().to_owned());
        self.tell(self.now, end, Signal::Credentials(ufrag, password));
    }

    /// One end learns the new credentials of the other, with the time that signalling takes.
    pub(crate) fn describe_later(&mut self, end: usize) {
        let other = &self.ends[1 - end].agent;
        let (ufrag, password) = (other.ufrag().to_owned(), other.password().to_owned());
        if let Some(takes) = self.signalling {
            let signal = Signal::Credentials(ufrag, password);
            self.signals.push((self.now + takes, end, signal));
        }
    }

    /// Two ends that have described themselves, each behind a NAT that lets in only whom it has
    /// sent to: a STUN server shows them.
    pub(crate) fn behind_two_nats(seed: u64, roles: [Role; 2]) -> Self {
        let servers = Box::leak(Box::new([Server::stun(addr(STUN))]));
        let mut net = Self::with(seed, roles.map(Config::new), servers);
        let publics = [[192, 0, 2, 1], [203, 0, 113, 1]];
        net.network.nats = publics.map(|ip| {
            let (mapping, filtering) = (Dependence::Independent, Dependence::AddressAndPort);
            Some(Nat::new(ip.into(), mapping, filtering))
        });
        net.addresses(0, &["10.0.0.2:5000"]);
        net.addresses(1, &["10.0.1.2:6000"]);
        net.describe();
        net
    }

    /// Two ends with a public address each that have signalled everything.
    pub(crate) fn plain(seed: u64) -> Self {
        let mut net = Self::new(seed);
        net.addresses(0, &["192.0.2.1:5000"]);
        net.addresses(1, &["203.0.113.1:6000"]);
        net.describe();
        net
    }

    fn tell(&mut self, now: Instant, to: usize, signal: Signal) {
        let agent = &mut self.ends[to].agent;
        match signal {
            Signal::Candidate(line) => {
                agent.credit(line.len() as u32 + 150);
                let taken = agent.add_candidate(now, &line);
                assert!(taken.is_ok(), "{line}: {taken:?}");
            }
            Signal::Credentials(ufrag, password) => {
                agent.credit(400);
                agent.set_remote(now, &ufrag, &password, false).unwrap();
            }
        }
    }

    /// Everything that an end has to send and to tell.
    pub(crate) fn flush(&mut self, from: usize) {
        let mut buffer = [0; 1200];
        loop {
            let end = &mut self.ends[from];
            let sent = end.agent.transmit(self.now, &mut end.crypto, &mut buffer);
            let Some(Transmit {
                socket,
                destination,
                len,
            }) = sent
            else {
                break;
            };
            if buffer[0] == 0 {
                end.requests.push(self.now);
            }
            self.send(from, socket, destination, buffer[..len].to_vec());
        }
        let timeout = self.ends[from].agent.timeout();
        assert!(
            timeout.is_none_or(|at| at > self.now),
            "end {from} at {:?} is due at {timeout:?}",
            self.now
        );
        if self.ends[from].talks && self.ends[from].next_data <= self.now {
            self.ends[from].next_data = self.now + Duration::from_millis(100);
            let mut buffer = vec![23; HEADROOM + 100 + TAILROOM];
            let data = HEADROOM..HEADROOM + 100;
            if let Some((it, range)) = self.ends[from].agent.frame(&mut buffer, data) {
                self.send(from, it.socket, it.destination, buffer[range].to_vec());
            }
        }
        while let Some(event) = self.ends[from].agent.poll_event() {
            self.ends[from].events.push((self.now, event));
            if let Event::LocalCandidate(candidate) = event {
                self.ends[from].candidates.push(candidate);
                let line = candidate.line(self.ends[from].agent.ufrag()).to_string();
                if let Some(takes) = self.signalling {
                    let signal = Signal::Candidate(line);
                    self.signals.push((self.now + takes, 1 - from, signal));
                }
            }
        }
    }

    fn send(&mut self, from: usize, socket: SocketId, to: SocketAddr, packet: Vec<u8>) {
        let end = &mut self.ends[from];
        let sent = end.sent.entry(to).or_default();
        sent.0 += 1;
        sent.1 += packet.len() as u64;
        let source = end.sockets.iter().copied().find(|(id, _)| *id == socket);
        // A socket that is gone sends nothing.
        if let Some((_, source)) = source {
            self.put(source, to, packet);
        }
    }

    /// Puts a packet onto the network.
    pub(crate) fn put(&mut self, from: SocketAddr, to: SocketAddr, packet: Vec<u8>) {
        let Some(outer) = self.network.leave(from, to) else {
            return;
        };
        self.note_priority(outer, &packet);
        let (now, path) = (self.now, self.path);
        let dropped = |dropper: &mut Dropper| dropper(now, outer, to);
        if self.dropper.as_mut().is_some_and(dropped) || self.random.chance(path.loss) {
            return;
        }
        let times = 1 + usize::from(self.random.chance(path.double));
        for _ in 0..times {
            let jitter = self.random.below(path.jitter.as_micros() as u64 + 1);
            let at = now + path.delay + Duration::from_micros(jitter);
            let packet = packet.clone();
            let from = outer;
            self.flights.push(at, Datagram { from, to, packet });
        }
    }

    fn note_priority(&mut self, outer: SocketAddr, packet: &[u8]) {
        let Ok(message) = Message::parse(packet) else {
            return;
        };
        let priority = message.attributes().find_map(|attribute| match attribute {
            Attribute::Priority(priority) => Some(priority),
            _ => None,
        });
        if let Some(priority) = priority
            && self.shown.iter().all(|(address, _)| *address != outer)
        {
            self.shown.push((outer, priority));
        }
    }

    fn arrive(&mut self, it: Datagram) {
        if self.servers.contains(&it.to) {
            let answer = binding_answer(&it.packet, it.from);
            self.put(it.to, it.from, answer);
            return;
        }
        let mut relays = self.turn_servers.iter_mut();
        if let Some(relay) = relays.find(|relay| relay.address.ip() == it.to.ip()) {
            for (from, to, packet) in relay.arrive(self.now, it.from, it.to, &it.packet) {
                self.put(from, to, packet);
            }
            return;
        }
        let Some(inner) = self.network.arrive(it.from, it.to) else {
            return;
        };
        let now = self.now;
        for end in &mut self.ends {
            let socket = end.sockets.iter().find(|(_, address)| *address == inner);
            if let Some((socket, _)) = socket {
                let mut packet = it.packet;
                let received =
                    end.agent
                        .receive(now, &mut end.crypto, *socket, it.from, &mut packet);
                if let Received::Data(data) = received {
                    assert_eq!(data, [23; 100]);
                    end.data.push(now);
                }
                return;
            }
        }
    }

    /// When the next thing happens.
    fn next(&mut self) -> Option<Instant> {
        for end in 0..2 {
            self.flush(end);
        }
        let arrives = self.flights.next();
        let timers = self.ends.iter().filter_map(|end| end.agent.timeout());
        let talks = self.ends.iter().filter(|end| end.talks);
        let talks = talks.map(|end| end.next_data);
        let signals = self.signals.iter().map(|signal| signal.0);
        timers.chain(talks).chain(signals).chain(arrives).min()
    }

    /// Goes on to the next thing that happens. `false` if nothing ever does.
    pub(crate) fn step(&mut self) -> bool {
        let Some(next) = self.next() else {
            return false;
        };
        self.now = self.now.max(next);
        while let Some(datagram) = self.flights.pop(self.now) {
            self.arrive(datagram);
        }
        let mut later = Vec::new();
        for (at, to, signal) in std::mem::take(&mut self.signals) {
            match at <= self.now {
                true => self.tell(self.now, to, signal),
                false => later.push((at, to, signal)),
            }
        }
        self.signals.append(&mut later);
        for end in 0..2 {
            self.flush(end);
        }
        true
    }

    /// Steps until the condition holds; panics if it does not within `limit`.
    #[track_caller]
    pub(crate) fn until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            let goes_on = self.step() && self.now <= end;
            assert!(
                goes_on || done(self),
                "not within {limit:?}: {:?} and {:?}",
                self.ends[0].events,
                self.ends[1].events
            );
        }
    }

    /// Steps for a while, whatever happens.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.next().is_some_and(|next| next <= end) && self.step() {}
        self.now = end;
    }

    #[track_caller]
    pub(crate) fn connect(&mut self, limit: Duration) {
        self.until(limit, |net| net.ends.iter().all(End::is_connected));
    }

    /// Has both talk, and waits until both have heard.
    #[track_caller]
    pub(crate) fn talk(&mut self, limit: Duration) {
        for end in &mut self.ends {
            end.talks = true;
            end.next_data = self.now;
            end.data.clear();
        }
        self.until(limit, |net| net.ends.iter().all(|end| !end.data.is_empty()));
    }

    /// How long it takes from now on until both hear each other.
    #[track_caller]
    pub(crate) fn gap(&mut self, limit: Duration) -> Duration {
        let begun = self.now;
        // What is under way arrives first.
        self.run(self.path.delay + self.path.jitter);
        for end in &mut self.ends {
            end.data.clear();
        }
        self.until(limit, |net| net.ends.iter().all(|end| !end.data.is_empty()));
        self.now.saturating_duration_since(begun)
    }
}

/// A STUN server's answer.
fn binding_answer(request: &[u8], from: SocketAddr) -> Vec<u8> {
    let request = Message::parse(request).unwrap();
    let mut buffer = [0; 128];
    Writer::new(
        &mut buffer,
        Class::Success,
        request.method(),
        *request.transaction(),
    )
    .put(Attribute::XorMappedAddress(from))
    .fingerprint()
    .finish()
    .unwrap()
    .to_vec()
}
