//! What a broker's socket can be doing.

use crate::time::Instant;

use super::super::SocketError;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// `GET {path}{key}/id`.
    Id,
    /// The WebSocket.
    Socket,
}

/// What follows the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing, until the engine says more.
    Rest,
    /// At this time the engine is asked to reconnect.
    Reconnect(Instant),
    /// Another connection, at once.
    Connect(Goal),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// There is no connection, and the engine waits for none.
    Resting,
    /// As `Resting`; at this time the engine is asked to reconnect.
    Reconnecting { at: Instant },
    /// The last connection ends, and is reset at the deadline.
    Leaving { deadline: Instant, next: Next },
    /// There is no connection before this time.
    Pausing { until: Instant, goal: Goal },
    /// TCP connects.
    Connecting { deadline: Instant, goal: Goal },
    /// The HTTP request is sent, the answer is not whole.
    Waiting { deadline: Instant, goal: Goal },
    /// The WebSocket is open.
    Open(Message),
    /// The connection has failed; the engine is to be told.
    Failed { error: SocketError, goal: Goal },
}

/// The last message of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The engine has taken it, or there was none.
    Taken,
    /// The engine was too full for it. It is offered again.
    Held,
}

impl State {
    /// What the connection there is, or the next one, is for.
    pub(super) const fn goal(self) -> Option<Goal> {
        match self {
            Self::Resting | Self::Reconnecting { .. } => None,
            Self::Leaving { next, .. } => match next {
                Next::Rest | Next::Reconnect(_) => None,
                Next::Connect(goal) => Some(goal),
            },
            Self::Pausing { goal, .. }
            | Self::Connecting { goal, .. }
            | Self::Waiting { goal, .. }
            | Self::Failed { goal, .. } => Some(goal),
            Self::Open(_) => Some(Goal::Socket),
        }
    }

    /// The state once nothing is left of a connection.
    pub(super) const fn after(next: Next, now: Instant) -> Self {
        match next {
            Next::Rest => Self::Resting,
            Next::Reconnect(at) => Self::Reconnecting { at },
            Next::Connect(goal) => Self::Pausing { until: now, goal },
        }
    }
}
