//! The end next to the engine.

use crate::{
    peer::{
        BrokerCommand, BrokerInput, ConnectionHandle, Event, Input, InputError, Output, Peer,
        PeerState, Room, RtcCommand, RtcFailure, RtcInput,
    },
    time::{Instant, earlier},
};

use super::{
    DownReason, KEY_LEN, Key, LinkError, LinkSlices, LinkStats, NONCE_LEN, OPEN_MAX,
    OUTPUT_OVERHEAD, PROOF_LEN, Refusal, Session, Timing, VERSION,
    auth::{Nonces, Prover, Transcript},
    endpoint::{Endpoint, Heard, Name, is_usable},
    frame::{Frame, Greeting},
    message::{Told, read_input, write_output},
};

/// What a leaf is made with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeafConfig<'c> {
    /// The name its gateway knows it by: 1 to [`LEAF_NAME_MAX`](super::LEAF_NAME_MAX) bytes. Not a peer id.
    pub name: &'c str,
    /// The key it shares with its gateway.
    pub key: Key,
    /// Random bytes, fresh at every start: nonces come from them.
    pub random: [u8; KEY_LEN],
    /// The timers.
    pub timing: Timing,
}

impl<'c> LeafConfig<'c> {
    /// The default timers.
    pub fn new(name: &'c str, key: Key, random: [u8; KEY_LEN]) -> Self {
        Self {
            name,
            key,
            random,
            timing: Timing::default(),
        }
    }
}

/// The leaf's end of a link: sits between an engine and a byte stream, and knows neither.
///
/// One turn of its loop, in this order:
///
/// 1. [`receive`](Self::receive) what the stream has.
/// 2. [`poll`](Self::poll) until it says [`LeafOutput::Timeout`]; between two calls the application may do with the
///    engine what it likes.
/// 3. [`transmit`](Self::transmit) until it gives nothing.
/// 4. Wait for bytes, the application or the time of the timeout.
///
/// The engine is polled through the leaf only, and only while there is room for whatever it may say: so nothing of
/// it is lost, and what does not pass stays in the engine's outbox. Before the first [`LeafOutput::Up`] it is not
/// polled at all, so nothing times out either: a device may wait for its gateway as long as it takes.
#[derive(Debug)]
pub struct Leaf<'m> {
    pub(super) endpoint: Endpoint<'m>,
    sessions: &'m mut [Session],
    name: Name,
    key: Key,
    nonces: Nonces,
    nonce: [u8; NONCE_LEN],
    state: State,
    /// The engine has to be told of the end of the session.
    lost: Option<DownReason>,
    /// To be told to the application.
    refused: Option<Refusal>,
    rose: bool,
    was_up: bool,
    /// The engine asked for an id and has no answer.
    retrieving: bool,
}

#[derive(Debug)]
enum State {
    /// A hello is due at this time.
    Hello(Instant),
    /// The gateway does not want us, or we it; until this time.
    Refused(Instant),
    /// The gateway has proved its key; ours is due at this time (again).
    Proving {
        gateway: Greeting,
        proof: [u8; PROOF_LEN],
        at: Instant,
    },
    Up,
}

/// What a poll of a [`Leaf`] leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LeafOutput {
    /// The gateway lends its stack from now on.
    Up,
    /// The gateway is gone. The engine knows: its connections end and it is disconnected from its broker. The leaf
    /// says hello until it is back; then [`Peer::reconnect`].
    Down(DownReason),
    /// The gateway cannot be worked with. The leaf tries again after [`Timing::refused_retry`].
    Refused(Refusal),
    /// An event of the engine.
    Event(Event),
    /// Nothing more now; call again at this time.
    Timeout(Option<Instant>),
}

impl<'m> Leaf<'m> {
    /// A leaf that says hello at its first poll.
    ///
    /// # Errors
    /// [`LinkError::Name`], [`LinkError::Memory`].
    pub fn new(config: LeafConfig<'_>, memory: LinkSlices<'m>) -> Result<Self, LinkError> {
        let name = super::check(config.name, &memory)?;
        let (endpoint, sessions) = Endpoint::new(config.timing, memory);
        let mut nonces = Nonces::new(config.random);
        Ok(Self {
            endpoint,
            sessions,
            name,
            key: config.key,
            nonce: nonces.draw(),
            nonces,
            state: State::Hello(Instant::ZERO),
            lost: None,
            refused: None,
            rose: false,
            was_up: false,
            retrieving: false,
        })
    }

    /// Whether there is a gateway.
    pub fn is_up(&self) -> bool {
        self.endpoint.is_up()
    }

    /// Counters.
    pub fn stats(&self) -> LinkStats {
        self.endpoint.stats
    }

    /// Takes bytes of the stream, cut anywhere. Then poll.
    pub fn receive(&mut self, now: Instant, mut bytes: &[u8]) {
        while let Some(heard) = self.endpoint.receive(now, &mut bytes) {
            self.heard(now, heard);
        }
    }

    /// Writes bytes for the stream into `out`, which then count as sent: how many. 0: nothing to say now.
    pub fn transmit(&mut self, now: Instant, out: &mut [u8]) -> usize {
        self.endpoint.transmit(now, out)
    }

    /// Whether [`transmit`](Self::transmit) would write something.
    pub fn has_output(&mut self, now: Instant) -> bool {
        self.endpoint.has_output(now)
    }

    /// The stream below is gone, or is another one: the session is over, at once instead of after
    /// [`Timing::dead_after`]. Does nothing without one.
    pub fn disconnected(&mut self) {
        if self.is_up() {
            self.go_down(DownReason::Closed);
        }
    }

    /// Moves inputs into the engine and its outputs out of it, and says what happened.
    pub fn poll(&mut self, now: Instant, peer: &mut Peer<'_>) -> LeafOutput {
        self.fire(now);
        if let Some(reason) = self.lost.take() {
            self.tell_loss(now, reason, peer);
            return LeafOutput::Down(reason);
        }
        if let Some(refusal) = self.refused.take() {
            return LeafOutput::Refused(refusal);
        }
        if core::mem::take(&mut self.rose) {
            return LeafOutput::Up;
        }
        loop {
            let full = self.deliver(now, peer);
            if self.lost.is_some() {
                return self.poll(now, peer);
            }
            match self.drain(now, peer) {
                Drained::Event(event) => return LeafOutput::Event(event),
                Drained::Idle(_) if full => {}
                Drained::Idle(at) | Drained::Blocked(at) => {
                    return LeafOutput::Timeout(earlier(at, self.next_timeout()));
                }
            }
        }
    }

    /// Feeds messages of the gateway to the engine. Whether the engine wants to be polled before the next one.
    fn deliver(&mut self, now: Instant, peer: &mut Peer<'_>) -> bool {
        while let Some(message) = self.endpoint.incoming.front() {
            let input = match read_input(message) {
                Some(Told::Broker(input)) => {
                    if matches!(input, BrokerInput::IdRetrieved(_) | BrokerInput::Failed) {
                        self.retrieving = false;
                    }
                    Input::Broker(input)
                }
                Some(Told::Rtc(handle, input)) => Input::Rtc(handle, input),
                Some(Told::Buffered {
                    handle,
                    taken,
                    buffered,
                }) => {
                    let under_way = Session::find(self.sessions, handle)
                        .map_or(0, |session| session.bytes.wrapping_sub(taken));
                    let bytes = buffered.saturating_add(under_way);
                    Input::Rtc(handle, RtcInput::ChannelBuffered(bytes))
                }
                None => {
                    self.go_down(DownReason::Violation);
                    return false;
                }
            };
            match peer.handle_input(now, input) {
                Err(InputError::Full) => return true,
                // The application has to read first.
                Err(InputError::InboxFull { .. }) => return false,
                Ok(()) | Err(_) => self.endpoint.taken(),
            }
        }
        false
    }

    /// Takes what the engine wants until it waits, has an event, or there is no room.
    fn drain(&mut self, now: Instant, peer: &mut Peer<'_>) -> Drained {
        loop {
            let Some(room) = self.room(peer) else {
                if self.was_up {
                    // It has no room to say something, but it has to know the time, and to free what is over. Taken
                    // whatever its state; it cannot be full.
                    let _ = peer.handle_input(now, Input::Timeout);
                }
                let at = if self.was_up {
                    peer.next_timeout()
                } else {
                    None
                };
                return Drained::Blocked(at.filter(|at| *at > now));
            };
            let failed = match peer.poll_output(room) {
                Output::Event(event) => return Drained::Event(event),
                Output::Timeout(Some(at)) if at <= now => {
                    let _ = peer.handle_input(now, Input::Timeout);
                    continue;
                }
                Output::Timeout(at) if room != Room::UNLIMITED => return Drained::Blocked(at),
                Output::Timeout(at) => return Drained::Idle(at),
                output => self.output(&output),
            };
            if let Some(handle) = failed {
                let failed = RtcInput::Failed(RtcFailure::Resources);
                // Never full; stale only where the engine has closed it by itself.
                let _ = peer.handle_input(now, Input::Rtc(handle, failed));
            }
        }
    }

    /// Room for what the engine says next; `None`: it is not asked.
    fn room(&self, peer: &Peer<'_>) -> Option<Room> {
        if !self.was_up && peer.state() != PeerState::Destroyed {
            return None;
        }
        let outgoing = &self.endpoint.outgoing;
        if !self.is_up() {
            return outgoing.has_room(OPEN_MAX).then_some(Room::UNLIMITED);
        }
        // What is longer than the memory is refused, so there is nothing to wait for when that is empty.
        if outgoing.is_empty() {
            return Some(Room::UNLIMITED);
        }
        let bytes = outgoing.longest_now().saturating_sub(OUTPUT_OVERHEAD);
        Some(Room {
            broker: bytes,
            rtc: bytes,
            // A message goes whole or not at all, and none is longer than the memory.
            data: 0,
        })
    }

    /// Puts one output on its way. A handle: that session cannot be had.
    fn output(&mut self, output: &Output<'_>) -> Option<ConnectionHandle> {
        let message = write_output(output)?;
        let fits = self.endpoint.outgoing.can_pass(message.len());
        if !self.is_up() {
            // The engine's connections are over; only the broker can be wanted, once the link is back.
            match output {
                Output::Broker(BrokerCommand::Open { .. } | BrokerCommand::RetrieveId) if fits => {
                    let _ = self.endpoint.send(&message);
                }
                Output::Broker(BrokerCommand::Close) => self.endpoint.drop_session(),
                _ => {}
            }
            return None;
        }
        match *output {
            Output::Broker(BrokerCommand::RetrieveId) => self.retrieving = true,
            Output::Broker(BrokerCommand::Open { .. } | BrokerCommand::Close) => {
                self.retrieving = false;
            }
            Output::Rtc(
                handle,
                RtcCommand::CreateOffer { .. } | RtcCommand::AcceptOffer { .. },
            ) if !fits || !Session::claim(self.sessions, handle) => {
                self.count_too_long(fits);
                return Some(handle);
            }
            Output::Rtc(handle, RtcCommand::Close) => Session::free(self.sessions, handle),
            Output::Rtc(handle, _) if !fits => {
                self.count_too_long(fits);
                return Some(handle);
            }
            Output::Rtc(handle, RtcCommand::Send(frame)) => {
                if let Some(session) = Session::find(self.sessions, handle) {
                    session.count(frame.bytes.len());
                }
            }
            _ => {}
        }
        if self.endpoint.send(&message).is_none() {
            self.count_too_long(false);
        }
        None
    }

    fn count_too_long(&mut self, fits: bool) {
        if !fits {
            let stats = &mut self.endpoint.stats;
            stats.too_long = stats.too_long.wrapping_add(1);
        }
    }

    /// Tells the engine that the session is over: first what had come whole, then the end of everything.
    fn tell_loss(&mut self, now: Instant, reason: DownReason, peer: &mut Peer<'_>) {
        if reason != DownReason::Violation {
            self.deliver(now, peer);
        }
        self.endpoint.drop_session();
        let mut next = 0;
        loop {
            let found = peer.connections().find(|handle| handle.index() >= next);
            let Some(handle) = found else { break };
            next = handle.index() + 1;
            let failed = RtcInput::Failed(RtcFailure::Gateway);
            // Stale where it is over already.
            let _ = peer.handle_input(now, Input::Rtc(handle, failed));
        }
        let _ = peer.handle_input(now, Input::Broker(BrokerInput::Closed));
        for session in self.sessions.iter_mut() {
            *session = Session::FREE;
        }
        if self.retrieving
            && let Some(message) = write_output(&Output::Broker(BrokerCommand::RetrieveId))
        {
            let _ = self.endpoint.send(&message);
        }
    }

    fn heard(&mut self, now: Instant, heard: Heard) {
        match (heard, &self.state) {
            (Heard::Fault(reason), State::Up) => self.go_down(reason),
            (Heard::Reset(reason), State::Up) => {
                self.lose(reason);
                self.state = State::Hello(now);
            }
            (Heard::Reset(_), State::Proving { .. }) => self.state = State::Hello(now),
            // The engine has to hear of the old session's end first; the gateway will say it again.
            _ if self.lost.is_some() => {}
            (Heard::Challenge(gateway, proof), State::Hello(_) | State::Proving { .. }) => {
                self.challenged(now, &gateway, &proof);
            }
            (Heard::Welcome, State::Proving { gateway, .. }) => {
                self.endpoint.begin(now, gateway);
                self.state = State::Up;
                self.was_up = true;
                self.rose = true;
            }
            (Heard::Refuse(refusal), State::Hello(_) | State::Proving { .. }) => {
                self.refuse(now, refusal);
            }
            _ => {}
        }
    }

    fn challenged(&mut self, now: Instant, gateway: &Greeting, proof: &[u8; PROOF_LEN]) {
        let refusal = if gateway.version != VERSION {
            Refusal::Version(gateway.version)
        } else if !is_usable(gateway) {
            Refusal::Limits
        } else {
            let hello = self.endpoint.greeting(self.nonce).hello(&self.name);
            let transcript = Transcript {
                hello: &hello,
                challenge: gateway,
            };
            if transcript.verify(&self.key, Prover::Gateway, proof) {
                self.state = State::Proving {
                    gateway: *gateway,
                    proof: transcript.prove(&self.key, Prover::Leaf),
                    at: now,
                };
                return;
            }
            Refusal::Key
        };
        let told = match refusal {
            Refusal::Version(_) => Refusal::Version(VERSION),
            other => other,
        };
        self.endpoint.control(&Frame::Refuse(told));
        self.refuse(now, refusal);
    }

    fn refuse(&mut self, now: Instant, refusal: Refusal) {
        self.refused = Some(refusal);
        self.nonce = self.nonces.draw();
        self.state = State::Refused(now + self.endpoint.timing.refused_retry);
    }

    fn go_down(&mut self, reason: DownReason) {
        self.endpoint.control(&Frame::Reset(reason));
        self.lose(reason);
        self.state = State::Hello(Instant::ZERO);
    }

    /// The session is over; the engine hears of it at the next poll.
    fn lose(&mut self, reason: DownReason) {
        self.lost = Some(reason);
        self.rose = false;
        self.nonce = self.nonces.draw();
        self.endpoint.halt();
    }

    fn fire(&mut self, now: Instant) {
        if let Some(reason) = self.endpoint.check(now) {
            self.go_down(reason);
        }
        if self.lost.is_some() {
            return;
        }
        let retry = now + self.endpoint.timing.handshake_retry;
        match &mut self.state {
            State::Hello(at) | State::Refused(at) if *at <= now => {
                self.state = State::Hello(retry);
                let greeting = self.endpoint.greeting(self.nonce);
                let name = self.name.clone();
                self.endpoint.control(&Frame::Hello(greeting, &name));
            }
            State::Proving { proof, at, .. } if *at <= now => {
                *at = retry;
                let frame = Frame::Proof(*proof);
                self.endpoint.control(&frame);
            }
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Hello(at) | State::Refused(at) | State::Proving { at, .. } => Some(at),
            State::Up => self.endpoint.next_timeout(),
        }
    }
}

/// How far the engine was drained.
enum Drained {
    Event(Event),
    /// The engine waits.
    Idle(Option<Instant>),
    /// There is no room for what it may say.
    Blocked(Option<Instant>),
}

/// An `Open` fits the least that every end takes.
const _: () = assert!(OPEN_MAX < super::WINDOW_MIN as usize);
