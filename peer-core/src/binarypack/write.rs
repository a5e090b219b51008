use crate::bytes;

use super::EncodeError;

/// Where packed bytes go. Implemented for slices here; a growable buffer takes five lines.
pub trait Write {
    /// Appends `bytes`, all or none.
    ///
    /// # Errors
    /// [`EncodeError::Full`] where there is no room.
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
    /// Writes from the start of `buffer`.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// What was written.
    pub fn into_written(self) -> &'b mut [u8] {
        self.buffer.get_mut(..self.len).unwrap_or_default()
    }
}

impl Write for SliceWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        bytes::append(self.buffer, &mut self.len, bytes).ok_or(EncodeError::Full)
    }
}

/// Counts bytes and keeps none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter(
    /// Bytes so far.
    pub usize,
);

impl Write for Counter {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(())
    }
}
