//! The realm and the sockets' outboxes behind one lock, so that messages keep the realm's order.

use core::net::IpAddr;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use peer_core::time::Instant;
use peer_realm::{Action, ClientMessage, Realm, RealmStats, SessionId};
use tokio::sync::Notify;

use super::addresses::{Addresses, origin};
use super::memory::{Memory, charged};
use super::options::BrokerOptions;
use super::outbox::Outbox;
use crate::time::{engine_now, of_engine};

/// The realm with its surroundings. Nothing in here waits.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) options: BrokerOptions,
    /// [`BrokerOptions::path`] with a slash at either end.
    pub(super) base_path: String,
    /// What all sessions may have read of unfinished messages.
    pub(super) incoming: Arc<Memory>,
    /// What all outboxes and the lists of peers that are being read may hold.
    pub(super) outgoing: Arc<Memory>,
    pub(super) addresses: Arc<Addresses>,
    state: Mutex<State>,
    /// The last list of peers and whose it is.
    list: Mutex<Option<((u64, u64), Bytes)>>,
    epoch: tokio::time::Instant,
    /// The realm's next timeout came nearer.
    sooner: Notify,
}

#[derive(Debug)]
struct State {
    realm: Realm,
    outboxes: HashMap<SessionId, Arc<Outbox>>,
    next_session: u64,
    /// The timeout the timer sleeps for.
    timeout: Option<Instant>,
}

impl Hub {
    pub(super) fn new(options: BrokerOptions) -> Self {
        let realm = Realm::new(options.realm());
        Self {
            base_path: options.base_path(),
            incoming: Arc::new(Memory::new(options.limits.incoming_bytes)),
            outgoing: Arc::new(Memory::new(options.limits.outboxes_bytes)),
            addresses: Arc::new(Addresses::new(options.limits.connections_per_address)),
            options,
            state: Mutex::new(State {
                realm,
                outboxes: HashMap::new(),
                next_session: 0,
                timeout: None,
            }),
            list: Mutex::default(),
            epoch: tokio::time::Instant::now(),
            sooner: Notify::new(),
        }
    }

    /// A WebSocket opened, of a client at an address.
    pub(super) fn connect(
        &self,
        address: IpAddr,
        key: &str,
        id: &str,
        token: &str,
    ) -> (SessionId, Arc<Outbox>) {
        let outbox = Arc::new(Outbox::new(&self.options.limits, self.outgoing.clone()));
        let mut state = self.lock();
        let session = SessionId(state.next_session);
        state.next_session += 1;
        state.outboxes.insert(session, outbox.clone());
        let (now, origin) = (self.now(), origin(address));
        let actions = state
            .realm
            .connect_from(now, session, origin, key, id, token);
        self.perform(&mut state, actions);
        (session, outbox)
    }

    /// A WebSocket closed, or is closing and says nothing that counts any more.
    pub(super) fn disconnect(&self, session: SessionId) {
        let mut state = self.lock();
        state.realm.disconnect(session);
        state.outboxes.remove(&session);
    }

    /// A client sent a message.
    pub(super) fn message(&self, session: SessionId, message: &ClientMessage<'_>) {
        let mut state = self.lock();
        let actions = state.realm.message(self.now(), session, message);
        self.perform(&mut state, actions);
    }

    /// The outbox that has no room for this message now but may get some, if it is for one.
    pub(super) fn congested(
        &self,
        session: SessionId,
        message: &ClientMessage<'_>,
        size: usize,
    ) -> Option<Arc<Outbox>> {
        if !message.kind.is_relayed() {
            return None;
        }
        let state = self.lock();
        let to = state.realm.session(message.dst.as_deref()?)?;
        let outbox = state.outboxes.get(&to)?;
        let wait = !outbox.has_room(session, size) && !outbox.is_stalled();
        wait.then(|| outbox.clone())
    }

    /// A free id by `generate`, or `None` if it does not find one in `attempts`.
    pub(super) fn free_id(
        &self,
        attempts: usize,
        generate: impl Fn() -> Option<String>,
    ) -> Option<String> {
        for _ in 0..attempts {
            let id = generate()?;
            if !self.lock().realm.contains(&id) {
                return Some(id);
            }
        }
        None
    }

    pub(super) fn ids(&self) -> Vec<Arc<str>> {
        self.lock().realm.ids()
    }

    /// The ids as a JSON array. It is made once for all who ask before somebody comes or goes:
    /// whoever asks often costs the others nothing. `None`: there is no room for one more.
    pub(super) fn list(&self) -> Option<Bytes> {
        let mut latest = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let (membership, ids) = {
            let state = self.lock();
            let membership = state.realm.membership();
            if let Some((_, list)) = latest.as_ref().filter(|(of, _)| *of == membership) {
                return Some(list.clone());
            }
            (membership, state.realm.ids())
        };
        *latest = None;
        let ids: serde_json::Value = ids.iter().map(|id| &**id).collect();
        let list = charged(ids.to_string(), &self.outgoing)?;
        *latest = Some((membership, list.clone()));
        Some(list)
    }

    pub(super) fn stats(&self) -> RealmStats {
        self.lock().realm.stats()
    }

    /// Lets every session send what waits for it and close.
    pub(super) fn close_all(&self) {
        for outbox in self.lock().outboxes.values() {
            outbox.close();
        }
    }

    /// Expires and times out, for ever.
    pub(super) async fn run_timer(&self) {
        loop {
            let timeout = {
                let mut state = self.lock();
                let actions = state.realm.poll(self.now());
                self.perform(&mut state, actions);
                state.timeout = state.realm.next_timeout();
                state.timeout
            };
            let sleep = async {
                match timeout {
                    Some(timeout) => {
                        tokio::time::sleep_until(of_engine(self.epoch, timeout)).await;
                    }
                    None => core::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.sooner.notified() => {}
            }
        }
    }

    fn perform(&self, state: &mut State, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Send { session, text } => {
                    if let Some(outbox) = state.outboxes.get(&session)
                        && outbox.push(None, text).is_err()
                    {
                        // It provokes more than it reads.
                        outbox.cut();
                    }
                }
                Action::Relay { from, to, text } => {
                    let outbox = state.outboxes.get(&to);
                    if outbox.is_none_or(|outbox| outbox.push(Some(from), text).is_err()) {
                        actions.extend(state.realm.refused(from, to));
                    }
                }
                Action::Close { session } => {
                    if let Some(outbox) = state.outboxes.remove(&session) {
                        outbox.close();
                    }
                }
            }
        }
        let timeout = state.realm.next_timeout();
        if timeout.is_some_and(|timeout| state.timeout.is_none_or(|planned| timeout < planned)) {
            state.timeout = timeout;
            self.sooner.notify_one();
        }
    }

    fn now(&self) -> Instant {
        engine_now(self.epoch)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
