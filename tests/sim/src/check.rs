//! What must hold after every step.

use core::fmt;
use peer_core::connection::HIGH_WATER;
use peer_core::link::Timing;
use peer_core::net::SocketTiming;
use peer_core::peer::{ConnectionHandle, Event};
use peer_core::serialization::Serialization;
use peer_core::time::{Duration, Instant};

use crate::flow::Flow;
use crate::host::{Access, Host, HostId};
use crate::session::{End, EndId};
use crate::sim::Sim;
use crate::stream::Streaming;

/// Outputs of one host at one instant. More is a busy loop.
const OUTPUTS_MAX: u32 = 20_000;
/// How late an outcome may come, in simulation time: a driver that polls late is as late.
const OUTCOME_SLACK: Duration = Duration::from_millis(200);
/// How long a leaf may have no room to say that a connection is over.
const CLOSE_SLACK: Duration = Duration::from_secs(30);
/// The largest frame the engine hands out.
const FRAME_MAX: u32 = 262_144;
/// Handles of connections that are over, looked at again and again.
const ENDED_MAX: usize = 8;
/// How often all hosts are looked at, not only those where something happens.
pub(crate) const AUDIT_EVERY: Duration = Duration::from_secs(5);
/// Lines of the trace that a failure shows, unless `PEER_SIM_LINES` asks for more.
const LINES_SHOWN: usize = 60;

/// The names of all invariants, each with what it says.
pub const INVARIANTS: &[(&str, &str)] = &[
    (
        "stale-handle",
        "no handle resolves after its last event and its last message",
    ),
    (
        "capacity",
        "connections and buffers stay within what the engine was given",
    ),
    (
        "one-outcome",
        "each connect ends in exactly one of open and failed",
    ),
    (
        "outcome-in-time",
        "it does so by its deadline on the host's clock",
    ),
    (
        "event-order",
        "events of a connection and of a peer come in the documented order",
    ),
    (
        "busy-loop",
        "a host does a bounded number of things at one instant",
    ),
    (
        "timeouts-move",
        "after a timeout the engine wants a later one, or none",
    ),
    (
        "full-helps",
        "an input that was Full is taken after polling",
    ),
    (
        "room-kept",
        "the engine says nothing there is no room for and holds back nothing else, sends no more than it has credit \
         for, and takes what it promised to",
    ),
    ("one-session", "a connection asks for one session"),
    ("close-once", "each session is closed exactly once"),
    (
        "session-commands",
        "no command for a session that does not exist",
    ),
    (
        "invented-message",
        "what is received was sent, and comes once",
    ),
    (
        "order-kept",
        "an ordered connection delivers in the order of sending",
    ),
    (
        "nothing-lost",
        "what was accepted arrives while both ends live",
    ),
    (
        "stream-whole",
        "a streamed message takes what it was announced with, and nothing comes between",
    ),
    (
        "writable-comes",
        "a send that was Full is told when there is room again",
    ),
    (
        "goes-on",
        "who waits for room, or for messages, does not wait for ever while the path is good",
    ),
    (
        "flush-delivers",
        "what was accepted before a flush-close is read before the close",
    ),
    (
        "offer-kept",
        "label, metadata and serialization arrive as they were given",
    ),
    ("data-to-read", "whoever is told of data finds a message"),
    (
        "unread-kept",
        "messages that are unread keep their connection",
    ),
    (
        "reconnect",
        "reconnect is refused only when there is nothing to come back from",
    ),
    (
        "signals-are-json",
        "signals are JSON objects the broker can read",
    ),
    (
        "realm-sessions",
        "the realm sends only to sessions it has not closed",
    ),
    ("realm-forgets", "the realm has forgotten what it closes"),
    (
        "realm-capacity",
        "the realm's queues stay within their limits",
    ),
    (
        "realm-timeouts-move",
        "the realm does what is due when it is polled",
    ),
];

/// What the checks know of one connection at one host.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) handle: ConnectionHandle,
    pub(crate) remote: String,
    pub(crate) ordered: bool,
    pub(crate) opened: bool,
    pub(crate) ended: bool,
    /// On the host's clock.
    pub(crate) deadline: Instant,
    /// When it was first seen to be late, and what the host's driver had for the time then.
    pub(crate) late_since: Option<(Instant, Instant)>,
    pub(crate) end: Option<EndId>,
    pub(crate) remote_end: Option<EndId>,
    /// The application knows of messages and will read them.
    pub(crate) reading: bool,
    /// A send was Full and no Writable came since.
    pub(crate) wants_room: bool,
    /// The remote's close message was fed.
    pub(crate) told_close: bool,
    /// The application closed it.
    pub(crate) closed_here: bool,
    /// What was given to `connect`.
    pub(crate) offer: Option<Offer>,
    /// What the application sends piece by piece.
    pub(crate) streaming: Option<Streaming>,
    /// What the application does by itself.
    pub(crate) flow: Flow,
    /// When it last did something, or had nothing to do.
    pub(crate) moved: Instant,
    /// The digest of what was read of a message that comes in pieces.
    pub(crate) piece: Option<u64>,
}

/// What a connect says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) label: Option<String>,
    pub(crate) metadata: Option<String>,
    pub(crate) serialization: Serialization,
}

impl Host {
    pub(crate) fn record(&self, handle: ConnectionHandle) -> Option<&Record> {
        self.records.iter().find(|record| record.handle == handle)
    }

    pub(crate) fn record_mut(&mut self, handle: ConnectionHandle) -> Option<&mut Record> {
        self.records
            .iter_mut()
            .find(|record| record.handle == handle)
    }

    pub(crate) fn add_record(
        &mut self,
        handle: ConnectionHandle,
        remote: String,
        ordered: bool,
        timeout: Duration,
        end: Option<EndId>,
        now: Instant,
    ) {
        // The slot is used again; what was in it is over.
        self.records
            .retain(|record| record.handle.index() != handle.index());
        let deadline = self.told + timeout;
        self.records.push(Record {
            handle,
            remote,
            ordered,
            opened: false,
            ended: false,
            deadline,
            late_since: None,
            end,
            remote_end: None,
            reading: false,
            wants_room: false,
            told_close: false,
            closed_here: false,
            offer: None,
            streaming: None,
            flow: Flow::None,
            moved: now,
            piece: None,
        });
    }
}

/// Lines of the trace that `PEER_SIM_LINES` asks for.
pub(crate) fn lines_asked_for() -> Option<usize> {
    std::env::var("PEER_SIM_LINES").ok()?.parse().ok()
}

/// What one look into an engine finds.
struct Look {
    connections: usize,
    buffered: u32,
    resolves: Option<ConnectionHandle>,
}

impl Sim {
    /// Ends the run with a report, unless this invariant was [waived](Self::waive).
    pub(crate) fn violated(&mut self, invariant: &'static str, detail: fmt::Arguments<'_>) {
        debug_assert!(INVARIANTS.iter().any(|(name, _)| *name == invariant));
        if self.waived.contains(&invariant) {
            return;
        }
        let host = self.subject.map_or("", |host| self.name(host)).to_owned();
        self.trace.line(
            self.now,
            format_args!("VIOLATED {invariant} at {host}: {detail}"),
        );
        let report = self.report();
        self.reported = true;
        panic!("invariant `{invariant}` violated at {host}: {detail}\n{report}");
    }

    pub(crate) fn report(&self) -> String {
        let lines = lines_asked_for();
        format!(
            "seed {seed}, step {step}, {now:?} of virtual time\nlast lines of the trace:\n{lines}replay: {replay}\n",
            seed = self.seed,
            step = self.steps,
            now = self.now.saturating_duration_since(Instant::ZERO),
            lines = self.trace.last(lines.unwrap_or(LINES_SHOWN)),
            replay = self.replay.replace("{seed}", &self.seed.to_string()),
        )
    }

    pub(crate) fn count_outputs(&mut self, id: HostId, outputs: usize) {
        self.stats.outputs += outputs as u64;
        let now = self.now;
        let host = &mut self.hosts[id.0];
        if host.busy.0 != now {
            host.busy = (now, 0);
        }
        // Empty rounds count too.
        host.busy.1 += 1 + u32::try_from(outputs).unwrap_or(u32::MAX);
        let count = host.busy.1;
        if count > OUTPUTS_MAX {
            self.violated("busy-loop", format_args!("{count} outputs at one instant"));
        }
    }

    /// Follows the life of a connection through its events; says which one the event is about.
    pub(crate) fn check_event(&mut self, id: HostId, event: Event) -> Option<ConnectionHandle> {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        if host.closed {
            self.violated("event-order", format_args!("{event:?} after Closed"));
        }
        let host = &mut self.hosts[id.0];
        let (handle, legal) = match event {
            Event::Connection(handle) => {
                let known = host.record(handle).is_some();
                let described = host.engine.as_mut().and_then(|engine| {
                    engine.with(move |peer| {
                        peer.connection(handle).map(|connection| {
                            let metadata = connection.metadata().map(str::to_owned);
                            let offer = Offer {
                                label: Some(connection.label().to_owned()),
                                metadata: metadata.filter(|_| !connection.metadata_too_long()),
                                serialization: connection.serialization(),
                            };
                            let remote = connection.peer().as_str().to_owned();
                            let too_long = connection.metadata_too_long();
                            (remote, connection.reliable(), Some((offer, too_long)))
                        })
                    })
                });
                let timeout = self.connect_timeout(id);
                let end = self.end_of(id, handle);
                let host = &mut self.hosts[id.0];
                let legal = !known && described.is_some();
                let (remote, ordered, offer) = described.unwrap_or_default();
                host.add_record(handle, remote, ordered, timeout, end, now);
                if host.options.echoes
                    && let Some(record) = host.record_mut(handle)
                {
                    record.flow = Flow::Echo { owed: None };
                }
                let remote_end = end
                    .and_then(|end| self.ends[end].as_deref())
                    .and_then(|end| end.remote);
                if let Some(record) = self.hosts[id.0].record_mut(handle) {
                    record.remote_end = remote_end;
                }
                if let (Some((offer, too_long)), Some(remote_end)) = (offer, remote_end) {
                    self.check_offer(handle, &offer, too_long, remote_end);
                }
                self.stats.incoming += 1;
                (handle, legal)
            }
            Event::ConnectionOpen(handle) => {
                let record = host.record_mut(handle);
                let legal = record.is_some_and(|record| {
                    !core::mem::replace(&mut record.opened, true) && !record.ended
                });
                self.stats.opened += 1;
                (handle, legal)
            }
            Event::Writable(handle) => {
                let record = host.record_mut(handle);
                let legal = record.is_some_and(|record| {
                    record.wants_room = false;
                    record.opened && !record.ended
                });
                (handle, legal)
            }
            Event::Data(handle) | Event::ConnectionError(handle, _) => {
                let record = host.record(handle);
                (
                    handle,
                    record.is_some_and(|record| record.opened && !record.ended),
                )
            }
            Event::ConnectionClosed(handle) => {
                self.stats.closed += 1;
                (handle, self.over(id, handle, true))
            }
            Event::ConnectionFailed(handle, _) => {
                self.stats.failed += 1;
                (handle, self.over(id, handle, false))
            }
            Event::Open => {
                if core::mem::replace(&mut host.online, true) || !host.attempts {
                    self.violated(
                        "event-order",
                        format_args!("Open twice, or without a reconnect"),
                    );
                }
                return None;
            }
            Event::Disconnected => {
                host.online = false;
                if !core::mem::replace(&mut host.attempts, false) {
                    self.violated(
                        "event-order",
                        format_args!("Disconnected without a connect or reconnect before"),
                    );
                }
                return None;
            }
            Event::Closed => {
                host.closed = true;
                let open = host.records.iter().any(|record| !record.ended);
                if open {
                    self.violated(
                        "event-order",
                        format_args!("Closed before a connection's end"),
                    );
                }
                return None;
            }
            _ => return None,
        };
        if !legal {
            let record = self.hosts[id.0]
                .record(handle)
                .map(|record| (record.opened, record.ended));
            let invariant = match event {
                Event::ConnectionOpen(_)
                | Event::ConnectionClosed(_)
                | Event::ConnectionFailed(..) => "one-outcome",
                _ => "event-order",
            };
            self.violated(
                invariant,
                format_args!("{event:?} on a connection that is (opened, ended) = {record:?}"),
            );
        }
        Some(handle)
    }

    /// The end of a connection's session. At a gateway one of the same name may be left of a leaf
    /// that has started again.
    pub(crate) fn end_of(&self, id: HostId, handle: ConnectionHandle) -> Option<EndId> {
        let host = &self.hosts[id.0];
        let end = *host.ends.get(&handle)?;
        let is_leaf = matches!(host.options.access, Access::Leaf(_));
        let is_older = |end: &End| end.incarnation <= host.leased.before_start;
        let older = is_leaf && self.ends[end].as_deref().is_some_and(is_older);
        Some(end).filter(|_| !older)
    }

    fn over(&mut self, id: HostId, handle: ConnectionHandle, opened: bool) -> bool {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        host.ended.push_back((handle, now));
        if host.ended.len() > ENDED_MAX {
            host.ended.pop_front();
        }
        let legal = host.record_mut(handle).is_some_and(|record| {
            record.opened == opened && !core::mem::replace(&mut record.ended, true)
        });
        self.check_flushed(id, handle);
        legal
    }

    fn check_offer(
        &mut self,
        handle: ConnectionHandle,
        got: &Offer,
        too_long: bool,
        remote_end: EndId,
    ) {
        if self.tampered {
            return;
        }
        let given = self.ends[remote_end].as_deref().and_then(|end| {
            let record = self.hosts[end.host.0].record(end.handle)?;
            record.offer.clone()
        });
        let Some(given) = given else { return };
        // Both names of BinaryPack are one on the wire.
        let same_serialization = given.serialization.as_str() == got.serialization.as_str();
        let same_label = given.label.is_none() || given.label == got.label;
        let same_metadata = too_long || given.metadata == got.metadata;
        if !(same_serialization && same_label && same_metadata) {
            self.violated(
                "offer-kept",
                format_args!("{handle:?} got {got:?} and was given {given:?}"),
            );
        }
    }

    /// After a host was polled.
    pub(crate) fn check_host(&mut self, id: HostId) {
        self.subject = Some(id);
        let now = self.now;
        let host = &mut self.hosts[id.0];
        let is_device = host.is_device();
        let told = if is_device {
            // What is around its engine goes by the clock, even one that was set back.
            host.local(now).min(host.told)
        } else {
            host.told
        };
        // A device polls its engine only while there is room for what it may say. How long nothing
        // moves is limited; something that moves slowly, and then no more, takes a few times as
        // long.
        let slack = match host.options.access {
            Access::Modelled => OUTCOME_SLACK,
            Access::Tcp => 2 * SocketTiming::default().stall_timeout,
            Access::Leaf(_) => 3 * Timing::default().dead_after,
        };
        let is_leaf = matches!(host.options.access, Access::Leaf(_));
        let mut late = None;
        for record in &mut host.records {
            // Documented: before a leaf's first session its engine stands still.
            let stands_still = is_leaf && !host.was_up;
            if record.opened || record.ended || record.deadline > told || stands_still {
                // Not late, or not any more: the clock was set back.
                record.late_since = None;
                continue;
            }
            let (since, local_since) = *record.late_since.get_or_insert((now, told));
            let mut late_by = now.saturating_duration_since(since);
            if is_device {
                // The waits of what is around its engine are by its clock, which loses time when it
                // is set back.
                late_by = late_by.min(told.saturating_duration_since(local_since));
            }
            if late_by > slack {
                late = Some((record.handle, record.deadline));
            }
        }
        let (mut over, mut closes) = ([None; ENDED_MAX], false);
        for (place, (handle, since)) in over.iter_mut().zip(&host.ended) {
            let reads = host.record(*handle).is_some_and(|record| record.reading);
            // A leaf may have no room for the end of its session yet.
            let is_closing = is_leaf && now.saturating_duration_since(*since) < CLOSE_SLACK;
            closes |= is_closing;
            *place = Some(*handle).filter(|_| !reads && !is_closing);
        }
        let unclosed = host
            .ended
            .iter()
            .map(|(handle, _)| *handle)
            // A leaf's gateway hears of it later.
            .find(|handle| !is_leaf && host.ends.contains_key(handle));
        let Some(engine) = &mut host.engine else {
            return;
        };
        let look = engine.with(move |peer| {
            let mut handles = [None; 64];
            let mut connections = 0;
            for handle in peer.connections() {
                if let Some(place) = handles.get_mut(connections) {
                    *place = Some(handle);
                }
                connections += 1;
            }
            let mut buffered = 0;
            for handle in handles.into_iter().flatten() {
                if let Some(connection) = peer.connection(handle) {
                    buffered = buffered.max(connection.buffered_amount());
                }
            }
            let resolves = over
                .into_iter()
                .flatten()
                .find(|handle| peer.connection(*handle).is_some());
            Look {
                connections,
                buffered,
                resolves,
            }
        });
        let capacity = host.options.capacity.connections;
        let reads = host.records.iter().any(|record| record.reading);
        if host.closed && !reads && !closes && look.connections > 0 {
            self.violated(
                "stale-handle",
                format_args!("{} connections of a peer that is closed", look.connections),
            );
        }
        if look.connections > capacity || look.buffered > HIGH_WATER + FRAME_MAX {
            self.violated(
                "capacity",
                format_args!(
                    "{} of {capacity} connections, {} bytes buffered",
                    look.connections, look.buffered
                ),
            );
        }
        if let Some(handle) = unclosed {
            self.violated(
                "close-once",
                format_args!("{handle:?} is over and its session was not closed"),
            );
        }
        if let Some(handle) = look.resolves {
            self.violated(
                "stale-handle",
                format_args!("{handle:?} is over and resolves"),
            );
        }
        if let Some((handle, deadline)) = late {
            self.violated(
                "outcome-in-time",
                format_args!("{handle:?} is not open and not failed at its deadline {deadline:?}"),
            );
        }
    }

    /// Looks at all hosts that run.
    pub(crate) fn audit(&mut self) {
        for id in (0..self.hosts.len()).map(HostId) {
            if self.hosts[id.0].is_drained() {
                self.check_host(id);
                self.check_flows(id);
            }
        }
    }
}

#[cfg(test)]
impl Host {
    /// All deadlines have passed.
    pub(crate) fn expire_records_for_test(&mut self) {
        for record in &mut self.records {
            record.deadline = Instant::ZERO;
        }
    }
}
