//! Two sessions and the network between them, in virtual time.

use std::collections::VecDeque;
use std::net::SocketAddr;

use peer_core::rtc::dtls::Identity;
use peer_core::rtc::ice::{self, CandidateKind, Server, SocketId};
use peer_core::rtc::session::{
    Config, Event, Kind, Outgoing, Received, Remote, Resources, SendError, Session, Setup,
};
use peer_core::time::{Duration, Instant};

use crate::datagrams::Datagram;
pub(crate) use crate::datagrams::{Crypto, Path, addr, crypto};
use crate::flights::Flights;
pub(crate) use crate::flights::Random;
use crate::turn_server::TurnServer;

pub(crate) type Memory = Resources<'static, 4, 8, 32, 2, 1, 1536, 16384, 256, 16384, 32>;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const START: Instant = Instant::from_micros(1_000);
pub(crate) const LABEL: &str = "dc_größe";

impl Random {
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 24) as u8).collect()
    }
}

impl Path {
    /// One that does all of it.
    pub(crate) fn bad(random: &mut Random) -> Self {
        Self {
            delay: Duration::from_micros(500 + random.below(60_000)),
            jitter: Duration::from_micros(random.below(20_000)),
            loss: random.below(20) as f64 / 100.0,
            double: random.below(20) as f64 / 100.0,
        }
    }
}

/// One end, and what happened at it.
pub(crate) struct End {
    pub(crate) session: Session<'static, 'static, Crypto>,
    pub(crate) crypto: Crypto,
    pub(crate) identity: Identity,
    /// The address of its socket, and how it looks from outside.
    pub(crate) inner: SocketAddr,
    pub(crate) outer: SocketAddr,
    pub(crate) events: Vec<(Instant, Event)>,
    /// Whether it reads.
    pub(crate) reads: bool,
    pub(crate) messages: Vec<(Kind, Vec<u8>)>,
    partial: Vec<u8>,
    /// What is to be sent, and how much of the first is.
    pub(crate) queue: VecDeque<(Kind, Vec<u8>)>,
    given: usize,
    /// Datagrams of DTLS that it sent.
    pub(crate) records: u64,
}

impl End {
    pub(crate) fn new(
        seed: u64,
        config: Config,
        (inner, outer): (SocketAddr, SocketAddr),
        servers: &'static [Server<'static>],
    ) -> Self {
        let memory: &'static mut Memory = Box::leak(Box::default());
        let mut crypto = crypto(seed);
        let identity = Identity::generate(&mut crypto).unwrap();
        let session = Session::new(START, &mut crypto, config, memory.lend(), servers).unwrap();
        Self {
            session,
            crypto,
            identity,
            inner,
            outer,
            events: Vec::new(),
            reads: true,
            messages: Vec::new(),
            partial: Vec::new(),
            queue: VecDeque::new(),
            given: 0,
            records: 0,
        }
    }

    /// Another session in the memory of the one that was there.
    pub(crate) fn again(self, now: Instant, config: Config) -> Self {
        let mut crypto = self.crypto;
        let memory = self.session.into_memory().unwrap();
        Self {
            session: Session::new(now, &mut crypto, config, memory, &[]).unwrap(),
            crypto,
            events: Vec::new(),
            messages: Vec::new(),
            partial: Vec::new(),
            queue: VecDeque::new(),
            given: 0,
            ..self
        }
    }

    pub(crate) fn has(&self, event: Event) -> bool {
        self.events.iter().any(|(_, it)| *it == event)
    }

    pub(crate) fn opened(&self) -> Option<bool> {
        self.events.iter().find_map(|(_, event)| match event {
            Event::Open { ordered } => Some(*ordered),
            _ => None,
        })
    }

    /// How it ended, if it did.
    pub(crate) fn end(&self) -> Option<Event> {
        let last = self.events.last().map(|(_, event)| *event);
        let is_end = |event: &Event| matches!(event, Event::Closed(_) | Event::Failed(_));
        let ends = self.events.iter().filter(|(_, event)| is_end(event));
        assert!(ends.count() <= 1, "it ends once: {:?}", self.events);
        last.filter(is_end)
    }

    pub(crate) fn remote<'a>(&'a self) -> Remote<'a> {
        Remote {
            fingerprint: *self.identity.fingerprint(),
            ..Remote::new(
                self.session.ice().ufrag(),
                self.session.ice().password(),
                self.session.setup(),
            )
        }
    }

    /// Gives and takes what it can.
    pub(crate) fn talk(&mut self) {
        while let Some((kind, bytes)) = self.queue.front() {
            let message = Outgoing {
                first: self.given == 0,
                ..Outgoing::message(*kind)
            };
            match self.session.send(message, &bytes[self.given..]) {
                Ok(taken) => self.given += taken,
                Err(SendError::NotOpen | SendError::Full | SendError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
            if self.given == bytes.len() {
                self.queue.pop_front();
                self.given = 0;
            }
        }
        while self.reads
            && let Some(received) = self.session.read()
        {
            let Received::Piece(piece) = received else {
                panic!("nothing is abandoned");
            };
            assert_eq!(piece.first, self.partial.is_empty());
            self.partial.extend_from_slice(piece.bytes);
            let len = piece.bytes.len();
            if piece.last {
                let message = std::mem::take(&mut self.partial);
                self.messages.push((piece.kind, message));
            }
            self.session.consume(len);
        }
    }
}

/// Whether a datagram of this end is lost.
type Dropper = Box<dyn FnMut(usize, &[u8]) -> bool>;

pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) ends: [End; 2],
    pub(crate) path: Path,
    pub(crate) random: Random,
    pub(crate) dropper: Option<Dropper>,
    /// If there is one, nothing comes from one end to the other but through it.
    pub(crate) turn: Option<TurnServer>,
    /// Bytes of the longest datagram.
    pub(crate) longest: usize,
    signals: VecDeque<(Instant, usize, String)>,
    flights: Flights<Datagram>,
}

/// Who is DTLS client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Offerer,
    Answerer,
}

impl Net {
    /// End 0 offers; neither has told the other anything.
    pub(crate) fn new(seed: u64, client: Client) -> Self {
        Self::with(seed, client, &[])
    }

    pub(crate) fn with(seed: u64, client: Client, servers: &'static [Server<'static>]) -> Self {
        Self::configured(seed, client, servers, |_| {})
    }

    pub(crate) fn configured(
        seed: u64,
        client: Client,
        servers: &'static [Server<'static>],
        configure: impl FnMut(&mut Config),
    ) -> Self {
        let mut configs = [ice::Role::Controlling, ice::Role::Controlled].map(Config::new);
        configs.iter_mut().for_each(configure);
        if client == Client::Offerer {
            configs[1].setup = Setup::Passive;
        }
        let [a, b] = configs;
        let at_a = (addr("10.0.0.2:5000"), addr("192.0.2.1:5000"));
        let at_b = (addr("10.0.1.2:6000"), addr("203.0.113.1:6000"));
        let mut ends = [
            End::new(seed * 2, a, at_a, servers),
            End::new(seed * 2 + 1, b, at_b, servers),
        ];
        for end in &mut ends {
            let here = [(SocketId(0), end.inner)];
            end.session.set_addresses(START, &here).unwrap();
        }
        Self {
            now: START,
            ends,
            path: Path::default(),
            random: Random::new(seed),
            dropper: None,
            turn: None,
            longest: 0,
            signals: VecDeque::new(),
            flights: Flights::new(),
        }
    }

    /// Both ends are other sessions, in the memory of those that were there.
    pub(crate) fn again(self) -> Self {
        let mut role = ice::Role::Controlling;
        let ends = self.ends.map(|end| {
            let mut end = end.again(self.now, Config::new(role));
            role = ice::Role::Controlled;
            let here = [(SocketId(0), end.inner)];
            end.session.set_addresses(self.now, &here).unwrap();
            end
        });
        Self {
            ends,
            flights: Flights::new(),
            signals: VecDeque::new(),
            ..self
        }
    }

    /// The offer, the answer, and where each is.
    pub(crate) fn describe(&mut self) {
        let [a, b] = &mut self.ends;
        b.session.set_remote(self.now, &a.remote()).unwrap();
        a.session.set_remote(self.now, &b.remote()).unwrap();
        self.tell_candidates();
    }

    pub(crate) fn tell_candidates(&mut self) {
        for end in 0..2 {
            let address = self.ends[1 - end].outer;
            let line = format!(
                "candidate:1 1 udp 2113937151 {} {} typ host",
                address.ip(),
                address.port()
            );
            self.ends[end].session.credit(600);
            self.signals
                .push_back((self.now + Duration::from_millis(30), end, line));
        }
    }

    /// Two ends that have a channel, opened by this one.
    pub(crate) fn open(seed: u64, client: Client, opener: usize, ordered: bool) -> Self {
        let mut net = Self::new(seed, client);
        net.ends[opener].session.open(LABEL, ordered).unwrap();
        net.describe();
        net.until(SECOND * 5, |net| {
            net.ends.iter().all(|end| end.opened().is_some())
        });
        net
    }

    /// Everything that an end has to do, to send and to tell.
    pub(crate) fn flush(&mut self, from: usize) {
        let mut buffer = [0; 1500];
        for _ in 0..2 {
            let end = &mut self.ends[from];
            end.talk();
            while end.session.work(self.now, &mut end.crypto, &end.identity) {}
            while let Some(it) = {
                let end = &mut self.ends[from];
                end.session.transmit(self.now, &mut end.crypto, &mut buffer)
            } {
                assert!(it.len <= 1200, "{} bytes in a datagram", it.len);
                self.send(from, it.destination, buffer[..it.len].to_vec());
                self.ends[from].talk();
            }
        }
        let end = &mut self.ends[from];
        let timeout = end.session.timeout();
        assert!(
            timeout.is_none_or(|at| at > self.now),
            "end {from} at {:?} is due at {timeout:?}",
            self.now
        );
        while let Some(event) = end.session.poll_event() {
            end.events.push((self.now, event));
            end.talk();
            if let Event::LocalCandidate(candidate) = event
                && candidate.kind == CandidateKind::Relay
            {
                let line = candidate.line(end.session.ice().ufrag()).to_string();
                let at = self.now + Duration::from_millis(30);
                self.signals.push_back((at, 1 - from, line));
            }
        }
    }

    fn send(&mut self, from: usize, to: SocketAddr, packet: Vec<u8>) {
        if packet[0] >= 20 {
            self.ends[from].records += 1;
        }
        self.longest = self.longest.max(packet.len());
        let direct = self.ends.iter().any(|end| end.outer == to);
        if direct && self.turn.is_some() {
            return;
        }
        let dropped = self.dropper.as_mut().is_some_and(|it| it(from, &packet));
        if dropped || self.random.chance(self.path.loss) {
            return;
        }
        let source = self.ends[from].outer;
        let times = 1 + usize::from(self.random.chance(self.path.double));
        for _ in 0..times {
            self.put(source, to, packet.clone());
        }
    }

    /// Puts a packet onto the network.
    pub(crate) fn put(&mut self, from: SocketAddr, to: SocketAddr, packet: Vec<u8>) {
        let jitter = self.random.below(self.path.jitter.as_micros() as u64 + 1);
        let at = self.now + self.path.delay + Duration::from_micros(jitter);
        self.flights.push(at, Datagram { from, to, packet });
    }

    fn arrive(&mut self, mut it: Datagram) {
        let now = self.now;
        if let Some(turn) = &mut self.turn
            && turn.address.ip() == it.to.ip()
        {
            for (from, to, packet) in turn.arrive(now, it.from, it.to, &it.packet) {
                self.put(from, to, packet);
            }
            return;
        }
        let to = self.ends.iter_mut().find(|end| end.outer == it.to);
        if let Some(End {
            session, crypto, ..
        }) = to
        {
            session.receive(now, crypto, SocketId(0), it.from, &mut it.packet);
        }
    }

    fn next(&mut self) -> Option<Instant> {
        for end in 0..2 {
            self.flush(end);
        }
        let arrives = self.flights.next();
        let timers = self.ends.iter().filter_map(|end| end.session.timeout());
        let signals = self.signals.front().map(|signal| signal.0);
        timers.chain(signals).chain(arrives).min()
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
        while self.signals.front().is_some_and(|it| it.0 <= self.now)
            && let Some((_, to, line)) = self.signals.pop_front()
        {
            let taken = self.ends[to].session.add_candidate(self.now, &line);
            assert!(taken.is_ok(), "{line}: {taken:?}");
        }
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
                "not within {limit:?}: {:#?} and {:#?}",
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
}
