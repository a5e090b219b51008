//! One stream and the leaf behind it, as a state machine: what the stream, the broker's socket and
//! the sessions bring goes in, what is to be done with them comes out. Whatever the leaf does, it
//! does to itself.
//!
//! A [`LeafStream`] performs no I/O and reads no clock. Its [driver](super::driver) does this in
//! each turn:
//!
//! 1. [`poll`](LeafStream::poll) until there is nothing more to do, and do what each action says.
//! 2. Offer [`output`](LeafStream::output) to the stream; say what it took with
//!    [`written`](LeafStream::written).
//! 3. Wait for bytes, for the broker and for the sessions, as far as they are taken, or until
//!    [`timeout`](LeafStream::timeout); feed what came.

mod commands;
mod life;
mod output;
mod slots;
mod telling;
#[cfg(test)]
mod tests;

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use peer_core::link::{Gateway as LinkEnd, GatewayOutput, KEY_LEN, LinkError, LinkSlices, Timing};
use peer_core::peer::{ConnectionHandle, RtcCommand, RtcFailure};
use peer_core::time::Instant;

use super::options::{Permissions, Settings};
use super::rates::Rates;
use super::registry::{self, Registry};
use super::remotes::Remotes;
use crate::rtc::{Message, SendError};
use crate::signalling::BrokerEvent;
use output::Output;
pub(super) use output::PIECE;
pub(super) use slots::{SessionInput, Takes};
use slots::{Slots, Stage};

/// Bytes that a stream may bring before a leaf has proved its key, where anybody may open one. A
/// handshake is some hundred; the rest is for what was under way when the gateway or a serial
/// device server was started anew.
const UNPROVEN_BYTES: u64 = 256 << 10;
/// How long the last frames may take when the stream is ended by this side.
const FAREWELL: Duration = Duration::from_millis(300);

/// What a stream is.
pub(super) struct Line {
    /// For people: `tcp 192.0.2.7:4711`.
    pub(super) name: String,
    /// Who opened it, where anybody may.
    pub(super) from: Option<IpAddr>,
    pub(super) timing: Timing,
    /// The longest frame taken.
    pub(super) frame: usize,
    /// Whether anybody may open such a stream. Then its leaf has to prove its key soon.
    pub(super) is_open_to_all: bool,
}

/// Why a stream is no longer served.
#[derive(Debug)]
pub(super) enum End {
    /// It ended or failed by itself.
    Stream(String),
    /// No leaf proved its key in time.
    Unproven,
    /// Another stream took its place.
    Replaced,
    /// There are as many leaves as there may be, or it came too often.
    Unwelcome,
    /// It took no byte for so long.
    Stuck(Duration),
    /// The gateway ends, or the line is no longer configured.
    Stop,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(why) => write!(f, "its line is gone: {why}"),
            Self::Unproven => f.write_str("no key was proved on its line"),
            Self::Replaced => f.write_str("another stream took its place"),
            Self::Unwelcome => f.write_str("it was one too many, or came too often"),
            Self::Stuck(stall) => write!(f, "it took no byte for {} s", stall.as_secs_f32()),
            Self::Stop => f.write_str("the gateway closed its line"),
        }
    }
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Action {
    /// Ask the broker for an id.
    RetrieveId,
    /// Open a socket to the broker; one of before is lost.
    OpenBroker {
        /// As whom.
        id: String,
        /// Proves to the broker that it is the same peer as before.
        token: String,
    },
    /// Send a signal over the broker's socket.
    SendSignal(String),
    /// Close the broker's socket; nothing more comes from it.
    CloseBroker,
    /// Begin a session.
    Begin(ConnectionHandle, Beginning),
    /// Tell a session its remote's answer.
    ApplyAnswer(ConnectionHandle, String),
    /// Tell a session a candidate of its remote.
    AddCandidate(ConnectionHandle, String),
    /// Hand a message to a session's channel, now or as soon as there is room. Another follows only
    /// once [`LeafStream::sent`] says what came of it.
    Send(ConnectionHandle, Message),
    /// Close a session, so that its remote notices, and forget it. It may be gone already.
    Close(ConnectionHandle),
    /// The last one: close what is left, and the stream.
    End(End),
}

/// How a session begins.
#[derive(Debug)]
pub(super) enum Beginning {
    Offer { label: String, ordered: bool },
    Answer { offer: String },
}

/// What the driver can take at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Whether the broker's socket takes a signal.
    pub(super) broker: bool,
    /// Sessions of which something is left, closed ones included.
    pub(super) sessions: usize,
}

pub(super) struct LeafStream<'m> {
    registry: &'m Registry,
    shown: Arc<registry::Link>,
    link: LinkEnd<'m>,
    settings: Arc<Settings>,
    /// Keys have changed since the session began, so a handshake of before may not count.
    changed: bool,
    leaf: Option<Leaf>,
    slots: Slots,
    remotes: Remotes,
    /// What of the broker the link had no room for. What it had none for of a session is held
    /// there.
    held: Option<BrokerEvent>,
    /// Refusals to be told, one a session and one besides. The leaf is asked for nothing new before
    /// they are.
    answers: VecDeque<Told>,
    /// To be done before anything new is looked for: of each session a message and its end, and
    /// what one command of the leaf asks.
    actions: VecDeque<Action>,
    output: Output,
    bytes_received: u64,
    is_open_to_all: bool,
    /// When the wait for a key began, and what has come since.
    unproven_since: Instant,
    unproven_bytes: u64,
    /// Frames that were none, as far as they were counted.
    garbage: u32,
    /// When bytes came last, and how long none may.
    heard: Instant,
    dead_after: Duration,
    /// Why the session is being ended by this side.
    cause: Option<String>,
    course: Course,
    was_welcome: bool,
    /// The time of the last poll, and whether the leaf had to wait then.
    polled: Instant,
    is_blocked: bool,
}

/// Where a stream stands.
#[derive(Debug)]
enum Course {
    Serving,
    /// The leaf is being told that it is over, until then.
    Parting(End, Instant),
    /// Everything of the leaf is being closed.
    Closing(End),
    Over,
}

/// The leaf that is there.
struct Leaf {
    name: String,
    rates: Arc<Mutex<Rates>>,
    id: Option<String>,
    /// The id that the broker gave it, in this session or one before.
    given: Option<String>,
    broker: &'static str,
    refused_commands: u64,
    senseless: u64,
    stalled: u64,
}

/// Something for the leaf.
#[derive(Debug)]
enum Told {
    Broker(BrokerEvent),
    Session(ConnectionHandle, SessionInput),
}

/// What came of asking the leaf.
enum Step {
    /// Something to do.
    Do(Action),
    /// Something was done.
    Done,
    /// It is refused what it wants, and has to be told.
    Refuse(Told),
    /// It wants nothing.
    Idle,
}

impl<'m> LeafStream<'m> {
    /// A stream that has just come. `random`: fresh random bytes, for nonces.
    pub(super) fn new(
        now: Instant,
        line: Line,
        random: [u8; KEY_LEN],
        memory: LinkSlices<'m>,
        registry: &'m Registry,
        settings: Arc<Settings>,
    ) -> Result<Self, LinkError> {
        let link = LinkEnd::new(line.timing, random, memory)?;
        let shown = registry::Link::new(line.name, line.from);
        if line.is_open_to_all {
            registry.unproven(&shown, settings.limits.unproven);
        }
        Ok(Self {
            registry,
            shown,
            link,
            settings,
            changed: false,
            leaf: None,
            slots: Slots::default(),
            remotes: Remotes::new(),
            held: None,
            answers: VecDeque::new(),
            actions: VecDeque::new(),
            output: Output::new(now),
            bytes_received: 0,
            is_open_to_all: line.is_open_to_all,
            unproven_since: now,
            unproven_bytes: 0,
            garbage: 0,
            heard: now,
            dead_after: line.timing.dead_after,
            cause: None,
            course: Course::Serving,
            was_welcome: false,
            polled: now,
            is_blocked: false,
        })
    }

    /// The stream as others see it.
    pub(super) fn shown(&self) -> &Arc<registry::Link> {
        &self.shown
    }

    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Whether a leaf has been there.
    pub(super) fn was_welcome(&self) -> bool {
        self.was_welcome
    }

    // What comes in. Poll after any of it.

    /// Whether bytes, events and settings are taken: not once the stream is being ended.
    pub(super) fn is_serving(&self) -> bool {
        matches!(self.course, Course::Serving)
    }

    /// Takes bytes of the stream, cut anywhere.
    pub(super) fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.heard = now;
        self.unproven_bytes += bytes.len() as u64;
        self.bytes_received += bytes.len() as u64;
        self.link.receive(now, bytes, &*self.settings);
    }

    /// What there is to write; empty: nothing.
    pub(super) fn output(&self) -> &[u8] {
        self.output.bytes()
    }

    /// The stream took so many bytes of the [`output`](Self::output).
    pub(super) fn written(&mut self, now: Instant, len: usize) {
        self.output.written(now, len);
    }

    /// Whether an event of the broker is taken.
    pub(super) fn takes_broker(&self) -> bool {
        self.is_serving() && self.held.is_none()
    }

    /// Takes an event of the broker.
    pub(super) fn broker(&mut self, event: BrokerEvent) {
        debug_assert!(self.held.is_none(), "nothing is taken behind what is held");
        self.held = Some(event);
    }

    /// What is taken of each session, in the order in which they began.
    pub(super) fn takes(&self) -> impl Iterator<Item = (ConnectionHandle, Takes)> + '_ {
        let serving = self.is_serving();
        self.slots.takes().filter(move |_| serving)
    }

    /// Takes what a session has.
    pub(super) fn session(&mut self, handle: ConnectionHandle, input: SessionInput) {
        if let Some(slot) = self.slots.get(handle) {
            slot.hold(input);
        }
    }

    /// What came of an [`Action::Send`]: what is not acknowledged now, in bytes, or why it failed.
    pub(super) fn sent(&mut self, handle: ConnectionHandle, result: Result<usize, SendError>) {
        let Some(slot) = self.slots.get(handle) else {
            return;
        };
        match result {
            Ok(buffered) => slot.sent(buffered),
            // Its end is on the way.
            Err(SendError::Closed) => slot.assembly.clear(),
            Err(error) => self.fail(handle, &error),
        }
    }

    /// Ends the stream, because of something outside of it.
    pub(super) fn stop(&mut self, now: Instant, end: End) {
        if !self.is_serving() {
            return;
        }
        // If there is nobody to be told, it ends at once.
        if !self.link.is_up() || matches!(end, End::Stream(_)) {
            return self.finish(now, end);
        }
        self.cause = Some(end.to_string());
        self.link.close();
        self.course = Course::Parting(end, now + FAREWELL);
    }

    /// Ends the stream because it takes no more, whatever it is at.
    pub(super) fn broken(&mut self, now: Instant, why: String) {
        match core::mem::replace(&mut self.course, Course::Over) {
            Course::Serving => self.finish(now, End::Stream(why)),
            Course::Parting(end, _) => self.finish(now, end),
            course => self.course = course,
        }
    }

    // What goes out.

    /// The next thing to do. `None`: nothing until something comes, or the
    /// [`timeout`](Self::timeout).
    pub(super) fn poll(&mut self, now: Instant, room: Room) -> Option<Action> {
        self.polled = now;
        let action = self.next(now, room);
        if action.is_none() {
            self.show();
        }
        action
    }

    /// When to poll again at the latest.
    pub(super) fn timeout(&self) -> Option<Instant> {
        let limits = &self.settings.limits;
        match self.course {
            Course::Serving => {}
            Course::Parting(_, until) => return Some(until),
            Course::Closing(_) | Course::Over => return None,
        }
        // What the link has to say when the stream has not taken everything, or to ask of the leaf
        // while it waits, is done as soon as that ends.
        let of_link = self.link.next_timeout().filter(|at| *at > self.polled);
        let silent = self.is_blocked.then(|| self.heard + self.dead_after);
        let stuck = self.output.stuck_at(limits.stall);
        let unproven = self.unproven_until();
        let stalled = self.slots.stalled_at(limits.stall);
        let all = [of_link, silent, stuck, unproven, stalled];
        all.into_iter().flatten().min()
    }

    fn next(&mut self, now: Instant, room: Room) -> Option<Action> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            match self.course {
                Course::Serving | Course::Parting(..) => {
                    self.send_waiting(now);
                    self.tell();
                    self.is_blocked = !self.answers.is_empty() || !room.broker;
                    if self.is_blocked && self.heard + self.dead_after <= now {
                        // The link looks for silence only when it is asked.
                        self.link.close();
                        self.answers.clear();
                        self.is_blocked = !room.broker;
                    }
                    if !self.actions.is_empty() {
                        continue;
                    }
                    if !self.is_blocked {
                        match self.step(now, room) {
                            Step::Do(action) => return Some(action),
                            Step::Done => continue,
                            Step::Refuse(told) => {
                                self.refuse(told);
                                continue;
                            }
                            Step::Idle => {}
                        }
                    }
                    self.output.fill(now, &mut self.link);
                    let end = self.due(now)?;
                    self.finish(now, end);
                }
                Course::Closing(_) => match self.step(now, room) {
                    Step::Do(action) => return Some(action),
                    Step::Done | Step::Refuse(_) => {}
                    Step::Idle => {
                        self.registry.no_longer_unproven(&self.shown);
                        if let Course::Closing(end) =
                            core::mem::replace(&mut self.course, Course::Over)
                        {
                            return Some(Action::End(end));
                        }
                    }
                },
                Course::Over => return None,
            }
        }
    }

    /// Why the stream has to end now.
    fn due(&mut self, now: Instant) -> Option<End> {
        match &self.course {
            Course::Parting(_, until) if *until <= now || self.output.bytes().is_empty() => {
                match core::mem::replace(&mut self.course, Course::Over) {
                    Course::Parting(end, _) => Some(end),
                    _ => None,
                }
            }
            Course::Serving => {
                let unproven = self.unproven_until();
                if unproven.is_some_and(|at| at <= now || self.unproven_bytes > UNPROVEN_BYTES) {
                    self.registry.closed_unproven();
                    return Some(End::Unproven);
                }
                let stall = self.settings.limits.stall;
                let stuck = self.output.stuck_at(stall);
                stuck.filter(|at| *at <= now).map(|_| End::Stuck(stall))
            }
            _ => None,
        }
    }

    fn unproven_until(&self) -> Option<Instant> {
        let waits = self.is_open_to_all && self.leaf.is_none();
        waits.then(|| self.unproven_since + self.settings.limits.prove_within)
    }

    /// Asks the link what the leaf wants.
    fn step(&mut self, now: Instant, room: Room) -> Step {
        let settings = self.settings.clone();
        let permissions = Permissions {
            settings: &settings,
            given: self.leaf.as_ref().and_then(|leaf| leaf.given.as_deref()),
        };
        let output = self.link.poll_output(now, &permissions);
        let parts = commands::Parts {
            slots: &mut self.slots,
            remotes: &mut self.remotes,
            leaf: self.leaf.as_mut(),
            held: &mut self.held,
            actions: &mut self.actions,
        };
        match output {
            GatewayOutput::Timeout(_) => Step::Idle,
            GatewayOutput::Up => {
                self.up(now);
                Step::Done
            }
            GatewayOutput::Down(reason) => {
                self.down(now, reason);
                Step::Done
            }
            GatewayOutput::Refused(refusal) => {
                tracing::debug!(target: "peer_net", line = self.shown.line, "a leaf was refused: {refusal}");
                self.registry.refused(refusal);
                Step::Done
            }
            GatewayOutput::IdRefused(id) => {
                let id = id.escape_default();
                let leaf = self.leaf.as_ref().map_or("", |leaf| &leaf.name);
                tracing::info!(target: "peer_net", leaf, "the leaf wants the id '{id}', which it may not use");
                Step::Done
            }
            GatewayOutput::Broker(command) => commands::broker(now, parts, &command),
            GatewayOutput::Rtc(handle, RtcCommand::Send(fragment)) => {
                let Some(slot) = self.slots.get(handle).filter(|slot| slot.takes_data()) else {
                    // It crossed a close, or the leaf makes things up.
                    if let Some(leaf) = self.leaf.as_mut().filter(|_| fragment.first) {
                        leaf.senseless += 1;
                    }
                    return Step::Done;
                };
                match slot.assembly.take(&fragment) {
                    Ok(()) => Step::Done,
                    Err(lost) => {
                        if let Some(leaf) = &mut self.leaf {
                            leaf.refused_commands += 1;
                        }
                        self.fail(handle, &lost);
                        Step::Done
                    }
                }
            }
            GatewayOutput::Rtc(handle, command) => {
                commands::session(now, parts, &settings, room, handle, &command)
            }
        }
    }

    fn refuse(&mut self, told: Told) {
        if let Some(leaf) = &mut self.leaf {
            leaf.refused_commands += 1;
        }
        self.answers.push_back(told);
        self.assert_bounds();
    }

    /// The queues have no more than their docs say.
    fn assert_bounds(&self) {
        let sessions = self.slots.len();
        debug_assert!(self.answers.len() <= sessions + 1, "the leaf was asked");
        debug_assert!(
            self.actions.len() <= 2 * sessions + 1,
            "more was looked for"
        );
    }

    /// Hands the channels what they have room for of what the leaf sent, and grants it as much
    /// again.
    fn send_waiting(&mut self, now: Instant) {
        let stall = self.settings.limits.stall;
        for index in 0..self.slots.len() {
            let Some(slot) = self
                .slots
                .at(index)
                .filter(|slot| slot.stage == Stage::Open)
            else {
                continue;
            };
            let handle = slot.handle;
            if slot.assembly.stalled_at(stall).is_some_and(|at| at <= now) {
                if let Some(leaf) = &mut self.leaf {
                    leaf.stalled += 1;
                }
                // Something is lost, and a connection does not lose anything.
                self.fail(handle, &SendError::Full);
                continue;
            }
            if let Some(message) = slot.assembly.next(now) {
                self.actions.push_back(Action::Send(handle, message));
                self.assert_bounds();
            }
            self.grant(handle);
        }
    }

    /// Ends a session of which something is lost.
    fn fail(&mut self, handle: ConnectionHandle, why: &dyn fmt::Display) {
        let slot = self.slots.get(handle);
        // Once: what is still on its way to the channel may fail too.
        if let Some(slot) = slot.filter(|slot| slot.stage != Stage::Failed) {
            tracing::warn!(target: "peer_net", "a leaf's session is closed: {why}");
            slot.fail();
            self.actions.push_back(Action::Close(handle));
            let failed = SessionInput::Failed(RtcFailure::Channel);
            self.answers.push_back(Told::Session(handle, failed));
            self.assert_bounds();
        }
    }
}
