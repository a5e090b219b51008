use core::{
    fmt::{self, Write as _},
    str::FromStr,
};

use heapless::String;

/// A JSON number: an integer if it is one and fits, else a double.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Number {
    /// An integer from 0 to 2^64 - 1.
    Unsigned(u64),
    /// An integer from -2^63 to -1.
    Signed(i64),
    /// Any other number, `-0` too. A number that is too large is an infinity, as in `JSON.parse`.
    Float(f64),
}

impl Number {
    /// Reads a text whose grammar was checked.
    pub(super) fn parse(text: &str, fractional: bool) -> Option<Self> {
        Self::parse_integer(text, fractional).or_else(|| text.parse().ok().map(Self::Float))
    }

    /// As [`parse`](Self::parse), but `None` for a double: reading those takes 15 KB of code and
    /// tables, which a program that wants integers only shall not link.
    pub(super) fn parse_integer(text: &str, fractional: bool) -> Option<Self> {
        if fractional {
            return None;
        }
        if let Ok(value) = text.parse() {
            return Some(Self::Unsigned(value));
        }
        text.parse()
            .ok()
            .filter(|value| *value != 0)
            .map(Self::Signed)
    }

    /// Returns the number as JavaScript has it, a double.
    ///
    /// ```
    /// use peer_core::wire::json::Number;
    /// assert_eq!(Number::Signed(-3).as_f64(), -3.0);
    /// ```
    #[must_use]
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

/// Room for any double's scientific notation with [`EXACT`] digits, `-1.234…e-308`.
type Digits = String<64>;

/// Digits behind the point that show whether a double is halfway between two candidates.
const EXACT: usize = 40;

fn digits(text: fmt::Arguments<'_>) -> Result<Digits, fmt::Error> {
    let mut digits = Digits::new();
    digits.write_fmt(text)?;
    Ok(digits)
}

/// The shortest digits that read back as the value, and of those the nearest. core takes the upper
/// of two that are equally near, ECMAScript the even one.
fn shortest<T>(value: T) -> Result<Digits, fmt::Error>
where
    T: Copy + fmt::LowerExp + FromStr + PartialEq,
{
    let upper = digits(format_args!("{value:e}"))?;
    let (mantissa, exponent) = upper.split_once('e').ok_or(fmt::Error)?;
    let last = mantissa.bytes().last().ok_or(fmt::Error)?;
    // Only at the end of a double's precision are two candidates that close.
    if mantissa.len() < 16 || last % 2 == 0 {
        return Ok(upper);
    }
    // An odd digit has one below it.
    let before = mantissa.get(..mantissa.len() - 1).ok_or(fmt::Error)?;
    let last = char::from(last - 1);
    let lower = digits(format_args!("{before}{last}e{exponent}"))?;
    let exact = digits(format_args!("{value:.EXACT$e}"))?;
    let halfway = lower.get(..mantissa.len()).is_some_and(|lower| {
        let rest = exact
            .strip_prefix(lower)
            .and_then(|rest| rest.strip_prefix('5'));
        let rest = rest.and_then(|rest| rest.split_once('e'));
        rest.is_some_and(|(rest, _)| rest.bytes().all(|digit| digit == b'0'))
    });
    let reads_back = lower.parse().is_ok_and(|lower: T| lower == value);
    Ok(if halfway && reads_back { lower } else { upper })
}

impl<T> fmt::Display for Ecma<T>
where
    T: Copy + fmt::LowerExp + FromStr + PartialEq,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scientific = shortest(self.0)?;
        let (sign, text) = match scientific.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", scientific.as_str()),
        };
        let (mantissa, exponent) = text.split_once('e').ok_or(fmt::Error)?;
        let exponent: i32 = exponent.parse().map_err(|_| fmt::Error)?;
        let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if first == "0" {
            return f.write_str("0");
        }
        f.write_str(sign)?;
        match exponent {
            0..=20 => {
                let whole = usize::try_from(exponent).map_err(|_| fmt::Error)?;
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
