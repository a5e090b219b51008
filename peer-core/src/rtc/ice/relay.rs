//! Relayed candidates: the allocations of an agent, and the way through them.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ops::Range;

use super::agent::{Agent, Phase};
use super::candidate::CandidateKind;
use super::event::Failure;
use super::gather::{Outcome, Report, Server, Via};
use super::memory::{Base, BaseState, Link, PairState, Route};
pub(in crate::rtc) use super::turn::{HEADROOM, TAILROOM};
use super::turn::{Incoming, Login, Transport, Turn, TurnError};
use super::{SocketId, Transmit, TransportPolicy};
use crate::bytes;
use crate::rtc::crypto::Crypto;
use crate::rtc::stun::Family;
use crate::time::{Instant, earlier};

/// What a relayed candidate says in place of how the server sees us (RFC 8839 §5.1).
fn undisclosed(relayed: SocketAddr) -> SocketAddr {
    let ip = match relayed {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, 9)
}

/// How often a TURN server is asked for an address from one of ours, if it was lost.
const ALLOCATIONS_MAX: u8 = 16;

/// An allocation on a TURN server.
#[derive(Debug)]
pub(super) struct Relay {
    /// The place of the server in the list.
    pub(super) server: u8,
    /// The base that it is reached from; `None` over a stream, or if that is gone.
    pub(super) over: Option<u8>,
    pub(super) socket: SocketId,
    /// The base that it is itself, while there is an address.
    pub(super) base: Option<u8>,
    /// How often an address was asked for.
    pub(super) asked: u8,
    pub(super) turn: Turn,
}

impl Relay {
    /// An allocation that is to be asked for.
    pub(super) const fn new(
        server: u8,
        over: Option<u8>,
        socket: SocketId,
        family: Family,
    ) -> Self {
        Self {
            server,
            over,
            socket,
            base: None,
            asked: 1,
            turn: Turn::new(transport(over), family),
        }
    }

    /// Makes it such a one, in place: it is too large for a stack.
    pub(super) fn begin_anew(
        &mut self,
        server: u8,
        over: Option<u8>,
        socket: SocketId,
        family: Family,
    ) {
        self.server = server;
        self.over = over;
        self.socket = socket;
        self.base = None;
        self.asked = 1;
        self.turn.begin_anew(transport(over), family);
    }

    /// Whether its place may be given away, and what came of it forgotten.
    pub(super) fn is_done(&self) -> bool {
        self.turn.is_over() && self.turn.error().is_none()
    }
}

/// How a server is reached: over UDP from a base, else over a stream.
const fn transport(over: Option<u8>) -> Transport {
    match over {
        Some(_) => Transport::Datagram,
        None => Transport::Stream,
    }
}

impl Server<'_> {
    /// Whether it may be between us and a remote.
    pub(in crate::rtc) const fn may_relay(&self) -> bool {
        self.login.is_some()
    }
}

impl<'m> Agent<'m> {
    /// Tells that the stream to a TURN server is open which has this id, so that an address is
    /// asked for. Give what comes on it to [`receive`](Self::receive), message by message
    /// ([`turn::message_len`](super::turn::message_len)), with the address of the server.
    pub fn stream_opened(&mut self, now: Instant, stream: SocketId) {
        for place in 0..self.servers.len() {
            let over = self.servers.get(place).map(|server| server.via);
            if over == Some(Via::Stream(stream)) {
                self.put_relay(now, place, None, stream);
            }
        }
    }

    /// Tells that the stream to a TURN server has ended, and with it what was relayed there.
    pub fn stream_closed(&mut self, now: Instant, stream: SocketId) {
        for place in 0..self.memory.relays.len() {
            if let Some(relay) = self.memory.relays.get_mut(place)
                && relay.socket == stream
                && relay.over.is_none()
            {
                relay.turn.stream_closed();
                self.follow_relay(now, place);
            }
        }
    }

    /// Has a TURN server asked for an address. Where there is no room it is left out, and after the
    /// end.
    pub(super) fn put_relay(
        &mut self,
        now: Instant,
        server: usize,
        over: Option<u8>,
        socket: SocketId,
    ) {
        let Some(Server {
            login: Some(_),
            family,
            ..
        }) = self.servers.get(server).filter(|_| !self.is_over())
        else {
            return;
        };
        let Ok(server) = u8::try_from(server) else {
            return;
        };
        let same = |old: &Relay| old.server == server && old.over == over && old.socket == socket;
        if self
            .memory
            .relays
            .iter()
            .any(|old| same(old) && !old.turn.is_over())
        {
            return;
        }
        let relays = &mut self.memory.relays;
        let ended = |old: &Relay| old.turn.is_over();
        let place = relays
            .iter()
            .position(|old| ended(old) && (same(old) || old.is_done()));
        let full = relays.is_full();
        let place = place.or_else(|| relays.iter().position(|old| full && ended(old)));
        match place.and_then(|place| relays.get_mut(place)) {
            Some(old) => old.begin_anew(server, over, socket, *family),
            None => {
                let new = Relay::new(server, over, socket, *family);
                if relays.push(new).is_err() {
                    return;
                }
            }
        }
        self.gathering_told = false;
        self.hurried = now;
    }

    /// Lets go of what is relayed over a base that is gone.
    pub(super) fn drop_relays_over(&mut self, base: u8) {
        for place in 0..self.memory.relays.len() {
            let Some(relay) = self.memory.relays.get_mut(place) else {
                return;
            };
            if relay.over == Some(base) {
                relay.over = None;
                relay.turn.abandon();
                self.drop_base_of(place);
            }
        }
    }

    fn drop_base_of(&mut self, place: usize) {
        let base = self
            .memory
            .relays
            .get_mut(place)
            .and_then(|relay| relay.base.take());
        if let Some(base) = base {
            if let Some(base) = self.memory.bases.get_mut(usize::from(base)) {
                base.state = BaseState::Gone;
            }
            self.forget_pairs(|link| link.base == base);
        }
    }

    /// Does what follows from an answer of a TURN server, or from its silence.
    pub(super) fn follow_relay(&mut self, now: Instant, place: usize) {
        let Some(relay) = self.memory.relays.get(place) else {
            return;
        };
        let (base, over) = (relay.base, relay.turn.is_over());
        match (relay.turn.relayed(), base) {
            (Some(address), None) => {
                let Ok(route) = u8::try_from(place) else {
                    return;
                };
                let base = Base {
                    state: BaseState::Untold,
                    route: Route::Relay(route),
                    kind: CandidateKind::Relay,
                    address,
                    related: match self.config.policy {
                        TransportPolicy::All => relay.turn.mapped(),
                        TransportPolicy::Relay => Some(undisclosed(address)),
                    },
                    place: usize::from(relay.server),
                    moves: self.moves,
                };
                let base = self.put_base(base);
                if let Some(relay) = self.memory.relays.get_mut(place) {
                    relay.base = base;
                }
                if let Some(base) = base {
                    self.pair_base(now, base);
                }
            }
            (None, Some(_)) if over => {
                self.drop_base_of(place);
                self.allocate_again(place);
                let had_path = matches!(self.phase, Phase::Connected | Phase::Searching { .. });
                if self.selected.is_none() && had_path {
                    self.moved(now);
                }
            }
            _ => {}
        }
        self.fail_refused(place);
    }

    /// Asks for another address where one was lost: the server has forgotten us, or sees us at
    /// another address.
    fn allocate_again(&mut self, place: usize) {
        let Some((server, _, relay)) = self.relay_at(place) else {
            return;
        };
        let lost = matches!(
            relay.turn.error(),
            Some(TurnError::AllocationMismatch | TurnError::NoAnswer)
        );
        if lost && relay.asked < ALLOCATIONS_MAX {
            relay.asked += 1;
            relay.turn.begin_anew(relay.turn.transport(), server.family);
        }
    }

    /// Has each TURN server asked whether it still knows us.
    pub(super) fn probe_relays(&mut self, now: Instant) {
        for relay in self.memory.relays.iter_mut() {
            relay.turn.probe(now);
        }
    }

    /// Gives up the pairs whose address the TURN server does not serve.
    fn fail_refused(&mut self, place: usize) {
        let Some(Relay {
            base: Some(base),
            turn,
            ..
        }) = self.memory.relays.get(place)
        else {
            return;
        };
        if !turn.refuses() {
            return;
        }
        for pair in self.memory.pairs.iter_mut() {
            let remote = self.memory.remotes.get(usize::from(pair.link.remote));
            if pair.link.base == *base && remote.is_some_and(|it| turn.is_refused(it.address)) {
                pair.state = PairState::Failed;
                pair.check = None;
                pair.triggered = None;
            }
        }
    }

    /// Whether bytes can go from this base to there now. For relayed ones the server has to let
    /// the address in first.
    pub(super) fn is_open(&self, link: Link) -> bool {
        let (Some(base), Some(remote)) = (self.base(link), self.remote_of(link)) else {
            return false;
        };
        match base.route {
            Route::Socket(_) => true,
            Route::Relay(place) => {
                let relay = self.memory.relays.get(usize::from(place));
                relay.is_some_and(|relay| relay.turn.is_permitted(remote.address))
            }
        }
    }

    /// The allocation that a pair goes through, if any, and the address of the remote.
    fn relay_of(&mut self, link: Link) -> Option<(&mut Turn, SocketAddr)> {
        let Route::Relay(place) = self.base(link)?.route else {
            return None;
        };
        let remote = self.remote_of(link)?.address;
        let relay = self.memory.relays.get_mut(usize::from(place))?;
        Some((&mut relay.turn, remote))
    }

    /// Has the TURN server of a pair let the remote in.
    pub(super) fn permit(&mut self, now: Instant, link: Link) {
        if let Some((turn, remote)) = self.relay_of(link) {
            turn.permit(now, remote);
        }
    }

    /// Has the remote of the pair in use let in, and given a channel.
    pub(super) fn bind_channel(&mut self, now: Instant, link: Link) {
        if let Some((turn, remote)) = self.relay_of(link) {
            turn.permit(now, remote);
            turn.bind(now, remote);
        }
    }

    /// A pair has failed: its remote gives way before those of others.
    pub(super) fn yield_peer(&mut self, link: Link) {
        if let Some((turn, remote)) = self.relay_of(link) {
            turn.yields(remote);
        }
    }

    /// Has the remote let in again where an allocation had no room to remember it: on the pairs
    /// that are used or are about to be, and on those that are to be checked once there is room.
    /// While a path is looked for, that is all of them.
    pub(super) fn keep_permissions(&mut self, now: Instant) {
        if self.is_over() || self.memory.relays.is_empty() {
            return;
        }
        if let Some(link) = self.selected {
            self.bind_channel(now, link);
        }
        if let Some(link) = self.nominating {
            self.permit(now, link);
        }
        let searching = self.silent_since().is_some();
        for place in 0..self.memory.pairs.len() {
            let pair = self.memory.pairs.get(place);
            let Some(link) = pair
                .filter(|pair| searching || self.is_unfinished(pair))
                .map(|pair| pair.link)
                .filter(|link| self.is_wanted(*link))
            else {
                continue;
            };
            if let Some((turn, remote)) = self.relay_of(link)
                && turn.has_room()
                && !turn.knows(remote)
            {
                turn.permit(now, remote);
            }
        }
    }

    /// The server, the login and the allocation at a place.
    fn relay_at(&mut self, place: usize) -> Option<(&'m Server<'m>, Login<'m>, &mut Relay)> {
        let relay = self.memory.relays.get_mut(place)?;
        let server = self.servers.get(usize::from(relay.server))?;
        Some((server, server.login?, relay))
    }

    /// Writes the next request to a TURN server.
    pub(super) fn transmit_relay<C: Crypto>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        out: &mut [u8],
    ) -> Option<Transmit> {
        // One that has got no answer may begin anew, and have others asked: they are due as well.
        for _ in 0..=2 * self.memory.relays.len() {
            let place = self.relay_due(now)?;
            let (server, login, relay) = self.relay_at(place)?;
            let (socket, destination) = (relay.socket, server.address);
            let written = relay.turn.transmit(now, crypto, login, out);
            self.follow_relay(now, place);
            match written {
                Ok(Some(len)) => {
                    return Some(Transmit {
                        socket,
                        destination,
                        len,
                    });
                }
                Ok(None) => {}
                Err(_) => {
                    self.fail(Failure::Random);
                    for relay in self.memory.relays.iter_mut() {
                        relay.turn.abandon();
                    }
                    return None;
                }
            }
        }
        None
    }

    /// The place of an allocation that has something to do.
    fn relay_due(&mut self, now: Instant) -> Option<usize> {
        (0..self.memory.relays.len()).find(|place| {
            let relay = self.relay_at(*place);
            relay.is_some_and(|(_, _, it)| it.turn.timeout().is_some_and(|at| at <= now))
        })
    }

    /// Whether the remote may learn and use our addresses of this kind.
    pub(super) const fn may_show(&self, kind: CandidateKind) -> bool {
        match self.config.policy {
            TransportPolicy::All => true,
            TransportPolicy::Relay => matches!(kind, CandidateKind::Relay),
        }
    }

    /// Gives every allocation back.
    pub(super) fn release_relays(&mut self) {
        for relay in self.memory.relays.iter_mut() {
            relay.turn.release();
        }
    }

    /// Whether a TURN server has not yet said whether there will be an address.
    pub(super) fn is_relay_pending(&self) -> bool {
        let mut relays = self.memory.relays.iter();
        relays.any(|relay| relay.turn.is_pending())
    }

    /// What came of asking each TURN server.
    pub(super) fn relay_reports(&self) -> impl Iterator<Item = Report> {
        self.memory.relays.iter().filter_map(|relay| {
            let outcome = match (relay.turn.relayed(), relay.turn.error()) {
                (Some(address), _) => Outcome::Relayed(address),
                (None, Some(error)) => Outcome::NotRelayed(error),
                (None, None) if relay.turn.is_pending() => Outcome::Pending,
                (None, None) => return None,
            };
            Some(Report {
                server: usize::from(relay.server),
                base: relay.over.and_then(|base| self.address_of(base)),
                outcome,
            })
        })
    }

    /// The socket that bytes leave from on a route, and whether a TURN server is between.
    pub(super) fn socket_of(&self, route: Route) -> Option<(SocketId, bool)> {
        match route {
            Route::Socket(socket) => Some((socket, false)),
            Route::Relay(place) => {
                let relay = self.memory.relays.get(usize::from(place))?;
                Some((relay.socket, true))
            }
        }
    }

    pub(super) fn relays_due(&self) -> Option<Instant> {
        let relays = self.memory.relays.iter();
        relays.fold(None, |at, relay| earlier(at, relay.turn.timeout()))
    }

    /// The allocation that a datagram belongs to, and what it has of a peer.
    pub(super) fn take_relayed<C: Crypto>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        socket: SocketId,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Option<(Route, SocketAddr, Range<usize>)> {
        for place in 0..self.memory.relays.len() {
            let Some((server, login, relay)) = self.relay_at(place) else {
                continue;
            };
            if relay.socket != socket || server.address != source {
                continue;
            }
            match relay.turn.receive(now, crypto, login, datagram) {
                Incoming::Data(peer, range) => {
                    return Some((Route::Relay(u8::try_from(place).ok()?), peer, range));
                }
                Incoming::Taken => self.follow_relay(now, place),
            }
        }
        None
    }

    /// Sends the message at the front of a buffer on a route.
    pub(super) fn send_on(
        &mut self,
        route: Route,
        to: SocketAddr,
        out: &mut [u8],
        len: usize,
    ) -> Option<Transmit> {
        let relayed = matches!(route, Route::Relay(_));
        let start = if relayed { HEADROOM } else { 0 };
        bytes::copy_within(out, 0..len, start)?;
        let (transmit, framed) = self.wrap(route, to, out, start..start + len)?;
        bytes::copy_within(out, framed, 0)?;
        Some(transmit)
    }

    /// Makes a datagram for a route of the data there, and returns where it lies.
    pub(super) fn wrap(
        &mut self,
        route: Route,
        to: SocketAddr,
        buffer: &mut [u8],
        data: Range<usize>,
    ) -> Option<(Transmit, Range<usize>)> {
        let (socket, destination, framed) = match route {
            Route::Socket(socket) => (socket, to, data),
            Route::Relay(place) => {
                let (server, _, relay) = self.relay_at(usize::from(place))?;
                let framed = relay.turn.frame(to, buffer, data)?;
                (relay.socket, server.address, framed)
            }
        };
        let transmit = Transmit {
            socket,
            destination,
            len: framed.len(),
        };
        Some((transmit, framed))
    }
}
