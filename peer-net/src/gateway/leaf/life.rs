//! A leaf comes and goes on its stream, and what of it is shown.

use std::sync::Arc;

use peer_core::link::LinkError;
use tokio::time::{Instant, timeout};

use super::{BROKER_END, End, Leaf, Served};
use crate::gateway::options::Settings;
use crate::signalling::BrokerSocket;
use crate::sync::lock;

impl Served<'_> {
    pub(super) fn up(&mut self) {
        let Some(name) = self.link.leaf().map(str::to_owned) else {
            return;
        };
        // A handshake that began with the keys of before does not count.
        if core::mem::take(&mut self.changed) {
            self.link.close();
            return;
        }
        let limits = &self.current.limits;
        let rates = match self.common.registry.arrived(&name, &self.shown, limits) {
            Ok(rates) => rates,
            Err(unwelcome) => {
                tracing::debug!(target: "peer_net", leaf = name, "the leaf was cut: {unwelcome}");
                self.unwelcome = true;
                self.link.close();
                return;
            }
        };
        self.common.registry.no_longer_unproven(&self.shown);
        tracing::info!(target: "peer_net", leaf = name, line = self.shown.line, "the leaf is here");
        // What stood in the settings when the stream began may be old.
        self.broker = BrokerSocket::new(self.current.client.clone());
        self.was_welcome = true;
        self.leaf = Some(Leaf {
            given: self.common.registry.given(&name),
            name,
            rates,
            id: None,
            broker: "none",
            refused_commands: 0,
            senseless: 0,
            stalled: 0,
        });
    }

    pub(super) fn down(&mut self, reason: LinkError) {
        let cause = self.cause.take();
        self.gone(&cause.unwrap_or_else(|| reason.to_string()));
        if self.is_open_to_all {
            let limit = self.current.limits.unproven;
            self.common.registry.unproven(&self.shown, limit);
        }
    }

    /// Nothing of the session is left.
    fn gone(&mut self, reason: &str) {
        self.held = None;
        self.answers.clear();
        self.unproven_since = Instant::now();
        self.unproven_bytes = 0;
        self.show();
        if let Some(leaf) = self.leaf.take() {
            tracing::info!(target: "peer_net", leaf = leaf.name, "the leaf is gone: {reason}");
            self.common.registry.left(&leaf.name, &self.shown, reason);
        }
    }

    /// New settings. A leaf that may no longer be what it is, is cut.
    pub(super) fn set(&mut self, settings: Arc<Settings>) {
        let stays = self.leaf.as_ref().is_some_and(|leaf| {
            let (old, new) = (
                self.current.leaves.get(&leaf.name),
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
        if !self.current.client.is_same(&settings.client) {
            self.broker.change(settings.client.clone());
        }
        self.current = settings;
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
        let garbage = self.link.stats().garbage;
        let Some(leaf) = &self.leaf else {
            let more = garbage.wrapping_sub(self.garbage);
            if more > 0 {
                self.common.registry.garbage(more);
            }
            self.garbage = garbage;
            return;
        };
        self.garbage = garbage;
        let mut shown = lock(&self.shown.shown);
        if shown.id != leaf.id {
            shown.id.clone_from(&leaf.id);
        }
        shown.broker = leaf.broker;
        shown.counts.take(self.link.stats());
        shown.counts.refused_commands = leaf.refused_commands;
        shown.counts.senseless = leaf.senseless;
        shown.counts.stalled = leaf.stalled;
        shown.counts.sessions = self.sessions.begun;
        shown.connections = self.sessions.counts();
    }

    /// The stream is no more. Every session is closed, so every remote notices; and so is the
    /// broker's socket.
    pub(super) async fn finish(&mut self, end: &End) {
        self.gone(&end.to_string());
        self.link.close();
        self.answers.clear();
        self.held = None;
        self.execute();
        self.common.registry.no_longer_unproven(&self.shown);
        self.broker.close();
        let _ = timeout(BROKER_END, self.broker.ended()).await;
    }
}
