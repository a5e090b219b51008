//! The agent: its state, and what the caller tells it.

use core::fmt;
use core::net::SocketAddr;

use heapless::Deque;

use super::answers::{ANSWERS_MAX, Answer};
use super::candidate::{Candidate, CandidateKind, Refused};
use super::credentials::{self, CredentialsError};
use super::event::{Failure, Told};
use super::gather::Server;
use super::memory::{Base, BaseState, Link, Memory, PairState, Route};
use super::{Config, Path, REFLECTION_FACTOR, Role, SocketId, TransportPolicy};
use crate::rtc::crypto::{Crypto, CryptoError, Secret};
use crate::time::{Duration, Instant, duration};
use crate::wire::candidate;

/// Where an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No pair was selected so far; the last candidate came then.
    Checking {
        since: Instant,
    },
    /// The selected pair answers.
    Connected,
    /// It does not, or is gone; others are tried.
    Searching {
        since: Instant,
        cause: Cause,
    },
    /// That lasts; the caller is told.
    Disconnected {
        since: Instant,
    },
    Failed(Failure),
    Closed,
}

/// Why a path is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Our address has changed.
    Moved,
    /// The path does not answer.
    Silent,
}

/// One ICE agent. See the [module](super) for the loop.
#[derive(Debug)]
pub struct Agent<'m> {
    pub(super) config: Config,
    pub(super) role: Role,
    pub(super) tie_breaker: u64,
    pub(super) local: credentials::Local,
    pub(super) remote: Option<credentials::Remote>,
    pub(super) memory: Memory<'m>,
    pub(super) servers: &'m [Server<'m>],
    pub(super) phase: Phase,
    /// When time was told last.
    pub(super) advanced: Instant,
    /// When there was reason to search with haste.
    pub(super) hurried: Instant,
    /// Since when the remote may know old addresses of ours, and how often new ones were told
    /// again.
    pub(super) changed: Option<(Instant, u8)>,
    pub(super) told: Told,
    pub(super) gathering_told: bool,
    pub(super) path_untold: bool,
    /// How a base looks now from somewhere, to be told.
    pub(super) mapped_untold: Option<Candidate>,
    /// The pair that data goes on.
    pub(super) selected: Option<Link>,
    pub(super) selected_at: Instant,
    /// The remote's address that data went to last.
    pub(super) last_remote: Option<u8>,
    /// The pair that we are about to select.
    pub(super) nominating: Option<Link>,
    /// NOMINATION of the last nomination.
    pub(super) nomination: u32,
    /// When the choice is to be thought over.
    pub(super) reselect: Option<Instant>,
    /// Changes of our address so far.
    pub(super) moves: u32,
    /// Whether a NAT gave the path in use another address, and the remote may not know.
    pub(super) renewing: bool,
    pub(super) renewals: u32,
    /// Checks out of turn so far.
    pub(super) triggers: u32,
    /// When the next paced check may be sent.
    pub(super) paced: Instant,
    /// Bytes that may go to addresses that never answered, and did.
    pub(super) allowed: u64,
    pub(super) spent: u64,
    pub(super) answers: Deque<Answer, ANSWERS_MAX>,
}

/// What is random in an agent.
pub(in crate::rtc) struct Drawn {
    tie_breaker: u64,
    local: credentials::Local,
}

impl Drawn {
    pub(in crate::rtc) fn draw<C: Crypto>(crypto: &mut C) -> Result<Self, CryptoError> {
        let mut tie_breaker = [0; 8];
        crypto.random(&mut tie_breaker)?;
        Ok(Self {
            tie_breaker: u64::from_be_bytes(tie_breaker),
            local: credentials::Local::draw(crypto)?,
        })
    }
}

impl<'m> Agent<'m> {
    /// Returns an agent with credentials of its own, which are drawn, as is its tie-breaker.
    ///
    /// `servers` are asked how each address looks from there; of more than 255 the first ones. If
    /// they are not known yet, give none, and tell them with [`set_servers`](Self::set_servers).
    ///
    /// # Errors
    /// [`CryptoError::Random`].
    pub fn new<C: Crypto>(
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
    pub(in crate::rtc) fn with(
        now: Instant,
        drawn: Drawn,
        config: Config,
        mut memory: Memory<'m>,
        servers: &'m [Server<'m>],
    ) -> Self {
        memory.clear();
        Self {
            config,
            role: if config.lite {
                Role::Controlled
            } else {
                config.role
            },
            tie_breaker: drawn.tie_breaker,
            local: drawn.local,
            remote: None,
            memory,
            servers,
            phase: Phase::Checking { since: now },
            advanced: now,
            hurried: now,
            changed: None,
            told: Told::Nothing,
            gathering_told: false,
            path_untold: false,
            mapped_untold: None,
            selected: None,
            selected_at: now,
            last_remote: None,
            nominating: None,
            nomination: 1,
            reselect: None,
            moves: 0,
            renewing: false,
            renewals: 0,
            triggers: 0,
            paced: Instant::ZERO,
            allowed: 0,
            spent: 0,
            answers: Deque::new(),
        }
    }

    /// Returns our ufrag, for our description.
    pub fn ufrag(&self) -> &str {
        core::str::from_utf8(&self.local.ufrag).unwrap_or_default()
    }

    /// Returns our password, for our description.
    pub fn password(&self) -> &str {
        core::str::from_utf8(self.local.password.as_bytes()).unwrap_or_default()
    }

    /// Returns our role. It changes where both ends took the same one.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Returns what data is sent on. `None` before there is a path, after the remote's consent has
    /// expired, and when the socket of the path is gone.
    pub fn path(&self) -> Option<Path> {
        if self.is_over() {
            return None;
        }
        let link = self.selected?;
        let pair = self.pair(link).filter(|pair| self.has_consent(pair))?;
        let base = self.base(link)?;
        let remote = self.remote_of(link)?;
        let (socket, relayed) = self.socket_of(base.route)?;
        Some(Path {
            socket,
            local: base.address,
            relayed,
            remote: remote.address,
            kind: remote.kind,
            round_trip: pair.round_trip.map(duration),
        })
    }

    /// Tells the addresses there are, the one preferred first, each of a socket of its own. Those
    /// told before and not now are gone: a path from one of them is replaced.
    ///
    /// # Errors
    /// [`TooManyAddresses`]; so many as there is room for were taken.
    pub fn set_addresses(
        &mut self,
        now: Instant,
        addresses: &[(SocketId, SocketAddr)],
    ) -> Result<(), TooManyAddresses> {
        for place in 0..self.memory.bases.len() {
            let Some(base) = self.memory.bases.get_mut(place) else {
                break;
            };
            // What is relayed goes with the base that the server is reached from.
            let kept = base.kind == CandidateKind::Relay
                || addresses.iter().any(|(socket, address)| {
                    base.route == Route::Socket(*socket) && base.address == *address
                });
            if !kept && base.state != BaseState::Gone {
                base.state = BaseState::Gone;
                self.forget_pairs(|link| usize::from(link.base) == place);
                self.forget_questions(place);
                if let Ok(base) = u8::try_from(place) {
                    self.drop_relays_over(base);
                }
            }
        }
        let lost = match self.phase {
            Phase::Checking { .. } => false,
            Phase::Connected => self.selected.is_none(),
            _ => true,
        };
        let mut all = Ok(());
        for (place, (socket, address)) in addresses.iter().enumerate() {
            let route = Route::Socket(*socket);
            let known = self.memory.bases.iter_mut().find(|base| {
                base.state != BaseState::Gone && base.route == route && base.address == *address
            });
            match known {
                Some(base) => base.place = place,
                None => {
                    let base = Base {
                        state: BaseState::Untold,
                        route,
                        kind: CandidateKind::Host,
                        address: *address,
                        related: None,
                        place,
                        moves: 0,
                    };
                    match self.put_base(base) {
                        Some(base) => {
                            self.pair_base(now, base);
                            self.ask_servers(now, base);
                        }
                        None => all = Err(TooManyAddresses),
                    }
                }
            }
        }
        if lost {
            self.moved(now);
        }
        all
    }

    /// Tells the servers of an agent that was made without, once: each is asked from each address
    /// that there is, and from those that come. Streams to them are
    /// [opened](Self::stream_opened) after it. [`Event::GatheringDone`](super::Event) comes again.
    /// After the end it does nothing.
    ///
    /// # Errors
    /// [`ServersKnown`]; nothing has changed.
    pub fn set_servers(
        &mut self,
        now: Instant,
        servers: &'m [Server<'m>],
    ) -> Result<(), ServersKnown> {
        if self.is_over() {
            return Ok(());
        }
        if !self.servers.is_empty() {
            return Err(ServersKnown);
        }
        self.servers = servers;
        for place in 0..self.memory.bases.len() {
            let base = self.memory.bases.get(place);
            if base.is_some_and(|base| base.state != BaseState::Gone)
                && let Ok(place) = u8::try_from(place)
            {
                self.ask_servers(now, place);
            }
        }
        Ok(())
    }

    /// Keeps a base where there is room, and returns its place.
    pub(super) fn put_base(&mut self, base: Base) -> Option<u8> {
        let bases = &mut self.memory.bases;
        match bases.iter().position(|base| base.state == BaseState::Gone) {
            Some(place) => {
                *bases.get_mut(place)? = base;
                u8::try_from(place).ok()
            }
            None => {
                let place = u8::try_from(bases.len()).ok()?;
                bases.push(base).ok()?;
                Some(place)
            }
        }
    }

    /// Tells the credentials of the remote's description, and whether it is lite. Others than
    /// before are those of a remote that began anew: all that was known of the old one is
    /// forgotten, the path, too. After the end nothing is kept.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn set_remote(
        &mut self,
        now: Instant,
        ufrag: &str,
        password: &str,
        lite: bool,
    ) -> Result<(), CredentialsError> {
        let credentials = credentials::Checked::new(ufrag, password)?;
        if self.is_over() {
            return Ok(());
        }
        let other = self
            .remote
            .as_ref()
            .is_some_and(|old| !old.is(&credentials));
        if other {
            self.begin_anew(now);
        }
        if lite && !self.config.lite {
            self.role = Role::Controlling;
        }
        self.remote
            .get_or_insert_with(credentials::Remote::empty)
            .set(&credentials);
        if let Phase::Checking { since } = &mut self.phase {
            *since = now;
        }
        Ok(())
    }

    /// Draws new credentials and forgets the remote and the path (an ICE restart, RFC 8445
    /// §2.4). Signal them and the candidates, which are told again. It waits for the remote's new
    /// description as it did for the first one, for as long as the caller does. After the end it
    /// does nothing.
    ///
    /// # Errors
    /// [`CryptoError::Random`]; nothing has changed.
    pub fn restart<C: Crypto>(&mut self, now: Instant, crypto: &mut C) -> Result<(), CryptoError> {
        if self.is_over() {
            return Ok(());
        }
        self.local = credentials::Local::draw(crypto)?;
        self.begin_anew(now);
        self.remote = None;
        for base in self.memory.bases.iter_mut() {
            if base.state == BaseState::Told {
                base.state = BaseState::Untold;
            }
        }
        for question in self.memory.questions.iter_mut() {
            question.told = false;
        }
        Ok(())
    }

    fn begin_anew(&mut self, now: Instant) {
        self.memory.pairs.clear();
        self.memory.remotes.clear();
        self.answers.clear();
        self.selected = None;
        self.last_remote = None;
        self.nominating = None;
        self.reselect = None;
        self.phase = Phase::Checking { since: now };
        self.told = Told::Nothing;
    }

    /// Adds the bytes of a description or a candidate of the remote, as they came: they bound what
    /// goes to addresses that never answered, see [`REFLECTION_FACTOR`].
    pub const fn credit(&mut self, bytes: u32) {
        let more = (bytes as u64).saturating_mul(REFLECTION_FACTOR);
        self.allowed = self.allowed.saturating_add(more);
    }

    /// Takes a `candidate:` line of the remote, at any time. One that is known is checked again if
    /// it had failed.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn add_candidate(&mut self, now: Instant, line: &str) -> Result<(), Refused> {
        let read = candidate::parse(line)?;
        if let (Some(ufrag), Some(remote)) = (read.extension("ufrag"), &self.remote)
            && ufrag.as_bytes() != remote.ufrag()
        {
            return Err(Refused::OtherUfrag);
        }
        let candidate = Candidate::usable(&read, self.config.include_loopback)?;
        let remote = self.put_remote(now, &candidate).ok_or(Refused::TooMany)?;
        self.pair_remote(now, remote);
        for pair in self.memory.pairs.iter_mut() {
            if pair.link.remote == remote {
                pair.due = now;
                if pair.state == PairState::Failed {
                    pair.state = PairState::Waiting;
                    pair.check = None;
                }
            }
        }
        self.unfreeze();
        self.hurried = now;
        if let Phase::Checking { since } = &mut self.phase {
            *since = now;
        }
        Ok(())
    }

    /// Has every candidate told again, with a higher priority than before. A browser that has given
    /// up, or sits behind a NAT that lets nobody in, then checks them itself: do it after silence,
    /// and when the way to the remote is back on which they are signalled.
    pub fn tell_candidates_again(&mut self) {
        self.moves = self.moves.saturating_add(1);
        let moves = self.moves;
        for base in self.memory.bases.iter_mut() {
            if base.state != BaseState::Gone {
                base.state = BaseState::Untold;
                base.moves = moves;
            }
        }
        for question in self.memory.questions.iter_mut() {
            question.told = false;
        }
    }

    /// Changes how long a path may be silent, see [`Config::survive`].
    pub const fn set_survive(&mut self, survive: Duration) {
        self.config.survive = survive;
    }

    /// Has the path checked at once: the caller has sent data, and nothing comes back.
    pub fn suspect(&mut self, now: Instant) {
        if let Some(pair) = self.selected.and_then(|link| self.pair_mut(link))
            && pair.check.is_none()
        {
            pair.due = now;
        }
    }

    /// Ends it. Nothing is told any more, and nothing sent but what gives allocations back.
    pub fn close(&mut self) {
        self.phase = Phase::Closed;
        self.wipe();
    }

    /// Ends it without a word, and gives its memory back for another one.
    pub fn into_memory(self) -> Memory<'m> {
        self.memory
    }

    /// Forgets the passwords; those of TURN servers when their allocations are given back.
    fn wipe(&mut self) {
        self.release_relays();
        self.answers.clear();
        self.local.password = Secret::ZERO;
        self.remote = None;
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        if !self.is_over() {
            self.phase = Phase::Failed(failure);
            self.wipe();
        }
    }

    /// Whether nothing is sent any more.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Failed(_) | Phase::Closed)
    }

    /// Tells how the selected path looks from the remote now.
    pub(super) fn tell_mapped(&mut self, link: Link, address: SocketAddr) {
        if self.config.policy == TransportPolicy::All
            && let Some(base) = self.base(link)
        {
            self.mapped_untold = Some(Candidate {
                kind: CandidateKind::ServerReflexive,
                address,
                related: Some(base.address),
                ..base.candidate()
            });
        }
    }
}

/// There are more addresses than the agent has memory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TooManyAddresses;

impl fmt::Display for TooManyAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this machine has more addresses than the ICE agent has room for")
    }
}

impl core::error::Error for TooManyAddresses {}

/// The agent has servers already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ServersKnown;

impl fmt::Display for ServersKnown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ICE agent has servers already: they can be told once")
    }
}

impl core::error::Error for ServersKnown {}
