//! Time as the caller tells it.

#[doc(no_inline)]
pub use core::time::Duration;

/// A point on the caller's monotonic clock, in microseconds since an epoch of the caller's choice.
///
/// The engine never reads a clock: every call that needs the time takes it as an argument. The
/// clock may jump ahead, as it does when a machine slept. It must not step back: a time before the
/// last one told counts as that one, so until such a clock has caught up no deadline comes nearer.
/// A clock that can be set goes through [`Monotonic`].
///
/// ```
/// use peer_core::time::{Duration, Instant};
/// let start = Instant::from_micros(5);
/// assert_eq!(start + Duration::from_millis(1), Instant::from_micros(1_005));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u64);

impl Instant {
    /// The epoch itself.
    pub const ZERO: Self = Self(0);

    /// The point `micros` microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The point `millis` milliseconds after the epoch. Saturates.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time.
    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

/// The earlier of two times, where `None` is never.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// Makes a monotonic clock of one that may step back, such as a wall clock that is set: by as much
/// as it steps back, what it says later is moved ahead. What passed between the last reading and
/// the step is lost.
///
/// ```
/// use peer_core::time::{Instant, Monotonic};
/// let mut clock = Monotonic::new();
/// assert_eq!(clock.now(Instant::from_millis(5_000)), Instant::from_millis(5_000));
/// // Somebody sets it back by four seconds; a second later another second has passed.
/// assert_eq!(clock.now(Instant::from_millis(1_000)), Instant::from_millis(5_000));
/// assert_eq!(clock.now(Instant::from_millis(2_000)), Instant::from_millis(6_000));
/// // When the clock itself shows what the engine waits for.
/// assert_eq!(clock.reading(Instant::from_millis(7_000)), Instant::from_millis(3_000));
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Monotonic {
    /// What the clock said last, and how far it is behind, both in microseconds.
    last: u64,
    behind: u64,
}

impl Monotonic {
    /// For a clock that has not been read yet.
    pub const fn new() -> Self {
        Self { last: 0, behind: 0 }
    }

    /// The monotonic time when the clock says `reading`.
    pub const fn now(&mut self, reading: Instant) -> Instant {
        let back = self.last.saturating_sub(reading.0);
        self.behind = self.behind.saturating_add(back);
        self.last = reading.0;
        Instant(reading.0.saturating_add(self.behind))
    }

    /// What the clock will say at this monotonic time, unless it steps back before: to set an alarm
    /// by.
    pub const fn reading(&self, at: Instant) -> Instant {
        Instant(at.0.saturating_sub(self.behind))
    }
}
