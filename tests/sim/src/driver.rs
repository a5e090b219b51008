//! The driver around an engine: feeds, polls, keeps its timer, and does what it says.

use peer_core::connection::Message as Raw;
use peer_core::peer::{ConnectError, ConnectionHandle, Event, InputError, PeerState};
use peer_core::serialization::{FrameKind, Serialization};
use peer_core::time::Duration;

use crate::gateway::Held;
use crate::host::{Access, Conn, HostEvent, HostId, KEPT_MAX, Message};
use crate::io::{Command, RtcStimulus, Stimulus, kind_of, poll};
use crate::sim::{Happening, Sim};

/// Outputs taken in one go.
const BATCH_MAX: usize = 64;
/// A driver that polls late does so at most this much later.
const LAZY_MAX: Duration = Duration::from_millis(30);
/// A `BrokerSocket` that was lost comes back by itself within 30 s. One that the engine closed does not, so the
/// application comes after.
const SOCKET_COMES_BACK: Duration = Duration::from_secs(70);

impl Sim {
    /// Feeds one input, polls if need be and feeds it again, then polls.
    pub(crate) fn stimulate(&mut self, id: HostId, incarnation: u32, stimulus: Stimulus) {
        if self.lease(id) != incarnation {
            return;
        }
        if self.machine(id) != id {
            self.tell_leaf(id, incarnation, stimulus);
            return;
        }
        let host = &mut self.hosts[id.0];
        if host.engine.is_none() {
            return;
        }
        if host.paused {
            host.backlog
                .push_back(Happening::Stimulus(id, incarnation, stimulus));
            return;
        }
        if !host.leased.held.is_empty() {
            host.leased.held.push_back(Held::new(stimulus));
            return;
        }
        if let Stimulus::Rtc(handle, rtc) = &stimulus
            && self.must_hold(id, *handle, rtc)
        {
            return;
        }
        let stimulus = self.up_to_date(id, stimulus);
        self.input(id, &stimulus);
        self.poll_soon(id);
    }

    /// A driver that is told of less buffered looks how much it is now, not how much it was when that happened.
    pub(crate) fn up_to_date(&self, id: HostId, stimulus: Stimulus) -> Stimulus {
        let Stimulus::Rtc(handle, RtcStimulus::Buffered(_)) = stimulus else {
            return stimulus;
        };
        let end = self.hosts[id.0].ends.get(&handle);
        match end.and_then(|end| self.ends[*end].as_deref()) {
            Some(end) => Stimulus::Rtc(handle, RtcStimulus::Buffered(end.tx.buffered_amount())),
            None => stimulus,
        }
    }

    /// A device has turned: what its engine had no room for may find some.
    pub(crate) fn retry_held(&mut self, id: HostId) {
        if self.machine(id) != id || self.hosts[id.0].leased.held.is_empty() {
            return;
        }
        for held in core::mem::take(&mut self.hosts[id.0].leased.held) {
            let incarnation = self.hosts[id.0].incarnation;
            self.stimulate(id, incarnation, held.stimulus);
        }
    }

    /// Polls, or lets a driver that polls late do so: a few outputs now and the others later.
    pub(crate) fn poll_soon(&mut self, id: HostId) {
        let host = &self.hosts[id.0];
        let (lazy, incarnation) = (host.options.lazy, host.incarnation);
        if host.engine.is_none() || host.paused || host.is_device() || !self.rng_hosts.chance(lazy)
        {
            self.drain(id);
            return;
        }
        let few = self.rng_hosts.index(4);
        if self.poll_some(id, few) {
            self.arm(id);
        } else if !core::mem::replace(&mut self.hosts[id.0].poll_pending, true) {
            let at = self.now + self.rng_hosts.up_to(LAZY_MAX);
            self.schedule(at, Happening::HostPoll(id, incarnation));
        }
    }

    /// Polls at most so many outputs and does what they say; whether the engine waits now.
    fn poll_some(&mut self, id: HostId, at_most: usize) -> bool {
        let host = &mut self.hosts[id.0];
        let is_device = host.is_device();
        let Some(engine) = &mut host.engine else {
            return true;
        };
        let batch = if is_device {
            self.turn(id)
        } else {
            engine.with(move |peer| poll(peer, at_most))
        };
        self.count_outputs(id, batch.commands.len());
        for command in batch.commands {
            self.perform(id, command);
        }
        if let Some(wanted) = batch.waits {
            self.hosts[id.0].wanted = wanted;
        }
        batch.waits.is_some()
    }

    /// What the engine said to one input.
    pub(crate) fn input(&mut self, id: HostId, stimulus: &Stimulus) {
        self.subject = Some(id);
        self.note_stimulus(id, stimulus);
        if let Stimulus::Rtc(handle, RtcStimulus::Frame(_, bytes)) = stimulus {
            self.look_for_close(id, *handle, bytes);
        }
        let mut result = self.feed(id, stimulus);
        if result == Err(InputError::Full) {
            self.stats.full += 1;
            self.drain(id);
            result = self.feed(id, stimulus);
            if result == Err(InputError::Full) && self.hosts[id.0].options.access == Access::Tcp {
                // Documented: while TCP takes nothing the engine is not polled.
                let held = &mut self.hosts[id.0].leased.held;
                held.push_back(Held::new(stimulus.clone()));
            } else if result == Err(InputError::Full) {
                self.violated(
                    "full-helps",
                    format_args!("{stimulus:?} is Full after polling"),
                );
            }
        }
        if let Err(InputError::InboxFull { .. }) = result {
            self.stats.inbox_full += 1;
            self.hold(id, stimulus.clone());
        }
    }

    fn feed(&mut self, id: HostId, stimulus: &Stimulus) -> Result<(), InputError> {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        let local = host.local(now);
        host.told = host.told.max(local);
        let Some(engine) = &mut host.engine else {
            return Ok(());
        };
        self.stats.inputs += 1;
        let fed = stimulus.clone();
        let (result, lost) = engine.with(move |peer| {
            let before = peer.stats().malformed_messages;
            let result = fed.feed(peer, local);
            (result, peer.stats().malformed_messages != before)
        });
        if let (Stimulus::Rtc(handle, RtcStimulus::Frame(..)), true) = (stimulus, lost) {
            // Documented: a message too large for the memory is dropped and reported.
            self.excuse(id, *handle);
        }
        result
    }

    pub(crate) fn host_timer(&mut self, id: HostId) {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        if host.timer != Some(now) {
            return;
        }
        host.timer = None;
        if host.engine.is_none() || host.paused {
            // Armed again when it goes on.
            return;
        }
        let local = host.local(now);
        let told = host.told;
        if host.is_device() {
            self.timed_turn(id);
        } else if host.wanted.is_some_and(|wanted| wanted <= local.max(told)) {
            self.input(id, &Stimulus::Timeout);
            self.drain(id);
            let host = &self.hosts[id.0];
            let (wanted, told) = (host.wanted, host.told);
            if wanted.is_some_and(|wanted| wanted <= told) {
                self.violated(
                    "timeouts-move",
                    format_args!("after Timeout at {told:?} the engine still wants {wanted:?}"),
                );
            }
        } else {
            self.arm(id);
        }
    }

    pub(crate) fn host_poll(&mut self, id: HostId, incarnation: u32) {
        if self.hosts[id.0].incarnation == incarnation {
            self.drain(id);
        }
    }

    /// Polls until the engine waits, and does what it says.
    pub(crate) fn drain(&mut self, id: HostId) {
        self.subject = Some(id);
        if self.hosts[id.0].paused {
            return;
        }
        self.hosts[id.0].poll_pending = false;
        while !self.poll_some(id, BATCH_MAX) {}
        self.arm(id);
        self.check_host(id);
    }

    /// Sets the timer for what the engine wants.
    pub(crate) fn arm(&mut self, id: HostId) {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        let Some(wanted) = host.wanted.filter(|_| !host.paused) else {
            return;
        };
        // Whoever sets a timer has just looked at its clock.
        host.local(now);
        // An engine takes what it was told last for the time. What is around a device's goes by the clock.
        let at = if wanted <= host.told && !host.is_device() {
            now
        } else {
            host.global(wanted).max(now)
        };
        if host.timer.is_none_or(|timer| at < timer) {
            host.timer = Some(at);
            self.schedule(at, Happening::HostTimer(id));
        }
    }

    pub(crate) fn perform(&mut self, id: HostId, command: Command) {
        match command {
            Command::RetrieveId => self.retrieve_id(id),
            Command::Open { id: peer, token } => self.open_socket(id, peer, token),
            Command::Send(text) => self.socket_send(id, text),
            Command::CloseSocket => {
                self.note(id, format_args!("> broker close"));
                if let Some(socket) = self.hosts[id.0].socket.take() {
                    self.socket_client_closed(socket);
                }
            }
            Command::Rtc(handle, rtc) => self.session_command(id, handle, rtc),
            Command::Event(event) => self.event(id, event),
            Command::Done(what) => self.note(id, format_args!("> {what}")),
            Command::Attempts => self.hosts[id.0].attempts = true,
            Command::LinkUp => {
                self.note(id, format_args!("link up"));
                self.hosts[id.0].was_up = true;
            }
            Command::LinkDown(reason) => {
                self.note(id, format_args!("link down: {reason:?}"));
                // What its gateway handed on may be lost.
                for record in &mut self.hosts[id.0].records {
                    record.told_close = false;
                }
            }
        }
    }

    fn event(&mut self, id: HostId, event: Event) {
        self.note(id, format_args!("event {event:?}"));
        let handle = self.check_event(id, event);
        let now = self.now;
        let host = &mut self.hosts[id.0];
        let conn = handle.map(|handle| Conn {
            host: id,
            incarnation: host.incarnation,
            handle,
        });
        host.events.push_back(HostEvent {
            at: now,
            event,
            conn,
        });
        if host.events.len() > KEPT_MAX {
            host.events.pop_front();
        }
        match event {
            Event::Data(handle) => {
                let wait = host.options.reads_after;
                let readable = host.engine.as_mut().and_then(|engine| {
                    engine.with(move |peer| Some(peer.connection(handle)?.readable()))
                });
                if readable.is_none_or(|readable| readable == 0) {
                    self.violated(
                        "data-to-read",
                        format_args!("{event:?} and nothing to read"),
                    );
                } else if self.flow_on(id, handle) {
                    // It reads as it likes.
                } else if wait.is_zero() {
                    self.read(id, handle);
                } else {
                    let incarnation = self.hosts[id.0].incarnation;
                    let at = now + self.rng_hosts.up_to(wait);
                    self.mark_reading(id, handle);
                    self.schedule(at, Happening::HostRead(id, incarnation, handle));
                }
            }
            Event::Writable(handle) => {
                self.stream_on(id, handle);
                self.flow_on(id, handle);
            }
            Event::ConnectionClosed(handle) | Event::ConnectionFailed(handle, _) => {
                self.flow_ends(id, handle);
            }
            Event::Open => host.backoff = 0,
            Event::Disconnected => self.plan_reconnect(id),
            _ => {}
        }
    }

    fn plan_reconnect(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        let Some(first) = host.options.reconnect else {
            return;
        };
        if core::mem::replace(&mut host.reconnect_pending, true) {
            return;
        }
        let wait = if host.options.access == Access::Tcp {
            SOCKET_COMES_BACK
        } else {
            (first * (1 << host.backoff.min(5))).min(Duration::from_secs(30))
        };
        host.backoff += 1;
        let incarnation = host.incarnation;
        let at = self.now + wait / 2 + self.rng_hosts.up_to(wait / 2);
        self.schedule(at, Happening::Reconnect(id, incarnation));
    }

    pub(crate) fn reconnect_host(&mut self, id: HostId, incarnation: u32) {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        if host.incarnation != incarnation || host.engine.is_none() {
            return;
        }
        if host.paused {
            host.backlog
                .push_back(Happening::Reconnect(id, incarnation));
            return;
        }
        host.reconnect_pending = false;
        let local = host.local(now);
        host.told = host.told.max(local);
        let result = host
            .engine
            .as_mut()
            .map(|engine| engine.with(move |peer| (peer.state(), peer.reconnect(local))));
        match result {
            Some((PeerState::Disconnected, Ok(()))) => {
                self.hosts[id.0].attempts = true;
                self.note(id, format_args!("reconnects"));
                self.drain(id);
            }
            Some((PeerState::Destroyed, Err(ConnectError::Destroyed)))
            | Some((PeerState::Open | PeerState::Connecting, Err(ConnectError::NotDisconnected)))
            | None => {}
            Some((state, result)) => self.violated(
                "reconnect",
                format_args!("{state:?} answers reconnect with {result:?}"),
            ),
        }
    }

    pub(crate) fn host_read(&mut self, id: HostId, incarnation: u32, handle: ConnectionHandle) {
        self.subject = Some(id);
        let host = &mut self.hosts[id.0];
        if host.incarnation != incarnation || host.engine.is_none() {
            return;
        }
        if host.paused {
            host.backlog
                .push_back(Happening::HostRead(id, incarnation, handle));
            return;
        }
        self.read(id, handle);
        self.drain(id);
    }

    /// The application reads all there is; then the engine is given what it could not take before.
    fn read(&mut self, id: HostId, handle: ConnectionHandle) {
        let Some(engine) = &mut self.hosts[id.0].engine else {
            return;
        };
        let read = engine.with(move |peer| {
            let mut connection = peer.connection(handle)?;
            let serialization = connection.serialization();
            let mut messages = Vec::new();
            while let Some(Raw { kind, bytes, .. }) = connection.recv_raw() {
                messages.push((kind, bytes.to_vec()));
            }
            Some((serialization, messages))
        });
        let Some((serialization, messages)) = read else {
            self.check_vanished(id, handle);
            return;
        };
        for (kind, bytes) in messages {
            self.received(id, handle, serialization, kind, bytes);
        }
        self.done_reading(id, handle);
        self.feed_held(id, handle);
    }

    /// The application reads one message: its length.
    pub(crate) fn read_one(&mut self, id: HostId, handle: ConnectionHandle) -> Option<usize> {
        let engine = self.hosts[id.0].engine.as_mut()?;
        let (serialization, message) = engine.with(move |peer| {
            let mut connection = peer.connection(handle)?;
            let serialization = connection.serialization();
            let message = connection.recv_raw();
            let message = message.map(|Raw { kind, bytes, .. }| (kind, bytes.to_vec()));
            Some((serialization, message))
        })?;
        let Some((kind, bytes)) = message else {
            self.done_reading(id, handle);
            return None;
        };
        let len = bytes.len();
        self.received(id, handle, serialization, kind, bytes);
        Some(len)
    }

    fn received(
        &mut self,
        id: HostId,
        handle: ConnectionHandle,
        serialization: Serialization,
        kind: FrameKind,
        bytes: Vec<u8>,
    ) {
        let digest = crate::trace::digest(&bytes);
        let len = bytes.len();
        self.note(
            id,
            format_args!("reads {handle:?} {len} bytes {digest:016x}"),
        );
        self.stats.messages_read += 1;
        self.check_received(id, handle, digest);
        let now = self.now;
        let host = &mut self.hosts[id.0];
        if host.options.keeps_messages {
            let from = host
                .record(handle)
                .map(|record| record.remote.clone())
                .unwrap_or_default();
            host.messages.push_back(Message {
                at: now,
                conn: Conn {
                    host: id,
                    incarnation: host.incarnation,
                    handle,
                },
                from,
                kind,
                serialization,
                bytes,
            });
            if host.messages.len() > KEPT_MAX {
                host.messages.pop_front();
            }
        }
    }

    pub(crate) fn note_stimulus(&mut self, id: HostId, stimulus: &Stimulus) {
        match stimulus {
            Stimulus::Timeout => self.note(id, format_args!("< timeout")),
            Stimulus::IdRetrieved(peer) => self.note(id, format_args!("< id {peer}")),
            Stimulus::Text(text) => {
                let digest = crate::trace::digest(text.as_bytes());
                let kind = kind_of(text);
                self.note(id, format_args!("< {kind} {digest:016x}"));
            }
            Stimulus::Rtc(handle, RtcStimulus::Description(sdp)) => {
                let len = sdp.len();
                self.note(id, format_args!("< {handle:?} description, {len} bytes"));
            }
            Stimulus::Rtc(handle, RtcStimulus::Frame(_, bytes)) => {
                let len = bytes.len();
                self.note(id, format_args!("< {handle:?} frame, {len} bytes"));
            }
            Stimulus::Rtc(handle, rtc) => self.note(id, format_args!("< {handle:?} {rtc:?}")),
            other => self.note(id, format_args!("< {other:?}")),
        }
    }
}
