//! Text of strangers, shown so that it cannot steer a terminal.

use core::fmt::{self, Write as _};

/// A text whose control characters are written as escapes: C0, DEL and C1 (line ends included), and
/// Unicode's bidirectional controls and line separators.
pub(crate) struct Shown<'t>(pub(crate) &'t str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if steers(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether a terminal may take the character for a command, or turn the line around.
pub(crate) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A JSON text with what could steer a terminal as JSON's own escapes. It means the same.
pub(crate) fn json(text: String) -> String {
    if !text.chars().any(steers) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            // All of them are in the basic plane, and JSON has none of them outside of strings.
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Bytes for a terminal: text with its lines and tabs, and all else that could steer it escaped.
pub(crate) fn page(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c if steers(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Tells a person something on stderr, in one line and with [`Shown`]'s escapes. Nobody may be
/// there to read it.
pub(crate) fn write_stderr(text: &str) {
    use std::io::Write as _;
    let line = format!("{}\n", Shown(text));
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// As `eprintln!`, through [`write_stderr`].
macro_rules! tell {
    ($($part:tt)*) => { $crate::shown::write_stderr(&format!($($part)*)) };
}
pub(crate) use tell;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        let shown = Shown("a\x1b[2J\n\r\tb\u{9b}31m\u{202e}c\x7f🌍é").to_string();
        assert_eq!(shown, "a\\u{1b}[2J\\n\\r\\tb\\u{9b}31m\\u{202e}c\\u{7f}🌍é");
        assert!(!shown.chars().any(steers));
    }

    #[test]
    fn escaped_json_means_the_same() -> serde_json::Result<()> {
        let value = serde_json::Value::from("\u{9b}\u{202e}\x7f\n plain");
        let safe = json(value.to_string());
        assert!(!safe.chars().any(steers), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe)?, value);
        Ok(())
    }
}
