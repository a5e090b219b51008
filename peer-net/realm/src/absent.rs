//! Messages waiting for peers that are not there, within limits.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use peer_core::time::Instant;

use crate::options::RealmLimits;

/// A limit does not let the message in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// All queues. What one sender has waiting for one destination is a *batch*: it expires as a whole.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    queues: HashMap<Arc<str>, Queue>,
    sources: HashMap<Arc<str>, Usage>,
    batches: BTreeMap<BatchKey, Batch>,
    next_batch: u64,
    bytes: usize,
}

type BatchKey = (Instant, u64);

#[derive(Debug)]
struct Batch {
    src: Arc<str>,
    dst: Arc<str>,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Waiting>,
    bytes: usize,
    parts: HashMap<Arc<str>, Part>,
}

/// A batch as its queue sees it.
#[derive(Debug)]
struct Part {
    key: BatchKey,
    messages: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    src: Arc<str>,
    text: String,
}

#[derive(Debug, Default)]
struct Usage {
    messages: usize,
    bytes: usize,
    destinations: usize,
}

impl Absent {
    /// One sender may have this part of what is free in a queue, or one message.
    const QUEUE_SHARE: usize = 2;
    /// So many waiting bytes of a sender are little.
    const LITTLE: usize = 16 * 1024;
    /// So many destinations of a sender are few.
    const FEW: usize = 4;

    /// Keeps a message; if it begins a batch, that one expires at `deadline`.
    pub(crate) fn push(
        &mut self,
        limits: &RealmLimits,
        deadline: Instant,
        src: &Arc<str>,
        dst: &str,
        text: String,
    ) -> Result<(), Full> {
        let cost = cost(&text);
        let queue = self.queues.get(dst);
        let new_queue = queue.is_none();
        let (queue_messages, queue_bytes) =
            queue.map_or((0, 0), |queue| (queue.messages.len(), queue.bytes));
        let part = queue.and_then(|queue| queue.parts.get(src));
        let new_batch = part.is_none();
        let (part_messages, part_bytes) = part.map_or((0, 0), |part| (part.messages, part.bytes));
        let usage = self.sources.get(src);
        let (messages, bytes, destinations) = usage.map_or((0, 0, 0), |usage| {
            (usage.messages, usage.bytes, usage.destinations)
        });

        // Half of everything is for those who have little waiting.
        let queue_free = limits.queue_messages.saturating_sub(queue_messages);
        let queue_bytes_free = limits.queue_bytes.saturating_sub(queue_bytes);
        let bytes_max = match bytes.saturating_add(cost) <= Self::LITTLE {
            true => limits.queued_bytes,
            false => limits.queued_bytes / 2,
        };
        let places_max = match destinations < Self::FEW {
            true => limits.absent_destinations,
            false => limits.absent_destinations / 2,
        };
        let fits = dst.len() <= limits.id_bytes
            && part_messages < queue_free.div_ceil(Self::QUEUE_SHARE)
            && cost <= queue_bytes_free
            && (new_batch
                || part_bytes.saturating_add(cost) <= queue_bytes_free / Self::QUEUE_SHARE)
            && self.bytes.saturating_add(cost) <= bytes_max
            && messages < limits.source_messages
            && bytes.saturating_add(cost) <= limits.source_bytes
            && (!new_queue || self.queues.len() < places_max)
            && (!new_batch || destinations < limits.source_destinations);
        if !fits {
            return Err(Full);
        }

        let dst = match self.queues.get_key_value(dst) {
            Some((dst, _)) => dst.clone(),
            None => dst.into(),
        };
        let queue = self.queues.entry(dst.clone()).or_default();
        let usage = self.sources.entry(src.clone()).or_default();
        if new_batch {
            let key = (deadline, self.next_batch);
            self.next_batch += 1;
            let part = Part {
                key,
                messages: 0,
                bytes: 0,
            };
            queue.parts.insert(src.clone(), part);
            self.batches.insert(
                key,
                Batch {
                    src: src.clone(),
                    dst,
                },
            );
            usage.destinations += 1;
        }
        queue.messages.push_back(Waiting {
            src: src.clone(),
            text,
        });
        queue.bytes += cost;
        if let Some(part) = queue.parts.get_mut(src) {
            part.messages += 1;
            part.bytes += cost;
        }
        usage.messages += 1;
        usage.bytes += cost;
        self.bytes += cost;
        Ok(())
    }

    /// Takes what waits for `dst`, in the order it came.
    pub(crate) fn take(&mut self, dst: &str) -> Vec<String> {
        let Some(queue) = self.queues.remove(dst) else {
            return Vec::new();
        };
        for (src, part) in &queue.parts {
            self.batches.remove(&part.key);
            self.release(src, 0, 0, 1);
        }
        let mut texts = Vec::with_capacity(queue.messages.len());
        for Waiting { src, text } in queue.messages {
            self.release(&src, 1, cost(&text), 0);
            texts.push(text);
        }
        texts
    }

    /// Drops the oldest batch if it expired by `now`; says whose it was and for whom.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<(Arc<str>, Arc<str>)> {
        let batch = self
            .batches
            .first_entry()
            .filter(|entry| entry.key().0 <= now)?;
        let Batch { src, dst } = batch.remove();
        let (mut messages, mut bytes) = (0, 0);
        if let Some(queue) = self.queues.get_mut(&dst) {
            queue.parts.remove(&src);
            queue.messages.retain(|waiting| {
                let stays = waiting.src != src;
                if !stays {
                    messages += 1;
                    bytes += cost(&waiting.text);
                }
                stays
            });
            queue.bytes -= bytes;
            if queue.messages.is_empty() {
                self.queues.remove(&dst);
            }
        }
        self.release(&src, messages, bytes, 1);
        Some((src, dst))
    }

    /// When the oldest batch expires.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.batches.first_key_value().map(|(key, _)| key.0)
    }

    /// Bytes waiting in all.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn release(&mut self, src: &Arc<str>, messages: usize, bytes: usize, destinations: usize) {
        self.bytes -= bytes;
        let Some(usage) = self.sources.get_mut(src) else {
            return;
        };
        usage.messages -= messages;
        usage.bytes -= bytes;
        usage.destinations -= destinations;
        if usage.messages == 0 && usage.destinations == 0 {
            self.sources.remove(src);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
            && self.sources.is_empty()
            && self.batches.is_empty()
            && self.bytes == 0
    }
}

fn cost(text: &str) -> usize {
    text.len() + RealmLimits::MESSAGE_OVERHEAD
}
