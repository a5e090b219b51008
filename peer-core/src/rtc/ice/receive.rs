//! What a datagram is (RFC 7983), and to whom it belongs.

use core::net::SocketAddr;

use super::agent::Agent;
use super::candidate::{Candidate, CandidateKind, peer_reflexive_priority};
use super::memory::{Link, PairState, Route};
use super::{Received, SocketId, policy};
use crate::rtc::crypto::Crypto;
use crate::rtc::stun::{Class, Message, Method};
use crate::time::Instant;

impl Agent<'_> {
    /// Takes a datagram that came from `source` to a socket.
    ///
    /// What is no STUN is data, and is given back if the remote has proved itself at that address.
    /// If it has not, the address is checked, and the data dropped: its sender sends it again.
    pub fn receive<'d, C: Crypto>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        socket: SocketId,
        source: SocketAddr,
        datagram: &'d mut [u8],
    ) -> Received<'d> {
        let inner = self.take_relayed(now, crypto, socket, source, datagram);
        // Of what comes then only a server's answer counts, to what is given back.
        if self.is_over() {
            return Received::Taken;
        }
        let (route, source, range) = match inner {
            Some(inner) => inner,
            None => (Route::Socket(socket), source, 0..datagram.len()),
        };
        let Some(datagram) = datagram.get_mut(range) else {
            return Received::Taken;
        };
        match datagram.first() {
            Some(0..=3) => {
                if let Ok(message) = Message::parse(datagram) {
                    self.stun(now, crypto, route, source, &message, datagram.len());
                }
            }
            // DTLS.
            Some(20..=63) if self.data(now, route, source) => return Received::Data(datagram),
            _ => {}
        }
        Received::Taken
    }

    /// Returns whether data from there is taken: the remote has proved itself there. Of relayed
    /// data it is asked of what is in it, not of the server.
    #[must_use]
    pub fn hears(&self, socket: SocketId, source: SocketAddr) -> bool {
        let base = self.base_of_route(Route::Socket(socket));
        let link = base.zip(self.remote_at(source));
        !self.is_over() && link.is_some_and(|(base, remote)| self.is_proved(Link { base, remote }))
    }

    fn stun<C: Crypto>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        route: Route,
        source: SocketAddr,
        message: &Message<'_>,
        len: usize,
    ) {
        match message.class() {
            Class::Request if self.may_answer(route) => {
                self.request(now, crypto, route, source, message, len);
            }
            Class::Request => {}
            Class::Indication => {}
            Class::Success | Class::Error => {
                let binding = message.method() == Method::BINDING;
                if binding && !self.response(now, crypto, route, source, message) {
                    self.server_answered(now, route, source, message);
                }
            }
        }
    }

    /// Whether the remote may learn that we are there.
    const fn may_answer(&self, route: Route) -> bool {
        self.may_show(match route {
            Route::Socket(_) => CandidateKind::Host,
            #[cfg(feature = "turn")]
            Route::Relay(_) => CandidateKind::Relay,
        })
    }

    /// Whether the remote has proved itself where data came from.
    fn data(&mut self, now: Instant, route: Route, source: SocketAddr) -> bool {
        let Some(base) = self.base_of_route(route) else {
            return false;
        };
        let link = self.remote_at(source).map(|remote| Link { base, remote });
        if let Some(link) = link.filter(|link| self.is_proved(*link)) {
            self.data_came(now, link);
            return true;
        }
        self.data_from_unknown(now, base, source);
        false
    }

    /// Has the address checked that data came from: the remote may have moved there. Anybody can
    /// send data, so it is done only once there has been a path, pushes no other address out, and
    /// ends when half of the bytes are spent that may go to addresses which never answered.
    fn data_from_unknown(&mut self, now: Instant, base: u8, source: SocketAddr) {
        if self.last_remote.is_none()
            || self.config.lite
            || self.spent > self.allowed / 2
            || policy::check(source, self.config.include_loopback).is_err()
        {
            return;
        }
        let candidate = Candidate {
            kind: CandidateKind::PeerReflexive,
            address: source,
            priority: peer_reflexive_priority(0),
            foundation: u32::from(source.port()),
            related: None,
        };
        let known = self.remote_at(source);
        if known.is_none() && !self.has_room_for_remote() {
            return;
        }
        let Some(remote) = known.or_else(|| self.put_remote(now, &candidate)) else {
            return;
        };
        let link = Link { base, remote };
        if !self.put_pair(now, link) {
            return;
        }
        let Some(pair) = self.pair_mut(link) else {
            return;
        };
        if matches!(pair.state, PairState::Frozen | PairState::Waiting) {
            pair.state = PairState::Waiting;
            self.trigger(link);
        }
    }
}
