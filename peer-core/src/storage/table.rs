//! Slots with handles that notice reuse.

/// Names one thing in a [`Table`]. Once the thing is removed the handle resolves to nothing, for
/// the 2¹⁶ reuses of its slot that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Handle {
    index: u16,
    generation: u16,
}

impl Handle {
    /// The slot's number, below the table's capacity. Two live things never share it.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// The handle as bytes, for a record in a ring.
    pub(crate) const fn to_bytes(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.index.to_be_bytes(), self.generation.to_be_bytes());
        [a, b, c, d]
    }

    /// The inverse of [`to_bytes`](Self::to_bytes).
    pub(crate) const fn from_bytes([a, b, c, d]: [u8; 4]) -> Self {
        Self {
            index: u16::from_be_bytes([a, b]),
            generation: u16::from_be_bytes([c, d]),
        }
    }
}

/// One slot of a [`Table`].
#[derive(Debug)]
pub struct Entry<T> {
    used: bool,
    generation: u16,
    value: T,
}

impl<T> Entry<T> {
    /// A free slot. `vacant` is any value, overwritten on insertion; let it be all zero.
    pub const fn new(vacant: T) -> Self {
        Self {
            used: false,
            generation: 0,
            value: vacant,
        }
    }
}

/// A table of fixed capacity over slots that somebody else owns.
///
/// ```
/// use peer_core::storage::{Entry, Table};
/// let mut slots = [const { Entry::new(0) }; 2];
/// let mut table = Table::new(&mut slots);
/// let handle = table.insert(7).unwrap();
/// assert_eq!(table.get(handle), Some(&7));
/// table.remove(handle);
/// assert_eq!(table.get(handle), None);
/// ```
#[derive(Debug)]
pub struct Table<'r, T> {
    slots: &'r mut [Entry<T>],
}

impl<'r, T> Table<'r, T> {
    /// A table over `slots`; what they hold already stays. Slots past the 65,536th are not used.
    pub fn new(slots: &'r mut [Entry<T>]) -> Self {
        Self { slots }
    }

    /// Slots in all.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Slots in use.
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.used).count()
    }

    /// Whether no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts `value` into a free slot. `None`, and `value` is dropped, when there is none.
    pub fn insert(&mut self, value: T) -> Option<Handle> {
        let (handle, slot) = self.claim()?;
        *slot = value;
        Some(handle)
    }

    /// Takes a free slot as it is, so that a large value can be set up in place.
    pub fn claim(&mut self) -> Option<(Handle, &mut T)> {
        let (index, slot) = self
            .slots
            .iter_mut()
            .enumerate()
            .find(|(_, slot)| !slot.used)?;
        let index = u16::try_from(index).ok()?;
        slot.used = true;
        slot.generation = slot.generation.wrapping_add(1);
        Some((
            Handle {
                index,
                generation: slot.generation,
            },
            &mut slot.value,
        ))
    }

    /// Frees the slot; stale handles change nothing. Returns whether there was something to remove.
    pub fn remove(&mut self, handle: Handle) -> bool {
        let found = self
            .slots
            .get_mut(handle.index())
            .filter(|slot| slot.used && slot.generation == handle.generation);
        let Some(slot) = found else { return false };
        slot.used = false;
        true
    }

    /// Frees every slot; all handles are stale then.
    pub fn clear(&mut self) {
        for slot in self.slots.iter_mut() {
            slot.used = false;
        }
    }

    /// What the handle names, if it still is there.
    pub fn get(&self, handle: Handle) -> Option<&T> {
        self.entry(handle).map(|slot| &slot.value)
    }

    /// What the handle names, if it still is there.
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let slot = self.slots.get_mut(handle.index())?;
        (slot.used && slot.generation == handle.generation).then_some(&mut slot.value)
    }

    /// Everything in use, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.slots
            .iter()
            .zip(0_u16..)
            .filter(|(slot, _)| slot.used)
            .map(|(slot, index)| {
                (
                    Handle {
                        index,
                        generation: slot.generation,
                    },
                    &slot.value,
                )
            })
    }

    /// Everything in use, in the order of the slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Handle, &mut T)> {
        self.slots
            .iter_mut()
            .zip(0_u16..)
            .filter(|(slot, _)| slot.used)
            .map(|(slot, index)| {
                (
                    Handle {
                        index,
                        generation: slot.generation,
                    },
                    &mut slot.value,
                )
            })
    }

    fn entry(&self, handle: Handle) -> Option<&Entry<T>> {
        let slot = self.slots.get(handle.index())?;
        (slot.used && slot.generation == handle.generation).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_handles_resolve_to_nothing() {
        let mut slots = [const { Entry::new(' ') }; 1];
        let mut table = Table::new(&mut slots);
        let old = table.insert('a').unwrap();
        assert!(table.insert('b').is_none(), "full");
        assert!(table.remove(old));
        assert!(!table.remove(old));
        let new = table.insert('c').unwrap();
        assert_ne!(old, new);
        assert_eq!((table.get(old), table.get(new)), (None, Some(&'c')));
        assert_eq!(table.iter().count(), 1);
    }
}
