//! What happened, as text and as a hash.

use std::collections::VecDeque;
use std::fmt;

use peer_core::time::Instant;

/// A log of lines. The newest are kept, all are hashed.
#[derive(Debug)]
pub(crate) struct Trace {
    lines: VecDeque<String>,
    limit: usize,
    hash: u64,
    written: u64,
}

impl Trace {
    /// Lines kept until told otherwise.
    pub(crate) const LIMIT: usize = 20_000;

    pub(crate) const fn new() -> Self {
        Self {
            lines: VecDeque::new(),
            limit: Self::LIMIT,
            hash: 0xcbf2_9ce4_8422_2325,
            written: 0,
        }
    }

    pub(crate) fn set_limit(&mut self, lines: usize) {
        self.limit = lines;
        self.trim();
    }

    pub(crate) fn line(&mut self, now: Instant, text: fmt::Arguments<'_>) {
        let micros = now.as_micros();
        let mut line = format!("{:>5}.{:06} {text}", micros / 1_000_000, micros % 1_000_000);
        shorten(&mut line);
        self.hash = hash(self.hash, line.as_bytes());
        self.hash = hash(self.hash, b"\n");
        self.written += 1;
        self.lines.push_back(line);
        self.trim();
    }

    /// Something that is no line but counts for the hash.
    pub(crate) fn count(&mut self, bytes: &[u8]) {
        self.hash = hash(self.hash, bytes);
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn text(&self) -> String {
        self.last(self.lines.len())
    }

    pub(crate) fn last(&self, count: usize) -> String {
        let skip = self.lines.len().saturating_sub(count);
        let mut text = String::new();
        for line in self.lines.iter().skip(skip) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn trim(&mut self) {
        while self.lines.len() > self.limit {
            self.lines.pop_front();
        }
    }
}

/// Writes handles as `c<slot>.<generation>`.
fn shorten(line: &mut String) {
    const LONG: &str = "ConnectionHandle(Handle { index: ";
    const MIDDLE: &str = ", generation: ";
    const END: &str = " })";
    while let Some(start) = line.find(LONG) {
        let Some(end) = line[start..].find(END).map(|at| start + at) else {
            return;
        };
        let short = line[start + LONG.len()..end].replacen(MIDDLE, ".", 1);
        line.replace_range(start..end + END.len(), &format!("c{short}"));
    }
}

/// FNV-1a, 64 bits, continued.
fn hash(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// A short name for some bytes.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    digest_on(0xcbf2_9ce4_8422_2325, bytes)
}

/// The short name of what `digest` names and some bytes more.
pub(crate) fn digest_on(digest: u64, bytes: &[u8]) -> u64 {
    hash(digest, bytes)
}
