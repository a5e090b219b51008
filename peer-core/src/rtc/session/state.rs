//! The session: its state, and what the caller tells it.

use core::net::SocketAddr;

use heapless::{Deque, String};

use super::channel::{Channel, Dcep, Within};
use super::end::{End, Shut, Untold};
use super::error::{OpenError, RemoteError, ServersError};
use super::resources::{DetachedSctp, Live, Memory, SctpMemory};
use super::{Config, DATAGRAM_MAX, LABEL_MAX, Remote, Setup};
use crate::rtc::crypto::{Crypto, CryptoError, DIGEST_LEN};
use crate::rtc::dtls::{self, Dtls, Role};
use crate::rtc::ice::{
    self, Agent, HEADROOM, Path, Refused, Server, SocketId, TAILROOM, TooManyAddresses,
};
use crate::rtc::sctp::{self, Association};
use crate::time::{Duration, Instant};

/// Bytes of the longest SCTP packet where nothing is relayed: DTLS, UDP and IPv6 carry it within
/// 1,280.
const PACKET: usize = 1_140;
/// Through a relay less is left.
const RELAYED_PACKET: usize =
    (DATAGRAM_MAX - HEADROOM - TAILROOM - dtls::HEADROOM - dtls::TAILROOM) & !3;

/// DTLS, once somebody may be there.
#[expect(clippy::large_enum_variant, reason = "there is no allocator to box it")]
pub(super) enum Secure<'m, C: Crypto> {
    /// `None` once it was lent.
    Unborn(Option<dtls::Memory<'m>>),
    Dtls(Dtls<'m, C>),
}

/// SCTP, once the remote has proved who it is.
pub(super) enum Transport<'m> {
    /// `None` until it is lent.
    Unborn(Option<SctpMemory<'m>>),
    Live(&'m mut Live<'m>),
}

/// What is known of the remote beyond its credentials.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Ours.
    pub(super) role: Role,
    pub(super) fingerprint: [u8; DIGEST_LEN],
    sctp_port: u16,
    max_message_size: u32,
}

/// One data channel and all below it. See the [module](super) for the loop.
///
/// `'m` is how long the memory of path and handshake is lent, `'d` that for data, which can be
/// [exchanged](Session::without_sctp).
pub struct Session<'m, 'd, C: Crypto> {
    pub(super) config: Config,
    pub(super) ice: Agent<'m>,
    pub(super) secure: Secure<'m, C>,
    pub(super) transport: Transport<'d>,
    pub(super) remote: Option<Known>,
    pub(super) channel: Channel,
    pub(super) label: String<LABEL_MAX, u16>,
    pub(super) ordered: bool,
    pub(super) within: Within,
    /// Whether the association was open: then our OPEN goes out at once.
    pub(super) established: bool,
    /// Whether the message of which pieces are given is unordered.
    pub(super) sends_unordered: bool,
    /// What SCTP begins with. Wiped by nobody: it goes over the network.
    random: [u8; 8],
    /// Whether TURN may be between.
    may_relay: bool,
    /// Where data went last, and whether that path answered.
    pub(super) path: Option<(SocketId, SocketAddr)>,
    pub(super) silent: bool,
    /// [`Agent::renewals`] at that time.
    pub(super) renewals: u32,
    pub(super) shut: Shut,
    pub(super) untold: Deque<Untold, 2>,
    pub(super) end: End,
}

/// What is random in a session, but for DTLS.
pub(crate) struct Drawn {
    random: [u8; 8],
    ice: ice::Drawn,
}

impl Drawn {
    pub(crate) fn draw<C: Crypto>(crypto: &mut C) -> Result<Self, CryptoError> {
        let mut random = [0; 8];
        crypto.random(&mut random)?;
        let ice = ice::Drawn::draw(crypto)?;
        Ok(Self { random, ice })
    }
}

impl<'m, C: Crypto> Session<'m, 'm, C> {
    /// Returns a session with ICE credentials of its own. What is random in it is drawn here, but
    /// for DTLS's.
    ///
    /// `servers` are asked how each address looks from there, and to relay. If they are not known
    /// yet, give none, and tell them with [`set_servers`](Self::set_servers).
    ///
    /// # Errors
    /// [`CryptoError::Random`].
    #[inline(never)]
    pub fn new(
        now: Instant,
        crypto: &mut C,
        config: Config,
        memory: Memory<'m>,
        servers: &'m [Server<'m>],
    ) -> Result<Self, CryptoError> {
        let drawn = Drawn::draw(crypto)?;
        Ok(Self::with(now, drawn, config, memory, servers))
    }

    /// The same, of what was drawn before: nothing fails once memory is taken.
    pub(crate) fn with(
        now: Instant,
        drawn: Drawn,
        config: Config,
        memory: Memory<'m>,
        servers: &'m [Server<'m>],
    ) -> Self {
        Self {
            config,
            ice: Agent::with(now, drawn.ice, config.ice, memory.ice, servers),
            secure: Secure::Unborn(Some(memory.dtls)),
            transport: Transport::Unborn(memory.sctp),
            remote: None,
            channel: Channel::Awaited,
            label: String::new(),
            ordered: true,
            within: Within::Nothing,
            established: false,
            sends_unordered: false,
            random: drawn.random,
            may_relay: config.may_relay || may_relay(servers),
            path: None,
            silent: false,
            renewals: 0,
            shut: Shut::No,
            untold: Deque::new(),
            end: End::No,
        }
    }
}

impl<'m, C: Crypto> Session<'m, 'm, C> {
    /// Ends the session without a word, if it is not over, and gives its memory back for another
    /// one. Of the memory for data only what was lent.
    #[inline]
    pub fn into_memory(self) -> Option<Memory<'m>> {
        let dtls = match self.secure {
            Secure::Unborn(memory) => memory,
            Secure::Dtls(dtls) => Some(dtls.into_memory()),
        };
        debug_assert!(dtls.is_some(), "what was lent is in use");
        Some(Memory {
            ice: self.ice.into_memory(),
            dtls: dtls?,
            sctp: match self.transport {
                Transport::Unborn(memory) => memory,
                Transport::Live(live) => Some(live.take_memory()),
            },
        })
    }
}

impl<'m, 'd, C: Crypto> Session<'m, 'd, C> {
    /// Returns the ICE agent, to read: credentials, role, path, what came of asking servers.
    pub const fn ice(&self) -> &Agent<'m> {
        &self.ice
    }

    /// Returns what data is sent on, if anything.
    pub fn path(&self) -> Option<Path> {
        self.ice.path()
    }

    /// Returns our `a=setup`: what was configured, and once the remote is known, which role it is.
    pub const fn setup(&self) -> Setup {
        match self.remote {
            Some(known) if known.role.is_server() => Setup::Passive,
            Some(_) => Setup::Active,
            None => self.config.setup,
        }
    }

    /// Returns the label of the channel; empty before there is one.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Tells the addresses there are, see [`Agent::set_addresses`].
    ///
    /// # Errors
    /// [`TooManyAddresses`]; so many as there is room for were taken.
    #[inline(never)]
    pub fn set_addresses(
        &mut self,
        now: Instant,
        addresses: &[(SocketId, SocketAddr)],
    ) -> Result<(), TooManyAddresses> {
        self.ice.set_addresses(now, addresses)
    }

    /// Tells the servers of a session that was made without, once, see [`Agent::set_servers`].
    ///
    /// # Errors
    /// [`ServersError`]; nothing has changed.
    pub fn set_servers(
        &mut self,
        now: Instant,
        servers: &'m [Server<'m>],
    ) -> Result<(), ServersError> {
        let relays = may_relay(servers);
        // DTLS and SCTP make packets as long as they began to.
        if relays && !self.may_relay && matches!(self.secure, Secure::Dtls(_)) {
            return Err(ServersError::TooLateToRelay);
        }
        self.ice.set_servers(now, servers)?;
        self.may_relay |= relays;
        Ok(())
    }

    /// Tells the remote's description. A later one with other credentials is an ICE restart of the
    /// remote; DTLS and SCTP go on.
    ///
    /// # Errors
    /// [`RemoteError`]; nothing has changed.
    #[inline(never)]
    pub fn set_remote(&mut self, now: Instant, remote: &Remote<'_>) -> Result<(), RemoteError> {
        let role = self.role_with(remote.setup).ok_or(RemoteError::Setup)?;
        let known = Known {
            role,
            fingerprint: remote.fingerprint,
            sctp_port: remote.sctp_port,
            max_message_size: remote.max_message_size,
        };
        if self
            .remote
            .is_some_and(|old| old.role != role || old.fingerprint != known.fingerprint)
        {
            return Err(RemoteError::Changed);
        }
        self.ice
            .set_remote(now, remote.ufrag, remote.password, remote.lite)
            .map_err(RemoteError::Credentials)?;
        self.remote = Some(known);
        Ok(())
    }

    /// Our DTLS role with a remote that says this; `None` where both want the same one.
    fn role_with(&self, theirs: Setup) -> Option<Role> {
        match (self.setup(), theirs) {
            (Setup::Active, Setup::Passive | Setup::Actpass) | (Setup::Actpass, Setup::Passive) => {
                Some(Role::Client)
            }
            #[cfg(feature = "dtls-server")]
            (Setup::Passive, Setup::Active | Setup::Actpass) | (Setup::Actpass, Setup::Active) => {
                Some(Role::Server)
            }
            // An offer; who answers chooses to be client (RFC 8842 §5.3). No answer may say it.
            (Setup::Actpass, Setup::Actpass) if self.config.ice.role == ice::Role::Controlled => {
                Some(Role::Client)
            }
            _ => None,
        }
    }

    /// Adds the bytes of a description or a candidate of the remote, as they came, see
    /// [`Agent::credit`]: without credit no address is checked.
    pub const fn credit(&mut self, bytes: u32) {
        self.ice.credit(bytes);
    }

    /// Takes a `candidate:` line of the remote, at any time.
    ///
    /// # Errors
    /// [`Refused`].
    #[inline(never)]
    pub fn add_candidate(&mut self, now: Instant, line: &str) -> Result<(), Refused> {
        self.ice.add_candidate(now, line)
    }

    /// Has every candidate told again, see [`Agent::tell_candidates_again`].
    pub fn tell_candidates_again(&mut self) {
        self.ice.tell_candidates_again();
    }

    /// Draws new ICE credentials, to be signalled, see [`Agent::restart`]. DTLS and SCTP go on.
    ///
    /// # Errors
    /// [`CryptoError::Random`]; nothing has changed.
    #[inline(never)]
    pub fn restart_ice(&mut self, now: Instant, crypto: &mut C) -> Result<(), CryptoError> {
        self.ice.restart(now, crypto)
    }

    /// Changes how long a path may be silent.
    pub const fn set_survive(&mut self, survive: Duration) {
        self.ice.set_survive(survive);
    }

    /// Tells that a stream to a TURN server is open, see [`Agent::stream_opened`].
    #[cfg(feature = "turn")]
    pub fn stream_opened(&mut self, now: Instant, stream: SocketId) {
        self.ice.stream_opened(now, stream);
    }

    /// Tells that a stream to a TURN server has ended, see [`Agent::stream_closed`].
    #[cfg(feature = "turn")]
    pub fn stream_closed(&mut self, now: Instant, stream: SocketId) {
        self.ice.stream_closed(now, stream);
    }

    /// Has the channel opened by us, as soon as it can be. The remote hears label and order; the
    /// stream's id is that of our DTLS role (RFC 8832 §6).
    ///
    /// # Errors
    /// [`OpenError`].
    #[inline(never)]
    pub fn open(&mut self, label: &str, ordered: bool) -> Result<(), OpenError> {
        if self.shut != Shut::No {
            return Err(OpenError::Over);
        }
        if self.channel != Channel::Awaited {
            return Err(OpenError::NotFirst);
        }
        self.label = String::try_from(label).map_err(|_| OpenError::LabelTooLong)?;
        self.ordered = ordered;
        self.channel = Channel::Wanted;
        self.ask_for_channel();
        Ok(())
    }

    /// Lends the memory for data to a session that was made without, at once after
    /// [`Event::Secured`](super::Event::Secured): until then what the remote sends is dropped.
    ///
    /// # Errors
    /// The memory, if there is some already.
    pub fn lend_sctp(&mut self, memory: SctpMemory<'d>) -> Result<(), SctpMemory<'d>> {
        match &mut self.transport {
            Transport::Unborn(lent @ None) => *lent = Some(memory),
            Transport::Unborn(Some(_)) | Transport::Live(_) => return Err(memory),
        }
        self.begin_association();
        Ok(())
    }

    /// Gives the memory for data back, so that other can be lent: more while much is under way,
    /// less while nothing is. The state of the channel goes with what is returned.
    pub fn without_sctp(self) -> (Session<'m, 'static, C>, DetachedSctp) {
        let (session, transport) = self.moved(Transport::Unborn(None));
        let detached = match transport {
            Transport::Unborn(_) => None,
            Transport::Live(live) => Some(live.detach()),
        };
        (session, DetachedSctp(detached))
    }

    /// Lends memory for data to a session that has none, as [`sctp::Detached::with_memory`] does.
    /// Transmit after it.
    #[must_use]
    pub fn with_sctp<'n>(
        self,
        memory: SctpMemory<'n>,
        detached: DetachedSctp,
    ) -> Session<'m, 'n, C> {
        let transport = match detached.0 {
            Some((association, dcep)) => {
                let association = association.with_memory(memory.memory);
                let live = memory.place.put(association, dcep);
                debug_assert!(live.is_some(), "it was put there");
                live.map_or(Transport::Unborn(None), Transport::Live)
            }
            None => Transport::Unborn(Some(memory)),
        };
        let (mut session, _) = self.moved(transport);
        session.begin_association();
        session
    }

    /// The same with another transport, and the one that it had.
    fn moved<'n>(self, transport: Transport<'n>) -> (Session<'m, 'n, C>, Transport<'d>) {
        let session = Session {
            transport,
            config: self.config,
            ice: self.ice,
            secure: self.secure,
            remote: self.remote,
            channel: self.channel,
            label: self.label,
            ordered: self.ordered,
            within: self.within,
            established: self.established,
            sends_unordered: self.sends_unordered,
            random: self.random,
            may_relay: self.may_relay,
            path: self.path,
            silent: self.silent,
            renewals: self.renewals,
            shut: self.shut,
            untold: self.untold,
            end: self.end,
        };
        (session, self.transport)
    }

    /// Returns whether everything that was sent is acknowledged: that half uses no memory.
    pub const fn is_send_idle(&self) -> bool {
        match &self.transport {
            Transport::Live(live) => live.association.is_send_idle(),
            Transport::Unborn(_) => true,
        }
    }

    /// Returns whether everything that came is read: that half uses no memory.
    pub const fn is_receive_idle(&self) -> bool {
        match &self.transport {
            Transport::Live(live) => live.association.is_receive_idle(),
            Transport::Unborn(_) => true,
        }
    }

    /// Returns how many bytes may come until the receiving half is full.
    pub fn receive_room(&self) -> usize {
        match &self.transport {
            Transport::Live(live) => live.association.receive_room(),
            Transport::Unborn(_) => 0,
        }
    }

    /// Begins DTLS, if the remote is known.
    pub(super) fn begin_dtls(&mut self, now: Instant, crypto: &mut C) {
        let (Secure::Unborn(memory), Some(known)) = (&mut self.secure, self.remote) else {
            return;
        };
        let Some(memory) = memory.take() else {
            return;
        };
        let mut config = dtls::Config::new(known.role, known.fingerprint);
        if let Some(wait) = self.first_wait() {
            config.first_wait = wait;
        }
        config.prefer = self.config.prefer;
        config.time_limit = self.config.handshake;
        // aiortc ends a handshake without, also where there is no media.
        config.use_srtp = true;
        if self.may_relay {
            config.datagram_max = DATAGRAM_MAX - HEADROOM - TAILROOM;
        }
        self.secure = Secure::Dtls(Dtls::unbegun(&config, memory));
        if let Secure::Dtls(dtls) = &mut self.secure {
            dtls.begin(now, crypto, &config);
        }
    }

    /// How long the first packet of a handshake waits for its answer: twice ICE's round trip.
    fn first_wait(&self) -> Option<Duration> {
        let round_trip = self.ice.round_trip()?;
        Some(round_trip.saturating_add(round_trip))
    }

    pub(super) const fn is_secured(&self) -> bool {
        matches!(&self.secure, Secure::Dtls(dtls) if dtls.is_open())
    }

    /// Begins SCTP, if the remote has proved itself and there is memory.
    #[inline(never)]
    pub(super) fn begin_association(&mut self) {
        if !self.is_secured() || self.shut != Shut::No {
            return;
        }
        let round_trip = self.ice.round_trip();
        let (Transport::Unborn(memory), Some(known)) = (&mut self.transport, self.remote) else {
            return;
        };
        let Some(SctpMemory { memory, place }) = memory.take() else {
            return;
        };
        let mut config = sctp::Config::new(self.random);
        config.remote_port = known.sctp_port;
        config.send_max = u64::from(known.max_message_size);
        config.round_trip = round_trip;
        config.receive_max = self.config.receive_max;
        config.overtaking = self.config.overtaking;
        config.checksum = self.config.checksum;
        let packet = match self.may_relay {
            true => RELAYED_PACKET.min(PACKET),
            false => PACKET,
        };
        config.packet = u16::try_from(packet).unwrap_or(config.packet);
        let mut association = Association::new(config, memory);
        association.connect();
        let Some(live) = place.put(association, Dcep::default()) else {
            debug_assert!(false, "it was put there");
            return;
        };
        self.transport = Transport::Live(live);
        self.ask_for_channel();
    }

    pub(super) const fn association(&mut self) -> Option<&mut Association<'d>> {
        match &mut self.transport {
            Transport::Live(live) => Some(&mut live.association),
            Transport::Unborn(_) => None,
        }
    }
}

/// Whether one of these may be between.
fn may_relay(servers: &[Server<'_>]) -> bool {
    servers.iter().any(Server::may_relay)
}

impl<C: Crypto> core::fmt::Debug for Session<'_, '_, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session")
            .field("path", &self.path())
            .field("channel", &self.channel)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
