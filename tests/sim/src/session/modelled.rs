//! A model of ICE, DTLS and SCTP's set-up: each step is a packet that can be late, lost, repeated
//! or overtaken. Packets hold a number instead of cryptography, a candidate pair is one path, and
//! only the end that is DTLS client repeats a flight.

use std::rc::Rc;

use peer_core::peer::RtcFailure;
use peer_core::time::{Duration, Instant};
use peer_core::wire::candidate::{self, Address as CandidateAddress};
use peer_core::wire::sdp::{self, Emit, Setup};

use super::channel::Payload;
use super::{Below, EndId, Stage};
use crate::host::HostId;
use crate::io::{IceState, RtcStimulus, Stimulus};
use crate::sim::{Happening, Sim};

/// Time the stack takes for a description, at most.
const GATHER: Duration = Duration::from_millis(8);
/// Candidates that lead nowhere, at most, besides the one that works: interfaces of other networks.
const IDLE_CANDIDATES: u64 = 4;
/// Candidates of a remote that are tried.
const CANDIDATES_MAX: usize = 8;
/// A connectivity check, or a flight, is repeated first after this; doubles up to [`REPEAT_MAX`].
const REPEAT_FIRST: Duration = Duration::from_millis(100);
const REPEAT_MAX: Duration = Duration::from_secs(2);
/// Checks without any answer fail the session after this.
const ICE_GIVES_UP: Duration = Duration::from_secs(25);
/// Consent is asked for this often (RFC 7675: 5 s).
const CONSENT_EVERY: Duration = Duration::from_millis(2_500);
/// Silence that is told as `Disconnected`, and silence that fails the session.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(6);
/// Silence after which a [modelled](crate::Sessions::Modelled) session fails.
pub const LIVENESS: Duration = Duration::from_secs(20);
/// The last of the flights of DTLS (1 to 4) and SCTP (5 to 8); the DTLS client sends the odd ones.
const LAST_FLIGHT: u8 = 8;
/// Where packets go: a host behind a NAT binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: usize,
    pub(crate) epoch: u16,
}

impl Address {
    fn candidate(self) -> String {
        let [_, a, b, c] = (self.host as u32).to_be_bytes();
        let port = 10_000 + self.epoch;
        format!("candidate:1 1 udp 2130706431 10.{a}.{b}.{c} {port} typ host generation 0")
    }

    fn parse(line: &str) -> Option<Self> {
        let candidate = candidate::parse(line).ok()?;
        let CandidateAddress::Ip(core::net::IpAddr::V4(ip)) = candidate.address else {
            return None;
        };
        let [ten, a, b, c] = ip.octets();
        Some(Self {
            host: u32::from_be_bytes([0, a, b, c]) as usize,
            epoch: candidate.port.checked_sub(10_000)?,
        })
        .filter(|_| ten == 10)
    }
}

/// The modelled part of an [`End`](super::End).
#[derive(Debug)]
pub(crate) struct Modelled {
    /// Where the remote may be, in the order they were learned; at most [`CANDIDATES_MAX`].
    candidates: Vec<Address>,
    /// Where it is: a check got through.
    address: Option<Address>,
    /// Latest flight sent and received.
    sent: u8,
    got: u8,
    repeats: u32,
    repeat_at: Option<Instant>,
    gives_up: Instant,
    consent_at: Option<Instant>,
    heard: Instant,
    silent: bool,
}

impl Modelled {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            candidates: Vec::new(),
            address: None,
            sent: 0,
            got: 0,
            repeats: 0,
            repeat_at: None,
            gives_up: now,
            consent_at: None,
            heard: now,
            silent: false,
        }
    }

    fn learn(&mut self, address: Address) {
        if self.candidates.len() < CANDIDATES_MAX && !self.candidates.contains(&address) {
            self.candidates.push(address);
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    from: EndId,
    to: EndId,
    source: Address,
    target: Address,
    body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Check,
    CheckOk,
    Flight(u8),
    Data(u32, Rc<Payload>),
    Ack(u32),
    Consent,
    ConsentOk,
    Abort,
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Flight(1..=4) => 700,
            Self::Data(_, payload) => payload.len() + 60,
            _ => 100,
        }
    }
}

/// An end that is modelled.
struct View<'a> {
    machine: HostId,
    offerer: bool,
    remote: Option<EndId>,
    stage: &'a mut Stage,
    timer: &'a mut Option<Instant>,
    /// When something is to be sent again.
    due: Option<Instant>,
    model: &'a mut Modelled,
}

impl Sim {
    fn modelled(&mut self, id: EndId) -> Option<View<'_>> {
        let end = self.end(id)?;
        let Below::Modelled(model) = &mut end.below else {
            return None;
        };
        Some(View {
            machine: end.machine,
            offerer: end.offerer,
            remote: end.remote,
            stage: &mut end.stage,
            timer: &mut end.timer,
            due: end.tx.due(),
            model,
        })
    }

    pub(super) fn begin_checks(&mut self, id: EndId) {
        let now = self.now;
        let Some(it) = self.modelled(id) else {
            return;
        };
        if *it.stage != Stage::New || it.remote.is_none() || it.model.candidates.is_empty() {
            return;
        }
        *it.stage = Stage::Checking;
        it.model.gives_up = now + ICE_GIVES_UP;
        it.model.repeats = 0;
        it.model.repeat_at = Some(now);
        self.tell(id, RtcStimulus::Ice(IceState::Checking));
        self.tick_modelled(id);
    }

    pub(super) fn transmit(&mut self, id: EndId, body: Body) {
        self.transmit_at(id, None, &body);
    }

    /// Sends a packet to this address of the remote, or where it is known to be.
    fn transmit_at(&mut self, id: EndId, address: Option<Address>, body: &Body) {
        let Some(it) = self.modelled(id) else {
            return;
        };
        let (Some(to), Some(target)) = (it.remote, address.or(it.model.address)) else {
            return;
        };
        let host = it.machine;
        let source = Address {
            host: host.0,
            epoch: self.hosts[host.0].address_epoch,
        };
        let datagram = Datagram {
            from: id,
            to,
            source,
            target,
            body: body.clone(),
        };
        self.transmit_to(host, &datagram);
    }

    fn transmit_to(&mut self, host: HostId, datagram: &Datagram) {
        let target = datagram.target.host;
        if target >= self.hosts.len() {
            return;
        }
        let len = datagram.body.len();
        self.carry(host.node(), HostId(target).node(), len, || {
            Happening::Datagram(Box::new(datagram.clone()))
        });
    }

    /// A packet is there.
    pub(crate) fn datagram(&mut self, datagram: Box<Datagram>) {
        let host = &mut self.hosts[datagram.target.host];
        if !host.runs() || host.address_epoch != datagram.target.epoch {
            return;
        }
        let Some(Happening::Datagram(datagram)) = host.keep(Happening::Datagram(datagram)) else {
            return;
        };
        let now = self.now;
        let Datagram {
            from,
            to: id,
            source,
            body,
            ..
        } = *datagram;
        let follows = self.options.follows_rebinding;
        let Some(it) = self.modelled(id) else {
            return;
        };
        if *it.stage == Stage::Dead {
            return;
        }
        let host = it.machine;
        let known = it.remote == Some(from);
        // Credentials and keys: packets from anyone but the described remote are refused, checks
        // excepted, whose credentials are ours.
        if !matches!(body, Body::Check) && !known {
            return;
        }
        if *it.stage >= Stage::Handshake && it.model.address != Some(source) {
            // From behind a new NAT binding.
            if !follows {
                return;
            }
            it.model.address = Some(source);
        }
        match body {
            Body::Check => {
                if known {
                    it.model.learn(source);
                }
                let own = Address {
                    host: host.0,
                    epoch: self.hosts[host.0].address_epoch,
                };
                let answer = Datagram {
                    from: id,
                    to: from,
                    source: own,
                    target: source,
                    body: Body::CheckOk,
                };
                self.transmit_to(host, &answer);
                if known {
                    self.begin_checks(id);
                }
            }
            Body::CheckOk => self.check_answered(id, source),
            Body::Flight(n) => self.flight(id, n),
            Body::Data(tsn, payload) => self.channel_data(id, tsn, payload),
            Body::Ack(tsn) => self.channel_ack(id, tsn),
            Body::Consent => self.transmit(id, Body::ConsentOk),
            Body::ConsentOk => {
                it.model.heard = now;
                if core::mem::take(&mut it.model.silent) {
                    self.tell(id, RtcStimulus::Ice(IceState::Connected));
                }
            }
            Body::Abort => {
                let established = core::mem::replace(it.stage, Stage::Dead) == Stage::Established;
                self.tell(
                    id,
                    if established {
                        RtcStimulus::Closed
                    } else {
                        RtcStimulus::Failed(RtcFailure::Dtls)
                    },
                );
            }
        }
    }

    fn check_answered(&mut self, id: EndId, source: Address) {
        let now = self.now;
        let Some(it) = self.modelled(id) else {
            return;
        };
        if *it.stage != Stage::Checking {
            return;
        }
        *it.stage = Stage::Handshake;
        it.model.address = Some(source);
        it.model.heard = now;
        it.model.consent_at = Some(now + CONSENT_EVERY);
        it.model.repeats = 0;
        it.model.repeat_at = None;
        if !it.offerer {
            it.model.sent = 1;
            it.model.repeat_at = Some(now);
        }
        self.tell(id, RtcStimulus::Ice(IceState::Connected));
        self.tick_modelled(id);
    }

    fn flight(&mut self, id: EndId, n: u8) {
        let now = self.now;
        let Some(it) = self.modelled(id) else {
            return;
        };
        let is_ours = (n % 2 == 1) == it.offerer;
        if *it.stage < Stage::Handshake || !is_ours || n > LAST_FLIGHT {
            return;
        }
        if n <= it.model.got {
            // A repetition: what answered it was lost. Only the last one's answer is worth sending
            // again.
            if it.offerer && n == it.model.got && it.model.sent == n + 1 {
                let again = it.model.sent;
                self.transmit(id, Body::Flight(again));
            }
            return;
        }
        if n != it.model.sent + 1 {
            return;
        }
        it.model.got = n;
        it.model.repeats = 0;
        it.model.repeat_at = None;
        if n < LAST_FLIGHT {
            it.model.sent = n + 1;
            if it.offerer {
                self.transmit(id, Body::Flight(n + 1));
            } else {
                it.model.repeat_at = Some(now);
            }
        }
        match n {
            3 | 4 => self.tell(id, RtcStimulus::Dtls),
            7 => self.established(id, true),
            8 => self.established(id, false),
            _ => {}
        }
        self.tick_modelled(id);
    }

    fn established(&mut self, id: EndId, offerer: bool) {
        let Some(end) = self.end(id) else { return };
        end.stage = Stage::Established;
        if offerer {
            self.tell(id, RtcStimulus::Opened);
            self.channel_open(id);
        } else {
            self.channel_flush(id);
        }
    }

    /// Does what is due at this end and sets its timer.
    pub(super) fn tick_modelled(&mut self, id: EndId) {
        let now = self.now;
        let Some(it) = self.modelled(id) else {
            return;
        };
        if *it.stage == Stage::Dead {
            return;
        }
        if *it.stage == Stage::Checking && now >= it.model.gives_up {
            self.fail_end(id, RtcFailure::Ice);
            return;
        }
        if it.model.consent_at.is_some() {
            let silence = now.saturating_duration_since(it.model.heard);
            if silence >= LIVENESS {
                self.fail_end(id, RtcFailure::Ice);
                return;
            }
            if silence >= DISCONNECTED_AFTER && !core::mem::replace(&mut it.model.silent, true) {
                self.tell(id, RtcStimulus::Ice(IceState::Disconnected));
            }
        }
        let Some(it) = self.modelled(id) else {
            return;
        };
        if it.model.repeat_at.is_some_and(|at| at <= now) {
            let wait = (REPEAT_FIRST * (1 << it.model.repeats.min(6))).min(REPEAT_MAX);
            it.model.repeats += 1;
            it.model.repeat_at = Some(now + wait);
            if *it.stage == Stage::Checking {
                for address in it.model.candidates.clone() {
                    self.transmit_at(id, Some(address), &Body::Check);
                }
            } else {
                let flight = it.model.sent;
                self.transmit(id, Body::Flight(flight));
            }
        }
        let Some(it) = self.modelled(id) else {
            return;
        };
        if it.model.consent_at.is_some_and(|at| at <= now) {
            it.model.consent_at = Some(now + CONSENT_EVERY);
            self.transmit(id, Body::Consent);
        }
        self.channel_repeat(id);
        self.arm_modelled(id);
    }

    pub(super) fn arm_modelled(&mut self, id: EndId) {
        let now = self.now;
        let Some(it) = self.modelled(id) else {
            return;
        };
        let checking = (*it.stage == Stage::Checking).then_some(it.model.gives_up);
        let next = [it.model.repeat_at, it.model.consent_at, it.due, checking]
            .into_iter()
            .flatten()
            .min();
        let Some(at) = next.map(|at| at.max(now)) else {
            return;
        };
        if it.timer.is_none_or(|timer| at < timer) {
            *it.timer = Some(at);
            self.schedule(at, Happening::EndTimer(id));
        }
    }

    /// What the modelled stack finds out after a session was made: its description and candidates.
    /// Whether it has not failed at once.
    pub(super) fn gather_modelled(&mut self, id: EndId) -> bool {
        let now = self.now;
        let Some(end) = self.end(id) else {
            return false;
        };
        let (host, machine, incarnation) = (end.host, end.machine, end.incarnation);
        let (handle, offerer) = (end.handle, end.offerer);
        let own = Address {
            host: machine.0,
            epoch: self.hosts[machine.0].address_epoch,
        };
        let fingerprint = [id as u8; 32];
        let pwd = format!("{:024x}", self.rng_stack.next());
        let emit = Emit {
            session_id: id as u64,
            ufrag: &format!("e{id:07x}"),
            pwd: &pwd,
            fingerprint: &fingerprint,
            setup: if offerer {
                Setup::Actpass
            } else {
                Setup::Active
            },
            mid: "0",
            sctp_port: sdp::SCTP_PORT,
            max_message_size: 262_144,
            candidates: &[],
        };
        let description = now + self.rng_stack.up_to(GATHER);
        if self.fails_at_random(id) {
            return false;
        }
        let mut stimuli = vec![(description, RtcStimulus::Description(emit.to_string()))];
        let idle = (0..self.rng_stack.below(IDLE_CANDIDATES + 1)).map(|number| Address {
            host: machine.0,
            epoch: 50_000 + number as u16,
        });
        for address in core::iter::once(own).chain(idle) {
            // Mostly behind the description, sometimes before it.
            let at = now + self.rng_stack.up_to(GATHER) + self.rng_stack.up_to(GATHER);
            stimuli.push((at, RtcStimulus::Candidate(address.candidate())));
        }
        for (at, rtc) in stimuli {
            self.schedule(
                at,
                Happening::Stimulus(host, incarnation, Stimulus::Rtc(handle, rtc)),
            );
        }
        true
    }

    /// The remote has named an address.
    pub(super) fn learn_modelled(&mut self, id: EndId, line: &str) {
        if let Some(it) = self.modelled(id)
            && let Some(address) = Address::parse(line)
        {
            it.model.learn(address);
        }
        self.begin_checks(id);
    }
}
