//! A session at work: datagrams, signals and messages in and out, and its end.

use core::pin::Pin;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use peer_core::peer::RtcFailure;
use peer_core::rtc::dtls::Identity;
use peer_core::rtc::ice::{Outcome, Server};
use peer_core::rtc::session::{Closed, DATAGRAM_MAX, Event, Session};
use peer_core::wire::sdp::{Emit, SCTP_PORT, Setup};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::channel::{OpenChannel, Ready, ready};
use super::endpoint::Place;
use super::failure::Asked;
use super::mailbox::{Datagrams, Mail, Mailbox};
use super::outgoing::{Batch, Unsent, with_room};
use super::servers::{Resolved, STREAMS_FROM};
use super::socket::Socket;
use super::storage::{SMALL, Size, Sizes, Traffic};
use super::streams::{self, Streams};
use super::task::resources;
use super::{Role, Told, failure};
use crate::rtc::channel::{Channel, End, channel, end};
use crate::rtc::crypto::RingCrypto;
use crate::rtc::description::Remote;
use crate::rtc::stage::{Failure, Stage};
use crate::rtc::{IceState, IceTransportPolicy, REMOTE_CANDIDATES_MAX, RtcConfig, SessionEvent};
use crate::time::{engine_now, of_engine};

/// Datagrams that are made before others come to their turn.
const BATCH: usize = 64;
/// Candidates and states that wait until somebody listens; further ones are not told.
const UNTOLD_MAX: usize = 64;
/// Datagrams that are taken before their messages are handed over.
const TRAIN: usize = 16;
/// How long memory is kept while little is under way.
const IDLE_KEPT: Duration = Duration::from_secs(1);
/// How long the remote has to answer the reset of our stream before everything else ends.
const RESET_WAIT: Duration = Duration::from_millis(300);
/// How long a channel's reader may need after the remote's end, until that is told.
const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// A session, and all that its task has besides.
pub(super) struct Work<'m, 'd> {
    pub(super) session: Session<'m, 'd, RingCrypto>,
    pub(super) rest: Rest,
}

pub(super) struct Rest {
    pub(super) crypto: RingCrypto,
    pub(super) identity: Identity,
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
    /// Candidates of the remote that were taken.
    pub(super) candidates: usize,
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

impl<'m> Work<'m, '_> {
    /// Tells our description, and takes the remote's if that was an offer.
    pub(super) fn begin(&mut self, role: Role, offered: Option<Remote>) -> Result<(), Failure> {
        let now = self.now();
        self.set_sockets(self.rest.place.seat.sockets());
        if let Role::Offer { label, ordered } = role {
            self.session.open(&label, ordered).map_err(|error| {
                let sentence = format!("the channel's label cannot be used: {error}");
                (RtcFailure::Channel, sentence)
            })?;
        }
        if let Some(remote) = &offered {
            self.set_remote(now, remote)?;
        }
        let mut session_id = [0; 8];
        SystemRandom::new()
            .fill(&mut session_id)
            .map_err(|_| resources(&"there is no randomness"))?;
        let description = Emit {
            session_id: u64::from_be_bytes(session_id) >> 1,
            ufrag: self.session.ice().ufrag(),
            pwd: self.session.ice().password(),
            fingerprint: self.rest.identity.fingerprint(),
            setup: self.session.setup(),
            mid: offered.as_ref().map_or("0", |remote| &remote.mid),
            sctp_port: SCTP_PORT,
            max_message_size: self.rest.config.max_message_size,
            candidates: &[],
        };
        let description = description.to_string();
        let rest = &mut self.rest;
        rest.untold
            .push_front(SessionEvent::LocalDescription(description));
        let stage = match offered {
            Some(_) => Stage::Checking,
            None => Stage::AwaitingAnswer,
        };
        rest.told.stage.enter(stage);
        Ok(())
    }

    /// Tells the session its servers, which `resolved` are.
    pub(super) fn set_servers(&mut self, servers: &'m [Server<'m>], resolved: &Arc<[Resolved]>) {
        self.rest.servers = Some(Arc::clone(resolved));
        let now = self.now();
        if let Err(error) = self.session.set_servers(now, servers) {
            debug_assert!(false, "they are told once: {error}");
        }
        self.connect_streams(resolved);
        self.look_for_relays();
    }

    /// Connects to the servers that are reached over streams.
    fn connect_streams(&mut self, resolved: &[Resolved]) {
        for (place, server) in resolved.iter().enumerate() {
            let sockets = &self.rest.sockets;
            let is_v4 = server.address.is_ipv4();
            let ours = sockets.iter().find(|it| it.address.is_ipv4() == is_v4);
            let (Some(id), Some(ours)) = (server.stream(place), ours) else {
                continue;
            };
            // Only an address that was chosen is insisted on.
            let is_filtered = !self.rest.config.ip_filter.is_empty();
            let from = is_filtered.then_some(ours.address.ip());
            if self.rest.streams.connect(id, server, from).is_err() {
                tracing::debug!(server = %server.url, "too many streams to TURN servers");
            }
        }
    }

    /// Fails where only relayed paths are allowed and no server gives one.
    fn look_for_relays(&mut self) {
        let is_relay_only = self.rest.config.ice_transport_policy == IceTransportPolicy::Relay;
        if !is_relay_only || self.rest.servers.is_none() {
            return;
        }
        let agent = self.session.ice();
        let may_come = |it: Outcome| matches!(it, Outcome::Pending | Outcome::Relayed(_));
        if !agent.reports().any(|report| may_come(report.outcome)) {
            let sentence = failure::no_relay(&self.asked());
            self.fail((RtcFailure::Ice, sentence));
        }
    }

    /// What is known of the servers.
    fn asked(&self) -> Asked<'_> {
        let rest = &self.rest;
        Asked {
            agent: self.session.ice(),
            servers: rest.servers.as_deref().unwrap_or_default(),
            missing: rest.place.endpoint.servers.missing(),
        }
    }

    /// Works until it is over, or until other memory is wanted.
    pub(super) async fn run(&mut self) -> Next {
        loop {
            let waiting = self.take_mail();
            let working = self.work();
            self.take();
            self.give();
            self.follow_time();
            let sending = self.transmit();
            self.follow_events();
            if self.is_over() {
                return Next::Over;
            }
            if let Some(sizes) = self.other_sizes() {
                return Next::Memory(sizes);
            }
            match self.wake(waiting || working || sending).await {
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
            Phase::Opening(until) | Phase::Resetting(until) | Phase::Draining(until) => Some(until),
            Phase::Open | Phase::Ended | Phase::Dropped => None,
        };
        [timeout, idle, phase].into_iter().flatten().min()
    }

    fn now(&self) -> peer_core::time::Instant {
        engine_now(self.rest.epoch)
    }

    // What comes.

    /// Takes what waits. Whether something is left, for which there has to be memory first.
    fn take_mail(&mut self) -> bool {
        let mut mail = core::mem::take(&mut self.rest.mail);
        if mail.datagrams.is_empty() {
            self.rest.mailbox.take(&mut mail);
        }
        if let Some(sockets) = mail.sockets.take() {
            self.set_sockets(sockets);
        }
        if let Some(answer) = mail.answer.take() {
            self.answer(&answer);
        }
        for candidate in mail.candidates.drain(..) {
            self.add_candidate(&candidate);
        }
        self.receive(&mut mail.datagrams);
        if core::mem::take(&mut mail.close) {
            self.close();
        }
        let is_done = mail.datagrams.is_empty();
        if is_done {
            mail.datagrams.clear();
        }
        self.rest.mail = mail;
        !is_done
    }

    /// Takes datagrams, and hands over what they bring: it makes room for what comes. A remote that
    /// was told a large window once would lose what does not fit, so where more memory can be had
    /// the rest waits for it.
    fn receive(&mut self, datagrams: &mut Datagrams) {
        let now = self.now();
        let mut count = 0;
        while let Some((socket, source, datagram)) = datagrams.next() {
            let is_check = matches!(datagram.first(), Some(0..=3));
            let crypto = &mut self.rest.crypto;
            self.session.receive(now, crypto, socket, source, datagram);
            if is_check && self.session.ice().hears(socket, source) {
                self.rest.place.seat.claim(socket, source);
            }
            count += 1;
            if count % TRAIN == 0 || self.session.receive_room() < SMALL / 2 {
                self.take();
                if self.may_receive_more() {
                    return;
                }
            }
        }
    }

    /// Whether the receiving half should have more memory, and can get it.
    fn may_receive_more(&self) -> bool {
        let rest = &self.rest;
        let is_small = rest.sizes.is_some_and(|sizes| sizes.receive == Size::Small);
        is_small && rest.came.is_much() && self.session.is_receive_idle()
    }

    fn set_sockets(&mut self, sockets: Arc<[Arc<Socket>]>) {
        let addresses: Vec<_> = sockets.iter().map(|it| (it.id, it.address)).collect();
        self.rest.sockets = sockets;
        let now = self.now();
        if let Err(error) = self.session.set_addresses(now, &addresses) {
            tracing::debug!(%error, "some are not used");
        }
    }

    /// Takes the remote's answer.
    fn answer(&mut self, text: &str) {
        if self.rest.told.stage.get() != Stage::AwaitingAnswer {
            return;
        }
        let now = self.now();
        let taken = Remote::parse(text, false).and_then(|remote| self.set_remote(now, &remote));
        match taken {
            Ok(()) => self.rest.told.stage.enter(Stage::Checking),
            Err(failure) => self.fail(failure),
        }
    }

    fn set_remote(
        &mut self,
        now: peer_core::time::Instant,
        remote: &Remote,
    ) -> Result<(), Failure> {
        let refuse = |why: String| (RtcFailure::Description, why);
        let Some(fingerprint) = remote.fingerprints.first() else {
            return Err(refuse("the remote names no SHA-256 fingerprint".to_owned()));
        };
        let setup = match remote.is_client() {
            true => Setup::Passive,
            false => Setup::Active,
        };
        let told = peer_core::rtc::session::Remote {
            lite: remote.lite,
            fingerprint: *fingerprint,
            sctp_port: remote.sctp_port,
            max_message_size: remote.max_message_size,
            ..peer_core::rtc::session::Remote::new(&remote.ufrag, &remote.pwd, setup)
        };
        self.session.credit(u32::try_from(remote.len).unwrap_or(0));
        let taken = self.session.set_remote(now, &told);
        taken.map_err(|error| refuse(error.to_string()))?;
        let most = self.rest.config.max_message_size;
        self.rest.max_message_size = remote.max_message_size.min(most);
        for candidate in &remote.candidates {
            self.take_candidate(now, candidate);
        }
        self.tell(SessionEvent::IceState(IceState::Checking));
        Ok(())
    }

    fn add_candidate(&mut self, line: &str) {
        self.session.credit(u32::try_from(line.len()).unwrap_or(0));
        let now = self.now();
        self.take_candidate(now, line);
    }

    fn take_candidate(&mut self, now: peer_core::time::Instant, line: &str) {
        if self.rest.candidates == REMOTE_CANDIDATES_MAX {
            return;
        }
        self.rest.candidates += 1;
        let line = line.strip_prefix("a=").unwrap_or(line);
        if let Err(reason) = self.session.add_candidate(now, line) {
            tracing::debug!(%reason, line, "candidate passed over");
        }
    }

    /// Does one long operation of the handshake. Whether there is more.
    fn work(&mut self) -> bool {
        let now = self.now();
        let rest = &mut self.rest;
        self.session.wants_work() && self.session.work(now, &mut rest.crypto, &rest.identity)
    }

    // Messages.

    fn take(&mut self) {
        let rest = &mut self.rest;
        if let Some(channel) = &mut rest.channel
            && rest.phase != Phase::Dropped
        {
            let taken = channel.take(&mut self.session);
            rest.came.count(taken);
        }
    }

    fn give(&mut self) {
        let rest = &mut self.rest;
        if let (Some(channel), Some(sizes)) = (&mut rest.channel, rest.sizes) {
            let small = sizes.send == Size::Small;
            let given = channel.give(&mut self.session, &rest.told, small);
            rest.went.count(given);
        }
    }

    /// The memory that data should have, if that is other than what it has: a half that is idle can
    /// get it.
    fn other_sizes(&mut self) -> Option<Sizes> {
        let may_receive_more = self.may_receive_more();
        let rest = &mut self.rest;
        let Some(before) = rest.sizes else {
            let is_secured = rest.told.stage.get() == Stage::Associating;
            return is_secured.then_some(Sizes::SMALL);
        };
        let mut sizes = before;
        let channel = rest.channel.as_mut()?;
        if channel.is_cramped() && self.session.is_send_idle() {
            sizes.send = Size::Full;
        }
        if may_receive_more {
            sizes.receive = Size::Full;
        }
        if sizes == Sizes::SMALL {
            rest.idle_since = None;
        } else if rest.came.is_much() || rest.went.is_much() {
            rest.idle_since = Some(Instant::now());
        } else if rest.idle_since.get_or_insert_with(Instant::now).elapsed() >= IDLE_KEPT {
            let is_idle = self.session.is_send_idle() && self.session.is_receive_idle();
            if is_idle && channel.is_read() {
                sizes = Sizes::SMALL;
                channel.shrink();
                // There are two, which are exchanged.
                rest.mail.datagrams.shrink();
                rest.mailbox.shrink();
            }
            // The application may still have to read: nothing else would tell that it has.
            rest.idle_since = Some(Instant::now());
        }
        (sizes != before).then_some(sizes)
    }

    // What goes.

    /// Sends what there is to send. Whether there may be more.
    fn transmit(&mut self) -> bool {
        while let Some(unsent) = self.rest.unsent.pop_front() {
            if let Some(unsent) = unsent.again() {
                self.rest.unsent.push_front(unsent);
                return false;
            }
        }
        let more = with_room(|room| self.transmit_in(room));
        self.rest.told.tell(self.session.buffered());
        more
    }

    fn transmit_in(&mut self, room: &mut [u8]) -> bool {
        let now = self.now();
        let rest = &mut self.rest;
        let mut batch: Option<Batch> = None;
        for _ in 0..BATCH {
            let at = batch.as_ref().map_or(0, Batch::len);
            let Some(free) = room.get_mut(at..at + DATAGRAM_MAX) else {
                break;
            };
            let Some(next) = self.session.transmit(now, &mut rest.crypto, free) else {
                rest.unsent.extend(batch.and_then(|batch| batch.send(room)));
                return false;
            };
            let datagram = free.get(..next.len).unwrap_or_default();
            if next.socket.0 >= STREAMS_FROM {
                rest.streams.send(next.socket, datagram);
                continue;
            }
            rest.place.seat.sent(datagram);
            if batch.as_mut().is_some_and(|batch| batch.add(&next)) {
                continue;
            }
            if let Some(batch) = batch.take() {
                let end = batch.len();
                rest.unsent.extend(batch.send(room));
                room.copy_within(end..end + next.len, 0);
            }
            // What goes from an address that is gone is lost, as it would be beyond.
            let socket = rest.sockets.iter().find(|it| it.id == next.socket);
            batch = socket.map(|socket| Batch::new(socket, &next));
            if !rest.unsent.is_empty() {
                rest.unsent.extend(batch.map(|batch| batch.keep(room)));
                return false;
            }
        }
        rest.unsent.extend(batch.and_then(|batch| batch.send(room)));
        true
    }

    // What happens.

    fn follow_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::LocalCandidate(candidate) => {
                    let line = candidate.line(self.session.ice().ufrag()).to_string();
                    self.tell(SessionEvent::LocalCandidate(line));
                }
                Event::GatheringDone => self.look_for_relays(),
                Event::PathChanged(path) => *self.rest.told.address() = Some(path.remote),
                Event::Connected => {
                    if self.rest.told.stage.get() == Stage::Checking {
                        self.rest.told.stage.enter(Stage::Encrypting);
                    }
                    self.tell(SessionEvent::IceState(IceState::Connected));
                }
                Event::Disconnected => {
                    self.tell(SessionEvent::IceState(IceState::Disconnected));
                }
                Event::Secured => {
                    self.rest.told.stage.enter(Stage::Associating);
                    self.tell(SessionEvent::DtlsConnected);
                }
                Event::Open { .. } => self.opened(),
                Event::Closed(Closed::Channel) => self.reset(),
                Event::Closed(_) => self.end(SessionEvent::Closed, Phase::Ended),
                Event::Failed(failure) => self.failed(failure),
                _ => {}
            }
        }
        let is_ending = self.session.ending().is_some();
        if is_ending && matches!(self.rest.phase, Phase::Opening(_) | Phase::Open) {
            self.nothing_more_is_sent();
            self.rest.phase = Phase::Draining(Instant::now() + DRAIN_WAIT);
        }
    }

    fn opened(&mut self) {
        let rest = &mut self.rest;
        let size = rest.max_message_size as usize;
        let (Channel { sender, receiver }, ends) =
            channel(&rest.config, size, Arc::clone(&rest.told) as _);
        rest.channel = Some(OpenChannel::new(ends));
        rest.phase = Phase::Open;
        rest.told.stage.enter(Stage::Open);
        self.tell(SessionEvent::Open(sender, receiver));
    }

    /// The remote closed the channel; it hears that ours is closed, too, and that is the end.
    fn reset(&mut self) {
        self.nothing_more_is_sent();
        self.rest.phase = Phase::Resetting(Instant::now() + RESET_WAIT);
    }

    fn failed(&mut self, failure: peer_core::rtc::session::Failure) {
        let was_open = self.rest.channel.is_some();
        let (kind, sentence) = failure::of_session(failure, &self.asked(), was_open);
        self.end(SessionEvent::Failed(kind, sentence), Phase::Ended);
    }

    /// We cannot go on.
    fn fail(&mut self, (kind, sentence): Failure) {
        self.session.close();
        self.end(SessionEvent::Failed(kind, sentence), Phase::Dropped);
    }

    /// The handle is closed.
    fn close(&mut self) {
        self.session.close();
        let phase = match self.rest.phase {
            // What the remote sent before its own end is still handed over.
            Phase::Resetting(_) | Phase::Draining(_) | Phase::Ended => Phase::Ended,
            Phase::Opening(_) | Phase::Open | Phase::Dropped => Phase::Dropped,
        };
        self.end(SessionEvent::Closed, phase);
    }

    fn follow_time(&mut self) {
        let now = Instant::now();
        match self.rest.phase {
            Phase::Opening(until) if until <= now => {
                let failure = self.rest.told.stage.get().failure("the time was up");
                self.fail(failure);
            }
            Phase::Resetting(until) if until <= now || self.session.is_over() => {
                self.session.close();
                self.end(SessionEvent::Closed, Phase::Ended);
            }
            Phase::Draining(until) if until <= now => match self.session.ending() {
                Some(Event::Failed(failure)) => self.failed(failure),
                _ => self.end(SessionEvent::Closed, Phase::Ended),
            },
            _ => {}
        }
    }

    /// Tells the last event. The first one counts.
    fn end(&mut self, event: SessionEvent, phase: Phase) {
        self.nothing_more_is_sent();
        let rest = &mut self.rest;
        if matches!(rest.phase, Phase::Ended | Phase::Dropped) {
            return;
        }
        rest.phase = phase;
        tracing::debug!(?event, "the session is over");
        let why = match &event {
            SessionEvent::Failed(..) => End::Failed("the session failed"),
            _ => End::Ended,
        };
        end(&rest.told.end, why);
        rest.untold.push_back(event);
    }

    fn nothing_more_is_sent(&mut self) {
        if let Some(channel) = &mut self.rest.channel {
            channel.close();
        }
    }

    fn tell(&mut self, event: SessionEvent) {
        let rest = &mut self.rest;
        if matches!(rest.phase, Phase::Ended | Phase::Dropped) {
            return;
        }
        let is_news = matches!(
            event,
            SessionEvent::LocalCandidate(_) | SessionEvent::IceState(_)
        );
        if rest.untold.len() < UNTOLD_MAX || !is_news {
            rest.untold.push_back(event);
        }
    }

    /// Whether all is told and sent, and handed over what anybody wants.
    fn is_over(&mut self) -> bool {
        let rest = &mut self.rest;
        if rest.untold.is_empty() && matches!(rest.phase, Phase::Ended | Phase::Dropped) {
            // The receiver of events sees that it was the last.
            rest.events = None;
        }
        let is_read = rest.phase == Phase::Dropped
            || rest.channel.as_ref().is_none_or(OpenChannel::is_delivered);
        rest.events.is_none()
            && is_read
            && self.session.is_over()
            && self.session.timeout().is_none()
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
