use core::fmt::{self, Write as _};

/// A JSON number: an integer where it is one and fits, else a double.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Number {
    /// An integer from 0 to 2^64 - 1.
    Unsigned(u64),
    /// An integer from -2^63 to -1.
    Signed(i64),
    /// Anything else, `-0` too. As with `JSON.parse`, what is too large is an infinity.
    Float(f64),
}

impl Number {
    /// Reads a text whose grammar was checked.
    pub(super) fn parse(text: &str, fractional: bool) -> Option<Self> {
        if !fractional {
            if let Ok(value) = text.parse() {
                return Some(Self::Unsigned(value));
            }
            if let Ok(value) = text.parse::<i64>()
                && value != 0
            {
                return Some(Self::Signed(value));
            }
        }
        text.parse().ok().map(Self::Float)
    }

    /// The number as JavaScript has it.
    ///
    /// ```
    /// use peer_core::wire::json::Number;
    /// assert_eq!(Number::Signed(-3).as_f64(), -3.0);
    /// ```
    pub const fn as_f64(self) -> f64 {
        match self {
            Self::Unsigned(value) => value as f64,
            Self::Signed(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// Formats a double as ECMAScript's `Number::toString` does (ECMA-262, section 6.1.6.1.20).
pub(super) struct Ecma<T>(pub(super) T);

/// Room for any double's scientific notation, `-1.2345678901234567e-308`.
struct Digits {
    bytes: [u8; 32],
    len: usize,
}

impl fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

impl<T: fmt::LowerExp> fmt::Display for Ecma<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // core gives the shortest digits that read back as the same number; only their layout differs.
        let mut scientific = Digits {
            bytes: [0; 32],
            len: 0,
        };
        write!(scientific, "{:e}", self.0)?;
        let text = scientific.bytes.get(..scientific.len).unwrap_or_default();
        let text = core::str::from_utf8(text).map_err(|_| fmt::Error)?;
        let (sign, text) = text
            .strip_prefix('-')
            .map_or(("", text), |rest| ("-", rest));
        let (mantissa, exponent) = text.split_once('e').ok_or(fmt::Error)?;
        let exponent: i32 = exponent.parse().map_err(|_| fmt::Error)?;
        let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if first == "0" {
            return f.write_str("0");
        }
        f.write_str(sign)?;
        match exponent {
            0..=20 => {
                let whole = usize::try_from(exponent).unwrap_or_default();
                f.write_str(first)?;
                match rest.split_at_checked(whole) {
                    Some((whole, "")) => f.write_str(whole),
                    Some((whole, fraction)) => write!(f, "{whole}.{fraction}"),
                    None => {
                        f.write_str(rest)?;
                        (rest.len()..whole).try_for_each(|_| f.write_char('0'))
                    }
                }
            }
            -6..=-1 => {
                f.write_str("0.")?;
                (exponent..-1).try_for_each(|_| f.write_char('0'))?;
                write!(f, "{first}{rest}")
            }
            _ if rest.is_empty() => write!(f, "{first}e{exponent:+}"),
            _ => write!(f, "{first}.{rest}e{exponent:+}"),
        }
    }
}
