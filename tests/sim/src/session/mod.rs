//! What is below an engine's connections: sessions, modelled or real, up to an open channel.
//!
//! Descriptions and candidates are texts as browsers write them, read by `peer_core::wire`,
//! whatever is below.

pub(crate) mod channel;
mod modelled;
mod real;

use peer_core::peer::{ConnectionHandle, RtcFailure};
use peer_core::serialization::MessageKind;
use peer_core::time::{Duration, Instant};
use peer_core::wire::sdp;

use self::channel::{Receiver, Sender};
use self::modelled::{Body, Modelled};
use self::real::Real;
use crate::host::HostId;
use crate::io::{Rtc, RtcStimulus, Stimulus};
use crate::link::Node;
use crate::options::Sessions;
use crate::sim::{Happening, Sim};

pub(crate) use self::modelled::Datagram;
pub use self::modelled::LIVENESS;
pub(crate) use self::real::Udp;

/// When a stack that fails by chance does so, at most after it was asked.
const FAILS_WITHIN: Duration = Duration::from_millis(80);

/// One end of a session, in the order they were made.
pub(crate) type EndId = usize;

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

/// What carries a session.
pub(crate) enum Below {
    Modelled(Modelled),
    Real(Real),
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
    pub(crate) stage: Stage,
    below: Below,
    pub(crate) timer: Option<Instant>,
    pub(crate) tx: Sender,
    pub(crate) rx: Receiver,
}

impl End {
    /// Whether nothing is known to be wrong with the path.
    pub(crate) const fn has_path(&self) -> bool {
        match &self.below {
            Below::Modelled(_) => true,
            Below::Real(real) => !real.is_silent(),
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
            Rtc::CreateOffer { reliable, .. } => self.note(
                id,
                format_args!("> {handle:?} CreateOffer {{ reliable: {reliable} }}"),
            ),
            Rtc::ApplyAnswer(_) => self.note(id, format_args!("> {handle:?} apply answer")),
            other => self.note(id, format_args!("> {handle:?} {other:?}")),
        }
        let end = self.hosts[id.0].ends.get(&handle).copied();
        match (rtc, end) {
            (Rtc::CreateOffer { reliable, label }, None) => {
                let end = self.add_end(id, handle, reliable, true);
                match self.ends[end].as_deref().map(|end| &end.below) {
                    Some(Below::Real(_)) => self.offer_real(end, &label),
                    _ => {
                        self.gather_modelled(end);
                    }
                }
            }
            (Rtc::AcceptOffer(text), None) => {
                let end = self.add_end(id, handle, false, false);
                match self.ends[end].as_deref().map(|end| &end.below) {
                    Some(Below::Real(_)) => self.answer_real(end, &text),
                    _ => {
                        if self.gather_modelled(end) {
                            self.describe_remote(end, &text);
                        }
                    }
                }
            }
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
            (Rtc::AddCandidate(line), Some(end)) => {
                match &self.ends[end].as_deref().map(|end| &end.below) {
                    Some(Below::Real(_)) => self.learn_real(end, &line),
                    _ => self.learn_modelled(end, &line),
                }
            }
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

    /// Makes an end, with nothing in it but what carries it.
    fn add_end(
        &mut self,
        id: HostId,
        handle: ConnectionHandle,
        ordered: bool,
        offerer: bool,
    ) -> EndId {
        let end = self.ends.len();
        let (machine, incarnation) = (self.machine(id), self.lease(id));
        let below = match self.hosts[machine.0].options.sessions {
            Sessions::Modelled => Below::Modelled(Modelled::new(self.now)),
            Sessions::Real => Below::Real(self.make_real(machine, offerer)),
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
            offerer,
            ordered,
            remote: None,
            stage: Stage::New,
            below,
            timer: None,
            tx: Sender::default(),
            rx: Receiver::default(),
        })));
        self.ledgers.push(crate::ledger::Ledger::default());
        self.stats.sessions += 1;
        end
    }

    /// Whether the stack fails at once. It may yet do so soon.
    fn fails_at_random(&mut self, end: EndId) -> bool {
        if !self.rng_stack.chance(self.options.stack_fails) {
            return false;
        }
        let failure = [RtcFailure::Resources, RtcFailure::Dtls, RtcFailure::Sctp];
        let failure = failure[self.rng_stack.index(failure.len())];
        if failure == RtcFailure::Resources {
            self.fail_end(end, failure);
            return true;
        }
        let at = self.now + FAILS_WITHIN;
        self.schedule(at, Happening::StackFails(end, failure));
        false
    }

    fn end(&mut self, end: EndId) -> Option<&mut End> {
        self.ends.get_mut(end)?.as_deref_mut()
    }

    /// The remote's description came.
    fn describe_remote(&mut self, id: EndId, text: &str) {
        let Ok(description) = sdp::parse(text) else {
            self.fail_end(id, RtcFailure::Description);
            return;
        };
        let remote = self.end_with_ufrag(description.ufrag);
        let Some(end) = self.end(id) else { return };
        end.remote = remote;
        let (host, handle) = (end.host, end.handle);
        if let Some(record) = self.hosts[host.0].record_mut(handle) {
            record.remote_end = remote;
        }
        let remote_ordered = remote
            .and_then(|remote| self.ends.get(remote)?.as_ref())
            .map(|remote| remote.ordered);
        let Some(end) = self.end(id) else { return };
        if !end.offerer {
            // On the wire it is in the DCEP OPEN.
            end.ordered = remote_ordered.unwrap_or_default();
        }
        match (&end.below, remote) {
            (Below::Real(_), _) => self.describe_real(id, &description, text.len()),
            (Below::Modelled(_), Some(_)) => self.begin_checks(id),
            (Below::Modelled(_), None) => self.fail_end(id, RtcFailure::Description),
        }
    }

    /// Whose description that is. Of an end that is gone it may be, too.
    fn end_with_ufrag(&self, ufrag: &str) -> Option<EndId> {
        let below = |end: EndId| self.ends[end].as_deref().map(|end| &end.below);
        let digits = ufrag.strip_prefix('e').filter(|digits| digits.len() == 7);
        let number = digits.and_then(|digits| EndId::from_str_radix(digits, 16).ok());
        if let Some(end) = number.filter(|end| *end < self.ends.len())
            && !matches!(below(end), Some(Below::Real(_)))
        {
            return Some(end);
        }
        // The newest are at the end.
        let is_it =
            |end: &EndId| matches!(below(*end), Some(Below::Real(it)) if it.ufrag() == ufrag);
        (0..self.ends.len()).rev().find(is_it)
    }

    /// Sends so many bytes from one node to another: what happens there happens once, twice, or
    /// not at all.
    fn carry(&mut self, from: Node, to: Node, len: usize, there: impl Fn() -> Happening) {
        let now = self.now;
        for at in self.net.send(now, from, to, len).into_iter().flatten() {
            self.schedule(at, there());
        }
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
        match self.end(id).map(|end| &end.below) {
            Some(Below::Modelled(_)) => self.tick_modelled(id),
            Some(Below::Real(_)) => self.turn_real(id),
            None => {}
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

    /// `Close`: the remote is told, once, and the end is forgotten.
    fn close_end(&mut self, id: EndId) {
        let Some(end) = self.end(id) else { return };
        let is_up = end.stage >= Stage::Checking && end.stage != Stage::Dead;
        match &end.below {
            Below::Modelled(_) if is_up => self.transmit(id, Body::Abort),
            Below::Modelled(_) => {}
            Below::Real(_) => self.close_real(id),
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
