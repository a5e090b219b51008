use core::fmt;

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
        &mut self.buffer[..self.len]
    }
}

impl Write for SliceWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        // `len` never passes the end, so the rest is there, if only empty.
        let room = self.buffer[self.len..]
            .get_mut(..bytes.len())
            .ok_or(EncodeError::Full)?;
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
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

/// Formatted text on its way into a sink.
pub(super) struct Text<'w, W> {
    sink: &'w mut W,
    pub(super) len: usize,
    pub(super) error: Option<EncodeError>,
}

impl<'w, W> Text<'w, W> {
    pub(super) fn new(sink: &'w mut W) -> Self {
        Self {
            sink,
            len: 0,
            error: None,
        }
    }
}

impl<W: Write> fmt::Write for Text<'_, W> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.len += s.len();
        self.sink.write(s.as_bytes()).map_err(|error| {
            self.error = Some(error);
            fmt::Error
        })
    }
}
