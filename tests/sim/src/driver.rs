//! The driver around an engine: feeds, polls, keeps its timer, and does what it says.

use std::rc::Rc;

use peer_core::connection::MESSAGE_COST;
use peer_core::peer::{
    ConnectError, ConnectionHandle, Event, Input, InputError, PeerState, Room, RtcInput,
};
use peer_core::serialization::{Fragment, MessageKind, Serialization};
use peer_core::time::Duration;

use crate::gateway::Held;
use crate::host::{Access, Conn, HostEvent, HostId, KEPT_MAX, Message};
use crate::io::{Command, RtcStimulus, Stimulus, kind_of, poll};
use crate::sim::{Happening, Sim};
use crate::trace;

/// Outputs taken in one go.
const BATCH_MAX: usize = 64;
/// A driver that polls late does so at most this much later.
const LAZY_MAX: Duration = Duration::from_millis(30);
/// A `BrokerSocket` that was lost comes back by itself within 30 s. One that the engine closed does
/// not, so the application comes after.
const SOCKET_COMES_BACK: Duration = Duration::from_secs(40);

/// A piece of a message on its way into an engine.
struct Piece {
    first: bool,
    last: bool,
    kind: MessageKind,
    bytes: Vec<u8>,
}

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
        if let Stimulus::Rtc(handle, RtcStimulus::Opened) = stimulus
            && self.hosts[id.0].options.credit
        {
            let credit = Stimulus::Rtc(handle, RtcStimulus::Credit(0));
            let credit = self.up_to_date(id, credit);
            self.input(id, &credit);
        }
        let stimulus = self.up_to_date(id, stimulus);
        self.input(id, &stimulus);
        self.poll_soon(id);
    }

    /// A driver that is told of less buffered looks how much it is now, not how much it was when
    /// that happened.
    pub(crate) fn up_to_date(&mut self, id: HostId, stimulus: Stimulus) -> Stimulus {
        let Stimulus::Rtc(handle, rtc) = &stimulus else {
            return stimulus;
        };
        let end = self.hosts[id.0].ends.get(handle);
        let Some(end) = end.and_then(|end| self.ends[*end].as_deref_mut()) else {
            return stimulus;
        };
        let rtc = match rtc {
            RtcStimulus::Buffered(_) => RtcStimulus::Buffered(end.tx.buffered_amount()),
            RtcStimulus::Credit(_) => {
                let room = end.tx.room();
                end.tx.credit = Some(room);
                RtcStimulus::Credit(u32::try_from(room).unwrap_or(u32::MAX))
            }
            _ => return stimulus,
        };
        Stimulus::Rtc(*handle, rtc)
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
        if self.poll_some(id, few, &mut { Room::UNLIMITED }) {
            self.arm(id);
        } else if !core::mem::replace(&mut self.hosts[id.0].poll_pending, true) {
            let at = self.now + self.rng_hosts.up_to(LAZY_MAX);
            self.schedule(at, Happening::HostPoll(id, incarnation));
        }
    }

    /// Polls at most so many outputs, for which it takes of the room, and does what they say;
    /// whether the engine waits now.
    fn poll_some(&mut self, id: HostId, at_most: usize, room: &mut Room) -> bool {
        let presses = *room != Room::UNLIMITED && self.rng_hosts.chance(0.5);
        let now = *room;
        let host = &mut self.hosts[id.0];
        let is_device = host.is_device();
        let Some(engine) = &mut host.engine else {
            return true;
        };
        let batch = if is_device {
            self.turn(id)
        } else {
            engine.with(move |peer| poll(peer, at_most, now, presses))
        };
        *room = batch.room.unwrap_or(now);
        if let Some(fault) = &batch.roomless {
            self.violated("room-kept", format_args!("{fault}"));
        }
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
        if let Stimulus::Rtc(handle, RtcStimulus::Frame(kind, bytes, taken)) = stimulus {
            self.look_for_close(id, *handle, bytes);
            self.feed_message(id, *handle, *kind, bytes, *taken);
            return;
        }
        let mut result = self.feed(id, stimulus);
        if result == Err(InputError::Full) {
            self.stats.full += 1;
            self.drain_into(id, Room::UNLIMITED);
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
    }

    /// Feeds a message whole, or cut at random where the driver gets it in pieces: then perhaps the
    /// rest later.
    fn feed_message(
        &mut self,
        id: HostId,
        handle: ConnectionHandle,
        kind: MessageKind,
        bytes: &Rc<[u8]>,
        mut taken: usize,
    ) {
        loop {
            let left = bytes.len() - taken;
            let mut len = left;
            let cuts = self.hosts[id.0].options.cuts;
            if cuts > 0.0 && left > 1 && self.rng_hosts.chance(cuts) {
                len = 1 + self.rng_hosts.index(left);
            }
            let piece = Piece {
                first: taken == 0,
                last: len == left,
                kind,
                bytes: bytes[taken..taken + len].into(),
            };
            let fed = self.feed_piece(id, handle, piece);
            let rest =
                |taken| Stimulus::Rtc(handle, RtcStimulus::Frame(kind, Rc::clone(bytes), taken));
            match fed {
                Err(InputError::InboxFull { taken: some }) => {
                    self.stats.inbox_full += 1;
                    self.hold(id, rest(taken + some));
                    return;
                }
                Err(InputError::Stale) => return,
                // What is dropped is dropped to its end.
                Ok(()) | Err(_) => taken += len,
            }
            if taken == bytes.len() {
                return;
            }
            if self.rng_hosts.chance(0.3) {
                self.hold(id, rest(taken));
                let incarnation = self.hosts[id.0].incarnation;
                let at = self.now + self.rng_hosts.up_to(LAZY_MAX);
                self.schedule(at, Happening::HostFeed(id, incarnation, handle));
                return;
            }
        }
    }

    /// Feeds a piece of a message, and checks what the engine promises about it.
    fn feed_piece(
        &mut self,
        id: HostId,
        handle: ConnectionHandle,
        piece: Piece,
    ) -> Result<(), InputError> {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        let local = host.local(now);
        host.told = host.told.max(local);
        let Some(engine) = &mut host.engine else {
            return Ok(());
        };
        self.stats.inputs += 1;
        let streams = host.options.streams_in;
        let len = piece.bytes.len();
        let cost = len + if piece.first { MESSAGE_COST } else { 0 };
        let (room, result, readable, lost) = engine.with(move |peer| {
            let room = peer.receive_room(handle);
            let before = peer.stats().malformed_messages;
            let fragment = Fragment {
                first: piece.first,
                last: piece.last,
                kind: piece.kind,
                bytes: &piece.bytes,
            };
            let result = peer.handle_input(local, Input::Rtc(handle, RtcInput::Fragment(fragment)));
            let readable = peer.connection(handle).is_some_and(|it| it.readable() > 0);
            (
                room,
                result,
                readable,
                peer.stats().malformed_messages != before,
            )
        });
        if lost {
            // Documented: a message too large for the memory is dropped and reported.
            self.excuse(id, handle);
        }
        if let Err(InputError::InboxFull { taken }) = result {
            if cost <= room {
                self.violated(
                    "room-kept",
                    format_args!("{handle:?} promised {room} bytes and took {taken} of {len}"),
                );
            }
            if taken >= len.max(1) || !readable && !streams {
                self.violated(
                    "full-helps",
                    format_args!("{handle:?} took {taken} of {len}, something to read: {readable}"),
                );
            }
        }
        result
    }

    /// Whether the host's program still runs and this can happen to it now. If it stands still,
    /// that happens afterwards.
    fn runs(&mut self, id: HostId, incarnation: u32, what: Happening) -> bool {
        let host = &mut self.hosts[id.0];
        let lives = host.incarnation == incarnation && host.engine.is_some();
        if lives && host.paused {
            host.backlog.push_back(what);
            return false;
        }
        lives
    }

    /// More of a message has come from the channel.
    pub(crate) fn host_feed(&mut self, id: HostId, incarnation: u32, handle: ConnectionHandle) {
        self.subject = Some(id);
        if !self.runs(
            id,
            incarnation,
            Happening::HostFeed(id, incarnation, handle),
        ) {
            return;
        }
        self.feed_held(id, handle);
        self.poll_soon(id);
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
            if self.wants_past(id) {
                // What was polled just now may want to know the time from which it counts.
                self.input(id, &Stimulus::Timeout);
                self.drain(id);
            }
            let host = &self.hosts[id.0];
            let (wanted, told) = (host.wanted, host.told);
            if self.wants_past(id) {
                self.violated(
                    "timeouts-move",
                    format_args!("after Timeout at {told:?} the engine still wants {wanted:?}"),
                );
            }
        } else {
            self.arm(id);
        }
    }

    fn wants_past(&self, id: HostId) -> bool {
        let host = &self.hosts[id.0];
        host.wanted.is_some_and(|wanted| wanted <= host.told)
    }

    pub(crate) fn host_poll(&mut self, id: HostId, incarnation: u32) {
        if self.hosts[id.0].incarnation == incarnation {
            self.drain(id);
        }
    }

    /// Polls until the engine waits, and does what it says.
    pub(crate) fn drain(&mut self, id: HostId) {
        let room = self.room(id);
        self.drain_into(id, room);
    }

    fn drain_into(&mut self, id: HostId, room: Room) {
        self.subject = Some(id);
        if self.hosts[id.0].paused {
            return;
        }
        self.hosts[id.0].poll_pending = false;
        let mut left = room;
        while !self.poll_some(id, BATCH_MAX, &mut left) {}
        if room != Room::UNLIMITED && !core::mem::replace(&mut self.hosts[id.0].poll_pending, true)
        {
            // There is more room soon, and then it looks again.
            let incarnation = self.hosts[id.0].incarnation;
            let at = self.now + self.rng_hosts.up_to(LAZY_MAX);
            self.schedule(at, Happening::HostPoll(id, incarnation));
        }
        self.arm(id);
        if room == Room::UNLIMITED {
            self.check_host(id);
        }
    }

    /// What the driver can take at this time.
    fn room(&mut self, id: HostId) -> Room {
        let host = &self.hosts[id.0];
        let tight = host.options.tight;
        if tight == 0.0 || host.is_device() || !self.rng_hosts.chance(tight) {
            return Room::UNLIMITED;
        }
        let [broker, rtc, data] = core::array::from_fn(|_| match self.rng_hosts.below(4) {
            0 => 0,
            1 => self.rng_hosts.index(700),
            2 => self.rng_hosts.index(20_000),
            _ => usize::MAX,
        });
        Room { broker, rtc, data }
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
        // An engine takes what it was told last for the time. What is around a device's goes by the
        // clock.
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
        if let Event::Connection(handle) | Event::ConnectionOpen(handle) = event
            && host.options.streams_in
            && let Some(engine) = &mut host.engine
        {
            engine.with(move |peer| {
                if let Some(mut connection) = peer.connection(handle) {
                    connection.set_streaming(true);
                }
            });
        }
        match event {
            Event::Data(handle) => {
                let wait = host.options.reads_after;
                let readable = host.engine.as_mut().and_then(|engine| {
                    engine.with(move |peer| Some(peer.connection(handle)?.readable()))
                });
                let streams = host.options.streams_in;
                if !streams && readable.is_none_or(|readable| readable == 0) {
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
            Event::Open => {
                host.backoff = 0;
                self.broker_is_back(id);
            }
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
        let (wait, more) = if host.options.access == Access::Tcp {
            (SOCKET_COMES_BACK, first)
        } else {
            let wait = (first * (1 << host.backoff.min(5))).min(Duration::from_secs(30));
            (wait / 2, wait / 2)
        };
        host.backoff += 1;
        let incarnation = host.incarnation;
        let at = self.now + wait + self.rng_hosts.up_to(more);
        self.schedule(at, Happening::Reconnect(id, incarnation));
    }

    pub(crate) fn reconnect_host(&mut self, id: HostId, incarnation: u32) {
        let now = self.now;
        if !self.runs(id, incarnation, Happening::Reconnect(id, incarnation)) {
            return;
        }
        let host = &mut self.hosts[id.0];
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
        if !self.runs(
            id,
            incarnation,
            Happening::HostRead(id, incarnation, handle),
        ) {
            return;
        }
        self.read(id, handle);
        self.drain(id);
    }

    /// The application reads all there is; then the engine is given what it could not take before.
    fn read(&mut self, id: HostId, handle: ConnectionHandle) {
        if self.hosts[id.0].options.streams_in {
            self.read_pieces(id, handle);
            return;
        }
        let Some(engine) = &mut self.hosts[id.0].engine else {
            return;
        };
        let read = engine.with(move |peer| {
            let before = peer.stats().malformed_messages;
            let mut connection = peer.connection(handle)?;
            let serialization = connection.serialization();
            let mut messages = Vec::new();
            while let Some(Fragment { kind, bytes, .. }) = connection.recv_raw() {
                messages.push((kind, bytes.to_vec()));
            }
            let lost = peer.stats().malformed_messages != before;
            Some((serialization, messages, lost))
        });
        let Some((serialization, messages, lost)) = read else {
            self.check_vanished(id, handle);
            return;
        };
        if lost {
            // Documented: what was read may have been all that a message coming in could stay
            // beside.
            self.excuse(id, handle);
        }
        for (kind, bytes) in messages {
            self.received(id, handle, serialization, kind, bytes);
        }
        self.done_reading(id, handle);
        self.feed_held(id, handle);
    }

    /// The application reads all there is in pieces, so that messages may be longer than its
    /// memory.
    fn read_pieces(&mut self, id: HostId, handle: ConnectionHandle) {
        loop {
            let Some(engine) = &mut self.hosts[id.0].engine else {
                return;
            };
            let read = engine.with(move |peer| {
                let before = peer.stats().malformed_messages;
                let mut connection = peer.connection(handle)?;
                let piece = connection.recv_piece();
                let piece = piece.map(|piece| (piece.first, piece.last, piece.bytes.to_vec()));
                Some((piece, peer.stats().malformed_messages != before))
            });
            let Some((piece, lost)) = read else {
                self.check_vanished(id, handle);
                return;
            };
            if lost {
                self.excuse(id, handle);
            }
            let Some((first, last, bytes)) = piece else {
                break;
            };
            let Some(record) = self.hosts[id.0].record_mut(handle) else {
                return;
            };
            let begun = match (first, record.piece.take()) {
                (true, None) => trace::digest(&[]),
                // Documented: the rest of that message was lost.
                (true, Some(_)) => {
                    self.excuse(id, handle);
                    trace::digest(&[])
                }
                (false, Some(begun)) => begun,
                (false, None) => {
                    self.violated(
                        "stream-whole",
                        format_args!("{handle:?} gives a piece of a message that did not begin"),
                    );
                    return;
                }
            };
            let digest = trace::digest_on(begun, &bytes);
            let len = bytes.len();
            self.note(id, format_args!("reads {handle:?} piece of {len} bytes"));
            if last {
                self.note(id, format_args!("reads {handle:?} {digest:016x}"));
                self.stats.messages_read += 1;
                self.stats.pieced += u64::from(!first);
                self.check_received(id, handle, digest);
            } else if let Some(record) = self.hosts[id.0].record_mut(handle) {
                record.piece = Some(digest);
            }
        }
        self.done_reading(id, handle);
        self.feed_held(id, handle);
    }

    /// The application reads one message: its length.
    pub(crate) fn read_one(&mut self, id: HostId, handle: ConnectionHandle) -> Option<usize> {
        let engine = self.hosts[id.0].engine.as_mut()?;
        let (serialization, message, lost) = engine.with(move |peer| {
            let before = peer.stats().malformed_messages;
            let mut connection = peer.connection(handle)?;
            let serialization = connection.serialization();
            let message = connection.recv_raw();
            let message = message.map(|Fragment { kind, bytes, .. }| (kind, bytes.to_vec()));
            let lost = peer.stats().malformed_messages != before;
            Some((serialization, message, lost))
        })?;
        if lost {
            self.excuse(id, handle);
        }
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
        kind: MessageKind,
        bytes: Vec<u8>,
    ) {
        let digest = trace::digest(&bytes);
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
                let digest = trace::digest(text.as_bytes());
                let kind = kind_of(text);
                self.note(id, format_args!("< {kind} {digest:016x}"));
            }
            Stimulus::Rtc(handle, RtcStimulus::Description(sdp)) => {
                let len = sdp.len();
                self.note(id, format_args!("< {handle:?} description, {len} bytes"));
            }
            Stimulus::Rtc(handle, RtcStimulus::Frame(_, bytes, taken)) => {
                let (len, taken) = (bytes.len(), *taken);
                match taken {
                    0 => self.note(id, format_args!("< {handle:?} frame, {len} bytes")),
                    _ => self.note(
                        id,
                        format_args!("< {handle:?} frame, {len} bytes from {taken}"),
                    ),
                }
            }
            Stimulus::Rtc(handle, rtc) => self.note(id, format_args!("< {handle:?} {rtc:?}")),
            other => self.note(id, format_args!("< {other:?}")),
        }
    }
}
