//! The end next to the engine.

use crate::{
    peer::{
        BrokerInput, ConnectionHandle, Event, Input, InputError, Output, Peer, PeerState, Room,
        RtcCommand, RtcFailure, RtcInput,
    },
    random::Secret,
    serialization::{Fragment, MessageKind},
    time::{Instant, earlier},
};

use super::{
    KEY_LEN, Key, LinkError, LinkSlices, LinkStats, NONCE_LEN, OPEN_MAX, OUTPUT_OVERHEAD,
    PROOF_LEN, SessionSlot, Timing, VERSION, Version,
    auth::{Nonces, Prover, Transcript},
    endpoint::{Endpoint, Heard, Name, Role, Taken, usable},
    frame::{DataFrame, FIRST, Frame, Greeting, LAST, TEXT},
    message::{FromLeaf, Told, from_output, read_gateway},
    outgoing::Unsent,
    session_slot::SessionState,
};

/// What a leaf is made with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeafConfig<'c> {
    /// The name its gateway knows it by: 1 to [`LEAF_NAME_MAX`](super::LEAF_NAME_MAX) bytes. Not a
    /// peer id.
    pub name: &'c str,
    key: Key,
    random: Secret,
    /// The timers.
    pub timing: Timing,
    /// Whether the leaf calls [`Peer::reconnect`] when the link comes up again and the engine lost
    /// its broker with the link. Default true.
    pub reconnect: bool,
}

impl<'c> LeafConfig<'c> {
    /// Returns a configuration with the defaults. `key` is the secret that the leaf shares with its
    /// gateway: 32 random bytes, not a password. `random` is 32 bytes of a CSPRNG, fresh at every
    /// start: nonces come from them. Neither is printed; both are wiped on drop.
    pub fn new(name: &'c str, key: [u8; KEY_LEN], random: [u8; KEY_LEN]) -> Self {
        Self {
            name,
            key: Key::new(key),
            random: Secret::new(random),
            timing: Timing::default(),
            reconnect: true,
        }
    }
}

/// The leaf's end of a link. It sits between an engine and a byte stream and owns neither.
///
/// Do in each turn of the loop, in this order:
///
/// 1. [`receive`](Self::receive) what the stream has.
/// 2. [`poll`](Self::poll) until it says [`LeafOutput::Timeout`]; between two calls do with the
///    engine what you like.
/// 3. [`transmit`](Self::transmit) until it gives nothing.
/// 4. Wait for bytes, the application or the time of the timeout.
///
/// Poll the engine through the leaf only. The leaf takes from the engine what has room on the link;
/// the rest stays in the engine. While there is no gateway nothing comes out but events and the
/// ends of connections: ids and opens wait, without a deadline, until there is one.
#[derive(Debug)]
pub struct Leaf<'m> {
    pub(super) endpoint: Endpoint<'m>,
    sessions: &'m mut [SessionSlot],
    name: Name,
    key: Key,
    nonces: Nonces,
    nonce: [u8; NONCE_LEN],
    state: State,
    broker: Reconnect,
    /// The most room that the engine has had for the data of a connection: what a full credit is.
    most_room: u32,
}

#[derive(Debug)]
enum State {
    /// A hello is due at this time.
    Hello(Instant),
    /// The gateway does not want the leaf, or the leaf it, until this time. The application has not
    /// heard of it.
    Refusing(LinkError, Instant),
    /// As `Refusing`, and the application knows.
    Refused(Instant),
    /// The gateway has proved its key; the leaf's proof is due at this time (again).
    Proving {
        gateway: Greeting,
        proof: [u8; PROOF_LEN],
        at: Instant,
    },
    /// There is a link session. The application has not heard of it.
    Rising,
    Up,
    /// The link session is over. The engine and the application have not heard of it.
    Lost(LinkError),
    /// The same of one that the engine never knew.
    Missed(LinkError),
}

/// What becomes of the engine's broker when the link comes up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reconnect {
    /// That is the application's to say.
    Never,
    /// It was not lost with the link.
    Idle,
    /// It was; the leaf says that the engine is to reconnect.
    Due,
}

/// What a poll of a [`Leaf`] leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LeafOutput {
    /// The gateway lends its stack from now on.
    Up,
    /// The gateway is gone. The engine knows: its connections end and it is disconnected from its
    /// broker. The leaf says hello until the gateway is back; see [`LeafConfig::reconnect`] for
    /// what follows then.
    Down(LinkError),
    /// The gateway cannot be worked with. The leaf tries again after [`Timing::refused_retry`].
    Refused(LinkError),
    /// An event of the engine.
    Event(Event),
    /// Nothing more now; call again at this time.
    Timeout(Option<Instant>),
}

/// What the engine has to be told after one of its outputs.
enum Answer {
    Nothing,
    /// That session cannot be had.
    Failed(ConnectionHandle),
    /// So many bytes of that session's data may go next.
    Credit(ConnectionHandle, u32),
}

impl<'m> Leaf<'m> {
    /// A leaf that says hello at its first poll.
    ///
    /// # Errors
    /// [`LinkError::Name`], [`LinkError::Memory`].
    pub fn new(config: LeafConfig<'_>, memory: LinkSlices<'m>) -> Result<Self, LinkError> {
        let name = super::check(config.name, &memory, Role::Leaf)?;
        let (endpoint, sessions) = Endpoint::new(Role::Leaf, config.timing, memory);
        let mut nonces = Nonces::new(config.random);
        Ok(Self {
            endpoint,
            sessions,
            name,
            key: config.key,
            nonce: nonces.draw(),
            nonces,
            state: State::Hello(Instant::ZERO),
            broker: match config.reconnect {
                true => Reconnect::Idle,
                false => Reconnect::Never,
            },
            most_room: 0,
        })
    }

    /// Whether there is a link session.
    pub fn is_up(&self) -> bool {
        self.endpoint.is_up()
    }

    /// Counters.
    pub fn stats(&self) -> LinkStats {
        self.endpoint.stats
    }

    /// Takes bytes of the stream, cut anywhere. Then poll. Data among them goes to the engine at
    /// once.
    pub fn receive(&mut self, now: Instant, mut bytes: &[u8], peer: &mut Peer<'_>) {
        loop {
            let sessions = &mut *self.sessions;
            let take = |frame: &DataFrame<'_>, _: &mut [u8]| take_data(sessions, now, frame, peer);
            match self.endpoint.receive(now, &mut bytes, take) {
                Some(heard) => self.heard(now, heard),
                None => return,
            }
        }
    }

    /// Writes bytes for the stream into `out`, which then count as sent. Returns how many; 0:
    /// nothing to say now.
    #[must_use]
    pub fn transmit(&mut self, now: Instant, out: &mut [u8]) -> usize {
        self.endpoint.transmit(now, out)
    }

    /// Whether [`transmit`](Self::transmit) would write something.
    pub fn has_output(&mut self, now: Instant) -> bool {
        self.endpoint.has_output(now)
    }

    /// The stream below is gone, or is another one: the link session is over, at once instead of
    /// after [`Timing::dead_after`]. Does nothing without one.
    pub fn disconnected(&mut self) {
        if self.is_up() {
            self.go_down(LinkError::Closed);
        }
    }

    /// Moves messages into the engine and its outputs out of it, and says what happened.
    #[must_use]
    pub fn poll(&mut self, now: Instant, peer: &mut Peer<'_>) -> LeafOutput {
        self.fire(now);
        loop {
            match self.state {
                State::Lost(reason) => {
                    self.state = State::Hello(Instant::ZERO);
                    self.tell_loss(now, reason, peer);
                    self.fire(now);
                    return LeafOutput::Down(reason);
                }
                State::Missed(reason) => {
                    self.state = State::Hello(Instant::ZERO);
                    self.endpoint.drop_session();
                    self.fire(now);
                    return LeafOutput::Down(reason);
                }
                State::Refusing(refusal, until) => {
                    self.state = State::Refused(until);
                    return LeafOutput::Refused(refusal);
                }
                State::Rising => {
                    self.state = State::Up;
                    self.reconnect(now, peer);
                    return LeafOutput::Up;
                }
                State::Hello(_) | State::Refused(_) | State::Proving { .. } | State::Up => {}
            }
            let is_full = self.deliver(now, peer);
            if let State::Lost(_) = self.state {
                continue;
            }
            match self.drain(now, peer) {
                Drained::Event(event) => return LeafOutput::Event(event),
                // There was no room for a message before, and now there is.
                Drained::Some(_) if is_full => {}
                Drained::Some(at) | Drained::None(at) => {
                    self.grant(peer);
                    let own = self.next_timeout();
                    return LeafOutput::Timeout(earlier(at, own));
                }
            }
        }
    }

    /// Feeds messages of the gateway to the engine. Whether the engine has to be polled before the
    /// next one.
    fn deliver(&mut self, now: Instant, peer: &mut Peer<'_>) -> bool {
        while let Some(message) = self.endpoint.inbox.front(self.endpoint.receive.control()) {
            let Some(told) = read_gateway(message) else {
                // A link session that is over cannot end once more.
                if self.is_up() {
                    self.go_down(LinkError::Violation);
                }
                return false;
            };
            if let Some(input) = input_of(self.sessions, told)
                && peer.handle_input(now, input) == Err(InputError::Full)
            {
                return true;
            }
            self.endpoint.taken();
        }
        false
    }

    /// Takes what the engine wants until it waits or has an event.
    fn drain(&mut self, now: Instant, peer: &mut Peer<'_>) -> Drained {
        let mut some = false;
        loop {
            let answer = match peer.poll_output(self.room()) {
                Output::Event(event) => return Drained::Event(event),
                Output::Timeout(Some(at)) if at <= now => {
                    feed(peer, now, Input::Timeout);
                    continue;
                }
                Output::Timeout(at) if some => return Drained::Some(at),
                Output::Timeout(at) => return Drained::None(at),
                output => self.output(&output),
            };
            some = true;
            match answer {
                Answer::Nothing => {}
                Answer::Failed(handle) => {
                    let failed = RtcInput::Failed(RtcFailure::Resources);
                    feed(peer, now, Input::Rtc(handle, failed));
                }
                Answer::Credit(handle, bytes) => {
                    feed(
                        peer,
                        now,
                        Input::Rtc(handle, RtcInput::ChannelCredit(bytes)),
                    );
                }
            }
        }
    }

    /// What the link takes now. What is too long for its empty memory comes out, too, and fails.
    fn room(&mut self) -> Room {
        if !matches!(self.state, State::Up) {
            // Sessions ended with the link session: a `Close` has nowhere to go and takes nothing,
            // but the engine frees the connection by it.
            return Room {
                rtc: 1,
                ..Room::NONE
            };
        }
        let control = match self.endpoint.control.out.is_empty() {
            true => usize::MAX,
            false => self.endpoint.room().saturating_sub(OUTPUT_OVERHEAD),
        };
        let data = self.endpoint.transmit.data();
        Room {
            broker: control,
            rtc: control,
            data: self.endpoint.data.out.data_room(data),
        }
    }

    /// Puts one output on its way.
    fn output(&mut self, output: &Output<'_>) -> Answer {
        let is_up = matches!(self.state, State::Up);
        let (handle, begins) = match *output {
            Output::Rtc(handle, RtcCommand::Send(fragment)) => return self.send(handle, &fragment),
            Output::Rtc(handle, RtcCommand::Close) => {
                let Some(slot) = SessionSlot::find(self.sessions, handle.to_bits()) else {
                    return Answer::Nothing;
                };
                let knows = slot.state == SessionState::Over;
                *slot = SessionSlot::FREE;
                if knows {
                    // The gateway said so.
                    return Answer::Nothing;
                }
                (Some(handle), false)
            }
            Output::Rtc(handle, _) if !is_up => {
                debug_assert!(false, "without a broker no session begins");
                return Answer::Failed(handle);
            }
            Output::Rtc(
                handle,
                RtcCommand::CreateOffer { .. } | RtcCommand::AcceptOffer { .. },
            ) => {
                if !SessionSlot::claim(self.sessions, handle.to_bits()) {
                    return Answer::Failed(handle);
                }
                (Some(handle), true)
            }
            Output::Rtc(handle, _) => {
                let slot = SessionSlot::find(self.sessions, handle.to_bits());
                if slot.is_none_or(|slot| slot.state == SessionState::Over) {
                    return Answer::Nothing;
                }
                (Some(handle), false)
            }
            _ => (None, false),
        };
        let Some(message) = from_output(output) else {
            debug_assert!(false, "events and data go another way");
            return Answer::Nothing;
        };
        let sent = self.endpoint.send(&message);
        debug_assert!(
            sent != Err(Unsent::Full),
            "the engine knows what there is room for"
        );
        match (sent, handle) {
            (Ok(()), Some(handle)) if begins => Answer::Credit(handle, 0),
            (Err(_), Some(handle)) => {
                if begins && let Some(slot) = SessionSlot::find(self.sessions, handle.to_bits()) {
                    *slot = SessionSlot::FREE;
                }
                Answer::Failed(handle)
            }
            _ => Answer::Nothing,
        }
    }

    fn send(&mut self, handle: ConnectionHandle, fragment: &Fragment<'_>) -> Answer {
        let number = handle.to_bits();
        let slot = SessionSlot::find(self.sessions, number);
        let Some(slot) = slot.filter(|slot| slot.state == SessionState::Open) else {
            return Answer::Nothing;
        };
        let (flags, bytes) = (flags_of(fragment), fragment.bytes);
        let mut credit = slot.out;
        let memory = self.endpoint.transmit.data();
        let sent = credit.spend(flags, bytes.len()).and_then(|()| {
            let out = &mut self.endpoint.data.out;
            out.push_data(memory, 0, number, flags, bytes)
        });
        debug_assert!(sent.is_some(), "the engine knows room and credit");
        if sent.is_none() {
            // Something is lost, and a channel does not lose anything.
            return Answer::Failed(handle);
        }
        slot.out = credit;
        slot.count(bytes.len());
        // The engine counts bytes; the head of a message costs something, too.
        Answer::Credit(handle, slot.out.bytes_left())
    }

    /// Tells the gateway what the engine has room for.
    fn grant(&mut self, peer: &Peer<'_>) {
        if !matches!(self.state, State::Up) {
            return;
        }
        self.endpoint.has_data_room();
        for slot in self.sessions.iter_mut().filter(|slot| slot.is_open()) {
            let room = peer.receive_room(slot.handle());
            let room = u32::try_from(room).unwrap_or(u32::MAX >> 1);
            self.most_room = self.most_room.max(room);
            if !slot.incoming.is_news(room, self.most_room) {
                continue;
            }
            let mut credit = slot.incoming;
            let limit = credit.grant(room);
            if self
                .endpoint
                .send(&FromLeaf::Credit(slot.number, limit))
                .is_ok()
            {
                slot.incoming = credit;
            }
        }
    }

    /// Tells the engine that the link session is over: first what had come whole, then the end of
    /// everything.
    fn tell_loss(&mut self, now: Instant, reason: LinkError, peer: &mut Peer<'_>) {
        if reason != LinkError::Violation {
            // What the engine has no room for ends with the link session: signals and commands,
            // never data.
            self.deliver(now, peer);
        }
        self.endpoint.drop_session();
        let mut next = 0;
        loop {
            let found = peer.connections().find(|handle| handle.index() >= next);
            let Some(handle) = found else { break };
            next = handle.index() + 1;
            let failed = RtcInput::Failed(RtcFailure::Gateway);
            feed(peer, now, Input::Rtc(handle, failed));
        }
        let before = peer.state();
        feed(peer, now, Input::Broker(BrokerInput::Closed));
        if self.broker == Reconnect::Idle
            && before != PeerState::Disconnected
            && peer.state() == PeerState::Disconnected
        {
            self.broker = Reconnect::Due;
        }
        self.sessions.fill(SessionSlot::FREE);
    }

    fn reconnect(&mut self, now: Instant, peer: &mut Peer<'_>) {
        if self.broker == Reconnect::Due {
            self.broker = Reconnect::Idle;
            // The application may have done so already, or ended the peer.
            if peer.state() == PeerState::Disconnected && peer.reconnect(now).is_err() {
                debug_assert!(false, "a disconnected peer can reconnect");
            }
        }
    }

    fn heard(&mut self, now: Instant, heard: Heard) {
        match (heard, &self.state) {
            (Heard::Fault(reason), State::Rising | State::Up) => self.go_down(reason),
            (Heard::Reset(reason), State::Rising | State::Up) => self.lose(reason),
            (Heard::Reset(_), State::Proving { .. }) => self.state = State::Hello(now),
            (Heard::Challenge(gateway, proof), State::Hello(_) | State::Proving { .. }) => {
                self.challenged(now, &gateway, &proof);
            }
            (Heard::Welcome, State::Proving { gateway, .. }) => {
                self.endpoint.begin(now, Version::Two, gateway);
                self.state = State::Rising;
            }
            (Heard::Refuse(refusal), State::Hello(_) | State::Proving { .. }) => {
                self.refuse(now, refusal);
            }
            // In `Lost` the end has to be told first; the gateway will say it again.
            _ => {}
        }
    }

    fn challenged(&mut self, now: Instant, gateway: &Greeting, proof: &[u8; PROOF_LEN]) {
        let refusal = match usable(gateway) {
            Ok(Version::One) => LinkError::Version(gateway.version),
            Err(refusal) => refusal,
            Ok(Version::Two) => {
                let hello = self.endpoint.greeting(Version::Two, self.nonce);
                let hello = hello.hello(&self.name);
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
                LinkError::Key
            }
        };
        self.endpoint.serve(&Frame::Refuse(refusal, VERSION));
        self.refuse(now, refusal);
    }

    fn refuse(&mut self, now: Instant, refusal: LinkError) {
        self.nonce = self.nonces.draw();
        self.state = State::Refusing(refusal, now + self.endpoint.timing.refused_retry);
    }

    fn go_down(&mut self, reason: LinkError) {
        self.endpoint.serve(&Frame::Reset(reason));
        self.lose(reason);
    }

    /// The link session is over; the engine hears of it at the next poll.
    fn lose(&mut self, reason: LinkError) {
        self.nonce = self.nonces.draw();
        self.endpoint.halt();
        self.state = match self.state {
            State::Rising => State::Missed(reason),
            _ => State::Lost(reason),
        };
    }

    fn fire(&mut self, now: Instant) {
        if let Some(reason) = self.endpoint.check(now) {
            self.go_down(reason);
        }
        let retry = now + self.endpoint.timing.handshake_retry;
        match &mut self.state {
            State::Hello(at) | State::Refused(at) if *at <= now => {
                self.state = State::Hello(retry);
                let greeting = self.endpoint.greeting(Version::Two, self.nonce);
                self.endpoint.serve(&Frame::Hello(greeting, &self.name));
            }
            State::Proving { proof, at, .. } if *at <= now => {
                *at = retry;
                let frame = Frame::Proof(*proof);
                self.endpoint.serve(&frame);
            }
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Hello(at) | State::Refused(at) | State::Proving { at, .. } => Some(at),
            State::Up => self.endpoint.next_timeout(),
            // Not where a poll ends.
            State::Refusing(..) | State::Rising | State::Lost(_) | State::Missed(_) => {
                Some(Instant::ZERO)
            }
        }
    }
}

/// How far the engine was drained.
enum Drained {
    Event(Event),
    /// It waits, after something came out.
    Some(Option<Instant>),
    /// It waits, and nothing came out.
    None(Option<Instant>),
}

/// Feeds an input that the engine takes whatever its state; one for a connection that is over is
/// dropped.
fn feed(peer: &mut Peer<'_>, now: Instant, input: Input<'_>) {
    let fed = peer.handle_input(now, input);
    debug_assert!(fed != Err(InputError::Full), "it needs no room");
}

/// What the engine has to hear of a message. `None`: nothing, it crossed a close.
fn input_of<'m>(sessions: &mut [SessionSlot], told: Told<'m>) -> Option<Input<'m>> {
    let session = match told {
        Told::Broker(input) => return Some(Input::Broker(input)),
        Told::Rtc(session, _) | Told::Buffered { session, .. } | Told::Credit(session, _) => {
            session
        }
    };
    let slot = SessionSlot::find(sessions, session)?;
    let input = match told {
        Told::Broker(_) => return None,
        Told::Buffered {
            taken, buffered, ..
        } => {
            let under_way = slot.bytes.wrapping_sub(taken);
            RtcInput::ChannelBuffered(buffered.saturating_add(under_way))
        }
        Told::Credit(_, limit) => {
            slot.out.set_limit(limit);
            RtcInput::ChannelCredit(slot.out.bytes_left())
        }
        Told::Rtc(_, input) => {
            match input {
                RtcInput::ChannelOpened if slot.state == SessionState::Begun => {
                    slot.state = SessionState::Open;
                }
                RtcInput::ChannelClosed | RtcInput::Failed(_) => slot.state = SessionState::Over,
                _ => {}
            }
            input
        }
    };
    Some(Input::Rtc(slot.handle(), input))
}

/// Gives a data frame to the engine.
fn take_data(
    sessions: &mut [SessionSlot],
    now: Instant,
    frame: &DataFrame<'_>,
    peer: &mut Peer<'_>,
) -> Taken {
    let Some(slot) = SessionSlot::find(sessions, frame.session) else {
        // It crossed a close.
        return Taken::Yes;
    };
    let mut credit = slot.incoming;
    if credit.spend(frame.flags, frame.payload.len()).is_none() {
        return Taken::Violation;
    }
    let fragment = fragment_of(frame);
    match peer.handle_input(now, Input::Rtc(slot.handle(), RtcInput::Fragment(fragment))) {
        Err(InputError::Full) => return Taken::NoRoom,
        Err(InputError::InboxFull { .. }) => {
            debug_assert!(false, "the engine takes what it granted");
            return Taken::Violation;
        }
        Ok(()) | Err(_) => {}
    }
    slot.incoming = credit;
    Taken::Yes
}

pub(super) fn flags_of(fragment: &Fragment<'_>) -> u8 {
    let mut flags = 0;
    if fragment.first {
        flags |= FIRST;
    }
    if fragment.last {
        flags |= LAST;
    }
    if fragment.kind == MessageKind::Text {
        flags |= TEXT;
    }
    flags
}

pub(super) fn fragment_of<'a>(frame: &DataFrame<'a>) -> Fragment<'a> {
    Fragment {
        first: frame.flags & FIRST != 0,
        last: frame.flags & LAST != 0,
        kind: match frame.flags & TEXT {
            0 => MessageKind::Binary,
            _ => MessageKind::Text,
        },
        bytes: frame.payload,
    }
}

/// An `Open` fits the least that every end takes.
const _: () = assert!(OPEN_MAX < super::WINDOW_MIN as usize);
