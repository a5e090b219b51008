//! What one leaf may do only so often, whatever lines it comes on.

use peer_core::time::Instant;

use super::options::{GatewayLimits, RateLimit};
use crate::rate::Rate;

pub(super) struct Rates {
    limits: [RateLimit; 3],
    arrivals: Rate,
    pub(super) sessions: Rate,
    pub(super) opens: Rate,
}

impl Rates {
    pub(super) fn new(now: Instant, limits: &GatewayLimits) -> Self {
        let limits = of(limits);
        let [arrivals, sessions, opens] =
            limits.map(|limit| Rate::new(now, limit.burst, limit.per_second));
        Self {
            limits,
            arrivals,
            sessions,
            opens,
        }
    }

    /// Whether the leaf may come now. Limits that have changed count from here on.
    pub(super) fn takes_arrival(&mut self, now: Instant, limits: &GatewayLimits) -> bool {
        if self.limits != of(limits) {
            *self = Self::new(now, limits);
        }
        self.arrivals.take(now)
    }
}

fn of(limits: &GatewayLimits) -> [RateLimit; 3] {
    [limits.arrivals, limits.sessions, limits.opens]
}
