//! One stream and the leaf behind it: executes what the leaf's engine wants, with a broker socket and sessions of its
//! own, and tells it what comes of that. Whatever the leaf does, it does to itself.

mod commands;
mod telling;

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use peer_core::link::{
    DownReason, Gateway as Link, GatewayOutput, KEY_LEN, LinkSlices, Session, Timing,
};
use peer_core::peer::{ConnectionHandle, RtcCommand, RtcFailure};
use peer_core::serialization::Frame;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Common;
use super::options::{CONNECTIONS_MAX, Settings};
use super::registry;
use super::sessions::{SessionInput, Sessions};
use crate::driver::broker::{BrokerEvent, BrokerSocket};
use crate::driver::{now, sleep_until};
use crate::rate::Rate;
use crate::rtc::{Message, SendError};
use crate::shared::lock;
use commands::{broker_command, rtc_command};

/// Memory for frames to a leaf that it has not acknowledged; the longest message to a leaf is a little shorter.
const TRANSMIT_BYTES: usize = 64 << 10;
/// The window: memory for messages of a leaf that wait, and the longest of them.
const RECEIVE_BYTES: usize = 64 << 10;
/// Bytes moved between the stream and the link at once.
const PIECE: usize = 4096;
/// How long a stream may take no byte before it is cut.
const WRITE_STALL: Duration = Duration::from_secs(10);
/// How long a session may take no message that its leaf sent, and hold up the leaf's other ones, before it is closed. An engine
/// of ours never gets here: it stops long before a channel is full.
const SEND_STALL: Duration = Duration::from_secs(10);
/// Between two tries to hand a message to a channel that is full.
const SEND_RETRY: Duration = Duration::from_millis(10);
/// How long the last frames may take when the stream is ended by this side.
const FAREWELL: Duration = Duration::from_millis(300);
/// How long the broker's socket may take to end.
const BROKER_END: Duration = Duration::from_secs(2);
/// Ids asked for and sockets opened by one leaf: so many at once, then one a second.
const OPEN_BURST: u32 = 8;
const OPENS_PER_SECOND: u32 = 1;
/// Sessions begun by one leaf: so many at once, then so many a second. Further ones fail at once.
const SESSION_BURST: u32 = 32;
const SESSIONS_PER_SECOND: u32 = 8;

/// How a stream is to be treated.
pub(super) struct Line {
    /// What it is, for people: `tcp 192.0.2.7:4711`.
    pub(super) name: String,
    pub(super) timing: Timing,
    /// The longest frame taken.
    pub(super) frame: usize,
    /// How long the leaf may take to prove its key. `None`: as long as it likes, since nobody else has the line.
    pub(super) prove_within: Option<Duration>,
}

/// Why a stream is no longer served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It ended or failed by itself.
    Stream(String),
    /// No leaf proved its key in time.
    Unproven,
    /// Another stream took its place.
    Replaced,
    /// There are as many leaves as there may be.
    Full,
    /// It takes no bytes.
    Stuck,
    /// The gateway ends.
    Stop,
}

/// Serves a stream until it ends.
pub(super) async fn serve<S: AsyncRead + AsyncWrite>(
    stream: S,
    line: Line,
    random: [u8; KEY_LEN],
    common: &Common,
) -> End {
    let mut sessions = vec![Session::default(); CONNECTIONS_MAX];
    let mut frame = vec![0; line.frame];
    let mut transmit = vec![0; TRANSMIT_BYTES];
    let mut receive = vec![0; RECEIVE_BYTES];
    let memory = LinkSlices {
        sessions: &mut sessions,
        frame: &mut frame,
        transmit: &mut transmit,
        receive: &mut receive,
    };
    let link = match Link::new(line.timing, random, memory) {
        Ok(link) => link,
        Err(error) => return End::Stream(error.to_string()),
    };
    let Some(alive) = lock(&common.alive).clone() else {
        return End::Stop;
    };
    let shown = registry::Link::new(line.name);
    if line.prove_within.is_some() {
        common.registry.unproven(&shown);
    }
    let settings = common.settings.subscribe();
    let current = settings.borrow().clone();
    let now = Instant::now();
    let mut served = Served {
        common,
        shown,
        link,
        epoch: now,
        broker: BrokerSocket::new(current.client.clone()),
        sessions: Sessions::new(alive),
        current,
        changed: false,
        leaf: None,
        held: None,
        answers: VecDeque::new(),
        unsent: None,
        opens: Rate::new(OPEN_BURST, OPENS_PER_SECOND),
        begins: Rate::new(SESSION_BURST, SESSIONS_PER_SECOND),
        prove_within: line.prove_within,
        unproven_since: now,
        heard: now,
        dead_after: line.timing.dead_after,
        full: false,
    };
    let end = served.run(stream, settings).await;
    served.finish().await;
    tracing::debug!(target: "peer_net", line = served.shown.line, "a stream ended: {end:?}");
    end
}

struct Served<'m> {
    common: &'m Common,
    shown: Arc<registry::Link>,
    link: Link<'m>,
    epoch: Instant,
    broker: BrokerSocket,
    sessions: Sessions,
    current: Arc<Settings>,
    /// Keys have changed since the session began, so a handshake of before may not count.
    changed: bool,
    leaf: Option<Leaf>,
    /// What the link had no room for. Nothing else is taken meanwhile, so order and bounds are kept.
    held: Option<Told>,
    /// Refusals to be told. The leaf is asked for nothing new before they are.
    answers: VecDeque<Told>,
    /// What a channel had no room for. The leaf is asked for nothing new before it has.
    unsent: Option<Unsent>,
    opens: Rate,
    begins: Rate,
    prove_within: Option<Duration>,
    unproven_since: Instant,
    /// When bytes came last, and how long none may.
    heard: Instant,
    dead_after: Duration,
    full: bool,
}

/// The leaf that is there.
struct Leaf {
    name: String,
    id: Option<String>,
    broker: &'static str,
    refused_commands: u64,
    senseless: u64,
}

/// Something for the leaf.
#[derive(Debug)]
enum Told {
    Broker(BrokerEvent),
    Session(ConnectionHandle, SessionInput),
}

struct Unsent {
    handle: ConnectionHandle,
    message: Message,
    since: Instant,
}

impl Served<'_> {
    async fn run<S: AsyncRead + AsyncWrite>(
        &mut self,
        stream: S,
        mut settings: watch::Receiver<Arc<Settings>>,
    ) -> End {
        let (reader, writer) = tokio::io::split(stream);
        let mut reader = core::pin::pin!(reader);
        let mut writer = core::pin::pin!(writer);
        let mut piece = vec![0; PIECE];
        let mut out = vec![0; PIECE];
        let (mut from, mut to) = (0, 0);
        let mut stuck_since = Instant::now();
        let mut stop = self.common.stop.subscribe();
        let shown = self.shown.clone();
        let mut end = None;
        loop {
            self.turn();
            let now = Instant::now();
            if from == to {
                (from, to) = (0, self.link.transmit(self.now(), &mut out));
                stuck_since = now;
            }
            self.show();
            if let Some(end) = end.take().or_else(|| self.full.then_some(End::Full)) {
                let farewell = async {
                    while to > from {
                        let rest = out.get(from..to).unwrap_or_default();
                        if writer.write_all(rest).await.is_err() {
                            return;
                        }
                        (from, to) = (0, self.link.transmit(self.now(), &mut out));
                    }
                    let _ = writer.flush().await;
                };
                let _ = timeout(FAREWELL, farewell).await;
                return end;
            }
            let deadline = self.deadline(now, to > from);
            let unproven = self.unproven_until();
            if unproven.is_some_and(|at| at <= now) {
                self.common.registry.timed_out();
                return End::Unproven;
            }
            if to > from && stuck_since + WRITE_STALL <= now {
                return End::Stuck;
            }
            let idle = self.held.is_none();
            let rest = out.get(from..to).unwrap_or_default();
            tokio::select! {
                read = reader.read(&mut piece) => match read {
                    Ok(0) => return End::Stream("it was closed".to_owned()),
                    Ok(len) => {
                        let bytes = piece.get(..len).unwrap_or_default();
                        let time = self.now();
                        self.heard = Instant::now();
                        self.link.receive(time, bytes, &*self.current);
                        lock(&shown.shown).counts.bytes_received += len as u64;
                    }
                    Err(error) => return End::Stream(error.to_string()),
                },
                written = writer.write(rest), if to > from => match written {
                    Ok(0) => return End::Stream("it takes no more".to_owned()),
                    Ok(len) => {
                        from += len;
                        stuck_since = Instant::now();
                        lock(&shown.shown).counts.bytes_sent += len as u64;
                    }
                    Err(error) => return End::Stream(error.to_string()),
                },
                event = self.broker.next(), if idle => self.held = Some(Told::Broker(event)),
                (handle, input) = self.sessions.next(), if idle => {
                    self.held = Some(Told::Session(handle, input));
                }
                () = sleep_until(deadline) => {}
                () = sleep_until(unproven) => {}
                () = tokio::time::sleep(WRITE_STALL), if to > from => {}
                Ok(()) = settings.changed() => {
                    let settings = settings.borrow_and_update().clone();
                    self.set(settings);
                }
                () = shown.cut.notified() => {
                    self.link.close();
                    end = Some(End::Replaced);
                }
                () = super::stopped(&mut stop) => {
                    self.link.close();
                    end = Some(End::Stop);
                }
            }
        }
    }

    fn now(&self) -> peer_core::time::Instant {
        now(self.epoch)
    }

    fn unproven_until(&self) -> Option<Instant> {
        let within = self.prove_within.filter(|_| self.leaf.is_none())?;
        Some(self.unproven_since + within)
    }

    /// Does what the leaf wants and tells it what there is, as far as there is room.
    fn turn(&mut self) {
        loop {
            self.send_unsent();
            self.tell();
            if self.is_blocked() && self.heard + self.dead_after <= Instant::now() {
                // The link looks for silence only when it is polled.
                self.link.close();
                self.unsent = None;
                self.answers.clear();
            }
            if !self.is_blocked() {
                self.execute();
            }
            // Answers may have come up, and room for them.
            if self.answers.is_empty() || !self.tell() {
                return;
            }
        }
    }

    /// Whether the leaf has to wait before it is asked for more.
    fn is_blocked(&self) -> bool {
        self.unsent.is_some() || !self.answers.is_empty()
    }

    /// When to come back at the latest. `writing`: the stream has not taken everything, which goes first.
    fn deadline(&self, now: Instant, writing: bool) -> Option<Instant> {
        let of_link = self
            .link
            .next_timeout()
            .map(|at| self.epoch + Duration::from_micros(at.as_micros()))
            .filter(|at| !writing || *at > now);
        let retry = self.unsent.is_some().then(|| now + SEND_RETRY);
        [of_link, retry].into_iter().flatten().min()
    }

    // From the leaf.

    /// Does what the leaf says until it waits, or has to.
    fn execute(&mut self) {
        loop {
            let time = now(self.epoch);
            let settings = self.current.clone();
            let refused = match self.link.poll_output(time, &*settings) {
                GatewayOutput::Timeout(_) => return,
                GatewayOutput::Up => {
                    self.up();
                    None
                }
                GatewayOutput::Down(reason) => {
                    self.down(reason);
                    None
                }
                GatewayOutput::Refused(refusal) => {
                    tracing::debug!(target: "peer_net", line = self.shown.line, "a leaf was refused: {refusal}");
                    self.common.registry.refused(refusal);
                    None
                }
                GatewayOutput::IdRefused(id) => {
                    let id = id.escape_default();
                    let leaf = self.leaf.as_ref().map_or("", |leaf| &leaf.name);
                    tracing::info!(target: "peer_net", leaf, "the leaf wants the id '{id}', which it may not use");
                    None
                }
                GatewayOutput::Broker(command) => broker_command(
                    &mut self.broker,
                    &mut self.opens,
                    self.leaf.as_mut(),
                    &command,
                ),
                GatewayOutput::Rtc(handle, RtcCommand::Send(frame)) => {
                    let message = match frame {
                        Frame::Text(text) => Message::Text(text.to_owned()),
                        Frame::Binary(bytes) => Message::Binary(bytes.to_vec().into()),
                    };
                    self.unsent = Some(Unsent {
                        handle,
                        message,
                        since: Instant::now(),
                    });
                    self.send_unsent();
                    if self.unsent.is_some() {
                        return;
                    }
                    None
                }
                GatewayOutput::Rtc(handle, command) => {
                    let begins = &mut self.begins;
                    rtc_command(&mut self.sessions, begins, &settings, handle, &command)
                }
            };
            if let Some(answer) = refused {
                if let Some(leaf) = &mut self.leaf {
                    leaf.refused_commands += 1;
                }
                self.answers.push_back(answer);
                return;
            }
        }
    }

    /// Hands over what a channel had no room for.
    fn send_unsent(&mut self) {
        let Some(unsent) = self.unsent.take() else {
            return;
        };
        let slot = self.sessions.slot(unsent.handle);
        let Some((slot, channel)) = slot.and_then(|slot| {
            let channel = slot.channel.clone()?;
            Some((slot, channel))
        }) else {
            // It crossed a close, or the leaf makes things up.
            if let Some(leaf) = &mut self.leaf {
                leaf.senseless += 1;
            }
            return;
        };
        let failed = match channel.try_send(unsent.message.clone()) {
            Ok(()) => return slot.counts.sent(unsent.message.len()),
            // Its end is on the way.
            Err(SendError::Closed) => return,
            Err(SendError::Full) if unsent.since.elapsed() < SEND_STALL => {
                self.unsent = Some(unsent);
                return;
            }
            Err(error) => error,
        };
        // Something is lost, and a connection does not lose anything.
        tracing::warn!(target: "peer_net", "a leaf's session is closed: {failed}");
        slot.session.close();
        let failed = SessionInput::Failed(RtcFailure::Channel);
        self.answers.push_back(Told::Session(unsent.handle, failed));
    }

    // The leaf comes and goes.

    fn up(&mut self) {
        let Some(name) = self.link.leaf().map(str::to_owned) else {
            return;
        };
        // A handshake that began with the keys of before does not count.
        if core::mem::take(&mut self.changed) {
            self.link.close();
            return;
        }
        let limit = self.current.limits.leaves;
        if !self.common.registry.arrived(&name, &self.shown, limit) {
            tracing::warn!(target: "peer_net", leaf = name, "the leaf was cut: {limit} leaves are here already");
            self.full = true;
            self.link.close();
            return;
        }
        self.common.registry.no_longer_unproven(&self.shown);
        tracing::info!(target: "peer_net", leaf = name, line = self.shown.line, "the leaf is here");
        // What stood in the settings when the stream began may be old.
        self.broker = BrokerSocket::new(self.current.client.clone());
        self.leaf = Some(Leaf {
            name,
            id: None,
            broker: "none",
            refused_commands: 0,
            senseless: 0,
        });
    }

    fn down(&mut self, reason: DownReason) {
        self.gone(&reason.to_string());
        if self.prove_within.is_some() {
            self.common.registry.unproven(&self.shown);
        }
    }

    /// Nothing of the session is left.
    fn gone(&mut self, reason: &str) {
        self.held = None;
        self.answers.clear();
        self.unsent = None;
        self.unproven_since = Instant::now();
        self.show();
        if let Some(leaf) = self.leaf.take() {
            tracing::info!(target: "peer_net", leaf = leaf.name, "the leaf is gone: {reason}");
            self.common.registry.left(&leaf.name, &self.shown, reason);
        }
    }

    /// New settings. A leaf that may no longer be what it is, is cut.
    fn set(&mut self, settings: Arc<Settings>) {
        let stays = self.leaf.as_ref().is_some_and(|leaf| {
            let (old, new) = (
                self.current.leaves.get(&leaf.name),
                settings.leaves.get(&leaf.name),
            );
            let (Some(old), Some(new)) = (old, new) else {
                return false;
            };
            old.options.key == new.options.key
                && leaf.id.as_ref().is_none_or(|id| {
                    // The broker gave it, or the new settings allow it.
                    new.allows_id(id) || (!old.allows_id(id) && new.options.random_id)
                })
        });
        self.current = settings;
        if stays {
            self.changed = true;
        } else {
            self.link.close();
        }
    }

    fn show(&self) {
        let Some(leaf) = &self.leaf else { return };
        let mut shown = lock(&self.shown.shown);
        if shown.id != leaf.id {
            shown.id.clone_from(&leaf.id);
        }
        shown.broker = leaf.broker;
        shown.counts.take(self.link.stats());
        shown.counts.refused_commands = leaf.refused_commands;
        shown.counts.senseless = leaf.senseless;
        shown.counts.sessions = self.sessions.begun;
        shown.connections = self.sessions.counts();
    }

    /// The stream is no more. Every session is closed, so every remote notices; and so is the broker's socket.
    async fn finish(&mut self) {
        self.link.close();
        self.unsent = None;
        self.answers.clear();
        self.held = None;
        self.execute();
        self.gone("its line is gone");
        self.common.registry.no_longer_unproven(&self.shown);
        self.broker.close();
        let _ = timeout(BROKER_END, self.broker.ended()).await;
    }
}
