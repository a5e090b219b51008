//! The association: its memory, its state, and what the application calls.

use super::packet::Header;
use super::path::Path;
use super::receive::{self, Receiver};
use super::reset::Resets;
use super::send::{self, Sender};
use super::{
    Chunk, Config, End, Event, Outgoing, RETRANSMISSIONS_MAX, Received, Run, SendError, Stats,
    Violation,
};
use crate::bytes;
use crate::time::{Instant, earlier};
use crate::wire::dcep::PPID_DCEP;

/// Bytes of a HEARTBEAT's information that are sent back.
pub(super) const HEARTBEAT_MAX: usize = 64;
/// Bytes of either half beyond which positions would not fit.
const BYTES_MAX: usize = 1 << 30;

/// The memory of an association, all of it lent.
#[derive(Debug)]
pub struct Memory<'m> {
    /// What is sent and not yet acknowledged. At least 2,048 bytes are sensible.
    pub send: &'m mut [u8],
    /// One for each chunk under way.
    pub chunks: &'m mut [Chunk],
    /// What came and is not yet read: the receive window. At least 2,048 bytes are sensible.
    pub receive: &'m mut [u8],
    /// One for each gap in what came.
    pub runs: &'m mut [Run],
}

impl<'m> Memory<'m> {
    /// The memory of the receiving and of the sending half: of either as much as can be used.
    fn halves(self) -> (receive::Memory<'m>, send::Memory<'m>) {
        let send = self.send.len().min(BYTES_MAX);
        let receive = self.receive.len().min(BYTES_MAX);
        let receive = receive::Memory {
            bytes: bytes::front_mut(self.receive, receive),
            runs: self.runs,
        };
        let send = send::Memory {
            bytes: bytes::front_mut(self.send, send),
            chunks: self.chunks,
        };
        (receive, send)
    }
}

/// Memory for one association: bytes to send, chunks under way, bytes received, gaps.
///
/// All zero, so that a static of it costs no flash.
#[derive(Debug)]
pub struct Resources<
    const SEND: usize,
    const CHUNKS: usize,
    const RECEIVE: usize,
    const RUNS: usize,
> {
    send: [u8; SEND],
    chunks: [Chunk; CHUNKS],
    receive: [u8; RECEIVE],
    runs: [Run; RUNS],
}

impl<const SEND: usize, const CHUNKS: usize, const RECEIVE: usize, const RUNS: usize>
    Resources<SEND, CHUNKS, RECEIVE, RUNS>
{
    /// Returns unused memory.
    #[inline(never)]
    pub const fn new() -> Self {
        Self {
            send: [0; SEND],
            chunks: [Chunk::EMPTY; CHUNKS],
            receive: [0; RECEIVE],
            runs: [Run::EMPTY; RUNS],
        }
    }

    /// Lends it to an association.
    pub const fn lend(&mut self) -> Memory<'_> {
        Memory {
            send: &mut self.send,
            chunks: &mut self.chunks,
            receive: &mut self.receive,
            runs: &mut self.runs,
        }
    }
}

impl<const SEND: usize, const CHUNKS: usize, const RECEIVE: usize, const RUNS: usize> Default
    for Resources<SEND, CHUNKS, RECEIVE, RUNS>
{
    fn default() -> Self {
        Self::new()
    }
}

/// Where an association is (RFC 9260, section 4).
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// Nothing was sent; an INIT of the remote is answered.
    Closed,
    /// INIT was sent.
    CookieWait,
    /// COOKIE ECHO was sent. The remote's cookie lies at the start of the receiving memory, which
    /// is not used before.
    CookieEchoed {
        cookie: usize,
    },
    Established,
    /// The remote sent SHUTDOWN; what we have still goes.
    ShutdownReceived,
    /// SHUTDOWN ACK was sent.
    ShutdownAckSent,
    Over(End),
}

/// Chunks that are owed to the remote.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Owed {
    pub(super) init_ack: bool,
    pub(super) cookie_ack: bool,
    pub(super) shutdown_complete: bool,
    /// ABORT with this cause.
    pub(super) abort: Option<u16>,
    /// HEARTBEAT, asked for or due.
    pub(super) heartbeat: bool,
    /// HEARTBEAT ACK with so many bytes of [`Association::heartbeat_info`].
    pub(super) heartbeat_ack: Option<usize>,
}

/// Events that are not told yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Untold {
    pub(super) open: bool,
    pub(super) restarted: bool,
    pub(super) closed: bool,
}

/// What an INIT said, until its cookie comes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) remote_tag: u32,
    pub(super) remote_tsn: u32,
    pub(super) window: u32,
    pub(super) local_tag: u32,
}

/// One SCTP association. See the [module](super) for the loop.
#[derive(Debug)]
pub struct Association<'m> {
    pub(super) config: Config,
    pub(super) state: State,
    pub(super) local_tag: u32,
    pub(super) remote_tag: u32,
    pub(super) pending: Option<Pending>,
    pub(super) owed: Owed,
    pub(super) untold: Untold,
    pub(super) heartbeat_info: [u8; HEARTBEAT_MAX],
    /// The timer of INIT, COOKIE ECHO and SHUTDOWN ACK; due at once when the state begins.
    pub(super) handshake: Option<Instant>,
    /// How often it ran out in this state.
    pub(super) attempts: u8,
    /// When the next HEARTBEAT is due.
    pub(super) heartbeat: Option<Instant>,
    /// How many of these the remote has not answered, the last one included.
    pub(super) misses: u8,
    pub(super) path: Path,
    pub(super) resets: Resets,
    pub(super) receiver: Receiver,
    pub(super) receive_memory: receive::Memory<'m>,
    pub(super) sender: Sender,
    pub(super) send_memory: send::Memory<'m>,
    pub(super) stats: Stats,
}

impl<'m> Association<'m> {
    /// Returns an association that waits for an INIT of the remote, or for
    /// [`connect`](Self::connect). Of memory beyond 1 GiB a half only so much is used.
    pub fn new(mut config: Config, memory: Memory<'m>) -> Self {
        config.retransmissions = config.retransmissions.min(RETRANSMISSIONS_MAX);
        let (receive_memory, send_memory) = memory.halves();
        let packet = usize::from(config.packet);
        Self {
            config,
            state: State::Closed,
            local_tag: config.tag,
            remote_tag: 0,
            pending: None,
            owed: Owed::default(),
            untold: Untold::default(),
            heartbeat_info: [0; HEARTBEAT_MAX],
            handshake: None,
            attempts: 0,
            heartbeat: None,
            misses: 0,
            path: Path::new(config.base_packet, config.packet),
            resets: Resets::new(config.tsn, 0),
            receiver: Receiver::new(config.overtaking),
            receive_memory,
            sender: Sender::new(packet, config.round_trip),
            send_memory,
            stats: Stats::default(),
        }
    }

    /// Begins the handshake, if it was not begun. Both ends may.
    pub fn connect(&mut self) {
        if matches!(self.state, State::Closed) {
            self.enter(State::CookieWait);
        }
    }

    /// Takes a piece of a message: as much as there is room for, whose length is returned. Give the
    /// rest again once there is more, with `first` only if nothing was taken. Pieces of two
    /// messages must not mix. What is sent before the association is open waits.
    ///
    /// # Errors
    /// [`SendError`]; nothing was taken.
    pub fn send(&mut self, message: Outgoing, bytes: &[u8]) -> Result<usize, SendError> {
        match self.state {
            State::ShutdownReceived | State::ShutdownAckSent | State::Over(_) => {
                Err(SendError::Closed)
            }
            _ => {
                // The remote's limit is one for the messages of its user.
                let longest = match message.ppid {
                    PPID_DCEP => u64::MAX,
                    _ => self.config.send_max,
                };
                self.sender
                    .send(&mut self.send_memory, message, longest, bytes)
            }
        }
    }

    /// Bytes that [`send`](Self::send) takes at once.
    pub fn send_room(&self) -> usize {
        self.sender.room(&self.send_memory)
    }

    /// Bytes of messages that were taken and are not acknowledged.
    pub const fn buffered(&self) -> usize {
        self.sender.buffered()
    }

    /// Lends the next piece of a message, or tells what happened between two. The same again until
    /// it is [consumed](Self::consume).
    pub fn read(&mut self) -> Option<Received<'_>> {
        if self.state_before_open() {
            return None;
        }
        // The borrow of what is returned would go on in the error's arm.
        if let Err(violation) = self
            .receiver
            .read(&mut self.receive_memory, self.config.receive_max)
        {
            self.violated(violation);
            return None;
        }
        self.receiver
            .read(&mut self.receive_memory, self.config.receive_max)
            .unwrap_or_default()
    }

    /// Takes `count` bytes of the piece that was lent, or the event, which makes room for more.
    /// Transmit after it: the remote may have to be told.
    pub fn consume(&mut self, count: usize) {
        self.receiver.consume(&mut self.receive_memory, count);
    }

    /// Resets a stream once everything of it is sent, which closes its data channel. Answered by
    /// [`Event::StreamReset`].
    ///
    /// # Errors
    /// [`SendError::TooManyStreams`], [`SendError::Closed`].
    pub fn reset_stream(&mut self, stream: u16) -> Result<(), SendError> {
        match self.state {
            State::Over(_) => Err(SendError::Closed),
            _ => self.sender.streams.reset(stream),
        }
    }

    /// Ends the association. The remote is told by one packet; what is not acknowledged is lost.
    pub fn abort(&mut self) {
        const USER_INITIATED: u16 = 12;
        if !matches!(
            self.state,
            State::Over(_) | State::Closed | State::CookieWait
        ) {
            self.owed.abort = Some(USER_INITIATED);
        }
        self.end(End::Local);
    }

    /// Asks the remote for a sign of life with the next packet, for those who measure its silence
    /// themselves: however often it is called, it ends nothing.
    pub fn heartbeat(&mut self) {
        self.owed.heartbeat = true;
    }

    /// Returns how often in a row nothing was answered in time: data, a HEARTBEAT, or a RE-CONFIG.
    /// One that is under way does not count yet. Above [`Config::retransmissions`] the association
    /// ends.
    pub fn unanswered(&self) -> u8 {
        let misses = self.misses.saturating_sub(1);
        let others = self.sender.errors.max(self.resets.unanswered());
        others.max(misses)
    }

    /// Has what was sent in vain sent again at once, and counts from 0 again how often nothing was
    /// answered, for those who know that the path was dead and is back, or is another one. Transmit
    /// after it. What is under way is sent again soon, where nothing was sent in vain yet.
    pub fn path_is_back(&mut self, now: Instant) {
        self.sender.path_is_back(&mut self.send_memory, now);
        self.resets.path_is_back();
        self.misses = 0;
        if self.attempts > 1 {
            self.attempts = 1;
            self.handshake = self.handshake.map(|at| now.min(at));
        }
    }

    /// Returns why the association is over, as soon as it is: before
    /// [`Event::Closed`](super::Event::Closed) if something that came is yet to be read.
    pub const fn end_reason(&self) -> Option<End> {
        match self.state {
            State::Over(end) => Some(end),
            _ => None,
        }
    }

    /// When [`transmit`](Self::transmit) has something to do by itself, `None` for never.
    pub fn timeout(&self) -> Option<Instant> {
        match self.state {
            State::Over(_) => return None,
            State::Closed
            | State::CookieWait
            | State::CookieEchoed { .. }
            | State::ShutdownAckSent => return self.handshake,
            State::Established | State::ShutdownReceived => {}
        }
        let timers = earlier(self.receiver.timeout(), self.sender.timeout());
        let others = earlier(self.heartbeat, self.resets.timeout());
        earlier(earlier(timers, others), self.path.timeout())
    }

    /// Returns what happened and was not told yet.
    pub fn poll_event(&mut self) -> Option<Event> {
        if core::mem::take(&mut self.untold.open) {
            return Some(Event::Open);
        }
        if core::mem::take(&mut self.untold.restarted) {
            return Some(Event::Restarted);
        }
        if let Some(stream) = self.sender.streams.take_done() {
            return Some(Event::StreamReset(stream));
        }
        if let State::Over(end) = self.state
            && self.untold.closed
            && self.receiver.is_drained()
        {
            self.untold.closed = false;
            return Some(Event::Closed(end));
        }
        None
    }

    /// Returns whether nothing waits in either half: its memory may be lent to another association.
    pub const fn is_idle(&self) -> bool {
        self.is_send_idle() && self.is_receive_idle()
    }

    /// Returns whether everything that was given is acknowledged: the sending half uses no memory.
    pub const fn is_send_idle(&self) -> bool {
        self.sender.is_empty()
    }

    /// Returns whether everything that came is read: the receiving half uses no memory.
    pub const fn is_receive_idle(&self) -> bool {
        self.receiver.is_empty() && !matches!(self.state, State::CookieEchoed { .. })
    }

    /// Returns how many bytes may come until the receiving half is full.
    pub fn receive_room(&self) -> usize {
        self.receiver.window(&self.receive_memory)
    }

    /// Takes the memory away for another association: this one is over, and can do nothing more.
    pub fn take_memory(&mut self) -> Memory<'m> {
        self.state = State::Over(End::Local);
        Memory {
            send: core::mem::take(&mut self.send_memory.bytes),
            chunks: core::mem::take(&mut self.send_memory.chunks),
            receive: core::mem::take(&mut self.receive_memory.bytes),
            runs: core::mem::take(&mut self.receive_memory.runs),
        }
    }

    /// Gives the memory back, so that other memory can be lent: more while much is under way, less
    /// while nothing is.
    pub fn without_memory(self) -> Detached {
        Detached(self.moved(Memory {
            send: &mut [],
            chunks: &mut [],
            receive: &mut [],
            runs: &mut [],
        }))
    }

    fn moved<'n>(self, memory: Memory<'n>) -> Association<'n> {
        let (receive_memory, send_memory) = memory.halves();
        Association {
            receive_memory,
            send_memory,
            config: self.config,
            state: self.state,
            local_tag: self.local_tag,
            remote_tag: self.remote_tag,
            pending: self.pending,
            owed: self.owed,
            untold: self.untold,
            heartbeat_info: self.heartbeat_info,
            handshake: self.handshake,
            attempts: self.attempts,
            heartbeat: self.heartbeat,
            misses: self.misses,
            path: self.path,
            resets: self.resets,
            receiver: self.receiver,
            sender: self.sender,
            stats: self.stats,
        }
    }

    /// Returns what was counted.
    pub const fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.dropped = self.receiver.dropped;
        stats
    }

    /// Whether the receiving memory is not in use, or holds a cookie.
    pub(super) const fn state_before_open(&self) -> bool {
        matches!(
            self.state,
            State::Closed | State::CookieWait | State::CookieEchoed { .. }
        )
    }

    /// Goes on to another state, whose timer is due at once where it has one.
    pub(super) fn enter(&mut self, state: State) {
        let has_timer = matches!(
            state,
            State::CookieWait | State::CookieEchoed { .. } | State::ShutdownAckSent
        );
        self.handshake = has_timer.then_some(Instant::ZERO);
        self.attempts = 0;
        self.state = state;
    }

    /// The association is over.
    pub(super) fn end(&mut self, end: End) {
        if !matches!(self.state, State::Over(_)) {
            self.enter(State::Over(end));
            self.untold.closed = true;
        }
    }

    /// The remote broke the rules.
    pub(super) fn violated(&mut self, violation: Violation) {
        const PROTOCOL_VIOLATION: u16 = 13;
        if !matches!(self.state, State::Over(_)) {
            self.owed.abort = Some(PROTOCOL_VIOLATION);
            self.end(End::Violation(violation));
        }
        self.receiver.discard(&mut self.receive_memory);
    }

    /// The header of a packet to the remote.
    pub(super) const fn header(&self, tag: u32) -> Header {
        Header {
            source_port: self.config.local_port,
            destination_port: self.config.remote_port,
            tag,
        }
    }

    /// Our first TSN.
    pub(super) const fn initial_tsn(&self) -> u32 {
        self.config.tsn
    }
}

/// An association that gave its memory back.
#[derive(Debug)]
#[must_use = "it goes on once it has memory again"]
pub struct Detached(Association<'static>);

impl Detached {
    /// Lends memory: any to a half that was idle ([`is_send_idle`](Association::is_send_idle),
    /// [`is_receive_idle`](Association::is_receive_idle)), to another half what it had, unchanged.
    /// Transmit after it: a window that grew may have to be told.
    ///
    /// A remote may send as much as the largest window that it was told. After the receiving half
    /// got less, what does not fit is dropped and comes again.
    #[must_use]
    pub fn with_memory(self, memory: Memory<'_>) -> Association<'_> {
        let mut association = self.0.moved(memory);
        association
            .receiver
            .window_grew(&association.receive_memory);
        association
    }
}
