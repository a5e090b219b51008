//! The steps from one state to the next.

use smoltcp::{
    iface::Interface,
    socket::tcp::{self, State as Tcp},
};

use crate::{
    peer::{InputError, PeerState},
    time::Instant,
};

use super::{
    super::{SocketError, frames, frames::Step, response, stream},
    Answer, BrokerInput, BrokerSocket, CLOSE_NORMAL, Goal, Input, IpEndpoint, Message, Next, Peer,
    State, draw, tell,
};

impl<R: FnMut(&mut [u8])> BrokerSocket<'_, R> {
    /// Gives up a request for an id that the engine no longer waits for: it does not say so.
    pub(super) fn give_up_id(
        &mut self,
        now: Instant,
        socket: &mut tcp::Socket<'_>,
        state: PeerState,
    ) {
        let waits = matches!(state, PeerState::Connecting | PeerState::Open);
        if !waits && self.state.goal() == Some(Goal::Id) {
            self.end(now, socket, Next::Rest);
        }
    }

    /// Takes every step that can be taken now.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        iface: &mut Interface,
        socket: &mut tcp::Socket<'_>,
        peer: &mut Peer<'_>,
    ) {
        loop {
            self.state = match self.state {
                State::Resting => return,
                State::Reconnecting { at } => {
                    if now < at {
                        return;
                    }
                    // The application may have been quicker.
                    if peer.state() == PeerState::Disconnected {
                        let reconnects = peer.reconnect(now);
                        debug_assert!(reconnects.is_ok(), "it was disconnected");
                    }
                    State::Resting
                }
                State::Leaving { deadline, next } => {
                    if !stream::leave(socket) {
                        if now < deadline {
                            return;
                        }
                        socket.abort();
                    }
                    State::after(next, now)
                }
                State::Pausing { until, goal } => {
                    if now < until {
                        return;
                    }
                    self.connect(now, goal, iface, socket)
                }
                State::Connecting { deadline, goal } => match socket.state() {
                    _ if socket.may_send() => self.request(now, goal, socket),
                    Tcp::Closed => State::Failed {
                        error: SocketError::Refused,
                        goal,
                    },
                    _ if now < deadline => return,
                    _ => State::Failed {
                        error: SocketError::ConnectTimeout,
                        goal,
                    },
                },
                State::Waiting { deadline, goal } => {
                    match self.read_response(now, goal, socket, peer) {
                        Answer::Given if goal == Goal::Socket => {
                            self.frames.reset();
                            self.last_error = None;
                            tell(now, peer, Input::Broker(BrokerInput::Opened));
                            State::Open(Message::Taken)
                        }
                        Answer::Given => {
                            socket.close();
                            self.leave(now, Next::Rest);
                            return;
                        }
                        Answer::Failed(error) => State::Failed { error, goal },
                        Answer::Waiting if now < deadline => return,
                        Answer::Waiting => State::Failed {
                            error: SocketError::ResponseTimeout,
                            goal,
                        },
                    }
                }
                State::Open(message) => {
                    // First, before anything new is written.
                    let timeout = self.timing.stall_timeout;
                    let failed = if self.frames.is_stalled(now, socket, timeout) {
                        Err(SocketError::Stalled)
                    } else {
                        self.read_messages(now, message, socket, peer)
                    };
                    match failed {
                        Ok(message) => {
                            self.state = State::Open(message);
                            return;
                        }
                        Err(error) => State::Failed {
                            error,
                            goal: Goal::Socket,
                        },
                    }
                }
                State::Failed { error, goal } => {
                    self.failed(now, error, goal, socket, peer);
                    return;
                }
            }
        }
    }

    fn connect(
        &mut self,
        now: Instant,
        goal: Goal,
        iface: &mut Interface,
        socket: &mut tcp::Socket<'_>,
    ) -> State {
        let remote = IpEndpoint::new(self.address, self.broker.port);
        let random = u16::from_be_bytes(draw(&mut self.random));
        if socket.is_open() {
            socket.abort();
        }
        match stream::connect(socket, iface, remote, random, &mut self.last_port) {
            Ok(()) => State::Connecting {
                deadline: now + self.timing.connect_timeout,
                goal,
            },
            Err(_) => State::Failed {
                error: SocketError::Unaddressable,
                goal,
            },
        }
    }

    /// Writes the request into the send buffer, which a new connection has to itself.
    fn request(&mut self, now: Instant, goal: Goal, socket: &mut tcp::Socket<'_>) -> State {
        (self.random)(&mut self.nonce);
        let (broker, nonce, account) = (self.broker, &self.nonce, &self.account);
        debug_assert!(account.is_some() || goal == Goal::Id, "`Open` names it");
        let written = socket.send(|buffer| {
            let written = match (goal, account) {
                (Goal::Socket, Some((id, token))) => {
                    broker.write_upgrade_request(id.as_str(), token.as_str(), nonce, buffer)
                }
                (Goal::Id | Goal::Socket, _) => {
                    let [a, b, c, d, e, f, ..] = *nonce;
                    broker.write_id_request(u64::from_be_bytes([0, 0, a, b, c, d, e, f]), buffer)
                }
            };
            match written {
                Ok(text) => (text.len(), Ok(())),
                Err(error) => (0, Err(SocketError::Request(error))),
            }
        });
        match written {
            Ok(Ok(())) => State::Waiting {
                deadline: now + self.timing.response_timeout,
                goal,
            },
            Ok(Err(error)) => State::Failed { error, goal },
            Err(_) => State::Failed {
                error: SocketError::Lost,
                goal,
            },
        }
    }

    fn read_response(
        &mut self,
        now: Instant,
        goal: Goal,
        socket: &mut tcp::Socket<'_>,
        peer: &mut Peer<'_>,
    ) -> Answer {
        match goal {
            Goal::Socket => response::read_upgrade(socket, &self.nonce),
            Goal::Id => response::read_id(socket, |id| {
                let input = Input::Broker(BrokerInput::IdRetrieved(id));
                if let Err(error) = peer.handle_input(now, input) {
                    // The engine gives up by itself, and reports it.
                    warning!("the broker answered with an id that is none: {}", error);
                }
            }),
        }
    }

    /// Hands over all messages that have come, until the engine is full.
    fn read_messages(
        &mut self,
        now: Instant,
        mut message: Message,
        socket: &mut tcp::Socket<'_>,
        peer: &mut Peer<'_>,
    ) -> Result<Message, SocketError> {
        loop {
            let random = &mut self.random;
            self.frames.answer_ping(now, socket, || draw(random));
            if message == Message::Held {
                message = self.deliver(now, peer);
                if message == Message::Held {
                    return Ok(message);
                }
            }
            match self.frames.next(socket) {
                Step::Wait => return Ok(message),
                Step::Passed => {}
                Step::Message => message = Message::Held,
                Step::Close(code) => {
                    let code_back = code.unwrap_or(CLOSE_NORMAL);
                    frames::close(socket, code_back, draw(&mut self.random));
                    return Err(SocketError::Closed(code));
                }
                Step::Failed(error) => {
                    if let SocketError::Frame(error) = error {
                        frames::close(socket, error.close_code(), draw(&mut self.random));
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Hands the last message to the engine, which may ask for it once more.
    fn deliver(&mut self, now: Instant, peer: &mut Peer<'_>) -> Message {
        let message = BrokerInput::Message(self.frames.message());
        match peer.handle_input(now, Input::Broker(message)) {
            Err(InputError::Full) => Message::Held,
            // What it cannot use it counts.
            Ok(()) | Err(_) => Message::Taken,
        }
    }

    fn failed(
        &mut self,
        now: Instant,
        error: SocketError,
        goal: Goal,
        socket: &mut tcp::Socket<'_>,
        peer: &mut Peer<'_>,
    ) {
        warning!("the broker's socket failed: {}", error);
        self.last_error = Some(error);
        self.failures = self.failures.wrapping_add(1);
        // After those two a close frame was sent.
        if !matches!(error, SocketError::Closed(_) | SocketError::Frame(_)) {
            socket.abort();
        }
        let random = u16::from_be_bytes(draw(&mut self.random));
        let next = match goal {
            Goal::Id if error.is_transport() => {
                self.state = State::Pausing {
                    until: self.backoff.next(now, random),
                    goal,
                };
                return;
            }
            Goal::Id => {
                tell(now, peer, Input::Broker(BrokerInput::Failed));
                Next::Rest
            }
            Goal::Socket => {
                tell(now, peer, Input::Broker(BrokerInput::Closed));
                match self.reconnect {
                    true => Next::Reconnect(self.backoff.next(now, random)),
                    false => Next::Rest,
                }
            }
        };
        if error.is_unconnected() {
            // There is no other side to wait for.
            self.state = State::after(next, now);
        } else {
            self.leave(now, next);
        }
    }
}
