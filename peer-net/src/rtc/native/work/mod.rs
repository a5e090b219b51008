//! A session at work: datagrams, signals and messages in and out, and its end.

mod data;
mod datagrams;
mod end;
mod signals;

use core::pin::Pin;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use peer_core::rtc::dtls::Identity;
use peer_core::rtc::session::Session;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use self::data::IDLE_KEPT;
use super::Told;
use super::channel::{OpenChannel, Ready, ready};
use super::endpoint::Place;
use super::mailbox::{Mail, Mailbox};
use super::outgoing::Unsent;
use super::servers::Resolved;
use super::socket::Socket;
use super::storage::{Sizes, Traffic};
use super::streams::{self, Streams};
use crate::rtc::crypto::RingCrypto;
use crate::rtc::{RtcConfig, SessionEvent};
use crate::time::{engine_now, of_engine};

/// A session, and all that its task has besides.
pub(super) struct Work<'m, 'd> {
    pub(super) session: Session<'m, 'd, RingCrypto>,
    pub(super) rest: Rest,
}

pub(super) struct Rest {
    pub(super) crypto: RingCrypto,
    pub(super) identity: Arc<Identity>,
    pub(super) epoch: Instant,
    pub(super) phase: Phase,
    pub(super) config: Arc<RtcConfig>,
    pub(super) place: Place,
    pub(super) mailbox: Arc<Mailbox>,
    /// What was taken from there. Datagrams may be left in it that wait for memory.
    pub(super) mail: Mail,
    pub(super) told: Arc<Told>,
    /// `None` once the last event was told.
    pub(super) events: Option<mpsc::Sender<SessionEvent>>,
    /// Events that wait for room: candidates and states up to a limit, and each other one once.
    pub(super) untold: VecDeque<SessionEvent>,
    pub(super) sockets: Arc<[Arc<Socket>]>,
    pub(super) channel: Option<OpenChannel>,
    /// The longest message in bytes that both ends take.
    pub(super) max_message_size: u32,
    pub(super) handshake: Handshake,
    /// Candidates of the remote that were taken since a path worked.
    pub(super) candidates: usize,
    /// Whether candidates were told since the channel is open, and may have been lost with the
    /// broker.
    pub(super) has_moved: bool,
    /// `None` before they are known.
    pub(super) servers: Option<Arc<[Resolved]>>,
    /// To TURN servers.
    pub(super) streams: Streams,
    /// What sockets did not take: one batch, and a datagram behind it at most.
    pub(super) unsent: VecDeque<Unsent>,
    /// The memory for data; `None` before there is some.
    pub(super) sizes: Option<Sizes>,
    pub(super) came: Traffic,
    pub(super) went: Traffic,
    /// Since when little is under way, if there is memory to give back.
    pub(super) idle_since: Option<Instant>,
    /// When there is something to do although nothing comes, or sooner.
    pub(super) timer: Pin<Box<Sleep>>,
    pub(super) armed: Option<Instant>,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Until then it has to be open.
    Opening(Instant),
    Open,
    /// The remote has closed the channel. Our answer has until then to arrive.
    Resetting(Instant),
    /// It is over, but for what is still to be read; then that is told whatever is not read.
    Draining(Instant),
    /// The end was told. The rest may still be read where the remote ended it.
    Ended,
    /// The same, and nobody wants the rest.
    Dropped,
}

/// How long libdatachannel has to note our fingerprint before our certificate comes. On a machine
/// that is busy it needs some 10 ms.
const NOTING: Duration = Duration::from_millis(50);

/// Whether our part of the handshake is done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    AtOnce,
    /// [`NOTING`] after it could be.
    Later,
    At(Instant),
}

/// Why the work pauses.
pub(super) enum Next {
    /// Other memory is wanted for data.
    Memory(Sizes),
    Over,
}

/// What a turn waits for.
enum Wake {
    Mail,
    Ready(Ready),
    Timer,
    Sent,
    Told,
    More,
}

impl<'m, 'd> Work<'m, 'd> {
    /// Takes the box apart, whose memory goes at once.
    pub(super) fn apart(self: Box<Self>) -> (Session<'m, 'd, RingCrypto>, Rest) {
        let Work { session, rest } = *self;
        (session, rest)
    }
}

impl Work<'_, '_> {
    /// Works until it is over, or until other memory is wanted.
    pub(super) async fn run(&mut self) -> Next {
        loop {
            let waiting = self.take_mail();
            self.take();
            self.give();
            self.follow_time();
            let mut more = waiting | self.transmit();
            // After it: the remote works at the same time with what it was sent.
            if self.work() {
                more |= self.transmit() | self.session.wants_work();
            }
            self.follow_events();
            if self.is_over() {
                return Next::Over;
            }
            if let Some(sizes) = self.other_sizes() {
                return Next::Memory(sizes);
            }
            match self.wake(more).await {
                Wake::Ready(ready) => {
                    if let Some(channel) = &mut self.rest.channel {
                        channel.ready(ready);
                    }
                }
                Wake::Timer => self.rest.armed = None,
                Wake::Mail | Wake::Sent | Wake::Told | Wake::More => {}
            }
        }
    }

    /// Waits until there is something to do. `more`: there is already.
    async fn wake(&mut self, more: bool) -> Wake {
        let deadline = self.deadline();
        let rest = &mut self.rest;
        // One that is too early costs a turn, one that is set anew each time a lock.
        if let Some(deadline) = deadline
            && rest.armed.is_none_or(|armed| deadline < armed)
        {
            rest.timer.as_mut().reset(deadline);
            rest.armed = Some(deadline);
        }
        tokio::select! {
            () = rest.mailbox.notified() => Wake::Mail,
            ready = ready(&mut rest.channel) => Wake::Ready(ready),
            () = rest.timer.as_mut(), if rest.armed.is_some() => Wake::Timer,
            event = rest.streams.next() => {
                let now = engine_now(rest.epoch);
                match event {
                    streams::Event::Opened(id) => self.session.stream_opened(now, id),
                    streams::Event::Message(id, source, message) => {
                        self.session.receive(now, &mut rest.crypto, id, source, message);
                    }
                    streams::Event::Closed(id, why) => {
                        tracing::debug!(why, "a stream to a TURN server is closed");
                        self.session.stream_closed(now, id);
                        self.look_for_relays();
                    }
                }
                Wake::Mail
            }
            () = writable(rest.unsent.front()) => Wake::Sent,
            () = tell(rest.events.as_ref(), &mut rest.untold) => Wake::Told,
            () = tokio::task::yield_now(), if more => Wake::More,
        }
    }

    /// When there is something to do although nothing comes.
    fn deadline(&self) -> Option<Instant> {
        let rest = &self.rest;
        // While a socket takes nothing, nothing is made for it.
        let is_free = rest.unsent.is_empty();
        let timeout = self.session.timeout().filter(|_| is_free);
        let timeout = timeout.map(|at| of_engine(rest.epoch, at));
        let idle = rest.idle_since.map(|since| since + IDLE_KEPT);
        let phase = match rest.phase {
            Phase::Opening(until) => Some(self.opening_ends(until)),
            Phase::Resetting(until) | Phase::Draining(until) => Some(until),
            Phase::Open | Phase::Ended | Phase::Dropped => None,
        };
        let handshake = match rest.handshake {
            Handshake::At(at) if self.session.wants_work() => Some(at),
            _ => None,
        };
        [timeout, idle, phase, handshake]
            .into_iter()
            .flatten()
            .min()
    }

    fn now(&self) -> peer_core::time::Instant {
        engine_now(self.rest.epoch)
    }

    /// Does one long operation of the handshake, if one is due. Whether one was.
    fn work(&mut self) -> bool {
        let now = self.now();
        let rest = &mut self.rest;
        if !self.session.wants_work() {
            return false;
        }
        match rest.handshake {
            Handshake::AtOnce => {}
            Handshake::Later => {
                rest.handshake = Handshake::At(Instant::now() + NOTING);
                return false;
            }
            Handshake::At(at) if Instant::now() < at => return false,
            Handshake::At(_) => rest.handshake = Handshake::AtOnce,
        }
        self.session.work(now, &mut rest.crypto, &rest.identity);
        true
    }
}

/// Waits until a socket takes what it did not take; never where there is nothing.
async fn writable(unsent: Option<&Unsent>) {
    match unsent {
        Some(unsent) => {
            let _ = unsent.socket.writable().await;
        }
        None => core::future::pending().await,
    }
}

/// Tells one event once there is room for it; never where there is none. Nobody listening is no
/// reason to end: the handle tells when to.
async fn tell(events: Option<&mpsc::Sender<SessionEvent>>, untold: &mut VecDeque<SessionEvent>) {
    let (Some(events), false) = (events, untold.is_empty()) else {
        return core::future::pending().await;
    };
    let permit = events.reserve().await;
    if let (Some(event), Ok(permit)) = (untold.pop_front(), permit) {
        permit.send(event);
    }
}
