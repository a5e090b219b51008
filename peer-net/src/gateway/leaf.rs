//! One stream and the leaf behind it: executes what the leaf's engine wants, with a broker socket
//! and sessions of its own, and tells it what comes of that. Whatever the leaf does, it does to
//! itself.

mod commands;
mod life;
mod telling;

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use peer_core::link::{
    Gateway as LinkEnd, GatewayOutput, KEY_LEN, LinkSlices, SessionSlot, Timing,
};
use peer_core::peer::{ConnectionHandle, RtcCommand, RtcFailure};
use peer_core::serialization::Fragment;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Common;
use super::options::{CONNECTIONS_MAX, Permissions, Settings};
use super::rates::Rates;
use super::registry;
use super::remotes::Remotes;
use super::sessions::{SessionInput, Sessions, Slot};
use crate::rtc::SendError;
use crate::signalling::{BrokerEvent, BrokerSocket};
use crate::sync::lock;
use crate::time::{after, engine_now as now, of_engine, sleep_until};
use commands::{Parts, broker_command, rtc_command};

/// Memory for frames to a leaf that it has not acknowledged.
const TRANSMIT_BYTES: usize = 64 << 10;
/// Memory for messages and data of a leaf that wait for this task.
const RECEIVE_BYTES: usize = 64 << 10;
/// Bytes moved between the stream and the link at once.
const PIECE: usize = 4096;
/// Bytes that a stream may bring before a leaf has proved its key, where anybody may open one. A
/// handshake is some hundred; the rest is for what was under way when the gateway or a serial
/// device server was started anew.
const UNPROVEN_BYTES: u64 = 256 << 10;
/// Between two tries to hand messages to channels that are full.
const SEND_RETRY: Duration = Duration::from_millis(10);
/// How long the last frames may take when the stream is ended by this side.
const FAREWELL: Duration = Duration::from_millis(300);
/// How long the broker's socket may take to end.
const BROKER_END: Duration = Duration::from_secs(2);

/// How a stream is to be treated.
pub(super) struct Line {
    /// What it is, for people: `tcp 192.0.2.7:4711`.
    pub(super) name: String,
    /// Who opened it, where anybody may.
    pub(super) from: Option<IpAddr>,
    pub(super) timing: Timing,
    /// The longest frame taken.
    pub(super) frame: usize,
    /// Whether anybody may open such a stream. Then its leaf has to prove its key soon.
    pub(super) is_open_to_all: bool,
    /// Says when the stream has to end.
    pub(super) stop: watch::Receiver<bool>,
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

/// Serves a stream until it ends. Whether a leaf has come on it, too.
pub(super) async fn serve<S: AsyncRead + AsyncWrite>(
    stream: S,
    line: Line,
    random: [u8; KEY_LEN],
    common: &Common,
) -> (End, bool) {
    let mut sessions = vec![SessionSlot::default(); CONNECTIONS_MAX];
    let mut frame = vec![0; line.frame];
    let mut transmit = vec![0; TRANSMIT_BYTES];
    let mut receive = vec![0; RECEIVE_BYTES];
    let memory = LinkSlices {
        sessions: &mut sessions,
        frame: &mut frame,
        transmit: &mut transmit,
        receive: &mut receive,
    };
    let link = match LinkEnd::new(line.timing, random, memory) {
        Ok(link) => link,
        Err(error) => return (End::Stream(error.to_string()), false),
    };
    let Some(alive) = lock(&common.alive).clone() else {
        return (End::Stop, false);
    };
    let shown = registry::Link::new(line.name, line.from);
    let settings = common.settings.subscribe();
    let current = settings.borrow().clone();
    if line.is_open_to_all {
        common.registry.unproven(&shown, current.limits.unproven);
    }
    let now = Instant::now();
    let mut served = Served {
        common,
        shown,
        link,
        epoch: now,
        broker: BrokerSocket::new(current.client.clone()),
        sessions: Sessions::new(alive),
        remotes: Remotes::new(),
        current,
        changed: false,
        leaf: None,
        held: None,
        answers: VecDeque::new(),
        is_open_to_all: line.is_open_to_all,
        unproven_since: now,
        unproven_bytes: 0,
        garbage: 0,
        heard: now,
        dead_after: line.timing.dead_after,
        cause: None,
        unwelcome: false,
        was_welcome: false,
    };
    let end = served.run(stream, settings, line.stop).await;
    served.finish(&end).await;
    tracing::debug!(target: "peer_net", line = served.shown.line, "a stream ended: {end:?}");
    (end, served.was_welcome)
}

struct Served<'m> {
    common: &'m Common,
    shown: Arc<registry::Link>,
    link: LinkEnd<'m>,
    epoch: Instant,
    broker: BrokerSocket,
    sessions: Sessions,
    remotes: Remotes,
    current: Arc<Settings>,
    /// Keys have changed since the session began, so a handshake of before may not count.
    changed: bool,
    leaf: Option<Leaf>,
    /// What of the broker the link had no room for. What it had none for of a session is held
    /// there.
    held: Option<BrokerEvent>,
    /// Refusals to be told. The leaf is asked for nothing new before they are.
    answers: VecDeque<Told>,
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
    unwelcome: bool,
    was_welcome: bool,
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

impl Served<'_> {
    async fn run<S: AsyncRead + AsyncWrite>(
        &mut self,
        stream: S,
        mut settings: watch::Receiver<Arc<Settings>>,
        mut stop: watch::Receiver<bool>,
    ) -> End {
        let (reader, writer) = tokio::io::split(stream);
        let mut reader = core::pin::pin!(reader);
        let mut writer = core::pin::pin!(writer);
        let mut piece = vec![0; PIECE];
        let mut out = vec![0; PIECE];
        let (mut from, mut to) = (0, 0);
        let mut stuck_since = Instant::now();
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
            let unwelcome = self.unwelcome.then_some(End::Unwelcome);
            if let Some(end) = end.take().or(unwelcome) {
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
            if unproven.is_some_and(|at| at <= now || self.unproven_bytes > UNPROVEN_BYTES) {
                self.common.registry.closed_unproven();
                return End::Unproven;
            }
            let stall = self.current.limits.stall;
            if to > from && after(stuck_since, stall) <= now {
                return End::Stuck(stall);
            }
            let rest = out.get(from..to).unwrap_or_default();
            tokio::select! {
                read = reader.read(&mut piece) => match read {
                    Ok(0) => return End::Stream("it was closed".to_owned()),
                    Ok(len) => {
                        let bytes = piece.get(..len).unwrap_or_default();
                        let time = self.now();
                        self.heard = Instant::now();
                        self.unproven_bytes += len as u64;
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
                () = self.broker.room(), if !self.broker.has_room() => {}
                event = self.broker.next(), if self.held.is_none() => self.held = Some(event),
                (handle, input) = self.sessions.next() => {
                    if let Some(slot) = self.sessions.slot(handle) {
                        slot.hold(input);
                    }
                }
                () = sleep_until(deadline) => {}
                () = sleep_until(unproven) => {}
                () = sleep_until(Some(after(stuck_since, stall))), if to > from => {}
                Ok(()) = settings.changed() => {
                    let settings = settings.borrow_and_update().clone();
                    self.set(settings);
                }
                () = shown.cut.notified() => end = Some(End::Replaced),
                () = super::stopped(&mut stop) => end = Some(End::Stop),
            }
            if let Some(end) = end.take_if(|_| !self.link.is_up()) {
                // There is nobody to be told.
                return end;
            }
            if let Some(end) = &end {
                self.cause = Some(end.to_string());
                self.link.close();
            }
        }
    }

    fn now(&self) -> peer_core::time::Instant {
        now(self.epoch)
    }

    fn unproven_until(&self) -> Option<Instant> {
        let waits = self.is_open_to_all && self.leaf.is_none();
        waits.then(|| after(self.unproven_since, self.current.limits.prove_within))
    }

    /// Does what the leaf wants and tells it what there is, as far as there is room.
    fn turn(&mut self) {
        loop {
            self.send_waiting();
            self.tell();
            if self.is_blocked() && after(self.heard, self.dead_after) <= Instant::now() {
                // The link looks for silence only when it is polled.
                self.link.close();
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
        !self.answers.is_empty() || !self.broker.has_room()
    }

    /// When to come back at the latest. `writing`: the stream has not taken everything, which goes
    /// first.
    fn deadline(&self, now: Instant, writing: bool) -> Option<Instant> {
        let of_link = self
            .link
            .next_timeout()
            .map(|at| of_engine(self.epoch, at))
            .filter(|at| !writing || *at > now);
        let retry = self.sessions.waits_for_channel().then(|| now + SEND_RETRY);
        [of_link, retry].into_iter().flatten().min()
    }

    // From the leaf.

    /// Does what the leaf says until it waits, or has to.
    fn execute(&mut self) {
        while self.broker.has_room() {
            let time = now(self.epoch);
            let settings = self.current.clone();
            let permissions = Permissions {
                settings: &settings,
                given: self.leaf.as_ref().and_then(|leaf| leaf.given.as_deref()),
            };
            let refused = match self.link.poll_output(time, &permissions) {
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
                GatewayOutput::Broker(command) => {
                    let parts = Parts {
                        broker: &mut self.broker,
                        sessions: &mut self.sessions,
                        remotes: &mut self.remotes,
                        leaf: self.leaf.as_mut(),
                    };
                    broker_command(parts, &command)
                }
                GatewayOutput::Rtc(handle, RtcCommand::Send(fragment)) => {
                    let slot = self.sessions.slot(handle);
                    take(slot, self.leaf.as_mut(), handle, &fragment)
                }
                GatewayOutput::Rtc(handle, command) => {
                    let parts = Parts {
                        broker: &mut self.broker,
                        sessions: &mut self.sessions,
                        remotes: &mut self.remotes,
                        leaf: self.leaf.as_mut(),
                    };
                    rtc_command(parts, &settings, handle, &command)
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

    /// Hands the channels what they have room for of what the leaf sent, and grants it as much
    /// again.
    fn send_waiting(&mut self) {
        let stall = self.current.limits.stall;
        for handle in self.sessions.handles() {
            let Some(slot) = self.sessions.slot(handle) else {
                continue;
            };
            let Some(channel) = slot.channel.clone() else {
                continue;
            };
            let counts = slot.counts.clone();
            match slot.assembly.send(&channel, stall, |len| counts.sent(len)) {
                Ok(()) => self.grant(handle),
                // Its end is on the way.
                Err(SendError::Closed) => {}
                Err(error) => {
                    if let (SendError::Full, Some(leaf)) = (&error, &mut self.leaf) {
                        leaf.stalled += 1;
                    }
                    // Something is lost, and a connection does not lose anything.
                    self.answers.push_back(fail(slot, handle, &error));
                }
            }
        }
    }
}

/// Takes data of the leaf. What comes back is the end of its session.
fn take(
    slot: Option<&mut Slot>,
    leaf: Option<&mut Leaf>,
    handle: ConnectionHandle,
    fragment: &Fragment<'_>,
) -> Option<Told> {
    let Some(slot) = slot.filter(|slot| slot.channel.is_some()) else {
        // It crossed a close, or the leaf makes things up.
        if let Some(leaf) = leaf.filter(|_| fragment.first) {
            leaf.senseless += 1;
        }
        return None;
    };
    let lost = slot.assembly.take(fragment).err()?;
    Some(fail(slot, handle, &lost))
}

/// Ends a session of which something is lost.
fn fail(slot: &mut Slot, handle: ConnectionHandle, why: &impl fmt::Display) -> Told {
    tracing::warn!(target: "peer_net", "a leaf's session is closed: {why}");
    slot.fail();
    Told::Session(handle, SessionInput::Failed(RtcFailure::Channel))
}
