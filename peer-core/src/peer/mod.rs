//! The engine: PeerJS's `Peer` as a state machine without I/O.
//!
//! A driver owns the broker's socket, the WebRTC sessions and the clock. It runs one loop:
//!
//! 1. [`Peer::poll_output`] until it says [`Output::Timeout`]; do what each output says.
//! 2. Wait for the socket, a session, the application or the time of the timeout.
//! 3. [`Peer::handle_input`] with what came and the time it came at.
//! 4. Again from 1.
//!
//! Calls may come back to back: nothing has to be polled between two of them. Polling late costs latency, never
//! an event. Only [`InputError::Full`] asks for a poll before the same input is fed again, and
//! [`InputError::InboxFull`] for the application to read.
//!
//! # Order
//! Outputs come in this order: what to do with the broker's socket, signals, commands for sessions, events, data.
//! Events of the peer come before those of its connections, except [`Event::Closed`], which is the last of all.
//! Events of one connection come in the order `Connection`, `ConnectionOpen`, `Data`, `Writable`,
//! `ConnectionError`, then `ConnectionClosed` or `ConnectionFailed`. An event is a pending bit, not a place in a
//! queue: none can be lost, and one that repeats before it is polled is told once. Ups and downs of the broker's
//! socket that nobody polled in time are told as the last of them.
//!
//! # Limits
//! | limit | default | at the limit |
//! |---|---|---|
//! | connections (`CONNS` of [`PeerResources`]) | | [`ConnectError::TooManyConnections`]; an OFFER is dropped and counted, the remote is not told |
//! | signals waiting for the broker (⅜ `CONTROL`) | 1,344 B | [`InputError::Full`]; while there is no broker dropped and counted, a description fails its connection |
//! | descriptions and candidates waiting for the stack (⅜ `CONTROL`) | 1,344 B | [`InputError::Full`] |
//! | candidates before their OFFER, and local ones before their description (¼ `CONTROL`, [`EARLY_SIGNALS_MAX`](crate::config::EARLY_SIGNALS_MAX)) | 896 B, 8 | the oldest goes; one remote holds at most half |
//! | messages to be sent (`OUTBOX`) | 2,048 B a connection | [`SendError::Full`](crate::connection::SendError::Full), then [`Event::Writable`] |
//! | messages to be read (`INBOX`) | 2,048 B a connection | [`InputError::InboxFull`]; what is larger than it is dropped, counted and a [`ConnectionError::MessageTooBig`] |
//! | a connect, from `connect` or its OFFER to open | 30 s | [`Event::ConnectionFailed`] |
//! | an open, from the command to the socket | 10 s | [`Event::Error`], [`Event::Disconnected`] |
//! | a flush-close without progress | 10 s | it is closed as by `close` |
//!
//! OFFERs are accepted as they come: a session is made before the application hears of the connection. Whom to let in
//! is the driver's to decide, before it feeds the message or when it sees
//! [`AcceptOffer`](RtcCommand::AcceptOffer); it may answer that with [`RtcInput::Failed`].

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

pub use config::{Config, ConnectOptions, PeerState, Stats};
pub use data_connection::DataConnection;
pub use error::{ConnectError, InputError, ReconnectError};
pub use event::{ConnectFailure, ConnectionError, Event, FailureReason, PeerError, Stage};
pub use input::{BrokerInput, IceState, Input, RtcFailure, RtcInput};
pub use output::{BrokerCommand, Output, RtcCommand};
pub use resources::{ConnectionSlot, PeerResources, PeerSlices};

use crate::{
    ConnectionId, Label, PeerId, bytes,
    storage::{Handle, Table},
    time::{Duration, Instant},
};

use broker::{Action, Broker, Link};
use early::Owner;
use resources::{Kind, Memory};
use slot::Slot;

/// Names one connection of a [`Peer`]. Stale once the connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConnectionHandle(Handle);

impl ConnectionHandle {
    /// The slot's number, below the peer's capacity. Two live connections never share it.
    pub const fn index(self) -> usize {
        self.0.index()
    }

    /// The handle as a number, for the link.
    #[cfg(feature = "link")]
    pub(crate) const fn to_u32(self) -> u32 {
        u32::from_be_bytes(self.0.to_bytes())
    }

    /// The inverse of [`to_u32`](Self::to_u32).
    #[cfg(feature = "link")]
    pub(crate) const fn from_u32(number: u32) -> Self {
        Self(Handle::from_bytes(number.to_be_bytes()))
    }
}

/// The engine. One lifetime, that of its [`PeerResources`]; capacities are erased in [`new`](Self::new).
///
/// ```
/// use peer_core::{PeerId, Token};
/// use peer_core::peer::{BrokerCommand, BrokerInput, Config, Event, Input, Output, Peer, PeerResources};
/// use peer_core::time::Instant;
///
/// let mut memory: PeerResources<2> = PeerResources::new();
/// let mut config = Config::new(Token::from_random(7), 42);
/// config.id = Some(PeerId::new("sensor-7")?);
/// let mut peer = Peer::new(config, &mut memory);
///
/// let Output::Broker(BrokerCommand::Open { id, .. }) = peer.poll_output() else { panic!() };
/// assert_eq!(id, "sensor-7");
/// let now = Instant::from_millis(3);
/// peer.handle_input(now, Input::Broker(BrokerInput::Opened))?;
/// peer.handle_input(now, Input::Broker(BrokerInput::Message(&mut br#"{"type":"OPEN"}"#.to_owned())))?;
/// assert!(matches!(peer.poll_output(), Output::Event(Event::Open)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Peer<'r> {
    config: Config,
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
    pub fn with_slices(config: Config, memory: PeerSlices<'r>) -> Self {
        let (slots, memory) = memory.split();
        let mut table = Table::new(slots);
        // The memory may have served another peer before.
        table.clear();
        Self {
            broker: Broker::new(config.id.is_some()),
            config,
            table,
            memory,
            now: Instant::ZERO,
            stats: Stats::default(),
            dirty: Dirty {
                slots: true,
                done: true,
                early: false,
            },
            turn: 0,
        }
    }

    /// Tells the engine what happened. Then poll.
    ///
    /// `now` is the caller's monotonic clock; a time before the last one told counts as that one. A jump far
    /// ahead is fine. For a clock that may be set back there is [`Monotonic`](crate::time::Monotonic).
    ///
    /// # Errors
    /// [`InputError::Full`]: poll, then feed the same input again. The others say that the input was dropped.
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

    /// The next thing to do. Poll until [`Output::Timeout`] after every other call.
    pub fn poll_output(&mut self) -> Output<'_> {
        self.reap();
        match self.next() {
            Next::Socket(Action::Close) => Output::Broker(BrokerCommand::Close),
            Next::Socket(Action::RetrieveId) => Output::Broker(BrokerCommand::RetrieveId),
            Next::Socket(Action::Open) => Output::Broker(BrokerCommand::Open {
                id: self.config.id.as_ref().map_or("", PeerId::as_str),
                token: self.config.token.as_str(),
            }),
            Next::Socket(Action::Heartbeat) => {
                Output::Broker(BrokerCommand::Send(negotiation::HEARTBEAT))
            }
            Next::Signal => match self.memory.signals.take() {
                Some((_, _, text)) => Output::Broker(BrokerCommand::Send(text)),
                None => Output::Timeout(None),
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
                None => Output::Timeout(None),
            },
            Next::CreateOffer(handle) => {
                let (label, reliable) = self
                    .table
                    .get(handle)
                    .map_or(("", false), |slot| (slot.label.as_str(), slot.reliable));
                Output::Rtc(
                    ConnectionHandle(handle),
                    RtcCommand::CreateOffer { label, reliable },
                )
            }
            Next::Close(handle) => Output::Rtc(ConnectionHandle(handle), RtcCommand::Close),
            Next::Event(event) => Output::Event(event),
            Next::Send(handle) => self.send(handle),
            Next::Wait => Output::Timeout(self.next_timeout()),
        }
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
        let metadata = options.metadata.unwrap_or_default();
        if metadata.len() > self.memory.metadata.each()
            || options
                .metadata
                .is_some_and(|text| !negotiation::is_json(text))
        {
            return Err(ConnectError::Metadata);
        }
        let id = self.draw_connection_id();
        let deadline = self.now + self.config.connect_timeout;
        let (handle, slot) = self.table.claim().ok_or(ConnectError::TooManyConnections)?;
        slot.reset(options.serialization, deadline);
        slot.remote.clone_from(remote);
        slot.label = label.unwrap_or_else(|| Label::from_wire(id.as_str()).unwrap_or_default());
        slot.id = id;
        slot.reliable = options.reliable;
        slot.metadata = metadata.len();
        slot.create_offer = true;
        bytes::copy(
            self.memory.metadata.of_mut(handle.index()),
            metadata.as_bytes(),
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

    /// Handles of all connections, those that are over but not yet freed included.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionHandle> + '_ {
        self.table
            .iter()
            .map(|(handle, _)| ConnectionHandle(handle))
    }

    /// Leaves the broker; connections live on. PeerJS: `disconnect`. Does nothing when there is no broker.
    pub fn disconnect(&mut self, now: Instant) {
        self.tell_time(now);
        self.broker.down(None, true);
    }

    /// Comes back with the same id and token. PeerJS: `reconnect`.
    ///
    /// # Errors
    /// [`ReconnectError`] when there is nothing to come back from.
    pub fn reconnect(&mut self, now: Instant) -> Result<(), ReconnectError> {
        self.tell_time(now);
        match self.state() {
            PeerState::Destroyed => return Err(ReconnectError::Destroyed),
            PeerState::Connecting | PeerState::Open => return Err(ReconnectError::NotDisconnected),
            PeerState::Disconnected => {}
        }
        let deadline = self.now + self.config.open_timeout;
        self.broker.begin(self.config.id.is_some(), deadline);
        Ok(())
    }

    /// Closes everything for good. PeerJS: `destroy`. Doing it again does nothing.
    ///
    /// Each connection ends in its last event, then come [`Event::Disconnected`] unless it was so, and
    /// [`Event::Closed`].
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
        self.stats
    }

    /// Bytes of the longest text or frame that can come out.
    #[cfg(feature = "link")]
    pub(crate) fn longest_output(&self) -> usize {
        self.memory
            .outbox
            .each()
            .max(self.memory.signals.capacity())
            .max(self.memory.rtc.capacity())
    }

    fn tell_time(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.broker.arm(self.now, self.config.open_timeout);
        self.reap();
    }

    /// Frees the slots that nothing holds any more. At the start of a call, so that an application can still look
    /// at a connection when it has just polled its last event.
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

    fn next(&mut self) -> Next {
        if let Some(action) = self.broker.take_action() {
            return Next::Socket(action);
        }
        self.drop_stale();
        if self.broker.is_open() && self.advance_signal() {
            return Next::Signal;
        }
        self.replay_early();
        if let Some((handle, kind)) = self.memory.rtc.front() {
            if let Some(slot) = self.table.get_mut(handle) {
                slot.session |= kind == Kind::Offer;
            }
            return Next::Rtc;
        }
        if self.dirty.slots {
            self.advance_flushes();
            if let Some(next) = self.next_command() {
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
                return Next::Send(handle);
            }
            self.dirty.slots = false;
        }
        match self.broker.take_end() {
            Some(event) => Next::Event(event),
            None => Next::Wait,
        }
    }

    fn next_command(&mut self) -> Option<Next> {
        let may_offer = self.broker.is_open();
        for (handle, slot) in self.table.iter_mut() {
            if core::mem::take(&mut slot.close) {
                self.dirty.done = true;
                return Some(Next::Close(handle));
            }
            if may_offer && core::mem::take(&mut slot.create_offer) {
                slot.session = true;
                return Some(Next::CreateOffer(handle));
            }
        }
        None
    }

    fn next_event(&mut self) -> Option<Event> {
        // Those that are over first: they have few left, and what replaces one must not be told before its end.
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
            while let Some((handle, _)) = queue.front() {
                if self.table.get(handle).is_some_and(|slot| !slot.is_over()) {
                    break;
                }
                queue.skip();
            }
        }
    }

    /// The peer is destroyed: so is all it has.
    fn end_all(&mut self) {
        for (_, slot) in self.table.iter_mut() {
            slot.end(FailureReason::Destroyed);
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
        ConnectionId::from_random(split_mix_64(&mut self.config.random))
    }

    fn broker_input(&mut self, input: BrokerInput<'_>) -> Result<(), InputError> {
        match input {
            BrokerInput::IdRetrieved(text) if self.broker.is_asked(Link::Retrieving) => {
                match PeerId::from_wire(text.trim()) {
                    Ok(id) => {
                        self.config.id = Some(id);
                        self.broker.begin(true, self.now + self.config.open_timeout);
                    }
                    Err(_) => {
                        self.broker_failed(PeerError::ServerError);
                        return Err(InputError::Malformed);
                    }
                }
            }
            BrokerInput::Failed if self.broker.is_asked(Link::Retrieving) => {
                self.broker_failed(PeerError::ServerError);
            }
            BrokerInput::Opened if self.broker.is_asked(Link::Opening) => {
                let interval = self.config.ping_interval;
                // Less than the clock can tell apart is as good as none, and would never let the driver rest.
                let beats = interval >= Duration::from_micros(1);
                let next_ping = beats.then(|| self.now + interval);
                self.broker
                    .attached(self.now + self.config.attach_grace, next_ping);
            }
            BrokerInput::Closed | BrokerInput::Failed
                if self.broker.is_up() || self.broker.is_asked(Link::Opening) =>
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

/// Steele, Lea and Flood's SplitMix64: 64 new bits from a counter.
fn split_mix_64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
