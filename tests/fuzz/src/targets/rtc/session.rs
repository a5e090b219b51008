//! Two whole sessions, and a script of what happens to their datagrams and to them.

use std::collections::VecDeque;
use std::net::SocketAddr;

use peer_core::rtc::dtls::{Identity, Suite};
use peer_core::rtc::ice::{Role, SocketId};
use peer_core::rtc::sctp;
use peer_core::rtc::session::{
    Config, DATAGRAM_MAX, Event, Kind, Outgoing, Received, Remote, Resources, SctpMemory,
    SendError, Session, Setup,
};
use peer_core::time::{Duration, Instant};

use super::super::bytes::{Bytes, pattern};
use super::crypto::{Belief, Gullible};
use super::ice::{address, may_be_sent_to};

type Memory<'m> = Resources<'m, 3, 6, 12, 0, 0, 1536, 4096, 32, 4096, 8>;

const LABEL: &str = "fuzz";
/// Datagrams of one turn: checks, answers, a window of SCTP.
const TURN_MAX: usize = 100;
/// Datagrams under way to one end.
const QUEUE_MAX: usize = 64;
/// Messages of one end.
const MESSAGES_MAX: usize = 300;

/// What an end has sent, in messages with a number each.
#[derive(Default)]
struct Sent {
    lens: Vec<usize>,
    /// Bytes that were taken of the last one, if it is not done.
    partly: Option<usize>,
    /// Bytes, those of an empty message counted as one.
    taken: usize,
    /// How many of these the remote has acknowledged, at least.
    acknowledged: usize,
}

/// What an end has read.
#[derive(Default)]
struct Got {
    partial: Option<Vec<u8>>,
    /// Whether each message came.
    came: Vec<bool>,
    bytes: usize,
}

struct End<'m> {
    session: Session<'m, 'm, Gullible>,
    crypto: Gullible,
    identity: Identity,
    address: SocketAddr,
    /// What is under way to it: from where, to where.
    queue: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Memory that is lent once the remote is known.
    late: Option<SctpMemory<'m>>,
    sent: Sent,
    got: Got,
    opened: bool,
    closed: bool,
    end: Option<Event>,
    /// When it had nothing more to do, if nothing was done to it since.
    quiet: Option<Instant>,
    /// Whether something may have come since all was read.
    unread: bool,
    /// How often it was to look for something to do.
    turns: u8,
}

/// The bytes of a message: its number first.
fn content(number: usize, len: usize) -> Vec<u8> {
    let mut bytes = pattern(number as u64 * 31, len).to_vec();
    for (to, from) in bytes.iter_mut().zip((number as u16).to_le_bytes()) {
        *to = from;
    }
    bytes
}

const fn kind(number: usize) -> Kind {
    match number % 2 {
        0 => Kind::Text,
        _ => Kind::Binary,
    }
}

impl<'m> End<'m> {
    fn new(now: Instant, n: u8, decisions: u8, memory: &'m mut Memory<'m>) -> Self {
        let role = if n == 0 {
            Role::Controlling
        } else {
            Role::Controlled
        };
        let belief = if decisions & 1 == 0 {
            Belief::Strict
        } else {
            Belief::All
        };
        let mut config = Config::new(role);
        // As long as may be, so that a script reaches its end.
        config.ice.survive = Duration::from_secs(30);
        config.handshake = Duration::from_secs(10);
        if decisions & 8 != 0 && n == 1 {
            config.setup = Setup::Passive;
        }
        if decisions & 32 != 0 {
            config.prefer = Suite::ChaCha20Poly1305;
        }
        if belief == Belief::All {
            config.checksum = |_| 0;
        }
        let mut crypto = Gullible::new(u64::from(n) + 1, belief);
        let identity = Identity::generate(&mut crypto).expect("it is random");
        let mut lent = memory.lend();
        let late = match decisions & 64 {
            0 => None,
            _ => lent.sctp.take(),
        };
        let session = Session::new(now, &mut crypto, config, lent, &[]);
        Self {
            session: session.expect("it is random"),
            crypto,
            identity,
            address: SocketAddr::from(([192, 0, 2, 10 + n], 5000)),
            queue: VecDeque::new(),
            late,
            sent: Sent::default(),
            got: Got::default(),
            opened: false,
            closed: false,
            end: None,
            quiet: None,
            unread: false,
            turns: 0,
        }
    }

    /// Its session, to do something to it.
    const fn session(&mut self) -> &mut Session<'m, 'm, Gullible> {
        self.quiet = None;
        &mut self.session
    }

    fn remote(&self) -> Remote<'_> {
        let ice = self.session.ice();
        Remote {
            fingerprint: *self.identity.fingerprint(),
            ..Remote::new(ice.ufrag(), ice.password(), self.session.setup())
        }
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, mut datagram: Vec<u8>) {
        self.quiet = None;
        self.session
            .receive(now, &mut self.crypto, SocketId(0), from, &mut datagram);
    }

    /// Delivers what came first, if it was sent to where it is now.
    fn deliver(&mut self, now: Instant, at: usize) {
        if let Some((from, to, datagram)) = self.queue.remove(at)
            && to == self.address
        {
            self.receive(now, from, datagram);
        }
    }

    /// Gives a piece of the message that is begun, or begins one. Whether all was taken.
    fn send(&mut self, len: usize) -> bool {
        if self.sent.partly.is_none() && self.sent.lens.len() == MESSAGES_MAX {
            return false;
        }
        let first = self.sent.partly.is_none();
        let given = self.sent.partly.unwrap_or(0);
        let number = self.sent.lens.len() - usize::from(!first);
        let len = match first {
            true => len,
            false => self.sent.lens[number],
        };
        let message = Outgoing {
            first: given == 0,
            ..Outgoing::message(kind(number))
        };
        let bytes = content(number, len);
        match self.session().send(message, &bytes[given..]) {
            Ok(taken) => {
                assert!(taken > 0 || len == 0);
                if first {
                    self.sent.lens.push(len);
                }
                self.sent.taken += taken.max(1);
                let given = given + taken;
                self.sent.partly = (given < len).then_some(given);
                given == len
            }
            Err(SendError::NotOpen | SendError::Full | SendError::Closed) => false,
            // An association that has ended is not yet looked at.
            Err(SendError::Sctp(error)) => {
                assert_eq!(error, sctp::SendError::Closed);
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads up to `most` bytes, and checks them against what the remote sent, if that is known.
    fn read(&mut self, most: usize, sent: Option<&Sent>, ordered: bool) {
        let mut left = most;
        while left > 0 && self.unread {
            let Some(received) = self.session.read() else {
                self.unread = false;
                break;
            };
            self.quiet = None;
            let Received::Piece(piece) = received else {
                assert!(sent.is_none(), "nothing is abandoned");
                self.session.consume(0);
                self.got.partial = None;
                continue;
            };
            let count = piece.bytes.len().min(left);
            let (first, last) = (piece.first, piece.last && count == piece.bytes.len());
            let (kind_told, is_empty) = (piece.kind, piece.bytes.is_empty());
            if sent.is_some() {
                assert_eq!(first, self.got.partial.is_none());
            }
            let partial = self.got.partial.get_or_insert_default();
            partial.extend(&piece.bytes[..count]);
            left -= count.max(1);
            self.session.consume(count);
            self.got.bytes += count.max(usize::from(is_empty));
            if last {
                let message = self.got.partial.take().unwrap_or_default();
                if let Some(sent) = sent {
                    self.got.check(sent, kind_told, &message, ordered);
                }
            }
        }
    }

    /// Does what is to be done, and puts what it sends onto the network. What is signalled arrives.
    fn turn(&mut self, now: Instant, other: &mut Self) {
        // With nothing to do, it does nothing again, which is looked at each so often.
        self.turns = self.turns.wrapping_add(1);
        let was_quiet = self.quiet == Some(now);
        if was_quiet && self.turns != 0 {
            return;
        }
        self.unread = true;
        let mut out = [0; 1_500];
        let mut datagrams = 0;
        // An event may bring about more to send.
        loop {
            while self.session.work(now, &mut self.crypto, &self.identity) {}
            while let Some(it) = self.session.transmit(now, &mut self.crypto, &mut out) {
                assert!(!was_quiet, "it sends again");
                datagrams += 1;
                assert!(datagrams < TURN_MAX, "a turn is bounded");
                assert!(it.len <= DATAGRAM_MAX, "{} bytes", it.len);
                assert!(may_be_sent_to(it.destination), "{}", it.destination);
                let datagram = (self.address, it.destination, out[..it.len].to_vec());
                if other.queue.len() < QUEUE_MAX {
                    other.queue.push_back(datagram);
                }
            }
            let mut events = 0;
            while let Some(event) = self.session.poll_event() {
                assert!(!was_quiet, "{event:?} is told by itself");
                self.told(now, event, other);
                events += 1;
            }
            if events == 0 {
                break;
            }
            datagrams += 1;
            assert!(datagrams < TURN_MAX, "a turn is bounded");
        }
        self.quiet = Some(now);
        let timeout = self.session.timeout();
        let is_later = timeout.is_none_or(|at| at > now);
        assert!(is_later, "{timeout:?} at {now:?}");
        if self.session.is_over() {
            assert_eq!(timeout, None);
            let message = Outgoing::message(Kind::Text);
            assert_eq!(self.session.send(message, b"x"), Err(SendError::Closed));
        } else {
            let left = self.sent.taken.saturating_sub(self.session.buffered());
            self.sent.acknowledged = self.sent.acknowledged.max(left);
        }
    }

    fn told(&mut self, now: Instant, event: Event, other: &mut Self) {
        assert_eq!(
            self.end, None,
            "the end is told last and once; then {event:?}"
        );
        match event {
            Event::LocalCandidate(candidate) => {
                let line = candidate.line(self.session.ice().ufrag()).to_string();
                other.session().credit(200);
                // It may be of credentials that are no longer known, or one too many.
                let _ = other.session().add_candidate(now, &line);
            }
            Event::Secured => {
                if let Some(memory) = self.late.take() {
                    let lent = self.session.lend_sctp(memory);
                    assert!(lent.is_ok(), "there was none");
                }
            }
            Event::Open { .. } => {
                assert!(!self.opened, "told once");
                self.opened = true;
            }
            Event::Closed(_) | Event::Failed(_) => self.end = Some(event),
            _ => {}
        }
    }

    fn is_ended(&self) -> bool {
        self.closed || self.end.is_some()
    }
}

impl Got {
    fn check(&mut self, sent: &Sent, told: Kind, message: &[u8], ordered: bool) {
        let next = self
            .came
            .iter()
            .position(|came| !came)
            .unwrap_or(self.came.len());
        let number = match message {
            // Only in order can it be told which one it is.
            [] if ordered => next,
            [] => return,
            [low, high, ..] => usize::from(u16::from_le_bytes([*low, *high])),
            [low] => usize::from(*low),
        };
        assert!(!ordered || number == next, "{number} in place of {next}");
        let len = sent.lens.get(number).copied();
        assert_eq!(len, Some(message.len()), "message {number}");
        assert!(
            message == content(number, message.len()),
            "message {number}"
        );
        assert_eq!(told, kind(number));
        if self.came.len() <= number {
            self.came.resize(number + 1, false);
        }
        assert!(!self.came[number], "message {number} came twice");
        self.came[number] = true;
    }

    fn has_all(&self, sent: &Sent) -> bool {
        self.bytes == sent.taken && sent.partly.is_none() && self.partial.is_none()
    }
}

/// Offer and answer.
fn describe(now: Instant, ends: &mut [End<'_>; 2]) {
    let [a, b] = ends;
    b.session().credit(500);
    a.session().credit(500);
    let _ = b.session.set_remote(now, &a.remote());
    let _ = a.session.set_remote(now, &b.remote());
}

struct World {
    now: Instant,
    ordered: bool,
    /// Whether what is read need not be what was sent.
    believes: bool,
}

impl World {
    fn turn(&self, ends: &mut [End<'_>; 2]) {
        let [a, b] = ends;
        a.turn(self.now, b);
        b.turn(self.now, a);
    }

    fn read(&self, ends: &mut [End<'_>; 2], n: usize, most: usize) {
        let [a, b] = ends;
        let (one, two) = if n == 0 { (a, b) } else { (b, a) };
        let sent = (!self.believes).then_some(&two.sent);
        one.read(most, sent, self.ordered);
    }

    /// All that is under way arrives, for up to so many rounds, until both ends are open.
    fn open(&mut self, ends: &mut [End<'_>; 2], rounds: usize, step: Duration) {
        for _ in 0..rounds {
            if ends.iter().all(|end| end.opened && end.queue.is_empty()) {
                return;
            }
            self.rounds(ends, 1, step);
        }
        panic!("on a perfect network, it does not open");
    }

    /// All that is under way arrives.
    fn rounds(&mut self, ends: &mut [End<'_>; 2], rounds: usize, step: Duration) {
        for _ in 0..rounds {
            self.now = self.now + step;
            for n in 0..2 {
                while !ends[n].queue.is_empty() {
                    ends[n].deliver(self.now, 0);
                }
                self.turn(ends);
            }
        }
    }

    /// The network is perfect from here on: all arrives, or an end is told.
    fn settle(&mut self, ends: &mut [End<'_>; 2]) {
        let begun = self.now;
        loop {
            for n in 0..2 {
                while ends[n].sent.partly.is_some() && ends[n].send(0) {}
                self.read(ends, n, usize::MAX);
                self.turn(ends);
                while !ends[n].queue.is_empty() {
                    ends[n].deliver(self.now, 0);
                }
                self.turn(ends);
                self.read(ends, n, usize::MAX);
                self.turn(ends);
            }
            let [a, b] = &*ends;
            let is_done = match (a.is_ended(), b.is_ended()) {
                (true, true) => true,
                (false, false) => {
                    a.opened && b.opened && a.got.has_all(&b.sent) && b.got.has_all(&a.sent)
                }
                _ => false,
            };
            if is_done {
                break;
            }
            let took = self.now.saturating_duration_since(begun);
            assert!(
                took < Duration::from_secs(300),
                "it does not settle: {:?} {:?}",
                (a.end, a.closed, a.opened, &a.session),
                (b.end, b.closed, b.opened, &b.session),
            );
            let next = ends.iter().filter_map(|end| end.session.timeout()).min();
            let soon = self.now + Duration::from_millis(20);
            self.now = match ends.iter().all(|end| end.queue.is_empty()) {
                true => next.unwrap_or(soon).max(soon),
                false => soon,
            };
        }
        // What was acknowledged was read before an end was told.
        let [a, b] = &*ends;
        for (one, two) in [(a, b), (b, a)] {
            if one.end.is_some() {
                let (read, acknowledged) = (one.got.bytes, two.sent.acknowledged);
                assert!(read >= acknowledged, "{read} of {acknowledged} bytes");
            }
        }
    }
}

/// Two sessions, and a script.
pub fn session(data: &[u8]) {
    let mut script = Bytes::new(data);
    let decisions = script.byte();
    let mut world = World {
        now: Instant::from_millis(1),
        ordered: decisions & 2 == 0,
        believes: decisions & 1 != 0,
    };
    let (mut here, mut there) = (Memory::new(), Memory::new());
    let mut ends = [
        End::new(world.now, 0, decisions, &mut here),
        End::new(world.now, 1, decisions, &mut there),
    ];
    for end in &mut ends {
        let sockets = [(SocketId(0), end.address)];
        let told = end.session().set_addresses(world.now, &sockets);
        told.expect("there is room");
    }
    let opener = &mut ends[usize::from(decisions >> 2 & 1)];
    let asked = opener.session.open(LABEL, world.ordered);
    asked.expect("it is the first");
    describe(world.now, &mut ends);
    world.turn(&mut ends);
    if decisions & 16 == 0 {
        world.open(&mut ends, 20, Duration::from_millis(20));
    }
    while !script.is_empty() {
        operate(&mut world, &mut ends, &mut script);
        world.turn(&mut ends);
    }
    if !world.believes {
        world.settle(&mut ends);
    }
    for end in &mut ends {
        end.session().close();
        end.closed = true;
    }
    world.turn(&mut ends);
    for end in &mut ends {
        assert!(end.session.is_over());
        let mut out = [0; DATAGRAM_MAX];
        let sent = end.session.transmit(world.now, &mut end.crypto, &mut out);
        assert_eq!(sent, None);
    }
}

fn operate(world: &mut World, ends: &mut [End<'_>; 2], script: &mut Bytes<'_>) {
    let operation = script.byte();
    let n = usize::from(operation & 1);
    let now = world.now;
    let are_up = ends.iter().all(|end| !end.session.is_over());
    let end = &mut ends[n];
    match operation >> 1 & 15 {
        0 => end.deliver(now, 0),
        1 => {
            let at = script.below(end.queue.len().max(1));
            end.deliver(now, at);
        }
        2 => drop(end.queue.pop_front()),
        3 => {
            if let Some(datagram) = end.queue.front().cloned() {
                end.queue.push_back(datagram);
            }
        }
        4 => {
            let (at, change) = (usize::from(script.word()), script.byte());
            if let Some((_, _, datagram)) = end.queue.front_mut() {
                let at = at % datagram.len().max(1);
                if let Some(byte) = datagram.get_mut(at) {
                    *byte ^= change;
                }
            }
        }
        5 => {
            let (at, len) = (usize::from(script.word()), script.below(64));
            if let Some((_, _, datagram)) = end.queue.front_mut() {
                let at = at % datagram.len().max(1);
                let to = datagram.len().min(at + len);
                datagram.splice(at..to, script.piece().to_vec());
            }
        }
        6 => {
            let from = match script.byte() {
                0 => ends[1 - n].address,
                from => address(from),
            };
            let noise = script.piece().to_vec();
            ends[n].receive(now, from, noise);
        }
        7 => world.now = now + Duration::from_millis(u64::from(script.byte())),
        8 => world.now = now + Duration::from_millis(u64::from(script.word())),
        9 => {
            end.address
                .set_ip([192, 0, 2 + n as u8, script.byte() | 1].into());
            let sockets = [(SocketId(0), end.address)];
            // With another one in use there may be no room.
            let _ = end.session().set_addresses(now, &sockets);
        }
        10 => {
            let len = usize::from(script.word() % 6_000);
            end.send(len);
        }
        11 => world.read(ends, n, usize::from(script.word())),
        12 => {
            let step = Duration::from_millis(u64::from(script.byte() | 1));
            world.rounds(ends, usize::from(operation >> 5) + 1, step);
        }
        13 => match script.byte() & 7 {
            0 => {
                let is_new = end.end.is_none();
                end.session().close();
                end.closed |= is_new;
            }
            1 => end.session().tell_candidates_again(),
            // Who has ended signals nothing, and it would be waited for.
            2 if are_up => {
                for end in &mut *ends {
                    end.quiet = None;
                    let drawn = end.session.restart_ice(now, &mut end.crypto);
                    drawn.expect("it is random");
                }
                describe(now, ends);
            }
            3 => {
                let line = script.text();
                let _ = end.session().add_candidate(now, &line);
            }
            4 => {
                // Nothing that was under way arrives.
                end.queue.clear();
            }
            _ => {
                let len = usize::from(script.byte());
                for _ in 0..8 {
                    end.send(len);
                }
            }
        },
        _ => {
            // A message, as far as there is room, that arrives.
            end.send(usize::from(script.byte()) * 16);
            world.turn(ends);
            while !ends[1 - n].queue.is_empty() {
                ends[1 - n].deliver(now, 0);
            }
        }
    }
}
