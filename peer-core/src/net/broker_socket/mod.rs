//! The broker's socket as a state machine over one smoltcp TCP socket.

use core::fmt;

use smoltcp::{
    iface::Interface,
    socket::tcp,
    wire::{IpAddress, IpEndpoint},
};

use crate::{
    PeerId, Token,
    peer::{BrokerCommand, BrokerInput, Input, Output, Peer, PeerState, Room},
    time::{Instant, earlier},
    wire::{http::BrokerAddress, websocket::Opcode},
};

use super::{
    SocketError, SocketTiming,
    backoff::Backoff,
    frames::{self, Frames},
    response::Answer,
};

mod state;
mod steps;

use state::{Goal, Message, Next, State};

/// The close code of one who leaves in order (RFC 6455, section 7.4.1).
const CLOSE_NORMAL: u16 = 1000;

/// The broker's socket of one [`Peer`]: carries out [`BrokerCommand`]s and feeds [`BrokerInput`]s,
/// over one smoltcp TCP socket that the program owns and uses for nothing else.
///
/// It speaks HTTP to get an id and WebSocket (RFC 6455) without TLS, masks with `R`, a source of
/// random bytes that nobody can foretell, answers pings, and does the closing handshake.
///
/// # The loop
/// One turn is [`Interface::poll`], [`poll`](Self::poll), then [`poll_output`](Self::poll_output)
/// until it returns [`Output::Timeout`], with [`handle_command`](Self::handle_command) for each
/// [`Output::Broker`]. Then wait for the device, the time of the timeout or [`Interface::poll_at`],
/// whichever is first. The [module](super) shows all of it.
///
/// # Memory
/// | what | from | at the limit |
/// |---|---|---|
/// | a message of the broker | `memory` of [`new`](Self::new); 2,048 B holds Chromium's | close code 1009, the socket is lost |
/// | bytes received | the TCP receive buffer, 512 B or more: it holds a whole HTTP answer | TCP's window closes; [`SocketError::ResponseTooLarge`] |
/// | bytes to be sent | the TCP send buffer: the longest signal and 8 B, so ⅜ of `CONTROL` and 8 B hold any; and the HTTP request | the signals wait in the engine; one longer than the buffer is [`SocketError::Overflow`] |
/// | a ping's payload | 125 B, RFC 6455's limit | only the last ping is answered (section 5.5.3) |
///
/// A slow broker holds up its signals only: data, commands for sessions, events and deadlines go
/// on. Signals that the engine has no place for are its to limit, see [its
/// limits](crate::peer#limits).
///
/// # Limits of time
/// | what | limit of [`SocketTiming`] | at the limit |
/// |---|---|---|
/// | a TCP connect | `connect_timeout` | [`SocketError::ConnectTimeout`] |
/// | an HTTP answer | `response_timeout` | [`SocketError::ResponseTimeout`] |
/// | bytes that nobody acknowledges | `stall_timeout` | [`SocketError::Stalled`] |
/// | the end of a connection | `close_timeout` | it is reset |
///
/// # Reconnecting
/// The engine decides whether it wants a socket. When the socket could not be opened, or was lost,
/// the engine is told and reports
/// [`Event::Disconnected`](crate::peer::Event::Disconnected). After a pause this socket calls
/// [`Peer::reconnect`], if the engine is still disconnected then. The pauses double from
/// [`backoff_first`](SocketTiming::backoff_first) to [`backoff_max`](SocketTiming::backoff_max),
/// each cut by up to half at random, and start over once the broker says OPEN. The number of
/// attempts has no limit; there is one at a time.
///
/// It does not reconnect when the engine closed the socket itself: after [`Peer::disconnect`], an
/// id that is taken, or another error that the broker reported; nor after
/// [`stay_away`](Self::stay_away), nor with [`set_reconnect`](Self::set_reconnect)`(false)`.
///
/// A request for an id that failed because of the network is repeated, with the same pauses, as
/// long as the engine waits for it. The engine gives up after
/// [`open_timeout`](crate::peer::Config::open_timeout), and an engine that never was open is then
/// destroyed, as in PeerJS. Give devices an id of their own.
///
/// # Liveness
/// A broker that vanished is noticed when something is sent: by the engine's heartbeat. A program
/// without one sets smoltcp's `keep_alive` and `timeout`.
pub struct BrokerSocket<'m, R> {
    address: IpAddress,
    broker: BrokerAddress<'m>,
    timing: SocketTiming,
    reconnect: bool,
    random: R,
    frames: Frames<'m>,
    state: State,
    /// Of the last [`BrokerCommand::Open`].
    account: Option<(PeerId, Token)>,
    nonce: [u8; 16],
    last_port: u16,
    backoff: Backoff,
    last_error: Option<SocketError>,
    failures: u32,
}

impl<'m, R: FnMut(&mut [u8])> BrokerSocket<'m, R> {
    /// Makes a socket that waits for commands.
    ///
    /// `address` is the broker's; the port is that of `broker`, which also says what stands in the
    /// requests. `memory` holds one message of the broker. `random` fills a slice with random
    /// bytes, from a generator fit for keys.
    pub fn new(
        address: impl Into<IpAddress>,
        broker: BrokerAddress<'m>,
        timing: SocketTiming,
        memory: &'m mut [u8],
        random: R,
    ) -> Self {
        Self {
            address: address.into(),
            broker,
            timing,
            reconnect: true,
            random,
            frames: Frames::new(memory),
            state: State::Resting,
            account: None,
            nonce: [0; 16],
            last_port: 0,
            backoff: Backoff::new(timing.backoff_first, timing.backoff_max),
            last_error: None,
            failures: 0,
        }
    }

    /// Whether the WebSocket is open.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Why the last request or socket failed; `None` once one has been opened since.
    pub fn last_error(&self) -> Option<SocketError> {
        self.last_error
    }

    /// Requests and sockets that failed since the start. Wraps.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Sets where the next connect goes, after its name was resolved anew.
    pub fn set_address(&mut self, address: impl Into<IpAddress>) {
        self.address = address.into();
    }

    /// Sets whether to [reconnect](Self#reconnecting) when the socket could not be opened or was
    /// lost. Default `true`; with `false` the application calls [`Peer::reconnect`].
    pub fn set_reconnect(&mut self, reconnect: bool) {
        self.reconnect = reconnect;
    }

    /// Does not reconnect until a socket is lost again.
    pub fn stay_away(&mut self) {
        match &mut self.state {
            State::Reconnecting { .. } => self.state = State::Resting,
            State::Leaving { next, .. } if matches!(next, Next::Reconnect(_)) => *next = Next::Rest,
            _ => {}
        }
    }

    /// Handles what has come, and tells the engine the time. Call it after each
    /// [`Interface::poll`]; what this writes leaves with the next one.
    pub fn poll(
        &mut self,
        now: Instant,
        iface: &mut Interface,
        socket: &mut tcp::Socket<'_>,
        peer: &mut Peer<'_>,
    ) {
        tell(now, peer, Input::Timeout);
        if matches!(peer.state(), PeerState::Open) {
            self.backoff.reset();
        }
        self.give_up_id(now, socket, peer.state());
        self.advance(now, iface, socket, peer);
    }

    /// The engine's next output. [`Output::Broker`] is for
    /// [`handle_command`](Self::handle_command). The time of [`Output::Timeout`] includes this
    /// socket's own; a time that has passed means at once.
    pub fn poll_output<'p>(&self, socket: &tcp::Socket<'_>, peer: &'p mut Peer<'_>) -> Output<'p> {
        let room = Room {
            broker: self.room(socket),
            ..Room::UNLIMITED
        };
        match peer.poll_output(room) {
            Output::Timeout(at) => Output::Timeout(earlier(at, self.timeout())),
            output => output,
        }
    }

    /// Carries out a command of the engine. [`poll`](Self::poll) goes on with it.
    pub fn handle_command(
        &mut self,
        now: Instant,
        socket: &mut tcp::Socket<'_>,
        command: BrokerCommand<'_>,
    ) {
        match command {
            BrokerCommand::RetrieveId => self.begin(now, socket, Goal::Id),
            BrokerCommand::Open { id, token } => {
                let (Ok(id), Ok(token)) = (PeerId::from_wire(id), Token::from_wire(token)) else {
                    debug_assert!(false, "an engine has a valid id and token");
                    return;
                };
                self.account = Some((id, token));
                self.begin(now, socket, Goal::Socket);
            }
            BrokerCommand::Send(text) => {
                // A socket that was lost meanwhile is found out by the next poll.
                if self.is_open() && socket.may_send() {
                    let (text, mask) = (text.as_bytes(), draw(&mut self.random));
                    if !self.frames.write(now, socket, Opcode::Text, text, mask) {
                        self.state = State::Failed {
                            error: SocketError::Overflow,
                            goal: Goal::Socket,
                        };
                    }
                }
            }
            BrokerCommand::Close => {
                self.backoff.reset();
                self.end(now, socket, Next::Rest);
            }
        }
    }

    /// Ends the connection there is, and makes a new one when it is gone.
    fn begin(&mut self, now: Instant, socket: &mut tcp::Socket<'_>, goal: Goal) {
        self.end(now, socket, Next::Connect(goal));
    }

    /// Ends the connection there is, whatever its state.
    fn end(&mut self, now: Instant, socket: &mut tcp::Socket<'_>, next: Next) {
        match self.state {
            State::Open(_) => {
                frames::close(socket, CLOSE_NORMAL, draw(&mut self.random));
                self.leave(now, next);
            }
            State::Leaving { deadline, .. } => self.state = State::Leaving { deadline, next },
            State::Waiting { .. } | State::Failed { .. } => {
                socket.abort();
                self.leave(now, next);
            }
            State::Resting
            | State::Reconnecting { .. }
            | State::Pausing { .. }
            | State::Connecting { .. } => {
                socket.abort();
                self.state = State::after(next, now);
            }
        }
    }

    fn leave(&mut self, now: Instant, next: Next) {
        self.frames.reset();
        self.state = State::Leaving {
            deadline: now + self.timing.close_timeout,
            next,
        };
    }

    /// Returns how many bytes of a command can be carried out now: [`Room::broker`], for another
    /// driver than [`poll_output`](Self::poll_output).
    pub fn room(&self, socket: &tcp::Socket<'_>) -> usize {
        match self.state {
            // Of the commands only signals are longer than a byte, and while the WebSocket is open
            // the engine closes it before it asks for another.
            State::Open(_) if socket.may_send() => frames::room(socket).max(1),
            _ => usize::MAX,
        }
    }

    /// Returns when to poll again, once the engine was drained. A time that has passed means at
    /// once.
    pub fn timeout(&self) -> Option<Instant> {
        match self.state {
            State::Resting => None,
            State::Reconnecting { at } => Some(at),
            State::Leaving { deadline, .. }
            | State::Connecting { deadline, .. }
            | State::Waiting { deadline, .. } => Some(deadline),
            State::Pausing { until, .. } => Some(until),
            State::Open(Message::Held) => Some(Instant::ZERO),
            State::Open(_) => self.frames.stall_deadline(self.timing.stall_timeout),
            State::Failed { .. } => Some(Instant::ZERO),
        }
    }
}

/// Feeds an input that the engine takes in every state.
fn tell(now: Instant, peer: &mut Peer<'_>, input: Input<'_>) {
    let taken = peer.handle_input(now, input);
    debug_assert!(taken.is_ok(), "an input that is always taken: {taken:?}");
}

/// Without the token and what is in memory.
impl<R> fmt::Debug for BrokerSocket<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerSocket")
            .field("state", &self.state)
            .field("last_error", &self.last_error)
            .field("failures", &self.failures)
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

    #[test]
    fn its_debug_output_keeps_the_token() {
        let broker = BrokerAddress {
            host: "a",
            port: 1,
            path: "/",
            key: "k",
        };
        let mut memory = [0; 8];
        let address = IpAddress::v4(192, 0, 2, 1);
        let random = |_: &mut [u8]| {};
        let timing = SocketTiming::default();
        let mut socket = BrokerSocket::new(address, broker, timing, &mut memory, random);
        let mut buffers = ([0; 8], [0; 8]);
        let mut tcp = tcp::Socket::new(
            tcp::SocketBuffer::new(&mut buffers.0[..]),
            tcp::SocketBuffer::new(&mut buffers.1[..]),
        );
        let open = BrokerCommand::Open {
            id: "a",
            token: "secret",
        };
        socket.handle_command(Instant::ZERO, &mut tcp, open);
        assert_eq!(socket.state.goal(), Some(Goal::Socket));
        assert!(!std::format!("{socket:?}").contains("secret"));
    }

    #[test]
    fn it_is_small() {
        // The id and the token are most of it, and room for a ping.
        assert!(size_of::<BrokerSocket<'_, fn(&mut [u8])>>() <= 1024);
    }
}
