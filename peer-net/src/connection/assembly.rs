//! Messages that come in PeerJS's chunks, put together again.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// Messages of one connection that may be incomplete at a time. At the limit the oldest is dropped
/// and counted.
pub(crate) const PARTIAL_MAX: usize = 64;
/// What a chunk costs besides its bytes, so that empty ones are not free.
const CHUNK_OVERHEAD: usize = 64;
/// Incomplete messages of all connections of a peer together, in multiples of its largest message.
/// At the limit the message whose chunk came last is dropped and counted.
const INCOMPLETE_MESSAGES: usize = 4;
/// The same where messages are small, in bytes.
const INCOMPLETE_MIN: usize = 1 << 20;

/// A message was dropped: it was too big, or there was no room for its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped;

/// Bytes that all connections of a peer may hold in incomplete messages.
#[derive(Clone, Debug)]
pub(crate) struct Incomplete(Arc<AtomicUsize>);

impl Incomplete {
    pub(crate) fn new(message_max: usize) -> Self {
        let bytes = message_max
            .saturating_mul(INCOMPLETE_MESSAGES)
            .max(INCOMPLETE_MIN);
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    fn take(&self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// One chunk, as far as it matters here.
pub(crate) struct Part {
    /// The message's id, unique among those in flight on its connection.
    pub(crate) id: u64,
    /// The part's place, from 0.
    pub(crate) n: u32,
    /// How many parts there are.
    pub(crate) total: u32,
    pub(crate) data: Bytes,
}

/// The incomplete messages of one connection.
#[derive(Debug)]
pub(crate) struct Assembly {
    partial: HashMap<u64, Partial>,
    /// Ids in the order their first part came.
    order: VecDeque<u64>,
    message_max: usize,
    incomplete: Incomplete,
}

#[derive(Debug)]
struct Partial {
    total: u32,
    parts: BTreeMap<u32, Bytes>,
    /// Of the parts, without overhead.
    bytes: usize,
    /// Given up; later parts are of no use either, and are counted so that the id is freed with the
    /// last.
    dropped: Option<u32>,
}

impl Partial {
    fn cost(&self) -> usize {
        self.bytes + self.parts.len() * CHUNK_OVERHEAD
    }

    fn join(self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.bytes);
        for part in self.parts.values() {
            whole.extend_from_slice(part);
        }
        whole.freeze()
    }
}

impl Assembly {
    pub(crate) fn new(message_max: usize, incomplete: Incomplete) -> Self {
        Self {
            partial: HashMap::new(),
            order: VecDeque::new(),
            message_max,
            incomplete,
        }
    }

    /// Takes a part; gives the message when it was the last. Parts may come in any order and more
    /// than once; the first `total` of a message counts, a place outside of it does not exist.
    ///
    /// `Err` for every message that is given up, at most once each.
    pub(crate) fn insert(&mut self, part: Part) -> Result<Option<Bytes>, Dropped> {
        if part.n >= part.total {
            return Err(Dropped);
        }
        let evicted = self.begin(part.id, part.total);
        let Some(partial) = self.partial.get_mut(&part.id) else {
            return Err(Dropped);
        };
        if part.n >= partial.total {
            return Err(Dropped);
        }
        if let Some(seen) = &mut partial.dropped {
            *seen = seen.saturating_add(1);
            if *seen >= partial.total {
                self.remove(part.id);
            }
            return Ok(None);
        }
        if partial.parts.contains_key(&part.n) {
            return Ok(None);
        }
        let size = part.data.len();
        if partial.bytes + size > self.message_max || !self.incomplete.take(size + CHUNK_OVERHEAD) {
            self.give_up(part.id);
            return Err(Dropped);
        }
        partial.bytes += size;
        partial.parts.insert(part.n, part.data);
        if partial.parts.len() < partial.total as usize {
            return evicted.map(|()| None);
        }
        Ok(self.remove(part.id).map(Partial::join))
    }

    /// Makes room for a message whose first part came.
    fn begin(&mut self, id: u64, total: u32) -> Result<(), Dropped> {
        if self.partial.contains_key(&id) {
            return Ok(());
        }
        // A message of one part is gone again at once.
        let full = total > 1 && self.order.len() >= PARTIAL_MAX;
        let oldest = self.order.front().copied().filter(|_| full);
        let evicted = oldest.and_then(|oldest| self.remove(oldest));
        self.order.push_back(id);
        let (parts, bytes, dropped) = (BTreeMap::new(), 0, None);
        self.partial.insert(
            id,
            Partial {
                total,
                parts,
                bytes,
                dropped,
            },
        );
        match evicted {
            Some(partial) if partial.dropped.is_none() => Err(Dropped),
            _ => Ok(()),
        }
    }

    /// Frees what came of a message, and remembers that its other parts are of no use.
    fn give_up(&mut self, id: u64) {
        let Some(partial) = self.partial.get_mut(&id) else {
            return;
        };
        self.incomplete.give_back(partial.cost());
        let seen = u32::try_from(partial.parts.len() + 1).unwrap_or(u32::MAX);
        partial.parts = BTreeMap::new();
        partial.bytes = 0;
        partial.dropped = Some(seen);
        if seen >= partial.total {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Partial> {
        let partial = self.partial.remove(&id)?;
        self.order.retain(|other| *other != id);
        self.incomplete.give_back(partial.cost());
        Some(partial)
    }
}

impl Drop for Assembly {
    fn drop(&mut self) {
        self.incomplete
            .give_back(self.partial.values().map(Partial::cost).sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(id: u64, n: u32, total: u32, data: &'static [u8]) -> Part {
        Part {
            id,
            n,
            total,
            data: Bytes::from_static(data),
        }
    }

    fn assembly(message_max: usize) -> Assembly {
        Assembly::new(message_max, Incomplete::new(message_max))
    }

    fn left(assembly: &Assembly) -> usize {
        assembly.incomplete.0.load(Ordering::Relaxed)
    }

    #[test]
    fn any_order_and_duplicates() {
        let mut assembly = assembly(1000);
        assert_eq!(assembly.insert(part(1, 2, 3, b"c")), Ok(None));
        assert_eq!(
            assembly.insert(part(1, 2, 3, b"X")),
            Ok(None),
            "a duplicate"
        );
        assert_eq!(
            assembly.insert(part(2, 0, 1, b"other")),
            Ok(Some(Bytes::from("other")))
        );
        assert_eq!(
            assembly.insert(part(1, 0, 9, b"a")),
            Ok(None),
            "the first total counts"
        );
        assert_eq!(
            assembly.insert(part(1, 7, 9, b"z")),
            Err(Dropped),
            "no such place"
        );
        assert_eq!(
            assembly.insert(part(1, 1, 3, b"b")),
            Ok(Some(Bytes::from("abc")))
        );
        assert_eq!(left(&assembly), INCOMPLETE_MIN);
        assert_eq!(
            assembly.insert(part(3, 0, 0, b"")),
            Err(Dropped),
            "no message has no parts"
        );
    }

    #[test]
    fn a_message_that_is_too_big_is_dropped_once_and_forgotten_with_its_last_part() {
        let mut assembly = assembly(5);
        assert_eq!(assembly.insert(part(1, 0, 3, b"abc")), Ok(None));
        assert_eq!(assembly.insert(part(1, 1, 3, b"def")), Err(Dropped));
        assert_eq!(assembly.insert(part(1, 2, 3, b"g")), Ok(None));
        assert!(assembly.partial.is_empty());
        assert_eq!(
            assembly.insert(part(1, 0, 1, b"next")),
            Ok(Some(Bytes::from("next")))
        );
    }

    #[test]
    fn the_oldest_of_too_many_goes() {
        let mut assembly = assembly(1000);
        for id in 0..PARTIAL_MAX as u64 {
            assert_eq!(assembly.insert(part(id, 0, 2, b"a")), Ok(None));
        }
        assert!(
            assembly.insert(part(1000, 0, 2, b"a")).is_err(),
            "one was evicted"
        );
        assert_eq!(assembly.partial.len(), PARTIAL_MAX);
        assert_eq!(
            assembly.insert(part(1000, 1, 2, b"b")),
            Ok(Some(Bytes::from("ab")))
        );
        assert_eq!(
            assembly.insert(part(1, 1, 2, b"b")),
            Ok(Some(Bytes::from("ab")))
        );
    }

    proptest! {
        #[test]
        fn hostile_parts_stay_within_the_limit(
            parts in proptest::collection::vec((0..70_u64, any::<u32>(), 0..6_u32, 0..40_usize), 0..400),
        ) {
            let incomplete = Incomplete(Arc::new(AtomicUsize::new(2000)));
            let mut assembly = Assembly::new(200, incomplete.clone());
            for (id, n, total, len) in parts {
                let data = Bytes::from(vec![0; len]);
                let _ = assembly.insert(Part { id, n: n % 7, total, data });
                prop_assert!(assembly.partial.len() <= PARTIAL_MAX);
                prop_assert_eq!(assembly.order.len(), assembly.partial.len());
                prop_assert!(incomplete.0.load(Ordering::Relaxed) <= 2000);
            }
            drop(assembly);
            prop_assert_eq!(incomplete.0.load(Ordering::Relaxed), 2000);
        }
    }
}
