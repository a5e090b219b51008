//! Lines of stdin, of bounded length.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader, Stdin, stdin};

/// Longest line, in bytes. A 64 MiB message in base 64 fits.
pub(super) const LINE_MAX: usize = 96 << 20;
/// Bytes read at a time.
const BUFFER: usize = 64 << 10;

/// Why a line cannot be given.
#[derive(Debug)]
pub(super) enum LineError {
    /// stdin cannot be read.
    Io(std::io::Error),
    /// Longer than [`LINE_MAX`]. It is passed over; the next one may be shorter.
    TooLong,
    /// Not UTF-8; the next line may be.
    NotText,
}

/// The lines of stdin.
pub(super) struct Lines<R> {
    reader: R,
    /// The beginning of the next line.
    buffer: Vec<u8>,
    /// The line is too long; what follows of it is not kept.
    too_long: bool,
    max: usize,
}

impl Lines<BufReader<Stdin>> {
    pub(super) fn of_stdin() -> Self {
        Self::new(BufReader::with_capacity(BUFFER, stdin()), LINE_MAX)
    }
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    const fn new(reader: R, max: usize) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            too_long: false,
            max,
        }
    }

    /// The next line without its end; `None` at the end of stdin. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<String>, LineError> {
        loop {
            let read = self.reader.fill_buf().await.map_err(LineError::Io)?;
            if read.is_empty() {
                return match (core::mem::take(&mut self.too_long), self.buffer.is_empty()) {
                    (true, _) => Err(LineError::TooLong),
                    (false, true) => Ok(None),
                    (false, false) => self.line().map(Some),
                };
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let part = &read[..end.unwrap_or(read.len())];
            if self.buffer.len() + part.len() > self.max {
                self.too_long = true;
                self.buffer = Vec::new();
            } else if !self.too_long {
                self.buffer.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return match core::mem::take(&mut self.too_long) {
                    true => Err(LineError::TooLong),
                    false => self.line().map(Some),
                };
            }
        }
    }

    fn line(&mut self) -> Result<String, LineError> {
        let mut line = core::mem::take(&mut self.buffer);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_err(|_| LineError::NotText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_with_every_ending() {
        let mut lines = Lines::new(&b"a\r\n\nb\xFF\nlast"[..], 100);
        assert_eq!(lines.next().await.ok().flatten().as_deref(), Some("a"));
        assert_eq!(lines.next().await.ok().flatten().as_deref(), Some(""));
        assert!(matches!(lines.next().await, Err(LineError::NotText)));
        assert_eq!(lines.next().await.ok().flatten().as_deref(), Some("last"));
        assert!(matches!(lines.next().await, Ok(None)));
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_passed_over() {
        // Read in pieces, as a pipe gives them.
        let text =
            BufReader::with_capacity(3, &b"one\n12345678901234567890\ntwo\n1234567890123"[..]);
        let mut lines = Lines::new(text, 10);
        assert_eq!(lines.next().await.ok().flatten().as_deref(), Some("one"));
        assert!(matches!(lines.next().await, Err(LineError::TooLong)));
        assert_eq!(lines.next().await.ok().flatten().as_deref(), Some("two"));
        assert!(matches!(lines.next().await, Err(LineError::TooLong)));
        assert!(matches!(lines.next().await, Ok(None)));
    }
}
