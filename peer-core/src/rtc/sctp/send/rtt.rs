//! The round trip time and what is waited for (RFC 9260, section 6.3).

use crate::time::Duration;

/// RTO.Initial.
const RTO_INITIAL: Duration = Duration::from_secs(1);
/// RTO.Min: 200 ms, and the 200 ms by which a remote may hold an acknowledgement back.
const RTO_MIN: Duration = Duration::from_millis(400);
/// RTO.Max.
const RTO_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Rtt {
    /// Smoothed, and how much it varies; `None` before the first sample.
    smoothed: Option<(Duration, Duration)>,
    /// The shortest sample.
    least: Duration,
    rto: Duration,
}

impl Rtt {
    pub(in super::super) const fn new() -> Self {
        Self {
            smoothed: None,
            least: RTO_INITIAL,
            rto: RTO_INITIAL,
        }
    }

    pub(in super::super) fn sample(&mut self, sample: Duration) {
        let (smoothed, variation) = match self.smoothed {
            None => {
                self.least = sample;
                (sample, sample / 2)
            }
            Some((smoothed, variation)) => {
                self.least = self.least.min(sample);
                let off = smoothed.abs_diff(sample);
                ((smoothed * 7 + sample) / 8, (variation * 3 + off) / 4)
            }
        };
        self.smoothed = Some((smoothed, variation));
        self.rto = (smoothed + variation * 4).clamp(RTO_MIN, RTO_MAX);
    }

    /// The retransmission timeout.
    pub(in super::super) const fn rto(&self) -> Duration {
        self.rto
    }

    /// Doubles the timeout, after it passed in vain.
    pub(in super::super) fn back_off(&mut self) {
        self.rto = (self.rto * 2).min(RTO_MAX);
    }

    /// The smoothed round trip time, once there is a sample.
    pub(in super::super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed.map(|(smoothed, _)| smoothed)
    }

    /// The shortest round trip time, once there is a sample.
    pub(in super::super) fn least(&self) -> Option<Duration> {
        self.smoothed.map(|_| self.least)
    }
}
