//! Who may start a connection, decided before anything is created for it: what an offer says, the
//! application's rule, the rate of its remote, the rate of all. The engine adds the share of its
//! remote, and who gives way.

use core::panic::AssertUnwindSafe;
use std::collections::HashMap;
use std::panic::catch_unwind;

use peer_core::PeerId;
use peer_core::time::Instant;

use super::offer::{Refusal, Unread};
use crate::options::{Admission, Offer, Rates};
use crate::rate::Rate;
use crate::time::engine_now;

/// Remotes of which a rate is remembered. At the limit those are forgotten that have their whole
/// burst, then all.
const REMOTES_MAX: usize = 1024;
/// Refusals that are logged at once, and a second after that. The others are counted, and their
/// number is logged.
const LOGGED: (u32, u32) = (20, 1);

/// The front door.
pub(super) struct Gate {
    rule: Option<Admission>,
    rates: Rates,
    all: Rate,
    remotes: HashMap<PeerId, Rate>,
    /// EXPIREs to remotes that were refused: no more than offers are taken.
    expires: Rate,
    log: Rate,
    unlogged: u64,
    epoch: tokio::time::Instant,
}

impl Gate {
    pub(super) fn new(rule: Option<Admission>, rates: Rates) -> Self {
        let now = Instant::ZERO;
        Self {
            rule,
            rates,
            all: Rate::new(now, rates.all.burst(), rates.all.0),
            remotes: HashMap::new(),
            expires: Rate::new(now, rates.all.burst(), rates.all.0),
            log: Rate::new(now, LOGGED.0, LOGGED.1),
            unlogged: 0,
            epoch: tokio::time::Instant::now(),
        }
    }

    /// Whether the offer may go on. The rule is asked first, so what it refuses costs nobody
    /// anything; a rate is spent only by an offer that can be answered, or has to be told of.
    pub(super) fn admits(&mut self, offer: &Offer, problem: Option<Unread>) -> Result<(), Refusal> {
        if let Some(rule) = &self.rule {
            match catch_unwind(AssertUnwindSafe(|| rule(offer))) {
                Ok(true) => {}
                Ok(false) => return Err(Refusal::Rule),
                Err(_) => return Err(Refusal::RulePanicked),
            }
        }
        self.admits_remote(&offer.peer)?;
        let now = engine_now(self.epoch);
        if let Some(problem) = problem {
            return Err(Refusal::Unread(problem));
        }
        if !self.all.take(now) {
            return Err(Refusal::Rate);
        }
        Ok(())
    }

    /// Whether the remote has something left of its rate; then it has less.
    pub(super) fn admits_remote(&mut self, remote: &PeerId) -> Result<(), Refusal> {
        let now = engine_now(self.epoch);
        match self.rate_of(now, remote).take(now) {
            true => Ok(()),
            false => Err(Refusal::RemoteRate),
        }
    }

    /// Whether a remote may be told that it was refused; then one was.
    pub(super) fn may_expire(&mut self) -> bool {
        self.expires.take(engine_now(self.epoch))
    }

    fn rate_of(&mut self, now: Instant, remote: &PeerId) -> &mut Rate {
        if self.remotes.len() >= REMOTES_MAX && !self.remotes.contains_key(remote) {
            self.remotes.retain(|_, rate| !rate.is_full(now));
            if self.remotes.len() >= REMOTES_MAX {
                self.remotes.clear();
            }
        }
        let limit = self.rates.remote;
        self.remotes
            .entry(remote.clone())
            .or_insert_with(|| Rate::new(now, limit.burst(), limit.0))
    }

    /// Says that an offer was refused, though not each time in a flood.
    pub(super) fn log(&mut self, peer: &str, why: &dyn core::fmt::Display) {
        if !self.log.take(engine_now(self.epoch)) {
            self.unlogged += 1;
            return;
        }
        let unlogged = core::mem::take(&mut self.unlogged);
        // What a stranger chose is written escaped.
        let peer = peer.escape_debug();
        tracing::warn!(target: "peer_net", peer = %peer, unlogged, "an offer was refused: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::PerSecond;

    fn offer(peer: &str) -> Offer {
        Offer {
            peer: PeerId::new(peer).unwrap(),
            connection_id: peer_core::ConnectionId::from_random(1),
            label: String::new(),
            metadata: None,
            reliable: false,
            serialization: peer_core::serialization::Serialization::Binary,
        }
    }

    fn gate(rule: impl Fn(&Offer) -> bool + Send + Sync + 'static) -> Gate {
        let rates = Rates {
            all: PerSecond(8),
            remote: PerSecond(1),
        };
        Gate::new(Some(std::sync::Arc::new(rule)), rates)
    }

    #[test]
    fn what_the_rule_refuses_costs_nobody_anything() {
        let mut gate = gate(|offer| offer.peer.as_str() == "friend");
        for _ in 0..1000 {
            assert_eq!(gate.admits(&offer("mallory"), None), Err(Refusal::Rule));
        }
        assert_eq!(gate.admits(&offer("friend"), None), Ok(()));
    }

    #[test]
    fn one_remote_cannot_spend_the_rate_of_all() {
        let mut gate = gate(|_| true);
        let passed = (0..1000).filter(|_| gate.admits(&offer("mallory"), None).is_ok());
        assert_eq!(passed.count(), PerSecond(1).burst() as usize);
        assert_eq!(gate.admits(&offer("friend"), None), Ok(()));
    }

    #[test]
    fn what_cannot_be_read_costs_only_its_remote() {
        let mut gate = gate(|_| true);
        for n in 0..1000 {
            let problem = Some(Unread::Description("no fingerprint".to_owned()));
            let refused = gate.admits(&offer(&format!("m{n}")), problem);
            assert!(matches!(refused, Err(Refusal::Unread(_))), "{refused:?}");
        }
        assert_eq!(gate.admits(&offer("friend"), None), Ok(()));
    }

    #[test]
    fn a_rule_that_panics_refuses_that_offer_only() {
        let mut gate = gate(|offer| {
            assert_ne!(offer.peer.as_str(), "mallory");
            true
        });
        assert_eq!(
            gate.admits(&offer("mallory"), None),
            Err(Refusal::RulePanicked)
        );
        assert_eq!(gate.admits(&offer("friend"), None), Ok(()));
    }

    #[test]
    fn many_names_do_not_fill_the_memory() {
        let mut gate = gate(|_| true);
        for n in 0..3 * REMOTES_MAX {
            let _ = gate.admits(&offer(&format!("m{n}")), None);
        }
        assert!(gate.remotes.len() <= REMOTES_MAX);
    }
}
