//! The end next to the WebRTC stack.

use crate::{
    PeerId, bytes,
    peer::{
        BrokerCommand, BrokerInput, ConnectionHandle, Input, Output, RtcCommand, RtcFailure,
        RtcInput,
    },
    time::Instant,
};

use super::{
    DownReason, KEY_LEN, Key, LinkError, LinkSlices, LinkStats, NONCE_LEN, OUTPUT_OVERHEAD,
    PROOF_LEN, Refusal, Session, Timing, VERSION,
    auth::{Nonces, Prover, Transcript},
    endpoint::{Endpoint, Heard, Name, is_usable},
    frame::{Frame, Greeting},
    message::{Outbound, read_output, write_broker, write_rtc},
};

/// What a leaf's engine is told in place of a broker when it wants an id that is not its own.
const NOT_ALLOWED: &[u8] =
    br#"{"type":"ERROR","payload":{"msg":"the gateway does not let this leaf use that id"}}"#;

/// Who may come, and what they may do.
pub trait LeafKeys {
    /// The key of the leaf with this name; `None`: there is no such leaf.
    fn key(&self, leaf: &str) -> Option<&Key>;

    /// Whether the leaf may open its broker under this id. Not asked for an id that the broker gave it in this session;
    /// one from an earlier session is up to the driver.
    fn allows_id(&self, leaf: &str, id: &str) -> bool;

    /// Whether the leaf may ask the broker for an id.
    fn allows_random_id(&self, leaf: &str) -> bool {
        let _ = leaf;
        true
    }
}

/// The gateway's end of one link: a byte stream at one side, commands for a broker's socket and for WebRTC sessions
/// at the other. To its driver it looks as an engine does.
///
/// One turn of its loop, in this order:
///
/// 1. [`receive`](Self::receive) what the stream has.
/// 2. [`poll_output`](Self::poll_output) until it says [`GatewayOutput::Timeout`]; do what each says. A driver that
///    has no room leaves this out for a while, which pushes back on the leaf.
/// 3. [`transmit`](Self::transmit) until it gives nothing.
/// 4. Wait for bytes, the socket, a session or the time of the timeout; feed what came to
///    [`handle_input`](Self::handle_input).
///
/// When the session ends the driver gets a `Close` for each WebRTC session and for the socket, as an engine would give
/// them: whatever a leaf does, nothing of it is left.
#[derive(Debug)]
pub struct Gateway<'m> {
    pub(super) endpoint: Endpoint<'m>,
    sessions: &'m mut [Session],
    nonces: Nonces,
    /// A handshake that lacks the leaf's proof.
    pending: Option<Pending>,
    /// The proof that began the session, and whose it was.
    leaf: Name,
    proof: [u8; PROOF_LEN],
    /// The broker's socket may be open.
    socket: bool,
    /// The id the broker gave this leaf.
    given: Option<PeerId>,
    /// To be told to the driver: the session is over; then what is left of it goes.
    down: Option<DownReason>,
    rose: bool,
    refused: Option<Refusal>,
    /// The oldest message was handed out and goes at the next call.
    lent: bool,
    /// A reset is not said again before.
    quiet_until: Instant,
}

#[derive(Debug)]
struct Pending {
    leaf: Name,
    greeting: Greeting,
    /// Of the challenge.
    nonce: [u8; NONCE_LEN],
    /// The only right one.
    proof: [u8; PROOF_LEN],
    /// It was given; the session begins once nothing is left of the one before.
    given: bool,
}

/// What a poll of a [`Gateway`] leads to.
#[derive(Debug)]
pub enum GatewayOutput<'a> {
    /// A leaf has proved its key; [`Gateway::leaf`] names it.
    Up,
    /// The session is over. The closes have come before.
    Down(DownReason),
    /// A leaf was turned away.
    Refused(Refusal),
    /// The leaf wanted to open its broker under this id, which it may not. It was told.
    IdRefused(&'a str),
    /// Do something with the broker's socket.
    Broker(BrokerCommand<'a>),
    /// Do something with a WebRTC session.
    Rtc(ConnectionHandle, RtcCommand<'a>),
    /// Nothing more now; call again at this time.
    Timeout(Option<Instant>),
}

impl<'m> Gateway<'m> {
    /// A gateway's end. `random`: fresh random bytes; nonces come from them.
    ///
    /// # Errors
    /// [`LinkError::Memory`].
    pub fn new(
        timing: Timing,
        random: [u8; KEY_LEN],
        memory: LinkSlices<'m>,
    ) -> Result<Self, LinkError> {
        super::check("gateway", &memory)?;
        let (endpoint, sessions) = Endpoint::new(timing, memory);
        Ok(Self {
            endpoint,
            sessions,
            nonces: Nonces::new(random),
            pending: None,
            leaf: Name::new(),
            proof: [0; PROOF_LEN],
            socket: false,
            given: None,
            down: None,
            rose: false,
            refused: None,
            lent: false,
            quiet_until: Instant::ZERO,
        })
    }

    /// The leaf that has proved its key; of a session that is over until the next one begins.
    pub fn leaf(&self) -> Option<&str> {
        Some(self.leaf.as_str()).filter(|name| !name.is_empty())
    }

    /// Whether there is a session.
    pub fn is_up(&self) -> bool {
        self.endpoint.is_up()
    }

    /// Counters.
    pub fn stats(&self) -> LinkStats {
        self.endpoint.stats
    }

    /// WebRTC sessions that the leaf has.
    pub fn sessions(&self) -> usize {
        self.sessions.iter().filter(|session| session.used).count()
    }

    /// Takes bytes of the stream, cut anywhere. Then poll.
    pub fn receive(&mut self, now: Instant, mut bytes: &[u8], keys: &dyn LeafKeys) {
        self.release();
        while let Some(heard) = self.endpoint.receive(now, &mut bytes) {
            self.heard(now, heard, keys);
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

    /// Ends the session: the stream is gone, the key was taken back, or the gateway stops. The leaf is told, if it
    /// still listens. Then poll.
    pub fn close(&mut self) {
        self.release();
        self.pending = None;
        if self.is_up() {
            self.go_down(DownReason::Closed);
        }
    }

    /// The next thing to do. Poll until [`GatewayOutput::Timeout`] after every other call.
    pub fn poll_output(&mut self, now: Instant, keys: &dyn LeafKeys) -> GatewayOutput<'_> {
        self.release();
        if let Some(reason) = self.endpoint.check(now) {
            self.go_down(reason);
        }
        if let Some(output) = self.next_of_end() {
            return output;
        }
        self.begin(now);
        if let Some(refusal) = self.refused.take() {
            return GatewayOutput::Refused(refusal);
        }
        if core::mem::take(&mut self.rose) {
            return GatewayOutput::Up;
        }
        while self.endpoint.incoming.has_message() {
            match self.judge(keys) {
                Verdict::Pass => {
                    self.lent = true;
                    return match self
                        .endpoint
                        .incoming
                        .front()
                        .map(|message| read_output(message))
                    {
                        Some(Some(Output::Broker(command))) => GatewayOutput::Broker(command),
                        Some(Some(Output::Rtc(handle, command))) => {
                            GatewayOutput::Rtc(handle, command)
                        }
                        // It was read before.
                        _ => GatewayOutput::Timeout(Some(now)),
                    };
                }
                Verdict::Drop => self.endpoint.taken(),
                Verdict::RefusedId => {
                    self.lent = true;
                    return match self
                        .endpoint
                        .incoming
                        .front()
                        .map(|message| read_output(message))
                    {
                        Some(Some(Output::Broker(BrokerCommand::Open { id, .. }))) => {
                            GatewayOutput::IdRefused(id)
                        }
                        _ => GatewayOutput::IdRefused(""),
                    };
                }
                Verdict::Wait => break,
                Verdict::Lie => {
                    self.go_down(DownReason::Violation);
                    if let Some(output) = self.next_of_end() {
                        return output;
                    }
                }
            }
        }
        GatewayOutput::Timeout(self.endpoint.next_timeout())
    }

    /// When to transmit, and to poll, at the latest. For a driver that does not poll for now.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.endpoint.next_timeout()
    }

    /// Tells the leaf's engine what happened. An [`Input::Timeout`] does nothing.
    ///
    /// # Errors
    /// [`LinkError::Full`]: hold the input, and what comes after it for the same session or socket, and feed it again
    /// when bytes have come. The others say that it was dropped.
    pub fn handle_input(&mut self, input: &Input<'_>) -> Result<(), LinkError> {
        self.release();
        if !self.is_up() {
            return Err(LinkError::Down);
        }
        match input {
            Input::Timeout => Ok(()),
            Input::Broker(input) => {
                let message = write_broker(input);
                send(&mut self.endpoint, &message)?;
                match input {
                    BrokerInput::IdRetrieved(id) => self.given = PeerId::from_wire(id.trim()).ok(),
                    BrokerInput::Closed => self.socket = false,
                    _ => {}
                }
                Ok(())
            }
            // No driver of a gateway counts credit.
            Input::Rtc(_, RtcInput::ChannelCredit(_)) => Ok(()),
            Input::Rtc(handle, input) => {
                let taken = Session::find(self.sessions, *handle)
                    .ok_or(LinkError::Stale)?
                    .bytes;
                let sent = send(&mut self.endpoint, &write_rtc(*handle, input, taken));
                if sent == Err(LinkError::TooLong) {
                    let instead = match input {
                        RtcInput::Fragment(_) => RtcInput::MessageTooBig,
                        // It can never be connected without.
                        RtcInput::LocalDescription(_) => RtcInput::Failed(RtcFailure::Resources),
                        _ => return sent,
                    };
                    send(&mut self.endpoint, &write_rtc(*handle, &instead, taken))?;
                }
                sent
            }
        }
    }

    /// What is left of a session that is over.
    fn next_of_end(&mut self) -> Option<GatewayOutput<'static>> {
        let reason = self.down?;
        if let Some(session) = self.sessions.iter_mut().find(|session| session.used) {
            session.used = false;
            return Some(GatewayOutput::Rtc(session.handle(), RtcCommand::Close));
        }
        if core::mem::take(&mut self.socket) {
            return Some(GatewayOutput::Broker(BrokerCommand::Close));
        }
        self.down = None;
        Some(GatewayOutput::Down(reason))
    }

    /// Whether the oldest message may be handed out. Does what has to be done in its place, or for it.
    fn judge(&mut self, keys: &dyn LeafKeys) -> Verdict {
        let Some(message) = self.endpoint.incoming.front() else {
            return Verdict::Wait;
        };
        let Some(output) = read_output(message) else {
            return Verdict::Lie;
        };
        // What is refused is answered at once, which needs room.
        let answer = match output {
            Output::Broker(BrokerCommand::Open { id, .. }) => {
                let given = self.given.as_ref().is_some_and(|given| given == id);
                if given || keys.allows_id(&self.leaf, id) {
                    self.socket = true;
                    return Verdict::Pass;
                }
                let outgoing = &self.endpoint.outgoing;
                if !outgoing.has_room(NOT_ALLOWED.len() + 2 * OUTPUT_OVERHEAD) {
                    return Verdict::Wait;
                }
                let mut text = [0; NOT_ALLOWED.len()];
                bytes::copy(&mut text, NOT_ALLOWED);
                for input in [BrokerInput::Opened, BrokerInput::Message(&mut text)] {
                    let _ = self.endpoint.send(&write_broker(&input));
                }
                self.endpoint.stats.refused = self.endpoint.stats.refused.wrapping_add(1);
                return Verdict::RefusedId;
            }
            Output::Broker(BrokerCommand::RetrieveId) if !keys.allows_random_id(&self.leaf) => {
                self.endpoint.stats.refused = self.endpoint.stats.refused.wrapping_add(1);
                write_broker(&BrokerInput::Failed)
            }
            Output::Broker(BrokerCommand::Close) => {
                return match core::mem::take(&mut self.socket) {
                    true => Verdict::Pass,
                    false => Verdict::Drop,
                };
            }
            Output::Broker(BrokerCommand::Send(_)) if !self.socket => return Verdict::Drop,
            Output::Broker(_) => return Verdict::Pass,
            Output::Rtc(
                handle,
                RtcCommand::CreateOffer { .. } | RtcCommand::AcceptOffer { .. },
            ) => {
                if Session::claim(self.sessions, handle) {
                    return Verdict::Pass;
                }
                write_rtc(handle, &RtcInput::Failed(RtcFailure::Resources), 0)
            }
            Output::Rtc(handle, command) => {
                let Some(session) = Session::find(self.sessions, handle) else {
                    return Verdict::Drop;
                };
                match command {
                    RtcCommand::Send(frame) => session.count(frame.bytes.len()),
                    RtcCommand::Close => session.used = false,
                    _ => {}
                }
                return Verdict::Pass;
            }
            Output::Event(_) | Output::Timeout(_) => return Verdict::Lie,
        };
        if self.endpoint.outgoing.has_room(answer.len()) {
            let _ = self.endpoint.send(&answer);
            Verdict::Drop
        } else {
            Verdict::Wait
        }
    }

    fn heard(&mut self, now: Instant, heard: Heard, keys: &dyn LeafKeys) {
        match heard {
            Heard::Hello(greeting, leaf) => self.greeted(&greeting, leaf, keys),
            Heard::Proof(proof) => self.proved(now, &proof),
            Heard::Stray => self.reset(now),
            Heard::Fault(reason) if self.is_up() => self.go_down(reason),
            Heard::Reset(reason) if self.is_up() => self.lose(reason),
            Heard::Refuse(refusal) if self.pending.take().is_some() => {
                self.refused = Some(refusal);
            }
            _ => {}
        }
    }

    fn greeted(&mut self, greeting: &Greeting, leaf: Name, keys: &dyn LeafKeys) {
        let key = if greeting.version != VERSION {
            Err(Refusal::Version(greeting.version))
        } else if !is_usable(greeting) {
            Err(Refusal::Limits)
        } else {
            keys.key(&leaf).ok_or(Refusal::Name)
        };
        let key = match key {
            Ok(key) => key,
            Err(refusal) => {
                let told = match refusal {
                    Refusal::Version(_) => Refusal::Version(VERSION),
                    other => other,
                };
                self.endpoint.control(&Frame::Refuse(told));
                self.refused = Some(refusal);
                return;
            }
        };
        // A hello that is said again gets the same challenge: the leaf may have answered the first one already.
        let known = self
            .pending
            .as_ref()
            .filter(|pending| pending.leaf == leaf && pending.greeting == *greeting)
            .map(|pending| pending.nonce);
        let nonce = known.unwrap_or_else(|| self.nonces.draw());
        let challenge = self.endpoint.greeting(nonce);
        let hello = greeting.hello(&leaf);
        let transcript = Transcript {
            hello: &hello,
            challenge: &challenge,
        };
        let ours = transcript.prove(key, Prover::Gateway);
        self.endpoint.control(&Frame::Challenge(challenge, ours));
        self.pending = Some(Pending {
            leaf,
            greeting: *greeting,
            nonce,
            proof: transcript.prove(key, Prover::Leaf),
            given: false,
        });
    }

    fn proved(&mut self, now: Instant, proof: &[u8; PROOF_LEN]) {
        let right = |expected: &[u8; PROOF_LEN]| equal(expected, proof);
        if self.is_up() && right(&self.proof) {
            // The welcome was lost.
            self.endpoint.control(&Frame::Welcome);
        } else if let Some(pending) = self.pending.as_mut().filter(|it| right(&it.proof)) {
            pending.given = true;
            if self.is_up() {
                // The leaf started again.
                self.lose(DownReason::Restarted);
            }
            self.begin(now);
        } else if self.pending.take().is_some() {
            self.endpoint.control(&Frame::Refuse(Refusal::Key));
            self.refused = Some(Refusal::Key);
        } else {
            self.reset(now);
        }
    }

    /// Begins a session that was proved, once nothing is left of the one before.
    fn begin(&mut self, now: Instant) {
        if self.down.is_some() {
            return;
        }
        let Some(pending) = self.pending.take_if(|pending| pending.given) else {
            return;
        };
        self.endpoint.begin(now, &pending.greeting);
        self.endpoint.control(&Frame::Welcome);
        self.leaf = pending.leaf;
        self.proof = pending.proof;
        self.given = None;
        self.rose = true;
    }

    /// Says that there is no session, not too often.
    fn reset(&mut self, now: Instant) {
        if !self.is_up() && self.quiet_until <= now {
            self.quiet_until = now + self.endpoint.timing.handshake_retry;
            self.endpoint.control(&Frame::Reset(DownReason::Restarted));
        }
    }

    fn go_down(&mut self, reason: DownReason) {
        self.endpoint.control(&Frame::Reset(reason));
        self.lose(reason);
    }

    /// The session is over; what the leaf said last and nobody took is void, since its engine thinks so too.
    fn lose(&mut self, reason: DownReason) {
        self.lent = false;
        self.down = Some(reason);
        self.rose = false;
        self.endpoint.drop_session();
    }

    /// Drops the message that was handed out.
    fn release(&mut self) {
        if core::mem::take(&mut self.lent) {
            self.endpoint.taken();
        }
    }
}

/// What becomes of a message of the leaf.
enum Verdict {
    Pass,
    Drop,
    RefusedId,
    /// There is no room for the answer now.
    Wait,
    /// No leaf says this.
    Lie,
}

fn send(endpoint: &mut Endpoint<'_>, message: &Outbound<'_>) -> Result<(), LinkError> {
    if !endpoint.outgoing.can_pass(message.len()) {
        endpoint.stats.too_long = endpoint.stats.too_long.wrapping_add(1);
        return Err(LinkError::TooLong);
    }
    endpoint.send(message).ok_or(LinkError::Full)
}

/// Takes the same time whichever byte differs.
fn equal(a: &[u8; PROOF_LEN], b: &[u8; PROOF_LEN]) -> bool {
    let differing = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    core::hint::black_box(differing) == 0
}
