//! Bytes that wait, counted over all connections.
//!
//! A peer counts what waits to be received so
//! ([`PeerBuilder::inbox_bytes`](crate::PeerBuilder::inbox_bytes)); a program that keeps what it
//! received may count it the same way, as the command `peer` does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// What each account may hold whatever the others do, in bytes.
pub const SHARE: usize = 64 << 10;

/// One pool of bytes for many accounts.
///
/// An account holds [`SHARE`] of its own. What it holds beyond comes out of the common pool; when
/// that is used up, whoever asks waits, and who holds least is served first. A request that is
/// larger than the pool is served once nobody holds anything of it, so that one large message
/// always fits.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Mutex<Pool>>);

#[derive(Debug)]
struct Pool {
    limit: usize,
    /// What the accounts hold beyond their shares.
    common: usize,
    held: HashMap<u64, usize>,
    waiting: Vec<Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    account: u64,
    bytes: usize,
    served: oneshot::Sender<Held>,
}

/// Who holds bytes, for example a connection. Clones are the same account.
#[derive(Clone, Debug)]
pub struct Account {
    budget: Budget,
    number: u64,
}

/// Bytes of an account. They are given back when this is dropped.
#[must_use = "dropped bytes are given back"]
#[derive(Debug)]
pub struct Held {
    account: Account,
    bytes: usize,
}

impl Budget {
    /// A pool of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Pool {
            limit,
            common: 0,
            held: HashMap::new(),
            waiting: Vec::new(),
            next: 0,
        })))
    }

    /// A further account, which holds nothing yet.
    pub fn account(&self) -> Account {
        let mut pool = self.lock();
        pool.next += 1;
        Account {
            budget: self.clone(),
            number: pool.next,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves who can be served now.
    fn serve(&self) {
        loop {
            let mut pool = self.lock();
            pool.waiting.retain(|waiting| !waiting.served.is_closed());
            let held = |waiting: &Waiting| pool.held.get(&waiting.account).copied();
            let least = (0..pool.waiting.len()).min_by_key(|at| held(&pool.waiting[*at]));
            let Some(at) = least else { return };
            let (account, bytes) = (pool.waiting[at].account, pool.waiting[at].bytes);
            if !pool.fits(account, bytes) {
                return;
            }
            pool.add(account, bytes);
            let waiting = pool.waiting.remove(at);
            drop(pool);
            let account = Account {
                budget: self.clone(),
                number: account,
            };
            // Who no longer waits gives it back at once.
            drop(waiting.served.send(Held { account, bytes }));
        }
    }
}

impl Pool {
    fn has_waiting(&self) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|waiting| !waiting.served.is_closed())
    }

    fn beyond(&self, account: u64, more: usize) -> usize {
        let before = self.held.get(&account).copied().unwrap_or_default();
        let after = before.saturating_add(more);
        after.saturating_sub(SHARE) - before.saturating_sub(SHARE)
    }

    fn fits(&self, account: u64, bytes: usize) -> bool {
        let beyond = self.beyond(account, bytes);
        beyond == 0 || self.common == 0 || self.common.saturating_add(beyond) <= self.limit
    }

    fn add(&mut self, account: u64, bytes: usize) {
        self.common = self.common.saturating_add(self.beyond(account, bytes));
        let held = self.held.entry(account).or_default();
        *held = held.saturating_add(bytes);
    }

    fn give_back(&mut self, account: u64, bytes: usize) {
        let Some(held) = self.held.get_mut(&account) else {
            debug_assert!(bytes == 0, "what is given back was held");
            return;
        };
        let after = held.saturating_sub(bytes);
        let common = held.saturating_sub(SHARE) - after.saturating_sub(SHARE);
        *held = after;
        if after == 0 {
            self.held.remove(&account);
        }
        self.common = self.common.saturating_sub(common);
    }
}

/// Who no longer waits is no longer in anybody's way.
struct ServeOthers<'b>(&'b Budget);

impl Drop for ServeOthers<'_> {
    fn drop(&mut self) {
        self.0.serve();
    }
}

impl Account {
    /// Takes bytes, and waits until they are there. Cancel safe.
    pub async fn take(&self, bytes: usize) -> Held {
        if let Some(held) = self.try_take(bytes) {
            return held;
        }
        // Before what waits, so that it is dropped after it.
        let _others = ServeOthers(&self.budget);
        let (served, wait) = oneshot::channel();
        self.budget.lock().waiting.push(Waiting {
            account: self.number,
            bytes,
            served,
        });
        self.budget.serve();
        match wait.await {
            Ok(held) => held,
            Err(_) => {
                debug_assert!(false, "who waits is served");
                self.hold(0)
            }
        }
    }

    /// Takes bytes that are there now.
    pub fn try_take(&self, bytes: usize) -> Option<Held> {
        let mut pool = self.budget.lock();
        let own = pool.beyond(self.number, bytes) == 0;
        // Who waits comes first.
        let turn = own || !pool.has_waiting();
        if !turn || !pool.fits(self.number, bytes) {
            return None;
        }
        pool.add(self.number, bytes);
        Some(self.hold(bytes))
    }

    /// Takes bytes, whether they are there or not: for what cannot wait and is bounded otherwise.
    pub(crate) fn take_now(&self, bytes: usize) -> Held {
        self.budget.lock().add(self.number, bytes);
        self.hold(bytes)
    }

    fn hold(&self, bytes: usize) -> Held {
        Held {
            account: self.clone(),
            bytes,
        }
    }
}

impl Held {
    /// Gives back all but `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.account.give_back(less);
    }
}

impl Account {
    fn give_back(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let waits = {
            let mut pool = self.budget.lock();
            pool.give_back(self.number, bytes);
            !pool.waiting.is_empty()
        };
        if waits {
            self.budget.serve();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use core::pin::pin;

    use super::*;

    /// Polls once.
    async fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(core::time::Duration::ZERO, future)
            .await
            .ok()
    }

    fn common(budget: &Budget) -> usize {
        budget.lock().common
    }

    #[tokio::test]
    async fn each_has_a_share_and_who_holds_least_comes_first() {
        let budget = Budget::new(1000);
        let [greedy, modest, small] = [(); 3].map(|()| budget.account());
        let all = greedy.take(SHARE + 900).await;
        let own = modest.take(SHARE).await;
        assert_eq!(common(&budget), 900);

        let mut more = pin!(greedy.take(200));
        assert!(now(more.as_mut()).await.is_none(), "the pool is used up");
        let mut first = pin!(modest.take(300));
        assert!(now(first.as_mut()).await.is_none());
        let share = small.take(SHARE).await;
        drop(all);
        let first = now(first).await.expect("it holds less");
        let more = now(more).await.expect("there is room for both");
        // What the greedy one holds is its own share by now.
        assert_eq!(common(&budget), 300);
        drop((first, more, own, share));
        assert_eq!(common(&budget), 0);
        assert!(budget.lock().held.is_empty());
    }

    #[tokio::test]
    async fn one_that_is_larger_than_the_pool_fits_alone() {
        let budget = Budget::new(1000);
        let [a, b] = [(); 2].map(|()| budget.account());
        let mut large = a.take(SHARE + 5000).await;
        assert!(b.try_take(SHARE + 1).is_none());
        large.shrink(10);
        let held = b.try_take(SHARE + 5000).expect("nobody holds anything");
        drop(held);
        drop(large);
        assert_eq!(common(&budget), 0);
    }

    #[tokio::test]
    async fn who_no_longer_waits_is_passed_over() {
        let budget = Budget::new(10);
        let [a, b] = [(); 2].map(|()| budget.account());
        let held = a.take(SHARE + 10).await;
        assert!(now(b.take(SHARE + 5)).await.is_none());
        drop(held);
        assert_eq!(common(&budget), 0);
        assert!(now(b.take(SHARE + 5)).await.is_some());

        let c = budget.account();
        let (half, own) = (a.take(SHARE + 5).await, c.take(SHARE).await);
        let mut large = Box::pin(b.take(SHARE + 8));
        let mut small = pin!(c.take(3));
        assert!(now(large.as_mut()).await.is_none(), "it does not fit");
        assert!(now(small.as_mut()).await.is_none(), "it holds more");
        drop(large);
        let small = now(small).await.expect("nobody else waits");
        drop((half, own, small));
        assert_eq!(common(&budget), 0);
    }
}
