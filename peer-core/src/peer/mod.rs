//! The engine: PeerJS's `Peer` as a state machine without I/O.
//!
//! A driver owns the broker's socket, the WebRTC sessions and the clock. It runs one loop:
//!
//! 1. Call [`Peer::poll_output`] with the room there is until it says [`Output::Timeout`]; do what
//!    each output says.
//! 2. Wait for the socket, a session, the application, more room, or the time of the timeout.
//! 3. Call [`Peer::handle_input`] with what came and the time it came at.
//! 4. Go back to 1.
//!
//! Calls may come back to back: nothing has to be polled between two of them. A late poll costs
//! latency, never an event. Only [`InputError::Full`] asks for a poll before the same input is fed
//! again, and [`InputError::InboxFull`] for the application to read.
//!
//! # Order
//! Outputs come in this order: what to do with the broker's socket, signals, commands for sessions,
//! events, data. Events of the peer come before those of its connections, except [`Event::Closed`],
//! which is the last of all. Events of one connection come in the order `Connection`,
//! `ConnectionOpen`, `Data`, `Writable`, `ConnectionError`, then `ConnectionClosed` or
//! `ConnectionFailed`; the ones in the middle only after `ConnectionOpen`. An event is a pending
//! bit, not a place in a queue: none can be lost, and one that repeats before it is polled is told
//! once. Ups and downs of the broker's socket that nobody polled in time are told as the last of
//! them.
//!
//! # Back-pressure
//! [`Room`] says what the driver can take. An output that does not fit stays in the engine and
//! holds back only what is of its own kind: no command waits behind data, no event behind either. A
//! connection whose channel is full ([`RtcInput::ChannelBuffered`], [`RtcInput::ChannelCredit`]) or
//! whose application does not read ([`InputError::InboxFull`]) holds back itself alone. Deadlines
//! pass whatever the room is.
//!
//! # Limits
//! | limit | default | at the limit |
//! |---|---|---|
//! | connections (`CONNS`) | | [`ConnectError::TooManyConnections`]; [offers](#offers) |
//! | connections of a remote ([`Config::remote_share`]) | ¼ of them | [offers](#offers) |
//! | signals for the broker (⅜ `CONTROL`) | 1,296 B | [`InputError::Full`]; [no broker](#no-broker) |
//! | signals for the stack (⅜ `CONTROL`) | 1,296 B | [`InputError::Full`] |
//! | early candidates (¼ `CONTROL`) | 864 B, 8 | the oldest goes; of one remote at most half |
//! | messages to be sent (`OUTBOX`) | 2,048 B a connection | [`Full`], then [`Event::Writable`] |
//! | bytes a channel holds ([high water]) | 256 KiB a connection | the outbox keeps the rest |
//! | messages to be read (`INBOX`) | 2,048 B a connection | [`InputError::InboxFull`] |
//! | a message to be read | `INBOX` | it is [read in pieces], or [`MessageTooBig`] is told |
//! | a connect, from `connect` or its OFFER to open | 30 s | [`Event::ConnectionFailed`] |
//! | an open, from its command to the socket | 10 s | [`Event::Error`], [`Event::Disconnected`] |
//! | a flush-close without progress | 10 s | it is closed as by `close` |
//!
//! [`Full`]: crate::connection::SendError::Full
//! [high water]: DataConnection::set_high_water
//! [read in pieces]: DataConnection::set_streaming
//! [`MessageTooBig`]: ConnectionError::MessageTooBig
//!
//! The memories (`CONNS` and the others) are parameters of [`PeerResources`]. Signals for the stack
//! are descriptions and candidates. Early candidates are those that come before their OFFER, and
//! local ones before their description; their number is
//! [`EARLY_SIGNALS_MAX`](crate::config::EARLY_SIGNALS_MAX).
//!
//! ## Offers
//! For an OFFER that finds the table full an incoming connection that is not open gives way: one of
//! the remote that holds most, if it holds more than the newcomer. Else the OFFER is dropped and
//! counted in [`Stats::dropped_signals`]. While more than half of the table is in use, OFFERs of a
//! remote that has its share are refused and counted in [`Stats::refused_offers`]. The remote is
//! told neither.
//!
//! ## No broker
//! While there is no broker, signals for it that find no room are dropped and counted. Where one of
//! them is a description, its connection fails.
//!
//! # Work of one call
//! No call waits, and each does a bounded amount of work: it looks at every slot a constant number
//! of times, reads or moves at most the memory of one connection once (`OUTBOX` or `INBOX`), and
//! the control memory once for each early signal. So the worst case grows with `CONNS`, `CONTROL`
//! and the larger of `OUTBOX` and `INBOX`, not with what a remote sends. The README has figures of
//! a Cortex-M4.
//!
//! # Who is let in
//! [`Config::admit`] is asked before anything is made for an OFFER. A driver may also decide before
//! it feeds the message, or answer [`AcceptOffer`](RtcCommand::AcceptOffer) with
//! [`RtcInput::Failed`].

mod admission;
mod broker;
mod config;
mod data;
mod data_connection;
mod early;
mod error;
mod event;
mod input;
mod negotiation;
mod output;
mod resources;
mod slot;
#[cfg(test)]
mod tests;
mod timer;

pub use config::{Config, ConnectOptions, IncomingOffer, PeerState, Stats};
pub use data_connection::DataConnection;
pub use error::{ConnectError, InputError};
pub use event::{ConnectFailure, ConnectionError, Event, PeerError, Stage};
pub use input::{BrokerInput, Input, RtcFailure, RtcInput};
pub use output::{BrokerCommand, Output, Room, RtcCommand};
pub use resources::PeerResources;
#[doc(hidden)]
pub use resources::{ConnectionSlot, PeerSlices};

use crate::{
    ConnectionId, Label, PeerId, Token, random,
    storage::{Handle, Table},
    time::{Duration, Instant},
};

use broker::{Action, Broker};
use early::Owner;
use resources::{Kind, Memory};
#[cfg(feature = "device")]
use slot::Read;
use slot::{Negotiation, Origin, Session, Slot, State};

/// Names one connection of a [`Peer`]. Stale once the connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConnectionHandle(Handle);

impl ConnectionHandle {
    /// The slot's number, below the peer's capacity. Two live connections never share it.
    pub const fn index(self) -> usize {
        self.0.index()
    }

    /// The handle as a number, to name the connection's session outside of the engine. Unlike the
    /// index it is not used again before 2¹⁶ other connections had its slot.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        u32::from_be_bytes(self.0.to_bytes())
    }

    /// The inverse of [`to_bits`](Self::to_bits). Of any other number a handle that is stale.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(Handle::from_bytes(bits.to_be_bytes()))
    }
}

/// The engine. One lifetime, that of its [`PeerResources`]; capacities are erased in
/// [`new`](Self::new).
///
/// ```
/// use peer_core::PeerId;
/// use peer_core::peer::{BrokerCommand, BrokerInput, Config, Event, Input, Output, Peer,
/// PeerResources, Room}; use peer_core::time::Instant;
///
/// # fn random() -> [u8; 32] { [7; 32] }
/// let mut memory: PeerResources<2> = PeerResources::new();
/// let mut config = Config::new(random());
/// config.id = Some(PeerId::new("sensor-7")?);
/// let mut peer = Peer::new(config, &mut memory);
///
/// let Output::Broker(BrokerCommand::Open { id, .. }) = peer.poll_output(Room::UNLIMITED) else {
/// panic!() }; assert_eq!(id, "sensor-7"); let now = Instant::from_millis(3);
/// peer.handle_input(now, Input::Broker(BrokerInput::Opened))?; peer.handle_input(now,
/// Input::Broker(BrokerInput::Message(&mut br#"{"type":"OPEN"}"#.to_owned())))?;
/// assert!(matches!(peer.poll_output(Room::UNLIMITED), Output::Event(Event::Open)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Peer<'r> {
    /// With a token, given or made.
    config: Config,
    /// Connection ids drawn so far.
    ids_drawn: u64,
    table: Table<'r, Slot>,
    memory: Memory<'r>,
    broker: Broker,
    /// The latest time told.
    now: Instant,
    stats: Stats,
    dirty: Dirty,
    /// The slot whose events are looked at first, so that a busy one cannot hold back others.
    turn: usize,
}

/// What may be found in the slots. Spares looking where nothing is.
#[derive(Clone, Copy, Debug)]
struct Dirty {
    /// Events, commands or data may be waiting.
    slots: bool,
    /// Slots may be done.
    done: bool,
    /// Early candidates may have found their connection.
    early: bool,
    /// Messages that inboxes lost while the application read, to be counted.
    lost: u32,
}

impl Dirty {
    fn set(&mut self) {
        self.slots = true;
        self.done = true;
    }
}

/// What [`Peer::poll_output`] found to do, before it borrows anything for it.
enum Next {
    Socket(Action),
    Signal,
    Rtc,
    CreateOffer(Handle),
    Close(Handle),
    Event(Event),
    Send(Handle),
    Wait,
}

impl<'r> Peer<'r> {
    /// A peer that wants to open at its broker. The first `poll_output` says how.
    pub fn new<const C: usize, const K: usize, const O: usize, const I: usize, const M: usize>(
        config: Config,
        memory: &'r mut PeerResources<C, K, O, I, M>,
    ) -> Self {
        Self::with_slices(config, memory.slices())
    }

    /// As [`new`](Self::new), in memory whose sizes are known only at run time.
    pub fn with_slices(mut config: Config, memory: PeerSlices<'r>) -> Self {
        let (slots, memory) = memory.split();
        let mut table = Table::new(slots);
        // The memory may have served another peer before.
        table.clear();
        let broker = Broker::new(config.id.is_some(), config.token.is_some());
        if config.token.is_none() {
            config.token = Some(Token::derive(&config.random));
        }
        Self {
            broker,
            ids_drawn: 0,
            config,
            table,
            memory,
            now: Instant::ZERO,
            stats: Stats::default(),
            dirty: Dirty {
                slots: true,
                done: true,
                early: false,
                lost: 0,
            },
            turn: 0,
        }
    }

    /// Tells the engine what happened. Then poll.
    ///
    /// `now` is the caller's monotonic clock; a time before the last one told counts as that one. A
    /// jump far ahead is fine. For a clock that may be set back there is
    /// [`monotonic`](crate::time::monotonic).
    ///
    /// # Errors
    /// [`InputError::Full`]: poll, then feed the same input again. The others say that the input
    /// was dropped.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), InputError> {
        self.tell_time(now);
        match input {
            Input::Broker(input) => self.broker_input(input),
            Input::Rtc(handle, input) => self.rtc_input(handle, input),
            Input::Timeout => {
                self.fire();
                Ok(())
            }
        }
    }

    /// The next thing to do that fits `room`. Poll until [`Output::Timeout`] after every other
    /// call, and when the room has grown. What is lent is good until the next call.
    pub fn poll_output(&mut self, room: Room) -> Output<'_> {
        self.reap();
        match self.next(room) {
            Next::Socket(Action::Close) => Output::Broker(BrokerCommand::Close),
            Next::Socket(Action::RetrieveId) => Output::Broker(BrokerCommand::RetrieveId),
            Next::Socket(Action::Open) => Output::Broker(BrokerCommand::Open {
                id: self.config.id.as_ref().map_or("", PeerId::as_str),
                token: self.config.token.as_ref().map_or("", Token::as_str),
            }),
            Next::Socket(Action::Heartbeat) => {
                Output::Broker(BrokerCommand::Send(negotiation::HEARTBEAT))
            }
            Next::Signal => match self.memory.signals.take() {
                Some((_, _, text)) => Output::Broker(BrokerCommand::Send(text)),
                None => broken("a signal was there"),
            },
            Next::Rtc => match self.memory.rtc.take() {
                Some((handle, kind, text)) => Output::Rtc(
                    ConnectionHandle(handle),
                    match kind {
                        Kind::Offer => RtcCommand::AcceptOffer { sdp: text },
                        Kind::Answer => RtcCommand::ApplyAnswer { sdp: text },
                        Kind::Candidate => RtcCommand::AddCandidate { candidate: text },
                    },
                ),
                None => broken("a command was there"),
            },
            Next::CreateOffer(handle) => match self.table.get(handle) {
                Some(slot) => Output::Rtc(
                    ConnectionHandle(handle),
                    RtcCommand::CreateOffer {
                        label: slot.label.as_str(),
                        reliable: slot.reliable,
                    },
                ),
                None => broken("the slot was there"),
            },
            Next::Close(handle) => Output::Rtc(ConnectionHandle(handle), RtcCommand::Close),
            Next::Event(event) => Output::Event(event),
            Next::Send(handle) => self.send(handle, room.data),
            Next::Wait => Output::Timeout(self.next_timeout()),
        }
    }

    /// Whether [`poll_output`](Self::poll_output) has a command for the broker in this room.
    #[cfg(feature = "device")]
    pub(crate) fn has_broker_command(&mut self, room: usize) -> bool {
        self.reap();
        let action = self.broker.action();
        if action.is_some_and(|action| self.cost(action) <= room) {
            return true;
        }
        self.drop_stale();
        self.broker.is_open() && self.advance_signal(room)
    }

    /// Starts a connection. Before the broker is open the offer waits for it.
    ///
    /// It ends within [`Config::connect_timeout`] in exactly one of [`Event::ConnectionOpen`] and
    /// [`Event::ConnectionFailed`].
    ///
    /// # Errors
    /// [`ConnectError`] says why nothing was started.
    pub fn connect(
        &mut self,
        now: Instant,
        remote: &PeerId,
        options: ConnectOptions<'_>,
    ) -> Result<ConnectionHandle, ConnectError> {
        self.tell_time(now);
        match self.state() {
            PeerState::Destroyed => return Err(ConnectError::Destroyed),
            PeerState::Disconnected => return Err(ConnectError::Disconnected),
            PeerState::Connecting | PeerState::Open => {}
        }
        if self.config.id.as_ref() == Some(remote) {
            return Err(ConnectError::OwnId);
        }
        let label = match options.label {
            None | Some("") => None,
            Some(label) => Some(Label::from_wire(label).map_err(|_| ConnectError::Label)?),
        };
        let most = self.memory.metadata.each();
        let fits = |text: &str| text.len() <= most && negotiation::is_json(text);
        if !options.metadata.is_none_or(fits) {
            return Err(ConnectError::Metadata);
        }
        let id = self.draw_connection_id();
        let deadline = self.now + self.config.connect_timeout;
        // An id has at most the 16 bytes that the shortest LABEL_MAX has.
        let label = match label {
            Some(label) => label,
            None => Label::from_wire(id.as_str()).map_err(|_| ConnectError::Label)?,
        };
        let (handle, slot) = self.table.claim().ok_or(ConnectError::TooManyConnections)?;
        slot.reset(options.serialization, Negotiation::WantsOffer, deadline);
        slot.remote.clone_from(remote);
        slot.label = label;
        slot.id = id;
        slot.reliable = options.reliable;
        slot.set_metadata(
            options.metadata,
            self.memory.metadata.of_mut(handle.index()),
        );
        self.dirty.set();
        Ok(ConnectionHandle(handle))
    }

    /// A short borrow of one connection; `None` for a stale handle.
    pub fn connection(&mut self, handle: ConnectionHandle) -> Option<DataConnection<'_>> {
        Some(DataConnection {
            slot: self.table.get_mut(handle.0)?,
            metadata: self.memory.metadata.of(handle.index()),
            outbox: self.memory.outbox.of_mut(handle.index()),
            inbox: self.memory.inbox.of_mut(handle.index()),
            dirty: &mut self.dirty,
            flush_timeout: self.config.flush_timeout,
            told: self.now,
        })
    }

    /// Returns an incoming connection that this has not returned before, `None` if there is none.
    /// So an application finds each of them, though it may have missed an
    /// [`Event::Connection`]. One that is over with nothing left to read may be
    /// gone before.
    pub fn accept(&mut self) -> Option<ConnectionHandle> {
        let mut slots = self.table.iter_mut();
        let (handle, slot) = slots.find(|(_, slot)| slot.origin == Origin::Theirs)?;
        slot.origin = Origin::Accepted;
        Some(ConnectionHandle(handle))
    }

    /// Handles of all connections, those that are over but not yet freed included.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionHandle> + '_ {
        self.table
            .iter()
            .map(|(handle, _)| ConnectionHandle(handle))
    }

    /// Leaves the broker; connections live on. PeerJS: `disconnect`. Does nothing when there is no
    /// broker.
    pub fn disconnect(&mut self, now: Instant) {
        self.tell_time(now);
        self.broker.down(None, true);
    }

    /// Comes back with the same id and token. PeerJS: `reconnect`.
    ///
    /// # Errors
    /// [`ConnectError::NotDisconnected`], [`ConnectError::Destroyed`].
    pub fn reconnect(&mut self, now: Instant) -> Result<(), ConnectError> {
        self.tell_time(now);
        match self.state() {
            PeerState::Destroyed => return Err(ConnectError::Destroyed),
            PeerState::Connecting | PeerState::Open => return Err(ConnectError::NotDisconnected),
            PeerState::Disconnected => {}
        }
        self.broker.begin(self.config.id.is_some());
        Ok(())
    }

    /// Closes everything for good. PeerJS: `destroy`. Doing it again does nothing.
    ///
    /// Each connection ends in its last event, then come [`Event::Disconnected`] unless it was so,
    /// and [`Event::Closed`].
    pub fn destroy(&mut self, now: Instant) {
        self.tell_time(now);
        self.broker.down(None, true);
        self.end_all();
    }

    /// The id, once known. Unlike PeerJS it stays known while disconnected.
    pub fn id(&self) -> Option<&PeerId> {
        self.config.id.as_ref()
    }

    /// Where the peer stands.
    pub fn state(&self) -> PeerState {
        self.broker.state()
    }

    /// The text of the broker's last ERROR or ID-TAKEN, cut at 120 bytes.
    pub fn broker_message(&self) -> Option<&str> {
        Some(self.broker.message.as_str()).filter(|text| !text.is_empty())
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let malformed_messages = self.stats.malformed_messages.wrapping_add(self.dirty.lost);
        Stats {
            malformed_messages,
            ..self.stats
        }
    }

    /// Bytes that [`RtcInput::Fragment`]s of this connection will certainly be taken, if they come
    /// now; the first one of each message counts [`MESSAGE_COST`](crate::connection::MESSAGE_COST)
    /// more. 0 for a stale handle.
    #[must_use]
    pub fn receive_room(&self, handle: ConnectionHandle) -> usize {
        let memory = self.memory.inbox.of(handle.index());
        match self.table.get(handle.0) {
            Some(slot) if !slot.is_over() => slot.inbox.free(memory),
            _ => 0,
        }
    }

    /// Whether the application has read since a connection was
    /// [`InboxFull`](InputError::InboxFull), and had this [room](Self::receive_room) then: more may
    /// be taken. What the application was lent last goes with the next input.
    #[cfg(feature = "device")]
    pub(crate) fn has_read_since(&self, handle: ConnectionHandle, room: usize) -> bool {
        let slot = self.table.get(handle.0);
        slot.is_none_or(|slot| slot.read != Read::Nothing) || self.receive_room(handle) != room
    }

    fn tell_time(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.broker.arm(self.now, self.config.open_timeout);
        self.reap();
    }

    /// Frees the slots that nothing holds any more. At the start of a call, so that an application
    /// can still look at a connection when it has just polled its last event.
    fn reap(&mut self) {
        if !core::mem::take(&mut self.dirty.done) {
            return;
        }
        while let Some(handle) = self.find(Slot::is_done) {
            self.table.remove(handle);
            while self
                .memory
                .early
                .drop_oldest(|early| early.owner == Owner::Local(handle))
            {}
        }
    }

    fn find(&self, wanted: impl Fn(&Slot) -> bool) -> Option<Handle> {
        self.table
            .iter()
            .find(|(_, slot)| wanted(slot))
            .map(|(handle, _)| handle)
    }

    fn next(&mut self, room: Room) -> Next {
        if let Some(action) = self.broker.action()
            && self.cost(action) <= room.broker
        {
            self.broker.polled(action);
            return Next::Socket(action);
        }
        self.drop_stale();
        if self.broker.is_open() && self.advance_signal(room.broker) {
            return Next::Signal;
        }
        self.replay_early();
        if self.advance_rtc(room.rtc) {
            return Next::Rtc;
        }
        // Whether something stays behind for want of room, so that the slots are looked at again.
        let mut held = false;
        if self.dirty.slots {
            self.advance_flushes();
            if let Some(next) = self.next_command(room.rtc, &mut held) {
                return next;
            }
        }
        if let Some(event) = self.broker.take_event() {
            return Next::Event(event);
        }
        if self.dirty.slots {
            if let Some(event) = self.next_event() {
                return Next::Event(event);
            }
            if let Some(handle) = self.next_to_send() {
                if room.data > 0 {
                    return Next::Send(handle);
                }
                held = true;
            }
            self.dirty.slots = held;
        }
        match self.broker.take_end() {
            Some(event) => Next::Event(event),
            None => Next::Wait,
        }
    }

    /// What a broker command takes of the room.
    fn cost(&self, action: Action) -> usize {
        match action {
            Action::Close | Action::RetrieveId => 1,
            Action::Open => {
                let id = self.config.id.as_ref().map_or(0, |id| id.as_str().len());
                let token = self.config.token.as_ref();
                id + token.map_or(0, |token| token.as_str().len())
            }
            Action::Heartbeat => negotiation::HEARTBEAT.len(),
        }
    }

    /// Looks whether a command with a text can be handed out, and notes that it will be.
    fn advance_rtc(&mut self, room: usize) -> bool {
        let Some(front) = self.memory.rtc.front() else {
            return false;
        };
        if front.len.max(1) > room {
            return false;
        }
        // What is for a connection that is over was dropped before.
        let slot = self.table.get_mut(front.handle);
        debug_assert!(slot.is_some(), "the command is for a live connection");
        if let Some(slot) = slot.filter(|_| front.kind == Kind::Offer) {
            slot.negotiate(Negotiation::MakesAnswer);
        }
        true
    }

    fn next_command(&mut self, room: usize, held: &mut bool) -> Option<Next> {
        let may_offer = self.broker.is_open();
        for (handle, slot) in self.table.iter_mut() {
            let (next, cost) = match &slot.state {
                State::Over {
                    session: Session::WantsClose,
                    ..
                } => (Next::Close(handle), 1),
                State::Negotiating {
                    at: Negotiation::WantsOffer,
                    ..
                } if may_offer => (Next::CreateOffer(handle), slot.label.as_str().len()),
                _ => continue,
            };
            if cost > room {
                *held = true;
                continue;
            }
            match &mut slot.state {
                State::Over { session, .. } => {
                    *session = Session::Gone;
                    self.dirty.done = true;
                }
                State::Negotiating { at, .. } => *at = Negotiation::MakesOffer,
                State::Open(_) => {}
            }
            return Some(next);
        }
        None
    }

    fn next_event(&mut self) -> Option<Event> {
        // Those that are over first: they have few left, and what replaces one must not be told
        // before its end.
        let turn = self.turn;
        let waiting = || self.table.iter().filter(|(_, slot)| slot.events != 0);
        let (handle, _) = waiting()
            .find(|(_, slot)| slot.is_over())
            .or_else(|| waiting().find(|(handle, _)| handle.index() >= turn))
            .or_else(|| waiting().next())?;
        let event = self
            .table
            .get_mut(handle)?
            .take_event(ConnectionHandle(handle))?;
        self.turn = handle.index() + 1;
        self.dirty.done = true;
        Some(event)
    }

    /// Drops what waits at the front of a queue for a connection that is over.
    fn drop_stale(&mut self) {
        for queue in [&mut self.memory.signals, &mut self.memory.rtc] {
            while let Some(front) = queue.front() {
                let slot = self.table.get(front.handle);
                if slot.is_some_and(|slot| !slot.is_over()) {
                    break;
                }
                queue.skip();
            }
        }
    }

    /// The peer is destroyed: so is all it has.
    fn end_all(&mut self) {
        for (_, slot) in self.table.iter_mut() {
            slot.end(ConnectionError::Destroyed);
        }
        self.memory.signals.clear();
        self.memory.rtc.clear();
        self.memory.early.clear();
        self.broker.destroyed();
        self.dirty.set();
    }

    /// An error of the broker that destroys a peer that was never open.
    fn broker_failed(&mut self, error: PeerError) {
        let fatal = self.broker.is_fatal();
        self.broker.down(Some(error), true);
        if fatal {
            self.end_all();
        }
    }

    fn draw_connection_id(&mut self) -> ConnectionId {
        self.ids_drawn = self.ids_drawn.wrapping_add(1);
        let random = self.config.random.derive("peer connection", self.ids_drawn);
        ConnectionId::from_random(random::first_u64(&random))
    }

    fn broker_input(&mut self, input: BrokerInput<'_>) -> Result<(), InputError> {
        match input {
            BrokerInput::IdRetrieved(text) if self.broker.is_retrieving() => {
                match PeerId::from_wire(text.trim_ascii()) {
                    Ok(id) => {
                        self.config.id = Some(id);
                        self.broker.begin(true);
                    }
                    Err(_) => {
                        self.broker_failed(PeerError::ServerError);
                        return Err(self.malformed());
                    }
                }
            }
            BrokerInput::Failed if self.broker.is_retrieving() => {
                self.broker_failed(PeerError::ServerError);
            }
            BrokerInput::Closed if self.broker.is_retrieving() => self.broker.retrieve_again(),
            BrokerInput::Opened if self.broker.is_opening() => {
                let interval = self.config.ping_interval;
                // Less than the clock can tell apart is as good as none, and would never let the
                // driver rest.
                let beats = interval >= Duration::from_micros(1);
                self.broker.attached(
                    self.now + self.config.open_timeout,
                    self.now + self.config.attach_grace,
                    beats.then(|| self.now + interval),
                );
            }
            BrokerInput::Closed | BrokerInput::Failed
                if self.broker.is_up() || self.broker.is_opening() =>
            {
                self.broker.down(Some(PeerError::Network), false);
            }
            BrokerInput::Message(bytes) if self.broker.is_up() => return self.signal(bytes),
            // The last words of a socket that was already given up.
            _ => {}
        }
        Ok(())
    }
}

/// A connection that was there is not: as [`broken`].
fn gone() -> InputError {
    debug_assert!(false, "the connection was there");
    InputError::Stale
}

/// What should be there is not: a bug of the engine, which tests and fuzzers see. In a release the
/// driver polls again.
fn broken<'a>(what: &str) -> Output<'a> {
    debug_assert!(false, "{what}");
    Output::Timeout(Some(Instant::ZERO))
}
