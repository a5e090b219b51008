//! Lines of stdin, of bounded length.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader, Stdin, stdin};

/// Longest line, in bytes. A 64 MiB message in base 64 fits.
const LINE_MAX: u64 = 96 << 20;

/// Why a line cannot be given.
pub(super) enum LineError {
    /// stdin cannot be read.
    Io(std::io::Error),
    /// Longer than [`LINE_MAX`]; reading on would begin in its middle.
    TooLong,
    /// Not UTF-8; the next line may be.
    NotText,
}

/// The lines of stdin.
pub(super) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
}

impl Lines<BufReader<Stdin>> {
    pub(super) fn of_stdin() -> Self {
        Self::new(BufReader::new(stdin()))
    }
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    const fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
        }
    }

    /// The next line without its end; `None` at the end of stdin. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<String>, LineError> {
        // What an earlier, cancelled call read is still in the buffer.
        let room = (LINE_MAX + 1).saturating_sub(self.buffer.len() as u64);
        let mut limited = (&mut self.reader).take(room);
        limited
            .read_until(b'\n', &mut self.buffer)
            .await
            .map_err(LineError::Io)?;
        if self.buffer.len() as u64 > LINE_MAX {
            return Err(LineError::TooLong);
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.buffer);
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        }
        String::from_utf8(line)
            .map(Some)
            .map_err(|_| LineError::NotText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_with_every_ending() {
        let mut lines = Lines::new(&b"a\r\n\nb\xFF\nlast"[..]);
        assert_eq!(lines.next().await.ok().flatten().as_deref(), Some("a"));
        assert_eq!(lines.next().await.ok().flatten().as_deref(), Some(""));
        assert!(matches!(lines.next().await, Err(LineError::NotText)));
        assert_eq!(lines.next().await.ok().flatten().as_deref(), Some("last"));
        assert!(matches!(lines.next().await, Ok(None)));
    }
}
