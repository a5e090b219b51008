//! The broker's socket as a state machine over one smoltcp TCP socket.

use core::fmt;

use smoltcp::{
    iface::Interface,
    socket::tcp::{self, State},
    wire::{IpAddress, IpEndpoint},
};

use crate::{
    PeerId, Token,
    peer::{BrokerCommand, BrokerInput, Input, InputError, Output, Peer, PeerState},
    time::{Instant, earlier},
    wire::websocket::Opcode,
};

use super::{
    BrokerSocketConfig, SocketError,
    backoff::Backoff,
    frames::{self, Frames, Step},
    response::{self, Answer},
    stream,
};

/// The close code of one who leaves in order (RFC 6455, section 7.4.1).
const CLOSE_NORMAL: u16 = 1000;

/// The broker's socket of one [`Peer`]: does its [`BrokerCommand`]s and feeds it [`BrokerInput`]s, over one smoltcp
/// TCP socket that the program owns and uses for nothing else.
///
/// It speaks HTTP to get an id and WebSocket (RFC 6455) without TLS, masks with `R`, a source of random bytes that
/// nobody can foretell, answers pings and shakes hands when it closes.
///
/// # The loop
/// One turn is [`Interface::poll`], [`poll`](Self::poll), then [`poll_output`](Self::poll_output) until it says
/// [`Output::Timeout`], with [`handle_command`](Self::handle_command) for each [`Output::Broker`]. Then wait for the
/// device, the time of the timeout or [`Interface::poll_at`], whichever is first. The [module](super) shows all of it.
///
/// # Memory
/// | what | from | at the limit |
/// |---|---|---|
/// | a message of the broker | `memory` of [`new`](Self::new); 2,048 B holds Chromium's | close code 1009, the socket is lost |
/// | bytes that came | the TCP receive buffer, 512 B or more: it holds a whole HTTP answer | TCP's window closes; [`SocketError::ResponseTooLarge`] |
/// | bytes to be sent | the TCP send buffer, twice the longest signal and 32 B: 3,200 B with `CONTROL` of 4,096 | the engine is not polled until half is free; [`SocketError::Overflow`] |
///
/// Nothing is lost while the broker is slow: what cannot be sent stays in the engine, what the engine cannot take
/// stays here and then in the TCP receive buffer. The price is that the engine's other outputs wait too, at most
/// [`stall_timeout`](super::SocketTiming::stall_timeout); a larger send buffer makes that rarer.
///
/// # Coming back
/// The engine decides whether it wants a socket. When one it wanted could not be opened, or was lost, it is told,
/// says [`Event::Disconnected`](crate::peer::Event::Disconnected), and after a pause this socket calls
/// [`Peer::reconnect`] for it, if it still is disconnected then. The pauses double from
/// [`backoff_first`](super::SocketTiming::backoff_first) to [`backoff_max`](super::SocketTiming::backoff_max), each cut by up to
/// half at random, and start over once the broker says OPEN. There is no limit to the attempts, as there is one at a
/// time and a pause between two.
///
/// It does not come back when the engine closed the socket itself: after [`Peer::disconnect`], an id that is taken,
/// or another error the broker spelled out; nor after [`stay_away`](Self::stay_away).
///
/// An id that could not be asked for because the network failed is asked for again, with the same pauses, as long as
/// the engine waits for it. The engine gives up after [`open_timeout`](crate::peer::Config::open_timeout), and an
/// engine that never was open is then destroyed, as in PeerJS. Give devices an id of their own.
///
/// # Liveness
/// A broker that vanished is noticed when something is sent: by the engine's heartbeat. A program without one sets
/// smoltcp's `keep_alive` and `timeout`.
pub struct BrokerSocket<'m, R> {
    config: BrokerSocketConfig<'m>,
    random: R,
    frames: Frames<'m>,
    phase: Phase,
    want: Want,
    id: Option<PeerId>,
    token: Option<Token>,
    nonce: [u8; 16],
    last_port: u16,
    backoff: Backoff,
    /// When to call [`Peer::reconnect`].
    retry: Option<Instant>,
    /// The engine could not take the last message yet.
    held: bool,
    last_error: Option<SocketError>,
    stats: BrokerSocketStats,
}

/// Counters since the start. They wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct BrokerSocketStats {
    /// WebSockets that were opened.
    pub opened: u32,
    /// Requests and sockets that failed.
    pub failed: u32,
    /// Pings that were answered.
    pub pings: u32,
    /// Messages the engine found malformed.
    pub malformed: u32,
}

/// What the engine wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Nothing,
    Id,
    Socket,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// No connection.
    Idle,
    /// The last connection ends.
    Leaving { deadline: Instant },
    /// Before the next attempt to get an id.
    Pausing { until: Instant },
    /// TCP connects.
    Connecting { deadline: Instant },
    /// The request is sent.
    Waiting { deadline: Instant },
    /// The WebSocket is open.
    Open,
    /// The WebSocket has failed; the engine is to be told.
    Failed(SocketError),
}

impl<'m, R: FnMut(&mut [u8])> BrokerSocket<'m, R> {
    /// A socket that waits for commands. `memory` holds one message of the broker; `random` fills a slice with
    /// random bytes, from a generator fit for keys.
    pub fn new(config: BrokerSocketConfig<'m>, memory: &'m mut [u8], random: R) -> Self {
        Self {
            backoff: Backoff::new(config.timing.backoff_first, config.timing.backoff_max),
            config,
            random,
            frames: Frames::new(memory),
            phase: Phase::Idle,
            want: Want::Nothing,
            id: None,
            token: None,
            nonce: [0; 16],
            last_port: 0,
            retry: None,
            held: false,
            last_error: None,
            stats: BrokerSocketStats::default(),
        }
    }

    /// Whether the WebSocket is open.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Why the last request or socket failed; `None` once one has been opened since.
    pub fn last_error(&self) -> Option<SocketError> {
        self.last_error
    }

    /// Counters.
    pub fn stats(&self) -> BrokerSocketStats {
        self.stats
    }

    /// Where the next connect goes, after its name was resolved anew.
    pub fn set_address(&mut self, address: impl Into<IpAddress>) {
        self.config.address = address.into();
    }

    /// Does not come back by itself until a socket is lost again.
    pub fn stay_away(&mut self) {
        self.retry = None;
    }

    /// Moves on with what came, and tells the engine the time. To be called after each [`Interface::poll`], which
    /// sends what this wrote the next time.
    pub fn poll(
        &mut self,
        now: Instant,
        iface: &mut Interface,
        socket: &mut tcp::Socket<'_>,
        peer: &mut Peer<'_>,
    ) {
        // A needless timeout is harmless.
        let _ = peer.handle_input(now, Input::Timeout);
        self.follow(now, socket, peer.state());
        if self.retry.take_if(|at| *at <= now).is_some() {
            // Refused unless it is disconnected, which is what is meant.
            let _ = peer.reconnect(now);
        }
        loop {
            match self.phase {
                Phase::Idle => return,
                Phase::Leaving { deadline } => {
                    if !stream::leave(socket) {
                        if now < deadline {
                            return;
                        }
                        socket.abort();
                    }
                    self.phase = match self.want {
                        Want::Nothing => Phase::Idle,
                        Want::Id | Want::Socket => self.connect(now, iface, socket),
                    };
                }
                Phase::Pausing { until } => {
                    if now < until {
                        return;
                    }
                    self.phase = self.connect(now, iface, socket);
                }
                Phase::Connecting { deadline } => match socket.state() {
                    State::Closed => self.phase = Phase::Failed(SocketError::Refused),
                    _ if socket.may_send() => self.phase = self.request(now, socket),
                    _ if now < deadline => return,
                    _ => self.phase = Phase::Failed(SocketError::ConnectTimeout),
                },
                Phase::Waiting { deadline } => match self.read_response(now, socket, peer) {
                    Answer::Given if self.want == Want::Socket => {
                        self.open();
                        let _ = peer.handle_input(now, Input::Broker(BrokerInput::Opened));
                    }
                    Answer::Given => {
                        self.want = Want::Nothing;
                        socket.close();
                        self.leave(now);
                        return;
                    }
                    Answer::Failed(error) => self.phase = Phase::Failed(error),
                    Answer::Waiting if now < deadline => return,
                    Answer::Waiting => self.phase = Phase::Failed(SocketError::ResponseTimeout),
                },
                Phase::Open => {
                    // First, before anything new is written.
                    let timeout = self.config.timing.stall_timeout;
                    if self.frames.is_stalled(now, socket, timeout) {
                        self.phase = Phase::Failed(SocketError::Stalled);
                    } else {
                        self.read_messages(now, socket, peer);
                    }
                    if self.is_open() {
                        return;
                    }
                }
                Phase::Failed(error) => {
                    self.failed(now, error, socket, peer);
                    return;
                }
            }
        }
    }

    /// The engine's next output. [`Output::Broker`] is for [`handle_command`](Self::handle_command). The time of
    /// [`Output::Timeout`] includes this socket's own; one that has passed means at once.
    pub fn poll_output<'p>(&self, socket: &tcp::Socket<'_>, peer: &'p mut Peer<'_>) -> Output<'p> {
        // Half of the buffer is kept for the next signal, whose length nobody knows yet.
        if self.is_open() && socket.may_send() && stream::room(socket) < socket.send_capacity() / 2
        {
            return Output::Timeout(self.next_timeout(false));
        }
        match peer.poll_output() {
            Output::Timeout(at) => Output::Timeout(earlier(at, self.next_timeout(true))),
            output => output,
        }
    }

    /// Does what the engine says. [`poll`](Self::poll) goes on with it.
    pub fn handle_command(
        &mut self,
        now: Instant,
        socket: &mut tcp::Socket<'_>,
        command: BrokerCommand<'_>,
    ) {
        match command {
            BrokerCommand::RetrieveId => self.begin(now, socket, Want::Id),
            BrokerCommand::Open { id, token } => {
                self.id = PeerId::from_wire(id).ok();
                self.token = Token::from_wire(token).ok();
                self.begin(now, socket, Want::Socket);
            }
            BrokerCommand::Send(text) => {
                // One that is lost is found out by the next poll.
                if self.is_open() && socket.may_send() {
                    let (text, mask) = (text.as_bytes(), draw(&mut self.random));
                    if !self.frames.write(now, socket, Opcode::Text, text, mask) {
                        self.phase = Phase::Failed(SocketError::Overflow);
                    }
                }
            }
            BrokerCommand::Close => {
                self.backoff.reset();
                self.begin(now, socket, Want::Nothing);
            }
        }
    }

    /// Gives up what the engine no longer waits for, which it does not always say.
    fn follow(&mut self, now: Instant, socket: &mut tcp::Socket<'_>, state: PeerState) {
        match state {
            PeerState::Open => self.backoff.reset(),
            PeerState::Connecting => {}
            PeerState::Disconnected | PeerState::Destroyed => {
                if self.want == Want::Id {
                    self.begin(now, socket, Want::Nothing);
                }
            }
        }
    }

    /// Ends the connection there is, and makes a new one when it is gone.
    fn begin(&mut self, now: Instant, socket: &mut tcp::Socket<'_>, want: Want) {
        self.retry = None;
        self.want = want;
        match self.phase {
            Phase::Open => {
                frames::close(socket, CLOSE_NORMAL, draw(&mut self.random));
                self.leave(now);
            }
            Phase::Leaving { .. } => {}
            Phase::Waiting { .. } | Phase::Failed(_) => {
                socket.abort();
                self.leave(now);
            }
            Phase::Idle | Phase::Pausing { .. } | Phase::Connecting { .. } => {
                socket.abort();
                if want == Want::Nothing {
                    self.phase = Phase::Idle;
                } else {
                    self.phase = Phase::Pausing { until: now };
                }
            }
        }
    }

    fn leave(&mut self, now: Instant) {
        self.held = false;
        self.frames.reset();
        self.phase = Phase::Leaving {
            deadline: now + self.config.timing.close_timeout,
        };
    }

    fn connect(
        &mut self,
        now: Instant,
        iface: &mut Interface,
        socket: &mut tcp::Socket<'_>,
    ) -> Phase {
        let remote = IpEndpoint::new(self.config.address, self.config.broker.port);
        let random = u16::from_be_bytes(draw(&mut self.random));
        if socket.is_open() {
            socket.abort();
        }
        match stream::connect(socket, iface, remote, random, &mut self.last_port) {
            Ok(()) => Phase::Connecting {
                deadline: now + self.config.timing.connect_timeout,
            },
            Err(_) => Phase::Failed(SocketError::Unaddressable),
        }
    }

    /// Writes the request into the send buffer, which a new connection has to itself.
    fn request(&mut self, now: Instant, socket: &mut tcp::Socket<'_>) -> Phase {
        (self.random)(&mut self.nonce);
        let broker = self.config.broker;
        let written = socket.send(|buffer| {
            let written = match (self.want, &self.id, &self.token) {
                (Want::Socket, Some(id), Some(token)) => {
                    broker.write_upgrade_request(id.as_str(), token.as_str(), &self.nonce, buffer)
                }
                _ => {
                    let [a, b, c, d, e, f, ..] = self.nonce;
                    broker.write_id_request(u64::from_be_bytes([0, 0, a, b, c, d, e, f]), buffer)
                }
            };
            match written {
                Ok(text) => (text.len(), None),
                Err(error) => (0, Some(SocketError::Request(error))),
            }
        });
        match written {
            Ok(None) => Phase::Waiting {
                deadline: now + self.config.timing.response_timeout,
            },
            Ok(Some(error)) => Phase::Failed(error),
            Err(_) => Phase::Failed(SocketError::Lost),
        }
    }

    fn read_response(
        &mut self,
        now: Instant,
        socket: &mut tcp::Socket<'_>,
        peer: &mut Peer<'_>,
    ) -> Answer {
        if self.want == Want::Socket {
            return response::read_upgrade(socket, &self.nonce);
        }
        response::read_id(socket, |id| {
            // One the engine cannot take is its own to report.
            let _ = peer.handle_input(now, Input::Broker(BrokerInput::IdRetrieved(id)));
        })
    }

    fn open(&mut self) {
        self.phase = Phase::Open;
        self.frames.reset();
        self.held = false;
        self.last_error = None;
        self.stats.opened = self.stats.opened.wrapping_add(1);
    }

    /// Hands over all messages that have come, until the engine is full.
    fn read_messages(&mut self, now: Instant, socket: &mut tcp::Socket<'_>, peer: &mut Peer<'_>) {
        loop {
            let random = &mut self.random;
            if self.frames.answer_ping(now, socket, || draw(random)) {
                self.stats.pings = self.stats.pings.wrapping_add(1);
            }
            if self.held && !self.deliver(now, peer) {
                return;
            }
            match self.frames.next(socket) {
                Step::Wait => return,
                Step::Passed => {}
                Step::Message => self.held = true,
                Step::Close(code) => {
                    let code_back = code.unwrap_or(CLOSE_NORMAL);
                    frames::close(socket, code_back, draw(&mut self.random));
                    self.phase = Phase::Failed(SocketError::Closed(code));
                    return;
                }
                Step::Failed(error) => {
                    if let SocketError::Frame(error) = error {
                        frames::close(socket, error.close_code(), draw(&mut self.random));
                    }
                    self.phase = Phase::Failed(error);
                    return;
                }
            }
        }
    }

    /// Hands the last message to the engine; `false` if it has to be offered again.
    fn deliver(&mut self, now: Instant, peer: &mut Peer<'_>) -> bool {
        let message = BrokerInput::Message(self.frames.message());
        let result = peer.handle_input(now, Input::Broker(message));
        self.held = result == Err(InputError::Full);
        if matches!(result, Err(InputError::Malformed)) {
            self.stats.malformed = self.stats.malformed.wrapping_add(1);
        }
        !self.held
    }

    fn failed(
        &mut self,
        now: Instant,
        error: SocketError,
        socket: &mut tcp::Socket<'_>,
        peer: &mut Peer<'_>,
    ) {
        warning!("the broker's socket failed: {}", error);
        self.last_error = Some(error);
        self.stats.failed = self.stats.failed.wrapping_add(1);
        // Those two have said goodbye.
        if !matches!(error, SocketError::Closed(_) | SocketError::Frame(_)) {
            socket.abort();
        }
        self.leave(now);
        if matches!(
            error,
            SocketError::Unaddressable | SocketError::ConnectTimeout | SocketError::Refused
        ) {
            // Nobody is there to wait for.
            self.phase = Phase::Idle;
        }
        let wanted = core::mem::replace(&mut self.want, Want::Nothing);
        let random = u16::from_be_bytes(draw(&mut self.random));
        match wanted {
            Want::Id if error.is_transport() => {
                self.want = wanted;
                self.phase = Phase::Pausing {
                    until: self.backoff.next(now, random),
                };
            }
            Want::Id => {
                let _ = peer.handle_input(now, Input::Broker(BrokerInput::Failed));
            }
            Want::Socket => {
                let _ = peer.handle_input(now, Input::Broker(BrokerInput::Closed));
                if self.config.reconnect {
                    self.retry = Some(self.backoff.next(now, random));
                }
            }
            Want::Nothing => {}
        }
    }

    /// When to poll again. `held` messages matter only if the engine was drained.
    fn next_timeout(&self, drained: bool) -> Option<Instant> {
        let own = match self.phase {
            Phase::Idle => None,
            Phase::Leaving { deadline }
            | Phase::Connecting { deadline }
            | Phase::Waiting { deadline } => Some(deadline),
            Phase::Pausing { until } => Some(until),
            Phase::Open if self.held && drained => Some(Instant::ZERO),
            Phase::Open => self.frames.stall_deadline(self.config.timing.stall_timeout),
            Phase::Failed(_) => Some(Instant::ZERO),
        };
        earlier(own, self.retry)
    }
}

/// Without the token and what is in memory.
impl<R> fmt::Debug for BrokerSocket<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerSocket")
            .field("phase", &self.phase)
            .field("want", &self.want)
            .field("retry", &self.retry)
            .field("last_error", &self.last_error)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// Some random bytes.
fn draw<const N: usize>(random: &mut impl FnMut(&mut [u8])) -> [u8; N] {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::wire::http::Broker;

    #[test]
    fn its_debug_output_keeps_the_token() {
        let broker = Broker {
            host: "a",
            port: 1,
            path: "/",
            key: "k",
        };
        let mut memory = [0; 8];
        let config = BrokerSocketConfig::new(IpAddress::v4(192, 0, 2, 1), broker);
        let mut socket = BrokerSocket::new(config, &mut memory, |_: &mut [u8]| {});
        socket.token = Token::from_wire("secret").ok();
        assert!(!std::format!("{socket:?}").contains("secret"));
    }

    #[test]
    fn it_is_small() {
        // The id and the token are most of it, and room for a ping.
        assert!(size_of::<BrokerSocket<'_, fn(&mut [u8])>>() <= 1024);
    }
}
