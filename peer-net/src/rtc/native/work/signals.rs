//! What is told: descriptions, candidates, sockets, servers.

use std::sync::Arc;

use peer_core::peer::RtcFailure;
use peer_core::rtc::ice::{Outcome, Server};
use peer_core::rtc::session;
use peer_core::time::Instant;
use peer_core::wire::sdp::{Emit, SCTP_PORT, Setup};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{Handshake, Phase, Work};
use crate::rtc::description::Remote;
use crate::rtc::native::Role;
use crate::rtc::native::failure::{self, Asked};
use crate::rtc::native::servers::Resolved;
use crate::rtc::native::socket::Socket;
use crate::rtc::native::task::resources;
use crate::rtc::stage::{Failure, Stage};
use crate::rtc::{IceState, IceTransportPolicy, REMOTE_CANDIDATES_MAX, SessionEvent};

impl<'m> Work<'m, '_> {
    /// Tells our description, and takes the remote's if that was an offer.
    pub(in crate::rtc::native) fn begin(
        &mut self,
        role: Role,
        offered: Option<Remote>,
    ) -> Result<(), Failure> {
        let now = self.now();
        self.set_sockets(self.rest.place.seat.sockets());
        if let Role::Offer { label, ordered } = role {
            self.session.open(&label, ordered).map_err(|error| {
                let sentence = format!("the channel's label cannot be used: {error}");
                (RtcFailure::Channel, sentence)
            })?;
        }
        if let Some(remote) = &offered {
            if remote.is_libdatachannel {
                self.rest.handshake = Handshake::Later;
            }
            self.set_remote(now, remote)?;
        }
        let mut session_id = [0; 8];
        SystemRandom::new()
            .fill(&mut session_id)
            .map_err(|_| resources(&"there is no randomness"))?;
        let description = Emit {
            session_id: u64::from_be_bytes(session_id) >> 1,
            ufrag: self.session.ice().ufrag(),
            pwd: self.session.ice().password(),
            fingerprint: self.rest.identity.fingerprint(),
            setup: self.session.setup(),
            mid: offered.as_ref().map_or("0", |remote| &remote.mid),
            sctp_port: SCTP_PORT,
            max_message_size: self.rest.config.max_message_size,
            candidates: &[],
        };
        let description = description.to_string();
        let rest = &mut self.rest;
        rest.untold
            .push_front(SessionEvent::LocalDescription(description));
        let stage = match offered {
            Some(_) => Stage::Checking,
            None => Stage::AwaitingAnswer,
        };
        rest.told.stage.enter(stage);
        Ok(())
    }

    /// Tells the session its servers, which `resolved` are.
    pub(in crate::rtc::native) fn set_servers(
        &mut self,
        servers: &'m [Server<'m>],
        resolved: &Arc<[Resolved]>,
    ) {
        self.rest.servers = Some(Arc::clone(resolved));
        self.reserve_servers();
        let now = self.now();
        if let Err(error) = self.session.set_servers(now, servers) {
            debug_assert!(false, "they are told once: {error}");
        }
        self.connect_streams(resolved);
        self.look_for_relays();
    }

    /// Has what TURN servers relay to our sockets be for this session.
    fn reserve_servers(&self) {
        let rest = &self.rest;
        let servers = rest.servers.as_deref().unwrap_or_default().iter();
        let relays = servers.filter(|server| server.may_relay_over_udp());
        let pairs = relays.flat_map(|relay| {
            let sockets = rest.sockets.iter();
            sockets.map(|socket| (socket.id, relay.address))
        });
        rest.place.seat.reserve(pairs);
    }

    /// Connects to the servers that are reached over streams.
    pub(super) fn connect_streams(&mut self, resolved: &[Resolved]) {
        for (place, server) in resolved.iter().enumerate() {
            let sockets = &self.rest.sockets;
            let is_v4 = server.address.is_ipv4();
            let ours = sockets.iter().find(|it| it.address.is_ipv4() == is_v4);
            let (Some(id), Some(ours)) = (server.stream(place), ours) else {
                continue;
            };
            // Only an address that was chosen is insisted on.
            let is_filtered = !self.rest.config.ip_filter.is_empty();
            let from = is_filtered.then_some(ours.address.ip());
            if self.rest.streams.connect(id, server, from).is_err() {
                tracing::debug!(server = %server.url, "too many streams to TURN servers");
            }
        }
    }

    /// Fails where only relayed paths are allowed and no server gives one.
    pub(super) fn look_for_relays(&mut self) {
        let is_relay_only = self.rest.config.ice_transport_policy == IceTransportPolicy::Relay;
        let is_opening = matches!(self.rest.phase, Phase::Opening(_));
        // A server that is reached over a stream is asked once that is open.
        let is_early = self.rest.servers.is_none() || self.rest.streams.are_opening();
        if !is_relay_only || !is_opening || is_early {
            return;
        }
        let agent = self.session.ice();
        let may_come = |it: Outcome| matches!(it, Outcome::Pending | Outcome::Relayed(_));
        if !agent.reports().any(|report| may_come(report.outcome)) {
            let sentence = failure::no_relay(&self.asked());
            self.fail((RtcFailure::Ice, sentence));
        }
    }

    /// What is known of the servers.
    pub(super) fn asked(&self) -> Asked<'_> {
        let rest = &self.rest;
        let mut missing = rest.place.endpoint.servers.missing();
        missing.extend(rest.streams.troubles().cloned());
        Asked {
            agent: self.session.ice(),
            servers: rest.servers.as_deref().unwrap_or_default(),
            missing,
        }
    }

    pub(super) fn set_sockets(&mut self, sockets: Arc<[Arc<Socket>]>) {
        let addresses: Vec<_> = sockets.iter().map(|it| (it.id, it.address)).collect();
        self.rest.sockets = sockets;
        self.reserve_servers();
        let now = self.now();
        if let Err(error) = self.session.set_addresses(now, &addresses) {
            tracing::debug!(%error, "some are not used");
        }
        let ours: Vec<_> = addresses.iter().map(|(_, address)| address.ip()).collect();
        for id in self.rest.streams.leave(&ours) {
            self.session.stream_closed(now, id);
        }
    }

    /// Takes the remote's answer.
    pub(super) fn answer(&mut self, text: &str) {
        if self.rest.told.stage.get() != Stage::AwaitingAnswer {
            return;
        }
        let now = self.now();
        let taken = Remote::parse(text, false).and_then(|remote| self.set_remote(now, &remote));
        match taken {
            Ok(()) => self.rest.told.stage.enter(Stage::Checking),
            Err(failure) => self.fail(failure),
        }
    }

    pub(super) fn set_remote(&mut self, now: Instant, remote: &Remote) -> Result<(), Failure> {
        let refuse = |why: String| (RtcFailure::Description, why);
        let Some(fingerprint) = remote.fingerprints.first() else {
            return Err(refuse("the remote names no SHA-256 fingerprint".to_owned()));
        };
        let setup = match remote.is_client() {
            true => Setup::Passive,
            false => Setup::Active,
        };
        let told = session::Remote {
            lite: remote.lite,
            fingerprint: *fingerprint,
            sctp_port: remote.sctp_port,
            max_message_size: remote.max_message_size,
            ..session::Remote::new(&remote.ufrag, &remote.pwd, setup)
        };
        self.session.credit(u32::try_from(remote.len).unwrap_or(0));
        let taken = self.session.set_remote(now, &told);
        taken.map_err(|error| refuse(error.to_string()))?;
        let most = self.rest.config.max_message_size;
        self.rest.max_message_size = remote.max_message_size.min(most);
        for candidate in &remote.candidates {
            self.take_candidate(now, candidate);
        }
        self.tell(SessionEvent::IceState(IceState::Checking));
        Ok(())
    }

    pub(super) fn add_candidate(&mut self, line: &str) {
        self.session.credit(u32::try_from(line.len()).unwrap_or(0));
        let now = self.now();
        self.take_candidate(now, line);
    }

    pub(super) fn take_candidate(&mut self, now: Instant, line: &str) {
        if self.rest.candidates == REMOTE_CANDIDATES_MAX {
            return;
        }
        self.rest.candidates += 1;
        let line = line.strip_prefix("a=").unwrap_or(line);
        if let Err(reason) = self.session.add_candidate(now, line) {
            tracing::debug!(%reason, line, "candidate passed over");
        }
    }
}
