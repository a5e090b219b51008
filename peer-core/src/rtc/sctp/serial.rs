//! Serial numbers that wrap.

/// A transmission sequence number (RFC 9260, section 3.3.1). It wraps at 2³².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tsn(pub(crate) u32);

impl Tsn {
    pub(crate) const fn next(self) -> Self {
        self.plus(1)
    }

    pub(crate) const fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    pub(crate) const fn before(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }

    /// How many numbers after `earlier` this is. Right only where [`is_after`](Self::is_after) is.
    pub(crate) const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether this comes after `other` (RFC 1982).
    pub(crate) const fn is_after(self, other: Self) -> bool {
        let ahead = self.since(other);
        ahead != 0 && ahead < 1 << 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        let last = Tsn(u32::MAX);
        assert!(last.next().is_after(last));
        assert!(!last.is_after(last.next()));
        assert!(!last.is_after(last));
        assert_eq!((last.plus(3).since(last), Tsn(0).before()), (3, last));
    }
}
