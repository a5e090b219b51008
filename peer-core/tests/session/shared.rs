//! Many sessions on shared sockets, told apart by a [`Stack`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use peer_core::rtc::ice::{Role, SocketId};
use peer_core::rtc::session::{Config, Kind};
use peer_core::rtc::stack::{Resources, Route, SessionId, Stack};
use peer_core::time::{Duration, Instant};

use crate::datagrams::Datagram;
use crate::flights::{Flights, Random};
use crate::net::{End, Path, SECOND, START};

const TICK: Duration = Duration::from_millis(1);

/// A machine with sockets that its sessions share.
struct Host {
    stack: Stack<'static>,
    /// The sessions, with the number of their connection.
    ends: BTreeMap<usize, (SessionId, End)>,
    sockets: Vec<Socket>,
    /// Datagrams that were for nobody, and for whoever they may be for.
    nobodys: usize,
    unclaimed: usize,
}

struct Socket {
    address: SocketAddr,
    /// Since when no session has it. One that is the only one is shared by all.
    free: Option<Instant>,
}

/// Machines and the network between them.
struct World {
    now: Instant,
    hosts: Vec<Host>,
    /// How an address looks from outside, if not as it is.
    mapped: BTreeMap<SocketAddr, SocketAddr>,
    path: Path,
    random: Random,
    flights: Flights<Datagram>,
    /// What is told at that time: host, connection, candidate.
    signals: Vec<(Instant, usize, usize, String)>,
    drawn: u64,
}

impl World {
    /// Machines with so many sockets each.
    fn new(seed: u64, sockets: &[u8]) -> Self {
        let host = |(n, count): (usize, &u8)| {
            let memory: &'static mut Resources<128, 1024> = Box::leak(Box::default());
            let address =
                |port: u8| SocketAddr::from(([192, 0, 2, n as u8], 5000 + u16::from(port)));
            let socket = |port| Socket {
                address: address(port),
                free: Some(START),
            };
            Host {
                stack: Stack::new(memory.lend()),
                ends: BTreeMap::new(),
                sockets: (0..*count).map(socket).collect(),
                nobodys: 0,
                unclaimed: 0,
            }
        };
        Self {
            now: START,
            hosts: sockets.iter().enumerate().map(host).collect(),
            mapped: BTreeMap::new(),
            path: Path::default(),
            random: Random::new(seed),
            flights: Flights::new(),
            signals: Vec::new(),
            drawn: seed * 1_000,
        }
    }

    /// Opens a connection of that number from one host to another. Each takes the socket that was
    /// given back first, if it has more than one.
    fn connect(&mut self, number: usize, from: usize, to: usize) {
        let sides = [(from, Role::Controlling), (to, Role::Controlled)];
        let mut ends = sides.map(|(host, role)| {
            let host = &mut self.hosts[host];
            let socket = match host.sockets.len() {
                1 => 0,
                count => {
                    let free = (0..count).filter(|n| host.sockets[*n].free.is_some());
                    let first = free.min_by_key(|n| host.sockets[*n].free).unwrap();
                    host.sockets[first].free = None;
                    first
                }
            };
            let address = host.sockets[socket].address;
            self.drawn += 1;
            let mut end = End::new(self.drawn, Config::new(role), (address, address), &[]);
            let here = [(SocketId(socket as u8), address)];
            end.session.set_addresses(self.now, &here).unwrap();
            end
        });
        let [a, b] = &mut ends;
        a.session.open(&format!("c{number}"), true).unwrap();
        b.session.set_remote(self.now, &a.remote()).unwrap();
        a.session.set_remote(self.now, &b.remote()).unwrap();
        for ((host, _), mut end) in sides.into_iter().zip(ends) {
            end.session.credit(600);
            let host = &mut self.hosts[host];
            let id = host.stack.add(end.session.ice().ufrag()).unwrap();
            let before = host.ends.insert(number, (id, end));
            assert!(before.is_none());
        }
        for (here, there) in [(from, to), (to, from)] {
            let inner = self.hosts[here].ends[&number].1.inner;
            let outer = self.mapped.get(&inner).unwrap_or(&inner);
            let line = format!(
                "candidate:1 1 udp 2113937151 {} {} typ host",
                outer.ip(),
                outer.port()
            );
            self.signals
                .push((self.now + TICK * 30, there, number, line));
        }
    }

    /// Forgets an end that is over.
    fn remove(&mut self, host: usize, number: usize) -> End {
        let host = &mut self.hosts[host];
        let (id, end) = host.ends.remove(&number).unwrap();
        host.stack.remove(id);
        let socket = host.sockets.iter_mut().find(|it| it.address == end.inner);
        socket.unwrap().free = Some(self.now);
        end
    }

    fn flush(&mut self, host: usize, number: usize) {
        let mut buffer = [0; 1500];
        let Host { stack, ends, .. } = &mut self.hosts[host];
        let (id, end) = ends.get_mut(&number).unwrap();
        for _ in 0..2 {
            end.talk();
            while end.session.work(self.now, &mut end.crypto, &end.identity) {}
            while let Some(it) = end.session.transmit(self.now, &mut end.crypto, &mut buffer) {
                stack.sent(*id, &buffer[..it.len]);
                if !self.random.chance(self.path.loss) {
                    let jitter = self.random.below(self.path.jitter.as_micros() as u64 + 1);
                    let at = self.now + self.path.delay + Duration::from_micros(jitter);
                    let datagram = Datagram {
                        from: *self.mapped.get(&end.inner).unwrap_or(&end.inner),
                        to: it.destination,
                        packet: buffer[..it.len].to_vec(),
                    };
                    self.flights.push(at, datagram);
                }
                end.talk();
            }
        }
        while let Some(event) = end.session.poll_event() {
            end.events.push((self.now, event));
        }
    }

    fn arrive(&mut self, mut it: Datagram) {
        let mapped = self.mapped.iter().find(|(_, outer)| **outer == it.to);
        let to = match mapped {
            Some((inner, _)) => *inner,
            // What goes to where it was before it moved is lost.
            None if self.mapped.contains_key(&it.to) => return,
            None => it.to,
        };
        for (n, host) in self.hosts.iter_mut().enumerate() {
            let Some(socket) = host.sockets.iter().position(|socket| socket.address == to) else {
                continue;
            };
            let socket = SocketId(socket as u8);
            let ids: Vec<_> = match host.stack.route(self.now, socket, it.from, &it.packet) {
                Route::Session(id) => vec![id],
                Route::Unclaimed => {
                    host.unclaimed += 1;
                    host.stack.on_socket(socket).collect()
                }
                Route::Nobody => {
                    host.nobodys += 1;
                    vec![]
                }
            };
            let is_stun = it.packet[0] < 4;
            let mut touched = Vec::new();
            for (number, (id, end)) in &mut host.ends {
                if ids.contains(id) {
                    let End {
                        session, crypto, ..
                    } = end;
                    session.receive(self.now, crypto, socket, it.from, &mut it.packet);
                    if is_stun && session.ice().hears(socket, it.from) {
                        host.stack.claim(self.now, *id, socket, it.from);
                    }
                    touched.push(*number);
                }
            }
            for number in touched {
                self.flush(n, number);
            }
            return;
        }
    }

    fn tick(&mut self) {
        self.now = self.now + TICK;
        while let Some(datagram) = self.flights.pop(self.now) {
            self.arrive(datagram);
        }
        for at in (0..self.signals.len()).rev() {
            if self.signals[at].0 <= self.now {
                let (_, host, number, line) = self.signals.swap_remove(at);
                // It may be over.
                if let Some((_, end)) = self.hosts[host].ends.get_mut(&number) {
                    end.session.add_candidate(self.now, &line).unwrap();
                }
            }
        }
        for host in 0..self.hosts.len() {
            let due = self.hosts[host].ends.iter().filter(|(_, (_, end))| {
                end.session.timeout().is_some_and(|at| at <= self.now)
                    || !end.queue.is_empty()
                    || end.session.wants_work()
            });
            let due: Vec<_> = due.map(|(number, _)| *number).collect();
            due.into_iter().for_each(|number| self.flush(host, number));
        }
    }

    #[track_caller]
    fn until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            self.tick();
            if self.now > end {
                let missing = self
                    .ends()
                    .filter(|(_, _, end)| end.opened().is_none() || !end.queue.is_empty());
                let missing: Vec<_> = missing
                    .map(|(host, number, end)| (host, number, &end.events))
                    .collect();
                panic!("not within {limit:?}: {missing:#?}");
            }
        }
    }

    fn ends(&self) -> impl Iterator<Item = (usize, usize, &End)> {
        let hosts = self.hosts.iter().enumerate();
        hosts.flat_map(|(n, host)| {
            host.ends
                .iter()
                .map(move |(number, (_, end))| (n, *number, end))
        })
    }

    /// Gives each end so many messages more to send, which say whose they are.
    fn talk(&mut self, many: usize) {
        for host in &mut self.hosts {
            for (number, (_, end)) in &mut host.ends {
                let text = format!("{number} of {} {}", end.inner, "x".repeat(300));
                let message = (Kind::Text, text.into_bytes());
                end.queue.extend(std::iter::repeat_n(message, many));
            }
        }
    }
}

fn all_open(world: &World) -> bool {
    world.ends().all(|(_, _, end)| end.opened().is_some())
}

/// How many messages came, each of which has to be of that connection, and of its other end.
fn heard(number: usize, end: &End) -> usize {
    let ours = format!("{number} of {} ", end.inner);
    for (_, message) in &end.messages {
        let theirs = message.starts_with(format!("{number} of ").as_bytes());
        assert!(theirs && !message.starts_with(ours.as_bytes()), "{number}");
    }
    assert_eq!(end.session.label(), format!("c{number}"));
    end.messages.len()
}

/// 100 between the same two ends, opened from both, of which 10 are closed and opened again while
/// all are under load.
#[test]
fn a_hundred_connections_between_two_ends_are_never_mixed() {
    let mut world = World::new(1, &[100, 100]);
    world.path.loss = 0.02;
    world.path.jitter = TICK * 5;
    for number in 0..100 {
        world.connect(number, number % 2, 1 - number % 2);
    }
    world.until(SECOND * 10, all_open);
    let path = |end: &End| {
        let path = end.session.ice().path().unwrap();
        (path.local, path.remote)
    };
    let paths: BTreeSet<_> = world.ends().map(|(_, _, end)| path(end)).collect();
    assert_eq!(paths.len(), 200);

    for round in 0..3 {
        world.talk(20);
        (0..20).for_each(|_| world.tick());
        for number in 0..10 {
            let (old, new) = (round * 10 + number, 100 + round * 10 + number);
            world.hosts[old % 2]
                .ends
                .get_mut(&old)
                .unwrap()
                .1
                .session
                .close();
            // The other end hears of it or not, and takes new ones beside it.
            (0..50).for_each(|_| world.tick());
            for host in 0..2 {
                let end = world.remove(host, old);
                heard(old, &end);
            }
            world.connect(new, old % 2, 1 - old % 2);
        }
        world.until(SECOND * 40, all_open);
    }
    world.talk(20);
    let silent = |world: &World| {
        world.ends().all(|(_, number, end)| {
            let given = match number {
                30..100 => 80,
                100..110 => 60,
                110..120 => 40,
                _ => 20,
            };
            end.queue.is_empty() && heard(number, end) == given
        })
    };
    world.until(SECOND * 60, silent);
    assert_eq!(world.ends().count(), 200);
}

/// Nobody claims where data of a remote comes from whose address has changed. Those on the socket
/// have it checked, and the one whose remote it is follows.
#[test]
fn a_remote_that_has_moved_is_found_by_its_data() {
    let mut world = World::new(2, &[1, 1, 1, 1]);
    for remote in 1..4 {
        world.connect(remote, remote, 0);
    }
    world.until(SECOND * 10, all_open);
    (0..3_000).for_each(|_| world.tick());
    assert_eq!(world.hosts[0].unclaimed, 0);

    let moved = SocketAddr::from(([198, 51, 100, 7], 4444));
    let inner = world.hosts[1].sockets[0].address;
    world.mapped.insert(inner, moved);
    world.talk(20);
    world.until(SECOND + Duration::from_millis(20), |world| {
        world
            .ends()
            .all(|(_, number, end)| heard(number, end) == 20)
    });
    assert!(world.hosts[0].unclaimed > 0);
    let paths = world.hosts[0].ends.values();
    let remotes: Vec<_> = paths
        .map(|(_, end)| end.session.ice().path().unwrap().remote)
        .collect();
    let others = [2, 3].map(|host: usize| world.hosts[host].sockets[0].address);
    assert_eq!(remotes, [moved, others[0], others[1]]);
}

/// Data and STUN of strangers comes to no session, and costs none its connection.
#[test]
fn strangers_reach_no_session() {
    let mut world = World::new(3, &[1, 1, 1]);
    world.connect(1, 1, 0);
    world.connect(2, 0, 2);
    world.until(SECOND * 10, all_open);
    let to = world.hosts[0].sockets[0].address;
    for n in 0..5_000_u16 {
        let stranger = SocketAddr::from(([203, 0, 113, 9], n));
        let len = 20 + world.random.below(60) as usize;
        let mut packet = world.random.bytes(len);
        packet[0] = [0, 1, 22, 23, 64, 128, 200][usize::from(n % 7)];
        world.flights.push(
            world.now,
            Datagram {
                from: stranger,
                to,
                packet,
            },
        );
        if n % 50 == 0 {
            world.talk(1);
            world.tick();
        }
    }
    world.until(SECOND * 10, |world| {
        world
            .ends()
            .all(|(_, number, end)| heard(number, end) == 100)
    });
    let host = &world.hosts[0];
    assert!(
        host.nobodys > 2_000 && host.unclaimed > 1_000,
        "{} {}",
        host.nobodys,
        host.unclaimed
    );
}
