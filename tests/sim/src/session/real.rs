//! Real sessions: `peer_core::rtc` from checks to the channel, over the modelled network.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use peer_core::peer::RtcFailure;
use peer_core::rtc::crypto::{CryptoError, RustCrypto};
use peer_core::rtc::dtls::Identity;
use peer_core::rtc::ice::{Role, Server, SocketId};
use peer_core::rtc::session::{
    Config, Event, Failure, Kind, Outgoing, Received, Remote, Resources, Session, Setup,
};
use peer_core::rtc::stun::{Attribute, Class, Message, Method, Writer};
use peer_core::serialization::MessageKind;
use peer_core::time::{Duration, Instant};
use peer_core::wire::sdp::{self, Description, Emit};

use super::channel::Payload;
use super::{Below, End, EndId, Stage};
use crate::Rng;
use crate::device::fill;
use crate::host::HostId;
use crate::house::{House, Tenant};
use crate::io::{IceState, RtcStimulus, Stimulus};
use crate::link::{BROKER, address};
use crate::nat;
use crate::sim::{Happening, Sim};

/// Time the driver takes for a description, at most.
const GATHER: Duration = Duration::from_millis(8);
/// Ports of sessions, used again after so many.
const PORT_FIRST: u16 = 10_000;
const PORTS: usize = 50_000;
/// Where the STUN server is: at the broker's machine, which answers while the broker is down.
const STUN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 3_478);
static SERVERS: [Server<'static>; 1] = [Server::stun(STUN)];
/// Datagrams of one session at one instant. More is a busy loop.
const DATAGRAMS_MAX: usize = 1_000;
/// What a datagram with a candidate costs beside the line: the message around it.
const MESSAGE: usize = 150;

type Crypto = RustCrypto<Box<dyn FnMut(&mut [u8]) -> Result<(), CryptoError>>>;

/// Windows of 16 KiB, and of 2 KiB as a microcontroller has.
type Large<'m> = Resources<'m, 4, 8, 32, 2, 0, 1536, 16384, 256, 16384, 32>;
type Small<'m> = Resources<'m, 2, 4, 8, 1, 0, 1536, 2048, 16, 2048, 8>;

fn crypto(mut rng: Rng) -> Crypto {
    RustCrypto::new(Box::new(move |out| {
        fill(&mut rng, out);
        Ok(())
    }))
}

/// A session and what is needed to drive it.
struct Driven<'m> {
    session: Session<'m, 'm, Crypto>,
    crypto: Crypto,
    identity: Rc<Identity>,
    /// What was read of a message.
    partial: Vec<u8>,
}

struct Sockets;

impl Tenant for Sockets {
    type With<'m> = Driven<'m>;
}

/// The real part of an [`End`].
pub(crate) struct Real {
    driven: House<Sockets>,
    ufrag: String,
    /// The host's addresses that the session was told: of this epoch.
    told: Option<u16>,
    silent: bool,
}

impl Real {
    pub(super) const fn is_silent(&self) -> bool {
        self.silent
    }

    pub(super) fn ufrag(&self) -> &str {
        &self.ufrag
    }
}

/// A datagram of a real session, as it looks in the internet.
#[derive(Clone, Debug)]
pub(crate) struct Udp {
    source: SocketAddr,
    target: SocketAddr,
    bytes: Vec<u8>,
}

/// What a session said.
enum Said {
    Event(Event),
    /// Of a candidate, its line.
    Candidate(String),
    Message(MessageKind, Vec<u8>),
}

/// What came of one turn.
struct Turn {
    said: Vec<Said>,
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
    /// Messages that were taken whole, and bytes of the next one.
    taken: usize,
    given: usize,
    buffered: usize,
    unread: bool,
    timeout: Option<Instant>,
}

impl Driven<'_> {
    /// Gives, reads, computes and sends until there is nothing left to do.
    fn turn(&mut self, now: Instant, waiting: &[Rc<Payload>], given: usize, room: usize) -> Turn {
        let mut turn = Turn {
            said: Vec::new(),
            datagrams: Vec::new(),
            taken: 0,
            given,
            buffered: 0,
            unread: false,
            timeout: None,
        };
        let mut room = room;
        loop {
            let mut is_busy = self.give(waiting, &mut turn);
            is_busy |= self.read(&mut room, &mut turn);
            while self.session.work(now, &mut self.crypto, &self.identity) {
                is_busy = true;
            }
            let mut buffer = [0; 1500];
            while turn.datagrams.len() <= DATAGRAMS_MAX
                && let Some(it) = self.session.transmit(now, &mut self.crypto, &mut buffer)
            {
                turn.datagrams
                    .push((it.destination, buffer[..it.len].to_vec()));
                is_busy = true;
            }
            while let Some(event) = self.session.poll_event() {
                turn.said.push(match event {
                    Event::LocalCandidate(candidate) => {
                        Said::Candidate(candidate.line(self.session.ice().ufrag()).to_string())
                    }
                    event => Said::Event(event),
                });
                is_busy = true;
            }
            if !is_busy || turn.datagrams.len() > DATAGRAMS_MAX {
                break;
            }
        }
        turn.unread = self.session.read().is_some();
        turn.buffered = self.session.buffered();
        turn.timeout = self.session.timeout();
        turn
    }

    fn give(&mut self, waiting: &[Rc<Payload>], turn: &mut Turn) -> bool {
        let mut gave = false;
        while let Some(Payload::Frame(kind, bytes)) = waiting.get(turn.taken).map(Rc::as_ref) {
            let kind = match kind {
                MessageKind::Text => Kind::Text,
                MessageKind::Binary => Kind::Binary,
            };
            let message = Outgoing {
                first: turn.given == 0,
                ..Outgoing::message(kind)
            };
            let Ok(taken) = self.session.send(message, &bytes[turn.given..]) else {
                break;
            };
            gave = true;
            turn.given += taken;
            if turn.given == bytes.len() {
                (turn.taken, turn.given) = (turn.taken + 1, 0);
            }
        }
        gave
    }

    fn read(&mut self, room: &mut usize, turn: &mut Turn) -> bool {
        let mut read = false;
        while *room > 0
            && let Some(received) = self.session.read()
        {
            read = true;
            let Received::Piece(piece) = received else {
                // Nobody gives up a message here.
                self.session.consume(0);
                continue;
            };
            let len = piece.bytes.len();
            self.partial.extend_from_slice(piece.bytes);
            if piece.last {
                let kind = match piece.kind {
                    Kind::Text => MessageKind::Text,
                    Kind::Binary => MessageKind::Binary,
                };
                let message = core::mem::take(&mut self.partial);
                *room = room.saturating_sub(message.len().max(1));
                turn.said.push(Said::Message(kind, message));
            }
            self.session.consume(len);
        }
        read
    }
}

impl Sim {
    /// Makes a session at a machine.
    pub(super) fn make_real(&mut self, machine: HostId, offerer: bool) -> Real {
        let role = match offerer {
            true => Role::Controlling,
            false => Role::Controlled,
        };
        let mut crypto = crypto(self.rng_stack.fork());
        let identity = self.hosts[machine.0].identity.get_or_insert_with(|| {
            let identity = Identity::generate(&mut crypto);
            Rc::new(identity.expect("the source of randomness does not fail"))
        });
        let identity = Rc::clone(identity);
        let is_small = self.rng_stack.chance(0.3);
        let now = self.now;
        let mut driven = House::<Sockets>::new(move |jobs| async move {
            let (mut small, mut large);
            let memory = if is_small {
                small = Box::new(Small::new());
                small.lend()
            } else {
                large = Box::new(Large::new());
                large.lend()
            };
            let session = Session::new(now, &mut crypto, Config::new(role), memory, &SERVERS);
            let mut driven = Driven {
                session: session.expect("the source of randomness does not fail"),
                crypto,
                identity,
                partial: Vec::new(),
            };
            jobs.serve(&mut driven).await;
        });
        let ufrag = driven.with(|it: &mut Driven<'_>| it.session.ice().ufrag().to_owned());
        Real {
            driven,
            ufrag,
            told: None,
            silent: false,
        }
    }

    /// Has a session do something.
    fn with_real<R: 'static>(
        &mut self,
        id: EndId,
        job: impl FnOnce(&mut Driven<'_>, Instant) -> R + 'static,
    ) -> Option<R> {
        let now = self.now;
        let Below::Real(real) = &mut self.end(id)?.below else {
            return None;
        };
        Some(real.driven.with(move |it| job(it, now)))
    }

    /// We offer.
    pub(super) fn offer_real(&mut self, id: EndId, label: &str) {
        if self.fails_at_random(id) {
            return;
        }
        let ordered = self.ends[id].as_deref().is_some_and(|end| end.ordered);
        let label = label.to_owned();
        let opened = self.with_real(id, move |it, _| it.session.open(&label, ordered));
        if let Some(Err(error)) = opened {
            self.violated("session-commands", format_args!("the label: {error}"));
        }
        self.signal_real(id);
        self.turn_real(id);
    }

    /// The remote offers.
    pub(super) fn answer_real(&mut self, id: EndId, offer: &str) {
        if self.fails_at_random(id) {
            return;
        }
        self.describe_remote(id, offer);
        self.signal_real(id);
        self.turn_real(id);
    }

    /// Tells our description, when the driver has it.
    fn signal_real(&mut self, id: EndId) {
        let text = self.with_real(id, move |it, _| {
            let ice = it.session.ice();
            Emit {
                session_id: id as u64,
                ufrag: ice.ufrag(),
                pwd: ice.password(),
                fingerprint: it.identity.fingerprint(),
                setup: it.session.setup(),
                mid: "0",
                sctp_port: sdp::SCTP_PORT,
                max_message_size: 262_144,
                candidates: &[],
            }
            .to_string()
        });
        let at = self.now + self.rng_stack.up_to(GATHER);
        let (Some(text), Some(end)) = (text, self.end(id)) else {
            return;
        };
        let (host, incarnation, handle) = (end.host, end.incarnation, end.handle);
        let stimulus = Stimulus::Rtc(handle, RtcStimulus::Description(text));
        self.schedule(at, Happening::Stimulus(host, incarnation, stimulus));
    }

    /// The remote's description.
    pub(super) fn describe_real(&mut self, id: EndId, remote: &Description<'_>, len: usize) {
        let (ufrag, password) = (remote.ufrag.to_owned(), remote.pwd.to_owned());
        let fingerprint = remote.fingerprints().find_map(|it| it.sha256());
        let setup = remote.setup.unwrap_or(Setup::Actpass);
        let (sctp_port, max_message_size) = (remote.sctp_port, remote.max_message_size);
        let (lite, candidates) = (remote.ice_lite, remote.candidates());
        let candidates: Vec<String> = candidates.map(str::to_owned).collect();
        let taken = self.with_real(id, move |it, now| {
            let remote = Remote {
                lite,
                fingerprint: fingerprint.unwrap_or_default(),
                sctp_port,
                max_message_size,
                ..Remote::new(&ufrag, &password, setup)
            };
            it.session.set_remote(now, &remote)?;
            it.session.credit(u32::try_from(len).unwrap_or(u32::MAX));
            for line in candidates {
                // One that cannot be used is not.
                let _ = it.session.add_candidate(now, &line);
            }
            Ok::<(), peer_core::rtc::session::RemoteError>(())
        });
        match taken {
            Some(Ok(())) => {
                if let Some(end) = self.end(id).filter(|end| end.stage == Stage::New) {
                    end.stage = Stage::Checking;
                }
                self.tell(id, RtcStimulus::Ice(IceState::Checking));
                self.turn_real(id);
            }
            Some(Err(_)) => self.fail_end(id, RtcFailure::Description),
            None => {}
        }
    }

    /// The remote has named an address.
    pub(super) fn learn_real(&mut self, id: EndId, line: &str) {
        let line = line.to_owned();
        self.with_real(id, move |it, now| {
            let len = line.len() + MESSAGE;
            it.session.credit(u32::try_from(len).unwrap_or(u32::MAX));
            // One that cannot be used is not.
            let _ = it.session.add_candidate(now, &line);
        });
        self.turn_real(id);
    }

    /// Sockets of a host have other addresses, which it sees unless a NAT is between.
    pub(crate) fn addresses_changed(&mut self, host: HostId) {
        let mut ends: Vec<EndId> = self.hosts[host.0].ends.values().copied().collect();
        ends.sort_unstable();
        for end in ends {
            if matches!(self.end(end).map(|end| &end.below), Some(Below::Real(_))) {
                let now = self.now;
                self.schedule(now, Happening::EndTick(end));
            }
        }
    }

    /// Sessions without a path tell where they are again: what they told before may be lost.
    pub(crate) fn broker_is_back(&mut self, host: HostId) {
        let mut ends: Vec<EndId> = self.hosts[host.0].ends.values().copied().collect();
        ends.sort_unstable();
        for id in ends {
            if self.end(id).is_some_and(|end| !end.has_path()) {
                self.tell_again(id);
            }
        }
    }

    fn tell_again(&mut self, id: EndId) {
        self.with_real(id, |it, _| it.session.tell_candidates_again());
        let now = self.now;
        self.schedule(now, Happening::EndTick(id));
    }

    /// The address of an end's socket, and its epoch.
    fn inner(&self, machine: HostId, id: EndId) -> (SocketAddr, u16) {
        let host = &self.hosts[machine.0];
        let port = PORT_FIRST + u16::try_from(id % PORTS).unwrap_or_default();
        match host.options.nat {
            None => {
                let ip = nat::public(machine.node(), host.address_epoch);
                (SocketAddr::new(ip, port), host.address_epoch)
            }
            Some(_) => (SocketAddr::new(address(machine.node()).into(), port), 0),
        }
    }

    fn tell_addresses(&mut self, id: EndId) {
        let Some(machine) = self.end(id).map(|end| end.machine) else {
            return;
        };
        let (inner, epoch) = self.inner(machine, id);
        if let Some(End {
            below: Below::Real(real),
            ..
        }) = self.end(id)
            && real.told.replace(epoch) != Some(epoch)
        {
            self.with_real(id, move |it, now| {
                let taken = it.session.set_addresses(now, &[(SocketId(0), inner)]);
                assert!(taken.is_ok(), "there is room for one address");
            });
        }
    }

    /// Does what there is to do for a session.
    pub(super) fn turn_real(&mut self, id: EndId) {
        let Some(end) = self.end(id).filter(|end| end.stage != Stage::Dead) else {
            return;
        };
        let machine = end.machine;
        if self.hosts[machine.0].keep(Happening::EndTick(id)).is_none() {
            return;
        }
        self.tell_addresses(id);
        let Some(end) = self.end(id) else { return };
        let (waiting, given, room) = (end.tx.waiting(), end.tx.given, end.rx.room());
        let Some(turn) = self.with_real(id, move |it, now| it.turn(now, &waiting, given, room))
        else {
            return;
        };
        self.transmit_real(id, turn.datagrams);
        let Some(end) = self.end(id) else { return };
        end.rx.unread = turn.unread;
        let is_less = end.tx.took(turn.taken, turn.given, turn.buffered);
        let buffered = end.tx.buffered_amount();
        for said in turn.said {
            self.said(id, said);
        }
        if is_less {
            self.tell(id, RtcStimulus::Buffered(buffered));
            self.channel_credit(id);
        }
        self.check_delivered(id);
        let now = self.now;
        let Some(at) = turn.timeout else { return };
        if at <= now {
            self.violated(
                "timeouts-move",
                format_args!("at {now:?} the session of end {id} wants to be called at {at:?}"),
            );
        }
        if let Some(end) = self.end(id)
            && end.timer.is_none_or(|timer| at < timer)
        {
            end.timer = Some(at);
            self.schedule(at, Happening::EndTimer(id));
        }
    }

    fn said(&mut self, id: EndId, said: Said) {
        let Some(end) = self.end(id).filter(|end| end.stage != Stage::Dead) else {
            return;
        };
        let (host, handle) = (end.host, end.handle);
        let event = match said {
            Said::Candidate(line) => {
                self.tell(id, RtcStimulus::Candidate(line));
                return;
            }
            Said::Message(kind, bytes) => {
                end.rx.read(bytes.len());
                self.stats.frames += 1;
                self.tell(id, RtcStimulus::Frame(kind, bytes.into(), 0));
                return;
            }
            Said::Event(event) => event,
        };
        self.note(host, format_args!("session {handle:?} {event:?}"));
        let Some(End {
            below: Below::Real(real),
            stage,
            ordered,
            ..
        }) = self.end(id)
        else {
            return;
        };
        let rtc = match event {
            Event::Connected => {
                real.silent = false;
                *stage = (*stage).max(Stage::Handshake);
                RtcStimulus::Ice(IceState::Connected)
            }
            Event::Disconnected => {
                real.silent = true;
                // Through the broker: where the remote's NAT lets nothing in, it has to ask.
                self.tell_again(id);
                RtcStimulus::Ice(IceState::Disconnected)
            }
            Event::Secured => RtcStimulus::Dtls,
            Event::Open { ordered: is } => {
                (*stage, *ordered) = (Stage::Established, is);
                RtcStimulus::Opened
            }
            Event::Closed(_) if *stage == Stage::Established => {
                *stage = Stage::Dead;
                RtcStimulus::Closed
            }
            Event::Closed(_) => {
                *stage = Stage::Dead;
                RtcStimulus::Failed(RtcFailure::Sctp)
            }
            Event::Failed(failure) => {
                *stage = Stage::Dead;
                RtcStimulus::Failed(match failure {
                    Failure::Ice(_) => RtcFailure::Ice,
                    Failure::Dtls(_) => RtcFailure::Dtls,
                    Failure::Channel(_) => RtcFailure::Channel,
                    _ => RtcFailure::Sctp,
                })
            }
            _ => return,
        };
        self.tell(id, rtc);
    }

    /// `Close`: all that a session says at its end goes out, and nobody waits for answers.
    pub(super) fn close_real(&mut self, id: EndId) {
        let turn = self.with_real(id, |it, now| {
            it.session.close();
            it.turn(now, &[], 0, 0)
        });
        if let Some(turn) = turn {
            self.transmit_real(id, turn.datagrams);
        }
    }

    fn transmit_real(&mut self, id: EndId, datagrams: Vec<(SocketAddr, Vec<u8>)>) {
        if datagrams.len() > DATAGRAMS_MAX {
            let count = datagrams.len();
            self.violated(
                "busy-loop",
                format_args!("{count} datagrams at one instant"),
            );
        }
        let Some(machine) = self.end(id).map(|end| end.machine) else {
            return;
        };
        let now = self.now;
        let (inner, _) = self.inner(machine, id);
        for (target, bytes) in datagrams {
            eprintln!(
                "DBG {:?} {id} -> {target} {} {:02x}",
                now,
                bytes.len(),
                bytes[0]
            );
            let host = &mut self.hosts[machine.0];
            let source = match host.options.nat {
                None => inner,
                Some(kind) => {
                    let outer = host.nat.leave(kind, now, inner.port(), target);
                    SocketAddr::new(nat::public(machine.node(), host.address_epoch), outer)
                }
            };
            let udp = Udp {
                source,
                target,
                bytes,
            };
            self.carry_udp(machine.node(), &udp);
        }
    }

    /// Sends a datagram to whoever has its target.
    fn carry_udp(&mut self, from: usize, udp: &Udp) {
        let to = if udp.target == STUN {
            BROKER
        } else {
            // A private address of another network leads nowhere.
            match nat::node(udp.target.ip()) {
                Some(node) if node <= self.hosts.len() => node,
                _ => return,
            }
        };
        self.carry(from, to, udp.bytes.len(), || {
            Happening::Udp(Box::new(udp.clone()))
        });
    }

    /// A datagram is there.
    pub(crate) fn udp(&mut self, udp: Box<Udp>) {
        if udp.target == STUN {
            self.answer_binding(&udp);
            return;
        }
        let now = self.now;
        let Some(index) = nat::node(udp.target.ip()).and_then(|node| node.checked_sub(1)) else {
            return;
        };
        let machine = HostId(index);
        let host = &mut self.hosts[index];
        let is_ours = nat::public(machine.node(), host.address_epoch) == udp.target.ip();
        if !is_ours || !host.runs() {
            return;
        }
        let Some(Happening::Udp(udp)) = host.keep(Happening::Udp(udp)) else {
            return;
        };
        let port = udp.target.port();
        let port = match host.options.nat {
            None => Some(port),
            Some(kind) => host.nat.enter(kind, now, udp.source, port),
        };
        let Some(id) = port.and_then(|port| self.end_at(machine, port)) else {
            return;
        };
        let Udp {
            source, mut bytes, ..
        } = *udp;
        self.with_real(id, move |it, now| {
            it.session
                .receive(now, &mut it.crypto, SocketId(0), source, &mut bytes);
        });
        self.turn_real(id);
    }

    fn end_at(&self, machine: HostId, port: u16) -> Option<EndId> {
        let first = usize::from(port.checked_sub(PORT_FIRST)?);
        (first..self.ends.len()).step_by(PORTS).find(|id| {
            let end = self.ends[*id].as_deref();
            end.is_some_and(|end| {
                end.machine == machine
                    && end.stage != Stage::Dead
                    && matches!(end.below, Below::Real(_))
            })
        })
    }

    /// The STUN server tells who asks how it looks.
    fn answer_binding(&mut self, udp: &Udp) {
        let Ok(message) = Message::parse(&udp.bytes) else {
            return;
        };
        if message.class() != Class::Request || message.method() != Method::BINDING {
            return;
        }
        let mut buffer = [0; 64];
        let id = *message.transaction();
        let answer = Writer::new(&mut buffer, Class::Success, Method::BINDING, id)
            .put(Attribute::XorMappedAddress(udp.source))
            .finish();
        if let Ok(answer) = answer {
            let answer = Udp {
                source: STUN,
                target: udp.source,
                bytes: answer.to_vec(),
            };
            self.carry_udp(BROKER, &answer);
        }
    }
}
