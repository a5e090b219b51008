//! Which records of an epoch came already (RFC 6347 §4.1.2.6).

/// How far behind the newest record one may be.
const WINDOW: u64 = 64;

/// A window of 64 records. It moves only for records that were authenticated.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReplayWindow {
    /// One more than the newest sequence number.
    end: u64,
    /// Bit n stands for sequence number `end` − 1 − n.
    seen: u64,
}

impl ReplayWindow {
    /// Whether the record is new, as far as the window reaches.
    pub(super) const fn is_new(&self, sequence: u64) -> bool {
        if sequence >= self.end {
            return true;
        }
        let age = self.end - 1 - sequence;
        age < WINDOW && self.seen >> age & 1 == 0
    }

    /// Remembers an authenticated record.
    pub(super) fn mark(&mut self, sequence: u64) {
        if sequence >= self.end {
            let by = sequence - self.end + 1;
            self.seen = if by < WINDOW { self.seen << by | 1 } else { 1 };
            self.end = sequence + 1;
        } else if let age @ ..WINDOW = self.end - 1 - sequence {
            self.seen |= 1 << age;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn old_and_doubled_records_are_known() {
        let mut window = ReplayWindow::default();
        assert!(window.is_new(0));
        window.mark(0);
        assert!(!window.is_new(0) && window.is_new(1));
        window.mark(100);
        assert!(!window.is_new(36) && window.is_new(37) && !window.is_new(100));
        window.mark((1 << 48) - 1);
        assert!(!window.is_new(100) && window.is_new((1 << 48) - 2));
    }

    proptest! {
        #[test]
        fn it_is_a_set_with_an_end(sequences in prop::collection::vec(0_u64..300, 0..200)) {
            let mut window = ReplayWindow::default();
            let mut model = BTreeSet::new();
            for sequence in sequences {
                let newest = model.last().copied().unwrap_or(0);
                let new = !model.contains(&sequence) && sequence + WINDOW > newest;
                prop_assert_eq!(window.is_new(sequence), new);
                if new {
                    window.mark(sequence);
                    model.insert(sequence);
                }
            }
        }
    }
}
