//! A leaf comes and goes on its stream, and what of it is shown.

use std::sync::Arc;

use peer_core::link::LinkError;
use peer_core::time::Instant;

use super::{Course, End, Leaf, LeafStream};
use crate::gateway::options::Settings;
use crate::sync::lock;

impl LeafStream<'_> {
    pub(super) fn up(&mut self, now: Instant) {
        let Some(name) = self.link.leaf().map(str::to_owned) else {
            return;
        };
        // A handshake that began with the keys of before does not count.
        if core::mem::take(&mut self.changed) {
            self.link.close();
            return;
        }
        let limits = &self.settings.limits;
        let rates = match self.registry.arrived(now, &name, &self.shown, limits) {
            Ok(rates) => rates,
            Err(unwelcome) => {
                tracing::debug!(target: "peer_net", leaf = name, "the leaf was cut: {unwelcome}");
                self.stop(now, End::Unwelcome);
                return;
            }
        };
        self.registry.no_longer_unproven(&self.shown);
        tracing::info!(target: "peer_net", leaf = name, line = self.shown.line, "the leaf is here");
        self.was_welcome = true;
        self.leaf = Some(Leaf {
            given: self.registry.given(&name),
            name,
            rates,
            id: None,
            broker: "none",
            refused_commands: 0,
            senseless: 0,
            stalled: 0,
        });
    }

    pub(super) fn down(&mut self, now: Instant, reason: LinkError) {
        let cause = self.cause.take();
        self.gone(now, &cause.unwrap_or_else(|| reason.to_string()));
        // One that is being closed needs no place, which another would lose.
        if self.is_open_to_all && self.is_serving() {
            let limit = self.settings.limits.unproven;
            self.registry.unproven(&self.shown, limit);
        }
    }

    /// Nothing of the session is left.
    fn gone(&mut self, now: Instant, reason: &str) {
        self.held = None;
        self.answers.clear();
        self.unproven_since = now;
        self.unproven_bytes = 0;
        self.show();
        if let Some(leaf) = self.leaf.take() {
            tracing::info!(target: "peer_net", leaf = leaf.name, "the leaf is gone: {reason}");
            self.registry.left(now, &leaf.name, &self.shown, reason);
        }
    }

    /// New settings. A leaf that may no longer be what it is, is cut.
    pub(in crate::gateway) fn set(&mut self, settings: Arc<Settings>) {
        let stays = self.leaf.as_ref().is_some_and(|leaf| {
            let (old, new) = (
                self.settings.leaves.get(&leaf.name),
                settings.leaves.get(&leaf.name),
            );
            let (Some(old), Some(new)) = (old, new) else {
                return false;
            };
            old.options.key == new.options.key
                && leaf.id.as_ref().is_none_or(|id| {
                    // The broker gave it, or the new settings allow it.
                    new.allows_id(id) || (!old.allows_id(id) && new.options.random_id)
                })
        });
        self.settings = settings;
        if stays {
            self.changed = true;
            return;
        }
        if self.leaf.is_some() {
            let cause = "the gateway has another key or other ids for it now";
            self.cause = Some(cause.to_owned());
        }
        self.link.close();
    }

    pub(super) fn show(&mut self) {
        let stats = self.link.stats();
        let mut shown = lock(&self.shown.shown);
        shown.counts.bytes_received = self.bytes_received;
        shown.counts.bytes_sent = self.output.bytes_sent;
        let garbage = core::mem::replace(&mut self.garbage, stats.garbage);
        let Some(leaf) = &self.leaf else {
            drop(shown);
            let more = stats.garbage.wrapping_sub(garbage);
            if more > 0 {
                self.registry.garbage(more);
            }
            return;
        };
        if shown.id != leaf.id {
            shown.id.clone_from(&leaf.id);
        }
        shown.broker = leaf.broker;
        shown.counts.take(stats);
        shown.counts.refused_commands = leaf.refused_commands;
        shown.counts.senseless = leaf.senseless;
        shown.counts.stalled = leaf.stalled;
        shown.counts.sessions = self.slots.begun;
        if let Some(counts) = self.slots.changed_counts() {
            shown.connections = counts;
        }
    }

    /// The stream is no more. Every session is to be closed, so that every remote notices; and so
    /// is the broker's socket.
    pub(super) fn finish(&mut self, now: Instant, end: End) {
        self.gone(now, &end.to_string());
        self.link.close();
        self.course = Course::Closing(end);
    }
}
