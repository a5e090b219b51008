//! A model of ICE, DTLS and SCTP: descriptions, candidates and the set-up, up to an open channel.
//!
//! What of it is real: descriptions and candidates are texts as browsers write them, read by
//! `peer_core::wire`; each step of the set-up is a packet that can be late, lost, repeated or
//! overtaken. What is not: packets hold a number instead of cryptography, a candidate pair is one
//! path, and only the end that is DTLS client repeats a flight.

use std::rc::Rc;

use peer_core::peer::{ConnectionHandle, RtcFailure};
use peer_core::serialization::MessageKind;
use peer_core::time::{Duration, Instant};
use peer_core::wire::candidate::{self, Address as CandidateAddress};
use peer_core::wire::sdp::{self, Emit, Setup};

use crate::channel::{Payload, Receiver, Sender};
use crate::host::HostId;
use crate::io::{IceState, Rtc, RtcStimulus, Stimulus};
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
/// See [`Sim`]: the liveness limit of sessions.
pub const LIVENESS: Duration = Duration::from_secs(20);
/// The last of the flights of DTLS (1 to 4) and SCTP (5 to 8); the DTLS client sends the odd ones.
const LAST_FLIGHT: u8 = 8;

/// One end of a session, in the order they were made.
pub(crate) type EndId = usize;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Waits for the remote's description and an address.
    New,
    Checking,
    /// A path works; flights go back and forth.
    Handshake,
    /// The association is up.
    Established,
    /// It failed or the remote ended it; only `Close` is missing.
    Dead,
}

pub(crate) struct End {
    pub(crate) host: HostId,
    /// Where the stack is: the host, or the gateway it uses.
    machine: HostId,
    pub(crate) incarnation: u32,
    pub(crate) handle: ConnectionHandle,
    pub(crate) offerer: bool,
    pub(crate) ordered: bool,
    pub(crate) remote: Option<EndId>,
    /// Where the remote may be, in the order they were learned; at most [`CANDIDATES_MAX`].
    candidates: Vec<Address>,
    /// Where it is: a check got through.
    pub(crate) address: Option<Address>,
    pub(crate) stage: Stage,
    /// Latest flight sent and received.
    sent: u8,
    got: u8,
    repeats: u32,
    repeat_at: Option<Instant>,
    gives_up: Instant,
    consent_at: Option<Instant>,
    heard: Instant,
    silent: bool,
    pub(crate) timer: Option<Instant>,
    pub(crate) tx: Sender,
    pub(crate) rx: Receiver,
}

impl End {
    fn learn(&mut self, address: Address) {
        if self.candidates.len() < CANDIDATES_MAX && !self.candidates.contains(&address) {
            self.candidates.push(address);
        }
    }
}

#[derive(Debug)]
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

impl Sim {
    pub(crate) fn session_command(&mut self, id: HostId, handle: ConnectionHandle, rtc: Rtc) {
        match &rtc {
            Rtc::Send { last, bytes, .. } => {
                let part = if *last { "" } else { ", more to come" };
                self.note(
                    id,
                    format_args!("> {handle:?} send {} bytes{part}", bytes.len()),
                );
            }
            Rtc::AcceptOffer(_) => self.note(id, format_args!("> {handle:?} accept offer")),
            Rtc::ApplyAnswer(_) => self.note(id, format_args!("> {handle:?} apply answer")),
            other => self.note(id, format_args!("> {handle:?} {other:?}")),
        }
        let end = self.hosts[id.0].ends.get(&handle).copied();
        match (rtc, end) {
            (Rtc::CreateOffer { reliable }, None) => {
                self.add_end(id, handle, reliable, None);
            }
            (Rtc::AcceptOffer(text), None) => self.add_end(id, handle, false, Some(&text)),
            (Rtc::CreateOffer { .. } | Rtc::AcceptOffer(_), Some(_)) => {
                self.violated(
                    "one-session",
                    format_args!("{handle:?} has a session already"),
                );
            }
            (Rtc::Close, None) => {
                self.violated(
                    "close-once",
                    format_args!("{handle:?} has no session to close"),
                );
            }
            (_, None) => {
                self.violated(
                    "session-commands",
                    format_args!("{handle:?} has no session"),
                );
            }
            (Rtc::ApplyAnswer(text), Some(end)) => self.describe_remote(end, &text),
            (Rtc::AddCandidate(line), Some(end)) => self.add_candidate(end, &line),
            (
                Rtc::Send {
                    first,
                    last,
                    kind,
                    bytes,
                },
                Some(end),
            ) => self.channel_send(end, first, last, kind, &bytes),
            (Rtc::Close, Some(end)) => self.close_end(end),
        }
    }

    fn add_end(
        &mut self,
        id: HostId,
        handle: ConnectionHandle,
        ordered: bool,
        offer: Option<&str>,
    ) {
        let end = self.ends.len();
        let now = self.now;
        let (machine, incarnation) = (self.machine(id), self.lease(id));
        let own = Address {
            host: machine.0,
            epoch: self.hosts[machine.0].address_epoch,
        };
        let host = &mut self.hosts[id.0];
        host.ends.insert(handle, end);
        if let Some(record) = host.record_mut(handle) {
            record.end = Some(end);
        }
        self.ends.push(Some(Box::new(End {
            host: id,
            machine,
            incarnation,
            handle,
            offerer: offer.is_none(),
            ordered,
            remote: None,
            candidates: Vec::new(),
            address: None,
            stage: Stage::New,
            sent: 0,
            got: 0,
            repeats: 0,
            repeat_at: None,
            gives_up: now,
            consent_at: None,
            heard: now,
            silent: false,
            timer: None,
            tx: Sender::default(),
            rx: Receiver::default(),
        })));
        self.ledgers.push(crate::ledger::Ledger::default());
        self.stats.sessions += 1;

        let fingerprint = [end as u8; 32];
        let pwd = format!("{:024x}", self.rng_stack.next());
        let emit = Emit {
            session_id: end as u64,
            ufrag: &format!("e{end:07x}"),
            pwd: &pwd,
            fingerprint: &fingerprint,
            setup: if offer.is_none() {
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
        if self.rng_stack.chance(self.options.stack_fails) {
            let failure = [RtcFailure::Resources, RtcFailure::Dtls, RtcFailure::Sctp];
            let failure = failure[self.rng_stack.index(failure.len())];
            if failure == RtcFailure::Resources {
                self.fail_end(end, failure);
                return;
            }
            self.schedule(now + 10 * GATHER, Happening::StackFails(end, failure));
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
                Happening::Stimulus(id, incarnation, Stimulus::Rtc(handle, rtc)),
            );
        }
        if let Some(offer) = offer {
            self.describe_remote(end, offer);
        }
    }

    fn end(&mut self, end: EndId) -> Option<&mut End> {
        self.ends.get_mut(end)?.as_deref_mut()
    }

    /// The remote's description came.
    fn describe_remote(&mut self, id: EndId, text: &str) {
        let remote = sdp::parse(text).ok().and_then(|description| {
            let number = description.ufrag.strip_prefix('e')?;
            EndId::from_str_radix(number, 16).ok()
        });
        let remote_ordered = remote
            .and_then(|remote| self.ends.get(remote)?.as_ref())
            .map(|remote| remote.ordered);
        let Some(end) = self.end(id) else { return };
        let Some(remote) = remote else {
            self.fail_end(id, RtcFailure::Description);
            return;
        };
        end.remote = Some(remote);
        if !end.offerer {
            // On the wire it is in the DCEP OPEN.
            end.ordered = remote_ordered.unwrap_or_default();
        }
        let (host, handle) = (end.host, end.handle);
        if let Some(record) = self.hosts[host.0].record_mut(handle) {
            record.remote_end = Some(remote);
        }
        self.begin_checks(id);
    }

    fn add_candidate(&mut self, id: EndId, line: &str) {
        let Some(end) = self.end(id) else { return };
        if let Some(address) = Address::parse(line) {
            end.learn(address);
        }
        self.begin_checks(id);
    }

    fn begin_checks(&mut self, id: EndId) {
        let now = self.now;
        let Some(end) = self.end(id) else { return };
        if end.stage != Stage::New || end.remote.is_none() || end.candidates.is_empty() {
            return;
        }
        end.stage = Stage::Checking;
        end.gives_up = now + ICE_GIVES_UP;
        end.repeats = 0;
        end.repeat_at = Some(now);
        self.tell(id, RtcStimulus::Ice(IceState::Checking));
        self.tick(id);
    }

    /// Tells the engine something about the session, at this instant but after what is being done.
    pub(crate) fn tell(&mut self, id: EndId, rtc: RtcStimulus) {
        let now = self.now;
        let Some(end) = self.end(id) else { return };
        let (host, incarnation, handle) = (end.host, end.incarnation, end.handle);
        self.schedule(
            now,
            Happening::Stimulus(host, incarnation, Stimulus::Rtc(handle, rtc)),
        );
    }

    pub(crate) fn transmit(&mut self, id: EndId, body: Body) {
        self.transmit_at(id, None, &body);
    }

    /// Sends a packet to this address of the remote, or where it is known to be.
    fn transmit_at(&mut self, id: EndId, address: Option<Address>, body: &Body) {
        let now = self.now;
        let Some(end) = self.ends.get(id).and_then(Option::as_ref) else {
            return;
        };
        let (Some(to), Some(target)) = (end.remote, address.or(end.address)) else {
            return;
        };
        let host = end.machine;
        let source = Address {
            host: host.0,
            epoch: self.hosts[host.0].address_epoch,
        };
        self.transmit_to(now, host, to, source, target, id, body);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one packet")]
    fn transmit_to(
        &mut self,
        now: Instant,
        host: HostId,
        to: EndId,
        source: Address,
        target: Address,
        from: EndId,
        body: &Body,
    ) {
        if target.host >= self.hosts.len() {
            return;
        }
        let node = HostId(target.host).node();
        for at in self
            .net
            .send(now, host.node(), node, body.len())
            .into_iter()
            .flatten()
        {
            let datagram = Datagram {
                from,
                to,
                source,
                target,
                body: body.clone(),
            };
            self.schedule(at, Happening::Datagram(Box::new(datagram)));
        }
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
        let Some(end) = self.end(id).filter(|end| end.stage != Stage::Dead) else {
            return;
        };
        let host = end.machine;
        // Credentials and keys: packets from anyone but the described remote are refused, checks
        // excepted, whose credentials are ours.
        if !matches!(body, Body::Check) && end.remote != Some(from) {
            return;
        }
        if end.stage >= Stage::Handshake && end.address != Some(source) {
            // From behind a new NAT binding.
            if !follows {
                return;
            }
            end.address = Some(source);
        }
        match body {
            Body::Check => {
                let learned = end.remote == Some(from);
                if learned {
                    end.learn(source);
                }
                let own = Address {
                    host: host.0,
                    epoch: self.hosts[host.0].address_epoch,
                };
                self.transmit_to(now, host, from, own, source, id, &Body::CheckOk);
                if learned {
                    self.begin_checks(id);
                }
            }
            Body::CheckOk => self.check_answered(id, source),
            Body::Flight(n) => self.flight(id, n),
            Body::Data(tsn, payload) => self.channel_data(id, tsn, payload),
            Body::Ack(tsn) => self.channel_ack(id, tsn),
            Body::Consent => self.transmit(id, Body::ConsentOk),
            Body::ConsentOk => {
                end.heard = now;
                if core::mem::take(&mut end.silent) {
                    self.tell(id, RtcStimulus::Ice(IceState::Connected));
                }
            }
            Body::Abort => {
                let established = end.stage == Stage::Established;
                end.stage = Stage::Dead;
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
        let Some(end) = self.end(id) else { return };
        if end.stage != Stage::Checking {
            return;
        }
        end.stage = Stage::Handshake;
        end.address = Some(source);
        end.heard = now;
        end.consent_at = Some(now + CONSENT_EVERY);
        end.repeats = 0;
        end.repeat_at = None;
        if !end.offerer {
            end.sent = 1;
            end.repeat_at = Some(now);
        }
        self.tell(id, RtcStimulus::Ice(IceState::Connected));
        self.tick(id);
    }

    fn flight(&mut self, id: EndId, n: u8) {
        let now = self.now;
        let Some(end) = self.end(id) else { return };
        let is_ours = (n % 2 == 1) == end.offerer;
        if end.stage < Stage::Handshake || !is_ours || n > LAST_FLIGHT {
            return;
        }
        if n <= end.got {
            // A repetition: what answered it was lost. Only the last one's answer is worth sending
            // again.
            if end.offerer && n == end.got && end.sent == n + 1 {
                let again = end.sent;
                self.transmit(id, Body::Flight(again));
            }
            return;
        }
        if n != end.sent + 1 {
            return;
        }
        end.got = n;
        end.repeats = 0;
        end.repeat_at = None;
        if n < LAST_FLIGHT {
            end.sent = n + 1;
            if end.offerer {
                self.transmit(id, Body::Flight(n + 1));
            } else {
                end.repeat_at = Some(now);
            }
        }
        match n {
            3 | 4 => self.tell(id, RtcStimulus::Dtls),
            7 => self.established(id, true),
            8 => self.established(id, false),
            _ => {}
        }
        self.tick(id);
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

    pub(crate) fn end_timer(&mut self, id: EndId) {
        let now = self.now;
        let Some(end) = self.end(id) else { return };
        if end.timer != Some(now) {
            return;
        }
        end.timer = None;
        let host = end.machine;
        if self.hosts[host.0].keep(Happening::EndTick(id)).is_some() {
            self.tick(id);
        }
    }

    /// Does what is due at this end and sets its timer.
    pub(crate) fn tick(&mut self, id: EndId) {
        let now = self.now;
        let Some(end) = self.end(id) else { return };
        if end.stage == Stage::Dead {
            return;
        }
        if end.stage == Stage::Checking && now >= end.gives_up {
            self.fail_end(id, RtcFailure::Ice);
            return;
        }
        if end.consent_at.is_some() {
            let silence = now.saturating_duration_since(end.heard);
            if silence >= LIVENESS {
                self.fail_end(id, RtcFailure::Ice);
                return;
            }
            if silence >= DISCONNECTED_AFTER && !core::mem::replace(&mut end.silent, true) {
                self.tell(id, RtcStimulus::Ice(IceState::Disconnected));
            }
        }
        let Some(end) = self.end(id) else { return };
        if end.repeat_at.is_some_and(|at| at <= now) {
            let wait = (REPEAT_FIRST * (1 << end.repeats.min(6))).min(REPEAT_MAX);
            end.repeats += 1;
            end.repeat_at = Some(now + wait);
            if end.stage == Stage::Checking {
                for address in end.candidates.clone() {
                    self.transmit_at(id, Some(address), &Body::Check);
                }
            } else {
                let flight = end.sent;
                self.transmit(id, Body::Flight(flight));
            }
        }
        let Some(end) = self.end(id) else { return };
        if end.consent_at.is_some_and(|at| at <= now) {
            end.consent_at = Some(now + CONSENT_EVERY);
            self.transmit(id, Body::Consent);
        }
        self.channel_repeat(id);
        self.arm_end(id);
    }

    pub(crate) fn arm_end(&mut self, id: EndId) {
        let now = self.now;
        let Some(end) = self.end(id) else { return };
        let checking = (end.stage == Stage::Checking).then_some(end.gives_up);
        let next = [end.repeat_at, end.consent_at, end.tx.due(), checking]
            .into_iter()
            .flatten()
            .min();
        let Some(at) = next.map(|at| at.max(now)) else {
            return;
        };
        if end.timer.is_none_or(|timer| at < timer) {
            end.timer = Some(at);
            self.schedule(at, Happening::EndTimer(id));
        }
    }

    pub(crate) fn fail_end(&mut self, id: EndId, failure: RtcFailure) {
        let Some(end) = self.end(id) else { return };
        if end.stage == Stage::Dead {
            return;
        }
        end.stage = Stage::Dead;
        self.tell(id, RtcStimulus::Failed(failure));
    }

    /// `Close`: an ABORT goes out, once, and the end is forgotten.
    fn close_end(&mut self, id: EndId) {
        let Some(end) = self.end(id) else { return };
        if end.stage >= Stage::Checking && end.stage != Stage::Dead {
            self.transmit(id, Body::Abort);
        }
        let Some(end) = self.end(id) else { return };
        let (host, handle) = (end.host, end.handle);
        self.hosts[host.0].ends.remove(&handle);
        self.forget_end(id);
    }

    pub(crate) fn forget_end(&mut self, id: EndId) {
        self.ends[id] = None;
    }

    fn channel_send(
        &mut self,
        id: EndId,
        first: bool,
        last: bool,
        kind: MessageKind,
        bytes: &[u8],
    ) {
        let Some(end) = self.end(id) else { return };
        if end.stage == Stage::Dead {
            // The engine is about to hear of it.
            return;
        }
        if let Err(fault) = end.tx.push_piece(first, last, kind, bytes) {
            self.violated("room-kept", format_args!("end {id}: {fault}"));
        }
        if !last {
            self.channel_credit(id);
        }
        self.channel_flush(id);
    }
}
