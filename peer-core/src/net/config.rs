use crate::time::Duration;

/// The deadlines and pauses of a socket. A deadline of zero passes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct SocketTiming {
    /// How long the TCP connect may take. Default 5 s: three SYNs of smoltcp.
    pub connect_timeout: Duration,
    /// How long the answer to an HTTP request may take. Default 4 s. Together with
    /// `connect_timeout` it must be less than the engine's
    /// [`open_timeout`](crate::peer::Config::open_timeout), or the engine gives up first and for
    /// good.
    pub response_timeout: Duration,
    /// How long bytes may wait without one being acknowledged before the connection counts as lost.
    /// Default 20 s.
    pub stall_timeout: Duration,
    /// How long a connection that was closed may take to end before it is reset. Default 1 s. The
    /// next one waits for it, because a broker should see the old socket go before the new one
    /// comes.
    pub close_timeout: Duration,
    /// The first pause before another attempt. Default 500 ms. It doubles with each attempt, and
    /// each pause is cut by up to half at random.
    pub backoff_first: Duration,
    /// The longest pause. Default 30 s.
    pub backoff_max: Duration,
}

impl Default for SocketTiming {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(4),
            stall_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(1),
            backoff_first: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
        }
    }
}
