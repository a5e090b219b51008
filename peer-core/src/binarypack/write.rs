use crate::bytes;

use super::EncodeError;

/// A sink for packed bytes. [`SliceWriter`] writes into a slice. Implement it for another buffer.
pub trait Write {
    /// Appends all of `bytes`, or nothing.
    ///
    /// # Errors
    /// [`EncodeError::BufferTooSmall`] if there is no room.
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError>;
}

impl<W: Write + ?Sized> Write for &mut W {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        (**self).write(bytes)
    }
}

/// Writes into a slice.
#[derive(Debug)]
pub struct SliceWriter<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> SliceWriter<'b> {
    /// Makes a writer that starts at the start of `buffer`.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Returns what was written.
    #[must_use]
    pub fn into_written(self) -> &'b mut [u8] {
        bytes::front_mut(self.buffer, self.len)
    }
}

impl Write for SliceWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        bytes::append(self.buffer, &mut self.len, bytes).ok_or(EncodeError::BufferTooSmall)
    }
}

/// Counts bytes without keeping them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter(
    /// The bytes so far.
    pub usize,
);

impl Write for Counter {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(())
    }
}
