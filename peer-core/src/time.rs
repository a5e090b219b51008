//! Time as the caller tells it.

use core::{fmt, num::NonZero};

#[doc(no_inline)]
pub use core::time::Duration;

/// A point on the caller's monotonic clock, in microseconds since an epoch of the caller's choice.
///
/// The engine never reads a clock: every call that needs the time takes it as an argument. The
/// clock may jump ahead, as it does when a machine slept. It must not step back: a time before the
/// last one told counts as that one, so until such a clock has caught up no deadline comes nearer.
/// A clock that can be set goes through [`monotonic`].
///
/// `Option<Instant>` is as long as `Instant`, and its `None` is all zeros, which
/// [`ZERO`](Self::ZERO) is not: begin with `None` in a static that is to cost no flash.
///
/// ```
/// use peer_core::time::{Duration, Instant};
/// let start = Instant::from_micros(5);
/// assert_eq!(start + Duration::from_millis(1), Instant::from_micros(1_005));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(
    /// One more than the microseconds: so `Option<Instant>` takes no more room, and code.
    NonZero<u64>,
);

impl Instant {
    /// The epoch itself.
    pub const ZERO: Self = Self(NonZero::<u64>::MIN);

    /// The point `micros` microseconds after the epoch. Saturates at 2⁶⁴ − 2.
    pub const fn from_micros(micros: u64) -> Self {
        Self::ZERO.plus(micros)
    }

    /// The point `millis` milliseconds after the epoch. Saturates.
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_micros(millis.saturating_mul(1_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0.get() - 1
    }

    /// The point `micros` microseconds later. Saturates.
    pub(crate) const fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds since `earlier`; zero when that is later.
    pub(crate) const fn micros_since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }

    /// As [`micros_since`](Self::micros_since), with 32 bits: an hour and more counts as so many.
    #[cfg(feature = "rtc")]
    pub(crate) fn short_since(self, earlier: Self) -> u32 {
        u32::try_from(self.micros_since(earlier)).unwrap_or(u32::MAX)
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.micros_since(earlier))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instant").field(&self.as_micros()).finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Instant {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Instant({})", self.as_micros());
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time.
    fn add(self, rhs: Duration) -> Self {
        self.plus(micros(rhs))
    }
}

/// The microseconds of a duration. Saturates.
pub(crate) const fn micros(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000);
    whole.saturating_add(duration.subsec_micros() as u64)
}

/// A duration of so many microseconds, made without a division of 64 bits.
#[cfg(feature = "rtc")]
pub(crate) const fn duration(micros: u32) -> Duration {
    Duration::new((micros / 1_000_000) as u64, micros % 1_000_000 * 1_000)
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
/// use core::cell::Cell;
/// use peer_core::time::{Instant, monotonic};
/// let wall = Cell::new(Instant::from_millis(5_000));
/// let mut clock = monotonic(|| wall.get());
/// assert_eq!(clock(), Instant::from_millis(5_000));
/// // Somebody sets it back by four seconds; a second later another second has passed.
/// wall.set(Instant::from_millis(1_000));
/// assert_eq!(clock(), Instant::from_millis(5_000));
/// wall.set(Instant::from_millis(2_000));
/// assert_eq!(clock(), Instant::from_millis(6_000));
/// ```
pub fn monotonic(mut clock: impl FnMut() -> Instant) -> impl FnMut() -> Instant {
    let (mut last, mut behind) = (Instant::ZERO, Duration::ZERO);
    move || {
        let reading = clock();
        behind = behind.saturating_add(last.saturating_duration_since(reading));
        last = reading;
        reading + behind
    }
}
