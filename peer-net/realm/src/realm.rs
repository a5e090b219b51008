//! The broker without sockets: who is there, who may talk to whom, what waits and when it expires.
//!
//! A [`Realm`] performs no I/O and reads no clock. Every call is told the time and returns what is
//! to be done, in order. The server drives it with real sockets, the simulator with none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use peer_core::time::{Duration, Instant};

use crate::absent::{Absent, Full};
use crate::message::{self, ClientMessage, MessageType};
use crate::options::RealmOptions;

/// A socket, by a number its owner chose. Never reused for another socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Where clients come from that count as one when places get scarce, by a number the sockets' owner
/// chose: an address, or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub u128);

/// What is to be done after a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the broker's own `text` to `session`.
    Send {
        /// Who gets it.
        session: SessionId,
        /// A whole message, JSON.
        text: String,
    },
    /// Pass `from`'s message on to `to`. If `to` cannot take it, say so with [`Realm::refused`].
    Relay {
        /// Who sent it.
        from: SessionId,
        /// Who gets it.
        to: SessionId,
        /// A whole message, JSON.
        text: String,
    },
    /// Close `session` once everything before is sent. The realm has forgotten it already.
    Close {
        /// Whose socket.
        session: SessionId,
    },
}

/// What a realm has counted since it was made, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RealmStats {
    /// Ids connected now.
    pub clients: usize,
    /// Bytes waiting for absent peers now.
    pub queued_bytes: usize,
    /// Messages passed on or queued.
    pub relayed: u64,
    /// Messages refused at a limit; their senders got EXPIRE at once.
    pub refused: u64,
    /// EXPIREs after `expire_timeout`.
    pub expired: u64,
    /// Messages dropped: types only the broker may send.
    pub forged: u64,
    /// Messages dropped: unknown type, no destination, or from a socket without an id.
    pub dropped: u64,
    /// Clients disconnected for want of a HEARTBEAT.
    pub timed_out: u64,
    /// Clients disconnected because their origin had most, and one came that had none.
    pub gave_way: u64,
}

/// The state of a broker.
///
/// As PeerServer 1.0.2, but: attaching again with the same token answers OPEN and closes the old
/// socket; LEAVE and EXPIRE from clients are dropped, not relayed; waiting messages expire per
/// sender, and are bounded by [`RealmLimits`](crate::RealmLimits).
#[derive(Debug)]
pub struct Realm {
    options: RealmOptions,
    clients: HashMap<Arc<str>, Client>,
    sessions: HashMap<SessionId, Arc<str>>,
    /// The clients of each origin that was told, in their order of arrival.
    origins: HashMap<Origin, BTreeMap<u64, SessionId>>,
    /// When each session times out, soonest first.
    alive: BTreeSet<(Instant, SessionId)>,
    absent: Absent,
    joined: u64,
    left: u64,
    stats: RealmStats,
}

#[derive(Debug)]
struct Client {
    token: Box<str>,
    session: SessionId,
    alive_until: Instant,
    /// Order of arrival, for the list of peers.
    joined: u64,
    origin: Option<Origin>,
}

impl Realm {
    /// An empty realm.
    pub fn new(options: RealmOptions) -> Self {
        Self {
            options,
            clients: HashMap::new(),
            sessions: HashMap::new(),
            origins: HashMap::new(),
            alive: BTreeSet::new(),
            absent: Absent::default(),
            joined: 0,
            left: 0,
            stats: RealmStats::default(),
        }
    }

    /// A socket opened with these query parameters (empty when missing).
    ///
    /// The client gets OPEN and what waited for it, or ERROR or ID-TAKEN and is closed.
    #[must_use = "the actions are for the caller to perform"]
    pub fn connect(
        &mut self,
        now: Instant,
        session: SessionId,
        key: &str,
        id: &str,
        token: &str,
    ) -> Vec<Action> {
        self.connect_of(now, session, None, key, id, token)
    }

    /// As [`connect`](Self::connect), of a client whose origin is known.
    ///
    /// While seven eighths of [`concurrent_limit`](RealmOptions::concurrent_limit) are in use, who
    /// has most gives way to who has none: a client of an origin that has none takes the place of
    /// the newest one of the origin that has most, if that has several. That one gets ERROR and is
    /// closed.
    #[must_use = "the actions are for the caller to perform"]
    pub fn connect_from(
        &mut self,
        now: Instant,
        session: SessionId,
        origin: Origin,
        key: &str,
        id: &str,
        token: &str,
    ) -> Vec<Action> {
        self.connect_of(now, session, Some(origin), key, id, token)
    }

    fn connect_of(
        &mut self,
        now: Instant,
        session: SessionId,
        origin: Option<Origin>,
        key: &str,
        id: &str,
        token: &str,
    ) -> Vec<Action> {
        if id.is_empty() || token.is_empty() || key.is_empty() {
            return refuse(
                session,
                message::error("No id, token, or key supplied to websocket server"),
            );
        }
        if key != self.options.key {
            return refuse(session, message::error("Invalid key provided"));
        }
        let limits = &self.options.limits;
        if id.len() > limits.id_bytes || token.len() > limits.token_bytes {
            return refuse(
                session,
                message::error("The id or token is too long for this server"),
            );
        }
        if self.sessions.contains_key(&session) {
            return Vec::new();
        }

        let mut actions = Vec::new();
        let alive_until = now + self.options.alive_timeout;
        let id: Arc<str> = if let Some(client) = self.clients.get_mut(id) {
            if !same(&client.token, token) {
                return refuse(session, message::ID_TAKEN.to_owned());
            }
            let old = client.session;
            self.alive.remove(&(client.alive_until, old));
            client.session = session;
            client.alive_until = alive_until;
            let joined = client.joined;
            let before = core::mem::replace(&mut client.origin, origin);
            self.leave_origin(before, joined);
            self.join_origin(origin, joined, session);
            actions.push(Action::Close { session: old });
            match self.sessions.remove(&old) {
                Some(id) => id,
                None => id.into(),
            }
        } else {
            actions.extend(self.make_way(origin));
            if self.clients.len() >= self.options.concurrent_limit {
                return refuse(
                    session,
                    message::error("Server has reached its concurrent user limit"),
                );
            }
            let id: Arc<str> = id.into();
            let client = Client {
                token: token.into(),
                session,
                alive_until,
                joined: self.joined,
                origin,
            };
            self.join_origin(origin, self.joined, session);
            self.joined += 1;
            self.clients.insert(id.clone(), client);
            id
        };
        self.alive.insert((alive_until, session));
        actions.push(Action::Send {
            session,
            text: message::OPEN.to_owned(),
        });
        let waited = self.absent.take(&id);
        actions.extend(
            waited
                .into_iter()
                .map(|text| Action::Send { session, text }),
        );
        self.sessions.insert(session, id);
        actions
    }

    /// A client sent a message.
    #[must_use = "the actions are for the caller to perform"]
    pub fn message(
        &mut self,
        now: Instant,
        session: SessionId,
        message: &ClientMessage<'_>,
    ) -> Vec<Action> {
        let Some(src) = self.sessions.get(&session).cloned() else {
            self.stats.dropped += 1;
            return Vec::new();
        };
        match message.kind {
            MessageType::Heartbeat => {
                self.heartbeat(now, session, &src);
                return Vec::new();
            }
            MessageType::Broker => {
                self.stats.forged += 1;
                return Vec::new();
            }
            MessageType::Offer
            | MessageType::Answer
            | MessageType::Candidate
            | MessageType::Unknown => {}
        }
        let (Some(kind), Some(dst)) = (
            message.kind.relayed(),
            message.dst.as_deref().filter(|dst| !dst.is_empty()),
        ) else {
            self.stats.dropped += 1;
            return Vec::new();
        };

        let text = message::relay(kind, &src, dst, message.payload);
        if let Some(client) = self.clients.get(dst) {
            self.stats.relayed += 1;
            return vec![Action::Relay {
                from: session,
                to: client.session,
                text,
            }];
        }
        let deadline = now + self.options.expire_timeout;
        match self
            .absent
            .push(&self.options.limits, deadline, &src, dst, text)
        {
            Ok(()) => {
                self.stats.relayed += 1;
                Vec::new()
            }
            Err(Full) => {
                self.stats.refused += 1;
                vec![Action::Send {
                    session,
                    text: message::expire(dst, &src),
                }]
            }
        }
    }

    /// The message of an [`Action::Relay`] could not be delivered because `to` has too much to
    /// read.
    #[must_use = "the actions are for the caller to perform"]
    pub fn refused(&mut self, from: SessionId, to: SessionId) -> Vec<Action> {
        self.stats.refused += 1;
        let (Some(src), Some(dst)) = (self.sessions.get(&from), self.sessions.get(&to)) else {
            return Vec::new();
        };
        vec![Action::Send {
            session: from,
            text: message::expire(dst, src),
        }]
    }

    /// A socket closed. Its id is free at once; nobody is told, as with PeerServer.
    pub fn disconnect(&mut self, session: SessionId) {
        if let Some(id) = self.sessions.remove(&session)
            && let Some(client) = self.clients.remove(&id)
        {
            self.left += 1;
            self.alive.remove(&(client.alive_until, session));
            self.leave_origin(client.origin, client.joined);
        }
    }

    /// Closes a client for one that comes, where that is fair.
    fn make_way(&mut self, origin: Option<Origin>) -> Vec<Action> {
        let limit = self.options.concurrent_limit;
        let plenty = self.clients.len() < limit - limit / 8;
        let Some(origin) = origin.filter(|_| !plenty) else {
            return Vec::new();
        };
        if self.origins.contains_key(&origin) {
            return Vec::new();
        }
        // Of several that have most, the one whose newest client came last: it has to be one and
        // the same in each run.
        let most = self.origins.values().max_by_key(|clients| {
            let newest = clients.last_key_value().map(|(joined, _)| *joined);
            (clients.len(), newest)
        });
        let Some((_, session)) = most
            .filter(|clients| clients.len() > 1)
            .and_then(BTreeMap::last_key_value)
        else {
            return Vec::new();
        };
        let session = *session;
        self.disconnect(session);
        self.stats.gave_way += 1;
        refuse(
            session,
            message::error(
                "The server is nearly full, and most of its clients come from your network",
            ),
        )
    }

    fn join_origin(&mut self, origin: Option<Origin>, joined: u64, session: SessionId) {
        if let Some(origin) = origin {
            self.origins
                .entry(origin)
                .or_default()
                .insert(joined, session);
        }
    }

    fn leave_origin(&mut self, origin: Option<Origin>, joined: u64) {
        if let Some(origin) = origin
            && let Some(clients) = self.origins.get_mut(&origin)
        {
            clients.remove(&joined);
            if clients.is_empty() {
                self.origins.remove(&origin);
            }
        }
    }

    /// Does what is due. To be called when [`next_timeout`](Self::next_timeout) is reached; earlier
    /// does no harm.
    #[must_use = "the actions are for the caller to perform"]
    pub fn poll(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(&(alive_until, session)) = self.alive.first()
            && alive_until <= now
        {
            self.alive.pop_first();
            self.disconnect(session);
            self.stats.timed_out += 1;
            actions.push(Action::Close { session });
        }
        while self
            .absent
            .next_deadline()
            .is_some_and(|deadline| self.tick_after(deadline) <= now)
            && let Some((src, dst)) = self.absent.expire(now)
        {
            self.stats.expired += 1;
            if let Some(client) = self.clients.get(&src) {
                let text = message::expire(&dst, &src);
                actions.push(Action::Send {
                    session: client.session,
                    text,
                });
            }
        }
        actions
    }

    /// When to call [`poll`](Self::poll) next. Ask again after every other call. `None`: nothing is
    /// due until something happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        let expiry = self
            .absent
            .next_deadline()
            .map(|deadline| self.tick_after(deadline));
        let alive = self.alive.first().map(|&(alive_until, _)| alive_until);
        expiry.into_iter().chain(alive).min()
    }

    /// Whether a client of this id is connected.
    pub fn contains(&self, id: &str) -> bool {
        self.clients.contains_key(id)
    }

    /// The connected ids, in the order they came.
    pub fn ids(&self) -> Vec<Arc<str>> {
        let mut ids: Vec<_> = self
            .clients
            .iter()
            .map(|(id, client)| (client.joined, id.clone()))
            .collect();
        ids.sort_unstable_by_key(|&(joined, _)| joined);
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// Another pair whenever [`ids`](Self::ids) are others.
    pub fn membership(&self) -> (u64, u64) {
        (self.joined, self.left)
    }

    /// The session of an id that is connected.
    pub fn session(&self, id: &str) -> Option<SessionId> {
        self.clients.get(id).map(|client| client.session)
    }

    /// The id of a session that is connected.
    pub fn id(&self, session: SessionId) -> Option<&str> {
        self.sessions.get(&session).map(|id| &**id)
    }

    /// Counters.
    pub fn stats(&self) -> RealmStats {
        RealmStats {
            clients: self.clients.len(),
            queued_bytes: self.absent.bytes(),
            ..self.stats
        }
    }

    fn heartbeat(&mut self, now: Instant, session: SessionId, id: &str) {
        if let Some(client) = self.clients.get_mut(id) {
            self.alive.remove(&(client.alive_until, session));
            client.alive_until = now + self.options.alive_timeout;
            self.alive.insert((client.alive_until, session));
        }
    }

    /// The first look for expired messages at or after `deadline`: they happen at multiples of
    /// `cleanup_out_msgs` on the caller's clock.
    fn tick_after(&self, deadline: Instant) -> Instant {
        let tick = micros(self.options.cleanup_out_msgs).max(1);
        let ticks = deadline.as_micros().div_ceil(tick);
        Instant::from_micros(ticks.saturating_mul(tick))
    }
}

fn refuse(session: SessionId, text: String) -> Vec<Action> {
    vec![Action::Send { session, text }, Action::Close { session }]
}

/// Compares tokens without telling by its duration where they differ.
fn same(left: &str, right: &str) -> bool {
    let differ = left
        .bytes()
        .zip(right.bytes())
        .fold(0, |acc, (left, right)| acc | (left ^ right));
    left.len() == right.len() && differ == 0
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
