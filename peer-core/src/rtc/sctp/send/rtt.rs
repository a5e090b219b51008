//! The round trip time and what is waited for (RFC 9260, section 6.3). All in microseconds, which
//! 32 bits hold: no time here is longer than a minute.

use crate::time::{Duration, micros};

/// RTO.Initial.
const RTO_INITIAL: u32 = 1_000_000;
/// RTO.Min: 200 ms, and the 200 ms by which a remote may hold an acknowledgement back.
const RTO_MIN: u32 = 400_000;
/// RTO.Max.
pub(in super::super) const RTO_MAX: u32 = 10_000_000;
/// A longer round trip counts as this long.
const SAMPLE_MAX: u32 = 60_000_000;

#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Rtt {
    known: Option<Known>,
    rto: u32,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    smoothed: u32,
    variation: u32,
    /// `None` while only others have measured.
    least: Option<u32>,
}

/// So many microseconds, up to the longest round trip that counts.
fn capped(micros: u64) -> u32 {
    u32::try_from(micros).map_or(SAMPLE_MAX, |micros| micros.min(SAMPLE_MAX))
}

impl Rtt {
    /// `round_trip` is what others measured.
    pub(in super::super) fn new(round_trip: Option<Duration>) -> Self {
        let known = round_trip.map(|round_trip| {
            let smoothed = capped(micros(round_trip));
            Known {
                smoothed,
                variation: smoothed / 2,
                least: None,
            }
        });
        let mut rtt = Self {
            known,
            rto: RTO_INITIAL,
        };
        rtt.end_back_off();
        rtt
    }

    pub(in super::super) fn sample(&mut self, sample: u64) {
        let sample = capped(sample);
        let known = match self.known {
            None => Known {
                smoothed: sample,
                variation: sample / 2,
                least: Some(sample),
            },
            Some(known) => Known {
                smoothed: (known.smoothed * 7 + sample) / 8,
                variation: (known.variation * 3 + known.smoothed.abs_diff(sample)) / 4,
                least: Some(known.least.map_or(sample, |least| least.min(sample))),
            },
        };
        self.known = Some(known);
        self.end_back_off();
    }

    /// Sets the timeout to what the round trips say, as if none had passed in vain.
    pub(in super::super) fn end_back_off(&mut self) {
        self.rto = match self.known {
            Some(known) => (known.smoothed + known.variation * 4).clamp(RTO_MIN, RTO_MAX),
            None => RTO_INITIAL,
        };
    }

    /// The retransmission timeout.
    pub(in super::super) fn rto(&self) -> u64 {
        self.rto.into()
    }

    /// Doubles the timeout, after it passed in vain.
    pub(in super::super) fn back_off(&mut self) {
        self.rto = (self.rto * 2).min(RTO_MAX);
    }

    /// How long an acknowledgement that nothing delays may take: twice the smoothed round trip, or
    /// more where round trips vary (RFC 8985, section 7.2). `None` before there is a sample.
    pub(in super::super) fn patience(&self) -> Option<u64> {
        self.known.map(|known| {
            let varied = known.smoothed + known.variation * 4;
            varied.max(known.smoothed * 2).into()
        })
    }

    /// The smoothed round trip time; before there is a sample, the timeout.
    pub(in super::super) fn round_trip(&self) -> u64 {
        self.known.map_or(self.rto, |known| known.smoothed).into()
    }

    /// The shortest round trip time, once there is a sample.
    pub(in super::super) fn least(&self) -> Option<u64> {
        self.known.and_then(|known| known.least).map(u64::from)
    }
}
