//! All chance there is in a simulation.

use peer_core::time::Duration;

/// A source of chance that a seed determines (SplitMix64). Not for secrets.
///
/// ```
/// use peer_sim::Rng;
/// let (mut one, mut two) = (Rng::new(7), Rng::new(7));
/// assert_eq!(one.below(1_000), two.below(1_000));
/// ```
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The source of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An independent source, so that one part's use of chance does not shift another's.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when that is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        // The bias is below one in 2^32 for any `end` a simulation uses.
        match end {
            0 => 0,
            end => self.next() % end,
        }
    }

    /// An index into something of `len` elements.
    pub const fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// `true` with this probability, 0 to 1. Draws nothing when the answer is certain.
    pub fn chance(&mut self, probability: f64) -> bool {
        if probability <= 0.0 || probability >= 1.0 {
            return probability >= 1.0;
        }
        // 53 bits, as many as an f64 holds exactly.
        ((self.next() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    /// A duration from zero up to and including `max`, in whole microseconds.
    pub fn up_to(&mut self, max: Duration) -> Duration {
        let max = u64::try_from(max.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(if max == 0 { 0 } else { self.below(max + 1) })
    }
}
