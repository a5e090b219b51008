//! Reads big-endian numbers and vectors with a length before them.

/// What is still to be read. Every call takes from the front, or fails and takes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u24(&mut self) -> Option<usize> {
        let [a, b, c] = self.array()?;
        usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()
    }

    /// A vector whose length has 8 bits.
    pub(super) fn vec8(&mut self) -> Option<&'a [u8]> {
        let mut rest = *self;
        let len = rest.u8()?.into();
        self.vec(rest, len)
    }

    /// A vector whose length has 16 bits.
    pub(super) fn vec16(&mut self) -> Option<&'a [u8]> {
        let mut rest = *self;
        let len = rest.u16()?.into();
        self.vec(rest, len)
    }

    /// A vector whose length has 24 bits.
    pub(super) fn vec24(&mut self) -> Option<&'a [u8]> {
        let mut rest = *self;
        let len = rest.u24()?;
        self.vec(rest, len)
    }

    fn vec(&mut self, mut rest: Self, len: usize) -> Option<&'a [u8]> {
        let bytes = rest.bytes(len)?;
        *self = rest;
        Some(bytes)
    }
}

/// Whether one of these 16-bit numbers is this one. Half a number at the end does not count.
pub(super) fn contains(numbers: &[u8], number: [u8; 2]) -> bool {
    numbers.chunks_exact(2).any(|it| it == number)
}

/// Three bytes of a length. Nothing here is longer than 64 KiB.
pub(super) fn u24(len: usize) -> Option<[u8; 3]> {
    let [a, b] = u16::try_from(len).ok()?.to_be_bytes();
    Some([0, a, b])
}
