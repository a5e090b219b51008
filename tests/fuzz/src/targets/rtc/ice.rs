//! Two ICE agents, a script of what happens to their datagrams, and what a stranger sends.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use peer_core::rtc::ice::{Agent, Config, Event, Resources, Role, Server, SocketId, Via};
use peer_core::rtc::stun::{Attribute, Class, Message, Method, Writer};
use peer_core::time::{Duration, Instant};

use super::super::bytes::Bytes;
use super::crypto::null::NullCrypto;
use super::turn;

/// A STUN and TURN server, of which only what the script says comes.
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 3478);
/// Requests to it that are remembered.
const ASKED_MAX: usize = 8;
/// Datagrams of one turn: answers and a few checks.
const TURN_MAX: usize = 100;

struct End<'m> {
    agent: Agent<'m>,
    crypto: NullCrypto,
    address: SocketAddr,
    /// What is under way to it, and from where.
    queue: VecDeque<(SocketAddr, Vec<u8>)>,
    /// What it asked the server last.
    asked: VecDeque<Vec<u8>>,
    connected: bool,
    /// When it had nothing more to do, if nothing was done to it since.
    quiet: Option<Instant>,
    /// How often it was to look for something to do.
    turns: u8,
}

type Memory = Resources<3, 6, 12, 2, 2>;

fn end<'m>(
    n: u8,
    role: Role,
    lite: bool,
    memory: &'m mut Memory,
    servers: &'m [Server<'m>],
) -> End<'m> {
    let mut crypto = NullCrypto::new(n.into());
    let now = Instant::from_millis(1);
    let mut config = Config::new(role);
    config.lite = lite;
    let agent = Agent::new(now, &mut crypto, config, memory.lend(), servers);
    End {
        agent: agent.expect("its randomness does not fail"),
        crypto,
        address: SocketAddr::from(([192, 0, 2, n + 1], 5000)),
        queue: VecDeque::new(),
        asked: VecDeque::new(),
        connected: false,
        quiet: None,
        turns: 0,
    }
}

impl<'m> End<'m> {
    /// Its agent, to do something to it.
    const fn agent(&mut self) -> &mut Agent<'m> {
        self.quiet = None;
        &mut self.agent
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, mut datagram: Vec<u8>) {
        let socket = SocketId(0);
        self.quiet = None;
        self.agent
            .receive(now, &mut self.crypto, socket, from, &mut datagram);
    }

    fn turn(&mut self, now: Instant, other: &mut End<'_>) {
        // With nothing to do, it does nothing again, which is looked at each so often.
        self.turns = self.turns.wrapping_add(1);
        let was_quiet = self.quiet == Some(now);
        if was_quiet && self.turns != 0 {
            return;
        }
        let mut out = [0; 1_200];
        let mut datagrams = 0;
        while let Some(it) = self.agent.transmit(now, &mut self.crypto, &mut out) {
            assert!(!was_quiet, "it sends again");
            datagrams += 1;
            assert!(datagrams < TURN_MAX, "a turn is bounded");
            assert!(Message::parse(&out[..it.len]).is_ok() || out[0] == 0x40);
            assert!(may_be_sent_to(it.destination), "{}", it.destination);
            if it.destination == SERVER {
                self.asks(&out[..it.len]);
            }
            if it.destination == other.address {
                let datagram = (self.address, out[..it.len].to_vec());
                other.queue.push_back(datagram);
                other.queue.truncate(64);
            }
        }
        let timeout = self.agent.timeout();
        assert!(timeout.is_none_or(|at| at > now), "{timeout:?} at {now:?}");
        while let Some(event) = self.agent.poll_event() {
            assert!(!was_quiet, "{event:?} is told by itself");
            match event {
                Event::Connected => self.connected = true,
                Event::Disconnected => assert!(self.connected),
                _ => {}
            }
        }
        if let Some(path) = self.agent.path() {
            assert!(path.relayed || path.local == self.address);
        }
        self.quiet = Some(now);
    }

    /// Remembers a request to the server, whom nobody has let somebody in that is not to be asked.
    fn asks(&mut self, datagram: &[u8]) {
        let Ok(message) = Message::parse(datagram) else {
            return;
        };
        for attribute in message.attributes() {
            if let Attribute::XorPeerAddress(peer) = attribute {
                assert!(may_be_sent_to(SocketAddr::new(peer.ip(), 1_024)), "{peer}");
            }
        }
        if message.class() == Class::Request {
            self.asked.push_back(datagram.to_vec());
            if self.asked.len() > ASKED_MAX {
                self.asked.pop_front();
            }
        }
    }

    /// After the end allocations are given back, and nothing else is sent. Whether the server says
    /// so or not, that comes to an end, too.
    fn give_back(&mut self, now: &mut Instant) {
        let begun = *now;
        let mut out = [0; 1_200];
        while let Some(at) = self.agent.timeout() {
            *now = at.max(*now);
            assert!(now.saturating_duration_since(begun) < Duration::from_secs(120));
            while let Some(it) = self.agent.transmit(*now, &mut self.crypto, &mut out) {
                assert_eq!(it.destination, SERVER);
            }
        }
    }

    /// After the end nothing is sent or told, whatever it is told.
    fn rest_in_silence(&mut self, now: Instant) {
        assert_eq!(self.agent.poll_event(), None);
        let sockets = [(SocketId(0), SocketAddr::from(([192, 0, 2, 99], 5000)))];
        self.agent.set_addresses(now, &sockets).expect("room");
        self.agent.stream_opened(now, SocketId(1));
        self.agent.tell_candidates_again();
        let remote = self.agent.set_remote(now, "abcd", &"p".repeat(22), false);
        remote.expect("legal");
        let mut out = [0; 1_200];
        let sent = self.agent.transmit(now, &mut self.crypto, &mut out);
        assert_eq!(sent, None);
        assert_eq!(self.agent.poll_event(), None);
        assert_eq!(self.agent.timeout(), None);
    }

    /// What the remote, or who has its credentials, may send it.
    fn forged(&self, other: &End<'_>, kind: u8, value: u8) -> Vec<u8> {
        let user = format!("{}:{}", self.agent.ufrag(), other.agent.ufrag());
        let mut buffer = [0; 256];
        let mut writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, [value; 12])
            .put(Attribute::Username(user.as_bytes()))
            .put(Attribute::Priority(u32::from(value) << 24));
        if kind & 1 != 0 {
            writer = writer.put(Attribute::UseCandidate);
        }
        if kind & 2 != 0 {
            writer = writer.put(Attribute::Nomination(value.into()));
        }
        writer = match kind & 4 {
            0 => writer.put(Attribute::IceControlled(value.into())),
            _ => writer.put(Attribute::IceControlling(u64::from(value) << 56)),
        };
        let mut crypto = NullCrypto::new(1);
        let written = writer
            .integrity(&mut crypto, self.agent.password().as_bytes())
            .fingerprint()
            .finish();
        written.expect("256 bytes").to_vec()
    }
}

/// Two agents, and a script.
pub fn ice(data: &[u8]) {
    let mut script = Bytes::new(data);
    let mut now = Instant::from_millis(1);
    let (mut here, mut there) = (Memory::new(), Memory::new());
    let servers = [
        Server::stun(SERVER),
        Server::turn(SERVER, turn::LOGIN, Via::Udp),
        Server::turn(SERVER, turn::LOGIN, Via::Stream(SocketId(1))),
    ];
    let decisions = script.byte();
    let servers = &servers[..usize::from(decisions & 3)];
    // Usually one role each; both may have the same, which is settled.
    let roles = [decisions & 4 == 0, decisions & 8 != 0].map(|controls| match controls {
        true => Role::Controlling,
        false => Role::Controlled,
    });
    let lite = [false, decisions & 16 != 0];
    // Told beforehand, or once there are addresses.
    let (before, later) = match decisions & 32 {
        0 => (servers, &[][..]),
        _ => (&[][..], servers),
    };
    let mut ends = [
        end(0, roles[0], lite[0], &mut here, before),
        end(1, roles[1], lite[1], &mut there, before),
    ];
    for n in 0..2 {
        let sockets = [(SocketId(0), ends[n].address)];
        ends[n].agent.set_addresses(now, &sockets).expect("room");
        if before.is_empty() {
            let told = ends[n].agent.set_servers(now, later);
            told.expect("there are none");
        }
        let other = &ends[1 - n].agent;
        let (ufrag, password) = (other.ufrag().to_owned(), other.password().to_owned());
        let agent = &mut ends[n].agent;
        agent
            .set_remote(now, &ufrag, &password, lite[1 - n])
            .expect("legal");
        agent.credit(1_000);
    }
    while !script.is_empty() {
        let [a, b] = &mut ends;
        a.turn(now, b);
        b.turn(now, a);
        let operation = script.byte();
        let (one, two) = match operation & 1 {
            0 => (a, b),
            _ => (b, a),
        };
        match operation >> 1 & 15 {
            0 | 1 => {
                if let Some((from, datagram)) = one.queue.pop_front() {
                    one.receive(now, from, datagram);
                }
            }
            2 => drop(one.queue.pop_front()),
            3 => {
                let (at, change) = (script.word(), script.byte());
                if let Some((from, mut datagram)) = one.queue.pop_front() {
                    let at = usize::from(at) % datagram.len();
                    datagram[at] ^= change;
                    one.receive(now, from, datagram);
                }
            }
            4 => {
                let (from, noise) = (address(script.byte()), script.piece().to_vec());
                one.receive(now, from, noise);
            }
            5 => now = now + Duration::from_millis(u64::from(script.byte()) * 4),
            6 => now = now + Duration::from_millis(u64::from(script.word()) * 4),
            7 => {
                one.address.set_ip([192, 0, 2, script.byte() | 1].into());
                let sockets = [(SocketId(0), one.address)];
                one.agent().set_addresses(now, &sockets).expect("room");
            }
            8 => {
                let line = script.text();
                let _ = one.agent().add_candidate(now, &line);
            }
            9 => {
                let from = address(script.byte());
                let line = format!(
                    "candidate:{} 1 udp 1 {} {} typ host",
                    script.byte(),
                    from.ip(),
                    from.port()
                );
                let _ = one.agent().add_candidate(now, &line);
            }
            10 => {
                let from = match script.byte() {
                    0 => two.address,
                    from => address(from),
                };
                let datagram = one.forged(two, script.byte(), script.byte());
                one.receive(now, from, datagram);
            }
            11 => one.receive(now, address(script.byte()), vec![23; 50]),
            12 => match script.byte() & 7 {
                0 => one.agent().suspect(now),
                1 => one.agent().tell_candidates_again(),
                2 => one.agent().stream_opened(now, SocketId(1)),
                3 => one.agent().stream_closed(now, SocketId(1)),
                // The server answers, as the script has it.
                4 | 5 => {
                    let stream = SocketId(script.byte() & 1);
                    let at = script.below(one.asked.len().max(1));
                    if let Some(asked) = one.asked.remove(at) {
                        let mut answer = turn::answer(&asked, one.address, &mut script);
                        one.quiet = None;
                        let (agent, crypto) = (&mut one.agent, &mut one.crypto);
                        agent.receive(now, crypto, stream, SERVER, &mut answer);
                    }
                }
                // And passes on what a peer sent.
                _ => {
                    let peer = match script.byte() {
                        0 => two.address,
                        peer => address(peer),
                    };
                    let channel = script.byte();
                    let data = match one.queue.pop_front() {
                        Some((_, datagram)) if channel & 4 == 0 => datagram,
                        _ => script.piece().to_vec(),
                    };
                    one.receive(now, SERVER, turn::passed_on(peer, channel, &data));
                }
            },
            13 => one.receive(now, SERVER, script.piece().to_vec()),
            14 if script.byte() & 7 == 0 => {
                one.quiet = None;
                let _ = one.agent.restart(now, &mut one.crypto);
                let (ufrag, password) = (one.agent.ufrag(), one.agent.password());
                let _ = two.agent().set_remote(now, ufrag, password, false);
            }
            _ => {
                // All that is under way arrives, for some rounds.
                for _ in 0..script.below(8) {
                    now = now + Duration::from_millis(50);
                    while let Some((from, datagram)) = one.queue.pop_front() {
                        one.receive(now, from, datagram);
                    }
                    one.turn(now, two);
                    while let Some((from, datagram)) = two.queue.pop_front() {
                        two.receive(now, from, datagram);
                    }
                    two.turn(now, one);
                }
            }
        }
    }
    for end in &mut ends {
        end.agent().close();
    }
    let [a, b] = &mut ends;
    a.turn(now, b);
    b.turn(now, a);
    assert!(a.agent.path().is_none() && b.agent.path().is_none());
    for end in [a, b] {
        end.give_back(&mut now);
        end.rest_in_silence(now);
    }
}

/// Whether an address is none of those that nobody has us send to, whatever he names or forges.
pub(super) fn may_be_sent_to(address: SocketAddr) -> bool {
    let host = match address.ip() {
        IpAddr::V4(ip) => ip.octets()[0] != 0 && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && ip.segments()[0] & 0xffc0 != 0xfe80,
    };
    let ip = address.ip();
    host && !ip.is_loopback()
        && !ip.is_multicast()
        && (address.port() >= 1_024 || [80, 443].contains(&address.port()))
}

/// One of some addresses, most of which nobody should send to.
pub(super) fn address(n: u8) -> SocketAddr {
    let (ip, port) = (n & 15, u16::from(n >> 4) * 1_000);
    match ip {
        0 => SocketAddr::from(([127, 0, 0, 1], port)),
        1 => SocketAddr::from(([0; 16], port)),
        2 => SocketAddr::from(([255; 4], port)),
        3 => SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, 1], port)),
        4 => SocketAddr::from(([192, 168, 1, 1], 53 + port)),
        _ => SocketAddr::from(([203, 0, 113, ip], port)),
    }
}
