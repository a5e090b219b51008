//! Which session a datagram is for: the rules of [`peer_core::rtc::stack`], for as many sessions as
//! there are, each found at once.

use core::net::SocketAddr;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use peer_core::rtc::ice::{LOCAL_UFRAG_LEN, SocketId};
use peer_core::rtc::stack::{Addressee, SOURCES_MAX, STALE, UNCLAIMED_MAX, request};
use peer_core::rtc::stun::TransactionId;
use tokio::time::{Duration, Instant};

use super::mailbox::Mailbox;
use super::socket::Train;

/// Requests whose answers are told from others, for each session there may be.
const REQUESTS_EACH: usize = 32;
/// Between two datagrams of sources which nobody claims that sessions are told of.
const UNCLAIMED_PAUSE: Duration = Duration::from_millis(5);

/// Names a session of a table, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

type Ufrag = [u8; LOCAL_UFRAG_LEN];
/// From where data is one session's.
type Source = (SocketId, SocketAddr);

#[derive(Debug)]
struct Entry {
    ufrag: Ufrag,
    mailbox: Arc<Mailbox>,
    sources: Vec<Source>,
    /// When its remote proved itself last.
    heard: Option<Instant>,
}

/// Whose a source is, and when it was claimed last.
#[derive(Clone, Copy, Debug)]
struct Claim {
    key: Key,
    at: Instant,
}

impl Claim {
    fn is_stale(&self, now: Instant) -> bool {
        self.at + STALE <= now
    }
}

/// The table of the sessions that share the sockets of one lane.
#[derive(Debug, Default)]
pub(super) struct Table {
    next: u64,
    sessions: HashMap<Key, Entry>,
    ufrags: HashMap<Ufrag, Key>,
    sources: HashMap<Source, Claim>,
    /// Sockets and TURN servers: to a server one socket is one client.
    servers: HashMap<Source, Key>,
    requests: HashMap<TransactionId, Key>,
    /// The same in the order of time.
    order: VecDeque<TransactionId>,
    unclaimed: Option<Instant>,
}

impl Table {
    /// Adds a session that waits for its mail there.
    pub(super) fn add(&mut self, mailbox: Arc<Mailbox>) -> Key {
        let key = Key(self.next);
        self.next += 1;
        let entry = Entry {
            ufrag: Ufrag::default(),
            mailbox,
            sources: Vec::new(),
            heard: None,
        };
        self.sessions.insert(key, entry);
        key
    }

    /// Names a session: requests with this ufrag are for it. `false`: another one has it.
    #[must_use]
    pub(super) fn name(&mut self, key: Key, ufrag: &str) -> bool {
        let (Ok(ufrag), Some(entry)) = (ufrag.as_bytes().try_into(), self.sessions.get_mut(&key))
        else {
            debug_assert!(false, "a ufrag of a session that was added");
            return false;
        };
        if self.ufrags.contains_key(&ufrag) {
            return false;
        }
        self.ufrags.remove(&entry.ufrag);
        entry.ufrag = ufrag;
        self.ufrags.insert(ufrag, key);
        true
    }

    /// Removes a session, and returns how many are left.
    pub(super) fn remove(&mut self, key: Key) -> usize {
        if let Some(entry) = self.sessions.remove(&key) {
            self.ufrags.remove(&entry.ufrag);
            for source in entry.sources {
                self.sources.remove(&source);
            }
            self.servers.retain(|_, of| *of != key);
            self.requests.retain(|_, of| *of != key);
            let requests = &self.requests;
            self.order.retain(|request| requests.contains_key(request));
        }
        self.sessions.len()
    }

    /// All sessions' mailboxes.
    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.sessions.values().map(|entry| &entry.mailbox)
    }

    /// Notes a datagram that a session is about to send: if it is a request, its answer is for that
    /// session.
    pub(super) fn sent(&mut self, key: Key, datagram: &[u8]) {
        let Some(transaction) = request(datagram) else {
            return;
        };
        if self.requests.insert(transaction, key).is_none() {
            self.order.push_back(transaction);
        }
        while self.order.len() > REQUESTS_EACH * self.sessions.len().max(1) {
            if let Some(oldest) = self.order.pop_front() {
                self.requests.remove(&oldest);
            }
        }
    }

    /// Keeps pairs of socket and TURN server for a session, in place of those that it had: what a
    /// server relays names nobody.
    pub(super) fn reserve(&mut self, key: Key, servers: impl IntoIterator<Item = Source>) {
        self.servers.retain(|_, of| *of != key);
        for server in servers {
            self.servers.entry(server).or_insert(key);
        }
    }

    /// Claims a source for a session whose remote has proved itself there, and keeps it claimed.
    pub(super) fn claim(&mut self, now: Instant, key: Key, source: Source) {
        let Some(entry) = self.sessions.get_mut(&key) else {
            return;
        };
        entry.heard = Some(now);
        let claim = Claim { key, at: now };
        match self.sources.get_mut(&source) {
            Some(old) if old.key == key => {
                old.at = now;
                return;
            }
            Some(old) if !old.is_stale(now) => return,
            _ => {}
        }
        if entry.sources.len() == SOURCES_MAX {
            let claims = entry.sources.iter().enumerate();
            let oldest = claims.min_by_key(|(_, it)| self.sources.get(it).map(|claim| claim.at));
            if let Some((at, _)) = oldest {
                self.sources.remove(&entry.sources.swap_remove(at));
            }
        }
        entry.sources.push(source);
        if let Some(old) = self.sources.insert(source, claim)
            && let Some(other) = self.sessions.get_mut(&old.key)
        {
            other.sources.retain(|it| *it != source);
        }
    }

    /// Puts what came to a socket into the mailboxes of those for whom it is.
    pub(super) fn deliver(&mut self, now: Instant, socket: SocketId, train: &Train<'_>) {
        let stride = train.stride.max(1);
        // Only datagrams of the same kind go together: those of STUN say themselves for whom.
        let mut rest = train.bytes;
        while !rest.is_empty() {
            let data = rest.chunks(stride).take_while(|it| is_data(it)).count();
            let len = rest.len().min(data.max(1).saturating_mul(stride));
            let (these, after) = rest.split_at(len);
            rest = after;
            let these = Train {
                bytes: these,
                ..*train
            };
            self.deliver_alike(now, socket, &these);
        }
    }

    fn deliver_alike(&mut self, now: Instant, socket: SocketId, train: &Train<'_>) {
        let first = train.bytes.get(..train.stride).unwrap_or(train.bytes);
        let owner = self.sources.get(&(socket, train.source)).copied();
        let named = match Addressee::of(first) {
            Addressee::Ufrag(ufrag) => self.ufrags.get(&ufrag).copied(),
            Addressee::Transaction(transaction) => self.requests.get(&transaction).copied(),
            Addressee::Source if owner.is_none() => return self.unclaimed(now, socket, train),
            Addressee::Source => None,
            Addressee::Server => self.servers.get(&(socket, train.source)).copied(),
            Addressee::Nobody => return,
        };
        let key = match (named, owner) {
            // Data from there would be the other's: there can be no path.
            (Some(key), Some(owner)) if key != owner.key && !owner.is_stale(now) => return,
            (Some(key), _) => key,
            (None, Some(owner)) => owner.key,
            (None, None) => return,
        };
        if let Some(entry) = self.sessions.get(&key) {
            entry.mailbox.deliver(socket, train);
        }
    }

    /// Tells those sessions of data from a source which nobody claims whose remotes have been
    /// silent longest: one of them may have moved.
    fn unclaimed(&mut self, now: Instant, socket: SocketId, train: &Train<'_>) {
        if self.unclaimed.is_some_and(|at| now < at + UNCLAIMED_PAUSE) {
            return;
        }
        self.unclaimed = Some(now);
        let here = self.sessions.values().filter(|entry| {
            let mut sources = entry.sources.iter();
            sources.any(|(of, _)| *of == socket)
        });
        let mut silent: Vec<&Entry> = here.collect();
        silent.sort_unstable_by_key(|entry| entry.heard);
        for entry in silent.into_iter().take(UNCLAIMED_MAX) {
            entry.mailbox.deliver(socket, train);
        }
    }
}

fn is_data(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..=63))
}

#[cfg(test)]
mod tests;
