//! What waits for the task of a session: datagrams, signals, sockets that changed.

use core::net::SocketAddr;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peer_core::rtc::ice::SocketId;
use tokio::sync::Notify;

use super::socket::{Socket, Train};

/// Bytes of datagrams that wait for one session, what is kept of each counted, too. What comes
/// beyond is lost, as it would be in a router.
const DATAGRAMS_MAX: usize = 256 * 1024;
/// Memory for datagrams that is kept while none come.
const KEPT: usize = 4 * 1024;
/// Candidates of the remote that wait; more are dropped.
const CANDIDATES_MAX: usize = 32;

/// The way to the task of a session, for whoever has something for it.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Mail>,
    notify: Notify,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) datagrams: Datagrams,
    /// The remote's description; only the first counts.
    pub(super) answer: Option<String>,
    pub(super) candidates: VecDeque<String>,
    /// All sockets there are, if these are others than before.
    pub(super) sockets: Option<Arc<[Arc<Socket>]>>,
    /// The way of signals is back: what was told on it may have been lost.
    pub(super) signalled_again: bool,
    /// The session is to be closed.
    pub(super) close: bool,
}

impl Mailbox {
    /// Puts datagrams of one source there.
    pub(super) fn deliver(&self, socket: SocketId, train: &Train<'_>) {
        let mut mail = self.lock();
        for datagram in train.bytes.chunks(train.stride.max(1)) {
            mail.datagrams.push(socket, train.source, datagram);
        }
        drop(mail);
        self.notify.notify_one();
    }

    /// Gives the remote's description. Only the first one counts.
    pub(super) fn answer(&self, sdp: String) {
        self.lock().answer.get_or_insert(sdp);
        self.notify.notify_one();
    }

    /// Gives a candidate of the remote. `false`: too many wait, and it was dropped.
    pub(super) fn candidate(&self, candidate: String) -> bool {
        let mut mail = self.lock();
        let has_room = mail.candidates.len() < CANDIDATES_MAX;
        if has_room {
            mail.candidates.push_back(candidate);
        }
        drop(mail);
        self.notify.notify_one();
        has_room
    }

    /// Tells the sockets there are now.
    pub(super) fn sockets(&self, sockets: Arc<[Arc<Socket>]>) {
        self.lock().sockets = Some(sockets);
        self.notify.notify_one();
    }

    /// Tells that the way of signals is back.
    pub(super) fn signalled_again(&self) {
        self.lock().signalled_again = true;
        self.notify.notify_one();
    }

    /// Has the session closed.
    pub(super) fn close(&self) {
        self.lock().close = true;
        self.notify.notify_one();
    }

    /// Gives back the memory that only many datagrams needed.
    pub(super) fn shrink(&self) {
        self.lock().datagrams.shrink();
    }

    /// Waits until something may be there. Of one task.
    pub(super) async fn notified(&self) {
        self.notify.notified().await;
    }

    /// Takes everything, and leaves `empty` there.
    pub(super) fn take(&self, empty: &mut Mail) {
        debug_assert!(empty.datagrams.heads.is_empty(), "nothing is lost");
        core::mem::swap(&mut *self.lock(), empty);
    }

    /// What is there is whole after any panic.
    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Datagrams, one after the other.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    bytes: Vec<u8>,
    heads: Vec<Head>,
    /// How many of them are taken.
    taken: usize,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    socket: SocketId,
    source: SocketAddr,
    end: usize,
}

impl Datagrams {
    fn push(&mut self, socket: SocketId, source: SocketAddr, datagram: &[u8]) {
        let heads = (self.heads.len() + 1) * size_of::<Head>();
        if heads + self.bytes.len() + datagram.len() > DATAGRAMS_MAX {
            return;
        }
        self.bytes.extend_from_slice(datagram);
        self.heads.push(Head {
            socket,
            source,
            end: self.bytes.len(),
        });
    }

    /// Whether all are taken.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.heads.len()
    }

    /// Takes the next one, which may be changed where it lies.
    pub(super) fn next(&mut self) -> Option<(SocketId, SocketAddr, &mut [u8])> {
        let head = self.heads.get(self.taken)?;
        let start = match self.taken.checked_sub(1) {
            Some(before) => self.heads.get(before)?.end,
            None => 0,
        };
        self.taken += 1;
        let datagram = self.bytes.get_mut(start..head.end)?;
        Some((head.socket, head.source, datagram))
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.heads.clear();
        self.taken = 0;
    }

    /// Whether there is memory that only many needed.
    pub(super) const fn is_large(&self) -> bool {
        self.bytes.capacity() > KEPT
    }

    /// Gives it back.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to(KEPT);
        self.heads.shrink_to(KEPT / size_of::<Head>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_datagrams_are_bounded_too() {
        let mailbox = Mailbox::default();
        for _ in 0..16 {
            let train = Train {
                source: SocketAddr::from(([192, 0, 2, 1], 1)),
                bytes: &[23; 65_536],
                stride: 1,
            };
            mailbox.deliver(SocketId(0), &train);
        }
        let mut mail = Mail::default();
        mailbox.take(&mut mail);
        let mut count = 0;
        while mail.datagrams.next().is_some() {
            count += 1;
        }
        assert_eq!(count, DATAGRAMS_MAX / (size_of::<Head>() + 1));
    }

    #[test]
    fn the_memory_of_a_burst_can_be_given_back() {
        let mailbox = Mailbox::default();
        let train = Train {
            source: SocketAddr::from(([192, 0, 2, 1], 1)),
            bytes: &[23; 65_536],
            stride: 1_200,
        };
        mailbox.deliver(SocketId(0), &train);
        let mut mail = Mail::default();
        mailbox.take(&mut mail);
        while mail.datagrams.next().is_some() {}
        mail.datagrams.clear();
        assert!(mail.datagrams.is_large());
        mail.datagrams.shrink();
        assert!(!mail.datagrams.is_large());
    }
}
