//! Applications that let back-pressure through: an echo that reads only when it can write, and a
//! source that writes whenever there is room. And the check that they never stop for ever.

use peer_core::connection::SendError;
use peer_core::peer::ConnectionHandle;
use peer_core::time::Duration;
use serde::Serialize;

use crate::host::{Conn, HostId, HostState};
use crate::session::{End, Stage};
use crate::sim::Sim;

/// How long nothing may move that an application waits for, while the path is good and everybody
/// runs.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);
/// What a message has besides its text.
const HEAD: usize = 24;

/// What an application sends that only cares for the length.
#[derive(Debug, Serialize)]
struct Filler {
    number: u64,
    text: String,
}

/// What a connection's application does by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nothing.
    #[default]
    None,
    /// Answers each message with one as long. It reads the next one only when the answer was
    /// accepted.
    Echo {
        /// The length of an answer that was not accepted yet.
        owed: Option<usize>,
    },
    /// Sends so many messages more, of this length, as fast as they are accepted.
    Source { left: usize, len: usize },
}

impl Flow {
    /// An answer waits for room, so messages may stay unread.
    pub(crate) const fn owes(self) -> bool {
        matches!(self, Self::Echo { owed: Some(_) })
    }
}

impl Sim {
    /// Sends `count` messages of about `len` bytes as fast as the engine accepts them. The
    /// application goes on with it by itself until they are sent or the connection ends. Does
    /// nothing where it echoes.
    pub fn fill_up(&mut self, conn: Conn, count: usize, len: usize) {
        let echoes = matches!(self.flow(conn.host, conn.handle), Flow::Echo { .. });
        if !self.is_current(conn) || echoes {
            return;
        }
        self.note(
            conn.host,
            format_args!(
                "{:?} fills up with {count} messages of {len} bytes",
                conn.handle
            ),
        );
        if let Some(record) = self.hosts[conn.host.0].record_mut(conn.handle) {
            record.flow = Flow::Source { left: count, len };
        }
        self.flow_on(conn.host, conn.handle);
        self.poll_soon(conn.host);
    }

    /// Messages of a [`fill_up`](Self::fill_up) that were not accepted yet.
    pub fn filling(&self, conn: Conn) -> usize {
        let record = self.hosts[conn.host.0].record(conn.handle);
        match record.map(|record| record.flow) {
            Some(Flow::Source { left, .. }) if !self.is_over(conn) => left,
            _ => 0,
        }
    }

    fn flow(&self, id: HostId, handle: ConnectionHandle) -> Flow {
        let record = self.hosts[id.0].record(handle);
        record.map_or(Flow::None, |record| record.flow)
    }

    fn set_flow(&mut self, id: HostId, handle: ConnectionHandle, flow: Flow) {
        let now = self.now;
        if let Some(record) = self.hosts[id.0].record_mut(handle) {
            record.flow = flow;
            record.moved = now;
        }
    }

    /// There is room, or a message. Whether the application reads by itself.
    pub(crate) fn flow_on(&mut self, id: HostId, handle: ConnectionHandle) -> bool {
        loop {
            match self.flow(id, handle) {
                Flow::None => return false,
                Flow::Source { left: 0, .. } => {
                    self.set_flow(id, handle, Flow::None);
                    return false;
                }
                Flow::Source { left, len } => match self.fill(id, handle, len) {
                    Ok(()) => {
                        let left = left - 1;
                        self.set_flow(id, handle, Flow::Source { left, len });
                    }
                    Err(SendError::Full) => return false,
                    Err(_) => self.set_flow(id, handle, Flow::None),
                },
                Flow::Echo { owed: Some(len) } => match self.fill(id, handle, len) {
                    Err(SendError::Full) => {
                        self.mark_reading(id, handle);
                        return true;
                    }
                    // Too long for its outbox, or nobody is there any more.
                    Ok(()) | Err(_) => self.set_flow(id, handle, Flow::Echo { owed: None }),
                },
                Flow::Echo { owed: None } => {
                    let Some(len) = self.read_one(id, handle) else {
                        return true;
                    };
                    let owed = Some(len);
                    self.set_flow(id, handle, Flow::Echo { owed });
                    // What the engine had no room for may find it now.
                    self.feed_held(id, handle);
                }
            }
        }
    }

    /// It is over: what is unread is read and not answered.
    pub(crate) fn flow_ends(&mut self, id: HostId, handle: ConnectionHandle) {
        if matches!(self.flow(id, handle), Flow::Echo { .. }) {
            self.set_flow(id, handle, Flow::None);
            while self.read_one(id, handle).is_some() {}
            self.done_reading(id, handle);
        }
    }

    fn fill(&mut self, id: HostId, handle: ConnectionHandle, len: usize) -> Result<(), SendError> {
        let number = self.rng_hosts.next() >> 12;
        let text = "x".repeat(len.saturating_sub(HEAD));
        let incarnation = self.hosts[id.0].incarnation;
        let conn = Conn {
            host: id,
            incarnation,
            handle,
        };
        self.give(conn, Filler { number, text })
    }

    /// Whether an application that waits at one of its connections waits in vain.
    pub(crate) fn check_flows(&mut self, id: HostId) {
        let now = self.now;
        let mut waits = Vec::new();
        for record in &self.hosts[id.0].records {
            let busy = record.reading || record.wants_room || record.flow != Flow::None;
            if busy && record.opened && !record.ended {
                waits.push(record.handle);
            }
        }
        for handle in waits {
            let path_is_good = self.path_is_good(id, handle);
            let has_work = self.has_work(id, handle);
            let Some(record) = self.hosts[id.0].record_mut(handle) else {
                continue;
            };
            if !path_is_good || !has_work {
                record.moved = now;
                continue;
            }
            let still = now.saturating_duration_since(record.moved);
            let (flow, wants_room) = (record.flow, record.wants_room);
            if still > STANDSTILL_MAX {
                self.subject = Some(id);
                let remote = self.end_of(id, handle).and_then(|end| {
                    let remote = self.ends[self.ends[end].as_deref()?.remote?].as_deref()?;
                    let held = remote.rx.held.len();
                    Some((self.name(remote.host).to_owned(), remote.handle, held))
                });
                self.violated(
                    "goes-on",
                    format_args!(
                        "{handle:?} stands still for {still:?}: {flow:?}, wants room: {wants_room}; remote, handle and what it holds: {remote:?}"
                    ),
                );
            }
        }
    }

    /// Whether a connection's application waits for something.
    fn has_work(&mut self, id: HostId, handle: ConnectionHandle) -> bool {
        let host = &mut self.hosts[id.0];
        let Some(record) = host.record(handle) else {
            return false;
        };
        let is_echo = matches!(record.flow, Flow::Echo { .. });
        let wants_room = record.wants_room || record.flow.owes();
        wants_room
            || is_echo
                && host.engine.as_mut().is_some_and(|engine| {
                    engine.with(move |peer| {
                        let connection = peer.connection(handle);
                        connection.is_some_and(|connection| connection.readable() > 0)
                    })
                })
    }

    /// Whether both ends of a connection run, and nothing is wrong between them.
    fn path_is_good(&self, id: HostId, handle: ConnectionHandle) -> bool {
        let end = |end: usize| {
            self.ends[end]
                .as_deref()
                .filter(|end| end.stage == Stage::Established)
        };
        let near = self.end_of(id, handle).and_then(end);
        let Some((near, far)) = near.and_then(|near| Some((near, near.remote.and_then(end)?)))
        else {
            return false;
        };
        let is_open = |end: &End| {
            let record = self.hosts[end.host.0].record(end.handle);
            record.is_some_and(|record| record.opened && !record.ended)
        };
        let nodes = [
            near.host,
            self.machine(near.host),
            self.machine(far.host),
            far.host,
        ];
        near.has_path()
            && far.has_path()
            && is_open(near)
            && is_open(far)
            && nodes.iter().all(|host| self.state(*host) == HostState::Up)
            && nodes.windows(2).all(|pair| {
                let [from, to] = [pair[0].node(), pair[1].node()];
                from == to || self.net.is_good(from, to) && self.net.is_good(to, from)
            })
    }
}
