//! The engine: PeerJS's `Peer` as a state machine without I/O.

mod event;
mod input;
mod output;

pub use event::{ConnectFailure, ConnectionError, Event, FailureReason, PeerError, Stage};
pub use input::{BrokerInput, IceState, Input, RtcFailure, RtcInput};
pub use output::{BrokerCommand, Output, RtcCommand};

use core::marker::PhantomData;

use crate::{
    ConnectionId, Label, PeerId, Token,
    serialization::Serialization,
    storage::Handle,
    time::{Duration, Instant},
};

/// Names one connection of a [`Peer`]. Stale once the connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConnectionHandle(Handle);

impl ConnectionHandle {
    /// The slot's number, below the peer's capacity. Two live connections never share it.
    pub const fn index(self) -> usize {
        self.0.index()
    }
}

/// How a [`Peer`] behaves. PeerJS's `PeerOptions`, as far as it needs no I/O.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The id to take; `None` asks the broker for one.
    pub id: Option<PeerId>,
    /// The secret that owns the id, kept across reconnects.
    pub token: Token,
    /// 64 random bits; connection ids are drawn from them. Give each start its own.
    pub random: u64,
    /// Time between HEARTBEATs. PeerJS: `pingInterval`, 5 s.
    pub ping_interval: Duration,
    /// How long a connection may take from `connect` or its OFFER to open. Default 30 s.
    pub connect_timeout: Duration,
    /// How long the broker may take to answer an open. Default 10 s.
    pub open_timeout: Duration,
    /// A socket that is up this long without OPEN or an error counts as open: some brokers send no OPEN
    /// when an id is taken over with its own token. Default 1 s.
    pub attach_grace: Duration,
}

impl Config {
    /// PeerJS's defaults with this token and these 64 random bits.
    pub fn new(token: Token, random: u64) -> Self {
        Self {
            id: None,
            token,
            random,
            ping_interval: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(30),
            open_timeout: Duration::from_secs(10),
            attach_grace: Duration::from_secs(1),
        }
    }
}

/// What `connect` takes. PeerJS's `PeerConnectOption`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectOptions<'a> {
    /// The channel's label; `None` takes the connection's id, as PeerJS does.
    pub label: Option<&'a str>,
    /// Any JSON text; `None` leaves the field out.
    pub metadata: Option<&'a str>,
    /// PeerJS's `reliable`: `true` orders messages. Default `false`, as in PeerJS.
    pub reliable: bool,
    /// How values travel. Default `Binary`.
    pub serialization: Serialization,
}

/// Where the peer stands with its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PeerState {
    /// An id is being asked for or the socket is being opened.
    Connecting,
    /// The broker knows the peer.
    Open,
    /// No socket; connections live on. [`Peer::reconnect`] comes back.
    Disconnected,
    /// Destroyed for good.
    Destroyed,
}

/// Memory for a [`Peer`] of `CONNS` connections. Const and all zero, so a static of it sits in `.bss`.
pub struct PeerResources<
    const CONNS: usize,
    const CONTROL: usize = 4096,
    const OUTBOX: usize = 2048,
    const INBOX: usize = 2048,
    const METADATA: usize = 256,
> {
    control: [u8; CONTROL],
    outbox: [[u8; OUTBOX]; CONNS],
    inbox: [[u8; INBOX]; CONNS],
    metadata: [[u8; METADATA]; CONNS],
}

impl<
    const CONNS: usize,
    const CONTROL: usize,
    const OUTBOX: usize,
    const INBOX: usize,
    const METADATA: usize,
> PeerResources<CONNS, CONTROL, OUTBOX, INBOX, METADATA>
{
    /// Memory, all zero.
    pub const fn new() -> Self {
        todo!()
    }
}

/// The engine.
pub struct Peer<'r>(PhantomData<&'r mut ()>);

/// `connect` was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// Every slot is in use; close a connection first.
    TooManyConnections,
    /// The peer is disconnected from its broker (PeerJS: `disconnected`); reconnect first.
    Disconnected,
    /// The peer is destroyed.
    Destroyed,
    /// The label is longer than `LABEL_MAX`.
    Label,
    /// The metadata does not fit its slot or is not JSON.
    Metadata,
    /// A peer cannot connect to itself: PeerJS's signalling cannot tell the two ends apart.
    OwnId,
}

/// `reconnect` was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReconnectError {
    /// The peer is destroyed.
    Destroyed,
    /// The peer is not disconnected.
    NotDisconnected,
}

/// An input was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputError {
    /// The control ring is full: poll outputs, then feed this input again. Nothing changed.
    Full,
    /// The input was malformed and dropped; it is counted in [`Stats`].
    Malformed,
    /// The handle is stale.
    Stale,
}

/// Counters since the start. They wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Broker messages that could not be parsed or made no sense.
    pub malformed_signals: u32,
    /// Candidates, early signals and offers dropped for want of room.
    pub dropped_signals: u32,
    /// Data channel messages that could not be decoded.
    pub malformed_messages: u32,
    /// Inputs for stale handles.
    pub stale_inputs: u32,
}

impl<'r> Peer<'r> {
    /// A peer that wants to open at its broker. The first `poll_output` says how.
    pub fn new<const C: usize, const K: usize, const O: usize, const I: usize, const M: usize>(
        _config: Config,
        _memory: &'r mut PeerResources<C, K, O, I, M>,
    ) -> Self {
        todo!()
    }

    /// Tells the engine what happened.
    pub fn handle_input(&mut self, _now: Instant, _input: Input<'_>) -> Result<(), InputError> {
        todo!()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Output<'_> {
        todo!()
    }

    /// Starts a connection. Before the broker is open the offer is queued.
    pub fn connect(
        &mut self,
        _now: Instant,
        _remote: &PeerId,
        _options: ConnectOptions<'_>,
    ) -> Result<ConnectionHandle, ConnectError> {
        todo!()
    }

    /// A short borrow of one connection; `None` for a stale handle.
    pub fn connection(&mut self, _handle: ConnectionHandle) -> Option<DataConnection<'_>> {
        todo!()
    }

    /// Handles of all connections.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionHandle> + '_ {
        core::iter::empty()
    }

    /// Leaves the broker; connections live on. PeerJS: `disconnect`.
    pub fn disconnect(&mut self, _now: Instant) {
        todo!()
    }

    /// Comes back with the same id and token. PeerJS: `reconnect`.
    pub fn reconnect(&mut self, _now: Instant) -> Result<(), ReconnectError> {
        todo!()
    }

    /// Closes everything for good. PeerJS: `destroy`.
    pub fn destroy(&mut self, _now: Instant) {
        todo!()
    }

    /// The id, once known. Unlike PeerJS it stays known while disconnected.
    pub fn id(&self) -> Option<&PeerId> {
        todo!()
    }

    /// Where the peer stands.
    pub fn state(&self) -> PeerState {
        todo!()
    }

    /// The text of the broker's last ERROR or ID-TAKEN, cut at 120 bytes.
    pub fn broker_message(&self) -> Option<&str> {
        todo!()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        todo!()
    }
}

/// A short borrow of one connection.
pub struct DataConnection<'p>(PhantomData<&'p mut ()>);

impl DataConnection<'_> {
    /// The remote peer.
    pub fn peer(&self) -> &PeerId {
        todo!()
    }
    /// The connection's id on the wire.
    pub fn connection_id(&self) -> &ConnectionId {
        todo!()
    }
    /// The label.
    pub fn label(&self) -> &Label {
        todo!()
    }
    /// The metadata, a JSON text; `None` when there was none.
    pub fn metadata(&self) -> Option<&str> {
        todo!()
    }
    /// PeerJS's `reliable`.
    pub fn reliable(&self) -> bool {
        todo!()
    }
    /// How values travel.
    pub fn serialization(&self) -> Serialization {
        todo!()
    }
    /// Whether the remote started it.
    pub fn is_incoming(&self) -> bool {
        todo!()
    }
    /// Whether both sides may send.
    pub fn is_open(&self) -> bool {
        todo!()
    }
    /// Closes at once; what is not yet sent is lost. PeerJS: `close()`.
    pub fn close(&mut self) {
        todo!()
    }
}
