//! The end next to the WebRTC stack.

mod handshake;

use core::fmt;

use crate::{
    PeerId,
    peer::{BrokerCommand, BrokerInput, ConnectionHandle, Input, RtcCommand, RtcFailure, RtcInput},
    random::Secret,
    serialization::{Fragment, MessageKind},
    time::Instant,
};

use super::{
    KEY_LEN, Key, LinkError, LinkSlices, LinkStats, NONCE_LEN, OUTPUT_OVERHEAD, PROOF_LEN,
    SessionSlot, Timing, Version,
    auth::Nonces,
    data_queue::DataQueue,
    endpoint::{Endpoint, Name, Role, Taken},
    frame::{DataFrame, Frame, Greeting},
    leaf::{flags_of, fragment_of},
    message::{FromGateway, Said, from_broker, from_rtc, read_leaf},
    outgoing::Unsent,
    session_slot::SessionState,
};

/// What a leaf's engine is told in place of a broker when it wants an id that is not its own.
const NOT_ALLOWED: &[u8] =
    br#"{"type":"ERROR","payload":{"msg":"the gateway does not let this leaf use that id"}}"#;

/// Who may come, and what they may do.
pub trait LeafKeys {
    /// The key of the leaf with this name; `None`: there is no such leaf.
    fn key(&self, leaf: &str) -> Option<&Key>;

    /// Whether the leaf may open its broker under this id. Not asked for an id that the broker gave
    /// it in this session; one from an earlier session is up to the driver.
    fn allows_id(&self, leaf: &str, id: &str) -> bool;

    /// Whether the leaf may ask the broker for an id.
    fn allows_random_id(&self, leaf: &str) -> bool {
        let _ = leaf;
        true
    }
}

/// The gateway's end of one link: a byte stream at one side, commands for a broker's socket and for
/// WebRTC sessions at the other. It speaks to leaves of version 1 and 2; its driver sees no
/// difference.
///
/// Do in each turn of the loop, in this order:
///
/// 1. [`receive`](Self::receive) what the stream has.
/// 2. [`poll_output`](Self::poll_output) until it says [`GatewayOutput::Timeout`]; do what each
///    says.
/// 3. [`transmit`](Self::transmit) until it gives nothing.
/// 4. Wait for bytes, the socket, a session or the time of the timeout; feed what came to
///    [`handle_input`](Self::handle_input).
///
/// # Data
/// Data of the leaf comes as [`RtcCommand::Send`], in fragments of channel messages; from a leaf of
/// version 1 each is whole. The driver may say how much a session takes with
/// [`RtcInput::ChannelCredit`], in bytes of which the head of each message costs
/// [`DATA_MESSAGE_COST`](super::DATA_MESSAGE_COST); no more comes then. A session of which it never
/// says so is granted what the link's own memory takes. A leaf of version 1 has one credit for all:
/// a session that has none left holds up what comes after.
///
/// Data for the leaf is fed as [`RtcInput::Fragment`]; begin each message with a whole one.
/// [`LinkInputError::NoRoom`] says how much of it was taken: hold the rest, the data behind it and
/// the end of the session, and nothing else.
///
/// # The end
/// The driver gets a `Close` for each WebRTC session that begun, whoever ends it: the leaf, the
/// driver's [`RtcInput::ChannelClosed`] or [`RtcInput::Failed`] once the leaf has all data before
/// it, or the end of the link session, which closes the broker's socket, too. Whatever a leaf does,
/// nothing of it is left.
#[derive(Debug)]
pub struct Gateway<'m> {
    pub(super) endpoint: Endpoint<'m>,
    sessions: &'m mut [SessionSlot],
    data: DataQueue,
    nonces: Nonces,
    /// A handshake that lacks the leaf's proof, or has it and waits for the end of the link session
    /// before.
    pending: Option<Pending>,
    /// The proof that began the link session, and whose it was.
    leaf: Name,
    proof: [u8; PROOF_LEN],
    phase: Phase,
    /// The broker's socket may be open.
    socket: bool,
    /// The id the broker gave this leaf.
    given: Option<PeerId>,
    /// To be told to the driver.
    refused: Option<LinkError>,
    lent: Lent,
    /// A reset is not said again before.
    quiet_until: Instant,
}

/// What the driver knows of a link session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is none.
    Down,
    /// One has begun; the driver has not heard of it.
    Rising,
    Up,
    /// It is over; what is left of it goes first, then the driver hears of it.
    Ending(LinkError),
}

/// What the driver was handed out, and what goes at the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lent {
    Nothing,
    /// The oldest message.
    Message,
    /// The oldest data frame.
    Data,
}

#[derive(Debug)]
struct Pending {
    leaf: Name,
    version: Version,
    greeting: Greeting,
    /// Of the challenge.
    nonce: [u8; NONCE_LEN],
    /// The only right one.
    proof: [u8; PROOF_LEN],
    /// It was given; the link session begins once nothing is left of the one before.
    given: bool,
}

/// The gateway's end did not take an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LinkInputError {
    /// There is no room now; try again when the leaf has taken something.
    Full,
    /// So many bytes of the fragment were taken; the leaf has no credit or the link no room for the
    /// rest now. Feed the rest when the leaf has taken something, as a first fragment only if
    /// nothing was taken.
    NoRoom {
        /// Bytes that were taken.
        taken: usize,
    },
    /// The message fits neither now nor later: it is longer than the leaf's window or this end's
    /// memory.
    TooLong,
    /// There is no link session.
    Down,
    /// The leaf has no such WebRTC session, or no longer.
    Stale,
}

impl fmt::Display for LinkInputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the link has no room for the message now; try again later",
            Self::NoRoom { .. } => {
                "the leaf takes no more of this session's data now; try again later"
            }
            Self::TooLong => "the message is longer than the link can carry",
            Self::Down => "the other end of the link is not there",
            Self::Stale => "the leaf has closed that WebRTC session",
        })
    }
}

impl core::error::Error for LinkInputError {}

/// What a poll of a [`Gateway`] leads to.
#[derive(Debug)]
pub enum GatewayOutput<'a> {
    /// A leaf has proved its key; [`Gateway::leaf`] names it.
    Up,
    /// The session is over. The closes have come before.
    Down(LinkError),
    /// A leaf was turned away.
    Refused(LinkError),
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
        super::check("gateway", &memory, Role::Gateway)?;
        let (endpoint, sessions) = Endpoint::new(Role::Gateway, timing, memory);
        Ok(Self {
            endpoint,
            sessions,
            data: DataQueue::default(),
            nonces: Nonces::new(Secret::new(random)),
            pending: None,
            leaf: Name::new(),
            proof: [0; PROOF_LEN],
            phase: Phase::Down,
            socket: false,
            given: None,
            refused: None,
            lent: Lent::Nothing,
            quiet_until: Instant::ZERO,
        })
    }

    /// The leaf that has proved its key; of a link session that is over until the next one begins.
    pub fn leaf(&self) -> Option<&str> {
        Some(self.leaf.as_str()).filter(|name| !name.is_empty())
    }

    /// Whether there is a link session.
    pub fn is_up(&self) -> bool {
        self.endpoint.is_up()
    }

    /// The version of the link session.
    pub fn version(&self) -> Option<u8> {
        self.endpoint.version().map(Version::to_wire)
    }

    /// Counters.
    pub fn stats(&self) -> LinkStats {
        self.endpoint.stats
    }

    /// WebRTC sessions that the leaf has.
    pub fn sessions(&self) -> usize {
        self.sessions.iter().filter(|slot| slot.is_used()).count()
    }

    /// Takes bytes of the stream, cut anywhere. Then poll.
    pub fn receive(&mut self, now: Instant, mut bytes: &[u8], keys: &dyn LeafKeys) {
        self.release();
        loop {
            let (sessions, data) = (&mut *self.sessions, &mut self.data);
            let take =
                |frame: &DataFrame<'_>, memory: &mut [u8]| take_data(sessions, data, frame, memory);
            match self.endpoint.receive(now, &mut bytes, take) {
                Some(heard) => self.heard(now, heard, keys),
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

    /// Ends the link session: the stream is gone, the key was taken back, or the gateway stops. The
    /// leaf is told, if it still listens. Then poll.
    pub fn close(&mut self) {
        self.release();
        self.pending = None;
        if self.is_up() {
            self.go_down(LinkError::Closed);
        }
    }

    /// The next thing to do. Poll until [`GatewayOutput::Timeout`] after every other call.
    #[must_use]
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
        if self.phase == Phase::Rising {
            self.phase = Phase::Up;
            return GatewayOutput::Up;
        }
        if let Some(handle) = self.end_sessions() {
            return GatewayOutput::Rtc(handle, RtcCommand::Close);
        }
        while self.endpoint.inbox.has_message() {
            match self.judge(keys) {
                Verdict::Pass => return self.lend_message(now),
                Verdict::RefusedId => return self.lend_id(),
                Verdict::Drop => self.endpoint.taken(),
                Verdict::Wait => break,
                Verdict::Lie => {
                    self.go_down(LinkError::Violation);
                    if let Some(output) = self.next_of_end() {
                        return output;
                    }
                }
            }
        }
        if let Some(session) = self.next_data() {
            return self.lend_data(now, session);
        }
        self.grant();
        GatewayOutput::Timeout(self.endpoint.next_timeout())
    }

    /// When to transmit, and to poll, at the latest. For a driver that does not poll for now.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.endpoint.next_timeout()
    }

    /// Tells the leaf's engine what happened. An [`Input::Timeout`] does nothing.
    ///
    /// # Errors
    /// - [`LinkInputError::Full`]: hold the input, and what comes after it for the same session or
    ///   socket, and feed it again when bytes have come.
    /// - [`LinkInputError::NoRoom`]: the same for the rest of a fragment; what is no data does not
    ///   wait for it.
    ///
    /// The others say that it was dropped.
    pub fn handle_input(&mut self, input: &Input<'_>) -> Result<(), LinkInputError> {
        self.release();
        let version = self.endpoint.version().ok_or(LinkInputError::Down)?;
        match input {
            Input::Timeout => Ok(()),
            Input::Broker(input) => {
                self.send(&from_broker(input))?;
                match input {
                    BrokerInput::IdRetrieved(id) => self.given = PeerId::from_wire(id.trim()).ok(),
                    BrokerInput::Closed => self.socket = false,
                    _ => {}
                }
                Ok(())
            }
            Input::Rtc(handle, input) => self.session_input(version, handle.to_bits(), input),
        }
    }

    fn session_input(
        &mut self,
        version: Version,
        number: u32,
        input: &RtcInput<'_>,
    ) -> Result<(), LinkInputError> {
        let slot = SessionSlot::find(self.sessions, number);
        let slot = slot.filter(|slot| slot.state != SessionState::Ending);
        let slot = slot.ok_or(LinkInputError::Stale)?;
        let taken = slot.bytes;
        match (input, version) {
            (RtcInput::Fragment(fragment), Version::One) => self.send_whole(number, fragment),
            (RtcInput::Fragment(fragment), Version::Two) => self.send_fragment(number, fragment),
            (RtcInput::ChannelCredit(_), _) if !slot.is_open() => Err(LinkInputError::Stale),
            (RtcInput::ChannelCredit(bytes), _) => {
                let mut credit = slot.incoming;
                let limit = credit.grant(*bytes);
                if version == Version::Two {
                    self.send(&FromGateway::Credit(number, limit))?;
                }
                if let Some(slot) = SessionSlot::find(self.sessions, number) {
                    slot.incoming = credit;
                    slot.state = SessionState::Granted;
                }
                Ok(())
            }
            (RtcInput::ChannelClosed | RtcInput::Failed(_), Version::Two) => {
                slot.end(input);
                Ok(())
            }
            _ => {
                let message = from_rtc(number, input, taken).ok_or(LinkInputError::Stale)?;
                let sent = self.send(&message);
                match input {
                    RtcInput::ChannelOpened if sent.is_ok() => {
                        let slot = SessionSlot::find(self.sessions, number);
                        if let Some(slot) = slot.filter(|slot| !slot.is_open()) {
                            slot.state = SessionState::Open;
                        }
                    }
                    // It can never be connected without.
                    RtcInput::LocalDescription(_) if sent == Err(LinkInputError::TooLong) => {
                        let failed = RtcInput::Failed(RtcFailure::Resources);
                        self.session_input(version, number, &failed)?;
                    }
                    _ => {}
                }
                sent
            }
        }
    }

    /// Data for a leaf of version 1.
    fn send_whole(&mut self, number: u32, fragment: &Fragment<'_>) -> Result<(), LinkInputError> {
        let message = match (fragment.is_whole(), fragment.kind) {
            (true, MessageKind::Binary) => FromGateway::Binary(number, fragment.bytes),
            (true, MessageKind::Text) if let Ok(text) = core::str::from_utf8(fragment.bytes) => {
                FromGateway::Text(number, text)
            }
            // No such message can be written.
            _ => return Err(LinkInputError::TooLong),
        };
        let hold = |error| match error {
            LinkInputError::Full => LinkInputError::NoRoom { taken: 0 },
            error => error,
        };
        let sent = self.send(&message).map_err(hold);
        if sent == Err(LinkInputError::TooLong) {
            let instead = FromGateway::MessageTooBig(number);
            self.send(&instead).map_err(hold)?;
        }
        sent
    }

    /// Data for a leaf of version 2, in as many frames as there is room and credit for.
    fn send_fragment(
        &mut self,
        number: u32,
        fragment: &Fragment<'_>,
    ) -> Result<(), LinkInputError> {
        let place = SessionSlot::place(self.sessions, number).ok_or(LinkInputError::Stale)?;
        let slot = SessionSlot::find(self.sessions, number).ok_or(LinkInputError::Stale)?;
        let memory = self.endpoint.transmit.data();
        let out = &mut self.endpoint.data.out;
        let mut taken = 0;
        loop {
            let rest = fragment.bytes.get(taken..).unwrap_or_default();
            let credit = usize::try_from(slot.out.bytes_left()).unwrap_or(usize::MAX);
            let len = rest.len().min(credit).min(out.data_room(memory));
            let now = rest.get(..len).unwrap_or_default();
            let is_all = len == rest.len();
            let flags = flags_of(&Fragment {
                first: fragment.first && taken == 0,
                last: fragment.last && is_all,
                kind: fragment.kind,
                bytes: now,
            });
            if len == 0 && !is_all {
                return Err(LinkInputError::NoRoom { taken });
            }
            let mut credit = slot.out;
            credit
                .spend(flags, len)
                .and_then(|()| out.push_data(memory, place, number, flags, now))
                .ok_or(LinkInputError::NoRoom { taken })?;
            slot.out = credit;
            taken += len;
            if is_all {
                return Ok(());
            }
        }
    }

    fn send(&mut self, message: &FromGateway<'_>) -> Result<(), LinkInputError> {
        self.endpoint.send(message).map_err(|unsent| match unsent {
            Unsent::Full => LinkInputError::Full,
            Unsent::TooLong => LinkInputError::TooLong,
        })
    }

    /// What is left of a link session that is over.
    fn next_of_end(&mut self) -> Option<GatewayOutput<'static>> {
        let Phase::Ending(reason) = self.phase else {
            return None;
        };
        if let Some(slot) = self.sessions.iter_mut().find(|slot| slot.is_used()) {
            let handle = slot.handle();
            *slot = SessionSlot::FREE;
            return Some(GatewayOutput::Rtc(handle, RtcCommand::Close));
        }
        if core::mem::take(&mut self.socket) {
            return Some(GatewayOutput::Broker(BrokerCommand::Close));
        }
        self.phase = Phase::Down;
        Some(GatewayOutput::Down(reason))
    }

    /// Tells the leaf of a session that has ended, once it has all data of it. Version 2.
    fn end_sessions(&mut self) -> Option<ConnectionHandle> {
        for place in 0..self.sessions.len() {
            let slot = self.sessions.get(place)?;
            let waits = u8::try_from(place).is_ok_and(|place| {
                let memory = self.endpoint.transmit.data();
                self.endpoint.data.out.holds(memory, place)
            });
            if slot.state != SessionState::Ending || waits {
                continue;
            }
            let (handle, message) = (slot.handle(), slot.end_message());
            self.endpoint.send(&message).ok()?;
            *self.sessions.get_mut(place)? = SessionSlot::FREE;
            return Some(handle);
        }
        None
    }

    /// Whether the oldest message may be handed out. Does what has to be done in its place, or for
    /// it.
    fn judge(&mut self, keys: &dyn LeafKeys) -> Verdict {
        let Some(version) = self.endpoint.version() else {
            return Verdict::Wait;
        };
        let Some(message) = self.endpoint.inbox.front(self.endpoint.receive.control()) else {
            return Verdict::Wait;
        };
        match read_leaf(message, version) {
            None => Verdict::Lie,
            Some(Said::Credit(session, limit)) => {
                if let Some(slot) = SessionSlot::find(self.sessions, session) {
                    slot.out.set_limit(limit);
                }
                Verdict::Drop
            }
            Some(Said::Broker(BrokerCommand::Open { id, .. })) => {
                let given = self.given.as_ref().is_some_and(|given| given == id);
                if given || keys.allows_id(&self.leaf, id) {
                    self.socket = true;
                    return Verdict::Pass;
                }
                // What is refused is answered at once, which needs room.
                if self.endpoint.room() < NOT_ALLOWED.len() + 2 * OUTPUT_OVERHEAD {
                    return Verdict::Wait;
                }
                for answer in [FromGateway::Opened, FromGateway::Message(NOT_ALLOWED)] {
                    let sent = self.endpoint.send(&answer);
                    debug_assert!(sent.is_ok(), "there is room for both");
                }
                self.count_refused();
                Verdict::RefusedId
            }
            Some(Said::Broker(BrokerCommand::RetrieveId)) if !keys.allows_random_id(&self.leaf) => {
                let verdict = self.answer(&FromGateway::Failed);
                if verdict == Verdict::Drop {
                    self.count_refused();
                }
                verdict
            }
            Some(Said::Broker(BrokerCommand::Close)) => match core::mem::take(&mut self.socket) {
                true => Verdict::Pass,
                false => Verdict::Drop,
            },
            Some(Said::Broker(BrokerCommand::Send(_))) if !self.socket => Verdict::Drop,
            Some(Said::Broker(_)) => Verdict::Pass,
            Some(Said::Rtc(
                handle,
                RtcCommand::CreateOffer { .. } | RtcCommand::AcceptOffer { .. },
            )) => {
                if SessionSlot::claim(self.sessions, handle.to_bits()) {
                    return Verdict::Pass;
                }
                let failed = RtcInput::Failed(RtcFailure::Resources);
                match from_rtc(handle.to_bits(), &failed, 0) {
                    Some(answer) => self.answer(&answer),
                    None => Verdict::Drop,
                }
            }
            Some(Said::Rtc(handle, command)) => {
                let Some(slot) = SessionSlot::find(self.sessions, handle.to_bits()) else {
                    return Verdict::Drop;
                };
                match command {
                    // Data of version 1, whose head costs nothing that the driver counts.
                    RtcCommand::Send(_)
                        if slot.state == SessionState::Granted && slot.incoming.left() == 0 =>
                    {
                        return Verdict::Wait;
                    }
                    RtcCommand::Send(fragment) => {
                        slot.incoming.spend_whole(fragment.bytes.len());
                        slot.count(fragment.bytes.len());
                    }
                    RtcCommand::Close => *slot = SessionSlot::FREE,
                    _ => {}
                }
                Verdict::Pass
            }
        }
    }

    /// Answers in place of the driver.
    fn answer(&mut self, answer: &FromGateway<'_>) -> Verdict {
        match self.endpoint.send(answer) {
            Ok(()) => Verdict::Drop,
            Err(_) => Verdict::Wait,
        }
    }

    fn count_refused(&mut self) {
        let stats = &mut self.endpoint.stats;
        stats.refused = stats.refused.wrapping_add(1);
    }

    /// Hands out the oldest message, which was judged.
    fn lend_message(&mut self, now: Instant) -> GatewayOutput<'_> {
        self.lent = Lent::Message;
        let version = self.endpoint.version().unwrap_or(Version::Two);
        let message = self.endpoint.inbox.front(self.endpoint.receive.control());
        match message.and_then(|message| read_leaf(message, version)) {
            Some(Said::Broker(command)) => GatewayOutput::Broker(command),
            Some(Said::Rtc(handle, command)) => GatewayOutput::Rtc(handle, command),
            Some(Said::Credit(..)) | None => {
                debug_assert!(false, "it was read before");
                GatewayOutput::Timeout(Some(now))
            }
        }
    }

    /// Hands out the id in the oldest message, which was refused.
    fn lend_id(&mut self) -> GatewayOutput<'_> {
        self.lent = Lent::Message;
        let version = self.endpoint.version().unwrap_or(Version::Two);
        let message = self.endpoint.inbox.front(self.endpoint.receive.control());
        match message.and_then(|message| read_leaf(message, version)) {
            Some(Said::Broker(BrokerCommand::Open { id, .. })) => GatewayOutput::IdRefused(id),
            _ => {
                debug_assert!(false, "it was read before");
                GatewayOutput::IdRefused("")
            }
        }
    }

    /// The session of the oldest data frame that somebody wants.
    fn next_data(&mut self) -> Option<u32> {
        while !self.data.is_empty() {
            let memory = self.endpoint.receive.data();
            let session = self.data.front(memory)?.session;
            let slot = SessionSlot::find(self.sessions, session);
            if slot.is_some_and(|slot| slot.is_open()) {
                return Some(session);
            }
            self.data.pop(memory);
        }
        None
    }

    /// Hands out the oldest data frame.
    fn lend_data(&mut self, now: Instant, session: u32) -> GatewayOutput<'_> {
        self.lent = Lent::Data;
        let memory = self.endpoint.receive.data();
        let slot = SessionSlot::find(self.sessions, session);
        let (Some(frame), Some(slot)) = (self.data.front(memory), slot) else {
            debug_assert!(false, "it was looked at before");
            return GatewayOutput::Timeout(Some(now));
        };
        slot.count(frame.payload.len());
        GatewayOutput::Rtc(slot.handle(), RtcCommand::Send(fragment_of(&frame)))
    }

    /// Grants the sessions, of which the driver says nothing, an equal share of the memory for
    /// data, all of which is free.
    fn grant(&mut self) {
        if self.endpoint.version() != Some(Version::Two) {
            return;
        }
        self.endpoint.has_data_room();
        let share = self.endpoint.receive.data().len() / self.sessions.len().max(1);
        let share = u32::try_from(share).unwrap_or(u32::MAX >> 1);
        let mut open = self.sessions.iter_mut();
        while let Some(slot) = open.find(|slot| slot.state == SessionState::Open) {
            if !slot.incoming.is_news(share, share) {
                continue;
            }
            let mut credit = slot.incoming;
            let limit = credit.grant(share);
            if self
                .endpoint
                .send(&FromGateway::Credit(slot.number, limit))
                .is_ok()
            {
                slot.incoming = credit;
            }
        }
    }

    fn go_down(&mut self, reason: LinkError) {
        self.endpoint.serve(&Frame::Reset(reason));
        self.lose(reason);
    }

    /// The link session is over; what the leaf said last and nobody took is void, since its engine
    /// thinks so too.
    fn lose(&mut self, reason: LinkError) {
        self.lent = Lent::Nothing;
        self.data = DataQueue::default();
        self.phase = Phase::Ending(reason);
        self.endpoint.drop_session();
    }

    /// Drops what was handed out.
    fn release(&mut self) {
        match core::mem::replace(&mut self.lent, Lent::Nothing) {
            Lent::Nothing => {}
            Lent::Message => self.endpoint.taken(),
            Lent::Data => self.data.pop(self.endpoint.receive.data()),
        }
    }
}

/// What becomes of a message of the leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Drop,
    RefusedId,
    /// There is no room for the answer, or no credit, now.
    Wait,
    /// No leaf says this.
    Lie,
}

/// Keeps a data frame for the driver.
fn take_data(
    sessions: &mut [SessionSlot],
    queue: &mut DataQueue,
    frame: &DataFrame<'_>,
    memory: &mut [u8],
) -> Taken {
    let slot = SessionSlot::find(sessions, frame.session);
    let Some(slot) = slot.filter(|slot| slot.state != SessionState::Ending) else {
        // It crossed a close.
        return Taken::Yes;
    };
    let mut credit = slot.incoming;
    if credit.spend(frame.flags, frame.payload.len()).is_none() {
        return Taken::Violation;
    }
    if queue.push(memory, frame).is_none() {
        return Taken::NoRoom;
    }
    slot.incoming = credit;
    Taken::Yes
}
